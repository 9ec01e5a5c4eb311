//! What the load does: the operations of a workload and the records that they meet.
//!
//! The workloads are those of YCSB (Cooper et al., 2010), and two of one operation each. Everything
//! follows from a seed.

use clap::ValueEnum;
use serde::Serialize;

use super::super::values::mix;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Workload {
    /// Half reads, half updates
    A,
    /// 95 % reads, 5 % updates
    B,
    /// Reads only
    C,
    /// 95 % reads of the latest, 5 % inserts
    D,
    /// 95 % scans, 5 % inserts
    E,
    /// Half reads, half read-modify-writes
    F,
    /// Writes only
    Put,
    /// Reads only
    Get,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    Uniform,
    Zipfian,
    /// Zipfian over age
    Latest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    Update,
    Insert,
    Scan,
    ReadModifyWrite,
}

impl Workload {
    /// The more frequent operation, the other one, and how many of a hundred are the former.
    fn mix(self) -> (Operation, Operation, u64) {
        use Operation::{Insert, Read, ReadModifyWrite, Scan, Update};
        match self {
            Workload::A => (Read, Update, 50),
            Workload::B => (Read, Update, 95),
            Workload::C | Workload::Get => (Read, Read, 100),
            Workload::D => (Read, Insert, 95),
            Workload::E => (Scan, Insert, 95),
            Workload::F => (Read, ReadModifyWrite, 50),
            Workload::Put => (Update, Update, 100),
        }
    }

    pub fn default_distribution(self) -> Distribution {
        match self {
            Workload::D => Distribution::Latest,
            Workload::Put | Workload::Get => Distribution::Uniform,
            _ => Distribution::Zipfian,
        }
    }

    /// True when records must be there before it starts.
    pub fn needs_load(self) -> bool {
        self != Workload::Put
    }
}

/// Draws operations and the records that they meet.
pub struct Chooser {
    random: Random,
    workload: Workload,
    distribution: Distribution,
    zipf: Zipf,
    /// Records loaded before the run.
    records: u64,
}

impl Chooser {
    pub fn new(workload: Workload, distribution: Distribution, records: u64, seed: u64) -> Chooser {
        assert!(records > 0, "nothing to choose from");
        Chooser { random: Random(seed), workload, distribution, zipf: Zipf::new(records), records }
    }

    pub fn operation(&mut self) -> Operation {
        let (often, seldom, percent) = self.workload.mix();
        if self.random.below(100) < percent { often } else { seldom }
    }

    /// One of `existing` records, numbered by age from 0; at least the loaded ones exist.
    pub fn record(&mut self, existing: u64) -> u64 {
        assert!(existing >= self.records, "records do not go away");
        match self.distribution {
            Distribution::Uniform => self.random.below(existing),
            // Scattered, or the hottest keys would be neighbours.
            Distribution::Zipfian => mix(self.zipf.rank(self.random.unit())) % self.records,
            Distribution::Latest => existing - 1 - self.zipf.rank(self.random.unit()),
        }
    }

    pub fn scan_limit(&mut self) -> u64 {
        const SCAN_RECORDS_MAX: u64 = 100;
        1 + self.random.below(SCAN_RECORDS_MAX)
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// From 0 to 1, without 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks with frequency 1/rank^0.99 (Gray et al., "Quickly Generating Billion-Record Synthetic
/// Databases", 1994), as in YCSB.
struct Zipf {
    items: f64,
    zeta: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    fn new(items: u64) -> Zipf {
        let zeta: f64 = (1..=items).map(|rank| (rank as f64).powf(-THETA)).sum();
        let zeta_of_two = 1.0 + 0.5f64.powf(THETA);
        let items = items as f64;
        let eta = (1.0 - (2.0 / items).powf(1.0 - THETA)) / (1.0 - zeta_of_two / zeta);
        Zipf { items, zeta, eta }
    }

    /// The rank, from 0, at this point of the distribution.
    fn rank(&self, unit: f64) -> u64 {
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(THETA) {
            return 1.min(self.items as u64 - 1);
        }
        let rank = self.items * (self.eta * unit - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        (rank as u64).min(self.items as u64 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(distribution: Distribution, records: u64, existing: u64, count: usize) -> Vec<u64> {
        let mut chooser = Chooser::new(Workload::A, distribution, records, 7);
        (0..count).map(|_| chooser.record(existing)).collect()
    }

    fn share(drawn: &[u64], of: impl Fn(u64) -> bool) -> f64 {
        drawn.iter().filter(|record| of(**record)).count() as f64 / drawn.len() as f64
    }

    #[test]
    fn every_distribution_stays_within_the_records() {
        for distribution in [Distribution::Uniform, Distribution::Zipfian, Distribution::Latest] {
            for records in [1, 2, 3, 1000] {
                assert!(
                    draw(distribution, records, records + 5, 1000).iter().all(|record| *record < records + 5)
                );
            }
        }
    }

    #[test]
    fn zipfian_has_a_hot_record_and_uniform_has_none() {
        // Rank 0 of 1000 has 1/zeta = 13 % of the draws.
        let hottest = mix(0) % 1000;
        let zipfian = share(&draw(Distribution::Zipfian, 1000, 1000, 100_000), |record| record == hottest);
        assert!((0.12..0.16).contains(&zipfian), "{zipfian}");
        let uniform = share(&draw(Distribution::Uniform, 1000, 1000, 100_000), |record| record == hottest);
        assert!(uniform < 0.002, "{uniform}");
    }

    #[test]
    fn latest_prefers_the_youngest() {
        let drawn = draw(Distribution::Latest, 1000, 1100, 100_000);
        let young = share(&drawn, |record| record >= 1000);
        assert!((0.6..0.8).contains(&young), "{young}");
    }

    #[test]
    fn the_mix_is_what_the_workload_says_and_follows_from_the_seed() {
        let operations = |seed| {
            let mut chooser = Chooser::new(Workload::B, Distribution::Uniform, 1, seed);
            (0..10_000).map(|_| chooser.operation()).collect::<Vec<_>>()
        };
        let drawn = operations(1);
        let reads = drawn.iter().filter(|operation| **operation == Operation::Read).count();
        assert!((9_400..9_600).contains(&reads), "{reads}");
        assert_eq!(drawn, operations(1));
        assert_ne!(drawn, operations(2));
    }
}
