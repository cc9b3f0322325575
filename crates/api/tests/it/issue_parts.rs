//! The parts of an issue over the wire: comments, documents, questions, products, files, labels, marks, runs; and projects
//! and goals.

use reqwest::Method;
use serde_json::{Value, json};

use crate::issues::{Acme, path};
use crate::shapes::scrubbed;
use crate::stage::{Answer, id_of};

const NOBODY: &str = "0192f7a0-0000-4000-8000-00000000000a";

macro_rules! shape {
    ($name:literal, $value:expr) => {
        insta::assert_json_snapshot!($name, scrubbed($value))
    };
}

impl Acme {
    async fn delete(&self, path: &str) -> Answer {
        self.stage.send(self.stage.http.delete(self.stage.url(path))).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.stage.send(self.stage.http.put(self.stage.url(path)).json(&body)).await
    }
}

#[track_caller]
fn refused(answer: &Answer, status: u16, text: &str) {
    let refusal = answer.refusal();
    assert_eq!((refusal.0, refusal.2.as_str()), (status, text));
}

#[tokio::test]
async fn comments_are_listed_from_both_ends() {
    let acme = Acme::new().await;
    let issue = acme.issue(json!({"title": "talk"})).await;
    let comments = path(&issue, "/comments");
    let mut made = Vec::new();
    for body in ["one", "two", "three"] {
        let answer = acme.post(&comments, json!({ "body": body })).await;
        assert_eq!(answer.status, 201);
        made.push(answer.good());
    }
    shape!("comment", made[0].clone());
    let bodies = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|it| it["body"].as_str().unwrap().to_owned()).collect()
    };
    let two = id_of(&made[1]);
    for (query, expected) in [
        (String::new(), vec!["three", "two", "one"]),
        ("?order=asc".into(), vec!["one", "two", "three"]),
        (format!("?after={two}"), vec!["one"]),
        (format!("?afterCommentId={two}&order=asc"), vec!["three"]),
        (format!("?after={NOBODY}"), vec![]),
        ("?after=nothing".into(), vec![]),
        ("?limit=2".into(), vec!["three", "two"]),
        ("?limit=0".into(), vec!["three"]),
    ] {
        let found = acme.stage.get(&format!("{comments}{query}")).await.good();
        assert_eq!(bodies(&found), expected, "{query}");
    }
    let page = acme.stage.get(&format!("{comments}?limit=2")).await;
    let cursor = page.header("bugle-cursor").unwrap().to_owned();
    let rest = acme.stage.get(&format!("{comments}?limit=2&cursor={cursor}")).await;
    assert_eq!((bodies(&rest.json()), rest.header("bugle-cursor")), (vec!["one".to_owned()], None));
    refused(&acme.stage.get(&format!("{comments}/{NOBODY}")).await, 404, "Comment not found");
    refused(&acme.stage.get(&format!("{comments}/x")).await, 404, "Comment not found");
    refused(&acme.post(&comments, json!({"body": " "})).await, 400, "Validation error");
    let gone = acme.delete(&format!("{comments}/{two}")).await;
    refused(&gone, 409, "Queued comment can no longer be canceled");
    let of_board = format!("{comments}/{two}");
    let answer = acme.agent(Method::DELETE, &of_board, None, json!({})).await;
    refused(&answer, 403, "Only the comment author can cancel queued comments");
    acme.stage.end().await;
}

#[tokio::test]
async fn a_document_is_never_overwritten_unseen() {
    let acme = Acme::new().await;
    let issue = acme.issue(json!({"title": "plan it"})).await;
    let plan = path(&issue, "/documents/plan");
    let body = |text: &str, base: Value| json!({"format": "markdown", "body": text, "baseRevisionId": base});
    refused(&acme.put(&plan, body("x", json!(NOBODY))).await, 409, "Document does not exist yet");
    let first = acme.put(&path(&issue, "/documents/PLAN"), body("one", Value::Null)).await;
    assert_eq!(first.status, 201);
    let first = first.good();
    shape!("document", first.clone());
    let answer = acme.put(&plan, body("two", Value::Null)).await;
    refused(&answer, 409, "Document update requires baseRevisionId");
    assert_eq!(answer.json()["details"]["currentRevisionId"], first["latestRevisionId"]);
    let answer = acme.put(&plan, body("two", json!(NOBODY))).await;
    refused(&answer, 409, "Document was updated by someone else");
    let second = acme.put(&plan, body("two", first["latestRevisionId"].clone())).await;
    assert_eq!(second.status, 200);
    assert_eq!((&second.json()["body"], &second.json()["latestBody"]), (&json!("two"), &json!("one")));
    let revisions = acme.stage.get(&format!("{plan}/revisions")).await.good();
    shape!("document_revision", revisions[0].clone());
    let numbers: Vec<i64> =
        revisions.as_array().unwrap().iter().map(|it| it["revisionNumber"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [2, 1]);
    let restore = |revision: &Value| format!("{plan}/revisions/{}/restore", revision.as_str().unwrap());
    let latest = acme.post(&restore(&revisions[0]["id"]), json!({})).await;
    refused(&latest, 409, "Selected revision is already the latest revision");
    let restored = acme.post(&restore(&revisions[1]["id"]), json!({})).await.good();
    assert_eq!((&restored["body"], &restored["latestRevisionNumber"]), (&json!("one"), &json!(3)));
    refused(&acme.post(&restore(&json!(NOBODY)), json!({})).await, 404, "Revision not found");
    refused(&acme.stage.get(&path(&issue, "/documents/-x")).await, 400, "Invalid document key");
    refused(&acme.stage.get(&path(&issue, "/documents/none")).await, 404, "Document not found");
    for wrong in [json!({"body": "x"}), json!({"format": "html", "body": "x"}), json!({"format": "markdown"})]
    {
        refused(&acme.put(&plan, wrong).await, 400, "Validation error");
    }
    let agents = acme.agent(Method::DELETE, &plan, None, json!({})).await;
    refused(&agents, 403, "Board authentication required");
    assert_eq!(acme.delete(&plan).await.good(), json!({"ok": true}));
    assert_eq!(acme.stage.get(&path(&issue, "/documents")).await.good(), json!([]));
    acme.stage.end().await;
}

#[tokio::test]
async fn people_answer_what_agents_ask() {
    let acme = Acme::new().await;
    let issue = acme.issue(json!({"title": "ask"})).await;
    let asks = path(&issue, "/interactions");
    let tasks = json!({
        "kind": "suggest_tasks",
        "payload": {"tasks": [
            {"clientKey": "a", "title": "First", "description": "x\\ny"},
            {"clientKey": "b", "title": "Second", "parentClientKey": "a"},
        ]},
    });
    let asked = acme.post(&asks, tasks).await;
    assert_eq!(asked.status, 201);
    let asked = asked.good();
    shape!("interaction", asked.clone());
    let act = |asked: &Value, what: &str| format!("{asks}/{}/{what}", asked["id"].as_str().unwrap());
    let by_agent = acme.agent(Method::POST, &act(&asked, "accept"), None, json!({})).await;
    refused(&by_agent, 403, "Board access required");
    for wrong in [json!({"selectedClientKeys": []}), json!({"selectedClientKeys": ["a", "a"]})] {
        refused(&acme.post(&act(&asked, "accept"), wrong).await, 400, "Validation error");
    }
    let accepted = acme.post(&act(&asked, "accept"), json!({"selectedClientKeys": ["a"]})).await.good();
    assert_eq!(
        (&accepted["status"], &accepted["resolvedByUserId"]),
        (&json!("accepted"), &json!("local-board"))
    );
    let created = accepted["result"]["createdTasks"][0]["issueId"].as_str().unwrap().to_owned();
    let made = acme.stage.get(&format!("/api/issues/{created}")).await.good();
    assert_eq!((&made["title"], &made["description"]), (&json!("First"), &json!("x\ny")));
    refused(
        &acme.post(&act(&asked, "accept"), json!({})).await,
        409,
        "Interaction has already been resolved",
    );
    refused(&acme.post(&format!("{asks}/{NOBODY}/accept"), json!({})).await, 404, "Interaction not found");

    let confirm = json!({
        "kind": "request_confirmation", "idempotencyKey": "k",
        "payload": {"prompt": "Go?", "rejectRequiresReason": true},
    });
    let confirm = acme.post(&asks, confirm).await.good();
    assert_eq!(confirm["continuationPolicy"], "none");
    let other =
        json!({"kind": "request_confirmation", "idempotencyKey": "k", "payload": {"prompt": "Stop?"}});
    let text = "Interaction idempotency key already exists for a different request";
    refused(&acme.post(&asks, other).await, 409, text);
    let without = acme.post(&act(&confirm, "reject"), json!({})).await;
    refused(&without, 422, "A decline reason is required for this confirmation");
    let rejected = acme.post(&act(&confirm, "reject"), json!({"reason": "no"})).await.good();
    assert_eq!((&rejected["status"], &rejected["result"]["reason"]), (&json!("rejected"), &json!("no")));

    let questions = json!({
        "kind": "ask_user_questions",
        "payload": {"questions": [{"id": "q", "prompt": "Which?", "selectionMode": "single", "required": true,
            "options": [{"id": "x", "label": "X"}, {"id": "y", "label": "Y"}]}]},
    });
    let questions = acme.post(&asks, questions).await.good();
    let unknown = acme
        .post(&act(&questions, "respond"), json!({"answers": [{"questionId": "z", "optionIds": []}]}))
        .await;
    assert_eq!(unknown.status, 422, "{}", unknown.text);
    for wrong in [json!({}), json!({"answers": [{"questionId": "q"}]}), json!({"answers": "x"})] {
        refused(&acme.post(&act(&questions, "respond"), wrong).await, 400, "Validation error");
    }
    let body = json!({"answers": [{"questionId": "q", "optionIds": ["x"]}], "summaryMarkdown": "a\\nb"});
    let answered = acme.post(&act(&questions, "respond"), body).await.good();
    assert_eq!(answered["result"]["summaryMarkdown"], "a\nb");
    for wrong in [json!({"kind": "dance", "payload": {}}), json!({"kind": "suggest_tasks"}), json!({})] {
        refused(&acme.post(&asks, wrong).await, 400, "Validation error");
    }
    let listed = acme.stage.get(&asks).await.good();
    let statuses: Vec<&str> =
        listed.as_array().unwrap().iter().map(|it| it["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["accepted", "rejected", "answered"]);
    acme.stage.end().await;
}

#[tokio::test]
async fn of_each_kind_one_work_product_is_primary() {
    let acme = Acme::new().await;
    let issue = acme.issue(json!({"title": "make"})).await;
    let products = path(&issue, "/work-products");
    let body = |title: &str| json!({"type": "pull_request", "provider": "forge", "title": title, "isPrimary": true, "url": "https://x.test/1"});
    let answer = acme.post(&products, body("one")).await;
    assert_eq!(answer.status, 201);
    shape!("work_product", answer.good());
    let two = acme.post(&products, body("two")).await.good();
    let listed = acme.stage.get(&products).await.good();
    let primary: Vec<(&Value, &Value)> =
        listed.as_array().unwrap().iter().map(|it| (&it["title"], &it["isPrimary"])).collect();
    assert_eq!(primary, [(&json!("two"), &json!(true)), (&json!("one"), &json!(false))]);
    for wrong in [
        json!({"type": "poem", "provider": "x", "title": "x"}),
        json!({"type": "branch", "provider": "x"}),
        json!({"type": "branch", "provider": "x", "title": "x", "url": "nowhere"}),
    ] {
        refused(&acme.post(&products, wrong).await, 400, "Validation error");
    }
    let one = format!("/api/work-products/{}", id_of(&two));
    let changed = acme.stage.patch(&one, json!({"status": "merged", "url": null})).await.good();
    assert_eq!((&changed["status"], &changed["url"]), (&json!("merged"), &Value::Null));
    assert_eq!(acme.delete(&one).await.good()["id"], two["id"]);
    refused(&acme.delete(&one).await, 404, "Work product not found");
    acme.stage.end().await;
}

/// A form with one file, written by hand.
fn form(name: &str, filename: &str, kind: &str, bytes: &[u8], comment: Option<&str>) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    if let Some(comment) = comment {
        let part =
            format!("--B\r\nContent-Disposition: form-data; name=\"issueCommentId\"\r\n\r\n{comment}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head = format!(
        "--B\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\nContent-Type: {kind}\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--B--\r\n");
    ("multipart/form-data; boundary=B".to_owned(), body)
}

impl Acme {
    async fn upload(&self, path: &str, (kind, body): (String, Vec<u8>)) -> Answer {
        let request = self.stage.http.post(self.stage.url(path)).header("content-type", kind).body(body);
        self.stage.send(request).await
    }
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_sent() {
    let acme = Acme::new().await;
    let issue = acme.issue(json!({"title": "files"})).await;
    let comment = acme.post(&path(&issue, "/comments"), json!({"body": "see file"})).await.good();
    let upload = format!(
        "/api/companies/{}/issues/{}/attachments",
        acme.company,
        issue["identifier"].as_str().unwrap()
    );
    let sent = form("file", "a b.svg", "image/svg+xml", b"<svg/>", comment["id"].as_str());
    let answer = acme.upload(&upload, sent).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let made = answer.good();
    let mut shown = made.clone();
    for key in ["objectKey", "contentPath"] {
        let text = shown[key].as_str().unwrap().to_owned();
        let id = id_of(&made);
        let asset = made["assetId"].as_str().unwrap();
        shown[key] = json!(text.replace(&id, "[id]").replace(asset, "[asset]"));
    }
    shape!("attachment", shown);
    let content = acme.stage.get(made["contentPath"].as_str().unwrap()).await;
    assert_eq!((content.status, content.text.as_str()), (200, "<svg/>"));
    for (header, value) in [
        ("content-type", "image/svg+xml"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "private, max-age=60"),
        ("content-disposition", "inline; filename=\"a b.svg\"; filename*=UTF-8''a%20b.svg"),
    ] {
        assert_eq!(content.header(header), Some(value));
    }
    assert!(content.header("content-security-policy").unwrap().starts_with("sandbox"));
    let page = acme.upload(&upload, form("file", "x.html", "text/html", b"<p>", None)).await.good();
    let content = acme.stage.get(page["contentPath"].as_str().unwrap()).await;
    assert!(content.header("content-disposition").unwrap().starts_with("attachment; "));
    let listed = acme.stage.get(&path(&issue, "/attachments")).await.good();
    assert_eq!((&listed[0]["id"], &listed[1]["id"]), (&page["id"], &made["id"]));
    let context = acme.stage.get(&path(&issue, "/heartbeat-context")).await.good();
    assert_eq!(context["attachments"][1]["filename"], "a b.svg");
    let empty = acme.upload(&upload, form("file", "x", "text/plain", b"", None)).await;
    refused(&empty, 422, "Attachment is empty");
    let other = acme.upload(&upload, form("other", "x", "text/plain", b"x", None)).await;
    refused(&other, 400, "Missing file field 'file'");
    refused(&acme.post(&upload, json!({})).await, 400, "Missing file field 'file'");
    let orphan = acme.upload(&upload, form("file", "x", "text/plain", b"x", Some(NOBODY))).await;
    refused(&orphan, 404, "Comment not found");
    let elsewhere = acme.stage.company("Elsewhere").await;
    let wrong = format!("/api/companies/{elsewhere}/issues/{}/attachments", id_of(&issue));
    let foreign = acme.upload(&wrong, form("file", "x", "text/plain", b"x", None)).await;
    refused(&foreign, 422, "Issue does not belong to company");
    let one = format!("/api/attachments/{}", id_of(&made));
    assert_eq!(acme.delete(&one).await.good(), json!({"ok": true}));
    refused(&acme.stage.get(&format!("{one}/content")).await, 404, "Attachment not found");
    // Of what was refused or removed nothing is left.
    let left = std::fs::read_dir(acme.stage.folder.path().join("attachments")).unwrap().count();
    assert_eq!(left, 1);
    acme.stage.end().await;
}

#[tokio::test]
async fn a_file_may_have_so_many_bytes_and_no_more() {
    let stage = crate::stage::Stage::with(|options| options.attachment_limit = 1000).await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let key = stage.key_of(&company, &agent).await;
    let acme = Acme { stage, company, agent, key };
    let issue = acme.issue(json!({"title": "files"})).await;
    let upload = format!("/api/companies/{}/issues/{}/attachments", acme.company, id_of(&issue));
    let fits = acme.upload(&upload, form("file", "x", "text/plain", &[b'x'; 1000], None)).await.good();
    assert_eq!(fits["byteSize"], 1000);
    for size in [1001, 1 << 20, 3 << 20] {
        let answer = acme.upload(&upload, form("file", "x", "text/plain", &vec![b'x'; size], None)).await;
        refused(&answer, 422, "Attachment exceeds 1000 bytes");
    }
    acme.stage.end().await;
}

#[tokio::test]
async fn labels_and_marks() {
    let acme = Acme::new().await;
    let labels = format!("/api/companies/{}/labels", acme.company);
    let answer = acme.post(&labels, json!({"name": "bug", "color": "#FF0000"})).await;
    assert_eq!(answer.status, 201);
    let label = answer.good();
    shape!("label", label.clone());
    for wrong in
        [json!({"name": "", "color": "#ff0000"}), json!({"name": "x", "color": "red"}), json!({"name": "x"})]
    {
        refused(&acme.post(&labels, wrong).await, 400, "Validation error");
    }
    assert_eq!(acme.stage.get(&labels).await.good(), json!([label]));
    let one = format!("/api/labels/{}", id_of(&label));
    assert_eq!(acme.delete(&one).await.good()["id"], label["id"]);
    refused(&acme.delete(&one).await, 404, "Label not found");
    let issue = acme.issue(json!({"title": "read me"})).await;
    let read = path(&issue, "/read");
    shape!("read_state", {
        let mut state = acme.post(&read, json!({})).await.good();
        state["id"] = json!("[both]");
        state
    });
    assert_eq!(acme.delete(&read).await.good(), json!({"id": issue["id"], "removed": true}));
    assert_eq!(acme.delete(&read).await.good()["removed"], false);
    let archive = path(&issue, "/inbox-archive");
    assert!(acme.post(&archive, json!({})).await.good()["archivedAt"].is_string());
    let inbox = format!("/api/companies/{}/issues?inboxArchivedByUserId=me", acme.company);
    assert_eq!(acme.stage.get(&inbox).await.good(), json!([]));
    assert_eq!(acme.delete(&archive).await.good()["archivedAt"], Value::Null);
    assert_eq!(acme.delete(&archive).await.good(), json!({"ok": true}));
    refused(&acme.agent(Method::POST, &read, None, json!({})).await, 403, "Board access required");
    acme.stage.end().await;
}

#[tokio::test]
async fn an_issue_tells_who_works_on_it_and_what_was_done() {
    let acme = Acme::new().await;
    let quiet = acme.issue(json!({"title": "quiet"})).await;
    assert_eq!(acme.stage.get(&path(&quiet, "/active-run")).await.good(), Value::Null);
    assert_eq!(acme.stage.get(&path(&quiet, "/live-runs")).await.good(), json!([]));
    let issue = acme.issue(json!({"title": "busy", "status": "todo", "assigneeAgentId": acme.agent})).await;
    let run = acme.run_on(&id_of(&issue)).await;
    let live = acme.stage.get(&path(&issue, "/live-runs")).await.good();
    assert!(live[0].get("companyId").is_none() && live[0].get("issueId").is_none());
    let active = acme.stage.get(&path(&issue, "/active-run")).await.good();
    assert_eq!(
        (&active["id"], &active["issueId"], &active["agentName"]),
        (&json!(run), &issue["id"], &json!("Engineer"))
    );
    assert!(active.get("companyId").is_none());
    // A run may hold another issue beside its own; it is shown where it works.
    let beside = json!({"title": "beside", "status": "backlog", "assigneeAgentId": acme.agent});
    let beside = acme.issue(beside).await;
    let take = json!({"agentId": acme.agent, "expectedStatuses": ["backlog"]});
    let taken = acme.agent(Method::POST, &path(&beside, "/checkout"), Some(&run), take).await.good();
    assert_eq!(taken["executionRunId"], run.as_str());
    assert_eq!(acme.stage.get(&path(&beside, "/active-run")).await.good(), Value::Null);
    let detail = acme.stage.get(&path(&issue, "")).await.good();
    assert_eq!(
        (&detail["executionRunId"], &detail["executionAgentNameKey"]),
        (&json!(run), &json!("engineer"))
    );
    for (body, status, text) in [
        (json!({"decision": "ignore"}), 400, "Unsupported watchdog decision"),
        (json!({"decision": "snooze"}), 400, "snoozedUntil must be a future ISO datetime"),
        (
            json!({"decision": "snooze", "snoozedUntil": "2020-01-01T00:00:00Z"}),
            400,
            "snoozedUntil must be a future ISO datetime",
        ),
        (
            json!({"decision": "continue", "evaluationIssueId": NOBODY}),
            403,
            "Watchdog decision evaluation issue is not bound to the target run",
        ),
    ] {
        let answer = acme.post(&format!("/api/heartbeat-runs/{run}/watchdog-decisions"), body).await;
        refused(&answer, status, text);
    }
    let watch = format!("/api/heartbeat-runs/{run}/watchdog-decisions");
    let agents = acme.agent(Method::POST, &watch, None, json!({"decision": "continue"})).await;
    refused(&agents, 403, "Only the board or the assigned recovery owner can record watchdog decisions");
    let decided = acme.post(&watch, json!({"decision": "continue", "reason": "it compiles"})).await.good();
    assert!(decided["snoozedUntil"].is_string());
    acme.stage.puppets.end(&run, 0);
    acme.stage.over(&acme.company, &run).await;
    let runs = acme.stage.get(&path(&issue, "/runs")).await.good();
    let of_issue: Vec<&Value> =
        runs.as_array().unwrap().iter().filter(|it| it["runId"] == run.as_str()).collect();
    assert_eq!((of_issue.len(), &of_issue[0]["adapterType"]), (1, &json!("process")));
    let activity = acme.stage.get(&path(&issue, "/activity")).await.good();
    let first = activity.as_array().unwrap().last().unwrap();
    assert_eq!((&first["action"], &first["actorId"]), (&json!("issue.created"), &json!("local-board")));
    assert_eq!(acme.stage.get(&format!("/api/heartbeat-runs/{NOBODY}/issues")).await.good(), json!([]));
    acme.stage.end().await;
}

#[tokio::test]
async fn approvals_are_linked_with_issues() {
    let acme = Acme::new().await;
    let issue = acme.issue(json!({"title": "may we"})).await;
    let links = path(&issue, "/approvals");
    assert_eq!(acme.stage.get(&links).await.good(), json!([]));
    let draft = engine::ApprovalDraft {
        kind: "request_board_approval".to_owned(),
        payload: json!({"title": "Spend", "apiKey": "hidden"}),
        requested_by_agent_id: None,
        issue_ids: Vec::new(),
    };
    let author = engine::Author::local_board();
    let approval =
        acme.stage.engine.create_approval(&acme.company.as_str().into(), draft, &author).await.unwrap();
    let answer = acme.post(&links, json!({"approvalId": approval.id})).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let linked = answer.good();
    assert_eq!(
        (&linked[0]["id"], &linked[0]["payload"]["apiKey"]),
        (&json!(approval.id), &json!("***REDACTED***"))
    );
    refused(&acme.post(&links, json!({"approvalId": NOBODY})).await, 404, "Approval not found");
    refused(&acme.post(&links, json!({"approvalId": "x"})).await, 400, "Validation error");
    let agents = acme.agent(Method::POST, &links, None, json!({"approvalId": approval.id})).await;
    refused(&agents, 403, "Missing permission to link approvals");
    assert_eq!(acme.delete(&format!("{links}/{}", approval.id)).await.good(), json!({"ok": true}));
    assert_eq!(acme.stage.get(&links).await.good(), json!([]));
    acme.stage.end().await;
}

#[tokio::test]
async fn projects_with_workspaces_and_goals() {
    let acme = Acme::new().await;
    let goals = format!("/api/companies/{}/goals", acme.company);
    let answer = acme.post(&goals, json!({"title": "Ship it"})).await;
    assert_eq!(answer.status, 201);
    let goal = answer.good();
    shape!("goal", goal.clone());
    let one = format!("/api/goals/{}", id_of(&goal));
    assert_eq!(acme.stage.get(&one).await.good(), goal);
    assert_eq!(acme.stage.patch(&one, json!({"status": "active"})).await.good()["status"], "active");
    refused(&acme.stage.patch(&one, json!({"level": "world"})).await, 400, "Validation error");
    refused(&acme.stage.get("/api/goals/x").await, 404, "Goal not found");
    let projects = format!("/api/companies/{}/projects", acme.company);
    let body = json!({
        "name": "Web Site", "goalId": goal["id"], "color": "#112233",
        "workspace": {"repoUrl": "https://x.test/acme/site.git", "cwd": "/srv/site"},
    });
    let answer = acme.post(&projects, body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let project = answer.good();
    let mut shown = project.clone();
    let folder = shown["codebase"]["managedFolder"].as_str().unwrap().to_owned();
    let (company, id) = (acme.company.clone(), id_of(&project));
    shown["codebase"]["managedFolder"] =
        json!(folder.replace(&company, "[company]").replace(&id, "[project]"));
    shape!("project", shown);
    let company = &acme.company;
    let named = acme.stage.get(&format!("/api/projects/web-site?companyId={company}")).await.good();
    assert_eq!(named, project);
    assert_eq!(
        acme.agent(Method::GET, "/api/projects/web-site", None, json!({})).await.good()["id"],
        project["id"]
    );
    refused(&acme.stage.get("/api/projects/web-site").await, 404, "Project not found");
    refused(&acme.stage.get(&format!("/api/projects/{NOBODY}")).await, 404, "Project not found");
    for (body, status, text) in [
        (json!({}), 400, "Validation error"),
        (json!({"name": "x", "status": "paused"}), 400, "Validation error"),
        (json!({"name": "x", "goalIds": ["y"]}), 400, "Validation error"),
        (json!({"name": "x", "executionWorkspacePolicy": {"colour": 1}}), 400, "Validation error"),
        (json!({"name": "x", "workspace": {"name": "nowhere"}}), 422, "Invalid project workspace payload"),
    ] {
        let refusal = acme.post(&projects, body.clone()).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (status, text), "{body}");
    }
    let commands = json!({
        "name": "x", "executionWorkspacePolicy": {"workspaceStrategy": {"provisionCommand": "rm"}},
        "workspace": {"cwd": "/x", "cleanupCommand": "rm"},
    });
    let answer = acme.agent(Method::POST, &projects, None, commands).await;
    refused(
        &answer,
        403,
        "Agent keys cannot modify host-executed workspace commands \
         (executionWorkspacePolicy.workspaceStrategy.provisionCommand, workspace.cleanupCommand).",
    );
    let path = format!("/api/projects/{id}");
    let workspaces = format!("{path}/workspaces");
    refused(&acme.post(&workspaces, json!({"name": "x"})).await, 400, "Validation error");
    let second = acme.post(&workspaces, json!({"cwd": "/srv/two", "isPrimary": true})).await;
    assert_eq!(second.status, 201);
    let second = second.good();
    shape!("project_workspace", second.clone());
    let listed = acme.stage.get(&workspaces).await.good();
    assert_eq!((&listed[0]["id"], &listed[1]["isPrimary"]), (&second["id"], &json!(false)));
    let one = format!("{workspaces}/{}", id_of(&second));
    assert_eq!(acme.stage.patch(&one, json!({"cwd": "/srv/three"})).await.good()["cwd"], "/srv/three");
    assert_eq!(acme.delete(&one).await.good()["id"], second["id"]);
    refused(&acme.delete(&one).await, 404, "Project workspace not found");
    let changed =
        acme.stage.patch(&path, json!({"description": "d", "targetDate": "2027-01-31"})).await.good();
    assert_eq!(
        (&changed["targetDate"], &changed["primaryWorkspace"]["cwd"]),
        (&json!("2027-01-31"), &json!("/srv/site"))
    );
    assert_eq!(acme.stage.get(&projects).await.good().as_array().unwrap().len(), 1);
    assert_eq!(acme.delete(&path).await.good()["id"], project["id"]);
    refused(&acme.delete(&path).await, 404, "Project not found");
    acme.stage.end().await;
}
