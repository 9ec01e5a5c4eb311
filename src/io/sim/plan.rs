//! What a disk operation will do, decided when it is submitted: rules of handles and direct I/O.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Inode, errno};
use super::effect::Effect;
use super::image::PageWrite;
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::op::{Handle, Op, OpenMode, Sync};

#[derive(Clone)]
pub(super) struct OpenFile {
    pub inode: Inode,
    pub path: String,
    pub writable: bool,
}

/// What is wanted besides the effect.
pub(super) enum Ask {
    Nothing,
    Open { path: PathBuf, writable: bool },
    Read { inode: Inode, offset: u64, buf: AlignedBuf },
    Write { buf: AlignedBuf, sync: Sync },
    Seal(Seal),
    Len(Inode),
    List(PathBuf),
    FreeSpace,
}

/// What becomes durable on completion.
#[derive(Clone, Copy)]
pub(super) enum Seal {
    Nothing,
    OwnChanges,
    File { inode: Inode, up_to: u64 },
    Directory { inode: Inode, up_to: u64 },
}

pub(super) struct Plan {
    pub operation: &'static str,
    pub path: String,
    pub effect: Effect,
    pub ask: Ask,
}

impl Plan {
    pub fn of(op: Op, disk: &Disk, handles: &BTreeMap<Handle, OpenFile>) -> io::Result<Plan> {
        match op {
            Op::Read { .. }
            | Op::Write { .. }
            | Op::SyncFile { .. }
            | Op::SetLen { .. }
            | Op::FileLen { .. } => Plan::of_file(op, disk, handles),
            Op::Open { path, mode: OpenMode::CreateNew } => {
                let ask = Ask::Open { path: path.clone(), writable: true };
                Ok(plan("create", &path.clone(), Effect::Create(path), ask))
            }
            Op::Open { path, mode } => {
                let ask = Ask::Open { path: path.clone(), writable: mode == OpenMode::ReadWrite };
                Ok(plan("open", &path, Effect::None, ask))
            }
            Op::Rename { from, to } => {
                Ok(plan("rename", &to.clone(), Effect::Rename { from, to }, Ask::Nothing))
            }
            Op::Link { from, to } => Ok(plan("link", &to.clone(), Effect::Link { from, to }, Ask::Nothing)),
            Op::RemoveFile { path } => {
                Ok(plan("remove_file", &path.clone(), Effect::RemoveFile(path), Ask::Nothing))
            }
            Op::RemoveDir { path } => {
                Ok(plan("remove_dir", &path.clone(), Effect::RemoveDir(path), Ask::Nothing))
            }
            Op::CreateDir { path } => {
                Ok(plan("create_dir", &path.clone(), Effect::CreateDir(path), Ask::Nothing))
            }
            Op::SyncDir { path } => {
                let (inode, up_to) = disk.begin_sync_dir(&path)?;
                let ask = Ask::Seal(Seal::Directory { inode, up_to });
                Ok(plan("sync_dir", &path, Effect::None, ask))
            }
            Op::List { path } => Ok(plan("list", &path.clone(), Effect::None, Ask::List(path))),
            Op::FreeSpace { path } => Ok(plan("free_space", &path, Effect::None, Ask::FreeSpace)),
            other => unreachable!("not an operation of the disk: {other:?}"),
        }
    }

    fn of_file(op: Op, disk: &Disk, handles: &BTreeMap<Handle, OpenFile>) -> io::Result<Plan> {
        let (handle, writes) = match &op {
            Op::Write { file, .. } | Op::SetLen { file, .. } => (*file, true),
            Op::Read { file, .. } | Op::SyncFile { file } | Op::FileLen { file } => (*file, false),
            other => unreachable!("not an operation of an open file: {other:?}"),
        };
        let OpenFile { inode, path, writable } =
            handles.get(&handle).cloned().ok_or_else(|| errno(libc::EBADF))?;
        if writes && !writable {
            return Err(errno(libc::EBADF));
        }
        let (operation, effect, ask) = match op {
            Op::Read { offset, buf, .. } => {
                must_be_aligned(offset.0)?;
                ("read", Effect::None, Ask::Read { inode, offset: offset.0, buf })
            }
            Op::Write { offset, buf, sync, .. } => {
                must_be_aligned(offset.0)?;
                let pages = PageWrite::cut(offset.0 / BLOCK_BYTES as u64, &buf);
                ("write", Effect::Write { inode, pages }, Ask::Write { buf, sync })
            }
            Op::SetLen { len, .. } => ("set_len", Effect::SetLen { inode, len }, Ask::Nothing),
            Op::FileLen { .. } => ("file_len", Effect::None, Ask::Len(inode)),
            _ => {
                let up_to = disk.file(inode).map_or(0, |file| file.last_change());
                ("sync_file", Effect::None, Ask::Seal(Seal::File { inode, up_to }))
            }
        };
        Ok(Plan { operation, path, effect, ask })
    }
}

fn plan(operation: &'static str, path: &Path, effect: Effect, ask: Ask) -> Plan {
    Plan { operation, path: path.to_string_lossy().into_owned(), effect, ask }
}

/// Length and address are always whole blocks: see [`AlignedBuf`].
fn must_be_aligned(offset: u64) -> io::Result<()> {
    match offset.is_multiple_of(BLOCK_BYTES as u64) {
        true => Ok(()),
        false => Err(errno(libc::EINVAL)),
    }
}
