//! `POST /v1/kv/{collection}/bulk` and `POST /v1/collections/{collection}/bulk`: what a line asks for, and the line
//! that answers it.

use std::sync::Arc;

use super::documents::{documents, new_id, schema};
use super::work::put_status;
use super::{durability, is_ndjson, kv, no_parameters, once, require_type, values};
use crate::net::coding::Coding;
use crate::net::json::object::{self, JsonObject};
use crate::net::json::value::{self, ValueText};
use crate::net::lines::Line;
use crate::net::parser::head::Head;
use crate::net::problem::Problem;
use crate::net::response::NDJSON;
use crate::net::ttl;
use crate::shard::catalogue::Collection;
use crate::shard::document::parse::{self, NewDocument};
use crate::shard::key::{Key, KeyType};
use crate::shard::node::Node;
use crate::shard::payload::Payload;
use crate::shard::record::{Change, Condition, Durability, Expiry, Found, Refusal, Write, Written};
use crate::types::{Seq, WallMs};

/// What holds for all lines of a bulk.
pub struct Plan {
    pub collection: Arc<Collection>,
    pub durability: Durability,
    /// Of the body.
    pub coding: Option<Coding>,
    /// Of documents.
    expires: Option<Expiry>,
    /// Makes ids.
    node: Node,
}

pub fn plan(node: &Node, head: &Head<'_>, name: &str) -> Result<Plan, Problem> {
    no_parameters(head)?;
    require_type(head, NDJSON, is_ndjson)?;
    let coding = Coding::of_body(head)?;
    let collection = values(node, name)?;
    refuse_what_is_of_one_record(head)?;
    let durability = durability(node, head, &collection)?;
    Ok(Plan { collection, durability, coding, expires: None, node: node.clone() })
}

/// Of a collection of documents.
pub fn plan_documents(node: &Node, head: &Head<'_>, name: &str) -> Result<Plan, Problem> {
    let expires = kv::take_ttl(head)?;
    require_type(head, NDJSON, is_ndjson)?;
    let coding = Coding::of_body(head)?;
    let collection = documents(node, name)?;
    refuse_what_is_of_one_record(head)?;
    let durability = durability(node, head, &collection)?;
    Ok(Plan { collection, durability, coding, expires, node: node.clone() })
}

/// Each line is a request of its own. Passed over, the header would promise what nobody keeps.
fn refuse_what_is_of_one_record(head: &Head<'_>) -> Result<(), Problem> {
    let fields = &head.fields;
    let given = [
        (once::HEADER, fields.idempotency_key().is_some()),
        ("If-Match", fields.if_match().is_some()),
        ("If-None-Match", fields.if_none_match().is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Problem::header(name, "is for a request that writes one record, not for a bulk"))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Operation {
    Get(Key),
    Write(Write),
    /// Of a document: its id is told.
    Document(Write),
}

impl Plan {
    /// What a line asks for.
    pub fn decode(&self, line: Line<'_>) -> Result<Operation, Problem> {
        let decoded = match line {
            Line::Whole(line) if self.collection.definition.documents.is_some() => self.decode_document(line),
            Line::Whole(line) => decode_line(line, self.collection.definition.key_type, self.durability),
            Line::TooLong => Err(Problem::new(413, "line_too_long", "the line is too long")),
        };
        decoded.map_err(of_line)
    }
}

/// What is the body of a request of one record is a line here.
fn of_line(problem: Problem) -> Problem {
    match problem.detail.strip_prefix("the body") {
        Some(rest) => Problem { detail: format!("the line{rest}").into(), ..problem },
        None => problem,
    }
}

impl Plan {
    fn decode_document(&self, line: &[u8]) -> Result<Operation, Problem> {
        let key_type = self.collection.definition.key_type;
        let (key, change, condition) =
            match parse::parse_line(line, &schema(&self.collection).shape(key_type)) {
                Ok(NewDocument { id, encoded, ttl, expires_ms }) => {
                    // An id that was made up replaces nothing.
                    let condition = if id.is_some() { Condition::None } else { Condition::Absent };
                    let key = id.unwrap_or_else(|| new_id(&self.node, key_type));
                    let payload = Payload::document(&encoded);
                    let expires = expiry_of(ttl.as_deref(), expires_ms)?.or(self.expires);
                    (key, Change::Put { payload, expires }, condition)
                }
                Err(invalid) if invalid.pointer == "/op" => {
                    (decode_delete(line, key_type)?, Change::Delete, Condition::None)
                }
                Err(invalid) => return Err(invalid.into()),
            };
        let durability = self.durability;
        Ok(Operation::Document(Write { key, change, condition, durability, once: None }))
    }
}

/// `{"op":"delete","id":..}`
fn decode_delete(line: &[u8], key_type: KeyType) -> Result<Key, Problem> {
    let mut members = JsonObject::parse(line)?;
    if object::text(members.required("op")?, "/op")? != "delete" {
        return Err(Problem::wrong("/op", "is not \"delete\"; a document to be put is a line without one"));
    }
    let key = value::key_from_json(members.required("id")?, key_type, "/id")?;
    members.finish()?;
    Ok(key)
}

fn decode_line(line: &[u8], key_type: KeyType, durability: Durability) -> Result<Operation, Problem> {
    let mut members = JsonObject::parse(line)?;
    let op = object::text(members.required("op")?, "/op")?;
    let key = value::key_from_json(members.required("key")?, key_type, "/key")?;
    let change = match op.as_ref() {
        "get" => {
            members.finish()?;
            return Ok(Operation::Get(key));
        }
        "put" => take_put(&mut members)?,
        "delete" => Change::Delete,
        _ => return Err(Problem::wrong("/op", "is none of put, delete, get")),
    };
    let condition = take_condition(&mut members)?;
    members.finish()?;
    Ok(Operation::Write(Write { key, change, condition, durability, once: None }))
}

fn take_put(members: &mut JsonObject<'_>) -> Result<Change, Problem> {
    Ok(Change::Put { payload: take_payload(members)?, expires: take_expiry(members)? })
}

fn take_expiry(members: &mut JsonObject<'_>) -> Result<Option<Expiry>, Problem> {
    let ttl = members.optional("ttl").map(|ttl| object::text(ttl, "/ttl")).transpose()?;
    let at = members.optional("expires_ms");
    let at = at.map(|at| object::typed(at, "/expires_ms", "milliseconds since 1970")).transpose()?;
    expiry_of(ttl.as_deref(), at)
}

/// `ttl` counts from the write; `expires_ms` is the moment itself, as an export has it, and may have passed.
fn expiry_of(ttl: Option<&str>, expires_ms: Option<u64>) -> Result<Option<Expiry>, Problem> {
    match (ttl, expires_ms) {
        (None, None) => Ok(None),
        (Some(ttl), None) => ttl::expiry(ttl).map(Some).map_err(|what| Problem::wrong("/ttl", what)),
        (None, Some(at)) => Ok(Some(Expiry::At(WallMs(at)))),
        (Some(_), Some(_)) => Err(Problem::wrong("/expires_ms", "cannot be given beside a ttl")),
    }
}

fn take_payload(members: &mut JsonObject<'_>) -> Result<Payload, Problem> {
    let content_type = members.optional("content_type");
    let content_type = content_type.map(|raw| value::content_type_from_json(raw, "/content_type"));
    let content_type = content_type.transpose()?;
    match (members.take("value"), members.take("value_b64")) {
        (Some(value), None) => value::payload_from_json(value, content_type.as_deref(), "/value"),
        (None, Some(value)) => value::payload_from_base64(value, content_type.as_deref(), "/value_b64"),
        (None, None) => Err(Problem::wrong("/value", "is missing")),
        (Some(_), Some(_)) => Err(Problem::wrong("/value_b64", "cannot be given beside a value")),
    }
}

fn take_condition(members: &mut JsonObject<'_>) -> Result<Condition, Problem> {
    match members.optional("if_seq") {
        None => Ok(Condition::None),
        Some(seq) => object::typed(seq, "/if_seq", "a version number").map(|seq| Condition::SeqIs(Seq(seq))),
    }
}

// ---- the lines of the answer, each with its end

pub fn append_written(result: &Result<Written, Refusal>, is_put: bool, out: &mut Vec<u8>) {
    match result {
        Ok(written) => append_status(if is_put { put_status(written) } else { 204 }, Some(written.seq), out),
        Err(refusal) => return append_problem(&Problem::from(*refusal), out),
    }
    out.extend_from_slice(b"}\n");
}

/// That of a document.
pub fn append_document(
    result: &Result<Written, Refusal>,
    (key, is_put): &(Key, bool),
    key_type: KeyType,
    out: &mut Vec<u8>,
) {
    match result {
        Ok(written) => {
            let put = if written.created { 201 } else { 200 };
            append_status(if *is_put { put } else { 204 }, Some(written.seq), out);
        }
        Err(refusal) => return append_problem(&Problem::from(*refusal), out),
    }
    out.extend_from_slice(b",\"id\":");
    value::append_key(key, key_type, out);
    out.extend_from_slice(b"}\n");
}

/// The line of a record that was read, made piece by piece: a value may be large.
pub struct FoundLine {
    found: Found,
    value: ValueText,
}

impl FoundLine {
    pub fn begin(found: Found, out: &mut Vec<u8>) -> FoundLine {
        append_status(200, Some(found.seq), out);
        out.push(b',');
        FoundLine { value: ValueText::of(&found.payload, false), found }
    }

    /// True when there is more.
    pub fn append_piece(&mut self, out: &mut Vec<u8>) -> bool {
        let more = self.value.append_piece(&self.found.payload, out);
        if !more {
            out.extend_from_slice(b"}\n");
        }
        more
    }
}

pub fn append_problem(problem: &Problem, out: &mut Vec<u8>) {
    append_status(problem.status, problem.current, out);
    out.extend_from_slice(b",\"code\":\"");
    out.extend_from_slice(problem.code.as_bytes());
    out.extend_from_slice(b"\",\"detail\":");
    value::append_string(&problem.detail, out);
    out.extend_from_slice(b"}\n");
}

fn append_status(status: u16, seq: Option<Seq>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"status\":");
    value::append_number(u64::from(status), out);
    if let Some(seq) = seq {
        out.extend_from_slice(b",\"seq\":");
        value::append_number(seq.0, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::payload;
    use crate::types::Lsn;

    fn decode(line: &str) -> Result<Operation, (u16, String)> {
        decode_line(line.as_bytes(), KeyType::U64, Durability::Interval).map_err(|problem| {
            let pointer = problem.errors.first().map(|error| error.pointer.clone());
            (problem.status, pointer.unwrap_or_default())
        })
    }

    #[test]
    fn lines_become_operations() {
        assert_eq!(decode(r#"{"op":"get","key":7}"#), Ok(Operation::Get(Key::from_u64(7))));
        let write = |change, condition| {
            Ok(Operation::Write(Write {
                key: Key::from_u64(7),
                change,
                condition,
                durability: Durability::Interval,
                once: None,
            }))
        };
        let payload = Payload::new(payload::TEXT, b"a");
        assert_eq!(
            decode(r#"{"op":"put","key":7,"value":"a","ttl":"2s","if_seq":3}"#),
            write(Change::Put { payload, expires: Some(Expiry::In(2000)) }, Condition::SeqIs(Seq(3)))
        );
        let payload = Payload::new(payload::OCTET_STREAM, b"\xff\0");
        assert_eq!(
            decode("{\"op\":\"put\",\"key\":7,\"value_b64\":\"/wA=\"}\r"),
            write(Change::Put { payload, expires: None }, Condition::None)
        );
        let payload = Payload::new("text/html", b"1");
        assert_eq!(
            decode(r#"{"op":"put","key":7,"value":"1","content_type":"text/html","expires_ms":5}"#),
            write(Change::Put { payload, expires: Some(Expiry::At(WallMs(5))) }, Condition::None)
        );
        assert_eq!(
            decode(r#"{"op":"delete","key":7,"if_seq":null}"#),
            write(Change::Delete, Condition::None)
        );
    }

    #[test]
    fn wrong_lines_say_where() {
        for (line, status, pointer) in [
            ("", 400, ""),
            ("x", 400, ""),
            ("[]", 422, ""),
            (r#"{"key":7}"#, 422, "/op"),
            (r#"{"op":"get"}"#, 422, "/key"),
            (r#"{"op":"get","key":"7"}"#, 422, "/key"),
            (r#"{"op":"add","key":7}"#, 422, "/op"),
            (r#"{"op":1,"key":7}"#, 422, "/op"),
            (r#"{"op":"get","key":7,"value":1}"#, 422, "/value"),
            (r#"{"op":"put","key":7}"#, 422, "/value"),
            (r#"{"op":"put","key":7,"value":1,"value_b64":""}"#, 422, "/value_b64"),
            (r#"{"op":"put","key":7,"value_b64":"_"}"#, 422, "/value_b64"),
            (r#"{"op":"put","key":7,"value":1,"ttl":30}"#, 422, "/ttl"),
            (r#"{"op":"put","key":7,"value":1,"ttl":"30"}"#, 422, "/ttl"),
            (r#"{"op":"put","key":7,"value":1,"expires_ms":-1}"#, 422, "/expires_ms"),
            (r#"{"op":"put","key":7,"value":1,"ttl":"1s","expires_ms":1}"#, 422, "/expires_ms"),
            (r#"{"op":"put","key":7,"value":1,"content_type":""}"#, 422, "/content_type"),
            (r#"{"op":"put","key":7,"value":1,"content_type":" a"}"#, 422, "/content_type"),
            (r#"{"op":"put","key":7,"value":1,"content_type":"a\r\nb"}"#, 422, "/content_type"),
            (r#"{"op":"put","key":7,"value":1,"if_seq":"3"}"#, 422, "/if_seq"),
            (r#"{"op":"delete","key":7,"ttl":"1s"}"#, 422, "/ttl"),
        ] {
            assert_eq!(decode(line), Err((status, pointer.to_owned())), "{line}");
        }
    }

    #[test]
    fn answers_are_lines() {
        let written = |created| Written {
            lsn: Lsn(1),
            seq: Seq(9),
            created,
            reached: Durability::Fsync,
            replayed: false,
        };
        let line = |result: Result<Written, Refusal>, is_put| {
            let mut out = Vec::new();
            append_written(&result, is_put, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(line(Ok(written(true)), true), "{\"status\":201,\"seq\":9}\n");
        assert_eq!(line(Ok(written(false)), true), "{\"status\":204,\"seq\":9}\n");
        assert_eq!(line(Ok(written(false)), false), "{\"status\":204,\"seq\":9}\n");
        assert_eq!(
            line(Err(Refusal::ConditionFailed { current: Some(Seq(4)) }), true),
            "{\"status\":412,\"seq\":4,\"code\":\"condition_failed\",\
             \"detail\":\"the record is at version 4\"}\n"
        );
        let mut out = Vec::new();
        append_problem(&Problem::absent(), &mut out);
        assert!(out.starts_with(b"{\"status\":404,\"code\":\"no_such_record\""));
    }
}
