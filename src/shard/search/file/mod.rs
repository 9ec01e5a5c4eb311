//! Merged parts as files, so that a start does not link every vector anew. Derived: a file says what a part was, never
//! which documents there are. What of it counts is claimed by the owners, document by document and by version, as they
//! read their records. So a file may be missing, damaged, old, or of a time before a crash: then some documents are
//! linked anew, and that is all.
//!
//! ```text
//! file     = chunk*, each at a multiple of 4096 bytes; all little-endian. In this order: 1 x 1, n x 2, 1 x 3, n x 4, 1 x 5
//!
//! chunk    0   4  magic "KyIx"
//!          4   4  kind: 1 head of the file, 2 documents, 3 front of the graph, 4 nodes, 5 back of the graph
//!          8   4  number of the chunk, from 0
//!         12   4  zero
//!         16   8  length of the payload
//!         24   8  xxh3 of the payload, seeded with kind and number
//!         32   n  payload, then zeros up to a multiple of 4096
//!
//! head     u32 format version (1), u32 collection, u64 xxh3 of the encoded schema, u64 documents
//! documents, each: u16 length of the key, key, u64 version, u64 when its time is over, u32 length of the
//!          metadata, metadata, the embedding as it is stored in records; in the order of the nodes of the graph
//! front, nodes, back: see `vector/codec.rs`
//! ```
//!
//! - [`chunk`]: one chunk as bytes, and back. [`write`]: a part into a file. [`read`]: a file into a part.
//! - [`check`]: whether the bytes of a file are those that were written.
//! - [`shelf`]: the files of a shard: read at the start, replaced with the parts that they are of, removed.

pub mod check;
mod chunk;
mod read;
pub mod shelf;
mod write;

use xxhash_rust::xxh3::xxh3_64;

use crate::shard::document::schema::Schema;

/// In the directory of a shard.
pub const INDEX_DIR: &str = "index";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 24;

/// Of another schema the parts are no use.
fn schema_hash(schema: &Schema) -> u64 {
    let mut bytes = Vec::new();
    schema.encode(&mut bytes);
    xxh3_64(&bytes)
}
