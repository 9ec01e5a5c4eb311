//! Memory in whole cache lines, and what its owner may ask of the pages below it.
//!
//! This folder allocates and never calls the system. Who wants huge pages under the large arrays passes
//! a [`Memory`] that asks for them; the arrays are aligned so that it can.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

pub const LINE_BYTES: usize = 64;
/// Keys of a cache line.
pub const LINE_KEYS: usize = 8;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// What to do with fresh memory before it is first written.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    advise: fn(*mut u8, usize),
}

impl Memory {
    /// Memory as the allocator gives it.
    pub fn plain() -> Memory {
        Memory { advise: |_, _| {} }
    }

    /// `advise` gets address and length of each large array while nothing is in it.
    pub fn advised(advise: fn(*mut u8, usize)) -> Memory {
        Memory { advise }
    }
}

/// Some number of cache lines of keys, aligned to the line, and to a huge page when they fill one.
pub(super) struct Lines {
    // Invariant: points to `len` initialised lines allocated with `layout(len)`.
    start: NonNull<u64>,
    len: usize,
}

impl Lines {
    pub fn filled(len: usize, key: u64, memory: Memory) -> Lines {
        assert!(len > 0, "an empty allocation has no address");
        let layout = layout(len);
        // SAFETY: the layout has a size above zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start.cast::<u64>()) else { handle_alloc_error(layout) };
        if layout.align() == HUGE_PAGE_BYTES {
            (memory.advise)(start.as_ptr().cast(), layout.size());
        }
        for at in 0..len * LINE_KEYS {
            // SAFETY: `at` is inside the allocation.
            unsafe { start.add(at).write(key) };
        }
        Lines { start, len }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn as_keys(&self) -> &[u64] {
        // SAFETY: by the invariant all keys are initialised; the slice borrows `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len * LINE_KEYS) }
    }

    pub fn as_keys_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `as_keys`, and `self` is borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len * LINE_KEYS) }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout.
        unsafe { dealloc(self.start.as_ptr().cast(), layout(self.len)) };
    }
}

// SAFETY: owned memory of plain numbers.
unsafe impl Send for Lines {}
// SAFETY: changed only through `&mut self`.
unsafe impl Sync for Lines {}

fn layout(len: usize) -> Layout {
    let bytes = len.checked_mul(LINE_BYTES).expect("fewer lines than memory");
    let align = if bytes >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { LINE_BYTES };
    Layout::from_size_align(bytes, align).expect("fewer bytes than memory")
}
