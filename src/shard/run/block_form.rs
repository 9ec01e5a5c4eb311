//! How the entries of a block are written, by its header.
//!
//! ```text
//! 42    44 .. 48        56         64
//! +------+----+---------+----------+
//! | form |    | lowest  | lowest   |      form 0, until version 3: each entry says all by itself,
//! | u16  |    | LSN u64 | lead u64 |      and the header ends at 48
//! +------+----+---------+----------+      1, 2: short entries, of `u64` or `string` keys
//! ```
//!
//! By the block alone, so that one that is found without the tables of its run can be read.

use super::entry::{EntryRef, LONE_ENTRY_BYTES_MAX};
use super::field::{put_at, u16_at, u64_at};
use super::stamp::Stamp;
use super::whole_entry::{self, WHOLE_ENTRY_BYTES_MAX};
use crate::shard::key::KeyType;
use crate::types::{Lsn, TabletId};

const FORM_AT: usize = 42;
const BASE_LSN_AT: usize = 48;
const BASE_LEAD_AT: usize = 56;
const WHOLE_HEADER_BYTES: usize = 48;
pub(super) const BLOCK_HEADER_BYTES: usize = 64;

/// Header and entry of the largest block, of either form.
pub(super) const HEADER_AND_ENTRY_BYTES_MAX: usize = WHOLE_HEADER_BYTES + WHOLE_ENTRY_BYTES_MAX;
const _: () = assert!(BLOCK_HEADER_BYTES + LONE_ENTRY_BYTES_MAX <= HEADER_AND_ENTRY_BYTES_MAX);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockForm {
    Whole,
    Short(Short),
}

/// What the entries of a block need not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub keys: KeyType,
    /// No entry of the block is lower.
    pub base: Stamp,
}

impl Short {
    pub fn encode(&self, header: &mut [u8]) {
        let form: u16 = match self.keys {
            KeyType::U64 => 1,
            KeyType::String => 2,
        };
        put_at(header, FORM_AT, form.to_le_bytes());
        put_at(header, BASE_LSN_AT, self.base.lsn.0.to_le_bytes());
        put_at(header, BASE_LEAD_AT, self.base.lead.to_le_bytes());
    }
}

impl BlockForm {
    /// From at least a page; `None` for a form that nobody writes.
    pub fn decode(block: &[u8]) -> Option<BlockForm> {
        let keys = match u16_at(block, FORM_AT) {
            0 => return Some(BlockForm::Whole),
            1 => KeyType::U64,
            2 => KeyType::String,
            _ => return None,
        };
        let base = Stamp { lsn: Lsn(u64_at(block, BASE_LSN_AT)), lead: u64_at(block, BASE_LEAD_AT) };
        Some(BlockForm::Short(Short { keys, base }))
    }

    /// Where the entries begin.
    pub fn header_bytes(&self) -> usize {
        match self {
            BlockForm::Whole => WHOLE_HEADER_BYTES,
            BlockForm::Short(_) => BLOCK_HEADER_BYTES,
        }
    }

    /// Whether a block of such a tablet is of this form.
    pub fn fits(&self, tablet: KeyType) -> bool {
        match self {
            BlockForm::Whole => true,
            BlockForm::Short(Short { keys, .. }) => *keys == tablet,
        }
    }

    /// The entry that has all of `bytes`; `None` when it is none that a writer makes.
    pub fn entry<'a>(&self, tablet: TabletId, bytes: &'a [u8]) -> Option<EntryRef<'a>> {
        match self {
            BlockForm::Whole => whole_entry::decode(tablet, bytes),
            BlockForm::Short(Short { keys, base }) => EntryRef::decode(tablet, *keys, *base, bytes),
        }
    }
}
