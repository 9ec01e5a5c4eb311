//! A node gets its neighbours, and they get it.

use super::Graph;
use super::beam::{entry, node_of};
use super::prune::{ALPHA, Pruner};
use super::walk::{self, Effort, Scratch};
use crate::vector::codes::CodeQuery;

/// Building looks at everything that could be near.
pub(super) const DOUBT: f32 = 2.0;

/// What insertions need besides the graph; kept from one to the next.
#[derive(Debug, Default)]
pub struct Workshop {
    /// The node under way.
    pub(super) query: CodeQuery,
    /// The neighbour that is told.
    pub(super) back: CodeQuery,
    pub(super) scratch: Scratch,
    pub(super) pruner: Pruner,
    pub(super) candidates: Vec<u64>,
    pub(super) distances: Vec<u32>,
    across: Vec<u32>,
    pub(super) links: Vec<u32>,
    chosen: Vec<u32>,
    pub(super) effort: Effort,
}

impl Graph {
    /// Links the oldest node that is not linked yet.
    pub fn link_next(&mut self, width: usize, workshop: &mut Workshop) {
        let node = self.linked as u32;
        self.link(node, width, workshop);
        self.linked += 1;
        self.offer_entry(node);
    }

    /// Links a node whose code is there: walks to it with a beam of `width`, takes neighbours of what the walk
    /// found and of those that it has, and tells them.
    pub(in crate::vector) fn link(&mut self, node: u32, width: usize, workshop: &mut Workshop) {
        let mut links = std::mem::take(&mut workshop.chosen);
        self.find_links(node, width, workshop, &mut links);
        self.set_links(node, &links);
        for link in &links {
            self.link_back(*link, node, workshop);
        }
        workshop.chosen = links;
    }

    fn find_links(&self, node: u32, width: usize, workshop: &mut Workshop, links: &mut Vec<u32>) {
        let Workshop { query, scratch, pruner, candidates, distances, effort, .. } = workshop;
        self.grid.prepare_code(self.planes(node), query);
        walk::begin(self, query, (width, width), |_| false, scratch, effort);
        while !walk::step(self, query, DOUBT, u64::MAX, scratch, effort) {}
        candidates.clear();
        let found = scratch.beam.entries().iter().map(|entry| *entry & !1);
        candidates.extend(found.filter(|entry| node_of(*entry) != node));
        let had = self.links(node);
        if !had.is_empty() {
            self.fine(query, had, distances);
            candidates.extend(had.iter().zip(distances.iter()).map(|(had, apart)| entry(*apart, *had)));
            candidates.sort_unstable();
            candidates.dedup();
        }
        links.clear();
        links.extend_from_slice(pruner.prune(self, candidates, self.layout.degree, ALPHA));
    }

    /// `node` becomes a neighbour of `of`, whose places may be full: then unless a nearer neighbour stands
    /// between them, and instead of the farthest that it stands before, or of the farthest. One step of what
    /// [`Pruner::prune`] would do with all of them, at a tenth of its distances.
    fn link_back(&mut self, of: u32, node: u32, workshop: &mut Workshop) {
        let Workshop { query, back, distances, across, links, .. } = workshop;
        links.clear();
        links.extend_from_slice(self.links(of));
        if links.contains(&node) {
            return;
        }
        links.push(node);
        if links.len() > self.layout.degree {
            self.grid.prepare_code(self.planes(of), back);
            self.fine(back, links, distances);
            self.fine(query, links, across);
            let apart = distances[links.len() - 1] as f32;
            let pairs = || distances.iter().zip(across.iter()).take(links.len() - 1);
            if pairs().any(|(to, between)| (*to as f32) < apart && ALPHA * *between as f32 <= apart) {
                return;
            }
            let is_behind = |(to, between): (&u32, &u32)| ALPHA * *between as f32 <= *to as f32;
            let worst = pairs().enumerate().max_by_key(|(_, pair)| (is_behind(*pair), *pair.0));
            links.swap_remove(worst.expect("a full block has neighbours").0);
        }
        let links = std::mem::take(links);
        self.set_links(of, &links);
        workshop.links = links;
    }
}
