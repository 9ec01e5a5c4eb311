//! Documents: what a record of a collection of documents is made of, and what its metadata is asked.
//!
//! Reading order: [`encoding`] (the bytes of a document), [`parse`] (from JSON), [`render`] (to JSON),
//! [`fields`] and [`schema`] (what a collection declares), [`lookup`] (a name to its values), [`filter`] (the truth about a
//! document), [`index`] (the same answer for all documents at once).
//!
//! All of it is pure: no file, task or clock. An insertion gives an ordinal and the metadata to
//! [`index::FieldIndexes`], a delete the ordinal and the metadata as it was.
//!
//! Must not know: engine, log, HTTP.

pub mod embedding;
pub mod encoding;
pub mod fields;
pub mod filter;
pub mod index;
pub mod invalid;
pub mod json;
pub mod lookup;
pub mod merge_patch;
pub mod metadata;
pub mod number;
pub mod parse;
pub mod render;
pub mod scalar;
pub mod schema;
pub mod timestamp;
