//! A grid from a sample of vectors, in passes over it that the caller cuts into steps: trying where to clip takes some
//! 10 us a vector.

use super::codes::{Grid, LEVELS};
use super::metric::Metric;

/// A grid under way. Each pass sees the whole sample, in the same order.
pub struct Training {
    metric: Metric,
    dimension: usize,
    longest: f32,
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
    /// `longest`: of all vectors, not only of the sample.
    pub fn new(metric: Metric, dimension: usize, longest: f32) -> Training {
        let pass = Pass::Range(Range::new(metric.coordinates(dimension)));
        Training { metric, dimension, longest, pass, placed: Vec::new() }
    }

    /// The next vector of the sample.
    pub fn see(&mut self, vector: &[f32]) {
        self.metric.place(vector, self.longest, &mut self.placed);
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
            Pass::Range(range) if self.metric == Metric::L2 && range.fits_whole_numbers() => {
                let low = vec![range.least(); range.least.len()];
                self.rest_of(1.0, low, true)
            }
            Pass::Range(range) => {
                let means = range.means();
                let clipping = Clipping::new(&range, &means);
                Pass::Clip { range, means, clipping }
            }
            Pass::Clip { range, means, clipping } => {
                let added = &range.most[self.dimension..];
                let step = added.iter().fold(clipping.best_step(), |step, most| step.max(most / LEVELS));
                let mut low: Vec<f32> = means.iter().map(|mean| mean - step * LEVELS / 2.0).collect();
                // Queries are zero in what the metric adds.
                low[self.dimension..].fill(0.0);
                self.rest_of(step, low, false)
            }
            Pass::Rest { mut grid, rest } => {
                rest.tell(&mut grid);
                return Some(grid);
            }
        };
        None
    }

    fn rest_of(&self, step: f32, low: Vec<f32>, is_exact: bool) -> Pass {
        let rest = Rest::new(low.len());
        let grid = Grid {
            metric: self.metric,
            dimension: self.dimension,
            longest: self.longest,
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
    is_whole: bool,
}

impl Range {
    fn new(coordinates: usize) -> Range {
        Range {
            count: 0.0,
            least: vec![f32::INFINITY; coordinates],
            most: vec![f32::NEG_INFINITY; coordinates],
            sums: vec![0.0; coordinates],
            is_whole: true,
        }
    }

    fn see(&mut self, placed: &[f32]) {
        self.count += 1.0;
        for (at, x) in placed.iter().enumerate() {
            self.least[at] = self.least[at].min(*x);
            self.most[at] = self.most[at].max(*x);
            self.sums[at] += f64::from(*x);
            self.is_whole &= x.fract() == 0.0;
        }
    }

    fn least(&self) -> f32 {
        self.least.iter().copied().fold(f32::INFINITY, f32::min)
    }

    fn fits_whole_numbers(&self) -> bool {
        let most = self.most.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.is_whole && self.count > 0.0 && most - self.least() <= LEVELS
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
