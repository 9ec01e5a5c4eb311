//! Checks that the history of one key is linearizable: that there is one order of its operations, in
//! keeping with real time, in which each gives what a register would.
//!
//! The search is that of Wing and Gong, with Lowe's memory of the configurations seen (G. Lowe, "Testing
//! for linearizability", Concurrency and Computation 29(4), 2017). A configuration is the set of
//! operations put in order so far, and the state they led to.
//!
//! An operation without an answer took effect at any time after its call, or never; one that was under way at a
//! crash did so before the crash, or never: what a recovery does not show, no later one may. Versions must grow
//! in the order found. Expiry is not modelled: histories with it need a clock.
//!
//! What the caller leaves out: operations refused before they could have any effect (overload, not
//! ready). What it enters without an answer: operations under way at a crash, and those that failed in
//! the storage.

use std::collections::BTreeSet;
use std::fmt;

/// What a writer wrote; distinct for each write, or the checker sees less.
pub type Value = u64;
pub type Seq = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Get,
    Put(Value, If),
    Delete(If),
}

/// What a write asks of the present version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum If {
    Any,
    Absent,
    Present,
    SeqIs(Seq),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of a put or delete that took effect.
    Written { seq: Seq },
    /// Of a get.
    Found { value: Value, seq: Seq },
    /// Of a get, or of a delete without a condition: there was no record.
    Missing,
    /// Of a write whose condition did not hold; the version that was there.
    ConditionFailed { current: Option<Seq> },
}

/// One operation of a client, in any unit of time that all clients share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub client: usize,
    pub call: u64,
    pub op: Op,
    /// When the answer came, and which; `None` when it never did.
    pub answer: Option<(u64, Outcome)>,
    /// Of an operation without an answer: when the crash came under which it was.
    pub crashed: Option<u64>,
}

/// The shortest part of a history, from its start, that no order explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// All operations called by the time of the last answer, by call. Answers that came later are
    /// `None`.
    pub operations: Vec<Operation>,
    /// The operation whose answer made it inexplicable.
    pub last: Operation,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "not linearizable from this answer on: {:?}", self.last)?;
        self.operations.iter().try_for_each(|operation| {
            let Operation { client, call, op, answer, crashed } = operation;
            match (answer, crashed) {
                (Some((time, outcome)), _) => {
                    writeln!(f, "  client {client} [{call}, {time}] {op:?} -> {outcome:?}")
                }
                (None, Some(crash)) => writeln!(f, "  client {client} [{call}, crash {crash}) {op:?}"),
                (None, None) => writeln!(f, "  client {client} [{call}, ..) {op:?}"),
            }
        })
    }
}

/// Checks the operations of one key, which starts without a record.
pub fn check(history: &[Operation]) -> Result<(), Counterexample> {
    let mut history = history.to_vec();
    history.sort_by_key(|operation| operation.call);
    for Operation { call, answer, crashed, .. } in &history {
        let ends = [answer.map(|(time, _)| time), *crashed];
        assert!(ends.into_iter().flatten().all(|end| *call <= end), "an answer or a crash before its call");
        assert!(answer.is_none() || crashed.is_none(), "answered, and under way at a crash");
    }
    if is_linearizable(&history) {
        return Ok(());
    }
    let mut answers: Vec<u64> = history.iter().filter_map(|o| o.answer.map(|(time, _)| time)).collect();
    answers.sort_unstable();
    answers.dedup();
    // Whatever begins a linearizable history is linearizable, so the first bad answer can be bisected.
    let first_bad = answers.partition_point(|time| is_linearizable(&until(&history, *time)));
    Err(counterexample(&history, answers[first_bad]))
}

/// What was known at `time`.
fn until(history: &[Operation], time: u64) -> Vec<Operation> {
    let called = history.iter().filter(|operation| operation.call <= time);
    called.map(|o| Operation { answer: o.answer.filter(|(answered, _)| *answered <= time), ..*o }).collect()
}

fn counterexample(history: &[Operation], time: u64) -> Counterexample {
    let operations = until(history, time);
    let last = operations.iter().find(|o| o.answer.is_some_and(|(answered, _)| answered == time));
    let last = *last.expect("the time is that of an answer");
    Counterexample { operations, last }
}

/// The register, as far as the operations in order tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    value: Option<Value>,
    /// The last version given out is this, or at least this when it was not seen yet.
    seq: Seq,
    seq_unseen: bool,
    /// The last write has no answer and nobody looked at its effect yet.
    effect_unseen: bool,
}

impl State {
    /// That the present version is `seq`; `None` when it cannot be.
    fn with_seq(self, seq: Seq) -> Option<State> {
        let possible = if self.seq_unseen { seq >= self.seq } else { seq == self.seq };
        possible.then_some(State { seq, seq_unseen: false, effect_unseen: false, ..self })
    }

    /// That the condition holds.
    fn satisfying(self, condition: If) -> Option<State> {
        let seen = State { effect_unseen: false, ..self };
        match condition {
            If::Any => Some(self),
            If::Absent => self.value.is_none().then_some(seen),
            If::Present => self.value.is_some().then_some(seen),
            If::SeqIs(seq) => self.value.and_then(|_| self.with_seq(seq)),
        }
    }

    /// That the condition fails on a record of this version, or on none.
    fn failing(self, condition: If, current: Option<Seq>) -> Option<State> {
        let found = match current {
            Some(seq) => self.value.and_then(|_| self.with_seq(seq))?,
            None if self.value.is_none() => State { effect_unseen: false, ..self },
            None => return None,
        };
        let fails = match condition {
            If::Any => false,
            If::Absent => current.is_some(),
            If::Present => current.is_none(),
            If::SeqIs(seq) => current != Some(seq),
        };
        fails.then_some(found)
    }

    /// A write of `value` (`None`: of nothing, a delete) after all conditions were seen to hold.
    fn written(self, value: Option<Value>, answer: Option<Outcome>) -> Option<State> {
        // A write without an answer that is replaced before anybody saw it explains no more than if it
        // had never happened: one of the two is enough.
        if self.effect_unseen {
            return None;
        }
        match answer {
            None => Some(State { value, seq: self.seq + 1, seq_unseen: true, effect_unseen: true }),
            Some(Outcome::Written { seq }) => {
                (seq > self.seq).then_some(State { value, seq, seq_unseen: false, effect_unseen: false })
            }
            Some(other) => panic!("{other:?} is no answer to a write"),
        }
    }

    /// The state after the operation, if it can come next.
    fn step(self, operation: &Operation) -> Option<State> {
        let answer = operation.answer.map(|(_, outcome)| outcome);
        match (operation.op, answer) {
            (Op::Get, None) => None,
            (Op::Get, Some(Outcome::Found { value, seq })) => {
                (self.value == Some(value)).then_some(self)?.with_seq(seq)
            }
            (Op::Get | Op::Delete(_), Some(Outcome::Missing)) => self.satisfying(If::Absent),
            (Op::Put(_, condition) | Op::Delete(condition), Some(Outcome::ConditionFailed { current })) => {
                self.failing(condition, current)
            }
            (Op::Put(value, condition), _) => self.satisfying(condition)?.written(Some(value), answer),
            (Op::Delete(condition), _) => {
                self.satisfying(If::Present)?.satisfying(condition)?.written(None, answer)
            }
            (Op::Get, Some(other)) => panic!("{other:?} is no answer to a get"),
        }
    }
}

/// Operations in order so far, one bit each.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Done(Vec<u64>);

impl Done {
    fn none(operations: usize) -> Done {
        Done(vec![0; operations.div_ceil(64)])
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn with(&self, index: usize) -> Done {
        let mut with = self.clone();
        with.0[index / 64] |= 1 << (index % 64);
        with
    }

    /// The one that was called last.
    fn last(&self) -> Option<usize> {
        let word = self.0.iter().rposition(|word| *word != 0)?;
        Some(word * 64 + 63 - self.0[word].leading_zeros() as usize)
    }

    /// The first operation that may be missing; all before are done.
    fn first_word_missing(&self) -> usize {
        self.0.iter().take_while(|word| **word == u64::MAX).count() * 64
    }
}

/// Operations that may come next, by call: none was called after another that is still to come had its
/// answer, and none was under way at a crash behind which another that is done was called. `None` when all that have
/// an answer are done.
fn candidates(history: &[Operation], done: &Done) -> Option<Vec<usize>> {
    let last_call = done.last().map(|index| history[index].call);
    let (mut candidates, mut first_answer) = (Vec::new(), None);
    for (index, operation) in history.iter().enumerate().skip(done.first_word_missing()) {
        if first_answer.is_some_and(|answer| operation.call > answer) {
            break;
        }
        let is_over = operation.crashed.is_some_and(|crash| last_call.is_some_and(|call| call > crash));
        if !done.has(index) && !is_over {
            candidates.push(index);
            let answer = operation.answer.map(|(time, _)| time);
            first_answer = first_answer.into_iter().chain(answer).min();
        }
    }
    first_answer?;
    candidates.retain(|index| first_answer.is_some_and(|answer| history[*index].call <= answer));
    // The stack takes the last first: answered operations, the earliest answer before all.
    candidates
        .sort_by_key(|index| std::cmp::Reverse(history[*index].answer.map_or(u64::MAX, |(time, _)| time)));
    Some(candidates)
}

fn is_linearizable(history: &[Operation]) -> bool {
    let start = (Done::none(history.len()), State::default());
    let mut seen = BTreeSet::from([start.clone()]);
    let mut stack = vec![start];
    while let Some((done, state)) = stack.pop() {
        let Some(candidates) = candidates(history, &done) else { return true };
        for index in candidates {
            let Some(state) = state.step(&history[index]) else { continue };
            let next = (done.with(index), state);
            if seen.insert(next.clone()) {
                stack.push(next);
            }
        }
    }
    false
}
