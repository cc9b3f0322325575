//! `bugle issue checkout|release|force-release`: who has an issue.

use clap::Args;
use serde_json::{Value as Json, json};

use super::agent_lookup;
use super::answer::text;
use super::issue::tell;
use super::issue_fields::statuses;
use super::issue_lookup::{explained, find};
use crate::cli::Context;
use crate::failure::Failure;

/// From where an issue may be taken unless something else is asked.
const EXPECTED: [&str; 4] = ["todo", "backlog", "blocked", "in_review"];

#[derive(Debug, Args)]
pub(crate) struct Checkout {
    /// The issue, like ACM-12
    issue: String,
    /// The agent that takes it, by name or id [default: its assignee]
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// The statuses it may be in, with commas between them [default: todo,backlog,blocked,in_review]
    #[arg(long, value_name = "STATUSES", value_delimiter = ',', value_parser = statuses())]
    expect: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ForceRelease {
    /// The issue, like ACM-12
    issue: String,
    /// Take the assignee off it too
    #[arg(long)]
    clear_assignee: bool,
}

impl Checkout {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let agent = match &self.agent {
            Some(named) => agent_lookup::find(context, &client, named).await?["id"].clone(),
            None => issue["assigneeAgentId"].clone(),
        };
        if !agent.is_string() {
            let name = text(&issue, "identifier");
            return Err(Failure::usage("checkout.no_agent", format!("{name} is no agent's"))
                .hint(format!("say who takes it: bugle issue checkout {name} --agent AGENT")));
        }
        let expected =
            if self.expect.is_empty() { EXPECTED.map(str::to_owned).to_vec() } else { self.expect };
        let body = json!({ "agentId": agent, "expectedStatuses": expected });
        let taken = client.post(&format!("/issues/{}/checkout", text(&issue, "id")), &body).await;
        told(context, &client, &issue, taken).await
    }
}

/// Gives an issue back.
pub(super) async fn release(context: &mut Context, named: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let issue = find(context, &client, named).await?;
    let released = client.post(&format!("/issues/{}/release", text(&issue, "id")), &json!({})).await;
    told(context, &client, &issue, released).await
}

async fn told(
    context: &mut Context,
    client: &crate::client::Client,
    issue: &Json,
    answer: Result<Json, Failure>,
) -> Result<(), Failure> {
    match answer {
        Ok(changed) => {
            tell(context, &changed);
            Ok(())
        }
        Err(failure) => Err(explained(client, issue, failure).await),
    }
}

impl ForceRelease {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let issue = find(context, &client, &self.issue).await?;
        let path = format!(
            "/issues/{}/admin/force-release?clearAssignee={}",
            text(&issue, "id"),
            self.clear_assignee
        );
        let released = match client.post(&path, &json!({})).await {
            Ok(released) => released,
            Err(failure) => return Err(explained(&client, &issue, failure).await),
        };
        if context.global.json {
            context.screen.answer(&released);
            return Ok(());
        }
        tell(context, released.get("issue").unwrap_or(&Json::Null));
        let previous = released.get("previous").unwrap_or(&Json::Null);
        let run = match text(previous, "checkoutRunId") {
            "" => text(previous, "executionRunId"),
            run => run,
        };
        if run.is_empty() {
            context.screen.note("no run had it");
        } else {
            let row = client.get(&format!("/heartbeat-runs/{run}")).await.unwrap_or(Json::Null);
            let itself = match text(&row, "status") {
                "running" => format!("; that run itself goes on: bugle run show {run}"),
                _ => ", which is over".to_owned(),
            };
            context.screen.note(&format!("run {run} had it{itself}"));
        }
        Ok(())
    }
}
