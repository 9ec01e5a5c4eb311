//! Hashes keep mutated bytes out of what is behind them, so they are mended first: those of a header and of
//! sections in whole cache lines, as the learned index and the vector index are stored.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const LINE: usize = 64;

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// Makes the hashes of header and sections right, as far as there are any.
pub fn mend(bytes: &mut [u8]) {
    if bytes.len() < LINE {
        return;
    }
    let hash = xxh3_64(&bytes[..LINE - 8]);
    bytes[LINE - 8..LINE].copy_from_slice(&hash.to_le_bytes());
    let mut at = LINE;
    while at + LINE <= bytes.len() {
        let (kind, len) = (number(bytes, at) as u32, number(bytes, at + 8));
        let begin = at + LINE;
        let Some(end) = usize::try_from(len).ok().and_then(|len| begin.checked_add(len)) else { return };
        let Some(payload) = bytes.get(begin..end) else { return };
        let hash = xxh3_64_with_seed(payload, (u64::from(kind) << 56) ^ len);
        bytes[at + 16..at + 24].copy_from_slice(&hash.to_le_bytes());
        at = end.next_multiple_of(LINE);
    }
}
