//! The body of a request, part by part as it arrives, by its length or by its chunks.
//!
//! Parts are borrowed from the input; nothing is kept here but where in the framing the input stands.
//! Chunk extensions are passed over within a bound, trailers are checked for form and thrown away.

use super::fault::Fault;
use super::head::Framing;
use crate::limits;

/// A part of a body.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Data(&'a [u8]),
    /// The body is over; what follows is the next request.
    End,
    /// The input is used up.
    More,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyReader {
    Length { left: u64 },
    Chunked(ChunkReader),
}

impl BodyReader {
    pub fn new(framing: Framing) -> BodyReader {
        match framing {
            Framing::Absent => BodyReader::Length { left: 0 },
            Framing::Length(left) => BodyReader::Length { left },
            Framing::Chunked => BodyReader::Chunked(ChunkReader::default()),
        }
    }

    /// Takes the next part off the front of `input`.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Part<'a>, Fault> {
        match self {
            BodyReader::Length { left: 0 } => Ok(Part::End),
            BodyReader::Length { left } => Ok(take_data(left, input)),
            BodyReader::Chunked(chunks) => chunks.next(input),
        }
    }
}

fn take_data<'a>(left: &mut u64, input: &mut &'a [u8]) -> Part<'a> {
    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    if len == 0 {
        return Part::More;
    }
    let (data, rest) = input.split_at(len);
    *input = rest;
    *left -= len as u64;
    Part::Data(data)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkReader {
    place: Place,
    /// Bytes of the line that the input stands in.
    line_bytes: usize,
    /// Bytes of all trailers so far.
    trailer_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Size {
        digits: u32,
        size: u64,
    },
    /// White space behind the size: an extension must follow (RFC 9112, section 7.1.1).
    SizeSpace {
        size: u64,
    },
    /// Before the name of an extension.
    ExtensionStart {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    Trailer,
    TrailerLf,
    LastLf,
    Ended,
}

impl Default for Place {
    fn default() -> Place {
        Place::Size { digits: 0, size: 0 }
    }
}

impl ChunkReader {
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Part<'a>, Fault> {
        loop {
            match &mut self.place {
                Place::Ended => return Ok(Part::End),
                Place::Data { left: 0 } => self.place = Place::DataCr,
                Place::Data { left } => return Ok(take_data(left, input)),
                _ => {
                    let Some((byte, rest)) = input.split_first() else { return Ok(Part::More) };
                    *input = rest;
                    self.frame_byte(*byte)?;
                }
            }
        }
    }

    /// One byte that is not data.
    fn frame_byte(&mut self, byte: u8) -> Result<(), Fault> {
        self.line_bytes += 1;
        if self.line_bytes > limits::CHUNK_LINE_BYTES_MAX {
            return Err(Fault::Malformed("a line of the chunked body is too long"));
        }
        self.place = match (self.place, byte) {
            (Place::Size { digits, size }, byte) if byte.is_ascii_hexdigit() => {
                Place::Size { digits: digits + 1, size: with_digit(size, byte)? }
            }
            (Place::Size { digits: 1.., size } | Place::Extension { size }, b'\r') => Place::SizeLf { size },
            (Place::Size { digits: 1.., size } | Place::SizeSpace { size }, b' ' | b'\t') => {
                Place::SizeSpace { size }
            }
            (Place::Size { digits: 1.., size } | Place::SizeSpace { size }, b';')
            | (Place::ExtensionStart { size }, b' ' | b'\t') => Place::ExtensionStart { size },
            (Place::ExtensionStart { size }, byte) if is_token(byte) => Place::Extension { size },
            (Place::Extension { size }, byte) if is_text(byte) => Place::Extension { size },
            (Place::SizeLf { size: 0 }, b'\n') => self.new_line(Place::TrailerStart),
            (Place::SizeLf { size }, b'\n') => self.new_line(Place::Data { left: size }),
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => self.new_line(Place::default()),
            (Place::TrailerStart, b'\r') => Place::LastLf,
            (Place::TrailerStart | Place::TrailerName, byte) if is_token(byte) => Place::TrailerName,
            (Place::TrailerName, b':') => Place::Trailer,
            (Place::Trailer, b'\r') => Place::TrailerLf,
            (Place::Trailer, byte) if is_text(byte) => Place::Trailer,
            (Place::TrailerLf, b'\n') => self.next_trailer()?,
            (Place::LastLf, b'\n') => self.new_line(Place::Ended),
            _ => return Err(Fault::Malformed("the chunked body is malformed")),
        };
        Ok(())
    }

    fn new_line(&mut self, place: Place) -> Place {
        self.line_bytes = 0;
        place
    }

    fn next_trailer(&mut self) -> Result<Place, Fault> {
        self.trailer_bytes += self.line_bytes;
        if self.trailer_bytes > limits::HEAD_BYTES_MAX {
            return Err(Fault::HeadTooLarge);
        }
        Ok(self.new_line(Place::TrailerStart))
    }
}

fn with_digit(size: u64, digit: u8) -> Result<u64, Fault> {
    let value = (digit as char).to_digit(16).map_or(0, u64::from);
    size.checked_mul(16).and_then(|size| size.checked_add(value)).ok_or(Fault::BodyTooLarge)
}

/// A character of a name (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may stand in an extension or a trailer: no controls, so no bare CR or LF.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut input: &[u8]) -> Result<(Vec<u8>, &[u8]), Fault> {
        let mut reader = BodyReader::new(Framing::Chunked);
        let mut data = Vec::new();
        loop {
            match reader.next(&mut input)? {
                Part::Data(part) => data.extend_from_slice(part),
                Part::End => return Ok((data, input)),
                Part::More => return Err(Fault::Malformed("more")),
            }
        }
    }

    #[test]
    fn chunks_join_and_the_rest_stays() {
        for (input, data, rest) in [
            (&b"0\r\n\r\nGET"[..], &b""[..], &b"GET"[..]),
            (b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789", b""),
            (b"3;name=value;x=\"y z\"\r\nabc\r\n000\r\n\r\n", b"abc", b""),
            (b"3 ; a ; b=\";\"\r\nabc\r\n0\r\n\r\n", b"abc", b""),
            (b"1\r\na\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\nZ", b"a", b"Z"),
        ] {
            assert_eq!(decode(input), Ok((data.to_vec(), rest)), "{}", input.escape_ascii());
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for input in [
            &b"1 \r\na\r\n0\r\n\r\n"[..],
            b"1 x\r\na\r\n0\r\n\r\n",
            b"1;\r\na\r\n0\r\n\r\n",
            b"1; \r\na\r\n0\r\n\r\n",
            b"1;\"x\r\na\r\n0\r\n\r\n",
            b"0\r\nGET / HTTP/1.1\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\n: no name\r\n\r\n",
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"0x3\r\nabc",
            b"+3\r\nabc\r\n",
            b" 3\r\nabc\r\n",
            b"3\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n",
            b"3\r\nabcX",
            b";x\r\n",
            b"3;a\nb\r\n",
            b"3;a\rb\r\n",
            b"0\r\n\n",
            b"0\r\n folded\r\n",
            b"0\r\nA: b\n\r\n",
        ] {
            assert!(
                matches!(decode(input), Err(Fault::Malformed(what)) if what != "more"),
                "{}",
                input.escape_ascii()
            );
        }
        assert_eq!(decode(b"10000000000000000\r\n"), Err(Fault::BodyTooLarge));
        let extension = [b"3;".as_slice(), &vec![b'x'; limits::CHUNK_LINE_BYTES_MAX]].concat();
        assert!(matches!(decode(&extension), Err(Fault::Malformed(_))));
        let trailers = [b"0\r\n".as_slice(), &b"a: 0123456789\r\n".repeat(2000)].concat();
        assert_eq!(decode(&trailers), Err(Fault::HeadTooLarge));
    }
}
