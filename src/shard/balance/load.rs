//! What a shard has of its tablets, and how the keys of one lie. Runs on the owner, in the background.

use std::collections::BTreeMap;

use super::TabletLoad;
use crate::io::buf::BLOCK_BYTES;
use crate::limits;
use crate::shard::core::Core;
use crate::shard::key::Key;
use crate::shard::record::Refusal;
use crate::shard::split;
use crate::shard::tablet::Tablet;
use crate::types::TabletId;

/// Of a record of which nothing is known yet.
const RECORD_BYTES_GUESS: u64 = 128;

/// Bytes and entries, obsolete ones too: what a record takes, not how many there are.
#[derive(Clone, Copy, Default)]
struct Weighed {
    bytes: u64,
    entries: u64,
}

pub async fn loads(core: &Core) -> Vec<TabletLoad> {
    let weighed = weigh_runs(core).await;
    let ids: Vec<TabletId> = core.engine.borrow().tablets.iter().map(|tablet| tablet.id).collect();
    let mut loads = Vec::with_capacity(ids.len());
    let mut slice = core.runtime.slice();
    for id in ids {
        if let Some(tablet) = core.engine.borrow().tablets.get(id) {
            loads.push(load_of(tablet, weighed.get(&id).copied().unwrap_or_default()));
        }
        slice.checkpoint().await;
    }
    loads
}

async fn weigh_runs(core: &Core) -> BTreeMap<TabletId, Weighed> {
    let levels = core.engine.borrow().store.levels().clone();
    let mut weighed: BTreeMap<TabletId, Weighed> = BTreeMap::new();
    let mut slice = core.runtime.slice();
    for part in levels.iter() {
        if let Some(resident) = part.resident() {
            for tablet in resident.reader().directory().tablets() {
                let sum = weighed.entry(tablet.info.tablet).or_default();
                sum.bytes += u64::from(tablet.blocks) * BLOCK_BYTES as u64;
                sum.entries += tablet.entries;
            }
        }
        slice.checkpoint().await;
    }
    weighed
}

fn load_of(tablet: &Tablet, runs: Weighed) -> TabletLoad {
    let weight = tablet.delta.weight();
    let (bytes, entries) = (runs.bytes + weight.live_bytes, runs.entries + weight.live_records);
    let of_record = bytes.checked_div(entries).unwrap_or(RECORD_BYTES_GUESS).max(1);
    let mut asked = tablet.heat.reads.sample();
    asked.extend(tablet.heat.writes.sample());
    asked.sort_unstable();
    TabletLoad {
        tablet: tablet.id,
        collection: tablet.collection,
        records: tablet.records,
        counting: tablet.counting,
        bytes: tablet.records * of_record,
        reads_per_s: tablet.heat.reads.per_second(),
        writes_per_s: tablet.heat.writes.per_second(),
        asked,
        front: tablet.heat.writes.front(),
    }
}

/// Keys of a tablet that cut it into parts of about one size: by what is resident of its runs, and its delta.
pub async fn quantiles(core: &Core, tablet: TabletId) -> Result<Vec<Key>, Refusal> {
    let points = limits::BALANCE_QUANTILE_KEYS;
    let sample =
        split::sample(core, tablet, 8 * points as u64).await.map_err(|error| core.note_damage(&error))?;
    let step = sample.len().div_ceil(points).max(1);
    Ok(sample.into_iter().step_by(step).collect())
}
