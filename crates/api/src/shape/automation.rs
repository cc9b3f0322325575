//! Automations, their runs and gates on the wire. Names are those of spec/automations.md in camelCase (D23).

use std::collections::BTreeSet;

use domain::moment::Moment;
use engine::{Applied, AutomationRunView, AutomationView, Change, Preview, StepWait};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use store::automations::definitions::Version;
use store::automations::gates::GateRow;
use store::automations::history::Entry;
use store::automations::nodes::{Attempt, NodeRow};
use store::automations::runs::{AutomationRun as RunRow, Holder};
use utoipa::ToSchema;

use super::gate::Gate;

/// An automation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Automation {
    id: String,
    company_id: String,
    name: String,
    /// `active`, `paused` or `draft`.
    status: &'static str,
    paused_reason: Option<String>,
    /// The newest version; a run keeps the one that it began with.
    version: i64,
    /// SHA-256 of the newest definition.
    hash: String,
    #[schema(value_type = Object)]
    definition: Json,
    /// How many runs that are not over are in which status.
    #[schema(value_type = Object)]
    open_runs: Json,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
}

impl From<AutomationView> for Automation {
    fn from(view: AutomationView) -> Automation {
        let AutomationView { automation, version, open } = view;
        let open: Map<String, Json> =
            open.into_iter().map(|(status, count)| (status.as_str().to_owned(), json!(count))).collect();
        Automation {
            id: automation.id.0,
            company_id: automation.company_id.0,
            name: automation.name,
            status: automation.status.as_str(),
            paused_reason: automation.paused_reason,
            version: automation.version,
            hash: version.hash,
            definition: version.definition,
            open_runs: Json::Object(open),
            created_at: automation.created_at,
            updated_at: automation.updated_at,
        }
    }
}

/// What applying a definition came to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppliedDefinition {
    automation: Automation,
    created: bool,
    /// Nothing was written.
    dry_run: bool,
    changes: Vec<FieldChange>,
    /// What will not work with this definition, in words.
    warnings: Vec<String>,
}

/// A field that is not what it was; null: it is not there.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldChange {
    path: String,
    #[schema(value_type = Object)]
    before: Option<Json>,
    #[schema(value_type = Object)]
    after: Option<Json>,
}

impl From<Applied> for AppliedDefinition {
    fn from(applied: Applied) -> AppliedDefinition {
        let change = |it: Change| FieldChange { path: it.path, before: it.before, after: it.after };
        AppliedDefinition {
            automation: applied.view.into(),
            created: applied.is_new,
            dry_run: applied.is_dry,
            changes: applied.changes.into_iter().map(change).collect(),
            warnings: applied.warnings,
        }
    }
}

/// A version of an automation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AutomationVersion {
    version: i64,
    hash: String,
    #[schema(value_type = Object)]
    definition: Json,
    created_by: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
}

impl From<Version> for AutomationVersion {
    fn from(version: Version) -> AutomationVersion {
        AutomationVersion {
            version: version.version,
            hash: version.hash,
            definition: version.definition,
            created_by: version.created_by,
            created_at: version.created_at,
        }
    }
}

/// A run of an automation, as lists show it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AutomationRun {
    id: String,
    company_id: String,
    automation_id: String,
    /// Counted for each automation.
    number: i64,
    version: i64,
    /// It has a definition of its own, after a repair.
    is_repaired: bool,
    status: &'static str,
    trigger_type: &'static str,
    #[schema(value_type = Object)]
    trigger_detail: Option<Json>,
    #[schema(value_type = Object)]
    inputs: Json,
    started_by: StartedBy,
    /// 0 comes first.
    priority: i64,
    /// Why it waits, of the list of held reasons; null when it does not.
    queue_reason: Option<&'static str>,
    /// What it waits for: a folder, an account, an agent.
    resource_key: Option<String>,
    #[schema(value_type = Option<String>)]
    queued_until: Option<Moment>,
    #[schema(value_type = Option<String>)]
    cancel_requested_at: Option<Moment>,
    stop_kind: Option<&'static str>,
    stop_reason: Option<String>,
    /// `spend_pause` or `run_limit`.
    guardrail: Option<&'static str>,
    detail: Option<String>,
    #[schema(value_type = Object)]
    last_failure: Option<Json>,
    workspace: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    #[schema(value_type = String, format = DateTime)]
    queued_at: Moment,
    #[schema(value_type = Option<String>)]
    started_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    finished_at: Option<Moment>,
    /// The number of the newest entry of its history.
    seq: i64,
}

/// Who started a run, or decided something.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartedBy {
    pub(crate) kind: &'static str,
    pub(crate) actor_id: Option<String>,
}

impl From<RunRow> for AutomationRun {
    fn from(run: RunRow) -> AutomationRun {
        use domain::automation::AutomationRunStatus;
        let is_queued = run.status == AutomationRunStatus::Queued;
        let cancels = run.stop_to == Some(AutomationRunStatus::Cancelled);
        AutomationRun {
            id: run.id.0,
            company_id: run.company_id.0,
            automation_id: run.automation_id.0,
            number: run.number,
            version: run.version,
            is_repaired: run.own_definition.is_some(),
            status: run.status.as_str(),
            trigger_type: run.trigger_type.as_str(),
            trigger_detail: run.trigger_detail,
            inputs: run.inputs,
            started_by: StartedBy { kind: run.actor_kind.as_str(), actor_id: run.actor_id },
            priority: run.priority,
            queue_reason: run.held_reason.filter(|_| is_queued).map(|reason| reason.as_str()),
            resource_key: run.held_resource.filter(|_| is_queued),
            queued_until: run.held_until.filter(|_| is_queued),
            cancel_requested_at: run.stop_asked_at.filter(|_| cancels),
            stop_kind: run.stop_kind.map(|kind| kind.as_str()),
            stop_reason: run.stop_reason,
            guardrail: run.guardrail.map(|guardrail| guardrail.as_str()),
            detail: run.detail,
            last_failure: run.last_failure,
            workspace: run.root,
            created_at: run.created_at,
            updated_at: run.updated_at,
            queued_at: run.queued_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            seq: run.history_seq,
        }
    }
}

/// A run with everything in it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AutomationRunDetail {
    #[serde(flatten)]
    run: AutomationRun,
    automation: String,
    /// What may be asked of it now.
    allowed_actions: Vec<&'static str>,
    /// Where scripts on the server's machine find how it stands.
    status_file: String,
    worked_ms: u64,
    total_tokens: u64,
    cost_cents: u64,
    /// Null: it cannot be read; then the run can only be cancelled.
    #[schema(value_type = Option<Object>)]
    definition: Option<Json>,
    nodes: Vec<RunNode>,
    attempts: Vec<NodeAttempt>,
    gates: Vec<Gate>,
    /// Steps at work whose agents wait for people.
    waiting: Vec<WaitingStep>,
    /// Which run is at work in the folder that `resourceKey` names, where the run waits for one; null for one of another
    /// company.
    held_by: Option<HoldingRun>,
}

/// A run in whose folder another one waits to work.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HoldingRun {
    id: String,
    /// The name of its automation.
    automation: String,
    number: i64,
}

impl From<Holder> for HoldingRun {
    fn from(holder: Holder) -> HoldingRun {
        HoldingRun { id: holder.id.0, automation: holder.automation, number: holder.number }
    }
}

/// A step whose agent waits, in the midst of its work, for a permission of a person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WaitingStep {
    node_id: String,
    /// What is decided: a gate of the kind `permission`.
    gate_id: String,
    title: String,
    #[schema(value_type = String, format = DateTime)]
    requested_at: Moment,
}

impl From<StepWait> for WaitingStep {
    fn from(wait: StepWait) -> WaitingStep {
        WaitingStep {
            node_id: wait.node_id,
            gate_id: wait.gate,
            title: wait.title,
            requested_at: wait.asked_at,
        }
    }
}

/// A node of a run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunNode {
    node_id: String,
    state: &'static str,
    /// How often it was begun; attempts that count against its limit, repairs, and losses to the infrastructure apart.
    attempt: i64,
    attempts: i64,
    repairs: i64,
    lost: i64,
    reworks: i64,
    reason: Option<String>,
    feedback: Option<String>,
    #[schema(value_type = Option<String>)]
    retry_at: Option<Moment>,
    #[schema(value_type = Object)]
    output: Option<Json>,
    #[schema(value_type = Option<String>)]
    started_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    finished_at: Option<Moment>,
}

impl From<NodeRow> for RunNode {
    fn from(node: NodeRow) -> RunNode {
        RunNode {
            node_id: node.node_id,
            state: node.state.as_str(),
            attempt: node.attempt,
            attempts: node.attempts,
            repairs: node.repairs,
            lost: node.lost,
            reworks: node.reworks,
            reason: node.reason,
            feedback: node.feedback,
            retry_at: node.retry_at,
            output: node.output,
            started_at: node.started_at,
            finished_at: node.finished_at,
        }
    }
}

/// An attempt of a node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeAttempt {
    node_id: String,
    attempt: i64,
    /// `ordered`, `running` or `ended`.
    state: &'static str,
    /// False: its node was reset, and what it came to means nothing.
    counts: bool,
    epoch: i64,
    agent_id: String,
    /// The agent's run that does the work.
    run_id: Option<String>,
    objective: String,
    /// Why its agent was not woken yet.
    held_reason: Option<&'static str>,
    #[schema(value_type = Object)]
    verdict: Option<Json>,
    total_tokens: i64,
    #[schema(value_type = String, format = DateTime)]
    ordered_at: Moment,
    #[schema(value_type = Option<String>)]
    started_at: Option<Moment>,
    #[schema(value_type = Option<String>)]
    ended_at: Option<Moment>,
}

impl From<Attempt> for NodeAttempt {
    fn from(attempt: Attempt) -> NodeAttempt {
        NodeAttempt {
            node_id: attempt.node_id,
            attempt: attempt.attempt,
            state: attempt.state.as_str(),
            counts: attempt.counts,
            epoch: attempt.epoch,
            agent_id: attempt.agent_id.0,
            run_id: attempt.agent_run_id.map(|id| id.0),
            objective: attempt.objective,
            held_reason: attempt.held_reason.map(|reason| reason.as_str()),
            verdict: attempt.record,
            total_tokens: attempt.tokens,
            ordered_at: attempt.ordered_at,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
        }
    }
}

impl From<AutomationRunView> for AutomationRunDetail {
    fn from(view: AutomationRunView) -> AutomationRunDetail {
        // A gate is never attempted: where it belongs to a step that was, the agent asks.
        let steps: BTreeSet<String> =
            view.nodes.iter().filter(|node| node.attempt > 0).map(|node| node.node_id.clone()).collect();
        let gate = |row: GateRow| {
            let wants_answer = steps.contains(&row.node_id);
            Gate::from(row).answerable(wants_answer)
        };
        AutomationRunDetail {
            automation: view.automation,
            allowed_actions: view.allowed.iter().map(|it| it.as_str()).collect(),
            status_file: view.status_file.display().to_string(),
            worked_ms: u64::try_from(view.worked.as_millis()).unwrap_or(u64::MAX),
            total_tokens: view.tokens,
            cost_cents: (view.cost_micros + 5_000) / 10_000,
            definition: view.definition.as_ref().and_then(|it| serde_json::to_value(it).ok()),
            nodes: view.nodes.into_iter().map(RunNode::from).collect(),
            attempts: view.attempts.into_iter().map(NodeAttempt::from).collect(),
            gates: view.gates.into_iter().map(gate).collect(),
            waiting: view.waits.into_iter().map(WaitingStep::from).collect(),
            held_by: view.held_by.map(HoldingRun::from),
            run: view.run.into(),
        }
    }
}

/// Something that happened to a run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryEntry {
    seq: i64,
    event: String,
    #[schema(value_type = String, format = DateTime)]
    recorded_at: Moment,
    node_id: Option<String>,
    reason: Option<String>,
    stop_kind: Option<&'static str>,
    #[schema(value_type = Object)]
    metadata: Option<Json>,
}

impl From<Entry> for HistoryEntry {
    fn from(entry: Entry) -> HistoryEntry {
        HistoryEntry {
            seq: entry.seq,
            event: entry.event,
            recorded_at: entry.at,
            node_id: entry.node_id,
            reason: entry.reason,
            stop_kind: entry.stop_kind.map(|kind| kind.as_str()),
            metadata: entry.metadata,
        }
    }
}

/// What an operation would make again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResetPreview {
    automation_run_id: String,
    operation: &'static str,
    #[schema(value_type = Vec<Object>)]
    nodes: Json,
}

impl From<Preview> for ResetPreview {
    fn from(preview: Preview) -> ResetPreview {
        ResetPreview {
            automation_run_id: preview.run.id.0,
            operation: preview.operation.as_str(),
            nodes: json!(preview.nodes),
        }
    }
}
