//! The field section of a head: which fields there are, and what they say of the message.
//!
//! Strict where two readers could disagree (RFC 9112, sections 3.2, 6 and 11): one Host, one length or one chunked coding,
//! and no field given twice of which the second line would change the meaning of the request.
//!
//! What is kept are places, not texts: what was made of a section holds for every section of the same bytes.

use super::domain::is_domain;
use super::fault::Fault;
use super::head::Framing;
use crate::limits;
use crate::net::hidden::Hidden;

/// The fields that any route looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    ContentType,
    ContentEncoding,
    Accept,
    AcceptEncoding,
    IfMatch,
    IfNoneMatch,
    Durability,
    IdempotencyKey,
    RequestId,
    Traceparent,
    Authorization,
    Origin,
    RequestedMethod,
    /// The Host, where it is a domain name: others are not asked for.
    Domain,
}

const FIELDS: usize = Field::Domain as usize + 1;

/// Where a value lies in its section. None is at the very front, where a name is: that is what a field has that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    start: u16,
    len: u16,
}

const _: () = assert!(limits::HEAD_BYTES_MAX <= u16::MAX as usize);

impl Place {
    const ABSENT: Place = Place { start: 0, len: 0 };

    /// `value` is a part of `section`, or empty: then it may be from anywhere.
    fn of(value: &[u8], section: &[u8]) -> Place {
        let start = if value.is_empty() { 1 } else { value.as_ptr() as usize - section.as_ptr() as usize };
        Place { start: start as u16, len: value.len() as u16 }
    }

    fn is_absent(self) -> bool {
        self.start == 0
    }
}

/// What a section says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meaning {
    has_host: bool,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    places: [Place; FIELDS],
}

impl Meaning {
    /// `headers` were found in `section`.
    pub(super) fn of(headers: &[httparse::Header<'_>], section: &[u8]) -> Result<Meaning, Fault> {
        debug_assert!(section.len() <= limits::HEAD_BYTES_MAX);
        let mut meaning = Meaning::default();
        for header in headers {
            meaning.take(header.name, header.value, section)?;
        }
        Ok(meaning)
    }

    /// How the end of the body is found; a fault where two readers could differ, or where no Host is named.
    pub(super) fn framing(&self, is_http10: bool) -> Result<Framing, Fault> {
        match (self.length, self.chunked) {
            _ if !self.has_host && !is_http10 => Err(Fault::Malformed("there is no Host")),
            (Some(_), true) => {
                Err(Fault::Malformed("there are both a Content-Length and a Transfer-Encoding"))
            }
            (None, true) if is_http10 => Err(Fault::Malformed("HTTP/1.0 has no Transfer-Encoding")),
            (None, true) => Ok(Framing::Chunked),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, false) => Ok(Framing::Absent),
        }
    }

    pub(super) fn keeps_alive(&self, is_http10: bool) -> bool {
        !self.close && (!is_http10 || self.keep_alive)
    }

    pub(super) fn expects_continue(&self, is_http10: bool) -> bool {
        self.expects_continue && !is_http10
    }

    /// Whether another request may well have the same section: neither is this the last of its connection, nor does it name
    /// itself.
    pub(super) fn may_come_again(&self) -> bool {
        let of_one = [Field::RequestId, Field::Traceparent, Field::IdempotencyKey];
        !self.close && of_one.iter().all(|field| self.places[*field as usize].is_absent())
    }

    fn take(&mut self, name: &str, value: &[u8], section: &[u8]) -> Result<(), Fault> {
        let place = Place::of(value, section);
        // Lengths first: most fields of a head are not ours and are passed over without a comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => self.host(value, place),
            6 if name.eq_ignore_ascii_case("accept") => self.accept(value, place),
            6 if name.eq_ignore_ascii_case("expect") => self.expect(value),
            6 if name.eq_ignore_ascii_case("origin") => self.only(Field::Origin, value, place),
            8 if name.eq_ignore_ascii_case("if-match") => self.only(Field::IfMatch, value, place),
            10 if name.eq_ignore_ascii_case("connection") => self.connection(value),
            11 if name.eq_ignore_ascii_case("traceparent") => self.any(Field::Traceparent, place),
            12 if name.eq_ignore_ascii_case("content-type") => self.only(Field::ContentType, value, place),
            12 if name.eq_ignore_ascii_case("x-request-id") => self.any(Field::RequestId, place),
            13 if name.eq_ignore_ascii_case("authorization") => self.only(Field::Authorization, value, place),
            13 if name.eq_ignore_ascii_case("if-none-match") => self.only(Field::IfNoneMatch, value, place),
            14 if name.eq_ignore_ascii_case("content-length") => self.length(value),
            15 if name.eq_ignore_ascii_case("accept-encoding") => self.one(Field::AcceptEncoding, place),
            15 if name.eq_ignore_ascii_case("idempotency-key") => self.one(Field::IdempotencyKey, place),
            15 if name.eq_ignore_ascii_case("kyro-durability") => self.only(Field::Durability, value, place),
            16 if name.eq_ignore_ascii_case("content-encoding") => {
                self.only(Field::ContentEncoding, value, place)
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.transfer_encoding(value),
            29 if name.eq_ignore_ascii_case("access-control-request-method") => {
                self.only(Field::RequestedMethod, value, place)
            }
            _ => Ok(()),
        }
    }

    /// A field whose second line would change the meaning of the request.
    fn only(&mut self, field: Field, value: &[u8], place: Place) -> Result<(), Fault> {
        if !self.places[field as usize].is_absent() {
            return Err(Fault::Malformed("a field that may be given once is given twice"));
        }
        self.first(field, value, place)
    }

    fn first(&mut self, field: Field, value: &[u8], place: Place) -> Result<(), Fault> {
        std::str::from_utf8(value).map_err(|_| Fault::Malformed("a field value is not UTF-8"))?;
        self.any(field, place)
    }

    /// A field that is no reason to refuse a request: what is not UTF-8 is there, but empty.
    fn any(&mut self, field: Field, place: Place) -> Result<(), Fault> {
        let known = &mut self.places[field as usize];
        if known.is_absent() {
            *known = place;
        }
        Ok(())
    }

    /// Several lines are one list, and one of them tells nothing of it.
    fn accept(&mut self, value: &[u8], place: Place) -> Result<(), Fault> {
        std::str::from_utf8(value).map_err(|_| Fault::Malformed("a field value is not UTF-8"))?;
        self.one(Field::Accept, place)
    }

    /// Empty when it is given twice: routes that do not look at it take anything.
    fn one(&mut self, field: Field, place: Place) -> Result<(), Fault> {
        let known = &mut self.places[field as usize];
        *known = if known.is_absent() { place } else { Place { len: 0, ..place } };
        Ok(())
    }

    fn host(&mut self, value: &[u8], place: Place) -> Result<(), Fault> {
        if self.has_host {
            return Err(Fault::Malformed("there is more than one Host"));
        }
        self.has_host = true;
        if !value.iter().all(|byte| OF_AUTHORITY[usize::from(*byte)]) {
            return Err(Fault::Malformed("the Host is malformed"));
        }
        if is_domain(value) {
            self.places[Field::Domain as usize] = place;
        }
        Ok(())
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
}

/// Bytes of a host and a port (RFC 3986, section 3.2). A table: looking for each byte in a list took a fifth of the time
/// for a head.
const OF_AUTHORITY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b".-_~:[]%!$&'()*+;=";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

/// The values of a section.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub struct Fields<'a> {
    section: &'a [u8],
    places: [Place; FIELDS],
}

impl<'a> Fields<'a> {
    /// `section` has the bytes of which this is the meaning.
    pub(super) fn new(section: &'a [u8], meaning: &Meaning) -> Fields<'a> {
        Fields { section, places: meaning.places }
    }

    pub(super) fn section(&self) -> &'a [u8] {
        self.section
    }

    /// As if the field were not there.
    #[must_use]
    pub fn without(mut self, field: Field) -> Fields<'a> {
        self.places[field as usize] = Place::ABSENT;
        self
    }

    fn bytes(&self, field: Field) -> Option<&'a [u8]> {
        let Place { start, len } = self.places[field as usize];
        let start = usize::from(start);
        (start > 0).then(|| &self.section[start..start + usize::from(len)])
    }

    /// Empty when it is not UTF-8, which only a field can be that is taken by [`Meaning::any`].
    fn text(&self, field: Field) -> Option<&'a str> {
        self.bytes(field).map(|bytes| std::str::from_utf8(bytes).unwrap_or_default())
    }

    pub fn content_type(&self) -> Option<&'a str> {
        self.text(Field::ContentType)
    }

    pub fn content_encoding(&self) -> Option<&'a str> {
        self.text(Field::ContentEncoding)
    }

    pub fn accept(&self) -> Option<&'a str> {
        self.text(Field::Accept).filter(|accept| !accept.is_empty())
    }

    pub fn accept_encoding(&self) -> Option<&'a str> {
        self.text(Field::AcceptEncoding)
    }

    pub fn if_match(&self) -> Option<&'a str> {
        self.text(Field::IfMatch)
    }

    pub fn if_none_match(&self) -> Option<&'a str> {
        self.text(Field::IfNoneMatch)
    }

    /// `Kyro-Durability`.
    pub fn durability(&self) -> Option<&'a str> {
        self.text(Field::Durability)
    }

    /// Empty when it was given twice.
    pub fn idempotency_key(&self) -> Option<&'a [u8]> {
        self.bytes(Field::IdempotencyKey)
    }

    /// `X-Request-Id`.
    pub fn request_id(&self) -> Option<&'a str> {
        self.text(Field::RequestId)
    }

    pub fn traceparent(&self) -> Option<&'a str> {
        self.text(Field::Traceparent)
    }

    pub fn authorization(&self) -> Option<Hidden<'a>> {
        self.text(Field::Authorization).map(Hidden::new)
    }

    pub fn origin(&self) -> Option<&'a str> {
        self.text(Field::Origin)
    }

    /// The Host with its port, if it is a domain name.
    pub fn domain(&self) -> Option<&'a str> {
        self.text(Field::Domain)
    }

    /// `Access-Control-Request-Method`.
    pub fn requested_method(&self) -> Option<&'a str> {
        self.text(Field::RequestedMethod)
    }
}

/// Nothing of the section: a key may be in it.
impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes of fields", self.section.len())
    }
}
