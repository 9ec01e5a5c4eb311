//! An API key: its text, and what is kept of it.
//!
//! ```text
//! kyro_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
//!      id: 64 bits, hex  secret: 256 bits, base64url
//! ```
//!
//! At rest is the SHA-256 of the secret. A slow hash is for passwords, which can be guessed; 256 bits
//! from the kernel cannot, so a fast one gives nothing away.
//!
//! Invariant: a type that holds the text or the secret cannot be printed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

const PREFIX: &str = "kyro_";
const ID_CHARS: usize = 16;
const SECRET_CHARS: usize = 43;
const TEXT_CHARS: usize = PREFIX.len() + ID_CHARS + 1 + SECRET_CHARS;
const ID_BYTES: usize = ID_CHARS / 2;
const SECRET_BYTES: usize = 32;

/// Random bytes that a new key is made of.
pub const RANDOM_BYTES: usize = ID_BYTES + SECRET_BYTES;

/// Names a key; no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; ID_CHARS]);

impl KeyId {
    pub fn parse(text: &str) -> Option<KeyId> {
        let bytes: [u8; ID_CHARS] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(KeyId(bytes))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// SHA-256 of a secret. Compared in constant time only, so it has no `PartialEq`.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// What no secret is compared with in earnest.
    pub const DUMMY: SecretHash = SecretHash([0; 32]);

    fn of(secret: &[u8]) -> SecretHash {
        SecretHash(Sha256::digest(secret).into())
    }

    pub fn parse(hex: &str) -> Option<SecretHash> {
        let digits = hex.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(SecretHash(hash))
    }

    pub fn to_hex(self) -> String {
        hex(&self.0)
    }

    pub fn ct_eq(&self, other: &SecretHash) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// A whole new key, in the only moment in which its text is known.
pub struct NewKey {
    text: String,
    pub id: KeyId,
    pub hash: SecretHash,
}

impl NewKey {
    pub fn from_random(random: [u8; RANDOM_BYTES]) -> NewKey {
        let (id, secret) = random.split_at(ID_BYTES);
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let id = KeyId::parse(&hex(id)).expect("hexadecimal digits");
        let hash = SecretHash::of(secret.as_bytes());
        NewKey { text: format!("{PREFIX}{id}_{secret}"), id, hash }
    }

    /// For the one who asked for the key, and nobody else.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

/// A key as a caller shows it: well-formed, and not yet known to be one.
pub struct Presented<'a> {
    pub id: KeyId,
    secret: &'a [u8],
}

impl<'a> Presented<'a> {
    /// Of an `Authorization` field: `Bearer`, in any case, and the key.
    pub fn in_authorization(field: &'a str) -> Option<Presented<'a>> {
        let (scheme, rest) = field.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        Presented::parse(rest.trim_matches(' '))
    }

    pub fn parse(text: &'a str) -> Option<Presented<'a>> {
        if text.len() != TEXT_CHARS || !text.is_ascii() {
            return None;
        }
        let (id, secret) = text.strip_prefix(PREFIX)?.split_at(ID_CHARS);
        let secret = secret.strip_prefix('_')?;
        Some(Presented { id: KeyId::parse(id)?, secret: secret.as_bytes() })
    }

    /// Takes as long for every secret.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.secret)
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_key(seed: u8) -> NewKey {
        NewKey::from_random(std::array::from_fn(|at| seed.wrapping_add(at as u8)))
    }

    #[test]
    fn the_text_is_as_written_above() {
        let text = new_key(1).reveal().to_owned();
        assert_eq!(text, "kyro_0102030405060708_CQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJyg");
        assert_eq!(text.len(), TEXT_CHARS);
    }

    #[test]
    fn the_hash_is_sha_256() {
        let hash = SecretHash::of(b"abc").to_hex();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let again = SecretHash::parse(&hash).unwrap();
        assert!(bool::from(again.ct_eq(&SecretHash::of(b"abc"))));
        for bad in ["", "ba", &hash[1..], &hash.to_uppercase(), &format!("{hash}00")] {
            assert!(SecretHash::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_read_back_and_anything_else_is_not() {
        let key = new_key(9);
        let presented = Presented::parse(key.reveal()).unwrap();
        assert!(presented.id == key.id && bool::from(presented.hash().ct_eq(&key.hash)));
        let text = key.reveal();
        for scheme in ["Bearer ", "bearer ", "BEARER   "] {
            assert!(Presented::in_authorization(&format!("{scheme}{text}")).is_some(), "{scheme}");
        }
        let cut = &text[..text.len() - 1];
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            text,
            &format!("Basic {text}"),
            &format!("Bearer {cut}"),
            &format!("Bearer {text}x"),
            &format!("Bearer {}", text.replace("kyro_", "KYRO_")),
            &format!("Bearer {}", text.to_uppercase()),
            &format!("Bearer {cut}\u{e9}"),
        ] {
            assert!(Presented::in_authorization(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn every_character_of_the_secret_counts() {
        let key = new_key(3);
        for at in TEXT_CHARS - SECRET_CHARS..TEXT_CHARS {
            let mut text = key.reveal().to_owned().into_bytes();
            text[at] ^= 1;
            let text = String::from_utf8(text).unwrap();
            let presented = Presented::parse(&text).unwrap();
            assert!(!bool::from(presented.hash().ct_eq(&key.hash)), "{at}");
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let key = new_key(5);
        let printed = format!("{:?} {:?} {}", key.id, key.hash, key.id);
        assert!(!printed.contains(&key.hash.to_hex()) && !printed.contains(&key.reveal()[22..]));
    }
}
