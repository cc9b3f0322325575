//! The MCP server: tools for agents, over HTTP at `POST /api/mcp`; `bugle mcp` pipes the same through stdio.
//!
//! A tool has no rules of its own. It is one or more requests to the surface that everybody else uses, sent in process
//! with the credentials that the tool's caller showed, so who may do what is decided in one place. The server keeps
//! nothing between two messages: there are no sessions, and every message proves anew who sends it.

mod arguments;
mod desk;
mod protocol;
mod resources;
mod tools;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::desk::Desk;
use self::protocol::{Fault, Message};
use crate::ApiState;
use crate::actor::Caller;
use crate::body::Payload;
use crate::errors::{ApiError, ErrorBody};

/// What tools act through: the whole surface but this server, so that no tool calls tools.
#[derive(Debug, Clone)]
pub(crate) struct Surface(pub(crate) Router);

/// The server's place, without the prefix.
pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(answer))
}

/// Where a client names the version of the protocol that it agreed to.
const VERSION_HEADER: &str = "mcp-protocol-version";

/// The Model Context Protocol, streamable HTTP without sessions: one JSON-RPC message in, its answer out. Notifications are
/// answered with 202. Tools and resources are listed by `tools/list` and `resources/list`.
#[utoipa::path(post, path = "/mcp", tag = "agents", request_body = Object,
    params(("X-Paperclip-Run-Id" = Option<String>, Header)),
    responses((status = 200, body = Object), (status = 202), (status = 400, body = Object), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub(crate) async fn answer(
    axum::extract::State(state): axum::extract::State<ApiState>,
    Extension(surface): Extension<Surface>,
    caller: Caller,
    headers: HeaderMap,
    Payload(bytes): Payload,
) -> Result<Response, ApiError> {
    caller.anybody()?;
    let version = headers.get(VERSION_HEADER).map(HeaderValue::to_str);
    if let Some(version) = version
        && !version.as_ref().is_ok_and(|version| protocol::is_known(version))
    {
        let known = protocol::VERSIONS.join(", ");
        let fault = Fault::invalid_request(format!("{VERSION_HEADER} names none of: {known}"));
        return Ok((StatusCode::BAD_REQUEST, Json(fault.answer(Value::Null))).into_response());
    }
    let message = match Message::read(&bytes) {
        Ok(message) => message,
        Err(fault) => return Ok((StatusCode::BAD_REQUEST, Json(fault.answer(Value::Null))).into_response()),
    };
    let (id, method, params) = match message {
        Message::Request { id, method, params } => (id, method, params),
        // Nothing was asked: notifications, and answers to what this server never asks.
        Message::Notice => return Ok(StatusCode::ACCEPTED.into_response()),
    };
    let desk = Desk::new(state, surface, caller, &headers);
    let told = match handle(&desk, &method, params).await {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(fault) => fault.answer(id),
    };
    let mut answer = Json(told).into_response();
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// One request of the protocol.
async fn handle(desk: &Desk, method: &str, params: Value) -> Result<Value, Fault> {
    match method {
        "initialize" => Ok(protocol::welcome(&params, &desk.state().options.version)),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({ "tools": tools::listed(desk) })),
        "tools/call" => tools::call(desk, &params).await,
        "resources/list" => Ok(json!({ "resources": resources::listed(desk).await })),
        "resources/templates/list" => Ok(json!({ "resourceTemplates": resources::templates() })),
        "resources/read" => resources::read(desk, &params).await,
        unknown => Err(Fault::method_not_found(unknown)),
    }
}
