//! Values that a filter compares with.

use crate::shard::document::fields::FieldType;
use crate::shard::document::invalid::Reason;
use crate::shard::document::json::{Json, Kind};
use crate::shard::document::scalar::Scalar;

/// A value for `$eq` and its like; `None` for null.
pub fn for_equality(kind: Option<FieldType>, json: Json<'_>) -> Result<Option<Scalar<'static>>, Reason> {
    match json.kind() {
        Kind::Null => Ok(None),
        Kind::Array => Err(Reason::ListOperand),
        Kind::Object => Err(Reason::ObjectOperand),
        _ => comparable(kind, json).map(|value| Some(value.into_owned())),
    }
}

/// A value for `$gt` and its like.
pub fn for_order(kind: Option<FieldType>, json: Json<'_>) -> Result<Scalar<'static>, Reason> {
    match for_equality(kind, json)? {
        None => Err(Reason::NoOrder("null")),
        Some(Scalar::Bool(_)) => Err(Reason::NoOrder("true or false")),
        Some(value) => Ok(value),
    }
}

fn comparable(kind: Option<FieldType>, json: Json<'_>) -> Result<Scalar<'_>, Reason> {
    match (kind, Scalar::of(json)) {
        // Only half of a character makes a string that is none.
        (_, None) => Err(Reason::HalfCharacter),
        (None, Some(value)) => Ok(value),
        // By value: no integer is 2.5, but some are greater.
        (Some(FieldType::I64), Some(value @ Scalar::Number(_))) => Ok(value),
        (Some(kind), Some(_)) => kind.value(json),
    }
}
