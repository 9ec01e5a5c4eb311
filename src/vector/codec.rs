//! A graph as bytes, and back with every number checked. Originals are not in it.
//!
//! ```text
//! file     = header, section*            all little-endian, every part a multiple of 64 bytes
//!
//! header   0   8  magic "KyroVec\n"
//!          8   4  format version (1)
//!         12   4  sections that follow (3)
//!         16   8  nodes
//!         24   4  dimension
//!         28   4  places for neighbours of a node
//!         32   4  beam that searches need
//!         36   1  metric: 1 L2, 2 cosine, 3 dot
//!         37   1  1: the grid hits whole numbers; 2: nothing of any vector was lost
//!         38   2  zero
//!         40   4  step of the grid, f32
//!         44   4  length of the longest vector, f32
//!         48   4  variance of the lower 4 bits, f32
//!         52   4  zero
//!         56   8  xxh3 of bytes 0..56
//!
//! section  0   4  kind: 1 grid, 2 nodes, 3 entry points; in this order
//!          4   4  zero
//!          8   8  length of the payload
//!         16   8  xxh3 of the payload, seeded with kind and length
//!         24  40  zero
//!         64   n  payload, then zeros up to a multiple of 64
//!
//! grid     f32 a coordinate: where it begins; f32 a coordinate: mean of its lower 4 bits
//! nodes    a block each: upper plane, lower plane, ids of neighbours (u32, all bits set: none)
//! entries  ids, u32
//! ```
//!
//! INVARIANT: [`Decoder`] takes no number on trust. Whatever the bytes are, it gives an error or a graph in
//! which every id is a node. A hash keeps the rest (codes, which neighbours): from what it covers, searches
//! might find less, never something that is not there.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::codes::Grid;
use super::graph::beam::NODES_MAX;
use super::graph::{Graph, Layout, NONE};
use super::kernel::Kernels;
use super::metric::Metric;
use crate::limits::{EMBEDDING_ENTRIES_MAX, EMBEDDING_ENTRIES_MIN};
use crate::rmi::memory::{LINE_BYTES, Memory};

const MAGIC: [u8; 8] = *b"KyroVec\n";
const VERSION: u32 = 1;
const VERSION_AT: usize = 8;
const SECTIONS_AT: usize = 12;
const NODES_AT: usize = 16;
const DIMENSION_AT: usize = 24;
const DEGREE_AT: usize = 28;
const WIDTH_AT: usize = 32;
const METRIC_AT: usize = 36;
const EXACT_AT: usize = 37;
const STEP_AT: usize = 40;
const LONGEST_AT: usize = 44;
const VARIANCE_AT: usize = 48;
const HEADER_HASH_AT: usize = LINE_BYTES - 8;
const HEADER_ZEROS: [std::ops::Range<usize>; 2] = [38..40, 52..56];

const SECTIONS: u32 = 3;
const GRID: u32 = 1;
const NODES: u32 = 2;
const ENTRIES: u32 = 3;
const LENGTH_AT: usize = 8;
const HASH_AT: usize = 16;

const DEGREE_MAX: usize = 512;
const WIDTH_MAX: usize = 1 << 16;

/// Why bytes are no graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than it says, or longer.
    Length,
    NotAGraph,
    Version {
        found: u32,
    },
    /// A hash differs, or a byte that is always zero is not.
    Damaged,
    /// A number is not what it can be.
    Wrong(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Length => f.write_str("the graph is not as long as it says"),
            DecodeError::NotAGraph => f.write_str("this is no graph"),
            DecodeError::Version { found } => write!(f, "graph format {found}; this program reads {VERSION}"),
            DecodeError::Damaged => f.write_str("the graph is damaged: a hash does not match"),
            DecodeError::Wrong(what) => write!(f, "the graph is wrong: {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

fn put(bytes: &mut [u8], at: usize, number: &[u8]) {
    bytes[at..at + number.len()].copy_from_slice(number);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_bits(u32_at(bytes, at))
}

fn hasher(kind: u32, length: usize) -> Box<Xxh3> {
    Box::new(Xxh3::with_seed((u64::from(kind) << 56) ^ length as u64))
}

/// Encodes a sealed graph in steps, in pieces that are written one behind the other: all before the nodes, nodes, all
/// behind them.
pub struct Encoder<'a> {
    graph: &'a Graph,
    hasher: Box<Xxh3>,
    phase: Phase,
}

enum Phase {
    /// The hash of the nodes stands before them.
    Hash {
        next: usize,
    },
    Nodes {
        next: usize,
    },
    Done,
}

/// What a step made.
pub enum Piece {
    None,
    /// All before the nodes.
    Front(Vec<u8>),
    /// Some whole nodes.
    Nodes(Vec<u8>),
    /// All behind them; the last piece.
    Back(Vec<u8>),
}

impl Encoder<'_> {
    pub fn new(graph: &Graph) -> Encoder<'_> {
        let hasher = hasher(NODES, graph.len() * graph.layout.stride);
        Encoder { graph, hasher, phase: Phase::Hash { next: 0 } }
    }

    /// Looks at about `budget` nodes.
    pub fn step(&mut self, budget: usize) -> Piece {
        let count = self.graph.len();
        let end = |next: usize| count.min(next.saturating_add(budget.max(1)));
        match self.phase {
            Phase::Hash { next } => {
                self.hasher.update(&self.nodes(next, end(next)));
                if end(next) < count {
                    self.phase = Phase::Hash { next: end(next) };
                    return Piece::None;
                }
                self.phase = Phase::Nodes { next: 0 };
                Piece::Front(self.front())
            }
            Phase::Nodes { next } if next < count => {
                self.phase = Phase::Nodes { next: end(next) };
                Piece::Nodes(self.nodes(next, end(next)))
            }
            Phase::Nodes { .. } => {
                self.phase = Phase::Done;
                let entries = self.graph.entries.nodes().iter().flat_map(|node| node.to_le_bytes());
                let mut back = Vec::new();
                append(&mut back, ENTRIES, &entries.collect::<Vec<_>>());
                Piece::Back(back)
            }
            Phase::Done => panic!("there was a last piece"),
        }
    }

    fn front(&self) -> Vec<u8> {
        let grid = &self.graph.grid;
        let mut front = header(self.graph).to_vec();
        let numbers = grid.low.iter().chain(&grid.rest);
        append(&mut front, GRID, &numbers.flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>());
        let nodes = self.graph.len() * self.graph.layout.stride;
        front.extend_from_slice(&section_head(NODES, nodes, self.hasher.digest()));
        front
    }

    fn nodes(&self, begin: usize, end: usize) -> Vec<u8> {
        let layout = &self.graph.layout;
        let mut nodes = self.graph.nodes.bytes()[begin * layout.stride..end * layout.stride].to_vec();
        if cfg!(target_endian = "big") {
            for block in nodes.chunks_exact_mut(layout.stride) {
                block[layout.links_at()..].as_chunks_mut::<4>().0.iter_mut().for_each(|id| id.reverse());
            }
        }
        nodes
    }
}

/// All at once.
pub fn encode(graph: &Graph) -> Vec<u8> {
    let (mut encoder, mut bytes) = (Encoder::new(graph), Vec::new());
    loop {
        match encoder.step(usize::MAX) {
            Piece::None => {}
            Piece::Front(piece) | Piece::Nodes(piece) => bytes.extend(piece),
            Piece::Back(piece) => {
                bytes.extend(piece);
                return bytes;
            }
        }
    }
}

fn header(graph: &Graph) -> [u8; LINE_BYTES] {
    let grid = &graph.grid;
    let mut header = [0; LINE_BYTES];
    put(&mut header, 0, &MAGIC);
    put(&mut header, VERSION_AT, &VERSION.to_le_bytes());
    put(&mut header, SECTIONS_AT, &SECTIONS.to_le_bytes());
    put(&mut header, NODES_AT, &(graph.len() as u64).to_le_bytes());
    put(&mut header, DIMENSION_AT, &(grid.dimension as u32).to_le_bytes());
    put(&mut header, DEGREE_AT, &(graph.layout.degree as u32).to_le_bytes());
    put(&mut header, WIDTH_AT, &(graph.width as u32).to_le_bytes());
    header[METRIC_AT] = match grid.metric {
        Metric::L2 => 1,
        Metric::Cosine => 2,
        Metric::Dot => 3,
    };
    header[EXACT_AT] = u8::from(grid.is_exact) | u8::from(graph.is_exact) << 1;
    put(&mut header, STEP_AT, &grid.step.to_le_bytes());
    put(&mut header, LONGEST_AT, &grid.longest.to_le_bytes());
    put(&mut header, VARIANCE_AT, &grid.variance.to_le_bytes());
    let hash = xxh3_64(&header[..HEADER_HASH_AT]);
    put(&mut header, HEADER_HASH_AT, &hash.to_le_bytes());
    header
}

fn section_head(kind: u32, length: usize, hash: u64) -> [u8; LINE_BYTES] {
    let mut head = [0; LINE_BYTES];
    put(&mut head, 0, &kind.to_le_bytes());
    put(&mut head, LENGTH_AT, &(length as u64).to_le_bytes());
    put(&mut head, HASH_AT, &hash.to_le_bytes());
    head
}

fn append(out: &mut Vec<u8>, kind: u32, payload: &[u8]) {
    let mut hasher = hasher(kind, payload.len());
    hasher.update(payload);
    out.extend_from_slice(&section_head(kind, payload.len(), hasher.digest()));
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(LINE_BYTES), 0);
}

/// Length and hash of the payload behind a section's head.
fn read_head(head: &[u8], kind: u32) -> Result<(usize, u64), DecodeError> {
    if u32_at(head, 0) != kind {
        return Err(DecodeError::Wrong("kind of a section"));
    }
    if u32_at(head, 4) != 0 || head[HASH_AT + 8..].iter().any(|byte| *byte != 0) {
        return Err(DecodeError::Damaged);
    }
    let length = usize::try_from(u64_at(head, LENGTH_AT)).map_err(|_| DecodeError::Length)?;
    Ok((length, u64_at(head, HASH_AT)))
}

/// Takes a small section off the front, with its hash checked.
fn checked_section<'a>(rest: &mut &'a [u8], kind: u32) -> Result<&'a [u8], DecodeError> {
    let (head, behind) = rest.split_at_checked(LINE_BYTES).ok_or(DecodeError::Length)?;
    let (length, hash) = read_head(head, kind)?;
    let padded = length.checked_next_multiple_of(LINE_BYTES).ok_or(DecodeError::Length)?;
    let (whole, behind) = behind.split_at_checked(padded).ok_or(DecodeError::Length)?;
    let (payload, padding) = whole.split_at(length);
    let mut hasher = hasher(kind, payload.len());
    hasher.update(payload);
    if padding.iter().any(|byte| *byte != 0) || hasher.digest() != hash {
        return Err(DecodeError::Damaged);
    }
    *rest = behind;
    Ok(payload)
}

/// Decodes a graph piece by piece.
pub struct Decoder {
    graph: Graph,
    count: usize,
    hasher: Box<Xxh3>,
    hash: u64,
}

impl Decoder {
    /// `front`: all before the nodes, exactly.
    pub fn new(front: &[u8], kernels: Kernels, memory: Memory) -> Result<Decoder, DecodeError> {
        let (header, mut rest) = front.split_at_checked(LINE_BYTES).ok_or(DecodeError::Length)?;
        check_header(header)?;
        let grid_payload = checked_section(&mut rest, GRID)?;
        if rest.len() != LINE_BYTES {
            return Err(DecodeError::Length);
        }
        let (nodes, hash) = read_head(rest, NODES)?;
        let grid = grid_of(header, grid_payload)?;
        let degree = u32_at(header, DEGREE_AT) as usize;
        let layout = Layout::new(grid.plane(), degree.min(DEGREE_MAX));
        if degree == 0 || layout.degree != degree {
            return Err(DecodeError::Wrong("places for neighbours"));
        }
        let count = usize::try_from(u64_at(header, NODES_AT)).ok().filter(|count| *count < NODES_MAX);
        let count = count.ok_or(DecodeError::Wrong("number of nodes"))?;
        if count.checked_mul(layout.stride) != Some(nodes) {
            return Err(DecodeError::Length);
        }
        let width = u32_at(header, WIDTH_AT) as usize;
        if width == 0 || width > WIDTH_MAX {
            return Err(DecodeError::Wrong("beam"));
        }
        let mut graph = Graph::new(grid, degree, count, kernels, memory);
        (graph.width, graph.is_exact) = (width, header[EXACT_AT] & 2 != 0);
        Ok(Decoder { graph, count, hasher: hasher(NODES, nodes), hash })
    }

    pub fn nodes(&self) -> usize {
        self.count
    }

    /// Bytes of a node.
    pub fn stride(&self) -> usize {
        self.graph.layout.stride
    }

    /// Takes the next nodes, whole ones.
    pub fn take(&mut self, nodes: &[u8]) -> Result<(), DecodeError> {
        let left = self.count - self.graph.nodes.len();
        if !nodes.len().is_multiple_of(self.stride()) || nodes.len() / self.stride() > left {
            return Err(DecodeError::Length);
        }
        self.hasher.update(nodes);
        nodes.chunks_exact(self.stride()).try_for_each(|block| self.take_node(block))
    }

    fn take_node(&mut self, block: &[u8]) -> Result<(), DecodeError> {
        let links_at = self.graph.layout.links_at();
        let node = self.graph.nodes.len() as u32;
        let mut has_ended = false;
        let into = self.graph.push_block(block);
        for id in into[links_at..].as_chunks_mut::<4>().0 {
            let link = u32::from_le_bytes(*id);
            let is_good = link == NONE || !has_ended && (link as usize) < self.count && link != node;
            if !is_good {
                return Err(DecodeError::Wrong("id of a neighbour"));
            }
            has_ended |= link == NONE;
            *id = link.to_ne_bytes();
        }
        Ok(())
    }

    /// The graph, when all nodes were taken. `back`: all behind them, exactly.
    pub fn finish(mut self, mut back: &[u8]) -> Result<Graph, DecodeError> {
        if self.graph.nodes.len() != self.count {
            return Err(DecodeError::Length);
        }
        if self.hasher.digest() != self.hash {
            return Err(DecodeError::Damaged);
        }
        let (ids, rest) = checked_section(&mut back, ENTRIES)?.as_chunks::<4>();
        if !rest.is_empty() || !back.is_empty() {
            return Err(DecodeError::Length);
        }
        for id in ids {
            let node = u32::from_le_bytes(*id);
            if node as usize >= self.graph.len() {
                return Err(DecodeError::Wrong("id of an entry point"));
            }
            self.graph.push_entry(node);
        }
        self.graph.linked = self.graph.len();
        Ok(self.graph)
    }
}

/// All at once.
pub fn decode(bytes: &[u8], kernels: Kernels, memory: Memory) -> Result<Graph, DecodeError> {
    let (header, rest) = bytes.split_at_checked(LINE_BYTES).ok_or(DecodeError::Length)?;
    check_header(header)?;
    let grid_head = rest.get(..LINE_BYTES).ok_or(DecodeError::Length)?;
    let (grid, _) = read_head(grid_head, GRID)?;
    let grid = grid.checked_next_multiple_of(LINE_BYTES).ok_or(DecodeError::Length)?;
    let front = grid.checked_add(3 * LINE_BYTES).ok_or(DecodeError::Length)?;
    let (front, rest) = bytes.split_at_checked(front).ok_or(DecodeError::Length)?;
    let mut decoder = Decoder::new(front, kernels, memory)?;
    let nodes = decoder.nodes() * decoder.stride();
    let (nodes, back) = rest.split_at_checked(nodes).ok_or(DecodeError::Length)?;
    decoder.take(nodes)?;
    decoder.finish(back)
}

fn check_header(header: &[u8]) -> Result<(), DecodeError> {
    if header[..8] != MAGIC {
        return Err(DecodeError::NotAGraph);
    }
    if xxh3_64(&header[..HEADER_HASH_AT]) != u64_at(header, HEADER_HASH_AT) {
        return Err(DecodeError::Damaged);
    }
    match u32_at(header, VERSION_AT) {
        VERSION => {}
        found => return Err(DecodeError::Version { found }),
    }
    if u32_at(header, SECTIONS_AT) != SECTIONS {
        return Err(DecodeError::Wrong("number of sections"));
    }
    if HEADER_ZEROS.into_iter().any(|zeros| header[zeros].iter().any(|byte| *byte != 0)) {
        return Err(DecodeError::Damaged);
    }
    Ok(())
}

fn grid_of(header: &[u8], payload: &[u8]) -> Result<Grid, DecodeError> {
    let metric = match header[METRIC_AT] {
        1 => Metric::L2,
        2 => Metric::Cosine,
        3 => Metric::Dot,
        _ => return Err(DecodeError::Wrong("metric")),
    };
    let dimension = u32_at(header, DIMENSION_AT) as usize;
    if !(EMBEDDING_ENTRIES_MIN..=EMBEDDING_ENTRIES_MAX).contains(&dimension) {
        return Err(DecodeError::Wrong("dimension"));
    }
    let coordinates = metric.coordinates(dimension);
    if payload.len() != 2 * coordinates * 4 {
        return Err(DecodeError::Length);
    }
    if header[EXACT_AT] > 3 || header[EXACT_AT] == 2 {
        return Err(DecodeError::Wrong("what is exact"));
    }
    let numbers: Vec<f32> = payload.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
    let (low, rest) = numbers.split_at(coordinates);
    let [step, longest, variance] = [STEP_AT, LONGEST_AT, VARIANCE_AT].map(|at| f32_at(header, at));
    let is_finite = low.iter().chain([&longest, &variance]).all(|x| x.is_finite());
    let are_nibbles = rest.iter().all(|x| (0.0..=15.0).contains(x));
    if !(step.is_normal() && step > 0.0 && is_finite && are_nibbles && longest >= 0.0 && variance >= 0.0) {
        return Err(DecodeError::Wrong("grid"));
    }
    let (low, rest, is_exact) = (low.to_vec(), rest.to_vec(), header[EXACT_AT] & 1 != 0);
    Ok(Grid { metric, dimension, longest, step, low, rest, variance, is_exact })
}
