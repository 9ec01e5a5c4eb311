//! The driver of one core: [`Driver`] over glommio.
//!
//! What is submitted is noted, and begun when `poll` enters glommio: each operation is a task of glommio's that ends with
//! a completion. These tasks stay with its executor between the polls. A pass of it is: submit the requests that are
//! queued, take the kernel's answers, run the tasks that are ready once.
//!
//! Requests that tasks queue in a pass would wait for the next one, behind the engine's work of a whole turn. So while
//! the disk has something to do, a poll makes a second pass.

use std::future::poll_fn;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_io::AsyncRead;
use glommio::net::UnixStream;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};

use super::bell::SocketBell;
use super::error::require_locked_memory;
use super::state::{State, Switch, Users};
use super::{GlommioError, PREEMPTION, REGISTERED_BYTES, RING_ENTRIES, files, sockets};
use crate::io::driver::{Doorbell, Driver, Park};
use crate::io::op::{Completion, Op, Outcome, Token};
use crate::io::uring::clock::{self, Random};
use crate::types::{Mono, WallMs};

/// How long a dropped driver waits for the kernel to give memory back. Only a disk or a file system
/// that hangs takes longer.
const DROP_LIMIT: Duration = Duration::from_secs(2);

enum Noted {
    Begin(Token, Op),
    Cancel(Token),
}

pub struct GlommioDriver {
    /// Leaked when the kernel keeps memory of it.
    glommio: ManuallyDrop<LocalExecutor>,
    state: Rc<State>,
    noted: Vec<Noted>,
    bell: Arc<SocketBell>,
    /// Ends the task that listens to the bell.
    listening: Rc<Switch>,
    random: Random,
}

impl GlommioDriver {
    /// A driver for the calling thread, which keeps the cores that it may run on.
    pub fn new() -> Result<GlommioDriver, GlommioError> {
        require_locked_memory()?;
        let glommio = LocalExecutorBuilder::new(Placement::Unbound)
            .preempt_timer(PREEMPTION)
            .ring_depth(RING_ENTRIES)
            .io_memory(REGISTERED_BYTES)
            .make()
            .map_err(|error| GlommioError::Refused(error.into()))?;
        let (bell, clapper) =
            SocketBell::new().map_err(|error| GlommioError::Os { call: "socketpair", error })?;
        let random = Random::from_kernel().map_err(|error| GlommioError::Os { call: "getrandom", error })?;
        let driver = GlommioDriver {
            glommio: ManuallyDrop::new(glommio),
            state: Rc::new(State::new()),
            noted: Vec::new(),
            bell: Arc::new(bell),
            listening: Rc::default(),
            random,
        };
        driver.listen_to_bell(clapper);
        Ok(driver)
    }

    fn listen_to_bell(&self, clapper: unix::net::UnixStream) {
        let (state, listening) = (self.state.clone(), self.listening.clone());
        self.glommio.run(async move {
            glommio::spawn_local(async move {
                let _ = listening.or_cancelled(note_rings(&state, clapper)).await;
            })
            .detach();
        });
    }

    /// One pass, or as many as it takes to have something to wait for.
    fn pass(&mut self, park: Park) {
        let noted = mem::take(&mut self.noted);
        let state = &self.state;
        self.glommio.run(async {
            state.retry_receives();
            noted.into_iter().for_each(|noted| match noted {
                Noted::Begin(token, op) => begin(state, token, op),
                Noted::Cancel(token) => state.cancel(token),
            });
            state.wait(park).await;
        });
    }
}

async fn note_rings(state: &State, clapper: unix::net::UnixStream) -> io::Result<()> {
    // SAFETY: an open descriptor that nobody else owns.
    let mut clapper = unsafe { UnixStream::from_raw_fd(clapper.into_raw_fd()) };
    loop {
        match poll_fn(|cx| Pin::new(&mut clapper).poll_read(cx, &mut [0; 64])).await? {
            0 => return Ok(()),
            _ => state.note_ring(),
        }
    }
}

fn begin(state: &Rc<State>, token: Token, op: Op) {
    let begun = match op {
        Op::Accept { .. } | Op::Connect { .. } | Op::Receive { .. } | Op::Send { .. } => {
            begin_on_socket(state, token, op)
        }
        Op::Listen { .. }
        | Op::TakeOverListener { .. }
        | Op::Shutdown { .. }
        | Op::SetLen { .. }
        | Op::FileLen { .. }
        | Op::Close { .. } => at_once(state, op).map(|outcome| state.answer(token, Ok(outcome))),
        op => begin_on_disk(state, token, op),
    };
    if let Err(error) = begun {
        state.answer(token, Err(error));
    }
}

fn begin_on_socket(state: &Rc<State>, token: Token, op: Op) -> io::Result<()> {
    match op {
        Op::Accept { listener } => {
            let listener = state.handles.borrow().listener(listener)?;
            let users = listener.users.clone();
            state.run_on_socket(token, &users, sockets::accept(state.clone(), token, listener));
        }
        Op::Receive { socket } => {
            let socket = state.handles.borrow().socket(socket)?;
            let users = socket.users.clone();
            state.run_on_socket(token, &users, sockets::receive(state.clone(), token, socket));
        }
        Op::Send { socket, buf } => {
            let socket = state.handles.borrow().socket(socket)?;
            let users = socket.users.clone();
            state.run_on_socket(token, &users, sockets::send(socket, buf));
        }
        Op::Connect { addr } => {
            state.run_on_socket(token, &Users::default(), sockets::connect(state.clone(), addr));
        }
        other => unreachable!("not an operation that waits for a peer: {other:?}"),
    }
    Ok(())
}

fn begin_on_disk(state: &Rc<State>, token: Token, op: Op) -> io::Result<()> {
    let file = |handle| state.handles.borrow().file(handle);
    match op {
        Op::Open { path, mode } => state.run_on_disk(token, files::open(state.clone(), path, mode)),
        Op::Read { file: handle, offset, buf } => {
            state.run_on_disk(token, files::read(file(handle)?, offset, buf));
        }
        Op::Write { file: handle, offset, buf, sync } => {
            state.run_on_disk(token, files::write(file(handle)?, offset, buf, sync));
        }
        Op::SyncFile { file: handle } => state.run_on_disk(token, files::sync(file(handle)?)),
        op => state.run_on_disk(token, files::by_name(op)),
    }
    Ok(())
}

/// What takes no time.
fn at_once(state: &State, op: Op) -> io::Result<Outcome> {
    let file = |handle| state.handles.borrow().file(handle);
    match op {
        Op::Listen { addr } => sockets::listen(state, addr),
        Op::TakeOverListener { socket } => sockets::take_over(state, socket),
        Op::Shutdown { socket } => sockets::shutdown(&*state.handles.borrow().socket(socket)?),
        Op::SetLen { file: handle, len } => files::set_len(&*file(handle)?, len),
        Op::FileLen { file: handle } => files::len(&*file(handle)?),
        Op::Close { handle } => state.handles.borrow_mut().close(handle).map(|()| Outcome::Done),
        other => unreachable!("an operation that takes time: {other:?}"),
    }
}

impl Driver for GlommioDriver {
    fn submit(&mut self, token: Token, op: Op) {
        self.noted.push(Noted::Begin(token, op));
    }

    fn cancel(&mut self, token: Token) {
        self.noted.push(Noted::Cancel(token));
    }

    fn poll(&mut self, park: Park, completions: &mut Vec<Completion>) {
        self.pass(park);
        if self.state.is_disk_busy() {
            self.pass(Park::No);
        }
        self.state.take_completions(completions);
    }

    fn now(&self) -> Mono {
        clock::monotonic()
    }

    fn wall(&self) -> WallMs {
        clock::wall()
    }

    fn thread_cpu_ns(&self) -> u64 {
        clock::thread_cpu_ns()
    }

    fn random(&mut self) -> u64 {
        self.random.next()
    }

    fn doorbell(&self) -> Arc<dyn Doorbell> {
        self.bell.clone()
    }
}

impl Drop for GlommioDriver {
    fn drop(&mut self) {
        self.pass(Park::No);
        let state = self.state.clone();
        self.glommio.run(async {
            self.listening.switch_off();
            state.cancel_all();
        });
        let deadline = self.now().after(DROP_LIMIT);
        while !self.state.is_idle() && self.now() < deadline {
            self.poll(Park::Until(deadline), &mut Vec::new());
        }
        if !self.state.is_idle() {
            // The kernel may still write to memory of glommio's.
            return;
        }
        self.state.handles.take();
        // Closes go out with the next requests.
        self.pass(Park::No);
        self.pass(Park::No);
        // SAFETY: it is not used again.
        unsafe { ManuallyDrop::drop(&mut self.glommio) }
    }
}
