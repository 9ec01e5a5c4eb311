//! A log that a start refuses: what is behind the damage is cut off, so that what is before it can be used.
//!
//! What is cut is gone from the shard, also what could still be read of it: a log with a hole is no history. The
//! files are kept aside, and the report lists every LSN.

use std::collections::BTreeSet;
use std::io;

use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::log::{
    BlockEnd, Cause, Damage, Evidence, ReadAt, RecordRef, Recovered, Replay, ReplayError, ReplayStart,
    SegmentFile, Step, parse_segment_file_name, segment_bytes_of, segment_file_name,
};
use crate::io::op::{OpenMode, Sync, is_fault_of_file};
use crate::io::runtime::{File, Runtime};
use crate::limits;
use crate::shard::state::ShardState;
use crate::types::{CollectionId, FileOffset, Lsn, SegmentId, Seq, TabletId};

use super::maps::Told;
use super::{RepairError, ShardFiles, unreadable};

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
    /// Segments before it of which a part is not there or cannot be read, and is not needed: runs cover it.
    pub holed: Vec<SegmentId>,
}

impl LogPlan {
    /// Whatever the cut replaces or removes.
    pub fn touched(&self) -> impl Iterator<Item = SegmentId> {
        self.holed.iter().chain(&self.behind).copied()
    }
}

/// What a start would refuse, if it would, and what the log tells of maps.
pub async fn plan(
    runtime: &Runtime,
    files: &ShardFiles,
    state: &ShardState,
) -> Result<(Option<LogPlan>, Told), RepairError> {
    let as_it_is = walk(runtime, files, state, Gaps::Refused).await?;
    let Some(refused) = as_it_is.damage else { return Ok((None, as_it_is.told)) };
    // Where a file ends early, or the disk does not give it, is not always where the log ends.
    let mut walked = walk(runtime, files, state, Gaps::Zeros).await?;
    let mut damage = walked.damage.unwrap_or(refused);
    if let (None, Some(end)) = (walked.damage, walked.end) {
        let (BlockEnd { segment, offset, .. }, last_lsn) = (end.cut, end.last_lsn);
        damage = Damage { segment, offset, last_lsn, ..refused };
    }
    damage.cause = refused.cause;
    walked.readable.retain(|record| record.lsn > damage.last_lsn);
    let told = std::mem::take(&mut walked.told);
    let planned = planned(damage, walked);
    let known_durable = planned.known_durable.max(state.floor);
    Ok((Some(LogPlan { known_durable, ..planned }), told))
}

/// What a file does not have of what it should, or the disk does not give.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gaps {
    /// As a start does.
    Refused,
    /// They are zeros, as behind a cut.
    Zeros,
}

struct Walked {
    damage: Option<Damage>,
    end: Option<Recovered>,
    readable: Vec<LostRecord>,
    told: Told,
    segments: Vec<SegmentFile>,
    /// Those with gaps that were taken for zeros.
    holed: BTreeSet<SegmentId>,
}

async fn walk(
    runtime: &Runtime,
    files: &ShardFiles,
    state: &ShardState,
    gaps: Gaps,
) -> Result<Walked, RepairError> {
    let (segments, holed) = segments(runtime, files, gaps).await?;
    let start = ReplayStart {
        shard: files.shard,
        from: state.first_segment,
        first_wanted: state.covered.next(),
        floor: state.floor,
        made: state.made,
    };
    let mut walked =
        Walked { damage: None, end: None, readable: Vec::new(), told: Told::default(), segments, holed };
    let mut replay = match Replay::new(start, &walked.segments) {
        Ok(replay) => replay,
        Err(ReplayError::Damage(damage)) => return Ok(Walked { damage: Some(damage), ..walked }),
        Err(newer) => return Err(RepairError::NewerLog(newer)),
    };
    loop {
        let read = match replay.step() {
            Step::Read(read) => read,
            Step::Done(end) => return Ok(Walked { end: Some(end), ..walked }),
        };
        let path = files.log().join(segment_file_name(read.segment));
        let file = runtime.open(&path, OpenMode::Read).await.map_err(unreadable(&path))?;
        let (len, buf) = match gaps {
            Gaps::Zeros => {
                let (buf, whole) = read_or_zeros(&file, read).await.map_err(unreadable(&path))?;
                if !whole {
                    walked.holed.insert(read.segment);
                }
                (read.len, buf)
            }
            Gaps::Refused => match file.read(read.offset, AlignedBuf::zeroed(read.len)).await {
                Ok(read) => read,
                Err(error) if is_fault_of_file(&error) => {
                    return Ok(Walked { damage: Some(not_given(start, read)), ..walked });
                }
                Err(error) => return Err(unreadable(&path)(error)),
            },
        };
        let behind = walked.damage.is_some();
        let mut sink = |record: RecordRef<'_>| {
            if state.counts(record.lsn) {
                walked.told.take(&record, behind);
            }
            if behind {
                walked.readable.push(lost(&record));
            }
        };
        if let Err(error) = replay.feed(&buf[..len.min(read.len)], &mut sink) {
            match error {
                ReplayError::Damage(damage) => drop(walked.damage.get_or_insert(damage)),
                ReplayError::Newer { .. } if walked.damage.is_none() => {
                    return Err(RepairError::NewerLog(error));
                }
                ReplayError::Newer { .. } => {}
            }
            replay.resume(&error);
        }
    }
}

fn not_given(start: ReplayStart, read: ReadAt) -> Damage {
    Damage {
        shard: start.shard,
        segment: read.segment,
        offset: read.offset,
        last_lsn: Lsn(start.first_wanted.0 - 1),
        cause: Cause::Unreadable,
        evidence: Evidence::Itself,
    }
}

/// A page at a time where the whole cannot be read; and whether all could be.
async fn read_or_zeros(file: &File, at: ReadAt) -> io::Result<(AlignedBuf, bool)> {
    let there = file.len().await?;
    if let Ok((_, buf)) = file.read(at.offset, AlignedBuf::zeroed(at.len)).await {
        return Ok((buf, true));
    }
    let mut all = AlignedBuf::zeroed(at.len);
    for page in (0..at.len).step_by(BLOCK_BYTES) {
        let offset = FileOffset(at.offset.0 + page as u64);
        if offset.0 >= there {
            break;
        }
        match file.read(offset, AlignedBuf::zeroed(BLOCK_BYTES)).await {
            Ok((len, buf)) => all[page..page + len].copy_from_slice(&buf[..len]),
            Err(error) if is_fault_of_file(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((all, false))
}

fn planned(damage: Damage, walked: Walked) -> LogPlan {
    let Walked { readable, segments, holed, .. } = walked;
    let told = match damage.evidence {
        Evidence::Durable { lsn, .. } | Evidence::Floor { lsn } => lsn,
        Evidence::Made { .. } | Evidence::Recovered { .. } | Evidence::Itself | Evidence::Covered { .. } => {
            damage.last_lsn
        }
    };
    let known_durable = readable.iter().map(|record| record.lsn).max().unwrap_or(told).max(told);
    let mut behind: Vec<SegmentId> =
        segments.iter().map(|file| file.id).filter(|id| *id >= damage.segment).collect();
    behind.sort_unstable();
    let holed = holed.into_iter().filter(|id| *id < damage.segment).collect();
    LogPlan { damage, known_durable, readable, behind, holed }
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

async fn segments(
    runtime: &Runtime,
    files: &ShardFiles,
    gaps: Gaps,
) -> Result<(Vec<SegmentFile>, BTreeSet<SegmentId>), RepairError> {
    let (mut all, mut short) = (Vec::new(), BTreeSet::new());
    let dir = files.log();
    for entry in runtime.list(&dir).await.map_err(unreadable(&dir))? {
        let Some(id) = parse_segment_file_name(&entry.name) else { continue };
        let len = match gaps {
            Gaps::Zeros if entry.len > 0 => {
                let path = dir.join(&entry.name);
                let file = runtime.open(&path, OpenMode::Read).await.map_err(unreadable(&path))?;
                full_len(&file).await?
            }
            _ => entry.len,
        };
        if len > entry.len {
            short.insert(id);
        }
        all.push(SegmentFile { id, len });
    }
    Ok((all, short))
}

/// As long as a segment was made.
async fn full_len(file: &File) -> Result<u64, RepairError> {
    let first = file.read(FileOffset::ZERO, AlignedBuf::zeroed(BLOCK_BYTES)).await;
    let said = first.ok().and_then(|(_, first)| segment_bytes_of(&first)).map(|bytes| bytes as usize);
    let (least, most) = (limits::LOG_SEGMENT_BYTES_MIN, limits::LOG_SEGMENT_BYTES_MAX);
    let least = said.filter(|said| (least..=most).contains(said)).unwrap_or(least) as u64;
    Ok(file.len().await?.max(least))
}

/// Cuts; the files were put aside before.
pub async fn cut(runtime: &Runtime, files: &ShardFiles, plan: &LogPlan) -> Result<(), RepairError> {
    let Damage { segment, offset, .. } = plan.damage;
    for id in &plan.holed {
        end_with_zeros(runtime, files, *id, FileOffset(limits::LOG_SEGMENT_BYTES_MAX as u64)).await?;
    }
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

/// Replaces a segment by one of its full size: what could be read up to `offset`, and zeros.
async fn end_with_zeros(
    runtime: &Runtime,
    files: &ShardFiles,
    id: SegmentId,
    offset: FileOffset,
) -> Result<(), RepairError> {
    let path = files.log().join(segment_file_name(id));
    let source = runtime.open(&path, OpenMode::Read).await?;
    let full = full_len(&source).await?;
    let temporary = path.with_extension("wal.tmp");
    let _ = runtime.remove_file(&temporary).await;
    let target = runtime.open(&temporary, OpenMode::CreateNew).await?;
    let mut at = 0;
    while at < full {
        let piece = (full - at).min(limits::MIB as u64) as usize;
        let mut buf = AlignedBuf::zeroed(piece);
        if at < offset.0 {
            // Not a byte further: the disk may not give it.
            let kept = (offset.0 - at).min(piece as u64) as usize;
            let (read, _) =
                read_or_zeros(&source, ReadAt { segment: id, offset: FileOffset(at), len: kept }).await?;
            buf[..kept].copy_from_slice(&read[..kept]);
        }
        target.write(FileOffset(at), buf, Sync::No).await?;
        at += piece as u64;
    }
    target.sync().await?;
    Ok(runtime.rename(temporary, path).await?)
}
