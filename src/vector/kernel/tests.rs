//! Every level beside the scalar twin, over all lengths and alignments.

use super::*;
use crate::vector::element::{bf16_to_f32, f16_to_f32};
use crate::vector::testing::Random;

fn others() -> Vec<Kernels> {
    Level::available().into_iter().skip(1).filter_map(Kernels::of).collect()
}

fn scalar() -> Kernels {
    Kernels::of(Level::Scalar).expect("always there")
}

#[test]
fn integers_agree_to_the_bit() {
    const NODES: u32 = 6;
    let random = &mut Random::new(1);
    for plane in (PLANE_STEP_BYTES..=2048).step_by(PLANE_STEP_BYTES) {
        let stride = 2 * plane + 16;
        for offset in [0, 1, 31] {
            let bytes: Vec<u8> = (0..offset + NODES as usize * stride).map(|_| random.next() as u8).collect();
            let codes = CodesAt { start: bytes[offset..].as_ptr(), stride, plane };
            let extreme = |at: usize| if at.is_multiple_of(2) { 0 } else { u8::MAX };
            let query: Vec<u8> = match offset {
                31 => (0..2 * plane).map(extreme).collect(),
                _ => (0..2 * plane).map(|_| random.next() as u8).collect(),
            };
            let coarse: Vec<u8> = query.iter().map(|q| q >> 1).collect();
            let nodes: Vec<u32> = (0..NODES).rev().collect();
            let upper = |node| &bytes[offset + node * stride..][..plane];
            let ask = |kernels: &Kernels| {
                let terms: Vec<i32> = (0..NODES as usize).map(|node| kernels.own_term(upper(node))).collect();
                let mut out = [(); 3].map(|()| vec![0; NODES as usize]);
                // SAFETY: every node has two planes and a term, and the query has two planes.
                unsafe {
                    kernels.coarse(&coarse, codes, &nodes, &mut out[0]);
                    kernels.coarse_by_terms(&coarse, codes, &terms, &nodes, &mut out[1]);
                    kernels.fine(&query, codes, &nodes, &mut out[2]);
                }
                assert_eq!(out[0], out[1], "{:?}, planes of {plane}", kernels.level());
                out
            };
            let wanted = ask(&scalar());
            for kernels in others() {
                assert_eq!(ask(&kernels), wanted, "{:?}, planes of {plane}", kernels.level());
            }
        }
    }
}

#[test]
fn the_largest_distances_do_not_overflow() {
    let plane = 2048;
    let (zeros, ones) = (vec![0; 2 * plane], vec![u8::MAX; 2 * plane]);
    for kernels in Level::available().into_iter().filter_map(Kernels::of) {
        let codes = CodesAt { start: zeros.as_ptr(), stride: 2 * plane, plane };
        let (mut fine, mut coarse, mut by_terms) = ([0], [0], [0]);
        let terms = [kernels.own_term(&zeros[..plane])];
        // SAFETY: there is one node of two planes, with its term.
        unsafe {
            kernels.fine(&ones, codes, &[0], &mut fine);
            kernels.coarse(&vec![127; 2 * plane], codes, &[0], &mut coarse);
            kernels.coarse_by_terms(&vec![127; 2 * plane], codes, &terms, &[0], &mut by_terms);
        }
        assert_eq!((fine[0], coarse[0]), (4096 * 255 * 255, 4096 * 127 * 127));
        assert_eq!(by_terms, coarse);
    }
}

#[test]
fn sieves_keep_what_is_in_the_range_on_all_levels() {
    const MOST: usize = 70;
    let random = &mut Random::new(4);
    let number = |random: &mut Random| match random.below(8) {
        0 => u32::MAX - random.below(2) as u32,
        1 => (1 << 31) - 1 + random.below(3) as u32,
        _ => random.below(10) as u32,
    };
    for count in (0..MOST).flat_map(|count| [count; 20]) {
        let nodes: Vec<u32> = (0..count).map(|_| random.next() as u32).collect();
        let distances: Vec<u32> = (0..count).map(|_| number(random)).collect();
        let within = number(random)..number(random);
        let pairs = nodes.iter().zip(&distances);
        let wanted: Vec<u32> = pairs.filter(|(_, d)| within.contains(d)).map(|(node, _)| *node).collect();
        let below = distances.iter().filter(|distance| **distance < within.end).count();
        for kernels in Level::available().into_iter().filter_map(Kernels::of) {
            let mut out = [7; MOST + SLACK];
            let kept = kernels.keep(&nodes, &distances, &within, &mut out);
            assert_eq!(out[..kept], wanted, "{:?}, {within:?} of {distances:?}", kernels.level());
            assert!(out[count + SLACK..].iter().all(|place| *place == 7), "beyond the room");
            assert_eq!(kernels.count(&distances, within.end), below, "{:?}", kernels.level());
        }
    }
}

/// What is in the bytes, by another way than the kernels'.
fn numbers(element: Element, bytes: &[u8]) -> Vec<f64> {
    let half = |pair: &[u8]| u16::from_le_bytes([pair[0], pair[1]]);
    match element {
        Element::F32 => {
            bytes.chunks(4).map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap()))).collect()
        }
        Element::F16 => bytes.chunks(2).map(|pair| f64::from(f16_to_f32(half(pair)))).collect(),
        Element::Bf16 => bytes.chunks(2).map(|pair| f64::from(bf16_to_f32(half(pair)))).collect(),
    }
}

/// Exact sums and sums of absolute values of the terms `q * x`, `(q - x)^2`, `x * x`, up to each length.
fn exact_sums(query: &[f32], original: &[f64]) -> Vec<[[f64; 2]; 3]> {
    let mut sums = [[0.0; 2]; 3];
    let mut out = vec![sums];
    for (q, x) in query.iter().zip(original) {
        let q = f64::from(*q);
        for (sum, term) in sums.iter_mut().zip([q * x, (q - x) * (q - x), x * x]) {
            *sum = [sum[0] + term, sum[1] + term.abs()];
        }
        out.push(sums);
    }
    out
}

#[test]
fn floats_are_within_their_bound_at_every_length() {
    let random = &mut Random::new(2);
    let query: Vec<f32> = (0..4096).map(|_| random.normal()).collect();
    let all: Vec<f32> = (0..4096).map(|_| random.normal() * 3.0).collect();
    for element in [Element::F32, Element::F16, Element::Bf16] {
        let mut bytes = vec![0];
        element.encode(&all, &mut bytes);
        let exact = exact_sums(&query, &numbers(element, &bytes[1..]));
        for kernels in Level::available().into_iter().filter_map(Kernels::of) {
            for (len, [dot, l2, norm]) in exact.iter().enumerate() {
                let original = &bytes[1..1 + len * element.bytes()];
                let sum = |sum| kernels.float(sum, element, &query[..len], original);
                let near = |found: f32, [exact, absolute]: [f64; 2]| {
                    let apart = (f64::from(found) - exact).abs();
                    assert!(apart <= error_bound(len, absolute), "{:?} {element:?} {len}", kernels.level());
                };
                near(sum(Sum::Dot)[0], *dot);
                near(sum(Sum::L2)[0], *l2);
                near(sum(Sum::DotNorm)[0], *dot);
                near(sum(Sum::DotNorm)[1], *norm);
            }
        }
    }
}

#[test]
fn subnormal_halves_count() {
    let halves = [1_u16, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0, 0x8000, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
    for kernels in Level::available().into_iter().filter_map(Kernels::of) {
        for at in 0..halves.len() {
            let mut query = [0.0; 18];
            query[at] = 1.0;
            let [dot, _] = kernels.float(Sum::Dot, Element::F16, &query, &bytes);
            assert_eq!(dot, f16_to_f32(halves[at]), "{:?} {at}", kernels.level());
        }
    }
}
