//! Before the first load of a collection: cut it by a sample of the keys to come, so that the load spreads over the
//! shards. A server that does not want to is left alone.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;

/// Keys of a file that are looked at.
pub const SAMPLE_KEYS: u64 = 10_000;
/// With more records than this a collection is cut by its own keys, not by those of a file.
const ALMOST_EMPTY_RECORDS: u64 = 1_000;

/// `GET /v1/router`.
#[derive(Deserialize)]
pub struct Router {
    pub shards: usize,
    pub collections: Vec<Collection>,
}

#[derive(Deserialize)]
pub struct Collection {
    pub name: String,
    pub records: u64,
    pub tablets: Vec<IgnoredAny>,
}

impl Router {
    /// `None` when it is none of this key's business.
    pub fn ask(client: &Client) -> Result<Option<Router>, Failure> {
        match client.get("/v1/router", &[]) {
            Ok(answer) => answer.json().map(Some),
            Err(Failure::Refused(refused)) if refused.status == 403 => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// `sample` gives keys of the file. Tells on stderr what was done, when something was.
pub fn spread(
    client: &Client,
    collection: &str,
    sample: impl FnOnce() -> Result<Vec<Value>, Failure>,
) -> Result<(), Failure> {
    let Some(router) = Router::ask(client)? else { return Ok(()) };
    let wants_cuts = |found: &&Collection| {
        found.name == collection && found.tablets.len() == 1 && found.records <= ALMOST_EMPTY_RECORDS
    };
    if router.shards < 2 || !router.collections.iter().any(|found| wants_cuts(&found)) {
        return Ok(());
    }
    cut(client, collection, separators(sample()?, router.shards))
}

fn cut(client: &Client, collection: &str, split_at: Vec<Value>) -> Result<(), Failure> {
    if split_at.is_empty() {
        return Ok(());
    }
    let parts = split_at.len() + 1;
    let body = json!({ "collection": collection, "split_at": split_at });
    match client.post_json("/v1/router/rebalance", &body) {
        Ok(_) => eprintln!("cut the collection in {parts} ranges by a sample of the keys"),
        Err(Failure::Refused(refused)) => eprintln!("the collection stays as it is cut: {refused}"),
        Err(other) => return Err(other),
    }
    Ok(())
}

/// First keys of all ranges but the first: the quantiles of the sample, each once.
fn separators(mut sample: Vec<Value>, ranges: usize) -> Vec<Value> {
    sample.sort_by(|a, b| order_of(a).cmp(&order_of(b)));
    let lowest = sample.first().cloned();
    let mut found: Vec<Value> =
        (1..ranges).filter_map(|part| sample.get(part * sample.len() / ranges).cloned()).collect();
    found.dedup();
    // A range that starts at the lowest key leaves nothing for the one before it.
    found.retain(|key| Some(key) != lowest.as_ref());
    found
}

/// The order of the server: numbers by size, texts by bytes.
fn order_of(key: &Value) -> (Option<u64>, Option<&str>) {
    (key.as_u64(), key.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(keys: impl IntoIterator<Item = u64>) -> Vec<Value> {
        keys.into_iter().map(Value::from).collect()
    }

    #[test]
    fn separators_are_quantiles_in_key_order() {
        assert_eq!(separators(numbers((0..1000).rev()), 4), numbers([250, 500, 750]));
        // As numbers, not as texts.
        assert_eq!(separators(numbers([9, 10, 11, 100]), 2), numbers([11]));
        let texts: Vec<Value> = ["b", "a", "d", "c"].map(Value::from).to_vec();
        assert_eq!(separators(texts, 2), [Value::from("c")]);
    }

    #[test]
    fn few_or_equal_keys_give_fewer_ranges() {
        assert_eq!(separators(Vec::new(), 8), numbers([]));
        assert_eq!(separators(numbers([5; 100]), 8), numbers([]));
        assert_eq!(separators(numbers([1, 2]), 8), numbers([2]));
    }
}
