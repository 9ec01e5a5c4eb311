//! A run as the tests see it: owned records, a whole file in memory, and a reader that checks all of it.

use std::ops::Range;

use crate::limits::{RUN_CHUNK_BYTES, RUN_READ_BYTES};
use crate::shard::key::KeyType;
use crate::shard::run::block::Block;
use crate::shard::run::extent::Extent;
use crate::shard::run::reader::Keys;
use crate::shard::run::{
    Body, Covered, EntryRef, FinishedRun, Footer, LoadStep, Lookup, PAGE_BYTES, Resident, ResidentLoader,
    RunError, RunFile, RunHeader, RunReader, RunTail, RunWriter, TabletInfo, TailStep, ValueRef,
};
use crate::types::{CollectionId, Epoch, FileOffset, Lsn, RunId, Seq, ShardId, TabletId, WallMs};

pub(super) const RUN: RunId = RunId(7);
pub(super) const AFTER: Lsn = Lsn(100);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub key: Vec<u8>,
    pub lsn: Lsn,
    pub seq: Seq,
    pub expires: Option<WallMs>,
    /// Of a value apart: the reference.
    pub payload: Option<Vec<u8>>,
    pub apart: bool,
}

impl Record {
    pub fn as_entry(&self, tablet: TabletId) -> EntryRef<'_> {
        let Record { key, lsn, seq, expires, payload, apart } = self;
        let body = match payload {
            None => Body::Tombstone,
            Some(reference) if *apart => Body::Apart(ValueRef::decode(reference).expect("a reference")),
            Some(payload) => Body::Here(payload),
        };
        EntryRef { tablet, key, lsn: *lsn, seq: *seq, expires: *expires, body }
    }

    pub fn of_entry(entry: &EntryRef<'_>) -> Record {
        let EntryRef { key, lsn, seq, expires, body, .. } = *entry;
        let (payload, apart) = match body {
            Body::Tombstone => (None, false),
            Body::Here(payload) => (Some(payload.to_vec()), false),
            Body::Apart(value) => (Some(value.encode().to_vec()), true),
        };
        Record { key: key.to_vec(), lsn, seq, expires, payload, apart }
    }
}

/// A put of `payload_len` bytes that depend on `number`.
pub(super) fn put(key: &[u8], number: u64, payload_len: usize) -> Record {
    let payload = (0..payload_len as u64).map(|i| (i * 31 + number) as u8).collect();
    Record {
        key: key.to_vec(),
        lsn: Lsn(AFTER.0 + number),
        seq: Seq(number),
        expires: number.is_multiple_of(3).then_some(WallMs(1_700_000_000_000 + number)),
        payload: Some(payload),
        apart: false,
    }
}

/// A record whose value is in a value file.
pub(super) fn put_apart(key: &[u8], number: u64, len: u32) -> Record {
    let offset = FileOffset(PAGE_BYTES as u64 * number);
    let value = ValueRef { file: RunId(3), offset, len, hash: number.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
    Record { payload: Some(value.encode().to_vec()), apart: true, ..put(key, number, 0) }
}

pub(super) fn tombstone(key: &[u8], number: u64) -> Record {
    Record { expires: None, payload: None, ..put(key, number, 0) }
}

pub(super) type Tablets = Vec<(TabletInfo, Vec<Record>)>;

pub(super) fn tablet(collection: u32, tablet: u32, key_type: KeyType) -> TabletInfo {
    TabletInfo {
        collection: CollectionId(collection),
        tablet: TabletId(tablet),
        epoch: Epoch(3),
        key_type,
        next_seq: Seq(1 << 40),
    }
}

/// A small run with every kind of part: about ten pages.
pub(super) fn small_tablets() -> Tablets {
    let numbers = (0..60_u64).map(|i| (i * i).to_be_bytes());
    let mut first: Vec<_> = numbers.zip(1..).map(|(key, number)| put(&key, number, 60)).collect();
    first[5] = tombstone(&first[5].key, 6);
    let names = ["a", "ab", "abc", "b", "ba", "baaa", "c"];
    let mut second: Vec<_> =
        names.iter().zip(100..).map(|(key, number)| put(key.as_bytes(), number, 900)).collect();
    second[2] = put(b"abc", 102, 5000);
    vec![
        (tablet(1, 4, KeyType::U64), first),
        (tablet(2, 3, KeyType::String), Vec::new()),
        (tablet(2, 5, KeyType::String), second),
    ]
}

/// As [`small_tablets`], with what came with version 3.
pub(super) fn tablets_with_references() -> Tablets {
    let mut tablets = small_tablets();
    for number in [7_u64, 9, 12] {
        let key = tablets[0].1[number as usize].key.clone();
        tablets[0].1[number as usize] = put_apart(&key, number + 1, 40_000 + number as u32);
    }
    tablets[2].1[4] = put_apart(b"ba", 104, 16 << 20);
    tablets
}

pub(super) struct WholeRun {
    pub bytes: Vec<u8>,
    pub finished: FinishedRun,
    pub resident: Resident,
}

pub(super) fn write(run: RunId, tablets: &Tablets) -> WholeRun {
    let covered = Covered { after: AFTER, through: Lsn(AFTER.0 + 50) };
    let mut writer = RunWriter::new(RunHeader { shard: ShardId(2), run, covered });
    let mut bytes = Vec::new();
    for (info, records) in tablets {
        writer.start_tablet(*info);
        for record in records {
            writer.push(record.as_entry(info.tablet));
            while let Some(chunk) = writer.take_ready() {
                bytes.extend_from_slice(&chunk);
            }
        }
    }
    let (rest, finished, resident) = end(writer.finish());
    bytes.extend_from_slice(&rest);
    WholeRun { bytes, finished, resident }
}

/// The rest of the file.
pub(super) fn end(mut tail: RunTail) -> (Vec<u8>, FinishedRun, Resident) {
    let mut bytes = Vec::new();
    loop {
        match tail.next_chunk(&mut || 0) {
            TailStep::Chunk(chunk) => {
                assert!(chunk.len() <= RUN_CHUNK_BYTES);
                bytes.extend_from_slice(&chunk);
            }
            TailStep::Working => {}
            TailStep::Done => break,
        }
    }
    let (finished, resident) = tail.finished();
    (bytes, finished, resident)
}

/// Steps of a load that read and steps that worked.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub reads: Vec<usize>,
    pub works: usize,
}

pub(super) fn load(bytes: &[u8], file: RunFile) -> Result<(Resident, Steps), RunError> {
    let (mut loader, mut steps) = (ResidentLoader::new(file), Steps::default());
    loop {
        match loader.step()? {
            LoadStep::Read { offset, len } => {
                loader.feed(read(bytes, offset, len as u64));
                steps.reads.push(len);
            }
            LoadStep::Working => steps.works += 1,
            LoadStep::Done(resident) => return Ok((resident, steps)),
        }
    }
}

/// One point lookup by what is resident, and the block that it reads.
pub(super) fn find(
    bytes: &[u8],
    resident: &Resident,
    info: &TabletInfo,
    key: &[u8],
) -> Result<Option<Record>, RunError> {
    let block = |number| {
        let place = resident.reader().locators().block(number);
        resident.reader().block(number, read(bytes, place.offset, place.len as u64))
    };
    let found = match resident.lookup(info.collection, info.tablet, key) {
        Lookup::Absent => None,
        Lookup::Here { block: number, slot, .. } => Some(block(number)?.entry_of(slot, key)?),
        Lookup::Perhaps { block: number } => block(number)?.find(key)?,
    };
    Ok(found.map(|entry| Record::of_entry(&entry)))
}

/// What a short read would give: the bytes of the range that are there.
fn read(bytes: &[u8], offset: FileOffset, len: u64) -> &[u8] {
    let start = usize::try_from(offset.0).unwrap_or(usize::MAX).min(bytes.len());
    &bytes[start..(start + len as usize).min(bytes.len())]
}

pub(super) fn open(bytes: &[u8], file: RunFile) -> Result<RunReader, RunError> {
    let page = PAGE_BYTES as u64;
    let footer = Footer::decode(read(bytes, file.footer_offset(), page), file)?;
    let directory = read(bytes, footer.directory().offset, footer.directory().padded_len());
    let locators = read(bytes, footer.locators().offset, footer.locators().padded_len());
    RunReader::new(footer.clone(), read(bytes, FileOffset::ZERO, page), directory, locators)
}

/// Reads every part of a run; all records by tablet, when nothing is wrong.
pub(super) fn read_all(bytes: &[u8], file: RunFile) -> Result<Tablets, RunError> {
    let reader = open(bytes, file)?;
    for tablet in reader.directory().tablets() {
        reader.keys(tablet, read(bytes, tablet.keys.offset, tablet.keys.padded_len()))?;
    }
    let tablets = reader.directory().tablets();
    let mut all: Tablets = tablets.iter().map(|tablet| (tablet.info, Vec::new())).collect();
    let mut next = 0;
    while let Some(span) = reader.span(next, RUN_READ_BYTES) {
        for entry in reader.entries(&span, read(bytes, span.offset, span.len as u64))? {
            let entry = entry?;
            let tablet = all.iter_mut().find(|(info, _)| info.tablet == entry.tablet);
            tablet.expect("checked by the reader").1.push(Record::of_entry(&entry));
        }
        next = span.end_block;
    }
    Ok(all)
}

/// As the storage engine will: the keys name the block, one block is read.
pub(super) fn look_up(bytes: &[u8], reader: &RunReader, info: &TabletInfo, key: &[u8]) -> Option<Record> {
    let tablet = reader.directory().get(info.collection, info.tablet).expect("the tablet is in the run");
    let keys = reader.keys(tablet, read(bytes, tablet.keys.offset, tablet.keys.padded_len()));
    let first = tablet.first_block;
    let place = match keys.expect("the keys are intact") {
        Keys::U64(keys) => {
            let position = keys.search(u64::from_be_bytes(key.try_into().expect("8 bytes"))).ok()?;
            let entry = reader.locators().block(first).first_entry + position as u64;
            reader.locators().block_of_entry(entry).expect("the keys agree with the block table")
        }
        Keys::First(keys) => reader.locators().block(first + keys.block_of(key)? as u32),
    };
    let block_bytes = read(bytes, place.offset, place.len as u64);
    let block = reader.block(place.number, block_bytes).expect("the block is intact");
    check_counts(&reader.block_again(place.number, block_bytes).expect("it was decoded before"), key);
    let found = block.find(key).expect("its entries are intact");
    found.map(|entry| Record::of_entry(&entry))
}

/// How ranges begin and end inside of a block.
fn check_counts(block: &Block<'_>, key: &[u8]) {
    let keys: Vec<&[u8]> = (0..block.len()).map(|index| block.entry(index).expect("intact").key).collect();
    for or_same in [false, true] {
        let below = keys.iter().filter(|other| **other < key || or_same && **other == key).count();
        assert_eq!(block.count_below(key, or_same), Ok(below));
    }
}

/// The sections whose damage is not damage of the run, in order.
pub(super) fn derived(reader: &RunReader) -> Vec<Extent> {
    let footer = reader.footer();
    [footer.learned_index(), footer.membership_filter(), footer.marks()]
        .into_iter()
        .flatten()
        .copied()
        .collect()
}

/// The parts of the file, in order, without a gap: what an error about a byte in it must name.
pub(super) fn parts(reader: &RunReader) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    starts.extend((0..reader.locators().len() as u32).map(|block| reader.locators().block(block).offset.0));
    let tablets = reader.directory().tablets().iter().filter(|tablet| tablet.entries > 0);
    starts.extend(tablets.map(|tablet| tablet.keys.offset.0));
    starts.extend([reader.footer().locators().offset.0, reader.footer().directory().offset.0]);
    starts.extend(derived(reader).into_iter().map(|extent| extent.offset.0));
    starts.extend([reader.file().footer_offset().0, reader.file().len]);
    starts.windows(2).map(|pair| pair[0] as usize..pair[1] as usize).collect()
}
