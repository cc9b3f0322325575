//! A case of the table, played: an agent of a real server runs the program, and what came of it is compared.
//!
//! A program plays all its cases one after the other, each in a home of its own. What is not as expected is gathered, so
//! that one test run shows all of it.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::fake_model::{Billed, FakeModel};
use crate::programs::{Home, Program, as_object};
use crate::stage::{Stage, Wire, is_final};
use crate::table::{CASES, Case, End, Expected, MADE, Play, Reported};

/// A program that is retried by itself says its last word within this time, on a machine that is busy as well.
const PATIENCE: Duration = Duration::from_secs(180);
/// The time limit of the cases that run out of time: the programs have asked more than once by then.
const TIME_LIMIT: u64 = 20;

impl Program {
    /// Its `adapterType`, and what its agents are configured with beside command, folder, environment and prompt.
    pub(crate) fn adapter(self) -> (&'static str, Json) {
        match self {
            Program::ClaudeOld | Program::ClaudeNew => ("claude_local", json!({})),
            Program::Codex => ("codex_local", json!({ "dangerouslyBypassApprovalsAndSandbox": true })),
            Program::Gemini => ("gemini_local", json!({ "model": "gemini-2.5-pro" })),
            Program::Pi => ("pi_local", json!({ "model": "fake/fake-model" })),
            Program::OpenCode => ("opencode_local", json!({ "model": "fake/fake-model" })),
            Program::Qwen => ("qwen", json!({})),
            Program::ClaudeAcp | Program::CodexAcp => ("acp", json!({ "permissions": "allow" })),
        }
    }

    /// What it asked a model for itself (a title for the session) is in the usage that it reports.
    const fn tells_of_side_requests(self) -> bool {
        !matches!(self, Program::OpenCode)
    }

    /// Whether its usage and cost have what it asked a model for itself is chance: that request may end before the
    /// answer or behind it, and then it is told with the next one.
    const fn tells_of_side_requests_by_chance(self) -> bool {
        matches!(self, Program::ClaudeAcp)
    }

    /// It names its session before the model has answered.
    const fn names_its_session_first(self) -> bool {
        !matches!(self, Program::OpenCode)
    }

    /// How often it asks the model for an answer that calls no tool.
    const fn asks_for_a_text(self) -> u64 {
        // Qwen does not believe the first.
        if matches!(self, Program::Qwen) { 2 } else { 1 }
    }
}

/// Plays every case with a program that is installed; fails with the list of all that is not as the table says.
pub(crate) async fn all_cases(program: Program) {
    let Some(installed) = program.find() else { return };
    let model = FakeModel::start();
    let mut stage = Stage::set(None);
    stage.start();
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        model.reset().await;
        let began = Instant::now();
        let home = Home::make(&installed, stage.place(&format!("case-{number}")), model.base());
        let playing = Playing { stage: &stage, model: &model, home: &home, case };
        let expected = case.expected(program);
        let complaints = playing.play(&expected).await;
        let took = began.elapsed().as_secs_f64();
        println!(
            "{program:?}, {}: {} ({took:.1} s)",
            case.name,
            if complaints.is_empty() { "well" } else { "WRONG" }
        );
        wrong.extend(complaints.into_iter().map(|complaint| format!("{}: {complaint}", case.name)));
    }
    assert!(wrong.is_empty(), "{program:?} is not as the table says:\n{}", wrong.join("\n"));
}

struct Playing<'a> {
    stage: &'a Stage,
    model: &'a FakeModel,
    home: &'a Home,
    case: &'a Case,
}

impl Playing<'_> {
    async fn play(&self, expected: &Expected) -> Vec<String> {
        let agent = self.agent(expected).await;
        let wake = json!({ "taskKey": "the-task" });
        let mut run = self.stage.wake(&agent, &wake).await;
        let mut first = None;
        match self.case.play {
            Play::Once => {}
            Play::Again | Play::AgainForgotten => {
                first = Some(ended(self.stage, &run).await);
                self.model.reset().await;
                if self.case.play == Play::AgainForgotten {
                    self.home.forget();
                }
                run = self.stage.wake(&agent, &wake).await;
            }
            Play::CancelAsked => self.when_asked(&run).await,
            Play::CancelTool => self.when_the_tool_runs(&run).await,
        }
        if matches!(self.case.play, Play::CancelAsked | Play::CancelTool) {
            self.stage.post(&format!("/heartbeat-runs/{run}/cancel"), &json!({})).await;
        }
        let run = ended(self.stage, &run).await;
        // Before anything else: a process that would have gone a moment later was there when the run was over.
        let survivors = self.home.processes();
        let mut complaints = self.complaints(expected, &run, first.as_ref()).await;
        if !survivors.is_empty() {
            complaints.push(format!("it is over, and these live: {survivors:#?}"));
        }
        if !complaints.is_empty() {
            let said =
                [self.stage.output(id(&run), "stdout").await, self.stage.output(id(&run), "stderr").await];
            let shown = said.map(|text| tail(&text, 3_000));
            complaints.push(format!(
                "the run was {:#}\nstdout: {}\nstderr: {}",
                brief(&run),
                shown[0],
                shown[1]
            ));
        }
        complaints
    }

    async fn agent(&self, expected: &Expected) -> String {
        let (kind, mut config) = self.home.installed.program.adapter();
        let common = json!({
            "command": self.home.installed.command, "cwd": self.home.work(), "env": as_object(&self.home.env()),
            // What one case meets is not to hold the next.
            "account": self.case.name,
            "promptTemplate": self.case.prompt, "graceSec": 5,
            "timeoutSec": if expected.end == End::OutOfTime { TIME_LIMIT } else { PATIENCE.as_secs() },
        });
        let (Some(config_fields), Some(common)) = (config.as_object_mut(), common.as_object()) else {
            unreachable!("both are objects")
        };
        config_fields.extend(common.clone());
        let agent = json!({ "name": self.case.name, "adapterType": kind, "adapterConfig": config });
        self.stage.agent(&agent).await
    }

    /// Waits until the model has been asked what it does not answer.
    async fn when_asked(&self, run: &str) {
        self.wait("the model to be asked", run, async || {
            self.model.requests().await.iter().any(|request| request["answer"] == "hang")
        })
        .await;
    }

    /// Waits until the tool has begun.
    async fn when_the_tool_runs(&self, run: &str) {
        self.wait("the tool to run", run, async || self.home.work().join(MADE).exists()).await;
    }

    async fn wait(&self, what: &str, run: &str, is_so: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so().await {
            let run = self.stage.run(run).await;
            assert!(!is_final(&run["status"]), "waited for {what}, and it is over: {run:#}");
            assert!(Instant::now() < deadline, "waited in vain for {what}: {run:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn complaints(&self, expected: &Expected, run: &Json, first: Option<&Json>) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |is_well: bool, words: String| {
            if !is_well {
                wrong.push(words);
            }
        };
        let (status, code) = match expected.end {
            End::Succeeds => ("succeeded", None),
            End::Fails { code, .. } => ("failed", Some(code)),
            End::Cancelled => ("cancelled", Some("cancelled")),
            End::OutOfTime => ("timed_out", Some("timeout")),
        };
        let ended_as = (run["status"].as_str(), run["errorCode"].as_str());
        check(ended_as == (Some(status), code), format!("not {status} {code:?}: {ended_as:?}"));
        if let End::Fails { passing, until, .. } = expected.end {
            let is_passing = run["resultJson"]["errorFamily"] == "transient_upstream";
            check(is_passing == passing, format!("tried again: {is_passing}"));
            let not_before = &run["resultJson"]["retryNotBefore"];
            check(not_before.is_string() == until, format!("not before {not_before}"));
            if let Some(at) = not_before.as_str() {
                let until_then = until_then(at, run);
                let hour = Duration::from_secs(55 * 60)..Duration::from_secs(65 * 60);
                check(until_then.is_some_and(|span| hour.contains(&span)), format!("not an hour away: {at}"));
            }
            check(run["error"].as_str().is_some_and(|words| !words.trim().is_empty()), "no words".to_owned());
        }
        let program = self.home.installed.program;
        let billed = self.model.billed().await;
        let session = run["sessionIdAfter"].as_str();
        // Where there was no result, the session is still what can be resumed.
        let is_named = billed.answers > 0 || program.names_its_session_first();
        check(session.is_some() || !is_named, "no session".to_owned());
        if let Some(first) = first {
            let before = first["sessionIdAfter"].as_str();
            let forgotten = self.case.play == Play::AgainForgotten;
            check(first["status"] == "succeeded", format!("the first run: {}", first["status"]));
            check((before == session) != forgotten, format!("the session was {before:?} and is {session:?}"));
            check(run["attempt"] == if forgotten { 2 } else { 1 }, format!("{} processes", run["attempt"]));
            let cost = |run: &Json| run["usageJson"]["costMicros"].as_i64();
            // The same tokens at the same price: more would be the sum over both runs.
            let is_same = cost(first) == cost(run) || program.tells_of_side_requests_by_chance();
            check(is_same, format!("cost {:?}, then {:?}", cost(first), cost(run)));
        }
        if let Some(answers) = self.answers(expected) {
            // What it asks behind its answer, for itself, is no request of the turn.
            let more = u64::from(program.tells_of_side_requests_by_chance());
            check(
                (answers..=answers + more).contains(&billed.answers),
                format!("{} answers of the model, not {answers}", billed.answers),
            );
        }
        let made = self.home.work().join(MADE).exists();
        check(made == self.case.prompt.contains(MADE), format!("the tool's file is there: {made}"));
        let asked = self.model.asked().await;
        if let Some(words) = usage_complaint(&run["usageJson"], &billed, asked, expected.usage, program) {
            check(false, words);
        }
        wrong
    }

    /// How often the model answers, where that is certain.
    fn answers(&self, expected: &Expected) -> Option<u64> {
        let program = self.home.installed.program;
        let calls_a_tool = self.case.prompt.contains(MADE);
        (expected.end == End::Succeeds).then_some(if calls_a_tool { 2 } else { program.asks_for_a_text() })
    }
}

fn id(run: &Json) -> &str {
    run["id"].as_str().unwrap()
}

/// The fields of a run that tell how it went.
fn brief(run: &Json) -> Json {
    let names = [
        "status",
        "error",
        "errorCode",
        "exitCode",
        "signal",
        "attempt",
        "usageJson",
        "sessionIdBefore",
        "sessionIdAfter",
    ];
    let mut brief: serde_json::Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), run[*name].clone())).collect();
    for name in ["errorFamily", "retryNotBefore", "warnings", "endedBy", "survivorsKilled"] {
        brief.insert(format!("resultJson.{name}"), run["resultJson"][name].clone());
    }
    brief.into()
}

/// What is wrong with the usage of a run, given what the model reported and how often it was asked.
fn usage_complaint(
    usage: &Json,
    billed: &Billed,
    asked: u64,
    reported: Reported,
    program: Program,
) -> Option<String> {
    // What is written to a cache was not read from one: most programs know no difference to other input.
    let mut truth = [billed.input + billed.cache_write, billed.cache_read, billed.output];
    if program.tells_of_side_requests() {
        truth[0] += billed.side[0];
        truth[2] += billed.side[1];
    }
    let said = ["inputTokens", "cachedInputTokens", "outputTokens"].map(|name| usage[name].as_u64());
    // No more than there was, and not nothing.
    let is_a_part = || (0..3).all(|at| said[at].is_some_and(|said| (1..=truth[at]).contains(&said)));
    if program.tells_of_side_requests_by_chance() && reported == Reported::All && is_a_part() {
        return None;
    }
    let is_nothing = said.iter().all(|count| count.unwrap_or(0) == 0);
    let is_well = match reported {
        Reported::All if billed.answers == 0 => is_nothing,
        Reported::All => said == truth.map(Some),
        Reported::Begun => {
            let [input, cached, output] = said;
            let begun = (1..=asked).any(|times| {
                [input, cached] == [1_030, 200].map(|count| Some(count * times))
                    && output.is_some_and(|count| count <= 7 * times)
            });
            is_nothing || (billed.answers == 0 && begun)
        }
        Reported::AtMost => {
            usage.is_null()
                || said.iter().zip(truth).all(|(said, truth)| said.is_some_and(|said| said <= truth))
        }
    };
    (!is_well).then(|| format!("usage {usage} where the model reported {billed:?} ({reported:?})"))
}

/// From the end of the run to the moment that its error names.
fn until_then(at: &str, run: &Json) -> Option<Duration> {
    let at: jiff::Timestamp = at.parse().ok()?;
    let ended: jiff::Timestamp = run["finishedAt"].as_str()?.parse().ok()?;
    at.duration_since(ended).try_into().ok()
}

/// Follows the log of a run to its end; returns the run.
async fn ended(wire: &Wire, run: &str) -> Json {
    let deadline = Instant::now() + 2 * PATIENCE;
    let mut last = None;
    // A connection is given up after a while, whatever comes over it: then the next one goes on.
    while !follow(wire, run, &mut last).await {
        assert!(Instant::now() < deadline, "waited in vain for the end of {:#}", wire.run(run).await);
    }
    let run = wire.run(run).await;
    assert!(is_final(&run["status"]), "its log ended and it did not: {run:#}");
    run
}

/// Reads one connection; true when it told of the end.
async fn follow(wire: &Wire, run: &str, last: &mut Option<u64>) -> bool {
    let path = format!("/heartbeat-runs/{run}/log/stream");
    let Some(mut answer) = wire.stream(&path, *last).await else { return false };
    let mut text = Vec::new();
    while let Ok(Some(bytes)) = answer.chunk().await {
        text.extend_from_slice(&bytes);
        while let Some(at) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=at).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            if line == "event: end" {
                return true;
            }
            if let Some(id) = line.strip_prefix("id: ") {
                *last = id.parse().ok().or(*last);
            }
        }
    }
    false
}

fn tail(text: &str, most: usize) -> String {
    let start = text.char_indices().rev().nth(most).map_or(0, |(at, _)| at);
    text[start..].to_owned()
}

/// A program that asks again after a broken answer may have read the beginning of each, and never more than that.
#[test]
fn what_broken_answers_said_of_themselves_counts_once_for_each_time_that_was_asked() {
    let complaint = |input: u64, asked: u64| {
        let usage =
            json!({ "inputTokens": input, "cachedInputTokens": input / 1_030 * 200, "outputTokens": 3 });
        usage_complaint(&usage, &Billed::default(), asked, Reported::Begun, Program::ClaudeNew)
    };
    for (input, asked) in [(1_030, 1), (1_030, 2), (2_060, 2)] {
        assert_eq!(complaint(input, asked), None, "{input} after {asked}");
    }
    for (input, asked) in [(2_060, 1), (3_090, 2), (1_031, 2)] {
        assert!(complaint(input, asked).is_some(), "{input} after {asked}");
    }
}
