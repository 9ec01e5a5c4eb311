//! What a task holds of its core: time, tasks, files and sockets.
//!
//! An operation starts when it is first polled ([`File::write`]: when it is called, so that a caller
//! can have several under way), and its buffers belong to the driver until it completes.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::buf::AlignedBuf;
use super::driver::Doorbell;
use super::executor::{Class, Shared, Spawned, TurnStats};
use super::lease::Lease;
use super::op::{DirEntry, Handle, Op, OpenMode, Outcome, SendBuf, Sync, Token};
use crate::limits;
use crate::types::{FileOffset, Mono, WallMs};

#[derive(Clone)]
pub struct Runtime {
    shared: Rc<Shared>,
}

impl Runtime {
    pub(super) fn new(shared: Rc<Shared>) -> Runtime {
        Runtime { shared }
    }

    // ---- time, randomness, tasks

    pub fn now(&self) -> Mono {
        self.shared.driver.borrow().now()
    }

    /// The time at which this turn began: a clock without a call.
    pub fn turn_start(&self) -> Mono {
        self.shared.turn_start.get()
    }

    /// Wall time, as of the beginning of this turn.
    pub fn wall(&self) -> WallMs {
        self.shared.turn_wall.get()
    }

    pub fn thread_cpu_ns(&self) -> u64 {
        self.shared.driver.borrow().thread_cpu_ns()
    }

    pub fn random(&self) -> u64 {
        self.shared.driver.borrow_mut().random()
    }

    pub fn doorbell(&self) -> Arc<dyn Doorbell> {
        self.shared.driver.borrow().doorbell()
    }

    pub fn turn_stats(&self) -> TurnStats {
        *self.shared.stats.borrow()
    }

    /// While the guard lives, the core looks at its inboxes for a moment before it parks: an answer is
    /// expected there within microseconds.
    pub fn expect_soon(&self) -> Expecting {
        self.shared.expected_soon.set(self.shared.expected_soon.get() + 1);
        Expecting { shared: self.shared.clone() }
    }

    /// Starts a task on this core. Warnings about it name the caller.
    #[track_caller]
    pub fn spawn(&self, class: Class, future: impl Future<Output = ()> + 'static) {
        let spawned = Spawned { class, future: Box::pin(future), at: Location::caller() };
        self.shared.spawned.borrow_mut().push(spawned);
    }

    pub fn sleep(&self, delay: Duration) -> Sleep {
        self.sleep_until(self.now().after(delay))
    }

    pub fn sleep_until(&self, at: Mono) -> Sleep {
        Sleep { shared: self.shared.clone(), at, timer: None }
    }

    /// Pauses for as long as background I/O that began at `began` has taken (but not for long): it leaves
    /// the disk to others half of the time.
    pub async fn rest_after(&self, began: Mono) {
        let took = Duration::from_nanos(self.now().since(began));
        self.sleep(took.min(limits::BACKGROUND_REST_MAX)).await;
    }

    /// `None` when `limit` passed first; the future is dropped then.
    pub async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut future = std::pin::pin!(future);
        let mut sleep = self.sleep(limit);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Pin::new(&mut sleep).poll(cx).map(|()| None),
        })
        .await
    }

    /// Lets other tasks run; a background task goes on in a later turn.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|cx| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Lets all go first that is ready, and what comes in until the core has looked at its ring again if these take long:
    /// for requests that take longer than others.
    pub async fn stand_back(&self) {
        let mut stood_back = false;
        poll_fn(|cx| {
            if stood_back {
                return Poll::Ready(());
            }
            stood_back = true;
            self.shared.standing_back.borrow_mut().push_back(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// A budget for long work: see [`Slice`].
    pub fn slice(&self) -> Slice {
        self.slice_of(limits::BACKGROUND_SLICE, false)
    }

    /// The same for a request that takes longer than others: it stands back first, and when its time is used up.
    pub async fn slice_behind_others(&self) -> Slice {
        self.stand_back().await;
        self.slice_of(limits::LONG_REQUEST_SLICE, true)
    }

    fn slice_of(&self, length: Duration, stands_back: bool) -> Slice {
        Slice { runtime: self.clone(), length, until: self.now().after(length), spent: 0, stands_back }
    }

    // ---- files

    pub async fn open(&self, path: impl Into<PathBuf>, mode: OpenMode) -> io::Result<File> {
        match self.single(Op::Open { path: path.into(), mode }).await {
            Outcome::Opened(handle) => Ok(File { runtime: self.clone(), handle }),
            other => Err(failure(other)),
        }
    }

    pub async fn rename(&self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> io::Result<()> {
        self.done(Op::Rename { from: from.into(), to: to.into() }).await
    }

    /// Gives a file a second name.
    pub async fn link(&self, from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> io::Result<()> {
        self.done(Op::Link { from: from.into(), to: to.into() }).await
    }

    pub async fn remove_file(&self, path: impl Into<PathBuf>) -> io::Result<()> {
        self.done(Op::RemoveFile { path: path.into() }).await
    }

    pub async fn remove_dir(&self, path: impl Into<PathBuf>) -> io::Result<()> {
        self.done(Op::RemoveDir { path: path.into() }).await
    }

    pub async fn create_dir(&self, path: impl Into<PathBuf>) -> io::Result<()> {
        self.done(Op::CreateDir { path: path.into() }).await
    }

    pub async fn sync_dir(&self, path: impl Into<PathBuf>) -> io::Result<()> {
        self.done(Op::SyncDir { path: path.into() }).await
    }

    pub async fn list(&self, path: impl Into<PathBuf>) -> io::Result<Vec<DirEntry>> {
        match self.single(Op::List { path: path.into() }).await {
            Outcome::Entries(entries) => Ok(entries),
            other => Err(failure(other)),
        }
    }

    pub async fn free_space(&self, path: &Path) -> io::Result<u64> {
        match self.single(Op::FreeSpace { path: path.to_owned() }).await {
            Outcome::Len(bytes) => Ok(bytes),
            other => Err(failure(other)),
        }
    }

    // ---- sockets

    pub async fn listen(&self, addr: SocketAddr) -> io::Result<Listener> {
        self.accept_from(Op::Listen { addr }).await
    }

    /// Takes over a socket that listens already, as a service manager hands it down.
    pub async fn take_over_listener(&self, socket: OwnedFd) -> io::Result<Listener> {
        self.accept_from(Op::TakeOverListener { socket }).await
    }

    async fn accept_from(&self, op: Op) -> io::Result<Listener> {
        match self.single(op).await {
            Outcome::Listening { listener, addr } => {
                let token = self.submit_stream(Op::Accept { listener });
                let accepts = StreamOp { runtime: self.clone(), token };
                Ok(Listener { runtime: self.clone(), handle: listener, addr, accepts })
            }
            other => Err(failure(other)),
        }
    }

    pub async fn connect(&self, addr: SocketAddr) -> io::Result<Socket> {
        match self.single(Op::Connect { addr }).await {
            Outcome::Opened(handle) => Ok(Socket::new(self, handle, addr)),
            other => Err(failure(other)),
        }
    }

    // ---- the operations underneath

    fn single(&self, op: Op) -> SingleOp {
        let token = self.shared.ops.borrow_mut().single();
        self.shared.driver.borrow_mut().submit(token, op);
        SingleOp { runtime: self.clone(), token: Some(token) }
    }

    async fn done(&self, op: Op) -> io::Result<()> {
        match self.single(op).await {
            Outcome::Done => Ok(()),
            other => Err(failure(other)),
        }
    }

    fn submit_stream(&self, op: Op) -> Token {
        let token = self.shared.ops.borrow_mut().stream();
        self.shared.driver.borrow_mut().submit(token, op);
        token
    }

    /// Closes without waiting.
    pub(super) fn close(&self, handle: Handle) {
        let token = self.shared.ops.borrow_mut().orphan();
        self.shared.driver.borrow_mut().submit(token, Op::Close { handle });
    }

    fn abandon(&self, token: Token) {
        let (under_way, handles) = self.shared.ops.borrow_mut().abandon(token);
        if under_way {
            self.shared.driver.borrow_mut().cancel(token);
        }
        handles.into_iter().for_each(|handle| self.close(handle));
    }
}

fn failure(outcome: Outcome) -> io::Error {
    match outcome {
        Outcome::Failed(error) => error,
        other => unreachable!("the driver answered with the wrong outcome: {other:?}"),
    }
}

struct SingleOp {
    runtime: Runtime,
    token: Option<Token>,
}

impl Future for SingleOp {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let token = self.token.expect("an operation polled after it completed");
        let polled = self.runtime.shared.ops.borrow_mut().poll_single(token, cx);
        if polled.is_ready() {
            self.token = None;
        }
        polled
    }
}

impl Drop for SingleOp {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.runtime.abandon(token);
        }
    }
}

struct StreamOp {
    runtime: Runtime,
    token: Token,
}

impl StreamOp {
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        self.runtime.shared.ops.borrow_mut().poll_stream(self.token, cx)
    }
}

impl Drop for StreamOp {
    fn drop(&mut self) {
        self.runtime.abandon(self.token);
    }
}

/// An open file with direct I/O; closed on drop.
pub struct File {
    runtime: Runtime,
    handle: Handle,
}

impl File {
    /// Fills `buf` from `offset`; a count below its length means the end of the file.
    /// Starts at once.
    pub fn read(
        &self,
        offset: FileOffset,
        buf: AlignedBuf,
    ) -> impl Future<Output = io::Result<(usize, AlignedBuf)>> + use<> {
        let op = self.runtime.single(Op::Read { file: self.handle, offset, buf });
        async move {
            match op.await {
                Outcome::Read { count, buf } => Ok((count, buf)),
                other => Err(failure(other)),
            }
        }
    }

    /// Starts at once; several writes may be under way and may complete in any order.
    pub fn write(
        &self,
        offset: FileOffset,
        buf: AlignedBuf,
        sync: Sync,
    ) -> impl Future<Output = io::Result<AlignedBuf>> + use<> {
        let op = self.runtime.single(Op::Write { file: self.handle, offset, buf, sync });
        async move {
            match op.await {
                Outcome::Wrote(buf) => Ok(buf),
                other => Err(failure(other)),
            }
        }
    }

    pub async fn sync(&self) -> io::Result<()> {
        self.runtime.done(Op::SyncFile { file: self.handle }).await
    }

    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        self.runtime.done(Op::SetLen { file: self.handle, len }).await
    }

    pub async fn len(&self) -> io::Result<u64> {
        match self.runtime.single(Op::FileLen { file: self.handle }).await {
            Outcome::Len(len) => Ok(len),
            other => Err(failure(other)),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.runtime.close(self.handle);
    }
}

pub struct Listener {
    runtime: Runtime,
    handle: Handle,
    addr: SocketAddr,
    accepts: StreamOp,
}

impl Listener {
    /// The address bound, with the port that the system chose when 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection; `Ok(None)` when the listener is closed.
    pub async fn accept(&mut self) -> io::Result<Option<Socket>> {
        match poll_fn(|cx| self.accepts.poll_next(cx)).await {
            None => Ok(None),
            Some(Outcome::Accepted { socket, peer }) => Ok(Some(Socket::new(&self.runtime, socket, peer))),
            Some(other) => Err(failure(other)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.runtime.close(self.handle);
    }
}

/// A connected TCP socket; closed on drop.
pub struct Socket {
    runtime: Runtime,
    handle: Handle,
    peer: SocketAddr,
    receives: StreamOp,
}

impl Socket {
    fn new(runtime: &Runtime, handle: Handle, peer: SocketAddr) -> Socket {
        let token = runtime.submit_stream(Op::Receive { socket: handle });
        let receives = StreamOp { runtime: runtime.clone(), token };
        Socket { runtime: runtime.clone(), handle, peer, receives }
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The next bytes; `Ok(None)` at the end of the peer's stream.
    pub async fn receive(&self) -> io::Result<Option<Lease>> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// As [`Socket::receive`], for tasks that wait for several things at once.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Lease>>> {
        self.receives.poll_next(cx).map(|arrived| match arrived {
            None => Ok(None),
            Some(Outcome::Received(lease)) if lease.is_empty() => Ok(None),
            Some(Outcome::Received(lease)) => Ok(Some(lease)),
            Some(other) => Err(failure(other)),
        })
    }

    /// Sends everything, then gives the buffer back. One send at a time keeps bytes in order.
    pub async fn send(&self, buf: SendBuf) -> io::Result<SendBuf> {
        match self.runtime.single(Op::Send { socket: self.handle, buf }).await {
            Outcome::Sent(buf) => Ok(buf),
            other => Err(failure(other)),
        }
    }

    pub async fn shutdown(&self) -> io::Result<()> {
        self.runtime.done(Op::Shutdown { socket: self.handle }).await
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.runtime.close(self.handle);
    }
}

/// See [`Runtime::expect_soon`].
pub struct Expecting {
    shared: Rc<Shared>,
}

impl Drop for Expecting {
    fn drop(&mut self) {
        self.shared.expected_soon.set(self.shared.expected_soon.get() - 1);
    }
}

pub struct Sleep {
    shared: Rc<Shared>,
    at: Mono,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.shared.driver.borrow().now();
        if now >= self.at {
            return Poll::Ready(());
        }
        match self.timer {
            Some(id) => self.shared.timers.borrow_mut().update(self.at, id, cx.waker()),
            None => {
                let id = self.shared.timers.borrow_mut().add(self.at, cx.waker().clone());
                self.timer = Some(id);
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.timer {
            self.shared.timers.borrow_mut().remove(self.at, id);
        }
    }
}

/// Long work asks after every small step whether its time on the core is used up.
pub struct Slice {
    runtime: Runtime,
    length: Duration,
    until: Mono,
    spent: u64,
    stands_back: bool,
}

impl Slice {
    /// Goes on at once while there is time left, else in a later turn with a new budget.
    pub async fn checkpoint(&mut self) {
        self.spent += 1;
        // In the simulator time stands still while a task runs, so steps are counted as well.
        let used_up = self.spent >= limits::BACKGROUND_SLICE_STEPS_MAX || self.runtime.now() >= self.until;
        if used_up {
            match self.stands_back {
                true => self.runtime.stand_back().await,
                false => self.runtime.yield_now().await,
            }
            self.until = self.runtime.now().after(self.length);
            self.spent = 0;
        }
    }
}
