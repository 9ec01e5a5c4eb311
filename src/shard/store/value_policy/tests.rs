//! Which values move, and at what price: by numbers alone, no file is read.

use std::io;
use std::path::PathBuf;

use super::*;
use crate::io::sim::{Sim, SimConfig};
use crate::shard::delta::NEVER;
use crate::shard::key::Key;
use crate::shard::run::value_file::stray_reference;
use crate::shard::run::{ValueMeta, ValueRef};
use crate::shard::runs::LoadError;
use crate::shard::state::{RunMeta, ValueUse};
use crate::shard::store::{Place, Span, Store};
use crate::types::{CollectionId, FileOffset, Lsn, TabletId};

const MIB: u64 = 1 << 20;
const FILE: u64 = 64 * MIB;
const PART: u64 = 32 * MIB;

struct Set {
    sim: Sim,
    shelf: Rc<Shelf>,
    store: Store,
}

/// Value files of [`FILE`] bytes each, and parts of [`PART`] bytes each in the deepest level, by what they refer to.
fn set(files: u64, parts: &[&[(u64, u64)]]) -> Set {
    let mut sim = Sim::new(1, SimConfig::cores(1));
    let shelf = Shelf::new(sim.executor(0).runtime(), PathBuf::from("/runs"), 0);
    shelf.room_for_moves.set(u64::MAX);
    for id in 0..files {
        let file_len = FILE + 8192;
        shelf.add_values(ValueMeta { id: RunId(id), file_len, footer_hash: 0, value_bytes: FILE });
    }
    let parts = (0..).zip(parts).map(|(number, uses)| part(&shelf, number, uses));
    let store = Store::new(shelf.clone(), Levels::new(parts), 0, 0);
    Set { sim, shelf, store }
}

fn part(shelf: &Rc<Shelf>, number: u64, uses: &[(u64, u64)]) -> Rc<Part> {
    let place = Place { collection: CollectionId(1), tablet: TabletId(1), key: Key::from_u64(number) };
    let uses = uses.iter().map(|(file, bytes)| ValueUse { file: RunId(*file), bytes: *bytes });
    let meta = RunMeta {
        id: RunId(1000 + number),
        level: LAST as u8,
        file_len: PART,
        footer_hash: 0,
        entries: 1,
        live: 1,
        lsn_max: Lsn(1),
        first_expiry: NEVER,
        span: Span { first: place.clone(), last: place },
        values: uses.collect(),
    };
    Rc::new(Part::new(shelf.clone(), meta))
}

impl Set {
    fn next(&self, failed: &[u64]) -> Option<(u64, Vec<u64>)> {
        let failed = failed.iter().map(|id| RunId(*id)).collect();
        let (part, files) = next(self.store.levels(), &self.shelf, FILE, &failed)?;
        Some((part.meta.id.0, files.iter().map(|file| file.0).collect()))
    }

    fn on_the_way(&self, parts: std::ops::Range<usize>) -> usize {
        on_the_way(&self.shelf, self.store.levels().level(LAST)[parts].iter(), FILE).len()
    }
}

/// 320 parts that hold six references each of a half-dead file: no part is rewritten for them, and no merge leaves
/// a file of a few values behind. When much comes together, merges take it along and do not wait for jobs.
#[test]
fn little_is_left_where_it_is() {
    let little = [(0, 96 * 1024)];
    let few = set(1, &[&little[..]; 320]);
    assert!(few.shelf.values(RunId(0)).expect("added").is_half_dead());
    assert_eq!((few.next(&[]), few.on_the_way(0..8)), (None, 0));
    let all: Vec<(u64, u64)> = (0..8).map(|file| (file, 96 * 1024)).collect();
    let many = set(8, &[&all[..]; 320]);
    assert_eq!((many.next(&[]), many.on_the_way(0..8), many.on_the_way(0..1)), (None, 8, 0));
    // The same of files that hold little else: moving it gives much back.
    let emptied = set(8, &[&all[..]; 8]);
    assert!(emptied.next(&[]).is_some());
}

/// What a part brings of a file is its share of the whole, so a part that frees much is rewritten for little.
#[test]
fn the_part_that_refers_most_to_the_emptiest_file_comes_first() {
    let set = set(3, &[&[(0, 20 * MIB)], &[(1, 2 * MIB), (2, 40 * MIB)], &[(1, 3 * MIB)]]);
    assert_eq!(set.next(&[]), Some((1002, vec![1])));
    assert_eq!(set.next(&[1002]), Some((1001, vec![1])), "a part that failed is not chosen again");
    assert_eq!(set.next(&[1001, 1002]), Some((1000, vec![0])));
    assert_eq!(set.next(&[1000, 1001, 1002]), None);
}

#[test]
fn on_a_full_disk_only_what_gives_a_file_back_moves() {
    let set = set(2, &[&[(0, 4 * MIB)], &[(0, 3 * MIB), (1, 20 * MIB)]]);
    assert_eq!((set.next(&[]), set.on_the_way(0..2)), (Some((1000, vec![0])), 2));
    // One byte less than what lives of both.
    set.shelf.room_for_moves.set(27 * MIB - 1);
    assert_eq!((set.next(&[]), set.on_the_way(0..2)), (Some((1001, vec![1])), 0));
    assert_eq!(set.next(&[1001]), None);
}

/// Kept up as parts come and go, also those that stand twice or go to another level.
#[test]
fn what_lives_is_the_sum_of_what_parts_refer_to() {
    let mut set = set(2, &[&[(0, 4 * MIB)], &[(0, 3 * MIB), (1, 20 * MIB)]]);
    assert_eq!(set.shelf.live_and_dead(), (27 * MIB, 2 * FILE - 27 * MIB));
    let again = part(&set.shelf, 7, &[(0, 3 * MIB)]);
    set.store.replace(&[], &[again]);
    assert_eq!(set.shelf.live_and_dead().0, 30 * MIB);
    let moved = set.store.levels().level(LAST)[0].at_level(1);
    set.store.replace(&[RunId(1000)], &[moved]);
    assert_eq!(set.shelf.live_and_dead().0, 30 * MIB);
    let gone = set.store.replace(&[RunId(1001), RunId(1007)], &[]);
    assert_eq!((gone.len(), set.shelf.live_and_dead()), (2, (4 * MIB, FILE - 4 * MIB)));
}

#[test]
fn only_damage_keeps_values_in_a_file_for_good() {
    let Set { mut sim, shelf, store } = set(1, &[&[(0, 4 * MIB)]]);
    let file = shelf.values(RunId(0)).expect("added");
    let may_move = move || next(store.levels(), &shelf, FILE, &BTreeSet::new()).is_some();
    let runtime = sim.executor(0).runtime();
    let ran = sim.run(async move {
        let path = PathBuf::from("/runs/0");
        file.note_unmoved(&LoadError::Io { path: path.clone(), error: io::Error::other("EMFILE") });
        assert!(!may_move(), "not at once");
        runtime.sleep(limits::VALUE_FILE_RETRY).await;
        assert!(may_move());
        let error = stray_reference(&ValueRef { file: RunId(0), offset: FileOffset(4096), len: 1, hash: 0 });
        file.note_unmoved(&LoadError::Damaged { path, error });
        runtime.sleep(limits::VALUE_FILE_RETRY).await;
        assert!(!may_move());
    });
    ran.unwrap_or_else(|stuck| panic!("{stuck}"));
}
