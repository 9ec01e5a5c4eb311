//! HTTP/1.1 answers as bytes, for the two users that keep a connection in their own hands: the bulk
//! upload, which sends and reads at the same time, and the load generator.
//!
//! Knows no socket: it is given bytes, or a reader.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::time::Duration;

use crate::limits;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub framing: Framing,
    pub retry_after: Option<Duration>,
    /// Bytes of the head itself.
    pub len: usize,
}

/// A whole body, and how many bytes it took on the wire.
pub type Body<'a> = (Cow<'a, [u8]>, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    NotHttp,
    /// A body whose end cannot be known without closing the connection.
    NoLength,
    BadChunk,
    HeadTooLong,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WireError::NotHttp => "something that is not HTTP/1.1",
            WireError::NoLength => "a body without a length",
            WireError::BadChunk => "a malformed chunk",
            WireError::HeadTooLong => "a head of too many bytes",
        })
    }
}

impl std::error::Error for WireError {}

impl From<WireError> for io::Error {
    fn from(error: WireError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The head at the front of `bytes`; `None` when more is needed.
pub fn parse_head(bytes: &[u8]) -> Result<Option<Head>, WireError> {
    let mut headers = [httparse::EMPTY_HEADER; limits::HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let len = match response.parse(bytes).map_err(|_| WireError::NotHttp)? {
        httparse::Status::Complete(len) => len,
        httparse::Status::Partial if bytes.len() > limits::HEAD_BYTES_MAX => {
            return Err(WireError::HeadTooLong);
        }
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.ok_or(WireError::NotHttp)?;
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let framing = match (header("transfer-encoding"), header("content-length")) {
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
        (None, Some(length)) => Framing::Length(length.parse().map_err(|_| WireError::NotHttp)?),
        (None, None) if matches!(status, 100..200 | 204 | 304) => Framing::Length(0),
        _ => return Err(WireError::NoLength),
    };
    let retry_after = header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
    Ok(Some(Head { status, framing, retry_after, len }))
}

/// The body at the front of `bytes`; `None` when more is needed.
pub fn parse_body(bytes: &[u8], framing: Framing) -> Result<Option<Body<'_>>, WireError> {
    match framing {
        Framing::Length(len) => Ok(bytes.get(..len).map(|body| (Cow::Borrowed(body), len))),
        Framing::Chunked => parse_chunks(bytes),
    }
}

fn parse_chunks(bytes: &[u8]) -> Result<Option<Body<'_>>, WireError> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let (start, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete((start, size))) => (at + start, size as usize),
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(WireError::BadChunk),
        };
        let end = start.checked_add(size).ok_or(WireError::BadChunk)?;
        let Some(tail) = end.checked_add(2).and_then(|tail| bytes.get(end..tail)) else { return Ok(None) };
        if tail != b"\r\n" {
            return Err(WireError::BadChunk);
        }
        if size == 0 {
            return Ok(Some((Cow::Owned(body), end + 2)));
        }
        body.extend_from_slice(&bytes[start..end]);
        at = end + 2;
    }
}

/// Reads one head from the front of a stream.
pub fn read_head(reader: &mut impl BufRead) -> io::Result<Head> {
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        let room = (limits::HEAD_BYTES_MAX + 1 - before) as u64;
        if reader.by_ref().take(room).read_until(b'\n', &mut bytes)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(head) = parse_head(&bytes)? {
            return Ok(head);
        }
        if bytes.len() > limits::HEAD_BYTES_MAX {
            return Err(WireError::HeadTooLong.into());
        }
    }
}

/// The body behind a head, as it arrives; ends where the body ends.
pub struct BodyReader<R> {
    reader: R,
    /// Bytes left of the body, or of the chunk.
    left: usize,
    is_chunked: bool,
    is_done: bool,
    is_first: bool,
}

impl<R: BufRead> BodyReader<R> {
    pub fn new(reader: R, framing: Framing) -> BodyReader<R> {
        match framing {
            Framing::Length(left) => {
                BodyReader { reader, left, is_chunked: false, is_done: left == 0, is_first: true }
            }
            Framing::Chunked => {
                BodyReader { reader, left: 0, is_chunked: true, is_done: false, is_first: true }
            }
        }
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.expect_line_end()?;
        }
        let mut line = Vec::new();
        self.reader.by_ref().take(limits::CHUNK_LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        self.left = match httparse::parse_chunk_size(&line) {
            Ok(httparse::Status::Complete((_, size))) => size as usize,
            Ok(httparse::Status::Partial) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => return Err(WireError::BadChunk.into()),
        };
        if self.left == 0 {
            self.is_done = true;
            self.expect_line_end()?;
        }
        Ok(())
    }

    fn expect_line_end(&mut self) -> io::Result<()> {
        let mut end = [0; 2];
        self.reader.read_exact(&mut end)?;
        if end == *b"\r\n" { Ok(()) } else { Err(WireError::BadChunk.into()) }
    }
}

impl<R: BufRead> Read for BodyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && self.is_chunked && !self.is_done {
            self.next_chunk()?;
        }
        if self.is_done || buf.is_empty() {
            return Ok(0);
        }
        let wanted = buf.len().min(self.left);
        let count = self.reader.read(&mut buf[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count;
        self.is_done = self.left == 0 && !self.is_chunked;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
    const REFUSED: &[u8] = b"HTTP/1.1 503 S\r\nretry-after: 2\r\ncontent-length: 4\r\n\r\nfull";

    #[test]
    fn every_cut_needs_more_and_the_whole_is_read() {
        for (answer, wanted) in [(CHUNKED, &b"abc0123456789"[..]), (REFUSED, b"full")] {
            for cut in 0..answer.len() {
                let complete = parse_head(&answer[..cut])
                    .unwrap()
                    .and_then(|head| parse_body(&answer[head.len..cut], head.framing).unwrap());
                assert_eq!(complete, None, "{cut}");
                let mut reader = &answer[..cut];
                let read = read_head(&mut reader)
                    .and_then(|head| BodyReader::new(reader, head.framing).read_to_end(&mut Vec::new()));
                assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{cut}");
            }
            let head = parse_head(answer).unwrap().unwrap();
            let (body, len) = parse_body(&answer[head.len..], head.framing).unwrap().unwrap();
            assert_eq!((&*body, head.len + len), (wanted, answer.len()));
            let mut reader = answer;
            let mut body = Vec::new();
            let head = read_head(&mut reader).unwrap();
            BodyReader::new(&mut reader, head.framing).read_to_end(&mut body).unwrap();
            assert_eq!((body.as_slice(), reader), (wanted, &b""[..]));
        }
    }

    #[test]
    fn tells_status_and_retry_after() {
        let head = parse_head(REFUSED).unwrap().unwrap();
        assert_eq!((head.status, head.retry_after), (503, Some(Duration::from_secs(2))));
        let empty = parse_head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap();
        assert_eq!(empty.framing, Framing::Length(0));
    }

    #[test]
    fn refuses_what_it_cannot_frame() {
        assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\n\r\n"), Err(WireError::NoLength));
        assert_eq!(parse_head(b"SSH-2.0-x\r\n\r\n"), Err(WireError::NotHttp));
        assert_eq!(parse_body(b"3\r\nabcd\r\n", Framing::Chunked), Err(WireError::BadChunk));
        assert_eq!(parse_body(b"zz\r\n", Framing::Chunked), Err(WireError::BadChunk));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_head(&bytes);
            let _ = parse_body(&bytes, Framing::Chunked);
            let _ = BodyReader::new(&bytes[..], Framing::Chunked).read_to_end(&mut Vec::new());
        }
    }
}
