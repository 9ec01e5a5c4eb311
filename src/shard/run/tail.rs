//! Writes what stands behind the payload blocks of a run: keys, locators, directory, footer.
//!
//! The tail of a large run is large, so it is made in slices too: each call of [`RunTail::next_chunk`]
//! copies and hashes about one chunk.

use xxhash_rust::xxh3::Xxh3;

use super::PAGE_BYTES;
use super::chunks::Chunks;
use super::directory::TabletEntry;
use super::extent::Extent;
use super::footer::{self, Footer, RunFile, Section};
use super::key_part::KeyPart;
use super::pieces::Pieces;
use crate::io::buf::AlignedBuf;
use crate::types::{FileOffset, Lsn};

/// A run that is wholly in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// What the writer hands over.
pub(super) struct Written {
    pub chunks: Chunks,
    pub tablets: Vec<(TabletEntry, KeyPart)>,
    pub locators: Pieces,
    pub footer: Footer,
}

/// Which part is on its way into chunks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Of the tablet with this position.
    Keys(usize),
    Locators,
    Directory,
    Footer,
    Done,
}

pub struct RunTail {
    chunks: Chunks,
    tablets: Vec<TabletEntry>,
    keys: std::vec::IntoIter<KeyPart>,
    locators: Pieces,
    footer: Footer,
    stage: Stage,
    part: PartCopy,
}

impl RunTail {
    pub(super) fn new(written: Written) -> RunTail {
        let (tablets, keys): (Vec<_>, Vec<_>) = written.tablets.into_iter().unzip();
        let mut tail = RunTail {
            chunks: written.chunks,
            tablets,
            keys: keys.into_iter(),
            locators: written.locators,
            footer: written.footer,
            stage: Stage::Keys(0),
            part: PartCopy::default(),
        };
        tail.enter(Stage::Keys(0));
        tail
    }

    /// The next chunk of the file, of [`crate::limits::RUN_CHUNK_BYTES`] but for the last; `None` at the end.
    pub fn next_chunk(&mut self) -> Option<AlignedBuf> {
        loop {
            if let Some(chunk) = self.chunks.take_ready() {
                return Some(chunk);
            }
            if self.stage == Stage::Done {
                return self.chunks.take_last();
            }
            self.advance();
        }
    }

    /// What was written. Panics before `next_chunk` gave `None`.
    pub fn finished(mut self) -> FinishedRun {
        assert!(self.next_chunk().is_none(), "chunks of the run were not taken");
        FinishedRun {
            file: self.footer.file,
            entries: self.footer.entries,
            live: self.tablets.iter().map(|tablet| tablet.live).sum(),
            lsn_min: self.footer.lsn_min,
            lsn_max: self.footer.lsn_max,
        }
    }

    /// One slice of the present part; at its end, notes its extent and goes on to the next.
    fn advance(&mut self) {
        if self.stage == Stage::Footer {
            self.write_footer();
        } else if let Some(extent) = self.part.copy_slice(&mut self.chunks) {
            self.leave(extent);
        }
    }

    fn enter(&mut self, stage: Stage) {
        let bytes = match stage {
            Stage::Keys(_) => match self.keys.next() {
                Some(keys) => keys.finish(),
                None => return self.enter(Stage::Locators),
            },
            Stage::Locators => std::mem::take(&mut self.locators),
            Stage::Directory => self.encode_directory(),
            Stage::Footer | Stage::Done => Pieces::default(),
        };
        self.stage = stage;
        self.part = PartCopy::new(bytes, self.chunks.offset());
    }

    fn leave(&mut self, extent: Extent) {
        match self.stage {
            Stage::Keys(tablet) => {
                self.tablets[tablet].keys = extent;
                self.enter(Stage::Keys(tablet + 1));
            }
            Stage::Locators => {
                self.note_section(footer::LOCATORS, extent);
                self.enter(Stage::Directory);
            }
            Stage::Directory => {
                self.note_section(footer::DIRECTORY, extent);
                self.enter(Stage::Footer);
            }
            Stage::Footer | Stage::Done => unreachable!("no copied part"),
        }
    }

    fn note_section(&mut self, kind: u16, extent: Extent) {
        self.footer.sections.push(Section { kind, required: true, extent });
    }

    fn encode_directory(&self) -> Pieces {
        let mut bytes = Pieces::default();
        self.tablets.iter().for_each(|tablet| bytes.extend(&tablet.encode()));
        bytes
    }

    fn write_footer(&mut self) {
        self.footer.file.len = self.chunks.offset().0 + PAGE_BYTES as u64;
        let page = self.footer.encode();
        self.chunks.append(&page);
        self.stage = Stage::Done;
    }
}

/// A part on its way into chunks, padded to whole pages.
#[derive(Default)]
struct PartCopy {
    rest: Pieces,
    offset: FileOffset,
    len: usize,
    hasher: Xxh3,
}

impl PartCopy {
    fn new(bytes: Pieces, offset: FileOffset) -> PartCopy {
        PartCopy { len: bytes.len(), rest: bytes, offset, hasher: Xxh3::new() }
    }

    /// Moves one piece; behind the last, gives the extent of the part.
    fn copy_slice(&mut self, chunks: &mut Chunks) -> Option<Extent> {
        let Some(piece) = self.rest.take_first() else { return Some(self.pad(chunks)) };
        self.hasher.update(&piece);
        chunks.append(&piece);
        None
    }

    fn pad(&mut self, chunks: &mut Chunks) -> Extent {
        let padding = self.len.next_multiple_of(PAGE_BYTES) - self.len;
        self.hasher.update(&[0; PAGE_BYTES][..padding]);
        chunks.skip(padding);
        Extent { offset: self.offset, len: self.len as u64, hash: self.hasher.digest() }
    }
}
