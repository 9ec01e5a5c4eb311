//! One search over one graph, in steps, so that a core can answer others in between.
//!
//! A search holds nothing of what it searches: every step is given it anew ([`View`]). It goes through
//! candidates by their codes, the way its [`Plan`] says, and ranks the best by their originals. A walk that
//! found too little for what the filter lets through (hits far from the query, or a part that cannot be
//! reached) becomes a walk over what may be a hit, or a scan, which finds everything: a search always gives as
//! many hits as there are, up to its limit.

use super::allowed::Ordinals;
use super::codes::CodeQuery;
use super::element::Originals;
use super::graph::Graph;
use super::graph::beam::{distance_of, entry, node_of};
use super::graph::walk::{self, Effort};
use super::kernel::prefetch;
use super::metric::ExactQuery;
use super::plan::{Plan, Question, plan, plan_elsewhere};
use super::scan::{Scan, Stretch};
use super::top::{Hit, Top, hit_of, word_of};
use crate::rmi::memory::LINE_BYTES;

/// Standard deviations of the lower bits that a coarse distance is given; see `Grid::coarse_limit`.
const DOUBT: f32 = 1.5;
/// Candidates that are ranked by their originals, for each hit. 8-bit codes are nearly right.
const RANKED_A_HIT: usize = 2;
/// An original costs so much of a budget: its lines, and floats.
const ORIGINAL_COST: u64 = 4;
/// A walk measures all of what is not linked yet, up to so many.
const UNLINKED_MAX: usize = 4096;
/// Originals scored at a time.
const SCORED_NODES: usize = 64;

/// What a search looks at.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub graph: &'a Graph,
    pub originals: &'a dyn Originals,
    /// What a filter lets through; none: everything.
    pub allowed: Option<&'a Ordinals>,
    pub deleted: &'a Ordinals,
}

impl View<'_> {
    #[inline]
    fn admits(&self, ordinal: u32) -> bool {
        !self.deleted.contains(ordinal) && self.allowed.is_none_or(|allowed| allowed.contains(ordinal))
    }

    /// As `admits`, of what is where its code is.
    #[inline]
    pub(super) fn admits_code(&self, ordinal: u32) -> bool {
        self.admits(ordinal) && !self.graph.strays.contains(ordinal)
    }

    /// How many may be hits, exactly.
    pub fn admitted(&self) -> usize {
        match self.allowed {
            None => self.graph.len() - self.deleted.count(),
            Some(allowed) if self.deleted.count() == 0 => allowed.count(),
            Some(allowed) => allowed.count() - allowed.count_in(self.deleted),
        }
    }

    /// Appends them, from `from` on, until `out` has `count`; where to go on.
    pub(super) fn stretch(&self, from: u32, count: usize, out: &mut Vec<u32>) -> Option<u32> {
        let live = |ordinal: &u32| !self.deleted.contains(*ordinal);
        match self.allowed {
            Some(allowed) => allowed.take_from(from, self.deleted, count, out),
            None => out.extend((from..self.graph.len() as u32).filter(live).take(count - out.len())),
        }
        (out.len() == count).then(|| out[count - 1] + 1)
    }
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct SearchOptions {
    pub limit: usize,
    /// Beam of a walk: more finds more and takes longer.
    pub width: usize,
    /// Scores of all originals instead of any approximation.
    pub is_exact: bool,
}

#[derive(Debug)]
enum Phase {
    Begin,
    Walk { width: usize, is_two_hop: bool },
    Scan(Scan),
    Exact { from: u32, top: Top },
    Rank { candidates: Vec<u64>, next: usize, top: Top },
    Done(Vec<Hit>),
}

/// What a search needs besides what it searches; of use to the next one, as its memory is there.
#[derive(Debug, Default)]
pub struct Scratch {
    exact: ExactQuery,
    codes: CodeQuery,
    walk: walk::Scratch,
    stretch: Stretch,
}

/// How it went, for `explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub plan: Plan,
    /// A walk did not find enough, and another one among what the filter lets through followed, or a scan.
    pub fell_back: bool,
    pub admitted: usize,
    pub effort: Effort,
    /// Originals that were scored.
    pub ranked: u64,
}

pub struct Search {
    options: SearchOptions,
    scratch: Box<Scratch>,
    account: Account,
    phase: Phase,
}

impl Search {
    /// `scratch` comes back from [`Search::finish`], for the search of the next part.
    pub fn new(view: View<'_>, query: &[f32], options: SearchOptions, mut scratch: Box<Scratch>) -> Search {
        let admitted = view.admitted();
        let SearchOptions { limit, width, is_exact } = options;
        let graph = view.graph;
        let (nodes, unlinked) = (graph.linked(), graph.len() - graph.linked());
        graph.prepare(query, &mut scratch.codes);
        scratch.exact.set(query, scratch.codes.length);
        // A query far outside of what the grid was made for is not where its code is.
        let is_exact = is_exact || graph.is_provisional || graph.grid().is_beyond(&scratch.codes);
        let mut plan = plan(Question { nodes, admitted, limit, width, is_exact });
        if plan != Plan::Exact && unlinked > nodes.min(UNLINKED_MAX) {
            plan = Plan::Scan;
        }
        let account = Account { plan, fell_back: false, admitted, effort: Effort::default(), ranked: 0 };
        Search { options, scratch, account, phase: Phase::Begin }
    }

    /// As `run`, with a plan of the caller's.
    #[cfg(test)]
    pub(super) fn with_plan(
        view: View<'_>,
        query: &[f32],
        options: SearchOptions,
        plan: Plan,
    ) -> (Vec<Hit>, Account) {
        let mut search = Search::new(view, query, options, Box::default());
        search.account.plan = plan;
        while !search.step(view, u64::MAX) {}
        let (hits, account, _) = search.finish();
        (hits, account)
    }

    /// All at once.
    pub fn run(
        view: View<'_>,
        query: &[f32],
        options: SearchOptions,
        scratch: Box<Scratch>,
    ) -> (Vec<Hit>, Account, Box<Scratch>) {
        let mut search = Search::new(view, query, options, scratch);
        while !search.step(view, u64::MAX) {}
        search.finish()
    }

    /// Looks at about `budget` codes; true when the hits are there.
    pub fn step(&mut self, view: View<'_>, budget: u64) -> bool {
        let end = self.spent().saturating_add(budget.max(1));
        while self.spent() < end && !matches!(self.phase, Phase::Done(_)) {
            let left = end - self.spent();
            let phase = std::mem::replace(&mut self.phase, Phase::Begin);
            self.phase = match phase {
                Phase::Begin => self.begin(view),
                Phase::Walk { width, is_two_hop } => self.walk(view, width, is_two_hop, left),
                Phase::Scan(scan) => self.scan(view, scan, left),
                Phase::Exact { from, top } => self.score(view, from, top, left),
                Phase::Rank { candidates, next, top } => self.rank(view, candidates, next, top, left),
                done => done,
            };
        }
        matches!(self.phase, Phase::Done(_))
    }

    /// The hits, best first, when the last step said so.
    pub fn finish(self) -> (Vec<Hit>, Account, Box<Scratch>) {
        match self.phase {
            Phase::Done(hits) => (hits, self.account, self.scratch),
            _ => panic!("not all steps were made"),
        }
    }

    fn question(&self, view: View<'_>) -> Question {
        let SearchOptions { limit, width, is_exact } = self.options;
        Question { nodes: view.graph.linked(), admitted: self.account.admitted, limit, width, is_exact }
    }

    fn spent(&self) -> u64 {
        self.account.effort.coarse + self.account.effort.visits + ORIGINAL_COST * self.account.ranked
    }

    /// Candidates that are ranked.
    fn ranked(&self, view: View<'_>) -> usize {
        self.options.limit * if view.graph.is_exact() { 1 } else { RANKED_A_HIT }
    }

    fn begin(&mut self, view: View<'_>) -> Phase {
        self.begin_as(self.account.plan, view)
    }

    fn begin_as(&mut self, plan: Plan, view: View<'_>) -> Phase {
        let ranked = self.ranked(view);
        let Search { scratch, account, .. } = self;
        let Scratch { codes, walk, stretch, .. } = &mut **scratch;
        match plan {
            Plan::Exact => Phase::Exact { from: 0, top: Top::new(self.options.limit) },
            Plan::Scan => Phase::Scan(Scan::new(self.options.limit, ranked, stretch)),
            Plan::Walk { width } => {
                walk::begin(view.graph, codes, (width, ranked), |_| false, walk, &mut account.effort);
                Phase::Walk { width, is_two_hop: false }
            }
            Plan::TwoHop { width } => {
                let admits = |node| view.admits_code(node);
                walk::begin(view.graph, codes, (width, ranked), admits, walk, &mut account.effort);
                Phase::Walk { width, is_two_hop: true }
            }
        }
    }

    fn walk(&mut self, view: View<'_>, width: usize, is_two_hop: bool, budget: u64) -> Phase {
        let Search { scratch, account, .. } = self;
        let Scratch { codes, walk: scratch, .. } = &mut **scratch;
        let (graph, effort) = (view.graph, &mut account.effort);
        let is_over = match is_two_hop {
            false => walk::step(graph, codes, DOUBT, budget, scratch, effort),
            true => {
                let admits = |node| view.admits_code(node);
                walk::step_over(graph, codes, DOUBT, admits, budget, scratch, effort)
            }
        };
        if !is_over {
            return Phase::Walk { width, is_two_hop };
        }
        let found = scratch.beam.entries().iter().map(|entry| entry & !1);
        let mut candidates: Vec<u64> = found.filter(|entry| view.admits_code(node_of(*entry))).collect();
        // Half of what a walk without a filter would have found: less is a filter that avoids the query.
        let wanted = self.options.width.div_ceil(2).max(self.options.limit);
        if candidates.len() < wanted.min(self.account.admitted) {
            self.account.fell_back = true;
            let elsewhere = if is_two_hop { Plan::Scan } else { plan_elsewhere(self.question(view)) };
            return self.begin_as(elsewhere, view);
        }
        self.add_unlinked(view, &mut candidates);
        candidates.truncate(self.ranked(view));
        self.rank_of(candidates, view)
    }

    /// What was not linked yet when the walk began is few, and measured in full. What of it was linked since is behind
    /// nodes that the walk may have passed.
    fn add_unlinked(&mut self, view: View<'_>, candidates: &mut Vec<u64>) {
        let graph = view.graph;
        let walked = self.scratch.walk.visited.nodes() as u32;
        let tail: Vec<u32> = (walked..graph.len() as u32).filter(|node| view.admits_code(*node)).collect();
        if !tail.is_empty() {
            let mut distances = Vec::new();
            graph.fine(&self.scratch.codes, &tail, &mut distances);
            self.account.effort.coarse += tail.len() as u64;
            self.account.effort.fine += tail.len() as u64;
            candidates.extend(tail.iter().zip(&distances).map(|(node, distance)| entry(*distance, *node)));
            candidates.sort_unstable();
        }
    }

    fn scan(&mut self, view: View<'_>, mut scan: Scan, budget: u64) -> Phase {
        let end = self.account.effort.coarse.saturating_add(budget);
        while self.account.effort.coarse < end {
            let Scratch { codes, stretch, .. } = &mut *self.scratch;
            if scan.step(view, codes, stretch, &mut self.account.effort) {
                return self.rank_of(scan.finish(), view);
            }
        }
        Phase::Scan(scan)
    }

    fn rank_of(&self, mut candidates: Vec<u64>, view: View<'_>) -> Phase {
        let top = Top::new(self.options.limit);
        if let Some(last) = self.options.limit.checked_sub(1).and_then(|last| candidates.get(last)) {
            let limit = view.graph.grid().fine_limit(distance_of(*last));
            candidates.truncate(candidates.partition_point(|entry| distance_of(*entry) <= limit));
        }
        if view.graph.is_exact() {
            // Zero has one sign, as in `Metric::score`.
            let hits = candidates
                .iter()
                .take(self.options.limit)
                .map(|entry| Hit { ordinal: node_of(*entry), score: 0.0 - distance_of(*entry) as f32 });
            if self.scratch.codes.is_whole() {
                return Phase::Done(hits.collect());
            }
        }
        let strays = view.graph.strays.iter().filter(|stray| view.admits(*stray));
        candidates.extend(strays.map(|stray| entry(0, stray)));
        Phase::Rank { candidates, next: 0, top }
    }

    fn rank(
        &mut self,
        view: View<'_>,
        candidates: Vec<u64>,
        next: usize,
        mut top: Top,
        budget: u64,
    ) -> Phase {
        let count = (budget / ORIGINAL_COST).max(1).min((candidates.len() - next) as u64) as usize;
        for entries in candidates[next..next + count].chunks(SCORED_NODES) {
            // All are under way before the first is used.
            entries.iter().for_each(|entry| ask_for(view.originals.original(node_of(*entry))));
            for entry in entries {
                top.offer(self.word(view, node_of(*entry)));
            }
        }
        match next + count < candidates.len() {
            true => Phase::Rank { candidates, next: next + count, top },
            false => Phase::Done(top.finish().into_iter().map(hit_of).collect()),
        }
    }

    fn score(&mut self, view: View<'_>, mut from: u32, mut top: Top, budget: u64) -> Phase {
        let end = self.account.ranked.saturating_add((budget / ORIGINAL_COST).max(1));
        let mut nodes = Vec::new();
        while self.account.ranked < end {
            nodes.clear();
            let next = view.stretch(from, SCORED_NODES, &mut nodes);
            nodes.iter().for_each(|node| ask_for(view.originals.original(*node)));
            for node in &nodes {
                top.offer(self.word(view, *node));
            }
            match next {
                Some(next) => from = next,
                None => return Phase::Done(top.finish().into_iter().map(hit_of).collect()),
            }
        }
        Phase::Exact { from, top }
    }

    fn word(&mut self, view: View<'_>, ordinal: u32) -> u64 {
        self.account.ranked += 1;
        let View { graph, originals, .. } = view;
        let original = originals.original(ordinal);
        let metric = graph.grid().metric();
        word_of(Hit {
            ordinal,
            score: metric.score(&graph.kernels, originals.element(), &self.scratch.exact, original),
        })
    }
}

/// Its first lines; the processor goes on by itself.
fn ask_for(original: &[u8]) {
    const LINES: usize = 12;
    let lines = (0..original.len().min(LINES * LINE_BYTES)).step_by(LINE_BYTES);
    lines.for_each(|at| prefetch(original.as_ptr().wrapping_add(at)));
}
