//! Which segment goes on where: known from the first block of every segment before replay begins.
//!
//! A segment that a recovery began says at which place of which segment the log was cut. The newest
//! such decision is taken first: it makes every segment between the two void, older decisions of dead
//! processes among them. What is left is one path from any segment onwards.

use std::collections::BTreeMap;

use super::block::{BlockFault, BlockView};
use super::plan::SegmentFile;
use super::segment::{BlockEnd, SegmentStart, StartKind};
use crate::limits;
use crate::types::{FileOffset, SegmentId, ShardId};

/// What the first bytes of a segment's file tell.
struct Head {
    id: SegmentId,
    start: Option<SegmentStart>,
    /// Nothing is in the first block, or what an earlier segment has left in the file.
    unbegun: bool,
    cut_short: bool,
}

/// The first blocks, as they are read.
#[derive(Default)]
pub(super) struct Heads {
    heads: Vec<Head>,
}

impl Heads {
    /// `bytes` begins the file and holds at least its first block, if there is one. Segments come in
    /// the order of their ids.
    pub(super) fn add(&mut self, shard: ShardId, file: SegmentFile, bytes: &[u8]) {
        let block = BlockView::parse(bytes, shard, file.id, FileOffset::ZERO);
        let zeros = bytes.iter().all(|byte| *byte == 0);
        let unbegun = zeros || matches!(block, Err(BlockFault::Misplaced { .. }));
        let start = block.ok().and_then(|block| block.start);
        // A file is full-sized before its first block is written, and zeros until then.
        let cut_short = match &start {
            Some(start) => file.len < u64::from(start.segment_bytes),
            None => file.len < limits::LOG_SEGMENT_BYTES_MIN as u64 && !zeros,
        };
        self.heads.push(Head { id: file.id, start, unbegun, cut_short });
    }

    pub(super) fn into_chain(self) -> Chain {
        let there: Vec<SegmentId> = self.heads.iter().map(|head| head.id).collect();
        let mut chain = Chain::default();
        // The segment that the next newer recovery cut: what has a greater id is void.
        let mut cut_in: Option<SegmentId> = None;
        for head in self.heads.into_iter().rev() {
            if cut_in.is_some_and(|segment| head.id > segment) {
                chain.void.push(head.id);
                continue;
            }
            if head.cut_short {
                chain.cut_short.push(head.id);
            }
            let Some(start) = head.start.filter(|start| start.previous.segment < head.id) else {
                if !head.unbegun {
                    chain.unlinked = chain.unlinked.max(Some(head.id));
                }
                continue;
            };
            if there.binary_search(&start.previous.segment).is_err() {
                chain.unlinked = chain.unlinked.max(Some(head.id));
            }
            match start.kind {
                StartKind::Rolled => {
                    chain.rolled.insert(start.previous, head.id);
                }
                StartKind::Recovered => {
                    cut_in = Some(start.previous.segment);
                    let cut = Cut { at: start.previous, next: head.id };
                    chain.cuts.insert(start.previous.segment, cut);
                }
            }
        }
        chain
    }
}

/// A decision of a recovery: the log goes on in `next` from `at`.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    at: BlockEnd,
    next: SegmentId,
}

#[derive(Default)]
pub(super) struct Chain {
    cuts: BTreeMap<SegmentId, Cut>,
    rolled: BTreeMap<BlockEnd, SegmentId>,
    cut_short: Vec<SegmentId>,
    void: Vec<SegmentId>,
    /// The newest segment of which nobody knows what it continues: its first block is damaged, or the segment
    /// before it is not there.
    unlinked: Option<SegmentId>,
}

impl Chain {
    /// The segment in which a recovery went on from exactly here.
    pub(super) fn cut_at(&self, at: BlockEnd) -> Option<SegmentId> {
        self.cuts.get(&at.segment).filter(|cut| cut.at == at).map(|cut| cut.next)
    }

    /// The segment that was begun when the one that ends here was full.
    pub(super) fn rolled_at(&self, at: BlockEnd) -> Option<SegmentId> {
        self.rolled.get(&at).copied()
    }

    /// A segment in which a recovery went on from a place in `segment` or later. Reading stopped before
    /// that place, yet the writer of the segment had read up to it.
    pub(super) fn recovered_behind(&self, segment: SegmentId) -> Option<SegmentId> {
        self.cuts.range(segment..).next().map(|(_, cut)| cut.next)
    }

    /// Where the valid part of a segment ends at the latest, if a recovery cut it.
    pub(super) fn cut_offset(&self, segment: SegmentId) -> Option<u64> {
        self.cuts.get(&segment).map(|cut| cut.at.offset.0)
    }

    /// A recovery went on elsewhere: nothing in this segment counts.
    pub(super) fn is_void(&self, segment: SegmentId) -> bool {
        self.void.contains(&segment)
    }

    /// Each segment behind this one says what it continues, so no cut is unknown.
    pub(super) fn knows_cuts_behind(&self, segment: SegmentId) -> bool {
        self.unlinked.is_none_or(|unlinked| unlinked <= segment)
    }

    /// The file is shorter than it was when its first block was written. Told once a segment.
    pub(super) fn take_cut_short(&mut self, segment: SegmentId) -> bool {
        let index = self.cut_short.iter().position(|id| *id == segment);
        index.map(|index| self.cut_short.swap_remove(index)).is_some()
    }
}
