//! A merged part into a file, in steps.

use std::io;
use std::path::PathBuf;

use super::chunk::{self, Kind};
use super::{HEAD_BYTES, VERSION, schema_hash};
use crate::io::codec::Put;
use crate::io::runtime::Runtime;
use crate::limits;
use crate::shard::file_out::FileOut;
use crate::shard::search::sealed::Sealed;
use crate::vector::codec::{Encoder, Piece};

/// What the name of a file ends with until it is whole.
pub const UNFINISHED: &str = "tmp";

/// The file is whole and durable when this completes; until then it has no name that anybody looks for.
pub async fn write(runtime: &Runtime, path: PathBuf, part: &Sealed, chunk_bytes: usize) -> io::Result<()> {
    let unfinished = path.with_extension(UNFINISHED);
    // One of an earlier attempt.
    let _ = runtime.remove_file(unfinished.clone()).await;
    let file = FileOut::create(runtime, unfinished.clone()).await?;
    Writer { file, chunks: 0, chunk_bytes }.run(runtime, part).await?;
    runtime.rename(unfinished, path.clone()).await?;
    runtime.sync_dir(path.parent().expect("a file lies in a directory")).await
}

struct Writer {
    file: FileOut,
    chunks: u32,
    /// Of documents, about.
    chunk_bytes: usize,
}

impl Writer {
    async fn run(mut self, runtime: &Runtime, part: &Sealed) -> io::Result<()> {
        self.put(Kind::Head, &head(part)).await?;
        self.documents(runtime, part).await?;
        let mut slice = runtime.slice();
        let mut encoder = Encoder::new(part.graph());
        loop {
            match encoder.step(limits::INDEX_FILE_STEP_VECTORS) {
                Piece::None => {}
                Piece::Front(piece) => self.put(Kind::GraphFront, &piece).await?,
                Piece::Nodes(piece) => self.put(Kind::Nodes, &piece).await?,
                Piece::Back(piece) => {
                    self.put(Kind::GraphBack, &piece).await?;
                    return self.file.finish().await.map(drop);
                }
            }
            slice.checkpoint().await;
        }
    }

    async fn put(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let chunk = chunk::encode(kind, self.chunks, payload);
        self.chunks += 1;
        self.file.write(chunk, false).await
    }

    async fn documents(&mut self, runtime: &Runtime, part: &Sealed) -> io::Result<()> {
        let mut slice = runtime.slice();
        let mut payload = Vec::new();
        for ordinal in 0..part.len() as u32 {
            let row = part.contents().row(ordinal);
            payload.put_u16(row.key.len() as u16);
            row.key.append_to(&mut payload);
            payload.put_u64(row.seq.0);
            payload.put_u64(row.expires.0);
            payload.put_u32(row.metadata.len() as u32);
            payload.extend_from_slice(row.metadata.as_bytes());
            payload.extend_from_slice(row.original);
            if payload.len() >= self.chunk_bytes {
                self.put(Kind::Documents, &payload).await?;
                payload.clear();
            }
            slice.checkpoint().await;
        }
        if payload.is_empty() { Ok(()) } else { self.put(Kind::Documents, &payload).await }
    }
}

fn head(part: &Sealed) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.put_u32(VERSION);
    head.put_u32(part.collection.0);
    head.put_u64(schema_hash(part.contents().schema()));
    head.put_u64(part.len() as u64);
    head
}
