//! Where a byte is in a short text, looked at eight bytes at a time: the lines and paths of a head have some ten or twenty,
//! and a search that is made for long texts takes longer to begin than these take.

const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// The first place from `from` on.
pub fn find(byte: u8, bytes: &[u8], from: usize) -> Option<usize> {
    let (words, rest) = bytes[from..].as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // Zero where there is one; the lowest byte that becomes negative by subtracting one was zero.
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
        let found = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if found != 0 {
            return Some(from + at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|other| *other == byte).map(|at| bytes.len() - rest.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_wherever_it_is() {
        // What a byte that is like one, or beside one, could be taken for.
        for other in [0, 9, 11, 10 ^ 128, 255, b'a'] {
            for len in 0..40 {
                let mut bytes = vec![other; len];
                assert_eq!(find(b'\n', &bytes, 0), None);
                for (at, next) in (0..len).flat_map(|at| (at..len).map(move |next| (at, next))) {
                    (bytes[at], bytes[next]) = (b'\n', b'\n');
                    assert_eq!(find(b'\n', &bytes, 0), Some(at));
                    assert_eq!(find(b'\n', &bytes, at + 1), (next > at).then_some(next));
                    (bytes[at], bytes[next]) = (other, other);
                }
            }
        }
    }
}
