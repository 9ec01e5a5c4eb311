//! Point reads in memory: the delta, then warm values, then what is resident of the runs.
//!
//! Many keys are looked up together: those that are neither in the delta nor warm go through the indexes
//! of the runs as a batch, in order of keys. What has to be read from a file comes out as a [`ColdRead`].
//!
//! Invariant: one key or many, the answers are those of one moment.
//!
//! Must not know: files, tasks.

use super::delta::Version;
use super::engine::Engine;
use super::key::Key;
use super::record::Refusal;
use super::staged::{Looked, LookedMany};
use super::store::ColdRead;
use crate::types::{TabletId, WallMs};

impl Engine {
    pub fn get(&mut self, id: TabletId, key: &Key, wall: WallMs) -> Result<Looked, Refusal> {
        let now = self.now(wall);
        self.note_gets(1);
        let tablet = self.tablets.get_mut(id).filter(|tablet| tablet.serves(key)).ok_or(Refusal::Moved)?;
        tablet.heat.reads.note(key);
        if let Some(version) = tablet.delta.get(key) {
            return Ok(Looked::Found(version.found(now)));
        }
        if let Some(version) = self.store.warm_value(id, key) {
            let found = version.found(now);
            self.store.hits += 1;
            return Ok(Looked::Found(found));
        }
        let read = self.store.look(tablet.collection, id, key);
        Ok(read.map_or(Looked::Found(None), |read| Looked::Cold(read, now)))
    }

    /// As `get` of each; refused as a whole when one is not served here.
    pub fn get_many(&mut self, items: &[(TabletId, &Key)], wall: WallMs) -> Result<LookedMany, Refusal> {
        let now = self.now(wall);
        self.note_gets(items.len() as u64);
        let (known, warm) = self.known(items)?;
        touch(&known);
        let open: Vec<usize> = (0..items.len()).filter(|place| known[*place].is_none()).collect();
        let found = known.into_iter().map(|version| version?.found(now)).collect();
        self.store.hits += warm;
        for own in by_tablet(items) {
            let tablet = self.tablets.get_mut(own[0].0).expect("looked up before");
            own.iter().for_each(|(_, key)| tablet.heat.reads.note(key));
        }
        Ok(LookedMany { found, cold: self.look_at_rest(items, open), now })
    }

    /// What the delta has, or else is warm; and how many of these are warm.
    fn known(&self, items: &[(TabletId, &Key)]) -> Result<(Vec<Option<&Version>>, u64), Refusal> {
        let mut warm = 0;
        let mut known = Vec::with_capacity(items.len());
        for own in by_tablet(items) {
            let tablet = self.tablets.get(own[0].0).ok_or(Refusal::Moved)?;
            for (id, key) in own {
                if !tablet.serves(key) {
                    return Err(Refusal::Moved);
                }
                let written = tablet.delta.get(key);
                known.push(written.or_else(|| self.store.warm_value(*id, key).inspect(|_| warm += 1)));
            }
        }
        Ok((known, warm))
    }

    /// What the runs may have of keys at these places.
    fn look_at_rest(&mut self, items: &[(TabletId, &Key)], mut open: Vec<usize>) -> Vec<(usize, ColdRead)> {
        let mut cold = Vec::new();
        // Equal keys in the order of their places.
        open.sort_unstable_by(|a, b| items[*a].cmp(&items[*b]).then(a.cmp(b)));
        for places in open.chunk_by(|a, b| items[*a].0 == items[*b].0) {
            let reads = self.look_batch(items, places);
            cold.extend(places.iter().zip(reads).filter_map(|(place, read)| Some((*place, read?))));
        }
        cold
    }

    /// What the runs have of keys of one tablet, which ascend.
    fn look_batch(&mut self, items: &[(TabletId, &Key)], places: &[usize]) -> Vec<Option<ColdRead>> {
        let id = items[places[0]].0;
        let collection = self.tablets.get(id).expect("looked up before").collection;
        let keys: Vec<&Key> = places.iter().map(|place| items[*place].1).collect();
        self.store.look_batch(collection, id, &keys)
    }
}

/// Asks for the memory of all payloads before the first of them is waited for: taking one ends in an atomic
/// increment, behind which nothing is asked for ahead.
fn touch(known: &[Option<&Version>]) {
    let ends = |version: &&Version| {
        let bytes = version.payload.as_ref()?.as_bytes();
        Some(bytes.first()? ^ bytes.last()?)
    };
    std::hint::black_box(known.iter().flatten().filter_map(ends).fold(0, |sum, byte| sum ^ byte));
}

/// Stretches of the same tablet.
fn by_tablet<'a, 'k>(items: &'a [(TabletId, &'k Key)]) -> impl Iterator<Item = &'a [(TabletId, &'k Key)]> {
    items.chunk_by(|(one, _), (other, _)| one == other)
}
