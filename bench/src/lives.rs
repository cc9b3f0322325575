//! The bare transactions of a run's life: the statements that the engine makes the store run, without the engine.
//!
//! Two transactions a life, as with a free slot: intake with claim, and settlement. It is the limit for the engine, so
//! what the engine writes must be written here too; payloads have the size of the real ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use domain::agent::{AgentStatus, Role};
use domain::ids::{AgentId, CompanyId, RunId, WakeId};
use domain::moment::Moment;
use domain::run::{Outcome, RunStatus};
use domain::wake::{ActorKind, Source, TriggerDetail, WakeStatus};
use engine::{Dice, SystemDice};
use serde_json::{Value as Json, json};
use store::agents::{self, Agent};
use store::companies::{self, Company};
use store::leases::{self, Claimer, End, Lease};
use store::runs::{self, NewRunEvent, Run};
use store::sessions::{self, RunSummary};
use store::wakes::{self, Wake};
use store::{Store, StoreError, Tx, events};

use crate::bench::now;

/// Adds a company and so many agents whose command is `true`; returns their ids.
pub(crate) async fn found(store: &Store, agents: usize) -> Result<(CompanyId, Vec<AgentId>)> {
    let at = now();
    let company = Company {
        id: CompanyId::mint(at, SystemDice.bytes()),
        name: "Bench".to_owned(),
        description: None,
        status: "active".to_owned(),
        issue_prefix: "BEN".to_owned(),
        issue_counter: 0,
        budget_monthly_cents: 0,
        require_approval: false,
        brand_color: None,
        created_at: at,
        updated_at: at,
    };
    let id = company.id.clone();
    let made: Vec<Agent> = (0..agents).map(|number| agent(&id, number, at)).collect();
    let ids = made.iter().map(|agent| agent.id.clone()).collect();
    store
        .write(move |tx| {
            let (company, made) = (company.clone(), made.clone());
            Box::pin(async move {
                companies::insert(tx, &company).await?;
                for agent in &made {
                    agents::insert(tx, agent).await?;
                }
                Ok(())
            })
        })
        .await?;
    Ok((id, ids))
}

fn agent(company: &CompanyId, number: usize, at: Moment) -> Agent {
    Agent {
        default_environment_id: None,
        id: AgentId::mint(at, SystemDice.bytes()),
        company_id: company.clone(),
        name: format!("agent {number}"),
        url_key: format!("agent-{number}"),
        role: Role::General,
        title: None,
        icon: None,
        status: AgentStatus::Idle,
        reports_to: None,
        capabilities: None,
        adapter_type: "process".to_owned(),
        adapter_config: json!({ "command": "/bin/true" }),
        runtime_config: json!({ "heartbeat": { "enabled": false, "maxConcurrentRuns": 10 } }),
        budget_monthly_cents: 0,
        pause_reason: None,
        paused_at: None,
        permissions: json!({ "canCreateAgents": false }),
        metadata: None,
        last_heartbeat_at: None,
        next_timer_at: None,
        created_at: at,
        updated_at: at,
    }
}

/// How many lives were lived, and how many in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Lived {
    pub(crate) count: u64,
    pub(crate) rate: f64,
}

impl Lived {
    pub(crate) fn new(count: u64, within: Duration) -> Lived {
        Lived { count, rate: count as f64 / within.as_secs_f64() }
    }
}

/// Lives lived one after another by `side_by_side` callers, each with an agent of its own.
pub(crate) async fn rate(
    store: &Arc<Store>,
    agents: &[AgentId],
    side_by_side: usize,
    span: Duration,
) -> Result<Lived> {
    let began = Instant::now();
    let count = Arc::new(AtomicU64::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for agent in agents.iter().take(side_by_side) {
        let (store, agent, count) = (Arc::clone(store), agent.clone(), Arc::clone(&count));
        callers.spawn(async move {
            while began.elapsed() < span {
                live(&store, &agent).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), StoreError>(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(Lived::new(count.load(Ordering::Relaxed), began.elapsed()))
}

/// One life: both transactions, each durable when it returns.
pub(crate) async fn live(store: &Store, agent: &AgentId) -> Result<(), StoreError> {
    let at = now();
    let (wake, run) = (WakeId::mint(at, SystemDice.bytes()), RunId::mint(at, SystemDice.bytes()));
    let id = agent.clone();
    let (lease, run) = store
        .write(move |tx| {
            let (id, wake, run) = (id.clone(), wake.clone(), run.clone());
            Box::pin(begin(tx, id, wake, run, at))
        })
        .await?;
    let at = now();
    store.write(move |tx| Box::pin(end(tx, lease.clone(), run.clone(), at))).await
}

async fn begin(
    tx: &mut Tx<'_>,
    agent: AgentId,
    wake: WakeId,
    run: RunId,
    at: Moment,
) -> Result<(Lease, Run), StoreError> {
    let agent = agents::lock(tx, &agent).await?.ok_or(StoreError::Closed)?;
    runs::in_scope(tx, &agent.id, "").await?;
    sessions::of_task(tx, &agent.id, &agent.adapter_type, "").await?;
    runs::load_of_agent(tx, &agent.id).await?;
    let wake = new_wake(&agent, wake, &run, at);
    let mut run = new_run(&agent, run, &wake, at);
    wakes::insert(tx, &wake).await?;
    runs::insert(tx, &run).await?;
    let claimer = Claimer {
        holder: 1,
        node_id: "bench".to_owned(),
        boot_id: "0f3e1c9a-52a3-4b0e-9a3f-6f1f2d5a7c11".to_owned(),
    };
    let details = json!({
        "reason": null, "source": "on_demand", "wakeupRequestId": wake.id, "retryOfRunId": null, "scheduledRetryAt": null,
    });
    run_event(tx, &run, 1, "run queued", details, at).await?;
    let queued = json!({
        "runId": run.id, "agentId": agent.id, "invocationSource": "on_demand", "triggerDetail": "manual",
        "wakeupRequestId": wake.id,
    });
    append(tx, &run, "heartbeat.run.queued", &queued, at).await?;
    let claimed = leases::claim(tx, &run.id, &claimer, at).await?.ok_or(StoreError::Closed)?;
    wakes::mark_claimed(tx, &run.id, at).await?;
    run_event(tx, &run, claimed.seq, "run started", json!({ "attempt": 1 }), at).await?;
    run.status = RunStatus::Running;
    run_status(tx, &run, at).await?;
    agents::mark_running(tx, &agent.id, at).await?;
    agent_status(tx, &run, "running", at).await?;
    Ok((claimed.lease, run))
}

async fn end(tx: &mut Tx<'_>, lease: Lease, mut run: Run, at: Moment) -> Result<(), StoreError> {
    let agent = agents::lock(tx, &run.agent_id).await?.ok_or(StoreError::Closed)?;
    let last = leases::settle(tx, &lease, &ending(), at).await?.ok_or(StoreError::Closed)?;
    let invoked = json!({
        "adapterType": "process", "command": "/bin/true", "commandArgs": [], "cwd": "/tmp/somewhere/agents/and-an-id",
        "commandNotes": [], "env": {
            "AGENT_HOME": "***REDACTED***", "BUGLE_AGENT_ID": "***REDACTED***", "BUGLE_API_URL": "***REDACTED***",
            "BUGLE_AGENT_NAME": "***REDACTED***", "BUGLE_COMPANY_ID": "***REDACTED***", "BUGLE_RUN_ID": "***REDACTED***",
            "PAPERCLIP_AGENT_ID": "***REDACTED***", "PAPERCLIP_API_URL": "***REDACTED***", "PATH": "***REDACTED***",
        },
    });
    run_event(tx, &run, last - 1, "adapter invocation", invoked, at).await?;
    let ended = json!({
        "status": "succeeded", "exitCode": 0, "errorCode": null, "error": null, "warnings": [], "followUp": "nothing",
        "survivorsKilled": 0,
    });
    run_event(tx, &run, last, "run succeeded", ended, at).await?;
    wakes::finish(tx, &run.id, WakeStatus::Completed, None, at).await?;
    run.status = RunStatus::Succeeded;
    run_status(tx, &run, at).await?;
    runs::count_running(tx, &agent.id).await?;
    agents::mark_rested(tx, &agent.id, AgentStatus::Idle, at).await?;
    agent_status(tx, &run, "idle", at).await?;
    let summary = RunSummary {
        run_id: run.id.clone(),
        status: RunStatus::Succeeded,
        error: None,
        session_id: None,
        input_tokens: 0,
        cached_input_tokens: 0,
        output_tokens: 0,
        cost_micros: 0,
    };
    sessions::add_run(tx, (&run.company_id, &agent.id, &agent.adapter_type), &summary, at).await
}

async fn run_event(
    tx: &mut Tx<'_>,
    run: &Run,
    seq: i64,
    message: &str,
    payload: Json,
    at: Moment,
) -> Result<(), StoreError> {
    let told = json!({
        "runId": run.id, "agentId": run.agent_id, "seq": seq, "eventType": "lifecycle", "stream": "system",
        "level": "info", "color": null, "message": message, "payload": payload,
    });
    let event = NewRunEvent {
        event_type: "lifecycle",
        stream: Some("system"),
        level: "info",
        message,
        payload: Some(payload),
    };
    runs::add_event(tx, (&run.company_id, &run.agent_id, &run.id), seq, &event, at).await?;
    append(tx, run, "heartbeat.run.event", &told, at).await
}

async fn run_status(tx: &mut Tx<'_>, run: &Run, at: Moment) -> Result<(), StoreError> {
    let payload = json!({
        "runId": run.id, "agentId": run.agent_id, "status": run.status, "invocationSource": "on_demand",
        "triggerDetail": "manual", "error": null, "errorCode": null, "startedAt": at, "finishedAt": null,
        "cancelRequestedAt": null,
    });
    append(tx, run, "heartbeat.run.status", &payload, at).await
}

async fn agent_status(tx: &mut Tx<'_>, run: &Run, status: &str, at: Moment) -> Result<(), StoreError> {
    let payload =
        json!({ "agentId": run.agent_id, "status": status, "lastHeartbeatAt": at, "outcome": "succeeded" });
    append(tx, run, "agent.status", &payload, at).await
}

async fn append(
    tx: &mut Tx<'_>,
    run: &Run,
    kind: &str,
    payload: &Json,
    at: Moment,
) -> Result<(), StoreError> {
    events::append(tx, run.company_id.as_str(), kind, &payload.to_string(), at.micros()).await
}

fn new_wake(agent: &Agent, id: WakeId, run: &RunId, at: Moment) -> Wake {
    Wake {
        id,
        company_id: agent.company_id.clone(),
        agent_id: agent.id.clone(),
        source: Source::OnDemand,
        trigger_detail: Some(TriggerDetail::Manual),
        reason: None,
        payload: json!({}),
        status: WakeStatus::Queued,
        coalesced_count: 0,
        actor_kind: ActorKind::User,
        actor_id: Some("local-board".to_owned()),
        idempotency_key: None,
        body_hash: None,
        run_id: Some(run.clone()),
        requested_at: at,
        claimed_at: None,
        finished_at: None,
        error: None,
        issue_id: None,
    }
}

fn new_run(agent: &Agent, id: RunId, wake: &Wake, at: Moment) -> Run {
    Run {
        trigger_detail: Some(TriggerDetail::Manual),
        context: json!({ "wakeSource": "on_demand", "wakeTriggerDetail": "manual" }),
        ..Run::waiting(id, (&agent.company_id, &agent.id), &wake.id, Source::OnDemand, at)
    }
}

fn ending() -> End {
    End {
        outcome: Outcome::Succeeded,
        error: None,
        error_code: None,
        exit_code: Some(0),
        signal: None,
        usage: None,
        result: Some(json!({
            "stopReason": "completed", "effectiveTimeoutSec": 0.0, "timeoutConfigured": false, "timeoutSource": "default",
            "timeoutFired": false, "endedBy": "itself", "containment": "none", "cpuMs": 0, "peakMemoryBytes": 0,
            "survivorsKilled": 0,
        })),
        session_after: None,
        session_note: None,
        log_offset: 0,
        log_bytes: Some(0),
        log_sha256: Some("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned()),
        last_output_at: None,
        last_output_seq: 0,
        last_output_stream: None,
        last_output_bytes: None,
        stdout_excerpt: None,
        stderr_excerpt: None,
        process_pid: None,
        process_group_id: None,
        process_started_at: None,
        finished_at: None,
        knows_of_stop: false,
        events: 2,
    }
}
