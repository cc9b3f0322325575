//! `bugle service`: what is kept running beside workspaces, and jobs that are run in them.

use clap::{Args, Subcommand};
use domain::ids::looks_like_id;
use serde_json::{Map, Value as Json, json};

use super::answer::{one_line, rows, text};
use super::{project, workspace};
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

#[derive(Debug, Subcommand)]
pub(crate) enum RuntimeService {
    /// List the services of the company
    List(List),
    /// Start services of a workspace
    Start(Start),
    /// Run a job in a workspace
    Run(RunJob),
    /// Stop a service
    Stop(Named),
    /// Print what a service said
    Logs(Named),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Also those that are over
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Name or id of the project
    project: String,
    /// The service, by its name in the configuration [default: all of them]
    service: Option<String>,
    /// The workspace, by name or id: one of the project, or one of a task by its branch [default: the primary one]
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunJob {
    /// Name or id of the project
    project: String,
    /// The job, by its name in the configuration
    job: String,
    /// The workspace, by name or id: one of the project, or one of a task by its branch [default: the primary one]
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Name or id of the service
    service: String,
}

impl RuntimeService {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            RuntimeService::List(list) => list.run(context).await,
            RuntimeService::Start(start) => start.run(context).await,
            RuntimeService::Run(job) => job.run(context).await,
            RuntimeService::Stop(Named { service }) => stop(context, &service).await,
            RuntimeService::Logs(Named { service }) => logs(context, &service).await,
        }
    }
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let only = if self.all { "" } else { "?live=true" };
        let found = client.get(&format!("/companies/{company}/runtime-services{only}")).await?;
        if context.global.json {
            context.screen.answer(&found);
            return Ok(());
        }
        show(context, rows(&found));
        Ok(())
    }
}

fn show(context: &mut Context, services: &[Json]) {
    if services.is_empty() {
        context.screen.note("no services. Start them: bugle service start PROJECT");
        return;
    }
    let shown = services.iter().map(|row| {
        let tone = if text(row, "status") == "failed" { Tone::Waiting } else { Tone::Plain };
        vec![
            (Tone::Strong, one_line(text(row, "serviceName"), 30)),
            (tone, text(row, "status").to_owned()),
            (Tone::Plain, text(row, "healthStatus").to_owned()),
            (Tone::Plain, one_line(text(row, "url"), 60)),
            (Tone::Plain, when::local(text(row, "startedAt"))),
            (Tone::Waiting, one_line(text(row, "failure"), 50)),
            (Tone::Faint, text(row, "id").to_owned()),
        ]
    });
    context.screen.table(&["SERVICE", "STATUS", "HEALTH", "URL", "SINCE", "WHY", "ID"], shown.collect());
}

/// The path of the services of a workspace: of one that the project names, or of one that its runs work in.
async fn place(
    context: &Context,
    client: &Client,
    project: &str,
    wanted: Option<&str>,
) -> Result<String, Failure> {
    let found = project::find(context, client, project).await?;
    let wanted = wanted.map(str::trim);
    let is_meant = |row: &&Json| match wanted {
        None => row["isPrimary"] == json!(true),
        Some(wanted) => text(row, "id") == wanted || text(row, "name").eq_ignore_ascii_case(wanted),
    };
    let id = text(&found, "id");
    if let Some(workspace) = rows(&found["workspaces"]).iter().find(is_meant) {
        return Ok(format!("/projects/{id}/workspaces/{}/runtime-services", text(workspace, "id")));
    }
    let Some(wanted) = wanted else {
        return Err(Failure::usage("workspace.unknown", "the project has no workspace")
            .hint("see: bugle project show PROJECT --json"));
    };
    let workspace = workspace::find(context, client, wanted).await?;
    Ok(format!("/execution-workspaces/{}/runtime-services", text(&workspace, "id")))
}

impl Start {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let place = place(context, &client, &self.project, self.workspace.as_deref()).await?;
        let mut body = Map::new();
        if let Some(service) = &self.service {
            body.insert("workspaceCommandId".to_owned(), json!(service));
        }
        let answer = client.post(&format!("{place}/start"), &Json::Object(body)).await?;
        if context.global.json {
            context.screen.answer(&answer);
            return Ok(());
        }
        let services = rows(&answer["workspace"]["runtimeServices"]);
        let live: Vec<Json> = services
            .iter()
            .filter(|row| matches!(text(row, "status"), "starting" | "running"))
            .cloned()
            .collect();
        show(context, &live);
        Ok(())
    }
}

impl RunJob {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let place = place(context, &client, &self.project, self.workspace.as_deref()).await?;
        let body = json!({ "workspaceCommandId": self.job });
        let answer = client.post(&format!("{place}/run"), &body).await?;
        if context.global.json {
            context.screen.answer(&answer);
            return Ok(());
        }
        let done = &answer["operation"];
        for part in ["stdoutExcerpt", "stderrExcerpt"] {
            for line in text(done, part).lines() {
                context.screen.line(&one_line(line, 400));
            }
        }
        let name = one_line(&self.job, 60);
        match text(done, "status") {
            "succeeded" => Ok(()),
            "running" => {
                let id = text(&done["metadata"], "runtimeServiceId");
                context.screen.note(&format!("{name} goes on; see: bugle service logs {id}"));
                Ok(())
            }
            _ => Err(Failure::failed("job.failed", format!("the job {name} failed"))
                .hint("what it said last is above")),
        }
    }
}

/// Returns the service with this id, or the live one of this name.
async fn find(context: &Context, client: &Client, named: &str) -> Result<Json, Failure> {
    let named = named.trim();
    if looks_like_id(named) {
        return client.get(&format!("/runtime-services/{named}")).await;
    }
    let company = context.company(client).await?;
    let all = client.get(&format!("/companies/{company}/runtime-services")).await?;
    let of_name: Vec<&Json> =
        rows(&all).iter().filter(|row| text(row, "serviceName").eq_ignore_ascii_case(named)).collect();
    let is_live = |row: &&&Json| matches!(text(row, "status"), "starting" | "running");
    let live: Vec<&&Json> = of_name.iter().filter(is_live).collect();
    match (live.as_slice(), of_name.first()) {
        ([one], _) => Ok(Json::clone(one)),
        // Of those that are over the newest is meant.
        ([], Some(newest)) => Ok(Json::clone(newest)),
        ([], None) => Err(Failure::usage("service.unknown", format!("there is no service `{named}`"))
            .hint("see which there are: bugle service list --all")),
        _ => Err(Failure::usage("service.ambiguous", format!("several services are called `{named}`"))
            .hint("name it by its id: bugle service list")),
    }
}

async fn stop(context: &mut Context, named: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let service = find(context, &client, named).await?;
    let stopped =
        client.post(&format!("/runtime-services/{}/stop", text(&service, "id")), &json!({})).await?;
    if context.global.json {
        context.screen.answer(&stopped);
    } else {
        context.screen.line(&format!("{} is being stopped", one_line(text(&stopped, "serviceName"), 60)));
    }
    Ok(())
}

async fn logs(context: &mut Context, named: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let service = find(context, &client, named).await?;
    let mut offset = 0;
    loop {
        let part =
            client.get(&format!("/runtime-services/{}/log?offset={offset}", text(&service, "id"))).await?;
        if context.global.json {
            context.screen.answer(&part);
        } else {
            for line in text(&part, "content").lines() {
                context.screen.line(line);
            }
        }
        let next = part["nextOffset"].as_u64().unwrap_or(offset);
        if next == offset {
            return Ok(());
        }
        offset = next;
    }
}
