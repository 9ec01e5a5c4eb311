//! Percent-decoding of path segments and strict queries.

use crate::limits;
use std::borrow::Cow;

/// What is wrong with an encoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A percent sign without two hexadecimal digits.
    BadEscape,
    NotUtf8,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DecodeError::BadEscape => "a percent sign is not followed by two hexadecimal digits",
            DecodeError::NotUtf8 => "the decoded bytes are not UTF-8",
        })
    }
}

impl std::error::Error for DecodeError {}

/// What stands before and behind the first of an ASCII byte. Byte by byte, as `has` does: a segment of a path has a few, and
/// any other search takes longer to begin than these take.
pub fn split_once(text: &str, byte: u8) -> Option<(&str, &str)> {
    debug_assert!(byte.is_ascii());
    let at = text.bytes().position(|other| other == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Whether an ASCII byte is in it.
pub fn has(text: &str, byte: u8) -> bool {
    text.bytes().any(|other| other == byte)
}

/// A segment of a path: borrowed when nothing in it is escaped.
pub fn decode_segment(text: &str) -> Result<Cow<'_, str>, DecodeError> {
    if has(text, b'%') { decode(text, false).map(Cow::Owned) } else { Ok(Cow::Borrowed(text)) }
}

/// A name or value of a query, in which a plus sign is a space.
fn decode_query(text: &str) -> Result<Cow<'_, str>, DecodeError> {
    if text.contains(['%', '+']) { decode(text, true).map(Cow::Owned) } else { Ok(Cow::Borrowed(text)) }
}

fn decode(text: &str, plus_is_space: bool) -> Result<String, DecodeError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        out.push(match byte {
            b'%' => {
                let (escape, after) = rest.split_first_chunk::<2>().ok_or(DecodeError::BadEscape)?;
                rest = after;
                hex(escape[0])? << 4 | hex(escape[1])?
            }
            b'+' if plus_is_space => b' ',
            other => *other,
        });
    }
    String::from_utf8(out).map_err(|_| DecodeError::NotUtf8)
}

fn hex(digit: u8) -> Result<u8, DecodeError> {
    (digit as char).to_digit(16).map(|value| value as u8).ok_or(DecodeError::BadEscape)
}

/// The parameters of a query. Each is taken by name; what is left at the end is unknown.
#[derive(Debug, Default)]
pub struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    Encoding(DecodeError),
    Repeated(String),
    Unknown(Vec<String>),
    TooMany,
}

impl<'a> Query<'a> {
    /// Allocates nothing for an empty query.
    pub fn parse(text: &'a str) -> Result<Query<'a>, QueryError> {
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode_query(name).map_err(QueryError::Encoding)?;
            let value = decode_query(value).map_err(QueryError::Encoding)?;
            if pairs.len() == limits::QUERY_PARAMETER_ENTRIES_MAX {
                return Err(QueryError::TooMany);
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(QueryError::Repeated(name.into_owned()));
            }
            pairs.push((name, value));
        }
        Ok(Query { pairs })
    }

    pub fn take(&mut self, name: &str) -> Option<Cow<'a, str>> {
        let index = self.pairs.iter().position(|(known, _)| known == name)?;
        Some(self.pairs.swap_remove(index).1)
    }

    /// Fails when a parameter was not taken.
    pub fn finish(self) -> Result<(), QueryError> {
        if self.pairs.is_empty() {
            return Ok(());
        }
        let mut names: Vec<String> = self.pairs.into_iter().map(|(name, _)| name.into_owned()).collect();
        names.sort();
        Err(QueryError::Unknown(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escape_all(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    proptest! {
        #[test]
        fn escaped_text_comes_back(text in ".{0,40}") {
            let escaped = escape_all(&text);
            let query = format!("k={escaped}");
            prop_assert_eq!(decode_segment(&escaped).unwrap(), text.as_str());
            prop_assert_eq!(Query::parse(&query).unwrap().take("k").unwrap(), text);
        }

        #[test]
        fn any_text_decodes_or_is_refused(text in "[%a-fA-F0-9+&= -~]{0,40}") {
            let escapes_are_whole = text.split('%').skip(1).all(|after| {
                after.len() >= 2 && after.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit)
            });
            prop_assert_eq!(decode_segment(&text) != Err(DecodeError::BadEscape), escapes_are_whole);
            let _ = Query::parse(&text);
        }
    }

    #[test]
    fn bad_escapes_are_named() {
        for bad in ["%", "a%1", "%zz", "%+1", "%_0"] {
            assert_eq!(decode_segment(bad), Err(DecodeError::BadEscape), "{bad}");
        }
        for bad in ["%ff", "%c3", "a%80"] {
            assert_eq!(decode_segment(bad), Err(DecodeError::NotUtf8), "{bad}");
        }
        assert_eq!(decode_segment("a+b%2Fc").unwrap(), "a+b/c");
        assert!(matches!(decode_segment("plain"), Ok(Cow::Borrowed("plain"))));
    }

    #[test]
    fn queries_are_strict() {
        let mut query = Query::parse("a=1&b=x+y&flag&&c=%3D").unwrap();
        assert_eq!(query.take("b").unwrap(), "x y");
        assert_eq!(query.take("flag").unwrap(), "");
        assert_eq!(query.take("c").unwrap(), "=");
        assert_eq!(query.take("missing"), None);
        assert_eq!(query.finish(), Err(QueryError::Unknown(vec!["a".into()])));
        assert!(matches!(Query::parse("a=1&%61=2"), Err(QueryError::Repeated(name)) if name == "a"));
        assert!(matches!(Query::parse("a=%"), Err(QueryError::Encoding(_))));
        let names = |count: usize| (0..count).map(|at| format!("p{at}&")).collect::<String>();
        assert!(Query::parse(&names(limits::QUERY_PARAMETER_ENTRIES_MAX)).is_ok());
        assert_eq!(
            Query::parse(&names(limits::QUERY_PARAMETER_ENTRIES_MAX + 1)).unwrap_err(),
            QueryError::TooMany
        );
        assert_eq!(Query::parse("").unwrap().finish(), Ok(()));
    }
}
