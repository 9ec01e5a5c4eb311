//! glommio behind the seam: the checks of every world, and what only a real core has.
#![cfg(feature = "glommio")]

mod seam;

use std::fs;

use kyrodb::io::executor::Executor;
use kyrodb::io::glommio::GlommioDriver;
use kyrodb::io::op::OpenMode;

fn executor() -> Executor {
    Executor::new(Box::new(GlommioDriver::new().expect("glommio")))
}

#[test]
fn files() {
    seam::files(executor());
}

#[test]
fn sockets() {
    seam::sockets(executor());
}

#[test]
fn sockets_over_ipv6() {
    seam::sockets_over_ipv6(executor());
}

#[test]
fn a_slow_reader_starves_nobody() {
    seam::a_slow_reader_starves_nobody(executor());
}

#[test]
fn timers() {
    seam::timers(executor());
}

#[test]
fn ten_thousand_rings_and_no_wake_up_lost() {
    seam::ten_thousand_rings_and_no_wake_up_lost(executor);
}

#[test]
fn a_sleeping_core_costs_nothing() {
    seam::a_sleeping_core_costs_nothing(executor());
}

#[test]
fn a_driver_dropped_with_everything_under_way_returns_soon() {
    seam::a_driver_dropped_with_everything_under_way_returns_soon(executor());
}

/// On a thread that opens its first file on the device, an empty one, as the first shard of a server does.
#[test]
fn the_first_file_on_a_device_may_be_empty() {
    let fresh = std::thread::spawn(|| {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let mut executor = executor();
        let runtime = executor.runtime();
        let path = dir.path().join("first");
        executor.block_on(async move {
            let file = match runtime.open(path.clone(), OpenMode::CreateNew).await {
                Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                    return println!("skipped: {error}");
                }
                other => other.expect("a new file"),
            };
            let bytes = seam::block_of(7);
            file.write(seam::START, bytes, kyrodb::io::op::Sync::Data).await.expect("a write");
            let (count, read) = file.read(seam::START, seam::block_of(0)).await.expect("a read");
            assert_eq!((count, read[0]), (read.len(), 7));
        });
        let left: Vec<_> = fs::read_dir(dir.path()).expect("the directory").collect();
        assert_eq!(left.len(), 1, "nothing but the file is left");
    });
    fresh.join().expect("a thread that ends well");
}

/// Descriptors of this process that name something in `dir`, or a socket.
fn open_in(dir: &std::path::Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").expect("a list").flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok()).filter(|name| name.starts_with(dir)).count()
}

#[test]
fn a_dropped_driver_leaves_no_file_open() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let dir = dir.path().canonicalize().expect("a path");
    let mut executor = executor();
    let runtime = executor.runtime();
    let path = dir.join("left");
    let kept = executor.block_on(async move { runtime.open(path, OpenMode::CreateNew).await });
    if kept.is_ok() {
        assert!(open_in(&dir) > 0, "a file that is kept is open");
    }
    drop(kept);
    drop(executor);
    assert_eq!(open_in(&dir), 0);
}
