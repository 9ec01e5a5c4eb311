//! Numbers of metadata and filters, compared by value: 1, 1.0 and 1e0 are one number.
//!
//! JSON text with digits only is exact up to 38 of them; with a point or an exponent it is the nearest f64. An
//! integer and a fraction are compared without rounding either.

use std::cmp::Ordering;

/// 2^127: every f64 below, if it has no fraction, is an i128.
const INT_END: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

/// Invariant: a `Float` is no number that an `Int` could be; so it is not NaN, and equal numbers have equal fields.
#[derive(Clone, Copy, Debug)]
enum Repr {
    Int(i128),
    Float(f64),
}

#[derive(Clone, Copy, Debug)]
pub struct Number(Repr);

impl Number {
    pub fn from_int(int: i64) -> Number {
        Number(Repr::Int(int.into()))
    }

    /// `None` for NaN.
    pub fn from_f64(float: f64) -> Option<Number> {
        if float.is_nan() {
            return None;
        }
        let is_int = float.fract() == 0.0 && (-INT_END..INT_END).contains(&float);
        Some(Number(if is_int { Repr::Int(float as i128) } else { Repr::Float(float) }))
    }

    /// A JSON number; beyond the range of f64 it is an infinity.
    pub fn parse(text: &str) -> Option<Number> {
        if let Ok(int) = text.parse::<i128>() {
            return Some(Number(Repr::Int(int)));
        }
        Number::from_f64(text.parse().ok()?)
    }

    pub fn as_i64(self) -> Option<i64> {
        match self.0 {
            Repr::Int(int) => int.try_into().ok(),
            Repr::Float(_) => None,
        }
    }

    /// The nearest f64.
    pub fn to_f64(self) -> f64 {
        match self.0 {
            Repr::Int(int) => int as f64,
            Repr::Float(float) => float,
        }
    }

    /// An infinity stands for an integer that is too large.
    pub fn is_integer(self) -> bool {
        match self.0 {
            Repr::Int(_) => true,
            Repr::Float(float) => float.is_infinite() || float.fract() == 0.0,
        }
    }

    pub fn is_finite(self) -> bool {
        self.to_f64().is_finite()
    }

    /// The least i64 that is not below; `None` when all are.
    pub fn ceil_i64(self) -> Option<i64> {
        match self.0 {
            Repr::Int(int) => (int <= i64::MAX.into()).then(|| int.max(i64::MIN.into()) as i64),
            // Casts saturate; what is beyond the range has no fraction or is an infinity.
            Repr::Float(float) if float > i64::MAX as f64 => None,
            Repr::Float(float) => Some(float.ceil() as i64),
        }
    }

    /// The greatest i64 that is not above; `None` when all are.
    pub fn floor_i64(self) -> Option<i64> {
        match self.0 {
            Repr::Int(int) => (int >= i64::MIN.into()).then(|| int.min(i64::MAX.into()) as i64),
            Repr::Float(float) if float < i64::MIN as f64 => None,
            Repr::Float(float) => Some(float.floor() as i64),
        }
    }
}

/// `float` is not a value of an `Int`.
fn compare_mixed(int: i128, float: f64) -> Ordering {
    if float >= INT_END {
        return Ordering::Less;
    }
    if float < -INT_END {
        return Ordering::Greater;
    }
    let whole = float.floor() as i128;
    // The fraction is above zero, so an equal whole is less.
    int.cmp(&whole).then(Ordering::Less)
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        match (self.0, other.0) {
            (Repr::Int(one), Repr::Int(two)) => one.cmp(&two),
            (Repr::Float(one), Repr::Float(two)) => one.total_cmp(&two),
            (Repr::Int(int), Repr::Float(float)) => compare_mixed(int, float),
            (Repr::Float(float), Repr::Int(int)) => compare_mixed(int, float).reverse(),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn ways_to_write_a_number_are_one_number() {
        for (one, two) in
            [("1", "1.0"), ("1", "1e0"), ("100", "1E2"), ("0", "-0.0"), ("-5", "-50e-1"), ("1e400", "2e400")]
        {
            assert_eq!(number(one), number(two), "{one} {two}");
        }
    }

    /// Each is less than the next, exactly, though some round to one f64.
    #[test]
    fn numbers_have_one_order() {
        let ascending = [
            "-1e400",
            "-1e300",
            "-170141183460469231731687303715884105728",
            "-9223372036854775809",
            "-9007199254740993",
            "-9007199254740992",
            "-1.5",
            "-1",
            "-0.5",
            "0",
            "1e-300",
            "0.5",
            "1",
            "1.5",
            "2",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551615",
            "170141183460469231731687303715884105727",
            "2e38",
            "1e400",
        ];
        for (index, one) in ascending.iter().enumerate() {
            for (other_index, other) in ascending.iter().enumerate() {
                assert_eq!(number(one).cmp(&number(other)), index.cmp(&other_index), "{one} {other}");
            }
        }
    }

    #[test]
    fn bounds_round_inwards() {
        let bounds = |text| (number(text).ceil_i64(), number(text).floor_i64());
        assert_eq!(bounds("2.5"), (Some(3), Some(2)));
        assert_eq!(bounds("-2.5"), (Some(-2), Some(-3)));
        assert_eq!(bounds("7"), (Some(7), Some(7)));
        assert_eq!(bounds("1e400"), (None, Some(i64::MAX)));
        assert_eq!(bounds("-1e400"), (Some(i64::MIN), None));
        assert_eq!(bounds("9223372036854775808"), (None, Some(i64::MAX)));
        assert_eq!(bounds("-9223372036854775809"), (Some(i64::MIN), None));
        assert_eq!(bounds("1e39"), (None, Some(i64::MAX)));
    }

    proptest! {
        #[test]
        fn integers_and_fractions_compare_by_value(int in -1000i64..1000, quarters in -4000i32..4000) {
            let float = Number::from_f64(f64::from(quarters) / 4.0).unwrap();
            let right = (int * 4).cmp(&i64::from(quarters));
            prop_assert_eq!(Number::from_int(int).cmp(&float), right);
            prop_assert_eq!(float.cmp(&Number::from_int(int)), right.reverse());
            prop_assert_eq!(float.ceil_i64().unwrap(), (i64::from(quarters) + 3).div_euclid(4));
            prop_assert_eq!(float.floor_i64().unwrap(), i64::from(quarters).div_euclid(4));
        }
    }
}
