//! Requests on sockets: accept, connect, send.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use io_uring::{opcode, squeue, types};

use super::handles::{Handles, Kind, Target};
use super::probe::Features;
use super::sockaddr::{SockAddr, peer_addr};
use super::sockets::{self, AfterFailure, tcp_socket};
use super::work::{Answer, Next, Work};
use crate::io::op::{Outcome, SendBuf};

/// Most bytes that one request sends.
const SEND_BYTES_MAX: usize = 1 << 30;

static ACCEPT_REST: types::Timespec = types::Timespec::new().nsec(sockets::ACCEPT_REST.subsec_nanos());

pub(super) struct Accept {
    pub listener: Target,
    resting: bool,
}

impl Accept {
    pub fn new(listener: Target) -> Accept {
        Accept { listener, resting: false }
    }

    pub fn entry(&self, features: &Features) -> squeue::Entry {
        let listener = types::Fd(self.listener.fd);
        if self.resting {
            opcode::Timeout::new(&ACCEPT_REST).build()
        } else if features.multishot_accept {
            opcode::AcceptMulti::new(listener).flags(libc::SOCK_CLOEXEC).build()
        } else {
            let nowhere = std::ptr::null_mut();
            opcode::Accept::new(listener, nowhere, nowhere.cast()).flags(libc::SOCK_CLOEXEC).build()
        }
    }

    pub fn advance(self, answer: Answer, handles: &mut Handles, mut emit: impl FnMut(Outcome)) -> Next {
        match answer.result {
            Ok(fd) => {
                if let Some(accepted) = accepted(fd, handles) {
                    emit(accepted);
                }
                if answer.more { Next::Stay(Work::Accept(self)) } else { self.again(false) }
            }
            Err(error) if self.resting && error.raw_os_error() == Some(libc::ETIME) => self.again(false),
            Err(error) => match sockets::after_failed_accept(&error) {
                AfterFailure::Again => self.again(false),
                AfterFailure::Rest => self.again(true),
                AfterFailure::End => Next::End(Outcome::Failed(error)),
            },
        }
    }

    fn again(self, resting: bool) -> Next {
        Next::Again(Work::Accept(Accept { resting, ..self }))
    }
}

/// `None` when the peer is gone already.
fn accepted(fd: u32, handles: &mut Handles) -> Option<Outcome> {
    // SAFETY: the kernel has just opened it for this request, and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let peer = peer_addr(socket.as_raw_fd()).ok()?;
    Some(Outcome::Accepted { socket: handles.insert(socket, Kind::Socket), peer })
}

pub(super) struct Connect {
    socket: OwnedFd,
    /// In a place of its own, for the kernel to read.
    addr: Box<SockAddr>,
}

impl Connect {
    pub fn new(addr: SocketAddr) -> io::Result<Connect> {
        Ok(Connect { socket: tcp_socket(addr)?, addr: Box::new(addr.into()) })
    }

    pub fn entry(&self) -> squeue::Entry {
        opcode::Connect::new(types::Fd(self.socket.as_raw_fd()), self.addr.as_ptr(), self.addr.len()).build()
    }

    pub fn advance(self, answer: Answer, handles: &mut Handles) -> Next {
        Next::End(match answer.result {
            Ok(_) => Outcome::Opened(handles.insert(self.socket, Kind::Socket)),
            Err(error) => Outcome::Failed(error),
        })
    }
}

/// A buffer on its way to a socket; the first `done` bytes were taken by the kernel.
pub(super) struct Send {
    pub socket: Target,
    buf: SendBuf,
    done: usize,
}

impl Send {
    pub fn new(socket: Target, buf: SendBuf) -> Send {
        Send { socket, buf, done: 0 }
    }

    pub fn entry(&self) -> squeue::Entry {
        let rest = &self.buf.bytes()[self.done..];
        opcode::Send::new(types::Fd(self.socket.fd), rest.as_ptr(), rest.len().min(SEND_BYTES_MAX) as u32)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build()
    }

    pub fn advance(mut self, answer: Answer) -> Next {
        let count = match answer.result {
            Ok(count) => count as usize,
            Err(error) => return Next::End(Outcome::Failed(error)),
        };
        self.done += count;
        if self.done == self.buf.bytes().len() {
            return Next::End(Outcome::Sent(self.buf));
        }
        if count == 0 {
            return Next::End(Outcome::Failed(io::ErrorKind::WriteZero.into()));
        }
        Next::Again(Work::Send(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::op::Handle;

    const NOWHERE: Target = Target { handle: Handle(0), fd: -1 };

    fn failing(code: i32) -> Answer {
        Answer { result: Err(io::Error::from_raw_os_error(code)), more: false, buffer: None }
    }

    fn accept_after(accept: Accept, code: i32) -> Option<Accept> {
        let nothing = |outcome| panic!("nothing arrived: {outcome:?}");
        match accept.advance(failing(code), &mut Handles::default(), nothing) {
            Next::Again(Work::Accept(accept)) => Some(accept),
            _ => None,
        }
    }

    #[test]
    fn a_listener_outlives_the_failures_of_connections() {
        let again = |code| accept_after(Accept::new(NOWHERE), code).map(|accept| accept.resting);
        assert_eq!(again(libc::ECONNABORTED), Some(false));
        assert_eq!(again(libc::EMFILE), Some(true), "asking again at once would spin");
        assert_eq!(again(libc::ECANCELED), None);
        assert_eq!(again(libc::EINVAL), None);
        let resting = accept_after(Accept::new(NOWHERE), libc::ENFILE).expect("a listener at rest");
        assert!(accept_after(resting, libc::ETIME).is_some_and(|accept| !accept.resting));
    }

    #[test]
    fn a_short_send_goes_on() {
        let sent = |count| Answer { result: Ok(count), more: false, buffer: None };
        let send = Send::new(NOWHERE, SendBuf::Owned(vec![1; 10]));
        let Next::Again(Work::Send(rest)) = send.advance(sent(4)) else { panic!("it goes on") };
        assert_eq!(rest.done, 4);
        assert!(matches!(rest.advance(sent(6)), Next::End(Outcome::Sent(buf)) if buf.bytes() == [1; 10]));
        let stuck = Send::new(NOWHERE, SendBuf::Owned(vec![1; 10])).advance(sent(0));
        assert!(matches!(stuck, Next::End(Outcome::Failed(e)) if e.kind() == io::ErrorKind::WriteZero));
    }
}
