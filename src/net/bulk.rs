//! A bulk under way: lines in, batches to the engine, one result line per input line in order.
//!
//! Consecutive writes go to the engine together, and the next batch of writes may start while the one
//! before waits for the disk: the engine keeps their order. Reads wait for the writes before them, and
//! writes for the reads.
//!
//! Invariant: at most [`limits::BULK_LINES_IN_FLIGHT_MAX`] lines are with the engine.

use std::collections::VecDeque;
use std::vec::IntoIter;

use super::lines::LineSplitter;
use super::problem::Problem;
use super::response::{append_piece, room_with};
use super::routes::bulk::{self, FoundLine, Operation, Plan};
use super::wire::Wire;
use crate::limits;
use crate::shard::key::Key;
use crate::shard::node::{Answer, Node};
use crate::shard::record::{Change, Found, Refusal, Write, Written};

/// What a line came to, before its outcome.
enum Entry {
    Put,
    Delete,
    Get,
    /// Id, and whether it is put.
    Document((Key, bool)),
    Refused(Problem),
}

/// Lines that go to the engine together: writes only or reads only, and refused ones among them.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    writes: Vec<Write>,
    keys: Vec<Key>,
    bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.entries.len() >= limits::BULK_BATCH_LINES_MAX || self.bytes >= limits::BULK_BATCH_BYTES_MAX
    }

    fn accepts(&self, operation: &Operation) -> bool {
        match operation {
            Operation::Get(_) => self.writes.is_empty(),
            Operation::Write(_) | Operation::Document(_) => self.keys.is_empty(),
        }
    }

    fn push(&mut self, operation: Operation) {
        match operation {
            Operation::Get(key) => {
                self.entries.push(Entry::Get);
                self.keys.push(key);
            }
            Operation::Write(write) => {
                self.entries.push(match &write.change {
                    Change::Put { .. } => Entry::Put,
                    Change::Delete => Entry::Delete,
                });
                self.push_write(write);
            }
            Operation::Document(write) => {
                let is_put = matches!(write.change, Change::Put { .. });
                self.entries.push(Entry::Document((write.key.clone(), is_put)));
                self.push_write(write);
            }
        }
    }

    fn push_write(&mut self, write: Write) {
        self.bytes += write.key.len();
        if let Change::Put { payload, .. } = &write.change {
            self.bytes += payload.as_bytes().len();
        }
        self.writes.push(write);
    }
}

/// A batch that the engine has.
struct UnderWay {
    entries: Vec<Entry>,
    answers: Answers,
}

enum Answers {
    /// Of the first of these keys.
    Gets(Vec<Key>, FirstFound),
    Writes(Answer<Vec<Result<Written, Refusal>>>),
}

type FirstFound = Answer<Result<Vec<Option<Found>>, Refusal>>;

pub struct Bulk {
    node: Node,
    plan: Plan,
    chunked: bool,
    lines: LineSplitter,
    no_more_lines: bool,
    batch: Batch,
    under_way: VecDeque<UnderWay>,
    lines_under_way: usize,
    /// Result lines that are not yet a piece of the answer.
    results: Vec<u8>,
}

impl Bulk {
    /// `chunked`: how the answer is framed.
    pub fn new(node: Node, plan: Plan, chunked: bool) -> Bulk {
        Bulk {
            node,
            plan,
            chunked,
            lines: LineSplitter::default(),
            no_more_lines: false,
            batch: Batch::default(),
            under_way: VecDeque::new(),
            lines_under_way: 0,
            results: Vec::new(),
        }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.lines.feed(bytes);
    }

    /// Bytes of a line that is not all there.
    pub fn held_bytes(&self) -> usize {
        self.lines.held_bytes()
    }

    /// What was fed last was the end.
    pub fn end_of_lines(&mut self) {
        self.no_more_lines = true;
    }

    /// Carries out the lines that are there, but for a last batch that may grow. Requests for single records go first.
    pub async fn advance(&mut self, wire: &mut Wire) {
        let mut slice = self.node.runtime().slice_behind_others().await;
        while let Some(decoded) = self.next_operation() {
            match decoded {
                Err(problem) => self.batch.entries.push(Entry::Refused(problem)),
                Ok(operation) => {
                    if !self.batch.accepts(&operation) {
                        self.start_batch(wire).await;
                    }
                    self.batch.push(operation);
                }
            }
            if self.batch.is_full() {
                self.start_batch(wire).await;
            }
            slice.checkpoint().await;
        }
    }

    /// Carries out and answers everything that was fed.
    pub async fn finish(&mut self, wire: &mut Wire) {
        self.start_batch(wire).await;
        while !self.under_way.is_empty() {
            self.answer_oldest(wire).await;
        }
        self.append_results(wire);
    }

    fn next_operation(&mut self) -> Option<Result<Operation, Problem>> {
        if let Some(line) = self.lines.next_line() {
            return Some(self.plan.decode(line));
        }
        let last = if self.no_more_lines { self.lines.last_line() } else { None };
        last.map(|line| self.plan.decode(line))
    }

    async fn start_batch(&mut self, wire: &mut Wire) {
        let Batch { entries, writes, keys, .. } = std::mem::take(&mut self.batch);
        if entries.is_empty() {
            return;
        }
        let reads = !keys.is_empty();
        while self.has_to_wait(reads, entries.len()) {
            self.answer_oldest(wire).await;
        }
        let answers = if reads {
            let first = self.node.get_first(&self.plan.collection, &keys);
            Answers::Gets(keys, first)
        } else {
            Answers::Writes(self.node.write_many(&self.plan.collection, writes))
        };
        self.lines_under_way += entries.len();
        self.under_way.push_back(UnderWay { entries, answers });
    }

    fn has_to_wait(&self, reads: bool, lines: usize) -> bool {
        let Some(newest) = self.under_way.back() else { return false };
        let both_write = !reads && matches!(newest.answers, Answers::Writes(_));
        !both_write || self.lines_under_way + lines > limits::BULK_LINES_IN_FLIGHT_MAX
    }

    async fn answer_oldest(&mut self, wire: &mut Wire) {
        let Some(UnderWay { entries, answers }) = self.under_way.pop_front() else { return };
        self.lines_under_way -= entries.len();
        match answers {
            Answers::Writes(answer) => {
                let outcomes = wire.wait(answer.get()).await;
                self.give_written(&entries, outcomes);
            }
            Answers::Gets(keys, first) => self.answer_gets(entries, &keys, first, wire).await,
        }
        self.append_results(wire);
        wire.flush_if_large().await;
    }

    fn give_written(&mut self, entries: &[Entry], outcomes: Vec<Result<Written, Refusal>>) {
        let mut outcomes = outcomes.into_iter();
        for entry in entries {
            match entry {
                Entry::Refused(problem) => bulk::append_problem(problem, &mut self.results),
                Entry::Document(document) => {
                    let outcome = outcomes.next().expect("each write has an outcome");
                    let key_type = self.plan.collection.definition.key_type;
                    bulk::append_document(&outcome, document, key_type, &mut self.results);
                }
                entry => {
                    let outcome = outcomes.next().expect("each write has an outcome");
                    bulk::append_written(&outcome, matches!(entry, Entry::Put), &mut self.results);
                }
            }
        }
        assert!(outcomes.next().is_none(), "more outcomes than writes");
    }

    /// Values may be many and large: those that have room are read, and leave as they are encoded; then the next.
    async fn answer_gets(&mut self, entries: Vec<Entry>, keys: &[Key], first: FirstFound, wire: &mut Wire) {
        let (mut entries, mut done) = (entries.into_iter(), 0);
        let mut answer = first;
        loop {
            let found: Vec<_> = match wire.wait(answer.get()).await {
                Ok(found) => found.into_iter().map(Ok).collect(),
                Err(refusal) => vec![Err(refusal); keys.len() - done],
            };
            done += found.len();
            self.give_found(&mut entries, found, wire).await;
            if done == keys.len() || wire.is_gone() {
                return;
            }
            answer = self.node.get_first(&self.plan.collection, &keys[done..]);
        }
    }

    /// Gives the outcomes of the next of these lines: of as many as were read, and of those that were refused before them
    /// or, if these are the last, behind them.
    async fn give_found(
        &mut self,
        entries: &mut IntoIter<Entry>,
        found: Vec<Result<Option<Found>, Refusal>>,
        wire: &mut Wire,
    ) {
        let has_room = set_aside(wire, &found);
        let mut found = found.into_iter();
        while let Some(entry) = entries.as_slice().first() {
            match entry {
                Entry::Refused(problem) => bulk::append_problem(problem, &mut self.results),
                _ => match found.next() {
                    Some(Ok(Some(_))) if !has_room => {
                        bulk::append_problem(&NO_ROOM.into(), &mut self.results)
                    }
                    Some(Ok(Some(found))) => self.give_record(found, wire).await,
                    Some(Ok(None)) => bulk::append_problem(&Problem::absent(), &mut self.results),
                    Some(Err(refusal)) => bulk::append_problem(&refusal.into(), &mut self.results),
                    None => break,
                },
            }
            entries.next();
            self.send_if_large(wire).await;
        }
        wire.set_aside(limits::STREAM_ROOM_BYTES);
    }

    async fn give_record(&mut self, found: Found, wire: &mut Wire) {
        let mut line = FoundLine::begin(found, &mut self.results);
        while line.append_piece(&mut self.results) && !wire.is_gone() {
            self.send_if_large(wire).await;
        }
    }

    async fn send_if_large(&mut self, wire: &mut Wire) {
        if self.results.len() >= limits::SEND_BATCH_BYTES_MAX {
            self.append_results(wire);
            wire.flush().await;
        }
    }

    fn append_results(&mut self, wire: &mut Wire) {
        append_piece(&self.results, self.chunked, &mut wire.out);
        self.results.clear();
    }
}

const NO_ROOM: Refusal = Refusal::Overloaded { queue: "room of the core for answers that are not read" };

/// Sets room aside for values that nobody else has; what a bulk has in any case, when there is none.
fn set_aside(wire: &Wire, found: &[Result<Option<Found>, Refusal>]) -> bool {
    let own_bytes = |found: &Result<Option<Found>, Refusal>| match found {
        Ok(Some(found)) => found.payload.own_bytes(),
        _ => 0,
    };
    let room = room_with(found.iter().map(own_bytes).sum());
    let has_room = room == limits::STREAM_ROOM_BYTES || wire.set_aside(room);
    if !has_room {
        wire.set_aside(limits::STREAM_ROOM_BYTES);
    }
    has_room
}
