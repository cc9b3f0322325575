//! Accounts over the wire: what people see of them, and what they do.

use serde_json::json;

use crate::shapes::scrubbed;
use crate::stage::{Stage, id_of};

#[tokio::test]
async fn people_see_park_and_resume_an_account_and_waiting_runs_say_so() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let agent = json!({
        "name": "Ada", "adapterType": "process", "adapterConfig": {"command": "true", "account": "the team"},
    });
    let agent = id_of(&stage.post(&format!("/api/companies/{company}/agents"), agent).await.good());
    let run = stage.wake(&agent, "task").await;
    stage.started(&run).await;
    let list = format!("/api/companies/{company}/accounts");
    let accounts = stage.get(&list).await.good();
    assert_eq!(accounts.as_array().map(Vec::len), Some(1));
    let account = accounts[0]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/accounts/{account}");
    assert_eq!(stage.get(&path).await.good(), accounts[0]);

    let parked = stage.post(&format!("{path}/park"), json!({"until": "2999-01-01T00:00:00Z"})).await.good();
    insta::assert_json_snapshot!("account_parked", scrubbed(parked));
    let next = stage.wake(&agent, "another task").await;
    let held = stage.get(&format!("/api/heartbeat-runs/{next}")).await.good();
    assert_eq!((&held["status"], &held["heldReason"]), (&json!("queued"), &json!("quota")));
    assert_eq!(held["heldUntil"], json!("2999-01-01T00:00:00.000Z"));
    let told = stage.get(&format!("/api/heartbeat-runs/{next}/explain")).await.good();
    assert_eq!(told["heldUntil"], held["heldUntil"]);
    let windows = stage.get(&format!("/api/companies/{company}/costs/quota-windows")).await.good();
    assert_eq!((&windows[0]["provider"], &windows[0]["source"]), (&json!("declared"), &json!("bugle")));
    assert_eq!(windows[0]["windows"][0]["label"], "the team");

    let refused = stage.post(&format!("{path}/park"), json!({"until": "2000-01-01T00:00:00Z"})).await;
    assert_eq!(refused.status, 400);
    for wrong in [json!({}), json!({"autoResume": "no"})] {
        assert_eq!(stage.person("PATCH", &path, wrong).await.status, 400);
    }
    let patched = stage.person("PATCH", &path, json!({"autoResume": false})).await.good();
    assert_eq!(patched["autoResume"], false);
    let resumed = stage.post(&format!("{path}/resume"), json!({})).await.good();
    assert_eq!((&resumed["state"], &resumed["waitsFor"]), (&json!("open"), &json!(null)));
    let key = stage.agent_key(&agent).await;
    let by_agent = stage.with_key("POST", &format!("{path}/park"), (&key, None), json!({})).await;
    assert_eq!(by_agent.status, 403);
    let unknown = stage.get("/api/accounts/0192f7a0-0000-4000-8000-00000000000a").await;
    assert_eq!(unknown.refusal(), (404, "not_found".into(), "Account not found".into()));
    stage.end().await;
}
