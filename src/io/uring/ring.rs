//! Submission and completion queue of one core.
//!
//! A queue of our own stands behind the kernel's submission queue, so `push` never fails. A busy core
//! does not enter the kernel when it has nothing to submit and the kernel has nothing to run for it;
//! both are read from shared memory.

use std::collections::VecDeque;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

/// How long [`Ring::enter`] waits for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    AtMost(Duration),
    Forever,
}

pub(super) struct Ring {
    uring: IoUring,
    /// Entries that the submission queue had no room for, in order.
    behind: VecDeque<squeue::Entry>,
}

impl Ring {
    pub fn new(uring: IoUring) -> Ring {
        Ring { uring, behind: VecDeque::new() }
    }

    /// The kernel takes the buffers of group 0 from this ring of `count` entries from now on. Fails on
    /// kernels that have no buffer rings.
    ///
    /// # Safety
    /// `entries` must stay valid until the ring is gone.
    pub unsafe fn register_buffers(&self, entries: u64, count: u16) -> std::io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.uring.submitter().register_buf_ring_with_flags(entries, count, 0, 0) }
    }

    /// Queues an entry for the next `enter`.
    ///
    /// # Safety
    /// Memory that the entry names must stay valid until its last completion was taken.
    pub unsafe fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: the caller's promise.
        if !self.behind.is_empty() || unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.behind.push_back(entry);
        }
    }

    /// Submits everything queued, then waits as `wait` says; completions already there end the wait.
    /// It may return early for any reason. Full queues are worked off in several rounds that do not wait.
    pub fn enter(&mut self, wait: Wait, taken: &mut Vec<cqueue::Entry>) {
        while self.catch_up() {
            self.enter_once(Wait::No);
            self.take(taken);
        }
        self.take(taken);
        let wait = if taken.is_empty() { wait } else { Wait::No };
        if wait != Wait::No || self.has_business() {
            self.enter_once(wait);
        }
        self.take(taken);
        while self.uring.submission().cq_overflow() {
            self.enter_once(Wait::No);
            self.take(taken);
        }
    }

    /// Moves entries into the submission queue; true when some had no room even so.
    fn catch_up(&mut self) -> bool {
        let mut queue = self.uring.submission();
        while let Some(entry) = self.behind.front() {
            // SAFETY: the promise made to `push` for this entry.
            if unsafe { queue.push(entry) }.is_err() {
                return true;
            }
            self.behind.pop_front();
        }
        false
    }

    /// True when the kernel has something to do for us.
    fn has_business(&mut self) -> bool {
        let queue = self.uring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    fn enter_once(&mut self, wait: Wait) {
        let submit = self.uring.submission().len() as u32;
        let submitter = self.uring.submitter();
        let flags = EnterFlags::GETEVENTS;
        let result = match wait {
            // SAFETY: no argument is passed.
            Wait::No => unsafe { submitter.enter::<libc::sigset_t>(submit, 0, flags.bits(), None) },
            // SAFETY: as above.
            Wait::Forever => unsafe { submitter.enter::<libc::sigset_t>(submit, 1, flags.bits(), None) },
            Wait::AtMost(limit) => {
                let timespec = Timespec::from(limit);
                let args = SubmitArgs::new().timespec(&timespec);
                let flags = flags | EnterFlags::EXT_ARG;
                // SAFETY: the argument and the time in it are valid for the whole call.
                unsafe { submitter.enter(submit, 1, flags.bits(), Some(&args)) }
            }
        };
        match result.map_err(|error| error.raw_os_error().unwrap_or(0)) {
            // Timed out, interrupted by a signal, or short of room or memory until completions are taken.
            Ok(_) | Err(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
            Err(libc::EBADR) => panic!("the kernel lost a completion: it is out of memory"),
            Err(code) => panic!("io_uring_enter: {}", std::io::Error::from_raw_os_error(code)),
        }
    }

    fn take(&mut self, taken: &mut Vec<cqueue::Entry>) {
        taken.extend(self.uring.completion());
    }
}
