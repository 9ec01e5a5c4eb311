//! Calls to other cores that have no answer yet.

use super::mailbox::Full;
use super::message::Reply;
use crate::io::executor::sync::{Pending, Promise, promise};
use crate::io::runtime::Expecting;
use crate::limits;

struct OpenCall {
    promise: Promise<Reply>,
    /// Of a read: its answer comes without waiting for a disk.
    _soon: Option<Expecting>,
}

/// Bounded: this is what keeps the inbox of answers from ever being full.
#[derive(Default)]
pub struct OpenCalls {
    open: slab::Slab<OpenCall>,
}

impl OpenCalls {
    pub fn begin(&mut self, soon: Option<Expecting>) -> Result<(u32, Pending<Reply>), Full> {
        if self.open.len() >= limits::INBOX_FRAMES_MAX {
            return Err(Full);
        }
        let (promise, pending) = promise();
        Ok((self.open.insert(OpenCall { promise, _soon: soon }) as u32, pending))
    }

    /// The call was never sent.
    pub fn forget(&mut self, call: u32) {
        self.open.remove(call as usize);
    }

    pub fn finish(&mut self, call: u32, reply: Reply) {
        self.open.remove(call as usize).promise.give(reply);
    }
}
