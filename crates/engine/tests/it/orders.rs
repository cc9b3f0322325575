//! The outbox of wakes: what a change orders comes, once, whoever dies in between.

use std::time::Duration;

use domain::agent::PauseReason;
use domain::ids::{AgentId, IssueId};
use domain::issue::IssueStatus;
use domain::wake::{Actor, ActorKind, Source, TriggerDetail, WakeStatus};
use engine::{Author, Settings};
use serde_json::json;
use store::agents::Agent;
use store::issues::Issue;
use store::orders::NewOrder;
use store::{p, sql};
use testkit::{Server, World, both_stores};

use crate::board::Board;
use crate::issue_wakes::{about, block, note, skipped};

async fn open_orders(world: &World) -> i64 {
    world.read(|tx| Box::pin(store::orders::count(tx))).await
}

async fn until_delivered(world: &World) {
    world.eventually("an empty outbox", || async { (open_orders(world).await == 0).then_some(()) }).await;
}

/// Puts an order into the box and rings nobody: whoever placed it died at once.
pub(crate) async fn place(board: &Board, agent: &Agent, issue: Option<&Issue>, reason: &str) {
    put(board, order(board, agent, issue, reason)).await;
}

fn order(board: &Board, agent: &Agent, issue: Option<&Issue>, reason: &str) -> NewOrder {
    NewOrder {
        company_id: board.company.clone(),
        agent_id: agent.id.clone(),
        issue_id: issue.map(|issue| issue.id.clone()),
        wake_id: None,
        source: Source::Automation,
        trigger_detail: Some(TriggerDetail::System),
        reason: reason.to_owned(),
        payload: json!({ "issueId": issue.map(|issue| &issue.id) }),
        context: json!({}),
        actor_kind: ActorKind::System,
        actor_id: "test".to_owned(),
        idempotency_key: None,
    }
}

async fn put(board: &Board, order: NewOrder) {
    let now = board.engine.now();
    let placed = board.world.store.write(move |tx| {
        let order = order.clone();
        Box::pin(async move { store::orders::place(tx, &order, now).await })
    });
    assert!(placed.await.unwrap().is_some());
}

async fn wakes_on(world: &World, agent: &AgentId, issue: &IssueId, reason: &str) -> usize {
    let wakes = world.wakes_of(agent).await;
    wakes
        .iter()
        .filter(|wake| wake.issue_id.as_ref() == Some(issue) && wake.reason.as_deref() == Some(reason))
        .count()
}

both_stores! {
    async fn an_issue_that_is_assigned_starts_its_agent(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.issue("one", IssueStatus::Todo, Some(&ada)).await;
        let run = world
            .eventually("a run", || async { world.runs_of(&ada.id).await.pop() })
            .await;
        world.model.until_alive(&World::first(&run.id)).await;
        assert_eq!(run.issue_id.as_deref(), Some(issue.id.as_str()));
        assert_eq!(run.context["wakeReason"], json!("issue_assigned"));
        assert_eq!(open_orders(&world).await, 0);
    }

    async fn whoever_does_not_want_to_wait_has_the_runs_at_once(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        place(&board, &ada, Some(&issue), "issue_assigned").await;
        let runs = board.engine.deliver_now(&issue.id).await.unwrap();
        let all = world.runs_of(&ada.id).await;
        assert_eq!(all.len(), 1);
        // The deliverer may have been faster; what was delivered here is named.
        assert!(runs.is_empty() || runs == [all[0].id.clone()], "{runs:?}");
        assert!(board.engine.deliver_now(&issue.id).await.unwrap().is_empty());
    }

    async fn orders_left_behind_by_a_dead_server_are_delivered_by_the_next(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        board.engine.leave().await;
        place(&board, &ada, Some(&issue), "issue_assigned").await;
        place(&board, &ada, None, "approval_approved").await;
        let next = world.engine().await;
        until_delivered(&world).await;
        let runs = world.runs_of(&ada.id).await;
        assert_eq!(runs.len(), 2);
        for run in runs {
            world.model.until_alive(&World::first(&run.id)).await;
        }
        next.leave().await;
    }

    async fn two_servers_deliver_each_order_once(world) {
        let board = Board::new(&world).await;
        let other = world.engine_with(Settings { node_id: "node-2".into(), ..world.settings() }).await;
        let mut issues = Vec::new();
        for number in 0..8 {
            let agent = board.agent(&format!("Agent {number}")).await;
            for task in 0..5 {
                let issue = board.quiet(&format!("{number}.{task}"), IssueStatus::Todo, Some(&agent)).await;
                issues.push((agent.clone(), issue));
            }
        }
        for (agent, issue) in &issues {
            place(&board, agent, Some(issue), "issue_assigned").await;
        }
        board.engine.orders_bell();
        other.orders_bell();
        until_delivered(&world).await;
        for (agent, issue) in &issues {
            assert_eq!(wakes_on(&world, &agent.id, &issue.id, "issue_assigned").await, 1);
        }
        for (id, starts) in world.model.all_starts() {
            assert!(starts <= 1, "{id:?} was started {starts} times");
        }
    }

    async fn a_wake_that_is_refused_leaves_its_record_and_no_order(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        board.engine.pause_agent(&ada.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        let issue = board.issue("one", IssueStatus::Todo, Some(&ada)).await;
        until_delivered(&world).await;
        let wake = world.wakes_of(&ada.id).await.pop().unwrap();
        assert_eq!((wake.status, wake.reason.as_deref()), (WakeStatus::Failed, Some("agent.not_invokable")));
        assert_eq!(wake.issue_id, Some(issue.id));
        assert!(world.runs_of(&ada.id).await.is_empty());
    }

    async fn an_order_that_the_store_refuses_harms_no_other_and_ends_as_a_failed_wake(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        refuse_runs_for(&world, "poison").await;
        place(&board, &ada, None, "poison").await;
        place(&board, &ada, Some(&issue), "issue_assigned").await;
        place(&board, &bob, None, "approval_approved").await;
        board.engine.orders_bell();
        let others = world.eventually("the others", || async {
            let runs = [world.runs_of(&ada.id).await, world.runs_of(&bob.id).await].concat();
            (runs.len() == 2).then_some(runs)
        });
        for run in others.await {
            world.model.until_alive(&World::first(&run.id)).await;
        }
        let failed = world.eventually("the poison is given up", || async {
            world.clock.advance(Duration::from_secs(60));
            board.engine.orders_bell();
            world.wakes_of(&ada.id).await.into_iter().find(|wake| wake.reason.as_deref() == Some("poison"))
        });
        let failed = failed.await;
        assert_eq!((failed.status, failed.run_id), (WakeStatus::Failed, None));
        assert!(failed.error.unwrap().contains("poison"));
        assert_eq!(open_orders(&world).await, 0);
    }

    async fn later_voices_join_an_order_that_stands(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let first = note(&board, &issue.id, &Board::person()).await;
        let mut order = order(&board, &ada, Some(&issue), "issue_commented");
        (order.actor_kind, order.actor_id) = (ActorKind::User, "local-board".to_owned());
        order.payload = json!({ "issueId": issue.id, "commentId": first.id });
        order.context = json!({ "issueId": issue.id, "commentId": first.id, "wakeCommentId": first.id });
        put(&board, order).await;
        let second = board.say(&issue.id, "and another thing", &Board::person()).await.unwrap();
        let run = world.eventually("a run", || async { world.runs_of(&ada.id).await.pop() }).await;
        assert_eq!(run.context["wakeCommentIds"], json!([first.id, second.id]));
        until_delivered(&world).await;
        assert_eq!(wakes_on(&world, &ada.id, &issue.id, "issue_commented").await, 1);
    }

    async fn a_promotion_that_was_lost_is_found_again(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        board.running(&ada, &issue).await;
        skipped(board.engine.wake(&bob.id, about(&issue.id, "issue_comment_mentioned")).await);
        let id = issue.id.clone();
        let cleared = world.store.write(move |tx| {
            let id = id.clone();
            Box::pin(async move { store::locks::clear(tx, &id).await })
        });
        cleared.await.unwrap();
        board.engine.nudge();
        world
            .eventually("the wake goes on", || async {
                let wakes = world.wakes_of(&bob.id).await;
                (wakes[0].status != WakeStatus::Deferred).then_some(())
            })
            .await;
    }

    async fn whoever_waits_on_blockers_that_are_done_is_told_even_if_nobody_ordered_it(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let blocker = board.quiet("first", IssueStatus::Todo, None).await;
        let issue = board.quiet("second", IssueStatus::Todo, Some(&ada)).await;
        block(&board, &blocker, &issue).await;
        board.set_status(&blocker.id, IssueStatus::Done).await;
        board.engine.nudge();
        let run = world.eventually("a run", || async { world.runs_of(&ada.id).await.pop() }).await;
        assert_eq!(run.context["wakeReason"], json!("issue_blockers_resolved"));
        assert_eq!(run.context["blockerIssueIds"], json!([blocker.id]));
        assert!(!board.row(&issue.id).await.waits_on_blockers);
        world.model.until_alive(&World::first(&run.id)).await;
        board.engine.nudge();
        until_delivered(&world).await;
        assert_eq!(wakes_on(&world, &ada.id, &issue.id, "issue_blockers_resolved").await, 1);
    }

    async fn a_server_killed_between_a_change_and_its_wakes_loses_and_doubles_none(world) {
        let settings = || Settings { period: Duration::from_millis(30), ..world.settings() };
        let server = Server::start(&world, settings()).await;
        let ada = server.agent(&world, 3).await;
        server.kill(&world).await;
        let mut promised: Vec<IssueId> = Vec::new();
        for round in 0..12u32 {
            let server = Server::start(&world, settings()).await;
            for number in 0..3 {
                let (company, agent) = (ada.company_id.clone(), ada.id.clone());
                let made = server.send(move |engine| async move {
                    let draft = engine::issues::IssueDraft {
                        title: format!("{round}.{number}"),
                        status: IssueStatus::Todo,
                        assignee_agent_id: Some(agent),
                        ..Default::default()
                    };
                    engine.create_issue(&company, draft, &Author::local_board()).await
                });
                if let Ok(Ok(issue)) = made.await {
                    promised.push(issue.id);
                }
                for _ in 0..round % 5 {
                    tokio::task::yield_now().await;
                }
            }
            server.kill(&world).await;
        }
        assert_eq!(promised.len(), 36);
        let server = Server::start(&world, settings()).await;
        until_delivered(&world).await;
        for issue in &promised {
            assert_eq!(wakes_on(&world, &ada.id, issue, "issue_assigned").await, 1, "{issue}");
        }
        for (id, starts) in world.model.all_starts() {
            assert!(starts <= 1, "{id:?} was started {starts} times");
        }
        server.kill(&world).await;
    }
}

/// From now on the store takes no run whose context has this reason.
async fn refuse_runs_for(world: &World, reason: &'static str) {
    assert_eq!(reason, "poison", "the rule below says so");
    let rules = if world.store.is_postgres() {
        vec![
            sql!(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN \
                 IF NEW.context LIKE '%poison%' THEN RAISE EXCEPTION 'poison'; END IF; RETURN NEW; END$$"
            ),
            sql!("CREATE TRIGGER refuse BEFORE INSERT ON runs FOR EACH ROW EXECUTE FUNCTION refuse()"),
        ]
    } else {
        vec![sql!(
            "CREATE TRIGGER refuse BEFORE INSERT ON runs WHEN NEW.context LIKE '%poison%' \
             BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )]
    };
    let written = world.store.write(move |tx| {
        let rules = rules.clone();
        Box::pin(async move {
            for rule in rules {
                tx.exec(rule, p![]).await?;
            }
            Ok(())
        })
    });
    written.await.unwrap();
}
