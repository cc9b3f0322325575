//! Who may take an issue, keep it and give it back.
//!
//! Checkout, the owner check of later changes, release and force-release (spec/api.md 5.3, 2.3 "issue-mutation"). A run
//! that is over owns nothing, whatever the columns say: its late writes are refused, and the refusal names the holder.
//! Writing the locks is not done here.

use super::lock::{CheckoutFacts, LockFacts, is_held_by_other};
use super::refusal::{Conflict, ConflictReason, Refusal};
use super::{Editor, EditorRun, IssueStatus, PauseHold};
use crate::agent::AgentStatus;
use crate::ids::{AgentId, IssueId, RunId};

/// Who has the issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custody {
    pub issue: IssueId,
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
    pub checkout: Option<CheckoutFacts>,
    pub lock: Option<LockFacts>,
    /// The pointer that clients see; it may name a run that only waits.
    pub execution_run: Option<RunId>,
}

/// What a caller finds at the agent that is to get the issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssigneeFacts {
    Missing,
    /// It belongs to another company.
    Foreign,
    Found(AgentStatus),
}

impl AssigneeFacts {
    /// The agent may be given work.
    pub const fn check(self) -> Result<(), Refusal> {
        match self {
            AssigneeFacts::Missing => Err(Refusal::AssigneeNotFound),
            AssigneeFacts::Foreign => Err(Refusal::AssigneeForeign),
            AssigneeFacts::Found(AgentStatus::PendingApproval) => Err(Refusal::AssigneePending),
            AssigneeFacts::Found(AgentStatus::Terminated) => Err(Refusal::AssigneeTerminated),
            AssigneeFacts::Found(
                AgentStatus::Active
                | AgentStatus::Paused
                | AgentStatus::Idle
                | AgentStatus::Running
                | AgentStatus::Error,
            ) => Ok(()),
        }
    }
}

/// Everything a checkout looks at.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckoutView {
    /// `None`: no such issue.
    pub custody: Option<Custody>,
    /// The issue's project is paused; true by its budget.
    pub project_paused: Option<bool>,
    /// The agent that is to get the issue.
    pub target: AgentId,
    pub target_facts: AssigneeFacts,
    pub expected: Vec<IssueStatus>,
    pub hold: Option<PauseHold>,
    /// The caller's run is a verified interaction (`wake::interaction`).
    pub verified: bool,
    /// Blockers that are not done.
    pub blockers: Vec<IssueId>,
}

/// How an issue was got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckedOut {
    /// Assignee, status `in_progress`, both locks and the start are set; a user assignee is cleared.
    Taken,
    /// It was the agent's and in progress already: only the locks are set.
    LockTaken,
    /// As `LockTaken`, from a run that is over.
    Adopted { previous: RunId },
    /// Nothing changes.
    Unchanged,
}

/// Decides a checkout, by the table of spec/api.md 5.3 from top to bottom.
pub fn check_out(view: &CheckoutView, editor: &Editor) -> Result<CheckedOut, Refusal> {
    let Some(custody) = &view.custody else { return Err(Refusal::IssueNotFound) };
    if let Some(by_budget) = view.project_paused {
        return Err(Refusal::ProjectPaused { by_budget });
    }
    if editor.agent().is_some_and(|agent| *agent != view.target) {
        return Err(Refusal::OnlyAsItself);
    }
    if editor.agent().is_some() && editor.run().is_none() {
        return Err(Refusal::RunIdRequired);
    }
    view.target_facts.check()?;
    if let Some(hold) = view.hold.as_ref().filter(|_| !view.verified) {
        return Err(Refusal::CheckoutHeld {
            issue: custody.issue.clone(),
            hold: hold.id.clone(),
            root: hold.root.clone(),
        });
    }
    let run = editor.run();
    if let Some(dead) = run.filter(|run| !run.is_live) {
        return Err(Refusal::CheckoutConflict(Box::new(custody.run_over(dead))));
    }
    if !view.blockers.is_empty() {
        return Err(Refusal::Blocked { blockers: view.blockers.clone() });
    }
    take(custody, view, run)
        .ok_or_else(|| Refusal::CheckoutConflict(Box::new(custody.conflict(&view.target, run))))
}

fn take(custody: &Custody, view: &CheckoutView, run: Option<&EditorRun>) -> Option<CheckedOut> {
    let run = run.map(|run| &run.id);
    let is_free = !custody.lock.as_ref().is_some_and(|lock| lock.is_live() && Some(&lock.run) != run);
    let checkout = custody.checkout.as_ref();
    let is_own_checkout = checkout.is_some_and(|checkout| Some(&checkout.run) == run);
    let is_targets = custody.assignee.as_ref() == Some(&view.target);
    let may_assign = custody.assignee.is_none() || (is_targets && (checkout.is_none() || is_own_checkout));
    if view.expected.contains(&custody.status) && may_assign && is_free {
        return Some(CheckedOut::Taken);
    }
    if !is_targets || custody.status != IssueStatus::InProgress || !is_free {
        return None;
    }
    match checkout {
        None => Some(CheckedOut::LockTaken),
        Some(_) if is_own_checkout => Some(CheckedOut::Unchanged),
        Some(checkout) if !checkout.is_live() => Some(CheckedOut::Adopted { previous: checkout.run.clone() }),
        Some(_) => None,
    }
}

/// How the assignee's run stands to an issue in progress that it is about to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    Holds,
    /// Nobody had the checkout lock: this run gets it.
    Takes,
    /// The run that had it is over: this run gets it, and an activity `issue.checkout_lock_adopted` says so.
    Adopts {
        previous: RunId,
    },
}

/// The reason in the activity of an adoption.
pub const ADOPTED: &str = "stale_checkout_run";

/// Whether an editor may change the issue at all; with what becomes of the checkout lock, where that is asked.
///
/// `manages`: an agent's override over other agents' issues (`access`). Agents whose run is over change nothing: their
/// work was settled, and whoever follows must not find it changed behind the settlement.
pub fn may_change(custody: &Custody, editor: &Editor, manages: bool) -> Result<Option<Ownership>, Refusal> {
    let Editor::Agent { id, run } = editor else { return Ok(None) };
    if let Some(dead) = run.as_ref().filter(|run| !run.is_live) {
        return Err(custody.ownership(custody.run_over(dead), id, Some(dead)));
    }
    let Some(assignee) = custody.assignee.as_ref().filter(|_| custody.status == IssueStatus::InProgress)
    else {
        return Ok(None);
    };
    if assignee != id {
        if manages {
            return Ok(None);
        }
        let conflict = Box::new(custody.conflict(id, run.as_ref()));
        return Err(Refusal::CheckedOutByAnother { conflict, actor: id.clone() });
    }
    let Some(run) = run else { return Err(Refusal::RunIdRequired) };
    if is_held_by_other(&run.id, custody.lock.as_ref()) {
        return Err(custody.ownership(custody.conflict(id, Some(run)), id, Some(run)));
    }
    match &custody.checkout {
        None => Ok(Some(Ownership::Takes)),
        Some(checkout) if checkout.run == run.id => Ok(Some(Ownership::Holds)),
        Some(checkout) if !checkout.is_live() => {
            Ok(Some(Ownership::Adopts { previous: checkout.run.clone() }))
        }
        Some(_) => Err(custody.ownership(custody.conflict(id, Some(run)), id, Some(run))),
    }
}

/// What is given up: status becomes `todo`, the agent assignee and all locks are cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    pub previous_checkout: Option<RunId>,
    pub previous_execution: Option<RunId>,
}

/// Decides a release.
pub fn release(custody: &Custody, editor: &Editor, manages: bool) -> Result<Released, Refusal> {
    may_change(custody, editor, manages)?;
    if let Editor::Agent { id, run } = editor {
        let Some(run) = run else { return Err(Refusal::RunIdRequired) };
        if custody.assignee.as_ref() != Some(id) {
            return Err(Refusal::NotAssignee);
        }
        let other = custody.checkout.as_ref().filter(|held| held.run != run.id && held.is_live());
        if let Some(held) = other {
            return Err(Refusal::NotCheckoutRun {
                issue: custody.issue.clone(),
                assignee: custody.assignee.clone(),
                checkout_run: held.run.clone(),
                actor_run: run.id.clone(),
            });
        }
    }
    Ok(custody.released())
}

/// Decides a force-release: a person clears all locks, whoever holds them, and the assignee if asked. Answers with the
/// status afterwards: it stays, unless the issue were in progress and nobody's, which no rule would ever pick up.
pub fn force_release(
    custody: &Custody,
    is_nobodys_then: bool,
    editor: &Editor,
) -> Result<(Released, IssueStatus), Refusal> {
    match editor {
        Editor::Board { user: Some(_) } => {}
        Editor::Board { user: None } | Editor::Agent { .. } | Editor::System => {
            return Err(Refusal::BoardRequired);
        }
    }
    let is_left = is_nobodys_then && custody.status == IssueStatus::InProgress;
    Ok((custody.released(), if is_left { IssueStatus::Todo } else { custody.status }))
}

/// Whether the program checks the issue out for a run before the agent starts (spec/heartbeat.md 4.2); it expects
/// [`HARNESS_EXPECTS`], and a checkout conflict only means that the agent must do it by itself.
pub fn harness_checks_out(
    agent: &AgentId,
    assignee: Option<&AgentId>,
    is_ready: bool,
    status: IssueStatus,
    wake_reason: Option<&str>,
) -> bool {
    let may_start = match status {
        IssueStatus::Todo | IssueStatus::Backlog | IssueStatus::Blocked | IssueStatus::InProgress => true,
        IssueStatus::InReview | IssueStatus::Done | IssueStatus::Cancelled => false,
    };
    let is_for_work = wake_reason
        .is_some_and(|reason| reason != "issue_comment_mentioned" && !reason.starts_with("execution_"));
    assignee == Some(agent) && is_ready && may_start && is_for_work
}

/// The statuses that the program expects when it checks an issue out by itself.
pub const HARNESS_EXPECTS: [IssueStatus; 3] = [IssueStatus::Todo, IssueStatus::Backlog, IssueStatus::Blocked];

impl Custody {
    fn released(&self) -> Released {
        Released {
            previous_checkout: self.checkout.as_ref().map(|checkout| checkout.run.clone()),
            previous_execution: self
                .execution_run
                .clone()
                .or_else(|| self.lock.as_ref().map(|lock| lock.run.clone())),
        }
    }

    /// The run that has the issue now, or had it last, and whether it is live.
    fn holder(&self) -> (Option<RunId>, bool) {
        let lock = self.lock.as_ref().map(|lock| (lock.run.clone(), lock.is_live()));
        let checkout = self.checkout.as_ref().map(|checkout| (checkout.run.clone(), checkout.is_live()));
        match (lock, checkout) {
            (Some((run, true)), _) | (_, Some((run, true))) => (Some(run), true),
            (Some((run, false)), _) | (None, Some((run, false))) => (Some(run), false),
            (None, None) => (None, false),
        }
    }

    fn conflict(&self, target: &AgentId, run: Option<&EditorRun>) -> Conflict {
        let (holder, is_live) = self.holder();
        let reason = if is_live && holder.as_ref() != run.map(|run| &run.id) {
            ConflictReason::HeldByRun
        } else if self.assignee.as_ref().is_some_and(|assignee| assignee != target) {
            ConflictReason::AssignedToOther
        } else {
            ConflictReason::StatusNotExpected
        };
        self.told(holder, is_live, reason)
    }

    fn run_over(&self, dead: &EditorRun) -> Conflict {
        let (holder, is_live) = self.holder();
        self.told(holder.or_else(|| Some(dead.id.clone())), is_live, ConflictReason::RunOver)
    }

    fn told(&self, holder: Option<RunId>, holder_is_live: bool, reason: ConflictReason) -> Conflict {
        Conflict {
            issue: self.issue.clone(),
            status: self.status,
            assignee: self.assignee.clone(),
            checkout_run: self.checkout.as_ref().map(|checkout| checkout.run.clone()),
            execution_run: self.execution_run.clone(),
            holder,
            holder_is_live,
            reason,
        }
    }

    fn ownership(&self, conflict: Conflict, agent: &AgentId, run: Option<&EditorRun>) -> Refusal {
        Refusal::OwnershipConflict {
            conflict: Box::new(conflict),
            actor: agent.clone(),
            actor_run: run.map(|run| run.id.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunStatus;

    fn custody() -> Custody {
        Custody {
            issue: "i".into(),
            status: IssueStatus::Todo,
            assignee: Some("me".into()),
            checkout: None,
            lock: None,
            execution_run: None,
        }
    }

    fn view() -> CheckoutView {
        CheckoutView {
            custody: Some(custody()),
            project_paused: None,
            target: "me".into(),
            target_facts: AssigneeFacts::Found(AgentStatus::Idle),
            expected: vec![IssueStatus::Todo, IssueStatus::Backlog, IssueStatus::Blocked],
            hold: None,
            verified: false,
            blockers: vec![],
        }
    }

    fn me(run: Option<&str>) -> Editor {
        let run = run.map(|id| EditorRun { id: id.into(), is_live: true, issue: None });
        Editor::Agent { id: "me".into(), run }
    }

    fn late(run: &str) -> Editor {
        let run = EditorRun { id: run.into(), is_live: false, issue: None };
        Editor::Agent { id: "me".into(), run: Some(run) }
    }

    fn board() -> Editor {
        Editor::Board { user: Some("u".into()) }
    }

    fn checkout(run: &str, status: Option<RunStatus>) -> Option<CheckoutFacts> {
        Some(CheckoutFacts { run: run.into(), run_status: status })
    }

    fn lock(run: &str, status: RunStatus) -> Option<LockFacts> {
        let (run, agent) = (run.into(), "me".into());
        Some(LockFacts { run, epoch: 1, agent, run_status: Some(status), run_epoch: 1 })
    }

    fn conflict(
        custody: &Custody,
        holder: Option<&str>,
        holder_is_live: bool,
        reason: ConflictReason,
    ) -> Box<Conflict> {
        Box::new(Conflict {
            issue: custody.issue.clone(),
            status: custody.status,
            assignee: custody.assignee.clone(),
            checkout_run: custody.checkout.as_ref().map(|c| c.run.clone()),
            execution_run: custody.execution_run.clone(),
            holder: holder.map(RunId::from),
            holder_is_live,
            reason,
        })
    }

    /// The refusals before the issue itself is looked at, in the order of the table.
    #[test]
    fn a_checkout_is_refused_by_the_first_row_that_applies() {
        let hold = PauseHold { id: "h".into(), root: "r".into(), reason: None, release_policy: None };
        let held = CheckoutView { hold: Some(hold), ..view() };
        let of = |facts| CheckoutView { target_facts: facts, ..view() };
        let over =
            Refusal::CheckoutConflict(conflict(&custody(), Some("r1"), false, ConflictReason::RunOver));
        let rows: Vec<(&str, CheckoutView, Editor, Result<CheckedOut, Refusal>)> = vec![
            ("missing", CheckoutView { custody: None, ..view() }, me(None), Err(Refusal::IssueNotFound)),
            (
                "project paused",
                CheckoutView { project_paused: Some(false), target: "you".into(), ..view() },
                me(None),
                Err(Refusal::ProjectPaused { by_budget: false }),
            ),
            (
                "project out of budget",
                CheckoutView { project_paused: Some(true), ..view() },
                board(),
                Err(Refusal::ProjectPaused { by_budget: true }),
            ),
            (
                "for somebody else",
                CheckoutView { target: "you".into(), ..view() },
                me(None),
                Err(Refusal::OnlyAsItself),
            ),
            ("without a run", of(AssigneeFacts::Missing), me(None), Err(Refusal::RunIdRequired)),
            ("agent missing", of(AssigneeFacts::Missing), board(), Err(Refusal::AssigneeNotFound)),
            ("agent foreign", of(AssigneeFacts::Foreign), board(), Err(Refusal::AssigneeForeign)),
            (
                "agent pending",
                of(AssigneeFacts::Found(AgentStatus::PendingApproval)),
                board(),
                Err(Refusal::AssigneePending),
            ),
            (
                "agent terminated",
                of(AssigneeFacts::Found(AgentStatus::Terminated)),
                board(),
                Err(Refusal::AssigneeTerminated),
            ),
            ("agent paused", of(AssigneeFacts::Found(AgentStatus::Paused)), board(), Ok(CheckedOut::Taken)),
            (
                "held",
                CheckoutView { blockers: vec!["b".into()], ..held.clone() },
                me(Some("r1")),
                Err(Refusal::CheckoutHeld { issue: "i".into(), hold: "h".into(), root: "r".into() }),
            ),
            (
                "held, verified",
                CheckoutView { verified: true, ..held },
                me(Some("r1")),
                Ok(CheckedOut::Taken),
            ),
            ("a run that is over", view(), late("r1"), Err(over)),
            (
                "blocked",
                CheckoutView { blockers: vec!["b".into()], ..view() },
                me(Some("r1")),
                Err(Refusal::Blocked { blockers: vec!["b".into()] }),
            ),
        ];
        for (name, view, editor, expected) in rows {
            assert_eq!(check_out(&view, &editor), expected, "{name}");
        }
    }

    /// The rows of the table about the issue's own state: who has it, who asks, what comes out.
    #[test]
    fn an_issue_is_taken_kept_or_adopted() {
        use ConflictReason::{AssignedToOther, HeldByRun, StatusNotExpected};
        use RunStatus::{Failed, Running};
        let started = || Custody { status: IssueStatus::InProgress, ..custody() };
        let refused = |custody: &Custody, holder, live, reason| {
            Err(Refusal::CheckoutConflict(conflict(custody, holder, live, reason)))
        };
        let locked = Custody { lock: lock("r2", Running), execution_run: Some("r2".into()), ..custody() };
        let theirs = Custody { assignee: Some("you".into()), ..custody() };
        let theirs_live = Custody { lock: lock("r2", Running), ..theirs.clone() };
        let in_review = Custody { status: IssueStatus::InReview, ..custody() };
        let kept = Custody { checkout: checkout("r2", Some(Running)), ..started() };
        let both = Custody { lock: lock("r2", Running), ..kept.clone() };
        let fenced =
            Custody { lock: lock("r2", Running).map(|lock| LockFacts { run_epoch: 2, ..lock }), ..custody() };
        let stale_checkout = Custody { checkout: checkout("r2", Some(Failed)), ..custody() };
        type Row = (&'static str, Custody, Editor, Result<CheckedOut, Refusal>);
        let rows: Vec<Row> = vec![
            ("todo, own", custody(), me(Some("r1")), Ok(CheckedOut::Taken)),
            (
                "todo, nobody's",
                Custody { assignee: None, ..custody() },
                me(Some("r1")),
                Ok(CheckedOut::Taken),
            ),
            (
                "todo, own checkout",
                Custody { checkout: checkout("r1", Some(Running)), ..custody() },
                me(Some("r1")),
                Ok(CheckedOut::Taken),
            ),
            (
                "todo, own lock",
                Custody { lock: lock("r1", Running), ..custody() },
                me(Some("r1")),
                Ok(CheckedOut::Taken),
            ),
            (
                "todo, lock of a run that is over",
                Custody { lock: lock("r2", Failed), ..custody() },
                me(Some("r1")),
                Ok(CheckedOut::Taken),
            ),
            ("todo, lock of an earlier epoch", fenced, me(Some("r1")), Ok(CheckedOut::Taken)),
            (
                "todo, lock of a live run",
                locked.clone(),
                me(Some("r1")),
                refused(&locked, Some("r2"), true, HeldByRun),
            ),
            (
                "todo, lock of a live run, board",
                locked.clone(),
                board(),
                refused(&locked, Some("r2"), true, HeldByRun),
            ),
            (
                "todo, checkout of another run",
                stale_checkout.clone(),
                me(Some("r1")),
                refused(&stale_checkout, Some("r2"), false, StatusNotExpected),
            ),
            ("another's", theirs.clone(), me(Some("r1")), refused(&theirs, None, false, AssignedToOther)),
            (
                "another's, live",
                theirs_live.clone(),
                me(Some("r1")),
                refused(&theirs_live, Some("r2"), true, HeldByRun),
            ),
            (
                "not expected",
                in_review.clone(),
                me(Some("r1")),
                refused(&in_review, None, false, StatusNotExpected),
            ),
            ("board", custody(), board(), Ok(CheckedOut::Taken)),
            ("in progress, no checkout", started(), me(Some("r1")), Ok(CheckedOut::LockTaken)),
            (
                "in progress, dead checkout",
                Custody { checkout: checkout("r2", Some(Failed)), ..started() },
                me(Some("r1")),
                Ok(CheckedOut::Adopted { previous: "r2".into() }),
            ),
            (
                "in progress, checkout of no run",
                Custody { checkout: checkout("r2", None), ..started() },
                me(Some("r1")),
                Ok(CheckedOut::Adopted { previous: "r2".into() }),
            ),
            (
                "in progress, same run",
                Custody { checkout: checkout("r1", Some(Running)), ..started() },
                me(Some("r1")),
                Ok(CheckedOut::Unchanged),
            ),
            (
                "in progress, live checkout",
                kept.clone(),
                me(Some("r1")),
                refused(&kept, Some("r2"), true, HeldByRun),
            ),
            (
                "in progress, live both",
                both.clone(),
                me(Some("r1")),
                refused(&both, Some("r2"), true, HeldByRun),
            ),
            (
                "in progress, live lock",
                Custody { checkout: None, ..both.clone() },
                me(Some("r1")),
                refused(&Custody { checkout: None, ..both.clone() }, Some("r2"), true, HeldByRun),
            ),
            (
                "in progress, another's",
                Custody { assignee: Some("you".into()), ..started() },
                me(Some("r1")),
                refused(&Custody { assignee: Some("you".into()), ..started() }, None, false, AssignedToOther),
            ),
        ];
        for (name, custody, editor, expected) in rows {
            let view = CheckoutView { custody: Some(custody), ..view() };
            assert_eq!(check_out(&view, &editor), expected, "{name}");
        }
    }

    #[test]
    fn a_late_write_of_the_old_holder_is_refused_and_names_who_holds_now() {
        use RunStatus::{Failed, Running};
        let started = Custody { status: IssueStatus::InProgress, ..custody() };
        let nobody =
            Custody { checkout: checkout("r1", Some(Failed)), lock: lock("r1", Failed), ..started.clone() };
        let next =
            Custody { checkout: checkout("r1", Some(Failed)), lock: lock("r2", Running), ..started.clone() };
        let next_checkout =
            Custody { checkout: checkout("r2", Some(Running)), lock: lock("r1", Failed), ..started.clone() };
        let done = Custody { status: IssueStatus::Done, ..custody() };
        for (custody, holder, is_live) in [
            (nobody, "r1", false),
            (next, "r2", true),
            (next_checkout, "r2", true),
            (started, "r1", false),
            (done, "r1", false),
        ] {
            let told = conflict(&custody, Some(holder), is_live, ConflictReason::RunOver);
            let refusal = Refusal::OwnershipConflict {
                conflict: told,
                actor: "me".into(),
                actor_run: Some("r1".into()),
            };
            assert_eq!(may_change(&custody, &late("r1"), true), Err(refusal.clone()));
            assert_eq!(release(&custody, &late("r1"), true), Err(refusal));
        }
    }

    #[test]
    fn who_may_change_an_issue() {
        use RunStatus::{Failed, Running};
        let started = || Custody { status: IssueStatus::InProgress, ..custody() };
        let theirs = Custody { assignee: Some("you".into()), lock: lock("r2", Running), ..started() };
        let kept = Custody { checkout: checkout("r2", Some(Running)), ..started() };
        let locked =
            Custody { lock: lock("r2", Running), checkout: checkout("r1", Some(Running)), ..started() };
        let owner = |custody: &Custody| Refusal::OwnershipConflict {
            conflict: conflict(custody, Some("r2"), true, ConflictReason::HeldByRun),
            actor: "me".into(),
            actor_run: Some("r1".into()),
        };
        let another = Refusal::CheckedOutByAnother {
            conflict: conflict(&theirs, Some("r2"), true, ConflictReason::HeldByRun),
            actor: "me".into(),
        };
        type Row = (&'static str, Custody, Editor, bool, Result<Option<Ownership>, Refusal>);
        let rows: Vec<Row> = vec![
            ("a person", theirs.clone(), board(), false, Ok(None)),
            ("the program", theirs.clone(), Editor::System, false, Ok(None)),
            ("an agent, not in progress", custody(), me(None), false, Ok(None)),
            ("an agent, nobody's", Custody { assignee: None, ..started() }, me(None), false, Ok(None)),
            ("another agent's", theirs.clone(), me(Some("r1")), false, Err(another)),
            ("another agent's, a manager", theirs, me(Some("r1")), true, Ok(None)),
            ("own, without a run", started(), me(None), false, Err(Refusal::RunIdRequired)),
            ("own, free", started(), me(Some("r1")), false, Ok(Some(Ownership::Takes))),
            (
                "own, held by this run",
                Custody { checkout: checkout("r1", Some(Running)), lock: lock("r1", Running), ..started() },
                me(Some("r1")),
                false,
                Ok(Some(Ownership::Holds)),
            ),
            (
                "own, held by a run that is over",
                Custody { checkout: checkout("r2", Some(Failed)), lock: lock("r2", Failed), ..started() },
                me(Some("r1")),
                false,
                Ok(Some(Ownership::Adopts { previous: "r2".into() })),
            ),
            ("own, checked out by another run", kept.clone(), me(Some("r1")), true, Err(owner(&kept))),
            ("own, locked by another run", locked.clone(), me(Some("r1")), true, Err(owner(&locked))),
        ];
        for (name, custody, editor, manages, expected) in rows {
            assert_eq!(may_change(&custody, &editor, manages), expected, "{name}");
        }
    }

    #[test]
    fn the_assignee_gives_back_what_its_run_holds() {
        use RunStatus::{Failed, Running};
        let held = Custody {
            status: IssueStatus::InProgress,
            checkout: checkout("r1", Some(Running)),
            lock: lock("r1", Running),
            ..custody()
        };
        let stale = Custody { checkout: checkout("r2", Some(Failed)), lock: None, ..held.clone() };
        let odd = Custody { checkout: checkout("r2", Some(Running)), ..custody() };
        let freed = |checkout: &str, execution: Option<&str>| {
            Ok(Released {
                previous_checkout: Some(checkout.into()),
                previous_execution: execution.map(RunId::from),
            })
        };
        let rows: Vec<(&str, Custody, Editor, Result<Released, Refusal>)> = vec![
            ("its own", held.clone(), me(Some("r1")), freed("r1", Some("r1"))),
            ("after the owning run failed", stale, me(Some("r1")), freed("r2", None)),
            ("a person", held.clone(), board(), freed("r1", Some("r1"))),
            ("without a run", custody(), me(None), Err(Refusal::RunIdRequired)),
            (
                "not the assignee",
                Custody { assignee: None, ..custody() },
                me(Some("r1")),
                Err(Refusal::NotAssignee),
            ),
            (
                "not the run that has it",
                odd,
                me(Some("r1")),
                Err(Refusal::NotCheckoutRun {
                    issue: "i".into(),
                    assignee: Some("me".into()),
                    checkout_run: "r2".into(),
                    actor_run: "r1".into(),
                }),
            ),
        ];
        for (name, custody, editor, expected) in rows {
            assert_eq!(release(&custody, &editor, false), expected, "{name}");
        }
        let pointed = Custody { execution_run: Some("q".into()), ..held };
        let freed = freed("r1", Some("q"));
        let freed = freed.expect("released");
        for (before, is_nobodys_then, after) in [
            (IssueStatus::InProgress, false, IssueStatus::InProgress),
            (IssueStatus::InProgress, true, IssueStatus::Todo),
            (IssueStatus::InReview, true, IssueStatus::InReview),
            (IssueStatus::Todo, true, IssueStatus::Todo),
        ] {
            let custody = Custody { status: before, ..pointed.clone() };
            assert_eq!(force_release(&custody, is_nobodys_then, &board()), Ok((freed.clone(), after)));
        }
        for editor in [me(Some("r1")), Editor::System, Editor::Board { user: None }] {
            assert_eq!(force_release(&pointed, false, &editor), Err(Refusal::BoardRequired));
        }
    }

    #[test]
    fn the_program_checks_out_only_for_work_of_the_assignee() {
        use IssueStatus::{Backlog, Blocked, Cancelled, Done, InProgress, InReview, Todo};
        let ask = |status, reason| harness_checks_out(&"me".into(), Some(&"me".into()), true, status, reason);
        for (status, expected) in [
            (Todo, true),
            (Backlog, true),
            (Blocked, true),
            (InProgress, true),
            (InReview, false),
            (Done, false),
            (Cancelled, false),
        ] {
            assert_eq!(ask(status, Some("issue_assigned")), expected, "{status}");
        }
        for (reason, expected) in [
            (None, false),
            (Some("issue_comment_mentioned"), false),
            (Some("execution_review_requested"), false),
            (Some("issue_commented"), true),
        ] {
            assert_eq!(ask(Todo, reason), expected, "{reason:?}");
        }
        assert!(!harness_checks_out(&"me".into(), Some(&"you".into()), true, Todo, Some("x")));
        assert!(!harness_checks_out(&"me".into(), None, true, Todo, Some("x")));
        assert!(!harness_checks_out(&"me".into(), Some(&"me".into()), false, Todo, Some("x")));
        assert_eq!(HARNESS_EXPECTS.map(IssueStatus::as_str), ["todo", "backlog", "blocked"]);
    }
}
