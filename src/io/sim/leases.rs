//! The receive buffers that a simulated core lends out.

use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;

use crate::io::lease::{Lease, LeaseHome};

pub(super) struct LeasePool {
    lent: RefCell<slab::Slab<Rc<[u8]>>>,
    buffers_max: usize,
}

impl LeasePool {
    pub fn new(buffers_max: u16) -> Rc<LeasePool> {
        Rc::new(LeasePool { lent: RefCell::default(), buffers_max: usize::from(buffers_max) })
    }

    pub fn has_room(&self) -> bool {
        self.lent.borrow().len() < self.buffers_max
    }

    /// The end of a stream takes no buffer from anyone, so it is lent even when there is no room.
    pub fn lend(self: &Rc<LeasePool>, bytes: &[u8]) -> Lease {
        assert!(bytes.is_empty() || self.has_room(), "more buffers lent than there are");
        let shared: Rc<[u8]> = bytes.into();
        let ptr = NonNull::from(&*shared).cast::<u8>();
        let id = self.lent.borrow_mut().insert(shared);
        let id = u32::try_from(id).expect("fewer buffers than u32::MAX");
        // SAFETY: the bytes live in the pool, which the lease keeps alive, until `give_back`; nobody
        // writes to them.
        unsafe { Lease::new(ptr, bytes.len(), id, self.clone()) }
    }
}

impl LeaseHome for LeasePool {
    fn give_back(&self, id: u32) {
        self.lent.borrow_mut().remove(id as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_keeps_its_bytes_until_it_is_given_back() {
        let pool = LeasePool::new(2);
        let (one, two) = (pool.lend(b"one"), pool.lend(b"two"));
        assert!(!pool.has_room());
        assert_eq!((&*one, &*two), (&b"one"[..], &b"two"[..]));
        drop(one);
        assert!(pool.has_room());
        let end = pool.lend(b"");
        assert!(end.is_empty());
        drop(pool);
        assert_eq!(&*two, b"two");
    }
}
