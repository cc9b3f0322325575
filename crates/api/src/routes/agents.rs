//! Agents: list, create, show, change, and the switches: pause, resume, terminate, cancel their work.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use domain::access;
use domain::agent::{AgentStatus, PauseReason, Role};
use domain::ids::{AgentId, CompanyId, looks_like_id};
use domain::wake::Actor;
use engine::{AgentDraft, AgentPatch, Engine};
use serde::Deserialize;
use serde_json::{Map, Value};
use store::agents as rows;
use utoipa::ToSchema;

use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Ignored, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked, cursor_of};
use crate::shape::agent::{Agent, AgentDetail};
use crate::shape::wake::StopReport;

/// Managers above an agent that are shown.
const LONGEST_CHAIN: usize = 50;

/// Keys of a configuration that only people set.
pub(crate) const INSTRUCTION_PATHS: [&str; 5] = [
    "instructionsBundleMode",
    "instructionsRootPath",
    "instructionsEntryFile",
    "instructionsFilePath",
    "agentsMdPath",
];

/// Icons that clients can draw.
pub(crate) const ICONS: [&str; 41] = [
    "bot",
    "cpu",
    "brain",
    "zap",
    "rocket",
    "code",
    "terminal",
    "shield",
    "eye",
    "search",
    "wrench",
    "hammer",
    "lightbulb",
    "sparkles",
    "star",
    "heart",
    "flame",
    "bug",
    "cog",
    "database",
    "globe",
    "lock",
    "mail",
    "message-square",
    "file-code",
    "git-branch",
    "package",
    "puzzle",
    "target",
    "wand",
    "atom",
    "circuit-board",
    "radar",
    "swords",
    "telescope",
    "microscope",
    "crown",
    "gem",
    "hexagon",
    "pentagon",
    "fingerprint",
];

/// The agents of a company that are not terminated, oldest first. Takes no query parameters; the cursor travels in the
/// `Bugle-Cursor` header.
#[utoipa::path(get, path = "/companies/{company}/agents", tag = "agents",
    params(("company" = String, Path)),
    responses((status = 200, body = Vec<Agent>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn list(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    match asked.names()[..] {
        [] => {}
        [one] => {
            return Err(ApiError::bad_request(
                "unsupported_query",
                format!("Unsupported query parameter: {one}"),
            ));
        }
        ref several => {
            let text = format!("Unsupported query parameters: {}", several.join(", "));
            return Err(ApiError::bad_request("unsupported_query", text));
        }
    }
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    let may_read = caller.may_read_configurations(&company);
    let after = asked.place()?.map(|(at, id)| (at, AgentId(id)));
    let found = state
        .engine
        .store()
        .read(move |tx| {
            let (company, after) = (company.clone(), after.clone());
            Box::pin(async move { rows::list(tx, &company, after, paging::MOST + 1).await })
        })
        .await?;
    let ids: Vec<AgentId> = found.iter().map(|row| row.id.clone()).collect();
    let spent: HashMap<AgentId, i64> = state.engine.spent_this_month(&ids).await?.into_iter().collect();
    let place = |row: &rows::Agent| cursor_of(row.created_at, row.id.as_str());
    let shaped = |row: rows::Agent| {
        let spent = spent.get(&row.id).copied().unwrap_or(0);
        let shown = Agent::new(row, spent);
        if may_read { shown } else { shown.restricted() }
    };
    Ok(paging::page(found, paging::MOST, place, |rows| rows.into_iter().map(shaped).collect()))
}

/// An agent with what it has spent this month.
pub(crate) async fn shaped(engine: &Engine, row: rows::Agent) -> Result<Agent, ApiError> {
    let spent = engine.spent_this_month(std::slice::from_ref(&row.id)).await?;
    let spent = spent.first().map_or(0, |(_, micros)| *micros);
    Ok(Agent::new(row, spent))
}

/// An agent with everything around it, as far as the caller may see it.
pub(crate) async fn detail(
    engine: &Engine,
    row: rows::Agent,
    shows_configuration: bool,
) -> Result<AgentDetail, ApiError> {
    let managers = chain_of(engine, &row).await?;
    let access = engine.agent_access(&row).await?;
    let shown = shaped(engine, row.clone()).await?;
    let shown = if shows_configuration { shown } else { shown.restricted() };
    Ok(AgentDetail::new(shown, &row, managers, access))
}

/// One agent with its managers and rights.
#[utoipa::path(get, path = "/agents/{agent}", tag = "agents",
    params(("agent" = String, Path, description = "id or short name"), ("companyId" = Option<String>, Query, description = "for a short name")),
    responses((status = 200, body = AgentDetail), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn show(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<AgentDetail>, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    let is_itself = matches!(caller.who(), access::Actor::Agent(actor) if actor.agent == agent.id);
    let shows_configuration = is_itself || caller.may_read_configurations(&agent.company_id);
    Ok(Json(detail(&state.engine, agent, shows_configuration).await?))
}

/// The managers above an agent, the nearest first; no further than its company.
async fn chain_of(engine: &Engine, agent: &rows::Agent) -> Result<Vec<rows::Agent>, ApiError> {
    let (first, start, home) = (agent.reports_to.clone(), agent.id.clone(), agent.company_id.clone());
    let managers = engine.store().read(move |tx| {
        let (mut next, mut seen, home) = (first.clone(), vec![start.clone()], home.clone());
        Box::pin(async move {
            let mut managers = Vec::new();
            while let Some(id) = next.take() {
                if managers.len() == LONGEST_CHAIN || seen.contains(&id) {
                    break;
                }
                let manager = rows::get(tx, &id).await?.filter(|manager| manager.company_id == home);
                let Some(manager) = manager else { break };
                next.clone_from(&manager.reports_to);
                seen.push(id);
                managers.push(manager);
            }
            Ok(managers)
        })
    });
    Ok(managers.await?)
}

/// A new agent, or a change of one: what is absent stays or has its default.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentBody {
    /// Required for a new agent.
    name: Option<String>,
    #[schema(value_type = Option<String>)]
    role: Option<Role>,
    #[schema(value_type = Option<String>)]
    title: Option<Option<String>>,
    #[schema(value_type = Option<String>)]
    icon: Option<Option<String>>,
    /// The id of its manager.
    #[schema(value_type = Option<String>)]
    reports_to: Option<Option<AgentId>>,
    #[schema(value_type = Option<String>)]
    capabilities: Option<Option<String>>,
    /// `process` when absent.
    adapter_type: Option<String>,
    #[schema(value_type = Option<Object>)]
    adapter_config: Option<Map<String, Value>>,
    /// For a change: the configuration replaces the stored one instead of being merged into it.
    replace_adapter_config: Option<bool>,
    #[schema(value_type = Option<Object>)]
    runtime_config: Option<Map<String, Value>>,
    /// What its runs work in when neither issue nor project says; null: the company's default.
    default_environment_id: Option<Option<String>>,
    /// For a change, by people: `paused` pauses the agent, `idle` and `active` resume it.
    #[schema(value_type = Option<String>)]
    status: Option<AgentStatus>,
    #[schema(minimum = 0)]
    budget_monthly_cents: Option<i64>,
    /// For a new agent only.
    #[schema(value_type = Option<Object>)]
    permissions: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Option<Map<String, Value>>>,
}

impl AgentBody {
    pub(crate) fn read(fields: &mut Fields, is_new: bool) -> AgentBody {
        let name = if is_new {
            Some(fields.required_text("name"))
        } else {
            let name = fields.text("name");
            fields.not_blank("name", name)
        };
        let adapter_type = fields.text("adapterType");
        let reports_to = fields.nullable_text("reportsTo").map(|id| id.map(|id| id.to_ascii_lowercase()));
        if let Some(Some(id)) = &reports_to
            && !looks_like_id(id)
        {
            fields.mistake("invalid_string", "reportsTo", "Invalid uuid");
        }
        let icon = fields.nullable_text("icon");
        if let Some(Some(name)) = &icon
            && !ICONS.contains(&name.as_str())
        {
            fields.mistake("invalid_enum_value", "icon", format!("Unknown icon '{name}'"));
        }
        AgentBody {
            name,
            role: fields.word("role", Role::ALL, Role::as_str),
            title: fields.nullable_text("title"),
            icon,
            reports_to: reports_to.map(|id| id.map(AgentId)),
            capabilities: fields.nullable_text("capabilities"),
            adapter_type: fields.not_blank("adapterType", adapter_type).map(|kind| kind.trim().to_owned()),
            adapter_config: Self::configuration(fields),
            replace_adapter_config: if is_new { None } else { fields.boolean("replaceAdapterConfig") },
            runtime_config: fields.object("runtimeConfig"),
            default_environment_id: fields.nullable_id("defaultEnvironmentId"),
            status: if is_new { None } else { fields.word("status", AgentStatus::ALL, AgentStatus::as_str) },
            budget_monthly_cents: fields.count("budgetMonthlyCents"),
            permissions: Self::permissions(fields, is_new),
            metadata: fields.nullable_object("metadata"),
        }
    }

    /// `adapterConfig`, with the skills that are named beside it.
    fn configuration(fields: &mut Fields) -> Option<Map<String, Value>> {
        let config = fields.object("adapterConfig");
        let Some(skills) = fields.texts("desiredSkills") else { return config };
        let mut config = config.unwrap_or_default();
        config.insert("paperclipSkillSync".to_owned(), serde_json::json!({ "desiredSkills": skills }));
        Some(config)
    }

    fn permissions(fields: &mut Fields, is_new: bool) -> Option<Map<String, Value>> {
        if !is_new && fields.has("permissions") {
            fields.mistake("custom", "permissions", "Permissions cannot be changed here");
        }
        let given = fields.object("permissions")?;
        match given.get("canCreateAgents") {
            None | Some(Value::Bool(_)) => {}
            Some(_) => fields.mistake("invalid_type", "permissions.canCreateAgents", "Expected boolean"),
        }
        // Of what was given only this right exists.
        let right = given.get("canCreateAgents")?.clone();
        Some(Map::from_iter([("canCreateAgents".to_owned(), right)]))
    }

    pub(crate) fn draft(self) -> AgentDraft {
        let otherwise = AgentDraft::default();
        let object = |map: Option<Map<String, Value>>, otherwise| map.map_or(otherwise, Value::Object);
        AgentDraft {
            name: self.name.unwrap_or_default(),
            role: self.role.unwrap_or(otherwise.role),
            title: self.title.flatten(),
            icon: self.icon.flatten(),
            reports_to: self.reports_to.flatten(),
            capabilities: self.capabilities.flatten(),
            adapter_type: self.adapter_type.unwrap_or(otherwise.adapter_type),
            adapter_config: object(self.adapter_config, otherwise.adapter_config),
            runtime_config: object(self.runtime_config, otherwise.runtime_config),
            default_environment_id: self.default_environment_id.flatten(),
            budget_monthly_cents: self.budget_monthly_cents.unwrap_or(otherwise.budget_monthly_cents),
            permissions: self.permissions.map(Value::Object),
            metadata: self.metadata.flatten().map(Value::Object),
        }
    }

    /// Refuses an agent that makes one which works on a machine, or reads files of this one, that nobody gave it.
    pub(crate) fn may_come_from(&self, caller: &Caller, company: &CompanyId) -> Result<(), ApiError> {
        if self.names_environment() {
            caller.chooser_of_environments(company)?;
        }
        match caller.who() {
            access::Actor::Agent(_) => self.refuse_instruction_paths(),
            access::Actor::Board(_) | access::Actor::Nobody => Ok(()),
        }
    }

    /// Agents do not choose the machine that agents work on, unless they may.
    fn names_environment(&self) -> bool {
        self.default_environment_id.is_some()
    }

    /// Of a configuration that takes the place of another: what its author may not set stays.
    fn keep_instruction_paths(&mut self, before: &Value) {
        let Some(config) = self.adapter_config.as_mut().filter(|_| self.replace_adapter_config == Some(true))
        else {
            return;
        };
        let kept =
            INSTRUCTION_PATHS.iter().filter_map(|key| Some(((*key).to_owned(), before.get(*key)?.clone())));
        config.extend(kept);
    }

    /// Agents do not say where instructions are read from on this machine.
    fn refuse_instruction_paths(&self) -> Result<(), ApiError> {
        let config = self.adapter_config.as_ref();
        let named =
            INSTRUCTION_PATHS.iter().find(|key| config.is_some_and(|config| config.contains_key(**key)));
        match named {
            None => Ok(()),
            Some(key) => {
                let words = format!("Agent keys cannot modify instruction paths ({key})");
                Err(ApiError::forbidden("forbidden", words))
            }
        }
    }

    fn patch(self) -> AgentPatch {
        AgentPatch {
            name: self.name,
            role: self.role,
            title: self.title,
            icon: self.icon,
            reports_to: self.reports_to,
            capabilities: self.capabilities,
            adapter_type: self.adapter_type,
            adapter_config: self.adapter_config.map(Value::Object),
            replace_adapter_config: self.replace_adapter_config.unwrap_or(false),
            runtime_config: self.runtime_config.map(Value::Object),
            default_environment_id: self.default_environment_id,
            status: self.status,
            budget_monthly_cents: self.budget_monthly_cents,
            is_proven: false,
            rolled_back: None,
            metadata: self.metadata.map(|map| map.map(Value::Object)),
        }
    }
}

fn read(body: &[u8], is_new: bool) -> Result<(AgentBody, Ignored), ApiError> {
    let mut fields = Fields::read(body)?;
    let read = AgentBody::read(&mut fields, is_new);
    Ok((read, fields.drop_rest()?))
}

/// Creates an agent. A name that is taken gets a number.
#[utoipa::path(post, path = "/companies/{company}/agents", tag = "agents", request_body = AgentBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Agent), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn create(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let (draft, ignored) = read(&body, true)?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.configuration_reader(&company)?;
    draft.may_come_from(&caller, &company)?;
    let by = caller.author(&company)?;
    let agent = state.engine.take_on_agent(&company, draft.draft(), &by).await?;
    Ok(naming(&ignored, (StatusCode::CREATED, Json(Agent::new(agent, 0)))))
}

/// Changes an agent.
#[utoipa::path(patch, path = "/agents/{agent}", tag = "agents", request_body = AgentBody,
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Agent), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn change(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let (mut patch, ignored) = read(&body, false)?;
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.agent_editor(&agent.company_id, &agent.id)?;
    if patch.names_environment() {
        caller.chooser_of_environments(&agent.company_id)?;
    }
    if patch.status.is_some() {
        // As for the switches.
        caller.board_manager(&agent.company_id)?;
    }
    if matches!(caller.who(), access::Actor::Agent(_)) {
        patch.refuse_instruction_paths()?;
        patch.keep_instruction_paths(&agent.adapter_config);
    }
    let patch = AgentPatch { is_proven: caller.is_person(&agent.company_id), ..patch.patch() };
    let agent = state.engine.patch_agent(&agent.id, patch, &caller.actor()).await?;
    Ok(naming(&ignored, Json(shaped(&state.engine, agent).await?)))
}

/// The agent that a switch is for, and who turns it: what all switches are asked with.
pub(crate) struct Switch {
    engine: Engine,
    agent: AgentId,
    actor: Actor,
}

impl FromRequestParts<ApiState> for Switch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Switch, ApiError> {
        let Named(reference) = Named::<String>::from_request_parts(parts, state).await?;
        let Ok(asked) = Asked::from_request_parts(parts, state).await;
        let caller = Caller::from_request_parts(parts, state).await?;
        let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
        caller.board_manager(&agent.company_id)?;
        Ok(Switch { engine: state.engine.clone(), agent: agent.id, actor: caller.actor() })
    }
}

/// Pauses an agent: what runs is stopped, what waits is held until it is resumed.
#[utoipa::path(post, path = "/agents/{agent}/pause", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Agent), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn pause(Switch { engine, agent, actor }: Switch) -> Result<Json<Agent>, ApiError> {
    let agent = engine.pause_agent(&agent, PauseReason::Manual, &actor).await?;
    Ok(Json(shaped(&engine, agent).await?))
}

/// Resumes a paused agent.
#[utoipa::path(post, path = "/agents/{agent}/resume", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Agent), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn resume(Switch { engine, agent, actor }: Switch) -> Result<Json<Agent>, ApiError> {
    let agent = engine.resume_agent(&agent, &actor).await?;
    Ok(Json(shaped(&engine, agent).await?))
}

/// Terminates an agent: all its work is cancelled, and it is never woken again.
#[utoipa::path(post, path = "/agents/{agent}/terminate", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Agent), (status = 404, body = ErrorBody)))]
pub(crate) async fn terminate(Switch { engine, agent, actor }: Switch) -> Result<Json<Agent>, ApiError> {
    let agent = engine.terminate_agent(&agent, &actor).await?;
    Ok(Json(shaped(&engine, agent).await?))
}

/// Lets an agent in that waits for its approval.
#[utoipa::path(post, path = "/agents/{agent}/approve", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = Agent), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub(crate) async fn approve(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<Agent>, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.board_manager(&agent.company_id)?;
    // It decides the request that the agent waits with.
    caller.person(&agent.company_id)?;
    let by = caller.author(&agent.company_id)?;
    let agent = state.engine.approve_agent(&agent.id, &by).await?;
    Ok(Json(shaped(&state.engine, agent).await?))
}

/// Cancels all work of an agent, what runs and what waits; the agent stays as it is.
#[utoipa::path(post, path = "/agents/{agent}/cancel-work", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = StopReport), (status = 404, body = ErrorBody)))]
pub(crate) async fn cancel_work(
    Switch { engine, agent, actor }: Switch,
) -> Result<Json<StopReport>, ApiError> {
    Ok(Json(engine.cancel_work(&agent, &actor).await?.into()))
}
