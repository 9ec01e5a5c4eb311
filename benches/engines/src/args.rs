//! The command line of the runner, and that of the processes that it starts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

#[derive(Parser)]
pub struct Command {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand)]
pub enum What {
    /// All engines side by side, in turns.
    Run(RunArgs),
    /// The process of one engine; started by `run`.
    Worker(WorkerArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
pub enum EngineName {
    Kyrodb,
    #[cfg(feature = "rocksdb")]
    Rocksdb,
    /// With direct reads, past the kernel's cache.
    #[cfg(feature = "rocksdb")]
    RocksdbDirect,
    Lmdb,
}

impl EngineName {
    pub fn name(self) -> &'static str {
        match self {
            EngineName::Kyrodb => "kyrodb",
            #[cfg(feature = "rocksdb")]
            EngineName::Rocksdb => "rocksdb",
            #[cfg(feature = "rocksdb")]
            EngineName::RocksdbDirect => "rocksdb-direct",
            EngineName::Lmdb => "lmdb",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Everything fits into memory.
    Warm,
    /// Data larger than the memory limit; caches are dropped before each turn.
    Cold,
    /// Random overwrites with a reader beside, on the data of `cold`.
    Overwrite,
}

#[derive(Args)]
pub struct RunArgs {
    /// An empty directory on the disk to be measured.
    #[arg(long)]
    pub dir: PathBuf,
    /// Keys in SOSD format; without it, uniform keys made from a seed.
    #[arg(long)]
    pub keys: Option<PathBuf>,
    #[arg(long, value_delimiter = ',', default_value = "warm,cold,overwrite")]
    pub parts: Vec<Part>,
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = EngineName::value_variants().iter().copied())]
    pub engines: Vec<EngineName>,
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    #[arg(long, default_value_t = 1_000_000)]
    pub warm_records: usize,
    #[arg(long, default_value_t = 2048)]
    pub warm_limit_mib: usize,
    /// Of `cold` and `overwrite`.
    #[arg(long, default_value_t = 10_000_000)]
    pub records: usize,
    /// Memory of each engine in `cold` and `overwrite`; the keys and versions of the benchmark come on top.
    #[arg(long, default_value_t = 512)]
    pub limit_mib: usize,
    #[arg(long, default_value_t = 5)]
    pub rounds: u64,
    /// Reads of a turn of `warm`.
    #[arg(long, default_value_t = 500_000)]
    pub warm_reads: usize,
    /// Reads of a turn of `cold`.
    #[arg(long, default_value_t = 5_000)]
    pub cold_reads: usize,
    /// Writes in one synced batch.
    #[arg(long, default_value_t = 100)]
    pub batch: usize,
    /// Overwriting, for each engine.
    #[arg(long, default_value_t = 600.0)]
    pub seconds: f64,
    /// Length of one turn of overwriting; an engine stands still while it is not its turn.
    #[arg(long, default_value_t = 60.0)]
    pub turn_seconds: f64,
    /// Of the reader beside the writes. More than the machine can read means that reads queue up, and their
    /// latency says nothing but that.
    #[arg(long, default_value_t = 200)]
    pub reads_per_s: u64,
    /// Where control groups of memory are made (v1 or v2), one an engine. Without it memory is not limited.
    #[arg(long)]
    pub cgroup: Option<PathBuf>,
    /// The report goes here too.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

#[derive(Args)]
pub struct WorkerArgs {
    #[arg(long)]
    pub engine: EngineName,
    #[arg(long)]
    pub dir: PathBuf,
    #[arg(long)]
    pub keys: PathBuf,
    #[arg(long)]
    pub records: usize,
    #[arg(long)]
    pub value_bytes: usize,
    #[arg(long)]
    pub memory_mib: usize,
    #[arg(long)]
    pub cgroup: Option<PathBuf>,
}
