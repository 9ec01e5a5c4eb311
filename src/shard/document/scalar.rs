//! Single values of metadata and filters.
//!
//! Values of different kinds are neither equal nor in an order that a test could see; the derived order only keeps
//! lists of them sorted.

use std::borrow::Cow;

use super::json::{Json, Kind};
use super::number::Number;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalar<'a> {
    Bool(bool),
    Number(Number),
    /// Compared by its characters' code points.
    Text(Cow<'a, str>),
}

impl<'a> Scalar<'a> {
    /// `None` for null, a list or an object.
    pub fn of(json: Json<'a>) -> Option<Scalar<'a>> {
        match json.kind() {
            Kind::Bool => Some(Scalar::Bool(json.0 == "true")),
            Kind::Number => Number::parse(json.0).map(Scalar::Number),
            Kind::Text => json.text().map(Scalar::Text),
            Kind::Null | Kind::Array | Kind::Object => None,
        }
    }

    pub fn is_of_kind(&self, other: &Scalar<'_>) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    pub fn into_owned(self) -> Scalar<'static> {
        match self {
            Scalar::Bool(is) => Scalar::Bool(is),
            Scalar::Number(number) => Scalar::Number(number),
            Scalar::Text(text) => Scalar::Text(Cow::Owned(text.into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_kept_apart() {
        let of = |text| Scalar::of(Json(text));
        assert_eq!(of("1.0"), of("1"));
        assert_ne!(of("1"), of("\"1\""));
        assert_ne!(of("1"), of("true"));
        assert_eq!(of("\"\\u0061\""), of("\"a\""));
        assert!(["null", "[1]", "{}", "", "x"].iter().all(|text| of(text).is_none()));
        assert!(of("1").unwrap().is_of_kind(&of("2.5").unwrap()));
        assert!(!of("true").unwrap().is_of_kind(&of("\"true\"").unwrap()));
    }
}
