//! The arguments of a tool: the schemas that language models read, and what is checked against them.
//!
//! Only as much of JSON Schema is here as the tools use. What a value means is checked by the route that it is sent to.

use serde_json::{Map, Value, json};

/// An object with these fields and no others.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        fields.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

pub(super) fn text(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

/// A text, or null to clear it.
pub(super) fn text_or_null(about: &str) -> Value {
    json!({ "type": ["string", "null"], "description": about })
}

pub(super) fn word(words: &[&str], about: &str) -> Value {
    json!({ "type": "string", "enum": words, "description": about })
}

pub(super) fn flag(about: &str) -> Value {
    json!({ "type": "boolean", "description": about })
}

pub(super) fn count(about: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": about })
}

pub(super) fn list(of: Value, about: &str) -> Value {
    json!({ "type": "array", "items": of, "description": about })
}

pub(super) fn texts(about: &str) -> Value {
    list(json!({ "type": "string" }), about)
}

/// Any object.
pub(super) fn anything(about: &str) -> Value {
    json!({ "type": "object", "description": about })
}

/// The issue that a tool is about.
pub(super) fn issue() -> Value {
    text("id or identifier (like ACME-12) of the issue; left out: the task of your run")
}

/// What a tool was given, checked against its schema.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments(Map<String, Value>);

impl Arguments {
    /// Checks; on failure all that is wrong, each with its place.
    pub(super) fn read(schema: &Value, given: Option<&Value>) -> Result<Arguments, Vec<String>> {
        let empty = Value::Object(Map::new());
        let given = given.filter(|given| !given.is_null()).unwrap_or(&empty);
        let mut wrong = Vec::new();
        check(schema, given, "arguments", &mut wrong);
        match given {
            Value::Object(map) if wrong.is_empty() => {
                // Models send null for what they leave out: only where it clears something, it means something.
                let means = |name: &str, value: &Value| {
                    let kinds = schema["properties"][name]["type"].as_array();
                    !value.is_null() || kinds.is_some_and(|kinds| kinds.contains(&json!("null")))
                };
                let kept = map.iter().filter(|(name, value)| means(name, value));
                Ok(Arguments(kept.map(|(name, value)| (name.clone(), value.clone())).collect()))
            }
            _ => Err(wrong),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(Value::as_u64)
    }

    pub(super) fn texts(&self, name: &str) -> Option<Vec<&str>> {
        Some(self.0.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect())
    }

    pub(super) fn list(&self, name: &str) -> &[Value] {
        self.0.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A body of the fields that were given, under the same names.
    pub(super) fn body(&self, names: &[&str]) -> Map<String, Value> {
        let given = names.iter().filter_map(|name| Some(((*name).to_owned(), self.0.get(*name)?.clone())));
        given.collect()
    }
}

/// Notes what is wrong with a value.
fn check(schema: &Value, given: &Value, place: &str, wrong: &mut Vec<String>) {
    let wanted: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !wanted.is_empty() && !wanted.iter().any(|kind| is_a(given, kind)) {
        wrong.push(format!("{place} must be {}", wanted.join(" or ")));
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(given)
    {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        wrong.push(format!("{place} must be one of: {}", words.join(", ")));
    }
    if let (Some(fields), Some(map)) = (schema["properties"].as_object(), given.as_object()) {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if map.get(name).is_none_or(Value::is_null) {
                wrong.push(format!("{place}.{name} is missing"));
            }
        }
        for (name, value) in map {
            match fields.get(name) {
                // As good as left out.
                Some(_) if value.is_null() => {}
                Some(schema) => check(schema, value, &format!("{place}.{name}"), wrong),
                None if schema["additionalProperties"] == false => {
                    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    wrong.push(format!("{place}.{name} is unknown; known: {known}"));
                }
                None => {}
            }
        }
    }
    if let (Some(items), Some(list)) = (schema.get("items"), given.as_array()) {
        for (number, item) in list.iter().enumerate() {
            check(items, item, &format!("{place}[{number}]"), wrong);
        }
    }
}

fn is_a(given: &Value, kind: &str) -> bool {
    match kind {
        "string" => given.is_string(),
        "boolean" => given.is_boolean(),
        "integer" => given.is_u64(),
        "array" => given.is_array(),
        "object" => given.is_object(),
        "null" => given.is_null(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_argument_is_named_with_its_place() {
        let schema = object(
            [
                ("body", text("")),
                ("status", word(&["todo", "done"], "")),
                ("many", list(object([("n", count(""))], &["n"]), "")),
                ("clears", text_or_null("")),
            ],
            &["body"],
        );
        let wrong = |given: Value| Arguments::read(&schema, Some(&given)).err().unwrap_or_default();
        assert_eq!(
            wrong(json!({"body": "x", "status": "done", "many": [{"n": 1}], "clears": null})),
            [""; 0]
        );
        assert_eq!(wrong(json!({"body": "x", "status": null})), [""; 0]);
        for (given, expected) in [
            (json!({}), "arguments.body is missing"),
            (json!({"body": 1}), "arguments.body must be string"),
            (json!({"body": "x", "status": "open"}), "arguments.status must be one of: todo, done"),
            (json!({"body": "x", "many": [{"n": 1}, {}]}), "arguments.many[1].n is missing"),
            (json!({"body": "x", "many": [{"n": -1}]}), "arguments.many[0].n must be integer"),
            (json!({"body": "x", "bdy": 1}), "arguments.bdy is unknown; known: body, status, many, clears"),
            (json!([]), "arguments must be object"),
        ] {
            assert_eq!(wrong(given.clone()), [expected], "{given}");
        }
        assert_eq!(Arguments::read(&schema, None).err().unwrap(), ["arguments.body is missing"]);
    }

    #[test]
    fn only_a_null_that_clears_is_sent_on() {
        let schema = object([("goalId", text_or_null("")), ("title", text(""))], &[]);
        let read = Arguments::read(&schema, Some(&json!({"goalId": null, "title": null}))).unwrap();
        assert_eq!(Value::Object(read.body(&["goalId", "title"])), json!({"goalId": null}));
    }
}
