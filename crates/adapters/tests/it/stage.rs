//! Starts what an adapter describes, exactly as described, and reads what it says.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use adapters::{Adapter, AdapterError, Command, Host, LineSplitter, Setup, Source, find};
use domain::moment::Moment;
use domain::telling::{AgentEvent, Told};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Nothing here takes a second; a test that waits this long has failed.
pub(crate) const TOO_LONG: Duration = Duration::from_secs(20);

/// An agent's folder and everything a setup borrows.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) host: Host,
    pub(crate) context: Value,
    pub(crate) session: Option<String>,
    pub(crate) session_note: Option<Value>,
    pub(crate) api_url: String,
    pub(crate) api_key: Option<String>,
}

/// What one process left behind.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) events: Vec<AgentEvent>,
}

impl Played {
    pub(crate) fn told(&self) -> Told {
        let mut told = Told::default();
        self.events.iter().for_each(|event| told.hear(event));
        told
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage {
            folder: tempfile::tempdir().unwrap(),
            host: Host::from_env(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME")),
            context: json!({}),
            session: None,
            session_note: None,
            api_url: "http://127.0.0.1:1".to_owned(),
            api_key: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    pub(crate) fn setup<'a>(&'a self, config: &'a Value) -> Setup<'a> {
        Setup {
            run_id: "run-1",
            company_id: "company-1",
            agent_id: "agent-1",
            agent_name: "Tester",
            task_key: Some("task-7"),
            config,
            context: &self.context,
            wake_reason: Some("on_demand"),
            session: self.session.as_deref(),
            session_note: self.session_note.as_ref(),
            started_at: Moment::from_micros(1_795_168_800_000_000),
            api_url: &self.api_url,
            api_key: self.api_key.as_deref(),
            program: Path::new(env!("CARGO_BIN_EXE_adapter-programs")),
            default_cwd: self.path(),
            host: &self.host,
        }
    }

    pub(crate) fn describe(&self, kind: &str, config: &Value) -> Result<Command, AdapterError> {
        adapter(kind).command(&self.setup(config))
    }

    pub(crate) fn start(&self, kind: &str, config: &Value) -> Running {
        let command = self.describe(kind, config).unwrap();
        let mut process = Process::new(&command.argv[0]);
        process.args(&command.argv[1..]).current_dir(&command.cwd).env_clear().envs(command.env.clone());
        process.env("BUGLE_RUN", "run-1/1");
        Running::start(process, &command.stdin)
    }

    /// Plays a configuration to its end.
    pub(crate) fn run(&self, kind: &str, config: &Value) -> Played {
        let running = self.start(kind, config);
        let mut reader = adapter(kind).reader(&self.setup(config));
        let (status, stdout, stderr) = running.end();
        let mut events = Vec::new();
        for (source, bytes) in [(Source::Stdout, &stdout), (Source::Stderr, &stderr)] {
            let mut splitter = LineSplitter::new();
            for piece in bytes.chunks(7) {
                splitter.push(piece, |line| events.extend(reader.line(source, line)));
            }
            splitter.finish(|line| events.extend(reader.line(source, line)));
        }
        events.extend(reader.finish());
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Played { status, stdout: text(stdout), stderr: text(stderr), events }
    }

    /// Plays a script to its end.
    pub(crate) fn play(&self, script: &str) -> Played {
        self.run("scripted", &json!({ "script": script }))
    }
}

pub(crate) fn adapter(kind: &str) -> &'static dyn Adapter {
    find(kind).unwrap_or_else(|| panic!("no adapter of kind {kind}"))
}

/// A process whose output is taken while it runs; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    pub(crate) fn start(mut process: Process, input: &[u8]) -> Running {
        process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process.spawn().unwrap();
        // Dropped at once: the child reads the end of the file.
        let _ = child.stdin.take().unwrap().write_all(input);
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        Running { child, stdout: Some(drain(stdout)), stderr: Some(drain(stderr)) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the process and of everybody who holds its output.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<u8>, Vec<u8>) {
        let handles = (self.stdout.take().unwrap(), self.stderr.take().unwrap());
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || done.send((handles.0.join().unwrap(), handles.1.join().unwrap())));
        let (stdout, stderr) = is_done.recv_timeout(TOO_LONG).unwrap_or_else(|_| {
            let _ = self.child.kill();
            panic!("the process did not end");
        });
        (self.child.wait().unwrap(), stdout, stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}
