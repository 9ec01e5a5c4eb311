//! Small changes of a directory that a crash leaves done or undone, never half done.
//!
//! Each returns when its effect is on stable storage, directory entries included.

use std::io;
use std::path::Path;

use super::buf::AlignedBuf;
use super::op::{OpenMode, Sync};
use super::runtime::Runtime;
use crate::types::FileOffset;

/// Gives the file `name` in `dir` the content `bytes`, replacing what was there. Uses the name
/// `<name>.tmp`, where a crash may leave something behind.
pub async fn write_file(runtime: &Runtime, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    ignore(io::ErrorKind::NotFound, runtime.remove_file(&temporary).await)?;
    let file = runtime.open(&temporary, OpenMode::CreateNew).await?;
    file.write(FileOffset::ZERO, AlignedBuf::padded(bytes), Sync::No).await?;
    // Direct writes are whole blocks; the file is not.
    file.set_len(bytes.len() as u64).await?;
    file.sync().await?;
    runtime.rename(&temporary, dir.join(name)).await?;
    runtime.sync_dir(dir).await
}

/// Makes `dir` a durable directory; it may exist already. Its parent must be durable.
pub async fn create_dir(runtime: &Runtime, dir: &Path) -> io::Result<()> {
    ignore(io::ErrorKind::AlreadyExists, runtime.create_dir(dir).await)?;
    // Also when it was there: the process that made it may have died before this.
    runtime.sync_dir(dir_of(dir)).await
}

/// The directory that the last name of `path` is in. [`Path::parent`] of a bare name is empty, which opens nothing.
pub fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        Some(dir) => dir,
        None => path,
    }
}

fn ignore(kind: io::ErrorKind, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        for (path, wanted) in [("a", "."), ("./a", "."), ("a/", "."), ("a/b", "a"), ("/a", "/"), ("/", "/")] {
            assert_eq!(dir_of(Path::new(path)), Path::new(wanted), "{path}");
        }
    }
}
