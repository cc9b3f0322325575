//! Machines that can be logged in to with `ssh`.
//!
//! A run gets a folder of its own task below the configured one. Its process is a local `ssh` under a keeper, so that it
//! outlives the server; the program there runs in a session of its own and is ended with the line (`scripts`). What is
//! secret crosses through stdin into files that only the user reads and that are gone when the program runs. Agents reach
//! the API through the line itself, unless the host reaches it by its address.

mod config;
mod files;
mod git;
mod line;
mod scripts;

use std::path::Path;
use std::time::Duration;

use adapters::{Command, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use store::BoxFuture;

use super::driver::{Ask, BroughtBack, Driver, DriverError, ProbeReport, Step};
use config::Config;
use git::{Applied, Back, Repository, Sent};
use line::{Input, Line, Output};
use scripts::Places;

/// One short script may take this long.
const SHORT: Duration = Duration::from_secs(60);
/// Bringing files there, or back.
const LONG: Duration = Duration::from_secs(1800);
/// From asking the program there to end to killing it, at the end of a run.
const GRACE: u64 = 15;
/// Ports of the host that are tried for the way back to the API.
const PORT_TRIES: u16 = 5;
/// Where they are looked for: above what systems hand out by themselves.
const PORTS: (u16, u16) = (20_000, 12_000);

#[derive(Debug)]
pub(super) struct Ssh;

/// What is remembered of a lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    host: String,
    port: u16,
    username: Option<String>,
    remote_workspace_path: String,
    remote_cwd: String,
    #[serde(default)]
    paperclip_api_url: Option<String>,
    /// The port of the host that leads back to the API.
    #[serde(default)]
    tunnel_port: Option<u16>,
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    workspace_realization: Option<Realised>,
    #[serde(default)]
    came_back: bool,
}

/// How the files were brought there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "carrier", rename_all = "snake_case")]
enum Realised {
    Git {
        #[serde(flatten)]
        sent: Sent,
    },
    Files {
        local: std::path::PathBuf,
    },
}

/// A lease that is worked on.
struct Work<'a> {
    ask: Ask<'a>,
    config: Config,
    held: Held,
    places: Places,
    line: Line,
}

impl<'a> Work<'a> {
    fn begin(ask: Ask<'a>, step: Step) -> Result<Work<'a>, DriverError> {
        let config = read(ask.config, step)?;
        let held: Held = serde_json::from_value(ask.held.clone()).map_err(|error| {
            DriverError::new(step, format!("the record of the lease makes no sense: {error}"))
        })?;
        // The lease goes by what it was begun with, also after the environment was changed.
        let places = Places::of(&held.remote_workspace_path, ask.run_id, ask.scope);
        let line = Line::open(&config, ask.folder, ask.host).map_err(|error| {
            DriverError::new(step, format!("cannot make the folder of the lease: {error}"))
        })?;
        Ok(Work { ask, config, held, places, line })
    }

    async fn run(&self, script: &str, within: Duration, step: Step) -> Result<String, DriverError> {
        self.line.run(script, within).await.map_err(|words| DriverError::new(step, words))
    }

    async fn send(&self, script: &str, input: Input<'_>, step: Step) -> Result<(), DriverError> {
        let sent = self.line.transfer(&[], script, input, Output::Text, LONG).await;
        sent.map(drop).map_err(|words| DriverError::new(step, words))
    }

    fn remembered(&self) -> Json {
        serde_json::to_value(&self.held).unwrap_or(Json::Null)
    }

    /// Finds out how agents of the host reach the API: by its address, or by a way back through the line.
    async fn find_api(&mut self) -> Result<(), DriverError> {
        let failed = |words: String| DriverError::new(Step::Transport, words);
        if let Some(url) = self.config.api_url.clone() {
            self.line.run(&Places::ask_api(&url), SHORT).await.map_err(|words| {
                failed(format!("the API does not answer the host at {url} (apiUrl): {words}"))
            })?;
            self.held.paperclip_api_url = Some(url);
            return Ok(());
        }
        if !is_loopback(self.ask.api_url) {
            let answered = self.line.run(&Places::ask_api(self.ask.api_url), SHORT).await;
            if answered.is_ok_and(|said| said.trim() != "unknown") {
                self.held.paperclip_api_url = Some(self.ask.api_url.to_owned());
                return Ok(());
            }
        }
        let Some(door) = self.ask.door else {
            return Err(failed(format!(
                "the host does not reach the API at {}, and this server has no door for agents of other machines; \
                 set apiUrl to an address that the host reaches",
                self.ask.api_url
            )));
        };
        let mut last = String::new();
        for attempt in 0..PORT_TRIES {
            let port = port_of(self.ask.lease_id, attempt);
            let url = format!("http://127.0.0.1:{port}");
            let options = tunnel(port, door);
            let asked = Places::ask_api(&url);
            match self.line.transfer(&options, &asked, Input::Nothing, Output::Text, SHORT).await {
                Ok(_) => {
                    self.held.tunnel_port = Some(port);
                    self.held.paperclip_api_url = Some(url);
                    return Ok(());
                }
                Err(words) => last = words,
            }
        }
        Err(failed(format!(
            "no way back from the host to the API could be opened ({last}); allow TCP forwarding on the host, or set \
             apiUrl to an address that the host reaches"
        )))
    }

    async fn send_folder(&mut self) -> Result<(), DriverError> {
        let failed = |words: String| DriverError::new(Step::Realise, words);
        self.run(&self.places.empty_work(), SHORT, Step::Realise).await?;
        let (folder, host) = (self.ask.folder, self.ask.host);
        let realised = match Repository::of(self.ask.local, folder, host).await {
            Some((repository, below)) => {
                if !self.held.has.iter().any(|program| program == "git") {
                    return Err(failed("the run works in a repository, and the host has no git".to_owned()));
                }
                let sent = repository.pack(self.ask.run_id, &below).await.map_err(failed)?;
                let bundle = folder.join("to.bundle");
                self.send(&self.places.take("to.bundle"), Input::File(&bundle), Step::Realise).await?;
                let _ = std::fs::remove_file(&bundle);
                let unpack = self.places.unpack_repository(sent.branch.as_deref(), &sent.head, &sent.state);
                self.run(&unpack, LONG, Step::Realise).await?;
                Realised::Git { sent }
            }
            None => {
                let local = self.ask.local.to_owned();
                let noted = tokio::task::spawn_blocking({
                    let (local, note) = (local.clone(), folder.join("sent.json"));
                    move || {
                        let manifest = files::manifest(&local)?;
                        std::fs::write(note, serde_json::to_vec(&manifest)?)
                    }
                });
                let noted = noted.await.map_err(|error| failed(error.to_string()))?;
                noted.map_err(|error| failed(format!("cannot read {}: {error}", local.display())))?;
                let mut tar = tokio::process::Command::new("tar");
                tar.arg("-C")
                    .arg(&local)
                    .args(["--exclude", &format!("./{}", files::ASIDE), "-cf", "-", "."])
                    .env_clear()
                    .envs(&host.env);
                self.send(&self.places.take_files(), Input::From(tar), Step::Realise).await?;
                Realised::Files { local }
            }
        };
        self.held.workspace_realization = Some(realised);
        self.held.came_back = false;
        Ok(())
    }

    async fn fetch_folder(&mut self) -> Result<BroughtBack, DriverError> {
        let failed = |words: String| DriverError::new(Step::Release, words);
        self.run(&self.places.stop(GRACE), SHORT, Step::Release).await?;
        let run = self.ask.run_id;
        let came = match self.held.workspace_realization.clone() {
            None => BroughtBack { words: "nothing was brought there".to_owned(), is_partial: false },
            Some(Realised::Git { sent }) => {
                let said = self.run(&self.places.pack_repository(&sent.head), LONG, Step::Release).await?;
                let back = Back::read(&said)
                    .ok_or_else(|| failed("the host does not name what it has".to_owned()))?;
                let bundle = self.ask.folder.join("back.bundle");
                let give = self.places.give("back.bundle");
                let got = self.line.transfer(&[], &give, Input::Nothing, Output::File(&bundle), LONG).await;
                got.map_err(failed)?;
                let repository = Repository::at(&sent.top, self.ask.folder, self.ask.host);
                repository.fetch(&bundle, run).await.map_err(failed)?;
                let _ = std::fs::remove_file(&bundle);
                let applied = repository.apply(&sent, run, &back).await.map_err(failed)?;
                repository.forget(run).await;
                told_of_repository(applied, back.head != sent.head, run)
            }
            Some(Realised::Files { local }) => {
                let staged = self.ask.folder.join("back");
                let _ = std::fs::remove_dir_all(&staged);
                line::make_folder(&staged).map_err(|error| failed(error.to_string()))?;
                let mut tar = tokio::process::Command::new("tar");
                tar.arg("-C").arg(&staged).args(["-xf", "-", "--no-same-owner"]);
                tar.env_clear().envs(&self.ask.host.env);
                let give = self.places.give_files();
                let got = self.line.transfer(&[], &give, Input::Nothing, Output::Into(tar), LONG).await;
                got.map_err(failed)?;
                let note = self.ask.folder.join("sent.json");
                let aside = local.join(files::ASIDE).join(run);
                let (from, into, beside) = (staged.clone(), local, aside.clone());
                let taken = tokio::task::spawn_blocking(move || {
                    let sent: files::Manifest = serde_json::from_slice(&std::fs::read(note)?)?;
                    files::take_in(&sent, &from, &into, &beside)
                });
                let taken = taken.await.map_err(|error| failed(error.to_string()))?;
                let taken = taken.map_err(|error| failed(format!("cannot take the files in: {error}")))?;
                let _ = std::fs::remove_dir_all(&staged);
                told_of_files(&taken, &aside)
            }
        };
        self.run(&self.places.close(), SHORT, Step::Release).await?;
        Ok(came)
    }
}

fn told_of_repository(applied: Applied, has_commits: bool, run: &str) -> BroughtBack {
    let kept = format!("refs/bugle/remote/{run}");
    let (words, is_partial) = match applied {
        Applied::Nothing if has_commits => (format!("the run's commits are in {kept}"), true),
        Applied::Nothing => ("the run changed no files".to_owned(), false),
        Applied::Files if has_commits => {
            (format!("the run's files were brought back; its commits are in {kept}"), true)
        }
        Applied::Files => (format!("the run's files were brought back (also in {kept})"), false),
        Applied::FilesAndCommits => {
            (format!("the run's files and commits were brought back (also in {kept})"), false)
        }
        Applied::Conflict => (
            format!(
                "the folder was changed here while the run worked, and its work does not fit; nothing was changed here, \
                 all of it is in {kept}"
            ),
            true,
        ),
    };
    BroughtBack { words, is_partial }
}

fn told_of_files(taken: &files::Taken, aside: &Path) -> BroughtBack {
    let mut words = format!("{} files were brought back, {} removed", taken.changed, taken.removed);
    let is_partial = !taken.conflicts.is_empty();
    if is_partial {
        let number = taken.conflicts.len();
        words.push_str(&format!("; {number} were changed here too, the run's are in {}", aside.display()));
    }
    BroughtBack { words, is_partial }
}

fn read(config: &Json, step: Step) -> Result<Config, DriverError> {
    Config::read(config).map_err(|problems| {
        let words: Vec<String> = problems.iter().map(Problem::to_string).collect();
        DriverError::new(step, format!("its configuration cannot be used: {}", words.join("; ")))
    })
}

/// The options of `ssh` that lead from a port of the host, on its loopback, to the door of the API.
fn tunnel(port: u16, door: &Path) -> Vec<String> {
    vec![
        "-o".to_owned(),
        "ExitOnForwardFailure=yes".to_owned(),
        "-R".to_owned(),
        format!("127.0.0.1:{port}:{}", door.display()),
    ]
}

/// A port for a lease; another one for each attempt.
fn port_of(lease: &str, attempt: u16) -> u16 {
    let digest = Sha256::digest(format!("{lease}/{attempt}"));
    let (first, many) = PORTS;
    first + u16::from_be_bytes([digest[0], digest[1]]) % many
}

/// Only programs of the machine itself reach this address.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

impl Driver for Ssh {
    fn kind(&self) -> &'static str {
        "ssh"
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn check(&self, config: &Json) -> Vec<Problem> {
        Config::read(config).err().unwrap_or_default()
    }

    fn secrets(&self) -> &'static [&'static str] {
        &["privateKey"]
    }

    fn lay_out(&self, ask: &Ask<'_>) -> Result<Json, DriverError> {
        let config = read(ask.config, Step::Acquire)?;
        let places = Places::of(&config.root, ask.run_id, ask.scope);
        let held = Held {
            host: config.host,
            port: config.port,
            username: config.username,
            remote_workspace_path: config.root,
            remote_cwd: places.work,
            paperclip_api_url: None,
            tunnel_port: None,
            has: Vec::new(),
            workspace_realization: None,
            came_back: false,
        };
        Ok(serde_json::to_value(held).unwrap_or(Json::Null))
    }

    fn acquire<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Json, DriverError>> {
        Box::pin(async move {
            let mut work = Work::begin(ask, Step::Acquire)?;
            let said = work.run(&work.places.prepare(), SHORT, Step::Acquire).await?;
            work.held.has =
                said.lines().filter_map(|line| line.strip_prefix("has ")).map(str::to_owned).collect();
            work.find_api().await?;
            Ok(work.remembered())
        })
    }

    fn realise<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Json, DriverError>> {
        Box::pin(async move {
            let mut work = Work::begin(ask, Step::Realise)?;
            work.send_folder().await?;
            let mut cwd = work.places.work.clone();
            if let Some(Realised::Git { sent }) = &work.held.workspace_realization
                && !sent.below.is_empty()
            {
                cwd = format!("{cwd}/{}", sent.below);
            }
            work.held.remote_cwd = cwd;
            Ok(work.remembered())
        })
    }

    fn wrap<'a>(&'a self, ask: Ask<'a>, command: Command) -> BoxFuture<'a, Result<Command, DriverError>> {
        Box::pin(async move {
            let step = Step::Transport;
            if command.keep_stdin_open {
                let words = "an agent that is talked to while it works cannot run on another machine yet";
                return Err(DriverError::new(Step::AdapterStays, words));
            }
            let work = Work::begin(ask, step)?;
            let grace = command.grace.as_secs().clamp(1, 300);
            let mut places = work.places.clone();
            places.work.clone_from(&work.held.remote_cwd);
            let script = places.launch_script(&command.argv, &command.env, grace);
            if !command.stdin.is_empty() {
                work.send(&work.places.take("stdin"), Input::Bytes(&command.stdin), step).await?;
            }
            work.send(&work.places.take("launch.sh"), Input::Bytes(script.as_bytes()), step).await?;
            let options = match (work.held.tunnel_port, work.ask.door) {
                (Some(port), Some(door)) => tunnel(port, door),
                (Some(_), None) | (None, _) => Vec::new(),
            };
            let mut notes = command.notes;
            notes.push(format!("runs on {} in {}", work.held.host, work.held.remote_cwd));
            Ok(Command {
                argv: work.line.argv(&options, &work.places.launch()),
                cwd: work.ask.folder.to_owned(),
                env: work.ask.host.env.clone().into_iter().collect(),
                stdin: Vec::new(),
                // The host ends the program when this is closed, which it is when nobody is there any more.
                keep_stdin_open: true,
                secrets: command.secrets,
                grace: command.grace,
                wall: command.wall,
                notes,
                in_files: Vec::new(),
            })
        })
    }

    fn bring_back<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<BroughtBack, DriverError>> {
        Box::pin(async move { Work::begin(ask, Step::Release)?.fetch_folder().await })
    }

    fn release<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, Result<Option<String>, DriverError>> {
        Box::pin(async move {
            let work = Work::begin(ask, Step::Clean)?;
            let said = work.run(&work.places.clean(), SHORT, Step::Clean).await?;
            if let Some(Realised::Git { sent }) = &work.held.workspace_realization {
                Repository::at(&sent.top, work.ask.folder, work.ask.host).forget(work.ask.run_id).await;
            }
            let kept = said.lines().find_map(|line| line.strip_prefix("kept ").map(str::to_owned));
            Ok(kept.map(|kept| format!("what the run did lies on {} in {kept}", work.held.host)))
        })
    }

    fn probe<'a>(&'a self, ask: Ask<'a>) -> BoxFuture<'a, ProbeReport> {
        Box::pin(async move {
            let config = match read(ask.config, Step::Probe) {
                Ok(config) => config,
                Err(error) => return ProbeReport { ok: false, summary: error.words, details: None },
            };
            let target = match &config.username {
                Some(user) => format!("{user}@{}:{}", config.host, config.port),
                None => format!("{}:{}", config.host, config.port),
            };
            let line = match Line::open(&config, ask.folder, ask.host) {
                Ok(line) => line,
                Err(error) => {
                    return ProbeReport {
                        ok: false,
                        summary: format!("cannot prepare: {error}"),
                        details: None,
                    };
                }
            };
            let root = line::quoted(&config.root);
            let script = format!(
                "set -e; umask 077; mkdir -p {root}; [ -w {root} ]; echo \"is $(uname -s)\"\n\
                 for program in git tar curl wget setsid; do \
                 if command -v \"$program\" >/dev/null 2>&1; then echo \"has $program\"; fi; done"
            );
            match line.run(&script, SHORT).await {
                Err(words) => ProbeReport {
                    ok: false,
                    summary: format!("{target}: {words}"),
                    details: Some(json!({ "code": "probe_failed" })),
                },
                Ok(said) => {
                    let has: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("has ")).collect();
                    let system = said.lines().find_map(|line| line.strip_prefix("is "));
                    let ok = has.contains(&"tar");
                    let summary = match (ok, has.contains(&"git")) {
                        (false, _) => format!("{target} can be reached, and has no tar"),
                        (true, false) => format!("{target} can be used; without git, not for repositories"),
                        (true, true) => format!("{target} can be used"),
                    };
                    let details = json!({
                        "host": config.host, "port": config.port, "username": config.username,
                        "remoteWorkspacePath": config.root, "programs": has, "system": system,
                    });
                    ProbeReport { ok, summary, details: Some(details) }
                }
            }
        })
    }

    fn machine(&self, held: &Json) -> Option<Json> {
        let name = |key: &str| held.get(key).cloned().unwrap_or(Json::Null);
        Some(json!({
            "transport": "ssh", "host": name("host"), "port": name("port"), "username": name("username"),
            "remoteCwd": name("remoteCwd"),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_alone_are_known() {
        for url in ["http://127.0.0.1:3100", "http://localhost:1/x", "http://[::1]:3100", "http://0.0.0.0:1"]
        {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["http://10.0.0.1:3100", "https://bugle.example.org", "http://[fe80::1]:3100"] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn each_attempt_tries_another_port_of_the_same_lease() {
        let ports: Vec<u16> = (0..3).map(|attempt| port_of("lease", attempt)).collect();
        assert_eq!(ports, (0..3).map(|attempt| port_of("lease", attempt)).collect::<Vec<_>>());
        assert!(ports.iter().all(|port| (20_000..32_000).contains(port)));
        assert_ne!(ports[0], ports[1]);
    }
}
