//! What a filter means, decided over trees in the plainest way; and which filters are refused.

use std::cmp::Ordering;

pub const DECLARED: [(&str, &str); 8] = [
    ("i", "i64"),
    ("f", "f64"),
    ("b", "bool"),
    ("k", "keyword"),
    ("t", "keyword[]"),
    ("at", "timestamp"),
    ("o.n", "i64"),
    ("o.t", "keyword[]"),
];
/// With a few that are not declared.
pub const NAMES: [&str; 13] = ["i", "f", "b", "k", "t", "at", "o.n", "o.t", "u", "v", "w", "w.x", "w.x.y"];

pub fn type_of(name: &str) -> &'static str {
    DECLARED.iter().find(|(declared, _)| *declared == name).map_or("any", |(_, kind)| kind)
}

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

// ---- the evaluator: values

/// What a field has that tests can see.
#[derive(Clone, Debug)]
pub enum Value {
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
}

/// Digits alone are exact, everything else is the nearest f64.
fn number(text: &str) -> Value {
    text.parse().map(Value::Int).unwrap_or_else(|_| Value::Float(text.parse().expect("a number")))
}

fn whole(text: &str) -> Option<Value> {
    let value = match number(text) {
        Value::Float(float) if float.fract() == 0.0 && float.abs() < 1e30 => float as i128,
        Value::Int(int) => int,
        _ => return None,
    };
    i64::try_from(value).ok().map(|int| Value::Int(int.into()))
}

fn rounded(text: &str) -> Option<Value> {
    let float: f64 = text.parse().expect("a number");
    float.is_finite().then_some(Value::Float(float))
}

/// A value that is not null as one of the type; `None` when it is none.
fn typed(kind: &str, json: &Json) -> Option<Value> {
    match (kind, json) {
        ("any" | "bool", Json::Bool(is)) => Some(Value::Bool(*is)),
        ("any", Json::Number(text)) => Some(number(text)),
        ("any" | "keyword" | "keyword[]", Json::Text(text)) => Some(Value::Text(text.clone())),
        ("i64" | "timestamp", Json::Number(text)) => whole(text),
        ("f64", Json::Number(text)) => rounded(text),
        ("timestamp", Json::Text(text)) => moment(text).map(|ms| Value::Int(ms.into())),
        _ => None,
    }
}

/// `None` for values of two kinds, and for truth values, which have no order.
fn order(one: &Value, two: &Value) -> Option<Ordering> {
    match (one, two) {
        (Value::Int(one), Value::Int(two)) => Some(one.cmp(two)),
        (Value::Float(one), Value::Float(two)) => one.partial_cmp(two),
        (Value::Int(int), Value::Float(float)) => Some(int_to_float(*int, *float)),
        (Value::Float(float), Value::Int(int)) => Some(int_to_float(*int, *float).reverse()),
        (Value::Text(one), Value::Text(two)) => Some(one.chars().cmp(two.chars())),
        _ => None,
    }
}

fn int_to_float(int: i128, float: f64) -> Ordering {
    if float.abs() > 1e37 {
        return if float > 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    let towards_zero = float.trunc();
    int.cmp(&(towards_zero as i128)).then(0.0_f64.partial_cmp(&(float - towards_zero)).expect("no NaN"))
}

fn equal(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Bool(one), Value::Bool(two)) => one == two,
        _ => order(one, two) == Some(Ordering::Equal),
    }
}

fn digits(text: &str, from: usize, to: usize) -> Option<i64> {
    let part = text.get(from..to)?;
    part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().expect("digits"))
}

fn is(text: &str, at: usize, any: &str) -> bool {
    text.get(at..=at).is_some_and(|found| any.contains(found))
}

/// RFC 3339 to milliseconds since 1970.
fn moment(text: &str) -> Option<i64> {
    if !(is(text, 4, "-")
        && is(text, 7, "-")
        && is(text, 10, "Tt ")
        && is(text, 13, ":")
        && is(text, 16, ":"))
    {
        return None;
    }
    let days = days_since_1970(digits(text, 0, 4)?, digits(text, 5, 7)?, digits(text, 8, 10)?)?;
    let (hour, minute, second) = (digits(text, 11, 13)?, digits(text, 14, 16)?, digits(text, 17, 19)?);
    let rest = text.get(19..)?;
    let (ms, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let zone = rest.trim_start_matches(|character: char| character.is_ascii_digit());
            let fraction = &rest[..rest.len() - zone.len()];
            if fraction.is_empty() {
                return None;
            }
            (format!("{fraction:0<3}")[..3].parse().expect("digits"), zone)
        }
    };
    // A leap second is the last millisecond of the second before.
    let (second, ms) = if second == 60 { (59, 999) } else { (second, ms) };
    let exists = hour < 24 && minute < 60 && second < 60;
    exists.then_some((((days * 24 + hour) * 60 + minute - minutes_east(zone)?) * 60 + second) * 1000 + ms)
}

fn minutes_east(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    if !(zone.len() == 6 && is(zone, 0, "+-") && is(zone, 3, ":")) {
        return None;
    }
    let (hours, minutes) = (digits(zone, 1, 3)?, digits(zone, 4, 6)?);
    let east = hours * 60 + minutes;
    (hours < 24 && minutes < 60).then_some(if is(zone, 0, "+") { east } else { -east })
}

/// Counted one year and one month after the other; `None` for a day that does not exist.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_of = |month: i64| match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=days_of(month)).contains(&day) {
        return None;
    }
    let year_days = |year: i64| if is_leap(year) { 366 } else { 365 };
    let years: i64 = match year {
        1970.. => (1970..year).map(year_days).sum(),
        _ => -(year..1970).map(year_days).sum::<i64>(),
    };
    Some(years + (1..month).map(days_of).sum::<i64>() + day - 1)
}

// ---- the evaluator: fields

#[derive(Default)]
pub struct Shown {
    is_present: bool,
    has_null: bool,
    pub values: Vec<Value>,
}

/// Everything that a name finds, in the order of the text; and whether it was in a list, or in an object in one.
pub fn find<'a>(members: &'a [(String, Json)], name: &str, listed: bool, found: &mut Vec<(&'a Json, bool)>) {
    for (member, value) in members {
        if member == name {
            found.push((value, listed));
            continue;
        }
        let Some(rest) = name.strip_prefix(member.as_str()).and_then(|rest| rest.strip_prefix('.')) else {
            continue;
        };
        match value {
            Json::Object(inner) => find(inner, rest, listed, found),
            Json::List(list) => list.iter().for_each(|element| {
                if let Json::Object(inner) = element {
                    find(inner, rest, true, found);
                }
            }),
            _ => (),
        }
    }
}

pub fn shown(document: &Json, name: &str) -> Shown {
    let Json::Object(members) = document else { panic!("metadata is an object") };
    let (mut found, mut single) = (Vec::new(), Vec::new());
    find(members, name, false, &mut found);
    let is_present = !found.is_empty();
    for (value, listed) in found {
        match value {
            Json::List(list) => single.extend(list.iter().map(|element| (element, true))),
            value => single.push((value, listed)),
        }
    }
    let kind = type_of(name);
    if !matches!(kind, "any" | "keyword[]") {
        // Such a field has one value: the first that is in no list.
        single.retain(|(_, listed)| !listed);
        single.truncate(1);
    }
    Shown {
        is_present,
        has_null: single.iter().any(|(value, _)| **value == Json::Null),
        values: single.iter().filter_map(|(value, _)| typed(kind, value)).collect(),
    }
}

// ---- the evaluator: filters

pub fn holds(filter: &Json, document: &Json) -> bool {
    let Json::Object(members) = filter else { panic!("a filter is an object") };
    members.iter().all(|(name, test)| match (name.as_str(), test) {
        ("$and", Json::List(parts)) => parts.iter().all(|part| holds(part, document)),
        ("$or", Json::List(parts)) => parts.iter().any(|part| holds(part, document)),
        ("$not", part) => !holds(part, document),
        (name, test) => field_holds(name, &shown(document, name), test),
    })
}

fn field_holds(name: &str, shown: &Shown, test: &Json) -> bool {
    match test {
        Json::Object(operators) => {
            operators.iter().all(|(operator, operand)| operator_holds(name, shown, operator, operand))
        }
        value => operator_holds(name, shown, "$eq", value),
    }
}

fn operator_holds(name: &str, shown: &Shown, operator: &str, operand: &Json) -> bool {
    let eq = |operand: &Json| match operand {
        Json::Null => !shown.is_present || shown.has_null,
        operand => {
            let wanted = operand_value(name, operand).expect("a filter that is not refused");
            shown.values.iter().any(|value| equal(value, &wanted))
        }
    };
    let any_of = || match operand {
        Json::List(operands) => operands.iter().any(eq),
        _ => panic!("a list"),
    };
    let is_any = |is: fn(Ordering) -> bool| {
        let wanted = operand_value(name, operand).expect("a filter that is not refused");
        shown.values.iter().any(|value| order(value, &wanted).is_some_and(is))
    };
    match operator {
        "$eq" => eq(operand),
        "$ne" => !eq(operand),
        "$in" => any_of(),
        "$nin" => !any_of(),
        "$gt" => is_any(|order| order == Ordering::Greater),
        "$gte" => is_any(|order| order != Ordering::Less),
        "$lt" => is_any(|order| order == Ordering::Less),
        "$lte" => is_any(|order| order != Ordering::Greater),
        "$exists" => shown.is_present == (*operand == Json::Bool(true)),
        "$not" => !field_holds(name, shown, operand),
        other => panic!("no operator {other}"),
    }
}

/// A fraction compares with integers as well, by value.
pub fn operand_value(name: &str, operand: &Json) -> Option<Value> {
    match (type_of(name), operand) {
        ("i64", Json::Number(text)) => Some(number(text)),
        (kind, operand) => typed(kind, operand),
    }
}

pub fn is_taken(filter: &Json) -> bool {
    let Json::Object(members) = filter else { return false };
    let part_is_taken = |(name, test): &(String, Json)| match (name.as_str(), test) {
        ("$and" | "$or", Json::List(parts)) => !parts.is_empty() && parts.iter().all(is_taken),
        ("$not", part) => is_taken(part),
        (name, _) if name.starts_with('$') => false,
        (name, Json::Object(operators)) => operators_are_taken(name, operators),
        (name, value) => equality_is_taken(name, value),
    };
    names_differ(members) && members.iter().all(part_is_taken)
}

fn names_differ(members: &[(String, Json)]) -> bool {
    members.iter().enumerate().all(|(at, (name, _))| members[..at].iter().all(|(before, _)| before != name))
}

fn equality_is_taken(name: &str, operand: &Json) -> bool {
    *operand == Json::Null || operand_value(name, operand).is_some()
}

fn operators_are_taken(name: &str, operators: &[(String, Json)]) -> bool {
    let is_taken = |(operator, operand): &(String, Json)| match (operator.as_str(), operand) {
        ("$eq" | "$ne", operand) => equality_is_taken(name, operand),
        ("$in" | "$nin", Json::List(operands)) => operands.iter().all(|each| equality_is_taken(name, each)),
        ("$exists", operand) => matches!(operand, Json::Bool(_)),
        ("$not", Json::Object(inner)) => operators_are_taken(name, inner),
        ("$gt" | "$gte" | "$lt" | "$lte", Json::Bool(_)) => false,
        ("$gt" | "$gte" | "$lt" | "$lte", operand) => operand_value(name, operand).is_some(),
        _ => false,
    };
    !operators.is_empty() && names_differ(operators) && operators.iter().all(is_taken)
}

/// By a few examples that nobody doubts.
#[test]
fn the_evaluator_knows_the_plain_cases() {
    let object = |name: &str, value: Json| Json::Object(vec![(name.to_owned(), value)]);
    let number = |text: &str| Json::Number(text.to_owned());
    let one = object("u", number("1.0"));
    assert!(holds(&object("u", number("1")), &one));
    assert!(!holds(&object("u", Json::Text("1".to_owned())), &one));
    assert!(holds(&object("u", Json::Null), &object("v", Json::Null)));
    assert!(!holds(&object("u", Json::Null), &object("u", Json::List(vec![]))));
    assert!(holds(
        &object("u", object("$gt", number("0.5"))),
        &object("u", Json::List(vec![number("0"), number("7")]))
    ));
    assert!(
        !is_taken(&object("i", Json::Text("1".to_owned()))) && !is_taken(&object("$nor", Json::List(vec![])))
    );
    for (text, ms) in [
        ("1970-01-01T00:00:00Z", Some(0)),
        ("2024-02-29T12:34:56.789Z", Some(1_709_210_096_789)),
        ("2024-02-28t23:34:56.7899-13:00", Some(1_709_210_096_789)),
        ("1969-12-31T23:59:59.9Z", Some(-100)),
        ("2023-02-29T00:00:00Z", None),
        ("2024-02-29", None),
        ("1970-01-01T00:00:00.Z", None),
    ] {
        assert_eq!(moment(text), ms, "{text}");
    }
}
