//! Writes what stands behind the payload blocks of a run: keys, sections, footer.
//!
//! The tail of a large run is large, and its index has to be trained: so it is made in steps. Each call of
//! [`RunTail::next_chunk`] copies a piece, trains over some thousand keys, or fills as much of the filter.
//! What is resident of the run comes together on the way: a run just written need not be read.

use super::PAGE_BYTES;
use super::bounds::Bounds;
use super::chunks::Chunks;
use super::directory::{Directory, TabletEntry};
use super::error::{Part, Place};
use super::filter::{Filter, FilterBuilder};
use super::footer::{self, Footer, RunFile, Section};
use super::header::RunHeader;
use super::key_part::KeyPart;
use super::learned_section::{self, Clock};
use super::locators::LocatorsBuilder;
use super::marks::{self, Marks};
use super::part_copy::PartCopy;
use super::pieces::Pieces;
use super::reader::RunReader;
use super::resident::{Rebuilt, Resident};
use super::resident_keys::{Collected, Collector, Indexing, ResidentKeys};
use super::table;
use crate::io::buf::AlignedBuf;
use crate::types::Lsn;

/// A run that is wholly in chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedRun {
    /// For the manifest.
    pub file: RunFile,
    pub entries: u64,
    /// Entries that are no tombstones.
    pub live: u64,
    /// 0 when there are no entries.
    pub lsn_min: Lsn,
    /// 0 when there are no entries. The run must not be published before the log is durable up to here.
    pub lsn_max: Lsn,
    /// `None` when there are no entries.
    pub bounds: Option<Bounds>,
}

/// What one call of [`RunTail::next_chunk`] came to.
#[derive(Debug)]
pub enum TailStep {
    /// The next chunk of the file, of [`crate::limits::RUN_CHUNK_BYTES`] but for the last.
    Chunk(AlignedBuf),
    /// A slice of work was done; there is more.
    Working,
    Done,
}

/// A tablet, as the writer leaves it.
pub(super) struct WrittenTablet {
    pub entry: TabletEntry,
    pub keys: KeyPart,
    pub marks: Marks,
}

/// What the writer hands over.
pub(super) struct Written {
    pub header: RunHeader,
    pub chunks: Chunks,
    pub tablets: Vec<WrittenTablet>,
    pub bounds: Option<Bounds>,
    pub locators: Pieces,
    pub key_hashes: Pieces,
    pub footer: Footer,
}

/// What is being made, with what it is made of.
enum Stage {
    /// Of the tablet with this position, into the file and into memory.
    Keys(usize, PartCopy, Collector),
    /// Of this kind, into the file.
    Section(u16, PartCopy),
    Train(Indexing),
    /// The indexes that are encoded so far.
    EncodeIndex(Vec<Vec<u8>>),
    FillFilter(FilterBuilder),
    EncodeFilter(Pieces),
    Footer,
    Done,
}

pub struct RunTail {
    header: RunHeader,
    chunks: Chunks,
    tablets: Vec<TabletEntry>,
    parts: std::vec::IntoIter<KeyPart>,
    bounds: Option<Bounds>,
    /// Until they are in the file.
    locator_bytes: Pieces,
    key_hashes: Pieces,
    footer: Footer,
    stage: Stage,
    // What will be resident, as far as it is made.
    collected: Vec<Collected>,
    locators: LocatorsBuilder,
    keys: Vec<ResidentKeys>,
    marks: Vec<Marks>,
    filter: Option<Filter>,
}

impl RunTail {
    pub(super) fn new(written: Written) -> RunTail {
        let Written { header, chunks, tablets: all, bounds, locators, key_hashes, footer } = written;
        let (mut tablets, mut parts, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        for tablet in all {
            tablets.push(tablet.entry);
            parts.push(tablet.keys);
            marks.push(tablet.marks);
        }
        let place = Place { run: header.run, part: Part::Locators, offset: chunks.offset() };
        let builder = LocatorsBuilder::new(place, locators.len(), &footer).expect("a locator a block");
        let mut tail = RunTail {
            header,
            chunks,
            tablets,
            parts: parts.into_iter(),
            bounds,
            locator_bytes: locators,
            key_hashes,
            footer,
            stage: Stage::Done,
            collected: Vec::new(),
            locators: builder,
            keys: Vec::new(),
            marks,
            filter: None,
        };
        tail.stage = tail.keys_from(0);
        tail
    }

    /// One slice of work, or the next chunk if it is there. `clock` gives nanoseconds, best of this thread's own
    /// time: the structure that serves the keys is chosen by it.
    pub fn next_chunk(&mut self, clock: Clock<'_>) -> TailStep {
        if let Some(chunk) = self.chunks.take_ready() {
            return TailStep::Chunk(chunk);
        }
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Done => self.chunks.take_last().map_or(TailStep::Done, TailStep::Chunk),
            stage => {
                self.stage = self.advance(stage, clock);
                TailStep::Working
            }
        }
    }

    /// What was written, and what is resident of it. Panics before `next_chunk` said that it is done.
    pub fn finished(mut self) -> (FinishedRun, Resident) {
        assert!(matches!(self.next_chunk(&mut || 0), TailStep::Done), "chunks of the run were not taken");
        let finished = FinishedRun {
            file: self.footer.file,
            entries: self.footer.entries,
            live: self.tablets.iter().map(|tablet| tablet.live).sum(),
            lsn_min: self.footer.lsn_min,
            lsn_max: self.footer.lsn_max,
            bounds: self.bounds,
        };
        let directory = Directory::new(self.tablets);
        let reader = self
            .locators
            .finish()
            .and_then(|locators| RunReader::of_parts(self.footer, self.header, directory, locators))
            .expect("a reader takes what was written");
        let (keys, marks, filter) = (self.keys, self.marks, self.filter);
        (finished, Resident { reader, keys, marks, filter, rebuilt: Rebuilt::default() })
    }

    /// One slice of work.
    fn advance(&mut self, stage: Stage, clock: Clock<'_>) -> Stage {
        match stage {
            Stage::Keys(position, part, collector) => self.copy_keys(position, part, collector),
            Stage::Section(kind, part) => self.copy_section(kind, part),
            Stage::Train(mut indexing) => {
                if !indexing.step(|_| None, clock) {
                    return Stage::Train(indexing);
                }
                (self.keys, _) = indexing.finish();
                Stage::EncodeIndex(Vec::new())
            }
            Stage::EncodeIndex(encoded) => self.encode_index(encoded),
            Stage::FillFilter(mut builder) => {
                if !builder.step() {
                    return Stage::FillFilter(builder);
                }
                self.filter = builder.finish();
                Stage::EncodeFilter(Pieces::default())
            }
            Stage::EncodeFilter(mut section) => {
                let filter = self.filter.as_ref();
                if filter.is_some_and(|filter| filter.encode_step(&mut section)) {
                    return Stage::EncodeFilter(section);
                }
                self.section(footer::FILTER, section)
            }
            Stage::Footer => {
                self.write_footer();
                Stage::Done
            }
            Stage::Done => Stage::Done,
        }
    }

    fn keys_from(&mut self, position: usize) -> Stage {
        match self.parts.next() {
            Some(keys) => {
                let part = PartCopy::new(keys.finish(), self.chunks.offset());
                let collector = Collector::new(&self.tablets[position], part.len());
                Stage::Keys(position, part, collector)
            }
            None => {
                let locators = std::mem::take(&mut self.locator_bytes);
                self.section(footer::LOCATORS, locators)
            }
        }
    }

    fn copy_keys(&mut self, position: usize, mut part: PartCopy, mut collector: Collector) -> Stage {
        if let Some(piece) = part.copy_piece(&mut self.chunks) {
            collector.take(&piece);
            return Stage::Keys(position, part, collector);
        }
        self.tablets[position].keys = part.finish(&mut self.chunks);
        self.collected.push(collector.finish().expect("the writer checks the order of keys"));
        self.keys_from(position + 1)
    }

    fn section(&mut self, kind: u16, bytes: Pieces) -> Stage {
        if bytes.len() == 0 && !is_required(kind) {
            return self.stage_after(kind);
        }
        Stage::Section(kind, PartCopy::new(bytes, self.chunks.offset()))
    }

    fn copy_section(&mut self, kind: u16, mut part: PartCopy) -> Stage {
        if let Some(piece) = part.copy_piece(&mut self.chunks) {
            if kind == footer::LOCATORS {
                self.locators.push(&piece).expect("blocks were noted in order");
            }
            return Stage::Section(kind, part);
        }
        let extent = part.finish(&mut self.chunks);
        self.footer.sections.push(Section { kind, required: is_required(kind), extent });
        self.stage_after(kind)
    }

    fn stage_after(&mut self, kind: u16) -> Stage {
        match kind {
            footer::LOCATORS => self.section(footer::DIRECTORY, self.encode_directory()),
            footer::DIRECTORY => Stage::Train(Indexing::new(std::mem::take(&mut self.collected), true)),
            footer::INDEX => Stage::FillFilter(FilterBuilder::new(std::mem::take(&mut self.key_hashes))),
            footer::FILTER => self.section(footer::MARKS, marks::encode(&self.tablets, &self.marks)),
            _ => Stage::Footer,
        }
    }

    fn encode_directory(&self) -> Pieces {
        let mut bytes = Pieces::default();
        self.tablets.iter().for_each(|tablet| bytes.extend(&tablet.encode()));
        bytes
    }

    /// One index; behind the last, the section.
    fn encode_index(&mut self, mut encoded: Vec<Vec<u8>>) -> Stage {
        let Some(keys) = self.keys.get(encoded.len()) else {
            return self.section(footer::INDEX, table::encode(&encoded));
        };
        encoded.push(match keys {
            ResidentKeys::All(index) => learned_section::encode(&index.index()),
            ResidentKeys::First(_) | ResidentKeys::Empty => Vec::new(),
        });
        Stage::EncodeIndex(encoded)
    }

    fn write_footer(&mut self) {
        self.footer.file.len = self.chunks.offset().0 + PAGE_BYTES as u64;
        let page = self.footer.encode();
        self.chunks.append(&page);
    }
}

fn is_required(kind: u16) -> bool {
    matches!(kind, footer::LOCATORS | footer::DIRECTORY)
}
