//! net
pub mod parser;
