//! How much is asked of a tablet, and where: rates that forget, and a sample of the keys.
//!
//! A request costs an addition, and one in a few a look at a reservoir. Time is cut into windows by the
//! shard's housekeeping ([`super::boot`]): at the end of one the rate takes half of what was counted in it, so
//! what was asked a minute ago is nearly forgotten, and the samples of the last two windows are kept.
//!
//! Lives with its tablet, on one core. Must not know: clocks. The numbers for the reservoir are mixed from a
//! counter, so that a simulated node repeats itself.

use super::key::Key;
use crate::limits;
use crate::rmi::quantiles::Reservoir;
use crate::types::TabletId;

pub struct Heat {
    pub reads: Meter,
    pub writes: Meter,
}

impl Heat {
    pub fn new(tablet: TabletId) -> Heat {
        let seed = u64::from(tablet.0) << 32;
        Heat { reads: Meter::new(seed, limits::HEAT_REQUESTS_PER_SAMPLED_READ), writes: Meter::new(!seed, 1) }
    }

    /// A window is over; it took so long.
    pub fn end_window(&mut self, seconds: f64) {
        self.reads.end_window(seconds);
        self.writes.end_window(seconds);
    }
}

pub struct Meter {
    count: u64,
    per_second: f64,
    /// Feeds the reservoir.
    mixed: u64,
    /// One key in so many is offered to the sample; a power of two.
    every: u64,
    window: Reservoir<Key>,
    /// Sorted, of the last window and of the one before it.
    last: Vec<Key>,
    older: Vec<Key>,
}

/// Keys that are written always beyond those before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    /// Nearly all that is written by now is below.
    pub at: Key,
    /// Where it will be after a window more, where that can be told.
    pub ahead: Key,
}

impl Meter {
    fn new(seed: u64, every: u64) -> Meter {
        assert!(every.is_power_of_two());
        let window = Reservoir::new(limits::HEAT_SAMPLE_KEYS);
        Meter { count: 0, per_second: 0.0, mixed: seed, every, window, last: Vec::new(), older: Vec::new() }
    }

    pub fn note(&mut self, key: &Key) {
        self.count += 1;
        if self.count & (self.every - 1) == 0 {
            let number = self.next_number();
            self.window.offer(number, || key.clone());
        }
    }

    /// SplitMix64.
    fn next_number(&mut self) -> u64 {
        self.mixed = self.mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.mixed ^ (self.mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn end_window(&mut self, seconds: f64) {
        let now = std::mem::take(&mut self.count) as f64 / seconds.max(1e-3);
        self.per_second = (self.per_second + now) / 2.0;
        if self.per_second < limits::HEAT_PER_SECOND_MIN {
            self.per_second = 0.0;
        }
        let window = std::mem::replace(&mut self.window, Reservoir::new(limits::HEAT_SAMPLE_KEYS));
        self.older = std::mem::replace(&mut self.last, window.into_sorted());
    }

    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Sorted keys of the last two windows.
    pub fn sample(&self) -> Vec<Key> {
        let mut all: Vec<Key> = self.older.iter().chain(&self.last).cloned().collect();
        all.sort_unstable();
        all
    }

    /// Where the keys grow to, when most of the last window lie beyond nearly all of the one before it. One in
    /// twenty would by chance.
    pub fn front(&self) -> Option<Front> {
        if self.last.len().min(self.older.len()) < limits::HEAT_FRONT_KEYS_MIN {
            return None;
        }
        let nearly_all = |keys: &[Key]| keys[keys.len() * 19 / 20].clone();
        let (before, at) = (nearly_all(&self.older), nearly_all(&self.last));
        let beyond = self.last.len() - self.last.partition_point(|key| *key <= before);
        if beyond * 2 < self.last.len() {
            return None;
        }
        let ahead = match (before.as_u64(), at.as_u64()) {
            (Some(before), Some(now)) => Key::from_u64(now.saturating_add(now - before)),
            _ => at.clone(),
        };
        Some(Front { at, ahead })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(windows: [Vec<u64>; 2]) -> Meter {
        let mut meter = Meter::new(7, 1);
        for window in windows {
            window.into_iter().for_each(|key| meter.note(&Key::from_u64(key)));
            meter.end_window(1.0);
        }
        meter
    }

    #[test]
    fn rates_rise_at_once_and_are_forgotten() {
        let mut meter = noted([(0..1000).collect(), (0..1000).collect()]);
        assert_eq!(meter.per_second(), 750.0);
        (0..30).for_each(|_| meter.end_window(1.0));
        assert_eq!((meter.per_second(), meter.sample().len()), (0.0, 0));
    }

    #[test]
    fn a_growing_key_is_seen_and_where_it_will_be() {
        let front = noted([(0..1000).collect(), (1000..2000).collect()]).front().expect("it grows");
        let (at, ahead) = (front.at.as_u64().unwrap(), front.ahead.as_u64().unwrap());
        assert!((1800..2000).contains(&at) && (2600..3000).contains(&ahead), "{at} {ahead}");
    }

    #[test]
    fn nothing_else_is_taken_for_growth() {
        let mixed = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        assert_eq!(noted([(0..1000).map(mixed).collect(), (1000..2000).map(mixed).collect()]).front(), None);
        assert_eq!(noted([(1000..2000).collect(), (0..1000).collect()]).front(), None, "it falls");
        assert_eq!(noted([(0..5).collect(), (5..10).collect()]).front(), None, "too few");
        // A key beyond all others is no end of growth, and no growth.
        let some = |from: u64| (from..from + 999).chain([u64::MAX]).collect::<Vec<_>>();
        assert!(noted([some(0), some(1000)]).front().is_some());
        assert!(noted([some(0), some(0)]).front().is_none());
    }
}
