//! One byte for each few predicted ranks: how far off the keys predicted there are.
//!
//! A group is 2^`shift` neighbouring raw predictions. Training sees every gap between two neighbouring
//! keys: all keys of the gap, and the one at its upper end, have the same rank, and predictions between
//! the two ends' predictions, since predictions never fall. So the errors of *all* u64 of a group lie
//! between two numbers that one pass over the keys finds, and the bound after the correction is exact.
//!
//! A table over *predicted* positions that takes the local bias out of a coarse model is the idea of
//! Shift-Table (Hadian and Heinis, "Shift-Table: a low-latency learned index for range queries using model
//! correction", 2021). That has an entry for a position; here one byte is for 64 of them.

use super::memory::{LINE_BYTES, LINE_KEYS, Lines, Memory};

pub(super) struct Corrections {
    pub shift: u32,
    groups: usize,
    // Invariant: an i8 for each group up to that of the highest prediction.
    table: Lines,
}

impl Corrections {
    /// For predictions of 0 to `keys`.
    pub fn new(shift: u32, keys: usize, memory: Memory) -> Corrections {
        let groups = groups_of(shift, keys);
        let lines = groups.div_ceil(LINE_BYTES);
        Corrections { shift, groups, table: Lines::filled(lines, 0, memory) }
    }

    pub fn bytes(&self) -> usize {
        self.table.len() * LINE_BYTES
    }

    pub fn table(&self) -> &[i8] {
        let keys = self.table.as_keys();
        // SAFETY: as many bytes, and every byte is an i8.
        unsafe { std::slice::from_raw_parts(keys.as_ptr().cast(), keys.len() * LINE_KEYS) }
    }

    pub fn table_mut(&mut self) -> &mut [i8] {
        let keys = self.table.as_keys_mut();
        // SAFETY: as many bytes, and every byte is an i8; borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(keys.as_mut_ptr().cast(), keys.len() * LINE_KEYS) }
    }

    /// From a stored table, if it has the groups that so many keys have.
    pub fn of_groups(shift: u32, keys: usize, groups: &[u8], memory: Memory) -> Option<Corrections> {
        if shift >= u32::BITS || groups.len() != groups_of(shift, keys) {
            return None;
        }
        let mut corrections = Corrections::new(shift, keys, memory);
        corrections.table_mut().iter_mut().zip(groups).for_each(|(into, group)| *into = *group as i8);
        Some(corrections)
    }

    /// The table without its padding.
    pub fn groups(&self) -> &[i8] {
        &self.table()[..self.groups]
    }

    /// How far off the keys predicted at `raw` are.
    ///
    /// # Safety
    /// `raw` is at most the `keys` that this was made for.
    #[inline(always)]
    pub unsafe fn of(&self, raw: u32) -> i64 {
        let group = raw as usize >> self.shift;
        debug_assert!(group < self.table().len());
        // SAFETY: as the caller says.
        i64::from(unsafe { *self.table().get_unchecked(group) })
    }
}

/// Predictions are from 0 to `keys`.
fn groups_of(shift: u32, keys: usize) -> usize {
    (keys >> shift) + 1
}

/// Sees the raw prediction of each key in turn and finds the corrections and the bound.
pub(super) struct Measure {
    shift: u32,
    /// Prediction of the key before.
    last: i64,
    group: i64,
    /// Errors (rank less prediction) of the group so far, of all keys that may be there.
    low: i64,
    high: i64,
    /// Errors of the keys of the group that are there.
    sum: i64,
    count: i64,
    raw_error: i64,
    error: i64,
}

impl Measure {
    pub fn new(shift: u32) -> Measure {
        // Keys below all others are predicted at the first key, and rank 0.
        Measure { shift, last: 0, group: 0, low: 0, high: 0, sum: 0, count: 0, raw_error: 0, error: 0 }
    }

    /// The key of this rank is predicted at `raw`, and is there unless it is the end.
    #[inline(always)]
    pub fn see(&mut self, rank: i64, raw: i64, table: &mut [i8]) {
        let group = raw >> self.shift;
        self.high = self.high.max(rank - self.last);
        if group != self.group {
            self.cross(rank, group, table);
        }
        self.low = self.low.min(rank - raw);
        self.sum += rank - raw;
        self.count += 1;
        self.last = raw;
    }

    /// The gap before the key of this rank reaches over into later groups.
    #[inline(never)]
    fn cross(&mut self, rank: i64, group: i64, table: &mut [i8]) {
        while self.group < group {
            let next = (self.group + 1) << self.shift;
            self.low = self.low.min(rank - (next - 1));
            self.close(table);
            self.group += 1;
            (self.low, self.high, self.sum, self.count) = (rank - next, rank - next, 0, 0);
        }
    }

    fn close(&mut self, table: &mut [i8]) {
        let wanted = match self.count {
            0 => (self.low + self.high) / 2,
            count => (self.sum as f64 / count as f64).round() as i64,
        };
        let correction = wanted.clamp(i64::from(i8::MIN), i64::from(i8::MAX));
        table[self.group as usize] = correction as i8;
        self.raw_error = self.raw_error.max(self.high.max(-self.low));
        self.error = self.error.max((self.high - correction).max(correction - self.low));
    }

    /// Bounds without and with the corrections. `keys` is the rank of what is above all keys.
    pub fn finish(mut self, keys: i64, table: &mut [i8]) -> (u32, u32) {
        let (sum, count) = (self.sum, self.count);
        let group = self.group;
        self.see(keys, keys, table);
        if self.group == group {
            (self.sum, self.count) = (sum, count);
        }
        self.close(table);
        (self.raw_error as u32, self.error as u32)
    }
}
