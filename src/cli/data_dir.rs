//! The data directory belongs to one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::ownership::give_file_to_owner_of;

/// An earlier process that was killed may still be ending its I/O.
const PATIENCE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(50);
pub const LOCK_FILE: &str = "LOCK";

/// Held for as long as the directory is in use; the kernel lets go of it with the process.
pub struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Creates the directory when it is missing.
    pub fn claim(path: &Path) -> Result<DataDir, Failure> {
        std::fs::create_dir_all(path).map_err(Failure::file(path))?;
        DataDir::claim_existing(path)
    }

    pub fn claim_existing(path: &Path) -> Result<DataDir, Failure> {
        if !path.is_dir() {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Failure::file(path)(missing));
        }
        let lock_path = path.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(Failure::file(&lock_path))?;
        give_file_to_owner_of(path, &lock).map_err(Failure::file(&lock_path))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(DataDir { _lock: lock }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(RETRY),
                Err(TryLockError::WouldBlock) => {
                    let what = format!("{} is in use by another kyrodb process", path.display());
                    return Err(Failure::Unavailable { what });
                }
                Err(TryLockError::Error(error)) => return Err(Failure::file(&lock_path)(error)),
            }
        }
    }
}
