//! Ranks outside of the lines that were looked at first.
//!
//! Walks line by line, since the answer is mostly next door, and doubles its steps after a few, so that
//! a far one costs a logarithm (Bentley and Yao, "An almost optimal algorithm for unbounded searching",
//! 1976). This is where every lookup ends that [`super::learned`] could not answer from its first lines; the
//! bound of the index says how far it can be.

use super::kernel::Kernel;
use super::memory::LINE_KEYS;

/// Lines walked one by one before steps double.
const NEAR_LINES: usize = 4;

/// The rank of `key` in `padded`, when none or all of the `window` keys from `first` on are below it.
///
/// # Safety
/// The machine has the kernel's instructions.
#[cold]
#[inline(never)]
pub(super) unsafe fn walk<K: Kernel>(padded: &[u64], first: usize, below: usize, key: u64) -> usize {
    debug_assert!(first.is_multiple_of(LINE_KEYS) && padded.len().is_multiple_of(LINE_KEYS));
    // SAFETY: as the caller says.
    unsafe {
        if below == 0 { walk_down::<K>(padded, first, key) } else { walk_up::<K>(padded, first + below, key) }
    }
}

/// All keys before the line `from` are below `key`.
///
/// # Safety
/// As of `walk`.
#[inline(always)]
unsafe fn walk_up<K: Kernel>(padded: &[u64], from: usize, key: u64) -> usize {
    let mut line = from;
    for _ in 0..NEAR_LINES {
        if line == padded.len() {
            return line;
        }
        // SAFETY: a line begins here.
        let below = unsafe { K::below(padded.as_ptr().add(line), key) };
        if below < LINE_KEYS {
            return line + below;
        }
        line += LINE_KEYS;
    }
    let mut step = NEAR_LINES * LINE_KEYS;
    while line + step < padded.len() && padded[line + step] < key {
        line += step;
        step *= 2;
    }
    let end = padded.len().min(line + step);
    line + padded[line..end].partition_point(|other| *other < key)
}

/// No key from the line `from` on is below `key`.
///
/// # Safety
/// As of `walk`.
#[inline(always)]
unsafe fn walk_down<K: Kernel>(padded: &[u64], from: usize, key: u64) -> usize {
    // A key that is there, at the beginning of a line, is found without the line before. The padding looks
    // like the highest key of all.
    if from == 0 || (padded[from] == key && key != u64::MAX) {
        return from;
    }
    let mut line = from;
    for _ in 0..NEAR_LINES {
        if line == 0 {
            return 0;
        }
        line -= LINE_KEYS;
        // SAFETY: a line begins here.
        let below = unsafe { K::below(padded.as_ptr().add(line), key) };
        if below > 0 {
            return line + below;
        }
    }
    let mut step = NEAR_LINES * LINE_KEYS;
    while line > step && padded[line - step] >= key {
        line -= step;
        step *= 2;
    }
    let begin = line.saturating_sub(step);
    begin + padded[begin..line].partition_point(|other| *other < key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rmi::kernel::Scalar;
    use crate::rmi::keys::KeyArray;

    #[test]
    fn finds_every_rank_from_every_line() {
        // Short ones have whole lines of padding; steps double from the fifth line on.
        let longest = if cfg!(miri) { 60 } else { 500 };
        for len in [0, 3, 8, 20, longest] {
            let keys: Vec<u64> = (0..len).map(|key| key * 2 + 1).collect();
            let array = KeyArray::new(&keys).unwrap();
            for key in (0..2 * longest + 2).chain([u64::MAX]) {
                let rank = keys.partition_point(|other| *other < key);
                for first in (0..array.padded().len()).step_by(LINE_KEYS) {
                    // SAFETY: the scalar kernel needs nothing.
                    let below = unsafe { Scalar::below(array.padded().as_ptr().add(first), key) };
                    if below == 0 || below == LINE_KEYS {
                        // SAFETY: the scalar kernel needs nothing.
                        let found = unsafe { walk::<Scalar>(array.padded(), first, below, key) };
                        assert_eq!(found, rank, "{key} of {len} from {first}");
                    }
                }
            }
        }
    }
}
