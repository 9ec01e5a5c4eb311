//! The kernel ring behind the seam: the checks of every world, on each way that a ring can be set up,
//! and what only a real core has: other threads.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use kyrodb::io::buf::AlignedBuf;
use kyrodb::io::conformance;
use kyrodb::io::driver::Doorbell;
use kyrodb::io::executor::sync::Signal;
use kyrodb::io::executor::{Class, Executor};
use kyrodb::io::op::{OpenMode, SendBuf, Sync};
use kyrodb::io::runtime::{Runtime, Socket};
use kyrodb::io::uring::{RingConfig, RingDriver, TaskWork};
use kyrodb::types::FileOffset;

const LOOPBACK: &str = "127.0.0.1:0";

fn executor(config: &RingConfig) -> Executor {
    let driver = RingDriver::new(config).expect("a ring");
    println!("{}", driver.features());
    Executor::new(Box::new(driver))
}

/// Every feature, none, and queues and buffers so few that they overflow all the time.
fn configs() -> [RingConfig; 4] {
    let best = RingConfig::default();
    let oldest = RingConfig {
        multishot_accept: false,
        multishot_receive: false,
        task_work: TaskWork::Interrupting,
        ..best
    };
    let tiny = RingConfig { entries: 4, receive_buffers: 8, ..best };
    let tiniest = RingConfig { entries: 2, receive_buffers: 4, task_work: TaskWork::Cooperative, ..best };
    [best, oldest, tiny, tiniest]
}

fn loopback() -> SocketAddr {
    LOOPBACK.parse().expect("an address")
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

#[test]
fn files() {
    for config in configs() {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let mut executor = executor(&config);
        let runtime = executor.runtime();
        executor.block_on(async move {
            if direct_io_works(&runtime, dir.path()).await {
                conformance::files::check_all(&runtime, dir.path()).await;
            }
        });
    }
}

#[test]
fn sockets() {
    for config in configs() {
        let mut executor = executor(&config);
        let runtime = executor.runtime();
        executor.block_on(async move { conformance::sockets::check_all(&runtime, loopback()).await });
    }
}

#[test]
fn sockets_over_ipv6() {
    let addr: SocketAddr = "[::1]:0".parse().expect("an address");
    if std::net::TcpListener::bind(addr).is_err() {
        return println!("skipped: no IPv6 here");
    }
    let mut executor = executor(&RingConfig::default());
    let runtime = executor.runtime();
    executor.block_on(async move { conformance::sockets::check_all(&runtime, addr).await });
}

#[test]
fn a_slow_reader_starves_nobody() {
    let best = RingConfig::default();
    let listed = RingConfig { multishot_receive: false, ..best };
    let cooperative = RingConfig { task_work: TaskWork::Cooperative, ..best };
    for config in [best, listed, cooperative] {
        let mut executor = executor(&config);
        let runtime = executor.runtime();
        executor.block_on(async move {
            conformance::sockets::a_slow_reader_starves_nobody(&runtime, loopback()).await;
        });
    }
}

#[test]
fn timers() {
    let mut executor = executor(&RingConfig::default());
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

#[test]
fn ten_thousand_rings_and_no_wake_up_lost() {
    for config in configs() {
        let (bell_sender, bell) = mpsc::sync_channel::<Arc<dyn Doorbell>>(1);
        let (sender, inbox) = mpsc::channel();
        let answer = Arc::new(AtomicU64::new(0));
        let answered = answer.clone();
        let core = std::thread::spawn(move || {
            let executor = executor(&config);
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
}

#[test]
fn a_sleeping_core_costs_nothing() {
    let mut executor = executor(&RingConfig::default());
    let runtime = executor.runtime();
    let cpu_ns = executor.block_on(async move {
        let _idle = runtime.listen(loopback()).await.expect("a listener");
        let before = runtime.thread_cpu_ns();
        runtime.sleep(Duration::from_millis(500)).await;
        runtime.thread_cpu_ns() - before
    });
    assert!(cpu_ns < 20_000_000, "{cpu_ns} ns of processor time to sleep for half a second");
}

#[test]
fn a_driver_dropped_with_everything_under_way_returns_soon() {
    for config in configs() {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let mut executor = executor(&config);
        let runtime = executor.runtime();
        let path = dir.path().to_owned();
        executor.block_on(async move { leave_everything_under_way(&runtime, &path).await });
        let began = Instant::now();
        drop(executor);
        assert!(began.elapsed() < Duration::from_secs(1), "the kernel kept something");
    }
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

/// A measurement, not a check: `cargo test --release --test seam_uring -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn processor_time_of_an_echo() {
    let best = RingConfig::default();
    let cooperative = RingConfig { task_work: TaskWork::Cooperative, ..best };
    let listed = RingConfig { multishot_receive: false, ..best };
    for config in [best, listed, cooperative, best, listed, cooperative] {
        let (sender, addr) = mpsc::channel();
        let server = std::thread::spawn(move || serve_echoes(&config, &sender));
        let addr = addr.recv().expect("a server");
        let echoes = ask_for_echoes(addr);
        let cpu_ns = server.join().expect("a server that ends well");
        println!("  {echoes} echoes, {} ns of server time each", cpu_ns / echoes);
    }
}

const ECHO_CONNECTIONS: u64 = 64;

/// Processor time of the server until every connection has ended.
fn serve_echoes(config: &RingConfig, report: &mpsc::Sender<SocketAddr>) -> u64 {
    let mut executor = executor(config);
    let runtime = executor.runtime();
    executor.block_on(async move {
        let mut listener = runtime.listen(loopback()).await.expect("a listener");
        report.send(listener.addr()).expect("a client");
        let open = Rc::new(Cell::new(ECHO_CONNECTIONS));
        let ended = Signal::default();
        for _ in 0..ECHO_CONNECTIONS {
            let socket = listener.accept().await.expect("a connection").expect("an open listener");
            let (open, ended) = (open.clone(), ended.clone());
            runtime.spawn(Class::Foreground, async move {
                while let Ok(Some(lease)) = socket.receive().await {
                    let bytes = lease.to_vec();
                    drop(lease);
                    socket.send(SendBuf::Owned(bytes)).await.expect("a send");
                }
                open.set(open.get() - 1);
                ended.notify();
            });
        }
        while open.get() > 0 {
            ended.wait().await;
        }
        runtime.thread_cpu_ns()
    })
}

/// Echoes that all connections got in two seconds, one at a time each.
fn ask_for_echoes(addr: SocketAddr) -> u64 {
    let mut executor = executor(&RingConfig::default());
    let runtime = executor.runtime();
    let echoes = Rc::new(Cell::new(0));
    let counted = echoes.clone();
    executor.block_on(async move {
        let until = runtime.now().after(Duration::from_secs(2));
        let mut clients: Vec<Socket> = Vec::new();
        for _ in 0..ECHO_CONNECTIONS {
            clients.push(runtime.connect(addr).await.expect("a connection"));
        }
        for client in clients {
            let (runtime, counted) = (runtime.clone(), counted.clone());
            runtime.clone().spawn(Class::Foreground, async move {
                while runtime.now() < until {
                    client.send(SendBuf::Owned(vec![7; 100])).await.expect("a send");
                    client.receive().await.expect("a receive").expect("an echo");
                    counted.set(counted.get() + 1);
                }
            });
        }
        runtime.sleep_until(until.after(Duration::from_millis(200))).await;
    });
    echoes.get()
}
