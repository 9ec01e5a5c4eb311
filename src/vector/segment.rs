//! A sealed segment: a graph that does not change any more, and what of it is deleted.
//!
//! All cores may read one; who deletes from it makes a new set of deleted ordinals.

use super::allowed::Ordinals;
use super::element::Originals;
use super::graph::Graph;
use super::search::View;

/// A segment is rewritten when one of so many of its vectors is deleted.
pub const VECTORS_A_DELETED: usize = 8;

pub struct Segment {
    graph: Graph,
    deleted: Ordinals,
}

impl Segment {
    pub fn new(graph: Graph) -> Segment {
        let deleted = Ordinals::none(graph.len());
        Segment { graph, deleted }
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub fn into_graph(self) -> Graph {
        self.graph
    }

    /// Vectors that are not deleted.
    pub fn live(&self) -> usize {
        self.graph.len() - self.deleted.count()
    }

    pub fn deleted(&self) -> &Ordinals {
        &self.deleted
    }

    /// True when the ordinal was live.
    pub fn delete(&mut self, ordinal: u32) -> bool {
        (ordinal as usize) < self.graph.len() && self.deleted.insert(ordinal)
    }

    /// So many are deleted that a rewrite pays: walks pass them, and they take memory.
    pub fn is_worn(&self) -> bool {
        self.deleted.count() * VECTORS_A_DELETED > self.graph.len()
    }

    /// What a search looks at.
    pub fn view<'a>(&'a self, originals: &'a dyn Originals, allowed: Option<&'a Ordinals>) -> View<'a> {
        View { graph: &self.graph, originals, allowed, deleted: &self.deleted }
    }

    /// What a rewrite takes along.
    pub fn live_ordinals(&self) -> Ordinals {
        let mut live = Ordinals::all(self.graph.len());
        live.remove_all(&self.deleted);
        live
    }
}
