//! What the instance says about itself: its description, its figures, and how it sends them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::stage::Stage;

/// The paths that are mounted, as the router itself tells.
fn mounted(router: &axum::Router) -> BTreeSet<String> {
    let told = format!("{router:?}");
    let texts = told.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
    // The last two are the fallback for what is not mounted.
    texts.filter(|path| *path != "/" && !path.contains("axum_fallback")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_route_that_is_mounted_is_described_and_the_other_way_round() {
    let stage = Stage::new().await;
    let options = api::ApiOptions::new(stage.address, "1", stage.engine.now());
    let router = api::router(api::ApiState::new(stage.engine.clone(), options));
    let document = api::openapi();
    let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let mounted = mounted(&router);
    assert!(mounted.len() > 30, "the router tells its paths: {mounted:?}");
    assert_eq!(mounted, described);
    assert_eq!(stage.get("/api/openapi.json").await.good(), document);
    stage.end().await;
}

#[tokio::test]
async fn each_described_method_is_served_and_no_other() {
    let stage = Stage::new().await;
    let document = api::openapi();
    let nobody = "0192f7a0-0000-4000-8000-00000000000a";
    for (path, methods) in document["paths"].as_object().unwrap() {
        let concrete: String = path
            .split('/')
            .map(|part| if part.starts_with('{') { nobody } else { part })
            .collect::<Vec<_>>()
            .join("/");
        for method in ["GET", "POST", "PATCH", "PUT", "DELETE"] {
            // A company that is not there is not created either, and a body that is none is refused.
            let request = stage.http.request(method.parse().unwrap(), stage.url(&concrete));
            let answer = stage.send(request).await;
            let is_described = methods.get(method.to_lowercase()).is_some();
            assert_eq!(answer.status != 405, is_described, "{method} {path}: {}", answer.status);
            if answer.status == 404 {
                assert_ne!(answer.refusal().1, "route_not_found", "{method} {path}");
            }
        }
    }
    stage.end().await;
}

#[tokio::test]
async fn operations_have_names_of_their_own_and_all_references_lead_somewhere() {
    let document = api::openapi();
    let mut names = BTreeSet::new();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{name} twice");
        }
    }
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn figures_count_requests_by_route_and_what_the_engine_holds() {
    let stage = Stage::new().await;
    let (_, agent, _) = stage.with_run().await;
    stage.wake(&agent, "task").await;
    stage.get("/api/agents/nobody").await;
    stage.get("/api/no/such/route").await;
    // A claim takes places before it knows for how many runs; the second wake's run gets none, and gives them back.
    let counted = async {
        loop {
            let answer = stage.get("/api/metrics").await;
            assert_eq!(answer.status, 200);
            if answer.text.lines().any(|line| line == "bugle_slots_used 1") {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let answer =
        tokio::time::timeout(Duration::from_secs(30), counted).await.expect("one place that is used");
    let has =
        |line: &str| assert!(answer.text.lines().any(|it| it == line), "{line} is not in\n{}", answer.text);
    has("bugle_http_requests_total{method=\"POST\",route=\"/api/agents/{agent}/wakeup\",status=\"202\"} 2");
    has("bugle_http_requests_total{method=\"GET\",route=\"/api/agents/{agent}\",status=\"404\"} 1");
    has("bugle_http_requests_total{method=\"GET\",route=\"none\",status=\"404\"} 1");
    has("bugle_http_request_seconds_count{route=\"/api/agents/{agent}/wakeup\"} 2");
    has("bugle_http_wakes_total{kind=\"run\"} 2");
    has("bugle_runs{status=\"running\"} 1");
    has("bugle_runs{status=\"queued\"} 1");
    has("bugle_runs{status=\"scheduled_retry\"} 0");
    has("bugle_agents{status=\"running\"} 1");
    has("bugle_slots 16");
    has("bugle_store_up 1");
    has("# EOF");
    stage.end().await;
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_can_read_them() {
    let stage = Stage::new().await;
    let request = stage.http.get(stage.url("/api/openapi.json")).header("Accept-Encoding", "gzip");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let plain = stage.get("/api/openapi.json").await;
    assert_eq!(plain.header("content-encoding"), None);
    let packed = answer.bytes().await.unwrap();
    assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() * 3 < plain.text.len());
    stage.end().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let stage = Stage::with(|options| options.request_timeout = std::time::Duration::from_millis(50)).await;
    let endless = reqwest::Body::wrap_stream(futures_util::stream::pending::<std::io::Result<Vec<u8>>>());
    let refusal = stage.send(stage.http.post(stage.url("/api/companies")).body(endless)).await.refusal();
    assert_eq!((refusal.0, refusal.1.as_str()), (504, "timeout"));
    stage.end().await;
}
