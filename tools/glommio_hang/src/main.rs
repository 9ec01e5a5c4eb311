//! Does an executor of glommio park for ever although it has tasks to run?
//!
//! Two executors run four tasks each that work for 5 us and yield, over and over, so neither ever has a reason to sleep.
//! A watchdog looks at what they have done. `cargo run --release -- [TIMER_US] [SECONDS]`, by default 200 and 60: prints
//! `hang after X s` and exits 1, or `no hang in N s` and exits 0.
//!
//! What happens, as the source of 0.9.0 has it: between its look at the rings and the first task, an executor asks
//! whether its preemption timer has fired. If it has by then, no task runs, "nothing ran" is taken for "nothing to
//! run", and the executor sleeps until something else wakes it. A short timer, or a thread that loses its processor at
//! that point, makes it likely.

use std::future::poll_fn;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};

const EXECUTORS: usize = 2;
const TASKS: usize = 4;
const WORK: Duration = Duration::from_micros(5);
const LOOK: Duration = Duration::from_millis(100);
/// So many looks in a row without a single round: 2 s for tasks that take microseconds.
const IDLE_LOOKS_MAX: u32 = 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a whole number"));
    let timer = Duration::from_micros(arguments.next().unwrap_or(200));
    let limit = Duration::from_secs(arguments.next().unwrap_or(60));
    let rounds: [Arc<AtomicU64>; EXECUTORS] = Default::default();
    rounds.iter().for_each(|rounds| start(timer, rounds.clone()));
    match watch(&rounds, limit) {
        Some(hang) => {
            println!("hang after {:.1} s, with a preemption timer of {timer:?}", hang.as_secs_f32());
            ExitCode::from(1)
        }
        None => {
            println!("no hang in {} s, with a preemption timer of {timer:?}", limit.as_secs());
            ExitCode::SUCCESS
        }
    }
}

fn start(timer: Duration, rounds: Arc<AtomicU64>) {
    let builder = LocalExecutorBuilder::new(Placement::Unbound).preempt_timer(timer);
    let run = move || async move {
        let tasks: Vec<_> = (0..TASKS).map(|_| glommio::spawn_local(toil(rounds.clone()))).collect();
        for task in tasks {
            task.await;
        }
    };
    builder.spawn(run).expect("an executor");
}

async fn toil(rounds: Arc<AtomicU64>) {
    loop {
        let began = Instant::now();
        while began.elapsed() < WORK {
            std::hint::spin_loop();
        }
        rounds.fetch_add(1, Ordering::Relaxed);
        yield_now().await;
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// When the first executor stopped, or `None` when all have worked until the end.
fn watch(rounds: &[Arc<AtomicU64>], limit: Duration) -> Option<Duration> {
    let began = Instant::now();
    let mut seen = vec![(0, 0); rounds.len()];
    while began.elapsed() < limit {
        thread::sleep(LOOK);
        for (rounds, (last, idle_looks)) in rounds.iter().zip(&mut seen) {
            let now = rounds.load(Ordering::Relaxed);
            *idle_looks = if now == *last { *idle_looks + 1 } else { 0 };
            *last = now;
            if *idle_looks == IDLE_LOOKS_MAX {
                return Some(began.elapsed().saturating_sub(LOOK * IDLE_LOOKS_MAX));
            }
        }
    }
    None
}
