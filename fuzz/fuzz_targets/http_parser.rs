//! Arbitrary bytes in arbitrary pieces as a stream of requests: no panic, all input is taken or refused,
//! and the pieces do not matter.
//!
//! The first byte says how the rest is cut.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../support/requests.rs"]
mod requests;

use requests::read;

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = read(&[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut).max(1)).collect();
    let cut = read(&pieces);
    assert_eq!(whole.seen, cut.seen);
    assert_eq!(whole.fault.is_some(), cut.fault.is_some());
    // Once more behind itself: then every head has been seen before.
    if whole.is_between && !bytes.starts_with(b"\r") {
        let twice = read(&[bytes, bytes]);
        assert_eq!(twice.seen, [whole.seen.as_slice(), &whole.seen].concat());
        assert!(twice.fault.is_none());
    }
});
