//! The environment that a run's process gets: the one place where it is put together, for every kind of agent.
//!
//! Three layers, the later wins: what of the server's own environment is on the allow-list, what Bugle says about the
//! run (each name also under its `PAPERCLIP_` alias), what the agent's configuration declares. Nothing is inherited, so
//! a secret in the server's environment stays there. The keeper adds its mark `BUGLE_RUN` by itself. What Bugle says and
//! no variable can hold comes in a file, which a variable of the same name with `_FILE` at its end names.

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde_json::{Value, json};

use crate::adapter::{InFile, SECRET_MIN, Setup};
use crate::bindings::{self, Binding};
use crate::settings::{REDACTED, Settings};

/// Names that pass from the server's environment to agents; the only such list.
///
/// A program cannot work without some of them (PATH, HOME), behaves strangely without others (locale, time zone), or
/// does not reach the network (proxies, certificates). Agent programs look for their own login below the XDG folders.
const ALLOWED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "TZ",
    "LANG",
    "LANGUAGE",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
    "XDG_STATE_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// `LC_ALL`, `LC_CTYPE` and so on.
const ALLOWED_PREFIX: &str = "LC_";

/// Where programs are looked for when the server has no PATH.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/bin:/opt/homebrew/bin:/usr/local/sbin:/usr/bin:/bin:/usr/sbin:/sbin";

const OURS: &str = "BUGLE_";
const ALIAS: &str = "PAPERCLIP_";

/// Set by the keeper to find a run's processes again; an agent that could set it would hide from, or be killed with,
/// another run.
pub(crate) const RESERVED: &str = "BUGLE_RUN";

/// The longest `NAME=value` that the kernel takes, its end mark included.
pub(crate) const LONGEST: usize = 128 * 1024;

/// What agents may know of the machine that the server runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    pub env: BTreeMap<String, String>,
    /// It is not the machine of the server: nothing can be looked for there, and commands and folders are taken as named.
    pub is_elsewhere: bool,
}

impl Host {
    /// Keeps what is on the allow-list, for example of `std::env::vars_os()`.
    pub fn from_env<K: Into<OsString>, V: Into<OsString>>(vars: impl IntoIterator<Item = (K, V)>) -> Host {
        let env = vars
            .into_iter()
            .filter_map(|(name, value)| {
                Some((name.into().into_string().ok()?, value.into().into_string().ok()?))
            })
            .filter(|(name, _)| ALLOWED.contains(&name.as_str()) || name.starts_with(ALLOWED_PREFIX))
            .collect();
        Host { env, is_elsewhere: false }
    }

    /// A machine that is not the server's.
    pub fn elsewhere() -> Host {
        Host { env: BTreeMap::new(), is_elsewhere: true }
    }

    /// The folders in which programs are looked for.
    pub(crate) fn path(&self) -> &str {
        self.env
            .get("PATH")
            .map(String::as_str)
            .filter(|path| !path.trim().is_empty())
            .unwrap_or(DEFAULT_PATH)
    }
}

/// `adapterConfig.env` as read: names with their plain values. A name that refers to a secret has the mark of a hidden
/// value here: that it is set is known, and no process is started with the mark.
pub(crate) type Declared = BTreeMap<String, String>;

/// Reads `adapterConfig.env`: texts, typed texts, and references to secrets.
pub(crate) fn declared(settings: &mut Settings<'_>) -> Declared {
    let mut declared = Declared::new();
    for (name, value) in settings.object("env").into_iter().flatten() {
        if let Some((message, hint)) = bindings::mistake(name, value) {
            settings.mistake(&format!("env.{name}"), message.replace("{name}", name), hint);
            continue;
        }
        let value = match bindings::binding(value) {
            Some(Binding::Plain(text)) => text,
            Some(Binding::Secret(_)) => REDACTED,
            None => continue,
        };
        declared.insert(name.clone(), value.to_owned());
    }
    declared
}

/// A finished environment.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    /// Sorted by name.
    pub(crate) vars: BTreeMap<String, String>,
    pub(crate) secrets: Vec<String>,
    pub(crate) notes: Vec<String>,
    /// What is too large for a variable.
    pub(crate) in_files: Vec<InFile>,
    /// What is too large, and nowhere: another machine has no file of ours. Names, with how many bytes each has.
    pub(crate) left_out: Vec<(String, usize)>,
}

/// Puts the environment of one run together.
pub(crate) fn for_run(setup: &Setup<'_>, declared: &Declared) -> Environment {
    let mut environment = Environment { vars: setup.host.env.clone(), ..Environment::default() };
    // Another machine has a PATH of its own.
    if setup.host.path() == DEFAULT_PATH && !setup.host.is_elsewhere {
        environment.vars.insert("PATH".to_owned(), DEFAULT_PATH.to_owned());
    }
    environment.vars.insert("AGENT_HOME".to_owned(), home(setup));
    for (name, value) in said_of_run(setup) {
        if value.contains('\0') || ALIAS.len() + name.len() + value.len() + 2 > LONGEST {
            environment.put_aside(name, value, setup.host.is_elsewhere);
            continue;
        }
        environment.say(name, value);
    }
    if let Some(token) = setup.api_key {
        environment.say("API_KEY", token.to_owned());
        keep_secret("API_KEY", token.to_owned(), &mut environment.secrets, &mut environment.notes);
    }
    for (name, value) in declared {
        environment.declare(name, value, declared);
    }
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        if let Some(password) = environment.vars.get(name).and_then(|url| url_password(url)) {
            keep_secret(name, password.to_owned(), &mut environment.secrets, &mut environment.notes);
        }
    }
    environment
}

impl Environment {
    /// Says something under both names.
    fn say(&mut self, name: &str, value: String) {
        self.vars.insert(format!("{OURS}{name}"), value.clone());
        self.vars.insert(format!("{ALIAS}{name}"), value);
    }

    /// Keeps something for a file that fits in no variable.
    fn put_aside(&mut self, name: &str, text: String, is_elsewhere: bool) {
        let (bytes, [ours, alias]) = (text.len(), [OURS, ALIAS].map(|prefix| format!("{prefix}{name}")));
        let note = format!("{ours} is left out: {bytes} bytes do not fit");
        if is_elsewhere {
            self.notes.push(note);
            self.left_out.push((ours, bytes));
        } else {
            let variables = [format!("{ours}_FILE"), format!("{alias}_FILE")];
            self.notes.push(format!("{note}; {} names a file with them", variables[0]));
            self.in_files.push(InFile { variables, text });
        }
    }

    /// Sets a configured value; a name of ours also sets its alias, so that both never contradict each other.
    fn declare(&mut self, name: &str, value: &str, declared: &Declared) {
        // Left blank, as in a form: the run's own key stays.
        if matches!(name, "BUGLE_API_KEY" | "PAPERCLIP_API_KEY") && value.trim().is_empty() {
            return;
        }
        // Whoever starts a run puts the values in the place of the references.
        if value == REDACTED {
            self.notes.push(format!("{name} is left out: nobody looked its secret up"));
            return;
        }
        if is_secret_name(name) {
            keep_secret(name, value.to_owned(), &mut self.secrets, &mut self.notes);
        }
        let other = match (name.strip_prefix(OURS), name.strip_prefix(ALIAS)) {
            (Some(rest), _) => Some(format!("{ALIAS}{rest}")),
            (_, Some(rest)) => Some(format!("{OURS}{rest}")),
            _ => None,
        };
        if let Some(other) = other.filter(|other| other != RESERVED && !declared.contains_key(other)) {
            self.vars.insert(other, value.to_owned());
        }
        self.vars.insert(name.to_owned(), value.to_owned());
    }
}

/// Remembers a value that must not reach a log; one that is too short gives a note instead.
pub(crate) fn keep_secret(name: &str, value: String, secrets: &mut Vec<String>, notes: &mut Vec<String>) {
    if value.len() < SECRET_MIN {
        if !value.is_empty() {
            notes.push(format!("{name} is too short to be hidden in logs (under {SECRET_MIN} bytes)"));
        }
    } else if !secrets.contains(&value) {
        secrets.push(value);
    }
}

/// A name under which people keep values that are nobody else's business. Hiding too much is the smaller harm.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["key", "token", "secret", "passw", "authorization", "cookie", "credential", "jwt"]
        .iter()
        .any(|word| name.contains(word))
        || name.split(['_', '-']).any(|word| word == "auth")
}

/// The password inside a URL, `scheme://user:password@host`.
pub(crate) fn url_password(url: &str) -> Option<&str> {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':').map(|(_, password)| password).filter(|password| !password.is_empty())
}

/// What Bugle says about the run, without prefixes.
fn said_of_run(setup: &Setup<'_>) -> Vec<(&'static str, String)> {
    let context = setup.context;
    let text = |keys: &[&str]| keys.iter().find_map(|key| non_blank(context.get(*key)));
    let mut said = vec![
        ("AGENT_ID", setup.agent_id.to_owned()),
        ("COMPANY_ID", setup.company_id.to_owned()),
        ("API_URL", setup.api_url.to_owned()),
        ("RUN_ID", setup.run_id.to_owned()),
    ];
    let mut say = |name, value: Option<String>| said.extend(value.map(|value| (name, value)));
    say("AGENT_NAME", Some(setup.agent_name.to_owned()).filter(|name| !name.is_empty()));
    say("TASK_KEY", setup.task_key.map(str::to_owned));
    say("TASK_ID", text(&["taskId", "issueId"]));
    say("ISSUE_ID", text(&["issueId"]));
    say("WAKE_REASON", setup.wake_reason.map(str::to_owned).or_else(|| text(&["wakeReason"])));
    say("WAKE_COMMENT_ID", text(&["wakeCommentId", "commentId"]));
    say("APPROVAL_ID", text(&["approvalId"]));
    say("APPROVAL_STATUS", text(&["approvalStatus"]));
    say(
        "LINKED_ISSUE_IDS",
        context
            .get("issueIds")
            .and_then(Value::as_array)
            .map(|ids| ids.iter().filter_map(|id| non_blank(Some(id))).collect::<Vec<_>>().join(","))
            .filter(|ids| !ids.is_empty()),
    );
    say(
        "WAKE_PAYLOAD_JSON",
        context.get("paperclipWake").and_then(wake_payload).map(|wake| wake.to_string()),
    );
    if let Some(node) = context.get("bugleAutomation") {
        say("AUTOMATION_RUN_ID", non_blank(node.get("automationRunId")));
        say("NODE_ID", non_blank(node.get("nodeId")));
        say("NODE_ATTEMPT", node.get("attempt").and_then(Value::as_i64).map(|attempt| attempt.to_string()));
        say("NODE_OBJECTIVE", non_blank(node.get("objective")));
        say("NODE_FEEDBACK", non_blank(node.get("feedback")));
        say("NODE_INPUTS_JSON", node.get("inputs").map(Value::to_string));
    }
    let workspace = context.get("paperclipWorkspace").unwrap_or(&Value::Null);
    let is_home = workspace.get("source").and_then(Value::as_str) == Some("agent_home");
    for (name, key) in [
        ("WORKSPACE_CWD", "cwd"),
        ("WORKSPACE_SOURCE", "source"),
        ("WORKSPACE_STRATEGY", "strategy"),
        ("WORKSPACE_ID", "workspaceId"),
        ("WORKSPACE_REPO_URL", "repoUrl"),
        ("WORKSPACE_REPO_REF", "repoRef"),
        ("WORKSPACE_BRANCH", "branchName"),
        ("WORKSPACE_WORKTREE_PATH", "worktreePath"),
    ] {
        // Where a configured folder takes the place of the agent's home, the home is not where it works.
        let is_replaced = key == "cwd"
            && is_home
            && !setup.host.is_elsewhere
            && non_blank(setup.config.get("cwd")).is_some();
        say(name, non_blank(workspace.get(key)).filter(|_| !is_replaced));
    }
    for (name, key) in [
        ("WORKSPACES_JSON", "paperclipWorkspaces"),
        ("RUNTIME_SERVICE_INTENTS_JSON", "paperclipRuntimeServiceIntents"),
        ("RUNTIME_SERVICES_JSON", "paperclipRuntimeServices"),
    ] {
        let list = context.get(key).filter(|list| list.as_array().is_some_and(|items| !items.is_empty()));
        say(name, list.map(Value::to_string));
    }
    say("RUNTIME_PRIMARY_URL", text(&["paperclipRuntimePrimaryUrl"]));
    said
}

fn home(setup: &Setup<'_>) -> String {
    let told =
        setup.context.get("paperclipWorkspace").and_then(|workspace| non_blank(workspace.get("agentHome")));
    told.unwrap_or_else(|| setup.default_cwd.display().to_string())
}

/// The payload in the form that agent skills read: authors and counts flattened, blanks as null. `None` when nothing
/// usable is left.
pub(crate) fn wake_payload(wake: &Value) -> Option<Value> {
    let mut wake = blank_to_null(wake);
    let fields = wake.as_object_mut()?;
    let flat: Vec<Value> = fields
        .get("comments")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|comment| comment.get("body").is_some_and(Value::is_string))
        .map(|comment| {
            let mut comment = comment.clone();
            if let Some(fields) = comment.as_object_mut() {
                let author = fields.remove("author").unwrap_or_default();
                fields.insert("authorType".to_owned(), author.get("type").cloned().unwrap_or_default());
                fields.insert("authorId".to_owned(), author.get("id").cloned().unwrap_or_default());
            }
            comment
        })
        .collect();
    let named = ["id", "identifier", "title"];
    let has_issue = fields
        .get("issue")
        .is_some_and(|issue| named.iter().any(|key| issue.get(key).is_some_and(Value::is_string)));
    if !has_issue {
        fields.insert("issue".to_owned(), Value::Null);
    }
    if let Some(stage) = fields.get_mut("executionStage") {
        settle_stage(stage);
    }
    let asked = fields.get("commentIds").and_then(Value::as_array).map_or(0, Vec::len);
    let window = fields.remove("commentWindow").unwrap_or_default();
    for (key, default) in [
        ("requestedCount", asked),
        ("includedCount", flat.len()),
        ("missingCount", asked.saturating_sub(flat.len())),
    ] {
        let count = window.get(key).filter(|count| count.is_u64()).cloned().unwrap_or_else(|| json!(default));
        fields.insert(key.to_owned(), count);
    }
    let is_usable = has_issue
        || !flat.is_empty()
        || asked > 0
        || ["reason", "executionStage", "livenessContinuation", "continuationSummary"]
            .iter()
            .any(|key| fields.get(*key).is_some_and(|value| !value.is_null()));
    fields.insert("comments".to_owned(), Value::Array(flat));
    is_usable.then_some(wake)
}

/// Agents act by these words: another one is none. A stage of which nothing is known is none either.
fn settle_stage(stage: &mut Value) {
    let Some(fields) = stage.as_object_mut().filter(|fields| !fields.is_empty()) else {
        *stage = Value::Null;
        return;
    };
    if let Some(role) = fields.get_mut("wakeRole") {
        let known = role.as_str().map(str::to_ascii_lowercase);
        let known = known.filter(|role| ["reviewer", "approver", "executor"].contains(&role.as_str()));
        *role = known.map_or(Value::Null, Value::from);
    }
    for key in ["currentParticipant", "returnAssignee"] {
        let is_nobody = |principal: &Value| {
            !matches!(principal.get("type").and_then(Value::as_str), Some("agent" | "user"))
        };
        if let Some(principal) = fields.get_mut(key).filter(|principal| is_nobody(principal)) {
            *principal = Value::Null;
        }
    }
}

fn blank_to_null(value: &Value) -> Value {
    match value {
        Value::String(text) if text.trim().is_empty() => Value::Null,
        Value::String(text) => Value::String(text.trim().to_owned()),
        Value::Array(items) => Value::Array(items.iter().map(blank_to_null).collect()),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), blank_to_null(value))).collect())
        }
        other => other.clone(),
    }
}

pub(crate) fn non_blank(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}
