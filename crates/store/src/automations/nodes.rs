//! The nodes of runs, and their attempts.

use domain::automation::{AttemptState, NodeState};
use domain::hold::HeldReason;
use domain::ids::{AgentId, AutomationRunId, CompanyId, RunId};
use domain::moment::Moment;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A node of a run as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRow {
    pub run_id: AutomationRunId,
    pub node_id: String,
    /// Its place in the definition.
    pub place: i64,
    pub state: NodeState,
    /// The number of its newest attempt.
    pub attempt: i64,
    pub attempts: i64,
    pub repairs: i64,
    pub lost: i64,
    pub reworks: i64,
    /// When its first attempt began since it was made again, paused or answered by a person.
    pub since: Option<Moment>,
    pub retry_at: Option<Moment>,
    pub output: Option<Json>,
    pub reason: Option<String>,
    /// What its next attempt is told.
    pub feedback: Option<String>,
    pub started_at: Option<Moment>,
    pub finished_at: Option<Moment>,
}
from_row!(NodeRow {
    run_id,
    node_id,
    place,
    state,
    attempt,
    attempts,
    repairs,
    lost,
    reworks,
    since,
    retry_at,
    output,
    reason,
    feedback,
    started_at,
    finished_at
});

macro_rules! node_columns {
    () => {
        "run_id, node_id, place, state, attempt, attempts, repairs, lost, reworks, since, retry_at, output, reason, feedback, started_at, finished_at"
    };
}

/// An attempt as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub run_id: AutomationRunId,
    pub node_id: String,
    pub attempt: i64,
    pub company_id: CompanyId,
    pub epoch: i64,
    pub agent_id: AgentId,
    pub agent_run_id: Option<RunId>,
    pub state: AttemptState,
    /// False: its node was reset.
    pub counts: bool,
    pub objective: String,
    pub ordered_at: Moment,
    pub deliver_at: Moment,
    pub held_reason: Option<HeldReason>,
    pub started_at: Option<Moment>,
    pub ended_at: Option<Moment>,
    /// `timeout` or `interrupted`.
    pub stopped: Option<String>,
    pub stop_asked_at: Option<Moment>,
    pub record: Option<Json>,
    pub tokens: i64,
    pub cost_micros: i64,
    /// By folder, the names of what lay there that it may not change, where it may change other things beside them.
    pub names_before: Option<Json>,
}
from_row!(Attempt {
    run_id,
    node_id,
    attempt,
    company_id,
    epoch,
    agent_id,
    agent_run_id,
    state,
    counts,
    objective,
    ordered_at,
    deliver_at,
    held_reason,
    started_at,
    ended_at,
    stopped,
    stop_asked_at,
    record,
    tokens,
    cost_micros,
    names_before
});

macro_rules! attempt_columns {
    () => {
        "run_id, node_id, attempt, company_id, epoch, agent_id, agent_run_id, state, counts, objective, ordered_at, deliver_at, held_reason, started_at, ended_at, stopped, stop_asked_at, record, tokens, cost_micros, names_before"
    };
}

/// Adds a node.
pub async fn insert(tx: &mut Tx<'_>, node: &NodeRow) -> Result<(), StoreError> {
    tx.run(
        sql!(concat!(
            "INSERT INTO automation_nodes (",
            node_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
        )),
        p![
            &node.run_id,
            &node.node_id,
            node.place,
            node.state,
            node.attempt,
            node.attempts,
            node.repairs,
            node.lost,
            node.reworks,
            node.since,
            node.retry_at,
            &node.output,
            &node.reason,
            &node.feedback,
            node.started_at,
            node.finished_at
        ],
    )
    .await
}

/// Writes a node.
pub async fn update(tx: &mut Tx<'_>, node: &NodeRow) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE automation_nodes SET state = $3, attempt = $4, attempts = $5, repairs = $6, lost = $7, reworks = $8, since = $9, retry_at = $10, output = $11, reason = $12, feedback = $13, started_at = $14, finished_at = $15 WHERE run_id = $1 AND node_id = $2"), p![&node.run_id, &node.node_id, node.state, node.attempt, node.attempts, node.repairs, node.lost, node.reworks, node.since, node.retry_at, &node.output, &node.reason, &node.feedback, node.started_at, node.finished_at]).await
}

/// Adds an attempt.
pub async fn insert_attempt(tx: &mut Tx<'_>, attempt: &Attempt) -> Result<(), StoreError> {
    tx.run(sql!(concat!("INSERT INTO automation_attempts (", attempt_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)")), p![&attempt.run_id, &attempt.node_id, attempt.attempt, &attempt.company_id, attempt.epoch, &attempt.agent_id, &attempt.agent_run_id, attempt.state, attempt.counts, &attempt.objective, attempt.ordered_at, attempt.deliver_at, attempt.held_reason, attempt.started_at, attempt.ended_at, &attempt.stopped, attempt.stop_asked_at, &attempt.record, attempt.tokens, attempt.cost_micros, &attempt.names_before]).await
}

/// Writes an attempt.
pub async fn update_attempt(tx: &mut Tx<'_>, attempt: &Attempt) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE automation_attempts SET agent_run_id = $4, state = $5, counts = $6, deliver_at = $7, held_reason = $8, started_at = $9, ended_at = $10, stopped = $11, stop_asked_at = $12, record = $13, tokens = $14, cost_micros = $15 WHERE run_id = $1 AND node_id = $2 AND attempt = $3"), p![&attempt.run_id, &attempt.node_id, attempt.attempt, &attempt.agent_run_id, attempt.state, attempt.counts, attempt.deliver_at, attempt.held_reason, attempt.started_at, attempt.ended_at, &attempt.stopped, attempt.stop_asked_at, &attempt.record, attempt.tokens, attempt.cost_micros]).await
}

/// Returns the nodes of a run, in the order of its definition.
pub async fn of_run(tx: &mut Tx<'_>, run: &AutomationRunId) -> Result<Vec<NodeRow>, StoreError> {
    tx.rows_as(
        sql!(concat!("SELECT ", node_columns!(), " FROM automation_nodes WHERE run_id = $1 ORDER BY place")),
        p![run],
    )
    .await
}

/// Returns the attempts of a run that are under way, whether they count or not.
pub async fn live(tx: &mut Tx<'_>, run: &AutomationRunId) -> Result<Vec<Attempt>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            attempt_columns!(),
            " FROM automation_attempts WHERE run_id = $1 AND state <> 'ended' ORDER BY node_id, attempt"
        )),
        p![run],
    )
    .await
}

/// Returns the attempts of a run, oldest first, at most so many of the newest.
pub async fn attempts(
    tx: &mut Tx<'_>,
    run: &AutomationRunId,
    limit: i64,
) -> Result<Vec<Attempt>, StoreError> {
    let mut found: Vec<Attempt> = tx
        .rows_as(
            sql!(concat!(
                "SELECT ",
                attempt_columns!(),
                " FROM automation_attempts WHERE run_id = $1 ORDER BY ordered_at DESC, node_id DESC, attempt DESC LIMIT $2"
            )),
            p![run, limit],
        )
        .await?;
    found.reverse();
    Ok(found)
}

/// Returns an attempt, locked.
pub async fn lock_attempt(
    tx: &mut Tx<'_>,
    run: &AutomationRunId,
    node: &str,
    attempt: i64,
) -> Result<Option<Attempt>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            attempt_columns!(),
            " FROM automation_attempts WHERE run_id = $1 AND node_id = $2 AND attempt = $3 /*+for_update*/"
        )),
        p![run, node, attempt],
    )
    .await
}

/// Returns attempts whose agents are to be woken.
pub async fn ordered(tx: &mut Tx<'_>, now: Moment, limit: i64) -> Result<Vec<Attempt>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            attempt_columns!(),
            " FROM automation_attempts WHERE state = 'ordered' AND deliver_at <= $1 ORDER BY deliver_at, run_id LIMIT $2"
        )),
        p![now, limit],
    )
    .await
}

/// Returns when the next agent is to be woken.
pub async fn next_ordered(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT deliver_at FROM automation_attempts WHERE state = 'ordered' \
                 ORDER BY deliver_at, run_id LIMIT 1"
            ),
            p![],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Has attempts tried again now that something kept from being delivered.
pub async fn bring_forward(tx: &mut Tx<'_>, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE automation_attempts SET deliver_at = $1 \
             WHERE state = 'ordered' AND deliver_at > $1 AND held_reason IS NOT NULL"
        ),
        p![now],
    )
    .await
}

/// Writes that another run of the agent does the work of an attempt now, and what the one before it used: tokens and
/// micro-dollars. False: the attempt is not under way.
pub async fn carry_on(
    tx: &mut Tx<'_>,
    (run, node, attempt): (&AutomationRunId, &str, i64),
    agent_run: &RunId,
    (tokens, cost_micros): (i64, i64),
) -> Result<bool, StoreError> {
    let changed = tx.exec(
        sql!(
            "UPDATE automation_attempts SET agent_run_id = $4, tokens = tokens + $5, cost_micros = cost_micros + $6 \
             WHERE run_id = $1 AND node_id = $2 AND attempt = $3 AND state = 'running'"
        ),
        p![run, node, attempt, agent_run, tokens, cost_micros],
    );
    Ok(changed.await? == 1)
}
