//! The transcript of a run on the wire.

use engine::FrameStream::{Stderr, Stdout};
use serde_json::{Value, json};

use crate::shapes::scrubbed;
use crate::stage::{Stage, id_of};

/// A company, and a run of an agent that speaks.
async fn speaking(stage: &Stage) -> (String, String) {
    let company = stage.company("Acme Corp").await;
    let config = json!({"script": "hang", "graceSec": 1});
    let body = json!({"name": "Speaker", "adapterType": "scripted", "adapterConfig": config});
    let agent = id_of(&stage.post(&format!("/api/companies/{company}/agents"), body).await.good());
    let run = stage.wake(&agent, "task").await;
    stage.started(&run).await;
    (company, run)
}

fn say(stage: &Stage, run: &str, event: Value) {
    stage.puppets.say(run, Stdout, format!("::bugle:: {event}\n").as_bytes());
}

/// One of everything but the last word.
fn say_all(stage: &Stage, run: &str) {
    let error =
        json!({"class": "quota", "message": "enough for today", "notBefore": "2026-04-27T15:02:47.000Z"});
    for event in [
        json!({"type": "session", "id": "s-1"}),
        json!({"type": "message", "text": "let me look"}),
        json!({"type": "tool_call", "id": "1", "name": "bash", "input": {"command": "ls"}}),
        json!({"type": "tool_call", "id": "2", "name": "read", "input": {"path": "a"}}),
        json!({"type": "tool_result", "id": "1", "is_error": true, "output": "no such folder\n"}),
        json!({"type": "usage_added", "usage": {
            "inputTokens": 10, "outputTokens": 5, "costMicros": 7, "model": "m"}}),
        json!({"type": "usage_total", "usage": {"inputTokens": 30}}),
        json!({"type": "trouble", "error": error}),
        json!({"type": "session_note", "note": {"secret": "of the adapter"}}),
    ] {
        say(stage, run, event);
    }
}

async fn page(stage: &Stage, run: &str, query: &str) -> Value {
    let answer = stage.get(&format!("/api/heartbeat-runs/{run}/transcript{query}")).await;
    assert_eq!(answer.header("cache-control"), Some("no-cache, no-store"));
    answer.good()
}

#[tokio::test]
async fn a_transcript_in_all_its_forms() {
    let stage = Stage::new().await;
    let (company, run) = speaking(&stage).await;
    say_all(&stage, &run);
    let live = page(&stage, &run, "").await;
    assert_eq!((&live["done"], &live["pending"][0]["name"]), (&json!(false), &json!("read")));
    // Whose program said that it is done is soon over.
    let result =
        json!({"type": "result", "error": null, "summary": "did it", "plan_only": false, "json": null});
    stage.puppets.say(&run, Stderr, b"a warning\n");
    say(&stage, &run, result);
    stage.puppets.end(&run, 0);
    assert_eq!(stage.over(&company, &run).await, "succeeded");
    let whole = page(&stage, &run, "").await;
    insta::assert_json_snapshot!("transcript", scrubbed(whole.clone()));
    let seen = live["items"].as_array().unwrap();
    assert!(!seen.is_empty());
    assert_eq!(whole["items"].as_array().unwrap()[..seen.len()], seen[..]);
    assert!(!whole.to_string().contains("of the adapter"));
    stage.end().await;
}

#[tokio::test]
async fn pages_of_any_size_give_the_whole_and_a_cursor_always_gives_the_same() {
    let stage = Stage::new().await;
    let (company, run) = speaking(&stage).await;
    for round in 0..40 {
        say(&stage, &run, json!({"type": "message", "text": format!("round {round}")}));
        let id = round.to_string();
        say(&stage, &run, json!({"type": "tool_call", "id": id, "name": "bash", "input": {"n": round}}));
        if round % 3 != 0 {
            say(&stage, &run, json!({"type": "tool_result", "id": id, "is_error": false, "output": "x\n"}));
        }
    }
    let live = page(&stage, &run, "?limit=1000").await;
    let cursor = page(&stage, &run, "?limit=7").await["nextCursor"].as_str().unwrap().to_owned();
    let early = page(&stage, &run, &format!("?limit=20&after={cursor}")).await;
    stage.puppets.end(&run, 0);
    stage.over(&company, &run).await;
    let whole = page(&stage, &run, "?limit=1000").await;
    let items = whole["items"].as_array().unwrap();
    assert_eq!((items.len(), &whole["done"]), (80, &json!(true)));
    let given = live["items"].as_array().unwrap();
    assert_eq!((given.len(), &items[..given.len()]), (66, &given[..]));
    let late = page(&stage, &run, &format!("?limit=20&after={cursor}")).await;
    assert_eq!((&early["items"], &early["nextCursor"]), (&late["items"], &late["nextCursor"]));
    assert_eq!(late["items"].as_array().unwrap()[..], items[7..27]);
    for limit in [1, 3, 79, 80, 81] {
        let (mut all, mut query) = (Vec::new(), format!("?limit={limit}"));
        loop {
            let part = page(&stage, &run, &query).await;
            all.extend(part["items"].as_array().unwrap().clone());
            if part["done"] == true {
                break;
            }
            query = format!("?limit={limit}&after={}", part["nextCursor"].as_str().unwrap());
        }
        assert_eq!(&all, items, "pages of {limit}");
    }
    stage.end().await;
}

#[tokio::test]
async fn what_was_not_given_out_is_refused_and_what_is_not_there_is_said() {
    let stage = Stage::new().await;
    let (company, run) = speaking(&stage).await;
    for cursor in ["x", "1", "1.2.3", "0.0.0.0", "1.-1.0.0", "9999999999999999999999.0.0.0"] {
        let answer = stage.get(&format!("/api/heartbeat-runs/{run}/transcript?after={cursor}")).await;
        assert_eq!((answer.status, answer.refusal().1.as_str()), (400, "bad_cursor"), "{cursor}");
        assert!(answer.json()["hint"].as_str().unwrap().contains("nextCursor"));
    }
    // A process that has said nothing yet, and a run that waits.
    assert_eq!(page(&stage, &run, "").await["items"], json!([]));
    let agent = stage.agent(&company, "Other", 1).await;
    let (first, queued) = (stage.wake(&agent, "a").await, stage.wake(&agent, "b").await);
    stage.started(&first).await;
    let waiting = page(&stage, &queued, "").await;
    assert_eq!((&waiting["items"], &waiting["done"]), (&json!([]), &json!(false)));
    // One that never began has none, and never will.
    stage.post(&format!("/api/heartbeat-runs/{queued}/cancel"), json!({})).await.good();
    let refusal = stage.get(&format!("/api/heartbeat-runs/{queued}/transcript")).await.refusal();
    assert_eq!((refusal.0, refusal.2.as_str()), (404, "Run log not found"));
    stage.end().await;
}
