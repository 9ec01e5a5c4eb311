//! Arbitrary bytes as a document, as its encoding and as a merge patch of its metadata: refused, or what is stored
//! comes back as it was, and its JSON makes the same document again.
//!
//! The first byte chooses the collection.

#![no_main]

use kyrodb::shard::document::encoding::{Document, decode, encode};
use kyrodb::shard::document::merge_patch::merge_patch;
use kyrodb::shard::document::metadata::Metadata;
use kyrodb::shard::document::parse::{Shape, parse};
use kyrodb::shard::document::render::{Shown, append_json};
use kyrodb::shard::key::{Key, KeyType};
use libfuzzer_sys::fuzz_target;

#[path = "../support/collection.rs"]
mod collection;
#[path = "../support/documents.rs"]
mod documents;

use collection::fields;
use documents::{new, shape};

fn check(document: &Document<'_>, encoded: &[u8], id: Option<&Key>, shape: &Shape<'_>) {
    assert_eq!(encode(document), encoded);
    let id = id.cloned().unwrap_or_else(|| Key::from_u64(1));
    let mut json = Vec::new();
    append_json(&id, shape.key_type, encoded, Shown::ALL, &mut json).expect("it was just decoded");
    let again = parse(&json, shape).expect("what is shown is a document");
    assert_eq!(again.encoded, encoded);
}

fuzz_target!(|data: &[u8]| {
    let Some((way, data)) = data.split_first() else { return };
    if let Ok(document) = decode(data) {
        assert_eq!(encode(&document), data);
    }
    let fields = fields();
    let shape = shape(*way, &fields);
    let Ok(new) = new(*way, data, &shape) else { return };
    let document = decode(&new.encoded).expect("what is parsed is well-formed");
    let id = new.id.or_else(|| Key::from_text("x").ok().filter(|_| shape.key_type == KeyType::String));
    check(&document, &new.encoded, id.as_ref(), &shape);
    let metadata = document.metadata.text();
    if let Ok(merged) = merge_patch(Metadata::from_compact(r#"{"a":1,"x":{"y":[1]}}"#), metadata) {
        let merged = Metadata::from_compact(&merged);
        assert!(decode(&encode(&Document { metadata: merged, ..document })).is_ok(), "{merged:?}");
    }
});
