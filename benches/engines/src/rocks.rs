//! RocksDB as its tuning guide advises for point reads on data larger than memory: leveled with dynamic
//! level sizes, whole-key Bloom filters of ten bits, index and filter blocks in the cache with high priority.
//! No compression, as the other two have none.

use std::path::Path;
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DataBlockIndexType, Options,
    ReadOptions, WaitForCompactOptions, WriteBatch, WriteOptions,
};

use crate::engine::{Check, Engine, Overwritten, Plan, Threads, overwrite_with_threads};
use crate::table::Table;

const MIB: usize = 1 << 20;
const FAMILY: &str = "default";
const BLOOM_BITS: f64 = 10.0;

pub struct Rocks {
    table: Arc<Table>,
    db: DB,
    synced: WriteOptions,
}

impl Rocks {
    /// `memory` is for block cache and write buffers together; `direct` reads pass by the kernel's cache.
    pub fn open(dir: &Path, table: Arc<Table>, memory: usize, direct: bool) -> Rocks {
        let write_buffer = (memory / 12).clamp(16 * MIB, 64 * MIB);
        let buffers = 3;
        let cache = Cache::new_hyper_clock_cache(memory - buffers * write_buffer, 0);
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&cache);
        blocks.set_bloom_filter(BLOOM_BITS, false);
        blocks.set_optimize_filters_for_memory(true);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_cache_index_and_filter_blocks_with_high_priority(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        blocks.set_format_version(6);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(DBCompressionType::None);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_write_buffer_size(write_buffer);
        options.set_max_write_buffer_number(buffers as i32);
        options.set_target_file_size_base(write_buffer as u64);
        options.set_max_bytes_for_level_base(4 * write_buffer as u64);
        options.set_max_background_jobs(2);
        options.set_bytes_per_sync(MIB as u64);
        options.set_recycle_log_file_num(2);
        options.set_max_open_files(-1);
        options.set_use_direct_reads(direct);
        options.set_use_direct_io_for_flush_and_compaction(direct);
        // By name: batches of reads want the handle of a family.
        let family = ColumnFamilyDescriptor::new(FAMILY, options.clone());
        let db = DB::open_cf_descriptors(&options, dir, [family]).expect("RocksDB opens");
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Rocks { table, db, synced }
    }

    fn number(&self, name: &str) -> (String, u64) {
        let value = self.db.property_int_value(name).expect("a property").unwrap_or_default();
        (name.trim_start_matches("rocksdb.").to_owned(), value)
    }
}

impl Threads for Rocks {
    fn put_batch(&self, table: &Table, batch: &[(usize, u32)]) {
        let mut writes = WriteBatch::default();
        for (place, version) in batch {
            writes.put(table.keys[*place].to_be_bytes(), table.value(*place, *version));
        }
        self.db.write_opt(writes, &self.synced).expect("written");
    }

    fn get(&self, key: u64, found: &mut dyn FnMut(Option<&[u8]>)) {
        let value = self.db.get_pinned(key.to_be_bytes()).expect("read");
        found(value.as_deref());
    }
}

impl Engine for Rocks {
    fn write(&mut self, batch: &[(usize, u32)]) {
        self.put_batch(&self.table, batch);
    }

    fn settle(&mut self) {
        self.db.flush().expect("flushed");
        self.db.wait_for_compact(&WaitForCompactOptions::default()).expect("compacted");
    }

    fn points(&mut self, places: &[usize], batch: usize, check: &mut Check) {
        let options = ReadOptions::default();
        if batch == 1 {
            for place in places {
                check.begin();
                let key = self.table.keys[*place].to_be_bytes();
                let value = self.db.get_pinned_opt(key, &options).expect("read");
                check.value(*place, value.as_deref());
                check.end();
            }
            return;
        }
        let family = self.db.cf_handle(FAMILY).expect("the only family");
        for places in places.chunks(batch) {
            check.begin();
            let keys: Vec<_> = places.iter().map(|place| self.table.keys[*place].to_be_bytes()).collect();
            let values = self.db.batched_multi_get_cf_opt(&family, &keys, false, &options);
            for (place, value) in places.iter().zip(values) {
                check.value(*place, value.expect("read").as_deref());
            }
            check.end();
        }
    }

    fn ranges(&mut self, starts: &[usize], len: usize, check: &mut Check) {
        for start in starts {
            check.begin();
            let mut at = self.db.raw_iterator();
            at.seek(self.table.keys[*start].to_be_bytes());
            for place in *start..start + len {
                let (key, value) = at.item().expect("a range ended early");
                check.record(place, u64::from_be_bytes(key.try_into().expect("eight bytes")), value);
                at.next();
            }
            check.end();
        }
    }

    fn overwrite(&mut self, plan: Plan) -> Overwritten {
        overwrite_with_threads(self, &self.table, plan)
    }

    fn numbers(&mut self) -> Vec<(String, u64)> {
        [
            "rocksdb.block-cache-usage",
            "rocksdb.cur-size-all-mem-tables",
            "rocksdb.num-files-at-level0",
            "rocksdb.total-sst-files-size",
            "rocksdb.estimate-pending-compaction-bytes",
        ]
        .map(|name| self.number(name))
        .to_vec()
    }

    fn close(self: Box<Self>) {}
}
