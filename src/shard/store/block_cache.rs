//! Blocks that short ranges have read: a range that is asked for again needs no disk.
//!
//! Values that point reads found are kept by key ([`super::cache`]); a range wants neighbours, which lie in
//! the same blocks. Bounded by bytes; eviction is quick_cache's, as there. A long scan and a compaction keep
//! nothing, or one of them would push all else out.
//!
//! Invariant: a block is kept after its hash was found right, never before: it is not hashed again. Runs are
//! immutable and their ids are never used again, so nothing here goes stale.

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::cache::Ready;
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::types::RunId;

pub struct BlockCache {
    blocks: Cache<BlockKey, Rc<AlignedBuf>, ByBytes, BuildHasherDefault<Ready>, Lifecycle>,
}

type Lifecycle = DefaultLifecycle<BlockKey, Rc<AlignedBuf>>;

#[derive(Clone, Copy, PartialEq, Eq)]
struct BlockKey {
    run: RunId,
    number: u32,
}

impl Hash for BlockKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(xxh3_64_with_seed(&self.run.0.to_le_bytes(), self.number.into()));
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<BlockKey, Rc<AlignedBuf>> for ByBytes {
    fn weight(&self, _: &BlockKey, block: &Rc<AlignedBuf>) -> u64 {
        block.len() as u64
    }
}

impl BlockCache {
    pub fn new(capacity_bytes: u64) -> BlockCache {
        let items = (capacity_bytes / BLOCK_BYTES as u64).max(1) as usize;
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(capacity_bytes)
            .build()
            .expect("both capacities are given");
        let (hasher, lifecycle) = (BuildHasherDefault::default(), DefaultLifecycle::default());
        let mut blocks = Cache::with_options(options, ByBytes, hasher, lifecycle);
        // At once, while nobody is served, as that of the values.
        blocks.reserve(items);
        BlockCache { blocks }
    }

    pub fn get(&self, run: RunId, number: u32) -> Option<Rc<AlignedBuf>> {
        self.blocks.get(&BlockKey { run, number }).cloned()
    }

    pub fn insert(&mut self, run: RunId, number: u32, bytes: &[u8]) {
        self.blocks.insert(BlockKey { run, number }, Rc::new(AlignedBuf::padded(bytes)));
    }

    /// Memory of what is in it.
    pub fn bytes(&self) -> u64 {
        self.blocks.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_it_was_given_within_its_bound() {
        let mut cache = BlockCache::new(64 * BLOCK_BYTES as u64);
        cache.insert(RunId(1), 7, &[1; BLOCK_BYTES]);
        let block = cache.get(RunId(1), 7).expect("kept");
        assert!(block.iter().all(|byte| *byte == 1));
        assert!(cache.get(RunId(2), 7).is_none() && cache.get(RunId(1), 8).is_none());
        for number in 0..1000 {
            cache.insert(RunId(3), number, &[3; BLOCK_BYTES]);
        }
        assert!(cache.bytes() <= 64 * BLOCK_BYTES as u64, "{}", cache.bytes());
        assert!((0..1000).any(|number| cache.get(RunId(3), number).is_some()));
    }
}
