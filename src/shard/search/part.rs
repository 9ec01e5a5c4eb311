//! Documents of one tablet that are searched together: those that came last, and those without embeddings.
//!
//! A part is its owner's alone. Nothing is taken out of it: what is deleted stays until it is rewritten. A head that
//! is full and linked does not change any more: it becomes a [`Sealed`](super::sealed::Sealed) for all cores.

use std::sync::Arc;

use super::contents::{Contents, Row};
use crate::shard::delta::Version;
use crate::shard::document::encoding::Document;
use crate::shard::document::schema::Schema;
use crate::shard::key::Key;
use crate::vector::allowed::Ordinals;
use crate::vector::graph::Graph;
use crate::vector::graph::build::BuildOptions;
use crate::vector::head::Head;
use crate::vector::search::View;

enum Vectors {
    /// Documents without an embedding.
    None {
        deleted: Ordinals,
    },
    Head(Box<Head>),
}

pub struct Part {
    contents: Contents,
    vectors: Vectors,
}

impl Part {
    /// Of documents without embeddings.
    pub fn plain(schema: &Arc<Schema>) -> Part {
        let vectors = Vectors::None { deleted: Ordinals::default() };
        Part { contents: Contents::with_capacity(schema, 0), vectors }
    }

    /// With room for so many embeddings. The schema has embeddings.
    pub fn head(schema: &Arc<Schema>, capacity: usize) -> Part {
        let shape = schema.embedding.expect("a collection with embeddings");
        let head = Head::new(shape.metric, shape.dimension(), capacity, BuildOptions::default());
        Part { contents: Contents::with_capacity(schema, capacity), vectors: Vectors::Head(Box::new(head)) }
    }

    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Takes a document in; its ordinal. There is room for it.
    pub fn push(&mut self, key: &Key, version: &Version, document: &Document<'_>) -> u32 {
        if let (Vectors::Head(head), Some(embedding)) = (&mut self.vectors, document.embedding) {
            let numbers: Vec<f32> = embedding.numbers().collect();
            head.insert(&numbers);
        }
        self.contents.push(Row::of(key, version, document))
    }

    /// Takes a document of another part without embeddings.
    pub fn push_plain(&mut self, row: Row<'_>) -> u32 {
        self.contents.push(row)
    }

    pub fn delete(&mut self, ordinal: u32) {
        self.contents.note_deleted(ordinal);
        match &mut self.vectors {
            Vectors::None { deleted } => deleted.insert(ordinal),
            Vectors::Head(head) => head.delete(ordinal),
        };
    }

    pub fn deleted(&self) -> &Ordinals {
        match &self.vectors {
            Vectors::None { deleted } => deleted,
            Vectors::Head(head) => head.deleted(),
        }
    }

    pub fn live_ordinals(&self) -> Ordinals {
        let mut live = Ordinals::all(self.contents.len());
        live.remove_all(self.deleted());
        live
    }

    pub fn is_head(&self) -> bool {
        matches!(self.vectors, Vectors::Head(_))
    }

    pub fn is_full(&self) -> bool {
        matches!(&self.vectors, Vectors::Head(head) if head.is_full())
    }

    /// There are vectors to link.
    pub fn is_behind(&self) -> bool {
        matches!(&self.vectors, Vectors::Head(head) if head.is_behind())
    }

    /// Vectors that wait for their links; those of a head that is scanned do not.
    pub fn unlinked(&self) -> usize {
        match &self.vectors {
            Vectors::Head(head) if head.is_behind() => head.graph().len() - head.graph().linked(),
            _ => 0,
        }
    }

    /// Links about `budget` vectors.
    pub fn step(&mut self, budget: usize) {
        let Some(rows) = self.contents.originals() else { return };
        if let Vectors::Head(head) = &mut self.vectors {
            head.step(&rows, budget);
        }
    }

    /// Of a head: what does not change any more, the graph, and what is deleted.
    pub fn into_sealed(self) -> Option<(Contents, Graph, Ordinals)> {
        match self.vectors {
            Vectors::None { .. } => None,
            Vectors::Head(head) => {
                let deleted = head.deleted().clone();
                Some((self.contents, head.into_graph(), deleted))
            }
        }
    }

    /// Calls `look` with what a search looks at; `None` for documents without embeddings.
    pub fn viewed<T>(
        &self,
        allowed: Option<&Ordinals>,
        deleted: &Ordinals,
        look: impl FnOnce(View<'_>) -> T,
    ) -> Option<T> {
        let rows = self.contents.originals()?;
        match &self.vectors {
            Vectors::None { .. } => None,
            Vectors::Head(head) => {
                Some(look(View { graph: head.graph(), originals: &rows, allowed, deleted }))
            }
        }
    }

    /// The beam that a search for so many needs.
    pub fn width_for(&self, limit: usize) -> usize {
        match &self.vectors {
            Vectors::None { .. } => limit,
            Vectors::Head(head) => head.graph().width_for(limit),
        }
    }

    /// Frees about `count` documents of a part that nobody searches any more; false when the rest may be dropped.
    pub fn shed(&mut self, count: usize) -> bool {
        self.contents.shed(count)
    }

    /// About what it takes.
    pub fn memory_bytes(&self) -> u64 {
        let graph = match &self.vectors {
            Vectors::None { .. } => 0,
            Vectors::Head(head) => head.graph().bytes() as u64,
        };
        graph + self.contents.memory_bytes()
    }
}
