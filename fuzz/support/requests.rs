//! A stream of requests that comes in pieces.

use kyrodb::net::parser::{Body, Fault, Head, Part, RequestReader, Stage};
use kyrodb::net::routes;

/// All that a head says.
fn told(head: &Head<'_>) -> String {
    let fields = &head.fields;
    let texts = [
        fields.content_type(),
        fields.content_encoding(),
        fields.accept(),
        fields.accept_encoding(),
        fields.if_match(),
        fields.if_none_match(),
        fields.durability(),
        fields.request_id(),
        fields.traceparent(),
        fields.authorization().map(|key| key.reveal()),
        fields.origin(),
        fields.requested_method(),
    ];
    format!("{head:?} {texts:?} {:?}", fields.idempotency_key())
}

pub struct Outcome {
    /// Head and body of every request.
    pub seen: Vec<(String, Vec<u8>)>,
    /// What ended the stream.
    pub fault: Option<Fault>,
    /// Nothing of a further request was there.
    pub is_between: bool,
}

pub fn read(pieces: &[&[u8]]) -> Outcome {
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
                    Err(fault) => return Outcome { seen, fault: Some(fault), is_between: false },
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
                    seen.push((told(&request.head), body));
                }
                Ok(None) => {
                    assert!(input.is_empty(), "more was asked for while input was left");
                    break;
                }
                Err(fault) => return Outcome { seen, fault: Some(fault), is_between: false },
            }
        }
    }
    let is_between = !streaming && reader.stage() == Stage::Idle && reader.held_bytes() == 0;
    Outcome { seen, fault: None, is_between }
}
