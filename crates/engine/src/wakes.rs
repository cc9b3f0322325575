//! Waking an agent from outside: the transaction of the intake, and what follows its commit.

use std::sync::Arc;

use domain::ids::{AgentId, CompanyId, RunId, WakeId};
use domain::run::RunStatus;
use domain::wake::{Refusal, SkipReason, WakeRequest};
use serde_json::json;
use store::agents::Agent;
use store::runs::Run;
use store::wakes::Wake;
use store::{BoxFuture, StoreError, Tx};

use crate::agents::author_of;
use crate::claims::Claimant;
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
    /// `None` for a wake that waits behind another agent's run, and for the repeated answer of an earlier wake: the record
    /// says why.
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

/// What an admission in a transaction of its own came to.
pub(crate) struct Admitted {
    pub agent: Agent,
    pub fate: Fate,
}

impl Inner {
    /// Who claims runs here.
    pub(crate) fn claimant(&self) -> Claimant {
        Claimant { by: self.claimer.clone(), tokens: self.tokens.clone(), accounts: self.keyring.clone() }
    }

    /// A pause, a hold or a budget was lifted: whoever waited for it may go on.
    pub(crate) fn lifted(&self) {
        self.deferrals.notify_one();
        self.doorbell.ring_all();
        self.automations.lift();
    }

    /// Something was lifted in a company that keeps work back: what was turned away meanwhile is looked at now. Where
    /// this fails the sweep comes to it later.
    pub(crate) async fn look_again(&self, company: &CompanyId) {
        let (company, now) = (company.clone(), self.clock.now());
        let looked = self.store.write_bulk(move |tx| {
            let company = company.clone();
            Box::pin(async move { store::issues::bring_forward(tx, &company, now).await })
        });
        if let Err(error) = looked.await {
            tracing::warn!(%error, "cannot have waiting issues looked at");
        }
        self.stranded.notify_one();
    }

    /// The ids and conditions of one admission.
    pub(crate) fn admission(&self, running: u32, chain: Chain) -> Admission {
        let now = self.clock.now();
        Admission {
            wake_id: WakeId::mint(now, self.dice.bytes()),
            run_id: RunId::mint(now, self.dice.bytes()),
            now,
            claimant: self.claimant(),
            instance_slots: self.settings.max_runs,
            instance_running: running,
            chain,
            promotes: None,
        }
    }

    /// Runs a transaction that may admit a wake, with a place for its run in hand, and starts the run that it claimed.
    pub(crate) async fn at_door<C, F>(
        self: &Arc<Self>,
        context: C,
        transaction: F,
    ) -> Result<Option<Admitted>, StoreError>
    where
        C: Clone + Send + Sync + 'static,
        F: for<'t, 'c> Fn(
                &'t mut Tx<'c>,
                C,
                Admission,
            ) -> BoxFuture<'t, Result<Option<Admitted>, StoreError>>
            + Send
            + Sync
            + 'static,
    {
        // The place is taken before the claim and handed to the run, so that two wakes cannot take one.
        let slot = if self.doorbell.is_starved() { None } else { self.slots.take() };
        let running = if slot.is_some() { 0 } else { self.settings.max_runs };
        let admission = self.admission(running, Chain::default());
        let written = self
            .write((context, admission), move |tx, (context, admission)| transaction(tx, context, admission))
            .await;
        let Some(admitted) = written? else {
            drop(slot);
            self.doorbell.freed();
            return Ok(None);
        };
        tracing::debug!(agent = %admitted.agent.id, fate = ?admitted.fate, "wake");
        self.feed.ring();
        match (&admitted.fate, slot) {
            (Fate::Queued { run, claimed: Some(claimed) }, Some(slot)) => {
                let (run, agent, lease) = ((**run).clone(), admitted.agent.clone(), claimed.lease.clone());
                run_task::spawn(self, run, agent, lease, Entry::Launch, slot);
            }
            (fate, slot) => {
                drop(slot);
                // What a wake brings may let the run through that it joined: news of a blocker, a comment.
                let may_start = match fate {
                    Fate::Queued { .. } => true,
                    Fate::Merged { run } => run.status == RunStatus::Queued && run.issue_id.is_some(),
                    _ => false,
                };
                if may_start {
                    self.doorbell.ring(&admitted.agent.id);
                }
                // Somebody may have found no place while this one was held for nothing.
                self.doorbell.freed();
            }
        }
        Ok(Some(admitted))
    }

    pub(crate) async fn wake(
        self: &Arc<Self>,
        agent: &AgentId,
        request: WakeRequest,
    ) -> Result<Woken, EngineError> {
        let scribe = self.scribe(&author_of(&request.actor));
        let admitted = self
            .at_door((agent.clone(), request, scribe), |tx, (id, request, mut scribe), admission| {
                Box::pin(async move {
                    let Some(agent) = intake::lock_agent(tx, &id).await? else { return Ok(None) };
                    let fate = intake::admit(tx, &agent, &request, &admission).await?;
                    // An answer that is repeated was told of when it was given.
                    if let Fate::Queued { run, .. } | Fate::Merged { run } = &fate {
                        let (company, about) = (&agent.company_id, ("heartbeat_run", run.id.as_str()));
                        let details = json!({ "agentId": agent.id });
                        scribe.tell(tx, company, "heartbeat.invoked", about, details).await?;
                    }
                    Ok(Some(Admitted { agent, fate }))
                })
            })
            .await?;
        match admitted.ok_or(EngineError::NotFound("Agent"))?.fate {
            Fate::Queued { run, .. } | Fate::Merged { run } | Fate::Replayed { run: Some(run), .. } => {
                Ok(Woken::Run(run))
            }
            // Its record says that it waits, and behind what.
            Fate::Deferred { wake } | Fate::Replayed { wake, run: None } => {
                Ok(Woken::Skipped(Skipped { wake, reason: None }))
            }
            Fate::Skipped { wake, reason } => Ok(Woken::Skipped(Skipped { wake, reason: Some(reason) })),
            Fate::Refused { refusal: Refusal::Budget(block) } => Err(EngineError::Budget(block)),
            Fate::Refused { refusal: Refusal::NotInvokable(status) } => {
                Err(EngineError::NotInvokable(status))
            }
            Fate::KeyReused { wake } => Err(EngineError::KeyReused { wake: wake.0 }),
        }
    }
}
