//! Numbers and times to ordinals: pairs in ascending order, in blocks of at most
//! [`limits::FIELD_BLOCK_ENTRIES_MAX`].
//!
//! Not a bit-sliced index: that needs as many bitmap operations as a value has bits, 64 for f64, however few
//! documents are meant, and says how many these are only after all of them. Here a range of few is found at once, its
//! size is a sum over blocks, and one of many is found as what is outside. A bit-sliced index is smaller for fields
//! with few distinct values, an eighth at best; beside embeddings of hundreds of bytes neither counts.
//!
//! Memory: 12 bytes a pair in a full block, as when values only grow; 17 at random; 48 at worst, when removals leave
//! every block a quarter full (below that it is merged with a neighbour that has room).
//!
//! Insertion and removal: a search in the map of blocks, and up to a block of 3 KiB moved.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};

use roaring::RoaringBitmap;

use super::bitmap_bytes;
use crate::limits;
use crate::shard::document::fields::FieldType;
use crate::shard::document::number::Number;
use crate::shard::document::scalar::Scalar;

const BLOCK: usize = limits::FIELD_BLOCK_ENTRIES_MAX;
/// A block with fewer looks for a neighbour, and takes it in when both leave room for insertions.
const MERGE_BELOW: usize = BLOCK / 4;
const MERGED_MAX: usize = BLOCK / 4 * 3;
/// So many ordinals are sorted; more are put into a plain set of bits first.
const SORTED_MAX: usize = 4096;

/// A value in the order of unsigned numbers, and an ordinal that has it.
type Pair = (u64, u32);

/// The key of a value of a field. `None` for a number that the type does not have.
pub fn key_of(kind: FieldType, number: Number) -> Option<u64> {
    match kind {
        FieldType::F64 => Some(float_key(number.to_f64())),
        _ => number.as_i64().map(int_key),
    }
}

fn int_key(int: i64) -> u64 {
    int as u64 ^ 1 << 63
}

/// Ascending like the floats, which are no NaN and no negative zero.
fn float_key(float: f64) -> u64 {
    let bits = float.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The keys of values between two bounds; `None` when there are none.
pub fn key_range(
    kind: FieldType,
    low: &Bound<Scalar<'_>>,
    high: &Bound<Scalar<'_>>,
) -> Option<RangeInclusive<u64>> {
    let first = match numbers(low) {
        Bound::Unbounded => 0,
        low if kind == FieldType::F64 => match low {
            Bound::Excluded(number) => float_key(number.to_f64()).checked_add(1)?,
            Bound::Included(number) => float_key(number.to_f64()),
            Bound::Unbounded => 0,
        },
        Bound::Included(number) => int_key(number.ceil_i64()?),
        Bound::Excluded(number) => match number.floor_i64() {
            Some(below) => int_key(below.checked_add(1)?),
            None => 0,
        },
    };
    let last = match numbers(high) {
        Bound::Unbounded => u64::MAX,
        high if kind == FieldType::F64 => match high {
            Bound::Excluded(number) => float_key(number.to_f64()).checked_sub(1)?,
            Bound::Included(number) => float_key(number.to_f64()),
            Bound::Unbounded => u64::MAX,
        },
        Bound::Included(number) => int_key(number.floor_i64()?),
        Bound::Excluded(number) => match number.ceil_i64() {
            Some(above) => int_key(above.checked_sub(1)?),
            None => u64::MAX,
        },
    };
    (first <= last).then_some(first..=last)
}

/// Filters compare fields of this kind with numbers only.
fn numbers(bound: &Bound<Scalar<'_>>) -> Bound<Number> {
    bound.as_ref().map(|value| match value {
        Scalar::Number(number) => *number,
        other => panic!("{other:?} as a bound of numbers"),
    })
}

/// Invariant: an ordinal has one value.
#[derive(Clone, Debug, Default)]
pub struct OrderedIndex {
    /// By a pair that is not above the first of the block and above the last of the block before.
    blocks: BTreeMap<Pair, Block>,
    ordinals: RoaringBitmap,
}

/// Invariant: ascending, no pair twice, not empty, at most [`BLOCK`].
#[derive(Clone, Debug)]
struct Block {
    keys: Vec<u64>,
    ordinals: Vec<u32>,
}

impl Block {
    fn new() -> Block {
        Block { keys: Vec::with_capacity(BLOCK), ordinals: Vec::with_capacity(BLOCK) }
    }

    fn len(&self) -> usize {
        self.keys.len()
    }

    /// Where the pair is, or would be.
    fn search(&self, (key, ordinal): Pair) -> Result<usize, usize> {
        let start = self.keys.partition_point(|other| *other < key);
        let end = start + self.keys[start..].partition_point(|other| *other == key);
        match self.ordinals[start..end].binary_search(&ordinal) {
            Ok(at) => Ok(start + at),
            Err(at) => Err(start + at),
        }
    }

    fn insert(&mut self, at: usize, (key, ordinal): Pair) {
        self.keys.insert(at, key);
        self.ordinals.insert(at, ordinal);
    }

    fn remove(&mut self, at: usize) {
        self.keys.remove(at);
        self.ordinals.remove(at);
    }

    /// Takes away what is at `at` and behind it.
    fn split_off(&mut self, at: usize) -> Block {
        let mut tail = Block::new();
        tail.keys.extend(self.keys.drain(at..));
        tail.ordinals.extend(self.ordinals.drain(at..));
        tail
    }

    fn append(&mut self, next: &Block) {
        self.keys.extend_from_slice(&next.keys);
        self.ordinals.extend_from_slice(&next.ordinals);
    }

    fn first(&self) -> Pair {
        (self.keys[0], self.ordinals[0])
    }
}

impl OrderedIndex {
    /// The name of the block where the pair is or would be.
    fn block_of(&self, pair: Pair) -> Option<Pair> {
        self.blocks.range(..=pair).next_back().map(|(name, _)| *name)
    }

    pub fn insert(&mut self, key: u64, ordinal: u32) {
        let pair = (key, ordinal);
        self.ordinals.insert(ordinal);
        // The first block takes all that is below the others.
        let name = self.block_of(pair).unwrap_or_default();
        let is_last = self.blocks.range((Bound::Excluded(name), Bound::Unbounded)).next().is_none();
        let block = self.blocks.entry(name).or_insert_with(Block::new);
        let Err(at) = block.search(pair) else { return };
        if block.len() < BLOCK {
            return block.insert(at, pair);
        }
        let next = if is_last && at == BLOCK {
            // Values that only grow leave full blocks behind.
            let mut next = Block::new();
            next.insert(0, pair);
            next
        } else {
            let mut next = block.split_off(BLOCK / 2);
            match at.checked_sub(BLOCK / 2) {
                Some(at) if at > 0 => next.insert(at, pair),
                _ => block.insert(at, pair),
            }
            next
        };
        self.blocks.insert(next.first(), next);
    }

    /// Does nothing when there is no such pair.
    pub fn remove(&mut self, key: u64, ordinal: u32) {
        let pair = (key, ordinal);
        let Some(name) = self.block_of(pair) else { return };
        let block = self.blocks.get_mut(&name).expect("it was just found");
        let Ok(at) = block.search(pair) else { return };
        block.remove(at);
        self.ordinals.remove(ordinal);
        match block.len() {
            0 => drop(self.blocks.remove(&name)),
            len if len < MERGE_BELOW => self.merge_around(name),
            _ => (),
        }
    }

    fn merge_around(&mut self, name: Pair) {
        let before = self.blocks.range(..name).next_back().map(|(name, _)| *name);
        let after =
            self.blocks.range((Bound::Excluded(name), Bound::Unbounded)).next().map(|(name, _)| *name);
        let pairs = [before.map(|before| (before, name)), after.map(|after| (name, after))];
        let fits = |(one, two): &(Pair, Pair)| self.blocks[one].len() + self.blocks[two].len() <= MERGED_MAX;
        if let Some((one, two)) = pairs.into_iter().flatten().find(fits) {
            let next = self.blocks.remove(&two).expect("it was just found");
            self.blocks.get_mut(&one).expect("it was just found").append(&next);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.ordinals.is_empty()
    }

    /// Ordinals of the range, in pieces.
    fn pieces(&self, keys: RangeInclusive<u64>) -> impl Iterator<Item = &[u32]> {
        let (low, high) = keys.into_inner();
        let first = self.block_of((low, 0)).unwrap_or_default();
        let mut blocks = self.blocks.range(first..=(high, u32::MAX)).peekable();
        std::iter::from_fn(move || {
            let (name, block) = blocks.next()?;
            // By its name a block is known to be inside without a look at it.
            let is_inside = name.0 >= low && blocks.peek().is_some();
            if is_inside {
                return Some(&block.ordinals[..]);
            }
            let start = block.keys.partition_point(|key| *key < low);
            let end = block.keys.partition_point(|key| *key <= high);
            Some(&block.ordinals[start..end.max(start)])
        })
    }

    pub fn count(&self, keys: RangeInclusive<u64>) -> u64 {
        self.pieces(keys).map(|piece| piece.len() as u64).sum()
    }

    /// The ordinals of the range. When most are meant, those outside are taken away from all.
    pub fn within(&self, keys: RangeInclusive<u64>) -> RoaringBitmap {
        if self.count(keys.clone()) * 2 <= self.ordinals.len() {
            return self.gather(keys);
        }
        let (low, high) = keys.into_inner();
        let mut found = self.ordinals.clone();
        let below = low.checked_sub(1).map(|last| 0..=last);
        let above = high.checked_add(1).map(|first| first..=u64::MAX);
        below.into_iter().chain(above).for_each(|outside| found -= self.gather(outside));
        found
    }

    fn gather(&self, keys: RangeInclusive<u64>) -> RoaringBitmap {
        if self.count(keys.clone()) as usize <= SORTED_MAX {
            let mut ordinals: Vec<u32> = self.pieces(keys).flatten().copied().collect();
            ordinals.sort_unstable();
            return RoaringBitmap::from_sorted_iter(ordinals).expect("sorted, and one value an ordinal");
        }
        let bits = self.ordinals.max().map_or(0, |last| last as usize + 1);
        let mut bytes = vec![0u8; bits.div_ceil(8)];
        for ordinal in self.pieces(keys).flatten() {
            bytes[*ordinal as usize / 8] |= 1 << (ordinal % 8);
        }
        RoaringBitmap::from_lsb0_bytes(0, &bytes)
    }

    /// Frees about `count` pairs of an index that nobody asks any more; false when nothing is left.
    pub fn shed(&mut self, count: usize) -> bool {
        (0..count.div_ceil(BLOCK)).all(|_| self.blocks.pop_first().is_some())
    }

    pub fn memory_bytes(&self) -> usize {
        // A name and two vectors, and the map around them, which is two thirds full.
        let block = BLOCK * (8 + 4) + (16 + std::mem::size_of::<Block>()) * 3 / 2;
        self.blocks.len() * block + bitmap_bytes(&self.ordinals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    impl OrderedIndex {
        fn check(&self) {
            let mut before = None;
            for (index, (name, block)) in self.blocks.iter().enumerate() {
                assert_eq!(block.keys.len(), block.ordinals.len());
                assert!((1..=BLOCK).contains(&block.len()));
                assert!(index == 0 && *name == Pair::default() || *name <= block.first());
                for pair in block.keys.iter().copied().zip(block.ordinals.iter().copied()) {
                    assert!(before.is_none_or(|before| before < pair));
                    assert!(*name <= pair);
                    before = Some(pair);
                }
            }
        }
    }

    /// A value for each of some ordinals, from many or few: the same numbers every time (splitmix64).
    fn scattered(count: u32, distinct: u64) -> Vec<(u64, u32)> {
        let mix = |n: u32| {
            let mut z = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        (0..count).map(|ordinal| (mix(ordinal) % distinct, ordinal)).collect()
    }

    fn check_against(index: &OrderedIndex, model: &BTreeSet<Pair>, ranges: &[(u64, u64)]) {
        index.check();
        assert_eq!(index.ordinals, model.iter().map(|(_, ordinal)| *ordinal).collect());
        for (low, high) in ranges {
            let wanted: RoaringBitmap = model
                .iter()
                .filter(|(key, _)| (low..=high).contains(&key))
                .map(|(_, ordinal)| *ordinal)
                .collect();
            assert_eq!(index.count(*low..=*high), wanted.len(), "{low}..={high}");
            assert_eq!(index.within(*low..=*high), wanted, "{low}..={high}");
        }
    }

    #[test]
    fn many_pairs_come_and_go() {
        for distinct in [1, 7, 1000, u64::MAX] {
            let (mut index, mut model) = (OrderedIndex::default(), BTreeSet::new());
            let pairs = scattered(20_000, distinct);
            for (key, ordinal) in &pairs {
                index.insert(*key, *ordinal);
                model.insert((*key, *ordinal));
            }
            let step = pairs.iter().map(|(key, _)| *key).max().unwrap() / 4 + 1;
            let ranges = [
                (0, u64::MAX),
                (0, 0),
                (step, 2 * step),
                (step, step),
                (0, step),
                (step, u64::MAX),
                (u64::MAX, u64::MAX),
            ];
            check_against(&index, &model, &ranges);
            for (key, ordinal) in pairs.iter().filter(|(_, ordinal)| ordinal % 16 != 3) {
                index.remove(*key, *ordinal);
                model.remove(&(*key, *ordinal));
            }
            check_against(&index, &model, &ranges);
            let bytes = index.blocks.len() * BLOCK * 12 / model.len();
            assert!(bytes <= 48, "{bytes} bytes a pair after removals");
            for (key, ordinal) in pairs {
                index.remove(key, ordinal);
            }
            assert!(index.is_empty());
        }
    }

    #[test]
    fn memory_is_as_said() {
        let bytes_of = |pairs: Vec<Pair>| {
            let mut index = OrderedIndex::default();
            let count = pairs.len();
            pairs.into_iter().for_each(|(key, ordinal)| index.insert(key, ordinal));
            index.blocks.len() * BLOCK * 12 / count
        };
        assert_eq!(bytes_of((0..100_000).map(|n| (u64::from(n), n)).collect()), 12);
        assert!((16..=18).contains(&bytes_of(scattered(100_000, u64::MAX))));
    }

    #[test]
    fn keys_are_in_the_order_of_values() {
        let floats = [f64::MIN, -1.5, -1e-300, 0.0, 5e-324, 1.0, 1.5, f64::MAX];
        assert!(floats.windows(2).all(|pair| float_key(pair[0]) < float_key(pair[1])));
        let ints = [i64::MIN, -1, 0, 1, i64::MAX];
        assert!(ints.windows(2).all(|pair| int_key(pair[0]) < int_key(pair[1])));
    }

    #[test]
    fn bounds_beyond_a_type_are_all_or_nothing() {
        let number = |text: &str| Scalar::Number(Number::parse(text).unwrap());
        let range = |low, high| key_range(FieldType::I64, &low, &high);
        use Bound::*;
        assert_eq!(range(Excluded(number("1e30")), Unbounded), None);
        assert_eq!(range(Included(number("1e30")), Unbounded), None);
        assert_eq!(range(Excluded(number("-1e30")), Unbounded), Some(0..=u64::MAX));
        assert_eq!(range(Unbounded, Excluded(number("1e30"))), Some(0..=u64::MAX));
        assert_eq!(range(Unbounded, Included(number("-1e30"))), None);
        assert_eq!(range(Unbounded, Excluded(number("-9223372036854775808"))), None);
        assert_eq!(range(Excluded(number("9223372036854775807")), Unbounded), None);
        assert_eq!(range(Included(number("2.5")), Included(number("2.9"))), None);
        assert_eq!(range(Excluded(number("2.5")), Excluded(number("3.5"))), Some(int_key(3)..=int_key(3)));
        assert_eq!(range(Excluded(number("2")), Excluded(number("3"))), None);
        let floats = key_range(FieldType::F64, &Excluded(number("2")), &Excluded(number("2.5")));
        assert_eq!(floats, Some(float_key(2.0_f64.next_up())..=float_key(2.5_f64.next_down())));
        assert_eq!(
            key_range(FieldType::F64, &Included(number("3")), &Unbounded),
            Some(float_key(3.0)..=u64::MAX)
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_answers_as_a_set_of_pairs_does(
            changes in prop::collection::vec((0u32..6, 0u64..40, 0u32..2000), 0..3000),
            ranges in prop::collection::vec((0u64..45, 0u64..45), 6),
        ) {
            let (mut index, mut model) = (OrderedIndex::default(), BTreeSet::new());
            let mut values = std::collections::BTreeMap::new();
            for (change, key, ordinal) in changes {
                if let Some(old) = values.remove(&ordinal) {
                    index.remove(old, ordinal);
                    model.remove(&(old, ordinal));
                }
                if change > 0 {
                    index.insert(key, ordinal);
                    model.insert((key, ordinal));
                    values.insert(ordinal, key);
                }
            }
            let ranges: Vec<(u64, u64)> = ranges.into_iter().filter(|(low, high)| low <= high).collect();
            check_against(&index, &model, &ranges);
        }
    }
}
