//! `bugle issue assign|done|block|cancel|reopen`: the moves in the life of an issue.

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::agent_lookup;
use super::answer::{listing, one_line, text};
use super::issue::{tell, typed};
use super::issue_fields::{blockers_of, change};
use super::issue_lookup::{find, ids, open_blockers};
use crate::cli::Context;
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Closing {
    /// The issue, like ACM-12
    issue: String,
    /// Something to say about it; - reads standard input
    #[arg(long, short = 'm', value_name = "TEXT")]
    comment: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Assign {
    /// The issue, like ACM-12
    issue: String,
    /// The agent that is to do it, by name or id
    #[arg(required_unless_present_any = ["user", "nobody"], conflicts_with_all = ["user", "nobody"])]
    agent: Option<String>,
    /// A person instead, by their id
    #[arg(long, value_name = "ID", conflicts_with = "nobody")]
    user: Option<String>,
    /// Take it away from whoever has it
    #[arg(long)]
    nobody: bool,
    /// Something to say about it; - reads standard input
    #[arg(long, short = 'm', value_name = "TEXT")]
    comment: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Block {
    /// The issue, like ACM-12
    issue: String,
    /// The issues it waits for, with commas between them
    #[arg(long, value_name = "ISSUES", value_delimiter = ',')]
    by: Vec<String>,
    /// What it waits for, in words; - reads standard input
    #[arg(long, short = 'm', value_name = "TEXT")]
    comment: Option<String>,
}

/// A patch with a comment, if one was typed.
fn with_comment(comment: Option<&str>) -> Result<Map<String, Json>, Failure> {
    let mut patch = Map::new();
    if let Some(comment) = comment {
        patch.insert("comment".into(), json!(typed(comment)?));
    }
    Ok(patch)
}

impl Assign {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let mut patch = with_comment(self.comment.as_deref())?;
        // Both are sent: an issue has one assignee, and setting the one does not clear the other.
        let mut worker = None;
        let (agent, user) = match (&self.agent, &self.user) {
            (Some(named), _) => {
                let agent = agent_lookup::find(context, &client, named).await?;
                worker = Some(one_line(text(&agent, "name"), 40));
                (agent["id"].clone(), Json::Null)
            }
            (None, Some(user)) => (Json::Null, json!(user)),
            (None, None) => (Json::Null, Json::Null),
        };
        patch.insert("assigneeAgentId".into(), agent);
        patch.insert("assigneeUserId".into(), user);
        let changed = change(&client, &issue, patch).await?;
        tell(context, &changed);
        let name = text(&changed, "identifier");
        match (worker, text(&changed, "status")) {
            (Some(worker), "backlog") => context.screen.note(&format!(
                "it is in backlog, so {worker} is not woken: bugle issue update {name} --status todo"
            )),
            (Some(worker), "done" | "cancelled") => context
                .screen
                .note(&format!("it is over; for more work on it by {worker}: bugle issue reopen {name}")),
            (Some(worker), _) => {
                context.screen.note(&format!("{worker} is woken for it; see: bugle issue show {name}"))
            }
            (None, _) => {}
        }
        Ok(())
    }
}

/// Says that an issue is done.
pub(super) async fn done(context: &mut Context, closing: Closing) -> Result<(), Failure> {
    close(context, closing, "done").await
}

/// Cancels an issue.
pub(super) async fn cancel(context: &mut Context, closing: Closing) -> Result<(), Failure> {
    close(context, closing, "cancelled").await
}

async fn close(context: &mut Context, closing: Closing, status: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let issue = find(context, &client, &closing.issue).await?;
    let mut patch = with_comment(closing.comment.as_deref())?;
    patch.insert("status".into(), json!(status));
    let changed = change(&client, &issue, patch).await?;
    tell(context, &changed);
    let waiting: Vec<String> = super::answer::rows_at(&issue, "blocks")
        .iter()
        .filter(|it| !matches!(text(it, "status"), "done" | "cancelled"))
        .map(|it| text(it, "identifier").to_owned())
        .collect();
    match (text(&changed, "status"), waiting.as_slice()) {
        (_, []) => {}
        ("done", waiting) => context.screen.note(&format!("waited for it: {}", listing(waiting))),
        // A cancelled blocker is never done: somebody has to say what becomes of what waits.
        ("cancelled", waiting) => context.screen.note(&format!(
            "{} waited for it, and whoever owns that is told; to go on without it: bugle issue update {} --unblock {}",
            listing(waiting),
            waiting[0],
            text(&changed, "identifier")
        )),
        (_, _) => {}
    }
    Ok(())
}

/// Takes an issue up again.
pub(super) async fn reopen(context: &mut Context, closing: Closing) -> Result<(), Failure> {
    let client = context.client()?;
    let issue = find(context, &client, &closing.issue).await?;
    let status = text(&issue, "status");
    if matches!(status, "todo" | "in_progress") && closing.comment.is_none() {
        return Err(Failure::usage(
            "issue.open",
            format!("{} is open already: it is {status}", text(&issue, "identifier")),
        )
        .hint("to say something to whoever works on it: bugle issue comment ISSUE TEXT"));
    }
    let mut patch = with_comment(closing.comment.as_deref())?;
    patch.insert("reopen".into(), json!(true));
    if !matches!(status, "todo" | "in_progress") {
        patch.insert("status".into(), json!("todo"));
    }
    let changed = change(&client, &issue, patch).await?;
    tell(context, &changed);
    let open: Vec<String> =
        open_blockers(&issue).iter().map(|it| text(it, "identifier").to_owned()).collect();
    if !open.is_empty() {
        context.screen.note(&format!("it still waits for {}", listing(&open)));
    } else if text(&changed, "assigneeAgentId").is_empty() {
        let name = text(&changed, "identifier");
        context.screen.note(&format!("nobody works on it: bugle issue assign {name} AGENT"));
    }
    Ok(())
}

impl Block {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        if self.by.is_empty() && self.comment.is_none() && open_blockers(&issue).is_empty() {
            return Err(Failure::usage("block.no_reason", "nothing was given that it waits for").hint(
                "name issues with --by ACM-1,ACM-2, or say it in words with --comment: whoever looks must know",
            ));
        }
        let mut patch = with_comment(self.comment.as_deref())?;
        patch.insert("status".into(), json!("blocked"));
        if !self.by.is_empty() {
            let mut blockers = blockers_of(&issue);
            for id in ids(context, &client, &self.by).await? {
                if !blockers.contains(&id) {
                    blockers.push(id);
                }
            }
            patch.insert("blockedByIssueIds".into(), json!(blockers));
        }
        let changed = change(&client, &issue, patch).await?;
        tell(context, &changed);
        let whole = if changed.get("blockedBy").is_some() { &changed } else { &issue };
        let open: Vec<String> =
            open_blockers(whole).iter().map(|it| text(it, "identifier").to_owned()).collect();
        let name = text(&changed, "identifier");
        let is_owned = !text(&changed, "assigneeAgentId").is_empty();
        context.screen.note(&match open.as_slice() {
            [] => format!("when it can go on: bugle issue reopen {name}"),
            open if is_owned => format!("its assignee is woken when {} done", finished(open)),
            open => format!(
                "when {} done, nobody is there to go on: bugle issue assign {name} AGENT",
                finished(open)
            ),
        });
        Ok(())
    }
}

fn finished(open: &[String]) -> String {
    let is = if open.len() == 1 { "is" } else { "are" };
    format!("{} {is}", listing(open))
}
