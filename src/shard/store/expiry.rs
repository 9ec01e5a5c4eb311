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
                core.engine.borrow_mut().expire_sealed(entry.tablet, &key_of(&entry), entry.seq);
            }
            Some(at) => first = first.min(at),
            None => {}
        }
        cursor.advance();
        slice.checkpoint().await;
    }
}
