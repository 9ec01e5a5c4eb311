//! Value files: what is written is read back by reference and as a whole, and no flipped bit is taken for data.
//!
//! `WRITE_GOLDEN=1 cargo test --lib shard::run` writes the golden file anew.

use std::path::PathBuf;

use xxhash_rust::xxh3::xxh3_64;

use crate::shard::run::value_file::check_value;
use crate::shard::run::{PAGE_BYTES, RunError, ValueFooter, ValueMeta, ValueRef, ValueWriter};
use crate::types::{RunId, ShardId};

const FILE: &str = "tests/golden/values_v4.bin";
const FILE_V3: &str = "tests/golden/values_v3.bin";
const ID: RunId = RunId(9);

fn value(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + number) as u8).collect()
}

/// Lengths around the ends of pages and chunks.
fn values(lens: &[usize]) -> Vec<Vec<u8>> {
    lens.iter().enumerate().map(|(number, len)| value(number, *len)).collect()
}

fn write(values: &[Vec<u8>], piece: usize) -> (Vec<u8>, ValueMeta, Vec<ValueRef>) {
    let mut writer = ValueWriter::new(ID, ShardId(2));
    let (mut bytes, mut refs) = (Vec::new(), Vec::new());
    for value in values {
        writer.begin();
        for piece in value.chunks(piece) {
            writer.append(piece);
            while let Some(chunk) = writer.take_ready() {
                bytes.extend_from_slice(&chunk);
            }
        }
        refs.push(writer.end());
    }
    let (rest, meta) = writer.finish();
    rest.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
    (bytes, meta, refs)
}

/// What `verify` looks at: all of the file.
fn read_all(bytes: &[u8], meta: ValueMeta) -> Result<Vec<ValueRef>, RunError> {
    let page = |offset: u64, len: u64| &bytes[offset as usize..(offset + len) as usize];
    let footer = ValueFooter::decode(page(meta.footer_offset().0, PAGE_BYTES as u64), meta)?;
    footer.check_header(page(0, PAGE_BYTES as u64))?;
    let table = footer.decode_table(page(footer.table.offset.0, footer.table.padded_len()))?;
    for at in &table {
        check_value(at, xxh3_64(page(at.offset.0, at.padded_len())))?;
    }
    Ok(table)
}

#[test]
fn every_value_is_where_its_reference_says() {
    let values = values(&[1, 4095, 4096, 4097, 300_000, 262_144, 40_000]);
    for piece in [1000, 65_536, 1 << 20] {
        let (bytes, meta, refs) = write(&values, piece);
        assert_eq!(meta.file_len, bytes.len() as u64);
        assert_eq!(read_all(&bytes, meta), Ok(refs.clone()));
        assert_eq!(meta.value_bytes, refs.iter().map(ValueRef::padded_len).sum::<u64>());
        for (at, value) in refs.iter().zip(&values) {
            assert_eq!(ValueRef::decode(&at.encode()), Some(*at));
            let from = at.offset.0 as usize;
            assert!(bytes[from..from + at.len as usize] == value[..]);
        }
    }
}

fn path_of(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn meta_of(bytes: &[u8]) -> ValueMeta {
    let footer = &bytes[bytes.len() - PAGE_BYTES..];
    ValueFooter::meta_of(footer, ID, bytes.len() as u64).expect("a footer")
}

#[test]
fn the_format_is_the_golden_one() {
    let (bytes, meta, refs) = write(&values(&[3, 5000]), 1000);
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(path_of(FILE), &bytes).expect("the golden file can be written");
    }
    let golden = std::fs::read(path_of(FILE)).expect("the golden file is there");
    assert!(bytes == golden, "the writer makes other bytes than the golden ones");
    assert_eq!(meta_of(&golden), meta);
    assert_eq!(read_all(&golden, meta), Ok(refs));
}

#[test]
fn version_3_is_still_read() {
    let golden = std::fs::read(path_of(FILE_V3)).expect("the golden file is there");
    let (_, _, refs) = write(&values(&[3, 5000]), 1000);
    assert_eq!(read_all(&golden, meta_of(&golden)), Ok(refs));
}

#[test]
fn every_flipped_bit_is_found() {
    let (mut bytes, meta, _) = write(&values(&[3, 5000]), 1000);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(read_all(&bytes, meta).is_err(), "bit {bit} of byte {at}");
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn a_reference_that_no_writer_makes_is_none() {
    let (_, _, refs) = write(&values(&[40_000]), 1000);
    let good = refs[0].encode();
    for (at, byte) in [(8, 1), (9, 0), (19, 0xff), (16, 0), (20, 1), (15, 0x80)] {
        let mut bytes = good;
        bytes[at] = byte;
        if at == 16 {
            bytes[16..20].fill(0);
        }
        assert_eq!(ValueRef::decode(&bytes), None, "byte {at}");
    }
    assert_eq!(ValueRef::decode(&good[..31]), None);
}
