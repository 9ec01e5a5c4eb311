//! Arbitrary bytes as a coded body that comes in parts: refused, or made plain in bounded steps, the same however it was
//! cut. And arbitrary bytes there and back.

#![no_main]

use kyrodb::net::coding::Coding;
use kyrodb::net::coding::encoder::encode;
use libfuzzer_sys::fuzz_target;

#[path = "../support/coded.rs"]
mod coded;

use coded::decode;

fuzz_target!(|data: &[u8]| {
    let [shape, data @ ..] = data else { return };
    let coding = [Coding::Gzip, Coding::Zstd][usize::from(shape % 2)];
    let part_bytes = 1 + usize::from(shape / 2);
    assert_eq!(decode(coding, data, part_bytes), decode(coding, data, usize::MAX));
    let again = encode(coding, data).expect("memory for an encoder");
    assert_eq!(decode(coding, &again, part_bytes).as_deref(), Some(data));
});
