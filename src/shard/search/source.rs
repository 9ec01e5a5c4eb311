//! What a search looks at, step by step: a part of the core's own, or a shared one; and what of it does not count.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::contents::Contents;
use super::part::Part;
use super::sealed::{PartId, Sealed};
use crate::types::WallMs;
use crate::vector::allowed::Ordinals;
use crate::vector::search::View;

enum Source {
    Own(Rc<RefCell<Part>>),
    Shared(Arc<Sealed>),
}

/// A part, and what was deleted of it when the search began. What is deleted or replaced meanwhile is found all the same,
/// and known to be outdated when it is read: passed over, its new version might be in a part that was searched already.
pub struct Begun {
    source: Source,
    pub hidden: Ordinals,
}

impl Begun {
    pub fn own(part: Rc<RefCell<Part>>) -> Begun {
        let hidden = part.borrow().deleted().clone();
        Begun { source: Source::Own(part), hidden }
    }

    pub fn shared(part: Arc<Sealed>, hidden: Ordinals) -> Begun {
        Begun { source: Source::Shared(part), hidden }
    }

    /// Documents whose time is over do not count from that moment on: their deletion comes a little later.
    #[must_use]
    pub fn at(mut self, now: WallMs) -> Begun {
        let expired: Vec<u32> = match &self.source {
            Source::Own(part) => part.borrow().contents().expired(now).collect(),
            Source::Shared(part) => part.expired(now),
        };
        for ordinal in expired {
            self.hidden.insert(ordinal);
        }
        self
    }

    pub fn as_shared(&self) -> Option<&Arc<Sealed>> {
        match &self.source {
            Source::Own(_) => None,
            Source::Shared(part) => Some(part),
        }
    }

    /// Of a shared part.
    pub fn id(&self) -> Option<PartId> {
        self.as_shared().map(|part| part.id)
    }

    pub fn read<T>(&self, look: impl FnOnce(&Contents) -> T) -> T {
        match &self.source {
            Source::Own(part) => look(part.borrow().contents()),
            Source::Shared(part) => look(part.contents()),
        }
    }

    /// Calls `look` with what a search looks at; `None` for documents without embeddings.
    pub fn viewed<T>(&self, allowed: Option<&Ordinals>, look: impl FnOnce(View<'_>) -> T) -> Option<T> {
        match &self.source {
            Source::Own(part) => part.borrow().viewed(allowed, &self.hidden, look),
            Source::Shared(part) => part.viewed(allowed, &self.hidden, look),
        }
    }

    /// The beam that a search for so many needs.
    pub fn width_for(&self, limit: usize) -> usize {
        match &self.source {
            Source::Own(part) => part.borrow().width_for(limit),
            Source::Shared(part) => part.graph().width_for(limit),
        }
    }

    pub fn is_sealed(&self) -> bool {
        self.as_shared().is_some()
    }
}
