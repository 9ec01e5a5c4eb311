//! Time and memory of this process, as the kernel counts them.

/// CPU time of this thread.
pub fn thread_cpu_ns() -> u64 {
    cpu_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads of this process.
pub fn process_cpu_ns() -> u64 {
    cpu_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn cpu_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame.
    let failed = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(failed, 0);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A thread that sleeps is woken when its time is over, not up to 50 us later.
pub fn sleep_exactly() {
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// The number behind a name in a file of `/proc/self`.
pub fn of_self(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).expect("procfs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a known name");
    let digits = line.trim_start_matches(':').split_whitespace().next().expect("a number");
    digits.parse().expect("a number")
}
