//! The head: where vectors come in and out, one by one.
//!
//! What is in it is found at once. While it is small, searches score every original; from [`GRID_VECTORS`] on
//! they scan codes; beyond [`FLAT_VECTORS`] the head becomes a graph. The work for that is done between
//! requests, by [`Head::step`]: neither an insertion nor a delete walks the graph itself. What waits for its
//! links is measured beside a walk.
//!
//! What comes later may be of another kind than what the grid was made of. Searches ask the originals of what does not
//! fit; when that is much, the head is full: the next one has a grid of its own, and so has what both are merged into.

use std::collections::VecDeque;

use super::allowed::Ordinals;
use super::codes::Grid;
use super::element::Originals;
use super::graph::build::BuildOptions;
use super::graph::{Graph, Workshop};
use super::metric::{Metric, length};
use super::regrid::Regrid;
use super::search::View;

/// With fewer, a grid says little of the next vector, and originals are few enough.
pub const GRID_VECTORS: usize = 1_000;
/// A scan of so many codes is about as fast as a walk.
pub const FLAT_VECTORS: usize = 20_000;
/// With more that do not fit its grid it is full: searches ask the original of each.
const STRAYS_MAX: usize = 256;
/// Of the longest vector to the shortest, under [`Metric::Dot`]. Beyond, the long ones are near to everything, and what is
/// linked as it comes is a bad graph: walks by inner product found 0.3 of the nearest.
const LENGTHS_APART: f32 = 1.1;
/// Of the walk to a vector that is deleted.
const UNLINK_WIDTH: usize = 64;

pub struct Head {
    graph: Graph,
    options: BuildOptions,
    /// Vectors beyond which it becomes a graph.
    flat: usize,
    /// The shortest length and the longest, where the metric asks for them.
    lengths: (f32, f32),
    deleted: Ordinals,
    /// Deleted, and still linked.
    leaving: VecDeque<u32>,
    /// The graph by a grid that is made of what is there, under way.
    regrid: Option<Regrid>,
    workshop: Workshop,
}

impl Head {
    /// Empty, with room for `capacity` vectors.
    pub fn new(metric: Metric, dimension: usize, capacity: usize, options: BuildOptions) -> Head {
        let origin = vec![0.0; dimension];
        let grid = Grid::train(metric, dimension, 0.0, std::iter::once(origin.as_slice()));
        let mut graph = Graph::new(grid, options.degree, capacity, options.kernels, options.memory);
        graph.is_provisional = true;
        Head {
            graph,
            options,
            flat: FLAT_VECTORS,
            lengths: (f32::INFINITY, 0.0),
            deleted: Ordinals::default(),
            leaving: VecDeque::new(),
            regrid: None,
            workshop: Workshop::default(),
        }
    }

    /// Becomes a graph beyond `vectors` already.
    #[must_use]
    pub fn flat_up_to(mut self, vectors: usize) -> Head {
        self.flat = vectors;
        self
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// When nothing changes any more.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    pub fn live(&self) -> usize {
        self.graph.len() - self.deleted.count()
    }

    /// It takes nothing more: there is no room, or what comes does not fit its grid or its links.
    pub fn is_full(&self) -> bool {
        self.graph.len() == self.graph.nodes.capacity()
            || self.graph.strays.count() > STRAYS_MAX
            || self.graph.linked() > 0 && self.lengths_differ()
    }

    fn lengths_differ(&self) -> bool {
        self.lengths.1 > LENGTHS_APART * self.lengths.0
    }

    pub fn deleted(&self) -> &Ordinals {
        &self.deleted
    }

    /// Takes a vector in, as it is stored; its ordinal. There is room for it.
    pub fn insert(&mut self, vector: &[f32]) -> u32 {
        if self.graph.grid().metric() == Metric::Dot {
            let length = length(vector);
            self.lengths = (self.lengths.0.min(length), self.lengths.1.max(length));
        }
        self.graph.push(vector)
    }

    /// True when the ordinal was live.
    pub fn delete(&mut self, ordinal: u32) -> bool {
        let is_new = (ordinal as usize) < self.graph.len() && self.deleted.insert(ordinal);
        if is_new && (ordinal as usize) < self.graph.linked() {
            self.leaving.push_back(ordinal);
        }
        is_new
    }

    /// Work that is left over: vectors to link and to unlink.
    pub fn is_behind(&self) -> bool {
        self.has_to_link() || !self.leaving.is_empty() || self.wants_grid()
    }

    /// Links or unlinks about `budget` vectors; true when nothing is left. `originals` are of this head.
    pub fn step(&mut self, originals: &dyn Originals, budget: usize) -> bool {
        if self.wants_grid() {
            self.regrid(originals, budget);
            return !self.is_behind();
        }
        for _ in 0..budget.max(1) {
            if let Some(node) = self.leaving.pop_front() {
                self.graph.unlink(node, UNLINK_WIDTH, &mut self.workshop);
            } else if self.has_to_link() {
                match self.deleted.contains(self.graph.linked() as u32) {
                    true => self.graph.linked += 1,
                    false => self.graph.link_next(self.options.widths[0], &mut self.workshop),
                }
            } else {
                return true;
            }
        }
        !self.is_behind()
    }

    fn has_to_link(&self) -> bool {
        let is_large = self.graph.len() > self.flat && self.graph.linked() < self.graph.len();
        is_large && !self.lengths_differ()
    }

    fn wants_grid(&self) -> bool {
        self.graph.is_provisional && self.graph.len() >= GRID_VECTORS
    }

    /// Goes on making codes by a grid that is made of what is there. Nothing is linked before, and what comes in
    /// meanwhile is coded twice.
    fn regrid(&mut self, originals: &dyn Originals, budget: usize) {
        let mut regrid = self.regrid.take().unwrap_or_else(|| Regrid::of(&self.graph));
        match regrid.step(&self.graph, &self.options, originals, budget) {
            Some(graph) => self.graph = graph,
            None => self.regrid = Some(regrid),
        }
    }

    /// What a search looks at.
    pub fn view<'a>(&'a self, originals: &'a dyn Originals, allowed: Option<&'a Ordinals>) -> View<'a> {
        View { graph: &self.graph, originals, allowed, deleted: &self.deleted }
    }

    /// What goes into a sealed segment.
    pub fn live_ordinals(&self) -> Ordinals {
        let mut live = Ordinals::all(self.graph.len());
        live.remove_all(&self.deleted);
        live
    }
}
