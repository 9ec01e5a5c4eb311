//! World two: glommio, behind the same seam.
//!
//! Lives on: the core's own thread, from [`GlommioDriver::new`] to its drop; only the [`bell`] is shared.
//!
//! Owns: a `LocalExecutor` of the core, which runs one small task for each operation ([`driver`]); what these tasks
//! share ([`state`]); the open files and sockets ([`handles`]); the operations on them ([`files`], [`sockets`]). The
//! tasks of the engine do not run on it: it is entered for each turn's I/O and left again, so neither its preemption
//! timer nor its queues decide what the engine does next.
//!
//! Invariant: memory that the kernel may write to belongs to glommio's own requests. Sockets are polled, and read and
//! written by calls that do not wait, so that ending such an operation loses nothing.
//!
//! Must not know: the tasks of the engine.
//!
//! Work-arounds for the pinned release, each where it is needed: devices are made known before the first file is
//! opened on them, and files are opened by descriptor ([`files`]); no wake-up from another thread goes through glommio
//! ([`bell`]); requests made in a pass go out in a second one ([`driver`]); the preemption timer is long
//! ([`PREEMPTION`]).

mod bell;
mod driver;
mod error;
mod files;
mod handles;
mod sockets;
mod state;

use std::time::Duration;

pub use driver::GlommioDriver;
pub use error::GlommioError;

/// How long glommio lets tasks run before it looks at its rings again. When this time is over between its look at the
/// rings and its first task, it takes "no task ran" for "no task is ready" and sleeps until something else wakes it.
/// Executors were seen to stop for ever at 200 us, and at 1 ms on a busy machine. Here its tasks take microseconds and
/// the engine's are none of them, so nothing is gained by a short time: this is one that is never over, not even when
/// the machine stands still for a while.
pub const PREEMPTION: Duration = Duration::from_secs(3600);

/// Requests handed to the kernel at a time, by each of its three rings.
const RING_ENTRIES: usize = 256;

/// Memory for disk I/O that is registered with the kernel, in each of the three rings: it counts three times against
/// RLIMIT_MEMLOCK, which is 8 MiB as a rule. Larger requests take theirs from the heap.
const REGISTERED_BYTES: usize = 256 << 10;
