//! The ledger: one event for a run's settlement, and reports that are the sums of their events.

use domain::ids::{AgentId, CompanyId, RunId};
use store::Store;
use store::costs::reports::{self, OfAgent, OfAgentModel, OfProject, OfWindow, Span, Total, Usage};
use store::costs::{self, CostEvent, Dearest};

use crate::acme::{at, company_with_an_agent, tx};
use crate::both_stores;

fn event(id: &str, run: Option<&str>, micros: i64) -> CostEvent {
    CostEvent {
        id: id.into(),
        company_id: "acme".into(),
        agent_id: "ada".into(),
        issue_id: Some("issue".into()),
        project_id: None,
        goal_id: None,
        run_id: run.map(RunId::from),
        origin: if run.is_some() { costs::OF_RUN } else { costs::REPORTED }.into(),
        billing_code: Some("B-1".into()),
        provider: "anthropic".into(),
        biller: "anthropic".into(),
        billing_type: "metered_api".into(),
        model: "large".into(),
        input_tokens: 10,
        cached_input_tokens: 4,
        output_tokens: 2,
        counted_tokens: 12,
        cost_micros: micros,
        cost_known: true,
        occurred_at: at(0),
        created_at: at(1),
    }
}

async fn record(store: &Store, event: CostEvent) -> bool {
    tx!(store, [event], |tx| costs::record(tx, &event))
}

/// Two agents, two providers, three ways to bill; one event of another company.
async fn ledger(store: &Store) {
    company_with_an_agent(store).await;
    for event in [
        event("1", Some("r1"), 100),
        CostEvent { project_id: Some("site".into()), occurred_at: at(10), ..event("2", Some("r2"), 50) },
        CostEvent {
            billing_type: "subscription_included".into(),
            cost_known: false,
            occurred_at: at(20),
            ..event("3", Some("r3"), 0)
        },
        CostEvent {
            agent_id: "bob".into(),
            provider: "openai".into(),
            biller: "router".into(),
            model: "small".into(),
            project_id: Some("app".into()),
            occurred_at: at(30),
            ..event("4", Some("r4"), 500)
        },
        CostEvent { biller: "router".into(), occurred_at: at(40), ..event("5", None, 1) },
        CostEvent { company_id: "other".into(), agent_id: "eve".into(), ..event("6", Some("r6"), 7777) },
    ] {
        assert!(record(store, event).await);
    }
}

fn company() -> CompanyId {
    "acme".into()
}

both_stores! {
    async fn the_settlement_of_a_run_is_recorded_once(store: Store) {
        let first = event("1", Some("run"), 100);
        assert!(record(&store, first.clone()).await);
        assert!(!record(&store, event("2", Some("run"), 900)).await);
        // What somebody reports about the run is beside it.
        let reported = CostEvent { origin: costs::REPORTED.into(), occurred_at: at(5), ..event("3", Some("run"), 5) };
        assert!(record(&store, reported.clone()).await);
        let run = RunId::from("run");
        assert_eq!(tx!(store, [run], |tx| costs::of_run(tx, &run, 10)), [first, reported]);
    }

    async fn a_summary_is_the_sum_of_its_span_with_both_ends(store: Store) {
        ledger(&store).await;
        let acme = company();
        let all = tx!(store, [acme], |tx| reports::summary(tx, &acme, Span::ALL));
        assert_eq!(all, Total {
            events: 5, unknown: 1, cost_micros: 651, input_tokens: 50, cached_input_tokens: 20, output_tokens: 10, counted_tokens: 60,
        });
        for (from, to, micros) in [(0, 10, 150), (10, 10, 50), (11, 19, 0), (30, 99, 501)] {
            let span = Span { from: at(from), to: at(to) };
            let part = tx!(store, [acme], |tx| reports::summary(tx, &acme, span));
            assert_eq!(part.cost_micros, micros, "{from}..={to}");
        }
        let nobody = CompanyId::from("nobody");
        assert_eq!(tx!(store, [nobody], |tx| reports::summary(tx, &nobody, Span::ALL)), Total::default());
    }

    async fn sums_are_exact_beyond_32_bits(store: Store) {
        for id in ["1", "2"] {
            assert!(record(&store, event(id, None, 4_000_000_000_000_000_001)).await);
        }
        let acme = company();
        let total = tx!(store, [acme], |tx| reports::summary(tx, &acme, Span::ALL));
        assert_eq!(total.cost_micros, 8_000_000_000_000_000_002);
    }

    async fn the_report_by_agent_tells_metered_runs_from_subscriptions(store: Store) {
        ledger(&store).await;
        let acme = company();
        let found = tx!(store, [acme], |tx| reports::by_agent(tx, &acme, Span::ALL, 10));
        assert_eq!(found, [
            OfAgent {
                agent_id: "bob".into(),
                agent_name: None,
                agent_status: None,
                usage: Usage {
                    cost_micros: 500, input_tokens: 10, cached_input_tokens: 4, output_tokens: 2, api_runs: 1, ..Usage::default()
                },
            },
            OfAgent {
                agent_id: "ada".into(),
                agent_name: Some("Ada".into()),
                agent_status: Some("idle".into()),
                usage: Usage {
                    cost_micros: 151,
                    unknown: 1,
                    input_tokens: 40,
                    cached_input_tokens: 16,
                    output_tokens: 8,
                    api_runs: 2,
                    subscription_runs: 1,
                    subscription_input_tokens: 10,
                    subscription_cached_input_tokens: 4,
                    subscription_output_tokens: 2,
                },
            },
        ]);
        assert_eq!(tx!(store, [acme], |tx| reports::by_agent(tx, &acme, Span::ALL, 1)).len(), 1);
    }

    async fn the_other_reports_group_what_they_say(store: Store) {
        ledger(&store).await;
        let acme = company();
        let providers = tx!(store, [acme], |tx| reports::by_provider(tx, &acme, Span::ALL, 10));
        let providers: Vec<_> = providers.iter()
            .map(|one| (one.provider.as_str(), one.biller.as_str(), one.billing_type.as_str(), one.usage.cost_micros))
            .collect();
        assert_eq!(providers, [
            ("openai", "router", "metered_api", 500),
            ("anthropic", "anthropic", "metered_api", 150),
            ("anthropic", "router", "metered_api", 1),
            ("anthropic", "anthropic", "subscription_included", 0),
        ]);
        let billers = tx!(store, [acme], |tx| reports::by_biller(tx, &acme, Span::ALL, 10));
        let billers: Vec<_> = billers.iter()
            .map(|one| (one.biller.as_str(), one.providers, one.models, one.usage.cost_micros, one.usage.api_runs))
            .collect();
        assert_eq!(billers, [("router", 2, 2, 501, 1), ("anthropic", 1, 1, 150, 2)]);
        let models = tx!(store, [acme], |tx| reports::by_agent_model(tx, &acme, Span::ALL, 10));
        assert_eq!(models.len(), 4);
        assert_eq!(models[0], OfAgentModel {
            agent_id: "ada".into(),
            agent_name: Some("Ada".into()),
            provider: "anthropic".into(),
            biller: "anthropic".into(),
            billing_type: "metered_api".into(),
            model: "large".into(),
            cost_micros: 150,
            input_tokens: 20,
            cached_input_tokens: 8,
            output_tokens: 4,
        });
        let projects = tx!(store, [acme], |tx| reports::by_project(tx, &acme, Span::ALL, 10));
        let of_project = |id: &str, cost_micros| OfProject {
            project_id: id.into(), cost_micros, input_tokens: 10, cached_input_tokens: 4, output_tokens: 2,
        };
        assert_eq!(projects, [of_project("app", 500), of_project("site", 50)]);
        let window = tx!(store, [acme], |tx| reports::since(tx, &acme, at(20), 10));
        let of_window = |provider: &str, biller: Option<&str>, cost_micros, events: i64| OfWindow {
            provider: provider.into(),
            biller: biller.map(str::to_owned),
            cost_micros,
            input_tokens: 10 * events,
            cached_input_tokens: 4 * events,
            output_tokens: 2 * events,
        };
        assert_eq!(window, [of_window("anthropic", None, 1, 2), of_window("openai", Some("router"), 500, 1)]);
    }

    async fn the_spending_of_many_agents_comes_in_one_call(store: Store) {
        ledger(&store).await;
        let agents: Vec<AgentId> = ["ada", "bob", "idle", "one", "two"].map(AgentId::from).into();
        let mut spent = tx!(store, [agents], |tx| reports::spent_by(tx, &agents, Span { from: at(10), ..Span::ALL }));
        spent.sort();
        assert_eq!(spent, [("ada".into(), 51), ("bob".into(), 500)]);
    }

    async fn the_dearest_message_is_that_of_the_last_runs(store: Store) {
        let ada = AgentId::from("ada");
        assert_eq!(tx!(store, [ada], |tx| costs::dearest_message(tx, &ada, 20)), Dearest::default());
        for (number, micros, tokens) in [(1, 900, 1), (2, 20, 300), (2, 30, 200), (2, 10, 100), (3, 25, 5)] {
            let run = RunId(format!("run-{number}"));
            let dearest = Dearest { micros, tokens };
            tx!(store, [run, ada], |tx| costs::note_messages(tx, &run, &ada, 1, dearest, at(number)));
        }
        let (bob, other) = (AgentId::from("bob"), RunId::from("other"));
        let dear = Dearest { micros: 5000, tokens: 5000 };
        tx!(store, [bob, other], |tx| costs::note_messages(tx, &other, &bob, 1, dear, at(9)));
        for (runs, micros, tokens) in [(1, 25, 5), (2, 30, 300), (3, 900, 300)] {
            let dearest = tx!(store, [ada], |tx| costs::dearest_message(tx, &ada, runs));
            assert_eq!(dearest, Dearest { micros, tokens }, "of the last {runs}");
        }
        let gone: Vec<RunId> = vec!["run-1".into(), "run-3".into(), "never".into()];
        assert_eq!(tx!(store, [gone], |tx| costs::forget_messages(tx, &gone)), 2);
        let left = tx!(store, [ada], |tx| costs::dearest_message(tx, &ada, 20));
        assert_eq!(left, Dearest { micros: 30, tokens: 300 });
    }
}
