//! The learned index over sorted keys.
//!
//! Owns: training, probe, codec and the quantiles from which the range router takes its separators.
//! The index is not there yet.
//!
//! Must not know: files, threads, async.

pub mod quantiles;
