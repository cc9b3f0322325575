//! Companies and agents that are paused: since when, and for what reason.
//!
//! Each move is guarded by what it expects to find, so that a pause for one reason is never lifted for another. What a
//! pause does to runs is decided elsewhere.

use domain::agent::PauseReason;
use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// Whether a company may work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompanyPause {
    pub status: String,
    pub pause_reason: Option<PauseReason>,
    pub paused_at: Option<Moment>,
}
from_row!(CompanyPause { status, pause_reason, paused_at });

/// Returns whether a company may work.
pub async fn of_company(tx: &mut Tx<'_>, id: &CompanyId) -> Result<Option<CompanyPause>, StoreError> {
    tx.one_as(sql!("SELECT status, pause_reason, paused_at FROM companies WHERE id = $1"), p![id]).await
}

/// Pauses an active company; false: it is paused or archived already.
pub async fn pause_company(
    tx: &mut Tx<'_>,
    id: &CompanyId,
    reason: PauseReason,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE companies SET status = 'paused', pause_reason = $2, paused_at = $3, updated_at = $3 \
                 WHERE id = $1 AND status = 'active'"
            ),
            p![id, reason, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Lets a company that was paused for this reason work again; false: it was not.
pub async fn resume_company(
    tx: &mut Tx<'_>,
    id: &CompanyId,
    reason: PauseReason,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE companies SET status = 'active', pause_reason = NULL, paused_at = NULL, updated_at = $3 \
                 WHERE id = $1 AND status = 'paused' AND pause_reason = $2"
            ),
            p![id, reason, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Pauses an agent that could work; false: it is paused, waits for its approval, or is terminated.
pub async fn pause_agent(
    tx: &mut Tx<'_>,
    id: &AgentId,
    reason: PauseReason,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE agents SET status = 'paused', pause_reason = $2, paused_at = $3, updated_at = $3 \
                 WHERE id = $1 AND status IN ('active', 'idle', 'running', 'error')"
            ),
            p![id, reason, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Lets an agent that was paused for this reason work again; false: it was not.
pub async fn resume_agent(
    tx: &mut Tx<'_>,
    id: &AgentId,
    reason: PauseReason,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE agents SET status = 'idle', pause_reason = NULL, paused_at = NULL, updated_at = $3 \
                 WHERE id = $1 AND status = 'paused' AND pause_reason = $2"
            ),
            p![id, reason, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Counts the paused agents of a company.
pub async fn count_paused_agents(tx: &mut Tx<'_>, company: &CompanyId) -> Result<i64, StoreError> {
    let row = tx
        .one(sql!("SELECT COUNT(*) FROM agents WHERE company_id = $1 AND status = 'paused'"), p![company])
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}
