//! A coded body that comes in parts.

use kyrodb::net::coding::Coding;
use kyrodb::net::coding::decoder::Decoder;

/// More is refused by who takes it.
const PLAIN_BYTES_MAX: usize = 4 << 20;
const STEP_BYTES_MAX: usize = 1 << 20;

pub fn decode(coding: Coding, coded: &[u8], part_bytes: usize) -> Option<Vec<u8>> {
    let (mut decoder, mut plain) = (Decoder::new(coding), Vec::new());
    for mut part in coded.chunks(part_bytes) {
        while !part.is_empty() {
            let (left, before) = (part.len(), plain.len());
            decoder.step(&mut part, &mut plain).ok()?;
            assert!(plain.len() - before <= STEP_BYTES_MAX && (part.len() < left || plain.len() > before));
            if plain.len() > PLAIN_BYTES_MAX {
                return None;
            }
        }
    }
    decoder.finish(&mut plain).ok()?;
    Some(plain)
}
