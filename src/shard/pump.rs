//! The pump: carries the log from the engine to the disk, block by block.
//!
//! One a shard, in the foreground. It takes a block when the disk has room for it, so that everything
//! that arrived meanwhile goes into the next one (group commit). Up to four blocks are in flight; they
//! may complete in any order, and the engine acknowledges in the order of the log. A task beside it does
//! that, a stretch at a time: the pump may have to wait for the next segment, and answers do not. Behind a block
//! it pauses for as long as compaction needs ([`super::pace`]).

use std::rc::Rc;

use super::core::Core;
use super::engine::OutgoingBlock;
use crate::io::executor::Class;
use crate::io::op::Sync;

/// Runs for as long as the shard.
pub async fn pump(core: Rc<Core>) {
    core.runtime.spawn(Class::Foreground, keep_settling(core.clone()));
    loop {
        let work = core.log_work.wait();
        let next = core.engine.borrow_mut().next_block();
        match next {
            Some(block) => {
                let bytes = block.block.buf.len();
                hand_over(&core, block).await;
                core.pace.pause(&core.runtime, bytes).await;
            }
            None => work.await,
        }
    }
}

/// Applies and answers what a completed block leaves over.
async fn keep_settling(core: Rc<Core>) {
    loop {
        let work = core.settle_work.wait();
        if core.engine.borrow_mut().settle_more() {
            core.deliver();
            // Also for what has nobody that waits for its answer.
            core.progress.notify();
            core.runtime.yield_now().await;
        } else {
            work.await;
        }
    }
}

/// Submits the block; its completion is handled by a task of its own.
async fn hand_over(core: &Rc<Core>, outgoing: OutgoingBlock) {
    let OutgoingBlock { number, block } = outgoing;
    core.segments.note_block(block.segment, block.begun_lsn);
    if block.starts_segment {
        core.segment_begun.notify();
    }
    let file = core.segments.file(block.segment).await;
    let write = file.write(block.offset, block.buf, Sync::Data);
    core.engine.borrow_mut().block_handed(block.last_lsn);
    core.settle_work.notify();
    core.deliver();
    let handed = core.runtime.turn_start();
    let core = core.clone();
    core.runtime.clone().spawn(Class::Foreground, async move {
        let written = write.await;
        drop(file);
        complete(&core, number, written, handed);
    });
}

fn complete(
    core: &Core,
    number: u64,
    written: std::io::Result<crate::io::buf::AlignedBuf>,
    handed: crate::types::Mono,
) {
    core.numbers.borrow_mut().commit_latency.observe(core.runtime.turn_start().since(handed));
    let ok = written.is_ok();
    match written {
        Ok(buf) => core.engine.borrow_mut().reuse(buf),
        Err(error) => tracing::error!(%error, "a log write failed; the shard takes no more writes"),
    }
    core.engine.borrow_mut().block_written(number, ok);
    core.deliver();
    core.progress.notify();
    core.settle_work.notify();
    core.log_work.notify();
    if core.checkpoint_is_due() {
        core.checkpoint_wanted.notify();
    }
}
