//! Arbitrary bytes in arbitrary pieces as a stream of requests: no panic, all input is taken or refused,
//! and the pieces do not matter.
//!
//! The first byte says how the rest is cut.

#![no_main]

use kyrodb::net::parser::{Body, Fault, Part, RequestReader};
use kyrodb::net::routes;
use libfuzzer_sys::fuzz_target;

/// Target and body of every request, and whether a fault ended the stream.
fn read(pieces: &[&[u8]]) -> (Vec<(String, Vec<u8>)>, Option<Fault>) {
    let mut reader = RequestReader::new(routes::streams);
    let mut seen: Vec<(String, Vec<u8>)> = Vec::new();
    let mut streaming = false;
    for piece in pieces {
        let mut input = *piece;
        loop {
            if streaming {
                match reader.next_part(&mut input) {
                    Ok(Part::Data(data)) => seen.last_mut().expect("a request").1.extend_from_slice(data),
                    Ok(Part::End) => streaming = false,
                    Ok(Part::More) => break,
                    Err(fault) => return (seen, Some(fault)),
                }
                continue;
            }
            match reader.next(&mut input) {
                Ok(Some(request)) => {
                    let (body, is_stream) = match request.body {
                        Body::Whole(body) => (body.to_vec(), false),
                        Body::Stream { .. } => (Vec::new(), true),
                    };
                    streaming = is_stream;
                    seen.push((format!("{}?{}", request.head.path, request.head.query), body));
                }
                Ok(None) => {
                    assert!(input.is_empty(), "more was asked for while input was left");
                    break;
                }
                Err(fault) => return (seen, Some(fault)),
            }
        }
    }
    (seen, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = read(&[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut).max(1)).collect();
    let cut = read(&pieces);
    assert_eq!(whole.0, cut.0);
    assert_eq!(whole.1.is_some(), cut.1.is_some());
});
