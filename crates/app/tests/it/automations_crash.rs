//! `kill -9` at any instant through automations: no step is done twice, no decision is lost or counts twice, and every
//! run ends as the same run ended that nobody disturbed.
//!
//! Six runs of six nodes with two gates, and twelve kills of the server; `BUGLE_SOAK=n` takes n kills and half as many
//! runs (`cargo xtask soak automations`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value as Json, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::stage::{PATIENCE, Stage, Wire, databases, wait_for};

/// The server lives at most this long between two kills.
const LIVES_FOR: Duration = Duration::from_millis(900);
/// And is away for at most this long.
const IS_AWAY: Duration = Duration::from_millis(200);
/// Every second kill comes at most so long after somebody began to send a decision.
const WHILE_DECIDED: Duration = Duration::from_millis(20);

/// Kills of the server; a run begins for every second of them.
fn kills() -> usize {
    std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(12)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_end_as_if_the_server_had_never_been_killed() {
    let kills = kills();
    let undisturbed = Play::on(None, 1, 0, kills / 2).await;
    for (number, database) in databases().into_iter().enumerate() {
        let store = database.as_deref().map_or("embedded store", |_| "PostgreSQL");
        let began = Instant::now();
        let disturbed = Play::on(database, 42 + number as u64, kills, kills / 2).await;
        for (number, (was, is)) in undisturbed.ends.iter().zip(&disturbed.ends).enumerate() {
            assert_eq!(was, is, "run {number}");
        }
        assert_eq!(undisturbed.ends.len(), disturbed.ends.len());
        let figures = disturbed.figures;
        println!(
            "{store}: {kills} kills, {} of them while somebody decided; {} runs, {:.1} open at another kill on average \
             ({} such kills met none); {} steps each begun and done once; {} gates each decided once, by {} decisions, \
             {} of which had to be sent again; {:?}",
            figures.while_decided,
            disturbed.ends.len(),
            figures.open as f64 / (kills - figures.while_decided) as f64,
            figures.met_none,
            figures.steps,
            figures.gates,
            figures.sent,
            figures.unheard,
            began.elapsed(),
        );
        assert!(figures.met_none * 4 <= kills, "too many kills met no run: {figures:?}");
        assert!(figures.sent > figures.gates, "no decision was sent twice: {figures:?}");
    }
}

/// Everything of a run that a kill must not change.
#[derive(Debug, PartialEq)]
struct End {
    status: String,
    detail: Json,
    /// By name: state, output, and what was counted.
    nodes: BTreeMap<String, Json>,
    /// In the order in which they were asked.
    gates: Vec<Json>,
    /// What happened to it, sorted: steps that go side by side end in either order.
    history: Vec<String>,
    /// What agents really did, without the ids of runs.
    ledger: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Figures {
    /// Runs that were open at kills, in sum.
    open: usize,
    met_none: usize,
    /// Kills in the moment in which a decision was sent.
    while_decided: usize,
    steps: usize,
    gates: usize,
    /// Decisions that people made, and how many of them had to be sent again.
    sent: usize,
    unheard: usize,
}

struct Play {
    ends: Vec<End>,
    figures: Figures,
}

/// What somebody was told of a decision.
struct Decided {
    gate: String,
    decision: &'static str,
    won: bool,
    /// Its first answer never came.
    unheard: bool,
}

impl Play {
    async fn on(database: Option<String>, seed: u64, kills: usize, runs: usize) -> Play {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut stage = Stage::set(database).with(&["--max-runs", "64"]);
        stage.start();
        let ledger = stage.place("ledger");
        prepare(&stage, &ledger, kills > 0).await;
        let token = std::fs::read_to_string(stage.data().join("board.token")).expect("the local token");
        let company = stage.company().await;

        // People decide in two places while the server dies and comes back; most gates are decided in both.
        let enough = CancellationToken::new();
        let sending = Arc::new(Notify::new());
        let deciding = ["in the browser", "in a chat"].map(|_| {
            let person = Person {
                wire: stage.wire(),
                token: token.trim().to_owned(),
                company: company.clone(),
                sending: Arc::clone(&sending),
            };
            let enough = enough.clone();
            tokio::spawn(async move { person.decide_all(&enough).await })
        });
        let mut figures = Figures::default();
        let mut begun = Vec::new();
        for number in 0..runs {
            begun.push(tokio::spawn(begin(stage.wire(), company.clone(), number)));
            for kill in 0..kills / runs {
                if kill % 2 == 1 && tokio::time::timeout(LIVES_FOR * 4, sending.notified()).await.is_ok() {
                    sleep_up_to(&mut dice, WHILE_DECIDED).await;
                    stage.kill();
                    figures.while_decided += 1;
                    stage.start();
                    continue;
                }
                sleep_up_to(&mut dice, LIVES_FOR).await;
                let open = open_runs(&stage, &company).await;
                figures.open += open;
                figures.met_none += usize::from(open == 0);
                stage.kill();
                sleep_up_to(&mut dice, IS_AWAY).await;
                stage.start();
            }
        }
        let mut ids = Vec::new();
        for one in begun {
            ids.push(one.await.expect("the run was answered"));
        }
        let mut ended = Vec::new();
        for id in &ids {
            ended.push(over(&stage, id).await);
        }
        enough.cancel();
        let mut decided = Vec::new();
        for one in deciding {
            decided.extend(one.await.expect("all decisions were answered"));
        }
        let done = read_ledger(&ledger);
        let mut ends = Vec::new();
        for (id, run) in ids.iter().zip(&ended) {
            ends.push(end_of(&stage, id, run, &done, &mut figures).await);
        }
        let known: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        assert!(done.keys().all(|run| known.contains(run.as_str())), "work of runs that nobody asked for");
        check_decisions(&ended, &decided, &mut figures);
        wait_for("all keepers to leave", || stage.keepers().is_empty().then_some(()));
        assert_eq!(stage.agents(), Vec::<i32>::new(), "processes that were left behind");
        Play { ends, figures }
    }
}

/// Agents that write into the ledger when they begin and when they are done, and the automation.
async fn prepare(stage: &Stage, ledger: &Path, slowly: bool) {
    let line = format!(
        "ledger {} ${{ENV:BUGLE_AUTOMATION_RUN_ID}} ${{ENV:BUGLE_NODE_ID}} ${{ENV:BUGLE_NODE_ATTEMPT}}",
        ledger.display()
    );
    let works_for = if slowly { "500ms" } else { "1ms" };
    let words = "${ENV:BUGLE_NODE_OBJECTIVE}, ${ENV:BUGLE_NODE_ATTEMPT}";
    let script = format!("{line} begun\nsleep {works_for}\n{line} done\nresult success {words}");
    for name in ["Ada", "Bob"] {
        let body = json!({
            "name": name, "adapterType": "scripted", "adapterConfig": {"script": script},
            "runtimeConfig": {"heartbeat": {"maxConcurrentRuns": 10}},
        });
        stage.agent(&body).await;
    }
    let definition = json!({
        "name": "line",
        "inputs": {"n": {"type": "number"}},
        "nodes": [
            step("collect", "Ada", "collect {{ inputs.n }}", &[]),
            {"id": "ok", "dependsOn": ["collect"], "gate": {"title": "Go on with {{ nodes.collect.text }}?"}},
            step("left", "Ada", "left of {{ nodes.collect.text }}", &["ok"]),
            step("right", "Bob", "right of {{ nodes.collect.text }}", &["ok"]),
            {"id": "sure", "dependsOn": ["left", "right"], "gate": {"title": "Publish?"}},
            step("publish", "Bob", "publish {{ nodes.left.text }} and {{ nodes.right.text }}", &["sure"]),
        ],
    });
    let company = stage.company().await;
    stage.post(&format!("/companies/{company}/automations"), &json!({"definition": definition})).await;
}

fn step(id: &str, agent: &str, objective: &str, after: &[&str]) -> Json {
    json!({"id": id, "agent": agent, "objective": objective, "dependsOn": after})
}

async fn sleep_up_to(dice: &mut StdRng, most: Duration) {
    tokio::time::sleep(most.mul_f64(dice.random_range(0.0..1.0))).await;
}

/// Asks until there is an answer; returns it with the number of times that there was none.
async fn insist(
    wire: &Wire,
    token: Option<&str>,
    method: Method,
    path: &str,
    body: Option<&Json>,
) -> (u16, Json, usize) {
    let deadline = Instant::now() + PATIENCE;
    let mut unheard = 0;
    loop {
        if let Some((status, answer)) = wire.try_ask_with(token, method.clone(), path, body).await
            && status < 500
        {
            return (status, answer, unheard);
        }
        unheard += 1;
        assert!(Instant::now() < deadline, "{path} was never answered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn begin(wire: Wire, company: String, number: usize) -> String {
    let body = json!({"inputs": {"n": number}, "idempotencyKey": format!("run {number}")});
    let path = format!("/companies/{company}/automations/line/runs");
    let (status, run, _) = insist(&wire, None, Method::POST, &path, Some(&body)).await;
    assert_eq!(status, 202, "{run}");
    run["id"].as_str().expect("an id").to_owned()
}

/// What is decided, by the run's number and how often it was asked.
fn wish(number: u64, node: &str, time: usize) -> &'static str {
    match (node, number % 6, time) {
        ("sure", 3, 0) => "rework",
        ("sure", 5, _) => "cancel",
        _ => "approve",
    }
}

/// Somebody who decides, with the proof that it is a person.
struct Person {
    wire: Wire,
    token: String,
    company: String,
    /// Rung when a decision is about to be sent, for whoever listens then.
    sending: Arc<Notify>,
}

impl Person {
    /// Decides whatever is asked until it is enough.
    async fn decide_all(&self, enough: &CancellationToken) -> Vec<Decided> {
        let mut all = Vec::new();
        let mut known = BTreeSet::new();
        let list = format!("/companies/{}/gates", self.company);
        while !enough.is_cancelled() {
            let (_, listed, _) = insist(&self.wire, None, Method::GET, &list, None).await;
            for gate in listed.as_array().expect("a list of gates") {
                let id = gate["id"].as_str().expect("an id");
                if known.insert(id.to_owned()) {
                    all.push(self.decide(gate).await);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        all
    }

    async fn decide(&self, gate: &Json) -> Decided {
        let id = gate["id"].as_str().expect("an id").to_owned();
        let run = format!("/automation-runs/{}", gate["automationRunId"].as_str().expect("its run"));
        let (_, run, _) = insist(&self.wire, None, Method::GET, &run, None).await;
        let asked = run["gates"].as_array().expect("its gates");
        let mut of_node = asked.iter().filter(|it| it["nodeId"] == gate["nodeId"]);
        let time = of_node.position(|it| it["id"] == gate["id"]).expect("the gate is one of its run");
        let number = run["inputs"]["n"].as_u64().expect("a number");
        let decision = wish(number, gate["nodeId"].as_str().expect("its node"), time);
        let mut body = json!({"decision": decision, "hash": gate["hash"], "reason": decision});
        if decision == "rework" {
            body["targets"] = json!(["left"]);
        }
        let path = format!("/gates/{id}/decide");
        self.sending.notify_waiters();
        let (status, answer, unheard) =
            insist(&self.wire, Some(&self.token), Method::POST, &path, Some(&body)).await;
        match status {
            200 => assert_eq!(answer["decision"], decision, "{answer}"),
            // Somebody decided before, or this same request did and its answer was lost.
            _ => assert_eq!(
                (status, &answer["details"]["code"], &answer["details"]["winningDecision"]),
                (409, &json!("gate_already_decided"), &json!(decision)),
                "{answer}"
            ),
        }
        Decided { gate: id, decision, won: status == 200, unheard: unheard > 0 }
    }
}

async fn listed(stage: &Stage, company: &str) -> Vec<Json> {
    let runs = stage.get(&format!("/companies/{company}/automation-runs?limit=1000")).await;
    runs.as_array().expect("a list").clone()
}

fn is_over(run: &Json) -> bool {
    matches!(run["status"].as_str(), Some("completed" | "blocked" | "failed" | "cancelled"))
}

async fn open_runs(stage: &Stage, company: &str) -> usize {
    listed(stage, company).await.iter().filter(|run| !is_over(run)).count()
}

async fn over(stage: &Stage, id: &str) -> Json {
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        let run = stage.get(&format!("/automation-runs/{id}")).await;
        if is_over(&run) {
            return run;
        }
        assert!(Instant::now() < deadline, "a run that never ends: {run:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// By automation run, what was done: each line once, whichever run of an agent wrote it.
fn read_ledger(ledger: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut done: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in std::fs::read_to_string(ledger).expect("the ledger").lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let [_, _, run, what] = words[..] else { panic!("a line of the ledger: {line}") };
        let is_new = done.entry(run.to_owned()).or_default().insert(what.to_owned());
        assert!(is_new, "done twice: {line}");
    }
    done
}

async fn end_of(
    stage: &Stage,
    id: &str,
    run: &Json,
    done: &BTreeMap<String, BTreeSet<String>>,
    figures: &mut Figures,
) -> End {
    let list = |name: &str| run[name].as_array().unwrap_or_else(|| panic!("{name}: {run:#}")).clone();
    let text = |it: &Json, name: &str| it[name].as_str().unwrap_or_default().to_owned();
    let ledger = done.get(id).cloned().unwrap_or_default();
    let mut wanted = BTreeSet::new();
    for attempt in list("attempts") {
        assert_eq!((&attempt["state"], &attempt["counts"]), (&json!("ended"), &json!(true)), "{attempt}");
        let work = stage.run(attempt["runId"].as_str().expect("a run of its agent")).await;
        // A start that was taken back is made under the next number; the ledger says that only one was.
        assert_eq!(work["status"], "succeeded", "{work:#}");
        for word in ["begun", "done"] {
            wanted.insert(format!("{} {} {word}", text(&attempt, "nodeId"), attempt["attempt"]));
        }
        figures.steps += 1;
    }
    assert_eq!(ledger, wanted, "{id}");
    let history = stage.get(&format!("/automation-runs/{id}/history?limit=1000")).await;
    let history = history.as_array().expect("a list").clone();
    let numbers: Vec<i64> = history.iter().map(|entry| entry["seq"].as_i64().expect("a number")).collect();
    assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>(), "the history of {id}");
    for gate in list("gates") {
        let decided = |it: &&Json| it["event"] == "gate_decided" && it["metadata"]["gateId"] == gate["id"];
        assert_eq!(history.iter().filter(decided).count(), 1, "{gate}");
        figures.gates += 1;
    }
    let mut events: Vec<String> =
        history.iter().map(|it| format!("{} {}", text(it, "event"), text(it, "nodeId"))).collect();
    events.sort_unstable();
    let counted =
        ["state", "attempt", "attempts", "repairs", "lost", "reworks", "reason", "feedback", "output"];
    let node = |it: Json| {
        let kept: Json = counted.iter().map(|name| ((*name).to_owned(), it[name].clone())).collect();
        (text(&it, "nodeId"), kept)
    };
    let gate = |it: Json| json!([it["nodeId"], it["status"], it["title"], it["decision"], it["decidedBy"]]);
    End {
        status: text(run, "status"),
        detail: run["detail"].clone(),
        nodes: list("nodes").into_iter().map(node).collect(),
        gates: list("gates").into_iter().map(gate).collect(),
        history: events,
        ledger,
    }
}

/// What people were told is what is on record, and nothing else is.
fn check_decisions(ended: &[Json], decided: &[Decided], figures: &mut Figures) {
    let gates: BTreeMap<&str, &Json> = ended
        .iter()
        .flat_map(|run| run["gates"].as_array().expect("gates"))
        .map(|gate| (gate["id"].as_str().expect("an id"), gate))
        .collect();
    for gate in gates.values() {
        assert_eq!(gate["status"], "decided", "{gate}");
    }
    for (id, gate) in &gates {
        let told: Vec<&Decided> = decided.iter().filter(|it| it.gate == *id).collect();
        let won = told.iter().filter(|it| it.won).count();
        let unheard = told.iter().any(|it| it.unheard);
        // Nobody was told that they won only when the answer of the first was lost.
        assert!(won == 1 || (won == 0 && unheard), "{won} won: {gate}");
        assert!(told.iter().all(|it| gate["decision"] == it.decision), "{gate}");
    }
    assert!(
        decided.iter().all(|it| gates.contains_key(it.gate.as_str())),
        "a decision was lost with its gate"
    );
    figures.sent = decided.len();
    figures.unheard = decided.iter().filter(|it| it.unheard).count();
}
