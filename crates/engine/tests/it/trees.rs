//! Pausing, cancelling and restoring whole trees of issues (spec/heartbeat.md 7.4, D1).

use domain::ids::{HoldId, IssueId};
use domain::issue::IssueStatus;
use domain::run::RunStatus;
use domain::tree::Mode;
use engine::issues::{Checkout, IssueDraft};
use engine::{Author, HoldFilter, TreeOperation};
use serde_json::json;
use store::agents::Agent;
use store::issues::Issue;
use testkit::both_stores;

use crate::board::{Board, refusal};
use crate::issue_settlement::{assigned, counts, say_result, under_way};
use crate::recovery_of_issues::later;

use IssueStatus::{Backlog, Cancelled, Done, InProgress, Todo};

fn operation(mode: Mode) -> TreeOperation {
    TreeOperation { mode, reason: Some("because".into()), release_policy: None, metadata: None }
}

async fn below(
    board: &Board,
    parent: &Issue,
    title: &str,
    status: IssueStatus,
    agent: Option<&Agent>,
) -> Issue {
    let draft =
        IssueDraft { parent_id: Some(parent.id.clone()), status: Backlog, ..board.draft(title, agent) };
    let issue = board.issue_like(draft).await;
    board.set_status(&issue.id, status).await;
    board.row(&issue.id).await
}

both_stores! {
    async fn a_pause_stops_what_runs_holds_the_tree_and_ends_when_released(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let top = board.quiet("top", Todo, Some(&ada)).await;
        let mid = below(&board, &top, "mid", Todo, Some(&ada)).await;
        let (run, _) = board.running(&ada, &mid).await;
        let status = board.row(&mid.id).await.status;
        let person = Board::person();
        let by_agent = board.engine.operate_tree(&top.id, operation(Mode::Pause), &Author::agent(&ada.id, None)).await;
        assert_eq!(refusal(by_agent.map(drop)).1, "Board access required");
        let (held, preview) = board.engine.operate_tree(&top.id, operation(Mode::Pause), &person).await.unwrap();
        assert_eq!((held.hold.mode.as_str(), held.hold.status.as_str()), ("pause", "active"));
        assert_eq!(held.members.len(), 2);
        assert_eq!(preview.runs.len(), 1);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        assert_eq!(board.row(&mid.id).await.status, status, "a pause changes no issue");
        // What came under the root later is held, too.
        let late = below(&board, &mid, "late", Todo, None).await;
        let gate = board.engine.pause_gate(&late.id).await.unwrap().expect("held");
        assert_eq!((&gate.root, gate.is_root), (&top.id, false));
        let take = Checkout { agent: ada.id.clone(), expected: vec![Todo] };
        let (kind, words, details) = refusal(board.engine.checkout_issue(&late.id, take, &person).await);
        assert_eq!((kind.as_str(), words.as_str()), ("Conflict", "Issue checkout blocked by active subtree pause hold"));
        assert_eq!((&details["holdId"], &details["rootIssueId"]), (&json!(held.hold.id), &json!(top.id)));
        let released = board.engine.release_tree_hold(&top.id, &held.hold.id, None, None, &person).await.unwrap();
        assert_eq!(released.hold.status, "released");
        assert!(board.engine.pause_gate(&late.id).await.unwrap().is_none());
        let again = board.engine.release_tree_hold(&top.id, &held.hold.id, None, None, &person).await;
        assert_eq!(refusal(again.map(drop)).1, "Issue tree hold is already released");
        let other = board.engine.release_tree_hold(&mid.id, &held.hold.id, None, None, &person).await;
        assert_eq!(refusal(other.map(drop)).1, "Issue tree hold does not belong to the requested root issue");
        let unknown = HoldId::from("0192f7a0-0000-4000-8000-000000000000");
        let none = board.engine.release_tree_hold(&top.id, &unknown, None, None, &person).await;
        assert_eq!(refusal(none.map(drop)).1, "Issue tree hold not found");
        let actions = board.actions(&top.id).await;
        for action in ["issue.tree_hold_created", "issue.tree_hold_released"] {
            assert!(actions.contains(&action.to_owned()), "{action} in {actions:?}");
        }
        assert!(board.actions(&mid.id).await.contains(&"issue.tree_hold_run_interrupted".to_owned()));
    }

    async fn what_a_pause_of_its_tree_stopped_is_not_blocked_and_goes_on_when_that_is_over(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (issue, first, process) = assigned(&board, &ada).await;
        say_result(&world.model, &process, Some("I'll fix the lexer."), true);
        world.over(&first.id).await;
        // The run that is stopped is a continuation already: the next failure of its kind would count.
        let (run, _) = under_way(&world, &ada.id).await;
        let (held, _) = board.engine.operate_tree(&issue.id, operation(Mode::Pause), &Board::person()).await.unwrap();
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        let before = (counts(&board, &issue.id).await, board.row(&issue.id).await.status);
        for _ in 0..24 {
            later(&board, 3600).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(world.runs_of(&ada.id).await.len(), 2, "nothing starts under the hold");
        assert_eq!((counts(&board, &issue.id).await, board.row(&issue.id).await.status), before);
        board.engine.release_tree_hold(&issue.id, &held.hold.id, None, None, &Board::person()).await.unwrap();
        let next = world
            .eventually("a run after the hold", || async {
                later(&board, 60).await;
                world.runs_of(&ada.id).await.into_iter().nth(2)
            })
            .await;
        assert_eq!(next.context["wakeReason"], "issue_continuation_needed");
        assert_eq!(counts(&board, &issue.id).await, before.0, "a pause is not the work's fault");
    }

    async fn a_hold_keeps_what_was_queued_before_it_and_lets_through_what_is_written_since(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", InProgress, Some(&ada)).await;
        let (run, _) = board.running(&ada, &issue).await;
        // Somebody writes while it works: its follow-up is queued, and proven to come of that comment.
        board.say(&issue.id, "look again", &Board::person()).await.unwrap();
        let waiting = world
            .eventually("a follow-up", || async {
                world.runs_of(&ada.id).await.into_iter().find(|it| it.status == RunStatus::Queued)
            })
            .await;
        world.clock.advance(std::time::Duration::from_secs(1));
        board.engine.operate_tree(&issue.id, operation(Mode::Pause), &Board::person()).await.unwrap();
        // The answer is behind the commit: whoever looks next sees that the run is being stopped, or is over.
        assert!(world.run(&run.id).await.stop_asked_at.is_some());
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        board.engine.nudge();
        let row = world.run(&waiting.id).await;
        let reason = board.engine.held_reasons(std::slice::from_ref(&row)).await.unwrap();
        assert_eq!((row.status, reason), (RunStatus::Queued, vec![Some(domain::hold::HeldReason::Hold)]));
        // Whoever writes to a held issue is answered.
        world.clock.advance(std::time::Duration::from_secs(1));
        board.say(&issue.id, "one question", &Board::person()).await.unwrap();
        let begun = world.until(&waiting.id, RunStatus::Running).await;
        assert_eq!(begun.context["treeHoldInteraction"], json!(true));
    }

    async fn a_cancelled_tree_comes_back_as_it_was_and_wakes_its_agents_if_asked(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let top = board.quiet("top", InProgress, Some(&ada)).await;
        let open = below(&board, &top, "open", Todo, Some(&bob)).await;
        let done = below(&board, &top, "done", Done, Some(&bob)).await;
        let (run, _) = board.running(&bob, &open).await;
        let outside = IssueDraft { blocked_by: vec![open.id.clone()], ..board.draft("outside", Some(&ada)) };
        let outside = board.issue_like(outside).await;
        let before = board.count(&ada).await;
        let person = Board::person();
        let (held, _) = board.engine.operate_tree(&top.id, operation(Mode::Cancel), &person).await.unwrap();
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
        let statuses = |ids: [&IssueId; 3]| {
            let (board, ids) = (&board, ids.map(Clone::clone));
            async move {
                let mut found = Vec::new();
                for id in &ids {
                    found.push(board.row(id).await.status);
                }
                found
            }
        };
        assert_eq!(statuses([&top.id, &open.id, &done.id]).await, [Cancelled, Cancelled, Done]);
        assert_eq!(board.row(&open.id).await.lock_run_id, None);
        assert_eq!(board.reasons(&ada, &outside.id, before).await, ["issue_blocker_cancelled"]);
        // Somebody changes one of them meanwhile: it stays as it is.
        let restore = TreeOperation { metadata: Some(json!({"wakeAgents": true})), ..operation(Mode::Restore) };
        let preview = board.engine.preview_tree(&top.id, Mode::Restore, None, &person).await.unwrap();
        let skipped: Vec<&IssueId> = preview.issues.iter().filter(|it| it.skip.is_some()).map(|it| &it.issue.id).collect();
        assert_eq!(skipped, [&done.id]);
        let before = (board.count(&ada).await, board.count(&bob).await);
        let (restored, _) = board.engine.operate_tree(&top.id, restore, &person).await.unwrap();
        assert_eq!(restored.hold.status, "released");
        for id in [&top.id, &open.id] {
            assert_eq!(board.became(id).await.as_deref(), Some("todo"));
        }
        assert_eq!(board.row(&done.id).await.status, Done);
        assert_eq!(board.reasons(&ada, &top.id, before.0).await, ["issue_tree_restored"]);
        assert_eq!(board.reasons(&bob, &open.id, before.1).await, ["issue_tree_restored"]);
        let holds = board.engine.tree_holds(&top.id, HoldFilter { with_members: true, ..HoldFilter::default() }).await.unwrap();
        assert_eq!(holds.iter().map(|it| (it.hold.mode.as_str(), it.hold.status.as_str())).collect::<Vec<_>>(),
            [("restore", "released"), ("cancel", "released")]);
        let one = board.engine.tree_hold(&top.id, &held.hold.id).await.unwrap();
        assert_eq!(one.members.len(), 3);
        let elsewhere = board.engine.tree_hold(&open.id, &held.hold.id).await;
        assert_eq!(refusal(elsewhere.map(drop)).1, "Issue tree hold not found");
    }

    async fn a_cancelled_tree_tells_the_owner_of_what_it_was_part_of(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let above = board.quiet("above", InProgress, Some(&ada)).await;
        let top = below(&board, &above, "top", Todo, None).await;
        below(&board, &top, "leaf", Todo, None).await;
        board.engine.operate_tree(&top.id, operation(Mode::Cancel), &Board::person()).await.unwrap();
        assert_eq!(board.reasons(&ada, &above.id, 0).await, ["issue_children_completed"]);
    }

    async fn a_preview_changes_nothing(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let top = board.quiet("top", Todo, Some(&ada)).await;
        let preview = board.engine.preview_tree(&top.id, Mode::Cancel, None, &Board::person()).await.unwrap();
        assert_eq!(preview.issues[0].becomes, Some(Cancelled));
        assert_eq!(board.row(&top.id).await, top);
        assert!(board.engine.tree_holds(&top.id, HoldFilter::default()).await.unwrap().is_empty());
        let nowhere = IssueId::from("0192f7a0-0000-4000-8000-000000000000");
        let refused = board.engine.preview_tree(&nowhere, Mode::Pause, None, &Board::person()).await;
        assert_eq!(refusal(refused.map(drop)).1, "Issue not found");
    }
}
