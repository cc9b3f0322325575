//! When a scope that a budget paused works again, and which of its work is taken up.
//!
//! What waited needs nothing: its gates are asked anew. What was stopped is woken again, once per agent and task, in the
//! session it was stopped in.

use super::{Account, Level, ScopeState};
use crate::agent::AgentStatus;
use crate::ids::{AgentId, IssueId, RunId};
use crate::issue::IssueStatus;
use crate::moment::Moment;

/// The reason of the wakes that take stopped work up again.
pub const WAKE_REASON: &str = "budget_resumed";

/// The scope works again: a budget paused it, and no budget of its own would stop it at once.
///
/// `others` are the accounts of the scope apart from the one that was changed.
pub fn may_resume(scope: ScopeState, others: &[Account]) -> bool {
    scope.is_paused_for_budget() && others.iter().all(|account| account.level() != Level::HardStop)
}

/// The next window has begun: what the last one stopped goes on, unless somebody chose to keep it paused.
///
/// `accounts` are all accounts of the scope in their windows of now.
pub fn renews(scope: ScopeState, accounts: &[Account], kept_paused: bool) -> bool {
    !kept_paused && may_resume(scope, accounts)
}

/// A run that a budget stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoppedRun {
    pub id: RunId,
    pub agent: AgentId,
    /// The status of its agent after the scope was resumed.
    pub agent_status: AgentStatus,
    pub task_key: Option<String>,
    pub issue: Option<IssueView>,
    pub stopped_at: Moment,
    /// The agent has a later run of the same task, waiting, running or over: the work went on.
    pub was_followed: bool,
    /// It worked on a step of an automation. The automation's run was stopped with it and takes the step up itself, as a
    /// new attempt: a wake beside that would do the step twice.
    pub is_step: bool,
}

/// The issue of a run, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueView {
    pub id: IssueId,
    pub status: IssueStatus,
    pub assignee: Option<AgentId>,
}

/// The runs to take up, oldest stop first: for each agent and task the last one that was stopped, if its work is still
/// there for it to do.
pub fn rewake(stopped: &[StoppedRun]) -> Vec<&StoppedRun> {
    let mut by_age: Vec<&StoppedRun> = stopped.iter().collect();
    by_age.sort_by(|a, b| (a.stopped_at, &a.id).cmp(&(b.stopped_at, &b.id)));
    let is_last = |at: usize| {
        let run = by_age[at];
        !by_age[at + 1..].iter().any(|later| later.agent == run.agent && later.task_key == run.task_key)
    };
    (0..by_age.len()).filter(|at| is_last(*at)).map(|at| by_age[at]).filter(|run| is_wanted(run)).collect()
}

fn is_wanted(run: &StoppedRun) -> bool {
    let has_work = run
        .issue
        .as_ref()
        .is_none_or(|issue| !issue.status.is_terminal() && issue.assignee.as_ref() == Some(&run.agent));
    run.agent_status.is_invokable() && !run.was_followed && !run.is_step && has_work
}

#[cfg(test)]
mod tests {
    use super::super::samples::account;
    use super::super::{CompanyStatus, Policy};
    use super::*;
    use crate::agent::PauseReason;

    #[test]
    fn only_what_a_budget_paused_and_none_still_stops_is_resumed() {
        let agent = |status, reason| ScopeState::Agent { status, reason };
        let held = agent(AgentStatus::Paused, Some(PauseReason::Budget));
        let full =
            Account { policy: Policy { hard_stop: false, ..account(0, 0).policy }, ..account(900_000, 0) };
        for (scope, others, resumes) in [
            (held, vec![], true),
            (held, vec![account(499_999, 0), full], true),
            (held, vec![account(0, 0), account(500_000, 0)], false),
            (held, vec![account(0, 500_001)], false),
            (agent(AgentStatus::Paused, Some(PauseReason::Manual)), vec![], false),
            (agent(AgentStatus::Idle, None), vec![], false),
            (
                ScopeState::Company { status: CompanyStatus::Paused, reason: Some(PauseReason::Budget) },
                vec![],
                true,
            ),
            (ScopeState::Project { reason: Some(PauseReason::Budget) }, vec![], true),
        ] {
            assert_eq!(may_resume(scope, &others), resumes, "{scope:?} {others:?}");
            assert_eq!(renews(scope, &others, false), resumes);
            assert!(!renews(scope, &others, true));
        }
    }

    fn run(id: &str) -> StoppedRun {
        StoppedRun {
            id: RunId::from(id),
            agent: AgentId::from("a1"),
            agent_status: AgentStatus::Idle,
            task_key: Some("i1".into()),
            issue: Some(IssueView {
                id: IssueId::from("i1"),
                status: IssueStatus::InProgress,
                assignee: Some(AgentId::from("a1")),
            }),
            stopped_at: Moment::from_micros(0),
            was_followed: false,
            is_step: false,
        }
    }

    fn with_issue(change: impl Fn(&mut IssueView)) -> StoppedRun {
        let mut run = run("r");
        change(run.issue.as_mut().expect("it has one"));
        run
    }

    #[test]
    fn stopped_work_is_taken_up_when_it_is_still_there() {
        let rows = [
            ("as it was", run("r"), true),
            ("no issue", StoppedRun { issue: None, ..run("r") }, true),
            ("followed", StoppedRun { was_followed: true, ..run("r") }, false),
            ("step of an automation", StoppedRun { is_step: true, ..run("r") }, false),
            ("agent paused", StoppedRun { agent_status: AgentStatus::Paused, ..run("r") }, false),
            ("agent terminated", StoppedRun { agent_status: AgentStatus::Terminated, ..run("r") }, false),
            ("agent in error", StoppedRun { agent_status: AgentStatus::Error, ..run("r") }, true),
            ("issue done", with_issue(|issue| issue.status = IssueStatus::Done), false),
            ("issue cancelled", with_issue(|issue| issue.status = IssueStatus::Cancelled), false),
            ("issue in review", with_issue(|issue| issue.status = IssueStatus::InReview), true),
            ("issue given away", with_issue(|issue| issue.assignee = Some(AgentId::from("a2"))), false),
            ("issue without assignee", with_issue(|issue| issue.assignee = None), false),
        ];
        for (name, run, wanted) in rows {
            assert_eq!(!rewake(std::slice::from_ref(&run)).is_empty(), wanted, "{name}");
        }
    }

    #[test]
    fn each_task_is_woken_once_by_its_last_run() {
        let at = |id: &str, agent: &str, key: Option<&str>, seconds: i64| StoppedRun {
            agent: AgentId::from(agent),
            task_key: key.map(str::to_owned),
            issue: None,
            stopped_at: Moment::from_micros(seconds),
            ..run(id)
        };
        let runs = [
            at("new", "a1", Some("i1"), 9),
            at("old", "a1", Some("i1"), 1),
            at("other agent", "a2", Some("i1"), 5),
            at("other task", "a1", Some("i2"), 4),
            at("no task 1", "a1", None, 2),
            at("no task 2", "a1", None, 2),
        ];
        let woken: Vec<&str> = rewake(&runs).iter().map(|run| run.id.as_str()).collect();
        assert_eq!(woken, ["no task 2", "other task", "other agent", "new"]);
        // An old run does not stand in for a last one that is not wanted.
        let followed = [
            at("old", "a1", Some("i1"), 1),
            StoppedRun { was_followed: true, ..at("new", "a1", Some("i1"), 9) },
        ];
        assert_eq!(rewake(&followed), Vec::<&StoppedRun>::new());
    }
}
