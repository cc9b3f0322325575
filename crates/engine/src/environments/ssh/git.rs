//! Carrying a repository to a host and back.
//!
//! There goes the commit that is checked out, and beside it a commit of the folder as it stands (what is not committed,
//! without what git ignores). Back comes a commit of the folder there. It is kept under `refs/bugle/remote/<run>`, and its
//! difference to what was sent is applied to the folder here: as a whole or not at all, so that whatever was edited here
//! meanwhile is never overwritten. The branch moves only where it still is where it was.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// What was sent of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent {
    /// The top of the repository on this machine.
    pub(super) top: PathBuf,
    /// The run's folder below it.
    pub(super) below: String,
    pub(super) branch: Option<String>,
    pub(super) head: String,
    /// The commit of the folder as it stood.
    pub(super) state: String,
}

/// What came of taking the work in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// The run changed nothing.
    Nothing,
    Files,
    /// And its commits are on the branch.
    FilesAndCommits,
    /// It does not fit what the folder has become.
    Conflict,
}

/// A repository on this machine; git is asked with a plain environment.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    top: PathBuf,
    /// For files that are needed for a moment.
    folder: &'a Path,
    host: &'a adapters::Host,
}

impl<'a> Repository<'a> {
    /// The repository that a folder is in, with the folder's place below its top; `None`: it is in none that has a commit.
    pub(super) async fn of(
        local: &Path,
        folder: &'a Path,
        host: &'a adapters::Host,
    ) -> Option<(Repository<'a>, String)> {
        let here = Repository { top: local.to_owned(), folder, host };
        let top = here.ask(&["rev-parse", "--show-toplevel"]).await.ok()?;
        let below = here.ask(&["rev-parse", "--show-prefix"]).await.ok()?;
        here.ask(&["rev-parse", "--verify", "-q", "HEAD^{commit}"]).await.ok()?;
        // A folder that the repository around it ignores is not part of it.
        let is_ignored = !below.is_empty() && here.ask(&["check-ignore", "-q", "."]).await.is_ok();
        if is_ignored || top.is_empty() {
            return None;
        }
        Some((Repository { top: PathBuf::from(top), folder, host }, below.trim_end_matches('/').to_owned()))
    }

    pub(super) fn at(top: &Path, folder: &'a Path, host: &'a adapters::Host) -> Repository<'a> {
        Repository { top: top.to_owned(), folder, host }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.top)
            .args(["-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"])
            .args(args);
        command.env_clear().envs(&self.host.env).kill_on_drop(true).stdin(Stdio::null());
        command.env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "Bugle")
                .env(format!("GIT_{who}_EMAIL"), "bugle@localhost");
        }
        command
    }

    async fn ask(&self, args: &[&str]) -> Result<String, String> {
        said(self.command(args)).await
    }

    async fn ask_with_index(&self, args: &[&str]) -> Result<String, String> {
        let mut command = self.command(args);
        command.env("GIT_INDEX_FILE", self.index());
        said(command).await
    }

    fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    /// Writes the bundle that is sent; changes nothing but refs of ours.
    pub(super) async fn pack(&self, run: &str, below: &str) -> Result<Sent, String> {
        let head = self.ask(&["rev-parse", "HEAD"]).await?;
        let branch = self.ask(&["symbolic-ref", "-q", "--short", "HEAD"]).await.ok();
        let state = self.state(&head).await?;
        let kept = format!("refs/bugle/sent/{run}");
        self.ask(&["update-ref", &kept, &state]).await?;
        let bundle = self.folder.join("to.bundle");
        self.ask(&["bundle", "create", "-q", &bundle.to_string_lossy(), &kept]).await?;
        Ok(Sent { top: self.top.clone(), below: below.to_owned(), branch, head, state })
    }

    /// A commit of the folder as it stands, on top of `head`.
    async fn state(&self, head: &str) -> Result<String, String> {
        let index = self.ask(&["rev-parse", "--git-path", "index"]).await?;
        let _ = std::fs::remove_file(self.index());
        // A copy knows what it need not read again.
        let _ = std::fs::copy(self.top.join(index), self.index());
        self.ask_with_index(&["add", "-A", "--", "."]).await?;
        let tree = self.ask_with_index(&["write-tree"]).await?;
        let _ = std::fs::remove_file(self.index());
        self.ask(&["commit-tree", &tree, "-p", head, "-m", "What the run began with"]).await
    }

    /// Takes the bundle that came back into `refs/bugle/remote/<run>`.
    pub(super) async fn fetch(&self, bundle: &Path, run: &str) -> Result<(), String> {
        let spec = format!("+refs/bugle/back:refs/bugle/remote/{run}");
        self.ask(&["fetch", "-q", "--no-tags", "--no-write-fetch-head", &bundle.to_string_lossy(), &spec])
            .await
            .map(drop)
    }

    /// Applies what changed between what was sent and what came back. Doing it again does nothing.
    pub(super) async fn apply(&self, sent: &Sent, run: &str, back: &Back) -> Result<Applied, String> {
        let kept = format!("refs/bugle/remote/{run}");
        let patch = self.folder.join("back.patch");
        let file = std::fs::File::create(&patch).map_err(|error| format!("cannot make a patch: {error}"))?;
        let mut diff = self.command(&["diff", "--binary", "--full-index", "--no-ext-diff", "--no-color"]);
        diff.args([&sent.state, &kept]).stdout(file);
        let ended = diff.stderr(Stdio::piped()).spawn().map_err(no_git)?;
        let ended = ended.wait_with_output().await.map_err(no_git)?;
        if !ended.status.success() {
            return Err(words(&ended.stderr));
        }
        let has_files = std::fs::metadata(&patch).is_ok_and(|file| file.len() > 0);
        let patch_path = patch.to_string_lossy().into_owned();
        let done = if has_files {
            let apply = |more: &'static [&'static str]| {
                let mut args = vec!["apply", "--whitespace=nowarn"];
                args.extend(more);
                args.push(&patch_path);
                self.command(&args)
            };
            if said(apply(&["--check", "--reverse"])).await.is_ok() {
                true
            } else if said(apply(&["--check"])).await.is_ok() {
                said(apply(&[])).await?;
                true
            } else {
                false
            }
        } else {
            true
        };
        let _ = std::fs::remove_file(&patch);
        if !done {
            return Ok(Applied::Conflict);
        }
        let moved = back.head != sent.head && self.advance(sent, back).await?;
        Ok(match (has_files, moved) {
            (_, true) => Applied::FilesAndCommits,
            (true, false) => Applied::Files,
            (false, false) => Applied::Nothing,
        })
    }

    /// Moves the branch onto the run's commits, where nobody moved it and nothing is staged.
    async fn advance(&self, sent: &Sent, back: &Back) -> Result<bool, String> {
        let branch = self.ask(&["symbolic-ref", "-q", "--short", "HEAD"]).await.ok();
        let head = self.ask(&["rev-parse", "HEAD"]).await?;
        if head == back.head && branch == sent.branch {
            return Ok(true);
        }
        let is_where_it_was = head == sent.head && branch == sent.branch && back.branch == sent.branch;
        let is_ahead = self.ask(&["merge-base", "--is-ancestor", &sent.head, &back.head]).await.is_ok();
        let is_unstaged = self.ask(&["diff", "--cached", "--quiet"]).await.is_ok();
        if !(is_where_it_was && is_ahead && is_unstaged) {
            return Ok(false);
        }
        self.ask(&["update-ref", "-m", "bugle: commits of a run", "HEAD", &back.head, &sent.head]).await?;
        // The index follows; the files are there already.
        self.ask(&["reset", "-q"]).await?;
        Ok(true)
    }

    /// Forgets what was sent.
    pub(super) async fn forget(&self, run: &str) {
        let _ = self.ask(&["update-ref", "-d", &format!("refs/bugle/sent/{run}")]).await;
    }
}

/// What the host says of its repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Back {
    pub(super) head: String,
    pub(super) branch: Option<String>,
}

impl Back {
    /// Reads the lines of the host; `None` when they make no sense.
    pub(super) fn read(text: &str) -> Option<Back> {
        let mut back = Back::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("head", head)) => back.head = head.trim().to_owned(),
                Some(("branch", branch)) => {
                    back.branch = Some(branch.trim().to_owned()).filter(|branch| !branch.is_empty());
                }
                Some(_) | None => {}
            }
        }
        let is_id = back.head.len() >= 40 && back.head.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then_some(back)
    }
}

fn no_git(error: std::io::Error) -> String {
    format!("cannot run git: {error}")
}

fn words(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim();
    let end = text.char_indices().nth(1_000).map_or(text.len(), |(at, _)| at);
    format!("git: {}", &text[..end])
}

async fn said(mut command: Command) -> Result<String, String> {
    let ended = command.output().await.map_err(no_git)?;
    if ended.status.success() {
        Ok(String::from_utf8_lossy(&ended.stdout).trim_end_matches('\n').to_owned())
    } else {
        Err(words(&ended.stderr))
    }
}
