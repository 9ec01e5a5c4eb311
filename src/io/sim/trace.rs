//! The trace of a simulation: one line an event, without addresses, equal for equal seeds.

use std::fmt;
use std::io::Write;

use xxhash_rust::xxh3::Xxh3Default;

/// Lines kept for a report when the whole trace is not.
const TAIL_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceMode {
    #[default]
    Off,
    /// Hashes every line and keeps the last ones.
    Hash,
    /// Keeps every line.
    Keep,
}

pub struct Trace {
    mode: TraceMode,
    bytes: Vec<u8>,
    hash: Xxh3Default,
}

impl Trace {
    pub fn new(mode: TraceMode) -> Trace {
        Trace { mode, bytes: Vec::new(), hash: Xxh3Default::new() }
    }

    pub fn is_on(&self) -> bool {
        self.mode != TraceMode::Off
    }

    pub fn line(&mut self, line: fmt::Arguments<'_>) {
        if !self.is_on() {
            return;
        }
        let start = self.bytes.len();
        writeln!(self.bytes, "{line}").expect("writing to memory never fails");
        self.hash.update(&self.bytes[start..]);
        if self.mode == TraceMode::Hash && self.bytes.len() > 2 * TAIL_BYTES {
            self.bytes.drain(..self.bytes.len() - TAIL_BYTES);
        }
    }

    /// Every line in mode `Keep`, the last ones in mode `Hash`.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Of all lines since the start.
    pub fn hash(&self) -> u64 {
        self.hash.digest()
    }

    /// The last lines, for a report.
    pub fn tail(&self) -> String {
        let start = self.bytes.len().saturating_sub(TAIL_BYTES);
        let tail = String::from_utf8_lossy(&self.bytes[start..]).into_owned();
        match tail.split_once('\n') {
            Some((_, whole_lines)) if start > 0 => whole_lines.to_owned(),
            _ => tail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_and_keep_see_the_same_lines() {
        let [mut off, mut hash, mut keep] =
            [TraceMode::Off, TraceMode::Hash, TraceMode::Keep].map(Trace::new);
        for n in 0..5000 {
            for trace in [&mut off, &mut hash, &mut keep] {
                trace.line(format_args!("line {n}"));
            }
        }
        assert_eq!(hash.hash(), keep.hash());
        assert_ne!(off.hash(), keep.hash());
        assert!(off.bytes().is_empty() && hash.bytes().len() <= 2 * TAIL_BYTES + 100);
        assert!(keep.bytes().starts_with(b"line 0\nline 1\n"));
        assert!(hash.tail().ends_with("line 4998\nline 4999\n"));
        assert!(keep.tail().starts_with("line "));
    }
}
