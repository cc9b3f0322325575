//! The scopes of a run as budgets see them: company, agent and project in one look, and the running runs of each.

use domain::agent::{AgentStatus, PauseReason};
use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// An agent with its company, and the project it is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes {
    pub company_id: CompanyId,
    pub company_name: String,
    pub company_status: String,
    pub company_pause: Option<PauseReason>,
    pub agent_name: String,
    pub agent_status: AgentStatus,
    pub agent_pause: Option<PauseReason>,
    pub project_id: Option<String>,
    pub project_company_id: Option<CompanyId>,
    pub project_name: Option<String>,
    pub project_pause: Option<PauseReason>,
    /// Anybody in the company has a budget.
    pub has_policies: bool,
}
from_row!(Scopes {
    company_id,
    company_name,
    company_status,
    company_pause,
    agent_name,
    agent_status,
    agent_pause,
    project_id,
    project_company_id,
    project_name,
    project_pause,
    has_policies
});

/// Returns the scopes of an agent's work for a project; none when there is no such agent.
pub async fn of_agent(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    project: Option<&str>,
) -> Result<Option<Scopes>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT c.id, c.name, c.status, c.pause_reason, a.name, a.status, a.pause_reason, p.id, p.company_id, \
             p.name, p.pause_reason, CASE WHEN EXISTS (SELECT 1 FROM budget_policies b WHERE b.company_id = c.id) \
             THEN TRUE ELSE FALSE END FROM agents a JOIN companies c ON c.id = a.company_id \
             LEFT JOIN projects p ON p.id = $2 WHERE a.id = $1"
        ),
        p![agent, project],
    )
    .await
}

/// Whether anybody has a budget at all.
pub async fn any_policy(tx: &mut Tx<'_>) -> Result<bool, StoreError> {
    Ok(tx.one(sql!("SELECT id FROM budget_policies WHERE id > '' LIMIT 1"), p![]).await?.is_some())
}

/// Returns the agents of a company that have running runs which nobody asked to stop; with a project, runs for it.
pub async fn working_agents(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    project: Option<&str>,
) -> Result<Vec<AgentId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT DISTINCT agent_id FROM runs WHERE company_id = $1 AND status = 'running' \
                 AND status IN ('queued', 'scheduled_retry', 'running') AND stop_asked_at IS NULL \
                 AND (CAST($2 AS text) IS NULL OR project_id = $2) ORDER BY agent_id"
            ),
            p![company, project],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Shows the monthly amount of a company on its row.
pub async fn mirror_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    cents: i64,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE companies SET budget_monthly_cents = $2, updated_at = $3 WHERE id = $1 AND budget_monthly_cents <> $2"
        ),
        p![company, cents, now],
    )
    .await
}

/// Shows the monthly amount of an agent on its row.
pub async fn mirror_agent(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    cents: i64,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE agents SET budget_monthly_cents = $2, updated_at = $3 WHERE id = $1 AND budget_monthly_cents <> $2"
        ),
        p![agent, cents, now],
    )
    .await
}

/// Counts the paused projects of a company.
pub async fn count_paused_projects(tx: &mut Tx<'_>, company: &CompanyId) -> Result<i64, StoreError> {
    let row = tx
        .one(
            sql!("SELECT COUNT(*) FROM projects WHERE company_id = $1 AND pause_reason IS NOT NULL"),
            p![company],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}
