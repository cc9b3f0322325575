//! `bugle issue create` and `bugle issue update`: what an issue says and how it hangs together with others.
//!
//! Names of agents, projects, labels and other issues become ids here. A label that does not exist yet is made.

use clap::Args;
use clap::builder::PossibleValuesParser;
use domain::issue::{IssueStatus, Priority};
use serde_json::{Map, Value as Json, json};

use super::answer::{listing, one_line, rows, rows_at, text};
use super::issue::{tell, typed};
use super::issue_lookup::{explained, find, ids, open_blockers};
use super::{agent_lookup, project, workspace};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;

/// Colours of labels that are made by naming them.
const COLOURS: [&str; 6] = ["#2563eb", "#16a34a", "#d97706", "#dc2626", "#7c3aed", "#0891b2"];

pub(super) fn statuses() -> PossibleValuesParser {
    PossibleValuesParser::new(IssueStatus::ALL.iter().map(|status| status.as_str()))
}

fn priorities() -> PossibleValuesParser {
    PossibleValuesParser::new(Priority::ALL.iter().map(|priority| priority.as_str()))
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What is to be done, in one line
    title: String,
    /// What is to be done, in full; - reads standard input
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How urgent it is [default: medium]
    #[arg(long, value_parser = priorities())]
    priority: Option<String>,
    /// The agent that is to do it, by name or id
    #[arg(long, value_name = "AGENT")]
    assignee: Option<String>,
    /// The issue it is part of
    #[arg(long, value_name = "ISSUE")]
    parent: Option<String>,
    /// The project it belongs to, by name or id
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Issues that must be done first, with commas between them
    #[arg(long, value_name = "ISSUES", value_delimiter = ',')]
    blocked_by: Vec<String>,
    /// How far it is [default: todo with an assignee, else backlog]
    #[arg(long, value_parser = statuses())]
    status: Option<String>,
    /// Labels, with commas between them; those that do not exist are made
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    label: Vec<String>,
    /// It is from outside: what it says is held until a trusted member releases it
    #[arg(long)]
    untrusted: bool,
}

impl Create {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let mut body = Map::new();
        body.insert("title".into(), json!(self.title));
        if let Some(description) = &self.description {
            // Nothing on standard input is no description.
            let text = Some(typed(description)?).filter(|text| !text.trim().is_empty());
            body.insert("description".into(), json!(text));
        }
        let mut worker = None;
        if let Some(named) = &self.assignee {
            let agent = agent_lookup::find(context, &client, named).await?;
            body.insert("assigneeAgentId".into(), agent["id"].clone());
            worker = Some(one_line(text(&agent, "name"), 40));
        }
        // Backlog wakes nobody: who names an assignee wants it done.
        let status = self.status.as_deref().unwrap_or(if worker.is_some() { "todo" } else { "backlog" });
        body.insert("status".into(), json!(status));
        if let Some(priority) = &self.priority {
            body.insert("priority".into(), json!(priority));
        }
        if let Some(named) = &self.parent {
            body.insert("parentId".into(), find(context, &client, named).await?["id"].clone());
        }
        if let Some(named) = &self.project {
            body.insert("projectId".into(), project::find(context, &client, named).await?["id"].clone());
        }
        if self.untrusted {
            body.insert("untrusted".into(), json!(true));
        }
        if !self.blocked_by.is_empty() {
            body.insert("blockedByIssueIds".into(), json!(ids(context, &client, &self.blocked_by).await?));
        }
        if !self.label.is_empty() {
            body.insert("labelIds".into(), json!(labels(context, &client, &company, &self.label).await?));
        }
        let created = client.post(&format!("/companies/{company}/issues"), &Json::Object(body)).await;
        let issue = match created {
            Ok(issue) => issue,
            Err(failure) => return Err(explained(&client, &json!({ "identifier": "ISSUE" }), failure).await),
        };
        tell(context, &issue);
        if !context.global.json {
            let open = if self.blocked_by.is_empty() {
                Vec::new()
            } else {
                let whole = find(context, &client, text(&issue, "id")).await?;
                open_blockers(&whole).iter().map(|it| text(it, "identifier").to_owned()).collect()
            };
            let note = match self.untrusted {
                true => format!("it waits for: bugle run release --issue {}", text(&issue, "identifier")),
                false => follows(&issue, worker.as_deref(), &open),
            };
            context.screen.note(&note);
        }
        Ok(())
    }
}

/// What happens with a new issue by itself, or what to type so that something does.
fn follows(issue: &Json, worker: Option<&str>, open: &[String]) -> String {
    let name = text(issue, "identifier");
    match (worker, text(issue, "status")) {
        (Some(worker), _) if !open.is_empty() => {
            format!("{worker} is woken for it when {} done", are(open))
        }
        (Some(worker), "backlog") => {
            format!("it is in backlog, so {worker} is not woken: bugle issue update {name} --status todo")
        }
        (Some(worker), "done" | "cancelled") => format!("it is over; {worker} is not woken"),
        (Some(worker), _) => format!("{worker} is woken for it; see: bugle issue show {name}"),
        (None, _) => format!("nobody works on it yet: bugle issue assign {name} AGENT"),
    }
}

fn are(open: &[String]) -> String {
    let is = if open.len() == 1 { "is" } else { "are" };
    format!("{} {is}", listing(open))
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The issue, like ACM-12
    issue: String,
    /// A new title
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// A new description; - reads standard input
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How urgent it is
    #[arg(long, value_parser = priorities())]
    priority: Option<String>,
    /// How far it is
    #[arg(long, value_parser = statuses())]
    status: Option<String>,
    /// The agent that is to do it, by name or id; none takes it away
    #[arg(long, value_name = "AGENT")]
    assignee: Option<String>,
    /// The issue it is part of; none makes it one of its own
    #[arg(long, value_name = "ISSUE")]
    parent: Option<String>,
    /// The project it belongs to, by name or id; none takes it out
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// The workspace that its work goes on in, by id or branch; none lets its next run have a new one
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
    /// Issues that must be done first, besides those that must already
    #[arg(long, value_name = "ISSUES", value_delimiter = ',')]
    blocked_by: Vec<String>,
    /// Issues that need not be done first any more; all lifts every block
    #[arg(long, value_name = "ISSUES", value_delimiter = ',')]
    unblock: Vec<String>,
    /// Labels to add, with commas between them; those that do not exist are made
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    label: Vec<String>,
    /// Labels to take off, with commas between them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    unlabel: Vec<String>,
    /// Something to say about the change
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
}

impl Update {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let patch = self.patch(context, &client, &issue).await?;
        if patch.is_empty() {
            return Err(
                Failure::usage("usage", "nothing to change was given").hint("see: bugle issue update --help")
            );
        }
        let changed = change(&client, &issue, patch).await?;
        tell(context, &changed);
        Ok(())
    }

    async fn patch(
        &self,
        context: &mut Context,
        client: &Client,
        issue: &Json,
    ) -> Result<Map<String, Json>, Failure> {
        let mut patch = Map::new();
        for (key, value) in [("title", &self.title), ("priority", &self.priority), ("status", &self.status)] {
            if let Some(value) = value {
                patch.insert(key.into(), json!(value));
            }
        }
        for (key, value) in [("description", &self.description), ("comment", &self.comment)] {
            if let Some(value) = value {
                patch.insert(key.into(), json!(typed(value)?));
            }
        }
        if let Some(named) = &self.assignee {
            let id = match wanted(named) {
                None => Json::Null,
                Some(named) => agent_lookup::find(context, client, named).await?["id"].clone(),
            };
            patch.insert("assigneeAgentId".into(), id);
            patch.insert("assigneeUserId".into(), Json::Null);
        }
        if let Some(named) = &self.parent {
            let id = match wanted(named) {
                None => Json::Null,
                Some(named) => find(context, client, named).await?["id"].clone(),
            };
            patch.insert("parentId".into(), id);
        }
        if let Some(named) = &self.project {
            let id = match wanted(named) {
                None => Json::Null,
                Some(named) => project::find(context, client, named).await?["id"].clone(),
            };
            patch.insert("projectId".into(), id);
        }
        if let Some(named) = &self.workspace {
            let id = match wanted(named) {
                None => Json::Null,
                Some(named) => workspace::find(context, client, named).await?["id"].clone(),
            };
            let preference = if id.is_null() { Json::Null } else { json!("reuse_existing") };
            patch.insert("executionWorkspaceId".into(), id);
            patch.insert("executionWorkspacePreference".into(), preference);
        }
        if !self.blocked_by.is_empty() || !self.unblock.is_empty() {
            let blockers = self.blockers(context, client, issue).await?;
            patch.insert("blockedByIssueIds".into(), json!(blockers));
        }
        if !self.label.is_empty() || !self.unlabel.is_empty() {
            let company = text(issue, "companyId");
            let off = |label: &&Json| {
                self.unlabel.iter().any(|name| text(label, "name").eq_ignore_ascii_case(name.trim()))
            };
            let kept = rows_at(issue, "labels").iter().filter(|label| !off(label));
            let mut ids: Vec<String> = kept.map(|label| text(label, "id").to_owned()).collect();
            for id in labels(context, client, company, &self.label).await? {
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            patch.insert("labelIds".into(), json!(ids));
        }
        Ok(patch)
    }

    /// All blockers after the change: the server takes the list as a whole.
    async fn blockers(
        &self,
        context: &Context,
        client: &Client,
        issue: &Json,
    ) -> Result<Vec<String>, Failure> {
        let lifts_all = self.unblock.iter().any(|named| named.trim().eq_ignore_ascii_case("all"));
        let mut blockers: Vec<String> = if lifts_all { Vec::new() } else { blockers_of(issue) };
        if !lifts_all {
            let lifted = ids(context, client, &self.unblock).await?;
            blockers.retain(|id| !lifted.contains(id));
        }
        for id in ids(context, client, &self.blocked_by).await? {
            if !blockers.contains(&id) {
                blockers.push(id);
            }
        }
        Ok(blockers)
    }
}

/// The ids of an issue's blockers, done or not.
pub(super) fn blockers_of(issue: &Json) -> Vec<String> {
    rows_at(issue, "blockedBy").iter().map(|blocker| text(blocker, "id").to_owned()).collect()
}

/// What was named, unless it was nothing.
fn wanted(named: &str) -> Option<&str> {
    Some(named.trim()).filter(|named| !named.is_empty() && !named.eq_ignore_ascii_case("none"))
}

/// Changes an issue; a refusal says what is in the way.
pub(super) async fn change(client: &Client, issue: &Json, patch: Map<String, Json>) -> Result<Json, Failure> {
    match client.patch(&format!("/issues/{}", text(issue, "id")), &Json::Object(patch)).await {
        Ok(changed) => Ok(changed),
        Err(failure) => Err(explained(client, issue, failure).await),
    }
}

/// The ids of labels; those that do not exist are made.
async fn labels(
    context: &mut Context,
    client: &Client,
    company: &str,
    named: &[String],
) -> Result<Vec<String>, Failure> {
    let path = format!("/companies/{company}/labels");
    let mut known = rows(&client.get(&path).await?).to_vec();
    let mut found = Vec::new();
    for name in named.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        let existing = known.iter().find(|label| text(label, "name").eq_ignore_ascii_case(name)).cloned();
        let label = match existing {
            Some(label) => label,
            None => {
                let body = json!({ "name": name, "color": COLOURS[known.len() % COLOURS.len()] });
                let made = client.post(&path, &body).await?;
                context.screen.note(&format!("made label {}", one_line(name, 48)));
                known.push(made.clone());
                made
            }
        };
        let id = text(&label, "id").to_owned();
        if !found.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_issue_says_what_happens_next() {
        let issue = |status: &str| json!({ "identifier": "ACM-1", "status": status });
        let open = ["ACM-2".to_owned(), "ACM-3".to_owned()];
        assert_eq!(
            follows(&issue("todo"), Some("ada"), &open),
            "ada is woken for it when ACM-2 and ACM-3 are done"
        );
        assert!(follows(&issue("todo"), Some("ada"), &[]).starts_with("ada is woken for it; see"));
        assert!(follows(&issue("backlog"), Some("ada"), &[]).contains("--status todo"));
        assert!(follows(&issue("backlog"), None, &[]).contains("bugle issue assign ACM-1"));
    }

    #[test]
    fn none_is_nobody_and_nothing() {
        assert_eq!((wanted("none"), wanted(" NONE "), wanted("ada")), (None, None, Some("ada")));
    }
}
