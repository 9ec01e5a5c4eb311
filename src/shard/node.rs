//! A core's door to the whole node.

use std::sync::Arc;

use super::catalogue::{Catalogue, CatalogueError, Collection, Definition};
use super::key::Key;
use super::record::{Found, Page, Refusal, Scan, Write, Written};
use super::stats::{CollectionStats, ShardStats};
use crate::io::executor::sync::Pending;
use crate::io::runtime::Runtime;
use crate::types::ShardId;

/// An answer that is here already (the key is on this core), or on its way.
pub enum Answer<T> {
    Now(T),
    Later(Pending<T>),
}

impl<T> Answer<T> {
    pub async fn get(self) -> T {
        match self {
            Answer::Now(value) => value,
            Answer::Later(pending) => pending.await,
        }
    }
}

/// Cheap to clone; one core's.
#[derive(Clone)]
pub struct Node {}

impl Node {
    pub fn runtime(&self) -> &Runtime {
        unreachable!()
    }

    pub fn shard(&self) -> ShardId {
        unreachable!()
    }

    pub fn shards(&self) -> usize {
        unreachable!()
    }

    /// The map in force on this core.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        unreachable!()
    }

    /// The collection of this name, by the map in force on this core.
    pub fn collection(&self, _name: &str) -> Option<Arc<Collection>> {
        unreachable!()
    }

    /// The visible version of a record. The request starts at once.
    pub fn get(&self, _collection: &Arc<Collection>, _key: &Key) -> Answer<Result<Option<Found>, Refusal>> {
        unreachable!()
    }

    /// As `get` for many keys, in their order.
    pub fn get_many(
        &self,
        _collection: &Arc<Collection>,
        _keys: Vec<Key>,
    ) -> Answer<Result<Vec<Option<Found>>, Refusal>> {
        unreachable!()
    }

    /// One write. It is in its shard's order when this returns; the answer comes by its durability.
    pub fn write(&self, _collection: &Arc<Collection>, _write: Write) -> Answer<Result<Written, Refusal>> {
        unreachable!()
    }

    /// Several writes, each with an outcome of its own, in order of the input. Writes of one key are
    /// applied in that order.
    pub fn write_many(
        &self,
        _collection: &Arc<Collection>,
        _writes: Vec<Write>,
    ) -> Answer<Vec<Result<Written, Refusal>>> {
        unreachable!()
    }

    /// One page of a range, across shards, in key order.
    pub async fn scan(&self, _collection: &Arc<Collection>, _scan: Scan) -> Result<Page, Refusal> {
        unreachable!()
    }

    /// Creates a collection on all cores; `Ok(false)` when it exists with this very definition.
    pub async fn create_collection(
        &self,
        _name: &str,
        _definition: Definition,
    ) -> Result<Result<bool, CatalogueError>, Refusal> {
        unreachable!()
    }

    /// Drops it on all cores.
    pub async fn drop_collection(&self, _name: &str) -> Result<Result<(), CatalogueError>, Refusal> {
        unreachable!()
    }

    /// Cuts a collection that has one tablet at these keys and spreads the parts over the shards.
    pub async fn split_collection(
        &self,
        _name: &str,
        _split_at: Vec<Key>,
    ) -> Result<Result<(), CatalogueError>, Refusal> {
        unreachable!()
    }

    pub async fn collection_stats(&self, _collection: &Arc<Collection>) -> Result<CollectionStats, Refusal> {
        unreachable!()
    }

    /// Of every shard, in order; also of shards that are still recovering.
    pub async fn stats(&self) -> Vec<ShardStats> {
        unreachable!()
    }

    /// Checkpoints every shard now; completes when all are done.
    pub async fn checkpoint(&self) -> Result<(), Refusal> {
        unreachable!()
    }

    /// The default of writes that name no durability.
    pub fn default_durability(&self) -> super::record::Durability {
        unreachable!()
    }
}
