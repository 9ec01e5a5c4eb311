//! The stream of bytes that arrive at a socket.
//!
//! With multishot receive one request stays with the kernel, which fills a buffer of its choice for
//! each answer. Without, a request waits until the socket is readable, and one buffer is filled by a
//! plain system call that does not wait; so no idle connection holds a buffer.
//!
//! The stream stops in two cases, and loses nothing, as bytes stay in the socket: when all buffers of
//! the core are lent out (starved), and when this stream holds so many that its reader must be slow
//! (paused). The driver asks again when buffers come back.

use std::io;
use std::rc::Rc;

use io_uring::{opcode, squeue, types};

use super::buffers::{Flow, ReceiveBuffers};
use super::handles::Target;
use super::probe::Features;
use super::sockets;
use super::work::{Answer, Next, Resources, Work};
use crate::io::op::Outcome;
use crate::limits;

pub(super) struct Receive {
    pub socket: Target,
    flow: Rc<Flow>,
    /// The kernel was asked to stop, for the reader to catch up.
    halting: bool,
}

impl Receive {
    pub fn new(socket: Target) -> Receive {
        Receive { socket, flow: Rc::default(), halting: false }
    }

    pub fn entry(&self, features: &Features) -> squeue::Entry {
        let socket = types::Fd(self.socket.fd);
        if features.multishot_receive {
            opcode::RecvMulti::new(socket, 0).build()
        } else {
            opcode::PollAdd::new(socket, libc::POLLIN as u32).build()
        }
    }

    /// True when a paused stream may go on.
    pub fn is_drained(&self, buffers: &ReceiveBuffers) -> bool {
        buffers.is_drained(&self.flow)
    }

    pub fn advance(self, answer: Answer, resources: &Resources, emit: impl FnMut(Outcome)) -> Next {
        let buffers = &resources.buffers;
        match answer.result {
            Ok(_) if !resources.features.multishot_receive => self.readable(buffers, emit),
            Ok(count) => self.arrived(count as usize, &answer, buffers, emit),
            Err(error) => match error.raw_os_error().unwrap_or(0) {
                libc::ENOBUFS => Next::Starved(self.halted()),
                libc::ECANCELED if self.halting => Next::Paused(self.halted()),
                _ => Next::End(Outcome::Failed(error)),
            },
        }
    }

    /// The kernel has filled a buffer of its choice.
    fn arrived(
        self,
        count: usize,
        answer: &Answer,
        buffers: &Rc<ReceiveBuffers>,
        mut emit: impl FnMut(Outcome),
    ) -> Next {
        if count == 0 {
            assert!(!answer.more, "bytes after the end of a stream");
            answer.buffer.into_iter().for_each(|unused| buffers.supply(unused));
            return Next::End(Outcome::Received(buffers.end_of_stream()));
        }
        let id = answer.buffer.expect("bytes arrive in a buffer");
        emit(Outcome::Received(buffers.lend(id, count, &self.flow)));
        let flooded = buffers.is_flooded(&self.flow);
        match (answer.more, flooded) {
            (true, true) if !self.halting => Next::Halt(Work::Receive(Receive { halting: true, ..self })),
            (true, _) => Next::Stay(Work::Receive(self)),
            (false, true) => Next::Paused(self.halted()),
            (false, false) => Next::Again(self.halted()),
        }
    }

    /// The socket has bytes, its end, or an error to show.
    fn readable(self, buffers: &Rc<ReceiveBuffers>, mut emit: impl FnMut(Outcome)) -> Next {
        let Some(id) = buffers.pick() else { return Next::Starved(self.halted()) };
        // SAFETY: a buffer from the list is ours alone.
        let received = unsafe {
            sockets::receive_now(self.socket.fd, buffers.address(id), limits::RECEIVE_BUFFER_BYTES)
        };
        let count = match received {
            Ok(count @ 1..) => count,
            nothing => {
                buffers.supply(id);
                return self.nothing_received(nothing, buffers);
            }
        };
        emit(Outcome::Received(buffers.lend(id, count, &self.flow)));
        match buffers.is_flooded(&self.flow) {
            true => Next::Paused(self.halted()),
            false => Next::Again(self.halted()),
        }
    }

    fn nothing_received(self, received: io::Result<usize>, buffers: &Rc<ReceiveBuffers>) -> Next {
        match received {
            Ok(_) => Next::End(Outcome::Received(buffers.end_of_stream())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Next::Again(self.halted()),
            Err(error) => Next::End(Outcome::Failed(error)),
        }
    }

    /// The kernel has no request of this stream any more.
    fn halted(self) -> Work {
        Work::Receive(Receive { halting: false, ..self })
    }
}
