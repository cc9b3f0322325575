//! `bugle run`: the runs there are, one of them in full, and its end. Why a run is as it is, is `run_explain`.

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::agent_lookup::{find, text};
use super::answer::rows_at;
use super::logs::unknown;
use super::run_release::Release;
use super::{run_explain, workspace};
use crate::cli::Context;
use crate::client::encoded;
use crate::failure::Failure;
use crate::run_view::{RunView, reference, short_ids};
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Subcommand)]
pub(crate) enum Run {
    /// List runs, newest first
    List(List),
    /// Show one run in full
    Show(Named),
    /// Say what happened to a run, what it waits for, and what happens next by itself
    Explain(Named),
    /// Print what a run changed in its workspace
    Diff(Named),
    /// Let go on what somebody wrote who is not trusted, and the run that waits for it
    Release(Release),
    /// Stop a run, or take it out of the queue
    Cancel(Cancel),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only runs of this agent, by name or id
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Only runs in this state: queued, scheduled_retry, running, succeeded, failed, cancelled, timed_out
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id of the run, or its first digits
    run: String,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Id of the run, or its first digits
    run: String,
}

impl Run {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Run::List(list) => list.run(context).await,
            Run::Show(Named { run }) => show(context, &run).await,
            Run::Explain(Named { run }) => run_explain::explain(context, &run).await,
            Run::Diff(Named { run }) => {
                let client = context.client()?;
                let path = format!("/heartbeat-runs/{}/diff", reference(&run)?);
                workspace::print_diff(&mut context.screen, &client, &path).await
            }
            Run::Release(release) => release.run(context).await,
            Run::Cancel(Cancel { run }) => cancel(context, &run).await,
        }
    }
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        if let Some(status) = &self.status
            && domain::run::RunStatus::parse(status).is_none()
        {
            let known: Vec<&str> = domain::run::RunStatus::ALL.iter().map(|status| status.as_str()).collect();
            return Err(Failure::usage("status.unknown", format!("`{status}` is not a status of a run"))
                .hint(format!("one of: {}", known.join(", "))));
        }
        let client = context.client()?;
        let company = context.company(&client).await?;
        let mut path = format!("/companies/{company}/heartbeat-runs?limit={}", self.limit);
        if let Some(status) = &self.status {
            path.push_str(&format!("&status={status}"));
        }
        if let Some(named) = &self.agent {
            let agent = find(context, &client, named).await?;
            path.push_str(&format!("&agentId={}", encoded(text(&agent, "id"))));
        }
        let runs = client.get(&path).await?;
        if context.global.json {
            context.screen.answer(&runs);
            return Ok(());
        }
        let runs: Vec<RunView> =
            runs.as_array().into_iter().flatten().map(RunView::read).collect::<Result<_, _>>()?;
        if runs.is_empty() {
            context.screen.note("no runs. Wake an agent: bugle wake NAME --follow");
            return Ok(());
        }
        let agents = client.get(&format!("/companies/{company}/agents")).await?;
        let name_of = |id: &str| {
            let agents = agents.as_array().map(Vec::as_slice).unwrap_or_default();
            let agent = agents.iter().find(|agent| text(agent, "id") == id);
            // One that was ended is not listed any more.
            agent.map_or_else(|| id.to_owned(), |agent| text(agent, "name").to_owned())
        };
        let ids = short_ids(&runs.iter().map(|run| run.id.as_str()).collect::<Vec<_>>());
        let rows = runs
            .iter()
            .zip(ids)
            .map(|(run, id)| {
                let tone = Tone::of_status(&run.status);
                vec![
                    (Tone::Strong, id),
                    (tone, run.state()),
                    (Tone::Plain, name_of(&run.agent_id)),
                    (Tone::Plain, when::local(run.started_at.as_deref().unwrap_or(&run.created_at))),
                    (Tone::Plain, run.duration().unwrap_or_else(|| "-".to_owned())),
                    (Tone::Plain, run.ending()),
                ]
            })
            .collect();
        context.screen.table(&["RUN", "STATUS", "AGENT", "STARTED", "TOOK", "ENDING"], rows);
        if runs.len() == self.limit as usize {
            context.screen.note("there may be more: --limit N");
        }
        Ok(())
    }
}

async fn show(context: &mut Context, run: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let answer = client.get(&format!("/heartbeat-runs/{}", reference(run)?)).await.map_err(unknown)?;
    if context.global.json {
        context.screen.answer(&answer);
        return Ok(());
    }
    let run = RunView::read(&answer)?;
    let agent = client.get(&format!("/agents/{}", run.agent_id)).await.ok();
    let agent = agent.as_ref().map_or(run.agent_id.as_str(), |agent| text(agent, "name"));
    let id = context.screen.tint(Tone::Strong, &run.id);
    let state = context.screen.tint(Tone::of_status(&run.status), &run.state());
    context.screen.line(&format!("{id}  {state}"));
    let at = |at: &Option<String>| at.as_deref().map(when::local).unwrap_or_default();
    let woken = [&run.invocation_source, &run.trigger_detail]
        .into_iter()
        .flatten()
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let facts = [
        ("agent", agent.to_owned()),
        ("woken by", woken),
        ("asked by", asked_by(&answer)),
        ("task key", run.task_key.clone().unwrap_or_default()),
        ("asked", when::local(&run.created_at)),
        ("started", at(&run.started_at)),
        ("finished", at(&run.finished_at)),
        ("took", run.duration().unwrap_or_default()),
        ("process", run.process_pid.map(|pid| pid.to_string()).unwrap_or_default()),
        (
            "start",
            run.attempt.filter(|attempt| *attempt > 1).map(|n| format!("number {n}")).unwrap_or_default(),
        ),
        ("retry of", run.retry_of_run_id.clone().unwrap_or_default()),
        ("ending", run.ending()),
        ("error", run.error.clone().unwrap_or_default()),
        ("session", run.session_id_after.clone().unwrap_or_default()),
        ("log", log_size(&run)),
        ("printed", at(&run.last_output_at)),
        (
            "used",
            run.usage_json.as_ref().filter(|usage| !usage.is_null()).map(Json::to_string).unwrap_or_default(),
        ),
        ("result", result(&run).unwrap_or_default()),
    ];
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        context.screen.line(&format!("  {name:<9} {value}"));
    }
    let id = &run.id;
    context.screen.note(&format!("its output: bugle logs {id}   why it is so: bugle run explain {id}"));
    Ok(())
}

/// Who asked for it, and how much of it came from outside.
fn asked_by(answer: &Json) -> String {
    let provenance = &answer["provenance"];
    let who = |asker: &Json| match text(asker, "id") {
        "" => text(asker, "type").to_owned(),
        id => format!("{} {id}", text(asker, "type")),
    };
    let mut told: Vec<String> = rows_at(provenance, "askedBy").iter().map(who).collect();
    let outside = rows_at(provenance, "fromOutside");
    if !outside.is_empty() {
        let waits = outside.iter().filter(|mark| mark["decision"].is_null()).count();
        told.push(format!("from outside: {}, {waits} not released", outside.len()));
    }
    told.join(", ")
}

/// The size of the log, and of what could not be kept of it.
fn log_size(run: &RunView) -> String {
    let kept = run.log_bytes.map(|bytes| when::bytes(bytes.unsigned_abs())).unwrap_or_default();
    let dropped = run.result_json.as_ref().and_then(|result| result.get("droppedLogBytes")?.as_u64());
    match dropped {
        Some(dropped) => format!("{kept}; {} more could not be kept", when::bytes(dropped)),
        None => kept,
    }
}

fn result(run: &RunView) -> Option<String> {
    let result = run.result_json.as_ref()?;
    ["summary", "result", "message"]
        .iter()
        .map(|key| text(result, key))
        .find(|text| !text.is_empty())
        .map(str::to_owned)
}

async fn cancel(context: &mut Context, run: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let run = client.get(&format!("/heartbeat-runs/{}", reference(run)?)).await.map_err(unknown)?;
    let before = RunView::read(&run)?;
    let answer = client.post(&format!("/heartbeat-runs/{}/cancel", before.id), &json!({})).await?;
    let after = RunView::read(&answer)?;
    if context.global.json {
        context.screen.answer(&answer);
    } else if before.is_final() {
        context.screen.line(&format!("run {} is over already: {}", after.id, after.status));
    } else if after.is_final() {
        context.screen.line(&format!("run {} is {}", after.id, after.status));
    } else {
        context.screen.line(&format!("run {} is being stopped", after.id));
        context
            .screen
            .note(&format!("its processes get the agent's grace time; watch: bugle run show {}", after.id));
    }
    Ok(())
}
