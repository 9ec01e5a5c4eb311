//! Structured logs on stderr, filtered by `RUST_LOG` (default `info`, also in place of a wrong one, which is told).
//!
//! A thread of its own writes them: stderr may be a pipe that nobody empties or a file on a busy disk, and no core waits
//! for either. When it falls behind by as many lines as it keeps, further ones are dropped.
//!
//! To the journal of systemd each line goes with its priority and without a time, of which the journal has its own
//! (sd-daemon(3), `$JOURNAL_STREAM` in systemd.exec(5)).

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What is logged is written out when the guard is dropped.
pub fn init() -> WorkerGuard {
    let wanted = EnvFilter::try_from_default_env();
    let is_given = std::env::var_os(EnvFilter::DEFAULT_ENV).is_some();
    let wrong = wanted.as_ref().err().filter(|_| is_given).map(ToString::to_string);
    let filter = wanted.unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // A second call, in a test, keeps the first subscriber.
    let _ = match goes_to_journal() {
        true => lines.with_ansi(false).event_format(ForJournal(Format::default().without_time())).try_init(),
        false => lines.try_init(),
    };
    if let Some(wrong) = wrong {
        tracing::warn!(
            "RUST_LOG is ignored, `info` taken: {wrong}; wanted is one as `warn` or `kyrodb=debug`"
        );
    }
    guard
}

fn goes_to_journal() -> bool {
    is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref())
}

/// Whether stderr is the stream that systemd means: what a service starts inherits the variable, and may write elsewhere.
fn is_journal(stream: Option<&str>) -> bool {
    let own = std::io::stderr().as_fd().try_clone_to_owned().and_then(|fd| File::from(fd).metadata());
    own.is_ok_and(|own| stream == Some(format!("{}:{}", own.dev(), own.ino()).as_str()))
}

/// A line on stderr that is no event: the last word of a command.
pub fn complain(what: impl fmt::Display) {
    let priority = if goes_to_journal() { format!("<{}>", priority(&Level::ERROR)) } else { String::new() };
    eprintln!("{priority}kyrodb: {what}");
}

struct ForJournal(Format<Full, ()>);

impl<S, N> FormatEvent<S, N> for ForJournal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(writer, "<{}>", priority(event.metadata().level()))?;
        self.0.format_event(context, writer, event)
    }
}

/// Of syslog.
fn priority(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_its_stream() {
        let own = File::from(std::io::stderr().as_fd().try_clone_to_owned().unwrap()).metadata().unwrap();
        assert!(is_journal(Some(&format!("{}:{}", own.dev(), own.ino()))));
        for other in [None, Some(""), Some("1"), Some(&*format!("{}:{}", own.dev(), own.ino() + 1))] {
            assert!(!is_journal(other), "{other:?}");
        }
    }
}
