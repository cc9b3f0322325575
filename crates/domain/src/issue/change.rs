//! What a patch or a comment does to an issue.
//!
//! Both are one function: a comment is a patch that brings nothing else. The order of the checks is that of spec/api.md
//! 5.1, and any status may follow any other. Fields without consequences (title, priority, ...) pass by here. Who is woken
//! is decided by `notices`.

use super::checkout::{AssigneeFacts, Custody, Ownership, may_change};
use super::create::{Stamps, waits};
use super::follow_up::{self, FollowUp};
use super::refusal::Refusal;
use super::stages::{self, Policy, StageAsk, StageDecision, StageView, StageWake, State};
use super::{Editor, IssueStatus, Principal};
use crate::ids::{AgentId, IssueId, RunId};
use crate::moment::Moment;

/// The issue as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Current {
    /// Status, agent assignee and locks.
    pub custody: Custody,
    pub assignee_user: Option<String>,
    pub created_by_user: Option<String>,
    pub stamps: Stamps,
    pub policy: Option<Policy>,
    pub state: Option<State>,
}

/// What is asked. `None` says nothing about a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Patch {
    pub status: Option<IssueStatus>,
    pub assignee: Option<Option<AgentId>>,
    pub assignee_user: Option<Option<String>>,
    pub comment: Option<String>,
    pub reopen: bool,
    pub resume: bool,
    pub interrupt: bool,
    pub policy: Option<Option<Policy>>,
    pub review_request: Option<Option<String>>,
}

/// What the rules need to know beside the issue.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    pub editor: Editor,
    /// An agent's override over other agents' issues.
    pub manages: bool,
    pub may_assign: bool,
    /// The agent that `assignee` names.
    pub new_assignee: Option<AssigneeFacts>,
    /// The user that `assignee_user` names exists in the company.
    pub new_user_exists: bool,
    /// Blockers that are not done, as they will be after the patch.
    pub blockers: Vec<IssueId>,
    /// A pause hold covers the issue.
    pub is_held: bool,
    /// The run under way on the issue ([`active_run`]).
    pub active_run: Option<RunId>,
    /// The id of a decision, should a stage be decided.
    pub decision_id: String,
}

/// Why a run is stopped by a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// A person interrupts it with a comment; before the comment is written.
    Interrupt,
    /// The issue was cancelled.
    IssueCancelled,
}

impl StopCause {
    /// The `source` of the activity `heartbeat.cancelled`.
    pub const fn source(self) -> &'static str {
        match self {
            StopCause::Interrupt => "issue_comment_interrupt",
            StopCause::IssueCancelled => "issue_status_cancelled",
        }
    }
}

/// The issue as it becomes, and what is to be done beside.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
    pub assignee_user: Option<String>,
    pub stamps: Stamps,
    pub state: Option<State>,
    /// Checkout lock, execution lock and pointer are cleared.
    pub clears_locks: bool,
    /// What becomes of the checkout lock before that; `None`: the question does not arise.
    pub ownership: Option<Ownership>,
    pub waits_on_blockers: bool,
    /// It was closed or blocked, and the comment moved it to `todo`.
    pub reopened_from: Option<IssueStatus>,
    pub decision: Option<StageDecision>,
    pub stage_wake: Option<StageWake>,
    /// Runs to be stopped.
    pub stop: Option<(RunId, StopCause)>,
}

/// Decides what a patch makes of an issue.
pub fn change(current: &Current, patch: &Patch, facts: &Facts, now: Moment) -> Result<Changed, Refusal> {
    let custody = &current.custody;
    let editor = &facts.editor;
    let ownership = may_change(custody, editor, facts.manages)?;
    let is_agent = editor.agent().is_some();
    if patch.resume && patch.comment.is_none() {
        return Err(Refusal::FollowUpNeedsComment);
    }
    if patch.resume || (patch.reopen && is_agent) {
        let view = FollowUp {
            status: custody.status,
            assignee: custody.assignee.as_ref(),
            is_held: facts.is_held,
            is_blocked: !facts.blockers.is_empty(),
            manages: facts.manages,
        };
        follow_up::check(view, editor)?;
    }
    if patch.interrupt && patch.comment.is_none() {
        return Err(Refusal::InterruptNeedsComment);
    }
    if patch.interrupt && is_agent {
        return Err(Refusal::InterruptByAgent);
    }
    let reopened_from = reopens(current, patch, facts);
    let status_asked = patch.status.or(reopened_from.map(|_| IssueStatus::Todo));
    let step = by_policy(current, patch, facts, status_asked)?;
    let status = step.status.or(status_asked).unwrap_or(custody.status);
    let (assignee, assignee_user) = match step.assignee {
        Some(Principal::Agent(agent)) => (Some(agent), None),
        Some(Principal::User(user)) => (None, Some(user)),
        None => {
            check_assignment(current, patch, facts)?;
            (
                patch.assignee.clone().unwrap_or_else(|| custody.assignee.clone()),
                patch.assignee_user.clone().unwrap_or_else(|| current.assignee_user.clone()),
            )
        }
    };
    if assignee.is_some() && assignee_user.is_some() {
        return Err(Refusal::OneAssignee);
    }
    if status == IssueStatus::InProgress {
        let had_somebody = custody.assignee.is_some() || current.assignee_user.is_some();
        let arrives = custody.status != IssueStatus::InProgress;
        // What nobody works on already may still be talked about.
        if assignee.is_none() && assignee_user.is_none() && (arrives || had_somebody) {
            return Err(Refusal::InProgressNeedsAssignee);
        }
        if arrives && !facts.blockers.is_empty() {
            return Err(Refusal::Blocked { blockers: facts.blockers.clone() });
        }
    }
    let is_reassigned = assignee != custody.assignee || assignee_user != current.assignee_user;
    let is_set = status_asked.is_some() || step.status.is_some();
    let leaves = is_set && status != IssueStatus::InProgress;
    let is_cancelled = status == IssueStatus::Cancelled && custody.status != IssueStatus::Cancelled;
    let cause = if patch.interrupt {
        Some(StopCause::Interrupt)
    } else {
        is_cancelled.then_some(StopCause::IssueCancelled)
    };
    Ok(Changed {
        status,
        assignee,
        assignee_user,
        stamps: current.stamps.after(Some(custody.status), status, now),
        state: step.state.unwrap_or_else(|| current.state.clone()),
        clears_locks: leaves || is_reassigned,
        ownership,
        waits_on_blockers: waits(status, &facts.blockers),
        reopened_from,
        decision: step.decision,
        stage_wake: step.wake,
        stop: facts.active_run.clone().zip(cause),
    })
}

/// The status a comment moves the issue away from (spec/api.md 5.1 steps 5 and 8).
///
/// People reopen by writing to an agent; agents only when they say so.
fn reopens(current: &Current, patch: &Patch, facts: &Facts) -> Option<IssueStatus> {
    let status = current.custody.status;
    if patch.comment.is_none() || patch.status.is_some() {
        return None;
    }
    let assignee = patch.assignee.as_ref().unwrap_or(&current.custody.assignee);
    let by_person = matches!(facts.editor, Editor::Board { .. });
    let is_wanted = patch.reopen || patch.resume || (by_person && assignee.is_some());
    let may_move = match status {
        IssueStatus::Done | IssueStatus::Cancelled => true,
        IssueStatus::Blocked => facts.blockers.is_empty(),
        IssueStatus::Backlog | IssueStatus::Todo | IssueStatus::InProgress | IssueStatus::InReview => false,
    };
    (is_wanted && may_move).then_some(status)
}

fn by_policy(
    current: &Current,
    patch: &Patch,
    facts: &Facts,
    status: Option<IssueStatus>,
) -> Result<stages::Step, Refusal> {
    let policy = patch.policy.as_ref().unwrap_or(&current.policy).as_ref();
    let view = StageView {
        status: current.custody.status,
        assignee: one(current.custody.assignee.as_ref(), current.assignee_user.as_deref()),
        policy,
        state: current.state.as_ref(),
    };
    // Who is not named stays; for the stages that is as good as being named again.
    let agent = patch.assignee.as_ref().unwrap_or(&current.custody.assignee);
    let user = patch.assignee_user.as_ref().unwrap_or(&current.assignee_user);
    let ask = StageAsk {
        actor: facts.editor.principal(),
        status,
        assignee: Some(one(agent.as_ref(), user.as_deref())),
        comment: patch.comment.as_deref(),
        review_request: patch.review_request.as_ref().map(Option::as_deref),
        decision_id: &facts.decision_id,
    };
    stages::advance(&view, &ask)
}

fn one(agent: Option<&AgentId>, user: Option<&str>) -> Option<Principal> {
    let agent = agent.cloned().map(Principal::Agent);
    agent.or_else(|| user.map(|user| Principal::User(user.to_owned())))
}

/// The caller may name that assignee (spec/api.md 5.1 step 10 and 4.5.2).
fn check_assignment(current: &Current, patch: &Patch, facts: &Facts) -> Result<(), Refusal> {
    let to_agent = patch.assignee.as_ref().filter(|agent| **agent != current.custody.assignee);
    let to_user = patch.assignee_user.as_ref().filter(|user| **user != current.assignee_user);
    if to_agent.is_none() && to_user.is_none() {
        return Ok(());
    }
    if !facts.may_assign && !hands_back(current, patch, facts) {
        return Err(Refusal::MayNotAssign);
    }
    if to_agent.is_some_and(Option::is_some) {
        facts.new_assignee.unwrap_or(AssigneeFacts::Missing).check()?;
    }
    if to_user.is_some_and(Option::is_some) && !facts.new_user_exists {
        return Err(Refusal::AssigneeUserNotFound);
    }
    Ok(())
}

/// An agent gives its own issue back to the person who made it: no right is needed for that.
fn hands_back(current: &Current, patch: &Patch, facts: &Facts) -> bool {
    let is_own = facts.editor.agent().is_some() && facts.editor.agent() == current.custody.assignee.as_ref();
    is_own
        && patch.assignee == Some(None)
        && current.created_by_user.is_some()
        && patch.assignee_user.as_ref() == Some(&current.created_by_user)
}

/// A run of the issue's assignee that is under way, with what decides whether it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunUnderWay {
    pub run: RunId,
    pub issue: Option<IssueId>,
}

/// The run under way on an issue: the live holder of the lock, else the assignee's run started last, if it works on this
/// issue (spec/heartbeat.md 7.5). Runs that wait are never meant.
pub fn active_run(custody: &Custody, assignees_latest: Option<&RunUnderWay>) -> Option<RunId> {
    let holder = custody.lock.as_ref().filter(|lock| lock.is_live()).map(|lock| lock.run.clone());
    let latest = assignees_latest.filter(|latest| latest.issue.as_ref() == Some(&custody.issue));
    holder.or_else(|| latest.map(|latest| latest.run.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::AgentStatus;
    use crate::issue::EditorRun;
    use crate::issue::checkout::Ownership;
    use crate::issue::lock::{CheckoutFacts, LockFacts};
    use crate::issue::stages::{Participant, PolicyMode, Stage, StageStatus, StageType};
    use crate::run::RunStatus;

    const NOON: Moment = Moment::from_micros(1_000);

    fn current(status: IssueStatus) -> Current {
        Current {
            custody: Custody {
                issue: "i".into(),
                status,
                assignee: Some("dev".into()),
                checkout: None,
                lock: None,
                execution_run: None,
            },
            assignee_user: None,
            created_by_user: Some("boss".into()),
            stamps: Stamps::default(),
            policy: None,
            state: None,
        }
    }

    fn unassigned(status: IssueStatus) -> Current {
        let mut issue = current(status);
        issue.custody.assignee = None;
        issue
    }

    fn by(editor: Editor) -> Facts {
        Facts {
            editor,
            manages: false,
            may_assign: true,
            new_assignee: Some(AssigneeFacts::Found(AgentStatus::Idle)),
            new_user_exists: true,
            blockers: vec![],
            is_held: false,
            active_run: None,
            decision_id: "d".into(),
        }
    }

    fn person() -> Facts {
        by(Editor::Board { user: Some("boss".into()) })
    }

    fn agent(id: &str) -> Facts {
        let run = EditorRun { id: "r".into(), is_live: true, issue: Some("i".into()) };
        by(Editor::Agent { id: id.into(), run: Some(run) })
    }

    fn blocked(facts: Facts) -> Facts {
        Facts { blockers: vec!["b".into()], ..facts }
    }

    fn comment() -> Patch {
        Patch { comment: Some("more".into()), ..Patch::default() }
    }

    fn to(status: IssueStatus) -> Patch {
        Patch { status: Some(status), ..Patch::default() }
    }

    fn changed(current: &Current, patch: &Patch, facts: &Facts) -> Changed {
        change(current, patch, facts, NOON).expect("changed")
    }

    #[test]
    fn an_issue_in_progress_that_nobody_works_on_may_be_talked_about_and_closed() {
        let left = unassigned(IssueStatus::InProgress);
        for patch in [comment(), to(IssueStatus::Done), Patch::default()] {
            assert!(change(&left, &patch, &person(), NOON).is_ok(), "{patch:?}");
        }
    }

    #[test]
    fn refusals_come_in_the_order_of_the_steps() {
        use IssueStatus::{Blocked, Done, InProgress, Todo};
        let resume = |patch: Patch| Patch { resume: true, ..patch };
        let give =
            |agent: Option<&str>| Patch { assignee: Some(agent.map(AgentId::from)), ..Patch::default() };
        let unable = |facts: Facts| Facts { may_assign: false, ..facts };
        let found = |facts, assignee| Facts { new_assignee: assignee, ..facts };
        let to_user = |user: &str| Patch { assignee_user: Some(Some(user.to_owned())), ..Patch::default() };
        type Row = (&'static str, Current, Patch, Facts, Refusal);
        let rows: Vec<Row> = vec![
            (
                "own, in progress, no run",
                current(InProgress),
                resume(Patch::default()),
                by(Editor::Agent { id: "dev".into(), run: None }),
                Refusal::RunIdRequired,
            ),
            (
                "resume without words",
                current(Done),
                resume(to(Todo)),
                person(),
                Refusal::FollowUpNeedsComment,
            ),
            (
                "resume of a blocked issue",
                current(Blocked),
                resume(comment()),
                blocked(person()),
                Refusal::FollowUpBlocked,
            ),
            (
                "reopen by an agent that is not the assignee",
                current(Done),
                Patch { reopen: true, ..comment() },
                agent("qa"),
                Refusal::FollowUpOfAnother,
            ),
            (
                "reopen by an agent under a hold",
                current(Done),
                Patch { reopen: true, ..Patch::default() },
                Facts { is_held: true, ..agent("dev") },
                Refusal::FollowUpHeld,
            ),
            (
                "interrupt without words",
                current(InProgress),
                Patch { interrupt: true, ..Patch::default() },
                agent("dev"),
                Refusal::InterruptNeedsComment,
            ),
            (
                "interrupt by an agent",
                current(InProgress),
                Patch { interrupt: true, ..comment() },
                agent("dev"),
                Refusal::InterruptByAgent,
            ),
            ("may not assign", current(Todo), give(Some("qa")), unable(agent("dev")), Refusal::MayNotAssign),
            ("may not take away", current(Todo), give(None), unable(agent("dev")), Refusal::MayNotAssign),
            (
                "not handed back to who made it",
                current(Todo),
                Patch { assignee: Some(None), ..to_user("other") },
                unable(agent("dev")),
                Refusal::MayNotAssign,
            ),
            (
                "not its own to hand back",
                current(Todo),
                Patch { assignee: Some(None), ..to_user("boss") },
                unable(agent("qa")),
                Refusal::MayNotAssign,
            ),
            (
                "unknown agent",
                current(Todo),
                give(Some("qa")),
                found(person(), None),
                Refusal::AssigneeNotFound,
            ),
            (
                "pending agent",
                current(Todo),
                give(Some("qa")),
                found(person(), Some(AssigneeFacts::Found(AgentStatus::PendingApproval))),
                Refusal::AssigneePending,
            ),
            (
                "unknown person",
                current(Todo),
                Patch { assignee: Some(None), ..to_user("x") },
                Facts { new_user_exists: false, ..person() },
                Refusal::AssigneeUserNotFound,
            ),
            ("two assignees", current(Todo), to_user("boss"), person(), Refusal::OneAssignee),
            ("nobody works", unassigned(Todo), to(InProgress), person(), Refusal::InProgressNeedsAssignee),
            ("the worker goes", current(InProgress), give(None), person(), Refusal::InProgressNeedsAssignee),
            (
                "blockers are open",
                current(Todo),
                to(InProgress),
                blocked(person()),
                Refusal::Blocked { blockers: vec!["b".into()] },
            ),
        ];
        for (name, current, patch, facts, refusal) in rows {
            assert_eq!(change(&current, &patch, &facts, NOON), Err(refusal), "{name}");
        }
    }

    #[test]
    fn what_needs_no_right_or_facts_passes() {
        use IssueStatus::{InProgress, Todo};
        let unable = |facts: Facts| Facts { may_assign: false, new_assignee: None, ..facts };
        let back = Patch {
            assignee: Some(None),
            assignee_user: Some(Some("boss".into())),
            ..to(IssueStatus::InReview)
        };
        let after = changed(&current(Todo), &back, &unable(agent("dev")));
        assert_eq!((after.assignee, after.assignee_user.as_deref()), (None, Some("boss")));
        let same = Patch { assignee: Some(Some("dev".into())), assignee_user: Some(None), ..to(Todo) };
        let after = changed(&current(Todo), &same, &unable(agent("qa")));
        assert_eq!((after.assignee, after.clears_locks), (Some("dev".into()), true));
        let going_on = changed(&current(InProgress), &to(InProgress), &blocked(person()));
        assert_eq!((going_on.status, going_on.waits_on_blockers), (InProgress, true));
        let ungiven = Current { created_by_user: None, ..current(Todo) };
        let nobody = Patch { assignee: Some(None), assignee_user: Some(None), ..Patch::default() };
        let refused = change(&ungiven, &nobody, &unable(agent("dev")), NOON);
        assert_eq!(refused, Err(Refusal::MayNotAssign), "nobody made it, so nobody gets it back");
    }

    #[test]
    fn comments_reopen_what_is_closed_or_no_longer_blocked() {
        use IssueStatus::{Backlog, Blocked, Cancelled, Done, InProgress, InReview, Todo};
        let reopen = || Patch { reopen: true, ..comment() };
        let resume = || Patch { resume: true, ..comment() };
        let given = || Patch { assignee: Some(Some("qa".into())), ..comment() };
        type Row = (&'static str, Current, Patch, Facts, bool);
        let rows: Vec<Row> = vec![
            ("person, done", current(Done), comment(), person(), true),
            ("person, cancelled", current(Cancelled), comment(), person(), true),
            ("person, blocked", current(Blocked), comment(), person(), true),
            ("person, blockers open", current(Blocked), comment(), blocked(person()), false),
            ("person, done, nobody's", unassigned(Done), comment(), person(), false),
            ("person, done, given to an agent", unassigned(Done), given(), person(), true),
            (
                "person, done, taken from the agent",
                current(Done),
                Patch { assignee: Some(None), ..comment() },
                person(),
                false,
            ),
            ("person, explicitly, nobody's", unassigned(Done), reopen(), person(), true),
            ("person, explicitly, open", current(Todo), reopen(), person(), false),
            (
                "person, another status asked",
                current(Done),
                Patch { status: Some(Backlog), ..comment() },
                person(),
                false,
            ),
            (
                "person, without words",
                current(Done),
                Patch { reopen: true, ..Patch::default() },
                person(),
                false,
            ),
            ("agent, done", current(Done), comment(), agent("dev"), false),
            ("agent, blocked", current(Blocked), comment(), agent("dev"), false),
            ("agent, explicitly", current(Done), reopen(), agent("dev"), true),
            ("agent, to go on", current(Done), resume(), agent("dev"), true),
            ("agent, to go on, blocked no longer", current(Blocked), resume(), agent("dev"), true),
            ("agent, to go on, open", current(Todo), resume(), agent("dev"), false),
            ("the program", current(Done), comment(), by(Editor::System), false),
            ("person, backlog", current(Backlog), comment(), person(), false),
            ("person, in progress", current(InProgress), comment(), person(), false),
            ("person, in review", current(InReview), comment(), person(), false),
        ];
        for (name, current, patch, facts, expected) in rows {
            let before = current.custody.status;
            let after = changed(&current, &patch, &facts);
            assert_eq!(after.reopened_from, expected.then_some(before), "{name}");
            let status = if expected { Todo } else { patch.status.unwrap_or(before) };
            assert_eq!(after.status, status, "{name}");
        }
    }

    #[test]
    fn locks_go_with_the_work_and_with_the_assignee() {
        use IssueStatus::{Done, InProgress, Todo};
        let give = Patch { assignee: Some(Some("qa".into())), ..Patch::default() };
        let to_user =
            Patch { assignee: Some(None), assignee_user: Some(Some("u".into())), ..Patch::default() };
        for (name, current, patch, clears) in [
            (
                "a comment",
                current(InProgress),
                Patch { comment: Some("x".into()), ..Patch::default() },
                false,
            ),
            ("in progress again", current(InProgress), to(InProgress), false),
            ("taken up", current(Todo), to(InProgress), false),
            ("finished", current(InProgress), to(Done), true),
            ("put back", current(InProgress), to(Todo), true),
            ("todo again", current(Todo), to(Todo), true),
            ("untouched todo", current(Todo), Patch::default(), false),
            ("given away", current(InProgress), give.clone(), true),
            ("given away, todo", current(Todo), give, true),
            ("given to a person", current(InProgress), to_user, true),
            (
                "given to who has it",
                current(InProgress),
                Patch { assignee: Some(Some("dev".into())), ..Patch::default() },
                false,
            ),
        ] {
            assert_eq!(changed(&current, &patch, &person()).clears_locks, clears, "{name}");
        }
    }

    #[test]
    fn a_run_is_stopped_by_an_interrupt_or_a_cancelled_issue_only() {
        use IssueStatus::{Cancelled, Done, InProgress};
        let running = || Facts { active_run: Some("r".into()), ..person() };
        let interrupt = || Patch { interrupt: true, ..comment() };
        let stop = |cause| Some((RunId::from("r"), cause));
        for (name, current, patch, facts, expected) in [
            ("cancelled", current(InProgress), to(Cancelled), running(), stop(StopCause::IssueCancelled)),
            ("cancelled before", current(Cancelled), to(Cancelled), running(), None),
            ("done", current(InProgress), to(Done), running(), None),
            ("interrupted", current(InProgress), interrupt(), running(), stop(StopCause::Interrupt)),
            ("nothing runs", current(InProgress), interrupt(), person(), None),
            ("a comment", current(InProgress), comment(), running(), None),
            (
                "interrupted and cancelled",
                current(InProgress),
                Patch { status: Some(Cancelled), ..interrupt() },
                running(),
                stop(StopCause::Interrupt),
            ),
        ] {
            assert_eq!(changed(&current, &patch, &facts).stop, expected, "{name}");
        }
        assert_eq!(StopCause::Interrupt.source(), "issue_comment_interrupt");
        assert_eq!(StopCause::IssueCancelled.source(), "issue_status_cancelled");
    }

    #[test]
    fn moments_waiting_and_ownership_follow_the_change() {
        use IssueStatus::{Done, InProgress, Todo};
        let done = changed(&current(InProgress), &to(Done), &blocked(person()));
        assert_eq!(done.stamps, Stamps { completed_at: Some(NOON), ..Stamps::default() });
        assert!(!done.waits_on_blockers);
        assert!(changed(&current(Todo), &Patch::default(), &blocked(person())).waits_on_blockers);
        let started = changed(&current(Todo), &to(InProgress), &person());
        assert_eq!(started.stamps, Stamps { started_at: Some(NOON), ..Stamps::default() });
        let mut held = current(InProgress);
        let gone = CheckoutFacts { run: "old".into(), run_status: Some(RunStatus::Failed) };
        held.custody.checkout = Some(gone);
        let adopted = changed(&held, &comment(), &agent("dev"));
        assert_eq!(adopted.ownership, Some(Ownership::Adopts { previous: "old".into() }));
        assert_eq!(changed(&held, &comment(), &person()).ownership, None);
    }

    #[test]
    fn a_policy_rewrites_status_and_assignee() {
        use IssueStatus::{Done, InProgress, InReview, Todo};
        let who = Participant { id: "p".into(), who: Principal::Agent("qa".into()) };
        let stage = Stage { id: "s".into(), kind: StageType::Review, participants: vec![who] };
        let policy = Policy { mode: PolicyMode::Normal, stages: vec![stage] };
        let issue = Current { policy: Some(policy.clone()), ..current(InProgress) };
        // Neither the agent's missing right to assign nor the status it asked for counts: the policy decides.
        let unable = Facts { may_assign: false, ..agent("dev") };
        let asked = changed(&issue, &to(Done), &unable);
        assert_eq!((asked.status, asked.assignee), (InReview, Some("qa".into())));
        assert!(asked.clears_locks);
        assert_eq!(asked.stamps.completed_at, None);
        assert_eq!(asked.stage_wake.map(|wake| wake.agent), Some("qa".into()));
        let mut reviewing = Current { state: asked.state.clone(), ..issue };
        reviewing.custody.status = InReview;
        reviewing.custody.assignee = Some("qa".into());

        let changes = Patch { comment: Some("no".into()), ..to(Todo) };
        let back = changed(&reviewing, &changes, &agent("qa"));
        assert_eq!((back.status, back.assignee, back.assignee_user), (InProgress, Some("dev".into()), None));
        assert_eq!(back.decision.as_ref().map(|decision| decision.id.as_str()), Some("d"));
        assert_eq!(back.state.map(|state| state.status), Some(StageStatus::ChangesRequested));

        let approve = Patch { comment: Some("fine".into()), ..to(Done) };
        let done = changed(&reviewing, &approve, &agent("qa"));
        assert_eq!((done.status, done.stamps.completed_at), (Done, Some(NOON)));
        assert_eq!(change(&reviewing, &approve, &agent("dev"), NOON), Err(Refusal::NotTheParticipant));

        let untouched = changed(&reviewing, &comment(), &agent("dev"));
        assert_eq!((untouched.state, untouched.status), (reviewing.state.clone(), InReview));
        let given = Patch { assignee: Some(Some("x".into())), ..Patch::default() };
        assert_eq!(change(&reviewing, &given, &person(), NOON), Err(Refusal::NotTheParticipant));
        let to_person =
            Patch { assignee_user: Some(Some("u".into())), assignee: Some(None), ..Patch::default() };
        assert_eq!(change(&reviewing, &to_person, &person(), NOON), Err(Refusal::NotTheParticipant));

        let removed = changed(&reviewing, &Patch { policy: Some(None), ..Patch::default() }, &person());
        assert_eq!((removed.status, removed.assignee, removed.state), (InProgress, Some("dev".into()), None));

        let person_reviews = Participant { id: "p".into(), who: Principal::User("boss".into()) };
        let stage = Stage { id: "s".into(), kind: StageType::Review, participants: vec![person_reviews] };
        let policy = Policy { mode: PolicyMode::Normal, stages: vec![stage] };
        let issue = Current { policy: Some(policy), ..current(InProgress) };
        let asked = changed(&issue, &to(Done), &agent("dev"));
        assert_eq!((asked.assignee, asked.assignee_user.as_deref()), (None, Some("boss")));
        let mut reviewing = Current { assignee_user: asked.assignee_user, state: asked.state, ..issue };
        reviewing.custody.status = InReview;
        reviewing.custody.assignee = None;
        let taken = Patch { assignee_user: Some(None), ..Patch::default() };
        assert_eq!(change(&reviewing, &taken, &person(), NOON), Err(Refusal::NotTheParticipant));
        assert_eq!(changed(&reviewing, &comment(), &agent("dev")).assignee_user.as_deref(), Some("boss"));
        let done = changed(&reviewing, &approve, &person());
        assert_eq!(done.status, Done);
    }

    #[test]
    fn review_instructions_need_a_stage() {
        let patch = Patch { review_request: Some(Some("look".into())), ..Patch::default() };
        let refused = change(&current(IssueStatus::Todo), &patch, &person(), NOON);
        assert_eq!(refused, Err(Refusal::ReviewRequestNeedsStage));
    }

    #[test]
    fn the_active_run_holds_the_lock_or_is_the_assignees_latest_on_the_issue() {
        let lock = |status| {
            Some(LockFacts {
                run: "holder".into(),
                epoch: 1,
                agent: "dev".into(),
                run_status: Some(status),
                run_epoch: 1,
            })
        };
        let latest = |issue: &str| RunUnderWay { run: "latest".into(), issue: Some(issue.into()) };
        let free = current(IssueStatus::InProgress).custody;
        let live = Custody { lock: lock(RunStatus::Running), ..free.clone() };
        let dead = Custody { lock: lock(RunStatus::Failed), ..free.clone() };
        for (name, custody, latest, expected) in [
            ("live holder", &live, Some(latest("i")), Some("holder")),
            ("dead holder", &dead, Some(latest("i")), Some("latest")),
            ("no holder", &free, Some(latest("i")), Some("latest")),
            ("works elsewhere", &free, Some(latest("j")), None),
            ("nothing runs", &free, None, None),
        ] {
            let expected = expected.map(RunId::from);
            assert_eq!(active_run(custody, latest.as_ref()), expected, "{name}");
        }
    }
}
