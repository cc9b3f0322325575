//! Takes out of what an agent sends what it must not tell: the values in its own environment, and its own key.
//!
//! Everything that an agent writes passes here before anything of it is looked at, so that no route can forget it: a
//! comment, a document, a wake, a file. In which forms values are found is the keeper's to say, as for logs.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use domain::access::Actor;
use domain::access::guard::Access;

use crate::ApiState;
use crate::actor::Caller;
use crate::body::bytes_of;
use crate::errors::ApiError;

/// What a form adds to the file in it.
const FORM: usize = 1 << 20;

/// Gives the request back without what its sender must not tell.
pub(crate) async fn over(
    state: &ApiState,
    caller: &Caller,
    token: Option<&str>,
    request: Request,
) -> Result<Request, ApiError> {
    let (Actor::Agent(agent), Access::Write | Access::Say) = (caller.who(), caller.access()) else {
        return Ok(request);
    };
    let hidden = state.engine.hidden_from_writing(&agent.agent, agent.run()).await?;
    let hidden = hidden.and(token.unwrap_or_default());
    let (mut parts, body) = request.into_parts();
    let limit = state.options.body_limit.max(state.options.attachment_limit) + FORM;
    let mut bytes = bytes_of(&parts.headers, body, limit).await?;
    if let Some(veiled) = hidden.over(&bytes) {
        bytes = Bytes::from(veiled);
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}
