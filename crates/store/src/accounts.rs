//! Accounts as stored: one row for each credential that a company's agents use.
//!
//! The row is locked behind the run and before the counters of budgets (D15); who changes it has read it under that
//! lock. What is due is a column of its own, so that a sweep finds it by an index.

use domain::account::{Account, Failure, Park, ParkedFor, Standing};
use domain::ids::{AgentId, CompanyId, RunId};
use domain::moment::Moment;
use serde_json::{Value as Json, json};

use crate::value::Value;
use crate::{FromRow, Row, StoreError, Tx, from_row, p, sql, sql_list};

/// An account as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAccount {
    pub id: String,
    pub company_id: CompanyId,
    pub provider: String,
    pub fingerprint: String,
    pub label: String,
    pub account: Account,
    pub first_agent_id: Option<AgentId>,
    /// When time alone changes something.
    pub due_at: Option<Moment>,
    /// The last reset that the provider named.
    pub reset_at: Option<Moment>,
    pub last_error: Option<String>,
    pub login: Login,
    pub created_at: Moment,
    pub updated_at: Moment,
}

/// Where the login of an account lies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Login {
    pub files: Vec<String>,
    /// The node on which they were last looked at.
    pub node: Option<String>,
    /// How they looked.
    pub mark: Option<String>,
}

/// The columns, one by one.
struct Flat {
    id: String,
    company_id: CompanyId,
    provider: String,
    fingerprint: String,
    label: String,
    state: String,
    reason: Option<String>,
    parked_at: Option<Moment>,
    parked_until: Option<Moment>,
    is_named: bool,
    is_released: bool,
    is_asked: bool,
    probe_run_id: Option<RunId>,
    probe_since: Option<Moment>,
    next_start_at: Option<Moment>,
    resuming_until: Option<Moment>,
    auto_resume: bool,
    first_agent_id: Option<AgentId>,
    is_shared: bool,
    level: u32,
    refusals: Json,
    failures: Json,
    due_at: Option<Moment>,
    reset_at: Option<Moment>,
    last_error: Option<String>,
    login_files: Json,
    login_node: Option<String>,
    login_mark: Option<String>,
    created_at: Moment,
    updated_at: Moment,
}
from_row!(Flat {
    id,
    company_id,
    provider,
    fingerprint,
    label,
    state,
    reason,
    parked_at,
    parked_until,
    is_named,
    is_released,
    is_asked,
    probe_run_id,
    probe_since,
    next_start_at,
    resuming_until,
    auto_resume,
    first_agent_id,
    is_shared,
    level,
    refusals,
    failures,
    due_at,
    reset_at,
    last_error,
    login_files,
    login_node,
    login_mark,
    created_at,
    updated_at
});

macro_rules! columns {
    () => {
        "id, company_id, provider, fingerprint, label, state, reason, parked_at, parked_until, is_named, is_released, \
         is_asked, probe_run_id, probe_since, next_start_at, resuming_until, auto_resume, first_agent_id, is_shared, \
         level, refusals, failures, due_at, reset_at, last_error, login_files, login_node, login_mark, created_at, \
         updated_at"
    };
}

impl FromRow for StoredAccount {
    fn from_row(row: &Row) -> Result<StoredAccount, StoreError> {
        Ok(Flat::from_row(row)?.into())
    }
}

impl From<Flat> for StoredAccount {
    fn from(flat: Flat) -> StoredAccount {
        let park = flat.reason.as_deref().and_then(ParkedFor::parse).map(|why| Park {
            why,
            since: flat.parked_at.unwrap_or(flat.updated_at),
            until: flat.parked_until,
            is_named: flat.is_named,
            is_released: flat.is_released,
            is_asked: flat.is_asked,
        });
        // The checks of the table see to it that nothing is missing.
        let standing = match (flat.state.as_str(), park, flat.probe_run_id, flat.next_start_at) {
            ("parked", Some(park), _, _) => Standing::Parked(park),
            ("probing", Some(park), Some(run), _) => {
                Standing::Probing { park, run, since: flat.probe_since.unwrap_or(flat.updated_at) }
            }
            ("resuming", _, _, Some(next_start_at)) => {
                Standing::Resuming { next_start_at, until: flat.resuming_until.unwrap_or(next_start_at) }
            }
            _ => Standing::Open,
        };
        let moments: Vec<i64> = serde_json::from_value(flat.refusals).unwrap_or_default();
        let failures: Vec<Failure> = serde_json::from_value(flat.failures).unwrap_or_default();
        StoredAccount {
            account: Account {
                standing,
                auto_resume: flat.auto_resume,
                is_shared: flat.is_shared,
                level: flat.level,
                refusals: moments.into_iter().map(Moment::from_micros).collect(),
                failures,
            },
            id: flat.id,
            company_id: flat.company_id,
            provider: flat.provider,
            fingerprint: flat.fingerprint,
            label: flat.label,
            first_agent_id: flat.first_agent_id,
            due_at: flat.due_at,
            reset_at: flat.reset_at,
            last_error: flat.last_error,
            login: Login {
                files: serde_json::from_value(flat.login_files).unwrap_or_default(),
                node: flat.login_node,
                mark: flat.login_mark,
            },
            created_at: flat.created_at,
            updated_at: flat.updated_at,
        }
    }
}

/// Adds an account of which nothing is known yet; false: it is there.
pub async fn insert(tx: &mut Tx<'_>, account: &StoredAccount) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(
                "INSERT INTO accounts (id, company_id, provider, fingerprint, label, state, first_agent_id, \
                 created_at, updated_at) VALUES ($1, $2, $3, $4, $5, 'open', $6, $7, $7) \
                 ON CONFLICT (company_id, fingerprint) DO NOTHING"
            ),
            p![
                &account.id,
                &account.company_id,
                &account.provider,
                &account.fingerprint,
                &account.label,
                &account.first_agent_id,
                account.created_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns one account.
pub async fn get(tx: &mut Tx<'_>, id: &str) -> Result<Option<StoredAccount>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM accounts WHERE id = $1")), p![id]).await
}

/// Returns one account and locks its row; the run is locked before (D15).
pub async fn lock(tx: &mut Tx<'_>, id: &str) -> Result<Option<StoredAccount>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM accounts WHERE id = $1 /*+for_update*/")), p![id])
        .await
}

/// The same, by its fingerprint.
pub async fn lock_by_fingerprint(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    fingerprint: &str,
) -> Result<Option<StoredAccount>, StoreError> {
    let text = sql!(concat!(
        "SELECT ",
        columns!(),
        " FROM accounts WHERE company_id = $1 AND fingerprint = $2 /*+for_update*/"
    ));
    tx.one_as(text, p![company, fingerprint]).await
}

/// Returns the accounts with these fingerprints, whatever company they are of.
pub async fn with_fingerprints(
    tx: &mut Tx<'_>,
    fingerprints: &[String],
) -> Result<Vec<StoredAccount>, StoreError> {
    let text = sql_list!(concat!("SELECT ", columns!(), " FROM accounts WHERE fingerprint IN ({list})"));
    let rows = tx.rows_in(text, p![], fingerprints.iter().map(Value::from).collect()).await?;
    rows.iter().map(Row::read).collect()
}

/// Returns the accounts of a company, oldest first.
pub async fn of_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    limit: i64,
) -> Result<Vec<StoredAccount>, StoreError> {
    let text = sql!(concat!(
        "SELECT ",
        columns!(),
        " FROM accounts WHERE company_id = $1 ORDER BY created_at, id LIMIT $2"
    ));
    tx.rows_as(text, p![company, limit]).await
}

/// Returns accounts that time has come to, the longest due first.
pub async fn due(tx: &mut Tx<'_>, now: Moment, limit: i64) -> Result<Vec<String>, StoreError> {
    let text = sql!(
        "SELECT id FROM accounts WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at, id LIMIT $2"
    );
    let rows: Vec<(String,)> = tx.rows_as(text, p![now, limit]).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Returns when the next one is due.
pub async fn next_due(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let text = sql!("SELECT due_at FROM accounts WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1");
    tx.one(text, p![]).await?.map(|row| row.get(0)).transpose()
}

/// Returns the accounts whose login was lost and lies on this node, after an id.
pub async fn logged_out(
    tx: &mut Tx<'_>,
    node: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<StoredAccount>, StoreError> {
    let text = sql!(concat!(
        "SELECT ",
        columns!(),
        " FROM accounts WHERE login_node = $1 AND id > $2 AND state = 'parked' AND reason = 'login' \
         ORDER BY id LIMIT $3"
    ));
    tx.rows_as(text, p![node, after, limit]).await
}

/// Saves an account whose row is locked.
pub async fn save(tx: &mut Tx<'_>, stored: &StoredAccount, now: Moment) -> Result<(), StoreError> {
    let account = &stored.account;
    let park = account.park();
    let (probe, probe_since) = match &account.standing {
        Standing::Probing { run, since, .. } => (Some(run), Some(*since)),
        Standing::Open | Standing::Parked(_) | Standing::Resuming { .. } => (None, None),
    };
    let (next_start_at, resuming_until) = match &account.standing {
        Standing::Resuming { next_start_at, until } => (Some(*next_start_at), Some(*until)),
        Standing::Open | Standing::Parked(_) | Standing::Probing { .. } => (None, None),
    };
    let refusals: Vec<i64> = account.refusals.iter().map(|at| at.micros()).collect();
    tx.run(
        sql!(
            "UPDATE accounts SET state = $2, reason = $3, parked_at = $4, parked_until = $5, is_named = $6, \
             is_released = $7, is_asked = $8, probe_run_id = $9, probe_since = $10, next_start_at = $11, \
             resuming_until = $12, auto_resume = $13, is_shared = $14, level = $15, refusals = $16, failures = $17, \
             due_at = $18, reset_at = $19, last_error = $20, login_files = $21, login_node = $22, login_mark = $23, \
             updated_at = $24 WHERE id = $1"
        ),
        p![
            &stored.id,
            account.state().as_str(),
            park.map(|park| park.why.as_str()),
            park.map(|park| park.since),
            park.and_then(|park| park.until),
            park.is_some_and(|park| park.is_named),
            park.is_some_and(|park| park.is_released),
            park.is_some_and(|park| park.is_asked),
            probe,
            probe_since,
            next_start_at,
            resuming_until,
            account.auto_resume,
            account.is_shared,
            account.level,
            json!(refusals),
            json!(account.failures),
            stored.due_at,
            stored.reset_at,
            &stored.last_error,
            json!(stored.login.files),
            &stored.login.node,
            &stored.login.mark,
            now
        ],
    )
    .await
}

/// Notes on which account a run works; its row is locked.
pub async fn set_of_run(tx: &mut Tx<'_>, run: &RunId, account: Option<&str>) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE runs SET account_id = $2 WHERE id = $1"), p![run, account]).await
}

/// Returns the account that a run works or worked on.
pub async fn of_run(tx: &mut Tx<'_>, run: &RunId) -> Result<Option<String>, StoreError> {
    let row = tx.one(sql!("SELECT account_id FROM runs WHERE id = $1"), p![run]).await?;
    row.map_or(Ok(None), |row| row.get(0))
}

/// Returns the account on which an agent last worked.
pub async fn last_of_agent(tx: &mut Tx<'_>, agent: &AgentId) -> Result<Option<String>, StoreError> {
    let text = sql!(
        "SELECT account_id FROM runs WHERE agent_id = $1 AND account_id IS NOT NULL \
         ORDER BY created_at DESC, id DESC LIMIT 1"
    );
    tx.one(text, p![agent]).await?.map_or(Ok(None), |row| row.get(0))
}

/// Counts the accounts in each state, for metrics.
pub async fn count_by_state(tx: &mut Tx<'_>) -> Result<Vec<(String, i64)>, StoreError> {
    tx.rows_as(sql!("SELECT state, COUNT(*) FROM accounts GROUP BY state ORDER BY state"), p![]).await
}
