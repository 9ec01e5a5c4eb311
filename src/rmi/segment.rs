//! Straight lines over sorted keys: rank as a linear function of the key, segment by segment.
//!
//! A segment is a first key, the rank there, and a slope. Its end is the beginning of the next, and no
//! prediction leaves the segment: so predictions never fall as keys rise, over all segments, which is
//! what carries the error bound from the keys that are there over to those that are not.
//!
//! All arithmetic of a prediction is in integers, in training and in lookup: a slope is a fraction of
//! 2^64 (unique keys rise by at least one a rank, so no slope has to be above one), and a product is one
//! widening multiplication. It is the same on every machine, to the bit.
//!
//! Segments grow in one pass while some line from their first key stays within eps of each rank: the
//! shrinking cone of FITing-tree (Galakatos et al., "FITing-Tree: a data-aware index structure", 2019, section
//! 3, algorithm "ShrinkingCone"), known for longer in compression of time series (the swing filter of Elmeleegy
//! et al., "Online piece-wise linear approximation of numerical streams with precision guarantees", 2009,
//! section 3).

use super::kernel::prefetch;
use super::keys::{KeyArray, KeyArrayBuilder};
use super::memory::{LINE_KEYS, Memory};

/// Exact; a power at run time need not be.
const TWO_TO_64: f64 = (1_u128 << 64) as f64;

/// Keys that are `run` above the first one have ranks near `start + run * slope / 2^64`, and none is
/// predicted above `start + span`, where the next segment starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(16))]
pub(super) struct Line {
    pub slope: u64,
    /// Rank of the first key.
    pub start: u32,
    pub span: u32,
}

impl Line {
    /// Predicts 0 for each key.
    pub const FLAT: Line = Line { slope: 0, start: 0, span: 0 };

    /// The rank of the key that is `run` above the first.
    #[inline(always)]
    pub fn predict(&self, run: u64) -> u32 {
        let rise = (u128::from(run) * u128::from(self.slope)) >> 64;
        // At most the span, which is 32 bits; and start and span sum up to a rank.
        self.start.wrapping_add((rise as u64).min(u64::from(self.span)) as u32)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub first: u64,
    pub line: Line,
}

/// All segments of an index. First keys lie beside each other, since they are searched by lines of eight;
/// and only there, since what a lookup compared it has at hand.
pub(super) struct Segments {
    // Invariant: one at least, rising strictly, and 8 keys can be read behind each.
    firsts: KeyArray,
    // Invariant: as many.
    lines: Vec<Line>,
}

impl Segments {
    /// In order, and one at least.
    pub fn new(segments: &[Segment]) -> Segments {
        assert!(!segments.is_empty(), "even no keys have a segment");
        let mut firsts = KeyArrayBuilder::new(segments.len() + LINE_KEYS, Memory::plain());
        for segment in segments {
            firsts.push(&[segment.first]).expect("segments are in order");
        }
        let lines = segments.iter().map(|segment| segment.line).collect();
        Segments { firsts: firsts.finish_with_room(LINE_KEYS), lines }
    }

    pub fn firsts(&self) -> &KeyArray {
        &self.firsts
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.firsts.padded()) + size_of_val(&self.lines[..])
    }

    pub fn get(&self, at: usize) -> Segment {
        Segment { first: self.firsts.as_slice()[at], line: self.lines[at] }
    }

    /// Where segment `at` sees `key`; what is below its first key, there.
    ///
    /// # Safety
    /// There is a segment `at`.
    #[inline(always)]
    pub unsafe fn predict(&self, at: usize, key: u64) -> u32 {
        debug_assert!(at < self.lines.len());
        // SAFETY: as the caller says.
        let (first, line) =
            unsafe { (*self.firsts.padded().get_unchecked(at), self.lines.get_unchecked(at)) };
        line.predict(key.saturating_sub(first))
    }

    /// Asks for what `predict` reads.
    #[inline(always)]
    pub fn prefetch(&self, at: usize) {
        prefetch(self.lines.as_ptr().wrapping_add(at));
    }
}

/// Cuts keys into segments, one key after the other.
#[derive(Clone, Debug)]
pub(super) struct Cone {
    eps: f64,
    first: u64,
    start: u32,
    /// Slopes at which all keys so far are within eps.
    low: f64,
    high: f64,
}

impl Cone {
    pub fn new(eps: u32, first: u64, start: u32) -> Cone {
        Cone { eps: f64::from(eps), first, start, low: 0.0, high: 1.0 }
    }

    /// Takes the key of this rank in, and says whether it could: if not, a segment ends before it.
    #[inline(always)]
    pub fn take(&mut self, key: u64, rank: u32) -> bool {
        let run = (key - self.first) as f64;
        let rise = f64::from(rank - self.start);
        let low = self.low.max((rise - self.eps) / run);
        let high = self.high.min((rise + self.eps) / run);
        if low > high {
            return false;
        }
        (self.low, self.high) = (low, high);
        true
    }

    /// The segment, when the next one starts at rank `end`.
    pub fn segment(&self, end: u32) -> Segment {
        // Rounding errors of these few operations are far below a rank; the bound that counts is
        // measured afterwards, with the arithmetic of lookups.
        let slope = f64::midpoint(self.low, self.high) * TWO_TO_64;
        // A cast keeps within u64.
        let line = Line { slope: slope as u64, start: self.start, span: end - self.start };
        Segment { first: self.first, line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(keys: &[u64], eps: u32) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut cone = Cone::new(eps, keys[0], 0);
        for (rank, key) in keys.iter().enumerate().skip(1) {
            if !cone.take(*key, rank as u32) {
                segments.push(cone.segment(rank as u32));
                cone = Cone::new(eps, *key, rank as u32);
            }
        }
        segments.push(cone.segment(keys.len() as u32));
        segments
    }

    #[test]
    fn a_line_is_one_segment_and_a_bend_is_two() {
        let line: Vec<u64> = (0..10_000).map(|at| 17 + at * 1000).collect();
        assert_eq!(segments(&line, 16).len(), 1);
        let bend: Vec<u64> = (0..10_000).map(|at| if at < 5000 { at } else { at * 1000 }).collect();
        assert!(segments(&bend, 16).len() <= 3);
        let dense: Vec<u64> = (u64::MAX - 9_999..=u64::MAX).collect();
        assert_eq!(segments(&dense, 16).len(), 1);
    }

    #[test]
    fn predictions_are_within_eps_and_never_fall() {
        let len = if cfg!(miri) { 500 } else { 20_000_u64 };
        let keys: Vec<u64> = (1..len).map(|at| at * at * at % 1_000_003 + at * 5000).collect();
        let mut keys = keys;
        keys.sort_unstable();
        keys.dedup();
        for eps in [16, 64, 256] {
            let segments = segments(&keys, eps);
            let mut last = 0;
            for (rank, key) in keys.iter().enumerate() {
                let at = segments.partition_point(|segment| segment.first <= *key) - 1;
                let predicted = segments[at].line.predict(*key - segments[at].first);
                assert!((rank as i64 - i64::from(predicted)).abs() <= i64::from(eps) + 1);
                assert!(predicted >= last);
                last = predicted;
            }
        }
    }

    #[test]
    fn a_prediction_stays_inside_at_the_extremes() {
        let line = |slope, start, span| Line { slope, start, span };
        assert_eq!(line(u64::MAX, 5, 4).predict(u64::MAX), 9);
        assert_eq!(line(0, 5, 4).predict(u64::MAX), 5);
        assert_eq!(line(u64::MAX, u32::MAX - 2, 2).predict(u64::MAX), u32::MAX);
        assert_eq!(Line::FLAT.predict(u64::MAX), 0);
    }
}
