//! A log that a start refuses: what is behind the damage is cut off, so that what is before it can be used.
//!
//! What is cut is gone from the shard, also what could still be read of it: a log with a hole is no history. The
//! files are kept aside, and the report lists every LSN.

use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::log::{
    Damage, Evidence, RecordRef, Replay, ReplayError, ReplayStart, SegmentFile, Step,
    parse_segment_file_name, segment_file_name,
};
use crate::io::op::{OpenMode, Sync};
use crate::io::runtime::Runtime;
use crate::limits;
use crate::shard::state::ShardState;
use crate::types::{CollectionId, FileOffset, Lsn, SegmentId, Seq, TabletId};

use super::maps::Told;
use super::{RepairError, ShardFiles};

/// A record behind the damage that can still be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRecord {
    pub lsn: Lsn,
    pub kind: &'static str,
    pub collection: CollectionId,
    pub tablet: TabletId,
    pub seq: Seq,
    pub key: Vec<u8>,
}

pub struct LogPlan {
    pub damage: Damage,
    /// At least up to here the log was on stable storage.
    pub known_durable: Lsn,
    /// Those behind the damage that can be read.
    pub readable: Vec<LostRecord>,
    /// Everything that lies in the log directory from the damage on.
    pub behind: Vec<SegmentId>,
}

/// What a start would refuse, if it would, and what the log tells of maps.
pub async fn plan(
    runtime: &Runtime,
    files: &ShardFiles,
    state: &ShardState,
) -> Result<(Option<LogPlan>, Told), RepairError> {
    let segments = segments(runtime, files).await?;
    let start = ReplayStart {
        shard: files.shard,
        from: state.first_segment,
        first_wanted: state.covered.next(),
        floor: state.floor,
    };
    let mut first: Option<Damage> = None;
    let (mut readable, mut told) = (Vec::new(), Told::default());
    let mut replay = match Replay::new(start, &segments) {
        Ok(replay) => replay,
        Err(ReplayError::Damage(damage)) => return Ok((Some(planned(damage, Vec::new(), &segments)), told)),
        Err(newer) => return Err(RepairError::NewerLog(newer)),
    };
    while let Step::Read(read) = replay.step() {
        let path = files.log().join(segment_file_name(read.segment));
        let file = runtime.open(path, OpenMode::Read).await?;
        let (len, buf) = file.read(read.offset, AlignedBuf::zeroed(read.len)).await?;
        let behind = first.is_some();
        let mut sink = |record: RecordRef<'_>| {
            if state.counts(record.lsn) {
                told.take(&record, behind);
            }
            if behind {
                readable.push(lost(&record));
            }
        };
        if let Err(error) = replay.feed(&buf[..len.min(read.len)], &mut sink) {
            match error {
                ReplayError::Damage(damage) => drop(first.get_or_insert(damage)),
                ReplayError::Newer { .. } if first.is_none() => return Err(RepairError::NewerLog(error)),
                ReplayError::Newer { .. } => {}
            }
            replay.resume(&error);
        }
    }
    let Some(damage) = first else { return Ok((None, told)) };
    readable.retain(|record| record.lsn > damage.last_lsn);
    Ok((Some(planned(damage, readable, &segments)), told))
}

fn planned(damage: Damage, readable: Vec<LostRecord>, segments: &[SegmentFile]) -> LogPlan {
    let told = match damage.evidence {
        Evidence::Durable { lsn, .. } | Evidence::Floor { lsn } => lsn,
        Evidence::Recovered { .. } | Evidence::Itself => damage.last_lsn,
    };
    let known_durable = readable.iter().map(|record| record.lsn).max().unwrap_or(told).max(told);
    let mut behind: Vec<SegmentId> =
        segments.iter().map(|file| file.id).filter(|id| *id >= damage.segment).collect();
    behind.sort_unstable();
    LogPlan { damage, known_durable, readable, behind }
}

fn lost(record: &RecordRef<'_>) -> LostRecord {
    let meta = &record.parts.meta;
    LostRecord {
        lsn: record.lsn,
        kind: meta.kind.name(),
        collection: meta.collection,
        tablet: meta.tablet,
        seq: meta.seq,
        key: record.parts.key.to_vec(),
    }
}

async fn segments(runtime: &Runtime, files: &ShardFiles) -> Result<Vec<SegmentFile>, RepairError> {
    let entries = runtime.list(files.log()).await?;
    let segment = |entry: &crate::io::op::DirEntry| {
        Some(SegmentFile { id: parse_segment_file_name(&entry.name)?, len: entry.len })
    };
    Ok(entries.iter().filter_map(segment).collect())
}

/// Cuts; the files were put aside before.
pub async fn cut(runtime: &Runtime, files: &ShardFiles, plan: &LogPlan) -> Result<(), RepairError> {
    let Damage { segment, offset, .. } = plan.damage;
    for id in plan.behind.iter().rev() {
        let path = files.log().join(segment_file_name(*id));
        if *id == segment && offset.0 > 0 {
            end_with_zeros(runtime, files, *id, offset).await?;
        } else {
            runtime.remove_file(path).await?;
        }
    }
    Ok(runtime.sync_dir(files.log()).await?)
}

/// Replaces a segment by one that ends at `offset`, of the same full size.
async fn end_with_zeros(
    runtime: &Runtime,
    files: &ShardFiles,
    id: SegmentId,
    offset: FileOffset,
) -> Result<(), RepairError> {
    let path = files.log().join(segment_file_name(id));
    let source = runtime.open(&path, OpenMode::Read).await?;
    let (_, first) = source.read(FileOffset::ZERO, AlignedBuf::zeroed(BLOCK_BYTES)).await?;
    let full = u64::from(crate::io::log::segment_bytes_of(&first).unwrap_or(0)).max(source.len().await?);
    let temporary = path.with_extension("wal.tmp");
    let _ = runtime.remove_file(&temporary).await;
    let target = runtime.open(&temporary, OpenMode::CreateNew).await?;
    let mut at = 0;
    while at < full {
        let piece = (full - at).min(limits::MIB as u64) as usize;
        let mut buf = AlignedBuf::zeroed(piece);
        if at < offset.0 {
            (_, buf) = source.read(FileOffset(at), buf).await?;
            let kept = (offset.0 - at).min(piece as u64) as usize;
            buf[kept..].fill(0);
        }
        target.write(FileOffset(at), buf, Sync::No).await?;
        at += piece as u64;
    }
    target.sync().await?;
    Ok(runtime.rename(temporary, path).await?)
}
