//! Arbitrary bytes as an encoded graph: refused, or a graph that can be searched.
//!
//! Hashes keep mutated bytes out of what is behind them, so they are mended first. The first bytes of the
//! input choose what is built; what is left changes the encoded graph.

#![no_main]

use kyrodb::rmi::memory::Memory;
use kyrodb::vector::allowed::Ordinals;
use kyrodb::vector::codec::{decode, encode};
use kyrodb::vector::codes::Grid;
use kyrodb::vector::element::{Element, Rows};
use kyrodb::vector::graph::build::{BuildOptions, Builder};
use kyrodb::vector::kernel::Kernels;
use kyrodb::vector::metric::Metric;
use kyrodb::vector::search::{Search, SearchOptions, View};
use libfuzzer_sys::fuzz_target;

#[path = "../support/hashes.rs"]
mod hashes;

use hashes::mend;

fuzz_target!(|input: &[u8]| {
    let [count, shape, changes @ ..] = input else { return };
    let (count, dimension) = (usize::from(*count % 40), 2 + usize::from(*shape % 40));
    let metric = [Metric::L2, Metric::Cosine, Metric::Dot][usize::from(*shape) % 3];
    let numbers: Vec<f32> = (0..count * dimension).map(|at| 1.0 + (at * 7919 % 251) as f32 / 16.0).collect();
    let rows = || numbers.chunks_exact(dimension);
    let mut builder =
        Builder::new(Grid::train(metric, dimension, 200.0, rows()), count, BuildOptions::default());
    rows().for_each(|row| builder.push(row));
    while !builder.step(64) {}
    let mut bytes = encode(&builder.finish());
    let whole = decode(&bytes, Kernels::best(), Memory::plain()).map(|graph| graph.len());
    assert_eq!(whole.expect("a graph that was just encoded"), count);
    for change in changes.chunks_exact(4) {
        let at = u32::from_le_bytes([change[0], change[1], change[2], 0]) as usize % bytes.len();
        bytes[at] = change[3];
    }
    mend(&mut bytes);
    let Ok(graph) = decode(&bytes, Kernels::best(), Memory::plain()) else { return };
    if graph.len() != count || graph.grid().dimension() != dimension {
        return;
    }
    let mut originals = Vec::new();
    Element::F32.encode(&numbers, &mut originals);
    let originals = Rows { element: Element::F32, dimension, bytes: &originals };
    let nothing = Ordinals::default();
    let view = View { graph: &graph, originals: &originals, allowed: None, deleted: &nothing };
    for width in [1, 30] {
        let options = SearchOptions { limit: 10, width, is_exact: false };
        let (hits, _, _) = Search::run(view, &vec![2.0; dimension], options, Box::default());
        // Changed links may lead past nodes; what is found is there.
        assert!(hits.len() <= count.min(10) && hits.iter().all(|hit| (hit.ordinal as usize) < count));
    }
});
