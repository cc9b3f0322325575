//! Kinds of agents: whether a configuration could run on this machine, and with which models.

use adapters::Adapter;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::shape::environment::EnvironmentTest;

/// What to test.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestBody {
    #[schema(value_type = Option<Object>)]
    adapter_config: Option<Map<String, Value>>,
    /// Whether the program is asked to say hello, when nothing else is wrong: true, unless it says otherwise. It takes up
    /// to 50 seconds and what one answer costs.
    probe: Option<bool>,
}

/// Looks whether an agent of this kind could run on this machine. Of some kinds the program is asked to say hello.
#[utoipa::path(post, path = "/companies/{company}/adapters/{kind}/test-environment", tag = "agents", request_body = TestBody,
    params(("company" = String, Path), ("kind" = String, Path, description = "an adapterType")),
    responses((status = 200, body = EnvironmentTest), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn test_environment(
    State(state): State<ApiState>,
    Named((company, kind)): Named<(String, String)>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read_or_empty(&body)?;
    let read = TestBody { adapter_config: fields.object("adapterConfig"), probe: fields.boolean("probe") };
    let ignored = fields.drop_rest()?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.configuration_reader(&company)?;
    let adapter = known(&kind)?;
    let config = Value::Object(read.adapter_config.unwrap_or_default());
    let found = state.engine.test_environment(adapter, config, read.probe.unwrap_or(true)).await;
    Ok(naming(&ignored, Json(EnvironmentTest::new(adapter.kind(), found, state.engine.now()))))
}

fn known(kind: &str) -> Result<&'static dyn Adapter, ApiError> {
    adapters::find(kind).ok_or_else(|| {
        let known: Vec<&str> = adapters::registry().iter().map(|adapter| adapter.kind()).collect();
        ApiError::unprocessable("unknown_adapter", format!("Unknown adapter type: {kind}"))
            .hint(format!("known types: {}", known.join(", ")))
    })
}

/// A model that an agent can be given.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Model {
    id: &'static str,
    label: &'static str,
}

/// The models that are known by name; another one may be configured all the same.
#[utoipa::path(get, path = "/companies/{company}/adapters/{kind}/models", tag = "agents",
    params(("company" = String, Path), ("kind" = String, Path, description = "an adapterType")),
    responses((status = 200, body = Vec<Model>), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn models(
    State(state): State<ApiState>,
    Named((company, kind)): Named<(String, String)>,
    caller: Caller,
) -> Result<Json<Vec<Model>>, ApiError> {
    lookup::company(&state.engine, &caller, &company).await?;
    let models = adapters::models(known(&kind)?.kind());
    Ok(Json(models.iter().map(|&id| Model { id, label: id }).collect()))
}

/// The model that a program on this machine is set up with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DetectedModel {
    model: String,
    provider: &'static str,
    /// The file that names it.
    source: String,
}

/// The model that the program uses when its agent names none, as far as its own settings tell; null when they do not.
#[utoipa::path(get, path = "/companies/{company}/adapters/{kind}/detect-model", tag = "agents",
    params(("company" = String, Path), ("kind" = String, Path, description = "an adapterType")),
    responses((status = 200, body = DetectedModel), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn detect_model(
    State(state): State<ApiState>,
    Named((company, kind)): Named<(String, String)>,
    caller: Caller,
) -> Result<Json<Option<DetectedModel>>, ApiError> {
    lookup::company(&state.engine, &caller, &company).await?;
    let kind = known(&kind)?.kind();
    let host = state.engine.settings().host.clone();
    let found = tokio::task::spawn_blocking(move || adapters::detect_model(kind, &host)).await;
    let found = found.map_err(|error| {
        tracing::error!(%error, kind, "detecting a model");
        ApiError::internal()
    })?;
    Ok(Json(found.map(|found| DetectedModel {
        model: found.model,
        provider: found.provider,
        source: found.source.display().to_string(),
    })))
}
