//! Damage of every kind is found, and the error says where.

use super::model::{
    RUN, Tablets, WholeRun, derived, open, parts, put, read_all, tablet, tablets_with_references, write,
};
use crate::shard::key::KeyType;
use crate::shard::run::error::{Fault, Field, Part};
use crate::shard::run::{PAGE_BYTES, RunFile};
use crate::types::RunId;

/// No byte is exempt: also padding is under a hash.
#[test]
fn every_flipped_bit_is_found_where_it_is() {
    let WholeRun { mut bytes, finished, .. } = write(RUN, &tablets_with_references());
    let parts = parts(&open(&bytes, finished.file).unwrap());
    assert_eq!(parts.iter().map(ExactSizeIterator::len).sum::<usize>(), bytes.len());
    let derived: Vec<_> = derived(&open(&bytes, finished.file).unwrap()).iter().map(|e| e.offset.0).collect();
    assert_eq!(derived.len(), 3);
    for part in parts.into_iter().filter(|part| !derived.contains(&(part.start as u64))) {
        for at in part.clone() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let error = read_all(&bytes, finished.file).expect_err("a flipped bit");
                assert_eq!((error.run, error.offset.0), (RUN, part.start as u64), "byte {at}: {error}");
                assert!(matches!(error.fault, Fault::Hash { .. }), "byte {at}: {error}");
                bytes[at] ^= 1 << bit;
            }
        }
    }
    assert!(read_all(&bytes, finished.file).is_ok());
}

#[test]
fn every_cut_is_found() {
    let WholeRun { bytes, finished, .. } = write(RUN, &tablets_with_references());
    for len in 0..bytes.len() {
        assert!(read_all(&bytes[..len], finished.file).is_err(), "cut at {len}");
    }
}

/// The length of a file is in the manifest and in the footer, so neither a cut nor a grown file passes
/// with the manifest of another.
#[test]
fn a_file_of_another_length_is_refused() {
    let WholeRun { mut bytes, finished, .. } = write(RUN, &tablets_with_references());
    for len in (0..=bytes.len()).step_by(PAGE_BYTES) {
        let file = RunFile { len: len as u64, ..finished.file };
        assert_eq!(read_all(&bytes[..len], file).is_ok(), len == bytes.len(), "{len}");
    }
    let footer = bytes.split_off(bytes.len() - PAGE_BYTES);
    bytes.extend_from_slice(&[0; PAGE_BYTES]);
    bytes.extend_from_slice(&footer);
    let file = RunFile { len: bytes.len() as u64, ..finished.file };
    let error = read_all(&bytes, file).expect_err("a page too many");
    assert!(matches!(error.fault, Fault::Mismatch { field: Field::FileLength, .. }), "{error}");
}

fn many_blocks() -> Tablets {
    let records = (0..200_u64).map(|n| put(&n.to_be_bytes(), n + 1, 100)).collect();
    vec![(tablet(1, 1, KeyType::U64), records)]
}

#[test]
fn swapped_and_repeated_blocks_are_found() {
    let WholeRun { bytes, finished, .. } = write(RUN, &many_blocks());
    let (one, other) = (2 * PAGE_BYTES, 4 * PAGE_BYTES);
    let page = |at: usize| bytes[at..at + PAGE_BYTES].to_vec();

    let mut swapped = bytes.clone();
    swapped[one..one + PAGE_BYTES].copy_from_slice(&page(other));
    swapped[other..other + PAGE_BYTES].copy_from_slice(&page(one));
    let mut repeated = bytes.clone();
    repeated[one..one + PAGE_BYTES].copy_from_slice(&page(other));
    for damaged in [swapped, repeated] {
        let error = read_all(&damaged, finished.file).expect_err("a block of another place");
        assert_eq!((error.part, error.offset.0), (Part::Block, one as u64));
        let wanted = Fault::Mismatch { field: Field::BlockNumber, wanted: 1, found: 3 };
        assert_eq!(error.fault, wanted);
    }
}

#[test]
fn a_part_of_another_run_is_found_wherever_it_lands() {
    let WholeRun { bytes, finished, .. } = write(RUN, &many_blocks());
    // Same entries, so that only run id and hashes tell them apart.
    let other = write(RunId(8), &many_blocks());
    assert_eq!(bytes.len(), other.bytes.len());
    for part in parts(&open(&bytes, finished.file).unwrap()) {
        if bytes[part.clone()] == other.bytes[part.clone()] {
            continue;
        }
        let mut mixed = bytes.clone();
        mixed[part.clone()].copy_from_slice(&other.bytes[part.clone()]);
        let error = read_all(&mixed, finished.file).expect_err("a part of another run");
        assert_eq!(error.offset.0, part.start as u64, "{error}");
        if error.part == Part::Block {
            assert_eq!(error.fault, Fault::Mismatch { field: Field::Run, wanted: 7, found: 8 });
        }
    }
    assert!(read_all(&other.bytes, finished.file).is_err(), "the whole file of another run");
}

/// The same run id, length and keys, another value: each block is bound to this very file.
#[test]
fn a_stale_block_of_the_same_run_id_is_refused() {
    let mut tablets = many_blocks();
    let one = write(RUN, &tablets);
    tablets[0].1[0].payload.as_mut().expect("a put")[3] ^= 1;
    let other = write(RUN, &tablets);
    let mut mixed = one.bytes.clone();
    mixed[PAGE_BYTES..2 * PAGE_BYTES].copy_from_slice(&other.bytes[PAGE_BYTES..2 * PAGE_BYTES]);
    for (bytes, part, at) in
        [(mixed, Part::Block, PAGE_BYTES), (other.bytes, Part::Footer, one.bytes.len() - PAGE_BYTES)]
    {
        let error = read_all(&bytes, one.finished.file).expect_err("a stale part");
        assert_eq!((error.part, error.offset.0), (part, at as u64));
        assert!(matches!(error.fault, Fault::Hash { .. }), "{error}");
    }
}

#[test]
fn errors_name_run_place_and_hashes() {
    let WholeRun { mut bytes, finished, .. } = write(RUN, &tablets_with_references());
    bytes[PAGE_BYTES + 100] ^= 4;
    let text = read_all(&bytes, finished.file).expect_err("a flipped bit").to_string();
    assert!(text.starts_with("run 7: payload block at offset 4096: damaged: wanted hash "), "{text}");
    assert!(text.contains(", found "), "{text}");
}
