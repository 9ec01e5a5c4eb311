//! What the runs have of the keys of many writes: asked together, before the first of the writes is judged.
//!
//! Alone, each write of a key that is at rest waits for memory at every level. The order of the writes does not
//! matter here: what they replace of each other is in the delta or staged, which counts first.
//!
//! Must not know: files, tasks.

use super::engine::Engine;
use super::key::Key;
use super::record::Write;
use super::store::{Before, ColdRead};
use super::transfer::Cargo;
use crate::types::{CollectionId, TabletId};

/// Fewer writes are asked about one by one, and only if it has to be.
const WRITES_MIN: usize = 4;

impl Engine {
    /// `None` where it is not known, or was not asked: the write asks for itself then. True as long as the runs
    /// stay what they are.
    pub fn before_many(&self, writes: &[(TabletId, Write)]) -> Vec<Option<Before>> {
        let mut before = vec![None; writes.len()];
        if writes.len() < WRITES_MIN || self.store.levels().is_empty() {
            return before;
        }
        let mut order: Vec<usize> = (0..writes.len()).collect();
        let place = |at: usize| (writes[at].0, &writes[at].1.key);
        order.sort_unstable_by(|a, b| place(*a).cmp(&place(*b)));
        for stretch in order.chunk_by(|a, b| writes[*a].0 == writes[*b].0) {
            let id = writes[stretch[0]].0;
            let Some(collection) = self.tablets.get(id).map(|tablet| tablet.collection) else { continue };
            let keys: Vec<&Key> = stretch.iter().map(|at| &writes[*at].1.key).collect();
            let known = self.store.before_batch(collection, id, &keys);
            stretch.iter().zip(known).for_each(|(at, known)| before[*at] = known);
        }
        before
    }

    /// What arriving records would replace, which ascend; a read when only a run can tell.
    pub fn before_arrivals(
        &self,
        id: TabletId,
        collection: CollectionId,
        arrivals: &[Cargo],
    ) -> Vec<Result<Before, ColdRead>> {
        let keys: Vec<&Key> = arrivals.iter().map(|cargo| &cargo.key).collect();
        let at_rest = self.store.before_batch(collection, id, &keys);
        let tablet = self.tablets.get(id);
        let known = |(key, at_rest): (&Key, Option<Before>)| {
            let in_memory = tablet.and_then(|tablet| tablet.before(key));
            in_memory.or(at_rest).ok_or_else(|| self.store.cold_read(collection, id, key))
        };
        keys.into_iter().zip(at_rest).map(known).collect()
    }
}
