//! The distance kernels under criterion, beside simsimd: one pair of vectors in the first cache, at the
//! dimensions of SIFT, MiniLM and larger models; every answer is checked. `cargo bench --bench vector`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kyrodb::vector::element::Element;
use kyrodb::vector::kernel::{Kernels, Level, Sum};
use simsimd::SpatialSimilarity;
use std::hint::black_box;

const DIMENSIONS: [usize; 4] = [128, 384, 768, 1536];

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32).map(|at| (at * 31 + seed).wrapping_mul(2_654_435_761) as f32 / 2e9 - 1.0).collect()
}

/// Whatever is timed has to be near what f64 gives for the same numbers.
fn check(sum: Sum, query: &[f32], other: &[f32], found: f64) {
    let term = |(q, x): (&f32, &f32)| match sum {
        Sum::L2 => (f64::from(*q) - f64::from(*x)).powi(2),
        Sum::Dot | Sum::DotNorm => f64::from(*q) * f64::from(*x),
    };
    let terms: Vec<f64> = query.iter().zip(other).map(term).collect();
    let (exact, size) = (terms.iter().sum::<f64>(), terms.iter().map(|term| term.abs()).sum::<f64>());
    assert!((found - exact).abs() <= 0.01 * size, "{sum:?}: {found} for {exact}");
}

/// `numbers` as the element has them.
fn rounded(element: Element, numbers: &[f32]) -> Vec<f32> {
    let mut bytes = Vec::new();
    element.encode(numbers, &mut bytes);
    element.numbers(&bytes).collect()
}

fn floats(criterion: &mut Criterion) {
    for dimension in DIMENSIONS {
        let (query, other) = (numbers(dimension, 1), numbers(dimension, 2));
        for element in [Element::F32, Element::F16, Element::Bf16] {
            let mut group = criterion.benchmark_group(format!("{element:?}/{dimension}"));
            group.throughput(Throughput::Elements(dimension as u64));
            let mut original = Vec::new();
            element.encode(&other, &mut original);
            let stored = rounded(element, &other);
            for kernels in Level::available().into_iter().filter_map(Kernels::of) {
                for sum in [Sum::Dot, Sum::L2] {
                    let id = BenchmarkId::new(format!("{sum:?}"), format!("{:?}", kernels.level()));
                    check(sum, &query, &stored, kernels.float(sum, element, &query, &original)[0].into());
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
    let (rounded_query, rounded_other) = (rounded(element, query), rounded(element, other));
    let check = |sum, found: Option<f64>| {
        check(sum, &rounded_query, &rounded_other, found.expect("vectors of one length"));
    };
    match element {
        Element::F32 => {
            check(Sum::Dot, f32::dot(query, other));
            check(Sum::L2, f32::sqeuclidean(query, other));
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
            check(Sum::Dot, simsimd::f16::dot(&query, &other));
            check(Sum::L2, simsimd::f16::sqeuclidean(&query, &other));
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
            check(Sum::Dot, simsimd::bf16::dot(&query, &other));
            check(Sum::L2, simsimd::bf16::sqeuclidean(&query, &other));
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
