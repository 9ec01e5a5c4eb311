//! The open files and sockets of one core.
//!
//! Invariant: a descriptor is released for closing only when no operation uses it any more.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use slab::Slab;

use crate::io::op::{Handle, Token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A close waits for operations under way: they end soon, and a write that was begun should end well.
    File,
    /// A close cancels operations under way: they might wait for the peer for ever.
    Socket,
}

/// A handle and its descriptor, for an operation that is attached to the handle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub handle: Handle,
    pub fd: RawFd,
}

struct Open {
    /// Taken out when the kernel is asked to close it.
    fd: Option<OwnedFd>,
    kind: Kind,
    /// Operations under way, the close not among them.
    users: Vec<Token>,
    /// The close that waits for the users to end.
    closing: Option<Token>,
}

#[derive(Default)]
pub(super) struct Handles {
    open: Slab<Open>,
}

impl Handles {
    pub fn insert(&mut self, fd: OwnedFd, kind: Kind) -> Handle {
        let index = self.open.insert(Open { fd: Some(fd), kind, users: Vec::new(), closing: None });
        Handle(u32::try_from(index).expect("fewer descriptors than 2^32"))
    }

    /// The descriptor of a handle that is open and not being closed.
    pub fn target(&self, handle: Handle) -> io::Result<Target> {
        match self.open.get(handle.0 as usize) {
            Some(Open { fd: Some(fd), closing: None, .. }) => Ok(Target { handle, fd: fd.as_raw_fd() }),
            _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    /// The operation uses the handle from now on.
    pub fn attach(&mut self, handle: Handle, user: Token) {
        let open = self.get(handle);
        assert!(open.closing.is_none(), "an operation on a handle that is being closed");
        open.users.push(user);
    }

    /// The operation has ended. Returns the close that waited for it, when it was the last.
    #[must_use]
    pub fn detach(&mut self, handle: Handle, user: Token) -> Option<Token> {
        let open = self.get(handle);
        let place = open.users.iter().position(|token| *token == user).expect("an operation attached before");
        open.users.swap_remove(place);
        if open.users.is_empty() { open.closing } else { None }
    }

    /// From now on the handle takes no operations. Returns those that have to be cancelled.
    pub fn begin_close(&mut self, handle: Handle, close: Token) -> Vec<Token> {
        let open = self.get(handle);
        assert!(open.closing.is_none(), "a handle closed twice");
        open.closing = Some(close);
        match open.kind {
            Kind::File => Vec::new(),
            Kind::Socket => open.users.clone(),
        }
    }

    pub fn is_used(&self, handle: Handle) -> bool {
        !self.open[handle.0 as usize].users.is_empty()
    }

    /// Gives the descriptor up to the kernel, which is going to close it.
    pub fn release(&mut self, handle: Handle) {
        let open = self.get(handle);
        assert!(open.users.is_empty(), "a descriptor closed under an operation");
        let _ = open.fd.take().expect("a descriptor closed once").into_raw_fd();
    }

    /// The kernel has closed it: the handle may name another file.
    pub fn remove(&mut self, handle: Handle) {
        let open = self.open.remove(handle.0 as usize);
        assert!(open.users.is_empty() && open.fd.is_none(), "a handle freed before it was closed");
    }

    fn get(&mut self, handle: Handle) -> &mut Open {
        self.open.get_mut(handle.0 as usize).expect("an open handle")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn open() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_close_waits_for_the_last_user() {
        let mut handles = Handles::default();
        let file = handles.insert(open(), Kind::File);
        handles.attach(file, Token(1));
        handles.attach(file, Token(2));
        assert!(handles.begin_close(file, Token(3)).is_empty());
        assert_eq!(handles.target(file).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(handles.detach(file, Token(1)), None);
        assert_eq!(handles.detach(file, Token(2)), Some(Token(3)));
    }

    #[test]
    fn a_close_cancels_the_users_of_a_socket() {
        let mut handles = Handles::default();
        let socket = handles.insert(open(), Kind::Socket);
        handles.attach(socket, Token(1));
        assert_eq!(handles.begin_close(socket, Token(2)), [Token(1)]);
        assert!(handles.is_used(socket));
    }

    #[test]
    #[should_panic(expected = "under an operation")]
    fn a_descriptor_in_use_is_not_released() {
        let mut handles = Handles::default();
        let file = handles.insert(open(), Kind::File);
        handles.attach(file, Token(1));
        handles.release(file);
    }
}
