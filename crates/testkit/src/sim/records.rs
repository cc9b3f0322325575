//! Everything that the rules of a simulation look at, read from the store in one look.

use std::collections::HashMap;

use store::{StoreError, Tx, p, sql};

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct RunRow {
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) task_key: String,
    pub(crate) status: String,
    pub(crate) issue: Option<String>,
    pub(crate) epoch: i64,
    pub(crate) error_code: Option<String>,
    pub(crate) is_asked_to_stop: bool,
    pub(crate) finished_at: Option<i64>,
    pub(crate) retry_attempt: i64,
    pub(crate) process_loss_retries: i64,
    pub(crate) continuation_attempt: i64,
    pub(crate) created_at: i64,
}

impl RunRow {
    pub(crate) fn is_running(&self) -> bool {
        self.status == "running"
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(self.status.as_str(), "running" | "queued" | "scheduled_retry")
    }
}

/// A wake.
#[derive(Debug, Clone)]
pub(crate) struct WakeRow {
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) status: String,
    pub(crate) run: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) issue: Option<String>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) requested_at: i64,
}

/// An issue.
#[derive(Debug, Clone)]
pub(crate) struct IssueRow {
    pub(crate) id: String,
    pub(crate) identifier: String,
    pub(crate) status: String,
    pub(crate) assignee: Option<String>,
    pub(crate) lock_run: Option<String>,
    pub(crate) lock_epoch: Option<i64>,
    pub(crate) lock_agent: Option<String>,
}

/// What a policy has counted in one window.
#[derive(Debug, Clone)]
pub(crate) struct CounterRow {
    pub(crate) policy: String,
    pub(crate) scope_type: String,
    pub(crate) scope: String,
    pub(crate) metric: String,
    pub(crate) window: i64,
    pub(crate) spent: i64,
    pub(crate) outside: i64,
    pub(crate) reserved: i64,
}

/// What one run holds and has spent under one policy.
#[derive(Debug, Clone)]
pub(crate) struct ReservationRow {
    pub(crate) run: String,
    pub(crate) policy: String,
    pub(crate) window: i64,
    pub(crate) reserved: i64,
    pub(crate) charged: i64,
}

/// A wake that is ordered: its number, for whom, about what, why, and when.
pub(crate) type OrderRow = (i64, String, Option<String>, String, i64);

/// The whole record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    pub(crate) runs: Vec<RunRow>,
    pub(crate) wakes: Vec<WakeRow>,
    pub(crate) issues: Vec<IssueRow>,
    pub(crate) counters: Vec<CounterRow>,
    pub(crate) reservations: Vec<ReservationRow>,
    pub(crate) orders: Vec<OrderRow>,
    /// Issue, cause, attempts.
    pub(crate) attempts: Vec<(String, String, i64)>,
    /// Run and its costs in the ledger.
    pub(crate) ledger: Vec<(String, i64)>,
    /// Agent, status.
    pub(crate) agents: Vec<(String, String)>,
    /// Things that have an open item in the inbox.
    pub(crate) inbox: Vec<String>,
    /// Blocked issue and the status of what blocks it.
    pub(crate) blockers: Vec<(String, String)>,
    /// Roots of pause holds, with the hold.
    pub(crate) holds: Vec<(String, String)>,
    at: HashMap<String, usize>,
}

impl Records {
    /// Nothing keeps an agent from its work, as far as the agent goes, and no tree is held.
    pub(crate) fn works(&self, agent: &str) -> bool {
        let is_able = |status: &str| matches!(status, "active" | "idle" | "running" | "error");
        self.holds.is_empty() && self.agents.iter().any(|(id, status)| id == agent && is_able(status))
    }

    pub(crate) fn run(&self, id: &str) -> Option<&RunRow> {
        self.at.get(id).map(|at| &self.runs[*at])
    }

    /// Reads all of it.
    pub(crate) async fn read(tx: &mut Tx<'_>) -> Result<Records, StoreError> {
        let mut records = Records::default();
        let sql = sql!(
            "SELECT id, agent_id, task_key, status, issue_id, lease_epoch, error_code, stop_asked_at, finished_at, \
             retry_attempt, process_loss_retries, continuation_attempt, created_at FROM runs ORDER BY created_at, id"
        );
        for row in tx.rows(sql, p![]).await? {
            let id: String = row.get(0)?;
            records.at.insert(id.clone(), records.runs.len());
            records.runs.push(RunRow {
                id,
                agent: row.get(1)?,
                task_key: row.get(2)?,
                status: row.get(3)?,
                issue: row.get(4)?,
                epoch: row.get(5)?,
                error_code: row.get(6)?,
                is_asked_to_stop: row.get::<Option<i64>>(7)?.is_some(),
                finished_at: row.get(8)?,
                retry_attempt: row.get(9)?,
                process_loss_retries: row.get(10)?,
                continuation_attempt: row.get(11)?,
                created_at: row.get(12)?,
            });
        }
        let sql = sql!(
            "SELECT id, agent_id, status, run_id, reason, issue_id, finished_at, requested_at FROM wakes \
             ORDER BY requested_at, id"
        );
        for row in tx.rows(sql, p![]).await? {
            records.wakes.push(WakeRow {
                id: row.get(0)?,
                agent: row.get(1)?,
                status: row.get(2)?,
                run: row.get(3)?,
                reason: row.get(4)?,
                issue: row.get(5)?,
                finished_at: row.get(6)?,
                requested_at: row.get(7)?,
            });
        }
        let sql = sql!(
            "SELECT id, identifier, status, assignee_agent_id, lock_run_id, lock_epoch, lock_agent_id FROM issues \
             WHERE hidden_at IS NULL ORDER BY issue_number"
        );
        for row in tx.rows(sql, p![]).await? {
            records.issues.push(IssueRow {
                id: row.get(0)?,
                identifier: row.get(1)?,
                status: row.get(2)?,
                assignee: row.get(3)?,
                lock_run: row.get(4)?,
                lock_epoch: row.get(5)?,
                lock_agent: row.get(6)?,
            });
        }
        let sql = sql!(
            "SELECT c.policy_id, p.scope_type, p.scope_id, p.metric, c.window_start, c.spent, c.outside, c.reserved \
             FROM budget_counters c JOIN budget_policies p ON p.id = c.policy_id ORDER BY c.policy_id, c.window_start"
        );
        for row in tx.rows(sql, p![]).await? {
            records.counters.push(CounterRow {
                policy: row.get(0)?,
                scope_type: row.get(1)?,
                scope: row.get(2)?,
                metric: row.get(3)?,
                window: row.get(4)?,
                spent: row.get(5)?,
                outside: row.get(6)?,
                reserved: row.get(7)?,
            });
        }
        let sql = sql!(
            "SELECT run_id, policy_id, window_start, reserved, charged FROM budget_reservations \
             ORDER BY run_id, policy_id, window_start"
        );
        for row in tx.rows(sql, p![]).await? {
            records.reservations.push(ReservationRow {
                run: row.get(0)?,
                policy: row.get(1)?,
                window: row.get(2)?,
                reserved: row.get(3)?,
                charged: row.get(4)?,
            });
        }
        let sql = sql!("SELECT id, agent_id, issue_id, reason, deliver_at FROM wake_orders ORDER BY id");
        records.orders = tx.rows_as(sql, p![]).await?;
        let sql = sql!("SELECT issue_id, cause, attempts FROM issue_recoveries ORDER BY issue_id, cause");
        records.attempts = tx.rows_as(sql, p![]).await?;
        let sql = sql!("SELECT run_id, cost_micros FROM cost_events WHERE origin = 'run' ORDER BY run_id");
        records.ledger = tx.rows_as(sql, p![]).await?;
        let sql = sql!("SELECT id, status FROM agents ORDER BY created_at, id");
        records.agents = tx.rows_as(sql, p![]).await?;
        let sql = sql!("SELECT entity_id FROM inbox_items WHERE resolved_at IS NULL ORDER BY id");
        records.inbox = tx.rows_as::<(String,)>(sql, p![]).await?.into_iter().map(|(id,)| id).collect();
        let sql = sql!(
            "SELECT r.blocked_id, i.status FROM issue_relations r JOIN issues i ON i.id = r.blocker_id \
             ORDER BY r.blocked_id, r.blocker_id"
        );
        records.blockers = tx.rows_as(sql, p![]).await?;
        let sql = sql!(
            "SELECT root_issue_id, id FROM issue_tree_holds WHERE status = 'active' AND mode = 'pause' ORDER BY id"
        );
        records.holds = tx.rows_as(sql, p![]).await?;
        Ok(records)
    }
}
