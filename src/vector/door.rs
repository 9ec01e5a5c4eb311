//! What may come in: vectors and queries are checked once, here, before anything is written or searched.

use std::fmt;

use super::metric::{COSINE_SQUARE_MIN, Metric, length};
use crate::limits::{EMBEDDING_ENTRIES_MAX, EMBEDDING_ENTRIES_MIN};

/// Why a vector is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorError {
    /// A collection cannot have this many dimensions.
    DimensionOutOfRange {
        dimension: usize,
    },
    WrongDimension {
        wanted: usize,
        found: usize,
    },
    /// NaN or an infinity, at this place.
    NotFinite {
        at: usize,
    },
    /// It has no direction, so no cosine.
    ZeroUnderCosine,
    /// Its squared length is lost in f32, and its cosine with it.
    ShortUnderCosine,
    /// Its squared length is no f32, so scores would not be.
    TooLong,
}

impl fmt::Display for VectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VectorError::DimensionOutOfRange { dimension } => {
                write!(
                    f,
                    "{dimension} dimensions; a collection has {EMBEDDING_ENTRIES_MIN} to {EMBEDDING_ENTRIES_MAX}"
                )
            }
            VectorError::WrongDimension { wanted, found } => {
                write!(f, "the vector has {found} numbers, the collection {wanted}")
            }
            VectorError::NotFinite { at } => write!(f, "number {at} is NaN or infinite"),
            VectorError::ZeroUnderCosine => f.write_str("a zero vector has no cosine"),
            VectorError::ShortUnderCosine => {
                f.write_str("the vector is too short for a cosine: its square underflows")
            }
            VectorError::TooLong => f.write_str("the vector is too long: its square overflows"),
        }
    }
}

impl std::error::Error for VectorError {}

pub fn check_dimension(dimension: usize) -> Result<(), VectorError> {
    match dimension {
        EMBEDDING_ENTRIES_MIN..=EMBEDDING_ENTRIES_MAX => Ok(()),
        _ => Err(VectorError::DimensionOutOfRange { dimension }),
    }
}

/// A vector to store, or a query, for a collection of this dimension and metric. Check what is stored as it
/// is stored: rounding to f16 makes infinities of large numbers and zeros of small ones.
pub fn check_vector(metric: Metric, dimension: usize, vector: &[f32]) -> Result<(), VectorError> {
    if vector.len() != dimension {
        return Err(VectorError::WrongDimension { wanted: dimension, found: vector.len() });
    }
    if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
        return Err(VectorError::NotFinite { at });
    }
    let length = f64::from(length(vector));
    if metric == Metric::Cosine && length == 0.0 {
        return Err(VectorError::ZeroUnderCosine);
    }
    if metric == Metric::Cosine && length.powi(2) < f64::from(COSINE_SQUARE_MIN) {
        return Err(VectorError::ShortUnderCosine);
    }
    // Distances between two of them are up to twice as long; four times squared.
    match (length * 2.0).powi(2) <= f64::from(f32::MAX) {
        true => Ok(()),
        false => Err(VectorError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_has_no_distance() {
        let check = |metric, vector: &[f32]| check_vector(metric, 2, vector);
        assert_eq!(check(Metric::L2, &[1.0, -2.0]), Ok(()));
        assert_eq!(check(Metric::L2, &[1.0]), Err(VectorError::WrongDimension { wanted: 2, found: 1 }));
        assert_eq!(check(Metric::Dot, &[1.0, f32::NAN]), Err(VectorError::NotFinite { at: 1 }));
        assert_eq!(check(Metric::Dot, &[f32::NEG_INFINITY, 0.0]), Err(VectorError::NotFinite { at: 0 }));
        assert_eq!(check(Metric::Cosine, &[0.0, -0.0]), Err(VectorError::ZeroUnderCosine));
        assert_eq!(check(Metric::Dot, &[0.0, 0.0]), Ok(()));
        assert_eq!(check(Metric::L2, &[1e19, 0.0]), Err(VectorError::TooLong));
        assert_eq!(check(Metric::L2, &[9e18, 0.0]), Ok(()));
        for short in [1e-40, 1e-24, 6.9e-18] {
            assert_eq!(check(Metric::Cosine, &[short, 0.0]), Err(VectorError::ShortUnderCosine));
            assert_eq!(check(Metric::L2, &[short, 0.0]), Ok(()));
        }
        assert_eq!(check(Metric::Cosine, &[7e-18, 0.0]), Ok(()));
    }

    #[test]
    fn dimensions_have_bounds() {
        for (dimension, is_good) in [(0, false), (1, false), (2, true), (4096, true), (4097, false)] {
            assert_eq!(check_dimension(dimension).is_ok(), is_good, "{dimension}");
        }
    }
}
