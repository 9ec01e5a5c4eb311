//! The learned index under criterion: build, and lookups of each kind by each structure; the watch over
//! lookups beside the lookups that it watches. `cargo bench --bench rmi`, or with a filter:
//! `cargo bench --bench rmi -- lookup/uniform`.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kyrodb::rmi::choose::Structure;
use kyrodb::rmi::drift::Drift;
use kyrodb::rmi::index::{Index, IndexOptions};
use kyrodb::rmi::keys::KeyArray;
use kyrodb::rmi::merged::separators;
use std::hint::black_box;
use std::time::Duration;

#[path = "../tests/support/keysets.rs"]
mod keysets;

use keysets::{Random, Shape};

const KEYS: usize = 4_000_000;
const SHAPES: [Shape; 4] = [Shape::Uniform, Shape::Lognormal, Shape::Clustered, Shape::Snowflake];
const STRUCTURES: [Structure; 2] = [Structure::Learned, Structure::SPlus];
const BATCH_KEYS: usize = 32;
/// More than any cache of a core's own holds the lines of.
const LOOKUPS: usize = 1 << 18;

fn index(keys: &[u64], structure: Structure) -> Index {
    let options = IndexOptions { structure: Some(structure), ..IndexOptions::default() };
    Index::build(KeyArray::new(keys).expect("sorted and unique"), options, &mut || 0)
}

fn wanted(keys: &[u64]) -> Vec<u64> {
    let random = &mut Random(9);
    (0..LOOKUPS).map(|_| keys[random.below(keys.len() as u64) as usize]).collect()
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    group.sample_size(10).throughput(Throughput::Elements(KEYS as u64));
    for shape in SHAPES {
        let keys = shape.keys(KEYS, 1);
        for structure in STRUCTURES {
            group.bench_function(BenchmarkId::new(structure.name(), shape.name()), |bencher| {
                let array = || KeyArray::new(&keys).expect("sorted and unique");
                let options = IndexOptions { structure: Some(structure), ..IndexOptions::default() };
                bencher.iter_batched(
                    array,
                    |array| Index::build(array, options, &mut || 0),
                    BatchSize::PerIteration,
                );
            });
        }
    }
}

fn lookup(criterion: &mut Criterion) {
    for shape in SHAPES {
        let keys = shape.keys(KEYS, 1);
        let wanted = wanted(&keys);
        let mut group = criterion.benchmark_group(format!("lookup/{}", shape.name()));
        group.sample_size(20).measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Elements(LOOKUPS as u64));
        for structure in STRUCTURES {
            let index = index(&keys, structure);
            group.bench_function(format!("{}/single", structure.name()), |bencher| {
                bencher.iter(|| wanted.iter().fold(0, |sum, key| index.rank(*key) ^ sum));
            });
            group.bench_function(format!("{}/batch", structure.name()), |bencher| {
                let mut ranks = [0; BATCH_KEYS];
                bencher.iter(|| {
                    for batch in wanted.chunks_exact(BATCH_KEYS) {
                        index.rank_batch(batch, &mut ranks);
                        black_box(&ranks);
                    }
                });
            });
        }
    }
}

/// The difference to `lookup/uniform/learned/batch`, and to `get`, is what the watch costs.
fn drift(criterion: &mut Criterion) {
    let keys = Shape::Uniform.keys(KEYS, 1);
    let (index, wanted) = (index(&keys, Structure::Learned), wanted(&keys));
    let mut group = criterion.benchmark_group("lookup/uniform");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(LOOKUPS as u64));
    group.bench_function("learned/batch, watched", |bencher| {
        let (mut ranks, mut drift) = ([0; BATCH_KEYS], Drift::default());
        bencher.iter(|| {
            for batch in wanted.chunks_exact(BATCH_KEYS) {
                index.rank_batch(batch, &mut ranks);
                drift.saw_batch(&index, batch, &ranks);
                black_box(&ranks);
            }
        });
        assert_eq!(drift.misses(), 0);
    });
    group.bench_function("learned/get", |bencher| {
        bencher.iter(|| {
            let found = wanted.iter().filter(|key| black_box(index.get(**key)).is_some()).count();
            assert_eq!(found, wanted.len());
        });
    });
    // As the server asks, see `shard/run/watched.rs`.
    group.bench_function("learned/get, watched", |bencher| {
        let mut drift = Drift::default();
        bencher.iter(|| {
            for key in &wanted {
                let rank = index.rank(*key);
                let is_there = index.keys().as_slice().get(rank) == Some(key);
                drift.saw(&index, *key, rank, is_there);
                black_box(is_there.then_some(rank));
            }
        });
        assert_eq!(drift.misses(), 0);
    });
}

fn quantiles(criterion: &mut Criterion) {
    let runs: Vec<Index> =
        (0..8).map(|seed| index(&Shape::Lognormal.keys(KEYS / 8, seed), Structure::Learned)).collect();
    let runs: Vec<&Index> = runs.iter().collect();
    criterion.bench_function("separators/64 parts of 8 runs", |bencher| {
        bencher.iter(|| separators(&runs, 64).count());
    });
}

criterion_group!(benches, build, lookup, drift, quantiles);
criterion_main!(benches);
