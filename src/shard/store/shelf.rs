//! Where the files of a shard's runs are, which value files there are, and what all of them add up to.
//!
//! Invariant: a value file is here from the moment it is whole until its file is gone. Parts hold on to those
//! that they refer to, and reads hold on to parts: so one that only the shelf holds is not read any more.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;

use super::block_cache::BlockCache;
use super::value_file::ValueFile;
use crate::io::runtime::Runtime;
use crate::rmi::drift::Drift;
use crate::shard::run::ValueMeta;
use crate::shard::runs::{run_file_name, value_file_name};
use crate::shard::state::RunMeta;
use crate::types::RunId;

pub struct Shelf {
    pub runtime: Runtime,
    pub dir: PathBuf,
    values: RefCell<BTreeMap<RunId, Rc<ValueFile>>>,
    /// Room on the disk beyond what is kept for seals; 0 until somebody has looked.
    pub room_for_moves: Cell<u64>,
    /// Memory of keys, models and filters.
    pub resident_bytes: Cell<u64>,
    /// Reads of one block for point reads.
    pub block_reads: Cell<u64>,
    /// Point reads that had to read.
    pub cold_reads: Cell<u64>,
    /// Large values that were read.
    pub value_reads: Rc<Cell<u64>>,
    /// Indexes, filters and marks that were damaged or missing.
    pub rebuilt: Cell<u64>,
    /// What was seen of indexes that are gone.
    pub past_drift: RefCell<Drift>,
    /// What short ranges have read.
    pub blocks: RefCell<BlockCache>,
}

impl Shelf {
    /// At most `block_bytes` of blocks stay in memory.
    pub fn new(runtime: Runtime, dir: PathBuf, block_bytes: u64) -> Rc<Shelf> {
        Rc::new(Shelf {
            runtime,
            dir,
            values: RefCell::default(),
            room_for_moves: Cell::new(0),
            resident_bytes: Cell::new(0),
            block_reads: Cell::new(0),
            cold_reads: Cell::new(0),
            value_reads: Rc::default(),
            rebuilt: Cell::new(0),
            past_drift: RefCell::default(),
            blocks: RefCell::new(BlockCache::new(block_bytes)),
        })
    }

    pub fn path_of(&self, meta: &RunMeta) -> PathBuf {
        self.dir.join(run_file_name(meta.id))
    }

    pub fn value_path(&self, id: RunId) -> PathBuf {
        self.dir.join(value_file_name(id))
    }

    /// A value file that is whole.
    pub fn add_values(&self, meta: ValueMeta) {
        let reads = self.value_reads.clone();
        let file = ValueFile::new(self.runtime.clone(), self.value_path(meta.id), meta, reads);
        self.values.borrow_mut().insert(meta.id, Rc::new(file));
    }

    pub fn values(&self, id: RunId) -> Option<Rc<ValueFile>> {
        self.values.borrow().get(&id).cloned()
    }

    /// Number and bytes of the value files.
    pub fn value_files(&self) -> (u64, u64) {
        let values = self.values.borrow();
        (values.len() as u64, values.values().map(|file| file.meta.file_len).sum())
    }

    /// Those to which a part that counts refers.
    pub fn used_values(&self) -> Vec<Rc<ValueFile>> {
        self.values.borrow().values().filter(|file| file.live.get() > 0).cloned().collect()
    }

    /// Bytes of values that live and that are dead, in all files to which a part refers.
    pub fn live_and_dead(&self) -> (u64, u64) {
        let values = self.values.borrow();
        let used = values.values().filter(|file| file.live.get() > 0);
        used.fold((0, 0), |(live, dead), file| {
            (live + file.meta.value_bytes - file.dead(), dead + file.dead())
        })
    }

    /// Removes the files of values to which nothing refers: no part that is read, nor what `named` says.
    pub async fn sweep_values(&self, named: impl Fn(RunId) -> bool) {
        let unread = |(id, file): (&RunId, &Rc<ValueFile>)| {
            (Rc::strong_count(file) == 1 && !named(*id)).then_some(*id)
        };
        let gone: Vec<RunId> = self.values.borrow().iter().filter_map(unread).collect();
        for id in gone {
            match self.runtime.remove_file(self.value_path(id)).await {
                // Two sweeps may be under way.
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    tracing::warn!(file = %id, %error, "a dead value file could not be removed; tried again");
                }
                _ => drop(self.values.borrow_mut().remove(&id)),
            }
        }
    }

    /// Of a file that was given up before a part could refer to it.
    pub fn forget_values(&self, id: RunId) {
        self.values.borrow_mut().remove(&id);
    }
}
