use std::time::Duration;

use proptest::prelude::*;

use super::said::Said;
use super::*;

const NOON: Moment = Moment::from_micros(1_000_000_000_000);
const LIMIT: Said = Said::Limit { not_before: None };
const UNKNOWN: Said = Said::Failed(Unclear::Unknown);
const BUSY: Said = Said::Failed(Unclear::Busy);

fn at(seconds: u64) -> Moment {
    NOON.plus(Duration::from_secs(seconds))
}

fn named(seconds: u64) -> Said {
    Said::Limit { not_before: Some(at(seconds)) }
}

fn end(account: &mut Account, run: &str, agent: &str, said: Said, now: Moment) -> Option<Change> {
    account.ended(Ended { run: &run.into(), agent: &agent.into(), said }, now)
}

fn waits(account: &Account, now: Moment) -> Option<Wait> {
    account.admits(now).err()
}

const fn moved(notice: Option<Notice>) -> Option<Change> {
    Some(Change::Moved { notice, works: false })
}

const WORKS: Option<Change> = Some(Change::Moved { notice: None, works: true });

/// Parked for a limit until a minute after noon.
fn limited() -> Account {
    let mut account = Account::open();
    assert_eq!(end(&mut account, "r0", "a", named(60), NOON), moved(None));
    account
}

fn logged_out() -> Account {
    let mut account = Account::open();
    assert_eq!(end(&mut account, "r0", "a", Said::LoginLost, NOON), moved(Some(Notice::LoginLost)));
    account
}

/// Unknown words three times.
fn tripped() -> Account {
    let mut account = Account::open();
    for second in 0..3 {
        end(&mut account, &format!("r{second}"), "a", UNKNOWN, at(second));
    }
    account
}

/// With one run that tries it.
fn tried(mut account: Account, now: Moment) -> Account {
    assert_eq!(account.start(&"p".into(), now), Ok(moved(None)));
    account
}

#[test]
fn a_limit_parks_the_account_until_the_named_reset_and_then_one_run_tries_it() {
    let mut account = limited();
    let wait = Wait { why: Waits::For(ParkedFor::Quota), until: Some(at(60)) };
    assert_eq!(waits(&account, at(59)), Some(wait));
    assert_eq!(wait.words(), format!("waiting for quota until {}", at(60).iso()));
    assert_eq!(account.admits(at(60)), Ok(Entry::Probe));
    assert_eq!(account.next_look(at(1)), Some(at(60)));
    account = tried(account, at(61));
    assert_eq!(waits(&account, at(62)).map(|wait| wait.why), Some(Waits::Probe));
    assert_eq!(account.start(&"q".into(), at(62)), Err(Wait { why: Waits::Probe, until: Some(at(76)) }));
    assert_eq!(end(&mut account, "p", "a", Said::Answered, at(63)), WORKS);
    assert_eq!(account.state(), AccountState::Resuming);
}

#[test]
fn who_waited_starts_two_in_a_second_and_after_half_a_minute_as_before() {
    let mut account = tried(limited(), at(60));
    account.answered(&"p".into(), at(60));
    let mut starts = Vec::new();
    for tick in 0..40_u64 {
        let now = at(60).plus(Duration::from_millis(tick * 100));
        if account.start(&format!("r{tick}").as_str().into(), now).is_ok() {
            starts.push(tick * 100);
        }
    }
    assert_eq!(starts, [500, 1000, 1500, 2000, 2500, 3000, 3500]);
    assert_eq!(account.tick(at(90)), moved(None));
    assert_eq!(account.standing, Standing::Open);
}

#[test]
fn a_probe_that_is_not_refused_lets_the_others_follow_before_it_ends() {
    for (account, begins, patience) in
        [(limited(), 60, 15), (tripped(), 400, 60), (released(logged_out()), 10, 15)]
    {
        let mut account = tried(account, at(begins));
        assert_eq!(account.next_look(at(begins)), Some(at(begins + patience)));
        assert_eq!(account.tick(at(begins + patience - 1)), None);
        assert_eq!(account.tick(at(begins + patience)), WORKS);
        assert_eq!(account.admits(at(begins + patience)), Ok(Entry::InTurn));
        // It is refused after all.
        assert!(end(&mut account, "p", "a", LIMIT, at(begins + patience + 1)).is_some());
        assert_eq!(account.state(), AccountState::Parked);
    }
}

fn released(mut account: Account) -> Account {
    assert_eq!(account.login_changed(at(10)), moved(None));
    account
}

#[test]
fn what_a_failed_probe_does() {
    type Row = (&'static str, Account, Said, ParkedFor, Option<u64>);
    let rows: Vec<Row> = vec![
        ("a later reset", limited(), named(500), ParkedFor::Quota, Some(500)),
        ("no reset", limited(), LIMIT, ParkedFor::Quota, Some(400)),
        ("login lost", limited(), Said::LoginLost, ParkedFor::Login, None),
        ("unknown words", limited(), UNKNOWN, ParkedFor::Failures, Some(400)),
        ("provider busy", limited(), BUSY, ParkedFor::Failures, Some(400)),
        ("it said nothing", limited(), Said::Nothing, ParkedFor::Quota, Some(100)),
        ("still no login", released(logged_out()), Said::LoginLost, ParkedFor::Login, None),
        ("login, but a limit", released(logged_out()), named(500), ParkedFor::Quota, Some(500)),
    ];
    for (name, account, said, why, until) in rows {
        let mut account = tried(account, at(99));
        let change = end(&mut account, "p", "a", said, at(100));
        let notice = (name == "login lost").then_some(Notice::LoginLost);
        assert_eq!(change, moved(notice), "{name}");
        let park = account.park().unwrap();
        assert_eq!((park.why, park.until), (why, until.map(at)), "{name}");
        assert_eq!(account.state(), AccountState::Parked, "{name}");
    }
}

#[test]
fn runs_that_were_on_their_way_do_not_park_it_again() {
    for said in [named(30), LIMIT, UNKNOWN, BUSY, Said::Nothing, Said::Answered] {
        let mut account = limited();
        assert_eq!(end(&mut account, "old", "b", said, at(1)), None, "{said:?}");
        assert_eq!(account, limited());
    }
    let mut account = limited();
    assert_eq!(end(&mut account, "old", "b", named(90), at(1)), moved(None));
    assert_eq!(account.park().unwrap().until, Some(at(90)));
    assert_eq!(account.refusals.len(), 1);
    assert_eq!(end(&mut account, "old", "b", Said::LoginLost, at(2)), moved(Some(Notice::LoginLost)));
    for said in [Said::LoginLost, named(90), LIMIT, UNKNOWN] {
        assert_eq!(end(&mut account, "old", "b", said, at(3)), None, "{said:?}");
    }
    // Of a login that was tried meanwhile, an old run knows nothing.
    let mut account = tried(released(logged_out()), at(10));
    assert_eq!(end(&mut account, "old", "b", Said::LoginLost, at(11)), None);
}

#[test]
fn three_failures_of_a_kind_within_two_minutes_park_it_for_five_minutes() {
    let parked = |failures: &[(u64, &str, Said)], is_shared: bool| {
        let mut account = Account { is_shared, ..Account::open() };
        for (second, agent, said) in failures {
            end(&mut account, "r", agent, *said, at(*second));
        }
        account.park().map(|park| (park.why, park.until))
    };
    let five = |last: u64| Some((ParkedFor::Failures, Some(at(last + 300))));
    let rows = [
        ("three", parked(&[(0, "a", UNKNOWN), (1, "a", UNKNOWN), (119, "a", UNKNOWN)], false), five(119)),
        ("too slow", parked(&[(0, "a", UNKNOWN), (1, "a", UNKNOWN), (120, "a", UNKNOWN)], false), None),
        ("two kinds", parked(&[(0, "a", UNKNOWN), (1, "a", BUSY), (2, "a", UNKNOWN)], false), None),
        ("busy", parked(&[(0, "a", BUSY), (1, "a", BUSY), (2, "a", BUSY)], false), five(2)),
        ("one of many", parked(&[(0, "a", UNKNOWN), (1, "a", UNKNOWN), (2, "a", UNKNOWN)], true), None),
        ("two of many", parked(&[(0, "a", UNKNOWN), (1, "b", UNKNOWN), (2, "a", UNKNOWN)], true), five(2)),
        (
            "answered",
            parked(
                &[(0, "a", UNKNOWN), (1, "a", Said::Answered), (2, "a", UNKNOWN), (3, "a", UNKNOWN)],
                false,
            ),
            None,
        ),
    ];
    for (name, parked, expected) in rows {
        assert_eq!(parked, expected, "{name}");
    }
}

#[test]
fn the_fourth_refusal_in_a_day_parks_it_until_the_first_is_a_day_ago() {
    const DAY: u64 = 86_400;
    // Unknown words: three runs that tripped it, and the one that tried it.
    let mut account = tried(tripped(), at(302));
    assert_eq!(end(&mut account, "p", "a", UNKNOWN, at(303)), moved(Some(Notice::KeepsFailing)));
    assert_eq!(account.park().unwrap().until, Some(at(DAY)));
    // A provider whose named resets are never true.
    let mut account = limited();
    for (probe, expected) in [(100, 200), (200, 300), (300, DAY)] {
        account = tried(account, at(probe));
        end(&mut account, "p", "a", named(probe + 100), at(probe));
        assert_eq!(account.park().unwrap().until, Some(at(expected)));
    }
    // A provider that is busy for hours is asked each hour.
    let mut account = Account::open();
    for second in 0..3 {
        end(&mut account, "r", "a", BUSY, at(second));
    }
    let mut waited = Vec::new();
    let mut now = at(2);
    for _ in 0..6 {
        let until = account.park().unwrap().until.unwrap();
        waited.push(until.since(now).as_secs() / 60);
        now = until;
        account = tried(account, now);
        assert_eq!(end(&mut account, "p", "a", BUSY, now), moved(None));
    }
    assert_eq!(waited, [5, 10, 20, 40, 60, 60]);
    // One answer, and all is forgotten.
    let until = account.park().unwrap().until.unwrap();
    account = tried(account, until);
    account.answered(&"p".into(), now);
    assert_eq!((account.level, account.refusals.len()), (0, 0));
}

#[test]
fn with_the_policy_off_a_person_is_asked_once() {
    let mut account = limited();
    assert_eq!(account.set_auto_resume(false), moved(None));
    assert_eq!(account.set_auto_resume(false), None);
    assert_eq!(account.tick(at(59)), None);
    assert_eq!(account.tick(at(60)), moved(Some(Notice::GoOn)));
    assert_eq!((account.tick(at(61)), account.next_look(at(61))), (None, None));
    assert_eq!(waits(&account, at(61)).map(|wait| wait.why), Some(Waits::Asked));
    let by_person = account.resume(at(70));
    assert_eq!((by_person, account.admits(at(70))), (moved(None), Ok(Entry::Probe)));
    // Or it is switched on again.
    let mut account = limited();
    account.set_auto_resume(false);
    account.tick(at(60));
    account.set_auto_resume(true);
    assert_eq!((account.admits(at(70)), account.next_look(at(59))), (Ok(Entry::Probe), Some(at(60))));
}

#[test]
fn people_park_and_resume_it() {
    let mut account = Account::open();
    assert_eq!(account.resume(NOON), None);
    account.park_by_person(None, NOON);
    assert_eq!(waits(&account, at(9999)), Some(Wait { why: Waits::For(ParkedFor::Person), until: None }));
    assert_eq!(end(&mut account, "old", "a", named(90), at(1)), None);
    assert_eq!(account.login_changed(at(2)), None);
    assert_eq!(account.resume(at(3)), WORKS);
    assert_eq!(account.standing, Standing::Open);
    account.park_by_person(Some(at(60)), at(4));
    assert_eq!(account.admits(at(60)), Ok(Entry::Probe));
}

#[test]
fn who_sets_an_agent_up_anew_has_it_tried_unless_a_limit_is_what_is_waited_for() {
    for (mut account, expected) in
        [(logged_out(), moved(None)), (tripped(), moved(None)), (limited(), None), (Account::open(), None)]
    {
        assert_eq!(account.configured(at(20)), expected);
        assert_eq!(
            account.admits(at(20)).ok(),
            match account.state() {
                AccountState::Open => Some(Entry::Free),
                _ => expected.map(|_| Entry::Probe),
            }
        );
    }
}

#[test]
fn a_changed_login_is_tried_by_one_run_and_not_for_ever() {
    let mut account = logged_out();
    assert_eq!(waits(&account, at(9)).map(|wait| wait.words()).as_deref(), Some("waiting for a login"));
    for attempt in 0..3 {
        assert_eq!(account.login_changed(at(10 + attempt)), moved(None));
        assert_eq!(account.login_changed(at(10 + attempt)), None);
        account = tried(account, at(10 + attempt));
        // Told once, however often it is tried.
        assert_eq!(end(&mut account, "p", "a", Said::LoginLost, at(10 + attempt)), moved(None));
    }
    assert_eq!(account.login_changed(at(20)), moved(None));
    assert_eq!(waits(&account, at(30)).and_then(|wait| wait.until), Some(NOON.plus(BRAKE_SPAN)));
    // But a person may say so at any time.
    account.resume(at(30));
    assert_eq!(account.admits(at(30)), Ok(Entry::Probe));
}

/// Something that happens to an account.
#[derive(Debug, Clone)]
enum Op {
    Wait(u64),
    Start,
    End(Said),
    Tick,
    Login,
    Resume,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..4000_u64).prop_map(Op::Wait),
        Just(Op::Start),
        Just(Op::Start),
        prop_oneof![
            Just(LIMIT),
            (1..9000_u64).prop_map(named),
            Just(Said::LoginLost),
            Just(UNKNOWN),
            Just(BUSY),
            Just(Said::Nothing),
            Just(Said::Answered)
        ]
        .prop_map(Op::End),
        Just(Op::Tick),
        Just(Op::Login),
        Just(Op::Resume),
    ]
}

proptest! {
    #[test]
    fn at_most_one_run_tries_it_and_starts_are_spread(ops in proptest::collection::vec(op(), 1..80)) {
        let (mut account, mut now, mut number) = (Account::open(), NOON, 0);
        let mut running: Vec<String> = Vec::new();
        let mut last_in_turn: Option<Moment> = None;
        for op in ops {
            let before = account.clone();
            match op {
                Op::Wait(millis) => now = now.plus(Duration::from_millis(millis * 100)),
                Op::Start => {
                    number += 1;
                    let run = format!("r{number}");
                    let entry = account.admits(now);
                    let started = account.start(&run.as_str().into(), now);
                    prop_assert_eq!(started.is_ok(), entry.is_ok());
                    match entry {
                        Ok(Entry::InTurn) if account.state() == AccountState::Resuming => {
                            prop_assert!(last_in_turn.is_none_or(|last| now.since(last) >= BETWEEN_STARTS || last > now));
                            last_in_turn = Some(now);
                        }
                        Ok(Entry::Probe) => prop_assert_eq!(account.state(), AccountState::Probing),
                        Ok(_) => {}
                        Err(_) => prop_assert_eq!(&account, &before),
                    }
                    if started.is_ok() {
                        running.push(run);
                    }
                }
                Op::End(said) => {
                    if let Some(run) = running.pop() {
                        end(&mut account, &run, "a", said, now);
                    }
                }
                Op::Tick => { account.tick(now); }
                Op::Login => { account.login_changed(now); }
                Op::Resume => { account.resume(now); }
            }
            if account.state() != AccountState::Resuming {
                last_in_turn = None;
            }
            prop_assert!(account.refusals.len() <= BRAKE_REFUSALS);
            // Who tries it is running: nothing waits for a run that is over.
            if let Standing::Probing { run, .. } = &account.standing {
                prop_assert!(running.iter().any(|it| it == run.as_str()));
            }
            // Whatever stands otherwise with time alone has its time.
            if account.admits(now).is_err() && account.park().is_none_or(|park| park.until.is_some()) {
                prop_assert!(account.next_look(now).is_some());
            }
        }
    }

    #[test]
    fn a_provider_that_refuses_everything_refuses_at_most_four_in_a_day(
        pauses in proptest::collection::vec(1..4000_u64, 1..300),
        said in prop_oneof![Just(LIMIT), Just(UNKNOWN), Just(Said::Limit { not_before: Some(NOON) })],
    ) {
        let (mut account, mut now) = (Account::open(), NOON);
        let mut failed: Vec<Moment> = Vec::new();
        for (number, pause) in pauses.into_iter().enumerate() {
            // Unknown words come quickly, or they never trip anything.
            let quick = said == UNKNOWN && account.state() == AccountState::Open;
            now = now.plus(Duration::from_secs(if quick { 1 } else { pause }));
            account.tick(now);
            let run = format!("r{number}");
            if account.start(&run.as_str().into(), now).is_ok() {
                end(&mut account, &run, "a", said, now);
                failed.push(now);
            }
            let of_day = failed.iter().filter(|at| now.since(**at) < BRAKE_SPAN).count();
            prop_assert!(of_day <= BRAKE_REFUSALS, "{of_day}");
        }
    }
}
