//! A graph over codes in one layer, as Vamana makes it (Subramanya et al., "DiskANN", NeurIPS 2019).
//!
//! A node is one block of whole cache lines: the two planes of its code, then the ids of its neighbours, as
//! many as fill the block, [`NONE`] behind the last. A walk ([`walk`]) begins at the nearest of a few
//! hundred entry points whose upper planes lie together ([`entries`]), and goes on from the nearest node that
//! it has not visited, until it has visited a whole [`beam`]. Nodes come in one by one ([`insert`]); [`prune`]
//! chooses neighbours.

pub(super) mod beam;
pub mod build;
mod calibrate;
mod entries;
mod insert;
mod prune;
mod unlink;
pub(super) mod visited;
pub(super) mod walk;

pub use insert::Workshop;
pub use walk::Effort;

use super::allowed::Ordinals;
use super::codes::{CodeQuery, Grid, Kept, Prepare};
use super::kernel::{CodesAt, Kernels, prefetch};
use super::memory::Blocks;
use crate::rmi::memory::{LINE_BYTES, Memory};

use entries::Entries;

/// No neighbour.
pub const NONE: u32 = u32::MAX;
const ID_BYTES: usize = 4;

/// Where things are in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub plane: usize,
    pub degree: usize,
    pub stride: usize,
}

impl Layout {
    /// At least `degree` neighbours, and as many more as the lines have room for.
    pub fn new(plane: usize, degree: usize) -> Layout {
        let stride = (2 * plane + degree * ID_BYTES).next_multiple_of(LINE_BYTES);
        Layout { plane, degree: (stride - 2 * plane) / ID_BYTES, stride }
    }

    pub fn links_at(&self) -> usize {
        2 * self.plane
    }
}

pub struct Graph {
    pub(super) grid: Grid,
    pub(super) layout: Layout,
    pub(super) kernels: Kernels,
    pub(super) nodes: Blocks,
    /// Of each node, what its code alone adds to coarse distances ([`Kernels::own_term`]).
    terms: Vec<i32>,
    pub(super) entries: Entries,
    /// The first of them have neighbours; what came later waits for [`Graph::link_next`].
    pub(super) linked: usize,
    /// Nothing of any vector was lost in its code.
    pub(super) is_exact: bool,
    /// Beam that searches need; see [`calibrate`].
    pub(super) width: usize,
    /// The grid was made of too few vectors to search by it.
    pub(super) is_provisional: bool,
    /// The grid was made of the vectors before; `usize::MAX`: of all there will be.
    pub(super) fitted: usize,
    /// What came behind and does not fit: codes say nothing of these, searches ask their originals.
    pub(super) strays: Ordinals,
}

impl Graph {
    /// Without nodes; there is room for `capacity`.
    pub fn new(grid: Grid, degree: usize, capacity: usize, kernels: Kernels, memory: Memory) -> Graph {
        assert!(capacity < beam::NODES_MAX, "more nodes than ids");
        let layout = Layout::new(grid.plane(), degree);
        let nodes = Blocks::with_capacity(capacity, layout.stride, memory);
        let (terms, entries) = (Vec::with_capacity(capacity), Entries::new(layout.plane));
        let (is_exact, width) = (grid.is_exact, calibrate::WIDTH_DEFAULT);
        Graph {
            grid,
            layout,
            kernels,
            nodes,
            terms,
            entries,
            linked: 0,
            is_exact,
            width,
            is_provisional: false,
            fitted: usize::MAX,
            strays: Ordinals::default(),
        }
    }

    /// As `new`, by a grid that was made of the first `vectors` only.
    #[must_use]
    pub(super) fn fitted_to(mut self, vectors: usize) -> Graph {
        self.fitted = vectors;
        self
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Nodes that walks can reach; the rest is the newest.
    pub fn linked(&self) -> usize {
        self.linked
    }

    /// Nodes that links may lead to. A graph that is built as a whole counts none as linked before its end.
    pub(super) fn reachable(&self) -> usize {
        if self.linked == 0 { self.len() } else { self.linked }
    }

    /// The beam by which a search finds 0.98 of the ten nearest, and of `limit` about as much.
    pub fn width_for(&self, limit: usize) -> usize {
        self.width + limit.saturating_sub(10)
    }

    /// Whether distances of codes are those of the originals.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }

    pub fn degree(&self) -> usize {
        self.layout.degree
    }

    /// Memory of codes with their terms, links and entry points.
    pub fn bytes(&self) -> usize {
        let terms = size_of_val(self.terms.as_slice());
        self.nodes.len() * self.nodes.stride() + terms + self.entries.bytes()
    }

    /// Adds a node without neighbours; its ordinal.
    pub(super) fn push(&mut self, vector: &[f32]) -> u32 {
        let node = self.nodes.len() as u32;
        let planes = 2 * self.layout.plane;
        let block = self.nodes.push();
        let kept = self.grid.encode(vector, &mut block[..planes]);
        self.is_exact &= kept == Kept::All;
        block[planes..].fill(u8::MAX);
        self.terms.push(self.kernels.own_term(&block[..self.layout.plane]));
        if kept == Kept::Little && node as usize >= self.fitted {
            self.strays.insert(node);
        }
        node
    }

    /// Adds a node of the bytes of its block.
    pub(super) fn push_block(&mut self, bytes: &[u8]) -> &mut [u8] {
        let block = self.nodes.push();
        block.copy_from_slice(bytes);
        self.terms.push(self.kernels.own_term(&block[..self.layout.plane]));
        block
    }

    /// A node that may become an entry point.
    pub(super) fn offer_entry(&mut self, node: u32) {
        let at = node as usize;
        self.entries.offer(node, self.nodes.get(at), self.terms[at]);
    }

    /// A node that becomes one, whatever was drawn.
    pub(super) fn push_entry(&mut self, node: u32) {
        let at = node as usize;
        self.entries.push(node, self.nodes.get(at), self.terms[at]);
    }

    #[inline]
    pub(super) fn codes(&self) -> CodesAt {
        CodesAt { start: self.nodes.start(), stride: self.layout.stride, plane: self.layout.plane }
    }

    pub(super) fn planes(&self, node: u32) -> &[u8] {
        &self.nodes.get(node as usize)[..self.layout.links_at()]
    }

    /// All places for neighbours of a node.
    #[inline]
    fn places(&self, node: u32) -> &[u32] {
        let bytes = &self.nodes.get(node as usize)[self.layout.links_at()..];
        // SAFETY: blocks and planes are whole lines, so ids are aligned, and any bits are an id.
        let (before, ids, _) = unsafe { bytes.align_to::<u32>() };
        debug_assert!(before.is_empty());
        ids
    }

    #[inline]
    pub(super) fn links(&self, node: u32) -> &[u32] {
        let places = self.places(node);
        let count = places.iter().position(|id| *id == NONE).unwrap_or(places.len());
        &places[..count]
    }

    /// As `links`, in one pass.
    #[inline]
    fn neighbours(&self, node: u32) -> impl Iterator<Item = u32> {
        self.places(node).iter().copied().take_while(|id| *id != NONE)
    }

    pub(super) fn set_links(&mut self, node: u32, links: &[u32]) {
        assert!(links.len() <= self.layout.degree);
        debug_assert!(links.iter().all(|link| (*link as usize) < self.nodes.len() && *link != node));
        let links_at = self.layout.links_at();
        let bytes = &mut self.nodes.get_mut(node as usize)[links_at..];
        // SAFETY: as in `places`.
        let (_, ids, _) = unsafe { bytes.align_to_mut::<u32>() };
        ids[..links.len()].copy_from_slice(links);
        ids[links.len()..].fill(NONE);
    }

    /// Makes a query for this graph.
    pub(super) fn prepare(&self, vector: &[f32], query: &mut CodeQuery) {
        self.kernels.compiled(Prepare { grid: &self.grid, vector, query });
    }

    /// Fine distances from a query to nodes.
    #[inline]
    pub(super) fn fine(&self, query: &CodeQuery, nodes: &[u32], out: &mut Vec<u32>) {
        out.resize(nodes.len(), 0);
        debug_assert!(nodes.iter().all(|node| (*node as usize) < self.nodes.len()));
        // SAFETY: nodes are below the number of blocks, each of which begins with two planes; so does the query.
        unsafe { self.kernels.fine(&query.fine, self.codes(), nodes, out) };
    }

    #[inline]
    pub(super) fn coarse(&self, query: &CodeQuery, nodes: &[u32], out: &mut Vec<u32>) {
        out.resize(nodes.len(), 0);
        debug_assert!(nodes.iter().all(|node| (*node as usize) < self.nodes.len()));
        // SAFETY: as of `fine`.
        unsafe { self.kernels.coarse(&query.coarse, self.codes(), nodes, out) };
    }

    /// As `coarse`, of nodes that nobody asked for yet, to where there is room for as many.
    #[inline]
    pub(super) fn coarse_by_terms(&self, query: &CodeQuery, nodes: &[u32], out: &mut [u32]) {
        debug_assert!(nodes.iter().all(|node| (*node as usize) < self.terms.len()));
        // SAFETY: as of `fine`; every block has a term.
        unsafe { self.kernels.coarse_by_terms(&query.coarse, self.codes(), &self.terms, nodes, out) };
    }

    #[inline]
    pub(super) fn prefetch_upper(&self, node: u32) {
        self.prefetch(node, 0, self.layout.plane);
    }

    #[inline]
    pub(super) fn prefetch_lower(&self, node: u32) {
        self.prefetch(node, self.layout.plane, 2 * self.layout.plane);
    }

    #[inline]
    pub(super) fn prefetch_links(&self, node: u32) {
        self.prefetch(node, self.layout.links_at(), self.layout.stride);
    }

    #[inline]
    fn prefetch(&self, node: u32, begin: usize, end: usize) {
        let block = self.nodes.start().wrapping_add(node as usize * self.layout.stride);
        for at in (begin & !(LINE_BYTES - 1)..end).step_by(LINE_BYTES) {
            prefetch(block.wrapping_add(at));
        }
    }
}
