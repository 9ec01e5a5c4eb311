//! What is wrong with what a client sent, and where: for problem documents with pointers.

use std::borrow::Cow;
use std::fmt;

use super::fields::FieldType;
use crate::limits;

/// A place in a JSON text and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// JSON pointer (RFC 6901), empty for the whole.
    pub pointer: String,
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    NotUtf8,
    /// No JSON: the byte at which that shows.
    NotJson {
        at: usize,
    },
    TooDeep {
        levels: usize,
    },
    /// Of another JSON type than the one that belongs here.
    Not(&'static str),
    /// A string with half of a surrogate pair.
    HalfCharacter,
    Repeated,
    Unknown,
    TooLong {
        bytes: usize,
        max: usize,
    },
    Key(crate::shard::key::KeyError),
    // ---- embeddings
    NoEmbeddings,
    BothEmbeddings,
    Dimension {
        wanted: usize,
        found: usize,
    },
    /// Not a whole number of numbers.
    RaggedEmbedding {
        bytes: usize,
    },
    NotBase64,
    /// NaN, an infinity, or a number that is one in the collection's element.
    NotFinite,
    ZeroVector,
    /// Under cosine: its squared length is lost in f32.
    TooShortVector,
    /// Its squared length is no f32.
    TooLongVector,
    DimensionOutOfRange {
        found: usize,
    },
    // ---- fields
    FieldName(&'static str),
    TooManyFields,
    UnknownFieldType,
    NoTextSearch,
    /// A field of this name lies inside another.
    Overlaps(String),
    /// Not a value that the declared field takes.
    Field(FieldType),
    OutOfRange(FieldType),
    ManyValues(FieldType),
    // ---- filters
    UnknownOperator,
    /// A member that is no operator where only operators can be.
    NotAnOperator,
    Empty(&'static str),
    ListOperand,
    ObjectOperand,
    NoOrder(&'static str),
    FilterTooLarge,
}

impl Invalid {
    pub fn new(reason: Reason) -> Invalid {
        Invalid { pointer: String::new(), reason }
    }

    /// The same, as seen from the object that has it as a member.
    #[must_use]
    pub fn below(self, name: &str) -> Invalid {
        let name = escape_pointer(name);
        Invalid { pointer: format!("/{name}{}", self.pointer), reason: self.reason }
    }

    #[must_use]
    pub fn at_index(self, index: usize) -> Invalid {
        Invalid { pointer: format!("/{index}{}", self.pointer), reason: self.reason }
    }

    /// True for a text that is no JSON (400); the rest is well-formed but wrong (422).
    pub fn is_malformed(&self) -> bool {
        matches!(self.reason, Reason::NotUtf8 | Reason::NotJson { .. })
    }
}

impl From<Reason> for Invalid {
    fn from(reason: Reason) -> Invalid {
        Invalid::new(reason)
    }
}

/// A name as a part of a JSON pointer.
pub fn escape_pointer(name: &str) -> Cow<'_, str> {
    if !name.contains(['~', '/']) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.replace('~', "~0").replace('/', "~1"))
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => self.reason.fmt(f),
            pointer => write!(f, "{pointer}: {}", self.reason),
        }
    }
}

impl std::error::Error for Invalid {}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotUtf8 => f.write_str("is not UTF-8"),
            Reason::NotJson { at } => write!(f, "is not JSON: at byte {at}"),
            Reason::TooDeep { levels } => write!(f, "is nested deeper than {levels} levels"),
            Reason::Not(wanted) => write!(f, "is not {wanted}"),
            Reason::HalfCharacter => f.write_str("is not a string of whole Unicode characters"),
            Reason::Repeated => f.write_str("is given more than once"),
            Reason::Unknown => f.write_str("is not known here"),
            Reason::TooLong { bytes, max } => write!(f, "has {bytes} bytes; at most {max} are allowed"),
            Reason::Key(error) => error.fmt(f),
            Reason::NoEmbeddings => f.write_str("is given, but the collection has no embeddings"),
            Reason::BothEmbeddings => f.write_str("is given beside \"embedding\": only one of them can be"),
            Reason::Dimension { wanted, found } => {
                write!(f, "has {found} numbers; the embeddings of the collection have {wanted}")
            }
            Reason::RaggedEmbedding { bytes } => {
                write!(f, "has {bytes} bytes, which is no whole number of little-endian f32")
            }
            Reason::NotBase64 => f.write_str("is not base64"),
            Reason::NotFinite => f.write_str("is not a finite number as the collection stores it"),
            Reason::ZeroVector => f.write_str("is the zero vector, which has no direction for \"cosine\""),
            Reason::TooShortVector => f.write_str(
                "is too short for \"cosine\": the square of its length is lost in f32; a multiple of it has the same \
                 cosine",
            ),
            Reason::TooLongVector => f.write_str("is too long: the square of its length is no f32"),
            Reason::DimensionOutOfRange { found } => write!(
                f,
                "is {found}; an embedding has {} to {} numbers",
                limits::EMBEDDING_ENTRIES_MIN,
                limits::EMBEDDING_ENTRIES_MAX
            ),
            Reason::FieldName(what) => write!(f, "is no name for a field: it {what}"),
            Reason::TooManyFields => {
                write!(f, "has more than {} fields", limits::DECLARED_FIELD_ENTRIES_MAX)
            }
            Reason::UnknownFieldType => f.write_str(
                "is not one of \"i64\", \"f64\", \"bool\", \"keyword\", \"keyword[]\", \"timestamp\"",
            ),
            Reason::NoTextSearch => f.write_str(
                "is \"text\", but text search is not there yet; leave the field out, its values are stored",
            ),
            Reason::Overlaps(other) => write!(f, "overlaps with the field {other:?}"),
            Reason::Field(kind) => write!(f, "is not {}, as the field is declared", kind.describe()),
            Reason::OutOfRange(kind) => write!(f, "is out of the range of {:?}", kind.name()),
            Reason::ManyValues(kind) => {
                write!(f, "is in a list or given twice, but a field of type {:?} has one value", kind.name())
            }
            Reason::UnknownOperator => f.write_str(
                "is not an operator here; there are $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $exists and \
                 $not for a field, $and, $or and $not for filters",
            ),
            Reason::NotAnOperator => f.write_str(
                "is not an operator; a field of a nested object is named with dots, as in {\"a.b\": 1}",
            ),
            Reason::Empty(what) => write!(f, "has no {what}"),
            Reason::ListOperand => f.write_str("is a list; use $in for any of several values"),
            Reason::ObjectOperand => f.write_str("is an object; a filter compares with single values"),
            Reason::NoOrder(what) => write!(f, "is {what}, which is neither less nor greater than others"),
            Reason::FilterTooLarge => {
                write!(f, "has more than {} tests and values", limits::FILTER_ENTRIES_MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_grow_from_the_inside() {
        let invalid = Invalid::new(Reason::Unknown).below("b~c/d").at_index(3).below("a");
        assert_eq!(invalid.pointer, "/a/3/b~0c~1d");
        assert_eq!(invalid.to_string(), "/a/3/b~0c~1d: is not known here");
        assert!(!invalid.is_malformed() && Invalid::new(Reason::NotJson { at: 1 }).is_malformed());
    }
}
