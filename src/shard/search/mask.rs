//! What of a shared part does not count by a map: documents of tablets that are gone, or that have become smaller.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sealed::Sealed;
use crate::io::runtime::Slice;
use crate::limits;
use crate::shard::catalogue::Collection;
use crate::shard::key::Key;
use crate::types::TabletId;
use crate::vector::allowed::Ordinals;

type Ranges<'a> = BTreeMap<TabletId, (&'a Key, Option<&'a Key>)>;

fn ranges(map: &Collection) -> Ranges<'_> {
    let tablets = map.tablets.iter().enumerate();
    tablets.map(|(index, tablet)| (tablet.id, (&tablet.start, map.end_of(index)))).collect()
}

/// Whether a tablet of a map has less, or nothing, by a later one.
pub fn has_shrunk(before: &Collection, now: &Collection) -> bool {
    let now = ranges(now);
    ranges(before).iter().any(|(id, range)| now.get(id) != Some(range))
}

/// Documents outside of their tablets. What nobody has claimed is deleted anyway, and may be claimed later.
pub async fn outside(part: &Sealed, map: &Collection, slice: &mut Slice) -> Ordinals {
    let (ranges, count) = (ranges(map), part.len() as u32);
    let mut outside = Ordinals::none(part.len());
    for from in (0..count).step_by(limits::MASK_STEP_DOCUMENTS as usize) {
        for ordinal in from..count.min(from + limits::MASK_STEP_DOCUMENTS) {
            let tablet = part.tablet(ordinal);
            let key = part.contents().key(ordinal);
            let is_within =
                |(start, end): &(&Key, Option<&Key>)| *start <= key && end.is_none_or(|end| key < end);
            if tablet != TabletId::ZERO && !ranges.get(&tablet).is_some_and(is_within) {
                outside.insert(ordinal);
            }
        }
        slice.checkpoint().await;
    }
    outside
}

/// What of a part does not count: deleted by now, or outside.
pub fn with_outside(mut deleted: Ordinals, outside: &Ordinals) -> Ordinals {
    outside.iter().for_each(|ordinal| {
        deleted.insert(ordinal);
    });
    deleted
}

/// What of a part goes into the one that replaces it. Of tablets from `to_come` on the map knows nothing yet: their owners
/// have a later one.
pub fn live(part: &Arc<Sealed>, outside: &Ordinals, to_come: TabletId) -> Ordinals {
    let mut live = Ordinals::all(part.len());
    live.remove_all(&part.deleted());
    for ordinal in outside.iter().filter(|ordinal| part.tablet(*ordinal) < to_come) {
        live.remove(ordinal);
    }
    live
}
