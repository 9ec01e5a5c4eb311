//! The entries of several sources in one order. Of several versions of a key the newest comes, the others
//! are passed over.

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
}

/// Sources are in order of age, the newest first.
pub struct Merge {
    chains: Vec<Chain>,
    walk: Walk,
    reverse: bool,
    read_bytes: usize,
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
            Chain { parts, cursor: None }
        };
        Merge { chains: sources.into_iter().map(chain).collect(), walk, reverse, read_bytes }
    }

    /// Reads until every source has its next entry at hand; to be called before each [`Merge::next`].
    pub async fn fill(&mut self) -> Result<(), LoadError> {
        for chain in &mut self.chains {
            chain.fill(&self.walk, self.reverse, self.read_bytes).await?;
        }
        Ok(())
    }

    /// The source with the next entry.
    fn next_source(&self) -> Option<usize> {
        let mut best: Option<(usize, At<'_>)> = None;
        for (index, chain) in self.chains.iter().enumerate() {
            let Some(place) = chain.place() else { continue };
            let before = match best {
                None => true,
                Some((_, other)) if self.reverse => place.cmp(&other) == Ordering::Greater,
                Some((_, other)) => place.cmp(&other) == Ordering::Less,
            };
            if before {
                best = Some((index, place));
            }
        }
        best.map(|(index, _)| index)
    }

    /// The next entry and its collection, where it comes from among the sources; `None` at the end.
    pub fn next(&self) -> Option<Next<'_>> {
        let source = self.next_source()?;
        let cursor = self.chains[source].cursor.as_ref()?;
        let (collection, _, _) = cursor.place()?;
        Some(Next { source, collection, entry: cursor.head()?, part: cursor.part() })
    }

    /// Goes on behind the entry that `next` gave, in all sources; true when one of them has to be read now.
    pub fn advance(&mut self, source: usize) -> bool {
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
        chain.advance() || empty
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

    /// True when nothing is at hand behind.
    fn advance(&mut self) -> bool {
        if let Some(cursor) = &mut self.cursor {
            cursor.advance();
        }
        self.place().is_none()
    }

    async fn fill(&mut self, walk: &Walk, reverse: bool, read_bytes: usize) -> Result<(), LoadError> {
        loop {
            if let Some(cursor) = &mut self.cursor {
                cursor.fill().await?;
                if cursor.place().is_some() {
                    return Ok(());
                }
                self.cursor = None;
            }
            let Some(part) = self.parts.pop_front() else { return Ok(()) };
            self.cursor = Some(Cursor::open(&part, walk, reverse, read_bytes).await?);
        }
    }
}
