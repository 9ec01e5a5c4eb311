//! Content codings of bodies (RFC 9110, section 8.4): gzip (RFC 1952) and zstd (RFC 8878, with the window of RFC 9659).
//!
//! Owns: which coding a body is in, which one a client takes, and the steps of both directions. What is stored and
//! searched is always plain: a coding ends at the connection.
//!
//! Invariant: no step does more than a turn's work, and what a body comes to is bounded where it is plain
//! ([`limits::BODY_BYTES_MAX`], or a line of a bulk), whatever it was squeezed into.

pub mod answer;
pub mod decoder;
pub mod encoder;
#[cfg(test)]
mod tests;

use crate::limits;
use crate::net::parser::head::{Framing, Head, Method};
use crate::net::problem::Problem;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }

    fn named(name: &str) -> Option<Coding> {
        [Coding::Gzip, Coding::Zstd].into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name()))
    }

    /// The coding of the body of a request; `None` when it is plain, or when there is none to be read.
    pub fn of_body(head: &Head<'_>) -> Result<Option<Coding>, Problem> {
        let has_body = matches!(head.method, Method::Put | Method::Post | Method::Patch);
        let Some(field) = head.fields.content_encoding() else { return Ok(None) };
        if !has_body || head.framing == Framing::Absent || field.eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        Coding::named(field).map(Some).ok_or_else(unsupported)
    }

    /// The one to answer in, by `Accept-Encoding`: the most wanted, zstd where both are alike; `None` for plain.
    pub fn wanted(accepted: &str) -> Option<Coding> {
        let weight = |coding: Coding| {
            let named = |name: &str| accepted.split(',').find_map(|part| weight_of(part, name));
            named(coding.name()).or_else(|| named("*")).unwrap_or(0)
        };
        let (gzip, zstd) = (weight(Coding::Gzip), weight(Coding::Zstd));
        match gzip.max(zstd) {
            0 => None,
            best if best == zstd => Some(Coding::Zstd),
            _ => Some(Coding::Gzip),
        }
    }
}

/// In thousandths, when the part is about that coding; what is no weight counts as 1.
fn weight_of(part: &str, name: &str) -> Option<u16> {
    let mut pieces = part.split(';').map(str::trim);
    if !pieces.next()?.eq_ignore_ascii_case(name) {
        return None;
    }
    let text = pieces.find_map(|piece| piece.strip_prefix("q=").or(piece.strip_prefix("Q=")));
    let weight = text.and_then(|text| text.parse::<f32>().ok()).unwrap_or(1.0);
    Some((weight.clamp(0.0, 1.0) * 1000.0) as u16)
}

/// Code of the problem of a body in another coding, and what `Accept-Encoding` says beside it (RFC 9110, section 12.5.3).
pub const UNSUPPORTED: &str = "unsupported_content_encoding";
pub const TAKEN: &str = "zstd, gzip, identity";

fn unsupported() -> Problem {
    Problem::new(415, UNSUPPORTED, "bodies are taken plain, in gzip or in zstd")
}

/// Whether an answer of this type and length is worth the work.
fn is_worth_it(content_type: &str, bytes: usize) -> bool {
    let is_text = content_type.starts_with("text/") || content_type.contains("json");
    is_text && bytes >= limits::CODED_ANSWER_BYTES_MIN
}
