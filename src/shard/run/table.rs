//! A section with a part for some of the tablets: where each is, then the parts.
//!
//! ```text
//! | offset u64, len u64 of the part of tablet 0 | of tablet 1 | .. | 0 .. | part | 0 .. | part | ..
//! ```
//!
//! By position in the directory; offsets from the start of the section, each a multiple of 64 bytes. A
//! tablet without a part has 0 and 0.

use super::field::u64_at;
use super::pieces::Pieces;

const LINE_BYTES: usize = 64;
const ENTRY_BYTES: usize = 16;

/// The section, in which an empty part is none; empty when all parts are.
pub(super) fn encode(parts: &[Vec<u8>]) -> Pieces {
    let mut section = Pieces::default();
    if parts.iter().all(Vec::is_empty) {
        return section;
    }
    let mut end = (parts.len() * ENTRY_BYTES).next_multiple_of(LINE_BYTES);
    for part in parts {
        let offset = if part.is_empty() { 0 } else { end as u64 };
        section.extend(&offset.to_le_bytes());
        section.extend(&(part.len() as u64).to_le_bytes());
        end += part.len().next_multiple_of(LINE_BYTES);
    }
    section.fill_line(LINE_BYTES, 0);
    for part in parts {
        section.extend_long(part);
        section.fill_line(LINE_BYTES, 0);
    }
    section
}

/// The parts of so many tablets; none when the table makes no sense.
pub(super) fn decode(section: &[u8], tablets: usize) -> Option<Vec<&[u8]>> {
    let table = section.get(..tablets.checked_mul(ENTRY_BYTES)?)?;
    let part = |entry: &[u8]| {
        let offset = usize::try_from(u64_at(entry, 0)).ok()?;
        let len = usize::try_from(u64_at(entry, 8)).ok()?;
        section.get(offset..offset.checked_add(len)?).filter(|_| offset.is_multiple_of(LINE_BYTES))
    };
    table.chunks_exact(ENTRY_BYTES).map(part).collect()
}
