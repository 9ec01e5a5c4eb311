//! World one: one kernel ring for each core.
//!
//! Lives on: the core's own thread, from [`RingDriver::new`] to its drop; only the [`bell`] is shared.
//!
//! Owns: the ring ([`ring`]) and what of it this kernel offers ([`probe`]); operations in flight with
//! the memory they lent to the kernel ([`in_flight`], [`work`]); the open files and sockets
//! ([`handles`]); the buffers that received bytes arrive in ([`buffers`]); clocks and randomness
//! ([`clock`]); pinned threads ([`cores`]).
//!
//! Invariant: memory that the kernel may write to lives until the kernel has let go of it, whatever
//! is cancelled, closed or dropped meanwhile.
//! Invariant: a descriptor is closed only when no operation uses it, so its number is never taken
//! over by an operation that meant another file.
//!
//! Must not know: tasks and futures.
//!
//! What of it needs no ring (plain system calls, clocks, receive buffers on a list, pinned threads) also serves the
//! other real world.

pub(in crate::io) mod bell;
pub(in crate::io) mod buffers;
pub(in crate::io) mod clock;
pub(in crate::io) mod cores;
mod driver;
mod error;
pub mod facts;
pub(in crate::io) mod file_work;
mod handles;
mod host;
mod in_flight;
mod probe;
mod receive;
mod ring;
pub(in crate::io) mod sockaddr;
mod socket_work;
pub(in crate::io) mod sockets;
mod work;

pub use clock::{process_cpu_ns, thread_cpu_ns};
pub use cores::{Core, CoreError, available_cores, spawn_core};
pub use driver::RingDriver;
pub use error::RingError;
pub use file_work::DirectIoUnsupported;
pub use host::{
    advise_huge_pages, forbid_core_dumps, give_back_freed_memory, huge_pages_only_where_advised,
    keep_freed_memory, require_open_files, serve_others_first, tidy_memory_seldom,
};
pub use probe::{Features, TaskWork};
pub use sockets::{inherited_listener, reserve_address};

use crate::limits;

/// What to ask of the kernel. The default asks for everything; less is for tests of the fallbacks.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Submissions handed over at a time; completions have room for four times as many. A power of two.
    pub entries: u32,
    /// Receive buffers to lend out at a time. A power of two.
    pub receive_buffers: u16,
    pub multishot_accept: bool,
    pub multishot_receive: bool,
    /// The best way to run completion work; the ring takes it or the next worse one.
    pub task_work: TaskWork,
}

impl Default for RingConfig {
    fn default() -> RingConfig {
        RingConfig {
            entries: limits::RING_ENTRIES,
            receive_buffers: limits::RECEIVE_BUFFERS_MAX,
            multishot_accept: true,
            multishot_receive: true,
            task_work: TaskWork::Deferred,
        }
    }
}
