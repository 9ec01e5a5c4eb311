//! When a version was written, by its LSN and its version number, relative to others of its block.
//!
//! In one tablet both counters go on together, so what is kept besides the LSN is by how much the version number is
//! ahead of it: mostly the same for all of a block.
//!
//! ```text
//! byte: bits 0 to 2 flags of the entry | bit 3: a lead follows | bits 4 to 6: low bits of the LSN | bit 7: more of it
//! then, each if its bit is set: varint of the LSN without these three bits | varint of the lead
//! ```
//!
//! Both less the lowest of the block, and not 0 where they follow.

use super::varint;
use crate::types::{Lsn, Seq};

const FLAGS: u8 = 0x07;
const LEADS: u8 = 0x08;
const LOW_AT: u32 = 4;
const LOW_BITS: u32 = 3;
const LOW: u64 = (1 << LOW_BITS) - 1;
const MORE: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub lsn: Lsn,
    /// Version number less LSN, modulo 2^64.
    pub lead: u64,
}

impl Stamp {
    pub fn new(lsn: Lsn, seq: Seq) -> Stamp {
        Stamp { lsn, lead: seq.0.wrapping_sub(lsn.0) }
    }

    pub fn seq(self) -> Seq {
        Seq(self.lsn.0.wrapping_add(self.lead))
    }

    /// The lower LSN and the lower lead: a base for both.
    pub fn lowest(self, other: Stamp) -> Stamp {
        let lead = (self.lead as i64).min(other.lead as i64) as u64;
        Stamp { lsn: self.lsn.min(other.lsn), lead }
    }

    fn above(self, base: Stamp) -> (u64, u64) {
        (self.lsn.0 - base.lsn.0, self.lead.wrapping_sub(base.lead))
    }

    pub fn len(self, base: Stamp) -> usize {
        let of = |number| if number > 0 { varint::len(number) } else { 0 };
        let (lsn, lead) = self.above(base);
        1 + of(lsn >> LOW_BITS) + of(lead)
    }

    /// With the flags of the entry. `base` is no higher.
    pub fn push(self, base: Stamp, flags: u8, out: &mut Vec<u8>) {
        let (lsn, lead) = self.above(base);
        let more = if lsn > LOW { MORE } else { 0 };
        let leads = if lead > 0 { LEADS } else { 0 };
        out.push((flags & FLAGS) | leads | ((lsn & LOW) as u8) << LOW_AT | more);
        for number in [lsn >> LOW_BITS, lead] {
            if number > 0 {
                varint::push(out, number);
            }
        }
    }

    /// Flags and stamp at the start of `bytes`, and what is behind them; `None` when no writer makes them.
    pub fn take(base: Stamp, bytes: &[u8]) -> Option<(u8, Stamp, &[u8])> {
        let (first, mut rest) = bytes.split_first()?;
        let mut number_if = |bit: u8| {
            if first & bit == 0 {
                return Some(0);
            }
            let (number, behind) = varint::take(rest)?;
            rest = behind;
            Some(number).filter(|number| *number > 0)
        };
        let high = number_if(MORE).filter(|high| *high <= u64::MAX >> LOW_BITS)?;
        let lead = number_if(LEADS)?;
        let low = u64::from(first >> LOW_AT) & LOW;
        let lsn = Lsn(base.lsn.0.checked_add(high << LOW_BITS | low)?);
        Some((first & FLAGS, Stamp { lsn, lead: base.lead.wrapping_add(lead) }, rest))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_near_the_base_takes_a_byte() {
        let base = Stamp::new(Lsn(1000), Seq(900));
        let len = |lsn, seq| Stamp::new(Lsn(lsn), Seq(seq)).len(base);
        assert_eq!([len(1000, 900), len(1007, 907), len(1008, 908), len(1000, 901)], [1, 1, 2, 2]);
        assert_eq!(
            [len(1000 + (1 << 24) - 1, 899 + (1 << 24)), len(1000 + (1 << 24), 900 + (1 << 24))],
            [4, 5]
        );
    }

    proptest! {
        #[test]
        fn comes_back_whatever_the_base(stamps in prop::collection::vec((any::<u64>(), any::<u64>()), 1..5)) {
            let stamps: Vec<_> = stamps.iter().map(|(lsn, seq)| (Stamp::new(Lsn(*lsn), Seq(*seq)), Seq(*seq))).collect();
            let base = stamps.iter().map(|(stamp, _)| *stamp).reduce(Stamp::lowest).expect("not empty");
            for (stamp, seq) in stamps {
                let mut bytes = Vec::new();
                stamp.push(base, 5, &mut bytes);
                prop_assert_eq!(bytes.len(), stamp.len(base));
                prop_assert_eq!(stamp.seq(), seq);
                bytes.push(77);
                prop_assert_eq!(Stamp::take(base, &bytes), Some((5, stamp, &[77][..])));
            }
        }
    }
}
