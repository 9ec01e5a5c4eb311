//! Out of which value files values move, and when. Pure.
//!
//! What lives of a value file is what parts refer to in it. The values of a file move when a part that refers to
//! them is rewritten. Merges that are done anyway take along what they meet of files that have little life in them,
//! unless it is so little that they would only leave small files behind. What merges do not come by is the matter
//! of a job of its own: a part that refers to the emptiest such file, unless rewriting it costs more than it brings.
//!
//! What a part brings of a file is its share of the whole file: the values that it moves, and of the dead bytes as much
//! as of the live ones. So what is left alone takes less room than a quarter of the runs.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::levels::{LAST, Levels};
use super::part::Part;
use super::shelf::Shelf;
use super::value_file::ValueFile;
use crate::limits;
use crate::types::RunId;

/// A part to rewrite and the files to move values out of.
pub type Choice = (Rc<Part>, BTreeSet<RunId>);

/// Files with so much dead in them that values move out, the emptiest first.
fn wanted(shelf: &Shelf) -> Vec<Rc<ValueFile>> {
    let mut files = shelf.used_values();
    // What cannot be rewritten must not count for others: they would be rewritten for nothing.
    files.retain(|file| file.can_be_moved());
    let dead: u64 = files.iter().map(|file| file.dead()).sum();
    let live: u64 = files.iter().map(|file| file.meta.value_bytes).sum::<u64>() - dead;
    let ratio = limits::LIVE_VALUE_BYTES_PER_DEAD_BYTE;
    let much = dead * ratio > live;
    // When much is dead in all, there is a file of which this is true.
    let is_emptier_than_most = |file: &ValueFile| file.dead() * (ratio + 1) > file.meta.value_bytes;
    files.retain(|file| file.is_half_dead() || (much && is_emptier_than_most(file)));
    files.sort_by(|a, b| emptier(a, b));
    files
}

fn emptier(a: &ValueFile, b: &ValueFile) -> Ordering {
    let share = |a: &ValueFile, b: &ValueFile| u128::from(a.live.get()) * u128::from(b.meta.value_bytes);
    share(a, b).cmp(&share(b, a)).then(a.meta.id.cmp(&b.meta.id))
}

/// Of a file, when so many bytes that live move out of it.
fn brings(file: &ValueFile, bytes: u64) -> u64 {
    let share = u128::from(file.meta.value_bytes) * u128::from(bytes) / u128::from(file.live.get().max(1));
    share as u64
}

/// What moves stands twice until nothing refers to the old file: whether there is room for all of it.
fn has_room(shelf: &Shelf, wanted: &[Rc<ValueFile>]) -> bool {
    shelf.room_for_moves.get() >= wanted.iter().map(|file| file.live.get()).sum::<u64>()
}

/// Takes files, the emptiest first, out of which no more than `bytes_max` move, but for the first.
fn take_up_to(bytes_max: u64, files: impl Iterator<Item = (RunId, u64)>) -> BTreeSet<RunId> {
    let (mut out, mut moved) = (BTreeSet::new(), 0);
    for (file, bytes) in files {
        if out.is_empty() || moved + bytes <= bytes_max {
            out.insert(file);
            moved += bytes;
        }
    }
    out
}

/// Files out of which values move while these parts are merged anyway.
pub fn on_the_way<'a>(
    shelf: &Shelf,
    parts: impl Iterator<Item = &'a Rc<Part>> + Clone,
    file_bytes: u64,
) -> BTreeSet<RunId> {
    let wanted = wanted(shelf);
    if wanted.is_empty() || !has_room(shelf, &wanted) {
        return BTreeSet::new();
    }
    let bytes_in = |file: &ValueFile| parts.clone().map(|part| part.bytes_in(file.meta.id)).sum::<u64>();
    let met = wanted.iter().map(|file| (file, bytes_in(file))).filter(|(_, bytes)| *bytes > 0);
    let met: Vec<(&Rc<ValueFile>, u64)> = met.collect();
    let brings: u64 = met.iter().map(|(file, bytes)| brings(file, *bytes)).sum();
    if brings * limits::VALUE_FILE_BYTES_PER_MOVED_BYTE < file_bytes {
        return BTreeSet::new();
    }
    take_up_to(file_bytes, met.iter().map(|(file, bytes)| (file.meta.id, *bytes)))
}

/// Of the parts of a deeper level than 0 one that brings enough, but for those of `failed`.
pub fn next(levels: &Levels, shelf: &Shelf, file_bytes: u64, failed: &BTreeSet<RunId>) -> Option<Choice> {
    let wanted = wanted(shelf);
    if wanted.is_empty() {
        return None;
    }
    let is_short = !has_room(shelf, &wanted);
    // As much is set aside for it on a full disk.
    let bytes_max = if is_short { file_bytes / 2 } else { file_bytes };
    let ranks: BTreeMap<RunId, usize> =
        wanted.iter().enumerate().map(|(rank, file)| (file.meta.id, rank)).collect();
    // Without room, only what gives back more than it takes, at once.
    let gives_back =
        |file: &ValueFile, bytes: u64| bytes == file.live.get() && bytes <= bytes_max && file.is_half_dead();
    let deep = (1..=LAST).flat_map(|level| levels.level(level));
    let choices = deep.filter(|part| !failed.contains(&part.meta.id)).filter_map(|part| {
        let uses = part.values().filter_map(|(file, bytes)| Some((*ranks.get(&file.meta.id)?, bytes)));
        let mut uses: Vec<(usize, u64)> =
            uses.filter(|(rank, bytes)| !is_short || gives_back(&wanted[*rank], *bytes)).collect();
        uses.sort_unstable();
        let emptiest = uses.first().map(|(rank, _)| *rank);
        uses.retain(|(rank, _)| Some(*rank) == emptiest || wanted[*rank].is_half_dead());
        let brings: u64 = uses.iter().map(|(rank, bytes)| brings(&wanted[*rank], *bytes)).sum();
        let enough = brings * limits::PART_BYTES_PER_VALUE_BYTE >= part.meta.file_len;
        let (rank, bytes) = *uses.first().filter(|_| enough)?;
        Some(((rank, Reverse(bytes)), part, uses))
    });
    let (_, part, uses) = choices.min_by_key(|(order, ..)| *order)?;
    let out = take_up_to(bytes_max, uses.iter().map(|(rank, bytes)| (wanted[*rank].meta.id, *bytes)));
    Some((part.clone(), out))
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

#[cfg(test)]
mod tests;
