//! The server of one core: takes connections, bounds their number, drains them at the end.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::access::caller::Caller;
use super::access::shared::Access;
use super::connection::Connection;
use super::drain::Drain;
use super::seat::Seats;
use super::tls::identity::Identity;
use super::tls::session::TlsSession;
use super::wire::Wire;
use crate::io::executor::Class;
use crate::io::runtime::{Listener, Runtime, Socket};
use crate::limits;
use crate::shard::node::Node;

/// Pause after an accept that failed, for want of file descriptors for example.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub struct Options {
    /// One log line per answer, at the level info.
    pub log_requests: bool,
    /// Connections of this core; see [`connections_max`].
    pub connections_max: usize,
    /// What they may take together; see [`connections_room`].
    pub room_bytes: usize,
    /// The same for all cores.
    pub access: Access,
    /// Time for what has begun when the drain begins.
    pub drain_for: Duration,
    /// What TLS connections use; without it the port speaks plain HTTP.
    pub tls: Option<Arc<Identity>>,
}

/// A core's part of the bound on connections.
pub fn connections_max(shards: usize) -> usize {
    limits::CONNECTIONS_MAX.div_ceil(shards.max(1))
}

/// Bytes for unfinished requests of a core whose shard has so much memory, and as many for large answers.
pub fn connections_room(memory_bytes: u64) -> usize {
    let part = (memory_bytes / limits::MEMORY_BYTES_PER_CONNECTION_BYTE) as usize;
    part.clamp(limits::CONNECTIONS_ROOM_BYTES_MIN, limits::CONNECTIONS_ROOM_BYTES_MAX)
}

/// Serves until the drain is over: every request that was read is answered and every connection closed, but for those that
/// are cut. A peer that sends half a request, or does not read its answer, is waited for as long as the options say.
pub async fn serve(node: Node, mut listener: Listener, options: Options, drain: Drain) {
    let seats = Seats::new(options.room_bytes);
    let server = Server { runtime: node.runtime().clone(), node, options, seats };
    let sweep = sweep(server.runtime.clone(), server.seats.clone(), drain.clone());
    server.runtime.spawn(Class::Foreground, sweep);
    first_of(server.accept_all(&mut listener), drain.begun()).await;
    drop(listener);
    drain.begun().await;
    server.end_connections().await;
}

struct Server {
    runtime: Runtime,
    node: Node,
    options: Options,
    seats: Seats,
}

impl Server {
    /// Ends when the listener does.
    async fn accept_all(&self, listener: &mut Listener) {
        loop {
            match listener.accept().await {
                Ok(Some(socket)) => self.admit(socket),
                Ok(None) => break,
                Err(error) => self.rest_after(&error).await,
            }
        }
        tracing::error!(address = %listener.addr(), "the listener was closed; no more connections are taken");
    }

    fn admit(&self, socket: Socket) {
        let taken = self.seats.len();
        if taken >= self.options.connections_max + limits::REFUSALS_MAX {
            return; // closed unanswered: even refusals are bounded
        }
        let Ok(tls) = self.new_session().inspect_err(|error| tracing::error!(%error, "no TLS session"))
        else {
            return;
        };
        let seat = self.seats.take(self.runtime.turn_start());
        let wire = Wire::new(self.runtime.clone(), socket, seat, tls);
        let caller = Caller::new(self.options.access.clone(), wire.peer(), self.runtime.turn_start());
        let connection = Connection::new(self.node.clone(), wire, caller, self.options.log_requests);
        if taken >= self.options.connections_max {
            self.runtime.spawn(Class::Foreground, connection.refuse());
        } else {
            self.runtime.spawn(Class::Foreground, connection.run());
        }
    }

    async fn end_connections(&self) {
        self.seats.drain();
        if self.runtime.timeout(self.options.drain_for, self.seats.emptied()).await.is_some() {
            return;
        }
        tracing::warn!(connections = self.seats.len(), "cut: their clients did not end in time");
        self.seats.cut();
        // What is left waits for the engine, which ends too.
        let _ = self.runtime.timeout(limits::CUT_PATIENCE, self.seats.emptied()).await;
    }

    fn new_session(&self) -> Result<Option<TlsSession>, rustls::Error> {
        self.options.tls.as_ref().map(|identity| TlsSession::new(identity.current())).transpose()
    }

    async fn rest_after(&self, error: &io::Error) {
        tracing::warn!(%error, "a connection could not be accepted");
        self.runtime.sleep(ACCEPT_RETRY).await;
    }
}

/// Looks for connections whose time is up, until the last one has left.
async fn sweep(runtime: Runtime, seats: Seats, drain: Drain) {
    while !(drain.is_begun() && seats.is_empty()) {
        runtime.sleep(limits::SWEEP_PERIOD).await;
        seats.sweep(runtime.now());
    }
}

/// Completes with the first of the two.
async fn first_of(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await
}
