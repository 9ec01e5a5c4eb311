//! Strings to ordinals.
//!
//! Memory: for each distinct string about 64 bytes and its length, for each ordinal of a string that several have 2
//! bytes or less. A string that one document has, as an id, needs no bitmap.

use std::collections::BTreeMap;
use std::ops::Bound;

use roaring::RoaringBitmap;

use super::bitmap_bytes;

#[derive(Clone, Debug, Default)]
pub struct KeywordIndex {
    postings: BTreeMap<Box<str>, Postings>,
    /// Bytes of all strings.
    text_bytes: usize,
    /// Of all postings, kept in step: there may be too many to be asked in one turn.
    postings_bytes: usize,
}

/// Invariant: `Many` has at least two.
#[derive(Clone, Debug)]
enum Postings {
    One(u32),
    Many(Box<RoaringBitmap>),
}

impl Postings {
    fn len(&self) -> u64 {
        match self {
            Postings::One(_) => 1,
            Postings::Many(ordinals) => ordinals.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Postings::One(_) => 0,
            Postings::Many(ordinals) => bitmap_bytes(ordinals),
        }
    }

    fn insert(&mut self, ordinal: u32) {
        match self {
            Postings::One(one) if *one == ordinal => (),
            Postings::One(one) => *self = Postings::Many(Box::new([*one, ordinal].into_iter().collect())),
            Postings::Many(ordinals) => drop(ordinals.insert(ordinal)),
        }
    }

    /// True when none is left.
    fn remove(&mut self, ordinal: u32) -> bool {
        let ordinals = match self {
            Postings::One(one) => return *one == ordinal,
            Postings::Many(ordinals) => ordinals,
        };
        ordinals.remove(ordinal);
        if let (1, Some(last)) = (ordinals.len(), ordinals.min()) {
            *self = Postings::One(last);
        }
        false
    }

    fn add_to(&self, found: &mut RoaringBitmap) {
        match self {
            Postings::One(ordinal) => drop(found.insert(*ordinal)),
            Postings::Many(ordinals) => *found |= &**ordinals,
        }
    }
}

impl KeywordIndex {
    pub fn insert(&mut self, text: &str, ordinal: u32) {
        match self.postings.get_mut(text) {
            Some(postings) => {
                self.postings_bytes -= postings.bytes();
                postings.insert(ordinal);
                self.postings_bytes += postings.bytes();
            }
            None => {
                self.text_bytes += text.len();
                self.postings.insert(text.into(), Postings::One(ordinal));
            }
        }
    }

    /// Does nothing when the ordinal does not have the string.
    pub fn remove(&mut self, text: &str, ordinal: u32) {
        let Some(postings) = self.postings.get_mut(text) else { return };
        self.postings_bytes -= postings.bytes();
        let is_empty = postings.remove(ordinal);
        self.postings_bytes += postings.bytes();
        if is_empty {
            self.text_bytes -= text.len();
            self.postings.remove(text);
        }
    }

    /// Frees up to `count` strings of an index that nobody asks any more; false when nothing is left.
    pub fn shed(&mut self, count: usize) -> bool {
        (0..count).all(|_| self.postings.pop_first().is_some())
    }

    pub fn is_empty(&self) -> bool {
        self.postings.is_empty()
    }

    /// Ordinals that have this string.
    pub fn count(&self, text: &str) -> u64 {
        self.postings.get(text).map_or(0, Postings::len)
    }

    pub fn add_equal(&self, text: &str, found: &mut RoaringBitmap) {
        if let Some(postings) = self.postings.get(text) {
            postings.add_to(found);
        }
    }

    pub fn within(&self, low: Bound<&str>, high: Bound<&str>) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        self.range(low, high).for_each(|postings| postings.add_to(&mut found));
        found
    }

    /// Of each string in the range, one after the other: the greatest, and the sum.
    pub fn counts_within(&self, low: Bound<&str>, high: Bound<&str>) -> (u64, u64) {
        let counts = self.range(low, high).map(Postings::len);
        counts.fold((0, 0), |(most, sum), count| (most.max(count), sum + count))
    }

    fn range<'a>(&'a self, low: Bound<&str>, high: Bound<&str>) -> impl Iterator<Item = &'a Postings> {
        // The map panics for a range that ends before it begins.
        let is_sound = match (low, high) {
            (Bound::Included(low), Bound::Included(high)) => low <= high,
            (Bound::Included(low) | Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => {
                low < high
            }
            _ => true,
        };
        let range = is_sound.then(|| self.postings.range::<str, _>((low, high)));
        range.into_iter().flatten().map(|(_, postings)| postings)
    }

    pub fn memory_bytes(&self) -> usize {
        // A string and its postings, and the map around them, which is two thirds full.
        self.postings.len() * (16 + 16) * 3 / 2 + self.text_bytes + self.postings_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    type Model = BTreeSet<(String, u32)>;

    fn bound(code: u8, text: &str) -> Bound<&str> {
        [Bound::Included(text), Bound::Excluded(text), Bound::Unbounded][usize::from(code % 3)]
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["", "a", "aa", "b", "c", "\u{e9}"]).prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn it_answers_as_a_set_of_pairs_does(
            changes in prop::collection::vec((any::<bool>(), any_text(), 0u32..6), 0..60),
            ranges in prop::collection::vec((0u8..3, any_text(), 0u8..3, any_text()), 8),
        ) {
            let (mut index, mut model) = (KeywordIndex::default(), Model::new());
            for (insert, text, ordinal) in changes {
                if insert {
                    index.insert(&text, ordinal);
                    model.insert((text, ordinal));
                } else {
                    index.remove(&text, ordinal);
                    model.remove(&(text, ordinal));
                }
            }
            prop_assert_eq!(index.is_empty(), model.is_empty());
            let distinct: BTreeSet<&String> = model.iter().map(|(text, _)| text).collect();
            prop_assert_eq!(index.text_bytes, distinct.iter().map(|text| text.len()).sum::<usize>());
            prop_assert_eq!(index.postings_bytes, index.postings.values().map(Postings::bytes).sum::<usize>());
            for (low_code, low, high_code, high) in &ranges {
                let (low_bound, high_bound) = (bound(*low_code, low), bound(*high_code, high));
                let is_above = |text: &str| *low_code == 2 || text > low.as_str() || *low_code == 0 && text == low;
                let is_below = |text: &str| *high_code == 2 || text < high.as_str() || *high_code == 0 && text == high;
                let wanted: Vec<&(String, u32)> =
                    model.iter().filter(|(text, _)| is_above(text) && is_below(text)).collect();
                let ordinals: RoaringBitmap = wanted.iter().map(|(_, ordinal)| *ordinal).collect();
                prop_assert_eq!(index.within(low_bound, high_bound), ordinals);
                prop_assert_eq!(index.counts_within(low_bound, high_bound).1, wanted.len() as u64);
                let mut equal = RoaringBitmap::new();
                index.add_equal(low, &mut equal);
                prop_assert_eq!(equal.len(), index.count(low));
                prop_assert_eq!(equal, model.iter().filter(|(text, _)| text == low).map(|(_, o)| *o).collect());
            }
        }
    }

    #[test]
    fn it_is_freed_bit_by_bit() {
        let mut index = KeywordIndex::default();
        (0..25).for_each(|ordinal| index.insert(&ordinal.to_string(), ordinal));
        let steps = std::iter::from_fn(|| index.shed(10).then_some(())).count();
        assert_eq!((steps, index.is_empty()), (2, true));
    }

    #[test]
    fn a_string_of_one_document_has_no_bitmap() {
        let mut index = KeywordIndex::default();
        (0..1000).for_each(|ordinal| index.insert(&format!("id-{ordinal:05}"), ordinal));
        assert!(index.memory_bytes() < 1000 * 64, "{}", index.memory_bytes());
        let alone = index.memory_bytes();
        index.insert("id-00000", 7);
        assert!(index.memory_bytes() > alone);
        index.remove("id-00000", 7);
        assert_eq!(index.memory_bytes(), alone);
    }
}
