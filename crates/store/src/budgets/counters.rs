//! Counters: what a policy's scope has spent and set aside in one window.
//!
//! A counter is opened when it is first needed, with what the ledger already knows of its window.

use domain::budget::scope::ScopeKind;
use domain::budget::{self, Metric};
use domain::ids::{CompanyId, PolicyId};
use domain::moment::Moment;

use super::{Window, policies};
use crate::{StoreError, Tx, from_row, p, sql};

/// A counter as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    pub policy_id: PolicyId,
    pub window_start: Moment,
    pub window_end: Moment,
    /// The amount that nobody may pass, if there is one.
    pub cap: Option<i64>,
    pub spent: i64,
    /// The part of `spent` that belongs to no reservation.
    pub outside: i64,
    pub reserved: i64,
    pub warned_at: Option<Moment>,
    pub stopped_at: Option<Moment>,
    pub updated_at: Moment,
}
from_row!(Counter {
    policy_id,
    window_start,
    window_end,
    cap,
    spent,
    outside,
    reserved,
    warned_at,
    stopped_at,
    updated_at
});

impl Counter {
    /// The counter as the rules see it.
    pub fn rule(&self) -> budget::Counter {
        budget::Counter {
            window: Window { start: self.window_start, end: self.window_end },
            spent: self.spent,
            reserved: self.reserved,
            warned_at: self.warned_at,
            stopped_at: self.stopped_at,
        }
    }
}

macro_rules! columns {
    () => {
        "policy_id, window_start, window_end, cap, spent, outside, reserved, warned_at, stopped_at, updated_at"
    };
}

/// Returns one counter; none as long as nothing was counted in its window.
pub async fn get(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window_start: Moment,
) -> Result<Option<Counter>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM budget_counters WHERE policy_id = $1 AND window_start = $2"
        )),
        p![policy, window_start],
    )
    .await
}

/// Returns one counter and locks it until the transaction ends.
pub async fn lock(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window_start: Moment,
) -> Result<Option<Counter>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM budget_counters WHERE policy_id = $1 AND window_start = $2 /*+for_update*/"
        )),
        p![policy, window_start],
    )
    .await
}

/// Makes sure that the counter of a window exists. A new one begins with what the ledger holds for the scope and the
/// window. Returns false when there is no such policy.
pub async fn open(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window: Window,
    now: Moment,
) -> Result<bool, StoreError> {
    // The policy is locked first: its amount must not change between being read here and standing in the counter.
    let Some(policy) = policies::lock(tx, policy).await? else { return Ok(false) };
    let outside = outside(tx, &policy, window).await?;
    tx.run(
        sql!(
            "INSERT INTO budget_counters (policy_id, window_start, window_end, cap, spent, outside, reserved, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $5, 0, $6) ON CONFLICT (policy_id, window_start) DO NOTHING"
        ),
        p![&policy.id, window.start, window.end, policy.cap(), outside, now],
    )
    .await?;
    Ok(true)
}

/// Counts anew what was spent outside of reservations. A transaction that settled while a counter was being opened is
/// not in its first count: whoever makes a policy counts again in a transaction of its own.
pub async fn recount(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window: Window,
    now: Moment,
) -> Result<Option<Counter>, StoreError> {
    if !open(tx, policy, window, now).await? {
        return Ok(None);
    }
    let Some(policy) = policies::get(tx, policy).await? else { return Ok(None) };
    // With the counter locked nobody is charging, so ledger and reservations are read as of one moment.
    lock(tx, &policy.id, window.start).await?;
    let outside = outside(tx, &policy, window).await?;
    tx.one_as(
        sql!(concat!(
            "UPDATE budget_counters SET spent = spent - outside + $3, outside = $3, updated_at = $4 \
             WHERE policy_id = $1 AND window_start = $2 RETURNING ",
            columns!()
        )),
        p![&policy.id, window.start, outside, now],
    )
    .await
}

/// Charges what was spent outside of every run, and returns the counter as it is then. Called before the cost event is
/// recorded: a counter that is opened here counts the ledger as it stands.
pub async fn charge_outside(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window: Window,
    amount: i64,
    now: Moment,
) -> Result<Option<Counter>, StoreError> {
    let text = sql!(concat!(
        "UPDATE budget_counters SET spent = spent + $3, outside = outside + $3, updated_at = $4 \
         WHERE policy_id = $1 AND window_start = $2 RETURNING ",
        columns!()
    ));
    if let Some(counter) = tx.one_as(text, p![policy, window.start, amount, now]).await? {
        return Ok(Some(counter));
    }
    if !open(tx, policy, window, now).await? {
        return Ok(None);
    }
    tx.one_as(text, p![policy, window.start, amount, now]).await
}

/// Adds to what a counter has spent, for a reservation that was charged.
pub(super) async fn add_spent(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window_start: Moment,
    delta: i64,
    now: Moment,
) -> Result<Option<Counter>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "UPDATE budget_counters SET spent = spent + $3, updated_at = $4 \
             WHERE policy_id = $1 AND window_start = $2 RETURNING ",
            columns!()
        )),
        p![policy, window_start, delta, now],
    )
    .await
}

/// Sets an amount aside if something is left under the cap and the amount fits into it. False: it does not, or there is
/// no such counter.
pub(super) async fn set_aside(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window_start: Moment,
    need: i64,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE budget_counters SET reserved = reserved + $3, updated_at = $4 \
                 WHERE policy_id = $1 AND window_start = $2 AND (cap IS NULL OR (spent + reserved < cap AND spent + reserved + $3 <= cap))"
            ),
            p![policy, window_start, need, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Gives back what was set aside.
pub(super) async fn give_back(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window_start: Moment,
    amount: i64,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE budget_counters SET reserved = reserved - $3, updated_at = $4 \
             WHERE policy_id = $1 AND window_start = $2"
        ),
        p![policy, window_start, amount, now],
    )
    .await
}

/// Notes that the warning of a window was given; true for the one who gives it.
pub async fn mark_warned(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window_start: Moment,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE budget_counters SET warned_at = $3, updated_at = $3 \
                 WHERE policy_id = $1 AND window_start = $2 AND warned_at IS NULL"
            ),
            p![policy, window_start, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Notes that the window's budget stopped its scope; true for the one who stops it.
pub async fn mark_stopped(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window_start: Moment,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE budget_counters SET stopped_at = $3, updated_at = $3 \
                 WHERE policy_id = $1 AND window_start = $2 AND stopped_at IS NULL"
            ),
            p![policy, window_start, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Takes back both marks, after the amount was raised; true if there was one.
pub async fn clear_marks(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window_start: Moment,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE budget_counters SET warned_at = NULL, stopped_at = NULL, updated_at = $3 WHERE policy_id = $1 \
                 AND window_start = $2 AND (warned_at IS NOT NULL OR stopped_at IS NOT NULL)"
            ),
            p![policy, window_start, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Returns counters that stopped their scope and whose window is over, the oldest first.
pub async fn stopped_and_over(tx: &mut Tx<'_>, now: Moment, limit: i64) -> Result<Vec<Counter>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM budget_counters WHERE stopped_at IS NOT NULL AND window_end <= $1 \
             ORDER BY window_end, policy_id LIMIT $2"
        )),
        p![now, limit],
    )
    .await
}

/// Returns when the next window ends that stopped its scope.
pub async fn next_stopped_end(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT window_end FROM budget_counters WHERE stopped_at IS NOT NULL \
                 ORDER BY window_end, policy_id LIMIT 1"
            ),
            p![],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// A counter that is not what its parts say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub policy_id: PolicyId,
    pub window_start: Moment,
    pub spent: i64,
    /// What is outside, and what the reservations were charged.
    pub should_be_spent: i64,
    pub reserved: i64,
    /// What the reservations hold.
    pub should_be_reserved: i64,
    pub cap: Option<i64>,
    /// What the policy's amount allows.
    pub should_be_cap: Option<i64>,
}
from_row!(Drift {
    policy_id,
    window_start,
    spent,
    should_be_spent,
    reserved,
    should_be_reserved,
    cap,
    should_be_cap
});

/// Returns counters of a company that are not what their parts say; there never should be one. For tests and the
/// simulation: it looks at every reservation.
pub async fn drifted(tx: &mut Tx<'_>, company: &CompanyId, limit: i64) -> Result<Vec<Drift>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT policy_id, window_start, spent, should_be_spent, reserved, should_be_reserved, cap, should_be_cap \
             FROM (SELECT c.policy_id, c.window_start, c.spent, c.reserved, c.cap, \
             c.outside + CAST(COALESCE((SELECT SUM(r.charged) FROM budget_reservations r \
             WHERE r.policy_id = c.policy_id AND r.window_start = c.window_start), 0) AS bigint) AS should_be_spent, \
             CAST(COALESCE((SELECT SUM(r.reserved) FROM budget_reservations r \
             WHERE r.policy_id = c.policy_id AND r.window_start = c.window_start), 0) AS bigint) AS should_be_reserved, \
             CASE WHEN p.is_active AND p.hard_stop_enabled AND p.amount > 0 \
             THEN p.amount * CASE WHEN p.metric = 'billed_cents' THEN 10000 ELSE 1 END END AS should_be_cap \
             FROM budget_policies p JOIN budget_counters c ON c.policy_id = p.id WHERE p.company_id = $1) counted \
             WHERE spent <> should_be_spent OR reserved <> should_be_reserved \
             OR COALESCE(cap, -1) <> COALESCE(should_be_cap, -1) ORDER BY policy_id, window_start LIMIT $2"
        ),
        p![company, limit],
    )
    .await
}

/// What the ledger holds for a policy's scope and window that no reservation of the policy was charged for.
async fn outside(tx: &mut Tx<'_>, policy: &policies::Policy, window: Window) -> Result<i64, StoreError> {
    let text = match policy.scope_type {
        ScopeKind::Agent => sql!(
            "SELECT CAST(COALESCE(SUM(CASE WHEN $5 THEN e.counted_tokens ELSE e.cost_micros END), 0) AS bigint) \
             FROM cost_events e WHERE e.agent_id = $1 AND e.occurred_at >= $2 AND e.occurred_at < $3 \
             AND (e.origin <> 'run' OR NOT EXISTS \
             (SELECT 1 FROM budget_reservations r WHERE r.run_id = e.run_id AND r.policy_id = $4))"
        ),
        ScopeKind::Project => sql!(
            "SELECT CAST(COALESCE(SUM(CASE WHEN $5 THEN e.counted_tokens ELSE e.cost_micros END), 0) AS bigint) \
             FROM cost_events e WHERE e.project_id = $1 AND e.occurred_at >= $2 AND e.occurred_at < $3 \
             AND (e.origin <> 'run' OR NOT EXISTS \
             (SELECT 1 FROM budget_reservations r WHERE r.run_id = e.run_id AND r.policy_id = $4))"
        ),
        ScopeKind::Company => sql!(
            "SELECT CAST(COALESCE(SUM(CASE WHEN $5 THEN e.counted_tokens ELSE e.cost_micros END), 0) AS bigint) \
             FROM cost_events e WHERE e.company_id = $1 AND e.occurred_at >= $2 AND e.occurred_at < $3 \
             AND (e.origin <> 'run' OR NOT EXISTS \
             (SELECT 1 FROM budget_reservations r WHERE r.run_id = e.run_id AND r.policy_id = $4))"
        ),
    };
    let tokens = policy.metric == Metric::Tokens;
    let row = tx.one(text, p![&policy.scope_id, window.start, window.end, &policy.id, tokens]).await?;
    row.map_or(Ok(0), |row| row.get(0))
}
