//! One line on stderr that tells how far long work is: rate, share, time left. Only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DRAW_EVERY: Duration = Duration::from_millis(100);

pub struct Progress {
    label: &'static str,
    /// Records in all, when that is known.
    total: Option<u64>,
    done: Arc<AtomicU64>,
    started: Instant,
    drawn: Instant,
    is_terminal: bool,
}

impl Progress {
    pub fn new(label: &'static str, total: Option<u64>) -> Progress {
        let now = Instant::now();
        let done = Arc::default();
        Progress { label, total, done, started: now, drawn: now, is_terminal: io::stderr().is_terminal() }
    }

    /// For threads that count what is done.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.done.clone()
    }

    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Records a second so far.
    pub fn rate(&self) -> f64 {
        self.done() as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Draws when the last drawing is old enough.
    pub fn draw(&mut self) {
        if self.is_terminal && self.drawn.elapsed() >= DRAW_EVERY {
            self.drawn = Instant::now();
            // A broken stderr must not end the work.
            let _ =
                write!(io::stderr(), "\r\x1b[K{}", line(self.label, self.done(), self.total, self.rate()));
        }
    }
}

impl Drop for Progress {
    /// Takes the line away.
    fn drop(&mut self) {
        if self.is_terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(label: &str, done: u64, total: Option<u64>, rate: f64) -> String {
    let Some(total) = total.filter(|total| *total >= done) else {
        return format!("{label} {done}  {rate:.0}/s");
    };
    let percent = done * 100 / total.max(1);
    let left = match rate {
        rate if rate > 0.0 => format!("{:.0} s left", (total - done) as f64 / rate),
        _ => "waiting".to_owned(),
    };
    format!("{label} {done} of {total}  {percent}%  {rate:.0}/s  {left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_rate_and_time_left() {
        assert_eq!(line("import", 250, Some(1000), 50.0), "import 250 of 1000  25%  50/s  15 s left");
        assert_eq!(line("import", 0, Some(0), 0.0), "import 0 of 0  0%  0/s  waiting");
        assert_eq!(line("export", 7, None, 3.4), "export 7  3/s");
    }
}
