//! Why a manifest cannot be read or written.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::types::{FileOffset, ShardId};

/// What is wrong with a slot or a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NoFile,
    /// The file ends before it.
    Cut,
    Magic,
    Length(usize),
    Hash {
        wanted: u64,
        found: u64,
    },
    /// Intact, and written for another place, file or shard.
    Misplaced,
    /// Intact, and does not continue the record before it.
    Chain,
    Shard(ShardId),
    /// Written by a newer program.
    Newer {
        version: u16,
        features: u16,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoFile => f.write_str("the file is missing"),
            Fault::Cut => f.write_str("the file ends too early"),
            Fault::Magic => f.write_str("wrong magic"),
            Fault::Length(len) => write!(f, "impossible length {len}"),
            Fault::Hash { wanted, found } => write!(f, "wanted hash {wanted:#018x}, found {found:#018x}"),
            Fault::Misplaced => f.write_str("intact, but of another place"),
            Fault::Chain => f.write_str("does not continue the record before it"),
            Fault::Shard(shard) => write!(f, "belongs to shard {shard}"),
            Fault::Newer { version, features } => {
                write!(f, "written by a newer kyrodb (format {version}, features {features:#06x})")
            }
        }
    }
}

/// A place that must hold a committed state and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestDamage {
    /// Name of the file in the shard's directory.
    pub file: String,
    pub offset: FileOffset,
    pub fault: Fault,
}

impl fmt::Display for ManifestDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ManifestDamage { file, offset, fault } = self;
        write!(f, "{file} is damaged at offset {offset}: {fault}. No record was changed. ")?;
        f.write_str("`kyrodb verify` lists every damaged place")
    }
}

impl std::error::Error for ManifestDamage {}

#[derive(Debug)]
pub enum ManifestError {
    Io(io::Error),
    /// A file or the directory cannot be read.
    Read {
        path: PathBuf,
        error: io::Error,
    },
    Damage(ManifestDamage),
    /// Manifest files without a superblock: it was lost, this is no fresh directory.
    NoSuperblock,
    /// `create` where a committed state exists.
    Exists,
    /// The state is longer than [`crate::limits::MANIFEST_STATE_BYTES_MAX`].
    TooLarge(usize),
    /// An earlier write failed or was given up: what is on the disk is known only after a restart.
    Poisoned,
}

impl From<io::Error> for ManifestError {
    fn from(error: io::Error) -> ManifestError {
        ManifestError::Io(error)
    }
}

impl From<ManifestDamage> for ManifestError {
    fn from(damage: ManifestDamage) -> ManifestError {
        ManifestError::Damage(damage)
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestError::Io(error) => write!(f, "manifest: {error}"),
            ManifestError::Read { path, error } => write!(f, "{}: {error}", path.display()),
            ManifestError::Damage(damage) => damage.fmt(f),
            ManifestError::NoSuperblock => f.write_str(
                "manifest files without a superblock: it was lost. No record was changed; restore the \
                 superblock from a backup",
            ),
            ManifestError::Exists => f.write_str("the directory has a committed manifest already"),
            ManifestError::TooLarge(len) => write!(f, "a state of {len} bytes does not fit the manifest"),
            ManifestError::Poisoned => {
                f.write_str("an earlier write of the manifest failed; restart to go on")
            }
        }
    }
}

impl std::error::Error for ManifestError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ManifestError::Io(error) | ManifestError::Read { error, .. } => Some(error),
            ManifestError::Damage(damage) => Some(damage),
            _ => None,
        }
    }
}
