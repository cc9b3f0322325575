//! Agents on the wire: the plain form, and the detail with whom it reports to and what it may do.

use domain::agent::Role;
use domain::moment::Moment;
use serde::Serialize;
use serde_json::Value;
use store::agents::Agent as Row;
use utoipa::ToSchema;

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
    #[schema(value_type = Object)]
    adapter_config: Value,
    #[schema(value_type = Object)]
    runtime_config: Value,
    default_environment_id: Option<String>,
    budget_monthly_cents: i64,
    /// 0 as long as no costs are recorded.
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

impl From<Row> for Agent {
    fn from(row: Row) -> Agent {
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
            adapter_config: row.adapter_config,
            runtime_config: row.runtime_config,
            default_environment_id: None,
            budget_monthly_cents: row.budget_monthly_cents,
            spent_monthly_cents: 0,
            pause_reason: row.pause_reason.map(|reason| reason.as_str()),
            paused_at: row.paused_at,
            permissions: row.permissions,
            last_heartbeat_at: row.last_heartbeat_at,
            metadata: row.metadata,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
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
    /// Why: `ceo_role`, `agent_creator` or `explicit_grant` (every agent is created with it).
    task_assign_source: &'static str,
    /// Null: there are no memberships on a trusted local instance.
    #[schema(value_type = Option<Object>)]
    membership: Option<Value>,
    #[schema(value_type = Vec<Object>)]
    grants: Vec<Value>,
}

impl AgentDetail {
    pub(crate) fn new(row: Row, managers: Vec<Row>) -> AgentDetail {
        let creates_agents = row.permissions.get("canCreateAgents") == Some(&Value::Bool(true));
        let task_assign_source = match (row.role, creates_agents) {
            (Role::Ceo, _) => "ceo_role",
            (_, true) => "agent_creator",
            (_, false) => "explicit_grant",
        };
        let manager =
            |row: Row| Manager { id: row.id.0, name: row.name, role: row.role.as_str(), title: row.title };
        AgentDetail {
            agent: row.into(),
            chain_of_command: managers.into_iter().map(manager).collect(),
            access: Access {
                can_assign_tasks: true,
                task_assign_source,
                membership: None,
                grants: Vec::new(),
            },
        }
    }
}
