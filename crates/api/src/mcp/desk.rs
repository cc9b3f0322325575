//! Where a tool does its work: requests to the surface in the name of whoever called the tool, and what came back.

use std::fmt::Write as _;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use domain::access::Actor;
use domain::ids::RunId;
use serde_json::{Map, Value, json};
use store::runs;
use tower::ServiceExt;

use super::Surface;
use super::arguments::Arguments;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::IGNORED_FIELDS;
use crate::lookup;
use crate::paging::CURSOR;

/// The headers that say who asks and from where, taken over as they are. A request that is made here is admitted like
/// any other.
const TAKEN_OVER: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::HOST,
    header::ORIGIN,
    header::REFERER,
    HeaderName::from_static("x-bugle-run-id"),
    HeaderName::from_static("x-paperclip-run-id"),
];
/// More than any list or document takes.
const LARGEST_ANSWER: usize = 32 << 20;

/// One caller of tools.
#[derive(Debug)]
pub(super) struct Desk {
    state: ApiState,
    surface: Surface,
    caller: Caller,
    headers: HeaderMap,
}

/// What a tool tells: an object for programs, which is its text too, unless it has another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) value: Value,
    pub(super) text: Option<String>,
}

impl From<Value> for Told {
    fn from(value: Value) -> Told {
        Told { value, text: None }
    }
}

/// Why a tool did not do what it was asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    pub(super) status: Option<StatusCode>,
    /// The envelope of a failure: `error`, `code`, `details`, `hint`.
    pub(super) body: Value,
    /// What to do next, where the tool knows better than the route.
    pub(super) next: Option<&'static str>,
}

impl Refused {
    /// Refused before anything was asked.
    pub(super) fn because(code: &str, error: impl Into<String>, next: &'static str) -> Refused {
        Refused { status: None, body: json!({ "error": error.into(), "code": code }), next: Some(next) }
    }

    pub(super) fn next(mut self, status: StatusCode, next: &'static str) -> Refused {
        if self.status == Some(status) {
            self.next = Some(next);
        }
        self
    }
}

/// How a tool ends.
pub(super) type Outcome = Result<Told, Refused>;

/// An answer of the surface that is a success.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) content_type: String,
    pub(super) cursor: Option<String>,
    pub(super) ignored: Option<String>,
    pub(super) bytes: Vec<u8>,
}

impl Answer {
    /// As JSON; a list becomes the `items` of an object, for what a tool tells is an object.
    pub(super) fn told(self) -> Value {
        let mut told = match serde_json::from_slice(&self.bytes) {
            Ok(Value::Object(map)) => map,
            Ok(list @ Value::Array(_)) => Map::from_iter([("items".to_owned(), list)]),
            Ok(other) => Map::from_iter([("value".to_owned(), other)]),
            Err(_) => Map::from_iter([(
                "text".to_owned(),
                Value::from(String::from_utf8_lossy(&self.bytes).into_owned()),
            )]),
        };
        if let Some(cursor) = self.cursor {
            told.insert("nextCursor".to_owned(), Value::from(cursor));
        }
        if let Some(ignored) = self.ignored {
            told.insert("ignoredFields".to_owned(), Value::from(ignored));
        }
        Value::Object(told)
    }
}

impl Desk {
    pub(super) fn new(state: ApiState, surface: Surface, caller: Caller, headers: &HeaderMap) -> Desk {
        let mut taken = HeaderMap::new();
        for name in TAKEN_OVER {
            for value in headers.get_all(&name) {
                taken.append(name.clone(), value.clone());
            }
        }
        Desk { state, surface, caller, headers: taken }
    }

    pub(super) fn state(&self) -> &ApiState {
        &self.state
    }

    /// An agent asks, and no person.
    pub(super) fn is_agent(&self) -> bool {
        matches!(self.caller.who(), Actor::Agent(_))
    }

    /// The id of the agent that asks.
    pub(super) fn agent(&self) -> Result<&str, Refused> {
        match self.caller.who() {
            Actor::Agent(agent) => Ok(agent.agent.as_str()),
            Actor::Board(_) | Actor::Nobody => Err(Refused::because(
                "agent_required",
                "this tool is for agents",
                "people use the other tools, or call_api",
            )),
        }
    }

    /// The run that asks.
    pub(super) fn run(&self) -> Option<&RunId> {
        self.caller.who().run()
    }

    /// The company that is meant: an agent's own, or the only one.
    pub(super) async fn company(&self) -> Result<String, Refused> {
        if let Some(home) = self.caller.home() {
            return Ok(home.0.clone());
        }
        let mine = match self.caller.companies() {
            Some(companies) => companies,
            None => lookup::all_companies(&self.state.engine).await.unwrap_or_default(),
        };
        match &mine[..] {
            [one] => Ok(one.0.clone()),
            _ => Err(Refused::because(
                "company_required",
                format!("you see {} companies", mine.len()),
                "use call_api with the id of a company in the path; GET /companies lists them",
            )),
        }
    }

    /// The issue that the caller's run works on.
    pub(super) async fn task(&self) -> Option<String> {
        let id = self.run()?.clone();
        let found = self.state.engine.store().read(move |tx| {
            let id = id.clone();
            Box::pin(async move { runs::get(tx, &id).await })
        });
        found.await.ok()??.issue_id
    }

    /// The issue that a tool is about, as a step of a path.
    pub(super) async fn issue(&self, arguments: &Arguments) -> Result<String, Refused> {
        if let Some(issue) = arguments.text("issue") {
            return Ok(step(issue.trim()));
        }
        self.task().await.ok_or_else(|| {
            Refused::because(
                "issue_required",
                "no issue was named, and your run has no task of its own",
                "name one as `issue`: `inbox` lists yours, `search_issues` finds others",
            )
        })
    }

    /// The ids of issues that were named by id or identifier.
    pub(super) async fn ids_of(&self, issues: &[&str]) -> Result<Vec<Value>, Refused> {
        let mut ids = Vec::with_capacity(issues.len());
        for issue in issues {
            ids.push(self.get(&format!("/issues/{}", step(issue.trim()))).await?["id"].clone());
        }
        Ok(ids)
    }

    /// The id of an agent of the caller's company that was named by id, short name or name.
    pub(super) async fn agent_named(&self, name: &str) -> Result<Value, Refused> {
        let mut path = format!("/agents/{}", step(name.trim()));
        if self.caller.home().is_none() {
            let _ = write!(path, "?companyId={}", self.company().await?);
        }
        let found = self.get(&path).await;
        let next = "`list_agents` shows who there is";
        Ok(found.map_err(|refused| refused.next(StatusCode::NOT_FOUND, next))?["id"].clone())
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Refused> {
        Ok(self.ask(Method::GET, path, None).await?.told())
    }

    /// Sends a body.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Map<String, Value>,
    ) -> Result<Value, Refused> {
        let body = serde_json::to_vec(&Value::Object(body)).unwrap_or_default();
        Ok(self.ask(method, path, Some(("application/json", body))).await?.told())
    }

    /// One request below `/api`, answered with a success or refused; not waited for without end.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Answer, Refused> {
        let limit = self.state.options.request_timeout;
        tokio::time::timeout(limit, self.exchange(method, path, body)).await.unwrap_or_else(|_| {
            Err(Refused::because(
                "timeout",
                "the answer takes too long",
                "look whether it was done before you try again",
            ))
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Answer, Refused> {
        let mut request = Request::builder().method(method).uri(format!("/api{path}"));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = match body {
            Some((kind, bytes)) => request.header(header::CONTENT_TYPE, kind).body(Body::from(bytes)),
            None => request.body(Body::empty()),
        };
        let request = request.map_err(|error| {
            Refused::because(
                "bad_path",
                format!("{path:?} is no path: {error}"),
                "encode what a path may not hold",
            )
        })?;
        let Ok(answer) = self.surface.0.clone().oneshot(request).await;
        let (head, answer) = answer.into_parts();
        let status = head.status;
        let text =
            |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let content_type = text(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let (cursor, ignored) = (text(CURSOR), text(IGNORED_FIELDS));
        if content_type.starts_with("text/event-stream") {
            return Err(Refused::because(
                "stream",
                "this route is a stream without an end",
                "ask for a list instead",
            ));
        }
        let bytes = to_bytes(answer, LARGEST_ANSWER).await.map_err(|_| {
            Refused::because(
                "too_large",
                "the answer is too large",
                "ask for less: most lists take a `limit`",
            )
        })?;
        if status.is_success() {
            return Ok(Answer { content_type, cursor, ignored, bytes: bytes.to_vec() });
        }
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            json!({ "error": String::from_utf8_lossy(&bytes), "code": format!("http_{}", status.as_u16()) })
        });
        Err(Refused { status: Some(status), body, next: None })
    }
}

/// One step of a path, or one value of a query.
pub(super) fn step(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => encoded.push(char::from(byte)),
            // Dots too: a step that is dots only would climb out of the path.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_step_of_a_path() {
        for (text, path) in
            [("ACME-12", "ACME-12"), ("a b/../c?d", "a%20b%2F%2E%2E%2Fc%3Fd"), ("é", "%C3%A9")]
        {
            assert_eq!(step(text), path);
        }
    }
}
