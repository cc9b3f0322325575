//! Tree control over the wire.

use reqwest::Method;
use serde_json::{Value, json};

use crate::issues::{Acme, path};
use crate::shapes::scrubbed;
use crate::stage::id_of;

const NOBODY: &str = "0192f7a0-0000-4000-8000-00000000000a";

macro_rules! shape {
    ($name:literal, $value:expr) => {
        insta::assert_json_snapshot!($name, scrubbed($value))
    };
}

#[tokio::test]
async fn a_tree_is_paused_and_released() {
    let acme = Acme::new().await;
    let root = acme.issue(json!({"title": "root", "status": "todo"})).await;
    let leaf = acme.issue(json!({"title": "leaf", "status": "todo", "parentId": root["id"]})).await;
    let state = acme.stage.get(&path(&leaf, "/tree-control/state")).await.good();
    assert_eq!(state, json!({"activePauseHold": null}));
    let body = json!({"mode": "pause", "releasePolicy": {"note": "until monday"}});
    let preview = acme.post(&path(&root, "/tree-control/preview"), body).await.good();
    shape!("tree_preview", preview);
    let holds = path(&root, "/tree-holds");
    let answer = acme.post(&holds, json!({"mode": "pause", "reason": "wait"})).await;
    assert_eq!(answer.status, 201);
    let done = answer.good();
    shape!("tree_hold", done["hold"].clone());
    assert_eq!(done["preview"]["totals"]["affectedIssues"], 2);
    let gate = acme.stage.get(&path(&leaf, "/tree-control/state")).await.good();
    shape!("pause_gate", gate);
    let body = json!({"agentId": acme.agent, "expectedStatuses": ["todo"]});
    let run = acme.run("other").await;
    let take = acme.agent(Method::POST, &path(&leaf, "/checkout"), Some(&run), body.clone()).await;
    let refusal = take.refusal();
    assert_eq!((refusal.0, refusal.2.as_str()), (409, "Issue checkout blocked by active subtree pause hold"));
    let details = take.json()["details"].clone();
    assert_eq!((&details["holdId"], &details["rootIssueId"]), (&done["hold"]["id"], &root["id"]));
    let listed = acme.stage.get(&format!("{holds}?status=active&mode=pause")).await.good();
    assert_eq!((&listed[0]["id"], listed[0].get("members")), (&done["hold"]["id"], None));
    let with = acme.stage.get(&format!("{holds}?includeMembers=true")).await.good();
    assert_eq!(with[0]["members"].as_array().unwrap().len(), 2);
    let one = format!("{holds}/{}", id_of(&done["hold"]));
    assert_eq!(acme.stage.get(&one).await.good()["status"], "active");
    let other = path(&leaf, &format!("/tree-holds/{}/release", id_of(&done["hold"])));
    let refusal = acme.post(&other, json!({})).await.refusal();
    assert_eq!(
        (refusal.0, refusal.2.as_str()),
        (422, "Issue tree hold does not belong to the requested root issue")
    );
    let released = acme.post(&format!("{one}/release"), json!({"reason": "go"})).await.good();
    assert_eq!((&released["status"], &released["releaseReason"]), (&json!("released"), &json!("go")));
    let refusal = acme.post(&format!("{one}/release"), json!({})).await.refusal();
    assert_eq!((refusal.0, refusal.2.as_str()), (409, "Issue tree hold is already released"));
    acme.agent(Method::POST, &path(&leaf, "/checkout"), Some(&run), body).await.good();
    acme.stage.end().await;
}

#[tokio::test]
async fn a_cancelled_tree_comes_back() {
    let acme = Acme::new().await;
    let root = acme.issue(json!({"title": "root", "status": "todo"})).await;
    let leaf = acme.issue(json!({"title": "leaf", "status": "backlog", "parentId": root["id"]})).await;
    let holds = path(&root, "/tree-holds");
    assert_eq!(acme.post(&holds, json!({"mode": "cancel"})).await.status, 201);
    let status = |value: Value| value["status"].as_str().unwrap().to_owned();
    assert_eq!(status(acme.stage.get(&path(&leaf, "")).await.good()), "cancelled");
    let answer = acme.post(&holds, json!({"mode": "restore", "metadata": {"wakeAgents": true}})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(status(acme.stage.get(&path(&leaf, "")).await.good()), "backlog");
    assert_eq!(status(acme.stage.get(&path(&root, "")).await.good()), "todo");
    acme.stage.end().await;
}

#[tokio::test]
async fn trees_are_for_people_and_strict() {
    let acme = Acme::new().await;
    let root = acme.issue(json!({"title": "root"})).await;
    let hold = format!("/tree-holds/{NOBODY}");
    for (method, rest, body) in [
        (Method::POST, "/tree-control/preview", json!({"mode": "pause"})),
        (Method::POST, "/tree-holds", json!({"mode": "pause"})),
        (Method::GET, "/tree-control/state", json!({})),
        (Method::GET, "/tree-holds", json!({})),
        (Method::GET, hold.as_str(), json!({})),
        (Method::POST, &format!("{hold}/release"), json!({})),
    ] {
        let refusal = acme.agent(method, &path(&root, rest), None, body).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (403, "Board access required"), "{rest}");
    }
    for body in [
        json!({}),
        json!({"mode": "stop"}),
        json!({"mode": "pause", "colour": "red"}),
        json!({"mode": "pause", "reason": ""}),
        json!({"mode": "pause", "releasePolicy": {"strategy": "never"}}),
        json!({"mode": "pause", "releasePolicy": {"until": "x"}}),
    ] {
        let refusal = acme.post(&path(&root, "/tree-holds"), body.clone()).await.refusal();
        assert_eq!((refusal.0, refusal.2.as_str()), (400, "Validation error"), "{body}");
    }
    let preview = json!({"mode": "pause", "reason": "x"});
    assert_eq!(acme.post(&path(&root, "/tree-control/preview"), preview).await.status, 400);
    let refusal = acme.stage.get(&path(&root, &hold)).await.refusal();
    assert_eq!((refusal.0, refusal.2.as_str()), (404, "Issue tree hold not found"));
    assert_eq!(acme.stage.get(&path(&root, "/tree-holds?status=gone")).await.status, 400);
    acme.stage.end().await;
}
