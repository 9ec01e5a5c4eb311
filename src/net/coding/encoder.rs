//! A plain answer squeezed, step by step. Both codings work at their fastest: the answer is made once and for one
//! client, by the core that serves everybody.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;
use zstd::zstd_safe::CParameter;

use super::Coding;
use crate::limits;

pub enum Encoder {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Zstd(Box<ZstdEncoder<'static, Vec<u8>>>),
}

impl Encoder {
    pub fn new(coding: Coding) -> io::Result<Encoder> {
        Ok(match coding {
            Coding::Gzip => Encoder::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::fast()))),
            Coding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), 1)?;
                encoder.set_parameter(CParameter::WindowLog(limits::ZSTD_ANSWER_WINDOW_BYTES.ilog2()))?;
                Encoder::Zstd(Box::new(encoder))
            }
        })
    }

    /// Takes plain bytes; appends what is squeezed so far.
    pub fn push(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Encoder::Gzip(encoder) => {
                encoder.write_all(plain)?;
                out.append(encoder.get_mut());
            }
            Encoder::Zstd(encoder) => {
                encoder.write_all(plain)?;
                out.append(encoder.get_mut());
            }
        }
        Ok(())
    }

    pub fn finish(self, out: &mut Vec<u8>) -> io::Result<()> {
        out.append(&mut match self {
            Encoder::Gzip(encoder) => encoder.finish()?,
            Encoder::Zstd(encoder) => encoder.finish()?,
        });
        Ok(())
    }
}

/// A small body in one step.
pub fn encode(coding: Coding, plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(plain.len() / 2);
    let mut encoder = Encoder::new(coding)?;
    encoder.push(plain, &mut out)?;
    encoder.finish(&mut out)?;
    Ok(out)
}
