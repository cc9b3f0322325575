//! `bugle agent sessions`: what an agent would resume, and forgetting it.

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::agent_lookup::{find, text};
use crate::cli::Context;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Subcommand)]
pub(crate) enum Sessions {
    /// List the sessions of an agent's tasks, the newest first
    List(List),
    /// Forget the session of one task, or all of them; the next run begins afresh
    Reset(Reset),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Name or id of the agent
    agent: String,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Name or id of the agent
    agent: String,
    /// Only the session of this task: its key, as the list shows it
    #[arg(long, value_name = "KEY")]
    task: Option<String>,
}

impl Sessions {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Sessions::List(List { agent }) => list(context, &agent).await,
            Sessions::Reset(Reset { agent, task }) => reset(context, &agent, task).await,
        }
    }
}

async fn list(context: &mut Context, agent: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let agent = find(context, &client, agent).await?;
    let sessions = client.get(&format!("/agents/{}/task-sessions", text(&agent, "id"))).await?;
    if context.global.json {
        context.screen.answer(&sessions);
        return Ok(());
    }
    let sessions = sessions.as_array().map(Vec::as_slice).unwrap_or_default();
    if sessions.is_empty() {
        context.screen.note(&format!("{} has no sessions: its next runs begin afresh", text(&agent, "name")));
        return Ok(());
    }
    let rows = sessions.iter().map(row).collect();
    context.screen.table(&["TASK", "SESSION", "FOLDER", "USED", "LAST RUN"], rows);
    Ok(())
}

fn row(session: &Json) -> Vec<(Tone, String)> {
    let task = match text(session, "taskKey") {
        "" => "-",
        task => task,
    };
    let folder = session.pointer("/sessionParamsJson/cwd").and_then(Json::as_str).unwrap_or("-");
    vec![
        (Tone::Plain, task.to_owned()),
        (Tone::Strong, text(session, "sessionDisplayId").to_owned()),
        (Tone::Plain, folder.to_owned()),
        (Tone::Plain, when::local(text(session, "updatedAt"))),
        (Tone::Faint, text(session, "lastRunId").to_owned()),
    ]
}

async fn reset(context: &mut Context, agent: &str, task: Option<String>) -> Result<(), Failure> {
    let client = context.client()?;
    let agent = find(context, &client, agent).await?;
    let mut body = Map::new();
    body.extend(task.map(|task| ("taskKey".to_owned(), json!(task))));
    let path = format!("/agents/{}/runtime-state/reset-session", text(&agent, "id"));
    let answer = client.post(&path, &Json::Object(body)).await?;
    if context.global.json {
        context.screen.answer(&answer);
        return Ok(());
    }
    let cleared = answer.get("clearedTaskSessions").and_then(Json::as_u64).unwrap_or(0);
    let sessions = if cleared == 1 { "session" } else { "sessions" };
    context.screen.line(&format!("{}: {cleared} {sessions} forgotten", text(&agent, "name")));
    Ok(())
}
