//! Numbers that are mostly small: seven bits a byte, the lowest first, and bit 7 says that another byte follows.
//!
//! Of all ways to write a number only the shortest counts.

const MORE: u8 = 0x80;
const BYTES_MAX: usize = 10;

pub(super) fn len(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

pub(super) fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= u64::from(MORE) {
        out.push(value as u8 | MORE);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number at the start, and what is behind it.
pub(super) fn take(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        // The last byte has one bit left.
        if index + 1 == BYTES_MAX && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & !MORE) << (7 * index);
        if byte & MORE == 0 {
            let is_shortest = *byte > 0 || index == 0;
            return is_shortest.then(|| (value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_byte_takes_seven_bits() {
        for (value, wanted) in [(0, 1), (127, 1), (128, 2), ((1 << 14) - 1, 2), (1 << 14, 3), (u64::MAX, 10)]
        {
            let mut bytes = Vec::new();
            push(&mut bytes, value);
            bytes.push(9);
            assert_eq!((len(value), bytes.len()), (wanted, wanted + 1), "{value}");
            assert_eq!(take(&bytes), Some((value, &[9][..])), "{value}");
            assert_eq!(take(&bytes[..wanted - 1]), None, "{value} without its end");
        }
    }

    #[test]
    fn longer_forms_are_no_numbers() {
        assert_eq!(take(&[0x80, 0]), None);
        assert_eq!(take(&[0xff; 11]), None);
        let mut most = [0xff; 10];
        most[9] = 2;
        assert_eq!(take(&most), None, "a 65th bit");
    }

    proptest! {
        #[test]
        fn a_number_has_one_form(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..=0xff_u8], 0..12)) {
            if let Some((value, rest)) = take(&bytes) {
                let mut again = Vec::new();
                push(&mut again, value);
                prop_assert_eq!(again.len(), len(value));
                prop_assert_eq!([&again[..], rest].concat(), bytes);
            }
        }
    }
}
