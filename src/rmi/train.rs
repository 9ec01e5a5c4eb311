//! From sorted keys to a learned index, in steps that a core can put between its requests.
//!
//! [`Trainer::step`] does as much as its budget of keys allows. The phases:
//! 1. **Sample**: stretches of the keys are cut at every eps; the smallest eps whose segments fit the
//!    model budget is taken. A fine model needs fewer looks at keys, and one that outgrows the core's own
//!    cache loses more than it gains.
//! 2. **Segments**: one pass. When the sample was not like the rest and the budget is passed, the pass
//!    begins again with twice the eps, at most to [`EPS_MAX`].
//! 3. **Router**, at once: it is small.
//! 4. **Corrections**: one pass that predicts every key as a lookup would and measures the error.

use super::correction::{Corrections, Measure};
use super::kernel::Proven;
use super::keys::{KeyArray, KeyArrayBuilder};
use super::learned::{Learned, Param};
use super::memory::{LINE_KEYS, Memory};
use super::router::Router;
use super::segment::{Cone, Segment, predict};

pub const EPS_MIN: u32 = 16;
pub const EPS_MAX: u32 = 256;
/// Of segments and router.
pub const MODEL_BYTES_DEFAULT: usize = 512 << 10;

/// Line, first key, and its part of the router.
const SEGMENT_BYTES: usize = 16 + 8 + 4;
const STRETCHES: usize = 32;
const STRETCH_KEYS: usize = 8192;

#[derive(Clone, Copy, Debug)]
pub struct TrainOptions {
    /// What segments and router may take; passed only when even [`EPS_MAX`] needs more.
    pub model_bytes: usize,
    /// Instead of the one that fits.
    pub eps: Option<u32>,
    /// Predicted ranks of a correction, as a power of two; none: no table.
    pub correction_shift: Option<u32>,
    pub memory: Memory,
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        TrainOptions {
            model_bytes: MODEL_BYTES_DEFAULT,
            eps: None,
            correction_shift: Some(5),
            memory: Memory::plain(),
        }
    }
}

enum Phase {
    Sample { eps: u32, stretch: usize, segments: usize },
    Segments { eps: u32, next: usize, cone: Option<Cone> },
    Corrections { eps: u32, next: usize, segment: usize, measure: Measure, learned: Box<Learned> },
    Done(Box<Learned>),
    Taken,
}

/// Trains one learned index.
pub struct Trainer {
    options: TrainOptions,
    segments: Vec<Segment>,
    phase: Phase,
}

impl Trainer {
    pub fn new(options: TrainOptions) -> Trainer {
        let phase = match options.eps {
            Some(eps) => Phase::Segments { eps, next: 0, cone: None },
            None => Phase::Sample { eps: EPS_MIN, stretch: 0, segments: 0 },
        };
        Trainer { options, segments: Vec::new(), phase }
    }

    /// All at once.
    pub fn train(keys: &KeyArray, options: TrainOptions) -> Learned {
        let mut trainer = Trainer::new(options);
        while !trainer.step(keys, usize::MAX) {}
        trainer.finish().expect("the last step said so")
    }

    /// Looks at about `budget` keys; true when the index is ready. `keys` are the same at each step.
    pub fn step(&mut self, keys: &KeyArray, budget: usize) -> bool {
        let budget = budget.max(1);
        self.phase = match std::mem::replace(&mut self.phase, Phase::Taken) {
            Phase::Sample { eps, stretch, segments } => self.sample(keys, eps, stretch, segments, budget),
            Phase::Segments { eps, next, cone } => self.grow(keys, eps, next, cone, budget),
            Phase::Corrections { eps, next, segment, measure, learned } => {
                Trainer::correct(keys, eps, next, segment, measure, learned, budget)
            }
            done => done,
        };
        matches!(self.phase, Phase::Done(_))
    }

    pub fn finish(self) -> Option<Learned> {
        match self.phase {
            Phase::Done(learned) => Some(*learned),
            _ => None,
        }
    }

    fn segments_max(&self) -> usize {
        (self.options.model_bytes / SEGMENT_BYTES).max(1)
    }

    fn sample(
        &self,
        keys: &KeyArray,
        mut eps: u32,
        mut stretch: usize,
        mut segments: usize,
        budget: usize,
    ) -> Phase {
        let keys = keys.as_slice();
        let seen = keys.len().min(STRETCHES * STRETCH_KEYS);
        let whole = seen == keys.len();
        let mut left = budget;
        while eps < EPS_MAX {
            while stretch < seen.div_ceil(STRETCH_KEYS) {
                if left == 0 {
                    return Phase::Sample { eps, stretch, segments };
                }
                let begin = match whole {
                    true => stretch * STRETCH_KEYS,
                    false => (keys.len() - STRETCH_KEYS) / (STRETCHES - 1) * stretch,
                };
                let end = keys.len().min(begin + STRETCH_KEYS);
                segments += count_segments(&keys[begin..end], eps);
                stretch += 1;
                left = left.saturating_sub(end - begin);
            }
            // A stretch ends in the middle of a segment, half of it on average.
            let whole_segments = segments.saturating_sub(stretch / 2) as u64;
            if whole_segments * keys.len() as u64 / seen.max(1) as u64 <= self.segments_max() as u64 {
                break;
            }
            (eps, stretch, segments) = (eps * 2, 0, 0);
        }
        Phase::Segments { eps, next: 0, cone: None }
    }

    fn grow(&mut self, keys: &KeyArray, eps: u32, next: usize, cone: Option<Cone>, budget: usize) -> Phase {
        let all = keys.as_slice();
        let Some(mut cone) = cone.or_else(|| all.first().map(|first| Cone::new(eps, *first, 0))) else {
            self.segments = vec![Segment { first: 0, slope: 0, start: 0 }];
            return self.route(keys, eps);
        };
        let begin = next.max(1);
        let end = all.len().min(begin.saturating_add(budget));
        for (rank, key) in all.iter().enumerate().take(end).skip(begin) {
            if !cone.take(*key, rank as u32) {
                self.segments.push(cone.segment());
                cone = Cone::new(eps, *key, rank as u32);
            }
        }
        let too_many = self.segments.len() > self.segments_max() + self.segments_max() / 4;
        if too_many && eps < EPS_MAX && self.options.eps.is_none() {
            self.segments.clear();
            return Phase::Segments { eps: eps * 2, next: 0, cone: None };
        }
        if end < all.len() {
            return Phase::Segments { eps, next: end, cone: Some(cone) };
        }
        self.segments.push(cone.segment());
        self.route(keys, eps)
    }

    fn route(&mut self, keys: &KeyArray, eps: u32) -> Phase {
        let Trainer { segments, options, .. } = self;
        let starts = segments.iter().map(|segment| segment.start).skip(1).chain([keys.len() as u32]);
        let params = segments.iter().zip(starts);
        let params: Vec<Param> =
            params.map(|(segment, end)| Param { slope: segment.slope, start: segment.start, end }).collect();
        let mut firsts = KeyArrayBuilder::new(segments.len() + LINE_KEYS, Memory::plain());
        for segment in segments.iter() {
            firsts.push(&[segment.first]).expect("segments are in order");
        }
        let firsts = firsts.finish();
        let last = keys.as_slice().last().copied().unwrap_or(0);
        let router = Router::build(&firsts, last, options.model_bytes / 4, Memory::plain());
        let shift = options.correction_shift;
        let corrections = shift.map(|shift| Corrections::new(shift, keys.len(), options.memory));
        let measure = Measure::new(shift.unwrap_or(u32::BITS));
        let proven = Proven::best();
        let learned = Learned { firsts, params, router, corrections, eps, max_error: 0, proven };
        *segments = Vec::new();
        Phase::Corrections { eps, next: 0, segment: 0, measure, learned: Box::new(learned) }
    }

    fn correct(
        keys: &KeyArray,
        eps: u32,
        mut next: usize,
        mut segment: usize,
        mut measure: Measure,
        mut learned: Box<Learned>,
        budget: usize,
    ) -> Phase {
        let all = keys.as_slice();
        let stop = all.len().min(next.saturating_add(budget));
        let mut unused = [0_i8; 1];
        let Learned { firsts, params, corrections, .. } = &mut *learned;
        let table = corrections.as_mut().map_or(&mut unused[..], Corrections::table_mut);
        while next < stop {
            let Param { slope, start, end } = params[segment];
            let first = firsts.as_slice()[segment];
            let until = stop.min(end as usize);
            for (rank, key) in all.iter().enumerate().take(until).skip(next) {
                measure.see(rank as i64, i64::from(predict(start, slope, end, key - first)), table);
            }
            next = until;
            segment += usize::from(until == end as usize);
        }
        if next < all.len() {
            return Phase::Corrections { eps, next, segment, measure, learned };
        }
        let (raw, corrected) = measure.finish(all.len() as i64, table);
        learned.max_error = if learned.corrections.is_some() { corrected } else { raw };
        Phase::Done(learned)
    }
}

fn count_segments(keys: &[u64], eps: u32) -> usize {
    let Some(first) = keys.first() else { return 0 };
    let mut cone = Cone::new(eps, *first, 0);
    let mut segments = 1;
    for (rank, key) in keys.iter().enumerate().skip(1) {
        if !cone.take(*key, rank as u32) {
            segments += 1;
            cone = Cone::new(eps, *key, rank as u32);
        }
    }
    segments
}
