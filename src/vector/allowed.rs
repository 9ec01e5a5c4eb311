//! Sets of ordinals: what a filter lets through, what is deleted.
//!
//! Words of bits rather than roaring bitmaps: a walk asks for single ordinals in random order, which is one
//! load here and a search in a container there, and a segment's set is small beside its codes (a bit beside
//! 100 bytes and more). Indexes over metadata keep roaring bitmaps and pour them in.
//!
//! A filter of few is a list instead. What it lets through is scanned, in order, and of 1,000 in 100,000 making
//! the words and looking for their bits took as long as measuring what they stand for.

use roaring::RoaringBitmap;

#[derive(Clone, Debug)]
pub struct Ordinals {
    kept: Kept,
    count: usize,
}

#[derive(Clone, Debug)]
enum Kept {
    Words(Vec<u64>),
    /// In order.
    List(Vec<u32>),
}

impl Default for Ordinals {
    fn default() -> Ordinals {
        Ordinals::from_words(Vec::new())
    }
}

impl PartialEq for Ordinals {
    fn eq(&self, other: &Ordinals) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Eq for Ordinals {}

impl Ordinals {
    /// Lists are no longer: what a walk over survivors asks for all the time has to be words.
    const LIST_MAX: u64 = 4096;
    /// Nor are they longer than the words would be.
    const BITS_A_PLACE: u64 = 32;

    /// None of `bound` ordinals.
    pub fn none(bound: usize) -> Ordinals {
        Ordinals { kept: Kept::Words(vec![0; bound.div_ceil(64)]), count: 0 }
    }

    /// All below `bound`.
    pub fn all(bound: usize) -> Ordinals {
        let mut words = vec![u64::MAX; bound.div_ceil(64)];
        if let (Some(last), rest @ 1..) = (words.last_mut(), bound % 64) {
            *last = (1 << rest) - 1;
        }
        Ordinals { kept: Kept::Words(words), count: bound }
    }

    /// How many there are, exactly.
    pub fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub fn contains(&self, ordinal: u32) -> bool {
        match &self.kept {
            Kept::Words(words) => is_set(words, ordinal),
            Kept::List(list) => list.binary_search(&ordinal).is_ok(),
        }
    }

    /// True when it is new.
    pub fn insert(&mut self, ordinal: u32) -> bool {
        let word = ordinal as usize / 64;
        let words = self.words_mut();
        if word >= words.len() {
            words.resize(word + 1, 0);
        }
        let is_new = words[word] >> (ordinal % 64) & 1 == 0;
        words[word] |= 1 << (ordinal % 64);
        self.count += usize::from(is_new);
        is_new
    }

    /// True when it was there.
    pub fn remove(&mut self, ordinal: u32) -> bool {
        let was_there = self.contains(ordinal);
        if was_there {
            self.words_mut()[ordinal as usize / 64] &= !(1 << (ordinal % 64));
            self.count -= 1;
        }
        was_there
    }

    /// Takes away what is in `others`.
    pub fn remove_all(&mut self, others: &Ordinals) {
        let words = self.words_mut();
        match &others.kept {
            Kept::Words(others) => {
                words.iter_mut().zip(others).for_each(|(word, other)| *word &= !other);
            }
            Kept::List(list) => list.iter().for_each(|ordinal| {
                if let Some(word) = words.get_mut(*ordinal as usize / 64) {
                    *word &= !(1 << (ordinal % 64));
                }
            }),
        }
        self.count = words.iter().map(|word| word.count_ones() as usize).sum();
    }

    /// How many of these are in `others` too.
    pub fn count_in(&self, others: &Ordinals) -> usize {
        match (&self.kept, &others.kept) {
            (Kept::Words(words), Kept::Words(others)) => {
                words.iter().zip(others).map(|(word, other)| (word & other).count_ones() as usize).sum()
            }
            (Kept::List(list), _) => list.iter().filter(|ordinal| others.contains(**ordinal)).count(),
            (_, Kept::List(_)) => others.count_in(self),
        }
    }

    /// Takes away what is not in `others`.
    pub fn keep_common(&mut self, others: &Ordinals) {
        self.count = self.count_in(others);
        match (&mut self.kept, &others.kept) {
            (Kept::Words(words), Kept::Words(others)) => {
                words.truncate(others.len());
                words.iter_mut().zip(others).for_each(|(word, other)| *word &= other);
            }
            (Kept::List(list), _) => list.retain(|ordinal| others.contains(*ordinal)),
            (Kept::Words(words), Kept::List(list)) => {
                *words = words_of(list.iter().copied().filter(|ordinal| is_set(words, *ordinal)));
            }
        }
    }

    /// From `from` on, in order.
    pub fn iter_from(&self, from: u32) -> impl Iterator<Item = u32> {
        let (words, list) = match &self.kept {
            Kept::Words(words) => (words.as_slice(), [].as_slice()),
            Kept::List(list) => ([].as_slice(), &list[list.partition_point(|ordinal| *ordinal < from)..]),
        };
        let first = from as usize / 64;
        let words = words.iter().enumerate().skip(first);
        let of_words = words.flat_map(move |(at, word)| {
            let mut left = if at == first { word & (u64::MAX << (from % 64)) } else { *word };
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(at as u32 * 64 + bit)
            })
        });
        of_words.chain(list.iter().copied())
    }

    /// Appends what is not in `others`, in order, from `from` on, until `out` has `count`.
    pub(super) fn take_from(&self, from: u32, others: &Ordinals, count: usize, out: &mut Vec<u32>) {
        match &self.kept {
            Kept::List(list) => {
                let list = &list[list.partition_point(|ordinal| *ordinal < from)..];
                let wanted = count - out.len();
                match others.count {
                    0 => out.extend_from_slice(&list[..wanted.min(list.len())]),
                    _ => out.extend(list.iter().filter(|ordinal| !others.contains(**ordinal)).take(wanted)),
                }
            }
            Kept::Words(words) => {
                let first = from as usize / 64;
                let mut mask = u64::MAX << (from % 64);
                for (at, word) in words.iter().enumerate().skip(first) {
                    let mut left = word & mask & !others.word(at);
                    mask = u64::MAX;
                    while left != 0 {
                        if out.len() == count {
                            return;
                        }
                        out.push(at as u32 * 64 + left.trailing_zeros());
                        left &= left - 1;
                    }
                }
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.iter_from(0)
    }

    /// As bits, the lowest ordinal in the lowest bit of the first word.
    pub fn into_words(mut self) -> Vec<u64> {
        std::mem::take(self.words_mut())
    }

    pub fn from_words(words: Vec<u64>) -> Ordinals {
        let count = words.iter().map(|word| word.count_ones() as usize).sum();
        Ordinals { kept: Kept::Words(words), count }
    }

    fn word(&self, at: usize) -> u64 {
        match &self.kept {
            Kept::Words(words) => words.get(at).copied().unwrap_or(0),
            Kept::List(list) => {
                let begin = list.partition_point(|ordinal| (*ordinal as usize) < at * 64);
                let inside = list[begin..].iter().take_while(|ordinal| **ordinal as usize / 64 == at);
                inside.fold(0, |word, ordinal| word | 1 << (ordinal % 64))
            }
        }
    }

    /// What changes is words from then on.
    fn words_mut(&mut self) -> &mut Vec<u64> {
        if let Kept::List(list) = &self.kept {
            self.kept = Kept::Words(words_of(list.iter().copied()));
        }
        match &mut self.kept {
            Kept::Words(words) => words,
            Kept::List(_) => unreachable!("made words above"),
        }
    }
}

#[inline]
fn is_set(words: &[u64], ordinal: u32) -> bool {
    words.get(ordinal as usize / 64).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
}

fn words_of(ordinals: impl Iterator<Item = u32>) -> Vec<u64> {
    let mut words = Vec::<u64>::new();
    ordinals.for_each(|ordinal| {
        let word = ordinal as usize / 64;
        if word >= words.len() {
            words.resize(word + 1, 0);
        }
        words[word] |= 1 << (ordinal % 64);
    });
    words
}

/// Of a bitmap in containers of 2^16 ordinals: those of many ordinals are words already, and iterating takes as long
/// for 50,000 ordinals as several searches. The crate gives no other way to its containers than its portable format.
impl From<&RoaringBitmap> for Ordinals {
    fn from(bitmap: &RoaringBitmap) -> Ordinals {
        let Some(most) = bitmap.max() else { return Ordinals::default() };
        let (count, mut bytes) = (bitmap.len(), Vec::with_capacity(bitmap.serialized_size()));
        bitmap.serialize_into(&mut bytes).expect("memory takes everything");
        let containers = Containers::new(&bytes);
        let is_few = count <= Ordinals::LIST_MAX && count * Ordinals::BITS_A_PLACE <= u64::from(most);
        let kept = match is_few {
            true => Kept::List(containers.list(count as usize)),
            false => {
                let mut words = vec![0; most as usize / 64 + 1];
                containers.pour(&mut words);
                Kept::Words(words)
            }
        };
        Ordinals { kept, count: count as usize }
    }
}

/// The portable format of roaring bitmaps (github.com/RoaringBitmap/RoaringFormatSpec), as the crate has just
/// written it.
struct Containers<'a> {
    /// Key and number of ordinals of each.
    heads: Vec<(u16, usize, bool)>,
    bytes: &'a [u8],
}

impl<'a> Containers<'a> {
    const WITH_RUNS: u32 = 12347;
    const OFFSETS_FROM: usize = 4;
    const ARRAY_MAX: usize = 4096;
    const BITMAP_BYTES: usize = 8192;

    fn new(bytes: &'a [u8]) -> Containers<'a> {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let has_runs = number(0) & 0xffff == Containers::WITH_RUNS;
        let (count, flags, mut at) = match has_runs {
            true => ((number(0) >> 16) as usize + 1, 4, 0),
            false => (number(4) as usize, 0, 8),
        };
        if has_runs {
            at = flags + count.div_ceil(8);
        }
        let is_run = |place: usize| has_runs && bytes[flags + place / 8] >> (place % 8) & 1 == 1;
        let head = |place: usize| {
            let head = number(at + place * 4);
            (head as u16, (head >> 16) as usize + 1, is_run(place))
        };
        let heads = (0..count).map(head).collect();
        at += count * 4;
        if !has_runs || count >= Containers::OFFSETS_FROM {
            at += count * 4;
        }
        Containers { heads, bytes: &bytes[at..] }
    }

    fn pour(mut self, words: &mut [u64]) {
        for (key, count, is_run) in std::mem::take(&mut self.heads) {
            let words = &mut words[usize::from(key) * 1024..];
            if is_run {
                let runs = self.shorts(1).next().unwrap_or_default();
                for [start, more] in self.pairs(usize::from(runs)) {
                    (start..=start + more).for_each(|low| set(words, low));
                }
            } else if count <= Containers::ARRAY_MAX {
                self.shorts(count).for_each(|low| set(words, low));
            } else {
                let (bitmap, rest) = self.bytes.split_at(Containers::BITMAP_BYTES);
                let bitmap = bitmap.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
                words.iter_mut().zip(bitmap).for_each(|(word, bits)| *word = bits);
                self.bytes = rest;
            }
        }
    }

    /// Of fewer than make a container of bits.
    fn list(mut self, count: usize) -> Vec<u32> {
        let mut list = Vec::with_capacity(count);
        for (key, count, is_run) in std::mem::take(&mut self.heads) {
            let whole = |low| u32::from(key) << 16 | u32::from(low);
            if is_run {
                let runs = self.shorts(1).next().unwrap_or_default();
                let runs = self.pairs(usize::from(runs));
                list.extend(runs.flat_map(|[start, more]| start..=start + more).map(whole));
            } else {
                assert!(count <= Containers::ARRAY_MAX, "bits are no list");
                list.extend(self.shorts(count).map(whole));
            }
        }
        list
    }

    fn shorts(&mut self, count: usize) -> impl Iterator<Item = u16> + use<'a> {
        let (shorts, rest) = self.bytes.split_at(2 * count);
        self.bytes = rest;
        shorts.as_chunks().0.iter().map(|short| u16::from_le_bytes(*short))
    }

    fn pairs(&mut self, count: usize) -> impl Iterator<Item = [u16; 2]> + use<'a> {
        let (pairs, rest) = self.bytes.split_at(4 * count);
        self.bytes = rest;
        let half = |pair: &[u8; 4], at: usize| u16::from_le_bytes([pair[at], pair[at + 1]]);
        pairs.as_chunks().0.iter().map(move |pair| [half(pair, 0), half(pair, 2)])
    }
}

#[inline]
fn set(words: &mut [u64], low: u16) {
    words[usize::from(low) / 64] |= 1 << (low % 64);
}

impl FromIterator<u32> for Ordinals {
    fn from_iter<I: IntoIterator<Item = u32>>(ordinals: I) -> Ordinals {
        Ordinals::from_words(words_of(ordinals.into_iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::testing::Random;
    use std::collections::BTreeSet;

    #[test]
    fn is_a_set() {
        let random = &mut Random::new(3);
        let (mut set, mut model) = (Ordinals::none(500), BTreeSet::new());
        for _ in 0..4000 {
            let ordinal = random.below(700) as u32;
            match random.below(3) {
                0 => assert_eq!(set.remove(ordinal), model.remove(&ordinal)),
                _ => assert_eq!(set.insert(ordinal), model.insert(ordinal)),
            }
            assert_eq!((set.count(), set.contains(ordinal)), (model.len(), model.contains(&ordinal)));
            let from = random.below(800) as u32;
            assert!(set.iter_from(from).eq(model.range(from..).copied()));
            let (count, thirds) = (random.below(9), (0..700).filter(|at| at % 3 == 0).collect());
            let mut some = Vec::new();
            set.take_from(from, &thirds, count, &mut some);
            assert!(some.into_iter().eq(model.range(from..).copied().filter(|at| at % 3 != 0).take(count)));
        }
        assert_eq!(Ordinals::from_words(set.clone().into_words()), set);
        let mut rest = Ordinals::all(600);
        rest.remove_all(&set);
        assert!(rest.iter().eq((0..600).filter(|ordinal| !model.contains(ordinal))));
        assert_eq!(rest.count(), rest.iter().count());
    }

    #[test]
    fn bitmaps_of_every_kind_are_poured() {
        let random = &mut Random::new(4);
        let mut sparse: RoaringBitmap = (0..3000).map(|_| random.below(700_000) as u32).collect();
        let dense: RoaringBitmap = (0..300_000).map(|_| random.below(400_000) as u32).collect();
        let mut runs: RoaringBitmap = (70_000..200_000).chain([5, 1_000_000]).collect();
        runs.optimize();
        let mut whole: RoaringBitmap = (0..65_536).collect();
        whole.optimize();
        let all = [&sparse | &dense, &runs | &sparse, dense, runs, whole, RoaringBitmap::new()];
        for bitmap in all.iter().chain([&sparse]) {
            assert_eq!(Ordinals::from(bitmap), bitmap.iter().collect::<Ordinals>());
        }
        sparse.clear();
        assert_eq!(Ordinals::from(&sparse).count(), 0);
    }

    #[test]
    fn all_is_all_below_the_bound() {
        for bound in [0, 1, 63, 64, 65, 128] {
            let all = Ordinals::all(bound);
            assert!(all.iter().eq(0..bound as u32));
            assert_eq!(all.count(), bound);
        }
    }

    #[test]
    fn a_list_is_the_same_set_as_its_words() {
        let random = &mut Random::new(6);
        for count in [1, 2, 100, 900] {
            let bitmap: RoaringBitmap = (0..count).map(|_| random.below(100_000) as u32).collect();
            let list = Ordinals::from(&bitmap);
            let words = Ordinals::from_words(list.clone().into_words());
            assert!(matches!((&list.kept, &words.kept), (Kept::List(_), Kept::Words(_))));
            let half: Ordinals = (0..100_000).filter(|at| at % 2 == 0).collect();
            let few = Ordinals::from(&bitmap.iter().step_by(3).collect::<RoaringBitmap>());
            assert_eq!((&list, list.count()), (&words, bitmap.len() as usize));
            let in_half = list.count_in(&half);
            assert!([half.count_in(&list), words.count_in(&half)] == [in_half; 2]);
            assert!([list.count_in(&few), words.count_in(&few), few.count_in(&list)] == [few.count(); 3]);
            for _ in 0..300 {
                let (from, count) = (random.below(100_100) as u32, random.below(7));
                assert_eq!(list.contains(from), words.contains(from));
                assert!(list.iter_from(from).eq(words.iter_from(from)));
                for others in [&Ordinals::default(), &half, &few] {
                    let (mut some, mut same) = (vec![7; count.min(2)], vec![7; count.min(2)]);
                    list.take_from(from, others, count, &mut some);
                    words.take_from(from, others, count, &mut same);
                    assert_eq!(some, same);
                }
            }
            for others in [&half, &few] {
                let (mut less, mut same) = (list.clone(), words.clone());
                less.remove_all(others);
                same.remove_all(others);
                assert_eq!((&less, less.count()), (&same, same.iter().count()));
                for (mut common, others) in
                    [(list.clone(), others), (words.clone(), others), (half.clone(), &list)]
                {
                    let model: Vec<u32> = common.iter().filter(|ordinal| others.contains(*ordinal)).collect();
                    common.keep_common(others);
                    assert!(common.count() == model.len() && common.iter().eq(model));
                }
            }
            let (mut changed, first) = (list.clone(), bitmap.min().unwrap());
            assert!(!changed.insert(first) && changed.remove(first) && !changed.remove(first));
            assert!(changed.count() + 1 == list.count() && changed.iter().eq(list.iter().skip(1)));
            assert!(changed.insert(first) && changed == list);
        }
    }

    #[test]
    fn only_few_of_many_are_a_list() {
        let is_list = |bitmap: RoaringBitmap| matches!(Ordinals::from(&bitmap).kept, Kept::List(_));
        assert!(is_list((0..4096).map(|at| at * 40).collect()));
        assert!(!is_list((0..4097).map(|at| at * 40).collect()));
        assert!(!is_list((0..4096).map(|at| at * 30).collect()));
    }
}
