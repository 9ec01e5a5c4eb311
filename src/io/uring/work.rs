//! An operation as the kernel sees it: one request after another until it is done.
//!
//! A [`Work`] is a small state machine that owns the memory its requests name: `entry` describes the
//! next request, `advance` takes the kernel's answer and says what comes next.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;

use io_uring::{cqueue, opcode, squeue, types};

use super::buffers::ReceiveBuffers;
use super::file_work::FileWork;
use super::handles::{Handles, Kind};
use super::probe::Features;
use super::receive::Receive;
use super::sockaddr::local_addr;
use super::socket_work::{Accept, Connect, Send};
use super::{file_work, sockets};
use crate::io::op::{Handle, Op, Outcome};

pub(super) enum Work {
    File(FileWork),
    Accept(Accept),
    Connect(Connect),
    Receive(Receive),
    Send(Send),
    Close { handle: Handle, fd: RawFd },
}

/// What comes after an answer of the kernel.
pub(super) enum Next {
    /// The operation is done.
    End(Outcome),
    /// It needs another request.
    Again(Work),
    /// The request goes on.
    Stay(Work),
    /// The request goes on and shall be stopped.
    Halt(Work),
    /// It needs another request as soon as there is a receive buffer.
    Starved(Work),
    /// It needs another request as soon as its reader has given buffers back.
    Paused(Work),
}

/// The answer of the kernel to a request.
pub(super) struct Answer {
    pub result: io::Result<u32>,
    /// More answers to the same request will come.
    pub more: bool,
    /// The receive buffer that the kernel picked.
    pub buffer: Option<u16>,
}

impl From<&cqueue::Entry> for Answer {
    fn from(entry: &cqueue::Entry) -> Answer {
        let result = u32::try_from(entry.result()).map_err(|_| io::Error::from_raw_os_error(-entry.result()));
        Answer { result, more: cqueue::more(entry.flags()), buffer: cqueue::buffer_select(entry.flags()) }
    }
}

/// What works share.
pub(super) struct Resources {
    pub handles: Handles,
    pub buffers: Rc<ReceiveBuffers>,
    pub features: Features,
}

/// How an operation starts.
pub(super) enum Plan {
    Answer(Outcome),
    Request(Work),
}

impl Plan {
    /// What to do for `op`. Operations that never wait long, or that are rare (listing a directory,
    /// sizes, free space: at start and in maintenance), are done here by plain system calls.
    pub fn new(op: Op, resources: &mut Resources) -> io::Result<Plan> {
        let handles = &mut resources.handles;
        let answer = match op {
            Op::List { path } => Outcome::Entries(file_work::list(&path)?),
            Op::FreeSpace { path } => Outcome::Len(file_work::free_space(&path)?),
            Op::FileLen { file } => Outcome::Len(file_work::len(handles.target(file)?.fd)?),
            Op::SetLen { file, len } => {
                file_work::set_len(handles.target(file)?.fd, len)?;
                Outcome::Done
            }
            Op::Listen { addr } => {
                let (socket, addr) = sockets::listen(addr)?;
                Outcome::Listening { listener: handles.insert(socket, Kind::Socket), addr }
            }
            Op::TakeOverListener { socket } => {
                let addr = local_addr(socket.as_raw_fd())?;
                Outcome::Listening { listener: handles.insert(socket, Kind::Socket), addr }
            }
            Op::Shutdown { socket } => {
                sockets::shutdown(handles.target(socket)?.fd)?;
                Outcome::Done
            }
            Op::Send { buf, .. } if buf.bytes().is_empty() => Outcome::Sent(buf),
            op => return Work::new(op, handles).map(Plan::Request),
        };
        Ok(Plan::Answer(answer))
    }
}

impl Work {
    fn new(op: Op, handles: &Handles) -> io::Result<Work> {
        Ok(match op {
            Op::Accept { listener } => Work::Accept(Accept::new(handles.target(listener)?)),
            Op::Connect { addr } => Work::Connect(Connect::new(addr)?),
            Op::Receive { socket } => Work::Receive(Receive::new(handles.target(socket)?)),
            Op::Send { socket, buf } => Work::Send(Send::new(handles.target(socket)?, buf)),
            Op::Close { handle } => Work::Close { handle, fd: handles.target(handle)?.fd },
            op => Work::File(FileWork::new(op, handles)?),
        })
    }

    /// The handle that must stay open for this work.
    pub fn handle(&self) -> Option<Handle> {
        match self {
            Work::File(work) => work.target().map(|target| target.handle),
            Work::Accept(work) => Some(work.listener.handle),
            Work::Connect(_) | Work::Close { .. } => None,
            Work::Receive(work) => Some(work.socket.handle),
            Work::Send(work) => Some(work.socket.handle),
        }
    }

    /// The next request. The memory that it names belongs to this work and does not move with it.
    pub fn entry(&mut self, features: &Features) -> squeue::Entry {
        match self {
            Work::File(work) => work.entry(),
            Work::Accept(work) => work.entry(features),
            Work::Connect(work) => work.entry(),
            Work::Receive(work) => work.entry(features),
            Work::Send(work) => work.entry(),
            Work::Close { fd, .. } => opcode::Close::new(types::Fd(*fd)).build(),
        }
    }

    /// Takes an answer to the last request. A stream hands what has arrived to `emit`.
    pub fn advance(self, answer: Answer, resources: &mut Resources, emit: impl FnMut(Outcome)) -> Next {
        match self {
            Work::File(work) => work.advance(answer, &mut resources.handles),
            Work::Accept(work) => work.advance(answer, &mut resources.handles, emit),
            Work::Connect(work) => work.advance(answer, &mut resources.handles),
            Work::Receive(work) => work.advance(answer, resources, emit),
            Work::Send(work) => work.advance(answer),
            Work::Close { handle, .. } => {
                resources.handles.remove(handle);
                Next::End(closed(answer.result))
            }
        }
    }
}

/// The descriptor is closed whatever the kernel says, but it must have been open.
fn closed(result: io::Result<u32>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(error) => {
            assert_ne!(error.raw_os_error(), Some(libc::EBADF), "a descriptor closed twice");
            Outcome::Failed(error)
        }
    }
}
