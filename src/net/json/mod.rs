//! JSON in and out: bodies taken apart without a tree, values kept verbatim.

pub mod document;
pub mod hits;
pub mod object;
pub mod pieces;
pub mod schema;
pub mod value;
