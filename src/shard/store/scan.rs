//! Ranges: what the delta has, and the runs behind it, as of one moment.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::ops::Bound;
use std::rc::Rc;

use super::cursor::Walk;
use super::levels::{KeyBytes, LAST, Levels};
use super::merge::Merge;
use super::part::{Part, key_of};
use super::place::{Place, Span};
use super::stored::Stored;
use crate::io::buf::BLOCK_BYTES;
use crate::limits;
use crate::shard::delta::Version;
use crate::shard::key::Key;
use crate::shard::page::{Page, Records};
use crate::shard::record::{Found, Scan};
use crate::shard::run::{Body, EntryRef};
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

    /// At most `scan.limit` visible records, and at most [`limits::SCAN_VISITS_MAX`] entries looked at. What is
    /// in memory is given without a pause.
    pub async fn page(self) -> Result<Page, LoadError> {
        let (now, cut, limit) = (self.now, self.cut, self.scan.limit);
        let (mut newest, read_bytes) = self.begin();
        let mut out = PageOut::new(limit, read_bytes);
        let more = loop {
            if let Some(source) = newest.fill_now()? {
                newest.runs.read(source).await?;
                continue;
            }
            let apart = match newest.next() {
                None => break cut,
                Some(_) if out.is_full() => break true,
                Some(next) => out.take(next, now)?,
            };
            if let Some(Apart { key, stored }) = apart
                && let Some(found) = stored.version().await?.found(now)
            {
                out.push_found(&key, found);
            }
            newest.advance();
        };
        Ok(out.finish(more))
    }

    /// Hands over the newest version of each key in order, tombstones too, until `take` wants no more. True
    /// when there may be more.
    pub async fn walk(
        self,
        mut take: impl AsyncFnMut(&Key, Stored) -> Result<bool, LoadError>,
    ) -> Result<bool, LoadError> {
        let cut = self.cut;
        let (mut newest, _) = self.begin();
        let mut wants_more = true;
        loop {
            if let Some(source) = newest.fill_now()? {
                newest.runs.read(source).await?;
                continue;
            }
            let (key, stored) = match newest.next() {
                None => return Ok(cut),
                Some(_) if !wants_more => return Ok(true),
                Some(Newest::Written(key, version)) => (key.clone(), Stored::from(version.clone())),
                Some(Newest::Sealed(entry, part)) => (key_of(&entry), part.stored(&entry)?),
            };
            newest.advance();
            wants_more = take(&key, stored).await?;
        }
    }

    /// And how much of the runs the page takes, about.
    fn begin(self) -> (NewestOf, usize) {
        let sources = self.sources();
        let read_bytes = self.first_read_bytes(&sources);
        let runs = self.merge(sources, read_bytes);
        let delta = self.entries.into_iter().peekable();
        (NewestOf { delta, cut: self.cut, runs, reverse: self.scan.reverse, turn: Turn::End }, read_bytes)
    }

    fn merge(&self, sources: Vec<Vec<Rc<Part>>>, read_bytes: usize) -> Merge {
        let bytes = |bound: &Bound<Key>| match bound {
            Bound::Included(key) => Bound::Included(key.to_vec()),
            Bound::Excluded(key) => Bound::Excluded(key.to_vec()),
            Bound::Unbounded => Bound::Unbounded,
        };
        let (start, end) = (bytes(&self.scan.start), bytes(&self.scan.end));
        let walk = Walk::Range { collection: self.collection, tablet: self.tablet, start, end };
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

/// The newest version of each key of a range, in order, from the delta and the runs.
struct NewestOf {
    delta: Peekable<std::vec::IntoIter<(Key, Version)>>,
    /// See [`DeltaPage`].
    cut: bool,
    runs: Merge,
    reverse: bool,
    turn: Turn,
}

/// Where the next version is.
#[derive(Clone, Copy)]
enum Turn {
    End,
    Delta,
    /// Source of the runs.
    Runs(usize),
    /// Of the delta; the source of the runs has an older one.
    Both(usize),
}

enum Newest<'a> {
    Written(&'a Key, &'a Version),
    Sealed(EntryRef<'a>, &'a Rc<Part>),
}

impl NewestOf {
    /// To be called before each `next`; gives a source of the runs that has to be read.
    fn fill_now(&mut self) -> Result<Option<usize>, LoadError> {
        let lacking = self.runs.fill_now()?;
        if lacking.is_none() {
            self.turn = self.next_turn();
        }
        Ok(lacking)
    }

    fn next_turn(&mut self) -> Turn {
        match (self.delta.peek(), self.runs.next_source()) {
            (None, None) => Turn::End,
            // Between here and there the delta may have more.
            (None, Some(_)) if self.cut => Turn::End,
            (None, Some(source)) => Turn::Runs(source),
            (Some(_), None) => Turn::Delta,
            (Some((key, _)), Some(source)) => {
                let run = self.runs.next().expect("of this source");
                match (key.cmp_bytes(run.entry.key), self.reverse) {
                    (Ordering::Equal, _) => Turn::Both(source),
                    (Ordering::Less, false) | (Ordering::Greater, true) => Turn::Delta,
                    _ => Turn::Runs(source),
                }
            }
        }
    }

    fn next(&mut self) -> Option<Newest<'_>> {
        match self.turn {
            Turn::End => None,
            Turn::Delta | Turn::Both(_) => {
                self.delta.peek().map(|(key, version)| Newest::Written(key, version))
            }
            Turn::Runs(_) => self.runs.next().map(|next| Newest::Sealed(next.entry, next.part)),
        }
    }

    /// Goes on behind what `next` gave.
    fn advance(&mut self) {
        if let Turn::Delta | Turn::Both(_) = self.turn {
            self.delta.next();
        }
        if let Turn::Runs(source) | Turn::Both(source) = self.turn {
            self.runs.advance(source);
        }
    }
}

/// A page while it fills up.
struct PageOut {
    page: Page,
    bytes: usize,
    limit: usize,
    /// The last entry that was looked at, if it is no record of the page.
    passed: Option<Key>,
}

/// A record of which the value has to be read.
struct Apart {
    key: Key,
    stored: Stored,
}

impl PageOut {
    fn new(limit: usize, bytes: usize) -> PageOut {
        let records = Records::with_room(limit.min(limits::SCAN_VISITS_MAX), bytes);
        PageOut { page: Page { records, ..Page::default() }, bytes: 0, limit, passed: None }
    }

    /// Takes the entry in if it is visible; gives it back when its value has to be read before.
    fn take(&mut self, next: Newest<'_>, now: WallMs) -> Result<Option<Apart>, LoadError> {
        self.page.visited += 1;
        match next {
            Newest::Written(key, version) => match version.found(now) {
                Some(found) => self.push_found(key, found),
                None => self.passed = Some(key.clone()),
            },
            Newest::Sealed(entry, _) if entry.expires.is_some_and(|at| at <= now) => {
                self.passed = Some(key_of(&entry));
            }
            Newest::Sealed(entry, part) => match entry.body {
                Body::Tombstone => self.passed = Some(key_of(&entry)),
                Body::Apart(_) => {
                    let key = key_of(&entry);
                    self.passed = Some(key.clone());
                    return Ok(Some(Apart { key, stored: part.stored(&entry)? }));
                }
                Body::Here(payload) => {
                    let EntryRef { key, lsn, seq, expires, .. } = entry;
                    if !self.page.records.push(key, payload, lsn, seq, expires) {
                        return Err(part.malformed_payload());
                    }
                    self.pushed(key.len() + payload.len());
                }
            },
        }
        Ok(None)
    }

    fn push_found(&mut self, key: &Key, found: Found) {
        let bytes = KeyBytes::of(key);
        let payload_bytes = found.payload.as_bytes().len();
        self.page.records.push_found(bytes.as_slice(), found);
        self.pushed(key.len() + payload_bytes);
    }

    fn pushed(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.passed = None;
    }

    fn is_full(&self) -> bool {
        self.page.records.len() >= self.limit
            || self.bytes >= limits::SCAN_PAGE_BYTES_MAX
            || self.page.visited >= limits::SCAN_VISITS_MAX
    }

    fn finish(self, more: bool) -> Page {
        let last = || self.page.records.last().map(|record| record.key());
        let resume_after = self.passed.clone().or_else(last);
        Page { more, resume_after, ..self.page }
    }
}

fn take<T>(mut entries: impl Iterator<Item = T>, count: usize) -> (Vec<T>, bool) {
    let taken: Vec<T> = entries.by_ref().take(count).collect();
    let more = entries.next().is_some();
    (taken, more)
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
