//! Arbitrary bytes as a filter and a few documents, a line each: the filter is refused, or indexes answer as a scan
//! does.

#![no_main]

use kyrodb::shard::document::filter::Filter;
use kyrodb::shard::document::index::FieldIndexes;
use kyrodb::shard::document::metadata::{Metadata, compact};
use libfuzzer_sys::fuzz_target;

#[path = "../support/collection.rs"]
mod collection;

use collection::fields;

/// Beside those of the input.
const DOCUMENTS: [&str; 4] = [
    "{}",
    r#"{"a":1,"b":0.5,"c":true,"d":"x","e":["x","y"],"f":{"g":"2024-02-29T12:00:00Z"},"u":1}"#,
    r#"{"a":null,"b":-1e300,"c":false,"d":"","e":[],"f.g":0,"u":[null,"x",2]}"#,
    r#"{"a":"x","b":[1],"c":0,"d":7,"e":"x","f":[{"g":1}],"u":{"v":1}}"#,
];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let fields = fields();
    let Ok(filter) = Filter::parse(lines.next().unwrap_or_default(), &fields) else { return };
    let given = lines.take(16).filter_map(|line| compact(line).ok());
    let documents: Vec<String> = DOCUMENTS.into_iter().map(str::to_owned).chain(given).collect();
    let mut indexes = FieldIndexes::new(fields);
    for (ordinal, document) in (0..).zip(&documents) {
        indexes.insert(ordinal, Metadata::from_compact(document));
    }
    let answer = indexes.evaluate(&filter);
    let residual = filter.residual();
    let mut count = 0;
    for (ordinal, document) in (0..).zip(&documents) {
        let metadata = Metadata::from_compact(document);
        let truth = filter.matches(metadata);
        let is_open = answer.possible().contains(ordinal) && !answer.certain().contains(ordinal);
        let left = residual.as_ref().is_none_or(|residual| residual.matches(metadata));
        let found = answer.certain().contains(ordinal) || is_open && left;
        assert_eq!(found, truth, "{document}");
        count += u64::from(truth);
    }
    let bounds = indexes.cardinality(&filter);
    assert!((bounds.at_least..=bounds.at_most).contains(&count), "{count} of {bounds:?}");
    for (ordinal, document) in (0..).zip(&documents) {
        indexes.remove(ordinal, Metadata::from_compact(document));
    }
    assert!(indexes.is_empty());
});
