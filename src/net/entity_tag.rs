//! Entity tags and the conditions made of them. The strong tag of a record is `"<seq>"`.

use super::parser::Fields;
use super::problem::Problem;
use crate::shard::record::Condition;
use crate::types::Seq;

/// No record ever reaches this version: a tag that is not ours matches nothing.
const NO_VERSION: Seq = Seq(u64::MAX);

/// Space around the commas of a list.
const BLANK: [char; 2] = [' ', '\t'];

/// The tags of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// One of each tag; `None` of one that cannot be a version.
    Versions(Vec<Option<Seq>>),
}

impl Tags {
    /// `weak` tags count in `If-None-Match`, never in `If-Match` (RFC 9110, section 13.1).
    fn parse(text: &str, weak_counts: bool) -> Option<Tags> {
        if text == "*" {
            return Some(Tags::Any);
        }
        let (mut versions, mut rest) = (Vec::new(), text);
        loop {
            let (tag, is_weak) = rest.strip_prefix("W/").map_or((rest, false), |tag| (tag, true));
            let (opaque, behind) = tag.strip_prefix('"')?.split_once('"')?;
            if !opaque.bytes().all(|byte| byte.is_ascii_graphic()) {
                return None;
            }
            versions.push(version(opaque).filter(|_| weak_counts || !is_weak));
            let behind = behind.trim_start_matches(BLANK);
            if behind.is_empty() {
                return Some(Tags::Versions(versions));
            }
            rest = behind.strip_prefix(',')?.trim_start_matches(BLANK);
        }
    }

    fn matches(&self, seq: Seq) -> bool {
        match self {
            Tags::Any => true,
            Tags::Versions(versions) => versions.contains(&Some(seq)),
        }
    }
}

/// Only the one way in which the server writes a version.
fn version(opaque: &str) -> Option<Seq> {
    let number: u64 = opaque.parse().ok()?;
    (itoa::Buffer::new().format(number) == opaque).then_some(Seq(number))
}

fn malformed(name: &str) -> Problem {
    Problem::header(name, "is neither * nor a list of entity tags in double quotes")
}

/// The condition of a PUT or DELETE.
pub fn write_condition(fields: &Fields<'_>) -> Result<Condition, Problem> {
    let present = fields.if_match().map(present).transpose()?;
    match (present, fields.if_none_match()) {
        (_, Some(other)) if other != "*" => Err(Problem::header("If-None-Match", "takes only * on a write")),
        (None, None) => Ok(Condition::None),
        (None, Some(_)) => Ok(Condition::Absent),
        (Some(condition), None) => Ok(condition),
        // To be there and not to be there: nothing is so.
        (Some(_), Some(_)) => Ok(Condition::SeqIs(NO_VERSION)),
    }
}

fn present(if_match: &str) -> Result<Condition, Problem> {
    match Tags::parse(if_match, false).ok_or_else(|| malformed("If-Match"))? {
        Tags::Any => Ok(Condition::Present),
        Tags::Versions(versions) => match versions[..] {
            [seq] => Ok(Condition::SeqIs(seq.unwrap_or(NO_VERSION))),
            _ => Err(Problem::header("If-Match", "takes one entity tag on a write")),
        },
    }
}

/// What a GET asks of the version that it finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReadCondition {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Send,
    NotModified,
    Failed,
}

impl ReadCondition {
    /// `None` for a plain GET.
    pub fn of(fields: &Fields<'_>) -> Result<Option<Box<ReadCondition>>, Problem> {
        if fields.if_match().is_none() && fields.if_none_match().is_none() {
            return Ok(None);
        }
        let parse = |text: Option<&str>, name, weak_counts| {
            text.map(|text| Tags::parse(text, weak_counts).ok_or_else(|| malformed(name))).transpose()
        };
        let if_match = parse(fields.if_match(), "If-Match", false)?;
        let if_none_match = parse(fields.if_none_match(), "If-None-Match", true)?;
        Ok(Some(Box::new(ReadCondition { if_match, if_none_match })))
    }

    /// In the order of RFC 9110, section 13.2.2. `current` is `None` when there is no record.
    pub fn judge(&self, current: Option<Seq>) -> Verdict {
        let holds = |tags: &Tags| current.is_some_and(|seq| tags.matches(seq));
        if self.if_match.as_ref().is_some_and(|tags| !holds(tags)) {
            Verdict::Failed
        } else if self.if_none_match.as_ref().is_some_and(holds) {
            Verdict::NotModified
        } else {
            Verdict::Send
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::parser::Head;

    /// Calls with the fields of a request that has these.
    fn with<T>(
        if_match: Option<&str>,
        if_none_match: Option<&str>,
        call: impl Fn(&Fields<'_>) -> Result<T, Problem>,
    ) -> Result<T, u16> {
        let line = |name: &str, value: Option<&str>| {
            value.map_or(String::new(), |value| format!("{name}: {value}\r\n"))
        };
        let lines = line("If-Match", if_match) + &line("If-None-Match", if_none_match);
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        call(&Head::parse(head.as_bytes()).unwrap().fields).map_err(|problem| problem.status)
    }

    #[test]
    fn write_conditions() {
        let condition = |m, n| with(m, n, write_condition);
        assert_eq!(condition(None, None), Ok(Condition::None));
        assert_eq!(condition(Some("*"), None), Ok(Condition::Present));
        assert_eq!(condition(Some("\"7\""), None), Ok(Condition::SeqIs(Seq(7))));
        for foreign in ["\"abc\"", "W/\"7\"", "\"07\"", "\"+7\"", "\"\"", "\"7,\""] {
            assert_eq!(condition(Some(foreign), None), Ok(Condition::SeqIs(NO_VERSION)), "{foreign}");
        }
        assert_eq!(condition(None, Some("*")), Ok(Condition::Absent));
        assert_eq!(condition(Some("*"), Some("*")), Ok(Condition::SeqIs(NO_VERSION)));
        for (m, n) in [
            (Some("7"), None),
            (Some("\"7"), None),
            (Some("\"1\", \"2\""), None),
            (Some("\"a\", W/\"2\""), None),
            (Some("\"a b\""), None),
            (Some("\"1\" \"2\""), None),
            (Some("\"1\","), None),
            (Some("7"), Some("*")),
            (None, Some("\"7\"")),
            (Some(""), None),
        ] {
            assert_eq!(condition(m, n), Err(400), "{m:?} {n:?}");
        }
    }

    #[test]
    fn read_conditions() {
        let judge = |m, n, current: Option<u64>| {
            with(m, n, ReadCondition::of).unwrap().unwrap().judge(current.map(Seq))
        };
        assert_eq!(judge(None, Some("\"5\""), Some(5)), Verdict::NotModified);
        assert_eq!(judge(None, Some("W/\"5\""), Some(5)), Verdict::NotModified);
        assert_eq!(judge(None, Some("\"4\", \"5\""), Some(5)), Verdict::NotModified);
        assert_eq!(judge(None, Some("\"4\""), Some(5)), Verdict::Send);
        assert_eq!(judge(None, Some("\"4,5\"\t, W/\"5\""), Some(5)), Verdict::NotModified);
        assert_eq!(judge(None, Some("*"), None), Verdict::Send);
        assert_eq!(judge(Some("\"5\""), None, Some(5)), Verdict::Send);
        assert_eq!(judge(Some("W/\"5\""), None, Some(5)), Verdict::Failed);
        assert_eq!(judge(Some("*"), None, None), Verdict::Failed);
        assert_eq!(judge(Some("\"4\""), Some("\"5\""), Some(5)), Verdict::Failed);
        assert_eq!(with(None, None, ReadCondition::of), Ok(None));
    }
}
