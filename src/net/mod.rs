//! The HTTP/1.1 face of one core.
//!
//! Owns: listening, connections, requests and answers. Every core runs the same server on its own
//! listener; no connection ever leaves its core.
//!
//! Reading order: [`server`] takes connections; [`connection`] runs one, over a [`wire`], with requests
//! from the [`parser`]; [`access`] says whether it may go on; [`routes`] turns each into a call of the
//! [`Node`](crate::shard::node::Node) and its outcome into a [`response`], or a [`problem`]. Parser, routes and encoding
//! are pure. [`openapi`] says all of that to clients.
//!
//! Must not know: the log, runs, other cores.
//!
//! Invariant: answers leave in the order of their requests, and none that was read goes unanswered.

pub mod access;
mod body;
pub mod bulk;
pub mod coding;
pub mod connection;
pub mod cursor;
pub mod drain;
pub mod entity_tag;
pub mod hidden;
pub mod inbound;
pub mod json;
pub mod lines;
pub mod note;
pub mod openapi;
pub mod parser;
pub mod problem;
pub mod response;
pub mod routes;
pub mod search_cursor;
pub mod seat;
pub mod server;
pub mod status;
pub mod tls;
pub mod ttl;
pub mod wire;
