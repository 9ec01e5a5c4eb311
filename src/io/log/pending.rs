//! Encoded records that wait for a block, in chunks of a fixed size.
//!
//! One growing buffer would be copied as it grows and freed in one go, which holds the core for
//! milliseconds once there are megabytes in it. A chunk costs the same whatever waits behind it.

use std::collections::VecDeque;

use crate::limits;

const CHUNK_BYTES: usize = limits::LOG_BLOCK_BYTES_MAX;

/// Invariant: every chunk but the last is full, and only the first has bytes that were taken.
#[derive(Default)]
pub(super) struct Pending {
    chunks: VecDeque<Vec<u8>>,
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

    fn chunk_with_room(&mut self) -> &mut Vec<u8> {
        if self.chunks.back().is_none_or(|chunk| chunk.len() == CHUNK_BYTES) {
            let chunk = self.spare.take().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES));
            self.chunks.push_back(chunk);
        }
        self.chunks.back_mut().expect("it was just put there")
    }

    /// Moves the first bytes into `out`, which must not be longer than what waits.
    pub fn take_into(&mut self, mut out: &mut [u8]) {
        assert!(out.len() <= self.len, "more was taken than waits");
        self.len -= out.len();
        while !out.is_empty() {
            let chunk = &self.chunks[0][self.taken..];
            let (now, later) = out.split_at_mut(out.len().min(chunk.len()));
            now.copy_from_slice(&chunk[..now.len()]);
            self.taken += now.len();
            out = later;
            self.drop_taken();
        }
    }

    fn drop_taken(&mut self) {
        if self.taken == self.chunks[0].len() {
            self.taken = 0;
            let mut chunk = self.chunks.pop_front().expect("it was just read");
            chunk.clear();
            self.spare = Some(chunk);
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
        fn bytes_leave_as_they_came(steps in prop::collection::vec((0..3 * CHUNK_BYTES, 0..3 * CHUNK_BYTES), 1..12)) {
            let mut pending = Pending::default();
            let (mut next_in, mut next_out) = (0_u64, 0_u64);
            let byte = |at: &mut u64| {
                *at += 1;
                (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
            };
            for (len_in, len_out) in steps {
                let bytes: Vec<u8> = (0..len_in).map(|_| byte(&mut next_in)).collect();
                pending.extend(&bytes);
                let mut out = vec![0; len_out.min(pending.len())];
                pending.take_into(&mut out);
                for found in out {
                    prop_assert_eq!(found, byte(&mut next_out));
                }
                prop_assert_eq!(pending.len() as u64, next_in - next_out);
                prop_assert!(pending.chunks.len() <= pending.len() / CHUNK_BYTES + 2);
            }
        }
    }
}
