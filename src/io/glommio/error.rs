//! Why a core cannot run on glommio, and what to do about it.

use std::fmt;
use std::io;

use crate::io::uring::facts;

/// What glommio asks for, and does not start without.
const LOCKED_BYTES_MIN: u64 = 512 << 10;

#[derive(Debug)]
pub enum GlommioError {
    /// Not enough locked memory; the limit in bytes.
    LockedMemory { limit_bytes: u64 },
    /// Something that a core needs beside glommio.
    Os { call: &'static str, error: io::Error },
    /// In the words of glommio.
    Refused(io::Error),
}

/// Asked before glommio does, which tells it as a text.
pub(super) fn require_locked_memory() -> Result<(), GlommioError> {
    match facts::locked_memory_bytes() {
        LOCKED_BYTES_MIN.. => Ok(()),
        limit_bytes => Err(GlommioError::LockedMemory { limit_bytes }),
    }
}

impl fmt::Display for GlommioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GlommioError::LockedMemory { limit_bytes } => write!(
                f,
                "not enough locked memory for glommio (RLIMIT_MEMLOCK is {limit_bytes} bytes, it asks for \
                 {LOCKED_BYTES_MIN}): raise it to 8 MiB or more with `ulimit -l 8192`, LimitMEMLOCK= in the systemd \
                 unit, or --ulimit memlock=-1 for a container"
            ),
            GlommioError::Os { call, error } => {
                write!(f, "{call} failed: {error}; this is unexpected, see dmesg")
            }
            GlommioError::Refused(error) => {
                write!(
                    f,
                    "glommio does not start: {error}; see whether the server does with `--runtime uring`"
                )
            }
        }
    }
}

impl std::error::Error for GlommioError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            GlommioError::LockedMemory { .. } => None,
            GlommioError::Os { error, .. } | GlommioError::Refused(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_locked_memory_says_what_to_do() {
        let text = GlommioError::LockedMemory { limit_bytes: 65_536 }.to_string();
        assert!(text.contains("65536") && text.contains("524288") && text.contains("ulimit -l"), "{text}");
        assert!(require_locked_memory().is_ok(), "the tests run where the server does");
    }
}
