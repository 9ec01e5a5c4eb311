//! A connection's two directions: bytes in, bytes out, and waiting for anything else meanwhile.
//!
//! Invariant: one send is under way at a time, so bytes leave in the order in which they were appended.
//! Invariant: a peer that does not read its answers is not read from beyond
//! [`limits::UNREAD_BYTES_MAX`].

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::inbound::Inbound;
use super::seat::{Doing, SeatGuard};
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
    pub inbound: Inbound,
    /// Answers to be sent.
    pub out: Vec<u8>,
    /// The peer's stream is over.
    ended: bool,
    /// The peer takes nothing any more; what is sent is thrown away.
    gone: bool,
}

impl Wire {
    pub fn new(runtime: Runtime, socket: Socket, seat: SeatGuard) -> Wire {
        Wire {
            runtime,
            socket,
            seat,
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

    pub fn is_gone(&self) -> bool {
        self.gone
    }

    pub fn is_draining(&self) -> bool {
        self.seat.is_draining()
    }

    /// Waits for more bytes.
    pub async fn fill(&mut self, doing: Doing) -> Filled {
        if self.ended || self.gone {
            return Filled::Ended;
        }
        if doing == Doing::Idle {
            self.give_back_room();
        }
        self.seat.enter(doing, self.runtime.turn_start());
        poll_fn(|cx| self.poll_fill(cx, doing)).await
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
                self.inbound.add(lease);
                Poll::Ready(Filled::More)
            }
            Poll::Ready(Ok(None) | Err(_)) => {
                self.ended = true;
                Poll::Ready(Filled::Ended)
            }
            Poll::Pending if self.seat.poll_expired(cx) => Poll::Ready(Filled::Expired),
            Poll::Pending if doing == Doing::Idle && self.seat.is_draining() => Poll::Ready(Filled::Drained),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Waits for the engine, taking in what arrives meanwhile.
    pub async fn wait<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.seat.enter(Doing::Answering, self.runtime.turn_start());
        self.inbound.settle();
        let mut future = pin!(future);
        poll_fn(|cx| {
            let polled = future.as_mut().poll(cx);
            if polled.is_pending() {
                absorb(&self.socket, &mut self.inbound, &mut self.ended, cx);
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
        if out.len() > limits::SEND_PIECE_BYTES {
            return self.send_pieces(out.into(), 0).await;
        }
        if let Some(SendBuf::Owned(mut sent)) = self.send(SendBuf::Owned(out)).await {
            sent.clear();
            // A page of large records must not stay with every connection that once sent one.
            if sent.capacity() <= 2 * limits::SEND_BATCH_BYTES_MAX {
                self.out = sent;
            }
        }
    }

    /// As `flush`, when enough has gathered.
    pub async fn flush_if_large(&mut self) {
        if self.out.len() >= limits::SEND_BATCH_BYTES_MAX {
            self.flush().await;
        }
    }

    /// Sends a value from where it lies, behind what was appended before.
    pub async fn send_shared(&mut self, bytes: Arc<[u8]>, start: usize) {
        self.flush().await;
        self.send_pieces(bytes, start).await;
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
            absorb(&self.socket, &mut self.inbound, &mut self.ended, cx);
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
fn absorb(socket: &Socket, inbound: &mut Inbound, ended: &mut bool, cx: &mut Context<'_>) {
    while !*ended && inbound.len() < limits::UNREAD_BYTES_MAX {
        match socket.poll_receive(cx) {
            Poll::Ready(Ok(Some(lease))) => inbound.add_copied(&lease),
            Poll::Ready(Ok(None) | Err(_)) => *ended = true,
            Poll::Pending => break,
        }
    }
}
