//! The segment files of one shard's log: made ahead of the writer, recycled behind the checkpoints.
//!
//! A segment is a file of zeros (or of an older segment's blocks, which its new id makes void) that is
//! durable, entry and size included, before the first block goes into it: a log write then changes no
//! metadata. Two segments are kept ahead. When the second cannot be made the disk is full: puts are
//! refused, and the room that is left belongs to deletes and to the shard's own records.
//!
//! Invariant: a segment is given up only when every record that begins in it is covered by a run.
//! Invariant: a file that a snapshot has as well is never used again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::io::buf::AlignedBuf;
use crate::io::executor::sync::Signal;
use crate::io::log::{Made, segment_file_name};
use crate::io::op::{OpenMode, Sync};
use crate::io::runtime::{File, Runtime};
use crate::limits;
use crate::types::{FileOffset, Lsn, Mono, SegmentId};

const RETRY: Duration = Duration::from_millis(100);

pub struct Segments {
    runtime: Runtime,
    dir: PathBuf,
    segment_bytes: u64,
    /// Ready for blocks.
    files: RefCell<BTreeMap<SegmentId, Rc<File>>>,
    /// Segments with blocks in them: the LSN of the last record that begins there.
    live: RefCell<BTreeMap<SegmentId, Lsn>>,
    /// Files of given-up segments.
    spare: RefCell<Vec<SegmentId>>,
    /// Segments that a snapshot has a link to.
    linked: RefCell<BTreeSet<SegmentId>>,
    /// A snapshot is being made: it wants everything from here on.
    wanted: Cell<Option<SegmentId>>,
    /// The first segment of this life. Older files are removed, not used again: a write of the process
    /// that filled them may still be on its way, and their length may be another.
    born: SegmentId,
    current: Cell<SegmentId>,
    /// The last one that is there, durably.
    made: Cell<SegmentId>,
    /// When the current one was begun.
    begun_at: Cell<Mono>,
    starved: Cell<bool>,
    changed: Signal,
}

impl Segments {
    /// `live` are the segments to keep; `next` is the first id that no file has had.
    pub fn new(
        runtime: Runtime,
        dir: PathBuf,
        segment_bytes: usize,
        live: BTreeMap<SegmentId, Lsn>,
        next: SegmentId,
    ) -> Segments {
        let begun_at = Cell::new(runtime.now());
        Segments {
            runtime,
            dir,
            segment_bytes: segment_bytes as u64,
            files: RefCell::default(),
            live: RefCell::new(live),
            spare: RefCell::default(),
            linked: RefCell::default(),
            wanted: Cell::new(None),
            born: next,
            current: Cell::new(next),
            made: Cell::default(),
            begun_at,
            starved: Cell::new(false),
            changed: Signal::default(),
        }
    }

    /// The file of the segment, when it is ready.
    pub async fn file(&self, id: SegmentId) -> Rc<File> {
        loop {
            let changed = self.changed.wait();
            if let Some(file) = self.files.borrow().get(&id) {
                return file.clone();
            }
            changed.await;
        }
    }

    /// A block with a record that begins at `begun` goes into the segment.
    pub fn note_block(&self, id: SegmentId, begun: Lsn) {
        self.live.borrow_mut().insert(id, begun);
        if self.current.get() < id {
            self.current.set(id);
            self.begun_at.set(self.runtime.turn_start());
            // Files behind the writer stay open only as long as their writes are under way.
            self.files.borrow_mut().retain(|ready, _| *ready >= id);
            self.changed.notify();
        }
    }

    /// Whether the last attempt to make a segment failed for want of room.
    pub fn is_starved(&self) -> bool {
        self.starved.get()
    }

    /// What this life has made; the first of them was begun before it served anybody.
    pub fn made(&self) -> Made {
        Made { first: self.born, last: self.made.get() }
    }

    pub fn live_count(&self) -> usize {
        self.live.borrow().len()
    }

    pub fn bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The first segment that holds a record above `covered`.
    pub fn first_needed(&self, covered: Lsn) -> SegmentId {
        let live = self.live.borrow();
        live.iter().find(|(_, begun)| **begun > covered).map_or(self.current.get(), |(id, _)| *id)
    }

    /// Keeps every segment from `first` on for a snapshot, or none any more.
    pub fn keep_from(&self, first: Option<SegmentId>) {
        self.wanted.set(first);
    }

    /// Segments with log in them, from `first` on, that a snapshot links: they will not be used again.
    pub fn link_from(&self, first: SegmentId) -> Vec<SegmentId> {
        // The last one may still be waiting for its file.
        let (current, files) = (self.current.get(), self.files.borrow());
        let is_there = |id: &SegmentId| *id < current || files.contains_key(id);
        let live = self.live.borrow();
        let segments: Vec<_> = live.range(first..).map(|(id, _)| *id).filter(is_there).collect();
        self.linked.borrow_mut().extend(&segments);
        segments
    }

    /// Gives up every segment before `first`; the manifest must say so already.
    pub async fn trim(&self, first: SegmentId) {
        let first = self.wanted.get().map_or(first, |wanted| wanted.min(first));
        let gone: Vec<SegmentId> = self.live.borrow().range(..first).map(|(id, _)| *id).collect();
        for id in gone {
            self.live.borrow_mut().remove(&id);
            self.files.borrow_mut().remove(&id);
            let linked = self.linked.borrow_mut().remove(&id);
            let reusable = id >= self.born && !linked;
            let spare_bytes = (self.spare.borrow().len() as u64 + 1) * self.segment_bytes;
            if reusable && spare_bytes <= limits::LOG_SPARE_BYTES_MAX.max(2 * self.segment_bytes) {
                self.spare.borrow_mut().push(id);
            } else if let Err(error) = self.runtime.remove_file(self.path(id)).await {
                tracing::warn!(segment = %id, %error, "a trimmed log segment could not be removed");
            }
        }
        self.changed.notify();
    }

    /// No segment was begun for a while: what is written can wait for what writes leave behind.
    pub fn is_quiet(&self) -> bool {
        self.runtime.now() >= self.begun_at.get().after(limits::LOG_QUIET)
    }

    /// Removes a spare file, if any, of a log that is quiet: those that are ready are enough to begin with when writes
    /// come back.
    pub async fn give_up_spare(&self) {
        if !self.is_quiet() {
            return;
        }
        let spare = self.spare.borrow_mut().pop();
        if let Some(id) = spare
            && let Err(error) = self.runtime.remove_file(self.path(id)).await
        {
            tracing::warn!(segment = %id, %error, "a spare log segment could not be removed");
        }
    }

    /// Makes the first segment of this life; fails when there is no room for it.
    pub async fn make_first(&self) -> io::Result<()> {
        let file = self.make(self.born).await?;
        self.files.borrow_mut().insert(self.born, Rc::new(file));
        Ok(())
    }

    /// Keeps segments ready ahead of the writer, for ever. `witness` puts on record what was made, before it is used.
    pub async fn keep_ahead(self: Rc<Self>, witness: impl AsyncFn()) {
        loop {
            let changed = self.changed.wait();
            let Some(id) = self.first_missing() else {
                changed.await;
                continue;
            };
            match self.make(id).await {
                Ok(file) => {
                    witness().await;
                    self.files.borrow_mut().insert(id, Rc::new(file));
                    self.starved.set(false);
                    self.changed.notify();
                }
                Err(error) => {
                    if !self.starved.replace(true) {
                        tracing::warn!(segment = %id, %error, "no room for another log segment");
                    }
                    self.runtime.sleep(RETRY).await;
                }
            }
        }
    }

    fn first_missing(&self) -> Option<SegmentId> {
        let current = self.current.get();
        let files = self.files.borrow();
        (0..=limits::LOG_AHEAD_SEGMENTS as u64)
            .map(|n| SegmentId(current.0 + n))
            .find(|id| !files.contains_key(id))
    }

    async fn make(&self, id: SegmentId) -> io::Result<File> {
        let path = self.path(id);
        let spare = self.spare.borrow_mut().pop();
        if let Some(old) = spare {
            self.runtime.rename(self.path(old), path.clone()).await?;
        } else if let Err(error) = self.fill_with_zeros(&path, id > self.current.get()).await {
            // Half a segment is of no use, and its room may be the last.
            let _ = self.runtime.remove_file(path).await;
            return Err(error);
        }
        self.runtime.sync_dir(self.dir.clone()).await?;
        let file = self.runtime.open(path, OpenMode::ReadWrite).await?;
        self.made.set(id);
        Ok(file)
    }

    /// `paced`: nobody waits for it yet, so it leaves the disk to others half of the time.
    async fn fill_with_zeros(&self, path: &std::path::Path, paced: bool) -> io::Result<()> {
        let file = self.runtime.open(path, OpenMode::CreateNew).await?;
        let fill_bytes = if paced { limits::LOG_FILL_BYTES } else { limits::MIB };
        let mut zeros = AlignedBuf::zeroed(fill_bytes);
        let mut offset = 0;
        while offset < self.segment_bytes {
            let left = self.segment_bytes - offset;
            if left < zeros.len() as u64 {
                zeros = AlignedBuf::zeroed(left as usize);
            }
            let began = self.runtime.now();
            zeros = file.write(FileOffset(offset), zeros, Sync::No).await?;
            offset += zeros.len() as u64;
            if paced {
                self.runtime.rest_after(began).await;
            }
        }
        file.sync().await
    }

    pub fn path(&self, id: SegmentId) -> PathBuf {
        self.dir.join(segment_file_name(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::log::{Evidence, ReplayError, parse_segment_file_name};
    use crate::io::sim::{CrashPolicy, Disk, Sim, SimConfig};
    use crate::shard::boot;
    use crate::shard::key::Key;
    use crate::shard::mailbox::mailboxes;
    use crate::shard::node::Node;
    use crate::shard::options::ShardOptions;
    use crate::shard::payload::{OCTET_STREAM, Payload};
    use crate::shard::record::{Change, Condition, Durability, Write};
    use crate::shard::start_error::StartError;

    /// Runs `life` on a node of one shard with this disk, and cuts the power behind it.
    fn lives(disk: Disk, life: impl AsyncFnOnce(&Node) + 'static) -> Result<Disk, StartError> {
        let mut sim = Sim::with_disk(1, disk, SimConfig::cores(1));
        let mailbox = mailboxes(1).pop().expect("one mailbox for one shard");
        let options = ShardOptions {
            log_segment_bytes: limits::LOG_SEGMENT_BYTES_MIN,
            checkpoint_log_bytes: 1 << 30,
            ..ShardOptions::new("/")
        };
        let node = boot::launch(sim.executor(0), mailbox, options);
        let lived = sim.run(async move {
            node.started().await?;
            life(&node).await;
            Ok::<_, StartError>(())
        });
        lived.unwrap_or_else(|stuck| panic!("{stuck}"))?;
        Ok(sim.crash(CrashPolicy::KeepNothing))
    }

    async fn put(node: &Node, keys: std::ops::Range<u64>) {
        let collection = node.collection("default").expect("exists from the start");
        for key in keys {
            let change = Change::Put { payload: Payload::new(OCTET_STREAM, &[7; 50_000]), expires: None };
            let (key, condition, durability) = (Key::from_u64(key), Condition::None, Durability::Fsync);
            let write = Write { key, change, condition, durability, once: None };
            node.write(&collection, write).get().await.expect("written");
        }
    }

    fn segments_on(disk: &Disk) -> Vec<(SegmentId, String)> {
        let named = |(path, _): (String, u64)| {
            let id = parse_segment_file_name(path.rsplit_once('/')?.1)?;
            Some((id, path))
        };
        disk.file_lens().into_iter().filter_map(named).collect()
    }

    /// The newest segment, emptied after a crash, took acknowledged writes with it, and the shard started without a word.
    #[test]
    fn a_segment_that_is_gone_is_missed_after_a_crash() {
        let disk = lives(Disk::default(), async |node| put(node, 0..70).await).expect("a new node starts");
        let segments = segments_on(&disk);
        assert!(segments.len() >= 4, "{segments:?}");
        for from in 0..segments.len() {
            let mut bad = disk.clone();
            segments[from..].iter().for_each(|(_, path)| bad.truncate(path, 0));
            let refused = lives(bad, async |_| ()).err().unwrap_or_else(|| panic!("starts without {from}"));
            let told = refused.to_string();
            assert!(told.contains(&segment_file_name(segments[from].0)), "{told}");
            let StartError::Log(ReplayError::Damage(damage)) = refused else { panic!("{told}") };
            assert_eq!(damage.evidence, Evidence::Made { segment: segments[from].0 }, "{told}");
        }
        // The first segment of a later life, of which nothing is left but zeros.
        let disk = lives(disk, async |node| put(node, 70..80).await).expect("nothing is missing");
        let (first, path) = segments_on(&disk)
            .into_iter()
            .find(|(id, _)| *id > segments[segments.len() - 1].0)
            .expect("made");
        let mut bad = disk.clone();
        bad.truncate(&path, 0);
        let refused = lives(bad, async |_| ()).err().expect("it does not start without the newest life");
        assert!(refused.to_string().contains(&segment_file_name(first)), "{refused}");
        lives(disk, async |node| put(node, 80..81).await).expect("nothing is missing");
    }
}
