//! A walk to the nodes that are nearest to a query, in steps.
//!
//! Each visit of a node looks at all its neighbours that the walk has not seen: their upper planes are asked
//! for before the first is used; those that may get into the beam by them have their lower planes asked for,
//! and are measured in full. While those are under way the next node is visited, so that its neighbours are under
//! way as well: it is chosen without the last few distances, which costs a visit or two of a walk and finds more.

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
    pub visited: Visited,
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
    visited.reset(graph.reachable());
    graph.entries.distances(&graph.kernels, query, fresh, distances);
    effort.coarse += fresh.len() as u64;
    let entries = graph.entries.nodes();
    near.clear();
    take_nearest(entries, distances, |_| true, |node| visited.insert(node), near);
    take_nearest(entries, distances, preferred, |node| visited.insert(node), near);
    fresh.clear();
    graph.fine(query, near, distances);
    effort.fine += near.len() as u64;
    near.iter().zip(distances.iter()).for_each(|(node, distance)| beam.insert(*distance, *node));
}

/// The nearest few of the entry points that are wanted.
fn take_nearest(
    entries: &[u32],
    distances: &[u32],
    wanted: impl Fn(u32) -> bool,
    mut is_new: impl FnMut(u32) -> bool,
    near: &mut Vec<u32>,
) {
    let mut best = [u64::MAX; BEGINNINGS];
    for (at, distance) in distances.iter().enumerate() {
        let word = u64::from(*distance) << 32 | at as u64;
        if word < best[BEGINNINGS - 1] && wanted(entries[at]) {
            best[BEGINNINGS - 1] = word;
            best.sort_unstable();
        }
    }
    let places = best.iter().filter(|word| **word != u64::MAX).map(|word| *word as u32 as usize);
    near.extend(places.map(|at| entries[at]).filter(|node| is_new(*node)));
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
        if scratch.fresh.is_empty() && !see_next(graph, scratch, effort) {
            return true;
        }
        choose_near(graph, query, doubt, scratch, effort);
        scratch.fresh.clear();
        see_next(graph, scratch, effort);
        measure_near(graph, query, scratch, effort);
    }
    false
}

/// Visits the next node and asks for those of its neighbours that are new; false when there is none.
#[inline(always)]
fn see_next(graph: &Graph, scratch: &mut Scratch, effort: &mut Effort) -> bool {
    let Scratch { beam, visited, fresh, .. } = scratch;
    let Some(node) = beam.visit().map(node_of) else { return false };
    effort.visits += 1;
    for link in graph.neighbours(node) {
        if visited.insert(link) {
            graph.prefetch_upper(link);
            fresh.push(link);
        }
    }
    true
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
        for link in graph.neighbours(node) {
            if see(link, fresh) {
                graph.prefetch_links(link);
                between.push(link);
            }
        }
        for node in between.iter() {
            // What is between is seen again from elsewhere, or it would cut off what is behind it.
            graph.neighbours(*node).for_each(|link| _ = see(link, fresh));
        }
        effort.visits += between.len() as u64;
        choose_near(graph, query, doubt, scratch, effort);
        measure_near(graph, query, scratch, effort);
        scratch.fresh.clear();
    }
    false
}

/// Chooses those of the fresh nodes that may get into the beam, and asks for the rest of their codes.
#[inline(always)]
fn choose_near(graph: &Graph, query: &CodeQuery, doubt: f32, scratch: &mut Scratch, effort: &mut Effort) {
    let Scratch { beam, fresh, near, distances, .. } = scratch;
    effort.coarse += fresh.len() as u64;
    near.clear();
    let limit = beam.limit();
    if limit == DISTANCE_MAX {
        fresh.iter().for_each(|node| graph.prefetch_lower(*node));
        near.extend_from_slice(fresh);
        return;
    }
    graph.coarse(query, fresh, distances);
    let limit = graph.grid.coarse_limit(limit, doubt);
    for (node, distance) in fresh.iter().zip(distances.iter()) {
        if *distance <= limit {
            graph.prefetch_lower(*node);
            near.push(*node);
        }
    }
}

/// Measures what is near in full, and takes it into the beam.
#[inline(always)]
fn measure_near(graph: &Graph, query: &CodeQuery, scratch: &mut Scratch, effort: &mut Effort) {
    let Scratch { beam, near, distances, .. } = scratch;
    graph.fine(query, near, distances);
    effort.fine += near.len() as u64;
    for (node, distance) in near.iter().zip(distances.iter()) {
        beam.insert(*distance, *node);
    }
    if let Some(next) = beam.upcoming() {
        graph.prefetch_links(next);
    }
}
