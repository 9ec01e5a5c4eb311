//! The first page of a run: whose it is and which part of the log it covers.
//!
//! ```text
//! 0         24   32     40       48     4096
//! +---------+----+------+--------+------+
//! | preamble| run| after| through| 0 .. |      preamble: see `seal`
//! |         | u64| u64  | u64    |      |
//! +---------+----+------+--------+------+
//! ```

use super::error::{Field, Part, Place, RunError};
use super::field::{put_at, u64_at};
use super::seal::{self, PREAMBLE_BYTES, Preamble};
use super::{Footer, PAGE_BYTES};
use crate::types::{FileOffset, Lsn, RunId, ShardId};

const MAGIC: u64 = u64::from_le_bytes(*b"KYRORUN\0");
const RUN_AT: usize = PREAMBLE_BYTES;
const AFTER_AT: usize = RUN_AT + 8;
const THROUGH_AT: usize = AFTER_AT + 8;

/// The writes that a run stands for: those with `after < LSN <= through`.
///
/// Of each record the run holds the newest of these versions or a newer one: a checkpoint that is
/// written while writes go on may hold versions beyond `through`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    pub after: Lsn,
    pub through: Lsn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunHeader {
    pub shard: ShardId,
    pub run: RunId,
    pub covered: Covered,
}

impl RunHeader {
    /// The sealed page and its hash.
    pub(super) fn encode(&self) -> ([u8; PAGE_BYTES], u64) {
        let mut page = [0; PAGE_BYTES];
        seal::put_preamble(&mut page, MAGIC, self.shard);
        put_at(&mut page, RUN_AT, self.run.0.to_le_bytes());
        put_at(&mut page, AFTER_AT, self.covered.after.0.to_le_bytes());
        put_at(&mut page, THROUGH_AT, self.covered.through.0.to_le_bytes());
        let hash = seal::seal(&mut page);
        (page, hash)
    }

    /// From the first page of the file.
    pub fn decode(page: &[u8], footer: &Footer) -> Result<RunHeader, RunError> {
        let place = Place { run: footer.file.run, part: Part::Header, offset: FileOffset::ZERO };
        let Preamble { hash, shard, .. } = seal::check_preamble(place, page, MAGIC)?;
        place.check_field(Field::Run, footer.file.run.0, u64_at(page, RUN_AT))?;
        place.check_field(Field::Shard, footer.shard.0.into(), shard.0.into())?;
        place.check_hash(footer.header_hash, hash)?;
        let covered = Covered { after: Lsn(u64_at(page, AFTER_AT)), through: Lsn(u64_at(page, THROUGH_AT)) };
        place.check_sense(covered.after <= covered.through, Field::Lsn)?;
        Ok(RunHeader { shard, run: footer.file.run, covered })
    }
}
