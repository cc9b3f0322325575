//! An engine whose processes are over before they began: what it costs by itself when nothing is started.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapters::Host;
use anyhow::{Result, bail};
use domain::ending::EndedBy;
use domain::ids::{AgentId, RunId};
use domain::wake::{Actor, Source, TriggerDetail, WakeRequest};
use engine::{Engine, Settings, SystemClock, SystemDice, Woken};
use engine::{ExitFacts, LogSource, ProcessError, ProcessId, Processes, Seen};
use serde_json::Map;
use store::Store;
use tokio::sync::Notify;

/// Starts an engine on a store. It never runs more than `max_runs` at the same time.
pub(crate) async fn engine(store: &Arc<Store>, folder: &Path, max_runs: usize) -> Result<Engine> {
    let settings = Settings {
        data_dir: folder.to_owned(),
        node_id: "bench".to_owned(),
        program: PathBuf::from("/bin/false"),
        host: Host::from_env(std::env::vars_os()),
        max_runs: u32::try_from(max_runs)?,
        ..Settings::default()
    };
    let (clock, dice) = (Arc::new(SystemClock), Arc::new(SystemDice));
    Ok(Engine::start(Arc::clone(store), Arc::new(Nobody), clock, dice, settings).await?)
}

/// One whole life of a run; its end is durable when this returns.
pub(crate) async fn live(engine: &Engine, agent: &AgentId) -> Result<()> {
    let request = WakeRequest {
        source: Source::OnDemand,
        trigger_detail: Some(TriggerDetail::Manual),
        reason: None,
        payload: Map::new(),
        context: Map::new(),
        idempotency_key: None,
        body_hash: String::new(),
        actor: Actor::local_board(),
        carries_on: false,
    };
    let run = match engine.wake(agent, request).await? {
        Woken::Run(run) => run,
        Woken::Skipped(skipped) => bail!("a wake was skipped: {:?}", skipped.reason),
    };
    // The engine lets go of a run after its end is durable.
    while let Some(bell) = engine.log_bell(&run.id) {
        let ring = bell.notified();
        tokio::pin!(ring);
        ring.as_mut().enable();
        // It may have let go between the two looks; then nobody rings any more.
        if engine.log_bell(&run.id).is_some() {
            ring.await;
        }
    }
    Ok(())
}

/// Every process ends well at once and prints nothing.
#[derive(Debug, Default)]
struct Nobody;

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
