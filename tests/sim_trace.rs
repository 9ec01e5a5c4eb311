//! The same seed gives the same trace, byte for byte, of a whole node under a workload.

mod support;

use kyrodb::io::sim::{Disk, Rng, SimConfig, TraceMode};
use support::cluster::Cluster;
use support::ledger::Book;
use support::workload::{self, Payloads, Shape};

const SEEDS: u64 = 20;

fn trace(seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut shape = Shape::draw(&mut rng);
    shape.cores = 2 + rng.index(2);
    let config = SimConfig { trace: TraceMode::Keep, ..SimConfig::cores(shape.cores) };
    let mut cluster = Cluster::boot(seed, Disk::default(), config, &shape.options);
    cluster.start().expect("a new node starts");
    workload::run(&mut cluster, &Book::default(), &shape, &Payloads::default(), &mut rng);
    cluster.close().expect("the node stops in order");
    cluster.sim.world().trace()
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut bytes = 0;
    let mut last = Vec::new();
    for seed in 0..SEEDS {
        let (one, other) = (trace(seed), trace(seed));
        assert!(one.len() > 10_000, "seed {seed} traces its work");
        let first = one.iter().zip(&other).position(|(one, other)| one != other);
        assert!(one == other, "seed {seed} differs at byte {first:?}");
        assert!(one != last, "seed {seed} does what the seed before it did");
        bytes += one.len();
        last = one;
    }
    println!("{SEEDS} seeds, {bytes} bytes of trace, each twice");
}
