//! What an agent that follows the reference's skill does in one heartbeat (spec/api.md 8), step by step: with the token
//! and the variables that its run was given, under the reference's names, and reading the fields that the skill reads.

use reqwest::Method;
use serde_json::{Value, json};

use crate::stage::{Answer, PATIENCE, Stage, id_of};

/// An agent in a run: it knows what stands in its environment, and nothing else.
struct Agent<'a> {
    stage: &'a Stage,
    run: String,
}

impl Agent<'_> {
    /// A variable of its environment.
    fn env(&self, name: &str) -> String {
        self.stage.puppets.variable(&self.run, name)
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Answer {
        let mut request = self.stage.http.request(method.clone(), self.stage.url(&format!("/api{path}")));
        request = request.bearer_auth(self.env("PAPERCLIP_API_KEY"));
        if method != Method::GET {
            // As the skill writes it down, inside single quotes: no shell puts a run there.
            request = request.header("X-Paperclip-Run-Id", "$PAPERCLIP_RUN_ID").json(&body);
        }
        self.stage.send(request).await
    }

    async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, Value::Null).await.good()
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PATCH, path, body).await
    }
}

/// Every field is there, null or not.
#[track_caller]
fn reads(value: &Value, fields: &[&str]) {
    for field in fields {
        assert!(value.get(field).is_some(), "no {field} in {value}");
    }
}

/// Waits until a run that is none of these works on an issue; the run.
async fn next_run(stage: &Stage, issue: &str, seen: &[&str]) -> String {
    next_run_of(stage, issue, seen, None).await
}

/// The same for a run of one agent.
async fn next_run_of(stage: &Stage, issue: &str, seen: &[&str], agent: Option<&Value>) -> String {
    let path = format!("/api/issues/{issue}/live-runs");
    let found = async {
        loop {
            let live = stage.get(&path).await.good();
            let new = |run: &&Value| {
                run["status"] == "running"
                    && !seen.contains(&run["id"].as_str().unwrap_or_default())
                    && agent.is_none_or(|agent| run["agentId"] == *agent)
            };
            match live.as_array().unwrap().iter().find(new) {
                Some(run) => return id_of(run),
                None => tokio::task::yield_now().await,
            }
        }
    };
    let run = tokio::time::timeout(PATIENCE, found).await.expect("a run works on the issue");
    stage.started(&run).await;
    run
}

/// Waits until another run of the agent than this one is there for the issue, whether it has begun or not.
async fn follow_up(stage: &Stage, issue: &str, run: &str, agent: &Value) {
    let path = format!("/api/issues/{issue}/live-runs");
    let found = async {
        loop {
            let live = stage.get(&path).await.good();
            if live.as_array().unwrap().iter().any(|other| other["id"] != run && other["agentId"] == *agent) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a run follows");
}

#[tokio::test]
async fn a_heartbeat_of_the_skill_call_by_call() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let board = format!("/api/companies/{company}");
    let boss = json!({"name": "Boss", "role": "ceo", "adapterType": "process", "adapterConfig": {"command": "true"}});
    let boss = id_of(&stage.post(&format!("{board}/agents"), boss).await.good());
    let worker = json!({
        "name": "Engineer", "adapterType": "process", "adapterConfig": {"command": "true"}, "reportsTo": boss,
        "budgetMonthlyCents": 5000, "permissions": {"canCreateAgents": true},
    });
    let worker = id_of(&stage.post(&format!("{board}/agents"), worker).await.good());
    let goal = json!({"title": "Ship", "level": "company", "status": "active"});
    let goal = stage.post(&format!("{board}/goals"), goal).await.good();
    let project = stage
        .post(&format!("{board}/projects"), json!({"name": "Web", "goalIds": [goal["id"]]}))
        .await
        .good();
    let parent = stage.post(&format!("{board}/issues"), json!({"title": "Release"})).await.good();
    let issue = json!({
        "title": "Fix", "status": "todo", "assigneeAgentId": worker, "parentId": parent["id"], "projectId": project["id"],
    });
    let issue = stage.post(&format!("{board}/issues"), issue).await.good();
    let of_issue = format!("/issues/{}", issue["id"].as_str().unwrap());
    let run = next_run(&stage, issue["id"].as_str().unwrap(), &[]).await;
    let agent = Agent { stage: &stage, run: run.clone() };

    // The environment, and step 0: what woke it, without a request.
    assert_eq!(agent.env("PAPERCLIP_AGENT_ID"), worker);
    assert_eq!(agent.env("PAPERCLIP_COMPANY_ID"), company);
    assert_eq!(agent.env("PAPERCLIP_RUN_ID"), run);
    assert_eq!(agent.env("PAPERCLIP_TASK_ID"), issue["id"].as_str().unwrap());
    assert_eq!(agent.env("PAPERCLIP_WAKE_REASON"), "issue_assigned");
    assert!(agent.env("PAPERCLIP_API_URL").starts_with("http://"));
    let payload: Value = serde_json::from_str(&agent.env("PAPERCLIP_WAKE_PAYLOAD_JSON")).unwrap();
    assert_eq!(payload["issue"]["identifier"], issue["identifier"], "{payload}");
    reads(&payload, &["fallbackFetchNeeded", "comments"]);

    // 1: who am I.
    let me = agent.get("/agents/me").await;
    assert_eq!(
        (&me["id"], &me["companyId"], &me["role"]),
        (&json!(worker), &json!(company), &json!("general"))
    );
    assert_eq!(
        (&me["chainOfCommand"][0]["id"], &me["chainOfCommand"][0]["role"]),
        (&json!(boss), &json!("ceo"))
    );
    assert_eq!((&me["budgetMonthlyCents"], &me["spentMonthlyCents"]), (&json!(5000), &json!(0)));

    // 3: what is there to do, and the same another way (I-01).
    let inbox = agent.get("/agents/me/inbox-lite").await;
    assert_eq!(inbox[0]["id"], issue["id"]);
    reads(
        &inbox[0],
        &[
            "identifier",
            "title",
            "status",
            "priority",
            "activeRun",
            "dependencyReady",
            "unresolvedBlockerCount",
            "unresolvedBlockerIssueIds",
        ],
    );
    assert_eq!((&inbox[0]["dependencyReady"], &inbox[0]["activeRun"]["id"]), (&json!(true), &json!(run)));
    let mine = format!(
        "/companies/{company}/issues?assigneeAgentId={worker}&status=todo,in_progress,in_review,blocked"
    );
    assert_eq!(agent.get(&mine).await[0]["id"], issue["id"]);
    // 4: is there anything new on it (I-11).
    let said = json!({"body": "Please hurry"});
    let said = stage.post(&format!("/api{of_issue}/comments"), said).await.good();
    let comments = agent.get(&format!("{of_issue}/comments")).await;
    assert_eq!((&comments[0]["id"], &comments[0]["authorAgentId"]), (&said["id"], &Value::Null));
    reads(&comments[0], &["createdAt", "authorUserId", "body"]);

    // 5: take it (I-06); what somebody else has is 409 and never tried again.
    let statuses = json!(["todo", "backlog", "blocked", "in_review"]);
    let take = |agent: &str| json!({"agentId": agent, "expectedStatuses": statuses});
    let taken = agent.post(&format!("{of_issue}/checkout"), take(&worker)).await;
    assert_eq!(taken.status, 200, "{}", taken.text);
    assert_eq!(
        (&taken.json()["status"], &taken.json()["checkoutRunId"]),
        (&json!("in_progress"), &json!(run))
    );
    let theirs = json!({"title": "Theirs", "status": "in_progress", "assigneeAgentId": boss});
    let theirs = stage.post(&format!("{board}/issues"), theirs).await.good();
    let theirs = format!("/issues/{}", theirs["id"].as_str().unwrap());
    let refused = agent.post(&format!("{theirs}/checkout"), take(&worker)).await;
    assert_eq!((refused.status, refused.refusal().2.as_str()), (409, "Issue checkout conflict"));
    reads(
        &refused.json()["details"],
        &["issueId", "status", "assigneeAgentId", "checkoutRunId", "executionRunId"],
    );
    let refused = agent.post(&format!("{of_issue}/checkout"), take(&boss)).await.refusal();
    assert_eq!((refused.0, refused.2.as_str()), (403, "Agent can only checkout as itself"));

    // 6: what is it about (I-04), what was said (I-12, I-11 after the last one read).
    let context = agent
        .get(&format!("{of_issue}/heartbeat-context?wakeCommentId={}", said["id"].as_str().unwrap()))
        .await;
    assert_eq!(context["ancestors"][0]["id"], parent["id"]);
    assert_eq!((&context["project"]["id"], &context["goal"]["id"]), (&project["id"], &goal["id"]));
    assert_eq!(context["commentCursor"]["latestCommentId"], said["id"]);
    assert_eq!(context["wakeComment"]["body"], "Please hurry");
    reads(&context, &["issue", "continuationSummary", "currentExecutionWorkspace", "attachments"]);
    let one = agent.get(&format!("{of_issue}/comments/{}", said["id"].as_str().unwrap())).await;
    assert_eq!(one["body"], "Please hurry");
    let newer = format!("{of_issue}/comments?after={}&order=asc", said["id"].as_str().unwrap());
    assert_eq!(agent.get(&newer).await, json!([]));
    let absent = agent.ask(Method::GET, &format!("{of_issue}/comments/{run}"), Value::Null).await.refusal();
    assert_eq!((absent.0, absent.2.as_str()), (404, "Comment not found"));

    // 7: a plan (I-15, I-16, I-17), questions on it (I-20, I-21), files (I-29 to I-31).
    let plan = format!("{of_issue}/documents/plan");
    let write = |body: &str, base: &Value| json!({"title": "Plan", "format": "markdown", "body": body, "baseRevisionId": base});
    let first = agent.ask(Method::PUT, &plan, write("1. look", &Value::Null)).await;
    assert_eq!((first.status, &first.json()["latestRevisionNumber"]), (201, &json!(1)));
    let second = agent.ask(Method::PUT, &plan, write("1. fix", &first.json()["latestRevisionId"])).await;
    assert_eq!((second.status, &second.json()["latestRevisionNumber"]), (200, &json!(2)));
    let stale = agent.ask(Method::PUT, &plan, write("1. no", &first.json()["latestRevisionId"])).await;
    assert_eq!((stale.status, stale.refusal().2.as_str()), (409, "Document was updated by someone else"));
    assert_eq!(stale.json()["details"]["currentRevisionId"], second.json()["latestRevisionId"]);
    assert_eq!(agent.get(&plan).await["body"], "1. fix");
    assert_eq!(agent.get(&format!("{of_issue}/documents")).await[0]["key"], "plan");
    let revision = &second.json()["latestRevisionId"];
    let confirm = json!({
        "kind": "request_confirmation", "continuationPolicy": "wake_assignee",
        "idempotencyKey": format!("confirmation:{}:plan:2", issue["id"].as_str().unwrap()),
        "payload": {"version": 1, "prompt": "Go?", "target": {"type": "issue_document", "key": "plan", "revisionId": revision}},
    });
    let asked = agent.post(&format!("{of_issue}/interactions"), confirm).await;
    assert_eq!((asked.status, &asked.json()["status"]), (201, &json!("pending")));
    let questions = json!({"kind": "ask_user_questions", "payload": {"version": 1, "questions": [
        {"id": "q", "prompt": "Which?", "selectionMode": "single", "options": [{"id": "a", "label": "A"}]},
    ]}});
    assert_eq!(agent.post(&format!("{of_issue}/interactions"), questions).await.status, 201);
    let tasks = json!({"kind": "suggest_tasks", "payload": {"version": 1, "tasks": [{"clientKey": "t", "title": "Later"}]}});
    assert_eq!(agent.post(&format!("{of_issue}/interactions"), tasks).await.status, 201);
    assert_eq!(agent.get(&format!("{of_issue}/interactions")).await.as_array().unwrap().len(), 3);
    let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n";
    let upload = stage.http.post(stage.url(&format!("/api/companies/{company}{of_issue}/attachments")));
    let upload = upload.bearer_auth(agent.env("PAPERCLIP_API_KEY")).header("X-Paperclip-Run-Id", &run);
    let upload = upload.header("Content-Type", "multipart/form-data; boundary=b").body(form);
    let file = stage.send(upload).await;
    assert_eq!(file.status, 201, "{}", file.text);
    let path = file.json()["contentPath"].as_str().unwrap().to_owned();
    assert_eq!(agent.get(&format!("{of_issue}/attachments")).await[0]["contentPath"], path);
    let content = agent.ask(Method::GET, path.strip_prefix("/api").unwrap(), Value::Null).await;
    assert_eq!((content.status, content.text.as_str()), (200, "hello"));

    // 9: find somebody and give them a part (I-02).
    let agents = agent.get(&format!("/companies/{company}/agents")).await;
    let found = agents.as_array().unwrap().iter().find(|one| one["urlKey"] == "boss").unwrap();
    assert_eq!((&found["id"], &found["name"]), (&json!(boss), &json!("Boss")));
    let odd =
        agent.ask(Method::GET, &format!("/companies/{company}/agents?role=ceo"), Value::Null).await.refusal();
    assert_eq!((odd.0, odd.2.as_str()), (400, "Unsupported query parameter: role"));
    let part = json!({
        "title": "Part", "parentId": issue["id"], "goalId": goal["id"], "blockedByIssueIds": [], "billingCode": "web",
        "assigneeAgentId": boss, "status": "todo",
    });
    let part = agent.post(&format!("/companies/{company}/issues"), part).await;
    assert_eq!(part.status, 201, "{}", part.text);
    let part = part.json();
    assert_eq!((&part["createdByAgentId"], &part["originRunId"]), (&json!(worker), &json!(run)));
    assert!(part["identifier"].as_str().unwrap().starts_with("ACM-"));
    // A mention by the link that the skill writes.
    let mention = json!({"body": format!("[@Boss](agent://{boss}) please look at /ACM/issues/{}", part["identifier"].as_str().unwrap())});
    assert_eq!(agent.post(&format!("{of_issue}/comments"), mention).await.status, 201);

    // 10: what it may not decide (P-02), hiring, how the company is doing (L-03).
    let request = json!({"type": "request_board_approval", "payload": {"title": "Spend", "summary": "x"}, "issueIds": [issue["id"]]});
    let approval = agent.post(&format!("/companies/{company}/approvals"), request).await;
    assert_eq!((approval.status, &approval.json()["status"]), (201, &json!("pending")));
    let approval = id_of(&approval.json());
    let hire = json!({"name": "Tester", "adapterType": "process", "adapterConfig": {"command": "true"}, "sourceIssueId": issue["id"]});
    let hired = agent.post(&format!("/companies/{company}/agent-hires"), hire).await;
    assert_eq!(
        (hired.status, &hired.json()["agent"]["status"], &hired.json()["approval"]),
        (201, &json!("idle"), &Value::Null)
    );
    reads(
        &agent.get(&format!("/companies/{company}/dashboard")).await,
        &["agents", "tasks", "costs", "pendingApprovals", "budgets"],
    );

    // The words that its client looks for, when it asks for what only people may.
    for (path, status, words) in [
        (format!("/approvals/{approval}/approve"), 403, "Board access required"),
        ("/companies".to_owned(), 403, "Board access required"),
    ] {
        let refused = agent.post(&path, json!({"name": "x"})).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (status, words), "{path}");
    }

    // 8: how far it is, before it leaves (I-05); what a person decides meanwhile is for its next run.
    let left =
        agent.patch(&of_issue, json!({"status": "in_progress", "comment": "Waiting for the answer"})).await;
    assert_eq!((left.status, &left.json()["status"]), (200, &json!("in_progress")), "{}", left.text);
    stage.person("POST", &format!("/api/approvals/{approval}/approve"), json!({})).await.good();
    // The answer has reached the queue: what follows this run is the run that was asked for with it.
    let asker = stage.get(&format!("/api/heartbeat-runs/{run}")).await.good()["agentId"].clone();
    follow_up(&stage, issue["id"].as_str().unwrap(), &run, &asker).await;
    stage.puppets.end(&run, 0);
    assert_eq!(stage.over(&company, &run).await, "succeeded");
    let late = agent.ask(Method::GET, "/agents/me", Value::Null).await.refusal();
    assert_eq!((late.0, late.2.as_str()), (403, "Run token is not valid any more: its run has ended"));

    // 2: what became of the approval, and what it was about (P-03, P-04).
    let id = issue["id"].as_str().unwrap();
    let next = next_run_of(&stage, id, &[&run], Some(&asker)).await;
    let agent = Agent { stage: &stage, run: next.clone() };
    assert_eq!(
        (agent.env("PAPERCLIP_APPROVAL_ID"), agent.env("PAPERCLIP_APPROVAL_STATUS")),
        (approval.clone(), "approved".into())
    );
    assert_eq!(agent.env("PAPERCLIP_LINKED_ISSUE_IDS"), id);
    let decided = agent.get(&format!("/approvals/{approval}")).await;
    assert_eq!((&decided["status"], &decided["payload"]["title"]), (&json!("approved"), &json!("Spend")));
    assert_eq!(agent.get(&format!("/approvals/{approval}/issues")).await[0]["id"], issue["id"]);
    // 5 and 8 once more: what is in progress is still its own, and is done.
    let again = agent.post(&format!("{of_issue}/checkout"), take(&worker)).await;
    assert_eq!((again.status, &again.json()["checkoutRunId"]), (200, &json!(next)), "{}", again.text);
    let done =
        agent.patch(&of_issue, json!({"status": "done", "comment": "Done: it is fixed."})).await.good();
    assert_eq!(done["status"], "done");
    let said = agent.get(&format!("{of_issue}/comments")).await;
    assert_eq!((&said[0]["body"], &said[0]["authorAgentId"]), (&json!("Done: it is fixed."), &json!(worker)));
    stage.puppets.end(&next, 0);
    assert_eq!(stage.over(&company, &next).await, "succeeded");
    let free = stage.get(&format!("/api{of_issue}")).await.good();
    assert_eq!((&free["status"], &free["executionRunId"]), (&json!("done"), &Value::Null));
    stage.end().await;
}

#[tokio::test]
async fn a_reviewer_of_the_skill_reads_where_the_review_stands() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let board = format!("/api/companies/{company}");
    let (worker, reviewer) =
        (stage.agent(&company, "Engineer", 1).await, stage.agent(&company, "Reviewer", 1).await);
    let policy =
        json!({"stages": [{"type": "review", "participants": [{"type": "agent", "agentId": reviewer}]}]});
    let issue =
        json!({"title": "Fix", "status": "todo", "assigneeAgentId": worker, "executionPolicy": policy});
    let issue = stage.post(&format!("{board}/issues"), issue).await.good();
    let (id, of_issue) =
        (issue["id"].as_str().unwrap(), format!("/issues/{}", issue["id"].as_str().unwrap()));
    let run = next_run(&stage, id, &[]).await;
    let agent = Agent { stage: &stage, run: run.clone() };
    let done = agent.patch(&of_issue, json!({"status": "done", "comment": "Please review"})).await.good();
    assert_eq!((&done["status"], &done["assigneeAgentId"]), (&json!("in_review"), &json!(reviewer)));
    stage.puppets.end(&run, 0);
    // 6a: the context does not say it, the issue does (I-03).
    let review = next_run(&stage, id, &[&run]).await;
    let agent = Agent { stage: &stage, run: review.clone() };
    let shown = agent.get(&of_issue).await;
    let state = &shown["executionState"];
    assert_eq!(
        (&state["currentStageType"], &state["currentParticipant"]["agentId"]),
        (&json!("review"), &json!(reviewer))
    );
    assert_eq!(
        (&state["returnAssignee"]["agentId"], &state["lastDecisionOutcome"]),
        (&json!(worker), &Value::Null)
    );
    let silent = agent.patch(&of_issue, json!({"status": "done"})).await.refusal();
    assert_eq!(
        (silent.0, silent.2.as_str()),
        (422, "Approving a review or approval stage requires a comment")
    );
    let done = agent.patch(&of_issue, json!({"status": "done", "comment": "Fine"})).await.good();
    assert_eq!(done["status"], "done");
    assert_eq!(agent.get(&of_issue).await["executionState"]["lastDecisionOutcome"], "approved");
    stage.puppets.end(&review, 0);
    stage.end().await;
}
