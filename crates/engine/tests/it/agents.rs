//! Agents as they are hired and changed: nobody gives itself more, no refusal leaves half of a change behind.

use std::sync::Arc;

use domain::agent::{AgentStatus, PauseReason, Role};
use domain::budget::policy::Draft;
use domain::budget::{Level, Scope, ScopeKind};
use domain::ids::{AgentId, CompanyId};
use domain::run::RunStatus;
use domain::wake::{Actor, ActorKind};
use engine::{AgentDraft, AgentPatch, ApprovalDraft, ApprovalVerdict, Author, CompanyPatch, EngineError};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::approvals::Approval;
use testkit::{World, both_stores};

use crate::board::{Board, refusal, wrong_fields};
use crate::costs::report;

fn person() -> Actor {
    Actor::local_board()
}

fn of(agent: &Agent) -> Actor {
    Actor { kind: ActorKind::Agent, id: Some(agent.id.0.clone()) }
}

fn with_role(role: Role) -> AgentPatch {
    AgentPatch { role: Some(role), ..AgentPatch::default() }
}

fn with_config(config: Json) -> AgentPatch {
    AgentPatch { runtime_config: Some(config), ..AgentPatch::default() }
}

fn below(manager: &AgentId) -> AgentPatch {
    AgentPatch { reports_to: Some(Some(manager.clone())), ..AgentPatch::default() }
}

fn costing(cents: i64) -> AgentPatch {
    AgentPatch { budget_monthly_cents: Some(cents), ..AgentPatch::default() }
}

fn named(name: &str) -> AgentDraft {
    AgentDraft { name: name.to_owned(), ..World::scripted(3) }
}

impl Board {
    async fn change(&self, agent: &Agent, patch: AgentPatch, by: &Actor) -> Result<Agent, EngineError> {
        self.engine.patch_agent(&agent.id, patch, by).await
    }

    /// Writes an agent as no rule would let it become.
    async fn force(&self, agent: &AgentId, change: impl Fn(&mut Agent) + Send + Sync + Clone + 'static) {
        let id = agent.clone();
        self.world
            .store
            .write(move |tx| {
                let (id, change) = (id.clone(), change.clone());
                Box::pin(async move {
                    let mut agent = store::agents::lock(tx, &id).await?.expect("an agent of that id");
                    change(&mut agent);
                    store::agents::update(tx, &agent).await
                })
            })
            .await
            .unwrap();
    }

    /// The company decides itself whom it takes on.
    async fn decides_on_hires(&self) {
        let patch = CompanyPatch { require_approval: Some(true), ..CompanyPatch::default() };
        self.engine.patch_company(&self.company, patch, &Board::person()).await.unwrap();
    }

    /// An agent that waits for its approval, and the request.
    async fn asked_for(&self, name: &str, by: &Author) -> (Agent, Approval) {
        let hired = self.engine.hire_agent(&self.company, named(name), Vec::new(), by).await.unwrap();
        assert_eq!(hired.0.status, AgentStatus::PendingApproval);
        (hired.0, hired.1.expect("a request"))
    }

    async fn decide(&self, approval: &Approval, verdict: ApprovalVerdict) -> Approval {
        self.engine.decide_approval(&approval.id, verdict, None, &Board::person()).await.unwrap()
    }

    async fn status(&self, agent: &Agent) -> AgentStatus {
        self.world.agent_row(&agent.id).await.status
    }

    async fn company_row(&self, company: &CompanyId) -> Option<store::companies::Company> {
        let id = company.clone();
        let found = self.world.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::companies::get(tx, &id).await })
        });
        found.await
    }
}

both_stores! {
    async fn an_agent_changes_neither_its_own_role_nor_its_own_head_room(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let budget = json!({ "budget": { "messageCents": 50 }, "heartbeat": { "enabled": false } });
        let set = board.change(&ada, with_config(budget.clone()), &person()).await.unwrap();
        for role in [Role::Ceo, Role::Cto] {
            let (kind, words, _) = refusal(board.change(&ada, with_role(role), &of(&ada)).await);
            assert_eq!((kind.as_str(), words.as_str()), ("Forbidden", "Agents cannot change their own role: it says what they may do"));
        }
        for config in [json!({}), json!({ "budget": null }), json!({ "budget": { "messageCents": 1 } })] {
            let (kind, words, _) = refusal(board.change(&ada, with_config(config), &of(&ada)).await);
            let expected = "Agents cannot change their own runtimeConfig.budget: it limits what they may spend";
            assert_eq!((kind.as_str(), words.as_str()), ("Forbidden", expected));
        }
        assert_eq!(world.agent_row(&ada.id).await, set, "nothing of it was written");
        // What repeats what is there is no change, and the rest is its own.
        let mut same = with_config(json!({ "budget": { "messageCents": 50 }, "heartbeat": { "enabled": true } }));
        same.role = Some(ada.role);
        same.title = Some(Some("Countess".into()));
        let changed = board.change(&ada, same, &of(&ada)).await.unwrap();
        assert_eq!((changed.title.as_deref(), &changed.runtime_config["heartbeat"]["enabled"]), (Some("Countess"), &json!(true)));
        assert_eq!(board.change(&ada, with_role(Role::Ceo), &person()).await.unwrap().role, Role::Ceo);
    }

    async fn no_agent_makes_a_chief(world) {
        let board = Board::new(&world).await;
        let (boss, ada) = (board.agent("Boss").await, board.agent("Ada").await);
        board.change(&boss, with_role(Role::Ceo), &person()).await.unwrap();
        let words = "Agents cannot give the role ceo to an agent: only people may";
        assert_eq!(refusal(board.change(&ada, with_role(Role::Ceo), &of(&boss)).await).1, words);
        assert_eq!(board.change(&ada, with_role(Role::Qa), &of(&boss)).await.unwrap().role, Role::Qa);
        let by_boss = Author::agent(&boss.id, None);
        let chief = AgentDraft { role: Role::Ceo, ..named("Second") };
        assert_eq!(refusal(board.engine.take_on_agent(&board.company, chief.clone(), &by_boss).await).1, words);
        assert_eq!(refusal(board.engine.hire_agent(&board.company, chief.clone(), Vec::new(), &by_boss).await).1, words);
        // A person who decides may.
        board.decides_on_hires().await;
        let (second, request) = board.engine.hire_agent(&board.company, chief, Vec::new(), &by_boss).await.unwrap();
        board.decide(&request.expect("a request"), ApprovalVerdict::Approve).await;
        assert_eq!((second.role, board.status(&second).await), (Role::Ceo, AgentStatus::Idle));
    }

    async fn an_agent_that_waits_for_its_approval_is_not_paused_into_work(world) {
        let board = Board::new(&world).await;
        board.decides_on_hires().await;
        let (eve, request) = board.asked_for("Eve", &Board::person()).await;
        let paused = board.engine.pause_agent(&eve.id, PauseReason::Manual, &person()).await;
        let (kind, words, _) = refusal(paused);
        assert_eq!((kind.as_str(), words.as_str()), ("Conflict", "Pending approval agents cannot be paused"));
        assert_eq!(board.status(&eve).await, AgentStatus::PendingApproval);
        board.decide(&request, ApprovalVerdict::Approve).await;
        assert_eq!(board.engine.pause_agent(&eve.id, PauseReason::Manual, &person()).await.unwrap().status, AgentStatus::Paused);
    }

    async fn a_rejected_hire_ends_the_agent_whatever_became_of_it(world) {
        let board = Board::new(&world).await;
        board.decides_on_hires().await;
        for status in [AgentStatus::PendingApproval, AgentStatus::Paused, AgentStatus::Error] {
            let (eve, request) = board.asked_for("Eve", &Board::person()).await;
            board.force(&eve.id, move |agent| agent.status = status).await;
            for _ in 0..2 {
                assert_eq!(board.decide(&request, ApprovalVerdict::Reject).await.status, "rejected");
                assert_eq!(board.status(&eve).await, AgentStatus::Terminated, "{status}");
            }
        }
        // Its work ends with it.
        let (eve, request) = board.asked_for("Eve", &Board::person()).await;
        board.force(&eve.id, |agent| agent.status = AgentStatus::Idle).await;
        let (run, _) = world.start(&board.engine, &eve.id, "a").await;
        board.decide(&request, ApprovalVerdict::Reject).await;
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        assert_eq!(board.status(&eve).await, AgentStatus::Terminated);
    }

    async fn a_rejection_ends_nobody_who_was_let_in(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        board.decides_on_hires().await;
        let (eve, request) = board.asked_for("Eve", &Board::person()).await;
        board.decide(&request, ApprovalVerdict::Approve).await;
        // A request may name whom it likes.
        for (agent, status) in [(&ada, AgentStatus::Idle), (&eve, AgentStatus::Idle)] {
            let draft = ApprovalDraft {
                kind: "hire_agent".into(),
                payload: json!({ "agentId": agent.id }),
                requested_by_agent_id: None,
                issue_ids: Vec::new(),
            };
            let forged = board.engine.create_approval(&board.company, draft, &Board::person()).await.unwrap();
            board.decide(&forged, ApprovalVerdict::Reject).await;
            assert_eq!(board.status(agent).await, status, "{}", agent.name);
        }
    }

    async fn a_manager_is_a_colleague_who_is_not_below(world) {
        let board = Board::new(&world).await;
        let elsewhere = board.neighbour().await;
        let (boss, lead, ada) = (board.agent("Boss").await, board.agent("Lead").await, board.agent("Ada").await);
        let stranger = elsewhere.agent("Stranger").await;
        board.change(&lead, below(&boss.id), &person()).await.unwrap();
        board.change(&ada, below(&lead.id), &person()).await.unwrap();
        let nobody = AgentId::from("0192f7a0-0000-4000-8000-00000000000a");
        let (kind, words, _) = refusal(board.change(&ada, below(&nobody), &person()).await);
        assert_eq!((kind.as_str(), words.as_str()), ("NotFound", "Manager not found"));
        for (agent, manager, words) in [
            (&ada, &stranger.id, "Manager must belong to same company"),
            (&boss, &boss.id, "Agent cannot report to itself"),
            (&boss, &lead.id, "Reporting relationship would create cycle"),
            (&boss, &ada.id, "Reporting relationship would create cycle"),
        ] {
            let refused = board.change(agent, below(manager), &person()).await;
            let Err(EngineError::Invalid(problems)) = &refused else { panic!("{refused:?}") };
            assert_eq!((problems[0].path.as_str(), problems[0].message.as_str()), ("reportsTo", words));
        }
        assert_eq!(world.agent_row(&ada.id).await.reports_to.as_ref(), Some(&lead.id));
        assert_eq!(world.agent_row(&boss.id).await.reports_to, None);
        let free = AgentPatch { reports_to: Some(None), ..AgentPatch::default() };
        board.change(&lead, free, &person()).await.unwrap();
        assert_eq!(board.change(&boss, below(&lead.id), &person()).await.unwrap().reports_to, Some(lead.id));
    }

    async fn two_who_become_each_others_manager_at_once_make_no_circle(world) {
        let board = Arc::new(Board::new(&world).await);
        for round in 0..10 {
            let (one, two) = (board.agent(&format!("One {round}")).await, board.agent(&format!("Two {round}")).await);
            let asks = [(one.clone(), two.id.clone()), (two.clone(), one.id.clone())].map(|(agent, manager)| {
                let board = Arc::clone(&board);
                tokio::spawn(async move { board.change(&agent, below(&manager), &person()).await })
            });
            let mut refused = 0;
            for ask in asks {
                let answer = ask.await.unwrap();
                if answer.is_err() {
                    assert_eq!(wrong_fields(answer), ["reportsTo"]);
                    refused += 1;
                }
            }
            assert_eq!(refused, 1, "round {round}");
        }
    }

    async fn a_company_is_deleted_though_somebody_elsewhere_reports_into_it(world) {
        let board = Board::new(&world).await;
        let elsewhere = board.neighbour().await;
        let (boss, stranger) = (board.agent("Boss").await, elsewhere.agent("Stranger").await);
        let manager = boss.id.clone();
        board.force(&stranger.id, move |agent| agent.reports_to = Some(manager.clone())).await;
        board.engine.delete_company(&board.company, &Board::person()).await.unwrap();
        assert_eq!(board.company_row(&board.company).await, None);
        assert_eq!(world.agent_row(&stranger.id).await.reports_to, None);
    }

    async fn a_change_that_is_refused_sets_no_budget(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let stranger = board.neighbour().await.agent("Stranger").await;
        let taken = AgentPatch { name: Some(bob.name.clone()), ..costing(500) };
        assert_eq!(refusal(board.change(&ada, taken, &person()).await).0, "Conflict");
        let foreign = AgentPatch { budget_monthly_cents: Some(500), ..below(&stranger.id) };
        assert_eq!(wrong_fields(board.change(&ada, foreign, &person()).await), ["reportsTo"]);
        let chief = AgentPatch { budget_monthly_cents: Some(500), ..with_role(Role::Ceo) };
        assert_eq!(refusal(board.change(&ada, chief, &of(&ada)).await).0, "Forbidden");
        assert_eq!(board.engine.budgets(&board.company).await.unwrap().policies, []);
        assert_eq!(world.agent_row(&ada.id).await, ada);
        // And a budget that is refused changes nothing else, of a company neither.
        board.change(&ada, costing(500), &person()).await.unwrap();
        let looser = AgentPatch { title: Some(Some("x".into())), ..costing(600) };
        assert_eq!(refusal(board.change(&ada, looser, &person()).await).1, "Board access required: local board token");
        assert_eq!(world.agent_row(&ada.id).await.title, None);
        let of_company = |name: &str, cents| CompanyPatch {
            name: Some(name.to_owned()),
            budget_monthly_cents: Some(cents),
            ..CompanyPatch::default()
        };
        let (row, _) = board.engine.patch_company(&board.company, of_company("One", 500), &Board::person()).await.unwrap();
        assert_eq!((row.name.as_str(), row.budget_monthly_cents), ("One", 500));
        let looser = board.engine.patch_company(&board.company, of_company("Two", 600), &Board::person()).await;
        assert_eq!(refusal(looser).1, "Board access required: local board token");
        assert_eq!(board.company_row(&board.company).await.expect("a company").name, "One");
        assert_eq!(board.engine.budgets(&board.company).await.unwrap().policies.len(), 2);
    }

    async fn what_is_done_with_an_agent_is_told_with_who_did_it(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let titled = AgentPatch { title: Some(Some("Dr".into())), ..AgentPatch::default() };
        board.change(&ada, titled.clone(), &of(&ada)).await.unwrap();
        board.change(&ada, titled, &of(&ada)).await.unwrap();
        let to = |status| AgentPatch { status: Some(status), ..AgentPatch::default() };
        assert_eq!(board.change(&ada, to(AgentStatus::Paused), &person()).await.unwrap().status, AgentStatus::Paused);
        assert_eq!(board.change(&ada, to(AgentStatus::Active), &person()).await.unwrap().status, AgentStatus::Idle);
        board.engine.forget_sessions(&ada.id, None, &person()).await.unwrap();
        world.wake(&board.engine, &ada.id, "t").await;
        board.engine.terminate_agent(&ada.id, &person()).await.unwrap();
        let refused = AgentPatch { title: Some(Some("Prof".into())), ..to(AgentStatus::Idle) };
        let refused = board.change(&ada, refused, &person()).await;
        assert_eq!(refusal(refused).1, "Terminated agents cannot be resumed");
        assert_eq!(world.agent_row(&ada.id).await.title.as_deref(), Some("Dr"));
        let filter = engine::ActivityFilter::default();
        let told = board.engine.activity(&board.company, filter, 100).await.unwrap();
        let mut told: Vec<(&str, &str)> =
            told.iter().map(|entry| (entry.action.as_str(), entry.actor_id.as_str())).collect();
        // Everything happens at one moment here.
        told.sort_unstable();
        assert_eq!(told, [
            ("agent.paused", "local-board"),
            ("agent.resumed", "local-board"),
            ("agent.runtime_session_reset", "local-board"),
            ("agent.terminated", "local-board"),
            ("agent.updated", ada.id.as_str()),
            ("heartbeat.invoked", "local-board"),
        ]);
    }

    async fn an_amount_that_is_patched_again_switches_its_budget_on(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        for (kind, id) in [(ScopeKind::Agent, ada.id.0.clone()), (ScopeKind::Company, board.company.0.clone())] {
            let scope = Scope { kind, id };
            let off = Draft {
                scope: scope.clone(),
                metric: None,
                window: None,
                amount: 5_000,
                warn_percent: Some(50),
                hard_stop: None,
                notify: None,
                is_active: Some(false),
            };
            let soft = Draft { hard_stop: Some(false), is_active: None, ..off.clone() };
            for (draft, told) in [(off, 1), (soft, 1)] {
                board.engine.set_budget(&board.company, draft, &Board::person(), true).await.unwrap();
                let before = board.told_of_budgets(&scope).await;
                for _ in 0..2 {
                    if kind == ScopeKind::Agent {
                        board.change(&ada, costing(5_000), &person()).await.unwrap();
                    } else {
                        let patch = CompanyPatch { budget_monthly_cents: Some(5_000), ..CompanyPatch::default() };
                        board.engine.patch_company(&board.company, patch, &Board::person()).await.unwrap();
                    }
                }
                let policies = board.engine.budgets(&board.company).await.unwrap().policies;
                let policy = &policies.iter().find(|it| it.policy.scope == scope).expect("a policy").policy;
                assert_eq!((policy.stop_limit(), policy.warn_percent), (Some(50_000_000), 50), "{kind}");
                // The second time it holds already.
                assert_eq!(board.told_of_budgets(&scope).await - before, told, "{kind}");
            }
        }
    }

    async fn an_amount_that_is_spent_already_stops_its_agent_in_the_same_answer(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (run, _) = world.start(&board.engine, &ada.id, "a").await;
        let spent = report(&world, &ada, 100_000);
        board.engine.report_cost(&board.company, spent, &Board::person()).await.unwrap();
        let patch = AgentPatch { title: Some(Some("Spender".into())), ..costing(5) };
        let shown = board.change(&ada, patch, &person()).await.unwrap();
        assert_eq!((shown.status, shown.pause_reason), (AgentStatus::Paused, Some(PauseReason::Budget)));
        assert_eq!(shown.title.as_deref(), Some("Spender"));
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        assert_eq!(board.engine.budgets(&board.company).await.unwrap().policies[0].status, Level::HardStop);
    }

    async fn only_a_person_gives_up_to_decide_on_hires(world) {
        let board = Board::new(&world).await;
        let asks = |is_required, is_proven| CompanyPatch {
            require_approval: Some(is_required),
            is_proven,
            name: Some("Acme".into()),
            ..CompanyPatch::default()
        };
        let by = Board::person();
        let patch = |patch| board.engine.patch_company(&board.company, patch, &by);
        for (is_required, is_proven, expected) in [
            // It was off, and nobody gives anything up.
            (false, false, Ok(false)),
            (true, false, Ok(true)),
            (true, false, Ok(true)),
            (false, false, Err("Board access required: local board token")),
            (false, true, Ok(false)),
        ] {
            match (patch(asks(is_required, is_proven)).await, expected) {
                (Ok((row, _)), Ok(now)) => assert_eq!(row.require_approval, now),
                (outcome, Err(words)) => {
                    let refused = refusal(outcome);
                    assert_eq!((refused.0.as_str(), refused.1.as_str()), ("Forbidden", words));
                    assert!(board.company_row(&board.company).await.expect("a company").require_approval);
                }
                (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
            }
        }
    }
}

impl Board {
    /// How often it was told that a budget of a scope was set.
    async fn told_of_budgets(&self, scope: &Scope) -> usize {
        let filter = engine::ActivityFilter::default();
        let told = self.engine.activity(&self.company, filter, engine::MOST_ACTIVITY).await.unwrap();
        let is_of = |details: &Json| details["scopeId"] == scope.id.as_str();
        let told = told.iter().filter(|entry| entry.action == "budget.policy_upserted");
        told.filter(|entry| entry.details.as_ref().is_some_and(is_of)).count()
    }
}
