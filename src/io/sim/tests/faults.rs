//! Each fault of the disk and the clock does what it says, and only that.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::io::op::Sync;
use crate::io::sim::{CrashPolicy, Disk, Rng};

/// A machine whose disk has a file `/a` of four pages 1, 2, 3, 4, and faults.
fn machine(seed: u64, faults: Faults) -> Sim {
    let mut disk = Disk::default();
    let pages: Vec<u8> = (1..=4).flat_map(|byte| [byte; BLOCK_BYTES]).collect();
    disk.put_file("/a", &pages);
    Sim::with_disk(seed, disk, SimConfig { faults, ..SimConfig::default() })
}

async fn open(rt: &Runtime) -> File {
    rt.open("/a", OpenMode::ReadWrite).await.unwrap()
}

#[test]
fn a_read_error_passes() {
    let mut sim = machine(1, Faults { read_error_at: Some(2), ..Faults::default() });
    run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        assert_eq!(read_pages(&file, 0, 1).await.unwrap(), [1]);
        assert_eq!(code(read_pages(&file, 0, 1).await), libc::EIO);
        assert_eq!(read_pages(&file, 0, 4).await.unwrap(), [1, 2, 3, 4]);
    });
    let mut sim = machine(1, Faults { read_error_permille: 500, ..Faults::default() });
    let failed = run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        let mut failed = 0;
        for _ in 0..100 {
            failed += i32::from(read_pages(&file, 0, 1).await.is_err());
        }
        failed
    });
    assert!((25..75).contains(&failed), "{failed}");
}

#[test]
fn a_sticky_read_error_stays_until_the_page_is_written() {
    let mut sim = machine(1, Faults { read_error_sticky_permille: 1000, ..Faults::default() });
    run(&mut sim, |rt| async move {
        assert_eq!(code(read_pages(&open(&rt).await, 1, 1).await), libc::EIO);
    });
    sim.world().set_faults(Faults::default());
    let disk = sim.crash(CrashPolicy::KeepAll);
    let mut sim = Sim::with_disk(2, disk, SimConfig::default());
    run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        assert_eq!(code(read_pages(&file, 0, 4).await), libc::EIO);
        assert_eq!(read_pages(&file, 2, 2).await.unwrap(), [3, 4]);
        file.write(at(1), block(7), Sync::No).await.unwrap();
        assert_eq!(read_pages(&file, 0, 4).await.unwrap(), [1, 7, 3, 4]);
    });
}

#[test]
fn a_stale_read_gives_the_page_before_its_last_write() {
    let mut sim = machine(1, Faults { stale_read_permille: 1000, ..Faults::default() });
    run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        assert_eq!(read_pages(&file, 0, 1).await.unwrap(), [1], "no earlier version");
        file.write(at(0), block(8), Sync::Data).await.unwrap();
        assert_eq!(read_pages(&file, 0, 1).await.unwrap(), [1]);
    });
    assert_eq!(sim.world().durable_bytes("/a").unwrap()[0], 8, "the disk itself is right");
}

#[test]
fn a_write_error_leaves_any_part() {
    let parts: BTreeSet<bool> = (0..20)
        .map(|seed| {
            let mut sim = machine(seed, Faults { write_error_at: Some(1), ..Faults::default() });
            run(&mut sim, |rt| async move {
                let file = open(&rt).await;
                assert_eq!(code(file.write(at(0), block(9), Sync::Data).await), libc::EIO);
                file.write(at(1), block(9), Sync::Data).await.unwrap();
            });
            let bytes = sim.world().with_disk(|disk| disk.bytes("/a").unwrap());
            assert!(bytes[..BLOCK_BYTES].iter().all(|byte| [1, 9].contains(byte)));
            assert_eq!(sim.world().durable_bytes("/a").unwrap()[..BLOCK_BYTES], [1; BLOCK_BYTES]);
            bytes[0] == 9
        })
        .collect();
    assert_eq!(parts.len(), 2);
}

#[test]
fn a_lost_write_is_reported_and_never_there() {
    let mut sim = machine(1, Faults { write_lost_permille: 1000, ..Faults::default() });
    run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        file.write(at(0), block(9), Sync::Data).await.unwrap();
        assert_eq!(read_pages(&file, 0, 1).await.unwrap(), [1]);
    });
}

#[test]
fn a_short_write_is_finished_or_an_error() {
    let (mut finished, mut failed) = (0, 0);
    for seed in 0..30 {
        let mut sim = machine(seed, Faults { write_short_permille: 500, ..Faults::default() });
        let result = run(&mut sim, |rt| async move {
            let result = open(&rt).await.write(at(0), blocks(9, 4), Sync::Data).await;
            result.map(drop)
        });
        let bytes = sim.world().durable_bytes("/a").unwrap();
        let pages: Vec<u8> = bytes.chunks(BLOCK_BYTES).map(|page| page[0]).collect();
        match result {
            Ok(()) => {
                assert_eq!(pages, [9, 9, 9, 9]);
                finished += 1;
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO));
                let seen = sim.world().with_disk(|disk| disk.bytes("/a").unwrap());
                let taken = seen.chunks(BLOCK_BYTES).take_while(|page| page[0] == 9).count();
                assert!(taken < 4 && !seen[taken * BLOCK_BYTES..].contains(&9));
                failed += 1;
            }
        }
    }
    assert!(finished > 5 && failed > 2, "{finished} {failed}");
}

#[test]
fn a_misdirected_write_lands_elsewhere() {
    let mut elsewhere = BTreeSet::new();
    for seed in 0..40 {
        let mut sim = machine(seed, Faults { write_misdirected_permille: 1000, ..Faults::default() });
        sim.world().with_disk(|disk| disk.put_file("/b", &[5; BLOCK_BYTES]));
        run(&mut sim, |rt| async move {
            open(&rt).await.write(at(3), block(9), Sync::Data).await.unwrap();
        });
        let (a, b) = (sim.world().durable_bytes("/a").unwrap(), sim.world().durable_bytes("/b").unwrap());
        let hit = a.iter().position(|byte| *byte == 9).map(|at| at / BLOCK_BYTES);
        assert_eq!(a.contains(&9), !b.contains(&9), "one place and only one");
        elsewhere.insert(hit);
    }
    assert!(elsewhere.contains(&None) && elsewhere.contains(&Some(0)), "{elsewhere:?}");
}

#[test]
fn after_a_failed_sync_the_data_is_gone_and_the_next_sync_is_content() {
    let mut sim = machine(1, Faults { sync_error_at: Some(1), ..Faults::default() });
    run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        file.write(at(0), block(9), Sync::No).await.unwrap();
        assert_eq!(read_pages(&file, 0, 1).await.unwrap(), [9]);
        assert_eq!(code(file.sync().await), libc::EIO);
        assert_eq!(read_pages(&file, 0, 1).await.unwrap(), [1]);
        file.sync().await.unwrap();
    });
    assert_eq!(sim.crash(CrashPolicy::KeepAll).bytes("/a").unwrap()[0], 1);
}

#[test]
fn a_synced_write_and_a_directory_can_fail_to_sync() {
    let mut sim = machine(1, Faults { sync_error_at: Some(1), ..Faults::default() });
    run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        file.write(at(1), block(8), Sync::No).await.unwrap();
        assert_eq!(code(file.write(at(0), block(9), Sync::Data).await), libc::EIO);
        assert_eq!(read_pages(&file, 0, 2).await.unwrap(), [1, 8], "only its own data is gone");
    });
    let mut sim = machine(1, Faults { sync_error_at: Some(1), ..Faults::default() });
    run(&mut sim, |rt| async move {
        rt.rename("/a", "/b").await.unwrap();
        assert_eq!(code(rt.sync_dir("/").await), libc::EIO);
        rt.sync_dir("/").await.unwrap();
        open(&rt).await;
    });
    assert_eq!(sim.world().counts().syncs, 2);
}

/// The sync that fails covers the write, and the write's own sync reports for itself.
#[test]
fn a_failed_sync_takes_nothing_from_synced_writes_under_way() {
    for seed in 0..100 {
        let faults = Faults { sync_error_at: Some(1), ..Faults::default() };
        let mut sim = machine(seed, faults);
        let reported = run(&mut sim, |rt| async move {
            let file = std::rc::Rc::new(open(&rt).await);
            let write = file.write(at(0), block(9), Sync::Data);
            rt.sleep(Duration::from_micros(rt.random() % 100)).await;
            file.sync().await.ok();
            write.await.is_ok()
        });
        let durable = sim.world().durable_bytes("/a").unwrap()[0] == 9;
        assert!(durable || !reported, "seed {seed}: reported as synced and gone");
    }
}

#[test]
fn a_lying_disk_is_caught_by_asking_what_is_durable() {
    let mut sim = machine(1, Faults { sync_lie_permille: 1000, ..Faults::default() });
    run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        file.write(at(0), block(9), Sync::Data).await.unwrap();
        file.sync().await.unwrap();
        assert_eq!(read_pages(&file, 0, 1).await.unwrap(), [9]);
    });
    assert!(!sim.world().is_durable("/a", 0, &[9; BLOCK_BYTES]));
    assert_eq!(sim.crash(CrashPolicy::KeepNothing).bytes("/a").unwrap()[0], 1);
}

#[test]
fn a_full_disk_takes_no_new_blocks_and_rewrites_old_ones() {
    let capacity = 6 * BLOCK_BYTES as u64;
    let mut sim = machine(1, Faults { capacity_bytes: Some(capacity), ..Faults::default() });
    run(&mut sim, |rt| async move {
        let free = async || rt.free_space("/".as_ref()).await.unwrap() / BLOCK_BYTES as u64;
        assert_eq!(free().await, 2);
        let file = create(&rt, "/b").await;
        file.write(at(0), blocks(5, 2), Sync::Data).await.unwrap();
        assert_eq!(free().await, 0);
        assert_eq!(code(file.write(at(2), block(5), Sync::Data).await), libc::ENOSPC);
        assert_eq!(code(file.write(at(1), blocks(5, 2), Sync::Data).await), libc::ENOSPC);
        assert_eq!(file.len().await.unwrap(), 2 * BLOCK_BYTES as u64);
        file.write(at(0), blocks(6, 2), Sync::Data).await.unwrap();
        rt.remove_file("/a").await.unwrap();
        assert_eq!(free().await, 4);
        file.write(at(2), blocks(7, 4), Sync::Data).await.unwrap();
        file.set_len(BLOCK_BYTES as u64).await.unwrap();
        assert_eq!(free().await, 5);
    });
}

#[test]
fn a_slow_disk_takes_seconds() {
    let slow = Faults { slow_disk_permille: 1000, slow_disk: Duration::from_secs(10), ..Faults::default() };
    let mut sim = machine(2, slow);
    let slowest = run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        let mut slowest = 0;
        for _ in 0..10 {
            let before = rt.now();
            read_pages(&file, 0, 1).await.unwrap();
            slowest = slowest.max(rt.now().since(before));
        }
        slowest
    });
    assert!((2_000_000_000..11_000_000_000).contains(&slowest), "{slowest}");
}

#[test]
fn damage_at_rest_is_seen_by_reads_and_survives() {
    let mut sim = machine(1, Faults::default());
    sim.world().with_disk(|disk| {
        disk.flip_bit("/a", 0, 3);
        disk.overwrite("/a", BLOCK_BYTES as u64, b"\x63");
        disk.truncate("/a", 3 * BLOCK_BYTES as u64);
        disk.break_page("/a", 2);
    });
    run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        assert_eq!(read_pages(&file, 0, 2).await.unwrap(), [1 ^ 8, 0x63]);
        assert_eq!(code(read_pages(&file, 2, 1).await), libc::EIO);
    });
    let bytes = sim.crash(CrashPolicy::KeepNothing).bytes("/a").unwrap();
    assert_eq!((bytes.len(), bytes[0], bytes[1]), (3 * BLOCK_BYTES, 9, 1));
}

#[test]
fn faults_keep_to_the_files_they_are_for() {
    let faults =
        Faults { only_paths_with: Some("log".into()), sync_error_permille: 1000, ..Faults::default() };
    let mut sim = machine(1, faults);
    run(&mut sim, |rt| async move {
        open(&rt).await.write(at(0), block(9), Sync::Data).await.unwrap();
        let log = create(&rt, "/log-1").await;
        assert_eq!(code(log.write(at(0), block(9), Sync::Data).await), libc::EIO);
    });
    assert_eq!(sim.world().counts().syncs, 1, "only syncs that could fail are counted");
}

#[test]
fn the_wall_clock_can_step_back_and_the_other_cannot() {
    let back = Faults { wall_back_permille: 200, wall_back: Duration::from_secs(2), ..Faults::default() };
    let mut sim = machine(1, back);
    run(&mut sim, |rt| async move {
        let file = open(&rt).await;
        let (mut stepped, mut wall, mut mono) = (false, rt.wall(), rt.now());
        for _ in 0..50 {
            read_pages(&file, 0, 1).await.unwrap();
            stepped |= rt.wall() < wall;
            assert!(rt.now() > mono);
            (wall, mono) = (rt.wall(), rt.now());
        }
        assert!(stepped);
    });
    let before = sim.world().wall();
    sim.world().step_wall_back(Duration::from_millis(500));
    assert_eq!(sim.world().wall().0, before.0 - 500);
}

#[test]
fn a_crash_image_is_apart_from_the_disk_it_came_from() {
    let mut sim = machine(1, Faults::default());
    let image = sim.world().crash_with(CrashPolicy::KeepAll, &mut Rng::new(1));
    run(&mut sim, |rt| async move {
        open(&rt).await.write(at(0), block(9), Sync::Data).await.unwrap();
    });
    assert_eq!(image.bytes("/a").unwrap()[0], 1);
}
