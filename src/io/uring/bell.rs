//! The doorbell of a core: an eventfd that its ring polls.
//!
//! No wake-up is lost. The owner stores `armed`, then looks at its inboxes; a sender fills an inbox,
//! then loads `armed`. A sequentially consistent fence stands between the two steps on both sides, so
//! at least one side sees what the other did: either the sender finds the bell armed and writes to the
//! eventfd, or the owner finds the inbox filled and does not park. Only the sender that takes `armed`
//! back writes, so a crowd of senders costs one system call; its write may come when the owner is awake
//! already, which costs the owner one needless turn.
//!
//! The eventfd is never read. The ring's poll fires on each write, and a poll that is armed anew fires
//! at once, so writes while no poll was armed are not lost either.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crate::io::driver::Doorbell;

/// Whether the owner of a bell is about to sleep or asleep.
#[derive(Default)]
pub(in crate::io) struct Arming(AtomicBool);

impl Arming {
    pub fn arm(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub fn disarm(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// For senders: true for one of them for each time that the bell was armed. That one has to wake the owner.
    pub fn take(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

pub(super) struct EventBell {
    event: OwnedFd,
    armed: Arming,
}

impl EventBell {
    pub fn new() -> io::Result<EventBell> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else owns.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(EventBell { event, armed: Arming::default() })
    }

    pub fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

impl Doorbell for EventBell {
    fn arm(&self) {
        self.armed.arm();
    }

    fn disarm(&self) {
        self.armed.disarm();
    }

    fn ring(&self) {
        if self.armed.take() {
            let one = 1u64.to_ne_bytes();
            // SAFETY: `one` is readable and as long as said.
            let count = unsafe { libc::write(self.fd(), one.as_ptr().cast(), one.len()) };
            assert_eq!(count, one.len() as isize, "a doorbell that cannot ring loses wake-ups");
        }
    }
}
