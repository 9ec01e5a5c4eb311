//! The storage engine beside RocksDB and LMDB, each in process, on the same data, under the same limit of
//! memory, at the same durability: `cargo run --release -- run --dir DIR`, from this folder.
//!
//! Every engine lives in a process of its own, so that memory and disk traffic of each are known; the
//! runner asks them in turns (A B C A B C), and stops the processes whose turn it is not. Every answer is
//! checked against a value made from key and version.
//!
//! After the load each engine puts into files what it has in memory, and is waited for until its own policy finds nothing
//! more to merge; that time is part of the load. No engine is told to merge everything, here or before reads.

mod args;
mod clock;
mod engine;
#[path = "../../../tests/support/keysets.rs"]
mod keysets;
mod kyro;
mod lmdb;
mod peer;
mod report;
#[cfg(feature = "rocksdb")]
mod rocks;
mod runner;
mod table;
mod task;
mod worker;

use clap::Parser;

/// That of the program, as the engine is run; RocksDB and LMDB take their memory from the C library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // As the server does.
    kyrodb::io::uring::keep_freed_memory();
    match args::Command::parse().what {
        args::What::Run(args) => runner::run(&args),
        args::What::Worker(args) => worker::run(&args),
    }
}
