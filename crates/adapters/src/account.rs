//! Which account an agent uses: the login or key that its program will prove itself with, as far as its configuration
//! and the server's environment tell. Agents with the same credential share an account, whatever program they run.
//!
//! An agent of the protocol (`acp`) has the account of the program that it starts, where that is one of those known here.
//! Nothing is opened here. A login is known by the folder that holds it, a key by its value, which leaves this file only
//! as a keyed fingerprint. `adapterConfig.account` is a name that wins over both: for logins that live elsewhere, and
//! for agents that are no program of ours.

use std::fmt;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::env::Host;

/// An account, as a configuration describes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// Whose limits apply, for example `anthropic`.
    pub provider: String,
    /// For people; never holds a secret value.
    pub label: String,
    /// Files that change when somebody logs in. Only looked at from the outside, never opened.
    pub login_files: Vec<PathBuf>,
    /// What makes it this account and no other: holds the credential itself.
    parts: Vec<String>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("provider", &self.provider)
            .field("label", &self.label)
            .field("login_files", &self.login_files)
            .finish_non_exhaustive()
    }
}

impl Account {
    /// The same for the same credential, different for any other, and of no use to find the credential without the key.
    pub fn fingerprint(&self, key: &[u8]) -> String {
        let mut inner = Sha256::new();
        for part in [key].into_iter().chain(self.parts.iter().map(String::as_bytes)) {
            inner.update((part.len() as u64).to_be_bytes());
            inner.update(part);
        }
        let mut outer = Sha256::new();
        outer.update(key);
        outer.update(inner.finalize());
        outer.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How the programs of a kind find their credential.
struct Ways {
    provider: &'static str,
    /// What else says whose limits apply.
    named_by: Option<NamedBy>,
    /// Variables with a key, the first that is set wins.
    keys: &'static [&'static str],
    base_urls: &'static [&'static str],
    /// Variables that move the folder of the login, and what lies below it there.
    folders: &'static [(&'static str, &'static str)],
    /// Where it lies below the home folder.
    below_home: &'static str,
    /// The files of the login in that folder.
    files: &'static [&'static str],
}

/// Where a configuration names the provider of programs that know many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NamedBy {
    /// `model` is `provider/model`.
    Model,
    /// `provider`.
    Provider,
}

const CLAUDE: Ways = Ways {
    provider: "anthropic",
    named_by: None,
    keys: &["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"],
    base_urls: &["ANTHROPIC_BASE_URL"],
    folders: &[("CLAUDE_CONFIG_DIR", "")],
    below_home: ".claude",
    files: &[".credentials.json"],
};

const CODEX: Ways = Ways {
    provider: "openai",
    named_by: None,
    keys: &["CODEX_API_KEY", "OPENAI_API_KEY"],
    base_urls: &["OPENAI_BASE_URL"],
    folders: &[("CODEX_HOME", "")],
    below_home: ".codex",
    files: &["auth.json"],
};

const GEMINI: Ways = Ways {
    provider: "google",
    named_by: None,
    keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    base_urls: &["GOOGLE_GEMINI_BASE_URL"],
    folders: &[],
    below_home: ".gemini",
    files: &["oauth_creds.json"],
};

const QWEN: Ways = Ways {
    provider: "qwen",
    named_by: None,
    keys: &["OPENAI_API_KEY", "DASHSCOPE_API_KEY"],
    base_urls: &["OPENAI_BASE_URL"],
    folders: &[],
    below_home: ".qwen",
    files: &["oauth_creds.json"],
};

const OPENCODE: Ways = Ways {
    provider: "opencode",
    named_by: Some(NamedBy::Model),
    keys: &[],
    base_urls: &[],
    folders: &[("XDG_DATA_HOME", "opencode")],
    below_home: ".local/share/opencode",
    files: &["auth.json"],
};

const PI: Ways = Ways {
    provider: "pi",
    named_by: Some(NamedBy::Model),
    keys: &[],
    base_urls: &[],
    folders: &[("PI_CODING_AGENT_DIR", "")],
    below_home: ".pi/agent",
    files: &["auth.json"],
};

/// By its documentation, as nobody has seen it run here: its configuration says who is logged in.
const CURSOR: Ways = Ways {
    provider: "cursor",
    named_by: None,
    keys: &["CURSOR_API_KEY", "CURSOR_AUTH_TOKEN"],
    base_urls: &[],
    folders: &[("CURSOR_CONFIG_DIR", ""), ("XDG_CONFIG_HOME", "cursor")],
    below_home: ".cursor",
    files: &["cli-config.json"],
};

/// By its documentation, too.
const HERMES: Ways = Ways {
    provider: "hermes",
    named_by: Some(NamedBy::Provider),
    keys: &[],
    base_urls: &[],
    folders: &[("HERMES_HOME", "")],
    below_home: ".hermes",
    files: &["auth.json", ".env"],
};

/// Bedrock and Vertex have limits of their own, whatever program asks them.
const CLOUDS: &[(&str, &str, &[&str])] = &[
    (
        "CLAUDE_CODE_USE_BEDROCK",
        "bedrock",
        &["AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_REGION"],
    ),
    (
        "CLAUDE_CODE_USE_VERTEX",
        "vertex",
        &["GOOGLE_APPLICATION_CREDENTIALS", "ANTHROPIC_VERTEX_PROJECT_ID", "CLOUD_ML_REGION"],
    ),
];

/// The account of an agent of a kind; `None`: it has none that is known.
pub(crate) fn of(kind: &str, config: &Value, host: &Host) -> Option<Account> {
    let kind = if kind == "acp" { behind_protocol(config).unwrap_or(kind) } else { kind };
    let ways = match kind {
        "claude_local" => Some(&CLAUDE),
        "codex_local" => Some(&CODEX),
        "gemini_local" => Some(&GEMINI),
        "qwen" => Some(&QWEN),
        "opencode_local" => Some(&OPENCODE),
        "pi_local" => Some(&PI),
        "cursor" => Some(&CURSOR),
        "hermes_local" => Some(&HERMES),
        _ => None,
    };
    let surroundings = Surroundings { config, host };
    let found = ways.map(|ways| surroundings.found(kind, ways));
    let Some(name) = surroundings.text(config.get("account")) else { return found };
    let provider = found.as_ref().map_or_else(|| "declared".to_owned(), |found| found.provider.clone());
    Some(Account {
        label: name.to_owned(),
        parts: vec![provider.clone(), "name".to_owned(), name.to_owned()],
        login_files: found.map(|found| found.login_files).unwrap_or_default(),
        provider,
    })
}

/// The kind of program that an agent of the protocol starts, by its name: that of the command, or, where the command only
/// fetches and starts others, that of the package. `None`: it is not known, and may be anything.
fn behind_protocol(config: &Value) -> Option<&'static str> {
    let texts = |key: &str| -> Vec<&str> {
        let Some(list) = config.get(key).and_then(Value::as_array) else { return Vec::new() };
        list.iter().filter_map(Value::as_str).collect()
    };
    let args = Some(texts("extraArgs")).filter(|args| !args.is_empty()).unwrap_or_else(|| texts("args"));
    let command = name_of(config.get("command")?.as_str()?);
    let name = match command {
        "npx" | "bunx" | "pnpx" => {
            name_of(args.iter().find(|arg| !arg.starts_with('-')).copied().unwrap_or_default())
        }
        name => name,
    };
    let speaks = args.iter().any(|arg| matches!(*arg, "--experimental-acp" | "--acp"));
    match name {
        "claude-agent-acp" | "claude-code-acp" => Some("claude_local"),
        "codex-acp" => Some("codex_local"),
        "gemini" | "gemini-cli" if speaks => Some("gemini_local"),
        "qwen" | "qwen-code" if speaks => Some("qwen"),
        _ => None,
    }
}

/// The last part of a path or of the name of a package, without its version.
fn name_of(command: &str) -> &str {
    let last = command.trim().rsplit('/').next().unwrap_or_default();
    last.split('@').next().unwrap_or_default()
}

/// What decides which credential a program finds.
struct Surroundings<'a> {
    config: &'a Value,
    host: &'a Host,
}

impl<'a> Surroundings<'a> {
    fn found(&self, kind: &str, ways: &Ways) -> Account {
        let named = match ways.named_by {
            None => None,
            Some(NamedBy::Model) => {
                let model = self.text(self.config.get("model")).and_then(|model| model.split_once('/'));
                model.map(|(provider, _)| provider)
            }
            Some(NamedBy::Provider) => self.text(self.config.get("provider")),
        };
        let cloud = CLOUDS.iter().find(|(switch, _, _)| kind == "claude_local" && self.is_on(switch));
        if let Some((_, provider, names)) = cloud {
            let set = names.iter().filter_map(|name| Some(format!("{name}={}", self.env(name)?)));
            let parts = [(*provider).to_owned()].into_iter().chain(set).collect();
            let label = format!("{provider} as the environment of the agent says");
            return Account { provider: (*provider).to_owned(), label, login_files: Vec::new(), parts };
        }
        let provider = named.unwrap_or(ways.provider).to_owned();
        let base = ways.base_urls.iter().find_map(|name| self.env(name)).unwrap_or_default();
        let of_provider =
            named.map(|name| format!("{}_API_KEY", name.to_ascii_uppercase().replace('-', "_")));
        let names = ways.keys.iter().copied().chain(of_provider.as_deref());
        let key = names.into_iter().find_map(|name| Some((name.to_owned(), self.env(name)?)));
        let at = if base.is_empty() { String::new() } else { format!(" at {}", without_login(&base)) };
        if let Some((name, value)) = key {
            let label = format!("key in {name}{at}");
            let parts = vec![provider.clone(), "key".to_owned(), value, base];
            return Account { provider, label, login_files: Vec::new(), parts };
        }
        let folder = self.folder(ways);
        let label = format!("login in {}{at}", folder.display());
        let login_files = ways.files.iter().map(|file| folder.join(file)).collect();
        let parts = vec![provider.clone(), "login".to_owned(), folder.to_string_lossy().into_owned(), base];
        Account { provider, label, login_files, parts }
    }

    fn folder(&self, ways: &Ways) -> PathBuf {
        let moved = ways.folders.iter().find_map(|(name, below)| {
            let folder = PathBuf::from(self.env(name)?);
            Some(if below.is_empty() { folder } else { folder.join(below) })
        });
        moved.unwrap_or_else(|| {
            PathBuf::from(self.env("HOME").unwrap_or_else(|| "/".to_owned())).join(ways.below_home)
        })
    }

    /// A variable as the process will have it; a stored secret is known by its name, as its value is not read here.
    fn env(&self, name: &str) -> Option<String> {
        match self.config.get("env").and_then(|env| env.get(name)) {
            Some(Value::Object(fields)) => match fields.get("type").and_then(Value::as_str) {
                Some("plain") => self.text(fields.get("value")).map(str::to_owned),
                // In whatever order its fields were written.
                _ => {
                    let mut parts: Vec<String> =
                        fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    parts.sort();
                    Some(parts.join(" "))
                }
            },
            Some(value) => self.text(Some(value)).map(str::to_owned),
            None => self.host.env.get(name).filter(|value| !value.trim().is_empty()).cloned(),
        }
    }

    fn is_on(&self, name: &str) -> bool {
        self.env(name).is_some_and(|value| matches!(value.trim(), "1" | "true"))
    }

    fn text(&self, value: Option<&'a Value>) -> Option<&'a str> {
        value.and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
    }
}

/// A URL for people: without what proves who asks.
fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
    if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn host() -> Host {
        Host::from_env([("HOME", "/home/ada"), ("PATH", "/bin"), ("ANTHROPIC_API_KEY", "of-the-server")])
    }

    fn found(kind: &str, config: &Value) -> Account {
        of(kind, config, &host()).unwrap_or_else(|| panic!("{kind} has no account"))
    }

    fn is_same(one: (&str, Value), other: (&str, Value)) -> bool {
        found(one.0, &one.1).fingerprint(b"k") == found(other.0, &other.1).fingerprint(b"k")
    }

    #[test]
    fn agents_with_one_credential_share_an_account_whatever_program_they_run() {
        let env = |vars: Value| json!({ "env": vars });
        let rows = [
            ("one login", ("claude_local", json!({})), ("claude_local", json!({ "model": "x" })), true),
            (
                "another folder",
                ("claude_local", json!({})),
                ("claude_local", env(json!({ "CLAUDE_CONFIG_DIR": "/b" }))),
                false,
            ),
            (
                "the same folder, said twice",
                ("claude_local", json!({})),
                ("claude_local", env(json!({ "CLAUDE_CONFIG_DIR": "/home/ada/.claude" }))),
                true,
            ),
            (
                "another home",
                ("codex_local", json!({})),
                ("codex_local", env(json!({ "HOME": "/b" }))),
                false,
            ),
            (
                "one key, typed or not",
                ("claude_local", env(json!({ "ANTHROPIC_API_KEY": "sk-1" }))),
                ("claude_local", env(json!({ "ANTHROPIC_API_KEY": { "type": "plain", "value": "sk-1" } }))),
                true,
            ),
            (
                "one key, two programs",
                ("claude_local", env(json!({ "ANTHROPIC_API_KEY": "sk-1" }))),
                ("opencode_local", json!({ "model": "anthropic/x", "env": { "ANTHROPIC_API_KEY": "sk-1" } })),
                true,
            ),
            (
                "two keys",
                ("claude_local", env(json!({ "ANTHROPIC_API_KEY": "sk-1" }))),
                ("claude_local", env(json!({ "ANTHROPIC_API_KEY": "sk-2" }))),
                false,
            ),
            (
                "one key, two endpoints",
                ("codex_local", env(json!({ "OPENAI_API_KEY": "sk-1" }))),
                ("codex_local", env(json!({ "OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://h" }))),
                false,
            ),
            (
                "one stored secret",
                ("codex_local", env(json!({ "OPENAI_API_KEY": { "type": "secret_ref", "secretId": "s" } }))),
                ("codex_local", env(json!({ "OPENAI_API_KEY": { "secretId": "s", "type": "secret_ref" } }))),
                true,
            ),
            (
                "one name",
                ("process", json!({ "account": "team" })),
                ("scripted", json!({ "account": " team " })),
                true,
            ),
            (
                "a name is not another provider's",
                ("claude_local", json!({ "account": "team" })),
                ("codex_local", json!({ "account": "team" })),
                false,
            ),
        ];
        for (name, one, other, same) in rows {
            assert_eq!(is_same(one, other), same, "{name}");
        }
    }

    #[test]
    fn programs_whose_login_is_known_have_an_account_and_other_agents_only_a_declared_one() {
        let unknown = ["process", "http", "scripted", "acp", "openclaw_gateway"];
        for adapter in crate::registry() {
            let account = adapter.account(&json!({}), &host());
            let has_one = !unknown.contains(&adapter.kind());
            assert_eq!(account.is_some(), has_one, "{}", adapter.kind());
            assert!(account.is_none_or(|it| !it.login_files.is_empty()), "{}", adapter.kind());
            let declared = adapter.account(&json!({ "account": "team" }), &host());
            assert_eq!(declared.map(|it| it.label).as_deref(), Some("team"), "{}", adapter.kind());
        }
    }

    #[test]
    fn an_agent_of_the_protocol_has_the_account_of_the_program_behind_it() {
        let rows: &[(&str, &[&str], Option<&str>)] = &[
            ("claude-agent-acp", &[], Some("claude_local")),
            ("/opt/bin/claude-code-acp", &["--verbose"], Some("claude_local")),
            ("npx", &["-y", "@agentclientprotocol/claude-agent-acp@0.4.1"], Some("claude_local")),
            ("codex-acp", &[], Some("codex_local")),
            ("npx", &["@zed-industries/codex-acp"], Some("codex_local")),
            ("gemini", &["--experimental-acp"], Some("gemini_local")),
            ("npx", &["--yes", "@google/gemini-cli", "--acp"], Some("gemini_local")),
            ("qwen", &["--experimental-acp"], Some("qwen")),
            // It would not speak the protocol.
            ("gemini", &[], None),
            ("npx", &["-y"], None),
            ("bugle", &["scripted", "claude-agent-acp", "--speak", "acp"], None),
            ("my-claude-agent-acp-of-the-team", &[], None),
        ];
        for (command, args, kind) in rows {
            let config = json!({ "command": command, "args": args });
            let account = of("acp", &config, &host());
            let expected = kind.and_then(|kind| of(kind, &json!({}), &host()));
            assert_eq!(account.is_some(), kind.is_some(), "{command} {args:?}");
            assert_eq!(
                account.map(|it| it.fingerprint(b"k")),
                expected.map(|it| it.fingerprint(b"k")),
                "{command} {args:?}"
            );
        }
        // A name wins over the program, and is one of its provider's.
        let named = json!({ "command": "codex-acp", "account": "team" });
        assert_eq!(found("acp", &named).provider, "openai");
    }

    #[test]
    fn cursor_and_hermes_are_known_by_their_keys_and_their_folders() {
        let cursor = found("cursor", &json!({}));
        assert_eq!(cursor.login_files, [PathBuf::from("/home/ada/.cursor/cli-config.json")]);
        let key = json!({ "env": { "CURSOR_API_KEY": "k" } });
        assert_eq!(found("cursor", &key).label, "key in CURSOR_API_KEY");
        let moved = json!({ "env": { "HERMES_HOME": "/srv/h" } });
        let login = [PathBuf::from("/srv/h/auth.json"), PathBuf::from("/srv/h/.env")];
        assert_eq!(found("hermes_local", &moved).login_files, login);
        let at = json!({ "provider": "openrouter", "env": { "OPENROUTER_API_KEY": "k" } });
        assert_eq!(found("hermes_local", &at).provider, "openrouter");
        assert_eq!(found("hermes_local", &at).label, "key in OPENROUTER_API_KEY");
    }

    #[test]
    fn files_and_labels_say_where_the_login_is_and_hold_no_secret() {
        let login = found("claude_local", &json!({}));
        assert_eq!(login.login_files, [PathBuf::from("/home/ada/.claude/.credentials.json")]);
        assert_eq!(login.label, "login in /home/ada/.claude");
        let key = found(
            "claude_local",
            &json!({ "env": { "ANTHROPIC_API_KEY": "sk-secret", "ANTHROPIC_BASE_URL": "https://me:pw@h:1/v1" } }),
        );
        assert_eq!(key.label, "key in ANTHROPIC_API_KEY at https://h:1");
        assert!(!format!("{key:?}").contains("secret"), "{key:?}");
        assert_ne!(key.fingerprint(b"one"), key.fingerprint(b"two"));
        let bedrock = json!({ "env": { "CLAUDE_CODE_USE_BEDROCK": "1", "AWS_PROFILE": "p" } });
        assert_eq!(found("claude_local", &bedrock).provider, "bedrock");
        let pi = json!({ "model": "google/gemini", "env": { "GOOGLE_API_KEY": "k" } });
        assert_eq!((found("pi_local", &pi).provider.as_str()), "google");
    }
}
