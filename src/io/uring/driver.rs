//! The driver of one core: [`Driver`] over one ring.
//!
//! Each operation has at most one request with the kernel; what follows on the answer is decided by
//! its [`Work`], what is left to this file is to carry it out. A `poll` enters the kernel once, and not
//! at all when it may not wait, has nothing to submit, and the kernel has nothing to run.
//!
//! Invariant: an operation's work stays in [`InFlight`] until the kernel has given its last answer. A
//! driver that is dropped cancels everything and waits for that; what does not come back is leaked.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{cqueue, opcode, squeue, types};

use super::bell::EventBell;
use super::buffers::ReceiveBuffers;
use super::clock::{self, Random};
use super::handles::Handles;
use super::in_flight::{InFlight, Key};
use super::probe::{self, Features};
use super::ring::{Ring, Wait};
use super::work::{Answer, Next, Plan, Resources, Work};
use super::{RingConfig, RingError};
use crate::io::driver::{Doorbell, Driver, Park};
use crate::io::op::{Completion, Handle, Op, Outcome, Token};
use crate::types::{Mono, WallMs};

/// Answers that belong to no operation: of the poll on the doorbell, and of requests to cancel.
const BELL: u64 = u64::MAX;
const UNHEARD: u64 = u64::MAX - 1;

/// How long a dropped driver waits for the kernel to give memory back. Only a disk or a file system
/// that hangs takes longer.
const DROP_LIMIT: Duration = Duration::from_secs(2);

pub struct RingDriver {
    ring: Ring,
    in_flight: InFlight,
    resources: Resources,
    /// Receives that wait for any buffer, in order.
    starved: VecDeque<Key>,
    /// Receives that wait for their own reader; each has many buffers lent out, so they are few.
    paused: Vec<Key>,
    /// Completions for the next `poll`.
    completions: Vec<Completion>,
    answers: Vec<cqueue::Entry>,
    bell: Arc<EventBell>,
    random: Random,
}

impl RingDriver {
    /// A driver for the calling thread. Fails with what is wrong and what to do about it.
    pub fn new(config: &RingConfig) -> Result<RingDriver, RingError> {
        let (uring, mut features) = probe::build(config)?;
        let ring = Ring::new(uring);
        let buffers = ReceiveBuffers::new(&ring, &mut features)?;
        let bell = EventBell::new().map_err(|error| RingError::from_os("eventfd", error))?;
        let random = Random::from_kernel().map_err(|error| RingError::Os { call: "getrandom", error })?;
        let mut driver = RingDriver {
            ring,
            in_flight: InFlight::default(),
            resources: Resources { handles: Handles::default(), buffers: Rc::new(buffers), features },
            starved: VecDeque::new(),
            paused: Vec::new(),
            completions: Vec::new(),
            answers: Vec::new(),
            bell: Arc::new(bell),
            random,
        };
        driver.listen_to_bell();
        Ok(driver)
    }

    pub fn features(&self) -> Features {
        self.resources.features
    }

    fn listen_to_bell(&mut self) {
        let poll = opcode::PollAdd::new(types::Fd(self.bell.fd()), libc::POLLIN as u32).multi(true).build();
        self.push_own(poll.user_data(BELL));
    }

    /// Queues a request that names no memory.
    fn push_own(&mut self, entry: squeue::Entry) {
        // SAFETY: no memory is named.
        unsafe { self.ring.push(entry) }
    }

    /// Hands the next request of an operation to the kernel.
    fn start(&mut self, key: Key) {
        let work = self.in_flight.start(key);
        if let Work::Close { handle, .. } = work {
            self.resources.handles.release(*handle);
        }
        let entry = work.entry(&self.resources.features).user_data(key.0);
        // SAFETY: the memory belongs to the work, in places that do not move; the work stays until the
        // last answer to this request, or is leaked.
        unsafe { self.ring.push(entry) }
    }

    fn stop(&mut self, key: Key) {
        self.push_own(opcode::AsyncCancel::new(key.0).build().user_data(UNHEARD));
    }

    fn begin(&mut self, token: Token, work: Work) {
        if let Work::Close { handle, .. } = work {
            return self.begin_close(token, handle, work);
        }
        if let Some(handle) = work.handle() {
            self.resources.handles.attach(handle, token);
        }
        let key = self.in_flight.insert(token, work);
        self.start(key);
    }

    /// The close itself waits for the last operation on the handle; see [`RingDriver::end`].
    fn begin_close(&mut self, token: Token, handle: Handle, work: Work) {
        let key = self.in_flight.insert(token, work);
        for user in self.resources.handles.begin_close(handle, token) {
            self.cancel(user);
        }
        // The last cancel may have ended the last operation, and so have started the close.
        if !self.in_flight.is_in_kernel(key) && !self.resources.handles.is_used(handle) {
            self.start(key);
        }
    }

    /// The last completion of an operation.
    fn end(&mut self, key: Key, handle: Option<Handle>, outcome: Outcome) {
        self.in_flight.remove(key);
        let token = key.token();
        self.completions.push(Completion { token, outcome, more: false });
        let close = handle.and_then(|handle| self.resources.handles.detach(handle, token));
        if let Some(close) = close {
            let key = self.in_flight.key(close).expect("a close in flight");
            self.start(key);
        }
    }

    fn take_answer(&mut self, entry: &cqueue::Entry) {
        let answer = Answer::from(entry);
        match entry.user_data() {
            UNHEARD => {}
            BELL if answer.more => {}
            BELL => self.listen_to_bell(),
            key => self.advance(Key(key), answer),
        }
    }

    fn advance(&mut self, key: Key, answer: Answer) {
        let work = self.in_flight.take(key, answer.more);
        let handle = work.handle();
        let completions = &mut self.completions;
        let emit = |outcome| completions.push(Completion { token: key.token(), outcome, more: true });
        let next = work.advance(answer, &mut self.resources, emit);
        self.carry_out(key, handle, next);
    }

    fn carry_out(&mut self, key: Key, handle: Option<Handle>, next: Next) {
        let wants_more = matches!(next, Next::Again(_) | Next::Starved(_) | Next::Paused(_));
        if wants_more && self.in_flight.is_cancelled(key) {
            return self.end(key, handle, cancelled());
        }
        match next {
            Next::End(outcome) => self.end(key, handle, outcome),
            Next::Stay(work) => self.in_flight.put_back(key, work),
            Next::Again(work) => {
                self.in_flight.put_back(key, work);
                self.start(key);
            }
            Next::Halt(work) => {
                self.in_flight.put_back(key, work);
                self.stop(key);
            }
            Next::Starved(work) => {
                self.in_flight.put_back(key, work);
                self.starved.push_back(key);
            }
            Next::Paused(work) => {
                self.in_flight.put_back(key, work);
                self.paused.push(key);
            }
        }
    }

    /// Starts receives again whose buffers have come back.
    fn resume_receives(&mut self) {
        for key in mem::take(&mut self.paused) {
            let Work::Receive(receive) = self.in_flight.work(key) else {
                unreachable!("only receives pause")
            };
            match receive.is_drained(&self.resources.buffers) {
                true => self.start(key),
                false => self.paused.push(key),
            }
        }
        // No more than could get a buffer each, or the rest would only starve again.
        let count = self.starved.len().min(self.resources.buffers.free());
        for key in self.starved.drain(..count).collect::<Vec<Key>>() {
            self.start(key);
        }
    }

    fn wait_for(&self, park: Park) -> Wait {
        let could_feed = !self.starved.is_empty() && !self.resources.buffers.all_are_lent();
        if could_feed || !self.completions.is_empty() {
            return Wait::No;
        }
        match park {
            Park::No => Wait::No,
            Park::Forever => Wait::Forever,
            Park::Until(at) => match at.since(clock::monotonic()) {
                0 => Wait::No,
                nanoseconds => Wait::AtMost(Duration::from_nanos(nanoseconds)),
            },
        }
    }
}

fn cancelled() -> Outcome {
    Outcome::Failed(io::Error::from_raw_os_error(libc::ECANCELED))
}

impl Driver for RingDriver {
    fn submit(&mut self, token: Token, op: Op) {
        let outcome = match Plan::new(op, &mut self.resources) {
            Ok(Plan::Request(work)) => return self.begin(token, work),
            Ok(Plan::Answer(outcome)) => outcome,
            Err(error) => Outcome::Failed(error),
        };
        self.completions.push(Completion { token, outcome, more: false });
    }

    fn cancel(&mut self, token: Token) {
        let Some(key) = self.in_flight.key(token) else { return };
        if matches!(self.in_flight.work(key), Work::Close { .. }) || self.in_flight.is_cancelled(key) {
            return;
        }
        self.in_flight.cancel(key);
        if self.in_flight.is_in_kernel(key) {
            return self.stop(key);
        }
        self.starved.retain(|waiting| *waiting != key);
        self.paused.retain(|waiting| *waiting != key);
        let handle = self.in_flight.work(key).handle();
        self.end(key, handle, cancelled());
    }

    fn poll(&mut self, park: Park, completions: &mut Vec<Completion>) {
        self.resume_receives();
        let wait = self.wait_for(park);
        let mut answers = mem::take(&mut self.answers);
        self.ring.enter(wait, &mut answers);
        answers.drain(..).for_each(|entry| self.take_answer(&entry));
        self.answers = answers;
        completions.append(&mut self.completions);
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

impl Drop for RingDriver {
    fn drop(&mut self) {
        for key in self.in_flight.keys() {
            self.cancel(key.token());
        }
        let deadline = self.now().after(DROP_LIMIT);
        while !self.in_flight.is_empty() && self.now() < deadline {
            self.poll(Park::Until(deadline), &mut Vec::new());
        }
        if !self.in_flight.is_empty() {
            // The kernel may still write to this memory.
            mem::forget(mem::take(&mut self.in_flight));
            mem::forget(self.resources.buffers.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::op::OpenMode;

    fn driver() -> RingDriver {
        RingDriver::new(&RingConfig::default()).expect("a ring")
    }

    /// Polls until the operation `token` has given its last completion; returns all that came.
    fn until_end_of(driver: &mut RingDriver, token: Token) -> Vec<Completion> {
        let mut completions: Vec<Completion> = Vec::new();
        let deadline = driver.now().after(Duration::from_secs(10));
        while !completions.iter().any(|completion| completion.token == token && !completion.more) {
            assert!(driver.now() < deadline, "{token:?} never ends: {completions:?}");
            driver.poll(Park::Until(deadline), &mut completions);
        }
        completions
    }

    fn listen(driver: &mut RingDriver) -> Handle {
        driver.submit(Token(0), Op::Listen { addr: "127.0.0.1:0".parse().unwrap() });
        match until_end_of(driver, Token(0)).pop().unwrap().outcome {
            Outcome::Listening { listener, .. } => listener,
            other => panic!("{other:?}"),
        }
    }

    fn error_code(outcome: &Outcome) -> Option<i32> {
        match outcome {
            Outcome::Failed(error) => error.raw_os_error(),
            _ => None,
        }
    }

    #[test]
    fn a_close_first_ends_what_is_under_way() {
        let mut driver = driver();
        let listener = listen(&mut driver);
        driver.submit(Token(1), Op::Accept { listener });
        driver.poll(Park::No, &mut Vec::new());
        driver.submit(Token(2), Op::Close { handle: listener });
        driver.submit(Token(3), Op::Accept { listener });
        let completions = until_end_of(&mut driver, Token(2));
        let order: Vec<u64> = completions.iter().map(|completion| completion.token.0).collect();
        assert_eq!(order, [3, 1, 2]);
        assert_eq!(error_code(&completions[0].outcome), Some(libc::EBADF), "a closing handle takes nothing");
        assert_eq!(error_code(&completions[1].outcome), Some(libc::ECANCELED));
        assert!(matches!(completions[2].outcome, Outcome::Done));
    }

    #[test]
    fn a_late_cancel_does_not_hit_the_next_operation_of_the_token() {
        let mut driver = driver();
        let listener = listen(&mut driver);
        driver.submit(Token(1), Op::Accept { listener });
        driver.cancel(Token(1));
        driver.cancel(Token(1));
        assert_eq!(until_end_of(&mut driver, Token(1)).len(), 1, "one last completion");
        driver.submit(Token(1), Op::Accept { listener });
        driver.poll(Park::No, &mut Vec::new());
        // The first operation with this token; the kernel has the second one by now.
        driver.stop(Key(1));
        let mut completions = Vec::new();
        let soon = driver.now().after(Duration::from_millis(20));
        driver.poll(Park::Until(soon), &mut completions);
        driver.poll(Park::Until(soon), &mut completions);
        assert!(completions.is_empty(), "{completions:?}");
    }

    #[test]
    fn parks_for_as_long_as_it_was_told() {
        let mut driver = driver();
        let began = driver.now();
        driver.poll(Park::Until(began), &mut Vec::new());
        driver.poll(Park::No, &mut Vec::new());
        let at = began.after(Duration::from_millis(30));
        while driver.now() < at {
            driver.poll(Park::Until(at), &mut Vec::new());
        }
        assert!(driver.now().since(at) < 25_000_000, "parked far too long");
        driver.doorbell().arm();
        driver.doorbell().ring();
        driver.poll(Park::Forever, &mut Vec::new());
    }

    #[test]
    fn a_file_without_direct_io_is_refused_by_name() {
        let mut driver = driver();
        driver.submit(Token(1), Op::Open { path: "/proc/self/status".into(), mode: OpenMode::Read });
        match until_end_of(&mut driver, Token(1)).pop().unwrap().outcome {
            Outcome::Failed(error) => assert!(error.to_string().contains("/proc/self/status"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}
