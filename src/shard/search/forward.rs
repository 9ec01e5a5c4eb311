//! Where documents of parts went that are being replaced.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::index::Place;
use super::sealed::PartId;

const GONE: u32 = u32::MAX;

/// New ordinals by the old ones of one part; what was left out has none.
#[derive(Clone, Debug)]
pub struct Moved {
    ordinals: Arc<Vec<u32>>,
}

impl Moved {
    pub fn get(&self, old: u32) -> Option<u32> {
        self.ordinals.get(old as usize).copied().filter(|new| *new != GONE)
    }
}

/// Makes a [`Moved`].
pub struct Moving {
    ordinals: Vec<u32>,
}

impl Moving {
    pub fn of(documents: usize) -> Moving {
        Moving { ordinals: vec![GONE; documents] }
    }

    pub fn set(&mut self, old: u32, new: u32) {
        self.ordinals[old as usize] = new;
    }

    pub fn finish(self) -> Moved {
        Moved { ordinals: Arc::new(self.ordinals) }
    }
}

#[derive(Default)]
pub struct Forwards {
    from: BTreeMap<PartId, (PartId, Moved)>,
}

impl Forwards {
    pub fn add(&mut self, from: PartId, to: PartId, ordinals: Moved) {
        self.from.insert(from, (to, ordinals));
    }

    /// Where the document at a place is as well.
    pub fn next(&self, place: Place) -> Option<Place> {
        let (part, ordinals) = self.from.get(&place.part)?;
        Some(Place { part: *part, ordinal: ordinals.get(place.ordinal)? })
    }

    /// Where it will stay.
    pub fn last(&self, mut place: Place) -> Place {
        while let Some(next) = self.next(place) {
            place = next;
        }
        place
    }

    /// The part that replaces one.
    pub fn successor(&self, part: PartId) -> Option<PartId> {
        self.from.get(&part).map(|(by, _)| *by)
    }

    /// Gives the parts that led to this one.
    pub fn forget(&mut self, to: PartId) -> Vec<PartId> {
        self.from.extract_if(.., |_, (part, _)| *part == to).map(|(id, _)| id).collect()
    }
}
