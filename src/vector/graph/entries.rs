//! Where walks begin: the nearest of a few hundred nodes that were drawn by chance.
//!
//! Their upper planes lie together, so that looking at all of them costs what a few steps of a walk do, and
//! saves more steps than that; a walk from one medoid spends its first steps on crossing the data, and in
//! clustered data may not cross it (Oguri and Matsui, "Theoretical and empirical analysis of adaptive entry
//! point selection for graph-based approximate nearest neighbor search", 2024).
//!
//! Nodes are drawn as they come in, by a reservoir (Vitter, "Random sampling with a reservoir", 1985).

use crate::vector::codes::CodeQuery;
use crate::vector::kernel::{CodesAt, Kernels, PLANE_STEP_BYTES};

pub(in crate::vector) const ENTRIES_MAX: usize = 256;

#[derive(Debug)]
pub(in crate::vector) struct Entries {
    plane: usize,
    nodes: Vec<u32>,
    /// Upper planes of them; one more plane behind, which no distance depends on.
    codes: Vec<u8>,
    /// Of each, as the graph has them.
    terms: Vec<i32>,
    seen: u64,
}

impl Entries {
    pub fn new(plane: usize) -> Entries {
        debug_assert!(plane.is_multiple_of(PLANE_STEP_BYTES));
        Entries { plane, nodes: Vec::new(), codes: vec![0; plane], terms: Vec::new(), seen: 0 }
    }

    pub fn nodes(&self) -> &[u32] {
        &self.nodes
    }

    pub fn bytes(&self) -> usize {
        self.codes.len() + size_of_val(self.nodes.as_slice()) + size_of_val(self.terms.as_slice())
    }

    /// Offers a node that came in.
    pub fn offer(&mut self, node: u32, planes: &[u8], term: i32) {
        self.seen += 1;
        if self.nodes.len() < ENTRIES_MAX {
            return self.push(node, planes, term);
        }
        let drawn = mix(self.seen) % self.seen;
        if let Some(place) = self.nodes.get_mut(drawn as usize) {
            *place = node;
            self.terms[drawn as usize] = term;
            let at = drawn as usize * self.plane;
            self.codes[at..at + self.plane].copy_from_slice(&planes[..self.plane]);
        }
    }

    /// Makes a node an entry point, whatever was drawn.
    pub fn push(&mut self, node: u32, planes: &[u8], term: i32) {
        self.nodes.push(node);
        self.terms.push(term);
        let at = self.codes.len() - self.plane;
        self.codes.resize(at + 2 * self.plane, 0);
        self.codes[at..at + self.plane].copy_from_slice(&planes[..self.plane]);
    }

    /// The node is not there any more.
    pub fn remove(&mut self, node: u32) {
        if let Some(at) = self.nodes.iter().position(|entry| *entry == node) {
            self.nodes.swap_remove(at);
            self.terms.swap_remove(at);
            let last = self.nodes.len() * self.plane;
            self.codes.copy_within(last..last + self.plane, at * self.plane);
            self.codes.truncate(last + self.plane);
        }
    }

    /// Coarse distances to all entry points, in the order of their places, which are listed as well.
    pub fn distances(&self, kernels: &Kernels, query: &CodeQuery, places: &mut Vec<u32>, out: &mut Vec<u32>) {
        places.clear();
        places.extend(0..self.nodes.len() as u32);
        out.resize(places.len(), 0);
        let codes = CodesAt { start: self.codes.as_ptr(), stride: self.plane, plane: self.plane };
        // SAFETY: each of the places has a term and an upper plane, and so much behind it again.
        unsafe { kernels.coarse_by_terms(&query.coarse, codes, &self.terms, places, out) };
    }
}

/// SplitMix64's finish: a number that looks random of one that does not.
pub(in crate::vector) fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
