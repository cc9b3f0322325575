//! `bugle agent instructions`: what an agent is told before anything else, and the files it refers to.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};
use domain::instructions::{self, LARGEST_FILE, MOST_FILES};
use reqwest::Method;
use serde_json::{Map, Value as Json, json};

use super::agent_lookup::{find, text};
use crate::cli::Context;
use crate::client::{Client, encoded};
use crate::failure::Failure;
use crate::screen::Tone;

#[derive(Debug, Subcommand)]
pub(crate) enum Instructions {
    /// Print what an agent is told, or one of the files beside it
    Show(Show),
    /// Write files of an agent's instructions, or say where they are kept
    Set(Set),
    /// Change a file of an agent's instructions in your editor
    Edit(Show),
    /// List the files of an agent's instructions, and where they are
    Files(Files),
    /// Remove a file of an agent's instructions
    #[command(alias = "remove")]
    Rm(Rm),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name or id of the agent
    agent: String,
    /// A file of the instructions [default: the entry file]
    file: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Name or id of the agent
    agent: String,
}

#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Name or id of the agent
    agent: String,
    /// The file
    file: String,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// Name or id of the agent
    agent: String,
    /// A text to be the entry file, or a folder of texts; - reads one from stdin
    source: Option<PathBuf>,
    /// The file that SOURCE is to be, instead of the entry file
    #[arg(long = "as", value_name = "FILE", requires = "source")]
    name: Option<String>,
    /// The file that the agent is told first
    #[arg(long, value_name = "FILE")]
    entry: Option<String>,
    /// Read them from this folder of the server's machine
    #[arg(long, value_name = "DIR", conflicts_with = "managed")]
    external: Option<String>,
    /// Have Bugle keep them; it begins with the entry file of before
    #[arg(long)]
    managed: bool,
}

impl Instructions {
    pub(crate) async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Instructions::Show(show) => show.show(context).await,
            Instructions::Set(set) => set.run(context).await,
            Instructions::Edit(show) => show.edit(context).await,
            Instructions::Files(Files { agent }) => files(context, &agent).await,
            Instructions::Rm(Rm { agent, file }) => remove(context, &agent, &file).await,
        }
    }
}

/// An agent, as paths name it and as people do, and its bundle.
struct Found {
    path: String,
    name: String,
    bundle: Json,
}

impl Found {
    async fn new(context: &Context, client: &Client, agent: &str) -> Result<Found, Failure> {
        let agent = find(context, client, agent).await?;
        let path = format!("/agents/{}/instructions-bundle", text(&agent, "id"));
        let bundle = client.get(&path).await?;
        Ok(Found { name: text(&agent, "name").to_owned(), path, bundle })
    }

    fn entry(&self) -> &str {
        text(&self.bundle, "entryFile")
    }

    fn file(&self, file: &str) -> String {
        format!("{}/file?path={}", self.path, encoded(file))
    }

    async fn put(&self, client: &Client, file: &str, content: &str) -> Result<Json, Failure> {
        let body = json!({ "path": file, "content": content });
        client.ask(Method::PUT, &format!("{}/file", self.path), Some(&body), &[]).await
    }

    /// What a file says; `None` when there is none.
    async fn read(&self, client: &Client, file: &str) -> Result<Option<Json>, Failure> {
        match client.get(&self.file(file)).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.message == "Instructions file not found" => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn no_file(&self, file: &str) -> Failure {
        let failure = Failure::usage(
            "instructions.no_file",
            format!("{} has no instructions file `{file}`", self.name),
        );
        let hint = if self.bundle.get("files").and_then(Json::as_array).is_none_or(Vec::is_empty) {
            format!("write one: bugle agent instructions set {} AGENTS.md", self.name)
        } else {
            format!("see which there are: bugle agent instructions files {}", self.name)
        };
        failure.hint(hint)
    }
}

impl Show {
    async fn show(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let found = Found::new(context, &client, &self.agent).await?;
        let file = self.file.as_deref().unwrap_or(found.entry());
        let shown = found.read(&client, file).await?.ok_or_else(|| found.no_file(file))?;
        if context.global.json {
            context.screen.answer(&shown);
        } else {
            context.screen.line(text(&shown, "content").trim_end());
        }
        Ok(())
    }

    async fn edit(self, context: &mut Context) -> Result<(), Failure> {
        let client = context.client()?;
        let found = Found::new(context, &client, &self.agent).await?;
        let file = self.file.as_deref().unwrap_or(found.entry()).to_owned();
        let before = found.read(&client, &file).await?;
        let before = before.as_ref().map_or("", |before| text(before, "content"));
        let draft = Draft::new(&file, before)?;
        let after = draft.edited().map_err(|failure| {
            if draft.says(before) {
                draft.forget();
                return failure;
            }
            failure.hint(format!("what you wrote is in {}", draft.path.display()))
        })?;
        if after == before {
            draft.forget();
            context.screen.note("nothing was changed");
            return Ok(());
        }
        let meanwhile = found.read(&client, &file).await?;
        if meanwhile.as_ref().map_or("", |now| text(now, "content")) != before {
            let failure = Failure::failed("instructions.changed", "somebody else changed it meanwhile");
            return Err(failure.hint(format!("your text is in {}", draft.path.display())));
        }
        let kept = format!("your text is in {}", draft.path.display());
        let written = found.put(&client, &file, &after).await.map_err(|failure| failure.hint(kept))?;
        draft.forget();
        told(context, &found, &[written]);
        Ok(())
    }
}

/// A text in an editor.
struct Draft {
    folder: PathBuf,
    path: PathBuf,
}

impl Draft {
    fn new(file: &str, content: &str) -> Result<Draft, Failure> {
        let failed = |error: std::io::Error| {
            Failure::failed("instructions.editor", format!("cannot write a file to edit: {error}"))
        };
        let folder = std::env::temp_dir().join(format!("bugle-instructions-{:016x}", rand::random::<u64>()));
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let path = folder.join(file.rsplit('/').next().unwrap_or(file));
        let mut open = OpenOptions::new();
        let mut made = open.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        made.write_all(content.as_bytes()).map_err(failed)?;
        Ok(Draft { folder, path })
    }

    /// What it says when the editor is closed.
    fn edited(&self) -> Result<String, Failure> {
        let set = |name: &str| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty());
        let editor = set("VISUAL").or_else(|| set("EDITOR")).unwrap_or_else(|| "vi".to_owned());
        // It may have arguments of its own.
        let script = format!("{editor} \"$1\"");
        let ended = Command::new("sh").args(["-c", &script, "sh"]).arg(&self.path).status();
        let hint = "choose an editor: EDITOR=nano bugle agent instructions edit ...";
        let failed = |words: String| Failure::failed("instructions.editor", words).hint(hint);
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(failed(format!("`{editor}` ended with {status}; nothing was changed"))),
            Err(error) => return Err(failed(format!("cannot start `{editor}`: {error}"))),
        }
        fs::read_to_string(&self.path).map_err(|error| failed(format!("cannot read what you wrote: {error}")))
    }

    fn says(&self, content: &str) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|now| now == content)
    }

    fn forget(&self) {
        // What stays of it is in a folder for such things.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn files(context: &mut Context, agent: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let found = Found::new(context, &client, agent).await?;
    if context.global.json {
        context.screen.answer(&found.bundle);
        return Ok(());
    }
    let files = found.bundle.get("files").and_then(Json::as_array).cloned().unwrap_or_default();
    match text(&found.bundle, "mode") {
        "managed" => context.screen.note(&format!("kept by Bugle; {} is told first", found.entry())),
        "external" => {
            let root = text(&found.bundle, "rootPath");
            context.screen.note(&format!("in {root}; {} is told first", found.entry()));
        }
        _ => {
            let name = &found.name;
            context.screen.note(&format!(
                "{name} has no instructions. Write some: bugle agent instructions set {name} AGENTS.md"
            ));
        }
    }
    for warning in found.bundle.get("warnings").and_then(Json::as_array).into_iter().flatten() {
        context.screen.note(warning.as_str().unwrap_or_default());
    }
    if files.is_empty() {
        return Ok(());
    }
    let is = |file: &Json, key: &str| file.get(key) == Some(&Json::Bool(true));
    let row = |file: &Json| {
        let what = match (is(file, "isEntryFile"), is(file, "virtual")) {
            (true, _) => "entry",
            (_, true) => "promptTemplate",
            (false, false) => "",
        };
        vec![
            (Tone::Strong, text(file, "path").to_owned()),
            (Tone::Plain, file.get("size").and_then(Json::as_u64).unwrap_or(0).to_string()),
            (Tone::Plain, what.to_owned()),
        ]
    };
    context.screen.table(&["FILE", "BYTES", ""], files.iter().map(row).collect());
    Ok(())
}

async fn remove(context: &mut Context, agent: &str, file: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let found = Found::new(context, &client, agent).await?;
    let left = client.delete(&found.file(file)).await.map_err(|failure| {
        if failure.message == "Instructions file not found" { found.no_file(file) } else { failure }
    })?;
    if context.global.json {
        context.screen.answer(&left);
    } else {
        context.screen.line(&format!("{}: {file} is removed", found.name));
    }
    Ok(())
}

/// Says what was written.
fn told(context: &mut Context, found: &Found, written: &[Json]) {
    if context.global.json {
        match written {
            [one] => context.screen.answer(one),
            all => context.screen.answer(&Json::Array(all.to_vec())),
        }
        return;
    }
    for file in written {
        let is_entry = file.get("isEntryFile") == Some(&Json::Bool(true));
        let when = if is_entry { "; its next run is told so" } else { "" };
        context.screen.line(&format!("{}: {} is written{when}", found.name, text(file, "path")));
    }
}

impl Set {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut patch = Map::new();
        if self.managed {
            patch.insert("mode".to_owned(), json!("managed"));
        }
        if let Some(folder) = &self.external {
            patch.extend([("mode".to_owned(), json!("external")), ("rootPath".to_owned(), json!(folder))]);
        }
        patch.extend(self.entry.as_ref().map(|entry| ("entryFile".to_owned(), json!(entry))));
        if patch.is_empty() && self.source.is_none() {
            let failure = Failure::usage("instructions.nothing", "nothing is to be set");
            return Err(
                failure.hint(format!("for example: bugle agent instructions set {} AGENTS.md", self.agent))
            );
        }
        // Before anything is changed.
        let texts = self.source.as_deref().map(read_source).transpose()?;
        if self.name.is_some() && matches!(texts, Some(Texts::Many(_))) {
            return Err(Failure::usage("instructions.folder", "--as names one file, and SOURCE is a folder"));
        }
        let client = context.client()?;
        let mut found = Found::new(context, &client, &self.agent).await?;
        if !patch.is_empty() {
            found.bundle = client.patch(&found.path, &Json::Object(patch)).await?;
        }
        let texts = match texts {
            None => {
                if context.global.json {
                    context.screen.answer(&found.bundle);
                } else {
                    let place = match text(&found.bundle, "mode") {
                        "managed" => "Bugle".to_owned(),
                        _ => text(&found.bundle, "rootPath").to_owned(),
                    };
                    let (name, entry) = (&found.name, found.entry());
                    context.screen.line(&format!("{name}: {entry} is told first, kept by {place}"));
                }
                return Ok(());
            }
            Some(Texts::One(content)) => {
                vec![(self.name.clone().unwrap_or_else(|| found.entry().to_owned()), content)]
            }
            Some(Texts::Many(texts)) => texts,
        };
        let mut written = Vec::with_capacity(texts.len());
        for (file, content) in &texts {
            written.push(found.put(&client, file, content).await?);
        }
        told(context, &found, &written);
        Ok(())
    }
}

/// What is to be written.
enum Texts {
    One(String),
    /// Paths in the bundle, and texts.
    Many(Vec<(String, String)>),
}

fn read_source(source: &Path) -> Result<Texts, Failure> {
    let unreadable = |path: &Path, words: String| {
        Failure::usage("instructions.unreadable", format!("cannot read {}: {words}", path.display()))
            .hint("give the path of a text, or of a folder of texts")
    };
    let one = |path: &Path| {
        let mut text = String::new();
        let most = LARGEST_FILE as u64 + 1;
        let read = if path.as_os_str() == "-" {
            std::io::stdin().take(most).read_to_string(&mut text)
        } else {
            fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
        };
        match read {
            Ok(_) if text.len() > LARGEST_FILE => {
                Err(unreadable(path, format!("it is larger than {} KiB", LARGEST_FILE / 1024)))
            }
            Ok(_) => Ok(text),
            Err(error) => Err(unreadable(path, error.to_string())),
        }
    };
    if !source.is_dir() {
        return Ok(Texts::One(one(source)?));
    }
    let mut texts = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let listed =
            fs::read_dir(source.join(&folder)).map_err(|error| unreadable(source, error.to_string()))?;
        for entry in listed {
            let entry = entry.map_err(|error| unreadable(source, error.to_string()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Hidden files are none of a bundle.
            if name.starts_with('.') {
                continue;
            }
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
                continue;
            }
            let path = instructions::path(&path)
                .map_err(|fault| unreadable(&entry.path(), format!("its path {}", fault.text())))?;
            texts.push((path, one(&entry.path())?));
            if texts.len() > MOST_FILES {
                return Err(unreadable(source, format!("it holds more than {MOST_FILES} files")));
            }
        }
    }
    if texts.is_empty() {
        return Err(unreadable(source, "it holds no files".to_owned()));
    }
    texts.sort();
    Ok(Texts::Many(texts))
}
