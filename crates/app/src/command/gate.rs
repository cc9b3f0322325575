//! `bugle gate`: what waits for a person's decision, whoever asks, and the answers.

use clap::{Args, Subcommand};
use serde_json::{Map, Value as Json, json};

use super::answer::{facts, number, one_line, paragraph, printable, rows, rows_at, section, text};
use super::automation::text_at;
use super::directory::{Directory, Shorts};
use super::keys::not_empty;
use crate::cli::Context;
use crate::client::Client;
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
    let waiting = client.all(&format!("/companies/{}/gates", context.company(client).await?)).await?;
    // The name of a node will do when only one gate of that name waits.
    let is_meant = |gate: &&Json| {
        text(gate, "nodeId").eq_ignore_ascii_case(&typed)
            || (typed.len() >= 8 && text(gate, "id").starts_with(&typed))
    };
    let matching: Vec<&Json> = rows(&waiting).iter().filter(is_meant).collect();
    match matching.as_slice() {
        [] => Err(unknown()),
        [one] => Ok(Json::clone(one)),
        several => {
            let ids: Vec<&str> = several.iter().take(5).map(|gate| text(gate, "id")).collect();
            Err(Failure::usage("gate.ambiguous", format!("several gates are meant by `{typed}`"))
                .hint(format!("say which one is meant: {}", ids.join(", "))))
        }
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

/// Who asks: the step of a run, or an agent or a person.
pub(super) fn asker(gate: &Json, directory: &Directory) -> String {
    if text(gate, "kind") == "node" {
        let automation = printable(text(gate, "automation"));
        return format!("{automation} #{} {}", number(gate, "runNumber"), printable(text(gate, "nodeId")));
    }
    match (text(gate, "requestedByAgentId"), text(gate, "requestedByUserId")) {
        ("", "") => "bugle".to_owned(),
        ("", user) => one_line(user, 40),
        (agent, _) => directory.agent(agent),
    }
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
    let directory = Directory::of_agents(&client, text(&gate, "companyId")).await?;
    print(&mut context.screen, &gate, &directory);
    Ok(())
}

fn print(screen: &mut Screen, gate: &Json, directory: &Directory) {
    let is_node = text(gate, "kind") == "node";
    facts(
        screen,
        [
            ("gate", text(gate, "id").to_owned()),
            ("kind", text(gate, "kind").to_owned()),
            ("asks", printable(text(gate, "title"))),
            ("from", asker(gate, directory)),
            ("type", text(gate, "requestType").to_owned()),
            ("run", text(gate, "runId").to_owned()),
            ("issue", text(gate, "issueId").to_owned()),
            ("status", text(gate, "status").to_owned()),
            ("decided", text(gate, "decision").to_owned()),
            ("by", printable(text_at(gate, &["decidedBy", "actorId"]))),
            ("why", one_line(text(gate, "reason"), 200)),
            ("asked", when::local(text(gate, "requestedAt"))),
            ("expires", expiry(gate)),
            ("hash", text(gate, "hash").to_owned()),
        ],
    );
    if !text(gate, "instructions").is_empty() {
        section(screen, "What to look at");
        paragraph(screen, text(gate, "instructions"));
    }
    match is_node {
        true => print_upstream(screen, gate),
        false => print_request(screen, gate),
    }
    if text(gate, "status") == "pending" {
        let id = text(gate, "id");
        for word in rows_at(gate, "decisions").iter().filter_map(Json::as_str) {
            let more = if word == "respond" { " --choose QUESTION=OPTION" } else { "" };
            screen.note(&format!("bugle gate {word} {id}{more}"));
        }
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
    if text(&gate, "status") == "pending" && !words.contains(&decision) {
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
        ("approve", true) => "approved: the run goes on",
        ("approve", false) => "approved",
        ("reject", _) => "rejected",
        ("rework", true) => "sent back: the work is made again",
        ("rework", false) => "sent back: it is to be asked better",
        ("respond", _) => "answered",
        _ => "cancelled: the run ends",
    };
    context.screen.line(what);
    match text(&decided, "automationRunId") {
        "" => {}
        run => context.screen.note(&format!("see it: bugle automation show {run}")),
    }
    Ok(())
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
        "gate_expired" => {
            let node = text(gate, "nodeId");
            failure.hint(format!("ask again: bugle automation retry {run} {node}"))
        }
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
