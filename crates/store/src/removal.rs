//! Removing a company with everything in it.
//!
//! What can be much (runs, events, issues, ...) goes in bounded batches, one transaction each, so that nobody else waits
//! long; what is left goes with the company itself. Each batch may run twice, and a removal that was interrupted is
//! taken up by asking again. Audit records stay: they are the record of the instance. Nothing here stops anything, and
//! files are removed elsewhere, before the rows that name them.

use domain::ids::{AgentId, CompanyId, RunId};
use domain::moment::Moment;

use crate::value::Value;
use crate::{StoreError, Tx, p, sql, sql_list};

/// Returns the agents of a company that can still be woken, at most `limit`.
pub async fn agents_to_end(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    limit: i64,
) -> Result<Vec<AgentId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM agents WHERE company_id = $1 AND status <> 'terminated' \
                 ORDER BY created_at, id LIMIT $2"
            ),
            p![company, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns runs of a company that are not over, at most `limit`.
pub async fn unfinished(tx: &mut Tx<'_>, company: &CompanyId, limit: i64) -> Result<Vec<RunId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM runs WHERE company_id = $1 \
                 AND status IN ('queued', 'scheduled_retry', 'running') ORDER BY created_at LIMIT $2"
            ),
            p![company, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns a batch of runs of a company that are over.
pub async fn finished(tx: &mut Tx<'_>, company: &CompanyId, limit: i64) -> Result<Vec<RunId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM runs WHERE company_id = $1 AND finished_at IS NOT NULL \
                 ORDER BY created_at, id LIMIT $2"
            ),
            p![company, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Removes runs that are over, with everything that hangs on them.
pub async fn runs(tx: &mut Tx<'_>, runs: &[RunId]) -> Result<(), StoreError> {
    let ids = || runs.iter().map(Value::from).collect::<Vec<_>>();
    crate::costs::forget_messages(tx, runs).await?;
    tx.exec_in(sql_list!("DELETE FROM budget_reservations WHERE run_id IN ({list})"), p![], ids()).await?;
    tx.exec_in(sql_list!("DELETE FROM budget_stopped_runs WHERE run_id IN ({list})"), p![], ids()).await?;
    crate::retention::remove_runs(tx, runs).await?;
    Ok(())
}

/// Returns a batch of attachments: their ids, and where their files lie.
pub async fn files(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    limit: i64,
) -> Result<Vec<(String, String)>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id, object_key FROM attachments WHERE issue_id IN \
                 (SELECT id FROM issues WHERE company_id = $1) ORDER BY id LIMIT $2"
            ),
            p![company, limit],
        )
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Removes the rows of attachments whose files are gone.
pub async fn forget_files(tx: &mut Tx<'_>, ids: &[String]) -> Result<(), StoreError> {
    let ids = ids.iter().map(Value::from).collect();
    tx.exec_in(sql_list!("DELETE FROM attachments WHERE id IN ({list})"), p![], ids).await?;
    Ok(())
}

/// Removes one batch of what can be much; 0 when nothing of it is left.
pub async fn batch(tx: &mut Tx<'_>, company: &CompanyId, limit: i64) -> Result<u64, StoreError> {
    let wakes = sql!(
        "DELETE FROM wakes WHERE id IN (SELECT wakes.id FROM wakes JOIN agents ON agents.id = wakes.agent_id \
         WHERE agents.company_id = $1 LIMIT $2)"
    );
    // Never the newest of all: cursors stay comparable.
    let events = sql!(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE company_id = $1 \
         AND id < (SELECT MAX(id) FROM events) ORDER BY id LIMIT $2)"
    );
    let activity = sql!(
        "DELETE FROM activity_log WHERE id IN (SELECT id FROM activity_log WHERE company_id = $1 \
         ORDER BY created_at, id LIMIT $2)"
    );
    let costs = sql!(
        "DELETE FROM cost_events WHERE id IN (SELECT id FROM cost_events WHERE company_id = $1 \
         ORDER BY occurred_at LIMIT $2)"
    );
    let interactions = sql!(
        "DELETE FROM issue_thread_interactions WHERE id IN (SELECT part.id FROM issue_thread_interactions part \
         JOIN issues ON issues.id = part.issue_id WHERE issues.company_id = $1 ORDER BY part.id LIMIT $2)"
    );
    let recoveries = sql!(
        "DELETE FROM issue_recoveries WHERE issue_id IN (SELECT part.issue_id FROM issue_recoveries part \
         JOIN issues ON issues.id = part.issue_id WHERE issues.company_id = $1 ORDER BY part.issue_id LIMIT $2)"
    );
    let slots = sql!(
        "DELETE FROM schedule_slots WHERE (schedule_id, slot) IN (SELECT part.schedule_id, part.slot \
         FROM schedule_slots part JOIN automation_schedules ON automation_schedules.id = part.schedule_id \
         WHERE automation_schedules.company_id = $1 ORDER BY part.schedule_id, part.slot LIMIT $2)"
    );
    // With their nodes, attempts, gates and what happened to them.
    let automation_runs = sql!(
        "DELETE FROM automation_runs WHERE id IN (SELECT id FROM automation_runs WHERE company_id = $1 \
         ORDER BY created_at, id LIMIT $2)"
    );
    let deliveries = sql!(
        "DELETE FROM webhook_deliveries WHERE id IN (SELECT part.id FROM webhook_deliveries part \
         JOIN webhook_endpoints ON webhook_endpoints.id = part.endpoint_id \
         WHERE webhook_endpoints.company_id = $1 ORDER BY part.id LIMIT $2)"
    );
    let receipts = sql!(
        "DELETE FROM webhook_receipts WHERE id IN (SELECT part.id FROM webhook_receipts part \
         JOIN webhook_triggers ON webhook_triggers.id = part.trigger_id \
         WHERE webhook_triggers.company_id = $1 ORDER BY part.id LIMIT $2)"
    );
    for step in [
        wakes,
        events,
        activity,
        costs,
        interactions,
        recoveries,
        slots,
        deliveries,
        receipts,
        automation_runs,
    ] {
        let removed = tx.exec(step, p![company, limit]).await?;
        if removed > 0 {
            return Ok(removed);
        }
    }
    // What hangs on issues and does not go with them by itself. Wakes that are ordered on no issue are dropped when they
    // are to be delivered: their agents are gone.
    let orders =
        sql!("DELETE FROM wake_orders WHERE issue_id IN (SELECT id FROM issues WHERE company_id = $1)");
    let ordered = tx.exec(orders, p![company]).await?;
    let relations =
        sql!("DELETE FROM issue_relations WHERE blocked_id IN (SELECT id FROM issues WHERE company_id = $1)");
    let related = tx.exec(relations, p![company]).await?;
    let issues = sql!(
        "DELETE FROM issues WHERE id IN (SELECT id FROM issues WHERE company_id = $1 ORDER BY status, id LIMIT $2)"
    );
    Ok(ordered + related + tx.exec(issues, p![company, limit]).await?)
}

/// Removes the company with what is left of it; false, and nothing was removed, when a run of it is not over.
pub async fn last(tx: &mut Tx<'_>, company: &CompanyId, now: Moment) -> Result<bool, StoreError> {
    if !unfinished(tx, company, 1).await?.is_empty() {
        return Ok(false);
    }
    // Somebody may have written since the last batch.
    while batch(tx, company, 1_000).await? > 0 {}
    crate::leftovers::note(tx, company, now).await?;
    let rest = [
        sql!(
            "DELETE FROM issue_approvals WHERE approval_id IN (SELECT id FROM approvals WHERE company_id = $1)"
        ),
        sql!(
            "DELETE FROM approval_comments WHERE approval_id IN (SELECT id FROM approvals WHERE company_id = $1)"
        ),
        sql!(
            "DELETE FROM budget_incidents WHERE policy_id IN (SELECT id FROM budget_policies WHERE company_id = $1)"
        ),
        sql!(
            "DELETE FROM budget_counters WHERE policy_id IN (SELECT id FROM budget_policies WHERE company_id = $1)"
        ),
        sql!("DELETE FROM budget_stopped_runs WHERE company_id = $1"),
        sql!("DELETE FROM budget_policies WHERE company_id = $1"),
        sql!("DELETE FROM approvals WHERE company_id = $1"),
        sql!("DELETE FROM webhook_endpoints WHERE company_id = $1"),
        sql!("DELETE FROM webhook_triggers WHERE company_id = $1"),
        sql!("DELETE FROM webhook_secrets WHERE company_id = $1"),
        sql!("DELETE FROM inbox_items WHERE company_id = $1"),
        sql!("DELETE FROM inbox_dismissals WHERE company_id = $1"),
        sql!("DELETE FROM accounts WHERE company_id = $1"),
        sql!("DELETE FROM automation_schedules WHERE company_id = $1"),
        sql!(
            "DELETE FROM automation_after WHERE automation_id IN (SELECT id FROM automations WHERE company_id = $1)"
        ),
        sql!(
            "DELETE FROM automation_versions WHERE automation_id IN (SELECT id FROM automations WHERE company_id = $1)"
        ),
        sql!("DELETE FROM automations WHERE company_id = $1"),
        sql!("DELETE FROM labels WHERE company_id = $1"),
        sql!(
            "DELETE FROM secret_references WHERE secret_id IN (SELECT id FROM company_secrets WHERE company_id = $1)"
        ),
        sql!(
            "DELETE FROM environment_secrets WHERE secret_id IN (SELECT id FROM company_secrets WHERE company_id = $1)"
        ),
        sql!("DELETE FROM company_secrets WHERE company_id = $1"),
        sql!(
            "DELETE FROM workspace_leases WHERE workspace_id IN \
             (SELECT id FROM execution_workspaces WHERE company_id = $1)"
        ),
        sql!("DELETE FROM workspace_operations WHERE company_id = $1"),
        sql!("DELETE FROM run_outputs WHERE company_id = $1"),
        sql!("DELETE FROM execution_workspaces WHERE company_id = $1"),
        sql!("DELETE FROM projects WHERE company_id = $1"),
        sql!("DELETE FROM goals WHERE company_id = $1"),
        sql!("DELETE FROM memberships WHERE company_id = $1"),
        sql!("DELETE FROM permission_grants WHERE company_id = $1"),
        sql!("DELETE FROM agent_keys WHERE agent_id IN (SELECT id FROM agents WHERE company_id = $1)"),
        sql!(
            "DELETE FROM agent_config_revisions WHERE agent_id IN (SELECT id FROM agents WHERE company_id = $1)"
        ),
        sql!("DELETE FROM runtime_states WHERE company_id = $1"),
        sql!("DELETE FROM task_sessions WHERE company_id = $1"),
        sql!("DELETE FROM gone_sessions WHERE company_id = $1"),
        sql!("DELETE FROM company_skills WHERE company_id = $1"),
        sql!("DELETE FROM instruction_files WHERE company_id = $1"),
        // Nobody elsewhere should report into it; who does is no reason to keep it.
        sql!(
            "UPDATE agents SET reports_to = NULL WHERE reports_to IN (SELECT id FROM agents WHERE company_id = $1)"
        ),
        sql!("UPDATE agents SET reports_to = NULL WHERE company_id = $1"),
        sql!("DELETE FROM agents WHERE company_id = $1"),
    ];
    for step in rest {
        tx.exec(step, p![company]).await?;
    }
    // A login that was asked for with it may still be approved, for all companies.
    tx.exec(
        sql!(
            "UPDATE cli_challenges SET requested_company_id = NULL \
             WHERE requested_company_id = $1 AND expires_at > $2"
        ),
        p![company, now],
    )
    .await?;
    Ok(tx.exec(sql!("DELETE FROM companies WHERE id = $1"), p![company]).await? == 1)
}
