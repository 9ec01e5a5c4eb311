//! Many keys of a collection: grouped by owner, each owner's part answered as a whole.
//!
//! Keys that are all of this core are looked up before the call returns; when memory has all of them, no
//! task is begun. Otherwise what memory cannot answer is read side by side, and other cores are called. The first
//! key of a part that was asked at the wrong core is asked again, by the map in force then.
//!
//! Invariant: the values that are read and kept for one call take [`limits::GET_MANY_BYTES_MAX`], or are one. So an
//! answer may be to the first of the keys only, and owners answer for the first of theirs, within shares of the room.
//!
//! Must not know: how an engine looks up.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::catalogue::{Collection, Tablet};
use super::core::Core;
use super::key::Key;
use super::message::{Reply, Request};
use super::node::{Answer, Groups, Node, found_at};
use super::record::{Found, Reading, Refusal, ValueRoom};
use super::staged::{LookedMany, value_bytes};
use super::store::Stored;
use crate::limits;
use crate::types::TabletId;

type One = Result<Option<Found>, Refusal>;
type Many = Result<Vec<Option<Found>>, Refusal>;

impl Node {
    /// As `get` for many keys, in their order: for the first of them, as many as have room, at least one.
    pub fn get_first(&self, collection: &Arc<Collection>, keys: &[Key]) -> Answer<Many> {
        if keys.len() <= limits::GET_MANY_STRETCH_KEYS
            && let Some((core, looked)) = self.look_at_all_here(collection, keys)
        {
            return match looked {
                Ok(looked) if looked.cold.is_empty() => Answer::Now(Ok(looked.into_fitting(ROOM))),
                Ok(looked) => self.later(async move { core.finish_many(looked, ROOM).await }),
                Err(refusal) => Answer::Now(Err(refusal)),
            };
        }
        let (node, collection, keys) = (self.clone(), collection.clone(), keys.to_vec());
        self.later(async move { node.get_stretches(&collection, &keys).await })
    }

    async fn get_stretches(&self, collection: &Arc<Collection>, keys: &[Key]) -> Many {
        let (mut found, mut room) = (Vec::with_capacity(keys.len()), ROOM);
        for stretch in keys.chunks(limits::GET_MANY_STRETCH_KEYS) {
            let part = self.get_stretch(&self.in_force(collection), stretch, room).await?;
            let is_whole = part.len() == stretch.len();
            let bytes = part.iter().map(value_bytes).sum();
            room = ValueRoom { bytes: room.bytes.saturating_sub(bytes), takes_first: false };
            found.extend(part);
            if !is_whole || room.bytes == 0 {
                break;
            }
            self.runtime().yield_now().await;
        }
        Ok(found)
    }

    /// As `get` for all of these keys, whatever their values take: for who knows that.
    pub fn get_many(&self, collection: &Arc<Collection>, keys: Vec<Key>) -> Answer<Many> {
        let mut first = match self.get_first(collection, &keys) {
            Answer::Now(Ok(found)) if found.len() < keys.len() => Answer::Now(Ok(found)),
            Answer::Now(found) => return Answer::Now(found),
            later => later,
        };
        let (node, collection) = (self.clone(), collection.clone());
        self.later(async move {
            let mut found = Vec::with_capacity(keys.len());
            loop {
                found.extend(first.get().await?);
                if found.len() == keys.len() {
                    return Ok(found);
                }
                first = node.get_first(&collection, &keys[found.len()..]);
            }
        })
    }

    /// Each as by `get_ahead`, those of this core looked up together: for requests that came together.
    pub fn get_each<'a>(
        &self,
        collection: &Arc<Collection>,
        keys: impl ExactSizeIterator<Item = &'a Key>,
    ) -> Vec<Answer<One>> {
        let keys: Vec<_> = keys.map(|key| (collection.tablet_of(key), key)).collect();
        let is_here = |tablet: &Tablet| tablet.owner == self.shard();
        let own = keys.iter().filter(|(tablet, _)| is_here(tablet)).map(|(tablet, key)| (tablet.id, *key));
        let here = self.look_at_those_here(own.collect());
        let mut here = here.into_iter().flatten();
        let answer_to = |(tablet, key): &(&Tablet, &Key)| {
            let answer = is_here(tablet).then(|| here.next()).flatten();
            answer.unwrap_or_else(|| self.get_ahead(collection, key))
        };
        keys.iter().map(answer_to).collect()
    }

    /// Keys that are this core's; `None` when one of them is no more.
    fn look_at_those_here(&self, items: Vec<(TabletId, &Key)>) -> Option<Vec<Answer<One>>> {
        let core = self.core().ok()?;
        let looked = core.engine.borrow_mut().get_many(&items, self.runtime().wall()).ok()?;
        let mut answers: Vec<_> = looked.found.into_iter().map(|found| Answer::Now(Ok(found))).collect();
        for (place, read) in looked.cold {
            let (core, now) = (core.clone(), looked.now);
            let found = async move { found_at(core.read_cold(read, Reading::Ahead).await, now) };
            answers[place] = self.later(found);
        }
        Some(answers)
    }

    /// `None` when some of the keys are not this core's, or are no more.
    fn look_at_all_here(
        &self,
        collection: &Collection,
        keys: &[Key],
    ) -> Option<(Rc<Core>, Result<LookedMany, Refusal>)> {
        let core = self.core().ok()?;
        let mut items = Vec::with_capacity(keys.len());
        for key in keys {
            let tablet = collection.tablet_of(key);
            if tablet.owner != self.shard() {
                return None;
            }
            items.push((tablet.id, key));
        }
        let looked = core.engine.borrow_mut().get_many(&items, self.runtime().wall());
        match looked {
            Err(Refusal::Moved) => None,
            looked => Some((core.clone(), looked)),
        }
    }

    /// Of the first of these keys: as far as all owners have answered within their shares of the room.
    async fn get_stretch(&self, collection: &Arc<Collection>, keys: &[Key], room: ValueRoom) -> Many {
        let mut groups: Groups<Key> = BTreeMap::new();
        for (place, key) in keys.iter().enumerate() {
            let tablet = collection.tablet_of(key);
            let (places, items) = groups.entry(tablet.owner).or_default();
            places.push(place);
            items.push((tablet.id, key.clone()));
        }
        let bytes = room.bytes / groups.len();
        let ask = |(owner, (places, items)): (_, (Vec<usize>, _))| {
            let room = ValueRoom { bytes, takes_first: room.takes_first && places[0] == 0 };
            (places, room, self.call(owner, Request::GetMany { items, room }))
        };
        let sent: Vec<_> = groups.into_iter().map(ask).collect();
        let (mut found, mut answered) = (vec![None; keys.len()], keys.len());
        for (places, room, reply) in sent {
            let part = match reply.await {
                Reply::GetMany(Ok(part)) => part,
                Reply::GetMany(Err(Refusal::Moved)) => {
                    self.get_moved(collection, &keys[places[0]], room).await?
                }
                Reply::GetMany(Err(refusal)) | Reply::Done(Err(refusal)) => return Err(refusal),
                other => unreachable!("a read answered with {other:?}"),
            };
            answered = answered.min(places.get(part.len()).copied().unwrap_or(answered));
            for (place, record) in places.into_iter().zip(part) {
                found[place] = record;
            }
        }
        found.truncate(answered);
        Ok(found)
    }

    /// The first of keys that were not where the map said, when it has room whatever it is: the others are asked for
    /// by the next map.
    async fn get_moved(&self, collection: &Arc<Collection>, first: &Key, room: ValueRoom) -> Many {
        match room.takes_first {
            true => Ok(vec![self.get_again(collection.clone(), first.clone(), Reading::Whole).await?]),
            false => Ok(Vec::new()),
        }
    }
}

const ROOM: ValueRoom = ValueRoom { bytes: limits::GET_MANY_BYTES_MAX, takes_first: true };

impl Core {
    /// Looks up keys of this core's tablets.
    pub(super) fn look_at_many(&self, items: &[(TabletId, Key)]) -> Result<LookedMany, Refusal> {
        let items: Vec<_> = items.iter().map(|(tablet, key)| (*tablet, key)).collect();
        self.engine.borrow_mut().get_many(&items, self.runtime.wall())
    }

    /// Reads what memory did not have; gives as many as have room. Equal keys have one value.
    pub(super) async fn finish_many(&self, looked: LookedMany, room: ValueRoom) -> Many {
        let LookedMany { mut found, cold, now } = looked;
        let (places, reads): (Vec<_>, Vec<_>) = cold.into_iter().unzip();
        let stored = self.look_up_cold(&reads).await?;
        let mut lens: Vec<usize> = found.iter().map(value_bytes).collect();
        for (at, place) in places.iter().enumerate() {
            lens[*place] = bytes_of(&stored, at);
        }
        found.truncate(room.count_fitting(lens.into_iter()));
        let fitting =
            places.into_iter().zip(reads).zip(stored).filter(|((place, _), _)| *place < found.len());
        let ((places, reads), stored): ((Vec<_>, Vec<_>), Vec<_>) = fitting.unzip();
        for (place, version) in places.into_iter().zip(self.fetch_cold(&reads, stored).await?) {
            found[place] = version.and_then(|version| version.found(now));
        }
        Ok(found)
    }
}

/// Of one of these versions; nothing for a value that lies apart and was there before. Equal keys are beside one
/// another, the first place first.
fn bytes_of(stored: &[Option<Stored>], at: usize) -> usize {
    let Some(own) = &stored[at] else { return 0 };
    let before = at.checked_sub(1).and_then(|before| stored[before].as_ref());
    if before.is_some_and(|before| own.is_value_of(before)) { 0 } else { own.value_bytes() }
}
