//! What an operation changes on a disk: kept apart from who waits for it, so that a crash image can
//! carry out operations that were under way.

use std::io;
use std::path::PathBuf;

use super::disk::{Disk, Inode};
use super::image::PageWrite;

#[derive(Clone)]
pub(super) enum Effect {
    None,
    Create(PathBuf),
    CreateDir(PathBuf),
    RemoveFile(PathBuf),
    RemoveDir(PathBuf),
    Rename { from: PathBuf, to: PathBuf },
    Link { from: PathBuf, to: PathBuf },
    Write { inode: Inode, pages: Vec<PageWrite> },
    SetLen { inode: Inode, len: u64 },
}

impl Effect {
    /// A file that is gone takes writes and size changes without a trace.
    pub fn apply(self, disk: &mut Disk) -> io::Result<Option<(Inode, u64)>> {
        match self {
            Effect::None => Ok(None),
            Effect::Create(path) => disk.create(&path).map(|()| None),
            Effect::CreateDir(path) => disk.create_dir(&path).map(|()| None),
            Effect::RemoveFile(path) => disk.remove_file(&path).map(|()| None),
            Effect::RemoveDir(path) => disk.remove_dir(&path).map(|()| None),
            Effect::Rename { from, to } => disk.rename(&from, &to).map(|()| None),
            Effect::Link { from, to } => disk.link(&from, &to).map(|()| None),
            Effect::Write { inode, pages } => Ok(disk.write(inode, pages).map(|number| (inode, number))),
            Effect::SetLen { inode, len } => Ok(disk.file_mut(inode).map(|file| (inode, file.set_len(len)))),
        }
    }

    pub fn is_none(&self) -> bool {
        matches!(self, Effect::None)
    }
}
