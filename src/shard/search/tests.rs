//! What other cores see of a tablet's documents while its owner changes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::index::DocumentIndex;
use super::options::IndexOptions;
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
