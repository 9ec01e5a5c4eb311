//! Which nodes a walk has seen: a byte each, stamped with the number of the walk, so that beginning another
//! one costs nothing but every 255th time.

#[derive(Debug, Default)]
pub(in crate::vector) struct Visited {
    stamps: Vec<u8>,
    stamp: u8,
    nodes: usize,
}

impl Visited {
    /// Forgets everything. The walk is among the first `nodes`.
    pub fn reset(&mut self, nodes: usize) {
        self.nodes = nodes;
        if self.stamps.len() < nodes {
            self.stamps.resize(nodes, 0);
        }
        if self.stamp == u8::MAX {
            self.stamps.fill(0);
            self.stamp = 0;
        }
        self.stamp += 1;
    }

    /// So many nodes the walk is among.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Whether the node is new to the walk. One that was linked since the walk began is not a part of it.
    #[inline]
    pub fn insert(&mut self, node: u32) -> bool {
        let Some(stamp) = self.stamps[..self.nodes].get_mut(node as usize) else { return false };
        let is_new = *stamp != self.stamp;
        *stamp = self.stamp;
        is_new
    }
}
