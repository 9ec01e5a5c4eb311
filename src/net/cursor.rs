//! Opaque cursors: where a range scan goes on, by key, so that writes in between do not matter.
//!
//! Byte map, in base64url without padding:
//!
//! ```text
//! 0         1            5         6       6+a        6+a+b   +8
//! +---------+------------+---------+-------+----------+-------+
//! | version | collection | reverse | bound | position | check |
//! +---------+------------+---------+-------+----------+-------+
//! ```
//!
//! `bound` (a kind byte and a length-prefixed key) is where the scan ends; `position` (a
//! length-prefixed key) is the last key given; `check` is xxh3 over all before it. The check is no
//! secret: whoever forges a cursor could as well ask for the range.

use std::ops::Bound;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use xxhash_rust::xxh3::xxh3_64;

use crate::io::codec::{Put, Reader, Truncated};
use crate::shard::key::Key;
use crate::types::CollectionId;

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub collection: CollectionId,
    pub reverse: bool,
    /// The end of the range in the direction of the scan.
    pub bound: Bound<Key>,
    /// The scan goes on strictly behind this key.
    pub position: Key,
}

impl Cursor {
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(64);
        bytes.put_u8(VERSION);
        bytes.put_u32(self.collection.0);
        bytes.put_u8(u8::from(self.reverse));
        match &self.bound {
            Bound::Unbounded => bytes.put_u8(0),
            Bound::Included(key) => put_key(1, key, &mut bytes),
            Bound::Excluded(key) => put_key(2, key, &mut bytes),
        }
        bytes.put_bytes(&self.position.to_vec());
        let check = xxh3_64(&bytes);
        bytes.put_u64(check);
        BASE64URL.encode(&bytes)
    }

    /// `None` for a text that `to_text` did not make.
    pub fn from_text(text: &str) -> Option<Cursor> {
        let bytes = BASE64URL.decode(text).ok()?;
        let (body, check) = bytes.split_at(bytes.len().checked_sub(CHECK_BYTES)?);
        if check != xxh3_64(body).to_le_bytes() || body.first() != Some(&VERSION) {
            return None;
        }
        let mut reader = Reader::new(&body[1..]);
        let cursor = read(&mut reader).ok()??;
        reader.is_empty().then_some(cursor)
    }
}

fn put_key(kind: u8, key: &Key, bytes: &mut Vec<u8>) {
    bytes.put_u8(kind);
    bytes.put_bytes(&key.to_vec());
}

fn read(reader: &mut Reader<'_>) -> Result<Option<Cursor>, Truncated> {
    let collection = CollectionId(reader.u32()?);
    let reverse = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Ok(None),
    };
    let bound = match reader.u8()? {
        0 => Bound::Unbounded,
        1 => Bound::Included(Key::from_bytes(reader.bytes()?)),
        2 => Bound::Excluded(Key::from_bytes(reader.bytes()?)),
        _ => return Ok(None),
    };
    let position = Key::from_bytes(reader.bytes()?);
    Ok(Some(Cursor { collection, reverse, bound, position }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arb_key() -> impl Strategy<Value = Key> {
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| Key::from_bytes(&bytes))
    }

    fn arb_cursor() -> impl Strategy<Value = Cursor> {
        let bound = prop_oneof![
            Just(Bound::Unbounded),
            arb_key().prop_map(Bound::Included),
            arb_key().prop_map(Bound::Excluded),
        ];
        (any::<u32>(), any::<bool>(), bound, arb_key()).prop_map(|(id, reverse, bound, position)| Cursor {
            collection: CollectionId(id),
            reverse,
            bound,
            position,
        })
    }

    proptest! {
        #[test]
        fn comes_back(cursor in arb_cursor()) {
            let text = cursor.to_text();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(Cursor::from_text(&text), Some(cursor));
        }

        #[test]
        fn any_change_is_noticed(cursor in arb_cursor(), at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_-]") {
            let mut text = cursor.to_text();
            let at = at.index(text.len());
            prop_assume!(text[at..=at] != to);
            text.replace_range(at..=at, &to);
            prop_assert_eq!(Cursor::from_text(&text), None);
        }

        #[test]
        fn noise_is_no_cursor(text in ".{0,60}") {
            prop_assert_eq!(Cursor::from_text(&text), None);
        }
    }

    #[test]
    fn the_format_stays() {
        let cursor = Cursor {
            collection: CollectionId(3),
            reverse: false,
            bound: Bound::Excluded(Key::from_text("z").unwrap()),
            position: Key::from_text("key").unwrap(),
        };
        assert_eq!(cursor.to_text(), "AQMAAAAAAgEAAAB6AwAAAGtlebKvxoweSWCN");
    }
}
