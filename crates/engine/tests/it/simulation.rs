//! Whole histories of many agents, issues and budgets, played from seeds: see `testkit::sim` for what happens in them and
//! which rules are looked at. Histories with automations are longer, and are played beside those without.
//!
//! The short form plays 1,000 seeds on SQLite and 25 on PostgreSQL, with automations 40 and 3; `BUGLE_SOAK=n` plays n seeds
//! on SQLite, and a fortieth of that on PostgreSQL, of each kind. `BUGLE_SEED=n` plays that one seed of the tests on SQLite
//! and tells its diary; if it goes wrong its store is kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use testkit::sim::{Breakage, Failure, Ground, Script, Story, play};

const SCRIPT: Script = Script { steps: 28, has_automations: false, breaks: None, keeps_store: false };
/// Steps of automations follow one another: it takes longer until something has come of them.
const WITH_AUTOMATIONS: Script = Script { steps: 70, has_automations: true, ..SCRIPT };
/// Enough to see that it is not one seed that goes wrong, few enough to be read.
const MOST_FAILURES: usize = 3;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|number| number.parse().ok())
}

/// Plays seeds on two threads; a seed that goes wrong is told with its last actions.
fn play_all(script: &Script, seeds: std::ops::Range<u64>, ground: impl Fn() -> Option<Ground> + Sync) {
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
                    match play(&ground, seed, script) {
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
        "{} histories in {took:.1} s ({:.0} a second): {} automation runs, {} attempts, {} decisions, {} slots, {} runs, \
         {} wakes, {} issues, {} crashes, {} transactions, {days} days",
        stories.len(),
        stories.len() as f64 / took,
        sum(|story| story.automation_runs),
        sum(|story| story.attempts),
        sum(|story| story.decisions),
        sum(|story| story.slots),
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
        let is_much = [
            each(|story| story.automation_runs) >= 3,
            each(|story| story.attempts) >= 5,
            sum(|story| story.decisions) >= stories.len(),
            each(|story| story.slots) >= 1,
        ];
        assert!(!script.has_automations || !is_much.contains(&false), "too little happened: {is_much:?}");
    }
}

/// Plays the seed that somebody asks for, if somebody does.
fn is_one_played(script: &Script) -> bool {
    let Some(seed) = number("BUGLE_SEED") else { return false };
    let filter = std::env::var("BUGLE_LOG").unwrap_or_else(|_| "warn".to_owned());
    let told = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time();
    // Another test of this run may be there already.
    drop(told.try_init());
    match play(&Ground::Memory, seed, &Script { keeps_store: true, ..script.clone() }) {
        Ok(story) => {
            eprintln!("{}", story.diary.join("\n"));
            eprintln!("{:?}", Story { diary: Vec::new(), fates: Vec::new(), ..story });
        }
        Err(failure) => panic!("{failure}"),
    }
    true
}

#[test]
fn every_rule_holds_in_every_history_on_sqlite() {
    if !is_one_played(&SCRIPT) {
        play_all(&SCRIPT, 0..number("BUGLE_SOAK").unwrap_or(1_000), || Some(Ground::Memory));
    }
}

#[test]
fn every_rule_holds_in_every_history_on_postgres() {
    let seeds = number("BUGLE_SOAK").map_or(25, |seeds| seeds.div_ceil(40));
    play_all(&SCRIPT, 0..seeds, || testkit::postgres::database().map(|it| Ground::Postgres(it.url)));
}

#[test]
fn every_rule_holds_in_every_history_with_automations_on_sqlite() {
    if !is_one_played(&WITH_AUTOMATIONS) {
        play_all(&WITH_AUTOMATIONS, 0..number("BUGLE_SOAK").unwrap_or(40), || Some(Ground::Memory));
    }
}

#[test]
fn every_rule_holds_in_every_history_with_automations_on_postgres() {
    let seeds = number("BUGLE_SOAK").map_or(3, |seeds| seeds.div_ceil(40));
    play_all(&WITH_AUTOMATIONS, 0..seeds, || {
        testkit::postgres::database().map(|it| Ground::Postgres(it.url))
    });
}

#[test]
fn a_seed_is_a_history_that_can_be_played_again() {
    let seeds = number("BUGLE_REPLAYS").unwrap_or(10);
    let without = (0..seeds).map(|seed| (seed, SCRIPT));
    // They take ten times as long.
    let with = (0..seeds.div_ceil(4)).map(|seed| (seed, WITH_AUTOMATIONS));
    for (seed, script) in without.chain(with) {
        let played = || play(&Ground::Memory, seed, &script).map_err(|failure| failure.words);
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
    noticed_in(&Script { steps: 60, ..SCRIPT }, breaks)
}

fn noticed_in(whole: &Script, breaks: Breakage) -> Failure {
    let script = Script { breaks: Some(breaks), ..whole.clone() };
    let caught = (0..100).find_map(|seed| play(&Ground::Memory, seed, &script).err());
    let caught = *caught.unwrap_or_else(|| panic!("{breaks:?} was not noticed"));
    if let Err(failure) = play(&Ground::Memory, caught.seed, whole) {
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

#[test]
fn a_gate_that_nobody_decided_is_noticed_when_it_is_passed() {
    let words = noticed_in(&WITH_AUTOMATIONS, Breakage::NoAnswer).words;
    let ways = ["a node asks without a gate", "completed by None", "is done and left nothing"];
    assert!(ways.iter().any(|way| words.contains(way)), "{words}");
}

#[test]
fn a_slot_without_a_row_is_noticed() {
    let words = noticed_in(&WITH_AUTOMATIONS, Breakage::NoSlot).words;
    assert!(words.contains("slots are left out") || words.contains("and no slot"), "{words}");
}

#[test]
fn a_change_of_status_that_is_not_told_is_noticed() {
    let words = noticed_in(&WITH_AUTOMATIONS, Breakage::NoEntry).words;
    assert!(words.contains("never told to be") || words.contains("that was blocked cannot be"), "{words}");
}
