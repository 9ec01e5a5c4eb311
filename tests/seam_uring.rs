//! The kernel ring behind the seam: the checks of every world, on each way that a ring can be set up,
//! and what only a real core has: other threads.

mod seam;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use kyrodb::io::executor::sync::Signal;
use kyrodb::io::executor::{Class, Executor};
use kyrodb::io::op::SendBuf;
use kyrodb::io::runtime::Socket;
use kyrodb::io::uring::{RingConfig, RingDriver, TaskWork};

use seam::loopback;

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

#[test]
fn files() {
    configs().iter().for_each(|config| seam::files(executor(config)));
}

#[test]
fn sockets() {
    configs().iter().for_each(|config| seam::sockets(executor(config)));
}

#[test]
fn sockets_over_ipv6() {
    seam::sockets_over_ipv6(executor(&RingConfig::default()));
}

#[test]
fn a_slow_reader_starves_nobody() {
    let best = RingConfig::default();
    let listed = RingConfig { multishot_receive: false, ..best };
    let cooperative = RingConfig { task_work: TaskWork::Cooperative, ..best };
    for config in [best, listed, cooperative] {
        seam::a_slow_reader_starves_nobody(executor(&config));
    }
}

#[test]
fn timers() {
    seam::timers(executor(&RingConfig::default()));
}

#[test]
fn ten_thousand_rings_and_no_wake_up_lost() {
    for config in configs() {
        seam::ten_thousand_rings_and_no_wake_up_lost(move || executor(&config));
    }
}

#[test]
fn a_sleeping_core_costs_nothing() {
    seam::a_sleeping_core_costs_nothing(executor(&RingConfig::default()));
}

#[test]
fn a_driver_dropped_with_everything_under_way_returns_soon() {
    for config in configs() {
        seam::a_driver_dropped_with_everything_under_way_returns_soon(executor(&config));
    }
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
