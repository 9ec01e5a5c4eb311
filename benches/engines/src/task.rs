//! What the runner asks of the process of an engine, and what that answers: a line of JSON each.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Task {
    /// Writes every record once, in order of keys, in synced batches.
    Load {
        batch: usize,
    },
    /// Waits until nothing is done in the background any more.
    Settle,
    /// Reads every record, in an order of its own.
    ReadAll,
    /// Point reads of keys that are there, `batch` at a time. Each is timed when `timed`.
    Points {
        seed: u64,
        count: usize,
        batch: usize,
        timed: bool,
    },
    /// Ranges of `len` records each.
    Ranges {
        seed: u64,
        count: usize,
        len: usize,
        timed: bool,
    },
    /// Synced batches of random keys for so long, with a paced reader beside.
    Overwrite {
        seed: u64,
        seconds: f64,
        batch: usize,
        reads_per_s: u64,
    },
    Quit,
}

/// What one task took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Reads, ranges or writes.
    pub count: u64,
    /// Of the thread that calls the engine.
    pub cpu_ns: u64,
    /// Of all threads.
    pub process_cpu_ns: u64,
    pub wall_ns: u64,
    pub latency: Option<Latency>,
    /// Since the process began.
    pub rss_peak_bytes: u64,
    pub disk_written_bytes: u64,
    pub disk_read_bytes: u64,
    /// What the engine says of itself.
    pub engine: Vec<(String, u64)>,
}

/// Counts of a histogram, so that those of several slices can be added up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    pub ns: Vec<(u64, u64)>,
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 600_000_000_000, 3).expect("valid bounds")
}

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let ns = histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
        Latency { ns: ns.collect() }
    }

    pub fn add_to(&self, sum: &mut Histogram<u64>) {
        self.ns.iter().for_each(|(ns, count)| sum.saturating_record_n(*ns, *count));
    }
}
