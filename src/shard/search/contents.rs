//! What is kept of documents by ordinals, beside the graph over their vectors: all that a search shows or tests
//! without reading records.

use std::sync::Arc;

use super::expiries::Expiries;
use super::texts::Texts;
use crate::shard::delta::Version;
use crate::shard::document::encoding::Document;
use crate::shard::document::index::FieldIndexes;
use crate::shard::document::metadata::Metadata;
use crate::shard::document::schema::Schema;
use crate::shard::key::Key;
use crate::types::{Seq, WallMs};
use crate::vector::element::Rows;

pub struct Contents {
    schema: Arc<Schema>,
    keys: Vec<Key>,
    /// Of keys on the heap, here and in the map of places.
    key_bytes: usize,
    seqs: Vec<Seq>,
    expires: Vec<WallMs>,
    expiries: Expiries,
    originals: Vec<u8>,
    metadata: Texts,
    fields: FieldIndexes,
}

/// One document of them.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub key: &'a Key,
    pub seq: Seq,
    pub expires: WallMs,
    /// As it is stored; empty without an embedding.
    pub original: &'a [u8],
    pub metadata: &'a str,
}

impl<'a> Row<'a> {
    pub fn of(key: &'a Key, version: &Version, document: &Document<'a>) -> Row<'a> {
        let original = document.embedding.map_or(&[][..], |embedding| embedding.bytes);
        let (seq, expires) = (version.seq, version.expires);
        Row { key, seq, expires, original, metadata: document.metadata.text() }
    }
}

impl Contents {
    /// What grows beyond its room is copied in one step.
    pub fn with_capacity(schema: &Arc<Schema>, documents: usize) -> Contents {
        let original_bytes = schema.embedding.map_or(0, |shape| shape.bytes());
        Contents {
            schema: schema.clone(),
            keys: Vec::with_capacity(documents),
            key_bytes: 0,
            seqs: Vec::with_capacity(documents),
            expires: Vec::with_capacity(documents),
            expiries: Expiries::default(),
            originals: Vec::with_capacity(documents * original_bytes),
            metadata: Texts::default(),
            fields: FieldIndexes::new(schema.fields.clone()),
        }
    }

    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes a document in; its ordinal.
    pub fn push(&mut self, row: Row<'_>) -> u32 {
        let ordinal = self.keys.len() as u32;
        self.key_bytes += 2 * row.key.heap_bytes();
        self.keys.push(row.key.clone());
        self.seqs.push(row.seq);
        self.expires.push(row.expires);
        self.expiries.add(ordinal, row.expires);
        self.originals.extend_from_slice(row.original);
        self.metadata.push(row.metadata);
        self.fields.insert(ordinal, Metadata::from_compact(row.metadata));
        ordinal
    }

    pub fn row(&self, ordinal: u32) -> Row<'_> {
        let bytes = self.schema.embedding.map_or(0, |shape| shape.bytes());
        let at = ordinal as usize;
        Row {
            key: &self.keys[at],
            seq: self.seqs[at],
            expires: self.expires[at],
            original: self.originals.get(at * bytes..(at + 1) * bytes).unwrap_or_default(),
            metadata: self.metadata.get(at),
        }
    }

    /// `None` when the collection has no embeddings.
    pub fn originals(&self) -> Option<Rows<'_>> {
        let shape = self.schema.embedding?;
        Some(Rows { element: shape.element, dimension: shape.dimension(), bytes: &self.originals })
    }

    pub fn fields(&self) -> &FieldIndexes {
        &self.fields
    }

    pub fn metadata(&self, ordinal: u32) -> Metadata<'_> {
        Metadata::from_compact(self.metadata.get(ordinal as usize))
    }

    pub fn key(&self, ordinal: u32) -> &Key {
        &self.keys[ordinal as usize]
    }

    /// Those whose time is over, but what is deleted.
    pub fn expired(&self, now: WallMs) -> impl Iterator<Item = u32> {
        self.expiries.over(now)
    }

    /// The document is deleted: it need not be looked at when its time is over.
    pub fn note_deleted(&mut self, ordinal: u32) {
        self.expiries.remove(ordinal, self.expires[ordinal as usize]);
    }

    /// No document comes in any more: makes ready for [`Contents::settled_expiries`], up to `count` documents at a time;
    /// true when it is.
    pub fn settle_expiries(&mut self, count: usize) -> bool {
        self.expiries.settle(count)
    }

    /// When the time of which documents is over, in that order.
    pub fn settled_expiries(&self) -> &[(WallMs, u32)] {
        self.expiries.settled()
    }

    pub fn seq(&self, ordinal: u32) -> Seq {
        self.seqs[ordinal as usize]
    }

    /// Frees about `count` documents of contents that nobody asks any more; false when only what is freed at once is
    /// left.
    pub fn shed(&mut self, count: usize) -> bool {
        self.keys.truncate(self.keys.len().saturating_sub(count));
        let (fields, texts) = (self.fields.shed(count), self.metadata.shed());
        fields || texts || !self.keys.is_empty()
    }

    /// About what it takes.
    pub fn memory_bytes(&self) -> u64 {
        const KEY_BYTES: usize = size_of::<Key>() + size_of::<Seq>() + size_of::<WallMs>();
        let texts = self.metadata.memory_bytes() + self.originals.len() + self.key_bytes;
        let found_by = self.fields.memory_bytes() + self.expiries.memory_bytes();
        (texts + self.keys.len() * KEY_BYTES + found_by) as u64
    }
}
