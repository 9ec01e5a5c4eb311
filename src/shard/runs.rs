//! Run files: names, reading a whole run at start, writing one in slices.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::delta::{NEVER, Version};
use super::key::Key;
use super::payload::Payload;
use super::run::{FinishedRun, Footer, RunError, RunFile, RunReader, RunTail, RunWriter};
use super::state::RunMeta;
use super::tablets::Tablets;
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::op::{OpenMode, Sync};
use crate::io::runtime::{File, Runtime};
use crate::limits;
use crate::types::{CollectionId, FileOffset, RunId, TabletId};

pub fn run_file_name(id: RunId) -> String {
    format!("{:016x}.run", id.0)
}

pub fn parse_run_file_name(name: &str) -> Option<RunId> {
    let id = RunId(u64::from_str_radix(name.strip_suffix(".run")?, 16).ok()?);
    (run_file_name(id) == name).then_some(id)
}

/// Why a run that the manifest names cannot be loaded.
#[derive(Debug)]
pub enum LoadError {
    Io {
        path: PathBuf,
        error: io::Error,
    },
    Damaged {
        path: PathBuf,
        error: RunError,
    },
    /// An entry whose payload is none.
    Payload {
        path: PathBuf,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            LoadError::Damaged { path, error } => write!(f, "{}: {error}", path.display()),
            LoadError::Payload { path } => write!(f, "{}: a record has a malformed payload", path.display()),
        }
    }
}

impl std::error::Error for LoadError {}

/// Reads a run into the tablets; later versions that are there already stay.
pub async fn load(
    runtime: &Runtime,
    dir: &Path,
    meta: &RunMeta,
    tablets: &mut Tablets,
) -> Result<(), LoadError> {
    let path = dir.join(run_file_name(meta.id));
    let io_error = |error| LoadError::Io { path: path.clone(), error };
    let damaged = |error| LoadError::Damaged { path: path.clone(), error };
    let file = runtime.open(path.clone(), OpenMode::Read).await.map_err(io_error)?;
    let reader = open(&file, meta).await.map_err(io_error)?.map_err(damaged)?;
    for tablet in reader.directory().tablets() {
        let info = &tablet.info;
        tablets.raise_seq(info.tablet, info.collection, info.next_seq);
    }
    let mut slice = runtime.slice();
    let mut block = 0;
    while let Some(span) = reader.span(block, limits::RUN_READ_BYTES) {
        let bytes = read(&file, span.offset, span.len).await.map_err(io_error)?;
        let entries = reader.entries(&span, &bytes[..span.len.min(bytes.len())]).map_err(damaged)?;
        for (index, entry) in entries.enumerate() {
            let entry = entry.map_err(damaged)?;
            let payload = match entry.payload {
                None => None,
                Some(bytes) => Some(
                    Payload::from_bytes(bytes).ok_or_else(|| LoadError::Payload { path: path.clone() })?,
                ),
            };
            let version =
                Version { lsn: entry.lsn, seq: entry.seq, expires: entry.expires.unwrap_or(NEVER), payload };
            let collection = collection_of(&reader, entry.tablet);
            tablets.restore(entry.tablet, collection, Key::from_bytes(entry.key), version);
            if index.is_multiple_of(limits::RECOVERY_STEP_RECORDS) {
                slice.checkpoint().await;
            }
        }
        block = span.end_block;
    }
    Ok(())
}

fn collection_of(reader: &RunReader, id: TabletId) -> CollectionId {
    let mut tablets = reader.directory().tablets().iter();
    tablets
        .find(|tablet| tablet.info.tablet == id)
        .expect("an entry's tablet is in the directory")
        .info
        .collection
}

async fn open(file: &File, meta: &RunMeta) -> io::Result<Result<RunReader, RunError>> {
    let run = RunFile { run: meta.id, len: meta.file_len, footer_hash: meta.footer_hash };
    let page = read(file, run.footer_offset(), BLOCK_BYTES).await?;
    let footer = match Footer::decode(&page, run) {
        Ok(footer) => footer,
        Err(error) => return Ok(Err(error)),
    };
    let header = read(file, FileOffset::ZERO, BLOCK_BYTES).await?;
    let directory = read(file, footer.directory().offset, footer.directory().padded_len() as usize).await?;
    let locators = read(file, footer.locators().offset, footer.locators().padded_len() as usize).await?;
    Ok(RunReader::new(footer, &header, &directory, &locators))
}

/// Reads `len` bytes, fewer when the file ends before: the reader then says where.
async fn read(file: &File, offset: FileOffset, len: usize) -> io::Result<Vec<u8>> {
    let (count, buf) = file.read(offset, AlignedBuf::zeroed(len)).await?;
    Ok(buf[..count.min(len)].to_vec())
}

/// A run on its way to its file.
pub struct RunOut {
    runtime: Runtime,
    path: PathBuf,
    file: File,
    offset: u64,
}

impl RunOut {
    pub async fn create(runtime: &Runtime, dir: &Path, id: RunId) -> io::Result<RunOut> {
        let path = dir.join(run_file_name(id));
        let file = runtime.open(path.clone(), OpenMode::CreateNew).await?;
        Ok(RunOut { runtime: runtime.clone(), path, file, offset: 0 })
    }

    /// Writes what is ready.
    pub async fn drain(&mut self, writer: &mut RunWriter) -> io::Result<()> {
        while let Some(chunk) = writer.take_ready() {
            self.write(chunk).await?;
        }
        Ok(())
    }

    async fn write(&mut self, chunk: AlignedBuf) -> io::Result<()> {
        let chunk = self.file.write(FileOffset(self.offset), chunk, Sync::No).await?;
        self.offset += chunk.len() as u64;
        Ok(())
    }

    /// Writes the rest and makes file and name durable.
    pub async fn finish(mut self, mut tail: RunTail) -> io::Result<FinishedRun> {
        let mut slice = self.runtime.slice();
        while let Some(chunk) = tail.next_chunk() {
            self.write(chunk).await?;
            slice.checkpoint().await;
        }
        self.file.sync().await?;
        let dir = self.path.parent().expect("a run lies in a directory").to_owned();
        self.runtime.sync_dir(dir).await?;
        let finished = tail.finished();
        assert_eq!(finished.file.len, self.offset, "every byte of the run was written");
        Ok(finished)
    }
}
