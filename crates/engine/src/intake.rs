//! The one door in: a request to wake an agent becomes a recorded wake, and with a free slot a running run.
//!
//! Load, decide, apply, all in one transaction with the agent locked; what is decided is `domain::wake`, whether the
//! run may start at once is `domain::claim`. Starting its process happens after the commit, elsewhere.

use domain::agent::{AgentStatus, HeartbeatPolicy};
use domain::claim::{self, ClaimView, Gate};
use domain::ids::{AgentId, RunId, WakeId};
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::wake::{
    self, Decision, Refusal, SameKey, ScopeRun, SkipReason, WakeRequest, WakeStatus, WakeView,
};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};
use store::agents::Agent;
use store::leases::{Claimed, Claimer};
use store::runs::Run;
use store::wakes::Wake;
use store::{StoreError, Tx, agents, leases, runs, sessions, wakes};

use crate::signals;

/// Ids and conditions of an admission: everything the transaction needs and must not fetch itself, because it may run twice.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub wake_id: WakeId,
    pub run_id: RunId,
    pub now: Moment,
    pub claimer: Claimer,
    /// Processes this node may run, and how many it runs.
    pub instance_slots: u32,
    pub instance_running: u32,
    /// What a follow-up of an earlier run carries on.
    pub chain: Chain,
}

/// What a new run inherits from the run it follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    pub retry_of: Option<RunId>,
    pub process_loss_retries: u32,
    pub retry_attempt: u32,
    pub retry_reason: Option<&'static str>,
    /// It waits until then.
    pub retry_at: Option<Moment>,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// A run of its own, with the lease when it was claimed at once.
    Queued { run: Box<Run>, claimed: Option<Claimed> },
    /// It joined this run.
    Merged { run: Box<Run> },
    /// Recorded, nothing starts.
    Skipped { wake: Box<Wake>, reason: SkipReason },
    /// Recorded, the caller gets an error.
    Refused { refusal: Refusal },
    /// The answer of an earlier wake with the same key and body.
    Replayed { wake: Box<Wake>, run: Option<Box<Run>> },
    /// The key was used for another request.
    KeyReused { wake: WakeId },
}

/// A hash of everything a caller asked for: object keys in order, so that equal requests are equal.
pub fn body_hash(parts: &Json) -> String {
    let digest = Sha256::digest(canonical(parts).to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn canonical(value: &Json) -> Json {
    match value {
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            Json::Object(
                keys.into_iter().map(|key| (key.clone(), canonical(&map[key]))).collect::<Map<_, _>>(),
            )
        }
        Json::Array(items) => Json::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

/// Loads, decides and applies for an agent whose row is locked.
pub(crate) async fn admit(
    tx: &mut Tx<'_>,
    agent: &Agent,
    request: &WakeRequest,
    admission: &Admission,
) -> Result<Fate, StoreError> {
    let mut request = request.clone();
    wake::enrich(&mut request);
    let task_key = wake::task_key(&request.context, &request.payload).unwrap_or_default();
    let policy = HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type);
    let earlier = match &request.idempotency_key {
        Some(key) => wakes::with_key(tx, &agent.company_id, &agent.id, key).await?,
        None => None,
    };
    let scope = runs::in_scope(tx, &agent.id, &task_key).await?;
    let view = WakeView {
        agent: agent.status,
        policy: policy.clone(),
        same_key: earlier.as_ref().map(|wake| SameKey {
            wake: wake.id.clone(),
            body_hash: wake.body_hash.clone().unwrap_or_default(),
        }),
        budget_block: None,
        scope: scope.into_iter().map(|(id, status, stopping)| ScopeRun { id, status, stopping }).collect(),
        has_work: false,
    };
    match wake::decide(&view, &request) {
        Decision::Replay { wake } => replay(tx, earlier, wake).await,
        Decision::KeyReused { wake } => Ok(Fate::KeyReused { wake }),
        Decision::Refuse(refusal) => {
            let (reason, status) = refusal.record();
            // The state that refused is kept: a repeated request with the same key gets the same answer.
            let error = match &refusal {
                Refusal::NotInvokable(status) => status.as_str().to_owned(),
                Refusal::Budget(block) => block.reason.clone(),
            };
            let wake = Wake {
                reason: Some(reason.into()),
                error: Some(error),
                ..record(agent, &request, admission, status, None)
            };
            wakes::insert(tx, &wake).await?;
            Ok(Fate::Refused { refusal })
        }
        Decision::Skip(reason) => {
            let wake = Wake {
                reason: Some(reason.as_str().into()),
                ..record(agent, &request, admission, WakeStatus::Skipped, None)
            };
            wakes::insert(tx, &wake).await?;
            Ok(Fate::Skipped { wake: Box::new(wake), reason })
        }
        Decision::Merge { into } => merge(tx, agent, &request, admission, &into).await,
        Decision::Fold { into } => {
            let wake = Wake {
                coalesced_count: 1,
                ..record(agent, &request, admission, WakeStatus::Coalesced, Some(&into))
            };
            wakes::insert(tx, &wake).await?;
            match runs::get(tx, &into).await? {
                Some(run) => Ok(Fate::Merged { run: Box::new(run) }),
                None => Ok(Fate::Skipped { wake: Box::new(wake), reason: SkipReason::NoWork }),
            }
        }
        Decision::Queue => queue(tx, agent, &policy, request, task_key, view, admission).await,
    }
}

async fn replay(tx: &mut Tx<'_>, earlier: Option<Wake>, id: WakeId) -> Result<Fate, StoreError> {
    let wake = match earlier {
        Some(wake) => wake,
        None => return Ok(Fate::KeyReused { wake: id }),
    };
    let refused_by = wake.error.as_deref().and_then(AgentStatus::parse);
    if let (WakeStatus::Failed, None, Some(status)) = (wake.status, &wake.run_id, refused_by) {
        return Ok(Fate::Refused { refusal: Refusal::NotInvokable(status) });
    }
    let run = match &wake.run_id {
        Some(run) => runs::get(tx, run).await?.map(Box::new),
        None => None,
    };
    Ok(Fate::Replayed { wake: Box::new(wake), run })
}

async fn merge(
    tx: &mut Tx<'_>,
    agent: &Agent,
    request: &WakeRequest,
    admission: &Admission,
    into: &RunId,
) -> Result<Fate, StoreError> {
    let wake =
        Wake { coalesced_count: 1, ..record(agent, request, admission, WakeStatus::Coalesced, Some(into)) };
    wakes::insert(tx, &wake).await?;
    // The agent is locked and claims lock it too, so the run that waited a statement ago waits still.
    let mut run = runs::lock(tx, into).await?.ok_or(StoreError::Row {
        statement: "runs::lock",
        column: 0,
        reason: "the run to join is gone".into(),
    })?;
    let existing = run.context.as_object().cloned().unwrap_or_default();
    run.context = Json::Object(wake::merge_context(&existing, &request.context));
    runs::replace_context(tx, into, &run.context, admission.now).await?;
    Ok(Fate::Merged { run: Box::new(run) })
}

async fn queue(
    tx: &mut Tx<'_>,
    agent: &Agent,
    policy: &HeartbeatPolicy,
    request: WakeRequest,
    task_key: String,
    view: WakeView,
    admission: &Admission,
) -> Result<Fate, StoreError> {
    let Admission { now, chain, .. } = admission;
    let waits_for_retry = chain.retry_at.is_some();
    let status = if waits_for_retry { RunStatus::ScheduledRetry } else { RunStatus::Queued };
    let context = Json::Object(request.context.clone());
    let session = session_of(tx, agent, &context, &task_key).await?;
    let load = runs::load_of_agent(tx, &agent.id).await?;
    let gate = claim::gate(&ClaimView {
        status,
        agent: Some(agent.status),
        slots: policy.max_concurrent_runs,
        agent_running: load.running,
        scope_running: view.scope.iter().any(|run| run.status == RunStatus::Running),
        instance_slots: admission.instance_slots,
        instance_running: admission.instance_running,
    });
    let wake = record(agent, &request, admission, WakeStatus::Queued, Some(&admission.run_id));
    let mut run = new_run(agent, &request, task_key, &wake, admission, status, session);
    wakes::insert(tx, &wake).await?;
    runs::insert(tx, &run).await?;
    let owner = (&agent.company_id, &agent.id, &run.id);
    let message = if waits_for_retry { "run scheduled for a retry" } else { "run queued" };
    let details = json!({
        "reason": request.reason, "source": request.source, "wakeupRequestId": wake.id,
        "retryOfRunId": chain.retry_of, "scheduledRetryAt": chain.retry_at,
    });
    signals::run_event(tx, owner, 1, signals::lifecycle("info", message, Some(details)), *now).await?;
    if !waits_for_retry {
        signals::run_queued(tx, &run, *now).await?;
    }
    match gate {
        // Whoever waited before for the slots of this agent comes first: the dispatcher knows the order.
        Gate::Open if load.queued == 0 => {
            let claimed = claim_locked(tx, agent, &mut run, &admission.claimer, *now).await?;
            Ok(Fate::Queued { run: Box::new(run), claimed })
        }
        // The agent is invokable, or the decision would have been a refusal: nothing ends here.
        Gate::Open | Gate::Held(_) | Gate::Ends(_) | Gate::NotWaiting => {
            Ok(Fate::Queued { run: Box::new(run), claimed: None })
        }
    }
}

/// The session that a run resumes is the one its task has when it starts, not when it was queued.
pub(crate) async fn renew_session(tx: &mut Tx<'_>, agent: &Agent, run: &mut Run) -> Result<(), StoreError> {
    let session = session_of(tx, agent, &run.context, &run.task_key).await?;
    if session != run.session_before {
        runs::set_session_before(tx, &run.id, session.as_deref()).await?;
        run.session_before = session;
    }
    Ok(())
}

async fn session_of(
    tx: &mut Tx<'_>,
    agent: &Agent,
    context: &Json,
    task_key: &str,
) -> Result<Option<String>, StoreError> {
    if context.get("forceFreshSession") == Some(&Json::Bool(true)) {
        return Ok(None);
    }
    let session = sessions::of_task(tx, &agent.id, &agent.adapter_type, task_key).await?;
    Ok(session.map(|session| session.session_id))
}

/// Claims a queued run whose gates are open, with its agent locked; `run` becomes what the row is.
pub(crate) async fn claim_locked(
    tx: &mut Tx<'_>,
    agent: &Agent,
    run: &mut Run,
    by: &Claimer,
    now: Moment,
) -> Result<Option<Claimed>, StoreError> {
    let Some(claimed) = leases::claim(tx, &run.id, by, now).await? else { return Ok(None) };
    wakes::mark_claimed(tx, &run.id, now).await?;
    run.status = RunStatus::Running;
    run.lease_epoch = claimed.lease.epoch;
    run.lease_holder = Some(by.holder);
    run.node_id = Some(by.node_id.clone());
    run.boot_id = Some(by.boot_id.clone());
    run.started_at = run.started_at.or(Some(now));
    run.updated_at = now;
    run.log_state = "folder".into();
    run.event_seq = claimed.seq;
    let started = signals::lifecycle("info", "run started", Some(json!({ "attempt": claimed.lease.epoch })));
    signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), claimed.seq, started, now).await?;
    signals::run_status(tx, run, now).await?;
    if agents::mark_running(tx, &agent.id, now).await? {
        let owner = (&agent.company_id, &agent.id);
        signals::agent_status(tx, owner, "running", Some("running"), agent.last_heartbeat_at, now).await?;
    }
    Ok(Some(claimed))
}

fn record(
    agent: &Agent,
    request: &WakeRequest,
    admission: &Admission,
    status: WakeStatus,
    run: Option<&RunId>,
) -> Wake {
    Wake {
        id: admission.wake_id.clone(),
        company_id: agent.company_id.clone(),
        agent_id: agent.id.clone(),
        source: request.source,
        trigger_detail: request.trigger_detail,
        reason: request.reason.clone(),
        payload: Json::Object(request.payload.clone()),
        status,
        coalesced_count: 0,
        actor_kind: request.actor.kind,
        actor_id: request.actor.id.clone(),
        idempotency_key: request.idempotency_key.clone(),
        body_hash: request.idempotency_key.as_ref().map(|_| request.body_hash.clone()),
        run_id: run.cloned(),
        requested_at: admission.now,
        claimed_at: None,
        finished_at: status.is_final().then_some(admission.now),
        error: None,
    }
}

fn new_run(
    agent: &Agent,
    request: &WakeRequest,
    task_key: String,
    wake: &Wake,
    admission: &Admission,
    status: RunStatus,
    session: Option<String>,
) -> Run {
    let Admission { now, chain, .. } = admission;
    Run {
        id: admission.run_id.clone(),
        company_id: agent.company_id.clone(),
        agent_id: agent.id.clone(),
        invocation_source: request.source,
        trigger_detail: request.trigger_detail,
        status,
        task_key,
        issue_id: request.context.get("issueId").and_then(Json::as_str).map(str::to_owned),
        wake_id: wake.id.clone(),
        context: Json::Object(request.context.clone()),
        retry_of_run_id: chain.retry_of.clone(),
        process_loss_retries: chain.process_loss_retries,
        retry_at: chain.retry_at,
        retry_attempt: chain.retry_attempt,
        retry_reason: chain.retry_reason.map(str::to_owned),
        created_at: *now,
        updated_at: *now,
        started_at: None,
        finished_at: None,
        lease_epoch: 0,
        lease_holder: None,
        node_id: None,
        boot_id: None,
        fresh_start_used: false,
        stop_asked_at: None,
        stop_words: None,
        error: None,
        error_code: None,
        exit_code: None,
        signal: None,
        usage: None,
        result: None,
        session_before: session,
        session_after: None,
        process_pid: None,
        process_group_id: None,
        process_started_at: None,
        log_offset: 0,
        log_bytes: None,
        log_sha256: None,
        log_state: "none".into(),
        last_output_at: None,
        last_output_seq: 0,
        last_output_stream: None,
        last_output_bytes: None,
        stdout_excerpt: None,
        stderr_excerpt: None,
        event_seq: 1,
    }
}

/// The agent a wake is for, locked: first in the order of locks (D15).
pub(crate) async fn lock_agent(tx: &mut Tx<'_>, id: &AgentId) -> Result<Option<Agent>, StoreError> {
    agents::lock(tx, id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_requests_have_equal_hashes_whatever_the_order_of_keys() {
        let one: Json = serde_json::from_str(r#"{"a": {"x": 1, "y": [1, 2]}, "b": null}"#).expect("valid");
        let two: Json = serde_json::from_str(r#"{"b": null, "a": {"y": [1, 2], "x": 1}}"#).expect("valid");
        let other: Json = serde_json::from_str(r#"{"b": null, "a": {"y": [2, 1], "x": 1}}"#).expect("valid");
        assert_eq!(body_hash(&one), body_hash(&two));
        assert_ne!(body_hash(&one), body_hash(&other));
    }
}
