//! Saving work to a ref before its folder goes: what is not committed, and commits that no other ref leads to.
//!
//! A saved state is one commit, `refs/bugle/saved/<workspace>/<n>`: its tree is the folder as it was with everything that
//! git does not ignore; ignored files are a second commit on top. Parents are the commit that was checked out, what the
//! index held where that is something else, and the tips of whatever nothing else leads to. The folder, its index and its
//! branch are not touched. Asked again about the same state it makes nothing new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::git::{Git, GitError};
use super::repository::commit;

/// What there is to be saved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Unsaved {
    /// Entries of tracked files that differ from the commit, and files that git does not know.
    pub(crate) changed: Vec<String>,
    pub(crate) untracked: Vec<String>,
    pub(crate) ignored: Vec<String>,
    pub(crate) ignored_bytes: u64,
    /// Repositories inside of the folder.
    pub(crate) nested: Vec<String>,
}

/// Looks what is not committed; `git` is in the worktree.
pub(crate) async fn look(git: &Git, folder: &Path) -> Result<Unsaved, GitError> {
    let said = git
        .run(&[
            "status",
            "--porcelain=v2",
            "-z",
            "--untracked-files=all",
            "--ignored=traditional",
            "--no-renames",
        ])
        .await?;
    let mut unsaved = Unsaved::default();
    for entry in String::from_utf8_lossy(&said.out).split('\0') {
        let (kind, rest) = entry.split_once(' ').unwrap_or((entry, ""));
        match kind {
            // The path is behind eight fields, of an unmerged entry behind ten.
            "1" => unsaved.changed.extend(rest.splitn(8, ' ').nth(7).map(str::to_owned)),
            "u" => unsaved.changed.extend(rest.splitn(10, ' ').nth(9).map(str::to_owned)),
            "?" => unsaved.untracked.push(rest.to_owned()),
            "!" => unsaved.ignored.push(rest.to_owned()),
            _ => {}
        }
    }
    let (folder, tops) = (folder.to_owned(), unsaved.ignored.clone());
    let measured = tokio::task::spawn_blocking(move || {
        let bytes = tops.iter().map(|top| size_of(&folder.join(top))).sum();
        (bytes, nested_in(&folder))
    });
    if let Ok((bytes, nested)) = measured.await {
        (unsaved.ignored_bytes, unsaved.nested) = (bytes, nested);
    }
    Ok(unsaved)
}

/// The bytes of a file, or of everything below a folder; links are not followed.
fn size_of(path: &Path) -> u64 {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return meta.len();
    }
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| size_of(&entry.path())).sum()
}

/// Folders below the root that have a `.git` of their own.
fn nested_in(root: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_name() == ".git" {
                if folder != root {
                    let shown = folder.strip_prefix(root).unwrap_or(&folder);
                    found.push(shown.display().to_string());
                }
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

/// An index of our own, filled from the worktree's, that is gone when this is dropped.
pub(crate) struct Scratch {
    folder: PathBuf,
}

impl Scratch {
    /// `name` must be nobody else's.
    pub(crate) fn new(below: &Path, name: &str) -> Result<Scratch, GitError> {
        let folder = below.join(name);
        // One that a server left behind when it died.
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("objects"))
            .map_err(|error| GitError::Other(format!("cannot make {}: {error}", folder.display())))?;
        Ok(Scratch { folder })
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.folder.join("objects")
    }

    /// The worktree's git with a copy of its index: what is added is added here alone.
    pub(crate) async fn git(&self, git: &Git) -> Result<Git, GitError> {
        let real = git.text(&["rev-parse", "--path-format=absolute", "--git-path", "index"]).await?;
        let index = self.index();
        match std::fs::copy(&real, &index) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(GitError::Other(format!("cannot copy {real}: {error}"))),
        }
        Ok(git.clone().env("GIT_INDEX_FILE", index))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The tree of everything in the folder that git does not ignore.
pub(crate) async fn tree_of(scratch: &Git) -> Result<String, GitError> {
    scratch.run(&["add", "--all", "--", ":/"]).await?;
    scratch.text(&["write-tree"]).await
}

/// Saves what is there, ignored files too when `with_ignored`; returns the ref when there was anything to be saved.
pub(crate) async fn save(
    git: &Git,
    scratch: &Scratch,
    workspace: &str,
    branch: Option<&str>,
    with_ignored: bool,
) -> Result<Option<String>, GitError> {
    let head = commit(git, "HEAD").await?;
    let own = scratch.git(git).await?;
    // Conflicts cannot be written as a tree; their sides are in commits.
    let staged = own.text(&["write-tree"]).await.ok();
    // From here on the index is a fresh one: flags that hide changes of files are not in it.
    own.run(&["read-tree", head.as_deref().unwrap_or("--empty")]).await?;
    let tree = tree_of(&own).await?;
    let head_tree = match &head {
        Some(head) => Some(git.text(&["rev-parse", &format!("{head}^{{tree}}")]).await?),
        None => None,
    };
    let mut parents: Vec<String> = head.iter().cloned().collect();
    if let Some(staged) = staged.filter(|staged| *staged != tree && Some(staged) != head_tree.as_ref()) {
        parents.push(commit_tree(git, &staged, &parents[..parents.len().min(1)], "what was staged").await?);
    }
    let loose = loose_tips(git, branch).await?;
    let is_head_loose = head.as_ref().is_some_and(|head| loose.contains(head));
    parents.extend(loose.into_iter().filter(|tip| Some(tip) != head.as_ref()));
    let is_changed = Some(&tree) != head_tree.as_ref();
    let mut top = head.clone().filter(|_| is_head_loose);
    if is_changed || parents.len() > usize::from(head.is_some()) {
        top = Some(commit_tree(git, &tree, &parents, "what was not committed").await?);
    }
    if with_ignored {
        own.run(&["add", "--all", "--force", "--", ":/"]).await?;
        let all = own.text(&["write-tree"]).await?;
        if all != tree {
            let below: Vec<String> = top.iter().chain(&head).take(1).cloned().collect();
            top = Some(commit_tree(git, &all, &below, "what git ignores").await?);
        }
    }
    match top {
        Some(top) => set_ref(git, workspace, &top).await.map(Some),
        None => Ok(None),
    }
}

/// A commit that says nothing of when it was made: the same state is the same commit.
async fn commit_tree(git: &Git, tree: &str, parents: &[String], words: &str) -> Result<String, GitError> {
    let mut args = vec!["commit-tree".to_owned(), tree.to_owned()];
    for parent in parents {
        args.extend(["-p".to_owned(), parent.clone()]);
    }
    args.extend(["-m".to_owned(), words.to_owned()]);
    let git = git.clone().env("GIT_AUTHOR_DATE", "@0 +0000").env("GIT_COMMITTER_DATE", "@0 +0000");
    git.text(&args).await
}

/// Lets a ref lead to a commit: the one that does already, or the next one.
async fn set_ref(git: &Git, workspace: &str, top: &str) -> Result<String, GitError> {
    let below = format!("refs/bugle/saved/{workspace}");
    let listed = git.text(&["for-each-ref", "--format=%(refname) %(objectname)", &below]).await?;
    let known: BTreeMap<&str, &str> = listed.lines().filter_map(|line| line.split_once(' ')).collect();
    if let Some((name, _)) = known.iter().find(|(_, sha)| **sha == top) {
        return Ok((*name).to_owned());
    }
    let numbers = known.keys().filter_map(|name| name.rsplit('/').next()?.parse::<u32>().ok());
    let name = format!("{below}/{}", numbers.max().unwrap_or(0) + 1);
    // Never over another one.
    git.run(&["update-ref", &name, top, ""]).await?;
    Ok(name)
}

/// Keeps commits that no ref leads to; nothing when there are none.
pub(crate) async fn keep(
    git: &Git,
    workspace: &str,
    shas: &BTreeSet<String>,
) -> Result<Option<String>, GitError> {
    let tips = unreachable_tips(git, shas).await?;
    match tips.as_slice() {
        [] => Ok(None),
        [tip] => set_ref(git, workspace, tip).await.map(Some),
        tips => {
            let tree = git.text(&["rev-parse", &format!("{}^{{tree}}", tips[0])]).await?;
            let top = commit_tree(git, &tree, tips, "commits that nothing led to").await?;
            set_ref(git, workspace, &top).await.map(Some)
        }
    }
}

/// The newest of the commits that only this worktree, or the log of its branch, leads to.
async fn loose_tips(git: &Git, branch: Option<&str>) -> Result<Vec<String>, GitError> {
    let mut shas = BTreeSet::new();
    let admin = PathBuf::from(git.text(&["rev-parse", "--path-format=absolute", "--git-dir"]).await?);
    shas.extend(shas_in_logs(&admin.join("logs")));
    for name in ["HEAD", "ORIG_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD"] {
        shas.extend(commit(git, name).await?);
    }
    if let Some(branch) = branch {
        let common = git.text(&["rev-parse", "--path-format=absolute", "--git-common-dir"]).await?;
        shas.extend(shas_in_logs(&PathBuf::from(common).join("logs/refs/heads").join(branch)));
    }
    let own = git.try_run(&[
        "for-each-ref",
        "--format=%(objectname)",
        "refs/worktree",
        "refs/bisect",
        "refs/rewritten",
    ]);
    shas.extend(own.await?.text().lines().map(str::to_owned));
    unreachable_tips(git, &shas).await
}

/// Every commit that a file of logs, or all files below a folder of them, names.
pub(crate) fn shas_in_logs(path: &Path) -> BTreeSet<String> {
    let mut shas = BTreeSet::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            shas.extend(shas_in_logs(&entry.path()));
        }
        return shas;
    }
    let text = std::fs::read(path).unwrap_or_default();
    for line in String::from_utf8_lossy(&text).lines() {
        let is_sha = |word: &&str| {
            word.len() >= 40
                && word.bytes().all(|byte| byte.is_ascii_hexdigit())
                && word.bytes().any(|b| b != b'0')
        };
        shas.extend(line.split(' ').take(2).filter(is_sha).map(str::to_owned));
    }
    shas
}

/// Of these commits and what leads up to them, the newest that no kept ref leads to. Refs of remotes do not count: they go
/// whenever somebody prunes.
async fn unreachable_tips(git: &Git, shas: &BTreeSet<String>) -> Result<Vec<String>, GitError> {
    if shas.is_empty() {
        return Ok(Vec::new());
    }
    let listed: String = shas.iter().map(|sha| format!("{sha}\n")).collect();
    // One that was collected already cannot be saved.
    let checked =
        git.clone().input(listed).text(&["cat-file", "--batch-check=%(objectname) %(objecttype)"]).await?;
    let there: Vec<&str> = checked.lines().filter_map(|line| line.strip_suffix(" commit")).collect();
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let input: String = there.iter().map(|sha| format!("{sha}\n")).collect();
    let asked = [
        "rev-list",
        "--parents",
        "--stdin",
        "--not",
        "--branches",
        "--tags",
        "--glob=refs/bugle",
        "--glob=refs/stash",
    ];
    let told = git.clone().input(input).text(&asked).await?;
    let lines = || told.lines().map(|line| line.split(' '));
    let parents: BTreeSet<&str> = lines().flat_map(|words| words.skip(1)).collect();
    Ok(lines()
        .filter_map(|mut words| words.next())
        .filter(|sha| !parents.contains(sha))
        .map(str::to_owned)
        .collect())
}
