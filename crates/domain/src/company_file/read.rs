//! Reading a file: what it says, or everything that is wrong with it, each with its place.
//!
//! Files of ours are read strictly (D20): what is not known is refused, with what is. Whether a name that is referred to
//! exists, and what free settings may hold, is not known here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::schema::{Absent, ENVIRONMENT, Field, Holds, WORKSPACE, fields};
use super::{Document, Entry, Mistake, Section, VERSION, without_nulls, without_unset};
use crate::instructions;

/// As many entries may a section have.
const MOST: usize = 10_000;
/// The longest name.
const LONGEST: usize = 255;

/// Reads a document.
pub fn read(document: &Json) -> Result<Document, Vec<Mistake>> {
    let mut reader = Reader::default();
    let Some(top) = document.as_object() else {
        let hint = "write tables like [company] and [[agents]]; see docs/company-file.md";
        return Err(vec![Mistake::new("", "a company file is a table", hint)]);
    };
    reader.version(top.get("version"));
    let mut sections = BTreeMap::new();
    for (key, value) in top.iter().filter(|(key, value)| *key != "version" && !value.is_null()) {
        let Some(section) = Section::parse(key) else {
            let known: Vec<&str> = Section::ALL.iter().map(|section| section.as_str()).collect();
            reader.wrong(key, "is not known", format!("known are: version, {}", known.join(", ")));
            continue;
        };
        sections.insert(section, reader.section(section, value));
    }
    reader.look_for_twins(&sections);
    if reader.mistakes.is_empty() { Ok(Document { sections }) } else { Err(reader.mistakes) }
}

#[derive(Default)]
struct Reader {
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn wrong(&mut self, path: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.push(Mistake::new(path, message, hint));
    }

    fn version(&mut self, given: Option<&Json>) {
        let hint = format!("write at the top: version = {VERSION}");
        match given {
            Some(version) if version.as_i64() == Some(VERSION) => {}
            None => self.wrong("version", "must be there", hint),
            Some(version) => {
                let hint = format!("{hint}; a newer program may read this file");
                self.wrong("version", format!("{version} is not a version that is read here"), hint);
            }
        }
    }

    fn section(&mut self, section: Section, value: &Json) -> Vec<Entry> {
        if section == Section::Company {
            let entry = self.entry(section, section.as_str().to_owned(), value);
            return entry.into_iter().collect();
        }
        let Some(items) = value.as_array() else {
            let hint = format!("write each {} as [[{section}]]", section.thing());
            self.wrong(section.as_str(), format!("must be a list, not {}", kind(value)), hint);
            return Vec::new();
        };
        if items.len() > MOST {
            let hint = format!("at most {MOST}");
            self.wrong(section.as_str(), format!("has {} entries", items.len()), hint);
            return Vec::new();
        }
        let read = items.iter().enumerate();
        read.filter_map(|(at, item)| self.entry(section, format!("{section}[{at}]"), item)).collect()
    }

    fn entry(&mut self, section: Section, place: String, value: &Json) -> Option<Entry> {
        let before = self.mistakes.len();
        let read = self.table(&place, fields(section), value)?;
        if self.mistakes.len() > before {
            return None;
        }
        let entry = Entry { place, ..Entry::new(section, None, read) };
        self.together(&entry);
        Some(entry)
    }

    /// What fields of one entry mean together.
    fn together(&mut self, entry: &Entry) {
        let place = &entry.place;
        match entry.section {
            Section::Budgets => {
                if entry.fields.contains_key("agent") && entry.fields.contains_key("project") {
                    let hint = "name one of them, or neither for the whole company";
                    self.wrong(place, "names both an agent and a project", hint);
                }
                if !(1..=99).contains(&entry.count("warnPercent")) {
                    let path = format!("{place}.warnPercent");
                    self.wrong(&path, "must be between 1 and 99", "leave it out for 80");
                }
            }
            Section::Projects => self.primary(entry),
            Section::Company
            | Section::Labels
            | Section::Skills
            | Section::Environments
            | Section::Agents
            | Section::Goals
            | Section::Automations
            | Section::Webhooks => {}
        }
    }

    /// Of several workspaces one is the primary one; of one it is that.
    fn primary(&mut self, entry: &Entry) {
        let workspaces = entry.object("workspaces");
        let primary = workspaces.values().filter(|workspace| workspace["primary"] == true).count();
        if primary > 1 || (primary == 0 && workspaces.len() > 1) {
            let path = format!("{}.workspaces", entry.place);
            let hint = "write primary = true in one of them: new work begins there";
            self.wrong(&path, format!("has {primary} primary workspaces"), hint);
        }
    }

    fn table(&mut self, place: &str, table: &[Field], value: &Json) -> Option<Map<String, Json>> {
        let Some(given) = value.as_object() else {
            self.wrong(
                place,
                format!("must be a table, not {}", kind(value)),
                "write its fields as KEY = VALUE",
            );
            return None;
        };
        let mut read = Map::new();
        for (key, value) in given {
            let path = format!("{place}.{key}");
            let Some(field) = table.iter().find(|field| field.name == key) else {
                let known: Vec<&str> = table.iter().map(|field| field.name).collect();
                self.wrong(&path, "is not known", format!("known are: {}", known.join(", ")));
                continue;
            };
            if !value.is_null()
                && let Some(value) = self.value(&path, field.holds, value)
            {
                read.insert(key.clone(), value);
            }
        }
        for field in table.iter().filter(|field| field.absent == Absent::Refused) {
            if given.get(field.name).is_none_or(Json::is_null) {
                self.wrong(&format!("{place}.{}", field.name), "must be there", "give it a value");
            }
        }
        Some(read)
    }

    fn value(&mut self, path: &str, holds: Holds, value: &Json) -> Option<Json> {
        match holds {
            Holds::Line => self.line(path, value).map(Json::String),
            Holds::One(_) => match value.as_str() {
                // As good as not there.
                Some("") => Some(value.clone()),
                _ => self.line(path, value).map(Json::String),
            },
            Holds::Text => self.text(path, value).map(|text| Json::String(text.to_owned())),
            Holds::Flag if value.is_boolean() => Some(value.clone()),
            Holds::Flag => self.other(path, "true or false", value),
            Holds::Count => match whole(value) {
                Some(number) if number >= 0 => Some(Json::from(number)),
                Some(_) => {
                    self.wrong(path, "must not be negative", "0 is the least");
                    None
                }
                None => self.other(path, "a whole number", value),
            },
            Holds::Word(words) => {
                let text = self.text(path, value)?;
                if words().contains(&text) {
                    return Some(value.clone());
                }
                self.wrong(path, format!("`{text}` is not known"), format!("one of: {}", words().join(", ")));
                None
            }
            Holds::Object => self.settings(path, value).map(without_nulls),
            Holds::Config => self.settings(path, value).map(without_unset),
            Holds::Data => self.settings(path, value),
            Holds::Items => match value.as_array() {
                Some(items) => {
                    let read = items.iter().enumerate();
                    let read: Option<Vec<Json>> =
                        read.map(|(at, item)| self.settings(&format!("{path}[{at}]"), item)).collect();
                    Some(Json::Array(read?))
                }
                None => self.other(path, "a list of tables", value),
            },
            Holds::Policy => {
                if value.get("environmentId").is_some() {
                    let hint = format!("name it: {ENVIRONMENT} = \"NAME\"");
                    self.wrong(&format!("{path}.environmentId"), "is an id, which no file holds", hint);
                    return None;
                }
                // An empty name means the company's own machine, whatever others say.
                let named = value.get(ENVIRONMENT).filter(|named| !named.is_null() && **named != "");
                if let Some(named) = named {
                    self.line(&format!("{path}.{ENVIRONMENT}"), named)?;
                }
                self.settings(path, value).map(without_nulls)
            }
            Holds::Many(_) | Holds::Texts => self.list(path, value),
            Holds::Instructions => self.instructions(path, value),
            Holds::Workspaces => self.workspaces(path, value),
        }
    }

    fn other(&mut self, path: &str, wanted: &str, value: &Json) -> Option<Json> {
        self.wrong(path, format!("must be {wanted}, not {}", kind(value)), format!("write {wanted}"));
        None
    }

    fn text<'a>(&mut self, path: &str, value: &'a Json) -> Option<&'a str> {
        let Some(text) = value.as_str() else {
            self.other(path, "a text", value);
            return None;
        };
        if text.contains('\0') {
            self.wrong(path, "must not contain NUL characters", "leave them out");
            return None;
        }
        Some(text)
    }

    fn line(&mut self, path: &str, value: &Json) -> Option<String> {
        let text = self.text(path, value)?.trim();
        // What may be in it beside is for the rules of the thing to say.
        if text.is_empty() || text.chars().count() > LONGEST {
            let message = format!("must be a text of 1 to {LONGEST} characters");
            self.wrong(path, message, "give it a name");
            return None;
        }
        Some(text.to_owned())
    }

    fn settings(&mut self, path: &str, value: &Json) -> Option<Json> {
        if !value.is_object() {
            return self.other(path, "a table", value);
        }
        if value.to_string().contains("\\u0000") {
            self.wrong(path, "must not contain NUL characters", "leave them out");
            return None;
        }
        Some(value.clone())
    }

    fn list(&mut self, path: &str, value: &Json) -> Option<Json> {
        let Some(items) = value.as_array() else { return self.other(path, "a list of texts", value) };
        let mut read: Vec<String> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let line = self.line(&format!("{path}[{at}]"), item)?;
            if !read.contains(&line) {
                read.push(line);
            }
        }
        Some(Json::from(read))
    }

    fn instructions(&mut self, path: &str, value: &Json) -> Option<Json> {
        let Some(given) = value.as_object() else { return self.other(path, "a table", value) };
        let mut files = Map::new();
        let mut entry = instructions::ENTRY.to_owned();
        for (key, value) in given {
            let place = format!("{path}.{key}");
            match key.as_str() {
                "entry" => entry = self.file_name(&place, value.as_str())?,
                "files" => {
                    let Some(given) = value.as_object() else {
                        return self.other(&place, "a table of texts by their file names", value);
                    };
                    for (name, text) in given {
                        let place = format!("{place}.{name}");
                        let name = self.file_name(&place, Some(name))?;
                        if name == instructions::LEGACY_PROMPT {
                            let hint = "write it there: promptTemplate = \"TEXT\"";
                            self.wrong(&place, "is what promptTemplate of adapterConfig is shown as", hint);
                            continue;
                        }
                        let text = self.text(&place, text)?;
                        files.insert(name, Json::from(text));
                    }
                }
                _ => self.wrong(&place, "is not known", "known are: entry, files"),
            }
        }
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        for (at, name) in paths.iter().enumerate() {
            if let Some(other) = instructions::in_the_way(name, paths[..at].iter().copied()) {
                let hint = "one of them is a folder for the other: rename it";
                self.wrong(&format!("{path}.files.{name}"), format!("{other} is in the way"), hint);
            }
        }
        let mut read = Map::new();
        if entry != instructions::ENTRY {
            read.insert("entry".to_owned(), Json::from(entry));
        }
        if !files.is_empty() {
            read.insert("files".to_owned(), Json::Object(files));
        }
        Some(Json::Object(read))
    }

    fn file_name(&mut self, path: &str, name: Option<&str>) -> Option<String> {
        match instructions::path(name.unwrap_or_default()) {
            Ok(name) => Some(name),
            Err(fault) => {
                self.wrong(path, fault.text(), "write it like AGENTS.md or docs/style.md");
                None
            }
        }
    }

    fn workspaces(&mut self, path: &str, value: &Json) -> Option<Json> {
        let Some(given) = value.as_object() else {
            return self.other(path, "a table of workspaces by their names", value);
        };
        let mut read = Map::new();
        for (name, workspace) in given {
            let place = format!("{path}.{name}");
            let Some(name) = self.line(&place, &Json::from(name.as_str())) else { continue };
            if let Some(mut fields) = self.table(&place, WORKSPACE, workspace) {
                if given.len() == 1 {
                    fields.insert("primary".to_owned(), Json::Bool(true));
                }
                read.insert(name, Json::Object(fields));
            }
        }
        Some(Json::Object(read))
    }

    /// No two entries may be the same thing.
    fn look_for_twins(&mut self, sections: &BTreeMap<Section, Vec<Entry>>) {
        for (section, entries) in sections {
            let mut seen = BTreeSet::new();
            for entry in entries {
                if !seen.insert(&entry.key) {
                    let message = format!("a second {} `{}`", section.thing(), entry.name);
                    self.wrong(&entry.place, message, "leave one of them out, or give it another name");
                }
            }
        }
    }
}

/// Whole numbers are whole however they are written.
fn whole(value: &Json) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mistakes(document: Json) -> Vec<(String, String)> {
        let found = read(&document).expect_err("nothing was wrong");
        found.into_iter().map(|mistake| (mistake.path, mistake.message)).collect()
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let document = json!({
            "version": 2,
            "colour": "red",
            "company": {"name": " ", "requireBoardApprovalForNewAgents": "yes"},
            "labels": [{"name": "bug"}, "x"],
            "agents": [
                {"name": "Ada", "adapterType": "process", "adapterConfig": [], "shoeSize": 7},
                {"name": "Bob", "adapterType": "process", "role": "king", "skills": ["a", 1]},
                {"name": "Cy", "adapterType": "process",
                 "instructions": {"entry": "../x", "files": {"a": "x"}}},
            ],
            "goals": {},
            "projects": [
                {"name": "Web", "workspaces": {"one": {"cwd": 1}, "two": {"source": "x"}}},
                {"name": "Site", "executionWorkspacePolicy": {"environmentId": "x"}},
                {"name": "Two", "workspaces": {"a": {"cwd": "/a"}, "b": {"cwd": "/b"}}},
            ],
            "budgets": [
                {"agent": "Ada", "project": "Web", "amount": 5},
                {"amount": -1},
                {"amount": 1, "warnPercent": 100},
            ],
        });
        let expected = [
            ("version", "2 is not a version that is read here"),
            ("colour", "is not known"),
            ("company.name", "must be a text of 1 to 255 characters"),
            ("company.requireBoardApprovalForNewAgents", "must be true or false, not a text"),
            ("labels[0].color", "must be there"),
            ("labels[1]", "must be a table, not a text"),
            ("agents[0].adapterConfig", "must be a table, not a list"),
            ("agents[0].shoeSize", "is not known"),
            ("agents[1].role", "`king` is not known"),
            ("agents[1].skills[1]", "must be a text, not a number"),
            ("agents[2].instructions.entry", "must not leave the folder of the bundle"),
            ("goals", "must be a list, not a table"),
            ("projects[0].workspaces.one.cwd", "must be a text, not a number"),
            ("projects[0].workspaces.two.source", "is not known"),
            ("projects[1].executionWorkspacePolicy.environmentId", "is an id, which no file holds"),
            ("projects[2].workspaces", "has 0 primary workspaces"),
            ("budgets[0]", "names both an agent and a project"),
            ("budgets[1].amount", "must not be negative"),
            ("budgets[2].warnPercent", "must be between 1 and 99"),
        ];
        assert_eq!(mistakes(document), expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_file_that_is_no_table_or_says_no_version_is_refused() {
        assert_eq!(mistakes(json!([]))[0].1, "a company file is a table");
        assert_eq!(mistakes(json!({})), [("version".to_owned(), "must be there".to_owned())]);
        assert_eq!(read(&json!({"version": 1})).unwrap(), Document::default());
    }

    #[test]
    fn two_spellings_of_one_name_are_one_agent_and_no_file_has_it_twice() {
        let agent = |name: &str| json!({"name": name, "adapterType": "process"});
        let document = json!({"version": 1, "agents": [agent("Release Notes"), agent("release-notes")]});
        let expected = [("agents[1]".to_owned(), "a second agent `release-notes`".to_owned())];
        assert_eq!(mistakes(document), expected);
        // Letters that a short name has none for are signs; names without any other letter differ as they are.
        let document =
            json!({"version": 1, "agents": [agent("Müller"), agent("東京"), agent("Möller"), agent("大阪")]});
        assert_eq!(mistakes(document), [("agents[2]".to_owned(), "a second agent `Möller`".to_owned())]);
        let projects =
            json!([{"name": "Büro"}, {"name": "Böro"}, {"name": "Web site"}, {"name": "web-site"}]);
        let expected = [("projects[3]".to_owned(), "a second project `web-site`".to_owned())];
        assert_eq!(mistakes(json!({"version": 1, "projects": projects})), expected);
        // Goals may differ in as little as that.
        let goals = json!([{"title": "Grow"}, {"title": "grow"}]);
        assert_eq!(read(&json!({"version": 1, "goals": goals})).unwrap().of(Section::Goals).len(), 2);
    }

    #[test]
    fn what_is_said_though_it_is_so_anyhow_is_left_out_and_what_follows_is_said() {
        let document = json!({"version": 1, "agents": [
            {"name": " Ada ", "adapterType": "process", "role": "ceo", "title": "", "canAssignTasks": true,
             "adapterConfig": {"cwd": null}, "metadata": {}, "skills": []},
        ], "budgets": [{"project": "Web", "amount": 0, "metric": "billed_cents", "active": false}]});
        let read = read(&document).unwrap();
        let ada = &read.of(Section::Agents)[0];
        assert_eq!(
            Json::Object(ada.fields.clone()),
            json!({"name": "Ada", "role": "ceo", "adapterType": "process", "canCreateAgents": true})
        );
        assert!(ada.flag("canAssignTasks"));
        let budget = &read.of(Section::Budgets)[0];
        assert_eq!(budget.key, "project web billed_cents lifetime");
        assert_eq!(budget.name, "project Web, billed_cents, lifetime");
        assert_eq!(
            Json::Object(budget.fields.clone()),
            json!({"project": "Web", "window": "lifetime", "amount": 0})
        );
    }

    #[test]
    fn what_a_prompt_is_shown_as_is_no_file_and_a_title_may_have_lines() {
        let document = json!({"version": 1, "agents": [{"name": "Ada", "adapterType": "process",
            "instructions": {"entry": "promptTemplate.legacy.md", "files": {"promptTemplate.legacy.md": "x"}}}]});
        let places: Vec<String> = mistakes(document).into_iter().map(|(path, _)| path).collect();
        assert!(
            places.contains(&"agents[0].instructions.files.promptTemplate.legacy.md".to_owned()),
            "{places:?}"
        );
        let goals =
            json!({"version": 1, "goals": [{"title": "one\ntwo"}, {"title": "x", "parent": "one\ntwo"}]});
        assert_eq!(read(&goals).unwrap().of(Section::Goals)[0].name, "one\ntwo");
    }

    #[test]
    fn a_lone_workspace_is_the_primary_one() {
        let document =
            json!({"version": 1, "projects": [{"name": "Web", "workspaces": {"web": {"cwd": "/w"}}}]});
        let read = read(&document).unwrap();
        assert_eq!(
            read.of(Section::Projects)[0].fields["workspaces"],
            json!({"web": {"primary": true, "cwd": "/w"}})
        );
    }
}
