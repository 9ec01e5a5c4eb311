//! The simulated world: a machine of N cores in one thread.
//!
//! Owns: virtual time and seeded scheduling ([`scheduler`]), a disk that tells what is durable from
//! what only looks written ([`disk`], [`crash`]), a network of byte streams ([`net`]), and the faults of
//! all three ([`faults`]). The executor and everything above it is the code that runs on a real ring.
//!
//! Reading order: `scheduler`, `world`, `machine`, `storage`, then `disk` and `crash`, then `net`.
//!
//! Must not know: real time, real files, threads, or what the engine does with its bytes.
//!
//! Invariant: the same seed and configuration give the same trace, byte for byte. All randomness comes
//! from one [`rng::Rng`], all collections are ordered, and no address is ever looked at.

pub mod audit;
pub mod config;
pub mod crash;
mod directory;
pub mod disk;
pub mod driver;
mod effect;
pub mod faults;
mod file;
mod image;
mod inspect;
mod leases;
mod machine;
mod media;
pub mod net;
mod pipe;
mod plan;
pub mod rng;
pub mod scheduler;
mod storage;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod world;

pub use config::SimConfig;
pub use crash::{CrashPoint, CrashPolicy, Moment};
pub use disk::Disk;
pub use faults::Faults;
pub use rng::Rng;
pub use scheduler::{Sim, Stuck, StuckReason};
pub use trace::TraceMode;
pub use world::World;
