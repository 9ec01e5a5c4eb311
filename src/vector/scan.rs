//! A scan of codes: of all that may be hits, those that are nearest by all 8 bits and may be among the nearest by their
//! originals.
//!
//! It goes over them in stretches. Of a stretch all upper planes are measured first. Of the first stretch, a few that
//! are nearest by these are measured in full: what they leave as a limit is nearly that of the whole, so hardly
//! anything else has to be. (Taking them as they come measured the first 64 in full, and twice as many at all.) What
//! is within the limit is picked out without a branch for each node.

use std::ops::Range;

use super::allowed::Ordinals;
use super::codes::{CodeQuery, DISTANCE_MAX, Grid};
use super::graph::Graph;
use super::graph::beam::{NODES_MAX, distance_of, entry};
use super::graph::walk::Effort;
use super::kernel::sieve::SLACK;
use super::kernel::{Kernels, Plain};
use super::search::View;
use super::top::Top;

/// As a walk's doubt ([`super::codes::Grid::coarse_limit`]), which asks for less: what is passed over there may be met
/// again by way of others.
const DOUBT: f32 = 4.0;
/// Nodes measured by their upper planes before any is picked out.
const STRETCH_NODES: usize = 1024;
/// Nodes of a step.
const STEP_NODES: usize = 256;
/// Nodes picked out by one limit.
const PICKED_NODES: usize = 256;

/// What a scan needs from step to step; kept from scan to scan.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    nodes: Vec<u32>,
    coarse: Vec<u32>,
    near: Vec<u32>,
    fine: Vec<u32>,
}

/// Where a scan is.
#[derive(Debug)]
pub(super) struct Scan {
    from: u32,
    hits: usize,
    top: Top,
}

impl Scan {
    /// For what may be among the nearest `hits` ([`Grid::fine_limit`]), up to the nearest `most`.
    pub fn new(hits: usize, most: usize, stretch: &mut Stretch) -> Scan {
        stretch.clear();
        Scan { from: 0, hits, top: Top::new(most) }
    }

    /// Looks at some more; true behind the last.
    pub fn step(
        &mut self,
        view: View<'_>,
        query: &CodeQuery,
        stretch: &mut Stretch,
        effort: &mut Effort,
    ) -> bool {
        let before = stretch.nodes.len();
        let next = view.stretch(self.from, before + STEP_NODES, &mut stretch.nodes);
        stretch.leave_out(&view.graph.strays, before);
        stretch.measure_upper(view.graph, query, before);
        effort.coarse += (stretch.nodes.len() - before).max(1) as u64;
        self.from = next.unwrap_or(self.from);
        if next.is_none() || stretch.nodes.len() >= STRETCH_NODES {
            self.pick(view.graph, query, stretch, effort);
            stretch.clear();
        }
        next.is_none()
    }

    fn pick(&mut self, graph: &Graph, query: &CodeQuery, stretch: &mut Stretch, effort: &mut Effort) {
        let (count, mut done) = (stretch.nodes.len(), 0);
        if self.top.limit() == u64::MAX {
            done = cut(&graph.kernels, &stretch.coarse, self.hits);
            self.take(graph.grid(), stretch.measure(graph, query, 0..count, 0..done), effort);
        }
        for begin in (0..count).step_by(PICKED_NODES) {
            let limit = graph.grid().coarse_limit(distance_of(self.top.limit()), DOUBT);
            let places = begin..count.min(begin + PICKED_NODES);
            let near = stretch.measure(graph, query, places, done..limit.saturating_add(1));
            self.take(graph.grid(), near, effort);
        }
    }

    fn take(&mut self, grid: &Grid, (nodes, distances): (&[u32], &[u32]), effort: &mut Effort) {
        if nodes.is_empty() {
            return;
        }
        effort.fine += nodes.len() as u64;
        let entries = nodes.iter().zip(distances).map(|(node, distance)| entry(*distance, *node));
        entries.for_each(|entry| self.top.offer(entry));
        if let Some(last) = self.top.nth(self.hits) {
            self.top.lower_limit(entry(grid.fine_limit(distance_of(last)), NODES_MAX as u32 - 1));
        }
    }

    /// The nearest, in order.
    pub fn finish(self) -> Vec<u64> {
        self.top.finish()
    }
}

impl Stretch {
    fn clear(&mut self) {
        self.nodes.clear();
        self.coarse.clear();
    }

    /// Of the nodes from place `from` on, what is not where its code is.
    fn leave_out(&mut self, strays: &Ordinals, from: usize) {
        if strays.count() == 0 {
            return;
        }
        let mut kept = from;
        for at in from..self.nodes.len() {
            let node = self.nodes[at];
            self.nodes[kept] = node;
            kept += usize::from(!strays.contains(node));
        }
        self.nodes.truncate(kept);
    }

    /// Of the nodes from place `from` on.
    fn measure_upper(&mut self, graph: &Graph, query: &CodeQuery, from: usize) {
        let Stretch { nodes, coarse, .. } = self;
        coarse.resize(nodes.len(), 0);
        graph.coarse_by_terms(query, &nodes[from..], &mut coarse[from..]);
    }

    /// Measures those of the nodes at `places` in full whose coarse distance is in the range.
    fn measure(
        &mut self,
        graph: &Graph,
        query: &CodeQuery,
        places: Range<usize>,
        within: Range<u32>,
    ) -> (&[u32], &[u32]) {
        let Stretch { nodes, coarse, near, fine } = self;
        let nodes = &nodes[places.clone()];
        if near.len() < nodes.len() + SLACK {
            near.resize(nodes.len() + SLACK, 0);
        }
        let kept = graph.kernels.keep(nodes, &coarse[places], &within, near);
        let near = &near[..kept];
        near.iter().for_each(|node| graph.prefetch_lower(*node));
        graph.fine(query, near, fine);
        (near, fine)
    }
}

/// A limit below which there are `wanted` of the distances or some more: up to twice as many, but for what is
/// equally far.
fn cut(kernels: &Kernels, distances: &[u32], wanted: usize) -> u32 {
    if distances.len() <= 2 * wanted {
        return DISTANCE_MAX;
    }
    // Below `low` there are too few, below `high` enough.
    let (mut low, mut high) = kernels.compiled(Ends { distances });
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let count = kernels.count(distances, middle);
        if count < wanted {
            low = middle;
        } else {
            high = middle;
            if count <= 2 * wanted {
                break;
            }
        }
    }
    high
}

/// The least of distances, and what is above all of them.
struct Ends<'a> {
    distances: &'a [u32],
}

impl Plain for Ends<'_> {
    type Result = (u32, u32);

    #[inline(always)]
    fn run(self) -> (u32, u32) {
        let ends = |(least, most): (u32, u32), distance: &u32| (least.min(*distance), most.max(*distance));
        let (least, most) = self.distances.iter().fold((DISTANCE_MAX, 0), ends);
        (least, most + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::element::{Element, Rows};
    use crate::vector::kernel::Level;
    use crate::vector::metric::Metric;
    use crate::vector::testing::Random;
    use crate::vector::tests::{bytes_of, clustered, graph_of};

    const DIMENSION: usize = 40;

    /// What a scan is for, each measured.
    fn measured(view: View<'_>, query: &CodeQuery, hits: usize, most: usize) -> Vec<u64> {
        let nodes: Vec<u32> =
            view.allowed.expect("a set").iter().filter(|at| !view.deleted.contains(*at)).collect();
        let mut distances = Vec::new();
        view.graph.fine(query, &nodes, &mut distances);
        let mut all: Vec<u64> = nodes.iter().zip(&distances).map(|(node, far)| entry(*far, *node)).collect();
        all.sort_unstable();
        if let Some(last) = all.get(hits - 1) {
            let limit = view.graph.grid().fine_limit(distance_of(*last));
            all.retain(|entry| distance_of(*entry) <= limit);
        }
        all.truncate(most);
        all
    }

    fn scanned(
        view: View<'_>,
        query: &CodeQuery,
        (hits, most): (usize, usize),
        stretch: &mut Stretch,
    ) -> (Vec<u64>, Effort) {
        let (mut scan, mut effort) = (Scan::new(hits, most, stretch), Effort::default());
        while !scan.step(view, query, stretch, &mut effort) {}
        (scan.finish(), effort)
    }

    #[test]
    fn finds_what_measuring_everything_finds_and_measures_little() {
        let vectors = clustered(5000, DIMENSION, 1);
        let queries = clustered(20, DIMENSION, 2);
        let bytes = bytes_of(&vectors);
        let rows = Rows { element: Element::F32, dimension: DIMENSION, bytes: &bytes };
        let deleted: Ordinals = (0..5000).filter(|at| at % 7 == 3).collect();
        let (mut stretch, mut codes) = (Stretch::default(), CodeQuery::default());
        let (mut missed, mut all) = (0, 0);
        for level in Level::available() {
            let graph = graph_of(Metric::L2, &vectors, DIMENSION, Kernels::of(level).expect("available"));
            for count in [0, 1, 20, 41, 500, 1023, 1024, 1025, 5000] {
                let allowed: Ordinals = (0..count).map(|at| at * (5000 / count)).collect();
                let none = &Ordinals::default();
                for (deleted, hits, most) in
                    [(&deleted, 10, 20), (none, 10, 20), (&deleted, 20, 20), (&deleted, 1, 2)]
                {
                    let view = View { graph: &graph, originals: &rows, allowed: Some(&allowed), deleted };
                    let mut fine = 0;
                    for query in queries.chunks_exact(DIMENSION) {
                        graph.prepare(query, &mut codes);
                        let query = &codes;
                        let right = measured(view, query, hits, most);
                        let (found, effort) = scanned(view, query, (hits, most), &mut stretch);
                        // A step that finds nothing left counts as one.
                        let looked_at = view.admitted().max(1) as u64;
                        assert!([looked_at, looked_at + 1].contains(&effort.coarse));
                        let passed_over = right.iter().filter(|entry| !found.contains(entry)).count();
                        // What was passed over may make the limit wider; else there is nothing else.
                        assert!(passed_over > 0 || found == right);
                        assert!((right.len().min(hits)..=most).contains(&found.len()));
                        assert!(found.is_sorted_by(|a, b| a < b), "one of them twice");
                        missed += passed_over;
                        (fine, all) = (fine + effort.fine, all + right.len());
                    }
                    let bound = (3 * most as u64 + view.admitted() as u64 / 20) * 20;
                    assert!(fine <= bound, "{fine} measured of {count} for {hits} of {most}");
                }
            }
        }
        assert!(missed * 400 <= all, "{missed} of {all} missed");
    }

    #[test]
    fn a_cut_leaves_enough_and_not_many_more() {
        let random = &mut Random::new(8);
        for kernels in Level::available().into_iter().filter_map(Kernels::of) {
            for (count, wanted) in [(0, 1), (1, 1), (40, 20), (41, 20), (1000, 10), (1000, 499), (77, 1)] {
                let distances: Vec<u32> = (0..count).map(|_| random.next() as u32 >> 8).collect();
                let limit = cut(&kernels, &distances, wanted);
                let below = distances.iter().filter(|distance| **distance < limit).count();
                assert!(below >= wanted.min(count) && below <= 2 * wanted, "{below} of {count} for {wanted}");
                // Of what is equally far, all or none.
                let same = vec![7; count];
                assert!(count == 0 || cut(&kernels, &same, wanted) > 7);
            }
        }
    }
}
