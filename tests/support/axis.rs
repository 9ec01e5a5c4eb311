//! The order of the writes of a tablet or of a shard, and how much of it a recovery may have kept.
//!
//! What survives of a log is a beginning of it. Each key says which ends of that beginning would show
//! what was seen of it; together they must leave one.

/// `[from, to)`.
type Span = (u64, u64);

pub struct Axis {
    /// Ends that explain everything so far.
    ends: Vec<Span>,
}

impl Axis {
    /// Everything up to `floor` is there.
    pub fn from(floor: u64) -> Axis {
        Axis { ends: vec![(floor, u64::MAX)] }
    }

    /// Keeps the ends that lie in one of the spans as well; false when none is left.
    pub fn keep(&mut self, spans: &[Span]) -> bool {
        let meet = |one: &Span, other: &Span| (one.0.max(other.0), one.1.min(other.1));
        let both = self.ends.iter().flat_map(|end| spans.iter().map(|span| meet(end, span)));
        self.ends = both.filter(|(from, to)| from < to).collect();
        !self.ends.is_empty()
    }

    /// Whether an end in the span is possible.
    pub fn may_end_in(&self, span: Span) -> bool {
        self.ends.iter().any(|end| end.0.max(span.0) < end.1.min(span.1))
    }
}

/// The spans in which the states behind each of `positions` (ascending) are the last ones; the first
/// is that before all.
pub fn spans(positions: impl Iterator<Item = u64>) -> Vec<Span> {
    let mut starts = vec![0];
    starts.extend(positions);
    let ends = starts.iter().copied().skip(1).chain([u64::MAX]).collect::<Vec<_>>();
    starts.into_iter().zip(ends).collect()
}
