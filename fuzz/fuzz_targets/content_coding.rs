//! Arbitrary bytes as a coded body that comes in parts: refused, or made plain in bounded steps, the same however it was
//! cut. And arbitrary bytes there and back.

#![no_main]

use kyrodb::net::coding::Coding;
use kyrodb::net::coding::decoder::Decoder;
use kyrodb::net::coding::encoder::encode;
use libfuzzer_sys::fuzz_target;

/// More is refused by who takes it.
const PLAIN_BYTES_MAX: usize = 4 << 20;
const STEP_BYTES_MAX: usize = 1 << 20;

fn decode(coding: Coding, coded: &[u8], part_bytes: usize) -> Option<Vec<u8>> {
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

fuzz_target!(|data: &[u8]| {
    let [shape, data @ ..] = data else { return };
    let coding = [Coding::Gzip, Coding::Zstd][usize::from(shape % 2)];
    let part_bytes = 1 + usize::from(shape / 2);
    assert_eq!(decode(coding, data, part_bytes), decode(coding, data, usize::MAX));
    let coded = encode(coding, data).expect("memory for an encoder");
    assert_eq!(decode(coding, &coded, part_bytes).as_deref(), Some(data));
});
