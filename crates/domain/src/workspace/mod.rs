//! Where a run works: in a worktree of its task, in the folder of its project, or in its agent's home.
//!
//! Here is only what can be decided from facts: which mode a task has (`choice`), which folder of a project is taken
//! (`place`), what branches and folders are called (`name`), and whether a workspace may be closed (`closing`). Folders
//! are looked at, and git is asked, by the engine.

pub mod choice;
pub mod closing;
pub mod name;
pub mod place;

use crate::words;

words!(
    /// How an execution workspace is made, as stored and as projects and issues wish for it.
    Mode {
        /// The folder of the project, together with everybody else.
        Shared = "shared_workspace",
        /// A worktree of its own.
        Isolated = "isolated_workspace",
        /// The folder of the project, on whatever branch its owner has put it.
        OperatorBranch = "operator_branch",
        /// Where the agent is configured to work; the project has no say.
        AgentDefault = "agent_default",
    }
);

impl Mode {
    /// The word that rows of execution workspaces have for it.
    pub const fn persisted(self) -> &'static str {
        match self {
            Mode::AgentDefault => "adapter_managed",
            other => other.as_str(),
        }
    }

    /// The mode of a row of an execution workspace (spec/heartbeat.md 4.7).
    pub fn of_persisted(word: Option<&str>) -> Mode {
        match word {
            None | Some("adapter_managed" | "cloud_sandbox") => Mode::AgentDefault,
            Some(word) => Mode::parse(word).unwrap_or(Mode::Shared),
        }
    }
}

words!(
    /// Where the folder of a run comes from.
    Source {
        ProjectPrimary = "project_primary",
        TaskSession = "task_session",
        AgentHome = "agent_home",
    }
);

words!(
    /// What a command or a git operation on a workspace was for.
    Phase {
        Prepare = "worktree_prepare",
        Provision = "workspace_provision",
        Teardown = "workspace_teardown",
        Cleanup = "worktree_cleanup",
    }
);

words!(
    /// How such an operation went.
    OperationStatus {
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        Skipped = "skipped",
    }
);

words!(
    /// The status of an execution workspace.
    Status {
        Active = "active",
        Idle = "idle",
        InReview = "in_review",
        Archived = "archived",
        CleanupFailed = "cleanup_failed",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_modes_map_back_to_those_of_issues() {
        for (stored, mode) in [
            (None, Mode::AgentDefault),
            (Some("adapter_managed"), Mode::AgentDefault),
            (Some("cloud_sandbox"), Mode::AgentDefault),
            (Some("isolated_workspace"), Mode::Isolated),
            (Some("operator_branch"), Mode::OperatorBranch),
            (Some("shared_workspace"), Mode::Shared),
            (Some("something_else"), Mode::Shared),
        ] {
            assert_eq!(Mode::of_persisted(stored), mode, "{stored:?}");
        }
        for mode in Mode::ALL {
            assert_eq!(Mode::of_persisted(Some(mode.persisted())), *mode);
        }
    }
}
