//! Ranges: what the delta has, and the runs behind it, as of one moment.

use std::ops::Bound;
use std::rc::Rc;

use super::cursor::Walk;
use super::levels::{LAST, Levels};
use super::merge::{Merge, Next};
use super::part::Part;
use super::place::{Place, Span};
use super::stored::Stored;
use crate::io::buf::BLOCK_BYTES;
use crate::limits;
use crate::shard::delta::Version;
use crate::shard::key::Key;
use crate::shard::record::{Page, Scan};
use crate::shard::runs::LoadError;
use crate::shard::tablet::Tablet;
use crate::types::{CollectionId, TabletId, WallMs};

/// What a page of a range is made from. The delta's part is a copy: writes may go on before the runs are
/// read.
pub struct DeltaPage {
    scan: Scan,
    now: WallMs,
    collection: CollectionId,
    tablet: TabletId,
    /// In the direction of the scan, tombstones included.
    entries: Vec<(Key, Version)>,
    /// There is more in the delta behind the last entry: the page cannot go further.
    cut: bool,
    levels: Rc<Levels>,
}

impl DeltaPage {
    pub fn of(tablet: &Tablet, scan: &Scan, now: WallMs, levels: &Rc<Levels>) -> DeltaPage {
        let count = scan.limit.min(limits::SCAN_VISITS_MAX);
        let range = tablet.delta.range(scan.start.as_ref(), scan.end.as_ref());
        let owned = |(key, version): (&Key, &Version)| (key.clone(), version.clone());
        let (entries, cut) = match scan.reverse {
            false => take(range.map(owned), count),
            true => take(range.rev().map(owned), count),
        };
        let (collection, tablet) = (tablet.collection, tablet.id);
        DeltaPage { scan: scan.clone(), now, collection, tablet, entries, cut, levels: levels.clone() }
    }

    /// At most `scan.limit` visible records, and at most [`limits::SCAN_VISITS_MAX`] entries looked at.
    pub async fn page(self) -> Result<Page, LoadError> {
        let limit = self.scan.limit;
        let mut out = PageOut { page: Page::default(), now: self.now, visited: 0, bytes: 0, limit };
        let more = self.walk(async |key, stored| out.take(key, stored).await).await?;
        out.page.more = more;
        Ok(out.page)
    }

    /// Hands over the newest version of each key in order, tombstones too, until `take` wants no more. True
    /// when there may be more.
    pub async fn walk(
        self,
        mut take: impl AsyncFnMut(&Key, Stored) -> Result<bool, LoadError>,
    ) -> Result<bool, LoadError> {
        let (reverse, scan) = (self.scan.reverse, self.scan.clone());
        let mut merge = self.merge();
        let mut delta = self.entries.into_iter().peekable();
        let mut wants_more = true;
        loop {
            merge.fill().await?;
            let run = merge.next();
            let run_key = run.as_ref().map(|next| Key::from_bytes(next.entry.key));
            let run_key = match (run_key.map(|key| (side(&scan, &key), key)), &run) {
                (Some((Side::Before, _)), Some(next)) => {
                    let source = next.source;
                    merge.advance(source);
                    continue;
                }
                (Some((Side::In, key)), _) => Some(key),
                _ => None,
            };
            let delta_first = match (delta.peek(), &run_key) {
                (None, None) => return Ok(self.cut),
                _ if !wants_more => return Ok(true),
                (None, Some(_)) if self.cut => return Ok(true),
                (None, Some(_)) => false,
                (Some(_), None) => true,
                (Some((key, _)), Some(other)) if reverse => key >= other,
                (Some((key, _)), Some(other)) => key <= other,
            };
            let (key, stored) = if delta_first {
                let (key, version) = delta.next().expect("peeked");
                if run_key.as_ref() == Some(&key)
                    && let Some(source) = run.map(|next| next.source)
                {
                    merge.advance(source);
                }
                (key, Stored::from(version))
            } else {
                let Next { source, entry, part, .. } = run.expect("it comes first");
                let stored = part.stored(&entry)?;
                merge.advance(source);
                (run_key.expect("of the entry"), stored)
            };
            wants_more = take(&key, stored).await?;
        }
    }

    /// The runs that have something of the range.
    fn merge(&self) -> Merge {
        let bytes = |bound: &Bound<Key>| match bound {
            Bound::Included(key) => Bound::Included(key.to_vec()),
            Bound::Excluded(key) => Bound::Excluded(key.to_vec()),
            Bound::Unbounded => Bound::Unbounded,
        };
        let (start, end) = (bytes(&self.scan.start), bytes(&self.scan.end));
        let walk = Walk::Range { collection: self.collection, tablet: self.tablet, start, end };
        let sources = self.sources();
        let read_bytes = self.first_read_bytes(&sources);
        Merge::new(sources, walk, self.scan.reverse, read_bytes)
    }

    /// What the page takes of a part if all of it comes from there.
    fn first_read_bytes(&self, sources: &[Vec<Rc<Part>>]) -> usize {
        let parts = || sources.iter().flatten().map(|part| &part.meta);
        let (bytes, entries) =
            parts().fold((0, 1), |sum, meta| (sum.0 + meta.file_len, sum.1 + meta.entries));
        let wanted = self.scan.limit as u64 * (bytes / entries) + BLOCK_BYTES as u64;
        (wanted as usize).clamp(BLOCK_BYTES, limits::SCAN_READ_BYTES)
    }

    /// Parts of level 0 one by one, and the stretch of each level below that lies in the range.
    fn sources(&self) -> Vec<Vec<Rc<Part>>> {
        let range = PlaceRange::of(self.collection, self.tablet, &self.scan);
        let touches = |part: &&Rc<Part>| !range.is_behind(&part.span) && !range.is_before(&part.span);
        let fresh = self.levels.fresh().iter().filter(touches).map(|part| vec![part.clone()]);
        let deep = (1..=LAST).map(|level| {
            let parts = self.levels.level(level);
            let from = parts.partition_point(|part| range.is_behind(&part.span));
            let to = parts.partition_point(|part| !range.is_before(&part.span));
            parts[from..to.max(from)].to_vec()
        });
        fresh.chain(deep).filter(|parts: &Vec<Rc<Part>>| !parts.is_empty()).collect()
    }
}

/// A page while it fills up.
struct PageOut {
    page: Page,
    now: WallMs,
    visited: usize,
    bytes: usize,
    limit: usize,
}

impl PageOut {
    /// False when the page is full behind this entry.
    async fn take(&mut self, key: &Key, stored: Stored) -> Result<bool, LoadError> {
        self.visited += 1;
        self.page.resume_after = Some(key.clone());
        if stored.is_visible(self.now)
            && let Some(found) = stored.version().await?.found(self.now)
        {
            self.bytes += key.len() + found.payload.as_bytes().len();
            self.page.records.push((key.clone(), found));
        }
        Ok(self.page.records.len() < self.limit
            && self.bytes < limits::SCAN_PAGE_BYTES_MAX
            && self.visited < limits::SCAN_VISITS_MAX)
    }
}

fn take<T>(mut entries: impl Iterator<Item = T>, count: usize) -> (Vec<T>, bool) {
    let taken: Vec<T> = entries.by_ref().take(count).collect();
    let more = entries.next().is_some();
    (taken, more)
}

/// Where a key stands, seen in the direction of a scan.
enum Side {
    Before,
    In,
    Behind,
}

fn side(scan: &Scan, key: &Key) -> Side {
    let below = match &scan.start {
        Bound::Included(start) => key < start,
        Bound::Excluded(start) => key <= start,
        Bound::Unbounded => false,
    };
    let above = match &scan.end {
        Bound::Included(end) => key > end,
        Bound::Excluded(end) => key >= end,
        Bound::Unbounded => false,
    };
    match (below, above, scan.reverse) {
        (false, false, _) => Side::In,
        (true, _, false) | (false, true, true) => Side::Before,
        _ => Side::Behind,
    }
}

/// Where the keys of a scan lie among all places.
struct PlaceRange {
    collection: CollectionId,
    tablet: TabletId,
    /// Without the bounds' being in or out: a part that ends at the first key may be looked at in vain.
    first: Option<Place>,
    last: Option<Place>,
}

impl PlaceRange {
    fn of(collection: CollectionId, tablet: TabletId, scan: &Scan) -> PlaceRange {
        let place = |bound: &Bound<Key>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => {
                Some(Place { collection, tablet, key: key.clone() })
            }
            Bound::Unbounded => None,
        };
        PlaceRange { collection, tablet, first: place(&scan.start), last: place(&scan.end) }
    }

    /// The range begins behind the span.
    fn is_behind(&self, span: &Span) -> bool {
        let last = &span.last;
        match &self.first {
            Some(first) => last < first,
            None => (last.collection, last.tablet) < (self.collection, self.tablet),
        }
    }

    /// The range ends before the span.
    fn is_before(&self, span: &Span) -> bool {
        let first = &span.first;
        match &self.last {
            Some(last) => first > last,
            None => (first.collection, first.tablet) > (self.collection, self.tablet),
        }
    }
}
