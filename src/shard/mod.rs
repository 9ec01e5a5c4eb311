//! The engine of one core.

pub mod catalogue;
pub mod key;
pub mod node;
pub mod payload;
pub mod record;
pub mod run;
pub mod stats;
