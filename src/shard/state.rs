//! What the manifest of a shard says: the whole state in each of its records.
//!
//! Byte map, little-endian (`bytes` is a u32 length and that many bytes):
//!
//! ```text
//! u16 version | u8 flags (1 = closed cleanly, 2 = has a catalogue, 4 = a snapshot,
//!   8 = the catalogue tells placements, 16 = of documents, 32 = tells segments) | u8 0 | u16 shards | u16 0
//! u64 node | u64 joined shards (shard 0)
//! u64 log_segment_bytes | u64 floor LSN | u64 covered LSN | u64 first segment | u64 next run | u64 clock
//! u32 runs of format 1, each: u64 id | u64 from | u64 to | u64 file length | u64 footer hash | u64 entries
//! u32 tablets, each: u32 id | u32 collection | u64 next version | u64 records | u64 epoch
//! bytes catalogue (empty when flag 2 is not set)
//! u32 runs, each: u64 id | u32 level | u64 file length | u64 footer hash | u64 entries | u64 live entries
//!   | u64 highest LSN | u64 first expiry | first place | last place
//!   place: u32 collection | u32 tablet | bytes key
//! u64 replay to LSN (0 when flag 4 is not set) | u32 gaps, each: u64 after LSN | u64 before LSN
//! u32 value files, each: u64 id | u64 file length | u64 footer hash | u64 value bytes
//! for each of the runs above: u32 value files that it refers to, each: u64 id | u64 bytes
//! u64 first segment of this life | u64 last one made (only when flag 32 is set; programs of before do not read on)
//! ```
//!
//! Version 2 ends with the gaps, and has no placements.
//! Version 1 has no records of tablets, and ends with the catalogue.

use std::collections::BTreeSet;
use std::fmt;

use super::catalogue::{Catalogue, Form};
use super::key::Key;
use super::run::{RunFile, ValueMeta};
use super::store::{LAST, Place, Span};
use crate::io::codec::{Put, Reader, Truncated};
use crate::io::log::Made;
use crate::types::{CollectionId, Epoch, Lsn, NodeId, RunId, SegmentId, Seq, TabletId, WallMs};

const VERSION: u16 = 3;
/// Of a map with collections of documents: older servers must not take it for theirs.
const VERSION_DOCUMENTS: u16 = 4;
const FLAG_CLEAN: u8 = 1;
const FLAG_CATALOGUE: u8 = 2;
const FLAG_SNAPSHOT: u8 = 4;
const FLAG_PLACEMENTS: u8 = 8;
const FLAG_DOCUMENTS: u8 = 16;
const FLAG_SEGMENTS: u8 = 32;

/// A run that the manifest names, read in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMeta {
    pub id: RunId,
    pub level: u8,
    pub file_len: u64,
    pub footer_hash: u64,
    pub entries: u64,
    /// Entries that are no tombstones.
    pub live: u64,
    pub lsn_max: Lsn,
    /// The first time at which one of its records is over; [`super::delta::NEVER`] when none will be.
    pub first_expiry: WallMs,
    pub span: Span,
    /// In order of files, each once.
    pub values: Vec<ValueUse>,
}

/// What a run refers to in a value file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueUse {
    pub file: RunId,
    /// Padding included.
    pub bytes: u64,
}

/// A run written before runs were read in place. It covers the log in `(from, to]`; its records are loaded
/// at a start, and it goes with the first seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedRun {
    pub id: RunId,
    pub from: Lsn,
    pub to: Lsn,
    pub file_len: u64,
    pub footer_hash: u64,
    pub entries: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardState {
    /// The log was closed in order: nothing in it may be forgiven, and no version was given out
    /// behind it.
    pub clean: bool,
    /// Cores of the node: another number needs resharding.
    pub shards: u16,
    pub node: NodeId,
    /// Shard 0's: one bit a shard that has data of this node. One of these that comes without any was lost.
    pub joined: u64,
    pub log_segment_bytes: u64,
    /// The log is durable at least up to here; damage below is damage.
    pub floor: Lsn,
    /// Every record up to here is in a run.
    pub covered: Lsn,
    /// Where replay begins.
    pub first_segment: SegmentId,
    /// What the life of this state has made of the log, each before anything in it was acknowledged: a start misses what is
    /// not there, from where the log ends on. Nothing when `floor` tells everything.
    pub made: Made,
    pub next_run: RunId,
    /// Last commit timestamp.
    pub clock: u64,
    /// Oldest first; each begins where the one before ends.
    pub loaded_runs: Vec<LoadedRun>,
    /// Those of level 0 from the oldest.
    pub runs: Vec<RunMeta>,
    /// Those that runs refer to, and no others; in order of ids.
    pub values: Vec<ValueMeta>,
    pub tablets: Vec<TabletState>,
    /// Shard 0's.
    pub catalogue: Option<Catalogue>,
    /// In a snapshot: nothing of the log counts that is above this.
    pub replay_to: Option<Lsn>,
    /// What was above it when the snapshot was started from, as long as the log is not covered.
    pub gaps: Vec<LsnGap>,
}

/// Records strictly between these do not count, though the log has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LsnGap {
    pub after: Lsn,
    pub before: Lsn,
}

/// Runs that are to be named, and the value files that were written with them.
#[derive(Clone, Debug, Default)]
pub struct Replacement {
    pub runs: Vec<RunMeta>,
    pub values: Vec<ValueMeta>,
}

/// What is kept of a tablet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TabletState {
    pub tablet: TabletId,
    pub collection: CollectionId,
    /// As of the commit.
    pub next_seq: Seq,
    /// As of `covered`: the log behind it tells the rest.
    pub records: u64,
    /// Of the range that `records` counts.
    pub epoch: Epoch,
}

/// Why a manifest record is not a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateError {
    Truncated,
    /// A number that no writer puts there.
    Malformed,
    /// Written by a newer server.
    Newer {
        version: u16,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Truncated => f.write_str("the manifest's state ends in the middle of a value"),
            StateError::Malformed => f.write_str("the manifest's state has a number that means nothing"),
            StateError::Newer { version } => {
                write!(
                    f,
                    "the data has format {version}, written by a newer kyrodb; this one reads {VERSION}"
                )
            }
        }
    }
}

impl std::error::Error for StateError {}

impl From<Truncated> for StateError {
    fn from(_: Truncated) -> StateError {
        StateError::Truncated
    }
}

impl RunMeta {
    pub fn file(&self) -> RunFile {
        RunFile { run: self.id, len: self.file_len, footer_hash: self.footer_hash }
    }
}

impl LoadedRun {
    pub fn file(&self) -> RunFile {
        RunFile { run: self.id, len: self.file_len, footer_hash: self.footer_hash }
    }
}

impl ShardState {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let form = self.catalogue.as_ref().map_or(Form::Ranges, Catalogue::form);
        out.put_u16(if form == Form::Documents { VERSION_DOCUMENTS } else { VERSION });
        let clean = if self.clean { FLAG_CLEAN } else { 0 };
        let catalogue = if self.catalogue.is_some() { FLAG_CATALOGUE } else { 0 };
        let snapshot = if self.replay_to.is_some() { FLAG_SNAPSHOT } else { 0 };
        let form = match form {
            Form::Ranges => 0,
            Form::Placed => FLAG_PLACEMENTS,
            Form::Documents => FLAG_DOCUMENTS,
        };
        let segments = if self.made == Made::default() { 0 } else { FLAG_SEGMENTS };
        out.put_u8(clean | catalogue | snapshot | form | segments);
        out.put_u8(0);
        out.put_u16(self.shards);
        out.put_u16(0);
        for number in [self.node.0, self.joined, self.log_segment_bytes] {
            out.put_u64(number);
        }
        for number in [self.floor.0, self.covered.0, self.first_segment.0, self.next_run.0, self.clock] {
            out.put_u64(number);
        }
        out.put_u32(self.loaded_runs.len() as u32);
        for run in &self.loaded_runs {
            for number in [run.id.0, run.from.0, run.to.0, run.file_len, run.footer_hash, run.entries] {
                out.put_u64(number);
            }
        }
        out.put_u32(self.tablets.len() as u32);
        for tablet in &self.tablets {
            out.put_u32(tablet.tablet.0);
            out.put_u32(tablet.collection.0);
            out.put_u64(tablet.next_seq.0);
            out.put_u64(tablet.records);
            out.put_u64(tablet.epoch.0);
        }
        let mut bytes = Vec::new();
        if let Some(catalogue) = &self.catalogue {
            catalogue.encode(&mut bytes);
        }
        out.put_bytes(&bytes);
        out.put_u32(self.runs.len() as u32);
        self.runs.iter().for_each(|run| encode_run(run, &mut out));
        out.put_u64(self.replay_to.unwrap_or_default().0);
        out.put_u32(self.gaps.len() as u32);
        for gap in &self.gaps {
            out.put_u64(gap.after.0);
            out.put_u64(gap.before.0);
        }
        out.put_u32(self.values.len() as u32);
        for file in &self.values {
            for number in [file.id.0, file.file_len, file.footer_hash, file.value_bytes] {
                out.put_u64(number);
            }
        }
        for run in &self.runs {
            out.put_u32(run.values.len() as u32);
            for used in &run.values {
                out.put_u64(used.file.0);
                out.put_u64(used.bytes);
            }
        }
        if segments != 0 {
            out.put_u64(self.made.first.0);
            out.put_u64(self.made.last.0);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<ShardState, StateError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u16()?;
        if !(1..=VERSION_DOCUMENTS).contains(&version) {
            return Err(StateError::Newer { version });
        }
        let flags = reader.u8()?;
        reader.u8()?;
        let shards = reader.u16()?;
        reader.u16()?;
        let mut state = ShardState {
            clean: flags & FLAG_CLEAN != 0,
            shards,
            node: NodeId(reader.u64()?),
            joined: reader.u64()?,
            log_segment_bytes: reader.u64()?,
            floor: Lsn(reader.u64()?),
            covered: Lsn(reader.u64()?),
            first_segment: SegmentId(reader.u64()?),
            next_run: RunId(reader.u64()?),
            clock: reader.u64()?,
            ..ShardState::default()
        };
        for _ in 0..reader.u32()? {
            state.loaded_runs.push(decode_loaded_run(&mut reader)?);
        }
        for _ in 0..reader.u32()? {
            let (tablet, collection) = (TabletId(reader.u32()?), CollectionId(reader.u32()?));
            let next_seq = Seq(reader.u64()?);
            let [records, epoch] = match version {
                1 => [0, 0],
                _ => [reader.u64()?, reader.u64()?],
            };
            state.tablets.push(TabletState { tablet, collection, next_seq, records, epoch: Epoch(epoch) });
        }
        let catalogue = reader.bytes()?;
        let form = match flags & (FLAG_PLACEMENTS | FLAG_DOCUMENTS) {
            0 => Form::Ranges,
            FLAG_PLACEMENTS => Form::Placed,
            _ => Form::Documents,
        };
        if flags & FLAG_CATALOGUE != 0 {
            state.catalogue = Some(Catalogue::decode(&mut Reader::new(catalogue), form)?);
        }
        if version > 1 {
            for _ in 0..reader.u32()? {
                state.runs.push(decode_run(&mut reader)?);
            }
            let replay_to = Lsn(reader.u64()?);
            state.replay_to = (flags & FLAG_SNAPSHOT != 0).then_some(replay_to);
            for _ in 0..reader.u32()? {
                state.gaps.push(LsnGap { after: Lsn(reader.u64()?), before: Lsn(reader.u64()?) });
            }
        }
        if version > 2 {
            state.decode_values(&mut reader)?;
        }
        if flags & FLAG_SEGMENTS != 0 {
            state.made = Made { first: SegmentId(reader.u64()?), last: SegmentId(reader.u64()?) };
        }
        Ok(state)
    }

    fn decode_values(&mut self, reader: &mut Reader<'_>) -> Result<(), StateError> {
        for _ in 0..reader.u32()? {
            let id = RunId(reader.u64()?);
            let [file_len, footer_hash, value_bytes] = [reader.u64()?, reader.u64()?, reader.u64()?];
            self.values.push(ValueMeta { id, file_len, footer_hash, value_bytes });
        }
        for run in &mut self.runs {
            for _ in 0..reader.u32()? {
                run.values.push(ValueUse { file: RunId(reader.u64()?), bytes: reader.u64()? });
            }
        }
        let sorted = self.values.is_sorted_by_key(|file| file.id);
        let mut uses = self.runs.iter().flat_map(|run| &run.values);
        let named = sorted && uses.all(|used| self.names_values(used.file));
        if named { Ok(()) } else { Err(StateError::Malformed) }
    }

    /// Takes runs away and names others, with the value files that came with them; value files that nothing
    /// refers to any more go.
    pub fn replace_runs(&mut self, out: &[RunId], into: Replacement) {
        // Only these may have nothing that refers to them.
        let mut unused: BTreeSet<RunId> = into.values.iter().map(|file| file.id).collect();
        for run in self.runs.extract_if(.., |run| out.contains(&run.id)) {
            unused.extend(run.values.iter().map(|used| used.file));
        }
        for file in into.values {
            self.next_run = self.next_run.max(file.id.next());
            self.values.push(file);
        }
        self.values.sort_by_key(|file| file.id);
        for run in into.runs {
            self.next_run = self.next_run.max(run.id.next());
            let named = run.values.iter().all(|used| self.names_values(used.file));
            assert!(named, "a run refers to a value file that is not there");
            self.runs.push(run);
        }
        for run in &self.runs {
            if unused.is_empty() {
                break;
            }
            unused.retain(|file| run.values.binary_search_by_key(file, |used| used.file).is_err());
        }
        self.values.retain(|file| !unused.contains(&file.id));
    }

    /// Names no value file to which no run refers.
    pub fn forget_unused_values(&mut self) {
        let used: BTreeSet<RunId> =
            self.runs.iter().flat_map(|run| &run.values).map(|used| used.file).collect();
        self.values.retain(|file| used.contains(&file.id));
        assert_eq!(self.values.len(), used.len(), "a run refers to a value file that is not there");
    }

    /// Whether a value file counts.
    pub fn names_values(&self, id: RunId) -> bool {
        self.values.binary_search_by_key(&id, |file| file.id).is_ok()
    }

    /// Whether a record of the log counts, as far as its LSN tells.
    pub fn counts(&self, lsn: Lsn) -> bool {
        let above = self.replay_to.is_some_and(|to| lsn > to);
        !above && !self.gaps.iter().any(|gap| gap.after < lsn && lsn < gap.before)
    }

    /// A node goes on from a snapshot, with `next` as its first LSN: what the log has in between never
    /// counts.
    pub fn begin_from_snapshot(&mut self, next: Lsn) {
        if let Some(after) = self.replay_to.take() {
            self.gaps.push(LsnGap { after, before: next });
        }
    }

    /// Every record up to here is in a run.
    pub fn set_covered(&mut self, covered: Lsn) {
        self.covered = covered;
        self.gaps.retain(|gap| covered.next() < gap.before);
    }

    /// Whether a file of this run counts.
    pub fn names_run(&self, id: RunId) -> bool {
        self.runs.iter().any(|run| run.id == id) || self.loaded_runs.iter().any(|run| run.id == id)
    }
}

fn encode_run(run: &RunMeta, out: &mut Vec<u8>) {
    out.put_u64(run.id.0);
    out.put_u32(run.level.into());
    let numbers = [run.file_len, run.footer_hash, run.entries, run.live, run.lsn_max.0, run.first_expiry.0];
    for number in numbers {
        out.put_u64(number);
    }
    for place in [&run.span.first, &run.span.last] {
        out.put_u32(place.collection.0);
        out.put_u32(place.tablet.0);
        out.put_bytes(&place.key.to_vec());
    }
}

fn decode_run(reader: &mut Reader<'_>) -> Result<RunMeta, StateError> {
    let id = RunId(reader.u64()?);
    let level = u8::try_from(reader.u32()?).ok().filter(|level| usize::from(*level) <= LAST);
    let [file_len, footer_hash, entries, live, lsn_max, first_expiry] = [(); 6].map(|()| reader.u64());
    Ok(RunMeta {
        id,
        level: level.ok_or(StateError::Malformed)?,
        file_len: file_len?,
        footer_hash: footer_hash?,
        entries: entries?,
        live: live?,
        lsn_max: Lsn(lsn_max?),
        first_expiry: WallMs(first_expiry?),
        span: Span { first: decode_place(reader)?, last: decode_place(reader)? },
        values: Vec::new(),
    })
}

fn decode_place(reader: &mut Reader<'_>) -> Result<Place, Truncated> {
    let (collection, tablet) = (CollectionId(reader.u32()?), TabletId(reader.u32()?));
    Ok(Place { collection, tablet, key: Key::from_bytes(reader.bytes()?) })
}

fn decode_loaded_run(reader: &mut Reader<'_>) -> Result<LoadedRun, Truncated> {
    Ok(LoadedRun {
        id: RunId(reader.u64()?),
        from: Lsn(reader.u64()?),
        to: Lsn(reader.u64()?),
        file_len: reader.u64()?,
        footer_hash: reader.u64()?,
        entries: reader.u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &[u8]) -> Place {
        Place { collection: CollectionId(1), tablet: TabletId(1), key: Key::from_bytes(key) }
    }

    fn sample() -> ShardState {
        ShardState {
            clean: true,
            shards: 2,
            node: NodeId(0x0123_4567_89ab_cdef),
            joined: 0b11,
            log_segment_bytes: 1 << 20,
            floor: Lsn(9),
            covered: Lsn(7),
            first_segment: SegmentId(3),
            made: Made { first: SegmentId(4), last: SegmentId(6) },
            next_run: RunId(5),
            clock: 77,
            loaded_runs: vec![LoadedRun {
                id: RunId(4),
                from: Lsn(0),
                to: Lsn(7),
                file_len: 8192,
                footer_hash: 0xabcd,
                entries: 6,
            }],
            runs: vec![RunMeta {
                id: RunId(5),
                level: 6,
                file_len: 12288,
                footer_hash: 0xef,
                entries: 7,
                live: 6,
                lsn_max: Lsn(8),
                first_expiry: WallMs(99),
                span: Span { first: place(b"a"), last: place(b"zebra crossing") },
                values: vec![ValueUse { file: RunId(3), bytes: 40960 }],
            }],
            values: vec![ValueMeta { id: RunId(3), file_len: 53248, footer_hash: 0xfe, value_bytes: 45056 }],
            tablets: vec![TabletState {
                tablet: TabletId(1),
                collection: CollectionId(1),
                next_seq: Seq(8),
                records: 5,
                epoch: Epoch(3),
            }],
            catalogue: Some(Catalogue::default()),
            replay_to: Some(Lsn(9)),
            gaps: vec![LsnGap { after: Lsn(3), before: Lsn(6) }],
        }
    }

    #[test]
    fn what_was_above_a_snapshot_never_counts() {
        let mut state = sample();
        let counting =
            |state: &ShardState| (1..=13).filter(|lsn| state.counts(Lsn(*lsn))).collect::<Vec<_>>();
        assert_eq!(counting(&state), [1, 2, 3, 6, 7, 8, 9]);
        state.begin_from_snapshot(Lsn(12));
        assert_eq!(counting(&state), [1, 2, 3, 6, 7, 8, 9, 12, 13]);
        state.set_covered(Lsn(5));
        assert_eq!(state.gaps, [LsnGap { after: Lsn(9), before: Lsn(12) }]);
        state.set_covered(Lsn(10));
        assert_eq!(state.gaps.len(), 1);
        state.set_covered(Lsn(11));
        assert_eq!(state.gaps, []);
    }

    #[test]
    fn comes_back_whole_and_never_in_part() {
        let bytes = sample().encode();
        assert_eq!(ShardState::decode(&bytes), Ok(sample()));
        for len in 0..bytes.len() {
            assert!(ShardState::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_value_file_is_named_as_long_as_a_run_refers_to_it() {
        let mut state = sample();
        let run = |id, files: &[u64]| RunMeta {
            id: RunId(id),
            values: files.iter().map(|file| ValueUse { file: RunId(*file), bytes: 4096 }).collect(),
            ..sample().runs.remove(0)
        };
        let file = |id| ValueMeta { id: RunId(id), ..sample().values[0] };
        let named = |state: &ShardState| state.values.iter().map(|file| file.id.0).collect::<Vec<_>>();
        let into = Replacement { runs: vec![run(6, &[3, 7])], values: vec![file(7), file(8)] };
        state.replace_runs(&[], into);
        assert_eq!((named(&state), state.next_run), (vec![3, 7], RunId(9)), "nothing refers to 8");
        state.replace_runs(&[RunId(5)], Replacement::default());
        assert_eq!(named(&state), [3, 7], "another run refers to 3");
        state.replace_runs(&[RunId(6)], Replacement { runs: vec![run(9, &[7])], values: Vec::new() });
        assert_eq!(named(&state), [7]);
        let into = Replacement { runs: vec![run(10, &[7, 11])], values: vec![file(11)] };
        state.replace_runs(&[RunId(9)], into);
        assert_eq!(named(&state), [7, 11], "what replaces refers to it too");
        assert_eq!(ShardState::decode(&state.encode()), Ok(state));
    }

    /// What servers of before wrote.
    #[test]
    fn version_2_is_still_read() {
        let mut old = ShardState { made: Made::default(), ..sample() };
        (old.values, old.runs[0].values) = (Vec::new(), Vec::new());
        let mut bytes = old.encode();
        bytes[0] = 2;
        // Neither value files nor uses of them.
        bytes.truncate(bytes.len() - 8);
        assert_eq!(ShardState::decode(&bytes), Ok(old));
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = sample().encode();
        bytes[0] = 9;
        assert_eq!(ShardState::decode(&bytes), Err(StateError::Newer { version: 9 }));
    }
}
