//! Forgetting what an agent could resume.

use domain::ids::AgentId;
use domain::wake::Actor;
use serde_json::json;
use store::sessions::RuntimeState;
use store::{agents, audit, sessions};

use crate::agents::author_of;
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
        let context = (agent.clone(), task_key, self.inner.scribe(&author_of(actor)));
        let forgotten = self.inner.write(context, |tx, (id, task, mut scribe)| {
            Box::pin(async move {
                let now = scribe.now;
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
                let actor = scribe.by.actor();
                let record = stops::record(&agent.company_id, &actor, action, id.as_str(), words, now);
                audit::append(tx, record).await?;
                let details = json!({ "taskKey": task, "clearedTaskSessions": cleared });
                let about = ("agent", id.as_str());
                scribe.tell(tx, &agent.company_id, action, about, details).await?;
                Ok(Some((cleared, sessions::runtime_state(tx, &id).await?)))
            })
        });
        let forgotten = forgotten.await?;
        self.inner.feed.ring();
        forgotten.ok_or(EngineError::NotFound("Agent"))
    }
}
