//! Point reads that memory cannot answer: part by part, newest first, one block each; then the value, when it
//! lies apart.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::levels::Levels;
use super::part::{Located, Part};
use super::place::Place;
use super::probe::Start;
use super::stored::Stored;
use crate::io::buf::AlignedBuf;
use crate::io::executor::Class;
use crate::io::executor::sync::{Pending, promise};
use crate::io::runtime::Runtime;
use crate::limits;
use crate::shard::delta::Version;
use crate::shard::runs::LoadError;
use crate::types::RunId;

/// A read of what was in the runs when it began.
pub struct ColdRead {
    levels: Rc<Levels>,
    place: Place,
    /// The first part that may have it, when what is resident of the parts has told that already.
    start: Option<Start>,
}

impl ColdRead {
    pub fn new(levels: Rc<Levels>, place: Place, start: Option<Start>) -> ColdRead {
        ColdRead { levels, place, start }
    }

    pub fn levels(&self) -> &Rc<Levels> {
        &self.levels
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The newest version, which may be a tombstone.
    pub async fn run(&self) -> Result<Option<Stored>, LoadError> {
        self.count();
        let mut from = 0;
        while let Some((next, part, located)) = self.next_part(from).await? {
            let bytes = part.read_block(located.block).await?;
            let wanted = std::iter::once((located, &self.place));
            let versions = part.versions_in(&bytes, located.block, wanted).await?;
            if let Some(version) = versions.into_iter().flatten().next() {
                return Ok(Some(version));
            }
            from = next;
        }
        Ok(None)
    }

    fn count(&self) {
        let first = self.start.as_ref().map(|start| &start.part);
        if let Some(part) = first.or_else(|| self.levels.at(&self.place).next()) {
            let reads = &part.shelf().cold_reads;
            reads.set(reads.get() + 1);
        }
    }

    /// The next part from number `from` on that may hold the place, and where; and the number behind it.
    async fn next_part(&self, from: usize) -> Result<Option<(usize, Rc<Part>, Located)>, LoadError> {
        if let Some(start) = self.start.as_ref().filter(|_| from == 0) {
            return Ok(Some((start.next, start.part.clone(), start.located)));
        }
        for (number, part) in self.levels.at(&self.place).enumerate().skip(from) {
            if let Some(located) = part.locate(&self.place).await? {
                return Ok(Some((number + 1, part.clone(), located)));
            }
        }
        Ok(None)
    }
}

/// A block that is to be read, and what for: which reads, the number of the part behind this one, and where.
struct Wanted {
    part: Rc<Part>,
    reads: Vec<(usize, usize, Located)>,
}

/// Reads the values that lie apart, side by side; one that comes several times in a row once. Whoever asks sees to it
/// that there is room for all of them.
pub async fn fetch_all(
    runtime: &Runtime,
    stored: Vec<Option<Stored>>,
) -> Result<Vec<Option<Version>>, LoadError> {
    let mut begun = Vec::with_capacity(stored.len());
    for (place, next) in stored.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|before| stored[before].as_ref());
        begun.push(match next.clone() {
            Some(next) if before.is_some_and(|before| next.is_value_of(before)) => None,
            Some(next) if next.bytes_apart() > 0 => {
                Some(spawned(runtime, async move { next.version().await.map(Some) }))
            }
            Some(next) => Some(Pending::ready(next.version().await.map(Some))),
            None => Some(Pending::ready(Ok(None))),
        });
    }
    let mut versions: Vec<Option<Version>> = Vec::with_capacity(begun.len());
    for version in begun {
        let version = match version {
            Some(version) => version.await?,
            None => versions.last().cloned().flatten(),
        };
        versions.push(version);
    }
    Ok(versions)
}

/// What the runs have of many keys: blocks are read side by side, and each once however many of the keys it has.
pub async fn look_up_all(runtime: &Runtime, reads: &[ColdRead]) -> Result<Vec<Option<Stored>>, LoadError> {
    let mut found = vec![None; reads.len()];
    // Reads that are not done, and the number of the part that each asks next.
    let mut open: Vec<(usize, usize)> = (0..reads.len()).map(|read| (read, 0)).collect();
    reads.iter().for_each(ColdRead::count);
    while !open.is_empty() {
        let mut blocks: BTreeMap<(RunId, u32), Wanted> = BTreeMap::new();
        for (read, from) in open.drain(..) {
            if let Some((next, part, located)) = reads[read].next_part(from).await? {
                let block = blocks.entry((part.meta.id, located.block));
                block.or_insert(Wanted { part, reads: Vec::new() }).reads.push((read, next, located));
            }
        }
        let mut blocks = blocks.into_iter().peekable();
        while blocks.peek().is_some() {
            // As many side by side as fit into a bound, at least one.
            let (mut begun, mut bytes) = (Vec::new(), 0);
            while let Some(((_, number), wanted)) = blocks.next_if(|_| bytes < limits::COLD_BATCH_BYTES_MAX) {
                bytes += wanted.part.block_len(number);
                begun.push((begin(runtime, &wanted.part, number), number, wanted));
            }
            for (bytes, number, Wanted { part, reads: wanted }) in begun {
                let bytes = bytes.await?;
                let places = wanted.iter().map(|(read, _, located)| (*located, &reads[*read].place));
                let versions = part.versions_in(&bytes, number, places).await?;
                for ((read, next, _), version) in wanted.into_iter().zip(versions) {
                    match version {
                        Some(version) => found[read] = Some(version),
                        None => open.push((read, next)),
                    }
                }
            }
        }
    }
    Ok(found)
}

fn begin(runtime: &Runtime, part: &Rc<Part>, number: u32) -> Pending<Result<AlignedBuf, LoadError>> {
    let part = part.clone();
    spawned(runtime, async move { part.read_block(number).await })
}

fn spawned<T: 'static>(runtime: &Runtime, work: impl Future<Output = T> + 'static) -> Pending<T> {
    let (promise, pending) = promise();
    runtime.spawn(Class::Foreground, async move { promise.give(work.await) });
    pending
}
