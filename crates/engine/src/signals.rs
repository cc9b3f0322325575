//! What subscribers and the record hear of a change: the payloads of the wire, written in the same transaction.
//!
//! Event types and fields are those of spec/heartbeat.md 10.2.

use domain::ids::{AgentId, CompanyId, RunId};
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::accounts::StoredAccount;
use store::runs::{NewRunEvent, Run};
use store::{StoreError, Tx, events, runs};

/// `heartbeat.run.queued`.
pub(crate) async fn run_queued(tx: &mut Tx<'_>, run: &Run, now: Moment) -> Result<(), StoreError> {
    let payload = json!({
        "runId": run.id, "agentId": run.agent_id, "invocationSource": run.invocation_source,
        "triggerDetail": run.trigger_detail, "wakeupRequestId": run.wake_id,
    });
    append(tx, &run.company_id, "heartbeat.run.queued", &payload, now).await
}

/// `heartbeat.run.status`, with the run as it is after the change.
pub(crate) async fn run_status(tx: &mut Tx<'_>, run: &Run, now: Moment) -> Result<(), StoreError> {
    let payload = json!({
        "runId": run.id, "agentId": run.agent_id, "status": run.status, "invocationSource": run.invocation_source,
        "triggerDetail": run.trigger_detail, "error": run.error, "errorCode": run.error_code,
        "startedAt": run.started_at, "finishedAt": run.finished_at, "cancelRequestedAt": run.stop_asked_at,
    });
    append(tx, &run.company_id, "heartbeat.run.status", &payload, now).await
}

/// `agent.status`.
pub(crate) async fn agent_status(
    tx: &mut Tx<'_>,
    (company, agent): (&CompanyId, &AgentId),
    status: &str,
    outcome: Option<&str>,
    last_heartbeat_at: Option<Moment>,
    now: Moment,
) -> Result<(), StoreError> {
    let payload = json!({
        "agentId": agent, "status": status, "lastHeartbeatAt": last_heartbeat_at, "outcome": outcome,
    });
    append(tx, company, "agent.status", &payload, now).await
}

/// `account.status`, with the account as it is after the change.
pub(crate) async fn account_status(
    tx: &mut Tx<'_>,
    stored: &StoredAccount,
    now: Moment,
) -> Result<(), StoreError> {
    let park = stored.account.park();
    let payload = json!({
        "accountId": stored.id, "provider": stored.provider, "label": stored.label, "state": stored.account.state(),
        "reason": park.map(|park| park.why), "until": park.and_then(|park| park.until),
        "autoResume": stored.account.auto_resume,
    });
    append(tx, &stored.company_id, "account.status", &payload, now).await
}

/// Adds an event to a run under a drawn number, and tells the subscribers (`heartbeat.run.event`).
pub(crate) async fn run_event(
    tx: &mut Tx<'_>,
    owner: (&CompanyId, &AgentId, &RunId),
    seq: i64,
    event: NewRunEvent<'_>,
    now: Moment,
) -> Result<(), StoreError> {
    runs::add_event(tx, owner, seq, &event, now).await?;
    let payload = json!({
        "runId": owner.2, "agentId": owner.1, "seq": seq, "eventType": event.event_type, "stream": event.stream,
        "level": event.level, "color": null, "message": event.message, "payload": event.payload,
    });
    append(tx, owner.0, "heartbeat.run.event", &payload, now).await
}

/// A lifecycle event in words.
pub(crate) fn lifecycle<'a>(level: &'a str, message: &'a str, payload: Option<Json>) -> NewRunEvent<'a> {
    NewRunEvent { event_type: "lifecycle", stream: Some("system"), level, message, payload }
}

async fn append(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    kind: &str,
    payload: &Json,
    now: Moment,
) -> Result<(), StoreError> {
    events::append(tx, company.as_str(), kind, &payload.to_string(), now.micros()).await
}
