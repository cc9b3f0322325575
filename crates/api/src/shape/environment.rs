//! The result of testing an agent's environment, on the wire.

use adapters::Level;
use domain::moment::Moment;
use serde::Serialize;
use utoipa::ToSchema;

/// What was found about the environment an agent would run in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EnvironmentTest {
    adapter_type: String,
    /// `fail` with an error among the checks, `warn` with a warning, else `pass`.
    status: &'static str,
    checks: Vec<Check>,
    #[schema(value_type = String, format = DateTime)]
    tested_at: Moment,
}

#[derive(Debug, Serialize, ToSchema)]
struct Check {
    code: &'static str,
    /// `info`, `warn` or `error`.
    level: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl EnvironmentTest {
    pub(crate) fn new(kind: &str, found: Vec<adapters::Check>, tested_at: Moment) -> EnvironmentTest {
        let status = match found.iter().map(|check| check.level).max() {
            Some(Level::Error) => "fail",
            Some(Level::Warn) => "warn",
            Some(Level::Info) | None => "pass",
        };
        let check = |check: adapters::Check| Check {
            code: check.code,
            level: match check.level {
                Level::Info => "info",
                Level::Warn => "warn",
                Level::Error => "error",
            },
            message: check.message,
            detail: check.detail,
            hint: check.hint,
        };
        EnvironmentTest {
            adapter_type: kind.to_owned(),
            status,
            checks: found.into_iter().map(check).collect(),
            tested_at,
        }
    }
}
