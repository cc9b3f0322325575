//! Which waiting run may start now, and for what the others wait.
//!
//! [`gate`] is asked for every start and for every `heldReason` that people see: the same rules, so the reason cannot
//! differ from what the dispatcher does. [`order`] ranks the candidates of one agent. The gates of tasks, budgets and
//! quotas are not here yet; their places in the order are fixed by D4.

use crate::agent::AgentStatus;
use crate::hold::HeldReason;
use crate::ids::RunId;
use crate::moment::Moment;
use crate::run::RunStatus;

/// What the gates look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimView {
    pub status: RunStatus,
    /// `None`: the agent is gone.
    pub agent: Option<AgentStatus>,
    /// Slots of the agent.
    pub slots: u32,
    /// Runs of the agent that hold a slot.
    pub agent_running: u32,
    /// A run of the same agent and task key is under way.
    pub scope_running: bool,
    /// Processes the instance may run at once.
    pub instance_slots: u32,
    /// Runs of the instance that hold one.
    pub instance_running: u32,
}

/// What the gates say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It may start.
    Open,
    /// It stays queued and shows this.
    Held(HeldReason),
    /// It will never start: it is cancelled with these words.
    Ends(&'static str),
    /// It is not a waiting run; there is nothing to decide.
    NotWaiting,
}

/// Asks the gates, in order.
pub fn gate(view: &ClaimView) -> Gate {
    match view.status {
        RunStatus::Queued => {}
        RunStatus::ScheduledRetry => return Gate::Held(HeldReason::RetryBackoff),
        RunStatus::Running
        | RunStatus::Succeeded
        | RunStatus::Failed
        | RunStatus::Cancelled
        | RunStatus::TimedOut => {
            return Gate::NotWaiting;
        }
    }
    match view.agent {
        None => return Gate::Ends("the agent no longer exists"),
        Some(AgentStatus::Terminated) => return Gate::Ends("the agent was terminated"),
        // An agent that waits for approval is as good as paused: its queue is kept until somebody decides.
        Some(AgentStatus::Paused | AgentStatus::PendingApproval) => return Gate::Held(HeldReason::Paused),
        Some(AgentStatus::Active | AgentStatus::Idle | AgentStatus::Running | AgentStatus::Error) => {}
    }
    if view.scope_running {
        return Gate::Held(HeldReason::Running);
    }
    if view.agent_running >= view.slots {
        return Gate::Held(HeldReason::Slot);
    }
    if view.instance_running >= view.instance_slots {
        return Gate::Held(HeldReason::Capacity);
    }
    Gate::Open
}

/// A queued run of an agent, as far as its place in the queue goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub id: RunId,
    /// 0 task in progress and ready, 1 task ready, 2 no task, 3 task not ready (spec/heartbeat.md 3.2).
    pub rank: u8,
    /// 0 critical to 3 low, 4 anything else.
    pub priority: u8,
    pub queued_at: Moment,
}

/// Rank of a run without a task.
pub const RANK_NO_TASK: u8 = 2;
/// Priority of a run without a task.
pub const PRIORITY_NONE: u8 = 4;

/// Puts the candidates into the order in which they are claimed: rank, priority, then first come first served.
pub fn order(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| {
        (a.rank, a.priority, a.queued_at, &a.id).cmp(&(b.rank, b.priority, b.queued_at, &b.id))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> ClaimView {
        ClaimView {
            status: RunStatus::Queued,
            agent: Some(AgentStatus::Idle),
            slots: 2,
            agent_running: 0,
            scope_running: false,
            instance_slots: 10,
            instance_running: 0,
        }
    }

    #[test]
    fn the_gates_are_asked_in_order() {
        use HeldReason::{Capacity, Paused, RetryBackoff, Running, Slot};
        let rows: Vec<(&str, ClaimView, Gate)> = vec![
            ("free", free(), Gate::Open),
            ("last slot", ClaimView { agent_running: 1, ..free() }, Gate::Open),
            ("no slot", ClaimView { agent_running: 2, ..free() }, Gate::Held(Slot)),
            ("more than the slots", ClaimView { agent_running: 3, ..free() }, Gate::Held(Slot)),
            (
                "same task under way",
                ClaimView { scope_running: true, agent_running: 1, ..free() },
                Gate::Held(Running),
            ),
            (
                "same task wins over slot",
                ClaimView { scope_running: true, agent_running: 2, ..free() },
                Gate::Held(Running),
            ),
            (
                "pause wins over all",
                ClaimView {
                    agent: Some(AgentStatus::Paused),
                    scope_running: true,
                    agent_running: 2,
                    instance_running: 10,
                    ..free()
                },
                Gate::Held(Paused),
            ),
            (
                "pending approval",
                ClaimView { agent: Some(AgentStatus::PendingApproval), ..free() },
                Gate::Held(Paused),
            ),
            ("instance full", ClaimView { instance_running: 10, ..free() }, Gate::Held(Capacity)),
            (
                "slot wins over instance",
                ClaimView { instance_running: 10, agent_running: 2, ..free() },
                Gate::Held(Slot),
            ),
            (
                "terminated",
                ClaimView { agent: Some(AgentStatus::Terminated), ..free() },
                Gate::Ends("the agent was terminated"),
            ),
            ("gone", ClaimView { agent: None, ..free() }, Gate::Ends("the agent no longer exists")),
            (
                "retry not due",
                ClaimView { status: RunStatus::ScheduledRetry, agent: None, ..free() },
                Gate::Held(RetryBackoff),
            ),
            ("error agents start", ClaimView { agent: Some(AgentStatus::Error), ..free() }, Gate::Open),
            (
                "running agents start",
                ClaimView { agent: Some(AgentStatus::Running), agent_running: 1, ..free() },
                Gate::Open,
            ),
        ];
        for (name, view, expected) in rows {
            assert_eq!(gate(&view), expected, "{name}");
        }
        for &status in RunStatus::ALL.iter().filter(|s| s.is_final() || **s == RunStatus::Running) {
            assert_eq!(gate(&ClaimView { status, ..free() }), Gate::NotWaiting, "{status}");
        }
    }

    #[test]
    fn rank_then_priority_then_age_then_id() {
        let candidate = |id: &str, rank, priority, at| Candidate {
            id: id.into(),
            rank,
            priority,
            queued_at: Moment::from_micros(at),
        };
        let mut queue = vec![
            candidate("e", 3, 0, 1),
            candidate("d", 2, 4, 9),
            candidate("c", 2, 4, 8),
            candidate("b", 1, 3, 9),
            candidate("a", 1, 0, 9),
            candidate("b2", 1, 3, 9),
        ];
        order(&mut queue);
        let ids: Vec<&str> = queue.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "b2", "c", "d", "e"]);
    }
}
