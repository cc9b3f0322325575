//! `bugle gate`: what automations ask people, and the answers.

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::answer::{facts, number, one_line, paragraph, printable, rows, rows_at, section, text};
use super::automation::text_at;
use super::directory::short;
use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::screen::{Screen, Tone};
use crate::when;

#[derive(Debug, Subcommand)]
pub(crate) enum Gate {
    /// List the gates that wait, oldest first
    List,
    /// Show exactly what is decided about
    Show(Named),
    /// Let the run go on
    Approve(Decide),
    /// Send work back
    Rework(Rework),
    /// End the run
    Cancel(Decide),
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id of the gate, or its first digits
    gate: String,
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// Id of the gate, or its first digits
    gate: String,
    /// Why; it stays on record
    #[arg(long, short = 'm', value_name = "TEXT")]
    reason: Option<String>,
    /// The hash of what you saw; without it, of what is shown now
    #[arg(long, value_name = "HASH")]
    hash: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Rework {
    #[command(flatten)]
    decide: Decide,
    /// A step that is made again, with all that comes after it [default: what the gate says]
    #[arg(long = "target", value_name = "STEP")]
    targets: Vec<String>,
}

impl Gate {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Gate::List => list(context).await,
            Gate::Show(Named { gate }) => show(context, &gate).await,
            Gate::Approve(of) => decide(context, of, "approve", Vec::new()).await,
            Gate::Rework(of) => decide(context, of.decide, "rework", of.targets).await,
            Gate::Cancel(of) => decide(context, of, "cancel", Vec::new()).await,
        }
    }
}

async fn find(context: &Context, client: &Client, typed: &str) -> Result<Json, Failure> {
    let typed = typed.trim().to_ascii_lowercase();
    let unknown = || {
        Failure::usage("gate.unknown", format!("there is no gate `{typed}` that waits"))
            .hint("see which there are: bugle gate list")
    };
    if domain::ids::looks_like_id(&typed) {
        let found = client.get(&format!("/gates/{typed}")).await;
        return found
            .map_err(|failure| if failure.message == "Gate not found" { unknown() } else { failure });
    }
    let waiting = client.get(&format!("/companies/{}/gates", context.company(client).await?)).await?;
    // The name of a node will do when only one gate of that name waits.
    let is_meant = |gate: &&Json| {
        text(gate, "nodeId").eq_ignore_ascii_case(&typed)
            || (typed.len() >= 8 && text(gate, "id").starts_with(&typed))
    };
    let matching: Vec<&Json> = rows(&waiting).iter().filter(is_meant).collect();
    match matching.as_slice() {
        [] => Err(unknown()),
        [one] => Ok(Json::clone(one)),
        _ => Err(Failure::usage("gate.ambiguous", format!("several gates are meant by `{typed}`"))
            .hint("give its id: bugle gate list")),
    }
}

async fn list(context: &mut Context) -> Result<(), Failure> {
    let client = context.client()?;
    let company = context.company(&client).await?;
    let waiting = client.get(&format!("/companies/{company}/gates")).await?;
    if context.global.json {
        context.screen.answer(&waiting);
        return Ok(());
    }
    if rows(&waiting).is_empty() {
        context.screen.note("no gate waits");
        return Ok(());
    }
    let shown = rows(&waiting).iter().map(|gate| {
        vec![
            (Tone::Strong, short(text(gate, "id"))),
            (Tone::Plain, format!("{} #{}", printable(text(gate, "automation")), number(gate, "runNumber"))),
            (Tone::Plain, printable(text(gate, "nodeId"))),
            (Tone::Plain, one_line(text(gate, "title"), 60)),
            (Tone::Faint, when::local(text(gate, "requestedAt"))),
            (if gate["stale"] == Json::Bool(true) { Tone::Waiting } else { Tone::Faint }, expiry(gate)),
        ]
    });
    context.screen.table(&["GATE", "RUN", "STEP", "WHAT", "ASKED", "EXPIRES"], shown.collect());
    Ok(())
}

fn expiry(gate: &Json) -> String {
    match text(gate, "expiresAt") {
        "" => "never".to_owned(),
        at => when::local(at),
    }
}

async fn show(context: &mut Context, typed: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let gate = find(context, &client, typed).await?;
    if context.global.json {
        context.screen.answer(&gate);
        return Ok(());
    }
    print(&mut context.screen, &gate);
    Ok(())
}

fn print(screen: &mut Screen, gate: &Json) {
    let hash = text(gate, "hash");
    facts(
        screen,
        [
            ("gate", text(gate, "id").to_owned()),
            ("asks", printable(text(gate, "title"))),
            ("run", format!("{} #{}", printable(text(gate, "automation")), number(gate, "runNumber"))),
            ("step", printable(text(gate, "nodeId"))),
            ("status", text(gate, "status").to_owned()),
            ("decided", text(gate, "decision").to_owned()),
            ("by", printable(text_at(gate, &["decidedBy", "actorId"]))),
            ("asked", when::local(text(gate, "requestedAt"))),
            ("expires", expiry(gate)),
            ("hash", hash.to_owned()),
        ],
    );
    if !text(gate, "instructions").is_empty() {
        section(screen, "What to look at");
        paragraph(screen, text(gate, "instructions"));
    }
    for upstream in rows_at(&gate["shown"], "upstream") {
        section(screen, &format!("From {}", printable(text(upstream, "nodeId"))));
        for file in rows_at(upstream, "files") {
            let size = when::bytes(file["bytes"].as_u64().unwrap_or(0));
            let digest = one_line(text(file, "sha256"), 12);
            let line = format!("  {}  {size}  {digest}", printable(text(file, "path")));
            screen.line(&line);
        }
        paragraph(screen, text(upstream, "text"));
    }
    if text(gate, "status") == "pending" {
        let id = short(text(gate, "id"));
        let words: Vec<&str> = rows_at(gate, "decisions").iter().filter_map(Json::as_str).collect();
        for word in words {
            screen.note(&format!("bugle gate {word} {id}"));
        }
    }
}

async fn decide(
    context: &mut Context,
    of: Decide,
    decision: &str,
    targets: Vec<String>,
) -> Result<(), Failure> {
    let client = context.client()?;
    let gate = find(context, &client, &of.gate).await?;
    let hash = of.hash.unwrap_or_else(|| text(&gate, "hash").to_owned());
    let body = json!({ "decision": decision, "hash": hash, "reason": of.reason, "targets": targets });
    let decided = client.post(&format!("/gates/{}/decide", text(&gate, "id")), &body).await?;
    if context.global.json {
        context.screen.answer(&decided);
        return Ok(());
    }
    let what = match decision {
        "approve" => "approved: the run goes on",
        "rework" => "sent back: the work is made again",
        _ => "cancelled: the run ends",
    };
    context.screen.line(what);
    let run = short(text(&decided, "automationRunId"));
    context.screen.note(&format!("see it: bugle automation show {run}"));
    Ok(())
}
