//! A file into a part, in steps, with nothing taken on trust.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::chunk::{Head, Kind, PAGE_BYTES};
use super::{VERSION, schema_hash};
use crate::io::buf::AlignedBuf;
use crate::io::codec::{Reader, Truncated};
use crate::io::op::OpenMode;
use crate::io::runtime::{File, Runtime, Slice};
use crate::limits;
use crate::shard::document::schema::Schema;
use crate::shard::key::Key;
use crate::shard::search::contents::{Contents, Row};
use crate::shard::search::library::{Directory, Stored};
use crate::shard::search::sealed::{PartId, Sealed};
use crate::types::{CollectionId, FileOffset, Seq, WallMs};
use crate::vector::codec::{DecodeError, Decoder};
use crate::vector::graph::Graph;
use crate::vector::graph::build::BuildOptions;

/// Why a file is of no use.
#[derive(Debug)]
pub enum FileError {
    Io(io::Error),
    /// Of another format, collection or schema.
    Other(&'static str),
    Damaged {
        chunk: u32,
    },
    Graph(DecodeError),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Io(error) => error.fmt(f),
            FileError::Other(what) => write!(f, "the file is of another {what}"),
            FileError::Damaged { chunk } => write!(f, "chunk {chunk} of the file is damaged or missing"),
            FileError::Graph(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> FileError {
        FileError::Io(error)
    }
}

impl From<DecodeError> for FileError {
    fn from(error: DecodeError) -> FileError {
        FileError::Graph(error)
    }
}

/// What the file should be of.
pub struct Expected<'a> {
    pub id: PartId,
    pub collection: CollectionId,
    pub schema: &'a Arc<Schema>,
}

pub async fn read(runtime: &Runtime, path: &Path, expected: Expected<'_>) -> Result<Stored, FileError> {
    let mut chunks = Chunks::open(runtime, path).await?;
    let documents = chunks.head(&expected).await?;
    let mut contents = Contents::with_capacity(expected.schema, documents);
    let mut directory = Directory::default();
    let front = loop {
        match chunks.next().await? {
            (Kind::Documents, payload) => {
                let number = chunks.number - 1;
                let taken = take_documents(&payload, documents, &mut contents, &mut directory);
                taken.map_err(|Truncated| FileError::Damaged { chunk: number })?;
            }
            (Kind::GraphFront, payload) if contents.len() == documents => break payload,
            _ => return Err(chunks.damaged()),
        }
    };
    let graph = chunks.graph(&front, documents).await?;
    let shape = expected.schema.embedding.ok_or(FileError::Other("schema"))?;
    let grid = graph.grid();
    if graph.len() != documents || grid.dimension() != shape.dimension() || grid.metric() != shape.metric {
        return Err(FileError::Other("schema"));
    }
    while !contents.settle_expiries(limits::EXPIRIES_STEP_DOCUMENTS) {
        chunks.slice.checkpoint().await;
    }
    let part = Arc::new(Sealed::unclaimed(expected.id, expected.collection, contents, graph));
    Ok(Stored { part, directory: Arc::new(directory) })
}

pub(super) struct Chunks {
    pub(super) file: File,
    /// Where the next one begins.
    pub(super) offset: u64,
    number: u32,
    slice: Slice,
}

impl Chunks {
    pub(super) async fn open(runtime: &Runtime, path: &Path) -> Result<Chunks, FileError> {
        let file = runtime.open(path, OpenMode::Read).await?;
        Ok(Chunks { file, offset: 0, number: 0, slice: runtime.slice() })
    }

    /// Of the chunk that was read last.
    pub(super) fn damaged(&self) -> FileError {
        FileError::Damaged { chunk: self.number.saturating_sub(1) }
    }

    pub(super) async fn next(&mut self) -> Result<(Kind, Vec<u8>), FileError> {
        self.slice.checkpoint().await;
        let damaged = FileError::Damaged { chunk: self.number };
        let (count, page) = self.file.read(FileOffset(self.offset), AlignedBuf::zeroed(PAGE_BYTES)).await?;
        let head = Head::decode(&page, self.number).filter(|_| count == PAGE_BYTES);
        let Some(head) = head else { return Err(damaged) };
        let mut chunk = page.to_vec();
        let rest = head.chunk_bytes() - PAGE_BYTES;
        if rest > 0 {
            let at = FileOffset(self.offset + PAGE_BYTES as u64);
            let (count, buf) = self.file.read(at, AlignedBuf::zeroed(rest)).await?;
            if count != rest {
                return Err(damaged);
            }
            chunk.extend_from_slice(&buf);
        }
        self.offset += head.chunk_bytes() as u64;
        self.number += 1;
        head.payload(&chunk).map(|payload| (head.kind, payload.to_vec())).ok_or(damaged)
    }

    /// The number of documents.
    async fn head(&mut self, expected: &Expected<'_>) -> Result<usize, FileError> {
        let (kind, payload) = self.next().await?;
        let mut reader = Reader::new(&payload);
        let mut read =
            || -> Result<_, Truncated> { Ok((reader.u32()?, reader.u32()?, reader.u64()?, reader.u64()?)) };
        let (version, collection, schema, documents) = read().map_err(|Truncated| self.damaged())?;
        match () {
            () if kind != Kind::Head => Err(self.damaged()),
            () if version != VERSION => Err(FileError::Other("format")),
            () if collection != expected.collection.0 => Err(FileError::Other("collection")),
            () if schema != schema_hash(expected.schema) => Err(FileError::Other("schema")),
            // Room is not made for more than the file can have.
            () if !may_have(self.file.len().await?, documents, expected.schema) => Err(self.damaged()),
            () => usize::try_from(documents).map_err(|_| self.damaged()),
        }
    }

    async fn graph(&mut self, front: &[u8], documents: usize) -> Result<Graph, FileError> {
        let BuildOptions { kernels, memory, .. } = BuildOptions::default();
        let mut decoder = Decoder::new(front, kernels, memory)?;
        if decoder.nodes() != documents {
            return Err(self.damaged());
        }
        loop {
            match self.next().await? {
                (Kind::Nodes, payload) => decoder.take(&payload)?,
                (Kind::GraphBack, payload) => return Ok(decoder.finish(&payload)?),
                _ => return Err(self.damaged()),
            }
        }
    }
}

/// Whether a file of so many bytes may have so many documents, with their embeddings and what else is kept of each.
fn may_have(file_bytes: u64, documents: u64, schema: &Schema) -> bool {
    const BESIDE_BYTES: usize = size_of::<u16>() + 2 * size_of::<u64>() + size_of::<u32>();
    let original_bytes = schema.embedding.map_or(0, |shape| shape.bytes());
    documents.checked_mul((BESIDE_BYTES + original_bytes) as u64).is_some_and(|bytes| bytes <= file_bytes)
}

fn take_documents(
    payload: &[u8],
    documents: usize,
    contents: &mut Contents,
    directory: &mut Directory,
) -> Result<(), Truncated> {
    let original_bytes = contents.schema().embedding.map_or(0, |shape| shape.bytes());
    let mut reader = Reader::new(payload);
    while !reader.is_empty() {
        let key_bytes = reader.u16()?;
        let key = Key::from_bytes(reader.take(key_bytes.into())?);
        let (seq, expires) = (Seq(reader.u64()?), WallMs(reader.u64()?));
        let metadata_bytes = reader.u32()?;
        let metadata = std::str::from_utf8(reader.take(metadata_bytes as usize)?).map_err(|_| Truncated)?;
        let original = reader.take(original_bytes)?;
        if contents.len() == documents {
            return Err(Truncated);
        }
        let ordinal = contents.push(Row { key: &key, seq, expires, original, metadata });
        directory.add(&key, ordinal);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::document::embedding::EmbeddingShape;
    use crate::shard::document::fields::Fields;
    use crate::vector::element::Element;
    use crate::vector::metric::Metric;

    #[test]
    fn room_is_made_for_what_the_file_can_have() {
        let embedding = EmbeddingShape::new(1000, Metric::L2, Element::F32);
        let schema = Schema { embedding: embedding.ok(), fields: Fields::parse("{}").unwrap() };
        assert!(may_have(10 * 4022, 10, &schema));
        for documents in [11, 10 * 4022, u64::MAX / 4022 + 1, u64::MAX] {
            assert!(!may_have(10 * 4022, documents, &schema), "{documents}");
        }
    }
}
