//! `bugle agent`: what there is, and its pauses and ends. Adding one is `agent_add`.

use clap::{Args, Subcommand};
use domain::agent::url_key;
use serde_json::{Map, Value as Json, json};

use super::account;
use super::agent_add::Add;
use super::agent_env::SetEnv;
use super::agent_instructions::Instructions;
use super::agent_lookup::{find, text};
use super::agent_sessions::Sessions;
use super::answer::{printable, rows, rows_at};
use super::confirm::{Deed, confirm};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// Add an agent
    Add(Box<Add>),
    /// List the agents of the company
    List,
    /// Show an agent with its configuration
    Show(Named),
    /// Change an agent's configuration
    Set(Set),
    /// Set and take out variables of an agent's environment
    SetEnv(SetEnv),
    /// Stop an agent's runs and hold its queue until it is resumed
    Pause(Named),
    /// Let a paused agent work again
    Resume(Named),
    /// End an agent for good; its work is cancelled
    Terminate(Terminate),
    /// Cancel everything an agent is doing or has queued; the agent stays as it is
    CancelWork(Named),
    /// What an agent would resume
    #[command(subcommand)]
    Sessions(Sessions),
    /// What an agent is told before anything else
    #[command(subcommand)]
    Instructions(Instructions),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Name or id of the agent
    agent: String,
}

#[derive(Debug, Args)]
pub(crate) struct Terminate {
    /// Name or id of the agent
    agent: String,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Name or id of the agent
    agent: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// Wake it by itself every so many seconds; 0 switches the timer off
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    every: Option<f64>,
    /// Runs of this agent at the same time, 1 to 10
    #[arg(long, value_name = "N")]
    max_concurrent: Option<u32>,
    /// Keys of the adapter's configuration, merged into what is there
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
}

impl Agent {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Agent::Add(add) => add.run(context).await,
            Agent::List => list(context).await,
            Agent::Show(Named { agent }) => show(context, &agent).await,
            Agent::Set(set) => set.run(context).await,
            Agent::SetEnv(set) => set.run(context).await,
            Agent::Pause(Named { agent }) => {
                order(context, &agent, "pause", "is paused; its queue is held").await
            }
            Agent::Resume(Named { agent }) => order(context, &agent, "resume", "works again").await,
            Agent::Terminate(Terminate { agent, yes }) => {
                let deed = Deed {
                    code: "terminate",
                    name: &agent,
                    question: format!("End {agent} for good and cancel its work?"),
                    what: format!("ending `{agent}`"),
                    command: format!("bugle agent terminate {agent} --yes"),
                };
                confirm(context, deed, yes)?;
                order(context, &agent, "terminate", "is ended; its work was cancelled").await
            }
            Agent::CancelWork(Named { agent }) => cancel_work(context, &agent).await,
            Agent::Sessions(sessions) => sessions.run(context).await,
            Agent::Instructions(instructions) => instructions.run(context).await,
        }
    }
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let company = context.company(&client).await?;
    let agents = client.get(&format!("/companies/{company}/agents")).await?;
    if context.global.json {
        context.screen.answer(&agents);
        return Ok(());
    }
    let agents = agents.as_array().map(Vec::as_slice).unwrap_or_default();
    if agents.is_empty() {
        context.screen.note("no agents yet. Add one: bugle agent add hello -- echo hello");
        return Ok(());
    }
    // A server of an older version knows of no accounts.
    let accounts = account::all(&client, &company).await.unwrap_or_default();
    let rows = agents
        .iter()
        .map(|agent| {
            let status = text(agent, "status");
            let shown = match account::waits_of(&accounts, text(agent, "id")) {
                "" => status.to_owned(),
                waits => format!("{status} ({waits})"),
            };
            let last = match text(agent, "lastHeartbeatAt") {
                "" => "never".to_owned(),
                at => when::local(at),
            };
            vec![
                (Tone::Strong, text(agent, "name").to_owned()),
                (tone(status), shown),
                (Tone::Plain, text(agent, "adapterType").to_owned()),
                (Tone::Plain, timer(agent)),
                (Tone::Plain, last),
                (Tone::Plain, does(agent)),
                (Tone::Faint, text(agent, "id").to_owned()),
            ]
        })
        .collect();
    context.screen.table(&["NAME", "STATUS", "TYPE", "EVERY", "LAST RUN", "DOES", "ID"], rows);
    Ok(())
}

async fn show(context: &mut Context, agent: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let agent = find(context, &client, agent).await?;
    if context.global.json {
        context.screen.answer(&agent);
        return Ok(());
    }
    let status = text(&agent, "status");
    let title = context.screen.tint(Tone::Strong, text(&agent, "name"));
    let status_shown = context.screen.tint(tone(status), status);
    context.screen.line(&format!("{title}  {status_shown}"));
    let slots =
        agent.pointer("/runtimeConfig/heartbeat/maxConcurrentRuns").map(Json::to_string).unwrap_or_default();
    let mut facts = vec![
        ("id", text(&agent, "id").to_owned()),
        ("type", text(&agent, "adapterType").to_owned()),
        ("does", does(&agent)),
        ("every", timer(&agent)),
        ("at once", slots),
        ("last run", when::local(text(&agent, "lastHeartbeatAt"))),
        ("added", when::local(text(&agent, "createdAt"))),
    ];
    let accounts = account::all(&client, text(&agent, "companyId")).await.unwrap_or_default();
    let waits = account::waits_of(&accounts, text(&agent, "id"));
    if !waits.is_empty() {
        facts.push(("waits", waits.to_owned()));
    }
    if status == "paused" {
        let reason = text(&agent, "pauseReason");
        facts.push(("paused", format!("{reason} since {}", when::local(text(&agent, "pausedAt")))));
    }
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        context.screen.line(&format!("  {name:<9} {value}"));
    }
    let config = agent.get("adapterConfig").cloned().unwrap_or(Json::Null);
    context.screen.line(&format!("  config    {}", format!("{config:#}").replace('\n', "\n            ")));
    Ok(())
}

async fn order(context: &mut Context, agent: &str, order: &str, done: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let agent = find(context, &client, agent).await?;
    let changed = client.post(&format!("/agents/{}/{order}", text(&agent, "id")), &json!({})).await?;
    if context.global.json {
        context.screen.answer(&changed);
    } else {
        context.screen.line(&format!("{} {done}", text(&changed, "name")));
    }
    Ok(())
}

async fn cancel_work(context: &mut Context, agent: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let agent = find(context, &client, agent).await?;
    let report = client.post(&format!("/agents/{}/cancel-work", text(&agent, "id")), &json!({})).await?;
    if context.global.json {
        context.screen.answer(&report);
        return Ok(());
    }
    let count = |key: &str| report.get(key).and_then(Json::as_array).map_or(0, Vec::len);
    let (stopping, withdrawn) = (count("stopping"), count("withdrawn"));
    let name = text(&agent, "name");
    context
        .screen
        .line(&format!("{name}: {stopping} runs are being stopped, {withdrawn} taken out of the queue"));
    Ok(())
}

impl Set {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let agent = find(context, &client, &self.agent).await?;
        let mut patch = Map::new();
        if let Some(name) = &self.name {
            patch.insert("name".into(), json!(name));
        }
        if let Some(config) = &self.config {
            patch.insert("adapterConfig".into(), object("--config", config)?);
        }
        if self.every.is_some() || self.max_concurrent.is_some() {
            // The server takes the runtime configuration as a whole.
            let mut runtime =
                agent.get("runtimeConfig").cloned().filter(Json::is_object).unwrap_or_else(|| json!({}));
            heartbeat(&mut runtime, self.every, self.max_concurrent)?;
            patch.insert("runtimeConfig".into(), runtime);
        }
        if patch.is_empty() {
            return Err(
                Failure::usage("usage", "nothing to change was given").hint("see: bugle agent set --help")
            );
        }
        let changed = client.patch(&format!("/agents/{}", text(&agent, "id")), &Json::Object(patch)).await?;
        if context.global.json {
            context.screen.answer(&changed);
        } else {
            context.screen.line(&format!("{} is changed", text(&changed, "name")));
            let told = naming(&client, &agent, &changed).await;
            if !told.is_empty() {
                let (before, now) = (printable(text(&agent, "name")), printable(text(&changed, "name")));
                context.screen.note(&format!(
                    "these automations name it `{before}`, and new runs of them find nobody of that name: {}; \
                     name `{now}` there and apply them again",
                    told.join(", ")
                ));
            }
        }
        Ok(())
    }
}

/// The automations that call an agent by a name that it no longer has. Runs that are made already know who is meant.
async fn naming(client: &Client, before: &Json, now: &Json) -> Vec<String> {
    if text(before, "name") == text(now, "name") {
        return Vec::new();
    }
    // The agent is changed already, whether this is answered or not.
    let path = format!("/companies/{}/automations", text(now, "companyId"));
    let found = client.get(&path).await.unwrap_or(Json::Null);
    let names = rows(&found).iter().filter(|it| is_named_as_before(&it["definition"], (before, now)));
    names.map(|it| printable(text(it, "name"))).collect()
}

/// A step of the definition names the agent as it was called before, and not as it is called now.
fn is_named_as_before(definition: &Json, (before, now): (&Json, &Json)) -> bool {
    let is_called = |agent: &Json, name: &str| {
        let key = url_key(name);
        name == text(agent, "name") || (!key.is_empty() && key == url_key(text(agent, "name")))
    };
    let named = rows_at(definition, "nodes").iter().map(|node| text(node, "agent"));
    named.filter(|name| !name.is_empty()).any(|name| is_called(before, name) && !is_called(now, name))
}

/// Puts the timer and the number of slots into a runtime configuration.
pub(super) fn heartbeat(runtime: &mut Json, every: Option<f64>, slots: Option<u32>) -> Result<(), Failure> {
    if runtime.get("heartbeat").is_none_or(|heartbeat| !heartbeat.is_object()) {
        runtime["heartbeat"] = json!({});
    }
    let heartbeat = &mut runtime["heartbeat"];
    if let Some(seconds) = every {
        if !seconds.is_finite() || seconds < 0.0 {
            return Err(Failure::usage(
                "every.invalid",
                format!("--every {seconds} is not a number of seconds"),
            )
            .hint("for example --every 300; 0 switches the timer off"));
        }
        heartbeat["enabled"] = json!(seconds > 0.0);
        heartbeat["intervalSec"] =
            if seconds.fract() == 0.0 { json!(seconds as u64) } else { json!(seconds) };
    }
    if let Some(slots) = slots {
        if !(1..=10).contains(&slots) {
            return Err(Failure::usage(
                "max_concurrent.invalid",
                format!("--max-concurrent {slots} is not 1 to 10"),
            )
            .hint("how many runs a whole server carries is: bugle up --max-runs N"));
        }
        heartbeat["maxConcurrentRuns"] = json!(slots);
    }
    Ok(())
}

/// Reads a JSON object that was typed.
pub(super) fn object(flag: &str, text: &str) -> Result<Json, Failure> {
    match serde_json::from_str::<Json>(text) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(Failure::usage("json.invalid", format!("{flag} must be a JSON object"))
            .hint(format!("for example: {flag} '{{\"key\": \"value\"}}'"))),
        Err(error) => Err(Failure::usage("json.invalid", format!("{flag} is not JSON: {error}"))
            .hint(format!("for example: {flag} '{{\"key\": \"value\"}}'"))),
    }
}

fn tone(status: &str) -> Tone {
    match status {
        "running" => Tone::Busy,
        "paused" | "pending_approval" => Tone::Waiting,
        "error" => Tone::Bad,
        "terminated" => Tone::Faint,
        _ => Tone::Good,
    }
}

fn timer(agent: &Json) -> String {
    let heartbeat = agent.pointer("/runtimeConfig/heartbeat").unwrap_or(&Json::Null);
    let every = heartbeat.get("intervalSec").and_then(Json::as_f64).filter(|seconds| *seconds > 0.0);
    match (heartbeat.get("enabled").and_then(Json::as_bool), every) {
        (Some(true), Some(seconds)) => when::span(std::time::Duration::from_secs_f64(seconds.min(3e8))),
        _ => "-".to_owned(),
    }
}

/// What it runs, in one line.
fn does(agent: &Json) -> String {
    let config = agent.get("adapterConfig").unwrap_or(&Json::Null);
    let command = text(config, "command");
    let line = if !command.is_empty() {
        let args = config.get("args").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let args = args.iter().filter_map(Json::as_str).map(quoted);
        std::iter::once(quoted(command)).chain(args).collect::<Vec<_>>().join(" ")
    } else {
        ["url", "file", "script"]
            .iter()
            .map(|key| text(config, key))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
            .to_owned()
    };
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(48) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn quoted(word: &str) -> String {
    let is_plain =
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_says_in_one_line_what_it_does() {
        let config = |config: Json| does(&json!({ "adapterConfig": config }));
        assert_eq!(
            config(json!({"command": "sh", "args": ["-c", "echo 'a  b'"]})),
            "sh -c 'echo '\\''a b'\\'''"
        );
        assert_eq!(config(json!({"url": "https://example.org/run"})), "https://example.org/run");
        assert_eq!(config(json!({"script": "print a\nprint b"})), "print a print b");
        assert_eq!(config(json!({})), "");
        assert_eq!(config(json!({"command": "x".repeat(60)})).chars().count(), 49);
    }

    #[test]
    fn automations_that_name_an_agent_as_it_was_called_are_found() {
        let named = |name: &str, before: &str, now: &str| {
            let definition = json!({ "nodes": [{ "id": "ok", "gate": {} }, { "id": "a", "agent": name }] });
            is_named_as_before(&definition, (&json!({ "name": before }), &json!({ "name": now })))
        };
        for (name, before, now, expected) in [
            ("len", "len", "lenny", true),
            ("Big Len", "big-len", "lenny", true),
            ("lenny", "len", "lenny", false),
            ("len", "len", "Len", false),
            ("bob", "len", "lenny", false),
            ("019ab3f2-0000-7000-8000-000000000000", "len", "lenny", false),
        ] {
            assert_eq!(named(name, before, now), expected, "{name}: {before} {now}");
        }
    }

    #[test]
    fn a_timer_is_switched_on_and_off_by_its_span() {
        let mut runtime = json!({"heartbeat": {"maxConcurrentRuns": 2}, "other": 1});
        heartbeat(&mut runtime, Some(300.0), None).unwrap();
        assert_eq!(
            runtime,
            json!({"heartbeat": {"maxConcurrentRuns": 2, "enabled": true, "intervalSec": 300}, "other": 1})
        );
        heartbeat(&mut runtime, Some(0.0), Some(3)).unwrap();
        assert_eq!(runtime["heartbeat"], json!({"maxConcurrentRuns": 3, "enabled": false, "intervalSec": 0}));
        assert!(heartbeat(&mut runtime, Some(-1.0), None).is_err());
        assert!(heartbeat(&mut runtime, None, Some(11)).is_err());
    }
}
