//! What pages of other origins may read (the CORS protocol of the Fetch standard).
//!
//! Without configured origins nothing of it is sent, and browsers keep other pages out.

use crate::limits;
use crate::net::parser::head::{Head, Method};
use crate::net::response::number_line;
use crate::net::routes::Resource;

/// Fields of requests that a page may set.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept, If-Match, If-None-Match, Kyro-Durability, \
                               Idempotency-Key, X-Request-Id, traceparent";
/// Fields of answers that a page may read, beside those that it always may.
const EXPOSED_HEADERS: &str = "ETag, Kyro-Seq, Kyro-Durability, Idempotency-Replayed, Retry-After, RateLimit, \
                               RateLimit-Policy, Allow, WWW-Authenticate, X-Request-Id, Server-Timing";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors {
    origins: Vec<String>,
    any: bool,
}

impl Cors {
    /// Of a list with commas; `*` is every origin. `None` when one is no origin.
    pub fn parse(list: &str) -> Option<Cors> {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let origins: Vec<String> = names.map(str::to_owned).collect();
        let fits = origins.len() <= limits::CORS_ORIGIN_ENTRIES_MAX;
        let any = origins.iter().any(|name| name == "*");
        (fits && origins.iter().all(|name| name == "*" || is_origin(name))).then_some(Cors { origins, any })
    }

    pub fn is_off(&self) -> bool {
        self.origins.is_empty()
    }

    /// The lines that every answer to this request carries.
    pub fn append_lines(&self, origin: Option<&str>, lines: &mut Vec<u8>) {
        if self.is_off() {
            return;
        }
        if !self.any {
            // Also without an origin: a cache must not give that answer to a page.
            line("Vary", "Origin", lines);
        }
        if let Some(allowed) = self.allowed(origin) {
            line("Access-Control-Allow-Origin", allowed, lines);
            line("Access-Control-Expose-Headers", EXPOSED_HEADERS, lines);
        }
    }

    /// True for the question of a browser whether it may send a request that the server knows; then
    /// the lines of the answer are appended.
    pub fn takes_preflight(&self, head: &Head<'_>, lines: &mut Vec<u8>) -> bool {
        let Some(wanted) = head.fields.requested_method() else { return false };
        if self.is_off() || head.method != Method::Other("OPTIONS") || head.fields.origin().is_none() {
            return false;
        }
        let Some(resource) = Resource::find(head.path, Method::named(wanted)) else { return false };
        if self.allowed(head.fields.origin()).is_some() {
            line("Access-Control-Allow-Methods", resource.allow(), lines);
            line("Access-Control-Allow-Headers", ALLOWED_HEADERS, lines);
            number_line(b"Access-Control-Max-Age: ", limits::CORS_MAX_AGE_SECONDS, b"\r\n", lines);
        }
        true
    }

    pub fn allowed<'a>(&self, origin: Option<&'a str>) -> Option<&'a str> {
        let origin = origin?;
        if self.any {
            return Some("*");
        }
        self.origins.iter().any(|known| known == origin).then_some(origin)
    }
}

/// `scheme://host` or `scheme://host:port`, in lower case, as browsers send it.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]+".contains(&byte);
    !scheme.is_empty() && !authority.is_empty() && scheme.bytes().chain(authority.bytes()).all(is_plain)
}

fn line(name: &str, value: &str, lines: &mut Vec<u8>) {
    for part in [name, ": ", value, "\r\n"] {
        lines.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(list: &str, method: &str, path: &str, fields: &str) -> (bool, String) {
        let cors = Cors::parse(list).unwrap();
        let bytes = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let head = Head::parse(bytes.as_bytes()).unwrap();
        let mut lines = Vec::new();
        cors.append_lines(head.fields.origin(), &mut lines);
        let is_preflight = cors.takes_preflight(&head, &mut lines);
        (is_preflight, String::from_utf8(lines).unwrap())
    }

    #[test]
    fn origins_are_a_list() {
        for good in ["", "*", "https://a.example", "http://localhost:3000, https://b.example,", "app://x"] {
            assert!(Cors::parse(good).is_some(), "{good}");
        }
        for bad in ["a.example", "https://", "https://a/", "https://A", "https://a\r\nX: y", "https://a b"] {
            assert!(Cors::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_sent_without_origins() {
        let asked = "Origin: https://a\r\nAccess-Control-Request-Method: PUT\r\n";
        assert_eq!(lines_of("", "OPTIONS", "/v1/kv/c/k", asked), (false, String::new()));
        assert_eq!(lines_of("", "GET", "/v1/kv/c/k", "Origin: https://a\r\n"), (false, String::new()));
    }

    #[test]
    fn a_known_origin_may_read_and_another_may_not() {
        let (_, known) = lines_of("https://a", "GET", "/v1/kv/c/k", "Origin: https://a\r\n");
        assert!(known.starts_with("Vary: Origin\r\nAccess-Control-Allow-Origin: https://a\r\n"), "{known}");
        assert!(known.contains("Expose-Headers: ETag, Kyro-Seq,"), "{known}");
        for other in ["", "Origin: https://b\r\n", "Origin: https://a.evil\r\n", "Origin: null\r\n"] {
            let (_, lines) = lines_of("https://a", "GET", "/v1/kv/c/k", other);
            assert_eq!(lines, "Vary: Origin\r\n", "{other}");
        }
        let (_, any) = lines_of("*", "GET", "/v1/kv/c/k", "Origin: https://b\r\n");
        assert!(any.starts_with("Access-Control-Allow-Origin: *\r\n") && !any.contains("Vary"), "{any}");
    }

    #[test]
    fn preflights_are_for_known_routes() {
        let asked = "Origin: https://a\r\nAccess-Control-Request-Method: POST\r\n";
        let (is_preflight, lines) = lines_of("https://a", "OPTIONS", "/v1/kv/c/mget", asked);
        assert!(is_preflight && lines.contains("Allow-Methods: GET, HEAD, PUT, DELETE, POST\r\n"), "{lines}");
        assert!(lines.contains("Allow-Headers: Authorization,") && lines.contains("Max-Age: 600\r\n"));
        assert!(!lines_of("https://a", "OPTIONS", "/v9", asked).0);
        assert!(!lines_of("https://a", "GET", "/v1/kv/c/mget", asked).0);
        assert!(!lines_of("https://a", "OPTIONS", "/v1/kv/c/k", "Origin: https://a\r\n").0);
        let other = "Origin: https://b\r\nAccess-Control-Request-Method: POST\r\n";
        let (is_preflight, lines) = lines_of("https://a", "OPTIONS", "/v1/kv/c/mget", other);
        assert_eq!((is_preflight, lines.as_str()), (true, "Vary: Origin\r\n"));
    }
}
