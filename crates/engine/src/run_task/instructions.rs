//! The instructions of a run: laid out where its program, or its adapter, reads them.
//!
//! Which file that is stands in the configuration that this run is started with, and nowhere else. Instructions that cannot
//! be had are a warning of the run and no reason to fail it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use domain::instructions::{Bundle, FILE_KEY, LARGEST_FILE, MOST_FILES, Place};
use serde_json::json;
use store::instructions;

use super::Tending;
use crate::instructions::{layout, managed_root};
use crate::processes::beside;
use crate::signals;
use crate::skills::are_supported;

/// What was made of a bundle for this run.
struct Given {
    /// The entry file.
    file: PathBuf,
    /// What two versions are told apart by.
    version: String,
    /// Files that the program is not told of and cannot read.
    left_out: Vec<String>,
}

/// What it takes to lay a bundle out, away from the task.
struct Layout {
    place: Place,
    files: Vec<instructions::InstructionFile>,
    managed_root: PathBuf,
    /// Bugle's own folder.
    ours: PathBuf,
    /// Where the agent works, on this machine.
    folder: PathBuf,
    is_elsewhere: bool,
}

impl Layout {
    /// `None`: there are none. Blocks.
    fn lay_out(self) -> Result<Option<Given>, String> {
        let told = |error: std::io::Error| error.to_string();
        let (entry, texts) = match &self.place {
            Place::Nowhere => return Ok(None),
            Place::File { path } => {
                let file = self.folder.join(path);
                let version = beginning(&file).map_err(told)?;
                return Ok(Some(Given { file, version: crate::key_hash(&version), left_out: Vec::new() }));
            }
            Place::Managed { entry } => {
                if !self.files.iter().any(|file| file.path == *entry) {
                    return Err(format!("there is no file `{entry}`"));
                }
                if !self.is_elsewhere {
                    let folder = layout::lay_out(&self.managed_root, &self.files).map_err(told)?;
                    // Its session was told of this folder: another version lies in another one.
                    let version = format!("{entry} {}", layout::digest(&self.files));
                    return Ok(Some(Given { file: folder.join(entry), version, left_out: Vec::new() }));
                }
                let texts = self.files.iter().map(|file| (file.path.clone(), file.content.clone()));
                (entry, texts.collect::<Vec<_>>())
            }
            Place::External { root, entry } => {
                let root = Path::new(root);
                if !self.is_elsewhere {
                    let file = layout::find_outside(root, &self.ours, entry)?;
                    let version = format!("{} {}", file.display(), beginning(&file).map_err(told)?);
                    return Ok(Some(Given {
                        file,
                        version: crate::key_hash(&version),
                        left_out: Vec::new(),
                    }));
                }
                (entry, layout::read_outside(root, &self.ours, entry)?)
            }
        };
        let (file, left_out) = layout::lay_out_joined(&self.managed_root, entry, &texts).map_err(told)?;
        let version = file.display().to_string();
        Ok(Some(Given { file, version, left_out }))
    }
}

/// The beginning of a file, as much as is told of it.
fn beginning(path: &Path) -> std::io::Result<String> {
    // A pipe would be waited for.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Tending<'_> {
    /// Loads and lays out the instructions of the run, behind the choice of where it works; false when the server leaves
    /// first.
    pub(super) async fn give_instructions(&mut self) -> bool {
        if !are_supported(&self.agent.adapter_type) {
            return true;
        }
        let place = Bundle::read(&self.agent.adapter_config).place;
        let mut files = Vec::new();
        if matches!(place, Place::Managed { .. }) {
            let loaded = self.read_patiently("the instructions", self.agent.id.clone(), |tx, agent| {
                Box::pin(async move { instructions::of_agent(tx, &agent, MOST_FILES as i64).await })
            });
            let Some(loaded) = loaded.await else { return false };
            files = loaded;
        }
        let data_dir = &self.engine.settings.data_dir;
        let elsewhere = self.place.as_deref().filter(|placed| placed.host().is_some());
        let layout = Layout {
            place: place.clone(),
            files,
            managed_root: managed_root(data_dir, &self.run.company_id, &self.agent.id),
            ours: data_dir.clone(),
            folder: match elsewhere {
                Some(placed) => placed.local().to_owned(),
                None => self.with_setup(adapters::folder_of),
            },
            is_elsewhere: elsewhere.is_some(),
        };
        let laid = beside(&self.engine.processes, move || layout.lay_out()).await;
        let given = laid.unwrap_or_else(|error| Err(error.to_string()));
        let version = match &given {
            Ok(Some(given)) => given.version.clone(),
            Ok(None) | Err(_) => crate::key_hash(""),
        };
        let told_once = self.bundle.take();
        self.bundle = told_once.map(|skills| crate::key_hash(&format!("{skills} {version}")));
        self.name_file(&place, given);
        true
    }

    /// Puts the file into the configuration of this run.
    fn name_file(&mut self, place: &Place, given: Result<Option<Given>, String>) {
        let Some(config) = self.agent.adapter_config.as_object_mut() else { return };
        match given {
            Ok(None) => {}
            Ok(Some(given)) => {
                config.insert(FILE_KEY.to_owned(), json!(given.file));
                if !given.left_out.is_empty() {
                    let payload = json!({ "files": given.left_out });
                    let message =
                        "files of the instructions do not fit, and are not on the machine of the run";
                    self.events.push(signals::lifecycle("warn", message, Some(payload)));
                }
            }
            // Its adapter says so.
            Err(_) if matches!(place, Place::File { .. }) => {}
            Err(error) => {
                config.remove(FILE_KEY);
                let payload = json!({ "error": error });
                let message = "the instructions cannot be had, so the agent works without them";
                self.events.push(signals::lifecycle("warn", message, Some(payload)));
            }
        }
    }
}
