//! Whether a workspace may be closed, and what that would do: nothing may be lost, and nobody disturbed.
//!
//! What is not reachable from a ref that is kept is saved to one first, so work alone never stands in the way. What does:
//! a run or a job that works there, an issue that is open, and things that a ref cannot hold.

use serde::Serialize;

/// Files that git ignores are saved with the rest up to this size; beyond it somebody has to say that they may go.
pub const MOST_IGNORED_BYTES: u64 = 64 << 20;

/// An issue that is worked on in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkedIssue {
    pub id: String,
    pub identifier: Option<String>,
    pub title: String,
    pub status: String,
    pub is_terminal: bool,
}

/// What git knows of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GitFacts {
    pub repo_root: Option<String>,
    pub workspace_path: Option<String>,
    pub branch_name: Option<String>,
    pub base_ref: Option<String>,
    pub has_dirty_tracked_files: bool,
    pub has_untracked_files: bool,
    pub dirty_entry_count: u64,
    pub untracked_entry_count: u64,
    pub ahead_count: Option<u64>,
    pub behind_count: Option<u64>,
    pub is_merged_into_base: Option<bool>,
    pub created_by_runtime: bool,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// It is the folder of the project itself: closing it only forgets it.
    pub is_shared: bool,
    pub is_project_primary: bool,
    /// Running runs that work there.
    pub leased_by: Vec<String>,
    pub issues: Vec<LinkedIssue>,
    /// `None`: there is no worktree to be removed.
    pub git: Option<GitFacts>,
    /// Repositories inside of the worktree, whose history a ref of this one cannot hold.
    pub nested: Vec<String>,
    pub ignored_bytes: u64,
    /// The largest ignored entries, named for people.
    pub ignored: Vec<String>,
    pub discard_ignored: bool,
    pub teardown: Option<String>,
    /// Services that run beside it, by name; they end first.
    pub services: Vec<String>,
    /// Jobs that run in it, by name.
    pub jobs: Vec<String>,
}

/// `state` of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Ready,
    ReadyWithWarnings,
    Blocked,
}

/// One thing that closing does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    pub kind: &'static str,
    pub label: &'static str,
    pub description: String,
    pub command: Option<String>,
}

/// Whether it may be closed, and what that does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    pub state: State,
    pub blocking_reasons: Vec<String>,
    pub warnings: Vec<String>,
    pub planned_actions: Vec<Action>,
}

/// Decides.
pub fn decide(view: &View) -> Readiness {
    let (mut blocking, mut warnings, mut actions) = (Vec::new(), Vec::new(), Vec::new());
    for run in &view.leased_by {
        blocking.push(format!("run {run} works in it"));
    }
    for issue in view.issues.iter().filter(|issue| !issue.is_terminal) {
        let named = issue.identifier.as_deref().unwrap_or(&issue.id);
        let words = format!("issue {named} is {} and is worked on in it", issue.status);
        if view.is_shared { warnings.push(words) } else { blocking.push(words) }
    }
    for path in &view.nested {
        blocking.push(format!(
            "{path} is a repository of its own, which cannot be saved with this one; move it away"
        ));
    }
    for job in &view.jobs {
        blocking.push(format!("the job `{job}` runs in it; stop it, or wait for its end"));
    }
    if !view.services.is_empty() {
        actions.push(Action {
            kind: "stop_runtime_services",
            label: "Stop the services",
            description: view.services.join(", "),
            command: None,
        });
    }
    if let Some(command) = &view.teardown {
        actions.push(Action {
            kind: "teardown_command",
            label: "Run the teardown command",
            description: "in the workspace, after everything was saved".to_owned(),
            command: Some(command.clone()),
        });
    }
    if let Some(git) = &view.git {
        of_worktree(view, git, &mut blocking, &mut warnings, &mut actions);
    }
    actions.push(Action {
        kind: "archive_record",
        label: "Archive the workspace",
        description: "it stays on record and is not used again".to_owned(),
        command: None,
    });
    let state = if !blocking.is_empty() {
        State::Blocked
    } else if warnings.is_empty() {
        State::Ready
    } else {
        State::ReadyWithWarnings
    };
    Readiness { state, blocking_reasons: blocking, warnings, planned_actions: actions }
}

fn of_worktree(
    view: &View,
    git: &GitFacts,
    blocking: &mut Vec<String>,
    warnings: &mut Vec<String>,
    actions: &mut Vec<Action>,
) {
    let dirty = git.dirty_entry_count + git.untracked_entry_count;
    if dirty > 0 {
        warnings.push(format!("{dirty} files are not committed; they are saved to a ref"));
    }
    if let Some(ahead) = git.ahead_count.filter(|ahead| *ahead > 0 && git.is_merged_into_base != Some(true)) {
        warnings.push(format!("{ahead} commits are not in the base; their branch stays"));
    }
    if view.ignored_bytes > MOST_IGNORED_BYTES {
        let named = view.ignored.join(", ");
        if view.discard_ignored {
            warnings.push(format!("files that git ignores are removed: {named}"));
        } else {
            blocking.push(format!(
                "files that git ignores are too large to be saved ({} MiB: {named}); remove them, or say discardIgnored",
                view.ignored_bytes >> 20
            ));
        }
    } else if view.ignored_bytes > 0 {
        warnings.push(format!("files that git ignores are saved too: {}", view.ignored.join(", ")));
    }
    if dirty > 0 || view.ignored_bytes > 0 {
        actions.push(Action {
            kind: "save_work",
            label: "Save what is not committed",
            description: "to a ref below refs/bugle/saved in the repository".to_owned(),
            command: None,
        });
    }
    actions.push(Action {
        kind: "git_worktree_remove",
        label: "Remove the worktree",
        description: git.workspace_path.clone().unwrap_or_default(),
        command: git.workspace_path.as_ref().map(|path| format!("git worktree remove --force {path}")),
    });
    if git.created_by_runtime && git.is_merged_into_base == Some(true) {
        actions.push(Action {
            kind: "git_branch_delete",
            label: "Delete the merged branch",
            description: git.branch_name.clone().unwrap_or_default(),
            command: git.branch_name.as_ref().map(|branch| format!("git branch -d {branch}")),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(is_terminal: bool) -> LinkedIssue {
        LinkedIssue {
            id: "i".into(),
            identifier: Some("ACM-1".into()),
            title: "t".into(),
            status: if is_terminal { "done" } else { "todo" }.into(),
            is_terminal,
        }
    }

    #[test]
    fn runs_open_issues_and_what_no_ref_can_hold_stand_in_the_way_and_work_does_not() {
        let clean = View { git: Some(GitFacts::default()), ..View::default() };
        let dirty = GitFacts { dirty_entry_count: 1, untracked_entry_count: 2, ..GitFacts::default() };
        let big = View { ignored_bytes: MOST_IGNORED_BYTES + 1, ..clean.clone() };
        for (view, state) in [
            (View::default(), State::Ready),
            (clean.clone(), State::Ready),
            (View { leased_by: vec!["r".into()], ..clean.clone() }, State::Blocked),
            (View { issues: vec![issue(true)], ..clean.clone() }, State::Ready),
            (View { issues: vec![issue(false)], ..clean.clone() }, State::Blocked),
            (
                View { issues: vec![issue(false)], is_shared: true, ..View::default() },
                State::ReadyWithWarnings,
            ),
            (View { git: Some(dirty), ..clean.clone() }, State::ReadyWithWarnings),
            (View { nested: vec!["lib".into()], ..clean.clone() }, State::Blocked),
            (View { services: vec!["web".into()], ..clean.clone() }, State::Ready),
            (View { jobs: vec!["seed".into()], ..clean.clone() }, State::Blocked),
            (View { ignored_bytes: 1, ..clean.clone() }, State::ReadyWithWarnings),
            (big.clone(), State::Blocked),
            (View { discard_ignored: true, ..big }, State::ReadyWithWarnings),
        ] {
            assert_eq!(decide(&view).state, state, "{view:?}");
        }
    }

    #[test]
    fn what_closing_does_is_said_before() {
        let git = GitFacts {
            untracked_entry_count: 1,
            is_merged_into_base: Some(true),
            created_by_runtime: true,
            ..GitFacts::default()
        };
        let services = vec!["web".into()];
        let view = View { git: Some(git), teardown: Some("make down".into()), services, ..View::default() };
        let kinds: Vec<_> = decide(&view).planned_actions.iter().map(|action| action.kind).collect();
        assert_eq!(
            kinds,
            [
                "stop_runtime_services",
                "teardown_command",
                "save_work",
                "git_worktree_remove",
                "git_branch_delete",
                "archive_record"
            ]
        );
    }
}
