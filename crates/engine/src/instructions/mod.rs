//! What agents are told before anything else: bundles of files with an entry file (spec/api.md ).
//!
//! The files of a managed bundle are rows of the store, so that every node has the same; each run gets them laid out in a
//! folder that is named for what they say (`layout`). Those of an external bundle are files of this machine (`folder`).
//! Where an agent's are is part of its configuration, decided by `domain::instructions`.

mod folder;
pub(crate) mod layout;

use std::path::{Path, PathBuf};

use domain::ids::{AgentId, CompanyId};
use domain::instructions::{
    self, Bundle, ENTRY, ENTRY_KEY, FILE_KEY, Fault, LARGEST_BUNDLE, LARGEST_FILE, LEGACY_PROMPT, MOST_FILES,
    Mode, Place, Wanted,
};
use domain::issue::refusal::Kind;
use serde_json::{Map, Value as Json, json};
use store::agents::Agent;
use store::instructions::{self as rows, InstructionFile};
use store::{Tx, agents as agent_rows};

use crate::activity::{Author, Scribe};
use crate::issues::Locks;
use crate::processes::beside;
use crate::skills::are_supported;
use crate::{AgentPatch, Engine, EngineError, agent_defaults, agents};
use folder::{Folder, FolderError, Listing};

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstructionsFile {
    pub path: String,
    /// In bytes.
    pub size: u64,
    pub is_entry: bool,
    /// It is `promptTemplate`, shown as a file.
    pub is_legacy: bool,
}

/// A file with what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstructionsText {
    pub file: InstructionsFile,
    pub content: String,
}

/// The instructions of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instructions {
    pub agent: AgentId,
    pub company: CompanyId,
    /// `None`: nobody said where they are.
    pub mode: Option<Mode>,
    /// The folder of an external bundle, or the one that this node lays a managed one out in.
    pub root: Option<PathBuf>,
    /// Where managed files are laid out, in a folder for each version.
    pub managed_root: PathBuf,
    pub entry: String,
    /// The file that a run here would be told now.
    pub entry_path: Option<PathBuf>,
    pub is_editable: bool,
    pub has_prompt: bool,
    pub has_bootstrap: bool,
    pub warnings: Vec<String>,
    pub files: Vec<InstructionsFile>,
}

/// What is to be done to the instructions of an agent.
#[derive(Debug, Clone)]
enum Order {
    /// `seed`: what the entry file says where there was none.
    Change {
        wanted: Wanted,
        seed: Option<String>,
    },
    /// The path alone.
    Name {
        path: Option<String>,
    },
    Put {
        path: String,
        content: String,
        clears_legacy: bool,
    },
    Remove {
        path: String,
    },
    /// `promptTemplate`.
    Prompt {
        content: String,
    },
    /// It was done to a file of the machine; what of it is configuration.
    Outside {
        clears_legacy: bool,
    },
}

/// Where managed files are laid out on this node.
pub(crate) fn managed_root(data_dir: &Path, company: &CompanyId, agent: &AgentId) -> PathBuf {
    data_dir.join("instructions").join(company.as_str()).join(agent.as_str())
}

fn refused(message: impl Into<String>) -> EngineError {
    EngineError::refused(Kind::Unprocessable, message)
}

fn faulty(field: &str, fault: Fault) -> EngineError {
    refused(format!("{field} {}", fault.text()))
}

fn not_there(path: &str, error: FolderError) -> EngineError {
    match error {
        FolderError::Missing => EngineError::NotFound("Instructions file"),
        other => refused(format!("Instructions file {path}: {other}")),
    }
}

/// A path of a request, in its one spelling.
fn named(path: &str) -> Result<String, EngineError> {
    instructions::path(path).map_err(|fault| faulty("path", fault))
}

impl Engine {
    /// Returns the instructions of an agent.
    pub async fn instructions(&self, agent: &AgentId) -> Result<Instructions, EngineError> {
        let (agent, files) = self.bundle_of(agent).await?;
        let bundle = Bundle::read(&agent.adapter_config);
        let managed_root = managed_root(&self.inner.settings.data_dir, &agent.company_id, &agent.id);
        let entry = bundle.entry().to_owned();
        let mut shown = Instructions {
            mode: bundle.mode(),
            root: bundle.root().map(PathBuf::from),
            entry_path: None,
            is_editable: true,
            has_prompt: bundle.prompt.is_some(),
            has_bootstrap: bundle.has_bootstrap,
            warnings: Vec::new(),
            files: Vec::new(),
            agent: agent.id.clone(),
            company: agent.company_id.clone(),
            managed_root,
            entry,
        };
        if !are_supported(&agent.adapter_type) {
            let words = format!("Agents of the type `{}` are not told of instructions.", agent.adapter_type);
            shown.warnings.push(words);
        }
        match &bundle.place {
            Place::Nowhere => {}
            Place::Managed { .. } => shown.show_managed(&files),
            Place::External { root, .. } => {
                let listing = self.in_folder(root, |folder| folder.list()).await;
                shown.show_folder(listing);
            }
            Place::File { .. } => {
                let entry = shown.entry.clone();
                let looked = match bundle.root() {
                    None => None,
                    Some(root) => Some(self.in_folder(root, move |folder| folder.read(&entry)).await),
                };
                shown.show_file(looked);
            }
        }
        if let Some(prompt) = &bundle.prompt {
            shown.files.push(legacy(prompt));
        }
        Ok(shown)
    }

    /// Returns one file.
    pub async fn instructions_file(
        &self,
        agent: &AgentId,
        path: &str,
    ) -> Result<InstructionsText, EngineError> {
        let path = named(path)?;
        let (agent, files) = self.bundle_of(agent).await?;
        let bundle = Bundle::read(&agent.adapter_config);
        if path == LEGACY_PROMPT {
            let prompt = bundle.prompt.ok_or(EngineError::NotFound("Instructions file"))?;
            return Ok(InstructionsText { file: legacy(&prompt), content: prompt });
        }
        let content = match &bundle.place {
            Place::Nowhere => return Err(EngineError::NotFound("Instructions file")),
            Place::Managed { .. } => {
                let file = files.into_iter().find(|file| file.path == path);
                file.ok_or(EngineError::NotFound("Instructions file"))?.content
            }
            Place::External { .. } | Place::File { .. } => {
                let root = reached(&bundle, &path)?;
                let asked = path.clone();
                let read = self.in_folder(&root, move |folder| folder.read(&asked)).await;
                read.map_err(|error| not_there(&path, error))?
            }
        };
        Ok(text_of(path, content, bundle.entry()))
    }

    /// Says where the instructions of an agent are, and which of them its program is told first.
    pub async fn change_instructions(
        &self,
        agent: &AgentId,
        wanted: Wanted,
        by: &Author,
    ) -> Result<Instructions, EngineError> {
        let (row, _) = self.bundle_of(agent).await?;
        let bundle = Bundle::read(&row.adapter_config);
        // Whoever takes a bundle in begins with what its agent is told now.
        let mut seed = None;
        if wanted.mode == Some(Mode::Managed)
            && let (Some(root), Ok(entry)) = (bundle.root(), instructions::path(bundle.entry()))
        {
            seed = self.in_folder(root, move |folder| folder.read(&entry)).await.ok();
        }
        let changed = self.alter(&row.id, Order::Change { wanted, seed }, by).await?;
        self.instructions(&changed.id).await
    }

    /// Says which file of this machine an agent's instructions are; `None`: it has none.
    pub async fn set_instructions_path(
        &self,
        agent: &AgentId,
        path: Option<String>,
        by: &Author,
    ) -> Result<Agent, EngineError> {
        self.alter(agent, Order::Name { path }, by).await
    }

    /// The file says this when it returns.
    pub async fn write_instructions(
        &self,
        agent: &AgentId,
        path: &str,
        content: String,
        clears_legacy: bool,
        by: &Author,
    ) -> Result<InstructionsText, EngineError> {
        let path = named(path)?;
        if content.len() > LARGEST_FILE {
            return Err(refused(format!("content is larger than {} KiB", LARGEST_FILE / 1024)));
        }
        let (row, _) = self.bundle_of(agent).await?;
        let bundle = Bundle::read(&row.adapter_config);
        let order = match &bundle.place {
            _ if path == LEGACY_PROMPT => Order::Prompt { content },
            Place::Nowhere | Place::Managed { .. } => {
                Order::Put { path: path.clone(), content, clears_legacy }
            }
            Place::External { .. } | Place::File { .. } => {
                let root = reached(&bundle, &path)?;
                let asked = path.clone();
                let written = self.in_folder(&root, move |folder| folder.write(&asked, &content)).await;
                written.map_err(|error| not_there(&path, error))?;
                Order::Outside { clears_legacy }
            }
        };
        self.altered_file(&row.id, order, "agent.instructions_file_updated", &path, by).await?;
        self.instructions_file(&row.id, &path).await
    }

    /// Removes a file that is not the entry file.
    pub async fn remove_instructions(
        &self,
        agent: &AgentId,
        path: &str,
        by: &Author,
    ) -> Result<Instructions, EngineError> {
        let path = named(path)?;
        let (row, _) = self.bundle_of(agent).await?;
        let bundle = Bundle::read(&row.adapter_config);
        if path == LEGACY_PROMPT {
            return Err(refused("promptTemplate is no file: clear it with clearLegacyPromptTemplate"));
        }
        if path == bundle.entry() {
            return Err(refused("The entry file cannot be removed: name another one first"));
        }
        let order = match &bundle.place {
            Place::Nowhere | Place::Managed { .. } => Order::Remove { path: path.clone() },
            Place::External { .. } | Place::File { .. } => {
                let root = reached(&bundle, &path)?;
                let asked = path.clone();
                let removed = self.in_folder(&root, move |folder| folder.remove(&asked)).await;
                removed.map_err(|error| not_there(&path, error))?;
                Order::Outside { clears_legacy: false }
            }
        };
        self.altered_file(&row.id, order, "agent.instructions_file_deleted", &path, by).await?;
        self.instructions(&row.id).await
    }

    /// An agent, and the files that are kept of its bundle.
    async fn bundle_of(&self, agent: &AgentId) -> Result<(Agent, Vec<InstructionFile>), EngineError> {
        let found = self.inner.read(agent.clone(), |tx, id| {
            Box::pin(async move {
                let Some(agent) = agent_rows::get(tx, &id).await? else { return Ok(None) };
                Ok(Some((agent, rows::of_agent(tx, &id, MOST_FILES as i64).await?)))
            })
        });
        found.await?.ok_or(EngineError::NotFound("Agent"))
    }

    /// Looks into a folder of this machine.
    async fn in_folder<T: Send + 'static>(
        &self,
        root: &str,
        look: impl FnOnce(&Folder) -> Result<T, FolderError> + Send + 'static,
    ) -> Result<T, FolderError> {
        let (root, ours) = (PathBuf::from(root), self.inner.settings.data_dir.clone());
        let looked = beside(&self.inner.processes, move || {
            Folder::open(&root, &ours).and_then(|folder| look(&folder))
        });
        looked.await.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
    }

    async fn alter(&self, agent: &AgentId, order: Order, by: &Author) -> Result<Agent, EngineError> {
        let (action, details) = match &order {
            Order::Name { path } => ("agent.instructions_path_updated", json!({ "path": path })),
            _ => ("agent.instructions_bundle_updated", Json::Null),
        };
        self.carry_out(agent, order, action, details, by).await
    }

    async fn altered_file(
        &self,
        agent: &AgentId,
        order: Order,
        action: &'static str,
        path: &str,
        by: &Author,
    ) -> Result<Agent, EngineError> {
        self.carry_out(agent, order, action, json!({ "path": path }), by).await
    }

    /// Carries an order out behind the lock of its agent, with the change of the configuration that it makes.
    async fn carry_out(
        &self,
        agent: &AgentId,
        order: Order,
        action: &'static str,
        details: Json,
        by: &Author,
    ) -> Result<Agent, EngineError> {
        let locks = Locks { agents: [agent.clone()].into(), ..Locks::default() };
        let means = (self.inner.keyring.clone(), agent_defaults::seed(&*self.inner.dice));
        let context = (agent.clone(), order, details, means);
        let changed = self.inner.change_widely(
            by,
            locks,
            context,
            move |tx, mut scribe, locks, (id, order, details, (keyring, seed))| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let mut agent = locked.agents.get(&id).cloned().ok_or(EngineError::NotFound("Agent"))?;
                    let config = apply(tx, &scribe, &agent, order).await?;
                    let mut details = details;
                    if !config.is_empty() {
                        let patch = AgentPatch {
                            adapter_config: Some(Json::Object(config)),
                            ..AgentPatch::default()
                        };
                        let who = (scribe.by.actor(), keyring, seed);
                        (agent, _, _) = agents::change(tx, &mut scribe, &locks, &id, &patch, &who).await?;
                    }
                    if details.is_null() {
                        let now = Bundle::read(&agent.adapter_config);
                        details =
                            json!({ "mode": now.mode(), "rootPath": now.root(), "entryFile": now.entry() });
                    }
                    scribe.tell(tx, &agent.company_id, action, ("agent", id.as_str()), details).await?;
                    Ok(agent)
                })
            },
        );
        changed.await
    }
}

/// Does to the files what is to be done; returns what of the configuration changes.
async fn apply(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    agent: &Agent,
    order: Order,
) -> Result<Map<String, Json>, EngineError> {
    let now = Bundle::read(&agent.adapter_config);
    let clearing = |clears_legacy| Wanted { clears_legacy, ..Wanted::default() };
    let wanted = match order {
        Order::Change { wanted, seed } => {
            let patch = instructions::change(&now, &wanted).map_err(|fault| faulty(fault.field(), fault))?;
            let entry = patch.get(ENTRY_KEY).and_then(Json::as_str).unwrap_or(ENTRY);
            if let Some(content) = seed
                && rows::of_agent(tx, &agent.id, 1).await?.is_empty()
            {
                rows::put(tx, &file_of(agent, entry, content, scribe)).await?;
            }
            return Ok(patch);
        }
        Order::Name { path } => return Ok(Map::from_iter([(FILE_KEY.to_owned(), json!(path))])),
        Order::Prompt { content } => {
            return Ok(Map::from_iter([("promptTemplate".to_owned(), json!(content))]));
        }
        Order::Outside { clears_legacy } => clearing(clears_legacy),
        Order::Put { path, content, clears_legacy } => {
            if matches!(now.place, Place::External { .. } | Place::File { .. }) {
                return Err(moved_meanwhile());
            }
            let there = rows::of_agent(tx, &agent.id, MOST_FILES as i64).await?;
            let others: Vec<&InstructionFile> = there.iter().filter(|file| file.path != path).collect();
            let names = others.iter().map(|file| file.path.as_str());
            if let Some(other) = instructions::in_the_way(&path, names) {
                return Err(EngineError::refused(Kind::Conflict, format!("{other} is in the way of {path}")));
            }
            if others.len() >= MOST_FILES {
                return Err(refused(format!("A bundle has at most {MOST_FILES} files")));
            }
            let size = content.len() + others.iter().map(|file| file.content.len()).sum::<usize>();
            if size > LARGEST_BUNDLE {
                let most = LARGEST_BUNDLE / 1024;
                return Err(refused(format!("The files of a bundle are at most {most} KiB together")));
            }
            rows::put(tx, &file_of(agent, &path, content, scribe)).await?;
            let mode = (now.place == Place::Nowhere).then_some(Mode::Managed);
            Wanted { mode, ..clearing(clears_legacy) }
        }
        Order::Remove { path } => {
            if matches!(now.place, Place::External { .. } | Place::File { .. }) {
                return Err(moved_meanwhile());
            }
            if !rows::remove(tx, &agent.id, &path).await? {
                return Err(EngineError::NotFound("Instructions file"));
            }
            Wanted::default()
        }
    };
    instructions::change(&now, &wanted).map_err(|fault| faulty(fault.field(), fault))
}

fn moved_meanwhile() -> EngineError {
    let message = "Somebody changed where the instructions are at the same time";
    EngineError::refused(Kind::Conflict, message)
}

fn file_of(agent: &Agent, path: &str, content: String, scribe: &Scribe) -> InstructionFile {
    InstructionFile {
        agent_id: agent.id.clone(),
        path: path.to_owned(),
        company_id: agent.company_id.clone(),
        content,
        updated_at: scribe.now,
    }
}

/// The folder that a file of an external bundle is looked for in. Where only a file was named, only that one is reached:
/// nobody said that what lies beside it is for others.
fn reached(bundle: &Bundle, path: &str) -> Result<String, EngineError> {
    let is_named = !matches!(bundle.place, Place::File { .. }) || path == bundle.entry();
    match bundle.root() {
        Some(root) if is_named => Ok(root.to_owned()),
        Some(_) => Err(refused(
            "Only instructionsFilePath itself is reached: set the mode `external` to name its folder, or `managed`",
        )),
        None => Err(refused(
            "The instructions file is relative to where the agent works: name its folder with rootPath",
        )),
    }
}

fn legacy(prompt: &str) -> InstructionsFile {
    InstructionsFile {
        path: LEGACY_PROMPT.to_owned(),
        size: prompt.len() as u64,
        is_entry: false,
        is_legacy: true,
    }
}

fn text_of(path: String, content: String, entry: &str) -> InstructionsText {
    let is_entry = path == entry;
    let file = InstructionsFile { size: content.len() as u64, path, is_entry, is_legacy: false };
    InstructionsText { file, content }
}

impl Instructions {
    fn card(&self, path: &str, size: u64) -> InstructionsFile {
        InstructionsFile { path: path.to_owned(), size, is_entry: path == self.entry, is_legacy: false }
    }

    fn show_managed(&mut self, files: &[InstructionFile]) {
        self.files = files.iter().map(|file| self.card(&file.path, file.content.len() as u64)).collect();
        let folder = layout::folder_of(&self.managed_root, files);
        self.root = Some(folder.clone());
        self.entry_path = Some(folder.join(&self.entry));
        self.miss_entry();
    }

    fn show_folder(&mut self, listing: Result<Listing, FolderError>) {
        self.entry_path = self.root.as_ref().map(|root| root.join(&self.entry));
        match listing {
            Ok(listing) => {
                self.files = listing.files.iter().map(|(path, size)| self.card(path, *size)).collect();
                if listing.is_cut {
                    self.warnings.push(format!("At most {MOST_FILES} files are shown, and there are more."));
                }
                self.miss_entry();
            }
            Err(error) => {
                self.is_editable = false;
                self.warnings.push(format!("The folder of the instructions: {error}."));
            }
        }
    }

    fn show_file(&mut self, looked: Option<Result<String, FolderError>>) {
        match looked {
            None => {
                self.is_editable = false;
                let words =
                    "The instructions file is relative to where the agent works, and is not shown here.";
                self.warnings.push(words.to_owned());
            }
            Some(looked) => {
                self.entry_path = self.root.as_ref().map(|root| root.join(&self.entry));
                match looked {
                    Ok(text) => self.files = vec![self.card(&self.entry, text.len() as u64)],
                    Err(error) => self.warnings.push(format!("The instructions file: {error}.")),
                }
            }
        }
    }

    fn miss_entry(&mut self) {
        if !self.files.iter().any(|file| file.is_entry) {
            self.warnings.push(format!("The entry file `{}` does not exist.", self.entry));
        }
    }
}
