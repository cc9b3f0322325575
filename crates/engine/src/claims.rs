//! Claiming: a waiting run whose gates are open gets its lease, its budget and the lock of its issue, in one commit.
//!
//! Intake and dispatcher claim through the same function. Which gates are open is `domain::claim`, asked of the same
//! views that people's `heldReason` is made of. The agent is locked before, then the issue, then the run (D15); choosing
//! among many runs is the dispatcher's.

use domain::agent::AgentStatus;
use domain::claim::{ClaimIssue, ClaimView, End};
use domain::ids::{IssueId, RunId};
use domain::issue::IssueStatus;
use domain::issue::checkout::{HARNESS_EXPECTS, harness_checks_out};
use domain::moment::Moment;
use domain::recovery::looks;
use domain::run::RunStatus;
use domain::wake::{StaleRetry, WakeStatus, interaction};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use store::activity::Activity;
use store::agents::Agent;
use store::issues::Issue;
use store::leases::{Claimed, Claimer};
use store::runs::Run;
use store::{StoreError, Tx, agents, issues, leases, locks, run_starts, runs, wakes};

use crate::accounts::{self, Keyring};
use crate::run_task::session::first_start;
use crate::run_tokens::RunTokens;
use crate::{activity, automations, budgets, signals};

/// Who claims.
#[derive(Debug, Clone)]
pub(crate) struct Claimant {
    pub by: Claimer,
    pub tokens: RunTokens,
    pub accounts: Keyring,
}

/// What stands in for the places of an agent and of the instance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub slots: u32,
    pub agent_running: u32,
    pub instance_slots: u32,
    pub instance_running: u32,
}

/// What became of a claim whose gates were open.
#[derive(Debug)]
pub(crate) enum Claim {
    Taken(Claimed),
    /// A budget does not cover it: it stays queued.
    Unfunded,
    /// Its account is parked, or somebody else tries it: it stays queued.
    Parked,
    /// It waits no more.
    Gone,
}

/// What the gates look at.
pub(crate) fn view(
    status: RunStatus,
    agent: Option<AgentStatus>,
    issue: Option<ClaimIssue>,
    scope_running: bool,
    room: Room,
) -> ClaimView {
    ClaimView {
        status,
        agent,
        // Said by whoever knows since when it waits.
        expired: false,
        // Asked by reserving, when all else is open.
        budget: false,
        // Said by whoever has looked at the account; asked once more under its lock.
        quota: false,
        issue,
        slots: room.slots,
        agent_running: room.agent_running,
        scope_running,
        instance_slots: room.instance_slots,
        instance_running: room.instance_running,
    }
}

/// Claims a queued run whose gates are open; agent, issue and run are locked. `run` becomes what the row is.
///
/// The run of the assignee takes the issue with it: the lock, and, where it may start working at once, the checkout.
pub(crate) async fn claim_locked(
    tx: &mut Tx<'_>,
    agent: &Agent,
    run: &mut Run,
    issue: Option<(&Issue, &ClaimIssue)>,
    claimant: &Claimant,
    now: Moment,
) -> Result<Claim, StoreError> {
    let Ok(entrance) = accounts::enter(tx, (run, agent), claimant, now).await? else {
        return Ok(Claim::Parked);
    };
    if !budgets::reserve(tx, run, agent, now).await? {
        return Ok(Claim::Unfunded);
    }
    let by = &claimant.by;
    let hash = claimant.tokens.hash(&run.id, run.lease_epoch + 1);
    let Some(claimed) = leases::claim_with_token(tx, &run.id, by, Some(&hash), now).await? else {
        return Ok(Claim::Gone);
    };
    wakes::mark_claimed(tx, &run.id, now).await?;
    if let Some(entrance) = entrance {
        entrance.pass(tx, &run.id, now).await?;
    }
    run.status = RunStatus::Running;
    run.lease_epoch = claimed.lease.epoch;
    run.lease_holder = Some(by.holder);
    run.node_id = Some(by.node_id.clone());
    run.boot_id = Some(by.boot_id.clone());
    run.started_at = run.started_at.or(Some(now));
    run.updated_at = now;
    run.log_state = "folder".into();
    run.event_seq = claimed.seq;
    run_starts::insert(tx, &first_start(run, agent, now)).await?;
    let started = signals::lifecycle("info", "run started", Some(json!({ "attempt": claimed.lease.epoch })));
    signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), claimed.seq, started, now).await?;
    signals::run_status(tx, run, now).await?;
    if agents::mark_running(tx, &agent.id, now).await? {
        let owner = (&agent.company_id, &agent.id);
        signals::agent_status(tx, owner, "running", Some("running"), agent.last_heartbeat_at, now).await?;
    }
    if let Some((issue, ClaimIssue::Found(at_claim))) = issue
        && issue.assignee_agent_id.as_ref() == Some(&agent.id)
        && locks::take(tx, &issue.id, (&run.id, claimed.lease.epoch), &agent.id, now).await?
    {
        check_out(tx, run, issue, at_claim.is_ready, now).await?;
    }
    Ok(Claim::Taken(claimed))
}

/// The program checks the issue out for a run that is there to work on it (spec/heartbeat.md 4.2). The lock is the
/// run's, so nobody live can have the checkout.
async fn check_out(
    tx: &mut Tx<'_>,
    run: &Run,
    issue: &Issue,
    is_ready: bool,
    now: Moment,
) -> Result<(), StoreError> {
    let reason = run.context.as_object().and_then(interaction::reason);
    let assignee = issue.assignee_agent_id.as_ref();
    if !harness_checks_out(&run.agent_id, assignee, is_ready, issue.status, reason) {
        return Ok(());
    }
    locks::check_out(tx, &issue.id, issue.checkout_run_id.as_ref(), Some(&run.id)).await?;
    if !HARNESS_EXPECTS.contains(&issue.status) {
        return Ok(());
    }
    let begun = Issue {
        status: IssueStatus::InProgress,
        started_at: Some(now),
        completed_at: None,
        cancelled_at: None,
        waits_on_blockers: false,
        last_activity_at: now,
        updated_at: now,
        ..issue.clone()
    };
    issues::update(tx, &begun).await?;
    let details = json!({
        "agentId": run.agent_id, "identifier": issue.identifier, "status": begun.status, "runId": run.id,
        "_previous": { "status": issue.status },
    });
    tell_issue(tx, (issue, "issue.checked_out"), (run.id.as_str(), Some(&run.id)), details, now).await
}

/// Tells what the program itself did to an issue. `what_for` names the cause: the id of the entry is made of it, so that
/// a transaction that is tried again makes the same entry.
pub(crate) async fn tell_issue(
    tx: &mut Tx<'_>,
    (issue, action): (&Issue, &str),
    (what_for, run): (&str, Option<&RunId>),
    details: Json,
    now: Moment,
) -> Result<(), StoreError> {
    let digest = Sha256::digest(format!("{action} {} {what_for} {}", issue.id, now.micros()).as_bytes());
    let mut random = [0; 16];
    random.copy_from_slice(&digest[..16]);
    let entry = Activity {
        id: domain::ids::mint(now, random),
        company_id: issue.company_id.clone(),
        actor_type: "system".to_owned(),
        actor_id: "heartbeat".to_owned(),
        action: action.to_owned(),
        entity_type: "issue".to_owned(),
        entity_id: issue.id.0.clone(),
        agent_id: None,
        run_id: run.cloned(),
        details: Some(details),
        created_at: now,
    };
    activity::log(tx, &entry).await
}

/// Why a waiting run ends, as its record tells it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dismissal {
    words: &'static str,
    code: &'static str,
    wake_status: WakeStatus,
    result: Json,
    event: Option<Json>,
    /// Its issue is as it was, and nobody works on it.
    leaves_work: bool,
}

impl From<&End> for Dismissal {
    fn from(end: &End) -> Dismissal {
        let result =
            end.result().unwrap_or_else(|| json!({ "stopReason": "cancelled", "timeoutFired": false }));
        Dismissal {
            words: end.words(),
            code: end.code(),
            wake_status: end.wake_status(),
            result,
            event: end.event(),
            leaves_work: !end.is_stale(),
        }
    }
}

impl Dismissal {
    /// Nothing but texts from outside asked for it, and they were refused.
    pub(crate) fn of_refused_text() -> Dismissal {
        Dismissal {
            words: "what asked for it was refused by a person",
            code: "cancelled",
            wake_status: WakeStatus::Cancelled,
            result: json!({ "stopReason": "cancelled", "timeoutFired": false }),
            event: None,
            leaves_work: false,
        }
    }

    /// A retry that nobody needs any more (spec/heartbeat.md 2.7).
    pub(crate) fn of_retry(why: StaleRetry, run: &Run, issue: &Issue) -> Dismissal {
        Dismissal {
            words: why.words(),
            code: why.as_str(),
            wake_status: WakeStatus::Cancelled,
            result: json!({ "stopReason": "cancelled", "timeoutFired": false }),
            event: Some(json!({
                "issueId": issue.id, "issueStatus": issue.status, "scheduledRetryAttempt": run.retry_attempt,
                "scheduledRetryAt": run.retry_at, "scheduledRetryReason": run.retry_reason,
                "previousRetryAgentId": run.agent_id, "currentAssigneeAgentId": issue.assignee_agent_id,
            })),
            leaves_work: false,
        }
    }
}

/// Ends a run that has not started and never will; its issue, if it has one, is locked. False: it waits no more.
pub(crate) async fn dismiss(
    tx: &mut Tx<'_>,
    run: &Run,
    why: &Dismissal,
    now: Moment,
) -> Result<bool, StoreError> {
    let Dismissal { words, code, wake_status, result, event, leaves_work } = why;
    let Some(seq) = leases::withdraw(tx, &run.id, words, code, result, now).await? else { return Ok(false) };
    wakes::finish(tx, &run.id, *wake_status, Some(words), now).await?;
    let mut payload = json!({ "reason": words, "errorCode": code });
    if let (Some(payload), Some(Json::Object(more))) = (payload.as_object_mut(), event) {
        payload.extend(more.clone());
    }
    automations::agent_run_over(tx, run, now).await?;
    let event = signals::lifecycle("warn", "run cancelled before it started", Some(payload));
    signals::run_event(tx, (&run.company_id, &run.agent_id, &run.id), seq, event, now).await?;
    if let Some(issue) = run.issue_id.clone().map(IssueId) {
        locks::unpoint(tx, &issue, &run.id).await?;
        if *leaves_work {
            issues::check_by(tx, &issue, now.plus(looks::AFTER)).await?;
        }
    }
    let ended = Run {
        status: RunStatus::Cancelled,
        error: Some((*words).to_owned()),
        error_code: Some((*code).to_owned()),
        finished_at: Some(now),
        ..run.clone()
    };
    signals::run_status(tx, &ended, now).await?;
    Ok(true)
}

/// Opens the next epoch of a running run for the lock that it holds on its issue: a lock is of an epoch. The issue is
/// locked before the run (D15), so this comes first and is kept by [`follow`].
pub(crate) async fn lock_issue(tx: &mut Tx<'_>, run: &Run) -> Result<Option<Issue>, StoreError> {
    match run.issue_id.clone().map(IssueId) {
        None => Ok(None),
        Some(issue) => issues::lock(tx, &issue).await,
    }
}

/// The lock of the issue follows the run into its next epoch, if the run had it.
pub(crate) async fn follow(
    tx: &mut Tx<'_>,
    run: &Run,
    issue: Option<&Issue>,
    epoch: i64,
    now: Moment,
) -> Result<(), StoreError> {
    if let Some(issue) = issue
        && issue.lock_run_id.as_ref() == Some(&run.id)
        && let Some(holder) = &issue.lock_agent_id
    {
        locks::take(tx, &issue.id, (&run.id, epoch), holder, now).await?;
    }
    Ok(())
}

/// The row of a waiting run, locked; `None` when it waits no more.
pub(crate) async fn lock_waiting(tx: &mut Tx<'_>, run: &RunId) -> Result<Option<Run>, StoreError> {
    Ok(runs::lock(tx, run).await?.filter(|run| run.status == RunStatus::Queued))
}
