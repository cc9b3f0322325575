//! Running git, and commands of the host: beside each other because both are programs of somebody else's that must end.
//!
//! Each runs in a process group of its own with exactly the environment it is given, never through a shell unless a
//! person wrote a shell command, with a limit on its time and on its output. Whoever stops waiting for one ends it. Hooks
//! of the repository do not run, and nothing refreshes an index that is not ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use adapters::Host;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Looking and saving on one's own disk; a large tree on a slow one needs minutes.
const PATIENCE: Duration = Duration::from_secs(180);
/// What of an answer is taken in. Lists of a million files fit.
const MOST_BYTES: usize = 64 << 20;

/// Why a program gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GitError {
    #[error("git is not installed")]
    NotInstalled,
    #[error("git {0} did not end in time")]
    TooLong(String),
    #[error("git {0} said more than is taken in")]
    TooMuch(String),
    /// git's own words.
    #[error("git {command}: {words}")]
    Refused { command: String, words: String },
    #[error("{0}")]
    Other(String),
}

/// What a program said, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// `None`: a signal ended it, or it took too long.
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    /// More was said than is kept.
    pub(crate) cut: bool,
}

impl Said {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).trim_end_matches('\n').to_owned()
    }

    pub(crate) fn words(&self) -> String {
        let err = String::from_utf8_lossy(&self.err);
        let words = if err.trim().is_empty() { String::from_utf8_lossy(&self.out) } else { err };
        words.trim().chars().take(2_000).collect()
    }
}

/// git in one folder.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    env: BTreeMap<String, String>,
    folder: PathBuf,
    patience: Duration,
    most_bytes: usize,
    input: Vec<u8>,
}

impl Git {
    pub(crate) fn at(host: &Host, folder: impl Into<PathBuf>) -> Git {
        let mut env = host.env.clone();
        env.entry("PATH".to_owned()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin".to_owned());
        for (name, value) in [
            // Messages are matched on.
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "true"),
            ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
            // Looking must not rewrite the index of a folder that a person works in.
            ("GIT_OPTIONAL_LOCKS", "0"),
            // An address may come from an agent: `ext::` would be a command.
            ("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh"),
            ("GIT_AUTHOR_NAME", "Bugle"),
            ("GIT_AUTHOR_EMAIL", "bugle@localhost"),
            ("GIT_COMMITTER_NAME", "Bugle"),
            ("GIT_COMMITTER_EMAIL", "bugle@localhost"),
        ] {
            env.insert(name.to_owned(), value.to_owned());
        }
        Git { env, folder: folder.into(), patience: PATIENCE, most_bytes: MOST_BYTES, input: Vec::new() }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<Path>) -> Git {
        self.env.insert(name.to_owned(), value.as_ref().to_string_lossy().into_owned());
        self
    }

    pub(crate) fn patience(mut self, patience: Duration) -> Git {
        self.patience = patience;
        self
    }

    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Git {
        self.input = input.into();
        self
    }

    /// Keeps the beginning of a long answer, and says that it was cut.
    pub(crate) fn most_bytes(mut self, most: usize) -> Git {
        self.most_bytes = most;
        self
    }

    /// Runs git and gives whatever it said; only a program that gave no answer is an error.
    pub(crate) async fn try_run<S: AsRef<str>>(&self, args: &[S]) -> Result<Said, GitError> {
        let named = args.first().map_or("", AsRef::as_ref).to_owned();
        let mut command = Command::new("git");
        for setting in
            ["core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false"]
        {
            command.args(["-c", setting]);
        }
        command.args([
            "-c",
            "commit.gpgSign=false",
            "-c",
            "core.quotePath=false",
            "-c",
            "advice.detachedHead=false",
        ]);
        command.args(args.iter().map(AsRef::as_ref)).current_dir(&self.folder).env_clear().envs(&self.env);
        match run(command, &self.input, self.patience, self.most_bytes).await {
            Ok(Some(said)) => Ok(said),
            Ok(None) => Err(GitError::TooLong(named)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.folder.is_dir() => {
                Err(GitError::NotInstalled)
            }
            Err(error) => Err(GitError::Other(format!("git {named} in {}: {error}", self.folder.display()))),
        }
    }

    /// Runs git; anything but success is an error in git's words.
    pub(crate) async fn run<S: AsRef<str>>(&self, args: &[S]) -> Result<Said, GitError> {
        let said = self.try_run(args).await?;
        let named = || args.first().map_or("", AsRef::as_ref).to_owned();
        if said.cut && self.most_bytes == MOST_BYTES {
            return Err(GitError::TooMuch(named()));
        }
        if said.code == Some(0) || said.cut {
            return Ok(said);
        }
        Err(GitError::Refused { command: named(), words: said.words() })
    }

    /// Runs git and gives its answer as text.
    pub(crate) async fn text<S: AsRef<str>>(&self, args: &[S]) -> Result<String, GitError> {
        Ok(self.run(args).await?.text())
    }

    /// Runs git for a yes or a no: the exit code 0 or anything else.
    pub(crate) async fn asks<S: AsRef<str>>(&self, args: &[S]) -> Result<bool, GitError> {
        Ok(self.try_run(args).await?.code == Some(0))
    }
}

/// A shell command of a person, with exactly this environment. `None`: it did not end in time, and was ended.
pub(crate) async fn shell(
    shell: &str,
    script: &str,
    folder: &Path,
    env: &BTreeMap<String, String>,
    patience: Duration,
    most_bytes: usize,
) -> std::io::Result<Option<Said>> {
    let mut command = Command::new(shell);
    command.args(["-c", script]).current_dir(folder).env_clear().envs(env);
    run_keeping_tails(command, patience, most_bytes).await
}

/// Ends the whole group of a program when nobody waits for it any more.
struct Group {
    leader: Option<rustix::process::Pid>,
}

impl Group {
    fn of(child: &Child) -> Group {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Group { leader: pid.and_then(rustix::process::Pid::from_raw) }
    }
}

impl Group {
    fn end(&mut self) {
        if let Some(leader) = self.leader.take() {
            // It may be gone already.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawned(mut command: Command, stdin: Stdio) -> std::io::Result<(Child, Group)> {
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let child = command.spawn()?;
    let group = Group::of(&child);
    Ok((child, group))
}

/// Runs a program to its end, or until it has said more than `most`.
async fn run(
    command: Command,
    input: &[u8],
    patience: Duration,
    most: usize,
) -> std::io::Result<Option<Said>> {
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    let (mut child, mut group) = spawned(command, stdin)?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let pipe = child.stdin.take();
    let feed = async move {
        if let Some(mut pipe) = pipe {
            // A program that does not read on says so by its exit code.
            let _ = pipe.write_all(input).await;
        }
    };
    let work = async {
        let ((), (out, cut), (err, _)) = tokio::join!(feed, head(out, most), head(err, 64 << 10));
        if cut {
            group.end();
        }
        let status = child.wait().await?;
        // The leader was reaped: its number may be somebody else's by now.
        group.leader = None;
        Ok(Said { code: status.code(), out, err, cut })
    };
    match tokio::time::timeout(patience, work).await {
        Ok(said) => said.map(Some),
        Err(_) => Ok(None),
    }
}

/// Runs a program to its end and keeps the ends of what it said.
async fn run_keeping_tails(
    command: Command,
    patience: Duration,
    most: usize,
) -> std::io::Result<Option<Said>> {
    let (mut child, mut group) = spawned(command, Stdio::null())?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        // What it left running in the background may hold the pipes: its own end is what counts.
        let reading = async { tokio::join!(tail(out, most), tail(err, most)) };
        tokio::pin!(reading);
        let status = tokio::select! {
            status = child.wait() => status?,
            (out, err) = &mut reading => {
                let status = child.wait().await?;
                group.leader = None;
                return Ok(Said { code: status.code(), out, err, cut: false });
            }
        };
        group.leader = None;
        let rest = tokio::time::timeout(Duration::from_millis(500), &mut reading).await;
        let (out, err) = rest.unwrap_or_default();
        Ok(Said { code: status.code(), out, err, cut: false })
    };
    match tokio::time::timeout(patience, work).await {
        Ok(said) => said.map(Some),
        Err(_) => Ok(None),
    }
}

async fn head(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let Some(pipe) = pipe else { return (bytes, false) };
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    // What cannot be read any more was not said.
    let _ = pipe.take(limit.saturating_add(1)).read_to_end(&mut bytes).await;
    let cut = bytes.len() > most;
    bytes.truncate(most);
    (bytes, cut)
}

async fn tail(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Some(mut pipe) = pipe else { return bytes };
    let mut piece = vec![0; 16 << 10];
    while let Ok(count) = pipe.read(&mut piece).await {
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..count]);
        if bytes.len() > 2 * most {
            bytes.drain(..bytes.len() - most);
        }
    }
    let excess = bytes.len().saturating_sub(most);
    bytes.drain(..excess);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host::from_env([("PATH", "/usr/local/bin:/usr/bin:/bin")])
    }

    #[tokio::test]
    async fn what_git_is_given_is_all_it_has_and_its_words_are_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let git = Git::at(&host(), folder.path());
        let error = git.run(&["status"]).await.unwrap_err();
        assert!(
            matches!(&error, GitError::Refused { words, .. } if words.contains("not a git repository")),
            "{error}"
        );
        git.run(&["init", "-q"]).await.unwrap();
        let hash = git.clone().input("hello").text(&["hash-object", "-w", "--stdin"]).await.unwrap();
        assert_eq!(git.text(&["cat-file", "-p", &hash]).await.unwrap(), "hello");
        let cut = git.clone().most_bytes(3).run(&["cat-file", "-p", &hash]).await.unwrap();
        assert_eq!((cut.out.as_slice(), cut.cut), (b"hel".as_slice(), true));
        let escape = git.run(&["clone", "ext::sh -c touch% x", "there"]).await.unwrap_err();
        assert!(escape.to_string().contains("not allowed"), "{escape}");
        assert!(!folder.path().join("x").exists());
    }

    #[tokio::test]
    async fn a_command_ends_in_time_with_all_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let env = host().env;
        let said = shell("/bin/sh", "echo $PATH; exit 3", folder.path(), &env, PATIENCE, 100).await.unwrap();
        let said = said.unwrap();
        assert_eq!((said.code, said.text().as_str()), (Some(3), env["PATH"].as_str()));
        let script = "sleep 600 & echo $! > pid; wait";
        let none =
            shell("/bin/sh", script, folder.path(), &env, Duration::from_millis(300), 100).await.unwrap();
        assert_eq!(none, None);
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let is_dead = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while !is_dead() {
            assert!(std::time::Instant::now() < until, "the child of the command lives");
            tokio::task::yield_now().await;
        }
        let long = shell("/bin/sh", "seq 1 9999", folder.path(), &env, PATIENCE, 5).await.unwrap().unwrap();
        assert_eq!(long.out, b"9999\n");
    }
}
