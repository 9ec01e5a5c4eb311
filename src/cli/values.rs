//! The values that `import` makes for bare keys and that `bench kv` writes and checks.
//!
//! `value_for(key, len)`: printable ASCII made from the key alone, so that anybody can check what came
//! back. Let `x` start as the key; for each ten characters add 0x9E3779B97F4A7C15 to `x`, mix it
//! (splitmix64), and take ten 6-bit digits of the result, lowest first, in the alphabet below.
//!
//! A versioned value is eight hexadecimal digits of the version, then `value_for` of key and version.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
const DIGITS_A_WORD: usize = 10;
/// Bytes of the version in front of a versioned value.
pub const VERSION_BYTES: usize = 8;

/// The finalizer of splitmix64: a bijection of u64 without visible pattern.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The number whose [`mix`] is `x`.
pub fn unmix(mut x: u64) -> u64 {
    x = (x ^ (x >> 31) ^ (x >> 62)).wrapping_mul(0x3196_42B2_D24D_8EC3);
    x = (x ^ (x >> 27) ^ (x >> 54)).wrapping_mul(0x96DE_1B17_3F11_9089);
    x ^ (x >> 30) ^ (x >> 60)
}

/// The value of `key`, `len` bytes of printable ASCII.
pub fn value_for(key: u64, len: usize) -> String {
    let mut value = Vec::with_capacity(len);
    append_value(key, len, &mut value);
    String::from_utf8(value).expect("the alphabet is ASCII")
}

/// Appends `value_for(key, len)`.
pub fn append_value(key: u64, len: usize, out: &mut Vec<u8>) {
    let end = out.len() + len;
    let mut x = key;
    while out.len() < end {
        x = x.wrapping_add(GOLDEN);
        let mut word = mix(x);
        for _ in 0..DIGITS_A_WORD.min(end - out.len()) {
            out.push(ALPHABET[(word & 63) as usize]);
            word >>= 6;
        }
    }
}

/// Appends a value that tells its version; `len` is at least [`VERSION_BYTES`].
pub fn append_versioned(key: u64, version: u32, len: usize, out: &mut Vec<u8>) {
    assert!(len >= VERSION_BYTES, "no room for the version");
    for shift in (0..VERSION_BYTES).rev() {
        let digit = (version >> (4 * shift)) & 15;
        out.push(b"0123456789abcdef"[digit as usize]);
    }
    append_value(mix(key ^ (u64::from(version) << 32)), len - VERSION_BYTES, out);
}

/// The version of a value that [`append_versioned`] made for this key; `None` for any other bytes.
pub fn version_of(key: u64, value: &[u8], scratch: &mut Vec<u8>) -> Option<u32> {
    let digits = std::str::from_utf8(value.get(..VERSION_BYTES)?).ok()?;
    let version = u32::from_str_radix(digits, 16).ok()?;
    scratch.clear();
    append_versioned(key, version, value.len(), scratch);
    (scratch == value).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_generator_does_not_change() {
        // As the Python function of the README gives them.
        assert_eq!(value_for(0, 24), "v2cH7lDqgI0XWuhqmn45PVUC");
        assert_eq!(value_for(u64::MAX, 12), "gwSZbcXcZTJL");
    }

    proptest! {
        #[test]
        fn mixing_can_be_undone(x in any::<u64>()) {
            prop_assert_eq!(unmix(mix(x)), x);
        }

        #[test]
        fn a_shorter_value_is_a_prefix_of_a_longer_one(key in any::<u64>(), len in 0usize..200, more in 0usize..50) {
            let long = value_for(key, len + more);
            prop_assert_eq!(value_for(key, len), &long[..len]);
            prop_assert!(long.bytes().all(|byte| ALPHABET.contains(&byte)));
        }

        #[test]
        fn a_version_is_read_back_and_every_other_byte_is_noticed(
            key in any::<u64>(), version in any::<u32>(), len in VERSION_BYTES..150, at in any::<prop::sample::Index>(),
        ) {
            let mut value = Vec::new();
            append_versioned(key, version, len, &mut value);
            prop_assert_eq!(value.len(), len);
            prop_assert_eq!(version_of(key, &value, &mut Vec::new()), Some(version));
            let at = VERSION_BYTES + at.index(len);
            if at < len {
                value[at] ^= 1;
                prop_assert_eq!(version_of(key, &value, &mut Vec::new()), None);
            }
        }
    }
}
