//! Bytes that no writer makes: an error or a harmless answer, never a panic, also when every hash fits.

use std::ops::Bound;

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::golden::{FILE_V3, file_of, golden};
use super::model::{RUN, WholeRun, derived, find, load, open, parts, read_all, small_tablets, write};
use crate::shard::run::error::{Fault, Field, Part};
use crate::shard::run::field::{put_at, u32_at, u64_at};
use crate::shard::run::{Footer, PAGE_BYTES, RunFile, RunReader, seal};

/// Where the hashes of the chain are kept; see the byte maps.
struct Chain {
    blocks: Vec<std::ops::Range<usize>>,
    keys: Vec<std::ops::Range<usize>>,
    locators: usize,
    directory: usize,
    /// Index, filter, marks, as far as they are there.
    derived: Vec<usize>,
    footer: usize,
}

impl Chain {
    fn sections(&self) -> Vec<usize> {
        [&[self.locators, self.directory], &self.derived[..]].concat()
    }
}

fn chain(reader: &RunReader) -> Chain {
    let blocks = (0..reader.locators().len() as u32).map(|number| reader.locators().block(number));
    let keys = reader.directory().tablets().iter().map(|tablet| tablet.keys);
    Chain {
        blocks: blocks.map(|block| block.offset.0 as usize..block.offset.0 as usize + block.len).collect(),
        keys: keys.map(|keys| keys.offset.0 as usize..keys.end().0 as usize).collect(),
        locators: reader.footer().locators().offset.0 as usize,
        directory: reader.footer().directory().offset.0 as usize,
        derived: derived(reader).iter().map(|extent| extent.offset.0 as usize).collect(),
        footer: reader.file().footer_offset().0 as usize,
    }
}

/// Makes all hashes fit again, from the leaves up; returns what the manifest would keep.
fn reseal(bytes: &mut [u8], chain: &Chain) -> RunFile {
    for (index, range) in chain.blocks.iter().enumerate() {
        let hash = seal::seal(&mut bytes[range.clone()]);
        put_at(bytes, chain.locators + index * 24 + 16, hash.to_le_bytes());
    }
    for (index, range) in chain.keys.iter().enumerate() {
        let hash = xxh3_64(&bytes[range.clone()]);
        put_at(bytes, chain.directory + index * 80 + 72, hash.to_le_bytes());
    }
    let header = seal::seal(&mut bytes[..PAGE_BYTES]);
    put_at(bytes, chain.footer + 48, header.to_le_bytes());
    let mut ends = chain.sections();
    ends.push(chain.footer);
    for (index, pair) in ends.windows(2).enumerate() {
        let hash = xxh3_64(&bytes[pair[0]..pair[1]]);
        put_at(bytes, chain.footer + 80 + index * 32 + 24, hash.to_le_bytes());
    }
    let footer_hash = seal::seal(&mut bytes[chain.footer..]);
    RunFile { run: RUN, len: bytes.len() as u64, footer_hash }
}

/// All that a reader can do with a file.
fn use_all(bytes: &[u8], file: RunFile) {
    let _ = read_all(bytes, file);
    let Ok(reader) = open(bytes, file) else { return };
    use_resident(bytes, file);
    for number in 0..reader.locators().len() as u32 {
        let place = reader.locators().block(number);
        let Some(block) = bytes.get(place.offset.0 as usize..place.offset.0 as usize + place.len) else {
            continue;
        };
        let Ok(block) = reader.block(number, block) else { continue };
        for index in 0..block.len() {
            let _ = block.entry(index);
        }
        let _ = block.find(b"ab");
    }
}

/// Derived data that is wrong under hashes that fit may answer wrongly, but does no other harm.
fn use_resident(bytes: &[u8], file: RunFile) {
    let Ok((resident, _)) = load(bytes, file) else { return };
    for (info, records) in small_tablets() {
        for record in records {
            let _ = find(bytes, &resident, &info, &record.key);
        }
        let all = (Bound::Unbounded, Bound::Included(&b"b"[..]));
        resident.blocks_of_range(info.collection, info.tablet, all.0, all.1);
        resident.sample(info.collection, info.tablet, all.0, all.1, 2, &mut |_, _| ());
    }
    assert!(resident.bytes() > 0);
}

fn small() -> (WholeRun, Chain) {
    let whole = write(RUN, &small_tablets());
    let chain = chain(&open(&whole.bytes, whole.finished.file).unwrap());
    (whole, chain)
}

#[test]
fn resealing_an_intact_run_changes_nothing() {
    let (whole, chain) = small();
    let mut bytes = whole.bytes.clone();
    assert_eq!(reseal(&mut bytes, &chain), whole.finished.file);
    assert!(bytes == whole.bytes);
}

/// Every byte that says something, set to what hurts most, under hashes that fit.
fn believe_nothing(bytes: &[u8], chain: &Chain, parts: Vec<std::ops::Range<usize>>) {
    for at in parts.into_iter().flat_map(|part| part.clone().take(600).chain(part.rev().take(40))) {
        for change in [0xff, 0x01, 0x80] {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= change;
            let file = reseal(&mut bytes, chain);
            use_all(&bytes, file);
        }
    }
}

#[test]
fn no_number_is_believed_unchecked() {
    let (whole, chain) = small();
    let parts = parts(&open(&whole.bytes, whole.finished.file).unwrap());
    believe_nothing(&whole.bytes, &chain, parts);
}

/// The blocks of another form: the rest is as above.
#[test]
fn no_number_of_a_block_of_version_3_is_believed_unchecked() {
    let golden = golden(FILE_V3);
    let reader = open(&golden, file_of(&golden)).unwrap();
    let chain = chain(&reader);
    let blocks = chain.blocks.clone();
    believe_nothing(&golden, &chain, blocks);
}

proptest! {
    #[test]
    fn several_wrong_numbers_do_no_harm(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        focus in 0..9_usize,
    ) {
        let (whole, chain) = small();
        let mut bytes = whole.bytes.clone();
        let range = match focus {
            0 => 0..PAGE_BYTES,
            1 => chain.blocks[0].clone(),
            2 => chain.keys[0].start..chain.locators,
            3 => chain.locators..chain.locators + 24 * chain.blocks.len(),
            4 => chain.directory..chain.directory + 80 * chain.keys.len(),
            5 => chain.footer..chain.footer + 240,
            derived => chain.derived[derived - 6]..chain.derived[derived - 6] + 200,
        };
        for (index, byte) in changes {
            bytes[range.start + index.index(range.len())] = byte;
        }
        let file = reseal(&mut bytes, &chain);
        use_all(&bytes, file);
    }

    #[test]
    fn random_bytes_are_no_run(bytes in prop::collection::vec(any::<u8>(), 0..3 * PAGE_BYTES), hash: u64) {
        for len in [bytes.len() as u64, 0, 1, u64::MAX] {
            let file = RunFile { run: RUN, len, footer_hash: hash };
            prop_assert!(read_all(&bytes, file).is_err());
        }
    }
}

/// The footer with one more section in front, of a kind that this code does not know.
fn with_section(required: bool) -> (Vec<u8>, RunFile) {
    let (whole, chain) = small();
    let (before, after) = whole.bytes.split_at(chain.footer);
    let mut bytes = [before, &[9; PAGE_BYTES][..], after].concat();
    let footer = chain.footer + PAGE_BYTES;
    let section = footer + 80 + 5 * 32;
    put_at(&mut bytes, section, 77_u16.to_le_bytes());
    put_at(&mut bytes, section + 2, u16::from(required).to_le_bytes());
    put_at(&mut bytes, section + 8, (chain.footer as u64).to_le_bytes());
    put_at(&mut bytes, section + 16, (PAGE_BYTES as u64).to_le_bytes());
    put_at(&mut bytes, section + 24, xxh3_64(&[9; PAGE_BYTES]).to_le_bytes());
    put_at(&mut bytes, footer + 32, 6_u32.to_le_bytes());
    let len = bytes.len() as u64;
    put_at(&mut bytes, footer + 40, len.to_le_bytes());
    let footer_hash = seal::seal(&mut bytes[footer..]);
    (bytes, RunFile { run: RUN, len, footer_hash })
}

#[test]
fn an_unknown_section_is_skipped_unless_required() {
    let (bytes, file) = with_section(false);
    assert!(read_all(&bytes, file) == Ok(small_tablets()));
    let (bytes, file) = with_section(true);
    let error = read_all(&bytes, file).expect_err("a required section");
    assert_eq!(error.fault, Fault::Newer { field: Field::Section, found: 77 });
}

#[test]
fn newer_formats_are_told_from_damage() {
    for (at, field) in [(16, Field::Version), (20, Field::Features)] {
        for part in [Part::Header, Part::Footer] {
            let (whole, chain) = small();
            let mut bytes = whole.bytes;
            let page = if part == Part::Header { 0 } else { chain.footer };
            bytes[page + at] ^= 8;
            let file = reseal(&mut bytes, &chain);
            let error = read_all(&bytes, file).expect_err("a newer format");
            assert_eq!(error.part, part);
            assert!(matches!(error.fault, Fault::Newer { field: found, .. } if found == field), "{error}");
        }
    }
}

/// The contents are intact by their hashes, and yet no writer makes them.
#[test]
fn wrong_order_under_right_hashes_is_refused() {
    let (whole, chain) = small();
    let mut bytes = whole.bytes.clone();
    // The first two slots of the first block, counted from its end.
    let end = chain.blocks[0].end;
    let slots = u32_at(&bytes, end - 4);
    put_at(&mut bytes, end - 4, slots.rotate_left(16).to_le_bytes());
    let file = reseal(&mut bytes, &chain);
    let error = read_all(&bytes, file).expect_err("slots out of order");
    assert_eq!(error.fault, Fault::Malformed { field: Field::Entry });

    let mut bytes = whole.bytes.clone();
    let (first, second) = (chain.keys[0].start, chain.keys[0].start + 8);
    let (a, b) = (u64_at(&bytes, first), u64_at(&bytes, second));
    put_at(&mut bytes, first, b.to_le_bytes());
    put_at(&mut bytes, second, a.to_le_bytes());
    let file = reseal(&mut bytes, &chain);
    let error = read_all(&bytes, file).expect_err("keys out of order");
    assert_eq!((error.part, error.fault), (Part::Keys, Fault::Malformed { field: Field::KeyOrder }));
}

#[test]
fn the_footer_of_another_version_of_the_file_is_refused() {
    let (whole, chain) = small();
    let wrong = RunFile { footer_hash: whole.finished.file.footer_hash ^ 1, ..whole.finished.file };
    let error = Footer::decode(&whole.bytes[chain.footer..], wrong).expect_err("another hash");
    assert!(matches!(error.fault, Fault::Hash { .. }), "{error}");
}

/// A block says itself how its keys are written: what it says must be true of the tablet.
#[test]
fn a_form_for_other_keys_is_refused() {
    for (form, field) in [(2, Field::Tablet), (3, Field::Version)] {
        let (whole, chain) = small();
        let mut bytes = whole.bytes;
        bytes[chain.blocks[0].start + 42] = form;
        let file = reseal(&mut bytes, &chain);
        let error = read_all(&bytes, file).expect_err("not the form of u64 keys");
        assert_eq!((error.part, error.fault), (Part::Block, Fault::Malformed { field }));
    }
}
