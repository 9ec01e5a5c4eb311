//! Aligned memory for direct I/O.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The unit of direct I/O: file offsets, lengths and memory addresses are multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// Rounds up to whole blocks.
pub const fn round_up_to_block(len: usize) -> usize {
    len.next_multiple_of(BLOCK_BYTES)
}

/// An owned, zeroed buffer whose address and length are multiples of [`BLOCK_BYTES`].
pub struct AlignedBuf {
    // Invariant: points to `len` initialised bytes allocated with `layout(len)`.
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: the buffer is plain owned memory, reachable only through this value.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// `len` is rounded up to whole blocks; at least one block is allocated.
    pub fn zeroed(len: usize) -> AlignedBuf {
        let len = round_up_to_block(len.max(1));
        // SAFETY: the layout has a non-zero size.
        let ptr = unsafe { alloc_zeroed(layout(len)) };
        let Some(ptr) = NonNull::new(ptr) else { handle_alloc_error(layout(len)) };
        AlignedBuf { ptr, len }
    }

    /// A copy of `bytes`, zero-padded to whole blocks.
    pub fn padded(bytes: &[u8]) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(bytes.len());
        buf[..bytes.len()].copy_from_slice(bytes);
        buf
    }
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len, BLOCK_BYTES).expect("buffer length overflows")
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: allocated by `zeroed` with this very layout.
        unsafe { dealloc(self.ptr.as_ptr(), layout(self.len)) }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the invariant of `ptr` and `len`.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the invariant of `ptr` and `len`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_zeroed_and_whole_blocks() {
        for len in [0, 1, 4095, 4096, 4097, 100_000] {
            let buf = AlignedBuf::zeroed(len);
            assert_eq!(buf.as_ptr() as usize % BLOCK_BYTES, 0);
            assert_eq!(buf.len() % BLOCK_BYTES, 0);
            assert!(buf.len() >= len.max(1) && buf.len() < len + 2 * BLOCK_BYTES);
            assert!(buf.iter().all(|byte| *byte == 0));
        }
        let buf = AlignedBuf::padded(b"abc");
        assert_eq!(&buf[..4], b"abc\0");
    }
}
