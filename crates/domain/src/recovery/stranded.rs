//! An issue in work that nothing works on: set it going again, twice at most, then block it and say so.
//!
//! One decision for both moments: right after a run of the issue has ended (spec/heartbeat.md 4.17, item 3), and in the
//! sweep that finds what a crash left (5.5). It makes no recovery issues (D7), holds where a pause, a hold or a budget
//! holds, and never starts what somebody cancelled (D1). The failure itself is not quoted: the comment names the run,
//! whose page has it (11.9). Unassigned blockers are `orphan`'s, deferred wakes `promotion`'s.

use serde_json::json;

use crate::agent::AgentStatus;
use crate::ids::{AgentId, IssueId, RunId};
use crate::issue::IssueStatus;
use crate::recovery::last_run::{LastEnd, LastRun};
use crate::recovery::{self, Block, Carry, Cause, InboxItem, InboxKind, WakeOrder, object};
use crate::words;

/// `source` of the activity of a blocked issue.
pub const ACTIVITY_SOURCE: &str = "recovery.reconcile_stranded_assigned_issue";

/// The reason of a wake for work that was never begun.
pub const BEGIN: &str = "issue_assignment_recovery";
/// The reason of a wake for work that stopped half way.
pub const GO_ON: &str = "issue_continuation_needed";

/// When the decision is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// In the settlement of the last run, when nothing was promoted.
    AfterRun,
    /// In the sweep.
    BySweep,
}

/// Everything the decision may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrandedView {
    pub asked: Asked,
    pub issue: IssueId,
    pub identifier: String,
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
    pub assigned_to_user: bool,
    /// Status of the assigned agent; `None`: it is gone or of another company.
    pub agent: Option<AgentStatus>,
    /// The agent is woken for more than its timer (`wakeOnDemand`).
    pub takes_wakes: bool,
    pub last_run: Option<LastRun>,
    /// The agent was to be woken for it since that run, and was turned away by what is over (`wake::is_turned_away`).
    pub turned_away: bool,
    /// The run that checked the issue out.
    pub checkout_run: Option<RunId>,
    /// A live run other than the one that ended, a deferred wake or an ordered wake is there for the issue.
    pub carried_on: bool,
    /// A pause hold covers the issue.
    pub held: bool,
    /// A blocker of it is not done.
    pub blocked_by_others: bool,
    /// An interaction or an approval of the issue is pending.
    pub awaits_decision: bool,
    /// A budget stops the agent, the project or the company.
    pub budget_blocked: bool,
    /// The account of the agent is parked: no start would get anywhere.
    pub account_parked: bool,
    /// Attempts counted under [`Cause::Stranded`].
    pub stranded_attempts: u32,
    /// Attempts counted under [`Cause::Continuation`].
    pub continuation_attempts: u32,
    /// Whose inbox it is when the issue is blocked; `graph::owners` finds them.
    pub owner: Option<AgentId>,
}

words!(
    /// Why nothing is done.
    Rest {
        NotInWork = "not_in_work",
        AssignedToUser = "assigned_to_user",
        Unassigned = "unassigned",
        /// The run that ended was not the assignee's.
        NotItsRun = "not_its_run",
        CarriedOn = "carried_on",
        Held = "held",
        AgentPaused = "agent_paused",
        BlockedByOthers = "blocked_by_others",
        AwaitsDecision = "awaits_decision",
        BudgetBlocked = "budget_blocked",
        AccountParked = "account_parked",
        Cancelled = "cancelled",
        /// It was never started and its agent comes by its timer only, or its last run succeeded before the work began.
        NotBegun = "not_begun",
        /// The run succeeded: going on is for the sweep, when nothing else comes.
        JustSucceeded = "just_succeeded",
    }
);

/// What is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Stranded {
    /// Nothing, and why.
    Rest(Rest),
    /// It is set going again; the attempt is counted as the order says.
    Wake(WakeOrder),
    /// It is blocked, visibly.
    Block(Block),
}

/// Decides; the first rule that matches ends it.
pub fn decide(view: &StrandedView) -> Stranded {
    let after_run = view.asked == Asked::AfterRun;
    if !view.status.is_in_work() {
        return Stranded::Rest(Rest::NotInWork);
    }
    if view.assigned_to_user {
        return Stranded::Rest(Rest::AssignedToUser);
    }
    let Some(agent) = &view.assignee else { return Stranded::Rest(Rest::Unassigned) };
    if after_run && view.last_run.as_ref().is_none_or(|run| run.agent != *agent) {
        return Stranded::Rest(Rest::NotItsRun);
    }
    if view.carried_on {
        return Stranded::Rest(Rest::CarriedOn);
    }
    if view.held {
        return Stranded::Rest(Rest::Held);
    }
    match view.agent {
        None | Some(AgentStatus::Terminated) => {
            return Stranded::Block(block(view, Cause::Stranded, Why::NoAgent));
        }
        Some(AgentStatus::Paused | AgentStatus::PendingApproval) => {
            return Stranded::Rest(Rest::AgentPaused);
        }
        Some(AgentStatus::Active | AgentStatus::Idle | AgentStatus::Running | AgentStatus::Error) => {}
    }
    for (is_so, rest) in [
        (view.blocked_by_others, Rest::BlockedByOthers),
        (view.awaits_decision, Rest::AwaitsDecision),
        (view.budget_blocked, Rest::BudgetBlocked),
        (view.account_parked, Rest::AccountParked),
    ] {
        if is_so {
            return Stranded::Rest(rest);
        }
    }
    // What was asked for since the last run does not depend on how that run ended.
    let turned_away = view.turned_away && !after_run;
    let end = view.last_run.as_ref().filter(|_| !turned_away).map(|run| run.end);
    match end {
        Some(LastEnd::Cancelled) => return Stranded::Rest(Rest::Cancelled),
        Some(LastEnd::PermissionRefused) => {
            return Stranded::Block(block(view, Cause::Stranded, Why::Permission));
        }
        // The account was parked by this very run; the sweep goes on when it is parked no more.
        Some(LastEnd::AccountParked) if after_run => return Stranded::Rest(Rest::AccountParked),
        Some(LastEnd::Succeeded) if after_run => return Stranded::Rest(Rest::JustSucceeded),
        // What a pause stopped goes on after it, and the sweep is the first to know that it is over.
        Some(LastEnd::Interrupted) if after_run => return Stranded::Rest(Rest::AgentPaused),
        _ => {}
    }
    let todo = view.status == IssueStatus::Todo;
    let begun = if todo {
        !matches!(end, None | Some(LastEnd::Succeeded))
    } else {
        end.is_some() || view.checkout_run.is_some()
    };
    // Whatever was to start it was turned away, by a pause, a hold or a budget, and nothing of that is left.
    let was_turned_away = !begun && end.is_none() && !after_run && view.takes_wakes;
    if !begun && !was_turned_away {
        return Stranded::Rest(Rest::NotBegun);
    }
    let (cause, attempts) = match end {
        Some(LastEnd::Succeeded) => (Cause::Continuation, view.continuation_attempts),
        _ => (Cause::Stranded, view.stranded_attempts),
    };
    // Neither a pause nor a parked account is the work's fault.
    let free =
        was_turned_away || turned_away || matches!(end, Some(LastEnd::Interrupted | LastEnd::AccountParked));
    if !free && !recovery::may_try(attempts) {
        return Stranded::Block(block(view, cause, Why::UsedUp));
    }
    let words = if todo {
        Carry {
            reason: BEGIN,
            retry_reason: "assignment_recovery",
            source: Some("issue.assignment_recovery"),
            counts_as: (!free).then_some(cause),
        }
    } else {
        Carry {
            reason: GO_ON,
            retry_reason: GO_ON,
            source: Some("issue.continuation_recovery"),
            counts_as: (!free).then_some(cause),
        }
    };
    let run = view.last_run.as_ref().map(|run| &run.id).or(view.checkout_run.as_ref());
    Stranded::Wake(recovery::carry_on(agent, &view.issue, run, words))
}

#[derive(Clone, Copy)]
enum Why {
    NoAgent,
    Permission,
    UsedUp,
}

fn block(view: &StrandedView, cause: Cause, why: Why) -> Block {
    let run = view.last_run.as_ref();
    let named = run.map_or(String::new(), |run| format!(" The last run is {}.", run.id));
    let comment = match (why, cause) {
        (Why::NoAgent, _) => {
            "Blocked: the assigned agent is gone or was terminated. Assign the issue to somebody else and set it to todo."
                .to_owned()
        }
        (Why::Permission, _) => format!(
            "Blocked: the agent was refused a permission that nobody could give while it ran. Grant it in the agent's configuration, then set the issue to todo.{named}"
        ),
        (Why::UsedUp, Cause::Continuation) => format!(
            "Blocked: runs of this issue succeed, but it is neither closed nor handed on, and it was continued automatically {} times. Say what is left to do, or close it.{named}",
            view.continuation_attempts
        ),
        (Why::UsedUp, _) => format!(
            "Blocked: runs of this issue keep failing, and it was started again automatically {} times. See the run for the failure, then set the issue to todo.{named}",
            view.stranded_attempts
        ),
    };
    let title = match why {
        Why::NoAgent => format!("{} has no agent that can work", view.identifier),
        Why::Permission => format!("{} needs a permission", view.identifier),
        Why::UsedUp => format!("{} does not go on by itself", view.identifier),
    };
    let attempts = match cause {
        Cause::Continuation => view.continuation_attempts,
        _ => view.stranded_attempts,
    };
    let activity = object(json!({
        "identifier": view.identifier,
        "status": IssueStatus::Blocked,
        "previousStatus": view.status,
        "source": ACTIVITY_SOURCE,
        "cause": cause,
        "attempts": attempts,
        "latestRunId": run.map(|run| &run.id),
        "latestRunStatus": run.map(|run| run.status),
        "latestRunErrorCode": run.and_then(|run| run.error_code.as_deref()),
    }));
    Block {
        issue: view.issue.clone(),
        cause,
        comment,
        inbox: InboxItem {
            kind: InboxKind::StrandedIssue,
            entity_type: "issue",
            entity_id: view.issue.to_string(),
            cause: cause.as_str().to_owned(),
            title,
            details: activity.clone(),
            owner: view.owner.clone(),
        },
        activity,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::run::RunStatus;

    use super::*;

    fn run(end: LastEnd) -> LastRun {
        let status = match end {
            LastEnd::Succeeded => RunStatus::Succeeded,
            LastEnd::Cancelled | LastEnd::Interrupted => RunStatus::Cancelled,
            LastEnd::Failed | LastEnd::AccountParked | LastEnd::PermissionRefused => RunStatus::Failed,
        };
        LastRun { id: "r".into(), agent: "a".into(), status, end, error_code: Some("process_lost".into()) }
    }

    fn failed(status: IssueStatus) -> StrandedView {
        StrandedView {
            asked: Asked::BySweep,
            issue: "i".into(),
            identifier: "ACM-7".into(),
            status,
            assignee: Some("a".into()),
            assigned_to_user: false,
            agent: Some(AgentStatus::Idle),
            takes_wakes: true,
            last_run: Some(run(LastEnd::Failed)),
            turned_away: false,
            checkout_run: None,
            carried_on: false,
            held: false,
            blocked_by_others: false,
            awaits_decision: false,
            budget_blocked: false,
            account_parked: false,
            stranded_attempts: 0,
            continuation_attempts: 0,
            owner: Some("boss".into()),
        }
    }

    fn ended(status: IssueStatus, end: LastEnd) -> StrandedView {
        StrandedView { last_run: Some(run(end)), ..failed(status) }
    }

    /// What a decision comes to, in short: a rest, a wake (reason, counted as), or a block (cause).
    fn short(decision: &Stranded) -> (&'static str, &'static str) {
        match decision {
            Stranded::Rest(rest) => ("rest", rest.as_str()),
            Stranded::Wake(order) => (order.reason, order.counts_as.map_or("free", Cause::as_str)),
            Stranded::Block(block) => ("block", block.cause.as_str()),
        }
    }

    const TODO: (&str, &str) = ("issue_assignment_recovery", "stranded");
    const GOES_ON: (&str, &str) = ("issue_continuation_needed", "stranded");
    const AGAIN: (&str, &str) = ("issue_continuation_needed", "continuation");
    const BLOCKED: (&str, &str) = ("block", "stranded");

    #[test]
    fn every_row_of_the_sweep() {
        use IssueStatus::{Backlog, Cancelled, Done, InProgress, InReview, Todo};
        let rest = |rest: Rest| ("rest", rest.as_str());
        let rows: Vec<(&str, StrandedView, (&str, &str))> = vec![
            ("backlog", failed(Backlog), rest(Rest::NotInWork)),
            ("in review", failed(InReview), rest(Rest::NotInWork)),
            ("blocked", failed(IssueStatus::Blocked), rest(Rest::NotInWork)),
            ("done", failed(Done), rest(Rest::NotInWork)),
            ("cancelled", failed(Cancelled), rest(Rest::NotInWork)),
            (
                "a person's",
                StrandedView { assigned_to_user: true, ..failed(Todo) },
                rest(Rest::AssignedToUser),
            ),
            (
                "nobody's",
                StrandedView { assignee: None, agent: None, ..failed(Todo) },
                rest(Rest::Unassigned),
            ),
            (
                "carried on",
                StrandedView { carried_on: true, agent: None, ..failed(Todo) },
                rest(Rest::CarriedOn),
            ),
            (
                "under a hold",
                StrandedView { held: true, agent: None, stranded_attempts: 9, ..failed(Todo) },
                rest(Rest::Held),
            ),
            ("agent gone", StrandedView { agent: None, ..failed(Todo) }, BLOCKED),
            (
                "agent terminated",
                StrandedView { agent: Some(AgentStatus::Terminated), ..failed(InProgress) },
                BLOCKED,
            ),
            (
                "agent paused",
                StrandedView { agent: Some(AgentStatus::Paused), stranded_attempts: 9, ..failed(Todo) },
                rest(Rest::AgentPaused),
            ),
            (
                "agent not approved",
                StrandedView { agent: Some(AgentStatus::PendingApproval), ..failed(Todo) },
                rest(Rest::AgentPaused),
            ),
            ("agent in error", StrandedView { agent: Some(AgentStatus::Error), ..failed(Todo) }, TODO),
            (
                "blockers open",
                StrandedView { blocked_by_others: true, stranded_attempts: 9, ..failed(InProgress) },
                rest(Rest::BlockedByOthers),
            ),
            (
                "a decision is pending",
                StrandedView { awaits_decision: true, ..ended(InProgress, LastEnd::Succeeded) },
                rest(Rest::AwaitsDecision),
            ),
            (
                "over budget",
                StrandedView { budget_blocked: true, ..failed(InProgress) },
                rest(Rest::BudgetBlocked),
            ),
            (
                "account parked",
                StrandedView { account_parked: true, ..failed(InProgress) },
                rest(Rest::AccountParked),
            ),
            (
                "todo, never started",
                StrandedView { last_run: None, ..failed(Todo) },
                ("issue_assignment_recovery", "free"),
            ),
            (
                "todo, never started, still held back",
                StrandedView { last_run: None, held: true, ..failed(Todo) },
                rest(Rest::Held),
            ),
            (
                "todo, never started, comes by its timer",
                StrandedView { last_run: None, takes_wakes: false, ..failed(Todo) },
                rest(Rest::NotBegun),
            ),
            ("todo, succeeded", ended(Todo, LastEnd::Succeeded), rest(Rest::NotBegun)),
            (
                "todo, succeeded, opened again while it was held back",
                StrandedView { turned_away: true, ..ended(Todo, LastEnd::Succeeded) },
                ("issue_assignment_recovery", "free"),
            ),
            (
                "todo, succeeded, still held back",
                StrandedView { turned_away: true, held: true, ..ended(Todo, LastEnd::Succeeded) },
                rest(Rest::Held),
            ),
            (
                "todo, cancelled, asked for again while it was held back",
                StrandedView { turned_away: true, ..ended(Todo, LastEnd::Cancelled) },
                ("issue_assignment_recovery", "free"),
            ),
            (
                "todo, given up, asked for again while it was held back",
                StrandedView { turned_away: true, stranded_attempts: 2, ..failed(Todo) },
                ("issue_assignment_recovery", "free"),
            ),
            (
                "todo, asked for again, comes by its timer",
                StrandedView { turned_away: true, takes_wakes: false, ..ended(Todo, LastEnd::Succeeded) },
                rest(Rest::NotBegun),
            ),
            (
                "in progress, asked for again while it was held back",
                StrandedView {
                    turned_away: true,
                    checkout_run: Some("c".into()),
                    continuation_attempts: 2,
                    ..ended(InProgress, LastEnd::Succeeded)
                },
                ("issue_continuation_needed", "free"),
            ),
            ("todo, failed", failed(Todo), TODO),
            ("todo, failed after one attempt", StrandedView { stranded_attempts: 1, ..failed(Todo) }, TODO),
            ("todo, attempts used up", StrandedView { stranded_attempts: 2, ..failed(Todo) }, BLOCKED),
            ("todo, cancelled", ended(Todo, LastEnd::Cancelled), rest(Rest::Cancelled)),
            ("todo, permission refused", ended(Todo, LastEnd::PermissionRefused), BLOCKED),
            (
                "in progress, given to somebody who never started",
                StrandedView { last_run: None, ..failed(InProgress) },
                ("issue_continuation_needed", "free"),
            ),
            (
                "in progress, never started, comes by its timer",
                StrandedView { last_run: None, takes_wakes: false, ..failed(InProgress) },
                rest(Rest::NotBegun),
            ),
            (
                "in progress, checked out, no run",
                StrandedView { last_run: None, checkout_run: Some("c".into()), ..failed(InProgress) },
                GOES_ON,
            ),
            ("in progress, failed", failed(InProgress), GOES_ON),
            (
                "in progress, attempts used up",
                StrandedView { stranded_attempts: 2, ..failed(InProgress) },
                BLOCKED,
            ),
            (
                "in progress, another cause used up",
                StrandedView { continuation_attempts: 2, ..failed(InProgress) },
                GOES_ON,
            ),
            ("in progress, succeeded", ended(InProgress, LastEnd::Succeeded), AGAIN),
            (
                "in progress, succeeded, stranded used up",
                StrandedView { stranded_attempts: 2, ..ended(InProgress, LastEnd::Succeeded) },
                AGAIN,
            ),
            (
                "in progress, succeeds without end",
                StrandedView { continuation_attempts: 2, ..ended(InProgress, LastEnd::Succeeded) },
                ("block", "continuation"),
            ),
            (
                "in progress, cancelled by somebody",
                ended(InProgress, LastEnd::Cancelled),
                rest(Rest::Cancelled),
            ),
            (
                "in progress, interrupted and free again",
                StrandedView { stranded_attempts: 2, ..ended(InProgress, LastEnd::Interrupted) },
                ("issue_continuation_needed", "free"),
            ),
            (
                "in progress, account free again",
                StrandedView { stranded_attempts: 2, ..ended(InProgress, LastEnd::AccountParked) },
                ("issue_continuation_needed", "free"),
            ),
        ];
        for (name, view, expected) in rows {
            assert_eq!(short(&decide(&view)), expected, "{name}");
        }
    }

    #[test]
    fn every_row_right_after_a_run() {
        use IssueStatus::{InProgress, Todo};
        let after = |view: StrandedView| StrandedView { asked: Asked::AfterRun, ..view };
        let rest = |rest: Rest| ("rest", rest.as_str());
        let rows: Vec<(&str, StrandedView, (&str, &str))> = vec![
            ("failed, todo", failed(Todo), TODO),
            ("failed, in progress", failed(InProgress), GOES_ON),
            ("second failure", StrandedView { stranded_attempts: 1, ..failed(InProgress) }, GOES_ON),
            ("third failure", StrandedView { stranded_attempts: 2, ..failed(InProgress) }, BLOCKED),
            (
                "somebody else's run",
                StrandedView { assignee: Some("b".into()), ..failed(Todo) },
                rest(Rest::NotItsRun),
            ),
            ("no run", StrandedView { last_run: None, ..failed(Todo) }, rest(Rest::NotItsRun)),
            (
                "another run is there",
                StrandedView { carried_on: true, ..failed(Todo) },
                rest(Rest::CarriedOn),
            ),
            ("under a hold", StrandedView { held: true, ..failed(Todo) }, rest(Rest::Held)),
            ("succeeded", ended(InProgress, LastEnd::Succeeded), rest(Rest::JustSucceeded)),
            ("cancelled", ended(InProgress, LastEnd::Cancelled), rest(Rest::Cancelled)),
            ("stopped by a pause", ended(InProgress, LastEnd::Interrupted), rest(Rest::AgentPaused)),
            ("login lost", ended(InProgress, LastEnd::AccountParked), rest(Rest::AccountParked)),
            ("permission refused", ended(InProgress, LastEnd::PermissionRefused), BLOCKED),
            (
                "agent terminated",
                StrandedView { agent: Some(AgentStatus::Terminated), ..failed(Todo) },
                BLOCKED,
            ),
            (
                "agent paused",
                StrandedView { agent: Some(AgentStatus::Paused), ..failed(Todo) },
                rest(Rest::AgentPaused),
            ),
        ];
        for (name, view, expected) in rows {
            assert_eq!(short(&decide(&after(view))), expected, "{name}");
        }
    }

    #[test]
    fn the_wake_carries_the_run_on() {
        let Stranded::Wake(order) = decide(&failed(IssueStatus::InProgress)) else {
            panic!("expected a wake")
        };
        assert_eq!(
            (order.agent, order.issue, order.retry_of),
            ("a".into(), Some("i".into()), Some("r".into()))
        );
        assert_eq!(order.continuation_attempt, 0);
        assert_eq!(Value::Object(order.payload), json!({ "issueId": "i", "retryOfRunId": "r" }));
        assert_eq!(
            Value::Object(order.context),
            json!({
                "issueId": "i", "taskId": "i", "wakeReason": "issue_continuation_needed",
                "retryReason": "issue_continuation_needed", "source": "issue.continuation_recovery",
                "retryOfRunId": "r",
            })
        );
        let Stranded::Wake(order) = decide(&failed(IssueStatus::Todo)) else { panic!("expected a wake") };
        assert_eq!(order.context["retryReason"], "assignment_recovery");
        assert_eq!(order.context["source"], "issue.assignment_recovery");
        let checked_out = StrandedView {
            last_run: None,
            checkout_run: Some("c".into()),
            ..failed(IssueStatus::InProgress)
        };
        let Stranded::Wake(order) = decide(&checked_out) else { panic!("expected a wake") };
        assert_eq!(order.retry_of, Some("c".into()));
    }

    #[test]
    fn a_block_names_the_run_and_keeps_the_failure_to_itself() {
        let view = StrandedView { stranded_attempts: 2, ..failed(IssueStatus::InProgress) };
        let Stranded::Block(block) = decide(&view) else { panic!("expected a block") };
        assert!(block.comment.contains("The last run is r."), "{}", block.comment);
        assert!(
            block.comment.contains("2 times") && !block.comment.contains("process_lost"),
            "{}",
            block.comment
        );
        assert_eq!(
            Value::Object(block.activity.clone()),
            json!({
                "identifier": "ACM-7", "status": "blocked", "previousStatus": "in_progress",
                "source": "recovery.reconcile_stranded_assigned_issue", "cause": "stranded", "attempts": 2,
                "latestRunId": "r", "latestRunStatus": "failed", "latestRunErrorCode": "process_lost",
            })
        );
        assert_eq!(
            block.inbox,
            InboxItem {
                kind: InboxKind::StrandedIssue,
                entity_type: "issue",
                entity_id: "i".into(),
                cause: "stranded".into(),
                title: "ACM-7 does not go on by itself".into(),
                details: block.activity,
                owner: Some("boss".into()),
            }
        );
    }

    #[test]
    fn each_kind_of_block_says_what_to_do() {
        let comment = |view: StrandedView| match decide(&view) {
            Stranded::Block(block) => (block.comment, block.inbox.title, block.activity["attempts"].clone()),
            other => panic!("expected a block, got {other:?}"),
        };
        let gone = comment(StrandedView { agent: None, ..failed(IssueStatus::Todo) });
        assert!(gone.0.contains("Assign the issue") && gone.1 == "ACM-7 has no agent that can work");
        let refused = comment(ended(IssueStatus::Todo, LastEnd::PermissionRefused));
        assert!(refused.0.contains("permission") && refused.1 == "ACM-7 needs a permission");
        let endless = comment(StrandedView {
            continuation_attempts: 3,
            ..ended(IssueStatus::InProgress, LastEnd::Succeeded)
        });
        assert!(endless.0.contains("neither closed nor handed on") && endless.0.contains("3 times"));
        assert_eq!(endless.2, 3);
    }

    #[test]
    fn a_task_that_always_fails_is_started_three_times_and_blocked_once() {
        let mut view = StrandedView { asked: Asked::AfterRun, ..failed(IssueStatus::Todo) };
        let (mut starts, mut blocks) = (1, 0);
        // A day of sweeps; every start fails at once.
        for _ in 0..2880 {
            match decide(&view) {
                Stranded::Wake(order) => {
                    starts += 1;
                    view.stranded_attempts += u32::from(order.counts_as == Some(Cause::Stranded));
                    view.status = IssueStatus::InProgress;
                }
                Stranded::Block(_) => {
                    blocks += 1;
                    view.status = IssueStatus::Blocked;
                }
                Stranded::Rest(rest) => assert_eq!(rest, Rest::NotInWork),
            }
            view.asked = Asked::BySweep;
        }
        assert_eq!((starts, blocks), (3, 1));
    }
}
