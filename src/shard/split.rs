//! The first split of a collection that began with one tablet: by its own keys, when a checkpoint
//! finds enough of them. Equal-width splits of the key space would put every real data set on one core.

use std::ops::Bound;
use std::rc::Rc;
use std::time::Duration;

use super::core::Core;
use super::decisions::Kind;
use super::key::Key;
use super::node::Node;
use super::record::Refusal;
use super::runs::LoadError;
use crate::io::executor::Class;
use crate::limits;
use crate::rmi::quantiles::separators;
use crate::types::TabletId;

/// Asks shard 0 to split the collections whose only tablet is here and large enough.
pub fn propose(node: &Node, core: &Rc<Core>) {
    if node.shards() == 1 {
        return;
    }
    let catalogue = node.catalogue();
    for collection in catalogue.collections.values().filter(|collection| collection.is_unsplit()) {
        let tablet = &collection.tablets[0];
        let large = |present: &super::tablet::Tablet| present.records >= limits::SPLIT_RECORDS_MIN;
        let here = core.engine.borrow().tablets.get(tablet.id).is_some_and(large);
        if tablet.owner == node.shard() && here && core.splitting.borrow_mut().insert(collection.id) {
            let (node, core) = (node.clone(), core.clone());
            let collection = collection.clone();
            node.runtime().clone().spawn(Class::Background, async move {
                let tablet = collection.tablets[0].id;
                if let Err(pause) = split(&node, &core, &collection.name, tablet).await {
                    node.runtime().sleep(pause).await;
                }
                core.splitting.borrow_mut().remove(&collection.id);
            });
        }
    }
}

/// Or how long it is not to be tried again: a run of it is damaged, or others would have waited for too long.
async fn split(node: &Node, core: &Core, name: &str, tablet: TabletId) -> Result<(), Duration> {
    let sample = match sample(core, tablet, limits::SPLIT_SAMPLE_KEYS).await {
        Ok(sample) => sample,
        Err(error) => {
            core.note_damage(&error);
            return Err(limits::SPLIT_RETRY);
        }
    };
    let split_at = separators(&sample, node.shards());
    if split_at.is_empty() {
        return Ok(());
    }
    core.decided(Kind::Split, "first_split");
    match node.split_collection(name, split_at).await {
        Ok(Ok(())) => tracing::info!(collection = name, "split by a sample of its keys"),
        Ok(Err(error)) => tracing::info!(collection = name, %error, "not split"),
        Err(refusal) => {
            tracing::warn!(collection = name, %refusal, "not split; a later checkpoint tries again");
            if matches!(refusal, Refusal::Overloaded { .. }) {
                return Err(limits::SPLIT_GIVEN_UP_RETRY);
            }
        }
    }
    Ok(())
}

/// About so many keys of a tablet, in order and evenly apart, from the delta and from what is resident of the runs.
/// Keys that stand in several of them count several times, which moves a separator little.
pub async fn sample(core: &Core, tablet: TabletId, count: u64) -> Result<Vec<Key>, LoadError> {
    let (records, collection, range, levels) = {
        let engine = core.engine.borrow();
        let Some(present) = engine.tablets.get(tablet) else { return Ok(Vec::new()) };
        (present.records, present.collection, present.range(), engine.store.levels().clone())
    };
    let step = records.div_ceil(count).max(1);
    let mut sample = sample_delta(core, tablet, step as usize).await;
    let mut slice = core.runtime.slice();
    // What is left in runs of a range that moved away is not the tablet's.
    let (start, end) = (range.0.to_vec(), range.1.map(|end| end.to_vec()));
    for part in levels.iter().filter(|part| part.may_have(tablet)) {
        let resident = part.load().await?;
        let mut take = |_, key: Vec<u8>| sample.push(Key::from_bytes(&key));
        let end = end.as_ref().map(|end| &end[..]);
        resident.sample(collection, tablet, Bound::Included(&start), end, step, &mut take);
        slice.checkpoint().await;
    }
    sample.sort_unstable();
    sample.dedup();
    Ok(sample)
}

/// Counted in steps of the entries looked at; a long step is walked a stretch at a time.
async fn sample_delta(core: &Core, tablet: TabletId, step: usize) -> Vec<Key> {
    let mut slice = core.runtime.slice();
    let mut sample = Vec::new();
    let mut at: Option<Key> = None;
    let mut walked = 0;
    loop {
        {
            let engine = core.engine.borrow();
            let Some(tablet) = engine.tablets.get(tablet) else { return sample };
            let (first, end) = tablet.range();
            let start = at.take().map_or(Bound::Included(first), Bound::Excluded);
            let stretch = step.saturating_sub(walked).clamp(1, limits::SCAN_VISITS_MAX);
            let mut last = None;
            for (key, version) in tablet.delta.range(start.as_ref(), end.as_ref()).take(stretch) {
                walked += 1;
                last = Some((key, version.payload.is_some()));
            }
            let Some((key, live)) = last else { return sample };
            at = Some(key.clone());
            if walked >= step {
                walked = 0;
                if live {
                    sample.push(key.clone());
                }
            }
        }
        slice.checkpoint().await;
    }
}
