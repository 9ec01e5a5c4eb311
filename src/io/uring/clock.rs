//! Clocks and randomness of a real core.

use std::io;

use crate::types::{Mono, WallMs};

pub(in crate::io) fn monotonic() -> Mono {
    Mono(nanoseconds(libc::CLOCK_MONOTONIC))
}

pub(in crate::io) fn wall() -> WallMs {
    WallMs(nanoseconds(libc::CLOCK_REALTIME) / 1_000_000)
}

/// Processor time that this thread has used.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time that all threads of the process have used.
pub fn process_cpu_ns() -> u64 {
    nanoseconds(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the whole call.
    let result = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(result, 0, "a clock that every Linux has");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// SplitMix64: fast, well mixed, not for secrets.
pub(in crate::io) struct Random {
    state: u64,
}

impl Random {
    /// Seeded by the kernel.
    pub fn from_kernel() -> io::Result<Random> {
        let mut seed = [0u8; 8];
        // SAFETY: `seed` is writable and as long as said.
        let count = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), seed.len(), 0) };
        // Up to 256 bytes are never cut short.
        if count != seed.len() as isize {
            return Err(io::Error::last_os_error());
        }
        Ok(Random { state: u64::from_ne_bytes(seed) })
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_as_the_reference_does() {
        // First outputs of the reference implementation for the seed 1234567.
        let mut random = Random { state: 1_234_567 };
        let first = [random.next(), random.next(), random.next()];
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn clocks_go_forward_and_seeds_differ() {
        let (mono, cpu) = (monotonic(), thread_cpu_ns());
        assert!((0..1000).map(|_| monotonic()).fold(mono, |last, now| last.max(now)) > mono);
        assert!(thread_cpu_ns() > cpu);
        assert!(wall() > WallMs(1_700_000_000_000));
        assert_ne!(Random::from_kernel().unwrap().next(), Random::from_kernel().unwrap().next());
    }
}
