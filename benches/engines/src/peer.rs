//! One engine as the runner sees it: a process in a control group of its own, over a directory.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::args::{EngineName, RunArgs};
use crate::task::{Outcome, Task};

/// Of the benchmark itself, for each record: key and version. The group is allowed as much more.
const TABLE_BYTES_A_RECORD: usize = 12;
const HARNESS_BYTES: usize = 32 << 20;

/// What all engines of a part have in common.
pub struct Setting {
    pub keys: PathBuf,
    pub records: usize,
    pub value_bytes: usize,
    pub limit_mib: usize,
    pub cgroup: Option<PathBuf>,
}

pub struct Peer {
    pub engine: EngineName,
    pub dir: PathBuf,
    group: Option<PathBuf>,
    arguments: Vec<String>,
    process: Option<Process>,
}

struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Setting {
    pub fn new(args: &RunArgs, keys: PathBuf, records: usize, limit_mib: usize) -> Setting {
        Setting { keys, records, value_bytes: args.value_bytes, limit_mib, cgroup: args.cgroup.clone() }
    }

    /// Keys and values of all records.
    pub fn live_bytes(&self) -> u64 {
        (self.records * (size_of::<u64>() + self.value_bytes)) as u64
    }
}

impl Peer {
    pub fn new(engine: EngineName, dir: PathBuf, setting: &Setting) -> Peer {
        let group = setting.cgroup.as_ref().map(|parent| {
            let group = parent.join(format!("kyrodb-engines-{}", engine.name()));
            let limit = (setting.limit_mib << 20) + setting.records * TABLE_BYTES_A_RECORD + HARNESS_BYTES;
            limit_memory(&group, limit).expect("a control group can be made here");
            group
        });
        // A quarter is left to the allocator, to stacks, and to the kernel's cache.
        let memory_mib = setting.limit_mib * 3 / 4;
        let mut arguments = vec![
            "worker".to_owned(),
            format!("--engine={}", engine.name()),
            format!("--dir={}", dir.display()),
            format!("--keys={}", setting.keys.display()),
            format!("--records={}", setting.records),
            format!("--value-bytes={}", setting.value_bytes),
            format!("--memory-mib={memory_mib}"),
        ];
        arguments.extend(group.iter().map(|group| format!("--cgroup={}", group.display())));
        Peer { engine, dir, group, arguments, process: None }
    }

    pub fn start(&mut self) {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        self.process = Some(Process { child, to, from });
    }

    pub fn ask(&mut self, task: &Task) -> Outcome {
        let name = self.engine.name();
        self.signal(libc::SIGCONT);
        let process = self.process.as_mut().expect("started");
        writeln!(process.to, "{}", serde_json::to_string(task).expect("JSON")).expect("it listens");
        let mut line = String::new();
        process.from.read_line(&mut line).expect("it answers");
        let outcome = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{name} ended in {task:?}"));
        // What it does in the background waits for its next turn too.
        self.signal(libc::SIGSTOP);
        outcome
    }

    fn signal(&self, signal: libc::c_int) {
        let process = self.process.as_ref().expect("started");
        // SAFETY: takes numbers only; the child was not waited for, so the number is its own.
        unsafe { libc::kill(process.child.id() as libc::pid_t, signal) };
    }

    pub fn quit(&mut self) {
        self.signal(libc::SIGCONT);
        let Process { mut child, mut to, .. } = self.process.take().expect("started");
        writeln!(to, "{}", serde_json::to_string(&Task::Quit).expect("JSON")).expect("it listens");
        assert!(child.wait().expect("it ends").success(), "{} did not end well", self.engine.name());
    }

    /// A new process, with nothing of the files in the kernel's cache.
    pub fn restart_cold(&mut self) {
        if self.process.is_some() {
            self.quit();
        }
        files_in(&self.dir).into_iter().for_each(|file| drop_cached(&file).expect("a readable file"));
        self.start();
    }

    /// What the files take on the disk.
    pub fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.dir)
    }

    /// The most that the control group has had, the kernel's cache included.
    pub fn memory_peak_bytes(&self) -> Option<u64> {
        let group = self.group.as_ref()?;
        let peak = ["memory.max_usage_in_bytes", "memory.peak"];
        peak.iter().find_map(|name| fs::read_to_string(group.join(name)).ok()?.trim().parse().ok())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // The runner is ending early: this process is its own.
            process.child.kill().and_then(|()| process.child.wait()).ok();
        }
        if let Some(group) = &self.group {
            fs::remove_dir(group).ok();
        }
    }
}

fn limit_memory(group: &Path, bytes: usize) -> io::Result<()> {
    fs::create_dir_all(group)?;
    let file = ["memory.limit_in_bytes", "memory.max"].map(|name| group.join(name));
    let file = file.iter().find(|file| file.exists()).ok_or(io::ErrorKind::NotFound)?;
    fs::write(file, bytes.to_string())
}

fn drop_cached(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    // SAFETY: the descriptor is open for the whole call.
    let failed = unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    if failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(failed)) }
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    // Files come and go while an engine runs.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_in(&entry.path())),
            Ok(_) => files.push(entry.path()),
            Err(_) => {}
        }
    }
    files
}

/// Blocks that the files have, in bytes.
pub fn disk_bytes(dir: &Path) -> u64 {
    files_in(dir).iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.blocks() * 512).sum()
}
