//! Processor time of the server, as the kernel counts it.

use std::fs;

/// Clock ticks a second in `/proc`: fixed by the kernel's interface to programs.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time that the process has used so far, in microseconds; `None` when there is no such
/// process on this machine.
pub fn process_cpu_us(pid: u32) -> Option<u64> {
    cpu_us_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// From the text of `/proc/PID/stat`.
fn cpu_us_in(stat: &str) -> Option<u64> {
    // The second field is the name in parentheses and may hold anything, parentheses included.
    let (_, fields) = stat.rsplit_once(") ")?;
    const UTIME: usize = 11;
    let mut ticks = fields.split(' ').skip(UTIME).map(|field| field.parse::<u64>().ok());
    let (user, system) = (ticks.next()??, ticks.next()??);
    Some((user + system) * (1_000_000 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_user_and_system_time_whatever_the_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 25 17 0 0 20 0 1 0 1 1 1";
        assert_eq!(cpu_us_in(stat), Some(420_000));
        assert_eq!(cpu_us_in("7 (x) S 1"), None);
        assert!(process_cpu_us(std::process::id()).is_some());
    }
}
