//! The seam to the world, and what is durable on the other side of it.
//!
//! Owns: the operations and buffers of completion-style I/O ([`op`], [`buf`], [`lease`]), the driver
//! trait ([`driver`]) with its worlds ([`uring`], [`sim`], and with the feature `glommio` a second real one;
//! [`world`] chooses between the real ones), the executor of a core ([`executor`]),
//! the handles that tasks use ([`runtime`]), the log format ([`log`]) and the manifest ([`manifest`]).
//!
//! Must not know: keys, vectors, HTTP.
//!
//! Invariant: only this folder names `io_uring` or `glommio`; of the server's code only this folder asks a clock or
//! for randomness, or opens a file or a socket (the command line does, around the server).

pub mod buf;
pub mod codec;
#[doc(hidden)]
pub mod conformance;
pub mod crashsafe;
pub mod driver;
pub mod executor;
#[cfg(feature = "glommio")]
pub mod glommio;
pub mod lease;
pub mod log;
pub mod manifest;
pub mod op;
pub mod runtime;
pub mod sim;
pub mod uring;
pub mod world;
