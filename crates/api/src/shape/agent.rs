//! Agents on the wire: the plain form, and the detail with whom it reports to and what it may do.

use domain::access as rules;
use domain::agent::Role;
use domain::moment::Moment;
use engine::AgentAccess;
use serde::Serialize;
use serde_json::{Map, Value};
use store::agents::Agent as Row;
use store::users;
use utoipa::ToSchema;

use super::cents;
use super::person::Membership;
use adapters::redacted;

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agent {
    id: String,
    company_id: String,
    name: String,
    /// The short name, usable in paths instead of the id.
    url_key: String,
    role: &'static str,
    title: Option<String>,
    icon: Option<String>,
    /// `active`, `paused`, `idle`, `running`, `error`, `pending_approval` or `terminated`.
    status: &'static str,
    reports_to: Option<String>,
    capabilities: Option<String>,
    adapter_type: String,
    /// Values that are secret by their names are marks; a mark that is sent back stands for what is stored.
    #[schema(value_type = Object)]
    adapter_config: Value,
    #[schema(value_type = Object)]
    runtime_config: Value,
    default_environment_id: Option<String>,
    budget_monthly_cents: i64,
    /// What was spent in the month of now, UTC.
    spent_monthly_cents: i64,
    /// `manual`, `budget` or `system`.
    pause_reason: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    paused_at: Option<Moment>,
    #[schema(value_type = Object)]
    permissions: Value,
    #[schema(value_type = Option<String>)]
    last_heartbeat_at: Option<Moment>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl Agent {
    /// `spent` in micro-dollars.
    pub(crate) fn new(row: Row, spent: i64) -> Agent {
        Agent {
            id: row.id.0,
            company_id: row.company_id.0,
            name: row.name,
            url_key: row.url_key,
            role: row.role.as_str(),
            title: row.title,
            icon: row.icon,
            status: row.status.as_str(),
            reports_to: row.reports_to.map(|id| id.0),
            capabilities: row.capabilities,
            adapter_type: row.adapter_type,
            adapter_config: redacted(row.adapter_config),
            runtime_config: row.runtime_config,
            default_environment_id: row.default_environment_id,
            budget_monthly_cents: row.budget_monthly_cents,
            spent_monthly_cents: cents(spent),
            pause_reason: row.pause_reason.map(|reason| reason.as_str()),
            paused_at: row.paused_at,
            permissions: row.permissions,
            last_heartbeat_at: row.last_heartbeat_at,
            metadata: row.metadata,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }

    /// As shown to those who may not read configurations.
    pub(crate) fn restricted(self) -> Agent {
        Agent { adapter_config: Value::Object(Map::new()), runtime_config: Value::Object(Map::new()), ..self }
    }
}

/// An agent with its managers and rights.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentDetail {
    #[serde(flatten)]
    agent: Agent,
    /// Its manager first, then that one's, at most 50.
    chain_of_command: Vec<Manager>,
    access: Access,
}

#[derive(Debug, Serialize, ToSchema)]
struct Manager {
    id: String,
    name: String,
    role: &'static str,
    title: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Access {
    can_assign_tasks: bool,
    /// Why: `ceo_role`, `agent_creator`, `explicit_grant` or `none`.
    task_assign_source: &'static str,
    membership: Option<Membership>,
    grants: Vec<Grant>,
}

/// A right that was given.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Grant {
    id: String,
    company_id: String,
    principal_type: String,
    principal_id: String,
    permission_key: String,
    #[schema(value_type = Option<Object>)]
    scope: Option<Value>,
    granted_by_user_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<users::Grant> for Grant {
    fn from(row: users::Grant) -> Grant {
        Grant {
            id: row.id,
            company_id: row.company_id.0,
            principal_type: row.principal_type,
            principal_id: row.principal_id,
            permission_key: row.permission_key,
            scope: row.scope,
            granted_by_user_id: row.granted_by_user_id,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl AgentDetail {
    /// `agent` is shaped already, as far as the caller may see it.
    pub(crate) fn new(agent: Agent, row: &Row, managers: Vec<Row>, access: AgentAccess) -> AgentDetail {
        let creates_agents = row.permissions.get("canCreateAgents").and_then(Value::as_bool);
        let is_member = access.membership.as_ref().is_some_and(|membership| membership.status == "active");
        let is_granted = is_member
            && access.grants.iter().any(|grant| grant.permission_key == rules::Grant::AssignTasks.as_str());
        let task_assign_source = match (row.role, creates_agents, is_granted) {
            (Role::Ceo, _, _) => "ceo_role",
            (_, Some(true), _) => "agent_creator",
            (_, _, true) => "explicit_grant",
            (_, _, false) => "none",
        };
        let manager =
            |row: Row| Manager { id: row.id.0, name: row.name, role: row.role.as_str(), title: row.title };
        AgentDetail {
            agent,
            chain_of_command: managers.into_iter().map(manager).collect(),
            access: Access {
                can_assign_tasks: task_assign_source != "none",
                task_assign_source,
                membership: access.membership.map(Membership::from),
                grants: access.grants.into_iter().map(Grant::from).collect(),
            },
        }
    }
}

/// How an agent is configured, without its secrets.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentConfiguration {
    id: String,
    company_id: String,
    name: String,
    role: &'static str,
    title: Option<String>,
    status: &'static str,
    reports_to: Option<String>,
    adapter_type: String,
    #[schema(value_type = Object)]
    adapter_config: Value,
    #[schema(value_type = Object)]
    runtime_config: Value,
    #[schema(value_type = Object)]
    permissions: Value,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<Row> for AgentConfiguration {
    fn from(row: Row) -> AgentConfiguration {
        AgentConfiguration {
            id: row.id.0,
            company_id: row.company_id.0,
            name: row.name,
            role: row.role.as_str(),
            title: row.title,
            status: row.status.as_str(),
            reports_to: row.reports_to.map(|id| id.0),
            adapter_type: row.adapter_type,
            adapter_config: redacted(row.adapter_config),
            runtime_config: redacted(row.runtime_config),
            permissions: row.permissions,
            updated_at: row.updated_at,
        }
    }
}
