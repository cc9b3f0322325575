//! Budgets: caps hold whoever comes at once, what is set aside comes back exactly, and counters are the sum of their
//! parts.

use domain::budget::scope::{Scope, ScopeKind};
use domain::budget::window::WindowKind;
use domain::budget::{IncidentStatus, Level, Metric, Threshold};
use domain::ids::{AgentId, CompanyId, PolicyId, RunId};
use domain::moment::Moment;
use store::budgets::counters::{self, Counter};
use store::budgets::incidents::{self, Incident};
use store::budgets::policies::{self, Draft, Policy};
use store::budgets::reservations::{self, Reserved, Share};
use store::budgets::scopes;
use store::budgets::{Window, counters::Drift};
use store::costs::{self, CostEvent};
use store::{Store, p, sql};

use crate::acme::{at, tx};
use crate::both_stores;

/// January 2026.
const MONTH: Window = Window {
    start: Moment::from_micros(1_767_225_600_000_000),
    end: Moment::from_micros(1_769_904_000_000_000),
};
const FEBRUARY: Window = Window { start: MONTH.end, end: Moment::from_micros(1_772_323_200_000_000) };

fn draft(scope: &str, id: &str, amount: i64) -> Draft {
    Draft {
        id: PolicyId(format!("policy-{scope}-{id}")),
        company_id: "acme".into(),
        scope_type: ScopeKind::parse(scope).unwrap(),
        scope_id: id.into(),
        metric: Metric::Tokens,
        window_kind: WindowKind::CalendarMonthUtc,
        amount,
        warn_percent: None,
        hard_stop_enabled: None,
        notify_enabled: None,
        is_active: true,
        by_user: Some("board".into()),
    }
}

async fn save(store: &Store, draft: Draft) -> Policy {
    tx!(store, [draft], |tx| policies::save(tx, &draft, at(1)))
}

fn share(policy: &Policy, amount: i64) -> Share {
    Share { policy: policy.id.clone(), window: MONTH, amount }
}

async fn reserve(store: &Store, run: &str, shares: &[Share]) -> Reserved {
    let (run, shares) = (RunId::from(run), shares.to_vec());
    tx!(store, [run, shares], |tx| reservations::reserve(tx, &run, &shares, at(2)))
}

async fn charge(store: &Store, run: &str, shares: &[Share]) -> Vec<Counter> {
    let (run, shares) = (RunId::from(run), shares.to_vec());
    tx!(store, [run, shares], |tx| reservations::charge(tx, &run, &shares, at(3)))
}

async fn settle(store: &Store, run: &str, totals: &[Share]) -> Vec<Counter> {
    let (run, totals) = (RunId::from(run), totals.to_vec());
    tx!(store, [run, totals], |tx| reservations::settle(tx, &run, &totals, at(4)))
}

async fn release(store: &Store, run: &str) -> Vec<i64> {
    let run = RunId::from(run);
    let held = tx!(store, [run], |tx| reservations::release(tx, &run, at(5)));
    held.iter().map(|reservation| reservation.reserved).collect()
}

async fn counter(store: &Store, policy: &Policy, window: Window) -> Option<Counter> {
    let id = policy.id.clone();
    tx!(store, [id], |tx| counters::get(tx, &id, window.start))
}

/// What was spent and what is reserved in January.
async fn sums(store: &Store, policy: &Policy) -> (i64, i64) {
    counter(store, policy, MONTH).await.map_or((0, 0), |counter| (counter.spent, counter.reserved))
}

async fn drifted(store: &Store) -> Vec<Drift> {
    let company = CompanyId::from("acme");
    tx!(store, [company], |tx| counters::drifted(tx, &company, 10))
}

fn cost(id: &str, run: Option<&str>, project: Option<&str>, tokens: i64, at: Moment) -> CostEvent {
    CostEvent {
        id: id.into(),
        company_id: "acme".into(),
        agent_id: "ada".into(),
        issue_id: None,
        project_id: project.map(str::to_owned),
        goal_id: None,
        run_id: run.map(RunId::from),
        origin: if run.is_some() { costs::OF_RUN } else { costs::REPORTED }.into(),
        billing_code: None,
        provider: "anthropic".into(),
        biller: "anthropic".into(),
        billing_type: "metered_api".into(),
        model: "m".into(),
        input_tokens: 10,
        cached_input_tokens: 0,
        output_tokens: 5,
        counted_tokens: tokens,
        // Something else than the tokens, so that one is not taken for the other.
        cost_micros: tokens * 10,
        cost_known: true,
        occurred_at: at,
        created_at: at,
    }
}

async fn record(store: &Store, event: CostEvent) {
    assert!(tx!(store, [event], |tx| costs::record(tx, &event)));
}

fn incident(id: &str, policy: &Policy, threshold: &str) -> Incident {
    Incident {
        id: id.into(),
        company_id: "acme".into(),
        policy_id: policy.id.clone(),
        scope_type: policy.scope_type,
        scope_id: policy.scope_id.clone(),
        metric: policy.metric,
        window_kind: policy.window_kind,
        window_start: MONTH.start,
        window_end: MONTH.end,
        threshold_type: Threshold::parse(threshold).unwrap(),
        amount_limit: policy.amount,
        amount_observed: policy.amount + 1,
        status: IncidentStatus::Open,
        approval_id: Some(format!("approval-of-{id}")),
        resolved_at: None,
        created_at: at(1),
        updated_at: at(1),
    }
}

async fn open_incident(store: &Store, incident: Incident) -> bool {
    tx!(store, [incident], |tx| incidents::open(tx, &incident))
}

/// Adds a running run, as far as these tests need one.
async fn running(store: &Store, id: &'static str, status: &'static str) {
    let write = store.write(move |tx| Box::pin(async move {
        tx.run(
            sql!(
                "INSERT INTO runs (id, company_id, agent_id, invocation_source, status, task_key, wake_id, context, \
                 created_at, updated_at) VALUES ($1, 'acme', 'ada', 'on_demand', $2, $1, 'w', '{}', $3, $3)"
            ),
            p![id, status, at(0)],
        ).await
    }));
    write.await.unwrap();
}

both_stores! {
    async fn a_scope_has_one_policy_for_each_metric_and_window(store: Store) {
        let first = save(&store, draft("agent", "ada", 100)).await;
        assert_eq!(
            (first.amount, first.warn_percent, first.hard_stop_enabled, first.notify_enabled),
            (100, 80, true, true)
        );
        let again = Draft {
            id: "another-id".into(),
            amount: 200,
            warn_percent: Some(50),
            notify_enabled: Some(false),
            by_user: Some("eve".into()),
            ..draft("agent", "ada", 0)
        };
        let changed = save(&store, again).await;
        assert_eq!(changed, Policy {
            amount: 200,
            warn_percent: 50,
            notify_enabled: false,
            updated_by_user_id: Some("eve".into()),
            ..first.clone()
        });
        // What is not said stays.
        assert_eq!(save(&store, Draft { by_user: Some("eve".into()), ..draft("agent", "ada", 200) }).await, changed);
        for other in [
            Draft { id: "money".into(), metric: Metric::BilledCents, ..draft("agent", "ada", 1) },
            Draft { id: "lifetime".into(), window_kind: WindowKind::Lifetime, ..draft("agent", "ada", 1) },
            draft("agent", "bob", 1),
        ] {
            let id = other.id.clone();
            assert_eq!(save(&store, other).await.id, id, "another scope, metric or window is another policy");
        }
    }

    async fn every_policy_of_a_run_comes_in_one_answer_with_its_counter(store: Store) {
        let company = save(&store, draft("company", "acme", 100)).await;
        let agent = save(&store, draft("agent", "ada", 100)).await;
        let project = save(&store, Draft { window_kind: WindowKind::Lifetime, ..draft("project", "site", 100) }).await;
        save(&store, draft("agent", "bob", 100)).await;
        save(&store, draft("project", "other", 100)).await;
        let lifetime = Window { start: Moment::from_micros(0), end: Moment::from_micros(i64::MAX) };
        let of_project = Share { policy: project.id.clone(), window: lifetime, amount: 7 };
        charge(&store, "run", &[share(&agent, 3), of_project]).await;

        let (acme, ada) = (CompanyId::from("acme"), AgentId::from("ada"));
        let found = tx!(store, [acme, ada], |tx| policies::concerning(tx, &acme, &ada, Some("site"), MONTH.start));
        let found: Vec<_> = found.iter()
            .map(|one| (&one.policy.id, one.counter.as_ref().map(|counter| counter.spent)))
            .collect();
        assert_eq!(found, [(&agent.id, Some(3)), (&company.id, None), (&project.id, Some(7))]);
        let later = tx!(store, [acme, ada], |tx| policies::concerning(tx, &acme, &ada, None, FEBRUARY.start));
        let later: Vec<_> = later.iter().map(|one| (&one.policy.id, one.counter.is_some())).collect();
        assert_eq!(later, [(&agent.id, false), (&company.id, false)], "no project, and nothing counted in February");

        let all = tx!(store, [acme], |tx| policies::list(tx, &acme, MONTH.start, None, 3));
        assert_eq!(all.len(), 3);
        let last = all.last().map(|one| (one.policy.created_at, one.policy.id.clone()));
        let rest = tx!(store, [acme, last], |tx| policies::list(tx, &acme, MONTH.start, last.clone(), 3));
        assert_eq!(rest.len(), 2);
    }

    async fn what_does_not_fit_under_the_cap_is_not_reserved(store: Store) {
        let policy = save(&store, draft("agent", "ada", 100)).await;
        charge(&store, "old", &[share(&policy, 30)]).await;
        assert_eq!(reserve(&store, "a", &[share(&policy, 70)]).await, Reserved::Made);
        assert_eq!(reserve(&store, "b", &[share(&policy, 1)]).await, Reserved::Short(policy.id.clone()));
        assert_eq!(sums(&store, &policy).await, (30, 70));
        // A policy that only warns, and one that is off, hold nobody; they count all the same.
        for lenient in [
            Draft { hard_stop_enabled: Some(false), ..draft("agent", "bob", 10) },
            Draft { is_active: false, ..draft("agent", "cyd", 10) },
            draft("agent", "dan", 0),
        ] {
            let lenient = save(&store, lenient).await;
            assert_eq!(reserve(&store, "c", &[share(&lenient, 1000)]).await, Reserved::Made);
            assert_eq!(sums(&store, &lenient).await, (0, 1000));
        }
        let nobodys = Share { policy: "no-such-policy".into(), window: MONTH, amount: 0 };
        assert_eq!(reserve(&store, "d", &[nobodys]).await, Reserved::Short("no-such-policy".into()));
        assert_eq!(drifted(&store).await, []);
    }

    async fn a_policy_in_cents_is_counted_in_micro_dollars(store: Store) {
        let cents = Draft { metric: Metric::BilledCents, ..draft("agent", "ada", 2) };
        let policy = save(&store, cents.clone()).await;
        assert_eq!(reserve(&store, "a", &[share(&policy, 20_001)]).await, Reserved::Short(policy.id.clone()));
        assert_eq!(reserve(&store, "a", &[share(&policy, 20_000)]).await, Reserved::Made);
        save(&store, Draft { amount: 3, ..cents }).await;
        assert_eq!(counter(&store, &policy, MONTH).await.and_then(|counter| counter.cap), Some(30_000));
        assert_eq!(drifted(&store).await, []);
    }

    async fn a_scope_whose_amount_is_spent_lets_nobody_start(store: Store) {
        let policy = save(&store, draft("agent", "ada", 10)).await;
        charge(&store, "a", &[share(&policy, 9)]).await;
        assert_eq!(reserve(&store, "free", &[share(&policy, 0)]).await, Reserved::Made);
        charge(&store, "a", &[share(&policy, 1)]).await;
        assert_eq!(reserve(&store, "b", &[share(&policy, 0)]).await, Reserved::Short(policy.id));
    }

    async fn a_scope_is_read_as_the_accounts_that_the_rules_see(store: Store) {
        let tokens = save(&store, draft("agent", "ada", 100)).await;
        let lifetime = Draft { id: "lifetime".into(), window_kind: WindowKind::Lifetime, ..draft("agent", "ada", 5) };
        let lifetime = save(&store, lifetime).await;
        save(&store, draft("agent", "bob", 1)).await;
        charge(&store, "a", &[share(&tokens, 80)]).await;
        let (acme, scope) = (CompanyId::from("acme"), Scope { kind: ScopeKind::Agent, id: "ada".into() });
        let found = tx!(store, [acme, scope], |tx| policies::of_scope(tx, &acme, &scope, MONTH.start));
        let accounts: Vec<_> = found.iter().map(|one| one.account(MONTH)).collect();
        let levels: Vec<_> = accounts.iter().map(|one| (&one.policy.id, one.counter.spent, one.level())).collect();
        assert_eq!(levels, [(&tokens.id, 80, Level::Warning), (&lifetime.id, 0, Level::Ok)]);
        assert!(accounts.iter().all(|account| account.counter.window == MONTH && account.policy.scope == scope));
    }

    async fn an_amount_is_shown_on_its_row_and_one_that_stands_there_already_changes_nothing(store: Store) {
        let (company, agent) = crate::acme::company_with_an_agent(&store).await;
        let shown = async |cents: i64, second: i64| {
            tx!(store, [company], |tx| scopes::mirror_company(tx, &company, cents, at(second)));
            tx!(store, [agent], |tx| scopes::mirror_agent(tx, &agent, cents, at(second)));
            let company = tx!(store, [company], |tx| store::companies::get(tx, &company)).unwrap();
            let agent = tx!(store, [agent], |tx| store::agents::get(tx, &agent)).unwrap();
            [(company.budget_monthly_cents, company.updated_at), (agent.budget_monthly_cents, agent.updated_at)]
        };
        assert_eq!(shown(500, 7).await, [(500, at(7)); 2]);
        assert_eq!(shown(500, 8).await, [(500, at(7)); 2]);
        assert_eq!(shown(0, 9).await, [(0, at(9)); 2]);
    }

    async fn head_room_goes_along_into_the_next_month(store: Store) {
        let policy = save(&store, draft("agent", "ada", 100)).await;
        let id = policy.id.clone();
        reserve(&store, "a", &[share(&policy, 20)]).await;
        reserve(&store, "b", &[share(&policy, 30)]).await;
        let run = RunId::from("a");
        for carried in [20, 0] {
            let held =
                tx!(store, [run, id], |tx| reservations::carry(tx, &run, &id, MONTH.start, FEBRUARY, at(3)));
            assert_eq!(held, carried);
        }
        assert_eq!(sums(&store, &policy).await, (0, 30));
        assert_eq!(counter(&store, &policy, FEBRUARY).await.map(|one| (one.spent, one.reserved)), Some((0, 20)));
        assert_eq!(drifted(&store).await, []);
        assert_eq!(release(&store, "a").await, [0, 20]);
        assert_eq!(counter(&store, &policy, FEBRUARY).await.map(|one| one.reserved), Some(0));
        assert_eq!(drifted(&store).await, []);
    }

    async fn a_reservation_under_several_policies_is_made_under_all_or_none(store: Store) {
        let agent = save(&store, draft("agent", "ada", 100)).await;
        let company = save(&store, draft("company", "acme", 50)).await;
        let project = save(&store, draft("project", "site", 100)).await;
        let shares = [share(&project, 60), share(&company, 60), share(&agent, 60)];
        assert_eq!(reserve(&store, "a", &shares).await, Reserved::Short(company.id.clone()));
        for policy in [&agent, &company, &project] {
            assert_eq!(sums(&store, policy).await, (0, 0));
        }
        let shares = shares.map(|share| Share { amount: 50, ..share });
        assert_eq!(reserve(&store, "a", &shares).await, Reserved::Made);
        assert_eq!(release(&store, "a").await, [50, 50, 50]);
        assert_eq!(drifted(&store).await, []);
    }

    async fn release_gives_back_exactly_what_was_held_and_only_once(store: Store) {
        let policy = save(&store, draft("agent", "ada", 100)).await;
        reserve(&store, "a", &[share(&policy, 20)]).await;
        // A second process of the same run sets more aside.
        reserve(&store, "a", &[share(&policy, 5)]).await;
        reserve(&store, "b", &[share(&policy, 40)]).await;
        charge(&store, "a", &[share(&policy, 9)]).await;
        assert_eq!(sums(&store, &policy).await, (9, 65), "charges leave the head-room as it is");
        assert_eq!(release(&store, "a").await, [25]);
        assert_eq!(sums(&store, &policy).await, (9, 40));
        assert_eq!(release(&store, "a").await, [0; 0]);
        assert_eq!(sums(&store, &policy).await, (9, 40));
        assert_eq!(drifted(&store).await, []);
    }

    async fn charges_add_up_and_a_settlement_makes_them_final(store: Store) {
        let policy = save(&store, draft("agent", "ada", 100)).await;
        for (delta, spent) in [(10, 10), (0, 10), (15, 25)] {
            let counted = charge(&store, "a", &[share(&policy, delta)]).await;
            assert_eq!(counted.iter().map(|counter| counter.spent).collect::<Vec<_>>(), [spent]);
        }
        assert_eq!(settle(&store, "a", &[share(&policy, 32)]).await[0].spent, 32);
        assert_eq!(settle(&store, "a", &[share(&policy, 32)]).await[0].spent, 32, "settled twice is settled once");
        assert_eq!(settle(&store, "a", &[share(&policy, 21)]).await[0].spent, 21, "less than was streamed");
        assert_eq!(settle(&store, "never-charged", &[share(&policy, 4)]).await[0].spent, 25);
        assert_eq!(drifted(&store).await, []);
    }

    async fn a_run_over_the_end_of_a_month_is_charged_in_both(store: Store) {
        let policy = save(&store, draft("agent", "ada", 100)).await;
        let february = |amount| Share { policy: policy.id.clone(), window: FEBRUARY, amount };
        reserve(&store, "a", &[share(&policy, 20)]).await;
        charge(&store, "a", &[share(&policy, 12)]).await;
        charge(&store, "a", &[february(6)]).await;
        settle(&store, "a", &[february(21)]).await;
        assert_eq!(sums(&store, &policy).await, (12, 20));
        assert_eq!(counter(&store, &policy, FEBRUARY).await.map(|one| (one.spent, one.reserved)), Some((9, 0)));
        settle(&store, "a", &[february(10)]).await;
        assert_eq!(sums(&store, &policy).await.0, 10, "the later month gives back first");
        assert_eq!(counter(&store, &policy, FEBRUARY).await.map(|one| one.spent), Some(0));
        assert_eq!(release(&store, "a").await, [20, 0]);
        assert_eq!(drifted(&store).await, []);
    }

    async fn a_new_policy_begins_with_what_the_ledger_holds(store: Store) {
        record(&store, cost("1", Some("r1"), Some("site"), 100, at(0))).await;
        record(&store, cost("2", None, None, 20, at(1))).await;
        record(&store, cost("3", None, Some("site"), 3, FEBRUARY.start)).await;
        record(&store, CostEvent { agent_id: "bob".into(), ..cost("4", None, None, 1000, at(2)) }).await;
        for (draft, spent) in [
            (draft("agent", "ada", 1), 120),
            (draft("company", "acme", 1), 1120),
            (draft("project", "site", 1), 100),
            (Draft { metric: Metric::BilledCents, id: "money".into(), ..draft("agent", "ada", 1) }, 1200),
        ] {
            let policy = save(&store, draft).await;
            let id = policy.id.clone();
            assert!(tx!(store, [id], |tx| counters::open(tx, &id, MONTH, at(3))));
            assert!(tx!(store, [id], |tx| counters::open(tx, &id, MONTH, at(3))), "opened twice is opened once");
            assert_eq!(sums(&store, &policy).await, (spent, 0), "{}", policy.id);
        }
        assert_eq!(drifted(&store).await, []);
    }

    async fn counting_again_finds_what_was_missed_and_nothing_twice(store: Store) {
        let policy = save(&store, draft("agent", "ada", 100)).await;
        let id = policy.id.clone();
        // Charged and in the ledger.
        settle(&store, "a", &[share(&policy, 40)]).await;
        record(&store, cost("1", Some("a"), None, 40, at(0))).await;
        // Reported by hand: charged outside, before it is in the ledger.
        let reported = tx!(store, [id], |tx| counters::charge_outside(tx, &id, MONTH, 5, at(1)));
        assert_eq!(reported.map(|counter| (counter.spent, counter.outside)), Some((45, 5)));
        record(&store, cost("2", None, None, 5, at(1))).await;
        // Settled by somebody who did not know of the policy yet.
        record(&store, cost("3", Some("b"), None, 7, at(1))).await;
        for _ in 0..2 {
            let counted = tx!(store, [id], |tx| counters::recount(tx, &id, MONTH, at(2)));
            assert_eq!(counted.map(|counter| (counter.spent, counter.outside)), Some((52, 12)));
        }
        assert_eq!(drifted(&store).await, []);
    }

    async fn a_raised_cap_lets_through_what_was_short(store: Store) {
        let policy = save(&store, draft("agent", "ada", 10)).await;
        assert_eq!(reserve(&store, "a", &[share(&policy, 10)]).await, Reserved::Made);
        assert_eq!(reserve(&store, "b", &[share(&policy, 10)]).await, Reserved::Short(policy.id.clone()));
        save(&store, draft("agent", "ada", 20)).await;
        assert_eq!(reserve(&store, "b", &[share(&policy, 10)]).await, Reserved::Made);
        save(&store, draft("agent", "ada", 5)).await;
        assert_eq!(reserve(&store, "c", &[share(&policy, 0)]).await, Reserved::Short(policy.id.clone()));
        assert_eq!(drifted(&store).await, [], "the counter knows the cap of its policy");
    }

    async fn a_threshold_is_marked_by_one_and_may_be_marked_again_after_a_raise(store: Store) {
        let policy = save(&store, draft("agent", "ada", 10)).await;
        charge(&store, "a", &[share(&policy, 10)]).await;
        let id = policy.id;
        assert!(tx!(store, [id], |tx| counters::mark_warned(tx, &id, MONTH.start, at(1))));
        assert!(!tx!(store, [id], |tx| counters::mark_warned(tx, &id, MONTH.start, at(2))));
        assert!(tx!(store, [id], |tx| counters::mark_stopped(tx, &id, MONTH.start, at(3))));
        assert!(!tx!(store, [id], |tx| counters::mark_stopped(tx, &id, MONTH.start, at(4))));
        let marked = tx!(store, [id], |tx| counters::lock(tx, &id, MONTH.start));
        assert_eq!(marked.map(|one| (one.warned_at, one.stopped_at)), Some((Some(at(1)), Some(at(3)))));
        assert!(tx!(store, [id], |tx| counters::clear_marks(tx, &id, MONTH.start, at(5))));
        assert!(!tx!(store, [id], |tx| counters::clear_marks(tx, &id, MONTH.start, at(6))));
        assert!(tx!(store, [id], |tx| counters::mark_stopped(tx, &id, MONTH.start, at(7))));
    }

    async fn one_incident_is_open_for_each_threshold_and_may_open_again(store: Store) {
        let policy = save(&store, draft("agent", "ada", 10)).await;
        assert!(open_incident(&store, incident("1", &policy, "hard")).await);
        assert!(!open_incident(&store, incident("2", &policy, "hard")).await);
        assert!(open_incident(&store, incident("3", &policy, "soft")).await);
        let next_month = Incident { window_start: FEBRUARY.start, window_end: FEBRUARY.end, ..incident("4", &policy, "hard") };
        assert!(open_incident(&store, next_month).await);
        assert!(tx!(store, [], |tx| incidents::close(tx, "1", IncidentStatus::Resolved, at(5))));
        assert!(!tx!(store, [], |tx| incidents::close(tx, "1", IncidentStatus::Dismissed, at(6))), "it is over already");
        assert!(open_incident(&store, incident("5", &policy, "hard")).await, "crossed again in the same window");

        let closed = tx!(store, [], |tx| incidents::get(tx, "1"));
        assert_eq!(closed.map(|one| (one.status, one.resolved_at)), Some((IncidentStatus::Resolved, Some(at(5)))));
        let of_approval = tx!(store, [], |tx| incidents::of_approval(tx, "approval-of-3"));
        assert_eq!(of_approval, Some(incident("3", &policy, "soft")));
        let (acme, id) = (CompanyId::from("acme"), policy.id.clone());
        let open = tx!(store, [acme], |tx| incidents::list_open(tx, &acme, None, 2));
        assert_eq!(open.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["5", "4"]);
        let before = open.last().map(|one| (one.created_at, one.id.clone()));
        let rest = tx!(store, [acme, before], |tx| incidents::list_open(tx, &acme, before.clone(), 2));
        assert_eq!(rest.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["3"]);
        let of_policy = tx!(store, [id], |tx| incidents::open_of_policy(tx, &id, 10));
        assert_eq!(of_policy.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["5", "3", "4"]);
        let all = tx!(store, [id], |tx| incidents::of_policy(tx, &id, 10));
        let all: Vec<_> = all.iter().map(|one| (one.id.as_str(), one.rule().is_open())).collect();
        assert_eq!(all, [("4", true), ("5", true), ("3", true), ("1", false)]);
    }

    async fn runs_that_hold_without_running_are_found(store: Store) {
        crate::acme::company_with_an_agent(&store).await;
        let policy = save(&store, draft("agent", "ada", 100)).await;
        running(&store, "alive", "running").await;
        running(&store, "dead", "failed").await;
        for run in ["alive", "dead", "gone"] {
            reserve(&store, run, &[share(&policy, 10)]).await;
        }
        let id = policy.id.clone();
        let held = tx!(store, [id], |tx| reservations::holders(tx, &id, MONTH.start, 10));
        assert_eq!(held, [RunId::from("alive"), "dead".into(), "gone".into()]);
        let forgotten = tx!(store, [], |tx| reservations::forgotten(tx, 10));
        assert_eq!(forgotten, [RunId::from("dead"), "gone".into()]);
        for run in forgotten {
            release(&store, run.as_str()).await;
        }
        assert_eq!(tx!(store, [], |tx| reservations::forgotten(tx, 10)), []);
        assert_eq!(sums(&store, &policy).await, (0, 10));
    }

    async fn folding_old_reservations_changes_no_counter(store: Store) {
        let policy = save(&store, draft("agent", "ada", 1000)).await;
        for run in ["a", "b", "c", "d"] {
            reserve(&store, run, &[share(&policy, 10)]).await;
            charge(&store, run, &[share(&policy, 7)]).await;
        }
        for run in ["a", "b", "c"] {
            release(&store, run).await;
        }
        assert_eq!(tx!(store, [], |tx| reservations::fold(tx, at(5), 10)), 0, "not old enough");
        assert_eq!(tx!(store, [], |tx| reservations::fold(tx, at(6), 2)), 2);
        assert_eq!(tx!(store, [], |tx| reservations::fold(tx, at(6), 2)), 1);
        assert_eq!(tx!(store, [], |tx| reservations::fold(tx, at(6), 2)), 0, "`d` still holds");
        let folded = counter(&store, &policy, MONTH).await.map(|one| (one.spent, one.outside, one.reserved));
        assert_eq!(folded, Some((28, 21, 10)));
        assert_eq!(drifted(&store).await, []);
    }

    async fn a_counter_that_was_tampered_with_is_named(store: Store) {
        let policy = save(&store, draft("agent", "ada", 100)).await;
        reserve(&store, "a", &[share(&policy, 10)]).await;
        charge(&store, "a", &[share(&policy, 7)]).await;
        let tamper = store.write(|tx| Box::pin(async move {
            tx.run(sql!("UPDATE budget_counters SET spent = spent + 1, reserved = 0, cap = 99"), p![]).await
        }));
        tamper.await.unwrap();
        assert_eq!(drifted(&store).await, [Drift {
            policy_id: policy.id,
            window_start: MONTH.start,
            spent: 8,
            should_be_spent: 7,
            reserved: 0,
            should_be_reserved: 10,
            cap: Some(99),
            should_be_cap: Some(100),
        }]);
    }

    async fn many_who_reserve_at_once_never_pass_the_cap(store: Store) {
        let agent = save(&store, draft("agent", "ada", 1000)).await;
        let company = save(&store, draft("company", "acme", 333)).await;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..16 {
            let (store, shares) = (store.clone(), vec![share(&agent, 10), share(&company, 10)]);
            tasks.spawn(async move {
                let mut made = 0;
                for number in 0..5 {
                    let run = RunId(format!("run-{task}-{number}"));
                    let reserved = tx!(store, [run, shares], |tx| reservations::reserve(tx, &run, &shares, at(1)));
                    made += i64::from(reserved == Reserved::Made);
                }
                made
            });
        }
        let made: i64 = tasks.join_all().await.into_iter().sum();
        assert_eq!(made, 33, "as many as fit, and no more");
        assert_eq!(sums(&store, &company).await, (0, 330));
        assert_eq!(sums(&store, &agent).await, (0, 330), "who was short under one policy holds nothing under the other");
        assert_eq!(drifted(&store).await, []);
    }

    async fn runs_that_come_and_go_leave_counters_that_are_the_sum_of_their_parts(store: Store) {
        let agent = save(&store, draft("agent", "ada", 400)).await;
        let company = save(&store, draft("company", "acme", 300)).await;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..8_i64 {
            let (store, agent, company) = (store.clone(), agent.clone(), company.clone());
            tasks.spawn(async move {
                let mut spent = 0;
                for number in 0..10_i64 {
                    let run = format!("run-{task}-{number}");
                    // In another order each time: the locks are taken in one.
                    let mut shares = vec![share(&agent, 40), share(&company, 40)];
                    if number % 2 == 0 {
                        shares.reverse();
                    }
                    if reserve(&store, &run, &shares).await != Reserved::Made {
                        continue;
                    }
                    let cost = (task + number) % 5;
                    let of = |amount| shares.iter().map(|share| Share { amount, ..share.clone() }).collect::<Vec<_>>();
                    charge(&store, &run, &of(cost)).await;
                    let counted = charge(&store, &run, &of(1)).await;
                    // Head-room stays while a run is charged: at most what 8 running runs spend lies above the cap.
                    let fits = counted.iter().all(|one| one.spent + one.reserved <= one.cap.unwrap_or(0) + 8 * 6);
                    assert!(fits, "{counted:?}");
                    settle(&store, &run, &of(cost)).await;
                    release(&store, &run).await;
                    spent += cost;
                }
                spent
            });
        }
        // Somebody changes the amount meanwhile.
        for amount in [310, 320, 330] {
            save(&store, draft("company", "acme", amount)).await;
        }
        let spent: i64 = tasks.join_all().await.into_iter().sum();
        assert!(spent > 20, "{spent}");
        assert_eq!(sums(&store, &agent).await, (spent, 0));
        assert_eq!(sums(&store, &company).await, (spent, 0));
        assert_eq!(drifted(&store).await, []);
    }

    /// A reservation that waited for the policy to change sees the amount as it became, not as it was.
    async fn an_amount_lowered_meanwhile_holds_for_whoever_waited(store: Store) {
        for round in 0..10 {
            let scope = format!("agent-{round}");
            let policy = save(&store, draft("agent", &scope, 100)).await;
            let lower = { let (store, scope) = (store.clone(), scope.clone()); tokio::spawn(async move { save(&store, draft("agent", &scope, 50)).await }) };
            let made = reserve(&store, &format!("run-{round}"), &[share(&policy, 60)]).await;
            lower.await.unwrap();
            // Either the reservation came first, or it was refused: then the counter says 50 as the policy does.
            let (_, reserved) = sums(&store, &policy).await;
            assert_eq!(reserved, if made == Reserved::Made { 60 } else { 0 });
            let after = reserve(&store, "late", &[share(&policy, 60)]).await;
            assert_eq!(after, Reserved::Short(policy.id));
            assert_eq!(drifted(&store).await, []);
        }
    }
}
