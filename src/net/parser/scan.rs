//! Finds the end of a head, each byte looked at once however the head arrives.
//!
//! Invariant: a head that gets past here has no bare LF and at most one empty line before it, so what
//! the head parser makes of it cannot differ from what a stricter reader would.

use super::fault::Fault;
use super::find::find;
use crate::limits;

/// Longest method with its space and the version that follows the target.
const REQUEST_LINE_FRAME_BYTES: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScanner {
    scanned: usize,
    line_start: usize,
    /// Where the request line begins: 0, or behind the one empty line that is forgiven.
    start: usize,
}

impl HeadScanner {
    /// `bytes` is everything of the head so far. The length of the head with its empty line, when it
    /// is all there.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        while let Some(newline) = find(b'\n', bytes, self.scanned) {
            if newline == 0 || bytes[newline - 1] != b'\r' {
                return Err(Fault::Malformed("a line of the head does not end in CR LF"));
            }
            self.check_request_line(newline)?;
            let is_empty = newline == self.line_start + 1;
            self.scanned = newline + 1;
            self.line_start = newline + 1;
            if is_empty && newline == 1 {
                self.start = self.line_start;
            } else if is_empty {
                return self.end_at(newline + 1);
            }
        }
        self.scanned = bytes.len();
        self.check_unfinished(bytes)
    }

    fn end_at(&self, end: usize) -> Result<Option<usize>, Fault> {
        if end > limits::HEAD_BYTES_MAX { Err(Fault::HeadTooLarge) } else { Ok(Some(end)) }
    }

    /// Refuses as soon as no continuation could help.
    fn check_unfinished(&self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        let first = bytes.get(self.start).filter(|byte| **byte != b'\r');
        if first.is_some_and(|byte| !is_method_byte(*byte)) {
            return Err(Fault::Malformed("the request does not begin with a method"));
        }
        self.check_request_line(bytes.len())?;
        if bytes.len() >= limits::HEAD_BYTES_MAX {
            return Err(Fault::HeadTooLarge);
        }
        Ok(None)
    }

    /// The line that the input stands in goes on to `end`; only the request line has a bound.
    fn check_request_line(&self, end: usize) -> Result<(), Fault> {
        let in_request_line = self.line_start == self.start;
        let is_too_long = end - self.start > limits::TARGET_BYTES_MAX + REQUEST_LINE_FRAME_BYTES;
        if in_request_line && is_too_long { Err(Fault::TargetTooLong) } else { Ok(()) }
    }
}

/// A token of RFC 9110, section 5.6.2.
fn is_method_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, Fault> {
        HeadScanner::default().scan(bytes)
    }

    #[test]
    fn finds_the_empty_line() {
        assert_eq!(scan(b"GET / HTTP/1.1\r\n\r\nrest"), Ok(Some(18)));
        assert_eq!(scan(b"\r\nGET / HTTP/1.1\r\n\r\n"), Ok(Some(20)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\n"), Ok(None));
        assert_eq!(scan(b""), Ok(None));
        assert_eq!(scan(b"\r\n"), Ok(None));
    }

    #[test]
    fn refuses_at_once_what_cannot_become_a_head() {
        for bad in [&b"\n"[..], b"GET / HTTP/1.1\n", b"\x16\x03\x01", b" GET", b"{"] {
            assert!(matches!(scan(bad), Err(Fault::Malformed(_))), "{}", bad.escape_ascii());
        }
        assert_eq!(scan(b"\r\n\r\n"), Ok(Some(4)), "the parser refuses a head without a request line");
    }

    #[test]
    fn the_bounds_are_reached() {
        let long_target = [b"GET /".as_slice(), &vec![b'a'; limits::TARGET_BYTES_MAX + 100]].concat();
        assert_eq!(scan(&long_target), Err(Fault::TargetTooLong));
        let long_head =
            [b"GET / HTTP/1.1\r\nA: ".as_slice(), &vec![b'a'; limits::HEAD_BYTES_MAX], b"\r\n\r\n"].concat();
        assert_eq!(scan(&long_head), Err(Fault::HeadTooLarge));
        assert_eq!(scan(&long_head[..limits::HEAD_BYTES_MAX]), Err(Fault::HeadTooLarge));
    }
}
