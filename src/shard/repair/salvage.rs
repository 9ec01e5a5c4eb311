//! What can be read of a run, block by block, and the ranges of keys that are missing in between.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::Path;

use super::{RepairError, unreadable};
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::op::{OpenMode, is_fault_of_file};
use crate::io::runtime::{File, Runtime};
use crate::limits;
use crate::shard::key::Key;
use crate::shard::run::salvage::block_at;
use crate::shard::run::{EntryRef, RunReader};
use crate::shard::state::RunMeta;
use crate::shard::store::Place;
use crate::types::{CollectionId, FileOffset, RunId, TabletId};

/// Places from the one to the other.
pub type Gap = (Bound<Place>, Bound<Place>);

/// Every block of a run that is whole.
pub struct Salvage {
    run: RunId,
    bytes: Vec<u8>,
    /// Number, place and length of each.
    blocks: Vec<(u32, usize, usize)>,
}

impl Salvage {
    /// With the tables of the run, only what they name counts.
    pub async fn read(
        runtime: &Runtime,
        path: &Path,
        run: RunId,
        reader: Option<&RunReader>,
    ) -> Result<Salvage, RepairError> {
        let read = async { read_what_can_be_read(&runtime.open(path, OpenMode::Read).await?).await };
        let bytes = match read.await {
            Err(error) if is_fault_of_file(&error) => Vec::new(),
            read => read.map_err(unreadable(path))?,
        };
        let mut blocks: Vec<(u32, usize, usize)> = Vec::new();
        let mut at = BLOCK_BYTES;
        while at < bytes.len() {
            let found = block_at(&bytes[at..], run, FileOffset(at as u64));
            let named = |number: u32, len: usize| {
                reader.is_none_or(|reader| {
                    (number as usize) < reader.locators().len()
                        && reader.locators().block(number).offset.0 == at as u64
                        && reader.block(number, &bytes[at..at + len]).is_ok()
                })
            };
            match found {
                Some((number, len, _)) if named(number, len) => {
                    // Numbers grow with places.
                    if blocks.last().is_none_or(|last| last.0 < number) {
                        blocks.push((number, at, len));
                    }
                    at += len;
                }
                _ => at += BLOCK_BYTES,
            }
            runtime.yield_now().await;
        }
        Ok(Salvage { run, bytes, blocks })
    }

    /// Of all blocks, in the order of the run.
    pub fn entries(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.blocks.iter().flat_map(|(_, at, len)| {
            let found = block_at(&self.bytes[*at..*at + *len], self.run, FileOffset(*at as u64));
            let (_, _, block) = found.expect("it was whole when it was found");
            (0..block.len()).map(move |index| block.entry(index).expect("it was looked at"))
        })
    }

    /// The ranges of the run that no block tells of.
    pub fn gaps(
        &self,
        meta: &RunMeta,
        reader: Option<&RunReader>,
        collections: &BTreeMap<TabletId, CollectionId>,
    ) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let mut from = Bound::Included(meta.span.first.clone());
        let (mut expected, mut entries) = (0, 0);
        for (number, at, len) in &self.blocks {
            let found = block_at(&self.bytes[*at..*at + *len], self.run, FileOffset(*at as u64));
            let (_, _, block) = found.expect("it was whole when it was found");
            let place = |index| place_of(&block.entry(index).expect("it was looked at"), collections);
            if *number != expected {
                gaps.push((from.clone(), Bound::Excluded(place(0))));
            }
            from = Bound::Excluded(place(block.len() - 1));
            expected = number + 1;
            entries += block.len() as u64;
        }
        let whole = match reader {
            Some(reader) => expected as usize == reader.locators().len(),
            None => entries == meta.entries,
        };
        if !whole {
            gaps.push((from, Bound::Included(meta.span.last.clone())));
        }
        gaps
    }
}

pub fn place_of(entry: &EntryRef<'_>, collections: &BTreeMap<TabletId, CollectionId>) -> Place {
    let collection = collections.get(&entry.tablet).copied().unwrap_or_default();
    Place { collection, tablet: entry.tablet, key: Key::from_bytes(entry.key) }
}

/// Zeros stand for pages that the disk does not give.
async fn read_what_can_be_read(file: &File) -> io::Result<Vec<u8>> {
    let len = file.len().await? as usize;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let offset = FileOffset(bytes.len() as u64);
        let piece = (len - bytes.len()).min(limits::RUN_READ_BYTES);
        match file.read(offset, AlignedBuf::zeroed(piece)).await {
            Ok((count, buf)) if count >= piece => bytes.extend_from_slice(&buf[..piece]),
            _ => {
                let page = piece.min(BLOCK_BYTES);
                match file.read(offset, AlignedBuf::zeroed(page)).await {
                    Ok((count, buf)) if count >= page => bytes.extend_from_slice(&buf[..page]),
                    Err(error) if !is_fault_of_file(&error) => return Err(error),
                    _ => bytes.resize(bytes.len() + page, 0),
                }
            }
        }
    }
    Ok(bytes)
}
