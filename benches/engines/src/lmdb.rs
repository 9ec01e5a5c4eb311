//! LMDB as its manual advises for data larger than memory: no read-ahead, integer keys, appending load.

use std::path::Path;
use std::sync::Arc;

use heed::byteorder::NativeEndian;
use heed::types::{Bytes, U64};
use heed::{Database, Env, EnvFlags, EnvOpenOptions, IntegerComparator, PutFlags};

use crate::engine::{Check, Engine, Overwritten, Plan, Threads, overwrite_with_threads};
use crate::table::Table;

const MAP_BYTES: usize = 1 << 38;

pub struct Lmdb {
    table: Arc<Table>,
    env: Env,
    records: Database<U64<NativeEndian>, Bytes, IntegerComparator>,
    /// Every key so far was larger than those before.
    appending: bool,
}

impl Lmdb {
    pub fn open(dir: &Path, table: Arc<Table>) -> Lmdb {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        // SAFETY: only how the map is advised.
        unsafe { options.flags(EnvFlags::NO_READ_AHEAD) };
        // SAFETY: the file is this process's alone, and on a local disk.
        let env = unsafe { options.open(dir) }.expect("LMDB opens");
        let mut txn = env.write_txn().expect("a transaction");
        let records = env
            .database_options()
            .types::<U64<NativeEndian>, Bytes>()
            .key_comparator::<IntegerComparator>()
            .create(&mut txn)
            .expect("a database");
        let appending = records.is_empty(&txn).expect("counts");
        txn.commit().expect("committed");
        Lmdb { table, env, records, appending }
    }
}

impl Threads for Lmdb {
    fn put_batch(&self, table: &Table, batch: &[(usize, u32)]) {
        let mut txn = self.env.write_txn().expect("a transaction");
        let flags = if self.appending { PutFlags::APPEND } else { PutFlags::empty() };
        for (place, version) in batch {
            let value = table.value(*place, *version);
            self.records.put_with_flags(&mut txn, flags, &table.keys[*place], &value).expect("written");
        }
        txn.commit().expect("committed");
    }

    fn get(&self, key: u64, found: &mut dyn FnMut(Option<&[u8]>)) {
        let txn = self.env.read_txn().expect("a transaction");
        found(self.records.get(&txn, &key).expect("read"));
    }
}

impl Engine for Lmdb {
    fn write(&mut self, batch: &[(usize, u32)]) {
        self.put_batch(&self.table, batch);
    }

    fn settle(&mut self) {
        self.appending = false;
    }

    fn points(&mut self, places: &[usize], batch: usize, check: &mut Check) {
        for places in places.chunks(batch) {
            check.begin();
            let txn = self.env.read_txn().expect("a transaction");
            for place in places {
                check.value(*place, self.records.get(&txn, &self.table.keys[*place]).expect("read"));
            }
            check.end();
        }
    }

    fn ranges(&mut self, starts: &[usize], len: usize, check: &mut Check) {
        for start in starts {
            check.begin();
            let txn = self.env.read_txn().expect("a transaction");
            let range = self.records.range(&txn, &(self.table.keys[*start]..)).expect("a range");
            let mut places = *start..start + len;
            for (record, place) in range.zip(places.by_ref()) {
                let (key, value) = record.expect("read");
                check.record(place, key, value);
            }
            assert!(places.is_empty(), "a range ended early");
            check.end();
        }
    }

    fn overwrite(&mut self, plan: Plan) -> Overwritten {
        overwrite_with_threads(self, &self.table, plan)
    }

    fn numbers(&mut self) -> Vec<(String, u64)> {
        Vec::new()
    }

    fn close(self: Box<Self>) {}
}
