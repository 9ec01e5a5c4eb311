//! Memory in whole cache lines, and what its owner may ask of the pages below it.
//!
//! This folder allocates and never calls the system. Who wants huge pages under the large arrays passes
//! a [`Memory`] that asks for them; the arrays are aligned so that it can. The first write to a huge page
//! waits until the kernel has cleared all of it: no step is shorter than that.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

pub const LINE_BYTES: usize = 64;
/// Keys of a cache line.
pub const LINE_KEYS: usize = 8;
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// What to do with fresh memory before it is first written.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    advise: Option<fn(*mut u8, usize)>,
}

impl Memory {
    /// Memory as the allocator gives it.
    pub fn plain() -> Memory {
        Memory { advise: None }
    }

    /// `advise` gets address and length of each large array while nothing is in it.
    pub fn advised(advise: fn(*mut u8, usize)) -> Memory {
        Memory { advise: Some(advise) }
    }
}

/// Cache lines of keys, or of bytes, aligned to the line, and to a huge page when one is wanted and there is room for it:
/// the allocator asks the system for such memory, and gives it back in one go, for milliseconds. As a `Vec`: what
/// was not written yet costs nothing, so that a core can write a large one in turns.
pub(crate) struct Lines {
    // Invariant: allocated with `layout(capacity, align)`; the first `len` lines are initialised.
    start: NonNull<u64>,
    len: usize,
    capacity: usize,
    align: usize,
}

impl Lines {
    pub fn with_capacity(capacity: usize, memory: Memory) -> Lines {
        assert!(capacity > 0, "an empty allocation has no address");
        let advise = memory.advise.filter(|_| capacity >= HUGE_PAGE_BYTES / LINE_BYTES);
        let align = if advise.is_some() { HUGE_PAGE_BYTES } else { LINE_BYTES };
        let layout = layout(capacity, align);
        // SAFETY: the layout has a size above zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start.cast::<u64>()) else { handle_alloc_error(layout) };
        if let Some(advise) = advise {
            advise(start.as_ptr().cast(), layout.size());
        }
        Lines { start, len: 0, capacity, align }
    }

    pub fn filled(len: usize, key: u64, memory: Memory) -> Lines {
        let mut lines = Lines::with_capacity(len, memory);
        lines.fill_up_to(len, key);
        lines
    }

    /// Makes it `len` lines; new ones have `key` all over.
    pub fn fill_up_to(&mut self, len: usize, key: u64) {
        assert!(len <= self.capacity);
        for at in self.len * LINE_KEYS..len * LINE_KEYS {
            // SAFETY: `at` is inside the allocation.
            unsafe { self.start.add(at).write(key) };
        }
        self.len = self.len.max(len);
    }

    /// Writes `keys` from place `at` on, which is in the lines or right behind them, and `filler` from there
    /// to the end of the line.
    pub fn put(&mut self, at: usize, keys: &[u64], filler: u64) {
        let end = at + keys.len();
        let lines = end.div_ceil(LINE_KEYS);
        assert!(at <= self.len * LINE_KEYS && lines <= self.capacity);
        // SAFETY: `at` to `end` is inside the allocation, and it is not where `keys` are: that would take a
        // borrow of `self`.
        unsafe { self.start.add(at).copy_from_nonoverlapping(NonNull::from(keys).cast(), keys.len()) };
        for at in end..lines * LINE_KEYS {
            // SAFETY: as above.
            unsafe { self.start.add(at).write(filler) };
        }
        self.len = self.len.max(lines);
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn as_keys(&self) -> &[u64] {
        // SAFETY: by the invariant these keys are initialised; the slice borrows `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len * LINE_KEYS) }
    }

    pub fn as_keys_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `as_keys`, and `self` is borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len * LINE_KEYS) }
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: as in `as_keys`; every byte of a key is a byte.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len * LINE_BYTES) }
    }

    #[inline]
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_bytes`, any bytes are a key, and `self` is borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len * LINE_BYTES) }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: allocated with the same layout.
        unsafe { dealloc(self.start.as_ptr().cast(), layout(self.capacity, self.align)) };
    }
}

// SAFETY: owned memory of plain numbers.
unsafe impl Send for Lines {}
// SAFETY: changed only through `&mut self`.
unsafe impl Sync for Lines {}

fn layout(lines: usize, align: usize) -> Layout {
    let bytes = lines.checked_mul(LINE_BYTES).expect("fewer lines than memory");
    Layout::from_size_align(bytes, align).expect("fewer bytes than memory")
}
