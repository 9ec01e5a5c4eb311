//! Damaged runs: what of them is whole goes into a new run, and older versions of what is lost are hidden.
//!
//! A key whose newest version was in a damaged block may have an older version in an older run, and a deleted one
//! may have what it deleted. Served now, that would be a value that was overwritten. So the new run says of such
//! keys that they are deleted; which they are is in the report. A key counts as lost when it lies in a range that
//! no block tells of, unless the keys or the filter of the run, where they are whole, say that it was not there.
//!
//! Invariant: no read of the repaired shard gives a version that the undamaged shard would not have given.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::rc::Rc;

use super::maps::Named;
use super::salvage::{Gap, Salvage, place_of};
use super::{RepairError, ShardFiles, damage_only};
use crate::io::runtime::Runtime;
use crate::limits;
use crate::shard::delta::NEVER;
use crate::shard::run::{
    Body, Covered, EntryRef, Lookup, Resident, RunHeader, RunReader, RunWriter, TabletInfo,
};
use crate::shard::runs::{self, RunOut, run_file_name};
use crate::shard::state::{RunMeta, ShardState, ValueUse};
use crate::shard::store::{Part, Place, Shelf, Span};
use crate::types::{CollectionId, Epoch, Lsn, RunId, Seq, TabletId, WallMs};

/// A version that an older run has of a key that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Older {
    pub lsn: Lsn,
    pub seq: Seq,
}

/// What is to be done with a run.
pub struct RunPlan {
    pub meta: RunMeta,
    pub what: String,
    /// Ranges of places of which nothing is left.
    pub gaps: Vec<Gap>,
    pub lost_entries: u64,
    /// Keys in these ranges that older runs know.
    pub older: BTreeMap<Place, Older>,
}

/// What all plans of a shard go by.
pub struct Tablets {
    pub infos: BTreeMap<TabletId, TabletInfo>,
    pub collections: BTreeMap<TabletId, CollectionId>,
    /// By runs of this shard.
    pub named: Named,
}

/// A run as it is found.
struct Looked {
    meta: RunMeta,
    resident: Option<Rc<Resident>>,
    reader: Option<RunReader>,
    damage: Option<String>,
}

/// Looks at every run that the state names.
pub async fn plan(
    runtime: &Runtime,
    files: &ShardFiles,
    state: &ShardState,
    known: &BTreeMap<TabletId, TabletInfo>,
) -> Result<(Vec<RunPlan>, Tablets), RepairError> {
    let dir = files.runs();
    let shelf = Shelf::new(runtime.clone(), dir.clone(), 0);
    state.values.iter().for_each(|file| shelf.add_values(*file));
    let mut looked = Vec::new();
    for meta in newest_first(state) {
        let checked = damage_only(runs::check(runtime, &dir, meta.file()).await)?;
        let damage = checked.err().map(|error| error.to_string());
        let reader = damage_only(runs::open_reader(runtime, &dir, meta.file()).await)?.ok();
        let resident = damage_only(Part::new(shelf.clone(), meta.clone()).load().await)?.ok();
        looked.push(Looked { meta, resident, reader, damage });
    }
    let tablets = tablets_of(state, &looked, known);
    let mut plans = Vec::new();
    for (index, run) in looked.iter().enumerate() {
        let Some(what) = &run.damage else { continue };
        let path = dir.join(run_file_name(run.meta.id));
        let salvage = Salvage::read(runtime, &path, run.meta.id, run.reader.as_ref()).await?;
        let gaps = salvage.gaps(&run.meta, run.reader.as_ref(), &tablets.collections);
        let found = salvage.entries().count() as u64;
        drop(salvage);
        let older = older_versions(runtime, &dir, &looked, index, &gaps, &tablets).await?;
        plans.push(RunPlan {
            meta: run.meta.clone(),
            what: what.clone(),
            gaps,
            lost_entries: run.meta.entries.saturating_sub(found),
            older,
        });
    }
    Ok((plans, tablets))
}

fn newest_first(state: &ShardState) -> Vec<RunMeta> {
    let mut runs: Vec<(usize, RunMeta)> = state.runs.iter().cloned().enumerate().collect();
    // Of level 0 the last is the newest.
    runs.sort_by_key(|(index, run)| (run.level, if run.level == 0 { usize::MAX - index } else { *index }));
    runs.into_iter().map(|(_, run)| run).collect()
}

fn tablets_of(state: &ShardState, looked: &[Looked], known: &BTreeMap<TabletId, TabletInfo>) -> Tablets {
    let (mut infos, mut named) = (BTreeMap::new(), Named::default());
    let readers = looked.iter().filter_map(|run| run.reader.as_ref());
    for tablet in readers.flat_map(|reader| reader.directory().tablets()) {
        let TabletInfo { tablet: id, collection, epoch, .. } = tablet.info;
        named.add(id, collection, epoch);
        // The newest run knows best.
        infos.entry(id).or_insert(tablet.info);
    }
    known.iter().for_each(|(id, info)| _ = infos.entry(*id).or_insert(*info));
    let mut collections: BTreeMap<TabletId, CollectionId> =
        state.tablets.iter().map(|tablet| (tablet.tablet, tablet.collection)).collect();
    collections.extend(infos.values().map(|info| (info.tablet, info.collection)));
    for run in &state.runs {
        for end in [&run.span.first, &run.span.last] {
            collections.insert(end.tablet, end.collection);
            named.add(end.tablet, end.collection, Epoch::ZERO);
        }
    }
    Tablets { infos, collections, named }
}

/// The newest version that runs behind number `index` have of each key that this one has lost.
async fn older_versions(
    runtime: &Runtime,
    dir: &Path,
    looked: &[Looked],
    index: usize,
    gaps: &[Gap],
    tablets: &Tablets,
) -> Result<BTreeMap<Place, Older>, RepairError> {
    let (newer, damaged) = (&looked[..index], &looked[index]);
    let mut found: BTreeMap<Place, Option<Older>> = BTreeMap::new();
    for run in &looked[index + 1..] {
        if !gaps.iter().any(|gap| meets(gap, &run.meta.span)) {
            continue;
        }
        let path = dir.join(run_file_name(run.meta.id));
        let salvage = Salvage::read(runtime, &path, run.meta.id, run.reader.as_ref()).await?;
        for entry in salvage.entries() {
            let place = place_of(&entry, &tablets.collections);
            let lost = gaps.iter().any(|gap| gap.contains(&place))
                && may_have_had(damaged, &place)
                && !newer.iter().any(|run| certainly_has(run, &place));
            if lost {
                let older = entry.body.is_record().then_some(Older { lsn: entry.lsn, seq: entry.seq });
                found.entry(place).or_insert(older);
            }
        }
    }
    // Below a deletion nothing comes back.
    Ok(found.into_iter().filter_map(|(place, older)| Some((place, older?))).collect())
}

fn meets(gap: &Gap, span: &Span) -> bool {
    let begins = match &gap.0 {
        Bound::Included(place) => *place <= span.last,
        Bound::Excluded(place) => *place < span.last,
        Bound::Unbounded => true,
    };
    let ends = match &gap.1 {
        Bound::Included(place) => *place >= span.first,
        Bound::Excluded(place) => *place > span.first,
        Bound::Unbounded => true,
    };
    begins && ends
}

fn lookup(run: &Looked, place: &Place) -> Option<Lookup> {
    let resident = run.resident.as_ref()?;
    Some(resident.lookup(place.collection, place.tablet, &place.key.to_vec()))
}

fn may_have_had(run: &Looked, place: &Place) -> bool {
    lookup(run, place) != Some(Lookup::Absent)
}

fn certainly_has(run: &Looked, place: &Place) -> bool {
    run.damage.is_none() && matches!(lookup(run, place), Some(Lookup::Here { .. }))
}

/// Writes what is left of a run under a new id; `None` when nothing is.
pub async fn rewrite(
    runtime: &Runtime,
    files: &ShardFiles,
    plan: &RunPlan,
    tablets: &Tablets,
    id: RunId,
    through: Lsn,
    keep_older: bool,
) -> Result<Option<RunMeta>, RepairError> {
    let dir = files.runs();
    let reader = damage_only(runs::open_reader(runtime, &dir, plan.meta.file()).await)?.ok();
    let path = dir.join(run_file_name(plan.meta.id));
    let salvage = Salvage::read(runtime, &path, plan.meta.id, reader.as_ref()).await?;
    let nothing = BTreeMap::new();
    let mut hidden = if keep_older { &nothing } else { &plan.older }.iter().peekable();
    let mut out = Rewriting::begin(runtime, files, tablets, id, through).await?;
    for entry in salvage.entries() {
        let place = place_of(&entry, &tablets.collections);
        while let Some((gone, older)) = hidden.next_if(|(gone, _)| **gone < place) {
            out.hide(gone, older).await?;
        }
        out.push(&entry).await?;
    }
    for (gone, older) in hidden {
        out.hide(gone, older).await?;
    }
    out.finish(plan.meta.level).await
}

struct Rewriting<'a> {
    out: RunOut,
    writer: RunWriter,
    tablets: &'a Tablets,
    tablet: Option<TabletId>,
    first_expiry: WallMs,
    /// What it refers to in value files, which stay as they are.
    uses: BTreeMap<RunId, u64>,
    pushed: usize,
}

impl<'a> Rewriting<'a> {
    async fn begin(
        runtime: &Runtime,
        files: &ShardFiles,
        tablets: &'a Tablets,
        id: RunId,
        through: Lsn,
    ) -> Result<Rewriting<'a>, RepairError> {
        let header =
            RunHeader { shard: files.shard, run: id, covered: Covered { after: Lsn::ZERO, through } };
        let out = RunOut::create(runtime, &files.runs(), id).await?;
        let writer = RunWriter::new(header);
        let uses = BTreeMap::new();
        Ok(Rewriting { out, writer, tablets, tablet: None, first_expiry: NEVER, uses, pushed: 0 })
    }

    async fn hide(&mut self, place: &Place, older: &Older) -> Result<(), RepairError> {
        let key = place.key.to_vec();
        let Older { lsn, seq } = *older;
        let body = Body::Tombstone;
        let entry = EntryRef { tablet: place.tablet, key: &key, lsn, seq, expires: None, body };
        self.push(&entry).await
    }

    async fn push(&mut self, entry: &EntryRef<'_>) -> Result<(), RepairError> {
        if self.tablet != Some(entry.tablet) {
            // What no map names, the next start would drop.
            let Some(info) = self.tablets.infos.get(&entry.tablet) else { return Ok(()) };
            self.writer.start_tablet(*info);
            self.tablet = Some(entry.tablet);
        }
        self.first_expiry = self.first_expiry.min(entry.expires.unwrap_or(NEVER));
        self.writer.push(*entry);
        self.pushed += entry.key.len() + entry.body.len_here();
        if let Body::Apart(at) = &entry.body {
            *self.uses.entry(at.file).or_default() += at.padded_len();
        }
        if self.pushed >= limits::RUN_CHUNK_BYTES {
            self.pushed = 0;
            self.out.drain(&mut self.writer, true).await?;
        }
        Ok(())
    }

    async fn finish(self, level: u8) -> Result<Option<RunMeta>, RepairError> {
        if self.tablet.is_none() {
            return Ok(None);
        }
        let id = self.out.id();
        let (finished, _, _) = self.out.finish(self.writer.finish(), true).await?;
        let Some(bounds) = finished.bounds else { return Ok(None) };
        Ok(Some(RunMeta {
            id,
            level,
            file_len: finished.file.len,
            footer_hash: finished.file.footer_hash,
            entries: finished.entries,
            live: finished.live,
            lsn_max: finished.lsn_max,
            first_expiry: self.first_expiry,
            span: Span::from_bounds(&bounds),
            values: self.uses.into_iter().map(|(file, bytes)| ValueUse { file, bytes }).collect(),
        }))
    }
}
