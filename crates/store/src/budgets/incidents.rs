//! Incidents: a budget's threshold that was crossed, and what became of it. One is open per policy, window and
//! threshold; once it is over, the same threshold may be crossed again.

use domain::budget::scope::ScopeKind;
use domain::budget::window::WindowKind;
use domain::budget::{self, IncidentStatus, Metric, Threshold};
use domain::ids::{CompanyId, PolicyId};
use domain::moment::Moment;

use crate::{StoreError, Tx, from_row, p, sql};

/// An incident as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    pub id: String,
    pub company_id: CompanyId,
    pub policy_id: PolicyId,
    pub scope_type: ScopeKind,
    pub scope_id: String,
    pub metric: Metric,
    pub window_kind: WindowKind,
    pub window_start: Moment,
    pub window_end: Moment,
    pub threshold_type: Threshold,
    pub amount_limit: i64,
    pub amount_observed: i64,
    pub status: IncidentStatus,
    pub approval_id: Option<String>,
    pub resolved_at: Option<Moment>,
    pub created_at: Moment,
    pub updated_at: Moment,
}
from_row!(Incident {
    id,
    company_id,
    policy_id,
    scope_type,
    scope_id,
    metric,
    window_kind,
    window_start,
    window_end,
    threshold_type,
    amount_limit,
    amount_observed,
    status,
    approval_id,
    resolved_at,
    created_at,
    updated_at
});

impl Incident {
    /// The incident as the rules see it.
    pub fn rule(&self) -> budget::Incident {
        budget::Incident {
            id: self.id.clone(),
            threshold: self.threshold_type,
            window_start: self.window_start,
            status: self.status,
        }
    }
}

macro_rules! columns {
    () => {
        "id, company_id, policy_id, scope_type, scope_id, metric, window_kind, window_start, window_end, \
         threshold_type, amount_limit, amount_observed, status, approval_id, resolved_at, created_at, updated_at"
    };
}

/// Opens an incident; returns false, and adds nothing, when one of its policy, window and threshold is open.
pub async fn open(tx: &mut Tx<'_>, incident: &Incident) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO budget_incidents (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
                 ON CONFLICT (policy_id, window_start, threshold_type) WHERE status = 'open' DO NOTHING"
            )),
            p![
                &incident.id,
                &incident.company_id,
                &incident.policy_id,
                incident.scope_type,
                &incident.scope_id,
                incident.metric,
                incident.window_kind,
                incident.window_start,
                incident.window_end,
                incident.threshold_type,
                incident.amount_limit,
                incident.amount_observed,
                incident.status,
                &incident.approval_id,
                incident.resolved_at,
                incident.created_at,
                incident.updated_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one incident.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<Incident>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM budget_incidents WHERE id = $1")), p![id]).await
}

/// Returns the incident that an approval was asked for.
pub async fn of_approval(tx: &mut Tx<'_>, approval: &str) -> Result<Option<Incident>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM budget_incidents WHERE approval_id = $1 ORDER BY id DESC LIMIT 1"
        )),
        p![approval],
    )
    .await
}

/// Returns the open incidents of a company, newest first, before the given place.
pub async fn list_open(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    before: Option<(Moment, String)>,
    limit: i64,
) -> Result<Vec<Incident>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM budget_incidents WHERE company_id = $1 AND status = 'open' AND (created_at, id) < ($2, $3) \
             ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![company, at, id, limit],
    )
    .await
}

/// Returns the open incidents of a policy, of all its windows: at most two for each.
pub async fn open_of_policy(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    limit: i64,
) -> Result<Vec<Incident>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM budget_incidents WHERE policy_id = $1 AND status = 'open' \
             ORDER BY window_start, threshold_type LIMIT $2"
        )),
        p![policy, limit],
    )
    .await
}

/// Returns the incidents of a policy, those of the latest window first, whatever became of them.
pub async fn of_policy(tx: &mut Tx<'_>, policy: &PolicyId, limit: i64) -> Result<Vec<Incident>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM budget_incidents WHERE policy_id = $1 \
             ORDER BY window_start DESC, created_at DESC, id DESC LIMIT $2"
        )),
        p![policy, limit],
    )
    .await
}

/// Returns the incidents of a policy in one window, newest first.
pub async fn of_window(
    tx: &mut Tx<'_>,
    policy: &PolicyId,
    window_start: Moment,
    limit: i64,
) -> Result<Vec<Incident>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM budget_incidents WHERE policy_id = $1 AND window_start = $2 \
             ORDER BY created_at DESC, id DESC LIMIT $3"
        )),
        p![policy, window_start, limit],
    )
    .await
}

/// Returns open incidents of hard stops, of all companies, after the given place.
pub async fn open_stops(
    tx: &mut Tx<'_>,
    after: (&CompanyId, Moment, &str),
    limit: i64,
) -> Result<Vec<Incident>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM budget_incidents WHERE status = 'open' AND threshold_type = 'hard' \
             AND (company_id, created_at, id) > ($1, $2, $3) ORDER BY company_id, created_at, id LIMIT $4"
        )),
        p![after.0, after.1, after.2, limit],
    )
    .await
}

/// Opens an incident again that was over, with what is observed now and, where somebody has to decide anew, another
/// approval; false: it is open, or there is none.
pub async fn reopen(
    tx: &mut Tx<'_>,
    id: &str,
    limit: i64,
    observed: i64,
    approval: Option<&str>,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE budget_incidents SET status = 'open', resolved_at = NULL, amount_limit = $2, \
                 amount_observed = $3, approval_id = COALESCE($4, approval_id), updated_at = $5 \
                 WHERE id = $1 AND status <> 'open'"
            ),
            p![id, limit, observed, approval, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Ends an open incident as `resolved` or `dismissed`; false: it is over already.
pub async fn close(
    tx: &mut Tx<'_>,
    id: &str,
    status: IncidentStatus,
    now: Moment,
) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE budget_incidents SET status = $2, resolved_at = $3, updated_at = $3 \
                 WHERE id = $1 AND status = 'open'"
            ),
            p![id, status, now],
        )
        .await?;
    Ok(changed == 1)
}
