//! Fills payload blocks. An ordinary block is built in place, in the page of the chunk that will be
//! written; the payload of a jumbo block is copied straight into the chunks.

use xxhash_rust::xxh3::Xxh3;

use super::PAGE_BYTES;
use super::block::{BLOCK_HEADER_BYTES, BlockHeader, SLOT_BYTES, slot_at};
use super::body::Body;
use super::chunks::Chunks;
use super::entry::EntryRef;
use super::field::put_at;
use super::seal::{self, SEALED_AT};
use crate::types::{RunId, TabletId};

/// Bytes of a block that holds one entry of `len` bytes.
fn lone_block_bytes(len: usize) -> usize {
    BLOCK_HEADER_BYTES + len + SLOT_BYTES
}

/// The ordinary block that is being filled; its bytes are in the page that `Chunks` has next.
pub(super) struct BlockBuilder {
    count: usize,
    used: usize,
}

impl BlockBuilder {
    pub fn new() -> BlockBuilder {
        BlockBuilder { count: 0, used: BLOCK_HEADER_BYTES }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether an entry of `len` bytes has room.
    pub fn fits(&self, len: usize) -> bool {
        self.used + len + SLOT_BYTES * (self.count + 1) <= PAGE_BYTES
    }

    pub fn push(&mut self, page: &mut [u8], entry: &EntryRef<'_>) {
        put_at(page, slot_at(PAGE_BYTES, self.count), (self.used as u16).to_le_bytes());
        self.used += entry.encode(&mut page[self.used..]);
        self.count += 1;
        assert!(self.used <= PAGE_BYTES - SLOT_BYTES * self.count);
    }

    /// Writes header and hash, commits the page, and begins the next block; returns the hash.
    pub fn seal(&mut self, chunks: &mut Chunks, run: RunId, number: u32, tablet: TabletId) -> u64 {
        assert!(!self.is_empty());
        let offset = chunks.offset();
        let (used, count) = (self.used, self.count);
        let page = chunks.page();
        BlockHeader { run, number, offset, len: PAGE_BYTES, used, count, tablet }.encode(page);
        let hash = seal::seal(page);
        chunks.commit_page();
        *self = BlockBuilder::new();
        hash
    }
}

/// True when the entry needs a block of its own with more than one page.
pub(super) fn is_jumbo(entry_len: usize) -> bool {
    lone_block_bytes(entry_len) > PAGE_BYTES
}

/// Appends a block for one entry; returns its length in bytes and its hash.
pub(super) fn append_jumbo(
    chunks: &mut Chunks,
    run: RunId,
    number: u32,
    entry: &EntryRef<'_>,
) -> (usize, u64) {
    let offset = chunks.offset();
    let Body::Here(payload) = entry.body else { unreachable!("a key and a reference fit into a page") };
    let entry_len = entry.encoded_len();
    let len = lone_block_bytes(entry_len).next_multiple_of(PAGE_BYTES);
    let used = BLOCK_HEADER_BYTES + entry_len;

    let mut front = vec![0; used - payload.len()];
    BlockHeader { run, number, offset, len, used, count: 1, tablet: entry.tablet }.encode(&mut front);
    entry.encode_front(&mut front[BLOCK_HEADER_BYTES..]);
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
