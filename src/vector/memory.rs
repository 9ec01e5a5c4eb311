//! Memory in blocks of whole cache lines: one block a node.
//!
//! A walk over a graph touches pages at random, so an owner may pass a [`Memory`] that asks for huge ones. What
//! was not pushed yet is not touched.

use crate::rmi::memory::{LINE_BYTES, Lines, Memory};

/// Blocks of the same size, up to a number that is fixed.
pub(super) struct Blocks {
    lines: Lines,
    stride: usize,
}

impl Blocks {
    /// Room for `capacity` blocks of `stride` bytes, which is a multiple of a line.
    pub fn with_capacity(capacity: usize, stride: usize, memory: Memory) -> Blocks {
        assert!(stride > 0 && stride.is_multiple_of(LINE_BYTES));
        let lines = capacity.max(1).checked_mul(stride / LINE_BYTES).expect("fewer blocks than memory");
        Blocks { lines: Lines::with_capacity(lines, memory), stride }
    }

    pub fn len(&self) -> usize {
        self.lines.len() * LINE_BYTES / self.stride
    }

    pub fn capacity(&self) -> usize {
        self.lines.capacity() * LINE_BYTES / self.stride
    }

    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Adds a block of zeros.
    pub fn push(&mut self) -> &mut [u8] {
        let at = self.len();
        assert!(at < self.capacity(), "no room for another block");
        self.lines.fill_up_to(self.lines.len() + self.stride / LINE_BYTES, 0);
        self.get_mut(at)
    }

    pub fn start(&self) -> *const u8 {
        self.bytes().as_ptr()
    }

    #[inline]
    pub fn get(&self, at: usize) -> &[u8] {
        &self.bytes()[at * self.stride..][..self.stride]
    }

    #[inline]
    pub fn get_mut(&mut self, at: usize) -> &mut [u8] {
        &mut self.lines.as_bytes_mut()[at * self.stride..][..self.stride]
    }

    /// All blocks, one behind the other.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.lines.as_bytes()
    }
}
