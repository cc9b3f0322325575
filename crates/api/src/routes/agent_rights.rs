//! Agents: who one is, how it is configured, hiring one, and what it may do and spend.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::access::Actor;
use domain::agent::Role;
use domain::budget::{Scope, ScopeKind};
use domain::ids::{AgentId, IssueId, looks_like_id};
use serde::Deserialize;
use store::agents as rows;
use utoipa::ToSchema;

use super::agents::{AgentBody, detail, shaped};
use super::naming;
use crate::ApiState;
use crate::actor::Caller;
use crate::body::{Fields, Payload};
use crate::errors::{ApiError, ErrorBody};
use crate::lookup::{self, Named};
use crate::paging::{self, Asked, cursor_of};
use crate::shape::agent::{Agent, AgentConfiguration, AgentDetail};
use crate::shape::approval::{Approval, Hired};

/// The agent that asks.
#[utoipa::path(get, path = "/agents/me", tag = "agents",
    responses((status = 200, body = AgentDetail), (status = 401, body = ErrorBody)))]
pub(crate) async fn me(State(state): State<ApiState>, caller: Caller) -> Result<Json<AgentDetail>, ApiError> {
    let id = caller.agent()?.agent.clone();
    let found = state.engine.store().read(move |tx| {
        let id = id.clone();
        Box::pin(async move { rows::get(tx, &id).await })
    });
    let row = found.await?.ok_or_else(|| ApiError::not_found("Agent"))?;
    Ok(Json(detail(&state.engine, row, true).await?))
}

/// How an agent is configured, without its secrets.
#[utoipa::path(get, path = "/agents/{agent}/configuration", tag = "agents",
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = AgentConfiguration), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn configuration(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Json<AgentConfiguration>, ApiError> {
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    caller.configuration_reader(&agent.company_id)?;
    Ok(Json(agent.into()))
}

/// How the agents of a company are configured, without their secrets, oldest first.
#[utoipa::path(get, path = "/companies/{company}/agent-configurations", tag = "agents",
    params(("company" = String, Path), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Vec<AgentConfiguration>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn configurations(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    asked: Asked,
    caller: Caller,
) -> Result<Response, ApiError> {
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.configuration_reader(&company)?;
    let after = asked.place()?.map(|(at, id)| (at, AgentId(id)));
    let found = state.engine.store().read(move |tx| {
        let (company, after) = (company.clone(), after.clone());
        Box::pin(async move { rows::list(tx, &company, after, paging::MOST + 1).await })
    });
    let place = |row: &rows::Agent| cursor_of(row.created_at, row.id.as_str());
    Ok(paging::page(found.await?, paging::MOST, place, |rows| {
        rows.into_iter().map(AgentConfiguration::from).collect()
    }))
}

/// An agent to hire, and the issues that it is hired for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HireBody {
    #[serde(flatten)]
    agent: AgentBody,
    source_issue_id: Option<String>,
    source_issue_ids: Option<Vec<String>>,
}

/// Hires an agent. Where the company wants it, a person decides first: the agent waits, and the approval is in the answer.
#[utoipa::path(post, path = "/companies/{company}/agent-hires", tag = "agents", request_body = HireBody,
    params(("company" = String, Path)),
    responses((status = 201, body = Hired), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn hire(
    State(state): State<ApiState>,
    Named(company): Named<String>,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = HireBody {
        agent: AgentBody::read(&mut fields, true),
        source_issue_id: fields.id("sourceIssueId"),
        source_issue_ids: fields.ids("sourceIssueIds"),
    };
    let ignored = fields.drop_rest()?;
    let company = lookup::company(&state.engine, &caller, &company).await?.id;
    caller.configuration_reader(&company)?;
    read.agent.may_come_from(&caller, &company)?;
    let by = caller.author(&company)?;
    let mut issues: Vec<String> =
        read.source_issue_id.into_iter().chain(read.source_issue_ids.into_iter().flatten()).collect();
    issues.sort();
    issues.dedup();
    let issues = issues.into_iter().map(IssueId).collect();
    let (agent, approval) = state.engine.hire_agent(&company, read.agent.draft(), issues, &by).await?;
    let shown = Hired { agent: Agent::new(agent, 0), approval: approval.map(Approval::from) };
    Ok(naming(&ignored, (StatusCode::CREATED, Json(shown))))
}

/// What an agent may do. Both are required.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PermissionsBody {
    can_create_agents: bool,
    can_assign_tasks: bool,
}

/// Says what an agent may do.
#[utoipa::path(patch, path = "/agents/{agent}/permissions", tag = "agents", request_body = PermissionsBody,
    params(("agent" = String, Path), ("companyId" = Option<String>, Query)),
    responses((status = 200, body = AgentDetail), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn permissions(
    State(state): State<ApiState>,
    Named(reference): Named<String>,
    asked: Asked,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = PermissionsBody {
        can_create_agents: fields.required_boolean("canCreateAgents"),
        can_assign_tasks: fields.required_boolean("canAssignTasks"),
    };
    let ignored = fields.drop_rest()?;
    let agent = lookup::agent(&state.engine, &caller, &reference, &asked).await?;
    match caller.who() {
        Actor::Agent(actor) if actor.role != Role::Ceo => {
            return Err(ApiError::forbidden("forbidden", "Only CEO can manage permissions"));
        }
        Actor::Agent(_) => {}
        Actor::Board(_) | Actor::Nobody => {
            caller.board_manager(&agent.company_id)?;
        }
    }
    let by = caller.author(&agent.company_id)?;
    let (creates, assigns) = (read.can_create_agents, read.can_assign_tasks);
    let agent = state.engine.set_agent_permissions(&agent.id, creates, assigns, &by).await?;
    Ok(naming(&ignored, Json(detail(&state.engine, agent, true).await?)))
}

/// The amount of a month.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MonthlyBody {
    #[schema(minimum = 0)]
    budget_monthly_cents: i64,
}

impl MonthlyBody {
    pub(crate) fn read(fields: &mut Fields) -> MonthlyBody {
        MonthlyBody { budget_monthly_cents: fields.required_count("budgetMonthlyCents") }
    }

    pub(crate) fn cents(&self) -> i64 {
        self.budget_monthly_cents
    }
}

/// Sets what an agent may spend in a month; 0 is no limit. Only a person may loosen it.
#[utoipa::path(patch, path = "/agents/{agent}/budgets", tag = "agents", request_body = MonthlyBody,
    params(("agent" = String, Path, description = "its id")),
    responses((status = 200, body = Agent), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub(crate) async fn budgets(
    State(state): State<ApiState>,
    Named(id): Named<String>,
    asked: Asked,
    caller: Caller,
    Payload(body): Payload,
) -> Result<Response, ApiError> {
    let mut fields = Fields::read(&body)?;
    let read = MonthlyBody::read(&mut fields);
    let ignored = fields.drop_rest()?;
    if !looks_like_id(&id) {
        return Err(ApiError::not_found("Agent"));
    }
    let agent = lookup::agent(&state.engine, &caller, &id, &asked).await?;
    let company = agent.company_id.clone();
    caller.board_of(&company)?;
    let scope = Scope { kind: ScopeKind::Agent, id: agent.id.0.clone() };
    let (by, is_person) = (caller.author(&company)?, caller.is_person(&company));
    state.engine.set_monthly_budget(&company, scope, read.cents(), &by, is_person).await?;
    let agent = lookup::agent(&state.engine, &caller, &id, &asked).await?;
    Ok(naming(&ignored, Json(shaped(&state.engine, agent).await?)))
}
