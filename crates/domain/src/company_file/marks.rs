//! Marks in the place of what nobody is to read: what a file says with one is what is stored.

use serde_json::Value as Json;

use super::Mistake;

/// Stands for a value that is stored and not shown, as everywhere in the API.
pub const MARK: &str = "***REDACTED***";

/// What a file says, with what is stored in the place of each mark that stands where something is stored.
pub fn restored(given: Json, stored: Option<&Json>) -> Json {
    match (given, stored) {
        (Json::String(text), Some(stored)) if text == MARK => stored.clone(),
        (Json::Object(given), stored) => {
            let restored = given.into_iter().map(|(key, value)| {
                let stored = stored.and_then(|stored| stored.get(&key));
                (key, restored(value, stored))
            });
            Json::Object(restored.collect())
        }
        (Json::Array(given), stored) => {
            // In a list of another length nobody knows which one is meant.
            let stored = stored.and_then(Json::as_array).filter(|stored| stored.len() == given.len());
            let one = |(at, value)| restored(value, stored.and_then(|stored| stored.get(at)));
            Json::Array(given.into_iter().enumerate().map(one).collect())
        }
        (given, _) => given,
    }
}

/// The marks that stand for nothing that is stored, each a mistake at its place.
pub fn left_over(path: &str, value: &Json) -> Vec<Mistake> {
    let mut found = Vec::new();
    look(path, value, &mut found);
    found
}

fn look(path: &str, value: &Json, found: &mut Vec<Mistake>) {
    match value {
        Json::String(text) if text == MARK => found.push(Mistake::new(
            path,
            "its value is not in the file, and the company has none here",
            "store it with bugle secret set NAME, then write { secret = \"NAME\" } here; or write the value itself",
        )),
        Json::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                look(&format!("{path}[{at}]"), item, found);
            }
        }
        Json::Object(fields) => {
            for (key, item) in fields {
                look(&format!("{path}.{key}"), item, found);
            }
        }
        Json::String(_) | Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Free settings without keys that are null: not every format can say null, and in settings it says nothing.
pub fn without_nulls(value: Json) -> Json {
    match value {
        Json::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Json::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mark_stands_for_what_is_stored_at_its_place() {
        let stored = json!({"env": {"KEY": "k", "PLAIN": "p"}, "list": ["a", "b"], "number": 7});
        for (given, expected) in [
            (json!({"env": {"KEY": MARK, "PLAIN": "new"}}), json!({"env": {"KEY": "k", "PLAIN": "new"}})),
            (json!({"list": ["x", MARK]}), json!({"list": ["x", "b"]})),
            (json!({"list": [MARK]}), json!({"list": [MARK]})),
            (json!({"number": MARK}), json!({"number": 7})),
            (json!({"other": {"KEY": MARK}}), json!({"other": {"KEY": MARK}})),
        ] {
            assert_eq!(restored(given.clone(), Some(&stored)), expected, "{given}");
        }
    }

    #[test]
    fn a_mark_for_nothing_is_a_mistake_at_its_place() {
        let value = json!({"env": {"KEY": MARK}, "list": ["a", {"token": MARK}]});
        let paths: Vec<String> =
            left_over("agents[1].adapterConfig", &value).into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["agents[1].adapterConfig.env.KEY", "agents[1].adapterConfig.list[1].token"]);
    }

    #[test]
    fn nulls_of_settings_say_nothing() {
        let value = json!({"a": null, "b": {"c": null, "d": 1}, "e": [null, {"f": null}]});
        assert_eq!(without_nulls(value), json!({"b": {"d": 1}, "e": [null, {}]}));
    }
}
