//! The files of keys of a running server, and what becomes of them: looked at once a second by the main
//! thread, which no core waits for.
//!
//! Invariant: each file stands for itself. What cannot be read or understood of one changes nothing of its keys, so neither
//! does damage let anybody in, nor does it lock everybody out; and it keeps no key of another file in force.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// What the last look found: its bytes, or why it could not be read.
    seen: Result<Option<Vec<u8>>, String>,
    /// Those that it had when it was last whole.
    keys: Vec<ApiKey>,
}

impl KeyFile {
    fn new(path: PathBuf, is_required: bool) -> KeyFile {
        KeyFile { path, is_required, seen: Ok(None), keys: Vec::new() }
    }

    /// Takes up what the file holds now; true when that is something new. The same is looked at, or complained of, once.
    fn look(&mut self) -> Result<bool, KeyStoreError> {
        let (seen, read) = match self.read() {
            Ok(bytes) => (Ok(bytes), Ok(())),
            Err(error) => (Err(error.to_string()), Err(error)),
        };
        if seen == self.seen {
            return Ok(false);
        }
        self.seen = seen;
        read?;
        self.keys = match &self.seen {
            Ok(Some(bytes)) => key_store::parse(&self.path, bytes)?,
            _ => Vec::new(),
        };
        Ok(true)
    }

    fn read(&self) -> Result<Option<Vec<u8>>, KeyStoreError> {
        match key_store::read(&self.path)? {
            None if self.is_required => {
                let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
                Err(KeyStoreError { path: self.path.clone(), what: KeyStoreProblem::Io(missing) })
            }
            contents => Ok(contents),
        }
    }
}

pub struct KeyWatch {
    files: Vec<KeyFile>,
    access: Access,
    looks: Every,
}

impl KeyWatch {
    /// Takes up all keys of a server that listens there. Fails where a later look would only log.
    pub fn start(config: &Config, listen: SocketAddr) -> Result<KeyWatch, Failure> {
        let mut files = files_of(config, std::env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from));
        let keys = take_up_all(&mut files).map_err(Failure::KeyStore)?;
        let is_sealed = config.tls.is_some() || config.insecure_plaintext;
        require_safe_address(listen, !keys.is_empty(), is_sealed)?;
        let (cors, hosts) = (config.cors.clone(), config.hosts.clone());
        let access = Access::new(Settings { rates: config.rates, cors, hosts });
        let watch = KeyWatch { files, access, looks: Every::new(limits::KEY_FILE_PERIOD) };
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
        let mut is_new = false;
        for file in &mut self.files {
            match file.look() {
                Ok(has_new) => is_new |= has_new,
                Err(error) => {
                    self.access.audit().key_file_failed();
                    tracing::error!(%error, "the API keys of this file stay as they were");
                }
            }
        }
        if is_new {
            self.publish(self.keys());
        }
    }

    /// Those of all files. A start refuses two of one id; of a running server's the one of the first file counts.
    fn keys(&self) -> Vec<ApiKey> {
        let mut keys: Vec<ApiKey> = self.files.iter().flat_map(|file| file.keys.iter().cloned()).collect();
        if let Err(error) = require_unlike_ids(&keys) {
            self.access.audit().key_file_failed();
            tracing::error!(%error, "files of keys have a key in common; the first one counts, and no start takes both");
            let mut ids = BTreeSet::new();
            keys.retain(|key| ids.insert(key.id));
        }
        keys
    }

    fn publish(&self, keys: Vec<ApiKey>) {
        if !keys.is_empty() && !forbid_core_dumps() {
            tracing::warn!("this kernel does not let the process forbid core dumps, which could hold keys");
        }
        tracing::info!(keys = keys.len(), "API keys are in force");
        self.access.publish(keys);
    }
}

fn files_of(config: &Config, credentials: Option<PathBuf>) -> Vec<KeyFile> {
    let own = KeyFile::new(config.data_dir.join(KEY_FILE), false);
    let named = config.keys_file.clone().map(|path| KeyFile::new(path, true));
    let credential = credentials.map(|dir| KeyFile::new(dir.join(CREDENTIAL), false));
    [Some(own), named, credential].into_iter().flatten().collect()
}

fn take_up_all(files: &mut [KeyFile]) -> Result<Vec<ApiKey>, KeyStoreError> {
    let mut keys = Vec::new();
    for file in files {
        file.look()?;
        keys.extend(file.keys.iter().cloned());
        require_unlike_ids(&keys).map_err(|error| KeyStoreError {
            path: file.path.clone(),
            what: KeyStoreProblem::Content(error),
        })?;
    }
    Ok(keys)
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
    use crate::net::access::key::{NewKey, Presented, RANDOM_BYTES};
    use crate::net::access::role::Role;
    use crate::net::access::scope::Scope;
    use crate::types::WallMs;
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

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
    fn add(path: &Path, seed: u8) {
        let new = NewKey::from_random([seed; RANDOM_BYTES]);
        let (role, scope, created) = (Role::Read, Scope::Everything, WallMs(0));
        let key = ApiKey { id: new.id, name: "k".to_owned(), role, scope, created, hash: new.hash };
        key_store::change(path, |keys| {
            keys.push(key);
            Ok(())
        })
        .unwrap();
    }

    /// Those in force of the keys with these seeds, once the files were looked at.
    fn in_force(watch: &mut KeyWatch) -> Vec<u8> {
        watch.looks = Every::new(Duration::ZERO);
        watch.look();
        let table = watch.access.table();
        let finds = |seed: &u8| {
            let new = NewKey::from_random([*seed; RANDOM_BYTES]);
            table.find(&Presented::parse(new.reveal()).unwrap()).is_some()
        };
        (1..=4).filter(finds).collect()
    }

    fn watch(dir: &Path) -> KeyWatch {
        let flag = |name, path: &Path| (name, path.display().to_string());
        let flags = vec![flag("data_dir", dir), flag("keys_file", &dir.join("extra.json"))];
        let config = crate::cli::config::Settings::gather(None, [], flags).unwrap().config();
        KeyWatch::start(&config, config.listen).unwrap()
    }

    #[test]
    fn a_bad_file_keeps_its_own_keys_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let (own, extra) = (dir.path().join(KEY_FILE), dir.path().join("extra.json"));
        add(&own, 1);
        add(&extra, 2);
        let mut watch = watch(dir.path());
        assert_eq!(in_force(&mut watch), [1, 2]);
        let failures = |watch: &KeyWatch| watch.access.audit().key_file_failures();

        fs::write(&extra, "{").unwrap();
        assert_eq!(in_force(&mut watch), [1, 2]);
        add(&own, 3);
        assert_eq!(in_force(&mut watch), [1, 2, 3]);
        fs::write(&own, r#"{"format":1,"keys":[]}"#).unwrap();
        assert_eq!(in_force(&mut watch), [2]);
        assert_eq!(failures(&watch), 1, "told once");
        fs::remove_file(&extra).unwrap();
        assert_eq!(
            (in_force(&mut watch), failures(&watch)),
            (vec![2], 2),
            "it was named, so it must be there"
        );
        add(&extra, 4);
        fs::remove_file(&own).unwrap();
        assert_eq!(in_force(&mut watch), [4]);
        fs::write(&own, "{").unwrap();
        fs::write(&extra, r#"{"format":1,"keys":[]}"#).unwrap();
        assert_eq!(
            (in_force(&mut watch), watch.access.table().needs_keys()),
            (vec![], true),
            "it stays shut"
        );
    }

    #[test]
    fn a_key_in_two_files_keeps_no_other_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let (own, extra) = (dir.path().join(KEY_FILE), dir.path().join("extra.json"));
        add(&own, 1);
        add(&extra, 2);
        let mut watch = watch(dir.path());
        fs::copy(&own, &extra).unwrap();
        assert_eq!(in_force(&mut watch), [1]);
        assert_eq!(watch.access.table().len(), 1);
        add(&extra, 3);
        assert_eq!(in_force(&mut watch), [1, 3]);
        fs::remove_file(&own).unwrap();
        add(&extra, 4);
        assert_eq!(in_force(&mut watch), [1, 3, 4]);
    }
}
