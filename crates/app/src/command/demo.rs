//! `bugle demo`: shows in a minute what Bugle is for, on this machine, with nothing else installed.
//!
//! It makes a data folder and a small repository, starts a server of its own, adds two agents, wakes them by command, by
//! HTTP and by timer, kills the server in the middle, starts it again, and shows that the work went on. Everything goes
//! through the same commands and routes that people use; nothing here knows more than they do.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::cli::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::run_view::RunView;
use crate::screen::{Screen, Tone};

const NARRATOR: &str = include_str!("../demo/narrator.script");
/// A real command on the repository. It prints, and leaves a file behind.
const HISTORIAN: &str = "echo \"reading $(pwd)\"; \
    if git log --format='%h %s' > HISTORY.md 2>/dev/null; then cat HISTORY.md; else ls -l; fi; echo 'done reading'";
/// What never takes this long is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often something is asked that does not announce itself.
const AGAIN: Duration = Duration::from_millis(50);

/// See it work: two agents, live logs, and a server that is killed in the middle
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Where to put the demo: a folder that does not exist yet, as an absolute path [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Demo {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let folder = self.folder()?;
        let mut stage = Stage::set(folder)?;
        let played = stage.play(&mut context.screen).await;
        // Whatever happened, no server and no agent of the demo is left behind.
        stage.clear_away();
        let runs = played?;
        stage.tell_what_is_left(&mut context.screen, &runs)
    }

    fn folder(&self) -> Result<PathBuf, Failure> {
        let folder = match &self.dir {
            Some(folder) if !folder.is_absolute() => {
                return Err(Failure::usage(
                    "demo.dir",
                    format!("{} is not an absolute path", folder.display()),
                )
                .hint("write it from the root, for example --dir \"$PWD/bugle-demo\""));
            }
            Some(folder) if folder.exists() => {
                return Err(Failure::usage("demo.dir", format!("{} is there already", folder.display()))
                    .hint(
                        "name a folder that does not exist yet; the demo never touches what it did not make",
                    ));
            }
            Some(folder) => folder.clone(),
            None => std::env::temp_dir().join(format!("bugle-demo-{:08x}", rand::random::<u32>())),
        };
        Ok(folder)
    }
}

/// The folder of the demo and the server that plays in it.
#[derive(Debug)]
struct Stage {
    folder: PathBuf,
    program: PathBuf,
    server: Option<Child>,
    /// The port of the first start; the second takes it again.
    listen: String,
    has_git: bool,
}

impl Stage {
    fn set(folder: PathBuf) -> Result<Stage, Failure> {
        let program = std::env::current_exe().map_err(|error| broken("find this program", &error))?;
        let repository = folder.join("repository");
        std::fs::create_dir_all(&repository)
            .map_err(|error| broken(&format!("make {}", repository.display()), &error))?;
        let readme = "# A small repository\n\nTwo agents work here.\n";
        std::fs::write(repository.join("README.md"), readme)
            .map_err(|error| broken("write a README", &error))?;
        let has_git = git(&repository, &["init", "--quiet"])
            && git(&repository, &["add", "."])
            && git(&repository, &["commit", "--quiet", "--message", "Begin"]);
        Ok(Stage { folder, program, server: None, listen: "127.0.0.1:0".to_owned(), has_git })
    }

    fn repository(&self) -> PathBuf {
        self.folder.join("repository")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A command of the program itself, as a person would type it.
    fn bugle(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).arg("--data-dir").arg(self.data());
        // What the person has set for their own server is not meant for this one.
        for name in [
            "BUGLE_URL",
            "BUGLE_COMPANY",
            "BUGLE_LISTEN",
            "BUGLE_DATABASE_URL",
            "BUGLE_DATA_DIR",
            "BUGLE_MAX_RUNS",
        ] {
            command.env_remove(name);
        }
        command
    }

    async fn play(&mut self, screen: &mut Screen) -> Result<Vec<Json>, Failure> {
        step(screen, "1", &format!("a data folder and a small repository in {}", self.folder.display()));
        if !self.has_git {
            say(screen, "git is not installed: the agents work in a plain folder instead");
        }
        let client = self.start_server().await?;
        step(
            screen,
            "2",
            &format!("a server, listening on http://{} (process {})", self.listen, self.server_pid()),
        );

        let company = first_id(&client.get("/companies").await?)?;
        let narrator = self.add_agents(&client, &company).await?;
        step(
            screen,
            "3",
            "two agents: `narrator` follows a script, `historian` is a shell command with a timer",
        );

        step(screen, "4", "waking the narrator by command: bugle wake narrator --follow");
        let mut follow = self
            .bugle(&["wake", "narrator", "--reason", "demo", "--follow"])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| broken("run bugle wake", &error))?;
        let told = self.interrupt(screen, &client, &company, &narrator).await;
        let followed = tokio::task::spawn_blocking(move || follow.wait()).await;
        let (before, after) = told?;
        let followed = followed.ok().and_then(Result::ok).is_some_and(|status| status.success());

        step(screen, "7", "waking the historian by HTTP:");
        let path = format!("/agents/historian/wakeup?companyId={company}");
        say(
            screen,
            &format!(
                "POST http://{}/api{path}  {{\"reason\":\"demo\",\"taskKey\":\"by-hand\"}}",
                self.listen
            ),
        );
        client.post(&path, &json!({"reason": "demo", "taskKey": "by-hand"})).await?;
        let runs = self.wait_until_quiet(&client, &company).await?;
        self.bugle(&["agent", "pause", "historian"])
            .stdout(Stdio::null())
            .status()
            .map_err(|e| broken("run bugle", &e))?;

        step(screen, "8", "what the record says:");
        let runs = if runs.is_empty() { self.wait_until_quiet(&client, &company).await? } else { runs };
        table(screen, &runs)?;
        verdict(screen, followed, before, after, &runs)?;
        Ok(runs)
    }

    /// Kills the server while the narrator works, and starts it again. Returns the narrator's process before and after.
    async fn interrupt(
        &mut self,
        screen: &mut Screen,
        client: &Client,
        company: &str,
        narrator: &str,
    ) -> Result<(i64, i64), Failure> {
        let run = wait_for("the narrator to work", || async {
            let runs =
                client.get(&format!("/companies/{company}/heartbeat-runs?agentId={narrator}")).await.ok()?;
            let view = RunView::read(runs.as_array()?.first()?).ok()?;
            (view.process_pid.is_some() && view.last_output_at.is_some()).then_some(view)
        })
        .await?;
        let before = run.process_pid.unwrap_or_default();
        // Long enough to see it speak, short enough that most of its work lies ahead.
        tokio::time::sleep(Duration::from_secs(2)).await;

        let pid = self.server_pid();
        step(screen, "5", &format!("kill -9 {pid}: the server is gone in the middle of its work"));
        self.kill_server();
        let alive = is_alive(before);
        say(
            screen,
            &format!("the agent's process {before} {}", if alive { "goes on without it" } else { "is gone" }),
        );
        tokio::time::sleep(Duration::from_secs(1)).await;

        let client = self.start_server().await?;
        step(
            screen,
            "6",
            &format!("the server is started again (process {}); it finds the run", self.server_pid()),
        );
        // The record alone would show the process of before; that this server looks after it shows that it was found.
        wait_for("the run to be found", || async {
            let found = client.get(&format!("/heartbeat-runs/{}/explain", run.id)).await.ok()?;
            (found["holder"]["tendedHere"] == true || found["status"] != "running").then_some(())
        })
        .await?;
        let view = RunView::read(&client.get(&format!("/heartbeat-runs/{}", run.id)).await?)?;
        let after = view.process_pid.unwrap_or_default();
        say(
            screen,
            &format!(
                "process before: {before}, process after: {after}: {}",
                if before == after { "the same" } else { "NOT the same" }
            ),
        );
        Ok((before, after))
    }

    async fn add_agents(&self, client: &Client, company: &str) -> Result<String, Failure> {
        let cwd = self.repository();
        let narrator = client
            .post(
                &format!("/companies/{company}/agents"),
                &json!({
                    "name": "narrator", "adapterType": "scripted",
                    "adapterConfig": {"script": self.script(), "cwd": cwd},
                }),
            )
            .await?;
        client
            .post(
                &format!("/companies/{company}/agents"),
                &json!({
                    "name": "historian", "adapterType": "process",
                    "adapterConfig": {"command": "sh", "args": ["-c", HISTORIAN], "cwd": cwd},
                    "runtimeConfig": {"heartbeat": {"enabled": true, "intervalSec": 3}},
                }),
            )
            .await?;
        narrator["id"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| Failure::failed("demo", "the server made no agent"))
    }

    /// Without git there is nothing to commit to.
    fn script(&self) -> String {
        let steps = NARRATOR.lines().filter(|line| self.has_git || !line.trim_start().starts_with("commit"));
        steps.collect::<Vec<_>>().join("\n")
    }

    async fn start_server(&mut self) -> Result<Client, Failure> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("server.log"))
            .map_err(|error| broken("write the server's log", &error))?;
        let errors = log.try_clone().map_err(|error| broken("write the server's log", &error))?;
        let server = self
            .bugle(&["up", "--stop-runs", "--listen", &self.listen])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|error| broken("start the server", &error))?;
        let pid = server.id();
        self.server = Some(server);
        let data = self.data();
        let note = wait_for("the server to listen", || async {
            crate::instance::read_note(&data).filter(|note| u32::try_from(note.pid) == Ok(pid))
        })
        .await
        .map_err(|failure| failure.hint(format!("see {}", self.folder.join("server.log").display())))?;
        self.listen = note.listen.to_string();
        let client = Client::new(Some(&format!("http://{}", self.listen)), None)?;
        wait_for("the server to be healthy", || async { client.get("/health").await.ok() }).await?;
        Ok(client)
    }

    fn server_pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Child::id)
    }

    fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself: gone is gone.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Waits until a timer run, a run by hand and the narrator's are over and nothing is running.
    async fn wait_until_quiet(&self, client: &Client, company: &str) -> Result<Vec<Json>, Failure> {
        wait_for("all runs to end", || async {
            let runs = client.get(&format!("/companies/{company}/heartbeat-runs?limit=100")).await.ok()?;
            let runs = runs.as_array()?.clone();
            let views: Vec<RunView> = runs.iter().filter_map(|run| RunView::read(run).ok()).collect();
            let by =
                |source: &str| views.iter().any(|view| view.invocation_source.as_deref() == Some(source));
            let quiet = views.iter().all(RunView::is_final);
            let by_hand = views.iter().any(|view| view.task_key.as_deref() == Some("by-hand"));
            (quiet && by("timer") && by_hand).then_some(runs)
        })
        .await
    }

    fn clear_away(&mut self) {
        let Some(server) = &mut self.server else { return };
        let pid = server.id().cast_signed();
        // Asked to end its runs too: after a failed demo an agent may still be at work.
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Ok(Some(_)) = server.try_wait() {
                break;
            }
            std::thread::sleep(AGAIN);
        }
        self.kill_server();
    }

    fn tell_what_is_left(&self, screen: &mut Screen, runs: &[Json]) -> Result<(), Failure> {
        let data = self.data().display().to_string();
        if screen.json {
            screen.answer(&json!({"folder": self.folder, "dataDir": data, "runs": runs}));
            return Ok(());
        }
        step(screen, "9", "the server is stopped; everything it knows is still there. Look around:");
        for (command, why) in [
            ("bugle up", "start it again"),
            ("bugle run list", "all runs"),
            ("bugle run explain RUN", "what happened to one, step by step"),
            ("bugle logs RUN", "what it printed"),
            ("bugle audit verify", "that nobody changed the record"),
        ] {
            say(screen, &format!("{command} --data-dir {data}    # {why}"));
        }
        say(screen, &format!("rm -r {}    # all of it is in this one folder", self.folder.display()));
        Ok(())
    }
}

fn verdict(
    screen: &mut Screen,
    followed: bool,
    before: i64,
    after: i64,
    runs: &[Json],
) -> Result<(), Failure> {
    let views: Vec<RunView> = runs.iter().filter_map(|run| RunView::read(run).ok()).collect();
    let failed: Vec<&str> =
        views.iter().filter(|view| !view.has_succeeded()).map(|view| view.id.as_str()).collect();
    let mut wrong = Vec::new();
    if before == 0 || before != after {
        wrong
            .push(format!("the agent's process was {before} before the server was killed and {after} after"));
    }
    if !followed {
        wrong.push("`bugle wake --follow` did not see its run succeed".to_owned());
    }
    if !failed.is_empty() {
        wrong.push(format!("these runs did not succeed: {}", failed.join(", ")));
    }
    if wrong.is_empty() {
        say(screen, &format!("{} runs, all succeeded; none lost, none twice", views.len()));
        return Ok(());
    }
    Err(Failure::failed("demo.failed", wrong.join("; "))
        .hint("please report it, with the folder of the demo"))
}

fn table(screen: &mut Screen, runs: &[Json]) -> Result<(), Failure> {
    let views = runs.iter().map(RunView::read).collect::<Result<Vec<_>, _>>()?;
    let rows = views
        .iter()
        .map(|view| {
            vec![
                (Tone::of_status(&view.status), view.state()),
                (Tone::Plain, view.id.clone()),
                (Tone::Plain, view.invocation_source.clone().unwrap_or_default()),
                (Tone::Plain, view.duration().unwrap_or_default()),
                (Tone::Plain, view.process_pid.map(|pid| pid.to_string()).unwrap_or_default()),
                (Tone::Plain, view.exit_code.map(|code| code.to_string()).unwrap_or_default()),
            ]
        })
        .collect();
    if !screen.json {
        screen.table(&["status", "run", "woken by", "took", "process", "exit"], rows);
    }
    Ok(())
}

fn first_id(list: &Json) -> Result<String, Failure> {
    let id = list.as_array().and_then(|list| list.first()).and_then(|first| first["id"].as_str());
    id.map(str::to_owned).ok_or_else(|| Failure::failed("demo", "the server made no company"))
}

fn step(screen: &mut Screen, number: &str, text: &str) {
    let head = screen.tint_note(Tone::Good, &format!("[{number}]"));
    screen.note(&format!("{head} {text}"));
}

fn say(screen: &mut Screen, text: &str) {
    screen.note(&format!("    {text}"));
}

/// Asks again and again until there is an answer.
async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> Result<T, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            let message = format!("waited {} s for {what}, in vain", PATIENCE.as_secs());
            return Err(Failure::failed("demo.patience", message).hint("try: bugle doctor"));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn is_alive(pid: i64) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

fn git(folder: &Path, args: &[&str]) -> bool {
    let mut command = Command::new("git");
    command.args([
        "-c",
        "user.name=Bugle demo",
        "-c",
        "user.email=demo@bugle.invalid",
        "-c",
        "commit.gpgsign=false",
    ]);
    let status = command
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    status.status().is_ok_and(|status| status.success())
}

fn broken(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed("demo", format!("cannot {what}: {error}")).hint("try: bugle doctor")
}
