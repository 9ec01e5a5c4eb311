//! Slows the log down when compaction falls behind, or the sending away of a range.
//!
//! Writes that nothing slows down are merged later than they come: level 0 grows, reads look at more parts, and what
//! was overwritten takes room until all at once nothing is accepted any more. And a range that is written to faster
//! than it is sent would never be elsewhere. So each block of the log is followed
//! by a pause, by its size and by how much there is to merge; the core has that time for merging. Blocks become
//! fewer and larger meanwhile, so only bytes are slowed down, not the number of writers.

use std::cell::Cell;
use std::time::Duration;

use crate::io::runtime::Runtime;
use crate::limits;
use crate::types::Mono;

pub struct Hurry<'a>(&'a Pace);

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.hurried.set(self.0.hurried.get() - 1);
    }
}

#[derive(Default)]
pub struct Pace {
    compaction: Cell<f64>,
    /// What is written to a range that is sent away comes faster than it can be sent.
    moving: Cell<f64>,
    over: Cell<bool>,
    /// Those who must not wait.
    hurried: Cell<usize>,
    /// The last pause.
    ended: Cell<Mono>,
    paused: Cell<Duration>,
}

impl Pace {
    /// See [`super::store::shares::Shares::pressure`].
    pub fn set_pressure(&self, pressure: f64) {
        self.compaction.set(pressure);
    }

    /// See [`super::transfer`].
    pub fn set_moving_pressure(&self, pressure: f64) {
        self.moving.set(pressure);
    }

    /// No more writes are accepted: those on their way are not held up.
    pub fn end(&self) {
        self.over.set(true);
    }

    /// No pauses for as long as the result lives: writes are stopped until what is logged now is durable.
    pub fn hurry(&self) -> Hurry<'_> {
        self.hurried.set(self.hurried.get() + 1);
        Hurry(self)
    }

    /// Compaction falls behind: it does not leave the disk to others now.
    pub fn is_behind(&self) -> bool {
        self.compaction.get() > 0.0
    }

    /// The pause that is due behind so many bytes of log: what of their time has not passed since the one before. It
    /// ends early when pressure falls.
    pub async fn pause(&self, runtime: &Runtime, bytes: usize) {
        let passed = Duration::from_nanos(runtime.now().since(self.ended.get()));
        let mut left = bytes as f64 - self.rate().unwrap_or_default() * passed.as_secs_f64();
        while let Some(rate) = self.rate().filter(|_| left >= 1.0) {
            let step = Duration::from_secs_f64(left / rate).min(limits::PACE_STEP);
            // Under next to no pressure a pause is shorter than the clock can tell.
            if step.is_zero() {
                break;
            }
            runtime.sleep(step).await;
            self.paused.set(self.paused.get() + step);
            left -= rate * step.as_secs_f64();
        }
        self.ended.set(runtime.now());
    }

    /// Bytes a second; `None` for as many as there are.
    fn rate(&self) -> Option<f64> {
        let pressure = self.compaction.get().max(self.moving.get());
        let rate = limits::PACED_LOG_BYTES_PER_SECOND * (1.0 - pressure) / pressure;
        let paced = pressure > 0.0 && !self.over.get() && self.hurried.get() == 0;
        paced.then_some(rate.max(limits::PACED_LOG_BYTES_PER_SECOND_MIN))
    }

    /// All pauses so far.
    pub fn paused(&self) -> Duration {
        self.paused.get()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::io::sim::{Sim, SimConfig};

    /// It was an endless loop: a step of no time takes nothing off what is left.
    #[test]
    fn next_to_no_pressure_is_next_to_no_pause() {
        let mut sim = Sim::new(1, SimConfig::cores(1));
        let (runtime, pace) = (sim.runtime(0), Rc::new(Pace::default()));
        pace.set_pressure(1e-12);
        let paused = pace.clone();
        sim.run(async move { paused.pause(&runtime, 4096).await }).expect("it ends");
        assert!(pace.paused() < Duration::from_micros(1));
    }

    #[test]
    fn more_to_merge_means_fewer_bytes_but_never_none() {
        let pace = Pace::default();
        assert_eq!(pace.rate(), None);
        let rates = [0.001, 0.1, 0.5, 0.9, 1.0].map(|pressure| {
            pace.set_pressure(pressure);
            pace.rate().expect("there is pressure")
        });
        assert!(rates.is_sorted_by(|a, b| a > b) && rates[4] > 0.0, "{rates:?}");
        let (one, other) = (pace.hurry(), pace.hurry());
        drop(one);
        assert_eq!(pace.rate(), None);
        drop(other);
        assert!(pace.rate().is_some());
        pace.end();
        assert_eq!(pace.rate(), None);
    }
}
