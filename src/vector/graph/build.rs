//! From vectors to a graph, in steps that a core can put between its requests.

use super::Graph;
use super::entries::mix;
use super::insert::Workshop;
use crate::rmi::memory::Memory;
use crate::vector::codes::Grid;
use crate::vector::kernel::Kernels;

#[derive(Clone, Copy, Debug)]
pub struct BuildOptions {
    /// Neighbours at least; the lines of a node may have room for more.
    pub degree: usize,
    /// Beam of the walk to a new node, in the first and in the second pass.
    pub widths: [usize; 2],
    pub kernels: Kernels,
    pub memory: Memory,
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        BuildOptions { degree: 32, widths: [100, 100], kernels: Kernels::best(), memory: Memory::plain() }
    }
}

pub struct Builder {
    graph: Graph,
    options: BuildOptions,
    workshop: Workshop,
    /// Nodes in the order in which they are linked.
    order: Vec<u32>,
    pass: usize,
    next: usize,
}

impl Builder {
    pub fn new(grid: Grid, vectors: usize, options: BuildOptions) -> Builder {
        let graph = Graph::new(grid, options.degree, vectors, options.kernels, options.memory);
        Builder { graph, options, workshop: Workshop::default(), order: Vec::new(), pass: 0, next: 0 }
    }

    /// Takes the next vector in.
    pub fn push(&mut self, vector: &[f32]) {
        self.graph.push(vector);
    }

    /// Links about `budget` nodes; true when the graph is ready. Every vector was pushed before.
    pub fn step(&mut self, budget: usize) -> bool {
        if self.order.is_empty() {
            self.order = shuffled(self.graph.len());
        }
        for _ in 0..budget.max(1) {
            if self.next == self.order.len() {
                (self.pass, self.next) = (self.pass + 1, 0);
            }
            if self.pass >= self.options.widths.len() || self.order.is_empty() {
                self.graph.linked = self.graph.len();
                return true;
            }
            let node = self.order[self.next];
            self.next += 1;
            let width = self.options.widths[self.pass];
            if width == 0 {
                self.next = self.order.len();
                continue;
            }
            self.graph.link(node, width, &mut self.workshop);
            if self.pass == 0 {
                let planes = self.graph.nodes.get(node as usize);
                self.graph.entries.offer(node, planes);
            }
        }
        false
    }

    pub fn finish(self) -> Graph {
        self.graph
    }
}

/// All numbers below `count`, in an order that looks random and is always the same (Fisher and Yates).
fn shuffled(count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    for at in (1..count).rev() {
        order.swap(at, (mix(at as u64) % (at as u64 + 1)) as usize);
    }
    order
}
