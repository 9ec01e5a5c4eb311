//! Bytes that gather until the end of a run, in pieces.
//!
//! The keys of a large run take hundreds of megabytes. In one vector, growing and freeing them would
//! hold a core for milliseconds; in pieces each step is short, and what works on them a piece at a time
//! works in steps.

use std::collections::VecDeque;

use super::PAGE_BYTES;
use super::locators::LOCATOR_BYTES;

/// Of a piece, and of a read: whole pages, and whole keys and locators.
pub(super) const PIECE_BYTES: usize = LOCATOR_BYTES * PAGE_BYTES;

#[derive(Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    len: usize,
}

impl Pieces {
    /// Bytes in all pieces.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Appends to the last piece, or begins another when it would grow over [`PIECE_BYTES`].
    pub fn extend(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.pieces.back_mut() {
            Some(last) if last.len() + bytes.len() <= PIECE_BYTES => last.extend_from_slice(bytes),
            _ => self.pieces.push_back(bytes.to_vec()),
        }
    }

    /// As [`Pieces::extend`], for what is longer than a piece.
    pub fn extend_long(&mut self, bytes: &[u8]) {
        bytes.chunks(PIECE_BYTES).for_each(|piece| self.extend(piece));
    }

    /// Fills the last line of so many bytes.
    pub fn fill_line(&mut self, line_bytes: usize, filling: u8) {
        let missing = self.len.next_multiple_of(line_bytes) - self.len;
        self.extend(&vec![filling; missing]);
    }

    /// All in one; for what is short.
    pub fn concat(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        self.pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    pub fn append(&mut self, mut other: Pieces) {
        self.len += other.len;
        self.pieces.append(&mut other.pieces);
    }

    pub fn take_first(&mut self) -> Option<Vec<u8>> {
        let first = self.pieces.pop_front()?;
        self.len -= first.len();
        Some(first)
    }
}
