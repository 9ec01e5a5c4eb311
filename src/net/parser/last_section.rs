//! The fields of the last head of a connection. Most clients send the same ones with every request: they are read once.
//!
//! Invariant: what comes out is what reading the whole head would give. What could be a fault is left to that.
//!
//! There may be a key among them. It is kept as long as the connection, as the one that was accepted last is.

use super::fields::Meaning;
use super::find::find;
use super::head::{Head, RequestLine};
use crate::limits;
use crate::net::hidden::same_bytes;

/// Longer ones are not kept: every connection has them.
const SECTION_BYTES_MAX: usize = limits::KIB;
/// Longer request lines are left to the scanner.
const LINE_BYTES_MAX: usize = limits::KIB;

// No bound of the scanner can be passed here.
const _: () = assert!(LINE_BYTES_MAX <= limits::TARGET_BYTES_MAX);
const _: () = assert!(LINE_BYTES_MAX + SECTION_BYTES_MAX <= limits::HEAD_BYTES_MAX);

#[derive(Default)]
pub struct LastSection {
    /// To the empty line; nothing when there are no fields to be met again.
    bytes: Vec<u8>,
    meaning: Meaning,
}

impl LastSection {
    /// The head at the front of `input` and its length, if its fields are the same.
    pub fn before<'a>(&self, input: &'a [u8]) -> Option<(Head<'a>, usize)> {
        if self.bytes.is_empty() {
            return None;
        }
        let line_len = find(b'\n', &input[..input.len().min(LINE_BYTES_MAX)], 0)? + 1;
        let (line, rest) = input.split_at(line_len);
        let section = rest.get(..self.bytes.len())?;
        // The key among them may be somebody else's: a proxy has one connection for many clients.
        if !line.ends_with(b"\r\n") || !same_bytes(section, &self.bytes) {
            return None;
        }
        let head = Head::new(RequestLine::parse(line)?, section, &self.meaning).ok()?;
        Some((head, line_len + section.len()))
    }

    /// `section` has this meaning.
    pub(super) fn keep(&mut self, section: &[u8], meaning: Meaning) {
        self.bytes.clear();
        if section.len() <= SECTION_BYTES_MAX && meaning.may_come_again() {
            self.bytes.extend_from_slice(section);
            self.meaning = meaning;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(first: &[u8]) -> LastSection {
        let (head, meaning) = Head::read(first).unwrap();
        let mut last = LastSection::default();
        last.keep(head.fields.section(), meaning);
        last
    }

    /// A head with a line and a section of these lengths.
    fn sized(line: usize, section: usize) -> Vec<u8> {
        let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(line - "GET / HTTP/1.1\r\n".len()));
        let section = format!("Host: {}\r\n\r\n", "a".repeat(section - "Host: \r\n\r\n".len()));
        (line + &section).into_bytes()
    }

    #[test]
    fn the_same_fields_are_known_again_up_to_the_bounds() {
        let knows = |first: &[u8], second: &[u8]| {
            let last = after(first);
            let again = last.before(second);
            assert!(again.is_none_or(|again| again == (Head::parse(second).unwrap(), second.len())));
            again.is_some()
        };
        assert!(knows(&sized(30, 40), &sized(100, 40)));
        assert!(!knows(&sized(30, 40), &sized(30, 41)));
        assert!(knows(&sized(30, SECTION_BYTES_MAX), &sized(LINE_BYTES_MAX, SECTION_BYTES_MAX)));
        assert!(!knows(&sized(30, SECTION_BYTES_MAX + 1), &sized(30, SECTION_BYTES_MAX + 1)));
        assert!(!knows(&sized(30, 40), &sized(LINE_BYTES_MAX + 1, 40)));
        // No fields, and fields that are of one request.
        for head in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: a\r\n\r\n"] {
            assert!(!knows(head.as_bytes(), head.as_bytes()));
        }
    }

    #[test]
    fn what_is_not_all_there_or_follows_a_longer_section_is_not_known() {
        let head = sized(30, 40);
        let mut last = after(&head);
        assert!((0..head.len()).all(|len| last.before(&head[..len]).is_none()));
        assert_eq!(last.before(&[head.as_slice(), b"GET"].concat()).unwrap().1, head.len());
        let long = sized(30, SECTION_BYTES_MAX + 1);
        let (long, meaning) = Head::read(&long).unwrap();
        last.keep(long.fields.section(), meaning);
        assert!(last.before(&head).is_none());
    }
}
