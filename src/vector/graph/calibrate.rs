//! Which beam a search needs by default: the narrowest that finds nearly all of the ten nearest, measured on
//! vectors of the segment that its graph does not have yet.
//!
//! What is right is what a much wider walk finds. It misses a little itself, and real queries may be harder
//! than members; so the target is above what is promised (0.98).

use super::Graph;
use super::insert::{DOUBT, Workshop};
use super::walk;

const TARGET: f64 = 0.99;
const HITS: usize = 10;
const TRUTH_WIDTH: usize = 400;
const WIDTHS: [usize; 12] = [16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 224, 320];
/// Without a measurement.
pub(super) const WIDTH_DEFAULT: usize = 96;

#[derive(Debug, Default)]
pub(super) struct Calibration {
    asked: usize,
    found: [usize; WIDTHS.len()],
}

impl Calibration {
    /// Walks to a node that is not linked, with each of the widths.
    pub fn ask(&mut self, graph: &Graph, node: u32, workshop: &mut Workshop) {
        graph.grid.prepare_code(graph.planes(node), &mut workshop.query);
        graph.grid.make_query(&mut workshop.query);
        let limit = nearest(graph, TRUTH_WIDTH, workshop).last().map(|entry| entry >> 32);
        self.asked += 1;
        for (width, found) in WIDTHS.iter().zip(&mut self.found) {
            let nearest = nearest(graph, *width, workshop);
            // Another one at the same distance is as good.
            *found += nearest.iter().filter(|entry| Some(**entry >> 32) <= limit).count();
        }
    }

    pub fn width(&self) -> usize {
        let wanted = TARGET * (self.asked * HITS) as f64;
        let narrowest = WIDTHS.iter().zip(self.found).find(|(_, found)| *found as f64 >= wanted);
        match (self.asked, narrowest) {
            (0, _) => WIDTH_DEFAULT,
            (_, Some((width, _))) => *width,
            (_, None) => WIDTHS[WIDTHS.len() - 1],
        }
    }
}

fn nearest<'a>(graph: &Graph, width: usize, workshop: &'a mut Workshop) -> &'a [u64] {
    let Workshop { query, scratch, effort, .. } = workshop;
    walk::begin(graph, query, (width, width.max(HITS)), |_| false, scratch, effort);
    while !walk::step(graph, query, DOUBT, u64::MAX, scratch, effort) {}
    let found = scratch.beam.entries();
    &found[..found.len().min(HITS)]
}
