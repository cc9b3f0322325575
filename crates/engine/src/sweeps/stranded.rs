//! Looks for work that nothing works on, and sets it going again or gives it up.
//!
//! The settlement of a run has its issue looked at a moment later, and so has whatever else may leave it alone
//! (`check_at`): idle issues are due never. A slow walk, after each start and seldom afterwards, finds what nobody planned
//! a look for. What is done is decided by `domain::recovery::stranded`; promoting deferred wakes is another sweep's.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use domain::agent::HeartbeatPolicy;
use domain::ids::IssueId;
use domain::moment::Moment;
use domain::recovery::Cause;
use domain::recovery::last_run::{LastEnd, LastRun};
use domain::recovery::looks::{self, PausedAgent};
use domain::recovery::stranded::{self, Asked, Rest, Stranded, StrandedView};
use serde_json::Value as Json;
use store::issues::{self, Issue};
use store::runs::Run;
use store::{
    StoreError, Tx, agents, approvals, interactions, locks, orders, relations, runs_of_issues, wakes,
};
use tokio::time::Instant;

use crate::activity::Scribe;
use crate::attempts::{self, AUTHOR, Counts};
use crate::settlement::ties;
use crate::{Inner, budgets, issue_views, promotions};

/// Issues looked at in one pass.
const BATCH: i64 = 50;
/// Issues per page of the walk, and the rest between two pages: a thousandth of a core.
const PAGE: i64 = 200;
const BETWEEN_PAGES: Duration = Duration::from_secs(2);
/// Between two walks.
const WALK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// The longest sleep: a clock may jump, another node may plan a look.
const LONGEST: Duration = Duration::from_secs(30);

/// Of so many wakes that started nothing since the last run it is asked what turned them away.
const MOST_ASKED: i64 = 20;

pub(crate) async fn run(engine: Arc<Inner>) {
    let mut walk = Walk { after: String::new(), next: Instant::now() };
    loop {
        let pass = pass(&engine, &mut walk).await;
        if !super::rest(&engine, "issues that may be stranded", &engine.stranded, pass).await {
            return;
        }
    }
}

/// How far the walk is, and when its next page is due.
struct Walk {
    after: String,
    next: Instant,
}

/// Looks at what is due; returns how long there is nothing to do.
async fn pass(engine: &Arc<Inner>, walk: &mut Walk) -> Result<Duration, StoreError> {
    let now = engine.clock.now();
    if walk.next <= Instant::now() {
        let is_over = page(engine, walk, now).await?;
        walk.next = Instant::now() + if is_over { WALK_AGAIN } else { BETWEEN_PAGES };
    }
    clear_dead_locks(engine, now).await?;
    let due = engine
        .read((), move |tx, ()| Box::pin(async move { issues::to_check(tx, now, BATCH).await }))
        .await?;
    let is_full = due.len() as i64 == BATCH;
    let (mut failed, mut ordered) = (false, false);
    for issue in due {
        if engine.closing.is_cancelled() {
            return Ok(LONGEST);
        }
        match look_after(engine, &issue.id).await {
            Ok(is_ordered) => ordered |= is_ordered,
            // One issue's trouble is not another's.
            Err(error) => {
                tracing::warn!(issue = %issue.id, %error, "cannot look after the issue");
                failed = true;
                put_off(engine, &issue.id, now).await;
            }
        }
    }
    if ordered {
        engine.feed.ring();
        engine.orders_bell();
    }
    if failed {
        // It is due still, and would be at once again.
        return Ok(engine.settings.period);
    }
    if is_full {
        return Ok(Duration::ZERO);
    }
    let next = engine.read((), |tx, ()| Box::pin(issues::next_check(tx))).await?;
    let next = next.map_or(LONGEST, |at| at.since(engine.clock.now()));
    let walk = walk.next.saturating_duration_since(Instant::now());
    Ok(next.min(walk).clamp(Duration::from_millis(20), LONGEST))
}

/// An issue that cannot be looked after is looked at later: were it due still, a batch of its kind would keep all others
/// from being looked at.
async fn put_off(engine: &Arc<Inner>, issue: &IssueId, now: Moment) {
    let later = Some(now.plus(looks::SOONEST));
    let put = engine.write(issue.clone(), move |tx, issue| {
        Box::pin(async move { issues::set_check_at(tx, &issue, later).await })
    });
    if let Err(error) = put.await {
        tracing::warn!(%issue, %error, "cannot put the look at the issue off");
    }
}

/// Plans a look at what may have been left on one page; true when the walk is over.
async fn page(engine: &Arc<Inner>, walk: &mut Walk, now: Moment) -> Result<bool, StoreError> {
    let found = engine
        .read(walk.after.clone(), |tx, after| {
            Box::pin(async move { issues::maybe_left(tx, &after, PAGE).await })
        })
        .await?;
    let is_over = (found.len() as i64) < PAGE;
    walk.after = match found.last() {
        Some((last, _)) if !is_over => last.0.clone(),
        Some(_) | None => String::new(),
    };
    let left: Vec<IssueId> = found.into_iter().filter(|(_, left)| *left).map(|(id, _)| id).collect();
    if !left.is_empty() {
        engine
            .write(left, move |tx, left| {
                Box::pin(async move {
                    for id in left {
                        // Locked by somebody else in another order than by id? They are: the walk goes by id.
                        issues::set_check_at(tx, &id, Some(now)).await?;
                    }
                    Ok(())
                })
            })
            .await?;
    }
    Ok(is_over)
}

/// Locks whose run is over were left by a server that died between its commits; they bind nobody, and who waits
/// behind them goes on.
async fn clear_dead_locks(engine: &Arc<Inner>, now: Moment) -> Result<(), StoreError> {
    let dead = engine.read((), |tx, ()| Box::pin(async move { locks::dead(tx, "", BATCH).await })).await?;
    if dead.is_empty() {
        return Ok(());
    }
    for (issue, _) in dead {
        let freed = engine.write(issue.clone(), move |tx, issue| {
            Box::pin(async move { ties::free(tx, &issue, now).await })
        });
        match freed.await {
            Ok(waiting) => waiting.iter().for_each(|agent| engine.doorbell.ring(agent)),
            // One issue's trouble is not another's.
            Err(error) => tracing::warn!(%issue, %error, "cannot clear the dead lock of the issue"),
        }
    }
    engine.orders_bell();
    Ok(())
}

/// Looks after one issue in a transaction of its own; true when somebody was woken or told.
async fn look_after(engine: &Arc<Inner>, issue: &IssueId) -> Result<bool, StoreError> {
    let scribe = engine.scribe(&AUTHOR);
    engine
        .write((issue.clone(), scribe), |tx, (id, mut scribe)| {
            Box::pin(async move {
                let now = scribe.now;
                let Some(issue) = issues::lock(tx, &id).await? else { return Ok(false) };
                // Another server may have been faster.
                if issue.check_at.is_none_or(|at| at > now) {
                    return Ok(false);
                }
                // What became of others who were mentioned says nothing of the work.
                let last = match &issue.assignee_agent_id {
                    Some(agent) => runs_of_issues::latest(tx, &id, agent).await?,
                    None => None,
                };
                let since = last.as_ref().and_then(|run| run.finished_at).unwrap_or(issue.updated_at);
                let view = view(tx, &issue, Asked::BySweep, last.as_ref(), now).await?;
                match decide(tx, &issue, view).await? {
                    Stranded::Rest(rest) => {
                        issues::set_check_at(tx, &id, looks::again(rest, since, now)).await?;
                        if rest == Rest::AgentPaused {
                            show_long_pause(tx, &mut scribe, &issue).await?;
                        }
                        Ok(false)
                    }
                    Stranded::Wake(order) => {
                        attempts::order(tx, &issue.company_id, &order, None, now).await?;
                        issues::set_check_at(tx, &id, Some(now.plus(looks::LATEST))).await?;
                        Ok(true)
                    }
                    Stranded::Block(block) => {
                        attempts::give_up(tx, &mut scribe, &issue, &block).await?;
                        Ok(true)
                    }
                }
            })
        })
        .await
}

/// Tells people of an agent that was paused long ago while the issue waits for it.
async fn show_long_pause(tx: &mut Tx<'_>, scribe: &mut Scribe, issue: &Issue) -> Result<(), StoreError> {
    let Some(id) = &issue.assignee_agent_id else { return Ok(()) };
    let Some(agent) = agents::get(tx, id).await? else { return Ok(()) };
    let paused = PausedAgent {
        id: agent.id,
        name: agent.name,
        status: agent.status,
        reason: agent.pause_reason,
        since: agent.paused_at,
    };
    if let Some(item) = looks::long_pause(&paused, &issue.id, &issue.identifier, scribe.now) {
        attempts::open_item(tx, scribe, &issue.company_id, &item).await?;
    }
    Ok(())
}

/// Decides, and finds somebody to tell only when there is something to be told.
pub(crate) async fn decide(
    tx: &mut Tx<'_>,
    issue: &Issue,
    view: StrandedView,
) -> Result<Stranded, StoreError> {
    let decision = stranded::decide(&view);
    if !matches!(decision, Stranded::Block(_)) {
        return Ok(decision);
    }
    let owner = attempts::owner(tx, issue).await?;
    Ok(stranded::decide(&StrandedView { owner, ..view }))
}

/// What the rule looks at; the issue is locked. `last` is the run that ended last.
pub(crate) async fn view(
    tx: &mut Tx<'_>,
    issue: &Issue,
    asked: Asked,
    last: Option<&Run>,
    now: Moment,
) -> Result<StrandedView, StoreError> {
    let in_work = issue.status.is_in_work();
    let agent = match issue.assignee_agent_id.as_ref().filter(|_| in_work) {
        Some(id) => agents::get(tx, id).await?.filter(|agent| agent.company_id == issue.company_id),
        None => None,
    };
    let last = last.and_then(last_run);
    let mut view = StrandedView {
        asked,
        issue: issue.id.clone(),
        identifier: issue.identifier.clone(),
        status: issue.status,
        assignee: issue.assignee_agent_id.clone(),
        assigned_to_user: issue.assignee_user_id.is_some(),
        agent: agent.as_ref().map(|agent| agent.status),
        takes_wakes: agent.as_ref().is_some_and(|agent| {
            HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type).wake_on_demand
        }),
        last_run: last.as_ref().map(|(run, _)| run.clone()),
        turned_away: false,
        checkout_run: issue.checkout_run_id.clone(),
        carried_on: false,
        held: false,
        blocked_by_others: false,
        awaits_decision: false,
        budget_blocked: false,
        account_parked: false,
        stranded_attempts: 0,
        continuation_attempts: 0,
        owner: None,
    };
    if !in_work {
        return Ok(view);
    }
    view.carried_on = is_carried_on(tx, issue, now).await?;
    if view.carried_on {
        return Ok(view);
    }
    view.held = issue_views::pause_hold(tx, &issue.id).await?.is_some();
    view.blocked_by_others = !relations::is_ready(tx, &issue.id).await?;
    view.awaits_decision = !awaiting_decision(tx, slice::from_ref(&issue.id)).await?.is_empty();
    if let Some(agent) = &agent {
        let project = issue.project_id.as_deref();
        view.budget_blocked = budgets::block(tx, &issue.company_id, &agent.id, project, now).await?.is_some();
        view.account_parked = match &last {
            Some((run, ended)) if run.end == LastEnd::AccountParked => {
                is_parked(tx, agent, ended, now).await?
            }
            Some(_) | None => false,
        };
    }
    if let (Asked::BySweep, Some(agent), Some((_, ended))) = (asked, &issue.assignee_agent_id, &last) {
        let since = ended.finished_at.unwrap_or(ended.created_at);
        let idle = wakes::without_effect(tx, (&issue.id, agent), since, MOST_ASKED).await?;
        view.turned_away =
            idle.iter().any(|wake| wake.reason.as_deref().is_some_and(domain::wake::is_turned_away));
    }
    let counts = Counts::read(tx, &issue.id).await?;
    view.stranded_attempts = counts.of(Cause::Stranded);
    view.continuation_attempts = counts.of(Cause::Continuation);
    Ok(view)
}

/// Something is known to carry the issue on: a run that is not over, also of another issue that has taken this one, a
/// wake that is ordered, or a deferred one that may go on. What is deferred for an agent that is kept from its work
/// carries nothing on.
pub(crate) async fn is_carried_on(tx: &mut Tx<'_>, issue: &Issue, now: Moment) -> Result<bool, StoreError> {
    Ok(runs_of_issues::has_live(tx, &issue.id).await?
        || !orders::of_issue(tx, &issue.id, 1).await?.is_empty()
        || locks::holder(tx, &issue.id).await?.is_some_and(|holder| holder.is_live)
        || promotions::look(tx, Some(issue), now).await?.promoted().is_some())
}

/// Those of these issues about which somebody was asked something and has not answered.
pub(crate) async fn awaiting_decision(
    tx: &mut Tx<'_>,
    issues: &[IssueId],
) -> Result<BTreeSet<IssueId>, StoreError> {
    let asked = interactions::waiting_on(tx, issues).await?;
    Ok(asked.into_iter().chain(approvals::waiting_on(tx, issues).await?).collect())
}

/// A run that is over, as the rule sees it, with the row.
fn last_run(run: &Run) -> Option<(LastRun, &Run)> {
    let stop_reason = run.result.as_ref().and_then(|result| result.get("stopReason")).and_then(Json::as_str);
    let stop_reason = stop_reason.and_then(domain::ending::StopReason::parse);
    let end = LastEnd::read(run.status, run.error_code.as_deref(), stop_reason)?;
    let last = LastRun {
        id: run.id.clone(),
        agent: run.agent_id.clone(),
        status: run.status,
        end,
        error_code: run.error_code.clone(),
    };
    Some((last, run))
}

/// An agent whose account is not known waits: until the provider's time, or until one of its runs succeeded again. Trying
/// costs nothing but also gives nothing: whoever logged in wakes the agent. Where the account is known, a run waits for it
/// in the queue, and carries the issue on.
async fn is_parked(
    tx: &mut Tx<'_>,
    agent: &agents::Agent,
    ended: &Run,
    now: Moment,
) -> Result<bool, StoreError> {
    let not_before = ended.result.as_ref().and_then(|result| result.get("retryNotBefore"));
    if let Some(until) = not_before.and_then(Json::as_str).and_then(Moment::parse) {
        return Ok(until > now);
    }
    let succeeded = runs_of_issues::last_success(tx, &agent.id).await?;
    Ok(succeeded.is_none_or(|at| ended.finished_at.is_some_and(|ended| at <= ended)))
}
