//! What indexes know of a filter: sets of ordinals, and how many they are.

use roaring::RoaringBitmap;

/// Documents for which a filter holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// These and no others.
    Exact(RoaringBitmap),
    /// Some fields have no index. It holds for those that are certain and for none but those that are possible;
    /// what is between has to be looked at.
    ///
    /// Invariant: what is certain is possible.
    Between { certain: RoaringBitmap, possible: RoaringBitmap },
}

impl Answer {
    pub fn is_exact(&self) -> bool {
        matches!(self, Answer::Exact(_))
    }

    pub fn certain(&self) -> &RoaringBitmap {
        match self {
            Answer::Exact(exact) => exact,
            Answer::Between { certain, .. } => certain,
        }
    }

    /// No other documents are meant.
    pub fn possible(&self) -> &RoaringBitmap {
        match self {
            Answer::Exact(exact) => exact,
            Answer::Between { possible, .. } => possible,
        }
    }

    /// Ordinals whose documents have to be looked at.
    pub fn open(&self) -> RoaringBitmap {
        match self {
            Answer::Exact(_) => RoaringBitmap::new(),
            Answer::Between { certain, possible } => possible - certain,
        }
    }

    /// `change` is made of both sets: of the first with the first, of the second with the second.
    fn combine(self, other: Answer, change: impl Fn(&mut RoaringBitmap, &RoaringBitmap)) -> Answer {
        match (self, other) {
            (Answer::Exact(mut one), Answer::Exact(two)) => {
                change(&mut one, &two);
                Answer::Exact(one)
            }
            (one, two) => {
                let (mut certain, mut possible) = one.into_bounds();
                change(&mut certain, two.certain());
                change(&mut possible, two.possible());
                Answer::Between { certain, possible }
            }
        }
    }

    fn into_bounds(self) -> (RoaringBitmap, RoaringBitmap) {
        match self {
            Answer::Exact(exact) => (exact.clone(), exact),
            Answer::Between { certain, possible } => (certain, possible),
        }
    }

    #[must_use]
    pub fn and(self, other: Answer) -> Answer {
        self.combine(other, |one, two| *one &= two)
    }

    #[must_use]
    pub fn or(self, other: Answer) -> Answer {
        self.combine(other, |one, two| *one |= two)
    }

    /// Without those of the other.
    #[must_use]
    pub fn and_not(self, other: Answer) -> Answer {
        let swapped = match other {
            Answer::Exact(exact) => Answer::Exact(exact),
            // What is only possible there may be left here.
            Answer::Between { certain, possible } => Answer::Between { certain: possible, possible: certain },
        };
        self.combine(swapped, |one, two| *one -= two)
    }
}

/// How many documents a filter means, as far as that is told without finding them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cardinality {
    pub at_least: u64,
    pub at_most: u64,
}

impl Cardinality {
    pub fn exact(count: u64) -> Cardinality {
        Cardinality { at_least: count, at_most: count }
    }

    pub fn is_exact(self) -> bool {
        self.at_least == self.at_most
    }

    /// Of both together, among `live` documents.
    #[must_use]
    pub fn and(self, other: Cardinality, live: u64) -> Cardinality {
        Cardinality {
            at_least: (self.at_least + other.at_least).saturating_sub(live),
            at_most: self.at_most.min(other.at_most),
        }
    }

    #[must_use]
    pub fn or(self, other: Cardinality, live: u64) -> Cardinality {
        Cardinality {
            at_least: self.at_least.max(other.at_least),
            at_most: (self.at_most + other.at_most).min(live),
        }
    }

    #[must_use]
    pub fn not(self, live: u64) -> Cardinality {
        Cardinality { at_least: live - self.at_most, at_most: live - self.at_least }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(bits: u8) -> RoaringBitmap {
        (0..8).filter(|bit| bits >> bit & 1 == 1).collect()
    }

    /// Something that is known of the set `truth`.
    fn known(truth: u8, certain: u8, possible: u8) -> Answer {
        if certain == 0 && possible == 0 {
            return Answer::Exact(set(truth));
        }
        Answer::Between { certain: set(truth & certain), possible: set(truth | possible) }
    }

    fn agrees(answer: &Answer, truth: u8) -> bool {
        let truth = set(truth);
        answer.certain().is_subset(&truth)
            && truth.is_subset(answer.possible())
            && answer.open() == answer.possible() - answer.certain()
            && (!answer.is_exact() || *answer.certain() == truth)
    }

    proptest! {
        #[test]
        fn what_is_known_stays_true(sets in prop::array::uniform6(any::<u8>())) {
            let [one, two, a, b, c, d] = sets;
            let answers = || (known(one, a, b), known(two, c, d));
            let (x, y) = answers();
            prop_assert!(agrees(&x.and(y), one & two));
            let (x, y) = answers();
            prop_assert!(agrees(&x.or(y), one | two));
            let (x, y) = answers();
            prop_assert!(agrees(&x.and_not(y), one & !two));
        }

        #[test]
        fn counts_stay_between_their_bounds(one in any::<u8>(), two in any::<u8>(), slack in prop::array::uniform4(0u64..3)) {
            let live = 8;
            let bounds = |bits: u8, below: u64, above: u64| {
                let count = u64::from(bits.count_ones());
                Cardinality { at_least: count.saturating_sub(below), at_most: (count + above).min(live) }
            };
            let (x, y) = (bounds(one, slack[0], slack[1]), bounds(two, slack[2], slack[3]));
            let holds = |found: Cardinality, bits: u8| (found.at_least..=found.at_most).contains(&u64::from(bits.count_ones()));
            prop_assert!(holds(x.and(y, live), one & two));
            prop_assert!(holds(x.or(y, live), one | two));
            prop_assert!(holds(x.not(live), !one));
        }
    }
}
