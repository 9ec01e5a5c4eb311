//! Many keys of a collection: grouped by owner, each owner's part answered as a whole.
//!
//! Keys that are all of this core are looked up before the call returns; when memory has all of them, no
//! task is begun. Otherwise what memory cannot answer is read side by side, and other cores are called. A part
//! that was asked at the wrong core is asked again key by key, by the map in force then.
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
use super::record::{Found, Refusal};
use super::staged::LookedMany;
use crate::limits;
use crate::types::TabletId;

type One = Result<Option<Found>, Refusal>;
type Many = Result<Vec<Option<Found>>, Refusal>;

impl Node {
    /// As `get` for many keys, in their order.
    pub fn get_many(&self, collection: &Arc<Collection>, keys: Vec<Key>) -> Answer<Many> {
        if keys.len() <= limits::GET_MANY_STRETCH_KEYS
            && let Some((core, looked)) = self.look_at_all_here(collection, &keys)
        {
            return match looked {
                Ok(looked) if looked.cold.is_empty() => Answer::Now(Ok(looked.found)),
                Ok(looked) => self.later(async move { core.finish_many(looked).await }),
                Err(refusal) => Answer::Now(Err(refusal)),
            };
        }
        let (node, collection) = (self.clone(), collection.clone());
        self.later(async move {
            let mut found = Vec::with_capacity(keys.len());
            for stretch in keys.chunks(limits::GET_MANY_STRETCH_KEYS) {
                found.extend(node.get_stretch(&node.in_force(&collection), stretch).await?);
                node.runtime().yield_now().await;
            }
            Ok(found)
        })
    }

    /// Each as by `get`, those of this core looked up together: for requests that came together.
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
            answer.unwrap_or_else(|| self.get(collection, key))
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
            answers[place] = self.later(async move { found_at(core.read_cold(read).await, now) });
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

    async fn get_stretch(&self, collection: &Arc<Collection>, keys: &[Key]) -> Many {
        let mut groups: Groups<Key> = BTreeMap::new();
        for (place, key) in keys.iter().enumerate() {
            let tablet = collection.tablet_of(key);
            let (places, items) = groups.entry(tablet.owner).or_default();
            places.push(place);
            items.push((tablet.id, key.clone()));
        }
        let sent: Vec<_> = groups
            .into_iter()
            .map(|(owner, (places, items))| (places, self.call(owner, Request::GetMany { items })))
            .collect();
        let mut found = vec![None; keys.len()];
        for (places, reply) in sent {
            let part = match reply.await {
                Reply::GetMany(Ok(part)) => part,
                Reply::GetMany(Err(Refusal::Moved)) => self.get_one_by_one(collection, keys, &places).await?,
                Reply::GetMany(Err(refusal)) | Reply::Done(Err(refusal)) => return Err(refusal),
                other => unreachable!("a read answered with {other:?}"),
            };
            for (place, record) in places.into_iter().zip(part) {
                found[place] = record;
            }
        }
        Ok(found)
    }

    async fn get_one_by_one(&self, collection: &Arc<Collection>, keys: &[Key], places: &[usize]) -> Many {
        let mut found = Vec::with_capacity(places.len());
        for place in places {
            found.push(self.get_again(collection.clone(), keys[*place].clone()).await?);
        }
        Ok(found)
    }
}

impl Core {
    /// Looks up keys of this core's tablets.
    pub(super) fn look_at_many(&self, items: &[(TabletId, Key)]) -> Result<LookedMany, Refusal> {
        let items: Vec<_> = items.iter().map(|(tablet, key)| (*tablet, key)).collect();
        self.engine.borrow_mut().get_many(&items, self.runtime.wall())
    }

    /// Reads what memory did not have.
    pub(super) async fn finish_many(&self, looked: LookedMany) -> Many {
        let LookedMany { mut found, cold, now } = looked;
        let (places, reads): (Vec<_>, Vec<_>) = cold.into_iter().unzip();
        for (place, version) in places.into_iter().zip(self.read_cold_batch(&reads).await?) {
            found[place] = version.and_then(|version| version.found(now));
        }
        Ok(found)
    }
}
