//! What other shards send, on its way into the log: records of a range that moves, and receipts.
//!
//! Must not know: files, clocks, tasks.

use super::delta::{NEVER, memory_of};
use super::engine::{Engine, Ticket};
use super::receipts::{self, Entry};
use super::record::{Durability, Refusal};
use super::staged::{self, Staged, StagedEffect};
use super::transfer::Cargo;
use crate::io::log::{Kind, Meta, RecordParts};
use crate::types::{CollectionId, Lsn, Seq, TabletId};

impl Engine {
    /// Logs a record that another shard sent, version kept. The tablet need not be on the map yet.
    /// `replaces`: see [`Engine::before_arrivals`].
    pub fn write_arrival(
        &mut self,
        tablet: TabletId,
        collection: CollectionId,
        cargo: Cargo,
        replaces: bool,
        ticket: Ticket,
    ) -> Result<(), Refusal> {
        self.check_log()?;
        self.check_disk()?;
        let Cargo { key, mut version } = cargo;
        let bytes = version.payload.as_ref().map_or(0, |payload| payload.as_bytes().len());
        self.check_memory(memory_of(&key, bytes))?;
        self.check_backlog(key.len() + bytes)?;
        let kind = if version.payload.is_some() { Kind::Put } else { Kind::Delete };
        let expiry = (version.expires != NEVER).then_some(version.expires);
        let meta = Meta { seq: version.seq, collection, tablet, expiry, replaces, ..self.next_meta(kind) };
        let lsn = staged::log(&mut self.log, meta, &key, version.payload.as_ref());
        version.lsn = lsn;
        let seq = version.seq;
        self.tablets.entry(tablet, collection);
        self.push_staged(Staged {
            tablet,
            effect: StagedEffect::Arrival(key, version),
            created: false,
            replaces,
            lsn,
            seq,
            durability: Durability::Fsync,
            ticket: Some(ticket),
        });
        Ok(())
    }

    /// Logs receipts that another shard sent, and takes them up.
    pub fn write_receipts(&mut self, entries: &[Entry], ticket: Ticket) -> Result<(), Refusal> {
        self.check_log()?;
        self.check_disk()?;
        let payload = receipts::encode(entries);
        self.check_backlog(payload.len())?;
        let lsn = self.log_receipts(&payload, Durability::Fsync, Some(ticket));
        self.receipts.take_up(entries, lsn);
        Ok(())
    }

    pub(super) fn log_receipts(
        &mut self,
        payload: &[u8],
        durability: Durability,
        ticket: Option<Ticket>,
    ) -> Lsn {
        let meta = self.next_meta(Kind::Receipts);
        let lsn = self.log.append(&RecordParts { meta, key: &[], payload });
        self.push_staged(Staged {
            tablet: TabletId::ZERO,
            effect: StagedEffect::Receipts,
            created: false,
            replaces: false,
            lsn,
            seq: Seq::ZERO,
            durability,
            ticket,
        });
        lsn
    }
}
