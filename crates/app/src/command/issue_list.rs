//! `bugle issue list`.

use clap::Args;
use domain::issue::IssueStatus;
use serde_json::Value as Json;

use super::answer::{one_line, rows, text};
use super::directory::Directory;
use super::issue::tone;
use super::issue_lookup::find;
use super::{agent_lookup, project};
use crate::cli::Context;
use crate::client::encoded;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only issues in these statuses, with commas between them; open stands for all but done and cancelled
    #[arg(long, value_name = "STATUSES", value_delimiter = ',')]
    status: Vec<String>,
    /// Only issues of this agent, by name or id; me stands for you
    #[arg(long, value_name = "AGENT")]
    assignee: Option<String>,
    /// Only issues of this project, by name or id
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
    /// Only issues directly below this one
    #[arg(long, value_name = "ISSUE")]
    parent: Option<String>,
    /// Only issues with this in their title, identifier, description or comments
    #[arg(short, long = "search", value_name = "TEXT")]
    query: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

impl List {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let statuses = statuses(&self.status)?;
        let client = context.client()?;
        let company = context.company(&client).await?;
        let mut path = format!("/companies/{company}/issues?limit={}", self.limit);
        if !statuses.is_empty() {
            path.push_str(&format!("&status={}", statuses.join(",")));
        }
        match self.assignee.as_deref() {
            None => {}
            Some("me") => path.push_str("&assigneeUserId=me"),
            Some(named) => {
                let agent = agent_lookup::find(context, &client, named).await?;
                path.push_str(&format!("&assigneeAgentId={}", text(&agent, "id")));
            }
        }
        if let Some(named) = &self.project {
            let project = project::find(context, &client, named).await?;
            path.push_str(&format!("&projectId={}", text(&project, "id")));
        }
        if let Some(named) = &self.parent {
            let parent = find(context, &client, named).await?;
            path.push_str(&format!("&parentId={}", text(&parent, "id")));
        }
        if let Some(query) = &self.query {
            path.push_str(&format!("&q={}", encoded(query)));
        }
        let issues = client.get(&path).await?;
        if context.global.json {
            context.screen.answer(&issues);
            return Ok(());
        }
        let is_filtered = path.contains('&');
        if rows(&issues).is_empty() {
            context.screen.note(if is_filtered {
                "no such issues. All of them: bugle issue list"
            } else {
                "no issues yet. Make one: bugle issue create TITLE --assignee AGENT"
            });
            return Ok(());
        }
        let directory = Directory::of(&client, &company).await?;
        let shown = rows(&issues).iter().map(|issue| row(issue, &directory)).collect();
        context
            .screen
            .table(&["ISSUE", "STATUS", "PRIORITY", "ASSIGNEE", "PROJECT", "TITLE", "LAST ACTIVITY"], shown);
        if rows(&issues).len() == self.limit as usize {
            context.screen.note("there may be more: --limit N");
        }
        Ok(())
    }
}

fn row(issue: &Json, directory: &Directory) -> Vec<(Tone, String)> {
    let status = text(issue, "status");
    let project = match text(issue, "projectId") {
        "" => String::new(),
        id => directory.project(id),
    };
    let last = match text(issue, "lastActivityAt") {
        "" => text(issue, "updatedAt"),
        at => at,
    };
    vec![
        (Tone::Strong, text(issue, "identifier").to_owned()),
        (tone(status), status_with_run(issue)),
        (priority_tone(text(issue, "priority")), text(issue, "priority").to_owned()),
        (Tone::Plain, directory.assignee(issue)),
        (Tone::Plain, project),
        (Tone::Plain, one_line(text(issue, "title"), 60)),
        (Tone::Faint, when::local(last)),
    ]
}

/// The status, with what a run is doing about it.
pub(super) fn status_with_run(issue: &Json) -> String {
    let status = text(issue, "status");
    match issue.get("activeRun").map(|run| text(run, "status")) {
        Some("running") => format!("{status} (running)"),
        Some("queued") => format!("{status} (queued)"),
        _ => status.to_owned(),
    }
}

fn priority_tone(priority: &str) -> Tone {
    match priority {
        "critical" => Tone::Bad,
        "high" => Tone::Waiting,
        "low" => Tone::Faint,
        _ => Tone::Plain,
    }
}

/// The statuses that are meant; the server does not look whether they exist.
fn statuses(typed: &[String]) -> Result<Vec<&'static str>, Failure> {
    let mut found = Vec::new();
    for word in typed.iter().map(|word| word.trim()).filter(|word| !word.is_empty()) {
        if word == "open" {
            let open = IssueStatus::ALL.iter().filter(|status| !status.is_terminal());
            found.extend(open.map(|status| status.as_str()));
            continue;
        }
        match IssueStatus::parse(word) {
            Some(status) => found.push(status.as_str()),
            None => {
                let known: Vec<&str> = IssueStatus::ALL.iter().map(|status| status.as_str()).collect();
                let failure =
                    Failure::usage("status.unknown", format!("`{word}` is not a status of an issue"));
                return Err(failure.hint(format!("one of: open, {}", known.join(", "))));
            }
        }
    }
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_stands_for_everything_that_is_not_over() {
        let of = |words: &[&str]| {
            statuses(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).map_err(|it| it.code)
        };
        assert_eq!(of(&["open"]), Ok(vec!["backlog", "todo", "in_progress", "in_review", "blocked"]));
        assert_eq!(of(&["done", "", "todo"]), Ok(vec!["done", "todo"]));
        assert_eq!(of(&["dome"]), Err("status.unknown".to_owned()));
    }
}
