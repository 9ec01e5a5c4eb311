//! The codec against damage: every bit, every length, every number, and the golden file.

use super::choose::Structure;
use super::codec::{DecodeError, Decoder, Encoder, decode, encode, load};
use super::index::{Index, IndexOptions, Mode};
use super::keys::KeyArray;
use super::memory::{LINE_BYTES, Memory};
use super::train::TrainOptions;

/// Of the bits and lengths that are tried. Miri has the time for some of them.
const APART: usize = if cfg!(miri) { 163 } else { 1 };

/// 97 keys of two slopes and a gap.
fn keys() -> KeyArray {
    KeyArray::from_sorted((0..97).map(|at| if at < 50 { at * 3 } else { (at << 40) + at * at })).unwrap()
}

fn learned() -> Index {
    let train = TrainOptions { eps: Some(2), correction_shift: Some(2), ..TrainOptions::default() };
    Index::build(keys(), IndexOptions { train, structure: Some(Structure::Learned) }, &mut || 0)
}

fn splus() -> Index {
    let options = IndexOptions { structure: Some(Structure::SPlus), ..IndexOptions::default() };
    Index::build(keys(), options, &mut || 0)
}

fn decode_over_the_keys(bytes: &[u8]) -> Result<Index, DecodeError> {
    decode(bytes, keys(), Memory::plain()).map_err(|(error, _)| error)
}

fn assert_answers(index: &Index) {
    let keys = keys();
    let near = keys.as_slice().iter().flat_map(|key| [key.saturating_sub(1), *key, key + 1]);
    let wanted: Vec<u64> = near.chain([0, 1 << 39, u64::MAX]).collect();
    let mut batch = vec![0; wanted.len()];
    index.rank_batch(&wanted, &mut batch);
    for (key, found) in wanted.iter().zip(batch) {
        let rank = keys.as_slice().partition_point(|other| other < key);
        assert_eq!((index.rank(*key), found), (rank, rank));
    }
}

#[test]
fn comes_back_as_it_was() {
    for index in [learned(), splus()] {
        let bytes = encode(&index);
        assert!(bytes.len().is_multiple_of(LINE_BYTES));
        let decoded = decode_over_the_keys(&bytes).unwrap();
        assert_answers(&decoded);
        assert_eq!(encode(&decoded), bytes);
        assert_eq!(decoded.max_error(), index.max_error());
        assert_eq!(decoded.choice(Mode::Batch).structure, index.choice(Mode::Batch).structure);
    }
}

#[test]
fn steps_of_any_size_encode_and_decode_the_same() {
    for index in [learned(), splus()] {
        let mut encoder = Encoder::new(&index);
        while !encoder.step(7) {}
        let bytes = encoder.finish();
        assert!(bytes == encode(&index));
        let (mut decoder, mut steps) = (Decoder::new(&bytes, keys(), Memory::plain()), 0);
        while !decoder.step(7) {
            steps += 1;
        }
        assert!(steps > 97 / 7, "{steps} steps");
        let Ok(decoded) = decoder.finish() else { panic!("refused") };
        assert_answers(&decoded);
    }
}

#[test]
fn an_index_over_no_keys_comes_back() {
    for structure in [Structure::Learned, Structure::SPlus] {
        let options = IndexOptions { structure: Some(structure), ..IndexOptions::default() };
        let index = Index::build(KeyArray::new(&[]).unwrap(), options, &mut || 0);
        let bytes = encode(&index);
        let Ok(decoded) = decode(&bytes, index.into_keys(), Memory::plain()) else { panic!("{structure:?}") };
        assert_eq!(decoded.rank(5), 0);
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for index in [learned(), splus()] {
        let mut bytes = encode(&index);
        for bit in (0..bytes.len() * 8).step_by(APART) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_over_the_keys(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn every_other_length_is_refused() {
    for index in [learned(), splus()] {
        let bytes = encode(&index);
        for length in (0..bytes.len()).step_by(APART) {
            assert!(decode_over_the_keys(&bytes[..length]).is_err(), "{length} bytes");
        }
        for more in [1, 64, 1000] {
            let longer = [&bytes[..], &vec![0; more]].concat();
            assert!(decode_over_the_keys(&longer).is_err(), "{more} bytes more");
        }
    }
}

/// The same bytes under right hashes: what a buggy or malicious writer could produce.
fn with_right_hashes(mut bytes: Vec<u8>) -> Vec<u8> {
    use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
    let hash = xxh3_64(&bytes[..56]);
    bytes[56..64].copy_from_slice(&hash.to_le_bytes());
    let mut at = LINE_BYTES;
    while let Some(head) = bytes.get(at..at + LINE_BYTES) {
        let kind = u64::from(head[0]);
        let length = u64::from_le_bytes(head[8..16].try_into().unwrap());
        let begin = at + LINE_BYTES;
        let Some(end) = begin.checked_add(length as usize).filter(|end| *end <= bytes.len()) else { break };
        let hash = xxh3_64_with_seed(&bytes[begin..end], (kind << 56) ^ length);
        bytes[at + 16..at + 24].copy_from_slice(&hash.to_le_bytes());
        at = end.next_multiple_of(LINE_BYTES);
    }
    bytes
}

#[test]
fn a_flipped_bit_under_a_right_hash_is_refused_or_harmless() {
    let bytes = encode(&learned());
    assert_eq!(with_right_hashes(bytes.clone()), bytes);
    let (mut refused, mut harmless) = (0, 0);
    for bit in (0..bytes.len() * 8).step_by(APART) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match decode_over_the_keys(&with_right_hashes(flipped)) {
            Ok(index) => {
                assert_answers(&index);
                harmless += 1;
            }
            Err(_) => refused += 1,
        }
    }
    // Harmless: slopes, corrections, eps and the like.
    assert!(refused > 1000 / APART && harmless > 100 / APART, "{refused} refused, {harmless} harmless");
}

#[test]
fn other_keys_and_other_formats_are_named() {
    let bytes = encode(&learned());
    let other = KeyArray::from_sorted(0..97).unwrap();
    let Err((error, keys)) = decode(&bytes, other, Memory::plain()) else { panic!("accepted") };
    assert_eq!((error, keys.len()), (DecodeError::OtherKeys, 97));
    let mut newer = bytes.clone();
    newer[8] = 2;
    let error = decode_over_the_keys(&with_right_hashes(newer)).map(|_| ()).unwrap_err();
    assert_eq!(error, DecodeError::Version { found: 2 });
    assert_eq!(decode_over_the_keys(b"SQLite format 3").map(|_| ()).unwrap_err(), DecodeError::Length);
}

#[test]
fn what_cannot_be_loaded_is_built_from_the_keys() {
    let bytes = encode(&learned());
    let (index, error) = load(&bytes, keys(), IndexOptions::default(), &mut || 0);
    assert_eq!((index.choice(Mode::Single).structure, error), (Structure::Learned, None));
    let (index, error) = load(&bytes[1..], keys(), IndexOptions::default(), &mut || 0);
    assert_eq!(error, Some(DecodeError::NotAnIndex));
    assert_answers(&index);
}

/// `WRITE_GOLDEN=1` writes the file anew, for a new version of the format only.
#[test]
fn the_format_is_the_golden_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/rmi_index_v1.bin");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(path, encode(&learned())).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert!(encode(&learned()) == golden, "the format changed: give it another version");
    assert_answers(&decode_over_the_keys(&golden).unwrap());
}
