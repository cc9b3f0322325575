//! Forgetting what an agent could resume.

use domain::ids::AgentId;
use domain::wake::Actor;
use store::sessions::RuntimeState;
use store::{agents, audit, sessions};

use crate::{Engine, EngineError, stops};

impl Engine {
    /// Forgets the session of one task, or all sessions of an agent; totals stay. Returns how many tasks forgot theirs, and
    /// the runtime state as it is then. A run under way keeps the session it has.
    pub async fn forget_sessions(
        &self,
        agent: &AgentId,
        task_key: Option<String>,
        actor: &Actor,
    ) -> Result<(u64, Option<RuntimeState>), EngineError> {
        let now = self.now();
        let forgotten =
            self.inner.write((agent.clone(), task_key, actor.clone()), move |tx, (id, task, actor)| {
                Box::pin(async move {
                    let Some(agent) = agents::lock(tx, &id).await? else { return Ok(None) };
                    let cleared = match &task {
                        Some(task) => {
                            let cleared = sessions::forget(tx, &id, task, None).await?;
                            sessions::forget_runtime_session(tx, &id, now).await?;
                            cleared
                        }
                        None => sessions::forget_all(tx, &id, now).await?,
                    };
                    let words = task.as_deref().unwrap_or("all tasks");
                    let action = "agent.runtime_session_reset";
                    let record = stops::record(&agent.company_id, &actor, action, id.as_str(), words, now);
                    audit::append(tx, record).await?;
                    Ok(Some((cleared, sessions::runtime_state(tx, &id).await?)))
                })
            });
        forgotten.await?.ok_or(EngineError::NotFound("Agent"))
    }
}
