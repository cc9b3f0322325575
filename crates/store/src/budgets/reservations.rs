//! Reservations: what one run holds of its budgets, and what it was charged.
//!
//! Head-room is set aside before a run starts and stays until its end; charges go beside it. So a cap is passed by at
//! most what the running runs spend beyond what they set aside.

use domain::ids::{PolicyId, RunId};
use domain::moment::Moment;

use super::Window;
use super::counters::{self, Counter};
use crate::{StoreError, Tx, from_row, p, sql};

/// What a run holds and was charged under one policy, in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    pub run_id: RunId,
    pub policy_id: PolicyId,
    pub window_start: Moment,
    pub reserved: i64,
    pub charged: i64,
    pub created_at: Moment,
    pub released_at: Option<Moment>,
}
from_row!(Reservation { run_id, policy_id, window_start, reserved, charged, created_at, released_at });

macro_rules! columns {
    () => {
        "run_id, policy_id, window_start, reserved, charged, created_at, released_at"
    };
}

/// An amount under one policy: to be set aside, or to be charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    pub policy: PolicyId,
    pub window: Window,
    pub amount: i64,
}

/// What came of an attempt to reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    Made,
    /// This policy does not cover it; nothing was set aside under any.
    Short(PolicyId),
}

/// Sets aside all of these amounts for a run, or none of them.
pub async fn reserve(
    tx: &mut Tx<'_>,
    run: &RunId,
    shares: &[Share],
    now: Moment,
) -> Result<Reserved, StoreError> {
    let shares = in_order(shares);
    for (at, share) in shares.iter().enumerate() {
        let Share { policy, window, amount } = share;
        let mut made = counters::set_aside(tx, policy, window.start, *amount, now).await?;
        if !made
            && counters::get(tx, policy, window.start).await?.is_none()
            && counters::open(tx, policy, *window, now).await?
        {
            made = counters::set_aside(tx, policy, window.start, *amount, now).await?;
        }
        if !made {
            // Their rows are ours until the transaction ends: nobody saw what is given back here.
            for share in &shares[..at] {
                counters::give_back(tx, &share.policy, share.window.start, share.amount, now).await?;
            }
            return Ok(Reserved::Short(policy.clone()));
        }
    }
    for Share { policy, window, amount } in &shares {
        tx.run(
            sql!(
                "INSERT INTO budget_reservations (run_id, policy_id, window_start, reserved, charged, created_at) \
                 VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT (run_id, policy_id, window_start) DO UPDATE SET \
                 reserved = budget_reservations.reserved + excluded.reserved, released_at = NULL"
            ),
            p![run, policy, window.start, *amount, now],
        )
        .await?;
    }
    Ok(Reserved::Made)
}

/// Charges what a run has spent since the last charge; what it holds stays. Returns the counters as they are then, in
/// the order of their policies; those of policies that are gone are left out. Called before the run's cost event is
/// recorded: a counter that is opened here counts the ledger as it stands.
pub async fn charge(
    tx: &mut Tx<'_>,
    run: &RunId,
    shares: &[Share],
    now: Moment,
) -> Result<Vec<Counter>, StoreError> {
    let mut counted = Vec::with_capacity(shares.len());
    for Share { policy, window, amount } in in_order(shares) {
        let mut counter = counters::add_spent(tx, &policy, window.start, amount, now).await?;
        if counter.is_none() && counters::open(tx, &policy, window, now).await? {
            counter = counters::add_spent(tx, &policy, window.start, amount, now).await?;
        }
        let Some(counter) = counter else { continue };
        tx.run(
            sql!(
                "INSERT INTO budget_reservations (run_id, policy_id, window_start, reserved, charged, created_at) \
                 VALUES ($1, $2, $3, 0, $4, $5) ON CONFLICT (run_id, policy_id, window_start) DO UPDATE SET \
                 charged = budget_reservations.charged + excluded.charged"
            ),
            p![run, &policy, window.start, amount, now],
        )
        .await?;
        counted.push(counter);
    }
    Ok(counted)
}

/// Makes the charges of a run under each policy add up to its final amount, whatever was charged before: a rest is
/// charged to the given window, too much is taken back from the latest window that has it. One total for each policy;
/// called before the run is released and its cost event recorded. Returns the counters that changed.
pub async fn settle(
    tx: &mut Tx<'_>,
    run: &RunId,
    totals: &[Share],
    now: Moment,
) -> Result<Vec<Counter>, StoreError> {
    let so_far = of_run(tx, run).await?;
    let mut changed = Vec::new();
    for total in in_order(totals) {
        let of_policy: Vec<_> =
            so_far.iter().filter(|reservation| reservation.policy_id == total.policy).collect();
        let charged: i64 = of_policy.iter().map(|reservation| reservation.charged).sum();
        let mut too_much = charged - total.amount;
        if too_much <= 0 {
            let rest = Share { amount: -too_much, ..total };
            changed.append(&mut charge(tx, run, &[rest], now).await?);
            continue;
        }
        for reservation in of_policy.iter().rev() {
            let back = too_much.min(reservation.charged);
            if back == 0 {
                continue;
            }
            too_much -= back;
            tx.run(
                sql!(
                    "UPDATE budget_reservations SET charged = charged - $4 \
                     WHERE run_id = $1 AND policy_id = $2 AND window_start = $3"
                ),
                p![run, &reservation.policy_id, reservation.window_start, back],
            )
            .await?;
            let counter =
                counters::add_spent(tx, &reservation.policy_id, reservation.window_start, -back, now).await?;
            changed.extend(counter);
        }
    }
    Ok(changed)
}

/// Takes what a run holds of one window along into another, whether it fits there or not: a run that lives into the next
/// month keeps its head-room. Returns how much that was.
pub async fn carry(
    tx: &mut Tx<'_>,
    run: &RunId,
    policy: &PolicyId,
    from: Moment,
    to: Window,
    now: Moment,
) -> Result<i64, StoreError> {
    let held: Option<(i64,)> = tx
        .one_as(
            sql!(
                "SELECT reserved FROM budget_reservations WHERE run_id = $1 AND policy_id = $2 AND window_start = $3 \
                 AND reserved > 0 /*+for_update*/"
            ),
            p![run, policy, from],
        )
        .await?;
    let Some((held,)) = held.filter(|_| from != to.start) else { return Ok(0) };
    if counters::get(tx, policy, to.start).await?.is_none() {
        counters::open(tx, policy, to, now).await?;
    }
    counters::give_back(tx, policy, from, held, now).await?;
    counters::give_back(tx, policy, to.start, -held, now).await?;
    tx.run(
        sql!(
            "UPDATE budget_reservations SET reserved = 0 \
             WHERE run_id = $1 AND policy_id = $2 AND window_start = $3"
        ),
        p![run, policy, from],
    )
    .await?;
    tx.run(
        sql!(
            "INSERT INTO budget_reservations (run_id, policy_id, window_start, reserved, charged, created_at) \
             VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT (run_id, policy_id, window_start) DO UPDATE SET \
             reserved = budget_reservations.reserved + excluded.reserved, released_at = NULL"
        ),
        p![run, policy, to.start, held, now],
    )
    .await?;
    Ok(held)
}

/// Gives back what a run holds; returns the reservations as they were. A second release finds nothing to give back.
pub async fn release(tx: &mut Tx<'_>, run: &RunId, now: Moment) -> Result<Vec<Reservation>, StoreError> {
    let held: Vec<Reservation> = tx
        .rows_as(
            sql!(concat!(
                "SELECT ",
                columns!(),
                " FROM budget_reservations WHERE run_id = $1 AND released_at IS NULL \
                 ORDER BY policy_id, window_start /*+for_update*/"
            )),
            p![run],
        )
        .await?;
    for reservation in held.iter().filter(|reservation| reservation.reserved > 0) {
        let Reservation { policy_id, window_start, reserved, .. } = reservation;
        counters::give_back(tx, policy_id, *window_start, *reserved, now).await?;
    }
    if !held.is_empty() {
        tx.run(
            sql!(
                "UPDATE budget_reservations SET reserved = 0, released_at = $2 \
                 WHERE run_id = $1 AND released_at IS NULL"
            ),
            p![run, now],
        )
        .await?;
    }
    Ok(held)
}

/// Returns what a run holds and was charged, by policy and window.
pub async fn of_run(tx: &mut Tx<'_>, run: &RunId) -> Result<Vec<Reservation>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM budget_reservations WHERE run_id = $1 ORDER BY policy_id, window_start"
        )),
        p![run],
    )
    .await
}

/// Returns runs that hold something of a counter, by id: whom a stop of its scope concerns.
pub async fn holders(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window_start: Moment,
    limit: i64,
) -> Result<Vec<RunId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT run_id FROM budget_reservations WHERE policy_id = $1 AND window_start = $2 AND reserved > 0 \
                 ORDER BY run_id LIMIT $3"
            ),
            p![policy, window_start, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns runs that still hold something though they are not running: there never should be one, and a sweep that
/// finds one releases it.
pub async fn forgotten(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<RunId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT DISTINCT h.run_id FROM budget_reservations h WHERE h.reserved > 0 AND NOT EXISTS \
                 (SELECT 1 FROM runs WHERE runs.id = h.run_id AND runs.status = 'running') ORDER BY h.run_id LIMIT $1"
            ),
            p![limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Removes reservations released before `before`, oldest first; their charges become part of what their counters have
/// spent outside. Returns how many were removed.
pub async fn fold(tx: &mut Tx<'_>, before: Moment, limit: i64) -> Result<u64, StoreError> {
    let mut old: Vec<Reservation> = tx
        .rows_as(
            sql!(concat!(
                "SELECT ",
                columns!(),
                " FROM budget_reservations WHERE released_at IS NOT NULL AND released_at < $1 \
                 ORDER BY released_at, run_id LIMIT $2 /*+skip_locked*/"
            )),
            p![before, limit],
        )
        .await?;
    old.sort_by(|a, b| (&a.policy_id, a.window_start).cmp(&(&b.policy_id, b.window_start)));
    for Reservation { run_id, policy_id, window_start, charged, .. } in &old {
        tx.run(
            sql!(
                "UPDATE budget_counters SET outside = outside + $3 WHERE policy_id = $1 AND window_start = $2"
            ),
            p![policy_id, *window_start, *charged],
        )
        .await?;
        tx.run(
            sql!(
                "DELETE FROM budget_reservations WHERE run_id = $1 AND policy_id = $2 AND window_start = $3"
            ),
            p![run_id, policy_id, *window_start],
        )
        .await?;
    }
    Ok(old.len() as u64)
}

/// In the order of locks, and one share for each counter.
fn in_order(shares: &[Share]) -> Vec<Share> {
    let mut shares = shares.to_vec();
    shares.sort_by(|a, b| (&a.policy, a.window.start).cmp(&(&b.policy, b.window.start)));
    shares.dedup_by(|next, kept| {
        let same = next.policy == kept.policy && next.window == kept.window;
        if same {
            kept.amount += next.amount;
        }
        same
    });
    shares
}
