//! Set-ups in which a server cannot work: `doctor` and `up` say the same, say what to do, and touch nothing.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use store::{Migration, Settings, Store, Target};

use crate::scene::{Scene, Told, finish};

/// What is broken, and how it is typed.
struct Broken {
    name: &'static str,
    code: &'static str,
    /// The exit code of `up`.
    exit: i32,
    /// What both must name.
    said: String,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Broken {
    fn new(name: &'static str, code: &'static str, exit: i32, said: impl Into<String>) -> Broken {
        Broken { name, code, exit, said: said.into(), args: Vec::new(), env: Vec::new() }
    }

    fn args(mut self, args: &[&str]) -> Broken {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    fn env(mut self, name: &'static str, value: impl Into<String>) -> Broken {
        self.env.push((name, value.into()));
        self
    }

    /// Both commands, and whether they agree.
    fn check(&self, scene: &Scene) {
        let with = |command: &str| -> Told {
            let args: Vec<&str> =
                ["--json", command].into_iter().chain(self.args.iter().map(String::as_str)).collect();
            let mut command: Command = scene.command(&args);
            if !self.args.iter().any(|arg| arg == "--listen")
                && !self.env.iter().any(|(name, _)| *name == "BUGLE_LISTEN")
            {
                command.env("BUGLE_LISTEN", "127.0.0.1:0");
            }
            command.envs(self.env.iter().map(|(name, value)| (name, value)));
            finish(command)
        };
        let name = self.name;
        let doctor = with("doctor");
        let report: serde_json::Value =
            serde_json::from_str(&doctor.out).unwrap_or_else(|error| panic!("{name}: {error}: {doctor:?}"));
        assert_eq!(report["stoppedBy"], self.code, "{name}: {report:#}");
        assert_eq!(report["upWouldStart"], false, "{name}");
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["code"] == self.code).unwrap();
        assert!(check["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{name}: names no fix: {check}");
        assert!(check["message"].as_str().unwrap().contains(&self.said), "{name}: {check}");

        let up = with("up");
        assert_eq!(up.code, Some(self.exit), "{name}: {up:?}");
        let error = up.error();
        assert_eq!(error["code"], self.code, "{name}: {error}");
        assert!(error["error"].as_str().unwrap().contains(&self.said), "{name}: {error}");
        assert!(error["hint"].is_string(), "{name}: {error}");
        assert_eq!(up.out, "", "{name}: nothing listened");
    }
}

fn made(scene: &Scene) -> std::path::PathBuf {
    std::fs::create_dir_all(scene.data()).unwrap();
    scene.data()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn settings_that_cannot_be_meant() {
    for (file, code, said) in [
        ("listn = '127.0.0.1:1'", "config.unknown_key", "listn"),
        ("[retention]\nrun_days = 3", "config.unknown_key", "retention.run_days"),
        ("max_runs = 'many'", "config.invalid", "max_runs"),
        ("listen = \"127.0.0.1:\\u0000\"", "config.invalid", "NUL"),
        ("max_runs = ", "config.syntax", "line 1"),
        ("listen = '0.0.0.0:3100'", "listen.not_loopback", "0.0.0.0:3100"),
    ] {
        let scene = Scene::bare();
        std::fs::write(made(&scene).join("config.toml"), file).unwrap();
        let broken = Broken::new(file, code, 2, said);
        // The file must count here, not the environment.
        let broken = if file.contains("0.0.0.0") {
            broken.args(&["--max-runs", "1"]).env("BUGLE_LISTEN", "0.0.0.0:3100")
        } else {
            broken
        };
        broken.check(&scene);
        let left: Vec<_> =
            std::fs::read_dir(scene.data()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["config.toml"], "nothing was made");
    }
    let scene = Scene::bare();
    for broken in [
        Broken::new("not an address", "listen.invalid", 2, "here").args(&["--listen", "here"]),
        Broken::new("not loopback", "listen.not_loopback", 2, "0.0.0.0:3100")
            .args(&["--listen", "0.0.0.0:3100"]),
        Broken::new("no number", "config.invalid", 2, "lots").env("BUGLE_MAX_RUNS", "lots"),
        Broken::new("no database", "database_url.invalid", 2, "PostgreSQL")
            .args(&["--database-url", "mysql://h/d"]),
    ] {
        broken.check(&scene);
    }
    assert!(!scene.data().exists(), "nothing was made");
}

#[test]
fn data_folders_that_cannot_be_used() {
    let scene = Scene::bare();
    std::fs::write(scene.place("file"), "x").unwrap();
    std::os::unix::fs::symlink(scene.place("nowhere"), scene.place("link")).unwrap();
    let path = |name: &str| scene.place(name).to_str().unwrap().to_owned();
    for (name, code, exit, folder) in [
        ("a link to nothing", "data_dir.not_a_folder", 1, path("link")),
        ("a relative path", "data_dir.relative", 2, "some/data".to_owned()),
        ("a file", "data_dir.not_a_folder", 1, path("file")),
        ("below a file", "data_dir.cannot_make", 1, path("file/data")),
        ("where nothing can be made", "data_dir.cannot_make", 1, "/proc/bugle-data".to_owned()),
        ("of somebody else", "data_dir.foreign_owner", 1, of_somebody_else(&scene)),
    ] {
        Broken::new(name, code, exit, folder.clone()).env("BUGLE_DATA_DIR", folder).check(&scene);
    }
    assert_eq!(std::fs::read_to_string(scene.place("file")).unwrap(), "x");
}

/// A folder that another user owns: made, where we may; else one of the system.
fn of_somebody_else(scene: &Scene) -> String {
    let folder = scene.place("theirs");
    std::fs::create_dir(&folder).unwrap();
    match std::os::unix::fs::chown(&folder, Some(65_534), None) {
        Ok(()) => folder.to_str().unwrap().to_owned(),
        Err(_) => "/usr".to_owned(),
    }
}

#[test]
fn ports_that_somebody_has() {
    let scene = Scene::bare();
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = theirs.local_addr().unwrap().port();
    // A program that answers something else than a bugle would.
    let listening = std::thread::spawn(move || {
        for stream in theirs.incoming().take(2) {
            drop(stream);
        }
    });
    let listen = format!("127.0.0.1:{port}");
    Broken::new("another program", "port.busy", 1, port.to_string())
        .args(&["--listen", &listen])
        .check(&scene);
    listening.join().unwrap();

    let other = Scene::served();
    let note: serde_json::Value =
        serde_json::from_slice(&std::fs::read(other.data().join("server.json")).unwrap()).unwrap();
    let listen = note["listen"].as_str().unwrap();
    Broken::new("another bugle", "port.busy", 1, "another bugle").args(&["--listen", listen]).check(&scene);
    other.ok(&["status"]);
}

#[test]
fn a_folder_that_another_server_holds() {
    let scene = Scene::served();
    let pid = format!("pid {}", scene.server_pid());
    Broken::new("a second server", "instance.held", 1, pid).check(&scene);
    let told = scene.ok(&["doctor"]);
    assert!(told.out.contains("nothing to do"), "a server that is well is no illness: {told:?}");
}

#[test]
fn stores_that_cannot_be_used() {
    let scene = Scene::bare();
    let file = made(&scene).join("bugle.sqlite");
    newer_store(&file);
    let before = std::fs::read(&file).unwrap();
    Broken::new("a newer store", "store.newer", 1, "newer").check(&scene);
    assert_eq!(std::fs::read(&file).unwrap(), before, "a newer store is not touched");

    std::fs::write(&file, "no database at all, only a letter of some length\n".repeat(100)).unwrap();
    Broken::new("a damaged store", "store.unusable", 1, "bugle.sqlite").check(&scene);

    // Port 9 of this machine: nothing listens there.
    let url = "postgres://me:secret-password@127.0.0.1:9/none";
    let broken =
        Broken::new("no database", "store.unreachable", 1, "PostgreSQL").env("BUGLE_DATABASE_URL", url);
    broken.check(&scene);
    let mut command = scene.command(&["up", "--listen", "127.0.0.1:0"]);
    command.env("BUGLE_DATABASE_URL", url);
    let told = finish(command);
    assert!(!format!("{told:?}").contains("secret-password"), "{told:?}");
}

/// A store that a later program has migrated.
fn newer_store(file: &Path) {
    let version = i64::try_from(store::MIGRATIONS.len()).unwrap() + 1;
    let mut migrations = store::MIGRATIONS.to_vec();
    migrations.push(Migration { version, name: "later", text: "CREATE TABLE later (x BIGINT);" });
    block_on(async {
        let target = Target::Sqlite(file.to_owned());
        let store = Store::open_with(&target, Settings::default(), 1, migrations.leak()).await.unwrap();
        store.close().await;
    });
}

#[test]
fn a_machine_without_git_is_told_and_works() {
    let mut scene = Scene::bare();
    let empty = scene.place("no-programs");
    std::fs::create_dir(&empty).unwrap();
    let mut command = scene.command(&["--json", "doctor", "--listen", "127.0.0.1:0"]);
    command.env("PATH", &empty);
    let told = finish(command);
    assert_eq!(told.code, Some(0), "{told:?}");
    let report: serde_json::Value = serde_json::from_str(&told.out).unwrap();
    let git =
        report["checks"].as_array().unwrap().iter().find(|check| check["check"] == "git").unwrap().clone();
    assert_eq!((git["level"].as_str(), git["code"].as_str()), (Some("warn"), Some("git.missing")));
    assert_eq!(report["upWouldStart"], true);
    assert!(!scene.data().exists(), "looking makes nothing");
    scene.up(&[]);
}

#[test]
fn the_doctor_tells_the_containment_that_runs_really_get() {
    let scene = Scene::served();
    scene.ok(&["agent", "add", "hello", "--", "true"]);
    let run = scene.json(&["wake", "hello"])["id"].as_str().unwrap().to_owned();
    scene.ended(&run);
    let log = scene.ok(&["--json", "logs", &run, "--system"]).out;
    let had_cgroup = log.contains(r#"\"containment\":\"cgroup\""#);
    assert!(had_cgroup || log.contains("containment"), "{log}");
    let report = scene.json(&["doctor"]);
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["check"] == "containment").unwrap();
    assert_eq!(check["code"] == "ok", had_cgroup, "{check}; {log}");
}
