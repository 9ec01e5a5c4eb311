//! Bytes that gather until the end of a run, in pieces.
//!
//! The keys of a large run take hundreds of megabytes. In one vector, growing and freeing them would
//! hold a core for milliseconds; in pieces each step is short.

use std::collections::VecDeque;

use crate::limits::RUN_CHUNK_BYTES;

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

    /// Appends to the last piece, or begins another when it would grow over [`RUN_CHUNK_BYTES`].
    pub fn extend(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.pieces.back_mut() {
            Some(last) if last.len() + bytes.len() <= RUN_CHUNK_BYTES => last.extend_from_slice(bytes),
            _ => self.pieces.push_back(bytes.to_vec()),
        }
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
