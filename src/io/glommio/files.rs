//! Files and directories.
//!
//! Reads and writes go through glommio's direct files, which copy between their own buffers and ours. A synced write is
//! a write and an fdatasync after it: glommio has no RWF_DSYNC. Whatever else the file system is asked for runs on
//! glommio's thread for blocking calls.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use glommio::GlommioError;
use glommio::io::{DmaFile, OpenOptions};

use super::state::State;
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::crashsafe::dir_of;
use crate::io::op::{Op, OpenMode, Outcome, Sync};
use crate::io::uring::file_work::{self, DIR_MODE, FILE_MODE, explain};
use crate::types::FileOffset;

/// The calls that may take long and that glommio's files do not offer.
pub(super) async fn by_name(op: Op) -> io::Result<Outcome> {
    match op {
        Op::Rename { from, to } => blocking(move || fs::rename(from, to)).await?,
        Op::Link { from, to } => blocking(move || fs::hard_link(from, to)).await?,
        Op::RemoveFile { path } => blocking(move || fs::remove_file(path)).await?,
        Op::RemoveDir { path } => blocking(move || fs::remove_dir(path)).await?,
        Op::CreateDir { path } => {
            blocking(move || fs::DirBuilder::new().mode(DIR_MODE).create(path)).await?;
        }
        Op::SyncDir { path } => blocking(move || sync_dir(&path)).await?,
        Op::List { path } => {
            return blocking(move || file_work::list(&path)).await.map(Outcome::Entries);
        }
        Op::FreeSpace { path } => {
            return blocking(move || file_work::free_space(&path)).await.map(Outcome::Len);
        }
        other => unreachable!("not an operation on a name: {other:?}"),
    }
    Ok(Outcome::Done)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?.sync_all()
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    glommio::executor().spawn_blocking(call).await
}

/// Opened by name first, and by glommio once more under the name that the descriptor has: glommio asks the file system
/// about the name afterwards, and panics when somebody has removed it meanwhile.
pub(super) async fn open(state: Rc<State>, path: PathBuf, mode: OpenMode) -> io::Result<Outcome> {
    make_device_known(&state, &path).await?;
    let named = blocking(move || open_by_name(&path, mode)).await?;
    let file = open_again(&named, mode != OpenMode::Read).await?;
    Ok(Outcome::Opened(state.handles.borrow_mut().insert_file(file)))
}

fn open_by_name(path: &Path, mode: OpenMode) -> io::Result<fs::File> {
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(mode != OpenMode::Read)
        .create_new(mode == OpenMode::CreateNew)
        .mode(FILE_MODE)
        .custom_flags(libc::O_DIRECT)
        .open(path);
    opened.map_err(|error| explain(error, CString::new(path.as_os_str().as_bytes()).ok()))
}

async fn open_again(named: &fs::File, write: bool) -> io::Result<DmaFile> {
    let name = format!("/proc/self/fd/{}", named.as_raw_fd());
    OpenOptions::new().read(true).write(write).dma_open(name).await.map_err(plain)
}

/// On its first open on a device, glommio tries whether reads from it may be polled for, and believes a read of an empty
/// file, which tells nothing: later reads then fail with EOPNOTSUPP. So the first file on each device is one that has a
/// block. glommio keeps what it found for each thread.
async fn make_device_known(state: &State, path: &Path) -> io::Result<()> {
    let folder = dir_of(path);
    let device = fs::metadata(folder)?.dev();
    if state.known_devices.borrow().contains(&device) {
        return Ok(());
    }
    let folder = folder.to_owned();
    let named = blocking(move || file_without_name(&folder)).await?;
    drop(open_again(&named, false).await?);
    state.known_devices.borrow_mut().insert(device);
    Ok(())
}

fn file_without_name(folder: &Path) -> io::Result<fs::File> {
    let flags = libc::O_TMPFILE;
    let mut file =
        fs::OpenOptions::new().read(true).write(true).custom_flags(flags).mode(FILE_MODE).open(folder)?;
    file.write_all(&[0; BLOCK_BYTES])?;
    file.sync_all()?;
    Ok(file)
}

pub(super) async fn read(file: Rc<DmaFile>, offset: FileOffset, mut buf: AlignedBuf) -> io::Result<Outcome> {
    let mut done = 0;
    loop {
        let wanted = buf.len() - done;
        let got = file.read_at_aligned(offset.0 + done as u64, wanted).await.map_err(plain)?;
        buf[done..done + got.len()].copy_from_slice(&got);
        done += got.len();
        // A read that ended within a block has met the end of the file; one that ended between blocks may not have.
        if got.len() == wanted || got.is_empty() || !done.is_multiple_of(BLOCK_BYTES) {
            return Ok(Outcome::Read { count: done, buf });
        }
    }
}

pub(super) async fn write(
    file: Rc<DmaFile>,
    offset: FileOffset,
    buf: AlignedBuf,
    sync: Sync,
) -> io::Result<Outcome> {
    let mut done = 0;
    while done < buf.len() {
        let rest = &buf[done..];
        let mut copy = file.alloc_dma_buffer(rest.len());
        copy.as_bytes_mut().copy_from_slice(rest);
        match file.write_at(copy, offset.0 + done as u64).await.map_err(plain)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => done += count,
        }
    }
    if sync == Sync::Data {
        self::sync(file).await?;
    }
    Ok(Outcome::Wrote(buf))
}

pub(super) async fn sync(file: Rc<DmaFile>) -> io::Result<Outcome> {
    file.fdatasync().await.map_err(plain)?;
    Ok(Outcome::Done)
}

pub(super) fn len(file: &DmaFile) -> io::Result<Outcome> {
    file_work::len(file.as_raw_fd()).map(Outcome::Len)
}

pub(super) fn set_len(file: &DmaFile, len: u64) -> io::Result<Outcome> {
    file_work::set_len(file.as_raw_fd(), len).map(|()| Outcome::Done)
}

/// The error of the system, which glommio wraps.
fn plain(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::EnhancedIoError { source, .. } => explain(source, None),
        other => explain(other.into(), None),
    }
}

/// Devices on which the first open is done.
pub(super) type KnownDevices = BTreeSet<u64>;
