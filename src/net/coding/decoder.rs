//! A coded body made plain, step by step.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::Coding;
use crate::limits;
use crate::net::problem::Problem;

/// Input that gzip takes at a time: it can come to a thousand times as much.
const GZIP_PIECE_BYTES: usize = 512;
/// A step ends when it has given so much.
const STEP_BYTES: usize = 64 * limits::KIB;
/// What a decoder of gzip keeps: its window and what it has not given yet.
const GZIP_ROOM_BYTES: usize = 128 * limits::KIB;

/// The most that a decoder of the coding keeps beside what it has given.
pub fn room_bytes(coding: Coding) -> usize {
    match coding {
        Coding::Gzip => GZIP_ROOM_BYTES,
        Coding::Zstd => limits::ZSTD_WINDOW_BYTES_MAX + 2 * STEP_BYTES,
    }
}

/// The bytes are not what the request says that they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(Coding);

impl From<Malformed> for Problem {
    fn from(Malformed(coding): Malformed) -> Problem {
        let detail = format!("the body is not whole and sound {}", coding.name());
        Problem::new(400, "malformed_content_encoding", detail.clone()).at("", detail)
    }
}

/// How far a frame of zstd has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frame {
    /// Nothing came yet.
    None,
    Begun,
    /// It has ended, and nothing came behind it.
    Whole,
}

pub struct Decoder {
    coding: Coding,
    kind: Kind,
}

enum Kind {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd {
        decoder: ZstdDecoder<'static>,
        /// Where it puts what it gives.
        room: Box<[u8]>,
        frame: Frame,
    },
}

impl Decoder {
    pub fn new(coding: Coding) -> Decoder {
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new().expect("memory for a decoder");
                let window = DParameter::WindowLogMax(limits::ZSTD_WINDOW_BYTES_MAX.ilog2());
                decoder.set_parameter(window).expect("a window that the library knows");
                Kind::Zstd { decoder, room: vec![0; STEP_BYTES].into(), frame: Frame::None }
            }
        };
        Decoder { coding, kind }
    }

    /// Takes a turn's worth off the front of `input` and appends what it comes to.
    pub fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let end = out.len() + STEP_BYTES;
        while !input.is_empty() && out.len() < end {
            let taken = match &mut self.kind {
                Kind::Gzip(decoder) => ungzip(decoder, input, out),
                Kind::Zstd { decoder, room, frame } => unzstd(decoder, room, frame, input, out),
            };
            *input = &input[taken.map_err(|_| Malformed(self.coding))?..];
        }
        Ok(())
    }

    /// The body ends here.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let is_whole = match &mut self.kind {
            Kind::Gzip(decoder) => {
                let is_whole = decoder.try_finish().is_ok();
                out.append(decoder.get_mut());
                is_whole
            }
            Kind::Zstd { frame, .. } => *frame == Frame::Whole,
        };
        if is_whole { Ok(()) } else { Err(Malformed(self.coding)) }
    }
}

fn ungzip(decoder: &mut MultiGzDecoder<Vec<u8>>, input: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
    let taken = input.len().min(GZIP_PIECE_BYTES);
    decoder.write_all(&input[..taken])?;
    decoder.flush()?;
    out.append(decoder.get_mut());
    Ok(taken)
}

fn unzstd(
    decoder: &mut ZstdDecoder<'static>,
    room: &mut [u8],
    frame: &mut Frame,
    input: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<usize> {
    // Its first byte goes alone: the library takes a frame that is all there in another way, and other frames for sound.
    let taken = if *frame == Frame::Begun { input.len() } else { input.len().min(1) };
    let mut source = InBuffer::around(&input[..taken]);
    let mut target = OutBuffer::around(room);
    *frame = if decoder.run(&mut source, &mut target)? == 0 { Frame::Whole } else { Frame::Begun };
    out.extend_from_slice(target.as_slice());
    if source.pos() == 0 && target.pos() == 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(source.pos())
}
