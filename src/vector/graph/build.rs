//! From vectors to a graph, in steps that a core can put between its requests.
//!
//! 1. Every node is linked, in an order that looks random, by a walk over those before it.
//! 2. Every node is linked again, by a walk over all: the first ones had few to choose from.
//! 3. [`calibrate`](super::calibrate): a few nodes were left out until now. Walks to them say which beam a
//!    search needs; then they are linked as well.
//!
//! A node costs as much as a wide search and some pruning: 50 to 300 us.

use std::ops::Range;

use super::Graph;
use super::calibrate::Calibration;
use super::entries::mix;
use super::insert::Workshop;
use crate::rmi::memory::Memory;
use crate::vector::codes::Grid;
use crate::vector::kernel::Kernels;

/// Of so many nodes, one is left out for the calibration, up to a number that is enough.
const NODES_A_HELD_OUT: usize = 50;
const HELD_OUT_MAX: usize = 200;
/// Ordering so many nodes takes about as long as linking one.
const NODES_NUMBERED: usize = 65_536;
const NODES_SHUFFLED: usize = 4096;

#[derive(Clone, Copy, Debug)]
pub struct BuildOptions {
    /// Neighbours at least; the lines of a node may have room for more.
    pub degree: usize,
    /// Beam of the walk to a node, in each pass.
    pub widths: [usize; 2],
    pub kernels: Kernels,
    pub memory: Memory,
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        BuildOptions { degree: 48, widths: [48, 96], kernels: Kernels::best(), memory: Memory::plain() }
    }
}

pub struct Builder {
    graph: Graph,
    options: BuildOptions,
    workshop: Workshop,
    /// Nodes in the order in which they are linked; the last ones are held out.
    order: Vec<u32>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Push,
    /// Numbers the nodes.
    Number,
    /// Has still to find the place of these in the order.
    Shuffle {
        left: usize,
    },
    Link {
        pass: usize,
        next: usize,
    },
    Calibrate {
        next: usize,
        calibration: Calibration,
    },
    LinkRest {
        next: usize,
    },
    Done,
}

impl Builder {
    /// For so many vectors at most.
    pub fn new(grid: Grid, vectors: usize, options: BuildOptions) -> Builder {
        let graph = Graph::new(grid, options.degree, vectors, options.kernels, options.memory);
        Builder { graph, options, workshop: Workshop::default(), order: Vec::new(), phase: Phase::Push }
    }

    /// Takes the next vector in: its ordinal is the number of those before. All come before the first step.
    pub fn push(&mut self, vector: &[f32]) {
        assert!(matches!(self.phase, Phase::Push), "the graph is being linked already");
        self.graph.push(vector);
    }

    pub fn len(&self) -> usize {
        self.graph.len()
    }

    pub fn is_empty(&self) -> bool {
        self.graph.is_empty()
    }

    fn held_out(&self) -> usize {
        (self.order.len() / NODES_A_HELD_OUT).min(HELD_OUT_MAX)
    }

    /// Links about `budget` nodes; true when the graph is ready.
    pub fn step(&mut self, budget: usize) -> bool {
        for _ in 0..budget.max(1) {
            let phase = std::mem::replace(&mut self.phase, Phase::Done);
            self.phase = self.after(phase);
        }
        matches!(self.phase, Phase::Done)
    }

    /// What part of the work is done.
    pub fn fraction(&self) -> f64 {
        let n = self.order.len().max(1) as f64;
        match &self.phase {
            Phase::Push | Phase::Number | Phase::Shuffle { .. } => 0.0,
            Phase::Link { pass, next } => {
                (*pass as f64 + *next as f64 / n) / self.options.widths.len() as f64
            }
            Phase::Calibrate { .. } | Phase::LinkRest { .. } | Phase::Done => 1.0,
        }
    }

    fn after(&mut self, phase: Phase) -> Phase {
        match phase {
            Phase::Push => {
                self.order = Vec::with_capacity(self.graph.len());
                Phase::Number
            }
            Phase::Number => {
                let (from, count) = (self.order.len(), self.graph.len());
                let end = count.min(from + NODES_NUMBERED);
                self.order.extend(from as u32..end as u32);
                if end < count { Phase::Number } else { Phase::Shuffle { left: count } }
            }
            Phase::Shuffle { left: 0..=1 } => Phase::Link { pass: 0, next: 0 },
            Phase::Shuffle { left } => {
                let rest = left.saturating_sub(NODES_SHUFFLED).max(1);
                shuffle(&mut self.order, rest..left);
                Phase::Shuffle { left: rest }
            }
            Phase::Link { pass, .. } if pass == self.options.widths.len() => Phase::Calibrate {
                next: self.order.len() - self.held_out(),
                calibration: Calibration::default(),
            },
            Phase::Link { pass, next } if next == self.order.len() - self.held_out() => {
                Phase::Link { pass: pass + 1, next: 0 }
            }
            Phase::Link { pass, next } => {
                let node = self.order[next];
                self.link(node, self.options.widths[pass], pass == 0);
                Phase::Link { pass, next: next + 1 }
            }
            Phase::Calibrate { next, calibration } if next == self.order.len() => {
                self.graph.width = calibration.width();
                Phase::LinkRest { next: self.order.len() - self.held_out() }
            }
            Phase::Calibrate { next, mut calibration } => {
                calibration.ask(&self.graph, self.order[next], &mut self.workshop);
                Phase::Calibrate { next: next + 1, calibration }
            }
            Phase::LinkRest { next } if next < self.order.len() => {
                self.link(self.order[next], self.options.widths[0], true);
                Phase::LinkRest { next: next + 1 }
            }
            Phase::LinkRest { .. } | Phase::Done => {
                self.graph.linked = self.graph.len();
                Phase::Done
            }
        }
    }

    fn link(&mut self, node: u32, width: usize, is_new: bool) {
        self.graph.link(node, width, &mut self.workshop);
        if is_new {
            self.graph.offer_entry(node);
        }
    }

    /// The graph, when the last step said that it is ready.
    pub fn finish(self) -> Graph {
        assert!(matches!(self.phase, Phase::Done), "not all steps were made");
        self.graph
    }
}

/// Chooses what stands at these places, the last first, of all that stands there or before: an order that looks random
/// and is always the same (Fisher and Yates).
fn shuffle(order: &mut [u32], places: Range<usize>) {
    for at in places.rev() {
        order.swap(at, (mix(at as u64) % (at as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_same_in_any_steps() {
        let count = 3 * NODES_SHUFFLED + 17;
        let ascending: Vec<u32> = (0..count as u32).collect();
        let (mut at_once, mut stepped) = (ascending.clone(), ascending.clone());
        shuffle(&mut at_once, 1..count);
        let mut left = count;
        while left > 1 {
            let rest = left.saturating_sub(NODES_SHUFFLED).max(1);
            shuffle(&mut stepped, rest..left);
            left = rest;
        }
        assert_eq!(stepped, at_once);
        assert_ne!(at_once, ascending);
        at_once.sort_unstable();
        assert_eq!(at_once, ascending);
    }
}
