//! What can be wrong with a run, and where.
//!
//! An error names the run, the part of the file and the place where that part begins, so that a report
//! leads to the bytes. [`Place`] is what decoders carry along to say so.

use std::fmt;

use crate::types::{FileOffset, RunId};

/// A part of a run file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Header,
    Block,
    Keys,
    Locators,
    Directory,
    Index,
    Filter,
    Marks,
    Footer,
    // Of a value file.
    ValueHeader,
    Value,
    ValueTable,
    ValueFooter,
}

/// A number or a group of numbers in a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Magic,
    Version,
    Features,
    Shard,
    Run,
    Offset,
    Length,
    FileLength,
    BlockNumber,
    BlockCount,
    EntryCount,
    Tablet,
    Section,
    KeyOrder,
    Entry,
    Lsn,
    Seq,
    Reference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another number of bytes than the part has.
    Cut { wanted: u64, found: u64 },
    /// The bytes were changed, or are those of another version of the part.
    Hash { wanted: u64, found: u64 },
    /// Intact bytes that belong to another place.
    Mismatch { field: Field, wanted: u64, found: u64 },
    /// Intact bytes that contradict themselves or another part: no writer makes them.
    Malformed { field: Field },
    /// Intact bytes written by newer code.
    Newer { field: Field, found: u64 },
}

/// A run that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunError {
    pub run: RunId,
    pub part: Part,
    /// Where the part begins in the file.
    pub offset: FileOffset,
    pub fault: Fault,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Header => "header",
            Part::Block => "payload block",
            Part::Keys => "keys",
            Part::Locators => "block table",
            Part::Directory => "tablet directory",
            Part::Index => "learned index",
            Part::Filter => "membership filter",
            Part::Marks => "marks",
            Part::Footer => "footer",
            Part::ValueHeader => "header of values",
            Part::Value => "value",
            Part::ValueTable => "table of values",
            Part::ValueFooter => "footer of values",
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Magic => "magic number",
            Field::Version => "format version",
            Field::Features => "feature bits",
            Field::Shard => "shard",
            Field::Run => "run id",
            Field::Offset => "file offset",
            Field::Length => "length",
            Field::FileLength => "file length",
            Field::BlockNumber => "block number",
            Field::BlockCount => "block count",
            Field::EntryCount => "entry count",
            Field::Tablet => "tablet",
            Field::Section => "section",
            Field::KeyOrder => "key order",
            Field::Entry => "entry",
            Field::Lsn => "LSN",
            Field::Seq => "version of a record",
            Field::Reference => "reference to a value",
        })
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}: {} at offset {}: ", self.run, self.part, self.offset)?;
        match self.fault {
            Fault::Cut { wanted, found } => write!(f, "wanted {wanted} bytes, found {found}"),
            Fault::Hash { wanted, found } => {
                write!(f, "damaged: wanted hash {wanted:016x}, found {found:016x}")
            }
            Fault::Mismatch { field, wanted, found } => {
                write!(f, "belongs elsewhere: wanted {field} {wanted}, found {found}")
            }
            Fault::Malformed { field } => write!(f, "the {field} makes no sense"),
            Fault::Newer { field, found } => {
                write!(f, "written by a newer version: unknown {field} {found}")
            }
        }
    }
}

impl std::error::Error for RunError {}

/// Where a decoder is at work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub run: RunId,
    pub part: Part,
    pub offset: FileOffset,
}

impl Place {
    pub fn fault(self, fault: Fault) -> RunError {
        RunError { run: self.run, part: self.part, offset: self.offset, fault }
    }

    pub fn check_len(self, bytes: &[u8], wanted: u64) -> Result<(), RunError> {
        let found = bytes.len() as u64;
        self.check(found == wanted, Fault::Cut { wanted, found })
    }

    pub fn check_hash(self, wanted: u64, found: u64) -> Result<(), RunError> {
        self.check(wanted == found, Fault::Hash { wanted, found })
    }

    pub fn check_field(self, field: Field, wanted: u64, found: u64) -> Result<(), RunError> {
        self.check(wanted == found, Fault::Mismatch { field, wanted, found })
    }

    pub fn check_sense(self, holds: bool, field: Field) -> Result<(), RunError> {
        self.check(holds, Fault::Malformed { field })
    }

    pub fn check(self, holds: bool, fault: Fault) -> Result<(), RunError> {
        if holds { Ok(()) } else { Err(self.fault(fault)) }
    }
}
