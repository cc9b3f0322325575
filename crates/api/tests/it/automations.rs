//! Automations over the wire: what is refused and where, what lists show, and what people do to runs and gates.

use engine::FrameStream;
use serde_json::{Value, json};

use crate::stage::{Answer, Events, PATIENCE, Stage, id_of};

/// A company with the agent Ada.
struct Line {
    stage: Stage,
    company: String,
}

impl Line {
    async fn new() -> Line {
        let stage = Stage::new().await;
        let company = stage.company("Acme Corp").await;
        stage.agent(&company, "Ada", 8).await;
        Line { stage, company }
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/companies/{}/automations{rest}", self.company)
    }

    async fn apply(&self, definition: Value) -> Value {
        self.stage.post(&self.path(""), json!({ "definition": definition })).await.good()
    }

    /// Starts a run of an automation of these nodes; its id.
    async fn started(&self, nodes: Value) -> String {
        self.apply(json!({ "name": "line", "nodes": nodes })).await;
        id_of(&self.stage.post(&self.path("/line/runs"), json!({})).await.good())
    }

    async fn run(&self, run: &str) -> Value {
        self.stage.get(&format!("/api/automation-runs/{run}")).await.good()
    }

    async fn until(&self, run: &str, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let seen = async {
            loop {
                let run = self.run(run).await;
                if so(&run) {
                    return run;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("never came: {what}"))
    }

    async fn until_status(&self, run: &str, status: &str) -> Value {
        self.until(run, status, |run| run["status"] == status).await
    }

    /// The agent's run of an attempt, whose process was started.
    async fn working(&self, run: &str, node: &str, attempt: i64) -> String {
        let of = |run: &Value| {
            let attempts = run["attempts"].as_array().unwrap();
            let found = attempts.iter().find(|it| it["nodeId"] == node && it["attempt"] == attempt);
            found.and_then(|it| it["runId"].as_str()).map(str::to_owned)
        };
        let seen = self.until(run, node, |run| of(run).is_some()).await;
        let agent_run = of(&seen).unwrap();
        self.stage.started(&agent_run).await;
        agent_run
    }

    /// An attempt prints this and ends well.
    async fn says(&self, run: &str, node: &str, attempt: i64, words: &str) {
        let agent_run = self.working(run, node, attempt).await;
        self.stage.puppets.say(&agent_run, FrameStream::Stdout, words.as_bytes());
        self.stage.puppets.end(&agent_run, 0);
    }

    async fn asked(&self, run: &str, operation: &str, body: Value) -> Answer {
        self.stage.post(&format!("/api/automation-runs/{run}/{operation}"), body).await
    }

    /// What an operation would make again.
    async fn preview(&self, run: &str, query: &str) -> Value {
        let path = format!("/api/automation-runs/{run}/reset-preview{query}");
        let preview = self.stage.get(&path).await.good();
        let nodes = preview["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["nodeId"].clone()).collect()
    }

    /// The gate of a node that waits.
    async fn gate(&self, run: &str, node: &str) -> Value {
        let of = |run: &Value| {
            let gates = run["gates"].as_array().unwrap();
            gates.iter().find(|gate| gate["nodeId"] == node && gate["status"] == "pending").cloned()
        };
        of(&self.until(run, node, |run| of(run).is_some()).await).unwrap()
    }

    async fn decide(&self, gate: &Value, body: Value) -> Answer {
        self.stage.person("POST", &format!("/api/gates/{}/decide", id_of(gate)), body).await
    }
}

#[tokio::test]
async fn figures_tell_how_many_runs_wait_and_for_what() {
    let line = Line::new().await;
    let run = line.started(json!([gate("ok", &[])])).await;
    let waits = line.gate(&run, "ok").await;
    line.until_status(&run, "awaiting_approval").await;
    let text = line.stage.get("/metrics").await.text;
    let has = |line: &str| assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    has("bugle_automation_runs{status=\"awaiting_approval\"} 1");
    has("bugle_automation_runs{status=\"running\"} 0");
    has("bugle_automation_runs_admitted_total 1");
    has("bugle_gates_pending 1");
    assert!(text.contains("bugle_automation_run_wait_seconds{kind=\"p95\"} "), "{text}");
    line.decide(&waits, json!({ "decision": "approve", "hash": waits["hash"] })).await.good();
    line.until_status(&run, "completed").await;
}

fn step(id: &str, before: &[&str]) -> Value {
    json!({ "id": id, "agent": "Ada", "objective": format!("do {id}"), "dependsOn": before })
}

fn gate(id: &str, before: &[&str]) -> Value {
    json!({ "id": id, "dependsOn": before, "gate": { "title": "May it go on?" } })
}

/// The places of what was wrong, each in one text.
#[track_caller]
fn places(refused: &Answer) -> Vec<String> {
    assert_eq!(refused.status, 400, "{}", refused.text);
    let body = refused.json();
    let details = body["details"].as_array().unwrap_or_else(|| panic!("no details in {body}"));
    let place = |detail: &Value| {
        let parts: Vec<&str> = detail["path"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        parts.join(".")
    };
    details.iter().map(place).collect()
}

fn ids(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(id_of).collect()
}

fn states(run: &Value) -> Vec<&str> {
    run["nodes"].as_array().unwrap().iter().map(|node| node["state"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_definition_is_saved_as_versions_and_what_changed_is_shown() {
    let line = Line::new().await;
    let mut definition = json!({ "name": "notes", "nodes": [step("a", &[]), gate("ok", &["a"])] });
    let made = line.stage.post(&line.path(""), json!({ "definition": definition })).await;
    assert_eq!(made.status, 201);
    let made = made.good();
    assert_eq!(
        (&made["created"], &made["dryRun"], &made["automation"]["version"]),
        (&json!(true), &json!(false), &json!(1))
    );
    let again = line.apply(definition.clone()).await;
    assert_eq!(
        (&again["created"], &again["changes"], &again["automation"]["version"]),
        (&json!(false), &json!([]), &json!(1))
    );

    definition["nodes"][0]["objective"] = json!("do it better");
    definition["limits"] = json!({ "maxTokens": 9 });
    let asked = json!({ "definition": definition, "dryRun": true });
    let dry = line.stage.post(&line.path(""), asked).await.good();
    let changes = json!([
        { "path": "nodes[a].objective", "before": "do a", "after": "do it better" },
        { "path": "limits", "before": null, "after": { "maxTokens": 9 } },
    ]);
    assert_eq!((&dry["changes"], &dry["dryRun"]), (&changes, &json!(true)));
    let shown = line.stage.get(&line.path("/notes")).await.good();
    assert_eq!(
        (&shown["version"], &shown["hash"]),
        (&json!(1), &made["automation"]["hash"]),
        "nothing was written"
    );
    let changed = line.apply(definition).await;
    assert_eq!((&changed["changes"], &changed["automation"]["version"]), (&changes, &json!(2)));
    assert_ne!(changed["automation"]["hash"], made["automation"]["hash"]);

    let versions = line.stage.get(&line.path("/notes/versions")).await.good();
    let numbers: Vec<_> = versions.as_array().unwrap().iter().map(|it| it["version"].clone()).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(versions[1]["definition"]["nodes"][0]["objective"], "do a");
    let older = line.stage.get(&line.path("/notes/versions?below=2&limit=1")).await.good();
    assert_eq!(older, json!([versions[1]]));

    let by_id = line.stage.get(&line.path(&format!("/{}", id_of(&changed["automation"])))).await.good();
    assert_eq!(by_id, line.stage.get(&line.path("/notes")).await.good());
    for name in ["alpha", "beta"] {
        line.apply(json!({ "name": name, "nodes": [step("a", &[])] })).await;
    }
    let names = |list: Value| list.as_array().unwrap().iter().map(|it| it["name"].clone()).collect::<Value>();
    let listed = line.stage.get(&line.path("?limit=2")).await.good();
    assert_eq!(names(listed), json!(["alpha", "beta"]));
    let behind = line.stage.get(&line.path("?after=beta")).await.good();
    assert_eq!(names(behind), json!(["notes"]));
    line.stage.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_definition_is_refused_with_its_place() {
    let line = Line::new().await;
    let with = |nodes: Value| json!({ "definition": { "name": "n", "nodes": nodes } });
    let one = |field: &str, value: Value| {
        let mut node = step("a", &[]);
        node[field] = value;
        with(json!([node]))
    };
    let rows: Vec<(Value, &[&str])> = vec![
        (json!({}), &["definition"]),
        (json!({ "definition": 3 }), &["definition"]),
        (json!({ "definition": {}, "dryrun": true }), &["dryrun"]),
        (json!({ "definition": {}, "dryRun": "yes" }), &["dryRun"]),
        (json!({ "definition": { "name": "n" } }), &[""]),
        (json!({ "definition": { "name": "n", "nodes": [], "colour": 1 } }), &["colour"]),
        (with(json!([])), &["nodes"]),
        (with(json!([{ "id": "a", "agnet": "Ada" }])), &["nodes[0].agnet"]),
        (with(json!([step("a", &["b"]), step("b", &["a"])])), &["nodes[0].dependsOn"]),
        (with(json!([step("a", &["z"])])), &["nodes[0].dependsOn[0]"]),
        (one("agent", json!("Zoe")), &["nodes[0].agent"]),
        (one("objective", json!("{{ nodes.z.text }}")), &["nodes[0].objective"]),
        (one("retry", json!({ "maxAttempts": "two" })), &["nodes[0].retry.maxAttempts"]),
        (one("retry", json!({ "maxAttempts": 11 })), &["nodes[0].retry.maxAttempts"]),
        (one("output", json!({ "schema": 3 })), &["nodes[0].output.schema"]),
        (one("gate", json!({})), &["nodes[0].agent"]),
        (
            json!({ "definition": {
                "name": "9", "nodes": [{ "id": "a", "objective": "" }], "limits": { "maxTokens": 0 },
            } }),
            &["name", "limits.maxTokens", "nodes[0].agent"],
        ),
        (
            json!({ "definition": { "name": "n", "nodes": [step("a", &[])], "after": [{ "automation": "none" }] } }),
            &["after[0].automation"],
        ),
        (
            json!({ "definition": {
                "name": "n", "nodes": [step("a", &[])], "schedules": [{ "name": "s", "cron": "61 * * * *" }],
            } }),
            &["schedules[0].cron"],
        ),
    ];
    for (body, expected) in rows {
        let refused = line.stage.post(&line.path(""), body.clone()).await;
        assert_eq!(places(&refused), expected, "{body}: {}", refused.text);
    }
    assert_eq!(line.stage.get(&line.path("")).await.good(), json!([]), "nothing was saved");
    line.stage.end().await;
}

#[tokio::test]
async fn a_run_is_started_with_inputs_and_once_for_a_key() {
    let line = Line::new().await;
    line.apply(json!({
        "name": "notes", "nodes": [gate("ok", &[])],
        "inputs": { "since": { "type": "string" }, "deep": { "type": "boolean", "default": false } },
    }))
    .await;
    let path = line.path("/notes/runs");
    let body = json!({
        "inputs": { "since": "v1" }, "idempotencyKey": "monday", "reason": "as every week", "priority": "high",
    });
    let first = line.stage.post(&path, body.clone()).await;
    assert_eq!(first.status, 202);
    let first = first.good();
    assert_eq!(first["inputs"], json!({ "since": "v1", "deep": false }));
    assert_eq!(
        (
            &first["number"],
            &first["version"],
            &first["priority"],
            &first["triggerType"],
            &first["triggerDetail"]
        ),
        (&json!(1), &json!(1), &json!(1), &json!("manual"), &json!({ "reason": "as every week" }))
    );
    assert_eq!(id_of(&line.stage.post(&path, body).await.good()), id_of(&first));
    let other = json!({ "inputs": { "since": "v2" }, "idempotencyKey": "monday" });
    let other = line.stage.post(&path, other).await;
    assert_eq!((other.refusal().0, &other.json()["details"]["automationRunId"]), (409, &first["id"]));
    for (body, place) in [
        (json!({}), "inputs.since"),
        (json!({ "inputs": { "since": 3 } }), "inputs.since"),
        (json!({ "inputs": { "since": "v1", "colour": "red" } }), "inputs.colour"),
        (json!({ "inputs": "v1" }), "inputs"),
        (json!({ "inputs": { "since": "v1" }, "priority": "urgent" }), "priority"),
        (json!({ "inputs": { "since": "v1" }, "key": "k" }), "key"),
    ] {
        let refused = line.stage.post(&path, body.clone()).await;
        assert_eq!(places(&refused), [place], "{body}");
    }
    let dry = line.stage.post(&path, json!({ "inputs": { "since": "v1" }, "dryRun": true })).await.good();
    assert_eq!(
        (&dry["status"], &dry["triggerType"], &dry["detail"]),
        (&json!("completed"), &json!("manual_dry_run"), &json!("dry_run"))
    );
    line.stage.post(&line.path("/notes/pause"), json!({ "reason": "holiday" })).await.good();
    let held = line.stage.post(&path, json!({ "inputs": { "since": "v1" } })).await;
    assert_eq!(held.refusal().0, 409);
    assert_eq!(held.json()["details"], json!({ "status": "paused", "reason": "holiday" }));
    let on = line.stage.post(&line.path("/notes/resume"), json!({})).await.good();
    assert_eq!((&on["status"], &on["pausedReason"]), (&json!("active"), &json!(null)));
    assert_eq!(line.stage.post(&line.path("/none/runs"), json!({})).await.refusal().0, 404);
    line.stage.end().await;
}

#[tokio::test]
async fn a_draft_is_started_by_people_alone_until_it_is_resumed() {
    let line = Line::new().await;
    let definition = json!({
        "name": "line", "nodes": [gate("ok", &[])], "schedules": [{ "name": "often", "every": "15m" }],
    });
    let body = json!({ "definition": definition, "draft": true });
    let made = line.stage.post(&line.path(""), body.clone()).await.good();
    assert_eq!((&made["created"], &made["automation"]["status"]), (&json!(true), &json!("draft")));
    let run = id_of(&line.stage.post(&line.path("/line/runs"), json!({})).await.good());
    line.until_status(&run, "awaiting_approval").await;
    let on = line.stage.post(&line.path("/line/resume"), json!({})).await.good();
    assert_eq!(on["status"], "active");
    // What is there stays what it is.
    let again = line.stage.post(&line.path(""), body).await.good();
    assert_eq!((&again["created"], &again["automation"]["status"]), (&json!(false), &json!("active")));
    let wrong = line.stage.post(&line.path(""), json!({ "definition": definition, "draft": 1 })).await;
    assert_eq!(places(&wrong), ["draft"]);
    line.stage.end().await;
}

#[tokio::test]
async fn runs_are_listed_by_pages_and_by_status_newest_first() {
    let line = Line::new().await;
    let first = line.started(json!([gate("ok", &[])])).await;
    let mut all = vec![first];
    for _ in 0..4 {
        all.push(id_of(&line.stage.post(&line.path("/line/runs"), json!({})).await.good()));
    }
    for run in &all {
        line.until_status(run, "awaiting_approval").await;
    }
    for run in &all[..2] {
        line.asked(run, "cancel", json!({})).await.good();
    }
    all.reverse();
    let of_company = format!("/api/companies/{}/automation-runs", line.company);
    for path in [line.path("/line/runs"), of_company] {
        let page = line.stage.get(&format!("{path}?limit=3")).await;
        let cursor = page.header("bugle-cursor").unwrap().to_owned();
        assert_eq!(ids(&page.json()), all[..3]);
        let rest = line.stage.get(&format!("{path}?limit=3&cursor={cursor}")).await;
        assert_eq!((ids(&rest.json()), rest.header("bugle-cursor")), (all[3..].to_vec(), None));
        // The filter comes before the limit.
        let cancelled = line.stage.get(&format!("{path}?status=cancelled&limit=1")).await;
        let cursor = cancelled.header("bugle-cursor").unwrap().to_owned();
        assert_eq!(ids(&cancelled.json()), all[3..4]);
        let next = line.stage.get(&format!("{path}?status=cancelled&limit=1&cursor={cursor}")).await;
        assert_eq!((ids(&next.json()), next.header("bugle-cursor")), (all[4..].to_vec(), None));
        let waits = line.stage.get(&format!("{path}?status=awaiting_approval")).await.good();
        assert_eq!(ids(&waits), all[..3]);
        assert_eq!(line.stage.get(&format!("{path}?status=failed")).await.good(), json!([]));
        assert_eq!(places(&line.stage.get(&format!("{path}?status=done")).await), ["status"]);
        assert_eq!(line.stage.get(&format!("{path}?cursor=17")).await.refusal().1, "bad_cursor");
    }
    let shown = line.stage.get(&line.path("/line")).await.good();
    assert_eq!(shown["openRuns"], json!({ "awaiting_approval": 3 }));
    line.stage.end().await;
}

#[tokio::test]
async fn what_happened_to_a_run_is_read_on_behind_a_number() {
    let line = Line::new().await;
    let run = line.started(json!([step("a", &[]), gate("ok", &["a"])])).await;
    line.says(&run, "a", 1, "{\"commits\": 3}").await;
    let seen = line.until_status(&run, "awaiting_approval").await;
    assert_eq!(states(&seen), ["completed", "awaiting_approval"]);
    assert_eq!(seen["nodes"][0]["output"]["json"], json!({ "commits": 3 }));
    assert_eq!(
        (&seen["automation"], &seen["allowedActions"]),
        (&json!("line"), &json!(["cancel", "repair", "retry"]))
    );
    let path = format!("/api/automation-runs/{run}/history");
    let all = line.stage.get(&path).await.good();
    let all = all.as_array().unwrap();
    let events: Vec<&str> = all.iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    assert_eq!(
        events,
        [
            "run_created",
            "run_execution_claimed",
            "node_started",
            "node_completed",
            "gate_opened",
            "run_awaiting_approval"
        ]
    );
    assert!((1..).zip(all).all(|(number, entry)| entry["seq"] == number), "{all:?}");
    assert_eq!(seen["seq"], all.len());
    let mut read = Vec::new();
    let mut after = 0;
    loop {
        let page = line.stage.get(&format!("{path}?after={after}&limit=4")).await.good();
        let Some(last) = page.as_array().unwrap().last() else { break };
        after = last["seq"].as_i64().unwrap();
        read.extend(page.as_array().unwrap().clone());
    }
    assert_eq!(read, *all);
    line.stage.end().await;
}

#[tokio::test]
async fn people_pause_resume_and_cancel_and_hear_what_may_be_asked() {
    let line = Line::new().await;
    let run = line.started(json!([step("a", &[])])).await;
    line.working(&run, "a", 1).await;
    let pausing = line.asked(&run, "pause", json!({ "reason": "lunch" })).await.good();
    assert_eq!((&pausing["status"], &pausing["stopKind"]), (&json!("pausing"), &json!("operator_stopped")));
    let paused = line.until_status(&run, "paused").await;
    assert_eq!(paused["stopReason"], "lunch");
    assert_eq!(paused["allowedActions"], json!(["resume", "cancel", "repair", "retry"]));
    let twice = line.asked(&run, "pause", json!({})).await;
    assert_eq!(twice.refusal().0, 409);
    assert_eq!(
        twice.json()["details"],
        json!({ "status": "paused", "allowedActions": ["resume", "cancel", "repair", "retry"] })
    );
    for (operation, body, place) in [
        ("resume", json!({ "limits": { "maxTokns": 9 } }), "limits.maxTokns"),
        ("resume", json!({ "limits": { "maxTokens": "9" } }), "limits.maxTokens"),
        ("resume", json!({ "limits": 9 }), "limits"),
        ("resume", json!({ "why": "x" }), "why"),
        ("pause", json!({ "drain": "yes" }), "drain"),
        ("retry", json!({}), "nodeId"),
        ("repair", json!({ "nodeId": "a", "patch": "x" }), "patch"),
    ] {
        let refused = line.asked(&run, operation, body.clone()).await;
        assert_eq!(places(&refused), [place], "{operation} {body}");
    }
    // As a budget: to give a run more takes the proof of a person.
    let unproven = line.asked(&run, "resume", json!({ "limits": { "maxTokens": 9 } })).await;
    assert_eq!(unproven.refusal().0, 403);
    let on = line.asked(&run, "resume", json!({})).await.good();
    assert_eq!((&on["status"], &on["stopKind"]), (&json!("queued"), &json!(null)));
    line.working(&run, "a", 2).await;
    let asked = line.asked(&run, "cancel", json!({ "reason": "enough" })).await.good();
    assert!(asked["cancelRequestedAt"].is_string(), "{asked}");
    let over = line.until_status(&run, "cancelled").await;
    assert_eq!(over["allowedActions"], json!(["repair", "retry"]));
    let again = line.asked(&run, "cancel", json!({})).await.good();
    assert_eq!(again["finishedAt"], over["finishedAt"], "who asks again gets what there is");
    assert_eq!(line.asked(&run, "resume", json!({})).await.refusal().0, 409);
    assert_eq!(line.asked(&run, "explode", json!({})).await.refusal().0, 404);
    line.stage.end().await;
}

#[tokio::test]
async fn what_would_be_made_again_is_shown_before_it_is() {
    let line = Line::new().await;
    let mut strict = step("b", &["a"]);
    strict["output"] = json!({ "sections": ["Fixes"], "repairs": 0 });
    let run = line.started(json!([step("a", &[]), strict, step("c", &["b"]), step("d", &[])])).await;
    for (node, words) in [("a", "done"), ("d", "done"), ("b", "no heading")] {
        line.says(&run, node, 1, words).await;
    }
    let blocked = line.until_status(&run, "blocked").await;
    assert_eq!(states(&blocked), ["completed", "blocked", "blocked", "completed"]);
    assert_eq!(blocked["lastFailure"]["nodeId"], "b");
    assert_eq!(blocked["allowedActions"], json!(["recover", "repair", "retry", "continue"]));

    assert_eq!(line.preview(&run, "").await, json!(["b", "c"]));
    assert_eq!(line.preview(&run, "?operation=recover").await, json!(["b", "c"]));
    assert_eq!(line.preview(&run, "?nodeId=a").await, json!(["a", "b", "c"]));
    assert_eq!(line.preview(&run, "?operation=continue&nodeId=b").await, json!(["b", "c"]));
    let wrong = |query: &str| format!("/api/automation-runs/{run}/reset-preview{query}");
    for (query, status) in
        [("?operation=continue&nodeId=a", 409), ("?nodeId=z", 404), ("?operation=explode", 404)]
    {
        assert_eq!(line.stage.get(&wrong(query)).await.refusal().0, status, "{query}");
    }
    for (operation, body, status) in
        [("continue", json!({ "nodeId": "a" }), 409), ("retry", json!({ "nodeId": "z" }), 404)]
    {
        assert_eq!(line.asked(&run, operation, body).await.refusal().0, status, "{operation}");
    }
    for (patch, place) in [
        (json!({ "dependsOn": [] }), "patch.dependsOn"),
        (json!({ "agnet": "Bob" }), "nodes[1].agnet"),
        (json!({ "agent": "Zoe" }), "nodes[1].agent"),
    ] {
        let refused = line.asked(&run, "repair", json!({ "nodeId": "b", "patch": patch })).await;
        assert_eq!(places(&refused), [place]);
    }
    assert_eq!(line.run(&run).await["seq"], blocked["seq"], "nothing of this changed the run");

    // Continued, it misses again; repaired, its contract is another one in this run alone.
    line.asked(&run, "continue", json!({ "nodeId": "b" })).await.good();
    line.says(&run, "b", 2, "no heading again").await;
    line.until_status(&run, "blocked").await;
    let repair = json!({ "nodeId": "b", "patch": { "output": null }, "reason": "not needed" });
    let repaired = line.asked(&run, "repair", repair).await.good();
    assert_eq!((&repaired["isRepaired"], &repaired["status"]), (&json!(true), &json!("queued")));
    line.says(&run, "b", 3, "no heading at all").await;
    line.says(&run, "c", 1, "done").await;
    let done = line.until_status(&run, "completed").await;
    assert_eq!(done["definition"]["nodes"][1]["output"], json!(null));
    let kept = line.stage.get(&line.path("/line")).await.good();
    assert_eq!(
        kept["definition"]["nodes"][1]["output"]["sections"],
        json!(["Fixes"]),
        "the automation is what it was"
    );

    // Recovering needs something broken; a node is made again whatever it came to.
    assert_eq!(line.asked(&run, "recover", json!({})).await.refusal().0, 409);
    line.asked(&run, "retry", json!({ "nodeId": "c" })).await.good();
    let agent_run = line.working(&run, "c", 2).await;
    line.stage.puppets.end(&agent_run, 1);
    for attempt in [3, 4] {
        let agent_run = line.working(&run, "c", attempt).await;
        line.stage.puppets.end(&agent_run, 1);
    }
    line.until_status(&run, "failed").await;
    let recovered = line.asked(&run, "recover", json!({})).await.good();
    assert_eq!(recovered["lastFailure"], json!(null));
    line.says(&run, "c", 5, "done").await;
    let done = line.until_status(&run, "completed").await;
    assert_eq!(done["nodes"][2]["attempts"], 1, "what was tried before is forgotten");
    line.stage.end().await;
}

#[tokio::test]
async fn a_gate_is_decided_about_what_was_shown_and_once() {
    let line = Line::new().await;
    let run = line.started(json!([step("a", &[]), gate("ok", &["a"]), gate("last", &["ok"])])).await;
    line.says(&run, "a", 1, "a draft").await;
    let asked = line.gate(&run, "ok").await;
    let list = format!("/api/companies/{}/gates", line.company);
    let listed = line.stage.get(&list).await.good();
    assert_eq!(
        (ids(&listed), &listed[0]["automation"], &listed[0]["runNumber"]),
        (vec![id_of(&asked)], &json!("line"), &json!(1))
    );
    let shown = line.stage.get(&format!("/api/gates/{}", id_of(&asked))).await.good();
    assert_eq!((&shown["title"], &shown["hash"]), (&json!("May it go on?"), &asked["hash"]));
    assert_eq!(shown["shown"]["upstream"][0]["text"], "a draft");
    assert_eq!(shown["decisions"], json!(["approve", "rework", "cancel"]));

    let hash = asked["hash"].as_str().unwrap();
    let path = format!("/api/gates/{}/decide", id_of(&asked));
    let unproven = line.stage.post(&path, json!({ "decision": "approve", "hash": hash })).await;
    assert_eq!(unproven.refusal().0, 403, "a person proves to be one");
    for (body, place) in [
        (json!({ "hash": hash }), "decision"),
        (json!({ "decision": "approve" }), "hash"),
        (json!({ "decision": "maybe", "hash": hash }), "decision"),
        (json!({ "decision": "rework", "hash": hash, "targets": "a" }), "targets"),
        (json!({ "decision": "approve", "hash": hash, "why": "x" }), "why"),
    ] {
        assert_eq!(places(&line.decide(&asked, body.clone()).await), [place], "{body}");
    }
    let code =
        |answer: &Answer| (answer.status, answer.json()["details"]["code"].as_str().unwrap().to_owned());
    let stale = line.decide(&asked, json!({ "decision": "approve", "hash": "0000" })).await;
    assert_eq!(code(&stale), (409, "stale".to_owned()));
    assert_eq!(stale.json()["details"]["hash"], asked["hash"], "it says what would count");
    let target =
        line.decide(&asked, json!({ "decision": "rework", "hash": hash, "targets": ["last"] })).await;
    assert_eq!(code(&target), (422, "gate_invalid_target".to_owned()));

    let body = json!({ "decision": "rework", "hash": hash, "reason": "shorter", "targets": ["a"] });
    let sent_back = line.decide(&asked, body).await.good();
    assert_eq!((&sent_back["status"], &sent_back["decision"]), (&json!("decided"), &json!("rework")));
    let late = line.decide(&asked, json!({ "decision": "approve", "hash": hash })).await;
    assert_eq!(code(&late), (409, "gate_already_decided".to_owned()));
    assert_eq!(late.json()["details"]["winningDecision"], "rework");
    line.says(&run, "a", 2, "a short draft").await;
    let anew = line.gate(&run, "ok").await;
    assert_ne!((&anew["id"], &anew["hash"]), (&asked["id"], &asked["hash"]));
    let crossed = line.decide(&anew, json!({ "decision": "approve", "hash": hash })).await;
    assert_eq!(code(&crossed), (409, "stale".to_owned()));
    let approved = line
        .decide(&anew, json!({ "decision": "approve", "hash": anew["hash"], "reason": "good" }))
        .await
        .good();
    assert_eq!((&approved["reason"], &approved["decidedBy"]["kind"]), (&json!("good"), &json!("user")));

    let last = line.gate(&run, "last").await;
    line.decide(&last, json!({ "decision": "cancel", "hash": last["hash"] })).await.good();
    let over = line.until_status(&run, "cancelled").await;
    assert_eq!((&over["stopKind"], over["gates"].as_array().unwrap().len()), (&json!("cancelled"), 3));
    assert_eq!(line.stage.get(&list).await.good(), json!([]), "nobody is asked any more");
    line.stage.end().await;
}

#[tokio::test]
async fn every_gate_that_waits_is_listed_oldest_first_by_pages() {
    let line = Line::new().await;
    let first = line.started(json!([gate("x", &[]), gate("y", &[])])).await;
    line.until_status(&first, "awaiting_approval").await;
    for _ in 0..3 {
        let run = id_of(&line.stage.post(&line.path("/line/runs"), json!({})).await.good());
        line.until_status(&run, "awaiting_approval").await;
    }
    let mut path = format!("/api/companies/{}/gates?limit=3", line.company);
    let mut seen: Vec<Value> = Vec::new();
    loop {
        let page = line.stage.get(&path).await;
        assert!(page.json().as_array().unwrap().len() <= 3);
        seen.extend(page.json().as_array().unwrap().clone());
        let Some(cursor) = page.header("bugle-cursor") else { break };
        path = format!("/api/companies/{}/gates?limit=3&cursor={cursor}", line.company);
    }
    assert_eq!(seen.len(), 8);
    assert!(seen[..2].iter().all(|gate| gate["automationRunId"] == *first), "the oldest are not forgotten");
    assert!(seen.is_sorted_by_key(|gate| gate["requestedAt"].as_str().map(str::to_owned)));
    line.stage.end().await;
}

#[tokio::test]
async fn nothing_of_another_company_is_found_under_a_companys_own_path() {
    let line = Line::new().await;
    let run = line.started(json!([gate("ok", &[])])).await;
    let asked = line.gate(&run, "ok").await;
    let automation = id_of(&line.stage.get(&line.path("/line")).await.good());
    let other = line.stage.company("Other Corp").await;
    for name in ["line", &automation] {
        for rest in ["", "/versions", "/runs"] {
            let path = format!("/api/companies/{other}/automations/{name}{rest}");
            assert_eq!(line.stage.get(&path).await.refusal().0, 404, "{path}");
        }
        for rest in ["/pause", "/resume", "/runs"] {
            let path = format!("/api/companies/{other}/automations/{name}{rest}");
            assert_eq!(line.stage.post(&path, json!({})).await.refusal().0, 404, "{path}");
        }
    }
    for list in ["automations", "automation-runs", "gates"] {
        assert_eq!(
            line.stage.get(&format!("/api/companies/{other}/{list}")).await.good(),
            json!([]),
            "{list}"
        );
    }
    // What is not there is not there, whatever its name looks like.
    for unknown in ["0192f7a0-0000-4000-8000-00000000000a", "line"] {
        for path in [
            "automation-runs/ID",
            "automation-runs/ID/history",
            "automation-runs/ID/reset-preview",
            "gates/ID",
        ] {
            let path = format!("/api/{}", path.replace("ID", unknown));
            assert_eq!(line.stage.get(&path).await.refusal().0, 404, "{path}");
        }
    }
    let stranger = line.stage.agent(&other, "Eve", 1).await;
    let key = line.stage.agent_key(&stranger).await;
    for path in [format!("automation-runs/{run}"), format!("gates/{}", id_of(&asked))] {
        let refused = line.stage.with_key("GET", &format!("/api/{path}"), (&key, None), Value::Null).await;
        assert!([403, 404].contains(&refused.status) && !refused.text.contains("May it"), "{}", refused.text);
    }
    line.stage.end().await;
}

#[tokio::test]
async fn events_of_runs_nodes_and_gates_are_told_and_go_on_behind_a_cursor() {
    let line = Line::new().await;
    let path = format!("/api/companies/{}/events", line.company);
    let run = line.started(json!([step("a", &[]), gate("ok", &["a"])])).await;
    let mut events = Events::open(&line.stage, &path, Some("0".to_owned())).await;
    let mut told: Vec<(String, String)> = Vec::new();
    let mut told_until = async |last: Option<String>, until: &str, events: &mut Events| {
        if last.is_some() {
            // Whoever was cut off goes on with the id of the last event that it has.
            *events = Events::open(&line.stage, &path, last).await;
        }
        loop {
            let event = events.next().await.expect("the stream goes on");
            let kind = event.name.split('.').take(2).collect::<Vec<_>>().join(".");
            if !["automation.run", "automation.node", "automation.gate"].contains(&kind.as_str()) {
                continue;
            }
            let payload = event.json()["payload"].clone();
            assert_eq!(payload["automationRunId"], json!(run), "{payload}");
            assert_eq!(payload["seq"], told.len() + 1, "each has its number in the history");
            let node = payload["nodeId"].as_str().unwrap_or("-").to_owned();
            told.push((event.name.clone(), node));
            if event.name == until {
                return event.id;
            }
        }
    };
    let last = told_until(None, "automation.run.execution_claimed", &mut events).await;
    line.says(&run, "a", 1, "done").await;
    let last = told_until(last, "automation.run.awaiting_approval", &mut events).await;
    let asked = line.gate(&run, "ok").await;
    line.decide(&asked, json!({ "decision": "approve", "hash": asked["hash"] })).await.good();
    told_until(last, "automation.run.completed", &mut events).await;
    let told: Vec<(&str, &str)> = told.iter().map(|(name, node)| (name.as_str(), node.as_str())).collect();
    assert_eq!(
        told,
        [
            ("automation.run.created", "-"),
            ("automation.run.execution_claimed", "-"),
            ("automation.node.started", "a"),
            ("automation.node.completed", "a"),
            ("automation.gate.opened", "ok"),
            ("automation.run.awaiting_approval", "-"),
            ("automation.gate.decided", "ok"),
            ("automation.node.completed", "ok"),
            ("automation.run.completed", "-"),
        ]
    );
    line.stage.end().await;
}
