//! Claims of runs that work on issues: their order, what holds and what ends them, and the lock they take.

use std::collections::HashMap;

use domain::access::credential::CredentialKind;
use domain::hold::HeldReason;
use domain::ids::{IssueId, RunId};
use domain::issue::{IssueStatus, Priority};
use domain::run::RunStatus;
use domain::telling::ErrorClass;
use domain::wake::{Actor, WakeStatus};
use engine::issues::IssueDraft;
use engine::{AgentDraft, Engine, ProcessId};
use serde_json::json;
use store::agents::Agent;
use store::issues::Issue;
use store::runs::Run;
use testkit::{World, both_stores};

use crate::board::Board;
use crate::issue_wakes::{about, assign, block, note, pause_tree};

/// An agent with one slot, and a run that takes it.
async fn busy(board: &Board) -> (Agent, Run, ProcessId) {
    let draft = AgentDraft { name: "Ada".to_owned(), ..World::scripted(1) };
    let ada = board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap();
    let (run, process) = board.world.start(&board.engine, &ada.id, "before").await;
    (ada, run, process)
}

async fn queue(board: &Board, agent: &Agent, issue: &Issue) -> Run {
    World::ran(board.engine.wake(&agent.id, about(&issue.id, "issue_assigned")).await)
}

async fn held(engine: &Engine, run: &Run) -> Option<HeldReason> {
    engine.held_reasons(std::slice::from_ref(run)).await.unwrap().pop().flatten()
}

async fn remove(board: &Board, issue: &IssueId) {
    let id = issue.clone();
    let removed = board.world.store.write(move |tx| {
        let id = id.clone();
        Box::pin(async move { store::issues::remove(tx, &id).await })
    });
    assert!(removed.await.unwrap());
}

both_stores! {
    async fn work_in_progress_is_claimed_first_then_by_priority_and_blocked_work_last(world) {
        let board = Board::new(&world).await;
        let (ada, before, process) = busy(&board).await;
        let like = |title: &str, priority| IssueDraft {
            status: IssueStatus::Backlog, priority, ..board.draft(title, Some(&ada))
        };
        let mut runs = HashMap::new();
        let other = board.quiet("blocker", IssueStatus::Todo, None).await;
        for (title, priority, status) in [
            ("blocked", Priority::Critical, IssueStatus::Todo),
            ("low", Priority::Low, IssueStatus::Todo),
            ("critical", Priority::Critical, IssueStatus::Todo),
            ("begun", Priority::Low, IssueStatus::InProgress),
        ] {
            let issue = board.issue_like(like(title, priority)).await;
            board.set_status(&issue.id, status).await;
            let run = queue(&board, &ada, &issue).await;
            runs.insert(run.id.clone(), title);
            if title == "blocked" {
                block(&board, &other, &issue).await;
                // A comment passes the blocker, at the end of the queue.
                let comment = note(&board, &issue.id, &Board::person()).await;
                let mut wake = about(&issue.id, "issue_commented");
                wake.payload.insert("commentId".to_owned(), json!(comment.id));
                assert_eq!(World::ran(board.engine.wake(&ada.id, wake).await).id, run.id);
            }
        }
        let without = world.wake(&board.engine, &ada.id, "no task").await;
        runs.insert(without.id, "no issue");
        board.finish((&before, &process)).await;
        let mut order = Vec::new();
        while order.len() < runs.len() {
            let alive = world.model.until("one alive", |model| model.alive().pop()).await;
            order.push(runs[&alive.run]);
            let run = world.run(&alive.run).await;
            board.finish((&run, &alive)).await;
        }
        assert_eq!(order, ["begun", "critical", "low", "no issue", "blocked"]);
    }

    async fn a_blocker_that_opens_holds_a_queued_run_until_it_is_done(world) {
        let board = Board::new(&world).await;
        let (ada, before, process) = busy(&board).await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let run = queue(&board, &ada, &issue).await;
        let blocker = board.quiet("first", IssueStatus::Todo, None).await;
        block(&board, &blocker, &issue).await;
        assert_eq!(held(&board.engine, &run).await, Some(HeldReason::Dependency), "true at once");
        let explained = board.engine.explain(&run.id).await.unwrap();
        let words = explained.waits_for.unwrap();
        assert!(words.contains(&format!("{} (todo)", blocker.identifier)), "{words}");
        board.finish((&before, &process)).await;
        // The slot is free, and somebody else takes it.
        let (other, alive) = world.start(&board.engine, &ada.id, "beside").await;
        assert_eq!(world.run(&run.id).await.status, RunStatus::Queued);
        board.finish((&other, &alive)).await;
        board.move_to(&blocker.id, IssueStatus::Done).await;
        world.model.until_alive(&World::first(&run.id)).await;
    }

    async fn a_hold_that_is_put_on_holds_a_queued_run_until_it_is_lifted(world) {
        let board = Board::new(&world).await;
        let (ada, before, process) = busy(&board).await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let run = queue(&board, &ada, &issue).await;
        let hold = pause_tree(&board, &issue.id).await;
        assert_eq!(held(&board.engine, &run).await, Some(HeldReason::Hold));
        let words = board.engine.explain(&run.id).await.unwrap().waits_for.unwrap();
        assert!(words.contains(hold.as_str()) && words.contains("audit"), "{words}");
        board.finish((&before, &process)).await;
        let (other, alive) = world.start(&board.engine, &ada.id, "beside").await;
        board.finish((&other, &alive)).await;
        assert_eq!(world.run(&run.id).await.status, RunStatus::Queued);
        board.engine.release_tree_hold(&issue.id, &hold, None, None, &Board::person()).await.unwrap();
        world.model.until_alive(&World::first(&run.id)).await;
    }

    async fn a_run_that_its_issue_left_behind_ends_and_says_why(world) {
        let board = Board::new(&world).await;
        let (ada, before, process) = busy(&board).await;
        let bob = board.agent("Bob").await;
        let mut expected = Vec::new();
        for code in ["issue_assignee_changed", "issue_terminal_status", "issue_review_participant_changed", "issue_not_found"] {
            let issue = board.quiet(code, IssueStatus::Todo, Some(&ada)).await;
            let run = queue(&board, &ada, &issue).await;
            match code {
                "issue_assignee_changed" => assign(&board, &issue.id, Some(&bob)).await,
                "issue_terminal_status" => board.set_status(&issue.id, IssueStatus::Done).await,
                "issue_not_found" => remove(&board, &issue.id).await,
                _ => {
                    let id = issue.id.clone();
                    let participant = json!({ "type": "user", "userId": "u", "agentId": null });
                    let state = json!({ "status": "pending", "currentStageId": "s", "currentStageIndex": 0,
                        "currentStageType": "review", "currentParticipant": participant, "returnAssignee": null,
                        "completedStageIds": [] });
                    let written = world.store.write(move |tx| {
                        let (id, state) = (id.clone(), state.clone());
                        Box::pin(async move {
                            let mut issue = store::issues::lock(tx, &id).await?.expect("an issue");
                            (issue.status, issue.execution_state) = (IssueStatus::InReview, Some(state));
                            store::issues::update(tx, &issue).await
                        })
                    });
                    written.await.unwrap();
                }
            }
            expected.push((run, code));
        }
        let still = board.quiet("still", IssueStatus::Todo, Some(&ada)).await;
        let still = queue(&board, &ada, &still).await;
        board.finish((&before, &process)).await;
        world.model.until_alive(&World::first(&still.id)).await;
        for (run, code) in expected {
            let ended = world.over(&run.id).await;
            assert_eq!((ended.status, ended.error_code.as_deref()), (RunStatus::Cancelled, Some(code)));
            assert_eq!(ended.result.unwrap()["timeoutSource"], json!("stale_queued_run_gate"));
            assert_eq!(world.wake_row(&run.wake_id).await.status, WakeStatus::Skipped, "{code}");
            let event = world.events(&run.id).await.pop().unwrap();
            assert_eq!(event.payload.unwrap()["issueId"], json!(run.issue_id), "{code}");
            assert!(world.model.started(&run.id).is_empty(), "{code}");
        }
    }

    async fn the_assignees_run_takes_the_lock_when_it_starts_and_begins_the_issue(world) {
        let board = Board::new(&world).await;
        let (ada, before, process) = busy(&board).await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let run = queue(&board, &ada, &issue).await;
        let row = board.row(&issue.id).await;
        assert_eq!((row.lock_run_id, row.status), (None, IssueStatus::Todo), "a queued run holds nothing");
        assert_eq!(row.execution_run_id, Some(run.id.clone()), "and is shown");
        board.finish((&before, &process)).await;
        let alive = World::first(&run.id);
        world.model.until_alive(&alive).await;
        let row = board.row(&issue.id).await;
        assert_eq!((row.lock_run_id, row.lock_epoch, row.lock_agent_id), (Some(run.id.clone()), Some(1), Some(ada.id.clone())));
        assert_eq!((row.status, row.checkout_run_id), (IssueStatus::InProgress, Some(run.id.clone())));
        assert_eq!(board.actions(&issue.id).await.last().map(String::as_str), Some("issue.checked_out"));
        board.finish((&run, &alive)).await;
        let row = board.row(&issue.id).await;
        assert_eq!((row.lock_run_id, row.execution_run_id), (None, None));
    }

    async fn the_lock_goes_with_the_run_into_its_second_process(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        world.model.say_session(&process, "s");
        board.finish((&run, &process)).await;
        let (run, process) = board.running(&ada, &issue).await;
        let first = token_of(&world, &run.id).await;
        world.model.say_failed(&process, ErrorClass::SessionGone, None);
        world.model.exit(&process, 1);
        let second = ProcessId { run: run.id.clone(), epoch: 2 };
        world.model.until_alive(&second).await;
        let row = board.row(&issue.id).await;
        assert_eq!((row.lock_run_id, row.lock_epoch), (Some(run.id.clone()), Some(2)));
        assert_ne!(token_of(&world, &run.id).await, first);
    }

    async fn runs_of_one_agent_on_one_issue_come_one_after_another(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        let mut beside = about(&issue.id, "issue_status_changed");
        beside.context.insert("taskKey".to_owned(), json!("another"));
        let second = World::ran(board.engine.wake(&ada.id, beside).await);
        assert_eq!(held(&board.engine, &second).await, Some(HeldReason::Running));
        let words = board.engine.explain(&second.id).await.unwrap().waits_for.unwrap();
        assert!(words.contains(run.id.as_str()), "{words}");
        board.finish((&run, &process)).await;
        world.model.until_alive(&World::first(&second.id)).await;
    }

    async fn many_held_runs_stand_in_nobodys_way(world) {
        let board = Board::new(&world).await;
        let (ada, before, process) = busy(&board).await;
        let blocker = board.quiet("blocker", IssueStatus::Todo, None).await;
        for number in 0..80 {
            let issue = board.quiet(&format!("held {number}"), IssueStatus::InProgress, Some(&ada)).await;
            queue(&board, &ada, &issue).await;
            block(&board, &blocker, &issue).await;
        }
        for number in 0..10 {
            let issue = board.quiet(&format!("gone {number}"), IssueStatus::Todo, Some(&ada)).await;
            queue(&board, &ada, &issue).await;
            board.set_status(&issue.id, IssueStatus::Cancelled).await;
        }
        let last = world.wake(&board.engine, &ada.id, "free").await;
        board.finish((&before, &process)).await;
        world.model.until_alive(&World::first(&last.id)).await;
        let ended = world.runs_of(&ada.id).await;
        let ended = ended.iter().filter(|run| run.error_code.as_deref() == Some("issue_terminal_status")).count();
        assert_eq!(ended, 10, "what will never start has ended on the way");
    }

    async fn a_process_gets_a_token_that_is_good_while_it_runs(world) {
        let board = Board::new(&world).await;
        let seen = std::sync::Arc::new(std::sync::Mutex::new(HashMap::new()));
        let by_run = std::sync::Arc::clone(&seen);
        world.model.on_start(move |_, id, command| {
            by_run.lock().unwrap().insert(id.run.clone(), command.clone());
        });
        let ada = board.agent("Ada").await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        let command = world
            .eventually("its environment", || async { seen.lock().unwrap().get(&run.id).cloned() })
            .await;
        let env: HashMap<&str, &str> =
            command.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let token = env["PAPERCLIP_API_KEY"];
        assert_eq!(CredentialKind::of(token), Some(CredentialKind::RunToken));
        assert_eq!((env["BUGLE_API_KEY"], env["PAPERCLIP_TASK_ID"]), (token, issue.id.as_str()));
        assert_eq!((env["PAPERCLIP_RUN_ID"], env["PAPERCLIP_AGENT_ID"]), (run.id.as_str(), ada.id.as_str()));
        assert!(command.secrets.iter().any(|secret| secret == token), "it must not reach a log");
        let hash = engine::key_hash(token);
        let holder = || {
            let hash = hash.clone();
            world.read(move |tx| {
                let hash = hash.clone();
                Box::pin(async move { store::runs_of_issues::token_holder(tx, &hash).await })
            })
        };
        let found = holder().await.unwrap();
        assert_eq!((found.run_id, found.agent_id, found.is_live), (run.id.clone(), ada.id.clone(), true));
        board.finish((&run, &process)).await;
        assert!(!holder().await.is_some_and(|found| found.is_live), "a token dies with its run");
    }
}

/// The hash of the token that a run has now.
async fn token_of(world: &World, run: &RunId) -> String {
    let id = run.clone();
    let read = world.read(move |tx| {
        let id = id.clone();
        Box::pin(async move {
            let row =
                tx.one(store::sql!("SELECT token_hash FROM runs WHERE id = $1"), store::p![&id]).await?;
            row.expect("a run").get::<String>(0)
        })
    });
    read.await
}
