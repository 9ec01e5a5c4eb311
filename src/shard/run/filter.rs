//! The membership filter: which keys of the `string` tablets are certainly not in the run.
//!
//! Only the first key of each block of a `string` tablet is resident; without a filter each lookup of a
//! key that is not there would read a block. (All keys of a `u64` tablet are resident, so membership is
//! exact there and needs no filter.) A Bloom filter of the crate `fastbloom` over xxh3 of the key, seeded
//! with the tablet's id: 15 bits and 10 hashes a key, of 10,000 absent keys 7 get through.
//!
//! ```text
//! 0      8      16      20  24         32     64
//! +------+------+-------+---+----------+------+---------------+
//! | keys | words| hashes| 0 | placement| 0 .. | words u64 ..  |
//! | u64  | u64  | u32   |   | u64      |      |               |
//! +------+------+-------+---+----------+------+---------------+
//! ```
//!
//! Which bits a hash sets is the crate's own affair. `placement` is a hash over a filter of known
//! contents: when a later version of the crate sets other bits, the filter counts as damaged rather than
//! to deny keys that are there. Without a filter every key is perhaps there; it is not made again, since
//! its keys are in the payload blocks only.

use fastbloom::BloomFilter;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use super::field::{u32_at, u64_at};
use super::pieces::{PIECE_BYTES, Pieces};
use crate::types::TabletId;

const BITS_PER_KEY: u64 = 15;
const HASHES: u32 = 10;
const HASHES_MAX: u32 = 32;
const HEADER_BYTES: usize = 64;
const WORD_BYTES: usize = 8;
const ZERO_AT: usize = 32;

/// Hashes that are inserted in a step: ten cache lines each.
const FILL_STEP_KEYS: usize = 2048;
const STEP_WORDS: usize = PIECE_BYTES / WORD_BYTES;

pub(super) fn hash_of(tablet: TabletId, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, tablet.0.into())
}

pub(super) struct Filter {
    bloom: BloomFilter,
    keys: u64,
}

impl Filter {
    pub fn may_contain(&self, hash: u64) -> bool {
        self.bloom.contains_hash(hash)
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.bloom.as_slice())
    }

    fn header(&self) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&self.keys.to_le_bytes());
        header[8..16].copy_from_slice(&(self.bloom.as_slice().len() as u64).to_le_bytes());
        header[16..20].copy_from_slice(&self.bloom.num_hashes().to_le_bytes());
        header[24..ZERO_AT].copy_from_slice(&placement().to_le_bytes());
        header
    }

    /// Appends a piece of the section; false when it was whole before.
    pub fn encode_step(&self, section: &mut Pieces) -> bool {
        if section.len() == 0 {
            section.extend(&self.header());
            return true;
        }
        let words = &self.bloom.as_slice()[(section.len() - HEADER_BYTES) / WORD_BYTES..];
        let step = &words[..words.len().min(STEP_WORDS)];
        section.extend(&step.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        !step.is_empty()
    }
}

/// Hashes are given, so the hasher that the crate wants is never asked.
fn bloom(words: Vec<u64>, hashes: u32) -> BloomFilter {
    BloomFilter::from_vec(words).seed(&0).hashes(hashes)
}

/// Tells apart versions of the crate that set other bits.
fn placement() -> u64 {
    let mut known = bloom(vec![0; 16], HASHES);
    for number in 0..16_u64 {
        known.insert_hash(xxh3_64(&number.to_le_bytes()));
    }
    let mut hasher = Xxh3::new();
    known.as_slice().iter().for_each(|word| hasher.update(&word.to_le_bytes()));
    hasher.digest()
}

/// Makes a filter from the hashes of all keys, in steps.
pub(super) struct FilterBuilder {
    keys: u64,
    hashes: Pieces,
    /// The piece that is being inserted, from `at` on.
    piece: Vec<u8>,
    at: usize,
    /// Until there are all; then in `filter`.
    words: Vec<u64>,
    filter: Option<Filter>,
}

impl FilterBuilder {
    /// 8 bytes little-endian a hash.
    pub fn new(hashes: Pieces) -> FilterBuilder {
        let keys = (hashes.len() / WORD_BYTES) as u64;
        let words = Vec::with_capacity((keys * BITS_PER_KEY).div_ceil(64) as usize);
        FilterBuilder { keys, hashes, piece: Vec::new(), at: 0, words, filter: None }
    }

    /// A slice of the work; true at the end.
    pub fn step(&mut self) -> bool {
        let Some(filter) = &mut self.filter else {
            self.grow();
            return self.keys == 0;
        };
        let step = &self.piece[self.at..self.piece.len().min(self.at + FILL_STEP_KEYS * WORD_BYTES)];
        for hash in step.chunks_exact(WORD_BYTES) {
            filter.bloom.insert_hash(u64_at(hash, 0));
        }
        self.at += step.len();
        if self.at < self.piece.len() {
            return false;
        }
        let next = self.hashes.take_first();
        let done = next.is_none();
        (self.piece, self.at) = (next.unwrap_or_default(), 0);
        done
    }

    /// Zeros in steps: fresh memory costs more than what is done with it.
    fn grow(&mut self) {
        let wanted = (self.keys * BITS_PER_KEY).div_ceil(64) as usize;
        self.words.resize(wanted.min(self.words.len() + STEP_WORDS), 0);
        if self.words.len() == wanted && wanted > 0 {
            self.filter =
                Some(Filter { bloom: bloom(std::mem::take(&mut self.words), HASHES), keys: self.keys });
        }
    }

    /// None without keys.
    pub fn finish(self) -> Option<Filter> {
        assert!(self.hashes.len() == 0 && self.piece.is_empty(), "every step was made");
        self.filter
    }
}

/// Takes the section in pieces, when its hash was checked.
pub(super) struct FilterLoader {
    section: Pieces,
    words: Vec<u64>,
    wanted: usize,
    hashes: u32,
    keys: u64,
}

impl FilterLoader {
    /// None when this is no filter of so many keys.
    pub fn new(mut section: Pieces, keys: u64) -> Option<FilterLoader> {
        let len = section.len();
        let first = section.take_first()?;
        let (header, words) = first.split_first_chunk::<HEADER_BYTES>()?;
        let wanted = usize::try_from(u64_at(header, 8)).ok()?;
        let hashes = u32_at(header, 16);
        let sound = u64_at(header, 0) == keys
            && wanted > 0
            && wanted.checked_mul(WORD_BYTES)?.checked_add(HEADER_BYTES)? == len
            && (1..=HASHES_MAX).contains(&hashes)
            && u64_at(header, 24) == placement()
            && header[20..24].iter().chain(&header[ZERO_AT..]).all(|byte| *byte == 0);
        if !sound {
            return None;
        }
        let mut loader = FilterLoader { section, words: Vec::with_capacity(wanted), wanted, hashes, keys };
        loader.take(words);
        Some(loader)
    }

    /// A piece; true at the end.
    pub fn step(&mut self) -> bool {
        let Some(piece) = self.section.take_first() else { return true };
        self.take(&piece);
        false
    }

    /// Pieces have whole words.
    fn take(&mut self, bytes: &[u8]) {
        self.words.extend(bytes.chunks_exact(WORD_BYTES).map(|word| u64_at(word, 0)));
    }

    pub fn finish(self) -> Filter {
        assert_eq!(self.words.len(), self.wanted, "every step was made");
        Filter { bloom: bloom(self.words, self.hashes), keys: self.keys }
    }
}
