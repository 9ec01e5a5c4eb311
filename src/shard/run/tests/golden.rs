//! The format on disk does not change by accident.
//!
//! `WRITE_GOLDEN=1 cargo test --lib shard::run` writes the file anew; do so only together with a
//! new format version.

use std::path::PathBuf;

use super::model::{RUN, find, load, read_all, small_tablets, tablets_with_references, write};
use crate::shard::run::field::u64_at;
use crate::shard::run::{Lookup, PAGE_BYTES, Rebuilt, RunFile, Why};
use crate::types::{CollectionId, TabletId};

const FILE: &str = "tests/golden/run_v3.bin";
const FILE_V2: &str = "tests/golden/run_v2.bin";
const FILE_V1: &str = "tests/golden/run_v1.bin";

#[test]
fn the_format_is_the_golden_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let whole = write(RUN, &tablets_with_references());
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &whole.bytes).expect("the golden file can be written");
    }
    let golden = std::fs::read(&path).expect("the golden file is there");
    assert!(whole.bytes == golden, "the writer makes other bytes than the golden ones");

    let file = file_of(&golden);
    assert_eq!(whole.finished.file, file);
    assert!(read_all(&golden, file) == Ok(tablets_with_references()));
}

#[test]
fn version_2_is_still_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(FILE_V2);
    let golden = std::fs::read(&path).expect("the golden file is there");
    let file = file_of(&golden);
    assert!(read_all(&golden, file) == Ok(small_tablets()));
    let (resident, _) = load(&golden, file).expect("it is sound");
    assert_eq!((resident.reader().footer().version, resident.rebuilt()), (2, Rebuilt::default()));
}

fn file_of(bytes: &[u8]) -> RunFile {
    let footer_hash = u64_at(&bytes[bytes.len() - PAGE_BYTES..], 0);
    RunFile { run: RUN, len: bytes.len() as u64, footer_hash }
}

/// Without derived data, but whole.
#[test]
fn version_1_is_still_read() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(FILE_V1);
    let golden = std::fs::read(&path).expect("the golden file is there");
    let file = file_of(&golden);
    assert!(read_all(&golden, file) == Ok(small_tablets()));
    let (resident, _) = load(&golden, file).expect("it is sound");
    assert_eq!(resident.reader().footer().version, 1);
    let missing = Some(Why::Missing);
    assert_eq!(resident.rebuilt(), Rebuilt { index: missing, filter: missing, marks: missing });
    for (info, records) in small_tablets() {
        for record in records {
            let found = find(&golden, &resident, &info, &record.key).expect("it is sound");
            assert_eq!(found, Some(record));
        }
    }
    let number = 4_u64.to_be_bytes();
    let here = resident.lookup(CollectionId(1), TabletId(4), &number);
    assert!(matches!(here, Lookup::Here { live: false, .. }), "every entry counts as marked");
}
