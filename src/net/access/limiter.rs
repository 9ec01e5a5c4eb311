//! How often a caller may come: the generic cell rate algorithm (ITU-T I.371, annex A, in the form of
//! virtual scheduling).
//!
//! A limiter is one number, the theoretical arrival time of the next request if all came at the rate
//! exactly. A request may be early by as much as a burst takes; each moves the number on by an interval.
//! So there is no timer and nothing to refill, and all cores share a limiter without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::types::Mono;

const SECOND_NS: u64 = 1_000_000_000;

/// Requests a second, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval_ns: u64,
    burst: u64,
}

impl Rate {
    /// `None`, no limit, for 0 a second. A burst of 0 is what comes in a second.
    pub fn new(per_second: u32, burst: u32) -> Option<Rate> {
        let interval_ns = (SECOND_NS / u64::from(per_second.max(1))).max(1);
        let burst = u64::from(if burst == 0 { per_second } else { burst });
        (per_second > 0).then_some(Rate { interval_ns, burst })
    }

    pub fn burst(self) -> u64 {
        self.burst
    }

    /// Until a burst that was used up has come back, in whole seconds.
    pub fn window_seconds(self) -> u64 {
        (self.burst * self.interval_ns).div_ceil(SECOND_NS)
    }
}

/// Which requests share a limit. Data traffic does not use up what steers the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    Data,
    Admin,
}

impl Budget {
    pub const ALL: [Budget; 2] = [Budget::Data, Budget::Admin];

    pub fn name(self) -> &'static str {
        match self {
            Budget::Data => "data",
            Budget::Admin => "admin",
        }
    }
}

/// The configured rates of every caller; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub data: Option<Rate>,
    pub admin: Option<Rate>,
}

impl Rates {
    pub fn of(&self, budget: Budget) -> Option<Rate> {
        match budget {
            Budget::Data => self.data,
            Budget::Admin => self.admin,
        }
    }

    pub fn are_off(&self) -> bool {
        *self == Rates::default()
    }
}

/// What a limiter says to a request, and what is left behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Zero when it may pass, else after how long it may.
    pub wait_ns: u64,
    /// Requests that could come at once now.
    pub left: u64,
    /// Until all of a burst could.
    pub reset_ns: u64,
}

impl Passage {
    pub fn is_open(self) -> bool {
        self.wait_ns == 0
    }

    /// For `Retry-After`.
    pub fn wait_seconds(self) -> u64 {
        self.wait_ns.div_ceil(SECOND_NS)
    }

    pub fn reset_seconds(self) -> u64 {
        self.reset_ns.div_ceil(SECOND_NS)
    }
}

/// One limit of one caller.
#[derive(Debug, Default)]
pub struct Gcra {
    theoretical_ns: AtomicU64,
}

impl Gcra {
    /// A request comes. One that may not pass costs nothing.
    pub fn come(&self, rate: Rate, now: Mono) -> Passage {
        let full_ns = rate.burst * rate.interval_ns;
        let mut seen = self.theoretical_ns.load(Ordering::Relaxed);
        loop {
            let debt_ns = seen.saturating_sub(now.0);
            if debt_ns + rate.interval_ns > full_ns {
                let wait_ns = debt_ns + rate.interval_ns - full_ns;
                return Passage { wait_ns, left: 0, reset_ns: debt_ns };
            }
            let reset_ns = debt_ns + rate.interval_ns;
            // Only the number itself is shared, so no order with other memory is needed.
            match self.theoretical_ns.compare_exchange_weak(
                seen,
                now.0 + reset_ns,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    return Passage { wait_ns: 0, left: (full_ns - reset_ns) / rate.interval_ns, reset_ns };
                }
                Err(other) => seen = other,
            }
        }
    }

    /// Whether anything of a burst is used up: a fresh limiter would give more.
    pub fn is_in_debt(&self, now: Mono) -> bool {
        self.theoretical_ns.load(Ordering::Relaxed) > now.0
    }
}

/// All limits of one caller.
#[derive(Debug, Default)]
pub struct Limiters {
    data: Gcra,
    admin: Gcra,
}

impl Limiters {
    pub fn of(&self, budget: Budget) -> &Gcra {
        match budget {
            Budget::Data => &self.data,
            Budget::Admin => &self.admin,
        }
    }

    pub fn is_in_debt(&self, now: Mono) -> bool {
        Budget::ALL.into_iter().any(|budget| self.of(budget).is_in_debt(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at_ms(ms: u64) -> Mono {
        Mono(1_000_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate() {
        let (rate, gcra) = (Rate::new(10, 3).unwrap(), Gcra::default());
        let left: Vec<u64> = (0..3).map(|_| gcra.come(rate, at_ms(0)).left).collect();
        assert_eq!(left, [2, 1, 0]);
        let held = gcra.come(rate, at_ms(0));
        assert_eq!((held.is_open(), held.wait_ns, held.wait_seconds()), (false, 100_000_000, 1));
        assert_eq!(held.reset_ns, 300_000_000);
        assert!(!gcra.come(rate, at_ms(99)).is_open());
        assert!(gcra.come(rate, at_ms(100)).is_open());
        assert!(!gcra.come(rate, at_ms(100)).is_open());
        assert!(gcra.is_in_debt(at_ms(399)) && !gcra.is_in_debt(at_ms(400)));
        assert_eq!(gcra.come(rate, at_ms(10_000)).left, 2, "never more than a burst");
    }

    #[test]
    fn rates_have_sensible_corners() {
        assert_eq!(Rate::new(0, 5), None);
        assert_eq!(Rate::new(7, 0).unwrap().burst(), 7);
        assert_eq!(Rate::new(10, 25).unwrap().window_seconds(), 3);
        for rate in [Rate::new(u32::MAX, u32::MAX), Rate::new(1, u32::MAX), Rate::new(1, 1)] {
            let (rate, gcra) = (rate.unwrap(), Gcra::default());
            assert!(gcra.come(rate, at_ms(0)).is_open(), "{rate:?}");
        }
    }

    #[test]
    fn budgets_are_apart() {
        let (rate, limiters) = (Rate::new(1, 1).unwrap(), Limiters::default());
        assert!(limiters.of(Budget::Data).come(rate, at_ms(0)).is_open());
        assert!(!limiters.of(Budget::Data).come(rate, at_ms(0)).is_open());
        assert!(limiters.of(Budget::Admin).come(rate, at_ms(0)).is_open());
        assert!(limiters.is_in_debt(at_ms(0)) && !limiters.is_in_debt(at_ms(1000)));
    }

    #[test]
    fn cores_share_a_limit() {
        let (rate, gcra) = (Rate::new(1, 1000).unwrap(), Gcra::default());
        let pass = || (0..1000).filter(|_| gcra.come(rate, at_ms(0)).is_open()).count();
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(pass)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 1000);
    }

    proptest! {
        /// In any stretch of time no more than a burst and what the rate gives.
        #[test]
        fn never_more_than_burst_and_rate(
            per_second in 1u32..2000, burst in 1u32..50, gaps in prop::collection::vec(0u64..30_000_000, 1..300),
        ) {
            let (rate, gcra) = (Rate::new(per_second, burst).unwrap(), Gcra::default());
            let mut now = 5_000_000_000;
            let mut passed = Vec::new();
            for gap in gaps {
                now += gap;
                let passage = gcra.come(rate, Mono(now));
                if passage.is_open() {
                    passed.push(now);
                } else {
                    // It may come when it was told to, if nobody comes before.
                    let probe = Gcra { theoretical_ns: AtomicU64::new(gcra.theoretical_ns.load(Ordering::Relaxed)) };
                    prop_assert!(!probe.come(rate, Mono(now + passage.wait_ns - 1)).is_open());
                    prop_assert!(probe.come(rate, Mono(now + passage.wait_ns)).is_open());
                }
            }
            for (at, first) in passed.iter().enumerate() {
                for (count, last) in passed[at..].iter().enumerate() {
                    prop_assert!((count as u64) < u64::from(burst) + (last - first) / rate.interval_ns);
                }
            }
        }
    }
}
