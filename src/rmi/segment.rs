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
//! shrinking cone of FITing-tree (Galakatos et al., 2019), known for longer in compression of time
//! series (swing filter, Elmeleegy et al., 2009).

/// Keys from `first` on have ranks near `start + (key - first) * slope / 2^64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub first: u64,
    pub slope: u64,
    /// Rank of `first`.
    pub start: u32,
}

/// The rank that a line predicts, `distance` behind its first key.
#[inline(always)]
pub(super) fn predict(start: u32, slope: u64, end: u32, distance: u64) -> u32 {
    let rise = (u128::from(distance) * u128::from(slope)) >> 64;
    // A rise is below 2^64, and ranks are below 2^32.
    u64::from(end).min(u64::from(start).saturating_add(rise as u64)) as u32
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

    pub fn segment(&self) -> Segment {
        // Rounding errors of these few operations are far below a rank; the bound that counts is
        // measured afterwards, with the arithmetic of lookups.
        let slope = f64::midpoint(self.low, self.high) * 2_f64.powi(64);
        // A cast keeps within u64.
        Segment { first: self.first, slope: slope as u64, start: self.start }
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
                segments.push(cone.segment());
                cone = Cone::new(eps, *key, rank as u32);
            }
        }
        segments.push(cone.segment());
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
        let keys: Vec<u64> = (1..20_000_u64).map(|at| at * at * at % 1_000_003 + at * 5000).collect();
        let mut keys = keys;
        keys.sort_unstable();
        keys.dedup();
        for eps in [16, 64, 256] {
            let segments = segments(&keys, eps);
            let mut last = 0;
            for (rank, key) in keys.iter().enumerate() {
                let at = segments.partition_point(|segment| segment.first <= *key) - 1;
                let end = segments.get(at + 1).map_or(keys.len() as u32, |next| next.start);
                let predicted =
                    predict(segments[at].start, segments[at].slope, end, key - segments[at].first);
                assert!((rank as i64 - i64::from(predicted)).abs() <= i64::from(eps) + 1);
                assert!(predicted >= last);
                last = predicted;
            }
        }
    }

    #[test]
    fn a_prediction_stays_inside_at_the_extremes() {
        assert_eq!(predict(5, u64::MAX, 9, u64::MAX), 9);
        assert_eq!(predict(5, 0, 9, u64::MAX), 5);
        assert_eq!(predict(u32::MAX - 2, u64::MAX, u32::MAX, u64::MAX), u32::MAX);
    }
}
