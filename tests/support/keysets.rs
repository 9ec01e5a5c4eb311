//! Sets of sorted unique u64 keys to test and measure an index on, each made from a seed alone.
//!
//! Included by path where it is needed (tests, benches, `tools/make_keys.rs`), so it knows nothing of the
//! crate. [`Shape::Adversarial`] is made to break linear models; the others are what real keys look like,
//! or what others measure on: SOSD (Marcus et al., "Benchmarking learned indexes", VLDB 2020) has uniform,
//! normal and lognormal keys, and ids of two services.
#![allow(dead_code)]

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the keys are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Consecutive numbers.
    Dense,
    /// Uniform over all of u64.
    Uniform,
    /// `exp` of a normal number of deviation 2.
    Lognormal,
    /// Around the middle of u64, with a deviation of a sixteenth of it.
    Normal,
    /// Clusters of very different sizes and widths, far apart.
    Clustered,
    /// Ids of milliseconds, worker and sequence number, given out at a rate that changes each minute.
    Snowflake,
    /// Runs and gaps whose lengths spread over many orders of magnitude, so that no two stretches look
    /// alike; half of the keys are too large for the precision of an f64. Has 0 and `u64::MAX`.
    Adversarial,
}

impl Shape {
    pub const ALL: [Shape; 7] = [
        Shape::Dense,
        Shape::Uniform,
        Shape::Lognormal,
        Shape::Normal,
        Shape::Clustered,
        Shape::Snowflake,
        Shape::Adversarial,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Shape::Dense => "dense",
            Shape::Uniform => "uniform",
            Shape::Lognormal => "lognormal",
            Shape::Normal => "normal",
            Shape::Clustered => "clustered",
            Shape::Snowflake => "snowflake",
            Shape::Adversarial => "adversarial",
        }
    }

    pub fn named(name: &str) -> Option<Shape> {
        Shape::ALL.into_iter().find(|shape| shape.name() == name)
    }

    /// Exactly `len` keys, strictly increasing. Same shape, length and seed: same keys.
    pub fn keys(self, len: usize, seed: u64) -> Vec<u64> {
        let mut random = Random(seed);
        let keys = match self {
            Shape::Dense => (0..len as u64).map(|key| key + (1 << 32)).collect(),
            Shape::Uniform => drawn(len, || random.next()),
            Shape::Lognormal => drawn(len, || ((2.0 * random.normal()).exp() * (1_u64 << 44) as f64) as u64),
            Shape::Normal => drawn(len, || ((random.normal() / 16.0 + 1.0) * (1_u64 << 63) as f64) as u64),
            Shape::Clustered => clustered(len, &mut random),
            Shape::Snowflake => snowflake(len, &mut random),
            Shape::Adversarial => adversarial(len, &mut random),
        };
        assert_eq!(keys.len(), len);
        assert!(keys.is_sorted_by(|a, b| a < b));
        keys
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(bound) * u128::from(self.next())) >> 64) as u64
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A normal number, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Between 1 and 2 to the `bits`, its logarithm uniform.
    fn log_uniform(&mut self, bits: f64) -> u64 {
        (self.unit() * bits).exp2() as u64
    }
}

/// `len` distinct keys of those that `draw` gives, sorted.
fn drawn(len: usize, mut draw: impl FnMut() -> u64) -> Vec<u64> {
    let mut keys = Vec::with_capacity(len + len / 64 + 16);
    while keys.len() < len {
        let missing = len - keys.len();
        keys.extend((0..missing + missing / 64 + 16).map(|_| draw()));
        keys.sort_unstable();
        keys.dedup();
    }
    thinned(keys, len)
}

/// Leaves out keys evenly, not the largest ones, until `len` are left.
fn thinned(mut keys: Vec<u64>, len: usize) -> Vec<u64> {
    let from = keys.len();
    let mut at = 0;
    keys.retain(|_| {
        at += 1;
        at * len / from > (at - 1) * len / from
    });
    keys
}

fn clustered(len: usize, random: &mut Random) -> Vec<u64> {
    let count = 1000.min(len / 100 + 1);
    // None is so narrow that it could run out of keys.
    let narrowest = (64 * len / count) as u64 + 64;
    let clusters: Vec<(u64, u64)> = (0..count)
        .map(|_| (random.next() >> 1, narrowest.saturating_mul(random.log_uniform(24.0)).min(1 << 52)))
        .collect();
    drawn(len, || {
        // The square makes some of them large.
        let at = (random.unit().powi(2) * clusters.len() as f64) as usize;
        let (start, width) = clusters[at];
        let hump = (random.unit() + random.unit() + random.unit()) / 3.0;
        start + (hump * width as f64) as u64
    })
}

fn snowflake(len: usize, random: &mut Random) -> Vec<u64> {
    const WORKERS: u64 = 32;
    const MINUTE: u64 = 60_000;
    let mut keys: Vec<u64> = Vec::with_capacity(len + 64);
    let (mut millisecond, mut rate) = (0_u64, 0.0);
    while keys.len() < len {
        if millisecond.is_multiple_of(MINUTE) {
            rate = (random.unit() * 4.0 - 1.0).exp2();
        }
        let first = keys.len();
        for _ in 0..poisson(rate, random) {
            let worker: u64 = random.below(WORKERS);
            let sequence = keys[first..].iter().filter(|id| (**id >> 12) % 1024 == worker).count() as u64;
            keys.push((millisecond << 22) | (worker << 12) | sequence);
        }
        keys[first..].sort_unstable();
        millisecond += 1;
    }
    keys.truncate(len);
    keys
}

/// How many events of this mean rate, by Knuth's method.
fn poisson(rate: f64, random: &mut Random) -> usize {
    let bound = (-rate).exp();
    let (mut count, mut product) = (0, random.unit());
    while product > bound {
        count += 1;
        product *= random.unit();
    }
    count
}

fn adversarial(len: usize, random: &mut Random) -> Vec<u64> {
    let stretch = |len: usize, random: &mut Random| {
        let mut keys = Vec::with_capacity(len + 2048);
        let mut key = 0;
        while keys.len() < len {
            let stride = random.log_uniform(20.0);
            for _ in 0..random.log_uniform(11.0) {
                keys.push(key);
                key += stride;
            }
            key += random.log_uniform(44.0);
        }
        keys.truncate(len);
        keys
    };
    let mut keys = stretch(len / 2, random);
    let above = stretch(len - len / 2, random);
    keys.extend(above.iter().rev().map(|key| u64::MAX - key));
    keys
}

/// Writes keys as SOSD does: their count, then the keys, little-endian.
pub fn write_sosd(keys: &[u64], to: &mut impl Write) -> io::Result<()> {
    to.write_all(&(keys.len() as u64).to_le_bytes())?;
    for part in keys.chunks(8192) {
        let bytes: Vec<u8> = part.iter().flat_map(|key| key.to_le_bytes()).collect();
        to.write_all(&bytes)?;
    }
    to.flush()
}

pub fn read_sosd(from: &mut impl Read) -> io::Result<Vec<u64>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    let mut numbers = bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8")));
    let len = numbers.next().ok_or(io::ErrorKind::UnexpectedEof)?;
    let keys: Vec<u64> = numbers.collect();
    if keys.len() as u64 != len || bytes.len() % 8 != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the count is not that of the keys"));
    }
    Ok(keys)
}

/// The real keys: vertices of time zones as Hilbert cells. From the folder that `KEYS_DIR` names or
/// from `../shared/data/keys`; `None` when they are not there, `Err` when they are and cannot be read.
pub fn osm_timezones() -> Result<Option<Vec<u64>>, String> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/keys");
    let folder = std::env::var_os("KEYS_DIR").map_or(beside, PathBuf::from);
    let file = folder.join("osm_timezones.u64.zst");
    if !file.exists() {
        eprintln!("there is no {}; KEYS_DIR names its folder", file.display());
        return Ok(None);
    }
    let unpacked = Command::new("zstd").args(["-dcq", "--"]).arg(&file).stdout(Stdio::piped()).spawn();
    let mut unpacked = unpacked.map_err(|error| format!("zstd could not be started: {error}"))?;
    let keys = read_sosd(unpacked.stdout.as_mut().expect("a pipe"));
    let status = unpacked.wait().map_err(|error| error.to_string())?;
    match keys {
        Ok(keys) if status.success() => Ok(Some(keys)),
        Ok(_) => Err(format!("zstd could not unpack {}", file.display())),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}
