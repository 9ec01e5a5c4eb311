//! What a real world must do behind the seam, over an executor that each test binary makes: the checks of every world,
//! and what only a real core has: other threads, processor time, descriptors.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use kyrodb::io::buf::{AlignedBuf, BLOCK_BYTES};
use kyrodb::io::conformance;
use kyrodb::io::driver::Doorbell;
use kyrodb::io::executor::sync::Signal;
use kyrodb::io::executor::{Class, Executor};
use kyrodb::io::op::{OpenMode, SendBuf, Sync};
use kyrodb::io::runtime::Runtime;
use kyrodb::types::FileOffset;

pub fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

async fn direct_io_works(runtime: &Runtime, dir: &Path) -> bool {
    let probe = dir.join("probe");
    match runtime.open(probe.clone(), OpenMode::CreateNew).await {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
            println!("skipped: {error}");
            return false;
        }
        other => drop(other.expect("a file in a temporary directory")),
    }
    runtime.remove_file(probe).await.expect("the file just made");
    true
}

pub const START: FileOffset = FileOffset(0);

/// A block of bytes that are all the same.
pub fn block_of(byte: u8) -> AlignedBuf {
    AlignedBuf::padded(&[byte; BLOCK_BYTES])
}

pub fn files(mut executor: Executor) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let runtime = executor.runtime();
    executor.block_on(async move {
        if direct_io_works(&runtime, dir.path()).await {
            conformance::files::check_all(&runtime, dir.path()).await;
        }
    });
}

pub fn sockets(mut executor: Executor) {
    let runtime = executor.runtime();
    executor.block_on(async move { conformance::sockets::check_all(&runtime, loopback()).await });
}

pub fn sockets_over_ipv6(mut executor: Executor) {
    let addr: SocketAddr = "[::1]:0".parse().expect("an address");
    if std::net::TcpListener::bind(addr).is_err() {
        return println!("skipped: no IPv6 here");
    }
    let runtime = executor.runtime();
    executor.block_on(async move { conformance::sockets::check_all(&runtime, addr).await });
}

pub fn a_slow_reader_starves_nobody(mut executor: Executor) {
    let runtime = executor.runtime();
    executor.block_on(async move {
        conformance::sockets::a_slow_reader_starves_nobody(&runtime, loopback()).await;
    });
}

pub fn timers(mut executor: Executor) {
    let runtime = executor.runtime();
    executor.block_on(async move { conformance::timers::check_all(&runtime).await });
}

/// Says what it gets back, through the doorbell of its core.
fn echo_core(mut executor: Executor, inbox: mpsc::Receiver<u64>, answer: Arc<AtomicU64>) {
    let arrived = Signal::default();
    let seen = arrived.clone();
    executor.set_turn_hook(move || {
        let mut any = false;
        while let Ok(number) = inbox.try_recv() {
            answer.store(number, Ordering::Release);
            any = true;
            if number == u64::MAX {
                seen.notify();
            }
        }
        any
    });
    executor.block_on(async move { arrived.wait().await });
}

pub fn ten_thousand_rings_and_no_wake_up_lost(make: impl FnOnce() -> Executor + Send + 'static) {
    let (bell_sender, bell) = mpsc::sync_channel::<Arc<dyn Doorbell>>(1);
    let (sender, inbox) = mpsc::channel();
    let answer = Arc::new(AtomicU64::new(0));
    let answered = answer.clone();
    let core = std::thread::spawn(move || {
        let executor = make();
        bell_sender.send(executor.runtime().doorbell()).expect("a test that waits");
        echo_core(executor, inbox, answer);
    });
    let bell = bell.recv().expect("a bell");
    let ring = |number| {
        sender.send(number).expect("a core that listens");
        bell.ring();
        let deadline = Instant::now() + Duration::from_secs(10);
        while answered.load(Ordering::Acquire) != number {
            assert!(Instant::now() < deadline, "wake-up {number} was lost");
            std::thread::yield_now();
        }
    };
    for number in 1..=10_000 {
        ring(number);
        // Hits the owner at every point on its way to sleep.
        for _ in 0..number % 97 * 40 {
            std::hint::spin_loop();
        }
    }
    ring(u64::MAX);
    core.join().expect("a core that ends well");
}

pub fn a_sleeping_core_costs_nothing(mut executor: Executor) {
    let runtime = executor.runtime();
    let cpu_ns = executor.block_on(async move {
        let _idle = runtime.listen(loopback()).await.expect("a listener");
        let before = runtime.thread_cpu_ns();
        runtime.sleep(Duration::from_millis(500)).await;
        runtime.thread_cpu_ns() - before
    });
    assert!(cpu_ns < 20_000_000, "{cpu_ns} ns of processor time to sleep for half a second");
}

pub fn a_driver_dropped_with_everything_under_way_returns_soon(mut executor: Executor) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let runtime = executor.runtime();
    let path = dir.path().to_owned();
    executor.block_on(async move { leave_everything_under_way(&runtime, &path).await });
    let began = Instant::now();
    drop(executor);
    assert!(began.elapsed() < Duration::from_secs(1), "the kernel kept something");
}

async fn leave_everything_under_way(runtime: &Runtime, dir: &Path) {
    let mut listener = runtime.listen(loopback()).await.expect("a listener");
    let client = runtime.connect(listener.addr()).await.expect("a connection");
    let server = listener.accept().await.expect("a connection").expect("an open listener");
    runtime.spawn(Class::Foreground, async move {
        let _ = client.send(SendBuf::Owned(vec![1; 64 << 20])).await;
        std::future::pending::<()>().await;
    });
    runtime.spawn(Class::Foreground, async move {
        let _held = server.receive().await;
        let _ = listener.accept().await;
        std::future::pending::<()>().await;
    });
    let file = match runtime.open(dir.join("file"), OpenMode::CreateNew).await {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return,
        other => other.expect("a file"),
    };
    runtime.spawn(Class::Foreground, async move {
        let write =
            |number: u64| file.write(FileOffset(number << 20), AlignedBuf::zeroed(1 << 20), Sync::Data);
        for write in (0..16).map(write).collect::<Vec<_>>() {
            let _ = write.await;
        }
    });
    runtime.yield_now().await;
    runtime.yield_now().await;
}
