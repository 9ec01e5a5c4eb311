//! A simulated disk with one file system on it: a value, cheap to clone, that can lose its power.
//!
//! Owns the files and directories and the rules of their names. Keeps apart what is visible and what is
//! durable; [`Disk::after_crash`] turns the second into the first. Files are shared between clones until
//! one of them changes. Paths are taken from the root, whether they say so or not.
//!
//! Must not know: time, cores, faults. Those are in [`super::storage`].
//!
//! Invariant: a file's own sync does not make its name durable; only the sync of its directory does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use super::crash::CrashPolicy;
use super::directory::{Directory, Entries};
pub(super) use super::directory::{Entry, Inode};
use super::file::FileData;
use super::image::PageWrite;
use super::rng::Rng;
use crate::io::buf::BLOCK_BYTES;
use crate::io::op::DirEntry;

pub(super) const ROOT: Inode = Inode(0);

pub(super) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

#[derive(Clone, Default)]
struct FileSlot {
    data: Arc<FileData>,
    /// Visible names.
    names: u32,
    /// Open handles; a file without names lives until they are closed.
    open: u32,
}

#[derive(Clone)]
pub struct Disk {
    files: BTreeMap<Inode, FileSlot>,
    pub(super) directories: BTreeMap<Inode, Arc<Directory>>,
    inodes: u64,
    pub(super) keep_older_pages: bool,
}

impl Default for Disk {
    fn default() -> Disk {
        Disk {
            files: BTreeMap::new(),
            directories: BTreeMap::from([(ROOT, Arc::default())]),
            inodes: ROOT.0,
            keep_older_pages: false,
        }
    }
}

// ---- what operations do

impl Disk {
    pub(super) fn open(&mut self, path: &Path) -> io::Result<Inode> {
        match self.find(path)? {
            Entry::Dir(_) => Err(errno(libc::EISDIR)),
            Entry::File(inode) => {
                self.slot(inode).open += 1;
                Ok(inode)
            }
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.vacant(path)?;
        let inode = self.new_inode();
        self.files.insert(inode, FileSlot { names: 1, ..FileSlot::default() });
        self.directory(parent).place(&name, Entry::File(inode));
        Ok(())
    }

    pub(super) fn close(&mut self, inode: Inode) {
        let slot = self.slot(inode);
        slot.open = slot.open.checked_sub(1).expect("a file closed more often than opened");
        if slot.names == 0 {
            self.collect_garbage();
        }
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.vacant(path)?;
        let inode = self.new_inode();
        self.directories.insert(inode, Arc::default());
        self.directory(parent).place(&name, Entry::Dir(inode));
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match self.entry(parent, &name)? {
            Entry::Dir(_) => return Err(errno(libc::EISDIR)),
            Entry::File(inode) => self.slot(inode).names -= 1,
        }
        self.directory(parent).remove(&name);
        self.collect_garbage();
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        match self.entry(parent, &name)? {
            Entry::File(_) => return Err(errno(libc::ENOTDIR)),
            Entry::Dir(inode) => self.must_be_empty(inode)?,
        }
        self.directory(parent).remove(&name);
        self.collect_garbage();
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (old_parent, old_name) = self.parent(from)?;
        let moved = self.entry(old_parent, &old_name)?;
        let (new_parent, new_name) = self.parent(to)?;
        if matches!(moved, Entry::Dir(_)) && to.starts_with(from) && to != from {
            return Err(errno(libc::EINVAL));
        }
        match (moved, self.entry(new_parent, &new_name).ok()) {
            (_, Some(replaced)) if replaced == moved => return Ok(()),
            (Entry::File(_), Some(Entry::Dir(_))) => return Err(errno(libc::EISDIR)),
            (Entry::Dir(_), Some(Entry::File(_))) => return Err(errno(libc::ENOTDIR)),
            (Entry::Dir(_), Some(Entry::Dir(replaced))) => self.must_be_empty(replaced)?,
            (Entry::File(_), Some(Entry::File(replaced))) => self.slot(replaced).names -= 1,
            (_, None) => (),
        }
        if new_parent == old_parent && self.directories[&old_parent].has_one_name(moved) {
            self.directory(new_parent).place(&new_name, moved);
        } else {
            self.directory(new_parent).link(&new_name, moved);
            self.directory(old_parent).remove(&old_name);
        }
        self.collect_garbage();
        Ok(())
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let Entry::File(inode) = self.find(from)? else { return Err(errno(libc::EPERM)) };
        let (parent, name) = self.vacant(to)?;
        self.slot(inode).names += 1;
        self.directory(parent).link(&name, Entry::File(inode));
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let directory = &self.directories[&self.find_dir(path)?];
        let entries = directory.visible().iter().map(|(name, entry)| match entry {
            Entry::Dir(_) => DirEntry { name: name.clone(), is_dir: true, len: 0 },
            Entry::File(inode) => {
                let len = self.files[inode].data.visible().len();
                DirEntry { name: name.clone(), is_dir: false, len }
            }
        });
        Ok(entries.collect())
    }

    /// The directory and the number of its latest change: what a sync that begins now will cover.
    pub(super) fn begin_sync_dir(&self, path: &Path) -> io::Result<(Inode, u64)> {
        let inode = self.find_dir(path)?;
        Ok((inode, self.directories[&inode].last_change()))
    }

    pub(super) fn end_sync_dir(&mut self, inode: Inode, up_to: u64) {
        if self.directories.contains_key(&inode) && self.directory(inode).sync_up_to(up_to) {
            self.collect_garbage();
        }
    }

    pub(super) fn fail_sync_dir(&mut self, inode: Inode, up_to: u64) {
        if self.directories.contains_key(&inode) {
            self.directory(inode).lose_up_to(up_to);
            self.count_names();
            self.collect_garbage();
        }
    }

    pub(super) fn file(&self, inode: Inode) -> Option<&FileData> {
        self.files.get(&inode).map(|slot| &*slot.data)
    }

    pub(super) fn file_mut(&mut self, inode: Inode) -> Option<&mut FileData> {
        self.files.get_mut(&inode).map(|slot| Arc::make_mut(&mut slot.data))
    }

    pub(super) fn file_inodes(&self) -> impl Iterator<Item = Inode> {
        self.files.keys().copied()
    }

    pub(super) fn write(&mut self, inode: Inode, pages: Vec<PageWrite>) -> Option<u64> {
        let keep_older = self.keep_older_pages;
        self.file_mut(inode).map(|file| file.write(pages, keep_older))
    }

    /// Bytes that files with a name or an open handle occupy.
    pub fn used_bytes(&self) -> u64 {
        let live = self.files.values().filter(|slot| slot.names > 0 || slot.open > 0);
        live.map(|slot| (slot.data.visible().pages() * BLOCK_BYTES) as u64).sum()
    }
}

// ---- names

impl Disk {
    fn slot(&mut self, inode: Inode) -> &mut FileSlot {
        self.files.get_mut(&inode).expect("a file that has a name or a handle exists")
    }

    fn directory(&mut self, inode: Inode) -> &mut Directory {
        Arc::make_mut(self.directories.get_mut(&inode).expect("a directory that has a name exists"))
    }

    fn new_inode(&mut self) -> Inode {
        self.inodes += 1;
        Inode(self.inodes)
    }

    fn entry(&self, parent: Inode, name: &str) -> io::Result<Entry> {
        self.directories[&parent].visible().get(name).copied().ok_or_else(|| errno(libc::ENOENT))
    }

    fn must_be_empty(&self, directory: Inode) -> io::Result<()> {
        match self.directories[&directory].visible().is_empty() {
            true => Ok(()),
            false => Err(errno(libc::ENOTEMPTY)),
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Entry> {
        self.find_in(path, Directory::visible)
    }

    pub(super) fn find_in(&self, path: &Path, entries: fn(&Directory) -> &Entries) -> io::Result<Entry> {
        let mut found = Entry::Dir(ROOT);
        for name in names(path)? {
            let Entry::Dir(inode) = found else { return Err(errno(libc::ENOTDIR)) };
            let next = entries(&self.directories[&inode]).get(name);
            found = *next.ok_or_else(|| errno(libc::ENOENT))?;
        }
        Ok(found)
    }

    fn find_dir(&self, path: &Path) -> io::Result<Inode> {
        match self.find(path)? {
            Entry::Dir(inode) => Ok(inode),
            Entry::File(_) => Err(errno(libc::ENOTDIR)),
        }
    }

    /// The directory that holds, or would hold, the last name of `path`.
    fn parent(&self, path: &Path) -> io::Result<(Inode, String)> {
        let names = names(path)?;
        let name = names.last().ok_or_else(|| errno(libc::EBUSY))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok((self.find_dir(parent)?, (*name).to_owned()))
    }

    fn vacant(&self, path: &Path) -> io::Result<(Inode, String)> {
        let (parent, name) = self.parent(path)?;
        match self.entry(parent, &name) {
            Ok(_) => Err(errno(libc::EEXIST)),
            Err(_) => Ok((parent, name)),
        }
    }

    /// Drops what no name, no handle and no unsynced change leads to.
    pub(super) fn collect_garbage(&mut self) {
        let mut named = BTreeSet::new();
        let mut to_visit = vec![ROOT];
        while let Some(inode) = to_visit.pop() {
            let Some(directory) = self.directories.get(&inode) else { continue };
            let entries = directory.visible().values().chain(directory.durable().values()).copied();
            for entry in entries.chain(directory.unsynced()) {
                match entry {
                    Entry::File(inode) => drop(named.insert(inode)),
                    Entry::Dir(inode) => {
                        if named.insert(inode) {
                            to_visit.push(inode);
                        }
                    }
                }
            }
        }
        self.files.retain(|inode, slot| slot.open > 0 || named.contains(inode));
        self.directories.retain(|inode, _| *inode == ROOT || named.contains(inode));
    }

    fn count_names(&mut self) {
        self.files.values_mut().for_each(|slot| slot.names = 0);
        for directory in self.directories.values() {
            for entry in directory.visible().values() {
                if let Entry::File(inode) = entry
                    && let Some(slot) = self.files.get_mut(inode)
                {
                    slot.names += 1;
                }
            }
        }
    }
}

fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => (),
            Component::Normal(name) => names.push(name.to_str().ok_or_else(|| errno(libc::EINVAL))?),
            Component::ParentDir | Component::Prefix(_) => return Err(errno(libc::EINVAL)),
        }
    }
    Ok(names)
}

// ---- power loss

impl Disk {
    /// The disk as it is found when the power comes back. Everything on it is durable then.
    pub fn after_crash(&self, policy: CrashPolicy, rng: &mut Rng) -> Disk {
        let survival = policy.draw(rng);
        let mut disk = self.clone();
        for directory in disk.directories.values_mut().filter(|directory| !directory.is_settled()) {
            *directory = Arc::new(directory.after_crash(&survival, rng));
        }
        for slot in disk.files.values_mut() {
            slot.open = 0;
            if !slot.data.is_settled() {
                slot.data = Arc::new(slot.data.after_crash(&survival, rng));
            }
        }
        disk.count_names();
        disk.collect_garbage();
        disk
    }
}
