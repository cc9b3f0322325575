//! What agents are told before anything else: where it is read from, and its files (spec/api.md ).
//!
//! Everybody of a company reads them; only people write them, for they name files of this machine and are what an agent
//! goes by.

use std::path::Path;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use domain::instructions::{FILE_KEY, Mode, Wanted};
use engine::{Author, Engine};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::agents::Agent;
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::Asked;
use crate::shape::instructions::{InstructionsBundle, InstructionsText};

const BOARD_ONLY: &str =
    "Only board-authenticated callers can manage instructions path or bundle configuration";

/// The path, or null for none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PathBody {
    /// Absolute, or below an absolute `adapterConfig.cwd`.
    path: Option<String>,
    /// `instructionsFilePath`.
    adapter_config_key: Option<String>,
}

/// What it is now.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstructionsPath {
    agent_id: String,
    adapter_type: String,
    adapter_config_key: &'static str,
    path: Option<String>,
}

/// The agent of a request, and who asks: what all of these are asked with.
pub(crate) struct About {
    engine: Engine,
    agent: Agent,
    caller: Caller,
    asked: Asked,
}

impl FromRequestParts<ApiState> for About {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<About, ApiError> {
        let Named(reference) = Named::<String>::from_request_parts(parts, state).await?;
        let Ok(asked) = Asked::from_request_parts(parts, state).await;
        let caller = Caller::from_request_parts(parts, state).await?;
        let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
        Ok(About { engine: state.engine.clone(), agent, caller, asked })
    }
}

impl About {
    /// In whose name it is written; agents may not.
    fn writer(&self) -> Result<Author, ApiError> {
        if self.caller.agent().is_ok() {
            return Err(ApiError::forbidden("forbidden", BOARD_ONLY));
        }
        self.caller.board_manager(&self.agent.company_id)?;
        self.caller.author(&self.agent.company_id)
    }

    /// The file that the query names.
    fn path(&self) -> Result<&str, ApiError> {
        let path = self.asked.get("path");
        path.ok_or_else(|| ApiError::unprocessable("unprocessable", "Query parameter 'path' is required"))
    }
}

/// Says where an agent's instructions are read from. People only: it names a file of this machine.
#[utoipa::path(patch, path = "/agents/{agent}/instructions-path", tag = "agents", request_body = PathBody,
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = InstructionsPath), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn set_path(about: About, Payload(bytes): Payload) -> Result<Response, ApiError> {
    let author = about.writer()?;
    let mut fields = Fields::read(&bytes)?;
    if !fields.has("path") {
        fields.mistake("invalid_type", "path", "Required");
    }
    let path = fields.nullable_text("path").flatten();
    let path = fields.not_blank("path", path).map(|path| path.trim().to_owned());
    let body = PathBody { path, adapter_config_key: fields.text("adapterConfigKey") };
    if body.adapter_config_key.as_deref().is_some_and(|key| key.trim() != FILE_KEY) {
        fields.mistake("invalid_enum_value", "adapterConfigKey", format!("must be {FILE_KEY}"));
    }
    let ignored = fields.drop_rest()?;
    let cwd = about.agent.adapter_config.get("cwd").and_then(Value::as_str).map(Path::new);
    let path = match body.path {
        Some(path) if !Path::new(&path).is_absolute() => {
            let cwd = cwd.filter(|cwd| cwd.is_absolute()).ok_or_else(|| {
                let words = "A relative instructions path needs an absolute adapterConfig.cwd";
                ApiError::unprocessable("unprocessable", words)
            })?;
            Some(cwd.join(path).to_string_lossy().into_owned())
        }
        absolute_or_none => absolute_or_none,
    };
    let changed = about.engine.set_instructions_path(&about.agent.id, path.clone(), &author).await?;
    let answer = InstructionsPath {
        agent_id: changed.id.0,
        adapter_type: changed.adapter_type,
        adapter_config_key: FILE_KEY,
        path,
    };
    Ok(naming(&ignored, Json(answer)))
}

/// The instructions of an agent, with the names of their files.
#[utoipa::path(get, path = "/agents/{agent}/instructions-bundle", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = InstructionsBundle), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(crate) async fn show(about: About) -> Result<Json<InstructionsBundle>, ApiError> {
    Ok(Json(about.engine.instructions(&about.agent.id).await?.into()))
}

/// What is to be changed; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BundleBody {
    /// `managed`: Bugle keeps the files; `external`: they are those of a folder of the server's machine.
    #[schema(value_type = Option<String>)]
    mode: Option<Mode>,
    /// The folder of an external bundle, absolute.
    root_path: Option<String>,
    /// The file that the program is told first, relative to the folder.
    entry_file: Option<String>,
    /// Takes `promptTemplate` and `bootstrapPromptTemplate` out of the configuration.
    clear_legacy_prompt_template: Option<bool>,
}

/// Says where an agent's instructions are kept. A bundle that becomes managed begins with the entry file of before.
#[utoipa::path(patch, path = "/agents/{agent}/instructions-bundle", tag = "agents", request_body = BundleBody,
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = InstructionsBundle), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn change(about: About, Payload(bytes): Payload) -> Result<Response, ApiError> {
    let author = about.writer()?;
    let mut fields = Fields::read(&bytes)?;
    let (root, entry) = (fields.text("rootPath"), fields.text("entryFile"));
    let body = BundleBody {
        mode: fields.word("mode", Mode::ALL, Mode::as_str),
        root_path: fields.not_blank("rootPath", root),
        entry_file: fields.not_blank("entryFile", entry),
        clear_legacy_prompt_template: fields.boolean("clearLegacyPromptTemplate"),
    };
    let ignored = fields.drop_rest()?;
    let wanted = Wanted {
        mode: body.mode,
        root: body.root_path,
        entry: body.entry_file,
        clears_legacy: body.clear_legacy_prompt_template.unwrap_or(false),
    };
    let changed = about.engine.change_instructions(&about.agent.id, wanted, &author).await?;
    Ok(naming(&ignored, Json(InstructionsBundle::from(changed))))
}

/// One file of the instructions.
#[utoipa::path(get, path = "/agents/{agent}/instructions-bundle/file", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query), ("path" = String, Query)),
    responses((status = 200, body = InstructionsText), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn file(about: About) -> Result<Json<InstructionsText>, ApiError> {
    let path = about.path()?;
    Ok(Json(about.engine.instructions_file(&about.agent.id, path).await?.into()))
}

/// A file, as it is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileBody {
    /// Relative to the folder of the instructions.
    path: String,
    #[schema(max_length = 262_144)]
    content: String,
    clear_legacy_prompt_template: Option<bool>,
}

/// Writes a file of the instructions. An agent that had none has a managed bundle then.
#[utoipa::path(put, path = "/agents/{agent}/instructions-bundle/file", tag = "agents", request_body = FileBody,
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = InstructionsText), (status = 400, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 422, body = ErrorBody)))]
pub(crate) async fn write(about: About, Payload(bytes): Payload) -> Result<Response, ApiError> {
    let author = about.writer()?;
    let mut fields = Fields::read(&bytes)?;
    let body = FileBody {
        path: fields.required_text("path"),
        content: fields.present_text("content"),
        clear_legacy_prompt_template: fields.boolean("clearLegacyPromptTemplate"),
    };
    let ignored = fields.drop_rest()?;
    let clears = body.clear_legacy_prompt_template.unwrap_or(false);
    let (engine, agent) = (&about.engine, &about.agent.id);
    let written = engine.write_instructions(agent, &body.path, body.content, clears, &author).await?;
    Ok(naming(&ignored, Json(InstructionsText::from(written))))
}

/// Removes a file of the instructions that is not the entry file.
#[utoipa::path(delete, path = "/agents/{agent}/instructions-bundle/file", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query), ("path" = String, Query)),
    responses((status = 200, body = InstructionsBundle), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn remove(about: About) -> Result<Json<InstructionsBundle>, ApiError> {
    let author = about.writer()?;
    let path = about.path()?;
    Ok(Json(about.engine.remove_instructions(&about.agent.id, path, &author).await?.into()))
}
