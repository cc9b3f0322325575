//! Runs on the wire: the full row, the detail, the list form and the live form.
//!
//! The same run has four forms because clients poll lists and read details: what a list leaves out is left out for size.

use domain::moment::Moment;
use domain::run::RunStatus;
use engine::Held;
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::agents::Agent;
use store::runs::Run as Row;
use utoipa::ToSchema;

use super::held_text::Provenance;

/// Where logs lie.
pub(crate) const LOG_STORE: &str = "local_file";
/// A result larger than this is cut in the detail.
const LARGEST_RESULT: usize = 65_536;
/// Silence of a running run: longer than this is suspicious, longer than that critical.
const SUSPICIOUS_MS: i64 = 3_600_000;
const CRITICAL_MS: i64 = 14_400_000;

/// A run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    #[serde(flatten)]
    base: Base,
    /// `not_applicable`, `satisfied`, `retry_queued` or `retry_exhausted`: whether it told on its issue what it did.
    issue_comment_status: String,
    issue_comment_satisfied_by_comment_id: Option<String>,
    #[schema(value_type = Option<String>)]
    issue_comment_retry_queued_at: Option<Moment>,
}

/// A run in a list: without excerpts, with the most important keys of context and result.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListedRun {
    #[serde(flatten)]
    base: Base,
}

/// A run in full, with its silence.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunDetail {
    #[serde(flatten)]
    run: Run,
    retry_exhausted_reason: Option<String>,
    output_silence: OutputSilence,
    /// Who asked for it, and what of it came from outside.
    provenance: Provenance,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Base {
    id: String,
    company_id: String,
    agent_id: String,
    /// `timer`, `assignment`, `on_demand` or `automation`.
    invocation_source: &'static str,
    trigger_detail: Option<&'static str>,
    /// `queued`, `scheduled_retry`, `running`, `succeeded`, `failed`, `cancelled` or `timed_out`.
    status: &'static str,
    #[schema(value_type = Option<String>)]
    started_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    finished_at: Option<Moment>,
    error: Option<String>,
    wakeup_request_id: Option<String>,
    exit_code: Option<i64>,
    signal: Option<String>,
    #[schema(value_type = Option<Object>)]
    usage_json: Option<Value>,
    #[schema(value_type = Option<Object>)]
    result_json: Option<Value>,
    session_id_before: Option<String>,
    session_id_after: Option<String>,
    log_store: Option<&'static str>,
    log_ref: Option<String>,
    log_bytes: Option<i64>,
    log_sha256: Option<String>,
    log_compressed: bool,
    stdout_excerpt: Option<String>,
    stderr_excerpt: Option<String>,
    error_code: Option<String>,
    external_run_id: Option<String>,
    process_pid: Option<i64>,
    process_group_id: Option<i64>,
    #[schema(value_type = Option<String>)]
    process_started_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    last_output_at: Option<Moment>,
    last_output_seq: i64,
    last_output_stream: Option<String>,
    last_output_bytes: Option<i64>,
    retry_of_run_id: Option<String>,
    process_loss_retry_count: u32,
    #[schema(value_type = Option<String>)]
    scheduled_retry_at: Option<Moment>,
    scheduled_retry_attempt: u32,
    scheduled_retry_reason: Option<String>,
    liveness_state: Option<String>,
    liveness_reason: Option<String>,
    continuation_attempt: i64,
    #[schema(value_type = Option<String>)]
    last_useful_action_at: Option<Moment>,
    next_action: Option<String>,
    #[schema(value_type = Option<Object>)]
    context_snapshot: Option<Value>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// Why it waits: one of `slot running paused budget dependency hold quota workspace_lock capacity rate_limit
    /// retry_backoff node`; null when it does not wait.
    held_reason: Option<&'static str>,
    /// When that is over by itself, as far as it is known.
    #[schema(value_type = Option<String>)]
    held_until: Option<Moment>,
    /// It is running and was asked to stop.
    #[schema(value_type = Option<String>)]
    cancel_requested_at: Option<Moment>,
    task_key: Option<String>,
    /// How many processes were started for it.
    attempt: i64,
}

impl Run {
    pub(crate) fn new(mut row: Row, held: Option<Held>) -> Run {
        Run {
            issue_comment_status: std::mem::take(&mut row.issue_comment_status),
            issue_comment_satisfied_by_comment_id: row
                .issue_comment_satisfied_by_comment_id
                .take()
                .map(|id| id.0),
            issue_comment_retry_queued_at: row.issue_comment_retry_queued_at,
            base: Base::new(row, held),
        }
    }
}

impl ListedRun {
    pub(crate) fn new(mut row: Row, held: Option<Held>) -> ListedRun {
        row.stdout_excerpt = None;
        row.stderr_excerpt = None;
        row.result = row.result.as_ref().and_then(summary_of);
        let context = std::mem::take(&mut row.context);
        let mut base = Base::new(row, held);
        base.context_snapshot = digest_of(&context);
        ListedRun { base }
    }
}

impl RunDetail {
    pub(crate) fn new(
        mut row: Row,
        held: Option<Held>,
        (exhausted, provenance): (Option<String>, engine::Provenance),
        now: Moment,
    ) -> RunDetail {
        let output_silence = OutputSilence::of(&row, now);
        row.result = row.result.map(bounded);
        let provenance = provenance.into();
        RunDetail { run: Run::new(row, held), retry_exhausted_reason: exhausted, output_silence, provenance }
    }
}

/// Where the log of a run is; none before it has one, and after it was removed.
pub(crate) fn log_ref(row: &Row) -> Option<String> {
    let is_there = matches!(row.log_state.as_str(), "folder" | "archived");
    is_there.then(|| format!("{}/{}", row.id, row.lease_epoch))
}

impl Base {
    fn new(row: Row, held: Option<Held>) -> Base {
        let log_ref = log_ref(&row);
        Base {
            log_store: log_ref.is_some().then_some(LOG_STORE),
            log_ref,
            log_bytes: row.log_bytes,
            log_sha256: row.log_sha256,
            log_compressed: row.log_state == "archived",
            id: row.id.0,
            company_id: row.company_id.0,
            agent_id: row.agent_id.0,
            invocation_source: row.invocation_source.as_str(),
            trigger_detail: row.trigger_detail.map(|detail| detail.as_str()),
            status: row.status.as_str(),
            started_at: row.started_at,
            finished_at: row.finished_at,
            error: row.error,
            wakeup_request_id: Some(row.wake_id.0),
            exit_code: row.exit_code,
            signal: row.signal,
            usage_json: row.usage,
            result_json: row.result,
            session_id_before: row.session_before,
            session_id_after: row.session_after,
            stdout_excerpt: row.stdout_excerpt,
            stderr_excerpt: row.stderr_excerpt,
            error_code: row.error_code,
            external_run_id: row.external_run_id,
            process_pid: row.process_pid,
            process_group_id: row.process_group_id,
            process_started_at: row.process_started_at,
            last_output_at: row.last_output_at,
            last_output_seq: row.last_output_seq,
            last_output_stream: row.last_output_stream,
            last_output_bytes: row.last_output_bytes,
            retry_of_run_id: row.retry_of_run_id.map(|id| id.0),
            process_loss_retry_count: row.process_loss_retries,
            scheduled_retry_at: row.retry_at,
            scheduled_retry_attempt: row.retry_attempt,
            scheduled_retry_reason: row.retry_reason,
            liveness_state: row.liveness_state,
            liveness_reason: row.liveness_reason,
            continuation_attempt: row.continuation_attempt,
            last_useful_action_at: row.last_useful_action_at,
            next_action: row.next_action,
            context_snapshot: Some(row.context).filter(|context| !context.is_null()),
            created_at: row.created_at,
            updated_at: row.updated_at,
            held_reason: held.map(|held| held.reason.as_str()),
            held_until: held.and_then(|held| held.until),
            cancel_requested_at: row.stop_asked_at.filter(|_| row.status == RunStatus::Running),
            task_key: Some(row.task_key).filter(|key| !key.is_empty()),
            attempt: row.lease_epoch,
        }
    }
}

/// A run that is queued or under way, with its agent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LiveRun {
    id: String,
    /// Not in the lists of an issue.
    #[serde(skip_serializing_if = "Option::is_none")]
    company_id: Option<String>,
    status: &'static str,
    invocation_source: &'static str,
    trigger_detail: Option<&'static str>,
    #[schema(value_type = Option<String>)]
    started_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    finished_at: Option<Moment>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    agent_id: String,
    agent_name: Option<String>,
    adapter_type: Option<String>,
    log_bytes: Option<i64>,
    liveness_state: Option<String>,
    liveness_reason: Option<String>,
    continuation_attempt: i64,
    #[schema(value_type = Option<String>)]
    last_useful_action_at: Option<Moment>,
    next_action: Option<String>,
    #[schema(value_type = Option<String>)]
    last_output_at: Option<Moment>,
    last_output_seq: i64,
    last_output_stream: Option<String>,
    last_output_bytes: Option<i64>,
    #[schema(value_type = Option<String>)]
    process_started_at: Option<Moment>,
    /// Not in the list of an issue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    issue_id: Option<Option<String>>,
    output_silence: OutputSilence,
    held_reason: Option<&'static str>,
    /// When that is over by itself, as far as it is known.
    #[schema(value_type = Option<String>)]
    held_until: Option<Moment>,
    #[schema(value_type = Option<String>)]
    cancel_requested_at: Option<Moment>,
    task_key: Option<String>,
    attempt: i64,
}

impl LiveRun {
    pub(crate) fn new(row: Row, agent: Option<&Agent>, held: Option<Held>, now: Moment) -> LiveRun {
        LiveRun {
            output_silence: OutputSilence::of(&row, now),
            cancel_requested_at: row.stop_asked_at.filter(|_| row.status == RunStatus::Running),
            id: row.id.0,
            company_id: Some(row.company_id.0),
            status: row.status.as_str(),
            invocation_source: row.invocation_source.as_str(),
            trigger_detail: row.trigger_detail.map(|detail| detail.as_str()),
            started_at: row.started_at,
            finished_at: row.finished_at,
            created_at: row.created_at,
            agent_id: row.agent_id.0,
            agent_name: agent.map(|agent| agent.name.clone()),
            adapter_type: agent.map(|agent| agent.adapter_type.clone()),
            log_bytes: row.log_bytes,
            liveness_state: row.liveness_state,
            liveness_reason: row.liveness_reason,
            continuation_attempt: row.continuation_attempt,
            last_useful_action_at: row.last_useful_action_at,
            next_action: row.next_action,
            last_output_at: row.last_output_at,
            last_output_seq: row.last_output_seq,
            last_output_stream: row.last_output_stream,
            last_output_bytes: row.last_output_bytes,
            process_started_at: row.process_started_at,
            issue_id: Some(row.issue_id),
            held_reason: held.map(|held| held.reason.as_str()),
            held_until: held.and_then(|held| held.until),
            task_key: Some(row.task_key).filter(|key| !key.is_empty()),
            attempt: row.lease_epoch,
        }
    }

    /// As the list of an issue shows it, which says where it belongs.
    pub(crate) fn of_issue(self) -> LiveRun {
        LiveRun { company_id: None, issue_id: None, ..self }
    }

    /// As the run that works on this issue.
    pub(crate) fn active_on(self, issue: String) -> LiveRun {
        LiveRun { company_id: None, issue_id: Some(Some(issue)), ..self }
    }
}

/// For how long a run has said nothing.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutputSilence {
    #[schema(value_type = Option<String>)]
    last_output_at: Option<Moment>,
    last_output_seq: i64,
    last_output_stream: Option<String>,
    #[schema(value_type = Option<String>)]
    silence_started_at: Option<Moment>,
    silence_age_ms: Option<i64>,
    /// `not_applicable`, `ok`, `suspicious`, `critical` or `snoozed`.
    level: &'static str,
    suspicion_threshold_ms: i64,
    critical_threshold_ms: i64,
    #[schema(value_type = Option<String>)]
    snoozed_until: Option<Moment>,
    evaluation_issue_id: Option<String>,
    evaluation_issue_identifier: Option<String>,
    evaluation_issue_assignee_agent_id: Option<String>,
}

impl OutputSilence {
    fn of(row: &Row, now: Moment) -> OutputSilence {
        let is_running = row.status == RunStatus::Running;
        let since =
            row.last_output_at.or(row.process_started_at).or(row.started_at).unwrap_or(row.created_at);
        let age = i64::try_from(now.since(since).as_millis()).unwrap_or(i64::MAX);
        let level = match age {
            _ if !is_running => "not_applicable",
            SUSPICIOUS_MS.. if row.snoozed_until.is_some_and(|until| until > now) => "snoozed",
            CRITICAL_MS.. => "critical",
            SUSPICIOUS_MS.. => "suspicious",
            _ => "ok",
        };
        OutputSilence {
            last_output_at: row.last_output_at,
            last_output_seq: row.last_output_seq,
            last_output_stream: row.last_output_stream.clone(),
            silence_started_at: is_running.then_some(since),
            silence_age_ms: is_running.then_some(age),
            level,
            suspicion_threshold_ms: SUSPICIOUS_MS,
            critical_threshold_ms: CRITICAL_MS,
            snoozed_until: row.snoozed_until,
            evaluation_issue_id: None,
            evaluation_issue_identifier: None,
            evaluation_issue_assignee_agent_id: None,
        }
    }
}

/// What a list shows of a context; none when there is nothing of it.
fn digest_of(context: &Value) -> Option<Value> {
    const KEYS: [&str; 8] = [
        "issueId",
        "taskId",
        "taskKey",
        "commentId",
        "wakeCommentId",
        "wakeReason",
        "wakeSource",
        "wakeTriggerDetail",
    ];
    let kept: Map<String, Value> = KEYS
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), context.get(*key)?.clone())))
        .filter(|(_, value)| value.as_str().is_some_and(|text| !text.is_empty()))
        .collect();
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// What a list shows of a result; none when there is nothing of it.
pub(super) fn summary_of(result: &Value) -> Option<Value> {
    let mut kept = texts_of(result, &["summary", "result", "message", "error"], 500);
    kept.extend(costs_of(result));
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// A result that is too large, cut to what people look for first.
fn bounded(result: Value) -> Value {
    let size = result.to_string().len();
    if size <= LARGEST_RESULT {
        return result;
    }
    let mut kept = texts_of(&result, &["summary", "result", "message", "error"], 500);
    for (key, flag) in [("stdout", "stdoutTruncated"), ("stderr", "stderrTruncated")] {
        kept.extend(texts_of(&result, &[key], 4096));
        if result.get(key).and_then(Value::as_str).is_some_and(|text| text.chars().nth(4096).is_some()) {
            kept.insert(flag.to_owned(), json!(true));
        }
    }
    kept.extend(costs_of(&result));
    kept.insert("truncated".to_owned(), json!(true));
    kept.insert("truncationReason".to_owned(), json!("oversized_result_json"));
    kept.insert("originalSizeBytes".to_owned(), json!(size));
    Value::Object(kept)
}

fn texts_of(result: &Value, keys: &[&str], most: usize) -> Map<String, Value> {
    keys.iter()
        .filter_map(|key| {
            let text = result.get(*key)?.as_str().filter(|text| !text.is_empty())?;
            Some(((*key).to_owned(), Value::from(text.chars().take(most).collect::<String>())))
        })
        .collect()
}

fn costs_of(result: &Value) -> Map<String, Value> {
    ["total_cost_usd", "cost_usd", "costUsd"]
        .iter()
        .filter_map(|key| {
            Some(((*key).to_owned(), result.get(*key).filter(|value| value.is_number())?.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_of_context_and_result_what_people_look_for() {
        let context = json!({"issueId": "i", "taskKey": "", "wakeReason": "r", "prompt": "long"});
        assert_eq!(digest_of(&context), Some(json!({"issueId": "i", "wakeReason": "r"})));
        assert_eq!(digest_of(&json!({"prompt": "x"})), None);
        let result =
            json!({"summary": "s".repeat(600), "costUsd": 1.5, "total_cost_usd": "no", "stdout": "x"});
        assert_eq!(summary_of(&result), Some(json!({"summary": "s".repeat(500), "costUsd": 1.5})));
        assert_eq!(summary_of(&json!({"stdout": "x"})), None);
    }

    #[test]
    fn a_result_that_is_too_large_is_cut_and_says_so() {
        let small = json!({"stdout": "x"});
        assert_eq!(bounded(small.clone()), small);
        let large = json!({"summary": "done", "stdout": "x".repeat(70_000), "stderr": "e", "costUsd": 2});
        let size = large.to_string().len();
        let expected = json!({
            "summary": "done", "stdout": "x".repeat(4096), "stdoutTruncated": true, "stderr": "e", "costUsd": 2,
            "truncated": true, "truncationReason": "oversized_result_json", "originalSizeBytes": size,
        });
        assert_eq!(bounded(large), expected);
    }
}
