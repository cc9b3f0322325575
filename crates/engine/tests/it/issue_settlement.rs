//! The end of a run on an issue: everything that follows is there with it.

use std::time::Duration;

use domain::ids::{AgentId, IssueId};
use domain::issue::IssueStatus;
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::telling::{AgentEvent, ErrorClass};
use domain::wake::WakeStatus;
use engine::{AgentDraft, ProcessId};
use store::agents::Agent;
use store::comments::{Comment, Order};
use store::documents::Document;
use store::inbox::InboxItem;
use store::issues::Issue;
use store::recoveries::Recovery;
use store::runs::Run;
use testkit::{Model, World, both_stores};

use crate::board::{Board, in_run};

/// The next run of an agent that is under way, with its process.
pub(crate) async fn under_way(world: &World, agent: &AgentId) -> (Run, ProcessId) {
    let look =
        || async { world.runs_of(agent).await.into_iter().find(|run| run.status == RunStatus::Running) };
    let run = match tokio::time::timeout(Duration::from_secs(20), world.eventually("a running run", look))
        .await
    {
        Ok(run) => run,
        Err(_) => {
            let wakes = world.wakes_of(agent).await;
            let wakes: Vec<_> =
                wakes.iter().map(|wake| (wake.status, wake.reason.clone(), &wake.error)).collect();
            let runs = world.runs_of(agent).await;
            let runs: Vec<_> = runs.iter().map(|run| (run.status, &run.error_code, &run.context)).collect();
            let all = i64::MAX;
            let orders =
                world.read(move |tx| Box::pin(store::orders::due(tx, Moment::from_micros(all), 100))).await;
            panic!("no run is under way: {wakes:?}, {runs:?}, {orders:?}");
        }
    };
    let process = ProcessId { run: run.id.clone(), epoch: run.lease_epoch };
    world.model.until_alive(&process).await;
    (run, process)
}

/// An issue that was assigned a moment ago, with the run that came of it.
pub(crate) async fn assigned(board: &Board, agent: &Agent) -> (Issue, Run, ProcessId) {
    let issue = board.issue("Fix the parser", IssueStatus::Todo, Some(agent)).await;
    let (run, process) = under_way(&board.world, &agent.id).await;
    (issue, run, process)
}

/// Ends with these last words.
pub(crate) fn say_result(model: &Model, process: &ProcessId, summary: Option<&str>, plan_only: bool) {
    let summary = summary.map(str::to_owned);
    if summary.is_some() {
        model.say(process, &AgentEvent::Message { text: "working".to_owned() });
    }
    model.say(process, &AgentEvent::Result { error: None, summary, plan_only, json: None });
    model.exit(process, 0);
}

/// Fails the way nothing helps against.
pub(crate) fn fail(model: &Model, process: &ProcessId) {
    model.say_failed(process, ErrorClass::Other, None);
    model.exit(process, 1);
}

pub(crate) async fn comments(board: &Board, issue: &IssueId) -> Vec<Comment> {
    let id = issue.clone();
    let read = board.world.read(move |tx| {
        let id = id.clone();
        Box::pin(async move { store::comments::list(tx, &id, Order::OldestFirst, None, 1000).await })
    });
    read.await
}

pub(crate) async fn items(board: &Board, entity: &str) -> Vec<InboxItem> {
    let id = entity.to_owned();
    let read = board.world.read(move |tx| {
        let id = id.clone();
        Box::pin(async move { store::inbox::open_of(tx, &id, 100).await })
    });
    read.await
}

pub(crate) async fn counts(board: &Board, issue: &IssueId) -> Vec<Recovery> {
    let id = issue.clone();
    let read = board.world.read(move |tx| {
        let id = id.clone();
        Box::pin(async move { store::recoveries::of_issue(tx, &id, 100).await })
    });
    read.await
}

async fn summary(board: &Board, issue: &IssueId) -> Document {
    let id = issue.clone();
    let read = board.world.read(move |tx| {
        let id = id.clone();
        Box::pin(async move { store::documents::get(tx, &id, domain::summary::KEY).await })
    });
    read.await.expect("a continuation summary")
}

/// Calls an agent to an issue that somebody else works on, by a comment that calls nobody else.
async fn defer(board: &Board, agent: &Agent, issue: &Issue) {
    let now = board.engine.now();
    let comment = Comment {
        id: board.engine.new_id().as_str().into(),
        company_id: board.company.clone(),
        issue_id: issue.id.clone(),
        author_agent_id: None,
        author_user_id: Some("local-board".to_owned()),
        created_by_run_id: None,
        body: "have a look".to_owned(),
        created_at: now,
        updated_at: now,
    };
    let row = comment.clone();
    let written = board.world.store.write(move |tx| {
        let row = row.clone();
        Box::pin(async move { store::comments::insert(tx, &row).await })
    });
    written.await.unwrap();
    let mut request = World::request("");
    request.reason = Some("issue_comment_mentioned".to_owned());
    request.payload.insert("issueId".to_owned(), serde_json::json!(issue.id));
    request.payload.insert("commentId".to_owned(), serde_json::json!(comment.id));
    board.engine.wake(&agent.id, request).await.unwrap();
    let wake = board.world.wakes_of(&agent.id).await.pop().expect("a wake");
    assert_eq!(wake.status, WakeStatus::Deferred);
}

fn reason(run: &Run) -> &str {
    run.context["wakeReason"].as_str().unwrap_or_default()
}

both_stores! {
    async fn a_silent_success_has_its_last_words_posted_and_lets_its_issue_go(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        let locked = board.row(&issue.id).await;
        assert_eq!((locked.status, locked.lock_run_id), (IssueStatus::InProgress, Some(run.id.clone())));
        say_result(&world.model, &process, Some("The parser keeps its commas now."), false);
        let run = world.over(&run.id).await;
        // All of it is there at once: nothing is waited for.
        let row = board.row(&issue.id).await;
        assert_eq!((row.lock_run_id, row.lock_epoch, row.execution_run_id), (None, None, None));
        let said = comments(&board, &issue.id).await;
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].body, "The parser keeps its commas now.");
        assert_eq!((&said[0].author_agent_id, &said[0].created_by_run_id), (&Some(ada.id.clone()), &Some(run.id.clone())));
        assert_eq!(run.issue_comment_status, "satisfied");
        assert_eq!(run.issue_comment_satisfied_by_comment_id, Some(said[0].id.clone()));
        assert_eq!(run.liveness_state.as_deref(), Some("needs_followup"));
        let summary = summary(&board, &issue.id).await;
        assert!(summary.body.contains("The parser keeps its commas now.") && summary.body.contains(run.id.as_str()));
        assert_eq!(summary.updated_by_agent_id, Some(ada.id.clone()));
        assert!(row.check_at.is_some(), "its work goes on: it is looked at again");
        assert_eq!(world.runs_of(&ada.id).await.len(), 1);
    }

    async fn a_result_keeps_what_the_program_said_and_tells_why_it_stopped(world) {
        let board = Board::new(&world).await;
        let mut draft = World::scripted(3);
        draft.adapter_config["timeoutSec"] = serde_json::json!(90);
        let limited = board.engine.create_agent(&board.company, draft, &domain::wake::Actor::local_board()).await.unwrap();
        let free = board.agent("Ada").await;
        let ends = |process: &ProcessId, json: serde_json::Value| {
            world.model.say(process, &AgentEvent::Message { text: "working".to_owned() });
            world.model.say(process, &AgentEvent::Result {
                error: None, summary: Some(" last words ".to_owned()), plan_only: false, json: Some(json),
            });
            world.model.exit(process, 0);
        };
        let told = |seconds: f64, source: &str| serde_json::json!({
            "stopReason": "completed", "effectiveTimeoutSec": seconds, "timeoutConfigured": seconds > 0.0,
            "timeoutSource": source, "timeoutFired": false,
        });
        let rows = [
            (&free, serde_json::json!({"turns": 3, "summary": "its own"}), "its own", told(0.0, "default")),
            (&free, serde_json::json!({"turns": 3, "summary": " "}), "last words", told(0.0, "default")),
            (&limited, serde_json::json!({"turns": 3}), "last words", told(90.0, "config")),
        ];
        for (agent, json, summary, stop) in rows {
            let (run, process) = world.start(&board.engine, &agent.id, "").await;
            ends(&process, json.clone());
            let result = world.over(&run.id).await.result.expect("a result");
            assert_eq!((&result["turns"], &result["summary"]), (&serde_json::json!(3), &serde_json::json!(summary)), "{json}");
            for (key, value) in stop.as_object().unwrap() {
                assert_eq!(result[key].as_f64().map_or(result[key].clone(), |it| it.into()), *value, "{json} {key}");
            }
        }
        let caller = AgentDraft {
            name: "Caller".into(),
            adapter_type: "http".into(),
            adapter_config: serde_json::json!({ "url": "http://127.0.0.1:9/run", "timeoutMs": 1_500 }),
            ..AgentDraft::default()
        };
        let caller = world.agent_like(&board.engine, caller).await;
        let (run, process) = world.start(&board.engine, &caller.id, "").await;
        ends(&process, serde_json::json!({}));
        let result = world.over(&run.id).await.result.expect("a result");
        let number = |key: &str| result[key].as_f64();
        assert_eq!((number("effectiveTimeoutMs"), number("effectiveTimeoutSec")), (Some(1_500.0), Some(1.5)));
        let (run, process) = world.start(&board.engine, &limited.id, "").await;
        world.model.end_by(&process, domain::ending::EndedBy::WallLimit);
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.error_code.as_deref()), (RunStatus::TimedOut, Some("timeout")));
        let result = run.result.expect("a result");
        assert_eq!((&result["stopReason"], &result["timeoutFired"]), (&serde_json::json!("timeout"), &serde_json::json!(true)));
    }

    async fn a_run_that_did_something_has_advanced_and_its_own_comment_is_enough(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        board.say(&issue.id, "Half of it is done.", &in_run(&ada, &run.id)).await.unwrap();
        say_result(&world.model, &process, Some("Said already."), false);
        let run = world.over(&run.id).await;
        assert_eq!(run.liveness_state.as_deref(), Some("advanced"));
        assert!(run.last_useful_action_at.is_some());
        assert_eq!((run.issue_comment_status.as_str(), comments(&board, &issue.id).await.len()), ("satisfied", 1));
    }

    async fn a_closed_issue_is_completed_and_is_not_looked_at_again(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        let patch = engine::issues::IssuePatch { status: Some(IssueStatus::Done), ..Default::default() };
        board.patch(&issue.id, patch, &in_run(&ada, &run.id)).await.unwrap();
        say_result(&world.model, &process, Some("Done."), false);
        let run = world.over(&run.id).await;
        assert_eq!(run.liveness_state.as_deref(), Some("completed"));
        assert_eq!(board.row(&issue.id).await.check_at, None);
        assert!(summary(&board, &issue.id).await.body.contains("Nothing is left to do"));
    }

    async fn a_missing_comment_is_asked_for_once(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, first, process) = assigned(&board, &ada).await;
        world.model.say(&process, &AgentEvent::ToolCall { id: "1".into(), name: "bash".into(), input: serde_json::json!({"command": "make"}) });
        say_result(&world.model, &process, None, false);
        let first = world.over(&first.id).await;
        assert_eq!(first.issue_comment_status, "retry_queued");
        assert!(first.issue_comment_retry_queued_at.is_some());
        let (second, process) = under_way(&world, &ada.id).await;
        assert_eq!((reason(&second), &second.retry_of_run_id), ("missing_issue_comment", &Some(first.id.clone())));
        assert_eq!(second.context["missingIssueCommentForRunId"].as_str(), Some(first.id.as_str()));
        assert_eq!(second.issue_id.as_deref(), Some(issue.id.as_str()));
        world.model.say(&process, &AgentEvent::ToolCall { id: "1".into(), name: "bash".into(), input: serde_json::json!({"command": "ls"}) });
        say_result(&world.model, &process, None, false);
        let second = world.over(&second.id).await;
        assert_eq!(second.issue_comment_status, "retry_exhausted");
        assert_eq!(world.runs_of(&ada.id).await.len(), 2);
        assert!(summary(&board, &issue.id).await.body.contains("make") || summary(&board, &issue.id).await.body.contains("ls"));
    }

    async fn the_oldest_deferred_wake_goes_on_when_the_lock_is_given_back(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let (issue, run, process) = assigned(&board, &ada).await;
        defer(&board, &bob, &issue).await;
        say_result(&world.model, &process, Some("Over to you."), false);
        world.over(&run.id).await;
        let (run, process) = under_way(&world, &bob.id).await;
        assert_eq!(run.issue_id.as_deref(), Some(issue.id.as_str()));
        let wake = world.wake_row(&run.wake_id).await;
        assert_eq!(wake.reason.as_deref(), Some("issue_execution_promoted"));
        // Bob is not the assignee: he never holds the issue.
        assert_eq!(board.row(&issue.id).await.lock_run_id, None);
        say_result(&world.model, &process, Some("Looked."), false);
        world.over(&run.id).await;
    }

    async fn a_deferred_wake_goes_on_when_the_run_before_it_is_cancelled(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let (issue, run, _) = assigned(&board, &ada).await;
        defer(&board, &bob, &issue).await;
        board.engine.cancel_run(&run.id, None, &domain::wake::Actor::local_board()).await.unwrap();
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        let (next, _) = under_way(&world, &bob.id).await;
        assert_eq!(next.issue_id.as_deref(), Some(issue.id.as_str()));
        assert_eq!(reason(&next), "issue_comment_mentioned");
        assert_eq!(world.wake_row(&next.wake_id).await.reason.as_deref(), Some("issue_execution_promoted"));
        assert_eq!(world.runs_of(&ada.id).await.len(), 1, "what was cancelled is not started again");
    }

    async fn what_was_deferred_for_an_agent_ends_with_its_work(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let local = domain::wake::Actor::local_board();
        let (issue, run, process) = assigned(&board, &ada).await;
        defer(&board, &bob, &issue).await;
        board.engine.pause_agent(&bob.id, domain::agent::PauseReason::Manual, &local).await.unwrap();
        assert_eq!(world.wakes_of(&bob.id).await[0].status, WakeStatus::Deferred, "a pause holds");
        board.engine.resume_agent(&bob.id, &local).await.unwrap();
        board.engine.cancel_work(&bob.id, &local).await.unwrap();
        let ended = world.wakes_of(&bob.id).await.remove(0);
        assert_eq!((ended.status, ended.run_id), (WakeStatus::Cancelled, None));
        assert_eq!(ended.error.as_deref(), Some("Cancelled with all work of the agent"));
        say_result(&world.model, &process, Some("Over to nobody."), false);
        world.over(&run.id).await;
        board.engine.deliver_now(&issue.id).await.unwrap();
        assert_eq!(world.runs_of(&bob.id).await.len(), 0);
    }

    async fn what_was_ordered_for_an_agent_ends_with_its_work_and_is_on_record(world) {
        let board = Board::new(&world).await;
        let bob = board.agent("Bob").await;
        let issue = board.quiet("Look at it", IssueStatus::Backlog, None).await;
        let (company, agent, now) = (board.company.clone(), bob.id.clone(), board.engine.now());
        let about = issue.id.clone();
        // Ordered a moment ago and not delivered yet.
        let placed = world.store.write(move |tx| {
            let order = store::orders::NewOrder {
                company_id: company.clone(),
                agent_id: agent.clone(),
                issue_id: Some(about.clone()),
                wake_id: None,
                source: domain::wake::Source::Automation,
                trigger_detail: None,
                reason: "issue_commented".to_owned(),
                payload: serde_json::json!({}),
                context: serde_json::json!({}),
                actor_kind: domain::wake::ActorKind::User,
                actor_id: "local-board".to_owned(),
                idempotency_key: None,
            };
            Box::pin(async move { store::orders::place(tx, &order, now.plus(Duration::from_secs(3600))).await })
        });
        assert!(placed.await.unwrap().is_some());
        board.engine.terminate_agent(&bob.id, &domain::wake::Actor::local_board()).await.unwrap();
        let ended = world.wakes_of(&bob.id).await.remove(0);
        assert_eq!((ended.status, ended.reason.as_deref()), (WakeStatus::Cancelled, Some("issue_commented")));
        assert_eq!(ended.issue_id, Some(issue.id));
        assert_eq!(world.read(|tx| Box::pin(store::orders::count(tx))).await, 0);
    }

    async fn plans_are_continued_twice_and_then_a_person_is_asked(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, _, _) = assigned(&board, &ada).await;
        for attempt in 0..3 {
            let (run, process) = under_way(&world, &ada.id).await;
            assert_eq!(run.continuation_attempt, attempt);
            if attempt > 0 {
                assert_eq!(reason(&run), "run_liveness_continuation");
                assert_eq!(world.wake_row(&run.wake_id).await.payload["continuationAttempt"], attempt);
            }
            say_result(&world.model, &process, Some("I'll fix the lexer."), true);
            let run = world.over(&run.id).await;
            assert_eq!(run.liveness_state.as_deref(), Some("plan_only"));
        }
        let row = board.row(&issue.id).await;
        assert_eq!(row.status, IssueStatus::Blocked);
        let said = comments(&board, &issue.id).await;
        let last = said.iter().find(|comment| comment.author_agent_id.is_none()).expect("a comment by nobody");
        assert!(last.body.starts_with("Bounded liveness continuation exhausted"), "{}", last.body);
        let open = items(&board, issue.id.as_str()).await;
        assert_eq!(open.iter().map(|item| item.kind.as_str()).collect::<Vec<_>>(), ["stranded_issue"]);
        assert_eq!(world.runs_of(&ada.id).await.len(), 3);
        let last = world.runs_of(&ada.id).await.pop().expect("three");
        assert!(last.liveness_reason.is_some_and(|reason| reason.contains("not continued again")));
    }

    async fn a_lost_process_is_replaced_on_the_same_issue(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        world.model.signal(&process, 9);
        let run = world.over(&run.id).await;
        assert_eq!(run.error_code.as_deref(), Some("process_lost"));
        assert_eq!(run.liveness_state.as_deref(), Some("failed"));
        let (next, _) = under_way(&world, &ada.id).await;
        assert_eq!((reason(&next), next.process_loss_retries), ("process_lost_retry", 1));
        assert_eq!(next.issue_id.as_deref(), Some(issue.id.as_str()));
        assert_eq!(board.row(&issue.id).await.lock_run_id, Some(next.id));
    }

    async fn a_transient_failure_is_tried_again_later_on_the_same_issue(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, process) = assigned(&board, &ada).await;
        board.say(&issue.id, "Begun.", &in_run(&ada, &run.id)).await.unwrap();
        world.model.say_failed(&process, ErrorClass::Transient, None);
        world.model.exit(&process, 1);
        let run = world.over(&run.id).await;
        let retry = world.runs_of(&ada.id).await.pop().expect("a retry");
        assert_eq!((retry.status, &retry.retry_of_run_id), (RunStatus::ScheduledRetry, &Some(run.id)));
        assert_eq!(retry.issue_id.as_deref(), Some(issue.id.as_str()));
        // It holds nothing while it waits, and nothing else was started in its place.
        assert_eq!(board.row(&issue.id).await.lock_run_id, None);
        assert_eq!(world.runs_of(&ada.id).await.len(), 2);
        assert_eq!(counts(&board, &issue.id).await.len(), 0);
    }

    async fn what_somebody_cancelled_is_not_started_again(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, run, _) = assigned(&board, &ada).await;
        board.engine.cancel_run(&run.id, None, &domain::wake::Actor::local_board()).await.unwrap();
        let run = world.over(&run.id).await;
        assert_eq!((run.status, run.issue_comment_status.as_str()), (RunStatus::Cancelled, "retry_exhausted"));
        let result = run.result.expect("a result");
        assert_eq!((&result["stopReason"], &result["timeoutFired"]), (&serde_json::json!("cancelled"), &serde_json::json!(false)));
        for _ in 0..3 {
            world.clock.advance(Duration::from_secs(3600));
            world.eventually("a look at the issue", || async {
                // What the run had taken is let go behind its end, which has the issue looked at once more.
                world.clock.advance(Duration::from_secs(60));
                board.engine.nudge();
                board.row(&issue.id).await.check_at.is_none().then_some(())
            }).await;
        }
        assert_eq!(world.runs_of(&ada.id).await.len(), 1);
        assert_eq!(board.row(&issue.id).await.status, IssueStatus::InProgress);
    }

    async fn an_issue_that_was_checked_out_beside_is_let_go_too(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let (run, process) = world.start(&board.engine, &ada.id, "").await;
        let issue = board.quiet("beside", IssueStatus::Todo, Some(&ada)).await;
        let checkout = engine::issues::Checkout { agent: ada.id.clone(), expected: vec![IssueStatus::Todo] };
        board.engine.checkout_issue(&issue.id, checkout, &in_run(&ada, &run.id)).await.unwrap();
        defer(&board, &bob, &issue).await;
        say_result(&world.model, &process, Some("Enough for today."), false);
        world.over(&run.id).await;
        world.eventually("a free issue", || async {
            let row = board.row(&issue.id).await;
            row.lock_run_id.is_none().then_some(())
        }).await;
        let (of_bob, _) = under_way(&world, &bob.id).await;
        assert_eq!(of_bob.issue_id.as_deref(), Some(issue.id.as_str()));
    }
}
