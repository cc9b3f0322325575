//! A whole company as a file that people keep in git, and what has to be done to bring a company in line with one.
//!
//! A [`Document`] holds entries in sections; each entry is what one thing of the company is like, under the names of the
//! file and without ids. Reading a file ([`read`]) and looking at a company give the same form, so that [`plan`] compares
//! the two without knowing what any section means: what the fields are is one table (`schema`). Loading a company, and
//! doing what a plan says, is the engine's.

mod differences;
mod marks;
mod plan;
mod read;
mod schema;
mod write;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::agent::url_key;
use crate::webhook::place;
use crate::words;

pub use differences::FieldChange;
pub use marks::{MARK, left_over, restored, without_nulls, without_unset};
pub use plan::{Action, Change, Plan, Wish, plan};
pub use read::read;
pub use schema::ENVIRONMENT;
pub use write::{Twice, write};

/// The version of the format that is read and written.
pub const VERSION: i64 = 1;

words!(
    /// The parts of a file, in the order in which they are made: what others refer to comes first.
    Section {
        /// The company's own settings; one table.
        Company = "company",
        Labels = "labels",
        Skills = "skills",
        Environments = "environments",
        Agents = "agents",
        Goals = "goals",
        Projects = "projects",
        Budgets = "budgets",
        Automations = "automations",
        Webhooks = "webhooks",
    }
);

impl Section {
    /// One of its entries, as people call it.
    pub const fn thing(self) -> &'static str {
        match self {
            Section::Company => "company",
            Section::Labels => "label",
            Section::Skills => "skill",
            Section::Environments => "environment",
            Section::Agents => "agent",
            Section::Goals => "goal",
            Section::Projects => "project",
            Section::Budgets => "budget",
            Section::Automations => "automation",
            Section::Webhooks => "webhook",
        }
    }
}

/// One thing of a company.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub section: Section,
    /// What makes it this one; two spellings of one name have the same.
    pub key: String,
    /// As people call it.
    pub name: String,
    /// Its id, where it exists.
    pub id: Option<String>,
    /// Where it stands in the file: `agents[2]`.
    pub place: String,
    /// What it is like. Fields that have their defaults are left out.
    pub fields: Map<String, Json>,
    /// The same with marks in the place of what nobody is to read.
    pub shown: Map<String, Json>,
}

impl Entry {
    /// An entry that is there, or is made up; nothing of it is hidden yet.
    pub fn new(section: Section, id: Option<String>, fields: Map<String, Json>) -> Entry {
        let fields = schema::settled(section, fields);
        let (key, name) = named(section, &fields);
        Entry { section, key, name, id, place: String::new(), shown: fields.clone(), fields }
    }

    /// Says what of it may be shown.
    #[must_use]
    pub fn showing(mut self, shown: Map<String, Json>) -> Entry {
        self.shown = schema::settled(self.section, shown);
        self
    }

    /// The text of a field; `None` when it says nothing.
    pub fn text(&self, field: &str) -> Option<String> {
        self.value(field)?.as_str().map(str::to_owned)
    }

    /// Whether a field is true, with its default where nothing is said.
    pub fn flag(&self, field: &str) -> bool {
        self.value(field).and_then(|value| value.as_bool()).unwrap_or(false)
    }

    /// The number in a field.
    pub fn count(&self, field: &str) -> i64 {
        self.value(field).and_then(|value| value.as_i64()).unwrap_or(0)
    }

    /// The texts of a list.
    pub fn texts(&self, field: &str) -> Vec<String> {
        let listed = self.fields.get(field).and_then(Json::as_array).into_iter().flatten();
        listed.filter_map(Json::as_str).map(str::to_owned).collect()
    }

    /// An object; an empty one where nothing is said.
    pub fn object(&self, field: &str) -> Map<String, Json> {
        self.fields.get(field).and_then(Json::as_object).cloned().unwrap_or_default()
    }

    /// An object; `None` where nothing is said.
    pub fn said_object(&self, field: &str) -> Option<Json> {
        self.fields.get(field).filter(|value| value.is_object()).cloned()
    }

    /// Whether a field says something else than it did before.
    pub fn is_other(&self, before: &Entry, field: &str) -> bool {
        self.fields.get(field) != before.fields.get(field)
    }

    /// What a field holds, or its default.
    fn value(&self, field: &str) -> Option<Json> {
        self.fields.get(field).cloned().or_else(|| schema::default_of(self.section, field))
    }
}

/// What a file says, or what a company is like. A section that is missing is not spoken of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    pub sections: BTreeMap<Section, Vec<Entry>>,
}

impl Document {
    /// All entries, in the order of the sections.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.sections.values().flatten()
    }

    /// The entries of one section.
    pub fn of(&self, section: Section) -> &[Entry] {
        self.sections.get(&section).map_or(&[], Vec::as_slice)
    }

    /// The entry with this key.
    pub fn find(&self, section: Section, key: &str) -> Option<&Entry> {
        self.of(section).iter().find(|entry| entry.key == key)
    }
}

/// A mistake in a file, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub path: String,
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Mistake {
    pub fn new(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Mistake {
        Mistake { path: path.into(), message: message.into(), hint: hint.into() }
    }
}

/// The key of a name: agents and projects are the same whatever the case and the signs of their names, as everywhere in
/// the program; the names of others are compared as they are. For agents each letter that is not one of a to z is a sign,
/// too: `Müller` and `Möller` have one short name, and a company has one of them. Projects may differ in such letters, as
/// their short names then have digits of their ids.
pub fn key_of(section: Section, name: &str) -> String {
    let name = name.trim();
    match section {
        Section::Agents if !url_key(name).is_empty() => url_key(name),
        Section::Projects if name.is_ascii() && !url_key(name).is_empty() => url_key(name),
        // Values in an address are told to nobody: it is the same one without them.
        Section::Webhooks => place::shown(name),
        _ => name.to_owned(),
    }
}

/// The key and the name of an entry with these fields.
fn named(section: Section, fields: &Map<String, Json>) -> (String, String) {
    let text = |field: &str| {
        let value = fields.get(field).cloned().or_else(|| schema::default_of(section, field));
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    match section {
        Section::Company => ("company".to_owned(), text("name")),
        Section::Skills => (text("key"), text("key")),
        Section::Goals => (key_of(section, &text("title")), text("title")),
        // Each company has one of its own, whatever it is called.
        Section::Environments if text("driver") == "local" => ("local".to_owned(), text("name")),
        Section::Environments => (format!("named {}", text("name")), text("name")),
        Section::Budgets => budget_name(&text),
        Section::Webhooks => (key_of(section, &text("url")), place::shown(&text("url"))),
        Section::Labels | Section::Agents | Section::Projects | Section::Automations => {
            (key_of(section, &text("name")), text("name"))
        }
    }
}

fn budget_name(text: &dyn Fn(&str) -> String) -> (String, String) {
    let (scope, name) = match (text("agent"), text("project")) {
        (agent, _) if !agent.is_empty() => {
            (format!("agent {}", key_of(Section::Agents, &agent)), format!("agent {agent}"))
        }
        (_, project) if !project.is_empty() => {
            (format!("project {}", key_of(Section::Projects, &project)), format!("project {project}"))
        }
        _ => ("company".to_owned(), "company".to_owned()),
    };
    let (metric, window) = (text("metric"), text("window"));
    (format!("{scope} {metric} {window}"), format!("{name}, {metric}, {window}"))
}
