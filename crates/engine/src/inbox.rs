//! What needs a person: what rules gave up on, and what waits for a decision.
//!
//! Items are opened and closed by whoever finds or settles them (recovery, budgets, silence). A run of an automation that
//! failed, is blocked, or was paused and does not go on by itself is an item as long as it stands so, under the id of the
//! run: nobody opens or closes it. One that was cancelled because nobody decided in time gets an item of its own, until
//! somebody has it go on: who cancelled a run by hand knows of it. Approvals, what agents ask on their issues, and gates of automations are shown beside
//! the items. Everything is bounded.

use domain::automation::AutomationRunStatus;
use domain::ids::{AutomationRunId, CompanyId};
use domain::moment::Moment;
use domain::recovery::InboxKind;
use serde_json::json;
use store::approvals::{self, Approval};
use store::automations::gates::{self, GateRow};
use store::automations::runs::AutomationRun;
use store::automations::standing::{self, StandingRun};
use store::inbox::{self, InboxItem};
use store::interactions::{self, Interaction};
use store::{StoreError, Tx, audit, companies};

use crate::activity::Author;
use crate::automations::{GateView, views_of_pending};
use crate::issues::Locks;
use crate::{Engine, EngineError, stops};
use domain::issue::refusal::Refusal;

/// The longest list of items.
pub const MOST_ITEMS: i64 = 500;
/// Runs of automations are counted up to here.
const MOST_RUNS: i64 = 1_000;
/// How much of the reason is in a title.
const REASON: usize = 200;

/// What needs a person in a company.
#[derive(Debug, Clone, PartialEq)]
pub struct Inbox {
    /// Newest first.
    pub items: Vec<InboxItem>,
    /// Those that wait for a decision, newest first.
    pub approvals: Vec<Approval>,
    /// Questions, suggestions and confirmations on open issues that wait for an answer, newest first.
    pub interactions: Vec<Interaction>,
    /// Gates of automations that wait for a decision, oldest first.
    pub gates: Vec<GateView>,
    /// How many items are open (of runs of automations the first thousand), and how many approvals and interactions wait.
    pub open: (i64, i64, i64),
    /// How many gates wait.
    pub open_gates: i64,
}

impl Engine {
    /// Returns what needs a person, the items before a place.
    pub async fn inbox(
        &self,
        company: &CompanyId,
        before: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Inbox, EngineError> {
        let limit = limit.clamp(1, MOST_ITEMS);
        let found = self.inner.read((company.clone(), before), move |tx, (company, before)| {
            Box::pin(async move {
                if companies::get(tx, &company).await?.is_none() {
                    return Ok(None);
                }
                Ok(Some(Inbox {
                    items: items(tx, &company, before, limit).await?,
                    approvals: approvals::list(tx, &company, Some("pending"), None, limit).await?,
                    interactions: interactions::waiting(tx, &company, limit).await?,
                    gates: views_of_pending(tx, &company, (Moment::from_micros(0), ""), limit).await?,
                    open: (
                        count_items(tx, &company).await?,
                        approvals::count_pending(tx, &company).await?,
                        interactions::count_waiting(tx, &company).await?,
                    ),
                    open_gates: gates::count_pending(tx, &company).await?,
                }))
            })
        });
        found.await?.ok_or(EngineError::NotFound("Company"))
    }

    /// Finds an item by its id, whatever company it belongs to.
    pub async fn inbox_item(&self, id: &str) -> Result<InboxItem, EngineError> {
        let found = self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { item(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Inbox item"))
    }

    /// A person says that an item needs nobody any more. What it was about is not touched: if it still stands, whoever
    /// found it opens another one. A run of an automation is an item again when it comes to stand so again.
    pub async fn resolve_inbox_item(&self, id: &str, by: &Author) -> Result<InboxItem, EngineError> {
        if !by.is_board() {
            return Err(Refusal::BoardRequired.into());
        }
        let resolved = self.inner.change(by, Locks::default(), id.to_owned(), |tx, mut scribe, _, id| {
            Box::pin(async move {
                let found = item(tx, &id).await?.ok_or(EngineError::NotFound("Inbox item"))?;
                let stands = found.kind == InboxKind::AutomationRun.as_str() && found.id == found.entity_id;
                let is_resolved = match stands {
                    true => standing::put_aside(tx, &AutomationRunId::from(id.as_str()), scribe.now).await?,
                    false => inbox::resolve(tx, &id, DISMISSED, scribe.now).await?,
                };
                if is_resolved {
                    let details = json!({ "kind": found.kind, "cause": found.cause, "title": found.title });
                    let about = (found.entity_type.as_str(), found.entity_id.as_str());
                    scribe.tell(tx, &found.company_id, "inbox.item_resolved", about, details).await?;
                    let (actor, now) = (scribe.by.actor(), scribe.now);
                    let action = "inbox.item_resolved";
                    let record = stops::record(&found.company_id, &actor, action, &id, &found.title, now);
                    audit::append(tx, record).await?;
                }
                item(tx, &id).await?.ok_or(EngineError::NotFound("Inbox item"))
            })
        });
        resolved.await
    }
}

/// The cause of an item about a run that was cancelled because nobody decided in time.
const EXPIRED: &str = "gate_expired";

/// Such an item, under a new id.
pub(crate) fn of_expired(run: &AutomationRun, automation: &str, gate: &GateRow, id: String) -> InboxItem {
    InboxItem {
        id,
        company_id: run.company_id.clone(),
        kind: InboxKind::AutomationRun.as_str().to_owned(),
        entity_type: "automation_run".to_owned(),
        entity_id: run.id.0.clone(),
        cause: EXPIRED.to_owned(),
        title: format!(
            "{automation} #{} was cancelled: nobody decided at {} in time",
            run.number, gate.node_id
        ),
        details: json!({
            "automationId": run.automation_id, "automation": automation, "number": run.number,
            "status": AutomationRunStatus::Cancelled, "nodeId": gate.node_id, "gateId": gate.id,
        }),
        owner_agent_id: None,
        opened_at: gate.decided_at.unwrap_or(run.updated_at),
        resolved_at: None,
        resolution: None,
    }
}

/// How an item ends that a person says needs nobody.
const DISMISSED: &str = "dismissed";

/// The open items of a company, newest first, before the given place.
async fn items(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<InboxItem>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    let runs = standing::list(tx, company, (at, &id), limit).await?;
    let mut all = inbox::list_open(tx, company, Some((at, id)), limit).await?;
    all.extend(runs.into_iter().map(of_run));
    all.sort_by(|one, other| (other.opened_at, &other.id).cmp(&(one.opened_at, &one.id)));
    all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(all)
}

/// Counts the open items of a company.
pub(crate) async fn count_items(tx: &mut Tx<'_>, company: &CompanyId) -> Result<i64, StoreError> {
    Ok(inbox::count_open(tx, company).await? + standing::count(tx, company, MOST_RUNS).await?)
}

async fn item(tx: &mut Tx<'_>, id: &str) -> Result<Option<InboxItem>, StoreError> {
    match inbox::get(tx, id).await? {
        Some(item) => Ok(Some(item)),
        None => Ok(standing::get(tx, &AutomationRunId::from(id)).await?.map(of_run)),
    }
}

/// A run of an automation as an item.
fn of_run(run: StandingRun) -> InboxItem {
    let (cause, words) = match run.status {
        AutomationRunStatus::Paused => {
            let kind = run.stop_kind.map_or("paused", |kind| kind.as_str());
            (run.guardrail.map_or(kind, |guardrail| guardrail.as_str()), "is paused")
        }
        AutomationRunStatus::Blocked => ("blocked", "is blocked"),
        _ => ("failed", "failed"),
    };
    let failure = run.last_failure.as_ref();
    let why = run.detail.as_deref().or_else(|| failure.and_then(|failure| failure["reason"].as_str()));
    let why = why.map_or(String::new(), |why| format!(": {}", why.chars().take(REASON).collect::<String>()));
    InboxItem {
        title: format!("{} #{} {words}{why}", run.automation, run.number),
        details: json!({
            "automationId": run.automation_id, "automation": run.automation, "number": run.number,
            "status": run.status, "stopKind": run.stop_kind, "guardrail": run.guardrail, "reason": run.detail,
            "lastFailure": run.last_failure,
        }),
        kind: InboxKind::AutomationRun.as_str().to_owned(),
        entity_type: "automation_run".to_owned(),
        entity_id: run.id.0.clone(),
        cause: cause.to_owned(),
        id: run.id.0,
        company_id: run.company_id,
        owner_agent_id: None,
        opened_at: run.since,
        resolved_at: run.aside_at,
        resolution: run.aside_at.map(|_| DISMISSED.to_owned()),
    }
}
