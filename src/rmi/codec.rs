//! An index as bytes, beside the keys that it was built over.
//!
//! Only what training found out is stored. What follows from the keys or the segments (the search tree,
//! the router's table) is made again on loading, in the time that checking a stored copy would take.
//!
//! ```text
//! file     = header, section*            all little-endian, every part a multiple of 64 bytes
//!
//! header   0   8  magic "KyroRMI\n"
//!          8   4  format version (1)
//!         12   4  sections that follow (0 or 2)
//!         16   8  number of keys
//!         24   8  xxh3 of the keys, 8 bytes little-endian each
//!         32   4  eps of the segments
//!         36   4  largest error, corrections included
//!         40   1  structure for single lookups: 1 learned, 2 tree
//!         41   1  structure for batches
//!         42   1  router: low bits that are not looked at
//!         43   1  router: leading digits of a cell; 255: a search tree
//!         44   1  ranks of a correction, as a power of two; 255: none
//!         45  11  zero
//!         56   8  xxh3 of bytes 0..56
//!
//! section  0   4  kind: 1 segments, 2 corrections; in this order
//!          4   4  zero
//!          8   8  length of the payload
//!         16   8  xxh3 of the payload, seeded with kind and length
//!         24  40  zero
//!         64   n  payload, then zeros up to a multiple of 64
//!
//! segments     each 24 bytes: first key 8, slope 8, rank of the first key 4, span in ranks 4
//! corrections  an i8 for each group of predicted ranks; empty without corrections
//! ```
//!
//! INVARIANT: [`decode`] takes no number on trust. Whatever the bytes are, it returns an error or an
//! index that answers as one built from the keys would. Of the numbers that it cannot check without a
//! pass over all keys (slopes, corrections, the largest error) no answer depends, only its time.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use super::choose::{Choice, Reason, Structure};
use super::correction::Corrections;
use super::index::{Index, IndexOptions};
use super::kernel::Proven;
use super::keys::KeyArray;
use super::learned::Learned;
use super::memory::{LINE_BYTES, Memory};
use super::router::{Cut, Router};
use super::segment::{Line, Segment, Segments};
use super::splus::{SPlus, SPlusBuilder};

const MAGIC: [u8; 8] = *b"KyroRMI\n";
const VERSION: u32 = 1;
const SECTIONS_AT: usize = 12;
const KEYS_AT: usize = 16;
const KEYS_HASH_AT: usize = 24;
const EPS_AT: usize = 32;
const MAX_ERROR_AT: usize = 36;
const SINGLE_AT: usize = 40;
const BATCH_AT: usize = 41;
const LOW_AT: usize = 42;
const DIGITS_AT: usize = 43;
const SHIFT_AT: usize = 44;
const ZERO_AT: usize = 45;
const HEADER_HASH_AT: usize = LINE_BYTES - 8;
const NONE: u8 = u8::MAX;

const SEGMENTS: u32 = 1;
const CORRECTIONS: u32 = 2;
const SECTION_LENGTH_AT: usize = 8;
const SECTION_HASH_AT: usize = 16;
const SECTION_ZERO_AT: usize = 24;
const SEGMENT_BYTES: usize = 24;

/// Why bytes are no index over the keys at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than it says, or longer.
    Length,
    NotAnIndex,
    Version {
        found: u32,
    },
    /// A hash differs, or a byte that is always zero is not.
    Damaged,
    /// An index over other keys.
    OtherKeys,
    /// A number is not what it can be.
    Wrong(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Length => f.write_str("the index is not as long as it says"),
            DecodeError::NotAnIndex => f.write_str("this is no index"),
            DecodeError::Version { found } => write!(f, "index format {found}; this program reads {VERSION}"),
            DecodeError::Damaged => f.write_str("the index is damaged: a hash does not match"),
            DecodeError::OtherKeys => f.write_str("the index was built over other keys"),
            DecodeError::Wrong(what) => write!(f, "the index is wrong: {what}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// xxh3 of the keys as they are stored, in steps.
struct KeysHash {
    hasher: Box<Xxh3>,
    next: usize,
}

impl KeysHash {
    fn new() -> KeysHash {
        KeysHash { hasher: Box::new(Xxh3::new()), next: 0 }
    }

    /// Takes `budget` more keys in; the hash when these were the last.
    fn step(&mut self, keys: &KeyArray, budget: usize) -> Option<u64> {
        let rest = &keys.as_slice()[self.next..];
        let now = &rest[..rest.len().min(budget.max(1))];
        if cfg!(target_endian = "little") {
            // SAFETY: as many bytes as the keys have, and any byte is a u8.
            let bytes = unsafe { std::slice::from_raw_parts(now.as_ptr().cast(), size_of_val(now)) };
            self.hasher.update(bytes);
        } else {
            now.iter().for_each(|key| self.hasher.update(&key.to_le_bytes()));
        }
        self.next += now.len();
        (now.len() == rest.len()).then(|| self.hasher.digest())
    }
}

/// Encodes an index in steps. Most of the work is the hash of the keys.
pub struct Encoder<'a> {
    index: &'a Index,
    hash: KeysHash,
    bytes: Option<Vec<u8>>,
}

impl<'a> Encoder<'a> {
    pub fn new(index: &'a Index) -> Encoder<'a> {
        Encoder { index, hash: KeysHash::new(), bytes: None }
    }

    /// Looks at `budget` keys; true when all is done.
    pub fn step(&mut self, budget: usize) -> bool {
        if self.bytes.is_none() {
            let hash = self.hash.step(self.index.keys(), budget);
            self.bytes = hash.map(|hash| encode_with(self.index, hash));
        }
        self.bytes.is_some()
    }

    /// The bytes, when the last step said that all is done.
    pub fn finish(self) -> Vec<u8> {
        self.bytes.expect("every step was made")
    }
}

pub fn encode(index: &Index) -> Vec<u8> {
    let mut encoder = Encoder::new(index);
    while !encoder.step(usize::MAX) {}
    encoder.finish()
}

fn encode_with(index: &Index, hash_of_keys: u64) -> Vec<u8> {
    let mut header = [0; LINE_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    put(&mut header, 8, &VERSION.to_le_bytes());
    put(&mut header, KEYS_AT, &(index.keys().len() as u64).to_le_bytes());
    put(&mut header, KEYS_HASH_AT, &hash_of_keys.to_le_bytes());
    header[SINGLE_AT] = code_of(index.single.structure);
    header[BATCH_AT] = code_of(index.batch.structure);
    let mut sections = Vec::new();
    if let Some(learned) = index.learned() {
        put(&mut header, SECTIONS_AT, &2_u32.to_le_bytes());
        put(&mut header, EPS_AT, &learned.eps.to_le_bytes());
        put(&mut header, MAX_ERROR_AT, &learned.max_error.to_le_bytes());
        (header[LOW_AT], header[DIGITS_AT]) = match &learned.router {
            Router::Radix(radix) => (radix.coarse.low as u8, radix.coarse.digits as u8),
            Router::Tree(_) => (0, NONE),
        };
        header[SHIFT_AT] = learned.corrections.as_ref().map_or(NONE, |corrections| corrections.shift as u8);
        append_section(&mut sections, SEGMENTS, &segment_bytes(&learned.segments));
        let corrections = learned.corrections.as_ref().map_or(&[][..], Corrections::groups);
        append_section(&mut sections, CORRECTIONS, &corrections.iter().map(|c| *c as u8).collect::<Vec<_>>());
    }
    let hash = xxh3_64(&header[..HEADER_HASH_AT]);
    put(&mut header, HEADER_HASH_AT, &hash.to_le_bytes());
    [&header[..], &sections].concat()
}

fn put(header: &mut [u8], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

fn code_of(structure: Structure) -> u8 {
    match structure {
        Structure::Learned => 1,
        Structure::SPlus => 2,
    }
}

fn segment_bytes(segments: &Segments) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(segments.len() * SEGMENT_BYTES);
    for at in 0..segments.len() {
        let Segment { first, line } = segments.get(at);
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&line.slope.to_le_bytes());
        bytes.extend_from_slice(&line.start.to_le_bytes());
        bytes.extend_from_slice(&line.span.to_le_bytes());
    }
    bytes
}

fn append_section(out: &mut Vec<u8>, kind: u32, payload: &[u8]) {
    let mut head = [0; LINE_BYTES];
    put(&mut head, 0, &kind.to_le_bytes());
    put(&mut head, SECTION_LENGTH_AT, &(payload.len() as u64).to_le_bytes());
    put(&mut head, SECTION_HASH_AT, &hash_of_section(kind, payload).to_le_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(LINE_BYTES), 0);
}

fn hash_of_section(kind: u32, payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, (u64::from(kind) << 56) ^ payload.len() as u64)
}

/// The stored index, or one built anew when the bytes are not an index over `keys`; then with the reason.
pub fn load(
    bytes: &[u8],
    keys: KeyArray,
    options: IndexOptions,
    clock: &mut dyn FnMut() -> u64,
) -> (Index, Option<DecodeError>) {
    match decode(bytes, keys, options.train.memory) {
        Ok(index) => (index, None),
        Err((error, keys)) => (Index::build(keys, options, clock), Some(error)),
    }
}

/// The index that was encoded, over the same keys; else the keys back.
#[allow(clippy::result_large_err)]
pub fn decode(bytes: &[u8], keys: KeyArray, memory: Memory) -> Result<Index, (DecodeError, KeyArray)> {
    let mut decoder = Decoder::new(bytes, keys, memory);
    while !decoder.step(usize::MAX) {}
    decoder.finish()
}

/// Decodes an index in steps.
pub struct Decoder<'a> {
    bytes: &'a [u8],
    keys: KeyArray,
    memory: Memory,
    phase: Phase<'a>,
}

enum Phase<'a> {
    Head,
    Keys { head: Head<'a>, hash: KeysHash },
    Segments { head: Head<'a>, segments: StoredSegments },
    Tree { head: Head<'a>, learned: Option<Learned>, builder: SPlusBuilder },
    Done(Parts),
    Failed(DecodeError),
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8], keys: KeyArray, memory: Memory) -> Decoder<'a> {
        Decoder { bytes, keys, memory, phase: Phase::Head }
    }

    /// Looks at about `budget` keys; true when all is done.
    pub fn step(&mut self, budget: usize) -> bool {
        let taken = Phase::Failed(DecodeError::Length);
        let phase = std::mem::replace(&mut self.phase, taken);
        self.phase = self.after(phase, budget).unwrap_or_else(Phase::Failed);
        matches!(self.phase, Phase::Done(_) | Phase::Failed(_))
    }

    /// The index, or why there is none and the keys; when the last step said that all is done.
    #[allow(clippy::result_large_err)]
    pub fn finish(self) -> Result<Index, (DecodeError, KeyArray)> {
        match self.phase {
            Phase::Done(parts) => Ok(parts.into_index(self.keys)),
            Phase::Failed(error) => Err((error, self.keys)),
            _ => panic!("not all steps were made"),
        }
    }

    fn after(&self, phase: Phase<'a>, budget: usize) -> Result<Phase<'a>, DecodeError> {
        let keys = &self.keys;
        Ok(match phase {
            Phase::Head => {
                let head = Head::of(self.bytes)?;
                if u64_at(head.header, KEYS_AT) != keys.len() as u64 {
                    return Err(DecodeError::OtherKeys);
                }
                Phase::Keys { head, hash: KeysHash::new() }
            }
            Phase::Keys { head, mut hash } => match hash.step(keys, budget) {
                None => Phase::Keys { head, hash },
                Some(hash) if hash != u64_at(head.header, KEYS_HASH_AT) => {
                    return Err(DecodeError::OtherKeys);
                }
                Some(_) if head.sections.is_some() => {
                    Phase::Segments { head, segments: StoredSegments::default() }
                }
                Some(_) => self.tree_or_done(head, None),
            },
            Phase::Segments { head, mut segments } => {
                let Some((stored, corrections)) = head.sections else {
                    return Err(DecodeError::Wrong("segments"));
                };
                if !segments.step(stored, keys, budget)? {
                    return Ok(Phase::Segments { head, segments });
                }
                let learned = learned_of(head.header, &segments.checked, corrections, keys, self.memory)?;
                self.tree_or_done(head, Some(learned))
            }
            Phase::Tree { head, learned, mut builder } => match builder.step(keys, budget) {
                false => Phase::Tree { head, learned, builder },
                true => Phase::Done(head.parts(learned, Some(builder.finish()))),
            },
            done => done,
        })
    }

    fn tree_or_done(&self, head: Head<'a>, learned: Option<Learned>) -> Phase<'a> {
        if head.wants(Structure::SPlus) {
            let builder = SPlusBuilder::new(self.keys.len(), self.memory);
            return Phase::Tree { head, learned, builder };
        }
        Phase::Done(head.parts(learned, None))
    }
}

struct Parts {
    learned: Option<Learned>,
    splus: Option<SPlus>,
    single: Structure,
    batch: Structure,
}

impl Parts {
    fn into_index(self, keys: KeyArray) -> Index {
        let choice = |structure| Choice { structure, reason: Reason::Stored };
        let (single, batch) = (choice(self.single), choice(self.batch));
        Index { keys, learned: self.learned, splus: self.splus, single, batch }
    }
}

/// What the bytes say, all hashes checked.
struct Head<'a> {
    header: &'a [u8; LINE_BYTES],
    single: Structure,
    batch: Structure,
    /// Segments and corrections, when the learned index serves.
    sections: Option<(&'a [u8], &'a [u8])>,
}

impl<'a> Head<'a> {
    fn of(bytes: &'a [u8]) -> Result<Head<'a>, DecodeError> {
        let (header, mut rest) = bytes.split_first_chunk::<LINE_BYTES>().ok_or(DecodeError::Length)?;
        if header[..8] != MAGIC {
            return Err(DecodeError::NotAnIndex);
        }
        if u64_at(header, HEADER_HASH_AT) != xxh3_64(&header[..HEADER_HASH_AT]) {
            return Err(DecodeError::Damaged);
        }
        match u32_at(header, 8) {
            VERSION => {}
            found => return Err(DecodeError::Version { found }),
        }
        if header[ZERO_AT..HEADER_HASH_AT].iter().any(|byte| *byte != 0) {
            return Err(DecodeError::Damaged);
        }
        let (single, batch) = (structure_of(header[SINGLE_AT])?, structure_of(header[BATCH_AT])?);
        let mut head = Head { header, single, batch, sections: None };
        head.sections = match u32_at(header, SECTIONS_AT) {
            0 if !head.wants(Structure::Learned) => None,
            2 if head.wants(Structure::Learned) => {
                Some((take_section(&mut rest, SEGMENTS)?, take_section(&mut rest, CORRECTIONS)?))
            }
            _ => return Err(DecodeError::Wrong("sections and structures do not fit")),
        };
        if rest.is_empty() { Ok(head) } else { Err(DecodeError::Length) }
    }

    fn wants(&self, structure: Structure) -> bool {
        self.single == structure || self.batch == structure
    }

    fn parts(&self, learned: Option<Learned>, splus: Option<SPlus>) -> Parts {
        Parts { learned, splus, single: self.single, batch: self.batch }
    }
}

fn structure_of(code: u8) -> Result<Structure, DecodeError> {
    match code {
        1 => Ok(Structure::Learned),
        2 => Ok(Structure::SPlus),
        _ => Err(DecodeError::Wrong("unknown structure")),
    }
}

fn take_section<'a>(rest: &mut &'a [u8], kind: u32) -> Result<&'a [u8], DecodeError> {
    let (head, behind) = rest.split_first_chunk::<LINE_BYTES>().ok_or(DecodeError::Length)?;
    let length = usize::try_from(u64_at(head, SECTION_LENGTH_AT)).map_err(|_| DecodeError::Length)?;
    let padded = length.checked_next_multiple_of(LINE_BYTES).ok_or(DecodeError::Length)?;
    let (padded, behind) = behind.split_at_checked(padded).ok_or(DecodeError::Length)?;
    let (payload, padding) = padded.split_at(length);
    *rest = behind;
    let zeros = head[4..SECTION_LENGTH_AT].iter().chain(&head[SECTION_ZERO_AT..]).chain(padding);
    let sound = u32_at(head, 0) == kind
        && u64_at(head, SECTION_HASH_AT) == hash_of_section(kind, payload)
        && zeros.into_iter().all(|byte| *byte == 0);
    if sound { Ok(payload) } else { Err(DecodeError::Damaged) }
}

fn learned_of(
    header: &[u8; LINE_BYTES],
    segments: &[Segment],
    corrections: &[u8],
    keys: &KeyArray,
    memory: Memory,
) -> Result<Learned, DecodeError> {
    let segments = Segments::new(segments);
    let firsts = segments.firsts();
    let range = keys.as_slice().last().map_or(0, |last| last - firsts.as_slice()[0]);
    let cut = match header[DIGITS_AT] {
        NONE if header[LOW_AT] == 0 => None,
        digits => {
            let (low, digits) = (u32::from(header[LOW_AT]), u32::from(digits));
            Some(Cut { min: firsts.as_slice()[0], range, low, digits })
        }
    };
    let router = Router::with_cut(firsts, cut, Memory::plain()).ok_or(DecodeError::Wrong("router"))?;
    let corrections = match header[SHIFT_AT] {
        NONE if corrections.is_empty() => None,
        shift => Some(
            Corrections::of_groups(u32::from(shift), keys.len(), corrections, memory)
                .ok_or(DecodeError::Wrong("corrections"))?,
        ),
    };
    let (eps, max_error) = (u32_at(header, EPS_AT), u32_at(header, MAX_ERROR_AT));
    if max_error as usize > keys.len() + usize::from(u8::MAX) {
        return Err(DecodeError::Wrong("largest error"));
    }
    Ok(Learned { segments, router, corrections, eps, max_error, proven: Proven::best() })
}

/// Segments that cover all ranks without a gap, each from the key on that it says.
#[derive(Default)]
struct StoredSegments {
    checked: Vec<Segment>,
    rank: u32,
}

impl StoredSegments {
    /// Checks `budget` of those that are stored; true when these were the last.
    fn step(&mut self, stored: &[u8], keys: &KeyArray, budget: usize) -> Result<bool, DecodeError> {
        const WRONG: DecodeError = DecodeError::Wrong("segments");
        let (pieces, left) = stored.as_chunks::<SEGMENT_BYTES>();
        for piece in pieces[self.checked.len()..].iter().take(budget.max(1)) {
            let first = u64_at(piece, 0);
            let line = Line { slope: u64_at(piece, 8), start: u32_at(piece, 16), span: u32_at(piece, 20) };
            let fits = line.start == self.rank && keys.as_slice().get(self.rank as usize) == Some(&first);
            let is_flat = first == 0 && line == Line::FLAT;
            let is_for_no_keys = keys.is_empty() && pieces.len() == 1 && is_flat;
            self.rank = self.rank.checked_add(line.span).ok_or(WRONG)?;
            if !(fits && line.span > 0 || is_for_no_keys) {
                return Err(WRONG);
            }
            self.checked.push(Segment { first, line });
        }
        if self.checked.len() < pieces.len() {
            return Ok(false);
        }
        let covers = self.rank as usize == keys.len() && left.is_empty() && !self.checked.is_empty();
        if covers { Ok(true) } else { Err(WRONG) }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("inside a fixed part"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("inside a fixed part"))
}
