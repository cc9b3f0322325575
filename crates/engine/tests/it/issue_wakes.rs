//! Wakes that name an issue: each gets the fate that the issue, its holder and its blockers give it.

use std::time::Duration;

use domain::agent::PauseReason;
use domain::hold::HeldReason;
use domain::ids::{IssueId, WakeId};
use domain::issue::IssueStatus;
use domain::run::RunStatus;
use domain::telling::ErrorClass;
use domain::tree::Mode;
use domain::wake::{Actor, ActorKind, DEFERRED, PARKED, Source, WakeRequest, WakeStatus};
use engine::{AgentDraft, Author, TreeOperation, Woken};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::comments::Comment;
use store::issues::Issue;
use store::wakes::Wake;
use testkit::{World, both_stores};

use crate::board::Board;

/// A wake about an issue for a reason, by the program.
pub(crate) fn about(issue: &IssueId, reason: &str) -> WakeRequest {
    let mut wake = World::request("");
    wake.source = Source::Automation;
    wake.reason = Some(reason.to_owned());
    wake.actor = Actor::system("test");
    wake.payload.insert("issueId".to_owned(), json!(issue));
    wake
}

/// The wake that a comment makes, asked for by its author.
fn of_comment(issue: &IssueId, comment: &Comment) -> WakeRequest {
    let mut wake = about(issue, "issue_commented");
    wake.payload.insert("commentId".to_owned(), json!(comment.id));
    wake.context.insert("source".to_owned(), json!("issue.comment"));
    wake.actor = match (&comment.author_agent_id, &comment.author_user_id) {
        (Some(agent), _) => Actor { kind: ActorKind::Agent, id: Some(agent.0.clone()) },
        (None, user) => Actor { kind: ActorKind::User, id: user.clone() },
    };
    wake
}

pub(crate) fn skipped(woken: Result<Woken, engine::EngineError>) -> Wake {
    match woken {
        Ok(Woken::Skipped(skipped)) => *skipped.wake,
        other => panic!("it was not skipped: {other:?}"),
    }
}

/// Puts a comment down without waking anybody.
pub(crate) async fn note(board: &Board, issue: &IssueId, by: &Author) -> Comment {
    let (world, now) = (&board.world, board.engine.now());
    let comment = Comment {
        id: board.engine.new_id().as_str().into(),
        company_id: board.company.clone(),
        issue_id: issue.clone(),
        author_agent_id: by.agent_id(),
        author_user_id: by.user_id(),
        created_by_run_id: None,
        body: "and?".to_owned(),
        created_at: now,
        updated_at: now,
    };
    let row = comment.clone();
    let written = world.store.write(move |tx| {
        let row = row.clone();
        Box::pin(async move { store::comments::insert(tx, &row).await })
    });
    written.await.unwrap();
    comment
}

/// One blocks the other; nobody is told.
pub(crate) async fn block(board: &Board, blocker: &Issue, blocked: &Issue) {
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

pub(crate) async fn assign(board: &Board, issue: &IssueId, to: Option<&Agent>) {
    let (id, agent) = (issue.clone(), to.map(|agent| agent.id.clone()));
    let written = board.world.store.write(move |tx| {
        let (id, agent) = (id.clone(), agent.clone());
        Box::pin(async move {
            let mut issue = store::issues::lock(tx, &id).await?.expect("an issue");
            issue.assignee_agent_id = agent;
            store::issues::update(tx, &issue).await
        })
    });
    written.await.unwrap();
}

pub(crate) async fn pause_tree(board: &Board, root: &IssueId) -> domain::ids::HoldId {
    let operation = TreeOperation {
        mode: Mode::Pause,
        reason: Some("audit".to_owned()),
        release_policy: None,
        metadata: None,
    };
    board.engine.operate_tree(root, operation, &Board::person()).await.unwrap().0.hold.id
}

async fn deferred_on(board: &Board, issue: &IssueId) -> Vec<Wake> {
    let id = issue.clone();
    let read = board.world.read(move |tx| {
        let id = id.clone();
        Box::pin(async move { store::wakes::deferred_on(tx, &id, 100).await })
    });
    read.await
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

both_stores! {
    async fn an_issue_that_is_not_there_wakes_nobody_and_neither_does_one_of_another_company(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let foreign = board.neighbour().await.quiet("theirs", IssueStatus::Todo, None).await;
        for issue in [IssueId::from("nothing"), foreign.id] {
            let wake = skipped(board.engine.wake(&ada.id, about(&issue, "issue_assigned")).await);
            assert_eq!(wake.reason.as_deref(), Some("issue_execution_issue_not_found"));
            assert_eq!((wake.status, wake.run_id, wake.issue_id), (WakeStatus::Skipped, None, Some(issue)));
        }
        assert!(world.runs_of(&ada.id).await.is_empty());
    }

    async fn a_pause_hold_keeps_wakes_away_but_not_the_comment_of_its_author(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let root = board.quiet("root", IssueStatus::Todo, None).await;
        let issue = board.quiet("leaf", IssueStatus::Todo, Some(&ada)).await;
        board
            .patch(&issue.id, engine::issues::IssuePatch {
                parent_id: Some(Some(root.id.clone())),
                ..Default::default()
            }, &Board::person())
            .await
            .unwrap();
        let hold = pause_tree(&board, &root.id).await;
        let wake = skipped(board.engine.wake(&ada.id, about(&issue.id, "issue_status_changed")).await);
        assert_eq!(wake.reason.as_deref(), Some("issue_tree_hold_active"));
        let told = board.told(&issue.id).await;
        let last = told.last().unwrap();
        assert_eq!(last.action, "issue.tree_hold_wakeup_deferred");
        let details = last.details.clone().unwrap();
        assert_eq!((text(&details, "holdId"), text(&details, "rootIssueId")), (hold.as_str(), root.id.as_str()));
        assert_eq!(text(&details, "requestedReason"), "issue_status_changed");

        let comment = note(&board, &issue.id, &Board::person()).await;
        let forged = WakeRequest {
            actor: Actor { kind: ActorKind::User, id: Some("somebody else".to_owned()) },
            ..of_comment(&issue.id, &comment)
        };
        assert_eq!(
            skipped(board.engine.wake(&ada.id, forged).await).reason.as_deref(),
            Some("issue_tree_hold_active")
        );
        let run = World::ran(board.engine.wake(&ada.id, of_comment(&issue.id, &comment)).await);
        world.model.until_alive(&World::first(&run.id)).await;
        assert_eq!(run.context["treeHoldInteraction"], json!(true));
        assert_eq!(text(&run.context["activeTreeHold"], "holdId"), hold.as_str());
    }

    async fn open_blockers_keep_wakes_away_but_not_comments_and_not_the_news_of_a_blocker(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let first = board.quiet("first", IssueStatus::Cancelled, None).await;
        let issue = board.quiet("second", IssueStatus::Todo, Some(&ada)).await;
        block(&board, &first, &issue).await;
        let wake = skipped(board.engine.wake(&ada.id, about(&issue.id, "issue_assigned")).await);
        assert_eq!(wake.reason.as_deref(), Some("issue_dependencies_blocked"));
        assert_eq!(wake.payload["unresolvedBlockerIssueIds"], json!([first.id]));

        let comment = note(&board, &issue.id, &Board::person()).await;
        let (run, process) = {
            let run = World::ran(board.engine.wake(&ada.id, of_comment(&issue.id, &comment)).await);
            let process = World::first(&run.id);
            world.model.until_alive(&process).await;
            (run, process)
        };
        assert_eq!(run.context["dependencyBlockedInteraction"], json!(true));
        assert_eq!(text(&run.context["unresolvedBlockerSummaries"][0], "identifier"), first.identifier);
        assert_eq!(board.row(&issue.id).await.status, IssueStatus::Todo, "what is blocked is not begun");
        board.finish((&run, &process)).await;
        let news = World::ran(board.engine.wake(&ada.id, about(&issue.id, "issue_blocker_cancelled")).await);
        world.model.until_alive(&World::first(&news.id)).await;
    }

    async fn what_waits_on_an_issue_takes_later_wakes_in_and_what_runs_gets_one_follow_up(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        let one = note(&board, &issue.id, &Board::person()).await;
        let two = note(&board, &issue.id, &Board::person()).await;
        let follow = World::ran(board.engine.wake(&ada.id, of_comment(&issue.id, &one)).await);
        assert_ne!(follow.id, run.id);
        let again = World::ran(board.engine.wake(&ada.id, of_comment(&issue.id, &two)).await);
        assert_eq!(again.id, follow.id);
        assert_eq!(again.context["wakeCommentIds"], json!([one.id, two.id]));
        let timer = WakeRequest { source: Source::Timer, ..about(&issue.id, "heartbeat_timer") };
        let mut draft_policy = ada.runtime_config.clone();
        draft_policy["heartbeat"]["enabled"] = json!(true);
        board
            .engine
            .patch_agent(&ada.id, engine::AgentPatch { runtime_config: Some(draft_policy), ..Default::default() }, &Actor::local_board())
            .await
            .unwrap();
        assert_eq!(World::ran(board.engine.wake(&ada.id, timer).await).id, follow.id);
        let held = board.engine.held_reasons(std::slice::from_ref(&again)).await.unwrap();
        assert_eq!(held, [Some(HeldReason::Running)]);
        let wakes = world.wakes_of(&ada.id).await;
        let merged: Vec<&str> = wakes
            .iter()
            .filter(|wake| wake.status == WakeStatus::Coalesced)
            .filter_map(|wake| wake.reason.as_deref())
            .collect();
        assert_eq!(merged, ["issue_execution_same_name", "issue_execution_same_name"]);
        board.finish((&run, &process)).await;
        world.model.until_alive(&World::first(&follow.id)).await;
        assert_eq!(board.row(&issue.id).await.lock_run_id, Some(follow.id));
    }

    async fn another_agents_live_run_defers_a_wake_and_its_end_lets_it_go_on(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        let (one, two) = (note(&board, &issue.id, &Board::person()).await, note(&board, &issue.id, &Board::person()).await);
        let mention = |comment: &Comment| {
            let mut wake = of_comment(&issue.id, comment);
            wake.reason = Some("issue_comment_mentioned".to_owned());
            wake.context.insert("source".to_owned(), json!("comment.mention"));
            wake
        };
        let keyed = WakeRequest { idempotency_key: Some("k".to_owned()), ..mention(&one) };
        let first = skipped(board.engine.wake(&bob.id, keyed.clone()).await);
        assert_eq!((first.status, first.reason.as_deref()), (WakeStatus::Deferred, Some(DEFERRED)));
        let again = skipped(board.engine.wake(&bob.id, keyed).await);
        assert_eq!(again.id, first.id, "a repeated request has the answer of the first");
        let into = skipped(board.engine.wake(&bob.id, mention(&two)).await);
        assert_eq!((into.id.clone(), into.coalesced_count), (first.id.clone(), 1));
        assert_eq!(into.payload[PARKED]["wakeCommentIds"], json!([one.id, two.id]));
        let rows = world.wakes_of(&bob.id).await;
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[1].status, text(&rows[1].payload, "deferredWakeupRequestId")), (WakeStatus::Coalesced, first.id.as_str()));
        assert!(world.runs_of(&bob.id).await.is_empty());

        board.finish((&run, &process)).await;
        let promoted = world
            .eventually("the deferred wake has a run", || async { world.runs_of(&bob.id).await.pop() })
            .await;
        world.model.until_alive(&World::first(&promoted.id)).await;
        let row = world.wake_row(&first.id).await;
        assert_eq!(row.run_id, Some(promoted.id.clone()));
        assert_eq!((row.reason.as_deref(), row.actor_kind), (Some("issue_execution_promoted"), ActorKind::User));
        assert_eq!(promoted.context["wakeCommentIds"], json!([one.id, two.id]));
        assert_eq!(text(&promoted.context, "wakeReason"), "issue_comment_mentioned");
        assert_eq!(promoted.context.get(PARKED), None);
        assert!(deferred_on(&board, &issue.id).await.is_empty());
        assert_ne!(board.row(&issue.id).await.lock_run_id, Some(promoted.id), "whoever is mentioned holds nothing");
    }

    async fn a_run_that_waits_or_runs_without_the_lock_defers_nobody(world) {
        let board = Board::new(&world).await;
        let (ada, bob, eve) = (board.agent("Ada").await, board.agent("Bob").await, board.agent("Eve").await);
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        board.engine.pause_agent(&ada.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        board.engine.resume_agent(&ada.id, &Actor::local_board()).await.unwrap();
        let comment = note(&board, &issue.id, &Board::person()).await;
        let mut mention = of_comment(&issue.id, &comment);
        mention.reason = Some("issue_comment_mentioned".to_owned());
        mention.context.insert("source".to_owned(), json!("comment.mention"));
        let beside = World::ran(board.engine.wake(&bob.id, mention.clone()).await);
        world.model.until_alive(&World::first(&beside.id)).await;
        assert_eq!(board.row(&issue.id).await.lock_run_id, None);
        let second = World::ran(board.engine.wake(&eve.id, mention).await);
        world.model.until_alive(&World::first(&second.id)).await;
        let (own, _) = board.running(&ada, &issue).await;
        assert_eq!(board.row(&issue.id).await.lock_run_id, Some(own.id));
    }

    async fn two_issues_under_one_key_get_a_run_each(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let one = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let two = board.quiet("two", IssueStatus::Todo, Some(&ada)).await;
        let with_key = |issue: &Issue| {
            let mut wake = about(&issue.id, "issue_assigned");
            wake.context.insert("taskKey".to_owned(), json!("release"));
            wake
        };
        let first = World::ran(board.engine.wake(&ada.id, with_key(&one)).await);
        let second = World::ran(board.engine.wake(&ada.id, with_key(&two)).await);
        let again = World::ran(board.engine.wake(&ada.id, with_key(&two)).await);
        assert_eq!((first.task_key.as_str(), first.issue_id.as_deref()), ("release", Some(one.id.as_str())));
        assert_eq!((second.task_key.as_str(), second.issue_id.as_deref()), (two.id.as_str(), Some(two.id.as_str())));
        assert_ne!(first.id, second.id);
        assert_eq!(again.issue_id.as_deref(), Some(two.id.as_str()));
    }

    async fn a_run_that_waits_without_an_issue_gets_the_one_that_joins_it(world) {
        let board = Board::new(&world).await;
        let only = AgentDraft { name: "Ada".to_owned(), ..World::scripted(1) };
        let ada = board.engine.create_agent(&board.company, only, &Actor::local_board()).await.unwrap();
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        // Its only place is taken.
        let (busy, process) = world.start(&board.engine, &ada.id, "else").await;
        let mut early = World::request("");
        early.context.insert("taskKey".to_owned(), json!(issue.id));
        let waits = World::ran(board.engine.wake(&ada.id, early).await);
        assert_eq!((waits.status, waits.issue_id.as_deref()), (RunStatus::Queued, None));
        let joined = World::ran(board.engine.wake(&ada.id, about(&issue.id, "issue_assigned")).await);
        assert_eq!((&joined.id, joined.issue_id.as_deref()), (&waits.id, Some(issue.id.as_str())));
        board.finish((&busy, &process)).await;
        world.until(&waits.id, RunStatus::Running).await;
        assert_eq!(board.row(&issue.id).await.lock_run_id, Some(waits.id), "it works under the lock of the issue");
    }

    async fn a_run_that_was_cancelled_before_it_started_is_not_shown_as_the_one_that_comes(world) {
        let board = Board::new(&world).await;
        let only = AgentDraft { name: "Ada".to_owned(), ..World::scripted(1) };
        let ada = board.engine.create_agent(&board.company, only, &Actor::local_board()).await.unwrap();
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        world.start(&board.engine, &ada.id, "else").await;
        for by_agent in [false, true] {
            let waits = World::ran(board.engine.wake(&ada.id, about(&issue.id, "issue_assigned")).await);
            assert_eq!(waits.status, RunStatus::Queued);
            assert_eq!(board.row(&issue.id).await.execution_run_id, Some(waits.id.clone()));
            if by_agent {
                board.engine.cancel_work(&ada.id, &Actor::local_board()).await.unwrap();
            } else {
                board.engine.cancel_run(&waits.id, None, &Actor::local_board()).await.unwrap();
            }
            assert_eq!(world.over(&waits.id).await.status, RunStatus::Cancelled);
            assert_eq!(board.row(&issue.id).await.execution_run_id, None);
        }
    }

    async fn what_a_pause_keeps_deferred_goes_on_when_it_ends(world) {
        let board = Board::new(&world).await;
        let (ada, bob, eve) = (board.agent("Ada").await, board.agent("Bob").await, board.agent("Eve").await);
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        let comment = note(&board, &issue.id, &Board::person()).await;
        let mut wakes = Vec::new();
        for agent in [&bob, &eve] {
            let mut mention = of_comment(&issue.id, &comment);
            mention.reason = Some("issue_comment_mentioned".to_owned());
            wakes.push(skipped(board.engine.wake(&agent.id, mention).await).id);
        }
        board.engine.pause_agent(&bob.id, PauseReason::Manual, &Actor::local_board()).await.unwrap();
        board.finish((&run, &process)).await;
        let world = &world;
        let status = |wake: WakeId| async move {
            (world.wake_row(&wake).await.status != WakeStatus::Deferred).then_some(())
        };
        world.eventually("who is behind a paused agent goes on", || status(wakes[1].clone())).await;
        assert_eq!(world.wake_row(&wakes[0]).await.status, WakeStatus::Deferred);
        board.engine.resume_agent(&bob.id, &Actor::local_board()).await.unwrap();
        world.eventually("the resumed agent's wake goes on", || status(wakes[0].clone())).await;
        let run = world.wake_row(&wakes[0]).await.run_id.unwrap();
        world.model.until_alive(&World::first(&run)).await;
    }

    async fn a_persons_comment_that_waited_opens_the_closed_issue_again(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        let comment = note(&board, &issue.id, &Board::person()).await;
        let mut mention = of_comment(&issue.id, &comment);
        mention.reason = Some("issue_comment_mentioned".to_owned());
        skipped(board.engine.wake(&bob.id, mention).await);
        board.set_status(&issue.id, IssueStatus::Done).await;
        board.finish((&run, &process)).await;
        let promoted = world
            .eventually("the deferred wake has a run", || async { world.runs_of(&bob.id).await.pop() })
            .await;
        assert_eq!(text(&promoted.context, "reopenedFrom"), "done");
        assert_eq!(board.row(&issue.id).await.status, IssueStatus::Todo);
        let told = board.told(&issue.id).await;
        let opened = told.iter().rfind(|entry| entry.action == "issue.updated").unwrap();
        let details = opened.details.clone().unwrap();
        assert_eq!((text(&details, "source"), text(&details, "reopenedFrom")), ("deferred_comment_wake", "done"));
        assert_eq!(opened.actor_id, "heartbeat");
    }

    async fn a_retry_whose_issue_went_to_another_ends_and_the_new_assignee_is_not_behind_it(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        world.model.say_failed(&process, ErrorClass::Transient, None);
        world.model.exit(&process, 1);
        world.over(&run.id).await;
        let retry = world.runs_of(&ada.id).await.pop().unwrap();
        assert_eq!((retry.status, retry.issue_id.as_deref()), (RunStatus::ScheduledRetry, Some(issue.id.as_str())));
        assign(&board, &issue.id, Some(&bob)).await;
        let new = World::ran(board.engine.wake(&bob.id, about(&issue.id, "issue_assigned")).await);
        world.model.until_alive(&World::first(&new.id)).await;
        let ended = world.over(&retry.id).await;
        assert_eq!((ended.status, ended.error_code.as_deref()), (RunStatus::Cancelled, Some("issue_reassigned")));
        let event = world.events(&retry.id).await.pop().unwrap();
        assert_eq!(text(&event.payload.clone().unwrap(), "currentAssigneeAgentId"), bob.id.as_str());
        assert_eq!(world.wake_row(&retry.wake_id).await.status, WakeStatus::Cancelled);
    }

    async fn a_retry_that_falls_due_after_its_issue_was_cancelled_ends(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        world.model.say_failed(&process, ErrorClass::Transient, None);
        world.model.exit(&process, 1);
        world.over(&run.id).await;
        let retry = world.runs_of(&ada.id).await.pop().unwrap();
        board.set_status(&issue.id, IssueStatus::Cancelled).await;
        world.clock.advance(Duration::from_secs(600));
        board.engine.nudge();
        let ended = world.over(&retry.id).await;
        assert_eq!(ended.error_code.as_deref(), Some("issue_cancelled"));
        assert!(world.model.started(&retry.id).is_empty());
    }

    async fn a_wake_may_name_the_run_whose_session_it_goes_on_with(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let mut runs = Vec::new();
        for session in ["s1", "s2"] {
            let (run, process) = board.running(&ada, &issue).await;
            world.model.say_session(&process, session);
            board.finish((&run, &process)).await;
            runs.push(run.id);
        }
        let mut resume = World::request("");
        resume.payload.insert("resumeFromRunId".to_owned(), json!(runs[0]));
        let foreign = World::ran(board.engine.wake(&bob.id, resume.clone()).await);
        assert_eq!((foreign.session_before, foreign.issue_id), (None, None), "not a run of that agent");
        let run = World::ran(board.engine.wake(&ada.id, resume).await);
        assert_eq!(run.session_before.as_deref(), Some("s1"));
        assert_eq!(run.issue_id.as_deref(), Some(issue.id.as_str()), "the scope comes with the session");
        let process = World::first(&run.id);
        world.model.until_alive(&process).await;
        assert_eq!(world.run(&run.id).await.session_before.as_deref(), Some("s1"));
        board.finish((&run, &process)).await;
        let fresh = World::ran(board.engine.wake(&ada.id, about(&issue.id, "issue_assigned")).await);
        assert_eq!(fresh.session_before, None, "new work begins with a new session");
    }

    async fn a_continuation_carries_its_number(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("one", IssueStatus::Todo, Some(&ada)).await;
        let mut wake = about(&issue.id, "run_liveness_continuation");
        wake.context.insert("livenessContinuationAttempt".to_owned(), json!(2));
        let run = World::ran(board.engine.wake(&ada.id, wake).await);
        assert_eq!(world.run(&run.id).await.continuation_attempt, 2);
    }

    async fn a_timer_finds_work_in_an_open_issue_and_nowhere_else(world) {
        let board = Board::new(&world).await;
        let mut draft = AgentDraft { name: "Ada".to_owned(), ..World::scripted(1) };
        draft.runtime_config["heartbeat"] =
            json!({ "enabled": true, "intervalSec": 60, "skipWhenIdle": true, "maxConcurrentRuns": 1 });
        let ada = board.engine.create_agent(&board.company, draft, &Actor::local_board()).await.unwrap();
        let timer = WakeRequest { source: Source::Timer, ..World::request("") };
        let wake = skipped(board.engine.wake(&ada.id, timer.clone()).await);
        assert_eq!(wake.reason.as_deref(), Some("heartbeat.no_work"));
        board.quiet("done", IssueStatus::Done, Some(&ada)).await;
        board.quiet("later", IssueStatus::Backlog, Some(&ada)).await;
        skipped(board.engine.wake(&ada.id, timer.clone()).await);
        board.quiet("now", IssueStatus::Todo, Some(&ada)).await;
        World::ran(board.engine.wake(&ada.id, timer).await);
    }
}
