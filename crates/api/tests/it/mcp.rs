//! The MCP server over HTTP: a whole task in tools, and everything that is refused to whoever may not.

use reqwest::Method;
use serde_json::{Value, json};

use crate::issues::{Acme, path};
use crate::stage::{Answer, BOARD_TOKEN, Stage, id_of};

/// A client with a key.
pub(crate) struct Tools<'a> {
    stage: &'a Stage,
    key: Option<String>,
    run: Option<String>,
}

impl<'a> Tools<'a> {
    fn new(stage: &'a Stage, key: Option<&str>, run: Option<&str>) -> Tools<'a> {
        Tools { stage, key: key.map(str::to_owned), run: run.map(str::to_owned) }
    }

    async fn send(&self, message: &Value) -> Answer {
        let mut request = self.stage.http.post(self.stage.url("/api/mcp")).json(message);
        if let Some(key) = &self.key {
            request = self.stage.by(request, key, self.run.as_deref());
        }
        self.stage.send(request).await
    }

    /// The result of a method.
    async fn ask(&self, method: &str, params: Value) -> Value {
        let answer =
            self.send(&json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})).await.good();
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)), "{answer}");
        answer.get("result").unwrap_or_else(|| panic!("{method}: {answer}")).clone()
    }

    /// What a tool told.
    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let result = self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await;
        assert_eq!(result["isError"], false, "{tool}: {}", result["content"][0]["text"]);
        result["structuredContent"].clone()
    }

    /// What a refused tool said: the status, and the text that a model reads.
    async fn refused(&self, tool: &str, arguments: Value) -> (u64, String) {
        let result = self.ask("tools/call", json!({"name": tool, "arguments": arguments})).await;
        assert_eq!(result["isError"], true, "{tool}: {result}");
        let status = result["structuredContent"]["status"].as_u64().unwrap_or(0);
        (status, result["content"][0]["text"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn a_client_is_greeted_and_shown_the_tools() {
    let acme = Acme::new().await;
    let tools = Tools::new(&acme.stage, Some(&acme.key), None);
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    let welcome = tools.ask("initialize", hello).await;
    assert_eq!(welcome["protocolVersion"], "2025-06-18");
    assert_eq!(welcome["serverInfo"]["name"], "bugle");
    assert!(welcome["capabilities"]["tools"].is_object() && welcome["instructions"].is_string());
    let notice = tools.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!((notice.status, notice.text.as_str()), (202, ""));
    assert_eq!(tools.ask("ping", json!({})).await, json!({}));
    let listed = tools.ask("tools/list", json!({})).await;
    let names: Vec<&str> =
        listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    insta::assert_json_snapshot!("mcp_tools", names);
    // People are not shown what only agents can do.
    let of_people = Tools::new(&acme.stage, None, None).ask("tools/list", json!({})).await;
    let shown = of_people["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "checkout");
    assert!(!shown);
    // What is no request of the protocol is told in its words.
    for (message, status, code) in [
        (json!({"jsonrpc": "2.0", "id": 1, "method": "prompts/list"}), 200, -32601),
        (json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "fly"}}), 200, -32602),
        (json!([{"jsonrpc": "2.0", "id": 1, "method": "ping"}]), 400, -32600),
    ] {
        let answer = tools.send(&message).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (status, &json!(code)), "{message}");
    }
    let odd = acme.stage.http.post(acme.stage.url("/api/mcp")).header("MCP-Protocol-Version", "1999-01-01");
    let odd = acme.stage.send(odd.json(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))).await;
    assert_eq!(odd.status, 400);
    assert_eq!(acme.stage.get("/api/mcp").await.status, 405, "there is no stream to listen to");
    acme.stage.end().await;
}

#[tokio::test]
async fn what_an_agent_is_to_review_is_in_its_inbox() {
    let acme = Acme::new().await;
    let to_do = json!({"title": "Fix", "status": "todo", "assigneeAgentId": acme.agent});
    let review = json!({"title": "Look", "status": "in_review", "assigneeAgentId": acme.agent});
    let (to_do, review) = (acme.issue(to_do).await, acme.issue(review).await);
    let ids = |list: &Value| -> Vec<Value> {
        list.as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
    };
    let inbox = acme.agent(Method::GET, "/api/agents/me/inbox-lite", None, json!({})).await.good();
    let inbox = ids(&inbox);
    assert!(inbox.contains(&to_do["id"]) && inbox.contains(&review["id"]), "{inbox:?}");
    // The tool shows each once.
    let tools = Tools::new(&acme.stage, Some(&acme.key), None);
    let inbox = tools.call("inbox", json!({})).await;
    assert_eq!(
        (ids(&inbox["items"]), ids(&inbox["inReview"])),
        (vec![to_do["id"].clone()], vec![review["id"].clone()])
    );
    acme.stage.end().await;
}

#[tokio::test]
async fn an_agent_does_a_whole_task_in_tools() {
    let acme = Acme::new().await;
    let (stage, company) = (&acme.stage, &acme.company);
    let other = stage.agent(company, "Tester", 1).await;
    let issue = acme.issue(json!({"title": "Fix", "status": "todo", "assigneeAgentId": acme.agent})).await;
    let run = acme.run_on(issue["id"].as_str().unwrap()).await;
    let token = stage.puppets.variable(&run, "BUGLE_API_KEY");
    // The token is all: it says who asks, for which run, and with that for which task.
    let tools = Tools::new(stage, Some(&token), None);
    let me = tools.call("whoami", json!({})).await;
    assert_eq!((&me["id"], &me["companyId"]), (&json!(acme.agent), &json!(company)));
    assert_eq!((&me["runId"], &me["taskId"]), (&json!(run), &issue["id"]));
    let inbox = tools.call("inbox", json!({})).await;
    assert_eq!((&inbox["items"][0]["id"], &inbox["inReview"]), (&issue["id"], &json!([])));
    let task = tools.call("read_task", json!({})).await;
    assert_eq!(task["issue"]["identifier"], issue["identifier"]);
    let taken = tools.call("checkout", json!({"expectedStatuses": ["todo", "in_progress"]})).await;
    assert_eq!((&taken["status"], &taken["checkoutRunId"]), (&json!("in_progress"), &json!(run)));
    // Saying something, in the name of the run.
    let said = tools.call("comment", json!({"body": "Looking into it"})).await;
    assert_eq!((&said["authorAgentId"], &said["createdByRunId"]), (&json!(acme.agent), &json!(run)));
    let heard = tools.call("list_comments", json!({"order": "asc"})).await;
    assert_eq!(heard["items"][0]["id"], said["id"]);
    assert_eq!(tools.call("read_comment", json!({"commentId": said["id"]})).await["body"], "Looking into it");
    // A plan, over a plan, and a person's word on it.
    let first = tools.call("write_document", json!({"title": "Plan", "body": "1. look"})).await;
    let (status, words) = tools.refused("write_document", json!({"body": "1. fix"})).await;
    assert_eq!(status, 409);
    assert!(
        words.contains("requires baseRevisionId")
            && words.contains("Next: ")
            && words.contains("read_document"),
        "{words}"
    );
    let second = tools
        .call("write_document", json!({"body": "1. fix", "baseRevisionId": first["latestRevisionId"]}))
        .await;
    assert_eq!(tools.call("read_document", json!({})).await["body"], "1. fix");
    assert_eq!(tools.call("document_history", json!({})).await["items"].as_array().unwrap().len(), 2);
    let asked = tools.call("ask_confirmation", json!({"prompt": "Go?", "document": "plan"})).await;
    assert_eq!(asked["payload"]["target"]["revisionId"], second["latestRevisionId"]);
    assert_eq!((&asked["sourceRunId"], &asked["continuationPolicy"]), (&json!(run), &json!("wake_assignee")));
    let questions = json!([{"prompt": "Which?", "options": [{"label": "A"}, {"label": "B"}]}]);
    let question =
        tools.call("ask_questions", json!({"questions": questions, "idempotencyKey": "which"})).await;
    let (q, o) = (
        &question["payload"]["questions"][0]["id"],
        &question["payload"]["questions"][0]["options"][1]["id"],
    );
    assert_eq!((q, o), (&json!("q1"), &json!("o2")));
    let suggested =
        tools.call("suggest_tasks", json!({"tasks": [{"title": "Later", "assignee": "tester"}]})).await;
    assert_eq!(suggested["payload"]["tasks"][0]["assigneeAgentId"], json!(other));
    // The board answers.
    let answers = json!({"answers": [{"questionId": "q1", "optionIds": ["o2"]}]});
    acme.post(&path(&issue, &format!("/interactions/{}/respond", id_of(&question))), answers).await.good();
    let listed = tools.call("list_questions", json!({})).await;
    let answered =
        listed["items"].as_array().unwrap().iter().find(|one| one["id"] == question["id"]).unwrap();
    assert_eq!(
        (&answered["status"], &answered["result"]["answers"][0]["optionIds"]),
        (&json!("answered"), &json!(["o2"]))
    );
    // Parts of it, one of which waits for the other.
    let tasks = json!([
        {"title": "Part one", "assignee": "Tester", "acceptanceCriteria": ["it works"], "blockParentUntilDone": true},
        {"title": "Part two", "assignee": null, "blockedBy": ["#1"]},
    ]);
    let parts = tools.call("create_subtasks", json!({"tasks": tasks})).await;
    let part = |at: usize| &parts["created"][at];
    assert_eq!((&part(0)["assigneeAgentId"], &part(0)["status"]), (&json!(other), &json!("todo")));
    assert_eq!((&part(1)["status"], &part(1)["parentId"]), (&json!("backlog"), &issue["id"]));
    let second_part = tools.call("read_issue", json!({"issue": part(1)["identifier"]})).await;
    assert_eq!(second_part["blockedBy"][0]["id"], part(0)["id"]);
    let half = json!([{"title": "Part three"}, {"title": "Part four", "assignee": "nobody"}, {"title": "Part five"}]);
    let (status, words) = tools.refused("create_subtasks", json!({"tasks": half})).await;
    assert_eq!(status, 404);
    assert!(words.contains("the 1 before it were created") && words.contains("not created yet"), "{words}");
    let found = tools.call("search_issues", json!({"q": "part", "parent": issue["identifier"]})).await;
    assert_eq!(found["items"].as_array().unwrap().len(), 3);
    // What came out of it.
    let product = json!({"type": "pull_request", "title": "Fix it", "url": "https://example.com/pr/1", "provider": "github"});
    let product = tools.call("report_work_product", product).await;
    assert_eq!(product["createdByRunId"], json!(run));
    let merged =
        tools.call("update_work_product", json!({"workProductId": product["id"], "status": "merged"})).await;
    assert_eq!(merged["status"], "merged");
    let file = tools.call("attach_text", json!({"filename": "log.txt", "text": "a\r\nb"})).await;
    let read = tools
        .ask("tools/call", json!({"name": "read_attachment", "arguments": {"attachmentId": file["id"]}}))
        .await;
    assert_eq!(read["content"][0]["text"], "a\r\nb");
    assert_eq!(tools.call("list_attachments", json!({})).await["items"][0]["originalFilename"], "log.txt");
    // An approval, and what a person says to it.
    let approval = tools
        .call("request_approval", json!({"title": "Spend", "summary": "It costs", "risks": ["money"]}))
        .await;
    assert_eq!(
        (&approval["requestedByAgentId"], &approval["payload"]["risks"]),
        (&json!(acme.agent), &json!(["money"]))
    );
    tools.call("comment_on_approval", json!({"approvalId": approval["id"], "body": "It is urgent"})).await;
    let read = tools.call("read_approval", json!({"approvalId": approval["id"]})).await;
    assert_eq!(
        (&read["issues"][0]["id"], &read["comments"][0]["body"]),
        (&issue["id"], &json!("It is urgent"))
    );
    let decide = json!({"approvalId": approval["id"], "decision": "approve"});
    assert_eq!(tools.refused("decide_approval", decide.clone()).await.0, 403, "an agent decides nothing");
    // The company around it.
    let agents = tools.call("list_agents", json!({})).await;
    assert_eq!(agents["items"].as_array().unwrap().len(), 2);
    assert_eq!(tools.call("read_agent", json!({"agent": "tester"})).await["id"], json!(other));
    for tool in ["list_projects", "list_goals", "list_approvals", "list_documents", "list_work_products"] {
        assert!(tools.call(tool, json!({})).await["items"].is_array(), "{tool}");
    }
    assert!(tools.call("read_dashboard", json!({})).await["tasks"].is_object());
    let given = tools
        .call("delegate", json!({"issue": part(1)["id"], "assignee": "tester", "comment": "Yours"}))
        .await;
    assert_eq!((&given["assigneeAgentId"], &given["status"]), (&json!(other), &json!("todo")));
    let all = format!("/api/companies/{company}/labels");
    stage.post(&all, json!({"name": "bug", "color": "#ff0000"})).await.good();
    let labels = json!({"method": "GET", "path": format!("/companies/{company}/labels")});
    let labels = tools.call("call_api", labels).await;
    tools
        .call(
            "update_task",
            json!({"labelIds": [labels["items"][0]["id"]], "priority": "high", "blockedBy": []}),
        )
        .await;
    let as_text = json!({"method": "PATCH", "path": format!("/api/issues/{}", issue["identifier"].as_str().unwrap()), "body": "{\"title\": \"Fixed\"}"});
    assert_eq!(tools.call("call_api", as_text).await["title"], "Fixed");
    // The same as resources.
    let resources = tools.ask("resources/list", json!({})).await;
    assert_eq!(resources["resources"][0]["uri"], "bugle://task");
    assert_eq!(
        tools.ask("resources/templates/list", json!({})).await["resourceTemplates"].as_array().unwrap().len(),
        2
    );
    let plan = format!("bugle://issues/{}/documents/plan", issue["identifier"].as_str().unwrap());
    let plan = tools.ask("resources/read", json!({"uri": plan})).await;
    assert_eq!(plan["contents"][0]["text"], "1. fix");
    let task = tools.ask("resources/read", json!({"uri": "bugle://task"})).await;
    assert!(task["contents"][0]["text"].as_str().unwrap().contains("\"commentCursor\""));
    let absent = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "bugle://issues/XX-1"}});
    assert_eq!(tools.send(&absent).await.good()["error"]["code"], -32002);
    // And the end of it.
    let (_, words) = tools.refused("finish", json!({"outcome": "well"})).await;
    assert!(
        words.contains("arguments.comment is missing") && words.contains("done, in_review, blocked"),
        "{words}"
    );
    let done = tools.call("finish", json!({"outcome": "done", "comment": "It works"})).await;
    assert_eq!((&done["status"], &done["comment"]["body"]), (&json!("done"), &json!("It works")));
    // After the run nothing can be done with its token any more.
    stage.puppets.end(&run, 0);
    stage.over(company, &run).await;
    let late = tools.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    let over = "Run token is not valid any more: its run has ended";
    assert_eq!((late.status, late.refusal().2.as_str()), (403, over));
    acme.stage.end().await;
}

#[tokio::test]
async fn a_tool_may_do_what_its_caller_may_and_no_more() {
    let acme = Acme::new().await;
    let stage = &acme.stage;
    let issue = acme.issue(json!({"title": "Fix", "status": "todo", "assigneeAgentId": acme.agent})).await;
    acme.run_on(issue["id"].as_str().unwrap()).await;
    // Somebody of another company.
    let elsewhere = stage.company("Else Inc").await;
    let stranger = stage.agent(&elsewhere, "Stranger", 1).await;
    let key = stage.key_of(&elsewhere, &stranger).await;
    let tools = Tools::new(stage, Some(&key), None);
    for (tool, arguments) in [
        ("read_task", json!({"issue": issue["identifier"]})),
        ("read_issue", json!({"issue": issue["id"]})),
        ("comment", json!({"issue": issue["id"], "body": "x"})),
        ("list_comments", json!({"issue": issue["id"]})),
        ("update_task", json!({"issue": issue["id"], "title": "x"})),
        ("create_subtasks", json!({"issue": issue["id"], "tasks": [{"title": "x"}]})),
        ("write_document", json!({"issue": issue["id"], "body": "x"})),
        ("report_work_product", json!({"issue": issue["id"], "type": "artifact", "title": "x"})),
        ("ask_confirmation", json!({"issue": issue["id"], "prompt": "x"})),
        ("call_api", json!({"method": "GET", "path": format!("/companies/{}/agents", acme.company)})),
    ] {
        let (status, words) = tools.refused(tool, arguments).await;
        assert_eq!(status, 403, "{tool}: {words}");
        assert!(words.contains("Agent key cannot access another company"), "{tool}: {words}");
    }
    assert_eq!(tools.refused("read_agent", json!({"agent": "engineer"})).await.0, 404);
    // Without a task of its own an issue must be named.
    assert!(tools.refused("read_task", json!({})).await.1.contains("name one as `issue`"));
    // A colleague does not take what somebody else holds, nor write in the name of another's run.
    let colleague = stage.agent(&acme.company, "Colleague", 1).await;
    let key = stage.key_of(&acme.company, &colleague).await;
    let run = stage.wake(&colleague, "other").await;
    let tools = Tools::new(stage, Some(&key), Some(&run));
    let (status, words) =
        tools.refused("checkout", json!({"issue": issue["id"], "expectedStatuses": ["in_progress"]})).await;
    assert_eq!(status, 409);
    assert!(words.contains("do not try again"), "{words}");
    // A key without a run cannot take anything.
    let tools = Tools::new(stage, Some(&key), None);
    let (status, words) = tools.refused("checkout", json!({"issue": issue["id"]})).await;
    assert_eq!((status, words.contains("Agent run id required")), (401, true));
    // Whoever is on this machine may look and work, but decides nothing: that takes the proof of a person (D19).
    let local = Tools::new(stage, None, None);
    let approval = json!({"type": "request_board_approval", "payload": {"title": "x"}});
    let approval = acme.post(&format!("/api/companies/{}/approvals", acme.company), approval).await.good();
    let decide = json!({"approvalId": approval["id"], "decision": "approve"});
    assert_eq!(local.call("read_issue", json!({"issue": issue["identifier"]})).await["id"], issue["id"]);
    assert_eq!(local.refused("decide_approval", decide.clone()).await.0, 403);
    assert!(local.refused("search_issues", json!({})).await.1.contains("you see 2 companies"));
    assert!(local.refused("inbox", json!({})).await.1.contains("(HTTP 401)"));
    let person = Tools::new(stage, Some(BOARD_TOKEN), None);
    assert_eq!(person.call("decide_approval", decide).await["status"], "approved");
    // A token that nobody knows is nobody, on this machine too; and no web page speaks for anybody.
    let unknown = Tools::new(stage, Some("pcp_unknown"), None);
    assert_eq!(unknown.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).await.status, 401);
    let page = stage.http.post(stage.url("/api/mcp")).header("Origin", "https://example.com");
    assert_eq!(
        stage.send(page.json(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}))).await.status,
        403
    );
    // No tool calls tools, and none listens to a stream for ever.
    let loops = json!({"method": "POST", "path": "/mcp", "body": {}});
    assert_eq!(local.refused("call_api", loops).await.0, 404);
    let stream = json!({"method": "GET", "path": format!("/companies/{}/events", acme.company)});
    assert!(local.refused("call_api", stream).await.1.contains("stream"));
    let request = stage.http.request(Method::GET, stage.url("/api/openapi.json"));
    assert!(stage.send(request).await.good()["paths"]["/api/mcp"]["post"].is_object());
    acme.stage.end().await;
}
