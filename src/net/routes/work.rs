//! A request under way, and its answer when it is there.

use std::mem;
use std::sync::Arc;

use crate::net::entity_tag::{ReadCondition, Verdict};
use crate::net::json::pieces::Records;
use crate::net::json::value;
use crate::net::problem::Problem;
use crate::net::response::{Body, JSON, LocalFuture, Response};
use crate::shard::catalogue::Collection;
use crate::shard::key::{Key, KeyType};
use crate::shard::node::{Answer, Node};
use crate::shard::payload;
use crate::shard::record::{Found, Refusal, Written};

type GetResult = Result<Option<Found>, Refusal>;
type WriteResult = Result<Written, Refusal>;

pub enum Work {
    /// A read that [`look_up`] begins, together with the others of its turn.
    Wanted {
        collection: Arc<Collection>,
        key: Key,
        form: GetForm,
    },
    Get {
        answer: Answer<GetResult>,
        form: GetForm,
        /// What to ask for again, when the value was not read ahead.
        again: Option<Box<(Arc<Collection>, Key)>>,
    },
    Write {
        answer: Answer<WriteResult>,
        form: WriteForm,
    },
    Ready(Response),
    Task(LocalFuture<'static, Response>),
}

/// What of a record is answered.
pub enum GetForm {
    Value(Option<Box<ReadCondition>>),
    /// The log offset as 8 bytes, little-endian.
    Offset,
    /// Key, value and version as JSON.
    Record {
        key: Key,
        key_type: KeyType,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteForm {
    Put,
    Delete,
    /// Log offset and version as JSON.
    Offset,
}

impl Work {
    /// A task whose problems are answers.
    pub fn task(future: impl Future<Output = Result<Response, Problem>> + 'static) -> Work {
        Work::Task(Box::pin(async { future.await.unwrap_or_else(Response::from) }))
    }

    fn wanted(&self) -> Option<(&Arc<Collection>, &Key)> {
        match self {
            Work::Wanted { collection, key, .. } => Some((collection, key)),
            _ => None,
        }
    }

    fn collection(&self) -> Option<*const Collection> {
        self.wanted().map(|(collection, _)| Arc::as_ptr(collection))
    }

    fn begin_alone(&mut self, node: &Node) {
        if let Some((collection, key)) = self.wanted() {
            let answer = node.get(collection, key);
            self.begin(answer);
        }
    }

    fn begin(&mut self, answer: Answer<GetResult>) {
        if let Work::Wanted { form, .. } = self {
            let form = mem::replace(form, GetForm::Offset);
            *self = Work::Get { answer, form, again: None };
        }
    }

    /// As `begin`, with a read ahead: one that is not there at once may have to be asked for again.
    fn begin_ahead(&mut self, answer: Answer<GetResult>) {
        if matches!(answer, Answer::Now(_)) {
            return self.begin(answer);
        }
        let none = Work::Get { answer: Answer::Now(Ok(None)), form: GetForm::Offset, again: None };
        if let Work::Wanted { collection, key, form } = mem::replace(self, none) {
            *self = Work::Get { answer, form, again: Some(Box::new((collection, key))) };
        }
    }

    /// The answer, when nothing has to be waited for.
    pub fn try_finish(self) -> Result<Response, Work> {
        match self {
            Work::Get { answer, form, again } => match try_take(answer) {
                Ok(Err(Refusal::NotAhead)) if again.is_some() => {
                    Err(Work::Get { answer: Answer::Now(Err(Refusal::NotAhead)), form, again })
                }
                Ok(result) => Ok(form.response(result)),
                Err(answer) => Err(Work::Get { answer, form, again }),
            },
            Work::Write { answer, form } => match try_take(answer) {
                Ok(result) => Ok(form.response(result)),
                Err(answer) => Err(Work::Write { answer, form }),
            },
            Work::Ready(response) => Ok(response),
            Work::Wanted { .. } => unreachable!("reads are begun before they are waited for"),
            task => Err(task),
        }
    }

    /// The answer; those before it are sent.
    pub async fn finish(self, node: &Node) -> Response {
        match self {
            Work::Get { answer, form, again } => match (answer.get().await, again) {
                (Err(Refusal::NotAhead), Some(again)) => {
                    form.response(node.get(&again.0, &again.1).get().await)
                }
                (result, _) => form.response(result),
            },
            Work::Write { answer, form } => form.response(answer.get().await),
            Work::Ready(response) => response,
            Work::Wanted { .. } => unreachable!("reads are begun before they are waited for"),
            Work::Task(future) => future.await,
        }
    }
}

/// Begins the reads among these, those of one collection together.
pub fn look_up<'a>(node: &Node, works: impl ExactSizeIterator<Item = &'a mut Work>) {
    let most = works.len();
    let mut wanted = works.filter(|work| work.wanted().is_some());
    let Some(first) = wanted.next() else { return };
    let Some(second) = wanted.next() else { return first.begin_alone(node) };
    let mut all: Vec<&mut Work> = Vec::with_capacity(most);
    all.extend([first, second]);
    all.extend(wanted);
    for batch in all.chunk_by_mut(|a, b| a.collection() == b.collection()) {
        let mut items = Vec::with_capacity(batch.len());
        items.extend(batch.iter().filter_map(|work| work.wanted()));
        let answers = node.get_each(items[0].0, items.iter().map(|(_, key)| *key));
        batch.iter_mut().zip(answers).for_each(|(work, answer)| work.begin_ahead(answer));
    }
}

fn try_take<T>(answer: Answer<T>) -> Result<T, Answer<T>> {
    match answer {
        Answer::Now(value) => Ok(value),
        Answer::Later(pending) => pending.try_take().ok_or(Answer::Later(pending)),
    }
}

impl GetForm {
    fn response(self, result: GetResult) -> Response {
        match (self, result) {
            (_, Err(refusal)) => Problem::from(refusal).into(),
            (GetForm::Value(Some(condition)), Ok(found)) => conditional(&condition, found),
            (_, Ok(None)) => Problem::absent().into(),
            (GetForm::Value(None), Ok(Some(found))) => whole(found),
            (GetForm::Offset, Ok(Some(found))) => {
                Response::bytes(200, payload::OCTET_STREAM, found.lsn.0.to_le_bytes().to_vec())
            }
            (GetForm::Record { key, key_type }, Ok(Some(found))) => {
                Records::bare(key_type, false, std::iter::once((key, Some(found)))).into_response()
            }
        }
    }
}

fn whole(found: Found) -> Response {
    let mut response = Response::new(200, Body::Value(found.payload));
    response.version = Some(found.seq);
    response
}

fn conditional(condition: &ReadCondition, found: Option<Found>) -> Response {
    let current = found.as_ref().map(|found| found.seq);
    match (condition.judge(current), found) {
        (Verdict::Failed, _) => Problem::from(Refusal::ConditionFailed { current }).into(),
        (Verdict::NotModified, _) => {
            let mut response = Response::empty(304);
            response.version = current;
            response
        }
        (Verdict::Send, Some(found)) => whole(found),
        (Verdict::Send, None) => Problem::absent().into(),
    }
}

impl WriteForm {
    fn response(self, result: WriteResult) -> Response {
        let written = match result {
            Ok(written) => written,
            Err(refusal) => return Problem::from(refusal).into(),
        };
        let mut response = match self {
            WriteForm::Put => Response::empty(put_status(&written)),
            WriteForm::Delete => Response::empty(204),
            WriteForm::Offset => Response::bytes(200, JSON, offset_json(&written)),
        };
        if self == WriteForm::Put {
            response.version = Some(written.seq);
        }
        response.written = Some(written);
        response
    }
}

pub fn put_status(written: &Written) -> u16 {
    if written.created { 201 } else { 204 }
}

fn offset_json(written: &Written) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(b"{\"offset\":");
    value::append_number(written.lsn.0, &mut bytes);
    bytes.extend_from_slice(b",\"seq\":");
    value::append_number(written.seq.0, &mut bytes);
    bytes.push(b'}');
    bytes
}
