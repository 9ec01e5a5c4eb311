//! A kernel ring for each core.
