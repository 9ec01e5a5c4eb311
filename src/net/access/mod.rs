//! Who may do what: API keys, roles, scopes, limits, and what browsers of other origins may read.
//!
//! Owns: the text of a key ([`key`]) and of a file of them ([`key_file`]); what a key allows ([`role`],
//! [`scope`]); the keys in force ([`table`]), which a thread beside the cores publishes ([`shared`]);
//! what each route needs ([`decision`]); how often a caller may come ([`limiter`], [`addresses`]); what
//! a connection knows of its caller ([`caller`]); cross-origin answers ([`cors`]); names that a server without keys
//! is read under ([`hosts`]); who did what and who was turned away ([`audit`], [`numbers`]).
//!
//! Lives on: every core; only [`shared`] is common to all, and of it a request reads one counter.
//! Pure: files are read elsewhere, and time is given.
//!
//! Invariant: no request reaches a route without a [`decision::Need`] that its caller meets.
//! Invariant: the text of a key is in nothing that is printed, stored, counted or answered.
//!
//! Must not know: sockets, files, the engine.

pub mod addresses;
pub mod audit;
pub mod caller;
pub mod cors;
pub mod decision;
pub mod hosts;
pub mod key;
pub mod key_file;
pub mod limiter;
pub mod numbers;
pub mod role;
pub mod scope;
pub mod shared;
pub mod table;
#[cfg(test)]
mod tests;
