//! A data folder with the real program: servers that are started and killed, commands with their output, and the end of
//! everything that a test started, however it went.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value as Json;
use tempfile::TempDir;

/// Far beyond anything that is waited for; a wait that takes so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One data folder and whatever runs on it.
pub(crate) struct Scene {
    folder: TempDir,
    program: PathBuf,
    server: Option<Running>,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A process under way, whose output is read as it comes.
pub(crate) struct Running {
    child: Child,
    out: Lines,
    err: Lines,
}

/// The lines of one stream.
struct Lines {
    receiver: Receiver<String>,
    seen: String,
}

impl Scene {
    /// A folder without a server.
    pub(crate) fn bare() -> Scene {
        let folder = tempfile::Builder::new().prefix("bugle-app-").tempdir().unwrap();
        Scene { folder, program: PathBuf::from(env!("CARGO_BIN_EXE_bugle")), server: None }
    }

    /// A folder with a server.
    pub(crate) fn served() -> Scene {
        let mut scene = Scene::bare();
        scene.up(&[]);
        scene
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A place for other files.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Uses another copy of the program from now on.
    pub(crate) fn use_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// The program with nothing of the tester's environment that could matter.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("BUGLE_")
                || text.starts_with("XDG_")
                || text.to_lowercase().ends_with("_proxy")
            {
                command.env_remove(&name);
            }
        }
        command.env("BUGLE_DATA_DIR", self.data()).env("HOME", self.folder.path()).env("TZ", "UTC");
        command.current_dir(self.folder.path()).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn bugle(&self, args: &[&str]) -> Told {
        finish(self.command(args))
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Told {
        let told = self.bugle(args);
        assert_eq!(told.code, Some(0), "bugle {args:?}: {told:?}");
        told
    }

    /// Runs a command that must succeed, with `--json`.
    pub(crate) fn json(&self, args: &[&str]) -> Json {
        let mut all = args.to_vec();
        // Before a `--`, behind which everything belongs to the agent.
        all.insert(0, "--json");
        let told = self.ok(&all);
        serde_json::from_str(&told.out).unwrap_or_else(|error| panic!("bugle {args:?}: {error}: {told:?}"))
    }

    /// Starts a command and leaves it running.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::spawn(self.command(args))
    }

    /// Starts the server on a free port and waits until it listens.
    pub(crate) fn up(&mut self, args: &[&str]) {
        let mut all = vec!["up", "--listen", "127.0.0.1:0"];
        all.extend(args);
        let mut server = self.start(&all);
        server.out.wait_for("listens on");
        self.server = Some(server);
    }

    /// The pid of the server.
    pub(crate) fn server_pid(&self) -> u32 {
        self.server.as_ref().expect("a server was started").child.id()
    }

    /// Ends the server by a signal; returns how long it took, and what it said.
    pub(crate) fn stop(&mut self, signal: Signal) -> (Duration, Told) {
        let server = self.server.take().expect("a server was started");
        server.signal(signal);
        let since = Instant::now();
        let told = server.wait();
        (since.elapsed(), told)
    }

    /// Kills the server on the spot.
    pub(crate) fn kill(&mut self) {
        self.stop(Signal::KILL);
    }

    /// Asks the API itself.
    pub(crate) fn get(&self, path: &str) -> Json {
        let note: Json =
            serde_json::from_slice(&std::fs::read(self.data().join("server.json")).unwrap()).unwrap();
        let listen = note["listen"].as_str().unwrap();
        let mut stream = std::net::TcpStream::connect(listen).unwrap();
        write!(stream, "GET /api{path} HTTP/1.0\r\nHost: {listen}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    }

    /// The run as it is now.
    pub(crate) fn run(&self, id: &str) -> Json {
        self.get(&format!("/heartbeat-runs/{id}"))
    }

    /// Waits until the run is over.
    pub(crate) fn ended(&self, id: &str) -> Json {
        self.ok(&["logs", id, "-f"]);
        self.run(id)
    }

    /// Every process of a run of this folder, keepers included.
    pub(crate) fn processes(&self) -> Vec<i32> {
        processes_of(self.folder.path())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.server.take());
        let until = Instant::now() + PATIENCE;
        loop {
            let left = processes_of(self.folder.path());
            if left.is_empty() || Instant::now() > until {
                break;
            }
            for pid in left.into_iter().filter_map(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            std::thread::yield_now();
        }
    }
}

impl Running {
    pub(crate) fn spawn(mut command: Command) -> Running {
        // A group of its own, as a shell would give it.
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        Running { child, out, err }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for a line on stdout that contains the text.
    pub(crate) fn out(&mut self, text: &str) -> String {
        self.out.wait_for(text)
    }

    /// Waits for a line on stderr that contains the text.
    pub(crate) fn err(&mut self, text: &str) -> String {
        self.err.wait_for(text)
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self) -> Told {
        let out = self.out.rest();
        let err = self.err.rest();
        let code = self.child.wait().unwrap().code();
        Told { code, out, err }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Lines {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Lines { receiver, seen: String::new() }
    }

    fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.receiver.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push_str(&line);
                    if line.contains(text) {
                        return line.trim_end().to_owned();
                    }
                }
                Err(_) => panic!("no line with `{text}` came; so far:\n{}", self.seen),
            }
        }
    }

    /// Everything, from the first line on.
    fn rest(&mut self) -> String {
        loop {
            match self.receiver.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push_str(&line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    return std::mem::take(&mut self.seen);
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    panic!("no end came; so far:\n{}", self.seen)
                }
            }
        }
    }
}

impl Told {
    /// The error that `--json` printed.
    pub(crate) fn error(&self) -> Json {
        let line = self.err.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("no error in JSON: {error}: {self:?}"))
    }
}

pub(crate) fn finish(command: Command) -> Told {
    Running::spawn(command).wait()
}

/// Keepers name the folder in their arguments; their children carry the mark of a run that lies in it.
fn processes_of(folder: &Path) -> Vec<i32> {
    let text = folder.to_str().unwrap();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let args = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let args: Vec<String> =
            args.split(|byte| *byte == 0).map(|arg| String::from_utf8_lossy(arg).into()).collect();
        let is_keeper =
            args.get(1).is_some_and(|arg| arg == "keep") && args.iter().any(|arg| arg.starts_with(text));
        let env = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let mark = env.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"BUGLE_RUN="));
        let is_ours = mark.is_some_and(|mark| {
            folder.join("data/runs").join(String::from_utf8_lossy(mark).as_ref()).is_dir()
        });
        if is_keeper || is_ours {
            found.push(pid);
        }
    }
    found
}
