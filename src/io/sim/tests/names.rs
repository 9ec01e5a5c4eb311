//! Files, directories and the rules of direct I/O.

use super::*;
use crate::io::op::Sync;

#[test]
fn a_file_gives_back_what_was_written() {
    let mut sim = sim_with(1, Faults::default());
    run(&mut sim, |rt| async move {
        let file = create(&rt, "/a").await;
        file.write(at(0), block(1), Sync::No).await.unwrap();
        file.write(at(2), blocks(3, 2), Sync::Data).await.unwrap();
        assert_eq!(file.len().await.unwrap(), 4 * BLOCK_BYTES as u64);
        assert_eq!(read_pages(&file, 0, 8).await.unwrap(), [1, 0, 3, 3]);
        assert!(read_pages(&file, 4, 1).await.unwrap().is_empty());
        file.set_len(5000).await.unwrap();
        let (count, _) = file.read(at(0), AlignedBuf::zeroed(8192)).await.unwrap();
        assert_eq!(count, 5000);
    });
}

#[test]
fn direct_io_wants_whole_blocks() {
    let mut sim = sim_with(1, Faults::default());
    run(&mut sim, |rt| async move {
        let file = create(&rt, "/a").await;
        assert_eq!(code(file.write(FileOffset(512), block(1), Sync::No).await), libc::EINVAL);
        assert_eq!(code(file.read(FileOffset(1), block(0)).await), libc::EINVAL);
        assert_eq!(file.len().await.unwrap(), 0);
    });
}

#[test]
fn open_modes_are_kept() {
    let mut sim = sim_with(1, Faults::default());
    run(&mut sim, |rt| async move {
        assert_eq!(code(rt.open("/a", OpenMode::Read).await), libc::ENOENT);
        drop(create(&rt, "/a").await);
        assert_eq!(code(rt.open("/a", OpenMode::CreateNew).await), libc::EEXIST);
        let file = rt.open("/a", OpenMode::Read).await.unwrap();
        assert_eq!(code(file.write(at(0), block(1), Sync::No).await), libc::EBADF);
        assert_eq!(code(file.set_len(1).await), libc::EBADF);
        let file = rt.open("a", OpenMode::ReadWrite).await.unwrap();
        file.write(at(0), block(1), Sync::No).await.unwrap();
    });
}

#[test]
fn names_follow_the_rules_of_posix() {
    let mut sim = sim_with(1, Faults::default());
    run(&mut sim, |rt| async move {
        rt.create_dir("/d").await.unwrap();
        assert_eq!(code(rt.create_dir("/d").await), libc::EEXIST);
        assert_eq!(code(rt.create_dir("/x/y").await), libc::ENOENT);
        for name in ["/d/b", "/d/a", "/d/c"] {
            create(&rt, name).await.write(at(0), block(name.as_bytes()[3]), Sync::No).await.unwrap();
        }
        assert_eq!(code(rt.remove_dir("/d").await), libc::ENOTEMPTY);
        assert_eq!(code(rt.remove_file("/d").await), libc::EISDIR);
        assert_eq!(code(rt.rename("/d/a", "/d/a/b").await), libc::ENOTDIR);
        assert_eq!(code(rt.rename("/d", "/d/e").await), libc::EINVAL);
        rt.rename("/d/a", "/d/b").await.unwrap();
        rt.rename("/d/c", "/e").await.unwrap();
        let names: Vec<_> = rt.list("/d").await.unwrap().into_iter().map(|e| (e.name, e.len)).collect();
        assert_eq!(names, [("b".to_owned(), BLOCK_BYTES as u64)]);
        let file = rt.open("/d/b", OpenMode::Read).await.unwrap();
        assert_eq!(read_pages(&file, 0, 1).await.unwrap(), [b'a']);
        rt.remove_file("/d/b").await.unwrap();
        assert_eq!(read_pages(&file, 0, 1).await.unwrap(), [b'a'], "open files outlive their names");
        rt.remove_dir("/d").await.unwrap();
        assert_eq!(code(rt.list("/d").await), libc::ENOENT);
        assert_eq!(code(rt.sync_dir("/e").await), libc::ENOTDIR);
    });
    assert_eq!(sim.world().with_disk(|disk| disk.file_lens()), [("/e".to_owned(), BLOCK_BYTES as u64)]);
}

#[test]
fn writes_under_way_complete_in_any_order_and_are_not_stopped_by_a_drop() {
    let orders: std::collections::BTreeSet<u8> = (0..40)
        .map(|seed| {
            let mut sim = sim_with(seed, Faults::default());
            run(&mut sim, |rt| async move {
                let file = create(&rt, "/a").await;
                drop(file.write(at(0), block(1), Sync::No));
                file.write(at(0), block(2), Sync::No).await.unwrap();
                rt.sleep(std::time::Duration::from_millis(1)).await;
                read_pages(&file, 0, 1).await.unwrap()[0]
            })
        })
        .collect();
    assert_eq!(orders.into_iter().collect::<Vec<_>>(), [1, 2]);
}
