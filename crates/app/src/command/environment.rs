//! `bugle environment`: the machines that runs work on.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use domain::ids::looks_like_id;
use reqwest::Method;
use serde_json::{Map, Value as Json, json};

use super::agent_lookup;
use super::answer::{one_line, rows, text};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Subcommand)]
pub(crate) enum Environment {
    /// List the environments of the company
    List,
    /// Add a machine that is reached over ssh
    Add(Add),
    /// Look whether runs could work in an environment
    Probe(Named),
    /// Have an agent work in an environment, from its next run on
    Use(Use),
    /// Remove an environment that nobody works in
    Remove(Named),
    /// List who works, or worked, in an environment
    Leases(Leases),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Name or id of the environment
    environment: String,
}

#[derive(Debug, Args)]
pub(crate) struct Use {
    /// Name or id of the agent
    agent: String,
    /// Name or id of the environment [default: that of the company]
    environment: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Leases {
    /// Name or id of the environment
    environment: String,
    /// Only those that are active
    #[arg(long)]
    active: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its name
    name: String,
    /// The machine, as in: ssh HOST
    #[arg(long, value_name = "HOST")]
    host: String,
    /// A folder on the machine; runs work in folders of their own below it
    #[arg(long, value_name = "DIR")]
    path: String,
    /// The user to log in as [default: that of the server, or of its ssh configuration]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The port of its ssh server [default: 22]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// A file with the private key, on the machine of the server [default: what ssh uses there]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A file with the line of the machine, as in known_hosts [default: what ssh knows there]
    #[arg(long, value_name = "FILE")]
    known_hosts: Option<PathBuf>,
    /// Take an unknown machine at its word the first time, and hold it to it from then on
    #[arg(long)]
    trust_first: bool,
    /// Where agents on the machine reach this server [default: through the line]
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
    /// Keep it even if it cannot be reached now
    #[arg(long)]
    unprobed: bool,
}

impl Environment {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Environment::List => list(context).await,
            Environment::Add(add) => add.run(context).await,
            Environment::Probe(Named { environment }) => probe(context, &environment).await,
            Environment::Use(chosen) => chosen.run(context).await,
            Environment::Remove(Named { environment }) => remove(context, &environment).await,
            Environment::Leases(leases) => leases.run(context).await,
        }
    }
}

/// Returns the environment with this id or name.
async fn find(context: &Context, client: &Client, named: &str) -> Result<Json, Failure> {
    let named = named.trim();
    let unknown = || {
        Failure::usage("environment.unknown", format!("there is no environment `{named}`"))
            .hint("see which there are: bugle environment list")
    };
    if looks_like_id(named) {
        return client
            .get(&format!("/environments/{named}"))
            .await
            .map_err(|failure| if failure.message == "Environment not found" { unknown() } else { failure });
    }
    let company = context.company(client).await?;
    let all = client.get(&format!("/companies/{company}/environments")).await?;
    let matching: Vec<&Json> =
        rows(&all).iter().filter(|row| text(row, "name").eq_ignore_ascii_case(named)).collect();
    match matching.as_slice() {
        [] => Err(unknown()),
        [one] => Ok(Json::clone(one)),
        _ => {
            Err(Failure::usage("environment.ambiguous", format!("several environments are called `{named}`"))
                .hint("name it by its id: bugle environment list"))
        }
    }
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let company = context.company(&client).await?;
    let all = client.get(&format!("/companies/{company}/environments")).await?;
    if context.global.json {
        context.screen.answer(&all);
        return Ok(());
    }
    let shown = rows(&all).iter().map(|row| {
        vec![
            (Tone::Strong, one_line(text(row, "name"), 40)),
            (Tone::Plain, text(row, "driver").to_owned()),
            (Tone::Plain, text(row, "status").to_owned()),
            (Tone::Plain, one_line(&place(&row["config"]), 60)),
            (Tone::Faint, text(row, "id").to_owned()),
        ]
    });
    context.screen.table(&["NAME", "DRIVER", "STATUS", "PLACE", "ID"], shown.collect());
    Ok(())
}

fn place(config: &Json) -> String {
    let host = text(config, "host");
    if host.is_empty() {
        return String::new();
    }
    let user = match text(config, "username") {
        "" => String::new(),
        user => format!("{user}@"),
    };
    let port =
        config["port"].as_u64().filter(|port| *port != 22).map_or(String::new(), |port| format!(":{port}"));
    format!("{user}{host}{port} {}", text(config, "remoteWorkspacePath"))
}

impl Add {
    fn config(&self) -> Result<Map<String, Json>, Failure> {
        let mut config = Map::new();
        let mut put = |key: &str, value: Option<Json>| {
            if let Some(value) = value {
                config.insert(key.to_owned(), value);
            }
        };
        put("host", Some(json!(self.host)));
        put("remoteWorkspacePath", Some(json!(self.path)));
        put("username", self.user.as_ref().map(|user| json!(user)));
        put("port", self.port.map(|port| json!(port)));
        put("apiUrl", self.api_url.as_ref().map(|url| json!(url)));
        put("strictHostKeyChecking", self.trust_first.then(|| json!(false)));
        if let Some(key) = &self.key {
            let path = std::path::absolute(key).map_err(|error| unreadable(key, &error))?;
            put("privateKeyPath", Some(json!(path)));
        }
        if let Some(known) = &self.known_hosts {
            let lines = std::fs::read_to_string(known).map_err(|error| unreadable(known, &error))?;
            put("knownHosts", Some(json!(lines)));
        }
        Ok(config)
    }

    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let config = self.config()?;
        if !self.unprobed {
            let asked = json!({ "driver": "ssh", "config": config });
            let path = format!("/companies/{company}/environments/probe-config");
            let report = client.post(&path, &asked).await?;
            if report["ok"] != json!(true) {
                return Err(Failure::failed("environment.unreachable", text(&report, "summary").to_owned())
                    .hint("try it by hand: ssh HOST; or keep it as it is with --unprobed"));
            }
        }
        let body = json!({ "name": self.name, "driver": "ssh", "config": config });
        let made = client.post(&format!("/companies/{company}/environments"), &body).await?;
        if context.global.json {
            context.screen.answer(&made);
            return Ok(());
        }
        let name = one_line(text(&made, "name"), 80);
        context.screen.line(&format!("added environment {name} (id {})", text(&made, "id")));
        context.screen.note(&format!("have an agent work there: bugle environment use AGENT \"{name}\""));
        Ok(())
    }
}

fn unreadable(file: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::usage("usage", format!("cannot read {}: {error}", file.display())).hint("check the path")
}

async fn probe(context: &mut Context, named: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let environment = find(context, &client, named).await?;
    let report =
        client.post(&format!("/environments/{}/probe", text(&environment, "id")), &json!({})).await?;
    let is_well = report["ok"] == json!(true);
    if context.global.json {
        context.screen.answer(&report);
    } else if is_well {
        context.screen.line(text(&report, "summary"));
    }
    if is_well {
        Ok(())
    } else {
        Err(Failure::failed("environment.unreachable", text(&report, "summary").to_owned())
            .hint("try it by hand from the machine of the server: ssh HOST"))
    }
}

async fn remove(context: &mut Context, named: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let environment = find(context, &client, named).await?;
    let removed =
        client.ask(Method::DELETE, &format!("/environments/{}", text(&environment, "id")), None, &[]).await?;
    if context.global.json {
        context.screen.answer(&removed);
    } else {
        context.screen.line(&format!("removed environment {}", one_line(text(&removed, "name"), 80)));
    }
    Ok(())
}

impl Use {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let agent = agent_lookup::find(context, &client, &self.agent).await?;
        let environment = match &self.environment {
            Some(named) => find(context, &client, named).await?,
            None => Json::Null,
        };
        let body = json!({ "defaultEnvironmentId": environment["id"] });
        let changed = client.patch(&format!("/agents/{}", text(&agent, "id")), &body).await?;
        if context.global.json {
            context.screen.answer(&changed);
            return Ok(());
        }
        let place = match text(&environment, "name") {
            "" => "in the default environment of the company".to_owned(),
            name => format!("in {}", one_line(name, 80)),
        };
        context
            .screen
            .line(&format!("{} works {place} from its next run on", one_line(text(&changed, "name"), 80)));
        Ok(())
    }
}

impl Leases {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let environment = find(context, &client, &self.environment).await?;
        let only = if self.active { "?status=active" } else { "" };
        let path = format!("/environments/{}/leases{only}", text(&environment, "id"));
        let leases = client.get(&path).await?;
        if context.global.json {
            context.screen.answer(&leases);
            return Ok(());
        }
        if rows(&leases).is_empty() {
            context.screen.note("nobody has worked there yet");
            return Ok(());
        }
        let shown = rows(&leases).iter().map(|lease| {
            vec![
                (Tone::Plain, text(lease, "status").to_owned()),
                (Tone::Plain, text(lease, "heartbeatRunId").chars().take(8).collect()),
                (Tone::Plain, when::local(text(lease, "acquiredAt"))),
                (
                    Tone::Plain,
                    match text(lease, "releasedAt") {
                        "" => String::new(),
                        at => when::local(at),
                    },
                ),
                (Tone::Waiting, one_line(text(lease, "failureReason"), 60)),
                (Tone::Faint, text(lease, "id").to_owned()),
            ]
        });
        context.screen.table(&["STATUS", "RUN", "SINCE", "UNTIL", "WHY", "ID"], shown.collect());
        Ok(())
    }
}
