//! What an operation on a tree does, in one commit with its hold: nothing is left half done, so that there is nothing to
//! take back when a part fails.

use super::preview::Preview;
use super::{Hold, HoldStatus, Mode};
use crate::cancel::Fate;
use crate::ids::{AgentId, HoldId, IssueId};
use crate::issue::IssueStatus;
use crate::run::RunStatus;

/// The reason of the wakes that follow a restore.
pub const RESTORED_WAKE_REASON: &str = "issue_tree_restored";
/// The source in the context of those wakes.
pub const RESTORED_WAKE_SOURCE: &str = "issue.tree_restore";

/// What an operation does beside storing its hold with its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The status of the new hold: an operation that is over with its commit leaves no active one.
    pub hold: HoldStatus,
    /// Issues that get another status. They lose their locks, so that nothing of before writes to them any more; it is
    /// done before their runs are stopped, so that nothing recovers them.
    pub statuses: Vec<(IssueId, IssueStatus)>,
    /// Holds that are released with it.
    pub release: Vec<HoldId>,
    /// Agents that are woken for their restored issue.
    pub wake: Vec<(IssueId, AgentId)>,
    /// The subtree's runs and deferred wakes are stopped; `fate` says how.
    pub stops: bool,
}

impl Mode {
    /// The reason in the activity of a run that is stopped.
    pub const fn stop_reason(self) -> Option<&'static str> {
        match self {
            Mode::Pause => Some("active_subtree_pause_hold"),
            Mode::Cancel => Some("subtree_cancel_operation"),
            Mode::Resume | Mode::Restore => None,
        }
    }

    /// What happens to one run of the tree (D1): a pause stops what runs and holds what waits, a cancel ends both.
    pub const fn fate(self, status: RunStatus) -> Fate {
        match (self, status) {
            (_, RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut) => {
                Fate::Leave
            }
            (Mode::Pause | Mode::Cancel, RunStatus::Running) => Fate::AskToStop,
            (Mode::Pause, RunStatus::Queued | RunStatus::ScheduledRetry) => Fate::Keep,
            (Mode::Cancel, RunStatus::Queued | RunStatus::ScheduledRetry) => Fate::Withdraw,
            (
                Mode::Resume | Mode::Restore,
                RunStatus::Running | RunStatus::Queued | RunStatus::ScheduledRetry,
            ) => Fate::Leave,
        }
    }

    /// Deferred wakes of the tree end, too.
    pub const fn ends_wakes(self) -> bool {
        matches!(self, Mode::Cancel)
    }
}

/// Says what is done. `holds` are the active ones that the preview saw; `wake_agents` is asked for a restore only.
pub fn operate(preview: &Preview<'_>, holds: &[Hold], wake_agents: bool) -> Operation {
    let own = |mode: Mode| {
        let of_root = holds.iter().filter(move |hold| hold.root == *preview.root && hold.is_active(mode));
        of_root.map(|hold| hold.id.clone()).collect::<Vec<_>>()
    };
    let statuses = preview
        .affected()
        .filter_map(|issue| issue.becomes.map(|status| (issue.issue.id.clone(), status)))
        .collect();
    let nothing = Operation {
        hold: HoldStatus::Active,
        statuses: Vec::new(),
        release: Vec::new(),
        wake: Vec::new(),
        stops: false,
    };
    match preview.mode {
        Mode::Pause => Operation { stops: true, ..nothing },
        Mode::Resume => Operation { hold: HoldStatus::Released, release: own(Mode::Pause), ..nothing },
        Mode::Cancel => Operation { stops: true, statuses, ..nothing },
        Mode::Restore => {
            let wake = if wake_agents { wakes(preview) } else { Vec::new() };
            Operation { hold: HoldStatus::Released, statuses, release: own(Mode::Cancel), wake, ..nothing }
        }
    }
}

/// The assignees of what is restored to be worked on. What is restored to the backlog wakes nobody, as always.
fn wakes(preview: &Preview<'_>) -> Vec<(IssueId, AgentId)> {
    preview
        .affected()
        .filter(|issue| issue.becomes.is_some_and(|status| status != IssueStatus::Backlog))
        .filter_map(|issue| Some((issue.issue.id.clone(), issue.issue.assignee_agent.clone()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::preview::samples::Tree;
    use super::super::samples::hold;
    use super::*;

    fn all(tree: &Tree, mode: Mode, wake_agents: bool) -> Operation {
        operate(&tree.preview(mode), &tree.holds, wake_agents)
    }

    fn names(list: &[(IssueId, IssueStatus)]) -> Vec<(&str, &str)> {
        list.iter().map(|(id, status)| (id.as_str(), status.as_str())).collect()
    }

    #[test]
    fn a_pause_stops_and_changes_no_issue() {
        let tree = Tree::of_all_statuses();
        let expected = Operation {
            hold: HoldStatus::Active,
            statuses: vec![],
            release: vec![],
            wake: vec![],
            stops: true,
        };
        assert_eq!(all(&tree, Mode::Pause, true), expected);
        // Also when the root is paused already: each pause is released by itself.
        let mut paused = Tree::of_all_statuses();
        paused.holds = vec![hold("h", "top", Mode::Pause, 1)];
        assert_eq!(all(&paused, Mode::Pause, false), expected);
    }

    #[test]
    fn a_resume_releases_the_pauses_of_its_root() {
        let mut tree = Tree::of_all_statuses();
        tree.holds = vec![
            hold("h1", "top", Mode::Pause, 1),
            hold("h2", "top", Mode::Pause, 2),
            hold("h3", "todo", Mode::Pause, 3),
            hold("h4", "top", Mode::Cancel, 4),
        ];
        let done = all(&tree, Mode::Resume, true);
        assert_eq!(done.release, ["h1", "h2"].map(HoldId::from));
        assert_eq!((done.hold, done.stops), (HoldStatus::Released, false));
        assert_eq!((done.statuses, done.wake), (vec![], vec![]));
    }

    #[test]
    fn a_cancel_ends_what_is_open_and_keeps_its_hold_for_a_restore() {
        let done = all(&Tree::of_all_statuses(), Mode::Cancel, true);
        let ended = ["top", "backlog", "todo", "in_progress", "in_review", "blocked"];
        assert_eq!(names(&done.statuses), ended.map(|id| (id, "cancelled")));
        assert_eq!((done.hold, done.stops), (HoldStatus::Active, true));
        assert_eq!((done.release, done.wake), (vec![], vec![]));
    }

    #[test]
    fn a_restore_brings_back_releases_the_cancels_and_wakes_when_asked() {
        let mut tree = Tree::of_all_statuses().cancelled("h1", 1);
        tree.holds.push(hold("h2", "top", Mode::Pause, 2));
        tree.holds.push(hold("h3", "todo", Mode::Cancel, 3));
        tree.issues[2].assignee_agent = None;
        tree.set("blocked", IssueStatus::Todo);
        let quiet = all(&tree, Mode::Restore, false);
        assert_eq!(
            names(&quiet.statuses),
            [
                ("top", "todo"),
                ("backlog", "backlog"),
                ("todo", "todo"),
                ("in_progress", "todo"),
                ("in_review", "in_review")
            ]
        );
        assert_eq!(quiet.release, [HoldId::from("h1")]);
        assert_eq!((quiet.hold, quiet.stops, quiet.wake.len()), (HoldStatus::Released, false, 0));
        let loud = all(&tree, Mode::Restore, true);
        let woken: Vec<&str> = loud.wake.iter().map(|(issue, _)| issue.as_str()).collect();
        assert_eq!(woken, ["top", "in_progress", "in_review"]);
        assert!(loud.wake.iter().all(|(_, agent)| agent.as_str() == "a1"));
    }

    #[test]
    fn a_pause_holds_and_a_cancel_ends_what_waits() {
        use Fate::{AskToStop, Keep, Leave, Withdraw};
        let waiting = [RunStatus::Queued, RunStatus::ScheduledRetry, RunStatus::Running];
        for (mode, fates, ends_wakes, reason) in [
            (Mode::Pause, [Keep, Keep, AskToStop], false, Some("active_subtree_pause_hold")),
            (Mode::Cancel, [Withdraw, Withdraw, AskToStop], true, Some("subtree_cancel_operation")),
            (Mode::Resume, [Leave; 3], false, None),
            (Mode::Restore, [Leave; 3], false, None),
        ] {
            assert_eq!(waiting.map(|status| mode.fate(status)), fates, "{mode}");
            assert_eq!((mode.ends_wakes(), mode.stop_reason()), (ends_wakes, reason), "{mode}");
            for &status in RunStatus::ALL.iter().filter(|status| status.is_final()) {
                assert_eq!(mode.fate(status), Leave);
            }
        }
    }
}
