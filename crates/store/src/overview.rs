//! Counts over a company that its dashboard shows.

use domain::agent::AgentStatus;
use domain::ids::{AgentId, CompanyId};
use domain::issue::IssueStatus;
use domain::moment::Moment;
use domain::run::RunStatus;

use crate::value::Value;
use crate::{StoreError, Tx, p, sql, sql_list};

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;

/// Counts the agents of a company by status.
pub async fn agents(tx: &mut Tx<'_>, company: &CompanyId) -> Result<Vec<(AgentStatus, i64)>, StoreError> {
    let rows = tx
        .rows(
            sql!("SELECT status, COUNT(*) FROM agents WHERE company_id = $1 GROUP BY status ORDER BY status"),
            p![company],
        )
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Counts the issues of a company by status, hidden ones too.
pub async fn issues(tx: &mut Tx<'_>, company: &CompanyId) -> Result<Vec<(IssueStatus, i64)>, StoreError> {
    let rows = tx
        .rows(
            sql!("SELECT status, COUNT(*) FROM issues WHERE company_id = $1 GROUP BY status ORDER BY status"),
            p![company],
        )
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Counts the runs of a company that were made since a moment, by day (in days since 1970, UTC) and status.
pub async fn runs_by_day(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    since: Moment,
) -> Result<Vec<(i64, RunStatus, i64)>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT created_at / 86400000000, status, COUNT(*) FROM runs \
                 WHERE company_id = $1 AND created_at >= $2 \
                 GROUP BY created_at / 86400000000, status ORDER BY created_at / 86400000000, status"
            ),
            p![company, since],
        )
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
}

/// The newest run of each of these agents.
pub async fn last_runs(tx: &mut Tx<'_>, agents: &[AgentId]) -> Result<Vec<(AgentId, String)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT a.id, (SELECT r.id FROM runs r WHERE r.agent_id = a.id ORDER BY r.created_at DESC, r.id DESC LIMIT 1) \
                 FROM agents a WHERE a.id IN ({list})"
            ),
            p![],
            agents.iter().map(Value::from).collect(),
        )
        .await?;
    let mut found = Vec::new();
    for row in &rows {
        if let Some(run) = row.get::<Option<String>>(1)? {
            found.push((row.get(0)?, run));
        }
    }
    Ok(found)
}

/// Returns the agents of a company whose last run went wrong, at most `limit`.
pub async fn agents_in_error(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    limit: i64,
) -> Result<Vec<AgentId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM agents WHERE company_id = $1 AND status = 'error' ORDER BY created_at, id LIMIT $2"
            ),
            p![company, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}
