//! `bugle issue runs|activity`: what was done about an issue, and by whom.

use clap::Args;
use serde_json::Value as Json;

use super::activity;
use super::answer::{one_line, rows, text};
use super::directory::{Directory, short};
use super::issue_lookup::find;
use super::issue_show::summary;
use crate::cli::Context;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// The issue, like ACM-12
    issue: String,
}

#[derive(Debug, Args)]
pub(crate) struct Activity {
    /// The issue, like ACM-12
    issue: String,
}

impl Runs {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let runs = client.get(&format!("/issues/{}/runs", text(&issue, "id"))).await?;
        if context.global.json {
            context.screen.answer(&runs);
            return Ok(());
        }
        if rows(&runs).is_empty() {
            let name = text(&issue, "identifier");
            context.screen.note(&format!("no run worked on it yet. Who is to: bugle issue show {name}"));
            return Ok(());
        }
        let directory = Directory::of_agents(&client, text(&issue, "companyId")).await?;
        let shown = rows(&runs).iter().map(|run| row(run, &directory)).collect();
        context.screen.table(&["RUN", "STATUS", "AGENT", "STARTED", "TOOK", "WHY", "RESULT"], shown);
        Ok(())
    }
}

fn row(run: &Json, directory: &Directory) -> Vec<(Tone, String)> {
    let status = text(run, "status");
    let started = text(run, "startedAt");
    let finished = Some(text(run, "finishedAt")).filter(|at| !at.is_empty());
    let took = if started.is_empty() { None } else { when::between(started, finished).map(when::span) };
    let why = run.get("contextSnapshot").map(|it| text(it, "wakeReason")).unwrap_or_default();
    let why = if why.is_empty() { text(run, "invocationSource") } else { why };
    vec![
        (Tone::Strong, short(text(run, "runId"))),
        (Tone::of_status(status), status.to_owned()),
        (Tone::Plain, directory.agent(text(run, "agentId"))),
        (Tone::Plain, when::local(if started.is_empty() { text(run, "createdAt") } else { started })),
        (Tone::Plain, took.unwrap_or_else(|| "-".to_owned())),
        (Tone::Plain, one_line(why, 40)),
        (Tone::Plain, one_line(summary(run), 60)),
    ]
}

impl Activity {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let told = client.get(&format!("/issues/{}/activity", text(&issue, "id"))).await?;
        activity::print(context, &client, text(&issue, "companyId"), &told).await
    }
}
