//! What a file asks of the collection that `--create` makes for it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::bench::vector::MetricArg;
use super::document_line::parse_object;
use super::failure::{Failure, UsageError};
use super::line_file::LineFile;
use crate::shard::key::KeyType;

/// Lines that are looked through for an embedding.
const LOOKED_AT_LINES_MAX: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outline {
    Values { key_type: KeyType },
    Documents { key_type: KeyType, dimension: Option<usize> },
}

/// Of a line of values or of documents.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    #[serde(borrow)]
    embedding_b64: Option<&'a RawValue>,
}

impl Outline {
    /// By the first lines, of so many that count; `None` when there are none.
    pub fn of_lines(file: &mut LineFile, limit: u64) -> Result<Option<Outline>, Failure> {
        let mut found = None;
        for _ in 0..limit.clamp(1, LOOKED_AT_LINES_MAX) {
            let outline = file.parse_next(|text| parse_object(text).map(|members| Outline::of(&members)))?;
            match (outline, found) {
                (None, _) | (_, Some(Outline::Values { .. })) => break,
                (Some(first), None) => found = Some(first),
                (Some(Outline::Documents { dimension, .. }), Some(Outline::Documents { key_type, .. })) => {
                    found = Some(Outline::Documents { key_type, dimension });
                }
                (Some(Outline::Values { .. }), Some(_)) => (),
            }
            if matches!(found, Some(Outline::Documents { dimension: Some(_), .. })) {
                break;
            }
        }
        Ok(found)
    }

    fn of(members: &Members<'_>) -> Outline {
        let type_of = |key: &RawValue| match key.get().parse::<u64>() {
            Ok(_) => KeyType::U64,
            Err(_) => KeyType::String,
        };
        match members.key {
            Some(key) => Outline::Values { key_type: type_of(key) },
            None => Outline::Documents {
                key_type: members.id.map_or(KeyType::String, type_of),
                dimension: dimension_of(members),
            },
        }
    }

    /// The body that creates such a collection.
    pub fn definition(self, metric: Option<MetricArg>) -> Result<Value, Failure> {
        match (self, metric) {
            (Outline::Values { key_type }, _) => Ok(json!({ "key_type": key_type })),
            (Outline::Documents { key_type, dimension: None }, _) => {
                Ok(json!({ "key_type": key_type, "fields": {} }))
            }
            (Outline::Documents { key_type, dimension: Some(dim) }, Some(metric)) => {
                Ok(json!({ "key_type": key_type, "embedding": { "dim": dim, "metric": metric.name() } }))
            }
            (Outline::Documents { .. }, None) => Err(Failure::Usage(UsageError::CreateWithoutMetric)),
        }
    }
}

/// Of the embedding, if there is one; the server judges it.
fn dimension_of(members: &Members<'_>) -> Option<usize> {
    let list = members.embedding.and_then(|raw| serde_json::from_str::<Vec<IgnoredAny>>(raw.get()).ok());
    let bytes = || {
        let text: String = serde_json::from_str(members.embedding_b64?.get()).ok()?;
        STANDARD.decode(text).ok()
    };
    list.map(|numbers| numbers.len()).or_else(|| bytes().map(|bytes| bytes.len() / size_of::<f32>()))
}

#[cfg(test)]
mod tests {
    use super::super::input;
    use super::*;

    fn of(text: &str) -> Option<Outline> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        std::fs::write(&path, text).unwrap();
        let (reader, len) = input::open(&path).unwrap();
        Outline::of_lines(&mut LineFile::new(&path, reader, len), u64::MAX).unwrap()
    }

    #[test]
    fn the_first_lines_say_what_a_file_is() {
        let documents = |key_type, dimension| Some(Outline::Documents { key_type, dimension });
        for (text, wanted) in [
            ("", None),
            ("\n\n", None),
            (r#"{"key":7,"value":{"embedding":[1,2]}}"#, Some(Outline::Values { key_type: KeyType::U64 })),
            (r#"{"key":"7","value":1}"#, Some(Outline::Values { key_type: KeyType::String })),
            (r#"{"text":"a"}"#, documents(KeyType::String, None)),
            (r#"{"id":7,"embedding":[1,2.5,3]}"#, documents(KeyType::U64, Some(3))),
            (r#"{"id":"7","embedding_b64":"AACAPwAAAMA="}"#, documents(KeyType::String, Some(2))),
            (
                "{\"id\":1}\n{\"id\":2,\"embedding\":null}\n{\"id\":3,\"embedding\":[1,2]}",
                documents(KeyType::U64, Some(2)),
            ),
        ] {
            assert_eq!(of(text), wanted, "{text}");
        }
    }

    #[test]
    fn embeddings_need_a_metric() {
        let outline = Outline::Documents { key_type: KeyType::U64, dimension: Some(3) };
        assert!(matches!(outline.definition(None), Err(Failure::Usage(UsageError::CreateWithoutMetric))));
        let wanted = json!({ "key_type": "u64", "embedding": { "dim": 3, "metric": "cosine" } });
        assert_eq!(outline.definition(Some(MetricArg::Cosine)).unwrap(), wanted);
        let plain = Outline::Documents { key_type: KeyType::String, dimension: None };
        assert_eq!(plain.definition(None).unwrap(), json!({ "key_type": "string", "fields": {} }));
    }
}
