//! Pinned threads, each with a ring and an executor of its own.

use std::fmt;
use std::io;
use std::sync::mpsc;
use std::thread;

use core_affinity::CoreId;

use super::{Features, RingConfig, RingDriver, RingError};
use crate::io::executor::Executor;

/// A running core.
pub struct Core<T> {
    /// What its ring chose at start.
    pub features: Features,
    thread: thread::JoinHandle<Option<T>>,
}

impl<T> Core<T> {
    /// Waits for the core to end; `Err` with the payload when it panicked.
    pub fn join(self) -> thread::Result<T> {
        let ended = self.thread.join()?;
        Ok(ended.expect("a core that started runs to its end"))
    }
}

#[derive(Debug)]
pub enum CoreError {
    /// There are fewer cores than this for the process.
    NoSuchCore(usize),
    /// The system has no room for another thread.
    Thread(io::Error),
    /// The system refused to keep the thread on this core.
    Pin(usize),
    Ring(RingError),
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CoreError::NoSuchCore(core) => {
                write!(f, "there is no core {core} for this process: ask for at most {}", available_cores())
            }
            CoreError::Thread(error) => write!(f, "cannot start a thread: {error}; see ulimit -u"),
            CoreError::Pin(core) => {
                write!(f, "cannot pin a thread to core {core}: see the cpuset of this process")
            }
            CoreError::Ring(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CoreError::Thread(error) => Some(error),
            CoreError::Ring(error) => Some(error),
            CoreError::NoSuchCore(_) | CoreError::Pin(_) => None,
        }
    }
}

/// Cores that this process may use, at least one; a limit on processor time counts as fewer cores.
pub fn available_cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Starts a thread, pinned to the `core`th of the cores that this process may use, and runs `run` on it
/// with an executor of its own. Returns when its ring is set up, or why it could not be.
pub fn spawn_core<T, F>(core: Option<usize>, name: &str, run: F) -> Result<Core<T>, CoreError>
where
    T: Send + 'static,
    F: FnOnce(Executor) -> T + Send + 'static,
{
    let pin = core.map(core_id).transpose()?;
    let (report, started) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let (driver, outcome) = match set_up(pin) {
                Ok(driver) => {
                    let features = driver.features();
                    (Some(driver), Ok(features))
                }
                Err(error) => (None, Err(error)),
            };
            report.send(outcome).expect("the starter waits for this");
            driver.map(|driver| run(Executor::new(Box::new(driver))))
        })
        .map_err(CoreError::Thread)?;
    let features = started.recv().expect("a core reports before it runs")?;
    Ok(Core { features, thread })
}

fn core_id(core: usize) -> Result<CoreId, CoreError> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.get(core).copied().ok_or(CoreError::NoSuchCore(core))
}

/// Pins first, so that the memory of the ring is near the core.
fn set_up(pin: Option<CoreId>) -> Result<RingDriver, CoreError> {
    match pin {
        Some(id) if !core_affinity::set_for_current(id) => Err(CoreError::Pin(id.id)),
        _ => RingDriver::new(&RingConfig::default()).map_err(CoreError::Ring),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_runs_pinned_and_returns_its_value() {
        let core = spawn_core(Some(0), "core-0", |mut executor| {
            let runtime = executor.runtime();
            executor.block_on(async move { runtime.yield_now().await });
            (thread::current().name().map(str::to_owned), core_affinity::get_core_ids().unwrap().len())
        });
        assert_eq!(core.unwrap().join().unwrap(), (Some("core-0".to_owned()), 1));
    }

    #[test]
    fn a_core_that_does_not_exist_is_refused() {
        let refused = spawn_core(Some(1 << 20), "nowhere", |_| ());
        assert!(matches!(refused, Err(CoreError::NoSuchCore(_))));
        assert!(available_cores() >= 1);
    }
}
