//! Secrets that travel through the parser: they cannot be printed, and how long it takes to compare them tells nothing.

use subtle::ConstantTimeEq;

/// The value of a field that nobody but its reader may see.
#[derive(Clone, Copy)]
pub struct Hidden<'a>(&'a str);

impl<'a> Hidden<'a> {
    pub fn new(value: &'a str) -> Hidden<'a> {
        Hidden(value)
    }

    pub fn reveal(self) -> &'a str {
        self.0
    }
}

impl std::fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hidden")
    }
}

/// Whether the bytes are the same, in a time that depends on their number only.
pub fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    // Gathered first, without a branch, and judged once: `subtle` compares byte by byte, each with a fence of its own.
    let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let words = a_words.iter().zip(b_words).map(|(a, b)| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b));
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| u64::from(a ^ b));
    let different = words.chain(rest).fold(0, |all, one| all | one);
    different.ct_eq(&0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts_in_a_comparison() {
        let bytes: Vec<u8> = (0..93).collect();
        assert!(same_bytes(&bytes, &bytes.clone()) && same_bytes(b"", b""));
        assert!(!same_bytes(&bytes, &bytes[..92]) && !same_bytes(b"a", b"a\0"));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x80;
            assert!(!same_bytes(&bytes, &other), "{at}");
        }
    }

    #[test]
    fn a_hidden_value_is_not_printed() {
        assert_eq!(format!("{:?}", Hidden::new("secret")), "hidden");
    }
}
