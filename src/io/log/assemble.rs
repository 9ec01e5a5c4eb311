//! From blocks back to records: joins the parts of records that span blocks.
//!
//! Invariants: LSNs come out strictly increasing; a record comes out whole or not at all. A block with
//! a right hash whose content breaks a rule was not torn, it was written so: that is damage.

use std::fmt;

use super::block::BlockView;
use super::record::{RecordFault, RecordRef};
use super::segment::StartKind;
use crate::types::Lsn;

/// How the content of a self-valid block contradicts the log before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentFault {
    Record(RecordFault),
    /// A record whose LSN is not above the one before, or below the base of its segment.
    LsnOrder {
        lsn: Lsn,
        after: Lsn,
    },
    /// The block continues `said` bytes of a record that leaves off elsewhere.
    Continued {
        said: usize,
    },
    /// The block's `last_lsn` is not that of its last record.
    LastLsn {
        said: Lsn,
        found: Lsn,
    },
}

impl From<RecordFault> for ContentFault {
    fn from(fault: RecordFault) -> ContentFault {
        ContentFault::Record(fault)
    }
}

impl fmt::Display for ContentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContentFault::Record(fault) => fault.fmt(f),
            ContentFault::LsnOrder { lsn, after } => write!(f, "LSN {lsn} follows LSN {after}"),
            ContentFault::Continued { said } => {
                write!(f, "the block continues {said} bytes of a record that does not end there")
            }
            ContentFault::LastLsn { said, found } => {
                write!(f, "the block says that it ends at LSN {said}, its last record is LSN {found}")
            }
        }
    }
}

/// What the stream holds between two blocks.
enum Carry {
    /// The stream was entered in the middle: what continues an unknown record is skipped.
    Unknown,
    Nothing,
    /// The first bytes of a record.
    Part(Vec<u8>),
}

pub(super) struct Assembler {
    carry: Carry,
    last_lsn: Lsn,
    /// The next record must not be below this.
    base_lsn: Lsn,
}

impl Assembler {
    /// For a stream that may begin with the rest of a record.
    pub(super) fn entering() -> Assembler {
        Assembler { carry: Carry::Unknown, last_lsn: Lsn::ZERO, base_lsn: Lsn::ZERO }
    }

    /// LSN of the last record that ended.
    pub(super) fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// No record of the segment is below this.
    pub(super) fn base_lsn(&self) -> Lsn {
        self.base_lsn
    }

    /// Forgets a record in progress, after damage; LSNs still have to grow.
    pub(super) fn enter_again(&mut self) {
        self.carry = Carry::Unknown;
    }

    /// Hands the records that end in `block` to `sink`, in order.
    pub(super) fn block(
        &mut self,
        block: &BlockView<'_>,
        sink: &mut impl FnMut(RecordRef<'_>),
    ) -> Result<(), ContentFault> {
        self.segment_start(block)?;
        let before = self.last_lsn;
        let (continued, rest) = block.stream.split_at(block.header.continued);
        self.go_on(continued, rest.is_empty(), sink)?;
        self.whole_records(rest, sink)?;
        self.check_last_lsn(before, block.header.last_lsn)
    }

    fn segment_start(&mut self, block: &BlockView<'_>) -> Result<(), ContentFault> {
        let Some(start) = &block.start else { return Ok(()) };
        if start.kind == StartKind::Recovered {
            self.carry = Carry::Nothing;
        }
        if start.base_lsn <= self.last_lsn {
            return Err(ContentFault::LsnOrder { lsn: start.base_lsn, after: self.last_lsn });
        }
        self.base_lsn = start.base_lsn;
        Ok(())
    }

    /// Takes the bytes that continue a record; they reach the end of the block when `to_the_end`.
    fn go_on(
        &mut self,
        continued: &[u8],
        to_the_end: bool,
        sink: &mut impl FnMut(RecordRef<'_>),
    ) -> Result<(), ContentFault> {
        let fault = ContentFault::Continued { said: continued.len() };
        match std::mem::replace(&mut self.carry, Carry::Nothing) {
            Carry::Nothing if continued.is_empty() => Ok(()),
            Carry::Nothing => Err(fault),
            Carry::Unknown => {
                if to_the_end && !continued.is_empty() {
                    self.carry = Carry::Unknown;
                }
                Ok(())
            }
            Carry::Part(mut part) => {
                part.extend_from_slice(continued);
                match RecordRef::peek_len(&part)? {
                    Some(len) if part.len() > len => Err(fault),
                    Some(len) if part.len() == len => self.emit(&part, sink),
                    _ if !to_the_end => Err(fault),
                    _ => {
                        self.carry = Carry::Part(part);
                        Ok(())
                    }
                }
            }
        }
    }

    fn whole_records(
        &mut self,
        mut rest: &[u8],
        sink: &mut impl FnMut(RecordRef<'_>),
    ) -> Result<(), ContentFault> {
        while !rest.is_empty() {
            let len = RecordRef::peek_len(rest)?;
            let Some((record, behind)) = len.and_then(|len| rest.split_at_checked(len)) else {
                self.carry = Carry::Part(rest.to_vec());
                return Ok(());
            };
            self.emit(record, sink)?;
            rest = behind;
        }
        Ok(())
    }

    fn emit(&mut self, bytes: &[u8], sink: &mut impl FnMut(RecordRef<'_>)) -> Result<(), ContentFault> {
        let record = RecordRef::decode(bytes)?;
        if record.lsn <= self.last_lsn || record.lsn < self.base_lsn {
            return Err(ContentFault::LsnOrder { lsn: record.lsn, after: self.last_lsn });
        }
        self.last_lsn = record.lsn;
        sink(record);
        Ok(())
    }

    /// A block in which no record was seen to end may still know better: its record may have begun
    /// before the stream was entered, and a recovery starts from what a checkpoint covers.
    fn check_last_lsn(&mut self, before: Lsn, said: Lsn) -> Result<(), ContentFault> {
        let found = self.last_lsn;
        let fits = if found > before { said == found } else { said >= found };
        if !fits {
            return Err(ContentFault::LastLsn { said, found });
        }
        self.last_lsn = said;
        Ok(())
    }
}
