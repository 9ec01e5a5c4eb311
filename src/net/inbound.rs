//! Bytes of one connection that have arrived and were not yet parsed.
//!
//! Normally they are read from the lease in which they came. They are copied when the connection has
//! to wait for something else, so that no core starves of receive buffers.

use crate::io::lease::Lease;
use crate::limits;

/// Room for unread bytes that a connection keeps.
const COPIED_BYTES_KEPT: usize = limits::RECEIVE_BUFFER_BYTES;

#[derive(Default)]
pub struct Inbound {
    /// Precedes the lease; only one of the two has unread bytes.
    copied: Vec<u8>,
    copied_at: usize,
    lease: Option<Lease>,
    lease_at: usize,
}

impl Inbound {
    pub fn bytes(&self) -> &[u8] {
        match &self.lease {
            Some(lease) => &lease[self.lease_at..],
            None => &self.copied[self.copied_at..],
        }
    }

    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn consume(&mut self, len: usize) {
        assert!(len <= self.len(), "more was consumed than there was");
        match &self.lease {
            Some(_) => self.lease_at += len,
            None => self.copied_at += len,
        }
        if self.is_empty() {
            self.clear();
        }
    }

    pub fn clear(&mut self) {
        self.lease = None;
        self.copied.clear();
        self.copied.shrink_to(COPIED_BYTES_KEPT);
        self.copied_at = 0;
    }

    /// Takes bytes that will be parsed at once.
    pub fn add(&mut self, lease: Lease) {
        if self.is_empty() {
            self.clear();
            self.lease = Some(lease);
            self.lease_at = 0;
        } else {
            self.add_copied(&lease);
        }
    }

    /// Takes bytes that have to wait.
    pub fn add_copied(&mut self, bytes: &[u8]) {
        self.room().extend_from_slice(bytes);
    }

    /// Where bytes that have to wait are appended.
    pub fn room(&mut self) -> &mut Vec<u8> {
        self.settle();
        self.drop_consumed();
        &mut self.copied
    }

    /// A peer that always has sent more before all of it was read would have everything kept that it ever sent. When
    /// half was read, moving the rest costs no more than taking it in did.
    fn drop_consumed(&mut self) {
        if self.copied_at > 0 && self.copied_at >= self.copied.len() - self.copied_at {
            self.copied.drain(..self.copied_at);
            self.copied_at = 0;
        }
    }

    /// Gives the lease back, its unread bytes copied.
    pub fn settle(&mut self) {
        if let Some(lease) = self.lease.take() {
            debug_assert!(self.copied.is_empty());
            self.copied.extend_from_slice(&lease[self.lease_at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::ptr::NonNull;
    use std::rc::Rc;

    use super::*;
    use crate::io::lease::LeaseHome;

    #[derive(Default)]
    struct Home {
        returned: Cell<usize>,
    }

    impl LeaseHome for Home {
        fn give_back(&self, _: u32) {
            self.returned.set(self.returned.get() + 1);
        }
    }

    fn lease(bytes: &'static [u8], home: &Rc<Home>) -> Lease {
        let ptr = NonNull::from(bytes).cast();
        // SAFETY: the bytes are static and never written.
        unsafe { Lease::new(ptr, bytes.len(), 0, home.clone()) }
    }

    #[test]
    fn bytes_stay_in_order_and_leases_go_back() {
        let home = Rc::new(Home::default());
        let mut inbound = Inbound::default();
        inbound.add(lease(b"abc", &home));
        inbound.consume(1);
        assert_eq!((inbound.bytes(), home.returned.get()), (&b"bc"[..], 0));
        inbound.add(lease(b"de", &home));
        assert_eq!((inbound.bytes(), home.returned.get()), (&b"bcde"[..], 2));
        inbound.consume(3);
        inbound.add_copied(b"fg");
        assert_eq!(inbound.bytes(), b"efg");
        inbound.consume(3);
        inbound.add(lease(b"h", &home));
        inbound.settle();
        assert_eq!((inbound.bytes(), home.returned.get()), (&b"h"[..], 3));
        inbound.consume(1);
        inbound.add(lease(b"i", &home));
        inbound.consume(1);
        assert_eq!((inbound.is_empty(), home.returned.get()), (true, 4));
    }

    #[test]
    fn what_was_read_is_not_kept_although_there_is_always_more() {
        let mut inbound = Inbound::default();
        let (mut sent, mut read) = (0_usize, 0_usize);
        while sent < 1_000_000 {
            let piece: Vec<u8> = (sent..sent + 1000).map(|at| at as u8).collect();
            inbound.add_copied(&piece);
            sent += piece.len();
            // All but a little, and now and then a little only.
            let len = if sent.is_multiple_of(7000) { 10 } else { inbound.len() - 300 };
            assert!(inbound.bytes()[..len].iter().enumerate().all(|(at, byte)| *byte == (read + at) as u8));
            inbound.consume(len);
            read += len;
            assert_eq!(inbound.len(), sent - read);
            assert!(inbound.copied.capacity() <= 8192, "{} bytes kept", inbound.copied.capacity());
        }
    }
}
