//! Where the next page of a search goes on: behind a score and an id, so that writes in between move nothing.
//!
//! Byte map, in base64url without padding: u8 version 2 | u32 collection | u64 what was asked | u32 hits seen |
//! f32 score | bytes id | u64 xxh3 of all before it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use xxhash_rust::xxh3::xxh3_64;

use crate::io::codec::{Put, Reader, Truncated};
use crate::shard::key::Key;
use crate::types::CollectionId;

const VERSION: u8 = 2;
const CHECK_BYTES: usize = 8;

#[derive(Clone, Debug, PartialEq)]
pub struct SearchCursor {
    /// A hash of the embedding and the filter: behind a hit of one search is nothing of another.
    pub asked: u64,
    /// Hits of the pages before.
    pub seen: u32,
    pub score: f32,
    pub key: Key,
}

impl SearchCursor {
    pub fn to_text(&self, collection: CollectionId) -> String {
        let mut bytes = Vec::with_capacity(64);
        bytes.put_u8(VERSION);
        bytes.put_u32(collection.0);
        bytes.put_u64(self.asked);
        bytes.put_u32(self.seen);
        bytes.put_u32(self.score.to_bits());
        bytes.put_bytes(&self.key.to_vec());
        let check = xxh3_64(&bytes);
        bytes.put_u64(check);
        BASE64URL.encode(&bytes)
    }

    /// `None` for a text that `to_text` did not make for this collection.
    pub fn from_text(text: &str, collection: CollectionId) -> Option<SearchCursor> {
        let bytes = BASE64URL.decode(text).ok()?;
        let (body, check) = bytes.split_at(bytes.len().checked_sub(CHECK_BYTES)?);
        if check != xxh3_64(body).to_le_bytes() || body.first() != Some(&VERSION) {
            return None;
        }
        let mut reader = Reader::new(&body[1..]);
        let (of, cursor) = read(&mut reader).ok()?;
        (of == collection && reader.is_empty()).then_some(cursor)
    }
}

fn read(reader: &mut Reader<'_>) -> Result<(CollectionId, SearchCursor), Truncated> {
    let of = CollectionId(reader.u32()?);
    let (asked, seen, score) = (reader.u64()?, reader.u32()?, f32::from_bits(reader.u32()?));
    Ok((of, SearchCursor { asked, seen, score, key: Key::from_bytes(reader.bytes()?) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_for_its_collection_only() {
        let cursor = SearchCursor { asked: 9, seen: 20, score: -0.5, key: Key::from_u64(7) };
        let text = cursor.to_text(CollectionId(3));
        assert_eq!(SearchCursor::from_text(&text, CollectionId(3)), Some(cursor.clone()));
        assert_eq!(SearchCursor::from_text(&text, CollectionId(4)), None);
        for len in 0..text.len() {
            assert_eq!(SearchCursor::from_text(&text[..len], CollectionId(3)), None);
        }
    }
}
