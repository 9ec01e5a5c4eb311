//! The records that every engine has: keys, the version of each, and what value a version has.
//!
//! A value is a function of key and version, so that every answer can be checked by whoever reads it.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::keysets::{self, Random};

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

pub struct Table {
    pub keys: Vec<u64>,
    /// The version of each key that was acknowledged last.
    acked: Vec<AtomicU32>,
    pub value_bytes: usize,
}

impl Table {
    /// The first `records` keys of a SOSD file.
    pub fn open(file: &Path, records: usize, value_bytes: usize) -> io::Result<Table> {
        let mut keys = keysets::read_sosd(&mut BufReader::new(File::open(file)?))?;
        assert!(keys.len() >= records, "the key file has {} keys, {records} are wanted", keys.len());
        keys.truncate(records);
        keys.shrink_to_fit();
        let acked = keys.iter().map(|_| AtomicU32::new(0)).collect();
        Ok(Table { keys, acked, value_bytes })
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn version(&self, index: usize) -> u32 {
        self.acked[index].load(Ordering::Acquire)
    }

    pub fn acknowledge(&self, index: usize, version: u32) {
        self.acked[index].store(version, Ordering::Release);
    }

    pub fn value(&self, index: usize, version: u32) -> Vec<u8> {
        let mut value = vec![0; self.value_bytes];
        let words = words(self.keys[index], version);
        value.chunks_mut(8).zip(words).for_each(|(part, word)| {
            part.copy_from_slice(&word.to_le_bytes()[..part.len()]);
        });
        value
    }

    pub fn is(&self, index: usize, version: u32, value: &[u8]) -> bool {
        let mut words = words(self.keys[index], version);
        let (whole, rest) = value.as_chunks::<8>();
        value.len() == self.value_bytes
            && whole.iter().zip(&mut words).all(|(part, word)| u64::from_le_bytes(*part) == word)
            && rest.iter().zip(words.next().unwrap_or_default().to_le_bytes()).all(|(a, b)| *a == b)
    }

    /// `count` places of the table, any of them any number of times.
    pub fn draw(&self, random: &mut Random, count: usize) -> Vec<usize> {
        (0..count).map(|_| random.below(self.len() as u64) as usize).collect()
    }
}

fn words(key: u64, version: u32) -> impl Iterator<Item = u64> {
    let mixed = (key ^ (u64::from(version) << 40)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let base = (mixed ^ (mixed >> 31)).wrapping_add(version.into());
    (0..).map(move |word: u64| base ^ word.wrapping_mul(GOLDEN))
}
