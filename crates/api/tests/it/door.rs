//! A second door into the engine of a stage: an instance in `authenticated` mode, where nobody is anybody without a key.

use api::{ApiOptions, ApiState, Mode};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::stage::{Answer, BOARD_TOKEN, PATIENCE, Stage, id_of};

pub(crate) const FIRST_TOKEN: &str = "bgl_first_0123456789abcdef";

pub(crate) struct Door {
    router: Router,
}

impl Door {
    pub(crate) fn new(stage: &Stage) -> Door {
        let mut options = ApiOptions::new(stage.address, "1.2.3", stage.engine.now());
        options.mode = Mode::Authenticated;
        options.board_token = Some(BOARD_TOKEN.to_owned());
        options.bootstrap_token = Some(FIRST_TOKEN.to_owned());
        Door { router: api::router(ApiState::new(stage.engine.clone(), options)) }
    }

    /// Asks, with a key or without. Of a stream only the head is read.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.send(request.body(body).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let answer = self.router.clone().oneshot(request);
        let answer = tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let is_stream = headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let text = match is_stream {
            true => String::new(),
            false => {
                let bytes = to_bytes(answer.into_body(), 16 << 20).await.unwrap();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        };
        Answer { status, headers, text }
    }

    pub(crate) async fn get(&self, path: &str, key: &str) -> Answer {
        self.ask("GET", path, Some(key), None).await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        self.ask("POST", path, Some(key), Some(&body)).await
    }
}

impl Stage {
    /// Asks the trusted instance as the person at it, with the local board token.
    pub(crate) async fn person(&self, method: &str, path: &str, body: Value) -> Answer {
        let request = self.http.request(method.parse().unwrap(), self.url(path));
        self.send(request.bearer_auth(BOARD_TOKEN).json(&body)).await
    }

    /// Asks the trusted instance with a key, for a run if one is named.
    pub(crate) async fn with_key(
        &self,
        method: &str,
        path: &str,
        (key, run): (&str, Option<&str>),
        body: Value,
    ) -> Answer {
        let mut request = self.http.request(method.parse().unwrap(), self.url(path)).bearer_auth(key);
        if let Some(run) = run {
            request = request.header("X-Paperclip-Run-Id", run);
        }
        // A GET has no body that anybody reads.
        self.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// A key of an agent.
    pub(crate) async fn agent_key(&self, agent: &str) -> String {
        let made = self.post(&format!("/api/agents/{agent}/keys"), json!({"name": "test"})).await.good();
        made["token"].as_str().unwrap().to_owned()
    }

    /// A user with a role in a company, by id, and a key of theirs.
    pub(crate) async fn user(&self, name: &str, company: Option<(&str, &str)>) -> (String, String) {
        let user = id_of(&self.person("POST", "/api/users", json!({ "name": name })).await.good());
        if let Some((company, role)) = company {
            let path = format!("/api/companies/{company}/members/{user}");
            self.person("PUT", &path, json!({ "role": role })).await.good();
        }
        let key =
            self.person("POST", &format!("/api/users/{user}/keys"), json!({"name": "test"})).await.good();
        (user, key["token"].as_str().unwrap().to_owned())
    }
}
