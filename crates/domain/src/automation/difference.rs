//! What changed between two definitions, field by field.

use serde::Serialize;
use serde_json::Value as Json;

/// One field that is not what it was. `None` = it is not there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// As in `nodes[draft].retry.maxAttempts`; entries of lists that have an id or a name are called by it.
    pub path: String,
    pub before: Option<Json>,
    pub after: Option<Json>,
}

/// Compares two definitions as data.
pub fn difference(before: &Json, after: &Json) -> Vec<Change> {
    let mut changes = Vec::new();
    compare(String::new(), Some(before), Some(after), &mut changes);
    changes
}

fn compare(path: String, before: Option<&Json>, after: Option<&Json>, changes: &mut Vec<Change>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Json::Object(old)), Some(Json::Object(new))) => {
            let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
            for key in keys {
                let place = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(place, old.get(key), new.get(key), changes);
            }
        }
        (Some(Json::Array(old)), Some(Json::Array(new))) => match (names(old), names(new)) {
            (Some(old_names), Some(new_names)) => {
                let all = old_names.iter().chain(new_names.iter().filter(|name| !old_names.contains(name)));
                let find = |names: &[&str], items: &[Json], name: &str| {
                    names.iter().position(|it| *it == name).map(|at| items[at].clone())
                };
                for name in all {
                    let (one, other) = (find(&old_names, old, name), find(&new_names, new, name));
                    compare(format!("{path}[{name}]"), one.as_ref(), other.as_ref(), changes);
                }
                let kept = |of: &[&str], other: &[&str]| -> Vec<String> {
                    of.iter().filter(|name| other.contains(name)).map(|name| (*name).to_owned()).collect()
                };
                let (was, is) = (kept(&old_names, &new_names), kept(&new_names, &old_names));
                if was != is {
                    let order = |names: Vec<String>| Some(Json::from(names));
                    changes.push(Change {
                        path: format!("{path} (order)"),
                        before: order(was),
                        after: order(is),
                    });
                }
            }
            _ => changes.push(Change { path, before: before.cloned(), after: after.cloned() }),
        },
        _ => changes.push(Change { path, before: before.cloned(), after: after.cloned() }),
    }
}

/// What the entries of a list are called, when each has a name of its own.
fn names(items: &[Json]) -> Option<Vec<&str>> {
    fn name(item: &Json) -> Option<&str> {
        item.get("id").or_else(|| item.get("name"))?.as_str()
    }
    let all: Vec<&str> = items.iter().map(name).collect::<Option<_>>()?;
    let distinct: std::collections::BTreeSet<&str> = all.iter().copied().collect();
    (distinct.len() == items.len()).then_some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_that_changed_is_named_once() {
        let before = json!({
            "name": "n", "description": "old",
            "nodes": [{ "id": "a", "objective": "x" }, { "id": "b", "dependsOn": ["a"] }, { "id": "c" }],
        });
        let after = json!({
            "name": "n", "limits": { "maxTokens": 5 },
            "nodes": [{ "id": "b", "dependsOn": ["a", "d"] }, { "id": "a", "objective": "y" }, { "id": "d" }],
        });
        let paths: Vec<String> = difference(&before, &after).into_iter().map(|it| it.path).collect();
        assert_eq!(
            paths,
            [
                "description",
                "nodes[a].objective",
                "nodes[b].dependsOn",
                "nodes[c]",
                "nodes[d]",
                "nodes (order)",
                "limits",
            ]
        );
        assert_eq!(difference(&before, &before), []);
        let one = difference(&json!({ "a": 1 }), &json!({ "a": 2 }));
        assert_eq!(one, [Change { path: "a".into(), before: Some(json!(1)), after: Some(json!(2)) }]);
    }
}
