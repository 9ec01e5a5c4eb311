//! A document as JSON: `{"id":..,"text":..,"embedding":[..],"metadata":{..}}`.
//!
//! Text and embedding are left out when the document has none; metadata is always there. Numbers of an embedding
//! are the shortest that give back the same f32. No text of a large document is made as a whole: a piece takes at
//! most [`limits::ENCODED_PIECE_BYTES`] of a part.

use super::encoding::{Damage, Document, Embedding, Parts};
use crate::limits;
use crate::shard::key::{Key, KeyType};

/// Which parts are shown beside the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub text: bool,
    pub embedding: bool,
    pub metadata: bool,
}

impl Shown {
    pub const ALL: Shown = Shown { text: true, embedding: true, metadata: true };
}

/// How far the JSON of a document has come. Holds no part of it: the same document is given each time.
#[derive(Clone, Copy, Debug)]
pub struct DocumentText {
    shown: Shown,
    stage: Stage,
    /// Bytes of the part that are done.
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Id,
    Text,
    Embedding,
    Metadata,
}

/// The whole JSON of an encoded document.
pub fn append_json(
    id: &Key,
    key_type: KeyType,
    encoded: &[u8],
    shown: Shown,
    out: &mut Vec<u8>,
) -> Result<(), Damage> {
    let document = Parts::of(encoded)?.document()?;
    let mut text = DocumentText::new(shown);
    while text.append_piece(id, key_type, &document, out) {}
    Ok(())
}

impl DocumentText {
    pub fn new(shown: Shown) -> DocumentText {
        DocumentText { shown, stage: Stage::Id, at: 0 }
    }

    /// Appends the next piece. True when there is more.
    pub fn append_piece(
        &mut self,
        id: &Key,
        key_type: KeyType,
        document: &Document<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        match self.stage {
            Stage::Id => {
                out.extend_from_slice(b"{\"id\":");
                append_id(id, key_type, out);
                self.next_stage(Stage::Text)
            }
            Stage::Text => match document.text.filter(|_| self.shown.text) {
                Some(text) if self.append_text(text, out) => true,
                _ => self.next_stage(Stage::Embedding),
            },
            Stage::Embedding => match document.embedding.filter(|_| self.shown.embedding) {
                Some(embedding) if self.append_numbers(embedding, out) => true,
                _ => self.next_stage(Stage::Metadata),
            },
            Stage::Metadata => {
                if self.shown.metadata && self.append_metadata(document.metadata.text(), out) {
                    return true;
                }
                out.push(b'}');
                false
            }
        }
    }

    fn next_stage(&mut self, stage: Stage) -> bool {
        (self.stage, self.at) = (stage, 0);
        true
    }

    fn append_text(&mut self, text: &str, out: &mut Vec<u8>) -> bool {
        if self.at == 0 {
            out.extend_from_slice(b",\"text\":\"");
        }
        let piece = self.piece_of(text);
        append_escaped(piece, out);
        let more = self.at < text.len();
        if !more {
            out.push(b'"');
        }
        more
    }

    /// Whole characters of what is left.
    fn piece_of<'a>(&mut self, text: &'a str) -> &'a str {
        let rest = &text[self.at..];
        let piece = &rest[..rest.floor_char_boundary(limits::ENCODED_PIECE_BYTES)];
        self.at += piece.len();
        piece
    }

    fn append_numbers(&mut self, embedding: Embedding<'_>, out: &mut Vec<u8>) -> bool {
        // So that the text of a piece is bounded as that of others: a number has up to 15 bytes.
        let piece_bytes = limits::ENCODED_PIECE_BYTES / 4;
        let rest = &embedding.bytes[self.at..];
        let piece = &rest[..rest.len().min(piece_bytes)];
        for (index, number) in embedding.element.numbers(piece).enumerate() {
            let is_first = self.at == 0 && index == 0;
            out.extend_from_slice(if is_first { b",\"embedding\":[" } else { b"," });
            append_number(number, out);
        }
        self.at += piece.len();
        let more = self.at < embedding.bytes.len();
        if !more {
            out.push(b']');
        }
        more
    }

    /// Compact JSON has no line ends.
    fn append_metadata(&mut self, metadata: &str, out: &mut Vec<u8>) -> bool {
        if self.at == 0 {
            out.extend_from_slice(b",\"metadata\":");
        }
        out.extend_from_slice(self.piece_of(metadata).as_bytes());
        self.at < metadata.len()
    }
}

fn append_id(id: &Key, key_type: KeyType, out: &mut Vec<u8>) {
    match (key_type, id.as_u64()) {
        (KeyType::U64, Some(number)) => {
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        _ => {
            out.push(b'"');
            append_escaped(&id.display(key_type), out);
            out.push(b'"');
        }
    }
}

/// The characters of a JSON string without its quotes.
fn append_escaped(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    serde_json::to_writer(&mut *out, text).expect("a vector takes every byte");
    out.pop();
    out.remove(start);
}

/// The shortest text that gives back the same f32.
pub fn append_number(number: f32, out: &mut Vec<u8>) {
    serde_json::to_writer(&mut *out, &number).expect("a vector takes every byte");
    if out.ends_with(b".0") {
        out.truncate(out.len() - 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::document::embedding::EmbeddingShape;
    use crate::shard::document::encoding::encode;
    use crate::shard::document::fields::Fields;
    use crate::shard::document::metadata::Metadata;
    use crate::shard::document::parse::{Shape, parse};
    use crate::vector::element::Element;
    use crate::vector::metric::Metric;
    use proptest::prelude::*;

    const PIECE_MAX: usize = 6 * limits::ENCODED_PIECE_BYTES + 64;

    fn json_of(encoded: &[u8], shown: Shown) -> String {
        let document = Parts::of(encoded).unwrap().document().unwrap();
        let (mut text, mut whole) = (DocumentText::new(shown), Vec::new());
        loop {
            let mut piece = Vec::new();
            let more = text.append_piece(&Key::from_u64(7), KeyType::U64, &document, &mut piece);
            assert!(piece.len() <= PIECE_MAX, "{}", piece.len());
            whole.extend(piece);
            if !more {
                break;
            }
        }
        let mut at_once = Vec::new();
        append_json(&Key::from_u64(7), KeyType::U64, encoded, shown, &mut at_once).unwrap();
        assert_eq!(at_once, whole);
        String::from_utf8(whole).unwrap()
    }

    fn bytes_of(numbers: &[f32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn parts_are_shown_as_asked_for() {
        let bytes = bytes_of(&[0.1, -2.0, 1e-7]);
        let document = Document {
            embedding: Some(Embedding { element: Element::F32, bytes: &bytes }),
            text: Some("a\"\n"),
            metadata: Metadata::from_compact(r#"{"n":1.50}"#),
        };
        let encoded = encode(&document);
        let all = r#"{"id":7,"text":"a\"\n","embedding":[0.1,-2,1e-7],"metadata":{"n":1.50}}"#;
        assert_eq!(json_of(&encoded, Shown::ALL), all);
        let none = Shown { text: false, embedding: false, metadata: false };
        assert_eq!(json_of(&encoded, none), r#"{"id":7}"#);
        assert_eq!(json_of(&encoded, Shown { text: true, ..none }), r#"{"id":7,"text":"a\"\n"}"#);
        let nothing = Document { embedding: None, text: None, metadata: Metadata::EMPTY };
        assert_eq!(json_of(&encode(&nothing), Shown::ALL), r#"{"id":7,"metadata":{}}"#);
        let empty = Document { text: Some(""), ..nothing };
        assert_eq!(json_of(&encode(&empty), Shown::ALL), r#"{"id":7,"text":"","metadata":{}}"#);
        let mut out = Vec::new();
        append_json(&Key::from_text("a\"b").unwrap(), KeyType::String, &encode(&nothing), none, &mut out)
            .unwrap();
        assert_eq!(out, br#"{"id":"a\"b"}"#);
    }

    #[test]
    fn large_documents_come_in_pieces() {
        let numbers: Vec<f32> = (0..4096).map(|n| -1.234_567_8e-30 * (n as f32 + 1.0)).collect();
        let bytes = bytes_of(&numbers);
        let text = "\u{1}\u{e9}\u{1f600}".repeat(20_000);
        let metadata = format!(r#"{{"a":"{}"}}"#, "\u{e9}".repeat(50_000));
        let document = Document {
            embedding: Some(Embedding { element: Element::F32, bytes: &bytes }),
            text: Some(&text),
            metadata: Metadata::from_compact(&metadata),
        };
        let json: serde_json::Value = serde_json::from_str(&json_of(&encode(&document), Shown::ALL)).unwrap();
        assert!(json["text"] == text.as_str());
        assert_eq!(json["metadata"]["a"].as_str().map(str::len), Some(100_000));
        assert_eq!(json["embedding"].as_array().map(Vec::len), Some(4096));
    }

    /// Infinities and NaN have all bits of the exponent: they lose one.
    fn finite_f16(bits: u16) -> u16 {
        const EXPONENT: u16 = 0x7c00;
        if bits & EXPONENT == EXPONENT { bits ^ 0x4000 } else { bits }
    }

    proptest! {
        /// Also a check of parsing: what is shown makes the same bytes again.
        #[test]
        fn what_is_shown_makes_the_same_document(
            bits in prop::collection::vec(any::<u32>(), 2..20), code in 0u8..3, text in prop::option::of(".{0,9}"),
            metadata in prop::sample::select(vec!["{}", r#"{"a":[1.0,{"b":null}]}"#]),
        ) {
            let element = Element::from_code(code).unwrap();
            let mut bytes = Vec::new();
            for bits in bits {
                match element {
                    // Few numbers of 32 bits are near one of these.
                    Element::F16 => bytes.extend(finite_f16(bits as u16).to_le_bytes()),
                    // None above 2^32: longer vectors are refused.
                    _ => element.encode(&[f32::from_bits(bits & !(3 << 28))], &mut bytes),
                }
            }
            prop_assert!(element.numbers(&bytes).all(f32::is_finite));
            let document = Document {
                embedding: Some(Embedding { element, bytes: &bytes }),
                text: text.as_deref(),
                metadata: Metadata::from_compact(metadata),
            };
            let encoded = encode(&document);
            let dimension = bytes.len() / element.bytes();
            let embedding = EmbeddingShape::new(dimension, Metric::L2, element).ok();
            let shape = Shape { key_type: KeyType::U64, embedding, fields: &Fields::default() };
            let again = parse(json_of(&encoded, Shown::ALL).as_bytes(), &shape).unwrap();
            prop_assert_eq!(again.id, Some(Key::from_u64(7)));
            prop_assert_eq!(again.encoded, encoded);
        }
    }
}
