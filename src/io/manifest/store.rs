//! The manifest on a disk: which reads and writes, in which order.
//!
//! A life begins with two files, filled with zeros, and fills them in turn. So a commit changes bytes that
//! the disk has set aside already, and works on a full disk, unless the state outgrows a whole file.

use std::path::Path;

use super::damage::{Fault, ManifestDamage, ManifestError};
use super::format::{
    ManifestId, RecordPlace, SLOT_BYTES, SLOTS, SUPERBLOCK_FILE, Slot, StateRecord, manifest_file_name,
    parse_manifest_file_name, record_len,
};
use super::recover::{choose_slot, damaged_slots, roll_forward};
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::crashsafe;
use crate::io::op::{DirEntry, OpenMode, Sync};
use crate::io::runtime::{File, Runtime};
use crate::limits;
use crate::types::{FileOffset, ShardId};

/// More than any manifest file has: a full one, and a record that made it grow.
const MANIFEST_READ_BYTES_MAX: usize =
    limits::MANIFEST_FILE_BYTES + limits::MANIFEST_STATE_BYTES_MAX + 2 * BLOCK_BYTES;

/// The open manifest of a shard: states go in, one after the other.
pub struct Manifest {
    shard: ShardId,
    superblock: File,
    /// The file with the committed state, and the one that comes next.
    file: File,
    other: File,
    other_id: ManifestId,
    /// What the newest slot on stable storage names.
    committed: Slot,
    /// The slot to overwrite next, never the only one that names `committed`.
    next_slot: usize,
    /// A write is under way, was given up or failed.
    poisoned: bool,
}

/// What a directory holds.
struct Found {
    /// Every manifest file, named by a slot or not.
    files: Vec<ManifestId>,
    has_superblock: bool,
    committed: Option<FoundState>,
}

impl Found {
    fn unused_id(&self) -> ManifestId {
        self.files.iter().max().map_or(1, |highest| highest + 1)
    }
}

struct FoundState {
    generation: u64,
    state: Vec<u8>,
}

impl Manifest {
    /// The manifest of `dir` and its last committed state; `None` when nothing was ever committed.
    pub async fn open(
        runtime: &Runtime,
        dir: &Path,
        shard: ShardId,
    ) -> Result<Option<(Manifest, Vec<u8>)>, ManifestError> {
        let found = find(runtime, dir, shard).await?;
        let Some(FoundState { generation, state }) = &found.committed else { return Ok(None) };
        let manifest = begin(runtime, dir, shard, found.unused_id(), generation + 1, state).await?;
        remove(runtime, dir, &found.files).await;
        Ok(found.committed.map(|found| (manifest, found.state)))
    }

    /// Commits the first state of a shard. A crash before this returns leaves a directory that `open`
    /// takes either for fresh or for one with this state.
    pub async fn create(
        runtime: &Runtime,
        dir: &Path,
        shard: ShardId,
        state: &[u8],
    ) -> Result<Manifest, ManifestError> {
        check_len(state)?;
        let found = find(runtime, dir, shard).await?;
        if found.committed.is_some() {
            return Err(ManifestError::Exists);
        }
        if !found.has_superblock {
            // From here on a manifest file in this directory is not one that lost its superblock.
            write_superblock(runtime, dir, shard, Slot::default()).await?;
        }
        let manifest = begin(runtime, dir, shard, found.unused_id(), 1, state).await?;
        remove(runtime, dir, &found.files).await;
        Ok(manifest)
    }

    /// The last committed state without touching anything; `None` when nothing was ever committed.
    pub async fn read(
        runtime: &Runtime,
        dir: &Path,
        shard: ShardId,
    ) -> Result<Option<Vec<u8>>, ManifestError> {
        let found = find(runtime, dir, shard).await?;
        Ok(found.committed.map(|found| found.state))
    }

    /// Slots of the superblock that cannot be read. One of them is in nobody's way: the other one leads to the state, and
    /// [`Manifest::open`] writes both anew.
    pub async fn damaged_slots(
        runtime: &Runtime,
        dir: &Path,
        shard: ShardId,
    ) -> Result<Vec<ManifestDamage>, ManifestError> {
        let superblock = read_file(runtime, &dir.join(SUPERBLOCK_FILE), SLOTS * SLOT_BYTES).await?;
        Ok(damaged_slots(&superblock, shard))
    }

    /// Every record of the manifest files that is whole, the newest first: its generation and its state. For repair:
    /// the superblock is not asked.
    pub async fn all_states(
        runtime: &Runtime,
        dir: &Path,
        shard: ShardId,
    ) -> Result<Vec<(u64, Vec<u8>)>, ManifestError> {
        let mut found = Vec::new();
        for manifest in manifest_files(runtime, dir).await? {
            let path = dir.join(manifest_file_name(manifest));
            let bytes = read_file(runtime, &path, MANIFEST_READ_BYTES_MAX).await?;
            for page in (0..bytes.len()).step_by(BLOCK_BYTES) {
                let place = RecordPlace { shard, manifest, offset: FileOffset(page as u64) };
                if let Ok(record) = StateRecord::decode(&bytes[page..], place) {
                    found.push((record.generation, record.state.to_vec()));
                }
            }
        }
        found.sort_by_key(|(generation, _)| std::cmp::Reverse(*generation));
        Ok(found)
    }

    /// Gives the shard a new manifest with this state, whatever is there. A crash leaves the one before or this one.
    pub async fn rebuild(
        runtime: &Runtime,
        dir: &Path,
        shard: ShardId,
        generation: u64,
        state: &[u8],
    ) -> Result<(), ManifestError> {
        check_len(state)?;
        let files = manifest_files(runtime, dir).await?;
        let id = files.iter().max().map_or(1, |highest| highest + 1);
        begin(runtime, dir, shard, id, generation, state).await?;
        remove(runtime, dir, &files).await;
        Ok(())
    }

    /// Makes `state` the state of the shard; it is when this returns. After an error, or when the
    /// future was dropped, either state may be found by the next start, and no other commit is taken.
    pub async fn commit(&mut self, state: &[u8]) -> Result<(), ManifestError> {
        if self.poisoned {
            return Err(ManifestError::Poisoned);
        }
        check_len(state)?;
        self.poisoned = true;
        let len = self.committed.committed_len + record_len(state.len()) as u64;
        if len <= limits::MANIFEST_FILE_BYTES as u64 {
            self.append(state).await?;
        } else {
            self.change_file(state).await?;
        }
        self.poisoned = false;
        Ok(())
    }

    /// Grows by one with each commit.
    pub fn generation(&self) -> u64 {
        self.committed.generation
    }

    async fn append(&mut self, state: &[u8]) -> Result<(), ManifestError> {
        let slot = self.write_record(state, self.committed.committed_len, self.committed.last_hash).await?;
        self.write_slot(slot).await
    }

    /// Both slots name the other file before this one is used again: a slot that is damaged later leaves
    /// one with the same state.
    async fn change_file(&mut self, state: &[u8]) -> Result<(), ManifestError> {
        std::mem::swap(&mut self.file, &mut self.other);
        let before = std::mem::replace(&mut self.committed.manifest, self.other_id);
        self.other_id = before;
        let slot = self.write_record(state, 0, 0).await?;
        self.write_slot(slot).await?;
        self.write_slot(slot).await
    }

    /// Behind `offset` in the current file; gives the slot that names it.
    async fn write_record(
        &mut self,
        state: &[u8],
        offset: u64,
        prev_hash: u64,
    ) -> Result<Slot, ManifestError> {
        let Slot { generation, manifest, .. } = self.committed;
        let place = RecordPlace { shard: self.shard, manifest, offset: FileOffset(offset) };
        let (record, hash) = StateRecord::encode(place, generation + 1, prev_hash, state);
        let committed_len = offset + record.len() as u64;
        self.file.write(FileOffset(offset), record, Sync::Data).await?;
        Ok(Slot { generation: generation + 1, manifest, committed_len, last_hash: hash })
    }

    async fn write_slot(&mut self, slot: Slot) -> Result<(), ManifestError> {
        let offset = FileOffset((self.next_slot * SLOT_BYTES) as u64);
        self.superblock.write(offset, slot.encode(self.shard), Sync::Data).await?;
        self.committed = slot;
        self.next_slot = (self.next_slot + 1) % SLOTS;
        Ok(())
    }
}

fn check_len(state: &[u8]) -> Result<(), ManifestError> {
    match state.len() {
        0..=limits::MANIFEST_STATE_BYTES_MAX => Ok(()),
        len => Err(ManifestError::TooLarge(len)),
    }
}

/// Commits `state` to the first of two new manifest files, and to a new superblock, both slots of which
/// name it.
async fn begin(
    runtime: &Runtime,
    dir: &Path,
    shard: ShardId,
    id: ManifestId,
    generation: u64,
    state: &[u8],
) -> Result<Manifest, ManifestError> {
    let place = RecordPlace { shard, manifest: id, offset: FileOffset::ZERO };
    let (record, hash) = StateRecord::encode(place, generation, 0, state);
    let committed_len = record.len() as u64;
    let committed = Slot { generation, manifest: id, committed_len, last_hash: hash };
    let file = new_file(runtime, dir, id, record).await?;
    let other = new_file(runtime, dir, id + 1, AlignedBuf::zeroed(limits::MANIFEST_FILE_BYTES)).await?;
    runtime.sync_dir(dir).await?;
    write_superblock(runtime, dir, shard, committed).await?;
    let superblock = runtime.open(dir.join(SUPERBLOCK_FILE), OpenMode::ReadWrite).await?;
    let (other_id, next_slot) = (id + 1, 0);
    Ok(Manifest { superblock, file, other, other_id, committed, next_slot, poisoned: false, shard })
}

/// Replaces the file as a whole: a late write of a dead process goes to the one that was replaced.
async fn write_superblock(
    runtime: &Runtime,
    dir: &Path,
    shard: ShardId,
    slot: Slot,
) -> Result<(), ManifestError> {
    let slots = slot.encode(shard).repeat(SLOTS);
    Ok(crashsafe::write_file(runtime, dir, SUPERBLOCK_FILE, &slots).await?)
}

/// A durable manifest file that begins with `begin`, zeros behind it; its name is not durable yet.
async fn new_file(
    runtime: &Runtime,
    dir: &Path,
    id: ManifestId,
    begin: AlignedBuf,
) -> Result<File, ManifestError> {
    let file = runtime.open(dir.join(manifest_file_name(id)), OpenMode::CreateNew).await?;
    let len = begin.len();
    file.write(FileOffset::ZERO, begin, Sync::No).await?;
    if len < limits::MANIFEST_FILE_BYTES {
        let zeros = AlignedBuf::zeroed(limits::MANIFEST_FILE_BYTES - len);
        file.write(FileOffset(len as u64), zeros, Sync::No).await?;
    }
    file.sync().await?;
    Ok(file)
}

/// A file that cannot be removed is in nobody's way: no slot names it, and the next start tries again.
async fn remove(runtime: &Runtime, dir: &Path, files: &[ManifestId]) {
    for id in files {
        let _ = runtime.remove_file(dir.join(manifest_file_name(*id))).await;
    }
}

async fn find(runtime: &Runtime, dir: &Path, shard: ShardId) -> Result<Found, ManifestError> {
    let entries = list(runtime, dir).await?;
    let files: Vec<_> = entries.iter().filter_map(|entry| parse_manifest_file_name(&entry.name)).collect();
    if !entries.iter().any(|entry| entry.name == SUPERBLOCK_FILE) {
        let fresh = Found { files, has_superblock: false, committed: None };
        return if fresh.files.is_empty() { Ok(fresh) } else { Err(ManifestError::NoSuperblock) };
    }
    let superblock = read_file(runtime, &dir.join(SUPERBLOCK_FILE), SLOTS * SLOT_BYTES).await?;
    let slot = choose_slot(&superblock, shard)?;
    let committed = match slot.generation {
        0 => None,
        _ => Some(find_state(runtime, dir, shard, &files, slot).await?),
    };
    Ok(Found { files, has_superblock: true, committed })
}

async fn find_state(
    runtime: &Runtime,
    dir: &Path,
    shard: ShardId,
    files: &[ManifestId],
    slot: Slot,
) -> Result<FoundState, ManifestError> {
    let file = manifest_file_name(slot.manifest);
    if !files.contains(&slot.manifest) {
        return Err(ManifestDamage { file, offset: FileOffset::ZERO, fault: Fault::NoFile }.into());
    }
    let bytes = read_file(runtime, &dir.join(file), MANIFEST_READ_BYTES_MAX).await?;
    let committed = roll_forward(&bytes, &slot, shard)?;
    let state = bytes[committed.state].to_vec();
    Ok(FoundState { generation: committed.generation, state })
}

async fn manifest_files(runtime: &Runtime, dir: &Path) -> Result<Vec<ManifestId>, ManifestError> {
    let entries = list(runtime, dir).await?;
    Ok(entries.iter().filter_map(|entry| parse_manifest_file_name(&entry.name)).collect())
}

async fn list(runtime: &Runtime, dir: &Path) -> Result<Vec<DirEntry>, ManifestError> {
    runtime.list(dir).await.map_err(|error| ManifestError::Read { path: dir.to_owned(), error })
}

/// The first `len_max` bytes of a file, or all when it has fewer.
async fn read_file(runtime: &Runtime, path: &Path, len_max: usize) -> Result<Vec<u8>, ManifestError> {
    let read = async {
        let file = runtime.open(path, OpenMode::Read).await?;
        let len = usize::try_from(file.len().await?).unwrap_or(usize::MAX).min(len_max);
        let (count, buf) = file.read(FileOffset::ZERO, AlignedBuf::zeroed(len)).await?;
        Ok(buf[..count.min(len)].to_vec())
    };
    read.await.map_err(|error| ManifestError::Read { path: path.to_owned(), error })
}
