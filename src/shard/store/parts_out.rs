//! Entries in order become parts of about one size, and their large values value files.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::error::StoreError;
use super::part::Part;
use super::place::Span;
use super::values_out::ValuesOut;
use crate::io::runtime::File;
use crate::limits;
use crate::shard::core::Core;
use crate::shard::delta::NEVER;
use crate::shard::run::{Body, Covered, EntryRef, Resident, RunHeader, RunWriter, TabletInfo, ValueMeta};
use crate::shard::runs::{RunOut, run_file_name};
use crate::shard::state::{Replacement, RunMeta, ValueUse};
use crate::types::{Lsn, RunId, WallMs};

pub struct PartsOut<'a> {
    core: &'a Core,
    level: u8,
    part_bytes: u64,
    /// A part ends behind so many bytes of blocks.
    end_bytes: u64,
    /// What the entries stand for, for the headers.
    through: Lsn,
    open: Option<(RunOut, RunWriter)>,
    tablet: Option<TabletInfo>,
    /// Bytes since room was made.
    pushed: usize,
    first_expiry: WallMs,
    /// What the open part refers to.
    uses: BTreeMap<RunId, u64>,
    values: ValuesOut<'a>,
    ids: Vec<RunId>,
    /// Parts come about when their value files are whole.
    done: Vec<(RunMeta, File, Resident)>,
}

/// Parts, and the value files that were written with them.
#[derive(Default)]
pub struct Written {
    pub parts: Vec<Rc<Part>>,
    pub values: Vec<ValueMeta>,
}

impl Written {
    /// For the manifest.
    pub fn replacement(&self) -> Replacement {
        let runs = self.parts.iter().map(|part| part.meta.clone()).collect();
        Replacement { runs, values: self.values.clone() }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let parts: u64 = self.parts.iter().map(|part| part.meta.file_len).sum();
        parts + self.values.iter().map(|file| file.file_len).sum::<u64>()
    }
}

impl<'a> PartsOut<'a> {
    pub fn new(core: &'a Core, level: usize, part_bytes: u64, through: Lsn) -> PartsOut<'a> {
        PartsOut {
            core,
            level: level as u8,
            part_bytes,
            end_bytes: part_bytes,
            through,
            open: None,
            tablet: None,
            pushed: 0,
            first_expiry: NEVER,
            uses: BTreeMap::new(),
            values: ValuesOut::new(core),
            ids: Vec::new(),
            done: Vec::new(),
        }
    }

    /// So many bytes are expected until the next [`PartsOut::take`]: parts will be of one size, rather than whole
    /// ones and a rest.
    pub fn aim(&mut self, bytes: u64) {
        let parts = (bytes + self.part_bytes / 2) / self.part_bytes;
        self.end_bytes = bytes.div_ceil(parts.max(1)).max(self.part_bytes / 2);
    }

    /// Bytes of parts since the last [`PartsOut::take`].
    pub fn part_bytes(&self) -> u64 {
        let done: u64 = self.done.iter().map(|(meta, ..)| meta.file_len).sum();
        done + self.open.as_ref().map_or(0, |(_, writer)| writer.file_bytes())
    }

    /// Writes what is ready, ends a part that is large enough, and begins one when there is none: to be
    /// called before entries are pushed.
    pub async fn make_room(&mut self) -> Result<(), StoreError> {
        self.pushed = 0;
        if let Some((out, writer)) = &mut self.open {
            out.drain(writer, self.core.pace.is_behind()).await?;
            if writer.file_bytes() < self.end_bytes {
                return Ok(());
            }
            self.cut().await?;
        }
        let id = self.core.take_run_id();
        let covered = Covered { after: Lsn::ZERO, through: self.through };
        let header = RunHeader { shard: self.core.shard(), run: id, covered };
        self.ids.push(id);
        let out = RunOut::create(&self.core.runtime, &self.core.shelf().dir, id).await?;
        self.open = Some((out, RunWriter::new(header)));
        self.tablet = None;
        self.first_expiry = NEVER;
        Ok(())
    }

    /// The next entry, of the tablet that `info` tells of; true when it is time to make room.
    pub fn push(&mut self, info: &TabletInfo, entry: EntryRef<'_>) -> bool {
        let (_, writer) = self.open.as_mut().expect("room was made");
        if self.tablet.is_none_or(|tablet| tablet.tablet != info.tablet) {
            writer.start_tablet(*info);
            self.tablet = Some(*info);
        }
        self.pushed += entry.key.len() + entry.body.len_here();
        if let Body::Apart(at) = &entry.body {
            *self.uses.entry(at.file).or_default() += at.padded_len();
        }
        self.first_expiry = self.first_expiry.min(entry.expires.unwrap_or(NEVER));
        writer.push(entry);
        self.pushed >= limits::RUN_CHUNK_BYTES
    }

    /// Whether a payload of so many bytes lies in a value file.
    pub fn lies_apart(&self, payload_bytes: usize) -> bool {
        payload_bytes > self.core.value_bytes_inline
    }

    /// For the value files; room is to be made anew afterwards.
    pub fn values(&mut self) -> &mut ValuesOut<'a> {
        &mut self.values
    }

    /// Ends the open part.
    pub async fn cut(&mut self) -> Result<(), StoreError> {
        let Some((out, writer)) = self.open.take() else { return Ok(()) };
        let id = out.id();
        if self.tablet.is_none() {
            // Nothing was pushed.
            drop(out);
            return Ok(self.core.runtime.remove_file(self.core.shelf().dir.join(run_file_name(id))).await?);
        }
        let (finished, resident, file) = out.finish(writer.finish(), self.core.pace.is_behind()).await?;
        let bounds = finished.bounds.expect("a part with a tablet has entries");
        let meta = RunMeta {
            id,
            level: self.level,
            file_len: finished.file.len,
            footer_hash: finished.file.footer_hash,
            entries: finished.entries,
            live: finished.live,
            lsn_max: finished.lsn_max,
            first_expiry: self.first_expiry,
            span: Span::from_bounds(&bounds),
            values: std::mem::take(&mut self.uses)
                .into_iter()
                .map(|(file, bytes)| ValueUse { file, bytes })
                .collect(),
        };
        self.done.push((meta, file, resident));
        Ok(())
    }

    /// Ends the open part and gives all since the last call.
    pub async fn take(&mut self) -> Result<Written, StoreError> {
        self.cut().await?;
        let values = self.values.take().await?;
        self.ids.clear();
        let shelf = self.core.shelf();
        let part = |(meta, file, resident)| Rc::new(Part::written(shelf.clone(), meta, file, resident));
        Ok(Written { parts: self.done.drain(..).map(part).collect(), values })
    }

    /// Removes the files of parts that nobody took.
    pub async fn abandon(mut self) {
        self.open = None;
        self.values.abandon().await;
        for id in self.ids {
            let path = self.core.shelf().dir.join(run_file_name(id));
            if let Err(error) = self.core.runtime.remove_file(path).await {
                tracing::debug!(run = %id, %error, "the file of a given up part; the next start removes it");
            }
        }
    }
}
