//! `/v1/collections`: create, describe, list, drop. `default` is always there.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Work, collection, json_body, no_parameters, whole_body};
use crate::limits;
use crate::net::access::caller::Permit;
use crate::net::json::object::{self, JsonObject};
use crate::net::json::schema::{ElementName, MetricName, decode_documents};
use crate::net::json::value;
use crate::net::parser::Request;
use crate::net::parser::head::Head;
use crate::net::parser::target::decode_segment;
use crate::net::problem::Problem;
use crate::net::response::Response;
use crate::shard::catalogue::{Collection, DEFAULT_COLLECTION, Definition, Placement};
use crate::shard::document::embedding::EmbeddingShape;
use crate::shard::document::schema::Schema;
use crate::shard::key::{Key, KeyType};
use crate::shard::node::Node;
use crate::shard::record::{Durability, Refusal};
use crate::shard::stats::CollectionStats;

pub fn create(node: &Node, request: &Request<'_>, name: &str) -> Result<Work, Problem> {
    no_parameters(&request.head)?;
    let name = decode_segment(name)?.into_owned();
    check_name(&name)?;
    let body = if whole_body(request)?.is_empty() { JsonObject::default() } else { json_body(request)? };
    let definition = decode_definition(body)?;
    let node = node.clone();
    Ok(Work::task(async move {
        let created = node.create_collection(&name, definition).await??;
        let description = node.collection(&name).map(|collection| describe_json(&collection, None));
        let status = if created { 201 } else { 200 };
        Ok(Response::json(status, &description.unwrap_or_else(|| json!({ "name": name }))))
    }))
}

fn check_name(name: &str) -> Result<(), Problem> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.len() > limits::COLLECTION_NAME_BYTES_MAX || !name.bytes().all(is_plain) || name.starts_with('.')
    {
        let detail = format!(
            "a collection name has 1 to {} letters, digits, '-', '_' or '.', and no '.' at its start",
            limits::COLLECTION_NAME_BYTES_MAX
        );
        return Err(Problem::new(422, "invalid_name", detail.clone()).at("/path/collection", detail));
    }
    Ok(())
}

fn decode_definition(mut body: JsonObject<'_>) -> Result<Definition, Problem> {
    let key_type = match body.optional("key_type") {
        None => KeyType::String,
        Some(raw) => object::typed(raw, "/key_type", "one of \"u64\", \"string\"")?,
    };
    let durability: Option<Durability> = body
        .optional("durability")
        .map(|raw| object::typed(raw, "/durability", "one of \"fsync\", \"interval\", \"memory\""))
        .transpose()?;
    let split_at = match body.optional("split_at") {
        None => Vec::new(),
        Some(raw) => decode_splits(raw, key_type)?,
    };
    let placement = decode_placement(&mut body)?;
    if placement == Placement::Hash && !split_at.is_empty() {
        return Err(Problem::wrong("/split_at", "is for collections placed by range"));
    }
    let documents = decode_documents(body.optional("embedding"), body.optional("fields"))?;
    body.finish()?;
    Ok(Definition { key_type, durability, split_at, placement, documents })
}

fn decode_placement(body: &mut JsonObject<'_>) -> Result<Placement, Problem> {
    let placement = body.optional("placement");
    let wanted = "one of \"range\", \"hash\"";
    Ok(placement.map(|raw| object::typed(raw, "/placement", wanted)).transpose()?.unwrap_or_default())
}

/// First keys of the tablets but the first: ascending.
pub fn decode_splits(raw: &serde_json::value::RawValue, key_type: KeyType) -> Result<Vec<Key>, Problem> {
    let keys: Vec<Key> = object::array(raw, "/split_at")?
        .iter()
        .enumerate()
        .map(|(index, raw)| value::key_from_json(raw, key_type, &format!("/split_at/{index}")))
        .collect::<Result<_, _>>()?;
    match keys.windows(2).position(|pair| pair[0] >= pair[1]) {
        None => Ok(keys),
        Some(index) => {
            Err(Problem::wrong(format!("/split_at/{}", index + 1), "is not greater than the key before"))
        }
    }
}

pub fn describe(node: &Node, head: &Head<'_>, name: &str) -> Result<Work, Problem> {
    no_parameters(head)?;
    let collection = collection(node, name)?;
    let node = node.clone();
    Ok(Work::task(async move {
        let stats = node.collection_stats(&collection).await?;
        Ok(Response::json(200, &describe_json(&collection, Some(stats))))
    }))
}

/// Those that the caller's key is for.
pub fn list(node: &Node, head: &Head<'_>, permit: Permit<'_>) -> Result<Work, Problem> {
    no_parameters(head)?;
    if !node.is_serving() {
        return Err(Refusal::NotReady.into());
    }
    let catalogue = node.catalogue();
    let shown = catalogue.collections.values().filter(|collection| permit.shows(&collection.name));
    let shown: Vec<Arc<Collection>> = shown.cloned().collect();
    // Made when its turn comes: a pipeline of these must not have them all at once.
    Ok(Work::task(async move {
        let collections: Vec<Value> =
            shown.iter().map(|collection| describe_json(collection, None)).collect();
        Ok(Response::json(200, &json!({ "collections": collections })))
    }))
}

pub fn remove(node: &Node, head: &Head<'_>, name: &str) -> Result<Work, Problem> {
    no_parameters(head)?;
    let name = decode_segment(name)?.into_owned();
    if name == DEFAULT_COLLECTION {
        let detail = "the collection \"default\" is always there: delete its records instead";
        return Err(Problem::new(409, "collection_is_fixed", detail));
    }
    let node = node.clone();
    Ok(Work::task(async move {
        node.drop_collection(&name).await??;
        Ok(Response::empty(204))
    }))
}

fn describe_json(collection: &Collection, stats: Option<CollectionStats>) -> Value {
    let definition = &collection.definition;
    let mut description = json!({
        "name": collection.name,
        "key_type": definition.key_type,
        "durability": definition.durability,
        "placement": definition.placement,
        "created_ms": collection.created.0,
        "tablets": collection.tablets.len(),
        "indexes": definition.documents.as_ref().map_or_else(Vec::new, indexes_json),
    });
    if let Some(Schema { embedding, fields }) = &definition.documents {
        description["embedding"] = embedding.as_ref().map_or(Value::Null, embedding_json);
        let fields = fields.iter().map(|field| (field.name.clone(), field.kind.name().into()));
        description["fields"] = Value::Object(fields.collect());
    }
    if let Some(stats) = stats {
        description["records"] = stats.records.into();
        description["bytes"] = stats.bytes.into();
    }
    description
}

/// What searches and filters need not look at each document for.
fn indexes_json(schema: &Schema) -> Vec<Value> {
    let vectors = schema.embedding.iter().map(|_| json!({ "field": "embedding", "kind": "vector" }));
    let fields = schema.fields.iter().map(|field| json!({ "field": field.name, "kind": field.kind.name() }));
    vectors.chain(fields).collect()
}

fn embedding_json(shape: &EmbeddingShape) -> Value {
    json!({
        "dim": shape.dimension(),
        "metric": MetricName::of(shape.metric),
        "quantization": ElementName::of(shape.element),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::document::fields::Fields;
    use crate::vector::element::Element;
    use crate::vector::metric::Metric;

    fn decode(body: &str) -> Result<Definition, (u16, String)> {
        let object = JsonObject::parse(body.as_bytes()).unwrap();
        decode_definition(object).map_err(|problem| {
            let pointer = problem.errors.first().map(|error| error.pointer.clone());
            (problem.status, pointer.unwrap_or_default())
        })
    }

    #[test]
    fn definitions_have_defaults() {
        let plain = Definition::of(KeyType::String);
        let hashed = Definition { placement: Placement::Hash, ..plain.clone() };
        assert_eq!(decode(r#"{"placement":"hash"}"#), Ok(hashed));
        let documents = |body| decode(body).map(|definition| definition.documents);
        assert_eq!(documents(r#"{"fields":{}}"#), Ok(Some(Schema::default())));
        let embedding = EmbeddingShape::new(3, Metric::Cosine, Element::Bf16).ok();
        let fields = Fields::parse(r#"{"year":"i64"}"#).unwrap();
        let body =
            r#"{"embedding":{"dim":3,"metric":"cosine","quantization":"bf16"},"fields":{"year":"i64"}}"#;
        assert_eq!(documents(body), Ok(Some(Schema { embedding, fields })));
        assert_eq!(decode("{}"), Ok(plain.clone()));
        assert_eq!(decode(r#"{"placement":"range","embedding":null}"#), Ok(plain));
        assert_eq!(
            decode(r#"{"key_type":"u64","durability":"interval","split_at":[10,20]}"#),
            Ok(Definition {
                durability: Some(Durability::Interval),
                split_at: vec![Key::from_u64(10), Key::from_u64(20)],
                ..Definition::of(KeyType::U64)
            })
        );
    }

    #[test]
    fn wrong_and_missing_parts_are_told_apart() {
        for (body, status, pointer) in [
            (r#"{"key_type":"u32"}"#, 422, "/key_type"),
            (r#"{"key_type":1}"#, 422, "/key_type"),
            (r#"{"durability":"always"}"#, 422, "/durability"),
            (r#"{"split_at":[1]}"#, 422, "/split_at/0"),
            (r#"{"split_at":"a"}"#, 422, "/split_at"),
            (r#"{"split_at":["b","a"]}"#, 422, "/split_at/1"),
            (r#"{"split_at":["a","a"]}"#, 422, "/split_at/1"),
            (r#"{"placement":"ring"}"#, 422, "/placement"),
            (r#"{"keytype":"u64"}"#, 422, "/keytype"),
            (r#"{"placement":"hash","key_type":"u64","split_at":[1]}"#, 422, "/split_at"),
            (r#"{"embedding":{"dim":3}}"#, 422, "/embedding"),
            (r#"{"embedding":{"dim":3,"metric":"l1"}}"#, 422, "/embedding"),
            (r#"{"embedding":{"dim":3,"metric":"l2","quantization":"u8"}}"#, 422, "/embedding"),
            (r#"{"embedding":{"dim":1,"metric":"l2"}}"#, 422, "/embedding/dim"),
            (r#"{"embedding":{"dim":4097,"metric":"dot"}}"#, 422, "/embedding/dim"),
            (r#"{"fields":[]}"#, 422, "/fields"),
            (r#"{"fields":{"year":"i32"}}"#, 422, "/fields/year"),
            (r#"{"fields":{"a":"i64","a.b":"f64"}}"#, 422, "/fields/a.b"),
        ] {
            assert_eq!(decode(body), Err((status, pointer.to_owned())), "{body}");
        }
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "default", "A-b_c.9", &"x".repeat(limits::COLLECTION_NAME_BYTES_MAX)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in
            [".", "..", ".a", "a/b", "a b", "\u{e9}", &"x".repeat(limits::COLLECTION_NAME_BYTES_MAX + 1)]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
