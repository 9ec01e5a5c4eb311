//! Buffers of past blocks, kept for the next ones.
//!
//! A buffer is written as a whole, so it must be exactly as long as its block: one shelf a length.

use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::limits;

const SHELVES: usize = limits::LOG_BLOCK_BYTES_MAX / BLOCK_BYTES;
/// Twice what can be under way: beyond it a buffer is freed.
const POOL_BYTES_MAX: usize = 2 * limits::LOG_WRITES_IN_FLIGHT_MAX * limits::LOG_BLOCK_BYTES_MAX;

pub(super) struct BufPool {
    shelves: Vec<Vec<AlignedBuf>>,
    bytes: usize,
}

impl BufPool {
    pub(super) fn new() -> BufPool {
        BufPool { shelves: (0..SHELVES).map(|_| Vec::new()).collect(), bytes: 0 }
    }

    /// A buffer of `len` bytes, a multiple of 4 KiB, with arbitrary content.
    pub(super) fn take(&mut self, len: usize) -> AlignedBuf {
        assert!(len.is_multiple_of(BLOCK_BYTES) && len <= limits::LOG_BLOCK_BYTES_MAX);
        match self.shelves[shelf(len)].pop() {
            Some(buf) => {
                self.bytes -= buf.len();
                buf
            }
            None => AlignedBuf::zeroed(len),
        }
    }

    pub(super) fn give_back(&mut self, buf: AlignedBuf) {
        let fits = buf.len() <= limits::LOG_BLOCK_BYTES_MAX && self.bytes + buf.len() <= POOL_BYTES_MAX;
        if fits {
            self.bytes += buf.len();
            self.shelves[shelf(buf.len())].push(buf);
        }
    }
}

fn shelf(len: usize) -> usize {
    len / BLOCK_BYTES - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_buffers_of_the_asked_length_and_keeps_a_bounded_number() {
        let mut pool = BufPool::new();
        for _ in 0..100 {
            pool.give_back(AlignedBuf::zeroed(limits::LOG_BLOCK_BYTES_MAX));
        }
        assert_eq!(pool.bytes, POOL_BYTES_MAX);
        assert_eq!(pool.take(4096).len(), 4096);
        assert_eq!(pool.take(limits::LOG_BLOCK_BYTES_MAX).len(), limits::LOG_BLOCK_BYTES_MAX);
        assert_eq!(pool.bytes, POOL_BYTES_MAX - limits::LOG_BLOCK_BYTES_MAX);
    }
}
