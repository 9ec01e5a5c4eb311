//! Counts the records of a tablet anew, when the manifest counted another range of it.
//!
//! That is so after a crash between a move and the seal behind it, and before the first seal. A tablet that
//! is in memory only is counted before anybody is served. One with runs is counted behind that: a record
//! that is written meanwhile, ahead of where the count is, is then counted twice. When its range becomes smaller, the
//! count begins anew.

use std::ops::Bound;
use std::rc::Rc;

use super::core::Core;
use super::record::Scan;
use super::store::DeltaPage;
use super::tablet::Tablet;
use crate::io::executor::Class;
use crate::limits;
use crate::types::{Epoch, TabletId, WallMs};

pub async fn recount(core: &Rc<Core>) {
    let counted = |id: TabletId| {
        let state = core.ledger.state();
        state.tablets.iter().find(|tablet| tablet.tablet == id).map_or(Epoch::ZERO, |tablet| tablet.epoch)
    };
    let stale: Vec<TabletId> = {
        let engine = core.engine.borrow();
        engine.tablets.iter().filter(|tablet| tablet.epoch != counted(tablet.id)).map(|t| t.id).collect()
    };
    for tablet in stale {
        if let Some(tablet) = core.engine.borrow_mut().tablets.get_mut(tablet) {
            tablet.counting = true;
        }
        let levels = core.engine.borrow().store.levels().clone();
        let in_runs = levels.iter().any(|part| part.may_have(tablet));
        if in_runs {
            let core = core.clone();
            core.runtime.clone().spawn(Class::Background, async move { count(&core, tablet).await });
        } else {
            count(core, tablet).await;
        }
    }
}

async fn count(core: &Core, tablet: TabletId) {
    loop {
        let as_it_is = |present: &Tablet| (present.records, present.epoch);
        let Some((before, epoch)) = core.engine.borrow().tablets.get(tablet).map(as_it_is) else { return };
        let Some(records) = walk(core, tablet).await else { return };
        let mut engine = core.engine.borrow_mut();
        let Some(present) = engine.tablets.get_mut(tablet) else { return };
        // Otherwise a part of the range went away meanwhile, and what was met there counts no more.
        if present.epoch == epoch {
            present.records = (records + present.records).saturating_sub(before);
            present.counting = false;
            return;
        }
    }
}

/// `None` when the tablet went away, or a run of it cannot be read.
async fn walk(core: &Core, id: TabletId) -> Option<u64> {
    let limit = limits::SCAN_VISITS_MAX;
    let mut slice = core.runtime.slice();
    let (mut records, mut after) = (0, None);
    loop {
        let page = {
            let engine = core.engine.borrow();
            let tablet = engine.tablets.get(id)?;
            let (first, end) = tablet.range();
            let start = after.take().map_or(Bound::Included(first), Bound::Excluded);
            let scan = Scan { start, end, reverse: false, limit };
            DeltaPage::of(tablet, &scan, WallMs::ZERO, engine.store.levels())
        };
        let mut visited = 0;
        let more = page
            .walk(async |key, stored| {
                visited += 1;
                records += u64::from(stored.is_record());
                after = Some(key.clone());
                Ok(visited < limit)
            })
            .await;
        match more {
            Ok(true) if after.is_some() => slice.checkpoint().await,
            Ok(_) => return Some(records),
            Err(error) => {
                core.note_damage(&error);
                return None;
            }
        }
    }
}
