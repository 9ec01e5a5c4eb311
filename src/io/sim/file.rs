//! One file: what reads see, what would survive, and the changes between the two.
//!
//! Invariant: `durable` with every change of `unsynced` applied in order is `visible`.
//! Invariant: a change that was made durable can no longer be undone or overwritten by an older one.

use std::collections::{BTreeMap, BTreeSet};

use super::crash::Survival;
use super::image::{Image, Page, PageWrite, SectorMask};
use super::rng::Rng;
use crate::io::buf::BLOCK_BYTES;

#[derive(Clone)]
struct Change {
    number: u64,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// The file is at least `end` long after it.
    Write {
        pages: Vec<PageWrite>,
        end: u64,
    },
    SetLen(u64),
}

#[derive(Clone, Default)]
pub(super) struct FileData {
    visible: Image,
    durable: Image,
    unsynced: Vec<Change>,
    changes: u64,
    /// Pages that cannot be read until they are written again.
    bad_pages: BTreeSet<u64>,
    /// Pages as they were before their last write; kept only for stale reads.
    older: BTreeMap<u64, Page>,
}

impl FileData {
    /// A file at rest.
    pub fn durable_with(bytes: &[u8]) -> FileData {
        let mut image = Image::default();
        image.patch(0, bytes);
        FileData { visible: image.clone(), durable: image, ..FileData::default() }
    }

    pub fn visible(&self) -> &Image {
        &self.visible
    }

    pub fn durable(&self) -> &Image {
        &self.durable
    }

    pub fn is_settled(&self) -> bool {
        self.unsynced.is_empty() && self.older.is_empty()
    }

    /// The number of the latest change, 0 before the first.
    pub fn last_change(&self) -> u64 {
        self.changes
    }

    // ---- changes

    /// Writes pages; returns the number of the change.
    pub fn write(&mut self, pages: Vec<PageWrite>, keep_older: bool) -> u64 {
        for write in &pages {
            if keep_older && let Some(page) = self.visible.page(write.page) {
                self.older.insert(write.page, page.clone());
            }
            self.bad_pages.remove(&write.page);
        }
        let end = pages.iter().map(|write| (write.page + 1) * BLOCK_BYTES as u64).max().unwrap_or(0);
        self.change(Kind::Write { pages, end })
    }

    pub fn set_len(&mut self, len: u64) -> u64 {
        self.change(Kind::SetLen(len))
    }

    fn change(&mut self, kind: Kind) -> u64 {
        self.changes += 1;
        apply(&mut self.visible, &kind);
        self.unsynced.push(Change { number: self.changes, kind });
        self.changes
    }

    /// Makes everything up to the change `number` durable.
    pub fn sync_up_to(&mut self, number: u64) {
        let later = self.unsynced.partition_point(|change| change.number <= number);
        for change in self.unsynced.drain(..later) {
            apply(&mut self.durable, &change.kind);
        }
    }

    /// Makes one change durable, and with it the size changes before it, which a file system writes in
    /// order. Older writes lose what the change covers.
    pub fn sync_one(&mut self, number: u64) {
        let Ok(position) = self.unsynced.binary_search_by_key(&number, |change| change.number) else {
            return;
        };
        let later = self.unsynced.split_off(position + 1);
        let mut kept: Vec<Change> = Vec::new();
        for change in std::mem::take(&mut self.unsynced) {
            if change.number != number && matches!(change.kind, Kind::Write { .. }) {
                kept.push(change);
            } else {
                apply(&mut self.durable, &change.kind);
                kept.retain_mut(|older| older.forget_what_is_covered_by(&change.kind));
            }
        }
        kept.extend(later);
        self.unsynced = kept;
    }

    /// Throws away the changes of these numbers, as a disk does whose sync failed.
    pub fn lose(&mut self, lost: impl Fn(u64) -> bool) {
        self.unsynced.retain(|change| !lost(change.number));
        self.visible = self.durable.clone();
        for change in &self.unsynced {
            apply(&mut self.visible, &change.kind);
        }
    }

    // ---- damage

    pub fn break_page(&mut self, page: u64) {
        self.bad_pages.insert(page);
    }

    pub fn is_broken(&self, mut pages: std::ops::Range<u64>) -> bool {
        !self.bad_pages.is_empty() && pages.any(|page| self.bad_pages.contains(&page))
    }

    pub fn older_page(&self, page: u64) -> Option<&Page> {
        self.older.get(&page)
    }

    /// Changes bytes at rest, behind the back of everyone.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) {
        self.visible.patch(offset, bytes);
        self.durable.patch(offset, bytes);
    }

    /// Cuts or extends the file at rest; nothing stays unsynced.
    pub fn truncate(&mut self, len: u64) {
        self.visible.set_len(len);
        self.durable = self.visible.clone();
        self.unsynced.clear();
    }

    // ---- power loss

    /// The file as it is found after power loss.
    pub fn after_crash(&self, survival: &Survival, rng: &mut Rng) -> FileData {
        let mut image = self.durable.clone();
        let mut survivors: Vec<&Change> = self.unsynced.iter().filter(|_| survival.keeps(rng)).collect();
        if survival.reorders() {
            // Only writes change places: size changes are written in order.
            survivors
                .chunk_by_mut(|one, next| one.is_write() && next.is_write())
                .for_each(|writes| rng.shuffle(writes));
        }
        for change in survivors {
            match &change.kind {
                Kind::SetLen(len) => image.set_len(*len),
                Kind::Write { pages, end } => tear(&mut image, pages, *end, survival, rng),
            }
        }
        FileData {
            visible: image.clone(),
            durable: image,
            bad_pages: self.bad_pages.clone(),
            ..FileData::default()
        }
    }
}

/// A write that may survive in part. A torn write that extends the file may lose its size as well.
fn tear(image: &mut Image, pages: &[PageWrite], end: u64, survival: &Survival, rng: &mut Rng) {
    if !survival.tears(rng) {
        pages.iter().for_each(|write| image.put(write));
        return image.grow(end);
    }
    for write in pages {
        let survived = write.sectors & rng.next_u64() as SectorMask;
        image.put(&PageWrite { sectors: survived, ..write.clone() });
    }
    match rng.coin() {
        true => image.grow(end),
        false => image.set_len(image.len()),
    }
}

fn apply(image: &mut Image, kind: &Kind) {
    match kind {
        Kind::SetLen(len) => image.set_len(*len),
        Kind::Write { pages, end } => {
            pages.iter().for_each(|write| image.put(write));
            image.grow(*end);
        }
    }
}

impl Change {
    fn is_write(&self) -> bool {
        matches!(self.kind, Kind::Write { .. })
    }

    /// False when nothing of the change is left.
    fn forget_what_is_covered_by(&mut self, newer: &Kind) -> bool {
        let Kind::Write { pages, end } = &mut self.kind else { return true };
        match newer {
            Kind::SetLen(len) => {
                *end = (*end).min(*len);
                let pages_left = len.div_ceil(BLOCK_BYTES as u64);
                pages.retain(|write| write.page < pages_left);
                cut_last_page(pages, *len);
            }
            Kind::Write { pages: newer, .. } => {
                for write in pages.iter_mut() {
                    let over = newer.iter().find(|newer| newer.page == write.page);
                    write.sectors &= !over.map_or(0, |newer| newer.sectors);
                }
                pages.retain(|write| write.sectors != 0);
            }
        }
        !pages.is_empty()
    }
}

/// What a size change cut off inside the last page stays cut off when the older write comes after it.
fn cut_last_page(pages: &mut [PageWrite], len: u64) {
    let tail = (len % BLOCK_BYTES as u64) as usize;
    let last = pages.iter_mut().find(|write| write.page == len / BLOCK_BYTES as u64);
    if let (Some(write), 1..) = (last, tail) {
        let mut data = write.data.to_vec();
        data[tail..].fill(0);
        write.data = data.into();
    }
}

/// Every subset of the sectors of `pages` is as likely: what an interrupted write leaves.
pub(super) fn any_sectors(pages: &[PageWrite], rng: &mut Rng) -> Vec<PageWrite> {
    let torn = pages.iter().map(|write| PageWrite { sectors: rng.next_u64() as SectorMask, ..write.clone() });
    torn.filter(|write| write.sectors != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::crash::CrashPolicy;
    use crate::io::sim::image::SECTOR_BYTES;

    fn page(number: u64, byte: u8) -> Vec<PageWrite> {
        PageWrite::cut(number, &[byte; BLOCK_BYTES])
    }

    fn crashed(file: &FileData, policy: CrashPolicy, seed: u64) -> Vec<u8> {
        let mut rng = Rng::new(seed);
        let survival = policy.draw(&mut rng);
        file.after_crash(&survival, &mut rng).durable.to_vec()
    }

    #[test]
    fn a_synced_write_says_nothing_of_earlier_ones() {
        let mut file = FileData::default();
        file.write(page(0, 1), false);
        let second = file.write(page(1, 2), false);
        file.sync_one(second);
        let harshest = crashed(&file, CrashPolicy::KeepNothing, 1);
        assert_eq!((harshest.len(), harshest[0], harshest[BLOCK_BYTES]), (2 * BLOCK_BYTES, 0, 2));
        assert_eq!(crashed(&file, CrashPolicy::KeepAll, 1)[0], 1);
    }

    #[test]
    fn an_older_unsynced_write_never_undoes_a_synced_one() {
        for seed in 0..200 {
            let mut file = FileData::default();
            file.write(page(0, 1), false);
            file.set_len(0);
            let synced = file.write(page(0, 2), false);
            file.sync_one(synced);
            assert_eq!(crashed(&file, CrashPolicy::Random, seed), vec![2; BLOCK_BYTES]);
        }
    }

    #[test]
    fn unsynced_writes_survive_in_any_subset_order_and_part() {
        let mut file = FileData::durable_with(&[0; 2 * BLOCK_BYTES]);
        file.write(page(0, 1), false);
        file.write(page(0, 2), false);
        file.write(page(1, 3), false);
        let outcomes: BTreeSet<(u8, u8)> = (0..500)
            .map(|seed| crashed(&file, CrashPolicy::Random, seed))
            .map(|bytes| (bytes[0], bytes[BLOCK_BYTES]))
            .collect();
        let all: BTreeSet<(u8, u8)> = (0..3).flat_map(|a| [(a, 0), (a, 3)]).collect();
        assert_eq!(outcomes, all);
        let torn = (0..500).map(|seed| crashed(&file, CrashPolicy::Random, seed)).filter(|bytes| {
            let sectors: Vec<_> = bytes[..BLOCK_BYTES].chunks(SECTOR_BYTES).collect();
            assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
            sectors.iter().any(|sector| sector[0] != sectors[0][0])
        });
        assert!(torn.count() > 50);
    }

    /// Random changes and syncs against the two invariants of the file.
    #[test]
    fn durable_plus_unsynced_is_always_visible() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut file = FileData::default();
            for _ in 0..30 {
                match rng.below(6) {
                    0..3 => drop(file.write(page(rng.below(4), rng.next_u64() as u8), false)),
                    3 => drop(file.set_len(rng.below(4 * BLOCK_BYTES as u64))),
                    4 => file.sync_one(rng.below(file.last_change() + 1)),
                    _ if rng.chance(100) => file.sync_up_to(file.last_change()),
                    _ => (),
                }
                assert_eq!(crashed(&file, CrashPolicy::KeepAll, seed), file.visible().to_vec());
            }
            let visible = file.visible().to_vec();
            file.sync_up_to(file.last_change());
            assert!(file.is_settled());
            assert_eq!(file.durable().to_vec(), visible);
        }
    }

    #[test]
    fn lost_changes_show_what_was_before_them() {
        let mut file = FileData::durable_with(&[5; BLOCK_BYTES]);
        let lost = file.write(page(0, 6), false);
        let kept = file.write(page(1, 7), false);
        file.lose(|number| number == lost);
        assert_eq!(file.visible().to_vec()[0], 5);
        assert_eq!(file.visible().to_vec()[BLOCK_BYTES], 7);
        file.sync_up_to(kept);
        assert_eq!(file.durable().to_vec()[0], 5);
    }
}
