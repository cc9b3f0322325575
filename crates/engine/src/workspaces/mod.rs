//! Execution workspaces: the folders that runs work in, made, kept, looked at and closed.
//!
//! A project that is a git repository is worked on in a worktree per task, below the data folder, on a branch of its own;
//! the folder that a person works in is read and never written. What is decided is `domain::workspace`; `git` and
//! `repository` ask git, `worktree` makes, `saving` saves, `taking` gives a workspace to a run, `outputs` notes what the
//! run left there, `closing` removes it again.
//!
//! Everything that changes a repository happens under its lock here. Another server on the same repository is kept apart
//! by git's own locks.

pub(crate) mod checkout;
pub(crate) mod closing;
pub(crate) mod commands;
pub(crate) mod git;
pub(crate) mod outputs;
mod records;
pub(crate) mod repository;
pub(crate) mod saving;
pub(crate) mod taking;
pub(crate) mod worktree;

use std::path::{Path, PathBuf};

use tokio::sync::OwnedMutexGuard;

pub use closing::ClosingReport;
pub use records::{ExecutionWorkspacePatch, MOST_WORKSPACES};

use crate::turns::Turns;
use crate::{Inner, Settings};
use git::Git;

/// One lock for each repository that is being changed.
#[derive(Debug, Default)]
pub(crate) struct Repositories {
    turns: Turns<PathBuf>,
}

impl Repositories {
    /// Waits until nobody else here changes the repository.
    pub(crate) async fn lock(&self, common: &Path) -> OwnedMutexGuard<()> {
        let real = std::fs::canonicalize(common).unwrap_or_else(|_| common.to_owned());
        self.turns.lock(real).await
    }
}

impl Inner {
    /// git in a folder.
    pub(crate) fn git(&self, folder: impl Into<PathBuf>) -> Git {
        Git::at(&self.settings.host, folder)
    }
}

/// Below it lie the worktrees that the server makes.
pub(crate) fn worktrees_of(settings: &Settings) -> PathBuf {
    settings.data_dir.join("workspaces")
}

/// Below it lie indexes and objects that last for one look.
pub(crate) fn scratch_of(settings: &Settings) -> PathBuf {
    settings.data_dir.join("scratch")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_changes_a_repository() {
        let repositories = Repositories::default();
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let held = repositories.lock(one.path()).await;
        drop(repositories.lock(other.path()).await);
        let link = other.path().join("link");
        std::os::unix::fs::symlink(one.path(), &link).unwrap();
        let mut second = std::pin::pin!(repositories.lock(&link));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(held);
        second.await;
    }
}
