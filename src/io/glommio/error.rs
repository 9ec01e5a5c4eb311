//! Why a core cannot run on glommio, and what to do about it.

use std::fmt;
use std::io;

use glommio::{GlommioError as Reported, ReactorErrorKind};

#[derive(Debug)]
pub enum GlommioError {
    /// glommio asks for more locked memory than this process may have.
    LockedMemory { limit_bytes: u64, wanted_bytes: u64 },
    /// What a core needs beside glommio.
    Os { call: &'static str, error: io::Error },
    /// As glommio tells it.
    Other(io::Error),
}

impl From<Reported<()>> for GlommioError {
    fn from(error: Reported<()>) -> GlommioError {
        match error {
            Reported::ReactorError(ReactorErrorKind::MemLockLimit(limit_bytes, wanted_bytes)) => {
                GlommioError::LockedMemory { limit_bytes, wanted_bytes }
            }
            other => GlommioError::Other(other.into()),
        }
    }
}

impl fmt::Display for GlommioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GlommioError::LockedMemory { limit_bytes, wanted_bytes } => write!(
                f,
                "not enough locked memory for glommio (RLIMIT_MEMLOCK is {limit_bytes} bytes, it asks for \
                 {wanted_bytes}): raise it to 8 MiB or more with `ulimit -l 8192`, LimitMEMLOCK= in the systemd unit, \
                 or --ulimit memlock=-1 for a container"
            ),
            GlommioError::Os { call, error } => write!(f, "{call} failed: {error}"),
            GlommioError::Other(error) => {
                write!(f, "glommio does not start: {error}; the server also runs with `--runtime uring`")
            }
        }
    }
}

impl std::error::Error for GlommioError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            GlommioError::LockedMemory { .. } => None,
            GlommioError::Os { error, .. } | GlommioError::Other(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_locked_memory_says_what_to_do() {
        let refused = Reported::ReactorError(ReactorErrorKind::MemLockLimit(65_536, 524_288));
        let text = GlommioError::from(refused).to_string();
        assert!(text.contains("65536") && text.contains("ulimit -l"), "{text}");
    }
}
