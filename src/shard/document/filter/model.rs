//! The truth once more, in the plainest way: over trees, from the text of the filter, without a parsed filter.
//! And documents and filters at random, with everything in them that is easy to get wrong.

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::shard::document::fields::Fields;
use crate::shard::document::timestamp::parse_rfc3339;

pub fn declared() -> Fields {
    let definition = r#"{"i":"i64","f":"f64","b":"bool","k":"keyword","t":"keyword[]","at":"timestamp",
        "o.n":"i64","o.t":"keyword[]"}"#;
    Fields::parse(definition).unwrap()
}

fn type_of(name: &str) -> &'static str {
    match name {
        "i" | "o.n" => "i64",
        "f" => "f64",
        "b" => "bool",
        "k" => "keyword",
        "t" | "o.t" => "keyword[]",
        "at" => "timestamp",
        _ => "any",
    }
}

/// Everything that a name finds, lists as they are. Names of one part or two.
fn found(document: &Value, name: &str) -> Vec<(Value, bool)> {
    let mut found = Vec::new();
    for (member, value) in document.as_object().unwrap() {
        if member == name {
            found.push((value.clone(), false));
        }
        let Some((outer, inner)) = name.split_once('.') else { continue };
        if member != outer {
            continue;
        }
        match value {
            Value::Object(object) => found.extend(object.get(inner).map(|value| (value.clone(), false))),
            Value::Array(list) => {
                found.extend(
                    list.iter().filter_map(|each| each.get(inner)).map(|value| (value.clone(), true)),
                );
            }
            _ => (),
        }
    }
    found
}

/// The field's values, as its type has them; and whether it is there at all.
fn values(document: &Value, name: &str) -> (bool, Vec<Value>) {
    let found = found(document, name);
    let is_single = !matches!(type_of(name), "any" | "keyword[]");
    let mut values = Vec::new();
    for (value, listed) in &found {
        match value {
            Value::Array(list) if !is_single => values.extend(list.clone()),
            Value::Array(_) => (),
            _ if is_single && *listed => (),
            value => values.push(value.clone()),
        }
    }
    if is_single {
        values.truncate(1);
    }
    (!found.is_empty(), values.iter().filter_map(|value| typed(type_of(name), value)).collect())
}

/// The value as one of the type; `None` when it is none.
fn typed(kind: &str, value: &Value) -> Option<Value> {
    match (kind, value) {
        (_, Value::Null) | ("bool", Value::Bool(_)) | ("any", _) => Some(value.clone()),
        ("keyword" | "keyword[]", Value::String(_)) => Some(value.clone()),
        ("i64" | "timestamp", Value::Number(number)) => {
            let is_whole = |float: f64| float.fract() == 0.0 && float.abs() < 9e18;
            let fits = number.is_i64() || number.as_f64().is_some_and(is_whole);
            fits.then(|| value.clone())
        }
        ("f64", Value::Number(number)) => number.as_f64().map(|float| json!(float)),
        ("timestamp", Value::String(text)) => parse_rfc3339(text).map(|ms| json!(ms)),
        _ => None,
    }
}

/// Numbers here are small or integers, so f64 and i64 together are exact.
fn order(one: &Value, two: &Value) -> Option<Ordering> {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => match (one.as_i64(), two.as_i64()) {
            (Some(one), Some(two)) => Some(one.cmp(&two)),
            _ => one.as_f64()?.partial_cmp(&two.as_f64()?),
        },
        (Value::String(one), Value::String(two)) => Some(one.cmp(two)),
        _ => None,
    }
}

fn equal(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Bool(one), Value::Bool(two)) => one == two,
        _ => order(one, two) == Some(Ordering::Equal),
    }
}

/// As [`super::Filter::matches`].
pub fn holds(filter: &Value, document: &Value) -> bool {
    filter.as_object().unwrap().iter().all(|(name, test)| match name.as_str() {
        "$and" => test.as_array().unwrap().iter().all(|part| holds(part, document)),
        "$or" => test.as_array().unwrap().iter().any(|part| holds(part, document)),
        "$not" => !holds(test, document),
        name => field_holds(name, test, document),
    })
}

fn field_holds(name: &str, test: &Value, document: &Value) -> bool {
    match test {
        Value::Object(operators) => {
            operators.iter().all(|(operator, operand)| operator_holds(name, operator, operand, document))
        }
        value => operator_holds(name, "$eq", value, document),
    }
}

fn operator_holds(name: &str, operator: &str, operand: &Value, document: &Value) -> bool {
    let (is_present, values) = values(document, name);
    let as_typed = |operand: &Value| match (type_of(name), operand) {
        ("i64", number) => number.clone(),
        (kind, operand) => typed(kind, operand).expect("filters at random suit their fields"),
    };
    let is_any = |wanted: &dyn Fn(Ordering) -> bool| {
        values.iter().any(|value| order(value, &as_typed(operand)).is_some_and(wanted))
    };
    let eq = |operand: &Value| match operand {
        Value::Null => !is_present || values.iter().any(Value::is_null),
        operand => values.iter().any(|value| equal(value, &as_typed(operand))),
    };
    match operator {
        "$eq" => eq(operand),
        "$ne" => !eq(operand),
        "$in" => operand.as_array().unwrap().iter().any(eq),
        "$nin" => !operand.as_array().unwrap().iter().any(eq),
        "$gt" => is_any(&Ordering::is_gt),
        "$gte" => is_any(&Ordering::is_ge),
        "$lt" => is_any(&Ordering::is_lt),
        "$lte" => is_any(&Ordering::is_le),
        "$exists" => is_present == operand.as_bool().unwrap(),
        "$not" => !field_holds(name, operand, document),
        other => panic!("no operator {other}"),
    }
}

/// Few distinct ones, so that documents and filters meet.
fn any_number() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-3i64..4).prop_map(|n| json!(n)),
        2 => (-6i64..7).prop_map(|n| json!(n as f64 / 2.0)),
        1 => prop::sample::select(vec![json!(i64::MAX), json!(i64::MIN), json!(9_007_199_254_740_993_i64), json!(1e300)]),
    ]
}

fn any_text() -> impl Strategy<Value = Value> {
    prop::sample::select(vec!["", "a", "b", "ab", "\u{e9}", "1"]).prop_map(|text| json!(text))
}

fn any_time() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(0),
        json!(1),
        json!(-1000),
        json!("1970-01-01T00:00:00Z"),
        json!("1970-01-01T00:00:00.0019Z"),
        json!("1970-01-01T01:00:00+01:00"),
        json!("1969-12-31T23:59:59Z"),
    ])
}

fn any_single() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_number(),
        any_text(),
        any_time(),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        Just(json!({"z": 1})),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => any_single(),
        1 => prop::collection::vec(prop_oneof![4 => any_single(), 1 => Just(json!(["a"]))], 0..3)
            .prop_map(Value::Array),
    ]
}

/// A value that suits the field, mostly.
fn value_for(name: &'static str) -> BoxedStrategy<Value> {
    let suits = match type_of(name) {
        "i64" | "f64" => any_number().boxed(),
        "bool" => any::<bool>().prop_map(Value::Bool).boxed(),
        "keyword" => any_text().boxed(),
        "keyword[]" => prop::collection::vec(any_text(), 0..3).prop_map(Value::Array).boxed(),
        "timestamp" => any_time().boxed(),
        _ => any_value().boxed(),
    };
    prop_oneof![6 => suits, 1 => Just(Value::Null), 1 => any_value()].boxed()
}

fn any_member() -> impl Strategy<Value = (String, Value)> {
    let names = vec!["i", "f", "b", "k", "t", "at", "u", "v", "o.n", "o.t", "w.x"];
    let flat = prop::sample::select(names)
        .prop_flat_map(|name| value_for(name).prop_map(move |value| (name.to_owned(), value)));
    let inside = || {
        prop::collection::btree_map(
            prop::sample::select(vec!["n".to_owned(), "t".to_owned(), "x".to_owned()]),
            any_value(),
            0..3,
        )
        .prop_map(|members| Value::Object(members.into_iter().collect()))
    };
    let inner = prop_oneof![
        3 => inside(),
        1 => prop::collection::vec(prop_oneof![inside(), any_single()], 0..3).prop_map(Value::Array),
        1 => any_value(),
    ];
    let nested =
        (prop::sample::select(vec!["o", "w"]), inner).prop_map(|(name, value)| (name.to_owned(), value));
    prop_oneof![3 => flat, 1 => nested]
}

pub fn any_metadata() -> impl Strategy<Value = Value> {
    prop::collection::vec(any_member(), 0..8).prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn operand_for(name: &'static str) -> BoxedStrategy<Value> {
    match type_of(name) {
        "i64" | "f64" => any_number().boxed(),
        "bool" => any::<bool>().prop_map(Value::Bool).boxed(),
        "keyword" | "keyword[]" => any_text().boxed(),
        "timestamp" => any_time().boxed(),
        _ => prop_oneof![any_number(), any_text(), any::<bool>().prop_map(Value::Bool)].boxed(),
    }
}

fn any_operators(name: &'static str) -> BoxedStrategy<Value> {
    let or_null = || prop_oneof![5 => operand_for(name), 1 => Just(Value::Null)];
    let eq = (prop::sample::select(vec!["$eq", "$ne"]), or_null()).boxed();
    let list = (
        prop::sample::select(vec!["$in", "$nin"]),
        prop::collection::vec(or_null(), 0..4).prop_map(Value::Array),
    )
        .boxed();
    let exists = (Just("$exists"), any::<bool>().prop_map(Value::Bool)).boxed();
    let range = (
        prop::sample::select(vec!["$gt", "$gte", "$lt", "$lte"]),
        operand_for(name).prop_filter("has no order", |operand| !operand.is_boolean()),
    )
        .boxed();
    let operator = if type_of(name) == "bool" {
        prop_oneof![eq, list, exists].boxed()
    } else {
        prop_oneof![2 => eq, 1 => list, 1 => exists, 4 => range].boxed()
    };
    let plain = prop::collection::vec(operator, 1..4)
        .prop_map(|operators| {
            Value::Object(operators.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        })
        .boxed();
    prop_oneof![4 => plain.clone(), 1 => plain.prop_map(|inner| json!({"$not": inner}))].boxed()
}

fn any_test() -> impl Strategy<Value = Value> {
    let names = vec!["i", "f", "b", "k", "t", "at", "u", "v", "o.n", "o.t", "w.x", "w"];
    prop::sample::select(names).prop_flat_map(|name| {
        let bare = prop_oneof![5 => operand_for(name), 1 => Just(Value::Null)];
        prop_oneof![1 => bare, 3 => any_operators(name)].prop_map(move |test| json!({name: test}))
    })
}

fn merged(parts: Vec<Value>) -> Value {
    let members = parts.into_iter().flat_map(|part| part.as_object().unwrap().clone());
    Value::Object(members.collect())
}

pub fn any_filter() -> impl Strategy<Value = Value> {
    prop_oneof![30 => any_test(), 1 => Just(json!({}))].prop_recursive(3, 12, 3, |inner| {
        let parts = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            parts.clone().prop_map(|parts| json!({"$and": parts})),
            parts.clone().prop_map(|parts| json!({"$or": parts})),
            inner.prop_map(|part| json!({"$not": part})),
            parts.prop_map(merged),
        ]
    })
}
