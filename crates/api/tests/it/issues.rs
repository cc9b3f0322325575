//! Issues over the wire: their shapes, who may do what with them, and a whole heartbeat of an agent, call by call.

use engine::FrameStream::Stdout;
use reqwest::Method;
use serde_json::{Value, json};

use crate::shapes::scrubbed;
use crate::stage::{Answer, Stage, id_of};

const NOBODY: &str = "0192f7a0-0000-4000-8000-00000000000a";

/// A company with an agent and its key.
pub(crate) struct Acme {
    pub(crate) stage: Stage,
    pub(crate) company: String,
    pub(crate) agent: String,
    pub(crate) key: String,
}

impl Acme {
    pub(crate) async fn new() -> Acme {
        let stage = Stage::new().await;
        let company = stage.company("Acme Corp").await;
        let agent = stage.agent(&company, "Engineer", 5).await;
        let key = stage.key_of(&company, &agent).await;
        Acme { stage, company, agent, key }
    }

    /// As the board.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.stage.post(path, body).await
    }

    /// A new issue.
    pub(crate) async fn issue(&self, body: Value) -> Value {
        self.post(&format!("/api/companies/{}/issues", self.company), body).await.good()
    }

    /// As the agent, in a run if one is named.
    pub(crate) async fn agent(&self, method: Method, path: &str, run: Option<&str>, body: Value) -> Answer {
        let request = self.stage.http.request(method, self.stage.url(path)).json(&body);
        self.stage.send(self.stage.by(request, &self.key, run)).await
    }

    /// A run of the agent whose process was started.
    pub(crate) async fn run(&self, task: &str) -> String {
        let run = self.stage.wake(&self.agent, task).await;
        self.stage.started(&run).await;
        run
    }

    /// A run of the agent on an issue that is assigned to it.
    pub(crate) async fn run_on(&self, issue: &str) -> String {
        let path = format!("/api/issues/{issue}/live-runs");
        let live = async {
            loop {
                let found = self.stage.get(&path).await.good();
                if let Some(run) = found.as_array().unwrap().first() {
                    return id_of(run);
                }
                tokio::task::yield_now().await;
            }
        };
        let run = tokio::time::timeout(crate::stage::PATIENCE, live).await.expect("the assignee is woken");
        self.stage.started(&run).await;
        run
    }
}

/// An issue's path.
pub(crate) fn path(issue: &Value, rest: &str) -> String {
    format!("/api/issues/{}{rest}", issue["id"].as_str().unwrap())
}

macro_rules! shape {
    ($name:literal, $value:expr) => {
        insta::assert_json_snapshot!($name, scrubbed($value))
    };
}

#[tokio::test]
async fn an_issue_in_all_its_forms() {
    let acme = Acme::new().await;
    let label = acme
        .post(&format!("/api/companies/{}/labels", acme.company), json!({"name": "bug", "color": "#ff0000"}))
        .await
        .good();
    let blocker = acme.issue(json!({"title": "First"})).await;
    let body = json!({
        "title": "Fix it", "description": "see ACM-1\\nnow <plan>1. do</plan>", "status": "backlog", "priority": "high",
        "assigneeAgentId": acme.agent, "labelIds": [label["id"]], "blockedByIssueIds": [blocker["id"]],
        "billingCode": "b-1", "color": "red",
    });
    let company = &acme.company;
    let answer = acme.post(&format!("/api/companies/{company}/issues"), body).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("bugle-ignored-fields"), Some("color"));
    let made = answer.good();
    shape!("issue_created", made.clone());
    shape!("issue_detail", acme.stage.get(&path(&made, "")).await.good());
    // Before anybody says anything: the assignee is woken then.
    let context = acme.stage.get(&path(&made, "/heartbeat-context")).await.good();
    shape!("heartbeat_context", context);
    // The identifier stands for the id, in small letters too.
    assert_eq!(acme.stage.get("/api/issues/acm-2").await.good()["id"], made["id"]);
    let listed =
        acme.stage.get(&format!("/api/companies/{company}/issues?includeBlockedBy=1&q=fix")).await.good();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    shape!("issue_listed", listed[0].clone());
    let patched = acme
        .stage
        .patch(&path(&made, ""), json!({"title": "Fixed", "blockedByIssueIds": [], "comment": "so\\nthere"}))
        .await
        .good();
    shape!("issue_patched", patched);
    let plain = acme.stage.patch(&path(&made, ""), json!({"priority": "low"})).await.good();
    for key in ["blockedBy", "blocks", "relatedWork", "referencedIssueIdentifiers"] {
        assert!(plain.get(key).is_none(), "{key}");
    }
    assert_eq!(plain["comment"], Value::Null);
    let gone = acme.stage.send(acme.stage.http.delete(acme.stage.url(&path(&made, "")))).await.good();
    assert_eq!(gone["id"], made["id"]);
    assert_eq!(acme.stage.get(&path(&made, "")).await.refusal().2, "Issue not found");
    acme.stage.end().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_known_words() {
    let acme = Acme::new().await;
    let issue = acme.issue(json!({"title": "One"})).await;
    let id = issue["id"].clone();
    let create = format!("/api/companies/{}/issues", acme.company);
    for (body, status, text) in [
        (json!({}), 400, "Validation error"),
        (json!({"title": " "}), 400, "Validation error"),
        (json!({"title": "x", "status": "doing"}), 400, "Validation error"),
        (json!({"title": "x", "parentId": "ACM-1"}), 400, "Validation error"),
        (json!({"title": "x", "assigneeAdapterOverrides": {"model": 1}}), 400, "Validation error"),
        (json!({"title": "x", "status": "in_progress"}), 422, "in_progress issues require an assignee"),
        (
            json!({"title": "x", "assigneeAgentId": acme.agent, "assigneeUserId": "local-board"}),
            422,
            "Issue can only have one assignee",
        ),
        (json!({"title": "x", "assigneeAgentId": NOBODY}), 404, "Assignee agent not found"),
        (json!({"title": "x", "assigneeUserId": "stranger"}), 404, "Assignee user not found"),
        (json!({"title": "x", "parentId": NOBODY}), 404, "Parent issue not found"),
        (json!({"title": "x", "projectId": NOBODY}), 404, "Project not found"),
        (json!({"title": "x", "labelIds": [NOBODY]}), 422, "One or more labels are invalid for this company"),
        (
            json!({"title": "x", "blockedByIssueIds": [NOBODY]}),
            422,
            "Blocked-by issues must belong to the same company",
        ),
        (
            json!({"title": "x", "executionPolicy": {"stages": [{"type": "vote"}]}}),
            422,
            "Invalid execution policy",
        ),
    ] {
        let refusal = acme.post(&create, body.clone()).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (status, text), "{body}");
    }
    for (body, status, text) in [
        (json!({"resume": true}), 400, "Follow-up intent requires a comment"),
        (json!({"interrupt": true}), 400, "Interrupt is only supported when posting a comment"),
        (json!({"blockedByIssueIds": [id]}), 422, "Issue cannot be blocked by itself"),
        (json!({"assigneeAgentId": "nobody"}), 404, "Agent not found"),
        (
            json!({"reviewRequest": {"instructions": "x"}}),
            422,
            "reviewRequest requires an active review or approval stage",
        ),
        (json!({"hiddenAt": "yesterday"}), 400, "Validation error"),
        (json!({"comment": ""}), 400, "Validation error"),
    ] {
        let refusal = acme.stage.patch(&path(&issue, ""), body.clone()).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (status, text), "{body}");
    }
    for reference in ["nothing", NOBODY, "ACM-99", "acm", "1"] {
        let refusal = acme.stage.get(&format!("/api/issues/{reference}")).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (404, "Issue not found"), "{reference}");
    }
    acme.stage.end().await;
}

#[tokio::test]
async fn lists_are_filtered_ordered_and_bounded() {
    let acme = Acme::new().await;
    let list = format!("/api/companies/{}/issues", acme.company);
    let low = acme.issue(json!({"title": "low one", "priority": "low", "status": "todo"})).await;
    let high = acme.issue(json!({"title": "high one", "priority": "critical"})).await;
    let below = acme.issue(json!({"title": "below", "parentId": low["id"], "description": "a one"})).await;
    let titles = |value: Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|it| it["title"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("", vec!["high one", "below", "low one"]),
        ("?status=todo,done", vec!["low one"]),
        ("?status=nothing", vec![]),
        ("?q=one", vec!["high one", "low one", "below"]),
        ("?q=100%25", vec![]),
        ("?limit=1", vec!["high one"]),
        ("?limit=99999", vec!["high one", "below", "low one"]),
        ("?originKind=routine_execution", vec![]),
        (
            "?excludeRoutineExecutions=1&includeRoutineExecutions=true&other=x",
            vec!["high one", "below", "low one"],
        ),
        ("?touchedByUserId=me", vec!["high one", "below", "low one"]),
        ("?assigneeUserId=me", vec![]),
    ] {
        let found = acme.stage.get(&format!("{list}{query}")).await.good();
        assert_eq!(titles(found), expected, "{query}");
    }
    let of_parent = format!("{list}?parentId={}", low["id"].as_str().unwrap());
    assert_eq!(titles(acme.stage.get(&of_parent).await.good()), ["below"]);
    let descendants = format!("{list}?descendantOf={}", low["id"].as_str().unwrap());
    assert_eq!(titles(acme.stage.get(&descendants).await.good()), ["below"]);
    for (query, text) in [
        ("limit=0", "limit must be a positive integer up to 1000"),
        ("limit=ten", "limit must be a positive integer up to 1000"),
        ("limit=-1", "limit must be a positive integer up to 1000"),
        ("parentId=ACM-1", "parentId must be a uuid"),
        ("status=%00", "status must not contain a NUL character"),
    ] {
        let refusal = acme.stage.get(&format!("{list}?{query}")).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (400, text), "{query}");
    }
    // Page by page; a search has one.
    let first = acme.stage.get(&format!("{list}?limit=2")).await;
    let cursor = first.header("bugle-cursor").unwrap().to_owned();
    assert_eq!(titles(first.good()), ["high one", "below"]);
    let rest = acme.stage.get(&format!("{list}?limit=2&cursor={cursor}")).await;
    assert_eq!(rest.header("bugle-cursor"), None);
    assert_eq!(titles(rest.good()), ["low one"]);
    let search = acme.stage.get(&format!("{list}?limit=1&q=one")).await;
    assert_eq!(search.header("bugle-cursor"), None);
    assert_eq!(titles(search.good()), ["high one"]);
    for wrong in ["17", "1.2.3", &format!("x.2.3.{}", low["id"].as_str().unwrap())] {
        let refusal = acme.stage.get(&format!("{list}?cursor={wrong}")).await.refusal();
        assert_eq!((refusal.0, refusal.1.as_str()), (400, "bad_cursor"), "{wrong}");
    }
    let me = acme.agent(Method::GET, &format!("{list}?touchedByUserId=me"), None, json!({})).await.refusal();
    assert_eq!((me.0, me.2.as_str()), (403, "touchedByUserId=me requires board authentication"));
    // Hidden issues never appear.
    acme.stage.patch(&path(&high, ""), json!({"hiddenAt": "2026-01-01T00:00:00.000Z"})).await.good();
    assert_eq!(titles(acme.stage.get(&list).await.good()), ["below", "low one"]);
    let touched = acme.stage.get(&format!("{list}?unreadForUserId=me")).await.good();
    assert_eq!(touched, json!([]));
    let mine = acme.stage.get(&format!("{list}?touchedByUserId=me")).await.good();
    assert!(mine[0].get("isUnreadForMe").is_some() && mine[0].get("myLastTouchAt").is_some());
    assert_eq!(below["parentId"], low["id"]);
    acme.stage.end().await;
}

#[tokio::test]
async fn who_takes_an_issue_hears_what_is_in_the_way() {
    let acme = Acme::new().await;
    let other = acme.stage.agent(&acme.company, "Other", 5).await;
    let blocker = acme.issue(json!({"title": "blocker"})).await;
    let free = acme.issue(json!({"title": "free", "status": "todo"})).await;
    let blocked = acme.issue(json!({"title": "blocked", "blockedByIssueIds": [blocker["id"]]})).await;
    let run = acme.run("one").await;
    let body = |agent: &str, statuses: &[&str]| json!({"agentId": agent, "expectedStatuses": statuses});
    let take = |issue: &Value| path(issue, "/checkout");
    let todo = ["todo", "backlog", "blocked", "in_review"];
    for (name, path, run, body, status, text) in [
        (
            "missing",
            format!("/api/issues/{NOBODY}/checkout"),
            Some(&run),
            body(&acme.agent, &todo),
            404,
            "Issue not found",
        ),
        ("no body", take(&free), Some(&run), json!({}), 400, "Validation error"),
        ("no status", take(&free), Some(&run), body(&acme.agent, &[]), 400, "Validation error"),
        ("bad status", take(&free), Some(&run), body(&acme.agent, &["doing"]), 400, "Validation error"),
        (
            "for another",
            take(&free),
            Some(&run),
            body(&other, &todo),
            403,
            "Agent can only checkout as itself",
        ),
        ("no run", take(&free), None, body(&acme.agent, &todo), 401, "Agent run id required"),
        (
            "blocked",
            take(&blocked),
            Some(&run),
            body(&acme.agent, &todo),
            422,
            "Issue is blocked by unresolved blockers",
        ),
        ("unexpected", take(&free), Some(&run), body(&acme.agent, &["done"]), 409, "Issue checkout conflict"),
    ] {
        let answer = acme.agent(Method::POST, &path, run.map(String::as_str), body).await;
        let refusal = answer.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (status, text), "{name}");
        if name == "blocked" {
            assert_eq!(answer.json()["details"]["unresolvedBlockerIssueIds"], json!([blocker["id"]]));
        }
    }
    let missing = acme.post(&take(&free), body(NOBODY, &todo)).await.refusal();
    assert_eq!((missing.0, missing.2.as_str()), (404, "Assignee agent not found"));
    let taken = acme.agent(Method::POST, &take(&free), Some(&run), body(&acme.agent, &todo)).await.good();
    assert_eq!(
        (&taken["status"], &taken["assigneeAgentId"], &taken["checkoutRunId"], &taken["executionRunId"]),
        (&json!("in_progress"), &json!(acme.agent), &json!(run), &json!(run))
    );
    assert_eq!(taken["executionAgentNameKey"], "engineer");
    assert!(taken["startedAt"].is_string() && taken["executionLockedAt"].is_string());
    // The same run again, whatever it expects.
    let again = acme.agent(Method::POST, &take(&free), Some(&run), body(&acme.agent, &["todo"])).await.good();
    assert_eq!(again["checkoutRunId"], json!(run));
    // Another run of the same agent, while the first is live.
    let second = acme.run("two").await;
    let answer = acme.agent(Method::POST, &take(&free), Some(&second), body(&acme.agent, &todo)).await;
    assert_eq!((answer.status, answer.refusal().2.as_str()), (409, "Issue checkout conflict"));
    let details = answer.json()["details"].clone();
    assert_eq!(
        (&details["checkoutRunId"], &details["holderRunId"], &details["holderLive"], &details["reason"]),
        (&json!(run), &json!(run), &json!(true), &json!("held_by_run"))
    );
    for (body, text) in [
        (json!({"comment": "mine"}), "Issue run ownership conflict"),
        (json!({"status": "done"}), "Issue run ownership conflict"),
    ] {
        let refused = acme.agent(Method::PATCH, &path(&free, ""), Some(&second), body).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (409, text));
    }
    let silent = acme.agent(Method::PATCH, &path(&free, ""), None, json!({"status": "done"})).await.refusal();
    assert_eq!((silent.0, silent.2.as_str()), (401, "Agent run id required"));
    // Somebody else's key changes nothing of it.
    let key = acme.stage.key_of(&acme.company, &other).await;
    let request = acme.stage.http.patch(acme.stage.url(&path(&free, ""))).json(&json!({"title": "x"}));
    let refused = acme.stage.send(acme.stage.by(request, &key, None)).await;
    assert_eq!(
        (refused.status, refused.refusal().2.as_str()),
        (409, "Issue is checked out by another agent")
    );
    // Only the run that has it gives it back; then the other one may take it.
    let refused = acme.agent(Method::POST, &path(&free, "/release"), Some(&second), json!({})).await;
    assert_eq!(refused.status, 409);
    let silent = acme.agent(Method::POST, &path(&free, "/release"), None, json!({})).await.refusal();
    assert_eq!((silent.0, silent.2.as_str()), (401, "Agent run id required"));
    let released = acme.agent(Method::POST, &path(&free, "/release"), Some(&run), json!({})).await.good();
    assert_eq!(
        (&released["status"], &released["assigneeAgentId"], &released["checkoutRunId"]),
        (&json!("todo"), &Value::Null, &Value::Null)
    );
    let taken =
        acme.agent(Method::POST, &take(&free), Some(&second), body(&acme.agent, &["todo"])).await.good();
    assert_eq!(taken["checkoutRunId"], json!(second));
    acme.stage.end().await;
}

#[tokio::test]
async fn people_take_locks_away() {
    let acme = Acme::new().await;
    let issue = acme.issue(json!({"title": "stuck", "status": "todo"})).await;
    let run = acme.run("t").await;
    let body = json!({"agentId": acme.agent, "expectedStatuses": ["todo"]});
    acme.agent(Method::POST, &path(&issue, "/checkout"), Some(&run), body).await.good();
    let force = path(&issue, "/admin/force-release?clearAssignee=true");
    let refused = acme.agent(Method::POST, &force, Some(&run), json!({})).await.refusal();
    assert_eq!((refused.0, refused.2.as_str()), (403, "Board access required"));
    let forced = acme.post(&force, json!({})).await.good();
    assert_eq!(forced["previous"], json!({"checkoutRunId": run, "executionRunId": run}));
    assert_eq!(
        (&forced["issue"]["assigneeAgentId"], &forced["issue"]["checkoutRunId"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(forced["issue"]["status"], "todo", "in progress with nobody would be stuck");
    let comments = path(&issue, "/comments");
    let late = acme.agent(Method::POST, &comments, Some(&run), json!({"body": "I had it"})).await;
    assert_eq!(late.status, 201, "words are not refused");
    acme.stage.end().await;
}

#[tokio::test]
async fn nobody_reaches_into_another_company() {
    let acme = Acme::new().await;
    let issue = acme.issue(json!({"title": "ours"})).await;
    let comment = acme.post(&path(&issue, "/comments"), json!({"body": "x"})).await.good();
    let elsewhere = acme.stage.company("Elsewhere").await;
    let stranger = acme.stage.agent(&elsewhere, "Stranger", 1).await;
    let key = acme.stage.key_of(&elsewhere, &stranger).await;
    let comment = path(&issue, &format!("/comments/{}", comment["id"].as_str().unwrap()));
    let company = format!("/api/companies/{}", acme.company);
    for (method, path) in [
        (Method::GET, path(&issue, "")),
        (Method::PATCH, path(&issue, "")),
        (Method::DELETE, path(&issue, "")),
        (Method::GET, "/api/issues/ACM-1".to_owned()),
        (Method::GET, path(&issue, "/heartbeat-context")),
        (Method::GET, path(&issue, "/comments")),
        (Method::GET, comment),
        (Method::GET, path(&issue, "/documents")),
        (Method::GET, path(&issue, "/documents/plan")),
        (Method::GET, path(&issue, "/interactions")),
        (Method::GET, path(&issue, "/approvals")),
        (Method::GET, path(&issue, "/work-products")),
        (Method::GET, path(&issue, "/attachments")),
        (Method::GET, path(&issue, "/live-runs")),
        (Method::GET, path(&issue, "/active-run")),
        (Method::GET, path(&issue, "/runs")),
        (Method::GET, path(&issue, "/activity")),
        (Method::POST, path(&issue, "/release")),
        (Method::GET, format!("{company}/issues")),
        (Method::GET, format!("{company}/labels")),
        (Method::GET, format!("{company}/projects")),
        (Method::GET, format!("{company}/goals")),
    ] {
        let request = acme.stage.http.request(method.clone(), acme.stage.url(&path)).json(&json!({}));
        let refusal = acme.stage.send(acme.stage.by(request, &key, None)).await.refusal();
        let expected = (403, "Agent key cannot access another company");
        assert_eq!((refusal.0, refusal.2.as_str()), expected, "{method} {path}");
    }
    // Neither as a part of something of its own.
    let create = format!("/api/companies/{elsewhere}/issues");
    for (body, status, text) in [
        (json!({"title": "x", "parentId": issue["id"]}), 404, "Parent issue not found"),
        (json!({"title": "x", "assigneeAgentId": acme.agent}), 422, "Assignee must belong to same company"),
        (
            json!({"title": "x", "blockedByIssueIds": [issue["id"]]}),
            422,
            "Blocked-by issues must belong to the same company",
        ),
    ] {
        let refusal = acme.post(&create, body.clone()).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (status, text), "{body}");
    }
    acme.stage.end().await;
}

/// What an agent's skill does in one heartbeat (spec/api.md 8), in its order.
#[tokio::test]
async fn a_whole_heartbeat_call_by_call() {
    let acme = Acme::new().await;
    let (company, agent) = (acme.company.clone(), acme.agent.clone());
    let goal = acme
        .post(
            &format!("/api/companies/{company}/goals"),
            json!({"title": "Ship", "level": "company", "status": "active"}),
        )
        .await
        .good();
    let parent = acme.issue(json!({"title": "Release"})).await;
    let issue = acme
        .issue(json!({"title": "Fix", "status": "todo", "assigneeAgentId": agent, "parentId": parent["id"]}))
        .await;
    let run_id = acme.run_on(issue["id"].as_str().unwrap()).await;
    let run = Some(run_id.as_str());
    // 1: who am I.
    let me = acme.agent(Method::GET, "/api/agents/me", run, json!({})).await.good();
    assert_eq!((&me["id"], &me["companyId"]), (&json!(agent), &json!(company)));
    // 3: what is there to do.
    let inbox = acme.agent(Method::GET, "/api/agents/me/inbox-lite", run, json!({})).await.good();
    shape!("inbox_lite", inbox.clone());
    assert_eq!(inbox[0]["id"], issue["id"]);
    let fallback = format!(
        "/api/companies/{company}/issues?assigneeAgentId={agent}&status=todo,in_progress,in_review,blocked"
    );
    let listed = acme.agent(Method::GET, &fallback, run, json!({})).await.good();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    // 5: take it.
    let take = json!({"agentId": agent, "expectedStatuses": ["todo", "backlog", "blocked", "in_review"]});
    let taken = acme.agent(Method::POST, &path(&issue, "/checkout"), run, take).await.good();
    assert_eq!((&taken["status"], &taken["checkoutRunId"]), (&json!("in_progress"), &json!(run)));
    // 6: what is it about.
    let said = acme.post(&path(&issue, "/comments"), json!({"body": "Please hurry"})).await.good();
    let wake = path(&issue, &format!("/heartbeat-context?wakeCommentId={}", said["id"].as_str().unwrap()));
    let context = acme.agent(Method::GET, &wake, run, json!({})).await.good();
    assert_eq!(context["ancestors"][0]["identifier"], parent["identifier"]);
    assert_eq!((&context["goal"]["id"], &context["wakeComment"]["id"]), (&goal["id"], &said["id"]));
    assert_eq!(context["commentCursor"]["totalComments"], 1);
    let one = path(&issue, &format!("/comments/{}", said["id"].as_str().unwrap()));
    assert_eq!(acme.agent(Method::GET, &one, run, json!({})).await.good()["body"], "Please hurry");
    let newer = path(&issue, &format!("/comments?after={}&order=asc", said["id"].as_str().unwrap()));
    assert_eq!(acme.agent(Method::GET, &newer, run, json!({})).await.good(), json!([]));
    // 7: work: a plan, then over it; a question about it.
    let plan = path(&issue, "/documents/plan");
    let body = json!({"title": "Plan", "format": "markdown", "body": "1. look\\n2. fix"});
    let answer = acme.agent(Method::PUT, &plan, run, body).await;
    assert_eq!(answer.status, 201);
    let first = answer.good();
    assert_eq!((&first["body"], &first["latestRevisionNumber"]), (&json!("1. look\n2. fix"), &json!(1)));
    let body = json!({"format": "markdown", "body": "1. fix", "baseRevisionId": first["latestRevisionId"]});
    let answer = acme.agent(Method::PUT, &plan, run, body).await;
    assert_eq!(answer.status, 200);
    let second = answer.good();
    assert_eq!((&second["latestRevisionNumber"], &second["title"]), (&json!(2), &Value::Null));
    assert_eq!(acme.agent(Method::GET, &plan, run, json!({})).await.good()["body"], "1. fix");
    let body = json!({
        "kind": "request_confirmation", "idempotencyKey": "confirmation:plan", "continuationPolicy": "wake_assignee",
        "payload": {"prompt": "Go?", "target": {"type": "issue_document", "key": "plan", "revisionId": second["latestRevisionId"]}},
    });
    let asked = acme.agent(Method::POST, &path(&issue, "/interactions"), run, body.clone()).await;
    assert_eq!(asked.status, 201);
    let asked = asked.good();
    assert_eq!((&asked["sourceRunId"], &asked["status"]), (&json!(run), &json!("pending")));
    let again = acme.agent(Method::POST, &path(&issue, "/interactions"), run, body).await.good();
    assert_eq!(again["id"], asked["id"]);
    assert_eq!(
        acme.agent(Method::GET, &path(&issue, "/attachments"), run, json!({})).await.good(),
        json!([])
    );
    // 9: delegate.
    let agents =
        acme.agent(Method::GET, &format!("/api/companies/{company}/agents"), run, json!({})).await.good();
    assert_eq!(agents[0]["urlKey"], "engineer");
    let body = json!({"title": "Part", "parentId": issue["id"], "goalId": goal["id"], "billingCode": "x"});
    let part = acme.agent(Method::POST, &format!("/api/companies/{company}/issues"), run, body).await.good();
    assert_eq!((&part["createdByAgentId"], &part["originRunId"]), (&json!(agent), &json!(run)));
    let body =
        json!({"title": "Part of it", "acceptanceCriteria": ["it works"], "blockParentUntilDone": false});
    let answer = acme.agent(Method::POST, &path(&issue, "/children"), run, body).await;
    assert_eq!(answer.status, 201);
    let child = answer.good();
    assert_eq!((&child["parentId"], &child["requestDepth"]), (&issue["id"], &json!(1)));
    assert!(child["description"].as_str().unwrap().contains("it works"));
    // 8: say what was done, and be done.
    let body = json!({"body": "Half way\\nthere"});
    let half = acme.agent(Method::POST, &path(&issue, "/comments"), run, body).await;
    assert_eq!(half.status, 201);
    assert_eq!(
        (&half.json()["body"], &half.json()["createdByRunId"]),
        (&json!("Half way\nthere"), &json!(run))
    );
    let body = json!({"status": "done", "comment": "Done: it works"});
    let done = acme.agent(Method::PATCH, &path(&issue, ""), run, body).await.good();
    assert_eq!((&done["status"], &done["comment"]["body"]), (&json!("done"), &json!("Done: it works")));
    assert!(done["completedAt"].is_string() && done["checkoutRunId"].is_null());
    // Its own words never wake it: the run that is under way is the only one, but for what the person said.
    let run = run_id.as_str();
    acme.stage.puppets.say(run, Stdout, b"bye\n");
    acme.stage.puppets.end(run, 0);
    assert_eq!(acme.stage.over(&company, run).await, "succeeded");
    let runs = acme.stage.get(&path(&issue, "/runs")).await.good();
    let mut of_agent: Vec<&str> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["contextSnapshot"]["wakeReason"].as_str().unwrap())
        .collect();
    of_agent.sort_unstable();
    assert_eq!(of_agent, ["issue_assigned", "issue_commented"]);
    let of_run = acme.stage.get(&format!("/api/heartbeat-runs/{run}/issues")).await.good();
    assert_eq!(of_run[0]["identifier"], issue["identifier"]);
    acme.stage.end().await;
}
