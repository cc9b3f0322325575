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

/// Which entries of a company are wanted: those that fit in everything that is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    pub agent: Option<&'a AgentId>,
    pub entity_type: Option<&'a str>,
    pub entity_id: Option<&'a str>,
}

/// The end of each statement about `activity_log a`: those before the place $2, $3, at most $5, without entries of hidden
/// issues.
macro_rules! newest_of_a {
    () => {
        "(a.created_at, a.id) < ($2, $3) AND (a.entity_type <> 'issue' OR NOT EXISTS (SELECT 1 FROM issues i WHERE i.id = a.entity_id \
              AND i.hidden_at IS NOT NULL)) ORDER BY a.created_at DESC, a.id DESC LIMIT $5"
    };
}

/// Returns the entries of a company, newest first, before a place. Entries of hidden issues are left out.
pub async fn of_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    wanted: Wanted<'_>,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Activity>, StoreError> {
    let (at, id) = from_place(before);
    let Wanted { agent, entity_type, entity_id } = wanted;
    // One thing has fewer entries than an agent, and an agent fewer than a company: each has its index.
    if let Some(entity_id) = entity_id {
        // A kind that is known gives the entries in their order.
        let sql = match entity_type {
            Some(_) => sql!(concat!(
                "SELECT ",
                columns_of_a!(),
                " FROM activity_log a WHERE a.entity_id = $6 AND a.entity_type = $4 \
                 AND a.company_id || '' = $1 AND (CAST($7 AS text) IS NULL OR a.agent_id = $7) AND ",
                newest_of_a!()
            )),
            None => sql!(concat!(
                "SELECT ",
                columns_of_a!(),
                " FROM activity_log a WHERE a.entity_id = $6 AND (CAST($4 AS text) IS NULL OR a.entity_type = $4) \
                 AND a.company_id || '' = $1 AND (CAST($7 AS text) IS NULL OR a.agent_id = $7) AND ",
                newest_of_a!()
            )),
        };
        return tx.rows_as(sql, p![company, at, id, entity_type, limit, entity_id, agent]).await;
    }
    if let Some(agent) = agent {
        return tx
            .rows_as(
                sql!(concat!(
                    "SELECT ",
                    columns_of_a!(),
                    " FROM activity_log a WHERE a.agent_id = $6 AND a.company_id || '' = $1 \
                     AND (CAST($4 AS text) IS NULL OR a.entity_type = $4) AND ",
                    newest_of_a!()
                )),
                p![company, at, id, entity_type, limit, agent],
            )
            .await;
    }
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns_of_a!(),
            " FROM activity_log a WHERE a.company_id = $1 \
             AND (CAST($4 AS text) IS NULL OR a.entity_type = $4) AND ",
            newest_of_a!()
        )),
        p![company, at, id, entity_type, limit],
    )
    .await
}

/// Returns all entries about one thing, newest first, whether it is hidden or not.
pub async fn of_entity(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    (entity_type, entity_id): (&str, &str),
    limit: i64,
) -> Result<Vec<Activity>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM activity_log WHERE entity_id = $1 AND entity_type = $2 AND company_id || '' = $3 \
             ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![entity_id, entity_type, company, limit],
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
