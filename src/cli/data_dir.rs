//! The data directory belongs to one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
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
    /// `None` where there is none and none can be made.
    _lock: Option<File>,
}

impl DataDir {
    /// Creates the directory when it is missing.
    pub fn claim(path: &Path) -> Result<DataDir, Failure> {
        std::fs::create_dir_all(path).map_err(Failure::file(path))?;
        DataDir::claim_existing(path)
    }

    pub fn claim_existing(path: &Path) -> Result<DataDir, Failure> {
        held(path, make_lock(path), File::try_lock)
    }

    /// Whether a process has it that may write there. Makes nothing, and lets go at once of what it takes to see that.
    pub fn is_in_use(path: &Path) -> bool {
        let lock = File::open(path.join(LOCK_FILE));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Beside others that only read, and without a right to write: where there is no lock no server runs, as it would
    /// have made one.
    pub fn claim_to_read(path: &Path) -> Result<DataDir, Failure> {
        let lock = match File::open(path.join(LOCK_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match make_lock(path) {
                Err(error) if is_read_only(&error) => return Ok(DataDir { _lock: None }),
                made => made,
            },
            opened => opened,
        };
        held(path, lock, File::try_lock_shared)
    }
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

fn make_lock(dir: &Path) -> io::Result<File> {
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK_FILE))?;
    give_file_to_owner_of(dir, &lock)?;
    Ok(lock)
}

type TryLock = fn(&File) -> Result<(), TryLockError>;

fn held(dir: &Path, lock: io::Result<File>, try_lock: TryLock) -> Result<DataDir, Failure> {
    let lock_path = dir.join(LOCK_FILE);
    let lock = lock.map_err(Failure::file(&lock_path))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_lock(&lock) {
            Ok(()) => return Ok(DataDir { _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(RETRY),
            Err(TryLockError::WouldBlock) => {
                let what = format!("{} is in use by another kyrodb process", dir.display());
                return Err(Failure::Unavailable { what });
            }
            Err(TryLockError::Error(error)) => return Err(Failure::file(&lock_path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_is_alone_and_readers_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |claim: Result<DataDir, Failure>| matches!(claim, Err(Failure::Unavailable { .. }));
        assert!(!DataDir::is_in_use(dir.path()) && !dir.path().join(LOCK_FILE).exists());
        let writer = DataDir::claim(dir.path()).unwrap();
        assert!(DataDir::is_in_use(dir.path()));
        assert!(refused(DataDir::claim_to_read(dir.path())));
        drop(writer);
        let readers = [(); 2].map(|()| DataDir::claim_to_read(dir.path()).unwrap());
        assert!(!DataDir::is_in_use(dir.path()));
        assert!(refused(DataDir::claim_existing(dir.path())));
        drop(readers);
        DataDir::claim_existing(dir.path()).unwrap();
    }
}
