//! Vectors for tests: random, the same for the same seed.

use crate::rmi::keysets;

/// That of the key sets, in the numbers that vectors are made of.
pub struct Random(keysets::Random);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(keysets::Random(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    /// In 0..1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }

    /// About normal: the sum of twelve uniform numbers.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
}
