//! Where each document of a tablet is, by its key: entries in ascending order, in blocks of at most
//! [`limits::PLACES_BLOCK_ENTRIES_MAX`].
//!
//! Not a `BTreeMap` of documents: its nodes are as large as the records of short vectors, live long among records that
//! do not, and keep the pages of the allocator that they share with these. Blocks have pages of their own.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::index::Place;
use crate::limits;
use crate::shard::key::Key;

const BLOCK: usize = limits::PLACES_BLOCK_ENTRIES_MAX;
/// A block with fewer takes the next one in when both leave room for insertions.
const MERGE_BELOW: usize = BLOCK / 4;
const MERGED_MAX: usize = BLOCK / 4 * 3;

#[derive(Default)]
pub struct Places {
    /// By a key that is above all of the block before, and not above the first of the block.
    blocks: BTreeMap<Key, Block>,
    len: usize,
}

/// Invariant: ascending, no key twice, not empty, at most [`BLOCK`].
struct Block {
    keys: Vec<Key>,
    places: Vec<Place>,
}

impl Block {
    fn new() -> Block {
        Block { keys: Vec::with_capacity(BLOCK), places: Vec::with_capacity(BLOCK) }
    }

    fn insert(&mut self, at: usize, key: Key, place: Place) {
        self.keys.insert(at, key);
        self.places.insert(at, place);
    }

    /// Takes away what is at `at` and behind it.
    fn split_off(&mut self, at: usize) -> Block {
        let mut tail = Block::new();
        tail.keys.extend(self.keys.drain(at..));
        tail.places.extend(self.places.drain(at..));
        tail
    }
}

impl Places {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The block where a key is or would be, unless it is below all.
    fn block(&self, key: &Key) -> Option<(&Key, &Block)> {
        self.blocks.range::<Key, _>(..=key).next_back()
    }

    fn block_mut(&mut self, key: &Key) -> Option<&mut Block> {
        self.blocks.range_mut::<Key, _>(..=key).next_back().map(|(_, block)| block)
    }

    pub fn get(&self, key: &Key) -> Option<Place> {
        let (_, block) = self.block(key)?;
        block.keys.binary_search(key).ok().map(|at| block.places[at])
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    /// Puts the document there, wherever it was.
    pub fn insert(&mut self, key: Key, place: Place) {
        if self.blocks.first_key_value().is_none_or(|(first, _)| key < *first) {
            // The first block takes it, by another name.
            let first = self.blocks.pop_first().map_or_else(Block::new, |(_, block)| block);
            self.blocks.insert(key.clone(), first);
        }
        let is_last = self.blocks.last_key_value().is_some_and(|(last, _)| *last <= key);
        let block = self.block_mut(&key).expect("a block begins at the key or below");
        let at = match block.keys.binary_search(&key) {
            Ok(at) => {
                block.places[at] = place;
                return;
            }
            Err(at) => at,
        };
        if block.keys.len() < BLOCK {
            block.insert(at, key, place);
        } else {
            let next = if is_last && at == BLOCK {
                // Keys that only grow leave full blocks behind.
                let mut next = Block::new();
                next.insert(0, key, place);
                next
            } else {
                let mut next = block.split_off(BLOCK / 2);
                match at.checked_sub(BLOCK / 2) {
                    Some(at) if at > 0 => next.insert(at, key, place),
                    _ => block.insert(at, key, place),
                }
                next
            };
            self.blocks.insert(next.keys[0].clone(), next);
        }
        self.len += 1;
    }

    pub fn remove(&mut self, key: &Key) -> Option<Place> {
        let block = self.block_mut(key)?;
        let at = block.keys.binary_search(key).ok()?;
        block.keys.remove(at);
        let place = block.places.remove(at);
        let left = block.keys.len();
        self.len -= 1;
        if left < MERGE_BELOW {
            self.tidy(key);
        }
        Some(place)
    }

    /// Of the block where the key was: it goes when it is empty, else it takes the next one in when there is room.
    fn tidy(&mut self, key: &Key) {
        let Some((name, block)) = self.block(key) else { return };
        let (name, len) = (name.clone(), block.keys.len());
        if len == 0 {
            self.blocks.remove(&name);
            return;
        }
        let after = self.blocks.range::<Key, _>((Bound::Excluded(&name), Bound::Unbounded)).next();
        let Some(next) = after.filter(|(_, next)| len + next.keys.len() <= MERGED_MAX) else { return };
        let next = next.0.clone();
        let Some(taken) = self.blocks.remove(&next) else { return };
        if let Some(block) = self.blocks.get_mut(&name) {
            block.keys.extend(taken.keys);
            block.places.extend(taken.places);
        }
    }

    pub fn first(&self) -> Option<&Key> {
        self.blocks.values().next().map(|block| &block.keys[0])
    }

    pub fn last(&self) -> Option<&Key> {
        self.blocks.values().next_back().and_then(|block| block.keys.last())
    }

    /// Up to `count` of the lowest keys below one.
    pub fn below(&self, end: &Key, count: usize) -> Vec<Key> {
        let keys = self.blocks.values().flat_map(|block| &block.keys);
        keys.take_while(|key| *key < end).take(count).cloned().collect()
    }

    /// Up to `count` of the highest keys from one on.
    pub fn from(&self, start: &Key, count: usize) -> Vec<Key> {
        let keys = self.blocks.values().rev().flat_map(|block| block.keys.iter().rev());
        keys.take_while(|key| *key >= start).take(count).cloned().collect()
    }

    /// Frees about `count` entries when nobody asks any more.
    pub fn shed(&mut self, count: usize) {
        for _ in 0..count.div_ceil(BLOCK) {
            let gone = self.blocks.pop_first();
            self.len -= gone.map_or(0, |(_, block)| block.keys.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::search::sealed::PartId;
    use crate::types::TabletId;
    use proptest::prelude::*;

    fn place(ordinal: u32) -> Place {
        Place { part: PartId::OfTablet { tablet: TabletId(1), number: 0 }, ordinal }
    }

    fn check(places: &Places, model: &BTreeMap<Key, Place>) {
        let keys = places.blocks.values().flat_map(|block| &block.keys);
        assert!(keys.eq(model.keys()));
        assert_eq!((places.len(), places.is_empty()), (model.len(), model.is_empty()));
        assert!(places.blocks.values().all(|block| (1..=BLOCK).contains(&block.keys.len())));
        assert!(places.blocks.iter().all(|(name, block)| *name <= block.keys[0]));
        assert_eq!((places.first(), places.last()), (model.keys().next(), model.keys().next_back()));
    }

    proptest! {
        #[test]
        fn it_is_a_map(changes in prop::collection::vec((0u64..2000, 0u8..4), 0..3000), sides in any::<[u16; 2]>()) {
            let (mut places, mut model) = (Places::default(), BTreeMap::new());
            // Runs of changes, so that blocks become full and empty.
            for (at, (key, kind)) in changes.into_iter().enumerate() {
                for key in (key..key + 40).map(Key::from_u64) {
                    if kind == 0 || kind == 1 && at % 2 == 0 {
                        prop_assert_eq!(places.remove(&key), model.remove(&key));
                    } else {
                        places.insert(key.clone(), place(at as u32));
                        model.insert(key.clone(), place(at as u32));
                    }
                    prop_assert_eq!(places.get(&key), model.get(&key).copied());
                }
            }
            check(&places, &model);
            let [low, high] = sides.map(|side| Key::from_u64(u64::from(side) % 2100));
            let below: Vec<Key> = model.keys().filter(|key| **key < low).take(9).cloned().collect();
            let from: Vec<Key> = model.keys().rev().filter(|key| **key >= high).take(9).cloned().collect();
            prop_assert_eq!((places.below(&low, 9), places.from(&high, 9)), (below, from));
            while !places.is_empty() {
                places.shed(300);
            }
        }
    }

    #[test]
    fn keys_that_only_grow_fill_their_blocks() {
        let mut places = Places::default();
        (0..10 * BLOCK as u64).for_each(|key| places.insert(Key::from_u64(key), place(0)));
        assert_eq!(places.blocks.len(), 10);
    }
}
