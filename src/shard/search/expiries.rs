//! When the time of documents is over, by ordinals: in that order, so that a search looks at those whose time is over and at
//! no others, and of these not at what is deleted.

use std::collections::BTreeSet;

use crate::shard::delta::NEVER;
use crate::types::WallMs;

/// Of documents that expire.
#[derive(Default)]
pub struct Expiries {
    /// While documents come in.
    open: BTreeSet<(WallMs, u32)>,
    /// When none does any more: all that was in `open`, or what was moved so far.
    settled: Vec<(WallMs, u32)>,
}

impl Expiries {
    pub fn add(&mut self, ordinal: u32, expires: WallMs) {
        if expires != NEVER {
            self.open.insert((expires, ordinal));
        }
    }

    /// The document is deleted.
    pub fn remove(&mut self, ordinal: u32, expires: WallMs) {
        if expires != NEVER {
            self.open.remove(&(expires, ordinal));
        }
    }

    /// Of documents that are not settled.
    pub fn over(&self, now: WallMs) -> impl Iterator<Item = u32> {
        self.open.range(..=(now, u32::MAX)).map(|(_, ordinal)| *ordinal)
    }

    /// No document comes in any more. Moves up to `count`; true when all are.
    pub fn settle(&mut self, count: usize) -> bool {
        if self.settled.is_empty() {
            self.settled.reserve_exact(self.open.len());
        }
        if count >= self.open.len() {
            // Without a search for each.
            self.settled.extend(std::mem::take(&mut self.open));
            return true;
        }
        self.settled.extend(std::iter::from_fn(|| self.open.pop_first()).take(count));
        self.open.is_empty()
    }

    /// All of them, in their order, once they are.
    pub fn settled(&self) -> &[(WallMs, u32)] {
        assert!(self.open.is_empty(), "documents may still come in");
        &self.settled
    }

    pub fn memory_bytes(&self) -> usize {
        // Nodes of the tree are two thirds full.
        size_of::<(WallMs, u32)>() * (self.open.len() * 3 / 2 + self.settled.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_over_and_not_deleted_is_looked_at() {
        let mut expiries = Expiries::default();
        for ordinal in 0..10 {
            expiries.add(ordinal, WallMs(u64::from(100 - ordinal)));
        }
        expiries.add(10, NEVER);
        let over = |expiries: &Expiries, now| expiries.over(WallMs(now)).collect::<Vec<_>>();
        assert_eq!((over(&expiries, 90), over(&expiries, 93)), (vec![], vec![9, 8, 7]));
        expiries.remove(8, WallMs(92));
        expiries.remove(10, NEVER);
        assert_eq!(over(&expiries, 93), [9, 7]);
        assert!(!expiries.settle(3) && !expiries.settle(5) && expiries.settle(5));
        let settled: Vec<u32> = expiries.settled().iter().map(|(_, ordinal)| *ordinal).collect();
        assert_eq!(settled, [9, 7, 6, 5, 4, 3, 2, 1, 0]);
        assert!(expiries.memory_bytes() >= 9 * 16);
    }
}
