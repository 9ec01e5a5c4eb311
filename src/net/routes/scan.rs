//! `GET /v1/kv/{collection}`: a range in key order, as pages of JSON or as one stream of NDJSON.
//!
//! `start` (inclusive), `end` (exclusive) and `prefix` narrow the range, whatever the direction. A
//! cursor names the rest of a range; parameters that are given beside it must be those it began with.
//! `exact` asks for records in the exact form (see [`value`]), as `export` does.

use std::ops::Bound;
use std::sync::Arc;

use super::{Work, accept, collection, flag};
use crate::limits;
use crate::net::cursor::Cursor;
use crate::net::json::pieces::Records;
use crate::net::json::value;
use crate::net::parser::head::Head;
use crate::net::parser::target::Query;
use crate::net::problem::Problem;
use crate::net::response::{LocalFuture, NDJSON, Response, Source};
use crate::shard::catalogue::Collection;
use crate::shard::key::{Key, KeyType};
use crate::shard::node::Node;
use crate::shard::page::Page;
use crate::shard::record::{Found, Refusal, Scan};
use crate::types::CollectionId;

/// Records of a page that a stream asks for at a time.
const STREAM_PAGE_RECORDS: usize = 1000;
const _: () = assert!(STREAM_PAGE_RECORDS <= limits::SCAN_PAGE_RECORDS_MAX);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    start: Bound<Key>,
    end: Bound<Key>,
    reverse: bool,
}

impl Range {
    /// True when no key can lie in it.
    fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (
                Bound::Included(start) | Bound::Excluded(start),
                Bound::Included(end) | Bound::Excluded(end),
            ) => start >= end,
        }
    }

    /// The bound towards which the scan goes.
    fn far(&self) -> &Bound<Key> {
        if self.reverse { &self.start } else { &self.end }
    }

    fn go_on_behind(&mut self, key: Key) {
        let near = if self.reverse { &mut self.end } else { &mut self.start };
        *near = Bound::Excluded(key);
    }
}

/// A request for a range, decoded.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    range: Range,
    limit: Option<u64>,
    exact: bool,
}

pub fn start(node: &Node, head: &Head<'_>, name: &str) -> Result<Work, Problem> {
    let collection = collection(node, name)?;
    if collection.is_hashed() {
        let detail =
            "the collection is placed by hash: its keys have no order to scan; ask for keys with mget";
        return Err(Problem::new(409, "placed_by_hash", detail));
    }
    let Wanted { range, limit, exact } = decode(head.query, collection.id, collection.definition.key_type)?;
    let walk = Walk { node: node.clone(), collection, range, exact, ended: false };
    if accept::prefers_ndjson(head)? {
        return Ok(Work::task(stream(walk, limit)));
    }
    let limit = limit.map_or(limits::SCAN_PAGE_RECORDS_DEFAULT, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX).min(limits::SCAN_PAGE_RECORDS_MAX)
    });
    Ok(Work::task(page(walk, limit)))
}

fn decode(query: &str, collection: CollectionId, key_type: KeyType) -> Result<Wanted, Problem> {
    let mut query = Query::parse(query)?;
    let limit = query.take("limit").map(|text| decode_limit(&text)).transpose()?;
    let exact = flag(&mut query, "exact")?;
    let cursor = query.take("cursor");
    let names_range = ["start", "end", "prefix", "reverse"].map(|name| query.take(name));
    query.finish()?;
    let range = match cursor {
        None => decode_range(&names_range, key_type)?,
        Some(text) => {
            let cursor = Cursor::from_text(&text)
                .filter(|cursor| cursor.collection == collection)
                .ok_or_else(|| Problem::parameter("cursor", "was not given by a scan of this collection"))?;
            let range = range_of(cursor);
            let is_other = names_range.iter().any(Option::is_some)
                && !continues(&range, &decode_range(&names_range, key_type)?);
            if is_other {
                return Err(Problem::parameter("cursor", "belongs to a scan of another range or direction"));
            }
            range
        }
    };
    Ok(Wanted { range, limit, exact })
}

fn decode_limit(text: &str) -> Result<u64, Problem> {
    match text.parse() {
        Ok(limit) if limit > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(limit),
        _ => Err(Problem::parameter("limit", "is not an integer from 1 to 18446744073709551615")),
    }
}

/// `parts`: start, end, prefix, reverse. An empty key leaves its side open.
fn decode_range(parts: &[Option<std::borrow::Cow<'_, str>>; 4], key_type: KeyType) -> Result<Range, Problem> {
    let [start, end, prefix, reverse] = parts.each_ref().map(Option::as_deref);
    let key = |name: &str, text: Option<&str>| {
        text.filter(|text| !text.is_empty())
            .map(|text| {
                Key::parse(key_type, text).map_err(|error| Problem::parameter(name, error.to_string()))
            })
            .transpose()
    };
    let mut start = key("start", start)?.map_or(Bound::Unbounded, Bound::Included);
    let mut end = key("end", end)?.map_or(Bound::Unbounded, Bound::Excluded);
    if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) {
        if key_type == KeyType::U64 {
            return Err(Problem::parameter("prefix", "needs a collection with string keys"));
        }
        let low = key("prefix", Some(prefix))?.expect("the prefix is not empty");
        start = later(start, low);
        end = earlier(end, Key::after_prefix(prefix.as_bytes()));
    }
    let reverse = match reverse {
        None | Some("false") => false,
        Some("" | "true") => true,
        Some(_) => return Err(Problem::parameter("reverse", "is neither true nor false")),
    };
    Ok(Range { start, end, reverse })
}

fn later(start: Bound<Key>, low: Key) -> Bound<Key> {
    match start {
        Bound::Included(key) if key > low => Bound::Included(key),
        _ => Bound::Included(low),
    }
}

fn earlier(end: Bound<Key>, high: Option<Key>) -> Bound<Key> {
    match (end, high) {
        (end, None) => end,
        (Bound::Excluded(key), Some(high)) if key < high => Bound::Excluded(key),
        (_, Some(high)) => Bound::Excluded(high),
    }
}

fn range_of(cursor: Cursor) -> Range {
    let Cursor { reverse, bound, position, .. } = cursor;
    let near = Bound::Excluded(position);
    let (start, end) = if reverse { (bound, near) } else { (near, bound) };
    Range { start, end, reverse }
}

/// True when `rest` is what can be left of `whole`.
fn continues(rest: &Range, whole: &Range) -> bool {
    let Bound::Excluded(position) = (if rest.reverse { &rest.end } else { &rest.start }) else {
        return false;
    };
    let near = if whole.reverse { &whole.end } else { &whole.start };
    let is_inside = match (near, whole.reverse) {
        (Bound::Unbounded, _) => true,
        (Bound::Included(near), false) => position >= near,
        (Bound::Excluded(near), false) => position > near,
        (Bound::Included(near), true) => position <= near,
        (Bound::Excluded(near), true) => position < near,
    };
    rest.reverse == whole.reverse && rest.far() == whole.far() && is_inside
}

/// Goes through a range page by page.
struct Walk {
    node: Node,
    collection: Arc<Collection>,
    range: Range,
    /// Records in the form that makes the same ones again.
    exact: bool,
    ended: bool,
}

impl Walk {
    /// The next page that holds a record, or the last; `limit` records at most.
    async fn next_page(&mut self, limit: usize) -> Result<Page, Refusal> {
        loop {
            if self.ended || self.range.is_empty() {
                self.ended = true;
                return Ok(Page::default());
            }
            let Range { start, end, reverse } = self.range.clone();
            let page = self.node.scan(&self.collection, Scan { start, end, reverse, limit }).await?;
            let last = page.resume_after.clone();
            self.ended = !page.more;
            match last {
                Some(last) => self.range.go_on_behind(last),
                None => self.ended = true,
            }
            if self.ended || !page.records.is_empty() {
                return Ok(page);
            }
        }
    }

    fn cursor(&self) -> Option<Cursor> {
        let near = if self.range.reverse { &self.range.end } else { &self.range.start };
        match near {
            Bound::Excluded(position) if !self.ended => Some(Cursor {
                collection: self.collection.id,
                reverse: self.range.reverse,
                bound: self.range.far().clone(),
                position: position.clone(),
            }),
            _ => None,
        }
    }

    fn lines(&self, page: Page) -> PageLines {
        Records::lines(self.key_type(), self.exact, Box::new(records_of(page)))
    }

    fn key_type(&self) -> KeyType {
        self.collection.definition.key_type
    }
}

async fn page(mut walk: Walk, limit: usize) -> Result<Response, Problem> {
    let page = walk.next_page(limit).await?;
    let mut end = b"],\"next_cursor\":".to_vec();
    match walk.cursor() {
        Some(cursor) => value::append_string(&cursor.to_text(), &mut end),
        None => end.extend_from_slice(b"null"),
    }
    end.push(b'}');
    let end = String::from_utf8(end).expect("JSON is text");
    Ok(Records::list(walk.key_type(), walk.exact, records_of(page), end).into_response())
}

fn records_of(page: Page) -> impl Iterator<Item = (Key, Option<Found>)> {
    page.records.into_iter().map(|(key, found)| (key, Some(found)))
}

/// The first page is fetched before the head of the answer, so that a refusal has its status.
async fn stream(mut walk: Walk, limit: Option<u64>) -> Result<Response, Problem> {
    let mut left = limit.unwrap_or(u64::MAX);
    let first = walk.next_page(page_limit(left)).await?;
    left -= first.records.len() as u64;
    let page = walk.lines(first);
    Ok(Response::stream(NDJSON, Lines { walk, left, page }))
}

fn page_limit(left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(STREAM_PAGE_RECORDS)
}

type PageLines = Records<Box<dyn Iterator<Item = (Key, Option<Found>)>>>;

/// One record a line.
struct Lines {
    walk: Walk,
    left: u64,
    page: PageLines,
}

impl Lines {
    /// The next page is fetched when the lines of the one before are taken.
    async fn append_some(&mut self, out: &mut Vec<u8>) -> Result<bool, Problem> {
        if self.page.append_some(out)? {
            return Ok(true);
        }
        if self.left == 0 || self.walk.ended {
            return Ok(false);
        }
        let page = self.walk.next_page(page_limit(self.left)).await?;
        self.left -= page.records.len() as u64;
        self.page = self.walk.lines(page);
        Ok(true)
    }
}

impl Source for Lines {
    fn next<'a>(&'a mut self, out: &'a mut Vec<u8>) -> LocalFuture<'a, Result<bool, Problem>> {
        Box::pin(self.append_some(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLLECTION: CollectionId = CollectionId(7);

    fn text(key: &str) -> Key {
        Key::from_text(key).unwrap()
    }

    fn wanted(query: &str) -> Result<Wanted, u16> {
        decode(query, COLLECTION, KeyType::String).map_err(|problem| problem.status)
    }

    fn range(query: &str) -> Range {
        wanted(query).unwrap().range
    }

    #[test]
    fn bounds_narrow_each_other() {
        let open = Range { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false };
        assert_eq!(range(""), open);
        assert_eq!(range("start=&end=&prefix="), open);
        assert_eq!(range("reverse=true"), Range { reverse: true, ..open });
        for (query, start, end) in [
            ("start=b&end=d", "b", "d"),
            ("prefix=a", "a", "b"),
            ("prefix=ab&start=ac", "ac", "ac"),
            ("prefix=ab&start=aa&end=b", "ab", "ac"),
            ("prefix=ab&start=abc&end=abd", "abc", "abd"),
        ] {
            let expected = Range {
                start: Bound::Included(text(start)),
                end: Bound::Excluded(text(end)),
                reverse: false,
            };
            assert_eq!(range(query), expected, "{query}");
        }
        assert!(range("prefix=ab&start=ac").is_empty());
        assert!(range("start=b&end=a").is_empty());
        assert!(!range("start=a&end=b").is_empty());
    }

    #[test]
    fn wrong_parameters_are_refused() {
        for query in [
            "limit=0",
            "limit=-1",
            "limit=x",
            "limit=%2B1",
            "limit=99999999999999999999",
            "reverse=1",
            "cursor=",
            "cursor=abc",
            "from=a",
            "start=a&start=b",
        ] {
            assert_eq!(wanted(query), Err(400), "{query}");
        }
        for query in ["start=a", "end=-1", "prefix=1"] {
            let status = decode(query, COLLECTION, KeyType::U64).map_err(|problem| problem.status);
            assert_eq!(status, Err(400), "{query}");
        }
        assert_eq!(wanted("limit=18446744073709551615").unwrap().limit, Some(u64::MAX));
    }

    #[test]
    fn a_cursor_goes_on_with_its_own_scan_only() {
        let cursor = |reverse, bound: &str, position| Cursor {
            collection: COLLECTION,
            reverse,
            bound: Bound::Excluded(text(bound)),
            position: text(position),
        };
        let forward = cursor(false, "m", "c").to_text();
        let rest =
            Range { start: Bound::Excluded(text("c")), end: Bound::Excluded(text("m")), reverse: false };
        for query in ["", "&start=a&end=m", "&start=c&end=m", "&end=m&reverse=false"] {
            assert_eq!(range(&format!("cursor={forward}{query}")), rest, "{query}");
        }
        for query in ["&start=a", "&end=n", "&start=d&end=m", "&end=m&reverse=true", "&prefix=c"] {
            assert_eq!(wanted(&format!("cursor={forward}{query}")), Err(400), "{query}");
        }
        let other = Cursor { collection: CollectionId(8), ..cursor(false, "m", "c") }.to_text();
        assert_eq!(wanted(&format!("cursor={other}")), Err(400));

        let backward = Cursor { bound: Bound::Included(text("a")), ..cursor(true, "m", "c") }.to_text();
        let rest =
            Range { start: Bound::Included(text("a")), end: Bound::Excluded(text("c")), reverse: true };
        assert_eq!(range(&format!("cursor={backward}&start=a&end=m&reverse=true")), rest);
        assert_eq!(wanted(&format!("cursor={backward}&start=a&end=m")), Err(400));
    }
}
