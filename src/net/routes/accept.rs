//! What a client accepts, against what a route can give (RFC 9110, section 12.5.1). Pure.
//!
//! Records as raw bytes go out as they were stored, whatever is accepted; so do problems.

use crate::net::parser::head::Head;
use crate::net::problem::Problem;
use crate::net::response::{JSON, NDJSON};

const NDJSON_ALIAS: &str = "application/jsonl";

/// How much a type is wanted: its weight in thousandths, how exactly it was named, how early.
type Wish = (u16, u8, std::cmp::Reverse<usize>);

/// Fails when the client does not take JSON.
pub fn require_json(head: &Head<'_>) -> Result<(), Problem> {
    let Some(accept) = head.fields.accept() else { return Ok(()) };
    wish(accept, JSON).map(|_| ()).ok_or_else(|| not_acceptable(JSON))
}

/// Whether the client wants lines rather than a document; a document when it does not care.
pub fn prefers_ndjson(head: &Head<'_>) -> Result<bool, Problem> {
    let Some(accept) = head.fields.accept() else { return Ok(false) };
    let lines = wish(accept, NDJSON).max(wish(accept, NDJSON_ALIAS));
    let document = wish(accept, JSON);
    match (lines, document) {
        (None, None) => Err(not_acceptable("application/json or application/x-ndjson")),
        _ => Ok(lines > document),
    }
}

pub fn is_ndjson(essence: &str) -> bool {
    essence.eq_ignore_ascii_case(NDJSON) || essence.eq_ignore_ascii_case(NDJSON_ALIAS)
}

fn not_acceptable(offered: &str) -> Problem {
    let detail = format!("this route gives {offered}");
    Problem::new(406, "not_acceptable", detail.clone()).at("/header/Accept", detail)
}

/// `None` when the type is not accepted: the most exact range that it is in decides.
fn wish(accept: &str, content_type: &str) -> Option<Wish> {
    let ranges = accept.split(',').enumerate().filter_map(|(index, range)| {
        let mut parts = range.split(';').map(str::trim);
        let exactness = exactness(parts.next()?, content_type)?;
        Some((exactness, std::cmp::Reverse(index), weight(parts)))
    });
    let (exactness, place, weight) = ranges.max()?;
    (weight > 0).then_some((weight, exactness, place))
}

fn exactness(range: &str, content_type: &str) -> Option<u8> {
    let is_group = |group: &str| {
        content_type
            .get(..=group.len())
            .is_some_and(|start| start.ends_with('/') && start[..group.len()].eq_ignore_ascii_case(group))
    };
    match range.strip_suffix("/*") {
        Some("*") => Some(0),
        Some(group) => is_group(group).then_some(1),
        None => range.eq_ignore_ascii_case(content_type).then_some(2),
    }
}

/// In thousandths; what is no weight counts as 1.
fn weight<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u16 {
    let text = parameters.find_map(|one| one.strip_prefix("q=").or(one.strip_prefix("Q=")));
    let weight = text.and_then(|text| text.parse::<f32>().ok()).unwrap_or(1.0);
    (weight.clamp(0.0, 1.0) * 1000.0) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_range_decides_and_the_greatest_weight_wins() {
        let of = |accept: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n");
            let head = Head::parse(head.as_bytes()).unwrap();
            let status = |problem: Problem| problem.status;
            (prefers_ndjson(&head).map_err(status), require_json(&head).map_err(status))
        };
        for (accept, ndjson, json) in [
            ("*/*", Ok(false), Ok(())),
            ("application/*", Ok(false), Ok(())),
            ("Application/JSON; charset=utf-8", Ok(false), Ok(())),
            ("application/x-ndjson", Ok(true), Err(406)),
            ("application/jsonl, */*;q=0.1", Ok(true), Ok(())),
            ("application/x-ndjson, application/json", Ok(true), Ok(())),
            ("application/json, application/x-ndjson", Ok(false), Ok(())),
            ("application/json;q=0.1, application/x-ndjson;q=0.2", Ok(true), Ok(())),
            ("*/*, application/json;q=0", Ok(true), Err(406)),
            ("text/html", Err(406), Err(406)),
            ("applic/*", Err(406), Err(406)),
        ] {
            assert_eq!(of(accept), (ndjson, json), "{accept}");
        }
    }
}
