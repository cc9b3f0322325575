//! The routes, one subject a file. A handler reads what was asked, finds what it is about, asks the engine or the store,
//! and shapes the answer; it decides nothing.

pub(crate) mod adapters;
pub(crate) mod agents;
pub(crate) mod companies;
pub(crate) mod instance;
pub(crate) mod runs;
pub(crate) mod runtime;
pub(crate) mod transcript;
pub(crate) mod wakes;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use crate::body::Ignored;

/// An answer that names the fields that were dropped.
fn naming(ignored: &Ignored, answer: impl IntoResponse) -> Response {
    let mut answer = answer.into_response();
    let headers: &mut HeaderMap = answer.headers_mut();
    ignored.name_in(headers);
    answer
}
