//! The bytes of a document: embedding, text and metadata in one value.
//!
//! Byte map, numbers little-endian:
//!
//! ```text
//! 0         1       2           4            8           8+e      8+e+t          end
//! +---------+-------+-----------+------------+-----------+--------+--------------+
//! | version | flags | dimension | text bytes | embedding | text   | metadata     |
//! | 1 (u8)  | u8    | u16       | u32 t      | e bytes   | UTF-8  | compact JSON |
//! +---------+-------+-----------+------------+-----------+--------+--------------+
//!
//! flags  bit 0     there is a text, though it may be empty
//!        bits 1-2  element of the embedding: 0 f32, 1 f16, 2 bf16
//!        bits 3-7  0
//! e      dimension x bytes of the element; no embedding has dimension 0 and element 0
//! ```
//!
//! Empty metadata has no bytes and means `{}`. The embedding stands first: its place depends on nothing, so it can
//! be decoded into it before the rest is known. It is not aligned.
//!
//! Invariant: a document has one encoding, and [`decode`] takes no other bytes.

use super::metadata::{self, Metadata};
use crate::limits;
use crate::vector::element::Element;

const VERSION: u8 = 1;
pub const HEADER_BYTES: usize = 8;

const HAS_TEXT: u8 = 1;
const ELEMENT_SHIFT: u32 = 1;
const FLAGS: u8 = 0b111;

/// Numbers of an embedding as they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedding<'a> {
    pub element: Element,
    /// At least one whole element; not aligned.
    pub bytes: &'a [u8],
}

impl<'a> Embedding<'a> {
    pub fn dimension(self) -> usize {
        self.bytes.len() / self.element.bytes()
    }

    pub fn numbers(self) -> impl Iterator<Item = f32> + 'a {
        self.element.numbers(self.bytes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    pub embedding: Option<Embedding<'a>>,
    pub text: Option<&'a str>,
    pub metadata: Metadata<'a>,
}

/// Why bytes are no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    Version,
    Flags,
    Lengths,
    NotUtf8,
    Metadata,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Damage::Version => "the document has a version that is not known here",
            Damage::Flags => "the document has flags that are not known here",
            Damage::Lengths => "the lengths of the document do not fit its bytes",
            Damage::NotUtf8 => "the text or the metadata of the document is not UTF-8",
            Damage::Metadata => "the metadata of the document is not a compact JSON object",
        })
    }
}

impl std::error::Error for Damage {}

/// The parts of an encoded document, none of them looked at.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    embedding: Option<Embedding<'a>>,
    text: Option<&'a [u8]>,
    metadata: &'a [u8],
}

impl<'a> Parts<'a> {
    pub fn of(bytes: &'a [u8]) -> Result<Parts<'a>, Damage> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Damage::Lengths)?;
        let [version, flags, d0, d1, t0, t1, t2, t3] = *header;
        if version != VERSION {
            return Err(Damage::Version);
        }
        let element = Element::from_code((flags & FLAGS) >> ELEMENT_SHIFT).ok_or(Damage::Flags)?;
        let dimension = usize::from(u16::from_le_bytes([d0, d1]));
        if flags & !FLAGS != 0 || dimension == 0 && element != Element::F32 {
            return Err(Damage::Flags);
        }
        let text_len = u32::from_le_bytes([t0, t1, t2, t3]) as usize;
        let has_text = flags & HAS_TEXT != 0;
        if !has_text && text_len != 0 {
            return Err(Damage::Lengths);
        }
        let (embedding, rest) = rest.split_at_checked(dimension * element.bytes()).ok_or(Damage::Lengths)?;
        let (text, metadata) = rest.split_at_checked(text_len).ok_or(Damage::Lengths)?;
        Ok(Parts {
            embedding: (dimension > 0).then_some(Embedding { element, bytes: embedding }),
            text: has_text.then_some(text),
            metadata,
        })
    }

    pub fn embedding(self) -> Option<Embedding<'a>> {
        self.embedding
    }

    pub fn text(self) -> Result<Option<&'a str>, Damage> {
        self.text.map(std::str::from_utf8).transpose().map_err(|_| Damage::NotUtf8)
    }

    pub fn metadata(self) -> Result<Metadata<'a>, Damage> {
        match std::str::from_utf8(self.metadata).map_err(|_| Damage::NotUtf8)? {
            "" => Ok(Metadata::EMPTY),
            text => Ok(Metadata::from_compact(text)),
        }
    }

    /// All parts, read but not checked further than [`Parts::text`] and [`Parts::metadata`] do.
    pub fn document(self) -> Result<Document<'a>, Damage> {
        Ok(Document { embedding: self.embedding, text: self.text()?, metadata: self.metadata()? })
    }
}

/// Everything checked, also that the metadata is what it should be.
pub fn decode(bytes: &[u8]) -> Result<Document<'_>, Damage> {
    let parts = Parts::of(bytes)?;
    let document = parts.document()?;
    let text = document.metadata.text();
    let is_canonical = parts.metadata != b"{}" && metadata::compact(text).as_deref() == Ok(text);
    if is_canonical { Ok(document) } else { Err(Damage::Metadata) }
}

pub fn encode(document: &Document<'_>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    if let Some(embedding) = document.embedding {
        encoder
            .room_for_embedding(embedding.element, embedding.bytes.len())
            .extend_from_slice(embedding.bytes);
    }
    encoder.finish(document.text, document.metadata)
}

/// An encoding under way: the embedding may come before the rest is known.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    element: Element,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    pub fn new() -> Encoder {
        Encoder { bytes: vec![0; HEADER_BYTES], element: Element::F32 }
    }

    pub fn has_embedding(&self) -> bool {
        self.bytes.len() > HEADER_BYTES
    }

    /// Where the elements of the embedding are appended, and nothing else.
    pub fn room_for_embedding(&mut self, element: Element, bytes: usize) -> &mut Vec<u8> {
        assert!(!self.has_embedding(), "an embedding is appended once");
        self.element = element;
        self.bytes.reserve(bytes);
        &mut self.bytes
    }

    /// Panics when a part is larger than the limits of a document allow.
    pub fn finish(mut self, text: Option<&str>, metadata: Metadata<'_>) -> Vec<u8> {
        let embedding_len = self.bytes.len() - HEADER_BYTES;
        assert!(embedding_len.is_multiple_of(self.element.bytes()), "an embedding of whole elements");
        let dimension = embedding_len / self.element.bytes();
        assert!(dimension <= limits::EMBEDDING_ENTRIES_MAX, "the dimension is checked before");
        let element = if dimension == 0 { Element::F32 } else { self.element };
        let text_len = text.map_or(0, str::len);
        assert!(text_len <= limits::DOCUMENT_TEXT_BYTES_MAX, "the length of the text is checked before");
        self.bytes[0] = VERSION;
        self.bytes[1] = (u8::from(text.is_some()) * HAS_TEXT) | ((element as u8) << ELEMENT_SHIFT);
        self.bytes[2..4].copy_from_slice(&(dimension as u16).to_le_bytes());
        self.bytes[4..8].copy_from_slice(&(text_len as u32).to_le_bytes());
        let metadata = if metadata == Metadata::EMPTY { "" } else { metadata.text() };
        self.bytes.reserve_exact(text_len + metadata.len());
        self.bytes.extend_from_slice(text.unwrap_or_default().as_bytes());
        self.bytes.extend_from_slice(metadata.as_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Byte for byte, as it may lie in logs.
    #[test]
    fn the_format_is_fixed() {
        let embedding = Embedding { element: Element::F16, bytes: &[1, 2, 3, 4] };
        let metadata = Metadata::from_compact(r#"{"a":1}"#);
        let document = Document { embedding: Some(embedding), text: Some("hi"), metadata };
        let bytes = encode(&document);
        assert_eq!(bytes, [&[1, 3, 2, 0, 2, 0, 0, 0, 1, 2, 3, 4][..], b"hi", br#"{"a":1}"#].concat());
        let nothing = Document { embedding: None, text: None, metadata: Metadata::EMPTY };
        assert_eq!(encode(&nothing), [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode(&encode(&nothing)), Ok(nothing));
        let empty_text = Document { text: Some(""), ..nothing };
        assert_eq!(encode(&empty_text), [1, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(decode(&encode(&empty_text)), Ok(empty_text));
    }

    #[test]
    fn what_no_document_has_is_damage() {
        let header = |version, flags, dimension, text| {
            let mut bytes = vec![version, flags, dimension, 0, text, 0, 0, 0];
            bytes.resize(HEADER_BYTES + 8, b' ');
            bytes
        };
        assert_eq!(decode(&[1, 0, 0, 0, 0, 0, 0]), Err(Damage::Lengths));
        assert_eq!(decode(&header(0, 0, 0, 0)), Err(Damage::Version));
        assert_eq!(decode(&header(2, 0, 0, 0)), Err(Damage::Version));
        assert_eq!(decode(&header(1, 8, 0, 0)), Err(Damage::Flags));
        assert_eq!(decode(&header(1, 6, 1, 0)), Err(Damage::Flags), "no such element");
        assert_eq!(decode(&header(1, 2, 0, 0)), Err(Damage::Flags), "an element of no embedding");
        assert_eq!(decode(&header(1, 0, 0, 1)), Err(Damage::Lengths), "the length of no text");
        assert_eq!(decode(&header(1, 0, 3, 0)), Err(Damage::Lengths));
        assert_eq!(decode(&header(1, 1, 0, 9)), Err(Damage::Lengths));
        assert_eq!(decode(&header(1, 0, 0, 0)), Err(Damage::Metadata));
        assert_eq!(decode(b"\x01\0\0\0\0\0\0\0{}"), Err(Damage::Metadata), "empty metadata has no bytes");
        assert_eq!(decode(b"\x01\0\0\0\0\0\0\0{ \"a\":1}"), Err(Damage::Metadata));
        assert_eq!(decode(b"\x01\x01\0\0\x01\0\0\0\xff"), Err(Damage::NotUtf8));
    }

    proptest! {
        #[test]
        fn documents_come_back(
            dimension in 0usize..5, code in 0u8..3, fill in any::<u8>(),
            text in prop::option::of(".{0,8}"),
            metadata in prop::sample::select(vec!["{}", r#"{"a":1}"#, r#"{"b":{"c":["\u00e9",1e400]}}"#]),
        ) {
            let element = Element::from_code(code).unwrap();
            let bytes = vec![fill; dimension * element.bytes()];
            let embedding = (dimension > 0).then_some(Embedding { element, bytes: &bytes });
            let document =
                Document { embedding, text: text.as_deref(), metadata: Metadata::from_compact(metadata) };
            let encoded = encode(&document);
            prop_assert_eq!(decode(&encoded), Ok(document));
            for len in 0..encoded.len() {
                if let Ok(shorter) = decode(&encoded[..len]) {
                    prop_assert_eq!(encode(&shorter), &encoded[..len]);
                }
            }
        }

        #[test]
        fn any_bytes_are_refused_or_canonical(
            head in prop::sample::select(vec![vec![], vec![1u8, 0, 0, 0], vec![1, 1, 0, 0, 1, 0, 0, 0], vec![1, 2, 1, 0, 0, 0, 0, 0]]),
            rest in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(br#"{}"a:1"#.to_vec())], 0..20),
        ) {
            let bytes = [head, rest].concat();
            if let Ok(document) = decode(&bytes) {
                prop_assert_eq!(encode(&document), bytes);
            }
        }
    }
}
