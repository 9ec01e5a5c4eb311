//! Why a command did not do what was asked, and the exit code that says so.
//!
//! Exit codes: 1 failed or found something wrong, 2 usage, 3 not found, 4 conflict, 5 unavailable.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustls::pki_types::pem;
use serde::Deserialize;

use super::config::ConfigError;
use super::described::Misfit;
use super::document_line::DocumentLineError;
use super::key_store::KeyStoreError;
use super::tls_watch::TlsFileError;
use super::vector_file::RowsError;
use crate::shard::repair::RepairError;
use crate::shard::start_error::StartError;
use crate::types::ShardId;
use crate::vector::door::VectorError;

#[derive(Debug)]
pub enum Failure {
    /// The command line asks for what the command does not take.
    Usage(UsageError),
    Config(ConfigError),
    /// The server answered with an error.
    Refused(Refused),
    /// No answer: not listening, or the connection broke.
    Unreachable {
        url: String,
        source: io::Error,
    },
    /// An import into a collection that does not exist.
    NoCollection {
        name: String,
    },
    /// An answer that this client does not understand.
    BadAnswer {
        url: String,
        what: &'static str,
    },
    /// A file could not be read or written.
    File {
        path: PathBuf,
        source: io::Error,
    },
    /// A line or a key of an input file is not what it should be; `line` counts from 1, 0 is the whole.
    Input {
        path: PathBuf,
        line: u64,
        what: InputError,
    },
    /// Standard output is closed or broken.
    Output(io::Error),
    /// The server or the data is there, and something about it is wrong.
    Found {
        count: u64,
        what: &'static str,
    },
    /// A file of API keys cannot be used.
    KeyStore(KeyStoreError),
    /// Certificate or key cannot be used.
    Tls(TlsFileError),
    /// `key revoke` of a key that is not there.
    NoKey {
        id: String,
    },
    /// Something is in the way that the command does not touch.
    Conflict {
        what: String,
    },
    /// The directory or the port is taken.
    Unavailable {
        what: String,
    },
    /// A shard did not start.
    Start {
        shard: ShardId,
        error: StartError,
    },
    /// A shard cannot be repaired.
    Repair {
        shard: ShardId,
        error: RepairError,
    },
    /// The thread of a core ended on its own.
    CoreLost,
    /// The log could not be closed in order; nothing acknowledged is lost, the next start replays it.
    NotClosed,
    /// The engine could not start or went away.
    Engine {
        what: &'static str,
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A problem document of the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Refused {
    pub status: u16,
    /// The stable code of the problem; empty when the body was no problem document.
    pub code: String,
    pub detail: String,
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageError {
    /// Only `http://host:port` and `https://host:port`.
    Url {
        url: String,
    },
    Option {
        name: &'static str,
        value: String,
        wanted: &'static str,
    },
    /// Neither a value nor a file was given, or both.
    Value,
    /// `--create` takes the type of the keys from a file that it can look into first.
    CreateFromStream,
    /// A collection with embeddings has a metric, of which a file says nothing.
    CreateWithoutMetric,
    /// A file without the text of a key in it, which is not told.
    ApiKeyFile {
        path: PathBuf,
    },
    /// An address beyond this machine, and no keys.
    OpenToAll {
        listen: SocketAddr,
    },
    /// The same with keys, which anybody on the way could read.
    Plaintext {
        listen: SocketAddr,
    },
    /// No snapshot, or not even a directory.
    NoSnapshot {
        dir: PathBuf,
    },
    /// No data directory, or not even a directory.
    NoData {
        dir: PathBuf,
    },
}

#[derive(Debug)]
pub enum InputError {
    NotAnObject(serde_json::Error),
    KeyMissing,
    ValueMissing,
    /// A SOSD file that is shorter than its count says.
    Truncated,
    /// A SOSD file that goes on behind the keys that it counts.
    GoesOn {
        bytes: u64,
    },
    /// Keys of a SOSD file that are not sorted, or not each there once.
    NotSorted {
        before: u64,
        key: u64,
    },
    /// `get`: an import writes.
    Reads,
    /// Not one file, but many.
    Directory,
    Empty,
    NotUtf8,
    /// A compressed file, and what unpacks it.
    Compressed {
        with: &'static str,
    },
    /// No file of vectors or ids.
    Rows(RowsError),
    /// A line of values, or one without an id where none can be made.
    Document(DocumentLineError),
    /// What the file has does not go into the collection.
    Misfit(Misfit),
    /// A vector that no collection takes.
    Vector(VectorError),
    /// Not what is wanted of a file of certificates, or of a key.
    Pem(pem::Error),
    /// Certificates, but none that could vouch for another.
    NoAuthority,
    /// A key that does not go with its certificate.
    Identity(rustls::Error),
}

impl Failure {
    pub fn file(path: &Path) -> impl FnOnce(io::Error) -> Failure + use<> {
        let path = path.to_owned();
        move |source| Failure::File { path, source }
    }

    /// Of a file as a whole.
    pub fn input(path: &Path, what: InputError) -> Failure {
        Failure::Input { path: path.to_owned(), line: 0, what }
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Usage(_) | Failure::Config(_) | Failure::Tls(_) => 2,
            Failure::Refused(refused) => refused.exit_code(),
            Failure::NoCollection { .. } | Failure::NoKey { .. } => 3,
            Failure::Conflict { .. } => 4,
            Failure::Unreachable { .. } | Failure::Unavailable { .. } => 5,
            Failure::Start { error: StartError::ShardCount { .. }, .. } => 2,
            // The reader of a pipe had enough: nothing is wrong.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        })
    }

    /// True when there is nothing to tell the user.
    pub fn is_silent(&self) -> bool {
        matches!(self, Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl Refused {
    fn exit_code(&self) -> u8 {
        match self.status {
            // What was asked for came from the command line: a key, a bound, a time to live.
            400 | 422 => 2,
            404 => 3,
            409 | 412 => 4,
            429 | 503 => 5,
            _ => 1,
        }
    }
}

/// What to look at when there was no answer, or no whole one.
fn hint_at(source: &io::Error) -> &'static str {
    let said = source.to_string();
    if ["certificate", "alert", "corrupt message", "http parse fail"].iter().any(|part| said.contains(part)) {
        return "Something listens there: look at whether the URL begins with http or https, at --ca-file and at \
                --client-certificate";
    }
    if source.kind() == io::ErrorKind::UnexpectedEof || said.contains("disconnected") {
        return "It ended before it was whole: if the server runs, its log says why";
    }
    "Is the server running? Start it with `kyrodb serve`"
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(error) => error.fmt(f),
            Failure::Config(error) => error.fmt(f),
            Failure::Refused(refused) => refused.fmt(f),
            Failure::Unreachable { url, source } => {
                write!(f, "no answer from {url}: {source}. {}", hint_at(source))
            }
            Failure::NoCollection { name } => {
                write!(
                    f,
                    "there is no collection `{name}`; `--create` makes it, with keys as the file has them"
                )
            }
            Failure::BadAnswer { url, what } => write!(f, "{url} answered with {what}"),
            Failure::File { path, source } => write!(f, "{}: {source}", path.display()),
            Failure::Input { path, line: 0, what } => write!(f, "{}: {what}", path.display()),
            Failure::Input { path, line, what } => write!(f, "{}:{line}: {what}", path.display()),
            Failure::Output(source) => write!(f, "standard output: {source}"),
            Failure::Found { count, what } => write!(f, "{count} {what}"),
            Failure::KeyStore(error) => error.fmt(f),
            Failure::Tls(error) => error.fmt(f),
            Failure::NoKey { id } => {
                write!(f, "there is no key {id}; `kyrodb key list` names those there are")
            }
            Failure::Conflict { what } | Failure::Unavailable { what } => f.write_str(what),
            Failure::Start { shard, error } => write!(f, "shard {shard} does not start: {error}"),
            Failure::CoreLost => f.write_str("a core stopped; the log has everything acknowledged"),
            Failure::Repair { shard, error } => {
                write!(f, "shard {shard} cannot be repaired, nothing more was changed: {error}")
            }
            Failure::NotClosed => {
                f.write_str("the log could not be closed in order; the next start replays it")
            }
            Failure::Engine { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        match self.retry_after {
            Some(delay) => write!(f, " (try again in {} s)", delay.as_secs()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::Url { url } => write!(f, "{url}: the server's URL looks like http://127.0.0.1:3030"),
            UsageError::Option { name, value, wanted } => write!(f, "{name} {value}: wanted is {wanted}"),
            UsageError::Value => {
                f.write_str("give the value as an argument, or with --file FILE (- is stdin)")
            }
            UsageError::CreateWithoutMetric => {
                f.write_str("--create needs --metric cosine, dot or l2 for a file with vectors")
            }
            UsageError::CreateFromStream => {
                f.write_str("--create looks into the file first, which standard input and pipes do not allow")
            }
            UsageError::ApiKeyFile { path } => {
                write!(
                    f,
                    "{}: wanted is a file with one key, as `kyrodb key create` prints it",
                    path.display()
                )
            }
            UsageError::OpenToAll { listen } => write!(
                f,
                "listening on {listen} would let everybody in, as no API keys are set: make one with \
                 `kyrodb key create --name NAME --role admin --data-dir DIR`, or listen on 127.0.0.1"
            ),
            UsageError::Plaintext { listen } => write!(
                f,
                "on {listen} keys and data would travel in plain text: give --tls-certificate and --tls-key, listen \
                 on 127.0.0.1, or say --insecure-plaintext"
            ),
            UsageError::NoSnapshot { dir } => {
                write!(
                    f,
                    "{}: no snapshot here; they are below `snapshots` in a data directory, and where \
                     `kyrodb backup` put them",
                    dir.display()
                )
            }
            UsageError::NoData { dir } if !dir.is_dir() => write!(f, "{}: no such directory", dir.display()),
            UsageError::NoData { dir } => {
                write!(f, "{}: no KyroDB data here: no folder of a shard is in it", dir.display())
            }
        }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputError::NotAnObject(error) => write!(f, "not a line of the bulk format: {error}"),
            InputError::KeyMissing => f.write_str(
                "the line has no \"key\"; documents go into a collection that was created with \"embedding\" or \
                 \"fields\"",
            ),
            InputError::ValueMissing => f.write_str("the line has neither \"value\" nor \"value_b64\""),
            InputError::Truncated => f.write_str("the file is shorter than its count of keys says"),
            InputError::GoesOn { bytes } => {
                write!(f, "{bytes} bytes follow the keys that the file counts: is it a SOSD file of u64?")
            }
            InputError::NotSorted { before, key } => {
                write!(f, "key {key} comes after {before}: keys are to be sorted, each there once")
            }
            InputError::Directory => f.write_str("this is a directory; one file is read at a time"),
            InputError::Empty => f.write_str("the file is empty"),
            InputError::NotUtf8 => f.write_str("not UTF-8: is it a file of JSON lines?"),
            InputError::Compressed { with } => {
                write!(f, "the file is compressed; `{with} -dc FILE | kyrodb import -` reads it")
            }
            InputError::Rows(error) => error.fmt(f),
            InputError::Document(error) => error.fmt(f),
            InputError::Misfit(misfit) => misfit.fmt(f),
            InputError::Vector(error) => error.fmt(f),
            InputError::Pem(error) => error.fmt(f),
            InputError::NoAuthority => f.write_str("none of its certificates can be used"),
            InputError::Identity(error) => error.fmt(f),
            InputError::Reads => f.write_str("a line with \"op\":\"get\" has no place in an import"),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(status: u16) -> u8 {
        Refused { status, code: String::new(), detail: String::new(), retry_after: None }.exit_code()
    }

    #[test]
    fn a_status_has_its_exit_code() {
        let wanted =
            [(404, 3), (409, 4), (412, 4), (429, 5), (503, 5), (400, 2), (422, 2), (500, 1), (507, 1)];
        for (status, code) in wanted {
            assert_eq!(code_of(status), code, "{status}");
        }
    }

    #[test]
    fn a_closed_pipe_is_silent_and_other_output_errors_are_not() {
        let closed = Failure::Output(io::ErrorKind::BrokenPipe.into());
        let full = Failure::Output(io::ErrorKind::StorageFull.into());
        assert!(closed.is_silent() && !full.is_silent());
    }
}
