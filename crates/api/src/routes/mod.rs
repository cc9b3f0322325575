//! The routes, one subject a file. A handler reads what was asked, finds what it is about, asks the engine or the store,
//! and shapes the answer; it decides nothing.

pub(crate) mod accounts;
pub(crate) mod adapters;
pub(crate) mod agent_keys;
pub(crate) mod agent_rights;
pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod automations;
pub(crate) mod budgets;
pub(crate) mod cli_auth;
pub(crate) mod companies;
pub(crate) mod company_file;
pub(crate) mod config_revisions;
pub(crate) mod costs;
pub(crate) mod environments;
pub(crate) mod execution_workspaces;
pub(crate) mod gates;
pub(crate) mod glance;
pub(crate) mod goals;
pub(crate) mod held_texts;
pub(crate) mod hooks;
pub(crate) mod instance;
pub(crate) mod instructions;
pub(crate) mod issues;
pub(crate) mod llms;
pub(crate) mod members;
pub(crate) mod office;
pub(crate) mod projects;
pub(crate) mod run_transcript;
pub(crate) mod runs;
pub(crate) mod runtime;
pub(crate) mod runtime_services;
pub(crate) mod schedules;
pub(crate) mod secrets;
pub(crate) mod skills;
pub(crate) mod transcript;
pub(crate) mod trees;
pub(crate) mod wakes;
pub(crate) mod watchdog;
pub(crate) mod webhook_triggers;
pub(crate) mod webhooks;
pub(crate) mod work;

use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::Ignored;

/// An answer that names the fields that were dropped.
fn naming(ignored: &Ignored, answer: impl IntoResponse) -> Response {
    let mut answer = answer.into_response();
    let headers: &mut HeaderMap = answer.headers_mut();
    ignored.name_in(headers);
    answer
}

/// The answer to what leaves nothing to show.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always true.
    ok: bool,
}

impl Done {
    pub(crate) fn new() -> Done {
        Done { ok: true }
    }
}
