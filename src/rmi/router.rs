//! From a key to its segment: a flat radix table where the segments are spread evenly enough, else a
//! search tree over their first keys.
//!
//! The radix table cuts keys by their leading digits, in the manner of RadixSpline (Kipf et al.,
//! "RadixSpline: a single-pass learned index", 2020, section 2), and gives the segment at the beginning of each cell.
//! In most cells no other begins, and the processor guesses so; else one comparison of 8 first keys does
//! the rest. A cell is numbered as the buckets of an HDR histogram are: cells are equally wide up to
//! 2^`digits` of them, and double in width from there at each power of two. With many digits that is a
//! linear table. With few it is a logarithmic one, which is what skewed keys (lognormal) ask for.
//!
//! The coarsest table that does is found first, and stored; the one in memory has cells as fine as a few
//! bytes a segment allow.

use super::kernel::Kernel;
use super::keys::KeyArray;
use super::memory::{LINE_KEYS, Memory};
use super::splus::SPlus;

/// Cells number up to 2^this without an end of the equally wide ones: all.
const DIGITS_LINEAR: u32 = 63;
/// Whatever the budget is.
const CELLS_MAX: usize = 1 << 24;
/// Few digits first: the smaller table wins.
const DIGITS_TRIED: [u32; 5] = [6, 7, 8, 9, 10];
const DIGITS_MAX: u32 = 14;
/// So many, and no segment begins in most cells.
pub(super) const CELLS_A_SEGMENT: usize = 8;

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
        if self.digits == DIGITS_LINEAR {
            return place as usize;
        }
        let double = (place | 1 << self.digits).ilog2() - self.digits;
        ((u64::from(double) << self.digits) + (place >> double)) as usize
    }

    pub fn cells(&self) -> usize {
        self.cell(u64::MAX) + 1
    }

    /// Twice the cells, or nearly; each in one of this cut.
    fn finer(self) -> Option<Cut> {
        match self.digits {
            DIGITS_LINEAR => self.low.checked_sub(1).map(|low| Cut { low, ..self }),
            digits => (digits < DIGITS_MAX).then_some(Cut { digits: digits + 1, ..self }),
        }
    }
}

pub(super) struct Radix {
    /// The coarsest that does: what is stored.
    pub coarse: Cut,
    cut: Cut,
    // Invariant: for each of `cut.cells()` the segment that its lowest key is in or behind, and once more
    // the last segment. No cell begins more than 8.
    cells: Vec<u16>,
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

    /// With cells as fine as segments pay for: so most lookups need no comparison of first keys.
    fn with_cut(firsts: &[u64], coarse: Cut) -> Radix {
        let cells_wanted = firsts.len() * CELLS_A_SEGMENT;
        let mut cut = coarse;
        while let Some(finer) = cut.finer().filter(|finer| finer.cells() <= cells_wanted) {
            cut = finer;
        }
        let mut cells = Vec::with_capacity(cut.cells() + 1);
        // The lowest key of all is in the first cell.
        for (at, first) in firsts.iter().enumerate().skip(1) {
            cells.resize(cells.len().max(cut.cell(*first) + 1), at as u16 - 1);
        }
        cells.resize(cut.cells() + 1, firsts.len() as u16 - 1);
        Radix { coarse, cut, cells }
    }

    /// The last segment that begins at `key` or below it; for a key below all, the first. `GUESS`: for a
    /// lookup that is waited for.
    ///
    /// # Safety
    /// The machine has the kernel's instructions; `firsts` are those that the table was made for.
    #[inline(always)]
    pub unsafe fn segment_of<K: Kernel, const GUESS: bool>(&self, firsts: &KeyArray, key: u64) -> usize {
        let cell = self.cut.cell(key);
        debug_assert!(cell + 1 < self.cells.len());
        // SAFETY: there is an entry behind that of each cell of the cut, and 8 keys to read behind each
        // first key; the rest is as the caller says. First keys of later cells are above `key`.
        unsafe {
            let at = usize::from(*self.cells.get_unchecked(cell));
            let end = usize::from(*self.cells.get_unchecked(cell + 1));
            // Nothing begins in most cells: the processor guesses so, and goes on before it knows.
            if GUESS && at == end {
                return at;
            }
            at + K::below(firsts.padded().as_ptr().add(at + 1), key.saturating_add(1))
        }
    }
}

/// Whether no cell has more than a line of keys.
fn fits(firsts: &[u64], cut: Cut) -> bool {
    firsts.windows(LINE_KEYS + 1).all(|keys| cut.cell(keys[0]) != cut.cell(keys[LINE_KEYS]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rmi::kernel::Scalar;
    use crate::rmi::segment::{Line, Segment, Segments};
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
        assert!(radix.coarse.cells() <= 512, "{}", radix.coarse.cells());
        let cells = radix.cells.len();
        assert!((1000 * CELLS_A_SEGMENT / 2..=1000 * CELLS_A_SEGMENT + 1).contains(&cells), "{cells}");
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
            let segment = |first| Segment { first, line: Line::FLAT };
            let segments = Segments::new(&firsts.into_iter().map(segment).collect::<Vec<_>>());
            let firsts = segments.firsts();
            let radix = Radix::build(firsts, 100_000, 1 << 20).expect("100,000 cells are enough");
            for key in wanted.into_iter().chain([0, u64::MAX]) {
                let begun = firsts.as_slice().partition_point(|first| *first <= key);
                // SAFETY: the scalar kernel needs nothing.
                let guessed = unsafe { radix.segment_of::<Scalar, true>(firsts, key) };
                // SAFETY: as above.
                let counted = unsafe { radix.segment_of::<Scalar, false>(firsts, key) };
                let segment = begun.saturating_sub(1);
                prop_assert_eq!((guessed, counted), (segment, segment));
            }
        }
    }
}
