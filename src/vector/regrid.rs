//! The graph of a head anew, by a grid that is made of what has come in, in steps.

use super::element::Originals;
use super::graph::Graph;
use super::graph::build::BuildOptions;
use super::head::GRID_VECTORS;
use super::merge::TRAINED_A_LINK;
use super::training::{Extent, Training};

/// Coding so many vectors takes about as long as linking one.
const CODED_A_LINK: usize = 32;

pub struct Regrid {
    /// The grid is made of the vectors before.
    fitted: usize,
    phase: Phase,
}

enum Phase {
    /// What is known of those before `next`.
    Measure {
        next: usize,
        extent: Extent,
    },
    Train {
        next: usize,
        training: Training,
    },
    /// Has what the head had when it began, or less.
    Code(Graph),
}

impl Regrid {
    /// Of a graph in which nothing is linked.
    pub fn of(graph: &Graph) -> Regrid {
        assert!(graph.linked() == 0, "links by another grid");
        Regrid { fitted: graph.len(), phase: Regrid::begin(graph) }
    }

    fn begin(graph: &Graph) -> Phase {
        Phase::Measure { next: 0, extent: Extent::new(graph.grid().metric()) }
    }

    /// About as much work as linking `budget` vectors. The new graph, when it has all that the old one has.
    pub fn step(
        &mut self,
        old: &Graph,
        options: &BuildOptions,
        originals: &dyn Originals,
        budget: usize,
    ) -> Option<Graph> {
        let budget = budget.max(1);
        let phase = std::mem::replace(&mut self.phase, Regrid::begin(old));
        self.phase = match phase {
            Phase::Measure { next, extent } => self.measure(old, originals, (next, extent), budget),
            Phase::Train { next, training } => self.train(old, options, originals, (next, training), budget),
            Phase::Code(mut new) => {
                let end = old.len().min(new.len().saturating_add(budget.saturating_mul(CODED_A_LINK)));
                each(old, originals, new.len()..end, |vector| _ = new.push(vector));
                if new.len() == old.len() {
                    return Some(new);
                }
                Phase::Code(new)
            }
        };
        None
    }

    fn measure(
        &self,
        old: &Graph,
        originals: &dyn Originals,
        (next, mut extent): (usize, Extent),
        budget: usize,
    ) -> Phase {
        let end = self.fitted.min(next.saturating_add(budget.saturating_mul(CODED_A_LINK)));
        each(old, originals, next..end, |vector| extent.see(vector));
        if end < self.fitted {
            return Phase::Measure { next: end, extent };
        }
        Phase::Train { next: 0, training: Training::new(old.grid().dimension(), extent) }
    }

    fn train(
        &self,
        old: &Graph,
        options: &BuildOptions,
        originals: &dyn Originals,
        (next, mut training): (usize, Training),
        budget: usize,
    ) -> Phase {
        let sample = self.fitted.min(GRID_VECTORS);
        let end = sample.min(next.saturating_add(budget.saturating_mul(TRAINED_A_LINK)));
        // From the first to the last: they may be of several kinds.
        each(old, originals, (next..end).map(|at| at * self.fitted / sample), |vector| training.see(vector));
        if end < sample {
            return Phase::Train { next: end, training };
        }
        match training.end_pass() {
            None => Phase::Train { next: 0, training },
            Some(grid) => {
                let capacity = old.nodes.capacity();
                let graph = Graph::new(grid, options.degree, capacity, options.kernels, options.memory);
                Phase::Code(graph.fitted_to(self.fitted))
            }
        }
    }
}

/// Shows vectors of a graph as their originals have them.
fn each(
    graph: &Graph,
    originals: &dyn Originals,
    ordinals: impl Iterator<Item = usize>,
    mut see: impl FnMut(&[f32]),
) {
    let mut vector = vec![0.0; graph.grid().dimension()];
    for ordinal in ordinals {
        originals.element().decode(originals.original(ordinal as u32), &mut vector);
        see(&vector);
    }
}
