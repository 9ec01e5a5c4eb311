//! A set of ordinals that several cores read while others change it.
//!
//! An ordinal has one writer, the owner of the document behind it; two of them may share a word.

use std::sync::atomic::{AtomicU64, Ordering};

use super::allowed::Ordinals;

pub struct SharedOrdinals {
    words: Box<[AtomicU64]>,
}

impl SharedOrdinals {
    /// As many as `words` has room for.
    pub fn from_words(words: &[u64]) -> SharedOrdinals {
        SharedOrdinals { words: words.iter().map(|word| AtomicU64::new(*word)).collect() }
    }

    pub fn none(bound: usize) -> SharedOrdinals {
        SharedOrdinals::from_words(&vec![0; bound.div_ceil(64)])
    }

    pub fn all(bound: usize) -> SharedOrdinals {
        SharedOrdinals::from_words(&Ordinals::all(bound).into_words())
    }

    fn word(&self, ordinal: u32) -> (&AtomicU64, u64) {
        (&self.words[ordinal as usize / 64], 1 << (ordinal % 64))
    }

    pub fn contains(&self, ordinal: u32) -> bool {
        let (word, bit) = self.word(ordinal);
        word.load(Ordering::Acquire) & bit != 0
    }

    /// Whoever hears of it from this thread, by whatever way, sees it.
    pub fn insert(&self, ordinal: u32) {
        let (word, bit) = self.word(ordinal);
        word.fetch_or(bit, Ordering::Release);
    }

    pub fn remove(&self, ordinal: u32) {
        let (word, bit) = self.word(ordinal);
        word.fetch_and(!bit, Ordering::Release);
    }

    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }

    /// What is in it now.
    pub fn copy(&self) -> Ordinals {
        Ordinals::from_words(self.words.iter().map(|word| word.load(Ordering::Acquire)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_was_put_in() {
        let shared = SharedOrdinals::none(130);
        [0, 63, 64, 129].iter().for_each(|ordinal| shared.insert(*ordinal));
        shared.remove(64);
        assert_eq!(shared.copy().iter().collect::<Vec<_>>(), [0, 63, 129]);
        assert!(shared.contains(129) && !shared.contains(64));
        assert_eq!(shared.count(), 3);
        assert!(SharedOrdinals::all(130).copy().iter().eq(0..130));
    }

    #[test]
    fn writers_of_one_word_do_not_undo_each_other() {
        let shared = &SharedOrdinals::none(64);
        std::thread::scope(|scope| {
            for writer in 0..2 {
                scope.spawn(move || {
                    for round in 0..1000 {
                        let ordinals = (writer..64).step_by(2);
                        match round % 2 {
                            0 => ordinals.for_each(|ordinal| shared.insert(ordinal)),
                            _ => ordinals.filter(|at| *at >= 32).for_each(|ordinal| shared.remove(ordinal)),
                        }
                    }
                });
            }
        });
        assert!(shared.copy().iter().eq(0..32));
    }
}
