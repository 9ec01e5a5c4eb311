//! Every bit of a 64 KiB log flipped, and the log cut at every byte.
//!
//! Wanted of each: refused, or the same records, or (without a floor) a prefix that ends at or above
//! the highest `durable_lsn` that any block of the undamaged log held. With a floor at the last LSN, as
//! after a clean shutdown, only refused or the same records. Where a checkpoint covers the first half, the same of
//! the second.

use super::testing::*;
use super::*;
use crate::limits;
use crate::types::Lsn;

const LOG_BYTES: usize = 64 * 1024;

struct Subject {
    disk: Disk,
    records: Vec<Record>,
    /// Highest `durable_lsn` in the log.
    durable: Lsn,
}

impl Subject {
    /// Small and large blocks, one record in each of the first and several in some, records that span
    /// blocks, four writes in flight.
    fn new() -> Subject {
        let (mut disk, mut log, mut records) = (Disk::default(), fresh(), Vec::new());
        let mut ends = vec![Lsn::ZERO; limits::LOG_WRITES_IN_FLIGHT_MAX];
        let mut end = 0;
        while end < LOG_BYTES {
            let count = 1 + records.len() % 5;
            records.extend((0..count).map(|at| append(&mut log, 10 + 300 * at)));
            let durable = ends[ends.len() - limits::LOG_WRITES_IN_FLIGHT_MAX];
            let block = log.next_block(durable).expect("records are pending");
            ends.push(block.last_lsn);
            end = block.offset.0 as usize + block.buf.len();
            disk.write(&block);
        }
        assert!((LOG_BYTES..LOG_BYTES + 8192).contains(&end));
        let durable = ends[ends.len() - 1 - limits::LOG_WRITES_IN_FLIGHT_MAX];
        assert!(durable > Lsn::ZERO && durable < log.last_lsn());
        Subject { disk, records, durable }
    }

    fn last_lsn(&self) -> Lsn {
        self.records.last().expect("records").lsn
    }

    /// The number of records that replay gives; `None` when it refuses. Each must be the right one.
    fn survivors(&self, disk: &Disk, floor: Lsn) -> Option<usize> {
        let mut count = 0;
        let start = ReplayStart { floor, ..everything() };
        let result = disk.replay_into(start, &mut |record| {
            assert_eq!(record, self.records[count].as_ref(), "a wrong record");
            count += 1;
        });
        result.ok().map(|_| count)
    }

    /// As [`Subject::survivors`], of the records from index `wanted` on.
    fn survivors_behind(&self, disk: &Disk, wanted: usize) -> Option<usize> {
        let mut count = wanted;
        let start = ReplayStart { first_wanted: self.records[wanted].lsn, ..everything() };
        let result = disk.replay_into(start, &mut |record| {
            assert_eq!(record, self.records[count].as_ref(), "a wrong record");
            count += 1;
        });
        result.ok().map(|_| count)
    }

    fn check(&self, disk: &Disk, what: &str, at: usize) {
        if let Some(count) = self.survivors(disk, Lsn::ZERO) {
            let last = count.checked_sub(1).map_or(Lsn::ZERO, |last| self.records[last].lsn);
            assert!(last >= self.durable, "{what} {at}: cut at {last} below {}", self.durable);
        }
        if let Some(count) = self.survivors_behind(disk, self.records.len() / 2) {
            assert!(self.records[count - 1].lsn >= self.durable, "{what} {at}: cut below {}", self.durable);
        }
        if let Some(count) = self.survivors(disk, self.last_lsn()) {
            assert_eq!(count, self.records.len(), "{what} {at}: forgiven after a clean shutdown");
        }
    }
}

#[test]
fn every_flipped_bit_is_detected_or_harmless() {
    let subject = Subject::new();
    let (mut disk, mut passed) = (subject.disk.clone(), 0);
    for bit in 0..LOG_BYTES * 8 {
        let flip = |disk: &mut Disk| disk.files.get_mut(&FIRST).expect("the log")[bit / 8] ^= 1 << (bit % 8);
        flip(&mut disk);
        subject.check(&disk, "bit", bit);
        passed += u32::from(subject.survivors_behind(&disk, subject.records.len() / 2).is_some());
        flip(&mut disk);
    }
    assert!(passed > 200_000, "of the half that is covered, only {passed} bits do not matter");
    assert_eq!(subject.survivors(&disk, subject.last_lsn()), Some(subject.records.len()));
}

/// A file of no bytes at all is told from one that never held any only by the floor.
#[test]
fn a_cut_at_every_byte_is_detected_or_harmless() {
    let subject = Subject::new();
    let mut disk = subject.disk.clone();
    let file = disk.files.get_mut(&FIRST).expect("the log");
    file.truncate(LOG_BYTES + 4096);
    for len in (1..file.len()).rev() {
        disk.files.get_mut(&FIRST).expect("the log").truncate(len);
        subject.check(&disk, "cut", len);
        assert_eq!(subject.survivors(&disk, Lsn::ZERO), None, "cut at {len} went unseen");
    }
    disk.files.get_mut(&FIRST).expect("the log").clear();
    assert_eq!(subject.survivors(&disk, subject.last_lsn()), None);
}
