//! What is durable when, and what a power cut leaves.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::task::Poll;

use super::*;
use crate::io::op::Sync;
use crate::io::sim::image::SECTOR_BYTES;
use crate::io::sim::{CrashPolicy, Disk, Moment, Rng, StuckReason};

/// A file `/a` of two durable pages of 1.
async fn durable_file(rt: &Runtime) -> File {
    let file = create(rt, "/a").await;
    file.write(at(0), blocks(1, 2), Sync::Data).await.unwrap();
    rt.sync_dir("/").await.unwrap();
    file
}

fn images(sim: &Sim, policy: CrashPolicy) -> Vec<Disk> {
    (0..200).map(|seed| sim.world().crash_with(policy, &mut Rng::new(seed))).collect()
}

#[test]
fn a_name_is_durable_only_after_its_directory_was_synced() {
    let mut sim = sim_with(1, Faults::default());
    run(&mut sim, |rt| async move {
        let file = create(&rt, "/a").await;
        file.write(at(0), block(1), Sync::Data).await.unwrap();
        file.sync().await.unwrap();
    });
    assert_eq!(sim.crash(CrashPolicy::KeepNothing).bytes("/a"), None);
    assert_eq!(sim.world().durable_bytes("/a"), None);
    run(&mut sim, |rt| async move { rt.sync_dir("/").await.unwrap() });
    assert_eq!(sim.crash(CrashPolicy::KeepNothing).bytes("/a"), Some(vec![1; BLOCK_BYTES]));
}

#[test]
fn a_second_name_is_durable_only_after_its_directory_was_synced() {
    let mut sim = sim_with(1, Faults::default());
    run(&mut sim, |rt| async move {
        let file = durable_file(&rt).await;
        rt.create_dir("/d").await.unwrap();
        rt.sync_dir("/").await.unwrap();
        rt.link("/a", "/d/b").await.unwrap();
        file.write(at(0), block(2), Sync::Data).await.unwrap();
        rt.remove_file("/a").await.unwrap();
    });
    let names = |disk: &Disk| disk.file_lens().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let found: BTreeSet<_> = images(&sim, CrashPolicy::Random).iter().map(names).collect();
    let all = [vec![], vec!["/a"], vec!["/a", "/d/b"], vec!["/d/b"]];
    assert_eq!(found, all.map(|names| names.into_iter().map(str::to_owned).collect()).into());
    run(&mut sim, |rt| async move {
        rt.sync_dir("/d").await.unwrap();
        rt.sync_dir("/").await.unwrap();
    });
    let mut expected = vec![2; BLOCK_BYTES];
    expected.extend([1; BLOCK_BYTES]);
    let disk = sim.crash(CrashPolicy::KeepNothing);
    assert_eq!((disk.bytes("/a"), disk.bytes("/d/b")), (None, Some(expected)));
}

#[test]
fn an_unsynced_write_may_be_lost_and_a_synced_one_never_is() {
    let mut sim = sim_with(1, Faults::default());
    run(&mut sim, |rt| async move {
        let file = durable_file(&rt).await;
        file.write(at(0), block(2), Sync::No).await.unwrap();
        file.write(at(1), block(3), Sync::Data).await.unwrap();
    });
    let found: BTreeSet<(u8, u8)> = images(&sim, CrashPolicy::Random)
        .iter()
        .map(|disk| disk.bytes("/a").unwrap())
        .map(|bytes| (bytes[0], bytes[BLOCK_BYTES]))
        .collect();
    assert_eq!(found, BTreeSet::from([(1, 3), (2, 3)]));
    assert!(sim.world().is_durable("/a", BLOCK_BYTES as u64, &[3; BLOCK_BYTES]));
    assert!(!sim.world().is_durable("/a", 0, &[2; BLOCK_BYTES]));
    run(&mut sim, |rt| async move {
        rt.open("/a", OpenMode::Read).await.unwrap().sync().await.unwrap();
    });
    assert!(sim.world().is_durable("/a", 0, &[2; BLOCK_BYTES]));
}

#[test]
fn a_sync_covers_what_was_written_before_it_and_no_more() {
    for seed in 0..30 {
        let mut sim = sim_with(seed, Faults::default());
        run(&mut sim, |rt| async move {
            let file = durable_file(&rt).await;
            file.write(at(0), block(2), Sync::No).await.unwrap();
            let mut sync = std::pin::pin!(file.sync());
            let begun = std::future::poll_fn(|cx| Poll::Ready(sync.as_mut().poll(cx))).await;
            assert!(begun.is_pending());
            file.write(at(1), block(3), Sync::No).await.unwrap();
            sync.await.unwrap();
        });
        let bytes = sim.crash(CrashPolicy::KeepNothing).bytes("/a").unwrap();
        assert_eq!((bytes[0], bytes[BLOCK_BYTES]), (2, 1));
    }
}

#[test]
fn a_synced_write_under_way_survives_wholly_torn_or_not_at_all() {
    let fates: Rc<RefCell<BTreeSet<&str>>> = Rc::default();
    for seed in 0..20 {
        let mut sim = sim_with(seed, Faults::default());
        let (fates, rng) = (fates.clone(), RefCell::new(Rng::new(seed)));
        sim.world().on_io(move |point| {
            if point.operation != "write" || point.now.0 == 0 {
                return;
            }
            for _ in 0..20 {
                let disk = point.image(CrashPolicy::Random, &mut rng.borrow_mut());
                let Some(bytes) = disk.bytes("/a") else { continue };
                let sectors: Vec<u8> = bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
                let survived = sectors.iter().filter(|byte| **byte == 9).count();
                fates.borrow_mut().insert(match survived {
                    0 => "not at all",
                    16 => "wholly",
                    _ => "torn",
                });
                let last = point.moment == Moment::Completed && sectors.contains(&9);
                assert!(!last || survived == 16, "torn after it was reported");
            }
        });
        run(&mut sim, |rt| async move {
            let file = durable_file(&rt).await;
            file.write(at(0), blocks(9, 2), Sync::Data).await.unwrap();
        });
    }
    assert_eq!(fates.borrow().len(), 3, "{:?}", fates.borrow());
}

#[test]
fn policies_for_torn_and_lost_writes_are_exact() {
    let mut sim = sim_with(1, Faults::default());
    run(&mut sim, |rt| async move {
        let file = durable_file(&rt).await;
        file.write(at(0), blocks(2, 2), Sync::No).await.unwrap();
    });
    let first_bytes = |policy| -> BTreeSet<u8> {
        images(&sim, policy).iter().map(|disk| disk.bytes("/a").unwrap()[0]).collect()
    };
    assert_eq!(first_bytes(CrashPolicy::KeepNothing), BTreeSet::from([1]));
    assert_eq!(first_bytes(CrashPolicy::KeepAll), BTreeSet::from([2]));
    assert_eq!(
        first_bytes(CrashPolicy::Chances { lost_permille: 1000, torn_permille: 0 }),
        BTreeSet::from([1])
    );
    let torn = CrashPolicy::Chances { lost_permille: 0, torn_permille: 1000 };
    let mixed = images(&sim, torn).into_iter().filter(|disk| {
        let bytes = disk.bytes("/a").unwrap();
        bytes.contains(&1) && bytes.contains(&2)
    });
    assert!(mixed.count() > 190);
}

#[test]
fn a_rename_is_old_or_new_and_durable_after_the_directory() {
    let mut sim = sim_with(3, Faults::default());
    run(&mut sim, |rt| async move {
        let old = durable_file(&rt).await;
        let new = create(&rt, "/tmp").await;
        new.write(at(0), block(7), Sync::Data).await.unwrap();
        rt.sync_dir("/").await.unwrap();
        rt.rename("/tmp", "/a").await.unwrap();
        drop(old);
    });
    let found: BTreeSet<u8> =
        images(&sim, CrashPolicy::Random).iter().map(|disk| disk.bytes("/a").unwrap()[0]).collect();
    assert_eq!(found, BTreeSet::from([1, 7]));
    run(&mut sim, |rt| async move { rt.sync_dir("/").await.unwrap() });
    let disk = sim.crash(CrashPolicy::KeepNothing);
    assert_eq!(disk.file_lens(), [("/a".to_owned(), BLOCK_BYTES as u64)]);
    assert_eq!(disk.bytes("/a").unwrap()[0], 7);
}

#[test]
fn a_removed_file_may_come_back_until_its_directory_is_synced() {
    let mut sim = sim_with(3, Faults::default());
    run(&mut sim, |rt| async move {
        drop(durable_file(&rt).await);
        rt.remove_file("/a").await.unwrap();
    });
    assert_eq!(sim.crash(CrashPolicy::KeepAll).bytes("/a"), None);
    assert_eq!(sim.crash(CrashPolicy::KeepNothing).bytes("/a"), Some(vec![1; 2 * BLOCK_BYTES]));
    run(&mut sim, |rt| async move { rt.sync_dir("/").await.unwrap() });
    assert_eq!(sim.crash(CrashPolicy::KeepNothing).bytes("/a"), None);
}

#[test]
fn a_directory_needs_its_parent_synced() {
    let mut sim = sim_with(3, Faults::default());
    run(&mut sim, |rt| async move {
        rt.create_dir("/d").await.unwrap();
        create(&rt, "/d/a").await.write(at(0), block(1), Sync::Data).await.unwrap();
        rt.sync_dir("/d").await.unwrap();
    });
    assert!(sim.crash(CrashPolicy::KeepNothing).file_lens().is_empty());
    run(&mut sim, |rt| async move { rt.sync_dir("/").await.unwrap() });
    assert_eq!(sim.crash(CrashPolicy::KeepNothing).file_lens().len(), 1);
}

/// An append-only log, a power cut at every crash point, and a machine that starts on each image.
#[test]
fn every_crash_image_holds_what_was_acknowledged() {
    let acknowledged = Rc::new(Cell::new(0u8));
    let found: Rc<RefCell<Vec<(u8, Disk)>>> = Rc::default();
    let mut sim = sim_with(11, Faults::default());
    let (acked, images, rng) = (acknowledged.clone(), found.clone(), RefCell::new(Rng::new(5)));
    sim.world().on_io(move |point| {
        let image = point.image(CrashPolicy::Random, &mut rng.borrow_mut());
        images.borrow_mut().push((acked.get(), image));
    });
    run(&mut sim, |rt| async move {
        let file = create(&rt, "/log").await;
        file.set_len(64 * BLOCK_BYTES as u64).await.unwrap();
        file.sync().await.unwrap();
        rt.sync_dir("/").await.unwrap();
        for number in 1..=40 {
            file.write(at(u64::from(number)), block(number), Sync::Data).await.unwrap();
            acknowledged.set(number);
        }
    });
    assert_eq!(sim.world().crash_points() as usize, found.borrow().len());
    for (acked, disk) in found.take() {
        let mut sim = Sim::with_disk(1, disk, SimConfig::default());
        let recovered = run(&mut sim, |rt| async move {
            let Ok(file) = rt.open("/log", OpenMode::Read).await else { return Vec::new() };
            read_pages(&file, 0, 64).await.unwrap()
        });
        for number in 1..=acked {
            assert_eq!(recovered[usize::from(number)], number);
        }
    }
}

#[test]
fn the_power_goes_at_the_point_that_was_asked_for() {
    let config = SimConfig { power_off_at: Some(7), ..SimConfig::default() };
    let mut sim = Sim::new(1, config);
    let rt = sim.runtime(0);
    let stuck = sim
        .run(async move {
            let file = create(&rt, "/a").await;
            loop {
                file.write(at(0), block(1), Sync::Data).await.unwrap();
            }
        })
        .map(|()| unreachable!("a loop"))
        .unwrap_err();
    assert_eq!(stuck.reason, StuckReason::PowerOff);
    assert_eq!(sim.world().crash_points(), 7);
    let disk = sim.crash(CrashPolicy::KeepAll);
    drop(sim);
    assert_eq!(disk.bytes("/a").unwrap(), vec![1; BLOCK_BYTES]);
}

#[test]
fn a_write_may_be_seen_before_it_is_reported() {
    let seen_early = (0..40).filter(|seed| {
        let mut sim = Sim::new(*seed, SimConfig { audit: true, ..SimConfig::default() });
        let world = sim.world().clone();
        run(&mut sim, |rt| async move {
            let file = create(&rt, "/a").await;
            let write = file.write(at(0), block(1), Sync::Data);
            while read_pages(&file, 0, 1).await.unwrap().is_empty() {}
            let early = world.writes()[0].completed.is_none();
            write.await.unwrap();
            early
        })
    });
    assert!((5..40).contains(&seen_early.count()));
}

#[test]
fn the_audit_tells_reported_from_durable() {
    let config = |faults| SimConfig { audit: true, faults, ..SimConfig::default() };
    let write_both = |sim: &mut Sim| {
        run(sim, |rt| async move {
            let file = create(&rt, "/a").await;
            file.write(at(0), block(1), Sync::Data).await.unwrap();
            file.write(at(1), block(1), Sync::No).await.unwrap();
        });
        sim.world().writes()
    };
    let mut sim = Sim::new(1, config(Faults::default()));
    let writes = write_both(&mut sim);
    assert_eq!(writes[0].durable, writes[0].completed);
    assert!(writes[0].completed.is_some() && writes[0].submitted < writes[0].completed.unwrap());
    assert!(writes[1].completed.is_some() && writes[1].durable.is_none());
    run(&mut sim, |rt| async move { rt.open("/a", OpenMode::Read).await.unwrap().sync().await.unwrap() });
    assert!(sim.world().writes()[1].durable > writes[1].completed);

    let lying = Faults { sync_lie_permille: 1000, ..Faults::default() };
    let writes = write_both(&mut Sim::new(1, config(lying)));
    assert!(writes[0].completed.is_some() && writes[0].durable.is_none());
}
