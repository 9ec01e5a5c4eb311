//! Sets of ordinals: what a filter lets through, what is deleted.
//!
//! Words of bits rather than roaring bitmaps: a walk asks for single ordinals in random order, which is one
//! load here and a search in a container there, and a segment's set is small beside its codes (a bit beside
//! 100 bytes and more). Indexes over metadata keep roaring bitmaps and pour them in.

use roaring::RoaringBitmap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordinals {
    words: Vec<u64>,
    count: usize,
}

impl Ordinals {
    /// None of `bound` ordinals.
    pub fn none(bound: usize) -> Ordinals {
        Ordinals { words: vec![0; bound.div_ceil(64)], count: 0 }
    }

    /// All below `bound`.
    pub fn all(bound: usize) -> Ordinals {
        let mut words = vec![u64::MAX; bound.div_ceil(64)];
        if let (Some(last), rest @ 1..) = (words.last_mut(), bound % 64) {
            *last = (1 << rest) - 1;
        }
        Ordinals { words, count: bound }
    }

    /// How many there are, exactly.
    pub fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub fn contains(&self, ordinal: u32) -> bool {
        self.words.get(ordinal as usize / 64).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }

    /// True when it is new.
    pub fn insert(&mut self, ordinal: u32) -> bool {
        let word = ordinal as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = !self.contains(ordinal);
        self.words[word] |= 1 << (ordinal % 64);
        self.count += usize::from(is_new);
        is_new
    }

    /// True when it was there.
    pub fn remove(&mut self, ordinal: u32) -> bool {
        let was_there = self.contains(ordinal);
        if was_there {
            self.words[ordinal as usize / 64] &= !(1 << (ordinal % 64));
            self.count -= 1;
        }
        was_there
    }

    /// Takes away what is in `others`.
    pub fn remove_all(&mut self, others: &Ordinals) {
        self.words.iter_mut().zip(&others.words).for_each(|(word, other)| *word &= !other);
        self.count = self.words.iter().map(|word| word.count_ones() as usize).sum();
    }

    /// Takes away what is not in `others`.
    pub fn keep_common(&mut self, others: &Ordinals) {
        self.words.truncate(others.words.len());
        self.words.iter_mut().zip(&others.words).for_each(|(word, other)| *word &= other);
        self.count = self.words.iter().map(|word| word.count_ones() as usize).sum();
    }

    /// From `from` on, in order.
    pub fn iter_from(&self, from: u32) -> impl Iterator<Item = u32> {
        let first = from as usize / 64;
        let words = self.words.iter().enumerate().skip(first);
        words.flat_map(move |(at, word)| {
            let mut left = if at == first { word & (u64::MAX << (from % 64)) } else { *word };
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(at as u32 * 64 + bit)
            })
        })
    }

    /// Appends what is not in `others`, in order, from `from` on, until `out` has `count`.
    pub(super) fn take_from(&self, from: u32, others: &Ordinals, count: usize, out: &mut Vec<u32>) {
        let first = from as usize / 64;
        let mut mask = u64::MAX << (from % 64);
        for at in first..self.words.len() {
            let mut left = self.words[at] & mask & !others.words.get(at).unwrap_or(&0);
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

    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.iter_from(0)
    }

    pub fn words(&self) -> &[u64] {
        &self.words
    }

    pub fn from_words(words: Vec<u64>) -> Ordinals {
        let count = words.iter().map(|word| word.count_ones() as usize).sum();
        Ordinals { words, count }
    }
}

/// Of a bitmap in containers of 2^16 ordinals: those of many ordinals are words already, and iterating takes as long
/// for 50,000 ordinals as several searches. The crate gives no other way to its containers than its portable format.
impl From<&RoaringBitmap> for Ordinals {
    fn from(bitmap: &RoaringBitmap) -> Ordinals {
        let Some(most) = bitmap.max() else { return Ordinals::default() };
        let mut bytes = Vec::with_capacity(bitmap.serialized_size());
        bitmap.serialize_into(&mut bytes).expect("memory takes everything");
        let mut words = vec![0; most as usize / 64 + 1];
        Containers::new(&bytes).pour(&mut words);
        Ordinals { words, count: bitmap.len() as usize }
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
                let runs = self.shorts(1)[0];
                for [start, more] in self.shorts(2 * usize::from(runs)).as_chunks::<2>().0 {
                    (*start..=start + more).for_each(|low| set(words, low));
                }
            } else if count <= Containers::ARRAY_MAX {
                self.shorts(count).into_iter().for_each(|low| set(words, low));
            } else {
                let (bitmap, rest) = self.bytes.split_at(Containers::BITMAP_BYTES);
                let bitmap = bitmap.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
                words.iter_mut().zip(bitmap).for_each(|(word, bits)| *word = bits);
                self.bytes = rest;
            }
        }
    }

    fn shorts(&mut self, count: usize) -> Vec<u16> {
        let (shorts, rest) = self.bytes.split_at(2 * count);
        self.bytes = rest;
        shorts.as_chunks().0.iter().map(|short| u16::from_le_bytes(*short)).collect()
    }
}

#[inline]
fn set(words: &mut [u64], low: u16) {
    words[usize::from(low) / 64] |= 1 << (low % 64);
}

impl FromIterator<u32> for Ordinals {
    fn from_iter<I: IntoIterator<Item = u32>>(ordinals: I) -> Ordinals {
        let mut words = Vec::<u64>::new();
        ordinals.into_iter().for_each(|ordinal| {
            let word = ordinal as usize / 64;
            if word >= words.len() {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << (ordinal % 64);
        });
        Ordinals::from_words(words)
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
        assert_eq!(Ordinals::from_words(set.words().to_vec()), set);
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
}
