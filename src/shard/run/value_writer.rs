//! Writes a value file: values go in piece by piece, chunks of the file come out.
//!
//! Memory: a chunk or two, as long as the caller takes them, and 24 bytes a value.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::PAGE_BYTES;
use super::chunks::Chunks;
use super::extent::Extent;
use super::value_file::{FIRST_VALUE, ValueFooter, ValueMeta, encode_header};
use super::value_ref::{TABLE_ENTRY_BYTES, ValueRef};
use crate::io::buf::AlignedBuf;
use crate::types::{FileOffset, RunId, ShardId};

static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];

pub struct ValueWriter {
    file: RunId,
    shard: ShardId,
    chunks: Chunks,
    header_hash: u64,
    open: Option<Open>,
    table: Vec<ValueRef>,
}

/// A value of which pieces came.
struct Open {
    offset: FileOffset,
    len: u32,
    hash: Box<Xxh3>,
}

impl ValueWriter {
    pub fn new(file: RunId, shard: ShardId) -> ValueWriter {
        let (page, header_hash) = encode_header(file, shard);
        let mut chunks = Chunks::default();
        chunks.append(&page);
        ValueWriter { file, shard, chunks, header_hash, open: None, table: Vec::new() }
    }

    pub fn id(&self) -> RunId {
        self.file
    }

    pub fn begin(&mut self) {
        assert!(self.open.is_none(), "a value inside of another");
        self.open = Some(Open { offset: self.chunks.offset(), len: 0, hash: Box::new(Xxh3::new()) });
    }

    /// The next piece of the value: hashing and copying it is a slice's work of the caller.
    pub fn append(&mut self, piece: &[u8]) {
        let open = self.open.as_mut().expect("a value was begun");
        open.len += piece.len() as u32;
        open.hash.update(piece);
        self.chunks.append(piece);
    }

    /// Nothing came of the value that was begun.
    pub fn is_empty_value(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.len == 0)
    }

    /// Where the value is.
    pub fn end(&mut self) -> ValueRef {
        let Open { offset, len, mut hash } = self.open.take().expect("a value was begun");
        assert!(len > 0, "an empty value");
        let padding = (len as usize).next_multiple_of(PAGE_BYTES) - len as usize;
        hash.update(&ZEROS[..padding]);
        self.chunks.skip(padding);
        let value = ValueRef { file: self.file, offset, len, hash: hash.digest() };
        self.table.push(value);
        value
    }

    /// Bytes of values so far.
    pub fn value_bytes(&self) -> u64 {
        self.chunks.offset().0 - FIRST_VALUE.0
    }

    /// The next chunk of the file; `None` until it is full.
    pub fn take_ready(&mut self) -> Option<AlignedBuf> {
        self.chunks.take_ready()
    }

    /// No more values: the rest of the file, and what the manifest keeps of it.
    pub fn finish(mut self) -> (Vec<AlignedBuf>, ValueMeta) {
        assert!(self.open.is_none(), "a value is not ended");
        let value_bytes = self.value_bytes();
        let mut bytes = Vec::with_capacity(self.table.len() * TABLE_ENTRY_BYTES);
        self.table.iter().for_each(|value| bytes.extend_from_slice(&value.encode_in_table()));
        let mut table = Extent { offset: self.chunks.offset(), len: bytes.len() as u64, hash: 0 };
        bytes.resize(table.padded_len() as usize, 0);
        table.hash = xxh3_64(&bytes);
        self.chunks.append(&bytes);
        let file_len = self.chunks.offset().0 + PAGE_BYTES as u64;
        let meta = ValueMeta { id: self.file, file_len, footer_hash: 0, value_bytes };
        let mut footer = ValueFooter::new(meta, self.shard, self.header_hash, table);
        self.chunks.append(&footer.encode());
        let mut rest = Vec::new();
        while let Some(chunk) = self.chunks.take_last() {
            rest.push(chunk);
        }
        (rest, footer.meta)
    }
}
