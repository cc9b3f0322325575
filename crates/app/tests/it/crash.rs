//! `kill -9` at any instant: nothing is lost, nothing is done twice, nobody is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use crate::stage::{PATIENCE, Stage, Wire, databases, is_final, signal, wait_for};

const AGENTS: usize = 10;
/// Fewer live runs than this are waited out before the next instant is drawn.
const SEVERAL: usize = 3;

/// How hard it is made.
struct Measure {
    /// Kills of the server, per store.
    kills: usize,
    /// Lines a run prints, 100 ms apart.
    lines: RangeInclusive<u32>,
    /// The server lives at most this long between two kills.
    lives_for: Duration,
    /// A wake is sent this often, so that several runs are live whenever it strikes.
    wakes_every: Duration,
}

impl Measure {
    /// Short; `BUGLE_SOAK` is the number of kills of the full form, in which runs take 5 to 30 s.
    fn asked() -> Measure {
        let ms = Duration::from_millis;
        match std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse().ok()) {
            Some(kills) => Measure { kills, lines: 50..=300, lives_for: ms(1000), wakes_every: ms(700) },
            None => Measure { kills: 20, lines: 20..=45, lives_for: ms(650), wakes_every: ms(250) },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_at_any_instant_loses_nothing_and_doubles_nothing() {
    for (number, database) in databases().into_iter().enumerate() {
        let seed = 42 + number as u64;
        println!("seed {seed}, {}", database.as_deref().unwrap_or("embedded store"));
        crash(database, seed, &Measure::asked()).await;
    }
}

struct Asked {
    lines: u32,
    run: String,
}

/// What was done and seen.
#[derive(Debug, Default)]
struct Figures {
    kills: usize,
    keepers_killed: usize,
    /// Live runs at a kill, at the least and in sum.
    fewest_live: usize,
    live: usize,
    taken_over: u64,
    same_process: usize,
    slowest: Duration,
}

async fn crash(database: Option<String>, seed: u64, measure: &Measure) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut stage = Stage::set(database).with(&["--max-runs", "64"]);
    stage.start();
    let ledger = stage.place("ledger");
    let script = format!(
        "ledger {} start\nrepeat ${{ENV:LINES}} {{\n  print line ${{I}} of ${{ENV:LINES}}\n  sleep 100ms\n}}\nresult success done",
        ledger.display()
    );
    // The number of lines is the agent's, so that every log can be compared to the last byte.
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        let lines = dice.random_range(measure.lines.clone());
        let script = script.replace("${ENV:LINES}", &lines.to_string());
        let body = json!({
            "name": format!("agent {number}"), "adapterType": "scripted", "adapterConfig": {"script": script},
            "runtimeConfig": {"heartbeat": {"maxConcurrentRuns": 5}},
        });
        agents.push((stage.agent(&body).await, lines));
    }

    // Wakes are sent while the server dies and comes back, until the last kill, so that it also dies between a decision
    // and a start, and inside a group commit. A wake that was not answered is sent again with the same key.
    let enough = CancellationToken::new();
    let asking = tokio::spawn(ask(stage.wire(), agents, measure.wakes_every, enough.clone()));

    let mut figures = Figures { fewest_live: usize::MAX, ..Figures::default() };
    for kill in 0..measure.kills {
        wait_for("several live runs", || (stage.keepers().len() >= SEVERAL).then_some(()));
        sleep_up_to(&mut dice, measure.lives_for).await;
        let before = processes_of(&stage).await;
        let keepers = stage.keepers();
        figures.live += keepers.len();
        figures.fewest_live = figures.fewest_live.min(keepers.len());
        // Of five times a keeper dies once together with the server, and once a moment before it.
        if matches!(kill % 5, 2 | 4)
            && let Some(keeper) = pick(&mut dice, &keepers)
        {
            signal(keeper, rustix::process::Signal::KILL);
            figures.keepers_killed += 1;
            if kill % 5 == 2 {
                sleep_up_to(&mut dice, Duration::from_millis(100)).await;
            }
        }
        stage.kill();
        figures.kills += 1;
        sleep_up_to(&mut dice, Duration::from_millis(300)).await;
        let began = Instant::now();
        stage.start();
        figures.taken_over += recovered(&stage).await;
        figures.slowest = figures.slowest.max(began.elapsed());
        for (run, (epoch, pid)) in processes_of(&stage).await {
            if let Some((epoch_before, pid_before)) = before.get(&run)
                && *epoch_before == epoch
            {
                assert_eq!(*pid_before, pid, "{run} has another process after the restart");
                figures.same_process += 1;
            }
        }
    }
    enough.cancel();
    let asked = asking.await.expect("all wakes were answered");
    let runs = all_over(&stage).await;
    let lost = check(&stage, &asked, &runs, &ledger, figures.keepers_killed).await;
    println!(
        "{} kills of the server, {} of keepers; {} wakes, {} runs, {lost} of them lost with their keepers; live at a kill: \
         {} at the least, {:.1} on average; taken over: {}, seen in the same process before and after: {}; slowest start \
         until everything was taken over: {:?}",
        figures.kills,
        figures.keepers_killed,
        asked.len(),
        runs.len(),
        figures.fewest_live,
        figures.live as f64 / figures.kills as f64,
        figures.taken_over,
        figures.same_process,
        figures.slowest,
    );
    assert!(figures.fewest_live >= 2, "a kill met fewer than two live runs: {figures:?}");
    assert!(figures.keepers_killed >= measure.kills * 2 / 5, "too few keepers were killed: {figures:?}");
    assert!(lost > 0, "killed keepers that cost no run were killed too late: {figures:?}");
    assert!(
        figures.taken_over >= figures.kills as u64,
        "hardly anything was there to take over: {figures:?}"
    );
    // Five times the aim of 2 s: the machine is shared.
    assert!(figures.slowest < Duration::from_secs(10), "taking over took {:?}", figures.slowest);
}

async fn sleep_up_to(dice: &mut StdRng, most: Duration) {
    tokio::time::sleep(most.mul_f64(dice.random_range(0.0..1.0))).await;
}

/// Sends wakes with distinct task keys until it is enough, each until it is answered.
async fn ask(
    wire: Wire,
    agents: Vec<(String, u32)>,
    every: Duration,
    enough: CancellationToken,
) -> Vec<Asked> {
    let mut asked = Vec::new();
    while !enough.is_cancelled() {
        let number = asked.len();
        let (agent, lines) = &agents[number % agents.len()];
        let body = json!({"taskKey": format!("task {number}"), "idempotencyKey": format!("wake {number}")});
        let path = format!("/agents/{agent}/wakeup");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = wire.try_ask(reqwest::Method::POST, &path, Some(&body)).await;
            if let Some((202, run)) = answer {
                let run = run["id"].as_str().expect("an id").to_owned();
                asked.push(Asked { lines: *lines, run });
                break;
            }
            assert!(Instant::now() < deadline, "wake {number} was never answered: {answer:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(every).await;
    }
    asked
}

fn pick(dice: &mut StdRng, keepers: &[i32]) -> Option<i32> {
    (!keepers.is_empty()).then(|| keepers[dice.random_range(0..keepers.len())])
}

async fn listed(stage: &Stage) -> Vec<Json> {
    let company = stage.company().await;
    let runs = stage.get(&format!("/companies/{company}/heartbeat-runs?limit=1000")).await;
    let runs = runs.as_array().expect("a list").clone();
    assert!(runs.len() < 1000, "more runs than one page holds");
    runs
}

/// Epoch and pid of every running run that has said where it is.
async fn processes_of(stage: &Stage) -> BTreeMap<String, (i64, i64)> {
    let runs = listed(stage).await;
    let running = runs.iter().filter(|run| run["status"] == "running");
    running
        .filter_map(|run| {
            Some((run["id"].as_str()?.to_owned(), (run["attempt"].as_i64()?, run["processPid"].as_i64()?)))
        })
        .collect()
}

/// Waits until everything was taken over; returns how many runs that were.
async fn recovered(stage: &Stage) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some((200, health)) = stage.try_ask(reqwest::Method::GET, "/health", None).await
            && health["recovery"]["done"] == true
        {
            return health["recovery"]["takenOver"].as_u64().expect("a count");
        }
        assert!(Instant::now() < deadline, "the recovery is never done");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn all_over(stage: &Stage) -> Vec<Json> {
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        let runs = listed(stage).await;
        if runs.iter().all(|run| is_final(&run["status"])) {
            return runs;
        }
        let open: Vec<&Json> = runs.iter().filter(|run| !is_final(&run["status"])).take(3).collect();
        assert!(Instant::now() < deadline, "runs that never end: {open:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Looks at everything that was left; returns how many runs were lost.
async fn check(
    stage: &Stage,
    asked: &[Asked],
    runs: &[Json],
    ledger: &std::path::Path,
    lost_keepers: usize,
) -> usize {
    // At most one start for each attempt of a run, ever.
    let ledger = std::fs::read_to_string(ledger).expect("the ledger");
    let mut starts: BTreeSet<&str> = BTreeSet::new();
    for line in ledger.lines() {
        assert!(starts.insert(line), "started twice: {line}");
    }
    let by_id: BTreeMap<&str, &Json> =
        runs.iter().map(|run| (run["id"].as_str().expect("an id"), run)).collect();
    let (mut lost, mut words) = (0, Vec::new());
    for (number, asked) in asked.iter().enumerate() {
        let mut run = by_id[asked.run.as_str()];
        // A killed keeper costs its run, which one other replaces.
        while run["status"] == "failed" {
            assert_eq!(run["errorCode"], "process_lost", "wake {number}: {run:#}");
            lost += 1;
            words.push(format!("{} (attempt {}): {}", run["id"], run["attempt"], run["error"]));
            let replaced = runs.iter().find(|next| next["retryOfRunId"] == run["id"]);
            match replaced {
                Some(next) => run = next,
                None => break,
            }
        }
        if run["status"] != "succeeded" {
            // The keeper of the replacement was killed as well, and there is only one.
            assert!(run["retryOfRunId"].is_string(), "wake {number} did not succeed: {run:#}");
            continue;
        }
        let id = run["id"].as_str().expect("an id");
        let printed = stage.output(id, "stdout").await;
        let lines: Vec<&str> = printed.lines().filter(|line| !line.starts_with("::bugle::")).collect();
        let wanted: Vec<String> = (1..=asked.lines).map(|n| format!("line {n} of {}", asked.lines)).collect();
        assert_eq!(lines, wanted, "the log of {id}");
        let prefix = format!("{id} ");
        let started = starts.iter().filter(|line| line.starts_with(&prefix)).count();
        assert_eq!(started, 1, "{id} was started {started} times");
    }
    assert!(lost <= lost_keepers, "{lost} runs were lost by {lost_keepers} killed keepers: {words:#?}");
    for run in runs {
        let id = run["id"].as_str().expect("an id");
        let numbers = stage.event_numbers(id).await;
        let wanted: Vec<i64> = (1..=numbers.len() as i64).collect();
        assert_eq!(numbers, wanted, "the events of {id}");
    }
    wait_for("all keepers to leave", || stage.keepers().is_empty().then_some(()));
    assert_eq!(stage.agents(), Vec::<i32>::new(), "processes that were left behind");
    lost
}
