//! How a thing of the company and what a file says of it differ: down to the fields of tables and the entries of lists that
//! have names, and without a word of what nobody is to read.

use serde_json::{Map, Value as Json};

use super::schema::{Absent, Field, default_of, derived, fields};
use super::{Entry, MARK, Section};

/// One field that becomes something else; what nobody is to read is a mark.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// `adapterConfig.env.REGION`.
    pub path: String,
    pub before: Option<Json>,
    pub after: Option<Json>,
}

/// What of a thing becomes something else, field by field; without `before` it is a new one.
pub(super) fn differences(section: Section, before: Option<&Entry>, after: &Entry) -> Vec<FieldChange> {
    let mut found = Vec::new();
    for field in fields(section) {
        let side =
            |entry: &'_ Entry| (entry.fields.get(field.name).cloned(), entry.shown.get(field.name).cloned());
        let (mut old, mut old_shown) = before.map_or((None, None), side);
        let (mut new, mut new_shown) = side(after);
        match before {
            None if is_plain(section, field, new.as_ref(), after) => continue,
            None => {}
            Some(_) => {
                for (value, shown) in [(&mut old, &mut old_shown), (&mut new, &mut new_shown)] {
                    if value.is_none() {
                        *value = default_of(section, field.name);
                        shown.clone_from(value);
                    }
                }
            }
        }
        let (old, new) = (
            Side { value: old.as_ref(), shown: old_shown.as_ref() },
            Side { value: new.as_ref(), shown: new_shown.as_ref() },
        );
        walk(field.name.to_owned(), old, new, &mut found);
    }
    found
}

/// Nobody has to be told of a field of a new thing that is what it is anyhow.
fn is_plain(section: Section, field: &Field, value: Option<&Json>, entry: &Entry) -> bool {
    value.is_none()
        || (field.absent == Absent::Derived && derived(section, field.name, &entry.fields).as_ref() == value)
}

/// One side of a difference: what is there, and what of it may be shown.
#[derive(Clone, Copy)]
struct Side<'a> {
    value: Option<&'a Json>,
    shown: Option<&'a Json>,
}

impl<'a> Side<'a> {
    fn below(self, key: &str) -> Side<'a> {
        let shown = match self.shown {
            Some(Json::Object(fields)) => fields.get(key),
            // All of it is hidden.
            other => other,
        };
        Side { value: self.value.and_then(|value| value.get(key)), shown }
    }

    fn keys(self) -> Vec<&'a String> {
        self.value.and_then(Json::as_object).into_iter().flat_map(Map::keys).collect()
    }

    fn item(self, at: Option<usize>) -> Side<'a> {
        let shown = match self.shown {
            Some(Json::Array(items)) => at.and_then(|at| items.get(at)),
            other => other,
        };
        Side { value: at.and_then(|at| self.value?.get(at)), shown }
    }

    /// The names of the entries of a list, each of which has one of its own; none of nothing.
    fn names(self) -> Option<Vec<&'a str>> {
        let Some(value) = self.value else { return Some(Vec::new()) };
        let mut names = Vec::new();
        for item in value.as_array()? {
            let name = ["id", "name", "automation"].iter().find_map(|key| item.get(*key)?.as_str())?;
            if names.contains(&name) {
                return None;
            }
            names.push(name);
        }
        Some(names)
    }

    fn is_table(self) -> bool {
        self.value.is_some_and(|value| value.as_object().is_some_and(|fields| !fields.is_empty()))
    }

    fn told(self) -> Option<Json> {
        self.value.map(|_| self.shown.cloned().unwrap_or(Json::from(MARK)))
    }
}

fn walk(path: String, before: Side<'_>, after: Side<'_>, found: &mut Vec<FieldChange>) {
    if before.value == after.value {
        return;
    }
    let goes_on = |side: Side<'_>| side.value.is_none() || side.is_table();
    if goes_on(before) && goes_on(after) {
        let mut keys = after.keys();
        keys.extend(before.keys().into_iter().filter(|key| after.below(key).value.is_none()));
        for key in keys {
            walk(format!("{path}.{key}"), before.below(key), after.below(key), found);
        }
        return;
    }
    if let Some(parts) = named_parts(before, after) {
        for (name, before, after) in parts {
            walk(format!("{path}[{name}]"), before, after, found);
        }
        return;
    }
    found.push(FieldChange { path, before: before.told(), after: after.told() });
}

/// Two lists whose entries have names, entry by entry; `None` where they have none, or stand in another order.
fn named_parts<'a>(before: Side<'a>, after: Side<'a>) -> Option<Vec<(&'a str, Side<'a>, Side<'a>)>> {
    let (old, new) = (before.names()?, after.names()?);
    let kept = |of: &[&'a str], other: &[&'a str]| -> Vec<&'a str> {
        of.iter().copied().filter(|name| other.contains(name)).collect()
    };
    if kept(&old, &new) != kept(&new, &old) {
        return None;
    }
    let place = |names: &[&str], name: &str| names.iter().position(|it| *it == name);
    let gone = old.iter().filter(|name| !new.contains(name));
    let all = new.iter().chain(gone).copied();
    Some(all.map(|name| (name, before.item(place(&old, name)), after.item(place(&new, name)))).collect())
}
