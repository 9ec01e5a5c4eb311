//! A node leaves the graph on the spot, without a pass over all of it (IP-DiskANN: Xu et al., "In-place
//! updates of a graph index for streaming approximate nearest neighbor search", arXiv 2502.13826).
//!
//! Who has the node as a neighbour is not written down. But a walk to it passes nearly all of them: those get
//! the nearest of what the walk found instead. An edge to the node that no walk passes may stay; it leads to a
//! deleted node, which is no hit, and goes with the next rewrite.

use super::Graph;
use super::beam::{entry, node_of};
use super::insert::{DOUBT, Workshop};
use super::prune::ALPHA;
use super::walk;

/// New neighbours in place of the one that left.
const REPLACEMENTS: usize = 3;

impl Graph {
    /// Takes a linked node out. `width`: of the walk to it.
    pub fn unlink(&mut self, node: u32, width: usize, workshop: &mut Workshop) {
        let Workshop { query, scratch, effort, .. } = workshop;
        self.grid.prepare_code(self.planes(node), query);
        walk::begin(self, query, (width, width), |_| false, scratch, effort);
        while !walk::step(self, query, DOUBT, u64::MAX, scratch, effort) {}
        let mut around: Vec<u32> = scratch.beam.entries().iter().map(|entry| node_of(*entry)).collect();
        around.retain(|other| *other != node);
        let old = self.links(node).to_vec();
        // Neighbours are mutual for the most part.
        let tellers: Vec<u32> = around.iter().chain(&old).copied().collect();
        for of in tellers {
            if self.links(of).contains(&node) {
                self.replace(of, node, &around, workshop);
            }
        }
        self.set_links(node, &[]);
        self.entries.remove(node);
        if self.entries.nodes().is_empty() {
            around.iter().take(1).for_each(|node| self.push_entry(*node));
        }
    }

    /// `of` loses `node` and gets the nearest of `around`, as far as they are in new directions.
    fn replace(&mut self, of: u32, node: u32, around: &[u32], workshop: &mut Workshop) {
        let Workshop { back, pruner, candidates, distances, links, .. } = workshop;
        links.clear();
        links.extend(self.links(of).iter().filter(|link| **link != node));
        let had = links.len();
        links.extend(around.iter().filter(|other| **other != of && !self.links(of).contains(other)));
        self.grid.prepare_code(self.planes(of), back);
        self.fine(back, links, distances);
        let mut new: Vec<u64> =
            links[had..].iter().zip(&distances[had..]).map(|(new, apart)| entry(*apart, *new)).collect();
        new.sort_unstable();
        new.truncate(REPLACEMENTS);
        candidates.clear();
        candidates
            .extend(links[..had].iter().zip(distances.iter()).map(|(link, apart)| entry(*apart, *link)));
        candidates.extend(new);
        candidates.sort_unstable();
        if candidates.len() > self.layout.degree {
            let kept = pruner.prune(self, candidates, self.layout.degree, ALPHA).to_vec();
            return self.set_links(of, &kept);
        }
        let all: Vec<u32> = candidates.iter().map(|entry| node_of(*entry)).collect();
        self.set_links(of, &all);
    }
}
