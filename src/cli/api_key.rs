//! The API key with which the commands ask a server; from a file, never from the command line or the
//! environment, which other users of the machine can read.

use std::fmt;
use std::fs;
use std::path::Path;

use super::failure::{Failure, UsageError};
use crate::io::uring::forbid_core_dumps;
use crate::net::access::key::Presented;

const NAME: &str = "Authorization: ";

/// A whole header line, or nothing. It cannot be printed by accident.
#[derive(Clone, Default)]
pub struct ApiKeyLine(String);

impl fmt::Debug for ApiKeyLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyLine")
    }
}

impl ApiKeyLine {
    /// No file, no key.
    pub fn read(file: Option<&Path>) -> Result<ApiKeyLine, Failure> {
        let Some(path) = file else { return Ok(ApiKeyLine::default()) };
        forbid_core_dumps();
        let text = fs::read_to_string(path).map_err(Failure::file(path))?;
        match Presented::parse(text.trim()) {
            Some(_) => Ok(ApiKeyLine(format!("{NAME}Bearer {}\r\n", text.trim()))),
            None => Err(Failure::Usage(UsageError::ApiKeyFile { path: path.to_owned() })),
        }
    }

    /// With its end.
    pub fn line(&self) -> &str {
        &self.0
    }

    pub fn value(&self) -> Option<&str> {
        self.0.strip_prefix(NAME).map(str::trim_end)
    }
}
