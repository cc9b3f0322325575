//! What is kept of a session beside its id, and under which names it is read (spec/heartbeat.md 9.1).
//!
//! Programs, clients and older rows spell the same things differently. Everything is read into one shape and written
//! under one set of names; keys that nobody knows are dropped. Where a session ran on another machine is kept too, so
//! that it is not taken for one of this machine.

use serde_json::{Map, Value, json};

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Params {
    /// How the program calls it.
    pub id: String,
    /// The folder it worked in.
    pub cwd: Option<String>,
    /// The workspace that the folder belongs to.
    pub workspace: Option<String>,
    pub repo_url: Option<String>,
    pub repo_ref: Option<String>,
    /// What its instructions and skills were, as a hash: a program that is told them once works with those.
    pub bundle: Option<String>,
    /// The machine it ran on, when that was not this one.
    pub remote: Option<Value>,
}

impl Params {
    /// Of a session of which no more than the id is known.
    pub fn bare(id: impl Into<String>) -> Params {
        Params { id: id.into(), ..Params::default() }
    }

    /// The stored and sent form.
    pub fn to_json(&self) -> Value {
        let texts = [
            ("cwd", &self.cwd),
            ("workspaceId", &self.workspace),
            ("repoUrl", &self.repo_url),
            ("repoRef", &self.repo_ref),
            ("promptBundleKey", &self.bundle),
        ];
        let mut fields = Map::from_iter([("sessionId".to_owned(), json!(self.id))]);
        fields.extend(
            texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), json!(text.as_ref()?)))),
        );
        if let Some(remote) = &self.remote {
            fields.insert("remoteExecution".to_owned(), remote.clone());
        }
        Value::Object(fields)
    }
}

/// The names under which the programs give their session, the first that is not blank wins.
fn id_keys(adapter: &str) -> &'static [&'static str] {
    match adapter {
        "claude_local" | "codex_local" => &["sessionId", "session_id"],
        "pi_local" => &["sessionId", "session_id", "session"],
        _ => &["sessionId", "session_id", "sessionID"],
    }
}

/// Reads what was kept; `None` without an id.
pub fn read(adapter: &str, value: &Value) -> Option<Params> {
    let first = |keys: &[&str]| {
        let texts = keys.iter().filter_map(|key| value.get(key)?.as_str());
        texts.map(str::trim).find(|text| !text.is_empty()).map(str::to_owned)
    };
    let is_pi = adapter == "pi_local";
    let unless_pi = |keys: &[&str]| if is_pi { None } else { first(keys) };
    let bundle = first(&["promptBundleKey", "prompt_bundle_key"]).filter(|_| adapter == "claude_local");
    Some(Params {
        id: first(id_keys(adapter))?,
        cwd: first(&["cwd", "workdir", "folder"]),
        workspace: unless_pi(&["workspaceId", "workspace_id"]),
        repo_url: unless_pi(&["repoUrl", "repo_url"]),
        repo_ref: unless_pi(&["repoRef", "repo_ref"]),
        bundle,
        remote: value.get("remoteExecution").filter(|remote| remote.is_object()).cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read_and_one_is_written() {
        // E2.1 to E2.5 of the catalogue, and Pi.
        let folder = json!({ "sessionId": "s", "cwd": "/w" });
        let whole = json!({
            "sessionId": "s", "cwd": "/w", "workspaceId": "x", "repoUrl": "u", "repoRef": "r",
        });
        let with_bundle = json!({
            "sessionId": "s", "cwd": "/w", "workspaceId": "x", "repoUrl": "u", "repoRef": "r",
            "promptBundleKey": "b",
        });
        let snake = json!({
            "session_id": " s ", "workdir": "/w", "workspace_id": "x", "repo_url": "u", "repo_ref": "r",
            "prompt_bundle_key": "b", "surprise": 1,
        });
        let rows = [
            ("claude_local", snake.clone(), Some(with_bundle)),
            ("codex_local", snake.clone(), Some(whole.clone())),
            ("gemini_local", snake.clone(), Some(whole.clone())),
            ("opencode_local", json!({ "sessionID": "s", "folder": "/w" }), Some(folder.clone())),
            ("cursor", json!({ "sessionId": " ", "sessionID": "s", "cwd": "/w" }), Some(folder.clone())),
            ("pi_local", json!({ "session": "s", "cwd": "/w", "workspaceId": "x" }), Some(folder.clone())),
            ("scripted", json!({ "sessionId": "s", "cwd": "/w" }), Some(folder)),
            // What is no id of that program.
            ("claude_local", json!({ "sessionID": "s" }), None),
            ("codex_local", json!({ "session": "s" }), None),
            ("codex_local", json!({ "sessionId": 7, "cwd": "/w" }), None),
            ("codex_local", json!({}), None),
            ("codex_local", json!(null), None),
            ("codex_local", json!("s"), None),
        ];
        for (adapter, value, expected) in rows {
            let found = read(adapter, &value).map(|params| params.to_json());
            assert_eq!(found, expected, "{adapter} {value}");
            if let Some(written) = &found {
                assert_eq!(read(adapter, written).map(|params| params.to_json()), found, "{adapter}: again");
            }
        }
    }

    #[test]
    fn where_it_ran_is_not_lost() {
        let remote = json!({ "transport": "ssh", "host": "h", "remoteCwd": "/w" });
        let kept = read("codex_local", &json!({ "sessionId": "s", "remoteExecution": remote })).unwrap();
        assert_eq!(kept.remote, Some(remote));
        assert_eq!(read("codex_local", &kept.to_json()), Some(kept));
        assert_eq!(
            read("codex_local", &json!({ "sessionId": "s", "remoteExecution": "x" })).unwrap().remote,
            None
        );
    }
}
