//! Documents and filters at random, with all that is easy to get wrong; and their text.

use std::fmt::Write;

use kyrodb::io::sim::Rng;

use super::evaluator::{Json, NAMES, operand_value, type_of};

fn pick<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.index(of.len())]
}

/// Few that are unlike, so that documents and filters meet; many ways to write them.
fn any_number(rng: &mut Rng) -> Json {
    let small = rng.below(9) as i64 - 4;
    Json::Number(match rng.below(12) {
        0..=4 => small.to_string(),
        5 => format!("{small}.0"),
        6 => format!("{small}.5"),
        7 => format!("{small}.{}", rng.below(4) * 25),
        8 => format!("{}e-1", small * 10),
        9 => format!("{}E2", small.unsigned_abs()),
        10 => pick(rng, &["-0", "-0.0", "0.1", "0.10", "1e300", "-1e300", "1e-300", "1e400", "-1e400"])
            .to_owned(),
        _ => {
            let large = [
                "9223372036854775807",
                "-9223372036854775808",
                "9223372036854775808",
                "9223372036854775807.0",
                "-9223372036854775809",
                "18446744073709551616",
                "9007199254740992",
                "9007199254740993",
                "9007199254740993.0",
                "99999999999999999999999999999999999999",
            ];
            pick(rng, &large).to_owned()
        }
    })
}

fn any_text(rng: &mut Rng) -> Json {
    let texts = ["", "a", "b", "ab", "A", "\u{e9}", "\u{ffff}", "\u{1f600}", "1", "true", "null", "\"\\\n"];
    Json::Text(pick(rng, &texts).to_owned())
}

fn any_moment(rng: &mut Rng) -> Json {
    if rng.chance(300) {
        return Json::Number((rng.below(9) as i64 - 4).to_string());
    }
    let day =
        pick(rng, &["1970-01-01", "1969-12-31", "2000-02-29", "2024-12-31", "2023-02-29", "2100-02-29"]);
    let time = pick(rng, &["00:00:00", "23:59:59", "00:00:00.001", "00:00:00.0019", "23:59:60", "24:00:00"]);
    let zone = pick(rng, &["Z", "Z", "Z", "z", "+00:00", "-00:00", "+01:00", "-23:59", "", "+1:00", "Zulu"]);
    Json::Text(format!("{day}{}{time}{zone}", pick(rng, &["T", "T", "t", " ", "_"])))
}

fn any_scalar(rng: &mut Rng) -> Json {
    match rng.below(8) {
        0..=1 => any_number(rng),
        2..=3 => any_text(rng),
        4 => any_moment(rng),
        5 => Json::Bool(rng.coin()),
        6 => Json::Null,
        _ => Json::Object(vec![("z".to_owned(), any_number(rng))]),
    }
}

fn any_list(rng: &mut Rng, mut element: impl FnMut(&mut Rng) -> Json) -> Json {
    let len = rng.below(4);
    Json::List((0..len).map(|_| element(rng)).collect())
}

fn any_value(rng: &mut Rng) -> Json {
    match rng.below(4) {
        0 => any_list(rng, |rng| if rng.chance(150) { any_list(rng, any_scalar) } else { any_scalar(rng) }),
        _ => any_scalar(rng),
    }
}

fn suitable(rng: &mut Rng, name: &str) -> Json {
    match type_of(name) {
        "i64" | "f64" => any_number(rng),
        "bool" => Json::Bool(rng.coin()),
        "keyword" => any_text(rng),
        "keyword[]" => any_list(rng, any_text),
        "timestamp" => any_moment(rng),
        _ => any_value(rng),
    }
}

/// Mostly one that suits the field; else null, an empty list, or anything.
fn any_field(rng: &mut Rng, name: &str) -> Json {
    match rng.below(10) {
        0 => Json::Null,
        1 => Json::List(Vec::new()),
        2..=3 => any_value(rng),
        _ => suitable(rng, name),
    }
}

fn any_inside(rng: &mut Rng) -> Json {
    let mut members: Vec<(String, Json)> = Vec::new();
    for name in ["n", "t", "x"] {
        if rng.coin() {
            let value = match (name, rng.below(5)) {
                ("x", 0) => Json::Object(vec![("y".to_owned(), any_value(rng))]),
                ("x", 1) => any_list(rng, |rng| Json::Object(vec![("y".to_owned(), any_value(rng))])),
                ("t", _) => any_field(rng, "o.t"),
                _ => any_field(rng, "o.n"),
            };
            members.push((name.to_owned(), value));
        }
    }
    rng.shuffle(&mut members);
    Json::Object(members)
}

pub fn any_document(rng: &mut Rng) -> Json {
    let mut members: Vec<(String, Json)> = Vec::new();
    for _ in 0..rng.below(9) {
        let (name, value) = match rng.below(6) {
            0 => {
                let value = match rng.below(4) {
                    0 => any_list(rng, |rng| if rng.chance(700) { any_inside(rng) } else { any_scalar(rng) }),
                    _ => any_inside(rng),
                };
                (pick(rng, &["o", "w"]), value)
            }
            _ => {
                let name = pick(rng, &NAMES);
                (name, any_field(rng, name))
            }
        };
        if members.iter().all(|(before, _)| before != name) {
            members.push((name.to_owned(), value));
        }
    }
    Json::Object(members)
}

/// What a test compares with: mostly of the field's type, now and then of another or of none.
fn any_operand(rng: &mut Rng, name: &str) -> Json {
    match (type_of(name), rng.below(60)) {
        (_, 0) => any_value(rng),
        (_, 1..=4) => Json::Null,
        ("keyword[]", _) => any_text(rng),
        ("any", _) => loop {
            let value = any_scalar(rng);
            if !matches!(value, Json::Object(_)) {
                break value;
            }
        },
        ("timestamp", _) => loop {
            let value = any_moment(rng);
            // Days and times that do not exist are rare, so that most filters are taken.
            if operand_value(name, &value).is_some() || rng.chance(30) {
                break value;
            }
        },
        _ => suitable(rng, name),
    }
}

fn any_operator(rng: &mut Rng, name: &str, depth: usize) -> (String, Json) {
    let operators = ["$eq", "$ne", "$in", "$nin", "$exists", "$gt", "$gte", "$lt", "$lte", "$not", "$not"];
    let operator = match rng.below(150) {
        0 => pick(rng, &["$near", "$and", "eq", ""]),
        _ => pick(rng, &operators),
    };
    let operand = match operator {
        "$in" | "$nin" => any_list(rng, |rng| any_operand(rng, name)),
        "$exists" if rng.chance(980) => Json::Bool(rng.coin()),
        "$not" if depth > 0 => any_operators(rng, name, depth - 1),
        "$not" => Json::Object(vec![("$exists".to_owned(), Json::Bool(true))]),
        "$gt" | "$gte" | "$lt" | "$lte" => loop {
            let operand = any_operand(rng, name);
            if !matches!(operand, Json::Bool(_) | Json::Null) || rng.chance(20) || type_of(name) == "bool" {
                break operand;
            }
        },
        _ => any_operand(rng, name),
    };
    (operator.to_owned(), operand)
}

fn any_operators(rng: &mut Rng, name: &str, depth: usize) -> Json {
    let mut operators: Vec<(String, Json)> = Vec::new();
    for _ in 0..pick(rng, &[1, 1, 1, 2, 2, 3]) {
        let one = any_operator(rng, name, depth);
        if operators.iter().all(|(before, _)| *before != one.0) || rng.chance(20) {
            operators.push(one);
        }
    }
    Json::Object(operators)
}

pub fn any_filter(rng: &mut Rng, depth: usize) -> Json {
    let mut members: Vec<(String, Json)> = Vec::new();
    for _ in 0..pick(rng, &[0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3]) {
        let one = match rng.below(if depth > 0 { 10 } else { 6 }) {
            0 if rng.chance(20) => ("$nor".to_owned(), any_list(rng, |rng| any_filter(rng, 0))),
            0..=1 => {
                let name = pick(rng, &NAMES);
                (name.to_owned(), any_operand(rng, name))
            }
            2..=5 => {
                let name = pick(rng, &NAMES);
                (name.to_owned(), any_operators(rng, name, 3))
            }
            6..=7 => ("$not".to_owned(), any_filter(rng, depth - 1)),
            _ => {
                let len = if rng.chance(20) { 0 } else { 1 + rng.below(3) };
                let parts = (0..len).map(|_| any_filter(rng, depth - 1)).collect();
                (pick(rng, &["$and", "$or"]).to_owned(), Json::List(parts))
            }
        };
        if members.iter().all(|(before, _)| *before != one.0) || rng.chance(20) {
            members.push(one);
        }
    }
    Json::Object(members)
}

// ---- JSON text, with space and escapes here and there

fn spell(json: &Json, rng: &mut Rng, out: &mut String) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(is) => out.push_str(if *is { "true" } else { "false" }),
        Json::Number(text) => out.push_str(text),
        Json::Text(text) => spell_text(text, rng, out),
        Json::List(list) => {
            out.push('[');
            for (at, element) in list.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                spell(element, rng, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                out.push_str(if rng.chance(50) { " \n\t" } else { "" });
                spell_text(name, rng, out);
                out.push_str(if rng.chance(50) { " : " } else { ":" });
                spell(value, rng, out);
            }
            out.push('}');
        }
    }
}

fn spell_text(text: &str, rng: &mut Rng, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        let must = matches!(character, '"' | '\\' | '\n');
        if must || rng.chance(50) {
            let mut halves = [0; 2];
            for half in character.encode_utf16(&mut halves) {
                write!(out, "\\u{half:04x}").expect("a string takes everything");
            }
        } else {
            out.push(character);
        }
    }
    out.push('"');
}

pub fn text_of(json: &Json, rng: &mut Rng) -> String {
    let mut out = String::new();
    spell(json, rng, &mut out);
    out
}
