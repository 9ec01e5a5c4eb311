//! Declared fields: what a collection says of members of the metadata, so that they are checked and indexed.
//!
//! | type | values in metadata | compares with |
//! |---|---|---|
//! | `i64` | a number without a fraction in the range of i64 (`2010`, `2010.0`) | numbers |
//! | `f64` | a number, rounded to f64 | numbers, rounded to f64 |
//! | `bool` | `true`, `false` | `$eq`, `$ne`, `$in`, `$nin` with these |
//! | `keyword` | a string | strings, whole, by code points |
//! | `keyword[]` | a list of strings, or one | as `keyword`: any of them |
//! | `timestamp` | RFC 3339, or milliseconds since 1970; kept to the millisecond | the same two |
//!
//! Null or no value at all suits every type. A declared name is one of [`super::lookup`]; a field but `keyword[]`
//! has one value, in no list. A document that does not suit is refused; what is stored nevertheless (a definition
//! may be younger) is a field that is present and has no value.

use std::ops::ControlFlow;

use super::invalid::{Invalid, Reason};
use super::json::{Json, Kind, Scanner};
use super::lookup::{Leaf, leaves, pointer_to};
use super::metadata::Metadata;
use super::number::Number;
use super::scalar::Scalar;
use super::timestamp::parse_rfc3339;
use crate::io::codec::{Put, Reader, Truncated};
use crate::limits;

/// The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    I64 = 0,
    F64 = 1,
    Bool = 2,
    Keyword = 3,
    Keywords = 4,
    Timestamp = 5,
}

const TYPES: [FieldType; 6] = [
    FieldType::I64,
    FieldType::F64,
    FieldType::Bool,
    FieldType::Keyword,
    FieldType::Keywords,
    FieldType::Timestamp,
];

impl FieldType {
    pub fn name(self) -> &'static str {
        match self {
            FieldType::I64 => "i64",
            FieldType::F64 => "f64",
            FieldType::Bool => "bool",
            FieldType::Keyword => "keyword",
            FieldType::Keywords => "keyword[]",
            FieldType::Timestamp => "timestamp",
        }
    }

    pub fn describe(self) -> &'static str {
        match self {
            FieldType::I64 => "an integer",
            FieldType::F64 => "a number",
            FieldType::Bool => "true or false",
            FieldType::Keyword => "a string",
            FieldType::Keywords => "a string or a list of strings",
            FieldType::Timestamp => "RFC 3339 or a number of milliseconds since 1970",
        }
    }

    fn parse(name: &str) -> Result<FieldType, Reason> {
        match TYPES.into_iter().find(|kind| kind.name() == name) {
            Some(kind) => Ok(kind),
            None if name == "text" => Err(Reason::NoTextSearch),
            None => Err(Reason::UnknownFieldType),
        }
    }

    /// True when a document has any number of values of the field.
    pub fn is_list(self) -> bool {
        self == FieldType::Keywords
    }

    /// The value of the field that stands for this JSON, not null.
    pub fn value(self, json: Json<'_>) -> Result<Scalar<'_>, Reason> {
        match (self, Scalar::of(json)) {
            (FieldType::I64, Some(Scalar::Number(number))) => match number.as_i64() {
                Some(_) => Ok(Scalar::Number(number)),
                None if number.is_integer() => Err(Reason::OutOfRange(self)),
                None => Err(Reason::Field(self)),
            },
            (FieldType::F64, Some(Scalar::Number(number))) if number.is_finite() => {
                Ok(Scalar::Number(number_of(number.to_f64())))
            }
            (FieldType::F64, Some(Scalar::Number(_))) => Err(Reason::OutOfRange(self)),
            (FieldType::Bool, Some(value @ Scalar::Bool(_))) => Ok(value),
            (FieldType::Keyword | FieldType::Keywords, Some(value @ Scalar::Text(_))) => Ok(value),
            (FieldType::Timestamp, Some(Scalar::Text(text))) => {
                let ms = parse_rfc3339(&text).ok_or(Reason::Field(self))?;
                Ok(Scalar::Number(Number::from_int(ms)))
            }
            (FieldType::Timestamp, Some(Scalar::Number(number))) => match number.as_i64() {
                Some(_) => Ok(Scalar::Number(number)),
                None => Err(Reason::Field(self)),
            },
            _ => Err(Reason::Field(self)),
        }
    }

    /// As [`FieldType::value`], with the bounds of what is kept.
    fn check(self, json: Json<'_>) -> Result<(), Reason> {
        match self.value(json)? {
            Scalar::Text(text) if text.len() > limits::KEYWORD_BYTES_MAX => {
                Err(Reason::TooLong { bytes: text.len(), max: limits::KEYWORD_BYTES_MAX })
            }
            _ => Ok(()),
        }
    }
}

/// Of a float that is not NaN.
fn number_of(float: f64) -> Number {
    Number::from_f64(float).expect("no number of JSON is NaN")
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: FieldType,
}

/// Invariant: ascending by name, none twice, none a part of another; at most
/// [`limits::DECLARED_FIELD_ENTRIES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

impl Fields {
    /// From the member `fields` of a definition: `{"year":"i64","author.name":"keyword"}`.
    pub fn parse(json: &str) -> Result<Fields, Invalid> {
        let mut scanner = Scanner::new(json, 2);
        if scanner.peek()? != Kind::Object {
            scanner.value(2)?;
            return Err(Reason::Not("an object of names and types").into());
        }
        let mut place = scanner.open(2)?;
        let mut fields = Vec::new();
        while let Some(name) = scanner.member(&mut place)? {
            let name = name.text().ok_or(Reason::HalfCharacter)?.into_owned();
            let value = scanner.value(2)?;
            let kind = field_type(&name, value).map_err(|reason| Invalid::new(reason).below(&name))?;
            fields.push(Field { name, kind });
        }
        scanner.end()?;
        Fields::new(fields)
    }

    pub fn new(mut fields: Vec<Field>) -> Result<Fields, Invalid> {
        if fields.len() > limits::DECLARED_FIELD_ENTRIES_MAX {
            return Err(Reason::TooManyFields.into());
        }
        fields.sort_unstable_by(|one, two| one.name.cmp(&two.name));
        let fields = Fields(fields);
        for (index, field) in fields.0.iter().enumerate() {
            let wrong = |reason| Invalid::new(reason).below(&field.name);
            check_name(&field.name).map_err(wrong)?;
            if index > 0 && fields.0[index - 1].name == field.name {
                return Err(wrong(Reason::Repeated));
            }
            let mut outer = field.name.match_indices('.').map(|(at, _)| &field.name[..at]);
            if let Some(outer) = outer.find(|outer| fields.position(outer).is_some()) {
                return Err(wrong(Reason::Overlaps(outer.to_owned())));
            }
        }
        Ok(fields)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Field> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn position(&self, name: &str) -> Option<usize> {
        self.0.binary_search_by(|field| field.name.as_str().cmp(name)).ok()
    }

    pub fn get(&self, position: usize) -> Option<&Field> {
        self.0.get(position)
    }

    /// Refuses metadata in which a declared field has a value of another type. Pointers begin at the metadata.
    pub fn check(&self, metadata: Metadata<'_>) -> Result<(), Invalid> {
        self.0.iter().try_for_each(|field| field.check(metadata))
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.0.len() as u32);
        for field in &self.0 {
            out.put_bytes(field.name.as_bytes());
            out.put_u8(field.kind as u8);
        }
    }

    /// Fields that no [`Fields::parse`] would give are refused as well.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Fields, Truncated> {
        let mut fields = Vec::new();
        for _ in 0..reader.u32()? {
            let name = std::str::from_utf8(reader.bytes()?).map_err(|_| Truncated)?.to_owned();
            let code = reader.u8()?;
            let kind = TYPES.into_iter().find(|kind| *kind as u8 == code).ok_or(Truncated)?;
            fields.push(Field { name, kind });
        }
        Fields::new(fields).map_err(|_| Truncated)
    }
}

fn field_type(name: &str, value: Json<'_>) -> Result<FieldType, Reason> {
    check_name(name)?;
    FieldType::parse(&value.text().ok_or(Reason::UnknownFieldType)?)
}

/// A name that a filter can say, and that means something.
fn check_name(name: &str) -> Result<(), Reason> {
    let max = limits::FIELD_NAME_BYTES_MAX;
    match name.len() {
        0 => Err(Reason::FieldName("is empty")),
        bytes if bytes > max => Err(Reason::TooLong { bytes, max }),
        _ if name.starts_with('$') => Err(Reason::FieldName("begins with '$', as operators do")),
        _ if name.split('.').any(str::is_empty) => Err(Reason::FieldName("has an empty part")),
        _ => Ok(()),
    }
}

impl Field {
    fn check(&self, metadata: Metadata<'_>) -> Result<(), Invalid> {
        let (mut count, mut found) = (0, Ok(()));
        let _ = leaves(metadata, &self.name, &mut |leaf| {
            let (json, checked) = match leaf {
                Leaf::List(json) => (json, self.check_list()),
                Leaf::Value { json, listed } => {
                    count += 1;
                    (json, self.check_value(json, listed, count))
                }
            };
            found = checked.map_err(|reason| Invalid { pointer: pointer_to(metadata, json), reason });
            if found.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        found
    }

    fn check_list(&self) -> Result<(), Reason> {
        if self.kind.is_list() { Ok(()) } else { Err(Reason::ManyValues(self.kind)) }
    }

    fn check_value(&self, json: Json<'_>, listed: bool, count: usize) -> Result<(), Reason> {
        if !self.kind.is_list() && (listed || count > 1) {
            return Err(Reason::ManyValues(self.kind));
        }
        let is_absent = json.kind() == Kind::Null && !listed;
        if is_absent { Ok(()) } else { self.kind.check(json) }
    }
}

/// What a field of a document shows, piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// There is such a member, whatever it is. Shown once, before all others.
    Present,
    Null,
    Value(Scalar<'a>),
}

/// Shows the field to `see` until it breaks: by its type when it is declared, else every value as it is. This is
/// what tests and indexes go by; both see the same.
pub fn observe<'a>(
    metadata: Metadata<'a>,
    name: &str,
    kind: Option<FieldType>,
    see: &mut dyn FnMut(Seen<'a>) -> ControlFlow<()>,
) {
    let is_single = kind.is_some_and(|kind| !kind.is_list());
    let mut is_shown = false;
    let _ = leaves(metadata, name, &mut |leaf| {
        if !std::mem::replace(&mut is_shown, true) {
            see(Seen::Present)?;
        }
        let Leaf::Value { json, listed } = leaf else { return ControlFlow::Continue(()) };
        if is_single && listed {
            return ControlFlow::Continue(());
        }
        if json.kind() == Kind::Null {
            see(Seen::Null)?;
        } else if let Some(value) = kind.map_or_else(|| Scalar::of(json), |kind| kind.value(json).ok()) {
            see(Seen::Value(value))?;
        }
        // The first value of a field that should have one is the value.
        if is_single { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Fields::parse(json).unwrap()
    }

    fn wrong<T>(pointer: &str, reason: Reason) -> Result<T, Invalid> {
        Err(Invalid { pointer: pointer.to_owned(), reason })
    }

    #[test]
    fn definitions_are_read_and_come_back_from_bytes() {
        let fields = fields(r#"{"year":"i64","author.name":"keyword","tags":"keyword[]","b":"bool"}"#);
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["author.name", "b", "tags", "year"]);
        assert_eq!(fields.position("tags"), Some(2));
        let mut bytes = Vec::new();
        fields.encode(&mut bytes);
        assert_eq!(Fields::decode(&mut Reader::new(&bytes)), Ok(fields));
        assert_eq!(Fields::decode(&mut Reader::new(&bytes[1..])), Err(Truncated));
        assert_eq!(TYPES.map(|kind| kind as u8), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn definitions_that_mean_nothing_are_refused() {
        let parse = |json: &str| Fields::parse(json).map(|fields| fields.len());
        assert_eq!(parse(r#"{"a":"i32"}"#), wrong("/a", Reason::UnknownFieldType));
        assert_eq!(parse(r#"{"a":{"type":"i64"}}"#), wrong("/a", Reason::UnknownFieldType));
        assert_eq!(parse(r#"{"body":"text"}"#), wrong("/body", Reason::NoTextSearch));
        assert_eq!(
            parse(r#"{"$a":"i64"}"#),
            wrong("/$a", Reason::FieldName("begins with '$', as operators do"))
        );
        for name in ["a.", ".a", "a..b", "."] {
            let reason = Reason::FieldName("has an empty part");
            assert_eq!(parse(&format!(r#"{{"{name}":"i64"}}"#)), wrong(&format!("/{name}"), reason));
        }
        assert_eq!(parse(r#"{"":"i64"}"#), wrong("/", Reason::FieldName("is empty")));
        assert_eq!(parse(r#"{"a":"i64","\u0061":"i64"}"#), wrong("/a", Reason::Repeated));
        assert_eq!(
            parse(r#"{"a.b.c":"i64","a-":"i64","a":"bool"}"#),
            wrong("/a.b.c", Reason::Overlaps("a".into()))
        );
        assert_eq!(parse("[]"), wrong("", Reason::Not("an object of names and types")));
        let many = |count: usize| {
            let members: Vec<String> = (0..count).map(|n| format!(r#""f{n}":"i64""#)).collect();
            parse(&format!("{{{}}}", members.join(",")))
        };
        assert_eq!(many(limits::DECLARED_FIELD_ENTRIES_MAX), Ok(limits::DECLARED_FIELD_ENTRIES_MAX));
        assert_eq!(many(limits::DECLARED_FIELD_ENTRIES_MAX + 1), wrong("", Reason::TooManyFields));
        let long = "x".repeat(limits::FIELD_NAME_BYTES_MAX + 1);
        assert!(parse(&format!(r#"{{"{long}":"i64"}}"#)).is_err());
    }

    #[test]
    fn values_suit_their_types_or_are_pointed_at() {
        use FieldType::*;
        let fields = fields(
            r#"{"i":"i64","f":"f64","b":"bool","k":"keyword","t":"keyword[]","at":"timestamp","o.n":"i64"}"#,
        );
        let check = |text: &str| fields.check(Metadata::from_compact(text));
        for good in [
            "{}",
            r#"{"i":null,"f":null,"b":null,"k":null,"t":null,"at":null,"o":null}"#,
            r#"{"i":-9223372036854775808,"f":1e300,"b":true,"k":"","t":["a","b"],"at":"2024-01-01T00:00:00Z"}"#,
            r#"{"i":2010.0,"f":3,"b":false,"k":"x","t":"a","at":-1,"o":{"n":1},"other":[{}]}"#,
            r#"{"t":[],"o.n":4,"i":1e3}"#,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, pointer, reason) in [
            (r#"{"i":"1"}"#, "/i", Reason::Field(I64)),
            (r#"{"i":1.5}"#, "/i", Reason::Field(I64)),
            (r#"{"i":9223372036854775808}"#, "/i", Reason::OutOfRange(I64)),
            (r#"{"i":9223372036854775809}"#, "/i", Reason::OutOfRange(I64)),
            (r#"{"i":1e400}"#, "/i", Reason::OutOfRange(I64)),
            (r#"{"i":[1]}"#, "/i", Reason::ManyValues(I64)),
            (r#"{"i":{}}"#, "/i", Reason::Field(I64)),
            (r#"{"f":1e400}"#, "/f", Reason::OutOfRange(F64)),
            (r#"{"f":true}"#, "/f", Reason::Field(F64)),
            (r#"{"b":0}"#, "/b", Reason::Field(Bool)),
            (r#"{"k":7}"#, "/k", Reason::Field(Keyword)),
            (r#"{"t":["a",null]}"#, "/t/1", Reason::Field(Keywords)),
            (r#"{"t":["a",["b"]]}"#, "/t/1", Reason::Field(Keywords)),
            (r#"{"at":"yesterday"}"#, "/at", Reason::Field(Timestamp)),
            (r#"{"at":1.5}"#, "/at", Reason::Field(Timestamp)),
            (r#"{"o":{"n":"x"}}"#, "/o/n", Reason::Field(I64)),
            (r#"{"o":[{"n":1}]}"#, "/o/0/n", Reason::ManyValues(I64)),
            (r#"{"o":{"n":1},"o.n":2}"#, "/o.n", Reason::ManyValues(I64)),
        ] {
            assert_eq!(check(bad), wrong(pointer, reason), "{bad}");
        }
        let long = format!(r#"{{"k":"{}"}}"#, "x".repeat(limits::KEYWORD_BYTES_MAX + 1));
        assert!(matches!(check(&long), Err(Invalid { reason: Reason::TooLong { .. }, .. })));
    }

    #[test]
    fn what_does_not_suit_is_present_without_a_value() {
        let seen = |text, kind| {
            let mut seen = Vec::new();
            observe(Metadata::from_compact(text), "a", kind, &mut |piece| {
                seen.push(piece);
                ControlFlow::Continue(())
            });
            seen
        };
        let one = || Seen::Value(Scalar::Number(Number::from_int(1)));
        assert_eq!(seen(r#"{"a":"x"}"#, Some(FieldType::I64)), [Seen::Present]);
        assert_eq!(seen(r#"{"a":[1,null]}"#, Some(FieldType::I64)), [Seen::Present]);
        assert_eq!(seen(r#"{"a":1}"#, Some(FieldType::I64)), [Seen::Present, one()]);
        assert_eq!(seen(r#"{"a":[1,null]}"#, None), [Seen::Present, one(), Seen::Null]);
        assert_eq!(seen(r#"{"a":null}"#, None), [Seen::Present, Seen::Null]);
        assert_eq!(seen(r#"{"b":null}"#, None), []);
    }
}
