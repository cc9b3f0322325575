//! Making a worktree, or finding the one that was made: asked again after a crash it gives the same.
//!
//! Only the worktree's own folder is ever written. A branch that is checked out anywhere else is not touched, and neither
//! is a folder that is no worktree of the repository.

use std::path::{Path, PathBuf};

use super::git::{Git, GitError};
use super::repository::{Registered, commit, is_same, worktrees};
use super::saving;

/// What is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) path: &'a Path,
    pub(crate) branch: &'a str,
    /// A commit; what a new branch begins from.
    pub(crate) base: &'a str,
    /// Names what is saved of a worktree whose folder is gone.
    pub(crate) workspace: &'a str,
}

/// What there is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) created: bool,
    /// The branch that is checked out; `None`: detached.
    pub(crate) branch: Option<String>,
    pub(crate) warning: Option<String>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unmade {
    /// Somebody else has the branch, or the folder: another name may do.
    #[error("{0}")]
    Taken(String),
    #[error(transparent)]
    Git(#[from] GitError),
}

/// Makes the worktree, or takes the one that is there. `git` is in the repository; the caller holds its lock.
pub(crate) async fn make(git: &Git, wanted: &Wanted<'_>) -> Result<Made, Unmade> {
    let known = worktrees(git).await?;
    let here = known.iter().find(|one| is_same(&one.path, wanted.path));
    let is_there = std::fs::symlink_metadata(wanted.path).is_ok();
    match here {
        // Making it was broken off: nobody has worked in it.
        Some(one) if one.locked.as_deref() == Some("initializing") => {
            let path = wanted.path.to_string_lossy().into_owned();
            git.run(&["worktree", "remove", "--force", "--force", &path]).await?;
        }
        Some(one) if is_there => return Ok(found(one, wanted)),
        Some(_) => forget_missing(git, wanted.path, wanted.workspace).await?,
        None if is_there && !is_empty(wanted.path) => {
            let path = wanted.path.display();
            return Err(Unmade::Taken(format!(
                "the folder {path} is there and is no worktree of the repository"
            )));
        }
        None => {}
    }
    if let Some(parent) = wanted.path.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|error| GitError::Other(format!("cannot make {}: {error}", parent.display())))?;
    }
    add(git, wanted).await
}

fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

fn found(one: &Registered, wanted: &Wanted<'_>) -> Made {
    let warning = match &one.branch {
        Some(branch) if branch == wanted.branch => None,
        Some(branch) => Some(format!(
            "the worktree is on the branch {branch} and no more on {}; going on there",
            wanted.branch
        )),
        None => Some(format!("the worktree is on no branch; {} stays where it is", wanted.branch)),
    };
    Made { created: false, branch: one.branch.clone(), warning }
}

async fn add(git: &Git, wanted: &Wanted<'_>) -> Result<Made, Unmade> {
    let path = wanted.path.to_string_lossy().into_owned();
    let existing = commit(git, &format!("refs/heads/{}", wanted.branch)).await?;
    let said = match &existing {
        // Work of before goes on; it is never reset.
        Some(_) => git.try_run(&["worktree", "add", "--quiet", &path, wanted.branch]).await?,
        None => {
            git.try_run(&[
                "worktree",
                "add",
                "--quiet",
                "--no-track",
                "-b",
                wanted.branch,
                &path,
                wanted.base,
            ])
            .await?
        }
    };
    if said.code == Some(0) {
        return Ok(Made {
            created: existing.is_none(),
            branch: Some(wanted.branch.to_owned()),
            warning: None,
        });
    }
    let words = said.words();
    let is_taken = ["already checked out", "already used by worktree", "already exists", "cannot lock ref"]
        .iter()
        .any(|part| words.contains(part));
    if is_taken {
        return Err(Unmade::Taken(words));
    }
    Err(Unmade::Git(GitError::Refused { command: "worktree add".to_owned(), words }))
}

/// Lets git forget a worktree whose folder is gone; commits that only it knew of are saved first.
pub(crate) async fn forget_missing(git: &Git, path: &Path, workspace: &str) -> Result<(), GitError> {
    let common = PathBuf::from(git.text(&["rev-parse", "--path-format=absolute", "--git-common-dir"]).await?);
    let Some(admin) = admin_folder(&common, path) else { return Ok(()) };
    saving::keep(git, workspace, &saving::shas_in_logs(&admin.join("logs"))).await?;
    let path = path.to_string_lossy().into_owned();
    git.run(&["worktree", "remove", "--force", "--force", &path]).await?;
    Ok(())
}

/// Where git keeps what it knows of a worktree whose folder is gone.
fn admin_folder(common: &Path, path: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(common.join("worktrees")).ok()?;
    let wanted = path.join(".git");
    entries.flatten().map(|entry| entry.path()).find(|admin| {
        std::fs::read_to_string(admin.join("gitdir"))
            .is_ok_and(|text| is_same(Path::new(text.trim()), &wanted))
    })
}

#[cfg(test)]
mod tests {
    use adapters::Host;

    use super::*;

    struct Scene {
        folder: tempfile::TempDir,
        git: Git,
        base: String,
    }

    impl Scene {
        async fn new() -> Scene {
            let folder = tempfile::tempdir().unwrap();
            let host = Host::from_env([("PATH", "/usr/local/bin:/usr/bin:/bin")]);
            let repo = folder.path().join("repo");
            std::fs::create_dir_all(&repo).unwrap();
            let git = Git::at(&host, &repo);
            git.run(&["init", "-q", "-b", "main"]).await.unwrap();
            std::fs::write(repo.join("base.txt"), "base\n").unwrap();
            git.run(&["add", "."]).await.unwrap();
            git.run(&["commit", "-q", "-m", "base"]).await.unwrap();
            let base = git.text(&["rev-parse", "HEAD"]).await.unwrap();
            Scene { folder, git, base }
        }

        fn place(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        async fn make(&self, path: &Path, branch: &str) -> Result<Made, Unmade> {
            make(&self.git, &Wanted { path, branch, base: &self.base, workspace: "w" }).await
        }
    }

    #[tokio::test]
    async fn a_worktree_is_made_once_and_found_again() {
        let scene = Scene::new().await;
        let path = scene.place("below/one");
        let made = scene.make(&path, "task").await.unwrap();
        assert_eq!(made, Made { created: true, branch: Some("task".into()), warning: None });
        std::fs::write(path.join("work.txt"), "work\n").unwrap();
        let found = scene.make(&path, "task").await.unwrap();
        assert_eq!(found, Made { created: false, branch: Some("task".into()), warning: None });
        assert!(path.join("work.txt").exists());
        let there = Git::at(&Host::from_env([("PATH", "/usr/bin:/bin")]), &path);
        there.run(&["switch", "-q", "-c", "elsewhere"]).await.unwrap();
        let drifted = scene.make(&path, "task").await.unwrap();
        assert_eq!((drifted.branch.as_deref(), drifted.warning.is_some()), (Some("elsewhere"), true));
    }

    #[tokio::test]
    async fn what_somebody_else_has_is_not_taken() {
        let scene = Scene::new().await;
        let theirs = scene.place("theirs");
        std::fs::create_dir_all(&theirs).unwrap();
        std::fs::write(theirs.join("file"), "").unwrap();
        assert!(matches!(scene.make(&theirs, "task").await, Err(Unmade::Taken(_))));
        // The branch that the checkout itself is on.
        assert!(matches!(scene.make(&scene.place("one"), "main").await, Err(Unmade::Taken(_))));
        let empty = scene.place("empty");
        std::fs::create_dir_all(&empty).unwrap();
        assert!(scene.make(&empty, "task").await.unwrap().created);
    }

    #[tokio::test]
    async fn one_that_was_broken_off_or_lost_its_folder_is_made_again_on_its_branch() {
        let scene = Scene::new().await;
        let path = scene.place("one");
        scene.make(&path, "task").await.unwrap();
        let there = Git::at(&Host::from_env([("PATH", "/usr/bin:/bin")]), &path);
        there.run(&["commit", "-q", "--allow-empty", "-m", "kept"]).await.unwrap();
        there.run(&["commit", "-q", "--allow-empty", "-m", "regretted"]).await.unwrap();
        let regretted = there.text(&["rev-parse", "HEAD"]).await.unwrap();
        there.run(&["reset", "-q", "--hard", "HEAD~1"]).await.unwrap();
        let kept = there.text(&["rev-parse", "HEAD"]).await.unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        let again = scene.make(&path, "task").await.unwrap();
        assert_eq!(again, Made { created: false, branch: Some("task".into()), warning: None });
        assert_eq!(there.text(&["rev-parse", "HEAD"]).await.unwrap(), kept, "never reset");
        // What only the lost folder's log knew is on a ref.
        let saved = scene.git.text(&["rev-parse", "refs/bugle/saved/w/1"]).await.unwrap();
        assert_eq!(saved, regretted);
        // git says this while it makes one.
        scene
            .git
            .run(&["worktree", "lock", "--reason", "initializing", path.to_str().unwrap()])
            .await
            .unwrap();
        std::fs::remove_file(path.join("base.txt")).unwrap();
        scene.make(&path, "task").await.unwrap();
        assert!(path.join("base.txt").exists());
    }

    #[tokio::test]
    async fn a_state_is_saved_once_with_everything_and_a_repository_inside_is_seen() {
        let scene = Scene::new().await;
        let path = scene.place("one");
        scene.make(&path, "task").await.unwrap();
        let there = Git::at(&Host::from_env([("PATH", "/usr/bin:/bin")]), &path);
        let saved = || async {
            let scratch = saving::Scratch::new(scene.folder.path(), "scratch").unwrap();
            saving::save(&there, &scratch, "w", Some("task"), true).await.unwrap()
        };
        assert_eq!(saved().await, None, "nothing is to be saved");
        // A commit on no branch, a file whose changes git was told not to see, an ignored one, a link.
        there.run(&["checkout", "-q", "--detach"]).await.unwrap();
        there.run(&["commit", "-q", "--allow-empty", "-m", "on no branch"]).await.unwrap();
        let loose = there.text(&["rev-parse", "HEAD"]).await.unwrap();
        assert_eq!(saved().await.as_deref(), Some("refs/bugle/saved/w/1"));
        assert_eq!(scene.git.text(&["rev-parse", "refs/bugle/saved/w/1"]).await.unwrap(), loose);
        there.run(&["update-index", "--assume-unchanged", "base.txt"]).await.unwrap();
        std::fs::write(path.join("base.txt"), "hidden\n").unwrap();
        std::fs::write(path.join(".gitignore"), "*.log\n").unwrap();
        std::fs::write(path.join("x.log"), "ignored\n").unwrap();
        std::os::unix::fs::symlink("nowhere", path.join("link")).unwrap();
        let index = std::fs::read(scene.place("repo/.git/worktrees/one/index")).unwrap();
        let name = saved().await.unwrap();
        assert_eq!(saved().await.unwrap(), name, "the same state is saved once");
        assert_eq!(std::fs::read(scene.place("repo/.git/worktrees/one/index")).unwrap(), index);
        for (file, text) in
            [("base.txt", "hidden"), (".gitignore", "*.log"), ("x.log", "ignored"), ("link", "nowhere")]
        {
            let shown = scene.git.text(&["cat-file", "-p", &format!("{name}:{file}")]).await.unwrap();
            assert_eq!(shown, text, "{file}");
        }
        assert!(!scene.place("scratch").exists());
        let inner = path.join("lib/inner");
        std::fs::create_dir_all(&inner).unwrap();
        Git::at(&Host::from_env([("PATH", "/usr/bin:/bin")]), &inner).run(&["init", "-q"]).await.unwrap();
        let unsaved = saving::look(&there, &path).await.unwrap();
        assert_eq!((unsaved.nested, unsaved.ignored_bytes), (vec!["lib/inner".to_owned()], 8));
    }
}
