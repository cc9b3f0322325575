//! How agents are configured: what is written when they are saved, what was there before, and what there is to choose.

use serde_json::{Value, json};

use crate::stage::{Stage, id_of};

#[tokio::test]
async fn a_configuration_goes_back_to_what_it_was() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let path = format!("/api/agents/{agent}");
    let revisions = format!("{path}/config-revisions");
    assert_eq!(stage.get(&revisions).await.good(), json!([]), "nothing was changed yet");
    stage.patch(&path, json!({"title": "First", "adapterConfig": {"command": "echo"}})).await.good();
    stage.patch(&path, json!({"title": "First"})).await.good();
    stage.patch(&path, json!({"title": "Second", "capabilities": "all"})).await.good();
    let listed = stage.get(&revisions).await.good();
    let keys: Vec<&Value> = listed.as_array().unwrap().iter().map(|one| &one["changedKeys"]).collect();
    assert_eq!(keys, [&json!(["title", "capabilities"]), &json!(["title", "adapterConfig"])]);
    let (newest, first) = (&listed[0], &listed[1]);
    assert_eq!((&newest["source"], &newest["createdByUserId"]), (&json!("patch"), &json!("local-board")));
    assert_eq!(
        (&newest["beforeConfig"]["title"], &newest["afterConfig"]["title"]),
        (&json!("First"), &json!("Second"))
    );
    let one = stage.get(&format!("{revisions}/{}", id_of(first))).await.good();
    assert_eq!(&one, first);
    // Back to what it was after the first change.
    let back = stage.post(&format!("{revisions}/{}/rollback", id_of(first)), json!({})).await.good();
    assert_eq!((&back["title"], &back["capabilities"]), (&json!("First"), &Value::Null));
    assert_eq!(back["adapterConfig"]["command"], "echo");
    let listed = stage.get(&revisions).await.good();
    assert_eq!(
        (&listed[0]["source"], &listed[0]["rolledBackFromRevisionId"]),
        (&json!("rollback"), &first["id"])
    );
    let activity = stage.get(&format!("/api/companies/{company}/activity?entityId={agent}")).await.good();
    assert!(activity.as_array().unwrap().iter().any(|entry| entry["action"] == "agent.config_rolled_back"));
    let nothing = stage.get(&format!("{revisions}/{agent}")).await.refusal();
    assert_eq!((nothing.0, nothing.2.as_str()), (404, "Revision not found"));
    stage.end().await;
}

#[tokio::test]
async fn a_revision_keeps_no_secret_and_is_no_way_back_then() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let path = format!("/api/agents/{agent}");
    let config = json!({"command": "true", "env": {"API_KEY": "hush-hush-hush", "MODE": "loud"}});
    stage.patch(&path, json!({"adapterConfig": config})).await.good();
    let listed = stage.get(&format!("{path}/config-revisions")).await;
    assert!(!listed.text.contains("hush-hush"), "{}", listed.text);
    let env = &listed.json()[0]["afterConfig"]["adapterConfig"]["env"];
    assert!(env.to_string().contains("loud"), "{env}");
    let rollback = format!("{path}/config-revisions/{}/rollback", id_of(&listed.json()[0]));
    let refused = stage.post(&rollback, json!({})).await.refusal();
    let words = "Cannot roll back a revision that contains redacted secret values";
    assert_eq!((refused.0, refused.2.as_str()), (422, words));
    // An agent without the right to hire reads none of it, and changes nobody else.
    let other = stage.agent(&company, "Other", 1).await;
    let key = stage.key_of(&company, &other).await;
    let request = stage.http.get(stage.url(&format!("{path}/config-revisions")));
    assert_eq!(stage.send(stage.by(request, &key, None)).await.status, 403);
    let request = stage.http.post(stage.url(&rollback));
    assert_eq!(stage.send(stage.by(request, &key, None)).await.status, 403);
    stage.end().await;
}

#[tokio::test]
async fn an_agent_does_not_get_other_instructions_by_going_back() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let path = format!("/api/agents/{agent}");
    let config = |file: &str| json!({"adapterConfig": {"command": "true", "instructionsFilePath": file}});
    stage.patch(&path, config("/srv/old.md")).await.good();
    stage.patch(&path, config("/srv/new.md")).await.good();
    let listed = stage.get(&format!("{path}/config-revisions")).await.good();
    let rollback = format!("{path}/config-revisions/{}/rollback", id_of(&listed[1]));
    let key = stage.key_of(&company, &agent).await;
    let request = stage.http.post(stage.url(&rollback));
    let refused = stage.send(stage.by(request, &key, None)).await.refusal();
    assert_eq!((refused.0, refused.2.contains("instructionsFilePath")), (403, true), "{refused:?}");
    let back = stage.post(&rollback, json!({})).await.good();
    assert_eq!(back["adapterConfig"]["instructionsFilePath"], "/srv/old.md");
    stage.end().await;
}

#[tokio::test]
async fn what_an_agent_will_use_is_written_when_it_is_saved() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let create = format!("/api/companies/{company}/agents");
    let made = |kind: &str, config: Value| {
        stage.post(&create, json!({"name": "A", "adapterType": kind, "adapterConfig": config}))
    };
    let codex = made("codex_local", json!({})).await.good();
    let expected = json!({"model": "gpt-5.3-codex", "dangerouslyBypassApprovalsAndSandbox": true});
    assert_eq!(codex["adapterConfig"], expected);
    let careful = made("codex_local", json!({"dangerouslyBypassSandbox": false, "model": "o3"})).await.good();
    assert_eq!(careful["adapterConfig"], json!({"dangerouslyBypassSandbox": false, "model": "o3"}));
    let gemini = made("gemini_local", json!({})).await.good();
    assert_eq!(gemini["adapterConfig"]["model"], "auto");
    let path = format!("/api/agents/{}", id_of(&gemini));
    let changed = stage.patch(&path, json!({"adapterType": "codex_local"})).await.good();
    assert_eq!(changed["adapterConfig"], expected);
    stage.end().await;
}

#[tokio::test]
async fn models_and_pages_say_what_there_is_to_choose() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let adapter = |rest: &str| format!("/api/companies/{company}/adapters/{rest}");
    let models = stage.get(&adapter("claude_local/models?refresh=true")).await.good();
    assert_eq!(models[0], json!({"id": "claude-opus-4-7", "label": "claude-opus-4-7"}));
    assert_eq!(stage.get(&adapter("process/models")).await.good(), json!([]));
    // The tests' server has no home to look in.
    assert_eq!(stage.get(&adapter("codex_local/detect-model")).await.good(), Value::Null);
    for path in ["telepathy/models", "telepathy/detect-model"] {
        let refused = stage.get(&adapter(path)).await.refusal();
        assert_eq!((refused.0, refused.2.as_str()), (422, "Unknown adapter type: telepathy"));
    }
    let page = stage.get("/llms/agent-configuration.txt").await;
    assert_eq!(page.header("content-type"), Some("text/plain; charset=utf-8"));
    for kind in adapters_of(&page.text) {
        let text = stage.get(&format!("/llms/agent-configuration/{kind}.txt")).await;
        assert_eq!(text.status, 200, "{kind}");
        assert!(text.text.contains("adapterConfig."), "{}", text.text);
    }
    let absent = stage.get("/llms/agent-configuration/telepathy.txt").await.refusal();
    assert_eq!((absent.0, absent.2.as_str()), (404, "Adapter type not found"));
    assert!(stage.get("/llms/agent-icons.txt").await.text.contains("\nrocket\n"));
    let agent = stage.agent(&company, "Engineer", 1).await;
    let key = stage.key_of(&company, &agent).await;
    let request = stage.http.get(stage.url("/llms/agent-configuration.txt"));
    assert_eq!(stage.send(stage.by(request, &key, None)).await.status, 403, "it may not hire");
    stage.end().await;
}

/// The kinds that the page names.
fn adapters_of(page: &str) -> Vec<&str> {
    let kinds: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("- ")?.split_once(':'))
        .map(|(kind, _)| kind)
        .collect();
    assert!(kinds.len() > 5, "{page}");
    kinds
}
