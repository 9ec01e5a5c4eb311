//! The engine of one core: from a request to what is durable and visible.
//!
//! Reading order: [`record`] (what goes in and comes out), [`engine`] (the order of things), [`tablet`]
//! and [`delta`] (what was written lately), [`store`] (what is in runs), [`pump`] and [`segments`] (the
//! log's way to the disk), [`checkpoint`] and [`recovery`] (from memory to runs, and back), [`node`] (finding
//! the right core),
//! [`control`], [`reshape`] and [`transfer`] (who owns what), [`balance`] (who should), [`snapshot`] (a moment of all of it), [`document`] (what records of a collection of
//! documents are made of), [`boot`] (the life of it all).
//!
//! Lives on: one core each; nothing mutable is shared. Cores talk by [`message`]s in bounded
//! [`mailbox`]es.
//!
//! Must not know: sockets, HTTP.

pub mod arrivals;
pub mod balance;
pub mod batch;
pub mod before;
pub mod boot;
pub mod calls;
pub mod catalogue;
pub mod checkpoint;
pub mod clock;
pub mod control;
pub mod core;
pub mod decisions;
pub mod delete_room;
pub mod delta;
pub mod document;
pub mod engine;
pub mod file_out;
pub mod get_many;
pub mod heat;
pub mod inspect;
pub mod jobs;
pub mod key;
pub mod lane;
pub mod ledger;
pub mod mailbox;
pub mod message;
pub mod node;
pub mod operations;
pub mod options;
pub mod outgoing;
pub mod pace;
pub mod page;
pub mod parked;
pub mod payload;
pub mod point_reads;
pub mod progress;
pub mod pump;
pub mod recall;
pub mod receipts;
pub mod receipts_out;
pub mod record;
pub mod recount;
pub mod recovery;
pub mod repair;
pub mod reshape;
pub mod restore;
pub mod run;
pub mod runs;
pub mod search;
pub mod segments;
pub mod serve;
pub mod snapshot;
pub mod snapshot_calls;
pub mod snapshot_part;
pub mod split;
pub mod staged;
pub mod start_error;
pub mod state;
pub mod stats;
pub mod store;
pub mod tablet;
pub mod tablets;
pub mod transfer;
pub mod value_check;
