//! From a key to its segment: a flat radix table where the segments are spread evenly enough, else a
//! search tree over their first keys.
//!
//! The radix table cuts keys by their leading digits, in the manner of RadixSpline (Kipf et al., 2020),
//! and gives the first segment of each cell; one comparison of 8 first keys does the rest. A cell is
//! numbered as the buckets of an HDR histogram are: cells are equally wide up to 2^`digits` of them, and
//! double in width from there at each power of two. With many digits that is a linear table. With few it
//! is a logarithmic one, which is what skewed keys (lognormal) ask for.

use super::kernel::Kernel;
use super::keys::{KeyArray, KeyArrayBuilder};
use super::memory::{LINE_KEYS, Memory};
use super::splus::SPlus;

/// Cells number up to 2^this without an end of the equally wide ones: all.
const DIGITS_LINEAR: u32 = 63;
/// Whatever the budget is.
const CELLS_MAX: usize = 1 << 24;
/// Few digits first: the smaller table wins.
const DIGITS_TRIED: [u32; 5] = [6, 7, 8, 9, 10];

pub(super) enum Router {
    Radix(Radix),
    Tree(SPlus),
}

impl Router {
    /// The cheapest that fits `firsts`, the first keys of the segments.
    pub fn build(firsts: &KeyArray, last: u64, bytes_max: usize, memory: Memory) -> Router {
        match Radix::build(firsts, last, bytes_max) {
            Some(radix) => Router::Radix(radix),
            None => Router::Tree(SPlus::build(firsts, memory)),
        }
    }

    /// As it was built before: with this cut, or a tree. None when the cut does not do for these keys.
    pub fn with_cut(firsts: &KeyArray, cut: Option<Cut>, memory: Memory) -> Option<Router> {
        let Some(cut) = cut else { return Some(Router::Tree(SPlus::build(firsts, memory))) };
        let valid = cut.low < u64::BITS
            && (DIGITS_TRIED.contains(&cut.digits) || cut.digits == DIGITS_LINEAR)
            && cut.cell(u64::MAX) < CELLS_MAX
            && firsts.len() <= usize::from(u16::MAX)
            && fits(firsts.as_slice(), cut);
        valid.then(|| Router::Radix(Radix::with_cut(firsts.as_slice(), cut)))
    }

    pub fn bytes(&self) -> usize {
        match self {
            Router::Radix(radix) => radix.cells.len() * size_of::<u16>(),
            Router::Tree(tree) => tree.bytes(),
        }
    }
}

/// How a key finds its cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The lowest key, and how far the highest is from it.
    pub min: u64,
    pub range: u64,
    /// Low bits that are not looked at.
    pub low: u32,
    /// Leading digits of a cell's number.
    pub digits: u32,
}

impl Cut {
    /// Never falls as keys rise.
    #[inline(always)]
    pub fn cell(&self, key: u64) -> usize {
        let place = key.saturating_sub(self.min).min(self.range) >> self.low;
        let double = (place | 1 << self.digits).ilog2() - self.digits;
        ((u64::from(double) << self.digits) + (place >> double)) as usize
    }

    pub fn cells(&self) -> usize {
        self.cell(u64::MAX) + 1
    }
}

/// First keys of segments, padded so that a line can be read behind each.
pub(super) fn first_keys(keys: impl ExactSizeIterator<Item = u64>) -> KeyArray {
    let mut firsts = KeyArrayBuilder::new(keys.len() + LINE_KEYS, Memory::plain());
    for key in keys {
        firsts.push(&[key]).expect("segments are in order");
    }
    firsts.finish_with_room(LINE_KEYS)
}

pub(super) struct Radix {
    pub cut: Cut,
    // Invariant: an entry for each of `cut.cells()`, none above the number of first keys; and no cell has
    // more than 8 of them.
    pub cells: Vec<u16>,
}

impl Radix {
    fn build(firsts: &KeyArray, last: u64, bytes_max: usize) -> Option<Radix> {
        let keys = firsts.as_slice();
        let min = *keys.first()?;
        if keys.len() > usize::from(u16::MAX) {
            return None;
        }
        let cells_max = (bytes_max / size_of::<u16>()).min(CELLS_MAX);
        let cut = Radix::linear(keys, min, last - min, cells_max);
        let cut = cut.or_else(|| Radix::logarithmic(keys, min, last - min, cells_max))?;
        Some(Radix::with_cut(keys, cut))
    }

    /// The fewest cells of equal width that do.
    fn linear(keys: &[u64], min: u64, range: u64, cells_max: usize) -> Option<Cut> {
        let cuts = (0..u64::BITS).rev().map(|low| Cut { min, range, low, digits: DIGITS_LINEAR });
        let mut cuts = cuts.take_while(|cut| range >> cut.low < cells_max as u64);
        cuts.find(|cut| fits(keys, *cut))
    }

    fn logarithmic(keys: &[u64], min: u64, range: u64, cells_max: usize) -> Option<Cut> {
        let cuts = DIGITS_TRIED.into_iter().flat_map(|digits| {
            (0..u64::BITS).rev().step_by(2).map(move |low| Cut { min, range, low, digits })
        });
        cuts.filter(|cut| cut.cells() <= cells_max).find(|cut| fits(keys, *cut))
    }

    fn with_cut(keys: &[u64], cut: Cut) -> Radix {
        let mut cells = vec![0_u16; cut.cells()];
        let mut next = 0;
        for (at, key) in keys.iter().enumerate() {
            let cell = cut.cell(*key);
            while next <= cell {
                cells[next] = at as u16;
                next += 1;
            }
        }
        cells[next..].fill(keys.len() as u16);
        Radix { cut, cells }
    }

    /// How many of `firsts` are at most `key`.
    ///
    /// # Safety
    /// The machine has the kernel's instructions; `firsts` are those that the table was made for.
    #[inline(always)]
    pub unsafe fn at_most<K: Kernel>(&self, firsts: &KeyArray, key: u64) -> usize {
        let cell = self.cut.cell(key);
        debug_assert!(cell < self.cells.len());
        // SAFETY: there is an entry for each cell of the cut, and 8 keys to read behind each; the rest is
        // as the caller says. First keys of later cells are above `key`.
        unsafe {
            let at = usize::from(*self.cells.get_unchecked(cell));
            at + K::below(firsts.padded().as_ptr().add(at), key.saturating_add(1))
        }
    }
}

/// Whether no cell has more than a line of keys.
fn fits(keys: &[u64], cut: Cut) -> bool {
    keys.windows(LINE_KEYS + 1).all(|keys| cut.cell(keys[0]) != cut.cell(keys[LINE_KEYS]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rmi::kernel::Scalar;
    use proptest::prelude::*;

    #[test]
    fn cells_are_numbered_without_gaps_and_never_fall() {
        for digits in [2, 3, 6, DIGITS_LINEAR] {
            let cut = Cut { min: 10, range: 5000, low: 1, digits };
            let cells: Vec<usize> = (0..6000).map(|key| cut.cell(key)).collect();
            assert!(cells.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1));
            assert_eq!(cells[0], 0);
            assert_eq!(cells[5999] + 1, cut.cells());
        }
        let all = Cut { min: 0, range: u64::MAX, low: 0, digits: 6 };
        assert_eq!(all.cells(), (64 - 6 - 1) * 64 + 128);
    }

    #[test]
    fn even_keys_get_a_linear_table_and_skewed_ones_a_logarithmic_one() {
        let even = KeyArray::from_sorted((0..1000).map(|key| key * 1_000_003)).unwrap();
        let radix = Radix::build(&even, 1_000_003_000, 1 << 16).unwrap();
        assert_eq!(radix.cut.digits, DIGITS_LINEAR);
        assert!(radix.cells.len() <= 512, "{}", radix.cells.len());
        let skewed = KeyArray::from_sorted((0..1000).map(|key| 1.04_f64.powi(key) as u64 * 100 + key as u64));
        let skewed = skewed.unwrap();
        let radix = Radix::build(&skewed, u64::MAX, 1 << 16).unwrap();
        assert!(radix.cut.digits < DIGITS_LINEAR);
    }

    #[test]
    fn clusters_that_no_table_separates_get_a_tree() {
        let keys =
            (0..50_u64).flat_map(|cluster| (0..20).map(move |key| (cluster << 58) + (cluster << 40) + key));
        let keys: std::collections::BTreeSet<u64> = keys.collect();
        let firsts = KeyArray::from_sorted(keys).unwrap();
        assert!(matches!(Router::build(&firsts, u64::MAX, 1 << 16, Memory::plain()), Router::Tree(_)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
        #[test]
        fn finds_the_segment(
            firsts in prop::collection::btree_set(0..100_000_u64, 1..300),
            wanted in prop::collection::vec(0..120_000_u64, 100),
        ) {
            let firsts = first_keys(firsts.into_iter());
            let radix = Radix::build(&firsts, 100_000, 1 << 20).expect("100,000 cells are enough");
            for key in wanted.into_iter().chain([0, u64::MAX]) {
                let at_most = firsts.as_slice().partition_point(|first| *first <= key);
                // SAFETY: the scalar kernel needs nothing.
                prop_assert_eq!(unsafe { radix.at_most::<Scalar>(&firsts, key) }, at_most);
            }
        }
    }
}
