//! Kinds of agents: whether a configuration could run on this machine.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
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
}

/// Looks whether an agent of this kind could run on this machine; nothing is started.
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
    let read = TestBody { adapter_config: fields.object("adapterConfig") };
    let ignored = fields.drop_rest()?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.configuration_reader(&company)?;
    let Some(adapter) = adapters::find(&kind) else {
        let known: Vec<&str> = adapters::registry().iter().map(|adapter| adapter.kind()).collect();
        return Err(ApiError::unprocessable("unknown_adapter", format!("Unknown adapter type: {kind}"))
            .hint(format!("known types: {}", known.join(", "))));
    };
    let (config, host) =
        (Value::Object(read.adapter_config.unwrap_or_default()), state.engine.settings().host.clone());
    let found = tokio::task::spawn_blocking(move || adapter.test_environment(&config, &host)).await;
    let found = found.map_err(|error| {
        tracing::error!(%error, kind, "testing an environment");
        ApiError::internal()
    })?;
    Ok(naming(&ignored, Json(EnvironmentTest::new(adapter.kind(), found, state.engine.now()))))
}
