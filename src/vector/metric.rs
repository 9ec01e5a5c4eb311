//! What "near" means, and the one space in which the index searches whatever the metric is.
//!
//! Codes know squared L2 only. Every metric becomes it by a change of the vectors, and the few candidates of
//! a search are ranked anew by the metric itself:
//! - cosine: vectors of length 1; squared L2 is then 2 - 2 cos;
//! - dot: one more coordinate that makes all vectors as long as the longest, zero for queries (Bachrach et
//!   al., "Speeding up the Xbox recommender system using a Euclidean transformation for inner-product
//!   spaces", RecSys 2014).

use super::element::Element;
use super::kernel::{Kernels, Sum};
use crate::limits::EMBEDDING_ENTRIES_MAX;

/// The least squared length under cosine: 2^-114. Below the smallest normal f32 a square is off by up to 2^-150, and as
/// many as a vector may have by 2^-138 together: no more than what a sum of this size is rounded by.
pub(super) const COSINE_SQUARE_MIN: f32 = f32::MIN_POSITIVE * EMBEDDING_ENTRIES_MAX as f32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// The codes are part of formats.
pub enum Metric {
    L2 = 0,
    Cosine = 1,
    Dot = 2,
}

impl Metric {
    pub fn from_code(code: u8) -> Option<Metric> {
        [Metric::L2, Metric::Cosine, Metric::Dot].into_iter().find(|metric| *metric as u8 == code)
    }

    /// Coordinates of a vector in the space of the codes.
    pub fn coordinates(self, dimension: usize) -> usize {
        dimension + usize::from(self == Metric::Dot)
    }

    /// Higher is better: negative squared L2, cosine, dot.
    pub fn score(self, kernels: &Kernels, element: Element, query: &ExactQuery, original: &[u8]) -> f32 {
        let score = match self {
            Metric::L2 => -kernels.float(Sum::L2, element, &query.numbers, original)[0],
            Metric::Dot => kernels.float(Sum::Dot, element, &query.numbers, original)[0],
            Metric::Cosine => {
                let [dot, norm] = kernels.float(Sum::DotNorm, element, &query.numbers, original);
                let score = match norm < COSINE_SQUARE_MIN {
                    true => query.cosine_with_short(element.numbers(original)),
                    false => dot * query.inverse_length / norm.sqrt(),
                };
                // Halves may have rounded a short vector to zero.
                if score.is_nan() { 0.0 } else { score.clamp(-1.0, 1.0) }
            }
        };
        // Zero has one sign: scores are compared as `total_cmp` does, wherever they go.
        score + 0.0
    }

    /// Puts `vector` into the space of the codes. `longest` is the length of the longest stored vector; by how much the
    /// square of a longer one is more, which makes it farther from every query than it is.
    pub(super) fn place(self, vector: &[f32], longest: f32, out: &mut Vec<f32>) -> f64 {
        out.clear();
        out.extend_from_slice(vector);
        match self {
            Metric::L2 => 0.0,
            Metric::Cosine => {
                scale_to(out, 1.0);
                0.0
            }
            Metric::Dot => {
                let rest = f64::from(longest).powi(2) - f64::from(length(vector)).powi(2);
                out.push(rest.max(0.0).sqrt() as f32);
                (-rest).max(0.0)
            }
        }
    }

    /// Length of a query, where something depends on it.
    #[inline(always)]
    pub(super) fn length(self, query: &[f32]) -> f32 {
        match self {
            Metric::L2 => 0.0,
            Metric::Cosine | Metric::Dot => length(query),
        }
    }

    /// What puts a query of this length into the space of the codes; one more coordinate is zero. Its length says
    /// nothing under cosine and dot.
    #[inline(always)]
    pub(super) fn query_factor(self, length: f32, longest: f32) -> f64 {
        match self {
            Metric::L2 => 1.0,
            Metric::Cosine => factor_to(1.0, length),
            Metric::Dot => factor_to(longest, length),
        }
    }
}

/// A query as it came, for scores.
#[derive(Clone, Debug, Default)]
pub struct ExactQuery {
    pub numbers: Vec<f32>,
    inverse_length: f32,
}

impl ExactQuery {
    pub fn new(numbers: &[f32]) -> ExactQuery {
        let mut query = ExactQuery::default();
        query.set(numbers, length(numbers));
        query
    }

    /// Of this length, where the metric asks for it ([`Metric::length`]).
    pub(super) fn set(&mut self, numbers: &[f32], length: f32) {
        self.numbers.clear();
        self.numbers.extend_from_slice(numbers);
        self.inverse_length = 1.0 / length;
    }

    /// With a vector whose squares f32 loses: none is taken any more, but one may be stored.
    #[cold]
    fn cosine_with_short(&self, original: impl Iterator<Item = f32>) -> f32 {
        let (mut dot, mut norm) = (0.0, 0.0);
        for (q, x) in self.numbers.iter().zip(original) {
            dot += f64::from(*q) * f64::from(x);
            norm += f64::from(x) * f64::from(x);
        }
        (dot * f64::from(self.inverse_length) / norm.sqrt()) as f32
    }
}

/// In f64: the square of a large f32 is no f32.
#[inline(always)]
pub(super) fn length(vector: &[f32]) -> f32 {
    // Several sums, or each addition would wait for the one before.
    let (rows, rest) = vector.as_chunks::<16>();
    let mut sums = [0.0_f64; 16];
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
    }
    let rest: f64 = rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    (sums.iter().sum::<f64>() + rest).sqrt() as f32
}

fn scale_to(vector: &mut [f32], wanted: f32) {
    let factor = factor_to(wanted, length(vector));
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
}

/// What makes a vector of this length that long; zero stays zero.
#[inline(always)]
fn factor_to(wanted: f32, length: f32) -> f64 {
    if length > 0.0 { f64::from(wanted) / f64::from(length) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::kernel::Level;

    #[test]
    fn a_short_vector_has_the_cosine_of_a_longer_one() {
        let query = ExactQuery::new(&[1.0, 0.0]);
        for kernels in Level::available().into_iter().filter_map(Kernels::of) {
            let score = |vector: [f32; 2]| {
                let mut bytes = Vec::new();
                Element::F32.encode(&vector, &mut bytes);
                Metric::Cosine.score(&kernels, Element::F32, &query, &bytes)
            };
            let wanted = score([1.0, 2.0]);
            for short in [1e-15, 1e-17, 1e-18, 1e-19, 1e-22, 1e-24, 1e-30, 1e-37] {
                let found = score([short, 2.0 * short]);
                assert!((found - wanted).abs() < 1e-6, "{short}: {found}");
            }
            assert_eq!(score([0.0, 0.0]), 0.0);
        }
    }
}
