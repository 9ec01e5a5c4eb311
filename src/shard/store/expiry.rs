//! Records in runs whose time is over: their deletion is logged, as that of any other record.
//!
//! The manifest knows of each part when the first of its records is over. From then on the part is read through,
//! and again after a while: what was deleted goes when a compaction brings the tombstone and the record together.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::cursor::{Cursor, Walk};
use super::part::{Part, key_of};
use crate::limits;
use crate::shard::core::Core;
use crate::shard::decisions::Kind;
use crate::shard::delta::NEVER;
use crate::shard::runs::LoadError;
use crate::types::{RunId, WallMs};

/// Looks for such parts as long as the shard lives.
pub async fn keep_expiring(core: Rc<Core>) {
    // When a part that was read through is looked at again.
    let mut later: BTreeMap<RunId, WallMs> = BTreeMap::new();
    loop {
        core.runtime.sleep(limits::SEALED_EXPIRY_PERIOD).await;
        let now = core.engine.borrow_mut().now(core.runtime.wall());
        let levels = core.engine.borrow().store.levels().clone();
        later.retain(|id, _| levels.iter().any(|part| part.meta.id == *id));
        let due = |part: &&Rc<Part>| *later.get(&part.meta.id).unwrap_or(&part.meta.first_expiry) <= now;
        let Some(part) = levels.iter().find(due).cloned() else { continue };
        drop(levels);
        core.decided(Kind::Expiry, "records_over");
        let pause = limits::SEALED_EXPIRY_PAUSE.as_millis() as u64;
        let next = match expire(&core, &part, now).await {
            Ok(first) => first.max(WallMs(now.0 + pause)),
            Err(error) => {
                core.note_damage(&error);
                WallMs(now.0 + pause)
            }
        };
        later.insert(part.meta.id, next);
    }
}

/// Logs the deletion of what is over in a part; gives when the first of the others will be.
async fn expire(core: &Core, part: &Rc<Part>, now: WallMs) -> Result<WallMs, LoadError> {
    let mut cursor = Cursor::open(part, Walk::All, limits::RUN_READ_BYTES).await?;
    let mut slice = core.runtime.slice();
    let mut first = NEVER;
    loop {
        cursor.fill().await?;
        let Some(entry) = cursor.head() else {
            core.deliver();
            return Ok(first);
        };
        match entry.expires {
            Some(at) if at <= now => {
                core.engine.borrow_mut().expire_sealed(part, entry.tablet, key_of(&entry), entry.seq);
            }
            Some(at) => first = first.min(at),
            None => {}
        }
        cursor.advance();
        slice.checkpoint().await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache::ValueCache;
    use super::*;
    use crate::io::sim::{Sim, SimConfig};
    use crate::shard::boot;
    use crate::shard::key::Key;
    use crate::shard::mailbox::mailboxes;
    use crate::shard::node::Node;
    use crate::shard::options::ShardOptions;
    use crate::shard::payload::{Payload, TEXT};
    use crate::shard::record::{Change, Condition, Durability, Expiry, Write};

    async fn put(node: &Node, key: u64, expires: Option<Expiry>) {
        let change = Change::Put { payload: Payload::new(TEXT, b"value"), expires };
        let (key, condition, durability) = (Key::from_u64(key), Condition::None, Durability::Fsync);
        let collection = node.collection("default").expect("exists from the start");
        let written =
            node.write(&collection, Write { key, change, condition, durability, once: None }).get().await;
        written.expect("the shard takes writes");
    }

    async fn is_there(node: &Node, key: u64) -> bool {
        let collection = node.collection("default").expect("exists from the start");
        node.get(&collection, &Key::from_u64(key)).get().await.expect("answered").is_some()
    }

    /// A merge takes the part that is walked away, and with it the newer version beside it: what is left is none of its.
    #[test]
    fn a_record_that_was_put_again_stays_when_its_old_part_is_merged_away() {
        let mut sim = Sim::new(1, SimConfig::cores(1));
        let mailbox = mailboxes(1).pop().expect("one mailbox for one shard");
        let node = boot::launch(sim.executor(0), mailbox, ShardOptions::new("/"));
        let ran = sim.run(async move {
            node.started().await.expect("a new node starts");
            let core = node.core().expect("it serves").clone();
            for key in [1, 2] {
                put(&node, key, Some(Expiry::In(60_000))).await;
            }
            node.checkpoint().await.expect("seals");
            let walked = core.engine.borrow().store.levels().iter().next().cloned().expect("a part");
            put(&node, 1, None).await;
            node.checkpoint().await.expect("seals");
            let now = WallMs(core.runtime.wall().0 + 120_000);
            node.compact().await.expect("merges");
            // What is warm is known better.
            core.engine.borrow_mut().store.cache = ValueCache::new(0);
            expire(&core, &walked, now).await.expect("readable");
            assert!(is_there(&node, 1).await, "it has no end any more");
            core.engine.borrow_mut().store.cache = ValueCache::new(0);
            let merged = core.engine.borrow().store.levels().iter().next().cloned().expect("a part");
            expire(&core, &merged, now).await.expect("readable");
            assert!(is_there(&node, 1).await && !is_there(&node, 2).await);
        });
        ran.unwrap_or_else(|stuck| panic!("{stuck}"));
    }
}
