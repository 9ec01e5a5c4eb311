//! Bodies that are taken as they come.
//!
//! Invariant: what a coded body comes to is counted in the room of the core as it grows, not when more of it is waited
//! for: a few hundred bytes that came at once can come to all that a body may have.

use super::bulk::Bulk;
use super::coding::Coding;
use super::coding::decoder::{self, Decoder};
use super::parser::Fault;
use super::problem::Problem;
use super::routes::LargePut;
use super::wire::Wire;
use crate::limits;

/// Who takes the parts of a body.
pub trait BodySink {
    /// Takes a part; `advance` comes before the next.
    fn feed(&mut self, part: &[u8]);

    /// Bytes that are kept of the request.
    fn held_bytes(&self) -> usize;

    /// Does what can be done with what was fed.
    async fn advance(&mut self, wire: &mut Wire) -> Result<(), Problem>;

    /// All that has arrived was taken; the rest is waited for.
    async fn pause(&mut self, _wire: &mut Wire) {}

    /// Nothing more comes.
    async fn end(&mut self, wire: &mut Wire) -> Result<(), Problem>;
}

impl BodySink for LargePut {
    fn feed(&mut self, part: &[u8]) {
        self.push(part);
    }

    fn held_bytes(&self) -> usize {
        LargePut::held_bytes(self)
    }

    async fn advance(&mut self, _: &mut Wire) -> Result<(), Problem> {
        Ok(())
    }

    async fn end(&mut self, _: &mut Wire) -> Result<(), Problem> {
        Ok(())
    }
}

impl BodySink for Bulk {
    fn feed(&mut self, part: &[u8]) {
        Bulk::feed(self, part);
    }

    fn held_bytes(&self) -> usize {
        Bulk::held_bytes(self)
    }

    async fn advance(&mut self, wire: &mut Wire) -> Result<(), Problem> {
        Bulk::advance(self, wire).await;
        Ok(())
    }

    async fn pause(&mut self, wire: &mut Wire) {
        self.finish(wire).await;
    }

    async fn end(&mut self, wire: &mut Wire) -> Result<(), Problem> {
        self.end_of_lines();
        Bulk::advance(self, wire).await;
        Ok(())
    }
}

/// A body that a route wants whole.
#[derive(Default)]
pub struct WholeBody {
    pub bytes: Vec<u8>,
}

impl BodySink for WholeBody {
    fn feed(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
    }

    fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    async fn advance(&mut self, _: &mut Wire) -> Result<(), Problem> {
        if self.bytes.len() > limits::BODY_BYTES_MAX {
            return Err(Fault::BodyTooLarge.into());
        }
        Ok(())
    }

    async fn end(&mut self, wire: &mut Wire) -> Result<(), Problem> {
        self.advance(wire).await
    }
}

/// Makes a coded body plain, for who takes it.
pub struct Decoding<S> {
    coding: Coding,
    decoder: Decoder,
    /// Fed and not yet decoded.
    coded: Vec<u8>,
    piece: Vec<u8>,
    pub inner: S,
}

impl<S: BodySink> Decoding<S> {
    pub fn new(coding: Coding, inner: S) -> Decoding<S> {
        Decoding { coding, decoder: Decoder::new(coding), coded: Vec::new(), piece: Vec::new(), inner }
    }

    async fn hand_on(&mut self, wire: &mut Wire) -> Result<(), Problem> {
        self.inner.feed(&self.piece);
        self.piece.clear();
        self.inner.advance(wire).await?;
        if wire.may_hold(self.held_bytes()) { Ok(()) } else { Err(too_many_bodies()) }
    }
}

impl<S: BodySink> BodySink for Decoding<S> {
    fn feed(&mut self, part: &[u8]) {
        self.coded.extend_from_slice(part);
    }

    fn held_bytes(&self) -> usize {
        self.inner.held_bytes() + decoder::room_bytes(self.coding)
    }

    async fn advance(&mut self, wire: &mut Wire) -> Result<(), Problem> {
        let coded = std::mem::take(&mut self.coded);
        let mut left = coded.as_slice();
        while !left.is_empty() {
            self.decoder.step(&mut left, &mut self.piece)?;
            self.hand_on(wire).await?;
            if !left.is_empty() {
                wire.let_others_go().await;
            }
        }
        self.coded = coded;
        self.coded.clear();
        Ok(())
    }

    async fn pause(&mut self, wire: &mut Wire) {
        self.inner.pause(wire).await;
    }

    async fn end(&mut self, wire: &mut Wire) -> Result<(), Problem> {
        self.advance(wire).await?;
        self.decoder.finish(&mut self.piece)?;
        self.hand_on(wire).await?;
        self.inner.end(wire).await
    }
}

pub fn too_many_bodies() -> Problem {
    Problem::new(503, "overloaded", "the core holds as many bytes of unfinished requests as it may")
}
