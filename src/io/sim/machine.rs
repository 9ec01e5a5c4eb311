//! What all devices of a simulated machine share: time, randomness, faults, the trace, the queue of
//! events to come, and the completions that wait for their cores.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::config::SimConfig;
use super::faults::Faults;
use super::rng::Rng;
use super::trace::Trace;
use crate::io::op::{Completion, Handle, Outcome, Token};
use crate::types::{Mono, WallMs};

/// Virtual time begins in 2024.
const WALL_START_MS: u64 = 1_704_067_200_000;

/// Who waits for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub core: usize,
    pub token: Token,
}

pub(super) enum Event {
    /// The disk carries out the operation of this number.
    Perform(u64),
    /// The disk reports the operation of this number.
    Complete(u64),
    /// An operation that is neither ends.
    Reply(Waiter, Outcome),
    /// A connection attempt arrives.
    Connect(Waiter, std::net::SocketAddr),
    /// The next piece of a stream arrives at this socket.
    Arrive(Handle),
}

pub(super) struct Machine {
    pub rng: Rng,
    pub config: SimConfig,
    pub now: Mono,
    pub trace: Trace,
    wall_back_ms: u64,
    events: BTreeMap<(Mono, u64), Event>,
    scheduled: u64,
    inboxes: Vec<VecDeque<Completion>>,
    handles: u32,
}

impl Machine {
    pub fn new(seed: u64, config: SimConfig) -> Machine {
        Machine {
            rng: Rng::new(seed),
            now: Mono::ZERO,
            trace: Trace::new(config.trace),
            wall_back_ms: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            inboxes: (0..config.cores).map(|_| VecDeque::new()).collect(),
            handles: 0,
            config,
        }
    }

    pub fn faults(&self) -> &Faults {
        &self.config.faults
    }

    pub fn log(&mut self, line: fmt::Arguments<'_>) {
        let now = self.now;
        self.trace.line(format_args!("{now} {line}"));
    }

    // ---- time

    pub fn wall(&self) -> WallMs {
        WallMs(WALL_START_MS + self.now.0 / 1_000_000 - self.wall_back_ms)
    }

    pub fn step_wall_back(&mut self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.wall_back_ms = self.wall_back_ms.saturating_add(by_ms).min(WALL_START_MS);
        self.log(format_args!("wall back {by_ms} ms"));
    }

    pub fn maybe_step_wall_back(&mut self) {
        if self.rng.chance(self.config.faults.wall_back_permille) {
            let by = draw_up_to(&mut self.rng, self.config.faults.wall_back);
            self.step_wall_back(Duration::from_nanos(by));
        }
    }

    pub fn draw(&mut self, range: &RangeInclusive<u64>) -> u64 {
        self.rng.between(*range.start(), *range.end())
    }

    /// How long a disk operation takes from submission to completion.
    pub fn disk_delay(&mut self) -> u64 {
        let delay = self.draw(&self.config.disk_ns.clone());
        let slow = self.rng.chance(self.config.faults.slow_disk_permille);
        delay + if slow { draw_up_to(&mut self.rng, self.config.faults.slow_disk) } else { 0 }
    }

    pub fn net_delay(&mut self) -> u64 {
        let delay = self.draw(&self.config.net_ns.clone());
        let slow = self.rng.chance(self.config.faults.slow_net_permille);
        delay + if slow { draw_up_to(&mut self.rng, self.config.faults.slow_net) } else { 0 }
    }

    // ---- events

    pub fn schedule(&mut self, delay_ns: u64, event: Event) {
        let at = Mono(self.now.0.saturating_add(delay_ns));
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    pub fn next_event(&self) -> Option<Mono> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next event that lies at or before `until`; time moves to it.
    pub fn pop_event(&mut self, until: Mono) -> Option<Event> {
        let first = self.events.first_entry().filter(|first| first.key().0 <= until)?;
        let ((at, _), event) = first.remove_entry();
        assert!(at >= self.now, "time goes forward");
        self.now = at;
        Some(event)
    }

    // ---- completions

    /// The operation ends soon, on its own.
    pub fn reply(&mut self, waiter: Waiter, outcome: Outcome) {
        let delay = self.draw(&(0..=*self.config.net_ns.start()));
        self.schedule(delay, Event::Reply(waiter, outcome));
    }

    /// The operation ends now.
    pub fn complete(&mut self, waiter: Waiter, outcome: Outcome) {
        self.push(waiter, outcome, false);
    }

    /// One of several completions of a stream.
    pub fn stream(&mut self, waiter: Waiter, outcome: Outcome) {
        self.push(waiter, outcome, true);
    }

    fn push(&mut self, waiter: Waiter, outcome: Outcome, more: bool) {
        let Waiter { core, token } = waiter;
        self.log(format_args!("c{core} end t{} {} {more}", token.0, Brief(&outcome)));
        self.inboxes[core].push_back(Completion { token, outcome, more });
    }

    pub fn has_completions(&self, core: usize) -> bool {
        !self.inboxes[core].is_empty()
    }

    pub fn take_completions(&mut self, core: usize) -> VecDeque<Completion> {
        std::mem::take(&mut self.inboxes[core])
    }

    pub fn new_handle(&mut self) -> Handle {
        self.handles += 1;
        Handle(self.handles)
    }
}

fn draw_up_to(rng: &mut Rng, limit: Duration) -> u64 {
    rng.between(0, u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
}

/// An outcome in the trace: what it gave and a hash of its bytes.
struct Brief<'a>(&'a Outcome);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Outcome::Done => f.write_str("done"),
            Outcome::Opened(handle) => write!(f, "opened h{}", handle.0),
            Outcome::Read { count, buf } => write!(f, "read {count} {}", hash(&buf[..*count])),
            Outcome::Wrote(buf) => write!(f, "wrote {}", buf.len()),
            Outcome::Len(len) => write!(f, "len {len}"),
            Outcome::Entries(entries) => write!(f, "entries {}", entries.len()),
            Outcome::Listening { listener, addr } => write!(f, "listening h{} {addr}", listener.0),
            Outcome::Accepted { socket, peer } => write!(f, "accepted h{} {peer}", socket.0),
            Outcome::Received(lease) => write!(f, "received {} {}", lease.len(), hash(lease)),
            Outcome::Sent(buf) => write!(f, "sent {}", buf.bytes().len()),
            Outcome::Failed(error) => write!(f, "failed {}", error.raw_os_error().unwrap_or(0)),
        }
    }
}

pub(super) fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(bytes))
}
