//! Runs of automations.
//!
//! Everything that asks for runs goes by an index of those that are open: what is over costs nothing.

use domain::automation::{AutomationRunStatus, Guardrail, StopKind, TriggerType};
use domain::hold::HeldReason;
use domain::ids::{AutomationId, AutomationRunId, CompanyId};
use domain::moment::Moment;
use domain::wake::ActorKind;
use serde_json::Value as Json;

use crate::{StoreError, Tx, from_row, p, sql};

/// A run as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AutomationRun {
    pub id: AutomationRunId,
    pub company_id: CompanyId,
    pub automation_id: AutomationId,
    pub version: i64,
    /// A definition of this run alone, after a repair.
    pub own_definition: Option<Json>,
    /// Counted for each automation, from 1.
    pub number: i64,
    pub status: AutomationRunStatus,
    pub trigger_type: TriggerType,
    pub trigger_detail: Option<Json>,
    /// An object.
    pub inputs: Json,
    pub idempotency_key: Option<String>,
    pub body_hash: Option<String>,
    /// 0 comes first.
    pub priority: i64,
    pub actor_kind: ActorKind,
    pub actor_id: Option<String>,
    pub created_at: Moment,
    pub updated_at: Moment,
    pub queued_at: Moment,
    pub started_at: Option<Moment>,
    pub finished_at: Option<Moment>,
    /// Rises when it begins to work.
    pub epoch: i64,
    pub server_node: Option<String>,
    /// The workspace, canonical.
    pub root: Option<String>,
    pub held_reason: Option<HeldReason>,
    pub held_resource: Option<String>,
    pub held_until: Option<Moment>,
    pub not_before: Option<Moment>,
    /// Where it stops at when nothing is under way any more.
    pub stop_to: Option<AutomationRunStatus>,
    pub stop_asked_at: Option<Moment>,
    pub stop_drains: bool,
    pub stop_kind: Option<StopKind>,
    pub stop_reason: Option<String>,
    pub guardrail: Option<Guardrail>,
    pub stopped_at: Option<Moment>,
    /// Time at work up to `working_since`.
    pub worked_micros: i64,
    pub working_since: Option<Moment>,
    /// Of attempts that are over.
    pub tokens: i64,
    pub cost_micros: i64,
    /// What people raised its limits to.
    pub limits: Option<Json>,
    pub last_failure: Option<Json>,
    pub detail: Option<String>,
    /// How often it went on by itself since a person had it go on.
    pub resumes: i64,
    pub history_seq: i64,
    pub look_at: Option<Moment>,
    pub told_seq: i64,
    /// Of the files that its steps are to leave, those that lay there before it began, by path with their stamps; `None`:
    /// nobody has looked yet.
    pub files_before: Option<Json>,
    /// When it came to work last; `working_since` is when its time began to count.
    pub admitted_at: Option<Moment>,
    /// Who each name of an agent in its definition stood for when it was made: an id by name, null where it was not one
    /// agent alone. `None`: a run of before this was kept.
    pub agent_ids: Option<Json>,
}
from_row!(AutomationRun {
    id,
    company_id,
    automation_id,
    version,
    own_definition,
    number,
    status,
    trigger_type,
    trigger_detail,
    inputs,
    idempotency_key,
    body_hash,
    priority,
    actor_kind,
    actor_id,
    created_at,
    updated_at,
    queued_at,
    started_at,
    finished_at,
    epoch,
    server_node,
    root,
    held_reason,
    held_resource,
    held_until,
    not_before,
    stop_to,
    stop_asked_at,
    stop_drains,
    stop_kind,
    stop_reason,
    guardrail,
    stopped_at,
    worked_micros,
    working_since,
    tokens,
    cost_micros,
    limits,
    last_failure,
    detail,
    resumes,
    history_seq,
    look_at,
    told_seq,
    files_before,
    admitted_at,
    agent_ids
});

macro_rules! columns {
    () => {
        "id, company_id, automation_id, version, own_definition, number, status, trigger_type, trigger_detail, inputs, idempotency_key, body_hash, priority, actor_kind, actor_id, created_at, updated_at, queued_at, started_at, finished_at, epoch, server_node, root, held_reason, held_resource, held_until, not_before, stop_to, stop_asked_at, stop_drains, stop_kind, stop_reason, guardrail, stopped_at, worked_micros, working_since, tokens, cost_micros, limits, last_failure, detail, resumes, history_seq, look_at, told_seq, files_before, admitted_at, agent_ids"
    };
}

/// Adds a run; false when one of its automation has its idempotency key.
pub async fn insert(tx: &mut Tx<'_>, run: &AutomationRun) -> Result<bool, StoreError> {
    let added = tx.exec(sql!(concat!("INSERT INTO automation_runs (", columns!(), ", after_run_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49) ON CONFLICT DO NOTHING")), p![&run.id, &run.company_id, &run.automation_id, run.version, &run.own_definition, run.number, run.status, run.trigger_type, &run.trigger_detail, &run.inputs, &run.idempotency_key, &run.body_hash, run.priority, run.actor_kind, &run.actor_id, run.created_at, run.updated_at, run.queued_at, run.started_at, run.finished_at, run.epoch, &run.server_node, &run.root, run.held_reason, &run.held_resource, run.held_until, run.not_before, run.stop_to, run.stop_asked_at, run.stop_drains, run.stop_kind, &run.stop_reason, run.guardrail, run.stopped_at, run.worked_micros, run.working_since, run.tokens, run.cost_micros, &run.limits, &run.last_failure, &run.detail, run.resumes, run.history_seq, run.look_at, run.told_seq, &run.files_before, run.admitted_at, &run.agent_ids, &after(run)]).await?;
    Ok(added == 1)
}

/// The run that one was started after: what is old goes by it, so it is a column.
fn after(run: &AutomationRun) -> Option<AutomationRunId> {
    let detail = run.trigger_detail.as_ref().filter(|_| run.trigger_type == TriggerType::After)?;
    detail["automationRunId"].as_str().map(AutomationRunId::from)
}

/// Writes what changes of a run; its row is locked. With its status ends what a person said of it
/// ([`super::standing::put_aside`]).
pub async fn update(tx: &mut Tx<'_>, run: &AutomationRun) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE automation_runs SET aside_at = CASE WHEN status = $3 THEN aside_at END, own_definition = $2, status = $3, priority = $4, updated_at = $5, queued_at = $6, started_at = $7, finished_at = $8, epoch = $9, server_node = $10, root = $11, held_reason = $12, held_resource = $13, held_until = $14, not_before = $15, stop_to = $16, stop_asked_at = $17, stop_drains = $18, stop_kind = $19, stop_reason = $20, guardrail = $21, stopped_at = $22, worked_micros = $23, working_since = $24, tokens = $25, cost_micros = $26, limits = $27, last_failure = $28, detail = $29, resumes = $30, look_at = $31, history_seq = $32, files_before = $33, admitted_at = $34, agent_ids = $35 WHERE id = $1"), p![&run.id, &run.own_definition, run.status, run.priority, run.updated_at, run.queued_at, run.started_at, run.finished_at, run.epoch, &run.server_node, &run.root, run.held_reason, &run.held_resource, run.held_until, run.not_before, run.stop_to, run.stop_asked_at, run.stop_drains, run.stop_kind, &run.stop_reason, run.guardrail, run.stopped_at, run.worked_micros, run.working_since, run.tokens, run.cost_micros, &run.limits, &run.last_failure, &run.detail, run.resumes, run.look_at, run.history_seq, &run.files_before, run.admitted_at, &run.agent_ids]).await
}

/// Returns a run.
pub async fn get(tx: &mut Tx<'_>, id: &AutomationRunId) -> Result<Option<AutomationRun>, StoreError> {
    tx.one_as(sql!(concat!("SELECT ", columns!(), " FROM automation_runs WHERE id = $1")), p![id]).await
}

/// The same, locked.
pub async fn lock(tx: &mut Tx<'_>, id: &AutomationRunId) -> Result<Option<AutomationRun>, StoreError> {
    tx.one_as(
        sql!(concat!("SELECT ", columns!(), " FROM automation_runs WHERE id = $1 /*+for_update*/")),
        p![id],
    )
    .await
}

/// Returns the run of an automation with this key.
pub async fn by_key(
    tx: &mut Tx<'_>,
    automation: &AutomationId,
    key: &str,
) -> Result<Option<AutomationRun>, StoreError> {
    tx.one_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM automation_runs WHERE automation_id = $1 AND idempotency_key = $2"
        )),
        p![automation, key],
    )
    .await
}

/// Returns runs of a company, newest first, before a place.
pub async fn of_company(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    before: (Moment, &str),
    limit: i64,
) -> Result<Vec<AutomationRun>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM automation_runs WHERE company_id = $1 AND (created_at, id) < ($2, $3) \
             ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![company, before.0, before.1, limit],
    )
    .await
}

/// Returns runs of an automation, newest first, before a place.
pub async fn of_automation(
    tx: &mut Tx<'_>,
    automation: &AutomationId,
    before: (Moment, &str),
    limit: i64,
) -> Result<Vec<AutomationRun>, StoreError> {
    tx.rows_as(
        sql!(concat!(
            "SELECT ",
            columns!(),
            " FROM automation_runs WHERE automation_id = $1 AND (created_at, id) < ($2, $3) \
             ORDER BY created_at DESC, id DESC LIMIT $4"
        )),
        p![automation, before.0, before.1, limit],
    )
    .await
}

/// Returns runs of a company that are in a status, of one automation where it is named, newest first, before a place.
pub async fn in_status(
    tx: &mut Tx<'_>,
    (company, automation): (&CompanyId, Option<&AutomationId>),
    status: AutomationRunStatus,
    before: (Moment, &str),
    limit: i64,
) -> Result<Vec<AutomationRun>, StoreError> {
    match automation {
        Some(automation) => {
            tx.rows_as(
                sql!(concat!(
                    "SELECT ",
                    columns!(),
                    " FROM automation_runs WHERE automation_id = $1 AND status = $2 AND (created_at, id) < ($3, $4) \
                     ORDER BY created_at DESC, id DESC LIMIT $5"
                )),
                p![automation, status, before.0, before.1, limit],
            )
            .await
        }
        None => {
            tx.rows_as(
                sql!(concat!(
                    "SELECT ",
                    columns!(),
                    " FROM automation_runs WHERE company_id = $1 AND status = $2 AND (created_at, id) < ($3, $4) \
                     ORDER BY created_at DESC, id DESC LIMIT $5"
                )),
                p![company, status, before.0, before.1, limit],
            )
            .await
        }
    }
}

/// Returns runs of an automation that are not over, by id, behind the given one.
pub async fn open_of(
    tx: &mut Tx<'_>,
    automation: &AutomationId,
    after: &str,
    limit: i64,
) -> Result<Vec<AutomationRunId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM automation_runs WHERE automation_id = $1 AND id > $2 AND status IN \
                 ('queued', 'running', 'pausing', 'paused', 'awaiting_approval') ORDER BY id LIMIT $3"
            ),
            p![automation, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// A run that waits to begin, as far as that is decided by: inputs may be large, and queues long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedRun {
    pub id: AutomationRunId,
    pub automation_id: AutomationId,
    pub priority: i64,
    pub queued_at: Moment,
    pub root: Option<String>,
    pub not_before: Option<Moment>,
    pub held_reason: Option<HeldReason>,
    pub held_resource: Option<String>,
    pub held_until: Option<Moment>,
    /// As [`AutomationRun::agent_ids`].
    pub agent_ids: Option<Json>,
    pub version: i64,
    /// It never began, and has no definition of its own: it differs in nothing but its inputs from others of its version.
    pub is_fresh: bool,
}

from_row!(QueuedRun {
    id,
    automation_id,
    priority,
    queued_at,
    root,
    not_before,
    held_reason,
    held_resource,
    held_until,
    agent_ids,
    version,
    is_fresh
});

/// Returns runs that wait to begin, in their order, behind a place. Left out are those that are on record as held and
/// cannot begin at `now`, whatever is free: of automations that are paused, and before their time
/// ([`next_not_before`]). Those that wait for an agent are `paused` as well, and name it: they are not left out.
pub async fn queued(
    tx: &mut Tx<'_>,
    after: (i64, Moment, &str),
    now: Moment,
    limit: i64,
) -> Result<Vec<QueuedRun>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, automation_id, priority, queued_at, root, not_before, held_reason, held_resource, held_until, agent_ids, \
             version, (epoch = 0 AND own_definition IS NULL) AS is_fresh \
             FROM automation_runs WHERE status = 'queued' AND (priority, queued_at, id) > ($1, $2, $3) \
             AND NOT (COALESCE(held_reason, '') = 'retry_backoff' AND COALESCE(not_before, $4) > $4) \
             AND NOT (COALESCE(held_reason, '') = 'paused' AND held_resource IS NULL AND EXISTS (SELECT 1 FROM automations AS a \
             WHERE a.id = automation_runs.automation_id AND a.status = 'paused')) \
             ORDER BY priority, queued_at, id LIMIT $5"
        ),
        p![after.0, after.1, after.2, now, limit],
    )
    .await
}

/// Returns the first time that a run waits for.
pub async fn next_not_before(tx: &mut Tx<'_>, now: Moment) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!("SELECT MIN(not_before) FROM automation_runs WHERE status = 'queued' AND not_before > $1"),
            p![now],
        )
        .await?;
    row.map_or(Ok(None), |row| row.get(0))
}

/// A run that is at work, as far as it stands in the way of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtWork {
    pub id: AutomationRunId,
    pub automation_id: AutomationId,
    pub root: Option<String>,
    /// The server that let it begin.
    pub server_node: Option<String>,
}

from_row!(AtWork { id, automation_id, root, server_node });

/// A run in whose folder others wait to work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub id: AutomationRunId,
    /// The name of its automation.
    pub automation: String,
    pub number: i64,
}

from_row!(Holder { id, automation, number });

/// Returns the runs that are at work.
pub async fn at_work(tx: &mut Tx<'_>) -> Result<Vec<AtWork>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT id, automation_id, root, server_node FROM automation_runs \
             WHERE status IN ('running', 'pausing') ORDER BY id"
        ),
        p![],
    )
    .await
}

/// The run of a company that is at work in exactly this folder, with the name of its automation; those of other companies
/// are not told.
pub async fn at_work_in(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    root: &str,
) -> Result<Option<Holder>, StoreError> {
    tx.one_as(
        sql!(
            "SELECT r.id, a.name AS automation, r.number FROM automation_runs AS r \
             JOIN automations AS a ON a.id = r.automation_id \
             WHERE r.status IN ('running', 'pausing') AND r.company_id = $1 AND r.root = $2 ORDER BY r.id LIMIT 1"
        ),
        p![company, root],
    )
    .await
}

/// Takes the lock of everybody who lets runs begin, so that two servers do not fill one place.
pub async fn lock_admission(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    // On SQLite whoever writes is alone.
    let lock = sql!("SELECT key FROM meta WHERE key = 'event_base' /*+for_update*/ /*+only_postgres*/");
    if tx.is_postgres() {
        tx.rows(lock, p![]).await?;
    }
    Ok(())
}

/// Returns runs that are to be looked at.
pub async fn due(tx: &mut Tx<'_>, now: Moment, limit: i64) -> Result<Vec<AutomationRunId>, StoreError> {
    let rows = tx
        .rows(
            sql!("SELECT id FROM automation_runs WHERE look_at <= $1 ORDER BY look_at, id LIMIT $2"),
            p![now, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns when a run is to be looked at next.
pub async fn next_due(tx: &mut Tx<'_>) -> Result<Option<Moment>, StoreError> {
    let row = tx
        .one(
            sql!(
                "SELECT look_at FROM automation_runs WHERE look_at IS NOT NULL ORDER BY look_at, id LIMIT 1"
            ),
            p![],
        )
        .await?;
    row.map(|row| row.get(0)).transpose()
}

/// Has a run looked at by a time, unless it is over. Its row is locked in any case: a look that is under way comes before
/// this or after it, and does not miss what is written with it.
pub async fn look_by(tx: &mut Tx<'_>, id: &AutomationRunId, at: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE automation_runs SET look_at = CASE \
             WHEN status IN ('running', 'pausing', 'paused') AND (look_at IS NULL OR look_at > $2) THEN $2 \
             ELSE look_at END WHERE id = $1"
        ),
        p![id, at],
    )
    .await
}

/// Writes when a paused run is looked at next, and nothing else of it.
pub async fn look_again(
    tx: &mut Tx<'_>,
    id: &AutomationRunId,
    look_at: Option<Moment>,
) -> Result<(), StoreError> {
    tx.run(
        sql!("UPDATE automation_runs SET look_at = $2 WHERE id = $1 AND status = 'paused'"),
        p![id, look_at],
    )
    .await
}

/// Has the paused runs looked at now that wait for a budget.
pub async fn bring_forward(tx: &mut Tx<'_>, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE automation_runs SET look_at = $1 \
             WHERE look_at > $1 AND status = 'paused' AND guardrail = 'spend_pause'"
        ),
        p![now],
    )
    .await
}

/// Has those looked at now that are at work and were told to stop: whoever told their agents may be gone.
pub async fn look_at_stopping(tx: &mut Tx<'_>, now: Moment) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE automation_runs SET look_at = $1 \
             WHERE status IN ('running', 'pausing') AND stop_asked_at IS NOT NULL"
        ),
        p![now],
    )
    .await
}

/// Writes for what a run waits.
pub async fn hold(
    tx: &mut Tx<'_>,
    id: &AutomationRunId,
    reason: Option<HeldReason>,
    resource: Option<&str>,
    until: Option<Moment>,
) -> Result<(), StoreError> {
    tx.run(
        sql!(
            "UPDATE automation_runs SET held_reason = $2, held_resource = $3, held_until = $4 \
             WHERE id = $1 AND status = 'queued'"
        ),
        p![id, reason, resource, until],
    )
    .await
}

/// Returns runs of which the status files of a server do not tell everything yet: those that it let begin, and those
/// that nobody did.
pub async fn untold(tx: &mut Tx<'_>, node: &str, limit: i64) -> Result<Vec<AutomationRunId>, StoreError> {
    let rows = tx
        .rows(
            sql!(
                "SELECT id FROM automation_runs WHERE told_seq < history_seq \
                 AND (server_node IS NULL OR server_node = $1) ORDER BY id LIMIT $2"
            ),
            p![node, limit],
        )
        .await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Notes up to which entry the status file of a run tells.
pub async fn told(tx: &mut Tx<'_>, id: &AutomationRunId, seq: i64) -> Result<(), StoreError> {
    tx.run(sql!("UPDATE automation_runs SET told_seq = $2 WHERE id = $1 AND told_seq < $2"), p![id, seq])
        .await
}

/// Adds to what a run used: tokens and micro-dollars. Its row is locked.
pub async fn charge(
    tx: &mut Tx<'_>,
    id: &AutomationRunId,
    (tokens, cost_micros): (i64, i64),
) -> Result<(), StoreError> {
    tx.run(
        sql!("UPDATE automation_runs SET tokens = tokens + $2, cost_micros = cost_micros + $3 WHERE id = $1"),
        p![id, tokens, cost_micros],
    )
    .await
}

/// Counts the runs of all companies that are not over, by status and by what those that wait are held for.
pub async fn count_unfinished(
    tx: &mut Tx<'_>,
) -> Result<Vec<(AutomationRunStatus, Option<HeldReason>, i64)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT status, CASE WHEN status = 'queued' THEN held_reason END AS held, COUNT(*) FROM automation_runs \
             WHERE status IN ('queued', 'running', 'pausing', 'paused', 'awaiting_approval') \
             GROUP BY status, CASE WHEN status = 'queued' THEN held_reason END ORDER BY 1, 2"
        ),
        p![],
    )
    .await
}

/// Counts the runs of an automation that are in each status and not over.
pub async fn count_open(
    tx: &mut Tx<'_>,
    automation: &AutomationId,
) -> Result<Vec<(AutomationRunStatus, i64)>, StoreError> {
    tx.rows_as(
        sql!(
            "SELECT status, COUNT(*) FROM automation_runs WHERE automation_id = $1 AND status IN \
             ('queued', 'running', 'pausing', 'paused', 'awaiting_approval') GROUP BY status ORDER BY status"
        ),
        p![automation],
    )
    .await
}
