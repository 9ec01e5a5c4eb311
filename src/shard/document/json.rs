//! JSON text, read from front to end without a tree.
//!
//! serde_json would make a tree, or go over each part twice: to find its end, and to read it. Here a reader that
//! knows what it wants takes it up as it comes: numbers of an embedding, one field of the metadata.
//!
//! Invariant: what is accepted is what serde_json accepts as [`serde_json::value::RawValue`], but for the bound
//! on depth. No text makes it panic.

use std::borrow::Cow;

use super::invalid::{Invalid, Reason};

/// What a value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    Text,
    Number,
    Bool,
    Null,
}

/// The text of one value, without space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<'a>(pub &'a str);

impl<'a> Json<'a> {
    pub fn kind(self) -> Kind {
        kind_of(self.0.as_bytes().first().copied()).unwrap_or(Kind::Null)
    }

    /// The characters of a string; `None` for another value, and for half of a surrogate pair.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if !inside.contains('\\') {
            return Some(Cow::Borrowed(inside));
        }
        serde_json::from_str(self.0).ok().map(Cow::Owned)
    }
}

fn kind_of(first: Option<u8>) -> Option<Kind> {
    Some(match first? {
        b'{' => Kind::Object,
        b'[' => Kind::Array,
        b'"' => Kind::Text,
        b'-' | b'0'..=b'9' => Kind::Number,
        b't' | b'f' => Kind::Bool,
        b'n' => Kind::Null,
        _ => return None,
    })
}

/// Between two parts of an object or a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    First,
    Later,
}

#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Lists and objects that may still be opened within one another.
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str, depth: usize) -> Scanner<'a> {
        Scanner { text, at: 0, depth }
    }

    /// Goes on at a place where another one was, between two parts, with as much depth left as it had.
    pub fn resumed(text: &'a str, at: usize, depth: usize) -> Scanner<'a> {
        Scanner { text, at, depth }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    fn malformed<T>(&self) -> Result<T, Invalid> {
        Err(Reason::NotJson { at: self.at }.into())
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub fn skip_space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// What comes next, behind any space.
    pub fn peek(&mut self) -> Result<Kind, Invalid> {
        self.skip_space();
        kind_of(self.byte()).map_or_else(|| self.malformed(), Ok)
    }

    /// Nothing but space is left.
    pub fn end(&mut self) -> Result<(), Invalid> {
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { self.malformed() }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Invalid> {
        if self.byte() != Some(byte) {
            return self.malformed();
        }
        self.at += 1;
        Ok(())
    }

    /// Opens an object or a list; [`Scanner::member`] or [`Scanner::element`] closes it.
    pub fn open(&mut self, levels: usize) -> Result<Place, Invalid> {
        if !matches!(self.peek()?, Kind::Object | Kind::Array) {
            return self.malformed();
        }
        self.depth = self.depth.checked_sub(1).ok_or(Reason::TooDeep { levels })?;
        self.at += 1;
        Ok(Place::First)
    }

    /// The name of the next member with its quotes; its value comes next. `None` behind the last.
    pub fn member(&mut self, place: &mut Place) -> Result<Option<Json<'a>>, Invalid> {
        if !self.next_part(place, b'}')? {
            return Ok(None);
        }
        let name = self.string()?;
        self.skip_space();
        self.expect(b':')?;
        Ok(Some(name))
    }

    /// True when there is another element; it comes next.
    pub fn element(&mut self, place: &mut Place) -> Result<bool, Invalid> {
        self.next_part(place, b']')
    }

    fn next_part(&mut self, place: &mut Place, close: u8) -> Result<bool, Invalid> {
        self.skip_space();
        if self.byte() == Some(close) {
            self.at += 1;
            self.depth += 1;
            return Ok(false);
        }
        if std::mem::replace(place, Place::Later) == Place::Later {
            self.expect(b',')?;
            self.skip_space();
        }
        Ok(true)
    }

    /// The value that comes next, whatever it is.
    pub fn value(&mut self, levels: usize) -> Result<Json<'a>, Invalid> {
        let kind = self.peek()?;
        let start = self.at;
        match kind {
            Kind::Text => return self.string(),
            Kind::Number => return self.number(),
            Kind::Bool if self.byte() == Some(b't') => self.word("true")?,
            Kind::Bool => self.word("false")?,
            Kind::Null => self.word("null")?,
            Kind::Object => {
                let mut place = self.open(levels)?;
                while self.member(&mut place)?.is_some() {
                    self.value(levels)?;
                }
            }
            Kind::Array => {
                let mut place = self.open(levels)?;
                while self.element(&mut place)? {
                    self.value(levels)?;
                }
            }
        }
        Ok(Json(&self.text[start..self.at]))
    }

    fn word(&mut self, word: &str) -> Result<(), Invalid> {
        if !self.text[self.at..].starts_with(word) {
            return self.malformed();
        }
        self.at += word.len();
        Ok(())
    }

    /// A string with its quotes, its escapes checked for form.
    fn string(&mut self) -> Result<Json<'a>, Invalid> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0x20..) => self.at += 1,
                _ => return self.malformed(),
            }
        }
        self.at += 1;
        Ok(Json(&self.text[start..self.at]))
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.byte().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.malformed();
                    }
                    self.at += 1;
                }
            }
            _ => return self.malformed(),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Json<'a>, Invalid> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json(&self.text[start..self.at]))
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.malformed() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::new(text, 100);
        scanner.value(100).and_then(|_| scanner.end()).is_ok()
    }

    #[test]
    fn numbers_have_the_grammar_of_json() {
        for good in ["0", "-0", "10", "1.5", "-1.25e+10", "1E5", "0.0e-0"] {
            assert!(accepts(good), "{good}");
        }
        for bad in ["", "-", "01", "1.", ".5", "+1", "1e", "1e+", "inf", "NaN", "0x1", "1 2", "--1", "1_0"] {
            assert!(!accepts(bad), "{bad}");
        }
    }

    #[test]
    fn strings_give_their_characters() {
        let text = |json| Json(json).text().map(Cow::into_owned);
        assert_eq!(text(r#""a\u00e9\/\n""#), Some("a\u{e9}/\n".to_owned()));
        assert_eq!(text(r#""a b""#), Some("a b".to_owned()));
        assert_eq!((text(r#""\ud800""#), text("1")), (None, None));
        for bad in ["\"", "\"\\x\"", "\"\\u12g4\"", "\"\n\"", "\"\u{1}\""] {
            assert!(!accepts(bad), "{bad:?}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Scanner::new(&nested(5), 5).value(5).is_ok());
        assert_eq!(Scanner::new(&nested(6), 5).value(5), Err(Reason::TooDeep { levels: 5 }.into()));
        let side_by_side = "[[],[],{},[[]],[[]]]";
        assert!(Scanner::new(side_by_side, 3).value(3).is_ok());
    }

    proptest! {
        /// serde_json takes half of a surrogate pair in a raw value as well.
        #[test]
        fn accepts_what_serde_json_does(
            text in prop_oneof![
                r#"[\[\]{}",:0-9eE.\\u \n\ttrfalsn+-]{0,12}"#,
                r#" ?[\[{]? ?("[a\\n"]{0,3}" ?: ?)?(1|-0.5e1|"x\\u0041"|true|null|\[1 ?, ?2\]|\{\})? ?,? ?[\]}]? ?"#,
                ".{0,6}",
            ],
        ) {
            let theirs: Result<&RawValue, _> = serde_json::from_str(&text);
            prop_assert_eq!(accepts(&text), theirs.is_ok(), "{:?}", theirs);
        }
    }
}
