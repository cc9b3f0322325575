//! The settings of a server, read once: defaults, below the file in the data folder, below the environment, below flags.
//!
//! A key that is not known, or of the wrong type, is refused with its path: a setting that is silently ignored is worse
//! than none. Nothing here touches the machine beyond reading the file; whether the settings can work is `doctor`.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use toml::{Table, Value};

use crate::doctor::Finding;

/// The name of the file in the data folder.
pub(crate) const FILE: &str = "config.toml";

/// Where a server listens unless it is told otherwise.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:3100";

/// How the server writes its own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Whom the server trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Trust {
    /// Everybody on this machine; it listens on loopback only.
    #[default]
    #[value(name = "local_trusted", alias = "local-trusted")]
    LocalTrusted,
    /// Whoever has a key; needed to listen on any other address.
    Authenticated,
}

impl Trust {
    /// As the API knows it.
    pub(crate) fn mode(self) -> api::Mode {
        match self {
            Trust::LocalTrusted => api::Mode::LocalTrusted,
            Trust::Authenticated => api::Mode::Authenticated,
        }
    }
}

/// What may be given on the command line or in the environment; the flag wins.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Flags {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:3100]
    #[arg(long, value_name = "ADDRESS", env = "BUGLE_LISTEN")]
    pub(crate) listen: Option<String>,
    /// Whom to trust [default: local_trusted]
    #[arg(long, value_name = "MODE", env = "BUGLE_MODE")]
    pub(crate) mode: Option<Trust>,
    /// A PostgreSQL database instead of the embedded store
    #[arg(long, value_name = "URL", env = "BUGLE_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
    /// Processes of agents at once [default: memory / 512 MiB]
    #[arg(long, value_name = "N", env = "BUGLE_MAX_RUNS")]
    pub(crate) max_runs: Option<String>,
    /// Runs of automations at work at once; the others wait in their queue [default: 8]
    #[arg(long, value_name = "N", env = "BUGLE_MAX_AUTOMATION_RUNS")]
    pub(crate) max_automation_runs: Option<String>,
    /// Runs that wait longer are ended as expired: 90s, 15m, 2h, 7d [default: they wait for ever]
    #[arg(long, value_name = "SPAN", env = "BUGLE_MAX_QUEUE_AGE")]
    pub(crate) max_queue_age: Option<String>,
    /// End all runs when the server is stopped, instead of leaving them to the next start
    #[arg(long)]
    pub(crate) stop_runs: bool,
    /// The key that secrets are sealed with [default: secrets.key in the data folder]
    #[arg(long, value_name = "FILE", env = "BUGLE_SECRETS_MASTER_KEY_FILE")]
    pub(crate) secrets_key_file: Option<PathBuf>,
    /// Refuse plain values under sensitive names in environments: they are to refer to secrets
    #[arg(long, value_name = "BOOL", env = "BUGLE_SECRETS_STRICT_MODE", num_args = 0..=1, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) secrets_strict_mode: Option<bool>,
    /// Send webhooks also to this machine and its neighbours [default: only when nobody else reaches the server]
    #[arg(long, value_name = "BOOL", env = "BUGLE_WEBHOOKS_ALLOW_PRIVATE", num_args = 0..=1, default_missing_value = "true", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) webhooks_allow_private: Option<bool>,
    /// How the server writes its own log, on stderr
    #[arg(long, value_name = "FORMAT", env = "BUGLE_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// The settings of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) mode: Trust,
    pub(crate) database_url: Option<String>,
    pub(crate) max_runs: u32,
    /// Runs of automations at work at once.
    pub(crate) max_automation_runs: u32,
    /// `None`: queued runs wait for ever (D22).
    pub(crate) max_queue_age: Option<Duration>,
    pub(crate) stop_runs: bool,
    pub(crate) log_format: LogFormat,
    pub(crate) retention: Retention,
    pub(crate) secrets: Secrets,
    /// Webhooks are sent to addresses that only this machine and its neighbours reach.
    pub(crate) webhooks_allow_private: bool,
}

/// How secrets are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Secrets {
    /// An absolute path; `None`: in the data folder.
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) strict: bool,
}

/// How long things are kept; `None` is the engine's own default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Retention {
    pub(crate) runs: Option<Duration>,
    pub(crate) events: Option<Duration>,
    pub(crate) idle_wakes: Option<Duration>,
    /// Worktrees whose issue is over, after they were used last.
    pub(crate) workspaces: Option<Duration>,
    /// What became of the slots of schedules.
    pub(crate) slots: Option<Duration>,
    pub(crate) log_bytes: Option<u64>,
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {message}")]
pub(crate) struct ConfigError {
    /// The flag, variable or key, and for a key the file.
    pub(crate) origin: String,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) fix: String,
}

impl From<ConfigError> for Finding {
    fn from(error: ConfigError) -> Finding {
        let message = error.to_string();
        Finding::fail("settings", error.code, message, error.fix)
    }
}

impl Flags {
    /// Takes over what the environment says under the names of the reference, where it says nothing under ours.
    fn with_aliases(
        mut self,
        var: impl Fn(&str) -> Option<std::ffi::OsString>,
    ) -> Result<Flags, ConfigError> {
        let said = |name: &str| var(name).filter(|value| !value.is_empty());
        if self.secrets_key_file.is_none() {
            self.secrets_key_file = said("PAPERCLIP_SECRETS_MASTER_KEY_FILE").map(PathBuf::from);
        }
        let strict = "PAPERCLIP_SECRETS_STRICT_MODE";
        if let Some(value) = said(strict).filter(|_| self.secrets_strict_mode.is_none()) {
            self.secrets_strict_mode = Some(match value.to_str().map(str::trim) {
                Some("true" | "1" | "yes" | "on") => true,
                Some("false" | "0" | "no" | "off") => false,
                _ => return Err(wrong(strict, "is neither true nor false")),
            });
        }
        Ok(self)
    }
}

/// The file of the key must be named from the root: the server may be started anywhere.
fn key_file(origin: &str, file: PathBuf) -> Result<PathBuf, ConfigError> {
    if file.is_absolute() {
        return Ok(file);
    }
    Err(wrong(origin, format!("`{}` is a relative path; write it from the root", file.display())))
}

/// Puts the layers together.
pub(crate) fn read(data_dir: &Path, flags: &Flags) -> Result<Config, ConfigError> {
    let flags = &flags.clone().with_aliases(|name| std::env::var_os(name))?;
    let file = read_file(&data_dir.join(FILE))?;
    let listen = match (&flags.listen, &file.listen) {
        (Some(text), _) => address("--listen (or BUGLE_LISTEN)", text)?,
        (None, Some((origin, text))) => address(origin, text)?,
        (None, None) => address("the default", DEFAULT_LISTEN)?,
    };
    let max_runs = match (&flags.max_runs, file.max_runs) {
        (Some(text), _) => number_of_runs("--max-runs (or BUGLE_MAX_RUNS)", text)?,
        (None, Some(number)) => number,
        (None, None) => runs_for_memory(memory()),
    };
    let max_automation_runs = match (&flags.max_automation_runs, file.max_automation_runs) {
        (Some(text), _) => number_of_runs("--max-automation-runs (or BUGLE_MAX_AUTOMATION_RUNS)", text)?,
        (None, Some(number)) => number,
        (None, None) => engine::Settings::default().max_automation_runs,
    };
    let max_queue_age = match &flags.max_queue_age {
        Some(text) => Some(span("--max-queue-age (or BUGLE_MAX_QUEUE_AGE)", text)?),
        None => file.max_queue_age,
    };
    let key_file = match (&flags.secrets_key_file, file.secrets.key_file) {
        (Some(path), _) => {
            Some(key_file("--secrets-key-file (or BUGLE_SECRETS_MASTER_KEY_FILE)", path.clone())?)
        }
        (None, of_file) => of_file,
    };
    let strict = flags.secrets_strict_mode.unwrap_or(file.secrets.strict);
    let mode = flags.mode.or(file.mode).unwrap_or_default();
    // Where nobody but the people of this machine asks, they send to it what they like.
    let is_ours = mode == Trust::LocalTrusted && listen.ip().is_loopback();
    let allow_private = flags.webhooks_allow_private.or(file.webhooks_allow_private).unwrap_or(is_ours);
    let database_url = flags.database_url.clone().or(file.database_url);
    if let Some(url) = &database_url {
        check_database_url(url)?;
    }
    Ok(Config {
        data_dir: data_dir.to_owned(),
        listen,
        mode,
        database_url,
        max_runs,
        max_automation_runs,
        max_queue_age,
        stop_runs: flags.stop_runs || file.stop_runs.unwrap_or(false),
        log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
        retention: file.retention,
        secrets: Secrets { key_file, strict },
        webhooks_allow_private: allow_private,
    })
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

/// More processes than any machine of today takes; a larger number is a slip of the finger.
const MOST_RUNS: u32 = 10_000;

/// A flag or variable that says how many runs may be at once.
fn number_of_runs(origin: &str, text: &str) -> Result<u32, ConfigError> {
    let number = text.trim().parse().ok().filter(|number| (1..=MOST_RUNS).contains(number));
    number.ok_or_else(|| wrong(origin, format!("`{text}` is not a number from 1 to {MOST_RUNS}")))
}

/// An agent program with its tools takes about this much (D22).
const MEMORY_PER_RUN: u64 = 512 << 20;

fn runs_for_memory(memory: Option<u64>) -> u32 {
    // Sixteen where the size is not told: the engine's own default.
    memory.map_or(16, |bytes| u32::try_from(bytes / MEMORY_PER_RUN).unwrap_or(MOST_RUNS).clamp(1, MOST_RUNS))
}

/// Bytes of memory that this process may use: of the machine, or of the container where that is less.
fn memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    });
    let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| read(path)?.trim().parse::<u64>().ok());
    machine.into_iter().chain(container).min()
}

fn wrong(origin: &str, message: impl Into<String>) -> ConfigError {
    ConfigError {
        origin: origin.to_owned(),
        code: "config.invalid",
        message: message.into(),
        fix: "correct it; `bugle up --help` lists the settings".to_owned(),
    }
}

/// A span of at least a second: a number with `s`, `m`, `h` or `d`.
fn span(origin: &str, text: &str) -> Result<Duration, ConfigError> {
    let text = text.trim();
    let seconds = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)].iter().find_map(|(unit, seconds)| {
        text.strip_suffix(unit)?
            .parse::<u64>()
            .ok()?
            .checked_mul(*seconds)
            .filter(|it| (1..=MOST_SECONDS).contains(it))
    });
    let seconds =
        seconds.ok_or_else(|| wrong(origin, format!("`{text}` is not a span such as 90s, 15m, 2h or 7d")))?;
    Ok(Duration::from_secs(seconds))
}

/// A hundred years.
const MOST_SECONDS: u64 = 36_500 * 86_400;

fn address(origin: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    let text = text.trim();
    let text =
        text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| ConfigError {
        origin: origin.to_owned(),
        code: "listen.invalid",
        message: format!("`{text}` is not an address with a port"),
        fix: format!("write it like {DEFAULT_LISTEN} or [::1]:3100"),
    })
}

fn check_database_url(url: &str) -> Result<(), ConfigError> {
    let bad = |message: &str| ConfigError {
        origin: "--database-url (or BUGLE_DATABASE_URL, database_url)".to_owned(),
        code: "database_url.invalid",
        message: message.to_owned(),
        fix: "write it like postgres://user:password@host/name, or leave it out for the embedded store"
            .to_owned(),
    };
    if url.contains('\0') {
        return Err(bad("must not contain a NUL byte"));
    }
    if !(url.starts_with("postgres://") || url.starts_with("postgresql://") || url.contains("host=")) {
        // The text is not shown: it may hold a password.
        return Err(bad("is not the address of a PostgreSQL database"));
    }
    Ok(())
}

/// What a file says; texts with the place they came from.
#[derive(Debug, Default, PartialEq, Eq)]
struct FileSettings {
    listen: Option<(String, String)>,
    mode: Option<Trust>,
    database_url: Option<String>,
    max_runs: Option<u32>,
    max_automation_runs: Option<u32>,
    max_queue_age: Option<Duration>,
    stop_runs: Option<bool>,
    log_format: Option<LogFormat>,
    retention: Retention,
    secrets: Secrets,
    webhooks_allow_private: Option<bool>,
}

fn read_file(path: &Path) -> Result<FileSettings, ConfigError> {
    let text = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(FileSettings::default()),
        // The data folder is a file, or does not let itself be read: `doctor` says so, in better words.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(FileSettings::default()),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            return Err(ConfigError {
                fix: "make it readable".to_owned(),
                ..wrong(&path.display().to_string(), message)
            });
        }
    };
    let text = String::from_utf8(text)
        .map_err(|error| wrong(&path.display().to_string(), format!("is not UTF-8: {error}")))?;
    parse(&text, &path.display().to_string())
}

fn parse(text: &str, file: &str) -> Result<FileSettings, ConfigError> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line =
            error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        ConfigError { code: "config.syntax", ..wrong(&format!("{file} line {line}"), error.message()) }
    })?;
    let mut keys = Keys { file, section: String::new(), table };
    let listen = keys.text("listen")?.map(|text| (keys.origin("listen"), text));
    let mode = match keys.text("mode")? {
        None => None,
        Some(text) => Some(Trust::from_str(&text, false).map_err(|_| {
            wrong(&keys.origin("mode"), format!("`{text}` is not one of: local_trusted, authenticated"))
        })?),
    };
    let database_url = keys.text("database_url")?;
    let max_runs = keys.number("max_runs", 1, i64::from(MOST_RUNS))?.map(|number| number as u32);
    let max_automation_runs =
        keys.number("max_automation_runs", 1, i64::from(MOST_RUNS))?.map(|number| number as u32);
    let max_queue_age = match keys.text("max_queue_age")? {
        None => None,
        Some(text) => Some(span(&keys.origin("max_queue_age"), &text)?),
    };
    let stop_runs = keys.flag("stop_runs")?;
    let log_format =
        match keys.text("log_format")? {
            None => None,
            Some(text) => Some(LogFormat::from_str(&text, false).map_err(|_| {
                wrong(&keys.origin("log_format"), format!("`{text}` is not one of: text, json"))
            })?),
        };
    let mut retention = Retention::default();
    if let Some(mut keys) = keys.section("retention")? {
        let days = |number: i64| Duration::from_secs(number as u64 * 86_400);
        retention.runs = keys.number("runs_days", 1, 36_500)?.map(days);
        retention.events = keys.number("events_days", 1, 36_500)?.map(days);
        retention.idle_wakes = keys.number("skipped_wakes_days", 1, 36_500)?.map(days);
        retention.workspaces = keys.number("workspaces_days", 1, 36_500)?.map(days);
        retention.slots = keys.number("schedule_slots_days", 1, 36_500)?.map(days);
        retention.log_bytes = keys.number("logs_mib", 1, 1 << 30)?.map(|number| (number as u64) << 20);
        keys.refuse_the_rest()?;
    }
    let mut secrets = Secrets::default();
    if let Some(mut keys) = keys.section("secrets")? {
        if let Some(path) = keys.text("key_file")? {
            secrets.key_file = Some(key_file(&keys.origin("key_file"), path.into())?);
        }
        secrets.strict = keys.flag("strict_mode")?.unwrap_or(false);
        keys.refuse_the_rest()?;
    }
    let mut webhooks_allow_private = None;
    if let Some(mut keys) = keys.section("webhooks")? {
        webhooks_allow_private = keys.flag("allow_private")?;
        keys.refuse_the_rest()?;
    }
    keys.refuse_the_rest()?;
    Ok(FileSettings {
        listen,
        mode,
        database_url,
        max_runs,
        max_automation_runs,
        max_queue_age,
        stop_runs,
        log_format,
        retention,
        secrets,
        webhooks_allow_private,
    })
}

/// The keys of one section, taken out as they are read: what is left at the end is not known.
struct Keys<'a> {
    file: &'a str,
    section: String,
    table: Table,
}

impl<'a> Keys<'a> {
    fn origin(&self, key: &str) -> String {
        format!("{}: {}{key}", self.file, self.section)
    }

    fn wrong_type(&self, key: &str, wanted: &str, found: &Value) -> ConfigError {
        wrong(&self.origin(key), format!("must be {wanted}, is {}", found.type_str()))
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.contains('\0') => {
                Err(wrong(&self.origin(key), "must not contain a NUL byte"))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(key, "a text", &other)),
        }
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Boolean(value)) => Ok(Some(value)),
            Some(other) => Err(self.wrong_type(key, "true or false", &other)),
        }
    }

    fn number(&mut self, key: &str, least: i64, most: i64) -> Result<Option<i64>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Integer(number)) if (least..=most).contains(&number) => Ok(Some(number)),
            Some(Value::Integer(number)) => {
                Err(wrong(&self.origin(key), format!("{number} is not between {least} and {most}")))
            }
            Some(other) => Err(self.wrong_type(key, "a whole number", &other)),
        }
    }

    fn section(&mut self, key: &str) -> Result<Option<Keys<'a>>, ConfigError> {
        match self.table.remove(key) {
            None => Ok(None),
            Some(Value::Table(table)) => {
                Ok(Some(Keys { file: self.file, section: format!("{key}."), table }))
            }
            Some(other) => Err(self.wrong_type(key, "a section", &other)),
        }
    }

    fn refuse_the_rest(&self) -> Result<(), ConfigError> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        Err(ConfigError {
            code: "config.unknown_key",
            fix: format!(
                "remove `{}{key}` from {}; `bugle up --help` lists the keys",
                self.section, self.file
            ),
            ..wrong(&self.origin(key), "is not a known key")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text, "config.toml").unwrap_err().to_string()
    }

    #[test]
    fn a_whole_file_is_read() {
        let read = parse(
            "listen = '127.0.0.1:4000'\nmax_runs = 3\nstop_runs = true\nlog_format = 'json'\n\
             [retention]\nruns_days = 2\nworkspaces_days = 3\nschedule_slots_days = 4\nlogs_mib = 5\n[webhooks]\nallow_private = true\n",
            "f",
        )
        .unwrap();
        assert_eq!(read.listen, Some(("f: listen".to_owned(), "127.0.0.1:4000".to_owned())));
        assert_eq!(
            (read.max_runs, read.stop_runs, read.log_format),
            (Some(3), Some(true), Some(LogFormat::Json))
        );
        assert_eq!(read.webhooks_allow_private, Some(true));
        let day = Duration::from_secs(86_400);
        assert_eq!(
            read.retention,
            Retention {
                runs: Some(day * 2),
                workspaces: Some(day * 3),
                slots: Some(day * 4),
                log_bytes: Some(5 << 20),
                ..Retention::default()
            }
        );
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_refused_with_their_path() {
        for (text, said) in [
            ("listn = ''", "config.toml: listn: is not a known key"),
            ("[retention]\nrun_days = 1", "config.toml: retention.run_days: is not a known key"),
            ("listen = 3100", "config.toml: listen: must be a text, is integer"),
            ("max_runs = '3'", "config.toml: max_runs: must be a whole number, is string"),
            ("max_runs = 0", "config.toml: max_runs: 0 is not between 1 and 10000"),
            ("max_automation_runs = 0", "config.toml: max_automation_runs: 0 is not between 1 and 10000"),
            (
                "max_queue_age = '2 weeks'",
                "config.toml: max_queue_age: `2 weeks` is not a span such as 90s, 15m, 2h or 7d",
            ),
            (
                "[retention]\nworkspaces_days = 0",
                "config.toml: retention.workspaces_days: 0 is not between 1 and 36500",
            ),
            ("max_queue_age = 3", "config.toml: max_queue_age: must be a text, is integer"),
            ("retention = 3", "config.toml: retention: must be a section, is integer"),
            ("stop_runs = 1", "config.toml: stop_runs: must be true or false, is integer"),
            ("mode = 'open'", "config.toml: mode: `open` is not one of: local_trusted, authenticated"),
            ("log_format = 'xml'", "config.toml: log_format: `xml` is not one of: text, json"),
            ("listen = \"a\\u0000b\"", "config.toml: listen: must not contain a NUL byte"),
        ] {
            assert_eq!(refused(text), said);
        }
        let broken = parse("max_runs = 1\nlisten = ", "config.toml").unwrap_err();
        assert_eq!((broken.code, broken.origin.as_str()), ("config.syntax", "config.toml line 2"));
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "listen = '127.0.0.1:4000'\nmax_runs = 3").unwrap();
        let config = read(folder.path(), &Flags::default()).unwrap();
        assert_eq!((config.listen.port(), config.max_runs), (4000, 3));
        let flags =
            Flags { listen: Some("localhost:5000".into()), max_runs: Some("7".into()), ..Flags::default() };
        let config = read(folder.path(), &flags).unwrap();
        assert_eq!((config.listen.to_string().as_str(), config.max_runs), ("127.0.0.1:5000", 7));
    }

    #[test]
    fn automations_have_eight_places_unless_it_is_said_otherwise_and_never_none() {
        let folder = tempfile::tempdir().unwrap();
        let asked = |text: &str| Flags { max_automation_runs: Some(text.to_owned()), ..Flags::default() };
        let read = |flags: &Flags| read(folder.path(), flags).map(|config| config.max_automation_runs);
        assert_eq!(read(&Flags::default()).unwrap(), 8);
        std::fs::write(folder.path().join(FILE), "max_automation_runs = 3").unwrap();
        assert_eq!(read(&Flags::default()).unwrap(), 3);
        assert_eq!(read(&asked("5")).unwrap(), 5);
        let refused = read(&asked("0")).unwrap_err().to_string();
        assert_eq!(
            refused,
            "--max-automation-runs (or BUGLE_MAX_AUTOMATION_RUNS): `0` is not a number from 1 to 10000"
        );
    }

    #[test]
    fn the_age_of_the_queue_has_no_limit_unless_one_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let read = |flags: &Flags| read(folder.path(), flags).unwrap().max_queue_age;
        assert_eq!(read(&Flags::default()), None);
        std::fs::write(folder.path().join(FILE), "max_queue_age = '15m'").unwrap();
        assert_eq!(read(&Flags::default()), Some(Duration::from_secs(900)));
        let flags = Flags { max_queue_age: Some("2h".into()), ..Flags::default() };
        assert_eq!(read(&flags), Some(Duration::from_secs(7200)));
        for text in ["0s", "", "h", "-1h", "1", "99999999d", "1.5h"] {
            assert!(span("--max-queue-age", text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_and_database_urls_that_cannot_be_meant_are_refused() {
        for text in ["3100", "127.0.0.1", "example.org:80", ""] {
            assert_eq!(address("--listen", text).unwrap_err().code, "listen.invalid", "{text}");
        }
        assert!(check_database_url("mysql://x/y").is_err());
        assert!(check_database_url("postgres://x/y\0").is_err());
        assert!(check_database_url("host=/run/postgresql dbname=bugle").is_ok());
    }

    #[test]
    fn secrets_are_set_up_by_flag_file_and_the_names_of_the_reference() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "[secrets]\nkey_file = '/k/file'\nstrict_mode = true")
            .unwrap();
        let of_file = Secrets { key_file: Some("/k/file".into()), strict: true };
        assert_eq!(read(folder.path(), &Flags::default()).unwrap().secrets, of_file);
        let flags = Flags {
            secrets_key_file: Some("/k/flag".into()),
            secrets_strict_mode: Some(false),
            ..Flags::default()
        };
        let of_flags = Secrets { key_file: Some("/k/flag".into()), strict: false };
        assert_eq!(read(folder.path(), &flags).unwrap().secrets, of_flags);
        assert!(refused("[secrets]\nkey_file = 'k'").contains("secrets.key_file: `k` is a relative path"));
        assert!(refused("[secrets]\nkey = 'k'").contains("secrets.key: is not a known key"));
        let alias = |name: &str| match name {
            "PAPERCLIP_SECRETS_MASTER_KEY_FILE" => Some("/k/alias".into()),
            "PAPERCLIP_SECRETS_STRICT_MODE" => Some("true".into()),
            _ => None,
        };
        let read = Flags::default().with_aliases(alias).unwrap();
        assert_eq!((read.secrets_key_file, read.secrets_strict_mode), (Some("/k/alias".into()), Some(true)));
        let kept = flags.clone().with_aliases(alias).unwrap();
        assert_eq!((kept.secrets_key_file, kept.secrets_strict_mode), (flags.secrets_key_file, Some(false)));
        assert!(Flags::default().with_aliases(|_| Some("maybe".into())).is_err());
    }

    #[test]
    fn the_number_of_runs_follows_the_memory() {
        assert_eq!(runs_for_memory(Some(24 << 30)), 48);
        assert_eq!(runs_for_memory(Some(100 << 20)), 1);
        assert_eq!(runs_for_memory(None), 16);
    }
}
