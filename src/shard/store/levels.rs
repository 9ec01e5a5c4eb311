//! All parts of a shard, by level: which may hold a key, newest first.

use std::rc::Rc;

use super::part::Part;
use super::place::{Place, Span};
use crate::shard::key::Key;
use crate::shard::run::Lookup;
use crate::types::RunId;

/// The deepest level.
pub const LAST: usize = 6;

/// Immutable. Cheap to clone: parts are shared.
#[derive(Clone, Default)]
pub struct Levels {
    /// Level 0, newest first. Parts may overlap.
    fresh: Vec<Rc<Part>>,
    /// Levels 1 to [`LAST`], each in order of places, without overlap.
    deep: [Vec<Rc<Part>>; LAST],
}

impl Levels {
    /// Parts in the order of the manifest: those of level 0 from the oldest.
    pub fn new(parts: impl IntoIterator<Item = Rc<Part>>) -> Levels {
        let mut levels = Levels::default();
        for part in parts {
            match usize::from(part.meta.level) {
                0 => levels.fresh.insert(0, part),
                level => levels.deep[level - 1].push(part),
            }
        }
        for level in &mut levels.deep {
            level.sort_by(|a, b| a.span.first.cmp(&b.span.first));
            assert!(level.is_sorted_by(|a, b| a.span.last < b.span.first), "parts of a level overlap");
        }
        levels
    }

    /// With `out` taken away and `into` added; new parts of level 0 are the newest, the last the newest of
    /// all.
    pub fn with(&self, out: &[RunId], into: &[Rc<Part>]) -> Levels {
        let stays = |part: &&Rc<Part>| !out.contains(&part.meta.id);
        let oldest_first = self.fresh.iter().rev().chain(self.deep.iter().flatten());
        Levels::new(oldest_first.filter(stays).chain(into).cloned())
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Rc<Part>> {
        self.fresh.iter().chain(self.deep.iter().flatten())
    }

    /// Level 0, newest first.
    pub fn fresh(&self) -> &[Rc<Part>] {
        &self.fresh
    }

    /// Parts of level 1 or deeper, in order.
    pub fn level(&self, level: usize) -> &[Rc<Part>] {
        &self.deep[level - 1]
    }

    /// Levels 1 to [`LAST`].
    pub fn deep(&self) -> &[Vec<Rc<Part>>; LAST] {
        &self.deep
    }

    /// Bytes of the files of a level.
    pub fn bytes(&self, level: usize) -> u64 {
        let parts = if level == 0 { &self.fresh } else { &self.deep[level - 1] };
        parts.iter().map(|part| part.meta.file_len).sum()
    }

    /// Parts of a level that have something of the span.
    pub fn overlapping(&self, level: usize, span: &Span) -> impl Iterator<Item = &Rc<Part>> {
        // Only those of deeper levels are in order.
        let parts = match level {
            0 => &self.fresh[..],
            _ => {
                let parts = self.level(level);
                let from = parts.partition_point(|part| part.span.last < span.first);
                let to = parts.partition_point(|part| part.span.first <= span.last);
                &parts[from..to.max(from)]
            }
        };
        let has_some = |part: &&Rc<Part>| part.span.first <= span.last && span.first <= part.span.last;
        parts.iter().filter(has_some)
    }

    /// Nothing of the span lies in a level deeper than this.
    pub fn is_bottom(&self, level: usize, span: &Span) -> bool {
        (level + 1..=LAST).all(|deeper| self.overlapping(deeper, span).next().is_none())
    }

    /// Parts that may hold a place, newest first.
    pub fn at<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Rc<Part>> {
        let fresh = self.fresh.iter().filter(|part| part.span.contains(place));
        let deep = self.deep.iter().filter_map(|level| {
            let at = level.partition_point(|part| part.span.last < *place);
            level.get(at).filter(|part| part.span.first <= *place)
        });
        fresh.chain(deep)
    }

    /// Whether this part is one of these, and no newer one holds the place, as far as memory tells. Whoever walks a part
    /// must ask: a merge may have taken it away, together with what is newer.
    pub fn is_newest(&self, part: &Rc<Part>, place: &Place) -> bool {
        let bytes = KeyBytes::of(&place.key);
        let lacks = |other: &Part| {
            other.lookup(place.collection, place.tablet, bytes.as_slice()) == Some(Lookup::Absent)
        };
        self.at(place)
            .find(|other| Rc::ptr_eq(other, part) || !lacks(other))
            .is_some_and(|found| Rc::ptr_eq(found, part))
    }
}

/// The bytes of a key; those of a number need no memory.
pub enum KeyBytes {
    Number([u8; 8]),
    Text(Vec<u8>),
}

impl KeyBytes {
    pub fn of(key: &Key) -> KeyBytes {
        match key.as_u64() {
            Some(number) => KeyBytes::Number(number.to_be_bytes()),
            None => KeyBytes::Text(key.to_vec()),
        }
    }

    pub fn as_slice(&self) -> &[u8] {
        match self {
            KeyBytes::Number(bytes) => bytes,
            KeyBytes::Text(bytes) => bytes,
        }
    }
}
