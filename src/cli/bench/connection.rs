//! One connection of the load generator: fills its pipeline, sends, and judges what comes back.
//!
//! Sending and receiving go on at the same time, so that two full socket buffers cannot wait for each
//! other. In the closed loop an operation starts when one before it is answered; in the open loop at
//! its own time, and its latency counts from there even when the connection was late to send it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::super::api_key::ApiKeyLine;
use super::super::client::kv_path;
use super::super::values::mix;
use super::super::wire::{Head, parse_body, parse_head};
use super::load::{Load, Request};
use crate::io::lease::Lease;
use crate::io::op::SendBuf;
use crate::io::runtime::{Runtime, Socket};
use crate::types::Mono;

/// The open loop's schedule of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub next: Mono,
    pub step: Duration,
}

impl Pace {
    /// The time of the next operation; the one after it comes a step later.
    fn take(&mut self) -> Mono {
        let at = self.next;
        self.next = at.after(self.step);
        at
    }
}

/// The same for every connection.
#[derive(Clone, Debug)]
pub struct Settings {
    pub authority: String,
    pub collection: String,
    pub pipeline: usize,
    pub api_key: ApiKeyLine,
    /// A whole header line, or nothing.
    pub durability_header: String,
}

pub struct Connection<'a> {
    runtime: Runtime,
    socket: &'a Socket,
    settings: Settings,
    path: String,
    load: Rc<RefCell<Load>>,
    pace: Option<Pace>,
    /// Requests in the order of their answers, with the time from which each counts.
    in_flight: VecDeque<(Request, Mono)>,
    out: Vec<u8>,
    received: Vec<u8>,
    value: Vec<u8>,
}

type Sending<'a> = Pin<Box<dyn Future<Output = io::Result<SendBuf>> + 'a>>;

enum Event {
    Received(Lease),
    Sent(Vec<u8>),
    Due,
}

impl<'a> Connection<'a> {
    pub fn new(
        runtime: &Runtime,
        socket: &'a Socket,
        settings: Settings,
        load: Rc<RefCell<Load>>,
        pace: Option<Pace>,
    ) -> Connection<'a> {
        let path = kv_path(&settings.collection, None);
        Connection {
            runtime: runtime.clone(),
            socket,
            settings,
            path,
            load,
            pace,
            in_flight: VecDeque::new(),
            out: Vec::new(),
            received: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Until no operation is left to start and all are answered.
    pub async fn run(mut self) -> io::Result<()> {
        let socket = self.socket;
        let mut sending: Option<Sending<'a>> = None;
        let mut spare = Vec::new();
        loop {
            self.fill();
            if sending.is_none() && !self.out.is_empty() {
                let bytes = std::mem::replace(&mut self.out, std::mem::take(&mut spare));
                sending = Some(Box::pin(socket.send(SendBuf::Owned(bytes))));
            }
            let is_over = self.load.borrow().left == 0;
            if is_over && self.in_flight.is_empty() && sending.is_none() {
                return Ok(());
            }
            match self.event(&mut sending).await? {
                Event::Received(lease) => self.take(&lease)?,
                Event::Sent(buffer) => (spare, sending) = (buffer, None),
                Event::Due => {}
            }
        }
    }

    /// Starts operations while the pipeline has room and, in the open loop, their time has come.
    fn fill(&mut self) {
        let now = self.runtime.now();
        while self.in_flight.len() < self.settings.pipeline {
            let since = match &mut self.pace {
                None => now,
                Some(pace) if pace.next > now => return,
                Some(pace) => pace.take(),
            };
            let Some(request) = self.load.borrow_mut().next() else { return };
            self.start(request, since);
        }
    }

    fn start(&mut self, request: Request, since: Mono) {
        self.in_flight.push_back((request, since));
        let (host, path, key) = (&self.settings.authority, &self.path, self.settings.api_key.line());
        match request {
            Request::Read { record, .. } => {
                append(
                    &mut self.out,
                    format_args!("GET {path}/{} HTTP/1.1\r\nHost: {host}\r\n{key}\r\n", mix(record)),
                );
            }
            Request::Scan { start, limit } => {
                append(
                    &mut self.out,
                    format_args!(
                        "GET {path}?start={start}&limit={limit} HTTP/1.1\r\nHost: {host}\r\n{key}\r\n"
                    ),
                );
            }
            Request::Put { record, version } => {
                self.value.clear();
                self.load.borrow().append_value(record, version, &mut self.value);
                append(
                    &mut self.out,
                    format_args!(
                        "PUT {path}/{} HTTP/1.1\r\nHost: {host}\r\n{key}Content-Length: {}\r\n{}\r\n",
                        mix(record),
                        self.value.len(),
                        self.settings.durability_header
                    ),
                );
                self.out.extend_from_slice(&self.value);
            }
        }
    }

    async fn event(&mut self, sending: &mut Option<Sending<'a>>) -> io::Result<Event> {
        let has_room = self.in_flight.len() < self.settings.pipeline && self.load.borrow().left > 0;
        let due = self.pace.filter(|_| has_room).map(|pace| pace.next);
        let mut sleep = due.map(|at| self.runtime.sleep_until(at));
        poll_fn(|cx| {
            if let Some(Poll::Ready(sent)) = sending.as_mut().map(|sending| sending.as_mut().poll(cx)) {
                return Poll::Ready(sent.map(|buffer| Event::Sent(emptied(buffer))));
            }
            if let Poll::Ready(received) = self.socket.poll_receive(cx) {
                return Poll::Ready(match received? {
                    Some(lease) => Ok(Event::Received(lease)),
                    None => Err(io::ErrorKind::UnexpectedEof.into()),
                });
            }
            match sleep.as_mut().map(|sleep| Pin::new(sleep).poll(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(Ok(Event::Due)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    fn take(&mut self, lease: &[u8]) -> io::Result<()> {
        let mut received = std::mem::take(&mut self.received);
        received.extend_from_slice(lease);
        let now = self.runtime.now();
        let mut at = 0;
        while let Some(head) = parse_head(&received[at..])? {
            let Some((body, len)) = parse_body(&received[at + head.len..], head.framing)? else { break };
            self.answered(&head, &body, now)?;
            at += head.len + len;
        }
        received.drain(..at);
        self.received = received;
        Ok(())
    }

    fn answered(&mut self, head: &Head, body: &[u8], now: Mono) -> io::Result<()> {
        let Some((request, since)) = self.in_flight.pop_front() else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer without a request"));
        };
        let mut load = self.load.borrow_mut();
        let is_shed = load.is_shed(request, head.status, head.retry_after);
        let is_right = !is_shed && load.judge(request, head.status, body);
        match request {
            Request::Read { record, then_write: true, .. } if is_right => {
                let put = load.put(record);
                drop(load);
                self.start(put, since);
            }
            // A record that has to be there is sent until it is.
            Request::Put { record, .. } if is_shed && load.is_filling() => {
                let put = load.put(record);
                drop(load);
                self.start(put, since);
            }
            _ => load.finish(now.since(since)),
        }
        Ok(())
    }
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    io::Write::write_fmt(out, text).expect("a vector takes everything");
}

/// The memory of a buffer that was sent, for the next.
fn emptied(buffer: SendBuf) -> Vec<u8> {
    match buffer {
        SendBuf::Owned(mut bytes) => {
            bytes.clear();
            bytes
        }
        SendBuf::Shared { .. } => Vec::new(),
    }
}
