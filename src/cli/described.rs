//! What a collection takes, as the server describes it.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, percent_encoded};
use super::failure::Failure;
use crate::net::json::schema::decode_documents;
use crate::shard::document::parse::Shape;
use crate::shard::document::schema::Schema;
use crate::shard::key::KeyType;

/// What `GET /v1/collections/{collection}` says.
#[derive(Debug)]
pub struct Described {
    pub key_type: KeyType,
    /// Numbers of an embedding.
    pub dimension: Option<usize>,
    /// How they are compared, as the server names it.
    pub metric: Option<String>,
    has_documents: bool,
    /// Of a collection of documents; `None` also when a newer server says what is not known here.
    schema: Option<Schema>,
}

#[derive(Deserialize)]
struct Members {
    key_type: KeyType,
    embedding: Option<Box<RawValue>>,
    fields: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Embedding {
    dim: usize,
    metric: String,
}

/// Why nothing of a file goes into a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    KeysIntoDocuments,
    VectorsIntoValues,
    NoEmbeddings,
    Dimension { file: usize, collection: usize },
}

impl Described {
    /// `None` when there is no such collection.
    pub fn ask(client: &Client, collection: &str) -> Result<Option<Described>, Failure> {
        match client.get(&path(collection), &[]) {
            Ok(answer) => Ok(Some(Described::of(&answer.json()?))),
            Err(Failure::Refused(refused)) if refused.status == 404 => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn of(members: &Members) -> Described {
        let (embedding, fields) = (members.embedding.as_deref(), members.fields.as_deref());
        let described = embedding.and_then(|raw| serde_json::from_str::<Embedding>(raw.get()).ok());
        Described {
            key_type: members.key_type,
            dimension: described.as_ref().map(|embedding| embedding.dim),
            metric: described.map(|embedding| embedding.metric),
            has_documents: embedding.or(fields).is_some(),
            schema: decode_documents(embedding, fields).ok().flatten(),
        }
    }

    /// From the same JSON.
    #[cfg(test)]
    pub fn from_json(json: &str) -> Described {
        Described::of(&serde_json::from_str(json).expect("a description"))
    }

    pub fn has_documents(&self) -> bool {
        self.has_documents
    }

    /// What its documents look like, where that is known here.
    pub fn shape(&self) -> Option<Shape<'_>> {
        self.schema.as_ref().map(|schema| schema.shape(self.key_type))
    }
}

pub fn path(collection: &str) -> String {
    format!("/v1/collections/{}", percent_encoded(collection))
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::KeysIntoDocuments => {
                f.write_str("the file has keys, for which values are made, and the collection has documents")
            }
            Misfit::VectorsIntoValues => f.write_str(
                "the file has vectors, and the collection values: one of documents is created with \"embedding\"",
            ),
            Misfit::NoEmbeddings => {
                f.write_str("the file has vectors, and the documents of the collection have no embeddings")
            }
            Misfit::Dimension { file, collection } => write!(
                f,
                "the vectors of the file have {file} numbers, and the embeddings of the collection {collection}"
            ),
        }
    }
}
