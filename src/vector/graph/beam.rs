//! The nearest nodes that a walk has seen, in order, and which of them it still has to visit.
//!
//! One sorted array of words `distance << 32 | node << 1 | visited`: an insertion is one search and one move
//! of memory, and ties are in order of node. At the sizes of a search this beats two heaps.

use crate::vector::codes::DISTANCE_MAX;

/// Nodes must leave one bit.
pub const NODES_MAX: usize = 1 << 31;

#[inline]
pub(in crate::vector) fn entry(distance: u32, node: u32) -> u64 {
    u64::from(distance) << 32 | u64::from(node) << 1
}

#[inline]
pub(in crate::vector) fn node_of(entry: u64) -> u32 {
    entry as u32 >> 1
}

#[inline]
pub(in crate::vector) fn distance_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

#[derive(Debug, Default)]
pub(in crate::vector) struct Beam {
    entries: Vec<u64>,
    /// So many of the nearest are visited.
    width: usize,
    /// So many are kept.
    room: usize,
    /// Everything before is visited.
    next: usize,
}

impl Beam {
    /// Visits the nearest `width`, and keeps `room` of them or more.
    pub fn reset(&mut self, width: usize, room: usize) {
        (self.width, self.room) = (width.max(1), room.max(width).max(1));
        self.entries.clear();
        self.entries.reserve(self.room + 1);
        self.next = 0;
    }

    pub fn entries(&self) -> &[u64] {
        &self.entries
    }

    /// Above this, a node does not get in.
    #[inline]
    pub fn limit(&self) -> u32 {
        if self.entries.len() < self.room { DISTANCE_MAX } else { distance_of(self.entries[self.room - 1]) }
    }

    #[inline]
    pub fn insert(&mut self, distance: u32, node: u32) {
        let entry = entry(distance, node);
        if self.entries.len() == self.room {
            if entry >= self.entries[self.room - 1] {
                return;
            }
            self.entries.pop();
        }
        let at = self.entries.partition_point(|other| *other < entry);
        self.entries.insert(at, entry);
        self.next = self.next.min(at);
    }

    /// The nearest node that was not visited; it is now.
    #[inline]
    pub fn visit(&mut self) -> Option<u64> {
        let found = *self.entries.get(self.next).filter(|_| self.next < self.width)?;
        self.entries[self.next] |= 1;
        while self.entries.get(self.next).is_some_and(|entry| entry & 1 == 1) {
            self.next += 1;
        }
        Some(found)
    }

    /// What `visit` would give.
    #[inline]
    pub fn upcoming(&self) -> Option<u32> {
        self.entries.get(self.next).map(|entry| node_of(*entry))
    }
}
