//! The service manager, systemd's way: readiness, the watchdog, and a socket that it hands down.
//!
//! Outside of one nothing here does anything. Protocols: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

use super::failure::Failure;
use crate::io::uring::inherited_listener;
use crate::types::ShardId;

/// How often the main thread looks up when nobody waits for it.
const UNWATCHED: Duration = Duration::from_secs(3600);
const LOOK_PERIOD_MIN: Duration = Duration::from_millis(10);
const LOOK_PERIOD_MAX: Duration = Duration::from_secs(1);
/// For a busy disk.
const END_SLACK: Duration = Duration::from_secs(9);

pub struct Service {
    watchdog: Option<Duration>,
}

impl Service {
    pub fn of_this_process() -> Service {
        Service { watchdog: sd_notify::watchdog_enabled().filter(|after| !after.is_zero()) }
    }

    /// The socket to listen on, when there is one.
    pub fn inherited_socket(&self) -> Result<Option<OwnedFd>, Failure> {
        let unusable = |source| Failure::Engine { what: "the socket of the service manager", source };
        let mut sockets = sd_notify::listen_fds().map_err(|error| unusable(error.into()))?;
        match (sockets.next(), sockets.next()) {
            (None, _) => Ok(None),
            (Some(socket), None) => {
                inherited_listener(socket).map(Some).map_err(|error| unusable(error.into()))
            }
            (Some(_), Some(_)) => Err(unusable("more than one was handed down; one is served".into())),
        }
    }

    pub fn ready(&self, url: &str, shards: usize) {
        let plural = if shards == 1 { "" } else { "s" };
        let status = format!("serving {url} with {shards} shard{plural}");
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// `longest`: until the end of the process, at most.
    pub fn stopping(&self, longest: Duration) {
        let micros = (longest + END_SLACK).as_micros().min(u32::MAX.into()) as u32;
        tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
    }

    pub fn alive(&self) {
        if self.watchdog.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// How often to say that all is well. The last word before a hang may be a period old, and the first one behind it comes a
    /// period late: with long ones a hang would be taken for one of twice its time.
    pub fn period(&self) -> Duration {
        self.watchdog.map_or(UNWATCHED, |after| (after / 8).clamp(LOOK_PERIOD_MIN, LOOK_PERIOD_MAX))
    }

    /// Looks in half of the time after which the service manager takes the process for dead.
    pub fn looks_in_half(&self) -> u32 {
        self.watchdog
            .map_or(u32::MAX, |after| ((after / 2).as_millis() / self.period().as_millis()).max(1) as u32)
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// The turns of all cores, for the main thread to see that none hangs.
pub struct Pulse {
    turns: Vec<AtomicU64>,
}

impl Pulse {
    pub fn new(shards: usize) -> Pulse {
        Pulse { turns: (0..shards).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The core took a turn. Only the core itself says so.
    pub fn beat(&self, shard: ShardId) {
        let turns = &self.turns[usize::from(shard.0)];
        turns.store(turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// What was seen of a [`Pulse`] at the last look.
#[derive(Default)]
pub struct LastLook {
    turns: Vec<u64>,
}

impl LastLook {
    /// Whether every core took a turn since the last look. A core with nothing to do takes none: it has to be woken
    /// after each look.
    pub fn all_turned(&mut self, pulse: &Pulse) -> bool {
        let now: Vec<u64> = pulse.turns.iter().map(|turns| turns.load(Ordering::Relaxed)).collect();
        let before = std::mem::replace(&mut self.turns, now);
        before.is_empty() || before.iter().zip(&self.turns).all(|(before, now)| before != now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_takes_no_turn_is_seen() {
        let (pulse, mut look) = (Pulse::new(2), LastLook::default());
        assert!(look.all_turned(&pulse), "there was no look before");
        assert!(!look.all_turned(&pulse));
        pulse.beat(ShardId(0));
        assert!(!look.all_turned(&pulse), "the other one did not turn");
        pulse.beat(ShardId(0));
        pulse.beat(ShardId(1));
        assert!(look.all_turned(&pulse));
    }
}
