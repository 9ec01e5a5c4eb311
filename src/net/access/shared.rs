//! What all cores share of access: the keys in force, the limits of addresses, the counts.
//!
//! A new table of keys is put behind a lock, and then a counter goes on. A connection looks at the
//! counter with each request, and takes the lock only when it has gone on.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::addresses::Addresses;
use super::audit::Audit;
use super::cors::Cors;
use super::hosts::Hosts;
use super::key_file::ApiKey;
use super::limiter::{Limiters, Rates};
use super::numbers::Numbers;
use super::table::Table;
use crate::types::Mono;

/// What does not change while the server runs.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub rates: Rates,
    pub cors: Cors,
    pub hosts: Hosts,
}

/// A handle; without keys and settings everybody may do everything.
#[derive(Clone, Default)]
pub struct Access {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    settings: Settings,
    generation: AtomicU64,
    table: Mutex<Arc<Table>>,
    addresses: Addresses,
    audit: Audit,
}

impl Access {
    pub fn new(settings: Settings) -> Access {
        Access { shared: Arc::new(Shared { settings, ..Shared::default() }) }
    }

    /// From now on these keys are in force, and no others.
    pub fn publish(&self, keys: Vec<ApiKey>) {
        let mut table = self.shared.table.lock().unwrap_or_else(PoisonError::into_inner);
        *table = Arc::new(table.after(keys));
        // Still under the lock: who sees the new number finds the new table or a later one.
        self.shared.generation.fetch_add(1, Ordering::Release);
    }

    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    pub fn table(&self) -> Arc<Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The limits of a caller without a key; `None` when nothing is limited.
    pub fn limiters_of(&self, address: IpAddr, now: Mono) -> Option<Arc<Limiters>> {
        let limited = !self.settings().rates.are_off();
        limited.then(|| self.shared.addresses.limiters(address, now))
    }

    pub fn audit(&self) -> &Audit {
        &self.shared.audit
    }

    pub fn numbers(&self) -> Numbers {
        let (table, audit) = (self.table(), self.audit());
        Numbers {
            needs_keys: table.needs_keys(),
            keys: table.len() as u64,
            denials: audit.denials().collect(),
            admin_actions: audit.admin_actions(),
            key_file_failures: audit.key_file_failures(),
            limited_addresses: self.shared.addresses.len() as u64,
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}
