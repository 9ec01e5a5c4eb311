//! Who steered the server, and who was turned away: lines of the log at the target `kyrodb::audit`,
//! and counts.
//!
//! Invariant: a line has the id and the name of a key, never a part of its text.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::decision::Denial;
use super::limiter::{Gcra, Rate};
use super::table::Holder;
use crate::limits;
use crate::net::parser::head::Head;
use crate::types::Mono;

const TARGET: &str = "kyrodb::audit";
/// In the place of a key, where none was needed or known.
const NOBODY: &str = "-";

/// Shared by all cores; touched by admin actions and denials only.
#[derive(Debug, Default)]
pub struct Audit {
    denials: [AtomicU64; Denial::ALL.len()],
    admin_actions: AtomicU64,
    key_file_failures: AtomicU64,
    /// A flood of denials must not become a flood of lines.
    lines: Gcra,
    unlogged: AtomicU64,
}

impl Audit {
    pub fn denied(
        &self,
        denial: Denial,
        holder: Option<&Holder>,
        peer: SocketAddr,
        head: &Head<'_>,
        now: Mono,
    ) {
        self.denials[denial as usize].fetch_add(1, Ordering::Relaxed);
        let rate = Rate::new(limits::DENIAL_LOG_LINES_PER_SECOND, limits::DENIAL_LOG_LINES_AHEAD);
        if rate.is_some_and(|rate| !self.lines.come(rate, now).is_open()) {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unlogged = self.unlogged.swap(0, Ordering::Relaxed);
        let (key, name) = names(holder);
        let (reason, method, path) = (denial.name(), head.method.name(), head.path);
        tracing::warn!(target: TARGET, reason, key, name, %peer, method, path, unlogged, "denied");
    }

    pub fn acted(&self, action: &Action, status: u16) {
        self.admin_actions.fetch_add(1, Ordering::Relaxed);
        let (key, name) = names(action.holder.as_deref());
        let Action { peer, method, path, .. } = action;
        tracing::info!(target: TARGET, key, name, %peer, method, path, status, "admin action");
    }

    /// A file of keys could not be taken up, and the keys before stay in force.
    pub fn key_file_failed(&self) {
        self.key_file_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub fn denials(&self) -> impl Iterator<Item = (Denial, u64)> {
        Denial::ALL.into_iter().map(|denial| (denial, self.denials[denial as usize].load(Ordering::Relaxed)))
    }

    pub fn admin_actions(&self) -> u64 {
        self.admin_actions.load(Ordering::Relaxed)
    }

    pub fn key_file_failures(&self) -> u64 {
        self.key_file_failures.load(Ordering::Relaxed)
    }
}

fn names(holder: Option<&Holder>) -> (&str, &str) {
    holder.map_or((NOBODY, NOBODY), |holder| (holder.key.id.as_str(), holder.key.name.as_str()))
}

/// An admin action under way, until its status is known.
pub struct Action {
    holder: Option<Arc<Holder>>,
    peer: SocketAddr,
    method: String,
    path: String,
}

impl Action {
    pub fn of(head: &Head<'_>, holder: Option<Arc<Holder>>, peer: SocketAddr) -> Action {
        Action { holder, peer, method: head.method.name().to_owned(), path: head.path.to_owned() }
    }
}
