//! Costs and budgets over the wire, and a company at a glance.

use serde_json::{Value, json};

use crate::shapes::scrubbed;
use crate::stage::{Events, Stage, id_of};

fn cost(agent: &str, cents: i64) -> Value {
    json!({
        "agentId": agent, "provider": "acme-ai", "model": "large", "costCents": cents, "inputTokens": 10,
        "outputTokens": 5, "billingType": "metered_api", "occurredAt": null,
    })
}

fn now_cost(stage: &Stage, agent: &str, cents: i64) -> Value {
    let mut body = cost(agent, cents);
    body["occurredAt"] = json!(stage.engine.now().iso());
    body
}

#[tokio::test]
async fn agents_report_their_own_costs_and_sums_add_up() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let (one, two) = (stage.agent(&company, "One", 1).await, stage.agent(&company, "Two", 1).await);
    let key = stage.agent_key(&one).await;
    let path = format!("/api/companies/{company}/cost-events");
    let foreign = stage.with_key("POST", &path, (&key, None), now_cost(&stage, &two, 5)).await.refusal();
    assert_eq!((foreign.0, foreign.2.as_str()), (403, "Agent can only report its own costs"));
    let event = stage.with_key("POST", &path, (&key, None), now_cost(&stage, &one, 120)).await;
    assert_eq!(event.status, 201);
    insta::assert_json_snapshot!("cost_event", scrubbed(event.json()));
    stage.post(&path, now_cost(&stage, &two, 30)).await.good();
    for wrong in [cost(&one, 1), json!({}), now_cost(&stage, &one, -1)] {
        assert_eq!(stage.post(&path, wrong).await.status, 400);
    }
    let unknown = stage.post(&path, now_cost(&stage, "0192f7a0-0000-4000-8000-00000000000a", 1)).await;
    assert_eq!(unknown.refusal(), (404, "not_found".into(), "Agent not found".into()));
    let other = stage.company("Rival").await;
    let rival = stage.agent(&other, "Rival", 1).await;
    let refused = stage.post(&path, now_cost(&stage, &rival, 1)).await.refusal();
    assert_eq!((refused.0, refused.2.as_str()), (422, "Agent does not belong to company"));

    let costs = format!("/api/companies/{company}/costs");
    let summary = stage.get(&format!("{costs}/summary")).await.good();
    assert_eq!((&summary["spendCents"], &summary["utilizationPercent"]), (&json!(150), &json!(0.0)));
    let by_agent = stage.get(&format!("{costs}/by-agent")).await.good();
    assert_eq!((&by_agent[0]["agentName"], &by_agent[0]["costCents"]), (&json!("One"), &json!(120)));
    insta::assert_json_snapshot!("cost_by_agent", scrubbed(by_agent[0].clone()));
    for (report, key) in [
        ("by-agent-model", "model"),
        ("by-provider", "provider"),
        ("by-biller", "biller"),
        ("window-spend", "window"),
    ] {
        let rows = stage.get(&format!("{costs}/{report}")).await.good();
        assert!(rows[0][key].is_string(), "{report}: {rows}");
    }
    assert_eq!(stage.get(&format!("{costs}/by-project")).await.good(), json!([]));
    assert_eq!(stage.get(&format!("{costs}/quota-windows")).await.good(), json!([]));
    for (query, cents) in
        [("?to=2000-01-01", 0), ("?from=2000-01-01", 150), ("?from=2999-01-01T00:00:00Z", 0)]
    {
        let summary = stage.get(&format!("{costs}/summary{query}")).await.good();
        assert_eq!(summary["spendCents"], json!(cents), "{query}");
    }
    // Of a month or a year the whole of it.
    let today = stage.engine.now().iso();
    let (year, month) = (&today[..4], &today[..7]);
    for (query, cents) in [
        (format!("from={year}&to={year}"), 150),
        (format!("from={month}&to={month}"), 150),
        (format!("from={month}-01&to={year}"), 150),
        ("to=1999".to_owned(), 0),
        ("to=1999-12".to_owned(), 0),
        ("from=2999-01".to_owned(), 0),
    ] {
        let summary = stage.get(&format!("{costs}/summary?{query}")).await.good();
        assert_eq!(summary["spendCents"], json!(cents), "{query}");
    }
    for query in ["from=2026-13", "from=2026-1", "from=20a6", "from=+026", "from=202-101"] {
        assert_eq!(stage.get(&format!("{costs}/summary?{query}")).await.status, 400, "{query}");
    }
    for (query, error) in [("from=whenever", "invalid 'from' date"), ("to=13", "invalid 'to' date")] {
        let refused = stage.get(&format!("{costs}/by-biller?{query}")).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (400, error));
    }
    let spent = stage.get(&format!("/api/agents/{one}")).await.good();
    assert_eq!(spent["spentMonthlyCents"], 120);
    assert_eq!(stage.get(&format!("/api/companies/{company}")).await.good()["spentMonthlyCents"], 150);
    stage.end().await;
}

#[tokio::test]
async fn anybody_here_tightens_a_budget_and_only_a_person_loosens_it() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "One", 1).await;
    for path in [format!("/api/companies/{company}/budgets"), format!("/api/agents/{agent}/budgets")] {
        let set = stage.patch(&path, json!({"budgetMonthlyCents": 500})).await.good();
        assert_eq!(set["budgetMonthlyCents"], 500, "{path}");
        assert_eq!(stage.patch(&path, json!({"budgetMonthlyCents": 400})).await.status, 200, "{path}");
        for looser in [600, 0] {
            let refused = stage.patch(&path, json!({ "budgetMonthlyCents": looser })).await.refusal();
            assert_eq!(
                (refused.0, refused.2.as_str()),
                (403, "Board access required: local board token"),
                "{path} {looser}"
            );
        }
        let refused = stage.patch(&path, json!({"budgetMonthlyCents": 600})).await.json();
        assert!(refused["hint"].as_str().is_some_and(|hint| hint.contains("board.token")), "{refused}");
        let raised = stage.person("PATCH", &path, json!({"budgetMonthlyCents": 600})).await.good();
        assert_eq!(raised["budgetMonthlyCents"], 600, "{path}");
        for missing in [json!({}), json!({"budgetMonthlyCents": null})] {
            assert_eq!(stage.person("PATCH", &path, missing).await.status, 400, "{path}");
        }
    }
    // An agent sets nobody's budget: not its own, not a colleague's, not the company's, not even a lower one.
    let key = stage.agent_key(&agent).await;
    let colleague = stage.agent(&company, "Two", 1).await;
    for path in [
        format!("/api/agents/{agent}/budgets"),
        format!("/api/agents/{colleague}/budgets"),
        format!("/api/companies/{company}/budgets"),
    ] {
        let refused =
            stage.with_key("PATCH", &path, (&key, None), json!({"budgetMonthlyCents": 1})).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (403, "Board access required"), "{path}");
    }
    let policies = format!("/api/companies/{company}/budgets/policies");
    let body = json!({"scopeType": "agent", "scopeId": agent, "amount": 1000, "metric": "tokens", "warnPercent": 50});
    let policy = stage.post(&policies, body).await.good();
    insta::assert_json_snapshot!("budget_policy", scrubbed(policy), { ".windowStart" => "[time]", ".windowEnd" => "[time]" });
    let other = stage.company("Rival").await;
    let body = json!({"scopeType": "company", "scopeId": other, "amount": 5});
    let refused = stage.post(&policies, body).await.refusal();
    assert_eq!((refused.0, refused.2.as_str()), (422, "Budget scope does not belong to company"));
    for wrong in [
        json!({"scopeType": "planet", "scopeId": agent, "amount": 5}),
        json!({"scopeType": "agent", "scopeId": "x", "amount": 5}),
        json!({"scopeType": "agent", "scopeId": agent}),
        json!({"scopeType": "agent", "scopeId": agent, "amount": 5, "warnPercent": 100}),
        json!({"scopeType": "agent", "scopeId": agent, "amount": 5, "warnPercent": 0}),
    ] {
        assert_eq!(stage.post(&policies, wrong.clone()).await.status, 400, "{wrong}");
    }
    let overview = stage.get(&format!("/api/companies/{company}/budgets/overview")).await.good();
    assert_eq!(overview["policies"].as_array().unwrap().len(), 3);
    stage.end().await;
}

#[tokio::test]
async fn a_line_that_is_crossed_stops_the_agent_until_a_person_raises_it() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Spender", 1).await;
    stage.patch(&format!("/api/agents/{agent}/budgets"), json!({"budgetMonthlyCents": 100})).await.good();
    let events = format!("/api/companies/{company}/events");
    let mut events = Events::open(&stage, &events, Some("0".to_owned())).await;
    stage.post(&format!("/api/companies/{company}/cost-events"), now_cost(&stage, &agent, 150)).await.good();
    loop {
        let event = events.next().await.expect("the stream goes on");
        let payload = &event.json()["payload"];
        if event.name == "agent.status" && payload["agentId"] == json!(agent) && payload["status"] == "paused"
        {
            break;
        }
    }
    let paused = stage.get(&format!("/api/agents/{agent}")).await.good();
    assert_eq!((&paused["status"], &paused["pauseReason"]), (&json!("paused"), &json!("budget")));
    let overview = stage.get(&format!("/api/companies/{company}/budgets/overview")).await.good();
    let incident = overview["activeIncidents"]
        .as_array()
        .unwrap()
        .iter()
        .find(|incident| incident["thresholdType"] == "hard")
        .unwrap_or_else(|| panic!("no stop in {overview}"));
    insta::assert_json_snapshot!("budget_incident", scrubbed(incident.clone()), { ".windowStart" => "[time]", ".windowEnd" => "[time]" });
    let dashboard = stage.get(&format!("/api/companies/{company}/dashboard")).await.good();
    assert_eq!(
        (&dashboard["agents"]["paused"], &dashboard["costs"]["monthSpendCents"]),
        (&json!(1), &json!(150))
    );
    assert_eq!(dashboard["budgets"]["pendingApprovals"], 1);
    let inbox = stage.get(&format!("/api/companies/{company}/inbox-items")).await.good();
    assert_eq!(inbox["approvals"][0]["type"], "budget_override_required", "{inbox}");
    let path = format!("/api/companies/{company}/budget-incidents/{}/resolve", id_of(incident));
    let raise = |amount: i64| json!({"action": "raise_budget_and_resume", "amount": amount});
    assert_eq!(stage.post(&path, raise(500)).await.refusal().2, "Board access required: local board token");
    assert_eq!(stage.person("POST", &path, json!({"action": "raise_budget_and_resume"})).await.status, 400);
    let low = stage.person("POST", &path, raise(150)).await.refusal();
    assert_eq!((low.0, low.2.as_str()), (422, "New budget must exceed current observed spend"));
    let resolved = stage.person("POST", &path, raise(500)).await.good();
    assert_eq!((&resolved["status"], &resolved["approvalStatus"]), (&json!("resolved"), &json!("approved")));
    let resumed = stage.get(&format!("/api/agents/{agent}")).await.good();
    assert_eq!((&resumed["status"], &resumed["budgetMonthlyCents"]), (&json!("idle"), &json!(500)));
    stage.end().await;
}

#[tokio::test]
async fn a_company_at_a_glance() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let path = format!("/api/companies/{company}");
    let dashboard = stage.get(&format!("{path}/dashboard")).await.good();
    assert_eq!(dashboard["runActivity"].as_array().unwrap().len(), 14);
    let mut settled = dashboard;
    settled["runActivity"] = json!([]);
    insta::assert_json_snapshot!("dashboard", scrubbed(settled));
    let agent = stage.agent(&company, "Engineer", 1).await;
    let run = stage.wake(&agent, "task").await;
    stage.started(&run).await;
    stage.puppets.end(&run, 3);
    assert_eq!(stage.over(&company, &run).await, "failed");
    let dashboard = stage.get(&format!("{path}/dashboard")).await.good();
    assert_eq!(dashboard["agents"]["error"], 1);
    let today = &dashboard["runActivity"][13];
    assert_eq!((&today["failed"], &today["total"]), (&json!(1), &json!(1)));
    assert_eq!(today["date"].as_str().unwrap(), &stage.engine.now().iso()[..10]);
    let ask = json!({"type": "request_board_approval", "payload": {}});
    let approval = id_of(&stage.post(&format!("{path}/approvals"), ask).await.good());
    let badges = |inbox: i64, approvals: i64, failed: i64| json!({"inbox": inbox, "approvals": approvals, "failedRuns": failed, "joinRequests": 0});
    assert_eq!(stage.get(&format!("{path}/sidebar-badges")).await.good(), badges(2, 1, 1));
    for key in ["", "run", "issue:x", "run:"] {
        assert_eq!(
            stage.post(&format!("{path}/inbox-dismissals"), json!({"itemKey": key})).await.status,
            400,
            "{key}"
        );
    }
    for key in [format!("run:{run}"), format!("approval:{approval}"), format!("run:{run}")] {
        let put = stage.post(&format!("{path}/inbox-dismissals"), json!({ "itemKey": key })).await;
        assert_eq!((put.status, &put.json()["itemKey"]), (201, &json!(key)));
    }
    assert_eq!(stage.get(&format!("{path}/inbox-dismissals")).await.good().as_array().unwrap().len(), 2);
    assert_eq!(stage.get(&format!("{path}/sidebar-badges")).await.good(), badges(0, 0, 0));
    let stats = stage.get("/api/companies/stats").await.good();
    assert_eq!(stats[&company], json!({"agentCount": 1, "issueCount": 0}));
    stage.end().await;
}

#[tokio::test]
async fn activity_tells_who_did_what() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let path = format!("/api/companies/{company}/activity");
    let listed = stage.get(&path).await.good();
    let told: Vec<&str> =
        listed.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(told, ["agent.created", "company.created"]);
    assert_eq!((&listed[0]["actorType"], &listed[0]["actorId"]), (&json!("user"), &json!("local-board")));
    let by_hand =
        json!({"actorId": "cron", "action": "backup.done", "entityType": "agent", "entityId": agent});
    let entry = stage.post(&path, by_hand).await;
    assert_eq!((entry.status, &entry.json()["actorType"]), (201, &json!("system")));
    for (query, count) in [
        ("?limit=1", 1),
        ("?entityType=agent", 2),
        (&format!("?entityType=agent&entityId={agent}"), 2),
        ("?entityType=goal", 0),
        ("?limit=ten", 3),
    ] {
        let listed = stage.get(&format!("{path}{query}")).await.good();
        assert_eq!(listed.as_array().unwrap().len(), count, "{query}");
    }
    let first = stage.get(&format!("{path}?limit=2")).await;
    let cursor = first.header("bugle-cursor").unwrap().to_owned();
    let rest = stage.get(&format!("{path}?limit=2&cursor={cursor}")).await.good();
    assert_eq!(rest[0]["action"], "company.created");
    stage.end().await;
}

#[tokio::test]
async fn activity_tells_of_agents_their_wakes_and_budgets() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let (of_company, of_agent) = (format!("/api/companies/{company}"), format!("/api/agents/{agent}"));
    let cents = json!({ "budgetMonthlyCents": 500 });
    stage.patch(&format!("{of_agent}/budgets"), cents.clone()).await.good();
    stage.patch(&format!("{of_company}/budgets"), cents.clone()).await.good();
    stage.patch(&of_agent, json!({"title": "Dr", "icon": "rocket"})).await.good();
    stage.patch(&of_agent, json!({"title": "Dr"})).await.good();
    stage.post(&format!("{of_agent}/runtime-state/reset-session"), json!({"taskKey": "t"})).await.good();
    stage.post(&format!("{of_agent}/pause"), json!({})).await.good();
    stage.post(&format!("{of_agent}/resume"), json!({})).await.good();
    let wake = json!({"reason": "look", "idempotencyKey": "once"});
    let run = id_of(&stage.post(&format!("{of_agent}/wakeup"), wake.clone()).await.good());
    stage.post(&format!("{of_agent}/wakeup"), wake).await.good();
    stage.post(&format!("{of_agent}/terminate"), json!({})).await.good();
    let listed = stage.get(&format!("{of_company}/activity")).await.good();
    let listed = listed.as_array().unwrap();
    let told: Vec<&str> = listed.iter().rev().map(|entry| entry["action"].as_str().unwrap()).collect();
    let told: Vec<&str> = told.into_iter().filter(|action| *action != "budget.policy_upserted").collect();
    assert_eq!(
        told,
        [
            "company.created",
            "agent.created",
            "agent.budget_updated",
            "company.budget_updated",
            "agent.updated",
            "agent.runtime_session_reset",
            "agent.paused",
            "agent.resumed",
            "heartbeat.invoked",
            "agent.terminated",
        ]
    );
    for (action, kind, id, details) in [
        ("agent.budget_updated", "agent", &agent, cents.clone()),
        ("company.budget_updated", "company", &company, cents),
        ("agent.updated", "agent", &agent, json!({"name": "Engineer", "changedKeys": ["title", "icon"]})),
        ("agent.runtime_session_reset", "agent", &agent, json!({"taskKey": "t", "clearedTaskSessions": 0})),
        (
            "agent.paused",
            "agent",
            &agent,
            json!({"name": "Engineer", "status": "paused", "pauseReason": "manual"}),
        ),
        ("heartbeat.invoked", "heartbeat_run", &run, json!({ "agentId": agent })),
    ] {
        let entry = listed.iter().find(|entry| entry["action"] == action).unwrap();
        assert_eq!((&entry["entityType"], &entry["entityId"]), (&json!(kind), &json!(id)), "{action}");
        assert_eq!((&entry["details"], &entry["actorId"]), (&details, &json!("local-board")), "{action}");
    }
    stage.end().await;
}

#[tokio::test]
async fn a_report_that_names_things_of_others_or_more_than_sums_bear_is_refused() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "One", 1).await;
    let rival = stage.company("Rival").await;
    let secret = json!({"name": "Secret Project"});
    let project = id_of(&stage.post(&format!("/api/companies/{rival}/projects"), secret).await.good());
    let path = format!("/api/companies/{company}/cost-events");
    let mut body = now_cost(&stage, &agent, 1);
    body["projectId"] = json!(project);
    let refused = stage.post(&path, body).await.refusal();
    assert_eq!((refused.0, refused.2.as_str()), (422, "Project does not belong to company"));
    let refused = stage.post(&path, now_cost(&stage, &agent, 100_000_001)).await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        (&refused.json()["details"][0]["path"], &refused.json()["details"][0]["message"]),
        (&json!(["costCents"]), &json!("must be between 0 and 100000000"))
    );
    stage.post(&path, now_cost(&stage, &agent, 100_000_000)).await.good();
    stage.end().await;
}

#[tokio::test]
async fn pages_of_activity_go_on_however_much_else_was_done() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let (one, two) = (stage.agent(&company, "One", 1).await, stage.agent(&company, "Two", 1).await);
    let path = format!("/api/companies/{company}/activity");
    let add = async |about: &str, agent: &str, action: String| {
        let body = json!({
            "actorId": "cron", "action": action, "entityType": "thing", "entityId": about, "agentId": agent,
        });
        stage.post(&path, body).await.good();
    };
    for number in 0..4 {
        add("rare", &one, format!("rare.{number}")).await;
    }
    for number in 0..8 {
        add("busy", &one, format!("busy.{number}")).await;
        add("rare", &two, format!("noise.{number}")).await;
    }
    let by_one = format!("entityId=rare&agentId={one}");
    for query in [by_one.clone(), format!("{by_one}&entityType=thing")] {
        let (mut told, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = stage.get(&format!("{path}?{query}&limit=3{cursor}")).await;
            let listed = page.json();
            told.extend(
                listed.as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap().to_owned()),
            );
            match page.header("bugle-cursor") {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(told, ["rare.3", "rare.2", "rare.1", "rare.0"], "{query}");
    }
    stage.end().await;
}
