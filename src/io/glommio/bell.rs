//! The doorbell of a core: a pair of connected sockets, of which the core reads one.
//!
//! As on the ring, only the sender that finds the bell armed makes a system call, and no wake-up is lost. glommio's own
//! way to wake an executor from another thread (the waker of a task, used there) is not taken: it costs more, and the
//! poll on a descriptor is the plainest thing that its rings do.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;

use crate::io::driver::Doorbell;
use crate::io::uring::bell::Arming;

pub(super) struct SocketBell {
    rope: UnixStream,
    armed: Arming,
}

impl SocketBell {
    /// The bell, and the end that becomes readable when it is rung.
    pub fn new() -> io::Result<(SocketBell, UnixStream)> {
        let (rope, clapper) = UnixStream::pair()?;
        rope.set_nonblocking(true)?;
        Ok((SocketBell { rope, armed: Arming::default() }, clapper))
    }
}

impl Doorbell for SocketBell {
    fn arm(&self) {
        self.armed.arm();
    }

    fn disarm(&self) {
        self.armed.disarm();
    }

    fn ring(&self) {
        if !self.armed.take() {
            return;
        }
        match (&self.rope).write(&[1]) {
            Ok(_) => {}
            // So many rings are unread that the owner has something to wake up for, or is gone.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::BrokenPipe) => {}
            Err(error) => panic!("a doorbell that cannot ring loses wake-ups: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn rings_once_for_each_time_that_it_is_armed() {
        let (bell, mut clapper) = SocketBell::new().unwrap();
        clapper.set_nonblocking(true).unwrap();
        let mut rung = || clapper.read(&mut [0; 8]).unwrap_or(0);
        bell.ring();
        assert_eq!(rung(), 0, "nobody sleeps");
        bell.arm();
        bell.ring();
        bell.ring();
        assert_eq!(rung(), 1);
        bell.arm();
        bell.disarm();
        bell.ring();
        assert_eq!(rung(), 0);
    }
}
