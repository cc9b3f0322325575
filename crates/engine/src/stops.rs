//! Stopping: one run, the work of an agent, a paused or a terminated agent. Pause holds, cancel ends (D1).
//!
//! What is decided is `domain::cancel`. A running run is asked to stop, in the record first, then by its keeper: a
//! server that dies in between asks again when it comes back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use domain::agent::{AgentStatus, HeartbeatPolicy, PauseReason};
use domain::cancel::{Fate, Stop, fate};
use domain::ids::{AgentId, IssueId, RunId};
use domain::moment::Moment;
use domain::recovery::looks;
use domain::run::RunStatus;
use domain::schedule;
use domain::wake::{Actor, WakeStatus};
use serde_json::{Value as Json, json};
use store::agents::Agent;
use store::audit::{self, AuditRecord};
use store::runs::Run;
use store::{StoreError, Tx, agents, inbox, keys, leases, locks, runs, wakes};

use crate::activity::Scribe;
use crate::agents::author_of;
use crate::run_task::Handle;
use crate::{Engine, EngineError, Inner, automations, orders, signals};

/// What a stop did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopReport {
    /// Runs that were asked to stop.
    pub stopping: Vec<RunId>,
    /// Runs that ended without having run.
    pub withdrawn: Vec<RunId>,
    /// Runs that stay queued.
    pub held: Vec<RunId>,
}

impl Engine {
    /// Cancels one run; returns it as it is then: `cancelled`, or `running` with `stop_asked_at` until its processes
    /// are gone. A run that is over is returned unchanged.
    pub async fn cancel_run(
        &self,
        run: &RunId,
        words: Option<String>,
        actor: &Actor,
    ) -> Result<Run, EngineError> {
        let inner = &self.inner;
        let found = inner.load_run(run).await?.ok_or(EngineError::NotFound("Heartbeat run"))?;
        let words = words.unwrap_or_else(|| Stop::CancelRun.message().to_owned());
        let (agent, id, said, actor, now) =
            (found.agent_id, run.clone(), words.clone(), actor.clone(), self.now());
        let issue = found.issue_id.map(IssueId);
        let (run, report) = inner
            .store
            .write(move |tx| {
                let (agent, id, said, actor) = (agent.clone(), id.clone(), said.clone(), actor.clone());
                let issue = issue.clone();
                Box::pin(async move {
                    agents::lock(tx, &agent).await?;
                    if let Some(issue) = &issue {
                        store::issues::lock(tx, issue).await?;
                    }
                    let mut report = StopReport::default();
                    if let Some(run) = runs::lock(tx, &id).await? {
                        stop_one(tx, Stop::CancelRun, &run, &said, &mut report, now).await?;
                        let record =
                            record(&run.company_id, &actor, "heartbeat.cancelled", id.as_str(), &said, now);
                        audit::append(tx, record).await?;
                    }
                    Ok((runs::get(tx, &id).await?, report))
                })
            })
            .await?;
        inner.after_stop(&found_agent(&run), &report, &words);
        run.ok_or(EngineError::NotFound("Heartbeat run"))
    }

    /// Cancels all work of an agent; the agent stays as it is.
    pub async fn cancel_work(&self, agent: &AgentId, actor: &Actor) -> Result<StopReport, EngineError> {
        let (_, report) = self.inner.stop_agent(agent, Stop::CancelWork, actor, |_| Ok(())).await?;
        Ok(report)
    }

    /// Pauses an agent: running runs are stopped, queued ones are held until it is resumed.
    pub async fn pause_agent(
        &self,
        agent: &AgentId,
        reason: PauseReason,
        actor: &Actor,
    ) -> Result<Agent, EngineError> {
        let now = self.now();
        let paused = self.inner.stop_agent(agent, Stop::PauseAgent, actor, move |agent| {
            match agent.status {
                AgentStatus::Terminated => return Err("Cannot pause terminated agent"),
                // Resuming it would let it in.
                AgentStatus::PendingApproval => return Err("Pending approval agents cannot be paused"),
                AgentStatus::Paused
                | AgentStatus::Active
                | AgentStatus::Idle
                | AgentStatus::Running
                | AgentStatus::Error => {}
            }
            agent.status = AgentStatus::Paused;
            agent.pause_reason = Some(reason);
            agent.paused_at = Some(now);
            agent.next_timer_at = None;
            Ok(())
        });
        Ok(paused.await?.0)
    }

    /// Terminates an agent: all its work is cancelled, and it is never woken again.
    pub async fn terminate_agent(&self, agent: &AgentId, actor: &Actor) -> Result<Agent, EngineError> {
        let terminated = self.inner.stop_agent(agent, Stop::TerminateAgent, actor, |agent| {
            end(agent);
            Ok(())
        });
        Ok(terminated.await?.0)
    }

    /// Resumes a paused agent; what was held starts as slots allow.
    pub async fn resume_agent(&self, agent: &AgentId, actor: &Actor) -> Result<Agent, EngineError> {
        let scribe = self.inner.scribe(&author_of(actor));
        let now = scribe.now;
        let resumed = self
            .inner
            .write_unless((agent.clone(), actor.clone(), scribe), move |tx, (id, actor, mut scribe)| {
                Box::pin(async move {
                    let mut agent = agents::lock(tx, &id).await?.ok_or(EngineError::NotFound("Agent"))?;
                    match agent.status {
                        AgentStatus::Terminated => {
                            return Err(conflict("Cannot resume terminated agent"));
                        }
                        AgentStatus::PendingApproval => {
                            return Err(conflict("Pending approval agents cannot be resumed"));
                        }
                        AgentStatus::Paused
                        | AgentStatus::Active
                        | AgentStatus::Idle
                        | AgentStatus::Running
                        | AgentStatus::Error => {}
                    }
                    let running = runs::count_running(tx, &agent.id).await?;
                    agent.status = if running > 0 { AgentStatus::Running } else { AgentStatus::Idle };
                    agent.pause_reason = None;
                    agent.paused_at = None;
                    let policy = HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type);
                    agent.next_timer_at = schedule::next_due(agent.status, &policy, now);
                    agent.updated_at = now;
                    agents::update(tx, &agent).await?;
                    store::issues::check_of_agent(tx, &agent.id, now).await?;
                    inbox::resolve_of(tx, id.as_str(), Some(looks::PAUSED), "resumed", now).await?;
                    tell_status(tx, &agent, now).await?;
                    audit::append(
                        tx,
                        record(&agent.company_id, &actor, "agent.resumed", id.as_str(), "", now),
                    )
                    .await?;
                    tell(tx, &mut scribe, &agent, "agent.resumed").await?;
                    Ok(agent)
                })
            })
            .await?;
        self.inner.feed.ring();
        self.inner.timers.notify_one();
        self.inner.deferrals.notify_one();
        self.inner.stranded.notify_one();
        self.inner.doorbell.ring(agent);
        self.inner.automations.lift();
        Ok(resumed)
    }

    /// Stops taking work in and ends every run of this node; returns how many did not end within `patience`.
    ///
    /// A run that an earlier server left is taken over before it is ended, and one that is being claimed this moment gets
    /// its task first: as long as a place is taken, somebody is to come.
    pub async fn stop_runs(&self, patience: std::time::Duration) -> usize {
        self.inner.closing.cancel();
        let actor = Actor::system("shutdown");
        let deadline = tokio::time::Instant::now() + patience;
        let mut asked: BTreeSet<RunId> = BTreeSet::new();
        loop {
            let tended: Vec<(RunId, Arc<Handle>)> = {
                let tended = self.inner.tended.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                tended.iter().map(|(run, handle)| (run.clone(), Arc::clone(handle))).collect()
            };
            for (run, _) in &tended {
                if !asked.insert(run.clone()) {
                    continue;
                }
                let words = Some("Cancelled because the server was stopped with --stop-runs".to_owned());
                if let Err(error) = self.cancel_run(run, words, &actor).await {
                    tracing::warn!(%run, %error, "cannot stop the run");
                }
            }
            let left = tended.len().max(self.inner.slots.load().0 as usize);
            if left == 0 {
                return 0;
            }
            if tokio::time::Instant::now() >= deadline {
                return left;
            }
            // The end of one of them, or a moment: others may have come meanwhile.
            let moment = (tokio::time::Instant::now() + COMES_WITHIN).min(deadline);
            match tended.first() {
                Some((_, handle)) => drop(tokio::time::timeout_at(moment, handle.ended()).await),
                None => tokio::time::sleep_until(moment).await,
            }
        }
    }
}

fn end(agent: &mut Agent) {
    agent.status = AgentStatus::Terminated;
    agent.next_timer_at = None;
}

/// Ends an agent whose row is locked, with all its work. The caller says afterwards that runs are to stop.
pub(crate) async fn end_agent(
    tx: &mut Tx<'_>,
    agent: &mut Agent,
    actor: &Actor,
    scribe: &mut Scribe,
) -> Result<(), StoreError> {
    end(agent);
    stop_work(tx, agent, Stop::TerminateAgent, actor, scribe).await.map(drop)
}

/// Writes an agent whose row is locked, as it was changed, and stops its work.
async fn stop_work(
    tx: &mut Tx<'_>,
    agent: &mut Agent,
    stop: Stop,
    actor: &Actor,
    scribe: &mut Scribe,
) -> Result<StopReport, StoreError> {
    let (id, now) = (agent.id.clone(), scribe.now);
    agent.updated_at = now;
    agents::update(tx, agent).await?;
    if stop == Stop::TerminateAgent {
        store::issues::check_all_of_agent(tx, &id, now).await?;
        inbox::resolve_of(tx, id.as_str(), Some(looks::PAUSED), "terminated", now).await?;
    }
    let mut report = StopReport::default();
    let live = runs::live_of_agent(tx, &id).await?;
    let issues: BTreeSet<&String> = live.iter().filter_map(|run| run.issue_id.as_ref()).collect();
    for issue in issues {
        store::issues::lock(tx, &issue.as_str().into()).await?;
    }
    for run in &live {
        stop_one(tx, stop, run, stop.message(), &mut report, now).await?;
    }
    if stop.ends_wakes() {
        orders::end_all_of(tx, &id, stop.message(), scribe).await?;
    }
    if stop == Stop::TerminateAgent {
        keys::revoke_all_of_agent(tx, &id, now).await?;
    }
    tell_status(tx, agent, now).await?;
    let record = record(&agent.company_id, actor, action_of(stop), id.as_str(), stop.message(), now);
    audit::append(tx, record).await?;
    Ok(report)
}

/// What a stop of an agent's work is called on record.
const fn action_of(stop: Stop) -> &'static str {
    match stop {
        Stop::PauseAgent => "agent.paused",
        Stop::TerminateAgent => "agent.terminated",
        Stop::CancelWork | Stop::CancelRun => "agent.work_cancelled",
    }
}

/// Tells that somebody turned an agent's switch.
async fn tell(tx: &mut Tx<'_>, scribe: &mut Scribe, agent: &Agent, action: &str) -> Result<(), StoreError> {
    let details = json!({ "name": agent.name, "status": agent.status, "pauseReason": agent.pause_reason });
    scribe.tell(tx, &agent.company_id, action, ("agent", agent.id.as_str()), details).await
}

/// A stop of everything looks this often for runs that came to it meanwhile.
const COMES_WITHIN: std::time::Duration = std::time::Duration::from_millis(20);

impl Inner {
    /// Applies a change to an agent and stops its work, in one transaction.
    async fn stop_agent(
        self: &Arc<Self>,
        agent: &AgentId,
        stop: Stop,
        actor: &Actor,
        change: impl Fn(&mut Agent) -> Result<(), &'static str> + Send + Sync + Clone + 'static,
    ) -> Result<(Agent, StopReport), EngineError> {
        let context = (agent.clone(), actor.clone(), change, self.scribe(&author_of(actor)));
        let (agent, report) = self
            .write_unless(context, move |tx, (id, actor, change, mut scribe)| {
                Box::pin(async move {
                    let mut agent = agents::lock(tx, &id).await?.ok_or(EngineError::NotFound("Agent"))?;
                    change(&mut agent).map_err(conflict)?;
                    let report = stop_work(tx, &mut agent, stop, &actor, &mut scribe).await?;
                    if matches!(stop, Stop::PauseAgent | Stop::TerminateAgent) {
                        tell(tx, &mut scribe, &agent, action_of(stop)).await?;
                    }
                    Ok((agent, report))
                })
            })
            .await?;
        self.timers.notify_one();
        self.stranded.notify_one();
        self.after_stop(&Some(agent.id.clone()), &report, stop.message());
        Ok((agent, report))
    }

    /// Runs may have been asked to stop in a commit that told nobody which: their tasks look at the record.
    pub(crate) fn after_end(&self) {
        self.feed.ring();
        self.stop_unheard.store(true, Ordering::SeqCst);
        self.stop_orders.notify_one();
        self.stranded.notify_one();
    }

    pub(crate) fn after_stop(self: &Arc<Self>, agent: &Option<AgentId>, report: &StopReport, words: &str) {
        self.automations_bell();
        self.feed.ring();
        for run in &report.stopping {
            match self.handle_of(run) {
                Some(handle) => handle.ask_to_stop(words),
                // Its task is of another server, or is being made this moment.
                None => {
                    self.stop_unheard.store(true, Ordering::SeqCst);
                    self.stop_orders.notify_one();
                }
            }
        }
        if let Some(agent) = agent {
            self.doorbell.ring(agent);
        }
    }

    pub(crate) async fn load_run(&self, run: &RunId) -> Result<Option<Run>, StoreError> {
        let id = run.clone();
        self.store
            .read(move |tx| {
                let id = id.clone();
                Box::pin(async move { runs::get(tx, &id).await })
            })
            .await
    }
}

fn found_agent(run: &Option<Run>) -> Option<AgentId> {
    run.as_ref().map(|run| run.agent_id.clone())
}

fn conflict(message: &str) -> EngineError {
    EngineError::Conflict { message: message.to_owned(), details: None }
}

async fn tell_status(tx: &mut Tx<'_>, agent: &Agent, now: Moment) -> Result<(), StoreError> {
    let owner = (&agent.company_id, &agent.id);
    signals::agent_status(tx, owner, agent.status.as_str(), None, agent.last_heartbeat_at, now).await
}

/// Applies a stop to one run whose agent is locked.
pub(crate) async fn stop_one(
    tx: &mut Tx<'_>,
    stop: Stop,
    run: &Run,
    words: &str,
    report: &mut StopReport,
    now: Moment,
) -> Result<(), StoreError> {
    match fate(stop, run.status) {
        Fate::Leave => {}
        Fate::Keep => report.held.push(run.id.clone()),
        Fate::AskToStop => {
            if let Some(seq) = leases::ask_to_stop(tx, &run.id, words, now).await? {
                let event = signals::lifecycle("warn", "asked to stop", Some(json!({ "reason": words })));
                signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), seq, event, now).await?;
                signals::run_status(tx, &Run { stop_asked_at: Some(now), ..run.clone() }, now).await?;
            }
            // Asked before or now: the keeper is told again, which does no harm.
            report.stopping.push(run.id.clone());
        }
        Fate::Withdraw => {
            withdraw(tx, run, words, "cancelled", now).await?;
            report.withdrawn.push(run.id.clone());
        }
    }
    Ok(())
}

/// Asks a running run to stop for a budget. What a budget stops fares as under a pause: what waits is held (D1).
pub(crate) async fn stop_for_budget(
    tx: &mut Tx<'_>,
    run: &Run,
    words: &str,
    report: &mut StopReport,
    now: Moment,
) -> Result<(), StoreError> {
    stop_one(tx, Stop::PauseAgent, run, words, report, now).await
}

/// Ends a run that has not started. Its agent and issue are locked.
pub(crate) async fn withdraw(
    tx: &mut Tx<'_>,
    run: &Run,
    words: &str,
    code: &str,
    now: Moment,
) -> Result<(), StoreError> {
    let result = json!({ "stopReason": "cancelled", "timeoutFired": false });
    let Some(seq) = leases::withdraw(tx, &run.id, words, code, &result, now).await? else { return Ok(()) };
    wakes::finish(tx, &run.id, WakeStatus::Cancelled, Some(words), now).await?;
    automations::agent_run_over(tx, run, now).await?;
    let event =
        signals::lifecycle("warn", "run cancelled before it started", Some(json!({ "reason": words })));
    signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), seq, event, now).await?;
    if let Some(issue) = run.issue_id.clone().map(IssueId) {
        locks::unpoint(tx, &issue, &run.id).await?;
    }
    let ended = Run {
        status: RunStatus::Cancelled,
        error: Some(words.to_owned()),
        error_code: Some(code.to_owned()),
        finished_at: Some(now),
        ..run.clone()
    };
    signals::run_status(tx, &ended, now).await
}

/// A record for the audit chain with more than words.
pub(crate) fn record_with(
    company: &domain::ids::CompanyId,
    actor: &Actor,
    action: &str,
    subject: &str,
    details: &Json,
    now: Moment,
) -> AuditRecord {
    AuditRecord { details_json: details.to_string(), ..record(company, actor, action, subject, "", now) }
}

/// A record for the audit chain.
pub(crate) fn record(
    company: &domain::ids::CompanyId,
    actor: &Actor,
    action: &str,
    subject: &str,
    words: &str,
    now: Moment,
) -> AuditRecord {
    AuditRecord {
        company_id: Some(company.0.clone()),
        actor: format!("{}:{}", actor.kind, actor.id.as_deref().unwrap_or("-")),
        action: action.to_owned(),
        subject: subject.to_owned(),
        details_json: json!({ "words": words }).to_string(),
        at: now.micros(),
    }
}
