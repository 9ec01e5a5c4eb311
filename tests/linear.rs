//! The linearizability checker judges histories made by hand, and agrees with trying every order.

mod support;

use proptest::prelude::*;
use support::linear::{If, Op, Operation, Outcome, Seq, Value, check};

const fn done(client: usize, call: u64, op: Op, time: u64, outcome: Outcome) -> Operation {
    Operation { client, call, op, answer: Some((time, outcome)), crashed: None }
}

const fn lost(client: usize, call: u64, op: Op) -> Operation {
    Operation { client, call, op, answer: None, crashed: None }
}

const fn lost_at(crash: u64, operation: Operation) -> Operation {
    Operation { crashed: Some(crash), ..operation }
}

const fn put(value: Value) -> Op {
    Op::Put(value, If::Any)
}

const DELETE: Op = Op::Delete(If::Any);

const fn written(seq: Seq) -> Outcome {
    Outcome::Written { seq }
}

const fn found(value: Value, seq: Seq) -> Outcome {
    Outcome::Found { value, seq }
}

const fn failed(current: Option<Seq>) -> Outcome {
    Outcome::ConditionFailed { current }
}

fn assert_fails_at(history: &[Operation], culprit: usize) {
    let counterexample = check(history).expect_err("not linearizable");
    assert_eq!(counterexample.last, history[culprit], "{counterexample}");
}

#[test]
fn a_history_without_overlap_is_itself() {
    let history = [
        done(0, 0, Op::Get, 1, Outcome::Missing),
        done(0, 2, put(7), 3, written(1)),
        done(1, 4, Op::Get, 5, found(7, 1)),
        done(0, 6, DELETE, 7, written(2)),
        done(1, 8, DELETE, 9, Outcome::Missing),
        done(1, 10, Op::Get, 11, Outcome::Missing),
        done(0, 12, Op::Put(8, If::Absent), 13, written(9)),
        done(0, 14, Op::Put(9, If::SeqIs(2)), 15, failed(Some(9))),
        done(0, 16, Op::Put(9, If::SeqIs(9)), 17, written(10)),
        done(1, 18, Op::Get, 19, found(9, 10)),
    ];
    assert_eq!(check(&history), Ok(()));
    assert_eq!(check(&[]), Ok(()));
}

#[test]
fn a_read_may_see_a_write_that_overlaps_it_or_not() {
    let write = done(0, 0, put(1), 10, written(1));
    for outcome in [Outcome::Missing, found(1, 1)] {
        assert_eq!(check(&[write, done(1, 5, Op::Get, 6, outcome)]), Ok(()));
    }
    // Once seen, it stays seen.
    let history = [write, done(1, 2, Op::Get, 3, found(1, 1)), done(2, 4, Op::Get, 5, Outcome::Missing)];
    assert_fails_at(&history, 2);
}

#[test]
fn a_stale_read_is_found() {
    let history = [
        done(0, 0, put(1), 1, written(1)),
        done(0, 2, put(2), 3, written(2)),
        done(1, 4, Op::Get, 5, found(1, 1)),
        done(1, 6, Op::Get, 7, found(2, 2)),
    ];
    assert_fails_at(&history, 2);
    let shortest = check(&history).expect_err("not linearizable").operations;
    assert_eq!(shortest, history[..3], "what came later is no part of it");
}

#[test]
fn a_lost_update_is_found() {
    // Both clients replaced version 1.
    let history = [
        done(0, 0, put(1), 1, written(1)),
        done(1, 2, Op::Put(2, If::SeqIs(1)), 5, written(2)),
        done(2, 3, Op::Put(3, If::SeqIs(1)), 6, written(3)),
    ];
    assert_fails_at(&history, 2);
    // An acknowledged write is gone.
    let history = [done(0, 0, put(1), 1, written(1)), done(0, 2, Op::Get, 3, Outcome::Missing)];
    assert_fails_at(&history, 1);
}

#[test]
fn a_value_never_written_is_found() {
    assert_fails_at(&[done(0, 0, Op::Get, 1, found(9, 1))], 0);
    let history = [lost(0, 0, put(1)), done(1, 2, Op::Get, 3, found(2, 1))];
    assert_fails_at(&history, 1);
    // A read before the call of the write.
    let history = [done(1, 0, Op::Get, 1, found(1, 1)), done(0, 2, put(1), 3, written(1))];
    assert_fails_at(&history, 0);
}

#[test]
fn a_value_that_rises_from_the_dead_is_found() {
    let history = [
        done(0, 0, put(1), 1, written(1)),
        done(0, 2, DELETE, 3, written(2)),
        done(1, 4, Op::Get, 5, Outcome::Missing),
        done(1, 6, Op::Get, 7, found(1, 1)),
    ];
    assert_fails_at(&history, 3);
    assert_fails_at(&[history[0], history[1], history[3]], 2);
}

#[test]
fn an_operation_without_an_answer_happens_once_at_most_and_at_any_time() {
    let read = |time, outcome| done(1, time, Op::Get, time + 1, outcome);
    let write = lost(0, 0, put(1));
    assert_eq!(check(&[write, read(2, Outcome::Missing), read(4, Outcome::Missing)]), Ok(()));
    assert_eq!(check(&[write, read(2, Outcome::Missing), read(4, found(1, 5))]), Ok(()));
    assert_fails_at(&[write, read(2, found(1, 5)), read(4, Outcome::Missing)], 2);

    // It took effect before the delete, so it cannot take effect after it.
    let delete = done(1, 4, DELETE, 5, written(6));
    assert_eq!(check(&[write, read(2, found(1, 5)), delete, read(6, Outcome::Missing)]), Ok(()));
    assert_fails_at(&[write, read(2, found(1, 5)), delete, read(6, found(1, 5))], 3);

    // A delete without an answer explains a record that is gone.
    let put = done(0, 0, put(1), 1, written(1));
    assert_eq!(check(&[put, lost(0, 2, DELETE), read(4, Outcome::Missing)]), Ok(()));
    // A conditional write without an answer cannot have had an effect when its condition never held.
    let conditional = lost(0, 2, Op::Put(2, If::Absent));
    assert_fails_at(&[put, conditional, read(4, found(2, 2))], 2);
    let conditional = lost(0, 2, Op::Put(2, If::SeqIs(1)));
    assert_eq!(check(&[put, conditional, read(4, found(2, 2))]), Ok(()));
}

/// The tail of a log that one recovery left out and the next one took.
#[test]
fn what_a_recovery_does_not_show_no_later_one_may() {
    let read = |time, outcome| done(1, time, Op::Get, time + 1, outcome);
    let write = lost_at(1, lost(0, 0, put(1)));
    assert_eq!(check(&[write, read(2, found(1, 5)), read(4, found(1, 5))]), Ok(()));
    assert_eq!(check(&[write, read(2, Outcome::Missing), read(4, Outcome::Missing)]), Ok(()));
    assert_fails_at(&[write, read(2, Outcome::Missing), read(4, found(1, 5))], 2);
    // Nor is it there behind another write, though nobody looked before that.
    let other = done(1, 2, put(2), 3, written(9));
    assert_eq!(check(&[write, other, read(4, found(2, 9))]), Ok(()));
    assert_fails_at(&[write, other, read(4, found(1, 10))], 2);
    // A delete: what was there has to stay, once it was seen.
    let first = done(0, 0, put(1), 1, written(1));
    let delete = lost_at(3, lost(0, 2, DELETE));
    assert_eq!(check(&[first, delete, read(4, Outcome::Missing)]), Ok(()));
    assert_fails_at(&[first, delete, read(4, found(1, 1)), read(6, Outcome::Missing)], 3);
    // Who called before the crash may have come before it.
    let late = done(1, 1, Op::Get, 3, Outcome::Missing);
    assert_eq!(check(&[lost_at(2, lost(0, 0, put(1))), late, read(4, found(1, 5))]), Ok(()));
}

#[test]
fn versions_grow_in_the_order_of_the_operations() {
    let history = [done(0, 0, put(1), 1, written(5)), done(0, 2, put(2), 3, written(5))];
    assert_fails_at(&history, 1);
    let history = [done(0, 0, put(1), 1, written(5)), done(0, 2, DELETE, 3, written(4))];
    assert_fails_at(&history, 1);
    // Writes that overlap are ordered by their versions.
    let (one, two) = (done(0, 0, put(1), 9, written(2)), done(1, 1, put(2), 8, written(1)));
    assert_eq!(check(&[one, two, done(2, 10, Op::Get, 11, found(1, 2))]), Ok(()));
    assert_fails_at(&[one, two, done(2, 10, Op::Get, 11, found(2, 1))], 2);
    // A version seen of a write without an answer is above those before it, and stays.
    let before = done(0, 0, put(1), 1, written(5));
    assert_fails_at(&[before, lost(0, 2, put(2)), done(1, 4, Op::Get, 5, found(2, 5))], 2);
    let seen = done(1, 4, Op::Get, 5, found(2, 6));
    assert_fails_at(&[before, lost(0, 2, put(2)), seen, done(1, 6, Op::Get, 7, found(2, 7))], 3);
}

#[test]
fn a_condition_fails_for_a_reason() {
    let write = done(0, 0, put(1), 1, written(1));
    let conditional = |condition, outcome| done(1, 2, Op::Put(2, condition), 3, outcome);
    assert_eq!(check(&[write, conditional(If::Absent, failed(Some(1)))]), Ok(()));
    assert_eq!(check(&[conditional(If::Present, failed(None))]), Ok(()));
    for history in [
        [write, conditional(If::Absent, failed(None))],
        [write, conditional(If::Absent, written(2))],
        [write, conditional(If::SeqIs(1), failed(Some(1)))],
        [write, conditional(If::SeqIs(2), failed(Some(3)))],
        [write, conditional(If::SeqIs(2), written(3))],
    ] {
        assert_fails_at(&history, 1);
    }
}

/// Many clients, many lost answers, two thousand operations: the search stays small.
#[test]
fn long_histories_are_checked_in_no_time() {
    let mut history = Vec::new();
    for round in 0..500 {
        let time = round * 10;
        let (base, value) = (round * 4, round * 3 + 1);
        history.push(done(0, time, put(value), time + 6, written(base + 1)));
        history.push(done(1, time + 1, put(value + 1), time + 7, written(base + 2)));
        history.push(done(2, time + 2, Op::Get, time + 8, found(value + 1, base + 2)));
        let unanswered = lost(3, time + 3, put(value + 2));
        history.extend((round % 25 == 0).then_some(unanswered));
        history.push(done(4, time + 9, Op::Get, time + 9, found(value + 1, base + 2)));
    }
    assert_eq!(check(&history), Ok(()));
    let last = history.len() - 1;
    history[last].answer = Some((5000, found(1, 1)));
    assert_fails_at(&history, last);
}

/// A register that tries every order of a few operations, with every choice of those that were lost.
fn by_brute_force(history: &[Operation], order: &mut Vec<usize>) -> bool {
    let missing = |index: &usize| !order.contains(index);
    let answered = |index: &usize| history[*index].answer.is_some();
    if (0..history.len()).filter(missing).filter(answered).count() == 0 && explains(history, order) {
        return true;
    }
    let rest: Vec<usize> = (0..history.len()).filter(missing).collect();
    rest.iter().any(|next| {
        let before =
            |other: &usize| history[*other].answer.is_some_and(|(time, _)| time < history[*next].call);
        let over = |done: &usize| history[*next].crashed.is_some_and(|crash| history[*done].call > crash);
        if rest.iter().any(before) || order.iter().any(over) {
            return false;
        }
        order.push(*next);
        let explained = by_brute_force(history, order);
        order.pop();
        explained
    })
}

/// Replays puts, deletes and gets; versions of lost writes are what a later read says.
fn explains(history: &[Operation], order: &[usize]) -> bool {
    let (mut record, mut last): (Option<(Value, Option<Seq>)>, Seq) = (None, 0);
    order.iter().all(|index| {
        let Operation { op, answer, .. } = history[*index];
        match (op, answer.map(|(_, outcome)| outcome)) {
            (Op::Put(value, _), outcome) => {
                let Some(Outcome::Written { seq }) = outcome else {
                    record = Some((value, None));
                    last += 1;
                    return true;
                };
                record = Some((value, Some(seq)));
                std::mem::replace(&mut last, seq) < seq
            }
            (Op::Delete(_), Some(Outcome::Missing)) | (Op::Get, Some(Outcome::Missing)) => record.is_none(),
            (Op::Delete(_), outcome) => {
                let seq = if let Some(Outcome::Written { seq }) = outcome { seq } else { last + 1 };
                record.take().is_some() && std::mem::replace(&mut last, seq) < seq
            }
            (Op::Get, Some(Outcome::Found { value, seq })) => {
                let Some((present, known)) = &mut record else { return false };
                let fits = known.map_or(seq >= last, |known| known == seq);
                (*known, last) = (Some(seq), last.max(seq));
                *present == value && fits
            }
            (_, None) => true,
            _ => false,
        }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let outcome = prop_oneof![
        1 => Just(Outcome::Missing),
        3 => (1..4_u64, 1..4_u64).prop_map(|(value, seq)| found(value, seq)),
    ];
    let write = prop_oneof![(1..4_u64).prop_map(put), Just(DELETE)];
    let call = (0..8_u64, 0..8_u64);
    prop_oneof![
        (call.clone(), outcome).prop_map(|((at, took), outcome)| done(0, at, Op::Get, at + took, outcome)),
        (call, write, 0..4, 1..5_u64).prop_map(|((at, took), op, end, seq)| match end {
            0 | 1 => done(1, at, op, at + took, written(seq)),
            2 => lost(1, at, op),
            _ => lost_at(at + took, lost(1, at, op)),
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn agrees_with_trying_every_order(history in prop::collection::vec(operation(), 1..6)) {
        prop_assert_eq!(check(&history).is_ok(), by_brute_force(&history, &mut Vec::new()));
    }
}
