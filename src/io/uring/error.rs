//! Why a core cannot have its ring, and what to do about it.

use std::fmt;
use std::io;

use super::host;

#[derive(Debug)]
pub enum RingError {
    /// The kernel was built without io_uring, or a sandbox hides it (ENOSYS).
    Missing,
    /// The sysctl `kernel.io_uring_disabled` is set to this value (EPERM).
    DisabledBySysctl(String),
    /// Something else forbids it, as a rule the seccomp filter of a container (EPERM).
    Forbidden,
    /// The kernel's io_uring is too old: it has not this.
    TooOld(&'static str),
    /// Not enough locked memory (ENOMEM); the limit in bytes.
    LockedMemory { limit_bytes: u64 },
    /// Not enough file descriptors; how many are needed, and the limit.
    OpenFiles { wanted: u64, limit: u64 },
    /// The machine as a whole has no file descriptor left (ENFILE).
    OpenFilesOfMachine,
    /// A system call failed for a reason of its own.
    Os { call: &'static str, error: io::Error },
}

impl RingError {
    pub(super) fn from_os(call: &'static str, error: io::Error) -> RingError {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => RingError::Missing,
            Some(libc::EPERM | libc::EACCES) => match host::io_uring_disabled() {
                Some(value) => RingError::DisabledBySysctl(value),
                None => RingError::Forbidden,
            },
            Some(libc::ENOMEM) => RingError::LockedMemory { limit_bytes: host::locked_memory_limit() },
            Some(libc::EMFILE) => {
                let limit = host::open_files_limit();
                RingError::OpenFiles { wanted: limit + 1, limit }
            }
            Some(libc::ENFILE) => RingError::OpenFilesOfMachine,
            _ => RingError::Os { call, error },
        }
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::Missing => f.write_str(
                "io_uring is not available here (ENOSYS): run on Linux 5.15 or newer, and in a container \
                 allow io_uring_setup, io_uring_enter and io_uring_register (for example with \
                 --security-opt seccomp=unconfined)",
            ),
            RingError::DisabledBySysctl(value) => write!(
                f,
                "io_uring is switched off by the sysctl kernel.io_uring_disabled={value}: switch it on with \
                 `sysctl -w kernel.io_uring_disabled=0`"
            ),
            RingError::Forbidden => f.write_str(
                "io_uring is forbidden here (EPERM), as a rule by the seccomp profile of a container: allow \
                 io_uring_setup, io_uring_enter and io_uring_register (for example with --security-opt \
                 seccomp=unconfined)",
            ),
            RingError::TooOld(lacks) => {
                write!(f, "the io_uring of this kernel lacks {lacks}: run on Linux 5.15 or newer")
            }
            RingError::LockedMemory { limit_bytes } => write!(
                f,
                "not enough locked memory for a ring (RLIMIT_MEMLOCK is {limit_bytes} bytes): raise it to 8 MiB \
                 or more with `ulimit -l 8192`, LimitMEMLOCK= in the systemd unit, or --ulimit memlock=-1 for \
                 a container"
            ),
            RingError::OpenFiles { wanted, limit } => write!(
                f,
                "not enough file descriptors ({wanted} are needed, RLIMIT_NOFILE is {limit}): raise it with \
                 `ulimit -n`, LimitNOFILE= in the systemd unit, or --ulimit nofile= for a container"
            ),
            RingError::OpenFilesOfMachine => f.write_str(
                "the machine has no file descriptor left (ENFILE): raise the sysctl fs.file-max or stop what \
                 holds them",
            ),
            RingError::Os { call, error } => {
                write!(f, "{call} failed: {error}; this is unexpected, see dmesg")
            }
        }
    }
}

impl std::error::Error for RingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RingError::Os { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_to_do() {
        let of = |code| RingError::from_os("io_uring_setup", io::Error::from_raw_os_error(code)).to_string();
        assert!(of(libc::ENOSYS).contains("5.15"));
        assert!(of(libc::EPERM).contains("seccomp") || of(libc::EPERM).contains("sysctl"));
        assert!(of(libc::ENOMEM).contains("RLIMIT_MEMLOCK") && of(libc::ENOMEM).contains("ulimit -l"));
        assert!(of(libc::EMFILE).contains("RLIMIT_NOFILE") && of(libc::EMFILE).contains("ulimit -n"));
        assert!(of(libc::ENFILE).contains("fs.file-max"));
        assert!(of(libc::EIO).contains("io_uring_setup"));
        assert!(RingError::DisabledBySysctl("2".into()).to_string().contains("sysctl -w"));
        assert!(RingError::TooOld("MKDIRAT").to_string().contains("MKDIRAT"));
    }
}
