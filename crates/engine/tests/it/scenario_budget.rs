//! S10: a budget is kept while the runs go on, by programs that spend at their own pace.
//!
//! Twenty runs report one message of $0.02 every second, all out of step, and end a moment after they are asked to. The
//! short form spends each budget once; `BUGLE_SOAK=n` spends it n times. What a crash does to the books, windows, scopes
//! and the rest of the rules are the business of `budgets`.

use std::time::{Duration, Instant};

use domain::budget::policy::Draft;
use domain::budget::resolution::Action;
use domain::budget::{Level, Metric, Scope, ScopeKind, Threshold};
use domain::ids::RunId;
use domain::run::RunStatus;
use domain::telling::{AgentEvent, Usage};
use domain::wake::Actor;
use engine::{AgentDraft, Author, BudgetOverview, Engine, EngineError, ProcessId};
use serde_json::json;
use store::costs::CostEvent;
use testkit::{Journal, Model, Obedience, World, on_postgres, on_sqlite, within};
use tokio::task::JoinHandle;

const EVERY: Duration = Duration::from_secs(1);
/// A program looks up from its work this often.
const LOOKS_UP: Duration = Duration::from_millis(10);
const WARNED_WITHIN: Duration = Duration::from_secs(2);
const STOPPED_WITHIN: Duration = Duration::from_secs(5);
const RESUMED_WITHIN: Duration = Duration::from_secs(5);

/// A budget and those who spend it.
#[derive(Debug, Clone, Copy)]
struct Case {
    metric: Metric,
    /// In the unit of the wire, cents or tokens, and in that of the books.
    amount: i64,
    cap: i64,
    /// Of one message.
    cost_micros: Option<i64>,
    tokens: u64,
    /// The agents say what a message may cost, so that it is set aside.
    reserves: bool,
}

const MONEY: Case = Case {
    metric: Metric::BilledCents,
    amount: 50,
    cap: 500_000,
    cost_micros: Some(20_000),
    tokens: 100,
    reserves: false,
};
const RESERVED: Case = Case { reserves: true, ..MONEY };
const TOKENS: Case = Case {
    metric: Metric::Tokens,
    amount: 1_000_000,
    cap: 1_000_000,
    cost_micros: Some(0),
    tokens: 40_000,
    reserves: false,
};
const UNKNOWN: Case = Case { cost_micros: None, ..TOKENS };

impl Case {
    fn message(&self) -> AgentEvent {
        let usage = Usage { output_tokens: self.tokens, cost_micros: self.cost_micros, ..Usage::default() };
        AgentEvent::UsageAdded { usage }
    }

    /// What a message takes from the budget.
    fn price(&self) -> i64 {
        match self.metric {
            Metric::BilledCents => self.cost_micros.unwrap_or(0),
            Metric::Tokens => i64::try_from(self.tokens).unwrap(),
        }
    }

    fn agent(&self, name: &str) -> AgentDraft {
        let message = if self.reserves { json!({ "messageCents": 2.0 }) } else { json!({}) };
        AgentDraft {
            name: name.to_owned(),
            runtime_config: json!({ "heartbeat": { "maxConcurrentRuns": 10 }, "budget": message }),
            ..World::scripted(10)
        }
    }
}

macro_rules! cases {
    ($($sqlite:ident $postgres:ident $case:expr;)*) => {$(
        #[test]
        fn $sqlite() {
            on_sqlite(|world| play(world, $case));
        }

        #[test]
        fn $postgres() {
            on_postgres(|world| play(world, $case));
        }
    )*};
}

cases! {
    a_cap_is_overshot_by_one_message_of_each_run_at_the_most_on_sqlite
        a_cap_is_overshot_by_one_message_of_each_run_at_the_most_on_postgres MONEY;
    with_reservations_a_cap_is_not_overshot_at_all_on_sqlite
        with_reservations_a_cap_is_not_overshot_at_all_on_postgres RESERVED;
    a_token_budget_works_where_messages_cost_nothing_on_sqlite
        a_token_budget_works_where_messages_cost_nothing_on_postgres TOKENS;
    a_token_budget_works_where_the_price_is_unknown_on_sqlite
        a_token_budget_works_where_the_price_is_unknown_on_postgres UNKNOWN;
}

/// A program under way, and what it said: when each message went out, and when it was gone.
struct Program {
    run: RunId,
    said: JoinHandle<(Vec<Instant>, Instant)>,
}

/// Spends until it is asked to stop, at a pace of its own that begins again when a message is on record: on a machine
/// that has no time left, what is measured is the budget and not how late a log is read.
async fn spend(
    world: World,
    (run, id): (RunId, ProcessId),
    first: Duration,
    case: Case,
) -> (Vec<Instant>, Instant) {
    let model: &Model = &world.model;
    let mut due = Some(Instant::now() + first);
    let mut said: Vec<Instant> = Vec::new();
    while model.stops(&id) == 0 {
        match due {
            Some(at) if Instant::now() >= at => {
                model.say(&id, &case.message());
                said.push(Instant::now());
                due = None;
            }
            Some(_) => {}
            None if recorded(&world, &run).await == said.len() as u64 * case.tokens => {
                due = Some(Instant::now() + EVERY);
            }
            None => {}
        }
        tokio::time::sleep(LOOKS_UP).await;
    }
    model.obey(&id);
    (said, Instant::now())
}

/// The tokens that a run is on record with.
async fn recorded(world: &World, run: &RunId) -> u64 {
    let row = world.run(run).await;
    row.usage.as_ref().and_then(|usage| usage["outputTokens"].as_u64()).unwrap_or(0)
}

async fn play(world: World, case: Case) {
    let times = std::env::var("BUGLE_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    world.model.obey_by_default(Obedience::Later);
    let engine = world.engine().await;
    for _ in 0..times {
        once(&world, &engine, case).await;
    }
    engine.leave().await;
}

async fn once(world: &World, engine: &Engine, case: Case) {
    let company = world.company(engine).await;
    let board = Author::local_board();
    let draft = Draft {
        scope: Scope { kind: ScopeKind::Company, id: company.0.clone() },
        metric: Some(case.metric),
        window: None,
        amount: case.amount,
        warn_percent: Some(80),
        hard_stop: None,
        notify: None,
        is_active: None,
    };
    engine.set_budget(&company, draft, &board, true).await.unwrap();
    let (mut programs, mut agents) = (Vec::new(), Vec::new());
    for name in ["One", "Two"] {
        let agent = engine.create_agent(&company, case.agent(name), &Actor::local_board()).await.unwrap();
        for task in 0..10 {
            let (run, process) = world.start(engine, &agent.id, &format!("task {task}")).await;
            world.model.say_session(&process, &format!("session of {}", run.id));
            programs.push((run.id, process));
        }
        agents.push(agent.id);
    }
    let starts = started(world);
    let programs: Vec<Program> = programs
        .into_iter()
        .enumerate()
        .map(|(number, (run, process))| {
            let first = EVERY * u32::try_from(number).unwrap() / 20;
            let said = tokio::spawn(spend(world.clone(), (run.clone(), process), first, case));
            Program { run, said }
        })
        .collect();

    // Whoever watches sees the warning, and then the stop; what is set aside can stop before there is anything to warn of.
    let (warned_at, _) = watch(world, engine, &company, "a warning", |it| !it.incidents.is_empty()).await;
    // Once all runs are over, nothing is set aside any more and only the pause tells of it.
    let is_stopped = |it: &BudgetOverview| it.policies[0].status == Level::HardStop || it.policies[0].paused;
    let (stopped_at, overview) = watch(world, engine, &company, "a hard stop", is_stopped).await;
    let mut all = Vec::new();
    let mut gone = stopped_at;
    for program in programs {
        let (said, ended) = program.said.await.unwrap();
        gone = gone.max(ended);
        all.push((program.run, said));
    }
    for (run, _) in &all {
        let ended = world.over(run).await;
        assert_eq!(
            (ended.status, ended.error.as_deref()),
            (RunStatus::Cancelled, Some("Cancelled due to budget pause"))
        );
    }
    let over = Instant::now();
    let mut moments: Vec<Instant> = all.iter().flat_map(|(_, said)| said.iter().copied()).collect();
    moments.sort();
    let total = i64::try_from(moments.len()).unwrap() * case.price();
    let limit = if case.reserves { case.cap } else { case.cap + 20 * case.price() };
    assert!(total <= limit, "{} of {} were spent", total, case.cap);
    // The message that crossed a line, counted from one.
    let crossing =
        |amount: i64| moments[usize::try_from((amount + case.price() - 1) / case.price()).unwrap() - 1];
    let warning = match case.reserves {
        true => Duration::ZERO,
        false => warned_at.saturating_duration_since(crossing(case.cap * 8 / 10)),
    };
    assert!(warning <= within(WARNED_WITHIN), "the warning took {warning:?}");
    // With reservations the cap is reached when no message fits any more, and not when it is spent.
    let reached = if case.reserves { stopped_at } else { crossing(case.cap) };
    let stopping = over.saturating_duration_since(reached);
    assert!(stopping <= within(STOPPED_WITHIN), "stopping took {stopping:?}");
    eprintln!(
        "{:?}{}: spent {total} of {}; warned after {warning:?}, all stopped after {stopping:?}",
        case.metric,
        if case.reserves { " reserved" } else { "" },
        case.cap
    );

    // Nothing starts any more, and what was said is what is on record, to the last message.
    assert_eq!(started(world), starts);
    let agent = world.run(&all[0].0).await.agent_id;
    let refused = engine.wake(&agent, World::request("more")).await;
    assert!(matches!(&refused, Err(EngineError::Budget(_))), "{refused:?}");
    let mut booked = 0;
    for (run, said) in &all {
        let count = u64::try_from(said.len()).unwrap();
        assert_eq!(recorded(world, run).await, count * case.tokens, "{run} said {count} messages");
        for event in ledger(world, run).await {
            assert_eq!(event.cost_known, case.cost_micros.is_some());
            assert_eq!(event.cost_micros, case.cost_micros.unwrap_or(0) * i64::try_from(count).unwrap());
            booked += if case.metric == Metric::Tokens { event.counted_tokens } else { event.cost_micros };
        }
    }
    assert_eq!(booked, total, "the ledger says something else");
    assert_eq!(engine.budget_drift(&company).await.unwrap(), []);

    // A raise lets the same sessions go on.
    let incident = overview.incidents.iter().find(|it| it.threshold == Threshold::Hard);
    let incident = match incident {
        Some(incident) => incident.clone(),
        None => {
            let found = watch(world, engine, &company, "the incident", |it| {
                it.incidents.iter().any(|it| it.threshold == Threshold::Hard)
            });
            found.await.1.incidents.into_iter().find(|it| it.threshold == Threshold::Hard).unwrap()
        }
    };
    let raise = Action::RaiseBudgetAndResume;
    let since = Instant::now();
    engine
        .resolve_budget_incident(&company, &incident.id, raise, Some(case.amount * 100), None, &board)
        .await
        .unwrap();
    for (run, _) in &all {
        let stopped = world.run(run).await;
        let next = world.eventually("the work goes on", || async {
            let runs = world.runs_of(&stopped.agent_id).await;
            runs.into_iter().find(|it| it.task_key == stopped.task_key && it.status == RunStatus::Running)
        });
        let next = next.await;
        assert!(stopped.session_after.is_some() && next.session_before == stopped.session_after, "{next:#?}");
    }
    let resuming = since.elapsed();
    assert!(resuming <= within(RESUMED_WITHIN), "going on took {resuming:?}");
    eprintln!("    twenty sessions go on after {resuming:?}");
    // The end of this company: nobody waits for its programs.
    for agent in agents {
        engine.terminate_agent(&agent, &Actor::local_board()).await.unwrap();
    }
    for id in world.model.alive() {
        world.model.until_stopping(&id).await;
        world.model.obey(&id);
    }
}

fn started(world: &World) -> usize {
    world.model.journal().iter().filter(|entry| matches!(entry, Journal::Started(_))).count()
}

/// Waits until the budgets are so; returns when that was seen.
async fn watch(
    world: &World,
    engine: &Engine,
    company: &domain::ids::CompanyId,
    what: &str,
    so: impl Fn(&BudgetOverview) -> bool,
) -> (Instant, BudgetOverview) {
    let seen = world.eventually(what, || async {
        let overview = engine.budgets(company).await.unwrap();
        so(&overview).then_some(overview)
    });
    let overview = seen.await;
    (Instant::now(), overview)
}

async fn ledger(world: &World, run: &RunId) -> Vec<CostEvent> {
    let id = run.clone();
    let events = world.read(move |tx| {
        let id = id.clone();
        Box::pin(async move { store::costs::of_run(tx, &id, 10).await })
    });
    events.await
}
