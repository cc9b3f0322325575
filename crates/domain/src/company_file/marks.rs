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
            let stored: &[Json] = stored.and_then(Json::as_array).map_or(&[], Vec::as_slice);
            let is_as_stored = is_alike(&given, stored);
            let meant: Vec<Option<&Json>> = given
                .iter()
                .enumerate()
                .map(|(at, value)| if is_as_stored { stored.get(at) } else { meant(value, &given, stored) })
                .collect();
            Json::Array(given.into_iter().zip(meant).map(|(value, stored)| restored(value, stored)).collect())
        }
        (given, _) => given,
    }
}

/// What is stored of one item of a list that was changed: the one of its id or name, or else the one that is the same in
/// all that can be seen. Nobody knows which is meant where there are several, and of a bare mark in no case.
fn meant<'a>(item: &Json, given: &[Json], stored: &'a [Json]) -> Option<&'a Json> {
    let one = |is_it: &dyn Fn(&Json) -> bool| {
        let mut found = stored.iter().filter(|item| is_it(item));
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    };
    if let Some(key) = ["id", "name"].into_iter().find(|key| name(item, key).is_some()) {
        let is_named = |other: &Json| name(other, key) == name(item, key);
        if given.iter().filter(|other| is_named(other)).count() == 1
            && let Some(found) = one(&is_named)
        {
            return Some(found);
        }
    }
    if item.is_string() { None } else { one(&|other| is_like(item, other)) }
}

fn name<'a>(item: &'a Json, key: &str) -> Option<&'a str> {
    item.get(key).and_then(Json::as_str).filter(|name| *name != MARK)
}

/// Whether a value is the stored one in all that can be seen.
fn is_like(given: &Json, stored: &Json) -> bool {
    match (given, stored) {
        (Json::String(text), _) if text == MARK => true,
        (Json::Array(given), Json::Array(stored)) => is_alike(given, stored),
        (Json::Object(given), Json::Object(stored)) => {
            let is_same = |(key, value)| stored.get(key).is_some_and(|stored| is_like(value, stored));
            given.len() == stored.len() && given.iter().all(is_same)
        }
        (given, stored) => given == stored,
    }
}

fn is_alike(given: &[Json], stored: &[Json]) -> bool {
    given.len() == stored.len() && given.iter().zip(stored).all(|(given, stored)| is_like(given, stored))
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

/// Settings without those that are null, for null says that one is not set. What is in a setting is somebody else's and
/// stays as it is.
pub fn without_unset(value: Json) -> Json {
    match value {
        Json::Object(fields) => {
            Json::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect())
        }
        other => other,
    }
}

/// Settings that are known to the last one, without keys that are null, however deep.
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
            (json!({"list": ["a", MARK]}), json!({"list": ["a", "b"]})),
            (json!({"list": ["x", MARK]}), json!({"list": ["x", MARK]})),
            (json!({"list": [MARK, "a"]}), json!({"list": [MARK, "a"]})),
            (json!({"list": [MARK]}), json!({"list": [MARK]})),
            (json!({"number": MARK}), json!({"number": 7})),
            (json!({"other": {"KEY": MARK}}), json!({"other": {"KEY": MARK}})),
        ] {
            assert_eq!(restored(given.clone(), Some(&stored)), expected, "{given}");
        }
    }

    #[test]
    fn in_a_list_a_mark_stands_for_what_its_own_thing_has() {
        let one = |name: &str, at: &str, token: &str| json!({"name": name, "at": at, "token": token});
        let bare = |at: &str, token: &str| json!({"at": at, "token": token});
        let cases = [
            // What has a name is known by it, wherever it stands and whatever else is changed.
            (
                json!([one("b", "/b", MARK), one("c", "/c", MARK), one("a", "/new", MARK)]),
                json!([one("a", "/a", "1"), one("b", "/b", "2")]),
                json!([one("b", "/b", "2"), one("c", "/c", MARK), one("a", "/new", "1")]),
            ),
            // A name that two have says nothing.
            (
                json!([one("a", "/2", MARK), one("b", "/b", MARK)]),
                json!([one("a", "/1", "1"), one("a", "/2", "2"), one("b", "/b", "3")]),
                json!([one("a", "/2", "2"), one("b", "/b", "3")]),
            ),
            (
                json!([one("a", "/3", MARK), one("b", "/b", MARK)]),
                json!([one("a", "/1", "1"), one("a", "/2", "2"), one("b", "/b", "3")]),
                json!([one("a", "/3", MARK), one("b", "/b", "3")]),
            ),
            // What has none is known by all the rest of it.
            (
                json!([bare("/b", MARK), bare("/a", MARK)]),
                json!([bare("/a", "1"), bare("/b", "2")]),
                json!([bare("/b", "2"), bare("/a", "1")]),
            ),
            (
                json!([bare("/x", MARK), bare("/b", MARK)]),
                json!([bare("/a", "1"), bare("/b", "2")]),
                json!([bare("/x", MARK), bare("/b", "2")]),
            ),
            // Nobody knows which of two that look the same is meant, unless nothing else was changed.
            (
                json!([bare("/a", MARK), bare("/a", MARK)]),
                json!([bare("/a", "1"), bare("/a", "2")]),
                json!([bare("/a", "1"), bare("/a", "2")]),
            ),
            (
                json!([bare("/a", MARK), bare("/b", "3")]),
                json!([bare("/a", "1"), bare("/a", "2")]),
                json!([bare("/a", MARK), bare("/b", "3")]),
            ),
        ];
        for (given, stored, expected) in cases {
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
        assert_eq!(without_nulls(value.clone()), json!({"b": {"d": 1}, "e": [null, {}]}));
        assert_eq!(without_unset(value), json!({"b": {"c": null, "d": 1}, "e": [null, {"f": null}]}));
    }
}
