//! The driver of one simulated core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::world::World;
use crate::io::driver::{Doorbell, Driver, Park};
use crate::io::op::{Completion, Op, Token};
use crate::types::{Mono, WallMs};

pub(super) struct SimDriver {
    core: usize,
    world: World,
    bell: Arc<SimBell>,
}

impl SimDriver {
    pub fn new(core: usize, world: World) -> SimDriver {
        SimDriver { core, world, bell: Arc::default() }
    }

    pub fn bell(&self) -> Arc<SimBell> {
        self.bell.clone()
    }
}

impl Driver for SimDriver {
    fn submit(&mut self, token: Token, op: Op) {
        self.world.submit(self.core, token, op);
    }

    fn cancel(&mut self, token: Token) {
        self.world.cancel(self.core, token);
    }

    fn poll(&mut self, park: Park, completions: &mut Vec<Completion>) {
        assert_eq!(park, Park::No, "a simulated core is stepped by its Sim and never waits by itself");
        completions.extend(self.world.take_completions(self.core));
    }

    fn now(&self) -> Mono {
        self.world.now()
    }

    fn wall(&self) -> WallMs {
        self.world.wall()
    }

    fn thread_cpu_ns(&self) -> u64 {
        self.world.now().0
    }

    fn random(&mut self) -> u64 {
        self.world.with_rng(|rng| rng.next_u64())
    }

    fn pick(&mut self, ready: usize) -> usize {
        let choice = self.world.with_rng(|rng| rng.index(ready));
        self.world.note(format_args!("c{} task {choice}/{ready}", self.core));
        choice
    }

    fn doorbell(&self) -> Arc<dyn Doorbell> {
        self.bell.clone()
    }
}

/// As on a real core, a ring counts only while the owner is about to park or parked: whoever rings
/// before that relies on the owner looking at its inboxes once more.
#[derive(Default)]
pub(super) struct SimBell {
    armed: AtomicBool,
    rung: AtomicBool,
}

impl SimBell {
    pub fn is_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }
}

impl Doorbell for SimBell {
    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    fn disarm(&self) {
        self.armed.store(false, Ordering::SeqCst);
        self.rung.store(false, Ordering::SeqCst);
    }

    fn ring(&self) {
        if self.armed.load(Ordering::SeqCst) {
            self.rung.store(true, Ordering::SeqCst);
        }
    }
}
