//! Filters: the table of the module, mistakes with their places, and the model.

use proptest::prelude::*;

use super::sieve::{Look, Sieve};
use super::*;
use crate::limits;
use crate::shard::document::fields::FieldType;
use crate::shard::document::invalid::Reason;

fn parse(json: &str) -> Result<Filter, (String, Reason)> {
    Filter::parse(json, &declared()).map_err(|invalid| (invalid.pointer, invalid.reason))
}

fn matches(filter: &str, metadata: &str) -> bool {
    parse(filter).unwrap().matches(Metadata::from_compact(metadata))
}

/// Each line of the table: missing, null, `[]`, the value, another one, a list with the value and one with null.
#[test]
fn the_table_holds() {
    let documents = [
        "{}",
        r#"{"u":null}"#,
        r#"{"u":[]}"#,
        r#"{"u":1}"#,
        r#"{"u":2}"#,
        r#"{"u":[2,1]}"#,
        r#"{"u":[2,null]}"#,
    ];
    for (test, expected) in [
        ("1", "000101 0"),
        (r#"{"$eq":1}"#, "000101 0"),
        ("null", "110000 1"),
        (r#"{"$ne":1}"#, "111010 1"),
        (r#"{"$ne":null}"#, "001111 0"),
        (r#"{"$gt":1}"#, "000011 1"),
        (r#"{"$gte":1}"#, "000111 1"),
        (r#"{"$lt":2}"#, "000101 0"),
        (r#"{"$lte":2}"#, "000111 1"),
        (r#"{"$in":[1,"x"]}"#, "000101 0"),
        (r#"{"$in":[1,null]}"#, "110101 1"),
        (r#"{"$in":[]}"#, "000000 0"),
        (r#"{"$nin":[1]}"#, "111010 1"),
        (r#"{"$nin":[1,null]}"#, "001010 0"),
        (r#"{"$nin":[]}"#, "111111 1"),
        (r#"{"$exists":true}"#, "011111 1"),
        (r#"{"$exists":false}"#, "100000 0"),
        (r#"{"$not":{"$gt":1}}"#, "111100 0"),
        (r#"{"$not":{"$gte":1,"$lte":1}}"#, "111010 1"),
        (r#"{"$gt":1,"$lt":2}"#, "000001 0"),
    ] {
        let found: String = documents
            .iter()
            .map(|document| if matches(&format!(r#"{{"u":{test}}}"#), document) { '1' } else { '0' })
            .collect();
        assert_eq!(found, expected.replace(' ', ""), "{test}");
    }
}

#[test]
fn kinds_do_not_meet() {
    for (value, others) in [
        ("1", ["\"1\"", "true", "{}"]),
        ("\"1\"", ["1", "true", "[[\"1\"]]"]),
        ("true", ["1", "\"true\"", "null"]),
    ] {
        for other in others {
            let document = format!(r#"{{"u":{other}}}"#);
            assert!(!matches(&format!(r#"{{"u":{value}}}"#), &document), "{value} {other}");
            assert!(matches(&format!(r#"{{"u":{{"$ne":{value}}}}}"#), &document), "{value} {other}");
        }
    }
    assert!(!matches(r#"{"u":{"$gt":1}}"#, r#"{"u":"5"}"#));
    assert!(!matches(r#"{"u":{"$lt":"9"}}"#, r#"{"u":5}"#));
    assert!(matches(r#"{"u":1}"#, r#"{"u":1.0}"#));
    assert!(matches(r#"{"i":{"$gt":2.5,"$lte":3.5}}"#, r#"{"i":3}"#));
    assert!(!matches(r#"{"i":9007199254740992}"#, r#"{"i":9007199254740993}"#), "integers are exact");
    assert!(matches(r#"{"f":9007199254740992}"#, r#"{"f":9007199254740993}"#), "f64 is rounded");
}

#[test]
fn times_compare_as_times_where_they_are_declared() {
    let document = r#"{"at":"2024-01-01T01:00:00+01:00","u":"2024-01-01T01:00:00+01:00"}"#;
    assert!(matches(r#"{"at":"2024-01-01T00:00:00Z"}"#, document));
    assert!(matches(r#"{"at":1704067200000}"#, document));
    assert!(matches(r#"{"at":{"$gte":"2024-01-01T00:00:00.000Z","$lt":1704067200001}}"#, document));
    assert!(!matches(r#"{"u":"2024-01-01T00:00:00Z"}"#, document));
}

#[test]
fn filters_combine() {
    let document = r#"{"k":"a","t":["x","y"],"o":{"n":3},"w":[{"x":1},{"x":2}]}"#;
    for (filter, expected) in [
        ("{}", true),
        (r#"{"k":"a","t":"y"}"#, true),
        (r#"{"k":"a","t":"z"}"#, false),
        (r#"{"o.n":{"$in":[3,4]}}"#, true),
        (r#"{"w.x":2,"$not":{"w.x":3}}"#, true),
        (r#"{"$or":[{"k":"b"},{"$and":[{"t":"x"},{"t":"y"}]}]}"#, true),
        (r#"{"$not":{"$or":[{"k":"b"},{"k":"a"}]}}"#, false),
        (r#"{"$not":{}}"#, false),
        (r#"{"k":{"$gt":"A","$lt":"b"}}"#, true),
        (r#"{"t":{"$not":{"$not":{"$eq":"x"}}}}"#, true),
    ] {
        assert_eq!(matches(filter, document), expected, "{filter}");
    }
}

#[test]
fn bounds_of_a_field_with_one_value_are_one_range() {
    let range = parse(r#"{"i":{"$gt":1,"$gte":1,"$lt":9,"$lte":5,"$gte":0}}"#);
    assert_eq!(range, Err(("/i/$gte".to_owned(), Reason::Repeated)));
    let Ok(Filter::Field(test)) = parse(r#"{"i":{"$gt":1,"$gte":1,"$lt":9,"$lte":5}}"#) else {
        panic!("not one test")
    };
    let int = |n| Scalar::Number(crate::shard::document::number::Number::from_int(n));
    assert_eq!(test.test, Test::Within { low: Bound::Excluded(int(1)), high: Bound::Included(int(5)) });
    assert!(matches!(parse(r#"{"t":{"$gt":"a","$lt":"c"}}"#), Ok(Filter::All(parts)) if parts.len() == 2));
}

#[test]
fn mistakes_are_pointed_at() {
    use FieldType::*;
    for (filter, pointer, reason) in [
        ("[]", "", Reason::Not("an object")),
        ("1", "", Reason::Not("an object")),
        (r#"{"$nor":[{}]}"#, "/$nor", Reason::UnknownOperator),
        (r#"{"$eq":1}"#, "/$eq", Reason::UnknownOperator),
        (r#"{"u":{"$regex":"x"}}"#, "/u/$regex", Reason::UnknownOperator),
        (r#"{"u":{"$and":[]}}"#, "/u/$and", Reason::UnknownOperator),
        (r#"{"u":{"x":1}}"#, "/u/x", Reason::NotAnOperator),
        (r#"{"u":{}}"#, "/u", Reason::Empty("operator")),
        (r#"{"u":{"$not":{}}}"#, "/u/$not", Reason::Empty("operator")),
        (r#"{"u":{"$not":1}}"#, "/u/$not", Reason::Not("an object of operators")),
        (r#"{"$and":[]}"#, "/$and", Reason::Empty("filter")),
        (r#"{"$or":{}}"#, "/$or", Reason::Not("a list of filters")),
        (r#"{"$and":[{},{"$or":[{"i":"x"}]}]}"#, "/$and/1/$or/0/i", Reason::Field(I64)),
        (r#"{"$not":[]}"#, "/$not", Reason::Not("an object")),
        (r#"{"u":[1]}"#, "/u", Reason::ListOperand),
        (r#"{"u":{"$eq":[1]}}"#, "/u/$eq", Reason::ListOperand),
        (r#"{"u":{"$eq":{}}}"#, "/u/$eq", Reason::ObjectOperand),
        (r#"{"u":{"$in":1}}"#, "/u/$in", Reason::Not("a list of values")),
        (r#"{"u":{"$in":[1,[2]]}}"#, "/u/$in/1", Reason::ListOperand),
        (r#"{"u":{"$exists":1}}"#, "/u/$exists", Reason::Not("true or false")),
        (r#"{"u":{"$gt":null}}"#, "/u/$gt", Reason::NoOrder("null")),
        (r#"{"u":{"$lt":true}}"#, "/u/$lt", Reason::NoOrder("true or false")),
        (r#"{"b":{"$gte":true}}"#, "/b/$gte", Reason::NoOrder("true or false")),
        (r#"{"u":1,"u":2}"#, "/u", Reason::Repeated),
        (r#"{"u":{"$gt":1,"$gt":2}}"#, "/u/$gt", Reason::Repeated),
        (r#"{"u":"\ud800"}"#, "/u", Reason::HalfCharacter),
        (r#"{"i":"1"}"#, "/i", Reason::Field(I64)),
        (r#"{"f":{"$in":[1,"x"]}}"#, "/f/$in/1", Reason::Field(F64)),
        (r#"{"f":{"$lt":1e400}}"#, "/f/$lt", Reason::OutOfRange(F64)),
        (r#"{"b":1}"#, "/b", Reason::Field(Bool)),
        (r#"{"k":{"$ne":1}}"#, "/k/$ne", Reason::Field(Keyword)),
        (r#"{"t":7}"#, "/t", Reason::Field(Keywords)),
        (r#"{"at":{"$gt":"soon"}}"#, "/at/$gt", Reason::Field(Timestamp)),
        (r#"{"o.n":true}"#, "/o.n", Reason::Field(I64)),
        (r#"{"a/b":{"~":1}}"#, "/a~1b/~0", Reason::NotAnOperator),
    ] {
        assert_eq!(parse(filter), Err((pointer.to_owned(), reason)), "{filter}");
    }
    assert!(matches!(parse(r#"{"u":1"#), Err((_, Reason::NotJson { .. }))));
    assert!(matches!(parse(r#"{"u":1} x"#), Err((_, Reason::NotJson { .. }))));
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |levels: usize| format!("{}{{}}{}", r#"{"$not":"#.repeat(levels), "}".repeat(levels));
    assert!(parse(&nested(limits::FILTER_DEPTH_ENTRIES_MAX - 1)).is_ok());
    let levels = limits::FILTER_DEPTH_ENTRIES_MAX;
    assert_eq!(parse(&nested(levels)).unwrap_err().1, Reason::TooDeep { levels });
    let wide = |count: usize| format!(r#"{{"u":{{"$in":[{}1]}}}}"#, "1,".repeat(count - 3));
    assert!(parse(&wide(limits::FILTER_ENTRIES_MAX)).is_ok());
    assert_eq!(parse(&wide(limits::FILTER_ENTRIES_MAX + 1)).unwrap_err().1, Reason::FilterTooLarge);
}

#[test]
fn what_no_index_knows_is_left_over() {
    let filter = parse(r#"{"i":1,"u":2,"$or":[{"k":"a"},{"v.w":1}],"$not":{"b":true}}"#).unwrap();
    assert_eq!(filter.undeclared().into_iter().collect::<Vec<_>>(), ["u", "v.w"]);
    assert_eq!(filter.residual(), parse(r#"{"u":2,"$or":[{"k":"a"},{"v.w":1}]}"#).ok());
    assert_eq!(parse(r#"{"i":1,"u":2}"#).unwrap().residual(), parse(r#"{"u":2}"#).ok());
    assert_eq!(parse(r#"{"$not":{"i":1,"k":"x"}}"#).unwrap().residual(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Beside `tests/filter_semantics.rs`, whose evaluator shares nothing with the engine: what fails here is made small.
    #[test]
    fn it_says_what_the_model_says(
        documents in prop::collection::vec(any_metadata(), 12),
        filters in prop::collection::vec(any_filter(), 10),
    ) {
        let fields = declared();
        for filter in &filters {
            let parsed = Filter::parse(&filter.to_string(), &fields);
            let parsed = parsed.map_err(|error| TestCaseError::fail(format!("{filter}: {error}")))?;
            let sieve = Sieve::new(&parsed);
            let mut look = Look::new(&sieve);
            for document in &documents {
                let text = document.to_string();
                let found = parsed.matches(Metadata::from_compact(&text));
                prop_assert_eq!(found, holds(filter, document), "{} of {}", filter, document);
                prop_assert_eq!(looked(&mut look, &text, 1).0, found, "looked at: {} of {}", filter, document);
            }
        }
    }

    #[test]
    fn many_tests_of_one_name_are_told_apart(
        values in prop::collection::vec(-3i64..4, 0..6),
        tests in prop::collection::vec((0usize..5, prop::option::weighted(0.8, -3i64..4)), 1..20),
    ) {
        let document = format!(r#"{{"u":{values:?},"w":{{"x":{values:?},"u":"7"}},"t":["1"]}}"#);
        let test = |(operator, operand): &(usize, Option<i64>)| {
            let name = ["u", "w.x"][operator % 2];
            match (operator, operand) {
                (0, None) => format!(r#"{{"{name}":null}}"#),
                (0, Some(value)) => format!(r#"{{"{name}":{value}}}"#),
                (at, None) => format!(r#"{{"{name}":{{"{}":"7"}}}}"#, ["", "$gt", "$gte", "$lt", "$lte"][*at]),
                (at, Some(value)) => {
                    format!(r#"{{"{name}":{{"{}":{value}}}}}"#, ["", "$gt", "$gte", "$lt", "$lte"][*at])
                }
            }
        };
        for outer in ["$or", "$and"] {
            let all: Vec<String> = tests.iter().map(test).collect();
            let parsed = parse(&format!(r#"{{"{outer}":[{}]}}"#, all.join(","))).unwrap();
            let sieve = Sieve::new(&parsed);
            let found = looked(&mut Look::new(&sieve), &document, 7).0;
            prop_assert_eq!(found, parsed.matches(Metadata::from_compact(&document)), "{:?}", parsed);
        }
    }
}

/// What a look tells of a document in steps of so much, and how many they are.
fn looked(look: &mut Look<'_, '_>, document: &str, budget: usize) -> (bool, usize) {
    let mut steps = 0;
    loop {
        steps += 1;
        let mut left = budget;
        if let Some(holds) = look.step(Metadata::from_compact(document), &mut left) {
            return (holds, steps);
        }
        assert_eq!(left, 0, "it stopped early");
    }
}

/// Each test by itself would read the metadata as often as there are tests.
#[test]
fn however_many_tests_the_metadata_is_read_once_and_in_steps() {
    let tests: Vec<String> = (0..8000).map(|at| format!(r#"{{"a{at}":-1}}"#)).collect();
    let filter = parse(&format!(r#"{{"$or":[{}]}}"#, tests.join(","))).unwrap();
    let bytes = limits::METADATA_BYTES_MAX - 64;
    let members = (0..).map(|at| format!(r#""a{}":{at}"#, at % 90_000));
    let mut text = String::from("{");
    for member in members {
        if text.len() + member.len() >= bytes {
            break;
        }
        text += &member;
        text.push(',');
    }
    text += r#""last":[-1]}"#;
    let sieve = Sieve::new(&filter);
    let mut look = Look::new(&sieve);
    for _ in 0..2 {
        let (holds, steps) = looked(&mut look, &text, limits::FILTER_STEP_BYTES);
        assert!(!holds);
        let least = text.len() / limits::FILTER_STEP_BYTES;
        assert!((least..10 * least).contains(&steps), "{steps} steps of {} bytes", text.len());
    }
    // One list, of which each element meets most of the tests.
    let tests: Vec<String> = (0..5000).map(|at| format!(r#"{{"l":{{"$lt":{at}}}}}"#)).collect();
    let filter = parse(&format!(r#"{{"$and":[{},{{"l":-1}}]}}"#, tests.join(","))).unwrap();
    let text = format!(r#"{{"l":[{}-1]}}"#, "1,".repeat(limits::METADATA_BYTES_MAX / 2 - 10));
    let (holds, steps) = looked(&mut Look::new(&Sieve::new(&filter)), &text, limits::FILTER_STEP_BYTES);
    let least = text.len() / limits::FILTER_STEP_BYTES;
    assert!(holds && (least..20 * least).contains(&steps), "{steps} steps");
}

#[test]
fn a_look_goes_on_behind_what_is_no_json() {
    let filter = parse(r#"{"u":1}"#).unwrap();
    let sieve = Sieve::new(&filter);
    let mut look = Look::new(&sieve);
    for (text, expected) in [
        ("", false),
        (r#"{"u":1"#, true),
        ("[{\"u\":1}]", false),
        (r#"{"v":2}"#, false),
        (r#"{"u":1}"#, true),
    ] {
        assert_eq!(looked(&mut look, text, 3).0, expected, "{text}");
    }
}
