//! Calls to other cores that have no answer yet.

use super::mailbox::{Full, frames_per_pair};
use super::message::Reply;
use crate::io::executor::sync::{Pending, Promise, promise};
use crate::io::runtime::Expecting;
use crate::types::ShardId;

struct OpenCall {
    to: ShardId,
    promise: Promise<Reply>,
    /// Of a read: its answer comes without waiting for a disk.
    _soon: Option<Expecting>,
}

/// Bounded for each core that is called: this is what keeps a ring of answers from ever being full.
pub struct OpenCalls {
    open: slab::Slab<OpenCall>,
    open_to: Vec<usize>,
}

impl OpenCalls {
    pub fn new(shards: usize) -> OpenCalls {
        OpenCalls { open: slab::Slab::new(), open_to: vec![0; shards] }
    }

    pub fn begin(&mut self, to: ShardId, soon: Option<Expecting>) -> Result<(u32, Pending<Reply>), Full> {
        let most = frames_per_pair(self.open_to.len());
        let open_to = &mut self.open_to[usize::from(to.0)];
        if *open_to >= most {
            return Err(Full);
        }
        *open_to += 1;
        let (promise, pending) = promise();
        Ok((self.open.insert(OpenCall { to, promise, _soon: soon }) as u32, pending))
    }

    /// The call was never sent.
    pub fn forget(&mut self, call: u32) {
        self.take(call);
    }

    pub fn finish(&mut self, call: u32, reply: Reply) {
        self.take(call).promise.give(reply);
    }

    fn take(&mut self, call: u32) -> OpenCall {
        let open = self.open.remove(call as usize);
        self.open_to[usize::from(open.to.0)] -= 1;
        open
    }
}
