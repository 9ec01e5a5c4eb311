//! A file of keys: one JSON document, the same in the data directory and anywhere else.
//!
//! ```text
//! {"format": 1, "keys": [{"id": "<16 hex>", "name": "ci", "role": "write", "collections": ["a"],
//!                         "created_ms": 1700000000000, "sha256": "<64 hex>"}]}
//! ```
//!
//! Without `collections` a key is for everything. It holds no secret, only hashes, but whoever may
//! write it may let himself in.
//!
//! Invariant: what is not understood is refused, as a restriction that is passed over would be none.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::key::{KeyId, SecretHash};
use super::role::Role;
use super::scope::Scope;
use crate::limits;
use crate::types::WallMs;

const FORMAT: u32 = 1;

/// What is known of a key.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub id: KeyId,
    /// For people; need not be the only one.
    pub name: String,
    pub role: Role,
    pub scope: Scope,
    pub created: WallMs,
    pub hash: SecretHash,
}

#[derive(Debug, PartialEq, Eq)]
pub enum KeyFileError {
    TooLong,
    Json(String),
    Format(u32),
    TooManyKeys,
    /// A member of an entry, counted from 0.
    Entry {
        index: usize,
        member: &'static str,
    },
    TwoOfOneId {
        id: String,
    },
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    name: String,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    collections: Option<Vec<String>>,
    created_ms: u64,
    sha256: String,
}

/// The keys of a file, in its order.
pub fn parse(text: &[u8]) -> Result<Vec<ApiKey>, KeyFileError> {
    if text.len() > limits::KEY_FILE_BYTES_MAX {
        return Err(KeyFileError::TooLong);
    }
    let json = |error: serde_json::Error| KeyFileError::Json(place_of(&error));
    // First of all, as a later format may have members that this one does not know.
    let Versioned { format } = serde_json::from_slice(text).map_err(json)?;
    if format != FORMAT {
        return Err(KeyFileError::Format(format));
    }
    let Document { keys, .. } = serde_json::from_slice(text).map_err(json)?;
    if keys.len() > limits::API_KEYS_MAX {
        return Err(KeyFileError::TooManyKeys);
    }
    let keys: Vec<ApiKey> =
        keys.into_iter().enumerate().map(|(index, entry)| decode(index, entry)).collect::<Result<_, _>>()?;
    require_unlike_ids(&keys)?;
    Ok(keys)
}

/// Its own words may quote what stands in the file.
fn place_of(error: &serde_json::Error) -> String {
    let what = if error.is_data() { "not as a file of keys has it" } else { "not JSON" };
    format!("{what}, at line {} column {}", error.line(), error.column())
}

/// Ids tell keys apart, also those of several files.
pub fn require_unlike_ids(keys: &[ApiKey]) -> Result<(), KeyFileError> {
    let mut seen = BTreeSet::new();
    match keys.iter().find(|key| !seen.insert(key.id)) {
        None => Ok(()),
        Some(key) => Err(KeyFileError::TwoOfOneId { id: key.id.to_string() }),
    }
}

fn decode(index: usize, entry: Entry) -> Result<ApiKey, KeyFileError> {
    let wrong = |member| KeyFileError::Entry { index, member };
    let id = KeyId::parse(&entry.id).ok_or(wrong("id"))?;
    let hash = SecretHash::parse(&entry.sha256).ok_or(wrong("sha256"))?;
    if !is_name(&entry.name) {
        return Err(wrong("name"));
    }
    let scope = match entry.collections {
        None => Scope::Everything,
        Some(named) if named.is_empty() || !named.iter().all(|name| is_collection(name)) => {
            return Err(wrong("collections"));
        }
        Some(named) if named.len() > limits::KEY_SCOPE_COLLECTIONS_MAX => return Err(wrong("collections")),
        Some(named) => Scope::of(named),
    };
    Ok(ApiKey { id, name: entry.name, role: entry.role, scope, created: WallMs(entry.created_ms), hash })
}

/// Plain, as it stands in lines of logs.
pub fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@+:/".contains(&byte);
    (1..=limits::API_KEY_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

/// What may be the name of a collection.
pub fn is_collection(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=limits::COLLECTION_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(is_plain)
        && !name.starts_with('.')
}

/// The text of a file of these keys; refused when `parse` would not take it.
pub fn render(keys: &[ApiKey]) -> Result<Vec<u8>, KeyFileError> {
    if keys.len() > limits::API_KEYS_MAX {
        return Err(KeyFileError::TooManyKeys);
    }
    let document = Document { format: FORMAT, keys: keys.iter().map(encode).collect() };
    let mut text = serde_json::to_vec_pretty(&document).expect("keys are plain data");
    text.push(b'\n');
    if text.len() > limits::KEY_FILE_BYTES_MAX { Err(KeyFileError::TooLong) } else { Ok(text) }
}

fn encode(key: &ApiKey) -> Entry {
    let named = || key.scope.collections().map(str::to_owned).collect();
    Entry {
        id: key.id.to_string(),
        name: key.name.clone(),
        role: key.role,
        collections: (!key.scope.is_everything()).then(named),
        created_ms: key.created.0,
        sha256: key.hash.to_hex(),
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFileError::TooLong => {
                write!(f, "a file of keys has at most {} bytes", limits::KEY_FILE_BYTES_MAX)
            }
            KeyFileError::Json(place) => f.write_str(place),
            KeyFileError::Format(format) => {
                write!(f, "format {format} of a file of keys is not known: this version writes {FORMAT}")
            }
            KeyFileError::TooManyKeys => write!(f, "there are at most {} keys", limits::API_KEYS_MAX),
            KeyFileError::Entry { index, member } => write!(f, "key {index}: its {member:?} is not valid"),
            KeyFileError::TwoOfOneId { id } => write!(f, "two keys have the id {id}"),
        }
    }
}

impl std::error::Error for KeyFileError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOLDEN: &str = r#"{
  "format": 1,
  "keys": [
    {
      "id": "00112233445566aa",
      "name": "ci",
      "role": "write",
      "collections": [
        "a",
        "b"
      ],
      "created_ms": 1700000000000,
      "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    },
    {
      "id": "ffffffffffffffff",
      "name": "ops",
      "role": "admin",
      "created_ms": 5,
      "sha256": "0000000000000000000000000000000000000000000000000000000000000000"
    }
  ]
}
"#;

    #[test]
    fn the_format_stays() {
        let keys = parse(GOLDEN.as_bytes()).unwrap();
        assert_eq!((keys.len(), keys[0].role, keys[1].role), (2, Role::Write, Role::Admin));
        assert_eq!(keys[0].scope, Scope::of(["a".to_owned(), "b".to_owned()]));
        assert!(keys[1].scope.is_everything());
        assert_eq!(String::from_utf8(render(&keys).unwrap()).unwrap(), GOLDEN);
        assert_eq!(parse(br#"{"format":1,"keys":[]}"#).unwrap().len(), 0);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let change = |from: &str, to: &str| {
            assert!(GOLDEN.contains(from), "{from}");
            parse(GOLDEN.replacen(from, to, 1).as_bytes()).expect_err(to)
        };
        let entry = |member| KeyFileError::Entry { index: 0, member };
        assert_eq!(change("\"format\": 1", "\"format\": 2"), KeyFileError::Format(2));
        assert!(matches!(change("\"format\": 1,", ""), KeyFileError::Json(_)));
        assert!(matches!(change("\"collections\"", "\"collection\""), KeyFileError::Json(_)));
        assert!(matches!(change("\"keys\"", "\"until\": 5, \"keys\""), KeyFileError::Json(_)));
        assert!(matches!(change("\"write\"", "\"writer\""), KeyFileError::Json(_)));
        assert_eq!(change("00112233445566aa", "00112233445566AA"), entry("id"));
        assert_eq!(change("\"ci\"", "\"c\\ni\""), entry("name"));
        assert_eq!(change("\"ci\"", "\"\""), entry("name"));
        assert_eq!(change("ba7816", "BA7816"), entry("sha256"));
        assert_eq!(change("ba7816", ""), entry("sha256"));
        assert_eq!(change("\"a\",\n        \"b\"", ""), entry("collections"));
        assert_eq!(change("\"b\"", "\"../b\""), entry("collections"));
        let twice = change("00112233445566aa", "ffffffffffffffff");
        assert_eq!(twice, KeyFileError::TwoOfOneId { id: "ffffffffffffffff".to_owned() });
        assert_eq!(parse(&vec![b' '; limits::KEY_FILE_BYTES_MAX + 1]).unwrap_err(), KeyFileError::TooLong);
    }

    #[test]
    fn an_error_does_not_quote_the_file() {
        // As when somebody names a file with the text of a key instead of a file of keys.
        for text in ["kyro_00112233445566aa_secret", "\"kyro_secret\"", "{\"format\": \"kyro_secret\"}"] {
            let told = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(!told.contains("kyro") && !told.contains("secret"), "{told}");
        }
    }

    fn any_key() -> impl Strategy<Value = ApiKey> {
        let id = any::<u64>().prop_map(|id| KeyId::parse(&format!("{id:016x}")).expect("hex"));
        let role = prop::sample::select(Role::ALL.to_vec());
        let scope = prop::collection::vec("[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,20}", 0..4).prop_map(Scope::of);
        let hash = any::<[u64; 4]>().prop_map(|words| {
            let hex: String = words.iter().map(|word| format!("{word:016x}")).collect();
            SecretHash::parse(&hex).expect("hex")
        });
        (id, "[a-zA-Z0-9@:/+._-]{1,64}", role, scope, any::<u64>(), hash).prop_map(
            |(id, name, role, scope, created, hash)| ApiKey {
                id,
                name,
                role,
                scope,
                created: WallMs(created),
                hash,
            },
        )
    }

    fn told(keys: &[ApiKey]) -> Vec<String> {
        keys.iter().map(|key| format!("{key:?} {}", key.hash.to_hex())).collect()
    }

    proptest! {
        #[test]
        fn keys_come_back_as_they_were(keys in prop::collection::btree_map(any::<u64>(), any_key(), 0..8)) {
            let mut keys: Vec<ApiKey> = keys.into_values().collect();
            keys.sort_by_key(|key| key.id);
            keys.dedup_by_key(|key| key.id);
            let text = render(&keys).unwrap();
            prop_assert_eq!(told(&parse(&text).unwrap()), told(&keys));
        }

        #[test]
        fn a_damaged_file_never_means_more(at in 0..GOLDEN.len(), bit in 0..8) {
            let mut text = GOLDEN.as_bytes().to_vec();
            text[at] ^= 1u8 << bit;
            // Refused, or another name, id, time or hash; never another role, nor more collections.
            if let Ok(keys) = parse(&text) {
                prop_assert_eq!(keys.len(), 2);
                prop_assert!(keys[0].role == Role::Write && keys[1].role == Role::Admin);
                prop_assert_eq!(keys[0].scope.is_everything(), false);
                prop_assert_eq!(keys[1].scope.is_everything(), true);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
        }
    }
}
