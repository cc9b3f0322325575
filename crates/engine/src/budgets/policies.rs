//! Budgets as people set and see them: a policy is made or changed, an incident decided, and what that lifts.
//!
//! What follows from an amount is `domain::budget`. The scope is locked first, then the policy, then its counter (D15).

use adapters::redacted;
use domain::agent::PauseReason;
use domain::budget::policy::{self as rule, Draft, Lift, UpsertView, Upserted};
use domain::budget::resolution::{self, Action, Resolution, ResolutionView};
use domain::budget::{
    Account, Counter, IncidentStatus, Level, Policy, Scope, ScopeKind, ScopeState, Threshold, Window,
    WindowKind,
};
use domain::ids::{AgentId, CompanyId, PolicyId};
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use serde_json::json;
use store::approvals::{self, Verdict};
use store::budgets::policies::{self, Standing};
use store::budgets::{counters, incidents, scopes};
use store::{StoreError, Tx, pauses};

use super::accounts::{self, Found};
use super::crossing;
use crate::activity::{Author, Scribe};
use crate::stops::{record, record_with};
use crate::{Engine, EngineError, gates};

/// The longest list of policies or incidents.
pub(super) const MOST_LISTED: i64 = 1_000;

/// A policy with what its window has seen; amounts are in the unit of the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicySummary {
    pub policy: Policy,
    pub company_id: CompanyId,
    pub scope_name: String,
    pub observed: i64,
    pub remaining: i64,
    /// What running runs hold of it.
    pub reserved: i64,
    pub utilization_percent: f64,
    pub status: Level,
    pub paused: bool,
    pub pause_reason: Option<PauseReason>,
    pub window: Window,
}

impl PolicySummary {
    /// What is spent stops the scope.
    fn stops(&self) -> bool {
        self.policy.stop_limit().is_some() && self.status == Level::HardStop
    }
}

/// An incident; amounts are in the unit of the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentSummary {
    pub id: String,
    pub company_id: CompanyId,
    pub policy_id: PolicyId,
    pub scope: Scope,
    pub scope_name: String,
    pub metric: domain::budget::Metric,
    pub window_kind: WindowKind,
    pub window: Window,
    pub threshold: Threshold,
    pub amount_limit: i64,
    pub amount_observed: i64,
    pub status: IncidentStatus,
    pub approval_id: Option<String>,
    pub approval_status: Option<String>,
    pub resolved_at: Option<Moment>,
    pub created_at: Moment,
    pub updated_at: Moment,
}

/// All budgets of a company.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetOverview {
    pub company_id: CompanyId,
    pub policies: Vec<PolicySummary>,
    /// Those that are open, newest first.
    pub incidents: Vec<IncidentSummary>,
    pub paused_agents: i64,
    pub paused_projects: i64,
    pub pending_approvals: i64,
}

impl Engine {
    /// Makes a policy or changes it; a raise lets go what it stopped. Without `is_proven` (that the author is a person,
    /// D19) nothing is loosened.
    pub async fn set_budget(
        &self,
        company: &CompanyId,
        draft: Draft,
        by: &Author,
        is_proven: bool,
    ) -> Result<PolicySummary, EngineError> {
        let context = (company.clone(), draft, self.inner.scribe(by));
        let saved = self
            .inner
            .write_unless(context, move |tx, (company, draft, scribe)| {
                Box::pin(async move { save(tx, &company, &draft, scribe, is_proven).await })
            })
            .await?;
        self.after_policy(company, saved).await
    }

    /// What follows the commit of a policy: it is counted, and stops its scope at once where the amount is spent.
    pub(crate) async fn after_policy(
        &self,
        company: &CompanyId,
        saved: Policy,
    ) -> Result<PolicySummary, EngineError> {
        // What settled while the first count was made is in this one.
        let now = self.now();
        let counted = self
            .inner
            .write((company.clone(), saved), move |tx, (company, policy)| {
                Box::pin(async move {
                    let window = policy.window.at(now);
                    counters::recount(tx, &policy.id, window, now).await?;
                    if let Some(account) = accounts::lock(tx, &policy.id, now).await? {
                        let origin = (policy.id.as_str(), "recount");
                        crossing::look(tx, &company, &[account], origin, now).await?;
                    }
                    summary(tx, &policy.id, now).await
                })
            })
            .await?;
        let shown = match counted.ok_or(EngineError::NotFound("Budget policy"))? {
            // Spent already: whoever set it hears what came of it.
            spent if spent.stops() && !spent.paused => {
                super::upkeep::enforce_all(&self.inner).await?;
                self.budget(&spent.policy.id).await?
            }
            shown => shown,
        };
        self.inner.budgets_changed();
        self.inner.look_again(company).await;
        Ok(shown)
    }

    /// Sets the monthly money of a company or an agent (`budgetMonthlyCents`); 0 is no limit. It is told of the scope, too.
    pub async fn set_monthly_budget(
        &self,
        company: &CompanyId,
        scope: Scope,
        cents: i64,
        by: &Author,
        is_proven: bool,
    ) -> Result<PolicySummary, EngineError> {
        let draft = Draft {
            scope,
            metric: None,
            window: Some(WindowKind::CalendarMonthUtc),
            amount: cents,
            warn_percent: None,
            hard_stop: None,
            notify: None,
            is_active: None,
        };
        let context = (company.clone(), draft, self.inner.scribe(by));
        let saved = self.inner.write_unless(context, move |tx, (company, draft, mut scribe)| {
            Box::pin(async move {
                let policy = save(tx, &company, &draft, scribe.clone(), is_proven).await?;
                scribe.skip();
                let action = match draft.scope.kind {
                    ScopeKind::Company => "company.budget_updated",
                    ScopeKind::Agent => "agent.budget_updated",
                    // It shows no monthly amount.
                    ScopeKind::Project => return Ok(policy),
                };
                let about = (draft.scope.kind.as_str(), draft.scope.id.as_str());
                let details = json!({ "budgetMonthlyCents": cents });
                scribe.tell(tx, &company, action, about, details).await?;
                Ok(policy)
            })
        });
        self.after_policy(company, saved.await?).await
    }

    /// All budgets of a company, with what is open.
    pub async fn budgets(&self, company: &CompanyId) -> Result<BudgetOverview, EngineError> {
        let now = self.now();
        let found = self.inner.read(company.clone(), move |tx, company| {
            Box::pin(async move {
                if store::companies::get(tx, &company).await?.is_none() {
                    return Ok(None);
                }
                overview(tx, company, now).await.map(Some)
            })
        });
        found.await?.ok_or(EngineError::NotFound("Company"))
    }

    /// One policy with its window of now.
    pub async fn budget(&self, policy: &PolicyId) -> Result<PolicySummary, EngineError> {
        let now = self.now();
        let found = self
            .inner
            .read(policy.clone(), move |tx, id| Box::pin(async move { summary(tx, &id, now).await }));
        found.await?.ok_or(EngineError::NotFound("Budget policy"))
    }

    /// Decides an incident: the budget is raised to `amount` and its scope goes on, or it stays paused.
    pub async fn resolve_budget_incident(
        &self,
        company: &CompanyId,
        incident: &str,
        action: Action,
        amount: Option<i64>,
        note: Option<String>,
        by: &Author,
    ) -> Result<IncidentSummary, EngineError> {
        let context = (company.clone(), incident.to_owned(), note, self.inner.scribe(by));
        let decided = self
            .inner
            .write_unless(context, move |tx, (company, incident, note, scribe)| {
                Box::pin(async move { decide(tx, &company, &incident, (action, amount), note, scribe).await })
            })
            .await?;
        self.inner.budgets_changed();
        self.inner.look_again(company).await;
        Ok(decided)
    }
}

/// Another request made the policy that this one was about to make.
fn made_at_once() -> EngineError {
    let message = "Somebody else set this budget at the same moment; look at it and set it again".to_owned();
    EngineError::Conflict { message, details: None }
}

fn unprocessable(text: &str) -> EngineError {
    EngineError::refused(Kind::Unprocessable, text)
}

/// Saves a policy with all that follows from it; gives it back as it is then.
pub(crate) async fn save(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    draft: &Draft,
    mut scribe: Scribe,
    is_proven: bool,
) -> Result<Policy, EngineError> {
    let now = scribe.now;
    let found = accounts::find_scope(tx, &draft.scope, true).await?;
    let (metric, kind) = draft.key();
    let all = match &found {
        Some(found) => accounts::of_scope(tx, &found.company, &draft.scope, now).await?,
        None => Vec::new(),
    };
    let (same, others): (Vec<Account>, Vec<Account>) =
        all.into_iter().partition(|it| it.policy.metric == metric && it.policy.window == kind);
    let existing = same.first().map(|account| account.policy.clone());
    let new_id = PolicyId(scribe.id());
    let idle = ScopeState::Project { reason: None };
    let view = |counter: Counter, known| UpsertView {
        company,
        scope_company: found.as_ref().map(|found| &found.company),
        scope: found.as_ref().map_or(idle, |found| found.state),
        existing: existing.as_ref(),
        new_id: new_id.clone(),
        counter,
        incidents: known,
        others: &others,
    };
    // Asked once for the refusals, before anything is written, and once with what the ledger says.
    let standing = match &existing {
        Some(policy) => accounts::lock(tx, &policy.id, now).await?,
        None => None,
    };
    let open = match &existing {
        Some(policy) => accounts::open_incidents(tx, &policy.id).await?,
        None => Vec::new(),
    };
    let counter = standing.map_or_else(|| Counter::empty(kind.at(now)), |account| account.counter);
    let unusable = |refusal: rule::Refusal| unprocessable(refusal.text());
    let planned = rule::upsert(draft, &view(counter, &open)).map_err(unusable)?;
    if planned.loosens && !is_proven {
        return Err(domain::access::Refusal::BoardTokenRequired.into());
    }
    let found = found.as_ref().ok_or(EngineError::NotFound("Budget scope"))?;
    store_policy(tx, company, &planned.policy, &scribe.by, now).await?;
    let window = planned.policy.window.at(now);
    counters::open(tx, &planned.policy.id, window, now).await?;
    let account = accounts::lock(tx, &planned.policy.id, now).await?.ok_or_else(made_at_once)?;
    let known = accounts::open_incidents(tx, &planned.policy.id).await?;
    let in_window = accounts::incidents_of(tx, &account).await?;
    let known: Vec<_> =
        known.into_iter().filter(|it| !in_window.contains(it)).chain(in_window.clone()).collect();
    let upserted = rule::upsert(draft, &view(account.counter.clone(), &known)).map_err(unusable)?;
    apply(tx, &mut scribe, company, found, &account, &upserted).await?;
    let Upserted { policy, .. } = upserted;
    let details = json!({
        "scopeType": policy.scope.kind, "scopeId": policy.scope.id, "metric": policy.metric,
        "windowKind": policy.window, "amount": policy.amount, "isActive": policy.is_active,
    });
    let words = details.to_string();
    let about = ("budget_policy", policy.id.as_str());
    scribe.tell(tx, company, rule::ACTIVITY, about, details).await?;
    let kept = record(company, &scribe.by.actor(), rule::ACTIVITY, policy.id.as_str(), &words, now);
    store::audit::append(tx, kept).await?;
    Ok(policy)
}

async fn apply(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &CompanyId,
    found: &Found,
    account: &Account,
    upserted: &Upserted,
) -> Result<(), StoreError> {
    let Upserted { policy, mirror, lift, crossing, .. } = upserted;
    if let Some(cents) = mirror {
        show(tx, &policy.scope, *cents, scribe.now).await?;
    }
    if let Some(lift) = lift {
        let note = Some(rule::APPROVAL_NOTE.to_owned());
        lift_all(tx, scribe, policy, account, lift, note).await?;
    }
    let account =
        Account { policy: policy.clone(), counter: Counter { warned_at: None, ..account.counter.clone() } };
    crossing::note(tx, scribe, company, &account, found, crossing).await
}

async fn store_policy(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    policy: &Policy,
    by: &Author,
    now: Moment,
) -> Result<(), StoreError> {
    let draft = policies::Draft {
        id: policy.id.clone(),
        company_id: company.clone(),
        scope_type: policy.scope.kind,
        scope_id: policy.scope.id.clone(),
        metric: policy.metric,
        window_kind: policy.window,
        amount: policy.amount,
        warn_percent: Some(policy.warn_percent),
        hard_stop_enabled: Some(policy.hard_stop),
        notify_enabled: Some(policy.notify),
        is_active: policy.is_active,
        by_user: by.user_id(),
    };
    policies::save(tx, &draft, now).await.map(|_| ())
}

/// Shows the monthly amount where people look for it.
async fn show(tx: &mut Tx<'_>, scope: &Scope, cents: i64, now: Moment) -> Result<(), StoreError> {
    match scope.kind {
        ScopeKind::Company => scopes::mirror_company(tx, &CompanyId(scope.id.clone()), cents, now).await,
        ScopeKind::Agent => scopes::mirror_agent(tx, &AgentId(scope.id.clone()), cents, now).await,
        ScopeKind::Project => Ok(()),
    }
}

/// Lets go what a policy stops no longer: the scope works, incidents are over, approvals are decided.
async fn lift_all(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    policy: &Policy,
    account: &Account,
    lift: &Lift,
    note: Option<String>,
) -> Result<(), StoreError> {
    let (now, start) = (scribe.now, account.counter.window.start);
    if lift.resume {
        super::pauses::resume(tx, &policy.scope, now).await?;
    }
    for incident in &lift.resolve {
        let status = if scribe.by.is_board() { "approved" } else { "cancelled" };
        let verdict = Verdict { status: status.to_owned(), note: note.clone(), by_user: scribe.by.user_id() };
        end_incident(tx, incident, IncidentStatus::Resolved, &verdict, now).await?;
    }
    counters::clear_marks(tx, &policy.id, start, now).await?;
    if lift.keep_warned {
        counters::mark_warned(tx, &policy.id, start, now).await?;
    }
    crossing::shortage_is_over(tx, &policy.id, "budget_changed", now).await
}

/// Ends an incident and decides the approval that waits for it.
pub(super) async fn end_incident(
    tx: &mut Tx<'_>,
    incident: &str,
    status: IncidentStatus,
    verdict: &Verdict,
    now: Moment,
) -> Result<(), StoreError> {
    let Some(found) = incidents::get(tx, incident).await? else { return Ok(()) };
    incidents::close(tx, incident, status, now).await?;
    if let Some(approval) = &found.approval_id {
        approvals::decide(tx, approval, verdict, now).await?;
    }
    Ok(())
}

async fn decide(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    id: &str,
    (action, amount): (Action, Option<i64>),
    note: Option<String>,
    mut scribe: Scribe,
) -> Result<IncidentSummary, EngineError> {
    let now = scribe.now;
    let missing = || EngineError::NotFound("Budget incident");
    let stored = incidents::get(tx, id).await?.filter(|it| it.company_id == *company).ok_or_else(missing)?;
    let scope = Scope { kind: stored.scope_type, id: stored.scope_id.clone() };
    let found = accounts::find_scope(tx, &scope, true).await?.ok_or_else(missing)?;
    let account = accounts::lock(tx, &stored.policy_id, now).await?.ok_or_else(missing)?;
    // Again behind the lock: of two decisions at once the first stands.
    let stored = incidents::get(tx, id).await?.ok_or_else(missing)?;
    let incident = stored.rule();
    let open = accounts::open_incidents(tx, &stored.policy_id).await?;
    let mut others = accounts::of_scope(tx, company, &scope, now).await?;
    others.retain(|it| it.policy.id != stored.policy_id);
    let view = ResolutionView {
        incident: &incident,
        account: &account,
        scope: found.state,
        incidents: &open,
        others: &others,
    };
    let resolved = resolution::resolve(&view, action, amount).map_err(|refusal| match refusal {
        resolution::Refusal::Decided(_) => EngineError::refused(Kind::Conflict, refusal.text()),
        _ => unprocessable(refusal.text()),
    })?;
    let reason = note.clone();
    // The request that came with the stop is decided with it.
    let asked = match &stored.approval_id {
        Some(approval) => approvals::get(tx, approval).await?,
        None => None,
    };
    let asked = asked.map(|asked| json!({ "id": asked.id, "hash": gates::hash_of_approval(&asked) }));
    match resolved {
        Resolution::KeptPaused => {
            let verdict = Verdict { status: "rejected".to_owned(), note, by_user: scribe.by.user_id() };
            end_incident(tx, id, IncidentStatus::Dismissed, &verdict, now).await?;
        }
        Resolution::Raised { policy, mirror, lift } => {
            store_policy(tx, company, &policy, &scribe.by, now).await?;
            if let Some(cents) = mirror {
                show(tx, &policy.scope, cents, now).await?;
            }
            lift_all(tx, &scribe, &policy, &account, &lift, note).await?;
        }
    }
    let details = json!({
        "action": action, "amount": amount, "scopeType": scope.kind, "scopeId": scope.id,
    });
    let mut kept = details.clone();
    kept["words"] = json!(details.to_string());
    kept["reason"] = json!(reason);
    kept["approval"] = json!(asked);
    scribe.tell(tx, company, resolution::ACTIVITY, ("budget_incident", id), details).await?;
    let kept = record_with(company, &scribe.by.actor(), resolution::ACTIVITY, id, &redacted(kept), now);
    store::audit::append(tx, kept).await?;
    let stored = incidents::get(tx, id).await?.ok_or_else(missing)?;
    Ok(incident_summary(tx, stored).await?)
}

async fn summary(tx: &mut Tx<'_>, id: &PolicyId, now: Moment) -> Result<Option<PolicySummary>, StoreError> {
    let Some(stored) = policies::get(tx, id).await? else { return Ok(None) };
    let start = stored.window_kind.at(now).start;
    let counter = counters::get(tx, id, start).await?;
    summarise(tx, &Standing { policy: stored, counter }, now).await.map(Some)
}

async fn summarise(tx: &mut Tx<'_>, standing: &Standing, now: Moment) -> Result<PolicySummary, StoreError> {
    let account = accounts::account(standing, now);
    let found = accounts::find_scope(tx, &account.policy.scope, false).await?;
    let (name, state) = found.map_or((String::new(), None), |found| (found.name, Some(found.state)));
    let reason = state.filter(|state| state.is_paused()).and_then(|state| match state {
        ScopeState::Company { reason, .. }
        | ScopeState::Agent { reason, .. }
        | ScopeState::Project { reason } => reason,
    });
    Ok(PolicySummary {
        company_id: standing.policy.company_id.clone(),
        scope_name: name,
        observed: account.observed(),
        remaining: account.remaining(),
        reserved: account.policy.metric.wire(account.counter.reserved),
        utilization_percent: account.utilization_percent(),
        status: account.level(),
        paused: state.is_some_and(ScopeState::is_paused),
        pause_reason: reason,
        window: account.counter.window,
        policy: account.policy,
    })
}

async fn incident_summary(
    tx: &mut Tx<'_>,
    stored: incidents::Incident,
) -> Result<IncidentSummary, StoreError> {
    let known = stored.rule();
    let scope = Scope { kind: stored.scope_type, id: stored.scope_id.clone() };
    let (metric, window_kind) = (stored.metric, stored.window_kind);
    let found = accounts::find_scope(tx, &scope, false).await?;
    let approval_status = match &stored.approval_id {
        Some(approval) => approvals::get(tx, approval).await?.map(|approval| approval.status),
        None => None,
    };
    Ok(IncidentSummary {
        id: stored.id,
        company_id: stored.company_id,
        policy_id: stored.policy_id,
        scope_name: found.map(|found| found.name).unwrap_or_default(),
        scope,
        metric,
        window_kind,
        window: Window { start: stored.window_start, end: stored.window_end },
        threshold: known.threshold,
        amount_limit: stored.amount_limit,
        amount_observed: stored.amount_observed,
        status: known.status,
        approval_id: stored.approval_id,
        approval_status,
        resolved_at: stored.resolved_at,
        created_at: stored.created_at,
        updated_at: stored.updated_at,
    })
}

async fn overview(tx: &mut Tx<'_>, company: CompanyId, now: Moment) -> Result<BudgetOverview, StoreError> {
    let month = WindowKind::CalendarMonthUtc.at(now).start;
    let mut listed = Vec::new();
    for standing in policies::list(tx, &company, month, None, MOST_LISTED).await? {
        listed.push(summarise(tx, &standing, now).await?);
    }
    let mut open = Vec::new();
    for stored in incidents::list_open(tx, &company, None, MOST_LISTED).await? {
        open.push(incident_summary(tx, stored).await?);
    }
    Ok(BudgetOverview {
        policies: listed,
        incidents: open,
        paused_agents: pauses::count_paused_agents(tx, &company).await?,
        paused_projects: scopes::count_paused_projects(tx, &company).await?,
        pending_approvals: approvals::count_pending(tx, &company).await?,
        company_id: company,
    })
}
