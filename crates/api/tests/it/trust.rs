//! Whom a trusted local instance listens to.

use serde_json::json;

use crate::stage::{BOARD_TOKEN, Stage};

#[tokio::test]
async fn a_foreign_host_is_named_in_the_refusal_on_every_route() {
    let stage = Stage::new().await;
    for path in ["/api/companies", "/api/health", "/metrics", "/api/nothing", "/"] {
        let answer = stage.send(stage.http.get(stage.url(path)).header("Host", "evil.example:3100")).await;
        let (status, code, error) = answer.refusal();
        assert_eq!((status, code.as_str()), (403, "host_not_allowed"), "{path}");
        assert_eq!(error, "Host 'evil.example:3100' is not allowed in local_trusted mode");
        assert!(answer.json()["hint"].as_str().unwrap().contains("127.0.0.1"));
    }
    let answer = stage.send(stage.http.get(stage.url("/api/companies")).header("Host", "localhost:1")).await;
    assert_eq!(answer.status, 200);
    stage.end().await;
}

#[tokio::test]
async fn a_page_of_another_site_may_not_even_read() {
    let stage = Stage::new().await;
    let with = |origin: &str| {
        stage.http.post(stage.url("/api/companies")).json(&json!({"name": "X"})).header("Origin", origin)
    };
    for origin in ["https://evil.example", "null"] {
        let (status, code, error) = stage.send(with(origin)).await.refusal();
        assert_eq!((status, code.as_str()), (403, "origin_not_allowed"));
        assert_eq!(error, format!("Origin '{origin}' is not allowed in local_trusted mode"));
    }
    assert_eq!(stage.get("/api/companies").await.good(), json!([]), "nothing was created");
    assert_eq!(stage.send(with("http://localhost:5173")).await.status, 201);
    stage.end().await;
}

#[tokio::test]
async fn a_token_that_matches_nothing_is_401_and_never_the_board() {
    let stage = Stage::new().await;
    for credential in
        ["Bearer pcp_0123456789", "Bearer", "Basic Ym9hcmQ6eA==", &format!("Bearer {BOARD_TOKEN}x")]
    {
        let answer =
            stage.send(stage.http.get(stage.url("/api/companies")).header("Authorization", credential)).await;
        assert_eq!(answer.refusal(), (401, "unauthorized".into(), "Unauthorized".into()), "{credential}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let answer = stage.send(stage.http.get(stage.url("/api/companies")).bearer_auth(BOARD_TOKEN)).await;
    assert_eq!(answer.status, 200);
    stage.end().await;
}

#[tokio::test]
async fn without_a_board_token_every_credential_is_401() {
    let stage = Stage::with(|options| options.board_token = None).await;
    let answer = stage.send(stage.http.get(stage.url("/api/companies")).bearer_auth("")).await;
    assert_eq!(answer.status, 401);
    assert_eq!(stage.get("/api/companies").await.status, 200);
    stage.end().await;
}

#[tokio::test]
async fn an_unreadable_run_header_is_as_good_as_none() {
    let stage = Stage::new().await;
    let (_, agent, _) = stage.with_run().await;
    for value in ["$PAPERCLIP_RUN_ID", "0192f7a0-0000-4000-8000-00000000000a"] {
        let request = stage.http.post(stage.url(&format!("/api/agents/{agent}/wakeup"))).json(&json!({}));
        let answer = stage.send(request.header("X-Paperclip-Run-Id", value)).await;
        assert_eq!(answer.status, 202, "{value}: {}", answer.text);
    }
    stage.end().await;
}
