//! Which value files are rewritten, and by which part. Pure.
//!
//! What lives of a value file is what parts refer to in it. The values of a file move when a part that refers to
//! them is rewritten, so a job is a part and the files that it moves values out of: the part that refers
//! most to the file with the least life in it. A job moves about as much as a file holds.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::levels::{LAST, Levels};
use super::part::Part;
use super::value_file::ValueFile;
use crate::limits;
use crate::types::RunId;

struct Usage {
    file: Rc<ValueFile>,
    /// May be more than the file has, while a part stands twice.
    live: u64,
}

impl Usage {
    fn bytes(&self) -> u64 {
        self.file.meta.value_bytes
    }

    fn dead(&self) -> u64 {
        self.bytes().saturating_sub(self.live)
    }

    fn is_half_dead(&self) -> bool {
        2 * self.dead() > self.bytes()
    }

    fn is_emptier_than(&self, other: &Usage) -> std::cmp::Ordering {
        let share = |a: &Usage, b: &Usage| u128::from(a.live) * u128::from(b.bytes());
        share(self, other).cmp(&share(other, self)).then(self.file.meta.id.cmp(&other.file.meta.id))
    }
}

fn usage(levels: &Levels) -> Vec<Usage> {
    let mut files: BTreeMap<RunId, Usage> = BTreeMap::new();
    for (file, bytes) in levels.iter().flat_map(|part| part.values()) {
        let usage = files.entry(file.meta.id).or_insert(Usage { file: file.clone(), live: 0 });
        usage.live += bytes;
    }
    files.into_values().collect()
}

/// Bytes of values that live and that are dead, in all files to which a part refers.
pub fn live_and_dead(levels: &Levels) -> (u64, u64) {
    let files = usage(levels);
    let dead: u64 = files.iter().map(Usage::dead).sum();
    let all: u64 = files.iter().map(Usage::bytes).sum();
    (all - dead, dead)
}

/// The part to rewrite and the files to move values out of.
pub fn next(levels: &Levels, file_bytes: u64) -> Option<(Rc<Part>, BTreeSet<RunId>)> {
    let mut files = usage(levels);
    // What cannot be rewritten must not count for others: they would be rewritten for nothing.
    files.retain(|file| !file.file.damaged.get());
    let dead: u64 = files.iter().map(Usage::dead).sum();
    let live: u64 = files.iter().map(Usage::bytes).sum::<u64>() - dead;
    let much = dead * limits::LIVE_VALUE_BYTES_PER_DEAD_BYTE > live;
    let wanted = |file: &Usage| file.dead() > 0 && (much || file.is_half_dead());
    let mut wanted: Vec<Usage> = files.into_iter().filter(wanted).collect();
    wanted.sort_by(Usage::is_emptier_than);
    let (part, worst) = wanted.iter().find_map(|file| Some((heaviest(levels, file)?, file.file.meta.id)))?;
    let mut moved = part.bytes_in(worst);
    let mut out = BTreeSet::from([worst]);
    for file in wanted.iter().filter(|file| file.is_half_dead()) {
        let bytes = part.bytes_in(file.file.meta.id);
        if bytes > 0 && moved + bytes <= file_bytes && out.insert(file.file.meta.id) {
            moved += bytes;
        }
    }
    Some((part, out))
}

/// The part that refers most to a file. Those of level 0 wait until they go down.
fn heaviest(levels: &Levels, file: &Usage) -> Option<Rc<Part>> {
    let deep = (1..=LAST).flat_map(|level| levels.level(level));
    let refer = deep.filter(|part| part.bytes_in(file.file.meta.id) > 0);
    refer.max_by_key(|part| part.bytes_in(file.file.meta.id)).cloned()
}

/// Whether level 0 may hide so many bytes of values that it is worth a merge, and the merge costs less than
/// they do.
pub fn hides_much(levels: &Levels) -> bool {
    let bytes = |parts: &[Rc<Part>]| parts.iter().flat_map(|part| part.values()).map(|(_, b)| b).sum::<u64>();
    let fresh = bytes(levels.fresh());
    let deep = || (1..=LAST).flat_map(|level| levels.level(level));
    let hidden: u64 = deep().map(|part| part.value_bytes()).sum();
    let cost: u64 = deep().map(|part| part.meta.file_len).sum();
    hidden > 0 && fresh * limits::DEEP_VALUE_BYTES_PER_FRESH_BYTE >= hidden && cost <= fresh
}
