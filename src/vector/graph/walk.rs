//! A walk to the nodes that are nearest to a query, in steps.
//!
//! Each visit of a node looks at all its neighbours that the walk has not seen: their upper planes are asked
//! for before the first is used; those that may get into the beam by them have their lower planes asked for,
//! and are measured in full.

use super::Graph;
use super::beam::{Beam, node_of};
use super::visited::Visited;
use crate::vector::codes::{CodeQuery, DISTANCE_MAX};

/// A visit for each of so many of the best entry points is sure.
const BEGINNINGS: usize = 4;

/// What a walk needs besides the graph; kept from walk to walk.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(in crate::vector) beam: Beam,
    visited: Visited,
    fresh: Vec<u32>,
    near: Vec<u32>,
    distances: Vec<u32>,
}

/// What a walk has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    pub visits: u64,
    /// Nodes of which the upper plane was looked at, entry points included.
    pub coarse: u64,
    /// Nodes that were measured in full.
    pub fine: u64,
}

/// Begins a walk that visits `width` of the nearest nodes and keeps `room` of them: at the nearest entry
/// points, and at the nearest of those that are `preferred`.
pub(in crate::vector) fn begin(
    graph: &Graph,
    query: &CodeQuery,
    (width, room): (usize, usize),
    preferred: impl Fn(u32) -> bool,
    scratch: &mut Scratch,
    effort: &mut Effort,
) {
    let Scratch { beam, visited, fresh, near, distances } = scratch;
    beam.reset(width, room);
    visited.reset(graph.len());
    graph.entries.distances(&graph.kernels, query, fresh, distances);
    effort.coarse += fresh.len() as u64;
    let entries = graph.entries.nodes();
    near.clear();
    take_nearest(entries, distances, |_| true, |node| visited.insert(node), near);
    take_nearest(entries, distances, preferred, |node| visited.insert(node), near);
    graph.fine(query, near, distances);
    effort.fine += near.len() as u64;
    near.iter().zip(distances.iter()).for_each(|(node, distance)| beam.insert(*distance, *node));
}

/// Moves the nearest entry points that are wanted to `near`.
fn take_nearest(
    entries: &[u32],
    distances: &mut [u32],
    wanted: impl Fn(u32) -> bool,
    mut is_new: impl FnMut(u32) -> bool,
    near: &mut Vec<u32>,
) {
    for _ in 0..BEGINNINGS {
        let left = (0..entries.len()).filter(|at| distances[*at] != DISTANCE_MAX && wanted(entries[*at]));
        let Some(nearest) = left.min_by_key(|at| distances[*at]) else { return };
        distances[nearest] = DISTANCE_MAX;
        if is_new(entries[nearest]) {
            near.push(entries[nearest]);
        }
    }
}

/// Goes on until about `budget` nodes were looked at; true when the beam is what it will be. `doubt`: see
/// [`crate::vector::codes::Grid::coarse_limit`].
pub(in crate::vector) fn step(
    graph: &Graph,
    query: &CodeQuery,
    doubt: f32,
    budget: u64,
    scratch: &mut Scratch,
    effort: &mut Effort,
) -> bool {
    let end = effort.coarse.saturating_add(budget);
    while effort.coarse < end {
        let Some(node) = scratch.beam.visit().map(node_of) else { return true };
        effort.visits += 1;
        scratch.fresh.clear();
        for link in graph.links(node) {
            if scratch.visited.insert(*link) {
                graph.prefetch_upper(*link);
                scratch.fresh.push(*link);
            }
        }
        measure(graph, query, doubt, scratch, effort);
    }
    false
}

/// As `step`, over nodes that are admitted, and the neighbours of neighbours that are not (ACORN-1: Patel et
/// al., SIGMOD 2024).
pub(in crate::vector) fn step_over(
    graph: &Graph,
    query: &CodeQuery,
    doubt: f32,
    admits: impl Fn(u32) -> bool,
    budget: u64,
    scratch: &mut Scratch,
    effort: &mut Effort,
) -> bool {
    let end = effort.coarse.saturating_add(budget);
    while effort.coarse < end {
        let Some(node) = scratch.beam.visit().map(node_of) else { return true };
        effort.visits += 1;
        let Scratch { visited, fresh, near: between, .. } = scratch;
        fresh.clear();
        between.clear();
        let mut see = |link: u32, fresh: &mut Vec<u32>| {
            let is_admitted = admits(link);
            if visited.insert(link) {
                match is_admitted {
                    true => {
                        graph.prefetch_upper(link);
                        fresh.push(link);
                    }
                    false => return true,
                }
            }
            false
        };
        for link in graph.links(node) {
            if see(*link, fresh) {
                graph.prefetch_links(*link);
                between.push(*link);
            }
        }
        for node in between.iter() {
            // What is between is seen again from elsewhere, or it would cut off what is behind it.
            graph.links(*node).iter().for_each(|link| _ = see(*link, fresh));
        }
        effort.visits += between.len() as u64;
        measure(graph, query, doubt, scratch, effort);
    }
    false
}

/// Measures the fresh nodes, which have been asked for, and takes them into the beam.
#[inline(always)]
fn measure(graph: &Graph, query: &CodeQuery, doubt: f32, scratch: &mut Scratch, effort: &mut Effort) {
    let Scratch { beam, fresh, near, distances, .. } = scratch;
    if let Some(next) = beam.upcoming() {
        graph.prefetch_links(next);
    }
    effort.coarse += fresh.len() as u64;
    let limit = beam.limit();
    let measured = if limit == DISTANCE_MAX {
        &*fresh
    } else {
        graph.coarse(query, fresh, distances);
        let limit = graph.grid.coarse_limit(limit, doubt);
        near.clear();
        for (node, distance) in fresh.iter().zip(distances.iter()) {
            if *distance <= limit {
                graph.prefetch_lower(*node);
                near.push(*node);
            }
        }
        &*near
    };
    graph.fine(query, measured, distances);
    effort.fine += measured.len() as u64;
    for (node, distance) in measured.iter().zip(distances.iter()) {
        beam.insert(*distance, *node);
    }
}
