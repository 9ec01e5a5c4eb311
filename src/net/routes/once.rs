//! `Idempotency-Key`: how a request names itself, so that it is carried out once however often it is sent.
//!
//! A name is the caller's, and of one record: two callers may use the same one, and one caller for two records.
//! What makes two requests the same is their fingerprint: method, query, conditions, content type and body.
//!
//! The token is cut from a SHA-256, not from a fast hash: callers do not trust one another, and none should be able
//! to make a name that meets another's. A fingerprint is only compared with those of the same caller.

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use crate::limits;
use crate::net::access::caller::Permit;
use crate::net::parser::head::Head;
use crate::net::problem::Problem;
use crate::shard::key::{Key, KeyType};
use crate::shard::record::Once;
use crate::types::{CollectionId, Token};

pub const HEADER: &str = "Idempotency-Key";

/// The name that a request gave itself.
#[derive(Clone, Copy)]
pub struct Named<'a> {
    key: &'a [u8],
    permit: Permit<'a>,
}

impl<'a> Named<'a> {
    /// `None` for a request without one.
    pub fn of(head: &Head<'a>, permit: Permit<'a>) -> Result<Option<Named<'a>>, Problem> {
        let Some(key) = head.fields.idempotency_key() else { return Ok(None) };
        let fits = (1..=limits::IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len());
        if fits && key.iter().all(u8::is_ascii_graphic) {
            return Ok(Some(Named { key, permit }));
        }
        Err(Problem::header(HEADER, "is not one line of 1 to 255 visible ASCII characters"))
    }

    /// A request with a whole body as a write of this record.
    pub fn once(self, head: &Head<'_>, body: &[u8], collection: CollectionId, key: &Key) -> Box<Once> {
        let mut print = Fingerprint::of(head);
        print.push(body);
        print.once(self.token(collection, key))
    }

    /// Of this record.
    pub fn token(self, collection: CollectionId, key: &Key) -> Token {
        Token(self.hash(b"record", collection, &key.to_vec()))
    }

    /// An id for a document that has none: sent again it has the same.
    pub fn document_id(self, collection: CollectionId, key_type: KeyType) -> Key {
        let hash = u128::from_le_bytes(self.hash(b"id", collection, &[]));
        match key_type {
            // One that every JSON reader knows exactly.
            KeyType::U64 => Key::from_u64(hash as u64 >> 11),
            KeyType::String => Key::from_bytes(format!("{hash:032x}").as_bytes()),
        }
    }

    fn hash(self, purpose: &[u8], collection: CollectionId, key: &[u8]) -> [u8; 16] {
        let mut hash = Sha256::new();
        let caller = self.permit.key_id();
        let caller = caller.as_ref().map_or(&b""[..], |id| id.as_str().as_bytes());
        for part in [purpose, caller, &collection.0.to_le_bytes(), self.key, key] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let mut cut = [0; 16];
        cut.copy_from_slice(&hash.finalize()[..16]);
        cut
    }
}

/// The same for requests that ask for the same. The body comes last, in any parts.
pub struct Fingerprint(Xxh3);

impl Fingerprint {
    pub fn of(head: &Head<'_>) -> Fingerprint {
        let mut print = Fingerprint(Xxh3::new());
        let fields = &head.fields;
        let given = [fields.if_match(), fields.if_none_match(), fields.content_type()];
        for part in [Some(head.method.name()), Some(head.query)].into_iter().chain(given) {
            let text = part.unwrap_or_default();
            // Not given is other than empty.
            print.push(&(part.map_or(u64::MAX, |text| text.len() as u64)).to_le_bytes());
            print.push(text.as_bytes());
        }
        print
    }

    pub fn push(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    pub fn once(&self, token: Token) -> Box<Once> {
        Box::new(Once { token, fingerprint: self.0.digest(), asks_only: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::access::shared::Access;

    const COLLECTION: CollectionId = CollectionId(7);

    fn once_of(method: &str, target: &str, lines: &str, body: &[u8]) -> Result<Option<Once>, u16> {
        let access = Access::default();
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let head = Head::parse(bytes.as_bytes()).expect("a head");
        let named = Named::of(&head, Permit::of_nobody(&access)).map_err(|problem| {
            assert_eq!(problem.errors[0].pointer, "/header/Idempotency-Key");
            problem.status
        })?;
        Ok(named.map(|named| *named.once(&head, body, COLLECTION, &Key::from_u64(1))))
    }

    #[test]
    fn a_name_is_visible_ascii_of_some_length() {
        let of = |name: &str| {
            once_of("PUT", "/a", &format!("Idempotency-Key: {name}\r\n"), b"").map(|o| o.is_some())
        };
        for good in ["a", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", &"~".repeat(255)] {
            assert_eq!(of(good), Ok(true), "{good}");
        }
        for bad in ["", "a b", "caf\u{e9}", "a\tb", &"a".repeat(256)] {
            assert_eq!(of(bad), Err(400), "{bad}");
        }
        let twice = "Idempotency-Key: a\r\nIdempotency-Key: a\r\n";
        assert_eq!(once_of("PUT", "/a", twice, b""), Err(400));
        assert_eq!(once_of("PUT", "/a", "", b""), Ok(None));
    }

    #[test]
    fn another_method_query_condition_type_or_body_is_another_request() {
        let all = [
            ("PUT", "/a", "", "x"),
            ("POST", "/a", "", "x"),
            ("PUT", "/a?ttl=1s", "", "x"),
            ("PUT", "/a?ttl=2s", "", "x"),
            ("PUT", "/a", "If-Match: *\r\n", "x"),
            ("PUT", "/a", "If-None-Match: *\r\n", "x"),
            ("PUT", "/a", "Content-Type: x\r\n", "x"),
            ("PUT", "/a", "Content-Type:\r\n", "x"),
            ("PUT", "/a", "", "y"),
            ("PUT", "/a", "", ""),
        ];
        let print = |(method, target, lines, body): &(&str, &str, &str, &str)| {
            let lines = format!("{lines}Idempotency-Key: k\r\n");
            once_of(method, target, &lines, body.as_bytes()).expect("it is taken").expect("it has one")
        };
        let prints: std::collections::BTreeSet<u64> = all.iter().map(|one| print(one).fingerprint).collect();
        assert_eq!(prints.len(), all.len());
        let durable = print(&("PUT", "/a", "Kyro-Durability: memory\r\n", "x"));
        assert_eq!(durable, print(&all[0]), "how durable is not what");
    }

    #[test]
    fn a_name_is_of_one_record_and_a_body_may_come_in_parts() {
        let access = Access::default();
        let head = Head::parse(b"PUT /a HTTP/1.1\r\nHost: h\r\nIdempotency-Key: k\r\n\r\n").expect("a head");
        let named = Named::of(&head, Permit::of_nobody(&access)).expect("good").expect("there");
        let token = named.token(COLLECTION, &Key::from_u64(1));
        assert_ne!(token, named.token(COLLECTION, &Key::from_u64(2)));
        assert_ne!(token, named.token(CollectionId(8), &Key::from_u64(1)));
        let id = named.document_id(COLLECTION, KeyType::String);
        assert_eq!(id, named.document_id(COLLECTION, KeyType::String));
        assert_ne!(id, named.document_id(CollectionId(8), KeyType::String));
        let mut print = Fingerprint::of(&head);
        b"hello".iter().for_each(|byte| print.push(&[*byte]));
        assert_eq!(print.once(token), named.once(&head, b"hello", COLLECTION, &Key::from_u64(1)));
    }
}
