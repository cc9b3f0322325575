//! `bugle gate`: what waits for a person's decision, whoever asks, and the answers.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::answer::{facts, number, one_line, paragraph, printable, rows, rows_at, section, text};
use super::automation::text_at;
use super::directory::{Directory, Shorts, short};
use super::keys::not_empty;
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::screen::{Screen, Tone};
use crate::when;

#[derive(Debug, Subcommand)]
pub(crate) enum Gate {
    /// List what waits for a person, oldest first: all of it
    List(List),
    /// Show exactly what is decided about
    Show(Named),
    /// Say yes: the run goes on, the tool may be used, the request is granted
    Approve(Approve),
    /// Say no: whoever asked goes on without
    Reject(Decide),
    /// Send it back: work is made again, a request is to be asked better
    Rework(Rework),
    /// End the run that asks
    Cancel(Decide),
    /// Answer questions
    Respond(Respond),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this kind; may be given several times
    #[arg(long = "kind", value_name = "KIND", value_parser = KINDS)]
    kinds: Vec<String>,
}

const KINDS: [&str; 4] = ["node", "permission", "question", "approval"];

#[derive(Debug, Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    decide: Decide,
    /// Of suggested tasks only this one; may be given several times [default: all]
    #[arg(long = "task", value_name = "KEY")]
    tasks: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Respond {
    #[command(flatten)]
    decide: Decide,
    /// The answer to a question; several options with commas between
    #[arg(long = "choose", value_name = "QUESTION=OPTION", required = true)]
    chosen: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Id of the gate, or its first digits
    #[arg(value_parser = not_empty)]
    gate: String,
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// Id of the gate, or its first digits
    #[arg(value_parser = not_empty)]
    gate: String,
    /// Why; it stays on record. To an agent that asks, the answer
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
        let none = Map::new();
        match self {
            Gate::List(of) => list(context, &of.kinds).await,
            Gate::Show(Named { gate }) => show(context, &gate).await,
            Gate::Approve(of) => {
                let mut more = none;
                if !of.tasks.is_empty() {
                    more.insert("selectedClientKeys".into(), json!(of.tasks));
                }
                decide(context, of.decide, "approve", more).await
            }
            Gate::Reject(of) => decide(context, of, "reject", none).await,
            Gate::Rework(of) => {
                let mut more = none;
                if !of.targets.is_empty() {
                    more.insert("targets".into(), json!(of.targets));
                }
                decide(context, of.decide, "rework", more).await
            }
            Gate::Cancel(of) => decide(context, of, "cancel", none).await,
            Gate::Respond(of) => {
                let mut more = none;
                more.insert("answers".into(), chosen(&of.chosen)?);
                decide(context, of.decide, "respond", more).await
            }
        }
    }
}

/// `QUESTION=OPTION,OPTION` as the API takes them.
fn chosen(pairs: &[String]) -> Result<Json, Failure> {
    let mut answers = Vec::new();
    for pair in pairs {
        let Some((question, options)) = pair.split_once('=') else {
            let message = format!("`{pair}` is not QUESTION=OPTION");
            return Err(Failure::usage("usage", message).hint("see what can be chosen: bugle gate show GATE"));
        };
        let options: Vec<&str> = options.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
        answers.push(json!({ "questionId": question.trim(), "optionIds": options }));
    }
    Ok(Json::Array(answers))
}

async fn find(context: &Context, client: &Client, typed: &str) -> Result<Json, Failure> {
    let typed = typed.trim().to_ascii_lowercase();
    let unknown = || {
        Failure::usage("gate.unknown", format!("there is no gate `{typed}` that waits"))
            .hint("see which there are: bugle gate list; one that is decided is shown by its whole id (the run names it)")
    };
    if domain::ids::looks_like_id(&typed) {
        let found = client.get(&format!("/gates/{typed}")).await;
        return found
            .map_err(|failure| if failure.message == "Gate not found" { unknown() } else { failure });
    }
    let company = context.company(client).await?;
    let waiting = client.all(&format!("/companies/{company}/gates")).await?;
    // The name of a node will do when only one gate of that name waits.
    let is_meant = |gate: &&Json| {
        text(gate, "nodeId").eq_ignore_ascii_case(&typed)
            || (typed.len() >= 8 && text(gate, "id").starts_with(&typed))
    };
    let matching: Vec<&Json> = rows(&waiting).iter().filter(is_meant).collect();
    match matching.as_slice() {
        [] => expired(client, &company, &typed).await?.ok_or_else(unknown),
        [one] => Ok(Json::clone(one)),
        several => {
            let ids: Vec<&str> = several.iter().take(5).map(|gate| text(gate, "id")).collect();
            Err(Failure::usage("gate.ambiguous", format!("several gates are meant by `{typed}`"))
                .hint(format!("say which one is meant: {}", ids.join(", "))))
        }
    }
}

/// The newest gate of this name that nobody decided in time, as long as the inbox has its run.
async fn expired(client: &Client, company: &str, typed: &str) -> Result<Option<Json>, Failure> {
    let inbox = client.get(&format!("/companies/{company}/inbox-items")).await?;
    let is_meant = |item: &&Json| {
        let (node, gate) = (text_at(item, &["details", "nodeId"]), text_at(item, &["details", "gateId"]));
        text(item, "cause") == "gate_expired"
            && (node.eq_ignore_ascii_case(typed) || (typed.len() >= 8 && gate.starts_with(typed)))
    };
    match rows_at(&inbox, "items").iter().find(is_meant) {
        Some(item) => {
            let gate = text_at(item, &["details", "gateId"]);
            client.get(&format!("/gates/{gate}")).await.map(Some)
        }
        None => Ok(None),
    }
}

async fn list(context: &mut Context, kinds: &[String]) -> Result<(), Failure> {
    let client = context.client()?;
    let company = context.company(&client).await?;
    let filter = if kinds.is_empty() { String::new() } else { format!("?kind={}", kinds.join(",")) };
    let waiting = client.all(&format!("/companies/{company}/gates{filter}")).await?;
    if context.global.json {
        context.screen.answer(&waiting);
        return Ok(());
    }
    if rows(&waiting).is_empty() {
        context.screen.note("no gate waits");
        return Ok(());
    }
    let directory = Directory::of_agents(&client, &company).await?;
    let shorts = Shorts::of(rows(&waiting), "id");
    let shown = rows(&waiting).iter().map(|gate| {
        let is_stale = gate["stale"] == Json::Bool(true);
        let asked = when::local(text(gate, "requestedAt"));
        // What fits into 80 columns; all of it is shown with the gate.
        let who = one_line(&asker(gate, &directory), 24);
        vec![
            (Tone::Strong, shorts.cut(text(gate, "id"))),
            (Tone::Plain, text(gate, "kind").to_owned()),
            (if is_stale { Tone::Waiting } else { Tone::Faint }, asked),
            (Tone::Plain, format!("{who}: {}", one_line(text(gate, "title"), 40))),
        ]
    });
    context.screen.table(&["GATE", "KIND", "ASKED", "WHAT"], shown.collect());
    Ok(())
}

/// Who asks: the step of a run, or an agent or a person; an agent in the midst of a step with that step.
pub(super) fn asker(gate: &Json, directory: &Directory) -> String {
    let automation = printable(text(gate, "automation"));
    let step = format!("{automation} #{} {}", number(gate, "runNumber"), printable(text(gate, "nodeId")));
    match (text(gate, "kind"), text(gate, "automationRunId")) {
        ("node", _) => step,
        (_, "") => who(gate, directory),
        (_, _) => format!("{step} ({})", who(gate, directory)),
    }
}

fn who(gate: &Json, directory: &Directory) -> String {
    match (text(gate, "requestedByAgentId"), text(gate, "requestedByUserId")) {
        ("", "") => "bugle".to_owned(),
        ("", user) => one_line(user, 40),
        (agent, _) => directory.agent(agent),
    }
}

/// When its time is over and what happens then, when people are reminded, and what its time has done to it.
fn times(gate: &Json) -> Vec<(&'static str, String)> {
    let over = match (text(gate, "expiresAt"), text(gate, "onExpiry")) {
        ("", _) => ("expires", "never".to_owned()),
        (at, "escalate") => {
            let to = one_line(text(gate, "escalateTo"), 60);
            ("escalates", format!("{} to {to}; it waits on after that", when::local(at)))
        }
        (at, "remind") => ("reminds", format!("{}; it waits on after that", when::local(at))),
        (at, _) => ("expires", when::local(at)),
    };
    let every = match gate["remindEverySec"].as_u64() {
        Some(seconds) => format!("every {}", when::span(Duration::from_secs(seconds))),
        None => String::new(),
    };
    let reminded = match (number(gate, "reminderCount"), text(gate, "remindedAt")) {
        (0, _) | (_, "") => String::new(),
        (1, at) => format!("once, {}", when::local(at)),
        (count, at) => format!("{count} times, the last {}", when::local(at)),
    };
    let escalated = match text(gate, "escalatedTo") {
        "" => String::new(),
        to => format!("to {} {}", one_line(to, 60), when::local(text(gate, "escalatedAt"))),
    };
    let is_stale = gate["stale"] == Json::Bool(true) && text(gate, "status") == "pending";
    let stale = if is_stale { "nobody has decided for more than a day".to_owned() } else { String::new() };
    vec![over, ("reminder", every), ("reminded", reminded), ("escalated", escalated), ("stale", stale)]
}

/// Who may decide a gate of an automation.
fn deciders(gate: &Json) -> String {
    if text(gate, "kind") != "node" {
        return String::new();
    }
    let mut named: Vec<String> =
        rows_at(gate, "approvers").iter().filter_map(Json::as_str).map(|it| one_line(it, 60)).collect();
    if !named.is_empty() && !text(gate, "escalatedTo").is_empty() {
        named.push(one_line(text(gate, "escalatedTo"), 60));
    }
    let mut who = match named.is_empty() {
        true => "whoever may decide approvals".to_owned(),
        false => named.join(", "),
    };
    if gate["selfApproval"] == Json::Bool(false) {
        who.push_str("; who started the run may not approve");
    }
    who
}

/// It asks what is to become of what a budget stopped: approving it would raise nothing, and is not offered.
fn is_of_stop(gate: &Json) -> bool {
    text(gate, "requestType") == "budget_override_required"
        && rows_at(gate, "decisions").iter().all(|word| word != "approve")
}

/// The command that raises the budget which a gate is about.
async fn raise(client: &Client, gate: &Json) -> Result<String, Failure> {
    let overview = client.get(&format!("/companies/{}/budgets/overview", text(gate, "companyId"))).await?;
    let is_of_gate = |incident: &&Json| text(incident, "approvalId") == text(gate, "id");
    Ok(match rows_at(&overview, "activeIncidents").iter().find(is_of_gate) {
        Some(incident) => {
            let unit = if text(incident, "metric") == "tokens" { "--tokens" } else { "--usd" };
            format!("bugle budget resolve {} {unit} N", short(text(incident, "id")))
        }
        None => "bugle budget set --help".to_owned(),
    })
}

/// What to type to decide, one line for each decision.
fn decided_with(gate: &Json) -> Vec<String> {
    let id = text(gate, "id");
    let words = rows_at(gate, "decisions").iter().filter_map(Json::as_str);
    words
        .map(|word| {
            let more = match word {
                "respond" => " --choose QUESTION=OPTION",
                "approve" if wants_answer(gate) => " -m ANSWER",
                _ => "",
            };
            format!("bugle gate {word} {id}{more}")
        })
        .collect()
}

/// The agent of a step asks: to approve it is to answer it.
pub(super) fn wants_answer(gate: &Json) -> bool {
    gate["wantsAnswer"] == Json::Bool(true)
}

async fn show(context: &mut Context, typed: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let gate = find(context, &client, typed).await?;
    if context.global.json {
        context.screen.answer(&gate);
        return Ok(());
    }
    let directory = Directory::of_agents(&client, text(&gate, "companyId")).await?;
    print(&mut context.screen, &gate, &directory);
    match text(&gate, "status") {
        "pending" => {
            if is_of_stop(&gate) {
                let command = raise(&client, &gate).await?;
                context.screen.note(&format!("let it go on with a higher budget: {command}"));
            }
            for command in decided_with(&gate) {
                context.screen.note(&command);
            }
        }
        "expired" => {
            context.screen.note(&again(&gate));
        }
        _ => {}
    }
    Ok(())
}

/// What asks again at a gate that nobody decided in time.
fn again(gate: &Json) -> String {
    format!("ask again: bugle automation retry {} {}", text(gate, "automationRunId"), text(gate, "nodeId"))
}

fn print(screen: &mut Screen, gate: &Json, directory: &Directory) {
    let is_node = text(gate, "kind") == "node";
    let mut page = vec![
        ("gate", text(gate, "id").to_owned()),
        ("kind", text(gate, "kind").to_owned()),
        ("asks", printable(text(gate, "title"))),
        ("from", asker(gate, directory)),
        ("type", text(gate, "requestType").to_owned()),
        ("step of", text(gate, "automationRunId").to_owned()),
        ("run", text(gate, "runId").to_owned()),
        ("issue", text(gate, "issueId").to_owned()),
        ("deciders", deciders(gate)),
        ("status", text(gate, "status").to_owned()),
        ("decided", text(gate, "decision").to_owned()),
        ("by", printable(text_at(gate, &["decidedBy", "actorId"]))),
        ("why", one_line(text(gate, "reason"), 200)),
        ("asked", when::local(text(gate, "requestedAt"))),
    ];
    page.extend(times(gate));
    page.push(("hash", text(gate, "hash").to_owned()));
    facts(screen, page);
    if !text(gate, "instructions").is_empty() {
        section(screen, "What to look at");
        paragraph(screen, text(gate, "instructions"));
    }
    match is_node {
        true => print_upstream(screen, gate),
        false => print_request(screen, gate),
    }
}

/// What the run was started with, and what the steps before it left.
fn print_upstream(screen: &mut Screen, gate: &Json) {
    let inputs = &gate["shown"]["inputs"];
    if inputs.as_object().is_some_and(|inputs| !inputs.is_empty()) {
        section(screen, "Inputs of the run");
        super::approval::payload(screen, inputs);
    }
    for upstream in rows_at(&gate["shown"], "upstream") {
        section(screen, &format!("From {}", printable(text(upstream, "nodeId"))));
        for file in rows_at(upstream, "files") {
            let size = when::bytes(file["bytes"].as_u64().unwrap_or(0));
            let digest = one_line(text(file, "sha256"), 12);
            let line = format!("  {}  {size}  {digest}", printable(text(file, "path")));
            screen.line(&line);
        }
        let said = text(upstream, "text");
        paragraph(screen, said);
        // Most have it in their words.
        if !upstream["json"].is_null() && !said.contains('{') {
            paragraph(screen, &format!("{:#}", upstream["json"]));
        }
    }
}

/// What exactly is asked for.
fn print_request(screen: &mut Screen, gate: &Json) {
    section(screen, "What is asked for");
    let questions = rows_at(&gate["shown"], "questions");
    for question in questions {
        let line =
            format!("  {}: {}", printable(text(question, "id")), one_line(text(question, "prompt"), 200));
        screen.line(&line);
        for option in rows_at(question, "options") {
            let line =
                format!("    {}  {}", printable(text(option, "id")), one_line(text(option, "label"), 120));
            screen.line(&line);
        }
    }
    if questions.is_empty() {
        super::approval::payload(screen, &gate["shown"]);
    }
}

async fn decide(
    context: &mut Context,
    of: Decide,
    decision: &str,
    more: Map<String, Json>,
) -> Result<(), Failure> {
    let client = context.client()?;
    let gate = find(context, &client, &of.gate).await?;
    let words: Vec<&str> = rows_at(&gate, "decisions").iter().filter_map(Json::as_str).collect();
    let is_pending = text(&gate, "status") == "pending";
    if is_pending && decision == "approve" && is_of_stop(&gate) {
        let (id, command) = (text(&gate, "id"), raise(&client, &gate).await?);
        let message = "a budget stopped this, and to approve it raises no budget";
        return Err(Failure::usage("gate.budget", message)
            .hint(format!("raise it: {command}; or keep it paused: bugle gate reject {id}")));
    }
    let is_silent = of.reason.as_deref().is_none_or(|reason| reason.trim().is_empty());
    if is_pending && decision == "approve" && wants_answer(&gate) && is_silent {
        return Err(Failure::usage("gate.answer", "an agent asks, and goes on with what is answered")
            .hint(say_answer(&gate)));
    }
    if is_pending && !words.contains(&decision) {
        let id = text(&gate, "id");
        let message = format!("gate {id} cannot be decided with `{decision}`");
        return Err(Failure::usage("gate.decision", message).hint(format!("one of: {}", words.join(", "))));
    }
    let hash = of.hash.unwrap_or_else(|| text(&gate, "hash").to_owned());
    let mut body = more;
    body.insert("decision".into(), json!(decision));
    body.insert("hash".into(), json!(hash));
    body.insert("reason".into(), json!(of.reason));
    let path = format!("/gates/{}/decide", text(&gate, "id"));
    let decided = match client.post(&path, &Json::Object(body)).await {
        Ok(decided) => decided,
        Err(failure) => return Err(refused(context, &client, (&gate, decision), failure).await),
    };
    if context.global.json {
        context.screen.answer(&decided);
        return Ok(());
    }
    let is_node = text(&decided, "kind") == "node";
    let what = match (decision, is_node) {
        ("approve", _) => "approved",
        ("reject", _) if is_of_stop(&gate) => "rejected: what the budget stopped stays paused",
        ("reject", _) => "rejected",
        ("rework", true) => "sent back",
        ("rework", false) => "sent back: it is to be asked better",
        ("respond", _) => "answered",
        _ => "cancelled",
    };
    let run = text(&decided, "automationRunId");
    if is_node {
        // The run may have to wait for something else than this decision.
        let now = client.get(&format!("/automation-runs/{run}")).await.unwrap_or(Json::Null);
        let is_held = text(&now, "status") == "queued" && is_paused(&client, &decided).await;
        let (stands, help) = stands(&now, is_held);
        context.screen.line(&format!("{what}: {stands}"));
        if let Some(help) = help {
            context.screen.note(&help);
        }
    } else {
        context.screen.line(what);
    }
    if !run.is_empty() {
        context.screen.note(&format!("see it: bugle automation show {run}"));
    }
    Ok(())
}

/// Nothing of the automation begins.
async fn is_paused(client: &Client, gate: &Json) -> bool {
    let (company, name) = (text(gate, "companyId"), text(gate, "automation"));
    let automation = client.get(&format!("/companies/{company}/automations/{}", encoded(name))).await;
    automation.is_ok_and(|automation| text(&automation, "status") == "paused")
}

/// How a run stands after a decision, and what lets it go on if it does not. `is_held`: its automation is paused.
fn stands(run: &Json, is_held: bool) -> (String, Option<String>) {
    let (id, status) = (text(run, "id"), text(run, "status"));
    let why = match [text(run, "detail"), text(run, "stopReason")].into_iter().find(|it| !it.is_empty()) {
        Some(why) => format!(" ({})", one_line(why, 100)),
        None => String::new(),
    };
    if !text(run, "cancelRequestedAt").is_empty() && !is_over(status) {
        return ("the run ends as soon as what is under way has stopped".to_owned(), None);
    }
    match status {
        "running" => ("the run goes on".to_owned(), None),
        "queued" if is_held => {
            let name = printable(text(run, "automation"));
            let help = format!("let it go on: bugle automation resume {name}");
            (format!("the run is queued, and {name} is paused"), Some(help))
        }
        "queued" => {
            let reason =
                printable(format!("{} {}", text(run, "queueReason"), text(run, "resourceKey")).trim());
            match reason.as_str() {
                "" | "capacity" => ("the run goes on as soon as it has a place".to_owned(), None),
                reason => (format!("the run is queued ({reason})"), None),
            }
        }
        "paused" => {
            (format!("the run is paused{why}"), Some(format!("let it go on: bugle automation resume {id}")))
        }
        "awaiting_approval" => ("the run waits for another decision".to_owned(), None),
        "" => ("how the run stands is not known now".to_owned(), None),
        status => (format!("the run is {status}{why}"), None),
    }
}

fn is_over(status: &str) -> bool {
    matches!(status, "completed" | "blocked" | "failed" | "cancelled")
}

/// What to type where an agent waits for an answer.
fn say_answer(gate: &Json) -> String {
    let id = text(gate, "id");
    format!("say the answer: bugle gate approve {id} -m TEXT; what is asked: bugle gate show {id}")
}

/// Says what helps when a decision did not count; what is asked differently now is told field by field.
async fn refused(
    context: &mut Context,
    client: &Client,
    (gate, decision): (&Json, &str),
    failure: Failure,
) -> Failure {
    let (id, run) = (text(gate, "id"), text(gate, "automationRunId"));
    let code = failure.details.as_deref().map_or("", |details| text(details, "code")).to_owned();
    match code.as_str() {
        "stale" => {
            let path = format!("/gates/{id}");
            let Ok(now) = client.get(&path).await else { return failure };
            for change in changed(gate, &now) {
                context.screen.note(&format!("changed: {change}"));
            }
            let hash = text(&now, "hash");
            failure.hint(format!(
                "look at it: bugle gate show {id}; decide about exactly that: bugle gate {decision} {id} --hash {hash}"
            ))
        }
        "gate_already_decided" => failure.hint(format!("see what was decided: bugle gate show {id}")),
        "gate_expired" => failure.hint(again(gate)),
        "gate_answer_missing" => failure.hint(say_answer(gate)),
        "gate_withdrawn" => failure.hint(format!("see how the run stands: bugle automation show {run}")),
        "gate_invalid_target" => {
            failure.hint(format!("name a step that comes before the gate: bugle automation show {run}"))
        }
        "gate_invalid_decision" => {
            let words: Vec<&str> = rows_at(gate, "decisions").iter().filter_map(Json::as_str).collect();
            failure.hint(format!("one of: {}", words.join(", ")))
        }
        _ => failure,
    }
}

/// What is not asked as it was, in words.
fn changed(before: &Json, now: &Json) -> Vec<String> {
    let (before, now) = (&before["shown"], &now["shown"]);
    let mut found = Vec::new();
    for upstream in rows_at(now, "upstream") {
        let node = printable(text(upstream, "nodeId"));
        let same_node = |it: &&Json| text(it, "nodeId") == text(upstream, "nodeId");
        let was = rows_at(before, "upstream").iter().find(same_node).unwrap_or(&Json::Null);
        for file in rows_at(upstream, "files") {
            let same_path = |it: &&Json| text(it, "path") == text(file, "path");
            let old = rows_at(was, "files").iter().find(same_path).unwrap_or(&Json::Null);
            if old != file {
                let path = printable(text(file, "path"));
                found.push(format!("{path}, from {node}: {} -> {}", state_of(old), state_of(file)));
            }
        }
        if ["text", "json", "status"].iter().any(|key| upstream[*key] != was[*key]) {
            found.push(format!("what {node} left"));
        }
    }
    for (key, words) in [("inputs", "the inputs of the run"), ("title", "the question")] {
        if now[key] != before[key] {
            found.push(words.to_owned());
        }
    }
    if found.is_empty() && now != before {
        found.push("what is asked for".to_owned());
    }
    found
}

/// A file as it is shown: its size, and the beginning of its digest.
fn state_of(file: &Json) -> String {
    match text(file, "sha256") {
        "" | "missing" => "not there".to_owned(),
        digest => format!("{} {}", when::bytes(file["bytes"].as_u64().unwrap_or(0)), one_line(digest, 12)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_answers_and_what_is_none_is_refused() {
        let read = chosen(&["color=red".to_owned(), " size = s, m ,".to_owned()]).unwrap();
        let expected = json!([
            { "questionId": "color", "optionIds": ["red"] },
            { "questionId": "size", "optionIds": ["s", "m"] },
        ]);
        assert_eq!(read, expected);
        assert_eq!(chosen(&["red".to_owned()]).unwrap_err().code, "usage");
    }

    #[test]
    fn a_gate_says_who_decides_and_what_its_time_does() {
        let told = |gate: Json| {
            let parts = times(&gate).into_iter().filter(|(_, words)| !words.is_empty());
            parts.map(|(name, words)| format!("{name}: {words}")).collect::<Vec<_>>()
        };
        assert_eq!(told(json!({ "status": "pending" })), ["expires: never"]);
        assert_eq!(told(json!({ "expiresAt": "then", "onExpiry": "cancel" })), ["expires: then"]);
        let escalates = json!({ "expiresAt": "then", "onExpiry": "escalate", "escalateTo": "ann" });
        assert_eq!(told(escalates), ["escalates: then to ann; it waits on after that"]);
        let late = json!({
            "status": "pending", "expiresAt": "then", "onExpiry": "remind", "remindEverySec": 60,
            "reminderCount": 2, "remindedAt": "now", "escalatedTo": "ann", "escalatedAt": "now", "stale": true,
        });
        let expected = [
            "reminds: then; it waits on after that",
            "reminder: every 1m 00s",
            "reminded: 2 times, the last now",
            "escalated: to ann now",
            "stale: nobody has decided for more than a day",
        ];
        assert_eq!(told(late), expected);
        for (gate, expected) in [
            (json!({ "kind": "permission" }), ""),
            (json!({ "kind": "node", "approvers": [] }), "whoever may decide approvals"),
            (json!({ "kind": "node", "approvers": ["ann"], "escalatedTo": "bob" }), "ann, bob"),
            (
                json!({ "kind": "node", "approvers": ["ann"], "selfApproval": false }),
                "ann; who started the run may not approve",
            ),
        ] {
            assert_eq!(deciders(&gate), expected);
        }
    }

    #[test]
    fn what_is_typed_to_decide_has_what_the_decision_needs() {
        let gate =
            json!({ "id": "G", "kind": "node", "wantsAnswer": true, "decisions": ["approve", "cancel"] });
        assert_eq!(decided_with(&gate), ["bugle gate approve G -m ANSWER", "bugle gate cancel G"]);
        let questions = json!({ "id": "G", "kind": "question", "decisions": ["respond", "reject"] });
        let typed = ["bugle gate respond G --choose QUESTION=OPTION", "bugle gate reject G"];
        assert_eq!(decided_with(&questions), typed);
        let stop =
            |decisions: Json| json!({ "requestType": "budget_override_required", "decisions": decisions });
        assert!(is_of_stop(&stop(json!(["reject"]))));
        assert!(!is_of_stop(&stop(json!(["approve", "reject"]))), "an agent asks for it");
    }

    #[test]
    fn an_agent_in_the_midst_of_a_step_is_named_with_the_step() {
        let directory = Directory::default();
        let node = json!({ "kind": "node", "automationRunId": "R", "automation": "notes", "runNumber": 3, "nodeId": "ok" });
        assert_eq!(asker(&node, &directory), "notes #3 ok");
        let of_step = json!({ "kind": "permission", "automationRunId": "R", "automation": "notes", "runNumber": 3,
            "nodeId": "draft", "requestedByUserId": "mia" });
        assert_eq!(asker(&of_step, &directory), "notes #3 draft (mia)");
        assert_eq!(asker(&json!({ "kind": "permission", "requestedByUserId": "mia" }), &directory), "mia");
    }

    #[test]
    fn after_a_decision_it_is_said_how_the_run_stands() {
        let said = |run: Json, is_held: bool| {
            let (words, help) = stands(&run, is_held);
            (words, help.unwrap_or_default())
        };
        let run = |status: &str| json!({ "id": "R", "automation": "notes", "status": status });
        assert_eq!(said(run("running"), false).0, "the run goes on");
        assert_eq!(said(run("queued"), false).0, "the run goes on as soon as it has a place");
        assert_eq!(
            said(run("queued"), true),
            (
                "the run is queued, and notes is paused".into(),
                "let it go on: bugle automation resume notes".into()
            )
        );
        let mut paused = run("paused");
        paused["detail"] = json!("the run reached its limit maxTokens");
        assert_eq!(
            said(paused, false),
            (
                "the run is paused (the run reached its limit maxTokens)".into(),
                "let it go on: bugle automation resume R".into()
            )
        );
        let mut waits = run("queued");
        waits["queueReason"] = json!("workspace_lock");
        waits["resourceKey"] = json!("/srv/site");
        assert_eq!(said(waits, false).0, "the run is queued (workspace_lock /srv/site)");
        let mut ends = run("running");
        ends["cancelRequestedAt"] = json!("now");
        assert_eq!(said(ends, false).0, "the run ends as soon as what is under way has stopped");
        assert_eq!(said(run("completed"), false).0, "the run is completed");
    }

    #[test]
    fn of_what_is_asked_anew_every_difference_is_told() {
        let gate = |file: Json, said: &str, inputs: Json| {
            let upstream = json!([{ "nodeId": "draft", "text": said, "json": null, "files": [file] }]);
            json!({ "shown": { "title": "Publish?", "inputs": inputs, "upstream": upstream } })
        };
        let file = |bytes: u64, digest: &str| json!({ "path": "notes.md", "bytes": bytes, "sha256": digest });
        let before = gate(file(20, "aaaaaaaaaaaaaaaa"), "done", json!({ "since": "v1" }));
        assert_eq!(changed(&before, &before), Vec::<String>::new());
        let now = gate(file(2048, "bbbb"), "done", json!({ "since": "v1" }));
        assert_eq!(changed(&before, &now), ["notes.md, from draft: 20 bytes aaaaaaaaaaaa… -> 2.0 KiB bbbb"]);
        let gone = gate(file(0, "missing"), "better", json!({ "since": "v2" }));
        let told = [
            "notes.md, from draft: 20 bytes aaaaaaaaaaaa… -> not there",
            "what draft left",
            "the inputs of the run",
        ];
        assert_eq!(changed(&before, &gone), told);
        let (one, other) = (json!({ "shown": { "cost": 1 } }), json!({ "shown": { "cost": 2 } }));
        assert_eq!(changed(&one, &other), ["what is asked for"], "a request that no automation makes");
    }
}
