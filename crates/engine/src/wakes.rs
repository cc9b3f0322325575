//! Waking an agent from outside: the transaction of the intake, and what follows its commit.

use std::sync::Arc;

use domain::ids::{AgentId, RunId, WakeId};
use domain::wake::{SkipReason, WakeRequest};
use store::agents::Agent;
use store::runs::Run;
use store::wakes::Wake;

use crate::intake::{self, Admission, Chain, Fate};
use crate::run_task::{self, Entry};
use crate::{Engine, EngineError, Inner};

/// What a wake came to.
#[derive(Debug, Clone)]
pub enum Woken {
    /// The run that does the work: a new one, or the one it joined.
    Run(Box<Run>),
    /// Nothing starts, and this is why.
    Skipped(Skipped),
}

/// A wake that started nothing.
#[derive(Debug, Clone)]
pub struct Skipped {
    pub wake: Box<Wake>,
    /// `None` for the repeated answer of an earlier wake: its record says why.
    pub reason: Option<SkipReason>,
}

impl Engine {
    /// Wakes an agent. When this returns, the wake and its fate are durable.
    ///
    /// Fails with `NotFound`, `NotInvokable`, `Budget` or `KeyReused`; each refusal but the first and last is on record.
    pub async fn wake(&self, agent: &AgentId, request: WakeRequest) -> Result<Woken, EngineError> {
        self.inner.refuse_when_closing()?;
        let (inner, agent) = (Arc::clone(&self.inner), agent.clone());
        // In a task of its own: a caller who goes away in the middle must not leave a claimed run that nobody starts.
        let woken = self.inner.tasks.spawn(async move { inner.wake(&agent, request).await });
        woken.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(EngineError::Closing),
        })
    }
}

impl Inner {
    /// The ids and conditions of one admission.
    pub(crate) fn admission(&self, running: u32, chain: Chain) -> Admission {
        let now = self.clock.now();
        Admission {
            wake_id: WakeId::mint(now, self.dice.bytes()),
            run_id: RunId::mint(now, self.dice.bytes()),
            now,
            claimer: self.claimer.clone(),
            instance_slots: self.settings.max_runs,
            instance_running: running,
            chain,
        }
    }

    pub(crate) async fn wake(
        self: &Arc<Self>,
        agent: &AgentId,
        request: WakeRequest,
    ) -> Result<Woken, EngineError> {
        // The place is taken before the claim and handed to the run, so that two wakes cannot take one.
        let slot = if self.doorbell.is_starved() { None } else { self.slots.take() };
        let running = if slot.is_some() { 0 } else { self.settings.max_runs };
        let admission = self.admission(running, Chain::default());
        let (id, now) = (agent.clone(), admission.now);
        let (agent, fate): (Option<Agent>, Option<Fate>) = self
            .store
            .write(move |tx| {
                let (id, request, admission) = (id.clone(), request.clone(), admission.clone());
                Box::pin(async move {
                    let Some(agent) = intake::lock_agent(tx, &id).await? else { return Ok((None, None)) };
                    let fate = intake::admit(tx, &agent, &request, &admission).await?;
                    Ok((Some(agent), Some(fate)))
                })
            })
            .await?;
        let (Some(agent), Some(fate)) = (agent, fate) else { return Err(EngineError::NotFound("Agent")) };
        tracing::debug!(agent = %agent.id, at = now.micros(), ?fate, "wake");
        self.feed.ring();
        let answer = match fate {
            Fate::Queued { run, claimed } => {
                match (claimed, slot) {
                    (Some(claimed), Some(slot)) => {
                        run_task::spawn(self, (*run).clone(), agent, claimed.lease, Entry::Launch, slot);
                    }
                    (_, slot) => {
                        drop(slot);
                        self.doorbell.ring(&agent.id);
                        self.doorbell.freed();
                    }
                }
                return Ok(Woken::Run(run));
            }
            Fate::Merged { run } => Ok(Woken::Run(run)),
            Fate::Replayed { run: Some(run), .. } => Ok(Woken::Run(run)),
            Fate::Replayed { wake, run: None } => Ok(Woken::Skipped(Skipped { wake, reason: None })),
            Fate::Skipped { wake, reason } => Ok(Woken::Skipped(Skipped { wake, reason: Some(reason) })),
            Fate::Refused { refusal } => Err(match refusal {
                domain::wake::Refusal::Budget(block) => EngineError::Budget(block),
                domain::wake::Refusal::NotInvokable(status) => EngineError::NotInvokable(status),
            }),
            Fate::KeyReused { wake } => Err(EngineError::KeyReused { wake: wake.0 }),
        };
        // Somebody may have found no place while this one was held for nothing.
        drop(slot);
        self.doorbell.freed();
        answer
    }
}
