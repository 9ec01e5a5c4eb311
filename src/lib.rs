//! KyroDB: a record's value, vector, text and metadata under one durable log.
//!
//! Data flows one way: [`net`] to [`shard`] to [`rmi`], [`vector`] and [`io`]. ARCHITECTURE.md has the
//! code map and the invariants.

pub mod cli;
pub mod io;
pub mod limits;
pub mod net;
pub mod replication;
pub mod rmi;
pub mod shard;
pub mod types;
pub mod vector;
