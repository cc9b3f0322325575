//! `bugle project`: what issues belong to, and what budgets can be set for.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use domain::ids::looks_like_id;
use serde_json::{Map, Value as Json, json};

use super::agent_lookup;
use super::answer::{facts, number, one_line, rows, text, usd};
use super::directory::Directory;
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::Tone;
use crate::when;

const STATUSES: [&str; 5] = ["backlog", "planned", "in_progress", "completed", "cancelled"];

#[derive(Debug, Subcommand)]
pub(crate) enum Project {
    /// Make a project
    Create(Create),
    /// List the projects of the company
    List,
    /// Show a project with its spend and its open issues
    Show(Named),
    /// Change a project
    Update(Update),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Name or id of the project
    project: String,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Its name
    name: String,
    /// Where its files are, an absolute path; a git repository is worked on in worktrees
    #[arg(long, value_name = "DIR")]
    folder: Option<String>,
    /// Its repository, which the server checks out when there is no folder
    #[arg(long, value_name = "URL")]
    repo: Option<String>,
    #[command(flatten)]
    fields: Fields,
}

#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Name or id of the project
    project: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    fields: Fields,
}

#[derive(Debug, Args)]
struct Fields {
    /// What it is about
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How far it is
    #[arg(long, value_name = "STATUS", value_parser = PossibleValuesParser::new(STATUSES))]
    status: Option<String>,
    /// The agent that leads it, by name or id
    #[arg(long, value_name = "AGENT")]
    lead: Option<String>,
    /// When it is to be done
    #[arg(long, value_name = "YYYY-MM-DD")]
    target: Option<String>,
}

impl Fields {
    async fn body(&self, context: &Context, client: &Client) -> Result<Map<String, Json>, Failure> {
        let mut body = Map::new();
        for (key, value) in
            [("description", &self.description), ("status", &self.status), ("targetDate", &self.target)]
        {
            if let Some(value) = value {
                body.insert(key.into(), json!(value));
            }
        }
        if let Some(lead) = &self.lead {
            let agent = agent_lookup::find(context, client, lead).await?;
            body.insert("leadAgentId".into(), agent["id"].clone());
        }
        Ok(body)
    }
}

impl Project {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Project::Create(create) => create.run(context).await,
            Project::List => list(context).await,
            Project::Show(Named { project }) => show(context, &project).await,
            Project::Update(update) => update.run(context).await,
        }
    }
}

/// Returns the project with this id or name.
pub(super) async fn find(context: &Context, client: &Client, named: &str) -> Result<Json, Failure> {
    let named = named.trim();
    let unknown = || {
        Failure::usage("project.unknown", format!("there is no project `{named}`"))
            .hint("see which there are: bugle project list; make one: bugle project create NAME")
    };
    if looks_like_id(named) {
        return client
            .get(&format!("/projects/{named}"))
            .await
            .map_err(|failure| if failure.message == "Project not found" { unknown() } else { failure });
    }
    let projects = client.get(&format!("/companies/{}/projects", context.company(client).await?)).await?;
    let is_meant = |project: &&Json| {
        text(project, "name").eq_ignore_ascii_case(named)
            || text(project, "urlKey").eq_ignore_ascii_case(named)
    };
    let matching: Vec<&Json> = rows(&projects).iter().filter(is_meant).collect();
    match matching.as_slice() {
        [] => Err(unknown()),
        [one] => Ok(Json::clone(one)),
        _ => Err(Failure::usage("project.ambiguous", format!("several projects are called `{named}`"))
            .hint("name it by its id: bugle project list")),
    }
}

impl Create {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let mut body = self.fields.body(context, &client).await?;
        body.insert("name".into(), json!(self.name));
        if self.folder.is_some() || self.repo.is_some() {
            body.insert("workspace".into(), json!({ "cwd": self.folder, "repoUrl": self.repo }));
        }
        let project = client.post(&format!("/companies/{company}/projects"), &Json::Object(body)).await?;
        if context.global.json {
            context.screen.answer(&project);
            return Ok(());
        }
        let name = one_line(text(&project, "name"), 80);
        let key = text(&project, "urlKey");
        context.screen.line(&format!("made project {name} (id {})", text(&project, "id")));
        context.screen.note(&format!("put work into it: bugle issue create TITLE --project {key}"));
        Ok(())
    }
}

impl Update {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let project = find(context, &client, &self.project).await?;
        let mut body = self.fields.body(context, &client).await?;
        if let Some(name) = &self.name {
            body.insert("name".into(), json!(name));
        }
        if body.is_empty() {
            return Err(Failure::usage("usage", "nothing to change was given")
                .hint("see: bugle project update --help"));
        }
        let changed =
            client.patch(&format!("/projects/{}", text(&project, "id")), &Json::Object(body)).await?;
        if context.global.json {
            context.screen.answer(&changed);
        } else {
            context.screen.line(&format!("{} is changed", one_line(text(&changed, "name"), 80)));
        }
        Ok(())
    }
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let company = context.company(&client).await?;
    let projects = client.get(&format!("/companies/{company}/projects")).await?;
    if context.global.json {
        context.screen.answer(&projects);
        return Ok(());
    }
    if rows(&projects).is_empty() {
        context.screen.note("no projects yet. Make one: bugle project create NAME");
        return Ok(());
    }
    let directory = Directory::of_agents(&client, &company).await?;
    let shown = rows(&projects).iter().map(|project| {
        let lead = match text(project, "leadAgentId") {
            "" => String::new(),
            id => directory.agent(id),
        };
        vec![
            (Tone::Strong, one_line(text(project, "name"), 40)),
            (Tone::Plain, text(project, "status").to_owned()),
            (Tone::Waiting, paused(project)),
            (Tone::Plain, lead),
            (Tone::Plain, text(project, "targetDate").to_owned()),
            (Tone::Faint, text(project, "id").to_owned()),
        ]
    });
    context.screen.table(&["NAME", "STATUS", "PAUSED", "LEAD", "TARGET", "ID"], shown.collect());
    Ok(())
}

async fn show(context: &mut Context, named: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let project = find(context, &client, named).await?;
    if context.global.json {
        context.screen.answer(&project);
        return Ok(());
    }
    let (id, company) = (text(&project, "id"), text(&project, "companyId"));
    let directory = Directory::of_agents(&client, company).await?;
    let issues = client.get(&format!("/companies/{company}/issues?projectId={id}&limit=1000")).await?;
    let open = rows(&issues).iter().filter(|issue| !matches!(text(issue, "status"), "done" | "cancelled"));
    let counted = format!("{} open, {} in all", open.count(), rows(&issues).len());
    let costs = client.get(&format!("/companies/{company}/costs/by-project")).await?;
    let spent = rows(&costs).iter().find(|row| text(row, "projectId") == id);
    let name = context.screen.tint(Tone::Strong, &one_line(text(&project, "name"), 80));
    context.screen.line(&format!("{name}  {}", text(&project, "status")));
    let lead = match text(&project, "leadAgentId") {
        "" => String::new(),
        id => directory.agent(id),
    };
    let page = [
        ("id", id.to_owned()),
        ("paused", paused(&project)),
        ("about", text(&project, "description").to_owned()),
        ("lead", lead),
        ("target", text(&project, "targetDate").to_owned()),
        ("issues", counted),
        ("spent", spent.map(|row| usd(number(row, "costCents"))).unwrap_or_default()),
        ("made", when::local(text(&project, "createdAt"))),
    ];
    facts(&mut context.screen, page);
    context.screen.note(&format!("its issues: bugle issue list --project {}", text(&project, "urlKey")));
    Ok(())
}

fn paused(project: &Json) -> String {
    match (text(project, "pausedAt"), text(project, "pauseReason")) {
        ("", _) => String::new(),
        (at, "") => format!("since {}", when::local(at)),
        (at, reason) => format!("{reason}, since {}", when::local(at)),
    }
}
