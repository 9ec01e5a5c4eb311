//! The limits that the host sets for this process.

use std::io;

use super::RingError;

/// Raises the soft limit of open files to at least `wanted`, once for the process. Returns the limit
/// in force; fails when even the hard limit is lower.
pub fn require_open_files(wanted: u64) -> Result<u64, RingError> {
    let mut limit = resource_limit(libc::RLIMIT_NOFILE);
    if limit.rlim_cur >= wanted {
        return Ok(limit.rlim_cur);
    }
    if limit.rlim_max < wanted {
        return Err(RingError::OpenFiles { wanted, limit: limit.rlim_max });
    }
    limit.rlim_cur = wanted;
    // SAFETY: `limit` is a valid rlimit for the whole call.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(wanted),
        _ => Err(RingError::Os { call: "setrlimit", error: io::Error::last_os_error() }),
    }
}

/// Asks for huge pages below fresh memory; a kernel that has none to give goes on with small ones.
pub fn advise_huge_pages(start: *mut u8, bytes: usize) {
    // SAFETY: the advice changes no content of any memory, whatever the address is.
    unsafe { libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE) };
}

/// `mi_option_purge_delay` of mimalloc 3, which the bindings do not name.
const PURGE_DELAY: libc::c_int = 15;
/// `mi_option_generic_collect`, neither.
const GENERIC_COLLECT: libc::c_int = 34;
/// Longer than a process lives. "Never" would not even note what is free, and nothing could give it back.
const YEAR_MS: libc::c_long = 365 * 86_400_000;

/// Keeps what the allocator (mimalloc) frees with the process, until [`give_back_freed_memory`]. What a seal frees, the
/// next writes take: given back in between, each page of it is a fault on a core that serves. MIMALLOC_PURGE_DELAY says
/// otherwise.
pub fn keep_freed_memory() {
    // SAFETY: sets an entry of a table that has as many.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, YEAR_MS) };
}

/// Gives the whole pages that are free back to the system, up to 4 MiB in a call of it. For a thread that serves nobody.
pub fn give_back_freed_memory() {
    // SAFETY: touches what nobody has allocated, and what this thread has freed.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

/// Lets this thread run when others leave it a processor, mostly.
pub fn serve_others_first() {
    const NICE: libc::c_int = 15;
    let this_thread = 0;
    // SAFETY: a call without pointers. On Linux it is about the thread, not the process.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, this_thread, NICE) };
}

/// Has the allocator (mimalloc) tidy up a hundred times less often than by default: it walks all its pages within one
/// allocation, which takes 5 ms on a core with a gigabyte of records. MIMALLOC_GENERIC_COLLECT says otherwise.
pub fn tidy_memory_seldom() {
    /// The most that mimalloc takes, in allocations that do not find a free block at once.
    const SELDOM: libc::c_long = 1_000_000;
    // SAFETY: sets an entry of a table that has it in the version that Cargo.toml pins.
    unsafe { libmimalloc_sys::mi_option_set_default(GENERIC_COLLECT, SELDOM) };
}

/// Keeps the kernel from putting huge pages where nobody asked for them: the first write to one waits until
/// all of it is cleared, which took 6.5 ms on a virtual machine whose host had taken the memory back. Kernels
/// before 6.18 cannot tell the two apart; there it is left to the host's own setting.
pub fn huge_pages_only_where_advised() -> bool {
    const PR_THP_DISABLE_EXCEPT_ADVISED: libc::c_ulong = 1 << 1;
    let (on, none): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: a call without pointers.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, PR_THP_DISABLE_EXCEPT_ADVISED, none, none) == 0 }
}

/// Keeps the memory of this process out of core dumps, and from other processes of its user. False when the kernel
/// does not let it.
pub fn forbid_core_dumps() -> bool {
    let (off, none): (libc::c_ulong, libc::c_ulong) = (0, 0);
    // SAFETY: a call without pointers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, off, none, none, none) == 0 }
}

pub(super) fn open_files_limit() -> u64 {
    resource_limit(libc::RLIMIT_NOFILE).rlim_cur
}

/// The limit in force, and the most that may be asked for.
pub(super) fn open_files_limits() -> (u64, u64) {
    let limit = resource_limit(libc::RLIMIT_NOFILE);
    (limit.rlim_cur, limit.rlim_max)
}

pub(super) fn locked_memory_limit() -> u64 {
    resource_limit(libc::RLIMIT_MEMLOCK).rlim_cur
}

fn resource_limit(resource: libc::__rlimit_resource_t) -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the whole call.
    let result = unsafe { libc::getrlimit(resource, &mut limit) };
    assert_eq!(result, 0, "getrlimit of a limit that exists");
    limit
}

/// The value of the sysctl that switches io_uring off, when it does.
pub(super) fn io_uring_disabled() -> Option<String> {
    let value = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    let value = value.trim();
    (value != "0").then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The options are set by their numbers: what they say before tells whether the numbers are those of this version.
    #[test]
    fn the_allocator_has_the_options_that_are_set_by_number() {
        let value = |option| {
            // SAFETY: reads an entry of a table that has it.
            unsafe { libmimalloc_sys::mi_option_get(option) }
        };
        assert_eq!(value(GENERIC_COLLECT), 10_000);
        keep_freed_memory();
        tidy_memory_seldom();
        assert_eq!((value(PURGE_DELAY), value(GENERIC_COLLECT)), (YEAR_MS, 1_000_000));
    }

    #[test]
    fn the_kernel_is_told_to_make_no_core_dump() {
        // SAFETY: a call without pointers.
        let dumpable = || unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
        assert!(forbid_core_dumps());
        assert_eq!(dumpable(), 0);
        // SAFETY: as above. The other tests of this process may be dumped again.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1 as libc::c_ulong) };
        assert_eq!(dumpable(), 1);
    }

    #[test]
    fn asks_for_no_more_files_than_the_host_gives() {
        let now = open_files_limit();
        assert_eq!(require_open_files(1).unwrap(), now);
        let hard = resource_limit(libc::RLIMIT_NOFILE).rlim_max;
        if hard < u64::MAX {
            assert!(matches!(require_open_files(hard + 1), Err(RingError::OpenFiles { .. })));
        }
    }
}
