//! The fields that filters and documents are about.

use kyrodb::shard::document::fields::Fields;

pub fn fields() -> Fields {
    Fields::parse(r#"{"a":"i64","b":"f64","c":"bool","d":"keyword","e":"keyword[]","f.g":"timestamp"}"#)
        .expect("a definition")
}
