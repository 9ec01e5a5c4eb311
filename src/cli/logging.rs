//! Structured logs on stderr, filtered by `RUST_LOG` (default `info`).
//!
//! A thread of its own writes them: stderr may be a pipe that nobody empties or a file on a busy disk, and no core waits
//! for either. When it falls behind by as many lines as it keeps, further ones are dropped.

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

/// What is logged is written out when the guard is dropped.
pub fn init() -> WorkerGuard {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    // A second call, in a test, keeps the first subscriber.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).try_init();
    guard
}
