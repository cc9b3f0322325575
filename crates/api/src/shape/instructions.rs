//! Instructions of agents, as they are shown (spec/api.md ).

use std::path::Path;

use domain::instructions::{LEGACY_PROMPT, language};
use engine::{Instructions as Found, InstructionsFile as File, InstructionsText as Text};
use serde::Serialize;
use utoipa::ToSchema;

/// The instructions of an agent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstructionsBundle {
    agent_id: String,
    company_id: String,
    /// `managed` or `external`; null: it has none.
    mode: Option<&'static str>,
    /// The folder of the files. A managed bundle is laid out there for each run on the server that answers; its name
    /// follows from what the files say.
    root_path: Option<String>,
    /// Where managed bundles of the agent are laid out, on the server that answers.
    managed_root_path: String,
    entry_file: String,
    resolved_entry_path: Option<String>,
    editable: bool,
    warnings: Vec<String>,
    /// `promptTemplate` says something.
    legacy_prompt_template_active: bool,
    legacy_bootstrap_prompt_template_active: bool,
    files: Vec<InstructionsFile>,
}

/// A file of the bundle.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstructionsFile {
    path: String,
    /// In bytes.
    size: u64,
    language: &'static str,
    markdown: bool,
    is_entry_file: bool,
    editable: bool,
    /// It is `promptTemplate`; instructions are better kept in files.
    deprecated: bool,
    #[serde(rename = "virtual")]
    is_virtual: bool,
}

/// A file with what it says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InstructionsText {
    #[serde(flatten)]
    file: InstructionsFile,
    content: String,
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl From<Found> for InstructionsBundle {
    fn from(found: Found) -> InstructionsBundle {
        let is_editable = found.is_editable;
        let files = found.files.into_iter().map(InstructionsFile::from);
        InstructionsBundle {
            agent_id: found.agent.0,
            company_id: found.company.0,
            mode: found.mode.map(domain::instructions::Mode::as_str),
            root_path: found.root.as_deref().map(shown),
            managed_root_path: shown(&found.managed_root),
            entry_file: found.entry,
            resolved_entry_path: found.entry_path.as_deref().map(shown),
            editable: is_editable,
            warnings: found.warnings,
            legacy_prompt_template_active: found.has_prompt,
            legacy_bootstrap_prompt_template_active: found.has_bootstrap,
            files: files
                .map(|file| InstructionsFile { editable: is_editable || file.is_virtual, ..file })
                .collect(),
        }
    }
}

impl From<File> for InstructionsFile {
    fn from(file: File) -> InstructionsFile {
        let language = if file.is_legacy { language(LEGACY_PROMPT) } else { language(&file.path) };
        InstructionsFile {
            size: file.size,
            language,
            markdown: language == "markdown",
            is_entry_file: file.is_entry,
            editable: true,
            deprecated: file.is_legacy,
            is_virtual: file.is_legacy,
            path: file.path,
        }
    }
}

impl From<Text> for InstructionsText {
    fn from(text: Text) -> InstructionsText {
        InstructionsText { file: text.file.into(), content: text.content }
    }
}
