//! What waits for a person over HTTP: one list with cursors and kinds, decided by people who prove that they are.

use serde_json::json;

use crate::stage::{Events, Stage};

#[tokio::test]
async fn all_that_waits_is_listed_page_by_page_and_decided_by_who_proves_to_be_a_person() {
    let stage = Stage::new().await;
    let company = stage.company("Acme Corp").await;
    let run = stage.waiting_run(&company).await;
    let mut events = Events::open(&stage, &format!("/api/automation-runs/{run}/events"), None).await;
    while events.next().await.expect("the gate is opened").name != "automation.gate.opened" {}
    for number in 0..4 {
        let payload = json!({"title": format!("May I {number}?"), "apiKey": "hush"});
        let body = json!({"type": "request_board_approval", "payload": payload});
        stage.post(&format!("/api/companies/{company}/approvals"), body).await.good();
    }
    let all = format!("/api/companies/{company}/gates");
    let (mut kinds, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = stage.get(&format!("{all}?limit=2{more}")).await;
        cursor = page.header("bugle-cursor").map(str::to_owned);
        let page = page.good();
        kinds.extend(page.as_array().unwrap().iter().map(|gate| gate["kind"].as_str().unwrap().to_owned()));
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(kinds, ["node", "approval", "approval", "approval", "approval"]);
    let some = stage.get(&format!("{all}?kind=approval,question")).await.good();
    assert_eq!(some.as_array().unwrap().len(), 4);
    assert_eq!(stage.get(&format!("{all}?kind=letter")).await.refusal().1, "bad_query");

    let gate = &some[0];
    assert_eq!(
        (&gate["title"], &gate["decisions"]),
        (&json!("May I 0?"), &json!(["approve", "reject", "rework"]))
    );
    assert!(!gate.to_string().contains("hush"), "{gate}");
    let one = format!("/api/gates/{}", gate["id"].as_str().unwrap());
    assert_eq!(stage.get(&one).await.good(), *gate);
    let decide = format!("{one}/decide");
    let body = json!({"decision": "approve", "hash": gate["hash"], "reason": "yes"});
    assert_eq!(
        stage.post(&decide, body.clone()).await.status,
        403,
        "on this machine, and no proof of a person"
    );
    let lacking = stage.person("POST", &decide, json!({"decision": "approve"})).await;
    assert_eq!(lacking.status, 400, "{}", lacking.text);
    let unknown = stage.person("POST", &decide, json!({"decision": "maybe", "hash": "x"})).await;
    assert_eq!(unknown.status, 400, "{}", unknown.text);
    let stale = json!({"decision": "approve", "hash": "x"});
    let stale = stage.person("POST", &decide, stale).await;
    assert_eq!((stale.status, &stale.json()["details"]["code"]), (409, &json!("stale")));
    let decided = stage.person("POST", &decide, body.clone()).await.good();
    assert_eq!(
        (&decided["status"], &decided["decision"], &decided["reason"]),
        (&json!("decided"), &json!("approve"), &json!("yes"))
    );
    let again = stage.person("POST", &decide, body).await;
    assert_eq!((again.status, &again.json()["details"]["code"]), (409, &json!("gate_already_decided")));
    let inbox = stage.get(&format!("/api/companies/{company}/inbox-items")).await.good();
    assert_eq!((&inbox["pendingGates"], &inbox["gates"][0]["kind"]), (&json!(1), &json!("node")));
    stage.end().await;
}
