//! Pinned threads, each with a driver and an executor of its own.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::mpsc;
use std::thread;

use core_affinity::CoreId;

use super::{RingConfig, RingDriver};
use crate::io::driver::Driver;
use crate::io::executor::Executor;

/// A running core.
pub struct Core<T> {
    /// What its driver says of itself: the line that the server logs.
    pub about: String,
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
    /// There is no driver for it; says what to do.
    Driver(Box<dyn Error + Send + Sync>),
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
            CoreError::Driver(error) => error.fmt(f),
        }
    }
}

impl Error for CoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CoreError::Thread(error) => Some(error),
            CoreError::Driver(error) => Some(&**error),
            CoreError::NoSuchCore(_) | CoreError::Pin(_) => None,
        }
    }
}

/// Cores that this process may use, at least one; a limit on processor time counts as fewer cores.
pub fn available_cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A driver of the calling thread, with what it says of itself.
pub type Described = Result<(Box<dyn Driver>, String), Box<dyn Error + Send + Sync>>;

/// Starts a thread, pinned to the `core`th of the cores that this process may use, and runs `run` on it
/// with an executor of its own. Returns when its ring is set up, or why it could not be.
pub fn spawn_core<T, F>(core: Option<usize>, name: &str, run: F) -> Result<Core<T>, CoreError>
where
    T: Send + 'static,
    F: FnOnce(Executor) -> T + Send + 'static,
{
    spawn_with(core, name, ring, run)
}

pub(in crate::io) fn ring() -> Described {
    let driver = RingDriver::new(&RingConfig::default())?;
    let about = format!("ring: {}", driver.features());
    Ok((Box::new(driver), about))
}

/// As [`spawn_core`], on the driver that `set_up` makes.
pub(in crate::io) fn spawn_with<T, F>(
    core: Option<usize>,
    name: &str,
    set_up: impl FnOnce() -> Described + Send + 'static,
    run: F,
) -> Result<Core<T>, CoreError>
where
    T: Send + 'static,
    F: FnOnce(Executor) -> T + Send + 'static,
{
    let id = core.map(core_id).transpose()?;
    let (report, started) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Pinned first, so that the memory of the driver is near the core.
            let described = pin(id).and_then(|()| set_up().map_err(CoreError::Driver));
            let (driver, outcome) = match described {
                Ok((driver, about)) => (Some(driver), Ok(about)),
                Err(error) => (None, Err(error)),
            };
            report.send(outcome).expect("the starter waits for this");
            driver.map(|driver| run(Executor::new(driver)))
        })
        .map_err(CoreError::Thread)?;
    let about = started.recv().expect("a core reports before it runs")?;
    Ok(Core { about, thread })
}

fn core_id(core: usize) -> Result<CoreId, CoreError> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.get(core).copied().ok_or(CoreError::NoSuchCore(core))
}

fn pin(id: Option<CoreId>) -> Result<(), CoreError> {
    match id {
        Some(id) if !core_affinity::set_for_current(id) => Err(CoreError::Pin(id.id)),
        _ => Ok(()),
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
