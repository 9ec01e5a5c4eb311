//! The index over the documents of a tablet, and searches in it. All of it is in memory, and derived: it is made of
//! the records at the start, and follows each write in the step that makes it visible.
//!
//! - [`index`]: where each document is; follows writes.
//! - [`part`]: documents that are searched together: their vectors (in a head or a sealed segment), the indexes of
//!   their fields, and what a search shows of them without reading records.
//! - [`query`]: what is asked, and what was found.
//! - [`run`]: one search on one tablet, with the core's other work in between.
//! - [`gather`]: one search on all tablets, wherever they are.
//! - [`upkeep`]: what is done in the background: loading at the start, links, merges of parts.
//!
//! Invariant: a document is in the index in the turn in which its write becomes visible. So a search that begins
//! behind an acknowledgement finds it.
//! Invariant: parts only come and go in whole steps, so a search holds on to those that it began with.

pub mod gather;
pub mod index;
pub mod part;
pub mod query;
pub mod run;
pub mod upkeep;
