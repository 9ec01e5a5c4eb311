//! One connection: requests in, answers out, in order.
//!
//! A **turn** parses and starts the requests that are there, as far as they may overlap, then answers
//! them in order. What is there to be sent goes out in one buffer before anything is waited for.
//!
//! Invariant: every request that was started is answered, or its client is gone; then it is finished
//! all the same.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::access::caller::{Caller, Trail, Verdict};
use super::bulk::Bulk;
use super::note::Note;
use super::parser::head::{Head, Method};
use super::parser::{Body as RequestBody, Fault, Part, Request, RequestReader, Stage};
use super::problem::Problem;
use super::response::{Body, Frame, NDJSON, Response, Rest, Source, append_end, append_piece};
use super::routes::{self, Class, LargePut, Resource, Started, Work, bulk};
use super::seat::Doing;
use super::wire::{Filled, Wire};
use crate::limits;
use crate::shard::node::Node;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What of a request its answer needs.
#[derive(Default)]
struct Shell {
    /// The client wants the connection to end.
    close: bool,
    is_http10: bool,
    head_only: bool,
    note: Option<Box<Note>>,
    trail: Trail,
}

/// How a turn's parsing ended.
enum Turn {
    /// The next request has to wait for those before it.
    Again,
    /// The next request is not all there.
    Hungry,
    Bulk(Box<(bulk::Plan, Shell)>),
    LargePut(Box<(LargePut, Shell)>),
    /// Nothing more is read.
    Last,
}

/// How the connection ends, once that is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Plain,
    /// Bytes of the client's may still be on their way.
    Unread,
}

pub struct Connection {
    node: Node,
    wire: Wire,
    caller: Caller,
    reader: RequestReader,
    /// Started and not yet answered.
    open: VecDeque<(Work, Shell)>,
    log_requests: bool,
    ending: Option<Ending>,
}

impl Connection {
    pub fn new(node: Node, wire: Wire, caller: Caller, log_requests: bool) -> Connection {
        let reader = RequestReader::new(routes::streams);
        Connection {
            node: node.for_client(),
            wire,
            caller,
            reader,
            open: VecDeque::new(),
            log_requests,
            ending: None,
        }
    }

    pub async fn run(mut self) {
        while self.ending.is_none() && !self.wire.is_gone() {
            let turn = self.start_requests();
            self.answer_all().await;
            match turn {
                Turn::Hungry if self.ending.is_none() => self.take_more().await,
                Turn::Bulk(bulk) => self.run_bulk(bulk.0, bulk.1).await,
                Turn::LargePut(put) => self.take_large_put(put.0, put.1).await,
                Turn::Again | Turn::Hungry | Turn::Last => {}
            }
        }
        self.end().await;
    }

    /// Answers that the server has no place for this connection.
    pub async fn refuse(mut self) {
        let detail = "the server holds as many connections as it may";
        self.answer_last(Problem::new(503, "too_many_connections", detail)).await;
        self.end().await;
    }

    /// Sends what is left and makes sure that it arrives.
    async fn end(&mut self) {
        self.wire.finish().await;
        if self.ending == Some(Ending::Unread) && !self.wire.is_gone() {
            self.wire.inbound.clear();
            self.wire.linger().await;
        }
    }

    // ---- parsing

    fn start_requests(&mut self) -> Turn {
        let mut class = None;
        while self.open.len() < limits::PIPELINE_REQUESTS_MAX {
            if let ControlFlow::Break(turn) = self.start_next(&mut class) {
                return turn;
            }
        }
        Turn::Again
    }

    /// Starts the next request, if it is there and may run beside those of this turn's `class`.
    fn start_next(&mut self, class: &mut Option<Class>) -> ControlFlow<Turn> {
        let mut input = self.wire.inbound.bytes();
        let before = input.len();
        let next = self.reader.next(&mut input);
        let used = before - input.len();
        let request = match next {
            Ok(Some(request)) => request,
            Ok(None) => {
                self.wire.inbound.consume(used);
                return ControlFlow::Break(Turn::Hungry);
            }
            Err(fault) => return ControlFlow::Break(self.refuse_input(fault)),
        };
        let own_class = routes::class_of(&request.head);
        if !may_join(*class, own_class) {
            if self.reader.put_back() {
                self.wire.inbound.consume(used);
            }
            return ControlFlow::Break(Turn::Again);
        }
        *class = Some(own_class);
        let mut shell = shell_of(&request, self.log_requests, &self.wire);
        let streams = request.body == RequestBody::Stream;
        let resource = Resource::find(request.head.path, request.head.method);
        let (verdict, trail) = self.caller.admit(&request.head, resource, own_class, self.wire.now());
        shell.trail = trail;
        let started = match verdict {
            Verdict::Pass => routes::start(&self.node, &request, resource, self.caller.permit()),
            Verdict::Preflight => Ok(Started::Work(Work::Ready(Response::empty(204)))),
            Verdict::Refused(problem) => Err(problem),
        };
        self.wire.inbound.consume(used);
        self.open_or_hand_over(started, shell, streams)
    }

    /// `streams`: the body of the request is still to be read.
    fn open_or_hand_over(
        &mut self,
        started: Result<Started, Problem>,
        mut shell: Shell,
        streams: bool,
    ) -> ControlFlow<Turn> {
        let work = match started {
            Ok(Started::LargePut(put)) => return ControlFlow::Break(Turn::LargePut(Box::new((*put, shell)))),
            Ok(Started::Bulk(plan)) => return ControlFlow::Break(Turn::Bulk(Box::new((plan, shell)))),
            Ok(Started::Work(work)) => work,
            Err(problem) => Work::Ready(problem.into()),
        };
        if streams {
            // Refused: nobody reads its body.
            shell.close = true;
            self.ending = Some(Ending::Unread);
        }
        let is_last = shell.close;
        self.open.push_back((work, shell));
        if is_last { ControlFlow::Break(Turn::Last) } else { ControlFlow::Continue(()) }
    }

    fn refuse_input(&mut self, fault: Fault) -> Turn {
        let shell = Shell { close: true, ..Shell::default() };
        self.open.push_back((Work::Ready(Problem::from(fault).into()), shell));
        self.ending = Some(Ending::Unread);
        Turn::Last
    }

    /// Waits for more of the next request.
    async fn take_more(&mut self) {
        self.send_owed_continue();
        self.wire.flush().await;
        if !self.wire.inbound.is_empty() {
            return;
        }
        if !self.wire.may_hold(self.reader.held_bytes()) {
            return self.answer_last(too_many_bodies()).await;
        }
        let doing = match self.reader.stage() {
            Stage::Idle => Doing::Idle,
            Stage::Head => Doing::Head,
            Stage::Body => Doing::Body,
        };
        match self.wire.fill(doing).await {
            Filled::More => {}
            Filled::Expired if doing != Doing::Idle => self.answer_last(timed_out()).await,
            Filled::Expired | Filled::Ended | Filled::Drained => self.ending = Some(Ending::Plain),
        }
    }

    fn send_owed_continue(&mut self) {
        if self.reader.take_owed_continue() {
            self.wire.out.extend_from_slice(CONTINUE);
        }
    }

    // ---- answering

    async fn answer_all(&mut self) {
        while let Some((work, shell)) = self.open.pop_front() {
            let response = match work.try_finish() {
                Ok(response) => response,
                Err(work) => {
                    self.wire.flush().await;
                    self.wire.wait(work.finish()).await
                }
            };
            self.answer(response, shell).await;
        }
    }

    /// The answer to a request that is not read to its end.
    async fn answer_last(&mut self, problem: Problem) {
        self.ending = Some(Ending::Unread);
        self.answer(problem.into(), Shell { close: true, ..Shell::default() }).await;
    }

    async fn answer(&mut self, mut response: Response, shell: Shell) {
        let room = response.room_bytes();
        if room > 0 && !self.wire.set_aside(room) {
            response = too_many_answers().into();
        }
        match self.encode(response, &shell) {
            Rest::Nothing => self.wire.flush_if_large().await,
            Rest::Value { bytes, start } => self.wire.send_shared(bytes, start).await,
            Rest::Stream { source, chunked } => self.send_stream(source, chunked).await,
        }
        if room > 0 {
            self.wire.set_aside(0);
        }
    }

    fn encode(&mut self, mut response: Response, shell: &Shell) -> Rest {
        let note = shell.note.as_deref();
        response.render_problem(|| self.request_id(note));
        let is_last_of_drain = self.wire.is_draining() && !self.has_more();
        let close = shell.close || is_last_of_drain || (shell.is_http10 && response.has_unknown_length());
        if close {
            self.ending.get_or_insert(Ending::Plain);
        }
        let frame = Frame {
            close,
            is_http10: shell.is_http10,
            head_only: shell.head_only,
            note,
            now: self.wire.now(),
        };
        if let Some(note) = note {
            note.log_answer(response.status, frame.now);
        }
        response.lines.extend_from_slice(&shell.trail.lines);
        self.caller.audit(&shell.trail, response.status);
        response.encode(&frame, &mut self.wire.out)
    }

    /// Whether anything was read that is not answered.
    fn has_more(&self) -> bool {
        !self.open.is_empty() || !self.wire.inbound.is_empty() || self.reader.stage() != Stage::Idle
    }

    /// The client's own id, else one made up, so that a problem can be found in the log.
    fn request_id(&self, note: Option<&Note>) -> String {
        match note.and_then(Note::request_id) {
            Some(id) => id.to_owned(),
            None => format!("{:016x}", self.wire.random()),
        }
    }

    async fn send_stream(&mut self, mut source: Box<dyn Source>, chunked: bool) {
        let mut piece = Vec::new();
        loop {
            piece.clear();
            match self.wire.wait(source.next(&mut piece)).await {
                Ok(more) => {
                    append_piece(&piece, chunked, &mut self.wire.out);
                    if !more {
                        append_end(chunked, &mut self.wire.out);
                        return;
                    }
                }
                Err(problem) => {
                    tracing::warn!(code = problem.code, detail = %problem.detail, "an answer was cut short");
                    self.ending = Some(Ending::Plain);
                    return;
                }
            }
            self.wire.flush_if_large().await;
            if self.wire.is_gone() {
                return;
            }
        }
    }

    // ---- large values

    /// Reads a large value, writes it and answers.
    async fn take_large_put(&mut self, mut put: LargePut, shell: Shell) {
        self.send_owed_continue();
        loop {
            let mut input = self.wire.inbound.bytes();
            let before = input.len();
            let part = self.reader.next_part(&mut input);
            let used = before - input.len();
            if let Ok(Part::Data(data)) = part {
                put.push(data);
            }
            let (is_more, is_end) = (part == Ok(Part::More), part == Ok(Part::End));
            if part.is_err() {
                self.ending = Some(Ending::Unread);
                return;
            }
            self.wire.inbound.consume(used);
            if is_end {
                break;
            }
            if is_more && !self.take_more_of_value(&put).await {
                return;
            }
        }
        self.wire.may_hold(0);
        self.open.push_back((put.start(&self.node), shell));
        // A read behind it must see it.
        self.answer_all().await;
    }

    /// False when the connection ends.
    async fn take_more_of_value(&mut self, put: &LargePut) -> bool {
        self.wire.flush().await;
        if !self.wire.inbound.is_empty() {
            return true;
        }
        if !self.wire.may_hold(put.held_bytes()) {
            self.answer_last(too_many_bodies()).await;
            return false;
        }
        match self.wire.fill(Doing::Body).await {
            Filled::More => true,
            Filled::Expired => {
                self.answer_last(timed_out()).await;
                false
            }
            Filled::Ended | Filled::Drained => {
                self.ending = Some(Ending::Plain);
                false
            }
        }
    }

    // ---- bulk

    /// Reads lines and answers them until the body ends. A body that does not come to its end has an
    /// answer without one: there is a result line for each input line and no other.
    async fn run_bulk(&mut self, plan: bulk::Plan, shell: Shell) {
        if !self.wire.set_aside(limits::STREAM_ROOM_BYTES) {
            return self.answer_last(too_many_answers()).await;
        }
        self.send_owed_continue();
        let chunked = !shell.is_http10;
        self.encode(Response::new(200, Body::Open { content_type: NDJSON }), &shell);
        let mut bulk = Bulk::new(self.node.clone(), plan, chunked);
        let end = self.read_bulk(&mut bulk).await;
        bulk.finish(&mut self.wire).await;
        match end {
            BulkEnd::Whole => append_end(chunked, &mut self.wire.out),
            BulkEnd::Broken(problem) => {
                tracing::info!(code = problem.map(|problem| problem.code), "a bulk was cut short");
                self.ending = Some(Ending::Unread);
            }
        }
        self.wire.set_aside(0);
    }

    async fn read_bulk(&mut self, bulk: &mut Bulk) -> BulkEnd {
        loop {
            let mut input = self.wire.inbound.bytes();
            let before = input.len();
            let part = self.reader.next_part(&mut input);
            let used = before - input.len();
            if let Ok(Part::Data(data)) = part {
                bulk.feed(data);
            }
            let (is_more, is_end) = (part == Ok(Part::More), part == Ok(Part::End));
            if let Err(fault) = part {
                return BulkEnd::Broken(Some(fault.into()));
            }
            self.wire.inbound.consume(used);
            if is_end {
                bulk.end_of_lines();
                bulk.advance(&mut self.wire).await;
                return BulkEnd::Whole;
            }
            bulk.advance(&mut self.wire).await;
            if is_more && let Some(end) = self.take_more_lines(bulk).await {
                return end;
            }
            if self.wire.is_gone() {
                return BulkEnd::Broken(None);
            }
        }
    }

    /// Answers what was read so far, then waits for more of the body.
    async fn take_more_lines(&mut self, bulk: &mut Bulk) -> Option<BulkEnd> {
        bulk.finish(&mut self.wire).await;
        self.wire.flush().await;
        if self.wire.inbound.is_empty() {
            if !self.wire.may_hold(bulk.held_bytes()) {
                return Some(BulkEnd::Broken(Some(too_many_bodies())));
            }
            match self.wire.fill(Doing::Body).await {
                Filled::More => {}
                Filled::Expired => return Some(BulkEnd::Broken(Some(timed_out()))),
                Filled::Ended | Filled::Drained => return Some(BulkEnd::Broken(None)),
            }
        }
        // A bulk may go on for hours.
        (!self.caller.is_still_admitted()).then(|| BulkEnd::Broken(Some(revoked())))
    }
}

/// How the body of a bulk ended; a broken one names its problem, unless the client just went.
enum BulkEnd {
    Whole,
    Broken(Option<Problem>),
}

/// Whether a request may start beside those of the turn so far.
fn may_join(turn: Option<Class>, class: Class) -> bool {
    match turn {
        None => true,
        Some(turn) => turn == class && class != Class::Alone,
    }
}

fn shell_of(request: &Request<'_>, log_requests: bool, wire: &Wire) -> Shell {
    let head: &Head<'_> = &request.head;
    Shell {
        close: !head.keep_alive,
        is_http10: head.is_http10,
        head_only: head.method == Method::Head,
        note: Note::of(head, log_requests, wire.now(), || wire.random()),
        trail: Trail::default(),
    }
}

fn timed_out() -> Problem {
    Problem::new(408, "request_timeout", "the request did not arrive in time")
}

fn revoked() -> Problem {
    Problem::new(401, "unauthorized", "the API key was revoked")
}

fn too_many_answers() -> Problem {
    Problem::new(503, "overloaded", "the core holds as many bytes of answers that are not read as it may")
}

fn too_many_bodies() -> Problem {
    Problem::new(503, "overloaded", "the core holds as many bytes of unfinished requests as it may")
}
