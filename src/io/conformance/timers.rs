//! Time.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use super::task;
use crate::io::runtime::Runtime;

const TICK: Duration = Duration::from_millis(5);

pub async fn check_all(runtime: &Runtime) {
    fires_in_order_and_not_early(runtime).await;
    a_timeout_drops_what_it_waited_for(runtime).await;
    dropped_sleeps_wake_nobody(runtime).await;
}

async fn fires_in_order_and_not_early(runtime: &Runtime) {
    let fired = Rc::new(RefCell::new(Vec::new()));
    let began = runtime.now();
    let sleepers = [4u32, 1, 3, 0, 2, 2].map(|ticks| {
        let (runtime, fired) = (runtime.clone(), fired.clone());
        task(&runtime.clone(), async move {
            runtime.sleep_until(began.after(TICK * ticks)).await;
            fired.borrow_mut().push(ticks);
            assert!(runtime.now() >= began.after(TICK * ticks), "a timer fired early");
        })
    });
    for sleeper in sleepers {
        sleeper.await;
    }
    assert_eq!(*fired.borrow(), [0, 1, 2, 2, 3, 4]);
}

struct DropFlag(Rc<Cell<bool>>);

impl Drop for DropFlag {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

async fn a_timeout_drops_what_it_waited_for(runtime: &Runtime) {
    let dropped = Rc::new(Cell::new(false));
    let flag = DropFlag(dropped.clone());
    let endless = async move {
        let _flag = flag;
        pending::<()>().await
    };
    let began = runtime.now();
    assert_eq!(runtime.timeout(TICK, endless).await, None);
    assert!(dropped.get(), "the future lives on after its timeout");
    assert!(runtime.now() >= began.after(TICK));
    assert_eq!(runtime.timeout(TICK * 1000, async { 7 }).await, Some(7));
    let slow = async { runtime.sleep(TICK).await };
    assert_eq!(runtime.timeout(TICK * 1000, slow).await, Some(()));
    assert!(runtime.now() < began.after(TICK * 1000), "a timeout waits no longer than its future");
}

async fn dropped_sleeps_wake_nobody(runtime: &Runtime) {
    let began = runtime.now();
    for _ in 0..100 {
        let left = runtime.timeout(Duration::ZERO, runtime.sleep(TICK * 1000)).await;
        assert_eq!(left, None);
    }
    runtime.sleep(TICK).await;
    assert!(runtime.now() < began.after(TICK * 1000));
}
