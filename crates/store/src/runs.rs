//! Runs as stored: adding and reading them. What a running attempt writes is in `leases`.
//!
//! Whatever asks for runs that are not over must go by the index of those (`runs_live`), or its cost grows with
//! history. Without statistics the planner prefers an index that also gives the order: `ORDER BY +created_at` takes that
//! reason away, and the status is spelled out as the index has it. A test looks at the plans.

use domain::ids::{AgentId, CommentId, CompanyId, IssueId, RunId, WakeId};
use domain::moment::Moment;
use domain::run::RunStatus;
use domain::wake::{Source, TriggerDetail};
use serde_json::Value as Json;

use crate::value::Value;
use crate::{Row, StoreError, Tx, from_row, p, sql, sql_list};

/// A run as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: RunId,
    pub company_id: CompanyId,
    pub agent_id: AgentId,
    pub invocation_source: Source,
    pub trigger_detail: Option<TriggerDetail>,
    pub status: RunStatus,
    /// Empty = the scope of wakes without a task key.
    pub task_key: String,
    pub issue_id: Option<String>,
    pub wake_id: WakeId,
    /// The context snapshot: an object.
    pub context: Json,
    pub retry_of_run_id: Option<RunId>,
    pub process_loss_retries: u32,
    pub retry_at: Option<Moment>,
    pub retry_attempt: u32,
    pub retry_reason: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
    pub started_at: Option<Moment>,
    pub finished_at: Option<Moment>,
    pub lease_epoch: i64,
    pub lease_holder: Option<i64>,
    pub node_id: Option<String>,
    pub boot_id: Option<String>,
    pub fresh_start_used: bool,
    pub stop_asked_at: Option<Moment>,
    pub stop_words: Option<String>,
    pub error: Option<String>,
    pub error_code: Option<String>,
    pub exit_code: Option<i64>,
    pub signal: Option<String>,
    pub usage: Option<Json>,
    pub result: Option<Json>,
    pub session_before: Option<String>,
    pub session_after: Option<String>,
    pub process_pid: Option<i64>,
    pub process_group_id: Option<i64>,
    pub process_started_at: Option<Moment>,
    /// Up to here the log is reflected in the other columns; an offset of the log of the current epoch.
    pub log_offset: i64,
    pub log_bytes: Option<i64>,
    pub log_sha256: Option<String>,
    /// `none`, `folder`, `archived` or `removed`.
    pub log_state: String,
    pub last_output_at: Option<Moment>,
    pub last_output_seq: i64,
    pub last_output_stream: Option<String>,
    pub last_output_bytes: Option<i64>,
    pub stdout_excerpt: Option<String>,
    pub stderr_excerpt: Option<String>,
    /// The number of the last event of this run.
    pub event_seq: i64,
    pub project_id: Option<String>,
    /// The name that the other side gave it.
    pub external_run_id: Option<String>,
    /// `not_applicable`, `satisfied`, `retry_queued` or `retry_exhausted`.
    pub issue_comment_status: String,
    pub issue_comment_satisfied_by_comment_id: Option<CommentId>,
    pub issue_comment_retry_queued_at: Option<Moment>,
    pub liveness_state: Option<String>,
    pub liveness_reason: Option<String>,
    pub next_action: Option<String>,
    /// The how-manieth continuation of work that had stopped half-way.
    pub continuation_attempt: i64,
    pub last_useful_action_at: Option<Moment>,
    /// When its processes last said, computed, read or wrote anything.
    pub last_activity_at: Option<Moment>,
    pub silence_level: String,
    pub snoozed_until: Option<Moment>,
    pub no_progress_count: i64,
}
from_row!(Run {
    id,
    company_id,
    agent_id,
    invocation_source,
    trigger_detail,
    status,
    task_key,
    issue_id,
    wake_id,
    context,
    retry_of_run_id,
    process_loss_retries,
    retry_at,
    retry_attempt,
    retry_reason,
    created_at,
    updated_at,
    started_at,
    finished_at,
    lease_epoch,
    lease_holder,
    node_id,
    boot_id,
    fresh_start_used,
    stop_asked_at,
    stop_words,
    error,
    error_code,
    exit_code,
    signal,
    usage,
    result,
    session_before,
    session_after,
    process_pid,
    process_group_id,
    process_started_at,
    log_offset,
    log_bytes,
    log_sha256,
    log_state,
    last_output_at,
    last_output_seq,
    last_output_stream,
    last_output_bytes,
    stdout_excerpt,
    stderr_excerpt,
    event_seq,
    project_id,
    external_run_id,
    issue_comment_status,
    issue_comment_satisfied_by_comment_id,
    issue_comment_retry_queued_at,
    liveness_state,
    liveness_reason,
    next_action,
    continuation_attempt,
    last_useful_action_at,
    last_activity_at,
    silence_level,
    snoozed_until,
    no_progress_count
});

impl Run {
    /// A run that waits and was never started, and nothing but that: what else is known of it is for its maker to set.
    pub fn waiting(
        id: RunId,
        (company, agent): (&CompanyId, &AgentId),
        wake: &WakeId,
        source: Source,
        now: Moment,
    ) -> Run {
        Run {
            id,
            company_id: company.clone(),
            agent_id: agent.clone(),
            invocation_source: source,
            trigger_detail: None,
            status: RunStatus::Queued,
            task_key: String::new(),
            issue_id: None,
            wake_id: wake.clone(),
            context: Json::Object(serde_json::Map::new()),
            retry_of_run_id: None,
            process_loss_retries: 0,
            retry_at: None,
            retry_attempt: 0,
            retry_reason: None,
            created_at: now,
            updated_at: now,
            started_at: None,
            finished_at: None,
            lease_epoch: 0,
            lease_holder: None,
            node_id: None,
            boot_id: None,
            fresh_start_used: false,
            stop_asked_at: None,
            stop_words: None,
            error: None,
            error_code: None,
            exit_code: None,
            signal: None,
            usage: None,
            result: None,
            session_before: None,
            session_after: None,
            process_pid: None,
            process_group_id: None,
            process_started_at: None,
            log_offset: 0,
            log_bytes: None,
            log_sha256: None,
            log_state: "none".to_owned(),
            last_output_at: None,
            last_output_seq: 0,
            last_output_stream: None,
            last_output_bytes: None,
            stdout_excerpt: None,
            stderr_excerpt: None,
            event_seq: 1,
            project_id: None,
            external_run_id: None,
            issue_comment_status: "not_applicable".into(),
            issue_comment_satisfied_by_comment_id: None,
            issue_comment_retry_queued_at: None,
            liveness_state: None,
            liveness_reason: None,
            next_action: None,
            continuation_attempt: 0,
            last_useful_action_at: None,
            last_activity_at: None,
            silence_level: "ok".into(),
            snoozed_until: None,
            no_progress_count: 0,
        }
    }
}

/// The columns of a run; what stands for its two excerpts may be said.
macro_rules! columns {
    () => {
        columns!("stdout_excerpt, stderr_excerpt")
    };
    ($excerpts:literal) => {
        concat!(
            "id, company_id, agent_id, invocation_source, trigger_detail, status, task_key, issue_id, wake_id, context, \
             retry_of_run_id, process_loss_retries, retry_at, retry_attempt, retry_reason, created_at, updated_at, \
             started_at, finished_at, lease_epoch, lease_holder, node_id, boot_id, fresh_start_used, stop_asked_at, \
             stop_words, error, error_code, exit_code, signal, usage, result, session_before, session_after, process_pid, \
             process_group_id, process_started_at, log_offset, log_bytes, log_sha256, log_state, last_output_at, \
             last_output_seq, last_output_stream, last_output_bytes, ",
            $excerpts,
            ", event_seq, project_id, external_run_id, issue_comment_status, issue_comment_satisfied_by_comment_id, \
             issue_comment_retry_queued_at, liveness_state, liveness_reason, next_action, continuation_attempt, \
             last_useful_action_at, last_activity_at, silence_level, snoozed_until, no_progress_count"
        )
    };
}
pub(crate) use columns;

/// Adds a waiting run. That no other run waits in its scope was looked at with the agent locked; a unique index holds it.
pub async fn insert(tx: &mut Tx<'_>, run: &Run) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO runs (id, company_id, agent_id, invocation_source, trigger_detail, status, task_key, issue_id, \
             wake_id, context, retry_of_run_id, process_loss_retries, retry_at, retry_attempt, retry_reason, \
             created_at, updated_at, session_before, event_seq, project_id, continuation_attempt) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)"
        ),
        p![
            &run.id, &run.company_id, &run.agent_id, run.invocation_source, run.trigger_detail, run.status,
            &run.task_key, &run.issue_id, &run.wake_id, &run.context, &run.retry_of_run_id,
            i64::from(run.process_loss_retries), run.retry_at, i64::from(run.retry_attempt), &run.retry_reason,
            run.created_at, run.updated_at, &run.session_before, run.event_seq, &run.project_id,
            run.continuation_attempt
        ],
    )
    .await
}

/// Returns one run.
pub async fn get(tx: &mut Tx<'_>, id: &RunId) -> Result<Option<Run>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM runs WHERE id = $1")), p![id]).await
}

/// Returns one run and locks its row. The agent is locked before (D15).
pub async fn lock(tx: &mut Tx<'_>, id: &RunId) -> Result<Option<Run>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM runs WHERE id = $1 /*+for_update*/")), p![id]).await
}

/// Returns the runs of an agent that are not over, in one scope, newest first: id, status, whether it is asked to stop, and
/// its issue.
pub async fn in_scope(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    task_key: &str,
) -> Result<Vec<(RunId, RunStatus, bool, Option<String>)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, status, CASE WHEN stop_asked_at IS NULL THEN 0 ELSE 1 END, issue_id FROM runs \
             WHERE agent_id = $1 AND task_key = $2 AND status IN ('queued', 'scheduled_retry', 'running') \
             ORDER BY +created_at DESC, id DESC"
        ),
        p![agent, task_key],
    )
    .await
}

/// Counts the runs of an agent that hold a slot.
pub async fn count_running(tx: &mut Tx<'_>, agent: &AgentId) -> Result<u32, StoreError> {
    let row = tx
        .one(sql!("SELECT COUNT(*) FROM runs WHERE agent_id = $1 AND status = 'running'"), p![agent])
        .await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// How many runs of an agent hold a slot, and how many are queued for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    pub running: u32,
    pub queued: u32,
}
from_row!(Load { running, queued });

/// Counts the runs of an agent that hold a slot, and those that are queued.
pub async fn load_of_agent(tx: &mut Tx<'_>, agent: &AgentId) -> Result<Load, StoreError> {
    let load = tx
        .one_as(
            sql!(
                "SELECT COUNT(CASE WHEN status = 'running' THEN 1 END), COUNT(CASE WHEN status = 'queued' THEN 1 END) \
                 FROM runs WHERE agent_id = $1 AND status IN ('queued', 'scheduled_retry', 'running')"
            ),
            p![agent],
        )
        .await?;
    Ok(load.unwrap_or(Load { running: 0, queued: 0 }))
}

/// Sets the session that a waiting run is to resume.
pub async fn set_session_before(
    tx: &mut Tx<'_>,
    id: &RunId,
    session: Option<&str>,
) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE runs SET session_before = $2 WHERE id = $1 AND status = 'queued'"), p![id, session])
        .await
}

/// Returns what was noted about a session of an agent last; `reread`: as a run that is read again found it when it
/// started, before it noted anything itself.
pub async fn session_note(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    session: &str,
    reread: Option<&Run>,
) -> Result<Option<Json>, StoreError> {
    let started_at = reread.map(|run| run.started_at.unwrap_or(run.created_at));
    let row = tx
        .one(
            sql!(
                "SELECT session_note FROM runs WHERE agent_id = $1 AND session_after = $2 \
                 AND session_note IS NOT NULL \
                 AND (CAST($3 AS text) IS NULL OR (id <> $3 AND finished_at <= $4)) \
                 ORDER BY created_at DESC, id DESC LIMIT 1"
            ),
            p![agent, session, reread.map(|run| &run.id), started_at],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Replaces the context of a run that has not started, and the issue and project that come with it; returns false when it
/// has.
pub async fn replace_context(tx: &mut Tx<'_>, run: &Run, now: Moment) -> Result<bool, StoreError> {
    let changed = tx
        .exec(
            sql!(
                "UPDATE runs SET context = $2, issue_id = $3, project_id = $4, updated_at = $5 \
                 WHERE id = $1 AND status IN ('queued', 'scheduled_retry')"
            ),
            p![&run.id, &run.context, &run.issue_id, &run.project_id, now],
        )
        .await?;
    Ok(changed == 1)
}

/// A queued run, as far as its place in the queue needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct InLine {
    pub id: RunId,
    pub created_at: Moment,
    /// Since when it waits to be started: a retry waits from the moment it fell due.
    pub queued_at: Moment,
    pub issue_id: Option<IssueId>,
    pub project_id: Option<String>,
}
from_row!(InLine { id, created_at, queued_at, issue_id, project_id });

/// Returns the queued runs of an agent whose scope is free, after `after`: first all that have an issue, then the
/// others, the oldest first in both.
pub async fn in_line(
    tx: &mut Tx<'_>,
    agent: &AgentId,
    after: Option<&InLine>,
    limit: i64,
) -> Result<Vec<InLine>, StoreError> {
    let (group, at, id) = match after {
        None => (-1, Moment::from_micros(i64::MIN), ""),
        Some(run) => (i64::from(run.issue_id.is_none()), run.created_at, run.id.as_str()),
    };
    tx.rows_as(
        sql!(
            "SELECT r.id, r.created_at, COALESCE(r.retry_at, r.created_at) AS queued_at, r.issue_id, r.project_id \
             FROM runs r WHERE r.agent_id = $1 \
             AND r.status = 'queued' AND r.status IN ('queued', 'scheduled_retry', 'running') \
             AND NOT EXISTS (SELECT 1 FROM runs u WHERE u.agent_id = r.agent_id AND u.task_key = r.task_key \
                             AND u.status = 'running') \
             AND (CASE WHEN r.issue_id IS NULL THEN 1 ELSE 0 END, r.created_at, r.id) > ($2, $3, $4) \
             ORDER BY CASE WHEN r.issue_id IS NULL THEN 1 ELSE 0 END, +r.created_at, r.id LIMIT $5"
        ),
        p![agent, group, at, id, limit],
    )
    .await
}

/// Returns agents that have queued runs, by id, after `after`: the period of the dispatcher walks through them.
pub async fn agents_with_queue(tx: &mut Tx<'_>, after: &str, limit: i64) -> Result<Vec<AgentId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT DISTINCT agent_id FROM runs WHERE status = 'queued' \
                 AND status IN ('queued', 'scheduled_retry', 'running') AND agent_id > $1 ORDER BY agent_id LIMIT $2"
            ),
            p![after, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns runs that have been queued since before a moment, with their agents and issues, the oldest first.
pub async fn queued_before(
    tx: &mut Tx<'_>,
    before: Moment,
    limit: i64,
) -> Result<Vec<(RunId, AgentId, Option<IssueId>)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, agent_id, issue_id FROM runs WHERE status = 'queued' \
             AND status IN ('queued', 'scheduled_retry', 'running') AND COALESCE(retry_at, created_at) <= $1 \
             ORDER BY COALESCE(retry_at, created_at), id LIMIT $2"
        ),
        p![before, limit],
    )
    .await
}

/// Returns since when the run waits that has been queued longest.
pub async fn queued_longest(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let row: Option<(Option<Moment>,)> = tx
        .one_as(
            sql!(
                "SELECT MIN(COALESCE(retry_at, created_at)) FROM runs WHERE status = 'queued' \
                 AND status IN ('queued', 'scheduled_retry', 'running')"
            ),
            p![],
        )
        .await?;
    Ok(row.and_then(|(since,)| since))
}

/// Returns the runs of an agent that are not over.
pub async fn live_of_agent(tx: &mut Tx<'_>, agent: &AgentId) -> Result<Vec<Run>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM runs WHERE agent_id = $1 \
             AND status IN ('queued', 'scheduled_retry', 'running') ORDER BY +created_at, id"
        )),
        p![agent],
    )
    .await
}

/// A place in a list that is ordered by creation, newest first.
pub type Place = (Moment, String);

/// Whose runs a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    Company(CompanyId),
    Agent(AgentId),
}

/// One page of a list. Excerpts stay where they are, because lists are polled and never show them.
macro_rules! page {
    ($whose:literal, $and:literal) => {
        sql!(concat!(
            "SELECT ",
            columns!("CAST(NULL AS text), CAST(NULL AS text)"),
            " FROM runs WHERE ",
            $whose,
            " = $1 AND (created_at, id) < ($2, $3)",
            $and,
            " ORDER BY created_at DESC, id DESC LIMIT $4"
        ))
    };
}

/// Returns runs without their excerpts, newest first, before the given place; all, or those of one status.
pub async fn listed(
    tx: &mut Tx<'_>,
    of: &Listed,
    status: Option<RunStatus>,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Run>, StoreError> {
    let (at, id) = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
    let (sql, params) = match (of, status) {
        (Listed::Company(company), None) => (page!("company_id", ""), p![company, at, id, limit]),
        (Listed::Company(company), Some(status)) => {
            (page!("company_id", " AND status = $5"), p![company, at, id, limit, status])
        }
        (Listed::Agent(agent), None) => (page!("agent_id", ""), p![agent, at, id, limit]),
        (Listed::Agent(agent), Some(status)) => {
            (page!("agent_id", " AND status = $5"), p![agent, at, id, limit, status])
        }
    };
    tx.rows_as(sql, params).await
}

/// Returns the queued and running runs of a company, newest first.
pub async fn live(tx: &mut Tx<'_>, company: &CompanyId, limit: i64) -> Result<Vec<Run>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ", columns!(), " FROM runs WHERE company_id = $1 AND status IN ('queued', 'running') \
             AND status IN ('queued', 'scheduled_retry', 'running') ORDER BY +created_at DESC, id DESC LIMIT $2"
        )),
        p![company, limit],
    )
    .await
}

/// Returns the runs whose ids begin with `prefix`: people type the first digits.
pub async fn with_prefix(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    prefix: &str,
    limit: i64,
) -> Result<Vec<RunId>, StoreError> {
    let above = format!("{prefix}~");
    let rows = tx
        .rows(
            // Joined with nothing, so that the company's index, which is of no use here, is not taken.
            sql!("SELECT id FROM runs WHERE id >= $1 AND id < $2 AND company_id || '' = $3 ORDER BY id LIMIT $4"),
            p![prefix, above, company, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// What the gates need to know of the agents of waiting runs: how many runs hold a slot, and in which scopes.
pub async fn running_scopes(
    tx: &mut Tx<'_>,
    agents: &[AgentId],
) -> Result<Vec<(AgentId, String)>, StoreError> {
    let rows = tx
        .rows_in(
            sql_list!(
                "SELECT agent_id, task_key FROM runs WHERE status = 'running' AND agent_id IN ({list})"
            ),
            p![],
            agents.iter().map(Value::from).collect(),
        )
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// Counts runs that are not over by status, for metrics.
pub async fn count_live(tx: &mut Tx<'_>) -> Result<Vec<(RunStatus, i64)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT status, COUNT(*) FROM runs WHERE status IN ('queued', 'scheduled_retry', 'running') \
             GROUP BY status ORDER BY status"
        ),
        p![],
    )
    .await
}

/// One event of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEvent {
    pub id: i64,
    pub company_id: CompanyId,
    pub run_id: RunId,
    pub agent_id: AgentId,
    pub seq: i64,
    pub event_type: String,
    pub stream: Option<String>,
    pub level: Option<String>,
    pub message: Option<String>,
    pub payload: Option<Json>,
    pub created_at: Moment,
}
from_row!(RunEvent {
    id,
    company_id,
    run_id,
    agent_id,
    seq,
    event_type,
    stream,
    level,
    message,
    payload,
    created_at
});

/// An event to be added; its number comes from the run's counter, which the move that caused it has raised.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRunEvent<'a> {
    pub event_type: &'a str,
    pub stream: Option<&'a str>,
    pub level: &'a str,
    pub message: &'a str,
    pub payload: Option<Json>,
}

/// Adds an event under a number that was drawn from the run's counter in this transaction.
pub async fn add_event(
    tx: &mut Tx<'_>,
    (company, agent, run): (&CompanyId, &AgentId, &RunId),
    seq: i64,
    event: &NewRunEvent<'_>,
    now: Moment,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "INSERT INTO run_events (company_id, run_id, agent_id, seq, event_type, stream, level, message, payload, \
             created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        ),
        p![
            company, run, agent, seq, event.event_type, event.stream, event.level, event.message, &event.payload, now
        ],
    )
    .await
}

/// Draws the next `count` event numbers of a run; returns the last of them.
pub async fn draw_seq(tx: &mut Tx<'_>, run: &RunId, count: i64) -> Result<i64, StoreError> {
    let row = tx
        .one(
            sql!("UPDATE runs SET event_seq = event_seq + $2 WHERE id = $1 RETURNING event_seq"),
            p![run, count],
        )
        .await?;
    row.map_or(Ok(0), |row: Row| row.get(0))
}

/// Returns the payload of the first event of a type of a run.
pub async fn first_payload(
    tx: &mut Tx<'_>,
    run: &RunId,
    event_type: &str,
) -> Result<Option<Json>, StoreError> {
    let row = tx
        .one(
            sql!("SELECT payload FROM run_events WHERE run_id = $1 AND event_type = $2 ORDER BY seq LIMIT 1"),
            p![run, event_type],
        )
        .await?;
    row.map_or(Ok(None), |row| row.get(0))
}

/// Returns events of a run after a number, in order.
pub async fn events_after(
    tx: &mut Tx<'_>,
    run: &RunId,
    after: i64,
    limit: i64,
) -> Result<Vec<RunEvent>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, company_id, run_id, agent_id, seq, event_type, stream, level, message, payload, created_at \
             FROM run_events WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
        ),
        p![run, after, limit],
    )
    .await
}
