//! Skills over the wire: who may write them, and what is shown.

use reqwest::Method;
use serde_json::{Value, json};

use crate::issues::Acme;
use crate::stage::{Answer, id_of};

async fn ask(acme: &Acme, method: Method, path: &str, body: Value) -> Answer {
    acme.stage.send(acme.stage.http.request(method, acme.stage.url(path)).json(&body)).await
}

async fn get(acme: &Acme, path: &str) -> Value {
    ask(acme, Method::GET, path, json!({})).await.good()
}

#[tokio::test]
async fn a_skill_is_added_changed_given_to_an_agent_and_removed() {
    let acme = Acme::new().await;
    let company = acme.company.clone();
    let skills = format!("/api/companies/{company}/skills");
    let body =
        json!({ "markdown": "---\nname: review\ndescription: How we review\n---\nLook twice.", "odd": 1 });
    let made = acme.post(&skills, body).await;
    assert_eq!(made.status, 201);
    let made = made.good();
    let shown = |key: &str| made[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (shown("key"), shown("slug"), shown("description")),
        ("company/review".into(), "review".into(), "How we review".into())
    );
    let one = format!("/api/skills/{}", id_of(&made));
    assert_eq!(get(&acme, &skills).await.as_array().map(Vec::len), Some(1));
    let changed =
        ask(&acme, Method::PATCH, &one, json!({ "description": "Read before a review" })).await.good();
    assert_eq!((&changed["key"], &changed["description"]), (&made["key"], &json!("Read before a review")));
    for (body, path) in [(json!({}), "markdown"), (json!({ "markdown": "x" }), "name")] {
        let refused = acme.post(&skills, body).await;
        assert_eq!(refused.status, 400, "{path}");
    }

    let body = json!({ "name": "Cody", "adapterType": "codex_local", "desiredSkills": ["review"] });
    let agent = acme.post(&format!("/api/companies/{company}/agents"), body).await.good();
    let agent = id_of(&agent);
    let of_agent = format!("/api/agents/{agent}/skills");
    let entries = |found: &Value| -> Vec<(String, String)> {
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
        found["entries"].as_array().unwrap().iter().map(|it| (text(it, "key"), text(it, "state"))).collect()
    };
    let pair = |key: &str, state: &str| (key.to_owned(), state.to_owned());
    let found = get(&acme, &of_agent).await;
    assert_eq!(entries(&found), [pair("bugle/bugle", "configured"), pair("company/review", "configured")]);
    let found = acme.post(&format!("{of_agent}/sync"), json!({ "desiredSkills": ["other"] })).await.good();
    let expected =
        [pair("bugle/bugle", "configured"), pair("company/review", "available"), pair("other", "missing")];
    assert_eq!((entries(&found), found["mode"].as_str()), (expected.to_vec(), Some("ephemeral")));
    assert_eq!(ask(&acme, Method::DELETE, &one, json!({})).await.status, 200);
    assert_eq!(ask(&acme, Method::GET, &one, json!({})).await.status, 404);
    // Agents write none for others.
    let by_agent = acme.agent(Method::POST, &skills, None, json!({ "name": "x", "markdown": "x" })).await;
    assert_eq!(by_agent.status, 403);
}
