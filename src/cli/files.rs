//! Copies and links of a snapshot's files.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::data_dir::LOCK_FILE;
use super::failure::Failure;
use crate::shard::restore::UNFINISHED_FILE;
use crate::shard::snapshot::{DESCRIPTION_FILE, Snapshot};

/// The end of a run or a value file, where the hashes of all its parts are.
const TAIL_BYTES: u64 = 8192;
const PIECE_BYTES: usize = 256 * 1024;

/// What was moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    pub files: u64,
    pub bytes: u64,
}

impl Copied {
    pub fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// What a snapshot consists of, relative to its directory: directories before what is in them.
#[derive(Debug, Default)]
pub struct Tree {
    pub dirs: Vec<PathBuf>,
    pub files: Vec<PathBuf>,
}

impl Tree {
    /// The folders of shards and what is in them; nothing else belongs to the data.
    pub fn of(snapshot: &Path) -> Result<Tree, Failure> {
        let mut tree = Tree::default();
        for (name, is_dir) in entries(snapshot)? {
            let is_shard = name
                .to_str()
                .is_some_and(|name| is_dir && crate::shard::options::parse_shard_dir(name).is_some());
            if is_shard {
                tree.visit(snapshot, &name)?;
            }
        }
        Ok(tree)
    }

    fn visit(&mut self, snapshot: &Path, dir: &Path) -> Result<(), Failure> {
        self.dirs.push(dir.to_owned());
        for (name, is_dir) in entries(&snapshot.join(dir))? {
            match is_dir {
                true => self.visit(snapshot, &dir.join(name))?,
                false => self.files.push(dir.join(name)),
            }
        }
        Ok(())
    }
}

/// Names and whether they are directories, sorted.
fn entries(dir: &Path) -> Result<Vec<(PathBuf, bool)>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Failure::file(dir))? {
        let entry = entry.map_err(Failure::file(dir))?;
        let is_dir = entry.file_type().map_err(Failure::file(&entry.path()))?.is_dir();
        found.push((PathBuf::from(entry.file_name()), is_dir));
    }
    found.sort();
    Ok(found)
}

/// What a directory says of itself, when it is a snapshot.
pub fn description_of(dir: &Path) -> Option<Snapshot> {
    serde_json::from_slice(&fs::read(dir.join(DESCRIPTION_FILE)).ok()?).ok()
}

/// For those that fill a directory: what is there already is somebody else's.
pub fn refuse_unless_empty(dir: &Path) -> Result<(), Failure> {
    if !holds_anything(dir)? {
        return Ok(());
    }
    let what = format!(
        "{} is not empty: name a new directory with --data-dir, or move this one away first",
        dir.display()
    );
    Err(Failure::Conflict { what })
}

/// A directory that is missing holds nothing; neither does one that was claimed for a restore that was then killed.
fn holds_anything(dir: &Path) -> Result<bool, Failure> {
    let begun = [LOCK_FILE.to_owned(), format!("{UNFINISHED_FILE}.tmp")];
    match entries(dir) {
        Ok(found) => {
            Ok(found.iter().any(|(name, is_dir)| *is_dir || !begun.iter().any(|b| name == Path::new(b))))
        }
        Err(_) if !dir.exists() => Ok(false),
        Err(error) => Err(error),
    }
}

/// A durable copy; its name is durable with its directory. Zeros, as those behind the end of a log, are not written:
/// they become holes. Gives the bytes written.
pub fn copy_file(from: &Path, to: &Path) -> Result<u64, Failure> {
    let copied = || {
        let (mut source, mut target) =
            (File::open(from)?, File::options().write(true).create_new(true).open(to)?);
        let mut piece = vec![0; PIECE_BYTES];
        let (mut len, mut written) = (0, 0);
        loop {
            let count = source.read(&mut piece)?;
            if count == 0 {
                break;
            }
            if piece[..count].iter().any(|byte| *byte != 0) {
                target.seek(SeekFrom::Start(len))?;
                target.write_all(&piece[..count])?;
                written += count as u64;
            }
            len += count as u64;
        }
        target.set_len(len)?;
        target.sync_all()?;
        Ok(written)
    };
    copied().map_err(Failure::file(to))
}

pub fn sync_dir(dir: &Path) -> Result<(), Failure> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Failure::file(dir))
}

/// Whether two files of runs are the same: as long, with the same hashes at the end. The name alone does not
/// tell: a node that was restored gives out the same ids again.
pub fn same_run(a: &Path, b: &Path) -> bool {
    let tail = |path: &Path| {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        std::io::Result::Ok((len, bytes))
    };
    matches!((tail(a), tail(b)), (Ok(a), Ok(b)) if a == b)
}
