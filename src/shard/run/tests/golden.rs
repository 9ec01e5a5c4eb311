//! The format on disk does not change by accident.
//!
//! `WRITE_GOLDEN=1 cargo test --lib shard::run` writes the file anew; do so only together with a
//! new format version.

use std::path::PathBuf;

use super::model::{RUN, read_all, small_tablets, write};
use crate::shard::run::field::u64_at;
use crate::shard::run::{PAGE_BYTES, RunFile};

const FILE: &str = "tests/golden/run_v1.bin";

#[test]
fn the_format_is_the_golden_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let whole = write(RUN, &small_tablets());
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &whole.bytes).expect("the golden file can be written");
    }
    let golden = std::fs::read(&path).expect("the golden file is there");
    assert!(whole.bytes == golden, "the writer makes other bytes than the golden ones");

    let footer_hash = u64_at(&golden[golden.len() - PAGE_BYTES..], 0);
    let file = RunFile { run: RUN, len: golden.len() as u64, footer_hash };
    assert_eq!(whole.finished.file, file);
    assert!(read_all(&golden, file) == Ok(small_tablets()));
}
