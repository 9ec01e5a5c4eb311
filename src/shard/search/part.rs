//! Documents that are searched together, by ordinals of their own.
//!
//! Nothing is taken out of a part: what is deleted stays until the part is merged.

use std::rc::Rc;

use crate::limits;
use crate::shard::document::encoding::Document;
use crate::shard::document::filter::Filter;
use crate::shard::document::index::FieldIndexes;
use crate::shard::document::metadata::Metadata;
use crate::shard::document::schema::Schema;
use crate::shard::key::Key;
use crate::types::Seq;
use crate::vector::allowed::Ordinals;
use crate::vector::element::{Element, Rows};
use crate::vector::graph::build::BuildOptions;
use crate::vector::head::Head;
use crate::vector::search::View;
use crate::vector::segment::Segment;

/// Texts, one behind the other.
#[derive(Default)]
struct Texts {
    bytes: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }

    fn get(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[at]]
    }
}

enum Vectors {
    /// Documents without an embedding.
    None {
        deleted: Ordinals,
    },
    Head(Box<Head>),
    Sealed(Box<Segment>),
}

pub struct Part {
    schema: Rc<Schema>,
    keys: Vec<Key>,
    /// Of keys on the heap, here and in the map of places.
    key_bytes: usize,
    seqs: Vec<Seq>,
    originals: Vec<u8>,
    metadata: Texts,
    fields: FieldIndexes,
    vectors: Vectors,
}

/// A document on its way from one part to another.
pub struct Entry {
    pub key: Key,
    pub seq: Seq,
    original: Vec<u8>,
    metadata: String,
}

impl Part {
    fn with(schema: &Rc<Schema>, vectors: Vectors) -> Part {
        Part {
            schema: schema.clone(),
            keys: Vec::new(),
            key_bytes: 0,
            seqs: Vec::new(),
            originals: Vec::new(),
            metadata: Texts::default(),
            fields: FieldIndexes::new(schema.fields.clone()),
            vectors,
        }
    }

    /// Of documents without embeddings.
    pub fn plain(schema: &Rc<Schema>) -> Part {
        Part::with(schema, Vectors::None { deleted: Ordinals::default() })
    }

    /// With room for so many embeddings. The schema has embeddings.
    pub fn head(schema: &Rc<Schema>, capacity: usize) -> Part {
        let shape = schema.embedding.expect("a collection with embeddings");
        let head = Head::new(shape.metric, shape.dimension(), capacity, BuildOptions::default());
        let mut part = Part::with(schema, Vectors::Head(Box::new(head)));
        part.reserve(capacity, shape.bytes());
        part
    }

    /// Without its documents: they are added one by one, in the order of the ordinals of the segment.
    pub fn sealed(schema: &Rc<Schema>, segment: Segment) -> Part {
        let documents = segment.graph().len();
        let mut part = Part::with(schema, Vectors::Sealed(Box::new(segment)));
        part.reserve(documents, schema.embedding.map_or(0, |shape| shape.bytes()));
        part
    }

    /// What grows beyond its room is copied in one step.
    fn reserve(&mut self, documents: usize, original_bytes: usize) {
        self.keys.reserve(documents);
        self.seqs.reserve(documents);
        self.originals.reserve(documents * original_bytes);
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes a document in; its ordinal. There is room for it.
    pub fn push(&mut self, key: &Key, seq: Seq, document: &Document<'_>) -> u32 {
        if let (Vectors::Head(head), Some(embedding)) = (&mut self.vectors, document.embedding) {
            let numbers: Vec<f32> = embedding.numbers().collect();
            head.insert(&numbers);
            self.originals.extend_from_slice(embedding.bytes);
        }
        self.add(key.clone(), seq, document.metadata.text())
    }

    fn add(&mut self, key: Key, seq: Seq, metadata: &str) -> u32 {
        let ordinal = self.keys.len() as u32;
        self.key_bytes += 2 * key.heap_bytes();
        self.keys.push(key);
        self.seqs.push(seq);
        self.metadata.push(metadata);
        self.fields.insert(ordinal, Metadata::from_compact(metadata));
        ordinal
    }

    pub fn entry(&self, ordinal: u32) -> Entry {
        let bytes = self.schema.embedding.map_or(0, |shape| shape.bytes());
        let at = ordinal as usize;
        Entry {
            key: self.keys[at].clone(),
            seq: self.seqs[at],
            original: self.originals.get(at * bytes..(at + 1) * bytes).unwrap_or_default().to_vec(),
            metadata: self.metadata.get(at).to_owned(),
        }
    }

    /// The next document of a segment that has its vector already.
    pub fn add_entry(&mut self, entry: Entry) {
        self.originals.extend_from_slice(&entry.original);
        self.add(entry.key, entry.seq, &entry.metadata);
    }

    pub fn delete(&mut self, ordinal: u32) {
        match &mut self.vectors {
            Vectors::None { deleted } => deleted.insert(ordinal),
            Vectors::Head(head) => head.delete(ordinal),
            Vectors::Sealed(segment) => segment.delete(ordinal),
        };
    }

    pub fn deleted(&self) -> &Ordinals {
        match &self.vectors {
            Vectors::None { deleted } => deleted,
            Vectors::Head(head) => head.deleted(),
            Vectors::Sealed(segment) => segment.deleted(),
        }
    }

    pub fn live(&self) -> usize {
        self.len() - self.deleted().count()
    }

    pub fn live_ordinals(&self) -> Ordinals {
        let mut live = Ordinals::all(self.len());
        live.remove_all(self.deleted());
        live
    }

    pub fn is_full(&self) -> bool {
        matches!(&self.vectors, Vectors::Head(head) if head.is_full())
    }

    pub fn is_sealed(&self) -> bool {
        matches!(self.vectors, Vectors::Sealed(_))
    }

    /// So much is deleted that a rewrite pays; of one that still takes documents only when it is much.
    pub fn is_worn(&self, is_open: bool) -> bool {
        match &self.vectors {
            Vectors::None { deleted } => {
                let least = if is_open { limits::HEAD_DOCUMENTS_MIN } else { 0 };
                deleted.count() > least && 2 * deleted.count() > self.len()
            }
            Vectors::Head(_) => false,
            Vectors::Sealed(segment) => segment.is_worn(),
        }
    }

    /// There are vectors to link.
    pub fn is_behind(&self) -> bool {
        matches!(&self.vectors, Vectors::Head(head) if head.is_behind())
    }

    /// Links about `budget` vectors.
    pub fn step(&mut self, budget: usize) {
        let Some(rows) = rows(&self.schema, &self.originals) else { return };
        if let Vectors::Head(head) = &mut self.vectors {
            head.step(&rows, budget);
        }
    }

    /// `None` when the collection has no embeddings.
    pub fn originals(&self) -> Option<Rows<'_>> {
        rows(&self.schema, &self.originals)
    }

    /// Calls `look` with what a search looks at; `None` for documents without embeddings.
    pub fn viewed<T>(&self, allowed: Option<&Ordinals>, look: impl FnOnce(View<'_>) -> T) -> Option<T> {
        let rows = self.originals()?;
        match &self.vectors {
            Vectors::None { .. } => None,
            Vectors::Head(head) => Some(look(head.view(&rows, allowed))),
            Vectors::Sealed(segment) => Some(look(segment.view(&rows, allowed))),
        }
    }

    /// The beam that a search for so many needs.
    pub fn width_for(&self, limit: usize) -> usize {
        match &self.vectors {
            Vectors::None { .. } => limit,
            Vectors::Head(head) => head.graph().width_for(limit),
            Vectors::Sealed(segment) => segment.graph().width_for(limit),
        }
    }

    pub fn fields(&self) -> &FieldIndexes {
        &self.fields
    }

    /// Whether the filter holds of a document, by its metadata.
    pub fn matches(&self, filter: &Filter, ordinal: u32) -> bool {
        filter.matches(Metadata::from_compact(self.metadata.get(ordinal as usize)))
    }

    pub fn key(&self, ordinal: u32) -> &Key {
        &self.keys[ordinal as usize]
    }

    pub fn seq(&self, ordinal: u32) -> Seq {
        self.seqs[ordinal as usize]
    }

    /// About what it takes.
    pub fn memory_bytes(&self) -> u64 {
        const KEY_BYTES: usize = size_of::<Key>() + size_of::<Seq>() + size_of::<usize>();
        let graph = match &self.vectors {
            Vectors::None { .. } => 0,
            Vectors::Head(head) => head.graph().bytes(),
            Vectors::Sealed(segment) => segment.graph().bytes(),
        };
        let texts = self.metadata.bytes.capacity() + self.originals.len() + self.key_bytes;
        (graph + texts + self.keys.len() * KEY_BYTES + self.fields.memory_bytes()) as u64
    }
}

fn rows<'a>(schema: &Schema, bytes: &'a [u8]) -> Option<Rows<'a>> {
    let shape = schema.embedding?;
    let element: Element = shape.element;
    Some(Rows { element, dimension: shape.dimension(), bytes })
}
