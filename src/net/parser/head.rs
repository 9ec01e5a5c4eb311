//! A request head: what the request line means, and the fields with it.
//!
//! Strict where two readers could disagree (RFC 9112, sections 3, 5 and 6): no folding, no white space before a colon, no
//! two ways to find the end of the body. Everything is borrowed from the bytes of the head; nothing is allocated.

use std::mem::MaybeUninit;

use super::fault::Fault;
use super::fields::{Fields, Meaning};
use super::find::find;
use crate::limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method<'a> {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Other(&'a str),
}

impl<'a> Method<'a> {
    pub fn named(name: &'a str) -> Method<'a> {
        match name.as_bytes() {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"PATCH" => Method::Patch,
            _ => Method::Other(name),
        }
    }

    pub fn name(self) -> &'a str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Patch => "PATCH",
            Method::Other(name) => name,
        }
    }
}

/// How the end of the body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither a length nor a coding: no body.
    Absent,
    Length(u64),
    Chunked,
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub struct Head<'a> {
    pub method: Method<'a>,
    /// Begins with a slash (or is `*`); still percent-encoded.
    pub path: &'a str,
    /// What follows the question mark; still percent-encoded.
    pub query: &'a str,
    pub is_http10: bool,
    pub keep_alive: bool,
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    pub fields: Fields<'a>,
}

impl<'a> Head<'a> {
    /// `bytes` is a whole head with its empty line, as the scanner found it.
    pub fn parse(bytes: &'a [u8]) -> Result<Head<'a>, Fault> {
        Head::read(bytes).map(|(head, _)| head)
    }

    /// Also what was made of its fields.
    pub(super) fn read(bytes: &'a [u8]) -> Result<(Head<'a>, Meaning), Fault> {
        let mut storage = [const { MaybeUninit::<httparse::Header<'a>>::uninit() }; limits::HEADERS_MAX];
        let mut raw = httparse::Request::new(&mut []);
        match raw.parse_with_uninit_headers(bytes, &mut storage) {
            Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
            Ok(_) => return Err(Fault::Malformed("the head is incomplete")),
            Err(error) => return Err(fault_of(error, bytes)),
        }
        let line = RequestLine::of(&raw)?;
        let section = match raw.headers.first() {
            Some(first) => &bytes[first.name.as_ptr() as usize - bytes.as_ptr() as usize..],
            None => &[],
        };
        let meaning = Meaning::of(raw.headers, section)?;
        Ok((Head::new(line, section, &meaning)?, meaning))
    }

    /// `section` has the fields, to the empty line, and this meaning.
    pub(super) fn new(
        line: RequestLine<'a>,
        section: &'a [u8],
        meaning: &Meaning,
    ) -> Result<Head<'a>, Fault> {
        let RequestLine { method, path, query, is_http10 } = line;
        Ok(Head {
            method,
            path,
            query,
            is_http10,
            keep_alive: meaning.keeps_alive(is_http10),
            framing: meaning.framing(is_http10)?,
            expects_continue: meaning.expects_continue(is_http10),
            fields: Fields::new(section, meaning),
        })
    }
}

/// Bytes of a target that are of its path, and that no reader takes for anything else.
const IS_PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric()
            || matches!(byte as u8, b'/' | b'-' | b'.' | b'_' | b'~' | b'%' | b':');
        byte += 1;
    }
    table
};

/// The first line of a head.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(super) struct RequestLine<'a> {
    method: Method<'a>,
    path: &'a str,
    query: &'a str,
    is_http10: bool,
}

impl<'a> RequestLine<'a> {
    /// `bytes` is the line with its end; `None` when it is malformed.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<RequestLine<'a>> {
        RequestLine::plain(bytes).or_else(|| RequestLine::full(bytes))
    }

    /// What nearly all are, made out for a third of what the whole grammar takes: a read or a write of ours, a path in
    /// which nothing has a meaning of its own, HTTP/1.1. It says what [`RequestLine::full`] says, or `None`.
    fn plain(bytes: &'a [u8]) -> Option<RequestLine<'a>> {
        let (method, rest) = match bytes {
            [b'G', b'E', b'T', b' ', rest @ ..] => (Method::Get, rest),
            [b'P', b'U', b'T', b' ', rest @ ..] => (Method::Put, rest),
            _ => return None,
        };
        let path = rest.strip_suffix(b" HTTP/1.1\r\n")?;
        let is_plain = path.first() == Some(&b'/') && path.iter().all(|byte| IS_PLAIN[usize::from(*byte)]);
        is_plain.then(|| str::from_utf8(path).ok()).flatten().map(|path| RequestLine {
            method,
            path,
            query: "",
            is_http10: false,
        })
    }

    fn full(bytes: &'a [u8]) -> Option<RequestLine<'a>> {
        let mut raw = httparse::Request::new(&mut []);
        // Without the fields it is a part of a head.
        matches!(raw.parse(bytes), Ok(httparse::Status::Partial))
            .then(|| RequestLine::of(&raw).ok())
            .flatten()
    }

    fn of(raw: &httparse::Request<'_, 'a>) -> Result<RequestLine<'a>, Fault> {
        let (Some(method), Some(target), Some(minor)) = (raw.method, raw.path, raw.version) else {
            return Err(Fault::Malformed("the request line is incomplete"));
        };
        let (path, query) = split_target(target)?;
        Ok(RequestLine { method: Method::named(method), path, query, is_http10: minor == 0 })
    }
}

fn fault_of(error: httparse::Error, bytes: &[u8]) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault::TooManyHeaders,
        httparse::Error::Version if names_another_version(bytes) => Fault::UnknownVersion,
        httparse::Error::Version => Fault::Malformed("the request line does not end in an HTTP version"),
        httparse::Error::HeaderName => Fault::Malformed("a field name is malformed"),
        httparse::Error::HeaderValue => Fault::Malformed("a field value is malformed"),
        httparse::Error::NewLine => Fault::Malformed("a line of the head does not end in CR LF"),
        httparse::Error::Token | httparse::Error::Status => Fault::Malformed("the request line is malformed"),
    }
}

/// True for a request line that is well-formed but for a version that we do not speak.
fn names_another_version(bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_start().split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let (version, surplus) = (words.next().unwrap_or_default(), words.next());
    let is_version = match version.strip_prefix(b"HTTP/") {
        Some([major]) => major.is_ascii_digit(),
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    };
    is_version && surplus.is_none() && version != b"HTTP/1.1" && version != b"HTTP/1.0"
}

/// Path and query of an origin-form, absolute-form or asterisk-form target.
fn split_target(target: &str) -> Result<(&str, &str), Fault> {
    if target.len() > limits::TARGET_BYTES_MAX {
        return Err(Fault::TargetTooLong);
    }
    if find(b'#', target.as_bytes(), 0).is_some() {
        return Err(Fault::Malformed("the request target holds a fragment"));
    }
    let local = if target.starts_with('/') || target == "*" { target } else { strip_authority(target)? };
    let (path, query) = match find(b'?', local.as_bytes(), 0) {
        Some(at) => (&local[..at], &local[at + 1..]),
        None => (local, ""),
    };
    Ok((if path.is_empty() { "/" } else { path }, query))
}

fn strip_authority(target: &str) -> Result<&str, Fault> {
    let malformed = Fault::Malformed("the request target is neither a path nor an http URL");
    let (scheme, rest) = target.split_once("://").ok_or(malformed)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(malformed);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    if end == 0 { Err(malformed) } else { Ok(&rest[end..]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_lines_are_made_out_without_the_whole_grammar() {
        for line in ["GET / HTTP/1.1\r\n", "PUT /v1/kv/default/a%20b:c HTTP/1.1\r\n"] {
            assert!(RequestLine::plain(line.as_bytes()).is_some(), "{line}");
        }
        for line in
            ["GET /?a HTTP/1.1\r\n", "GET /#a HTTP/1.1\r\n", "GET /a b HTTP/1.1\r\n", "GET * HTTP/1.1\r\n"]
        {
            assert!(RequestLine::plain(line.as_bytes()).is_none(), "{line}");
        }
    }

    proptest! {
        /// Lines of any bytes, and such as differ in one place from a plain one.
        #[test]
        fn a_plain_line_says_what_the_grammar_says(
            method in "GET|PUT|get|POST|GET ", target in "/?[!-~ \t]{0,20}", end in " HTTP/1.[01]\r?\n|\r\n",
            at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let mut line = format!("{method} {target}{end}").into_bytes();
            for changes in [false, true] {
                if changes {
                    let at = at.index(line.len());
                    line[at] = byte;
                }
                let plain = RequestLine::plain(&line);
                prop_assert!(plain.is_none() || plain == RequestLine::full(&line), "{:?}", line.escape_ascii());
            }
        }
    }
}
