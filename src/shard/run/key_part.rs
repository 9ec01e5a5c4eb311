//! The keys of one tablet while its run is written: `u64` keys all, others one a block.

use super::first_keys::FirstKeysBuilder;
use super::pieces::Pieces;
use super::u64_keys;
use crate::shard::key::KeyType;

pub(super) enum KeyPart {
    Every(Pieces),
    First(FirstKeysBuilder),
}

impl KeyPart {
    pub fn new(key_type: KeyType) -> KeyPart {
        match key_type {
            KeyType::U64 => KeyPart::Every(Pieces::default()),
            KeyType::String => KeyPart::First(FirstKeysBuilder::default()),
        }
    }

    pub fn push(&mut self, key: &[u8], starts_block: bool) {
        match self {
            KeyPart::Every(array) => u64_keys::push(array, key),
            KeyPart::First(keys) if starts_block => keys.push(key),
            KeyPart::First(_) => {}
        }
    }

    /// The encoded part, without padding to pages.
    pub fn finish(self) -> Pieces {
        match self {
            KeyPart::Every(mut array) => {
                u64_keys::finish(&mut array);
                array
            }
            KeyPart::First(keys) => keys.finish(),
        }
    }
}
