//! Taking an issue, giving it back, and taking it away.
//!
//! What is decided is `domain::issue::checkout`; here are its facts and what it writes. A checkout in the name of a run
//! takes both locks: the checkout, and, when the run is live and its agent the assignee, the execution lock.

use domain::ids::{AgentId, IssueId, RunId};
use domain::issue::checkout::{AssigneeFacts, CheckedOut, CheckoutView, check_out, force_release, release};
use domain::issue::refusal::{Kind, Refusal};
use domain::issue::{Editor, IssueStatus, notices};
use domain::moment::Moment;
use domain::run::RunStatus;
use serde_json::json;
use store::issues::{self, Issue};
use store::{Tx, audit, inbox, locks, recoveries, runs};

use super::care::{agent_in, check_open};
use super::facts::{self, Locks};
use super::{guard, tidings};
use crate::activity::{Author, Scribe};
use crate::{Engine, EngineError, issue_views, stops};

/// What a caller expects of an issue that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The agent that is to work on it.
    pub agent: AgentId,
    /// In one of these statuses.
    pub expected: Vec<IssueStatus>,
}

/// An issue whose locks were taken away.
#[derive(Debug, Clone, PartialEq)]
pub struct ForceReleased {
    pub issue: Issue,
    pub previous_checkout: Option<RunId>,
    pub previous_execution: Option<RunId>,
}

impl Engine {
    /// Takes an issue for an agent.
    pub async fn checkout_issue(
        &self,
        issue: &IssueId,
        checkout: Checkout,
        by: &Author,
    ) -> Result<Issue, EngineError> {
        if checkout.expected.is_empty() {
            let mut sheet = super::Sheet::default();
            sheet.wrong("expectedStatuses", "must not be empty", "name the statuses you expect");
            sheet.finish()?;
        }
        let context = (issue.clone(), checkout);
        let taken =
            self.inner.change(by, Locks::of(issue), context, |tx, mut scribe, locks, (id, checkout)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&id).ok_or(Refusal::IssueNotFound)?;
                    take(tx, &mut scribe, issue, checkout).await
                })
            });
        taken.await
    }

    /// Gives an issue back: it is `todo` and nobody's.
    pub async fn release_issue(&self, issue: &IssueId, by: &Author) -> Result<Issue, EngineError> {
        let released = self.inner.change(by, Locks::of(issue), issue.clone(), |tx, mut scribe, locks, id| {
            Box::pin(async move {
                let locked = locks.take(tx).await?;
                let issue = locked.issues.get(&id).ok_or(Refusal::IssueNotFound)?;
                give_back(tx, &mut scribe, issue).await
            })
        });
        released.await
    }

    /// Takes all locks of an issue away, and its assignee if asked. Only a named person may, and it is audited.
    pub async fn force_release_issue(
        &self,
        issue: &IssueId,
        clear_assignee: bool,
        by: &Author,
    ) -> Result<ForceReleased, EngineError> {
        let context = (issue.clone(), clear_assignee);
        let released =
            self.inner.change(by, Locks::of(issue), context, |tx, mut scribe, locks, (id, clear)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&id).ok_or(Refusal::IssueNotFound)?;
                    take_away(tx, &mut scribe, issue, clear).await
                })
            });
        released.await
    }
}

async fn take(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    checkout: Checkout,
) -> Result<Issue, EngineError> {
    let (id, company, now) = (&issue.id, &issue.company_id, scribe.now);
    agent_in(tx, scribe, company).await?;
    check_open(tx, issue).await?;
    let editor = scribe.editor(tx).await?;
    let hold = facts::pause_hold(tx, id).await?;
    let verified = match (&hold, editor.run()) {
        (Some(_), Some(run)) => verified(tx, id, &run.id).await?,
        (Some(_) | None, _) => false,
    };
    let target_facts: AssigneeFacts = facts::assignee(tx, company, &checkout.agent).await?;
    let view = CheckoutView {
        custody: Some(facts::custody(tx, issue).await?),
        project_paused: facts::project_pause(tx, issue).await?,
        target: checkout.agent,
        target_facts,
        expected: checkout.expected,
        hold,
        verified,
        blockers: facts::open_blockers(tx, id).await?,
    };
    let outcome = check_out(&view, &editor)?;
    let run = editor.run().map(|run| run.id.clone());
    match &outcome {
        CheckedOut::Taken => {
            let after = taken(issue, &view.target, now);
            issues::update(tx, &after).await?;
            let is_others = issue.assignee_agent_id.as_ref() != Some(&view.target);
            if is_others || run.is_none() {
                locks::clear(tx, id).await?;
            }
            if let Some(run) = &run {
                let seen = if is_others { None } else { issue.checkout_run_id.as_ref() };
                lock(tx, scribe, id, (seen, run), &view.target).await?;
            }
        }
        CheckedOut::LockTaken | CheckedOut::Adopted { .. } => {
            if let Some(run) = &run {
                lock(tx, scribe, id, (issue.checkout_run_id.as_ref(), run), &view.target).await?;
            } else if issue.checkout_run_id.is_some() {
                locks::check_out(tx, id, issue.checkout_run_id.as_ref(), None).await?;
            }
            issues::touch(tx, id, now).await?;
        }
        CheckedOut::Unchanged => {}
    }
    let details = json!({
        "agentId": view.target, "identifier": issue.identifier, "status": "in_progress", "runId": run,
    });
    scribe.tell_issue(tx, company, "issue.checked_out", id, details).await?;
    if let CheckedOut::Adopted { previous } = &outcome {
        let details = json!({
            "previousCheckoutRunId": previous, "checkoutRunId": run, "reason": domain::issue::checkout::ADOPTED,
        });
        scribe.tell_issue(tx, company, "issue.checkout_lock_adopted", id, details).await?;
    }
    touched_by_person(tx, scribe, id).await?;
    tidings::send(tx, scribe, company, &notices::checked_out(id, &view.target, &editor)).await?;
    Ok(issues::get(tx, id).await?.ok_or(Refusal::IssueNotFound)?)
}

/// The run takes the checkout from where it was seen, and the execution lock if it is live.
async fn lock(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    issue: &IssueId,
    (seen, run): (Option<&RunId>, &RunId),
    agent: &AgentId,
) -> Result<(), EngineError> {
    locks::check_out(tx, issue, seen, Some(run)).await?;
    if let Some(row) = runs::get(tx, run).await?.filter(|row| row.status == RunStatus::Running) {
        locks::take(tx, issue, (run, row.lease_epoch), agent, scribe.now).await?;
    }
    Ok(())
}

fn taken(issue: &Issue, agent: &AgentId, now: Moment) -> Issue {
    Issue {
        status: IssueStatus::InProgress,
        assignee_agent_id: Some(agent.clone()),
        assignee_user_id: None,
        started_at: Some(now),
        completed_at: None,
        cancelled_at: None,
        waits_on_blockers: false,
        last_activity_at: now,
        updated_at: now,
        ..issue.clone()
    }
}

/// Whether a comment of a person or an agent, and not a rule, is behind the run.
async fn verified(tx: &mut Tx<'_>, issue: &IssueId, run: &RunId) -> Result<bool, EngineError> {
    let Some(since) = issue_views::held_since(tx, issue).await? else { return Ok(false) };
    let Some(row) = runs::get(tx, run).await? else { return Ok(false) };
    let Some(context) = row.context.as_object() else { return Ok(false) };
    Ok(issue_views::verified(tx, &row, issue, context, since).await?)
}

async fn give_back(tx: &mut Tx<'_>, scribe: &mut Scribe, issue: &Issue) -> Result<Issue, EngineError> {
    let (id, now) = (&issue.id, scribe.now);
    let custodian = guard(tx, scribe, issue).await?;
    let custody = facts::custody(tx, issue).await?;
    let released = release(&custody, &custodian.editor, custodian.manages)?;
    let blockers = facts::open_blockers(tx, id).await?;
    let after = Issue {
        status: IssueStatus::Todo,
        assignee_agent_id: None,
        completed_at: None,
        cancelled_at: None,
        waits_on_blockers: !blockers.is_empty(),
        last_activity_at: now,
        updated_at: now,
        ..issue.clone()
    };
    issues::update(tx, &after).await?;
    locks::clear(tx, id).await?;
    let details = json!({
        "identifier": issue.identifier, "previousAssigneeAgentId": issue.assignee_agent_id,
        "previousCheckoutRunId": released.previous_checkout,
        "previousExecutionRunId": released.previous_execution,
    });
    scribe.tell_issue(tx, &issue.company_id, "issue.released", id, details).await?;
    touched_by_person(tx, scribe, id).await?;
    if !is_own_lock(issue, &custodian.editor) {
        tidings::after_unlock(tx, scribe, id).await?;
    }
    Ok(issues::get(tx, id).await?.ok_or(Refusal::IssueNotFound)?)
}

/// Behind the writer's own run its settlement looks who goes on.
fn is_own_lock(issue: &Issue, editor: &Editor) -> bool {
    let own = editor.run().map(|run| &run.id);
    own.is_some() && issue.lock_run_id.as_ref() == own
}

async fn take_away(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    issue: &Issue,
    clear_assignee: bool,
) -> Result<ForceReleased, EngineError> {
    let (id, now) = (&issue.id, scribe.now);
    let Author::Board { .. } = &scribe.by else {
        return Err(EngineError::refused(Kind::Forbidden, "Board access required"));
    };
    let editor = scribe.editor(tx).await?;
    let is_nobodys_then = clear_assignee && issue.assignee_user_id.is_none();
    let custody = facts::custody(tx, issue).await?;
    let (released, status) = force_release(&custody, is_nobodys_then, &editor)?;
    let mut after = Issue { status, last_activity_at: now, updated_at: now, ..issue.clone() };
    if clear_assignee {
        after.assignee_agent_id = None;
    }
    if status != issue.status {
        after.waits_on_blockers = !facts::open_blockers(tx, id).await?.is_empty();
    }
    issues::update(tx, &after).await?;
    locks::clear(tx, id).await?;
    let details = json!({
        "identifier": issue.identifier, "clearAssignee": clear_assignee, "status": after.status,
        "previousCheckoutRunId": released.previous_checkout,
        "previousExecutionRunId": released.previous_execution,
    });
    let (company, action) = (&issue.company_id, "issue.admin_force_release");
    scribe.tell_issue(tx, company, action, id, details).await?;
    let record = stops::record(company, &scribe.by.actor(), action, id.as_str(), &issue.identifier, now);
    audit::append(tx, record).await?;
    touched_by_person(tx, scribe, id).await?;
    tidings::after_unlock(tx, scribe, id).await?;
    let issue = issues::get(tx, id).await?.ok_or(Refusal::IssueNotFound)?;
    Ok(ForceReleased {
        issue,
        previous_checkout: released.previous_checkout,
        previous_execution: released.previous_execution,
    })
}

/// A person took the issue into their hands: automatic repair starts counting anew, and what asked for a person is
/// answered.
async fn touched_by_person(tx: &mut Tx<'_>, scribe: &Scribe, issue: &IssueId) -> Result<(), EngineError> {
    if scribe.by.is_board() {
        recoveries::reset(tx, issue, None).await?;
        inbox::resolve_of(tx, issue.as_str(), None, "issue_changed", scribe.now).await?;
    }
    Ok(())
}
