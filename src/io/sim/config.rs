//! The shape and speed of a simulated machine.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::faults::Faults;
use super::trace::TraceMode;

#[derive(Clone, Debug)]
pub struct SimConfig {
    pub cores: usize,
    pub trace: TraceMode,
    pub faults: Faults,
    /// Keeps a record of every file write: see [`super::audit`].
    pub audit: bool,
    /// Time that one step of a core takes.
    pub step_ns: RangeInclusive<u64>,
    /// Time from submission to completion of a disk operation.
    pub disk_ns: RangeInclusive<u64>,
    /// Time until the next piece of a stream, or a connection, arrives.
    pub net_ns: RangeInclusive<u64>,
    /// Receive buffers that each core can lend out.
    pub receive_buffers_max: u16,
    /// The power is cut just after the crash point of this number.
    pub power_off_at: Option<u64>,
    /// A run that takes more steps, or more virtual time, is stuck.
    pub steps_max: u64,
    pub run_max: Duration,
}

impl Default for SimConfig {
    fn default() -> SimConfig {
        SimConfig {
            cores: 1,
            trace: TraceMode::Off,
            faults: Faults::default(),
            audit: false,
            step_ns: 100..=5_000,
            disk_ns: 5_000..=200_000,
            net_ns: 1_000..=100_000,
            receive_buffers_max: crate::limits::RECEIVE_BUFFERS_MAX,
            power_off_at: None,
            steps_max: 50_000_000,
            run_max: Duration::from_secs(24 * 3600),
        }
    }
}

impl SimConfig {
    pub fn cores(cores: usize) -> SimConfig {
        SimConfig { cores, ..SimConfig::default() }
    }
}
