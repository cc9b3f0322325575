//! The configuration that a process is started with: the agent's, with the environment of the project over it, and the
//! values of secrets in the place of their references. Made for each process, held while it is started, and kept nowhere.

use std::time::Duration;

use super::Tending;
use crate::secrets::resolve::{self, Resolved};

impl Tending<'_> {
    /// Resolves the configuration, however long the store is away; `None` when the server leaves first. The error is in
    /// words, and holds no value.
    pub(super) async fn resolve(&self) -> Result<Option<Resolved>, String> {
        let mut pause = Duration::from_millis(50);
        loop {
            let context = (self.agent.clone(), self.run.project_id.clone());
            let loaded = self.engine.read(context, |tx, (agent, project)| {
                Box::pin(
                    async move { resolve::load(tx, &agent, &agent.adapter_config, project.as_deref()).await },
                )
            });
            match loaded.await {
                Ok(sealed) => return sealed.open(&self.engine.vault).map(Some),
                Err(error) => {
                    tracing::warn!(run = %self.run.id, %error, "cannot read the configuration; trying again")
                }
            }
            tokio::select! {
                biased;
                () = self.engine.leaving.cancelled() => return Ok(None),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}
