//! Vectors as codes of 8 bits a coordinate, in two planes of 4 bits.
//!
//! One grid for all vectors of a segment: coordinate `i` is `low[i] + step * code`, centred at the mean, with
//! one step, so that distances between codes are integers (Aguerrebere et al., "Similarity search in the blink
//! of an eye with compressed indices", VLDB 2023, section 3, without their range for each vector, which would
//! make every distance a float). Vectors of small whole numbers, as image descriptors are, get a grid that
//! hits them all: nothing is lost, and nothing has to be ranked anew.
//!
//! The upper 4 bits of all coordinates lie together, the lower ones behind them. A walk reads the upper plane
//! of every neighbour and the lower one only of those that may be near: half of the cache lines, which are
//! what a walk waits for. What the upper plane leaves open is known on average ([`Grid::spread`]), as in the
//! two levels of LVQ-4x4, but a distance that counts is always made of all 8 bits.
//!
//! ```text
//! byte j of the upper plane   bits 4..8 of coordinate j << 4 | bits 4..8 of coordinate plane + j
//! byte j of the lower plane   bits 0..4 of coordinate j << 4 | bits 0..4 of coordinate plane + j
//! ```

use super::kernel::{PLANE_STEP_BYTES, Plain};
use super::metric::{Metric, length};
use super::training::{Extent, Training};

pub(super) const LEVELS: f32 = 255.0;
/// Of a coordinate of a query at the coarse resolution: kernels take it for 7 bits.
const COARSE_MAX: f32 = 127.0;
/// Nothing is at distance above this.
pub const DISTANCE_MAX: u32 = u32::MAX;

/// A vector that is farther from the grid than this, on average in every coordinate and in steps, is not where its code
/// is. Of vectors that are as the sample was, some two in a thousand are (normal ones of 64 coordinates).
const OUTSIDE_STEPS: f32 = 1.0;

/// What a code keeps of its vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    All,
    /// All but what rounding takes.
    Most,
    /// Too little: the grid was made of others. Distances to the code say nothing.
    Little,
}

/// The grid of a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    pub(super) metric: Metric,
    pub(super) dimension: usize,
    /// Length of the longest vector, as far as the metric needs it.
    pub(super) longest: f32,
    pub(super) step: f32,
    pub(super) low: Vec<f32>,
    /// Mean of the lower 4 bits, by coordinate.
    pub(super) rest: Vec<f32>,
    /// Variance of the lower 4 bits, over all coordinates.
    pub(super) variance: f32,
    /// Nothing of the sample is lost.
    pub(super) is_exact: bool,
}

impl Grid {
    /// From a sample of the vectors. `longest`: of all of them. All at once; [`Training`] does it in steps.
    pub fn train<'a>(
        metric: Metric,
        dimension: usize,
        longest: f32,
        sample: impl Iterator<Item = &'a [f32]> + Clone,
    ) -> Grid {
        let mut extent = Extent::new(metric);
        sample.clone().for_each(|vector| extent.see(vector));
        extent.longest = longest;
        let mut training = Training::new(dimension, extent);
        loop {
            sample.clone().for_each(|vector| training.see(vector));
            if let Some(grid) = training.end_pass() {
                return grid;
            }
        }
    }

    pub fn metric(&self) -> Metric {
        self.metric
    }

    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Bytes of a plane.
    pub fn plane(&self) -> usize {
        self.low.len().div_ceil(2).next_multiple_of(PLANE_STEP_BYTES)
    }

    pub(super) fn level(&self, at: usize, x: f32) -> u8 {
        nearest((x - self.low[at]) / self.step)
    }

    /// Writes the code of a vector: two planes.
    pub fn encode(&self, vector: &[f32], planes: &mut [u8]) -> Kept {
        let mut placed = Vec::with_capacity(self.low.len());
        let longer = self.metric.place(vector, self.longest, &mut placed);
        let plane = self.plane();
        let (upper, lower) = planes.split_at_mut(plane);
        upper.fill(0);
        lower[..plane].fill(0);
        let (mut is_whole, mut outside) = (self.is_exact, 0.0);
        for (at, x) in placed.iter().enumerate() {
            let exact = (x - self.low[at]) / self.step;
            outside += (exact - exact.clamp(0.0, LEVELS)).powi(2);
            let level = nearest(exact);
            is_whole &= self.low[at] + self.step * f32::from(level) == *x;
            let (byte, shift) = if at < plane { (at, 4) } else { (at - plane, 0) };
            upper[byte] |= level >> 4 << shift;
            lower[byte] |= (level & 15) << shift;
        }
        match is_whole {
            true => Kept::All,
            false if self.is_exact || self.keeps_little(outside, longer) => Kept::Little,
            false => Kept::Most,
        }
    }

    /// Of a vector that is so far outside, its distance squared and in steps, and longer than the longest: by a square
    /// that adds to each distance, and more than rounding does to that of the nearest.
    fn keeps_little(&self, outside: f32, longer: f64) -> bool {
        let coordinates = self.low.len() as f32;
        let rounding = f64::from(self.step).powi(2) * f64::from(coordinates).sqrt();
        outside > OUTSIDE_STEPS.powi(2) * coordinates || longer > rounding
    }

    /// Whether a query is so far from the grid that its code says little of it: by 40 of 255 steps, on
    /// average, in every coordinate.
    pub(super) fn is_beyond(&self, query: &CodeQuery) -> bool {
        const STEPS: f32 = 40.0;
        query.lost > STEPS * STEPS * self.low.len() as f32
    }

    /// As `prepare`, of a code: exactly its own.
    pub(super) fn prepare_code(&self, planes: &[u8], query: &mut CodeQuery) {
        let plane = self.plane();
        let (upper, lower) = planes[..2 * plane].split_at(plane);
        query.fine.resize(2 * plane, 0);
        query.coarse.resize(2 * plane, 0);
        let (first, second) = query.fine.split_at_mut(plane);
        for at in 0..plane {
            first[at] = upper[at] & 0xf0 | lower[at] >> 4;
            second[at] = upper[at] << 4 | lower[at] & 15;
        }
        for ((coarse, fine), rest) in query.coarse.iter_mut().zip(&query.fine).zip(&self.rest) {
            *coarse = nearest(((f32::from(*fine) - rest) / 2.0).min(COARSE_MAX));
        }
        (query.lost, query.is_whole) = (0.0, self.is_exact);
    }

    /// Makes a query of a code that a vector has.
    pub(super) fn make_query(&self, query: &mut CodeQuery) {
        query.fine[self.dimension..self.low.len()].fill(0);
        query.coarse[self.dimension..self.low.len()].fill(0);
    }

    /// The largest coarse distance at which a fine distance up to `fine` is likely, `doubt` standard
    /// deviations of the lower bits included.
    ///
    /// A fine distance is the coarse one (4 times, as that counts in halves) plus what the lower bits add:
    /// their variance in each coordinate, and twice their product with the differences.
    #[inline]
    pub(super) fn coarse_limit(&self, fine: u32, doubt: f32) -> u32 {
        if fine == DISTANCE_MAX {
            return DISTANCE_MAX;
        }
        let fine = fine as f32;
        let mean = fine - self.variance * self.low.len() as f32;
        let likely = mean + 2.0 * doubt * (self.variance * fine).sqrt();
        (likely.max(0.0) / 4.0) as u32
    }

    /// The largest distance of codes at which the vectors themselves may be nearer to a query than others at
    /// distance `fine`.
    ///
    /// Rounding moves each coordinate of both vectors by up to half a step (a variance of 1/12), and so a
    /// squared distance by a standard deviation of `2 sqrt(fine / 6)`, the difference of two by `sqrt(2)` times as
    /// much. Five of these, since the grid cuts off as much as it rounds; a step a coordinate where all is near.
    #[inline]
    pub(super) fn fine_limit(&self, fine: u32) -> u32 {
        let deviation = ((fine as f32 + self.low.len() as f32) * 4.0 / 3.0).sqrt();
        fine.saturating_add((5.0 * deviation) as u32)
    }

    /// Standard deviation of the lower 4 bits.
    pub fn spread(&self) -> f32 {
        self.variance.sqrt()
    }
}

/// Halves go up; beyond the ends, the nearest end. `round` would be a call for each number, and `as u8`, whatever it
/// is of, is done one by one: what ends at the ends by itself is not compiled for several numbers at a time.
#[inline(always)]
fn nearest(level: f32) -> u8 {
    /// Beside it there are whole numbers only, with the lowest bits of the fraction for what was added.
    const WHOLE: f32 = (1 << 23) as f32;
    let level = (level + 0.5).clamp(0.0, LEVELS);
    let rounded = level + WHOLE - WHOLE;
    let down = if rounded > level { rounded - 1.0 } else { rounded };
    (down + WHOLE).to_bits() as u8
}

/// A query, at both resolutions. One that is there is prepared anew, in its memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CodeQuery {
    pub(super) fine: Vec<u8>,
    pub(super) coarse: Vec<u8>,
    /// Before they were rounded; of a vector only.
    levels: Vec<f32>,
    /// Squared distance from the query to the grid, in steps: 0 where the grid covers it.
    lost: f32,
    /// Nothing of it was lost.
    is_whole: bool,
    /// Of the vector, where the metric asks for it.
    pub(super) length: f32,
}

impl CodeQuery {
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }
}

/// A query in the form that the kernels take, made of a vector.
pub(super) struct Prepare<'a> {
    pub grid: &'a Grid,
    pub vector: &'a [f32],
    pub query: &'a mut CodeQuery,
}

impl Plain for Prepare<'_> {
    type Result = ();

    #[inline(always)]
    fn run(self) {
        let Prepare { grid, vector, query } = self;
        let CodeQuery { fine, coarse, levels, .. } = query;
        let length = grid.metric.length(vector);
        let factor = grid.metric.query_factor(length, grid.longest);
        // One thing after the other: each is done for several coordinates at a time then.
        levels.clear();
        levels.resize(grid.low.len(), 0.0);
        levels.iter_mut().zip(vector).for_each(|(level, x)| *level = (f64::from(*x) * factor) as f32);
        // Quotients take ten times as long.
        let steps_a_unit = 1.0 / grid.step;
        levels.iter_mut().zip(&grid.low).for_each(|(level, low)| *level = (*level - low) * steps_a_unit);
        for plane in [&mut *fine, &mut *coarse] {
            plane.clear();
            plane.resize(2 * grid.plane(), 0);
        }
        fine.iter_mut().zip(&*levels).for_each(|(fine, level)| *fine = nearest(*level));
        for ((coarse, level), rest) in coarse.iter_mut().zip(&*levels).zip(&grid.rest) {
            *coarse = nearest(((level - rest) / 2.0).min(COARSE_MAX));
        }
        let (rows, last) = levels.as_chunks::<8>();
        let mut lost = [0.0_f32; 8];
        let beyond = |level: &f32| (level - level.clamp(0.0, LEVELS)).powi(2);
        for row in rows {
            lost.iter_mut().zip(row).for_each(|(lost, level)| *lost += beyond(level));
        }
        lost.iter_mut().zip(last).for_each(|(lost, level)| *lost += beyond(level));
        // As `encode` asks: a level is rounded when the grid begins far away, and a fraction goes with that.
        let same = |is: bool, ((fine, low), x): ((&u8, &f32), &f32)| {
            is & (low + grid.step * f32::from(*fine) == (f64::from(*x) * factor) as f32)
        };
        query.is_whole = grid.is_exact && fine.iter().zip(&grid.low).zip(vector).fold(true, same);
        (query.lost, query.length) = (lost.iter().sum(), length);
    }
}

/// Length of the longest vector.
pub fn longest<'a>(vectors: impl Iterator<Item = &'a [f32]>) -> f32 {
    vectors.map(length).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_rounded_as_by_a_cast() {
        let cast = |level: f32| (level + 0.5).clamp(0.0, LEVELS) as u8;
        let near = |whole: i32| {
            let halves = [0.0, 0.25, 0.5, 0.75].map(|part| whole as f32 + part);
            halves.into_iter().flat_map(|level| [level.next_down(), level, level.next_up()])
        };
        for level in (-3..260).flat_map(near).chain([f32::MIN, f32::MAX, f32::MIN_POSITIVE, -0.0]) {
            assert_eq!(nearest(level), cast(level), "{level}");
        }
    }
}
