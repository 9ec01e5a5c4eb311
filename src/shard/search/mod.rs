//! The index over the documents of a tablet, and searches in it. All of it is in memory, and derived: it is made of
//! the records at the start, and follows each write in the step that makes it visible.
//!
//! What came last into a tablet lies in parts of its own, on its owner. A head that is full becomes a shared part, which
//! all cores search without asking anybody; shared parts of all tablets are merged, so that a search looks at few graphs
//! however many cores there are.
//!
//! - [`index`]: where each document of a tablet is ([`places`]); follows writes. [`forward`]: where it is while parts are
//!   replaced.
//! - [`contents`]: what is kept of documents, [`texts`] and [`expiries`] among it; [`part`]: those of one tablet; [`sealed`]: those that all
//!   cores share.
//! - [`library`]: the shared parts that a core knows; [`mask`]: what of them does not count by a map; [`calls`]: what
//!   cores tell one another of them.
//!   [`beacon`]: that an owner need not be asked.
//! - [`query`]: what is asked, and what was found. [`source`]: what a search looks at.
//! - [`run`]: one search on one core, with its other work in between; [`scratches`] are kept for the next one.
//! - [`gather`]: one search in what all cores share, and in what the owners have; [`shown`]: the documents of its hits.
//! - [`file`]: merged parts on the disk, so that a start does not link vectors anew.
//! - [`options`]: how large heads and files are.
//! - [`upkeep`]: what is done in the background: loading at the start, links, sealing; [`merging`]: merges of shared
//!   parts.
//!
//! Invariant: a document is in the index in the turn in which its write becomes visible. So a search that begins
//! behind an acknowledgement finds it.
//! Invariant: parts only come and go in whole steps, so a search holds on to those that it began with. It takes the shared
//! ones first, then asks the owners, who search what they have shared since, then looks at what else was shared in between:
//! what lived all the time was in one of them.

pub mod beacon;
pub mod calls;
pub mod contents;
mod expiries;
pub mod file;
pub mod forward;
pub mod gather;
pub mod index;
pub mod library;
pub mod mask;
pub mod merging;
pub mod options;
pub mod part;
pub mod places;
pub mod query;
pub mod run;
pub mod scratches;
pub mod sealed;
mod shown;
pub mod source;
#[cfg(test)]
mod tests;
pub mod texts;
pub mod upkeep;
