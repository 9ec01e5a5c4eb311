//! Writes a run: entries in order go in, chunks of the file come out, to be written one after the other.
//!
//! Memory: one chunk, or the chunks of one jumbo block, as long as the caller takes them; the entries of one
//! ordinary block; and until the end the keys (8 bytes a record of a `u64` tablet, about a key a block otherwise),
//! 24 bytes a block, a hash of 8 bytes a record of a `string` tablet and a bit a record of a `u64` tablet.
//!
//! Invariant: entries ascend by (collection, tablet, key). Broken order would be silent loss at the next
//! read, so it is asserted, also in release.

use super::block_builder::{self, BlockBuilder};
use super::bounds::Bounds;
use super::chunks::Chunks;
use super::directory::{TabletEntry, TabletInfo};
use super::entry::EntryRef;
use super::extent::Extent;
use super::filter;
use super::header::RunHeader;
use super::key_part::KeyPart;
use super::locators::Locator;
use super::marks::Marks;
use super::pieces::Pieces;
use super::tail::{RunTail, Written, WrittenTablet};
use super::{FORMAT_VERSION, PAGE_BYTES, footer::Footer, footer::RunFile};
use crate::io::buf::AlignedBuf;
use crate::shard::key::KeyType;
use crate::types::{FileOffset, Lsn};

pub struct RunWriter {
    header: RunHeader,
    chunks: Chunks,
    block: BlockBuilder,
    /// The last one is being written.
    tablets: Vec<WrittenTablet>,
    /// Up to the last entry.
    bounds: Option<Bounds>,
    locators: Pieces,
    /// Of the keys of `string` tablets.
    key_hashes: Pieces,
    /// Counts up; the places in it are set at the end.
    footer: Footer,
}

impl RunWriter {
    pub fn new(header: RunHeader) -> RunWriter {
        assert!(header.covered.after <= header.covered.through);
        let (page, header_hash) = header.encode();
        let mut chunks = Chunks::default();
        chunks.append(&page);
        let footer = Footer {
            file: RunFile { run: header.run, len: 0, footer_hash: 0 },
            version: FORMAT_VERSION,
            shard: header.shard,
            blocks: 0,
            entries: 0,
            lsn_min: Lsn::ZERO,
            lsn_max: Lsn::ZERO,
            header_hash,
            sections: Vec::new(),
        };
        RunWriter {
            header,
            chunks,
            block: BlockBuilder::default(),
            tablets: Vec::new(),
            bounds: None,
            locators: Pieces::default(),
            key_hashes: Pieces::default(),
            footer,
        }
    }

    /// The entries that follow are of this tablet. Also for a tablet without any: its `next_seq` must
    /// not be forgotten.
    pub fn start_tablet(&mut self, info: TabletInfo) {
        self.close_block();
        if let Some(last) = self.tablets.last() {
            assert!(last.entry.id() < (info.collection, info.tablet), "tablets out of order");
        }
        let entry = TabletEntry {
            info,
            entries: 0,
            live: 0,
            first_block: self.footer.blocks,
            blocks: 0,
            keys: Extent::default(),
        };
        let keys = KeyPart::new(info.key_type);
        self.tablets.push(WrittenTablet { entry, keys, marks: Marks::default() });
    }

    /// The next entry of the tablet. Raises the tablet's `next_seq` when the entry is newer.
    pub fn push(&mut self, entry: EntryRef<'_>) {
        self.check(&entry);
        let keys = self.tablets.last().expect("checked").entry.info.key_type;
        let starts_block = if block_builder::is_jumbo(&entry, keys) {
            self.close_block();
            self.push_jumbo(&entry, keys);
            true
        } else {
            if !self.block.try_push(&entry, keys) {
                self.close_block();
                assert!(self.block.try_push(&entry, keys), "what is not jumbo fits into a page");
            }
            self.block.len() == 1
        };
        self.count(&entry, starts_block);
    }

    fn check(&self, entry: &EntryRef<'_>) {
        entry.assert_encodable();
        let tablet = &self.tablets.last().expect("an entry before the first tablet").entry;
        assert_eq!(entry.tablet, tablet.info.tablet, "an entry of another tablet");
        let last_key = self.bounds.as_ref().map_or(&[][..], |bounds| &bounds.last.key);
        assert!(tablet.entries == 0 || last_key < entry.key, "keys out of order");
        assert!(tablet.info.key_type != KeyType::U64 || entry.key.len() == 8, "not a u64 key");
        assert!(entry.lsn > self.header.covered.after, "an entry of an older run");
    }

    fn count(&mut self, entry: &EntryRef<'_>, starts_block: bool) {
        let WrittenTablet { entry: tablet, keys, marks } = self.tablets.last_mut().expect("checked");
        keys.push(entry.key, starts_block);
        match tablet.info.key_type {
            KeyType::U64 if entry.is_marked() => marks.mark(tablet.entries),
            KeyType::U64 => {}
            KeyType::String => {
                self.key_hashes.extend(&filter::hash_of(entry.tablet, entry.key).to_le_bytes());
            }
        }
        tablet.entries += 1;
        tablet.live += u64::from(entry.body.is_record());
        tablet.info.next_seq = tablet.info.next_seq.max(entry.seq.next());
        let collection = tablet.info.collection;
        match &mut self.bounds {
            Some(bounds) => bounds.extend(collection, entry.tablet, entry.key),
            None => self.bounds = Some(Bounds::of(collection, entry.tablet, entry.key)),
        }
        let first = self.footer.entries == 0;
        self.footer.lsn_min = if first { entry.lsn } else { self.footer.lsn_min.min(entry.lsn) };
        self.footer.lsn_max = self.footer.lsn_max.max(entry.lsn);
        self.footer.entries += 1;
    }

    fn push_jumbo(&mut self, entry: &EntryRef<'_>, keys: KeyType) {
        let offset = self.chunks.offset();
        let (run, number) = (self.header.run, self.footer.blocks);
        let (len, hash) = block_builder::append_jumbo(&mut self.chunks, run, number, entry, keys);
        self.note_block(offset, len, hash, self.footer.entries);
    }

    fn close_block(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let info = &self.tablets.last().expect("a block has a tablet").entry.info;
        let offset = self.chunks.offset();
        let first_entry = self.footer.entries - self.block.len() as u64;
        let (run, number) = (self.header.run, self.footer.blocks);
        let hash = self.block.seal(&mut self.chunks, run, number, (info.tablet, info.key_type));
        self.note_block(offset, PAGE_BYTES, hash, first_entry);
    }

    fn note_block(&mut self, offset: FileOffset, len: usize, hash: u64, first_entry: u64) {
        let page = offset.0 / PAGE_BYTES as u64;
        let first_page = u32::try_from(page).expect("a run of over 16 TiB");
        let pages = (len / PAGE_BYTES) as u32;
        self.locators.extend(&Locator { first_entry, first_page, pages, hash }.encode());
        self.footer.blocks += 1;
        self.tablets.last_mut().expect("a block has a tablet").entry.blocks += 1;
    }

    /// The next chunk of the file, of [`crate::limits::RUN_CHUNK_BYTES`]; `None` until it is full.
    pub fn take_ready(&mut self) -> Option<AlignedBuf> {
        self.chunks.take_ready()
    }

    /// Bytes of payload blocks so far, of the open one too: for the caller to end the run in time.
    pub fn file_bytes(&self) -> u64 {
        let open = if self.block.is_empty() { 0 } else { PAGE_BYTES as u64 };
        self.chunks.offset().0 - PAGE_BYTES as u64 + open
    }

    /// No more entries: the rest of the file, which is made as it is taken.
    pub fn finish(mut self) -> RunTail {
        self.close_block();
        RunTail::new(Written {
            header: self.header,
            chunks: self.chunks,
            tablets: self.tablets,
            bounds: self.bounds,
            locators: self.locators,
            key_hashes: self.key_hashes,
            footer: self.footer,
        })
    }
}
