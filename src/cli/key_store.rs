//! Files of keys on the disk: read whole, replaced whole.
//!
//! Invariant: a file has either its old or its new keys, also after a crash, and is open to its owner
//! only from the moment in which it exists.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::failure::Failure;
use super::files::sync_dir;
use super::ownership::give_file_to_owner_of;
use crate::io::crashsafe::dir_of;
use crate::limits;
use crate::net::access::key_file::{self, ApiKey, KeyFileError};

/// In the data directory.
pub const KEY_FILE: &str = "keys.json";
const OWNER_ONLY: u32 = 0o600;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Why the keys of a file are not taken.
#[derive(Debug)]
pub struct KeyStoreError {
    pub path: PathBuf,
    pub what: KeyStoreProblem,
}

#[derive(Debug)]
pub enum KeyStoreProblem {
    Io(io::Error),
    Content(KeyFileError),
    /// Group or others may write it, and so let themselves in.
    WritableByOthers,
}

/// The bytes of a file, `None` when there is none; not more than a file of keys may have, and one.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, KeyStoreError> {
    let wrong = |what| KeyStoreError { path: path.to_owned(), what };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(KeyStoreProblem::Io(error))),
    };
    let mode = file.metadata().map_err(|error| wrong(KeyStoreProblem::Io(error)))?.permissions().mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(wrong(KeyStoreProblem::WritableByOthers));
    }
    let mut bytes = Vec::new();
    let room = limits::KEY_FILE_BYTES_MAX as u64 + 1;
    file.take(room).read_to_end(&mut bytes).map_err(|error| wrong(KeyStoreProblem::Io(error)))?;
    Ok(Some(bytes))
}

pub fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<ApiKey>, KeyStoreError> {
    let wrong = |error| KeyStoreError { path: path.to_owned(), what: KeyStoreProblem::Content(error) };
    key_file::parse(bytes).map_err(wrong)
}

/// No file, no keys.
pub fn load(path: &Path) -> Result<Vec<ApiKey>, KeyStoreError> {
    read(path)?.map_or(Ok(Vec::new()), |bytes| parse(path, &bytes))
}

/// Changes the keys of a file, one process at a time. Nothing is written when `change` fails.
pub fn change<T>(
    path: &Path,
    change: impl FnOnce(&mut Vec<ApiKey>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let dir = dir_of(path);
    fs::create_dir_all(dir).map_err(Failure::file(dir))?;
    // A file of its own: that of the keys is replaced, and a lock on it would go with it.
    let lock_path = beside(path, "lock");
    let lock = owned(&lock_path, false).map_err(Failure::file(&lock_path))?;
    // Also one that root has left before: whoever owns the directory could not change its keys.
    give_file_to_owner_of(dir, &lock).map_err(Failure::file(&lock_path))?;
    lock.lock().map_err(Failure::file(&lock_path))?;
    let mut keys = load(path).map_err(Failure::KeyStore)?;
    let outcome = change(&mut keys)?;
    let text = key_file::render(&keys).map_err(|error| {
        Failure::KeyStore(KeyStoreError { path: path.to_owned(), what: KeyStoreProblem::Content(error) })
    })?;
    replace(path, dir, &text)?;
    Ok(outcome)
}

fn replace(path: &Path, dir: &Path, text: &[u8]) -> Result<(), Failure> {
    let unfinished = beside(path, "tmp");
    let written = || {
        // One that a crash has left may have another mode.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = owned(&unfinished, true)?;
        file.write_all(text)?;
        give_file_to_owner_of(dir, &file)?;
        file.sync_all()
    };
    written().map_err(Failure::file(&unfinished))?;
    fs::rename(&unfinished, path).map_err(Failure::file(path))?;
    sync_dir(dir)
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn owned(path: &Path, is_new: bool) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(!is_new)
        .create_new(is_new)
        .truncate(false)
        .mode(OWNER_ONLY)
        // Who owns the directory could have put a link there, to a file that root would give away.
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

impl fmt::Display for KeyStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl fmt::Display for KeyStoreProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyStoreProblem::Io(error) => error.fmt(f),
            KeyStoreProblem::Content(error) => error.fmt(f),
            KeyStoreProblem::WritableByOthers => {
                f.write_str("others may write this file of keys, and so let themselves in: `chmod go-w` it")
            }
        }
    }
}

impl std::error::Error for KeyStoreError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::access::key::{NewKey, RANDOM_BYTES};
    use crate::net::access::role::Role;
    use crate::net::access::scope::Scope;
    use crate::types::WallMs;

    fn add(path: &Path, seed: u8) {
        let new = NewKey::from_random([seed; RANDOM_BYTES]);
        let (role, scope, created) = (Role::Read, Scope::Everything, WallMs(0));
        let key = ApiKey { id: new.id, name: "k".to_owned(), role, scope, created, hash: new.hash };
        change(path, |keys| {
            keys.push(key);
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_file_is_the_owner_s_alone_and_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new").join("keys.json");
        assert!(load(&path).unwrap().is_empty());
        // What a crash has left.
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(beside(&path, "tmp"), "half").unwrap();
        add(&path, 1);
        add(&path, 2);
        assert_eq!(load(&path).unwrap().len(), 2);
        for file in [&path, &beside(&path, "lock")] {
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, OWNER_ONLY, "{file:?}");
        }
        assert!(!beside(&path, "tmp").exists());
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        add(&path, 1);
        let before = fs::read(&path).unwrap();
        let failed: Result<(), Failure> = change(&path, |keys| {
            keys.clear();
            Err(Failure::NoKey { id: "x".to_owned() })
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::write(&path, "{").unwrap();
        assert!(change(&path, |_| Ok(())).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"{");
    }

    #[test]
    fn changes_at_the_same_time_are_all_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        std::thread::scope(|scope| {
            for seed in 0..8 {
                let path = &path;
                scope.spawn(move || add(path, seed));
            }
        });
        assert_eq!(load(&path).unwrap().len(), 8);
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        add(&path, 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(load(&path).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("chmod go-w"));
    }
}
