//! Approvals over the wire: asking, deciding, asking again, and hiring. Only a person decides.

use serde_json::{Value, json};

use crate::shapes::scrubbed;
use crate::stage::{BOARD_TOKEN, Events, Stage, id_of};

struct Asked {
    stage: Stage,
    company: String,
    agent: String,
    key: String,
}

impl Asked {
    async fn new() -> Asked {
        let stage = Stage::new().await;
        let company = stage.company("Acme Corp").await;
        let agent = stage.agent(&company, "Engineer", 5).await;
        let key = stage.agent_key(&agent).await;
        Asked { stage, company, agent, key }
    }

    /// A request of the agent.
    async fn ask(&self, body: Value) -> Value {
        let path = format!("/api/companies/{}/approvals", self.company);
        self.stage.with_key("POST", &path, (&self.key, None), body).await.good()
    }

    async fn plain(&self) -> String {
        id_of(&self.ask(json!({"type": "request_board_approval", "payload": {"title": "May I?"}})).await)
    }

    async fn decide(&self, approval: &str, verdict: &str, body: Value) -> crate::stage::Answer {
        self.stage.person("POST", &format!("/api/approvals/{approval}/{verdict}"), body).await
    }
}

#[tokio::test]
async fn a_request_shows_who_asks_and_hides_what_is_secret() {
    let world = Asked::new().await;
    let issue = json!({"title": "Deploy"});
    let issue =
        id_of(&world.stage.post(&format!("/api/companies/{}/issues", world.company), issue).await.good());
    let made = world
        .ask(json!({
            "type": "request_board_approval", "payload": {"title": "May I?", "apiKey": "k"},
            "issueIds": [issue, issue], "colour": "red",
        }))
        .await;
    assert_eq!((&made["requestedByAgentId"], &made["status"]), (&json!(world.agent), &json!("pending")));
    insta::assert_json_snapshot!("approval", scrubbed(made.clone()));
    let approval = id_of(&made);
    let issues = world.stage.get(&format!("/api/approvals/{approval}/issues")).await.good();
    assert_eq!(issues.as_array().unwrap().len(), 1);
    insta::assert_json_snapshot!("approval_issue", scrubbed(issues[0].clone()));
    let path = format!("/api/companies/{}/approvals", world.company);
    for (query, count) in [("", 1), ("?status=pending", 1), ("?status=approved", 0), ("?status=whim", 0)] {
        let listed = world.stage.get(&format!("{path}{query}")).await.good();
        assert_eq!(listed.as_array().unwrap().len(), count, "{query}");
    }
    let said = world
        .stage
        .with_key(
            "POST",
            &format!("/api/approvals/{approval}/comments"),
            (&world.key, None),
            json!({"body": "one\\ntwo"}),
        )
        .await;
    assert_eq!(said.status, 201);
    let comments = world.stage.get(&format!("/api/approvals/{approval}/comments")).await.good();
    assert_eq!(
        (&comments[0]["body"], &comments[0]["authorAgentId"]),
        (&json!("one\ntwo"), &json!(world.agent))
    );
    world.stage.end().await;
}

#[tokio::test]
async fn a_payload_that_was_read_with_marks_is_not_sent_back_with_them() {
    let world = Asked::new().await;
    let config = |value: Value| json!({"command": "true", "env": {"API_KEY": value}});
    let ask =
        |config: Value| json!({"type": "hire_agent", "payload": {"name": "New", "adapterConfig": config}});
    let made = world.ask(ask(config(json!("k")))).await;
    let shown = made["payload"].clone();
    assert_eq!(shown["adapterConfig"]["env"]["API_KEY"], "***REDACTED***");
    let path = format!("/api/companies/{}/approvals", world.company);
    let words = "Refusing to persist redacted placeholder for key: API_KEY";
    for value in [json!("***REDACTED***"), json!({"type": "plain", "value": "***REDACTED***"})] {
        let refused = world.stage.post(&path, ask(config(value))).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (422, words));
    }
    let approval = id_of(&made);
    world.decide(&approval, "request-revision", json!({})).await.good();
    let again = format!("/api/approvals/{approval}/resubmit");
    let refused =
        world.stage.with_key("POST", &again, (&world.key, None), json!({ "payload": shown })).await.refusal();
    assert_eq!((refused.0, refused.2.as_str()), (422, words));
    world.stage.end().await;
}

#[tokio::test]
async fn an_agent_asks_in_its_own_name_only() {
    let world = Asked::new().await;
    let other = world.stage.agent(&world.company, "Other", 1).await;
    let path = format!("/api/companies/{}/approvals", world.company);
    let body = json!({"type": "request_board_approval", "payload": {}, "requestedByAgentId": other});
    let refused = world.stage.with_key("POST", &path, (&world.key, None), body.clone()).await;
    assert_eq!(refused.status, 403, "{}", refused.text);
    assert_eq!(world.stage.post(&path, body).await.good()["requestedByAgentId"], json!(other));
    for (body, status) in [
        (json!({"type": "whim", "payload": {}}), 400),
        (json!({"type": "hire_agent"}), 400),
        (json!({"type": "hire_agent", "payload": []}), 400),
        (json!({"type": "hire_agent", "payload": {"adapterConfig": {"command": "true"}}}), 400),
        (json!({"type": "hire_agent", "payload": {}, "issueIds": ["x"]}), 400),
        (
            json!({"type": "hire_agent", "payload": {}, "issueIds": ["0192f7a0-0000-4000-8000-00000000000a"]}),
            404,
        ),
    ] {
        assert_eq!(world.stage.post(&path, body.clone()).await.status, status, "{body}");
    }
    world.stage.end().await;
}

#[tokio::test]
async fn only_a_person_decides_and_being_on_this_machine_proves_nothing() {
    let world = Asked::new().await;
    let approval = world.plain().await;
    for verdict in ["approve", "reject", "request-revision"] {
        let path = format!("/api/approvals/{approval}/{verdict}");
        let local = world.stage.post(&path, json!({})).await;
        assert_eq!(
            local.refusal(),
            (403, "forbidden".into(), "Board access required: local board token".into())
        );
        assert!(local.json()["hint"].as_str().unwrap().contains("board.token"));
        let agent = world.stage.with_key("POST", &path, (&world.key, None), json!({})).await;
        assert_eq!(agent.refusal().2, "Board access required");
        let no_body = world.stage.http.post(world.stage.url(&path)).bearer_auth(BOARD_TOKEN);
        assert_eq!(world.stage.send(no_body).await.status, 400, "an object is required");
    }
    assert_eq!(world.stage.get(&format!("/api/approvals/{approval}")).await.good()["status"], "pending");
    world.stage.end().await;
}

#[tokio::test]
async fn an_approval_wakes_who_asked_and_is_decided_once() {
    let world = Asked::new().await;
    let approval = world.plain().await;
    let events = format!("/api/companies/{}/events", world.company);
    let mut events = Events::open(&world.stage, &events, Some("0".to_owned())).await;
    let note = json!({"decisionNote": "fine\\nby me"});
    let decided = world.decide(&approval, "approve", note).await.good();
    assert_eq!((&decided["status"], &decided["decisionNote"]), (&json!("approved"), &json!("fine\nby me")));
    assert_eq!(decided["decidedByUserId"], "local-board");
    let again = world.decide(&approval, "approve", json!({})).await.good();
    assert_eq!(again["decidedAt"], decided["decidedAt"], "approving again changes nothing");
    let late = world.decide(&approval, "reject", json!({})).await.refusal();
    assert_eq!(
        (late.0, late.2.as_str()),
        (422, "Only pending or revision requested approvals can be rejected")
    );
    let late = world.decide(&approval, "request-revision", json!({})).await.refusal();
    assert_eq!((late.0, late.2.as_str()), (422, "Only pending approvals can request revision"));
    loop {
        let event = events.next().await.expect("the stream goes on");
        if event.name == "heartbeat.run.queued" && event.json()["payload"]["agentId"] == json!(world.agent) {
            break;
        }
    }
    let wakes = world.stage.get(&format!("/api/agents/{}/wakeups", world.agent)).await.good();
    assert_eq!(wakes[0]["reason"], "approval_approved", "{wakes}");
    world.stage.end().await;
}

#[tokio::test]
async fn what_was_sent_back_is_asked_again_by_who_asked() {
    let world = Asked::new().await;
    let approval = world.plain().await;
    let path = format!("/api/approvals/{approval}/resubmit");
    let early = world.stage.with_key("POST", &path, (&world.key, None), json!({})).await.refusal();
    assert_eq!((early.0, early.2.as_str()), (422, "Only revision requested approvals can be resubmitted"));
    let sent_back = world.decide(&approval, "request-revision", json!({"decisionNote": "why?"})).await.good();
    assert_eq!(sent_back["status"], "revision_requested");
    let twice = world.decide(&approval, "request-revision", json!({"decisionNote": "and?"})).await.refusal();
    assert_eq!((twice.0, twice.2.as_str()), (422, "Only pending approvals can request revision"));
    let other = world.stage.agent(&world.company, "Other", 1).await;
    let other = world.stage.agent_key(&other).await;
    let refused = world.stage.with_key("POST", &path, (&other, None), json!({})).await.refusal();
    assert_eq!((refused.0, refused.2.as_str()), (403, "Only requesting agent can resubmit this approval"));
    let body = json!({"payload": {"title": "May I, because?"}});
    let asked = world.stage.with_key("POST", &path, (&world.key, None), body).await.good();
    assert_eq!((&asked["status"], &asked["decisionNote"]), (&json!("pending"), &Value::Null));
    assert_eq!(asked["payload"]["title"], "May I, because?");
    let rejected = world.decide(&approval, "reject", json!({})).await.good();
    assert_eq!(rejected["status"], "rejected");
    world.stage.end().await;
}

#[tokio::test]
async fn a_company_that_wants_to_decide_hires_with_an_approval() {
    let world = Asked::new().await;
    let company = format!("/api/companies/{}", world.company);
    let draft = json!({"name": "New", "adapterType": "process", "adapterConfig": {"command": "true", "env": {"API_KEY": "k"}}});
    let at_once = world.stage.post(&format!("{company}/agent-hires"), draft.clone()).await.good();
    assert_eq!((&at_once["agent"]["status"], &at_once["approval"]), (&json!("idle"), &Value::Null));
    let wants = json!({"requireBoardApprovalForNewAgents": true});
    world.stage.patch(&company, wants).await.good();
    let direct = world.stage.post(&format!("{company}/agents"), draft.clone()).await.refusal();
    assert_eq!(direct.0, 409);
    assert!(direct.2.starts_with("Direct agent creation requires board approval."), "{}", direct.2);
    // Mistakes in a configuration are told last.
    let nobody = "0192f7a0-0000-4000-8000-00000000000a";
    let wrong = json!({"name": "New", "adapterType": "telepathy", "reportsTo": nobody});
    let direct = world.stage.post(&format!("{company}/agents"), wrong.clone()).await.refusal();
    assert_eq!(direct.0, 409, "{}", direct.2);
    let hire = world.stage.post(&format!("{company}/agent-hires"), wrong).await.refusal();
    assert_eq!((hire.0, hire.2.as_str()), (404, "Manager not found"));
    let unknown = json!({"name": "New", "adapterType": "telepathy"});
    let hire = world.stage.post(&format!("{company}/agent-hires"), unknown).await.refusal();
    assert_eq!((hire.0, hire.2.as_str()), (422, "Unknown adapter type: telepathy"));
    for (verdict, status) in [("approve", "idle"), ("reject", "terminated")] {
        let hired = world.stage.post(&format!("{company}/agent-hires"), draft.clone()).await.good();
        let (agent, approval) = (id_of(&hired["agent"]), id_of(&hired["approval"]));
        assert_eq!(hired["agent"]["status"], "pending_approval");
        assert_eq!(hired["approval"]["type"], "hire_agent");
        let key = &hired["approval"]["payload"]["adapterConfig"]["env"]["API_KEY"];
        assert_eq!(*key, json!({"type": "plain", "value": "***REDACTED***"}));
        let key = world.stage.post(&format!("/api/agents/{agent}/keys"), json!({})).await.refusal();
        assert_eq!((key.0, key.2.as_str()), (409, "Cannot create keys for pending approval agents"));
        let pause = world.stage.post(&format!("/api/agents/{agent}/pause"), json!({})).await.refusal();
        assert_eq!((pause.0, pause.2.as_str()), (409, "Pending approval agents cannot be paused"));
        world.decide(&approval, verdict, json!({})).await.good();
        let found = world.stage.get(&format!("/api/agents/{agent}")).await.good();
        assert_eq!(found["status"], status);
    }
    let hired = world.stage.post(&format!("{company}/agent-hires"), draft).await.good();
    let path = format!("/api/agents/{}/approve", id_of(&hired["agent"]));
    assert_eq!(
        world.stage.post(&path, json!({})).await.refusal().2,
        "Board access required: local board token"
    );
    assert_eq!(world.stage.person("POST", &path, json!({})).await.good()["status"], "idle");
    let approval = format!("/api/approvals/{}", id_of(&hired["approval"]));
    assert_eq!(
        world.stage.get(&approval).await.good()["status"],
        "approved",
        "its request is decided with it"
    );
    let again = world.stage.person("POST", &path, json!({})).await.refusal();
    assert_eq!((again.0, again.2.as_str()), (409, "Only pending approval agents can be approved"));
    world.stage.end().await;
}
