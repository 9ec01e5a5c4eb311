//! Random lives of a log: processes that write, crash with any subset of their writes, and come back,
//! while late writes of the dead still arrive.
//!
//! Wanted of every start: all that was acked, nothing that was never written, in order, from each
//! process a prefix of what it wrote; and what one start has served, the next one has too.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::limits;
use crate::types::{Epoch, Lsn};

/// A small generator, so that a case is one seed.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

struct World {
    rng: Rng,
    disk: Disk,
    /// Writes of dead processes that may still arrive.
    late: Vec<BlockOut>,
    /// What every start from now on must give, in order.
    acked: Vec<Record>,
    /// What each process wrote, in order.
    written: Vec<Vec<Record>>,
}

impl World {
    fn start(&mut self) -> LogBuilder {
        let (recovered, records) = self.disk.replay().unwrap_or_else(|error| panic!("{error}"));
        self.check(&records);
        let mut log = LogBuilder::after(SHARD, &recovered, recovered.next_lsn(), SEGMENT_BYTES);
        let first = self.next_block(&mut log, recovered.last_lsn).expect("a first block");
        if self.rng.below(4) == 0 {
            // Dies before it serves: what it read was seen by nobody.
            self.crash(vec![(first, false)]);
            return self.start();
        }
        self.disk.write(&first);
        self.acked = records;
        self.written.push(Vec::new());
        log
    }

    /// A segment's file exists before anything is written to it.
    fn next_block(&mut self, log: &mut LogBuilder, durable: Lsn) -> Option<BlockOut> {
        let block = log.next_block(durable)?;
        if block.starts_segment {
            let taken = self.disk.files.insert(block.segment, vec![0; SEGMENT_BYTES]);
            assert!(taken.is_none(), "segment {} was begun twice", block.segment);
        }
        Some(block)
    }

    fn check(&self, records: &[Record]) {
        assert!(records.is_sorted_by(|a, b| a.lsn < b.lsn));
        assert!(records.starts_with(&self.acked), "acked records are missing");
        let mut rest = records;
        for written in &self.written {
            let same = rest.iter().zip(written).take_while(|(a, b)| a == b).count();
            rest = &rest[same..];
        }
        assert!(rest.is_empty(), "LSN {} was invented or is out of order", rest[0].lsn);
    }

    fn crash(&mut self, in_flight: Vec<(BlockOut, bool)>) {
        for (block, arrived) in in_flight {
            match self.rng.below(4) {
                _ if arrived => {}
                0 => self.disk.write(&block),
                1 => {
                    let sectors = self.rng.below(block.buf.len() / 512);
                    self.disk.write_part(&block, sectors * 512);
                }
                2 => self.late.push(block),
                _ => {}
            }
        }
    }

    fn late_write(&mut self) {
        if !self.late.is_empty() {
            let index = self.rng.below(self.late.len());
            let block = self.late.swap_remove(index);
            self.disk.write(&block);
        }
    }

    /// One process, from its start to its death.
    fn life(&mut self) {
        let mut log = self.start();
        let mut in_flight: VecDeque<(BlockOut, bool)> = VecDeque::new();
        let mut durable = Lsn::ZERO;
        for _ in 0..self.rng.below(30) {
            match self.rng.below(4) {
                0 => self.append_some(&mut log),
                1 if in_flight.len() < limits::LOG_WRITES_IN_FLIGHT_MAX => {
                    in_flight.extend(self.next_block(&mut log, durable).map(|block| (block, false)));
                }
                2 if !in_flight.is_empty() => {
                    let index = self.rng.below(in_flight.len());
                    self.disk.write(&in_flight[index].0);
                    in_flight[index].1 = true;
                }
                _ => self.late_write(),
            }
            while let Some((block, _)) = in_flight.pop_front_if(|(_, arrived)| *arrived) {
                durable = block.last_lsn;
                self.ack(durable);
            }
        }
        self.crash(in_flight.into());
    }

    fn append_some(&mut self, log: &mut LogBuilder) {
        for _ in 0..1 + self.rng.below(4) {
            let bytes = [20, 3000, 50_000, 400_000][self.rng.below(4)];
            let process = Epoch(self.written.len() as u64);
            let record = append_at(log, process, bytes);
            self.written.last_mut().expect("a process").push(record);
        }
    }

    fn ack(&mut self, durable: Lsn) {
        let known = self.acked.last().map_or(Lsn::ZERO, |record| record.lsn);
        let written = self.written.last().expect("a process");
        self.acked
            .extend(written.iter().filter(|record| record.lsn > known && record.lsn <= durable).cloned());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acked_survives_any_crash(seed in any::<u64>()) {
        let mut world = World {
            rng: Rng(seed),
            disk: Disk::default(),
            late: Vec::new(),
            acked: Vec::new(),
            written: Vec::new(),
        };
        for _ in 0..6 {
            world.life();
        }
        world.start();
    }

    #[test]
    fn garbage_and_cuts_never_panic(
        seed in any::<u64>(),
        garbage in proptest::collection::vec((any::<u32>(), any::<u8>()), 0..8),
        cut in proptest::option::of(0..=SEGMENT_BYTES),
    ) {
        let (mut disk, mut log, mut rng) = (Disk::default(), fresh(), Rng(seed));
        let mut written = Vec::new();
        for _ in 0..rng.below(12) {
            written.push(append(&mut log, [20, 5000, 300_000][rng.below(3)]));
            disk.write_all(&log.next_block(Lsn::ZERO).into_iter().collect::<Vec<_>>());
        }
        for (at, byte) in garbage {
            for file in disk.files.values_mut() {
                let at = at as usize % file.len();
                file[at] = byte;
            }
        }
        if let (Some(cut), Some(mut file)) = (cut, disk.files.last_entry()) {
            file.get_mut().truncate(cut);
        }
        if let Ok((_, records)) = disk.replay() {
            prop_assert_eq!(&written[..records.len()], &records[..]);
        }
        disk.verify();
        for (id, bytes) in &disk.files {
            dump::Dump::new(SHARD).segment(*id, bytes, &mut |line| {
                assert!(!line.to_string().is_empty() && line.to_json().starts_with('{'));
            });
        }
    }
}
