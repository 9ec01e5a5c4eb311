//! Seeds, time, and cores that wake one another.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::io::executor::Class;
use crate::io::executor::sync::Signal;
use crate::io::op::{SendBuf, Sync};
use crate::io::sim::{StuckReason, TraceMode};

/// A queue into a core, as the mailboxes have it: the turn hook moves what was posted to the tasks.
#[derive(Clone, Default)]
struct Inbox {
    posted: Rc<RefCell<VecDeque<u64>>>,
    taken: Rc<RefCell<VecDeque<u64>>>,
    arrived: Signal,
}

impl Inbox {
    fn attach(&self, sim: &mut Sim, core: usize) {
        let inbox = self.clone();
        sim.executor(core).set_turn_hook(move || {
            let mut posted = inbox.posted.borrow_mut();
            let any = !posted.is_empty();
            inbox.taken.borrow_mut().extend(posted.drain(..));
            if any {
                inbox.arrived.notify();
            }
            any
        });
    }

    async fn next(&self) -> u64 {
        loop {
            let arrived = self.arrived.wait();
            let next = self.taken.borrow_mut().pop_front();
            match next {
                Some(value) => return value,
                None => arrived.await,
            }
        }
    }
}

/// Two cores that write files, talk over a socket, and at the end through an inbox.
fn busy_machine(seed: u64, trace: TraceMode) -> Sim {
    let faults = Faults {
        read_error_permille: 50,
        write_short_permille: 50,
        slow_disk_permille: 20,
        slow_disk: Duration::from_millis(20),
        ..Faults::default()
    };
    let mut sim = Sim::new(seed, SimConfig { trace, faults, ..SimConfig::cores(2) });
    let (done, inbox) = (Rc::new(Cell::new(0)), Inbox::default());
    inbox.attach(&mut sim, 1);
    for core in 0..2 {
        let (rt, done) = (sim.runtime(core), done.clone());
        sim.runtime(core).spawn(Class::Background, async move {
            write_and_read(rt, core).await;
            done.set(done.get() + 1);
        });
    }
    sim.runtime(1).spawn(Class::Foreground, serve(sim.runtime(1), inbox.clone(), done.clone()));
    sim.runtime(0).spawn(Class::Foreground, ask(sim.runtime(0), inbox, sim.runtime(1)));
    sim.run_until(|| done.get() == 3).unwrap_or_else(|stuck| panic!("{stuck}"));
    sim
}

async fn write_and_read(rt: Runtime, core: usize) {
    let file = create(&rt, &format!("/file-{core}")).await;
    for page in 0..8 {
        file.write(at(page), block(rt.random() as u8), Sync::Data).await.ok();
        read_pages(&file, 0, 8).await.ok();
        rt.yield_now().await;
    }
}

async fn serve(rt: Runtime, inbox: Inbox, done: Rc<Cell<u32>>) {
    let mut listener = rt.listen(([127, 0, 0, 1], 80).into()).await.unwrap();
    let socket = listener.accept().await.unwrap().unwrap();
    while let Some(lease) = socket.receive().await.unwrap() {
        socket.send(SendBuf::Owned(lease.to_vec())).await.unwrap();
    }
    while inbox.next().await != 5 {}
    done.set(done.get() + 1);
}

async fn ask(rt: Runtime, inbox: Inbox, server: Runtime) {
    let socket = loop {
        match rt.connect(([127, 0, 0, 1], 80).into()).await {
            Ok(socket) => break socket,
            Err(_) => rt.sleep(Duration::from_micros(50)).await,
        }
    };
    for round in 0..5u8 {
        socket.send(SendBuf::Owned(vec![round; 3000])).await.unwrap();
        let mut left = 3000;
        while left > 0 {
            left -= socket.receive().await.unwrap().unwrap().len();
        }
    }
    drop(socket);
    for value in 0..=5 {
        inbox.posted.borrow_mut().push_back(value);
        server.doorbell().ring();
        rt.sleep(Duration::from_micros(rt.random() % 50)).await;
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut hashes = BTreeSet::new();
    for seed in 0..20 {
        let (one, two) = (busy_machine(seed, TraceMode::Keep), busy_machine(seed, TraceMode::Keep));
        let trace = one.world().trace();
        assert!(trace.len() > 10_000);
        assert!(trace == two.world().trace(), "seed {seed} gives two traces");
        let hashed = busy_machine(seed, TraceMode::Hash);
        assert_eq!(one.world().trace_hash(), hashed.world().trace_hash());
        assert_eq!(busy_machine(seed, TraceMode::Off).world().now(), one.world().now());
        hashes.insert(one.world().trace_hash());
    }
    assert_eq!(hashes.len(), 20, "each seed has its own trace");
}

/// A task of core 1 waits for what core 0 posts while core 1 sleeps.
fn post_to_a_sleeping_core(seed: u64, ring: bool) -> Result<(), StuckReason> {
    let mut sim = Sim::new(seed, SimConfig { trace: TraceMode::Hash, ..SimConfig::cores(2) });
    let inbox = Inbox::default();
    inbox.attach(&mut sim, 1);
    let (rt, post, bell) = (sim.runtime(0), inbox.clone(), sim.runtime(1).doorbell());
    sim.runtime(0).spawn(Class::Foreground, async move {
        rt.sleep(Duration::from_millis(1)).await;
        post.posted.borrow_mut().push_back(7);
        if ring {
            bell.ring();
        }
    });
    let result = sim.run_on(1, async move { inbox.next().await });
    result.map(|value| assert_eq!(value, 7)).map_err(|stuck| {
        assert!(stuck.trace_tail.contains("park"), "the report shows what came before");
        stuck.reason
    })
}

#[test]
fn a_lost_wake_up_is_stuck() {
    for seed in 0..20 {
        assert_eq!(post_to_a_sleeping_core(seed, true), Ok(()));
        assert_eq!(post_to_a_sleeping_core(seed, false), Err(StuckReason::NothingToDo));
    }
}

#[test]
fn a_core_that_was_about_to_park_sees_what_was_posted_before() {
    for seed in 0..200 {
        let mut sim = Sim::new(seed, SimConfig::cores(2));
        let inbox = Inbox::default();
        inbox.attach(&mut sim, 1);
        let (post, bell, rt) = (inbox.clone(), sim.runtime(1).doorbell(), sim.runtime(0));
        sim.runtime(0).spawn(Class::Foreground, async move {
            for value in 0..20 {
                post.posted.borrow_mut().push_back(value);
                bell.ring();
                rt.yield_now().await;
            }
        });
        let sum = sim.run_on(1, async move {
            let mut sum = 0;
            for _ in 0..20 {
                sum += inbox.next().await;
            }
            sum
        });
        assert_eq!(sum.unwrap(), 190);
    }
}

#[test]
fn time_jumps_to_the_next_timer_and_fires_in_order() {
    let mut sim = Sim::new(1, SimConfig::default());
    let fired: Rc<RefCell<Vec<u64>>> = Rc::default();
    for seconds in [3600, 1, 60] {
        let (rt, fired) = (sim.runtime(0), fired.clone());
        sim.runtime(0).spawn(Class::Foreground, async move {
            rt.sleep(Duration::from_secs(seconds)).await;
            fired.borrow_mut().push(seconds);
        });
    }
    let wall = sim.world().wall();
    sim.run_until(|| fired.borrow().len() == 3).unwrap();
    assert_eq!(fired.take(), [1, 60, 3600]);
    assert!((3_600_000..3_600_100).contains(&(sim.world().wall().0 - wall.0)));
}

#[test]
fn tasks_run_in_an_order_that_the_seed_chooses() {
    let order = |seed| {
        let mut sim = Sim::new(seed, SimConfig::default());
        let order: Rc<RefCell<Vec<u8>>> = Rc::default();
        for name in 0..3 {
            let order = order.clone();
            sim.runtime(0).spawn(Class::Foreground, async move { order.borrow_mut().push(name) });
        }
        sim.run_until(|| order.borrow().len() == 3).unwrap();
        order.take()
    };
    let orders: BTreeSet<Vec<u8>> = (0..100).map(order).collect();
    assert_eq!(orders.len(), 6);
}

#[test]
fn a_run_that_never_ends_is_stopped() {
    let spin = |config| {
        let mut sim = Sim::new(1, config);
        let rt = sim.runtime(0);
        let spinning = async move {
            loop {
                rt.yield_now().await;
            }
        };
        sim.run(spinning).map(|()| unreachable!("a loop")).unwrap_err().reason
    };
    assert_eq!(spin(SimConfig { steps_max: 1000, ..SimConfig::default() }), StuckReason::TooManySteps);
    let run_max = Duration::from_millis(1);
    assert_eq!(spin(SimConfig { run_max, ..SimConfig::default() }), StuckReason::TooMuchTime);
}
