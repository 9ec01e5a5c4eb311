//! Memory in blocks of whole cache lines: one block a node.
//!
//! Aligned to a huge page when there is room for one, so that an owner who passes a [`Memory`] can ask for
//! them: a walk over a graph touches pages at random. What was not pushed yet is not touched.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::rmi::memory::{LINE_BYTES, Memory};

const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Blocks of the same size, up to a number that is fixed.
pub(super) struct Blocks {
    // Invariant: allocated with `layout(capacity, stride)`; the first `len` blocks are initialised.
    start: NonNull<u8>,
    stride: usize,
    len: usize,
    capacity: usize,
}

impl Blocks {
    /// Room for `capacity` blocks of `stride` bytes, which is a multiple of a line.
    pub fn with_capacity(capacity: usize, stride: usize, memory: Memory) -> Blocks {
        assert!(stride > 0 && stride.is_multiple_of(LINE_BYTES));
        let capacity = capacity.max(1);
        let layout = layout(capacity, stride);
        // SAFETY: the layout has a size above zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        if layout.align() == HUGE_PAGE_BYTES {
            memory.advise(start.as_ptr(), layout.size());
        }
        Blocks { start, stride, len: 0, capacity }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Adds a block of zeros.
    pub fn push(&mut self) -> &mut [u8] {
        assert!(self.len < self.capacity, "no room for another block");
        // SAFETY: the block is inside the allocation.
        unsafe { self.start.add(self.len * self.stride).write_bytes(0, self.stride) };
        self.len += 1;
        self.get_mut(self.len - 1)
    }

    pub fn start(&self) -> *const u8 {
        self.start.as_ptr()
    }

    #[inline]
    pub fn get(&self, at: usize) -> &[u8] {
        assert!(at < self.len);
        // SAFETY: the block is initialised; the slice borrows `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at * self.stride), self.stride) }
    }

    #[inline]
    pub fn get_mut(&mut self, at: usize) -> &mut [u8] {
        assert!(at < self.len);
        // SAFETY: as in `get`, and `self` is borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(at * self.stride), self.stride) }
    }

    /// All blocks, one behind the other.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as in `get`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len * self.stride) }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout.
        unsafe { dealloc(self.start.as_ptr(), layout(self.capacity, self.stride)) };
    }
}

// SAFETY: owned memory of plain numbers.
unsafe impl Send for Blocks {}
// SAFETY: changed only through `&mut self`.
unsafe impl Sync for Blocks {}

fn layout(capacity: usize, stride: usize) -> Layout {
    let bytes = capacity.checked_mul(stride).expect("fewer blocks than memory");
    let align = if bytes >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { LINE_BYTES };
    Layout::from_size_align(bytes, align).expect("fewer bytes than memory")
}
