//! How a search is done: a pure function of what is known before it.
//!
//! What is compared is the expected number of codes looked at. A scan looks at every survivor of the filter,
//! in order; a walk with a result filter needs a beam that is wider by what the filter takes away; a walk over
//! survivors alone crosses what the filter removed by way of neighbours of neighbours (ACORN-1: Patel et al.,
//! SIGMOD 2024), which reads several lists of neighbours for each node. The factors are measured: see
//! [`Costs`].

/// How a search is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Scores of the originals of all that may be hits.
    Exact,
    /// Codes of all that may be hits, the best ranked by their originals.
    Scan,
    /// A walk through everything, of which the hits are taken that may be.
    Walk { width: usize },
    /// A walk over what may be hits, and over what lies between.
    TwoHop { width: usize },
}

impl Plan {
    pub fn name(self) -> &'static str {
        match self {
            Plan::Exact => "exact",
            Plan::Scan => "scan",
            Plan::Walk { .. } => "walk",
            Plan::TwoHop { .. } => "two_hop",
        }
    }
}

/// What a search is about.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Nodes that walks can reach, deleted ones included.
    pub nodes: usize,
    /// What may be a hit, exactly.
    pub admitted: usize,
    pub limit: usize,
    /// Beam of a walk without a filter.
    pub width: usize,
    pub is_exact: bool,
}

/// In codes looked at by a scan, which has them in order and asks for them ahead.
struct Costs;

impl Costs {
    /// A walk before its beam is about the query.
    const START: usize = 500;
    /// A place of the beam: a visit, and the codes of new neighbours in no order.
    const PLACE: usize = 24;
    /// A place of the beam of a walk over survivors: the lists of its neighbours as well.
    const TWO_HOP_PLACE: usize = 200;
    /// It misses what only a longer way through others leads to: so many halves of the beam make up for that.
    const TWO_HOP_HALVES: usize = 3;
    /// Wider beams than for so many times the places are not worth it.
    const WIDENING_MAX: usize = 4;
    /// A scan of so few is always best.
    const FEW: usize = 1_000;
}

pub fn plan(question: Question) -> Plan {
    let Question { nodes, admitted, limit, is_exact, .. } = question;
    let width = question.width.max(1);
    if is_exact {
        return Plan::Exact;
    }
    if admitted <= Costs::FEW.max(2 * limit) || nodes == 0 {
        return Plan::Scan;
    }
    // Without a filter, fewer visits than hits may be asked for. What waits for its links is admitted and no node.
    let filtered = if admitted >= nodes { width } else { width.max(limit) };
    let widened = (filtered * nodes).div_ceil(admitted).max(filtered);
    let walk = Costs::START + widened * Costs::PLACE;
    let around = (filtered * Costs::TWO_HOP_HALVES).div_ceil(2);
    let two_hop = 2 * Costs::START + around * Costs::TWO_HOP_PLACE;
    let can_widen = widened <= filtered * Costs::WIDENING_MAX;
    if admitted <= if can_widen { walk.min(two_hop) } else { two_hop } {
        Plan::Scan
    } else if can_widen && walk <= two_hop {
        Plan::Walk { width: widened }
    } else {
        Plan::TwoHop { width: around }
    }
}

/// After a walk that found less than it should: what the filter lets through lies elsewhere.
pub fn plan_elsewhere(question: Question) -> Plan {
    let Question { admitted, limit, width, .. } = question;
    let around = (width.max(limit).max(1) * Costs::TWO_HOP_HALVES).div_ceil(2);
    match admitted <= 2 * Costs::START + around * Costs::TWO_HOP_PLACE {
        true => Plan::Scan,
        false => Plan::TwoHop { width: around },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nodes: usize, admitted: usize, limit: usize) -> Plan {
        plan(Question { nodes, admitted, limit, width: 60, is_exact: false })
    }

    #[test]
    fn the_share_of_survivors_decides() {
        assert_eq!(of(1_000_000, 1_000_000, 10), Plan::Walk { width: 60 });
        assert_eq!(of(1_000_000, 500_000, 10), Plan::Walk { width: 120 });
        assert_eq!(of(1_000_000, 100_000, 10), Plan::TwoHop { width: 90 });
        assert_eq!(of(1_000_000, 5_000, 10), Plan::Scan);
        assert_eq!(of(1_000_000, 0, 10), Plan::Scan);
    }

    #[test]
    fn what_is_small_is_scanned() {
        assert_eq!(of(900, 900, 10), Plan::Scan);
        assert_eq!(of(100_000, 1_000, 10), Plan::Scan);
        // As many hits as there is of everything.
        assert_eq!(of(100_000, 100_000, 100_000), Plan::Scan);
    }

    #[test]
    fn what_lies_elsewhere_is_walked_to_when_it_is_much() {
        let of = |admitted| {
            plan_elsewhere(Question { nodes: 1_000_000, admitted, limit: 10, width: 60, is_exact: false })
        };
        assert_eq!((of(10_000), of(500_000)), (Plan::Scan, Plan::TwoHop { width: 90 }));
    }

    #[test]
    fn what_waits_for_its_links_makes_no_beam_narrower() {
        assert_eq!(of(20_000, 24_000, 10), Plan::Walk { width: 60 });
        // Without a filter, and with one that takes nothing of what is linked away.
        assert_eq!(of(20_000, 24_000, 100), Plan::Walk { width: 60 });
    }

    #[test]
    fn exact_is_exact() {
        let question = Question { nodes: 10, admitted: 10, limit: 1, width: 60, is_exact: true };
        assert_eq!(plan(question), Plan::Exact);
    }

    #[test]
    fn a_beam_is_never_narrower_than_the_limit() {
        for limit in [1, 10, 100, 1000] {
            for admitted in (1_000..1_000_000).step_by(777) {
                match of(1_000_000, admitted, limit) {
                    Plan::Walk { width } => assert!(width * admitted >= limit.min(60) * 1_000_000),
                    Plan::TwoHop { width } => assert!(width >= limit),
                    Plan::Scan | Plan::Exact => {}
                }
            }
        }
    }
}
