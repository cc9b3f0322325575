//! Processes that are over before they began: what the engine costs when nothing is started.

use std::sync::Arc;

use domain::ending::EndedBy;
use domain::ids::RunId;
use engine::{ExitFacts, LogSource, ProcessError, ProcessId, Processes, Seen};
use tokio::sync::Notify;

/// Every process ends well at once and prints nothing.
#[derive(Debug, Default)]
pub(crate) struct Nobody;

impl Processes for Nobody {
    fn start(&self, _: &ProcessId, _: i64, _: &adapters::Command) -> Result<(), ProcessError> {
        Ok(())
    }

    fn probe(&self, _: &ProcessId) -> Result<Seen, ProcessError> {
        let exit = ExitFacts {
            executed: true,
            code: Some(0),
            by: Some(EndedBy::Itself),
            containment: "none".to_owned(),
            log_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
            ..ExitFacts::default()
        };
        Ok(Seen::Ended(Box::new(exit)))
    }

    fn unwritten_exit(&self, _: &ProcessId) -> Result<Option<ExitFacts>, ProcessError> {
        Ok(None)
    }

    fn revoke(&self, _: &ProcessId) -> Result<bool, ProcessError> {
        Ok(false)
    }

    fn greet(&self, _: &ProcessId, _: i64) -> Result<(), ProcessError> {
        Ok(())
    }

    fn stop(&self, _: &ProcessId, _: i64, _: &str) -> Result<(), ProcessError> {
        Ok(())
    }

    fn linger(&self, _: &ProcessId, _: i64) -> Result<(), ProcessError> {
        Ok(())
    }

    fn kill_keeper(&self, _: &ProcessId, _: i64) -> Result<(), ProcessError> {
        Ok(())
    }

    fn sweep(&self, _: &ProcessId) -> Result<(), ProcessError> {
        Ok(())
    }

    fn log(&self, _: &ProcessId, _: u64) -> Result<Box<dyn LogSource>, ProcessError> {
        Err(ProcessError::NotThere)
    }

    fn watch(&self, _: &ProcessId, bell: Arc<Notify>) -> Result<(), ProcessError> {
        bell.notify_one();
        Ok(())
    }

    fn unwatch(&self, _: &ProcessId) {}

    fn archive(&self, _: &ProcessId) -> Result<(), ProcessError> {
        Ok(())
    }

    fn remove(&self, _: &RunId) -> Result<u64, ProcessError> {
        Ok(0)
    }

    fn boot_id(&self) -> String {
        "a boot of the benchmark".to_owned()
    }
}
