//! What is written when a budget's line is crossed: the incident, the approval that asks a person, and the activity.
//!
//! This happens in the transaction that crossed the line, so no crash loses it. Pausing the scope and stopping its runs
//! would take locks out of order there (D15): the sweep does it, and it finds open incidents by itself.

use domain::budget::crossing::{self as rule, ACTOR, APPROVAL_TYPE, Crossing, Record};
use domain::budget::meter::Shortfall;
use domain::budget::{Account, IncidentStatus, Level, Threshold};
use domain::ids::{AgentId, CompanyId, PolicyId};
use domain::moment::Moment;
use serde_json::json;
use sha2::{Digest, Sha256};
use store::approvals::{self, Approval};
use store::budgets::{counters, incidents};
use store::inbox::{self, InboxItem};
use store::{StoreError, Tx};

use super::accounts::{self, Found};
use crate::activity::{Author, Scribe};

/// Ids for what one posting sets off. They are made of what is posted, so that a second attempt makes the same ones.
pub(super) fn scribe((what, purpose): (&str, &str), now: Moment) -> Scribe {
    let digest = Sha256::digest(format!("{what}/{purpose}/{}", now.micros()).as_bytes());
    let mut random = [0; 16];
    random.copy_from_slice(&digest[..16]);
    Scribe::new(now, Author::System { part: ACTOR }, random)
}

/// Looks at accounts after a posting and writes down which lines they crossed. True: a scope is to be stopped.
pub(super) async fn look(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    accounts: &[Account],
    origin: (&str, &str),
    now: Moment,
) -> Result<bool, StoreError> {
    let mut stops = false;
    let mut scribe = scribe(origin, now);
    for account in accounts {
        let is_news = match account.level() {
            Level::Ok => false,
            Level::Warning => account.policy.notify && account.counter.warned_at.is_none(),
            Level::HardStop => true,
        };
        if !is_news {
            continue;
        }
        let Some(scope) = accounts::find_scope(tx, &account.policy.scope, false).await? else { continue };
        let known = accounts::incidents_of(tx, account).await?;
        let crossing = rule::cross(account, scope.state, &known);
        stops |= crossing.stops();
        note(tx, &mut scribe, company, account, &scope, &crossing).await?;
    }
    Ok(stops)
}

/// The cause of inbox items about budgets that do not cover one message.
const SHORT: &str = "budget_short";

/// Tells people that what is left does not cover a message. Nothing is stopped for it: cheaper work may go on.
pub(super) async fn tell_shortage(
    tx: &mut Tx<'_>,
    (company, agent): (&CompanyId, &AgentId),
    short: &Shortfall,
    now: Moment,
) -> Result<(), StoreError> {
    let details = json!({
        "policyId": short.policy, "scopeType": short.scope.kind, "scopeId": short.scope.id, "metric": short.metric,
        "needed": short.metric.wire(short.needed), "left": short.metric.wire(short.left), "agentId": agent,
    });
    let item = InboxItem {
        id: scribe((short.policy.as_str(), SHORT), now).id(),
        company_id: company.clone(),
        kind: "budget".to_owned(),
        entity_type: "budget_policy".to_owned(),
        entity_id: short.policy.0.clone(),
        cause: SHORT.to_owned(),
        title: "What is left of a budget does not cover one message; raise it to let the work go on"
            .to_owned(),
        details,
        owner_agent_id: Some(agent.clone()),
        opened_at: now,
        resolved_at: None,
        resolution: None,
    };
    inbox::open(tx, &item).await?;
    Ok(())
}

/// What was told of a policy's shortage is over: it was raised, or its next window has begun.
pub(super) async fn shortage_is_over(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    how: &str,
    now: Moment,
) -> Result<(), StoreError> {
    inbox::resolve_of(tx, policy.as_str(), Some(SHORT), how, now).await?;
    Ok(())
}

/// Writes a crossing down. The marks of the counter say who comes first; who comes second writes nothing.
pub(super) async fn note(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &CompanyId,
    account: &Account,
    scope: &Found,
    crossing: &Crossing,
) -> Result<(), StoreError> {
    let (id, start, now) = (&account.policy.id, account.counter.window.start, scribe.now);
    match crossing {
        Crossing::Nothing | Crossing::StillStopped { .. } => Ok(()),
        Crossing::Warned(record) => {
            if !counters::mark_warned(tx, id, start, now).await? {
                return Ok(());
            }
            write(tx, scribe, company, account, scope, Threshold::Soft, record).await
        }
        Crossing::Stopped { record, resolve, .. } => {
            let is_first = counters::mark_stopped(tx, id, start, now).await?;
            if !is_first && matches!(record, Record::Keep(_)) {
                return Ok(());
            }
            for soft in resolve {
                incidents::close(tx, soft, IncidentStatus::Resolved, now).await?;
            }
            write(tx, scribe, company, account, scope, Threshold::Hard, record).await
        }
    }
}

async fn write(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &CompanyId,
    account: &Account,
    scope: &Found,
    threshold: Threshold,
    record: &Record,
) -> Result<(), StoreError> {
    let (policy, counter, now) = (&account.policy, &account.counter, scribe.now);
    let (limit, observed) = (policy.amount, account.observed());
    let approval = match (threshold, record) {
        (Threshold::Hard, Record::Open | Record::Reopen(_)) => {
            Some(ask(tx, scribe, company, account, scope).await?)
        }
        (Threshold::Hard, Record::Keep(_)) | (Threshold::Soft, _) => None,
    };
    let incident = match record {
        Record::Keep(id) => id.clone(),
        Record::Reopen(id) => {
            incidents::reopen(tx, id, limit, observed, approval.as_deref(), now).await?;
            id.clone()
        }
        Record::Open => {
            let id = scribe.id();
            let incident = incidents::Incident {
                id: id.clone(),
                company_id: company.clone(),
                policy_id: policy.id.clone(),
                scope_type: policy.scope.kind,
                scope_id: policy.scope.id.clone(),
                metric: policy.metric,
                window_kind: policy.window,
                window_start: counter.window.start,
                window_end: counter.window.end,
                threshold_type: threshold,
                amount_limit: limit,
                amount_observed: observed,
                status: IncidentStatus::Open,
                approval_id: approval.clone(),
                resolved_at: None,
                created_at: now,
                updated_at: now,
            };
            incidents::open(tx, &incident).await?;
            id
        }
    };
    let details = json!({
        "policyId": policy.id, "scopeType": policy.scope.kind, "scopeId": policy.scope.id, "metric": policy.metric,
        "windowKind": policy.window, "amountLimit": policy.amount, "amountObserved": account.observed(),
        "amountReserved": policy.metric.wire(counter.reserved), "approvalId": approval,
    });
    scribe.tell(tx, company, threshold.activity(), ("budget_incident", &incident), details).await
}

/// Asks a person: a pending approval with what there is to decide. Returns its id.
async fn ask(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &CompanyId,
    account: &Account,
    scope: &Found,
) -> Result<String, StoreError> {
    let (policy, window) = (&account.policy, account.counter.window);
    let id = scribe.id();
    let payload = json!({
        "policyId": policy.id, "scopeType": policy.scope.kind, "scopeId": policy.scope.id, "scopeName": scope.name,
        "metric": policy.metric, "windowKind": policy.window, "windowStart": window.start, "windowEnd": window.end,
        "thresholdType": Threshold::Hard, "budgetAmount": policy.amount, "observedAmount": account.observed(),
        "reservedAmount": policy.metric.wire(account.counter.reserved),
        "guidance": "Raise the budget to let the work go on, or keep it paused.",
    });
    let approval = Approval {
        id: id.clone(),
        company_id: company.clone(),
        kind: APPROVAL_TYPE.to_owned(),
        requested_by_agent_id: None,
        requested_by_user_id: None,
        status: "pending".to_owned(),
        payload,
        decision_note: None,
        decided_by_user_id: None,
        decided_at: None,
        created_at: scribe.now,
        updated_at: scribe.now,
    };
    approvals::insert(tx, &approval).await?;
    Ok(id)
}
