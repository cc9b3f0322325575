//! A PostgreSQL server for tests: made from nothing, on loopback, gone with the process that asked for it.
//!
//! A small shell watches over each server and holds one end of a pipe from the test process. When that process ends, in
//! whatever way, the pipe closes, and the shell stops the server and removes its folder. Nothing here knows the store.

use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// An empty database of its own for one test.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    pub url: String,
}

/// Returns a new database on the one server that all tests of this process share. `None`, after a loud line, where
/// PostgreSQL is not installed; with `CI=true` that is a failure.
pub fn database() -> Option<TestDatabase> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| Cluster::start(Durability::None));
    shared.as_ref().map(Cluster::database)
}

/// Whether the server flushes what it commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// As a server is in use.
    Full,
    /// Fast; right wherever a test is not about crashes of the machine.
    None,
}

/// A server. Dropping it stops it and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    port: u16,
    programs: Programs,
    folder: PathBuf,
    orders: Mutex<Option<ChildStdin>>,
    watch: Child,
}

impl Cluster {
    /// Starts a server of its own, for tests that stop it. `None` where PostgreSQL is not installed.
    pub fn start(durability: Durability) -> Option<Self> {
        let Some(programs) = Programs::find() else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "PostgreSQL (initdb, postgres, createdb) is not installed, and CI tests need it"
            );
            eprintln!(
                "SKIPPED: PostgreSQL (initdb, postgres, createdb) is not installed; this test ran on SQLite only"
            );
            return None;
        };
        let cluster = Self::start_with(programs, durability);
        Some(cluster.unwrap_or_else(|error| panic!("a PostgreSQL server for the tests: {error}")))
    }

    fn start_with(programs: Programs, durability: Durability) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("bugle-postgres-").tempdir()?.keep();
        let started = Self::start_in(programs, &folder, durability);
        if started.is_err() {
            let _ = std::fs::remove_dir_all(&folder);
        }
        started
    }

    fn start_in(programs: Programs, folder: &Path, durability: Durability) -> io::Result<Self> {
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700))?;
        if let Some((user, group)) = programs.run_as {
            std::os::unix::fs::chown(folder, Some(user), Some(group))?;
        }
        // The port is free when it is looked for and may be taken a moment later: then another one.
        let mut last = io::Error::other("no port");
        for _ in 0..3 {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            let (watch, orders) = programs.watch(folder, port, durability)?;
            let orders = Mutex::new(Some(orders));
            let cluster = Self { port, programs: programs.clone(), folder: folder.to_owned(), orders, watch };
            match cluster.wait_until_ready() {
                Ok(()) => return Ok(cluster),
                Err(error) => last = error,
            }
            cluster.stop_keeping_folder();
        }
        Err(last)
    }

    /// Returns a new, empty database.
    pub fn database(&self) -> TestDatabase {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let made = self
            .programs
            .command("createdb")
            .args(["--host=127.0.0.1", "--username=bugle", "--port"])
            .args([&self.port.to_string(), &name])
            .stdin(Stdio::null())
            .output()
            .expect("createdb was found when the server was started");
        assert!(made.status.success(), "createdb: {}", String::from_utf8_lossy(&made.stderr));
        TestDatabase { url: format!("postgres://bugle@127.0.0.1:{}/{name}", self.port) }
    }

    /// Stops the server without letting it finish anything, as a crash would, and starts it again. Returns when it
    /// takes connections.
    pub fn crash_and_restart(&self) {
        // Gone before the order is given: what appears afterwards is of the new server.
        let before = std::fs::read_to_string(self.status_file()).unwrap_or_default();
        self.order("restart");
        let deadline = Instant::now() + START_WITHIN;
        loop {
            let status = std::fs::read_to_string(self.status_file()).unwrap_or_default();
            if status.lines().next() != before.lines().next() && is_ready(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "the server did not come back: {}", self.log());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Stops the server and leaves it stopped.
    pub fn crash(&self) {
        self.order("stop");
        let deadline = Instant::now() + START_WITHIN;
        while self.status_file().exists() {
            assert!(Instant::now() < deadline, "the server did not stop: {}", self.log());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn order(&self, order: &str) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = orders.as_mut().expect("orders are given to a server that runs");
        writeln!(orders, "{order}").expect("the watching shell lives as long as this process");
    }

    fn wait_until_ready(&self) -> io::Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            if std::fs::read_to_string(self.status_file()).is_ok_and(|status| is_ready(&status)) {
                return Ok(());
            }
            let log = self.log();
            if Instant::now() > deadline || log.contains("FATAL") || log.contains("initdb: error") {
                return Err(io::Error::other(log));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The server says there how far it is.
    fn status_file(&self) -> PathBuf {
        self.folder.join("data/postmaster.pid")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn stop_keeping_folder(mut self) {
        self.order("leave");
        self.end();
    }

    fn end(&mut self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.watch.wait();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
    }
}

/// Making and starting a server takes a second or two; on a machine that is busy, several.
const START_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

fn is_ready(status: &str) -> bool {
    status.lines().nth(7).is_some_and(|line| line.trim() == "ready")
}

#[derive(Debug, Clone)]
struct Programs {
    folder: PathBuf,
    /// The server refuses to run as root.
    run_as: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut packaged: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
            .unwrap_or_default();
        let version = |folder: &PathBuf| {
            folder
                .parent()
                .and_then(Path::file_name)?
                .to_str()?
                .parse::<f64>()
                .ok()
                .map(|number| number as i64)
        };
        packaged.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
        // The packaged ones first: what stands in the PATH may be a wrapper around them.
        let folder = packaged.into_iter().chain(std::env::split_paths(&path)).find(|folder| {
            ["initdb", "postgres", "createdb"].iter().all(|program| folder.join(program).is_file())
        })?;
        Some(Self { folder, run_as: ordinary_user() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        self.lower(&mut command);
        command
    }

    fn lower(&self, command: &mut Command) {
        // Where the tests run may be closed to that user.
        command.current_dir("/").env_remove("PGOPTIONS").env_remove("PGHOST").env_remove("PGDATABASE");
        if let Some((user, group)) = self.run_as {
            command.uid(user).gid(group);
        }
    }

    fn watch(&self, folder: &Path, port: u16, durability: Durability) -> io::Result<(Child, ChildStdin)> {
        // QUIT: stop now, finish nothing. A server that has only just been started still ignores it, as everything does
        // that a shell starts in the background; such a one is ended by TERM.
        const WATCH: &str = r#"
            # Here and not before: a test that is killed meanwhile leaves nothing behind either.
            [ -d "$FOLDER/data" ] || "$INITDB" --auth=trust --username=bugle --encoding=UTF8 --no-locale --no-sync \
                -D "$FOLDER/data" >>"$FOLDER/log" 2>&1 </dev/null
            start() { "$@" >>"$FOLDER/log" 2>&1 </dev/null & server=$!; }
            stop() { kill -QUIT $server 2>/dev/null; kill -TERM $server 2>/dev/null; wait $server 2>/dev/null; }
            start "$@"
            keep=
            while read -r order; do
                case $order in
                    restart) stop; start "$@" ;;
                    stop) stop ;;
                    leave) keep=yes ;;
                esac
            done
            stop
            [ -n "$keep" ] || rm -rf "$FOLDER"
        "#;
        let flush = if durability == Durability::Full { "on" } else { "off" };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCH, "watch"]).arg(self.folder.join("postgres"));
        command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "max_connections=300",
            "shared_buffers=64MB",
            // Looked for after a second by default, which is a long time in a test that provokes them.
            "deadlock_timeout=30ms",
            &format!("fsync={flush}"),
            &format!("full_page_writes={flush}"),
        ] {
            command.args(["-c", setting]);
        }
        self.lower(&mut command);
        // A group of its own: an interrupt at the terminal must not end the watch before its work.
        command
            .env("FOLDER", folder)
            .env("INITDB", self.folder.join("initdb"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let mut watch = command.spawn()?;
        let orders = watch.stdin.take().expect("it was asked for");
        Ok((watch, orders))
    }
}

/// For root, the user and group under which the server runs.
fn ordinary_user() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !is_root {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    ["postgres", "nobody"].iter().find_map(|wanted| {
        let mut fields =
            users.lines().find(|line| line.split(':').next() == Some(wanted))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}
