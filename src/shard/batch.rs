//! Who waits for the outcome of writes: one answer for a batch, when its last write is settled.

use super::engine::Ticket;
use super::message::WriteResult;
use crate::io::executor::sync::Promise;
use crate::types::{Mono, ShardId};

/// Where the answer goes.
pub enum Origin {
    /// A task of this core that waits for one write.
    One(Promise<WriteResult>),
    /// A task of this core that waits for several.
    Many(Promise<Vec<WriteResult>>),
    /// A call from another core.
    Call { from: ShardId, call: u32 },
}

struct Batch {
    origin: Origin,
    results: Vec<Option<WriteResult>>,
    open: usize,
    accepted: Mono,
}

/// A batch whose writes are all settled.
pub struct FinishedBatch {
    pub origin: Origin,
    pub results: Vec<WriteResult>,
    pub accepted: Mono,
}

#[derive(Default)]
pub struct Batches {
    open: slab::Slab<Batch>,
}

impl Batches {
    pub fn begin(&mut self, origin: Origin, writes: usize, accepted: Mono) -> u32 {
        assert!(writes > 0, "a batch without writes has no one to finish it");
        let batch = Batch { origin, results: vec![None; writes], open: writes, accepted };
        u32::try_from(self.open.insert(batch)).expect("more open batches than writes in the backlog")
    }

    /// Takes one outcome; gives the batch when it was the last.
    pub fn settle(&mut self, ticket: Ticket, result: WriteResult) -> Option<FinishedBatch> {
        let batch = self.open.get_mut(ticket.batch as usize).expect("an outcome for a batch that is open");
        let place = &mut batch.results[ticket.index as usize];
        assert!(place.is_none(), "a write is settled once");
        *place = Some(result);
        batch.open -= 1;
        if batch.open > 0 {
            return None;
        }
        let Batch { origin, results, accepted, .. } = self.open.remove(ticket.batch as usize);
        Some(FinishedBatch { origin, results: results.into_iter().flatten().collect(), accepted })
    }
}
