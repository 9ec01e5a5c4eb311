//! Files and directories: requests to the ring, and the plain system calls that are rare enough.

use std::ffi::{CStr, CString};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use io_uring::{opcode, squeue, types};

use super::handles::{Handles, Kind, Target};
use super::work::{Answer, Next, Work};
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::op::{DirEntry, Op, OpenMode, Outcome, Sync};

/// Most bytes that one request moves.
const TRANSFER_BYTES_MAX: usize = 1 << 30;
pub(in crate::io) const FILE_MODE: libc::mode_t = 0o600;
pub(in crate::io) const DIR_MODE: libc::mode_t = 0o700;
const HERE: types::Fd = types::Fd(libc::AT_FDCWD);

pub(super) enum FileWork {
    Open { path: CString, mode: OpenMode },
    Read(Transfer),
    Write(Transfer, Sync),
    Sync { file: Target },
    Rename { from: CString, to: CString },
    Link { from: CString, to: CString },
    Remove { path: CString, flags: i32 },
    CreateDir { path: CString },
    OpenDirToSync { path: CString },
    SyncDir { dir: OwnedFd },
}

/// A buffer on its way from or to a file; the first `done` bytes have arrived.
pub(super) struct Transfer {
    file: Target,
    offset: u64,
    buf: AlignedBuf,
    done: usize,
}

/// The file system does not do direct I/O, or not in our block size.
#[derive(Debug)]
pub struct DirectIoUnsupported {
    path: Option<CString>,
}

impl fmt::Display for DirectIoUnsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("direct I/O (O_DIRECT) in blocks of 4096 bytes is not supported by the file system")?;
        if let Some(path) = &self.path {
            write!(f, " of {}", path.to_string_lossy())?;
        }
        f.write_str(": keep the data on ext4, xfs or btrfs on a block device")
    }
}

impl std::error::Error for DirectIoUnsupported {}

/// EINVAL on opening, reading or writing means as a rule that the file system refuses direct I/O.
pub(in crate::io) fn explain(error: io::Error, path: Option<CString>) -> io::Error {
    if error.raw_os_error() != Some(libc::EINVAL) {
        return error;
    }
    io::Error::new(io::ErrorKind::Unsupported, DirectIoUnsupported { path })
}

impl FileWork {
    pub fn new(op: Op, handles: &Handles) -> io::Result<FileWork> {
        Ok(match op {
            Op::Open { path, mode } => FileWork::Open { path: c_path(&path)?, mode },
            Op::Read { file, offset, buf } => {
                FileWork::Read(Transfer::new(handles.target(file)?, offset.0, buf))
            }
            Op::Write { file, offset, buf, sync } => {
                FileWork::Write(Transfer::new(handles.target(file)?, offset.0, buf), sync)
            }
            Op::SyncFile { file } => FileWork::Sync { file: handles.target(file)? },
            Op::Rename { from, to } => FileWork::Rename { from: c_path(&from)?, to: c_path(&to)? },
            Op::Link { from, to } => FileWork::Link { from: c_path(&from)?, to: c_path(&to)? },
            Op::RemoveFile { path } => FileWork::Remove { path: c_path(&path)?, flags: 0 },
            Op::RemoveDir { path } => FileWork::Remove { path: c_path(&path)?, flags: libc::AT_REMOVEDIR },
            Op::CreateDir { path } => FileWork::CreateDir { path: c_path(&path)? },
            Op::SyncDir { path } => FileWork::OpenDirToSync { path: c_path(&path)? },
            other => unreachable!("not an operation on files: {other:?}"),
        })
    }

    pub fn target(&self) -> Option<Target> {
        match self {
            FileWork::Read(transfer) | FileWork::Write(transfer, _) => Some(transfer.file),
            FileWork::Sync { file } => Some(*file),
            _ => None,
        }
    }

    pub fn entry(&mut self) -> squeue::Entry {
        match self {
            FileWork::Open { path, mode } => {
                let flags = open_flags(*mode) | libc::O_DIRECT | libc::O_CLOEXEC;
                opcode::OpenAt::new(HERE, path.as_ptr()).flags(flags).mode(FILE_MODE).build()
            }
            FileWork::Read(transfer) => transfer.read_entry(),
            FileWork::Write(transfer, sync) => transfer.write_entry(*sync),
            // The size is metadata that reading needs, so fdatasync writes it as well.
            FileWork::Sync { file } => {
                opcode::Fsync::new(types::Fd(file.fd)).flags(types::FsyncFlags::DATASYNC).build()
            }
            FileWork::Rename { from, to } => {
                opcode::RenameAt::new(HERE, from.as_ptr(), HERE, to.as_ptr()).build()
            }
            FileWork::Link { from, to } => {
                opcode::LinkAt::new(HERE, from.as_ptr(), HERE, to.as_ptr()).build()
            }
            FileWork::Remove { path, flags } => {
                opcode::UnlinkAt::new(HERE, path.as_ptr()).flags(*flags).build()
            }
            FileWork::CreateDir { path } => opcode::MkDirAt::new(HERE, path.as_ptr()).mode(DIR_MODE).build(),
            FileWork::OpenDirToSync { path } => {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
                opcode::OpenAt::new(HERE, path.as_ptr()).flags(flags).build()
            }
            FileWork::SyncDir { dir } => opcode::Fsync::new(types::Fd(dir.as_raw_fd())).build(),
        }
    }

    pub fn advance(self, answer: Answer, handles: &mut Handles) -> Next {
        let result = match answer.result {
            Ok(result) => result,
            Err(error) => return Next::End(Outcome::Failed(self.explain(error))),
        };
        match self {
            FileWork::Open { .. } => {
                let handle = handles.insert(opened(result), Kind::File);
                Next::End(Outcome::Opened(handle))
            }
            FileWork::Read(transfer) => transfer.after_read(result as usize),
            FileWork::Write(transfer, sync) => transfer.after_write(result as usize, sync),
            FileWork::OpenDirToSync { .. } => {
                Next::Again(Work::File(FileWork::SyncDir { dir: opened(result) }))
            }
            FileWork::Sync { .. }
            | FileWork::Rename { .. }
            | FileWork::Link { .. }
            | FileWork::Remove { .. }
            | FileWork::CreateDir { .. }
            | FileWork::SyncDir { .. } => Next::End(Outcome::Done),
        }
    }

    fn explain(self, error: io::Error) -> io::Error {
        match self {
            FileWork::Open { path, .. } => explain(error, Some(path)),
            FileWork::Read(_) | FileWork::Write(..) => explain(error, None),
            _ => error,
        }
    }
}

impl Transfer {
    fn new(file: Target, offset: u64, buf: AlignedBuf) -> Transfer {
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "direct I/O at {offset}, which is no block");
        Transfer { file, offset, buf, done: 0 }
    }

    fn rest(&self) -> u32 {
        (self.buf.len() - self.done).min(TRANSFER_BYTES_MAX) as u32
    }

    fn read_entry(&mut self) -> squeue::Entry {
        let rest = self.rest();
        opcode::Read::new(types::Fd(self.file.fd), self.buf[self.done..].as_mut_ptr(), rest)
            .offset(self.offset + self.done as u64)
            .build()
    }

    fn write_entry(&self, sync: Sync) -> squeue::Entry {
        let flags = match sync {
            Sync::No => 0,
            Sync::Data => libc::RWF_DSYNC,
        };
        opcode::Write::new(types::Fd(self.file.fd), self.buf[self.done..].as_ptr(), self.rest())
            .offset(self.offset + self.done as u64)
            .rw_flags(flags)
            .build()
    }

    /// A short read may be asked again when it ended between blocks; one that ended within a block has
    /// met the end of the file.
    fn after_read(mut self, count: usize) -> Next {
        self.done += count;
        let at_end = count == 0 || !self.done.is_multiple_of(BLOCK_BYTES);
        if self.done == self.buf.len() || at_end {
            return Next::End(Outcome::Read { count: self.done, buf: self.buf });
        }
        Next::Again(Work::File(FileWork::Read(self)))
    }

    fn after_write(mut self, count: usize, sync: Sync) -> Next {
        self.done += count;
        if self.done == self.buf.len() {
            return Next::End(Outcome::Wrote(self.buf));
        }
        if count == 0 {
            return Next::End(Outcome::Failed(io::ErrorKind::WriteZero.into()));
        }
        Next::Again(Work::File(FileWork::Write(self, sync)))
    }
}

fn open_flags(mode: OpenMode) -> i32 {
    match mode {
        OpenMode::Read => libc::O_RDONLY,
        OpenMode::ReadWrite => libc::O_RDWR,
        OpenMode::CreateNew => libc::O_RDWR | libc::O_CREAT | libc::O_EXCL,
    }
}

fn opened(result: u32) -> OwnedFd {
    // SAFETY: the kernel has just opened it for this request, and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(result as RawFd) }
}

pub(in crate::io) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Entries sorted by name. Names that are not UTF-8 are shown with replacement characters.
pub(in crate::io) fn list(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // removed meanwhile
            other => other?,
        };
        let is_dir = metadata.is_dir();
        let len = if is_dir { 0 } else { metadata.len() };
        entries.push(DirEntry { name: entry.file_name().to_string_lossy().into_owned(), is_dir, len });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

pub(in crate::io) fn free_space(path: &Path) -> io::Result<u64> {
    let path = c_path(path)?;
    let stats = statvfs(&path)?;
    Ok(stats.f_bavail * stats.f_frsize)
}

fn statvfs(path: &CStr) -> io::Result<libc::statvfs> {
    // SAFETY: all zeroes is a valid statvfs.
    let mut stats: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: path and result are valid for the whole call.
    match unsafe { libc::statvfs(path.as_ptr(), &mut stats) } {
        0 => Ok(stats),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(in crate::io) fn len(fd: RawFd) -> io::Result<u64> {
    // SAFETY: all zeroes is a valid stat.
    let mut stats: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `stats` is valid for the whole call.
    match unsafe { libc::fstat(fd, &mut stats) } {
        0 => Ok(stats.st_size as u64),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(in crate::io) fn set_len(fd: RawFd, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: takes no pointers.
    match unsafe { libc::ftruncate(fd, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::op::Handle;

    const NOWHERE: Target = Target { handle: Handle(0), fd: -1 };

    fn transfer(blocks: usize) -> Transfer {
        Transfer::new(NOWHERE, 0, AlignedBuf::zeroed(blocks * BLOCK_BYTES))
    }

    fn advance(work: FileWork, result: io::Result<usize>) -> Next {
        let result = result.map(|count| count as u32);
        work.advance(Answer { result, more: false, buffer: None }, &mut Handles::default())
    }

    #[test]
    fn a_short_write_goes_on_and_an_empty_one_fails() {
        let next = advance(FileWork::Write(transfer(3), Sync::Data), Ok(BLOCK_BYTES));
        let Next::Again(Work::File(FileWork::Write(rest, Sync::Data))) = next else { panic!("it goes on") };
        assert_eq!((rest.done, rest.rest() as usize), (BLOCK_BYTES, 2 * BLOCK_BYTES));
        let next = advance(FileWork::Write(rest, Sync::Data), Ok(0));
        assert!(matches!(next, Next::End(Outcome::Failed(e)) if e.kind() == io::ErrorKind::WriteZero));
    }

    #[test]
    fn a_short_read_goes_on_unless_it_met_the_end() {
        let next = advance(FileWork::Read(transfer(3)), Ok(BLOCK_BYTES));
        let Next::Again(Work::File(FileWork::Read(rest))) = next else { panic!("it goes on") };
        let next = advance(FileWork::Read(rest), Ok(100));
        assert!(matches!(next, Next::End(Outcome::Read { count, .. }) if count == BLOCK_BYTES + 100));
        let next = advance(FileWork::Read(transfer(3)), Ok(0));
        assert!(matches!(next, Next::End(Outcome::Read { count: 0, .. })));
    }

    #[test]
    fn refused_direct_io_is_named() {
        let open = FileWork::Open { path: c"/some/file".to_owned(), mode: OpenMode::Read };
        for work in [open, FileWork::Read(transfer(1)), FileWork::Write(transfer(1), Sync::No)] {
            let Next::End(Outcome::Failed(error)) =
                advance(work, Err(io::Error::from_raw_os_error(libc::EINVAL)))
            else {
                panic!("an error ends it");
            };
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert!(error.to_string().contains("O_DIRECT"), "{error}");
        }
        let full = Err(io::Error::from_raw_os_error(libc::ENOSPC));
        let next = advance(FileWork::Write(transfer(1), Sync::No), full);
        assert!(matches!(next, Next::End(Outcome::Failed(e)) if e.raw_os_error() == Some(libc::ENOSPC)));
    }

    #[test]
    fn paths_with_a_nul_are_refused() {
        assert_eq!(c_path(Path::new("a\0b")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
