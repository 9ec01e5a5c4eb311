//! How large each level may be, and how far above that a shard is. Pure.
//!
//! The deepest level may be of any size; a level above it may have an eighth of the one below. The **base** is the
//! first level that is worth having: level 0 goes straight there. What comes down from level 0 meets most of the
//! base, so a base that is not much larger than what comes at a time only has everything written once more, and
//! takes room besides.

use super::levels::{LAST, Levels};
use crate::limits;

#[derive(Clone, Copy)]
pub struct Shares {
    part_bytes: u64,
}

impl Shares {
    /// Parts are about this large.
    pub fn new(part_bytes: u64) -> Shares {
        Shares { part_bytes }
    }

    /// Bytes that a level may have; 0 for those above the base.
    pub fn of(self, levels: &Levels, level: usize) -> u64 {
        match level < self.base(levels) {
            true => 0,
            false => (level..LAST).fold(levels.bytes(LAST).max(self.base_bytes()), |share, _| {
                share / limits::LEVEL_BYTES_PER_BYTE_ABOVE
            }),
        }
    }

    /// The first level that is worth having, by the size of the deepest.
    pub fn base(self, levels: &Levels) -> usize {
        let (mut base, mut share) = (LAST, levels.bytes(LAST));
        while base > 1 && share / limits::LEVEL_BYTES_PER_BYTE_ABOVE >= self.base_bytes() {
            base -= 1;
            share /= limits::LEVEL_BYTES_PER_BYTE_ABOVE;
        }
        base
    }

    /// How much there is to merge, from 0, nothing that writes have to wait for, to 1, as much as there may be.
    pub fn pressure(self, levels: &Levels) -> f64 {
        let fresh_bytes = levels.bytes(0) as f64 / self.fresh_bytes() as f64;
        let fresh_parts = levels.fresh().len() as f64 / limits::COMPACTION_FRESH_RUNS as f64;
        let deep = (1..LAST).map(|level| match levels.bytes(level) {
            0 => 0.0,
            // A level above the base has no share, and is on its way down.
            bytes => bytes as f64 / self.of(levels, level).max(self.base_bytes()) as f64,
        });
        let most = deep.fold(fresh_bytes.max(fresh_parts), f64::max);
        ((most - 1.0) / (limits::COMPACTION_LAG_MAX - 1.0)).clamp(0.0, 1.0)
    }

    /// Level 0 goes down.
    pub fn is_fresh_full(self, levels: &Levels) -> bool {
        levels.fresh().len() >= limits::COMPACTION_FRESH_RUNS || levels.bytes(0) >= self.fresh_bytes()
    }

    /// What level 0 has when it goes down, about.
    fn fresh_bytes(self) -> u64 {
        self.part_bytes * limits::COMPACTION_FRESH_RUNS as u64
    }

    fn base_bytes(self) -> u64 {
        self.fresh_bytes() * limits::BASE_BYTES_PER_FRESH_BYTE
    }
}
