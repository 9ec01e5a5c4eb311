//! Long work that clients ask about: how far it is, how it ended. Kept on shard 0, so that every core tells
//! the same; in memory only, so that a restart forgets it together with the work.
//!
//! Work that nobody asked for is told while it runs, and forgotten when it is over: it must not push out what somebody
//! waits for.

use std::collections::VecDeque;

use super::record::Refusal;
use crate::limits;
use crate::types::Mono;

/// What is told of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    pub id: String,
    pub kind: &'static str,
    /// The collection that it is about, when it is one.
    pub collection: Option<String>,
    /// From 0 to 1.
    pub fraction: f64,
    /// As long as it runs, and something is done.
    pub eta_seconds: Option<u64>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Running,
    Done(serde_json::Value),
    Failed(Refusal),
}

struct Entry {
    id: String,
    kind: &'static str,
    collection: Option<String>,
    began: Mono,
    fraction: f64,
    outcome: Outcome,
}

/// The last ones, from the oldest.
#[derive(Default)]
pub struct Operations {
    entries: VecDeque<Entry>,
}

impl Operations {
    /// The oldest that is over makes room; with so many running no other is begun.
    pub fn begin(
        &mut self,
        id: &str,
        kind: &'static str,
        collection: Option<String>,
        now: Mono,
    ) -> Result<(), Refusal> {
        if self.entries.len() >= limits::OPERATION_ENTRIES_MAX {
            let over = self.entries.iter().position(|entry| entry.outcome != Outcome::Running);
            let over = over.ok_or(Refusal::Overloaded { queue: "list of operations" })?;
            self.entries.remove(over);
        }
        let (id, outcome) = (id.to_owned(), Outcome::Running);
        self.entries.push_back(Entry { id, kind, collection, began: now, fraction: 0.0, outcome });
        Ok(())
    }

    /// What is over stays over, and nothing goes back: this may have been found out a while ago.
    pub fn advance(&mut self, id: &str, done: usize, of: usize) {
        if let Some(entry) = self.entry(id).filter(|entry| entry.outcome == Outcome::Running) {
            entry.fraction = entry.fraction.max(done as f64 / of as f64);
        }
    }

    pub fn end(&mut self, id: &str, outcome: Result<serde_json::Value, Refusal>) {
        if let Some(entry) = self.entry(id) {
            if outcome.is_ok() {
                entry.fraction = 1.0;
            }
            entry.outcome = outcome.map_or_else(Outcome::Failed, Outcome::Done);
        }
    }

    /// Of work that nobody asked for: it takes a place that is free. False when there is none.
    pub fn note(&mut self, id: &str, kind: &'static str, collection: String, now: Mono) -> bool {
        let is_free = self.entries.len() < limits::OPERATION_ENTRIES_MAX;
        is_free && self.begin(id, kind, Some(collection), now).is_ok()
    }

    /// It was nobody's, so nobody asks how it ended.
    pub fn forget(&mut self, id: &str) {
        self.entries.retain(|entry| entry.id != id);
    }

    pub fn find(&self, id: &str, now: Mono) -> Option<Operation> {
        self.entries.iter().find(|entry| entry.id == id).map(|entry| entry.told(now))
    }

    /// All that are remembered, from the oldest.
    pub fn all(&self, now: Mono) -> Vec<Operation> {
        self.entries.iter().map(|entry| entry.told(now)).collect()
    }

    fn entry(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }
}

impl Entry {
    fn told(&self, now: Mono) -> Operation {
        let running = self.outcome == Outcome::Running && self.fraction > 0.0;
        let took = now.since(self.began) as f64 / 1e9;
        let left = took * (1.0 - self.fraction) / self.fraction;
        Operation {
            id: self.id.clone(),
            kind: self.kind,
            collection: self.collection.clone(),
            fraction: self.fraction,
            eta_seconds: running.then_some(left.ceil() as u64),
            outcome: self.outcome.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_runs_tells_how_long_and_what_ended_how() {
        let mut operations = Operations::default();
        operations.begin("a", "snapshot", None, Mono(0)).unwrap();
        let found = operations.find("a", Mono(SECOND)).unwrap();
        assert_eq!((found.fraction, found.eta_seconds, found.outcome), (0.0, None, Outcome::Running));
        operations.advance("a", 1, 4);
        let found = operations.find("a", Mono(SECOND)).unwrap();
        assert_eq!((found.fraction, found.eta_seconds), (0.25, Some(3)));
        operations.advance("a", 0, 4);
        assert_eq!(operations.find("a", Mono(SECOND)).unwrap().fraction, 0.25, "it went back");
        operations.end("a", Ok(1.into()));
        operations.advance("a", 2, 4);
        let found = operations.find("a", Mono(SECOND)).unwrap();
        assert_eq!((found.fraction, found.eta_seconds), (1.0, None));
        assert_eq!(found.outcome, Outcome::Done(1.into()));
        assert_eq!(operations.find("b", Mono(0)), None);
    }

    #[test]
    fn only_what_is_over_is_forgotten() {
        let mut operations = Operations::default();
        for number in 0..limits::OPERATION_ENTRIES_MAX {
            operations.begin(&number.to_string(), "snapshot", None, Mono(0)).unwrap();
        }
        assert!(operations.begin("more", "snapshot", None, Mono(0)).is_err());
        operations.end("7", Err(Refusal::DiskFull));
        operations.begin("more", "snapshot", None, Mono(0)).unwrap();
        assert!(operations.find("7", Mono(0)).is_none() && operations.find("0", Mono(0)).is_some());
        let count = operations.all(Mono(0)).len();
        operations.forget("0");
        assert_eq!(operations.all(Mono(0)).len(), count - 1);
        assert!(operations.note("chore", "index_merge", "d".to_owned(), Mono(0)));
        assert!(!operations.note("more", "index_merge", "d".to_owned(), Mono(0)), "it pushed something out");
        assert_eq!(operations.all(Mono(0)).last().unwrap().collection.as_deref(), Some("d"));
    }
}
