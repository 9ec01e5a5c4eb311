//! Arbitrary bytes as an encoded index: refused, or an index that answers as binary search does.
//!
//! Hashes keep mutated bytes out of what is behind them, so they are mended first. The first bytes of the
//! input choose the keys and what is built over them; what is left changes the encoded index.

#![no_main]

use kyrodb::rmi::codec::decode;
use kyrodb::rmi::keys::KeyArray;
use kyrodb::rmi::memory::Memory;
use libfuzzer_sys::fuzz_target;

#[path = "../support/hashes.rs"]
mod hashes;
#[path = "../support/indexes.rs"]
mod indexes;

use hashes::mend;
use indexes::{encoded, keys};

/// False when the bytes are refused.
fn check(bytes: &[u8], keys: &[u64]) -> bool {
    let array = KeyArray::new(keys).expect("sorted and unique");
    let Ok(index) = decode(bytes, array, Memory::plain()) else { return false };
    let near = keys.iter().flat_map(|key| [key.wrapping_sub(1), *key, key + 1]);
    let wanted: Vec<u64> = near.chain([0, u64::MAX]).collect();
    let mut ranks = vec![0; wanted.len()];
    index.rank_batch(&wanted, &mut ranks);
    for (key, rank) in wanted.into_iter().zip(ranks) {
        let right = keys.partition_point(|other| *other < key);
        assert_eq!((index.rank(key), rank), (right, right), "{key}");
    }
    true
}

fuzz_target!(|data: &[u8]| {
    let Some(([len, shape, way], data)) = data.split_first_chunk::<3>() else { return };
    let keys = keys(*len, *shape);
    check(data, &keys);
    let mut bytes = encoded(&keys, *way);
    assert!(check(&bytes, &keys), "an index that was just encoded is refused");
    // Three bytes each: where, and what to.
    for change in data.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] ^= change[2];
    }
    check(&bytes, &keys);
    mend(&mut bytes);
    check(&bytes, &keys);
});
