//! The machine of the server: nothing is brought anywhere, and nothing is left to clean.

use adapters::{Command, Problem};
use serde_json::{Value as Json, json};
use store::BoxFuture;

use super::driver::{Ask, BroughtBack, Driver, DriverError, ProbeReport};

#[derive(Debug)]
pub(super) struct Local;

impl Driver for Local {
    fn kind(&self) -> &'static str {
        "local"
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn check(&self, config: &Json) -> Vec<Problem> {
        let keys = config.as_object().into_iter().flat_map(|config| config.keys());
        keys.map(|key| Problem {
            path: format!("config.{key}"),
            message: "is not known".to_owned(),
            hint: Some("the local environment has nothing to configure".to_owned()),
        })
        .collect()
    }

    fn lay_out(&self, _ask: &Ask<'_>) -> Result<Json, DriverError> {
        Ok(json!({}))
    }

    fn acquire<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Json, DriverError>> {
        Box::pin(async move { Ok(ask.held.clone()) })
    }

    fn realise<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Json, DriverError>> {
        Box::pin(async move { Ok(json!({ "transport": "local", "cwd": ask.local })) })
    }

    fn wrap<'a>(&'a self, _ask: Ask<'a>, command: Command) -> BoxFuture<'a, Result<Command, DriverError>> {
        Box::pin(async move { Ok(command) })
    }

    fn bring_back<'a>(&'a self, _ask: Ask<'a>) -> BoxFuture<'a, Result<BroughtBack, DriverError>> {
        Box::pin(async { Ok(BroughtBack { words: "the run worked here".to_owned(), is_partial: false }) })
    }

    fn release<'a>(&'a self, _ask: Ask<'a>) -> BoxFuture<'a, Result<Option<String>, DriverError>> {
        Box::pin(async { Ok(None) })
    }

    fn probe<'a>(&'a self, _ask: Ask<'a>) -> BoxFuture<'a, ProbeReport> {
        Box::pin(async {
            ProbeReport {
                ok: true,
                summary: "runs work on the machine of the server".to_owned(),
                details: None,
            }
        })
    }
}
