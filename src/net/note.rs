//! What is kept of a request until its answer, for the access log and for tracing headers.
//!
//! A plain request with the log switched off has no note and costs nothing here.

use super::parser::Head;
use super::response::number_line;
use crate::limits;
use crate::types::Mono;

#[derive(Debug)]
pub struct Note {
    method: String,
    target: String,
    began: Mono,
    /// The id that the answer repeats, when the request carried one or a trace.
    request_id: Option<String>,
    log: bool,
}

impl Note {
    /// `random` makes an id for a request that is to be traced and whose own cannot be repeated.
    pub fn of(head: &Head<'_>, log: bool, now: Mono, random: impl FnOnce() -> u64) -> Option<Box<Note>> {
        let is_traced = head.fields.request_id().is_some() || head.fields.traceparent().is_some();
        let made_up = || format!("{:016x}", random());
        let request_id = is_traced.then(|| request_id(head).unwrap_or_else(made_up));
        if !log && request_id.is_none() {
            return None;
        }
        let target = if head.query.is_empty() {
            head.path.to_owned()
        } else {
            format!("{}?{}", head.path, head.query)
        };
        Some(Box::new(Note { method: head.method.name().to_owned(), target, began: now, request_id, log }))
    }

    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// `X-Request-Id` and `Server-Timing`, for requests that asked to be traced.
    pub fn encode_lines(&self, now: Mono, out: &mut Vec<u8>) {
        let Some(request_id) = &self.request_id else { return };
        out.extend_from_slice(b"X-Request-Id: ");
        out.extend_from_slice(request_id.as_bytes());
        let us = now.since(self.began) / 1000;
        number_line(b"\r\nServer-Timing: total;dur=", us / 1000, b".", out);
        let fraction = us % 1000;
        out.extend([fraction / 100, fraction / 10 % 10, fraction % 10].map(|digit| b'0' + digit as u8));
        out.extend_from_slice(b"\r\n");
    }

    pub fn log_answer(&self, status: u16, now: Mono) {
        if self.log {
            tracing::info!(
                method = self.method,
                target = self.target,
                status,
                us = now.since(self.began) / 1000,
                request_id = self.request_id,
                "answered"
            );
        }
    }
}

/// The id of the request itself, else that of its trace.
fn request_id(head: &Head<'_>) -> Option<String> {
    let given = head.fields.request_id().filter(|id| {
        (1..=limits::REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_graphic())
    });
    given.or_else(|| head.fields.traceparent().and_then(trace_id)).map(str::to_owned)
}

/// The trace id of a W3C `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`.
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note_of(lines: &str, log: bool) -> Option<Box<Note>> {
        let bytes = format!("GET /a?b=c HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        Note::of(&Head::parse(bytes.as_bytes()).unwrap(), log, Mono(1_000_000), || 0xab)
    }

    #[test]
    fn only_traced_or_logged_requests_have_one() {
        assert!(note_of("", false).is_none());
        assert_eq!(note_of("", true).unwrap().target, "/a?b=c");
        let traced = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
        assert_eq!(note_of(traced, false).unwrap().request_id(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        let too_long = format!("X-Request-Id: {}\r\n", "x".repeat(limits::REQUEST_ID_BYTES_MAX + 1));
        for unusable in ["X-Request-Id: \"a b\"\r\n", "traceparent: nonsense\r\n", &too_long] {
            assert_eq!(
                note_of(unusable, false).unwrap().request_id(),
                Some("00000000000000ab"),
                "{unusable}"
            );
        }
    }

    #[test]
    fn the_lines_name_the_request_and_its_time() {
        let note = note_of("X-Request-Id: abc\r\n", false).unwrap();
        let mut out = Vec::new();
        note.encode_lines(Mono(1_000_000 + 12_034_567), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "X-Request-Id: abc\r\nServer-Timing: total;dur=12.034\r\n"
        );
    }
}
