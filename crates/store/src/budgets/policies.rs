//! Budget policies: one per company, scope, metric and kind of window.

use domain::budget::scope::{Scope, ScopeKind};
use domain::budget::window::WindowKind;
use domain::budget::{self, Metric};
use domain::ids::{AgentId, CompanyId, PolicyId};
use domain::moment::Moment;

use super::Window;
use super::counters::Counter;
use crate::{FromRow, Row, StoreError, Tx, from_row, p, sql};

/// A policy as stored. Its amount is in the unit of the wire: cents or tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub id: PolicyId,
    pub company_id: CompanyId,
    pub scope_type: ScopeKind,
    pub scope_id: String,
    pub metric: Metric,
    pub window_kind: WindowKind,
    pub amount: i64,
    pub warn_percent: i64,
    pub hard_stop_enabled: bool,
    pub notify_enabled: bool,
    pub is_active: bool,
    pub created_by_user_id: Option<String>,
    pub updated_by_user_id: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Policy {
    id,
    company_id,
    scope_type,
    scope_id,
    metric,
    window_kind,
    amount,
    warn_percent,
    hard_stop_enabled,
    notify_enabled,
    is_active,
    created_by_user_id,
    updated_by_user_id,
    created_at,
    updated_at
});

impl Policy {
    /// The policy as the rules see it.
    pub fn rule(&self) -> budget::Policy {
        budget::Policy {
            id: self.id.clone(),
            scope: Scope { kind: self.scope_type, id: self.scope_id.clone() },
            metric: self.metric,
            window: self.window_kind,
            amount: self.amount,
            warn_percent: self.warn_percent,
            hard_stop: self.hard_stop_enabled,
            notify: self.notify_enabled,
            is_active: self.is_active,
        }
    }

    /// What its counters may not pass, in their unit: micro-dollars or tokens. None if it stops nobody.
    pub fn cap(&self) -> Option<i64> {
        self.rule().stop_limit()
    }
}

macro_rules! columns {
    () => {
        "id, company_id, scope_type, scope_id, metric, window_kind, amount, warn_percent, hard_stop_enabled, \
         notify_enabled, is_active, created_by_user_id, updated_by_user_id, created_at, updated_at"
    };
}
/// The columns of a policy under the name `p`, then those of its counter under the name `c`.
macro_rules! standing_columns {
    () => {
        "p.id, p.company_id, p.scope_type, p.scope_id, p.metric, p.window_kind, p.amount, p.warn_percent, \
         p.hard_stop_enabled, p.notify_enabled, p.is_active, p.created_by_user_id, p.updated_by_user_id, \
         p.created_at, p.updated_at, c.policy_id, c.window_start, c.window_end, c.cap, c.spent, c.outside, \
         c.reserved, c.warned_at, c.stopped_at, c.updated_at"
    };
}

/// What somebody wants a policy to say. `None` keeps what is stored, or takes the default for a new policy: warn at 80
/// percent, stop, notify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The id of the policy if it is new.
    pub id: PolicyId,
    pub company_id: CompanyId,
    pub scope_type: ScopeKind,
    pub scope_id: String,
    pub metric: Metric,
    pub window_kind: WindowKind,
    pub amount: i64,
    pub warn_percent: Option<i64>,
    pub hard_stop_enabled: Option<bool>,
    pub notify_enabled: Option<bool>,
    pub is_active: bool,
    pub by_user: Option<String>,
}

/// Makes the policy of a scope, or changes it, and tells its counters what the cap is now. Returns it as it is
/// afterwards, locked until the transaction ends.
pub async fn save(tx: &mut Tx<'_>, draft: &Draft, now: Moment) -> Result<Policy, StoreError> {
    let text = sql!(concat!(
        "INSERT INTO budget_policies (",
        columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, COALESCE(CAST($8 AS bigint), 80), \
         COALESCE(CAST($9 AS boolean), TRUE), COALESCE(CAST($10 AS boolean), TRUE), $11, $12, $12, $13, $13) \
         ON CONFLICT (company_id, scope_type, scope_id, metric, window_kind) DO UPDATE SET \
         amount = excluded.amount, \
         warn_percent = COALESCE(CAST($8 AS bigint), budget_policies.warn_percent), \
         hard_stop_enabled = COALESCE(CAST($9 AS boolean), budget_policies.hard_stop_enabled), \
         notify_enabled = COALESCE(CAST($10 AS boolean), budget_policies.notify_enabled), \
         is_active = excluded.is_active, updated_by_user_id = excluded.updated_by_user_id, \
         updated_at = excluded.updated_at RETURNING ",
        columns!()
    ));
    let policy: Option<Policy> = tx
        .one_as(
            text,
            p![
                &draft.id,
                &draft.company_id,
                draft.scope_type,
                &draft.scope_id,
                draft.metric,
                draft.window_kind,
                draft.amount,
                draft.warn_percent,
                draft.hard_stop_enabled,
                draft.notify_enabled,
                draft.is_active,
                &draft.by_user,
                now
            ],
        )
        .await?;
    let Some(policy) = policy else {
        let reason = "an upsert returned no row".to_owned();
        return Err(StoreError::Row { statement: text.source(), column: 0, reason });
    };
    tx.run(
        sql!("UPDATE budget_counters SET cap = $2, updated_at = $3 WHERE policy_id = $1"),
        p![&policy.id, policy.cap(), now],
    )
    .await?;
    Ok(policy)
}

/// Returns one policy.
pub async fn get(tx: &mut Tx<'_>, id: &PolicyId) -> Result<Option<Policy>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM budget_policies WHERE id = $1")), p![id]).await
}

/// Returns one policy and locks it: its amount and its counters' caps stay as they are until the transaction ends.
pub async fn lock(tx: &mut Tx<'_>, id: &PolicyId) -> Result<Option<Policy>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM budget_policies WHERE id = $1 /*+for_update*/")),
        p![id],
    )
    .await
}

/// Returns the policies of one scope: at most one for each metric and kind of window.
pub async fn of_scope(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    scope: &Scope,
    month: Moment,
) -> Result<Vec<Standing>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            standing_columns!(),
            " FROM budget_policies p LEFT JOIN budget_counters c ON c.policy_id = p.id \
             AND c.window_start = CASE WHEN p.window_kind = 'lifetime' THEN 0 ELSE CAST($4 AS bigint) END \
             WHERE p.company_id = $1 AND p.scope_type = $2 AND p.scope_id = $3 \
             ORDER BY p.metric, p.window_kind LIMIT 16"
        )),
        p![company, scope.kind, &scope.id, month],
    )
    .await
}

/// A policy, and its counter of the current window if anything was counted in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub policy: Policy,
    pub counter: Option<Counter>,
}

impl Standing {
    /// The account as the rules see it; `window` is the current one of the policy.
    pub fn account(&self, window: Window) -> budget::Account {
        let counter = self.counter.as_ref().map_or(budget::Counter::empty(window), Counter::rule);
        budget::Account { policy: self.policy.rule(), counter }
    }
}

impl FromRow for Standing {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        row.expect_columns(25)?;
        let policy = Policy {
            id: row.get(0)?,
            company_id: row.get(1)?,
            scope_type: row.get(2)?,
            scope_id: row.get(3)?,
            metric: row.get(4)?,
            window_kind: row.get(5)?,
            amount: row.get(6)?,
            warn_percent: row.get(7)?,
            hard_stop_enabled: row.get(8)?,
            notify_enabled: row.get(9)?,
            is_active: row.get(10)?,
            created_by_user_id: row.get(11)?,
            updated_by_user_id: row.get(12)?,
            created_at: row.get(13)?,
            updated_at: row.get(14)?,
        };
        let counted: Option<PolicyId> = row.get(15)?;
        let counter = counted
            .map(|policy_id| {
                Ok::<_, StoreError>(Counter {
                    policy_id,
                    window_start: row.get(16)?,
                    window_end: row.get(17)?,
                    cap: row.get(18)?,
                    spent: row.get(19)?,
                    outside: row.get(20)?,
                    reserved: row.get(21)?,
                    warned_at: row.get(22)?,
                    stopped_at: row.get(23)?,
                    updated_at: row.get(24)?,
                })
            })
            .transpose()?;
        Ok(Standing { policy, counter })
    }
}

/// Returns every policy that concerns a run of this agent (and project), with its counter of the current window: the
/// month that starts at `month`, or all time. Those of a company, an agent and a project come together, by id, which
/// is the order in which counters are locked.
pub async fn concerning(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    agent: &AgentId,
    project: Option<&str>,
    month: Moment,
) -> Result<Vec<Standing>, StoreError> {
    // Ids are unique among all kinds of scopes; naming the kinds lets the unique index find each scope directly.
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            standing_columns!(),
            " FROM budget_policies p LEFT JOIN budget_counters c ON c.policy_id = p.id \
             AND c.window_start = CASE WHEN p.window_kind = 'lifetime' THEN 0 ELSE CAST($4 AS bigint) END \
             WHERE p.company_id = $1 AND p.scope_type IN ('company', 'agent', 'project') \
             AND p.scope_id IN ($1, $2, COALESCE($3, $1)) ORDER BY p.id"
        )),
        p![company, agent, project, month],
    )
    .await
}

/// Returns the policies of a company with their counters of the current window, oldest first, after the given place.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    month: Moment,
    after: Option<(Moment, PolicyId)>,
    limit: i64,
) -> Result<Vec<Standing>, StoreError> {
    let (at, id) = after.map_or((Moment::from_micros(i64::MIN), String::new()), |(at, id)| (at, id.0));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            standing_columns!(),
            " FROM budget_policies p LEFT JOIN budget_counters c ON c.policy_id = p.id \
             AND c.window_start = CASE WHEN p.window_kind = 'lifetime' THEN 0 ELSE CAST($2 AS bigint) END \
             WHERE p.company_id = $1 AND (p.created_at, p.id) > ($3, $4) \
             ORDER BY p.created_at, p.id LIMIT $5"
        )),
        p![company, month, at, id, limit],
    )
    .await
}
