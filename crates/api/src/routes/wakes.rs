//! Waking an agent, and the record of all asks.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use domain::ids::{AgentId, CompanyId, IssueId, WakeId, looks_like_id};
use domain::wake::{ActorKind, Source, TriggerDetail, WakeRequest};
use engine::{EngineError, Woken};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{agents, issues, runs, wakes as rows};
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked, cursor_of};
use crate::shape::run::Run;
use crate::shape::wake::{Execution, InvokeAnswer, InvokeSkipped, Wake, WakeAnswer, WakeupSkipped, issue_of};

/// Longer keys are refused.
const LONGEST_KEY: usize = 255;

/// An ask to wake an agent. The object is required, its fields are not.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WakeupBody {
    /// `timer`, `assignment`, `on_demand` (default) or `automation`.
    #[schema(value_type = Option<String>)]
    source: Option<Source>,
    /// `manual` (default), `ping`, `callback` or `system`.
    #[schema(value_type = Option<String>)]
    trigger_detail: Option<TriggerDetail>,
    reason: Option<String>,
    #[schema(value_type = Option<Object>)]
    payload: Option<Map<String, Value>>,
    /// The same key and body give the same answer, another body is 409. Also as header `Idempotency-Key`.
    idempotency_key: Option<String>,
    /// Start without the session of earlier runs.
    force_fresh_session: Option<bool>,
    /// Wakes of an agent with one task key share one queue place.
    task_key: Option<String>,
}

impl WakeupBody {
    fn read(fields: &mut Fields) -> WakeupBody {
        let body = WakeupBody {
            source: fields.word("source", Source::ALL, Source::as_str),
            trigger_detail: fields.word("triggerDetail", TriggerDetail::ALL, TriggerDetail::as_str),
            reason: fields.text("reason"),
            payload: fields.object("payload"),
            idempotency_key: fields.text("idempotencyKey"),
            force_fresh_session: fields.boolean("forceFreshSession"),
            task_key: fields.text("taskKey").filter(|key| !key.trim().is_empty()),
        };
        // They become columns, and stand in every list of runs.
        for (key, text, most) in [
            ("reason", &body.reason, 65_536),
            ("taskKey", &body.task_key, 1_024),
            ("idempotencyKey", &body.idempotency_key, 1_024),
        ] {
            if text.as_ref().is_some_and(|text| text.len() > most) {
                fields.mistake(
                    "too_big",
                    key,
                    format!("must be at most {most} bytes long; put more into payload"),
                );
            }
        }
        for (key, value) in body.payload.iter().flatten() {
            // Some of its texts become columns: the key of the task, for one.
            if value.as_str().is_some_and(|text| text.contains('\0')) {
                fields.mistake("custom", &format!("payload.{key}"), "must not contain a NUL character");
            }
        }
        body
    }

    fn request(self, key: Option<String>, caller: &Caller) -> WakeRequest {
        let source = self.source.unwrap_or(Source::OnDemand);
        let trigger_detail = self.trigger_detail.unwrap_or(TriggerDetail::Manual);
        let payload = self.payload.unwrap_or_default();
        let is_fresh = self.force_fresh_session.unwrap_or(false);
        let body_hash = engine::body_hash(&json!({
            "source": source, "triggerDetail": trigger_detail, "reason": self.reason, "payload": payload,
            "forceFreshSession": is_fresh, "taskKey": self.task_key,
        }));
        let actor = caller.actor();
        let by = match actor.kind {
            ActorKind::User => "board",
            ActorKind::Agent => "agent",
            ActorKind::System => "system",
        };
        let mut context = Map::new();
        context.insert("triggeredBy".to_owned(), json!(by));
        context.insert("actorId".to_owned(), json!(actor.id));
        context.insert("forceFreshSession".to_owned(), json!(is_fresh));
        if let Some(key) = self.task_key {
            context.insert("taskKey".to_owned(), json!(key));
        }
        WakeRequest {
            source,
            trigger_detail: Some(trigger_detail),
            reason: self.reason,
            payload,
            context,
            idempotency_key: key,
            body_hash,
            actor,
            carries_on: false,
        }
    }
}

/// The key of the body or of the header; a blank one is none.
fn key_of(headers: &HeaderMap, field: Option<String>) -> Result<Option<String>, ApiError> {
    let given = |key: String| Some(key.trim().to_owned()).filter(|key| !key.is_empty());
    let header = match headers.get("idempotency-key") {
        None => None,
        Some(value) => match value.to_str() {
            Ok(text) => given(text.to_owned()),
            Err(_) => {
                return Err(ApiError::bad_request(
                    "bad_idempotency_key",
                    "Idempotency-Key is not ASCII text",
                ));
            }
        },
    };
    let key = match (header, field.and_then(given)) {
        (Some(one), Some(other)) if one != other => {
            let text = "Idempotency-Key header and idempotencyKey field differ";
            return Err(ApiError::bad_request("bad_idempotency_key", text).hint("send one of them"));
        }
        (header, field) => header.or(field),
    };
    if key.as_ref().is_some_and(|key| key.len() > LONGEST_KEY) {
        let text = format!("Idempotency key is longer than {LONGEST_KEY} bytes");
        return Err(ApiError::bad_request("bad_idempotency_key", text));
    }
    Ok(key)
}

/// Wakes an agent. The answer is the run that does the work, new or joined, or why nothing starts.
#[utoipa::path(post, path = "/agents/{agent}/wakeup", tag = "wakes", request_body = WakeupBody,
    params(("agent" = String, Path), ("companyId" = Option<String>, Query), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = WakeAnswer), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn wakeup(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
    headers: HeaderMap,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let mut read = WakeupBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    let key = key_of(&headers, read.idempotency_key.take())?;
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.waker(&agent.company_id, &agent.id)?;
    let answer = match wake(&state, &agent.id, read.request(key, &caller)).await? {
        Ok(run) => WakeAnswer::Run(run),
        Err(skipped) => {
            let execution = execution(&state, &agent.company_id, issue_of(&skipped.wake)).await?;
            WakeAnswer::Skipped(WakeupSkipped::new(skipped, execution))
        }
    };
    Ok(naming(&ignored, (StatusCode::ACCEPTED, Json(answer))))
}

/// Wakes an agent by hand, without saying anything.
#[utoipa::path(post, path = "/agents/{agent}/heartbeat/invoke", tag = "wakes",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = InvokeAnswer), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn invoke(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<InvokeAnswer>), ApiError> {
    let key = key_of(&headers, None)?;
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.waker(&agent.company_id, &agent.id)?;
    let agent = agent.id;
    let answer = match wake(&state, &agent, WakeupBody::default().request(key, &caller)).await? {
        Ok(run) => InvokeAnswer::Run(run),
        Err(_) => InvokeAnswer::Skipped(InvokeSkipped { status: "skipped" }),
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

async fn wake(
    state: &ApiState,
    agent: &AgentId,
    request: WakeRequest,
) -> Result<Result<Box<Run>, engine::Skipped>, ApiError> {
    let woken = state.engine.wake(agent, request).await;
    state.metrics.count_wake(match &woken {
        Ok(Woken::Run(_)) => "run",
        Ok(Woken::Skipped(_)) => "skipped",
        Err(EngineError::NotInvokable(_) | EngineError::Budget(_)) => "refused",
        Err(EngineError::KeyReused { .. }) => "key_reused",
        Err(_) => "failed",
    });
    match woken? {
        Woken::Run(run) => {
            let held = state.engine.held(std::slice::from_ref(&run)).await?.pop().flatten();
            Ok(Ok(Box::new(Run::new(*run, held))))
        }
        Woken::Skipped(skipped) => Ok(Err(skipped)),
    }
}

/// The run that an issue of the company points to. What a payload names may be of another one.
async fn execution(
    state: &ApiState,
    company: &CompanyId,
    issue: Option<&str>,
) -> Result<Option<Execution>, ApiError> {
    let Some(issue) = issue.filter(|issue| looks_like_id(issue)).map(IssueId::from) else { return Ok(None) };
    let company = company.clone();
    let found = state.engine.store().read(move |tx| {
        let (issue, company) = (issue.clone(), company.clone());
        Box::pin(async move {
            let found = issues::get(tx, &issue).await?;
            let Some(issue) = found.filter(|issue| issue.company_id == company) else { return Ok(None) };
            let Some(run) = issue.lock_run_id.or(issue.execution_run_id) else { return Ok(None) };
            let Some(run) = runs::get(tx, &run).await? else { return Ok(None) };
            let agent = agents::get(tx, &run.agent_id).await?;
            let agent_name = agent.map(|agent| agent.name);
            Ok(Some(Execution { run: run.id, agent: run.agent_id, agent_name }))
        })
    });
    Ok(found.await?)
}

/// The asks to wake an agent with what became of each, newest first.
#[utoipa::path(get, path = "/agents/{agent}/wakeups", tag = "wakes",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query), ("limit" = Option<i64>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<Wake>), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?.id;
    let limit = asked.limit(200);
    let before = asked.place()?.map(|(at, id)| (at, WakeId(id)));
    let found = state
        .engine
        .store()
        .read(move |tx| {
            let (agent, before) = (agent.clone(), before.clone());
            Box::pin(async move { rows::of_agent(tx, &agent, before, limit + 1).await })
        })
        .await?;
    let place = |row: &rows::Wake| cursor_of(row.requested_at, row.id.as_str());
    Ok(paging::page(found, limit, place, |rows| rows.into_iter().map(Wake::from).collect()))
}
