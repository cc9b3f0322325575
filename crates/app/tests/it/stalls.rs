//! S5: a run that is silent, one that only seems so, one that is busy and gets nowhere, one that is done and stays, and
//! whatever goes on for too long; with real processes, in real time.
//!
//! The short form calls a run silent after two seconds. `BUGLE_SOAK=n` plays everything n times with a minute, and lets
//! runs go on for twenty.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::stage::{Stage, Wire, databases, wait_for};

/// The settings of the scenario.
#[derive(Debug, Clone, Copy)]
struct Measure {
    /// A run without any sign of life is shown after this.
    stall: Duration,
    /// It may be shown so much later: a twelfth of it, and time for a busy machine.
    late: Duration,
    /// The silent child of another works for this long.
    builds: Duration,
    /// The time of the processor that one go of that child takes, and its rest.
    work: (u64, u64),
    /// No run may take longer.
    cap: Duration,
    times: usize,
    /// So many times at once.
    width: usize,
    patience: Duration,
}

impl Measure {
    fn asked() -> Measure {
        let seconds = Duration::from_secs;
        match std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse().ok()) {
            None => Measure {
                stall: seconds(2),
                late: seconds(2),
                builds: seconds(6),
                // As a compiler does: whatever else the machine does, it gets on.
                work: (1000, 100),
                cap: seconds(6),
                times: 1,
                width: 1,
                patience: seconds(60),
            },
            // The children of all who are at it together, forty of them, have to find room on two processors.
            Some(times) => Measure {
                stall: seconds(60),
                late: seconds(5),
                builds: seconds(600),
                work: (40, 960),
                cap: seconds(1200),
                times,
                width: 10,
                patience: seconds(1500),
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stuck_is_told_from_what_is_quiet_and_from_what_goes_in_circles() {
    let measure = Measure::asked();
    let mut stages = Vec::new();
    for database in databases() {
        stages.push(tokio::spawn(play(database, measure)));
    }
    for stage in stages {
        stage.await.expect("every repetition as it should be");
    }
}

async fn play(database: Option<String>, measure: Measure) {
    let mut stage = Stage::set(database).with(&["--max-runs", "250"]);
    stage.start();
    let mut done = 0;
    while done < measure.times {
        let mut rounds = Vec::new();
        for number in done..measure.times.min(done + measure.width) {
            let gate = stage.place(&format!("gate {number}"));
            rounds.push(tokio::spawn(repetition(stage.wire(), number, gate, measure)));
        }
        done += rounds.len();
        for round in rounds {
            round.await.expect("a repetition as it should be");
        }
        println!("{done} repetitions, none wrong");
    }
    wait_for("all keepers to leave", || stage.keepers().is_empty().then_some(()));
    assert_eq!(stage.agents(), Vec::<i32>::new(), "processes that were left behind");
}

/// Everything once, all at the same time.
async fn repetition(wire: Wire, number: usize, gate: PathBuf, measure: Measure) {
    let cast = Cast { wire, number, measure, company: String::new() };
    let cast = Cast { company: cast.wire.company().await, ..cast };
    let silent = cast.start("silent", "message thinking\nhang", "flag", true).await;
    let stopped = cast.start("stopped", "message thinking\nhang", "stop", false).await;
    let builds = cast.start("builds", &build(measure, false), "stop", false).await;
    let endless = cast.start("endless", &build(measure, true), "stop", true).await;
    let circles = cast.start("circles", &circle(measure, &gate), "flag", true).await;
    let circled = cast
        .start("circled", "repeat 8 {\n  tool bash {\"command\": \"make\"}\n}\nhang", "stop", false)
        .await;
    let done = cast.start("done", "message hello\nresult success done\nhang", "flag", false).await;

    // (d) The outcome is on record while the process is still there, and the same when it has gone.
    let event = cast.event(&done, "the agent is done; its process stays").await;
    assert_eq!(event["payload"]["result"], "success");
    assert_eq!(cast.wire.run(&done).await["status"], "running");

    // (c) Seven are not enough, the eighth is.
    let calls = || async { cast.wire.output(&circles, "stdout").await.matches("tool_call").count() };
    let seven = calls_until(&cast, calls, 7).await;
    assert_eq!(seven, 7);
    assert_eq!(cast.shown(&circles, "no_progress").await.len(), 0, "seven times are no circle");
    assert_eq!(cast.told(&circles, NO_PROGRESS).await.len(), 0);
    std::fs::write(&gate, "").expect("the gate");
    let told = cast.until("the circle is shown", || cast.told(&circles, NO_PROGRESS)).await;
    assert_eq!((told.len(), &told[0]["details"]["times"]), (1, &json!(8)));
    assert_eq!(cast.wire.run(&circles).await["status"], "running", "shown, and left alone");

    // (a) Shown in time, and stopped where that is the policy.
    let told = cast.until("the silence is shown", || cast.told(&silent, SILENT)).await;
    cast.in_time(&told);
    assert_eq!(cast.shown(&silent, "silent_run").await.len(), 1);
    assert_eq!(cast.wire.run(&silent).await["status"], "running", "shown, and left alone");
    let ended = cast.over(&stopped).await;
    assert_eq!((&ended["status"], &ended["errorCode"]), (&json!("timed_out"), &json!("silent")), "{ended:#}");
    cast.in_time(&cast.told(&stopped, SILENT).await);
    let ended = cast.over(&circled).await;
    assert_eq!(
        (&ended["status"], &ended["errorCode"]),
        (&json!("timed_out"), &json!("no_progress")),
        "{ended:#}"
    );
    assert_eq!(cast.told(&circled, NO_PROGRESS).await.len(), 1);

    let ended = cast.over(&done).await;
    assert_eq!(
        (&ended["status"], &ended["resultJson"]["endedBy"]),
        (&json!("succeeded"), &json!("lingering"))
    );
    let stayed = moment(&ended["finishedAt"]) - moment(&event["createdAt"]);
    assert!((4.0..15.0).contains(&stayed), "a process that is done stayed for {stayed} s");

    // (b) Never shown, although it says nothing: its child works.
    let ended = cast.over(&builds).await;
    assert_eq!(ended["status"], "succeeded", "{ended:#}");
    let took = moment(&ended["finishedAt"]) - moment(&ended["startedAt"]);
    assert!(took > measure.stall.as_secs_f64() * 2.0, "it was not quiet for long enough: {took} s");
    assert_eq!(cast.told(&builds, SILENT).await.len(), 0);

    // (e) Whatever it is, it has an end.
    for run in [&silent, &endless, &circles] {
        let ended = cast.over(run).await;
        assert_eq!(
            (&ended["status"], &ended["errorCode"]),
            (&json!("timed_out"), &json!("timeout")),
            "{ended:#}"
        );
        let took = moment(&ended["finishedAt"]) - moment(&ended["startedAt"]);
        let cap = measure.cap.as_secs_f64();
        assert!((cap - 0.5..cap + 10.0).contains(&took), "it took {took} s");
        assert_eq!(cast.shown(run, "silent_run").await.len() + cast.shown(run, "no_progress").await.len(), 0);
    }
    assert_eq!(cast.told(&endless, SILENT).await.len(), 0);
    assert_eq!(cast.told(&silent, SILENT).await.len(), 1, "shown once");
}

const SILENT: &str = "heartbeat.output_stale_detected";
const NO_PROGRESS: &str = "heartbeat.no_progress_detected";

/// Says nothing, and has a child in a session of its own that works now and then.
fn build(measure: Measure, is_endless: bool) -> String {
    let (spin, rest) = measure.work;
    let turns = measure.builds.as_millis() / u128::from(spin + rest);
    let turns = if is_endless { turns * 1000 } else { turns };
    format!(
        "message building\nfork setsid quiet {{\n  repeat {turns} {{\n    spin {spin}ms\n    sleep {rest}ms\n  }}\n}}\nwait\nresult success built"
    )
}

/// Prints and calls the same tool seven times, and, once it may, for ever.
fn circle(measure: Measure, gate: &Path) -> String {
    let pause = measure.stall.as_millis() / 6;
    let turn = format!("print working\n  tool bash {{\"command\": \"make\"}}\n  sleep {pause}ms");
    format!("repeat 7 {{\n  {turn}\n}}\nwait-for \"{}\" 10m\nrepeat 1000000 {{\n  {turn}\n}}", gate.display())
}

/// Waits until the program has made so many calls, and no more; returns how many it made.
async fn calls_until<F: Future<Output = usize>>(cast: &Cast, calls: impl Fn() -> F, wanted: usize) -> usize {
    let seen = cast.until("the calls of the program", || async {
        let seen = calls().await;
        if seen >= wanted { vec![json!(seen)] } else { Vec::new() }
    });
    seen.await[0].as_u64().map_or(0, |seen| usize::try_from(seen).expect("a few"))
}

/// Seconds since 1970 of a time on the wire.
fn moment(text: &Json) -> f64 {
    let text = text.as_str().unwrap_or_else(|| panic!("a time, not {text}"));
    let at = domain::moment::Moment::parse(text).unwrap_or_else(|| panic!("a time, not {text}"));
    at.micros() as f64 / 1e6
}

/// One repetition, and what it asks.
struct Cast {
    wire: Wire,
    number: usize,
    measure: Measure,
    company: String,
}

impl Cast {
    /// Starts an agent that follows a script; what is wrong with it is acted on so.
    async fn start(&self, name: &str, script: &str, action: &str, is_capped: bool) -> String {
        let stall = self.measure.stall.as_secs();
        let cap = if is_capped { self.measure.cap.as_secs() } else { 0 };
        let body = json!({
            "name": format!("{name} {}", self.number), "adapterType": "scripted",
            "adapterConfig": { "script": script, "graceSec": 1, "timeoutSec": cap },
            "runtimeConfig": { "watchdog": {
                "stallSec": stall, "criticalSec": stall * 1000, "stallAction": action, "noProgressAction": action,
            } },
        });
        let agent = self.wire.agent(&body).await;
        self.wire.wake(&agent, &json!({})).await
    }

    /// What was told of a run under this word.
    async fn told(&self, run: &str, action: &str) -> Vec<Json> {
        let path =
            format!("/companies/{}/activity?entityType=heartbeat_run&entityId={run}&limit=100", self.company);
        let told = self.wire.get(&path).await;
        told.as_array().expect("a list").iter().filter(|entry| entry["action"] == action).cloned().collect()
    }

    /// What people are shown of a run, of this kind.
    async fn shown(&self, run: &str, kind: &str) -> Vec<Json> {
        let inbox = self.wire.get(&format!("/companies/{}/inbox-items?limit=500", self.company)).await;
        let items = inbox["items"].as_array().expect("a list").iter();
        items.filter(|item| item["entityId"] == run && item["kind"] == kind).cloned().collect()
    }

    /// The event of a run with these words, as soon as it is there.
    async fn event(&self, run: &str, words: &str) -> Json {
        let found = self.until(words, || async {
            let events = self.wire.get(&format!("/heartbeat-runs/{run}/events?limit=1000")).await;
            let events = events.as_array().expect("a list").iter();
            events.filter(|event| event["message"] == words).cloned().collect()
        });
        found.await.remove(0)
    }

    async fn until<F: Future<Output = Vec<Json>>>(&self, what: &str, look: impl Fn() -> F) -> Vec<Json> {
        let waited = tokio::time::timeout(self.measure.patience, async {
            loop {
                let found = look().await;
                if !found.is_empty() {
                    return found;
                }
                // The server is asked over HTTP and rings nobody here.
                tokio::time::sleep(self.measure.stall / 40).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    async fn over(&self, run: &str) -> Json {
        let ended = self.until("the end of a run", || async {
            let found = self.wire.run(run).await;
            if crate::stage::is_final(&found["status"]) { vec![found] } else { Vec::new() }
        });
        ended.await.remove(0)
    }

    /// The silence was shown when it was as old as it may get.
    fn in_time(&self, told: &[Json]) {
        assert_eq!(told.len(), 1, "{told:?}");
        let age = Duration::from_millis(told[0]["details"]["silenceAgeMs"].as_u64().expect("an age"));
        let Measure { stall, late, .. } = self.measure;
        assert!((stall..=stall + late).contains(&age), "shown after {age:?}");
    }
}
