//! What a collection takes, as the server describes it.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client::{Client, percent_encoded};
use super::failure::Failure;
use crate::shard::key::KeyType;

/// `GET /v1/collections/{collection}`.
#[derive(Debug, Deserialize)]
pub struct Described {
    pub key_type: KeyType,
    pub embedding: Option<Embedding>,
    fields: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub struct Embedding {
    pub dim: usize,
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
            Ok(answer) => answer.json().map(Some),
            Err(Failure::Refused(refused)) if refused.status == 404 => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    pub fn has_documents(&self) -> bool {
        self.fields.is_some() || self.embedding.is_some()
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
