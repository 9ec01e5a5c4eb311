//! One line on stderr that tells how far long work is: a bar, rate, share, time left. Only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Characters of the bar.
const BAR_CHARS: usize = 20;
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Records in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    Unknown,
    /// By the length of those that were read.
    About(u64),
    Exact(u64),
}

pub struct Progress {
    label: &'static str,
    total: Total,
    done: Arc<AtomicU64>,
    started: Instant,
    drawn: Instant,
    is_terminal: bool,
}

impl Progress {
    pub fn new(label: &'static str, total: Total) -> Progress {
        let now = Instant::now();
        let done = Arc::default();
        Progress { label, total, done, started: now, drawn: now, is_terminal: io::stderr().is_terminal() }
    }

    /// For threads that count what is done.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.done.clone()
    }

    /// As it is known by now.
    pub fn expect(&mut self, total: Total) {
        self.total = total;
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

fn line(label: &str, done: u64, total: Total, rate: f64) -> String {
    let (about, total) = match total {
        Total::About(total) if total >= done => ("about ", total),
        Total::Exact(total) if total >= done => ("", total),
        _ => return format!("{label} {done}  {rate:.0}/s"),
    };
    let percent = done * 100 / total.max(1);
    let left = match rate {
        rate if rate > 0.0 => format!("{:.0} s left", (total - done) as f64 / rate),
        _ => "waiting".to_owned(),
    };
    let bar = "#".repeat(percent as usize * BAR_CHARS / 100);
    format!("{label} [{bar:.<BAR_CHARS$}] {done} of {about}{total}  {percent}%  {rate:.0}/s  {left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_rate_and_time_left() {
        assert_eq!(
            line("import", 250, Total::Exact(1000), 50.0),
            "import [#####...............] 250 of 1000  25%  50/s  15 s left"
        );
        assert_eq!(
            line("import", 10, Total::About(10), 0.0),
            "import [####################] 10 of about 10  100%  0/s  waiting"
        );
        assert_eq!(
            line("import", 0, Total::Exact(0), 0.0),
            "import [....................] 0 of 0  0%  0/s  waiting"
        );
        assert_eq!(line("import", 7, Total::About(6), 3.4), "import 7  3/s");
        assert_eq!(line("export", 7, Total::Unknown, 3.4), "export 7  3/s");
    }
}
