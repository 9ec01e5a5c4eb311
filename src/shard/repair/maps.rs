//! The map behind a cut of shard 0's log.
//!
//! A start drops what the map does not name, on every shard. So a cut must not take the map back: the newest one
//! counts that can be read at all, also behind the damage. What the files of all shards name tells whether there was a
//! newer one, of which nothing is left; then there is no cut, because a start would delete records that are whole.
//! Ids go on above all that any file names: nothing of an old tablet ever meets a new one.

use std::collections::BTreeMap;

use super::{Plan, RepairError};
use crate::io::codec::Reader;
use crate::io::log::{Kind, RecordRef};
use crate::shard::catalogue::Catalogue;
use crate::shard::control::WRITER;
use crate::shard::staged::form_of;
use crate::types::{CollectionId, Epoch, TabletId};

/// Tablets that files name, with their collections, and the newest epoch of a map by which they do.
#[derive(Clone, Debug, Default)]
pub struct Named {
    pub tablets: BTreeMap<TabletId, CollectionId>,
    epoch: Epoch,
}

impl Named {
    pub fn add(&mut self, tablet: TabletId, collection: CollectionId, epoch: Epoch) {
        self.tablets.insert(tablet, collection);
        self.epoch = self.epoch.max(epoch);
    }

    pub fn add_all(&mut self, other: &Named) {
        self.tablets.extend(&other.tablets);
        self.epoch = self.epoch.max(other.epoch);
    }

    /// Those that only a map newer than this one gave out.
    fn unknown_to(&self, map: &Catalogue) -> Vec<TabletId> {
        let unknown = |(tablet, collection): &(&TabletId, &CollectionId)| {
            **tablet >= map.next_tablet || **collection >= map.next_collection
        };
        self.tablets.iter().filter(unknown).map(|(tablet, _)| *tablet).collect()
    }
}

/// What a log tells of maps and tablets.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The newest map in it, also behind damage.
    pub map: Option<Catalogue>,
    /// By records that stay.
    pub kept: Named,
    /// By records that go.
    pub lost: Named,
}

impl Told {
    pub fn take(&mut self, record: &RecordRef<'_>, behind_damage: bool) {
        let meta = &record.parts.meta;
        let form = match meta.kind {
            Kind::Put | Kind::Delete => {
                let named = if behind_damage { &mut self.lost } else { &mut self.kept };
                return named.add(meta.tablet, meta.collection, meta.epoch);
            }
            kind => form_of(kind),
        };
        let Some(form) = form else { return };
        if let Ok(map) = Catalogue::decode(&mut Reader::new(record.parts.payload), form) {
            self.take_map(map);
        }
    }

    pub fn take_map(&mut self, map: Catalogue) {
        if self.map.as_ref().is_none_or(|known| known.epoch < map.epoch) {
            self.map = Some(map);
        }
    }
}

/// Sees to the map of shard 0 when its log is to be cut.
pub fn settle(plans: &mut [Plan]) -> Result<(), RepairError> {
    let (mut kept, mut lost) = (Named::default(), Named::default());
    for plan in &*plans {
        kept.add_all(&plan.told.kept);
        lost.add_all(&plan.told.lost);
    }
    let cut = plans.iter_mut().find(|plan| plan.files.shard == WRITER && plan.log.is_some());
    let Some(plan) = cut else { return Ok(()) };
    let alone = plan.shards() == 1;
    if !alone {
        // Another shard may have given these away by the map that is lost.
        kept.add_all(&lost);
    }
    let Some(map) = &mut plan.told.map else {
        let tablets: Vec<TabletId> = kept.tablets.into_keys().collect();
        let lost = Err(RepairError::MapLost { epoch: Epoch::ZERO, tablets: tablets.clone() });
        return if tablets.is_empty() { Ok(()) } else { lost };
    };
    let tablets = kept.unknown_to(map);
    if !tablets.is_empty() || kept.epoch > map.epoch {
        return Err(RepairError::MapLost { epoch: map.epoch, tablets });
    }
    kept.add_all(&lost);
    for (tablet, collection) in &kept.tablets {
        map.next_tablet = map.next_tablet.max(TabletId(tablet.0 + 1));
        map.next_collection = map.next_collection.max(CollectionId(collection.0 + 1));
    }
    // Above all that was seen, and so above every map in the log.
    map.epoch = map.epoch.max(kept.epoch).next();
    Ok(())
}
