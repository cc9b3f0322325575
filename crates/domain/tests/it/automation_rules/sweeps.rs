//! What happens to runs by themselves (spec/automations.md 2.4).

use std::time::Duration;

use domain::automation::definition::read;
use domain::automation::sweep::{AtRestart, PausedRun, at_restart, resumes, stale_at};
use domain::automation::{AutomationRunStatus, Guardrail, StopKind};
use serde_json::{Value as Json, json};

use super::{at, seconds};
use crate::table::{Table, parts};

const RESTARTS: &[[&str; 3]] = &[
    ["queued", "{}", "goes on"],
    ["running", "{}", "goes on"],
    ["pausing", "{}", "goes on"],
    ["paused", "{}", "goes on"],
    ["awaiting_approval", "{}", "goes on"],
    ["queued", "{\"onRestart\":\"resume\"}", "goes on"],
    ["running", "{\"onRestart\":\"resume\"}", "goes on"],
    ["pausing", "{\"onRestart\":\"resume\"}", "goes on"],
    ["queued", "{\"onRestart\":\"fail\"}", "goes on"],
    ["running", "{\"onRestart\":\"fail\"}", "fails"],
    ["pausing", "{\"onRestart\":\"fail\"}", "fails"],
    ["paused", "{\"onRestart\":\"fail\"}", "goes on"],
    ["awaiting_approval", "{\"onRestart\":\"fail\"}", "goes on"],
    ["completed", "{\"onRestart\":\"fail\"}", "goes on"],
    ["blocked", "{\"onRestart\":\"fail\"}", "goes on"],
    ["failed", "{\"onRestart\":\"fail\"}", "goes on"],
    ["cancelled", "{\"onRestart\":\"fail\"}", "goes on"],
];

const SILENCE: &[[&str; 2]] = &[
    ["-", "600"],
    ["0", "600"],
    ["10", "600"],
    ["539", "600"],
    ["540", "600"],
    ["541", "601"],
    ["600", "660"],
    ["3600", "3660"],
    ["10; 3600", "3660"],
    ["3600; 10", "3660"],
    ["none", "never"],
    ["10; none", "never"],
];

const RESUMES: &[[&str; 5]] = &[
    ["paused", "stale_reaped", "-", "0", "yes"],
    ["paused", "stale_reaped", "-", "1199", "yes"],
    ["paused", "stale_reaped", "-", "1200", "yes"],
    ["paused", "stale_reaped", "-", "1201", "no"],
    ["paused", "stale_reaped", "resumed 1", "0", "yes"],
    ["paused", "stale_reaped", "resumed 2", "0", "no"],
    ["paused", "stale_reaped", "resumed 3", "0", "no"],
    ["paused", "stale_reaped", "resumeStale false", "0", "no"],
    ["paused", "stale_reaped", "no work", "0", "no"],
    ["paused", "stale_reaped", "held 1", "0", "no"],
    ["queued", "stale_reaped", "-", "0", "no"],
    ["running", "stale_reaped", "-", "0", "no"],
    ["pausing", "stale_reaped", "-", "0", "no"],
    ["failed", "stale_reaped", "-", "0", "no"],
    ["cancelled", "stale_reaped", "-", "0", "no"],
    ["paused", "guardrail_stopped spend_pause", "-", "0", "yes"],
    ["paused", "guardrail_stopped spend_pause", "-", "999999", "yes"],
    ["paused", "guardrail_stopped spend_pause", "resumed 9", "0", "yes"],
    ["paused", "guardrail_stopped spend_pause", "resumeStale false", "0", "yes"],
    ["paused", "guardrail_stopped spend_pause", "held 1", "0", "no"],
    ["paused", "guardrail_stopped spend_pause", "held 2", "0", "no"],
    ["queued", "guardrail_stopped spend_pause", "-", "0", "no"],
    ["paused", "guardrail_stopped run_limit", "-", "0", "no"],
    ["paused", "guardrail_stopped run_limit", "-", "999999", "no"],
    ["paused", "guardrail_stopped", "-", "0", "no"],
    ["paused", "operator_stopped", "-", "0", "no"],
    ["paused", "operator_stopped spend_pause", "-", "0", "no"],
    ["paused", "shutdown", "-", "0", "no"],
    ["paused", "server_restart", "-", "0", "no"],
    ["paused", "panic", "-", "0", "no"],
    ["paused", "cancelled", "-", "0", "no"],
    ["paused", "-", "-", "0", "no"],
];

fn restart(row: &[&str]) -> Vec<String> {
    let policy: Json = serde_json::from_str(row[1]).unwrap();
    let definition = read(&json!({ "name": "n", "nodes": [], "policy": policy })).unwrap();
    let status = AutomationRunStatus::parse(row[0]).unwrap();
    vec![
        match at_restart(&definition, status) {
            AtRestart::GoesOn => "goes on",
            AtRestart::Fails => "fails",
        }
        .to_owned(),
    ]
}

fn silence(row: &[&str]) -> Vec<String> {
    let limit = |part: &str| match part {
        "none" => None,
        seconds => Some(Duration::from_secs(seconds.parse().unwrap())),
    };
    let idle: Vec<Option<Duration>> = parts(row[0]).map(limit).collect();
    vec![stale_at(at(0), &idle).map_or("never".to_owned(), |at| seconds(at).to_string())]
}

fn resume(row: &[&str]) -> Vec<String> {
    let (kind, guardrail) = row[1].split_once(' ').unwrap_or((row[1], ""));
    let (what, number) = row[2].split_once(' ').unwrap_or((row[2], ""));
    let number = number.parse().unwrap_or(0);
    let run = PausedRun {
        status: AutomationRunStatus::parse(row[0]).unwrap(),
        stop_kind: StopKind::parse(kind),
        guardrail: Guardrail::parse(guardrail),
        stopped_at: at(0),
        resumes: if what == "resumed" { number } else { 0 },
        resume_stale: what != "resumeStale",
        has_work: what != "no",
        held_agents: if what == "held" { number as usize } else { 0 },
    };
    vec![if resumes(&run, at(row[3].parse().unwrap())) { "yes" } else { "no" }.to_owned()]
}

pub(super) fn tables() -> Vec<Table> {
    let restarts = "The same holds when the server leaves. What goes on is taken up where it was: its agents' \
                    processes did not notice.";
    let silent = "The idle limits of the nodes under way, and how many seconds after the last sign of any of \
                  them the run is paused as `stale_reaped`. `none`: a node without a limit.";
    let resumed = "`held`: so many agents of the run are kept from work by their budgets; each needs its own way \
                   out. `resumed`: so often since a person last had it go on. A limit of the run itself is \
                   nobody's budget.";
    vec![
        Table::judged(
            ("What a restart does", restarts),
            ["status", "`policy`", "the run"],
            2,
            RESTARTS,
            restart,
        ),
        Table::judged(("Silence", silent), ["idle limits", "paused after"], 1, SILENCE, silence),
        Table::judged(
            ("What goes on by itself", resumed),
            ["status", "stopped by", "besides", "seconds ago", "goes on"],
            4,
            RESUMES,
            resume,
        ),
    ]
}

#[test]
fn what_happens_by_itself_does_so_for_its_own_reason_and_is_bounded() {
    tables();
}
