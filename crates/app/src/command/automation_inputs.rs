//! `NAME=VALUE` as it is typed: inputs of runs, and fields of steps.

use serde_json::{Map, Value as Json};

use super::answer::text;
use crate::failure::Failure;

/// Inputs, each as the type that its automation declares (`inputs` of the definition). What is declared as a text needs
/// no quotes, whatever it looks like; all else that is JSON is taken as such.
pub(super) fn inputs(typed: &[String], declared: &Json) -> Result<Map<String, Json>, Failure> {
    pairs(typed, "-i since=v1.2", |name, value| {
        let read = serde_json::from_str(value).ok();
        let is_text = declared.get(name).is_some_and(|input| text(input, "type") == "string");
        Ok(match read {
            Some(json) if !is_text || Json::is_string(&json) => json,
            _ => Json::String(value.to_owned()),
        })
    })
}

/// Fields of a step: their values are JSON.
pub(super) fn fields(typed: &[String]) -> Result<Map<String, Json>, Failure> {
    pairs(typed, "--set 'repeatable=false'", |name, value| {
        serde_json::from_str(value).map_err(|error| {
            Failure::usage("usage", format!("the value of {name} is not JSON: {error}"))
                .hint("texts need quotes: --set 'objective=\"write\"'")
        })
    })
}

fn pairs(
    typed: &[String],
    example: &str,
    read: impl Fn(&str, &str) -> Result<Json, Failure>,
) -> Result<Map<String, Json>, Failure> {
    let mut found = Map::new();
    for pair in typed {
        let Some((name, value)) = pair.split_once('=') else {
            let message = format!("`{pair}` is not NAME=VALUE");
            return Err(Failure::usage("usage", message).hint(format!("write it as {example}")));
        };
        let name = name.trim();
        if found.insert(name.to_owned(), read(name, value)?).is_some() {
            return Err(Failure::usage("usage", format!("`{name}` is given twice"))
                .hint(format!("give it once; several values are a list: '{name}=[\"a\", \"b\"]'")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn typed(pairs: &[&str]) -> Vec<String> {
        pairs.iter().map(|pair| (*pair).to_owned()).collect()
    }

    #[test]
    fn an_input_has_the_type_that_its_automation_declares() {
        let declared = json!({
            "since": { "type": "string" }, "count": { "type": "number" }, "deep": { "type": "boolean" },
            "tags": { "type": "array" }, "any": {},
        });
        for (pair, value) in [
            ("since=1234", json!("1234")),
            ("since=v1.2=rc", json!("v1.2=rc")),
            ("since=true", json!("true")),
            ("since={\"a\": 1}", json!("{\"a\": 1}")),
            ("since=\"quoted\"", json!("quoted")),
            ("since=", json!("")),
            ("count=1234", json!(1234)),
            ("count=many", json!("many")),
            ("deep=true", json!(true)),
            (" tags =[\"a\"]", json!(["a"])),
            ("any=1", json!(1)),
            ("any=a b", json!("a b")),
            ("unknown=null", Json::Null),
        ] {
            let read = inputs(&typed(&[pair]), &declared).unwrap();
            assert_eq!(read.values().next(), Some(&value), "{pair}");
        }
        assert_eq!(inputs(&typed(&["any=1"]), &Json::Null).unwrap()["any"], json!(1));
    }

    #[test]
    fn what_is_given_twice_or_is_no_pair_is_refused() {
        for wrong in [&["big=a", "big=b"][..], &["big=a", " big=a"], &["big"]] {
            assert_eq!(inputs(&typed(wrong), &Json::Null).unwrap_err().code, "usage", "{wrong:?}");
            assert_eq!(fields(&typed(wrong)).unwrap_err().code, "usage", "{wrong:?}");
        }
        let twice = inputs(&typed(&["big=a", "big=b"]), &Json::Null).unwrap_err();
        assert_eq!(twice.message, "`big` is given twice");
    }

    #[test]
    fn fields_of_steps_are_json() {
        let read = fields(&typed(&["repeatable=false", "retry=null", "objective=\"write\""])).unwrap();
        assert_eq!(Json::Object(read), json!({ "repeatable": false, "retry": null, "objective": "write" }));
        assert!(fields(&typed(&["objective=write"])).unwrap_err().message.contains("not JSON"));
    }
}
