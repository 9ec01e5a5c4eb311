//! What the machine says of itself, for `kyrodb doctor`.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::RingError;
use super::probe::{self, Features};
use super::{RingConfig, host};

/// Open files that this process may have, and those that it may ask for.
pub fn open_files() -> (u64, u64) {
    host::open_files_limits()
}

/// Bytes that this process may lock, `u64::MAX` when nothing limits it.
pub fn locked_memory_bytes() -> u64 {
    host::locked_memory_limit()
}

/// What a core would choose of the kernel's io_uring, or why it could not run.
pub fn ring_features() -> Result<Features, RingError> {
    probe::build(&RingConfig::default()).map(|(_ring, features)| features)
}

/// The number by which the kernel knows the kind of file system that `path` is on, see statfs(2).
pub fn file_system_kind(path: &Path) -> io::Result<u32> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all zeroes is a valid statfs.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in a zero, and `found` is writable.
    match unsafe { libc::statfs(path.as_ptr(), &mut found) } {
        0 => Ok(found.f_type as u32),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether something keeps the clock in step with others', see adjtimex(2). `None` when the kernel does not say.
pub fn clock_is_synchronized() -> Option<bool> {
    // SAFETY: all zeroes is a valid timex, and asks without setting.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `clock` is writable.
    match unsafe { libc::adjtimex(&mut clock) } {
        -1 => None,
        _ => Some(clock.status & libc::STA_UNSYNC == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_what_it_is() {
        assert_eq!(file_system_kind(Path::new("/proc")).unwrap(), libc::PROC_SUPER_MAGIC as u32);
        assert!(file_system_kind(Path::new("/no/such/place")).is_err());
        let (now, most) = open_files();
        assert!(0 < now && now <= most);
        ring_features().expect("the tests run where the server does");
    }
}
