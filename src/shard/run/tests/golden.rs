//! The format on disk does not change by accident.
//!
//! `WRITE_GOLDEN=1 cargo test --lib shard::run` writes the file anew; do so only together with a
//! new format version.

use std::path::PathBuf;

use super::model::{RUN, Tablets, find, load, open, read_all, small_tablets, tablets_with_references, write};
use crate::shard::run::field::u64_at;
use crate::shard::run::salvage::block_at;
use crate::shard::run::{Lookup, PAGE_BYTES, Rebuilt, Resident, RunFile, Why};
use crate::types::{CollectionId, FileOffset, TabletId};

const FILE: &str = "tests/golden/run_v4.bin";
pub(super) const FILE_V3: &str = "tests/golden/run_v3.bin";
const FILE_V2: &str = "tests/golden/run_v2.bin";
const FILE_V1: &str = "tests/golden/run_v1.bin";

fn path_of(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

pub(super) fn golden(file: &str) -> Vec<u8> {
    std::fs::read(path_of(file)).expect("the golden file is there")
}

pub(super) fn file_of(bytes: &[u8]) -> RunFile {
    let footer_hash = u64_at(&bytes[bytes.len() - PAGE_BYTES..], 0);
    RunFile { run: RUN, len: bytes.len() as u64, footer_hash }
}

/// By its resident keys, each record is found where it is.
fn find_all(bytes: &[u8], resident: &Resident, tablets: Tablets) {
    for (info, records) in tablets {
        for record in records {
            let found = find(bytes, resident, &info, &record.key).expect("it is sound");
            assert_eq!(found, Some(record));
        }
    }
}

#[test]
fn the_format_is_the_golden_one() {
    let whole = write(RUN, &tablets_with_references());
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(path_of(FILE), &whole.bytes).expect("the golden file can be written");
    }
    let golden = golden(FILE);
    assert!(whole.bytes == golden, "the writer makes other bytes than the golden ones");

    let file = file_of(&golden);
    assert_eq!(whole.finished.file, file);
    assert!(read_all(&golden, file) == Ok(tablets_with_references()));
}

#[test]
fn versions_2_and_3_are_still_read() {
    for (path, version, tablets) in [(FILE_V2, 2, small_tablets()), (FILE_V3, 3, tablets_with_references())] {
        let golden = golden(path);
        let file = file_of(&golden);
        assert_eq!(read_all(&golden, file).as_ref(), Ok(&tablets));
        let (resident, _) = load(&golden, file).expect("it is sound");
        assert_eq!((resident.reader().footer().version, resident.rebuilt()), (version, Rebuilt::default()));
        find_all(&golden, &resident, tablets);
    }
}

/// What can be read without the tables of the run.
#[test]
fn blocks_of_every_version_vouch_for_themselves() {
    for path in [FILE_V1, FILE_V2, FILE_V3, FILE] {
        let golden = golden(path);
        let reader = open(&golden, file_of(&golden)).expect("it is sound");
        let blocks = (0..reader.locators().len() as u32).map(|number| reader.locators().block(number));
        for place in blocks {
            let found = block_at(&golden[place.offset.0 as usize..], RUN, place.offset);
            let (number, len, block) = found.expect("a block");
            assert_eq!((number, len, block.len() as u64), (place.number, place.len, place.entries));
        }
        assert!(block_at(&golden, RUN, FileOffset::ZERO).is_none(), "the header is no block");
    }
}

/// Without derived data, but whole.
#[test]
fn version_1_is_still_read() {
    let golden = golden(FILE_V1);
    let file = file_of(&golden);
    assert!(read_all(&golden, file) == Ok(small_tablets()));
    let (resident, _) = load(&golden, file).expect("it is sound");
    assert_eq!(resident.reader().footer().version, 1);
    let missing = Some(Why::Missing);
    assert_eq!(resident.rebuilt(), Rebuilt { index: missing, filter: missing, marks: missing });
    find_all(&golden, &resident, small_tablets());
    let number = 4_u64.to_be_bytes();
    let here = resident.lookup(CollectionId(1), TabletId(4), &number);
    assert!(matches!(here, Lookup::Here { live: false, .. }), "every entry counts as marked");
}
