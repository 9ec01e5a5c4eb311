//! One connection: requests in, answers out, in order.
//!
//! A **turn** parses and starts the requests that are there, as far as they may overlap, then answers
//! them in order. What is there to be sent goes out in one buffer before anything is waited for.
//!
//! Invariant: every request that was started is answered, or its client is gone or was cut; then it is finished
//! all the same.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::access::caller::{Admitted, Caller, Trail, Verdict};
use super::body::{BodySink, Decoding, WholeBody, too_many_bodies};
use super::bulk::Bulk;
use super::coding::Coding;
use super::coding::answer::encode_answer;
use super::coding::decoder;
use super::note::Note;
use super::parser::head::{Framing, Head, Method};
use super::parser::{Body as RequestBody, Fault, Part, Request, RequestReader, Stage};
use super::problem::Problem;
use super::response::{Body, Frame, NDJSON, Response, Rest, Source, append_end, append_piece};
use super::routes::{self, Class, CodedRequest, LargePut, Resource, Started, Work, bulk};
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
    /// What the client takes.
    coding: Option<Coding>,
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
    Coded(Box<(CodedRequest, Shell)>),
    /// Nothing more is read.
    Last,
}

/// An answer of which the bytes that are there are appended.
struct Begun {
    rest: Rest,
    /// Set aside for it.
    room: usize,
}

impl Begun {
    fn is_done(&self) -> bool {
        matches!(self.rest, Rest::Nothing) && self.room == 0
    }
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
    /// Of the request whose body is being gathered: it was judged by its head.
    begun: Option<Box<(Verdict, Shell)>>,
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
            begun: None,
            log_requests,
            ending: None,
        }
    }

    pub async fn run(mut self) {
        while self.ending.is_none() && !self.wire.is_gone() {
            let turn = self.start_requests();
            self.answer_all().await;
            match turn {
                turn if self.wire.is_cut() && self.ending.is_none() => self.end_cut(turn).await,
                Turn::Hungry if self.ending.is_none() => self.take_more().await,
                Turn::Bulk(bulk) => self.run_bulk(bulk.0, bulk.1).await,
                Turn::LargePut(put) => self.take_large_put(put.0, put.1).await,
                Turn::Coded(coded) => self.take_coded(coded.0, coded.1).await,
                Turn::Again | Turn::Hungry | Turn::Last => {}
            }
        }
        self.end().await;
    }

    /// Answers that the server has no place for this connection.
    pub async fn refuse(mut self) {
        let detail = "the server holds as many connections as it may";
        self.answer_last(Problem::new(503, "too_many_connections", detail), Shell::default()).await;
        self.end().await;
    }

    /// The server waits no more: not for the rest of a request, and not until a client that always has more has none.
    async fn end_cut(&mut self, turn: Turn) {
        let shell = match turn {
            Turn::Bulk(bulk) => bulk.1,
            Turn::LargePut(put) => put.1,
            Turn::Coded(coded) => coded.1,
            Turn::Again | Turn::Hungry | Turn::Last if self.has_more() => self.take_begun(),
            Turn::Again | Turn::Hungry | Turn::Last => {
                self.ending = Some(Ending::Plain);
                return;
            }
        };
        self.answer_last(timed_out(), shell).await;
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
        let streams = matches!(request.body, RequestBody::Stream { .. });
        let resource = Resource::find(request.head.path, request.head.method);
        let (verdict, shell) = match self.begun.take() {
            None => {
                admit(&mut self.caller, &request.head, resource, own_class, &self.wire, self.log_requests)
            }
            Some(begun) => judge_again(&mut self.caller, *begun),
        };
        let started = start_judged(verdict, &self.node, &request, resource, &self.caller);
        self.wire.inbound.consume(used);
        self.open_or_hand_over(started, shell, streams)
    }

    /// Judges a request by its head before its body is gathered: who may not have it must not fill the room of those
    /// who may. True when it was answered: refused, or it wants neither a key nor its body. That ends the connection, so
    /// what fits the connection's own share is gathered all the same, unless the client asks whether to send it.
    fn answers_begun(&mut self) -> bool {
        let Some(head) = self.reader.begun_head() else { return false };
        let resource = Resource::find(head.path, head.method);
        let (verdict, shell) = match self.begun.take() {
            None => {
                let class = routes::class_of(&head);
                admit(&mut self.caller, &head, resource, class, &self.wire, self.log_requests)
            }
            Some(begun) => judge_again(&mut self.caller, *begun),
        };
        let may_have_it =
            matches!((&verdict, &shell.trail.admitted), (Verdict::Pass, Admitted::Openly | Admitted::By(_)));
        let expected = if let Framing::Length(len) = head.framing { len as usize } else { 0 };
        let is_small = expected.max(self.reader.held_bytes()) <= self.wire.share_bytes();
        if may_have_it || (is_small && !head.expects_continue) {
            self.begun = Some(Box::new((verdict, shell)));
            return false;
        }
        let request = Request { head, body: RequestBody::Whole(&[]) };
        let started = start_judged(verdict, &self.node, &request, resource, &self.caller);
        let _ = self.open_or_hand_over(started, shell, true);
        true
    }

    /// The shell of the request whose body is being gathered, for an answer to what came of it.
    fn take_begun(&mut self) -> Shell {
        self.begun.take().map_or_else(Shell::default, |begun| begun.1)
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
            Ok(Started::Coded(coded)) => return ControlFlow::Break(Turn::Coded(Box::new((*coded, shell)))),
            Ok(Started::Work(work)) => work,
            Err(problem) => Work::Ready(problem.into()),
        };
        if streams {
            // Refused, or answered without it: nobody reads its body.
            shell.close = true;
            self.ending = Some(Ending::Unread);
        }
        let is_last = shell.close;
        self.open.push_back((work, shell));
        if is_last { ControlFlow::Break(Turn::Last) } else { ControlFlow::Continue(()) }
    }

    fn refuse_input(&mut self, fault: Fault) -> Turn {
        let shell = Shell { close: true, ..self.take_begun() };
        self.open.push_back((Work::Ready(Problem::from(fault).into()), shell));
        self.ending = Some(Ending::Unread);
        Turn::Last
    }

    /// Waits for more of the next request.
    async fn take_more(&mut self) {
        if self.answers_begun() {
            return self.answer_all().await;
        }
        self.send_owed_continue();
        self.wire.flush().await;
        if !self.wire.inbound.is_empty() {
            return;
        }
        if !self.wire.may_hold(self.reader.held_bytes()) {
            let shell = self.take_begun();
            return self.answer_last(too_many_bodies(), shell).await;
        }
        let doing = match self.reader.stage() {
            Stage::Idle => Doing::Idle,
            Stage::Head => Doing::Head,
            Stage::Body => Doing::Body,
        };
        match self.wire.fill(doing).await {
            Filled::More => {}
            Filled::Expired if doing != Doing::Idle => {
                let shell = self.take_begun();
                self.answer_last(timed_out(), shell).await;
            }
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
        routes::look_up(&self.node, self.open.iter_mut().map(|(work, _)| work));
        while let Some((work, shell)) = self.open.pop_front() {
            let response = match work.try_finish() {
                Ok(response) => response,
                Err(work) => {
                    self.wire.flush().await;
                    self.wire.wait(work.finish(&self.node)).await
                }
            };
            // Without a future for each answer: most are small, and appended to those before.
            let begun = self.begin_answer(response, &shell);
            if !begun.is_done() || self.wire.is_large() {
                self.finish_answer(begun, &shell).await;
            }
        }
    }

    /// The answer to a request that is not read to its end; the shell of none when its head is not known.
    async fn answer_last(&mut self, problem: Problem, shell: Shell) {
        self.ending = Some(Ending::Unread);
        self.answer(problem.into(), Shell { close: true, ..shell }).await;
    }

    async fn answer(&mut self, response: Response, shell: Shell) {
        let begun = self.begin_answer(response, &shell);
        self.finish_answer(begun, &shell).await;
    }

    /// Appends what is there of the answer.
    fn begin_answer(&mut self, mut response: Response, shell: &Shell) -> Begun {
        if let Some(coding) = shell.coding {
            encode_answer(&mut response, coding, !shell.is_http10, self.node.runtime());
        }
        let room = response.room_bytes(self.wire.share_bytes());
        if room > 0 && !self.wire.set_aside(room) {
            response = too_many_answers().into();
        }
        Begun { rest: self.encode(response, shell), room }
    }

    /// Sends what is left of the answer, and what has gathered when that is much.
    async fn finish_answer(&mut self, begun: Begun, shell: &Shell) {
        match begun.rest {
            Rest::Nothing => self.wire.flush_if_large().await,
            Rest::Value { bytes, start } => self.wire.send_shared(bytes, start).await,
            Rest::Stream { source, chunked } => {
                self.send_stream(source, chunked, begun.room, &shell.trail.admitted).await;
            }
        }
        if begun.room > 0 {
            self.wire.set_aside(0);
        }
    }

    fn encode(&mut self, mut response: Response, shell: &Shell) -> Rest {
        let note = shell.note.as_deref();
        response.render_problem(|| self.request_id(note));
        let is_last_of_drain = self.wire.is_draining() && !self.has_more();
        let ends_its_body = shell.is_http10 && response.has_unknown_length();
        if ends_its_body {
            // What else was asked for would be taken for a part of it; and to close on what comes of that late would take
            // back what the client has not read yet.
            self.open.clear();
            self.ending.get_or_insert(Ending::Unread);
        }
        let close = shell.close || is_last_of_drain || ends_its_body;
        if close {
            self.ending.get_or_insert(Ending::Plain);
        }
        let frame = Frame {
            close,
            is_http10: shell.is_http10,
            head_only: shell.head_only,
            copied_max: self.wire.share_bytes(),
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

    /// `room`: what is set aside for it.
    async fn send_stream(
        &mut self,
        mut source: Box<dyn Source>,
        chunked: bool,
        mut room: usize,
        admitted: &Admitted,
    ) {
        let mut piece = Vec::new();
        loop {
            // It may go on for hours.
            if !self.caller.still_admits(admitted) {
                tracing::info!("an answer was cut short: its key was revoked");
                return self.end_in_an_answer();
            }
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
                    return self.end_in_an_answer();
                }
            }
            self.wire.flush_if_large().await;
            if self.wire.is_gone() {
                return;
            }
            if self.wire.is_cut() {
                return self.end_in_an_answer();
            }
            let wanted = source.room_bytes();
            if wanted != room && !self.wire.set_aside(wanted) {
                tracing::warn!("an answer was cut short: there is no room for its next values");
                return self.end_in_an_answer();
            }
            room = wanted;
        }
    }

    /// Anything behind an answer that was cut short would be taken for a part of it.
    fn end_in_an_answer(&mut self) {
        self.open.clear();
        self.ending = Some(Ending::Plain);
    }

    // ---- bodies that are taken as they come

    async fn take_body(&mut self, body: &mut impl BodySink) -> Result<(), Cut> {
        self.send_owed_continue();
        while !self.wire.is_gone() {
            let mut input = self.wire.inbound.bytes();
            let before = input.len();
            let part = self.reader.next_part(&mut input);
            let used = before - input.len();
            if let Ok(Part::Data(data)) = part {
                body.feed(data);
            }
            let (is_more, is_end) = (part == Ok(Part::More), part == Ok(Part::End));
            if let Err(fault) = part {
                return Err(Cut::Broken(fault.into()));
            }
            self.wire.inbound.consume(used);
            if is_end {
                return body.end(&mut self.wire).await.map_err(Cut::Broken);
            }
            body.advance(&mut self.wire).await.map_err(Cut::Broken)?;
            if is_more {
                body.pause(&mut self.wire).await;
                self.take_more_of_body(body.held_bytes()).await?;
            }
        }
        Err(Cut::Gone)
    }

    async fn take_more_of_body(&mut self, held_bytes: usize) -> Result<(), Cut> {
        // Otherwise one that always has more would be listened to for ever.
        if self.wire.is_cut() {
            return Err(Cut::Broken(timed_out()));
        }
        self.wire.flush().await;
        let may_hold = self.wire.may_hold(held_bytes);
        if self.wire.inbound.is_empty() {
            if !may_hold {
                return Err(Cut::Broken(too_many_bodies()));
            }
            match self.wire.fill(Doing::Body).await {
                Filled::More => {}
                Filled::Expired => return Err(Cut::Broken(timed_out())),
                Filled::Ended | Filled::Drained => return Err(Cut::Gone),
            }
        }
        // A bulk may go on for hours.
        if self.caller.is_still_admitted() { Ok(()) } else { Err(Cut::Broken(revoked())) }
    }

    /// The end of a request whose body did not come to its end.
    async fn answer_cut(&mut self, cut: Cut, shell: Shell) {
        // It was thrown away, and the answer may take a while to be read.
        self.wire.may_hold(0);
        match cut {
            Cut::Broken(problem) => self.answer_last(problem, shell).await,
            Cut::Gone => self.ending = Some(Ending::Plain),
        }
    }

    /// Reads a large value, writes it and answers.
    async fn take_large_put(&mut self, mut put: LargePut, shell: Shell) {
        if let Err(cut) = self.take_body(&mut put).await {
            drop(put);
            return self.answer_cut(cut, shell).await;
        }
        self.wire.may_hold(0);
        self.open.push_back((put.start(&self.node), shell));
        // A read behind it must see it.
        self.answer_all().await;
    }

    /// Reads a coded body, and starts and answers the request as if its body had come plain.
    async fn take_coded(&mut self, request: CodedRequest, shell: Shell) {
        let plain = match self.decode_body(request.coding).await {
            Ok(plain) => plain,
            Err(cut) => return self.answer_cut(cut, shell).await,
        };
        let started = request.start(&self.node, &plain, self.caller.permit());
        drop(plain);
        self.wire.may_hold(0);
        // It is the only one that is open, and nothing of it is left to be read.
        let _ = self.open_or_hand_over(started, shell, false);
        self.answer_all().await;
    }

    async fn decode_body(&mut self, coding: Coding) -> Result<Vec<u8>, Cut> {
        // First what the decoder itself may take.
        if !self.wire.may_hold(decoder::room_bytes(coding)) {
            return Err(Cut::Broken(too_many_bodies()));
        }
        let mut body = Decoding::new(coding, WholeBody::default());
        self.take_body(&mut body).await?;
        Ok(body.inner.bytes)
    }

    /// Reads lines and answers them until the body ends. A body that does not come to its end has an
    /// answer without one: there is a result line for each input line and no other.
    async fn run_bulk(&mut self, plan: bulk::Plan, shell: Shell) {
        if !self.wire.set_aside(limits::STREAM_ROOM_BYTES) {
            return self.answer_last(too_many_answers(), shell).await;
        }
        let (chunked, coding) = (!shell.is_http10, plan.coding);
        // Behind the head nobody could be told.
        if !self.wire.may_hold(coding.map_or(0, decoder::room_bytes)) {
            self.wire.set_aside(0);
            return self.answer_cut(Cut::Broken(too_many_bodies()), shell).await;
        }
        self.send_owed_continue();
        // Each line that was written has reached it when its result goes out.
        let head = Response::new(200, Body::Open { content_type: NDJSON });
        self.encode(head.line("Kyro-Durability", plan.durability.name()), &shell);
        let bulk = Bulk::new(self.node.clone(), plan, chunked);
        let (mut bulk, end) = self.take_lines(bulk, coding).await;
        self.wire.may_hold(0);
        bulk.finish(&mut self.wire).await;
        match end {
            Ok(()) => append_end(chunked, &mut self.wire.out),
            Err(cut) => {
                let code = cut.problem().map(|problem| problem.code);
                tracing::info!(code, "a bulk was cut short");
                self.ending = Some(Ending::Unread);
            }
        }
        self.wire.set_aside(0);
    }

    async fn take_lines(&mut self, mut bulk: Bulk, coding: Option<Coding>) -> (Bulk, Result<(), Cut>) {
        let Some(coding) = coding else {
            let end = self.take_body(&mut bulk).await;
            return (bulk, end);
        };
        let mut body = Decoding::new(coding, bulk);
        let end = self.take_body(&mut body).await;
        (body.inner, end)
    }
}

/// Why a body did not come to its end.
enum Cut {
    Broken(Problem),
    /// The client sends nothing any more.
    Gone,
}

impl Cut {
    fn problem(&self) -> Option<&Problem> {
        match self {
            Cut::Broken(problem) => Some(problem),
            Cut::Gone => None,
        }
    }
}

/// Whether a request may start beside those of the turn so far.
fn may_join(turn: Option<Class>, class: Class) -> bool {
    match turn {
        None => true,
        Some(turn) => turn == class && class != Class::Alone,
    }
}

fn admit(
    caller: &mut Caller,
    head: &Head<'_>,
    resource: Option<Resource<'_>>,
    class: Class,
    wire: &Wire,
    log_requests: bool,
) -> (Verdict, Shell) {
    let mut shell = shell_of(head, log_requests, wire);
    let (verdict, trail) = caller.admit(head, resource, class, wire.now());
    shell.trail = trail;
    (verdict, shell)
}

/// A request that was judged, and charged, by its head.
fn judge_again(caller: &mut Caller, (verdict, shell): (Verdict, Shell)) -> (Verdict, Shell) {
    match verdict {
        Verdict::Pass if !caller.is_still_admitted() => (Verdict::Refused(revoked()), shell),
        judged => (judged, shell),
    }
}

fn start_judged(
    verdict: Verdict,
    node: &Node,
    request: &Request<'_>,
    resource: Option<Resource<'_>>,
    caller: &Caller,
) -> Result<Started, Problem> {
    match verdict {
        Verdict::Pass => routes::start(node, request, resource, caller.permit()),
        Verdict::Preflight => Ok(Started::Work(Work::Ready(Response::empty(204)))),
        Verdict::Refused(problem) => Err(problem),
    }
}

fn shell_of(head: &Head<'_>, log_requests: bool, wire: &Wire) -> Shell {
    Shell {
        close: !head.keep_alive,
        is_http10: head.is_http10,
        head_only: head.method == Method::Head,
        coding: head.fields.accept_encoding().and_then(Coding::wanted),
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
