//! What a loop that comes by more often does once a period.

use std::time::{Duration, Instant};

pub struct Every {
    period: Duration,
    last: Instant,
}

impl Every {
    /// Due for the first time when a period has passed.
    pub fn new(period: Duration) -> Every {
        Every { period, last: Instant::now() }
    }

    /// True once a period.
    pub fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now - self.last >= self.period;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_once_a_period() {
        let mut always = Every::new(Duration::ZERO);
        assert!(always.is_due() && always.is_due());
        let mut rarely = Every::new(Duration::from_secs(3600));
        assert!(!rarely.is_due());
        rarely.last = Instant::now() - Duration::from_secs(3601);
        assert!(rarely.is_due() && !rarely.is_due());
    }
}
