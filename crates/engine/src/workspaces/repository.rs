//! What git says of a folder: whose repository it is in, where work on it begins, and which worktrees there are.
//!
//! Nothing is changed here.

use std::path::{Path, PathBuf};

use domain::workspace::choice::Ground;

use super::git::{Git, GitError};

/// A folder inside of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repository {
    /// The folder that all worktrees share: `.git` of the first, or the bare repository.
    pub(crate) common: PathBuf,
    /// The root of the worktree that the folder is in; of a bare repository itself.
    pub(crate) root: PathBuf,
    /// The folder as seen from that root: empty, or `part/`.
    pub(crate) prefix: String,
    pub(crate) has_commit: bool,
}

impl Repository {
    pub(crate) const fn ground(found: Option<&Repository>) -> Ground {
        match found {
            None => Ground::Plain,
            Some(Repository { has_commit: false, .. }) => Ground::EmptyGit,
            Some(_) => Ground::Git,
        }
    }
}

/// Finds the repository that a folder belongs to. A folder that merely lies below one, and of which that repository knows
/// nothing, belongs to none.
pub(crate) async fn find(git: &Git) -> Result<Option<Repository>, GitError> {
    let asked = ["rev-parse", "--path-format=absolute", "--git-common-dir", "--is-bare-repository"];
    let said = git.try_run(&asked).await?;
    if said.code != Some(0) {
        let words = said.words();
        if words.contains("not a git repository") {
            return Ok(None);
        }
        return Err(GitError::Refused { command: "rev-parse".to_owned(), words });
    }
    let text = said.text();
    let (common, is_bare) = text.split_once('\n').unwrap_or((text.as_str(), "false"));
    let common = PathBuf::from(common);
    let has_commit = commit(git, "HEAD").await?.is_some();
    if is_bare.trim() == "true" {
        return Ok(Some(Repository { root: common.clone(), common, prefix: String::new(), has_commit }));
    }
    let said = git.try_run(&["rev-parse", "--path-format=absolute", "--show-toplevel"]).await?;
    if said.code != Some(0) {
        // Inside of `.git` itself.
        return Ok(None);
    }
    let root = PathBuf::from(said.text());
    let prefix = git.text(&["rev-parse", "--show-prefix"]).await?;
    if !prefix.is_empty() {
        let known = has_commit && !git.text(&["ls-tree", "--name-only", "HEAD"]).await?.is_empty();
        if !known {
            return Ok(None);
        }
    }
    Ok(Some(Repository { common, root, prefix, has_commit }))
}

/// The commit that a name stands for now.
pub(crate) async fn commit(git: &Git, name: &str) -> Result<Option<String>, GitError> {
    if name.is_empty() || name.starts_with('-') {
        return Ok(None);
    }
    let named = format!("{name}^{{commit}}");
    let said = git.try_run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &named]).await?;
    Ok(Some(said.text()).filter(|sha| said.code == Some(0) && !sha.is_empty()))
}

/// Where work begins when nobody says: the default branch of the remote, or of the checkout where that is further.
pub(crate) async fn default_base(git: &Git) -> Result<String, GitError> {
    let head = git.try_run(&["symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"]).await?;
    let mut remote = Some(head.text()).filter(|name| head.code == Some(0) && !name.is_empty());
    for name in ["origin/main", "origin/master"] {
        if remote.is_none() && commit(git, &format!("refs/remotes/{name}")).await?.is_some() {
            remote = Some(name.to_owned());
        }
    }
    let Some(remote) = remote else { return Ok("HEAD".to_owned()) };
    // What was committed here and not pushed yet is not to be worked around.
    if let Some(local) = remote.strip_prefix("origin/").map(|name| format!("refs/heads/{name}"))
        && commit(git, &local).await?.is_some()
        && git.asks(&["merge-base", "--is-ancestor", &remote, &local]).await?
    {
        return Ok(local);
    }
    Ok(remote)
}

/// A worktree that a repository knows of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Registered {
    pub(crate) path: PathBuf,
    /// Without `refs/heads/`; `None`: detached, or bare.
    pub(crate) branch: Option<String>,
    /// Why it is locked.
    pub(crate) locked: Option<String>,
}

/// The worktrees of a repository.
pub(crate) async fn worktrees(git: &Git) -> Result<Vec<Registered>, GitError> {
    let said = git.run(&["worktree", "list", "--porcelain", "-z"]).await?;
    Ok(registered(&String::from_utf8_lossy(&said.out)))
}

fn registered(text: &str) -> Vec<Registered> {
    let mut found: Vec<Registered> = Vec::new();
    for line in text.split('\0') {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match (key, found.last_mut()) {
            ("worktree", _) => found.push(Registered { path: value.into(), ..Registered::default() }),
            ("branch", Some(last)) => {
                last.branch = Some(value.strip_prefix("refs/heads/").unwrap_or(value).to_owned());
            }
            ("locked", Some(last)) => last.locked = Some(value.to_owned()),
            _ => {}
        }
    }
    found
}

/// Whether two paths are the same place, whatever links lead there.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    one == other || real(one) == real(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worktrees_are_read_as_git_lists_them() {
        let text = "worktree /a b\0HEAD 1\0branch refs/heads/x/y\0\0worktree /c\0HEAD 2\0detached\0locked initializing\0\0";
        let expected = [
            Registered { path: "/a b".into(), branch: Some("x/y".into()), locked: None },
            Registered { path: "/c".into(), branch: None, locked: Some("initializing".into()) },
        ];
        assert_eq!(registered(text), expected);
    }
}
