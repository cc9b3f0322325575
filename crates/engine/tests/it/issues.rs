//! Issues through the engine: what a change does, who hears of it, who may not make it.

use std::sync::Arc;

use domain::ids::{AgentId, IssueId};
use domain::issue::IssueStatus;
use domain::run::RunStatus;
use engine::issues::{ChildDraft, CommentDraft, DocumentDraft, IssueDraft, IssuePatch, LabelDraft};
use engine::{Author, EngineError};
use serde_json::json;
use store::comments::Order;
use store::execution_workspaces::ExecutionWorkspace;
use testkit::both_stores;

use crate::board::{Board, in_run, refusal, wrong_fields};

use IssueStatus::{Backlog, Blocked, Cancelled, Done, InProgress, InReview, Todo};

fn comment(body: &str) -> CommentDraft {
    CommentDraft { body: body.to_owned(), ..CommentDraft::default() }
}

/// A workspace of a project that runs go on in.
async fn open_place(board: &Board, project: &str) -> String {
    let (id, now) = (board.engine.new_id(), board.engine.now());
    let row = ExecutionWorkspace {
        id: id.clone(),
        company_id: board.company.clone(),
        project_id: project.to_owned(),
        project_workspace_id: None,
        source_issue_id: None,
        mode: "isolated_workspace".to_owned(),
        strategy_type: "git_worktree".to_owned(),
        name: "ACM-1".to_owned(),
        status: "idle".to_owned(),
        cwd: None,
        repo_url: None,
        base_ref: None,
        branch_name: None,
        provider_type: "git_worktree".to_owned(),
        provider_ref: None,
        derived_from: None,
        last_used_at: now,
        opened_at: now,
        closed_at: None,
        cleanup_eligible_at: None,
        cleanup_reason: None,
        metadata: None,
        node_id: "n".to_owned(),
        scope_key: "issue:x".to_owned(),
        repo_dir: None,
        base_commit: None,
        closing_at: None,
        look_at: None,
        created_at: now,
        updated_at: now,
    };
    let added = board.world.store.write(move |tx| {
        let row = row.clone();
        Box::pin(async move { store::execution_workspaces::insert(tx, &row).await })
    });
    assert!(added.await.unwrap());
    id
}

both_stores! {
    async fn a_new_issue_is_numbered_told_and_wakes_its_assignee(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let first = board.issue("One", Todo, Some(&ada)).await;
        let second = board.issue("Two", Backlog, Some(&ada)).await;
        let third = board.issue("Three", Todo, None).await;
        let numbers: Vec<&str> =
            [&first, &second, &third].iter().map(|issue| issue.identifier.as_str()).collect();
        assert_eq!(numbers, ["ACM-1", "ACM-2", "ACM-3"]);
        assert_eq!(board.reasons(&ada, &first.id, 0).await, ["issue_assigned"]);
        assert_eq!(board.reasons(&ada, &second.id, 0).await, [""; 0]);
        assert_eq!(board.actions(&first.id).await[0], "issue.created");
        // Other transactions of the store may keep an event back for a moment.
        world.eventually("the event", || async {
            let events = world.company_events(&board.company).await;
            events.iter().any(|event| event.kind == "activity.logged").then_some(())
        }).await;
        for name in [first.identifier.as_str(), "acm-1", first.id.as_str()] {
            let found = board.engine.find_issue(name).await.unwrap().expect("found");
            assert_eq!(found.id, first.id, "{name}");
        }
        assert!(board.engine.find_issue("ACM-99").await.unwrap().is_none());
        assert!(board.engine.find_issue("no id").await.unwrap().is_none());
    }

    async fn a_new_issue_that_makes_no_sense_is_refused_and_named(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let person = Board::person();
        let make = |draft: IssueDraft| board.engine.create_issue(&board.company, draft, &person);
        let bad = IssueDraft {
            title: " ".into(),
            description: Some("a\0".into()),
            parent_id: Some("ACM-1".into()),
            blocked_by: vec!["x".into()],
            request_depth: -1,
            ..IssueDraft::default()
        };
        assert_eq!(
            wrong_fields(make(bad).await),
            ["title", "description", "parentId", "blockedByIssueIds.0", "requestDepth"]
        );
        let unknown = "0192f7a0-0000-4000-8000-000000000000";
        let draft = |title: &str| board.draft(title, None);
        let rows = [
            ("two assignees", IssueDraft { assignee_user_id: Some("local-board".into()), ..board.draft("x", Some(&ada)) }, "Issue can only have one assignee"),
            ("nobody", IssueDraft { status: InProgress, ..draft("x") }, "in_progress issues require an assignee"),
            ("agent", IssueDraft { assignee_agent_id: Some(unknown.into()), ..draft("x") }, "Assignee agent not found"),
            ("user", IssueDraft { assignee_user_id: Some("who".into()), ..draft("x") }, "Assignee user not found"),
            ("blocker", IssueDraft { blocked_by: vec![unknown.into()], ..draft("x") }, "Blocked-by issues must belong to the same company"),
            ("parent", IssueDraft { parent_id: Some(unknown.into()), ..draft("x") }, "Parent issue not found"),
            ("label", IssueDraft { label_ids: vec![unknown.into()], ..draft("x") }, "One or more labels are invalid for this company"),
            ("project", IssueDraft { project_id: Some(unknown.into()), ..draft("x") }, "Project not found"),
            ("policy", IssueDraft { execution_policy: Some(json!({"stages": 1})), ..draft("x") }, "Invalid execution policy"),
        ];
        for (name, draft, words) in rows {
            assert_eq!(refusal(make(draft).await).1, words, "{name}");
        }
        // Nothing was written, and no number was used up.
        assert_eq!(board.issue("good", Todo, None).await.identifier, "ACM-1");
    }

    async fn a_change_of_assignee_or_status_wakes_whoever_is_to_work(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let status = |status| IssuePatch { status: Some(status), ..IssuePatch::default() };
        let give = |agent: &AgentId| IssuePatch { assignee_agent: Some(Some(agent.0.clone())), ..IssuePatch::default() };
        type Row<'a> = (&'a str, IssueStatus, IssuePatch, Vec<&'a str>, Vec<&'a str>);
        let rows: Vec<Row<'_>> = vec![
            ("given", Todo, give(&bob.id), vec![], vec!["issue_assigned"]),
            ("given by name", Todo, give(&"bob".into()), vec![], vec!["issue_assigned"]),
            ("given in the backlog", Backlog, give(&bob.id), vec![], vec![]),
            ("given to the same", Todo, give(&ada.id), vec![], vec![]),
            ("left the backlog", Backlog, status(Todo), vec!["issue_status_changed"], vec![]),
            ("unblocked", Blocked, status(Todo), vec!["issue_status_changed"], vec![]),
            ("opened again", Done, status(Todo), vec!["issue_status_changed"], vec![]),
            ("into review", Todo, status(InReview), vec![], vec![]),
            ("done", Todo, status(Done), vec![], vec![]),
            ("a title", Todo, IssuePatch { title: Some("t".into()), ..IssuePatch::default() }, vec![], vec![]),
        ];
        for (name, from, patch, for_ada, for_bob) in rows {
            let issue = board.quiet(name, from, Some(&ada)).await;
            let changed = board.patch(&issue.id, patch, &Board::person()).await.unwrap();
            assert_eq!(board.reasons(&ada, &issue.id, 0).await, for_ada, "{name}");
            assert_eq!(board.reasons(&bob, &issue.id, 0).await, for_bob, "{name}");
            assert_eq!(board.actions(&issue.id).await[..2], ["issue.created", "issue.updated"], "{name}");
            assert_eq!(changed.completed_at.is_some(), changed.status == Done, "{name}");
        }
    }

    async fn a_comment_wakes_the_assignee_and_whom_it_calls_but_never_its_author(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        // In review: no run takes it, so that everybody may write.
        let issue = board.quiet("talk", InReview, Some(&ada)).await;
        let said = board.say(&issue.id, "please look, @BOB and @nobody", &Board::person()).await.unwrap();
        assert_eq!(said.author_user_id.as_deref(), Some("local-board"));
        assert_eq!(board.reasons(&ada, &issue.id, 0).await, ["issue_commented"]);
        assert_eq!(board.reasons(&bob, &issue.id, 0).await, ["issue_comment_mentioned"]);
        let link = format!("[x](agent://{})", ada.id);
        let by_bob = Author::agent(&bob.id, None);
        let (ada_before, bob_before) = (board.count(&ada).await, board.count(&bob).await);
        board.say(&issue.id, &format!("@bob @bob {link}"), &by_bob).await.unwrap();
        // On a comment the assignee's own wake wins over the mention, and each hears once.
        let calls = board.reasons(&ada, &issue.id, ada_before).await;
        assert!(calls.len() <= 1 && calls.iter().all(|reason| reason != "issue_comment_mentioned"), "{calls:?}");
        assert_eq!(board.reasons(&bob, &issue.id, bob_before).await, [""; 0]);
        assert_eq!(board.actions(&issue.id).await.iter().filter(|it| *it == "issue.comment_added").count(), 2);
        let listed = board.engine.comments(&issue.id, Order::OldestFirst, None, 10).await.unwrap();
        assert_eq!(listed.len(), 2);
        let after = board.engine.comments(&issue.id, Order::OldestFirst, Some(listed[0].id.clone()), 10).await;
        assert_eq!(after.unwrap(), listed[1..]);
        assert_eq!(wrong_fields(board.say(&issue.id, "", &Board::person()).await), ["body"]);
        let deep = |depth| IssuePatch { request_depth: Some(depth), ..IssuePatch::default() };
        assert_eq!(wrong_fields(board.patch(&issue.id, deep(-1), &Board::person()).await), ["requestDepth"]);
        assert_eq!(board.patch(&issue.id, deep(3), &Board::person()).await.unwrap().request_depth, 3);
        assert_eq!(board.row(&issue.id).await.request_depth, 3);
    }

    async fn an_agent_that_comments_a_hundred_times_on_its_own_issue_wakes_itself_never(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("mine", Todo, Some(&ada)).await;
        let (run, _) = board.running(&ada, &issue).await;
        let before = board.count(&ada).await;
        for number in 0..100 {
            let body = format!("note {number} of @Ada [me](agent://{})", ada.id);
            board.say(&issue.id, &body, &in_run(&ada, &run.id)).await.unwrap();
        }
        assert_eq!(board.count(&ada).await, before);
        assert_eq!(world.runs_of(&ada.id).await.len(), 1);
    }

    async fn a_person_opens_a_closed_issue_by_writing_and_an_agent_only_when_it_says_so(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        for from in [Done, Cancelled, Blocked] {
            let issue = board.quiet("closed", from, Some(&ada)).await;
            board.say(&issue.id, "again", &Board::person()).await.unwrap();
            assert_eq!(board.became(&issue.id).await.as_deref(), Some("todo"), "{from}");
            assert_eq!(board.reasons(&ada, &issue.id, 0).await, ["issue_reopened_via_comment"], "{from}");
        }
        let closed = board.quiet("closed", Done, Some(&ada)).await;
        board.say(&closed.id, "fyi", &Author::agent(&bob.id, None)).await.unwrap();
        assert_eq!(board.row(&closed.id).await.status, Done);
        assert_eq!(board.reasons(&ada, &closed.id, 0).await, [""; 0]);
        let again = CommentDraft { reopen: true, ..comment("again") };
        let by_bob = Author::agent(&bob.id, None);
        let refused = board.engine.comment_on_issue(&closed.id, again.clone(), &by_bob).await;
        assert_eq!(
            refusal(refused).1,
            "Agent cannot request follow-up for another agent's issue"
        );
        board.engine.comment_on_issue(&closed.id, again, &Author::agent(&ada.id, None)).await.unwrap();
        assert_eq!(board.became(&closed.id).await.as_deref(), Some("todo"));
    }

    async fn the_last_blocker_that_is_done_wakes_the_owner_once(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let (a, b) = (board.issue("a", Todo, None).await, board.issue("b", Todo, None).await);
        let blocked_by = vec![a.id.clone(), b.id.clone()];
        let waiting = board.issue_like(IssueDraft { blocked_by, ..board.draft("w", Some(&ada)) }).await;
        assert!(waiting.waits_on_blockers);
        let before = board.count(&ada).await;
        board.move_to(&a.id, Done).await;
        assert_eq!(board.reasons(&ada, &waiting.id, before).await, [""; 0]);
        board.move_to(&b.id, Done).await;
        assert_eq!(board.reasons(&ada, &waiting.id, before).await, ["issue_blockers_resolved"]);
        assert!(!board.row(&waiting.id).await.waits_on_blockers);
        board.move_to(&b.id, Todo).await;
        assert!(board.row(&waiting.id).await.waits_on_blockers, "a blocker was opened again");
    }

    async fn blockers_that_end_at_the_same_moment_wake_the_owner_exactly_once(world) {
        let board = Arc::new(Board::new(&world).await);
        let ada = board.agent("Ada").await;
        for round in 0..5 {
            let mut blockers = Vec::new();
            for name in ["a", "b", "c"] {
                blockers.push(board.issue(name, Todo, None).await.id);
            }
            let draft = IssueDraft { blocked_by: blockers.clone(), ..board.draft("w", Some(&ada)) };
            let waiting = board.issue_like(draft).await;
            let before = board.count(&ada).await;
            let ends: Vec<_> = blockers
                .into_iter()
                .map(|id| {
                    let board = Arc::clone(&board);
                    tokio::spawn(async move { board.move_to(&id, Done).await })
                })
                .collect();
            for end in ends {
                end.await.unwrap();
            }
            let reasons = board.reasons(&ada, &waiting.id, before).await;
            assert_eq!(reasons, ["issue_blockers_resolved"], "round {round}");
        }
    }

    async fn a_cancelled_blocker_is_told_to_the_owner_of_what_it_blocks(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let blocker = board.issue("a", Todo, None).await;
        let draft = IssueDraft { blocked_by: vec![blocker.id.clone()], ..board.draft("w", Some(&ada)) };
        let waiting = board.issue_like(draft).await;
        let before = board.count(&ada).await;
        board.move_to(&blocker.id, Cancelled).await;
        assert_eq!(board.reasons(&ada, &waiting.id, before).await, ["issue_blocker_cancelled"]);
        assert!(board.row(&waiting.id).await.waits_on_blockers, "only done resolves");
        // Taking the edge away does, too.
        let free = IssuePatch { blocked_by: Some(vec![]), ..IssuePatch::default() };
        board.patch(&waiting.id, free, &Board::person()).await.unwrap();
        let reasons = board.reasons(&ada, &waiting.id, before).await;
        assert_eq!(reasons.last().map(String::as_str), Some("issue_blockers_resolved"), "{reasons:?}");
        assert!(board.actions(&waiting.id).await.contains(&"issue.blockers_updated".to_owned()));
    }

    async fn circles_of_blockers_and_of_parents_are_refused(world) {
        let board = Board::new(&world).await;
        let a = board.issue("a", Todo, None).await;
        let b = board.issue_like(IssueDraft { blocked_by: vec![a.id.clone()], ..board.draft("b", None) }).await;
        let c = board.issue_like(IssueDraft { blocked_by: vec![b.id.clone()], ..board.draft("c", None) }).await;
        let by = |blockers: &[&IssueId]| IssuePatch {
            blocked_by: Some(blockers.iter().map(|id| (*id).clone()).collect()),
            ..IssuePatch::default()
        };
        let person = Board::person();
        let refused = refusal(board.patch(&a.id, by(&[&c.id]), &person).await);
        assert_eq!(refused.1, "Blocking relations cannot contain cycles");
        let refused = refusal(board.patch(&a.id, by(&[&a.id]), &person).await);
        assert_eq!(refused.1, "Issue cannot be blocked by itself");
        let start = IssuePatch { status: Some(InProgress), assignee_user_id: Some(Some("local-board".into())), ..IssuePatch::default() };
        let (_, words, details) = refusal(board.patch(&b.id, start, &person).await);
        assert_eq!(words, "Issue is blocked by unresolved blockers");
        assert_eq!(details, json!({"unresolvedBlockerIssueIds": [a.id]}));
        let under = |parent: &IssueId| IssuePatch { parent_id: Some(Some(parent.clone())), ..IssuePatch::default() };
        board.patch(&b.id, under(&a.id), &person).await.unwrap();
        let refused = refusal(board.patch(&a.id, under(&b.id), &person).await);
        assert_eq!(refused.1, "An issue cannot be below itself");
    }

    async fn the_last_open_child_wakes_the_owner_of_the_parent(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let parent = board.quiet("parent", InProgress, Some(&ada)).await;
        let child = |title: &str| ChildDraft { issue: board.draft(title, None), ..ChildDraft::default() };
        let person = Board::person();
        let one = board.engine.create_child_issue(&parent.id, child("one"), &person).await.unwrap();
        let draft = ChildDraft {
            acceptance_criteria: vec!["it works".into()],
            block_parent_until_done: true,
            ..child("two")
        };
        let two = board.engine.create_child_issue(&parent.id, draft, &person).await.unwrap();
        assert_eq!(two.parent_id.as_ref(), Some(&parent.id));
        assert_eq!(two.request_depth, 1);
        assert!(two.description.as_deref().is_some_and(|text| text.contains("- it works")));
        assert!(board.row(&parent.id).await.waits_on_blockers);
        let before = board.count(&ada).await;
        board.move_to(&one.id, Done).await;
        assert_eq!(board.reasons(&ada, &parent.id, before).await, [""; 0]);
        board.move_to(&two.id, Done).await;
        assert_eq!(board.reasons(&ada, &parent.id, before).await, ["issue_children_completed"]);
    }

    async fn an_issue_has_at_most_twenty_five_children(world) {
        let board = Board::new(&world).await;
        let parent = board.issue("parent", Todo, None).await;
        let person = Board::person();
        for number in 0..25 {
            let draft = ChildDraft { issue: board.draft(&format!("{number}"), None), ..ChildDraft::default() };
            board.engine.create_child_issue(&parent.id, draft, &person).await.unwrap();
        }
        let draft = ChildDraft { issue: board.draft("more", None), ..ChildDraft::default() };
        let refused = refusal(board.engine.create_child_issue(&parent.id, draft, &person).await);
        assert_eq!(refused.1, "An issue can have at most 25 direct children");
    }

    async fn cancelling_an_issue_stops_the_run_that_works_on_it(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let (run, _) = board.running(&ada, &issue).await;
        board.move_to(&issue.id, Cancelled).await;
        let ended = world.over(&run.id).await;
        assert_eq!(ended.status, RunStatus::Cancelled);
        let after = board.row(&issue.id).await;
        assert_eq!((after.status, after.lock_run_id, after.checkout_run_id), (Cancelled, None, None));
        // Other transactions of the store may keep an event back for a moment.
        world
            .eventually("the event of the stop", || async {
                let events = world.company_events(&board.company).await;
                let told = events.iter().any(|event| {
                    event.kind == "activity.logged"
                        && event.payload.contains("heartbeat.cancelled")
                        && event.payload.contains("issue_status_cancelled")
                });
                told.then_some(())
            })
            .await;
    }

    async fn a_person_interrupts_with_a_comment_and_an_agent_cannot(world) {
        let board = Board::new(&world).await;
        let bob = board.agent("Bob").await;
        let ada = board.agent_reporting("Ada", Some(&bob.id)).await;
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let (run, _) = board.running(&ada, &issue).await;
        let stop = CommentDraft { interrupt: true, ..comment("stop, do this instead") };
        let by_bob = Author::agent(&bob.id, None);
        let refused = board.engine.comment_on_issue(&issue.id, stop.clone(), &by_bob).await;
        assert_eq!(
            refusal(refused).1,
            "Only board users can interrupt active runs from issue comments"
        );
        board.engine.comment_on_issue(&issue.id, stop, &Board::person()).await.unwrap();
        assert_eq!(world.over(&run.id).await.status, RunStatus::Cancelled);
    }

    async fn a_run_that_is_over_changes_nothing_any_more(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        board.finish((&run, &process)).await;
        let late = in_run(&ada, &run.id);
        let count = board.told(&issue.id).await.len();
        let patch = IssuePatch { status: Some(Done), ..IssuePatch::default() };
        for outcome in [
            board.patch(&issue.id, patch, &late).await.map(drop),
            board.say(&issue.id, "late", &late).await.map(drop),
            board.engine.release_issue(&issue.id, &late).await.map(drop),
        ] {
            let (kind, words, details) = refusal(outcome);
            assert_eq!((kind.as_str(), words.as_str()), ("Conflict", "Issue run ownership conflict"));
            assert_eq!(details["reason"], "run_over");
            assert_eq!(details["holderLive"], false);
            assert_eq!(details["actorRunId"], json!(run.id));
        }
        assert_eq!(board.told(&issue.id).await.len(), count, "nothing was told");
    }

    async fn companies_see_nothing_of_each_other(world) {
        let ours = Board::new(&world).await;
        let theirs = ours.neighbour().await;
        let (ada, eve) = (ours.agent("Ada").await, theirs.agent("Eve").await);
        let issue = ours.quiet("ours", Todo, Some(&ada)).await;
        let foreign = theirs.quiet("theirs", Todo, Some(&eve)).await;
        let by_eve = Author::agent(&eve.id, None);
        let engine = &ours.engine;
        let checkout = engine::issues::Checkout { agent: eve.id.clone(), expected: vec![Todo] };
        let label = LabelDraft { name: "x".into(), color: "#000000".into() };
        let text = DocumentDraft {
            title: None,
            format: "markdown".into(),
            body: "x".into(),
            change_summary: None,
            base_revision_id: None,
        };
        let outcomes = [
            ours.patch(&issue.id, IssuePatch::default(), &by_eve).await.map(drop),
            ours.say(&issue.id, "hi", &by_eve).await.map(drop),
            engine.checkout_issue(&issue.id, checkout, &by_eve).await.map(drop),
            engine.release_issue(&issue.id, &by_eve).await.map(drop),
            engine.delete_issue(&issue.id, &by_eve).await.map(drop),
            engine.put_document(&issue.id, "plan", text, &by_eve).await.map(drop),
            engine.create_label(&ours.company, label, &by_eve).await.map(drop),
            engine.create_issue(&ours.company, ours.draft("x", None), &by_eve).await.map(drop),
        ];
        for outcome in outcomes {
            let (kind, words, _) = refusal(outcome);
            assert_eq!((kind.as_str(), words.as_str()), ("Forbidden", "Agent key cannot access another company"));
        }
        // Nor does anything of theirs get into ours.
        let person = Board::person();
        let patch = |patch: IssuePatch| ours.patch(&issue.id, patch, &person);
        let rows = [
            (IssuePatch { assignee_agent: Some(Some(eve.id.0.clone())), ..IssuePatch::default() }, "Assignee must belong to same company"),
            (IssuePatch { assignee_agent: Some(Some("eve".into())), ..IssuePatch::default() }, "Agent not found"),
            (IssuePatch { blocked_by: Some(vec![foreign.id.clone()]), ..IssuePatch::default() }, "Blocked-by issues must belong to the same company"),
            (IssuePatch { parent_id: Some(Some(foreign.id.clone())), ..IssuePatch::default() }, "Parent issue not found"),
        ];
        for (change, words) in rows {
            assert_eq!(refusal(patch(change).await).1, words);
        }
        let before = theirs.count(&eve).await;
        ours.say(&issue.id, &format!("@Eve [e](agent://{})", eve.id), &person).await.unwrap();
        assert_eq!(theirs.count(&eve).await, before, "a mention reached another company");
    }

    async fn an_agent_needs_a_right_to_give_work_away(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let by_ada = Author::agent(&ada.id, None);
        let clerk = Author::Board { user: Some("clerk".into()), may_assign: false };
        let give = IssuePatch { assignee_agent: Some(Some(bob.id.0.clone())), ..IssuePatch::default() };
        assert_eq!(refusal(board.patch(&issue.id, give.clone(), &clerk).await).1, "Missing permission: tasks:assign");
        let back = IssuePatch {
            assignee_agent: Some(None),
            assignee_user_id: Some(Some("local-board".into())),
            status: Some(InReview),
            ..IssuePatch::default()
        };
        let handed = board.patch(&issue.id, back, &by_ada).await.unwrap();
        assert_eq!(handed.assignee_user_id.as_deref(), Some("local-board"));
        assert_eq!(handed.assignee_agent_id, None);
    }

    async fn a_review_is_asked_given_and_ends_the_issue(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let policy = json!({"stages": [{"type": "review", "participants": [{"type": "agent", "agentId": bob.id}]}]});
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let set = IssuePatch { execution_policy: Some(Some(policy)), ..IssuePatch::default() };
        board.patch(&issue.id, set.clone(), &Board::person()).await.unwrap();
        board.patch(&issue.id, set, &Board::person()).await.unwrap();
        let told = board.told(&issue.id).await;
        let told: Vec<_> = told.iter().filter(|entry| entry.action == "issue.reviewers_updated").collect();
        let who = json!([{"type": "agent", "agentId": bob.id, "userId": null}]);
        assert_eq!(told.len(), 1, "once, when they changed");
        assert_eq!(told[0].details, Some(json!({
            "identifier": issue.identifier, "participants": who, "addedParticipants": who, "removedParticipants": [],
        })));
        assert!(!board.actions(&issue.id).await.contains(&"issue.approvers_updated".to_owned()));
        let done = IssuePatch { status: Some(Done), ..IssuePatch::default() };
        let asked = board.patch(&issue.id, done.clone(), &Author::agent(&ada.id, None)).await.unwrap();
        assert_eq!((asked.status, asked.assignee_agent_id), (InReview, Some(bob.id.clone())));
        assert_eq!(board.reasons(&bob, &issue.id, 0).await, ["execution_review_requested"]);
        let by_bob = Author::agent(&bob.id, None);
        let refused = refusal(board.patch(&issue.id, done.clone(), &by_bob).await);
        assert_eq!(refused.1, "Approving a review or approval stage requires a comment");
        let say = IssuePatch { comment: Some("good".into()), ..done };
        let approved = board.patch(&issue.id, say, &by_bob).await.unwrap();
        assert_eq!(approved.status, Done);
        assert!(board.actions(&issue.id).await.contains(&"issue.execution_decision_recorded".to_owned()));
    }

    async fn an_issue_goes_on_where_another_one_is_worked_on(world) {
        let board = Board::new(&world).await;
        let person = Board::person();
        let project = engine::ProjectDraft { name: "Site".to_owned(), ..engine::ProjectDraft::default() };
        let project = board.engine.create_project(&board.company, project, &person).await.unwrap().project.id;
        let place = open_place(&board, &project).await;
        let of_project = |title: &str| IssueDraft { project_id: Some(project.clone()), ..board.draft(title, None) };
        let at = IssueDraft { execution_workspace_id: Some(place.clone()), ..of_project("first") };
        let (first, second) = (board.issue_like(at).await, board.issue_like(of_project("second")).await);
        assert_eq!(second.execution_workspace_id, None);
        let like = |issue: &IssueId| IssuePatch {
            inherit_execution_workspace_from: Some(issue.clone()),
            ..IssuePatch::default()
        };
        let moved = board.patch(&second.id, like(&first.id), &person).await.unwrap();
        assert_eq!(
            (moved.execution_workspace_id.as_deref(), moved.execution_workspace_preference.as_deref()),
            (Some(place.as_str()), Some("reuse_existing"))
        );
        // What is said beside it counts more.
        let elsewhere = IssuePatch { execution_workspace_id: Some(None), ..like(&first.id) };
        let moved = board.patch(&second.id, elsewhere, &person).await.unwrap();
        assert_eq!(moved.execution_workspace_id, None);
        let foreign = board.neighbour().await.issue("theirs", Todo, None).await;
        let refused = refusal(board.patch(&second.id, like(&foreign.id), &person).await);
        assert_eq!((refused.0.as_str(), refused.1.as_str()), ("NotFound", "Workspace inheritance issue not found"));
    }

    async fn a_document_is_never_written_over_unseen(world) {
        let board = Arc::new(Board::new(&world).await);
        let issue = board.issue("doc", Todo, None).await;
        let text = |body: &str, base: Option<&str>| DocumentDraft {
            title: None,
            format: "markdown".into(),
            body: body.into(),
            change_summary: None,
            base_revision_id: base.map(str::to_owned),
        };
        let person = Board::person();
        let made = board.engine.put_document(&issue.id, "Plan", text("one", None), &person).await.unwrap();
        assert!(made.created);
        let first = made.document.latest_revision_id.clone();
        let (kind, words, details) =
            refusal(board.engine.put_document(&issue.id, "plan", text("x", None), &person).await);
        assert_eq!((kind.as_str(), words.as_str()), ("Conflict", "Document update requires baseRevisionId"));
        assert_eq!(details, json!({"currentRevisionId": first}));
        // Twenty writers who read the same revision: one is right.
        let writers: Vec<_> = (0..20)
            .map(|number| {
                let (board, id, base) = (Arc::clone(&board), issue.id.clone(), first.clone());
                let draft = text(&format!("by {number}"), Some(&base));
                tokio::spawn(async move { board.engine.put_document(&id, "plan", draft, &Board::person()).await })
            })
            .collect();
        let mut written = 0;
        for writer in writers {
            match writer.await.unwrap() {
                Ok(_) => written += 1,
                Err(EngineError::Refused { message, .. }) => {
                    assert_eq!(message, "Document was updated by someone else");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(written, 1);
        let back = board.engine.restore_document(&issue.id, "plan", &first, &person).await.unwrap();
        assert_eq!((back.document.body.as_str(), back.document.latest_revision_number), ("one", 3));
        let again = board.engine.restore_document(&issue.id, "plan", &back.document.latest_revision_id, &person);
        assert_eq!(refusal(again.await).1, "Selected revision is already the latest revision");
        let revisions = board.engine.document_revisions(&issue.id, "plan").await.unwrap();
        assert_eq!(revisions.iter().map(|it| it.revision_number).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(refusal(board.engine.document(&issue.id, "a b").await).1, "Invalid document key");
    }

    async fn a_detail_and_a_context_hold_all_that_belongs_to_an_issue(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let parent = board.issue("parent", Todo, None).await;
        let blocker = board.issue("blocker", Todo, Some(&ada)).await;
        let draft = IssueDraft {
            parent_id: Some(parent.id.clone()),
            blocked_by: vec![blocker.id.clone()],
            description: Some(format!("as in {} and ACM-99", parent.identifier)),
            status: Blocked,
            ..board.draft("child", Some(&ada))
        };
        let issue = board.issue_like(draft).await;
        let said = board.say(&issue.id, "read this", &Board::person()).await.unwrap();
        let detail = board.engine.issue_detail(&issue.id).await.unwrap();
        assert_eq!(detail.ancestors.iter().map(|it| &it.id).collect::<Vec<_>>(), [&parent.id]);
        assert_eq!(detail.blocked_by.iter().map(|it| &it.id).collect::<Vec<_>>(), [&blocker.id]);
        let other_way = board.engine.issue_detail(&blocker.id).await.unwrap();
        assert_eq!(other_way.blocks.iter().map(|it| &it.id).collect::<Vec<_>>(), [&issue.id]);
        assert_eq!(detail.referenced, [parent.identifier.as_str(), "ACM-99"]);
        assert_eq!(detail.related.iter().map(|it| &it.id).collect::<Vec<_>>(), [&parent.id]);
        assert_eq!(detail.attention.state.as_str(), "covered");
        let context = board.engine.heartbeat_context(&issue.id, Some(said.id.clone())).await.unwrap();
        assert_eq!(context.wake_comment.as_ref().map(|it| &it.id), Some(&said.id));
        assert_eq!((context.cursor.total, context.cursor.latest.map(|it| it.0)), (1, Some(said.id.clone())));
        let other = board.engine.heartbeat_context(&parent.id, Some(said.id)).await.unwrap();
        assert_eq!(other.wake_comment, None, "a comment of another issue");
        let lite = board.engine.inbox_lite(&ada.id).await.unwrap();
        let item = lite.iter().find(|item| item.issue.id == issue.id).expect("in the inbox");
        assert_eq!(item.unresolved_blockers, [blocker.id]);
    }
}
