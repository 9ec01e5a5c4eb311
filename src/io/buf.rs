//! Aligned memory for direct I/O.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

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

/// Bytes that are filled from the front, piece by piece, and shared when they are whole. Nothing is cleared
/// before: whoever fills a large one in slices pays for it in slices.
pub struct SharedFill {
    // Invariant: the first `filled` bytes are initialised, and nobody else has a hold on them.
    bytes: Arc<[MaybeUninit<u8>]>,
    filled: usize,
}

impl SharedFill {
    pub fn new(len: usize) -> SharedFill {
        SharedFill { bytes: Arc::new_uninit_slice(len), filled: 0 }
    }

    /// Bytes that are still to come.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.filled
    }

    pub fn push(&mut self, piece: &[u8]) {
        let bytes = Arc::get_mut(&mut self.bytes).expect("not shared before it is whole");
        let place = &mut bytes[self.filled..self.filled + piece.len()];
        // SAFETY: `place` is as long as `piece`, and they do not overlap: one is borrowed mutably.
        unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), place.as_mut_ptr().cast(), piece.len()) };
        self.filled += piece.len();
    }

    /// Panics when bytes are missing.
    pub fn finish(self) -> Arc<[u8]> {
        assert_eq!(self.left(), 0, "bytes are missing");
        // SAFETY: all bytes were filled, by the invariant.
        unsafe { self.bytes.assume_init() }
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

    #[test]
    fn pieces_come_together() {
        let mut fill = SharedFill::new(7);
        for piece in [&b"ab"[..], b"", b"cdefg"] {
            fill.push(piece);
        }
        assert_eq!(*fill.finish(), *b"abcdefg");
        assert!(SharedFill::new(0).finish().is_empty());
    }

    #[test]
    #[should_panic(expected = "bytes are missing")]
    fn what_is_not_whole_is_not_shared() {
        let mut fill = SharedFill::new(3);
        fill.push(b"ab");
        fill.finish();
    }
}
