//! `key`: makes, lists and revokes keys in a file. A server that runs on it looks at it by itself.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::args::{Format, KeyCommand, KeyCreateArgs, KeyPlaceArgs, KeyRevokeArgs};
use super::engine::shards_in;
use super::failure::{Failure, UsageError};
use super::key_store::{self, KEY_FILE};
use super::output::Output;
use crate::io::uring::forbid_core_dumps;
use crate::net::access::key::{NewKey, RANDOM_BYTES};
use crate::net::access::key_file::{ApiKey, is_collection, is_name};
use crate::net::access::role::Role;
use crate::net::access::scope::Scope;
use crate::types::WallMs;

pub fn run(command: &KeyCommand, out: &mut Output) -> Result<(), Failure> {
    match command {
        KeyCommand::Create(args) => create(args, out),
        KeyCommand::List(place) => list(place, out),
        KeyCommand::Revoke(args) => revoke(args, out),
    }
}

impl KeyPlaceArgs {
    fn path(&self) -> PathBuf {
        self.keys_file.clone().unwrap_or_else(|| self.data_dir.join(KEY_FILE))
    }
}

fn create(args: &KeyCreateArgs, out: &mut Output) -> Result<(), Failure> {
    let wrong = |name, value: &str, wanted| {
        Failure::Usage(UsageError::Option { name, value: value.to_owned(), wanted })
    };
    if !is_name(&args.name) {
        return Err(wrong("--name", &args.name, "1 to 64 letters, digits and - _ . @ + : /"));
    }
    if let Some(bad) = args.collection.iter().find(|name| !is_collection(name)) {
        return Err(wrong("--collection", bad, "the name of a collection"));
    }
    let role = Role::parse(&args.role).ok_or_else(|| wrong("--role", &args.role, "read, write or admin"))?;
    forbid_core_dumps();
    let new = new_key()?;
    let scope = Scope::of(args.collection.iter().cloned());
    let key = ApiKey { id: new.id, name: args.name.clone(), role, scope, created: now(), hash: new.hash };
    let mut told = told(&key);
    key_store::change(&args.place.path(), |keys| {
        keys.push(key);
        Ok(())
    })?;
    if out.format() == Format::Table {
        eprintln!("key {} ({role}): this is the only time that it is shown", new.id);
        // Alone on standard output, for `> FILE`.
        out.bytes(format!("{}\n", new.reveal()).as_bytes())?;
        return out.flush();
    }
    told["key"] = new.reveal().into();
    out.object(&told)
}

fn new_key() -> Result<NewKey, Failure> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)
        .map_err(|source| Failure::Engine { what: "random bytes of the kernel", source: Box::new(source) })?;
    Ok(NewKey::from_random(random))
}

fn now() -> WallMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMs(since.as_millis() as u64)
}

fn list(place: &KeyPlaceArgs, out: &mut Output) -> Result<(), Failure> {
    let path = place.path();
    if !path.exists() {
        require_place(place)?;
    }
    let keys = key_store::load(&path).map_err(Failure::KeyStore)?;
    if keys.is_empty() {
        eprintln!("no keys in {}; `kyrodb key create` makes one", path.display());
    }
    if out.format() != Format::Table {
        return out.rows(&[], &keys.iter().map(told).collect::<Vec<_>>());
    }
    let cells = |key: &ApiKey| {
        let collections: Vec<&str> = key.scope.collections().collect();
        let scope = if key.scope.is_everything() { "everything".to_owned() } else { collections.join(",") };
        vec![key.id.to_string(), key.name.clone(), key.role.to_string(), scope, key.created.0.to_string()]
    };
    out.table(&["id", "name", "role", "scope", "created_ms"], &keys.iter().map(cells).collect::<Vec<_>>())
}

/// Without a file of keys: a mistyped place must not pass for one where nobody needs a key.
fn require_place(place: &KeyPlaceArgs) -> Result<(), Failure> {
    match &place.keys_file {
        Some(file) => Err(Failure::file(file)(ErrorKind::NotFound.into())),
        None => shards_in(&place.data_dir).map(|_| ()),
    }
}

fn revoke(args: &KeyRevokeArgs, out: &mut Output) -> Result<(), Failure> {
    let path = args.place.path();
    let missing = || Failure::NoKey { id: args.id.clone() };
    if !path.exists() {
        return Err(missing());
    }
    let revoked = key_store::change(&path, |keys| {
        let at = keys.iter().position(|key| key.id.as_str() == args.id).ok_or_else(missing)?;
        Ok(keys.remove(at))
    })?;
    let mut told = told(&revoked);
    told["revoked"] = true.into();
    out.object(&told)
}

/// All but the hash.
fn told(key: &ApiKey) -> Value {
    let collections: Vec<&str> = key.scope.collections().collect();
    json!({
        "id": key.id.as_str(),
        "name": key.name,
        "role": key.role,
        "collections": if key.scope.is_everything() { Value::Null } else { collections.into() },
        "created_ms": key.created.0,
    })
}
