//! What other cores see of a tablet's documents while its owner changes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::forward::Moving;
use super::index::DocumentIndex;
use super::options::IndexOptions;
use super::part::Part;
use super::sealed::Sealed;
use crate::shard::delta::{NEVER, Version};
use crate::shard::document::embedding::EmbeddingShape;
use crate::shard::document::encoding::Encoder;
use crate::shard::document::fields::Fields;
use crate::shard::document::metadata::Metadata;
use crate::shard::document::schema::Schema;
use crate::shard::key::Key;
use crate::shard::payload::Payload;
use crate::types::{CollectionId, Epoch, Lsn, Seq, TabletId, WallMs};
use crate::vector::element::Element;
use crate::vector::metric::Metric;

const DIMENSION: usize = 4;

fn index(head_documents_min: usize) -> DocumentIndex {
    let embedding = EmbeddingShape::new(DIMENSION, Metric::L2, Element::F32).unwrap();
    let schema = Schema { embedding: Some(embedding), fields: Fields::parse("{}").unwrap() };
    let options = IndexOptions { head_documents_min, ..IndexOptions::default() };
    DocumentIndex::new(TabletId(1), CollectionId(1), Arc::new(schema), options)
}

fn version(seq: u64, expires: WallMs, text_bytes: usize) -> Version {
    let mut encoder = Encoder::new();
    let vector = [seq as f32; DIMENSION];
    Element::F32.encode(&vector, encoder.room_for_embedding(Element::F32, 4 * DIMENSION));
    let payload = encoder.finish(Some(&"\u{e9}".repeat(text_bytes / 2)), Metadata::EMPTY);
    Version { lsn: Lsn(seq), seq: Seq(seq), expires, payload: Some(Payload::document(&payload)) }
}

fn delete(index: &mut DocumentIndex, key: u64) {
    index.apply(&Key::from_u64(key), &Version { payload: None, ..version(99, NEVER, 0) });
}

/// Makes what there is a part that all cores know.
fn share(index: &mut DocumentIndex) -> Arc<Sealed> {
    while let Some(part) = index.behind() {
        part.borrow_mut().step(64);
    }
    let part = index.seal(1).expect("there is a head");
    index.published(part.id);
    part
}

/// As the upkeep does, in one step; `meanwhile` comes in while it is made.
fn rewrite_plain(index: &mut DocumentIndex, meanwhile: impl FnOnce(&mut DocumentIndex)) {
    let worn = index.close_worn_plain();
    if worn.is_empty() {
        return;
    }
    let schema = worn[0].1.borrow().contents().schema().clone();
    let (mut new, mut replaced) = (Part::plain(&schema), Vec::new());
    for (id, part) in &worn {
        let part = part.borrow();
        let mut moving = Moving::of(part.contents().len());
        for old in part.live_ordinals().iter() {
            moving.set(old, new.push_plain(part.contents().row(old)));
        }
        replaced.push((*id, moving.finish()));
    }
    meanwhile(index);
    if let Some(new) = index.replace_plain(replaced, new) {
        assert!(index.correct_places(new, 0, u32::MAX));
        index.forget_replaced(new);
    }
}

/// Keys of what lives in its own parts.
fn living(index: &DocumentIndex) -> Vec<u64> {
    let (own, _) = index.parts(&[]);
    let mut keys = Vec::new();
    for part in &own {
        let part = part.borrow();
        keys.extend(part.live_ordinals().iter().map(|at| part.contents().key(at).as_u64().unwrap()));
    }
    keys.sort_unstable();
    keys
}

#[test]
fn parts_without_embeddings_become_one_and_go_when_nothing_lives() {
    const DOCUMENTS: u64 = 40;
    let mut index = index(8);
    let plain = |seq| {
        let payload = Payload::document(&Encoder::new().finish(Some("x"), Metadata::EMPTY));
        Version { payload: Some(payload), ..version(seq, NEVER, 0) }
    };
    let mut seq = 0;
    let mut write = |index: &mut DocumentIndex, key| {
        seq += 1;
        index.apply(&Key::from_u64(key), &plain(seq));
    };
    let all: Vec<u64> = (0..DOCUMENTS).collect();
    for round in 0..20 {
        all.iter().for_each(|key| write(&mut index, *key));
        rewrite_plain(&mut index, |index| (0..round % 4 * 10).for_each(|key| write(index, key)));
        assert_eq!(living(&index), all);
        assert!(index.own_parts() <= 2, "{} parts after round {round}", index.own_parts());
        let (own, _) = index.parts(&[]);
        let kept: usize = own.iter().map(|part| part.borrow().contents().len()).sum();
        assert!(kept <= 3 * DOCUMENTS as usize, "{kept} documents after round {round}");
    }
    all.iter().for_each(|key| delete(&mut index, *key));
    rewrite_plain(&mut index, |_| ());
    assert!(index.own_parts() == 0 && index.has_nothing_own());
}

#[test]
fn another_core_that_sees_a_document_gone_asks_its_owner() {
    const ROUNDS: u64 = 100;
    let (mut index, text_bytes) = (index(1024), 4 << 20);
    (0..ROUNDS).for_each(|key| index.apply(&Key::from_u64(key), &version(key + 1, NEVER, 0)));
    let part = share(&mut index);
    let (begun, looked, beacon) = (&AtomicU64::new(0), &AtomicU64::new(0), index.beacon().clone());
    let wait = |for_round: &AtomicU64, round| {
        while for_round.load(Ordering::Acquire) < round {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(move || {
            let mut unasked = 0;
            for round in 1..=ROUNDS {
                wait(begun, round);
                while !part.is_deleted(round as u32 - 1) {
                    std::hint::spin_loop();
                }
                unasked += u64::from(beacon.is_lit(Epoch(round)));
                looked.store(round, Ordering::Release);
            }
            unasked
        });
        for round in 1..=ROUNDS {
            let version = version(1000 + round, NEVER, text_bytes);
            index.beacon().show(Epoch(round), true);
            begun.store(round, Ordering::Release);
            index.apply(&Key::from_u64(round - 1), &version);
            wait(looked, round);
        }
        assert_eq!(other.join().unwrap(), 0, "of {ROUNDS} are not asked for");
    });
}

#[test]
fn its_owner_searches_what_was_shared_since_who_asks_looked() {
    let mut index = index(1024);
    (0..5).for_each(|key| index.apply(&Key::from_u64(key), &version(key + 1, NEVER, 0)));
    let part = share(&mut index);
    index.apply(&Key::from_u64(9), &version(9, NEVER, 0));
    let sealed = |index: &DocumentIndex, known: &[_]| {
        let (own, sealed) = index.parts(known);
        assert_eq!(own.len(), 1);
        sealed.iter().map(|part| part.id).collect::<Vec<_>>()
    };
    assert_eq!(sealed(&index, &[]), [part.id], "public, but not then");
    assert_eq!(sealed(&index, &[part.id]), []);
}

#[test]
fn what_is_over_and_deleted_is_not_looked_at_again() {
    let mut index = index(1024);
    (0..8).for_each(|key| index.apply(&Key::from_u64(key), &version(key + 1, WallMs(10 + key), 0)));
    index.apply(&Key::from_u64(8), &version(9, NEVER, 0));
    delete(&mut index, 0);
    let own = |index: &DocumentIndex, now| {
        let (own, _) = index.parts(&[]);
        own[0].borrow().contents().expired(WallMs(now)).collect::<Vec<_>>()
    };
    assert_eq!((own(&index, 9), own(&index, 12)), (vec![], vec![1, 2]));
    let part = share(&mut index);
    assert_eq!(part.expired(WallMs(13)), [1, 2, 3]);
    delete(&mut index, 2);
    delete(&mut index, 1);
    assert_eq!(part.expired(WallMs(13)), [3]);
    delete(&mut index, 3);
    assert_eq!((part.expired(WallMs(13)), part.expired(WallMs(15))), (vec![], vec![4, 5]));
    // At a start, what counts is found again one by one.
    part.claim(2, TabletId(1));
    assert_eq!((part.expired(WallMs(12)), part.claims()), (vec![2], 1));
}
