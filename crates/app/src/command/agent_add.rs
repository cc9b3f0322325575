//! `bugle agent add`: puts the configuration together, has the server try it, and adds the agent.
//!
//! What is a path on this machine (the working folder, the script) is made absolute and looked at here; whether the
//! command exists is asked of the server, whose PATH it is.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value as Json, json};

use super::agent::{heartbeat, object};
use super::agent_lookup::text;
use super::env_pairs;
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::screen::Tone;

const EXAMPLES: &str = "\
Examples:
  bugle agent add hello -- echo hello
  bugle agent add tests --cwd ~/project --timeout 600 -- make test
  bugle agent add nightly --every 86400 --env LEVEL=full -- ./nightly.sh
  bugle agent add mock --script steps.txt
  bugle agent add remote --endpoint https://example.org/run
  bugle agent add cody --adapter codex_local --cwd ~/project --model gpt-5.3-codex";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Add {
    /// Its name
    name: String,
    #[arg(long, value_name = "TYPE", help = kinds())]
    adapter: Option<String>,
    /// The model of an agent program, by the name that the program knows
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Where it works [default: a folder of its own]
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// A variable in its environment, KEY=secret:NAME for a stored secret; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// End a run after so many seconds [default: no limit]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    timeout: Option<f64>,
    /// From asking a run to end to killing it [default: 15]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    grace: Option<f64>,
    /// Wake it by itself every so many seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    every: Option<f64>,
    /// Runs of this agent at the same time, 1 to 10 [default: 5]
    #[arg(long, value_name = "N")]
    max_concurrent: Option<u32>,
    /// The script of a scripted agent; it is stored with the agent
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// The address of an http agent, or of an OpenClaw gateway
    // The global --url names the server; inside this command the agent's address has the name.
    #[arg(long = "endpoint", value_name = "URL")]
    endpoint: Option<String>,
    /// More keys of the adapter's configuration
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// Add it even if the server cannot run it now
    #[arg(long)]
    no_check: bool,
    /// The command and its arguments, after --
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The help of `--adapter`.
fn kinds() -> String {
    let named = |adapter: &&dyn adapters::Adapter| match adapter.is_experimental() {
        true => format!("{} (experimental)", adapter.kind()),
        false => adapter.kind().to_owned(),
    };
    let kinds: Vec<String> = adapters::registry().iter().map(named).collect();
    format!("The kind of agent [default: by what else is given] [known: {}]", kinds.join(", "))
}

impl Add {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let kind = self.kind()?;
        let mut config = self.adapter_config(kind)?;
        let pairs = env_pairs::split("--env ", &self.env)?;
        let mut runtime = json!({});
        heartbeat(&mut runtime, self.every, self.max_concurrent)?;
        let client = context.client()?;
        let company = context.company(&client).await?;
        if !pairs.is_empty() {
            config["env"] = Json::Object(env_pairs::bindings(&client, &company, &pairs).await?);
        }
        if !self.no_check {
            try_out(context, &client, &company, kind, &config).await?;
        }
        let body = json!({
            "name": self.name,
            "adapterType": kind,
            "adapterConfig": config,
            "runtimeConfig": runtime,
        });
        let agent = client.post(&format!("/companies/{company}/agents"), &body).await?;
        if context.global.json {
            context.screen.answer(&agent);
            return Ok(());
        }
        let name = text(&agent, "name");
        let shown = context.screen.tint(Tone::Strong, name);
        context.screen.line(&format!("added {shown} ({kind}, id {})", text(&agent, "id")));
        let key = text(&agent, "urlKey");
        context.screen.note(&format!("wake it: bugle wake {key} --follow"));
        Ok(())
    }

    fn kind(&self) -> Result<&str, Failure> {
        let meant = match (&self.script, &self.endpoint) {
            (Some(_), _) => "scripted",
            (None, Some(_)) => "http",
            (None, None) => "process",
        };
        let kind = self.adapter.as_deref().unwrap_or(meant);
        let misfit = |what: &str, of: &str| {
            Err(Failure::usage(
                "agent.misfit",
                format!("{what} belongs to an agent of type {of}, not {kind}"),
            )
            .hint("see: bugle agent add --help"))
        };
        match kind {
            "process" if self.script.is_some() => misfit("--script", "scripted"),
            "process" if self.endpoint.is_some() => misfit("--endpoint", "http"),
            "process" if self.command.is_empty() && self.config.is_none() => {
                Err(Failure::usage("agent.no_command", "no command was given")
                    .hint(format!("put it behind two dashes: bugle agent add {} -- COMMAND ARGS", self.name)))
            }
            "scripted" | "http" | "openclaw_gateway" if !self.command.is_empty() => {
                misfit("a command", "process")
            }
            "scripted" if self.script.is_none() && self.config.is_none() => {
                Err(Failure::usage("agent.no_script", "no script was given")
                    .hint("add --script FILE; the steps are listed by: bugle scripted --steps"))
            }
            "http" | "openclaw_gateway" if self.endpoint.is_none() && self.config.is_none() => {
                Err(Failure::usage("agent.no_endpoint", "no address was given").hint("add --endpoint URL"))
            }
            kind => Ok(kind),
        }
    }

    fn adapter_config(&self, kind: &str) -> Result<Json, Failure> {
        let mut config = match &self.config {
            Some(text) => object("--config", text)?,
            None => json!({}),
        };
        if let Some((command, args)) = self.command.split_first() {
            config["command"] = json!(command);
            if !args.is_empty() {
                config["args"] = json!(args);
            }
        }
        if let Some(cwd) = &self.cwd {
            config["cwd"] = json!(folder(cwd)?);
        }
        if let Some(file) = &self.script {
            config["script"] = json!(script(file)?);
        }
        if let Some(endpoint) = &self.endpoint {
            config["url"] = json!(endpoint);
        }
        if let Some(model) = &self.model {
            config["model"] = json!(model);
        }
        for (key, seconds) in [("timeoutSec", self.timeout), ("graceSec", self.grace)] {
            if let Some(seconds) = seconds {
                config[key] = json!(seconds);
            }
        }
        // A command with a slash is a path: of this folder here, if the agent was not given another.
        if kind == "process"
            && let Some(command) = config.get("command").and_then(Json::as_str)
            && command.contains('/')
            && !command.starts_with('/')
            && self.cwd.is_none()
        {
            config["command"] = json!(utf8(&here(Path::new(command)), "the command")?);
        }
        Ok(config)
    }
}

/// Has the server look whether it could run this.
async fn try_out(
    context: &mut Context,
    client: &Client,
    company: &str,
    kind: &str,
    config: &Json,
) -> Result<(), Failure> {
    let path = format!("/companies/{company}/adapters/{}/test-environment", encoded(kind));
    let report = client.post(&path, &json!({ "adapterConfig": config, "probe": false })).await?;
    let checks = report.get("checks").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    let said = |check: &Json| match text(check, "detail") {
        "" => text(check, "message").to_owned(),
        detail => format!("{}: {detail}", text(check, "message")),
    };
    for check in checks.iter().filter(|check| text(check, "level") == "warn") {
        let warning = context.screen.tint_note(Tone::Waiting, "warning:");
        context.screen.note(&format!("{warning} {}", said(check)));
    }
    let Some(check) = checks.iter().find(|check| text(check, "level") == "error") else { return Ok(()) };
    let failure =
        Failure::usage(text(check, "code"), format!("the server cannot run this agent: {}", said(check)));
    let advice = match text(check, "hint") {
        "" => "correct it".to_owned(),
        hint => hint.to_owned(),
    };
    Err(failure.hint(format!("{advice}; or add it all the same with --no-check")))
}

fn here(path: &Path) -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")).join(path)
}

/// The working folder from the root, without steps up and links, if it is there.
fn folder(cwd: &Path) -> Result<String, Failure> {
    let shown = cwd.display();
    match std::fs::canonicalize(cwd) {
        Ok(folder) if folder.is_dir() => utf8(&folder, "--cwd"),
        Ok(_) => Err(Failure::usage("cwd.not_a_folder", format!("--cwd {shown} is not a folder"))
            .hint("name the folder in which the agent is to work")),
        Err(error) => Err(Failure::usage("cwd.missing", format!("cannot use --cwd {shown}: {error}"))
            .hint(format!("make it: mkdir -p '{}'", here(cwd).display()))),
    }
}

fn script(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        Failure::usage("script.unreadable", format!("cannot read the script {}: {error}", file.display()))
            .hint("the steps are listed by: bugle scripted --steps")
    })
}

fn utf8(path: &Path, what: &str) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::usage("path.not_utf8", format!("{what}: {} is not UTF-8", path.display())).hint("rename it")
    })
}
