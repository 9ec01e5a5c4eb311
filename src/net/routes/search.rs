//! `POST /v1/collections/{collection}/search` and `/count`.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use xxhash_rust::xxh3::Xxh3;

use super::documents::{documents, schema};
use super::{Work, json_body, no_parameters};
use crate::limits;
use crate::net::json::hits::HitsBody;
use crate::net::json::object::{self, JsonObject};
use crate::net::json::pieces::respond;
use crate::net::json::schema::MetricName;
use crate::net::parser::Request;
use crate::net::problem::Problem;
use crate::net::response::Response;
use crate::net::search_cursor::SearchCursor;
use crate::shard::catalogue::Collection;
use crate::shard::document::embedding::EmbeddingShape;
use crate::shard::document::filter::Filter;
use crate::shard::document::invalid::{Invalid, Reason};
use crate::shard::document::json::{Json, Scanner};
use crate::shard::document::render::Shown;
use crate::shard::document::schema::Schema;
use crate::shard::node::Node;
use crate::shard::search::gather::{self, Gathered, Page};
use crate::shard::search::query::{Found, PartAccount, Query};

/// What is asked beside the query itself.
struct Wishes {
    /// See [`SearchCursor::asked`].
    asked: u64,
    limit: usize,
    shown: Shown,
    score: bool,
    min_score: Option<f32>,
    cursor: Option<SearchCursor>,
    explain: bool,
    /// Fields of the filter that no index knows.
    undeclared: Vec<String>,
}

pub fn search(node: &Node, request: &Request<'_>, name: &str) -> Result<Work, Problem> {
    no_parameters(&request.head)?;
    let collection = documents(node, name)?;
    let (query, wishes) = decode(json_body(request)?, &collection)?;
    let node = node.clone();
    Ok(Work::task(async move { carry_out(node, collection, query, wishes).await }))
}

fn decode(mut body: JsonObject<'_>, collection: &Collection) -> Result<(Query, Wishes), Problem> {
    let schema = schema(collection);
    let shape = schema.embedding.ok_or_else(nothing_to_search)?;
    let vector = take_vector(&mut body, &shape)?;
    let asked = asked(&vector, body.peek("filter"));
    let filter = take_filter(&mut body, schema)?;
    let limit = take_number(&mut body, "limit", limits::SEARCH_HITS_MAX)?.unwrap_or(10);
    let cursor = take_cursor(&mut body, collection, asked)?;
    let seen = cursor.as_ref().map_or(0, |cursor| cursor.seen as usize);
    if seen + limit > limits::SEARCH_DEPTH_HITS_MAX {
        let detail =
            format!("goes deeper than {} hits; a filter leads further", limits::SEARCH_DEPTH_HITS_MAX);
        return Err(Problem::wrong("/cursor", detail));
    }
    let (shown, score) = take_include(&mut body)?;
    let undeclared =
        filter.iter().flat_map(|filter| filter.undeclared().into_iter().map(str::to_owned)).collect();
    let wishes = Wishes {
        asked,
        limit,
        shown,
        score,
        min_score: take(&mut body, "min_score", "a number")?,
        cursor,
        explain: take(&mut body, "explain", "true or false")?.unwrap_or(false),
        undeclared,
    };
    let query = Query {
        vector: Some(vector),
        filter,
        limit: seen + limit + 1,
        ef: take_number(&mut body, "ef", limits::SEARCH_WIDTH_ENTRIES_MAX)?,
        is_exact: take(&mut body, "exact", "true or false")?.unwrap_or(false),
    };
    body.finish()?;
    Ok((query, wishes))
}

fn asked(vector: &[f32], filter: Option<&RawValue>) -> u64 {
    let mut hash = Xxh3::new();
    vector.iter().for_each(|number| hash.update(&number.to_le_bytes()));
    hash.update(filter.map_or("", RawValue::get).as_bytes());
    hash.digest()
}

fn take_cursor(
    body: &mut JsonObject<'_>,
    collection: &Collection,
    asked: u64,
) -> Result<Option<SearchCursor>, Problem> {
    let Some(raw) = body.optional("cursor") else { return Ok(None) };
    let cursor = SearchCursor::from_text(&object::text(raw, "/cursor")?, collection.id)
        .ok_or_else(|| Problem::wrong("/cursor", "is no cursor of a search of this collection"))?;
    if cursor.asked == asked {
        Ok(Some(cursor))
    } else {
        Err(Problem::wrong("/cursor", "belongs to a search with another embedding or filter"))
    }
}

fn nothing_to_search() -> Problem {
    let detail = "the collection has no embeddings to search: POST to /count below it counts what a filter lets \
                  through, GET /v1/kv/{collection} scans";
    Problem::new(422, "invalid_body", detail).at("", detail)
}

fn take<T: serde::de::DeserializeOwned>(
    body: &mut JsonObject<'_>,
    name: &str,
    expected: &str,
) -> Result<Option<T>, Problem> {
    body.optional(name).map(|raw| object::typed(raw, &format!("/{name}"), expected)).transpose()
}

fn take_number(body: &mut JsonObject<'_>, name: &str, max: usize) -> Result<Option<usize>, Problem> {
    let expected = format!("an integer from 1 to {max}");
    match take(body, name, &expected)? {
        Some(number) if !(1..=max).contains(&number) => {
            Err(Problem::wrong(format!("/{name}"), format!("is not {expected}")))
        }
        number => Ok(number),
    }
}

fn take_vector(body: &mut JsonObject<'_>, shape: &EmbeddingShape) -> Result<Vec<f32>, Problem> {
    let shape = shape.of_query();
    let mut bytes = Vec::with_capacity(shape.bytes());
    let read = match (body.optional("embedding"), body.optional("embedding_b64")) {
        (Some(raw), None) => shape
            .read_list(&mut Scanner::new(raw.get(), limits::METADATA_DEPTH_ENTRIES_MAX), &mut bytes)
            .map_err(|invalid| invalid.below("embedding")),
        (None, Some(raw)) => {
            shape.read_base64(Json(raw.get()), &mut bytes).map_err(|invalid| invalid.below("embedding_b64"))
        }
        (Some(_), Some(_)) => Err(Invalid::new(Reason::BothEmbeddings).below("embedding_b64")),
        (None, None) => return Err(Problem::wrong("/embedding", "is missing")),
    };
    read?;
    Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes"))).collect())
}

fn take_filter(body: &mut JsonObject<'_>, schema: &Schema) -> Result<Option<Filter>, Problem> {
    let parse = |raw: &RawValue| Filter::parse(raw.get(), &schema.fields);
    let filter = body.optional("filter").map(parse).transpose();
    filter.map_err(|invalid| invalid.below("filter").into())
}

/// Which parts are shown, and whether the score is.
fn take_include(body: &mut JsonObject<'_>) -> Result<(Shown, bool), Problem> {
    let Some(raw) = body.optional("include") else {
        return Ok((Shown { text: false, embedding: false, metadata: true }, true));
    };
    let (mut shown, mut score) = (Shown { text: false, embedding: false, metadata: false }, false);
    for (index, part) in object::array(raw, "/include")?.into_iter().enumerate() {
        let pointer = format!("/include/{index}");
        match object::text(part, &pointer)?.as_ref() {
            "text" => shown.text = true,
            "embedding" => shown.embedding = true,
            "metadata" => shown.metadata = true,
            "score" => score = true,
            _ => return Err(Problem::wrong(pointer, "is none of metadata, text, embedding, score")),
        }
    }
    Ok((shown, score))
}

async fn carry_out(
    node: Node,
    collection: Arc<Collection>,
    query: Query,
    wishes: Wishes,
) -> Result<Response, Problem> {
    let ef = query.ef;
    let before = wishes.cursor.as_ref().map_or(0, |cursor| cursor.seen);
    let after = wishes.cursor.map(|cursor| (cursor.score, cursor.key));
    let page = Page { after, min_score: wishes.min_score, limit: wishes.limit };
    let Gathered { found, records, more } =
        gather::search(&node, &collection, query, &page, wishes.shown).await?;
    let next = found.hits.last().filter(|_| more).map(|hit| SearchCursor {
        asked: wishes.asked,
        seen: before + found.hits.len() as u32,
        score: hit.score,
        key: hit.key.clone(),
    });
    let told = wishes.explain.then(|| explain(&found, ef, &wishes.undeclared));
    let hits = found.hits.into_iter().zip(records).collect();
    let metric = schema(&collection).embedding.map(|shape| MetricName::of(shape.metric));
    let mut tail = json!({ "metric": metric });
    if let Some(next) = next {
        tail["cursor"] = next.to_text(collection.id).into();
    }
    if let Some(told) = told {
        tail["explain"] = told;
    }
    respond(HitsBody::new(hits, collection.definition.key_type, wishes.shown, wishes.score, &tail))
}

fn explain(found: &Found, ef: Option<usize>, undeclared: &[String]) -> Value {
    let part = |part: &PartAccount| {
        let account = &part.account;
        json!({
            "plan": account.plan.name(),
            "sealed": part.is_sealed,
            "documents": part.documents,
            "admitted": account.admitted,
            "ef": part.width,
            "fell_back_to_scan": account.fell_back,
            "codes_looked_at": account.effort.coarse,
            "distances_computed": account.effort.fine,
            "visited": account.effort.visits,
            "originals_ranked": account.ranked,
        })
    };
    let recall = match ef {
        None => "ef is what each graph was measured to need for a recall@10 of 0.98",
        Some(_) => "ef as asked for",
    };
    let mut told = json!({
        "documents": found.documents,
        "matching": found.matching,
        "metadata_looked_at": found.looked_at,
        "parts": found.parts.iter().map(part).collect::<Vec<_>>(),
        "recall": recall,
        "filter_us": found.filter_time.as_micros() as u64,
        "search_us": found.search_time.as_micros() as u64,
    });
    if !undeclared.is_empty() {
        let names = undeclared.join(", ");
        told["note"] = format!("not declared, so the metadata was looked at: {names}").into();
    }
    told
}

pub fn count(node: &Node, request: &Request<'_>, name: &str) -> Result<Work, Problem> {
    no_parameters(&request.head)?;
    let collection = documents(node, name)?;
    let mut body = json_body(request)?;
    let filter = take_filter(&mut body, schema(&collection))?;
    body.finish()?;
    let node = node.clone();
    Ok(Work::task(async move {
        let query = Query { vector: None, filter, limit: 0, ef: None, is_exact: false };
        let found = gather::find(&node, &collection, &Arc::new(query)).await?;
        Ok(Response::json(200, &json!({ "count": found.matching })))
    }))
}
