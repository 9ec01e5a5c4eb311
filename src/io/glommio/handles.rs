//! The open files and sockets of one core.
//!
//! An operation holds what it works on, so a number that is closed and taken again never names another file to it, and
//! the descriptor goes with the last operation.

use std::cell::RefCell;
use std::io;
use std::net;
use std::rc::Rc;

use glommio::io::DmaFile;
use glommio::net::TcpStream;
use glommio::sync::Semaphore;
use slab::Slab;

use super::state::Users;
use crate::io::op::Handle;

pub(super) struct Socket {
    pub stream: RefCell<TcpStream>,
    /// For the one that sends: two that wait on one stream lose a wake-up of glommio's.
    pub sending: Semaphore,
    pub users: Users,
}

pub(super) struct Listener {
    /// Does not wait.
    pub socket: net::TcpListener,
    pub users: Users,
}

#[derive(Clone)]
pub(super) enum Open {
    File(Rc<DmaFile>),
    Socket(Rc<Socket>),
    Listener(Rc<Listener>),
}

#[derive(Default)]
pub(super) struct Handles {
    open: Slab<Open>,
}

impl Handles {
    fn insert(&mut self, open: Open) -> Handle {
        Handle(u32::try_from(self.open.insert(open)).expect("fewer descriptors than 2^32"))
    }

    pub fn insert_file(&mut self, file: DmaFile) -> Handle {
        self.insert(Open::File(Rc::new(file)))
    }

    pub fn insert_socket(&mut self, stream: TcpStream) -> Handle {
        let (stream, sending) = (RefCell::new(stream), Semaphore::new(1));
        self.insert(Open::Socket(Rc::new(Socket { stream, sending, users: Users::default() })))
    }

    pub fn insert_listener(&mut self, socket: net::TcpListener) -> Handle {
        self.insert(Open::Listener(Rc::new(Listener { socket, users: Users::default() })))
    }

    pub fn file(&self, handle: Handle) -> io::Result<Rc<DmaFile>> {
        match self.get(handle)? {
            Open::File(file) => Ok(file.clone()),
            _ => Err(bad_handle()),
        }
    }

    pub fn socket(&self, handle: Handle) -> io::Result<Rc<Socket>> {
        match self.get(handle)? {
            Open::Socket(socket) => Ok(socket.clone()),
            _ => Err(bad_handle()),
        }
    }

    pub fn listener(&self, handle: Handle) -> io::Result<Rc<Listener>> {
        match self.get(handle)? {
            Open::Listener(listener) => Ok(listener.clone()),
            _ => Err(bad_handle()),
        }
    }

    /// Operations on a file go on to their end, those on a socket end now: they might wait for the peer for ever.
    pub fn close(&mut self, handle: Handle) -> io::Result<()> {
        match self.open.try_remove(handle.0 as usize).ok_or_else(bad_handle)? {
            Open::File(_) => {}
            Open::Socket(socket) => socket.users.switch_off(),
            Open::Listener(listener) => listener.users.switch_off(),
        }
        Ok(())
    }

    fn get(&self, handle: Handle) -> io::Result<&Open> {
        self.open.get(handle.0 as usize).ok_or_else(bad_handle)
    }
}

fn bad_handle() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}
