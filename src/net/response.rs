//! Answers: what a route gives, and its bytes on the wire.
//!
//! A response without extra header lines and with a stored value as its body allocates nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::coding;
use super::note::Note;
use super::problem::Problem;
use super::status;
use crate::limits;
use crate::shard::payload::Payload;
use crate::shard::record::Written;
use crate::types::{Mono, Seq};

pub const JSON: &str = "application/json";
pub const NDJSON: &str = "application/x-ndjson";
const PROBLEM_JSON: &str = "application/problem+json";

pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A body that is made piece by piece, as fast as the peer takes it.
pub trait Source {
    /// Appends the next piece to `out`; `Ok(false)` after the last. An error cuts the answer short, so
    /// that the client sees that it is not whole.
    fn next<'a>(&'a mut self, out: &'a mut Vec<u8>) -> LocalFuture<'a, Result<bool, Problem>>;

    /// Bytes to be set aside while it is sent; asked again after each piece.
    fn room_bytes(&self) -> usize {
        limits::STREAM_ROOM_BYTES
    }
}

/// As [`Source::room_bytes`], with values that nobody else has: a few bytes of them are among what any answer has.
pub fn room_with(own_bytes: usize) -> usize {
    let values = if own_bytes > limits::STREAM_ROOM_BYTES { own_bytes } else { 0 };
    limits::STREAM_ROOM_BYTES + values
}

pub enum Body {
    Empty,
    Bytes {
        content_type: &'static str,
        bytes: Vec<u8>,
    },
    Value(Payload),
    Problem(Box<Problem>),
    Stream {
        content_type: &'static str,
        source: Box<dyn Source>,
    },
    /// The connection itself writes the body behind the head, as for `Stream`.
    Open {
        content_type: &'static str,
    },
}

pub struct Response {
    pub status: u16,
    /// Version of the record, for the entity tag.
    pub version: Option<Seq>,
    /// What a write reached.
    pub written: Option<Written>,
    /// Further header lines, encoded.
    pub lines: Vec<u8>,
    pub body: Body,
}

/// What of the request shapes the bytes of its answer.
pub struct Frame<'a> {
    /// The connection ends after this answer.
    pub close: bool,
    pub is_http10: bool,
    /// The answer to HEAD.
    pub head_only: bool,
    /// A longer value is sent from where it lies rather than copied behind its head.
    pub copied_max: usize,
    pub note: Option<&'a Note>,
    pub now: Mono,
}

/// What is left to send behind the encoded bytes.
pub enum Rest {
    Nothing,
    /// A large value, sent without a copy.
    Value {
        bytes: Arc<[u8]>,
        start: usize,
    },
    Stream {
        source: Box<dyn Source>,
        chunked: bool,
    },
}

impl Response {
    pub fn new(status: u16, body: Body) -> Response {
        Response { status, version: None, written: None, lines: Vec::new(), body }
    }

    pub fn empty(status: u16) -> Response {
        Response::new(status, Body::Empty)
    }

    pub fn bytes(status: u16, content_type: &'static str, bytes: Vec<u8>) -> Response {
        Response::new(status, Body::Bytes { content_type, bytes })
    }

    pub fn json(status: u16, value: &impl serde::Serialize) -> Response {
        let bytes = serde_json::to_vec(value).expect("answers are plain data");
        Response::bytes(status, JSON, bytes)
    }

    pub fn stream(content_type: &'static str, source: impl Source + 'static) -> Response {
        Response::new(200, Body::Stream { content_type, source: Box::new(source) })
    }

    #[must_use]
    pub fn line(mut self, name: &str, value: &str) -> Response {
        for part in [name, ": ", value, "\r\n"] {
            self.lines.extend_from_slice(part.as_bytes());
        }
        self
    }

    /// True when only the end of the connection tells an HTTP/1.0 client where the body ends.
    pub fn has_unknown_length(&self) -> bool {
        matches!(self.body, Body::Stream { .. } | Body::Open { .. })
    }

    /// Bytes to be set aside while the answer is sent: none for a small one, and none for a stored value that is
    /// sent from where it lies. One that was read for this answer alone lies nowhere else.
    /// `copied_max`: the longest body that counts as small.
    pub fn room_bytes(&self, copied_max: usize) -> usize {
        match &self.body {
            Body::Stream { source, .. } => source.room_bytes(),
            // Once as the body, once behind its head.
            Body::Bytes { bytes, .. } if bytes.len() > copied_max => 2 * bytes.len(),
            Body::Value(payload) if payload.value().len() > copied_max && !payload.is_shared() => {
                payload.as_bytes().len()
            }
            _ => 0,
        }
    }

    /// Turns a problem into its document; other bodies stay as they are.
    pub fn render_problem(&mut self, request_id: impl FnOnce() -> String) {
        if let Body::Problem(problem) = &self.body {
            let bytes = problem.to_json(&request_id());
            self.body = Body::Bytes { content_type: PROBLEM_JSON, bytes };
        }
    }

    /// Appends the answer to `out`, but for the rest that is returned.
    pub fn encode(self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Rest {
        out.extend_from_slice(status::line(self.status).as_bytes());
        let chunked = self.encode_body_lines(frame, out);
        self.encode_record_lines(out);
        out.extend_from_slice(&self.lines);
        encode_connection_line(frame, out);
        if let Some(note) = frame.note {
            note.encode_lines(frame.now, out);
        }
        out.extend_from_slice(b"\r\n");
        if frame.head_only { Rest::Nothing } else { encode_body(self.body, chunked, frame.copied_max, out) }
    }

    /// Length and type. True when the body goes out in chunks.
    fn encode_body_lines(&self, frame: &Frame<'_>, out: &mut Vec<u8>) -> bool {
        let (len, content_type) = match &self.body {
            Body::Empty if matches!(self.status, 204 | 304) => return false,
            Body::Empty => (Some(0), None),
            Body::Bytes { content_type, bytes } => (Some(bytes.len()), Some(*content_type)),
            Body::Value(payload) => (Some(payload.value().len()), Some(payload.content_type())),
            Body::Stream { content_type, .. } | Body::Open { content_type } => (None, Some(*content_type)),
            Body::Problem(_) => unreachable!("problems are rendered before they are encoded"),
        };
        match len {
            Some(len) => number_line(b"Content-Length: ", len as u64, b"\r\n", out),
            None if frame.is_http10 => {}
            None => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        if let Some(content_type) = content_type {
            out.extend_from_slice(b"Content-Type: ");
            out.extend_from_slice(content_type.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        len.is_none() && !frame.is_http10
    }

    fn encode_record_lines(&self, out: &mut Vec<u8>) {
        if let Some(seq) = self.version {
            number_line(b"ETag: \"", seq.0, b"\"\r\n", out);
        }
        if let Some(written) = self.written {
            number_line(b"Kyro-Seq: ", written.seq.0, b"\r\n", out);
            out.extend_from_slice(b"Kyro-Durability: ");
            out.extend_from_slice(written.reached.name().as_bytes());
            out.extend_from_slice(b"\r\n");
            if written.replayed {
                out.extend_from_slice(b"Idempotency-Replayed: true\r\n");
            }
        }
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Response {
        let mut response = Response::empty(problem.status);
        response.version = problem.current;
        if let Some(allow) = problem.allow {
            response = response.line("Allow", allow);
        }
        if problem.status == 401 {
            response = response.line("WWW-Authenticate", "Bearer");
        }
        if problem.code == coding::UNSUPPORTED {
            response = response.line("Accept-Encoding", coding::TAKEN);
        }
        if problem.status == 503 {
            number_line(b"Retry-After: ", limits::RETRY_AFTER_SECONDS, b"\r\n", &mut response.lines);
        }
        response.body = Body::Problem(Box::new(problem));
        response
    }
}

fn encode_connection_line(frame: &Frame<'_>, out: &mut Vec<u8>) {
    if frame.close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if frame.is_http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

fn encode_body(body: Body, chunked: bool, copied_max: usize, out: &mut Vec<u8>) -> Rest {
    match body {
        Body::Value(payload) if payload.value().len() > copied_max => {
            let (bytes, start) = payload.shared_value();
            return Rest::Value { bytes, start };
        }
        Body::Value(payload) => out.extend_from_slice(payload.value()),
        Body::Bytes { bytes, .. } => out.extend_from_slice(&bytes),
        Body::Stream { source, .. } => return Rest::Stream { source, chunked },
        Body::Empty | Body::Problem(_) | Body::Open { .. } => {}
    }
    Rest::Nothing
}

/// A piece of a body of unknown length; HTTP/1.0 has no chunks.
pub fn append_piece(piece: &[u8], chunked: bool, out: &mut Vec<u8>) {
    if !chunked {
        out.extend_from_slice(piece);
    } else if !piece.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
}

pub fn append_end(chunked: bool, out: &mut Vec<u8>) {
    if chunked {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

/// `before`, a decimal number, `after`. Inlined: what is known of the texts makes their copies a few moves.
#[inline(always)]
pub fn number_line(before: &[u8], number: u64, after: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(before);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(after);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::record::Durability;
    use crate::types::Lsn;

    fn encode(response: Response, frame: &Frame<'_>) -> (String, Rest) {
        let mut out = Vec::new();
        let rest = response.encode(frame, &mut out);
        (String::from_utf8(out).unwrap(), rest)
    }

    const MAX: usize = 1000;
    const PLAIN: Frame<'static> =
        Frame { close: false, is_http10: false, head_only: false, copied_max: MAX, note: None, now: Mono(0) };

    #[test]
    fn a_value_has_three_lines_and_no_more() {
        let mut response = Response::new(200, Body::Value(Payload::new("text/plain", b"hello")));
        response.version = Some(Seq(42));
        let (text, rest) = encode(response, &PLAIN);
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nETag: \"42\"\r\n\r\nhello"
        );
        assert!(matches!(rest, Rest::Nothing));
    }

    #[test]
    fn head_has_the_lines_of_get() {
        let value = || Response::new(200, Body::Value(Payload::new("text/plain", b"hello")));
        let (get, _) = encode(value(), &PLAIN);
        let (head, _) = encode(value(), &Frame { head_only: true, ..PLAIN });
        assert_eq!(get, format!("{head}hello"));
    }

    #[test]
    fn a_large_value_is_left_to_be_shared() {
        let value = vec![7; MAX + 1];
        let response = Response::new(200, Body::Value(Payload::new("image/png", &value)));
        let mut out = Vec::new();
        let Rest::Value { bytes, start } = response.encode(&PLAIN, &mut out) else { panic!("copied") };
        assert_eq!(bytes[start..], value);
        assert!(out.ends_with(b"\r\n\r\n"));
    }

    #[test]
    fn a_large_value_has_room_where_nobody_else_has_it() {
        let room = |payload: &Payload| Response::new(200, Body::Value(payload.clone())).room_bytes(MAX);
        let alone = Response::new(200, Body::Value(Payload::new("image/png", &vec![7; MAX + 1])));
        assert!(alone.room_bytes(MAX) > MAX);
        assert_eq!(room(&Payload::new("image/png", &vec![7; MAX + 1])), 0, "it is stored");
        assert_eq!(
            Response::new(200, Body::Value(Payload::new("image/png", &vec![7; MAX]))).room_bytes(MAX),
            0
        );
    }

    #[test]
    fn writes_say_what_they_reached() {
        let mut response = Response::empty(204);
        response.written = Some(Written {
            lsn: Lsn(1),
            seq: Seq(2),
            created: false,
            reached: Durability::Interval,
            replayed: false,
        });
        let (text, _) = encode(response, &Frame { close: true, ..PLAIN });
        assert_eq!(
            text,
            "HTTP/1.1 204 No Content\r\nKyro-Seq: 2\r\nKyro-Durability: interval\r\n\
             Connection: close\r\n\r\n"
        );
    }

    #[test]
    fn problems_carry_their_headers() {
        let mut response = Response::from(Problem::from(crate::shard::record::Refusal::NotReady));
        response.render_problem(|| "id".to_owned());
        let (text, _) = encode(response, &Frame { is_http10: true, ..PLAIN });
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\nContent-Length: "));
        assert!(text.contains("\r\nContent-Type: application/problem+json\r\n"));
        assert!(text.contains("\r\nRetry-After: 1\r\nConnection: keep-alive\r\n\r\n{"));
        let (text, _) = encode(Response::empty(200), &Frame { head_only: true, ..PLAIN });
        assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}
