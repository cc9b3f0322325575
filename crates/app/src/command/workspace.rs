//! `bugle workspace`: the folders that runs work in, what came of them, and closing one.

use clap::{Args, Subcommand};
use domain::ids::looks_like_id;
use serde_json::{Value as Json, json};

use super::answer::{facts, one_line, printable, rows, rows_at, text};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::{Failure, Kind};
use crate::screen::{Screen, Tone};
use crate::when;

#[derive(Debug, Subcommand)]
pub(crate) enum Workspace {
    /// List the workspaces, last used first
    List(List),
    /// Show a workspace, and what stands in the way of closing it
    Show(Named),
    /// Save what is in a workspace and remove its folder
    Close(Close),
    /// Print everything that changed in a workspace since it was made
    Diff(Named),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Closed ones too
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id of the workspace, its first digits, or its branch
    workspace: String,
}

#[derive(Debug, Args)]
pub(crate) struct Close {
    /// Id of the workspace, its first digits, or its branch
    workspace: String,
    /// Let files go that git ignores, even where they are too large to be saved
    #[arg(long)]
    discard_ignored: bool,
}

impl Workspace {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Workspace::List(list) => list.run(context).await,
            Workspace::Show(Named { workspace }) => show(context, &workspace).await,
            Workspace::Close(close) => close.run(context).await,
            Workspace::Diff(Named { workspace }) => {
                let client = context.client()?;
                let found = find(context, &client, &workspace).await?;
                print_diff(
                    &mut context.screen,
                    &client,
                    &format!("/execution-workspaces/{}/diff", text(&found, "id")),
                )
                .await
            }
        }
    }
}

/// Prints a patch as it is, for people and for `git apply`.
pub(super) async fn print_diff(screen: &mut Screen, client: &Client, path: &str) -> Result<(), Failure> {
    let answer = client.stream(path).await?;
    let is_cut = answer.headers().get("bugle-truncated").is_some_and(|value| value == "true");
    let patch =
        answer.text().await.map_err(|error| Failure::failed("answer.unreadable", error.to_string()))?;
    screen.pass_on(false, &patch);
    if is_cut {
        screen.note("this is the beginning; the branch has all of it");
    }
    Ok(())
}

/// The workspace with this id, beginning of an id, or branch.
pub(super) async fn find(context: &Context, client: &Client, named: &str) -> Result<Json, Failure> {
    let named = named.trim();
    if looks_like_id(named) {
        return client.get(&format!("/execution-workspaces/{named}")).await;
    }
    let company = context.company(client).await?;
    let all = client.get(&format!("/companies/{company}/execution-workspaces")).await?;
    let lower = named.to_ascii_lowercase();
    let is_prefix = lower.len() >= 8;
    let is_meant = |row: &&Json| {
        text(row, "branchName") == named
            || text(row, "name") == named
            || (is_prefix && text(row, "id").starts_with(&lower))
    };
    let found: Vec<&Json> = rows(&all).iter().filter(is_meant).collect();
    // A branch that was worked on before is the open one's.
    let open =
        found.iter().find(|row| text(row, "closedAt").is_empty()).filter(|_| !is_prefix || found.len() == 1);
    match (open.or_else(|| found.first()), found.len()) {
        (Some(row), 1) => Ok(Json::clone(row)),
        (Some(row), _) if text(row, "branchName") == named => Ok(Json::clone(row)),
        (Some(_), _) => {
            Err(Failure::usage("workspace.ambiguous", format!("several workspaces begin with `{named}`"))
                .hint("give more digits: bugle workspace list"))
        }
        (None, _) => Err(Failure::usage("workspace.unknown", format!("there is no workspace `{named}`"))
            .hint("see which there are: bugle workspace list --all")),
    }
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let mut found = client.get(&format!("/companies/{company}/execution-workspaces")).await?;
        if let Some(rows) = found.as_array_mut().filter(|_| !self.all) {
            rows.retain(|row| text(row, "closedAt").is_empty());
        }
        if context.global.json {
            context.screen.answer(&found);
            return Ok(());
        }
        if rows(&found).is_empty() {
            context.screen.note("no workspaces. A run on a project's issue makes one");
            return Ok(());
        }
        let shown = rows(&found).iter().map(|row| {
            vec![
                (Tone::Strong, one_line(text(row, "name"), 48)),
                (Tone::Plain, text(row, "status").to_owned()),
                (Tone::Plain, text(row, "mode").trim_end_matches("_workspace").to_owned()),
                (Tone::Plain, when::local(text(row, "lastUsedAt"))),
                (Tone::Faint, text(row, "id").to_owned()),
            ]
        });
        context.screen.table(&["NAME", "STATUS", "MODE", "USED", "ID"], shown.collect());
        Ok(())
    }
}

async fn show(context: &mut Context, named: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let found = find(context, &client, named).await?;
    let path = format!("/execution-workspaces/{}", text(&found, "id"));
    let readiness = match text(&found, "closedAt") {
        "" => client.get(&format!("{path}/close-readiness")).await?,
        _ => Json::Null,
    };
    if context.global.json {
        context.screen.answer(&json!({ "workspace": found, "closeReadiness": readiness }));
        return Ok(());
    }
    let name = context.screen.tint(Tone::Strong, &one_line(text(&found, "name"), 80));
    context.screen.line(&format!("{name}  {}", text(&found, "status")));
    let words = |key: &str| {
        rows_at(&readiness, key).iter().filter_map(Json::as_str).map(printable).collect::<Vec<_>>().join("\n")
    };
    let page = [
        ("id", text(&found, "id").to_owned()),
        ("folder", text(&found, "cwd").to_owned()),
        ("branch", text(&found, "branchName").to_owned()),
        ("base", text(&found, "baseRef").to_owned()),
        ("used", when::local(text(&found, "lastUsedAt"))),
        ("saved", text(&found["metadata"], "savedRef").to_owned()),
        ("note", text(&found, "cleanupReason").to_owned()),
        ("blocked", words("blockingReasons")),
        ("warnings", words("warnings")),
    ];
    facts(&mut context.screen, page);
    Ok(())
}

impl Close {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let found = find(context, &client, &self.workspace).await?;
        let path = format!("/execution-workspaces/{}", text(&found, "id"));
        let mut body = json!({ "status": "archived" });
        if self.discard_ignored {
            body["discardIgnored"] = Json::Bool(true);
        }
        let closed = match client.patch(&path, &body).await {
            Ok(closed) => closed,
            Err(failure) if failure.kind == Kind::Refused => {
                let readiness = client.get(&format!("{path}/close-readiness")).await?;
                let reasons: Vec<&str> =
                    rows_at(&readiness, "blockingReasons").iter().filter_map(Json::as_str).collect();
                return Err(match reasons.is_empty() {
                    true => failure,
                    false => failure.hint(reasons.join("; ")),
                });
            }
            Err(failure) => return Err(failure),
        };
        if context.global.json {
            context.screen.answer(&closed);
            return Ok(());
        }
        context.screen.line(&format!("{} is closed", one_line(text(&closed, "name"), 80)));
        match text(&closed["metadata"], "savedRef") {
            "" => {}
            saved => context.screen.note(&format!("what no commit held is saved: git log {saved}")),
        }
        Ok(())
    }
}
