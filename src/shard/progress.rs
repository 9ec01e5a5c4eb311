//! How a scan goes on from tablet to tablet.

use std::ops::Bound;

use super::catalogue::Collection;
use super::key::Key;
use super::page::Page;
use super::record::Scan;
use crate::types::{ShardId, TabletId};

/// The tablet in which the rest of a scan begins, the part of the range in it, and whether it is the
/// last part. `None` when the range is empty.
pub fn next_part(collection: &Collection, rest: &Scan) -> Option<(TabletId, ShardId, Scan, bool)> {
    let count = collection.tablets.len();
    let index = match (rest.reverse, &rest.start, &rest.end) {
        (false, Bound::Included(key) | Bound::Excluded(key), _) => collection.tablet_index(key),
        (false, Bound::Unbounded, _) => 0,
        (true, _, Bound::Included(key)) => collection.tablet_index(key),
        (true, _, Bound::Excluded(key)) => {
            // The keys below the first key of a tablet are in the one before.
            let index = collection.tablet_index(key);
            let at_start = collection.tablets[index].start == *key;
            if at_start { index.checked_sub(1)? } else { index }
        }
        (true, _, Bound::Unbounded) => count - 1,
    };
    let tablet = &collection.tablets[index];
    let mut part = rest.clone();
    let below = match &part.start {
        Bound::Included(key) | Bound::Excluded(key) => *key < tablet.start,
        Bound::Unbounded => true,
    };
    if below {
        part.start = Bound::Included(tablet.start.clone());
    }
    if let Some(limit) = collection.end_of(index) {
        let above = match &part.end {
            Bound::Included(key) => key >= limit,
            Bound::Excluded(key) => key > limit,
            Bound::Unbounded => true,
        };
        if above {
            part.end = Bound::Excluded(limit.clone());
        }
    }
    let last = if rest.reverse { !below || index == 0 } else { part.end == rest.end };
    Some((tablet.id, tablet.owner, part, last))
}

/// Moves the range behind what a part has covered.
pub fn advance(rest: &mut Scan, clipped: &Scan, part: &Page) {
    let reached = part.resume_after.clone().filter(|_| part.more).map(Bound::Excluded);
    if rest.reverse {
        rest.end = reached.unwrap_or_else(|| flip(&clipped.start));
    } else {
        rest.start = reached.unwrap_or_else(|| flip(&clipped.end));
    }
}

/// The other side of a bound: what begins where a part ended.
fn flip(bound: &Bound<Key>) -> Bound<Key> {
    match bound {
        Bound::Included(key) => Bound::Excluded(key.clone()),
        Bound::Excluded(key) => Bound::Included(key.clone()),
        Bound::Unbounded => Bound::Unbounded,
    }
}
