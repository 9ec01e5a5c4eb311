//! Which value files are rewritten, and by which part. Pure.
//!
//! What lives of a value file is what parts refer to in it. The values of a file move when a part that refers to
//! them is rewritten, so a job is a part and the files that it moves values out of: the part that refers
//! most to the file with the least life in it. A job moves about as much as a file holds.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::rc::Rc;

use super::levels::{LAST, Levels};
use super::part::Part;
use super::shelf::Shelf;
use super::value_file::ValueFile;
use crate::limits;
use crate::types::RunId;

fn emptier(a: &ValueFile, b: &ValueFile) -> Ordering {
    let share = |a: &ValueFile, b: &ValueFile| u128::from(a.live.get()) * u128::from(b.meta.value_bytes);
    share(a, b).cmp(&share(b, a)).then(a.meta.id.cmp(&b.meta.id))
}

/// The part to rewrite and the files to move values out of.
pub fn next(levels: &Levels, shelf: &Shelf, file_bytes: u64) -> Option<(Rc<Part>, BTreeSet<RunId>)> {
    let mut files = shelf.used_values();
    // What cannot be rewritten must not count for others: they would be rewritten for nothing.
    files.retain(|file| !file.damaged.get());
    let dead: u64 = files.iter().map(|file| file.dead()).sum();
    let live: u64 = files.iter().map(|file| file.meta.value_bytes).sum::<u64>() - dead;
    let much = dead * limits::LIVE_VALUE_BYTES_PER_DEAD_BYTE > live;
    files.retain(|file| file.dead() > 0 && (much || file.is_half_dead()));
    files.sort_by(|a, b| emptier(a, b));
    let (part, worst) = files.iter().find_map(|file| Some((heaviest(levels, file)?, file.meta.id)))?;
    let mut moved = part.bytes_in(worst);
    let mut out = BTreeSet::from([worst]);
    for file in files.iter().filter(|file| file.is_half_dead()) {
        let bytes = part.bytes_in(file.meta.id);
        if bytes > 0 && moved + bytes <= file_bytes && out.insert(file.meta.id) {
            moved += bytes;
        }
    }
    Some((part, out))
}

/// The part that refers most to a file. Those of level 0 wait until they go down.
fn heaviest(levels: &Levels, file: &ValueFile) -> Option<Rc<Part>> {
    let deep = (1..=LAST).flat_map(|level| levels.level(level));
    let refer = deep.filter(|part| part.bytes_in(file.meta.id) > 0);
    refer.max_by_key(|part| part.bytes_in(file.meta.id)).cloned()
}

/// Whether level 0 may hide so many bytes of values that it is worth a merge, and the merge costs less than
/// they do.
pub fn hides_much(levels: &Levels) -> bool {
    let fresh: u64 = levels.fresh().iter().map(|part| part.value_bytes).sum();
    let deep = || (1..=LAST).flat_map(|level| levels.level(level));
    let hidden: u64 = deep().map(|part| part.value_bytes).sum();
    let cost: u64 = deep().map(|part| part.meta.file_len).sum();
    hidden > 0 && fresh * limits::DEEP_VALUE_BYTES_PER_FRESH_BYTE >= hidden && cost <= fresh
}
