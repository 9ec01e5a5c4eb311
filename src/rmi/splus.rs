//! The floor under the learned index: a static search tree over blocks of the key array.
//!
//! The keys are cut into blocks of [`BLOCK_LINES`] cache lines. A node is one line of 8 separators, with
//! 9 children; a separator is the last key of what its child covers. There are no pointers: child `c` of
//! node `n` is node `9 n + c` of the next level. A lookup costs one line a level and one block, whatever
//! the keys are, and the block it ends in is always the right one.
//!
//! This is the "S+ tree" of Slotin ("Static B-trees" in "Algorithms for Modern Hardware", 2022), with
//! 64-bit keys, in the order of Rao and Ross's CSS-tree (1999). Interleaving a batch level by level is
//! from Kim et al., "FAST" (2010).

use super::kernel::{Kernel, Proven, prefetch};
use super::keys::KeyArray;
use super::memory::{LINE_BYTES, LINE_KEYS, Lines, Memory};
use super::probe::{BATCH_KEYS, Probe};

/// Lines of keys below one separator.
pub(super) const BLOCK_LINES: usize = 2;
pub(super) const BLOCK_KEYS: usize = BLOCK_LINES * LINE_KEYS;
const FANOUT: usize = LINE_KEYS + 1;

/// Where a level begins in the nodes, from the root down.
type Level = usize;

pub struct SPlus {
    /// Level after level, the root first.
    nodes: Lines,
    levels: Vec<Level>,
    proven: Proven,
}

impl SPlus {
    pub fn build(keys: &KeyArray, memory: Memory) -> SPlus {
        let mut builder = SPlusBuilder::new(keys.len(), memory);
        while !builder.step(keys, usize::MAX) {}
        builder.finish()
    }

    /// Another instruction set than the best of this machine.
    pub fn set_level(&mut self, proven: Proven) {
        self.proven = proven;
    }

    /// Bytes beside the keys.
    pub fn bytes(&self) -> usize {
        self.nodes.len() * LINE_BYTES
    }

    /// # Safety
    /// The machine has the kernel's instructions.
    #[inline(always)]
    unsafe fn child<K: Kernel>(&self, level: Level, node: usize, key: u64) -> usize {
        let at = (level + node).min(self.nodes.len() - 1) * LINE_KEYS;
        // SAFETY: `at` is the beginning of a line of the nodes.
        let below = unsafe { K::below(self.nodes.as_keys().as_ptr().add(at), key) };
        node * FANOUT + below
    }

    /// # Safety
    /// The machine has the kernel's instructions.
    #[inline(always)]
    unsafe fn rank_in_block<K: Kernel>(&self, keys: &KeyArray, block: usize, key: u64) -> usize {
        let first = self.first_of_block(keys, block);
        // SAFETY: `first` leaves a whole block in the keys.
        first + unsafe { K::below_in::<BLOCK_LINES>(keys.padded().as_ptr().add(first), key) }
    }

    /// Never so far that a block from there would leave the keys.
    #[inline(always)]
    fn first_of_block(&self, keys: &KeyArray, block: usize) -> usize {
        (block * BLOCK_KEYS).min((keys.lines() - BLOCK_LINES) * LINE_KEYS)
    }
}

impl Probe for SPlus {
    fn proven(&self) -> Proven {
        self.proven
    }

    #[inline(always)]
    unsafe fn rank_with<K: Kernel>(&self, keys: &KeyArray, key: u64) -> usize {
        let mut node = 0;
        for level in &self.levels {
            // SAFETY: as the caller says; the node is looked up with its bounds.
            node = unsafe { self.child::<K>(*level, node, key) };
        }
        // SAFETY: as the caller says.
        unsafe { self.rank_in_block::<K>(keys, node, key) }
    }

    #[inline(always)]
    unsafe fn prefetch_with<K: Kernel>(&self, keys: &KeyArray, wanted: &[u64]) {
        for key in wanted {
            let mut node = 0;
            for level in &self.levels {
                // SAFETY: as the caller says; the node is looked up with its bounds.
                node = unsafe { self.child::<K>(*level, node, *key) };
            }
            prefetch_block(keys, self.first_of_block(keys, node));
        }
    }

    #[inline(always)]
    unsafe fn batch_with<K: Kernel>(&self, keys: &KeyArray, wanted: &[u64], ranks: &mut [usize]) {
        let mut places = [0_usize; BATCH_KEYS];
        let places = &mut places[..wanted.len()];
        for (at, level) in self.levels.iter().enumerate() {
            let next = self.levels.get(at + 1);
            for (place, key) in places.iter_mut().zip(wanted) {
                // SAFETY: as the caller says.
                *place = unsafe { self.child::<K>(*level, *place, *key) };
                match next {
                    Some(next) => {
                        prefetch(self.nodes.as_keys().as_ptr().wrapping_add((next + *place) * LINE_KEYS));
                    }
                    None => prefetch_block(keys, *place * BLOCK_KEYS),
                }
            }
        }
        for ((place, key), rank) in places.iter().zip(wanted).zip(ranks) {
            // SAFETY: as the caller says.
            *rank = unsafe { self.rank_in_block::<K>(keys, *place, *key) };
        }
    }
}

#[inline(always)]
fn prefetch_block(keys: &KeyArray, first: usize) {
    for line in 0..BLOCK_LINES {
        prefetch(keys.padded().as_ptr().wrapping_add(first + line * LINE_KEYS));
    }
}

/// Nodes of each level from the root down, for so many keys. None when there is but one block.
fn shape(blocks: usize) -> Vec<usize> {
    let mut nodes = Vec::new();
    let mut below = blocks;
    while below > 1 {
        below = below.div_ceil(FANOUT);
        nodes.push(below);
    }
    nodes.reverse();
    nodes
}

/// Builds the tree from the lowest level up, in steps.
pub struct SPlusBuilder {
    nodes: Lines,
    total: usize,
    levels: Vec<Level>,
    blocks: usize,
    /// The level being filled, counted from the lowest, and the separator of it to come next.
    height: usize,
    next: usize,
}

impl SPlusBuilder {
    pub fn new(keys: usize, memory: Memory) -> SPlusBuilder {
        let blocks = keys.div_ceil(BLOCK_KEYS).max(1);
        let sizes = shape(blocks);
        let levels = sizes
            .iter()
            .scan(0, |next, size| {
                let begin = *next;
                *next += size;
                Some(begin)
            })
            .collect();
        let total = sizes.iter().sum::<usize>().max(1);
        let nodes = Lines::with_capacity(total, memory);
        SPlusBuilder { nodes, total, levels, blocks, height: 0, next: 0 }
    }

    /// Makes or sets about `budget` separators; true when all are set. `keys` are the same at each step.
    pub fn step(&mut self, keys: &KeyArray, budget: usize) -> bool {
        if self.nodes.len() < self.total {
            let lines = (budget / LINE_KEYS).max(1).saturating_add(self.nodes.len());
            self.nodes.fill_up_to(lines.min(self.total), u64::MAX);
            return false;
        }
        let mut left = budget.max(1);
        while self.height < self.levels.len() {
            // Blocks below one child of this level.
            let width = FANOUT.pow(self.height as u32);
            let begin = self.levels[self.levels.len() - 1 - self.height];
            let children = self.blocks.div_ceil(width);
            // The last child has no separator: what is above all others is there.
            while self.next < children - 1 {
                if left == 0 {
                    return false;
                }
                let (node, slot) = (self.next / FANOUT, self.next % FANOUT);
                if slot < LINE_KEYS {
                    let last = (self.next + 1) * width * BLOCK_KEYS - 1;
                    self.nodes.as_keys_mut()[(begin + node) * LINE_KEYS + slot] = keys.as_slice()[last];
                }
                self.next += 1;
                left -= 1;
            }
            (self.height, self.next) = (self.height + 1, 0);
        }
        true
    }

    pub fn finish(self) -> SPlus {
        SPlus { nodes: self.nodes, levels: self.levels, proven: Proven::best() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(keys: &[u64], wanted: &[u64]) {
        let array = KeyArray::new(keys).unwrap();
        let mut tree = SPlus::build(&array, Memory::plain());
        for level in crate::rmi::kernel::Level::available() {
            tree.set_level(Proven::of(level).unwrap());
            let ranks: Vec<usize> = wanted.iter().map(|key| keys.partition_point(|k| k < key)).collect();
            let found: Vec<usize> = wanted.iter().map(|key| tree.rank(&array, *key)).collect();
            assert_eq!(found, ranks, "{level:?}");
            let mut batch = vec![0; wanted.len()];
            tree.rank_batch(&array, wanted, &mut batch);
            assert_eq!(batch, ranks, "{level:?}");
        }
    }

    #[test]
    fn every_size_up_to_three_levels() {
        // Under Miri a lookup takes a millisecond.
        let step = if cfg!(miri) { 29 } else { 1 };
        for len in (0..200).chain([1295, 1296, 1297, 1298, 2500]).step_by(step) {
            let keys: Vec<u64> = (0..len).map(|key| key * 3 + 1).collect();
            let wanted: Vec<u64> = (0..len * 3 + 5).chain([u64::MAX - 1, u64::MAX]).collect();
            check(&keys, &wanted);
        }
    }

    #[test]
    fn steps_of_any_size_give_the_same_tree() {
        let array = KeyArray::from_sorted(0..5000).unwrap();
        let whole = SPlus::build(&array, Memory::plain());
        let mut builder = SPlusBuilder::new(array.len(), Memory::plain());
        while !builder.step(&array, 7) {}
        assert_eq!(builder.finish().nodes.as_keys(), whole.nodes.as_keys());
        assert_eq!(whole.levels, [0, 1, 5]);
        assert_eq!(whole.bytes(), 40 * LINE_BYTES);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn agrees_with_binary_search(
            keys in prop::collection::btree_set(any::<u64>(), 0..2000),
            wanted in prop::collection::vec(any::<u64>(), 0..100),
        ) {
            let keys: Vec<u64> = keys.into_iter().collect();
            let near = keys.iter().flat_map(|key| [key.saturating_sub(1), *key, key.saturating_add(1)]);
            let wanted: Vec<u64> = near.chain(wanted).collect();
            check(&keys, &wanted);
        }
    }
}
