//! The sweep of budgets: what follows from an amount that is spent, raised, or of a window that is over.
//!
//! Each pass re-derives all of it from what is stored: open incidents say which scopes are to be stopped, marks on
//! counters of past windows which may go on, and the list of stopped runs whose work is to be taken up. A charge that
//! crosses a line rings it; whatever a crash left undone is found by the period.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::budget::crossing::{self as rule, ACTOR, STOP_WORDS};
use domain::budget::resume::{self, IssueView, StoppedRun, WAKE_REASON};
use domain::budget::{Account, IncidentStatus, Level, RunScopes, Scope, ScopeKind, Threshold};
use domain::ids::{AgentId, CompanyId, IssueId, RunId};
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::wake::{ActorKind, Source, TriggerDetail};
use serde_json::{Map, Value as Json, json};
use store::approvals::Verdict;
use store::budgets::stopped::{self, Stopped};
use store::budgets::{counters, incidents, reservations, scopes};
use store::orders::{self, NewOrder};
use store::runs::{self, Run};
use store::{StoreError, Tx, agents, issues};
use tokio::sync::Notify;

use super::door::{self, project_of};
use super::{accounts, crossing, pauses, policies};
use crate::automations::AttemptKey;
use crate::{Inner, stops};

/// Rows per page; passes go through all pages.
const PAGE: i64 = 100;
/// Runs of one scope that are taken up in one pass.
const MOST_RUNS: i64 = 500;
/// The longest sleep: a clock may jump.
const LONGEST: Duration = Duration::from_secs(30);

/// What rings for budgets.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    sweep: Notify,
    /// A run was held for a budget on this node: head-room that is given back is news to it.
    held: AtomicBool,
}

impl Bells {
    /// A line was crossed, or something may go on.
    pub(crate) fn ring(&self) {
        self.sweep.notify_one();
    }

    /// A run was held for a budget.
    pub(crate) fn somebody_waits(&self) {
        self.held.store(true, Ordering::Relaxed);
    }

    /// Head-room was given back; true when somebody waits for it.
    pub(crate) fn freed(&self) -> bool {
        self.held.swap(false, Ordering::Relaxed)
    }
}

impl Inner {
    /// Rings for what a posting set off, after its commit.
    pub(crate) fn after_charge(&self, charged: super::Charged) {
        if charged.stops {
            self.budgets.ring();
        }
        if charged.frees && self.budgets.freed() {
            self.lifted();
        }
    }

    /// Somebody set a budget or decided an incident: runs may start, stop, or be taken up.
    pub(super) fn budgets_changed(&self) {
        self.feed.ring();
        self.timers.notify_one();
        self.budgets.ring();
        self.lifted();
    }
}

pub(crate) async fn run(engine: Arc<Inner>) {
    loop {
        let pass = pass(&engine).await;
        let bell = &engine.budgets.sweep;
        if !crate::sweeps::rest(&engine, "budgets", bell, pass).await {
            return;
        }
    }
}

/// One pass over everything; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>) -> Result<Duration, StoreError> {
    if !engine.read((), |tx, ()| Box::pin(scopes::any_policy(tx))).await? {
        return Ok(LONGEST);
    }
    enforce_all(engine).await?;
    renew_all(engine).await?;
    take_up_all(engine).await?;
    give_back_forgotten(engine).await?;
    let next = engine.read((), |tx, ()| Box::pin(counters::next_stopped_end(tx))).await?;
    let until = next.map_or(LONGEST, |at| at.since(engine.clock.now()));
    Ok(until.min(engine.settings.period).clamp(Duration::from_millis(20), LONGEST))
}

/// Pauses every scope whose amount is spent, and stops what runs in it.
pub(super) async fn enforce_all(engine: &Arc<Inner>) -> Result<(), StoreError> {
    let mut after = (CompanyId(String::new()), Moment::from_micros(i64::MIN), String::new());
    loop {
        let page = engine
            .read(after.clone(), |tx, (company, at, id)| {
                Box::pin(async move { incidents::open_stops(tx, (&company, at, &id), PAGE).await })
            })
            .await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = (last.company_id.clone(), last.created_at, last.id.clone());
        let is_last = (page.len() as i64) < PAGE;
        for incident in page {
            if let Err(error) = enforce(engine, &incident).await {
                tracing::warn!(incident = %incident.id, %error, "cannot stop what a budget stops");
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

async fn enforce(engine: &Arc<Inner>, incident: &incidents::Incident) -> Result<(), StoreError> {
    let now = engine.clock.now();
    let stops = engine
        .write(incident.clone(), move |tx, incident| Box::pin(async move { pause(tx, &incident, now).await }))
        .await?;
    let Some(scope) = stops else { return Ok(()) };
    engine.feed.ring();
    let company = incident.company_id.clone();
    let working = match scope.kind {
        ScopeKind::Agent => vec![AgentId(scope.id.clone())],
        ScopeKind::Company | ScopeKind::Project => {
            let project = (scope.kind == ScopeKind::Project).then(|| scope.id.clone());
            engine
                .read((company.clone(), project), |tx, (company, project)| {
                    Box::pin(async move { scopes::working_agents(tx, &company, project.as_deref()).await })
                })
                .await?
        }
    };
    for agent in working {
        let context = (agent.clone(), incident.clone(), scope.clone());
        let report = engine
            .write(context, move |tx, (agent, incident, scope)| {
                Box::pin(async move { stop_agent(tx, &agent, &incident, &scope, now).await })
            })
            .await?;
        if report != stops::StopReport::default() {
            engine.after_stop(&Some(agent), &report, STOP_WORDS);
        }
    }
    Ok(())
}

/// The account of an incident that still stops its scope.
async fn stopping(
    tx: &mut Tx<'_>,
    incident: &incidents::Incident,
    now: Moment,
) -> Result<Option<Account>, StoreError> {
    let Some(account) = accounts::lock(tx, &incident.policy_id, now).await? else { return Ok(None) };
    let is_now = account.counter.window.start == incident.window_start;
    let is_open = incidents::get(tx, &incident.id).await?.is_some_and(|it| it.status == IncidentStatus::Open);
    Ok(Some(account).filter(|account| is_now && is_open && account.level() == Level::HardStop))
}

/// Pauses the scope of an incident; gives it back when its runs are to be stopped.
async fn pause(
    tx: &mut Tx<'_>,
    incident: &incidents::Incident,
    now: Moment,
) -> Result<Option<Scope>, StoreError> {
    let scope = Scope { kind: incident.scope_type, id: incident.scope_id.clone() };
    let Some(found) = accounts::find_scope(tx, &scope, true).await? else { return Ok(None) };
    let Some(account) = stopping(tx, incident, now).await? else { return Ok(None) };
    let known = accounts::incidents_of(tx, &account).await?;
    let crossing = rule::cross(&account, found.state, &known);
    let (rule::Crossing::Stopped { pause, .. } | rule::Crossing::StillStopped { pause }) = crossing else {
        return Ok(None);
    };
    let mut scribe = crossing::scribe((incident.id.as_str(), "enforce"), now);
    crossing::note(tx, &mut scribe, &incident.company_id, &account, &found, &crossing).await?;
    if pause {
        pauses::pause(tx, &scope, now).await?;
    }
    Ok(Some(scope))
}

/// Asks the running runs of one agent in a scope to stop, and remembers them.
async fn stop_agent(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    incident: &incidents::Incident,
    scope: &Scope,
    now: Moment,
) -> Result<stops::StopReport, StoreError> {
    let mut report = stops::StopReport::default();
    agents::lock(tx, agent).await?;
    let live = runs::live_of_agent(tx, agent).await?;
    let is_within = |run: &Run| {
        let project = project_of(run).map(str::to_owned);
        let (company, agent) = (run.company_id.clone(), run.agent_id.clone());
        RunScopes { company, agent, project }.are_within(scope)
    };
    let running: Vec<Run> = live
        .into_iter()
        .filter(|run| run.status == RunStatus::Running && run.stop_asked_at.is_none() && is_within(run))
        .collect();
    // It may have been raised between the pause and this.
    if running.is_empty() || !still_stops(tx, incident, now).await? {
        return Ok(report);
    }
    for run in &running {
        stops::stop_for_budget(tx, run, STOP_WORDS, &mut report, now).await?;
        let stopped = Stopped {
            run_id: run.id.clone(),
            company_id: run.company_id.clone(),
            agent_id: run.agent_id.clone(),
            scope_type: scope.kind,
            scope_id: scope.id.clone(),
            stopped_at: now,
        };
        stopped::remember(tx, &stopped).await?;
    }
    Ok(report)
}

/// The same as [`stopping`] without a lock: runs are written after this, and they come before counters (D15).
async fn still_stops(
    tx: &mut Tx<'_>,
    incident: &incidents::Incident,
    now: Moment,
) -> Result<bool, StoreError> {
    let scope = Scope { kind: incident.scope_type, id: incident.scope_id.clone() };
    let accounts = accounts::of_scope(tx, &incident.company_id, &scope, now).await?;
    Ok(accounts.iter().any(|it| {
        it.policy.id == incident.policy_id
            && it.counter.window.start == incident.window_start
            && it.level() == Level::HardStop
    }))
}

/// Lets go what windows stopped that are over.
async fn renew_all(engine: &Arc<Inner>) -> Result<(), StoreError> {
    loop {
        let now = engine.clock.now();
        let over = engine
            .read((), move |tx, ()| Box::pin(async move { counters::stopped_and_over(tx, now, PAGE).await }))
            .await?;
        let count = over.len() as i64;
        let mut companies: BTreeSet<CompanyId> = BTreeSet::new();
        for counter in over {
            engine
                .write(counter, move |tx, counter| Box::pin(async move { renew(tx, &counter, now).await }))
                .await?
                .map(|company| companies.insert(company));
        }
        if count > 0 {
            engine.feed.ring();
            engine.timers.notify_one();
            engine.lifted();
        }
        for company in &companies {
            engine.look_again(company).await;
        }
        if count < PAGE {
            return Ok(());
        }
    }
}

/// Returns the company in which something goes on again.
async fn renew(
    tx: &mut Tx<'_>,
    counter: &counters::Counter,
    now: Moment,
) -> Result<Option<CompanyId>, StoreError> {
    let Some(stored) = store::budgets::policies::get(tx, &counter.policy_id).await? else { return Ok(None) };
    let scope = stored.rule().scope;
    let found = accounts::find_scope(tx, &scope, true).await?;
    accounts::lock(tx, &counter.policy_id, now).await?;
    let old = incidents::of_window(tx, &counter.policy_id, counter.window_start, PAGE).await?;
    let mut kept_paused = false;
    for stored in &old {
        let incident = stored.rule();
        kept_paused |= incident.threshold == Threshold::Hard && incident.status == IncidentStatus::Dismissed;
        if incident.is_open() {
            let note = Some("The window of the budget is over".to_owned());
            let verdict = Verdict { status: "cancelled".to_owned(), note, by_user: None };
            policies::end_incident(tx, &incident.id, IncidentStatus::Resolved, &verdict, now).await?;
        }
    }
    let mut renewed = None;
    if let Some(found) = found {
        let accounts = accounts::of_scope(tx, &found.company, &scope, now).await?;
        if resume::renews(found.state, &accounts, kept_paused) {
            pauses::resume(tx, &scope, now).await?;
            renewed = Some(found.company);
        }
    }
    counters::clear_marks(tx, &counter.policy_id, counter.window_start, now).await?;
    Ok(renewed)
}

/// Orders wakes for work that was stopped in scopes that work again.
async fn take_up_all(engine: &Arc<Inner>) -> Result<(), StoreError> {
    let mut after: Option<(ScopeKind, String)> = None;
    let mut ordered = 0;
    loop {
        let page = engine
            .read(after.clone(), |tx, after| {
                Box::pin(async move {
                    let after = after.as_ref().map_or(("", ""), |(kind, id)| (kind.as_str(), id));
                    stopped::scopes(tx, after, PAGE).await
                })
            })
            .await?;
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        for (kind, id) in &page {
            ordered += take_up(engine, Scope { kind: *kind, id: id.clone() }).await?;
        }
        if (page.len() as i64) < PAGE {
            break;
        }
    }
    if ordered > 0 {
        engine.orders_bell();
    }
    Ok(())
}

/// Takes the work of one scope up; returns how many wakes were ordered.
async fn take_up(engine: &Arc<Inner>, scope: Scope) -> Result<usize, StoreError> {
    let now = engine.clock.now();
    let over = engine
        .read(scope.clone(), move |tx, scope| Box::pin(async move { ready(tx, &scope, now).await }))
        .await?;
    let views: Vec<StoppedRun> = over.iter().map(|(_, view)| view.clone()).collect();
    let wanted: Vec<RunId> = resume::rewake(&views).into_iter().map(|run| run.id.clone()).collect();
    let mut ordered = 0;
    for (run, view) in over {
        let is_wanted = wanted.contains(&run.id);
        let context = (run, view.issue.map(|issue| issue.id));
        let placed = engine
            .write(context, move |tx, (run, issue)| {
                Box::pin(async move { order(tx, &run, issue.as_ref(), is_wanted, now).await })
            })
            .await?;
        ordered += usize::from(placed);
    }
    Ok(ordered)
}

/// The stopped runs of a scope that are over and that nothing stops any more, each with what the rule looks at.
async fn ready(tx: &mut Tx<'_>, scope: &Scope, now: Moment) -> Result<Vec<(Run, StoppedRun)>, StoreError> {
    let Some(found) = accounts::find_scope(tx, scope, false).await? else { return Ok(Vec::new()) };
    if found.state.is_paused() {
        return Ok(Vec::new());
    }
    let mut ready = Vec::new();
    for row in stopped::of_scope(tx, (scope.kind, &scope.id), MOST_RUNS).await? {
        let Some(run) = runs::get(tx, &row.run_id).await?.filter(|run| run.status.is_final()) else {
            continue;
        };
        let Some(view) = look_at(tx, &run, row.stopped_at, now).await? else { continue };
        ready.push((run, view));
    }
    Ok(ready)
}

async fn look_at(
    tx: &mut Tx<'_>,
    run: &Run,
    stopped_at: Moment,
    now: Moment,
) -> Result<Option<StoppedRun>, StoreError> {
    let Some(agent) = agents::get(tx, &run.agent_id).await? else { return Ok(None) };
    let project = project_of(run);
    if !agent.status.is_invokable()
        || door::block(tx, &run.company_id, &agent.id, project, now).await?.is_some()
    {
        // Something else holds it now; it is looked at again.
        return Ok(None);
    }
    let issue = match &run.issue_id {
        Some(id) => issues::get(tx, &IssueId(id.clone())).await?.map(|issue| IssueView {
            id: issue.id,
            status: issue.status,
            assignee: issue.assignee_agent_id,
        }),
        None => None,
    };
    // What ended before the stop reached it has done its work.
    let was_followed = run.status != RunStatus::Cancelled
        || stopped::was_followed(tx, &run.agent_id, &run.task_key, &run.id, run.created_at).await?;
    Ok(Some(StoppedRun {
        id: run.id.clone(),
        agent: run.agent_id.clone(),
        agent_status: agent.status,
        task_key: Some(run.task_key.clone()).filter(|key| !key.is_empty()),
        issue,
        stopped_at,
        was_followed,
        is_step: AttemptKey::parse(&run.task_key).is_some(),
    }))
}

/// Takes a run off the list and orders its wake, in one transaction.
async fn order(
    tx: &mut Tx<'_>,
    run: &Run,
    issue: Option<&IssueId>,
    is_wanted: bool,
    now: Moment,
) -> Result<bool, StoreError> {
    agents::lock(tx, &run.agent_id).await?;
    if let Some(issue) = issue {
        issues::lock(tx, issue).await?;
    }
    if !stopped::forget(tx, &run.id).await? || !is_wanted {
        return Ok(false);
    }
    let order = NewOrder {
        company_id: run.company_id.clone(),
        agent_id: run.agent_id.clone(),
        issue_id: issue.cloned(),
        wake_id: None,
        source: Source::Automation,
        trigger_detail: Some(TriggerDetail::System),
        reason: WAKE_REASON.to_owned(),
        payload: json!({ "resumesRunId": run.id, "issueId": issue }),
        context: Json::Object(context(run)),
        actor_kind: ActorKind::System,
        actor_id: ACTOR.to_owned(),
        idempotency_key: None,
    };
    Ok(orders::place(tx, &order, now).await?.is_some())
}

/// What the new run is told: the task of the old one, and that it goes on. What woke the old one is not news any more.
fn context(run: &Run) -> Map<String, Json> {
    let carried = ["taskKey", "taskId", "issueId", "projectId", "projectWorkspaceId"];
    let old = run.context.as_object();
    let mut context: Map<String, Json> =
        carried.iter().filter_map(|key| Some(((*key).to_owned(), old?.get(*key)?.clone()))).collect();
    if !run.task_key.is_empty() {
        context.insert("taskKey".to_owned(), json!(run.task_key));
    }
    context.insert("wakeReason".to_owned(), json!(WAKE_REASON));
    context.insert("resumesRunId".to_owned(), json!(run.id));
    context
}

/// Gives back what runs hold that are over. There should be none; one that is found is said.
async fn give_back_forgotten(engine: &Arc<Inner>) -> Result<(), StoreError> {
    let forgotten =
        engine.read((), |tx, ()| Box::pin(async move { reservations::forgotten(tx, PAGE).await })).await?;
    let now = engine.clock.now();
    for run in forgotten {
        let released = engine
            .write(run.clone(), move |tx, run| {
                Box::pin(async move {
                    // Behind the lock: a claim that is not committed yet looks like a run that is not running.
                    let row = runs::lock(tx, &run).await?;
                    if row.is_some_and(|row| row.status == RunStatus::Running) {
                        return Ok(super::Charged::default());
                    }
                    super::release(tx, &run, now).await
                })
            })
            .await?;
        if released.frees {
            tracing::warn!(%run, "gave back what a run held that is over");
            engine.after_charge(released);
        }
    }
    Ok(())
}
