//! Arbitrary bytes as a file of API keys and as what a client shows: refused, or the same when it is written again.

#![no_main]

use kyrodb::net::access::key::{KeyId, Presented, SecretHash};
use kyrodb::net::access::key_file::{parse, render, require_unlike_ids};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(keys) = parse(data) {
        let _ = require_unlike_ids(&keys);
        if let Ok(text) = render(&keys) {
            let again = parse(&text).expect("what was written is understood");
            assert_eq!(again.len(), keys.len());
            assert_eq!(render(&again).expect("it was before"), text);
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(presented) = Presented::in_authorization(text).or_else(|| Presented::parse(text)) {
        let hash = presented.hash();
        assert_eq!(SecretHash::parse(&hash.to_hex()).map(SecretHash::to_hex), Some(hash.to_hex()));
    }
    if let Some(id) = KeyId::parse(text) {
        assert_eq!(id.as_str(), text);
    }
});
