//! The entries of several sources in one order. Of several versions of a key the newest comes, the others
//! are passed over.
//!
//! A part is opened when the order has reached its first place, not before: a short range reads nothing of parts
//! that lie behind its end.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::rc::Rc;

use super::cursor::{Cursor, Walk};
use super::part::Part;
use crate::shard::run::EntryRef;
use crate::shard::runs::LoadError;
use crate::types::{CollectionId, TabletId};

/// Parts without overlap, one behind the other.
struct Chain {
    parts: VecDeque<Rc<Part>>,
    cursor: Option<Cursor>,
    /// While no part is open: nothing of the next one comes before this.
    bound: Option<(CollectionId, TabletId, Vec<u8>)>,
}

/// Sources are in order of age, the newest first.
pub struct Merge {
    chains: Vec<Chain>,
    walk: Rc<Walk>,
    reverse: bool,
    read_bytes: usize,
    /// The source with the next entry; `None` at the end, and while one of them has to be filled.
    next: Option<usize>,
    /// The next entry comes before all that other sources have or may have.
    leads: bool,
    /// Of the other sources the one with the first place. Stays it as long as only `next` goes on.
    rival: Option<usize>,
}

type At<'a> = (CollectionId, TabletId, &'a [u8]);

impl Merge {
    /// `sources`, newest first; each in order of places, whatever the direction.
    pub fn new(sources: Vec<Vec<Rc<Part>>>, walk: Walk, reverse: bool, read_bytes: usize) -> Merge {
        let chain = |parts: Vec<Rc<Part>>| {
            let mut parts = VecDeque::from(parts);
            if reverse {
                parts.make_contiguous().reverse();
            }
            let mut chain = Chain { parts, cursor: None, bound: None };
            chain.note_bound(reverse);
            chain
        };
        let chains = sources.into_iter().map(chain).collect();
        Merge { chains, walk: Rc::new(walk), reverse, read_bytes, next: None, leads: false, rival: None }
    }

    /// Reads until every source has its next entry at hand; to be called before each [`Merge::next`].
    pub async fn fill(&mut self) -> Result<(), LoadError> {
        while let Some(source) = self.fill_now()? {
            self.read(source).await?;
        }
        Ok(())
    }

    /// As `fill`, with what is in memory; gives a source that has to be read.
    pub fn fill_now(&mut self) -> Result<Option<usize>, LoadError> {
        if self.next.is_some() {
            return Ok(None);
        }
        for source in 0..self.chains.len() {
            if !self.chains[source].fill_now(self.reverse)? {
                return Ok(Some(source));
            }
        }
        while let Some(source) = self.next_to_open() {
            if !self.chains[source].open_now(&self.walk, self.reverse, self.read_bytes)? {
                return Ok(Some(source));
            }
        }
        self.choose_next();
        Ok(None)
    }

    fn choose_next(&mut self) {
        self.next = self.first_source();
        self.rival = None;
        for index in 0..self.chains.len() {
            let Some(place) = self.chains[index].place_or_bound() else { continue };
            let first = self.rival.and_then(|rival| self.chains[rival].place_or_bound());
            if self.next != Some(index) && first.is_none_or(|first| self.is_before(place, first)) {
                self.rival = Some(index);
            }
        }
        self.leads = self.next.is_some_and(|next| self.is_ahead(next));
    }

    /// Whether this source comes before its rival.
    fn is_ahead(&self, source: usize) -> bool {
        let Some(place) = self.chains[source].place() else { return false };
        let rival = self.rival.and_then(|rival| self.chains[rival].place_or_bound());
        rival.is_none_or(|rival| self.is_before(place, rival))
    }

    /// Reads what `fill_now` did not find.
    pub async fn read(&mut self, source: usize) -> Result<(), LoadError> {
        self.chains[source].read().await
    }

    /// The chain whose next part has to be opened now: it may have something before the next entry, or the same.
    fn next_to_open(&self) -> Option<usize> {
        let bounds =
            self.chains.iter().enumerate().filter_map(|(index, chain)| Some((index, chain.bound()?)));
        let (index, first) = bounds.reduce(|a, b| if self.is_before(b.1, a.1) { b } else { a })?;
        let next = self.first_source().and_then(|source| self.chains[source].place());
        next.is_none_or(|next| !self.is_before(next, first)).then_some(index)
    }

    fn is_before(&self, a: At<'_>, b: At<'_>) -> bool {
        let wanted = if self.reverse { Ordering::Greater } else { Ordering::Less };
        a.cmp(&b) == wanted
    }

    /// The source with the next entry.
    fn first_source(&self) -> Option<usize> {
        let mut best: Option<(usize, At<'_>)> = None;
        for (index, chain) in self.chains.iter().enumerate() {
            let Some(place) = chain.place() else { continue };
            if best.is_none_or(|(_, other)| self.is_before(place, other)) {
                best = Some((index, place));
            }
        }
        best.map(|(index, _)| index)
    }

    /// The source of the next entry.
    pub fn next_source(&self) -> Option<usize> {
        self.next
    }

    /// The next entry and its collection, where it comes from among the sources; `None` at the end.
    pub fn next(&self) -> Option<Next<'_>> {
        let source = self.next?;
        let cursor = self.chains[source].cursor.as_ref()?;
        let (collection, _, _) = cursor.place()?;
        Some(Next { source, collection, entry: cursor.head()?, part: cursor.part() })
    }

    /// Goes on behind the entry that `next` gave, in all sources; true when one of them has to be filled now.
    pub fn advance(&mut self, source: usize) -> bool {
        if self.leads && self.next == Some(source) {
            let empty = self.chains[source].advance();
            if !empty && self.is_ahead(source) {
                return false;
            }
            return self.go_on(empty);
        }
        let (before, rest) = self.chains.split_at_mut(source);
        let (chain, behind) = rest.split_first_mut().expect("a source that gave an entry");
        let mut empty = false;
        if let Some(place) = chain.place() {
            for other in before.iter_mut().chain(behind) {
                if other.place() == Some(place) {
                    empty |= other.advance();
                }
            }
        }
        let empty = chain.advance() || empty;
        self.go_on(empty)
    }

    /// `empty`: a source has nothing at hand. True when one has to be filled.
    fn go_on(&mut self, empty: bool) -> bool {
        let empty = empty || self.next_to_open().is_some();
        if empty {
            self.next = None;
        } else {
            self.choose_next();
        }
        empty
    }
}

/// An entry, and which source has it.
pub struct Next<'a> {
    pub source: usize,
    pub collection: CollectionId,
    pub entry: EntryRef<'a>,
    pub part: &'a Rc<Part>,
}

impl Chain {
    fn place(&self) -> Option<At<'_>> {
        self.cursor.as_ref().and_then(Cursor::place)
    }

    /// Of the next entry, or one before which none comes.
    fn place_or_bound(&self) -> Option<At<'_>> {
        self.place().or_else(|| self.bound())
    }

    /// True when nothing is at hand behind.
    fn advance(&mut self) -> bool {
        if let Some(cursor) = &mut self.cursor {
            cursor.advance();
        }
        self.place().is_none()
    }

    fn bound(&self) -> Option<At<'_>> {
        self.bound.as_ref().map(|(collection, tablet, key)| (*collection, *tablet, &key[..]))
    }

    fn note_bound(&mut self, reverse: bool) {
        let next = self.parts.front().filter(|_| self.cursor.is_none());
        self.bound = next.map(|part| {
            let place = if reverse { &part.span.last } else { &part.span.first };
            (place.collection, place.tablet, place.key.to_vec())
        });
    }

    /// Until there is a next entry in the open part, or it ends; false when it has to be read.
    fn fill_now(&mut self, reverse: bool) -> Result<bool, LoadError> {
        let Some(cursor) = &mut self.cursor else { return Ok(true) };
        if !cursor.fill_now()? {
            return Ok(false);
        }
        if cursor.place().is_none() {
            self.cursor = None;
            self.note_bound(reverse);
        }
        Ok(true)
    }

    /// False when the next part has to be read.
    fn open_now(&mut self, walk: &Rc<Walk>, reverse: bool, read_bytes: usize) -> Result<bool, LoadError> {
        let part = self.parts.front().expect("a chain with a bound has a part");
        let Some(resident) = part.resident() else { return Ok(false) };
        let part = self.parts.pop_front().expect("it was there");
        self.cursor = Some(Cursor::over(part, resident, walk.clone(), reverse, read_bytes));
        self.bound = None;
        self.fill_now(reverse)
    }

    /// The next stretch of the open part, or what is resident of the next part.
    async fn read(&mut self) -> Result<(), LoadError> {
        match (&mut self.cursor, self.parts.front()) {
            (Some(cursor), _) => cursor.read_stretch().await,
            (None, Some(part)) => part.load().await.map(drop),
            (None, None) => Ok(()),
        }
    }
}
