//! `bugle automation`: definitions, and runs of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::answer::{number, one_line, printable, rows, rows_at, text};
use super::automation_follow::watch;
use super::automation_graph as graph;
use super::automation_inputs::inputs;
use super::automation_operate::{About, Cancel, OfNode, Pause, Repair, Resume};
use super::automation_show::{Show, waits_for_agents};
use super::directory::{Shorts, short};
use super::keys::{self, not_empty};
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::company_text::{self, Format};
use crate::failure::Failure;
use crate::screen::{Screen, Tone};
use crate::when;

#[derive(Debug, Subcommand)]
pub(crate) enum Automation {
    /// Save a definition from a file; shows what that changes
    Apply(Apply),
    /// List automations
    List,
    /// Start a run
    Run(Run),
    /// List runs, newest first
    Runs(Runs),
    /// Show an automation or a run: its graph, its steps, what may be done
    Show(Show),
    /// Pause a run, or an automation: nothing of it starts then
    Pause(Pause),
    /// Have a paused run, or a paused automation, go on
    Resume(Resume),
    /// End a run
    Cancel(Cancel),
    /// Make again what failed or is blocked, with all that comes after it
    Recover(About),
    /// Make a step again, with all that comes after it
    Retry(OfNode),
    /// Let one blocked step begin again
    Continue(OfNode),
    /// Change a step of this run alone, and make it again
    Repair(Repair),
    /// Remove an automation; its runs stay on record
    Remove(Named),
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The definition: TOML, YAML or JSON; - reads standard input
    file: PathBuf,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Save a new automation as a draft: only people start it, until `bugle automation resume`
    #[arg(long)]
    draft: bool,
    /// How the file is written, when neither its name nor its text says
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Name or id of the automation
    #[arg(value_parser = not_empty)]
    automation: String,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Name or id of the automation
    #[arg(value_parser = not_empty)]
    automation: String,
    /// An input, read as the type that the automation declares; without one, what is JSON is taken as such
    #[arg(long = "input", short = 'i', value_name = "NAME=VALUE")]
    inputs: Vec<String>,
    /// Sent again with the same key, it gives the same run
    #[arg(long, value_name = "KEY", value_parser = not_empty)]
    idempotency_key: Option<String>,
    /// critical, high, medium or low
    #[arg(long, value_parser = ["critical", "high", "medium", "low"])]
    priority: Option<String>,
    /// Look at everything, and start nothing
    #[arg(long)]
    dry_run: bool,
    /// Watch it until it is over or waits for a person
    #[arg(long, short = 'f')]
    follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Runs {
    /// Only those of this automation, also when it was removed
    #[arg(value_parser = not_empty)]
    automation: Option<String>,
    /// So many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

impl Automation {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Automation::Apply(apply) => apply.run(context).await,
            Automation::List => list(context).await,
            Automation::Run(run) => run.run(context).await,
            Automation::Runs(runs) => runs.run(context).await,
            Automation::Show(show) => show.run(context).await,
            Automation::Pause(pause) => pause.run(context).await,
            Automation::Resume(resume) => resume.run(context).await,
            Automation::Cancel(cancel) => cancel.run(context).await,
            Automation::Recover(about) => about.recover(context).await,
            Automation::Retry(of) => of.run(context, "retry").await,
            Automation::Continue(of) => of.run(context, "continue").await,
            Automation::Repair(repair) => repair.run(context).await,
            Automation::Remove(Named { automation }) => {
                let client = context.client()?;
                let company = context.company(&client).await?;
                let path = format!("/companies/{company}/automations/{}", encoded(&automation));
                let done =
                    client.delete(&path).await.map_err(unknown(&automation)).map_err(
                        |failure| match rows_of(&failure, "automationRunIds").first() {
                            Some(run) => {
                                failure.hint(format!("end them, as in: bugle automation cancel {run}"))
                            }
                            None => failure,
                        },
                    )?;
                done_with(context, &done, &format!("removed {automation}; its runs stay on record"));
                Ok(())
            }
        }
    }
}

pub(super) fn done_with(context: &mut Context, answer: &Json, words: &str) {
    if context.global.json {
        context.screen.answer(answer);
    } else {
        context.screen.line(words);
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let read = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(path),
    };
    read.map_err(|error| {
        Failure::usage("automation.unreadable", format!("cannot read {}: {error}", path.display()))
            .hint("name a file that is there, or - for standard input")
    })
}

impl Apply {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let text = read(&self.file)?;
        let definition = company_text::read(&text, self.format.or_else(|| Format::of_name(&self.file)))?;
        let client = context.client()?;
        let company = context.company(&client).await?;
        let body = json!({ "definition": definition, "dryRun": self.dry_run, "draft": self.draft });
        let applied = client.post(&format!("/companies/{company}/automations"), &body).await?;
        if context.global.json {
            context.screen.answer(&applied);
            return Ok(());
        }
        let name = printable(text_at(&applied, &["automation", "name"]));
        let version = number(&applied["automation"], "version");
        let changes = rows_at(&applied, "changes");
        let would = if self.dry_run { "would be " } else { "" };
        if applied["created"] == Json::Bool(true) {
            context.screen.line(&format!("{name}: {would}new, version {version}"));
            graph::draw(&mut context.screen, &applied["automation"]["definition"], None);
        } else if changes.is_empty() {
            context.screen.line(&format!("{name}: nothing changes, version {version} stays"));
        } else {
            context.screen.line(&format!("{name}: {would}version {version}"));
            for change in changes {
                differ(&mut context.screen, change);
            }
        }
        for words in rows_at(&applied, "warnings").iter().filter_map(Json::as_str) {
            context.screen.note(&printable(words));
        }
        if !self.dry_run {
            context.screen.note(&format!("start it: bugle automation run {name}"));
        }
        if applied["automation"]["status"] == "draft" {
            let words = "it is a draft: nothing but people starts it before";
            context.screen.note(&format!("{words} `bugle automation resume {name}`"));
        }
        Ok(())
    }
}

/// A field that changed, the old line and the new one.
pub(super) fn differ(screen: &mut Screen, change: &Json) {
    let path = printable(text(change, "path"));
    for (mark, tone, side) in [("-", Tone::Bad, "before"), ("+", Tone::Good, "after")] {
        if !change[side].is_null() {
            let value = one_line(&change[side].to_string(), 120);
            let line = screen.tint(tone, &format!("  {mark} {path}: {value}"));
            screen.line(&line);
        }
    }
}

pub(super) fn text_at<'a>(of: &'a Json, path: &[&str]) -> &'a str {
    path.iter().fold(of, |of, key| &of[*key]).as_str().unwrap_or_default()
}

/// The code of a name that no automation has.
const UNKNOWN: &str = "automation.unknown";

/// Says what there is when nothing is called so.
pub(super) fn unknown(name: &str) -> impl FnOnce(Failure) -> Failure {
    let name = printable(name);
    move |failure| match failure.message.as_str() {
        "Automation not found" => Failure::usage(UNKNOWN, format!("there is no automation `{name}`"))
            .hint("see which there are: bugle automation list; and runs: bugle automation runs"),
        _ => failure,
    }
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let company = context.company(&client).await?;
    let found = client.get(&format!("/companies/{company}/automations")).await?;
    if context.global.json {
        context.screen.answer(&found);
        return Ok(());
    }
    if rows(&found).is_empty() {
        context.screen.note("no automations yet: bugle automation apply FILE saves one");
        return Ok(());
    }
    let shown = rows(&found).iter().map(|automation| {
        let open = automation["openRuns"].as_object();
        let open = open.into_iter().flatten().map(|(status, count)| format!("{count} {status}"));
        let status = text(automation, "status");
        vec![
            (Tone::Strong, printable(text(automation, "name"))),
            (if status == "active" { Tone::Good } else { Tone::Waiting }, status.to_owned()),
            (Tone::Plain, format!("v{}", number(automation, "version"))),
            (Tone::Plain, rows_at(&automation["definition"], "nodes").len().to_string()),
            (Tone::Plain, open.collect::<Vec<_>>().join(", ")),
            (Tone::Faint, when::local(text(automation, "updatedAt"))),
        ]
    });
    context
        .screen
        .table(&["AUTOMATION", "STATUS", "VERSION", "STEPS", "OPEN RUNS", "CHANGED"], shown.collect());
    Ok(())
}

impl Run {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let path = format!("/companies/{company}/automations/{}", encoded(&self.automation));
        // What is typed is read as the type that is declared; with nothing typed nobody need ask.
        let declared = match self.inputs.is_empty() {
            true => Json::Null,
            false => {
                client.get(&path).await.map_err(unknown(&self.automation))?["definition"]["inputs"].take()
            }
        };
        let mut body = json!({ "inputs": inputs(&self.inputs, &declared)?, "dryRun": self.dry_run });
        let path = format!("{path}/runs");
        let mut before = 0;
        if let Some(key) = &self.idempotency_key {
            body["idempotencyKey"] = json!(key);
            before = keys::newest(&client, &path).await.map_err(unknown(&self.automation))?;
        }
        if let Some(priority) = &self.priority {
            body["priority"] = json!(priority);
        }
        let run = client.post(&path, &body).await;
        let run = run.map_err(unknown(&self.automation)).map_err(|failure| self.explained(failure))?;
        let id = text(&run, "id").to_owned();
        let count = number(&run, "number");
        let again = keys::again(count, before);
        if self.follow && !self.dry_run {
            if !again.is_empty() {
                context.screen.note(&format!("{} #{count}{again}", self.automation));
            }
            return watch(context, &client, &id).await;
        }
        if context.global.json {
            context.screen.answer(&run);
            return Ok(());
        }
        let line = match self.dry_run {
            true => format!("{}: all is well, nothing was started{again}", self.automation),
            false => format!("{} #{count} is {}{again}", self.automation, text(&run, "status")),
        };
        context.screen.line(&line);
        context.screen.note(&format!("see it: bugle automation show {id}"));
        Ok(())
    }

    /// Names the command that helps when no run was started.
    fn explained(&self, failure: Failure) -> Failure {
        let details = failure.details.as_deref().unwrap_or(&Json::Null);
        match text(details, "status") {
            "paused" => {
                failure.hint(format!("let it start runs: bugle automation resume {}", self.automation))
            }
            _ => keys::explained(failure),
        }
    }
}

impl Runs {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let path = match &self.automation {
            Some(name) => format!("/companies/{company}/automations/{}/runs", encoded(name)),
            None => format!("/companies/{company}/automation-runs"),
        };
        let found = client.get(&format!("{path}?limit={}", self.limit)).await;
        let found = match (
            found.map_err(unknown(self.automation.as_deref().unwrap_or_default())),
            &self.automation,
        ) {
            (Err(failure), Some(name)) if failure.code == UNKNOWN => {
                of_removed(&client, &company, name, self.limit).await?.ok_or(failure)?
            }
            (found, _) => found?,
        };
        if context.global.json {
            context.screen.answer(&found);
            return Ok(());
        }
        if rows(&found).is_empty() {
            context.screen.note("no runs yet: bugle automation run NAME starts one");
            return Ok(());
        }
        let names = names(&client, &company, rows(&found)).await?;
        let name = |run: &Json| {
            let id = text(run, "automationId");
            names.get(id).map_or_else(|| short(id), |name| printable(name))
        };
        let waits = waits(&client, rows(&found)).await;
        let shorts = Shorts::of(rows(&found), "id");
        let shown = rows(&found).iter().map(|run| {
            let status = text(run, "status");
            let why = match text(run, "queueReason") {
                "" => {
                    waits.get(text(run, "id")).map_or_else(|| text(run, "detail"), String::as_str).to_owned()
                }
                // With the agent that takes no work, if it is one and not the automation.
                "paused" => format!("paused {}", text(run, "resourceKey")),
                reason => reason.to_owned(),
            };
            vec![
                (Tone::Strong, shorts.cut(text(run, "id"))),
                (Tone::Plain, format!("{} #{}", name(run), number(run, "number"))),
                (graph::tone(status), status.to_owned()),
                (Tone::Plain, text(run, "triggerType").to_owned()),
                (Tone::Plain, one_line(&why, 40)),
                (Tone::Faint, when::local(text(run, "createdAt"))),
            ]
        });
        context.screen.table(&["RUN", "AUTOMATION", "STATUS", "TRIGGER", "WHY", "WHEN"], shown.collect());
        Ok(())
    }
}

/// Why runs that are at work get no further, by id: all that is under way in them waits for its agent. Runs at work are
/// few, and lists do not tell their steps.
async fn waits(client: &Client, runs: &[Json]) -> BTreeMap<String, String> {
    let mut waits = BTreeMap::new();
    for run in runs.iter().filter(|run| text(run, "status") == "running") {
        let id = text(run, "id");
        // One that went meanwhile waits for nobody.
        let run = client.get(&format!("/automation-runs/{id}")).await.unwrap_or(Json::Null);
        waits.extend(waits_for_agents(&run).map(|why| (id.to_owned(), why)));
    }
    waits
}

/// The names of the automations of these runs, by id, also of those that were removed.
async fn names(client: &Client, company: &str, runs: &[Json]) -> Result<BTreeMap<String, String>, Failure> {
    let known = client.get(&format!("/companies/{company}/automations")).await?;
    let named = |it: &Json| (text(it, "id").to_owned(), text(it, "name").to_owned());
    let mut names: BTreeMap<String, String> = rows(&known).iter().map(named).collect();
    for run in runs {
        let id = text(run, "automationId");
        if !names.contains_key(id) {
            // A run keeps the name of what it is a run of. One that went meanwhile tells it no more.
            let run =
                client.get(&format!("/automation-runs/{}", text(run, "id"))).await.unwrap_or(Json::Null);
            names.insert(id.to_owned(), text(&run, "automation").to_owned());
        }
    }
    names.retain(|_, name| !name.is_empty());
    Ok(names)
}

/// The newest runs of automations of this name that were removed, so many at most; `None`: there are none.
async fn of_removed(client: &Client, company: &str, name: &str, limit: u32) -> Result<Option<Json>, Failure> {
    let newest = client.get(&format!("/companies/{company}/automation-runs?limit=1000")).await?;
    let names = names(client, company, rows(&newest)).await?;
    let is_of = |run: &&Json| {
        let id = text(run, "automationId");
        id == name || names.get(id).is_some_and(|known| known == name)
    };
    let found: Vec<Json> = rows(&newest).iter().filter(is_of).take(limit as usize).cloned().collect();
    Ok((!found.is_empty()).then_some(Json::Array(found)))
}

/// Returns the run with this id, or the only one of the newest whose id begins so; `None`: it looks like a name.
pub(super) async fn find_run(
    context: &Context,
    client: &Client,
    typed: &str,
) -> Result<Option<Json>, Failure> {
    let typed = typed.trim().to_ascii_lowercase();
    if domain::ids::looks_like_id(&typed) {
        return match client.get(&format!("/automation-runs/{typed}")).await {
            Ok(run) => Ok(Some(run)),
            Err(failure) if failure.message == "Automation run not found" => Ok(None),
            Err(failure) => Err(failure),
        };
    }
    let is_prefix = typed.len() >= 8 && typed.chars().all(|it| it.is_ascii_hexdigit() || it == '-');
    if !is_prefix {
        return Ok(None);
    }
    let company = context.company(client).await?;
    let newest = client.get(&format!("/companies/{company}/automation-runs?limit=1000")).await?;
    let matching: Vec<&Json> =
        rows(&newest).iter().filter(|run| text(run, "id").starts_with(&typed)).collect();
    match matching.as_slice() {
        [] => Ok(None),
        [one] => client.get(&format!("/automation-runs/{}", text(one, "id"))).await.map(Some),
        several => {
            let ids: Vec<&str> = several.iter().take(5).map(|run| text(run, "id")).collect();
            Err(Failure::usage("automation_run.ambiguous", format!("several runs begin with `{typed}`"))
                .hint(format!("say which one is meant: {}", ids.join(", "))))
        }
    }
}

/// The texts of a list in the details of a failure.
fn rows_of(failure: &Failure, key: &str) -> Vec<String> {
    let details = failure.details.as_deref().unwrap_or(&Json::Null);
    rows_at(details, key).iter().filter_map(Json::as_str).map(str::to_owned).collect()
}
