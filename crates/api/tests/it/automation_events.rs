//! The stream of one automation run: each entry once and in order over any number of reconnects, and its end.

use domain::ids::AutomationRunId;
use serde_json::{Value, json};

use crate::stage::{Events, Stage};

impl Stage {
    /// A run that waits at a gate.
    pub(crate) async fn waiting_run(&self, company: &str) -> AutomationRunId {
        let board = engine::Author::local_board();
        let home = company.into();
        let definition = json!({"name": "asks", "nodes": [{"id": "ok", "gate": {"title": "Go on?"}}]});
        let applied = self.engine.apply_automation(&home, &definition, false, &board).await.unwrap();
        let draft = engine::LaunchDraft::default();
        let automation = applied.view.automation.id;
        self.engine.run_automation(&home, &automation, draft, &board).await.unwrap().id
    }
}

/// Up to the event of this name.
async fn until(events: &mut Events, name: &str, told: &mut Vec<(i64, String)>) -> Value {
    loop {
        let event = events.next().await.unwrap_or_else(|| panic!("no {name} after {told:?}"));
        if let Some(id) = &event.id {
            let data = event.json();
            assert_eq!(
                (data["seq"].to_string(), data["type"].as_str()),
                (id.clone(), Some(event.name.as_str()))
            );
            told.push((id.parse().unwrap(), event.name.clone()));
        }
        if event.name == name {
            return event.json();
        }
    }
}

#[tokio::test]
async fn a_run_is_told_from_its_beginning_then_live_then_ends() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let run = stage.waiting_run(&company).await;
    let path = format!("/api/automation-runs/{run}/events");
    let mut told = Vec::new();
    let mut events = Events::open(&stage, &path, None).await;
    until(&mut events, "automation.gate.opened", &mut told).await;
    let waiting = stage.get(&format!("/api/companies/{company}/gates")).await.good();
    let (id, hash) = (waiting[0]["id"].as_str().unwrap(), &waiting[0]["hash"]);
    let body = json!({"decision": "approve", "hash": hash});
    stage.person("POST", &format!("/api/gates/{id}/decide"), body).await.good();
    let end = until(&mut events, "end", &mut told).await;
    assert_eq!((&end["status"], &end["seq"]), (&json!("completed"), &json!(told.len())));
    assert!(events.next().await.is_none(), "the stream ends with the run");
    let history = stage.get(&format!("/api/automation-runs/{run}/history")).await.good();
    assert_eq!(history.as_array().unwrap().len(), told.len());
    assert!(told.iter().map(|(seq, _)| *seq).eq(1..=told.len() as i64), "{told:?}");

    // Who comes back behind each of them hears what is left, by header or query.
    for after in 0..=told.len() {
        let mut rest = Vec::new();
        let mut events = Events::open(&stage, &path, Some(after.to_string())).await;
        until(&mut events, "end", &mut rest).await;
        assert_eq!(rest, told[after..]);
    }
    let mut rest = Vec::new();
    let mut events = Events::open(&stage, &format!("{path}?after=1"), None).await;
    until(&mut events, "end", &mut rest).await;
    assert_eq!(rest, told[1..]);
    let ahead = stage.get(&format!("{path}?after=1000")).await;
    assert_eq!((ahead.status, ahead.refusal().1), (400, "cursor_ahead".to_owned()));
    assert_eq!(stage.get(&format!("{path}?after=x")).await.status, 400);
    stage.end().await;
}
