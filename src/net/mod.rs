//! net
pub mod entity_tag;
pub mod json;
pub mod note;
pub mod parser;
pub mod problem;
pub mod response;
pub mod status;
