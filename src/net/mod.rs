//! net
pub mod cursor;
pub mod entity_tag;
pub mod json;
pub mod lines;
pub mod note;
pub mod parser;
pub mod problem;
pub mod response;
pub mod routes;
pub mod status;
pub mod ttl;
