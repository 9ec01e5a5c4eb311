//! As much of JSON Schema 2020-12 as the description of the interface uses. A keyword that is not known here is a panic,
//! so that none is passed over.
//!
//! Stricter than the standard in one thing: an object with `properties` has no others unless `additionalProperties`
//! says so. Clients have to bear new members; a test is to see them.

use serde_json::{Map, Value};

pub struct Schemas<'a> {
    pub document: &'a Value,
}

/// Words that say nothing about what is valid, or nothing that this reader looks at.
const PASSED_OVER: [&str; 5] = ["description", "examples", "contentEncoding", "x-maxBytes", "pattern"];

impl Schemas<'_> {
    /// What is wrong with the value, and where.
    pub fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        self.check_keywords(schema, value, at, true)
    }

    fn check_keywords(&self, schema: &Value, value: &Value, at: &str, closed: bool) -> Result<(), String> {
        let schema = schema.as_object().expect("a schema is an object");
        for (keyword, operand) in schema {
            self.check_keyword(schema, keyword, operand, value, at, closed)?;
        }
        Ok(())
    }

    fn check_keyword(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        operand: &Value,
        value: &Value,
        at: &str,
        closed: bool,
    ) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{at}: {value} {what} {operand}"));
        match keyword {
            "$ref" => {
                let pointer =
                    operand.as_str().and_then(|target| target.strip_prefix('#')).expect("a reference");
                let target = self.document.pointer(pointer).expect("references lead somewhere");
                self.check_keywords(target, value, at, closed)
            }
            "type" => match is_of(operand, value) {
                true => Ok(()),
                false => wrong("is not of the type"),
            },
            "const" if value == operand => Ok(()),
            "const" => wrong("is not"),
            "enum" if operand.as_array().is_some_and(|values| values.contains(value)) => Ok(()),
            "enum" => wrong("is none of"),
            "minimum" if value.as_f64() < operand.as_f64() && value.is_number() => wrong("is below"),
            "maximum" if value.as_f64() > operand.as_f64() && value.is_number() => wrong("is above"),
            "minLength"
                if value.as_str().is_some_and(|text| (text.len() as u64) < operand.as_u64().unwrap()) =>
            {
                wrong("is shorter than")
            }
            "minimum" | "maximum" | "minLength" => Ok(()),
            "items" => {
                for (index, element) in value.as_array().into_iter().flatten().enumerate() {
                    self.check(operand, element, &format!("{at}/{index}"))?;
                }
                Ok(())
            }
            "required" => {
                let names = operand.as_array().into_iter().flatten().filter_map(Value::as_str);
                match names.clone().find(|name| value.is_object() && value.get(name).is_none()) {
                    None => Ok(()),
                    Some(name) => Err(format!("{at}: {name} is missing in {value}")),
                }
            }
            "properties" => self.check_members(schema, value, at, closed),
            "additionalProperties" if schema.contains_key("properties") => Ok(()),
            "additionalProperties" => self.check_members(schema, value, at, closed),
            "anyOf" => {
                let schemas = operand.as_array().expect("schemas");
                let found: Vec<String> =
                    schemas.iter().filter_map(|one| self.check(one, value, at).err()).collect();
                if found.len() < schemas.len() { Ok(()) } else { Err(found.join("; or ")) }
            }
            // Each part may know members that another does not.
            "allOf" => {
                let mut schemas = operand.as_array().expect("schemas").iter();
                schemas.try_for_each(|one| self.check_keywords(one, value, at, false))
            }
            name if PASSED_OVER.contains(&name) => Ok(()),
            other => panic!("{at}: the keyword {other} is not known here"),
        }
    }

    fn check_members(
        &self,
        schema: &Map<String, Value>,
        value: &Value,
        at: &str,
        closed: bool,
    ) -> Result<(), String> {
        let nothing = Value::Object(Map::new());
        for (name, member) in value.as_object().into_iter().flatten() {
            let at = format!("{at}/{name}");
            match (
                schema.get("properties").and_then(|known| known.get(name)),
                schema.get("additionalProperties"),
            ) {
                (Some(known), _) => self.check(known, member, &at)?,
                (None, Some(Value::Bool(true))) => self.check(&nothing, member, &at)?,
                (None, Some(other @ Value::Object(_))) => self.check(other, member, &at)?,
                (None, _) if closed => return Err(format!("{at} is not described")),
                (None, _) => {}
            }
        }
        Ok(())
    }
}

fn is_of(kinds: &Value, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str().expect("a type has a name") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("there is no type {other}"),
    };
    match kinds {
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    }
}

#[test]
fn what_is_wrong_is_found() {
    let document = serde_json::json!({ "named": { "type": "object", "required": ["a"], "properties": {
        "a": { "type": ["integer", "null"], "minimum": 1 },
        "b": { "type": "array", "items": { "enum": ["x"] } },
    } } });
    let schemas = Schemas { document: &document };
    let schema = serde_json::json!({ "$ref": "#/named" });
    let found = |json: &str| schemas.check(&schema, &serde_json::from_str(json).unwrap(), "").err();
    for good in [r#"{"a":1}"#, r#"{"a":null,"b":["x"]}"#] {
        assert_eq!(found(good), None, "{good}");
    }
    for (bad, place) in [
        ("[]", ""),
        ("{}", "a is missing"),
        (r#"{"a":0}"#, "/a"),
        (r#"{"a":"1"}"#, "/a"),
        (r#"{"a":1,"b":["x","y"]}"#, "/b/1"),
        (r#"{"a":1,"c":2}"#, "/c is not described"),
    ] {
        assert!(found(bad).is_some_and(|error| error.contains(place)), "{bad}: {:?}", found(bad));
    }
}
