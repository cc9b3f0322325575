//! The instructions of an agent: a bundle of texts, one of which is what its program is told first.
//!
//! A bundle is *managed*, kept by Bugle itself, or *external*, a folder of the machine that people name. Which of them, and
//! what may be a path in it, is decided here, from the agent's `adapterConfig`; keeping the texts is the store's, laying
//! them out for a program the engine's.

use serde_json::{Map, Value, json};

use crate::words;

/// The text that a program is told first, unless another one is named.
pub const ENTRY: &str = "AGENTS.md";
/// Under this name `promptTemplate` is shown as a file.
pub const LEGACY_PROMPT: &str = "promptTemplate.legacy.md";
/// As many files has a bundle.
pub const MOST_FILES: usize = 100;
/// The largest file, in bytes: as much of the entry file is told.
pub const LARGEST_FILE: usize = 256 * 1024;
/// All files of a managed bundle together, in bytes: they are looked through at every start.
pub const LARGEST_BUNDLE: usize = 1 << 20;
/// The longest path in a bundle, in bytes.
const LONGEST_PATH: usize = 200;
/// The most folders in a path, with the file.
const DEEPEST: usize = 8;

/// The keys of a configuration that say where instructions are read from. Only people set them.
pub const MODE_KEY: &str = "instructionsBundleMode";
pub const ROOT_KEY: &str = "instructionsRootPath";
pub const ENTRY_KEY: &str = "instructionsEntryFile";
pub const FILE_KEY: &str = "instructionsFilePath";
const PROMPT_KEY: &str = "promptTemplate";
const BOOTSTRAP_KEY: &str = "bootstrapPromptTemplate";

words!(
    /// Where the files of a bundle are.
    Mode {
        /// Bugle keeps them.
        Managed = "managed",
        /// In a folder of the machine.
        External = "external",
    }
);

/// Where an agent's instructions are, as its configuration says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nobody said.
    Nowhere,
    Managed {
        entry: String,
    },
    External {
        /// Absolute.
        root: String,
        entry: String,
    },
    /// One file of the machine, and nothing beside it: `instructionsFilePath` alone. May be relative to where the agent works.
    File {
        path: String,
    },
}

/// The instructions of an agent, as its configuration says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    pub place: Place,
    /// `promptTemplate`, where it says something.
    pub prompt: Option<String>,
    /// `bootstrapPromptTemplate` says something.
    pub has_bootstrap: bool,
}

impl Bundle {
    /// Reads a configuration. What makes no sense in it is as good as absent.
    pub fn read(config: &Value) -> Bundle {
        let text = |key: &str| {
            config.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty()).map(str::to_owned)
        };
        let entry = || text(ENTRY_KEY).and_then(|entry| path(&entry).ok()).unwrap_or(ENTRY.to_owned());
        let root = text(ROOT_KEY).and_then(|root| self::root(&root).ok());
        let place = match (text(MODE_KEY).as_deref().and_then(Mode::parse), root, text(FILE_KEY)) {
            (Some(Mode::Managed), _, _) => Place::Managed { entry: entry() },
            (Some(Mode::External), Some(root), _) => Place::External { root, entry: entry() },
            (_, _, Some(path)) => Place::File { path: path.trim().to_owned() },
            (_, _, None) => Place::Nowhere,
        };
        Bundle { place, prompt: text(PROMPT_KEY), has_bootstrap: text(BOOTSTRAP_KEY).is_some() }
    }

    /// `None`: nobody said.
    pub fn mode(&self) -> Option<Mode> {
        match self.place {
            Place::Nowhere => None,
            Place::Managed { .. } => Some(Mode::Managed),
            Place::External { .. } | Place::File { .. } => Some(Mode::External),
        }
    }

    /// The entry file, as a path in the bundle.
    pub fn entry(&self) -> &str {
        match &self.place {
            Place::Nowhere => ENTRY,
            Place::Managed { entry } | Place::External { entry, .. } => entry,
            Place::File { path } => split(path).1,
        }
    }

    /// The folder of an external bundle. `None` for a file that is relative to where the agent works.
    pub fn root(&self) -> Option<&str> {
        match &self.place {
            Place::Nowhere | Place::Managed { .. } => None,
            Place::External { root, .. } => Some(root),
            Place::File { path } => Some(split(path).0).filter(|folder| folder.starts_with('/')),
        }
    }
}

/// Folder and name of a file.
fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => ("", path),
    }
}

/// What somebody wants of a bundle; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub mode: Option<Mode>,
    pub root: Option<String>,
    pub entry: Option<String>,
    /// Takes `promptTemplate` and `bootstrapPromptTemplate` away.
    pub clears_legacy: bool,
}

/// Why a bundle cannot be what somebody wants, or a path is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Blank,
    TooLong,
    TooDeep,
    Absolute,
    Upwards,
    Hidden,
    Characters,
    RootIsNotAbsolute,
    RootOfNothing,
    ExternalWithoutRoot,
    RelativeFile,
}

impl Fault {
    /// What is wrong, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Fault::Blank => "names no file",
            Fault::TooLong => "is longer than 200 bytes",
            Fault::TooDeep => "has more than 8 parts",
            Fault::Absolute => "must be relative to the folder of the bundle",
            Fault::Upwards => "must not leave the folder of the bundle",
            Fault::Hidden => "must have no part that begins with a dot",
            Fault::Characters => "must have no backslash and no control character",
            Fault::RootIsNotAbsolute => "must be an absolute path without `..`",
            Fault::RootOfNothing => "is only for bundles of the mode `external`",
            Fault::ExternalWithoutRoot => "is needed for a bundle of the mode `external`",
            Fault::RelativeFile => "must be given: the file is relative to where the agent works",
        }
    }

    /// The field of a request that it is about.
    pub const fn field(self) -> &'static str {
        match self {
            Fault::RootIsNotAbsolute
            | Fault::RootOfNothing
            | Fault::ExternalWithoutRoot
            | Fault::RelativeFile => "rootPath",
            Fault::Blank
            | Fault::TooLong
            | Fault::TooDeep
            | Fault::Absolute
            | Fault::Upwards
            | Fault::Hidden
            | Fault::Characters => "entryFile",
        }
    }
}

/// Reads a path in a bundle, in its one spelling. Hidden files are none of a bundle: keys and repositories lie in such.
pub fn path(text: &str) -> Result<String, Fault> {
    let text = text.trim();
    if text.contains('\\') || text.chars().any(char::is_control) {
        return Err(Fault::Characters);
    }
    if text.starts_with('/') {
        return Err(Fault::Absolute);
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(Fault::Upwards);
    }
    if parts.iter().any(|part| part.starts_with('.')) {
        return Err(Fault::Hidden);
    }
    match parts.len() {
        0 => return Err(Fault::Blank),
        deep if deep > DEEPEST => return Err(Fault::TooDeep),
        _ => {}
    }
    // `notes/` is a folder.
    if text.ends_with('/') {
        return Err(Fault::Blank);
    }
    let path = parts.join("/");
    if path.len() > LONGEST_PATH { Err(Fault::TooLong) } else { Ok(path) }
}

/// Reads the folder of an external bundle.
pub fn root(text: &str) -> Result<String, Fault> {
    let text = text.trim();
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let is_sound = text.starts_with('/') && !parts.contains(&"..") && !text.chars().any(char::is_control);
    if is_sound { Ok(format!("/{}", parts.join("/"))) } else { Err(Fault::RootIsNotAbsolute) }
}

/// The file that takes part of a path's place: where one is a folder the other cannot be a file.
pub fn in_the_way<'a>(path: &str, others: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let is_below =
        |path: &str, folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    others.into_iter().find(|other| is_below(path, other) || is_below(other, path))
}

/// What is to be changed in the configuration so that the bundle is what somebody wants; null takes a key away.
pub fn change(now: &Bundle, wanted: &Wanted) -> Result<Map<String, Value>, Fault> {
    let mut patch = Map::new();
    if wanted.clears_legacy {
        patch.extend([PROMPT_KEY, BOOTSTRAP_KEY].map(|key| (key.to_owned(), Value::Null)));
    }
    let is_about_files = wanted.mode.is_some() || wanted.root.is_some() || wanted.entry.is_some();
    if !is_about_files {
        return Ok(patch);
    }
    let entry = wanted.entry.as_deref().map(path).transpose()?;
    let entry = entry.unwrap_or_else(|| path(now.entry()).unwrap_or(ENTRY.to_owned()));
    let (root, file) = match wanted.mode.or(now.mode()).unwrap_or(Mode::Managed) {
        Mode::Managed if wanted.root.is_some() => return Err(Fault::RootOfNothing),
        Mode::Managed => {
            patch.insert(MODE_KEY.to_owned(), json!(Mode::Managed));
            (Value::Null, Value::Null)
        }
        Mode::External => {
            let root = match (&wanted.root, now.root(), &now.place) {
                (Some(root), _, _) => self::root(root)?,
                (None, Some(root), _) => self::root(root)?,
                (None, None, Place::File { .. }) => return Err(Fault::RelativeFile),
                (None, None, _) => return Err(Fault::ExternalWithoutRoot),
            };
            patch.insert(MODE_KEY.to_owned(), json!(Mode::External));
            let file = json!(format!("{}/{entry}", root.trim_end_matches('/')));
            (json!(root), file)
        }
    };
    patch.extend(
        [(ROOT_KEY, root), (ENTRY_KEY, json!(entry)), (FILE_KEY, file)].map(|(key, it)| (key.to_owned(), it)),
    );
    Ok(patch)
}

/// Puts a changed configuration in order, `given` being what was asked for: who names a file alone means that file, and no
/// key that says where instructions are is kept as null.
pub fn settle(config: &mut Map<String, Value>, given: &Map<String, Value>) {
    if given.contains_key(FILE_KEY) && !given.contains_key(MODE_KEY) {
        for key in [MODE_KEY, ROOT_KEY, ENTRY_KEY] {
            if !given.contains_key(key) {
                config.remove(key);
            }
        }
    }
    for key in [MODE_KEY, ROOT_KEY, ENTRY_KEY, FILE_KEY, PROMPT_KEY, BOOTSTRAP_KEY] {
        if config.get(key).is_some_and(Value::is_null) {
            config.remove(key);
        }
    }
}

/// What a file is written in, by the end of its name.
pub fn language(path: &str) -> &'static str {
    let end = path
        .rsplit('/')
        .next()
        .and_then(|name| name.rsplit_once('.'))
        .map(|(_, end)| end.to_ascii_lowercase());
    match end.as_deref() {
        Some("md" | "markdown" | "mdx") => "markdown",
        Some("json" | "jsonc") => "json",
        Some("yaml" | "yml") => "yaml",
        Some("toml") => "toml",
        Some("ts" | "tsx") => "typescript",
        Some("js" | "jsx" | "mjs" | "cjs") => "javascript",
        Some("py") => "python",
        Some("rs") => "rust",
        Some("go") => "go",
        Some("sh" | "bash" | "zsh") => "bash",
        Some("html" | "htm") => "html",
        Some("css") => "css",
        Some("sql") => "sql",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(root: &str, entry: &str) -> Place {
        Place::External { root: root.to_owned(), entry: entry.to_owned() }
    }

    fn bundle(place: Place) -> Bundle {
        Bundle { place, prompt: None, has_bootstrap: false }
    }

    #[test]
    fn a_configuration_says_where_instructions_are() {
        let managed = |entry: &str| Place::Managed { entry: entry.to_owned() };
        let file = |path: &str| Place::File { path: path.to_owned() };
        for (config, place) in [
            (json!({}), Place::Nowhere),
            (json!(null), Place::Nowhere),
            (json!({ FILE_KEY: " " }), Place::Nowhere),
            (json!({ FILE_KEY: "/srv/a.md" }), file("/srv/a.md")),
            (json!({ FILE_KEY: "docs/a.md" }), file("docs/a.md")),
            (json!({ MODE_KEY: "managed" }), managed(ENTRY)),
            (json!({ MODE_KEY: "managed", ENTRY_KEY: "x/b.md", FILE_KEY: "/srv/a.md" }), managed("x/b.md")),
            // Somebody wrote it by hand; nothing outside is reached by it.
            (json!({ MODE_KEY: "managed", ENTRY_KEY: "../b.md" }), managed(ENTRY)),
            (json!({ MODE_KEY: "external", ROOT_KEY: "/srv/" }), external("/srv", ENTRY)),
            (json!({ MODE_KEY: "external", ROOT_KEY: "srv", FILE_KEY: "/a.md" }), file("/a.md")),
            (json!({ MODE_KEY: "external", ROOT_KEY: "/srv/../etc" }), Place::Nowhere),
            (json!({ MODE_KEY: "other", ROOT_KEY: "/srv" }), Place::Nowhere),
        ] {
            assert_eq!(Bundle::read(&config).place, place, "{config}");
        }
        let legacy = Bundle::read(&json!({ PROMPT_KEY: "Go.", BOOTSTRAP_KEY: " " }));
        assert_eq!((legacy.prompt.as_deref(), legacy.has_bootstrap), (Some("Go."), false));
        let lone = bundle(file("/srv/a.md"));
        assert_eq!((lone.mode(), lone.root(), lone.entry()), (Some(Mode::External), Some("/srv"), "a.md"));
        assert_eq!(bundle(file("a.md")).root(), None);
        assert_eq!(bundle(file("/a.md")).root(), Some("/"));
    }

    #[test]
    fn a_path_stays_in_its_bundle_and_has_one_spelling() {
        for (text, expected) in [
            ("AGENTS.md", Ok("AGENTS.md")),
            (" ./docs//style.md ", Ok("docs/style.md")),
            ("", Err(Fault::Blank)),
            (".", Err(Fault::Blank)),
            ("docs/", Err(Fault::Blank)),
            ("/etc/passwd", Err(Fault::Absolute)),
            ("../a", Err(Fault::Upwards)),
            ("a/../../b", Err(Fault::Upwards)),
            (".env", Err(Fault::Hidden)),
            ("a/.git/config", Err(Fault::Hidden)),
            ("a\\b", Err(Fault::Characters)),
            ("a\nb", Err(Fault::Characters)),
            ("1/2/3/4/5/6/7/8/9", Err(Fault::TooDeep)),
        ] {
            assert_eq!(path(text), expected.map(str::to_owned), "{text:?}");
        }
        assert_eq!(path(&"a".repeat(201)), Err(Fault::TooLong));
        for (text, expected) in
            [("/srv//a/", Some("/srv/a")), ("/", Some("/")), ("srv", None), ("/srv/..", None), ("", None)]
        {
            assert_eq!(root(text).ok().as_deref(), expected, "{text:?}");
        }
        assert_eq!(in_the_way("a/b", ["c", "a"]), Some("a"));
        assert_eq!(in_the_way("a", ["a/b"]), Some("a/b"));
        assert_eq!(in_the_way("a", ["a", "ab", "b/a"]), None);
    }

    #[test]
    fn what_somebody_wants_becomes_a_change_of_the_configuration() {
        let want = |mode: Option<Mode>, root: Option<&str>, entry: Option<&str>| Wanted {
            mode,
            root: root.map(str::to_owned),
            entry: entry.map(str::to_owned),
            clears_legacy: false,
        };
        let managed =
            |entry: &str| json!({ MODE_KEY: "managed", ROOT_KEY: null, ENTRY_KEY: entry, FILE_KEY: null });
        let outside = |root: &str, entry: &str, file: &str| json!({ MODE_KEY: "external", ROOT_KEY: root, ENTRY_KEY: entry, FILE_KEY: file });
        let file = || bundle(Place::File { path: "/srv/a.md".to_owned() });
        let (nowhere, there) = (bundle(Place::Nowhere), bundle(external("/srv", "a.md")));
        let relative = bundle(Place::File { path: "a.md".to_owned() });
        let (m, e) = (Some(Mode::Managed), Some(Mode::External));
        for (now, wanted, expected) in [
            (&nowhere, want(None, None, None), Ok(json!({}))),
            (&nowhere, want(None, None, Some("b.md")), Ok(managed("b.md"))),
            (&nowhere, want(m, None, None), Ok(managed(ENTRY))),
            (&nowhere, want(m, Some("/srv"), None), Err(Fault::RootOfNothing)),
            (&nowhere, want(None, Some("/srv"), None), Err(Fault::RootOfNothing)),
            (&nowhere, want(e, None, None), Err(Fault::ExternalWithoutRoot)),
            (&nowhere, want(e, Some("srv"), None), Err(Fault::RootIsNotAbsolute)),
            (&nowhere, want(e, Some("/"), None), Ok(outside("/", ENTRY, "/AGENTS.md"))),
            (&nowhere, want(e, Some("/srv"), Some("../x")), Err(Fault::Upwards)),
            (&there, want(None, Some("/opt"), None), Ok(outside("/opt", "a.md", "/opt/a.md"))),
            (&there, want(None, None, Some("x/b.md")), Ok(outside("/srv", "x/b.md", "/srv/x/b.md"))),
            (&there, want(m, None, None), Ok(managed("a.md"))),
            (&file(), want(e, None, None), Ok(outside("/srv", "a.md", "/srv/a.md"))),
            (&relative, want(e, None, None), Err(Fault::RelativeFile)),
        ] {
            assert_eq!(change(now, &wanted).map(Value::Object), expected, "{now:?} {wanted:?}");
        }
        let cleared = change(&nowhere, &Wanted { clears_legacy: true, ..Wanted::default() });
        assert_eq!(cleared.map(Value::Object), Ok(json!({ PROMPT_KEY: null, BOOTSTRAP_KEY: null })));
    }

    #[test]
    fn who_names_a_file_alone_means_that_file() {
        let settled = |config: Value, given: Value| {
            let (mut config, given) =
                (config.as_object().unwrap().clone(), given.as_object().unwrap().clone());
            config.extend(given.clone());
            settle(&mut config, &given);
            Value::Object(config)
        };
        let before = json!({ MODE_KEY: "external", ROOT_KEY: "/srv", ENTRY_KEY: "a.md", FILE_KEY: "/srv/a.md", "model": null });
        assert_eq!(
            settled(before.clone(), json!({ FILE_KEY: "/b.md" })),
            json!({ FILE_KEY: "/b.md", "model": null })
        );
        assert_eq!(settled(before.clone(), json!({ FILE_KEY: null })), json!({ "model": null }));
        assert_eq!(settled(before.clone(), json!({ "model": "x" }))[MODE_KEY], "external");
        let managed = json!({ MODE_KEY: "managed", ROOT_KEY: null, FILE_KEY: null, PROMPT_KEY: null });
        assert_eq!(
            settled(before, managed),
            json!({ MODE_KEY: "managed", ENTRY_KEY: "a.md", "model": null })
        );
    }

    #[test]
    fn the_end_of_a_name_says_the_language() {
        for (path, expected) in
            [("a/B.MD", "markdown"), ("x.yml", "yaml"), ("Makefile", "text"), ("a.b/c", "text")]
        {
            assert_eq!(language(path), expected, "{path}");
        }
    }
}
