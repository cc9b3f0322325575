//! Reading an `adapterConfig`: typed fields, and a problem with its path for everything that cannot be meant.
//!
//! `check` and `command` read through the same functions, so what was accepted when the agent was saved is what runs.
//! Unknown keys are left alone: existing clients keep settings of several kinds in one object. What the fields are for
//! is each adapter's business.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::adapter::{AdapterError, Problem};

/// Longer spans are not meant by anybody, and far from the end of the clock (ten years).
const LONGEST: f64 = 315_360_000.0;

/// The largest configuration that is saved, in bytes.
const LARGEST: usize = 262_144;

/// Default of `graceSec`.
pub(crate) const GRACE: Duration = Duration::from_secs(15);

/// A configuration while it is read.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    fields: Option<&'a Map<String, Value>>,
    problems: Vec<Problem>,
}

impl<'a> Settings<'a> {
    pub(crate) fn open(config: &'a Value) -> Settings<'a> {
        let mut settings = Settings { fields: config.as_object(), problems: Vec::new() };
        if !config.is_object() && !config.is_null() {
            settings.mistake("", "must be an object", None);
        }
        settings.refuse_nul("", config);
        // A name for the account that the agent uses, of whatever kind it is (`account.rs`).
        settings.text("account");
        settings
    }

    /// A field that is there and not null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.fields.and_then(|fields| fields.get(key)).filter(|value| !value.is_null())
    }

    /// A text; blank counts as absent.
    pub(crate) fn text(&mut self, key: &str) -> Option<&'a str> {
        match self.get(key)? {
            Value::String(text) => Some(text.as_str()).filter(|text| !text.trim().is_empty()),
            other => {
                self.wrong_type(key, "a text", other);
                None
            }
        }
    }

    /// A list of texts; absent is empty.
    pub(crate) fn texts(&mut self, key: &str) -> Vec<String> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let mut texts = Vec::with_capacity(items.len());
                for (at, item) in items.iter().enumerate() {
                    match item {
                        Value::String(text) => texts.push(text.clone()),
                        other => self.wrong_type(&format!("{key}[{at}]"), "a text", other),
                    }
                }
                texts
            }
            Some(other) => {
                self.wrong_type(key, "a list of texts", other);
                Vec::new()
            }
        }
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(value) => Some(*value),
            other => {
                self.wrong_type(key, "true or false", other);
                None
            }
        }
    }

    pub(crate) fn object(&mut self, key: &str) -> Option<&'a Map<String, Value>> {
        match self.get(key)? {
            Value::Object(fields) => Some(fields),
            other => {
                self.wrong_type(key, "an object", other);
                None
            }
        }
    }

    /// A span given as a number of `unit`s.
    pub(crate) fn span(&mut self, key: &str, unit: Duration) -> Option<Duration> {
        let value = self.get(key)?;
        match value.as_f64() {
            Some(number) if number >= 0.0 => Some(unit.mul_f64(number.min(LONGEST / unit.as_secs_f64()))),
            Some(_) => {
                self.mistake(key, "must not be negative", None);
                None
            }
            None => {
                self.wrong_type(key, "a number", value);
                None
            }
        }
    }

    /// `timeoutSec`; 0 means no limit.
    pub(crate) fn wall(&mut self) -> Option<Duration> {
        self.span("timeoutSec", Duration::from_secs(1)).filter(|span| !span.is_zero())
    }

    /// `graceSec`; at least a second, so that a process has a chance to end by itself.
    pub(crate) fn grace(&mut self) -> Duration {
        self.span("graceSec", Duration::from_secs(1)).unwrap_or(GRACE).max(Duration::from_secs(1))
    }

    /// `cwd`, an absolute folder.
    pub(crate) fn cwd(&mut self) -> Option<&'a Path> {
        let cwd = self.text("cwd").map(Path::new)?;
        if cwd.is_absolute() {
            return Some(cwd);
        }
        self.mistake("cwd", "must be an absolute path", Some("start it with /; ~ is not expanded"));
        None
    }

    /// Notes a mistake at `key` (a key, or a path below one; empty for the whole).
    pub(crate) fn mistake(&mut self, key: &str, message: impl Into<String>, hint: Option<&str>) {
        let path = if key.is_empty() { "adapterConfig".to_owned() } else { format!("adapterConfig.{key}") };
        self.problems.push(Problem { path, message: message.into(), hint: hint.map(str::to_owned) });
    }

    pub(crate) fn wrong_type(&mut self, key: &str, expected: &str, found: &Value) {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.mistake(key, format!("must be {expected}, is {found}"), None);
    }

    /// Gives what was read, unless there was a mistake.
    pub(crate) fn done<T>(self, read: Option<T>) -> Result<T, AdapterError> {
        match read {
            Some(read) if self.problems.is_empty() => Ok(read),
            _ => Err(AdapterError::Config(self.problems)),
        }
    }

    /// A NUL byte ends a text where the kernel reads it, so half of what was configured would be used.
    fn refuse_nul(&mut self, path: &str, value: &Value) {
        match value {
            Value::String(text) if text.contains('\0') => {
                self.mistake(path, "must not contain a NUL byte", None)
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.refuse_nul(&format!("{path}[{at}]"), item);
                }
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    if key.contains('\0') {
                        self.mistake(path, "must not contain a name with a NUL byte", None);
                        continue;
                    }
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    self.refuse_nul(&path, item);
                }
            }
            _ => {}
        }
    }
}

/// The problems in a result of reading, for `check`, and those of what is about to be saved.
pub(crate) fn problems<T>(config: &Value, read: Result<T, AdapterError>) -> Vec<Problem> {
    let mut problems = match read {
        Err(AdapterError::Config(problems)) => problems,
        _ => Vec::new(),
    };
    if config.to_string().len() > LARGEST {
        problems.push(Problem {
            path: "adapterConfig".to_owned(),
            message: format!("is larger than {LARGEST} bytes"),
            hint: Some("put long texts into files that the agent reads".to_owned()),
        });
    }
    problems.extend(placeholders("adapterConfig", config));
    problems
}

/// What stands in the place of a value that is not shown.
pub const REDACTED: &str = "***REDACTED***";

/// Finds where a configuration that was shown comes back with the marks in it: saved, they would take the place of the
/// values themselves. Each is named by its path below `path`.
pub fn placeholders(path: &str, config: &Value) -> Vec<Problem> {
    let mut found = Vec::new();
    look_for_placeholders(path, config, &mut found);
    found
}

fn look_for_placeholders(path: &str, value: &Value, found: &mut Vec<Problem>) {
    match value {
        Value::String(text) if text == REDACTED => {
            // A typed binding is named by its variable.
            let named = path.strip_suffix(".value").filter(|path| path.contains(".env.")).unwrap_or(path);
            let key = named.rsplit('.').next().unwrap_or(named);
            found.push(Problem {
                path: named.to_owned(),
                message: format!("Refusing to persist redacted placeholder for key: {key}"),
                hint: Some(
                    "send the value itself; what a change of adapterConfig leaves out stays as it is"
                        .to_owned(),
                ),
            });
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                look_for_placeholders(&format!("{path}[{at}]"), item, found);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                look_for_placeholders(&format!("{path}.{key}"), item, found);
            }
        }
        _ => {}
    }
}

/// The folder a run works in: the configured one, which must exist, else the one the caller made.
pub(crate) fn folder(configured: Option<&Path>, default: &Path) -> Result<PathBuf, AdapterError> {
    match configured {
        None => Ok(default.to_owned()),
        Some(path) if path.is_dir() => Ok(path.to_owned()),
        Some(path) => Err(AdapterError::NoFolder { path: path.to_owned() }),
    }
}
