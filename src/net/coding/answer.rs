//! Answers in the coding that a client takes.
//!
//! What is stored goes out as it is: its entity tag names those bytes, and writes are conditional on it.

use std::io;
use std::mem;

use super::encoder::{Encoder, encode};
use super::{Coding, is_worth_it};
use crate::io::runtime::Runtime;
use crate::limits;
use crate::net::problem::Problem;
use crate::net::response::{Body, LocalFuture, Response, Source};

/// Puts the body of an answer into the coding, where that is worth the work. `may_stream`: a body may be of unknown length.
pub fn encode_answer(response: &mut Response, coding: Coding, may_stream: bool, runtime: &Runtime) {
    if response.version.is_some() {
        return;
    }
    let body = mem::replace(&mut response.body, Body::Empty);
    let (body, is_coded) = match body {
        Body::Bytes { content_type, bytes } if is_worth_it(content_type, bytes.len()) => {
            encode_bytes(content_type, bytes, coding, may_stream, runtime)
        }
        Body::Stream { content_type, source } if may_stream => {
            let source = Box::new(Encoded::new(runtime.clone(), coding, source));
            (Body::Stream { content_type, source }, true)
        }
        plain => (plain, false),
    };
    response.body = body;
    if is_coded {
        for part in ["Content-Encoding: ", coding.name(), "\r\nVary: Accept-Encoding\r\n"] {
            response.lines.extend_from_slice(part.as_bytes());
        }
    }
}

/// A large body is put into its coding while it is sent.
fn encode_bytes(
    content_type: &'static str,
    bytes: Vec<u8>,
    coding: Coding,
    may_stream: bool,
    runtime: &Runtime,
) -> (Body, bool) {
    if bytes.len() > limits::CODING_STEP_BYTES {
        if !may_stream {
            return (Body::Bytes { content_type, bytes }, false);
        }
        let source = Encoded::new(runtime.clone(), coding, Box::new(Whole::new(bytes)));
        return (Body::Stream { content_type, source: Box::new(source) }, true);
    }
    match encode(coding, &bytes) {
        Ok(coded) => (Body::Bytes { content_type, bytes: coded }, true),
        Err(error) => {
            tracing::warn!(%error, "an answer goes out plain");
            (Body::Bytes { content_type, bytes }, false)
        }
    }
}

/// A body that is squeezed as it is made.
struct Encoded {
    runtime: Runtime,
    coding: Coding,
    inner: Box<dyn Source>,
    /// From the first piece to the last.
    encoder: Option<Encoder>,
    plain: Vec<u8>,
}

impl Encoded {
    fn new(runtime: Runtime, coding: Coding, inner: Box<dyn Source>) -> Encoded {
        Encoded { runtime, coding, inner, encoder: None, plain: Vec::new() }
    }

    async fn encode_next(&mut self, out: &mut Vec<u8>) -> Result<bool, Problem> {
        self.plain.clear();
        let is_more = self.inner.next(&mut self.plain).await?;
        let mut encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => Encoder::new(self.coding).map_err(failed)?,
        };
        for step in self.plain.chunks(limits::CODING_STEP_BYTES) {
            encoder.push(step, out).map_err(failed)?;
            self.runtime.yield_now().await;
        }
        if is_more {
            self.encoder = Some(encoder);
        } else {
            encoder.finish(out).map_err(failed)?;
        }
        Ok(is_more)
    }
}

impl Source for Encoded {
    fn next<'a>(&'a mut self, out: &'a mut Vec<u8>) -> LocalFuture<'a, Result<bool, Problem>> {
        Box::pin(self.encode_next(out))
    }

    fn room_bytes(&self) -> usize {
        self.inner.room_bytes() + limits::ENCODER_ROOM_BYTES
    }
}

/// A body that is there already, given in steps.
struct Whole {
    bytes: Vec<u8>,
    given: usize,
}

impl Whole {
    fn new(bytes: Vec<u8>) -> Whole {
        Whole { bytes, given: 0 }
    }

    fn give(&mut self, out: &mut Vec<u8>) -> bool {
        let end = self.bytes.len().min(self.given + limits::CODING_STEP_BYTES);
        out.extend_from_slice(&self.bytes[mem::replace(&mut self.given, end)..end]);
        end < self.bytes.len()
    }
}

impl Source for Whole {
    fn next<'a>(&'a mut self, out: &'a mut Vec<u8>) -> LocalFuture<'a, Result<bool, Problem>> {
        let is_more = self.give(out);
        Box::pin(std::future::ready(Ok(is_more)))
    }

    fn room_bytes(&self) -> usize {
        self.bytes.len() + limits::STREAM_ROOM_BYTES
    }
}

/// Only memory can fail an encoder.
fn failed(error: io::Error) -> Problem {
    Problem::new(503, "overloaded", format!("the answer could not be encoded: {error}"))
}
