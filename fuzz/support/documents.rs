//! A document for a collection that a byte chooses.

use kyrodb::shard::document::embedding::EmbeddingShape;
use kyrodb::shard::document::fields::Fields;
use kyrodb::shard::document::invalid::Invalid;
use kyrodb::shard::document::parse::{NewDocument, Shape, parse, parse_line};
use kyrodb::shard::key::KeyType;
use kyrodb::vector::element::Element;
use kyrodb::vector::metric::Metric;

pub fn shape(way: u8, fields: &Fields) -> Shape<'_> {
    let element = [Element::F32, Element::F16, Element::Bf16][usize::from(way % 3)];
    let metric = if way & 8 == 0 { Metric::Cosine } else { Metric::Dot };
    let key_type = if way & 16 == 0 { KeyType::U64 } else { KeyType::String };
    Shape { key_type, embedding: EmbeddingShape::new(2, metric, element).ok(), fields }
}

/// As the body of a request or as a line of a bulk.
pub fn new(way: u8, text: &[u8], shape: &Shape<'_>) -> Result<NewDocument, Invalid> {
    if way & 32 == 0 { parse(text, shape) } else { parse_line(text, shape) }
}
