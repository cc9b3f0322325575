//! Runs that a budget stopped, until their work is taken up again or nobody wants it any more.
//!
//! A row is written in the transaction that asks the run to stop, and removed in the one that orders its wake: so no
//! crash loses work, and none is taken up twice.

use domain::budget::ScopeKind;
use domain::ids::{AgentId, CompanyId, RunId};
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// A run that was stopped for a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    pub run_id: RunId,
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub scope_type: ScopeKind,
    pub scope_id: String,
    pub stopped_at: Moment,
}
from_row!(Stopped { run_id, company_id, agent_id, scope_type, scope_id, stopped_at });

/// Remembers a run that is stopped for a scope; the first scope that stops it counts.
pub async fn remember(tx: &mut Tx<'_>, stopped: &Stopped) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO budget_stopped_runs (run_id, company_id, agent_id, scope_type, scope_id, stopped_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (run_id) DO NOTHING"
        ),
        p![
            &stopped.run_id,
            &stopped.company_id,
            &stopped.agent_id,
            stopped.scope_type,
            &stopped.scope_id,
            stopped.stopped_at
        ],
    )
    .await
}

/// Returns the scopes that have stopped runs, after the given one.
pub async fn scopes(
    tx: &mut Tx<'_>,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<(ScopeKind, String)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT DISTINCT scope_type, scope_id FROM budget_stopped_runs \
             WHERE (scope_type, scope_id) > ($1, $2) ORDER BY scope_type, scope_id LIMIT $3"
        ),
        p![after.0, after.1, limit],
    )
    .await
}

/// Returns the stopped runs of a scope, the first that was stopped first.
pub async fn of_scope(
    tx: &mut Tx<'_>,
    (scope_type, scope_id): (ScopeKind, &str),
    limit: i64,
) -> Result<Vec<Stopped>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT run_id, company_id, agent_id, scope_type, scope_id, stopped_at FROM budget_stopped_runs \
             WHERE scope_type = $1 AND scope_id = $2 ORDER BY stopped_at, run_id LIMIT $3"
        ),
        p![scope_type, scope_id, limit],
    )
    .await
}

/// Takes a run off the list; false: somebody else did.
pub async fn forget(tx: &mut Tx<'_>, run: &RunId) -> Result<bool, StoreError> {
    Ok(tx.exec(sql!("DELETE FROM budget_stopped_runs WHERE run_id = $1"), p![run]).await? == 1)
}

/// Whether the agent has a run of the same task that was made after this one, waiting, running or over.
pub async fn was_followed(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    task_key: &str,
    run: &RunId,
    since: Moment,
) -> Result<bool, StoreError> {
    let found = tx
        .one(
            sql!(
                "SELECT id FROM runs WHERE agent_id = $1 AND created_at >= $4 AND task_key = $2 AND id <> $3 \
                 AND (created_at, id) > ($4, $3) LIMIT 1"
            ),
            p![agent, task_key, run, since],
        )
        .await?;
    Ok(found.is_some())
}
