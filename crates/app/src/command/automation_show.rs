//! `bugle automation show`: an automation or a run of it, as it stands and as it came to that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value as Json;

use super::answer::{counted, facts, number, one_line, printable, rows, rows_at, section, text, usd};
use super::automation::{find_run, text_at, unknown};
use super::automation_follow::watch;
use super::automation_graph as graph;
use super::keys::not_empty;
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::screen::{Screen, Tone};
use crate::when;

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name of an automation, or id of a run or its first digits
    #[arg(value_parser = not_empty)]
    what: String,
    /// Write the graph as a picture: to this file, or - for standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", conflicts_with = "history")]
    svg: Option<PathBuf>,
    /// What happened to a run, entry by entry; of an automation, its versions
    #[arg(long)]
    history: bool,
    /// Watch a run until it is over or waits for a person
    #[arg(long, short = 'f', conflicts_with_all = ["svg", "history"])]
    follow: bool,
}

impl Show {
    pub(super) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let (found, place) = match find_run(context, &client, &self.what).await? {
            Some(run) => (run, None),
            None => {
                let company = context.company(&client).await?;
                let path = format!("/companies/{company}/automations/{}", encoded(&self.what));
                (client.get(&path).await.map_err(unknown(&self.what))?, Some(path))
            }
        };
        let is_run = place.is_none();
        if self.follow {
            if !is_run {
                let message = format!("`{}` is an automation; what is watched is a run", self.what);
                return Err(Failure::usage("usage", message).hint("see its runs: bugle automation runs NAME"));
            }
            return watch(context, &client, text(&found, "id")).await;
        }
        if let Some(file) = &self.svg {
            let picture = graph::svg(&found["definition"], is_run.then_some(&found));
            return draw(&mut context.screen, file, &picture);
        }
        if self.history {
            return match place {
                None => show_history(context, &history(&client, text(&found, "id")).await?),
                Some(path) => show_versions(context, &versions(&client, &path).await?),
            };
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

fn draw(screen: &mut Screen, file: &Path, picture: &str) -> Result<(), Failure> {
    if file.as_os_str() == "-" {
        screen.line(picture.trim_end());
        return Ok(());
    }
    std::fs::write(file, picture).map_err(|error| {
        Failure::failed("svg.unwritable", format!("cannot write {}: {error}", file.display()))
            .hint("name a file in a folder that you may write in")
    })?;
    screen.note(&format!("the picture is in {}", file.display()));
    Ok(())
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

fn show_history(context: &mut Context, entries: &Json) -> Result<(), Failure> {
    if context.global.json {
        context.screen.answer(entries);
    } else {
        for entry in rows(entries) {
            context.screen.line(&entry_line(entry));
        }
    }
    Ok(())
}

/// Every version of an automation, newest first.
async fn versions(client: &Client, automation: &str) -> Result<Json, Failure> {
    let mut versions: Vec<Json> = Vec::new();
    loop {
        let below = versions.last().map(|version| format!("?below={}", number(version, "version")));
        let page = client.get(&format!("{automation}/versions{}", below.unwrap_or_default())).await?;
        versions.extend_from_slice(rows(&page));
        // Nothing is below the first one.
        if rows(&page).is_empty() || versions.last().is_some_and(|last| number(last, "version") <= 1) {
            return Ok(Json::Array(versions));
        }
    }
}

fn show_versions(context: &mut Context, versions: &Json) -> Result<(), Failure> {
    if context.global.json {
        context.screen.answer(versions);
        return Ok(());
    }
    let shown = rows(versions).iter().map(|version| {
        vec![
            (Tone::Strong, format!("v{}", number(version, "version"))),
            (Tone::Plain, when::local(text(version, "createdAt"))),
            (Tone::Plain, one_line(text(version, "createdBy"), 40)),
            (Tone::Plain, rows_at(&version["definition"], "nodes").len().to_string()),
            (Tone::Faint, one_line(text(version, "hash"), 12)),
        ]
    });
    context.screen.table(&["VERSION", "SAVED", "BY", "STEPS", "HASH"], shown.collect());
    Ok(())
}

/// An entry of a run's history, on one line.
pub(super) fn entry_line(entry: &Json) -> String {
    let metadata = entry.get("metadata").unwrap_or(&Json::Null);
    let decision = match (text(metadata, "decision"), text_at(metadata, &["decidedBy", "actorId"])) {
        ("", _) => String::new(),
        (decision, "") => decision.to_owned(),
        (decision, who) => format!("{decision} by {who}"),
    };
    let mut line = format!("{}  {}", when::precise(text(entry, "recordedAt")), text(entry, "event"));
    for part in [text(entry, "nodeId"), &decision, text(entry, "reason")] {
        if !part.is_empty() {
            line.push_str("  ");
            line.push_str(&one_line(part, 100));
        }
    }
    line
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

/// Why a run has not begun, with whoever is in its way.
fn waits_for(run: &Json) -> String {
    let reason = format!("{} {}", text(run, "queueReason"), text(run, "resourceKey"));
    let holder = &run["heldBy"];
    let of = match holder.is_null() {
        true => String::new(),
        false => format!(", of {} #{}", text(holder, "automation"), number(holder, "number")),
    };
    printable(&format!("{}{of}", reason.trim()))
}

fn show_run(screen: &mut Screen, run: &Json) {
    let cost = number(run, "costCents");
    facts(
        screen,
        [
            ("run", format!("{} #{}", printable(text(run, "automation")), number(run, "number"))),
            ("id", text(run, "id").to_owned()),
            ("status", text(run, "status").to_owned()),
            ("waits for", waits_for(run)),
            ("why", printable(text(run, "detail"))),
            ("stopped as", text(run, "stopKind").to_owned()),
            ("trigger", text(run, "triggerType").to_owned()),
            ("version", number(run, "version").to_string()),
            ("at work", when::span(Duration::from_millis(run["workedMs"].as_u64().unwrap_or(0)))),
            ("used", format!("{}, {}", counted(number(run, "totalTokens"), "token"), usd(cost))),
            ("started", when::local(text(run, "startedAt"))),
            ("ended", when::local(text(run, "finishedAt"))),
        ],
    );
    graph::draw(screen, &run["definition"], Some(run));
    for (title, lines) in [("Why", why(run)), ("At work", at_work(run)), ("Decisions", decisions(run))] {
        if !lines.is_empty() {
            section(screen, title);
        }
        for line in lines {
            screen.line(&line);
        }
    }
    hint(screen, run);
}

/// What is said of steps, and of those that did not succeed where to read what their agent printed.
fn why(run: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    for node in rows_at(run, "nodes") {
        let (id, reason) = (text(node, "nodeId"), text(node, "reason"));
        if !reason.is_empty() {
            lines.push(format!("  {}: {}", printable(id), one_line(reason, 200)));
        }
        let agent_run = agent_run(run, id);
        if matches!(text(node, "state"), "failed" | "blocked") && !agent_run.is_empty() {
            lines.push(format!("    what {} printed: bugle logs {agent_run}", printable(id)));
        }
    }
    lines
}

/// The steps that an agent works at, with the command that watches it, and those whose agent takes no work now.
fn at_work(run: &Json) -> Vec<String> {
    let nodes = rows_at(run, "nodes").iter().filter(|node| text(node, "state") == "running");
    nodes.filter_map(|node| at_work_at(run, text(node, "nodeId"))).collect()
}

/// Why a run gets no further though it is at work: all that is under way in it waits for its agent, or for people.
pub(super) fn waits_for_agents(run: &Json) -> Option<String> {
    let nodes = rows_at(run, "nodes").iter().filter(|node| text(node, "state") == "running");
    let mut asking = Vec::new();
    let mut reasons: BTreeSet<&str> = BTreeSet::new();
    for node in nodes.map(|node| text(node, "nodeId")) {
        match asked_at(run, node) {
            Some(_) => asking.push(printable(node)),
            None => {
                reasons.insert(kept_from_work(run, node)?);
            }
        }
    }
    let mut parts = Vec::new();
    if !asking.is_empty() {
        parts.push(format!("{}: a person is asked", asking.join(", ")));
    }
    if !reasons.is_empty() {
        let reasons: Vec<&str> = reasons.into_iter().collect();
        parts.push(format!("waits for its agent ({})", reasons.join(", ")));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// What the agent of a step at work waits for people to decide; the first of it.
pub(super) fn asked_at<'a>(run: &'a Json, node: &str) -> Option<&'a Json> {
    rows_at(run, "waiting").iter().find(|wait| text(wait, "nodeId") == node)
}

/// Nothing in a run goes on before people have decided: all of its steps at work wait for them, and none is to be tried
/// again when its time has come.
pub(super) fn waits_for_people(run: &Json) -> bool {
    let mut waits = false;
    for node in rows_at(run, "nodes") {
        match text(node, "state") {
            "running" if asked_at(run, text(node, "nodeId")).is_some() => waits = true,
            "running" => return false,
            "pending" if !text(node, "retryAt").is_empty() => return false,
            _ => {}
        }
    }
    waits && text(run, "status") == "running" && text(run, "cancelRequestedAt").is_empty()
}

/// What keeps the agent of a step from its work.
fn kept_from_work<'a>(run: &'a Json, id: &str) -> Option<&'a str> {
    let attempts = rows_at(run, "attempts").iter().filter(|attempt| text(attempt, "nodeId") == id);
    let mut held =
        attempts.filter(|attempt| text(attempt, "state") == "ordered").map(|it| text(it, "heldReason"));
    held.next_back().filter(|reason| !reason.is_empty())
}

fn at_work_at(run: &Json, id: &str) -> Option<String> {
    if let Some(asked) = asked_at(run, id) {
        return Some(asked_line(asked));
    }
    if let Some(reason) = kept_from_work(run, id) {
        return Some(format!("  {}: waits for its agent ({reason})", printable(id)));
    }
    let agent_run = agent_run(run, id);
    (!agent_run.is_empty()).then(|| format!("  {}: bugle logs {agent_run} --follow", printable(id)))
}

/// The newest run of an agent that was made for a step; empty when there is none.
fn agent_run<'a>(run: &'a Json, node: &str) -> &'a str {
    let of = rows_at(run, "attempts").iter().filter(|attempt| text(attempt, "nodeId") == node);
    let newest = of
        .filter(|attempt| !text(attempt, "runId").is_empty())
        .max_by(|one, other| text(one, "orderedAt").cmp(text(other, "orderedAt")));
    newest.map_or("", |attempt| text(attempt, "runId"))
}

/// What became of the gates of a run that wait no more.
fn decisions(run: &Json) -> Vec<String> {
    let over = rows_at(run, "gates").iter().filter(|gate| text(gate, "status") != "pending");
    over.map(|gate| {
        let what = match text(gate, "decision") {
            "" => text(gate, "status"),
            decision => decision,
        };
        let who = match text_at(gate, &["decidedBy", "actorId"]) {
            "" => String::new(),
            who => format!(" by {}", one_line(who, 40)),
        };
        let reason = match one_line(text(gate, "reason"), 60) {
            reason if reason.is_empty() => reason,
            reason => format!(" ({reason})"),
        };
        let (node, at) = (printable(text(gate, "nodeId")), when::local(text(gate, "decidedAt")));
        format!("  {node}: {what}{who} {at}{reason}: bugle gate show {}", text(gate, "id"))
    })
    .collect()
}

/// What an agent waits for in the midst of its step, and what shows it.
pub(super) fn asked_line(asked: &Json) -> String {
    let (node, title) = (printable(text(asked, "nodeId")), one_line(text(asked, "title"), 100));
    format!("  {node}: waits for a person ({title}): bugle gate show {}", text(asked, "gateId"))
}

/// What may be done next.
pub(super) fn hint(screen: &mut Screen, run: &Json) {
    let id = text(run, "id");
    for asked in rows_at(run, "waiting") {
        let (node, gate) = (printable(text(asked, "nodeId")), text(asked, "gateId"));
        screen.note(&format!("{node} waits for a person: bugle gate show {gate}"));
    }
    for gate in rows_at(run, "gates").iter().filter(|gate| text(gate, "status") == "pending") {
        let (node, gate) = (printable(text(gate, "nodeId")), text(gate, "id"));
        screen.note(&format!("{node} waits for a person: bugle gate show {gate}"));
    }
    let allowed: Vec<&str> = rows_at(run, "allowedActions").iter().filter_map(Json::as_str).collect();
    let broken =
        rows_at(run, "nodes").iter().find(|node| matches!(text(node, "state"), "failed" | "blocked"));
    match (text(run, "status"), broken) {
        ("failed" | "blocked", Some(_)) if allowed.contains(&"recover") => {
            screen.note(&format!("make again what did not succeed: bugle automation recover {id}"));
        }
        ("paused", _) => screen.note(&format!("go on: bugle automation resume {id}")),
        ("cancelled", _) => {
            // One that somebody cancelled may have had such a gate before.
            let ended_it = |gate: &&Json| {
                let words = format!("nobody decided at {} ", text(gate, "nodeId"));
                text(gate, "status") == "expired" && text(run, "detail").starts_with(&words)
            };
            if let Some(gate) = rows_at(run, "gates").iter().rev().find(ended_it) {
                let node = text(gate, "nodeId");
                screen
                    .note(&format!("nobody decided in time; ask again: bugle automation retry {id} {node}"));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_says_what_was_decided_and_by_whom() {
        let line = |entry: Json| entry_line(&entry).split_once("  ").unwrap().1.to_owned();
        let decided = json!({ "event": "gate_decided", "nodeId": "ok", "reason": "too long\nby far", "metadata": {
            "decision": "rework", "decidedBy": { "kind": "user", "actorId": "mia" } } });
        assert_eq!(line(decided), "gate_decided  ok  rework by mia  too long by far");
        assert_eq!(line(json!({ "event": "run_created", "metadata": { "version": 1 } })), "run_created");
        let by_nobody =
            json!({ "event": "gate_decided", "metadata": { "decision": "cancel", "decidedBy": {} } });
        assert_eq!(line(by_nobody), "gate_decided  cancel");
    }

    #[test]
    fn a_run_that_has_not_begun_says_for_what_it_waits_and_who_is_there() {
        assert_eq!(waits_for(&json!({})), "");
        assert_eq!(waits_for(&json!({ "queueReason": "capacity", "heldBy": null })), "capacity");
        let folder = json!({ "queueReason": "workspace_lock", "resourceKey": "/srv/site",
            "heldBy": { "id": "R", "automation": "publish", "number": 3 } });
        assert_eq!(waits_for(&folder), "workspace_lock /srv/site, of publish #3");
    }

    #[test]
    fn a_step_that_did_not_succeed_names_the_log_of_its_newest_attempt() {
        let run = json!({
            "nodes": [
                { "nodeId": "a", "state": "completed" },
                { "nodeId": "b", "state": "failed", "reason": "exit 127" },
                { "nodeId": "c", "state": "blocked", "reason": "b failed" },
                { "nodeId": "d", "state": "running" },
                { "nodeId": "e", "state": "running" },
            ],
            "attempts": [
                { "nodeId": "a", "runId": "RA", "orderedAt": "2026-01-01T00:00:00.000Z" },
                { "nodeId": "b", "runId": "RB2", "orderedAt": "2026-01-01T00:00:02.000Z" },
                { "nodeId": "b", "runId": "RB1", "orderedAt": "2026-01-01T00:00:01.000Z" },
                { "nodeId": "b", "runId": null, "orderedAt": "2026-01-01T00:00:03.000Z" },
                { "nodeId": "d", "runId": "RD", "orderedAt": "2026-01-01T00:00:03.000Z" },
                { "nodeId": "e", "runId": "RE", "orderedAt": "2026-01-01T00:00:01.000Z", "state": "ended" },
                { "nodeId": "e", "runId": null, "orderedAt": "2026-01-01T00:00:04.000Z", "state": "ordered",
                  "heldReason": "paused" },
            ],
        });
        assert_eq!(why(&run), ["  b: exit 127", "    what b printed: bugle logs RB2", "  c: b failed"]);
        assert_eq!(at_work(&run), ["  d: bugle logs RD --follow", "  e: waits for its agent (paused)"]);
        assert_eq!(waits_for_agents(&run), None, "d is worked at");
    }

    #[test]
    fn a_run_of_which_all_waits_for_agents_says_so_in_a_list() {
        let of = |steps: &[(&str, &str, Option<&str>)]| {
            let node = |step: &(&str, &str, Option<&str>)| json!({ "nodeId": step.0, "state": step.1 });
            let attempt = |step: &(&str, &str, Option<&str>)| json!({ "nodeId": step.0, "state": "ordered", "heldReason": step.2 });
            let nodes: Vec<Json> = steps.iter().map(node).collect();
            let attempts: Vec<Json> = steps.iter().filter(|it| it.1 == "running").map(attempt).collect();
            waits_for_agents(&json!({ "nodes": nodes, "attempts": attempts })).unwrap_or_default()
        };
        let (done, paused) = (("a", "completed", None), ("b", "running", Some("paused")));
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[done]), "");
        assert_eq!(of(&[done, paused]), "waits for its agent (paused)");
        assert_eq!(of(&[paused, ("c", "running", Some("paused"))]), "waits for its agent (paused)");
        assert_eq!(of(&[paused, ("c", "running", Some("budget"))]), "waits for its agent (budget, paused)");
        assert_eq!(of(&[paused, ("c", "running", None)]), "");
    }

    #[test]
    fn a_step_whose_agent_asks_says_so_and_nobody_waits_for_what_cannot_come() {
        let node = |id: &str, state: &str| json!({ "nodeId": id, "state": state });
        let asks = json!({ "nodeId": "a", "gateId": "G", "title": "permission for Bash" });
        let run = |nodes: &[Json]| json!({ "status": "running", "nodes": nodes, "waiting": [asks] });
        let alone = run(&[node("a", "running"), node("b", "pending")]);
        assert_eq!(at_work(&alone), ["  a: waits for a person (permission for Bash): bugle gate show G"]);
        assert_eq!(waits_for_agents(&alone).unwrap(), "a: a person is asked");
        assert!(waits_for_people(&alone));
        let beside = run(&[node("a", "running"), node("b", "running")]);
        assert!(!waits_for_people(&beside), "b goes on");
        assert_eq!(waits_for_agents(&beside), None);
        let again = json!({ "nodeId": "b", "state": "pending", "retryAt": "soon" });
        assert!(!waits_for_people(&run(&[node("a", "running"), again])), "b is tried again");
        let mut over = alone.clone();
        over["status"] = json!("pausing");
        assert!(!waits_for_people(&over));
        assert!(!waits_for_people(&json!({ "status": "running", "nodes": [node("a", "pending")] })));
    }

    #[test]
    fn gates_that_wait_no_more_say_what_became_of_them() {
        let run = json!({ "gates": [
            { "id": "G1", "nodeId": "ok", "status": "decided", "decision": "rework", "reason": "too long",
              "decidedBy": { "kind": "user", "actorId": "mia" }, "decidedAt": "then" },
            { "id": "G2", "nodeId": "ok", "status": "pending" },
            { "id": "G3", "nodeId": "late", "status": "expired", "decidedAt": "then" },
        ] });
        assert_eq!(
            decisions(&run),
            [
                "  ok: rework by mia then (too long): bugle gate show G1",
                "  late: expired then: bugle gate show G3"
            ]
        );
    }
}
