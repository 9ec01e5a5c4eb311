//! Little-endian numbers at fixed places of a page or a fixed-size record.
//!
//! The caller has checked the length of the bytes against the byte map, so a place beyond the end is a
//! bug of this code, not of the file, and panics.

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the byte map ends before this field")
}

/// Puts `field` (the result of `to_le_bytes`) at its place.
pub(super) fn put_at<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&field);
}
