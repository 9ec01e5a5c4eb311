//! A new segment of what is live in others, or in a head, in steps.
//!
//! Vectors are coded anew from their originals, by a grid made of a sample of them, and the graph is built
//! anew. What is deleted meanwhile is found by [`Merged::origins`]: the caller deletes it from the new segment
//! before the swap.

use super::allowed::Ordinals;
use super::element::Originals;
use super::graph::build::{BuildOptions, Builder};
use super::metric::Metric;
use super::segment::Segment;
use super::training::{Extent, Training};

/// Vectors that a grid is made of.
const SAMPLE: usize = 1_000;
/// Reading and coding so many vectors takes about as long as linking one.
const VECTORS_A_LINK: usize = 64;
/// And so many may be seen by the training of a grid.
pub(super) const TRAINED_A_LINK: usize = 8;
/// Or so many ordinals listed.
const ORDINALS_A_LINK: usize = 4096;

/// Where a vector of the new segment came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Place among the sources.
    pub source: u32,
    pub ordinal: u32,
}

pub struct Merged {
    pub segment: Segment,
    /// By new ordinal.
    pub origins: Vec<Origin>,
}

enum Phase {
    /// Lists what lives, from this on.
    List(Origin),
    /// What is known of those before `next`.
    Measure {
        next: usize,
        extent: Extent,
    },
    /// A pass over the sample, of which `next` comes next.
    Train {
        next: usize,
        training: Box<Training>,
    },
    Push {
        next: usize,
        builder: Builder,
    },
    Link(Builder),
    Done(Segment),
}

pub struct Merge {
    metric: Metric,
    dimension: usize,
    options: BuildOptions,
    live: Vec<Ordinals>,
    origins: Vec<Origin>,
    phase: Option<Phase>,
}

impl Merge {
    /// `live`: of each source, what goes into the new segment.
    pub fn new(metric: Metric, dimension: usize, live: Vec<Ordinals>, options: BuildOptions) -> Merge {
        let origins = Vec::with_capacity(live.iter().map(Ordinals::count).sum());
        let phase = Some(Phase::List(Origin { source: 0, ordinal: 0 }));
        Merge { metric, dimension, options, live, origins, phase }
    }

    /// Links about `budget` nodes; true when the segment is ready. `originals`: of each source, every time the
    /// same.
    pub fn step(&mut self, originals: &[&dyn Originals], budget: usize) -> bool {
        let vectors = budget.max(1).saturating_mul(VECTORS_A_LINK);
        let phase = self.phase.take().expect("there is always one");
        self.phase = Some(match phase {
            Phase::List(from) => self.list(from, budget.max(1).saturating_mul(ORDINALS_A_LINK)),
            Phase::Measure { next, extent } => self.measure(originals, next, extent, vectors),
            Phase::Train { next, training } => {
                self.train(originals, next, training, budget.max(1).saturating_mul(TRAINED_A_LINK))
            }
            Phase::Push { next, builder } => self.push(originals, next, builder, vectors),
            Phase::Link(mut builder) => match builder.step(budget) {
                true => Phase::Done(Segment::new(builder.finish())),
                false => Phase::Link(builder),
            },
            done => done,
        });
        matches!(self.phase, Some(Phase::Done(_)))
    }

    /// What part of the work is done, about.
    pub fn fraction(&self) -> f64 {
        match &self.phase {
            Some(Phase::Link(builder)) => builder.fraction(),
            Some(Phase::Done(_)) => 1.0,
            _ => 0.0,
        }
    }

    pub fn finish(self) -> Merged {
        match self.phase {
            Some(Phase::Done(segment)) => Merged { segment, origins: self.origins },
            _ => panic!("not all steps were made"),
        }
    }

    fn read(&self, originals: &[&dyn Originals], at: usize, out: &mut [f32]) {
        let Origin { source, ordinal } = self.origins[at];
        let originals = originals[source as usize];
        originals.element().decode(originals.original(ordinal), out);
    }

    fn list(&mut self, from: Origin, budget: usize) -> Phase {
        let Origin { source, ordinal } = from;
        let Some(live) = self.live.get(source as usize) else {
            return Phase::Measure { next: 0, extent: Extent::new(self.metric) };
        };
        let before = self.origins.len();
        let ordinals = live.iter_from(ordinal).take(budget);
        self.origins.extend(ordinals.map(|ordinal| Origin { source, ordinal }));
        match self.origins.last() {
            Some(last) if self.origins.len() - before == budget => {
                Phase::List(Origin { source, ordinal: last.ordinal + 1 })
            }
            _ => Phase::List(Origin { source: source + 1, ordinal: 0 }),
        }
    }

    fn measure(&self, originals: &[&dyn Originals], next: usize, mut extent: Extent, budget: usize) -> Phase {
        let count = self.origins.len();
        let end = count.min(next.saturating_add(budget));
        let mut vector = vec![0.0; self.dimension];
        for at in next..end {
            if extent.is_settled() {
                break;
            }
            self.read(originals, at, &mut vector);
            extent.see(&vector);
        }
        if end < count && !extent.is_settled() {
            return Phase::Measure { next: end, extent };
        }
        Phase::Train { next: 0, training: Box::new(Training::new(self.dimension, extent)) }
    }

    fn train(
        &self,
        originals: &[&dyn Originals],
        next: usize,
        mut training: Box<Training>,
        budget: usize,
    ) -> Phase {
        let count = self.origins.len();
        let apart = count.div_ceil(SAMPLE).max(1);
        let sample = count.div_ceil(apart);
        let end = sample.min(next.saturating_add(budget));
        let mut vector = vec![0.0; self.dimension];
        for at in next..end {
            self.read(originals, at * apart, &mut vector);
            training.see(&vector);
        }
        if end < sample {
            return Phase::Train { next: end, training };
        }
        match training.end_pass() {
            None => Phase::Train { next: 0, training },
            Some(grid) => Phase::Push { next: 0, builder: Builder::new(grid, count, self.options) },
        }
    }

    fn push(&self, originals: &[&dyn Originals], next: usize, mut builder: Builder, budget: usize) -> Phase {
        let end = self.origins.len().min(next.saturating_add(budget));
        let mut vector = vec![0.0; self.dimension];
        for at in next..end {
            self.read(originals, at, &mut vector);
            builder.push(&vector);
        }
        match end < self.origins.len() {
            true => Phase::Push { next: end, builder },
            false => Phase::Link(builder),
        }
    }
}
