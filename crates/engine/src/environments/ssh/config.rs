//! What an ssh environment is told: reading it, and what is wrong with it.

use std::path::PathBuf;

use adapters::Problem;
use serde_json::Value as Json;

/// An ssh environment as configured.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) username: Option<String>,
    /// A folder of the user's on the host; ours lie below its `.bugle`.
    pub(super) root: String,
    /// The key itself; of a configuration that is stored, what it refers to.
    pub(super) private_key: Option<String>,
    /// A file on this machine that holds it.
    pub(super) private_key_path: Option<PathBuf>,
    /// Lines as in the file of that name.
    pub(super) known_hosts: Option<String>,
    /// A host that is not known is refused; else it is taken at its word the first time, and held to it from then on.
    pub(super) is_strict: bool,
    /// Where agents of the host reach the API; none: it is found out.
    pub(super) api_url: Option<String>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

const KNOWN: [&str; 10] = [
    "host",
    "port",
    "username",
    "remoteWorkspacePath",
    "privateKey",
    "privateKeySecretRef",
    "privateKeyPath",
    "knownHosts",
    "strictHostKeyChecking",
    "apiUrl",
];

impl Config {
    /// Reads a configuration; mistakes name their fields.
    pub(super) fn read(config: &Json) -> Result<Config, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wrong = |field: &str, message: &str, hint: &str| {
            problems.push(Problem {
                path: format!("config.{field}"),
                message: message.to_owned(),
                hint: Some(hint.to_owned()),
            });
        };
        for key in config.as_object().into_iter().flat_map(|config| config.keys()) {
            if !KNOWN.contains(&key.as_str()) {
                wrong(key, "is not known", &format!("known are: {}", KNOWN.join(", ")));
            }
        }
        let mut text = |field: &str, one_line: bool| match config.get(field) {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) if text.contains('\0') => {
                wrong(field, "holds a zero byte", "write it anew");
                None
            }
            Some(Json::String(text)) if one_line && text.chars().any(char::is_control) => {
                wrong(field, "must be one line", "leave line ends out");
                None
            }
            Some(Json::String(text)) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Some(_) => {
                wrong(field, "must be a text", "put it in quotes");
                None
            }
        };
        let (host, username) = (text("host", true), text("username", true));
        let (root, key_path) = (text("remoteWorkspacePath", true), text("privateKeyPath", true));
        let (key, known_hosts) = (text("privateKey", false), text("knownHosts", false));
        let api_url = text("apiUrl", true);
        let port = match config.get("port") {
            None | Some(Json::Null) => 22,
            Some(port) => port.as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        };
        if port == 0 {
            wrong("port", "must be a number from 1 to 65535", "leave it out for 22");
        }
        let is_strict = match config.get("strictHostKeyChecking") {
            None | Some(Json::Null) => true,
            Some(Json::Bool(is_strict)) => *is_strict,
            Some(_) => {
                wrong("strictHostKeyChecking", "must be true or false", "leave it out for true");
                true
            }
        };
        // A name that begins with a dash would be read as an option.
        let is_name = |name: &str| !name.starts_with('-') && !name.contains(char::is_whitespace);
        match &host {
            None => wrong("host", "is missing", "name the machine, as in: ssh HOST"),
            Some(host) if !is_name(host) || host.contains('@') => {
                wrong("host", "is not the name of a machine", "give the user as username");
            }
            Some(_) => {}
        }
        if username.as_deref().is_some_and(|user| !is_name(user) || user.contains('@')) {
            wrong("username", "is not the name of a user", "as in: ssh USERNAME@HOST");
        }
        match &root {
            None => wrong(
                "remoteWorkspacePath",
                "is missing",
                "name a folder on the host, for example /srv/agents",
            ),
            Some(root) if !root.starts_with('/') || root.split('/').any(|part| part == "..") => {
                wrong(
                    "remoteWorkspacePath",
                    "must be an absolute path without ..",
                    "for example /srv/agents",
                );
            }
            Some(_) => {}
        }
        // The secret itself is looked for where there is a store.
        let has_reference = config.get("privateKeySecretRef").is_some_and(|it| !it.is_null());
        if key.is_some() && key_path.is_some() {
            wrong("privateKeyPath", "and privateKey name two keys", "give one of them");
        }
        if has_reference && (key.is_some() || key_path.is_some()) {
            let other = if key.is_some() { "privateKey" } else { "privateKeyPath" };
            wrong(
                "privateKeySecretRef",
                &format!("and {other} name two keys"),
                "give one of them, null for the other",
            );
        }
        if key_path.as_deref().is_some_and(|path| !path.starts_with('/')) {
            wrong("privateKeyPath", "must be an absolute path", "it is on the machine of the server");
        }
        if key.as_deref().is_some_and(|key| !key.contains("PRIVATE KEY")) {
            wrong("privateKey", "is not a private key", "give the whole file, from BEGIN to END");
        }
        if api_url.as_deref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            wrong("apiUrl", "must be an address", "for example https://bugle.example.org");
        }
        match (host, root) {
            (Some(host), Some(root)) if problems.is_empty() => Ok(Config {
                host,
                port,
                username,
                root: match root.trim_end_matches('/') {
                    "" => "/".to_owned(),
                    root => root.to_owned(),
                },
                private_key: key,
                private_key_path: key_path.map(PathBuf::from),
                known_hosts,
                is_strict,
                api_url: api_url.map(|url| url.trim_end_matches('/').to_owned()),
            }),
            _ => Err(problems),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_host_and_a_folder_are_enough() {
        let config = Config::read(&json!({ "host": "box", "remoteWorkspacePath": "/srv/agents/" })).unwrap();
        assert_eq!((config.host.as_str(), config.port, config.root.as_str()), ("box", 22, "/srv/agents"));
        assert!(config.is_strict);
    }

    #[test]
    fn mistakes_name_their_fields_and_options_are_not_let_in() {
        let fields = |config: Json| {
            let problems = Config::read(&config).unwrap_err();
            problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
        };
        assert_eq!(fields(json!({})), ["config.host", "config.remoteWorkspacePath"]);
        let wrong = json!({
            "host": "-oProxyCommand=x", "port": 0, "username": "a b", "remoteWorkspacePath": "srv",
            "privateKey": "x", "apiUrl": "box", "strictHostKeyChecking": "no", "colour": 1,
        });
        assert_eq!(
            fields(wrong),
            [
                "config.colour",
                "config.port",
                "config.strictHostKeyChecking",
                "config.host",
                "config.username",
                "config.remoteWorkspacePath",
                "config.privateKey",
                "config.apiUrl"
            ]
        );
        let two = json!({
            "host": "box", "remoteWorkspacePath": "/srv", "privateKeyPath": "/k",
            "privateKeySecretRef": { "type": "secret_ref", "secretId": "0192f7a0-0000-4000-8000-000000000000" },
        });
        assert_eq!(fields(two), ["config.privateKeySecretRef"]);
        let newline = json!({ "host": "a\nb", "remoteWorkspacePath": "/a/../b" });
        assert_eq!(fields(newline), ["config.host", "config.host", "config.remoteWorkspacePath"]);
    }
}
