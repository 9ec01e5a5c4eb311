//! Going on behind a fault among records that the checkpoint covers: a start does not need them.
//!
//! A block joins the log again when it shows by its LSNs that all that was lost before it is covered. The search must
//! not come upon what a recovery has cut away: it knows all cuts, or it is not begun.
//!
//! A hole that a crash left, where blocks were in flight, is passed as well, and is no damage: nothing knows that
//! what was there was on stable storage.

use super::{BlockView, Cause, Chunk, Cursor, Damage, Found, Lsn, Phase, Replay};
use crate::io::log::block::BlockFault;
use crate::io::log::damage::{Evidence, ReplayError};
use crate::io::log::record::RecordRef;

/// What the LSNs in a block show of all that lies before it.
enum Shows {
    NothingWantedBefore,
    WantedBefore,
    Nothing,
}

impl Replay {
    /// Damaged places among records that the checkpoint covers: nothing is missing for them.
    pub fn passed(&self) -> impl Iterator<Item = Damage> {
        self.passed.iter().copied().filter(|damage| damage.last_lsn < self.durable)
    }

    /// Whether only covered records were read so far, and the fault says nothing of what is there instead.
    pub(super) fn may_pass(&self, fault: BlockFault) -> bool {
        let lost = !matches!(fault, BlockFault::Chain { .. } | BlockFault::NoFile);
        lost && self.assembler.last_lsn().next() < self.start.first_wanted
            && self.chain.knows_cuts_behind(self.at.segment)
    }

    pub(super) fn pass_from(&mut self, cursor: Cursor, fault: BlockFault) -> Result<(), ReplayError> {
        match self.next_counting(cursor) {
            Some(cursor) => self.phase = Phase::Pass { cursor, fault },
            None => self.look_beyond(fault)?,
        }
        Ok(())
    }

    pub(super) fn pass(
        &mut self,
        chunk: &Chunk<'_>,
        cursor: Cursor,
        fault: BlockFault,
    ) -> Result<(), ReplayError> {
        match self.counting(chunk).search(cursor.offset) {
            Found::Block(block) => match self.shows(&block) {
                Shows::NothingWantedBefore => {
                    self.note(fault);
                    self.scan_from(&block);
                    Ok(())
                }
                Shows::Nothing => {
                    let offset = block.header.offset.0 + block.header.block_len as u64;
                    self.pass_from(Cursor { offset, ..cursor }, fault)
                }
                Shows::WantedBefore => self.look_beyond(fault),
            },
            Found::Newer { .. } => self.look_beyond(fault),
            Found::ReadFrom(offset) => self.pass_from(Cursor { offset, ..cursor }, fault),
            Found::End => self.pass_from(Cursor { index: cursor.index + 1, offset: 0 }, fault),
        }
    }

    fn shows(&self, block: &BlockView<'_>) -> Shows {
        let wanted = self.start.first_wanted;
        let (continued, begins) = block.stream.split_at(block.header.continued);
        match RecordRef::peek_lsn(begins) {
            Some(first) if first <= wanted => Shows::NothingWantedBefore,
            _ if block.header.last_lsn >= wanted => Shows::WantedBefore,
            // The record that it is a middle part of may be the first one wanted.
            None if begins.is_empty() && !continued.is_empty() => Shows::Nothing,
            _ => Shows::NothingWantedBefore,
        }
    }

    fn note(&mut self, fault: BlockFault) {
        self.passed.push(Damage {
            shard: self.start.shard,
            segment: self.at.segment,
            offset: self.at.offset,
            last_lsn: self.assembler.last_lsn(),
            cause: Cause::Block(fault),
            evidence: Evidence::Covered { lsn: Lsn(self.start.first_wanted.0 - 1) },
        });
    }
}
