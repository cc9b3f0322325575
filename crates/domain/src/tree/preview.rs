//! What an operation on a tree would do: for each issue whether it is taken or why it is skipped, which runs are met, and
//! what to be warned of. The operation itself does what the preview says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Hold, MAX_ANCESTORS, Mode};
use crate::ids::{AgentId, HoldId, IssueId, RunId};
use crate::issue::IssueStatus;
use crate::moment::Moment;
use crate::run::RunStatus;
use crate::words;

words!(
    /// Why an issue is left alone.
    SkipReason {
        /// Done or cancelled already.
        TerminalStatus = "terminal_status",
        /// A pause covers it already.
        AlreadyHeld = "already_held",
        /// No pause covers it that would be lifted.
        NotHeld = "not_held",
        /// It was not cancelled.
        NotCancelled = "not_cancelled",
        /// The tree was cancelled, and somebody changed the issue since.
        ChangedAfterCancel = "changed_after_cancel",
        /// It was cancelled by something else.
        NotCancelledByTreeControl = "not_cancelled_by_tree_control",
    }
);

words!(
    /// What a person should know before.
    WarningCode {
        NoAffectedIssues = "no_affected_issues",
        RunningRunsPresent = "running_runs_present",
        QueuedRunsPresent = "queued_runs_present",
        NoActivePauseHolds = "no_active_pause_holds",
        RestoreConflictsPresent = "restore_conflicts_present",
    }
);

/// An issue of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeIssue {
    pub id: IssueId,
    pub parent: Option<IssueId>,
    /// 0 for the root.
    pub depth: u32,
    pub identifier: Option<String>,
    pub title: String,
    pub status: IssueStatus,
    pub assignee_agent: Option<AgentId>,
    pub assignee_user: Option<String>,
}

/// A waiting or running run on an issue of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeRun {
    pub id: RunId,
    pub issue: IssueId,
    pub agent: AgentId,
    pub status: RunStatus,
    pub started_at: Option<Moment>,
    pub created_at: Moment,
}

/// What a hold remembers of an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub hold: HoldId,
    pub issue: IssueId,
    pub parent: Option<IssueId>,
    pub depth: u32,
    pub identifier: Option<String>,
    pub title: String,
    /// The status it had.
    pub status: IssueStatus,
    pub assignee_agent: Option<AgentId>,
    pub assignee_user: Option<String>,
    pub active_run: Option<(RunId, RunStatus)>,
    pub skip: Option<SkipReason>,
}

/// What a preview looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeView<'a> {
    pub root: &'a IssueId,
    /// The root and everything below, parents before their children.
    pub issues: &'a [TreeIssue],
    /// The parent of the root, its parent, and so on.
    pub above: &'a [IssueId],
    /// The active holds with a root in the tree or above it.
    pub holds: &'a [Hold],
    /// The members of the active cancel holds of this root.
    pub members: &'a [Member],
    /// The runs of the tree that are not over.
    pub runs: &'a [TreeRun],
}

/// What would happen to one issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewIssue<'a> {
    pub issue: &'a TreeIssue,
    /// The run that is under way on it, else one that waits.
    pub active_run: Option<&'a TreeRun>,
    /// The active holds whose root is this issue.
    pub holds: Vec<&'a HoldId>,
    /// The status it gets; `None`: it keeps its own.
    pub becomes: Option<IssueStatus>,
    /// `None`: it is taken.
    pub skip: Option<SkipReason>,
}

/// An agent whose work is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AffectedAgent {
    pub agent: AgentId,
    /// Issues of the tree that are taken and assigned to it.
    pub issues: usize,
    /// Its runs in the tree that are under way.
    pub running: usize,
}

/// Something to know before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub code: WarningCode,
    pub message: &'static str,
    pub issues: Vec<IssueId>,
}

/// What an operation would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview<'a> {
    pub mode: Mode,
    pub root: &'a IssueId,
    /// All issues of the tree, taken or skipped.
    pub issues: Vec<PreviewIssue<'a>>,
    pub runs: &'a [TreeRun],
    pub agents: Vec<AffectedAgent>,
    pub warnings: Vec<Warning>,
}

impl<'a> Preview<'a> {
    /// The issues that are taken.
    pub fn affected(&self) -> impl Iterator<Item = &PreviewIssue<'a>> {
        self.issues.iter().filter(|issue| issue.skip.is_none())
    }

    /// The issues that are skipped.
    pub fn skipped(&self) -> impl Iterator<Item = &PreviewIssue<'a>> {
        self.issues.iter().filter(|issue| issue.skip.is_some())
    }

    /// `totals.activeRuns`.
    pub fn running_runs(&self) -> usize {
        self.runs.iter().filter(|run| run.status == RunStatus::Running).count()
    }

    /// `totals.queuedRuns`.
    pub fn waiting_runs(&self) -> usize {
        self.runs.iter().filter(|run| is_waiting(run.status)).count()
    }

    /// `countsByStatus`.
    pub fn counts_by_status(&self) -> BTreeMap<IssueStatus, usize> {
        let mut counts = BTreeMap::new();
        for issue in &self.issues {
            *counts.entry(issue.issue.status).or_default() += 1;
        }
        counts
    }

    /// What the hold of this operation remembers, skipped issues too.
    pub fn members(&self, hold: &HoldId) -> Vec<Member> {
        let member = |of: &PreviewIssue<'_>| Member {
            hold: hold.clone(),
            issue: of.issue.id.clone(),
            parent: of.issue.parent.clone(),
            depth: of.issue.depth,
            identifier: of.issue.identifier.clone(),
            title: of.issue.title.clone(),
            status: of.issue.status,
            assignee_agent: of.issue.assignee_agent.clone(),
            assignee_user: of.issue.assignee_user.clone(),
            active_run: of.active_run.map(|run| (run.id.clone(), run.status)),
            skip: of.skip,
        };
        self.issues.iter().map(member).collect()
    }
}

/// Says what an operation would do.
pub fn preview<'a>(mode: Mode, view: &TreeView<'a>) -> Preview<'a> {
    let index = Index::of(view);
    let issues: Vec<PreviewIssue<'a>> =
        view.issues.iter().map(|issue| of_issue(mode, view, &index, issue)).collect();
    let agents = affected_agents(view, &issues);
    let mut preview =
        Preview { mode, root: view.root, issues, runs: view.runs, agents, warnings: Vec::new() };
    preview.warnings = warnings(view, &preview);
    preview
}

/// What is looked up for each issue of a tree, which may have many thousands.
struct Index<'a> {
    issues: HashMap<&'a IssueId, &'a TreeIssue>,
    runs: HashMap<&'a IssueId, Vec<&'a TreeRun>>,
    members: HashMap<(&'a HoldId, &'a IssueId), &'a Member>,
    pauses: Vec<&'a Hold>,
    /// The cancels of the root, newest first.
    cancels: Vec<&'a Hold>,
}

impl<'a> Index<'a> {
    fn of(view: &TreeView<'a>) -> Index<'a> {
        let mut runs: HashMap<&IssueId, Vec<&TreeRun>> = HashMap::new();
        for run in view.runs {
            runs.entry(&run.issue).or_default().push(run);
        }
        let mut cancels: Vec<&Hold> =
            view.holds.iter().filter(|it| it.root == *view.root && it.is_active(Mode::Cancel)).collect();
        cancels.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        Index {
            issues: view.issues.iter().map(|issue| (&issue.id, issue)).collect(),
            runs,
            members: view.members.iter().map(|member| ((&member.hold, &member.issue), member)).collect(),
            pauses: view.holds.iter().filter(|hold| hold.is_active(Mode::Pause)).collect(),
            cancels,
        }
    }
}

fn of_issue<'a>(
    mode: Mode,
    view: &TreeView<'a>,
    index: &Index<'a>,
    issue: &'a TreeIssue,
) -> PreviewIssue<'a> {
    let is_terminal = issue.status.is_terminal();
    let (skip, becomes) = match mode {
        Mode::Pause if is_terminal => (Some(SkipReason::TerminalStatus), None),
        Mode::Pause if covering(view, index, issue).next().is_some() => (Some(SkipReason::AlreadyHeld), None),
        Mode::Pause => (None, None),
        // Only the pauses of this root are lifted.
        Mode::Resume if covering(view, index, issue).any(|hold| hold.root == *view.root) => (None, None),
        Mode::Resume => (Some(SkipReason::NotHeld), None),
        Mode::Cancel if is_terminal => (Some(SkipReason::TerminalStatus), None),
        Mode::Cancel => (None, Some(IssueStatus::Cancelled)),
        Mode::Restore => match (remembered(index, &issue.id), issue.status) {
            (Some(before), IssueStatus::Cancelled) => (None, Some(restored(before))),
            (Some(_), _) => (Some(SkipReason::ChangedAfterCancel), None),
            (None, IssueStatus::Cancelled) => (Some(SkipReason::NotCancelledByTreeControl), None),
            (None, _) => (Some(SkipReason::NotCancelled), None),
        },
    };
    let runs = || index.runs.get(&issue.id).into_iter().flatten().copied();
    let active_run = runs()
        .filter(|run| run.status == RunStatus::Running)
        .max_by_key(|run| run.started_at)
        .or_else(|| runs().filter(|run| is_waiting(run.status)).min_by_key(|run| run.created_at));
    let holds = view.holds.iter().filter(|hold| hold.root == issue.id).map(|hold| &hold.id).collect();
    PreviewIssue { issue, active_run, holds, becomes, skip }
}

const fn is_waiting(status: RunStatus) -> bool {
    matches!(status, RunStatus::Queued | RunStatus::ScheduledRetry)
}

/// The pauses over an issue, whichever root they have.
fn covering<'v>(
    view: &TreeView<'v>,
    index: &'v Index<'_>,
    issue: &'v TreeIssue,
) -> impl Iterator<Item = &'v Hold> {
    let mut roots = Vec::new();
    if !index.pauses.is_empty() {
        roots.push(&issue.id);
        let mut at = issue;
        while at.id != *view.root && roots.len() < MAX_ANCESTORS {
            let Some(parent) = at.parent.as_ref().and_then(|parent| index.issues.get(parent)) else { break };
            roots.push(&parent.id);
            at = parent;
        }
        if at.id == *view.root {
            roots.extend(view.above.iter().take(MAX_ANCESTORS.saturating_sub(roots.len())));
        }
    }
    index.pauses.iter().copied().filter(move |hold| roots.contains(&&hold.root))
}

/// The status an issue had when a cancel of this root took it; the newest cancel that took it counts.
fn remembered(index: &Index<'_>, issue: &IssueId) -> Option<IssueStatus> {
    let members = index.cancels.iter().filter_map(|hold| index.members.get(&(&hold.id, issue)));
    let mut took = members.filter(|member| member.skip.is_none() && !member.status.is_terminal());
    took.next().map(|member| member.status)
}

/// Nobody works on a restored issue yet.
const fn restored(before: IssueStatus) -> IssueStatus {
    match before {
        IssueStatus::InProgress => IssueStatus::Todo,
        other => other,
    }
}

fn affected_agents(view: &TreeView<'_>, issues: &[PreviewIssue<'_>]) -> Vec<AffectedAgent> {
    let mut counts: BTreeMap<&AgentId, (usize, usize)> = BTreeMap::new();
    for issue in issues.iter().filter(|issue| issue.skip.is_none()) {
        if let Some(agent) = &issue.issue.assignee_agent {
            counts.entry(agent).or_default().0 += 1;
        }
    }
    for run in view.runs {
        let (_, running) = counts.entry(&run.agent).or_default();
        *running += usize::from(run.status == RunStatus::Running);
    }
    let row =
        |(agent, (issues, running)): (&AgentId, _)| AffectedAgent { agent: agent.clone(), issues, running };
    counts.into_iter().map(row).collect()
}

fn warnings(view: &TreeView<'_>, preview: &Preview<'_>) -> Vec<Warning> {
    let stops = matches!(preview.mode, Mode::Pause | Mode::Cancel);
    let issues_of = |is_meant: &dyn Fn(RunStatus) -> bool| {
        let met: BTreeSet<&IssueId> =
            view.runs.iter().filter(|run| stops && is_meant(run.status)).map(|run| &run.issue).collect();
        met.into_iter().cloned().collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    let mut warn = |code, message, issues| found.push(Warning { code, message, issues });
    if preview.affected().next().is_none() {
        warn(WarningCode::NoAffectedIssues, "No issue of this tree is affected", vec![]);
    }
    let running = issues_of(&|status| status == RunStatus::Running);
    if !running.is_empty() {
        warn(WarningCode::RunningRunsPresent, "Runs that are under way are stopped", running);
    }
    let waiting = issues_of(&is_waiting);
    if !waiting.is_empty() {
        let message = if preview.mode == Mode::Cancel {
            "Runs that wait are cancelled"
        } else {
            "Runs that wait are held until the pause ends"
        };
        warn(WarningCode::QueuedRunsPresent, message, waiting);
    }
    let is_paused = view.holds.iter().any(|hold| hold.root == *view.root && hold.is_active(Mode::Pause));
    if preview.mode == Mode::Resume && !is_paused {
        warn(WarningCode::NoActivePauseHolds, "This tree has no active pause", vec![]);
    }
    let conflicts: Vec<IssueId> = preview
        .skipped()
        .filter(|issue| issue.skip == Some(SkipReason::ChangedAfterCancel))
        .map(|issue| issue.issue.id.clone())
        .collect();
    if !conflicts.is_empty() {
        let message = "Issues that were changed after the cancel are left as they are";
        warn(WarningCode::RestoreConflictsPresent, message, conflicts);
    }
    found
}

#[cfg(test)]
pub(crate) mod samples {
    use super::super::samples::hold;
    use super::*;

    pub(crate) fn issue(id: &str, parent: Option<&str>, status: IssueStatus) -> TreeIssue {
        TreeIssue {
            id: IssueId::from(id),
            parent: parent.map(IssueId::from),
            depth: u32::from(parent.is_some()),
            identifier: None,
            title: id.to_uppercase(),
            status,
            assignee_agent: Some(AgentId::from("a1")),
            assignee_user: None,
        }
    }

    pub(crate) fn run(id: &str, issue: &str, agent: &str, status: RunStatus) -> TreeRun {
        TreeRun {
            id: RunId::from(id),
            issue: IssueId::from(issue),
            agent: AgentId::from(agent),
            status,
            started_at: (status == RunStatus::Running).then(|| Moment::from_micros(5)),
            created_at: Moment::from_micros(1),
        }
    }

    /// A tree that owns what a view borrows.
    pub(crate) struct Tree {
        pub(crate) root: IssueId,
        pub(crate) issues: Vec<TreeIssue>,
        pub(crate) above: Vec<IssueId>,
        pub(crate) holds: Vec<Hold>,
        pub(crate) members: Vec<Member>,
        pub(crate) runs: Vec<TreeRun>,
    }

    impl Tree {
        /// `top` with a child in each of the statuses, named after it.
        pub(crate) fn of_all_statuses() -> Tree {
            let mut issues = vec![issue("top", None, IssueStatus::Todo)];
            for &status in IssueStatus::ALL {
                issues.push(issue(status.as_str(), Some("top"), status));
            }
            let root = IssueId::from("top");
            Tree { root, issues, above: vec![], holds: vec![], members: vec![], runs: vec![] }
        }

        pub(crate) fn preview(&self, mode: Mode) -> Preview<'_> {
            preview(
                mode,
                &TreeView {
                    root: &self.root,
                    issues: &self.issues,
                    above: &self.above,
                    holds: &self.holds,
                    members: &self.members,
                    runs: &self.runs,
                },
            )
        }

        /// Cancels the tree as it is now; `at` is the hold's moment.
        pub(crate) fn cancelled(mut self, id: &str, at: i64) -> Tree {
            let hold = hold(id, "top", Mode::Cancel, at);
            let preview = self.preview(Mode::Cancel);
            let members = preview.members(&hold.id);
            let becomes: Vec<_> = preview.issues.iter().map(|issue| issue.becomes).collect();
            for (issue, becomes) in self.issues.iter_mut().zip(becomes) {
                issue.status = becomes.unwrap_or(issue.status);
            }
            self.members.extend(members);
            self.holds.push(hold);
            self
        }

        pub(crate) fn set(&mut self, id: &str, status: IssueStatus) {
            self.issues.iter_mut().find(|issue| issue.id.as_str() == id).expect("there").status = status;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::HoldStatus;
    use super::super::samples::hold;
    use super::samples::{Tree, issue, run};
    use super::*;

    /// `id`, and what it becomes or why it is skipped.
    fn told(preview: &Preview<'_>) -> Vec<String> {
        let line = |issue: &PreviewIssue<'_>| {
            let fate = match (issue.skip, issue.becomes) {
                (Some(skip), None) => format!("skipped {skip}"),
                (None, Some(status)) => format!("-> {status}"),
                (None, None) => "taken".to_owned(),
                (Some(_), Some(_)) => "skipped and changed".to_owned(),
            };
            format!("{}: {fate}", issue.issue.id)
        };
        preview.issues.iter().map(line).collect()
    }

    fn codes(preview: &Preview<'_>) -> Vec<&'static str> {
        preview.warnings.iter().map(|warning| warning.code.as_str()).collect()
    }

    #[test]
    fn a_pause_takes_what_is_open() {
        let tree = Tree::of_all_statuses();
        assert_eq!(
            told(&tree.preview(Mode::Pause)),
            [
                "top: taken",
                "backlog: taken",
                "todo: taken",
                "in_progress: taken",
                "in_review: taken",
                "done: skipped terminal_status",
                "blocked: taken",
                "cancelled: skipped terminal_status",
            ]
        );
    }

    #[test]
    fn a_cancel_ends_what_is_open() {
        let tree = Tree::of_all_statuses();
        assert_eq!(
            told(&tree.preview(Mode::Cancel)),
            [
                "top: -> cancelled",
                "backlog: -> cancelled",
                "todo: -> cancelled",
                "in_progress: -> cancelled",
                "in_review: -> cancelled",
                "done: skipped terminal_status",
                "blocked: -> cancelled",
                "cancelled: skipped terminal_status",
            ]
        );
    }

    #[test]
    fn a_restore_brings_back_what_the_cancel_took_and_nothing_else() {
        let mut tree = Tree::of_all_statuses().cancelled("h1", 1);
        tree.set("todo", IssueStatus::InProgress);
        tree.set("done", IssueStatus::Cancelled);
        tree.issues.push(issue("new", Some("top"), IssueStatus::Todo));
        tree.issues.push(issue("gone", Some("top"), IssueStatus::Cancelled));
        let preview = tree.preview(Mode::Restore);
        assert_eq!(
            told(&preview),
            [
                "top: -> todo",
                "backlog: -> backlog",
                "todo: skipped changed_after_cancel",
                "in_progress: -> todo",
                "in_review: -> in_review",
                "done: skipped not_cancelled_by_tree_control",
                "blocked: -> blocked",
                "cancelled: skipped not_cancelled_by_tree_control",
                "new: skipped not_cancelled",
                "gone: skipped not_cancelled_by_tree_control",
            ]
        );
        assert_eq!(codes(&preview), ["restore_conflicts_present"]);
        assert_eq!(preview.warnings[0].issues, [IssueId::from("todo")]);
    }

    #[test]
    fn the_newest_cancel_that_took_an_issue_says_what_it_was() {
        let mut tree = Tree::of_all_statuses().cancelled("h1", 1);
        // Brought back by hand and cancelled again: the second cancel skipped what was cancelled still.
        tree.set("todo", IssueStatus::Blocked);
        let mut tree = tree.cancelled("h2", 2);
        let fates = told(&tree.preview(Mode::Restore));
        assert_eq!((fates[2].as_str(), fates[4].as_str()), ("todo: -> blocked", "in_review: -> in_review"));
        // Released cancels, and those of other roots, remember nothing.
        tree.holds[1].status = HoldStatus::Released;
        assert_eq!(told(&tree.preview(Mode::Restore))[2], "todo: -> todo");
        tree.holds[0].root = IssueId::from("elsewhere");
        let preview = tree.preview(Mode::Restore);
        assert_eq!(told(&preview)[2], "todo: skipped not_cancelled_by_tree_control");
        assert_eq!(codes(&preview), ["no_affected_issues"]);
    }

    fn chain() -> Tree {
        let mut tree = Tree::of_all_statuses();
        tree.issues = vec![
            issue("top", None, IssueStatus::Todo),
            issue("mid", Some("top"), IssueStatus::Todo),
            issue("leaf", Some("mid"), IssueStatus::Todo),
            issue("done", Some("mid"), IssueStatus::Done),
        ];
        tree
    }

    #[test]
    fn what_a_pause_covers_is_held_already_and_only_its_own_root_resumes_it() {
        let rows: [(&str, &[&str], &[&str]); 4] = [
            ("above", &["top", "mid", "leaf"], &[]),
            ("top", &["top", "mid", "leaf"], &["top", "mid", "leaf", "done"]),
            ("mid", &["mid", "leaf"], &[]),
            ("elsewhere", &[], &[]),
        ];
        for (root, held, resumed) in rows {
            let mut tree = chain();
            tree.above = vec![IssueId::from("above")];
            tree.holds = vec![hold("h", root, Mode::Pause, 1)];
            let paused = tree.preview(Mode::Pause);
            let skipped: Vec<&str> = paused
                .skipped()
                .filter(|issue| issue.skip == Some(SkipReason::AlreadyHeld))
                .map(|issue| issue.issue.id.as_str())
                .collect();
            assert_eq!(skipped, held, "{root}");
            let resume = tree.preview(Mode::Resume);
            let taken: Vec<&str> = resume.affected().map(|issue| issue.issue.id.as_str()).collect();
            assert_eq!(taken, resumed, "{root}");
            assert!(resume.skipped().all(|issue| issue.skip == Some(SkipReason::NotHeld)));
            let expected: &[&str] =
                if resumed.is_empty() { &["no_affected_issues", "no_active_pause_holds"] } else { &[] };
            assert_eq!(codes(&resume), expected, "{root}");
            let shown: Vec<_> = paused.issues.iter().map(|issue| issue.holds.len()).collect();
            let expected: Vec<_> =
                tree.issues.iter().map(|issue| usize::from(issue.id.as_str() == root)).collect();
            assert_eq!(shown, expected, "{root}");
        }
        let mut tree = chain();
        tree.holds = vec![hold("h", "top", Mode::Cancel, 1)];
        assert_eq!(told(&tree.preview(Mode::Pause))[0], "top: taken");
    }

    #[test]
    fn the_preview_sees_as_far_up_as_the_gate() {
        let mut tree = chain();
        tree.issues = vec![issue("top", None, IssueStatus::Todo)];
        for n in 1..20 {
            let parent = if n == 1 { "top".to_owned() } else { format!("i{}", n - 1) };
            tree.issues.push(issue(&format!("i{n}"), Some(&parent), IssueStatus::Todo));
        }
        tree.above = vec![IssueId::from("above")];
        // `top` is the 15th issue up from i14; `above` from i13.
        for (root, last) in [("top", "i14"), ("above", "i13")] {
            tree.holds = vec![hold("h", root, Mode::Pause, 1)];
            let preview = tree.preview(Mode::Pause);
            let held = preview.skipped().last().map(|issue| issue.issue.id.as_str());
            assert_eq!(held, Some(last), "{root}");
            for issue in &preview.issues {
                let mut up = vec![issue.issue.id.clone()];
                let mut at = issue.issue;
                while let Some(parent) = tree.issues.iter().find(|it| Some(&it.id) == at.parent.as_ref()) {
                    up.push(parent.id.clone());
                    at = parent;
                }
                up.extend(tree.above.iter().cloned());
                let gate = super::super::pause_gate(&up, &tree.holds);
                assert_eq!(issue.skip.is_some(), gate.is_some(), "{root} {}", issue.issue.id);
            }
        }
    }

    #[test]
    fn runs_and_agents_are_counted_and_warned_of() {
        use RunStatus::{Queued, Running, ScheduledRetry};
        let mut tree = chain();
        tree.issues[1].assignee_agent = Some(AgentId::from("a2"));
        tree.issues[2].assignee_agent = None;
        tree.runs = vec![
            run("r1", "mid", "a2", Queued),
            run("r2", "mid", "a2", Running),
            run("r3", "leaf", "a3", ScheduledRetry),
        ];
        let preview = tree.preview(Mode::Pause);
        assert_eq!((preview.running_runs(), preview.waiting_runs()), (1, 2));
        let agents: Vec<_> =
            preview.agents.iter().map(|it| (it.agent.as_str(), it.issues, it.running)).collect();
        assert_eq!(agents, [("a1", 1, 0), ("a2", 1, 1), ("a3", 0, 0)]);
        let active: Vec<_> =
            preview.issues.iter().map(|issue| issue.active_run.map(|run| run.id.as_str())).collect();
        assert_eq!(active, [None, Some("r2"), Some("r3"), None]);
        assert_eq!(codes(&preview), ["running_runs_present", "queued_runs_present"]);
        assert_eq!(preview.warnings[0].issues, ["mid"].map(IssueId::from));
        assert_eq!(preview.warnings[1].issues, ["leaf", "mid"].map(IssueId::from));
        assert_eq!(preview.warnings[1].message, "Runs that wait are held until the pause ends");
        let cancel = tree.preview(Mode::Cancel);
        assert_eq!(codes(&cancel), ["running_runs_present", "queued_runs_present"]);
        assert_eq!(cancel.warnings[1].message, "Runs that wait are cancelled");
        tree.runs.push(run("r4", "leaf", "a3", Running));
        let more = tree.preview(Mode::Pause);
        assert_eq!((more.running_runs(), more.waiting_runs()), (2, 2));
        tree.runs.pop();
        let preview = tree.preview(Mode::Pause);
        // Nothing is stopped by these.
        assert_eq!(codes(&tree.preview(Mode::Restore)), ["no_affected_issues"]);
        let counts: Vec<_> = preview.counts_by_status().into_iter().collect();
        assert_eq!(counts, [(IssueStatus::Todo, 3), (IssueStatus::Done, 1)]);
    }

    #[test]
    fn what_a_cancel_passed_over_or_found_closed_is_not_its_to_bring_back() {
        let brought_back = |change: fn(&mut Member)| {
            let mut tree = Tree::of_all_statuses().cancelled("h", 1);
            tree.members.iter_mut().for_each(change);
            tree.preview(Mode::Restore).affected().count()
        };
        assert_eq!(brought_back(|_| {}), 6);
        assert_eq!(brought_back(|member| member.skip = Some(SkipReason::AlreadyHeld)), 0);
        let closed = brought_back(|member| {
            member.skip = None;
            member.status = IssueStatus::Done;
        });
        assert_eq!(closed, 0);
    }

    #[test]
    fn members_remember_everything_skipped_ones_too() {
        let mut tree = chain();
        tree.runs = vec![run("r1", "mid", "a1", RunStatus::Running)];
        let members = tree.preview(Mode::Cancel).members(&HoldId::from("h"));
        let brief: Vec<_> = members.iter().map(|it| (it.issue.as_str(), it.status, it.skip)).collect();
        use IssueStatus::{Done, Todo};
        assert_eq!(
            brief,
            [
                ("top", Todo, None),
                ("mid", Todo, None),
                ("leaf", Todo, None),
                ("done", Done, Some(SkipReason::TerminalStatus)),
            ]
        );
        let mid = Member {
            hold: HoldId::from("h"),
            issue: IssueId::from("mid"),
            parent: Some(IssueId::from("top")),
            depth: 1,
            identifier: None,
            title: "MID".into(),
            status: Todo,
            assignee_agent: Some(AgentId::from("a1")),
            assignee_user: None,
            active_run: Some((RunId::from("r1"), RunStatus::Running)),
            skip: None,
        };
        assert_eq!(members[1], mid);
    }
}
