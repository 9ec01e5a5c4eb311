//! The sizes that indexes over documents go by.

use std::time::Duration;

use crate::limits;

#[derive(Clone, Copy, Debug)]
pub struct IndexOptions {
    /// Room of the smallest head; what is deleted of as many documents without embeddings may be left out.
    pub head_documents_min: usize,
    /// A head with as many is sealed when nothing was written for `quiet`.
    pub sealed_documents_min: usize,
    pub quiet: Duration,
    /// A merged part of fewer has no file.
    pub file_documents_min: usize,
    /// Documents in one chunk of a file, about.
    pub file_chunk_bytes: usize,
}

impl Default for IndexOptions {
    fn default() -> IndexOptions {
        IndexOptions {
            head_documents_min: limits::HEAD_DOCUMENTS_MIN,
            sealed_documents_min: limits::HEAD_SEALED_DOCUMENTS_MIN,
            quiet: limits::HEAD_QUIET,
            file_documents_min: limits::INDEX_FILE_DOCUMENTS_MIN,
            file_chunk_bytes: limits::INDEX_FILE_CHUNK_BYTES,
        }
    }
}
