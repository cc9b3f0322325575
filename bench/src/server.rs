//! A server of the program under measurement: started in a scene, asked over HTTP, gone with it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value as Json, json};
use store::Target;

use crate::scene::Scene;
use crate::wire::Connection;

/// A start that takes longer is a failure, whatever the aim.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From its start until it answered that it is healthy.
    pub(crate) healthy_after: Duration,
    log: PathBuf,
}

impl Server {
    /// Starts a server on the scene's folder and store; returns when it is healthy.
    pub(crate) fn start(program: &Path, scene: &Scene, target: &Target, max_runs: u32) -> Result<Server> {
        // The port is free now and may be taken in a moment: then the start fails, and says so.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let log = scene.file("server.log");
        let complaints = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new(program);
        command.arg("up").arg("--data-dir").arg(scene.folder());
        command.args(["--listen", &address.to_string(), "--max-runs", &max_runs.to_string()]);
        if let Target::Postgres(url) = target {
            command.args(["--database-url", url]);
        }
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BUGLE_") {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(complaints.try_clone()?).stderr(complaints);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Server { child, address, healthy_after: Duration::ZERO, log };
        server.healthy_after = server.wait_until_healthy(began)?;
        Ok(server)
    }

    fn wait_until_healthy(&mut self, began: Instant) -> Result<Duration> {
        loop {
            let healthy =
                Connection::open(self.address).and_then(|mut connection| connection.get("/api/health"));
            if healthy.is_ok_and(|answer| answer.status == 200) {
                return Ok(began.elapsed());
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || began.elapsed() > PATIENCE {
                let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                bail!("the server does not become healthy ({ended:?}): {}", said.trim());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn connect(&self) -> Result<Connection> {
        Connection::open(self.address)
    }

    /// The only company, which the first start makes.
    pub(crate) fn company(&self) -> Result<String> {
        let companies = self.connect()?.get("/api/companies")?.json()?;
        text(&companies[0], "id")
    }

    /// Adds an agent that runs a command; returns its id.
    pub(crate) fn add_agent(&self, company: &str, name: &str, argv: &[String], env: &Json) -> Result<String> {
        let (command, args) = argv.split_first().context("a command has a program")?;
        let body = json!({
            "name": name, "adapterType": "process",
            "adapterConfig": { "command": command, "args": args, "env": env },
            "runtimeConfig": { "heartbeat": { "enabled": false, "maxConcurrentRuns": 10 } },
        });
        let agent = self.connect()?.post(&format!("/api/companies/{company}/agents"), &body)?.json()?;
        text(&agent, "id")
    }

    /// Kills it, as a crash would. What it started goes on.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, or ended here; either way nothing of it is left to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Wakes an agent for a task of its own; returns the id of the run.
pub(crate) fn wake(connection: &mut Connection, agent: &str, task: &str) -> Result<String> {
    let body = json!({ "source": "on_demand", "triggerDetail": "manual", "payload": { "taskKey": task } });
    let run = connection.post(&format!("/api/agents/{agent}/wakeup"), &body)?.json()?;
    ensure!(run["status"] != "skipped", "the wake was skipped: {run}");
    text(&run, "id")
}

/// Waits until a run is over; returns its row, which must have succeeded.
pub(crate) fn wait_for_end(connection: &mut Connection, run: &str) -> Result<Json> {
    let began = Instant::now();
    loop {
        let row = connection.get(&format!("/api/heartbeat-runs/{run}"))?.json()?;
        match row["status"].as_str() {
            Some("succeeded") => return Ok(row),
            Some("queued" | "running" | "scheduled_retry") if began.elapsed() < PATIENCE * 5 => {}
            _ => bail!("run {run} ended as {}: {}", row["status"], row["error"]),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A text field.
pub(crate) fn text(of: &Json, field: &str) -> Result<String> {
    Ok(of[field].as_str().with_context(|| format!("there is no `{field}` in {of}"))?.to_owned())
}
