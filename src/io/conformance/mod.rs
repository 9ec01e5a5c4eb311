//! What every world behind the seam must do, as checks that run in each of them.
//!
//! Each check is a task on one core that uses nothing but its [`Runtime`](super::runtime::Runtime), and
//! panics where the world breaks its word. The files and sockets it makes are its own: [`files`] wants an
//! empty directory that exists, [`sockets`] an address to listen at.
//!
//! Must not know: which world it runs in.

pub mod files;
pub mod sockets;
pub mod timers;

use std::future::Future;

use super::executor::Class;
use super::executor::sync::{Pending, promise};
use super::runtime::Runtime;

/// Starts a task whose value can be waited for.
fn task<T: 'static>(runtime: &Runtime, work: impl Future<Output = T> + 'static) -> Pending<T> {
    let (give, value) = promise();
    runtime.spawn(Class::Foreground, async move { give.give(work.await) });
    value
}

/// Bytes that differ by seed and by place, so that mixed-up or misplaced ones show.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}
