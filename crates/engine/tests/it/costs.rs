//! What work cost: what runs say they used, what is reported by hand, and what of it is shown.

use domain::budget::{ScopeKind, WindowKind};
use domain::moment::Moment;
use domain::run::RunStatus;
use engine::{CostReport, EngineError, ProcessId};
use serde_json::json;
use store::agents::Agent;
use store::costs::CostEvent;
use testkit::{World, both_stores};

use crate::budgets::{Now, board, books_balance, cents, counted, ledger, naive, project, say, tokens_of};

/// A cost that somebody reports by hand.
pub(crate) fn report(world: &World, agent: &Agent, cost_micros: i64) -> CostReport {
    CostReport {
        agent_id: agent.id.clone(),
        issue_id: None,
        project_id: None,
        goal_id: None,
        run_id: None,
        billing_code: None,
        provider: "acme".into(),
        biller: None,
        billing_type: None,
        model: "m".into(),
        input_tokens: 0,
        cached_input_tokens: 0,
        output_tokens: 0,
        cost_micros,
        occurred_at: world.clock_now(),
    }
}

both_stores! {
    async fn a_cost_by_hand_counts_at_once(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("One"), &actor).await.unwrap();
        engine.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 10), &board(), true).await.unwrap();
        let (run, _) = world.start(&engine, &agent.id, "a").await;
        let report = CostReport {
            run_id: Some(run.id.clone()),
            billing_type: Some("api".into()),
            input_tokens: 1,
            cached_input_tokens: 2,
            output_tokens: 3,
            ..report(&world, &agent, 80_000)
        };
        let event = engine.report_cost(&company, report.clone(), &board()).await.unwrap();
        assert_eq!((event.billing_type.as_str(), event.counted_tokens, event.biller.as_str()), ("metered_api", 6, "acme"));
        let warned = engine.budgets(&company).await.unwrap();
        assert_eq!((warned.policies[0].observed, warned.incidents.len()), (8, 1));
        engine.report_cost(&company, report.clone(), &board()).await.unwrap();
        assert_eq!(world.over(&run.id).await.error.as_deref(), Some("Cancelled due to budget pause"));
        // Counted anew, it is the same: what is reported for a run is not the run's own entry.
        engine.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 12), &board(), true).await.unwrap();
        assert_eq!(counted(&world, &engine, &company).await, (160_000, 0));
        assert_eq!(engine.budget_drift(&company).await.unwrap(), []);
        let (total, budget) = engine.cost_summary(&company, store::costs::reports::Span::ALL).await.unwrap();
        assert_eq!((total.cost_micros, total.events, budget), (160_000, 2, 12));
        let by_agent = engine.costs_by_agent(&company, store::costs::reports::Span::ALL).await.unwrap();
        assert_eq!(by_agent[0].usage.cost_micros, 160_000);
        let bad = CostReport { provider: " ".into(), cost_micros: -1, ..report };
        let Err(EngineError::Invalid(problems)) = engine.report_cost(&company, bad, &board()).await else { panic!() };
        assert_eq!(problems.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["provider", "costCents"]);
    }

    async fn sums_beyond_thirty_two_bits_are_exact(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("One"), &actor).await.unwrap();
        // A million dollars a piece, the most of one report: five thousand million cents, more than fits into 32 bits.
        let report = CostReport { input_tokens: 3_000_000_000, output_tokens: 1, ..report(&world, &agent, 1_000_000_000_000) };
        for _ in 0..50 {
            engine.report_cost(&company, report.clone(), &board()).await.unwrap();
        }
        let all = store::costs::reports::Span::ALL;
        let (total, _) = engine.cost_summary(&company, all).await.unwrap();
        assert_eq!((total.cost_micros, total.events), (50_000_000_000_000, 50));
        let by_agent = engine.costs_by_agent(&company, all).await.unwrap();
        assert_eq!((by_agent[0].usage.cost_micros, by_agent[0].usage.input_tokens), (50_000_000_000_000, 150_000_000_000));
    }

    async fn one_report_says_no_more_than_sums_can_bear(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("One"), &actor).await.unwrap();
        let name = || "x".repeat(256);
        let most = CostReport {
            biller: Some(name()),
            billing_type: Some(name()),
            billing_code: Some(name()),
            provider: name(),
            model: name(),
            input_tokens: 1_000_000_000_001,
            ..report(&world, &agent, 1_000_000_000_001)
        };
        let Err(EngineError::Invalid(problems)) = engine.report_cost(&company, most, &board()).await else { panic!() };
        let told: Vec<_> = problems.iter().map(|it| (it.path.as_str(), it.message.as_str())).collect();
        let long = "is longer than 255 characters";
        assert_eq!(told, [
            ("provider", long), ("model", long), ("biller", long), ("billingType", long), ("billingCode", long),
            ("costCents", "must be between 0 and 100000000"), ("inputTokens", "must be between 0 and 1000000000000"),
        ]);
    }

    async fn a_report_names_only_what_is_of_the_company(world) {
        let engine = world.engine().await;
        let (company, rival) = (world.company(&engine).await, world.company(&engine).await);
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("One"), &actor).await.unwrap();
        let theirs = engine.create_agent(&rival, naive("Two"), &actor).await.unwrap();
        let (run, _) = world.start(&engine, &theirs.id, "a").await;
        let secret = project(&world, &rival, &engine.new_id()).await;
        let goal = engine::GoalDraft { title: "Win".into(), ..engine::GoalDraft::default() };
        let goal = engine.create_goal(&rival, goal, &board()).await.unwrap();
        let issue = engine::issues::IssueDraft { title: "Secret".into(), ..engine::issues::IssueDraft::default() };
        let issue = engine.create_issue(&rival, issue, &board()).await.unwrap();
        let ours = report(&world, &agent, 1);
        for (foreign, words) in [
            (CostReport { project_id: Some(secret.clone()), ..ours.clone() }, "Project does not belong to company"),
            (CostReport { project_id: Some(engine.new_id()), ..ours.clone() }, "Project does not belong to company"),
            (CostReport { goal_id: Some(goal.id), ..ours.clone() }, "Goal does not belong to company"),
            (CostReport { run_id: Some(run.id), ..ours.clone() }, "Heartbeat run does not belong to company"),
            (CostReport { issue_id: Some(issue.id), ..ours.clone() }, "Issue does not belong to company"),
        ] {
            let refused = engine.report_cost(&company, foreign, &board()).await;
            assert!(matches!(&refused, Err(EngineError::Refused { message, .. }) if message == words), "{refused:?}");
        }
        let all = store::costs::reports::Span::ALL;
        assert_eq!(engine.costs_by_project(&company, all).await.unwrap(), []);
        // One that an earlier version took in shows no name.
        let old = engine.report_cost(&company, ours, &board()).await.unwrap();
        let old = CostEvent { id: engine.new_id(), project_id: Some(secret.clone()), ..old };
        let recorded = world.store.write(move |tx| {
            let old = old.clone();
            Box::pin(async move { store::costs::record(tx, &old).await })
        });
        recorded.await.unwrap();
        let named = engine.costs_by_project(&company, all).await.unwrap();
        assert_eq!(named.iter().map(|(row, name)| (&row.project_id, name)).collect::<Vec<_>>(), [(&secret, &None)]);
    }

    async fn a_month_counts_neither_what_was_before_nor_what_comes_after_it(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("One"), &actor).await.unwrap();
        let month = WindowKind::CalendarMonthUtc.at(world.clock_now());
        for (at, amount) in [
            (Moment::from_micros(month.start.micros() - 1), 1),
            (month.start, 10),
            (Moment::from_micros(month.end.micros() - 1), 100),
            (month.end, 1_000),
            (Moment::parse("2999-01-01T00:00:00Z").unwrap(), 10_000),
        ] {
            let report = CostReport { occurred_at: at, ..report(&world, &agent, amount) };
            engine.report_cost(&company, report, &board()).await.unwrap();
        }
        assert_eq!(engine.spent_this_month(std::slice::from_ref(&agent.id)).await.unwrap(), [(agent.id, 110)]);
        assert_eq!(engine.company_spent_this_month(&company).await.unwrap(), 110);
        assert_eq!(engine.dashboard(&company).await.unwrap().month_spent, 110);
    }

    async fn a_run_is_charged_for_all_its_processes(world) {
        let first = world.engine().await;
        let company = world.company(&first).await;
        let actor = domain::wake::Actor::local_board();
        let agent = first.create_agent(&company, naive("One"), &actor).await.unwrap();
        first.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 500), &board(), true).await.unwrap();
        let (before, process) = world.start(&first, &agent.id, "a").await;
        world.model.say_session(&process, "s1");
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.over(&before.id).await;
        // The second run spends before it says that its session is gone, and once more with a fresh one.
        let (run, process) = world.start(&first, &agent.id, "a").await;
        assert_eq!(run.session_before.as_deref(), Some("s1"));
        say(&world, &process, Some(70_000), 100);
        world.model.say_failed(&process, domain::telling::ErrorClass::SessionGone, None);
        world.model.exit(&process, 1);
        let second = ProcessId { run: run.id.clone(), epoch: 2 };
        world.model.until_alive(&second).await;
        say(&world, &second, Some(20_000), 10);
        world.run_until(&run.id, "charged", |row| tokens_of(row) == 110).await;
        assert_eq!(counted(&world, &first, &company).await.0, 90_000);
        // Neither does a restart forget the first process.
        first.leave().await;
        let engine = world.engine().await;
        say(&world, &second, Some(20_000), 10);
        world.run_until(&run.id, "charged", |row| tokens_of(row) == 120).await;
        world.model.say_done(&second);
        world.model.exit(&second, 0);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        let usage = world.run(&run.id).await.usage.unwrap();
        assert_eq!((&usage["costMicros"], &usage["costKnown"]), (&json!(110_000), &json!(true)));
        books_balance(&world, &engine, &company, &[before.id, run.id], 110_000).await;
        engine.leave().await;
    }

    async fn a_cost_of_which_a_part_is_unknown_is_not_shown_as_known(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let actor = domain::wake::Actor::local_board();
        let agent = engine.create_agent(&company, naive("One"), &actor).await.unwrap();
        engine.set_budget(&company, cents(ScopeKind::Company, company.as_str(), 500), &board(), true).await.unwrap();
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        say(&world, &process, Some(30_000), 10);
        say(&world, &process, None, 10);
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        let ended = world.over(&run.id).await;
        let usage = ended.usage.unwrap();
        assert_eq!((&usage["costMicros"], &usage["costKnown"]), (&json!(30_000), &json!(false)));
        let entries = ledger(&world, std::slice::from_ref(&run.id)).await;
        assert_eq!((entries[0].cost_micros, entries[0].cost_known, entries[0].counted_tokens), (30_000, false, 20));
        books_balance(&world, &engine, &company, &[run.id], 30_000).await;
    }
}
