//! A request head: what the request line and the fields of it mean.
//!
//! Strict where two readers could disagree (RFC 9112, sections 3, 6 and 11): one Host, one length or
//! one chunked coding, no folding, no white space before a colon. Everything is borrowed from the
//! bytes of the head; nothing is allocated.

use std::mem::MaybeUninit;

use super::fault::Fault;
use super::target::{has, split_once};
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

/// The value of a field that nobody but its reader may see: it cannot be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hidden<'a>(&'a str);

impl<'a> Hidden<'a> {
    pub fn reveal(self) -> &'a str {
        self.0
    }
}

impl std::fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hidden")
    }
}

/// The fields that any route looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
    pub accept: Option<&'a str>,
    pub accept_encoding: Option<&'a str>,
    pub if_match: Option<&'a str>,
    pub if_none_match: Option<&'a str>,
    pub durability: Option<&'a str>,
    /// Empty when it is given twice: routes that do not look at it take anything.
    pub idempotency_key: Option<&'a [u8]>,
    pub request_id: Option<&'a str>,
    pub traceparent: Option<&'a str>,
    pub authorization: Option<Hidden<'a>>,
    pub origin: Option<&'a str>,
    /// `Access-Control-Request-Method`.
    pub requested_method: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let mut storage = [const { MaybeUninit::<httparse::Header<'a>>::uninit() }; limits::HEADERS_MAX];
        let mut raw = httparse::Request::new(&mut []);
        match raw.parse_with_uninit_headers(bytes, &mut storage) {
            Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
            Ok(_) => return Err(Fault::Malformed("the head is incomplete")),
            Err(error) => return Err(fault_of(error, bytes)),
        }
        let (Some(method), Some(target), Some(minor)) = (raw.method, raw.path, raw.version) else {
            return Err(Fault::Malformed("the request line is incomplete"));
        };
        let (path, query) = split_target(target)?;
        let mut reading = FieldReader::default();
        for header in raw.headers.iter() {
            reading.take(header.name, header.value)?;
        }
        reading.finish(Method::named(method), path, query, minor == 0)
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
    if has(target, b'#') {
        return Err(Fault::Malformed("the request target holds a fragment"));
    }
    let local = if target.starts_with('/') || target == "*" { target } else { strip_authority(target)? };
    let (path, query) = split_once(local, b'?').unwrap_or((local, ""));
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

/// Gathers the fields of one head.
#[derive(Default)]
struct FieldReader<'a> {
    hosts: u32,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    fields: Fields<'a>,
}

impl<'a> FieldReader<'a> {
    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), Fault> {
        // Lengths first: most fields of a head are not ours and are passed over without a comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => self.host(value),
            6 if name.eq_ignore_ascii_case("accept") => accept_first(&mut self.fields.accept, value),
            6 if name.eq_ignore_ascii_case("expect") => self.expect(value),
            6 if name.eq_ignore_ascii_case("origin") => only(&mut self.fields.origin, value),
            8 if name.eq_ignore_ascii_case("if-match") => only(&mut self.fields.if_match, value),
            10 if name.eq_ignore_ascii_case("connection") => self.connection(value),
            11 if name.eq_ignore_ascii_case("traceparent") => take_any(&mut self.fields.traceparent, value),
            12 if name.eq_ignore_ascii_case("content-type") => only(&mut self.fields.content_type, value),
            12 if name.eq_ignore_ascii_case("x-request-id") => take_any(&mut self.fields.request_id, value),
            13 if name.eq_ignore_ascii_case("authorization") => self.authorization(value),
            13 if name.eq_ignore_ascii_case("if-none-match") => only(&mut self.fields.if_none_match, value),
            14 if name.eq_ignore_ascii_case("content-length") => self.length(value),
            15 if name.eq_ignore_ascii_case("accept-encoding") => {
                take_any(&mut self.fields.accept_encoding, value)
            }
            15 if name.eq_ignore_ascii_case("idempotency-key") => {
                let given = &mut self.fields.idempotency_key;
                *given = Some(if given.is_some() { b"" } else { value });
                Ok(())
            }
            15 if name.eq_ignore_ascii_case("kyro-durability") => only(&mut self.fields.durability, value),
            16 if name.eq_ignore_ascii_case("content-encoding") => {
                only(&mut self.fields.content_encoding, value)
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.transfer_encoding(value),
            29 if name.eq_ignore_ascii_case("access-control-request-method") => {
                only(&mut self.fields.requested_method, value)
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.hosts += 1;
        let is_authority = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_~:[]%!$&'()*+;=".contains(byte);
        if self.hosts > 1 {
            Err(Fault::Malformed("there is more than one Host"))
        } else if !value.iter().all(is_authority) {
            Err(Fault::Malformed("the Host is malformed"))
        } else {
            Ok(())
        }
    }

    fn authorization(&mut self, value: &'a [u8]) -> Result<(), Fault> {
        let mut text = None;
        only(&mut text, value)?;
        match self.fields.authorization.replace(Hidden(text.unwrap_or_default())) {
            None => Ok(()),
            Some(_) => Err(Fault::Malformed("a field that may be given once is given twice")),
        }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::Malformed("there is more than one Content-Length"));
        }
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Fault::Malformed("the Content-Length is not a number"));
        }
        let digits = std::str::from_utf8(value).unwrap_or_default();
        self.length = Some(digits.parse().map_err(|_| Fault::BodyTooLarge)?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked {
            return Err(Fault::Malformed("there is more than one Transfer-Encoding"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::UnknownTransferCoding);
        }
        self.chunked = true;
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), Fault> {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
        Ok(())
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        if self.expects_continue { Ok(()) } else { Err(Fault::UnknownExpectation) }
    }

    fn finish(
        self,
        method: Method<'a>,
        path: &'a str,
        query: &'a str,
        is_http10: bool,
    ) -> Result<Head<'a>, Fault> {
        if self.hosts == 0 && !is_http10 {
            return Err(Fault::Malformed("there is no Host"));
        }
        let framing = match (self.length, self.chunked) {
            (Some(_), true) => {
                return Err(Fault::Malformed("there are both a Content-Length and a Transfer-Encoding"));
            }
            (None, true) if is_http10 => {
                return Err(Fault::Malformed("HTTP/1.0 has no Transfer-Encoding"));
            }
            (None, true) => Framing::Chunked,
            (Some(length), false) => Framing::Length(length),
            (None, false) => Framing::Absent,
        };
        Ok(Head {
            method,
            path,
            query,
            is_http10,
            keep_alive: !self.close && (!is_http10 || self.keep_alive),
            framing,
            expects_continue: self.expects_continue && !is_http10,
            fields: self.fields,
        })
    }
}

/// A field whose second line would change the meaning of the request.
fn only<'a>(slot: &mut Option<&'a str>, value: &'a [u8]) -> Result<(), Fault> {
    if slot.is_some() {
        return Err(Fault::Malformed("a field that may be given once is given twice"));
    }
    accept_first(slot, value)
}

/// A field that is no reason to refuse a request: what is not UTF-8 is there, but empty.
fn take_any<'a>(slot: &mut Option<&'a str>, value: &'a [u8]) -> Result<(), Fault> {
    slot.get_or_insert(std::str::from_utf8(value).unwrap_or_default());
    Ok(())
}

fn accept_first<'a>(slot: &mut Option<&'a str>, value: &'a [u8]) -> Result<(), Fault> {
    let text = std::str::from_utf8(value).map_err(|_| Fault::Malformed("a field value is not UTF-8"))?;
    slot.get_or_insert(text);
    Ok(())
}
