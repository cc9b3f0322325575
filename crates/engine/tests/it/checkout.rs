//! Checkout, owner check, release and force-release, end to end (spec/api.md 5.3).

use domain::agent::PauseReason;
use domain::ids::IssueId;
use domain::issue::IssueStatus;
use engine::Author;
use engine::issues::{Checkout, IssueDraft, IssuePatch};
use serde_json::json;
use store::agents::Agent;
use store::issues::Issue;
use testkit::both_stores;

use crate::board::{Board, in_run, refusal, wrong_fields};

use IssueStatus::{Backlog, Blocked, Done, InProgress, InReview, Todo};

fn to(agent: &Agent) -> Checkout {
    Checkout { agent: agent.id.clone(), expected: vec![Todo, Backlog, Blocked, InReview] }
}

async fn take(
    board: &Board,
    issue: &IssueId,
    agent: &Agent,
    by: &Author,
) -> Result<Issue, engine::EngineError> {
    board.engine.checkout_issue(issue, to(agent), by).await
}

both_stores! {
    async fn a_run_takes_an_issue_with_both_locks_and_keeps_it(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        let by = in_run(&ada, &run.id);
        let before = board.count(&ada).await;
        let taken = take(&board, &issue.id, &ada, &by).await.unwrap();
        assert_eq!((taken.status, &taken.assignee_agent_id), (InProgress, &Some(ada.id.clone())));
        assert_eq!((&taken.checkout_run_id, &taken.execution_run_id), (&Some(run.id.clone()), &Some(run.id.clone())));
        assert_eq!((&taken.lock_run_id, taken.lock_epoch), (&Some(run.id.clone()), Some(1)));
        assert!(taken.started_at.is_some());
        let again = take(&board, &issue.id, &ada, &by).await.unwrap();
        assert_eq!(again.checkout_run_id, taken.checkout_run_id);
        assert_eq!(board.count(&ada).await, before, "whoever takes it itself needs no call");
        let told = board.told(&issue.id).await;
        let by_agent = told.iter().filter(|it| it.action == "issue.checked_out" && it.actor_type == "agent");
        assert_eq!(by_agent.count(), 2);
        board.finish((&run, &process)).await;
    }

    async fn a_checkout_that_must_not_be_is_refused_with_its_reason(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let eve = board.neighbour().await.agent("Eve").await;
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let person = Board::person();
        let refused = |outcome: Result<Issue, engine::EngineError>| {
            let (kind, words, details) = refusal(outcome);
            (kind, words, details)
        };
        let (kind, words, _) = refused(take(&board, &issue.id, &bob, &Author::agent(&ada.id, None)).await);
        assert_eq!((kind.as_str(), words.as_str()), ("Forbidden", "Agent can only checkout as itself"));
        let (kind, words, _) = refused(take(&board, &issue.id, &ada, &Author::agent(&ada.id, None)).await);
        assert_eq!((kind.as_str(), words.as_str()), ("Unauthenticated", "Agent run id required"));
        let (kind, words, _) = refused(take(&board, &issue.id, &eve, &person).await);
        assert_eq!((kind.as_str(), words.as_str()), ("Unprocessable", "Assignee must belong to same company"));
        let nowhere = IssueId::from("0192f7a0-0000-4000-8000-000000000000");
        assert_eq!(refused(take(&board, &nowhere, &ada, &person).await).1, "Issue not found");
        // Somebody else's, and not in a status that is expected.
        let (kind, words, details) = refused(take(&board, &issue.id, &bob, &person).await);
        assert_eq!((kind.as_str(), words.as_str()), ("Conflict", "Issue checkout conflict"));
        assert_eq!(details["assigneeAgentId"], json!(ada.id));
        assert_eq!((&details["reason"], &details["holderLive"]), (&json!("assigned_to_other"), &json!(false)));
        let closed = board.quiet("closed", Done, Some(&ada)).await;
        let (_, _, details) = refused(take(&board, &closed.id, &ada, &person).await);
        assert_eq!(details["reason"], "status_not_expected");
        let blocker = board.issue("blocker", Todo, None).await;
        let waiting = IssueDraft { blocked_by: vec![blocker.id.clone()], ..board.draft("w", None) };
        let waiting = board.issue_like(waiting).await;
        let (kind, words, details) = refused(take(&board, &waiting.id, &ada, &person).await);
        assert_eq!((kind.as_str(), words.as_str()), ("Unprocessable", "Issue is blocked by unresolved blockers"));
        assert_eq!(details, json!({"unresolvedBlockerIssueIds": [blocker.id]}));
        board.engine.terminate_agent(&bob.id, &domain::wake::Actor::local_board()).await.unwrap();
        let (kind, words, _) = refused(take(&board, &issue.id, &bob, &person).await);
        assert_eq!((kind.as_str(), words.as_str()), ("Conflict", "Cannot assign work to terminated agents"));
        let empty = Checkout { agent: ada.id.clone(), expected: vec![] };
        let outcome = board.engine.checkout_issue(&issue.id, empty, &person).await;
        assert_eq!(wrong_fields(outcome), ["expectedStatuses"]);
        assert_eq!(board.actions(&issue.id).await, ["issue.created"], "a refusal is not told");
        // A paused agent may be given work; it waits for it.
        board.engine.pause_agent(&ada.id, PauseReason::Manual, &domain::wake::Actor::local_board()).await.unwrap();
        take(&board, &issue.id, &ada, &person).await.unwrap();
    }

    async fn a_checkout_by_a_person_calls_the_agent_and_locks_nothing(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.issue("work", Todo, None).await;
        let taken = take(&board, &issue.id, &ada, &Board::person()).await.unwrap();
        assert_eq!((taken.status, taken.checkout_run_id, taken.lock_run_id), (InProgress, None, None));
        assert_eq!(board.reasons(&ada, &issue.id, 0).await, ["issue_checked_out"]);
    }

    async fn what_a_live_run_holds_is_not_taken_and_the_holder_is_named(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        take(&board, &issue.id, &ada, &in_run(&ada, &run.id)).await.unwrap();
        let other = board.quiet("other", Todo, Some(&ada)).await;
        let (second, _) = board.running(&ada, &other).await;
        let by_second = in_run(&ada, &second.id);
        let (kind, words, details) = refusal(take(&board, &issue.id, &ada, &by_second).await);
        assert_eq!((kind.as_str(), words.as_str()), ("Conflict", "Issue checkout conflict"));
        assert_eq!(details["holderRunId"], json!(run.id));
        assert_eq!((&details["holderLive"], &details["reason"]), (&json!(true), &json!("held_by_run")));
        let patch = IssuePatch { status: Some(Done), ..IssuePatch::default() };
        let (_, words, details) = refusal(board.patch(&issue.id, patch.clone(), &by_second).await);
        assert_eq!(words, "Issue run ownership conflict");
        assert_eq!(details["actorRunId"], json!(second.id));
        // A manager of the holder may, its peer may not.
        let bob = board.agent("Bob").await;
        let (_, words, _) = refusal(board.patch(&issue.id, patch.clone(), &Author::agent(&bob.id, None)).await);
        assert_eq!(words, "Issue is checked out by another agent");
        let boss = board.agent("Boss").await;
        let report = engine::AgentPatch { reports_to: Some(Some(boss.id.clone())), ..engine::AgentPatch::default() };
        board.engine.patch_agent(&ada.id, report, &domain::wake::Actor::local_board()).await.unwrap();
        board.patch(&issue.id, patch, &Author::agent(&boss.id, None)).await.unwrap();
        let _ = process;
    }

    async fn the_lock_of_a_run_that_is_over_is_adopted_whatever_was_expected(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let (first, process) = board.running(&ada, &issue).await;
        take(&board, &issue.id, &ada, &in_run(&ada, &first.id)).await.unwrap();
        world.model.lose_keeper(&process);
        world.over(&first.id).await;
        // The columns may still name it: a dead lock is nobody's.
        board.set_status(&issue.id, InProgress).await;
        let other = board.quiet("other", Todo, Some(&ada)).await;
        let (second, _) = board.running(&ada, &other).await;
        let expect = Checkout { agent: ada.id.clone(), expected: vec![Todo, InProgress] };
        let taken = board.engine.checkout_issue(&issue.id, expect, &in_run(&ada, &second.id)).await;
        // Unless the retry of the lost run was faster, which then holds it.
        match taken {
            Ok(taken) => assert_eq!(taken.checkout_run_id, Some(second.id)),
            refused => assert_eq!(refusal(refused).2["reason"], "held_by_run"),
        }
    }

    async fn an_assignee_is_named_by_id_or_by_a_name_that_means_one_agent(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada Lovelace").await;
        let twins = [board.agent("\u{65e5}\u{672c}").await, board.agent("\u{65e5}\u{672c}").await];
        let issue = board.quiet("work", Todo, None).await;
        let give = |name: &str| IssuePatch { assignee_agent: Some(Some(name.to_owned())), ..IssuePatch::default() };
        for name in [ada.id.as_str(), "ada-lovelace", " Ada Lovelace ", "ADA LOVELACE"] {
            board.set_status(&issue.id, Todo).await;
            let given = board.patch(&issue.id, give(name), &Board::person()).await.unwrap();
            assert_eq!(given.assignee_agent_id.as_ref(), Some(&ada.id), "{name}");
        }
        let (kind, words, _) = refusal(board.patch(&issue.id, give("\u{65e5}\u{672c}"), &Board::person()).await);
        let ambiguous = "Agent shortname is ambiguous in this company. Use the agent ID.";
        assert_eq!((kind.as_str(), words.as_str()), ("Conflict", ambiguous));
        let (kind, words, _) = refusal(board.patch(&issue.id, give("ada"), &Board::person()).await);
        assert_eq!((kind.as_str(), words.as_str()), ("NotFound", "Agent not found"));
        assert_eq!(board.row(&issue.id).await.assignee_agent_id, Some(ada.id));
        let given = board.patch(&issue.id, give(twins[1].id.as_str()), &Board::person()).await.unwrap();
        assert_eq!(given.assignee_agent_id.as_ref(), Some(&twins[1].id));
    }

    async fn a_release_gives_the_issue_back_and_only_its_holder_may(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let (run, _) = board.running(&ada, &issue).await;
        take(&board, &issue.id, &ada, &in_run(&ada, &run.id)).await.unwrap();
        let (_, words, _) = refusal(board.engine.release_issue(&issue.id, &Author::agent(&bob.id, None)).await);
        assert_eq!(words, "Issue is checked out by another agent");
        let (_, words, _) = refusal(board.engine.release_issue(&issue.id, &Author::agent(&ada.id, None)).await);
        assert_eq!(words, "Agent run id required");
        let free = board.engine.release_issue(&issue.id, &in_run(&ada, &run.id)).await.unwrap();
        assert_eq!((free.status, &free.assignee_agent_id), (Todo, &None));
        assert_eq!((free.checkout_run_id, free.lock_run_id, free.execution_run_id), (None, None, None));
        assert_eq!(board.actions(&issue.id).await.last().map(String::as_str), Some("issue.released"));
        let (_, words, _) = refusal(board.engine.release_issue(&issue.id, &in_run(&ada, &run.id)).await);
        assert_eq!(words, "Only assignee can release issue");
    }

    async fn a_person_takes_the_locks_away_and_that_is_on_record(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let (run, _) = board.running(&ada, &issue).await;
        let by_run = in_run(&ada, &run.id);
        take(&board, &issue.id, &ada, &by_run).await.unwrap();
        let (kind, words, _) = refusal(board.engine.force_release_issue(&issue.id, true, &by_run).await);
        assert_eq!((kind.as_str(), words.as_str()), ("Forbidden", "Board access required"));
        let forced = board.engine.force_release_issue(&issue.id, true, &Board::person()).await.unwrap();
        assert_eq!(forced.previous_checkout, Some(run.id.clone()));
        assert_eq!(forced.previous_execution, Some(run.id.clone()));
        let after = forced.issue;
        assert_eq!((after.checkout_run_id, after.lock_run_id, after.assignee_agent_id), (None, None, None));
        assert_eq!(board.actions(&issue.id).await.last().map(String::as_str), Some("issue.admin_force_release"));
        let audited = world.read(|tx| Box::pin(async move { store::audit::verify(tx, None).await })).await;
        assert!(audited.ok && audited.checked > 0, "{audited:?}");
    }
}
