//! Whole histories of many agents, issues and budgets, played from seeds: see `testkit::sim` for what happens in them and
//! which rules are looked at.
//!
//! The short form plays 1,000 seeds on SQLite and 25 on PostgreSQL; `BUGLE_SOAK=n` plays n seeds on SQLite, and a fortieth
//! of that on PostgreSQL. `BUGLE_SEED=n` plays that one seed and tells its diary; if it goes wrong its store is kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use testkit::sim::{Breakage, Failure, Ground, Script, Story, play};

const SCRIPT: Script = Script { steps: 28, breaks: None, keeps_store: false };
/// Enough to see that it is not one seed that goes wrong, few enough to be read.
const MOST_FAILURES: usize = 3;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|number| number.parse().ok())
}

/// Plays seeds on two threads; a seed that goes wrong is told with its last actions.
fn play_all(seeds: std::ops::Range<u64>, ground: impl Fn() -> Option<Ground> + Sync) {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let failures: Mutex<Vec<Failure>> = Mutex::default();
    let stories: Mutex<Vec<Story>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let failed = failures.lock().unwrap_or_else(PoisonError::into_inner).len();
                    if seed >= seeds.end || failed >= MOST_FAILURES {
                        return;
                    }
                    let Some(ground) = ground() else { return };
                    match play(&ground, seed, &SCRIPT) {
                        Ok(story) => stories.lock().unwrap().push(Story {
                            diary: Vec::new(),
                            fates: Vec::new(),
                            ..story
                        }),
                        Err(failure) => {
                            eprintln!("{failure}");
                            failures.lock().unwrap().push(*failure);
                        }
                    }
                }
            });
        }
    });
    let stories = stories.into_inner().unwrap();
    let sum = |of: fn(&Story) -> usize| stories.iter().map(of).sum::<usize>();
    let days = stories.iter().map(|story| story.simulated.as_secs()).sum::<u64>() / 86_400;
    let took = began.elapsed().as_secs_f64();
    eprintln!(
        "{} histories in {took:.1} s ({:.0} a second): {} runs, {} wakes, {} issues, {} crashes, {} transactions, {days} days",
        stories.len(),
        stories.len() as f64 / took,
        sum(|story| story.runs),
        sum(|story| story.wakes),
        sum(|story| story.issues),
        sum(|story| story.crashes),
        sum(|story| story.transactions as usize),
    );
    let failures = failures.into_inner().unwrap();
    let told: Vec<String> =
        failures.iter().map(|failure| format!("seed {}: {}", failure.seed, failure.words)).collect();
    assert!(failures.is_empty(), "{told:#?}");
    if stories.len() >= 10 {
        let each = |of: fn(&Story) -> usize| sum(of) / stories.len();
        assert!(
            each(|story| story.runs) >= 5 && sum(|story| story.crashes) >= stories.len(),
            "too little happened to prove anything"
        );
    }
}

#[test]
fn every_rule_holds_in_every_history_on_sqlite() {
    if let Some(seed) = number("BUGLE_SEED") {
        let filter = std::env::var("BUGLE_LOG").unwrap_or_else(|_| "warn".to_owned());
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
        match play(&Ground::Memory, seed, &Script { keeps_store: true, ..SCRIPT }) {
            Ok(story) => {
                eprintln!(
                    "{}\n{:?}",
                    story.diary.join("\n"),
                    Story { diary: Vec::new(), fates: Vec::new(), ..story.clone() }
                )
            }
            Err(failure) => panic!("{failure}"),
        }
        return;
    }
    play_all(0..number("BUGLE_SOAK").unwrap_or(1_000), || Some(Ground::Memory));
}

#[test]
fn every_rule_holds_in_every_history_on_postgres() {
    let seeds = number("BUGLE_SOAK").map_or(25, |seeds| seeds.div_ceil(40));
    play_all(0..seeds, || testkit::postgres::database().map(|database| Ground::Postgres(database.url)));
}

#[test]
fn a_seed_is_a_history_that_can_be_played_again() {
    for seed in 0..number("BUGLE_REPLAYS").unwrap_or(10) {
        let played = || play(&Ground::Memory, seed, &SCRIPT).map_err(|failure| failure.words);
        let (first, second) = (played(), played());
        if let (Ok(first), Ok(second)) = (&first, &second) {
            let lines = |story: &Story| [story.diary.clone(), story.fates.clone()].concat();
            for (one, other) in lines(first).iter().zip(&lines(second)) {
                assert_eq!(one, other, "seed {seed}");
            }
        }
        assert_eq!(first, second, "seed {seed}");
    }
}

/// In how many of 100 histories the broken rule is noticed, and how.
fn noticed(breaks: Breakage) -> Failure {
    // Longer ones than those that are to be many: more can be noticed in them.
    let whole = Script { steps: 60, ..SCRIPT };
    let script = Script { breaks: Some(breaks), ..whole.clone() };
    let caught = (0..100).find_map(|seed| play(&Ground::Memory, seed, &script).err());
    let caught = *caught.unwrap_or_else(|| panic!("{breaks:?} was not noticed"));
    if let Err(failure) = play(&Ground::Memory, caught.seed, &whole) {
        panic!("the history goes wrong by itself: {failure}");
    }
    eprintln!("{breaks:?} is noticed: seed {}: {}", caught.seed, caught.words);
    caught
}

#[test]
fn a_cap_that_is_not_enforced_is_noticed() {
    let words = noticed(Breakage::NoCap).words;
    assert!(words.contains("cap of"), "{words}");
}

#[test]
fn a_lost_ring_without_a_period_is_noticed() {
    let words = noticed(Breakage::NoPeriod).words;
    assert!(
        ["left lying", "waits for nothing", "comes to rest", "at rest", "stranded"]
            .iter()
            .any(|it| words.contains(it)),
        "{words}"
    );
}

#[test]
fn a_missing_fence_is_noticed() {
    let words = noticed(Breakage::NoFence).words;
    assert!(words.contains("lives, and its run is"), "{words}");
}

#[test]
fn a_forgotten_order_is_noticed() {
    let words = noticed(Breakage::NoOrder).words;
    assert!(words.contains("stranded"), "{words}");
}
