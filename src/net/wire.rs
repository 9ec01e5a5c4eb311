//! A connection's two directions: bytes in, bytes out, and waiting for anything else meanwhile.
//!
//! Invariant: one send is under way at a time, so bytes leave in the order in which they were appended.
//! Invariant: a peer that does not read its answers is not read from beyond the connection's share of the room
//! ([`SeatGuard::share_bytes`]).

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::inbound::Inbound;
use super::seat::{Doing, SeatGuard};
use super::tls::session::TlsSession;
use crate::io::op::SendBuf;
use crate::io::runtime::{Runtime, Socket};
use crate::limits;
use crate::types::Mono;

/// What waiting for bytes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    More,
    /// The peer sends nothing any more.
    Ended,
    /// Nothing came in time.
    Expired,
    /// Nothing had begun when the server was told to drain.
    Drained,
}

pub struct Wire {
    runtime: Runtime,
    socket: Socket,
    seat: SeatGuard,
    /// Between the socket and everything here, when the port speaks TLS.
    tls: Option<Box<TlsSession>>,
    pub inbound: Inbound,
    /// Answers to be sent.
    pub out: Vec<u8>,
    /// The peer's stream is over.
    ended: bool,
    /// The peer takes nothing any more; what is sent is thrown away.
    gone: bool,
}

impl Wire {
    pub fn new(runtime: Runtime, socket: Socket, seat: SeatGuard, tls: Option<TlsSession>) -> Wire {
        Wire {
            runtime,
            socket,
            seat,
            tls: tls.map(Box::new),
            inbound: Inbound::default(),
            out: Vec::new(),
            ended: false,
            gone: false,
        }
    }

    pub fn now(&self) -> Mono {
        self.runtime.turn_start()
    }

    /// Who is at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.socket.peer()
    }

    pub fn random(&self) -> u64 {
        self.runtime.random()
    }

    /// Whether the core has room for this many bytes of an unfinished request of this connection.
    pub fn may_hold(&self, bytes: usize) -> bool {
        self.seat.hold(bytes)
    }

    /// Whether the core has room for a large answer of this connection, which is then set aside.
    pub fn set_aside(&self, bytes: usize) -> bool {
        self.seat.set_aside(bytes)
    }

    /// What the connection may have whatever the others keep.
    pub fn share_bytes(&self) -> usize {
        self.seat.share_bytes()
    }

    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// The server does not wait for the peer any more.
    pub fn is_cut(&self) -> bool {
        self.seat.is_cut()
    }

    pub fn is_draining(&self) -> bool {
        self.seat.is_draining()
    }

    /// Waits for more bytes.
    pub async fn fill(&mut self, doing: Doing) -> Filled {
        loop {
            if self.ended || self.gone {
                return Filled::Ended;
            }
            if doing == Doing::Idle {
                self.give_back_room();
            }
            // A handshake has the time of a head: who never ends one holds no place for longer.
            let shaking = self.tls.as_ref().is_some_and(|tls| tls.is_handshaking());
            self.seat.enter(if shaking { Doing::Head } else { doing }, self.runtime.turn_start());
            let filled = poll_fn(|cx| self.poll_fill(cx, doing)).await;
            if self.tls.is_none() {
                return filled;
            }
            self.send_of_protocol().await;
            // What came may be a part of a record, or the protocol's own.
            if filled != Filled::More || !self.inbound.is_empty() {
                return filled;
            }
        }
    }

    /// Room for large answers must not stay with every connection that once had some.
    fn give_back_room(&mut self) {
        if self.out.is_empty() && self.out.capacity() > limits::IDLE_ANSWER_BYTES {
            self.out = Vec::new();
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, doing: Doing) -> Poll<Filled> {
        match self.socket.poll_receive(cx) {
            Poll::Ready(Ok(Some(lease))) => {
                self.seat.made_progress(lease.len(), self.runtime.turn_start());
                match &mut self.tls {
                    None => self.inbound.add(lease),
                    Some(tls) => self.ended = open(tls, &lease, &mut self.inbound),
                }
                Poll::Ready(Filled::More)
            }
            Poll::Ready(Ok(None) | Err(_)) => {
                self.ended = true;
                Poll::Ready(Filled::Ended)
            }
            Poll::Pending if self.seat.is_cut() || self.seat.poll_expired(cx) => Poll::Ready(Filled::Expired),
            Poll::Pending if doing == Doing::Idle && self.seat.is_draining() => Poll::Ready(Filled::Drained),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Between two steps of long work.
    pub async fn let_others_go(&self) {
        self.runtime.yield_now().await;
    }

    /// Waits for the engine, taking in what arrives meanwhile.
    pub async fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.seat.enter(Doing::Answering, self.runtime.turn_start());
        self.inbound.settle();
        let mut future = pin!(future);
        poll_fn(|cx| {
            let polled = future.as_mut().poll(cx);
            if polled.is_pending() {
                absorb(&self.socket, &self.seat, &mut self.tls, &mut self.inbound, &mut self.ended, cx);
            }
            polled
        })
        .await
    }

    /// Sends everything that was appended to `out`.
    pub async fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let out = std::mem::take(&mut self.out);
        if self.tls.is_some() {
            self.send_sealed(&out).await;
            return self.keep_room(out);
        }
        if out.len() > limits::SEND_PIECE_BYTES {
            return self.send_pieces(out.into(), 0).await;
        }
        if let Some(SendBuf::Owned(sent)) = self.send(SendBuf::Owned(out)).await {
            self.keep_room(sent);
        }
    }

    /// For the next answers. A page of large records must not stay with every connection that once sent one.
    fn keep_room(&mut self, mut sent: Vec<u8>) {
        if sent.capacity() <= 2 * self.seat.share_bytes() {
            sent.clear();
            self.out = sent;
        }
    }

    /// Whether enough has gathered to be sent.
    pub fn is_large(&self) -> bool {
        self.out.len() >= self.seat.share_bytes()
    }

    pub async fn flush_if_large(&mut self) {
        if self.is_large() {
            self.flush().await;
        }
    }

    /// Sends a value from where it lies, behind what was appended before.
    pub async fn send_shared(&mut self, bytes: Arc<[u8]>, start: usize) {
        self.flush().await;
        match self.tls {
            None => self.send_pieces(bytes, start).await,
            Some(_) => self.send_sealed(&bytes[start..]).await,
        }
    }

    /// Sends bytes in records.
    async fn send_sealed(&mut self, plain: &[u8]) {
        for piece in plain.chunks(limits::SEND_PIECE_BYTES) {
            let mut records = Vec::new();
            match &mut self.tls {
                Some(tls) if !self.gone => tls.seal(piece, &mut records),
                _ => return,
            }
            self.send(SendBuf::Owned(records)).await;
        }
    }

    /// Sends what TLS itself has to say.
    async fn send_of_protocol(&mut self) {
        let mut records = Vec::new();
        if let Some(tls) = &mut self.tls {
            tls.take_output(&mut records);
        }
        if !records.is_empty() {
            self.send(SendBuf::Owned(records)).await;
        }
    }

    /// Sends what is left; under TLS also that nothing follows.
    pub async fn finish(&mut self) {
        self.flush().await;
        if let Some(tls) = &mut self.tls {
            tls.close();
            self.send_of_protocol().await;
        }
    }

    /// Each piece has its own time, so that a slow reader's progress counts.
    async fn send_pieces(&mut self, bytes: Arc<[u8]>, mut start: usize) {
        while start < bytes.len() && !self.gone {
            let end = bytes.len().min(start + limits::SEND_PIECE_BYTES);
            self.send(SendBuf::Shared { bytes: bytes.clone(), start, end }).await;
            start = end;
        }
    }

    /// Gives the buffer back when the peer took it all.
    async fn send(&mut self, buf: SendBuf) -> Option<SendBuf> {
        if self.gone {
            return None;
        }
        self.inbound.settle();
        self.seat.enter(Doing::Sending, self.runtime.turn_start());
        self.seat.restart(self.runtime.turn_start());
        let mut sending = pin!(self.socket.send(buf));
        let sent = poll_fn(|cx| {
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(sent.ok());
            }
            absorb(&self.socket, &self.seat, &mut self.tls, &mut self.inbound, &mut self.ended, cx);
            if self.seat.poll_expired(cx) { Poll::Ready(None) } else { Poll::Pending }
        })
        .await;
        self.gone = sent.is_none();
        sent
    }

    /// Reads on for a while without a use for it: closing a socket with unread bytes would reset the
    /// connection and could take the last answer with it.
    pub async fn linger(&mut self) {
        let mut left = limits::LINGER_BYTES_MAX;
        while left > 0 && self.fill(Doing::Lingering).await == Filled::More {
            left = left.saturating_sub(self.inbound.len());
            self.inbound.clear();
        }
    }
}

/// Takes in what has arrived, up to the bound.
fn absorb(
    socket: &Socket,
    seat: &SeatGuard,
    tls: &mut Option<Box<TlsSession>>,
    inbound: &mut Inbound,
    ended: &mut bool,
    cx: &mut Context<'_>,
) {
    while !*ended && inbound.len() < seat.share_bytes() {
        match (socket.poll_receive(cx), &mut *tls) {
            (Poll::Ready(Ok(Some(lease))), None) => inbound.add_copied(&lease),
            (Poll::Ready(Ok(Some(lease))), Some(tls)) => *ended = open(tls, &lease, inbound),
            (Poll::Ready(Ok(None) | Err(_)), _) => *ended = true,
            (Poll::Pending, _) => break,
        }
    }
}

/// Takes bytes out of their records. True when nothing follows, also because of a fault: then an alert waits to be sent.
fn open(tls: &mut TlsSession, sealed: &[u8], inbound: &mut Inbound) -> bool {
    tls.open(sealed, inbound.room()).unwrap_or_else(|fault| {
        tracing::debug!(%fault, "a TLS connection ends");
        true
    })
}
