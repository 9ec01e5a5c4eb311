//! The distance kernels under criterion, beside simsimd: one pair of vectors in the first cache, at the
//! dimensions of SIFT, MiniLM and larger models. `cargo bench --bench vector`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kyrodb::vector::element::Element;
use kyrodb::vector::kernel::{Kernels, Level, Sum};
use simsimd::SpatialSimilarity;
use std::hint::black_box;

const DIMENSIONS: [usize; 4] = [128, 384, 768, 1536];

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32).map(|at| (at * 31 + seed).wrapping_mul(2_654_435_761) as f32 / 2e9 - 1.0).collect()
}

fn floats(criterion: &mut Criterion) {
    for dimension in DIMENSIONS {
        let (query, other) = (numbers(dimension, 1), numbers(dimension, 2));
        for element in [Element::F32, Element::F16, Element::Bf16] {
            let mut group = criterion.benchmark_group(format!("{element:?}/{dimension}"));
            group.throughput(Throughput::Elements(dimension as u64));
            let mut original = Vec::new();
            element.encode(&other, &mut original);
            for kernels in Level::available().into_iter().filter_map(Kernels::of) {
                for sum in [Sum::Dot, Sum::L2] {
                    let id = BenchmarkId::new(format!("{sum:?}"), format!("{:?}", kernels.level()));
                    group.bench_function(id, |bencher| {
                        bencher.iter(|| kernels.float(sum, element, black_box(&query), black_box(&original)));
                    });
                }
            }
            peers(&mut group, element, &query, &other);
        }
    }
}

/// simsimd measures pairs of the same element.
fn peers(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    element: Element,
    query: &[f32],
    other: &[f32],
) {
    let halves = |numbers: &[f32]| {
        let mut bytes = Vec::new();
        element.encode(numbers, &mut bytes);
        bytes.as_chunks().0.iter().map(|half| u16::from_le_bytes(*half)).collect::<Vec<u16>>()
    };
    match element {
        Element::F32 => {
            group.bench_function("Dot/simsimd", |bencher| {
                bencher.iter(|| f32::dot(black_box(query), black_box(other)));
            });
            group.bench_function("L2/simsimd", |bencher| {
                bencher.iter(|| f32::sqeuclidean(black_box(query), black_box(other)));
            });
        }
        Element::F16 => {
            let of = |numbers| halves(numbers).into_iter().map(simsimd::f16).collect::<Vec<_>>();
            let (query, other) = (of(query), of(other));
            group.bench_function("Dot/simsimd", |bencher| {
                bencher.iter(|| simsimd::f16::dot(black_box(&query), black_box(&other)));
            });
            group.bench_function("L2/simsimd", |bencher| {
                bencher.iter(|| simsimd::f16::sqeuclidean(black_box(&query), black_box(&other)));
            });
        }
        Element::Bf16 => {
            let of = |numbers| halves(numbers).into_iter().map(simsimd::bf16).collect::<Vec<_>>();
            let (query, other) = (of(query), of(other));
            group.bench_function("Dot/simsimd", |bencher| {
                bencher.iter(|| simsimd::bf16::dot(black_box(&query), black_box(&other)));
            });
            group.bench_function("L2/simsimd", |bencher| {
                bencher.iter(|| simsimd::bf16::sqeuclidean(black_box(&query), black_box(&other)));
            });
        }
    }
}

criterion_group!(benches, floats);
criterion_main!(benches);
