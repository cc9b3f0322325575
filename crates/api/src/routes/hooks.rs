//! The one route that others send to: whoever knows the token of a trigger and proves it with a signature.
//!
//! It stands outside of the door that asks who somebody is: no credential counts here, and none is looked at. So it also
//! answers to any host name, because whoever pointed a name at this machine has neither token nor signature.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::webhook::proof::Rejection;
use domain::webhook::receipt::ReceiptStatus;
use engine::{Incoming, Knock, Received, Reception};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::ApiState;
use crate::body::bytes_within;
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::Named;
use crate::shape::webhook_trigger::Taken;

/// Whoever sends a body may take so long for it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(receive))
}

/// Starts the automation of a trigger, once for each event. The body may be anything; it is signed as the trigger's
/// scheme says.
#[utoipa::path(post, path = "/hooks/{token}", tag = "webhooks", params(("token" = String, Path)),
    request_body(content = String, content_type = "application/octet-stream"),
    responses((status = 200, body = Taken), (status = 202, body = Taken), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody), (status = 408, body = ErrorBody), (status = 409, body = ErrorBody), (status = 413, body = ErrorBody), (status = 422, body = ErrorBody), (status = 429, body = ErrorBody)))]
pub(crate) async fn receive(
    State(state): State<ApiState>,
    Named(token): Named<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let at = match state.engine.knock(&token).await? {
        Knock::Open(at) => *at,
        Knock::Wait(wait) => return Err(ApiError::too_many(wait)),
    };
    let (parts, body) = request.into_parts();
    let body = match bytes_within(PATIENCE, &parts.headers, body, at.size_limit()).await {
        Ok(body) => body.to_vec(),
        Err(error) => {
            let why = if error.is_too_large() { Rejection::BodyTooLarge } else { Rejection::BodyLost };
            state.engine.reject(&at, why).await?;
            return Err(error);
        }
    };
    let incoming = Incoming { headers: once(&parts.headers), body };
    match state.engine.receive(at, incoming).await? {
        Received::Noted(reception) => answer(*reception),
        Received::Wait(wait) => Err(ApiError::too_many(wait)),
    }
}

/// The headers that are there once, as text.
fn once(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in headers.keys() {
        let mut values = headers.get_all(name).iter();
        if let (Some(value), None) = (values.next(), values.next())
            && let Ok(text) = value.to_str()
        {
            found.insert(name.as_str().to_owned(), text.to_owned());
        }
    }
    found
}

fn answer(reception: Reception) -> Result<Response, ApiError> {
    let reason = reception.receipt.reason.clone().unwrap_or_default();
    let details = json!({ "receiptId": reception.receipt.id, "reason": reason });
    let status = match reception.receipt.status {
        ReceiptStatus::Accepted => StatusCode::ACCEPTED,
        ReceiptStatus::Received | ReceiptStatus::Duplicate => StatusCode::OK,
        ReceiptStatus::Disabled => {
            return Err(ApiError::conflict("trigger_disabled", "This webhook is turned off").details(details));
        }
        ReceiptStatus::Failed => {
            let why = reception.refusal.unwrap_or_else(|| "the automation does not take it".to_owned());
            return Err(ApiError::unprocessable("input_refused", why).details(details));
        }
        ReceiptStatus::Rejected => {
            return Err(match Rejection::parse(&reason) {
                Some(Rejection::IdReused) => {
                    ApiError::conflict("event_id_reused", "The id of this event was used for another body")
                }
                Some(Rejection::AutomationPaused) => {
                    ApiError::conflict("automation_paused", "The automation takes no runs at present")
                }
                Some(Rejection::AutomationRemoved) => ApiError::automation_removed(),
                Some(_) | None => ApiError::unproven(),
            }
            .details(details));
        }
    };
    Ok((status, Json(Taken::from(reception))).into_response())
}
