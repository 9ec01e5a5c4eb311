//! Reads what is resident of a run, in steps, for whoever does the reading.
//!
//! A step does a slice of work or names what to read; reads are at most [`LOAD_READ_BYTES`], and are hashed
//! as they come. Footer, header, directory, block table and keys must be sound, or the run is not. What
//! is derived from them is taken when it is sound, and otherwise made again or done without: the learned index
//! is trained from the keys, every entry counts as marked, and no key of a `string` tablet is denied.

use super::error::{Fault, Field, Part, Place, RunError};
use super::extent::Extent;
use super::filter::{Filter, FilterLoader};
use super::first_keys::FirstKeysCheck;
use super::footer::RunFile;
use super::marks::{self, Marks};
use super::opening::{Opened, Opening};
use super::part_read::PartRead;
use super::pieces::{PIECE_BYTES, Pieces};
use super::reader::RunReader;
use super::resident::{Rebuilt, Resident, Why};
use super::resident_keys::{Collected, Collector, Indexing, ResidentKeys};
use super::{table, u64_keys};
use crate::limits;
use crate::shard::key::KeyType;
use crate::types::FileOffset;

/// Of one read; hashing and copying as much is a slice's work.
pub const LOAD_READ_BYTES: usize = PIECE_BYTES;
const _: () = assert!(LOAD_READ_BYTES <= limits::RUN_READ_BYTES);
/// First keys that a step checks.
const CHECK_STEP_KEYS: usize = 512;

// One of each a load, and not for long.
#[allow(clippy::large_enum_variant)]
pub enum LoadStep {
    /// Read this, feed it, and step again.
    Read {
        offset: FileOffset,
        len: usize,
    },
    /// A slice of work was done; there is more.
    Working,
    Done(Resident),
}

pub struct ResidentLoader {
    file: RunFile,
    /// The part that is being read.
    reading: Option<PartRead>,
    stage: Stage,
}

// One of each a load, and not for long.
#[allow(clippy::large_enum_variant)]
enum Stage {
    Open(Opening),
    Fill(Box<Fill>),
    /// Behind the end, or behind an error.
    Ended,
}

impl ResidentLoader {
    pub fn new(run: RunFile) -> ResidentLoader {
        ResidentLoader { file: run, reading: None, stage: Stage::Open(Opening::Start) }
    }

    /// Panics after the end or an error.
    pub fn step(&mut self) -> Result<LoadStep, RunError> {
        if let Some((offset, len)) = self.reading.as_ref().and_then(PartRead::next) {
            return Ok(LoadStep::Read { offset, len });
        }
        let part = self.reading.take();
        match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Open(opening) => match opening.step(self.file, part)? {
                Opened::Part(opening, part) => {
                    (self.stage, self.reading) = (Stage::Open(opening), Some(part));
                }
                Opened::Working(opening) => self.stage = Stage::Open(opening),
                Opened::Done(reader) => self.stage = Stage::Fill(Box::new(Fill::new(reader))),
            },
            Stage::Fill(mut fill) => {
                let next = fill.step(part)?;
                if matches!(fill.stage, FillStage::Done) {
                    return Ok(LoadStep::Done(fill.finish()));
                }
                (self.stage, self.reading) = (Stage::Fill(fill), next);
            }
            Stage::Ended => panic!("a step behind the end"),
        }
        Ok(LoadStep::Working)
    }

    /// What the last [`LoadStep::Read`] asked for. Fewer bytes, or none, stand for a read that failed:
    /// derived data is then made again, and of anything else the next step is an error.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.reading.as_mut().expect("a read was asked for").feed(bytes);
    }
}

enum FillStage {
    /// Of the tablet with this position.
    ReadKeys(usize),
    Collect(Collector, Pieces),
    CheckFirst(Collected, FirstKeysCheck),
    ReadIndex,
    Train(Indexing, Option<Vec<u8>>),
    ReadFilter,
    TakeFilter(FilterLoader),
    ReadMarks,
    Done,
}

/// Fills a [`Resident`].
struct Fill {
    reader: RunReader,
    stage: FillStage,
    collected: Vec<Collected>,
    keys: Vec<ResidentKeys>,
    filter: Option<Filter>,
    marks: Vec<Marks>,
    rebuilt: Rebuilt,
}

impl Fill {
    fn new(reader: RunReader) -> Fill {
        Fill {
            reader,
            stage: FillStage::ReadKeys(0),
            collected: Vec::new(),
            keys: Vec::new(),
            filter: None,
            marks: Vec::new(),
            rebuilt: Rebuilt::default(),
        }
    }

    fn finish(self) -> Resident {
        let Fill { reader, keys, filter, marks, rebuilt, .. } = self;
        Resident { reader, keys, marks, filter, rebuilt }
    }

    /// `part` is what the step before gave to be read.
    fn step(&mut self, part: Option<PartRead>) -> Result<Option<PartRead>, RunError> {
        match std::mem::replace(&mut self.stage, FillStage::Done) {
            FillStage::ReadKeys(position) => return self.read_keys(position, part),
            FillStage::Collect(collector, pieces) => self.collect(collector, pieces)?,
            FillStage::CheckFirst(keys, check) => self.check_first(keys, check)?,
            FillStage::ReadIndex => return Ok(self.read_index(part)),
            FillStage::Train(indexing, stored) => self.train(indexing, stored),
            FillStage::ReadFilter => return Ok(self.read_filter(part)),
            FillStage::TakeFilter(mut loader) => {
                self.stage = if loader.step() {
                    self.filter = Some(loader.finish());
                    FillStage::ReadMarks
                } else {
                    FillStage::TakeFilter(loader)
                };
            }
            FillStage::ReadMarks => return Ok(self.read_marks(part)),
            FillStage::Done => {}
        }
        Ok(None)
    }

    fn place(&self, part: Part, extent: &Extent) -> Place {
        Place { run: self.reader.file().run, part, offset: extent.offset }
    }

    fn read_keys(&mut self, position: usize, part: Option<PartRead>) -> Result<Option<PartRead>, RunError> {
        let Some(tablet) = self.reader.directory().tablets().get(position).copied() else {
            self.stage = FillStage::ReadIndex;
            return Ok(None);
        };
        let Some(part) = part else {
            self.stage = FillStage::ReadKeys(position);
            return Ok(Some(PartRead::new(self.place(Part::Keys, &tablet.keys), tablet.keys)));
        };
        let pieces = part.finish()?;
        if tablet.info.key_type == KeyType::U64 {
            u64_keys::check_len(self.place(Part::Keys, &tablet.keys), &tablet)?;
        }
        self.stage = FillStage::Collect(Collector::new(&tablet, pieces.len()), pieces);
        Ok(None)
    }

    fn collect(&mut self, mut collector: Collector, mut pieces: Pieces) -> Result<(), RunError> {
        if let Some(piece) = pieces.take_first() {
            collector.take(&piece);
            self.stage = FillStage::Collect(collector, pieces);
            return Ok(());
        }
        let collected = collector.finish().ok_or_else(|| self.malformed_keys())?;
        self.check_first(collected, FirstKeysCheck::default())
    }

    /// Of other keys the order is known to be right.
    fn check_first(&mut self, keys: Collected, mut check: FirstKeysCheck) -> Result<(), RunError> {
        let sound = match &keys {
            Collected::First(first) => check.step(first.get(), CHECK_STEP_KEYS),
            Collected::All(_) | Collected::Empty => Some(true),
        };
        self.stage = match sound {
            None => FillStage::CheckFirst(keys, check),
            Some(true) => {
                self.collected.push(keys);
                FillStage::ReadKeys(self.collected.len())
            }
            Some(false) => return Err(self.malformed_keys()),
        };
        Ok(())
    }

    /// Of the tablet whose keys come next.
    fn malformed_keys(&self) -> RunError {
        let tablet = &self.reader.directory().tablets()[self.collected.len()];
        self.place(Part::Keys, &tablet.keys).fault(Fault::Malformed { field: Field::KeyOrder })
    }

    fn read_index(&mut self, part: Option<PartRead>) -> Option<PartRead> {
        let extent = self.reader.footer().learned_index().copied();
        if let (None, Some(extent)) = (&part, extent) {
            self.stage = FillStage::ReadIndex;
            return Some(PartRead::new(self.place(Part::Index, &extent), extent));
        }
        let stored = part.and_then(|part| part.finish().ok()).map(Pieces::concat);
        let indexing = Indexing::new(std::mem::take(&mut self.collected), false);
        self.stage = FillStage::Train(indexing, stored);
        None
    }

    fn train(&mut self, mut indexing: Indexing, stored: Option<Vec<u8>>) {
        let tablets = self.reader.directory().tablets().len();
        let indexes = stored.as_ref().and_then(|stored| table::decode(stored, tablets));
        let done = indexing.step(|tablet| indexes.as_ref().map(|indexes| indexes[tablet]), &mut || 0);
        if !done {
            self.stage = FillStage::Train(indexing, stored);
            return;
        }
        let (keys, trained) = indexing.finish();
        self.keys = keys;
        self.rebuilt.index = trained.then(|| self.why(self.reader.footer().learned_index()));
        self.stage = FillStage::ReadFilter;
    }

    /// Why a section was not taken.
    fn why(&self, extent: Option<&Extent>) -> Why {
        if extent.is_some() { Why::Damaged } else { Why::Missing }
    }

    fn read_filter(&mut self, part: Option<PartRead>) -> Option<PartRead> {
        let extent = self.reader.footer().membership_filter().copied();
        if let (None, Some(extent)) = (&part, extent) {
            self.stage = FillStage::ReadFilter;
            return Some(PartRead::new(self.place(Part::Filter, &extent), extent));
        }
        let tablets = self.reader.directory().tablets().iter();
        let strings = tablets.filter(|tablet| tablet.info.key_type == KeyType::String);
        let keys = strings.map(|tablet| tablet.entries).sum();
        let section = part.and_then(|part| part.finish().ok());
        self.stage = match section.and_then(|section| FilterLoader::new(section, keys)) {
            Some(loader) => FillStage::TakeFilter(loader),
            None => {
                self.rebuilt.filter = (keys > 0).then(|| self.why(extent.as_ref()));
                FillStage::ReadMarks
            }
        };
        None
    }

    fn read_marks(&mut self, part: Option<PartRead>) -> Option<PartRead> {
        let extent = self.reader.footer().marks().copied();
        if let (None, Some(extent)) = (&part, extent) {
            self.stage = FillStage::ReadMarks;
            return Some(PartRead::new(self.place(Part::Marks, &extent), extent));
        }
        let tablets = self.reader.directory().tablets();
        let section = part.and_then(|part| part.finish().ok()).map(Pieces::concat);
        let marks = match section {
            Some(section) => marks::decode(&section, tablets),
            None if extent.is_none() && self.reader.footer().has_derived() => {
                Some(vec![Marks::None; tablets.len()])
            }
            None => None,
        };
        let has_numbers =
            tablets.iter().any(|tablet| tablet.info.key_type == KeyType::U64 && tablet.entries > 0);
        let why = self.why(extent.as_ref());
        self.rebuilt.marks = (marks.is_none() && has_numbers).then_some(why);
        self.marks = marks.unwrap_or_else(|| vec![Marks::All; tablets.len()]);
        None
    }
}
