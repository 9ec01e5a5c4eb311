//! The vector index: from vectors to those nearest to a query, among all or among those that a filter lets
//! through.
//!
//! Owns: distance kernels, codes, the graph, searches and their plans, deletes, the codec. Everything here is
//! pure: memory and arithmetic. Vectors themselves (originals) stay with the caller.
//!
//! Must not know: files, threads, async, clocks, documents.
//!
//! The problem: a walk through a graph to the nearest of 100,000 vectors looks at a thousand of them, each
//! somewhere else in memory, and what it waits for are cache lines. So everything is made to touch fewer.
//!
//! A walk through the folder, along a search:
//! 1. [`door`]: what is no vector is refused before anything is done. [`metric`]: cosine and dot become
//!    squared L2 by a change of the vectors, so that there is one distance below.
//! 2. [`codes`]: a vector in 8 bits a coordinate, its upper and its lower 4 bits apart, by a grid that [`training`]
//!    makes of a sample. [`element`]: the originals, which the caller keeps.
//! 3. [`plan`]: exact, scan, walk, or a walk over the survivors of a filter; a pure function. [`allowed`]: sets
//!    of ordinals, for filters and deletes; [`shared`]: one that several cores know.
//! 4. [`search`]: one search as a state machine. It walks the [`graph`] (or makes a [`scan`]), and ranks the best
//!    by their originals; [`top`] keeps the best few.
//! 5. [`kernel`]: the distances, in four instruction sets. [`memory`]: nodes in whole cache lines.
//!
//! How it comes to be: vectors come into a [`head`], which is flat, then a graph. [`merge`] makes a sealed
//! [`segment`] of what is live in a head, or in other segments, by [`graph::build`]. [`codec`] stores a graph
//! and loads it, every number checked. All of this works in steps, with a budget for each.

pub mod allowed;
#[cfg(test)]
mod churn_tests;
pub mod codec;
pub mod codes;
pub mod door;
#[cfg(test)]
mod drift_tests;
pub mod element;
pub mod graph;
pub mod head;
pub mod kernel;
mod memory;
pub mod merge;
pub mod metric;
pub mod plan;
mod regrid;
mod scan;
pub mod search;
pub mod segment;
pub mod shared;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod top;
mod training;
