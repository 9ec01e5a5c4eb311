//! Room for deletes. A delete gives room back, but not at once: until a seal it takes memory, and each seal adds a
//! part to level 0. So deletes go on where puts are refused, and end further out, always with an answer that asks
//! to come again: a seal is due by then, and makes room whatever else is full.

use super::engine::Engine;
use super::record::Refusal;
use crate::limits;

impl Engine {
    /// Of memory for what is not sealed they may have what puts may, and a share of the whole in any case.
    pub(super) fn check_room_for_delete(&self) -> Result<(), Refusal> {
        let share = self.memory_budget() / limits::MEMORY_BYTES_PER_DELETED_BYTE;
        if self.tablets.memory_bytes() > self.room_for_writes().max(share) {
            return Err(Refusal::Overloaded { queue: "memory for new writes" });
        }
        // While a run cannot be read nothing is merged, and nothing waits for it.
        match self.store.levels().fresh().len() > limits::DELETES_FRESH_RUNS_MAX && !self.compaction_stuck {
            true => Err(Refusal::Overloaded { queue: "queue of runs to be compacted" }),
            false => Ok(()),
        }
    }
}
