//! What a collection says of its documents.

use super::embedding::EmbeddingShape;
use super::fields::Fields;
use super::parse::Shape;
use crate::io::codec::{Put, Reader, Truncated};
use crate::shard::key::KeyType;
use crate::vector::element::Element;
use crate::vector::metric::Metric;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    pub embedding: Option<EmbeddingShape>,
    pub fields: Fields,
}

impl Schema {
    pub fn shape(&self, key_type: KeyType) -> Shape<'_> {
        Shape { key_type, embedding: self.embedding, fields: &self.fields }
    }

    // ---- byte map: see ARCHITECTURE.md, "Catalogue"

    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.embedding {
            None => out.put_u16(0),
            Some(embedding) => {
                out.put_u16(embedding.dimension() as u16);
                out.put_u8(embedding.metric as u8);
                out.put_u8(embedding.element as u8);
            }
        }
        self.fields.encode(out);
    }

    /// What no definition could say is refused as well.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Schema, Truncated> {
        let embedding = match reader.u16()? {
            0 => None,
            dimension => {
                let metric = Metric::from_code(reader.u8()?).ok_or(Truncated)?;
                let element = Element::from_code(reader.u8()?).ok_or(Truncated)?;
                Some(EmbeddingShape::new(dimension.into(), metric, element).map_err(|_| Truncated)?)
            }
        };
        Ok(Schema { embedding, fields: Fields::decode(reader)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_comes_back() {
        let fields = Fields::parse(r#"{"year":"i64","tags":"keyword[]"}"#).expect("good fields");
        let embedding = |metric, element| Some(EmbeddingShape::new(384, metric, element).expect("in range"));
        for schema in [
            Schema::default(),
            Schema { embedding: embedding(Metric::Cosine, Element::F32), fields: fields.clone() },
            Schema { embedding: embedding(Metric::Dot, Element::Bf16), fields: Fields::default() },
            Schema { embedding: None, fields },
        ] {
            let mut bytes = Vec::new();
            schema.encode(&mut bytes);
            assert_eq!(Schema::decode(&mut Reader::new(&bytes)), Ok(schema));
            for len in 0..bytes.len() {
                assert_eq!(Schema::decode(&mut Reader::new(&bytes[..len])), Err(Truncated));
            }
        }
        assert_eq!(
            Schema::decode(&mut Reader::new(&[1, 0, 0, 0, 0, 0, 0, 0])),
            Err(Truncated),
            "one dimension"
        );
        assert_eq!(Schema::decode(&mut Reader::new(&[8, 0, 3, 0, 0, 0, 0, 0])), Err(Truncated), "no metric");
    }
}
