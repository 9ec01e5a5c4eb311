//! A log in lines for people and scripts: every block and record, and what lies between.
//!
//! Dumping trusts nothing but the hash of each block. Behind damage it goes on with the next self-valid
//! block at a multiple of 4 KiB, and says so. It does not decide what is part of the log: that is
//! [`super::Replay`], whose rules need all segments.

use std::fmt;

use serde::Serialize;

use super::assemble::{Assembler, ContentFault};
use super::block::{BlockFault, BlockView};
use super::record::RecordRef;
use super::search::{Chunk, Found};
use super::segment::{StartKind, segment_file_name};
use crate::types::{SegmentId, ShardId};

/// One line of a dump. `Display` gives text, [`DumpLine::to_json`] one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum DumpLine {
    Block(BlockLine),
    Record(RecordLine),
    /// No self-valid block lies in `offset..end`.
    Gap {
        file: String,
        offset: u64,
        end: u64,
        reason: String,
    },
    /// The block before is intact, and its content contradicts what came before it.
    Content {
        file: String,
        offset: u64,
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockLine {
    pub file: String,
    pub offset: u64,
    pub bytes: usize,
    pub payload_bytes: usize,
    pub continued_bytes: usize,
    pub last_lsn: u64,
    pub durable_lsn: u64,
    pub hash: String,
    pub prev_hash: String,
    /// False when the block does not continue the one printed before it.
    pub chained: bool,
    /// "rolled" or "recovered" in the first block of a segment.
    pub start: Option<&'static str>,
    pub previous_segment: Option<u64>,
    pub previous_end: Option<u64>,
    pub base_lsn: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordLine {
    pub lsn: u64,
    pub kind: &'static str,
    pub commit_ts: u64,
    pub seq: u64,
    pub collection: u32,
    pub tablet: u32,
    pub epoch: u64,
    pub expiry_ms: Option<u64>,
    pub transaction: Option<u64>,
    pub key_hex: String,
    pub payload_bytes: usize,
}

impl DumpLine {
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a line has only strings and numbers")
    }
}

impl fmt::Display for DumpLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpLine::Block(block) => block.fmt(f),
            DumpLine::Record(record) => record.fmt(f),
            DumpLine::Gap { file, offset, end, reason } => {
                write!(f, "gap    {file} {offset}..{end}: {reason}")
            }
            DumpLine::Content { file, offset, reason } => write!(f, "damage {file} {offset}: {reason}"),
        }
    }
}

impl fmt::Display for BlockLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BlockLine { file, offset, bytes, payload_bytes, last_lsn, durable_lsn, hash, .. } = self;
        write!(f, "block  {file} {offset} {bytes} bytes, payload {payload_bytes}, last LSN {last_lsn}, ")?;
        write!(f, "durable LSN {durable_lsn}, hash {hash}")?;
        if let (Some(start), Some(segment), Some(end)) =
            (self.start, self.previous_segment, self.previous_end)
        {
            write!(f, ", {start} from segment {segment:016x} offset {end}")?;
        }
        if self.chained { Ok(()) } else { write!(f, ", continues {} (not the block above)", self.prev_hash) }
    }
}

impl fmt::Display for RecordLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RecordLine { lsn, kind, seq, collection, tablet, key_hex, payload_bytes, .. } = self;
        write!(f, "record LSN {lsn} {kind} collection {collection} tablet {tablet} seq {seq} ")?;
        write!(f, "key {key_hex} payload {payload_bytes} bytes")
    }
}

/// Dumps segments one after the other; records may span them.
pub struct Dump {
    shard: ShardId,
    assembler: Assembler,
    hash: u64,
}

impl Dump {
    pub fn new(shard: ShardId) -> Dump {
        Dump { shard, assembler: Assembler::entering(), hash: 0 }
    }

    /// The lines of a whole segment, in the order of its file. Segments come in the order of their ids.
    pub fn segment(&mut self, id: SegmentId, bytes: &[u8], sink: &mut impl FnMut(DumpLine)) {
        let chunk = Chunk { shard: self.shard, segment: id, base: 0, bytes, last: true };
        let mut offset = 0;
        while offset < bytes.len() as u64 {
            match chunk.block(offset) {
                Ok(block) => {
                    self.block(&block, sink);
                    offset += block.header.block_len as u64;
                }
                Err(fault) => offset = self.gap(&chunk, offset, fault, sink),
            }
        }
    }

    /// Returns the offset of the next self-valid block, or the end.
    fn gap(&self, chunk: &Chunk<'_>, offset: u64, fault: BlockFault, sink: &mut impl FnMut(DumpLine)) -> u64 {
        let mut end = offset + BLOCK_BYTES;
        while let Found::Newer { offset, .. } = chunk.search(end) {
            end = offset + BLOCK_BYTES;
        }
        let next = match chunk.search(end) {
            Found::Block(block) => block.header.offset.0,
            _ => chunk.bytes.len() as u64,
        };
        let file = segment_file_name(chunk.segment);
        sink(DumpLine::Gap { file, offset, end: next, reason: fault.to_string() });
        next
    }

    fn block(&mut self, block: &BlockView<'_>, sink: &mut impl FnMut(DumpLine)) {
        let chained = block.header.prev_hash == self.hash;
        self.hash = block.header.hash;
        sink(DumpLine::Block(block_line(block, chained)));
        if !chained {
            self.assembler = Assembler::entering();
        }
        let content = self.assembler.block(block, &mut |record| sink(DumpLine::Record(record_line(record))));
        if let Err(fault) = content {
            self.content(block, fault, sink);
        }
    }

    fn content(&mut self, block: &BlockView<'_>, fault: ContentFault, sink: &mut impl FnMut(DumpLine)) {
        self.assembler = Assembler::entering();
        sink(DumpLine::Content {
            file: segment_file_name(block.header.segment),
            offset: block.header.offset.0,
            reason: fault.to_string(),
        });
    }
}

const BLOCK_BYTES: u64 = crate::io::buf::BLOCK_BYTES as u64;

fn block_line(block: &BlockView<'_>, chained: bool) -> BlockLine {
    let header = &block.header;
    let start = block.start.as_ref();
    BlockLine {
        file: segment_file_name(header.segment),
        offset: header.offset.0,
        bytes: header.block_len,
        payload_bytes: header.payload_len,
        continued_bytes: header.continued,
        last_lsn: header.last_lsn.0,
        durable_lsn: header.durable_lsn.0,
        hash: format!("{:016x}", header.hash),
        prev_hash: format!("{:016x}", header.prev_hash),
        chained,
        start: start.map(|start| match start.kind {
            StartKind::Rolled => "rolled",
            StartKind::Recovered => "recovered",
        }),
        previous_segment: start.map(|start| start.previous.segment.0),
        previous_end: start.map(|start| start.previous.offset.0),
        base_lsn: start.map(|start| start.base_lsn.0),
    }
}

fn record_line(record: RecordRef<'_>) -> RecordLine {
    let meta = &record.parts.meta;
    RecordLine {
        lsn: record.lsn.0,
        kind: meta.kind.name(),
        commit_ts: meta.commit_ts,
        seq: meta.seq.0,
        collection: meta.collection.0,
        tablet: meta.tablet.0,
        epoch: meta.epoch.0,
        expiry_ms: meta.expiry.map(|at| at.0),
        transaction: meta.transaction,
        key_hex: record.parts.key.iter().map(|byte| format!("{byte:02x}")).collect(),
        payload_bytes: record.parts.payload.len(),
    }
}
