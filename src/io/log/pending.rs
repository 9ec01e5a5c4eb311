//! Encoded records that wait for a block, in chunks of a fixed size.
//!
//! One growing buffer would be copied as it grows and freed in one go, which holds the core for
//! milliseconds once there are megabytes in it. A chunk costs the same whatever waits behind it. A large payload
//! is no copy: it is shared with whoever wrote it until it is in blocks.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::limits;

const CHUNK_BYTES: usize = limits::LOG_BLOCK_BYTES_MAX;

enum Chunk {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Own(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
        }
    }
}

/// Invariant: no chunk is empty but an own one at the end, and only the first has bytes that were taken.
#[derive(Default)]
pub(super) struct Pending {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that were taken.
    taken: usize,
    len: usize,
    /// An empty chunk for the next time.
    spare: Option<Vec<u8>>,
}

impl Pending {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn extend(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            let chunk = self.chunk_with_room();
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - chunk.len()));
            chunk.extend_from_slice(now);
            bytes = later;
        }
    }

    /// Without a copy.
    pub fn extend_shared(&mut self, bytes: Arc<[u8]>) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.chunks.push_back(Chunk::Shared(bytes));
        }
    }

    fn chunk_with_room(&mut self) -> &mut Vec<u8> {
        let has_room = |chunk: &Chunk| matches!(chunk, Chunk::Own(bytes) if bytes.len() < CHUNK_BYTES);
        if !self.chunks.back().is_some_and(has_room) {
            let chunk = self.spare.take().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES));
            self.chunks.push_back(Chunk::Own(chunk));
        }
        match self.chunks.back_mut() {
            Some(Chunk::Own(chunk)) => chunk,
            _ => unreachable!("it was just put there"),
        }
    }

    /// Moves the first bytes into `out`, which must not be longer than what waits.
    pub fn take_into(&mut self, mut out: &mut [u8]) {
        assert!(out.len() <= self.len, "more was taken than waits");
        self.len -= out.len();
        while !out.is_empty() {
            let chunk = &self.chunks[0].bytes()[self.taken..];
            let (now, later) = out.split_at_mut(out.len().min(chunk.len()));
            now.copy_from_slice(&chunk[..now.len()]);
            self.taken += now.len();
            out = later;
            self.drop_taken();
        }
    }

    fn drop_taken(&mut self) {
        if self.taken == self.chunks[0].bytes().len() {
            self.taken = 0;
            if let Some(Chunk::Own(mut chunk)) = self.chunks.pop_front() {
                chunk.clear();
                self.spare = Some(chunk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Steps are lengths: what goes in, and what then comes out if there is as much.
        #[test]
        fn bytes_leave_as_they_came(
            steps in prop::collection::vec((0..3 * CHUNK_BYTES, 0..3 * CHUNK_BYTES, prop::bool::ANY), 1..12)
        ) {
            let mut pending = Pending::default();
            let (mut next_in, mut next_out) = (0_u64, 0_u64);
            let byte = |at: &mut u64| {
                *at += 1;
                (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
            };
            let mut shared_chunks = 0;
            for (len_in, len_out, shared) in steps {
                let bytes: Vec<u8> = (0..len_in).map(|_| byte(&mut next_in)).collect();
                match shared {
                    true => pending.extend_shared(bytes.into()),
                    false => pending.extend(&bytes),
                }
                shared_chunks += usize::from(shared);
                let mut out = vec![0; len_out.min(pending.len())];
                pending.take_into(&mut out);
                for found in out {
                    prop_assert_eq!(found, byte(&mut next_out));
                }
                prop_assert_eq!(pending.len() as u64, next_in - next_out);
                prop_assert!(pending.chunks.len() <= pending.len() / CHUNK_BYTES + 2 + 2 * shared_chunks);
            }
        }
    }
}
