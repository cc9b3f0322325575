//! The activity log: what was done to what, by whom, for people to read.
//!
//! It is told in the words of the wire and forgets nothing that it was told, but it is no proof: that is the audit chain.

use domain::ids::{AgentId, CompanyId, RunId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// An entry as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    pub id: String,
    pub company_id: CompanyId,
    /// `agent`, `user`, `system` or `plugin`.
    pub actor_type: String,
    pub actor_id: String,
    pub action: String,
    pub entity_type: String,
    pub entity_id: String,
    pub agent_id: Option<AgentId>,
    pub run_id: Option<RunId>,
    pub details: Option<Json>,
    pub created_at: Moment,
}
from_row!(Activity {
    id,
    company_id,
    actor_type,
    actor_id,
    action,
    entity_type,
    entity_id,
    agent_id,
    run_id,
    details,
    created_at
});

macro_rules! columns {
    () => {
        "id, company_id, actor_type, actor_id, action, entity_type, entity_id, agent_id, run_id, details, \
         created_at"
    };
}

/// The same columns, of `activity_log a`.
macro_rules! columns_of_a {
    () => {
        "a.id, a.company_id, a.actor_type, a.actor_id, a.action, a.entity_type, a.entity_id, a.agent_id, \
         a.run_id, a.details, a.created_at"
    };
}

/// Adds an entry.
pub async fn insert(tx: &mut Tx<'_>, activity: &Activity) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO activity_log (",
            columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        )),
        p![
            &activity.id,
            &activity.company_id,
            &activity.actor_type,
            &activity.actor_id,
            &activity.action,
            &activity.entity_type,
            &activity.entity_id,
            &activity.agent_id,
            &activity.run_id,
            &activity.details,
            activity.created_at
        ],
    )
    .await
}

/// A place in a list that goes from the newest entry back.
pub type Place = (Moment, String);

fn from_place(before: Option<Place>) -> Place {
    before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()))
}

/// Returns the entries of a company, newest first, before a place; those of one agent or kind of entity, if given.
/// Entries of hidden issues are left out.
pub async fn of_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    agent: Option<&AgentId>,
    entity_type: Option<&str>,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Activity>, StoreError> {
    let (at, id) = from_place(before);
    let Some(agent) = agent else {
        return tx
            .rows_as(
                sql!(concat!(
                    "SELECT ",
                    columns_of_a!(),
                    " FROM activity_log a WHERE a.company_id = $1 AND (a.created_at, a.id) < ($2, $3) \
                     AND (CAST($4 AS text) IS NULL OR a.entity_type = $4) \
                     AND (a.entity_type <> 'issue' OR NOT EXISTS (SELECT 1 FROM issues i WHERE i.id = a.entity_id \
                          AND i.hidden_at IS NOT NULL)) ORDER BY a.created_at DESC, a.id DESC LIMIT $5"
                )),
                p![company, at, id, entity_type, limit],
            )
            .await;
    };
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns_of_a!(),
            " FROM activity_log a WHERE a.agent_id = $6 AND a.company_id || '' = $1 \
             AND (a.created_at, a.id) < ($2, $3) AND (CAST($4 AS text) IS NULL OR a.entity_type = $4) \
             AND (a.entity_type <> 'issue' OR NOT EXISTS (SELECT 1 FROM issues i WHERE i.id = a.entity_id \
                  AND i.hidden_at IS NOT NULL)) ORDER BY a.created_at DESC, a.id DESC LIMIT $5"
        )),
        p![company, at, id, entity_type, limit, agent],
    )
    .await
}

/// Returns the entries about one thing, newest first, before a place.
pub async fn of_entity(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    (entity_type, entity_id): (&str, &str),
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Activity>, StoreError> {
    let (at, id) = from_place(before);
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM activity_log WHERE entity_id = $1 AND entity_type = $2 AND company_id || '' = $3 \
             AND (created_at, id) < ($4, $5) ORDER BY created_at DESC, id DESC LIMIT $6"
        )),
        p![entity_id, entity_type, company, at, id, limit],
    )
    .await
}

/// Returns the entries of a run, oldest first.
pub async fn of_run(tx: &mut Tx<'_>, run: &RunId, limit: i64) -> Result<Vec<Activity>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM activity_log WHERE run_id = $1 ORDER BY created_at, id LIMIT $2"
        )),
        p![run, limit],
    )
    .await
}

/// Counts what a run did, without what the program did for it; tells when it did the last of it.
pub async fn count_of_run(tx: &mut Tx<'_>, run: &RunId) -> Result<(i64, Option<Moment>), StoreError> {
    let row = tx
        .one_as(
            sql!(
                "SELECT COUNT(*), MAX(created_at) FROM activity_log WHERE run_id = $1 \
                 AND actor_type <> 'system' \
                 AND action NOT IN ('environment.lease_acquired', 'environment.lease_released')"
            ),
            p![run],
        )
        .await?;
    Ok(row.unwrap_or((0, None)))
}

/// Returns when a person last did something to an issue.
pub async fn last_touch_of_issue(
    tx: &mut Tx<'_>,
    issue: &domain::ids::IssueId,
) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT created_at FROM activity_log WHERE entity_id = $1 AND entity_type = 'issue' \
                 AND actor_type = 'user' ORDER BY created_at DESC, id DESC LIMIT 1"
            ),
            p![issue],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}
