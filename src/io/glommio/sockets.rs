//! Connections.
//!
//! glommio tells when a socket is ready; bytes and connections are then moved by calls that do not wait. So an operation
//! that is given up in between has lost nothing.

use std::future::poll_fn;
use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio::timer::sleep;

use super::handles::{Listener, Socket};
use super::state::State;
use crate::io::lease::Lease;
use crate::io::op::{Outcome, SendBuf, Token};
use crate::io::uring::buffers::Flow;
use crate::io::uring::sockaddr::local_addr;
use crate::io::uring::sockets::{self, ACCEPT_REST, AfterFailure, after_failed_accept};
use crate::limits;

/// glommio watches the descriptor from now on. Only within its executor.
pub(super) fn watched(socket: OwnedFd) -> TcpStream {
    // SAFETY: an open descriptor that nobody else owns.
    unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) }
}

pub(super) fn listen(state: &State, addr: SocketAddr) -> io::Result<Outcome> {
    let (socket, _) = sockets::listen(addr)?;
    take_over(state, socket)
}

/// The socket never waits from now on, for others that share it neither.
pub(super) fn take_over(state: &State, socket: OwnedFd) -> io::Result<Outcome> {
    let addr = local_addr(socket.as_raw_fd())?;
    let socket = net::TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    Ok(Outcome::Listening { listener: state.handles.borrow_mut().insert_listener(socket), addr })
}

pub(super) fn shutdown(socket: &Socket) -> io::Result<Outcome> {
    sockets::shutdown(socket.stream.borrow().as_raw_fd())?;
    Ok(Outcome::Done)
}

/// glommio's own accept switches the socket between waiting and not, which other cores may share, and loses a
/// connection that comes while it is given up.
pub(super) async fn accept(state: Rc<State>, token: Token, listener: Rc<Listener>) -> io::Result<Outcome> {
    loop {
        let error = match listener.socket.accept() {
            Ok((socket, peer)) => {
                let socket = state.handles.borrow_mut().insert_socket(watched(socket.into()));
                state.emit(token, Outcome::Accepted { socket, peer });
                continue;
            }
            Err(error) => error,
        };
        match after_failed_accept(&error) {
            AfterFailure::Again if error.kind() == io::ErrorKind::WouldBlock => {
                connection_waits(&listener.socket).await;
            }
            AfterFailure::Again => {}
            AfterFailure::Rest => sleep(ACCEPT_REST).await,
            AfterFailure::End => return Err(error),
        }
    }
}

/// glommio waits for a descriptor only before it reads from it. Reading from a listener fails, as soon as a connection is
/// there, and does no harm.
async fn connection_waits(listener: &net::TcpListener) {
    let Ok(copy) = listener.as_fd().try_clone_to_owned() else {
        // No descriptor left.
        return sleep(ACCEPT_REST).await;
    };
    let mut stream = watched(copy);
    let _ = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut [0])).await;
}

pub(super) async fn connect(state: Rc<State>, addr: SocketAddr) -> io::Result<Outcome> {
    let stream = TcpStream::connect(addr).await.map_err(io::Error::from)?;
    stream.set_nodelay(true).map_err(io::Error::from)?;
    Ok(Outcome::Opened(state.handles.borrow_mut().insert_socket(stream)))
}

pub(super) async fn receive(state: Rc<State>, token: Token, socket: Rc<Socket>) -> io::Result<Outcome> {
    let mut inflow = Inflow { state: &state, socket: &socket, flow: Rc::default(), paused: false };
    while let Some(lease) = poll_fn(|cx| inflow.poll_lease(cx)).await? {
        state.emit(token, Outcome::Received(lease));
    }
    Ok(Outcome::Received(state.buffers.end_of_stream()))
}

/// The bytes that arrive at one socket.
struct Inflow<'a> {
    state: &'a State,
    socket: &'a Socket,
    flow: Rc<Flow>,
    /// Until its reader has given half of its buffers back.
    paused: bool,
}

impl Inflow<'_> {
    /// `None` at the end of the peer's stream. No buffer is held while nothing is there.
    fn poll_lease(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Lease>>> {
        let buffers = &self.state.buffers;
        self.paused =
            if self.paused { !buffers.is_drained(&self.flow) } else { buffers.is_flooded(&self.flow) };
        let picked = if self.paused { None } else { buffers.pick() };
        let Some(id) = picked else {
            self.state.await_buffers(cx);
            return Poll::Pending;
        };
        let start = buffers.address(id).as_ptr();
        // SAFETY: a buffer from the list is initialised and ours alone, until it is lent or supplied again.
        let memory = unsafe { std::slice::from_raw_parts_mut(start, limits::RECEIVE_BUFFER_BYTES) };
        match Pin::new(&mut *self.socket.stream.borrow_mut()).poll_read(cx, memory) {
            Poll::Ready(Ok(count @ 1..)) => Poll::Ready(Ok(Some(buffers.lend(id, count, &self.flow)))),
            nothing => {
                buffers.supply(id);
                nothing.map_ok(|_end| None)
            }
        }
    }
}

pub(super) async fn send(socket: Rc<Socket>, buf: SendBuf) -> io::Result<Outcome> {
    let _turn = socket.sending.acquire_permit(1).await.map_err(io::Error::from)?;
    let mut done = 0;
    poll_fn(|cx| -> Poll<io::Result<()>> {
        while done < buf.bytes().len() {
            let mut stream = socket.stream.borrow_mut();
            match ready!(Pin::new(&mut *stream).poll_write(cx, &buf.bytes()[done..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => done += count,
            }
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    Ok(Outcome::Sent(buf))
}
