//! Which fields an entry of each section has: one table that reading, writing and comparing follow.

use serde_json::{Map, Value as Json, json};

use super::Section;
use crate::agent::Role;
use crate::automation::AutomationStatus;
use crate::automation::definition::Priority;
use crate::budget::{DEFAULT_WARN_PERCENT, Metric, WindowKind};

/// In free settings: the environment that they name, by its name in a file and by its id in the store.
pub const ENVIRONMENT: &str = "environment";

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holds {
    /// A name: a short text that must say something.
    Line,
    Text,
    Flag,
    Count,
    Word(fn() -> Vec<&'static str>),
    /// Settings that are somebody else's to understand. What is null is not set.
    Object,
    /// Settings of an adapter: one that is null is not set, and what is in one is nobody's to change.
    Config,
    /// What people keep with a thing, to the last null.
    Data,
    /// A list of tables, each as it is.
    Items,
    /// The name of an entry of another section.
    One(Section),
    /// Names of entries of another section, or of this one.
    Many(Section),
    Texts,
    /// Files by their path, with an entry file.
    Instructions,
    /// Workspaces by their name.
    Workspaces,
    /// Settings that may name an environment.
    Policy,
}

/// What it means that a field is not there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Absent {
    /// It must be.
    Refused,
    /// The thing has nothing of the kind.
    Nothing,
    /// What the company has stays: nobody would miss it in a file.
    Stays,
    Flag(bool),
    Count(i64),
    Word(&'static str),
    /// It follows from other fields.
    Derived,
    /// This word. What is said is for a new thing alone: one that is there keeps what it has.
    Born(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    pub(super) absent: Absent,
}

const fn field(name: &'static str, holds: Holds, absent: Absent) -> Field {
    Field { name, holds, absent }
}

const COMPANY: &[Field] = &[
    field("name", Holds::Line, Absent::Stays),
    field("description", Holds::Text, Absent::Nothing),
    field("brandColor", Holds::Text, Absent::Nothing),
    field("requireBoardApprovalForNewAgents", Holds::Flag, Absent::Flag(false)),
];

const LABELS: &[Field] =
    &[field("name", Holds::Line, Absent::Refused), field("color", Holds::Line, Absent::Refused)];

const SKILLS: &[Field] = &[
    field("key", Holds::Line, Absent::Refused),
    field("name", Holds::Line, Absent::Stays),
    field("description", Holds::Text, Absent::Stays),
    field("metadata", Holds::Data, Absent::Nothing),
    field("markdown", Holds::Text, Absent::Refused),
];

const ENVIRONMENTS: &[Field] = &[
    field("name", Holds::Line, Absent::Refused),
    field("driver", Holds::Line, Absent::Refused),
    field("description", Holds::Text, Absent::Nothing),
    field("archived", Holds::Flag, Absent::Flag(false)),
    field("config", Holds::Object, Absent::Nothing),
    field("metadata", Holds::Data, Absent::Nothing),
];

const AGENTS: &[Field] = &[
    field("name", Holds::Line, Absent::Refused),
    field("role", Holds::Word(roles), Absent::Word(Role::General.as_str())),
    field("title", Holds::Text, Absent::Nothing),
    field("icon", Holds::Text, Absent::Nothing),
    field("reportsTo", Holds::One(Section::Agents), Absent::Nothing),
    field("capabilities", Holds::Text, Absent::Nothing),
    field("adapterType", Holds::Line, Absent::Refused),
    field("defaultEnvironment", Holds::One(Section::Environments), Absent::Nothing),
    field("canCreateAgents", Holds::Flag, Absent::Derived),
    field("canAssignTasks", Holds::Flag, Absent::Flag(true)),
    field("skills", Holds::Texts, Absent::Nothing),
    field("adapterConfig", Holds::Config, Absent::Nothing),
    field("runtimeConfig", Holds::Object, Absent::Nothing),
    field("metadata", Holds::Data, Absent::Nothing),
    field("instructions", Holds::Instructions, Absent::Nothing),
];

const GOALS: &[Field] = &[
    field("title", Holds::Line, Absent::Refused),
    field("description", Holds::Text, Absent::Nothing),
    field("level", Holds::Word(levels), Absent::Word("task")),
    field("parent", Holds::One(Section::Goals), Absent::Nothing),
    field("owner", Holds::One(Section::Agents), Absent::Nothing),
];

const PROJECTS: &[Field] = &[
    field("name", Holds::Line, Absent::Refused),
    field("description", Holds::Text, Absent::Nothing),
    field("lead", Holds::One(Section::Agents), Absent::Nothing),
    field("targetDate", Holds::Text, Absent::Nothing),
    field("color", Holds::Text, Absent::Stays),
    field("archived", Holds::Flag, Absent::Flag(false)),
    field("goals", Holds::Many(Section::Goals), Absent::Nothing),
    field("env", Holds::Object, Absent::Nothing),
    field("executionWorkspacePolicy", Holds::Policy, Absent::Nothing),
    field("workspaces", Holds::Workspaces, Absent::Nothing),
];

const BUDGETS: &[Field] = &[
    field("agent", Holds::One(Section::Agents), Absent::Nothing),
    field("project", Holds::One(Section::Projects), Absent::Nothing),
    field("metric", Holds::Word(metrics), Absent::Word(Metric::BilledCents.as_str())),
    field("window", Holds::Word(windows), Absent::Derived),
    field("amount", Holds::Count, Absent::Refused),
    field("warnPercent", Holds::Count, Absent::Count(DEFAULT_WARN_PERCENT)),
    field("hardStop", Holds::Flag, Absent::Flag(true)),
    field("notify", Holds::Flag, Absent::Flag(true)),
    field("active", Holds::Flag, Absent::Flag(true)),
];

/// What they hold is `domain::automation`'s to understand, but for the status, which no definition has.
const AUTOMATIONS: &[Field] = &[
    field("name", Holds::Line, Absent::Refused),
    field("status", Holds::Word(statuses), Absent::Born(AutomationStatus::Active.as_str())),
    field("description", Holds::Text, Absent::Nothing),
    field("workspace", Holds::Text, Absent::Nothing),
    field("priority", Holds::Word(priorities), Absent::Word("medium")),
    field("inputs", Holds::Data, Absent::Nothing),
    field("limits", Holds::Object, Absent::Nothing),
    field("policy", Holds::Object, Absent::Nothing),
    field("after", Holds::Items, Absent::Nothing),
    field("nodes", Holds::Items, Absent::Refused),
    field("schedules", Holds::Items, Absent::Nothing),
];

const WEBHOOKS: &[Field] = &[
    field("url", Holds::Text, Absent::Refused),
    field("events", Holds::Texts, Absent::Refused),
    field("description", Holds::Text, Absent::Nothing),
    field("enabled", Holds::Flag, Absent::Flag(true)),
];

/// The fields of one workspace of a project.
pub(super) const WORKSPACE: &[Field] = &[
    field("primary", Holds::Flag, Absent::Flag(false)),
    field("sourceType", Holds::Word(sources), Absent::Word("local_path")),
    field("cwd", Holds::Text, Absent::Nothing),
    field("repoUrl", Holds::Text, Absent::Nothing),
    field("repoRef", Holds::Text, Absent::Nothing),
    field("defaultRef", Holds::Text, Absent::Nothing),
    field("visibility", Holds::Word(visibilities), Absent::Word("default")),
    field("setupCommand", Holds::Text, Absent::Nothing),
    field("cleanupCommand", Holds::Text, Absent::Nothing),
    field("remoteProvider", Holds::Text, Absent::Nothing),
    field("remoteWorkspaceRef", Holds::Text, Absent::Nothing),
    field("sharedWorkspaceKey", Holds::Text, Absent::Nothing),
    field("metadata", Holds::Data, Absent::Nothing),
    field("runtimeConfig", Holds::Object, Absent::Nothing),
];

fn roles() -> Vec<&'static str> {
    Role::ALL.iter().map(|role| role.as_str()).collect()
}

fn levels() -> Vec<&'static str> {
    vec!["company", "team", "agent", "task"]
}

fn metrics() -> Vec<&'static str> {
    Metric::ALL.iter().map(|metric| metric.as_str()).collect()
}

fn windows() -> Vec<&'static str> {
    WindowKind::ALL.iter().map(|window| window.as_str()).collect()
}

fn priorities() -> Vec<&'static str> {
    Priority::ALL.iter().map(|priority| priority.as_str()).collect()
}

fn statuses() -> Vec<&'static str> {
    AutomationStatus::ALL.iter().map(|status| status.as_str()).collect()
}

fn sources() -> Vec<&'static str> {
    vec!["local_path", "git_repo", "remote_managed", "non_git_path"]
}

fn visibilities() -> Vec<&'static str> {
    vec!["default", "advanced"]
}

/// The fields of a section, in the order in which they are written.
pub(super) const fn fields(section: Section) -> &'static [Field] {
    match section {
        Section::Company => COMPANY,
        Section::Labels => LABELS,
        Section::Skills => SKILLS,
        Section::Environments => ENVIRONMENTS,
        Section::Agents => AGENTS,
        Section::Goals => GOALS,
        Section::Projects => PROJECTS,
        Section::Budgets => BUDGETS,
        Section::Automations => AUTOMATIONS,
        Section::Webhooks => WEBHOOKS,
    }
}

fn constant(absent: Absent) -> Option<Json> {
    match absent {
        Absent::Flag(value) => Some(json!(value)),
        Absent::Count(value) => Some(json!(value)),
        Absent::Word(value) | Absent::Born(value) => Some(json!(value)),
        Absent::Refused | Absent::Nothing | Absent::Stays | Absent::Derived => None,
    }
}

/// What a field that is not there stands for.
pub(super) fn default_of(section: Section, name: &str) -> Option<Json> {
    let field = fields(section).iter().find(|field| field.name == name)?;
    constant(field.absent)
}

/// The value of a field that follows from others.
pub(super) fn derived(section: Section, name: &str, fields: &Map<String, Json>) -> Option<Json> {
    match (section, name) {
        // Whoever leads the company takes others on.
        (Section::Agents, "canCreateAgents") => {
            Some(json!(fields.get("role").is_some_and(|role| role == Role::Ceo.as_str())))
        }
        (Section::Budgets, "window") => {
            let window = if fields.contains_key("project") {
                WindowKind::Lifetime
            } else {
                WindowKind::CalendarMonthUtc
            };
            Some(json!(window))
        }
        _ => None,
    }
}

/// The one form of the fields of an entry: nothing that is null, empty or what it is anyhow, and all that follows from
/// other fields.
pub(super) fn settled(section: Section, given: Map<String, Json>) -> Map<String, Json> {
    let mut settled = tidy(fields(section), given);
    for field in fields(section).iter().filter(|field| field.absent == Absent::Derived) {
        if !settled.contains_key(field.name)
            && let Some(value) = derived(section, field.name, &settled)
        {
            settled.insert(field.name.to_owned(), value);
        }
    }
    if section == Section::Budgets && settled.get("amount").is_some_and(|amount| amount == 0) {
        // What limits nothing is not active, whatever is said.
        settled.shift_remove("active");
    }
    settled
}

pub(super) fn tidy(table: &[Field], mut given: Map<String, Json>) -> Map<String, Json> {
    let mut tidied = Map::new();
    for field in table {
        let Some(value) = given.shift_remove(field.name) else { continue };
        let value = match field.holds {
            Holds::Workspaces => workspaces(value),
            _ => value,
        };
        let says_nothing = match &value {
            Json::Null => true,
            // A text that may say nothing is told from one that is not there only where that means something.
            Json::String(text) => text.is_empty() && field.absent != Absent::Stays,
            Json::Array(items) => items.is_empty(),
            Json::Object(map) => map.is_empty(),
            Json::Bool(_) | Json::Number(_) => false,
        };
        if !says_nothing && constant(field.absent).as_ref() != Some(&value) {
            tidied.insert(field.name.to_owned(), value);
        }
    }
    tidied
}

fn workspaces(value: Json) -> Json {
    let Json::Object(given) = value else { return value };
    let tidied = given.into_iter().map(|(name, workspace)| match workspace {
        Json::Object(fields) => (name, Json::Object(tidy(WORKSPACE, fields))),
        other => (name, other),
    });
    Json::Object(tidied.collect())
}
