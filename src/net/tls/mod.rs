//! TLS in front of HTTP/1.1: rustls without its I/O.
//!
//! Owns: what a handshake uses ([`identity`]) and one connection's records ([`session`]). The wire feeds a session with
//! what it receives and sends what it gives.

pub mod identity;
pub mod session;
#[cfg(test)]
mod tests;
