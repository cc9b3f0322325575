//! What hangs on issues and what they stand in: files, products, labels, reading, projects, goals; and races for one.

use std::sync::Arc;

use domain::agent::AgentStatus;
use domain::issue::IssueStatus;
use engine::issues::{
    AttachmentDraft, Checkout, CommentDraft, Include, IssueDraft, IssuePatch, LabelDraft, ProductDraft,
    ProductPatch, ReadMark,
};
use engine::{
    ApprovalDraft, ApprovalVerdict, Author, EngineError, GoalDraft, GoalPatch, ProjectDraft, ProjectPatch,
    WorkspaceDraft,
};
use serde_json::json;
use store::issues::Filter;
use testkit::{World, both_stores};

use crate::board::{Board, in_run, refusal, wrong_fields};

use IssueStatus::{Done, InReview, Todo};

both_stores! {
    async fn a_file_is_kept_below_the_data_folder_and_goes_with_its_row(world) {
        let board = Board::new(&world).await;
        let issue = board.issue("work", Todo, None).await;
        let person = Board::person();
        let file = |bytes: &[u8]| AttachmentDraft {
            comment: None,
            content_type: "text/plain".into(),
            original_filename: Some("../../note.txt".into()),
            bytes: bytes.to_vec(),
        };
        let kept = board.engine.create_attachment(&issue.id, file(b"hello"), &person).await.unwrap();
        let path = board.engine.attachment_path(&kept);
        assert!(path.starts_with(&board.engine.settings().data_dir), "{}", path.display());
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
        assert_eq!(kept.sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
        let empty = board.engine.create_attachment(&issue.id, file(b""), &person).await;
        assert_eq!(refusal(empty).1, "Attachment is empty");
        let eve = board.neighbour().await.agent("Eve").await;
        let refused = board.engine.create_attachment(&issue.id, file(b"x"), &Author::agent(&eve.id, None)).await;
        assert_eq!(refusal(refused).0, "Forbidden");
        let folder = path.parent().unwrap();
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "a refused file stays nowhere");
        board.engine.delete_attachment(&kept.id, &person).await.unwrap();
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
        assert_eq!(refusal(board.engine.attachment(&kept.id).await).1, "Attachment not found");
    }

    async fn one_product_of_a_kind_is_the_primary_one(world) {
        let board = Board::new(&world).await;
        let issue = board.issue("work", Todo, None).await;
        let person = Board::person();
        let branch = |title: &str| ProductDraft {
            kind: "branch".into(),
            provider: "git".into(),
            title: title.into(),
            is_primary: true,
            ..ProductDraft::default()
        };
        let bad = ProductDraft { kind: "x".into(), url: Some("here".into()), ..ProductDraft::default() };
        let outcome = board.engine.create_work_product(&issue.id, bad, &person).await;
        assert_eq!(wrong_fields(outcome), ["type", "provider", "title", "url"]);
        let one = board.engine.create_work_product(&issue.id, branch("one"), &person).await.unwrap();
        board.engine.create_work_product(&issue.id, branch("two"), &person).await.unwrap();
        let patch = ProductPatch { status: Some("merged".into()), url: Some(None), ..ProductPatch::default() };
        let patched = board.engine.patch_work_product(&one.id, patch, &person).await.unwrap();
        assert_eq!((patched.status.as_str(), patched.is_primary), ("merged", false));
        let listed = board.engine.work_products(&issue.id).await.unwrap();
        assert_eq!(listed.iter().map(|it| it.title.as_str()).collect::<Vec<_>>(), ["two", "one"]);
        board.engine.delete_work_product(&one.id, &person).await.unwrap();
        assert_eq!(board.engine.work_products(&issue.id).await.unwrap().len(), 1);
    }

    async fn labels_are_named_once_and_lists_filter_by_them(world) {
        let board = Board::new(&world).await;
        let person = Board::person();
        let red = LabelDraft { name: "bug".into(), color: "#FF0000".into() };
        let label = board.engine.create_label(&board.company, red.clone(), &person).await.unwrap();
        assert_eq!(refusal(board.engine.create_label(&board.company, red, &person).await).0, "Conflict");
        let bad = LabelDraft { name: String::new(), color: "red".into() };
        assert_eq!(wrong_fields(board.engine.create_label(&board.company, bad, &person).await), ["name", "color"]);
        let draft = IssueDraft { label_ids: vec![label.id.clone()], ..board.draft("labelled", None) };
        let labelled = board.issue_like(draft).await;
        board.issue("plain", Todo, None).await;
        let filter = Filter { label_id: Some(label.id.clone()), ..Filter::default() };
        let listed = board.engine.issues(&board.company, filter, Include::default(), 10).await.unwrap();
        assert_eq!(listed.iter().map(|it| &it.issue.id).collect::<Vec<_>>(), [&labelled.id]);
        assert_eq!(listed[0].labels, std::slice::from_ref(&label));
        let theirs = board.neighbour().await;
        let nothing = board.engine.issues(&theirs.company, Filter::default(), Include::default(), 10).await.unwrap();
        assert!(nothing.is_empty());
        board.engine.delete_label(&label.id, &person).await.unwrap();
        assert!(board.engine.issue_labels(&labelled.id).await.unwrap().is_empty());
    }

    async fn what_a_person_put_away_comes_back_when_something_happens(world) {
        let board = Board::new(&world).await;
        let person = Board::person();
        let issue = board.issue("work", Todo, None).await;
        let inbox = || async {
            let filter = Filter {
                touched_by_user_id: Some("local-board".into()),
                inbox_of_user_id: Some("local-board".into()),
                ..Filter::default()
            };
            let include = Include { touches_of_user: Some("local-board".into()), ..Include::default() };
            board.engine.issues(&board.company, filter, include, 10).await.unwrap()
        };
        assert_eq!(inbox().await.len(), 1);
        board.engine.mark_issue(&issue.id, ReadMark::Archived, &person).await.unwrap();
        assert_eq!(inbox().await.len(), 0);
        world.clock.advance(std::time::Duration::from_secs(1));
        let ada = board.agent("Ada").await;
        board.say(&issue.id, "look", &Author::agent(&ada.id, None)).await.unwrap();
        assert_eq!(inbox().await.len(), 1);
        let marked = board.engine.mark_issue(&issue.id, ReadMark::Read, &person).await.unwrap();
        assert!(marked.state.is_some_and(|state| state.last_read_at.is_some()));
        assert!(board.engine.mark_issue(&issue.id, ReadMark::Unread, &person).await.unwrap().removed);
        let by_agent = board.engine.mark_issue(&issue.id, ReadMark::Read, &Author::agent(&ada.id, None)).await;
        assert_eq!(refusal(by_agent).1, "Board access required");
    }

    async fn a_project_gives_its_issues_workspace_and_goal(world) {
        let board = Board::new(&world).await;
        let (person, engine) = (Board::person(), &board.engine);
        let goal = GoalDraft { title: "Win".into(), level: "company".into(), status: "active".into(), ..GoalDraft::default() };
        let goal = engine.create_goal(&board.company, goal, &person).await.unwrap();
        let draft = ProjectDraft {
            name: "Web Site".into(),
            goal_ids: vec![goal.id.clone()],
            workspace: Some(WorkspaceDraft { cwd: Some(Some("/srv/web".into())), ..WorkspaceDraft::default() }),
            ..ProjectDraft::default()
        };
        let card = engine.create_project(&board.company, draft.clone(), &person).await.unwrap();
        assert_eq!((card.project.url_key.as_str(), card.workspaces.len()), ("web-site", 1));
        assert!(card.workspaces[0].is_primary);
        let second = engine.create_project(&board.company, draft, &person).await.unwrap();
        assert_eq!(second.project.name, "Web Site 2");
        assert_ne!(second.project.color, card.project.color);
        let found = engine.project_named(&board.company, "Web Site").await.unwrap();
        assert_eq!(found, card);
        let inside = IssueDraft { project_id: Some(card.project.id.clone()), ..board.draft("inside", None) };
        let issue = board.issue_like(inside.clone()).await;
        assert_eq!(issue.project_workspace_id.as_ref(), Some(&card.workspaces[0].id));
        assert_eq!(issue.goal_id.as_ref(), Some(&goal.id));
        let mixed = IssueDraft { project_workspace_id: Some(second.workspaces[0].id.clone()), ..inside };
        let refused = engine.create_issue(&board.company, mixed, &person).await;
        assert_eq!(refusal(refused).1, "Project workspace must belong to the selected project");
        let patch = ProjectPatch { status: Some("in_progress".into()), lead_agent_id: Some(None), ..ProjectPatch::default() };
        assert_eq!(engine.patch_project(&card.project.id, patch, &person).await.unwrap().project.status, "in_progress");
        let bad = ProjectPatch { status: Some("x".into()), target_date: Some(Some("soon".into())), ..ProjectPatch::default() };
        assert_eq!(wrong_fields(engine.patch_project(&card.project.id, bad, &person).await), ["status", "targetDate"]);
        let eve = board.neighbour().await.agent("Eve").await;
        let refused = engine.delete_project(&card.project.id, &Author::agent(&eve.id, None)).await;
        assert_eq!(refusal(refused).0, "Forbidden");
        engine.delete_project(&card.project.id, &person).await.unwrap();
        assert_eq!(board.row(&issue.id).await.project_id, None);
        let own = GoalPatch { parent_id: Some(Some(goal.id.clone())), ..GoalPatch::default() };
        assert_eq!(wrong_fields(engine.patch_goal(&goal.id, own, &person).await), ["parentId"]);
        engine.delete_goal(&goal.id, &person).await.unwrap();
        assert_eq!(refusal(engine.goal(&goal.id).await).1, "Goal not found");
    }

    async fn a_removed_issue_frees_what_it_blocked(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let blocker = board.issue("blocker", Todo, None).await;
        let draft = IssueDraft { blocked_by: vec![blocker.id.clone()], ..board.draft("w", Some(&ada)) };
        let waiting = board.issue_like(draft).await;
        let before = board.count(&ada).await;
        board.engine.delete_issue(&blocker.id, &Board::person()).await.unwrap();
        assert_eq!(board.reasons(&ada, &waiting.id, before).await, ["issue_blockers_resolved"]);
        assert!(board.engine.find_issue(blocker.id.as_str()).await.unwrap().is_none());
        assert_eq!(refusal(board.engine.issue_detail(&blocker.id).await).1, "Issue not found");
    }

    async fn a_comment_is_taken_back_by_its_author_while_no_run_has_seen_it(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", InReview, Some(&ada)).await;
        let person = Board::person();
        let early = board.say(&issue.id, "early", &person).await.unwrap();
        let refused = board.engine.cancel_comment(&issue.id, &early.id, &Author::agent(&ada.id, None)).await;
        assert_eq!(refusal(refused).1, "Only the comment author can cancel queued comments");
        let run = world.eventually("the run of the comment", || async {
            let run = world.runs_of(&ada.id).await.into_iter().next()?;
            (run.status == domain::run::RunStatus::Running).then_some(run)
        }).await;
        world.model.until_alive(&World::first(&run.id)).await;
        world.clock.advance(std::time::Duration::from_secs(1));
        let late = board.say(&issue.id, "late", &person).await.unwrap();
        let back = board.engine.cancel_comment(&issue.id, &late.id, &person).await.unwrap();
        assert_eq!(back.body, "late");
        assert_eq!(refusal(board.engine.comment(&issue.id, &late.id).await).1, "Comment not found");
        // What the run was started with has been read.
        let seen = board.engine.cancel_comment(&issue.id, &early.id, &person).await;
        assert_eq!(refusal(seen).1, "Only queued comments can be canceled");
    }

    async fn a_hire_waits_for_its_approval_or_is_made_by_it(world) {
        let board = Board::new(&world).await;
        let person = Board::person();
        let ask = |payload| ApprovalDraft {
            kind: "hire_agent".into(),
            payload,
            requested_by_agent_id: None,
            issue_ids: vec![],
        };
        let describe = json!({"name": "Newcomer", "adapterType": "scripted", "adapterConfig": {"script": "hang"}});
        let asked = board.engine.create_approval(&board.company, ask(describe), &person).await.unwrap();
        board.engine.decide_approval(&asked.id, ApprovalVerdict::Approve, None, &person).await.unwrap();
        let company = board.company.clone();
        let found = world.read(move |tx| {
            let company = company.clone();
            Box::pin(async move { store::agents::named(tx, &company, "Newcomer", "newcomer").await })
        }).await;
        assert_eq!(found.iter().map(|it| it.status).collect::<Vec<_>>(), [AgentStatus::Idle]);
        // What nobody could approve is not asked for, not again either.
        let refused = board.engine.create_approval(&board.company, ask(json!({})), &person).await;
        assert!(wrong_fields(refused).contains(&"payload.name".to_owned()));
        let lost = json!({"name": "Lost", "adapterType": "scripted", "adapterConfig": {"script": "hang"},
            "reportsTo": "0192f7a0-0000-4000-8000-00000000000a"});
        let bad = board.engine.create_approval(&board.company, ask(lost), &person).await.unwrap();
        let outcome = board.engine.decide_approval(&bad.id, ApprovalVerdict::Approve, None, &person).await;
        assert!(matches!(outcome, Err(EngineError::NotFound("Manager"))), "{outcome:?}");
        assert_eq!(board.engine.approval(&bad.id).await.unwrap().status, "pending", "nothing was decided");
        board.engine.decide_approval(&bad.id, ApprovalVerdict::RequestRevision, None, &person).await.unwrap();
        let unknown = json!({"name": "Lost", "adapterType": "telepathy"});
        let refused = board.engine.resubmit_approval(&bad.id, Some(unknown), &person).await;
        assert_eq!(wrong_fields(refused), ["payload.adapterType"]);
    }

    async fn of_twenty_agents_one_gets_the_issue(world) {
        let board = Arc::new(Board::new(&world).await);
        let mut agents = Vec::new();
        for number in 0..20 {
            agents.push(board.agent(&format!("Agent {number}")).await);
        }
        let mut runs = Vec::new();
        for agent in &agents {
            let run = World::ran(board.engine.wake(&agent.id, World::request("find work")).await);
            world.model.until_alive(&World::first(&run.id)).await;
            runs.push(run.id);
        }
        for round in 0..3 {
            let issue = board.issue(&format!("{round}"), Todo, None).await;
            let takers: Vec<_> = agents
                .iter()
                .zip(&runs)
                .map(|(agent, run)| {
                    let (board, id, agent, run) = (Arc::clone(&board), issue.id.clone(), agent.clone(), run.clone());
                    tokio::spawn(async move {
                        let checkout = Checkout { agent: agent.id.clone(), expected: vec![Todo] };
                        board.engine.checkout_issue(&id, checkout, &in_run(&agent, &run)).await
                    })
                })
                .collect();
            let mut taken = 0;
            for taker in takers {
                match taker.await.unwrap() {
                    Ok(_) => taken += 1,
                    refused => assert_eq!(refusal(refused).2["reason"], "held_by_run"),
                }
            }
            assert_eq!(taken, 1, "round {round}");
            let row = board.row(&issue.id).await;
            assert_eq!(row.lock_run_id, row.checkout_run_id);
        }
    }

    async fn a_person_sees_what_needs_them_and_settles_it(world) {
        let board = Board::new(&world).await;
        let person = Board::person();
        let issue = board.issue("stuck", Todo, None).await;
        let item = |id: &str, cause: &str| store::inbox::InboxItem {
            id: id.to_owned(),
            company_id: board.company.clone(),
            kind: "issue_blocked".into(),
            entity_type: "issue".into(),
            entity_id: issue.id.0.clone(),
            cause: cause.to_owned(),
            title: "stuck".into(),
            details: json!({}),
            owner_agent_id: None,
            opened_at: testkit::NOON,
            resolved_at: None,
            resolution: None,
        };
        let items = [item("0192f7a0-0000-4000-8000-000000000001", "a"), item("0192f7a0-0000-4000-8000-000000000002", "b")];
        let opened = items.clone();
        world.store.write(move |tx| {
            let opened = opened.clone();
            Box::pin(async move {
                for item in &opened {
                    store::inbox::open(tx, item).await?;
                }
                Ok(())
            })
        }).await.unwrap();
        let ask = ApprovalDraft {
            kind: "request_board_approval".into(),
            payload: json!({}),
            requested_by_agent_id: None,
            issue_ids: vec![],
        };
        board.engine.create_approval(&board.company, ask, &person).await.unwrap();
        let inbox = board.engine.inbox(&board.company, None, 10).await.unwrap();
        assert_eq!((inbox.items.len(), inbox.approvals.len(), inbox.open), (2, 1, (2, 1, 0)));
        let settled = board.engine.resolve_inbox_item(&items[0].id, &person).await.unwrap();
        assert_eq!(settled.resolution.as_deref(), Some("dismissed"));
        // Moving the issue settles the rest.
        board.move_to(&issue.id, Done).await;
        assert_eq!(board.engine.inbox(&board.company, None, 10).await.unwrap().open.0, 0);
        let ada = board.agent("Ada").await;
        let refused = board.engine.resolve_inbox_item(&items[1].id, &Author::agent(&ada.id, None)).await;
        assert_eq!(refusal(refused).1, "Board access required");
    }

    async fn what_an_agent_asks_is_in_the_inbox_until_it_is_answered(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", IssueStatus::InProgress, Some(&ada)).await;
        let (run, _) = board.running(&ada, &issue).await;
        let ask = engine::InteractionDraft {
            kind: "request_confirmation".into(),
            idempotency_key: None,
            source_comment_id: None,
            source_run_id: None,
            title: Some("Ship it?".into()),
            summary: None,
            continuation_policy: None,
            payload: json!({ "version": 1, "prompt": "Ship it?" }),
        };
        let by = Author::agent(&ada.id, Some(&run.id));
        let asked = board.engine.create_interaction(&issue.id, ask.clone(), &by).await.unwrap();
        let inbox = board.engine.inbox(&board.company, None, 10).await.unwrap();
        assert_eq!((inbox.interactions, inbox.open), (vec![asked.clone()], (0, 0, 1)));
        assert_eq!(board.neighbour().await.engine.inbox(&board.company, None, 10).await.unwrap().open.2, 1);
        let neighbour = board.neighbour().await;
        assert_eq!(neighbour.engine.inbox(&neighbour.company, None, 10).await.unwrap().open.2, 0);
        let yes = engine::Reply::Accept { selected: None };
        board.engine.resolve_interaction(&issue.id, &asked.id, yes, &Board::person()).await.unwrap();
        let inbox = board.engine.inbox(&board.company, None, 10).await.unwrap();
        assert_eq!((inbox.interactions.len(), inbox.open), (0, (0, 0, 0)));
        // What is asked on an issue that is over needs nobody.
        board.engine.create_interaction(&issue.id, ask, &by).await.unwrap();
        board.set_status(&issue.id, Done).await;
        assert_eq!(board.engine.inbox(&board.company, None, 10).await.unwrap().open.2, 0);
    }

    async fn a_closing_engine_takes_no_changes(world) {
        let board = Board::new(&world).await;
        let issue = board.issue("work", Todo, None).await;
        board.engine.leave().await;
        let patch = IssuePatch { status: Some(Done), ..IssuePatch::default() };
        let refused = board.engine.patch_issue(&issue.id, patch, &Board::person()).await;
        assert!(matches!(refused, Err(EngineError::Closing)), "{refused:?}");
        let said = CommentDraft { body: "x".into(), ..CommentDraft::default() };
        assert!(board.engine.comment_on_issue(&issue.id, said, &Board::person()).await.is_err());
    }
}
