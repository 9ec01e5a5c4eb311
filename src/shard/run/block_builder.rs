//! Fills payload blocks. The entries of an ordinary block are gathered first: what they are relative to is known
//! with the last of them. The payload of a jumbo block is copied straight into the chunks.
//!
//! Whether one more entry has room is known exactly. A base that sinks makes all stamps longer; they are measured
//! anew then, which is seldom.

use xxhash_rust::xxh3::Xxh3;

use super::PAGE_BYTES;
use super::block::{BlockHeader, SLOT_BYTES, slot_at};
use super::block_form::{BLOCK_HEADER_BYTES, Short};
use super::body::Body;
use super::chunks::Chunks;
use super::entry::EntryRef;
use super::field::put_at;
use super::seal::{self, SEALED_AT};
use super::stamp::Stamp;
use crate::shard::key::KeyType;
use crate::types::{RunId, TabletId};

/// Bytes of a block with one entry and nothing else.
fn lone_block_bytes(entry_len: usize) -> usize {
    BLOCK_HEADER_BYTES + entry_len + SLOT_BYTES
}

fn lone_entry_bytes(entry: &EntryRef<'_>, keys: KeyType) -> usize {
    entry.stamp().len(entry.stamp()) + entry.rest_len(keys)
}

/// An entry of the block that is being filled.
struct Gathered {
    flags: u8,
    stamp: Stamp,
    /// Where the bytes behind its stamp end among those of all.
    end: usize,
}

/// The ordinary block that is being filled.
#[derive(Default)]
pub(super) struct BlockBuilder {
    entries: Vec<Gathered>,
    /// Of all entries, one behind the other, without the stamps.
    rests: Vec<u8>,
    /// Where they are put together at the end; kept from block to block.
    sealed: Vec<u8>,
    /// The lowest of all entries, and what the stamps take by it.
    base: Option<Stamp>,
    stamps_len: usize,
}

impl BlockBuilder {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the entry if it has room.
    pub fn try_push(&mut self, entry: &EntryRef<'_>, keys: KeyType) -> bool {
        let stamp = entry.stamp();
        let base = self.base.map_or(stamp, |base| base.lowest(stamp));
        let before = match self.base == Some(base) {
            true => self.stamps_len,
            false => self.entries.iter().map(|entry| entry.stamp.len(base)).sum(),
        };
        let stamps_len = before + stamp.len(base);
        let entries_len = stamps_len + self.rests.len() + entry.rest_len(keys);
        if BLOCK_HEADER_BYTES + entries_len + SLOT_BYTES * (self.len() + 1) > PAGE_BYTES {
            return false;
        }
        entry.push_key(keys, &mut self.rests);
        entry.body.push(&mut self.rests);
        self.entries.push(Gathered { flags: entry.flags(), stamp, end: self.rests.len() });
        (self.base, self.stamps_len) = (Some(base), stamps_len);
        true
    }

    /// Writes the next page, and begins the next block; returns the hash.
    pub fn seal(
        &mut self,
        chunks: &mut Chunks,
        run: RunId,
        number: u32,
        (tablet, keys): (TabletId, KeyType),
    ) -> u64 {
        let base = self.base.take().expect("a block with entries");
        let offset = chunks.offset();
        let page = chunks.page();
        let entries = &mut self.sealed;
        entries.clear();
        let mut start = 0;
        for (index, Gathered { flags, stamp, end }) in self.entries.iter().enumerate() {
            let at = BLOCK_HEADER_BYTES + entries.len();
            put_at(page, slot_at(PAGE_BYTES, index), (at as u16).to_le_bytes());
            stamp.push(base, *flags, entries);
            entries.extend_from_slice(&self.rests[start..*end]);
            start = *end;
        }
        let (used, count) = (BLOCK_HEADER_BYTES + entries.len(), self.entries.len());
        assert!(used <= PAGE_BYTES - SLOT_BYTES * count);
        page[BLOCK_HEADER_BYTES..used].copy_from_slice(entries);
        let header = BlockHeader { run, number, offset, len: PAGE_BYTES, used, count, tablet };
        header.encode(&Short { keys, base }, page);
        let hash = seal::seal(page);
        chunks.commit_page();
        self.entries.clear();
        self.rests.clear();
        self.stamps_len = 0;
        hash
    }
}

/// True when the entry needs a block of its own with more than one page.
pub(super) fn is_jumbo(entry: &EntryRef<'_>, keys: KeyType) -> bool {
    lone_block_bytes(lone_entry_bytes(entry, keys)) > PAGE_BYTES
}

/// Appends a block for one entry; returns its length in bytes and its hash.
pub(super) fn append_jumbo(
    chunks: &mut Chunks,
    run: RunId,
    number: u32,
    entry: &EntryRef<'_>,
    keys: KeyType,
) -> (usize, u64) {
    let offset = chunks.offset();
    let Body::Here(payload) = entry.body else { unreachable!("a key and a reference fit into a page") };
    let entry_len = lone_entry_bytes(entry, keys);
    let len = lone_block_bytes(entry_len).next_multiple_of(PAGE_BYTES);
    let used = BLOCK_HEADER_BYTES + entry_len;
    let base = entry.stamp();

    let mut front = vec![0; BLOCK_HEADER_BYTES];
    let header = BlockHeader { run, number, offset, len, used, count: 1, tablet: entry.tablet };
    header.encode(&Short { keys, base }, &mut front);
    base.push(base, entry.flags(), &mut front);
    entry.push_key(keys, &mut front);
    assert_eq!(front.len() + payload.len(), used);
    let mut back = vec![0; len - used];
    let slot = back.len() - SLOT_BYTES;
    put_at(&mut back, slot, (BLOCK_HEADER_BYTES as u16).to_le_bytes());

    let mut hasher = Xxh3::new();
    for part in [&front[SEALED_AT..], payload, &back] {
        hasher.update(part);
    }
    let hash = hasher.digest();
    put_at(&mut front, 0, hash.to_le_bytes());
    for part in [&front, payload, &back] {
        chunks.append(part);
    }
    (len, hash)
}
