//! What workloads reached: a suite that comes to no merges says nothing of crashes in them.

use std::collections::BTreeMap;
use std::fmt;

use kyrodb::shard::decisions::Kind;
use kyrodb::shard::stats::ShardStats;

use super::cluster::Cluster;
use super::ledger::Ledger;

#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// Writes that were acknowledged.
    pub acked: u64,
    /// Changes of the map that their client was told of.
    pub maps: u64,
    decisions: BTreeMap<(Kind, &'static str), u64>,
}

impl Reached {
    /// Of a life that goes no further.
    pub fn note(&mut self, cluster: &mut Cluster, ledger: &Ledger) {
        let acked = ledger.entries.iter().filter(|entry| matches!(entry.answer, Some((_, Ok(_)))));
        self.acked += acked.count() as u64;
        // The first is that of the start.
        self.maps += ledger.maps.len().saturating_sub(1) as u64;
        let node = cluster.nodes[0].clone();
        let stats = cluster.run(0, async move { node.stats().await });
        self.note_decisions(&stats);
    }

    pub fn note_decisions(&mut self, stats: &[ShardStats]) {
        for (kind, reason, count) in stats.iter().flat_map(|stats| stats.decisions.iter()) {
            *self.decisions.entry((kind, reason)).or_default() += count;
        }
    }

    pub fn add(&mut self, other: &Reached) {
        self.acked += other.acked;
        self.maps += other.maps;
        for (decision, count) in &other.decisions {
            *self.decisions.entry(*decision).or_default() += count;
        }
    }

    pub fn count(&self, kind: Kind) -> u64 {
        self.decisions.iter().filter(|((of, _), _)| *of == kind).map(|(_, count)| count).sum()
    }

    pub fn for_reason(&self, kind: Kind, reason: &'static str) -> u64 {
        self.decisions.get(&(kind, reason)).copied().unwrap_or(0)
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes, {} changes of the map", self.acked, self.maps)?;
        let mut decisions = self.decisions.iter();
        decisions.try_for_each(|((kind, reason), count)| write!(f, ", {count} {} {reason}", kind.name()))
    }
}
