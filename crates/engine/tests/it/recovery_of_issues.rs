//! Work that is left alone is set going again, a bounded number of times, and then a person is asked.

use std::time::Duration;

use domain::agent::PauseReason;
use domain::ids::IssueId;
use domain::issue::IssueStatus;
use domain::run::RunStatus;
use domain::telling::ErrorClass;
use domain::wake::{Actor, WakeStatus};
use serde_json::json;
use store::agents::Agent;
use store::issues::Issue;
use testkit::{World, both_stores};

use crate::board::{Board, in_run};
use crate::issue_settlement::{assigned, comments, counts, fail, items, say_result, under_way};

/// Lets the clock run on until the issue was looked at.
pub(crate) async fn later(board: &Board, seconds: u64) {
    board.world.clock.advance(Duration::from_secs(seconds));
    board.engine.nudge();
}

/// Lets time pass until an issue that is due was looked at.
async fn until_looked_at(board: &Board, issue: &IssueId, seconds: u64) {
    let due = board.row(issue).await.check_at;
    board.world.clock.advance(Duration::from_secs(seconds));
    let now = board.engine.now();
    board
        .world
        .eventually("a look at the issue", || async {
            board.engine.nudge();
            let row = board.row(issue).await;
            (row.check_at != due || due.is_none_or(|at| at > now)).then_some(())
        })
        .await;
}

async fn set_last_run_left(board: &Board, issue: &IssueId) {
    let id = issue.clone();
    let written = board.world.store.write(move |tx| {
        let id = id.clone();
        Box::pin(async move { store::issues::set_check_at(tx, &id, None).await })
    });
    written.await.unwrap();
}

/// One blocks the other; nobody is told.
async fn block(board: &Board, blocker: &Issue, blocked: &Issue) {
    let (company, one, other, now) =
        (board.company.clone(), blocker.id.clone(), blocked.id.clone(), board.engine.now());
    let written = board.world.store.write(move |tx| {
        let (company, one, other) = (company.clone(), one.clone(), other.clone());
        Box::pin(async move {
            store::relations::add(tx, &company, &one, &other, &Default::default(), now).await?;
            store::issues::set_waits_on_blockers(tx, &other, true).await
        })
    });
    written.await.unwrap();
}

/// So many paused agents.
async fn crowd(board: &Board, count: usize) {
    let one = board.agent("One of many").await;
    let others: Vec<Agent> = (0..count)
        .map(|number| Agent {
            id: board.engine.new_id().as_str().into(),
            name: format!("Other {number}"),
            url_key: format!("other-{number}"),
            status: domain::agent::AgentStatus::Paused,
            pause_reason: Some(PauseReason::Manual),
            ..one.clone()
        })
        .collect();
    let written = board.world.store.write(move |tx| {
        let others = others.clone();
        Box::pin(async move {
            for agent in &others {
                assert!(store::agents::insert(tx, agent).await?);
            }
            Ok(())
        })
    });
    written.await.unwrap();
}

/// Waits until a wake of an agent was recorded that started nothing.
async fn until_turned_away(board: &Board, agent: &Agent, reason: &str) {
    board
        .world
        .eventually("a wake that started nothing", || async {
            let wakes = board.world.wakes_of(&agent.id).await;
            wakes.iter().any(|wake| wake.reason.as_deref() == Some(reason)).then_some(())
        })
        .await;
}

/// Waits until an agent was started so many times more for what failed.
async fn until_tried(board: &Board, agent: &Agent, again: usize) {
    board
        .world
        .eventually("another try", || async {
            board.engine.nudge();
            (board.world.runs_of(&agent.id).await.len() > again).then_some(())
        })
        .await;
}

/// Waits until a wake of an agent waits behind somebody's run.
async fn until_deferred(board: &Board, agent: &Agent) {
    board
        .world
        .eventually("a deferred wake", || async {
            let wakes = board.world.wakes_of(&agent.id).await;
            wakes.iter().any(|wake| wake.status == WakeStatus::Deferred).then_some(())
        })
        .await;
}

async fn plays_failure(world: &World) {
    world.model.on_start(|model, process, _| fail(model, process));
}

async fn until_blocked(board: &Board, issue: &Issue) -> Issue {
    board
        .world
        .eventually("a blocked issue", || async {
            board.engine.nudge();
            let row = board.row(&issue.id).await;
            (row.status == IssueStatus::Blocked).then_some(row)
        })
        .await
}

both_stores! {
    async fn what_always_fails_is_tried_a_few_times_and_then_blocked_once(world) {
        let board = Board::new(&world).await;
        let boss = board.agent("Boss").await;
        let ada = board.agent_reporting("Ada", Some(&boss.id)).await;
        plays_failure(&world).await;
        let issue = board.issue("Fix the parser", IssueStatus::Todo, Some(&ada)).await;
        until_blocked(&board, &issue).await;
        // S12 e: a day passes.
        for _ in 0..96 {
            later(&board, 900).await;
            tokio::task::yield_now().await;
        }
        let runs = world.runs_of(&ada.id).await;
        let reasons: Vec<&str> = runs.iter().map(|run| run.context["wakeReason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["issue_assigned", "missing_issue_comment", "issue_continuation_needed", "issue_continuation_needed"]);
        assert!(runs.iter().all(|run| run.status == RunStatus::Failed));
        let said = comments(&board, &issue.id).await;
        assert_eq!(said.len(), 1);
        assert!(said[0].author_agent_id.is_none() && said[0].author_user_id.is_none());
        assert!(said[0].body.contains(runs[3].id.as_str()), "{}", said[0].body);
        let open = items(&board, issue.id.as_str()).await;
        assert_eq!(open.len(), 1);
        assert_eq!((open[0].kind.as_str(), open[0].cause.as_str(), &open[0].owner_agent_id), ("stranded_issue", "stranded", &Some(boss.id.clone())));
        let blocked = board.told(&issue.id).await.into_iter().filter(|entry| {
            entry.actor_type == "system" && entry.details.as_ref().is_some_and(|details| details["status"] == "blocked")
        });
        assert_eq!(blocked.count(), 1);
        let all = board.engine.issues(&board.company, Default::default(), Default::default(), 100).await.unwrap();
        assert_eq!(all.len(), 1, "recovery makes no work items");
        // The owner is told nothing he did not ask for.
        assert_eq!(world.runs_of(&boss.id).await.len(), 0);
    }

    async fn a_process_that_is_lost_again_and_again_is_replaced_twice_and_its_issue_blocked_once(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        world.model.on_start(|model, process, _| model.signal(process, 9));
        let issue = board.issue("Fix the parser", IssueStatus::Todo, Some(&ada)).await;
        until_blocked(&board, &issue).await;
        for _ in 0..24 {
            later(&board, 3600).await;
            tokio::task::yield_now().await;
        }
        let runs = world.runs_of(&ada.id).await;
        let reasons: Vec<&str> = runs.iter().map(|run| run.context["wakeReason"].as_str().unwrap()).collect();
        // Each chain replaces its lost process once, and an issue pays for two replacements in all.
        assert_eq!(
            reasons,
            ["issue_assigned", "process_lost_retry", "issue_continuation_needed", "process_lost_retry", "issue_continuation_needed"]
        );
        assert!(runs.iter().all(|run| run.error_code.as_deref() == Some("process_lost")));
        assert_eq!(comments(&board, &issue.id).await.len(), 1);
        let open = items(&board, issue.id.as_str()).await;
        assert_eq!(open.iter().map(|item| item.cause.as_str()).collect::<Vec<_>>(), ["stranded"]);
    }

    async fn a_success_that_leaves_the_work_open_is_carried_on_twice(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, _, _) = assigned(&board, &ada).await;
        for attempt in 0..3 {
            let (run, process) = under_way(&world, &ada.id).await;
            if attempt > 0 {
                assert_eq!(run.context["wakeReason"], "issue_continuation_needed");
            }
            say_result(&world.model, &process, Some("The parser is odd."), false);
            world.over(&run.id).await;
            until_looked_at(&board, &issue.id, 30).await;
        }
        let row = until_blocked(&board, &issue).await;
        assert_eq!(row.check_at, None);
        assert_eq!(world.runs_of(&ada.id).await.len(), 3);
        assert_eq!(items(&board, issue.id.as_str()).await[0].cause, "continuation");
    }

    async fn a_person_who_touches_the_issue_starts_the_count_anew(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        plays_failure(&world).await;
        let issue = board.issue("Fix the parser", IssueStatus::Todo, Some(&ada)).await;
        until_blocked(&board, &issue).await;
        assert!(!counts(&board, &issue.id).await.is_empty());
        world.model.idle_on_start();
        board.move_to(&issue.id, IssueStatus::Todo).await;
        assert_eq!(counts(&board, &issue.id).await, []);
        assert_eq!(items(&board, issue.id.as_str()).await, []);
        let (run, process) = under_way(&world, &ada.id).await;
        say_result(&world.model, &process, Some("Now it works."), false);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
    }

    async fn work_of_a_paused_agent_rests_and_goes_on_uncounted_when_it_is_resumed(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, _) = assigned(&board, &ada).await;
        board.engine.pause_agent(&ada.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        until_looked_at(&board, &issue.id, 60).await;
        assert_eq!(world.runs_of(&ada.id).await.len(), 1);
        board.engine.resume_agent(&ada.id, &Actor::local_board()).await.unwrap();
        let (next, _) = under_way(&world, &ada.id).await;
        assert_eq!(next.context["wakeReason"], "issue_continuation_needed");
        assert_eq!(counts(&board, &issue.id).await, []);
    }

    async fn an_account_that_is_refused_is_not_tried_again_by_the_program(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        board.say(&issue.id, "Begun.", &in_run(&ada, &run.id)).await.unwrap();
        world.model.say_failed(&process, ErrorClass::Auth, None);
        world.model.exit(&process, 1);
        world.over(&run.id).await;
        for _ in 0..5 {
            until_looked_at(&board, &issue.id, 3600).await;
        }
        assert_eq!(world.runs_of(&ada.id).await.len(), 1);
        // Somebody logged in and woke the agent for something else.
        let (other, process) = world.start(&board.engine, &ada.id, "else").await;
        say_result(&world.model, &process, Some("It works again."), false);
        world.over(&other.id).await;
        until_looked_at(&board, &issue.id, 3600).await;
        let (next, _) = under_way(&world, &ada.id).await;
        assert_eq!(next.issue_id.as_deref(), Some(issue.id.as_str()));
        assert_eq!(counts(&board, &issue.id).await, []);
    }

    async fn a_refused_permission_blocks_at_once(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        board.say(&issue.id, "Begun.", &in_run(&ada, &run.id)).await.unwrap();
        world.model.say_failed(&process, ErrorClass::Permission, None);
        world.model.exit(&process, 1);
        world.over(&run.id).await;
        assert_eq!(board.row(&issue.id).await.status, IssueStatus::Blocked);
        assert_eq!(items(&board, issue.id.as_str()).await.len(), 1);
    }

    async fn who_waits_for_a_blocked_issue_hears_of_it(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let waits = board.quiet("waits", IssueStatus::Todo, Some(&bob)).await;
        let blocker = board.quiet("blocks", IssueStatus::Todo, Some(&ada)).await;
        block(&board, &blocker, &waits).await;
        plays_failure(&world).await;
        let (run, _) = {
            let mut request = World::request("");
            request.payload.insert("issueId".to_owned(), json!(blocker.id));
            request.context.insert("issueId".to_owned(), json!(blocker.id));
            (World::ran(board.engine.wake(&ada.id, request).await), ())
        };
        world.over(&run.id).await;
        until_blocked(&board, &blocker).await;
        let told = world.eventually("a wake of Bob", || async { world.runs_of(&bob.id).await.into_iter().next() }).await;
        assert_eq!(told.context["wakeReason"], "issue_blocker_cancelled");
        assert_eq!(told.context["blockerStatus"], "blocked");
    }

    async fn the_walk_after_a_start_finds_what_nobody_planned_a_look_for(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        say_result(&world.model, &process, Some("The parser is odd."), false);
        world.over(&run.id).await;
        board.engine.leave().await;
        set_last_run_left(&board, &issue.id).await;
        let second = world.engine().await;
        let (next, _) = under_way(&world, &ada.id).await;
        assert_eq!(next.context["wakeReason"], "issue_continuation_needed");
        second.leave().await;
    }

    async fn two_servers_set_stranded_work_going_once(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        let other = world.engine_with(engine::Settings { node_id: "node-2".to_owned(), ..world.settings() }).await;
        say_result(&world.model, &process, Some("The parser is odd."), false);
        world.over(&run.id).await;
        world.clock.advance(Duration::from_secs(60));
        for _ in 0..20 {
            board.engine.nudge();
            other.nudge();
            tokio::task::yield_now().await;
        }
        let (next, _) = under_way(&world, &ada.id).await;
        assert_eq!(world.runs_of(&ada.id).await.len(), 2);
        let found = counts(&board, &issue.id).await;
        assert_eq!(found.iter().map(|count| (count.cause.as_str(), count.attempts)).collect::<Vec<_>>(), [("continuation", 1)]);
        assert_eq!(next.issue_id.as_deref(), Some(issue.id.as_str()));
        other.leave().await;
    }

    async fn an_issue_that_is_blocked_in_words_only_is_shown_to_people_until_it_moves(world) {
        let board = Board::new(&world).await;
        let boss = board.agent("Boss").await;
        let ada = board.agent_reporting("Ada", Some(&boss.id)).await;
        let (issue, run, process) = assigned(&board, &ada).await;
        let patch = engine::issues::IssuePatch {
            status: Some(IssueStatus::Blocked),
            comment: Some("I need the key of the gate.\nNobody answers.".to_owned()),
            ..Default::default()
        };
        board.patch(&issue.id, patch, &in_run(&ada, &run.id)).await.unwrap();
        assert_eq!(items(&board, issue.id.as_str()).await, [], "its run goes on");
        say_result(&world.model, &process, Some("I wrote why."), false);
        world.over(&run.id).await;
        // It is there with the end of the run, and says what the agent said.
        let [item] = &items(&board, issue.id.as_str()).await[..] else { panic!("one item is open") };
        assert_eq!((item.kind.as_str(), item.details["state"].as_str()), ("stuck_chain", Some("blocked_without_blockers")));
        assert_eq!(item.title, format!("{} is blocked: I need the key of the gate.", issue.identifier));
        assert_eq!(item.owner_agent_id.as_ref(), Some(&boss.id));
        // The sweep finds the same and tells it once; it finds those, too, that no run has blocked.
        let silent = board.quiet("silent", IssueStatus::Backlog, None).await;
        board.move_to(&silent.id, IssueStatus::Blocked).await;
        let other = world.eventually("an item", || async {
            later(&board, 60).await;
            items(&board, silent.id.as_str()).await.pop()
        }).await;
        assert_eq!(other.title, format!("{} is blocked, no reason given", silent.identifier));
        assert_eq!(items(&board, issue.id.as_str()).await, std::slice::from_ref(item));
        // An agent that sets it going again needs no person.
        let go = engine::issues::IssuePatch { status: Some(IssueStatus::Todo), ..Default::default() };
        board.patch(&issue.id, go, &engine::Author::agent(&boss.id, None)).await.unwrap();
        assert_eq!(items(&board, issue.id.as_str()).await, []);
    }

    async fn a_review_that_nobody_was_asked_for_is_shown_to_people(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        let patch = engine::issues::IssuePatch { status: Some(IssueStatus::InReview), ..Default::default() };
        board.patch(&issue.id, patch, &in_run(&ada, &run.id)).await.unwrap();
        say_result(&world.model, &process, Some("Have a look."), false);
        world.over(&run.id).await;
        let open = items(&board, issue.id.as_str()).await;
        assert_eq!(open[0].details["state"], "in_review_without_action_path");
        // Nobody's review is nobody's, too.
        let orphan = board.quiet("orphan", IssueStatus::Backlog, None).await;
        board.move_to(&orphan.id, IssueStatus::InReview).await;
        world.eventually("an item", || async {
            board.engine.nudge();
            items(&board, orphan.id.as_str()).await.pop()
        }).await;
    }

    async fn work_that_was_turned_away_begins_when_what_kept_it_back_is_over(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        // The agent is paused when the issue is given to it.
        board.engine.pause_agent(&ada.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        let issue = board.issue("for later", IssueStatus::Todo, Some(&ada)).await;
        until_turned_away(&board, &ada, "agent.not_invokable").await;
        until_looked_at(&board, &issue.id, 30).await;
        assert_eq!(items(&board, ada.id.as_str()).await, [], "a pause that began a moment ago");
        until_looked_at(&board, &issue.id, 7200).await;
        let [item] = &items(&board, ada.id.as_str()).await[..] else { panic!("one item is open") };
        assert_eq!((item.kind.as_str(), item.title.as_str()), ("paused_agent", format!("Ada is paused, and {} waits for it", issue.identifier).as_str()));
        assert_eq!(world.runs_of(&ada.id).await.len(), 0);
        board.engine.resume_agent(&ada.id, &Actor::local_board()).await.unwrap();
        let (run, _) = under_way(&world, &ada.id).await;
        assert_eq!((run.issue_id.as_deref(), run.context["wakeReason"].as_str()), (Some(issue.id.as_str()), Some("issue_assignment_recovery")));
        assert_eq!(counts(&board, &issue.id).await, []);
        assert_eq!(items(&board, ada.id.as_str()).await, []);
        // A hold covers the tree when the issue is given away.
        let top = board.quiet("top", IssueStatus::Backlog, None).await;
        let pause = engine::TreeOperation { mode: domain::tree::Mode::Pause, reason: None, release_policy: None, metadata: None };
        let (held, _) = board.engine.operate_tree(&top.id, pause, &Board::person()).await.unwrap();
        let below = engine::issues::IssueDraft { parent_id: Some(top.id.clone()), ..board.draft("below", Some(&bob)) };
        let below = board.issue_like(below).await;
        until_turned_away(&board, &bob, "issue_tree_hold_active").await;
        until_looked_at(&board, &below.id, 30).await;
        assert_eq!(world.runs_of(&bob.id).await.len(), 0);
        board.engine.release_tree_hold(&top.id, &held.hold.id, None, None, &Board::person()).await.unwrap();
        let (run, _) = under_way(&world, &bob.id).await;
        assert_eq!(run.issue_id.as_deref(), Some(below.id.as_str()));
    }

    async fn work_that_is_asked_for_again_while_it_is_held_back_begins_afterwards(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        board.move_to(&issue.id, IssueStatus::Done).await;
        say_result(&world.model, &process, Some("It is done."), false);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        board.engine.pause_agent(&ada.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        // Somebody is not content.
        board.move_to(&issue.id, IssueStatus::Todo).await;
        until_turned_away(&board, &ada, "agent.not_invokable").await;
        until_looked_at(&board, &issue.id, 30).await;
        assert_eq!(world.runs_of(&ada.id).await.len(), 1);
        board.engine.resume_agent(&ada.id, &Actor::local_board()).await.unwrap();
        let (next, process) = under_way(&world, &ada.id).await;
        assert_eq!(next.context["wakeReason"], "issue_assignment_recovery");
        assert_eq!(counts(&board, &issue.id).await, []);
        // What was asked for is done now; nothing begins a third time.
        board.move_to(&issue.id, IssueStatus::Done).await;
        say_result(&world.model, &process, Some("Now it is."), false);
        world.over(&next.id).await;
        for _ in 0..3 {
            later(&board, 3600).await;
        }
        assert_eq!(world.runs_of(&ada.id).await.len(), 2);
    }

    async fn work_of_a_terminated_agent_is_blocked_though_it_never_began(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("never begun", IssueStatus::Todo, Some(&ada)).await;
        let late = board.quiet("late", IssueStatus::Backlog, Some(&ada)).await;
        board.engine.terminate_agent(&ada.id, &Actor::local_board()).await.unwrap();
        until_blocked(&board, &issue).await;
        assert_eq!(items(&board, issue.id.as_str()).await[0].kind, "stranded_issue");
        // One that nobody planned a look for is found by the walk after a start.
        board.engine.leave().await;
        board.set_status(&late.id, IssueStatus::Todo).await;
        let second = world.engine().await;
        world.eventually("a blocked issue", || async {
            second.nudge();
            (board.row(&late.id).await.status == IssueStatus::Blocked).then_some(())
        }).await;
        second.leave().await;
    }

    async fn a_chain_is_judged_by_its_own_agents_however_many_there_are(world) {
        let board = Board::new(&world).await;
        crowd(&board, 1_050).await;
        // They are the last of the list.
        let boss = board.agent("Boss").await;
        let ada = board.agent_reporting("Ada", Some(&boss.id)).await;
        let waits = board.quiet("waits", IssueStatus::Backlog, Some(&ada)).await;
        let fine = board.quiet("hers", IssueStatus::Todo, Some(&ada)).await;
        block(&board, &fine, &waits).await;
        board.move_to(&waits.id, IssueStatus::Blocked).await;
        let stuck = board.quiet("stuck", IssueStatus::Backlog, Some(&ada)).await;
        let nobodys = board.quiet("nobody's", IssueStatus::Todo, None).await;
        block(&board, &nobodys, &stuck).await;
        board.move_to(&stuck.id, IssueStatus::Blocked).await;
        world.eventually("an item", || async {
            board.engine.nudge();
            items(&board, stuck.id.as_str()).await.pop()
        }).await;
        assert_eq!(items(&board, waits.id.as_str()).await, [], "its agent can work");
        // Who could help is somebody above, not somebody else.
        plays_failure(&world).await;
        let issue = board.issue("Fix the parser", IssueStatus::Todo, Some(&ada)).await;
        until_blocked(&board, &issue).await;
        let open = items(&board, issue.id.as_str()).await;
        assert_eq!(open[0].owner_agent_id, Some(boss.id));
    }

    async fn a_chain_that_nobody_works_on_is_shown_once_and_taken_back_when_it_moves(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let waits = board.quiet("waits", IssueStatus::Backlog, Some(&ada)).await;
        let leaf = board.quiet("nobody's", IssueStatus::Todo, None).await;
        block(&board, &leaf, &waits).await;
        board.move_to(&waits.id, IssueStatus::Blocked).await;
        let open = world.eventually("an item", || async {
            board.engine.nudge();
            items(&board, waits.id.as_str()).await.pop()
        }).await;
        assert_eq!((open.kind.as_str(), open.details["state"].as_str()), ("stuck_chain", Some("blocked_by_unassigned_issue")));
        assert_eq!(open.details["leafIssueId"].as_str(), Some(leaf.id.as_str()));
        assert_eq!(world.runs_of(&ada.id).await.len(), 0, "nobody is woken unless the instance asks for it");
        later(&board, 60).await;
        let bob: Agent = board.agent("Bob").await;
        let patch = engine::issues::IssuePatch { assignee_agent: Some(Some(bob.id.0.clone())), ..Default::default() };
        board.patch(&leaf.id, patch, &Board::person()).await.unwrap();
        world.eventually("a resolved item", || async {
            board.engine.nudge();
            items(&board, waits.id.as_str()).await.is_empty().then_some(())
        }).await;
    }

    async fn what_waits_for_a_paused_helper_does_not_keep_failed_work_from_being_tried_again(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let (issue, run, process) = assigned(&board, &ada).await;
        board.say(&issue.id, "@Bob have a look", &in_run(&ada, &run.id)).await.unwrap();
        until_deferred(&board, &bob).await;
        board.engine.pause_agent(&bob.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        fail(&world.model, &process);
        world.over(&run.id).await;
        let again = world.eventually("another try", || async {
            board.engine.nudge();
            world.runs_of(&ada.id).await.into_iter().find(|next| next.id != run.id)
        }).await;
        assert_eq!(again.issue_id.as_deref(), Some(issue.id.as_str()));
        assert_eq!(world.wakes_of(&bob.id).await[0].status, WakeStatus::Deferred, "it still waits for Bob");
    }

    async fn who_helps_does_not_count_for_the_assignee(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let (issue, run, process) = assigned(&board, &ada).await;
        board.say(&issue.id, "Begun.", &in_run(&ada, &run.id)).await.unwrap();
        fail(&world.model, &process);
        world.over(&run.id).await;
        until_tried(&board, &ada, 1).await;
        let (again, process) = under_way(&world, &ada.id).await;
        board.say(&issue.id, "@Bob have a look", &in_run(&ada, &again.id)).await.unwrap();
        until_deferred(&board, &bob).await;
        fail(&world.model, &process);
        world.over(&again.id).await;
        let (helps, process) = under_way(&world, &bob.id).await;
        let counted = counts(&board, &issue.id).await;
        assert!(!counted.is_empty());
        say_result(&world.model, &process, Some("It is the lexer."), false);
        assert_eq!(world.over(&helps.id).await.status, RunStatus::Succeeded);
        assert_eq!(counts(&board, &issue.id).await, counted);
    }

    async fn a_blocker_that_belongs_to_nobody_goes_back_to_the_agent_that_made_it(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let waits = board.quiet("waits", IssueStatus::Todo, Some(&bob)).await;
        let (work, _) = board.running(&ada, &board.quiet("plan", IssueStatus::Todo, Some(&ada)).await).await;
        let made = engine::issues::IssueDraft { status: IssueStatus::Todo, ..board.draft("a part of it", None) };
        let made = board.engine.create_issue(&board.company, made, &in_run(&ada, &work.id)).await.unwrap();
        block(&board, &made, &waits).await;
        for _ in 0..3 {
            board.engine.nudge();
            tokio::task::yield_now().await;
        }
        assert_eq!(board.row(&made.id).await.assignee_agent_id, None, "it was made a moment ago");
        world.clock.advance(Duration::from_secs(60));
        world.eventually("the blocker has an owner", || async {
            board.engine.nudge();
            (board.row(&made.id).await.assignee_agent_id.as_ref() == Some(&ada.id)).then_some(())
        }).await;
        let said = comments(&board, &made.id).await;
        assert!(said[0].body.contains(&waits.identifier), "{}", said[0].body);
        world.eventually("it is worked on", || async {
            let runs = world.runs_of(&ada.id).await;
            runs.into_iter().find(|run| run.issue_id.as_deref() == Some(made.id.as_str()))
        }).await;
    }

    async fn a_cancelled_run_of_somebody_who_was_mentioned_does_not_stop_the_work_of_the_assignee(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let issue = board.quiet("Fix it", IssueStatus::Todo, Some(&ada)).await;
        let (work, process) = board.running(&ada, &issue).await;
        board.say(&issue.id, "@Bob have a look", &in_run(&ada, &work.id)).await.unwrap();
        board.finish((&work, &process)).await;
        let asked = world
            .eventually("a run of the mentioned", || async {
                world.runs_of(&bob.id).await.into_iter().find(|run| run.status == RunStatus::Running)
            })
            .await;
        board.engine.cancel_run(&asked.id, Some("not now".to_owned()), &Actor::local_board()).await.unwrap();
        world.over(&asked.id).await;
        until_looked_at(&board, &issue.id, 3600).await;
        world
            .eventually("the work goes on", || async {
                board.engine.nudge();
                world.runs_of(&ada.id).await.into_iter().find(|run| run.id != work.id)
            })
            .await;
    }
}
