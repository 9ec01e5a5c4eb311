//! JSON in and out: bodies taken apart without a tree, values kept verbatim.

pub mod object;
pub mod pieces;
pub mod value;
