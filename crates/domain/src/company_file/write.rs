//! Writing a file: what a company is like, in the order in which people read it.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::schema::{Absent, Holds, derived, fields};
use super::{Document, Entry, Section, VERSION};

/// Two things of a company that a file could not tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twice {
    pub section: Section,
    pub name: String,
    /// Those that are called so.
    pub ids: Vec<String>,
}

/// Writes a document with what may be shown. Refused where a file would not be clear.
pub fn write(document: &Document) -> Result<Json, Twice> {
    let mut written = Map::new();
    written.insert("version".to_owned(), json!(VERSION));
    for (section, entries) in &document.sections {
        let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
        for entry in entries {
            if seen.insert(&entry.key, ()).is_some() {
                let called = entries.iter().filter(|other| other.key == entry.key);
                let ids = called.filter_map(|other| other.id.clone()).collect();
                return Err(Twice { section: *section, name: entry.name.clone(), ids });
            }
        }
        let mut tables = entries.iter().map(table);
        let value = match section {
            Section::Company => tables.next().unwrap_or_else(|| json!({})),
            _ => Json::Array(tables.collect()),
        };
        written.insert(section.as_str().to_owned(), value);
    }
    Ok(Json::Object(written))
}

fn table(entry: &Entry) -> Json {
    let mut table = Map::new();
    for field in fields(entry.section) {
        let Some(value) = entry.shown.get(field.name) else { continue };
        let follows = field.absent == Absent::Derived
            && derived(entry.section, field.name, &entry.shown).as_ref() == Some(value);
        if !follows {
            let mut value = value.clone();
            // In one order, whichever they were saved in. What an automation is made of stays as people wrote it.
            let is_settings =
                matches!(field.holds, Holds::Object | Holds::Config | Holds::Data | Holds::Policy);
            if is_settings && entry.section != Section::Automations {
                value.sort_all_objects();
            }
            table.insert(field.name.to_owned(), value);
        }
    }
    let workspaces = table.get_mut("workspaces").and_then(Json::as_object_mut);
    if let Some(workspaces) = workspaces.filter(|workspaces| workspaces.len() == 1) {
        for workspace in workspaces.values_mut().filter_map(Json::as_object_mut) {
            // Where there is one it is the primary one anyhow.
            workspace.shift_remove("primary");
        }
    }
    Json::Object(table)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    fn entry(section: Section, fields: Json) -> Entry {
        Entry::new(section, None, fields.as_object().cloned().unwrap_or_default())
    }

    #[test]
    fn what_is_written_reads_as_it_was() {
        let all = [
            entry(Section::Company, json!({"name": "Acme", "requireBoardApprovalForNewAgents": true})),
            entry(Section::Labels, json!({"name": "bug", "color": "#ff0000"})),
            entry(
                Section::Agents,
                json!({"name": "Ada", "role": "ceo", "adapterType": "process", "canAssignTasks": true,
                       "adapterConfig": {"command": "true", "list": [1, {"a": 1.5}]},
                       "instructions": {"entry": "b.md", "files": {"b.md": "Be kind.\n"}}}),
            ),
            entry(
                Section::Agents,
                json!({"name": "Bob", "role": "ceo", "adapterType": "process", "canCreateAgents": false}),
            ),
            entry(
                Section::Projects,
                json!({"name": "Web", "workspaces": {"web": {"cwd": "/web", "primary": true}}}),
            ),
            entry(Section::Budgets, json!({"amount": 500, "window": "calendar_month_utc"})),
        ];
        let mut document = Document::default();
        for entry in all {
            document.sections.entry(entry.section).or_default().push(entry);
        }
        document.sections.entry(Section::Goals).or_default();
        let written = write(&document).unwrap();
        assert_eq!(written["agents"][0].get("canCreateAgents"), None, "it follows from the role");
        assert_eq!(written["agents"][1]["canCreateAgents"], false);
        assert_eq!(written["goals"], json!([]), "that there are none is said");
        let mut read = read(&written).unwrap();
        for entry in read.sections.values_mut().flatten() {
            entry.place.clear();
        }
        assert_eq!(read, document);
    }

    #[test]
    fn things_that_no_file_could_tell_apart_are_not_written() {
        let goal = |id: &str, title: &str| Entry {
            id: Some(id.to_owned()),
            ..entry(Section::Goals, json!({ "title": title }))
        };
        let goals = vec![goal("a", "Grow"), goal("b", "Sell"), goal("c", "Grow")];
        let document = Document { sections: BTreeMap::from([(Section::Goals, goals)]) };
        let ids = vec!["a".to_owned(), "c".to_owned()];
        assert_eq!(write(&document), Err(Twice { section: Section::Goals, name: "Grow".to_owned(), ids }));
    }

    #[test]
    fn settings_stand_in_one_order_whichever_they_were_saved_in() {
        let config = |text: &str| {
            let config: Json = serde_json::from_str(text).unwrap();
            let agent = entry(
                Section::Agents,
                json!({"name": "Ada", "adapterType": "process", "adapterConfig": config, "metadata": config}),
            );
            let document = Document { sections: BTreeMap::from([(Section::Agents, vec![agent])]) };
            write(&document).unwrap().to_string()
        };
        let first = config(r#"{"b": 1, "a": {"d": null, "c": [{"z": 1, "y": 2}]}}"#);
        assert_eq!(first, config(r#"{"a": {"c": [{"y": 2, "z": 1}], "d": null}, "b": 1}"#));
        assert!(first.contains(r#"{"a":{"c":[{"y":2,"z":1}],"d":null},"b":1}"#), "{first}");
    }
}
