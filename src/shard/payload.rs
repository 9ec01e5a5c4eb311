//! The payload of a record: its content type and its value bytes, in one allocation.
//!
//! Byte map (also in the log and in runs):
//!
//! ```text
//! 0      1                  1+n            end
//! +------+------------------+--------------+
//! | type | n bytes of text  | value bytes  |
//! +------+------------------+--------------+
//! ```
//!
//! `type` is a code of [`KNOWN_TYPES`]; [`OTHER_TYPE`] is followed by a length byte and the text.
//! [`DOCUMENT_TYPE`] marks the value as a document in the encoding of [`super::document::encoding`]. It has a code
//! of its own, not a name: no client can send other bytes under it.

use std::sync::Arc;

use crate::io::buf::SharedFill;
use crate::limits;

const KNOWN_TYPES: [&str; 4] =
    ["application/octet-stream", "application/json", "text/plain", "text/plain; charset=utf-8"];
const OTHER_TYPE: u8 = 255;
const DOCUMENT_TYPE: u8 = 254;

pub const OCTET_STREAM: &str = KNOWN_TYPES[0];
pub const JSON: &str = KNOWN_TYPES[1];
pub const TEXT: &str = KNOWN_TYPES[3];

/// Invariant: well-formed by the byte map above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(Arc<[u8]>);

impl Payload {
    /// `content_type` is at most [`limits::CONTENT_TYPE_BYTES_MAX`] bytes of visible ASCII.
    pub fn new(content_type: &str, value: &[u8]) -> Payload {
        match KNOWN_TYPES.iter().position(|known| *known == content_type) {
            Some(code) => Payload(joined([&[code as u8], &[], value])),
            None => {
                assert!(content_type.len() <= limits::CONTENT_TYPE_BYTES_MAX, "content type too long");
                let head = [OTHER_TYPE, content_type.len() as u8];
                Payload(joined([&head, content_type.as_bytes(), value]))
            }
        }
    }

    /// `encoded` is a document in its encoding.
    pub fn document(encoded: &[u8]) -> Payload {
        Payload(joined([&[DOCUMENT_TYPE], &[], encoded]))
    }

    /// True when the value is an encoded document, of which clients see the JSON.
    pub fn is_document(&self) -> bool {
        self.0[0] == DOCUMENT_TYPE
    }

    /// From the log or a run; `None` when the bytes are not a payload.
    pub fn from_bytes(bytes: &[u8]) -> Option<Payload> {
        value_start(bytes).map(|_| Payload(bytes.into()))
    }

    /// As [`Payload::from_bytes`], without a copy.
    pub fn from_shared(bytes: Arc<[u8]>) -> Option<Payload> {
        value_start(&bytes).map(|_| Payload(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As clients see the value.
    pub fn content_type(&self) -> &str {
        let code = self.0[0];
        if code == DOCUMENT_TYPE {
            return JSON;
        }
        match KNOWN_TYPES.get(usize::from(code)) {
            Some(known) => known,
            None => std::str::from_utf8(&self.0[2..self.start()]).unwrap_or(OCTET_STREAM),
        }
    }

    pub fn value(&self) -> &[u8] {
        &self.0[self.start()..]
    }

    pub fn shared_bytes(&self) -> &Arc<[u8]> {
        &self.0
    }

    /// The shared bytes and where the value begins in them: lets a large value be sent without a copy.
    pub fn shared_value(&self) -> (Arc<[u8]>, usize) {
        (self.0.clone(), self.start())
    }

    /// True when somebody else has the bytes in memory, too.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// This holder's part of the bytes.
    pub fn own_bytes(&self) -> usize {
        self.0.len() / Arc::strong_count(&self.0)
    }

    fn start(&self) -> usize {
        value_start(&self.0).expect("a payload is well-formed by construction")
    }
}

/// A payload of which the value comes piece by piece: no step is longer for a larger value.
pub struct PayloadFill(SharedFill);

impl PayloadFill {
    /// As [`Payload::new`], for a value of so many bytes.
    pub fn new(content_type: &str, value_bytes: usize) -> PayloadFill {
        let head = Payload::new(content_type, &[]);
        let mut fill = SharedFill::new(head.as_bytes().len() + value_bytes);
        fill.push(head.as_bytes());
        PayloadFill(fill)
    }

    /// Bytes of the value that are still to come.
    pub fn left(&self) -> usize {
        self.0.left()
    }

    pub fn push(&mut self, piece: &[u8]) {
        self.0.push(piece);
    }

    /// Panics when bytes are missing.
    pub fn finish(self) -> Payload {
        Payload::from_shared(self.0.finish()).expect("it begins with the head of a payload")
    }
}

/// One allocation, and each byte copied once: a value may be large.
fn joined(parts: [&[u8]; 3]) -> Arc<[u8]> {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
    let mut rest = Arc::get_mut(&mut bytes).expect("not shared yet");
    for part in parts {
        let (place, behind) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = behind;
    }
    bytes
}

/// The value in the bytes of a payload; `None` when they are none.
pub fn value_in(bytes: &[u8]) -> Option<&[u8]> {
    value_start(bytes).map(|start| &bytes[start..])
}

fn value_start(bytes: &[u8]) -> Option<usize> {
    match *bytes.first()? {
        code if usize::from(code) < KNOWN_TYPES.len() => Some(1),
        DOCUMENT_TYPE => Some(1),
        OTHER_TYPE => {
            let start = 2 + usize::from(*bytes.get(1)?);
            std::str::from_utf8(bytes.get(2..start)?).ok()?;
            Some(start)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_type_and_value() {
        for content_type in KNOWN_TYPES.into_iter().chain(["image/png", ""]) {
            for value in [&b""[..], b"x", b"{\"a\":1}"] {
                let payload = Payload::new(content_type, value);
                assert_eq!((payload.content_type(), payload.value()), (content_type, value));
                assert_eq!(Payload::from_bytes(payload.as_bytes()), Some(payload.clone()));
                let mut fill = PayloadFill::new(content_type, value.len());
                value.chunks(2).for_each(|piece| fill.push(piece));
                assert_eq!((fill.left(), fill.finish()), (0, payload));
            }
        }
    }

    #[test]
    fn documents_are_marked_by_a_code_of_their_own() {
        let document = Payload::document(b"encoded");
        assert_eq!((document.content_type(), document.value()), (JSON, &b"encoded"[..]));
        assert!(document.is_document());
        assert_eq!(Payload::from_bytes(document.as_bytes()), Some(document));
        for content_type in KNOWN_TYPES.into_iter().chain(["application/vnd.kyrodb.document"]) {
            assert!(!Payload::new(content_type, b"encoded").is_document());
        }
    }

    #[test]
    fn malformed_bytes_are_no_payload() {
        for bytes in [&[][..], &[9], &[OTHER_TYPE], &[OTHER_TYPE, 3, b'a'], &[OTHER_TYPE, 1, 0xff]] {
            assert_eq!(Payload::from_bytes(bytes), None, "{bytes:?}");
        }
    }
}
