//! HTTP/1.1 requests out of bytes that arrive in any pieces.
//!
//! Owns: the place in the stream of one connection. Pure: no socket, no clock.
//!
//! A request that lies whole in the input is lent straight from it, so a pipeline in one buffer is
//! parsed in place. Only a request that is cut by the end of the input is copied, once, into `held`.
//! Bodies of routes that stream are handed out part by part instead.
//!
//! Invariant: a head or body that could be framed in two ways is a [`Fault`], after which the reader
//! gives nothing more.

pub mod body;
pub mod domain;
pub mod fault;
pub mod fields;
mod find;
pub mod head;
mod last_section;
mod scan;
pub mod target;
#[cfg(test)]
mod tests;

use body::BodyReader;
pub use body::Part;
pub use fault::Fault;
pub use fields::{Field, Fields};
pub use head::{Framing, Head, Method};
use last_section::LastSection;
use scan::HeadScanner;

use crate::limits;

/// A held buffer that grew beyond this is freed after its request.
const HELD_BYTES_KEPT: usize = 64 * limits::KIB;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    Whole(&'a [u8]),
    /// To be taken by [`RequestReader::next_part`].
    Stream {
        /// The bytes of the head.
        head: &'a [u8],
    },
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub struct Request<'a> {
    pub head: Head<'a>,
    pub body: Body<'a>,
}

/// How far the request that comes next has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing of it.
    Idle,
    Head,
    Body,
}

pub struct RequestReader {
    /// Which requests take their body as a stream.
    streams: fn(&Head<'_>) -> bool,
    /// Head and body so far of a request that the end of an input cut.
    held: Vec<u8>,
    /// Of the last head that was read where it lay.
    last: LastSection,
    state: State,
    owes_continue: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head(HeadScanner),
    /// `held` has a whole head and the body so far.
    Body {
        head_len: usize,
        body: BodyReader,
    },
    /// `held` has a whole request, lent by the last `next`.
    Lent {
        head_len: usize,
    },
    /// `held` has a request to be lent: whole, or a head whose body is streamed.
    Ready {
        head_len: usize,
        streams: Option<BodyReader>,
    },
    /// In a streamed body, whose head is the first `head_len` bytes of `held` (0: lent straight).
    Stream {
        head_len: usize,
        body: BodyReader,
    },
    Broken(Fault),
}

impl Default for State {
    fn default() -> State {
        State::Head(HeadScanner::default())
    }
}

impl RequestReader {
    pub fn new(streams: fn(&Head<'_>) -> bool) -> RequestReader {
        RequestReader {
            streams,
            held: Vec::new(),
            last: LastSection::default(),
            state: State::default(),
            owes_continue: false,
        }
    }

    /// The next request, taken off the front of `input`; `None` when more bytes are needed, and then
    /// all of `input` was taken.
    pub fn next<'a, 'b: 'a>(&'a mut self, input: &mut &'b [u8]) -> Result<Option<Request<'a>>, Fault> {
        match self.state {
            State::Lent { .. } => self.start_over(),
            // As after every pipeline.
            State::Head(_) if input.is_empty() => return Ok(None),
            _ => {}
        }
        match self.take_straight(input) {
            Ok(None) => {}
            Ok(straight) => return Ok(straight),
            Err(fault) => return self.remember(Err(fault)),
        }
        let held = self.hold(input);
        if self.remember(held)? { self.lend().map(Some) } else { Ok(None) }
    }

    /// After a fault there is nothing but this fault.
    fn remember<T>(&mut self, result: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &result {
            self.state = State::Broken(*fault);
        }
        result
    }

    /// Makes `next` give the last request again. True when its bytes are kept here; false when they
    /// are still wanted at the front of the input.
    pub fn put_back(&mut self) -> bool {
        let (head_len, streams) = match self.state {
            State::Lent { head_len } => (head_len, None),
            State::Stream { head_len, body } if head_len > 0 => (head_len, Some(body)),
            State::Stream { .. } => {
                self.state = State::default();
                return false;
            }
            _ => return false,
        };
        self.state = State::Ready { head_len, streams };
        true
    }

    /// The next part of a streamed body.
    pub fn next_part<'b>(&mut self, input: &mut &'b [u8]) -> Result<Part<'b>, Fault> {
        let State::Stream { body, .. } = &mut self.state else { return Ok(Part::End) };
        let part = body.next(input);
        if part == Ok(Part::End) {
            self.start_over();
        }
        self.remember(part)
    }

    pub fn stage(&self) -> Stage {
        match self.state {
            State::Head(_) if self.held.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => Stage::Idle,
            State::Lent { .. } => Stage::Idle,
            State::Head(_) => Stage::Head,
            State::Ready { .. } | State::Body { .. } | State::Stream { .. } | State::Broken(_) => Stage::Body,
        }
    }

    /// The head of a request whose body is being gathered here.
    pub fn begun_head(&self) -> Option<Head<'_>> {
        let State::Body { head_len, .. } = self.state else { return None };
        Head::parse(&self.held[..head_len]).ok()
    }

    /// Bytes kept of a request that is not all there.
    pub fn held_bytes(&self) -> usize {
        if matches!(self.state, State::Lent { .. }) { 0 } else { self.held.len() }
    }

    /// True once for a request whose client waits for `100 Continue`, unless the body came anyway.
    pub fn take_owed_continue(&mut self) -> bool {
        std::mem::take(&mut self.owes_continue)
    }

    /// Takes what belongs to the next request into `held`; true when it is all there.
    fn hold(&mut self, input: &mut &[u8]) -> Result<bool, Fault> {
        if let State::Head(scanner) = self.state {
            match self.hold_head(scanner, input)? {
                Some(head_len) => self.begin_body(head_len)?,
                None => return Ok(false),
            }
        }
        if let State::Body { head_len, body } = self.state {
            self.hold_body(head_len, body, input)?;
        }
        match self.state {
            State::Ready { .. } => Ok(true),
            State::Body { .. } => Ok(false),
            State::Broken(fault) => Err(fault),
            _ => unreachable!("`next` was called in the middle of a streamed body"),
        }
    }

    /// A request that lies whole at the front of `input`, when nothing of it came before.
    fn take_straight<'b>(&mut self, input: &mut &'b [u8]) -> Result<Option<Request<'b>>, Fault> {
        if !matches!(self.state, State::Head(_)) || !self.held.is_empty() {
            return Ok(None);
        }
        let Some((head, head_len)) = self.head_at_front(input)? else { return Ok(None) };
        let (head_bytes, rest) = input.split_at(head_len);
        if (self.streams)(&head) {
            self.state = State::Stream { head_len: 0, body: BodyReader::new(head.framing) };
            self.owes_continue = head.expects_continue && rest.is_empty();
            *input = rest;
            return Ok(Some(Request { head, body: Body::Stream { head: head_bytes } }));
        }
        let Some(body_len) = whole_length(head.framing)? else { return Ok(None) };
        let Some((body, rest)) = rest.split_at_checked(body_len) else { return Ok(None) };
        *input = rest;
        Ok(Some(Request { head, body: Body::Whole(body) }))
    }

    /// The head at the front of `input` and its length; `None` when it is not all there.
    fn head_at_front<'b>(&mut self, input: &'b [u8]) -> Result<Option<(Head<'b>, usize)>, Fault> {
        if let Some(again) = self.last.before(input) {
            return Ok(Some(again));
        }
        let Some(len) = HeadScanner::default().scan(input)? else { return Ok(None) };
        let (head, meaning) = Head::read(&input[..len])?;
        self.last.keep(head.fields.section(), meaning);
        Ok(Some((head, len)))
    }

    /// Moves the head into `held`, byte for byte up to its end.
    fn hold_head(&mut self, mut scanner: HeadScanner, input: &mut &[u8]) -> Result<Option<usize>, Fault> {
        let room = limits::HEAD_BYTES_MAX - self.held.len();
        let (taken, _) = input.split_at(input.len().min(room));
        let before = self.held.len();
        self.held.extend_from_slice(taken);
        let end = scanner.scan(&self.held)?;
        self.state = State::Head(scanner);
        let head_end = end.unwrap_or(self.held.len());
        self.held.truncate(head_end);
        *input = &input[head_end - before..];
        Ok(end)
    }

    fn begin_body(&mut self, head_len: usize) -> Result<(), Fault> {
        let head = Head::parse(&self.held)?;
        let body = BodyReader::new(head.framing);
        self.owes_continue = head.expects_continue;
        self.state = if (self.streams)(&head) {
            State::Ready { head_len, streams: Some(body) }
        } else {
            let length = whole_length(head.framing)?.unwrap_or(0);
            self.held.reserve(length.min(limits::MIB));
            State::Body { head_len, body }
        };
        Ok(())
    }

    /// Moves the body into `held`.
    fn hold_body(&mut self, head_len: usize, mut body: BodyReader, input: &mut &[u8]) -> Result<(), Fault> {
        self.owes_continue &= input.is_empty();
        self.state = loop {
            match body.next(input)? {
                Part::Data(data) if self.held.len() - head_len + data.len() > limits::BODY_BYTES_MAX => {
                    return Err(Fault::BodyTooLarge);
                }
                Part::Data(data) => self.held.extend_from_slice(data),
                Part::More => break State::Body { head_len, body },
                Part::End => break State::Ready { head_len, streams: None },
            }
        };
        Ok(())
    }

    fn lend(&mut self) -> Result<Request<'_>, Fault> {
        let State::Ready { head_len, streams } = self.state else {
            unreachable!("only a request that is ready is lent");
        };
        let (head, whole) = self.held.split_at(head_len);
        let body = match streams {
            Some(body) => {
                self.state = State::Stream { head_len, body };
                Body::Stream { head }
            }
            None => {
                self.state = State::Lent { head_len };
                Body::Whole(whole)
            }
        };
        Ok(Request { head: Head::parse(head)?, body })
    }

    fn start_over(&mut self) {
        self.state = State::default();
        self.owes_continue = false;
        self.held.clear();
        if self.held.capacity() > HELD_BYTES_KEPT {
            self.held = Vec::new();
        }
    }
}

/// Length of a body that is taken whole; `None` when only its chunks tell.
fn whole_length(framing: Framing) -> Result<Option<usize>, Fault> {
    match framing {
        Framing::Absent => Ok(Some(0)),
        Framing::Chunked => Ok(None),
        Framing::Length(length) if length > limits::BODY_BYTES_MAX as u64 => Err(Fault::BodyTooLarge),
        Framing::Length(length) => Ok(Some(length as usize)),
    }
}
