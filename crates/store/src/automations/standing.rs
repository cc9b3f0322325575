//! Runs that stand until a person does something: those that failed or are blocked, and those that something other than a
//! person has paused and that do not go on by themselves.
//!
//! A person may put one aside. That is about how it stands now: when its status changes, it counts no more
//! ([`super::runs::update`]).

use domain::automation::{AutomationRunStatus, Guardrail, StopKind};
use domain::ids::{AutomationId, AutomationRunId, CompanyId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A run that stands, as far as people are told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StandingRun {
    pub id: AutomationRunId,
    pub company_id: CompanyId,
    pub automation_id: AutomationId,
    /// Its name, also when it was removed.
    pub automation: String,
    /// Counted for each automation, from 1.
    pub number: i64,
    pub status: AutomationRunStatus,
    pub stop_kind: Option<StopKind>,
    pub guardrail: Option<Guardrail>,
    /// What it came to, in words.
    pub detail: Option<String>,
    pub last_failure: Option<Json>,
    /// Since when it stands so.
    pub since: Moment,
    /// A person has put it aside.
    pub aside_at: Option<Moment>,
}
from_row!(StandingRun {
    id,
    company_id,
    automation_id,
    automation,
    number,
    status,
    stop_kind,
    guardrail,
    detail,
    last_failure,
    since,
    aside_at
});

macro_rules! columns {
    () => {
        "id, company_id, automation_id, \
         (SELECT a.name FROM automations AS a WHERE a.id = automation_runs.automation_id) AS automation, number, status, \
         stop_kind, guardrail, detail, last_failure, COALESCE(finished_at, stopped_at) AS since, aside_at"
    };
}

macro_rules! stands {
    () => {
        "status IN ('failed', 'blocked', 'paused') \
         AND (status <> 'paused' OR (look_at IS NULL AND stop_kind <> 'operator_stopped'))"
    };
}

/// Returns runs of a company that stand and that nobody put aside, newest first, before the given place.
pub async fn list(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    before: (Moment, &str),
    limit: i64,
) -> Result<Vec<StandingRun>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM automation_runs WHERE company_id = $1 AND aside_at IS NULL AND ",
            stands!(),
            " AND COALESCE(finished_at, stopped_at) <= $2 AND (COALESCE(finished_at, stopped_at), id) < ($2, $3) \
             ORDER BY COALESCE(finished_at, stopped_at) DESC, id DESC LIMIT $4"
        )),
        p![company, before.0, before.1, limit],
    )
    .await
}

/// Counts them, up to `most`.
pub async fn count(tx: &mut Tx<'_>, company: &CompanyId, most: i64) -> Result<i64, StoreError> {
    let rows = tx
        .rows(
            sql!(concat!(
                "SELECT id FROM automation_runs WHERE company_id = $1 AND aside_at IS NULL AND ",
                stands!(),
                " ORDER BY COALESCE(finished_at, stopped_at) DESC, id DESC LIMIT $2"
            )),
            p![company, most],
        )
        .await?;
    Ok(i64::try_from(rows.len()).unwrap_or(most))
}

/// Returns a run that stands, put aside or not.
pub async fn get(tx: &mut Tx<'_>, id: &AutomationRunId) -> Result<Option<StandingRun>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM automation_runs WHERE id = $1 AND ", stands!())),
        p![id],
    )
    .await
}

/// Puts a run aside that stands; false when it does not, or when it was put aside before.
pub async fn put_aside(tx: &mut Tx<'_>, id: &AutomationRunId, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(concat!(
                "UPDATE automation_runs SET aside_at = $2 WHERE id = $1 AND aside_at IS NULL AND ",
                stands!()
            )),
            p![id, now],
        )
        .await?;
    Ok(changed == 1)
}
