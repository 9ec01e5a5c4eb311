//! A received buffer on loan from the driver.
//!
//! With multishot receive the kernel picks a buffer from a ring that the driver provided; the reader
//! gets it as a lease and gives it back by dropping it. A reader that keeps leases starves its own
//! core, so the HTTP layer copies what it must keep.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;

/// Where leases return to.
pub trait LeaseHome {
    /// The buffer numbered `id` may be filled again.
    fn give_back(&self, id: u32);
}

pub struct Lease {
    // Invariant: `len` initialised bytes that `home` neither frees nor writes until `give_back(id)`.
    ptr: NonNull<u8>,
    len: usize,
    id: u32,
    home: Rc<dyn LeaseHome>,
}

impl Lease {
    /// # Safety
    /// `ptr` must point to `len` initialised bytes that stay valid and unwritten for as long as
    /// `home` is alive and `give_back(id)` was not called.
    pub unsafe fn new(ptr: NonNull<u8>, len: usize, id: u32, home: Rc<dyn LeaseHome>) -> Lease {
        Lease { ptr, len, id, home }
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the promise made to `Lease::new`.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.home.give_back(self.id);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.len)
    }
}
