//! Named crashes and damages: each a small log with one thing wrong.

use super::testing::*;
use super::*;
use crate::types::{Lsn, SegmentId, ShardId};

#[test]
fn a_whole_log_comes_back() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let blocks = blocks(&mut log, 10, 2);
    disk.write_all(&blocks);
    let (recovered, records) = disk.replay().expect("no damage");
    assert_eq!(disk.lsns(), (1..=10).collect::<Vec<_>>());
    assert_eq!(recovered.last_lsn, Lsn(10));
    assert_eq!(recovered.cut, end_of(&blocks[9]));
    assert_eq!(recovered.max_commit_ts, 100);
    assert_eq!(recovered.tail, BlockFault::Zeros);
    assert_eq!(records[3].key, 4u64.to_be_bytes());
    let wanted = ReplayStart { first_wanted: Lsn(8), ..everything() };
    let (recovered, records) = disk.replay_from(wanted).expect("no damage");
    assert_eq!(records.iter().map(|record| record.lsn.0).collect::<Vec<_>>(), [8, 9, 10]);
    assert_eq!((recovered.last_lsn, recovered.max_commit_ts), (Lsn(10), 100));
}

#[test]
fn no_log_at_all_is_an_empty_log_unless_the_floor_says_otherwise() {
    let (recovered, records) = Disk::default().replay().expect("no damage");
    assert!(records.is_empty());
    assert_eq!(recovered.highest_segment_seen, FIRST);
    let floor = ReplayStart { floor: Lsn(1), ..everything() };
    assert!(matches!(
        Disk::default().replay_from(floor),
        Err(ReplayError::Damage(Damage { evidence: Evidence::Floor { lsn: Lsn(1) }, .. }))
    ));
    // The log that begins behind it names the place at which nothing was.
    let mut disk = Disk::default();
    let mut log = restart(&disk);
    assert_eq!(log.segment(), SegmentId(2));
    disk.write(&commit_one(&mut log, 0));
    assert_eq!(disk.lsns(), [1000]);
}

#[test]
fn appending_behind_a_torn_tail() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    disk.write_all(&blocks(&mut log, 3, 2));
    let torn = &commit(&mut log, 1000, 1)[0];
    disk.write_part(torn, 512);
    let mut log = restart(&disk);
    let new = blocks(&mut log, 3, 1000);
    assert_eq!((new[0].segment, new[0].starts_segment), (SegmentId(2), true));
    disk.write_all(&new);
    assert_eq!(disk.lsns(), [1, 2, 3, 1003, 1004, 1005]);
}

/// A file that was copied while it was written to: a block is missing that a later one knows to be durable.
#[test]
fn nothing_behind_the_wanted_end_is_looked_at() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let blocks = blocks(&mut log, 8, 1);
    blocks.iter().filter(|block| block.last_lsn != Lsn(5)).for_each(|block| disk.write(block));
    assert!(matches!(disk.damage().evidence, Evidence::Durable { .. }));
    let replay_until = |lsn| {
        let mut replay = Replay::new(everything(), &disk.files()).expect("a log").until(Lsn(lsn));
        let mut lsns = Vec::new();
        loop {
            match replay.step() {
                Step::Read(read) => replay.feed(disk.bytes(read), &mut |record| lsns.push(record.lsn.0))?,
                Step::Done(recovered) => break Ok::<_, ReplayError>((recovered, lsns)),
            }
        }
    };
    for lsn in 1..=4 {
        let (recovered, lsns) = replay_until(lsn).expect("whole up to there");
        assert_eq!(lsns, (1..=lsn).collect::<Vec<_>>());
        assert_eq!((recovered.last_lsn, recovered.cut), (Lsn(lsn), end_of(&blocks[lsn as usize - 1])));
    }
    assert!(replay_until(5).is_err());
    // Nothing is wanted: the log goes on from its very beginning.
    let (recovered, lsns) = replay_until(0).expect("nothing to be damaged");
    assert_eq!((recovered.cut, lsns), (BlockEnd { segment: FIRST, ..BlockEnd::default() }, vec![]));
    let mut log = LogBuilder::after(SHARD, &recovered, Lsn(1000), SEGMENT_BYTES);
    disk.write(&commit_one(&mut log, 0));
    assert_eq!(disk.lsns(), [1000]);
}

#[test]
fn a_late_write_of_a_dead_process_never_returns() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let old = blocks(&mut log, 6, 3);
    disk.write_all(&old[..3]);
    let mut log = restart(&disk);
    disk.write(&log.next_block(Lsn(3)).expect("the first block is built without records"));
    assert_eq!(disk.lsns(), [1, 2, 3]);
    disk.write_all(&old[3..]);
    assert_eq!(disk.lsns(), [1, 2, 3], "the cut wins");
    disk.write(&commit_one(&mut log, 3));
    assert_eq!(disk.lsns(), [1, 2, 3, 1003]);
}

/// Two dead processes, both with a late write: of two recoveries that went on from the same segment,
/// the newer one counts.
#[test]
fn the_newest_recovery_decides() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let old = blocks(&mut log, 2, 1);
    disk.write(&old[0]);
    let first_of_second = restart(&disk).next_block(Lsn(1)).expect("first block");
    disk.files.insert(first_of_second.segment, vec![0; SEGMENT_BYTES]);
    disk.write(&old[1]);
    let mut third = restart(&disk);
    disk.write_all(&blocks(&mut third, 2, 1));
    disk.write(&first_of_second);
    assert_eq!(disk.lsns(), [1, 2, 1002, 1003]);
}

#[test]
fn an_lsn_is_never_given_out_twice() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    disk.write(&commit_one(&mut log, 0));
    for start in 1..4 {
        let (recovered, _) = disk.replay().expect("no damage");
        let mut log = LogBuilder::after(SHARD, &recovered, recovered.next_lsn(), SEGMENT_BYTES);
        assert!(log.next_lsn() > Lsn(start * crate::limits::CRASH_JUMP_RECORDS));
        disk.write(&log.next_block(Lsn(1)).expect("a first block"));
    }
    assert_eq!(disk.lsns(), [1]);
}

#[test]
fn a_hole_between_blocks_in_flight_is_a_normal_crash() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let blocks = blocks(&mut log, 8, 4);
    disk.write_all(&blocks[..5]);
    disk.write_all(&blocks[6..]);
    // Block of LSN 8 knows of 3; that of LSN 6 is the hole.
    assert_eq!(disk.lsns(), [1, 2, 3, 4, 5]);
    let mut log = restart(&disk);
    disk.write(&commit_one(&mut log, 5));
    disk.write(&blocks[5]);
    assert_eq!(disk.lsns(), [1, 2, 3, 4, 5, 1005]);
}

#[test]
fn a_hole_below_what_was_durable_is_damage() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let blocks = blocks(&mut log, 8, 1);
    disk.write_all(&blocks[..3]);
    disk.write_all(&blocks[4..]);
    let damage = disk.damage();
    assert_eq!((damage.segment, damage.offset), (FIRST, blocks[3].offset));
    assert_eq!((damage.last_lsn, damage.cause), (Lsn(3), Cause::Block(BlockFault::Zeros)));
    let last = blocks.iter().find(|block| block.last_lsn == Lsn(6)).expect("block of LSN 6");
    let evidence = Evidence::Durable { lsn: Lsn(4), segment: FIRST, offset: last.offset };
    assert_eq!(damage.evidence, evidence);
    let text = damage.to_string();
    for part in
        ["0000000000000001.wal", &blocks[3].offset.to_string(), "LSN 3", "LSN 4", "verify", "wal dump"]
    {
        assert!(text.contains(part), "{text} does not say {part}");
    }
}

#[test]
fn damage_names_the_wanted_and_the_found_hash() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let blocks = blocks(&mut log, 5, 1);
    disk.write_all(&blocks);
    let at = blocks[1].offset.0 as usize + 100;
    disk.files.get_mut(&FIRST).expect("the segment")[at] ^= 1;
    let damage = disk.damage();
    let Cause::Block(BlockFault::Hash { wanted, found }) = damage.cause else { panic!("{damage:?}") };
    assert_eq!(wanted, blocks[1].hash);
    assert_ne!(wanted, found);
    assert!(damage.to_string().contains(&format!("{wanted:#018x}")));
}

#[test]
fn a_record_spans_three_segments() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    disk.write(&commit_one(&mut log, 0));
    let large = append(&mut log, 5 * SEGMENT_BYTES / 2);
    let small = append(&mut log, 30);
    let blocks: Vec<_> = std::iter::from_fn(|| log.next_block(Lsn(1))).collect();
    disk.write_all(&blocks);
    assert_eq!(disk.files.len(), 3);
    let (recovered, records) = disk.replay().expect("no damage");
    assert_eq!(records[1..], [large, small]);
    assert_eq!(recovered.cut, end_of(blocks.last().expect("blocks")));

    // Blocks in the middle end no record and have begun the large one.
    let middle = &blocks[3];
    assert_eq!((middle.last_lsn, middle.begun_lsn), (Lsn(1), Lsn(2)));
    // Without its last block the record was never there, and nothing is missing.
    let last = blocks.last().expect("blocks");
    disk.files.get_mut(&last.segment).expect("its file")[last.offset.0 as usize] ^= 1;
    assert_eq!(disk.lsns(), [1]);
    let mut log = restart(&disk);
    disk.write(&commit_one(&mut log, 1));
    assert_eq!(disk.lsns(), [1, 1001]);
}

#[test]
fn replay_may_begin_in_the_middle_of_a_record_that_is_covered() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    disk.write_all(&commit(&mut log, 5 * SEGMENT_BYTES / 2, 0));
    disk.write_all(&blocks(&mut log, 3, 1));
    for removed in [SegmentId(1), SegmentId(2)] {
        disk.files.remove(&removed);
        let from = removed.next();
        let start = ReplayStart { from, first_wanted: Lsn(2), ..everything() };
        let (_, records) = disk.replay_from(start).expect("no damage");
        assert_eq!(records.iter().map(|record| record.lsn.0).collect::<Vec<_>>(), [2, 3, 4]);
        let missing = disk.replay_from(ReplayStart { from, ..everything() });
        let Err(ReplayError::Damage(damage)) = missing else { panic!("{missing:?}") };
        assert_eq!(damage.cause, Cause::Missing { first_wanted: Lsn(1) });
    }
}

#[test]
fn a_missing_segment_is_damage_when_something_in_it_was_durable() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let blocks = commit(&mut log, 5 * SEGMENT_BYTES / 2, 0);
    disk.write_all(&blocks);
    let mut torn = disk.clone();
    torn.files.remove(&SegmentId(2));
    assert_eq!(torn.lsns(), Vec::<u64>::new(), "the record was in flight");
    disk.write(&commit_one(&mut log, 1));
    disk.files.remove(&SegmentId(2));
    let damage = disk.damage();
    assert_eq!((damage.segment, damage.cause), (FIRST, Cause::Block(BlockFault::NoSuccessor)));
    disk.files.remove(&FIRST);
    assert_eq!(disk.damage().cause, Cause::Block(BlockFault::NoFile));
}

#[test]
fn a_segment_rolls_while_blocks_are_in_flight() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    disk.write_all(&commit(&mut log, 3 * SEGMENT_BYTES / 4, 0));
    let in_flight: Vec<_> = (0..4).flat_map(|_| commit(&mut log, 100_000, 1)).collect();
    assert!(in_flight.iter().any(|block| block.segment == SegmentId(2)));
    // Every subset of what was in flight: a prefix survives, nothing is damage.
    for subset in 0u32..1 << in_flight.len() {
        let mut crashed = disk.clone();
        let arrived = |at: &usize| subset & (1 << at) != 0;
        (0..in_flight.len()).filter(arrived).for_each(|at| crashed.write(&in_flight[at]));
        let prefix = (0..in_flight.len()).take_while(arrived).last();
        let last = prefix.map_or(Lsn(1), |at| in_flight[at].last_lsn);
        assert_eq!(crashed.lsns(), (1..=last.0).collect::<Vec<_>>(), "subset {subset:b}");
    }
}

#[test]
fn an_invalid_first_block_hides_no_durable_ones_behind_it() {
    for (lag, damaged) in [(0, true), (10, false)] {
        let (mut disk, mut log) = (Disk::default(), fresh());
        let blocks = blocks(&mut log, 4, lag);
        disk.write_all(&blocks);
        disk.files.get_mut(&FIRST).expect("the segment")[70] ^= 1;
        assert_eq!(disk.replay().is_err(), damaged);
    }
}

#[test]
fn stale_blocks_of_a_recycled_segment_are_ignored() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let old = blocks(&mut log, 20, 1);
    disk.write_all(&old);
    let mut recycled = Disk::default();
    recycled.files.insert(SegmentId(2), disk.files[&FIRST].clone());
    let mut log = LogBuilder::fresh(SHARD, SegmentId(2), SEGMENT_BYTES);
    recycled.write_all(&blocks(&mut log, 2, 1));
    let start = ReplayStart { from: SegmentId(2), ..everything() };
    let (recovered, records) = recycled.replay_from(start).expect("no damage");
    assert_eq!(records.len(), 2);
    assert!(matches!(recovered.tail, BlockFault::Misplaced { segment: FIRST, .. }));
}

fn covered(first_wanted: u64) -> ReplayStart {
    ReplayStart { first_wanted: Lsn(first_wanted), ..everything() }
}

fn lsns_of(replayed: Result<(Recovered, Vec<Record>), ReplayError>) -> Result<Vec<u64>, ReplayError> {
    replayed.map(|(_, records)| records.iter().map(|record| record.lsn.0).collect())
}

fn damage_block(disk: &mut Disk, block: &BlockOut) {
    disk.files.get_mut(&block.segment).expect("its file")[block.offset.0 as usize + 9] ^= 1;
}

#[test]
fn damage_is_passed_when_all_that_it_may_hide_is_covered() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let blocks = blocks(&mut log, 10, 1);
    disk.write_all(&blocks);
    damage_block(&mut disk, &blocks[1]);
    damage_block(&mut disk, &blocks[3]);
    for first_wanted in [5, 6, 10] {
        let wanted: Vec<_> = (first_wanted..=10).collect();
        assert_eq!(lsns_of(disk.replay_from(covered(first_wanted))), Ok(wanted));
        let report = disk.verify_from(covered(first_wanted));
        let places: Vec<_> = report.errors.iter().map(ReplayError::place).collect();
        assert_eq!(places, [(FIRST, blocks[1].offset), (FIRST, blocks[3].offset)], "all are told");
        assert_eq!(report.recovered.map(|recovered| recovered.cut), Some(end_of(&blocks[9])));
        assert!(report.errors[0].to_string().contains("nothing is missing"), "{}", report.errors[0]);
    }
    // Segments that were made in advance hide no cut, also those of files that were used before.
    disk.files.insert(SegmentId(2), vec![0; SEGMENT_BYTES]);
    disk.files.insert(SegmentId(3), disk.files[&FIRST].clone());
    assert_eq!(lsns_of(disk.replay_from(covered(9))), Ok(vec![9, 10]));
    for first_wanted in [3, 4] {
        let refused = disk.replay_from(covered(first_wanted));
        assert_eq!(refused.map_err(|error| error.place()).err(), Some((FIRST, blocks[3].offset)));
    }
    // Behind what is covered the rules are as they were.
    damage_block(&mut disk, &blocks[8]);
    assert!(disk.replay_from(ReplayStart { floor: Lsn(10), ..covered(9) }).is_err());
}

#[test]
fn a_hole_of_a_crash_is_passed_and_is_no_damage() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let blocks = blocks(&mut log, 10, 4);
    disk.write_all(&blocks[..6]);
    disk.write_all(&blocks[7..]);
    let report = disk.verify_from(covered(9));
    assert_eq!((report.errors, report.records), (Vec::new(), 2));
    assert_eq!(lsns_of(disk.replay_from(covered(7))), Ok(Vec::new()), "what is wanted is the hole");
}

#[test]
fn the_beginning_of_a_wanted_record_is_not_passed() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let small = blocks(&mut log, 3, 1);
    let large = commit(&mut log, 3 * SEGMENT_BYTES / 4, 3);
    let more = blocks(&mut log, 3, 0);
    for part in [&small, &large, &more] {
        disk.write_all(part);
    }
    assert!(large.len() > 3, "it has blocks in the middle, where no record begins or ends");
    for damaged in &large {
        let mut disk = disk.clone();
        damage_block(&mut disk, damaged);
        assert!(disk.replay_from(covered(4)).is_err());
        assert_eq!(lsns_of(disk.replay_from(covered(5))), Ok(vec![5, 6, 7]));
    }
}

/// A recovery at LSN 4 begins with a block without a record; then what the dead process had written arrives. The two
/// blocks before the cut are damaged.
fn restarted_with_late_writes() -> Disk {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let old = blocks(&mut log, 10, 9);
    disk.write_all(&old[..4]);
    let mut log = restart(&disk);
    disk.write(&log.next_block(Lsn(4)).expect("the first block tells of the cut"));
    disk.write_all(&blocks(&mut log, 2, 1));
    disk.write_all(&old[4..]);
    damage_block(&mut disk, &old[2]);
    damage_block(&mut disk, &old[3]);
    disk
}

/// Blocks behind a hole are valid and not part of the log, once a recovery went on before the hole.
#[test]
fn what_a_recovery_has_cut_away_is_not_passed_to() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let old = blocks(&mut log, 10, 9);
    disk.write_all(&old[..4]);
    disk.write_all(&old[5..]);
    let mut log = restart(&disk);
    assert_eq!(log.next_lsn(), Lsn(1004));
    let new = blocks(&mut log, 4, 1);
    disk.write_all(&new);
    assert_eq!(lsns_of(disk.replay_from(covered(6))), Ok(vec![1004, 1005, 1006, 1007]));
    // The cut is where replay goes on, also from damage before it.
    damage_block(&mut disk, &old[2]);
    assert_eq!(lsns_of(disk.replay_from(covered(6))), Ok(vec![1004, 1005, 1006, 1007]));
    damage_block(&mut disk, &old[3]);
    assert!(disk.replay_from(covered(6)).is_err(), "nothing shows that LSN 6 is not lost");
    assert_eq!(lsns_of(disk.replay_from(covered(1005))), Ok(vec![1005, 1006, 1007]));
    // Not even where the block behind the hole is the first one wanted.
    assert_eq!(lsns_of(restarted_with_late_writes().replay_from(covered(5))), Ok(vec![1004, 1005]));
    // Nobody knows of the cut any more: what lies behind the hole must not come back.
    damage_block(&mut disk, &new[0]);
    for first_wanted in [2, 6, 8, 1005] {
        assert!(disk.replay_from(covered(first_wanted)).is_err());
    }
}

/// A segment id is used again when the directory entry of its first file was lost in a crash.
#[test]
fn a_block_of_another_history_does_not_continue_this_one() {
    let (mut disk, mut log, mut other) = (Disk::default(), fresh(), fresh());
    append(&mut other, 20);
    let strange = blocks(&mut other, 3, 10);
    let ours = blocks(&mut log, 1, 10);
    assert_eq!(strange[1].offset, end_of(&ours[0]).offset);
    disk.write_all(&ours);
    disk.write_all(&strange[1..]);
    let (recovered, records) = disk.replay().expect("no damage");
    assert_eq!((records.len(), recovered.cut), (1, end_of(&ours[0])));
    let fault = BlockFault::Chain { wanted: ours[0].hash, found: strange[0].hash };
    assert_eq!(recovered.tail, fault);
}

#[test]
fn segments_prepared_in_advance_are_no_log() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    disk.write_all(&blocks(&mut log, 2, 1));
    disk.files.insert(SegmentId(2), vec![0; SEGMENT_BYTES]);
    disk.files.insert(SegmentId(3), vec![0; 70_000]);
    disk.files.insert(SegmentId(4), Vec::new());
    let (recovered, records) = disk.replay().expect("no damage");
    assert_eq!((records.len(), recovered.highest_segment_seen), (2, SegmentId(4)));
}

#[test]
fn a_segment_that_was_cut_short_is_damage() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    disk.write_all(&blocks(&mut log, 3, 10));
    disk.files.get_mut(&FIRST).expect("the segment").truncate(SEGMENT_BYTES - 1);
    let damage = disk.damage();
    assert_eq!(damage.cause, Cause::CutShort { len: SEGMENT_BYTES as u64 - 1 });
    assert_eq!(disk.verify().errors, [ReplayError::Damage(damage)]);
    assert_eq!(disk.verify().records, 3);
}

#[test]
fn nothing_is_forgiven_after_a_clean_shutdown() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let blocks = blocks(&mut log, 3, 3);
    disk.write_all(&blocks);
    let clean = ReplayStart { floor: Lsn(3), ..everything() };
    assert!(disk.replay_from(clean).is_ok());
    disk.files.get_mut(&FIRST).expect("the segment")[blocks[2].offset.0 as usize + 50] ^= 4;
    assert_eq!(disk.lsns(), [1, 2]);
    let Err(ReplayError::Damage(damage)) = disk.replay_from(clean) else { panic!("not refused") };
    assert_eq!((damage.offset, damage.evidence), (blocks[2].offset, Evidence::Floor { lsn: Lsn(3) }));
}

/// Nothing in the log tells of a segment that is gone with all that came behind it.
#[test]
fn segments_that_were_made_are_missed() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    while !disk.files.contains_key(&SegmentId(3)) {
        disk.write_all(&commit(&mut log, 50_000, 0));
    }
    disk.files.insert(SegmentId(4), vec![0; SEGMENT_BYTES]);
    let made = |first, last| {
        let made = Made { first: SegmentId(first), last: SegmentId(last) };
        ReplayStart { made, ..everything() }
    };
    let evidence = |disk: &Disk, start| match disk.replay_from(start) {
        Ok(_) => None,
        Err(ReplayError::Damage(damage)) => Some(damage.evidence),
        Err(other) => panic!("{other}"),
    };
    for start in [made(0, 0), made(1, 4), made(3, 4)] {
        assert_eq!(evidence(&disk, start), None);
    }
    for gone in 1..=4 {
        let (mut lost, segment) = (disk.clone(), SegmentId(gone));
        lost.files.retain(|id, _| *id < segment);
        assert_eq!(evidence(&lost, made(0, 0)), None, "nothing is known");
        assert_eq!(evidence(&lost, made(1, 4)), Some(Evidence::Made { segment }));
        assert!(matches!(lost.verify_from(made(1, 4)).errors[..], [ReplayError::Damage(_)]));
    }
    // A segment that a life began with is zeros: what it held is lost, whatever it was.
    let mut lost = disk.clone();
    lost.files.insert(SegmentId(3), vec![0; SEGMENT_BYTES]);
    assert_eq!(evidence(&lost, made(3, 4)), Some(Evidence::Made { segment: SegmentId(3) }));
}

#[test]
fn a_recovery_that_read_further_is_evidence() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let old = blocks(&mut log, 3, 3);
    disk.write_all(&old);
    let mut log = restart(&disk);
    disk.write(&log.next_block(Lsn(3)).expect("first block"));
    disk.files.get_mut(&FIRST).expect("the segment")[old[2].offset.0 as usize] ^= 4;
    assert_eq!(disk.damage().evidence, Evidence::Recovered { segment: SegmentId(2) });
}

#[test]
fn another_shards_log_is_not_ours() {
    let (mut disk, mut log) = (Disk::default(), LogBuilder::fresh(ShardId(9), FIRST, SEGMENT_BYTES));
    disk.write_all(&blocks(&mut log, 3, 1));
    let (recovered, records) = disk.replay().expect("nothing of ours");
    assert!(records.is_empty());
    assert!(matches!(recovered.tail, BlockFault::Misplaced { shard: ShardId(9), .. }));
}

#[test]
fn verify_finds_every_damaged_place() {
    let (mut disk, mut log) = (Disk::default(), fresh());
    let mut all = blocks(&mut log, 6, 1);
    all.extend(commit(&mut log, 3 * SEGMENT_BYTES, 6));
    all.extend(blocks(&mut log, 6, 1));
    disk.write_all(&all);
    assert!(disk.verify().errors.is_empty());
    let bad: Vec<_> = all.iter().filter(|block| [2, 5, 9].contains(&block.last_lsn.0)).collect();
    for block in &bad {
        disk.files.get_mut(&block.segment).expect("its file")[block.offset.0 as usize + 9] ^= 1;
    }
    let report = disk.verify();
    let places: Vec<_> = report
        .errors
        .iter()
        .map(|error| match error {
            ReplayError::Damage(damage) => (damage.segment, damage.offset),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(places, bad.iter().map(|block| (block.segment, block.offset)).collect::<Vec<_>>());
    assert_eq!((report.records, report.recovered), (10, None));
}
