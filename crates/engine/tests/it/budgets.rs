//! Budgets from outside: what is spent is stopped, what is raised goes on, and no crash counts anything twice.

use std::time::{Duration, Instant};

use domain::access::Refusal;
use domain::agent::{AgentStatus, PauseReason};
use domain::budget::policy::Draft;
use domain::budget::resolution::Action;
use domain::budget::{IncidentStatus, Level, Metric, Scope, ScopeKind, Threshold, WindowKind};
use domain::hold::HeldReason;
use domain::ids::{AgentId, CompanyId, RunId};
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::telling::{AgentEvent, Usage};
use domain::wake::WakeRequest;
use engine::{AgentDraft, Author, BudgetOverview, Engine, EngineError, ProcessId, Settings};
use serde_json::json;
use store::costs::CostEvent;
use store::runs::Run;
use testkit::{World, both_stores, within};

use crate::automation_audit::records;
use crate::costs::report;

/// $0.02
const MESSAGE: i64 = 20_000;

pub(crate) fn board() -> Author {
    Author::local_board()
}

fn of(kind: ScopeKind, id: &str) -> Scope {
    Scope { kind, id: id.to_owned() }
}

fn draft(scope: Scope, metric: Metric, amount: i64) -> Draft {
    Draft {
        scope,
        metric: Some(metric),
        window: None,
        amount,
        warn_percent: None,
        hard_stop: None,
        notify: None,
        is_active: None,
    }
}

pub(crate) fn cents(kind: ScopeKind, id: &str, amount: i64) -> Draft {
    draft(of(kind, id), Metric::BilledCents, amount)
}

/// An agent whose messages are known to cost this much.
fn thrifty(name: &str, message_cents: f64, message_tokens: i64) -> AgentDraft {
    let budget = json!({ "messageCents": message_cents, "messageTokens": message_tokens });
    AgentDraft {
        name: name.to_owned(),
        runtime_config: json!({ "heartbeat": { "maxConcurrentRuns": 10 }, "budget": budget }),
        ..World::scripted(10)
    }
}

pub(crate) fn naive(name: &str) -> AgentDraft {
    AgentDraft { name: name.to_owned(), ..World::scripted(10) }
}

/// Runs of two agents, ten each, all alive; each in a session of its own.
async fn twenty(
    world: &World,
    engine: &Engine,
    company: &CompanyId,
    draft: impl Fn(&str) -> AgentDraft,
) -> Vec<(Run, ProcessId)> {
    let mut started = Vec::new();
    for name in ["One", "Two"] {
        let agent =
            engine.create_agent(company, draft(name), &domain::wake::Actor::local_board()).await.unwrap();
        for task in 0..10 {
            let (run, process) = world.start(engine, &agent.id, &format!("task-{task}")).await;
            world.model.say_session(&process, &format!("session-{name}-{task}"));
            started.push((run, process));
        }
    }
    started
}

pub(crate) fn say(world: &World, process: &ProcessId, cost: Option<i64>, tokens: u64) {
    let usage = Usage { output_tokens: tokens, cost_micros: cost, ..Usage::default() };
    world.model.say(process, &AgentEvent::UsageAdded { usage });
}

/// Lets every living run report one message, and waits until each was saved, or its run is being stopped. Once the cap is
/// reached it waits until all are stopped: programs send their messages further apart than that takes.
async fn round(
    world: &World,
    engine: &Engine,
    runs: &[(Run, ProcessId)],
    cost: Option<i64>,
    tokens: u64,
) -> usize {
    let mut before = Vec::new();
    for (run, process) in runs {
        let row = world.run(&run.id).await;
        if world.model.is_alive(process) && row.stop_asked_at.is_none() {
            before.push((run.id.clone(), tokens_of(&row)));
            say(world, process, cost, tokens);
        }
    }
    for (run, known) in &before {
        world
            .run_until(run, "charged or stopped", |row| {
                tokens_of(row) > *known || row.stop_asked_at.is_some() || row.status.is_final()
            })
            .await;
    }
    let company = &runs[0].0.company_id;
    if engine.budgets(company).await.unwrap().policies[0].status == Level::HardStop {
        let reached = Instant::now();
        for (run, _) in runs {
            world.over(&run.id).await;
        }
        assert!(reached.elapsed() < within(Duration::from_secs(5)), "stopping took {:?}", reached.elapsed());
    }
    before.len()
}

pub(crate) fn tokens_of(run: &Run) -> u64 {
    let usage = run.usage.as_ref();
    usage.and_then(|usage| usage["outputTokens"].as_u64()).unwrap_or(0)
}

async fn overview_until(
    world: &World,
    engine: &Engine,
    company: &CompanyId,
    what: &str,
    so: impl Fn(&BudgetOverview) -> bool,
) -> BudgetOverview {
    world
        .eventually(what, || async {
            let overview = engine.budgets(company).await.unwrap();
            so(&overview).then_some(overview)
        })
        .await
}

pub(crate) async fn ledger(world: &World, runs: &[RunId]) -> Vec<CostEvent> {
    let mut all = Vec::new();
    for run in runs {
        let id = run.clone();
        let events = world.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::costs::of_run(tx, &id, 10).await })
        });
        let events = events.await;
        assert!(events.len() <= 1, "a run has one entry: {events:?}");
        all.extend(events);
    }
    all
}

/// What is always true: counters equal their parts, and what is spent equals the ledger once all runs are over.
pub(crate) async fn books_balance(
    world: &World,
    engine: &Engine,
    company: &CompanyId,
    runs: &[RunId],
    spent: i64,
) {
    assert_eq!(engine.budget_drift(company).await.unwrap(), []);
    let metric = engine.budgets(company).await.unwrap().policies[0].policy.metric;
    let sum: i64 = ledger(world, runs)
        .await
        .iter()
        .map(|event| if metric == Metric::Tokens { event.counted_tokens } else { event.cost_micros })
        .sum();
    assert_eq!(sum, spent, "the ledger says something else");
    assert_eq!(counted(world, engine, company).await, (spent, 0), "the counter says something else");
}

/// What the first policy's counter says: spent and reserved.
pub(crate) async fn counted(world: &World, engine: &Engine, company: &CompanyId) -> (i64, i64) {
    let policy = engine.budgets(company).await.unwrap().policies[0].clone();
    let (id, start) = (policy.policy.id, policy.window.start);
    let counter = world
        .read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::budgets::counters::get(tx, &id, start).await })
        })
        .await;
    counter.map_or((0, 0), |counter| (counter.spent, counter.reserved))
}

async fn over_for_budget(world: &World, runs: &[(Run, ProcessId)]) {
    for (run, process) in runs {
        let ended = world.over(&run.id).await;
        assert_eq!(ended.status, RunStatus::Cancelled, "{ended:#?}");
        assert_eq!(ended.error.as_deref(), Some("Cancelled due to budget pause"));
        assert_eq!(ended.result.unwrap()["stopReason"], json!("budget_paused"));
        assert!(!world.model.is_alive(process));
    }
}

fn ids(runs: &[(Run, ProcessId)]) -> Vec<RunId> {
    runs.iter().map(|(run, _)| run.id.clone()).collect()
}

both_stores! {
    async fn twenty_runs_stop_at_the_cap_and_go_on_in_their_sessions_when_it_is_raised(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        engine.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 50), &board(), true).await.unwrap();
        let runs = twenty(&world, &engine, &company, naive).await;
        let mut said = round(&world, &engine, &runs, Some(MESSAGE), 100).await as i64;
        assert_eq!(said, 20);
        // 40 of 50 cents: the warning is there with the charge that crossed the line.
        let warned = overview_until(&world, &engine, &company, "a warning", |it| !it.incidents.is_empty()).await;
        assert_eq!(warned.incidents[0].threshold, Threshold::Soft);
        assert_eq!(warned.policies[0].status, Level::Warning);
        let waiting = world.wake(&engine, &runs[0].0.agent_id, "task-0").await;
        while !runs.iter().all(|(_, process)| !world.model.is_alive(process)) {
            said += round(&world, &engine, &runs, Some(MESSAGE), 100).await as i64;
            assert!(said * MESSAGE <= 500_000 + 20 * MESSAGE, "it is not stopped: {said} messages");
        }
        over_for_budget(&world, &runs).await;
        let spent = said * MESSAGE;
        assert!((500_000..=500_000 + 20 * MESSAGE).contains(&spent), "{spent}");
        let all = ids(&runs);
        books_balance(&world, &engine, &company, &all, spent).await;
        for (run, _) in &runs {
            let usage = world.run(&run.id).await.usage.unwrap();
            assert_eq!(usage["outputTokens"].as_u64().unwrap() % 100, 0);
        }
        // Nothing starts: new wakes are refused, what waits is held, and both say why.
        let stopped = overview_until(&world, &engine, &company, "a hard stop", |it| it.policies[0].paused).await;
        assert_eq!((stopped.policies[0].status, stopped.pending_approvals), (Level::HardStop, 1));
        let [incident] = &stopped.incidents[..] else { panic!("one incident is open: {:?}", stopped.incidents) };
        assert_eq!((incident.threshold, incident.status), (Threshold::Hard, IncidentStatus::Open));
        assert_eq!(incident.approval_status.as_deref(), Some("pending"));
        // Asked again with the same key, it is the same answer.
        let keyed = WakeRequest { idempotency_key: Some("k".to_owned()), ..World::request("keyed") };
        for _ in 0..2 {
            let refused = engine.wake(&runs[0].0.agent_id, keyed.clone()).await;
            assert!(matches!(&refused, Err(EngineError::Budget(it)) if it.scope_id == company.as_str()), "{refused:?}");
        }
        let refused = engine.wake(&runs[0].0.agent_id, World::request("new")).await;
        assert!(matches!(&refused, Err(EngineError::Budget(block)) if block.scope_type == "company"), "{refused:?}");
        let row = world.run(&waiting.id).await;
        assert_eq!(row.status, RunStatus::Queued);
        let held = engine.held_reasons(std::slice::from_ref(&row)).await.unwrap();
        assert_eq!(held, [Some(HeldReason::Budget)]);
        // A raise that is none is refused; a real one lets all of it go on.
        let low = engine
            .resolve_budget_incident(&company, &incident.id, Action::RaiseBudgetAndResume, Some(50), None, &board())
            .await;
        assert!(matches!(low, Err(EngineError::Refused { .. })), "{low:?}");
        let raised = engine
            .resolve_budget_incident(&company, &incident.id, Action::RaiseBudgetAndResume, Some(1_000), None, &board())
            .await
            .unwrap();
        assert_eq!((raised.status, raised.approval_status.as_deref()), (IncidentStatus::Resolved, Some("approved")));
        for (run, _) in &runs {
            let task = run.task_key.clone();
            let agent = run.agent_id.clone();
            let next = world
                .eventually("the work goes on", || async {
                    let all = world.runs_of(&agent).await;
                    all.into_iter().find(|it| it.task_key == task && it.status == RunStatus::Running)
                })
                .await;
            let before = world.run(&run.id).await.session_after;
            assert!(before.is_some());
            assert_eq!(next.session_before, before, "it goes on in the session it was stopped in");
        }
        assert_eq!(world.run(&waiting.id).await.status, RunStatus::Running, "the follow-up is what goes on");
        for agent in [&runs[0].0.agent_id, &runs[10].0.agent_id] {
            assert_eq!(world.runs_of(agent).await.len(), 20, "each task goes on once");
        }
        let after = engine.budgets(&company).await.unwrap();
        assert_eq!((after.incidents.len(), after.policies[0].paused), (0, false));
        assert_eq!(store_company(&world, &company).await.budget_monthly_cents, 1_000);
    }

    async fn with_reservations_the_cap_is_kept(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        engine.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 50), &board(), true).await.unwrap();
        let runs = twenty(&world, &engine, &company, |name| thrifty(name, 2.0, 0)).await;
        assert_eq!(counted(&world, &engine, &company).await, (0, 20 * MESSAGE));
        let mut said = 0;
        while runs.iter().any(|(_, process)| world.model.is_alive(process)) {
            said += round(&world, &engine, &runs, Some(MESSAGE), 100).await as i64;
            assert!(said < 100);
        }
        over_for_budget(&world, &runs).await;
        assert!(said * MESSAGE <= 500_000, "{said} messages were let through");
        books_balance(&world, &engine, &company, &ids(&runs), said * MESSAGE).await;
    }

    async fn tokens_are_counted_where_the_price_is_unknown(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let tokens = draft(of(ScopeKind::Company, company.as_str()), Metric::Tokens, 1_000_000);
        engine.set_budget(&company, tokens, &board(), true).await.unwrap();
        let runs = twenty(&world, &engine, &company, naive).await;
        let mut said = 0;
        while runs.iter().any(|(_, process)| world.model.is_alive(process)) {
            said += round(&world, &engine, &runs, None, 40_000).await as i64;
            assert!(said < 100);
        }
        over_for_budget(&world, &runs).await;
        assert!((1_000_000..=1_000_000 + 20 * 40_000).contains(&(said * 40_000)), "{said}");
        books_balance(&world, &engine, &company, &ids(&runs), said * 40_000).await;
        for event in ledger(&world, &ids(&runs)).await {
            assert_eq!((event.cost_known, event.cost_micros), (false, 0), "unknown is not free");
        }
    }

    async fn a_crash_in_the_middle_charges_nothing_twice_and_loses_nothing(world) {
        let first = world.engine().await;
        let company = world.company(&first).await;
        first.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 50), &board(), true).await.unwrap();
        let agent = first.create_agent(&company, thrifty("One", 2.0, 0), &domain::wake::Actor::local_board()).await.unwrap();
        let (run, process) = world.start(&first, &agent.id, "a").await;
        say(&world, &process, Some(MESSAGE), 100);
        world.run_until(&run.id, "charged", |row| tokens_of(row) == 100).await;
        assert_eq!(counted(&world, &first, &company).await, (MESSAGE, MESSAGE));
        first.leave().await;
        // Nobody listens, and the program goes on.
        say(&world, &process, Some(MESSAGE), 100);
        let second = world.engine().await;
        world.run_until(&run.id, "charged by the next server", |row| tokens_of(row) == 200).await;
        assert_eq!(counted(&world, &second, &company).await, (2 * MESSAGE, MESSAGE));
        second.leave().await;
        say(&world, &process, Some(MESSAGE), 100);
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let third = world.engine().await;
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        books_balance(&world, &third, &company, std::slice::from_ref(&run.id), 3 * MESSAGE).await;
        // What its messages cost is what the next run of the agent sets aside, at least.
        let (_, _) = world.start(&third, &agent.id, "b").await;
        assert_eq!(counted(&world, &third, &company).await, (3 * MESSAGE, MESSAGE));
    }

    async fn a_run_reserves_what_the_dearest_message_of_its_agent_cost(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let agent = engine.create_agent(&company, naive("One"), &domain::wake::Actor::local_board()).await.unwrap();
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        for cost in [30_000, 70_000, 10_000] {
            say(&world, &process, Some(cost), 10);
        }
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.over(&run.id).await;
        // The budget comes later, and counts what was spent before it.
        let made = engine.set_budget(&company, cents(ScopeKind::Agent, agent.id.as_str(), 20), &board(), true).await.unwrap();
        assert_eq!((made.observed, made.status), (11, Level::Ok));
        let (_, second) = world.start(&engine, &agent.id, "b").await;
        assert_eq!(counted(&world, &engine, &company).await, (110_000, 70_000));
        // 2 cents are left: a second one is held until the first gives back what it holds.
        let third = world.wake(&engine, &agent.id, "c").await;
        assert_eq!(third.status, RunStatus::Queued);
        let held = engine.held_reasons(std::slice::from_ref(&third)).await.unwrap();
        assert_eq!(held, [Some(HeldReason::Budget)]);
        world.model.say_done(&second);
        world.model.exit(&second, 0);
        world.model.until_alive(&World::first(&third.id)).await;
        assert_eq!(counted(&world, &engine, &company).await, (110_000, 70_000));
    }

    async fn a_message_that_can_never_be_paid_is_told_and_stops_nobody(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        engine.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 5), &board(), true).await.unwrap();
        let actor = domain::wake::Actor::local_board();
        let dear = engine.create_agent(&company, thrifty("Dear", 9.0, 0), &actor).await.unwrap();
        let cheap = engine.create_agent(&company, thrifty("Cheap", 1.0, 0), &actor).await.unwrap();
        let run = world.wake(&engine, &dear.id, "a").await;
        assert_eq!(run.status, RunStatus::Queued);
        let id = company.clone();
        let items = world
            .read(move |tx| {
                let id = id.clone();
                Box::pin(async move { store::inbox::list_open(tx, &id, None, 10).await })
            })
            .await;
        assert_eq!(items.iter().map(|item| item.cause.as_str()).collect::<Vec<_>>(), ["budget_short"]);
        world.start(&engine, &cheap.id, "b").await;
        engine.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 50), &board(), true).await.unwrap();
        world.model.until_alive(&World::first(&run.id)).await;
        let id = company.clone();
        let open = world
            .read(move |tx| {
                let id = id.clone();
                Box::pin(async move { store::inbox::count_open(tx, &id).await })
            })
            .await;
        assert_eq!(open, 0);
    }

    async fn two_servers_stop_at_one_cap(world) {
        let fast = |node: &str| Settings {
            node_id: node.to_owned(),
            period: Duration::from_millis(200),
            ..world.settings()
        };
        let one = world.engine_with(fast("node-1")).await;
        let other = testkit::Model::new();
        let two = world.engine_on(std::sync::Arc::clone(&world.store), other.port(), fast("node-2")).await;
        let company = world.company(&one).await;
        one.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 10), &board(), true).await.unwrap();
        let actor = domain::wake::Actor::local_board();
        let here = one.create_agent(&company, naive("Here"), &actor).await.unwrap();
        let there = one.create_agent(&company, naive("There"), &actor).await.unwrap();
        let mine = World::ran(one.wake(&here.id, World::request("a")).await);
        let theirs = World::ran(two.wake(&there.id, World::request("a")).await);
        let (p, q) = (World::first(&mine.id), World::first(&theirs.id));
        world.model.until_alive(&p).await;
        other.until_alive(&q).await;
        // Neither alone is over the cap.
        say(&world, &p, Some(60_000), 10);
        let usage = Usage { output_tokens: 10, cost_micros: Some(60_000), ..Usage::default() };
        other.say(&q, &AgentEvent::UsageAdded { usage });
        for run in [&mine, &theirs] {
            let ended = world.over(&run.id).await;
            assert_eq!(ended.error.as_deref(), Some("Cancelled due to budget pause"));
        }
        books_balance(&world, &one, &company, &[mine.id.clone(), theirs.id.clone()], 120_000).await;
        // One incident, whoever was first.
        let overview = overview_until(&world, &one, &company, "a pause", |it| it.policies[0].paused).await;
        assert_eq!((overview.incidents.len(), overview.pending_approvals), (1, 1));
        two.leave().await;
    }

    async fn a_new_month_lets_go_what_the_last_one_stopped_unless_it_is_kept_paused(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let mut agents = Vec::new();
        for name in ["Free", "Kept"] {
            let agent = engine.create_agent(&company, naive(name), &actor).await.unwrap();
            engine.set_budget(&company, cents(ScopeKind::Agent, agent.id.as_str(), 5), &board(), true).await.unwrap();
            let (run, process) = world.start(&engine, &agent.id, "a").await;
            world.model.say_session(&process, name);
            // Two messages, each of which the next month could pay.
            say(&world, &process, Some(30_000), 10);
            say(&world, &process, Some(30_000), 10);
            world.over(&run.id).await;
            until_paused(&world, &agent.id, Some(PauseReason::Budget)).await;
            agents.push((agent, run));
        }
        let kept = engine.budgets(&company).await.unwrap().incidents.into_iter()
            .find(|it| it.scope.id == agents[1].0.id.as_str()).unwrap();
        let dismissed = engine
            .resolve_budget_incident(&company, &kept.id, Action::KeepPaused, None, Some("no".into()), &board())
            .await
            .unwrap();
        assert_eq!((dismissed.status, dismissed.approval_status.as_deref()), (IncidentStatus::Dismissed, Some("rejected")));
        let again = engine.resolve_budget_incident(&company, &kept.id, Action::KeepPaused, None, None, &board()).await;
        assert!(matches!(again, Err(EngineError::Refused { .. })), "the first decision stands: {again:?}");
        let chain = records(&world).await;
        let record = chain.iter().find(|it| it.subject == kept.id).unwrap();
        let told: serde_json::Value = serde_json::from_str(&record.details).unwrap();
        assert_eq!([&told["action"], &told["reason"]], [&json!(Action::KeepPaused), &json!("no")], "{told}");
        assert!(told["approval"]["hash"].as_str().is_some_and(|hash| hash.len() == 64), "{told}");
        world.clock.set(Moment::parse("2026-02-01T00:00:01Z").unwrap());
        engine.nudge();
        let (free, run) = &agents[0];
        let next = world
            .eventually("the work goes on", || async {
                world.runs_of(&free.id).await.into_iter().find(|it| it.id != run.id && it.status == RunStatus::Running)
            })
            .await;
        assert_eq!(next.session_before.as_deref(), Some("Free"));
        assert_eq!(world.agent_row(&agents[1].0.id).await.pause_reason, Some(PauseReason::Budget));
        let overview = engine.budgets(&company).await.unwrap();
        assert_eq!((overview.incidents.len(), overview.pending_approvals), (0, 0));
        assert!(overview.policies.iter().all(|it| it.observed == 0));
        assert_eq!(engine.budget_drift(&company).await.unwrap(), []);
    }

    async fn a_budget_stops_its_own_scope_and_no_other(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("Spends"), &actor).await.unwrap();
        let other = engine.create_agent(&company, naive("Saves"), &actor).await.unwrap();
        engine.set_monthly_budget(&company, of(ScopeKind::Agent, agent.id.as_str()), 5, &board(), true).await.unwrap();
        assert_eq!(world.agent_row(&agent.id).await.budget_monthly_cents, 5);
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        let (saving, thrift) = world.start(&engine, &other.id, "a").await;
        say(&world, &process, Some(50_000), 10);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        until_paused(&world, &agent.id, Some(PauseReason::Budget)).await;
        assert!(world.model.is_alive(&thrift));
        assert_eq!(world.run(&saving.id).await.status, RunStatus::Running);
        // Lowering is anybody's, loosening needs a person who proves to be one.
        let loose = engine.set_monthly_budget(&company, of(ScopeKind::Agent, agent.id.as_str()), 500, &board(), false).await;
        assert!(matches!(&loose, Err(EngineError::Denied(Refusal::BoardTokenRequired))), "{loose:?}");
        let off = engine.set_monthly_budget(&company, of(ScopeKind::Agent, agent.id.as_str()), 0, &board(), true).await.unwrap();
        assert!(!off.policy.is_active);
        until_paused(&world, &agent.id, None).await;
        world
            .eventually("the work goes on", || async {
                let all = world.runs_of(&agent.id).await;
                (all.len() == 2 && all[1].status == RunStatus::Running).then_some(())
            })
            .await;
        let foreign = world.company(&engine).await;
        let wrong = engine.set_budget(&foreign, cents(ScopeKind::Agent, agent.id.as_str(), 5), &board(), true).await;
        assert!(matches!(&wrong, Err(EngineError::Refused { message, .. }) if message == "Budget scope does not belong to company"));
    }

    async fn a_monthly_amount_that_is_patched_is_a_budget(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("One"), &actor).await.unwrap();
        let patch = |cents, is_proven| engine::AgentPatch {
            title: Some(Some("Treasurer".into())),
            budget_monthly_cents: Some(cents),
            is_proven,
            ..engine::AgentPatch::default()
        };
        engine.patch_agent(&agent.id, patch(5, false), &actor).await.unwrap();
        let policies = engine.budgets(&company).await.unwrap().policies;
        assert_eq!((policies.len(), policies[0].policy.amount, &policies[0].policy.scope.id), (1, 5, &agent.id.0));
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        say(&world, &process, Some(50_000), 10);
        assert_eq!(world.over(&run.id).await.error.as_deref(), Some("Cancelled due to budget pause"));
        until_paused(&world, &agent.id, Some(PauseReason::Budget)).await;
        // Loosening needs a proof here, too, and what is refused changes nothing.
        let mut loose = patch(500, false);
        loose.title = Some(None);
        let refused = engine.patch_agent(&agent.id, loose, &actor).await;
        assert!(matches!(&refused, Err(EngineError::Denied(Refusal::BoardTokenRequired))));
        let row = world.agent_row(&agent.id).await;
        assert_eq!((row.budget_monthly_cents, row.title.as_deref()), (5, Some("Treasurer")));
        let raised = engine.patch_agent(&agent.id, patch(500, true), &actor).await.unwrap();
        assert_eq!((raised.budget_monthly_cents, raised.pause_reason), (500, None));
        assert_eq!(engine.budgets(&company).await.unwrap().policies[0].policy.amount, 500);
        // The same of a company.
        let patch = engine::CompanyPatch { budget_monthly_cents: Some(4), ..engine::CompanyPatch::default() };
        engine.patch_company(&company, patch, &board()).await.unwrap();
        assert_eq!(store_company(&world, &company).await.budget_monthly_cents, 4);
        assert_eq!(engine.budgets(&company).await.unwrap().policies.len(), 2);
        let refused = engine.wake(&agent.id, World::request("b")).await;
        assert!(matches!(&refused, Err(EngineError::Budget(it)) if it.scope_type == "company"), "{refused:?}");
    }

    async fn a_project_with_a_budget_is_not_deleted_by_an_agent(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let agent =
            engine.create_agent(&company, naive("One"), &domain::wake::Actor::local_board()).await.unwrap();
        let author = Author::agent(&agent.id, None);
        let free = project(&world, &company, &engine.new_id()).await;
        engine.delete_project(&free, &author).await.unwrap();
        let capped = project(&world, &company, &engine.new_id()).await;
        engine.set_budget(&company, cents(ScopeKind::Project, &capped, 5), &board(), true).await.unwrap();
        let refused = engine.delete_project(&capped, &author).await;
        assert!(matches!(&refused, Err(EngineError::Refused { .. })), "{refused:?}");
        engine.delete_project(&capped, &board()).await.unwrap();
    }

    async fn a_project_stops_its_own_runs(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let agent =
            engine.create_agent(&company, naive("One"), &domain::wake::Actor::local_board()).await.unwrap();
        let project = project(&world, &company, &engine.new_id()).await;
        engine.set_budget(&company, cents(ScopeKind::Project, &project, 5), &board(), true).await.unwrap();
        let mut request = World::request("a");
        request.context.insert("projectId".into(), json!(project));
        let inside = World::ran(engine.wake(&agent.id, request.clone()).await);
        let (beside, other) = world.start(&engine, &agent.id, "b").await;
        let process = World::first(&inside.id);
        world.model.until_alive(&process).await;
        world.model.say_session(&process, "here");
        say(&world, &other, Some(90_000), 10);
        say(&world, &process, Some(30_000), 10);
        say(&world, &process, Some(30_000), 10);
        assert_eq!(world.over(&inside.id).await.error.as_deref(), Some("Cancelled due to budget pause"));
        assert_eq!(world.run(&beside.id).await.status, RunStatus::Running);
        assert!(world.model.is_alive(&other));
        let stopped = overview_until(&world, &engine, &company, "a pause", |it| it.policies[0].paused).await;
        assert_eq!((stopped.policies[0].policy.window, stopped.paused_projects), (WindowKind::Lifetime, 1));
        request.context.insert("taskKey".into(), json!("c"));
        let refused = engine.wake(&agent.id, request).await;
        assert!(matches!(&refused, Err(EngineError::Budget(it)) if it.scope_id == project), "{refused:?}");
        engine.set_budget(&company, cents(ScopeKind::Project, &project, 50), &board(), true).await.unwrap();
        let next = world
            .eventually("the work goes on", || async {
                let all = world.runs_of(&agent.id).await;
                all.into_iter().find(|it| it.task_key == "a" && it.status == RunStatus::Running)
            })
            .await;
        assert_eq!(next.session_before.as_deref(), Some("here"));
        assert_eq!(next.project_id, Some(project));
        assert_eq!(engine.budget_drift(&company).await.unwrap(), []);
    }

    async fn a_stop_that_a_crash_left_undone_is_done_by_the_next_server(world) {
        let first = world.engine().await;
        let company = world.company(&first).await;
        let actor = domain::wake::Actor::local_board();
        let agent = first.create_agent(&company, naive("One"), &actor).await.unwrap();
        first.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 5), &board(), true).await.unwrap();
        let (run, process) = world.start(&first, &agent.id, "a").await;
        first.leave().await;
        // The line is crossed, and nobody is left to act on it.
        first.report_cost(&company, report(&world, &agent, 50_000), &board()).await.unwrap();
        let left = first.budgets(&company).await.unwrap();
        assert_eq!((left.incidents.len(), left.policies[0].paused), (1, false));
        assert!(world.model.is_alive(&process));
        let second = world.engine().await;
        assert_eq!(world.over(&run.id).await.error.as_deref(), Some("Cancelled due to budget pause"));
        let done = overview_until(&world, &second, &company, "a pause", |it| it.policies[0].paused).await;
        assert_eq!((done.incidents.len(), done.pending_approvals), (1, 1), "nobody is told twice");
    }

    async fn a_budget_that_is_spent_when_it_is_set_says_that_it_stops(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("One"), &actor).await.unwrap();
        engine.report_cost(&company, report(&world, &agent, 80_000), &board()).await.unwrap();
        let budget = |amount| cents(ScopeKind::Agent, agent.id.as_str(), amount);
        let soft = Draft { hard_stop: Some(false), ..budget(5) };
        let warned = engine.set_budget(&company, soft, &board(), true).await.unwrap();
        assert_eq!((warned.observed, warned.paused), (8, false));
        let hard = Draft { hard_stop: Some(true), ..budget(5) };
        let stopped = engine.set_budget(&company, hard, &board(), true).await.unwrap();
        assert_eq!((stopped.observed, stopped.paused, stopped.pause_reason), (8, true, Some(PauseReason::Budget)));
        let raised = engine.set_budget(&company, budget(20), &board(), true).await.unwrap();
        assert_eq!((raised.observed, raised.paused), (8, false));
    }

    async fn without_a_hard_stop_it_only_warns(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("One"), &actor).await.unwrap();
        let soft = Draft { hard_stop: Some(false), ..cents(ScopeKind::Company, company.as_str(), 5) };
        engine.set_budget(&company, soft, &board(), true).await.unwrap();
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        say(&world, &process, Some(900_000), 10);
        let warned = overview_until(&world, &engine, &company, "a warning", |it| !it.incidents.is_empty()).await;
        assert_eq!((warned.incidents.len(), warned.incidents[0].threshold), (1, Threshold::Soft));
        assert_eq!(world.agent_row(&agent.id).await.status, AgentStatus::Running);
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        world.start(&engine, &agent.id, "b").await;
    }

    async fn what_was_stopped_goes_on_though_its_agent_takes_no_wakes_any_more(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("One"), &actor).await.unwrap();
        engine.set_budget(&company, cents(ScopeKind::Agent, agent.id.as_str(), 5), &board(), true).await.unwrap();
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        let off = engine::AgentPatch {
            runtime_config: Some(json!({ "heartbeat": { "wakeOnDemand": false } })),
            ..engine::AgentPatch::default()
        };
        engine.patch_agent(&agent.id, off, &actor).await.unwrap();
        say(&world, &process, Some(60_000), 10);
        world.over(&run.id).await;
        until_paused(&world, &agent.id, Some(PauseReason::Budget)).await;
        engine.set_budget(&company, cents(ScopeKind::Agent, agent.id.as_str(), 50), &board(), true).await.unwrap();
        let next = world
            .eventually("the work goes on", || async {
                world.runs_of(&agent.id).await.into_iter().find(|it| it.id != run.id)
            })
            .await;
        assert_eq!((next.context["wakeReason"].as_str(), next.task_key.as_str()), (Some("budget_resumed"), "a"));
    }
}

async fn until_paused(world: &World, agent: &AgentId, reason: Option<PauseReason>) {
    world
        .eventually("the pause of the agent", || async {
            (world.agent_row(agent).await.pause_reason == reason).then_some(())
        })
        .await;
}

/// A project of a company.
pub(crate) async fn project(world: &World, company: &CompanyId, id: &str) -> String {
    let now = world.clock_now();
    let project = store::projects::Project {
        id: id.to_owned(),
        company_id: company.clone(),
        name: "Site".into(),
        url_key: "site".into(),
        description: None,
        status: "in_progress".into(),
        lead_agent_id: None,
        target_date: None,
        color: None,
        env: None,
        pause_reason: None,
        paused_at: None,
        execution_workspace_policy: None,
        archived_at: None,
        created_at: now,
        updated_at: now,
    };
    let added = world.store.write(move |tx| {
        let project = project.clone();
        Box::pin(async move { store::projects::insert(tx, &project).await })
    });
    assert!(added.await.unwrap());
    id.to_owned()
}

async fn store_company(world: &World, id: &CompanyId) -> store::companies::Company {
    let id = id.clone();
    let found = world.read(move |tx| {
        let id = id.clone();
        Box::pin(async move { store::companies::get(tx, &id).await })
    });
    found.await.unwrap()
}

pub(crate) trait Now {
    fn clock_now(&self) -> Moment;
}

impl Now for World {
    fn clock_now(&self) -> Moment {
        engine::Clock::now(&*self.clock)
    }
}
