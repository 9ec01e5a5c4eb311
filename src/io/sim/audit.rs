//! A record of every file write: when it was submitted, reported, and really durable.
//!
//! A suite proves with it that what was acknowledged had been synced. On a lying disk a write is
//! reported as synced (`completed`) and has no `durable` moment.

use std::collections::BTreeMap;

use super::disk::Inode;
use crate::io::op::Sync;
use crate::types::Mono;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRecord {
    pub path: String,
    /// In bytes, as `len`.
    pub offset: u64,
    pub len: u64,
    pub sync: Sync,
    pub submitted: Mono,
    /// When it was reported as done; `None` while under way and when it failed.
    pub completed: Option<Mono>,
    /// When it, or a sync after it, made the whole of it durable.
    pub durable: Option<Mono>,
}

#[derive(Default)]
pub(super) struct Audit {
    pub records: Vec<WriteRecord>,
    /// Which record wrote a change that is not durable yet.
    unsynced: BTreeMap<(Inode, u64), usize>,
}

impl Audit {
    /// Returns the place of the record.
    pub fn submitted(&mut self, record: WriteRecord) -> usize {
        self.records.push(record);
        self.records.len() - 1
    }

    pub fn performed(&mut self, record: usize, inode: Inode, change: u64) {
        self.unsynced.insert((inode, change), record);
    }

    pub fn completed(&mut self, record: usize, now: Mono) {
        self.records[record].completed = Some(now);
    }

    pub fn durable(&mut self, inode: Inode, changes: std::ops::RangeInclusive<u64>, now: Mono) {
        let range = (inode, *changes.start())..=(inode, *changes.end());
        let keys: Vec<_> = self.unsynced.range(range).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(record) = self.unsynced.remove(&key) {
                self.records[record].durable = Some(now);
            }
        }
    }

    pub fn lost(&mut self, inode: Inode, change: u64) {
        self.unsynced.remove(&(inode, change));
    }
}
