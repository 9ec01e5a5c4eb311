//! What a search needs besides what it searches, kept for the next one: a walk has a byte for each node of the graph, and
//! to make them anew took as long as some searches.

use std::cell::RefCell;

use crate::limits;
use crate::vector::search::Scratch;

/// Of one core. A search takes one out and puts it back at its end: others may run in between.
#[derive(Default)]
pub struct Scratches {
    kept: RefCell<Vec<Taken>>,
}

#[derive(Default)]
pub struct Taken {
    pub scratch: Box<Scratch>,
    /// Of the largest graph that it was used for.
    nodes: usize,
}

impl Taken {
    /// Of a graph with so many nodes.
    pub fn take_for(&mut self, nodes: usize) -> Box<Scratch> {
        self.nodes = self.nodes.max(nodes);
        std::mem::take(&mut self.scratch)
    }
}

impl Scratches {
    pub fn take(&self) -> Taken {
        self.kept.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps it, unless there are enough, or it is large.
    pub fn put(&self, taken: Taken) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < limits::SCRATCH_ENTRIES_MAX && taken.nodes <= limits::SCRATCH_BYTES_MAX {
            kept.push(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_kept_and_none_that_is_large() {
        let scratches = Scratches::default();
        let mut all: Vec<Taken> = (0..limits::SCRATCH_ENTRIES_MAX + 2).map(|_| scratches.take()).collect();
        let scratch = all[0].take_for(limits::SCRATCH_BYTES_MAX + 1);
        all[0].scratch = scratch;
        all[1].take_for(100);
        all.into_iter().for_each(|taken| scratches.put(taken));
        let nodes: Vec<usize> = scratches.kept.borrow().iter().map(|taken| taken.nodes).collect();
        assert_eq!((nodes.len(), nodes[0]), (limits::SCRATCH_ENTRIES_MAX, 100));
    }
}
