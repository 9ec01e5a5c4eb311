//! What cores say to one another: owned requests and their answers.

use std::sync::Arc;

use super::balance;
use super::catalogue::{Catalogue, CatalogueError, Definition};
use super::jobs;
use super::key::Key;
use super::page::Page;
use super::receipts::Entry;
use super::record::{Found, Reading, Refusal, Scan, ValueRoom, Write, Written};
use super::search;
use super::search::query::Query;
use super::search::sealed::PartId;
use super::snapshot_calls::{Ask, Told};
use super::stats::{CollectionStats, ShardStats};
use super::transfer::Shipment;
use crate::types::{CollectionId, Epoch, NodeId, Seq, ShardId, TabletId};

pub type WriteResult = Result<Written, Refusal>;

#[derive(Debug)]
pub enum Request {
    Get {
        tablet: TabletId,
        key: Key,
        reading: Reading,
    },
    /// Answered with the first so many that have room.
    GetMany {
        items: Vec<(TabletId, Key)>,
        room: ValueRoom,
    },
    /// `epoch`: of the map by which they were sent.
    Write {
        items: Vec<(TabletId, Write)>,
        epoch: Epoch,
    },
    Scan {
        tablet: TabletId,
        scan: Scan,
    },
    CollectionStats {
        collection: CollectionId,
    },
    Stats,
    Checkpoint,
    /// Seal, then merge all runs.
    Compact,
    /// Take this map; answered when it is in force on the core.
    Install {
        catalogue: Arc<Catalogue>,
    },

    // ---- to shard 0, the writer of the catalogue
    /// A shard starts and wants the map. `node` is the one that its data belongs to; `fresh` says that it
    /// has none.
    Join {
        shard: ShardId,
        node: NodeId,
        fresh: bool,
    },
    Create {
        name: String,
        definition: Definition,
    },
    Drop {
        name: String,
    },
    Split {
        name: String,
        split_at: Vec<Key>,
    },

    // ---- moving a range: from shard 0 to its owner, and from the owner to the new one
    /// Send the records of these parts of tablets away and stop writes to the tablets at the end.
    ShipOut {
        sources: Vec<TabletId>,
        parts: Vec<ShipPart>,
    },
    /// How many records this shard has of a tablet.
    CountRecords {
        tablet: TabletId,
    },
    /// Log these records; answered when they are durable.
    ShipIn(Shipment),
    /// Log these receipts and take them up; answered when they are durable.
    ShipReceipts(Vec<Entry>),
    /// What only its owner searches of a tablet.
    Search {
        tablet: TabletId,
        /// Of its range on the map of who asks.
        epoch: Epoch,
        query: Arc<Query>,
        /// Shared parts that are searched already.
        known: Arc<[PartId]>,
    },
    Index(search::calls::Ask),
    Snapshot(Ask),
    Job(jobs::Ask),
    Balance(balance::calls::Ask),
}

impl Request {
    /// Answered in the turn that takes it up.
    pub fn is_read(&self) -> bool {
        matches!(self, Request::Get { .. } | Request::GetMany { .. } | Request::Scan { .. })
    }
}

/// Why shard 0 turns a shard away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotJoined {
    /// It had data once, and comes without any.
    Lost,
    /// Its data is that of another node.
    OtherNode,
}

/// A part of a tablet on its way to another tablet, most often on another shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShipPart {
    pub from: TabletId,
    pub start: Key,
    pub end: Option<Key>,
    pub tablet: TabletId,
    pub to: ShardId,
}

#[derive(Debug)]
pub enum Reply {
    Get(Result<Option<Found>, Refusal>),
    GetMany(Result<Vec<Option<Found>>, Refusal>),
    Write(Vec<WriteResult>),
    Page(Result<Page, Refusal>),
    CollectionStats(CollectionStats),
    Stats(Box<ShardStats>),
    Done(Result<(), Refusal>),
    Records(u64),
    /// The map and the node, or why the shard does not belong here.
    Joined(Result<(Arc<Catalogue>, NodeId), NotJoined>),
    Changed(Result<Result<bool, CatalogueError>, Refusal>),
    /// Everything is durable at the new owners; versions go on from here.
    Shipped(Result<Seq, Refusal>),
    Search(Result<Box<search::query::Found>, Refusal>),
    Index(search::calls::Told),
    Snapshot(Told),
    Job(jobs::Told),
    Balance(balance::calls::Told),
}

/// One message in an inbox.
#[derive(Debug)]
pub struct Frame<T> {
    pub from: ShardId,
    /// The caller's number of the call.
    pub call: u32,
    pub body: T,
}
