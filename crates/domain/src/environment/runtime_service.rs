//! Services that are kept running beside a workspace (a preview, a database): what a configuration says of them, and what
//! becomes of one (spec/heartbeat.md 4.11.2).
//!
//! A service is known by its name in a scope. One that is shared is found again by everything that makes it what it is
//! (its reuse text); another one that would differ is another service. Starting, asking and stopping is done elsewhere.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::words;

words!(
    /// What is true of a service.
    ServiceStatus {
        Starting = "starting",
        Running = "running",
        Stopped = "stopped",
        Failed = "failed",
    }
);

impl ServiceStatus {
    /// Its process is there, or may be.
    pub const fn is_live(self) -> bool {
        matches!(self, ServiceStatus::Starting | ServiceStatus::Running)
    }
}

words!(
    /// How it answered last.
    Health {
        Unknown = "unknown",
        Healthy = "healthy",
        Unhealthy = "unhealthy",
    }
);

words!(
    /// Whether others use the same one.
    Lifecycle {
        Shared = "shared",
        Ephemeral = "ephemeral",
    }
);

words!(
    /// What it belongs to.
    ServiceScope {
        ProjectWorkspace = "project_workspace",
        ExecutionWorkspace = "execution_workspace",
        Run = "run",
        Agent = "agent",
    }
);

/// When it is stopped without anybody asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopPolicy {
    Manual,
    /// When nothing used it for so long.
    IdleTimeout(Duration),
    /// With the run that started it.
    OnRunFinish,
}

impl StopPolicy {
    /// As it is stored and shown.
    pub fn to_json(self) -> Json {
        match self {
            StopPolicy::Manual => serde_json::json!({ "type": "manual" }),
            StopPolicy::IdleTimeout(after) => {
                serde_json::json!({ "type": "idle_timeout", "idleSeconds": after.as_secs() })
            }
            StopPolicy::OnRunFinish => serde_json::json!({ "type": "on_run_finish" }),
        }
    }
}

/// The port it listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortWish {
    /// Nobody needs to know.
    None,
    Fixed(u16),
    /// Any that is free.
    Free,
}

/// How to ask whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// `{{port}}` stands for its port.
    pub url: String,
    pub every: Duration,
    /// It has so long to become well.
    pub within: Duration,
}

/// A service as configured, or a job: what both have in common is how they are executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// What `workspaceCommandId` names it by; its name where the configuration gives none.
    pub id: String,
    pub name: String,
    /// For a shell.
    pub command: String,
    /// Below the folder of the workspace, or absolute.
    pub cwd: Option<String>,
    pub env: Vec<(String, String)>,
    pub port: PortWish,
    /// The variable that tells it its port.
    pub port_variable: String,
    /// Where it is reached; `{{port}}` stands for its port.
    pub url: Option<String>,
    pub readiness: Option<Readiness>,
    pub lifecycle: Lifecycle,
    pub scope: ServiceScope,
    pub stop: StopPolicy,
}

/// Idle services stop after this when their policy names no time (spec/heartbeat.md 15).
const IDLE: Duration = Duration::from_secs(1800);
const READY_EVERY: Duration = Duration::from_millis(500);
const READY_SOONEST: Duration = Duration::from_millis(100);
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Development servers of JavaScript projects compile before they answer.
const DEV_READY_WITHIN: Duration = Duration::from_secs(90);
/// As many services of one workspace are read.
const MOST: usize = 50;

/// What a `workspaceRuntime` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commands {
    /// Kept running.
    pub services: Vec<ServiceSpec>,
    /// Run once, to their end.
    pub jobs: Vec<ServiceSpec>,
}

impl Commands {
    /// It names nothing.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.jobs.is_empty()
    }
}

/// Reads the services of a `workspaceRuntime`; mistakes name their field.
pub fn read(runtime: Option<&Json>) -> Result<Vec<ServiceSpec>, Vec<(String, String)>> {
    read_all(runtime).map(|commands| commands.services)
}

/// Reads the services and jobs of a `workspaceRuntime`: its `commands`, each of a `kind`, where it has some, else its
/// `services` and `jobs`. Mistakes name their field.
pub fn read_all(runtime: Option<&Json>) -> Result<Commands, Vec<(String, String)>> {
    let Some(runtime) = runtime.filter(|runtime| !runtime.is_null()) else { return Ok(Commands::default()) };
    let mut mistakes = Vec::new();
    let mut read = Commands::default();
    let has_commands = runtime.get("commands").and_then(Json::as_array).is_some_and(|it| !it.is_empty());
    let lists = if has_commands { &["commands"][..] } else { &["commands", "services", "jobs"] };
    for &list in lists {
        let entries = match runtime.get(list) {
            None | Some(Json::Null) => continue,
            Some(Json::Array(entries)) => entries,
            Some(_) => return Err(vec![(list.to_owned(), "must be a list".to_owned())]),
        };
        if entries.len() > MOST {
            return Err(vec![(list.to_owned(), format!("must be at most {MOST}"))]);
        }
        for (index, entry) in entries.iter().enumerate() {
            let mut sheet = Sheet { path: format!("{list}[{index}]"), mistakes: &mut mistakes };
            let Json::Object(entry) = entry else {
                sheet.wrong("", "must be an object");
                continue;
            };
            let kind = sheet.text(entry, "kind");
            let is_job = match (list, kind.as_deref()) {
                ("jobs", _) | ("commands", Some("job")) => true,
                ("commands", None | Some("service")) | ("services", _) => false,
                _ => {
                    sheet.wrong("kind", "must be service or job");
                    continue;
                }
            };
            let Some(spec) = one(entry, is_job, &mut sheet) else { continue };
            let mut known = read.services.iter().chain(&read.jobs);
            if known.any(|other| other.name == spec.name || other.id == spec.id) {
                sheet.wrong("name", "is the name of another service or job too");
            }
            if is_job { &mut read.jobs } else { &mut read.services }.push(spec);
        }
    }
    if mistakes.is_empty() { Ok(read) } else { Err(mistakes) }
}

struct Sheet<'a> {
    path: String,
    mistakes: &'a mut Vec<(String, String)>,
}

impl Sheet<'_> {
    fn wrong(&mut self, field: &str, message: &str) {
        let dot = if field.is_empty() { "" } else { "." };
        self.mistakes.push((format!("{}{dot}{field}", self.path), message.to_owned()));
    }

    fn text(&mut self, service: &Map<String, Json>, field: &str) -> Option<String> {
        match service.get(field) {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) if text.contains('\0') => {
                self.wrong(field, "holds a zero byte");
                None
            }
            Some(Json::String(text)) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Some(_) => {
                self.wrong(field, "must be a text");
                None
            }
        }
    }
}

fn one(service: &Map<String, Json>, is_job: bool, sheet: &mut Sheet<'_>) -> Option<ServiceSpec> {
    let name = sheet.text(service, "name");
    let command = sheet.text(service, "command");
    if name.is_none() {
        sheet.wrong("name", "is missing");
    }
    if command.is_none() {
        sheet.wrong("command", "is missing");
    }
    let env = variables(service.get("env"), sheet);
    if is_job {
        let name = name?;
        // It is its workspace's own, and nobody else's: what is run to its end is not shared.
        return Some(ServiceSpec {
            id: sheet.text(service, "id").unwrap_or_else(|| name.clone()),
            name,
            command: command?,
            cwd: sheet.text(service, "cwd"),
            env,
            port: PortWish::None,
            port_variable: "PORT".to_owned(),
            url: None,
            readiness: None,
            lifecycle: Lifecycle::Ephemeral,
            scope: ServiceScope::Run,
            stop: StopPolicy::Manual,
        });
    }
    let (port, port_variable) = port(service.get("port"), sheet);
    let lifecycle = match sheet.text(service, "lifecycle").as_deref() {
        None => None,
        Some("shared") => Some(Lifecycle::Shared),
        Some("ephemeral") => Some(Lifecycle::Ephemeral),
        Some(_) => {
            sheet.wrong("lifecycle", "must be shared or ephemeral");
            None
        }
    };
    let scope = match sheet.text(service, "reuseScope").as_deref() {
        Some("project_workspace") => ServiceScope::ProjectWorkspace,
        Some("execution_workspace") => ServiceScope::ExecutionWorkspace,
        Some("agent") => ServiceScope::Agent,
        Some(_) => ServiceScope::Run,
        None if lifecycle == Some(Lifecycle::Shared) => ServiceScope::ProjectWorkspace,
        None => ServiceScope::Run,
    };
    let expose = service.get("expose").and_then(Json::as_object);
    let url = match expose {
        Some(expose) => sheet.text(expose, "urlTemplate").or_else(|| sheet.text(expose, "url")),
        None => sheet.text(service, "url"),
    };
    let stop = stop_policy(service.get("stopPolicy"), sheet);
    let command = command?;
    let readiness = readiness(service.get("readiness"), &command, sheet);
    let name = name?;
    Some(ServiceSpec {
        id: sheet.text(service, "id").unwrap_or_else(|| name.clone()),
        name,
        cwd: sheet.text(service, "cwd"),
        env,
        port,
        port_variable,
        url,
        readiness,
        lifecycle: lifecycle.unwrap_or(Lifecycle::Shared),
        scope,
        stop,
        command,
    })
}

fn port(wish: Option<&Json>, sheet: &mut Sheet<'_>) -> (PortWish, String) {
    let otherwise = "PORT".to_owned();
    let number =
        |value: &Json| value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    match wish {
        None | Some(Json::Null) => (PortWish::None, otherwise),
        Some(Json::Object(port)) => {
            let variable = sheet.text(port, "envKey").unwrap_or(otherwise);
            if !is_variable(&variable) {
                sheet.wrong("port.envKey", "is not a name for a variable");
            }
            match (port.get("type").and_then(Json::as_str), port.get("number").or_else(|| port.get("value")))
            {
                (_, Some(value)) => match number(value) {
                    Some(port) => (PortWish::Fixed(port), variable),
                    None => {
                        sheet.wrong("port.number", "must be a number from 1 to 65535");
                        (PortWish::None, variable)
                    }
                },
                (Some("auto") | None, None) => (PortWish::Free, variable),
                (Some(_), None) => {
                    sheet.wrong("port.type", "must be auto, or give a number");
                    (PortWish::None, variable)
                }
            }
        }
        Some(Json::String(word)) if word == "auto" => (PortWish::Free, otherwise),
        Some(value) => match number(value) {
            Some(port) => (PortWish::Fixed(port), otherwise),
            None => {
                sheet.wrong("port", "must be a number from 1 to 65535, \"auto\", or an object");
                (PortWish::None, otherwise)
            }
        },
    }
}

fn variables(env: Option<&Json>, sheet: &mut Sheet<'_>) -> Vec<(String, String)> {
    let mut read = Vec::new();
    match env {
        None | Some(Json::Null) => {}
        Some(Json::Object(env)) => {
            for (name, value) in env {
                match value {
                    _ if !is_variable(name) => {
                        sheet.wrong(&format!("env.{name}"), "is not a name for a variable");
                    }
                    Json::String(value) if !value.contains('\0') => read.push((name.clone(), value.clone())),
                    Json::Number(value) => read.push((name.clone(), value.to_string())),
                    _ => sheet.wrong(&format!("env.{name}"), "must be a text"),
                }
            }
        }
        Some(_) => sheet.wrong("env", "must be an object"),
    }
    read
}

/// A name that a shell takes.
pub fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn readiness(wish: Option<&Json>, command: &str, sheet: &mut Sheet<'_>) -> Option<Readiness> {
    let wish = match wish {
        None | Some(Json::Null) => return None,
        Some(Json::Object(wish)) => wish,
        Some(_) => {
            sheet.wrong("readiness", "must be an object");
            return None;
        }
    };
    let Some(url) = sheet.text(wish, "urlTemplate").or_else(|| sheet.text(wish, "url")) else {
        sheet.wrong("readiness.urlTemplate", "is missing");
        return None;
    };
    if !url.starts_with("http://") {
        sheet.wrong("readiness.urlTemplate", "must begin with http://");
    }
    let span = |field: &str, unit: fn(u64) -> Duration| wish.get(field).and_then(Json::as_u64).map(unit);
    let usual = if is_dev_server(command) { DEV_READY_WITHIN } else { READY_WITHIN };
    Some(Readiness {
        url,
        every: span("intervalMs", Duration::from_millis).unwrap_or(READY_EVERY).max(READY_SOONEST),
        within: span("timeoutSec", Duration::from_secs).filter(|span| !span.is_zero()).unwrap_or(usual),
    })
}

fn is_dev_server(command: &str) -> bool {
    let mut words = command.split_whitespace();
    let is_runner = matches!(words.next(), Some("pnpm" | "npm" | "yarn" | "bun"));
    let mut rest = words.skip_while(|word| *word == "run");
    is_runner && rest.next() == Some("dev")
}

fn stop_policy(wish: Option<&Json>, sheet: &mut Sheet<'_>) -> StopPolicy {
    let kind = match wish {
        None | Some(Json::Null) => None,
        Some(Json::String(kind)) => Some(kind.as_str()),
        Some(wish) => wish.get("type").and_then(Json::as_str),
    };
    let idle = wish.and_then(|wish| wish.get("idleSeconds")).and_then(Json::as_u64);
    match kind {
        None | Some("manual") => StopPolicy::Manual,
        Some("idle_timeout") => StopPolicy::IdleTimeout(idle.map_or(IDLE, Duration::from_secs)),
        Some("on_run_finish") => StopPolicy::OnRunFinish,
        Some(_) => {
            sheet.wrong("stopPolicy.type", "must be manual, idle_timeout or on_run_finish");
            StopPolicy::Manual
        }
    }
}

impl ServiceSpec {
    /// Everything that makes a shared service what it is, in a folder and a scope; `None`: it is nobody else's. The same
    /// text is the same service.
    pub fn reuse_text(&self, scope_id: &str, cwd: &str) -> Option<String> {
        (self.lifecycle == Lifecycle::Shared).then(|| {
            let port = match self.port {
                PortWish::None => Json::Null,
                PortWish::Fixed(port) => Json::from(port),
                PortWish::Free => Json::from("auto"),
            };
            serde_json::json!([
                self.scope.as_str(),
                scope_id,
                self.name,
                self.command,
                cwd,
                port,
                self.port_variable,
                self.env
            ])
            .to_string()
        })
    }

    /// Where it is reached on this port.
    pub fn url_at(&self, port: Option<u16>) -> Option<String> {
        match (&self.url, port) {
            (Some(url), port) => Some(with_port(url, port)),
            (None, Some(port)) => Some(format!("http://127.0.0.1:{port}")),
            (None, None) => None,
        }
    }
}

/// Puts a port in the place of `{{port}}`.
pub fn with_port(template: &str, port: Option<u16>) -> String {
    let port = port.map_or(String::new(), |port| port.to_string());
    ["{{port}}", "{{ port }}", "{{service.port}}"]
        .iter()
        .fold(template.to_owned(), |text, mark| text.replace(mark, &port))
}

/// What there is of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessSeen {
    NotStarted,
    Alive,
    /// It is over.
    Over,
    /// It was a job, and it is over and did what it was to do.
    Done,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub status: ServiceStatus,
    pub seen: ProcessSeen,
    /// Somebody asked to stop it.
    pub stop_asked: bool,
    /// It answered well, or not; `None`: nobody asks it.
    pub answered: Option<bool>,
    pub health: Health,
    /// It was started so long ago.
    pub age: Duration,
    /// It has so long to become well.
    pub patience: Duration,
    /// Nothing used it for longer than its policy allows.
    pub is_idle: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// The process is to be started: the start was lost.
    Start,
    /// The process is to be stopped.
    Stop,
    /// The row becomes this.
    Becomes(ServiceStatus, Health),
}

/// Decides what follows from a look; the first row that matches ends it.
pub fn next(look: &Look) -> Step {
    use ServiceStatus::{Failed, Running, Starting, Stopped};
    match (look.status, look.seen) {
        (Stopped | Failed, ProcessSeen::Alive) => Step::Stop,
        (Stopped | Failed, _) => Step::Nothing,
        (Starting | Running, ProcessSeen::NotStarted | ProcessSeen::Over) if look.stop_asked => {
            Step::Becomes(Stopped, Health::Unknown)
        }
        (Starting | Running, ProcessSeen::Done) => Step::Becomes(Stopped, Health::Unknown),
        (Starting, ProcessSeen::NotStarted) => Step::Start,
        (Running, ProcessSeen::NotStarted) | (Starting | Running, ProcessSeen::Over) => {
            Step::Becomes(Failed, Health::Unhealthy)
        }
        (Starting | Running, ProcessSeen::Alive) if look.stop_asked || look.is_idle => Step::Stop,
        (Starting, ProcessSeen::Alive) => match look.answered {
            Some(true) => Step::Becomes(Running, Health::Healthy),
            None => Step::Becomes(Running, Health::Unknown),
            // It is left running, so that whoever reads its log can see why.
            Some(false) if look.age >= look.patience => Step::Becomes(Running, Health::Unhealthy),
            Some(false) => Step::Nothing,
        },
        (Running, ProcessSeen::Alive) => match (look.answered, look.health) {
            (Some(true), Health::Unknown | Health::Unhealthy) => Step::Becomes(Running, Health::Healthy),
            (Some(false), Health::Unknown | Health::Healthy) => Step::Becomes(Running, Health::Unhealthy),
            (Some(true), Health::Healthy) | (Some(false), Health::Unhealthy) | (None, _) => Step::Nothing,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_one(service: Json) -> ServiceSpec {
        read(Some(&json!({ "services": [service] }))).unwrap().remove(0)
    }

    #[test]
    fn a_service_is_read_with_its_defaults() {
        let plain = ServiceSpec {
            id: "web".to_owned(),
            name: "web".to_owned(),
            command: "npm run dev".to_owned(),
            cwd: None,
            env: Vec::new(),
            port: PortWish::None,
            port_variable: "PORT".to_owned(),
            url: None,
            readiness: None,
            lifecycle: Lifecycle::Shared,
            scope: ServiceScope::Run,
            stop: StopPolicy::Manual,
        };
        assert_eq!(read_one(json!({ "name": "web", "command": " npm run dev " })), plain);
        let full = json!({
            "name": "web", "command": "npm run dev", "cwd": "ui", "env": { "A": "b" },
            "port": { "type": "auto", "envKey": "WEB_PORT" },
            "readiness": { "type": "http", "urlTemplate": "http://127.0.0.1:{{port}}/", "intervalMs": 1 },
            "expose": { "type": "url", "urlTemplate": "http://localhost:{{port}}/app" },
            "lifecycle": "shared", "stopPolicy": { "type": "idle_timeout" },
        });
        let expected = ServiceSpec {
            cwd: Some("ui".to_owned()),
            env: vec![("A".to_owned(), "b".to_owned())],
            port: PortWish::Free,
            port_variable: "WEB_PORT".to_owned(),
            url: Some("http://localhost:{{port}}/app".to_owned()),
            readiness: Some(Readiness {
                url: "http://127.0.0.1:{{port}}/".to_owned(),
                every: READY_SOONEST,
                within: DEV_READY_WITHIN,
            }),
            scope: ServiceScope::ProjectWorkspace,
            stop: StopPolicy::IdleTimeout(IDLE),
            ..plain
        };
        let read = read_one(full);
        assert_eq!(read, expected);
        assert_eq!(read.url_at(Some(81)).as_deref(), Some("http://localhost:81/app"));
    }

    #[test]
    fn mistakes_name_their_field() {
        let wrong = json!({ "services": [
            { "name": "a", "command": "x", "port": 70000, "stopPolicy": { "type": "never" } },
            { "command": "x", "env": { "1": "x" } },
            { "name": "a", "command": "y" },
            7,
        ] });
        let fields: Vec<String> = read(Some(&wrong)).unwrap_err().into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            fields,
            [
                "services[0].port",
                "services[0].stopPolicy.type",
                "services[1].name",
                "services[1].env.1",
                "services[2].name",
                "services[3]"
            ]
        );
        assert!(read(Some(&json!({ "services": {} }))).is_err());
        let wrong = json!({ "commands": [
            { "name": "a", "command": "x" }, { "name": "b", "kind": "task", "command": "x" },
            { "name": "a", "kind": "job", "command": "x" },
        ] });
        let fields: Vec<String> =
            read_all(Some(&wrong)).unwrap_err().into_iter().map(|(path, _)| path).collect();
        assert_eq!(fields, ["commands[1].kind", "commands[2].name"]);
        assert_eq!(read(None), Ok(Vec::new()));
        assert_eq!(read(Some(&json!({}))), Ok(Vec::new()));
    }

    #[test]
    fn commands_come_before_services_and_jobs_and_each_is_of_its_kind() {
        let of = |runtime: &Json| {
            let read = read_all(Some(runtime)).unwrap();
            let names = |specs: &[ServiceSpec]| specs.iter().map(|it| it.id.clone()).collect::<Vec<_>>();
            (names(&read.services), names(&read.jobs))
        };
        let own = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let lists = json!({
            "services": [{ "name": "web", "command": "w" }], "jobs": [{ "name": "seed", "id": "db-seed", "command": "s" }],
        });
        assert_eq!(of(&lists), (own(&["web"]), own(&["db-seed"])));
        let commands = json!({
            "commands": [
                { "name": "seed", "kind": "job", "command": "s" }, { "name": "api", "kind": "service", "command": "a" },
                { "name": "db", "command": "d" },
            ],
            "services": [{ "name": "web", "command": "w" }],
        });
        assert_eq!(of(&commands), (own(&["api", "db"]), own(&["seed"])));
        assert!(read_all(Some(&json!({ "desiredState": "manual" }))).unwrap().is_empty());
    }

    #[test]
    fn a_shared_service_is_the_same_only_where_all_of_it_is() {
        let web = read_one(json!({ "name": "web", "command": "x", "lifecycle": "shared" }));
        let text = web.reuse_text("w", "/srv");
        assert_eq!(web.reuse_text("w", "/srv"), text);
        for other in [
            web.reuse_text("w2", "/srv"),
            web.reuse_text("w", "/srv2"),
            ServiceSpec { command: "y".to_owned(), ..web.clone() }.reuse_text("w", "/srv"),
            ServiceSpec { env: vec![("A".into(), "b".into())], ..web.clone() }.reuse_text("w", "/srv"),
            ServiceSpec { port: PortWish::Free, ..web.clone() }.reuse_text("w", "/srv"),
            ServiceSpec { lifecycle: Lifecycle::Ephemeral, ..web.clone() }.reuse_text("w", "/srv"),
        ] {
            assert_ne!(other, text);
        }
    }

    #[test]
    fn what_becomes_of_a_service_follows_from_a_look_at_it() {
        use ProcessSeen::{Alive, NotStarted, Over};
        use ServiceStatus::{Failed, Running, Starting, Stopped};
        let look = |status, seen| Look {
            status,
            seen,
            stop_asked: false,
            answered: None,
            health: Health::Unknown,
            age: Duration::ZERO,
            patience: Duration::from_secs(30),
            is_idle: false,
        };
        let late = Duration::from_secs(31);
        let rows = [
            (look(Starting, NotStarted), Step::Start),
            (
                Look { stop_asked: true, ..look(Starting, NotStarted) },
                Step::Becomes(Stopped, Health::Unknown),
            ),
            (look(Starting, Alive), Step::Becomes(Running, Health::Unknown)),
            (Look { answered: Some(false), ..look(Starting, Alive) }, Step::Nothing),
            (Look { answered: Some(true), ..look(Starting, Alive) }, Step::Becomes(Running, Health::Healthy)),
            (
                Look { answered: Some(false), age: late, ..look(Starting, Alive) },
                Step::Becomes(Running, Health::Unhealthy),
            ),
            (look(Starting, Over), Step::Becomes(Failed, Health::Unhealthy)),
            (look(Running, Alive), Step::Nothing),
            (Look { answered: Some(true), ..look(Running, Alive) }, Step::Becomes(Running, Health::Healthy)),
            (
                Look { answered: Some(false), health: Health::Healthy, ..look(Running, Alive) },
                Step::Becomes(Running, Health::Unhealthy),
            ),
            (Look { stop_asked: true, ..look(Running, Alive) }, Step::Stop),
            (Look { is_idle: true, ..look(Running, Alive) }, Step::Stop),
            (Look { stop_asked: true, ..look(Running, Over) }, Step::Becomes(Stopped, Health::Unknown)),
            (look(Running, Over), Step::Becomes(Failed, Health::Unhealthy)),
            (look(Running, NotStarted), Step::Becomes(Failed, Health::Unhealthy)),
            (look(Starting, ProcessSeen::Done), Step::Becomes(Stopped, Health::Unknown)),
            (look(Running, ProcessSeen::Done), Step::Becomes(Stopped, Health::Unknown)),
            (look(Stopped, ProcessSeen::Done), Step::Nothing),
            (look(Stopped, Over), Step::Nothing),
            (look(Stopped, Alive), Step::Stop),
            (look(Failed, NotStarted), Step::Nothing),
        ];
        for (look, expected) in rows {
            assert_eq!(next(&look), expected, "{look:?}");
        }
    }
}
