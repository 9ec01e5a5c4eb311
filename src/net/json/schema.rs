//! What a collection says of its documents, as clients write it: `embedding` and `fields` of a definition.

use serde_json::value::RawValue;

use super::object;
use crate::net::problem::Problem;
use crate::shard::document::embedding::EmbeddingShape;
use crate::shard::document::fields::Fields;
use crate::shard::document::invalid::Invalid;
use crate::shard::document::schema::Schema;
use crate::vector::element::Element;
use crate::vector::metric::Metric;

/// The records are documents when embeddings or fields are declared, however few.
pub fn decode_documents(
    embedding: Option<&RawValue>,
    fields: Option<&RawValue>,
) -> Result<Option<Schema>, Problem> {
    if embedding.is_none() && fields.is_none() {
        return Ok(None);
    }
    let embedding = embedding.map(decode_embedding).transpose()?;
    let fields = fields.map(|raw| Fields::parse(raw.get())).transpose();
    let fields = fields.map_err(|invalid| Problem::from(invalid.below("fields")))?.unwrap_or_default();
    Ok(Some(Schema { embedding, fields }))
}

fn decode_embedding(raw: &RawValue) -> Result<EmbeddingShape, Problem> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Embedding {
        dim: usize,
        metric: MetricName,
        quantization: Option<ElementName>,
    }
    let wanted = "an object of \"dim\", \"metric\" (\"cosine\", \"dot\" or \"l2\") and, if other than \"f32\", \
                  \"quantization\" (\"f16\" or \"bf16\")";
    let Embedding { dim, metric, quantization } = object::typed(raw, "/embedding", wanted)?;
    let element = quantization.unwrap_or(ElementName::F32).element();
    EmbeddingShape::new(dim, metric.metric(), element)
        .map_err(|reason| Invalid::new(reason).below("dim").below("embedding").into())
}

/// A metric as clients name it.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricName {
    L2,
    Cosine,
    Dot,
}

impl MetricName {
    fn metric(self) -> Metric {
        match self {
            MetricName::L2 => Metric::L2,
            MetricName::Cosine => Metric::Cosine,
            MetricName::Dot => Metric::Dot,
        }
    }

    pub fn of(metric: Metric) -> MetricName {
        match metric {
            Metric::L2 => MetricName::L2,
            Metric::Cosine => MetricName::Cosine,
            Metric::Dot => MetricName::Dot,
        }
    }
}

/// How embeddings are stored, as clients name it.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementName {
    F32,
    F16,
    Bf16,
}

impl ElementName {
    fn element(self) -> Element {
        match self {
            ElementName::F32 => Element::F32,
            ElementName::F16 => Element::F16,
            ElementName::Bf16 => Element::Bf16,
        }
    }

    pub fn of(element: Element) -> ElementName {
        match element {
            Element::F32 => ElementName::F32,
            Element::F16 => ElementName::F16,
            Element::Bf16 => ElementName::Bf16,
        }
    }
}
