//! `bugle automation`: definitions, and runs of them.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::answer::{counted, facts, number, one_line, printable, rows, rows_at, section, text, usd};
use super::automation_follow::watch;
use super::automation_graph as graph;
use super::directory::short;
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
    Cancel(About),
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
    automation: String,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Name or id of the automation
    automation: String,
    /// An input; a value that is JSON is taken as such
    #[arg(long = "input", short = 'i', value_name = "NAME=VALUE")]
    inputs: Vec<String>,
    /// Sent again with the same key, it gives the same run
    #[arg(long, value_name = "KEY")]
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
    /// Only those of this automation
    automation: Option<String>,
    /// So many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name of an automation, or id of a run or its first digits
    what: String,
    /// Write the graph as a picture: to this file, or - for standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    svg: Option<PathBuf>,
    /// What happened, entry by entry
    #[arg(long)]
    history: bool,
    /// Watch a run until it is over or waits for a person
    #[arg(long, short = 'f', conflicts_with_all = ["svg", "history"])]
    follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct About {
    /// Id of the run, or its first digits
    run: String,
    /// Why; it stays on record
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would be made again, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// Id of a run or its first digits, or the name of an automation
    what: String,
    /// Why; it stays on record
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
    /// Let the steps under way end by themselves
    #[arg(long)]
    drain: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Id of a run or its first digits, or the name of an automation
    what: String,
    /// Why; it stays on record
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
    /// Time at work that the run may take from here on, in all
    #[arg(long, value_name = "SECONDS")]
    max_runtime_sec: Option<u64>,
    /// Tokens that it may use, in all
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// Money that it may cost, in all
    #[arg(long, value_name = "CENTS")]
    max_cost_cents: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct OfNode {
    /// Id of the run, or its first digits
    run: String,
    /// The step
    node: String,
    /// Why; the step's next attempt is told it
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would be made again, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// Id of the run, or its first digits
    run: String,
    /// The step
    node: String,
    /// Another objective
    #[arg(long, value_name = "TEXT")]
    objective: Option<String>,
    /// Another agent
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Any field of the step; the value is JSON, null takes the field out
    #[arg(long = "set", value_name = "FIELD=JSON")]
    fields: Vec<String>,
    /// Why; the step's next attempt is told it
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
}

impl Automation {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Automation::Apply(apply) => apply.run(context).await,
            Automation::List => list(context).await,
            Automation::Run(run) => run.run(context).await,
            Automation::Runs(runs) => runs.run(context).await,
            Automation::Show(show) => show.run(context).await,
            Automation::Pause(pause) => {
                let body = json!({ "reason": pause.reason, "drain": pause.drain });
                of_either(context, &pause.what, "pause", body).await
            }
            Automation::Resume(resume) => {
                let mut limits = Map::new();
                for (name, value) in [
                    ("maxRuntimeSec", resume.max_runtime_sec),
                    ("maxTokens", resume.max_tokens),
                    ("maxCostCents", resume.max_cost_cents),
                ] {
                    limits.extend(value.map(|value| (name.to_owned(), json!(value))));
                }
                let mut body = json!({ "reason": resume.reason });
                if !limits.is_empty() {
                    body["limits"] = Json::Object(limits);
                }
                of_either(context, &resume.what, "resume", body).await
            }
            Automation::Cancel(about) => {
                operate(context, &about.run, None, "cancel", about.reason, false).await
            }
            Automation::Recover(about) => {
                operate(context, &about.run, None, "recover", about.reason, about.dry_run).await
            }
            Automation::Retry(of) => {
                operate(context, &of.run, Some(of.node), "retry", of.reason, of.dry_run).await
            }
            Automation::Continue(of) => {
                operate(context, &of.run, Some(of.node), "continue", of.reason, of.dry_run).await
            }
            Automation::Repair(repair) => repair.run(context).await,
            Automation::Remove(Named { automation }) => {
                let client = context.client()?;
                let company = context.company(&client).await?;
                let path = format!("/companies/{company}/automations/{}", encoded(&automation));
                let done = client.delete(&path).await.map_err(unknown(&automation))?;
                done_with(context, &done, &format!("removed {automation}; its runs stay on record"));
                Ok(())
            }
        }
    }
}

fn done_with(context: &mut Context, answer: &Json, words: &str) {
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
fn differ(screen: &mut Screen, change: &Json) {
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

/// Says what there is when nothing is called so.
pub(super) fn unknown(name: &str) -> impl FnOnce(Failure) -> Failure {
    let name = printable(name);
    move |failure| match failure.message.as_str() {
        "Automation not found" => {
            Failure::usage("automation.unknown", format!("there is no automation `{name}`"))
                .hint("see which there are: bugle automation list; and runs: bugle automation runs")
        }
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
            (Tone::Plain, counted(rows_at(&automation["definition"], "nodes").len() as i64, "step")),
            (Tone::Plain, open.collect::<Vec<_>>().join(", ")),
            (Tone::Faint, when::local(text(automation, "updatedAt"))),
        ]
    });
    context
        .screen
        .table(&["AUTOMATION", "STATUS", "VERSION", "STEPS", "OPEN RUNS", "CHANGED"], shown.collect());
    Ok(())
}

/// `NAME=VALUE` pairs as an object: what is JSON is taken as such, all else is a text.
fn pairs(of: &[String], what: &str, only_json: bool) -> Result<Map<String, Json>, Failure> {
    let mut found = Map::new();
    for pair in of {
        let Some((name, value)) = pair.split_once('=') else {
            let message = format!("`{pair}` is not NAME=VALUE");
            return Err(Failure::usage("usage", message).hint(format!("write it as {what} since=v1.2")));
        };
        let value = match serde_json::from_str(value) {
            Ok(json) => json,
            Err(_) if !only_json => Json::String(value.to_owned()),
            Err(error) => {
                let message = format!("the value of {name} is not JSON: {error}");
                return Err(
                    Failure::usage("usage", message).hint("texts need quotes: --set 'objective=\"write\"'")
                );
            }
        };
        found.insert(name.trim().to_owned(), value);
    }
    Ok(found)
}

impl Run {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let company = context.company(&client).await?;
        let mut body = json!({ "inputs": pairs(&self.inputs, "--input", false)?, "dryRun": self.dry_run });
        if let Some(key) = &self.idempotency_key {
            body["idempotencyKey"] = json!(key);
        }
        if let Some(priority) = &self.priority {
            body["priority"] = json!(priority);
        }
        let path = format!("/companies/{company}/automations/{}/runs", encoded(&self.automation));
        let run = client.post(&path, &body).await.map_err(unknown(&self.automation))?;
        let id = text(&run, "id").to_owned();
        if self.follow && !self.dry_run {
            return watch(context, &client, &id).await;
        }
        if context.global.json {
            context.screen.answer(&run);
            return Ok(());
        }
        let line = match self.dry_run {
            true => format!("{}: all is well, nothing was started", self.automation),
            false => format!("{} #{} is {}", self.automation, number(&run, "number"), text(&run, "status")),
        };
        context.screen.line(&line);
        context.screen.note(&format!("see it: bugle automation show {}", short(&id)));
        Ok(())
    }
}

pub(super) fn entry_line(entry: &Json) -> String {
    let mut line = format!("{}  {}", when::precise(text(entry, "recordedAt")), text(entry, "event"));
    for part in [text(entry, "nodeId"), text(entry, "reason")].into_iter().filter(|part| !part.is_empty()) {
        line.push_str("  ");
        line.push_str(&one_line(part, 100));
    }
    line
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
        let found = found.map_err(unknown(self.automation.as_deref().unwrap_or_default()))?;
        if context.global.json {
            context.screen.answer(&found);
            return Ok(());
        }
        if rows(&found).is_empty() {
            context.screen.note("no runs yet: bugle automation run NAME starts one");
            return Ok(());
        }
        let names = client.get(&format!("/companies/{company}/automations")).await?;
        let name = |run: &Json| {
            let of = rows(&names).iter().find(|it| text(it, "id") == text(run, "automationId"));
            of.map_or_else(|| short(text(run, "automationId")), |it| printable(text(it, "name")))
        };
        let shown = rows(&found).iter().map(|run| {
            let status = text(run, "status");
            let why = match text(run, "queueReason") {
                "" => text(run, "detail"),
                reason => reason,
            };
            vec![
                (Tone::Strong, short(text(run, "id"))),
                (Tone::Plain, format!("{} #{}", name(run), number(run, "number"))),
                (graph::tone(status), status.to_owned()),
                (Tone::Plain, text(run, "triggerType").to_owned()),
                (Tone::Plain, one_line(why, 40)),
                (Tone::Faint, when::local(text(run, "createdAt"))),
            ]
        });
        context.screen.table(&["RUN", "AUTOMATION", "STATUS", "TRIGGER", "WHY", "WHEN"], shown.collect());
        Ok(())
    }
}

/// Returns the run with this id, or the only one of the newest whose id begins so; `None`: it looks like a name.
async fn find_run(context: &Context, client: &Client, typed: &str) -> Result<Option<Json>, Failure> {
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
        _ => Err(Failure::usage("automation_run.ambiguous", format!("several runs begin with `{typed}`"))
            .hint("give more of the id: bugle automation runs --json")),
    }
}

async fn the_run(context: &Context, client: &Client, typed: &str) -> Result<Json, Failure> {
    find_run(context, client, typed).await?.ok_or_else(|| {
        Failure::usage("automation_run.unknown", format!("there is no automation run `{typed}`"))
            .hint("see which there are: bugle automation runs")
    })
}

impl Show {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let (found, is_run) = match find_run(context, &client, &self.what).await? {
            Some(run) => (run, true),
            None => {
                let company = context.company(&client).await?;
                let path = format!("/companies/{company}/automations/{}", encoded(&self.what));
                (client.get(&path).await.map_err(unknown(&self.what))?, false)
            }
        };
        if self.follow {
            if !is_run {
                let message = format!("`{}` is an automation; what is watched is a run", self.what);
                return Err(Failure::usage("usage", message).hint("see its runs: bugle automation runs NAME"));
            }
            return watch(context, &client, text(&found, "id")).await;
        }
        if let Some(file) = &self.svg {
            let picture = graph::svg(&found["definition"], is_run.then_some(&found));
            return match file.to_str() {
                Some("-") => {
                    context.screen.line(picture.trim_end());
                    Ok(())
                }
                _ => std::fs::write(file, picture).map_err(|error| {
                    Failure::failed("svg.unwritable", format!("cannot write {}: {error}", file.display()))
                        .hint("name a file in a folder that you may write in")
                }),
            };
        }
        if self.history && is_run {
            let entries = history(&client, text(&found, "id")).await?;
            if context.global.json {
                context.screen.answer(&entries);
            } else {
                for entry in rows(&entries) {
                    let line = entry_line(entry);
                    context.screen.line(&line);
                }
            }
            return Ok(());
        }
        if context.global.json {
            context.screen.answer(&found);
        } else if is_run {
            show_run(&mut context.screen, &found);
        } else {
            show_automation(&mut context.screen, &found);
        }
        Ok(())
    }
}

/// Everything that happened to a run.
async fn history(client: &Client, id: &str) -> Result<Json, Failure> {
    let mut entries = Vec::new();
    loop {
        let after = entries.last().map_or(0, |entry| number(entry, "seq"));
        let page = client.get(&format!("/automation-runs/{id}/history?after={after}")).await?;
        if rows(&page).is_empty() {
            return Ok(Json::Array(entries));
        }
        entries.extend_from_slice(rows(&page));
    }
}

fn show_automation(screen: &mut Screen, automation: &Json) {
    let definition = &automation["definition"];
    facts(
        screen,
        [
            ("automation", printable(text(automation, "name"))),
            ("id", text(automation, "id").to_owned()),
            ("about", printable(text(definition, "description"))),
            ("status", text(automation, "status").to_owned()),
            ("why", printable(text(automation, "pausedReason"))),
            (
                "version",
                format!("{} ({})", number(automation, "version"), one_line(text(automation, "hash"), 12)),
            ),
            ("workspace", printable(text(definition, "workspace"))),
            ("changed", when::local(text(automation, "updatedAt"))),
        ],
    );
    graph::draw(screen, definition, None);
}

fn show_run(screen: &mut Screen, run: &Json) {
    let cost = number(run, "costCents");
    facts(
        screen,
        [
            ("run", format!("{} #{}", printable(text(run, "automation")), number(run, "number"))),
            ("id", text(run, "id").to_owned()),
            ("status", text(run, "status").to_owned()),
            (
                "waits for",
                printable(format!("{} {}", text(run, "queueReason"), text(run, "resourceKey")).trim()),
            ),
            ("why", printable(text(run, "detail"))),
            ("stopped as", text(run, "stopKind").to_owned()),
            ("trigger", text(run, "triggerType").to_owned()),
            ("version", number(run, "version").to_string()),
            ("at work", when::span(std::time::Duration::from_millis(run["workedMs"].as_u64().unwrap_or(0)))),
            ("used", format!("{}, {}", counted(number(run, "totalTokens"), "token"), usd(cost))),
            ("started", when::local(text(run, "startedAt"))),
            ("ended", when::local(text(run, "finishedAt"))),
        ],
    );
    graph::draw(screen, &run["definition"], Some(run));
    let mut noted = false;
    for node in rows_at(run, "nodes").iter().filter(|node| !text(node, "reason").is_empty()) {
        if !noted {
            section(screen, "Why");
            noted = true;
        }
        let line = format!("  {}: {}", printable(text(node, "nodeId")), one_line(text(node, "reason"), 200));
        screen.line(&line);
    }
    hint(screen, run);
}

/// What may be done next.
pub(super) fn hint(screen: &mut Screen, run: &Json) {
    let id = short(text(run, "id"));
    for gate in rows_at(run, "gates").iter().filter(|gate| text(gate, "status") == "pending") {
        let line = format!(
            "{} waits for a person: bugle gate show {}",
            printable(text(gate, "nodeId")),
            short(text(gate, "id"))
        );
        screen.note(&line);
    }
    let allowed: Vec<&str> = rows_at(run, "allowedActions").iter().filter_map(Json::as_str).collect();
    let broken =
        rows_at(run, "nodes").iter().find(|node| matches!(text(node, "state"), "failed" | "blocked"));
    match (text(run, "status"), broken) {
        ("failed" | "blocked", Some(_)) if allowed.contains(&"recover") => {
            screen.note(&format!("make again what did not succeed: bugle automation recover {id}"));
        }
        ("paused", _) => screen.note(&format!("go on: bugle automation resume {id}")),
        _ => {}
    }
}

/// Asks something of a run, or of an automation when there is no such run.
async fn of_either(context: &mut Context, what: &str, operation: &str, body: Json) -> Result<(), Failure> {
    let client = context.client()?;
    if let Some(run) = find_run(context, &client, what).await? {
        let path = format!("/automation-runs/{}/{operation}", text(&run, "id"));
        let after = client.post(&path, &body).await?;
        let words = format!("the run is {}", text(&after, "status"));
        done_with(context, &after, &words);
        return Ok(());
    }
    let company = context.company(&client).await?;
    let path = format!("/companies/{company}/automations/{}/{operation}", encoded(what));
    let after = client.post(&path, &json!({ "reason": body["reason"] })).await.map_err(unknown(what))?;
    let words = format!("{} is {}", printable(text(&after, "name")), text(&after, "status"));
    done_with(context, &after, &words);
    Ok(())
}

async fn operate(
    context: &mut Context,
    run: &str,
    node: Option<String>,
    operation: &str,
    reason: Option<String>,
    dry_run: bool,
) -> Result<(), Failure> {
    let client = context.client()?;
    let found = the_run(context, &client, run).await?;
    let id = text(&found, "id").to_owned();
    if dry_run {
        let of = node.as_deref().map(|node| format!("&nodeId={}", encoded(node))).unwrap_or_default();
        let path = format!("/automation-runs/{id}/reset-preview?operation={operation}{of}");
        let preview = client.get(&path).await?;
        if context.global.json {
            context.screen.answer(&preview);
            return Ok(());
        }
        let shown = rows_at(&preview, "nodes").iter().map(|lost| {
            let output = if lost["hasOutput"] == Json::Bool(true) { "is lost" } else { "none" };
            let begins = if lost["isTarget"] == Json::Bool(true) { "begins here" } else { "" };
            vec![
                (Tone::Strong, printable(text(lost, "nodeId"))),
                (Tone::Plain, text(lost, "state").to_owned()),
                (Tone::Plain, output.to_owned()),
                (Tone::Faint, begins.to_owned()),
            ]
        });
        context.screen.table(&["STEP", "NOW", "OUTPUT", ""], shown.collect());
        return Ok(());
    }
    let mut body = json!({ "reason": reason });
    if let Some(node) = node {
        body["nodeId"] = json!(node);
    }
    let after = client.post(&format!("/automation-runs/{id}/{operation}"), &body).await?;
    let is_cancelling = !text(&after, "cancelRequestedAt").is_empty();
    let words = match is_cancelling {
        true => "the run is cancelling: what is under way is being stopped".to_owned(),
        false => format!("the run is {}", text(&after, "status")),
    };
    done_with(context, &after, &words);
    Ok(())
}

impl Repair {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut patch = pairs(&self.fields, "--set", true)?;
        for (name, value) in [("objective", self.objective), ("agent", self.agent)] {
            patch.extend(value.map(|value| (name.to_owned(), Json::String(value))));
        }
        let client = context.client()?;
        let found = the_run(context, &client, &self.run).await?;
        let body = json!({ "nodeId": self.node, "patch": patch, "reason": self.reason });
        let after = client.post(&format!("/automation-runs/{}/repair", text(&found, "id")), &body).await?;
        let words = format!("{} is made again in this run; the automation stays as it is", self.node);
        done_with(context, &after, &words);
        Ok(())
    }
}
