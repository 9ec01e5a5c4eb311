//! `doctor`: whether this machine is one to serve from, with what to do where it is not.
//!
//! Looks at what `serve` would get with the same options, and at data, keys and certificate with the eyes of a start.
//! Changes nothing but for a file that it writes and removes to see what the disk does.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::bench::raw_sync::raw_syncs_per_s;
use super::config::Config;
use super::data_dir::DataDir;
use super::engine::foresee_start;
use super::failure::Failure;
use super::key_watch::KeyWatch;
use super::output::Output;
use super::serve::files_wanted;
use super::tls_watch::TlsWatch;
use crate::io::runtime::Runtime;
use crate::io::uring::{DirectIoUnsupported, TaskWork, available_cores, facts, reserve_address, spawn_core};
use crate::limits::{GIB, MIB};

const KERNEL_MIN: (u32, u32) = (5, 15);
const RAW_DURATION: Duration = Duration::from_secs(1);
/// A write that takes longer to be durable makes every acknowledged one slow.
const SYNC_US_MAX: f64 = 10_000.0;
/// What a ring of a kernel before 5.12 locks.
const LOCKED_BYTES_MIN: u64 = 8 * MIB as u64;
const FREE_BYTES_MIN: u64 = GIB as u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    /// It serves, less well than it could.
    Warning,
    /// It does not serve, or not as it should.
    Bad,
}

/// One thing that was looked at.
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it; empty when all is well.
    advice: String,
}

impl Finding {
    fn good(check: &'static str, found: impl Display) -> Finding {
        Finding { check, verdict: Verdict::Good, found: found.to_string(), advice: String::new() }
    }

    fn warning(check: &'static str, found: impl Display, advice: impl Display) -> Finding {
        Finding { verdict: Verdict::Warning, advice: advice.to_string(), ..Finding::good(check, found) }
    }

    fn bad(check: &'static str, found: impl Display, advice: impl Display) -> Finding {
        Finding { verdict: Verdict::Bad, ..Finding::warning(check, found, advice) }
    }
}

pub fn run(config: &Config, out: &mut Output) -> Result<(), Failure> {
    let findings = examine(config);
    let row = |finding: &Finding| {
        json!({
            "check": finding.check,
            "verdict": finding.verdict,
            "found": finding.found,
            "advice": finding.advice,
        })
    };
    let rows: Vec<_> = findings.iter().map(row).collect();
    out.rows(&["check", "verdict", "found", "advice"], &rows)?;
    match findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count() as u64 {
        0 => Ok(()),
        count => Err(Failure::Found { count, what: "things keep this machine from serving as it should" }),
    }
}

fn examine(config: &Config) -> Vec<Finding> {
    let dir = existing_part(&config.data_dir);
    vec![
        kernel(&read("/proc/sys/kernel/osrelease")),
        ring(),
        cores(config.shards, available_cores()),
        memory(config.memory_bytes, &read("/proc/meminfo")),
        host_memory(&balloon_features()),
        locked_memory(facts::locked_memory_bytes()),
        open_files(files_wanted(config.shards), facts::open_files()),
        file_system(&dir),
        free_space(&dir),
        disk(&dir),
        clock_source(&read("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        clock_step(facts::clock_is_synchronized()),
        address(config),
        data(config),
        keys(config),
        tls(config),
    ]
}

/// A file of the kernel's, empty when there is none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The directory, or what of its path is there: on the same file system, if nobody mounts one later.
fn existing_part(dir: &Path) -> PathBuf {
    let here = || PathBuf::from(".");
    let there = dir.ancestors().find(|part| !part.as_os_str().is_empty() && part.is_dir());
    there.map_or_else(here, Path::to_owned)
}

// ---- kernel

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version {
        (0, _) => Finding::warning("kernel", "unknown", "Linux 5.15 or newer is needed"),
        version if version < KERNEL_MIN => {
            Finding::bad("kernel", release, "install Linux 5.15 or newer; 6.1 or newer is best")
        }
        _ => Finding::good("kernel", release),
    }
}

fn ring() -> Finding {
    match facts::ring_features() {
        Err(error) => Finding::bad("ring", "no ring for a core", error),
        Ok(features) if features.task_work == TaskWork::Deferred && features.multishot_receive => {
            Finding::good("ring", features)
        }
        Ok(features) => Finding::warning("ring", features, "Linux 6.1 or newer spends less on each request"),
    }
}

fn cores(shards: usize, cores: usize) -> Finding {
    let found = format!("{shards} shards, {cores} cores");
    if shards > cores {
        let advice =
            "shards share cores: give the process more of them (its cpuset or CPU quota may limit it)";
        return Finding::warning("cores", found, advice);
    }
    Finding::good("cores", found)
}

fn memory(budget: u64, meminfo: &str) -> Finding {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available =
        line.and_then(|text| text.trim().split(' ').next()?.parse::<u64>().ok()).map(|kib| kib * 1024);
    match available {
        None => Finding::warning("memory", "unknown", "/proc/meminfo cannot be read"),
        Some(available) => {
            let found = format!("{} MiB available, budget {} MiB", mib(available), mib(budget));
            if available < budget + budget / 4 {
                let advice =
                    "lower --memory to four fifths of what is available, or the kernel may end the process";
                return Finding::bad("memory", found, advice);
            }
            Finding::good("memory", found)
        }
    }
}

fn mib(bytes: u64) -> u64 {
    bytes / MIB as u64
}

/// The features of a virtual machine's memory balloon, a digit each from bit 0; empty when there is none.
fn balloon_features() -> String {
    const BALLOON: &str = "0x0005";
    let devices = fs::read_dir("/sys/bus/virtio/devices").into_iter().flatten().flatten();
    let mut dirs = devices.map(|device| device.path().display().to_string());
    let balloon = dirs.find(|dir| read(&format!("{dir}/device")) == BALLOON);
    balloon.map(|dir| read(&format!("{dir}/features"))).unwrap_or_default()
}

/// Memory that was free for a while is the host's again, and has to be fetched from there by whoever touches it first,
/// within its processor time.
fn host_memory(balloon_features: &str) -> Finding {
    /// `VIRTIO_BALLOON_F_REPORTING` of Virtual I/O Device 1.2, section 5.5.3.
    const REPORTING: usize = 5;
    match balloon_features.as_bytes().get(REPORTING) {
        Some(b'1') => Finding::warning(
            "host memory",
            "free memory goes back to the host",
            "memory that is used anew may take milliseconds: where the slowest answers matter, take a machine without \
             free page reporting",
        ),
        _ => Finding::good("host memory", "free memory stays with the machine"),
    }
}

fn locked_memory(limit: u64) -> Finding {
    match limit {
        u64::MAX => Finding::good("locked memory", "unlimited"),
        limit if limit < LOCKED_BYTES_MIN => Finding::warning(
            "locked memory",
            format!("{} KiB", limit / 1024),
            "ulimit -l 8192, or LimitMEMLOCK=8M in the unit: older kernels count rings",
        ),
        limit => Finding::good("locked memory", format!("{} MiB", mib(limit))),
    }
}

fn open_files(wanted: u64, (now, most): (u64, u64)) -> Finding {
    let found = format!("{now}, at most {most}; {wanted} wanted");
    if most < wanted {
        let advice =
            format!("LimitNOFILE={wanted} in the unit, or ulimit -Hn: fewer connections fit until then");
        return Finding::warning("open files", found, advice);
    }
    Finding::good("open files", found)
}

// ---- disk

/// Numbers of statfs(2).
const KINDS: [(u32, &str, Verdict); 8] = [
    (0xEF53, "ext4", Verdict::Good),
    (0x5846_5342, "xfs", Verdict::Good),
    (0x9123_683E, "btrfs", Verdict::Warning),
    (0x2FC1_2FC1, "zfs", Verdict::Warning),
    (0x794C_7630, "overlayfs", Verdict::Warning),
    (0x0102_1994, "tmpfs", Verdict::Bad),
    (0x6969, "nfs", Verdict::Bad),
    (0xFF53_4D42, "cifs", Verdict::Bad),
];

fn file_system(dir: &Path) -> Finding {
    let check = "file system";
    let kind = match facts::file_system_kind(dir) {
        Ok(kind) => kind,
        Err(error) => {
            return Finding::bad(check, format!("{}: {error}", dir.display()), "choose another --data-dir");
        }
    };
    let unknown = (kind, "unknown", Verdict::Warning);
    let (_, name, verdict) = KINDS.into_iter().find(|known| known.0 == kind).unwrap_or(unknown);
    let found = format!("{name} at {}", dir.display());
    match verdict {
        Verdict::Good => Finding::good(check, found),
        Verdict::Warning => {
            Finding::warning(check, found, "measured on ext4 and xfs only: prefer one of them")
        }
        Verdict::Bad => Finding::bad(check, found, "acknowledged writes may be lost there: use ext4 or xfs"),
    }
}

fn free_space(dir: &Path) -> Finding {
    let dir = dir.to_owned();
    let free = on_a_core(async move |runtime| runtime.free_space(&dir).await);
    match free {
        Err(error) => Finding::warning("free space", error, "choose another --data-dir"),
        Ok(free) if free < FREE_BYTES_MIN => Finding::warning(
            "free space",
            format!("{} MiB", mib(free)),
            "writes are refused when it is used up",
        ),
        Ok(free) => Finding::good("free space", format!("{} MiB", mib(free))),
    }
}

/// Writes as the log does: direct, and synced one by one.
fn disk(dir: &Path) -> Finding {
    let place = dir.to_owned();
    synced_writes(on_a_core(async move |runtime| raw_syncs_per_s(&runtime, &place, RAW_DURATION).await))
}

fn synced_writes(rate: io::Result<f64>) -> Finding {
    let check = "disk";
    match rate {
        Err(error) if error.get_ref().is_some_and(|source| source.is::<DirectIoUnsupported>()) => {
            Finding::bad(check, error, "direct I/O is needed: put --data-dir on ext4 or xfs")
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            let advice = "the disk is full, or what the user may have of it: a server refuses writes there, so make room";
            Finding::bad(check, error, advice)
        }
        Err(error) => Finding::bad(check, error, "the server has to be able to write to --data-dir"),
        Ok(rate) => {
            let sync_us = 1e6 / rate;
            let found = format!("{sync_us:.0} us a synced 4 KiB write");
            if sync_us > SYNC_US_MAX {
                let advice =
                    "every durable write waits for as long: use a faster disk, or --durability interval";
                return Finding::warning(check, found, advice);
            }
            Finding::good(check, found)
        }
    }
}

/// Runs on a thread with a ring, as the cores of the server are.
fn on_a_core<T: Send + 'static>(
    work: impl AsyncFnOnce(Runtime) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let core = spawn_core(None, "doctor", move |mut executor| {
        let runtime = executor.runtime();
        executor.block_on(work(runtime))
    });
    let gone = || io::Error::other("the thread of the check ended");
    core.map_err(io::Error::other)?.join().map_err(|_| gone())?
}

// ---- clock and network

fn clock_source(source: &str) -> Finding {
    match source {
        "tsc" | "kvm-clock" | "arch_sys_counter" => Finding::good("clock source", source),
        _ => Finding::warning(
            "clock source",
            if source.is_empty() { "unknown" } else { source },
            "each look at the clock may cost a system call: boot with clocksource=tsc where the processor has it",
        ),
    }
}

fn clock_step(synchronized: Option<bool>) -> Finding {
    match synchronized {
        Some(true) => Finding::good("clock", "synchronized"),
        Some(false) => Finding::warning(
            "clock",
            "not synchronized",
            "run chrony or systemd-timesyncd: TTLs go by this clock",
        ),
        None => Finding::warning("clock", "unknown", "see timedatectl: TTLs go by this clock"),
    }
}

fn address(config: &Config) -> Finding {
    let found = config.listen.to_string();
    match reserve_address(config.listen) {
        Ok(_) => Finding::good("address", format!("{found} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::warning(
            "address",
            format!("{found} is in use"),
            "a server is running, or something else is there: ss -ltnp",
        ),
        Err(error) => Finding::bad("address", format!("{found}: {error}"), "choose another --listen"),
    }
}

// ---- what is there already

/// As a start takes it, or refuses.
fn accepted(check: &'static str, outcome: Result<String, Failure>) -> Finding {
    match outcome {
        Ok(found) => Finding::good(check, found),
        Err(error) => Finding::bad(check, error, "the server does not start before this is mended"),
    }
}

fn data(config: &Config) -> Finding {
    // No fault: the doctor may be asked beside the server that it is about.
    let user = if DataDir::is_in_use(&config.data_dir) { ", in use by a kyrodb that runs" } else { "" };
    let told = |shards| match shards {
        0 => format!("none yet{user}"),
        shards => format!("{shards} shards{user}"),
    };
    accepted("data", foresee_start(&config.data_dir, config.shards).map(told))
}

fn keys(config: &Config) -> Finding {
    let told = |watch: KeyWatch| match watch.access().table().len() {
        0 => "none: everybody on this machine may do everything".to_owned(),
        count => format!("{count} keys"),
    };
    accepted("keys", KeyWatch::start(config, config.listen).map(told))
}

fn tls(config: &Config) -> Finding {
    let started = TlsWatch::start(config);
    if let Some(what) = started.as_ref().ok().and_then(TlsWatch::out_of_date) {
        let found = format!("a certificate with its key: {what}");
        return Finding::warning(
            "tls",
            found,
            "clients refuse it: put a new one in its place, also while the server runs",
        );
    }
    let told = |watch: TlsWatch| match watch.identity() {
        None => "plain text".to_owned(),
        Some(_) => "a certificate with its key".to_owned(),
    };
    accepted("tls", started.map(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(finding: &Finding) -> Verdict {
        assert_eq!(finding.verdict == Verdict::Good, finding.advice.is_empty(), "{}", finding.check);
        finding.verdict
    }

    #[test]
    fn kernels_are_told_apart_by_number() {
        for (release, wanted) in [
            ("6.18.44-fc-v669", Verdict::Good),
            ("5.15.0", Verdict::Good),
            ("5.4.0-150-generic", Verdict::Bad),
            ("4.19", Verdict::Bad),
            ("", Verdict::Warning),
        ] {
            assert_eq!(verdict(&kernel(release)), wanted, "{release}");
        }
    }

    #[test]
    fn limits_that_are_too_low_come_with_advice() {
        assert_eq!(verdict(&cores(2, 2)), Verdict::Good);
        assert_eq!(verdict(&cores(3, 2)), Verdict::Warning);
        let meminfo = "MemTotal: 1 kB\nMemAvailable:    2097152 kB";
        assert_eq!(verdict(&memory(GIB as u64, meminfo)), Verdict::Good);
        assert_eq!(verdict(&memory(2 * GIB as u64, meminfo)), Verdict::Bad);
        assert_eq!(verdict(&memory(1, "")), Verdict::Warning);
        assert_eq!(verdict(&locked_memory(64 * 1024)), Verdict::Warning);
        assert_eq!(verdict(&locked_memory(u64::MAX)), Verdict::Good);
        assert_eq!(verdict(&open_files(1000, (256, 1000))), Verdict::Good);
        assert_eq!(verdict(&open_files(1000, (256, 999))), Verdict::Warning);
        assert_eq!(verdict(&clock_source("hpet")), Verdict::Warning);
        assert_eq!(verdict(&host_memory("01100101000")), Verdict::Warning);
        assert_eq!(verdict(&host_memory("01100001000")), Verdict::Good);
        assert_eq!(verdict(&host_memory("")), Verdict::Good);
        assert_eq!(verdict(&clock_step(Some(false))), Verdict::Warning);
    }

    #[test]
    fn file_systems_that_forget_are_bad() {
        assert_eq!(verdict(&file_system(Path::new("/dev/shm"))), Verdict::Bad);
        assert_eq!(verdict(&file_system(Path::new("/no/such/place"))), Verdict::Bad);
        assert_eq!(existing_part(Path::new("/no/such/place")), Path::new("/"));
        assert_eq!(existing_part(Path::new("no-such-place")), Path::new("."));
    }

    #[test]
    fn the_disk_of_the_build_takes_direct_writes() {
        let program = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        let found = disk(dir.path());
        assert_ne!(verdict(&found), Verdict::Bad, "{}", found.found);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
        assert_eq!(verdict(&disk(Path::new("/proc"))), Verdict::Bad);
        let full = synced_writes(Err(io::ErrorKind::StorageFull.into()));
        assert!(
            verdict(&full) == Verdict::Bad && full.advice.contains("the disk is full"),
            "{}",
            full.advice
        );
    }
}
