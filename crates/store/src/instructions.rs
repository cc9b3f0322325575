//! The files of managed instruction bundles.

use domain::ids::{AgentId, CompanyId};
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// A file as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstructionFile {
    pub agent_id: AgentId,
    /// Relative to the bundle, in its one spelling.
    pub path: String,
    pub company_id: CompanyId,
    pub content: String,
    pub updated_at: Moment,
}
from_row!(InstructionFile { agent_id, path, company_id, content, updated_at });

/// Returns the files of an agent's bundle, by path.
pub async fn of_agent(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    limit: i64,
) -> Result<Vec<InstructionFile>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT agent_id, path, company_id, content, updated_at FROM instruction_files \
             WHERE agent_id = $1 ORDER BY path LIMIT $2"
        ),
        p![agent, limit],
    )
    .await
}

/// The file says this when it returns, whatever it said before.
pub async fn put(tx: &mut Tx<'_>, file: &InstructionFile) -> Result<(), StoreError> {
    tx.exec(
        sql!(
            "INSERT INTO instruction_files (agent_id, path, company_id, content, updated_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (agent_id, path) \
             DO UPDATE SET content = excluded.content, updated_at = excluded.updated_at"
        ),
        p![&file.agent_id, &file.path, &file.company_id, &file.content, file.updated_at],
    )
    .await?;
    Ok(())
}

/// Removes a file; returns false when there was none.
pub async fn remove(tx: &mut Tx<'_>, agent: &AgentId, path: &str) -> Result<bool, StoreError> {
    let removed = tx
        .exec(sql!("DELETE FROM instruction_files WHERE agent_id = $1 AND path = $2"), p![agent, path])
        .await?;
    Ok(removed == 1)
}
