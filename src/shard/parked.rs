//! Writes that wait for a run to be read before they can be judged.
//!
//! Invariant: writes of one key are carried out in the order in which they came. So a write whose key has
//! others waiting waits behind them.

use std::collections::{BTreeMap, VecDeque};

use super::engine::Ticket;
use super::key::Key;
use super::record::{Change, Refusal, Write};
use crate::limits;
use crate::types::{Epoch, TabletId};

/// A write, the map by which it came, and who waits for it.
type Waiting = (Write, Epoch, Ticket);

#[derive(Default)]
pub struct Parked {
    by_key: BTreeMap<(TabletId, Key), VecDeque<Waiting>>,
    writes: usize,
    bytes: usize,
}

impl Parked {
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub fn holds(&self, tablet: TabletId, key: &Key) -> bool {
        !self.by_key.is_empty() && self.by_key.contains_key(&(tablet, key.clone()))
    }

    pub fn push(
        &mut self,
        tablet: TabletId,
        write: Write,
        epoch: Epoch,
        ticket: Ticket,
    ) -> Result<(), Refusal> {
        let bytes = bytes_of(&write);
        if self.writes >= limits::PARKED_WRITES_MAX || self.bytes + bytes > limits::LOG_BACKLOG_BYTES_MAX {
            return Err(Refusal::Overloaded { queue: "queue of writes that wait for a read" });
        }
        self.writes += 1;
        self.bytes += bytes;
        self.by_key.entry((tablet, write.key.clone())).or_default().push_back((write, epoch, ticket));
        Ok(())
    }

    /// All that wait for this key, in their order.
    pub fn take(&mut self, tablet: TabletId, key: &Key) -> VecDeque<Waiting> {
        let waiting = self.by_key.remove(&(tablet, key.clone())).unwrap_or_default();
        self.writes -= waiting.len();
        self.bytes -= waiting.iter().map(|(write, _, _)| bytes_of(write)).sum::<usize>();
        waiting
    }
}

fn bytes_of(write: &Write) -> usize {
    let payload = match &write.change {
        Change::Put { payload, .. } => payload.as_bytes().len(),
        Change::Delete => 0,
    };
    write.key.len() + payload
}
