//! Keys: bytes whose order is the key order.
//!
//! A `u64` key is its 8 bytes big-endian, a `string` key its UTF-8. The first eight bytes are kept as a
//! number, so that most comparisons are one instruction and a `u64` key needs no memory of its own.

use std::cmp::Ordering;
use std::fmt;

use crate::limits;

/// The type of a collection's keys, fixed at creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    U64,
    String,
}

/// Invariant: `head` holds the first `min(len, 8)` bytes, zero-padded, most significant first; `tail`
/// the rest. Equal bytes give equal fields, so the equality of the fields is that of the bytes.
#[derive(Clone, Eq)]
pub struct Key {
    head: u64,
    head_len: u8,
    tail: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    TooLong { len: usize },
    Empty,
    NotUtf8,
    NotU64,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::TooLong { len } => {
                write!(f, "the key has {len} bytes; at most {} are allowed", limits::KEY_BYTES_MAX)
            }
            KeyError::Empty => f.write_str("the key is empty"),
            KeyError::NotUtf8 => f.write_str("the key is not valid UTF-8"),
            KeyError::NotU64 => f.write_str(
                "the key is not an integer from 0 to 18446744073709551615 without leading zeros or a sign",
            ),
        }
    }
}

impl std::error::Error for KeyError {}

impl Key {
    pub fn from_u64(key: u64) -> Key {
        Key { head: key, head_len: 8, tail: Box::default() }
    }

    /// A `string` key: 1 to [`limits::KEY_BYTES_MAX`] bytes.
    pub fn from_text(text: &str) -> Result<Key, KeyError> {
        match text.len() {
            0 => Err(KeyError::Empty),
            len if len > limits::KEY_BYTES_MAX => Err(KeyError::TooLong { len }),
            _ => Ok(Key::from_bytes(text.as_bytes())),
        }
    }

    /// From the text of a URL or a command line: decimal for `u64`, itself for `string`.
    pub fn parse(key_type: KeyType, text: &str) -> Result<Key, KeyError> {
        match key_type {
            KeyType::String => Key::from_text(text),
            KeyType::U64 => parse_u64(text).map(Key::from_u64).ok_or(KeyError::NotU64),
        }
    }

    /// Any bytes, as they come from the log or a run.
    pub fn from_bytes(bytes: &[u8]) -> Key {
        let (head, tail) = bytes.split_at(bytes.len().min(8));
        let mut padded = [0; 8];
        padded[..head.len()].copy_from_slice(head);
        Key { head: u64::from_be_bytes(padded), head_len: head.len() as u8, tail: tail.into() }
    }

    /// The smallest key that is greater than every key with this prefix; `None` when there is none.
    pub fn after_prefix(prefix: &[u8]) -> Option<Key> {
        let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
        let mut bytes = prefix[..=last].to_vec();
        bytes[last] += 1;
        Some(Key::from_bytes(&bytes))
    }

    pub fn len(&self) -> usize {
        usize::from(self.head_len) + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.head_len == 0
    }

    /// The number of a `u64` key.
    pub fn as_u64(&self) -> Option<u64> {
        (self.head_len == 8 && self.tail.is_empty()).then_some(self.head)
    }

    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head.to_be_bytes()[..usize::from(self.head_len)]);
        out.extend_from_slice(&self.tail);
    }

    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.append_to(&mut out);
        out
    }

    /// As people write it: a number for `u64`, the text for `string`.
    pub fn display(&self, key_type: KeyType) -> String {
        match (key_type, self.as_u64()) {
            (KeyType::U64, Some(number)) => number.to_string(),
            _ => String::from_utf8_lossy(&self.to_vec()).into_owned(),
        }
    }

    /// As the order of keys, with one that stands in somebody else's memory.
    pub fn cmp_bytes(&self, bytes: &[u8]) -> Ordering {
        if let (Some(number), Ok(other)) = (self.as_u64(), <[u8; 8]>::try_from(bytes)) {
            return number.cmp(&u64::from_be_bytes(other));
        }
        let (head, tail) = bytes.split_at(bytes.len().min(8));
        let own = &self.head.to_be_bytes()[..usize::from(self.head_len)];
        own.cmp(head).then_with(|| (*self.tail).cmp(tail))
    }

    /// Bytes of memory beyond `size_of::<Key>()`.
    pub fn heap_bytes(&self) -> usize {
        self.tail.len()
    }
}

/// Only as the server writes it: a key has one name, so `01` and `+1` are none.
fn parse_u64(text: &str) -> Option<u64> {
    let is_padded = text.len() > 1 && text.starts_with('0');
    if is_padded || text.is_empty() {
        return None;
    }
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
    let longer = |number: u64, byte| number.checked_mul(10)?.checked_add(digit(byte)?);
    text.bytes().try_fold(0, longer)
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        self.head.cmp(&other.head).then_with(|| match (self.tail.is_empty(), other.tail.is_empty()) {
            // Without a call: with AVX-512 glibc compares nothing by masked loads, which take hundreds of cycles where
            // there is no memory, and an empty slice points there.
            (true, true) => self.head_len.cmp(&other.head_len),
            _ => self.tail.cmp(&other.tail).then(self.head_len.cmp(&other.head_len)),
        })
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.cmp(other).is_eq()
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.to_vec().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn orders_and_equals_like_its_bytes(
            a in prop::collection::vec(prop::sample::select(vec![0u8, 1, 97, 255]), 0..12),
            b in prop::collection::vec(prop::sample::select(vec![0u8, 1, 97, 255]), 0..12),
        ) {
            let (ka, kb) = (Key::from_bytes(&a), Key::from_bytes(&b));
            prop_assert_eq!(ka.cmp(&kb), a.cmp(&b));
            prop_assert_eq!(ka.cmp_bytes(&b), a.cmp(&b));
            prop_assert_eq!(ka == kb, a == b);
            prop_assert_eq!(ka.to_vec(), a);
        }

        #[test]
        fn after_prefix_is_the_least_upper_bound(
            prefix in prop::collection::vec(prop::sample::select(vec![0u8, 97, 255]), 1..5),
            rest in prop::collection::vec(any::<u8>(), 0..5),
        ) {
            let inside = Key::from_bytes(&[prefix.clone(), rest].concat());
            if let Some(bound) = Key::after_prefix(&prefix) {
                prop_assert!(inside < bound);
                prop_assert!(!bound.to_vec().starts_with(&prefix));
            } else {
                prop_assert!(prefix.iter().all(|byte| *byte == 255));
            }
        }
    }

    #[test]
    fn u64_text_is_digits_in_range() {
        assert_eq!(Key::parse(KeyType::U64, "18446744073709551615"), Ok(Key::from_u64(u64::MAX)));
        assert_eq!(Key::parse(KeyType::U64, "0"), Ok(Key::from_u64(0)));
        for bad in [
            "",
            "+1",
            "-1",
            "1.0",
            " 1",
            "18446744073709551616",
            "99999999999999999999",
            "00",
            "01",
            "a",
            "1\u{e9}",
        ] {
            assert_eq!(Key::parse(KeyType::U64, bad), Err(KeyError::NotU64), "{bad:?}");
        }
        assert!(Key::from_u64(255) < Key::from_u64(256));
    }

    #[test]
    fn text_keys_have_bounds() {
        assert_eq!(Key::from_text(""), Err(KeyError::Empty));
        assert!(Key::from_text(&"x".repeat(limits::KEY_BYTES_MAX)).is_ok());
        assert!(Key::from_text(&"x".repeat(limits::KEY_BYTES_MAX + 1)).is_err());
    }
}
