//! From sorted keys to a learned index, in steps that a core can put between its requests.
//!
//! [`Trainer::step`] does as much as its budget of keys allows. The phases:
//! 1. **Sample**: stretches of the keys are cut at every eps. The smallest eps whose segments fit the
//!    model budget is taken, or a coarser one for as long as doubling it leaves a third of the segments:
//!    then the keys are a line with noise on it, which the corrections take out better than segments do,
//!    and a small model leaves the core's own cache to the corrections.
//! 2. **Segments**: one pass. When the sample was not like the rest and the budget is passed, the pass
//!    begins again with twice the eps, at most to [`EPS_MAX`].
//! 3. **Router**, at once: it is small.
//! 4. **Corrections**: one pass that predicts every key as a lookup would and measures the error.

use super::correction::{Corrections, Measure};
use super::kernel::Proven;
use super::keys::KeyArray;
use super::learned::Learned;
use super::memory::Memory;
use super::router::{CELLS_A_SEGMENT, Router};
use super::segment::{Cone, Line, Segment, Segments};

pub const EPS_MIN: u32 = 16;
pub const EPS_MAX: u32 = 256;
/// Of segments and router.
pub const MODEL_BYTES_DEFAULT: usize = 512 << 10;

/// Line, first key, and its part of the router.
const SEGMENT_BYTES: usize = size_of::<Line>() + size_of::<u64>() + CELLS_A_SEGMENT * size_of::<u16>();
/// Longer than most segments, or the sample would tell little of coarse ones.
const STRETCHES: usize = 8;
const STRETCH_KEYS: usize = 1 << 16;
/// Above this, a byte would not hold the corrections.
const EPS_COARSER_MAX: u32 = 128;

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
            correction_shift: Some(6),
            memory: Memory::plain(),
        }
    }
}

enum Phase {
    Sample(Sample),
    Segments { eps: u32, next: usize, cone: Option<Cone> },
    Corrections { eps: u32, next: usize, segment: usize, measure: Measure, learned: Box<Learned> },
    Done(Box<Learned>),
    Taken,
}

/// The sample at one eps.
struct Sample {
    eps: u32,
    stretch: usize,
    /// Keys of the stretch that were seen, and the segment under way.
    seen: usize,
    cone: Option<Cone>,
    segments: usize,
    /// Segments of the sample at half the eps, if they would fit the budget.
    before: Option<usize>,
}

impl Sample {
    fn at(eps: u32, before: Option<usize>) -> Sample {
        Sample { eps, stretch: 0, seen: 0, cone: None, segments: 0, before }
    }

    /// Goes on in the stretch, up to its key number `end`.
    fn look_at(&mut self, stretch: &[u64], end: usize) {
        for (rank, key) in stretch.iter().enumerate().take(end).skip(self.seen) {
            if !self.cone.as_mut().is_some_and(|cone| cone.take(*key, rank as u32)) {
                self.segments += 1;
                self.cone = Some(Cone::new(self.eps, *key, rank as u32));
            }
        }
        self.seen = end;
        if end == stretch.len() {
            (self.stretch, self.seen, self.cone) = (self.stretch + 1, 0, None);
        }
    }
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
            None => Phase::Sample(Sample::at(EPS_MIN, None)),
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
            Phase::Sample(sample) => self.sample(keys, sample, budget),
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

    fn sample(&self, keys: &KeyArray, mut sample: Sample, budget: usize) -> Phase {
        let keys = keys.as_slice();
        let seen = keys.len().min(STRETCHES * STRETCH_KEYS);
        let stretches = seen.div_ceil(STRETCH_KEYS);
        let apart = match seen == keys.len() {
            true => STRETCH_KEYS,
            false => (keys.len() - STRETCH_KEYS) / (STRETCHES - 1),
        };
        let mut left = budget;
        while sample.stretch < stretches {
            if left == 0 {
                return Phase::Sample(sample);
            }
            let begin = sample.stretch * apart;
            let stretch = &keys[begin..keys.len().min(begin + STRETCH_KEYS)];
            let end = stretch.len().min(sample.seen.saturating_add(left));
            left -= end - sample.seen;
            sample.look_at(stretch, end);
        }
        let Sample { eps, segments, before, .. } = sample;
        // A stretch ends in the middle of a segment, half of it on average.
        let segments = segments - stretches / 2;
        if before.is_some_and(|before| segments * 3 > before) {
            return Phase::Segments { eps: eps / 2, next: 0, cone: None };
        }
        let fits = segments as u64 * keys.len() as u64 <= self.segments_max() as u64 * seen as u64;
        if eps >= if fits { EPS_COARSER_MAX } else { EPS_MAX } {
            return Phase::Segments { eps, next: 0, cone: None };
        }
        let before = fits.then_some(segments);
        Phase::Sample(Sample::at(eps * 2, before))
    }

    fn grow(&mut self, keys: &KeyArray, eps: u32, next: usize, cone: Option<Cone>, budget: usize) -> Phase {
        let all = keys.as_slice();
        let Some(mut cone) = cone.or_else(|| all.first().map(|first| Cone::new(eps, *first, 0))) else {
            self.segments = vec![Segment { first: 0, line: Line::FLAT }];
            return self.route(keys, eps);
        };
        let begin = next.max(1);
        let end = all.len().min(begin.saturating_add(budget));
        for (rank, key) in all.iter().enumerate().take(end).skip(begin) {
            if !cone.take(*key, rank as u32) {
                self.segments.push(cone.segment(rank as u32));
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
        self.segments.push(cone.segment(all.len() as u32));
        self.route(keys, eps)
    }

    fn route(&mut self, keys: &KeyArray, eps: u32) -> Phase {
        let options = &self.options;
        let segments = Segments::new(&std::mem::take(&mut self.segments));
        let last = keys.as_slice().last().copied().unwrap_or(0);
        let router = Router::build(segments.firsts(), last, options.model_bytes / 4, Memory::plain());
        let shift = options.correction_shift;
        let corrections = shift.map(|shift| Corrections::new(shift, keys.len(), options.memory));
        let measure = Measure::new(shift.unwrap_or(u32::BITS));
        let proven = Proven::best();
        let learned = Learned { segments, router, corrections, eps, max_error: 0, proven };
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
        let Learned { segments, corrections, .. } = &mut *learned;
        let table = corrections.as_mut().map_or(&mut unused[..], Corrections::table_mut);
        while next < stop {
            let Segment { first, line } = segments.get(segment);
            let end = (line.start + line.span) as usize;
            let until = stop.min(end);
            for (rank, key) in all.iter().enumerate().take(until).skip(next) {
                measure.see(rank as i64, i64::from(line.predict(*key - first)), table);
            }
            next = until;
            segment += usize::from(until == end);
        }
        if next < all.len() {
            return Phase::Corrections { eps, next, segment, measure, learned };
        }
        let (raw, corrected) = measure.finish(all.len() as i64, table);
        learned.max_error = if learned.corrections.is_some() { corrected } else { raw };
        Phase::Done(learned)
    }
}
