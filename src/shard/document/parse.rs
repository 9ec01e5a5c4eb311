//! A document from JSON, straight into its encoding.
//!
//! ```text
//! {"id"?, "text"?, "embedding"? | "embedding_b64"?, "metadata"?}
//! ```
//!
//! In a line of a bulk also `"ttl"` or `"expires_ms"`: how long it lives, or until when. Every member may be left out, or
//! be null. Nothing else may be there. One pass over the text.

use super::embedding::EmbeddingShape;
use super::encoding::Encoder;
use super::fields::Fields;
use super::invalid::{Invalid, Reason};
use super::json::{Json, Kind, Place, Scanner};
use super::metadata::{Metadata, compact_next};
use crate::limits;
use crate::shard::key::{Key, KeyType};

/// What the documents of a collection look like.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    pub key_type: KeyType,
    pub embedding: Option<EmbeddingShape>,
    pub fields: &'a Fields,
}

/// A document that suits its collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDocument {
    pub id: Option<Key>,
    /// In the bytes of [`super::encoding`].
    pub encoded: Vec<u8>,
    /// Of a line that says how long the document lives, in its own words.
    pub ttl: Option<String>,
    /// Of a line that says until when, in milliseconds since 1970.
    pub expires_ms: Option<u64>,
}

/// Metadata may be nested as deeply here as alone.
const LEVELS: usize = limits::METADATA_DEPTH_ENTRIES_MAX;
const DEPTH: usize = LEVELS + 1;

/// Pointers begin at the document.
pub fn parse(body: &[u8], shape: &Shape<'_>) -> Result<NewDocument, Invalid> {
    parse_members(body, shape, false)
}

/// A line of a bulk.
pub fn parse_line(line: &[u8], shape: &Shape<'_>) -> Result<NewDocument, Invalid> {
    parse_members(line, shape, true)
}

fn parse_members(body: &[u8], shape: &Shape<'_>, may_expire: bool) -> Result<NewDocument, Invalid> {
    let text = std::str::from_utf8(body).map_err(|_| Reason::NotUtf8)?;
    let mut scanner = Scanner::new(text, DEPTH);
    if scanner.peek()? != Kind::Object {
        scanner.value(DEPTH)?;
        return Err(Reason::Not("an object").into());
    }
    let mut draft = Draft {
        shape,
        may_expire,
        seen: Vec::new(),
        id: None,
        text: None,
        metadata: None,
        ttl: None,
        expires_ms: None,
        encoder: Encoder::new(),
    };
    let mut place: Place = scanner.open(DEPTH)?;
    while let Some(name) = scanner.member(&mut place)? {
        let name = name.text().ok_or(Reason::HalfCharacter)?;
        draft.member(&name, &mut scanner).map_err(|invalid| invalid.below(&name))?;
    }
    scanner.end()?;
    draft.finish()
}

/// A document of which some members were read.
struct Draft<'a> {
    shape: &'a Shape<'a>,
    may_expire: bool,
    /// Members that came, also those that are null.
    seen: Vec<Member>,
    id: Option<Key>,
    text: Option<std::borrow::Cow<'a, str>>,
    metadata: Option<String>,
    ttl: Option<String>,
    expires_ms: Option<u64>,
    encoder: Encoder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Id,
    Text,
    Embedding,
    EmbeddingBase64,
    Metadata,
    Ttl,
    ExpiresMs,
}

impl Member {
    fn named(name: &str) -> Option<Member> {
        Some(match name {
            "id" => Member::Id,
            "text" => Member::Text,
            "embedding" => Member::Embedding,
            "embedding_b64" => Member::EmbeddingBase64,
            "metadata" => Member::Metadata,
            "ttl" => Member::Ttl,
            "expires_ms" => Member::ExpiresMs,
            _ => return None,
        })
    }

    fn is_of_lines(self) -> bool {
        matches!(self, Member::Ttl | Member::ExpiresMs)
    }
}

impl<'a> Draft<'a> {
    /// Reads the value of the member.
    fn member(&mut self, name: &str, scanner: &mut Scanner<'a>) -> Result<(), Invalid> {
        let member = Member::named(name).filter(|member| self.may_expire || !member.is_of_lines());
        let member = member.ok_or(Reason::Unknown)?;
        if self.seen.contains(&member) {
            return Err(Reason::Repeated.into());
        }
        self.seen.push(member);
        if scanner.peek()? == Kind::Null {
            return scanner.value(DEPTH).map(drop);
        }
        match member {
            Member::Id => self.id = Some(key(self.shape.key_type, scanner.value(DEPTH)?)?),
            Member::Text => self.text = Some(text(scanner.value(DEPTH)?)?),
            Member::Metadata => {
                let metadata = compact_next(scanner)?;
                self.shape.fields.check(Metadata::from_compact(&metadata))?;
                self.metadata = Some(metadata);
            }
            Member::Embedding | Member::EmbeddingBase64 => self.embedding(member, scanner)?,
            Member::Ttl => self.ttl = Some(text(scanner.value(DEPTH)?)?.into_owned()),
            Member::ExpiresMs => self.expires_ms = Some(moment(scanner.value(DEPTH)?)?),
        }
        Ok(())
    }

    fn embedding(&mut self, member: Member, scanner: &mut Scanner<'a>) -> Result<(), Invalid> {
        let shape = self.shape.embedding.ok_or(Reason::NoEmbeddings)?;
        if self.encoder.has_embedding() {
            return Err(Reason::BothEmbeddings.into());
        }
        let out = self.encoder.room_for_embedding(shape.element, shape.bytes());
        match member {
            Member::EmbeddingBase64 => shape.read_base64(scanner.value(DEPTH)?, out),
            _ => shape.read_list(scanner, out),
        }
    }

    fn finish(self) -> Result<NewDocument, Invalid> {
        let metadata = self.metadata.as_deref().map_or(Metadata::EMPTY, Metadata::from_compact);
        let encoded = self.encoder.finish(self.text.as_deref(), metadata);
        Ok(NewDocument { id: self.id, encoded, ttl: self.ttl, expires_ms: self.expires_ms })
    }
}

/// A key as JSON writes it.
pub fn key(key_type: KeyType, json: Json<'_>) -> Result<Key, Reason> {
    match (key_type, json.kind()) {
        (KeyType::U64, Kind::Number) => match json.0.parse() {
            Ok(key) => Ok(Key::from_u64(key)),
            Err(_) => Err(Reason::Not("an integer from 0 to 18446744073709551615")),
        },
        (KeyType::U64, _) => Err(Reason::Not("an integer from 0 to 18446744073709551615")),
        (KeyType::String, Kind::Text) => {
            Key::from_text(&json.text().ok_or(Reason::HalfCharacter)?).map_err(Reason::Key)
        }
        (KeyType::String, _) => Err(Reason::Not("a string")),
    }
}

fn moment(json: Json<'_>) -> Result<u64, Reason> {
    let number = (json.kind() == Kind::Number).then(|| json.0.parse().ok()).flatten();
    number.ok_or(Reason::Not("milliseconds since 1970"))
}

fn text(json: Json<'_>) -> Result<std::borrow::Cow<'_, str>, Reason> {
    if json.kind() != Kind::Text {
        return Err(Reason::Not("a string"));
    }
    let text = json.text().ok_or(Reason::HalfCharacter)?;
    let (bytes, max) = (text.len(), limits::DOCUMENT_TEXT_BYTES_MAX);
    if bytes > max { Err(Reason::TooLong { bytes, max }) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::document::encoding::{Document, Parts, decode};
    use crate::vector::element::Element;
    use crate::vector::metric::Metric;

    fn with_shape<T>(use_it: impl FnOnce(&Shape<'_>) -> T) -> T {
        let fields = Fields::parse(r#"{"year":"i64","tags":"keyword[]"}"#).unwrap();
        let embedding = EmbeddingShape::new(2, Metric::Cosine, Element::F32).ok();
        use_it(&Shape { key_type: KeyType::String, embedding, fields: &fields })
    }

    fn parsed(json: &str) -> Result<NewDocument, Invalid> {
        with_shape(|shape| parse(json.as_bytes(), shape))
    }

    #[test]
    fn every_member_has_its_place() {
        let document = parsed(
            r#" {"metadata": {"year": 2010.0, "x": [1, null]}, "embedding": [0.5, -1],
                 "text": "a\nb", "id": "\u00e9"} "#,
        )
        .unwrap();
        assert_eq!(document.id, Key::from_text("\u{e9}").ok());
        let Document { embedding, text, metadata } = decode(&document.encoded).unwrap();
        assert_eq!(embedding.unwrap().numbers().collect::<Vec<_>>(), [0.5, -1.0]);
        assert_eq!(text, Some("a\nb"));
        assert_eq!(metadata.text(), r#"{"year":2010.0,"x":[1,null]}"#);
    }

    #[test]
    fn every_member_may_be_left_out_or_null() {
        let nothing = parsed("{}").unwrap();
        assert_eq!(nothing.id, None);
        let nulls = r#"{"id":null,"text":null,"embedding":null,"embedding_b64":null,"metadata":null}"#;
        assert_eq!(parsed(nulls).unwrap(), nothing);
        assert_eq!(parsed(r#"{"metadata":{}}"#).unwrap(), nothing);
        let text = parsed(r#"{"text":"","embedding":null,"embedding_b64":"AACAPwAAAMA="}"#).unwrap();
        let parts = Parts::of(&text.encoded).unwrap();
        assert_eq!(parts.text(), Ok(Some("")));
        assert_eq!(parts.embedding().unwrap().numbers().collect::<Vec<_>>(), [1.0, -2.0]);
    }

    #[test]
    fn mistakes_are_pointed_at() {
        use crate::shard::document::fields::FieldType;
        use crate::shard::key::KeyError;
        for (json, pointer, reason) in [
            ("[]", "", Reason::Not("an object")),
            (r#"{"vector":[1,2]}"#, "/vector", Reason::Unknown),
            (r#"{"id":"a","\u0069d":"b"}"#, "/id", Reason::Repeated),
            (r#"{"text":null,"text":"a"}"#, "/text", Reason::Repeated),
            (r#"{"id":7}"#, "/id", Reason::Not("a string")),
            (r#"{"id":""}"#, "/id", Reason::Key(KeyError::Empty)),
            (r#"{"text":7}"#, "/text", Reason::Not("a string")),
            (r#"{"text":"\udc00"}"#, "/text", Reason::HalfCharacter),
            (
                r#"{"embedding":[1,2],"embedding_b64":"AACAPwAAAMA="}"#,
                "/embedding_b64",
                Reason::BothEmbeddings,
            ),
            (r#"{"embedding_b64":"AACAPwAAAMA=","embedding":[1,2]}"#, "/embedding", Reason::BothEmbeddings),
            (r#"{"embedding":[1]}"#, "/embedding", Reason::Dimension { wanted: 2, found: 1 }),
            (r#"{"embedding":[1,"2"]}"#, "/embedding/1", Reason::Not("a number")),
            (r#"{"embedding":[0,0]}"#, "/embedding", Reason::ZeroVector),
            (r#"{"embedding_b64":"AACAPwAAAM"}"#, "/embedding_b64", Reason::NotBase64),
            (r#"{"metadata":[]}"#, "/metadata", Reason::Not("an object")),
            (r#"{"metadata":{"year":"old"}}"#, "/metadata/year", Reason::Field(FieldType::I64)),
            (r#"{"metadata":{"tags":["a",1]}}"#, "/metadata/tags/1", Reason::Field(FieldType::Keywords)),
            (r#"{"metadata":{"a":{"b":1,"b":2}}}"#, "/metadata/a/b", Reason::Repeated),
        ] {
            assert_eq!(parsed(json), Err(Invalid { pointer: pointer.to_owned(), reason }), "{json}");
        }
        for malformed in
            ["", "{", r#"{"id" "a"}"#, "{} {}", r#"{"embedding":[1,]}"#, r#"{"metadata":{"a":}}"#]
        {
            assert!(parsed(malformed).unwrap_err().is_malformed(), "{malformed}");
        }
        with_shape(|shape| {
            assert_eq!(parse(b"{\"text\":\"\xff\"}", shape), Err(Reason::NotUtf8.into()));
            let plain = Shape { embedding: None, ..*shape };
            let found = parse(br#"{"embedding":[1,2]}"#, &plain).unwrap_err();
            assert_eq!((found.pointer.as_str(), found.reason), ("/embedding", Reason::NoEmbeddings));
            assert!(parse(br#"{"embedding":null}"#, &plain).is_ok());
        });
    }

    #[test]
    fn ids_have_the_type_of_their_collection() {
        let of = |text| key(KeyType::U64, Json(text));
        assert_eq!(of("18446744073709551615"), Ok(Key::from_u64(u64::MAX)));
        for wrong in ["18446744073709551616", "-1", "1.0", "1e3", "\"1\""] {
            assert_eq!(of(wrong), Err(Reason::Not("an integer from 0 to 18446744073709551615")), "{wrong}");
        }
    }

    #[test]
    fn metadata_is_as_deep_here_as_alone() {
        let nested = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        let document = |levels| parsed(&format!(r#"{{"metadata":{}}}"#, nested(levels)));
        assert!(document(LEVELS).is_ok_and(|document| decode(&document.encoded).is_ok()));
        assert!(matches!(document(LEVELS + 1), Err(Invalid { reason: Reason::TooDeep { .. }, .. })));
    }

    #[test]
    fn text_is_bounded() {
        let of = |bytes: usize| parsed(&format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes)));
        assert!(of(limits::DOCUMENT_TEXT_BYTES_MAX).is_ok());
        let max = limits::DOCUMENT_TEXT_BYTES_MAX;
        assert_eq!(of(max + 1).unwrap_err().reason, Reason::TooLong { bytes: max + 1, max });
    }
}
