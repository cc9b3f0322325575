//! What happened to a run, what it waits for, and what happens next by itself.

use domain::agent::HeartbeatPolicy;
use domain::claim::{self, ClaimView, Gate};
use domain::hold::HeldReason;
use domain::ids::{AgentId, RunId};
use domain::moment::Moment;
use domain::run::RunStatus;
use serde::Serialize;
use serde_json::Value as Json;
use store::agents::Agent;
use store::runs::Run;
use store::{StoreError, agents, runs, wakes};

use crate::{Engine, EngineError};

/// One step in the life of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    pub at: Moment,
    pub seq: i64,
    pub level: Option<String>,
    pub message: Option<String>,
    pub payload: Option<Json>,
}

/// Who looks after a running run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    pub node_id: Option<String>,
    pub incarnation: Option<i64>,
    pub epoch: i64,
    pub tended_here: bool,
    pub process_pid: Option<i64>,
}

/// The answer to "why?".
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub run_id: RunId,
    pub status: RunStatus,
    /// `running` and asked to stop.
    pub cancelling: bool,
    pub held_reason: Option<HeldReason>,
    /// In words: what it waits for.
    pub waits_for: Option<String>,
    pub holder: Option<Holder>,
    pub error: Option<String>,
    pub error_code: Option<String>,
    pub transitions: Vec<Transition>,
    /// How many wakes it carries, itself included.
    pub wakes: usize,
    /// The last lines of its stderr, at most 50.
    pub stderr: Vec<String>,
    /// What happens by itself.
    pub next: String,
    /// What a person could do.
    pub hint: Option<String>,
}

impl Engine {
    /// Why queued runs wait, in the order given; `None` for runs that do not wait. Derived now, by the gates that claim.
    pub async fn held_reasons(&self, waiting: &[Run]) -> Result<Vec<Option<HeldReason>>, StoreError> {
        let mut ids: Vec<AgentId> = waiting
            .iter()
            .filter(|run| run.status == RunStatus::Queued)
            .map(|run| run.agent_id.clone())
            .collect();
        ids.sort();
        ids.dedup();
        if ids.is_empty() {
            return Ok(waiting.iter().map(retry_hold).collect());
        }
        let wanted = ids.clone();
        let (found, scopes) = self
            .inner
            .store
            .read(move |tx| {
                let ids = wanted.clone();
                Box::pin(async move {
                    let mut found = Vec::with_capacity(ids.len());
                    for id in &ids {
                        found.push(agents::get(tx, id).await?);
                    }
                    Ok((found, runs::running_scopes(tx, &ids).await?))
                })
            })
            .await?;
        let (running, slots) = self.capacity();
        let held = |run: &Run| {
            if run.status != RunStatus::Queued {
                return retry_hold(run);
            }
            let agent: Option<&Agent> = found.iter().flatten().find(|agent| agent.id == run.agent_id);
            let policy = agent.map(|agent| HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type));
            let of_agent = scopes.iter().filter(|(agent, _)| *agent == run.agent_id);
            match claim::gate(&ClaimView {
                status: run.status,
                agent: agent.map(|agent| agent.status),
                slots: policy.map_or(1, |policy| policy.max_concurrent_runs),
                agent_running: u32::try_from(of_agent.clone().count()).unwrap_or(u32::MAX),
                scope_running: of_agent.clone().any(|(_, key)| *key == run.task_key),
                instance_slots: slots,
                instance_running: running,
            }) {
                Gate::Held(reason) => Some(reason),
                Gate::Open | Gate::Ends(_) | Gate::NotWaiting => None,
            }
        };
        Ok(waiting.iter().map(held).collect())
    }

    /// Explains a run.
    pub async fn explain(&self, run: &RunId) -> Result<Explanation, EngineError> {
        let id = run.clone();
        let (run, events, carried) = self
            .inner
            .store
            .read(move |tx| {
                let id = id.clone();
                Box::pin(async move {
                    let run = runs::get(tx, &id).await?;
                    let events = runs::events_after(tx, &id, 0, 1000).await?;
                    Ok((run, events, wakes::of_run(tx, &id, 1000).await?.len()))
                })
            })
            .await?;
        let run = run.ok_or(EngineError::NotFound("Heartbeat run"))?;
        let held = self.held_reasons(std::slice::from_ref(&run)).await?.pop().flatten();
        let (next, hint) = what_next(&run, held);
        let tended_here = self.inner.handle_of(&run.id).is_some();
        Ok(Explanation {
            cancelling: run.status == RunStatus::Running && run.stop_asked_at.is_some(),
            held_reason: held,
            waits_for: held.map(|reason| reason.what_ends_it().to_owned()),
            holder: (run.status == RunStatus::Running).then(|| Holder {
                node_id: run.node_id.clone(),
                incarnation: run.lease_holder,
                epoch: run.lease_epoch,
                tended_here,
                process_pid: run.process_pid,
            }),
            transitions: events
                .into_iter()
                .map(|event| Transition {
                    at: event.created_at,
                    seq: event.seq,
                    level: event.level,
                    message: event.message,
                    payload: event.payload,
                })
                .collect(),
            wakes: carried,
            stderr: self.stderr_tail(&run, 50),
            next,
            hint,
            error: run.error,
            error_code: run.error_code,
            status: run.status,
            run_id: run.id,
        })
    }

    fn stderr_tail(&self, run: &Run, lines: usize) -> Vec<String> {
        let text = match (&run.stderr_excerpt, run.status) {
            (Some(text), _) => text.clone(),
            (None, RunStatus::Running) => {
                self.inner.handle_of(&run.id).map(|handle| handle.stderr_tail()).unwrap_or_default()
            }
            (None, _) => String::new(),
        };
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

fn retry_hold(run: &Run) -> Option<HeldReason> {
    (run.status == RunStatus::ScheduledRetry).then_some(HeldReason::RetryBackoff)
}

fn what_next(run: &Run, held: Option<HeldReason>) -> (String, Option<String>) {
    match run.status {
        RunStatus::Queued => match held {
            Some(reason) => (reason.what_ends_it().to_owned(), None),
            None => ("it starts within a second".to_owned(), None),
        },
        RunStatus::ScheduledRetry => {
            let at = run.retry_at.map(Moment::iso).unwrap_or_default();
            (format!("it is queued again at {at} (attempt {})", run.retry_attempt), None)
        }
        RunStatus::Running if run.stop_asked_at.is_some() => {
            ("its processes are being stopped; then it is recorded as cancelled".to_owned(), None)
        }
        RunStatus::Running => {
            let hint = format!("follow it: bugle logs {} -f", run.id);
            (
                "it ends when its process does; a restart of the server does not touch it".to_owned(),
                Some(hint),
            )
        }
        RunStatus::Succeeded => ("nothing; it is over".to_owned(), None),
        RunStatus::Failed | RunStatus::TimedOut | RunStatus::Cancelled => {
            let hint = match run.error_code.as_deref() {
                Some("auth_required") => {
                    Some("log the agent's program in, then wake the agent again".to_owned())
                }
                Some("timeout") => Some("give the agent more time: adapterConfig.timeoutSec".to_owned()),
                Some("out_of_memory") => {
                    Some("give the machine more memory, or the agent less work at once".to_owned())
                }
                _ => Some(format!("see all of its output: bugle logs {}", run.id)),
            };
            ("nothing; it is over. If a retry follows, it is listed among the transitions".to_owned(), hint)
        }
    }
}
