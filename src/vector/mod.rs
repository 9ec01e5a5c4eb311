//! The vector index.

pub mod allowed;
pub mod codes;
pub mod door;
pub mod element;
pub mod graph;
pub mod kernel;
mod memory;
pub mod metric;
pub mod plan;
pub mod search;
#[cfg(test)]
mod testing;
pub mod top;
