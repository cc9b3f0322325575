//! The inbox over HTTP: items of rules and runs of automations in one list, page by page, and put away alike.

use domain::automation::AutomationRunStatus;
use serde_json::json;
use store::automations::runs;

use crate::stage::{Events, Stage};

#[tokio::test]
async fn runs_of_automations_stand_among_the_items_and_are_put_away_like_them() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let rival = stage.company("Rival").await;
    let run = stage.waiting_run(&company).await;
    let mut events = Events::open(&stage, &format!("/api/automation-runs/{run}/events"), None).await;
    while events.next().await.expect("the gate is opened").name != "automation.gate.opened" {}
    let now = stage.engine.now();
    let item = store::inbox::InboxItem {
        id: domain::ids::mint(now, [7; 16]),
        company_id: company.as_str().into(),
        kind: "wake_loop".to_owned(),
        entity_type: "agent".to_owned(),
        entity_id: "somebody".to_owned(),
        cause: "loop".to_owned(),
        title: "they wake each other".to_owned(),
        details: json!({}),
        owner_agent_id: None,
        opened_at: now,
        resolved_at: None,
        resolution: None,
    };
    let later = now.plus(std::time::Duration::from_secs(1));
    let context = (item.clone(), run.clone());
    let written = stage.engine.store().write(move |tx| {
        let (item, run) = context.clone();
        Box::pin(async move {
            store::inbox::open(tx, &item).await?;
            let mut run = runs::lock(tx, &run).await?.expect("it is there");
            run.status = AutomationRunStatus::Failed;
            run.detail = Some("the step ok failed".to_owned());
            run.finished_at = Some(later);
            runs::update(tx, &run).await
        })
    });
    written.await.unwrap();

    let all = format!("/api/companies/{company}/inbox-items");
    let first = stage.get(&format!("{all}?limit=1")).await;
    let cursor = first.header("bugle-cursor").unwrap().to_owned();
    let (first, second) = (first.good(), stage.get(&format!("{all}?limit=1&cursor={cursor}")).await);
    assert_eq!(second.header("bugle-cursor"), None);
    let second = second.good();
    let (theirs, open) = (&second["items"][0]["id"], &first["openItems"]);
    assert_eq!((open, theirs), (&json!(2), &json!(item.id)));
    let shown = &first["items"][0];
    assert_eq!(
        (&shown["id"], &shown["entityId"], &shown["entityType"], &shown["kind"], &shown["cause"]),
        (&json!(run), &json!(run), &json!("automation_run"), &json!("automation_run"), &json!("failed"))
    );
    assert!(shown["title"].as_str().unwrap().ends_with("failed: the step ok failed"), "{shown}");
    assert_eq!((&shown["openedAt"], &shown["resolvedAt"]), (&json!(later), &json!(null)));

    let elsewhere = format!("/api/companies/{rival}/inbox-items/{run}/resolve");
    assert_eq!(stage.post(&elsewhere, json!({})).await.refusal().0, 404);
    let away = stage.post(&format!("{all}/{run}/resolve"), json!({})).await.good();
    assert_eq!((&away["id"], &away["resolution"]), (&json!(run), &json!("dismissed")));
    let left = stage.get(&all).await.good();
    assert_eq!((&left["openItems"], left["items"].as_array().unwrap().len()), (&json!(1), 1));
    stage.end().await;
}
