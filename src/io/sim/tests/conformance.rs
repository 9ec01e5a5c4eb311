//! The promises of the seam, kept in this world as on the ring: the same checks as `tests/seam_uring.rs`,
//! with several seeds, so several orders of everything.

use std::path::Path;

use super::{Faults, run, sim_with};
use crate::io::conformance;

const SEEDS: u64 = 3;

#[test]
fn files() {
    for seed in 0..SEEDS {
        run(&mut sim_with(seed, Faults::default()), |runtime| async move {
            let dir = Path::new("conformance");
            runtime.create_dir(dir).await.expect("a new directory");
            conformance::files::check_all(&runtime, dir).await;
        });
    }
}

#[test]
fn sockets() {
    for seed in 0..SEEDS {
        run(&mut sim_with(seed, Faults::default()), |runtime| async move {
            let address = "10.0.0.1:0".parse().expect("an address");
            conformance::sockets::check_all(&runtime, address).await;
        });
    }
}

#[test]
fn timers() {
    for seed in 0..SEEDS {
        run(&mut sim_with(seed, Faults::default()), |runtime| async move {
            conformance::timers::check_all(&runtime).await;
        });
    }
}
