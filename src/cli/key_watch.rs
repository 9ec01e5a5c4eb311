//! The files of keys of a running server, and what becomes of them: looked at once a second by the main
//! thread, which no core waits for.
//!
//! Invariant: keys of a file that cannot be read or understood change nothing; those before stay in
//! force, so neither does damage let anybody in, nor does it lock everybody out.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::every::Every;
use super::failure::{Failure, UsageError};
use super::key_store::{self, KEY_FILE, KeyStoreError, KeyStoreProblem};
use crate::io::uring::forbid_core_dumps;
use crate::limits;
use crate::net::access::key_file::{ApiKey, require_unlike_ids};
use crate::net::access::shared::{Access, Settings};

/// Where systemd puts the secrets of a service.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
const CREDENTIAL: &str = "kyrodb-keys";

struct KeyFile {
    path: PathBuf,
    /// Named by somebody, so it must be there.
    is_required: bool,
}

/// What a look found: the bytes of every file, or why one could not be read.
type Seen = Result<Vec<Option<Vec<u8>>>, String>;

pub struct KeyWatch {
    files: Vec<KeyFile>,
    access: Access,
    seen: Seen,
    looks: Every,
}

impl KeyWatch {
    /// Takes up all keys of a server that listens there. Fails where a later look would only log.
    pub fn start(config: &Config, listen: SocketAddr) -> Result<KeyWatch, Failure> {
        let files = files_of(config, std::env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from));
        let access = Access::new(Settings { rates: config.rates, cors: config.cors.clone() });
        let contents = read_all(&files).map_err(Failure::KeyStore)?;
        let keys = parse_all(&files, &contents).map_err(Failure::KeyStore)?;
        let looks = Every::new(limits::KEY_FILE_PERIOD);
        let mut watch = KeyWatch { files, access, seen: Ok(contents), looks };
        let is_sealed = config.tls.is_some() || config.insecure_plaintext;
        require_safe_address(listen, !keys.is_empty(), is_sealed)?;
        match keys.len() {
            0 => tracing::warn!(
                "no API keys are set: everybody on this machine may do everything. `kyrodb key create` makes one"
            ),
            _ => watch.publish(keys),
        }
        Ok(watch)
    }

    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Looks at the files when it is time to.
    pub fn look(&mut self) {
        if !self.looks.is_due() {
            return;
        }
        let read = read_all(&self.files);
        let seen = read.map_err(|error| error.to_string());
        if seen == self.seen {
            return;
        }
        let keys = match &seen {
            Ok(contents) => parse_all(&self.files, contents).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        self.seen = seen;
        match keys {
            Ok(keys) => self.publish(keys),
            Err(error) => {
                self.access.audit().key_file_failed();
                tracing::error!(error, "the API keys stay as they were");
            }
        }
    }

    fn publish(&mut self, keys: Vec<ApiKey>) {
        if !keys.is_empty() && !forbid_core_dumps() {
            tracing::warn!("this kernel does not let the process forbid core dumps, which could hold keys");
        }
        tracing::info!(keys = keys.len(), "API keys are in force");
        self.access.publish(keys);
    }
}

fn files_of(config: &Config, credentials: Option<PathBuf>) -> Vec<KeyFile> {
    let own = KeyFile { path: config.data_dir.join(KEY_FILE), is_required: false };
    let named = config.keys_file.clone().map(|path| KeyFile { path, is_required: true });
    let credential = credentials.map(|dir| KeyFile { path: dir.join(CREDENTIAL), is_required: false });
    [Some(own), named, credential].into_iter().flatten().collect()
}

fn read_all(files: &[KeyFile]) -> Result<Vec<Option<Vec<u8>>>, KeyStoreError> {
    let read = |file: &KeyFile| match key_store::read(&file.path)? {
        None if file.is_required => {
            let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
            Err(KeyStoreError { path: file.path.clone(), what: KeyStoreProblem::Io(missing) })
        }
        contents => Ok(contents),
    };
    files.iter().map(read).collect()
}

fn parse_all(files: &[KeyFile], contents: &[Option<Vec<u8>>]) -> Result<Vec<ApiKey>, KeyStoreError> {
    let mut keys = Vec::new();
    for (file, bytes) in files.iter().zip(contents) {
        keys.extend(bytes.as_ref().map_or(Ok(Vec::new()), |bytes| key_store::parse(&file.path, bytes))?);
        require_unlike_ids(&keys).map_err(|error| unlike(&file.path, error))?;
    }
    Ok(keys)
}

fn unlike(path: &Path, error: crate::net::access::key_file::KeyFileError) -> KeyStoreError {
    KeyStoreError { path: path.to_owned(), what: KeyStoreProblem::Content(error) }
}

/// Nobody beyond this machine may come in without a key, nor overhear one.
/// `is_sealed`: by TLS, or somebody said that plain text will do.
fn require_safe_address(listen: SocketAddr, has_keys: bool, is_sealed: bool) -> Result<(), Failure> {
    let reason = match (listen.ip().to_canonical().is_loopback(), has_keys, is_sealed) {
        (true, _, _) | (false, true, true) => return Ok(()),
        (false, false, _) => UsageError::OpenToAll { listen },
        (false, true, false) => UsageError::Plaintext { listen },
    };
    Err(Failure::Usage(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_without_keys_and_only_those_who_ask_for_it_in_plain_text() {
        let judge = |listen: &str, has_keys, insecure| {
            require_safe_address(listen.parse().unwrap(), has_keys, insecure)
                .map_err(|error| error.to_string())
        };
        for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(judge(local, false, false), Ok(()), "{local}");
        }
        for public in ["0.0.0.0:1", "10.0.0.1:1", "[::]:1", "[::ffff:10.0.0.1]:1"] {
            for insecure in [false, true] {
                let told = judge(public, false, insecure).unwrap_err();
                assert!(told.contains("kyrodb key create"), "{public} {told}");
            }
            assert!(judge(public, true, false).unwrap_err().contains("--insecure-plaintext"), "{public}");
            assert_eq!(judge(public, true, true), Ok(()), "{public}");
        }
    }
}
