//! Benchmarks as commands: each prints one object, and checks every answer that it times.
//!
//! `kv` is a client: one executor drives all connections ([`connection`]), draws operations from a
//! workload ([`workload`]) and judges answers by what it knows it wrote ([`ledger`]). `wal` measures
//! group commit in process, beside a bare write+sync loop on the same disk ([`raw_sync`]). `rmi` asks the
//! learned index and its peers ([`structures`]) for the same keys ([`timing`]). `vector` builds an index over
//! a file of vectors and measures recall and cost of searches.

mod connection;
mod cpu;
pub mod kv;
mod ledger;
mod load;
pub mod raw_sync;
pub mod rmi;
mod structures;
mod timing;
pub mod vector;
pub mod wal;
mod workload;
