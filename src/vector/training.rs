//! A grid from a sample of vectors, in passes over it that the caller cuts into steps: trying where to clip takes some
//! 10 us a vector.

use super::codes::{Grid, LEVELS};
use super::metric::{Metric, length};

/// From the least to the most, for a grid of whole numbers.
const WHOLE_NUMBERS_MIN: f32 = 16.0;

/// Of 4 bits that are anything.
const UNIFORM_VARIANCE: f32 = 255.0 / 12.0;

/// What a grid has to know of all its vectors, and not of a sample only.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    metric: Metric,
    /// Length of the longest, where the metric asks for it.
    pub longest: f32,
    least: f32,
    most: f32,
    /// A grid of whole numbers has them all, so far.
    fits_whole_numbers: bool,
}

impl Extent {
    pub fn new(metric: Metric) -> Extent {
        let (least, most) = (f32::INFINITY, f32::NEG_INFINITY);
        Extent { metric, longest: 0.0, least, most, fits_whole_numbers: metric == Metric::L2 }
    }

    pub fn see(&mut self, vector: &[f32]) {
        if self.metric == Metric::Dot {
            self.longest = self.longest.max(length(vector));
        }
        if self.fits_whole_numbers {
            for x in vector {
                (self.least, self.most) = (self.least.min(*x), self.most.max(*x));
            }
            let are_whole = vector.iter().all(|x| x.fract() == 0.0);
            self.fits_whole_numbers = are_whole && self.most - self.least <= LEVELS;
        }
    }

    /// Others change nothing.
    pub fn is_settled(&self) -> bool {
        self.metric != Metric::Dot && !self.fits_whole_numbers
    }

    /// Where a grid of whole numbers begins that has them all. Queries between the numbers are rounded to it, so they must
    /// not be few.
    fn whole_from(&self) -> Option<f32> {
        let is_wide = self.most - self.least >= WHOLE_NUMBERS_MIN;
        (self.fits_whole_numbers && is_wide).then_some(self.least)
    }
}

/// A grid under way. Each pass sees the whole sample, in the same order.
pub struct Training {
    dimension: usize,
    extent: Extent,
    pass: Pass,
    /// The vector that is seen, as the metric places it.
    placed: Vec<f32>,
}

enum Pass {
    Range(Range),
    Clip { range: Range, means: Vec<f32>, clipping: Clipping },
    Rest { grid: Grid, rest: Rest },
}

impl Training {
    pub fn new(dimension: usize, extent: Extent) -> Training {
        let pass = Pass::Range(Range::new(extent.metric.coordinates(dimension)));
        Training { dimension, extent, pass, placed: Vec::new() }
    }

    /// The next vector of the sample.
    pub fn see(&mut self, vector: &[f32]) {
        self.extent.metric.place(vector, self.extent.longest, &mut self.placed);
        match &mut self.pass {
            Pass::Range(range) => range.see(&self.placed),
            Pass::Clip { means, clipping, .. } => clipping.see(&self.placed, means),
            Pass::Rest { grid, rest } => rest.see(grid, &self.placed),
        }
    }

    /// The pass has seen all of the sample: the grid, or `None` when there is another one.
    pub fn end_pass(&mut self) -> Option<Grid> {
        let pass = std::mem::replace(&mut self.pass, Pass::Range(Range::new(0)));
        self.pass = match pass {
            Pass::Range(range) => match self.extent.whole_from() {
                Some(least) => self.rest_of(1.0, vec![least; range.least.len()], true),
                None => {
                    let means = range.means();
                    let clipping = Clipping::new(&range, &means);
                    Pass::Clip { range, means, clipping }
                }
            },
            Pass::Clip { range, means, clipping } => {
                let added = &range.most[self.dimension..];
                let step = added.iter().fold(clipping.best_step(), |step, most| step.max(most / LEVELS));
                let mut low: Vec<f32> = means.iter().map(|mean| mean - step * LEVELS / 2.0).collect();
                // Queries are zero in what the metric adds.
                low[self.dimension..].fill(0.0);
                self.rest_of(step, low, false)
            }
            Pass::Rest { mut grid, rest } => {
                // Of a few whole numbers the lower bits are always the same, and say nothing of what comes between them.
                match self.extent.fits_whole_numbers && !grid.is_exact {
                    true => grid.variance = UNIFORM_VARIANCE,
                    false => rest.tell(&mut grid),
                }
                return Some(grid);
            }
        };
        None
    }

    fn rest_of(&self, step: f32, low: Vec<f32>, is_exact: bool) -> Pass {
        let rest = Rest::new(low.len());
        let grid = Grid {
            metric: self.extent.metric,
            dimension: self.dimension,
            longest: self.extent.longest,
            step,
            rest: vec![7.5; low.len()],
            low,
            variance: 0.0,
            is_exact,
        };
        Pass::Rest { grid, rest }
    }
}

/// What is seen of each coordinate.
struct Range {
    count: f64,
    least: Vec<f32>,
    most: Vec<f32>,
    sums: Vec<f64>,
}

impl Range {
    fn new(coordinates: usize) -> Range {
        Range {
            count: 0.0,
            least: vec![f32::INFINITY; coordinates],
            most: vec![f32::NEG_INFINITY; coordinates],
            sums: vec![0.0; coordinates],
        }
    }

    fn see(&mut self, placed: &[f32]) {
        self.count += 1.0;
        for (at, x) in placed.iter().enumerate() {
            self.least[at] = self.least[at].min(*x);
            self.most[at] = self.most[at].max(*x);
            self.sums[at] += f64::from(*x);
        }
    }

    fn means(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| (sum / self.count.max(1.0)) as f32).collect()
    }
}

/// Finds where to clip: a smaller range has finer steps, and cuts more off.
struct Clipping {
    widest: f32,
    errors: [f64; Clipping::WIDTHS],
}

impl Clipping {
    const WIDTHS: usize = 24;
    const RATIO: f32 = 0.9;

    fn new(range: &Range, means: &[f32]) -> Clipping {
        let ends = range.least.iter().zip(&range.most).zip(means);
        let widest = ends.map(|((least, most), mean)| (most - mean).max(mean - least)).fold(0.0, f32::max);
        Clipping { widest, errors: [0.0; Clipping::WIDTHS] }
    }

    fn width(&self, at: usize) -> f32 {
        self.widest * Clipping::RATIO.powi(at as i32)
    }

    fn see(&mut self, placed: &[f32], means: &[f32]) {
        for at in 0..Clipping::WIDTHS {
            let width = self.width(at);
            let rounding = f64::from(2.0 * width / LEVELS).powi(2) / 12.0;
            let over = placed.iter().zip(means).map(|(x, mean)| ((x - mean).abs() - width).max(0.0));
            self.errors[at] += over.map(|over| f64::from(over).powi(2) + rounding).sum::<f64>();
        }
    }

    fn best_step(&self) -> f32 {
        let best = (0..Clipping::WIDTHS).min_by(|a, b| self.errors[*a].total_cmp(&self.errors[*b]));
        let step = 2.0 * self.width(best.unwrap_or(0)) / LEVELS;
        // All vectors are the same, or nearly: any step will do that divides.
        if step.is_normal() { step } else { 1.0 }
    }
}

/// The lower 4 bits of each coordinate.
struct Rest {
    count: f64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl Rest {
    fn new(coordinates: usize) -> Rest {
        Rest { count: 0.0, sums: vec![0.0; coordinates], squares: vec![0.0; coordinates] }
    }

    fn see(&mut self, grid: &Grid, placed: &[f32]) {
        self.count += 1.0;
        for (at, x) in placed.iter().enumerate() {
            let rest = f64::from(grid.level(at, *x) & 15);
            self.sums[at] += rest;
            self.squares[at] += rest * rest;
        }
    }

    fn tell(&self, grid: &mut Grid) {
        let Rest { count, sums, squares } = self;
        if *count == 0.0 {
            return;
        }
        grid.rest = sums.iter().map(|sum| (sum / count) as f32).collect();
        let variances = sums.iter().zip(squares).map(|(sum, square)| square / count - (sum / count).powi(2));
        grid.variance = (variances.sum::<f64>() / sums.len() as f64).max(0.0) as f32;
    }
}
