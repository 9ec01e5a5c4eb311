//! An index over keys that are strings of bytes.
//!
//! The 8 bytes behind what all keys begin with, as one number, are in the order of the keys, so an index
//! over the distinct ones finds a *group*: the keys with the same 8 bytes there. Inside of a group the
//! caller compares whole keys, wherever they are. So a lookup costs a lookup of a number, and one
//! comparison where groups have one key. Where keys say little in these 8 bytes, groups are large and
//! searched by halving: no slower than a search of all keys, and no faster.
//!
//! (Prefixes compared as numbers are the "poor man's normalized keys" of Graefe and Larson, "B-tree
//! indexes and CPU caches", 2001.)
//!
//! INVARIANT: a key with fewer than 8 bytes behind the prefix counts as filled up with zeros. So `a` and
//! `a\0` share a group, and numbers never contradict the order of the keys.

use std::cmp::Ordering;
use std::ops::Range;

use super::index::{Index, IndexBuilder, IndexOptions};
use super::keys::{KeyArrayBuilder, KeysError};

const NUMBER_BYTES: usize = 8;

/// An index over keys that somebody else keeps.
pub struct StringIndex {
    /// What all keys begin with.
    prefix: Box<[u8]>,
    /// Over the distinct numbers.
    index: Index,
    // Invariant: the rank of the first key of each group, then `len`; none when every group is one key.
    starts: Option<Box<[u32]>>,
    len: usize,
}

/// Where a wanted key is, as far as numbers tell.
enum Group {
    /// Certain: this many keys are below.
    Rank(usize),
    /// Somewhere here, or right behind.
    Ranks(Range<usize>),
}

impl StringIndex {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes beside the keys; the distinct numbers are such.
    pub fn bytes(&self) -> usize {
        let starts = self.starts.as_ref().map_or(0, |starts| size_of_val(&starts[..]));
        self.index.bytes() + size_of_val(self.index.keys().as_slice()) + starts + self.prefix.len()
    }

    /// Over the distinct numbers of the keys.
    pub fn numbers(&self) -> &Index {
        &self.index
    }

    /// How many keys are below `wanted`. `compare` says how the key of a rank compares to `wanted`.
    pub fn rank(&self, wanted: &[u8], compare: impl FnMut(usize) -> Ordering) -> usize {
        self.get(wanted, compare).unwrap_or_else(|rank| rank)
    }

    /// The rank of `wanted` when it is there, and the one that it would have when it is not.
    pub fn get(&self, wanted: &[u8], compare: impl FnMut(usize) -> Ordering) -> Result<usize, usize> {
        let group = match number(&self.prefix, wanted) {
            Number::Below => Group::Rank(0),
            Number::Above => Group::Rank(self.len),
            Number::Is(number) => self.group(number, self.index.rank(number)),
        };
        settle(group, compare)
    }

    /// `get` of each of `wanted`; `compare` gets the place in `wanted`, then the rank. Best with 16 to
    /// 64 at a time.
    pub fn get_batch(
        &self,
        wanted: &[&[u8]],
        mut compare: impl FnMut(usize, usize) -> Ordering,
        places: &mut [Result<usize, usize>],
    ) {
        const AT_ONCE: usize = 32;
        assert_eq!(wanted.len(), places.len());
        let (mut numbers, mut ranks) = ([0; AT_ONCE], [0; AT_ONCE]);
        let mut first = 0;
        for (wanted, places) in wanted.chunks(AT_ONCE).zip(places.chunks_mut(AT_ONCE)) {
            for (slot, wanted) in numbers.iter_mut().zip(wanted) {
                // What has no number asks for the smallest, in vain.
                *slot = if let Number::Is(number) = number(&self.prefix, wanted) { number } else { 0 };
            }
            self.index.rank_batch(&numbers[..wanted.len()], &mut ranks[..wanted.len()]);
            for (at, (wanted, place)) in wanted.iter().zip(places).enumerate() {
                let group = match number(&self.prefix, wanted) {
                    Number::Below => Group::Rank(0),
                    Number::Above => Group::Rank(self.len),
                    Number::Is(number) => self.group(number, ranks[at]),
                };
                *place = settle(group, |rank| compare(first + at, rank));
            }
            first += wanted.len();
        }
    }

    /// The keys with this number, of which the index says the rank among the distinct ones.
    fn group(&self, number: u64, rank: usize) -> Group {
        let is_there = self.index.keys().as_slice().get(rank) == Some(&number);
        match (&self.starts, is_there) {
            (None, true) => Group::Ranks(rank..rank + 1),
            (None, false) => Group::Rank(rank),
            (Some(starts), true) => Group::Ranks(starts[rank] as usize..starts[rank + 1] as usize),
            (Some(starts), false) => Group::Rank(starts[rank] as usize),
        }
    }
}

fn settle(group: Group, mut compare: impl FnMut(usize) -> Ordering) -> Result<usize, usize> {
    let Range { mut start, mut end } = match group {
        Group::Rank(rank) => return Err(rank),
        Group::Ranks(ranks) => ranks,
    };
    while start < end {
        let middle = start + (end - start) / 2;
        match compare(middle) {
            Ordering::Less => start = middle + 1,
            Ordering::Equal => return Ok(middle),
            Ordering::Greater => end = middle,
        }
    }
    Err(start)
}

/// What a key is behind the prefix.
enum Number {
    /// Below every key with the prefix.
    Below,
    Is(u64),
    /// Above every key with the prefix.
    Above,
}

fn number(prefix: &[u8], key: &[u8]) -> Number {
    match key.strip_prefix(prefix) {
        Some(rest) => {
            let mut bytes = [0; NUMBER_BYTES];
            let len = rest.len().min(NUMBER_BYTES);
            bytes[..len].copy_from_slice(&rest[..len]);
            Number::Is(u64::from_be_bytes(bytes))
        }
        None if key < prefix => Number::Below,
        None => Number::Above,
    }
}

/// What two keys begin with, both of them.
pub fn common_prefix<'a>(first: &'a [u8], last: &[u8]) -> &'a [u8] {
    let len = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    &first[..len]
}

/// Takes keys in order, then trains in steps.
pub struct StringIndexBuilder {
    prefix: Box<[u8]>,
    numbers: KeyArrayBuilder,
    starts: Vec<u32>,
    /// The key before.
    last: Vec<u8>,
    len: usize,
    number: Option<u64>,
    options: IndexOptions,
}

impl StringIndexBuilder {
    /// For sorted keys of which these are the first and the last.
    pub fn new(first: &[u8], last: &[u8], options: IndexOptions) -> StringIndexBuilder {
        StringIndexBuilder {
            prefix: common_prefix(first, last).into(),
            numbers: KeyArrayBuilder::new(0, options.train.memory),
            starts: Vec::new(),
            last: Vec::new(),
            len: 0,
            number: None,
            options,
        }
    }

    /// The next key. An error takes nothing.
    pub fn push(&mut self, key: &[u8]) -> Result<(), KeysError> {
        let at = self.len;
        if self.len > 0 && self.last == key {
            return Err(KeysError::Duplicate { at });
        }
        // A key outside of first and last lacks the prefix, or is below the key before.
        let Number::Is(number) = number(&self.prefix, key) else {
            return Err(KeysError::Unsorted { at });
        };
        if self.len > 0 && self.last.as_slice() > key {
            return Err(KeysError::Unsorted { at });
        }
        let start = u32::try_from(at).map_err(|_| KeysError::TooMany { len: at })?;
        if self.number != Some(number) {
            self.numbers.push(&[number])?;
            self.starts.push(start);
            self.number = Some(number);
        }
        self.last.clear();
        self.last.extend_from_slice(key);
        self.len += 1;
        Ok(())
    }

    /// No more keys.
    pub fn train(self) -> StringIndexTraining {
        let groups_are_keys = self.starts.len() == self.len;
        let mut starts = self.starts;
        starts.push(self.len as u32);
        StringIndexTraining {
            prefix: self.prefix,
            starts: (!groups_are_keys).then(|| starts.into_boxed_slice()),
            len: self.len,
            builder: IndexBuilder::new(self.numbers.finish(), self.options),
        }
    }
}

/// All keys are known; the rest of the work, in steps.
pub struct StringIndexTraining {
    prefix: Box<[u8]>,
    starts: Option<Box<[u32]>>,
    len: usize,
    builder: IndexBuilder,
}

impl StringIndexTraining {
    /// As a step of [`IndexBuilder`]; true when all is done.
    pub fn step(&mut self, budget: usize, clock: &mut dyn FnMut() -> u64) -> bool {
        self.builder.step(budget, clock)
    }

    /// The index, when the last step said that all is done.
    pub fn finish(self) -> StringIndex {
        let StringIndexTraining { prefix, starts, len, builder } = self;
        StringIndex { prefix, starts, len, index: builder.finish() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rmi::keysets::Random;
    use proptest::prelude::*;

    fn try_build(keys: &[Vec<u8>]) -> Result<StringIndex, KeysError> {
        let none = Vec::new();
        let (first, last) = (keys.first().unwrap_or(&none), keys.last().unwrap_or(&none));
        let mut builder = StringIndexBuilder::new(first, last, IndexOptions::default());
        keys.iter().try_for_each(|key| builder.push(key))?;
        let mut training = builder.train();
        let mut time = 0;
        let mut clock = || {
            time += 1;
            time
        };
        while !training.step(1000, &mut clock) {}
        Ok(training.finish())
    }

    fn check(keys: &[Vec<u8>], wanted: &[Vec<u8>]) {
        let index = try_build(keys).unwrap();
        assert_eq!(index.len(), keys.len());
        let wanted: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
        let right: Vec<_> =
            wanted.iter().map(|key| keys.binary_search_by(|other| other[..].cmp(key))).collect();
        let mut batch = vec![Ok(0); wanted.len()];
        index.get_batch(&wanted, |at, rank| keys[rank][..].cmp(wanted[at]), &mut batch);
        assert_eq!(batch, right);
        for (key, right) in wanted.into_iter().zip(right) {
            assert_eq!(index.get(key, |rank| keys[rank][..].cmp(key)), right, "{key:?}");
            assert_eq!(index.rank(key, |rank| keys[rank][..].cmp(key)), right.unwrap_or_else(|rank| rank));
        }
    }

    /// Each key, with its last byte changed, cut and continued.
    fn around(keys: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let near = |key: &Vec<u8>| {
            let mut near = vec![key.clone(), [&key[..], &[0]].concat(), [&key[..], &[255]].concat()];
            if let Some((last, start)) = key.split_last() {
                near.push(start.to_vec());
                near.push([start, &[last.wrapping_add(1)]].concat());
                near.push([start, &[last.wrapping_sub(1)]].concat());
            }
            near
        };
        keys.iter().flat_map(near).chain([vec![], vec![0], vec![255; 40]]).collect()
    }

    fn sorted(mut keys: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many keys")]
    fn keys_as_people_have_them() {
        let n = 5000;
        let random = &mut Random(1);
        let mut of = |make: &dyn Fn(u64) -> String| {
            sorted((0..n).map(|_| make(random.below(10 * n)).into_bytes()).collect())
        };
        for keys in [
            of(&|at| format!("user:{at:012}")),
            of(&|at| format!("user:{at}")),
            of(&|at| format!("https://example.org/{}/{at}/index.html", at % 7)),
            of(&|at| format!("{:016x}", at.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            // All the same for far more than 8 bytes: one group, or few.
            of(&|at| format!("{}{}{at:08}", at % 3, "x".repeat(30))),
            of(&|at| "a".repeat(at as usize % 100)),
            of(&|at| "\0".repeat(at as usize % 20)),
        ] {
            check(&keys, &around(&keys));
        }
    }

    #[test]
    fn few_keys() {
        check(&[], &around(&[]));
        for key in [&b""[..], b"a", b"\0", b"\0\0\0\0\0\0\0\0", b"a long key of its own"] {
            check(&[key.to_vec()], &around(&[key.to_vec()]));
        }
    }

    #[test]
    fn groups_of_one_key_cost_no_table() {
        let keys: Vec<Vec<u8>> = (0..100).map(|at| format!("key-{at:04}").into_bytes()).collect();
        assert!(try_build(&keys).unwrap().starts.is_none());
        let keys = sorted(keys.into_iter().chain([b"key-0007\0".to_vec()]).collect());
        let index = try_build(&keys).unwrap();
        assert_eq!((index.numbers().keys().len(), index.starts.as_ref().unwrap().len()), (100, 101));
    }

    #[test]
    fn order_and_uniqueness_are_checked() {
        let refused = |keys: &[&str]| {
            let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
            try_build(&keys).err()
        };
        assert_eq!(refused(&["a", "b", "b"]), Some(KeysError::Duplicate { at: 2 }));
        assert_eq!(refused(&["aa", "ac", "ab", "ad"]), Some(KeysError::Unsorted { at: 2 }));
        assert_eq!(refused(&["aa", "b", "ab"]), Some(KeysError::Unsorted { at: 1 }));
        assert_eq!(refused(&["same", "samf", "same"]), Some(KeysError::Unsorted { at: 1 }));
        assert_eq!(refused(&["", "a"]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]
        #[test]
        fn agrees_with_binary_search(
            prefix in prop::collection::vec(any::<u8>(), 0..12),
            // Few distinct bytes, so that keys share much.
            keys in prop::collection::vec(prop::collection::vec(prop::sample::select(vec![0, 1, 97, 255]), 0..14), 0..60),
            wanted in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20),
        ) {
            let keys = sorted(keys.into_iter().map(|key| [&prefix[..], &key].concat()).collect());
            let wanted: Vec<Vec<u8>> = around(&keys).into_iter().chain(wanted).collect();
            check(&keys, &wanted);
        }
    }
}
