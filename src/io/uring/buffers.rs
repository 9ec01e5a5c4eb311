//! The buffers that received bytes arrive in, lent to readers as leases.
//!
//! Buffers come either from a ring that the kernel picks from, or from a list that the driver picks
//! from. Each lent buffer counts against the stream it came on (its [`Flow`]), so that one stream
//! without a reader cannot take the buffers of all.
//!
//! Invariant: a buffer is either with the supply, with the kernel, or lent; `lent` counts the last.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::RingError;
use super::probe::Features;
use super::ring::Ring;
use crate::io::buf::AlignedBuf;
use crate::io::lease::{Lease, LeaseHome};
use crate::limits;

/// From one buffer to the next. A line of the cache more than a buffer has: were all of them to begin at the same place of
/// a page, the first lines of all would compete for the few places that a cache has for those.
const STRIDE_BYTES: usize = limits::RECEIVE_BUFFER_BYTES + 64;

/// Marks the empty lease at the end of a stream, which has no buffer.
const NO_BUFFER: u32 = u32::MAX;

/// How many buffers of one stream are lent out.
#[derive(Default)]
pub(in crate::io) struct Flow {
    lent: Cell<usize>,
}

pub(in crate::io) struct ReceiveBuffers {
    memory: NonNull<u8>,
    supply: Supply,
    /// The stream that each lent buffer counts against.
    borrowers: RefCell<Vec<Option<Rc<Flow>>>>,
    lent: Cell<usize>,
    /// Owns what `memory` points to.
    _memory: AlignedBuf,
}

enum Supply {
    Kernel(BufferRing),
    List(RefCell<Vec<u16>>),
}

impl ReceiveBuffers {
    /// In a ring that the kernel picks from, when it can; when not, `features` says so afterwards.
    pub(super) fn new(ring: &Ring, features: &mut Features) -> Result<ReceiveBuffers, RingError> {
        let count = features.receive_buffers;
        if features.multishot_receive {
            match ReceiveBuffers::ringed(count, ring) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    features.multishot_receive = false
                }
                other => {
                    return other.map_err(|error| RingError::from_os("io_uring_register(PBUF_RING)", error));
                }
            }
        }
        Ok(ReceiveBuffers::listed(count))
    }

    /// `count` buffers on a list.
    pub fn listed(count: u16) -> ReceiveBuffers {
        ReceiveBuffers::with(count, Supply::List(RefCell::new((0..count).rev().collect())))
    }

    /// `count` buffers, a power of two, in a ring that the kernel picks from.
    fn ringed(count: u16, ring: &Ring) -> std::io::Result<ReceiveBuffers> {
        let buffers = ReceiveBuffers::with(count, Supply::Kernel(BufferRing::register(count, ring)?));
        (0..count).for_each(|id| buffers.supply(id));
        Ok(buffers)
    }

    fn with(count: u16, supply: Supply) -> ReceiveBuffers {
        let mut memory = AlignedBuf::zeroed(usize::from(count) * STRIDE_BYTES);
        let borrowers = RefCell::new(vec![None; usize::from(count)]);
        let start = NonNull::from(&mut *memory).cast();
        ReceiveBuffers { memory: start, supply, borrowers, lent: Cell::new(0), _memory: memory }
    }

    fn count(&self) -> usize {
        self.borrowers.borrow().len()
    }

    /// Buffers that are not lent out.
    pub fn free(&self) -> usize {
        self.count() - self.lent.get()
    }

    pub fn all_are_lent(&self) -> bool {
        self.free() == 0
    }

    /// True when a stream holds so many buffers that it has to pause.
    pub fn is_flooded(&self, flow: &Flow) -> bool {
        flow.lent.get() >= self.flow_max()
    }

    /// True when a paused stream has given back enough to go on.
    pub fn is_drained(&self, flow: &Flow) -> bool {
        flow.lent.get() <= self.flow_max() / 2
    }

    fn flow_max(&self) -> usize {
        limits::RECEIVE_BUFFERS_PER_STREAM_MAX.min(self.count().div_ceil(2))
    }

    pub fn address(&self, id: u16) -> NonNull<u8> {
        assert!(usize::from(id) < self.count(), "a buffer that does not exist");
        // SAFETY: `memory` has room for `count` buffers and `id` is below it.
        unsafe { self.memory.add(usize::from(id) * STRIDE_BYTES) }
    }

    /// A free buffer from the list.
    pub fn pick(&self) -> Option<u16> {
        match &self.supply {
            Supply::List(free) => free.borrow_mut().pop(),
            Supply::Kernel(_) => unreachable!("the kernel picks from its ring by itself"),
        }
    }

    /// Gives a buffer that was never lent back to the supply.
    pub fn supply(&self, id: u16) {
        match &self.supply {
            Supply::List(free) => free.borrow_mut().push(id),
            Supply::Kernel(ring) => ring.add(id, self.address(id)),
        }
    }

    /// Lends the first `len` bytes of the buffer `id`, which came from the supply.
    pub fn lend(self: &Rc<Self>, id: u16, len: usize, flow: &Rc<Flow>) -> Lease {
        assert!(len <= limits::RECEIVE_BUFFER_BYTES, "more bytes than the buffer holds");
        let borrower = self.borrowers.borrow_mut()[usize::from(id)].replace(flow.clone());
        assert!(borrower.is_none(), "a buffer was lent twice");
        self.lent.set(self.lent.get() + 1);
        flow.lent.set(flow.lent.get() + 1);
        // SAFETY: the buffer is initialised (zeroed at first), lives as long as `self`, and neither the
        // kernel nor the driver gets it before `give_back` supplies it again.
        unsafe { Lease::new(self.address(id), len, u32::from(id), self.clone()) }
    }

    /// The lease that ends a stream.
    pub fn end_of_stream(self: &Rc<Self>) -> Lease {
        // SAFETY: no bytes.
        unsafe { Lease::new(NonNull::dangling(), 0, NO_BUFFER, self.clone()) }
    }
}

impl LeaseHome for ReceiveBuffers {
    fn give_back(&self, id: u32) {
        if id == NO_BUFFER {
            return;
        }
        let flow = self.borrowers.borrow_mut()[id as usize].take().expect("a buffer came back twice");
        flow.lent.set(flow.lent.get() - 1);
        self.lent.set(self.lent.get() - 1);
        self.supply(id as u16);
    }
}

/// The memory in which the kernel finds free buffers: entries, and the tail in the spare field of the
/// first one. The kernel keeps its own head, and never has more entries than there are buffers.
struct BufferRing {
    entries: NonNull<BufRingEntry>,
    mask: u16,
    tail: Cell<u16>,
    /// Owns what `entries` points to.
    _memory: AlignedBuf,
}

impl BufferRing {
    fn register(count: u16, ring: &Ring) -> std::io::Result<BufferRing> {
        assert!(count.is_power_of_two());
        let mut memory = AlignedBuf::zeroed(usize::from(count) * size_of::<BufRingEntry>());
        let entries: NonNull<BufRingEntry> = NonNull::from(&mut *memory).cast();
        // SAFETY: the kernel pins the pages; they are freed only after the driver has dropped its ring.
        unsafe { ring.register_buffers(entries.as_ptr() as u64, count)? };
        Ok(BufferRing { entries, mask: count - 1, tail: Cell::new(0), _memory: memory })
    }

    fn add(&self, id: u16, address: NonNull<u8>) {
        let tail = self.tail.get();
        // SAFETY: the index is below the number of entries, and the kernel reads an entry only after the
        // tail has passed it. No other reference to it exists: nothing else touches this memory.
        let entry = unsafe { self.entries.add(usize::from(tail & self.mask)).as_mut() };
        entry.set_addr(address.as_ptr() as u64);
        entry.set_len(limits::RECEIVE_BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: the tail is an aligned u16 inside the ring's memory; kernel and driver access it atomically.
        let shared = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        shared.store(self.tail.get(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_each_buffer_once_and_counts_by_stream() {
        let buffers = Rc::new(ReceiveBuffers::listed(4));
        let (one, other) = (Rc::new(Flow::default()), Rc::new(Flow::default()));
        let ids: Vec<u16> = std::iter::from_fn(|| buffers.pick()).collect();
        assert_eq!(ids.len(), 4);
        let mut leases: Vec<Lease> = ids[..3].iter().map(|id| buffers.lend(*id, 10, &one)).collect();
        assert!(buffers.is_flooded(&one) && !buffers.is_flooded(&other));
        assert_eq!(buffers.free(), 1);
        drop(buffers.end_of_stream());
        assert_eq!(buffers.free(), 1, "the end of a stream has no buffer");
        leases.truncate(1);
        assert!(buffers.is_drained(&one));
        assert_eq!(buffers.free(), 3);
        assert_eq!(std::iter::from_fn(|| buffers.pick()).count(), 2);
    }

    #[test]
    #[should_panic(expected = "lent twice")]
    fn a_buffer_lent_twice_is_a_bug() {
        let buffers = Rc::new(ReceiveBuffers::listed(2));
        let flow = Rc::new(Flow::default());
        let _first = buffers.lend(1, 1, &flow);
        let _second = buffers.lend(1, 1, &flow);
    }
}
