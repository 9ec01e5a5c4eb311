//! What the io_uring of this kernel offers.
//!
//! A kernel without the operations in [`REQUIRED`] is refused. The rest is a matter of speed and has a
//! fallback each, chosen once, at start. The multishot forms of accept and receive have no mark of
//! their own in the kernel's probe; each came with the release that brought another operation, and that
//! one is looked for.

use std::fmt;
use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::{RingConfig, RingError};

/// When the kernel runs the work that ends in a completion, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskWork {
    /// When the core enters its ring to collect completions (Linux 6.1).
    Deferred,
    /// At the core's next system call (Linux 5.19).
    Cooperative,
    /// At once, by an interrupt.
    Interrupting,
}

/// The choices made at start; `Display` is the line that the server prints.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    pub task_work: TaskWork,
    pub multishot_accept: bool,
    pub multishot_receive: bool,
    pub receive_buffers: u16,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let task_work = match self.task_work {
            TaskWork::Deferred => "deferred",
            TaskWork::Cooperative => "cooperative",
            TaskWork::Interrupting => "interrupting",
        };
        let shots = |multi| if multi { "multishot" } else { "single-shot" };
        write!(
            f,
            "io_uring: {task_work} task work, {} accept, {} receive into {} buffers a core",
            shots(self.multishot_accept),
            shots(self.multishot_receive),
            self.receive_buffers,
        )
    }
}

const REQUIRED: [(u8, &str); 14] = [
    (opcode::OpenAt::CODE, "OPENAT"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::RenameAt::CODE, "RENAMEAT"),
    (opcode::UnlinkAt::CODE, "UNLINKAT"),
    (opcode::MkDirAt::CODE, "MKDIRAT"),
    (opcode::LinkAt::CODE, "LINKAT"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Send::CODE, "SEND"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
];

/// A ring with the best features among those of `config` that this kernel has.
pub(super) fn build(config: &RingConfig) -> Result<(IoUring, Features), RingError> {
    let (ring, task_work) = set_up(config).map_err(|error| RingError::from_os("io_uring_setup", error))?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| RingError::from_os("io_uring_register(PROBE)", error))?;
    if let Some((_, name)) = REQUIRED.iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(RingError::TooOld(name));
    }
    if !ring.params().is_feature_ext_arg() {
        return Err(RingError::TooOld("waiting with a timeout (EXT_ARG)"));
    }
    if !ring.params().is_feature_nodrop() {
        return Err(RingError::TooOld("completions that are never dropped (NODROP)"));
    }
    let came_in_5_19 = probe.is_supported(opcode::Socket::CODE);
    let came_in_6_0 = probe.is_supported(opcode::SendZc::CODE);
    let features = Features {
        task_work,
        multishot_accept: config.multishot_accept && came_in_5_19,
        // Elsewhere than in deferred work, the kernel may fill every buffer of the core for one stream
        // before the core can ask it to stop.
        multishot_receive: config.multishot_receive && came_in_6_0 && task_work == TaskWork::Deferred,
        receive_buffers: config.receive_buffers,
    };
    Ok((ring, features))
}

fn set_up(config: &RingConfig) -> io::Result<(IoUring, TaskWork)> {
    let ways = [TaskWork::Deferred, TaskWork::Cooperative, TaskWork::Interrupting];
    for way in ways.into_iter().filter(|way| *way >= config.task_work) {
        match set_up_with(config, way) {
            // A flag that the kernel does not know.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && way != TaskWork::Interrupting => {}
            other => return other.map(|ring| (ring, way)),
        }
    }
    unreachable!("the last way returns")
}

fn set_up_with(config: &RingConfig, way: TaskWork) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(config.entries * 4).setup_clamp();
    match way {
        // The task-run flag tells in shared memory that an enter would find something to do, so a busy
        // core need not enter to look.
        TaskWork::Deferred => {
            builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
        }
        TaskWork::Cooperative => {
            builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
        }
        TaskWork::Interrupting => {}
    }
    builder.build(config.entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_no_more_than_the_configuration_allows() {
        for task_work in [TaskWork::Deferred, TaskWork::Cooperative, TaskWork::Interrupting] {
            let config = RingConfig { task_work, multishot_accept: false, ..RingConfig::default() };
            let (_ring, features) = build(&config).unwrap();
            assert!(features.task_work >= task_work);
            assert!(!features.multishot_accept);
        }
    }

    #[test]
    fn the_start_line_names_the_fallbacks() {
        let features = Features {
            task_work: TaskWork::Cooperative,
            multishot_accept: true,
            multishot_receive: false,
            receive_buffers: 64,
        };
        assert_eq!(
            features.to_string(),
            "io_uring: cooperative task work, multishot accept, single-shot receive into 64 buffers a core"
        );
    }
}
