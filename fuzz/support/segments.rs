//! Bytes as the segments of a log.

use std::borrow::Cow;

use kyrodb::io::log::{BlockView, Made, ReadAt, Recovered, Replay, ReplayStart, SegmentFile, Step};
use kyrodb::limits;
use kyrodb::types::{FileOffset, Lsn, SegmentId, ShardId};

pub const START: ReplayStart = ReplayStart {
    shard: ShardId(0),
    from: SegmentId(1),
    first_wanted: Lsn(1),
    floor: Lsn::ZERO,
    made: Made { first: SegmentId(0), last: SegmentId(0) },
};

pub struct Log<'a> {
    segments: Vec<Cow<'a, [u8]>>,
    pub files: Vec<SegmentFile>,
}

impl<'a> Log<'a> {
    pub fn new(segments: &[&'a [u8]]) -> Log<'a> {
        let ids = (START.from.0..).map(SegmentId);
        let segments: Vec<_> =
            ids.clone().zip(segments).map(|(id, segment)| whole_segment(id, segment)).collect();
        let file = |(id, segment): (_, &Cow<'_, [u8]>)| SegmentFile { id, len: segment.len() as u64 };
        Log { files: ids.zip(&segments).map(file).collect(), segments }
    }

    pub fn bytes(&self, read: ReadAt) -> &[u8] {
        let file = &self.segments[(read.segment.0 - START.from.0) as usize];
        let from = (read.offset.0 as usize).min(file.len());
        &file[from..file.len().min(from + read.len)]
    }

    /// What there is to go on from, when there is no damage.
    pub fn replay(&self) -> Option<Recovered> {
        let mut replay = Replay::new(START, &self.files).ok()?;
        let mut last_lsn = Lsn::ZERO;
        loop {
            let read = match replay.step() {
                Step::Read(read) => read,
                Step::Done(recovered) => return Some(recovered),
            };
            let fed = replay.feed(self.bytes(read), &mut |record| {
                assert!(record.lsn > last_lsn);
                last_lsn = record.lsn;
            });
            fed.ok()?;
        }
    }
}

/// A file has its full length before its first block is written. What begins with no block is left as short as it is.
fn whole_segment(id: SegmentId, bytes: &[u8]) -> Cow<'_, [u8]> {
    let has_block = BlockView::parse(bytes, START.shard, id, FileOffset::ZERO).is_ok();
    if !has_block || bytes.len() >= limits::LOG_SEGMENT_BYTES_MIN {
        return Cow::Borrowed(bytes);
    }
    let mut whole = vec![0; limits::LOG_SEGMENT_BYTES_MIN];
    whole[..bytes.len()].copy_from_slice(bytes);
    Cow::Owned(whole)
}
