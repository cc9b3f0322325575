//! Approvals and interactions: decided once, told once, and who asked hears of it once.

use std::sync::Arc;

use domain::ids::IssueId;
use domain::issue::IssueStatus;
use engine::issues::DocumentDraft;
use engine::{ApprovalDraft, ApprovalVerdict, Author, InteractionDraft, Reply};
use serde_json::{Value as Json, json};
use testkit::both_stores;

use crate::automation_audit::{count, records};
use crate::board::{Board, in_run, refusal, wrong_fields};

use IssueStatus::{Done, Todo};

fn ask(issues: &[&IssueId]) -> ApprovalDraft {
    ApprovalDraft {
        kind: "request_board_approval".into(),
        payload: json!({"title": "May I?"}),
        requested_by_agent_id: None,
        issue_ids: issues.iter().map(|id| (*id).clone()).collect(),
    }
}

fn interaction(kind: &str, payload: Json) -> InteractionDraft {
    InteractionDraft {
        kind: kind.into(),
        idempotency_key: None,
        source_comment_id: None,
        source_run_id: None,
        title: None,
        summary: None,
        continuation_policy: None,
        payload,
    }
}

both_stores! {
    async fn an_approval_is_decided_once_and_wakes_who_asked_once(world) {
        let board = Arc::new(Board::new(&world).await);
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let by_ada = Author::agent(&ada.id, None);
        let asked = board.engine.create_approval(&board.company, ask(&[&issue.id, &issue.id]), &by_ada).await.unwrap();
        assert_eq!((asked.status.as_str(), asked.requested_by_agent_id.as_ref()), ("pending", Some(&ada.id)));
        let linked = board.engine.issues_of_approval(&asked.id).await.unwrap();
        assert_eq!(linked.iter().map(|it| &it.id).collect::<Vec<_>>(), [&issue.id]);
        let decide = |verdict| board.engine.decide_approval(&asked.id, verdict, None, &by_ada);
        assert_eq!(refusal(decide(ApprovalVerdict::Approve).await).1, "Board access required");
        let deciders: Vec<_> = (0..10)
            .map(|_| {
                let (board, id) = (Arc::clone(&board), asked.id.clone());
                tokio::spawn(async move {
                    board.engine.decide_approval(&id, ApprovalVerdict::Approve, None, &Board::person()).await
                })
            })
            .collect();
        for decider in deciders {
            assert_eq!(decider.await.unwrap().unwrap().status, "approved");
        }
        assert_eq!(board.reasons(&ada, &issue.id, 0).await, ["approval_approved"]);
        let person = Board::person();
        let reject = board.engine.decide_approval(&asked.id, ApprovalVerdict::Reject, None, &person).await;
        assert_eq!(
            refusal(reject).1,
            "Only pending or revision requested approvals can be rejected"
        );
        assert_eq!(count(&records(&world).await, "approval.approved", "user:"), 1, "it is decided once");
    }

    async fn a_rejection_wakes_nobody_and_a_revision_may_be_asked_again(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let (by_ada, by_bob) = (Author::agent(&ada.id, None), Author::agent(&bob.id, None));
        let asked = board.engine.create_approval(&board.company, ask(&[]), &by_ada).await.unwrap();
        let person = Board::person();
        let engine = &board.engine;
        let again = |by: &Author| {
            let (id, by) = (asked.id.clone(), by.clone());
            async move { engine.resubmit_approval(&id, Some(json!({"title": "Please"})), &by).await }
        };
        assert_eq!(refusal(again(&by_ada).await).1, "Only revision requested approvals can be resubmitted");
        let revise = ApprovalVerdict::RequestRevision;
        let sent = engine.decide_approval(&asked.id, revise, Some("more".into()), &person).await.unwrap();
        assert_eq!((sent.status.as_str(), sent.decision_note.as_deref()), ("revision_requested", Some("more")));
        assert_eq!(refusal(again(&by_bob).await).1, "Only requesting agent can resubmit this approval");
        let asked_again = again(&by_ada).await.unwrap();
        assert_eq!((asked_again.status.as_str(), asked_again.decision_note), ("pending", None));
        assert_eq!(asked_again.payload["title"], "Please");
        engine.decide_approval(&asked.id, ApprovalVerdict::Reject, None, &person).await.unwrap();
        assert_eq!(board.count(&ada).await, 0);
        let chain = records(&world).await;
        for action in ["approval.revision_requested", "approval.rejected"] {
            assert_eq!(count(&chain, action, "user:"), 1, "{action}");
        }
        let named = ApprovalDraft { requested_by_agent_id: Some(ada.id.clone()), ..ask(&[]) };
        assert_eq!(refusal(engine.create_approval(&board.company, named, &by_bob).await).0, "Forbidden");
        let unknown = ApprovalDraft { kind: "x".into(), ..ask(&[]) };
        assert_eq!(wrong_fields(engine.create_approval(&board.company, unknown, &person).await), ["type"]);
        let foreign = board.neighbour().await.issue("theirs", Todo, None).await;
        let (kind, _, _) = refusal(engine.create_approval(&board.company, ask(&[&foreign.id]), &person).await);
        assert_eq!(kind, "Unprocessable");
        assert_eq!(refusal(engine.link_approval(&foreign.id, &asked.id, true, &person).await).0, "Unprocessable");
    }

    async fn the_same_question_under_the_same_key_is_asked_once_whatever_the_run(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("work", Todo, Some(&ada)).await;
        let keyed = |prompt: &str| InteractionDraft {
            idempotency_key: Some("confirmation:1".into()),
            ..interaction("request_confirmation", json!({"prompt": prompt}))
        };
        let (first, process) = board.running(&ada, &issue).await;
        let asked = board.engine.create_interaction(&issue.id, keyed("sure?"), &in_run(&ada, &first.id)).await.unwrap();
        board.finish((&first, &process)).await;
        let (second, _) = board.running(&ada, &issue).await;
        let by_second = in_run(&ada, &second.id);
        let again = board.engine.create_interaction(&issue.id, keyed("sure?"), &by_second).await.unwrap();
        assert_eq!(again.id, asked.id);
        let other = board.engine.create_interaction(&issue.id, keyed("really?"), &by_second).await;
        assert_eq!(refusal(other).1, "Interaction idempotency key already exists for a different request");
        let nameless = board.engine.create_interaction(&issue.id, keyed("x"), &Author::agent(&ada.id, None)).await;
        assert_eq!(refusal(nameless).1, "Agent run id required");
        let bad = board.engine.create_interaction(&issue.id, interaction("suggest_tasks", json!({})), &by_second).await;
        assert_eq!(wrong_fields(bad), ["payload.tasks"]);
        let listed = board.engine.interactions(&issue.id, None, 10).await.unwrap();
        assert_eq!(listed.len(), 1);
    }

    async fn accepted_tasks_become_issues_below_each_other_and_wake_their_assignees(world) {
        let board = Board::new(&world).await;
        let (ada, bob) = (board.agent("Ada").await, board.agent("Bob").await);
        let issue = board.quiet("plan", Todo, Some(&ada)).await;
        let tasks = json!({"tasks": [
            {"clientKey": "child", "parentClientKey": "top", "title": "Child", "assigneeAgentId": bob.id},
            {"clientKey": "top", "title": "Top", "priority": "high"},
            {"clientKey": "left", "title": "Left out"},
            {"clientKey": "under", "parentClientKey": "left", "title": "Left out, too"},
        ]});
        let person = Board::person();
        let asked = board.engine.create_interaction(&issue.id, interaction("suggest_tasks", tasks), &person).await.unwrap();
        let accept = |keys: &[&str]| Reply::Accept { selected: Some(keys.iter().map(|key| (*key).to_owned()).collect()) };
        let unknown = board.engine.resolve_interaction(&issue.id, &asked.id, accept(&["x"]), &person).await;
        assert_eq!(refusal(unknown).0, "Unprocessable");
        let chosen = accept(&["child", "top", "under"]);
        let done = board.engine.resolve_interaction(&issue.id, &asked.id, chosen, &person).await.unwrap();
        let result = done.result.unwrap();
        assert_eq!(result["skippedClientKeys"], json!(["left", "under"]));
        let made: Vec<&str> = result["createdTasks"].as_array().unwrap().iter().map(|it| it["clientKey"].as_str().unwrap()).collect();
        assert_eq!(made, ["top", "child"]);
        let child = IssueId(result["createdTasks"][1]["issueId"].as_str().unwrap().to_owned());
        assert_eq!(result["createdTasks"][1]["parentIssueId"], result["createdTasks"][0]["issueId"]);
        assert_eq!(board.row(&child).await.assignee_agent_id, Some(bob.id.clone()));
        assert_eq!(board.reasons(&bob, &child, 0).await, ["issue_assigned"]);
        assert_eq!(board.reasons(&ada, &issue.id, 0).await, ["issue_commented"]);
        let again = board.engine.resolve_interaction(&issue.id, &asked.id, accept(&["left"]), &person).await;
        assert_eq!(refusal(again).1, "Interaction has already been resolved");
    }

    async fn a_confirmation_gives_way_to_a_comment_and_to_a_newer_text(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("plan", Todo, Some(&ada)).await;
        let person = Board::person();
        let text = |base: Option<String>| DocumentDraft {
            title: None,
            format: "markdown".into(),
            body: "x".into(),
            change_summary: None,
            base_revision_id: base,
        };
        let plan = board.engine.put_document(&issue.id, "plan", text(None), &person).await.unwrap().document;
        let about = |revision: &str| {
            let target = json!({"type": "issue_document", "key": "plan", "revisionId": revision});
            interaction("request_confirmation", json!({"prompt": "ok?", "target": target, "rejectRequiresReason": true}))
        };
        let stale = "0192f7a0-0000-4000-8000-000000000000";
        let refused = board.engine.create_interaction(&issue.id, about(stale), &person).await;
        assert_eq!(refusal(refused).0, "Unprocessable");
        let asked = board.engine.create_interaction(&issue.id, about(&plan.latest_revision_id), &person).await.unwrap();
        let reject = |reason: Option<&str>| Reply::Reject { reason: reason.map(str::to_owned) };
        let refused = board.engine.resolve_interaction(&issue.id, &asked.id, reject(Some(" ")), &person).await;
        assert_eq!(refusal(refused).1, "A decline reason is required for this confirmation");
        board.engine.put_document(&issue.id, "plan", text(Some(plan.latest_revision_id)), &person).await.unwrap();
        let gives_way = interaction("request_confirmation", json!({"prompt": "ok?", "supersedeOnUserComment": true}));
        board.engine.create_interaction(&issue.id, gives_way, &person).await.unwrap();
        board.say(&issue.id, "by an agent", &Author::agent(&ada.id, None)).await.unwrap();
        let pending = |all: Vec<store::interactions::Interaction>| all.iter().filter(|it| it.status == "pending").count();
        assert_eq!(pending(board.engine.interactions(&issue.id, None, 10).await.unwrap()), 1);
        board.say(&issue.id, "wait", &person).await.unwrap();
        let listed = board.engine.interactions(&issue.id, None, 10).await.unwrap();
        let ends: Vec<(&str, Json)> =
            listed.iter().map(|it| (it.status.as_str(), it.result.clone().unwrap()["outcome"].clone())).collect();
        assert_eq!(ends, [("expired", json!("stale_target")), ("expired", json!("superseded_by_comment"))]);
    }

    async fn an_answer_wakes_the_assignee_of_an_open_issue_only(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let person = Board::person();
        let question = json!({"questions": [
            {"id": "q", "prompt": "which?", "selectionMode": "single", "required": true,
             "options": [{"id": "a", "label": "A"}, {"id": "b", "label": "B"}]},
        ]});
        let answer = Reply::Respond {
            answers: json!([{"questionId": "q", "optionIds": ["b"]}]),
            summary_markdown: None,
        };
        for (status, expected) in [(Todo, vec!["issue_commented"]), (Done, vec![])] {
            let issue = board.quiet("q", status, Some(&ada)).await;
            let draft = interaction("ask_user_questions", question.clone());
            let asked = board.engine.create_interaction(&issue.id, draft, &person).await.unwrap();
            let by_agent = Author::agent(&ada.id, None);
            let refused = board.engine.resolve_interaction(&issue.id, &asked.id, answer.clone(), &by_agent).await;
            assert_eq!(refusal(refused).1, "Board access required");
            let done = board.engine.resolve_interaction(&issue.id, &asked.id, answer.clone(), &person).await.unwrap();
            assert_eq!(done.status, "answered");
            assert_eq!(board.reasons(&ada, &issue.id, 0).await, expected, "{status}");
        }
        assert_eq!(count(&records(&world).await, "issue.thread_interaction_answered", "user:"), 2);
    }
}
