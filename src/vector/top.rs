//! The best few of many, ties in order of ordinal.
//!
//! Candidates are words: what is smaller is better, the ordinal in the low half breaks ties. They gather in
//! twice the room that is needed; when that is full, one selection drops the worse half. So the cost of a
//! candidate does not grow with how many are wanted.

/// A hit: an ordinal and its score; higher is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    pub ordinal: u32,
    pub score: f32,
}

/// A word of a score: smaller for a higher score.
pub(super) fn word_of(hit: Hit) -> u64 {
    // Zero has one sign here, or ties would not be in order of ordinal.
    let bits = (hit.score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(!ascending) << 32 | u64::from(hit.ordinal)
}

pub(super) fn hit_of(word: u64) -> Hit {
    let ascending = !((word >> 32) as u32);
    let bits = if ascending >> 31 == 1 { ascending & !(1 << 31) } else { !ascending };
    Hit { ordinal: word as u32, score: f32::from_bits(bits) }
}

#[derive(Debug, Default)]
pub(super) struct Top {
    words: Vec<u64>,
    wanted: usize,
    limit: Option<u64>,
}

impl Top {
    pub fn new(wanted: usize) -> Top {
        Top { words: Vec::with_capacity(Top::room(wanted)), wanted, limit: None }
    }

    fn room(wanted: usize) -> usize {
        2 * wanted.max(16)
    }

    /// What is not below has no chance any more.
    #[inline]
    pub fn limit(&self) -> u64 {
        self.limit.unwrap_or(u64::MAX)
    }

    #[inline]
    pub fn offer(&mut self, word: u64) {
        if word >= self.limit() || self.wanted == 0 {
            return;
        }
        self.words.push(word);
        if self.words.len() >= Top::room(self.wanted) {
            self.shrink();
        }
    }

    /// The `count`-th best of all that was offered, where so many are wanted; none while there are fewer.
    pub fn nth(&mut self, count: usize) -> Option<u64> {
        self.shrink();
        let is_there = (1..=self.words.len()).contains(&count);
        is_there.then(|| *self.words.select_nth_unstable(count - 1).1)
    }

    /// Nothing above is wanted any more.
    pub fn lower_limit(&mut self, limit: u64) {
        self.words.retain(|word| *word <= limit);
        self.limit = Some(self.limit().min(limit));
    }

    fn shrink(&mut self) {
        if self.words.len() > self.wanted {
            self.words.select_nth_unstable(self.wanted - 1);
            self.words.truncate(self.wanted);
        }
        if self.words.len() == self.wanted {
            self.limit = self.words.iter().max().copied();
        }
    }

    /// The best, in order.
    pub fn finish(mut self) -> Vec<u64> {
        self.words.sort_unstable();
        self.words.truncate(self.wanted);
        self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::testing::Random;

    #[test]
    fn words_order_scores_and_come_back() {
        let scores = [f32::MAX, 2.0, 1.0, 1e-30, 0.0, -1e-30, -1.0, f32::MIN];
        let words: Vec<u64> = scores.iter().map(|score| word_of(Hit { ordinal: 7, score: *score })).collect();
        assert!(words.is_sorted());
        let back: Vec<f32> = words.iter().map(|word| hit_of(*word).score).collect();
        assert_eq!(back, scores);
        assert_eq!(word_of(Hit { ordinal: 1, score: -0.0 }), word_of(Hit { ordinal: 1, score: 0.0 }));
    }

    #[test]
    fn a_limit_that_is_lowered_stays() {
        let mut top = Top::new(20);
        assert_eq!(top.nth(1), None);
        (0..15).rev().for_each(|word| top.offer(word * 10));
        assert_eq!((top.nth(0), top.nth(3), top.nth(15), top.nth(16)), (None, Some(20), Some(140), None));
        top.lower_limit(50);
        top.lower_limit(90);
        [55, 50, 7].into_iter().for_each(|word| top.offer(word));
        assert_eq!((top.limit(), top.nth(2)), (50, Some(7)));
        assert_eq!(top.finish(), [0, 7, 10, 20, 30, 40, 50]);
    }

    #[test]
    fn keeps_the_smallest_whatever_the_order() {
        let random = &mut Random::new(5);
        for wanted in [0, 1, 10, 100] {
            for count in [0, 1, 15, 5000] {
                let mut all: Vec<u64> = (0..count).map(|_| random.next() >> 40).collect();
                let mut top = Top::new(wanted);
                all.iter().for_each(|word| top.offer(*word));
                all.sort_unstable();
                all.truncate(wanted);
                assert_eq!(top.finish(), all);
            }
        }
    }
}
