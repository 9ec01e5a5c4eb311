//! The operations of the seam: owned data in, owned data out.
//!
//! An [`Op`] moves into the driver with everything it needs, buffers included, and comes back as one
//! [`Completion`] (or, for the two streams `Accept` and `Receive`, as many, the last one with
//! `more == false`). While an operation is under way its buffer belongs to the driver: dropping the
//! future that waits for it frees nothing that the kernel may still write to.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::buf::AlignedBuf;
use super::lease::Lease;
use crate::types::FileOffset;

/// Names one operation from submission to its last completion; chosen by the executor. Small and
/// dense, so that a driver can index by it; used again after the last completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// An open file or socket, as the driver numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, direct I/O, reading only.
    Read,
    /// Existing file, direct I/O, reading and writing.
    ReadWrite,
    /// New empty file, direct I/O; fails with `AlreadyExists` when the name is taken.
    CreateNew,
}

/// When a write counts as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When the kernel took the data; a power cut may lose it.
    No,
    /// When data and file size are on stable storage (RWF_DSYNC). Says nothing of earlier writes.
    Data,
}

/// Bytes on their way to a socket.
#[derive(Debug)]
pub enum SendBuf {
    Owned(Vec<u8>),
    /// A part of a value that the engine also holds: large values are not copied to be sent.
    Shared {
        bytes: Arc<[u8]>,
        start: usize,
        end: usize,
    },
}

impl SendBuf {
    pub fn bytes(&self) -> &[u8] {
        match self {
            SendBuf::Owned(bytes) => bytes,
            SendBuf::Shared { bytes, start, end } => &bytes[*start..*end],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    /// Size in bytes; 0 for a directory.
    pub len: u64,
}

#[derive(Debug)]
pub enum Op {
    Open {
        path: PathBuf,
        mode: OpenMode,
    },
    /// Reads into the whole of `buf`; a short count means the end of the file.
    Read {
        file: Handle,
        offset: FileOffset,
        buf: AlignedBuf,
    },
    /// Writes the whole of `buf`. A short write is finished by the driver or becomes an error.
    Write {
        file: Handle,
        offset: FileOffset,
        buf: AlignedBuf,
        sync: Sync,
    },
    /// Everything written to the file before this was submitted, and its size, on stable storage.
    SyncFile {
        file: Handle,
    },
    SetLen {
        file: Handle,
        len: u64,
    },
    /// Current size of the file.
    FileLen {
        file: Handle,
    },

    /// Replaces `to` when it exists. Durable only after `SyncDir` of the parent(s).
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    /// A second name of a file; fails with `AlreadyExists` when `to` is there. Durable only after `SyncDir`
    /// of the parent.
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    RemoveFile {
        path: PathBuf,
    },
    RemoveDir {
        path: PathBuf,
    },
    /// Fails with `AlreadyExists` when the name is taken.
    CreateDir {
        path: PathBuf,
    },
    SyncDir {
        path: PathBuf,
    },
    /// Entries of a directory, sorted by name.
    List {
        path: PathBuf,
    },
    /// Bytes an unprivileged writer can still allocate on the file system of `path`.
    FreeSpace {
        path: PathBuf,
    },

    /// A listening TCP socket that shares its address with the other cores of this process.
    Listen {
        addr: SocketAddr,
    },
    /// Takes over a TCP socket that listens already.
    TakeOverListener {
        socket: OwnedFd,
    },
    /// Stream: one completion a connection.
    Accept {
        listener: Handle,
    },
    Connect {
        addr: SocketAddr,
    },
    /// Stream: one completion a leased buffer; an empty lease is the end of the peer's stream.
    Receive {
        socket: Handle,
    },
    /// Sends the whole of `buf`, or fails.
    Send {
        socket: Handle,
        buf: SendBuf,
    },
    /// Ends both directions; a `Receive` under way then completes with the end of the stream.
    Shutdown {
        socket: Handle,
    },
    Close {
        handle: Handle,
    },
}

/// What an operation gave. A buffer comes back with success; on failure the driver frees it.
#[derive(Debug)]
pub enum Outcome {
    Done,
    Opened(Handle),
    Read { count: usize, buf: AlignedBuf },
    Wrote(AlignedBuf),
    Len(u64),
    Entries(Vec<DirEntry>),
    Listening { listener: Handle, addr: SocketAddr },
    Accepted { socket: Handle, peer: SocketAddr },
    Received(Lease),
    Sent(SendBuf),
    Failed(io::Error),
}

#[derive(Debug)]
pub struct Completion {
    pub token: Token,
    pub outcome: Outcome,
    /// True when the operation is a stream and goes on.
    pub more: bool,
}

/// Whether the file is gone or ends too early, or its medium does not give what was written: anything else tells of who asks,
/// or of what the machine is short of, and nothing of the file.
pub fn is_fault_of_file(error: &io::Error) -> bool {
    let of_medium = [libc::EIO, libc::ENODATA, libc::EILSEQ];
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
        || error.raw_os_error().is_some_and(|code| of_medium.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_read_a_file_knows_nothing_of_it() {
        for of_file in [libc::ENOENT, libc::EIO, libc::ENODATA, libc::EILSEQ] {
            assert!(is_fault_of_file(&io::Error::from_raw_os_error(of_file)), "{of_file}");
        }
        for of_others in [libc::EACCES, libc::EPERM, libc::EMFILE, libc::ENOMEM, libc::ELOOP, libc::EISDIR] {
            assert!(!is_fault_of_file(&io::Error::from_raw_os_error(of_others)), "{of_others}");
        }
    }
}
