//! Which models a kind of agent can be given by name, and which one its program is set up with on this machine.
//!
//! The lists are fixed (spec/heartbeat.md 9.8): nothing is started or asked for them. A model that is not listed may be
//! configured all the same.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::codex;
use crate::env::Host;

const CLAUDE: &[&str] = &[
    "claude-opus-4-7",
    "claude-opus-4-6",
    "claude-sonnet-4-6",
    "claude-haiku-4-6",
    "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5-20251001",
];
const GEMINI: &[&str] = &[
    "auto",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.0-flash",
    "gemini-2.0-flash-lite",
];
/// A settings file is far smaller.
const LARGEST_FILE: u64 = 1 << 20;

/// The models that are known by name; none where only the program knows.
pub fn models(kind: &str) -> &'static [&'static str] {
    match kind {
        "claude_local" => CLAUDE,
        "codex_local" => codex::MODELS,
        "gemini_local" => GEMINI,
        _ => &[],
    }
}

/// A model that a program's own settings name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    pub model: String,
    pub provider: &'static str,
    /// The file that names it.
    pub source: PathBuf,
}

/// The model that the program of this kind uses when its agent names none, as far as its settings in the home of the
/// server's user tell. Reads a file.
pub fn detect_model(kind: &str, host: &Host) -> Option<Detected> {
    let home = Path::new(host.env.get("HOME").filter(|home| !home.is_empty())?);
    let (provider, source) = match kind {
        "claude_local" => ("anthropic", home.join(".claude/settings.json")),
        "codex_local" => ("openai", home.join(".codex/config.toml")),
        "gemini_local" => ("google", home.join(".gemini/settings.json")),
        _ => return None,
    };
    fs::metadata(&source).ok().filter(|file| file.is_file() && file.len() <= LARGEST_FILE)?;
    let text = fs::read_to_string(&source).ok()?;
    let model = match kind {
        "codex_local" => model_of_toml(&text)?,
        _ => model_of_json(&text)?,
    };
    Some(Detected { model, provider, source })
}

/// `model`, or `model.name`.
fn model_of_json(text: &str) -> Option<String> {
    let settings: Value = serde_json::from_str(text).ok()?;
    let model = &settings["model"];
    let name = model.as_str().or_else(|| model["name"].as_str())?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The key `model` in front of the first table. Nothing else of the file is understood.
fn model_of_toml(text: &str) -> Option<String> {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let value = lines.filter_map(|line| line.strip_prefix("model")?.trim_start().strip_prefix('=')).last()?;
    let value = value.trim();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let name = value[1..].split(quote).next()?.trim();
    (!name.is_empty() && !name.contains('\\')).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_a_settings_file_is_found() {
        for (text, model) in [
            ("model = \"gpt-5\"\n[profiles.x]\nmodel = \"other\"", Some("gpt-5")),
            ("# model = \"no\"\nmodel_provider = \"x\"\nmodel='o3' # why", Some("o3")),
            ("[model]\nmodel = \"no\"", None),
            ("model = 5", None),
            ("model = \"\"", None),
        ] {
            assert_eq!(model_of_toml(text).as_deref(), model, "{text}");
        }
        for (text, model) in [
            (r#"{"model": "opus"}"#, Some("opus")),
            (r#"{"model": {"name": "gemini-2.5-pro"}}"#, Some("gemini-2.5-pro")),
            (r#"{"model": null}"#, None),
            ("{", None),
        ] {
            assert_eq!(model_of_json(text).as_deref(), model, "{text}");
        }
    }

    #[test]
    fn a_model_is_looked_for_in_the_home_of_the_server_only() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".codex")).unwrap();
        let file = home.path().join(".codex/config.toml");
        fs::write(&file, "model = \"o3\"").unwrap();
        let host = Host::from_env([("HOME", home.path())]);
        let found = Detected { model: "o3".to_owned(), provider: "openai", source: file };
        assert_eq!(detect_model("codex_local", &host), Some(found));
        assert_eq!(detect_model("claude_local", &host), None);
        assert_eq!(detect_model("codex_local", &Host::default()), None);
    }
}
