//! Run files: names, reading a whole one, writing one in slices.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::delta::{NEVER, Version};
use super::file_out::FileOut;
use super::key::Key;
use super::payload::Payload;
use super::run::{
    Body, EntryRef, FinishedRun, Footer, LoadStep, Resident, ResidentLoader, RunError, RunFile, RunReader,
    RunTail, RunWriter, TailStep, Why,
};
use super::state::LoadedRun;
use super::tablets::Tablets;
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::op::OpenMode;
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

pub fn value_file_name(id: RunId) -> String {
    format!("{:016x}.values", id.0)
}

pub fn parse_value_file_name(name: &str) -> Option<RunId> {
    let id = RunId(u64::from_str_radix(name.strip_suffix(".values")?, 16).ok()?);
    (value_file_name(id) == name).then_some(id)
}

/// Why a run or a value file that the manifest names cannot be read.
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
    /// Not as long as the manifest says.
    Length {
        path: PathBuf,
        wanted: u64,
        found: u64,
    },
    /// A section that can be made from the rest is damaged.
    Derived {
        path: PathBuf,
        what: &'static str,
    },
    /// It was found damaged a moment ago, and not read again.
    Known {
        path: PathBuf,
        what: String,
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
            LoadError::Length { path, wanted, found } => {
                write!(f, "{}: the manifest says {wanted} bytes, the file has {found}", path.display())
            }
            LoadError::Derived { path, what } => {
                write!(f, "{}: the {what} is damaged; it is made anew when the run is read", path.display())
            }
            LoadError::Known { path, what } => write!(f, "{}: {what}", path.display()),
            LoadError::Payload { path } => write!(f, "{}: a record has a malformed payload", path.display()),
        }
    }
}

impl std::error::Error for LoadError {}

/// Reads a run of the first format into the tablets; later versions that are there already stay.
pub async fn load(
    runtime: &Runtime,
    dir: &Path,
    run: &LoadedRun,
    tablets: &mut Tablets,
) -> Result<(), LoadError> {
    let source = RunSource::open(runtime, dir, run.file()).await?;
    for tablet in source.reader.directory().tablets() {
        let info = &tablet.info;
        tablets.raise_seq(info.tablet, info.collection, info.next_seq);
    }
    let mut stray = false;
    source
        .read_all(|entry, payload| {
            // That format knew of no values apart.
            stray |= matches!(entry.body, Body::Apart(_));
            let expires = entry.expires.unwrap_or(NEVER);
            let version = Version { lsn: entry.lsn, seq: entry.seq, expires, payload };
            let collection = collection_of(&source.reader, entry.tablet);
            tablets.restore(entry.tablet, collection, Key::from_bytes(entry.key), version, false);
        })
        .await?;
    if stray {
        return Err(LoadError::Payload { path: source.path });
    }
    source.check_keys().await
}

/// Reads every byte of a run and keeps nothing.
pub async fn check(runtime: &Runtime, dir: &Path, run: RunFile) -> Result<(), LoadError> {
    let source = RunSource::open(runtime, dir, run).await?;
    source.read_all(|_, _| ()).await?;
    source.check_keys().await?;
    source.check_derived(run).await
}

/// Hands over every entry of a run, in order.
pub async fn read_entries(
    runtime: &Runtime,
    dir: &Path,
    run: RunFile,
    mut take: impl FnMut(CollectionId, &EntryRef<'_>),
) -> Result<(), LoadError> {
    let source = RunSource::open(runtime, dir, run).await?;
    source.read_all(|entry, _| take(collection_of(&source.reader, entry.tablet), &entry)).await
}

/// As [`check`], by what the file says of itself: for when no manifest can be read.
pub async fn check_alone(runtime: &Runtime, dir: &Path, id: RunId) -> Result<(), LoadError> {
    let path = dir.join(run_file_name(id));
    let stated = async {
        let file = runtime.open(path.clone(), OpenMode::Read).await?;
        let file_len = file.len().await?;
        let footer = file_len.saturating_sub(BLOCK_BYTES as u64) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
        let page = read(&file, FileOffset(footer), BLOCK_BYTES).await?;
        // A page begins with its own hash.
        let footer_hash = page.first_chunk().map_or(0, |hash| u64::from_le_bytes(*hash));
        Ok(RunFile { run: id, len: file_len, footer_hash })
    };
    let run = stated.await.map_err(|error| LoadError::Io { path: path.clone(), error })?;
    check(runtime, dir, run).await
}

/// What the tables of a run say, if they are whole.
pub async fn open_reader(runtime: &Runtime, dir: &Path, run: RunFile) -> Result<RunReader, LoadError> {
    Ok(RunSource::open(runtime, dir, run).await?.reader)
}

/// An open run file with what is resident of it.
struct RunSource {
    runtime: Runtime,
    path: PathBuf,
    file: File,
    reader: RunReader,
}

impl RunSource {
    async fn open(runtime: &Runtime, dir: &Path, run: RunFile) -> Result<RunSource, LoadError> {
        let path = dir.join(run_file_name(run.run));
        let io_error = |error| LoadError::Io { path: path.clone(), error };
        let file = runtime.open(path.clone(), OpenMode::Read).await.map_err(io_error)?;
        let len = file.len().await.map_err(io_error)?;
        if len != run.len {
            return Err(LoadError::Length { path, wanted: run.len, found: len });
        }
        let reader = open(&file, run).await.map_err(io_error)?;
        let reader = reader.map_err(|error| LoadError::Damaged { path: path.clone(), error })?;
        Ok(RunSource { runtime: runtime.clone(), path, file, reader })
    }

    fn damaged(&self, error: RunError) -> LoadError {
        LoadError::Damaged { path: self.path.clone(), error }
    }

    async fn read(&self, offset: FileOffset, len: usize) -> Result<Vec<u8>, LoadError> {
        let read = read(&self.file, offset, len).await;
        read.map_err(|error| LoadError::Io { path: self.path.clone(), error })
    }

    /// Hands over every entry, in order, with its payload unless that lies apart.
    async fn read_all(&self, mut take: impl FnMut(EntryRef<'_>, Option<Payload>)) -> Result<(), LoadError> {
        let mut slice = self.runtime.slice();
        let mut block = 0;
        while let Some(span) = self.reader.span(block, limits::RUN_READ_BYTES) {
            let bytes = self.read(span.offset, span.len).await?;
            let entries = self.reader.entries(&span, &bytes).map_err(|error| self.damaged(error))?;
            for (index, entry) in entries.enumerate() {
                let entry = entry.map_err(|error| self.damaged(error))?;
                let payload = match entry.body {
                    Body::Here(payload) => Some(Payload::from_bytes(payload)),
                    Body::Tombstone | Body::Apart(_) => None,
                };
                if payload == Some(None) {
                    return Err(LoadError::Payload { path: self.path.clone() });
                }
                take(entry, payload.flatten());
                if index.is_multiple_of(limits::RECOVERY_STEP_RECORDS) {
                    slice.checkpoint().await;
                }
            }
            block = span.end_block;
        }
        Ok(())
    }

    /// Index, filter and marks: a server makes them anew, but somebody should know.
    async fn check_derived(&self, run: RunFile) -> Result<(), LoadError> {
        let mut loader = ResidentLoader::new(run);
        loop {
            match loader.step().map_err(|error| self.damaged(error))? {
                LoadStep::Read { offset, len } => loader.feed(&self.read(offset, len).await?),
                LoadStep::Working => self.runtime.yield_now().await,
                LoadStep::Done(resident) => {
                    let rebuilt = resident.rebuilt();
                    let parts =
                        [("index", rebuilt.index), ("filter", rebuilt.filter), ("marks", rebuilt.marks)];
                    let damaged = parts.into_iter().find(|(_, why)| *why == Some(Why::Damaged));
                    return match damaged {
                        Some((what, _)) => Err(LoadError::Derived { path: self.path.clone(), what }),
                        None => Ok(()),
                    };
                }
            }
        }
    }

    /// The key sections: loading has no use for them yet, but a damaged run is refused, not half trusted.
    async fn check_keys(&self) -> Result<(), LoadError> {
        for tablet in self.reader.directory().tablets() {
            let bytes = self.read(tablet.keys.offset, tablet.keys.padded_len() as usize).await?;
            self.reader.keys(tablet, &bytes).map_err(|error| self.damaged(error))?;
        }
        Ok(())
    }
}

fn collection_of(reader: &RunReader, id: TabletId) -> CollectionId {
    let mut tablets = reader.directory().tablets().iter();
    tablets
        .find(|tablet| tablet.info.tablet == id)
        .expect("an entry's tablet is in the directory")
        .info
        .collection
}

async fn open(file: &File, run: RunFile) -> io::Result<Result<RunReader, RunError>> {
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
    id: RunId,
    file: FileOut,
}

impl RunOut {
    pub fn id(&self) -> RunId {
        self.id
    }

    pub async fn create(runtime: &Runtime, dir: &Path, id: RunId) -> io::Result<RunOut> {
        let file = FileOut::create(runtime, dir.join(run_file_name(id))).await?;
        Ok(RunOut { runtime: runtime.clone(), id, file })
    }

    /// Writes what is ready; see [`FileOut::write`].
    pub async fn drain(&mut self, writer: &mut RunWriter, hurry: bool) -> io::Result<()> {
        while let Some(chunk) = writer.take_ready() {
            self.file.write(chunk, hurry).await?;
        }
        Ok(())
    }

    /// Writes the rest and makes file and name durable.
    pub async fn finish(
        mut self,
        mut tail: RunTail,
        hurry: bool,
    ) -> io::Result<(FinishedRun, Resident, File)> {
        let mut slice = self.runtime.slice();
        loop {
            match tail.next_chunk(&mut || self.runtime.thread_cpu_ns()) {
                TailStep::Chunk(chunk) => self.file.write(chunk, hurry).await?,
                TailStep::Working => {}
                TailStep::Done => break,
            }
            slice.checkpoint().await;
        }
        let written = self.file.written();
        let file = self.file.finish().await?;
        let (finished, resident) = tail.finished();
        assert_eq!(finished.file.len, written, "every byte of the run was written");
        Ok((finished, resident, file))
    }
}
