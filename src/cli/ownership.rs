//! What root makes in the directory of a service must be the service's, which could not open it else.
//!
//! Its user may change the directory meanwhile, and everything that a root gives away by path could be another file by then.
//! So each is held open, looked at and given away as what it is; no link is followed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, chownat, fchown, fstat, openat};
use rustix::process::{Gid, Uid, geteuid};

use super::data_dir::LOCK_FILE;
use super::failure::Failure;
use crate::shard::options::parse_shard_dir;
use crate::shard::repair::ASIDE_DIR;

/// A file of root's in a directory of somebody else's; none that has a second name, which could be anywhere.
pub fn give_file_to_owner_of(dir: &Path, file: &File) -> io::Result<()> {
    let (owner, own) = (fstat(File::open(dir)?)?, fstat(file)?);
    if owner.st_uid != 0 && own.st_uid == 0 && own.st_nlink == 1 {
        fchown(file, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)))?;
    }
    Ok(())
}

/// All that is root's of the data in a directory of somebody else's. Nobody else can give anything away.
pub fn give_data_to_owner_of(dir: &Path) -> Result<(), Failure> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let given = || {
        let dir = File::open(dir)?;
        let owner = fstat(&dir)?;
        if owner.st_uid == 0 { Ok(()) } else { give_all(dir.as_fd(), &owner, is_data) }
    };
    given().map_err(Failure::file(dir))
}

/// Others may keep files of their own beside the data.
fn is_data(name: &str) -> bool {
    name == LOCK_FILE || name == ASIDE_DIR || parse_shard_dir(name).is_some()
}

fn give_all(dir: BorrowedFd<'_>, owner: &Stat, is_meant: fn(&str) -> bool) -> io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || !name.to_str().is_ok_and(is_meant) {
            continue;
        }
        let itself = openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let own = fstat(&itself)?;
        let is_dir = FileType::from_raw_mode(own.st_mode) == FileType::Directory;
        // A second name could be that of any file on this disk, and another disk has other owners.
        if own.st_dev != owner.st_dev || !(is_dir || own.st_nlink == 1) {
            continue;
        }
        if own.st_uid == 0 {
            let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
            chownat(&itself, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        }
        if is_dir {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            give_all(openat(&itself, c".", flags, Mode::empty())?.as_fd(), owner, |_| true)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, chown, symlink};

    use super::*;

    const SERVICE: u32 = 64217;

    #[test]
    fn the_data_is_given_away_and_nothing_else() {
        if !geteuid().is_root() {
            return eprintln!("skipped: only root can give files away");
        }
        let place = tempfile::tempdir().unwrap();
        let (dir, other) = (place.path().join("data"), place.path().join("other"));
        fs::create_dir_all(dir.join("shard-000/runs")).unwrap();
        fs::create_dir_all(dir.join("lost+found")).unwrap();
        fs::create_dir(&other).unwrap();
        for file in ["data/LOCK", "data/shard-000/runs/1.run", "data/notes", "other/root"] {
            fs::write(place.path().join(file), b"x").unwrap();
        }
        symlink(&other, dir.join("shard-001")).unwrap();
        symlink(&other, dir.join("shard-000/link")).unwrap();
        fs::hard_link(other.join("root"), dir.join("shard-000/root")).unwrap();
        let owner_of = |name: &str| fs::symlink_metadata(place.path().join(name)).unwrap().uid();

        give_data_to_owner_of(&dir).unwrap();
        assert_eq!(owner_of("data/LOCK"), 0, "a directory of root's");
        chown(&dir, Some(SERVICE), Some(SERVICE)).unwrap();
        give_data_to_owner_of(&dir).unwrap();
        for given in ["data/LOCK", "data/shard-000", "data/shard-000/runs", "data/shard-000/runs/1.run"] {
            assert_eq!(owner_of(given), SERVICE, "{given}");
        }
        for kept in ["data/notes", "data/lost+found", "other", "other/root"] {
            assert_eq!(owner_of(kept), 0, "{kept}");
        }
    }
}
