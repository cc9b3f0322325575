//! `bugle approval`: what agents ask people for, and the answers.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::answer::{facts, one_line, paragraph, printable, rows, section, text};
use super::directory::{Directory, short};
use super::issue::{headline, typed};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::screen::{Screen, Tone};
use crate::when;

const STATUSES: [&str; 5] = ["pending", "approved", "rejected", "revision_requested", "cancelled"];

#[derive(Debug, Subcommand)]
pub(crate) enum Approval {
    /// List what was asked for, newest first
    List(List),
    /// Show what exactly is asked for
    Show(Named),
    /// Say yes; who asked is woken
    Approve(Decide),
    /// Say no
    Reject(Decide),
    /// Send it back to be asked better
    RequestRevision(Decide),
    /// Say something without deciding
    Comment(Comment),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those in this status
    #[arg(long, value_parser = PossibleValuesParser::new(STATUSES))]
    status: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id of the approval, or its first digits
    approval: String,
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// Id of the approval, or its first digits
    approval: String,
    /// Why; who asked can read it
    #[arg(long, short = 'm', value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Comment {
    /// Id of the approval, or its first digits
    approval: String,
    /// What to say; - reads standard input
    text: String,
}

impl Approval {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Approval::List(list) => list.run(context).await,
            Approval::Show(Named { approval }) => show(context, &approval).await,
            Approval::Approve(decide) => decide.run(context, "approve").await,
            Approval::Reject(decide) => decide.run(context, "reject").await,
            Approval::RequestRevision(decide) => decide.run(context, "request-revision").await,
            Approval::Comment(comment) => comment.run(context).await,
        }
    }
}

/// Returns the approval with this id, or the only one whose id begins so.
async fn find(context: &Context, client: &Client, typed: &str) -> Result<Json, Failure> {
    let typed = typed.trim().to_ascii_lowercase();
    let unknown = || {
        Failure::usage("approval.unknown", format!("there is no approval `{typed}`"))
            .hint("see which there are: bugle approval list")
    };
    if domain::ids::looks_like_id(&typed) {
        return client
            .get(&format!("/approvals/{typed}"))
            .await
            .map_err(|failure| if failure.message == "Approval not found" { unknown() } else { failure });
    }
    let approvals = client.get(&format!("/companies/{}/approvals", context.company(client).await?)).await?;
    let is_meant = |approval: &&Json| typed.len() >= 8 && text(approval, "id").starts_with(&typed);
    let matching: Vec<&Json> = rows(&approvals).iter().filter(is_meant).collect();
    match matching.as_slice() {
        [] => Err(unknown()),
        [one] => Ok(Json::clone(one)),
        _ => Err(Failure::usage("approval.ambiguous", format!("several approvals begin with `{typed}`"))
            .hint("give more of the id: bugle approval list")),
    }
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let filter = self.status.as_ref().map(|status| format!("?status={status}")).unwrap_or_default();
        let approvals = client.get(&format!("/companies/{company}/approvals{filter}")).await?;
        if context.global.json {
            context.screen.answer(&approvals);
            return Ok(());
        }
        if rows(&approvals).is_empty() {
            context.screen.note("nothing was asked for");
            return Ok(());
        }
        let directory = Directory::of_agents(&client, &company).await?;
        let shown = rows(&approvals).iter().map(|approval| {
            let status = text(approval, "status");
            vec![
                (Tone::Strong, short(text(approval, "id"))),
                (tone(status), status.to_owned()),
                (Tone::Plain, text(approval, "type").to_owned()),
                (Tone::Plain, asker(approval, &directory)),
                (Tone::Plain, gist(approval)),
                (Tone::Faint, when::local(text(approval, "createdAt"))),
            ]
        });
        context.screen.table(&["APPROVAL", "STATUS", "TYPE", "ASKED BY", "WHAT", "WHEN"], shown.collect());
        Ok(())
    }
}

fn tone(status: &str) -> Tone {
    match status {
        "pending" => Tone::Waiting,
        "approved" => Tone::Good,
        "rejected" => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// Who asks.
pub(super) fn asker(approval: &Json, directory: &Directory) -> String {
    match (text(approval, "requestedByAgentId"), text(approval, "requestedByUserId")) {
        ("", "") => "bugle".to_owned(),
        ("", user) => one_line(user, 40),
        (agent, _) => directory.agent(agent),
    }
}

/// What is asked for, in one line.
pub(super) fn gist(approval: &Json) -> String {
    let payload = approval.get("payload").unwrap_or(&Json::Null);
    let said =
        ["title", "summary", "name", "scopeName", "plan", "recommendedAction", "guidance", "description"]
            .iter()
            .map(|key| text(payload, key))
            .find(|text| !text.trim().is_empty())
            .unwrap_or_default();
    one_line(said, 60)
}

async fn show(context: &mut Context, typed: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let mut approval = find(context, &client, typed).await?;
    let id = text(&approval, "id").to_owned();
    let issues = client.get(&format!("/approvals/{id}/issues")).await?;
    let comments = client.get(&format!("/approvals/{id}/comments")).await?;
    if context.global.json {
        approval["issues"] = issues;
        approval["comments"] = comments;
        context.screen.answer(&approval);
        return Ok(());
    }
    let directory = Directory::of_agents(&client, text(&approval, "companyId")).await?;
    let status = text(&approval, "status");
    let (shown, status) = (context.screen.tint(Tone::Strong, &id), context.screen.tint(tone(status), status));
    context.screen.line(&format!("{shown}  {status}"));
    let page = [
        ("type", text(&approval, "type").to_owned()),
        ("asked by", asker(&approval, &directory)),
        ("asked", when::local(text(&approval, "createdAt"))),
        ("decided", when::local(text(&approval, "decidedAt"))),
        ("by", text(&approval, "decidedByUserId").to_owned()),
        ("note", text(&approval, "decisionNote").to_owned()),
    ];
    facts(&mut context.screen, page);
    section(&mut context.screen, "what is asked for");
    payload(&mut context.screen, &approval["payload"]);
    if !rows(&issues).is_empty() {
        section(&mut context.screen, "issues");
        for issue in rows(&issues) {
            let line = headline(&context.screen, issue);
            context.screen.line(&format!("  {line}"));
        }
    }
    if !rows(&comments).is_empty() {
        section(&mut context.screen, "comments");
        for comment in rows(&comments) {
            let who = context.screen.tint(Tone::Strong, &directory.author(comment));
            context.screen.line(&format!("  {who}  {}", when::local(text(comment, "createdAt"))));
            paragraph(&mut context.screen, text(comment, "body"));
        }
    }
    if matches!(text(&approval, "status"), "pending" | "revision_requested") {
        context.screen.note(&settled_by(&approval));
    }
    Ok(())
}

/// What is asked for, field by field.
pub(super) fn payload(screen: &mut Screen, payload: &Json) {
    for (key, value) in payload.as_object().into_iter().flatten() {
        match value {
            Json::Null => {}
            Json::String(text) if text.contains('\n') => {
                screen.line(&format!("  {}:", printable(key)));
                for line in text.lines() {
                    paragraph(screen, &format!("  {line}"));
                }
            }
            Json::String(text) => paragraph(screen, &format!("{key}: {text}")),
            other => paragraph(screen, &format!("{key}: {other}")),
        }
    }
}

/// What to type to decide.
pub(super) fn settled_by(approval: &Json) -> String {
    let id = short(text(approval, "id"));
    // Who waits for a permission in the middle of its work cannot ask better.
    let is_permission = approval.get("payload").is_some_and(|payload| payload["permission"].is_object());
    let revision = if is_permission { "" } else { ", or request-revision" };
    format!("bugle approval approve {id}, or reject{revision}; in full: bugle approval show {id}")
}

impl Decide {
    async fn run(self, context: &mut Context, order: &str) -> Result<(), Failure> {
        let client = context.client()?;
        let approval = find(context, &client, &self.approval).await?;
        let id = text(&approval, "id");
        let mut body = Map::new();
        if let Some(note) = &self.note {
            body.insert("decisionNote".into(), json!(typed(note)?));
        }
        let path = format!("/approvals/{id}/{order}");
        let decided = client.post(&path, &Json::Object(body)).await.map_err(|failure| {
            if failure.message.starts_with("Only pending") {
                let status = text(&approval, "status");
                let message = format!("approval {} is {status} already", short(id));
                return Failure { kind: Kind::Refused, message, ..failure }
                    .hint(format!("see what was decided: bugle approval show {}", short(id)));
            }
            failure
        })?;
        if context.global.json {
            context.screen.answer(&decided);
            return Ok(());
        }
        context.screen.line(&format!("approval {} is {}", short(id), text(&decided, "status")));
        if order == "approve" && text(&approval, "type") == "budget_override_required" {
            // Seen is not raised: the amount is decided on the incident.
            context.screen.note("the budget itself is raised with: bugle budget resolve");
        }
        Ok(())
    }
}

impl Comment {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let body = typed(&self.text)?;
        if body.trim().is_empty() {
            return Err(Failure::usage("comment.empty", "there is nothing in the comment")
                .hint("put the text in quotes: bugle approval comment ID \"which account?\""));
        }
        let client = context.client()?;
        let approval = find(context, &client, &self.approval).await?;
        let path = format!("/approvals/{}/comments", text(&approval, "id"));
        let comment = client.post(&path, &json!({ "body": body })).await?;
        if context.global.json {
            context.screen.answer(&comment);
        } else {
            context.screen.line(&format!("commented on approval {}", short(text(&approval, "id"))));
        }
        Ok(())
    }
}
