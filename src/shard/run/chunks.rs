//! The bytes of a file in order, cut into aligned chunks that can be written one after the other.

use std::collections::VecDeque;

use super::PAGE_BYTES;
use crate::io::buf::AlignedBuf;
use crate::limits::RUN_CHUNK_BYTES;
use crate::types::FileOffset;

/// Invariant: full chunks are in `ready`; `current` has room for at least one more byte.
#[derive(Default)]
pub(super) struct Chunks {
    ready: VecDeque<AlignedBuf>,
    current: Option<AlignedBuf>,
    /// Bytes used of `current`.
    filled: usize,
    /// Bytes in all chunks so far.
    total: u64,
}

impl Chunks {
    /// Where the next byte goes in the file.
    pub fn offset(&self) -> FileOffset {
        FileOffset(self.total)
    }

    /// The next page, zeroed when nobody wrote to it yet; stays the next until it is committed.
    pub fn page(&mut self) -> &mut [u8] {
        assert!(self.filled.is_multiple_of(PAGE_BYTES));
        self.room().first_chunk_mut::<PAGE_BYTES>().expect("chunks are whole pages")
    }

    pub fn commit_page(&mut self) {
        self.advance(PAGE_BYTES);
    }

    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.room();
            let len = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(len);
            room[..len].copy_from_slice(now);
            self.advance(len);
            bytes = later;
        }
    }

    /// Zeros up to a place `bytes` further.
    pub fn skip(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let len = self.room().len().min(bytes);
            self.advance(len);
            bytes -= len;
        }
    }

    /// The next full chunk.
    pub fn take_ready(&mut self) -> Option<AlignedBuf> {
        self.ready.pop_front()
    }

    /// The next chunk, at last also the one that is not full. It must end with a whole page.
    pub fn take_last(&mut self) -> Option<AlignedBuf> {
        if let Some(chunk) = self.ready.pop_front() {
            return Some(chunk);
        }
        assert!(self.filled.is_multiple_of(PAGE_BYTES));
        let used = std::mem::take(&mut self.filled);
        self.current.take().filter(|_| used > 0).map(|chunk| AlignedBuf::padded(&chunk[..used]))
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.current.get_or_insert_with(|| AlignedBuf::zeroed(RUN_CHUNK_BYTES))[self.filled..]
    }

    fn advance(&mut self, bytes: usize) {
        self.filled += bytes;
        self.total += bytes as u64;
        assert!(self.filled <= RUN_CHUNK_BYTES);
        if self.filled == RUN_CHUNK_BYTES {
            self.ready.extend(self.current.take());
            self.filled = 0;
        }
    }
}
