//! Costs as stored: the ledger of what was spent, and the dearest message of each run.
//!
//! The settlement of a run writes exactly one event; people and agents may report others. Money is in micro-dollars. An
//! unknown price is `cost_known = false` with 0, and its tokens count all the same. Budgets are charged elsewhere.

pub mod reports;

use domain::ids::{AgentId, CompanyId, IssueId, RunId};
use domain::moment::Moment;

use crate::value::Value;
use crate::{StoreError, Tx, from_row, p, sql, sql_list};

/// One entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostEvent {
    pub id: String,
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub issue_id: Option<IssueId>,
    pub project_id: Option<String>,
    pub goal_id: Option<String>,
    pub run_id: Option<RunId>,
    /// [`OF_RUN`] or [`REPORTED`].
    pub origin: String,
    pub billing_code: Option<String>,
    pub provider: String,
    pub biller: String,
    pub billing_type: String,
    pub model: String,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub output_tokens: i64,
    /// How many tokens count against budgets in tokens.
    pub counted_tokens: i64,
    pub cost_micros: i64,
    pub cost_known: bool,
    pub occurred_at: Moment,
    pub created_at: Moment,
}
from_row!(CostEvent {
    id,
    company_id,
    agent_id,
    issue_id,
    project_id,
    goal_id,
    run_id,
    origin,
    billing_code,
    provider,
    biller,
    billing_type,
    model,
    input_tokens,
    cached_input_tokens,
    output_tokens,
    counted_tokens,
    cost_micros,
    cost_known,
    occurred_at,
    created_at
});

/// The origin of the one event that a run's settlement writes.
pub const OF_RUN: &str = "run";
/// The origin of an event that somebody reported.
pub const REPORTED: &str = "report";

macro_rules! columns {
    () => {
        "id, company_id, agent_id, issue_id, project_id, goal_id, run_id, origin, billing_code, provider, biller, \
         billing_type, model, input_tokens, cached_input_tokens, output_tokens, counted_tokens, cost_micros, \
         cost_known, occurred_at, created_at"
    };
}

/// Adds an event; returns false, and adds nothing, when it is of a run's settlement and that run has one.
pub async fn record(tx: &mut Tx<'_>, event: &CostEvent) -> Result<bool, StoreError> {
    let added = tx
        .exec(
            sql!(concat!(
                "INSERT INTO cost_events (",
                columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, \
                 $20, $21) ON CONFLICT (run_id) WHERE origin = 'run' DO NOTHING"
            )),
            p![
                &event.id,
                &event.company_id,
                &event.agent_id,
                &event.issue_id,
                &event.project_id,
                &event.goal_id,
                &event.run_id,
                &event.origin,
                &event.billing_code,
                &event.provider,
                &event.biller,
                &event.billing_type,
                &event.model,
                event.input_tokens,
                event.cached_input_tokens,
                event.output_tokens,
                event.counted_tokens,
                event.cost_micros,
                event.cost_known,
                event.occurred_at,
                event.created_at
            ],
        )
        .await?;
    Ok(added == 1)
}

/// Returns the events of a run, oldest first.
pub async fn of_run(tx: &mut Tx<'_>, run: &RunId, limit: i64) -> Result<Vec<CostEvent>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM cost_events WHERE run_id = $1 ORDER BY occurred_at, id LIMIT $2"
        )),
        p![run, limit],
    )
    .await
}

/// What a run's messages cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dearest {
    pub micros: i64,
    pub tokens: i64,
}
from_row!(Dearest { micros, tokens });

/// Notes that a run sent `messages` more, the dearest of which cost this much.
pub async fn note_messages(
    tx: &mut Tx<'_>,
    run: &RunId,
    agent: &AgentId,
    messages: i64,
    dearest: Dearest,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO run_messages (run_id, agent_id, messages, dearest_micros, dearest_tokens, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (run_id) DO UPDATE SET \
             messages = run_messages.messages + excluded.messages, \
             dearest_micros = CASE WHEN excluded.dearest_micros > run_messages.dearest_micros \
             THEN excluded.dearest_micros ELSE run_messages.dearest_micros END, \
             dearest_tokens = CASE WHEN excluded.dearest_tokens > run_messages.dearest_tokens \
             THEN excluded.dearest_tokens ELSE run_messages.dearest_tokens END"
        ),
        p![run, agent, messages, dearest.micros, dearest.tokens, now],
    )
    .await
}

/// Returns the dearest message of an agent's last `runs` runs that sent any, in money and in tokens; zero before the
/// first.
pub async fn dearest_message(tx: &mut Tx<'_>, agent: &AgentId, runs: i64) -> Result<Dearest, StoreError> {
    let found = tx
        .one_as(
            sql!(
                "SELECT CAST(COALESCE(MAX(dearest_micros), 0) AS bigint), \
                 CAST(COALESCE(MAX(dearest_tokens), 0) AS bigint) FROM (SELECT dearest_micros, dearest_tokens \
                 FROM run_messages WHERE agent_id = $1 ORDER BY created_at DESC, run_id DESC LIMIT $2) latest"
            ),
            p![agent, runs],
        )
        .await?;
    Ok(found.unwrap_or_default())
}

/// Removes what is known of the messages of runs that are removed; the ledger stays.
pub async fn forget_messages(tx: &mut Tx<'_>, runs: &[RunId]) -> Result<u64, StoreError> {
    tx.exec_in(
        sql_list!("DELETE FROM run_messages WHERE run_id IN ({list})"),
        p![],
        runs.iter().map(Value::from).collect(),
    )
    .await
}
