//! Operations in flight: their work, with the memory that it lent to the kernel.
//!
//! A place for each token. The kernel gets a [`Key`], the token with a generation, so that a request to
//! cancel which comes too late cannot hit the operation that has the token next.

use super::work::Work;
use crate::io::op::Token;

/// Names an operation to the kernel: generation in the upper half, token in the lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(pub u64);

impl Key {
    /// Larger ones are kept for the driver's own requests.
    const TOKEN_MAX: u64 = u32::MAX as u64 - 2;

    fn new(token: Token, generation: u32) -> Key {
        assert!(token.0 <= Key::TOKEN_MAX, "tokens are small and dense");
        Key(u64::from(generation) << 32 | token.0)
    }

    pub fn token(self) -> Token {
        Token(self.0 & u64::from(u32::MAX))
    }

    fn index(self) -> usize {
        self.token().0 as usize
    }
}

#[derive(Default)]
struct Slot {
    generation: u32,
    /// `None` in a free slot, and while the work is being advanced.
    work: Option<Work>,
    /// The kernel has a request of this operation and will answer it.
    in_kernel: bool,
    /// Nobody waits: no further request is made.
    cancelled: bool,
}

#[derive(Default)]
pub(super) struct InFlight {
    slots: Vec<Slot>,
}

impl InFlight {
    pub fn insert(&mut self, token: Token, work: Work) -> Key {
        let index = usize::try_from(token.0).expect("tokens are small and dense");
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let slot = &mut self.slots[index];
        assert!(slot.work.is_none(), "a token used again before its last completion");
        let generation = slot.generation;
        *slot = Slot { generation, work: Some(work), in_kernel: false, cancelled: false };
        Key::new(token, generation)
    }

    /// The operation that has this token now, if any.
    pub fn key(&self, token: Token) -> Option<Key> {
        let slot = self.slots.get(token.0 as usize)?;
        slot.work.as_ref().map(|_| Key::new(token, slot.generation))
    }

    pub fn keys(&self) -> Vec<Key> {
        (0..self.slots.len()).filter_map(|index| self.key(Token(index as u64))).collect()
    }

    /// The work whose next request the kernel is about to get.
    pub fn start(&mut self, key: Key) -> &mut Work {
        let slot = self.slot(key);
        assert!(!slot.in_kernel, "an operation has one request at a time");
        slot.in_kernel = true;
        slot.work.as_mut().expect("the work of an operation in flight")
    }

    pub fn work(&self, key: Key) -> &Work {
        self.slots[key.index()].work.as_ref().expect("the work of an operation in flight")
    }

    /// Takes the work to advance it after an answer of the kernel; `more` answers come for the request.
    pub fn take(&mut self, key: Key, more: bool) -> Work {
        let slot = self.slot(key);
        assert!(slot.in_kernel, "an answer to no request");
        slot.in_kernel = more;
        slot.work.take().expect("the work of an operation in flight")
    }

    pub fn put_back(&mut self, key: Key, work: Work) {
        let emptied = self.slot(key).work.replace(work);
        assert!(emptied.is_none(), "the work was taken before");
    }

    /// The operation has ended; its token may come again.
    pub fn remove(&mut self, key: Key) {
        let slot = self.slot(key);
        assert!(!slot.in_kernel, "an operation ends when the kernel has let go of it");
        slot.work = None;
        slot.generation = slot.generation.wrapping_add(1);
    }

    pub fn cancel(&mut self, key: Key) {
        self.slot(key).cancelled = true;
    }

    pub fn is_cancelled(&self, key: Key) -> bool {
        self.slots[key.index()].cancelled
    }

    pub fn is_in_kernel(&self, key: Key) -> bool {
        self.slots[key.index()].in_kernel
    }

    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.work.is_none())
    }

    fn slot(&mut self, key: Key) -> &mut Slot {
        let slot = &mut self.slots[key.index()];
        assert_eq!(Key::new(key.token(), slot.generation), key, "an operation that has ended");
        slot
    }
}
