//! Requests that were carried out before: known by their receipts, and answered as they were then.
//!
//! Invariant: an answer that is given again has reached what it says, as the first one had.
//! Invariant: no answer, a refusal included, tells of a write that is not visible yet.
//!
//! Must not know: files, clocks, tasks.

use super::clock::wall_of;
use super::engine::{Engine, Ticket};
use super::receipts::{self, Receipt};
use super::record::{Durability, Refusal, Write, Written};
use crate::io::buf::round_up_to_block;
use crate::io::log;
use crate::limits;
use crate::types::{Epoch, Lsn, TabletId, Token, WallMs};

/// Of the head of a block, at most.
const BLOCK_HEAD_BYTES: usize = 256;

/// A request that was carried out, and waits for as much as it asks for.
pub struct Recalled {
    /// The record of the log that tells of it.
    since: Lsn,
    durability: Durability,
    pub ticket: Ticket,
    written: Written,
}

/// How far a seal came with receipts that are to be logged again.
pub enum Kept {
    /// Go on below this one; they stand in this record, if there were any.
    Down((WallMs, Token), Option<Lsn>),
    End,
}

impl Receipt {
    /// Of a record in the log.
    pub fn of(meta: &log::Meta, once: log::Once, lsn: Lsn) -> Receipt {
        Receipt {
            fingerprint: once.fingerprint,
            lsn,
            seq: meta.seq,
            created: meta.created,
            at: wall_of(meta.commit_ts),
            collection: meta.collection,
            since: lsn,
            logged: lsn,
        }
    }
}

impl Engine {
    /// True when the request was carried out before: it will be answered as it was then.
    pub(super) fn recall(
        &mut self,
        id: TabletId,
        write: &Write,
        epoch: Epoch,
        now: WallMs,
        ticket: Ticket,
    ) -> Result<bool, Refusal> {
        self.check_log()?;
        let Some(once) = &write.once else { return Ok(false) };
        let tablet = self.tablets.get(id).ok_or(Refusal::Moved)?;
        if !tablet.takes_by(epoch) || !tablet.serves(&write.key) {
            return Err(Refusal::Moved);
        }
        let Some(receipt) = self.receipts.of(once.token, now) else {
            return if once.asks_only { Err(Refusal::Absent) } else { Ok(false) };
        };
        if receipt.fingerprint != once.fingerprint {
            return match receipt.since > self.applied {
                true => self.refuse_later(ticket, Refusal::OtherRequest).map(|()| true),
                false => Err(Refusal::OtherRequest),
            };
        }
        let Receipt { lsn, seq, created, since, .. } = receipt;
        let written = Written { lsn, seq, created, reached: self.reached(since), replayed: true };
        self.recalled.push(Recalled { since, durability: write.durability, ticket, written });
        self.settle_recalled();
        Ok(true)
    }

    pub(super) fn settle_recalled(&mut self) {
        if self.recalled.is_empty() {
            return;
        }
        for recalled in std::mem::take(&mut self.recalled) {
            let reached = self.reached(recalled.since);
            if recalled.since <= self.applied && reached >= recalled.durability {
                self.settled.push((recalled.ticket, Ok(Written { reached, ..recalled.written })));
            } else {
                self.recalled.push(recalled);
            }
        }
    }

    /// Logs a piece of the receipts that no record behind `covered` tells of, from the newest down. What finds no
    /// room on a full disk is forgotten: a seal that waited for room would keep the log that is to give it.
    pub fn keep_receipts(&mut self, covered: Lsn, before: Option<(WallMs, Token)>) -> Kept {
        let (entries, last) = self.receipts.only_up_to(covered, before);
        let Some(last) = last else { return Kept::End };
        if entries.is_empty() {
            return Kept::Down(last, None);
        }
        let payload = receipts::encode(&entries);
        let bytes = round_up_to_block(payload.len() + limits::LOG_RECORD_BYTES_MIN + BLOCK_HEAD_BYTES);
        if let Some(reserve) = &mut self.disk_full {
            if *reserve / 2 < bytes {
                tracing::warn!(shard = %self.shard, count = entries.len(), "no room for receipts: forgotten");
                self.receipts.forget(&entries);
                return Kept::Down(last, None);
            }
            *reserve -= bytes;
        }
        let lsn = self.log_receipts(&payload, Durability::Memory, None);
        self.receipts.note_logged(&entries, lsn);
        self.counters.receipt_log_bytes += bytes as u64;
        Kept::Down(last, Some(lsn))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::io::sim::{Sim, SimConfig};
    use crate::shard::core::Core;
    use crate::shard::key::Key;
    use crate::shard::mailbox::mailboxes;
    use crate::shard::message::WriteResult;
    use crate::shard::node::Node;
    use crate::shard::options::ShardOptions;
    use crate::shard::payload::{Payload, TEXT};
    use crate::shard::record::{Change, Condition, Once};
    use crate::shard::{boot, checkpoint};

    /// Runs `test` on a node of one shard.
    fn on_a_node(test: impl AsyncFnOnce(Node, Rc<Core>) + 'static) {
        let mut sim = Sim::new(1, SimConfig::cores(1));
        let mailbox = mailboxes(1).pop().expect("one mailbox for one shard");
        let node = boot::launch(sim.executor(0), mailbox, ShardOptions::new("/"));
        let ran = sim.run(async move {
            node.started().await.expect("a new node starts");
            let core = node.core().expect("it serves").clone();
            test(node, core).await;
        });
        ran.unwrap_or_else(|stuck| panic!("{stuck}"));
    }

    fn put(number: u64) -> Write {
        let mut token = [0; 16];
        token[..8].copy_from_slice(&number.to_le_bytes());
        Write {
            key: Key::from_u64(number),
            change: Change::Put { payload: Payload::new(TEXT, b"x"), expires: None },
            condition: Condition::None,
            durability: Durability::Fsync,
            once: Some(Box::new(Once { token: Token(token), fingerprint: number, asks_only: false })),
        }
    }

    async fn send(node: &Node, write: Write) -> WriteResult {
        let collection = node.collection("default").expect("exists from the start");
        node.write(&collection, write).get().await
    }

    #[test]
    fn another_request_of_the_name_waits_for_the_first_to_be_visible() {
        on_a_node(async |node, core| {
            let collection = node.collection("default").expect("exists from the start");
            let first = node.write(&collection, put(1));
            let once = Once { fingerprint: 9, ..**put(1).once.as_ref().expect("named") };
            let other = node.write(&collection, Write { once: Some(Box::new(once)), ..put(1) });
            assert!(core.engine.borrow().applied() < core.engine.borrow().log.next_lsn());
            assert_eq!(other.get().await, Err(Refusal::OtherRequest));
            assert!(
                core.engine
                    .borrow()
                    .receipts
                    .of(once.token, WallMs(0))
                    .is_some_and(|r| r.since <= core.engine.borrow().applied())
            );
            assert!(first.get().await.is_ok_and(|written| !written.replayed));
        });
    }

    #[test]
    fn who_only_asks_changes_nothing() {
        on_a_node(async |node, _| {
            let asks = || {
                let once = Once { asks_only: true, ..**put(1).once.as_ref().expect("named") };
                Write { change: Change::Delete, once: Some(Box::new(once)), ..put(1) }
            };
            assert_eq!(send(&node, asks()).await, Err(Refusal::Absent));
            let written = send(&node, put(1)).await.expect("taken");
            let told = send(&node, asks()).await.expect("carried out before");
            assert_eq!(told, Written { replayed: true, ..written });
            assert!(send(&node, put(1)).await.expect("it is there still").replayed);
        });
    }

    /// On a full disk a seal must not wait for room in the log, which only it can give.
    #[test]
    fn receipts_that_find_no_room_are_forgotten() {
        on_a_node(async |node, core| {
            let written = send(&node, put(1)).await.expect("taken");
            checkpoint::request(&node).await.expect("seals");
            assert_eq!(send(&node, put(1)).await, Ok(Written { replayed: true, ..written }));
            core.engine.borrow_mut().set_disk_full(Some(limits::MIB));
            checkpoint::request(&node).await.expect("seals");
            // It takes no room, so it is answered.
            assert_eq!(send(&node, put(1)).await, Ok(Written { replayed: true, ..written }));
            core.engine.borrow_mut().set_disk_full(Some(1000));
            let logged = core.engine.borrow().counters().log_records;
            let covered = core.engine.borrow().applied();
            let kept = core.engine.borrow_mut().keep_receipts(covered, None);
            assert!(matches!(kept, Kept::Down(_, None)));
            assert!(core.engine.borrow().receipts.is_empty());
            assert_eq!(core.engine.borrow().counters().log_records, logged);
            assert_eq!(send(&node, put(1)).await, Err(Refusal::DiskFull));
        });
    }
}
