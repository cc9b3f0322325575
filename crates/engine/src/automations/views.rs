//! What people see of runs.

use std::path::PathBuf;
use std::time::Duration;

use domain::automation::AutomationRunStatus;
use domain::automation::definition::Definition;
use domain::automation::operation::{Operation, allowed};
use domain::hold::HeldReason;
use domain::ids::{AutomationId, AutomationRunId, CompanyId};
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::automations::definitions;
use store::automations::gates::{self, GateRow};
use store::automations::history::{self, Entry};
use store::automations::nodes::{self, Attempt, NodeRow};
use store::automations::runs::{self, AutomationRun, Holder};
use store::{StoreError, Tx};

use super::loaded::{Loaded, MOST_GATES_OF_RUN, Unloadable};
use super::status_file;
use crate::{Engine, EngineError, permissions};

/// The longest list of runs.
pub const MOST_RUNS: i64 = 1_000;
/// Attempts of a run that are shown.
const MOST_ATTEMPTS: i64 = 2_000;

/// A run with everything in it.
#[derive(Debug, Clone)]
pub struct RunView {
    pub run: AutomationRun,
    /// The name of its automation.
    pub automation: String,
    /// `None`: it cannot be read.
    pub definition: Option<Definition>,
    pub nodes: Vec<NodeRow>,
    pub attempts: Vec<Attempt>,
    pub gates: Vec<GateRow>,
    /// Steps at work whose agents wait for people.
    pub waits: Vec<StepWait>,
    /// The run at work in the folder that it waits for.
    pub held_by: Option<Holder>,
    pub allowed: Vec<Operation>,
    /// Where scripts find how it stands.
    pub status_file: PathBuf,
    /// Time at work, tokens and micro-dollars up to now.
    pub worked: Duration,
    pub tokens: u64,
    pub cost_micros: u64,
}

/// A step whose agent waits, in the midst of its work, for a permission of a person.
#[derive(Debug, Clone, PartialEq)]
pub struct StepWait {
    pub node_id: String,
    /// What is decided.
    pub gate: String,
    pub title: String,
    pub asked_at: Moment,
}

impl Engine {
    /// Lists runs of a company, or of one of its automations, newest first, before a place.
    pub async fn automation_runs(
        &self,
        company: &CompanyId,
        automation: Option<&AutomationId>,
        before: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<AutomationRun>, EngineError> {
        let limit = limit.clamp(1, MOST_RUNS);
        let before = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
        let context = (company.clone(), automation.cloned(), before);
        let listed = self.inner.read(context, move |tx, (company, automation, before)| {
            Box::pin(async move {
                match automation {
                    Some(id) => runs::of_automation(tx, &id, (before.0, &before.1), limit).await,
                    None => runs::of_company(tx, &company, (before.0, &before.1), limit).await,
                }
            })
        });
        Ok(listed.await?)
    }

    /// The same of those that are in a status.
    pub async fn automation_runs_in(
        &self,
        (company, automation): (&CompanyId, Option<&AutomationId>),
        status: AutomationRunStatus,
        before: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<AutomationRun>, EngineError> {
        let limit = limit.clamp(1, MOST_RUNS);
        let before = before.unwrap_or((Moment::from_micros(i64::MAX), "~".to_owned()));
        let context = (company.clone(), automation.cloned(), before);
        let listed = self.inner.read(context, move |tx, (company, automation, before)| {
            Box::pin(async move {
                let of = (&company, automation.as_ref());
                runs::in_status(tx, of, status, (before.0, &before.1), limit).await
            })
        });
        Ok(listed.await?)
    }

    /// Finds a run by its id, whatever company it belongs to, without what is in it.
    pub async fn find_automation_run(&self, id: &AutomationRunId) -> Result<AutomationRun, EngineError> {
        let found = self.inner.read(id.clone(), |tx, id| Box::pin(async move { runs::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Automation run"))
    }

    /// A run with everything in it.
    pub async fn automation_run(&self, id: &AutomationRunId) -> Result<RunView, EngineError> {
        let now = self.now();
        let context = (id.clone(), status_file::path(&self.inner.settings, id));
        let found = self.inner.read(context, move |tx, (id, status_file)| {
            Box::pin(async move {
                let it = match Loaded::load(tx, &id, false).await? {
                    Ok(it) => it,
                    Err(Unloadable::Gone) => return Ok(None),
                    Err(Unloadable::Unreadable(run, why)) => {
                        return unread(tx, *run, &why, status_file).await.map(Some);
                    }
                };
                let cancels = it.run.stop_to == Some(AutomationRunStatus::Cancelled);
                let spent = it.spent(now);
                Ok(Some(RunView {
                    attempts: nodes::attempts(tx, &id, MOST_ATTEMPTS).await?,
                    gates: gates::of_run(tx, &id, MOST_GATES_OF_RUN).await?,
                    waits: waits(tx, &it).await?,
                    held_by: held_by(tx, &it.run).await?,
                    allowed: allowed(it.run.status, it.is_broken(), cancels),
                    automation: it.automation.name,
                    definition: Some(it.definition),
                    nodes: it.nodes,
                    worked: spent.worked,
                    tokens: spent.tokens,
                    cost_micros: spent.cost_micros,
                    run: it.run,
                    status_file,
                }))
            })
        });
        found.await?.ok_or(EngineError::NotFound("Automation run"))
    }

    /// What happened to a run, behind a number, oldest first.
    pub async fn automation_history(
        &self,
        id: &AutomationRunId,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Entry>, EngineError> {
        let limit = limit.clamp(1, MOST_RUNS);
        let listed = self.inner.read(id.clone(), move |tx, id| {
            Box::pin(async move {
                if runs::get(tx, &id).await?.is_none() {
                    return Ok(None);
                }
                history::after(tx, &id, after, limit).await.map(Some)
            })
        });
        listed.await?.ok_or(EngineError::NotFound("Automation run"))
    }
}

/// The steps at work whose agents wait for people, the longest first.
async fn waits(tx: &mut Tx<'_>, it: &Loaded) -> Result<Vec<StepWait>, StoreError> {
    let mut waits = Vec::new();
    for under in it.live.iter().filter(|under| under.attempt.counts) {
        let Some(run) = under.agent_run.as_ref().filter(|run| run.status.is_live()) else { continue };
        for approval in permissions::open_of(tx, run).await? {
            waits.push(StepWait {
                node_id: under.attempt.node_id.clone(),
                title: approval.payload["title"].as_str().unwrap_or("a permission").to_owned(),
                asked_at: approval.created_at,
                gate: approval.id,
            });
        }
    }
    waits.sort_by(|one, other| (one.asked_at, &one.gate).cmp(&(other.asked_at, &other.gate)));
    Ok(waits)
}

/// In whose folder a run waits to work.
async fn held_by(tx: &mut Tx<'_>, run: &AutomationRun) -> Result<Option<Holder>, StoreError> {
    let is_held =
        run.status == AutomationRunStatus::Queued && run.held_reason == Some(HeldReason::WorkspaceLock);
    match run.held_resource.as_deref().filter(|_| is_held) {
        Some(root) => runs::at_work_in(tx, &run.company_id, root).await,
        None => Ok(None),
    }
}

/// What can be told of a run whose definition cannot be read: what is stored, and that it may be ended.
async fn unread(
    tx: &mut Tx<'_>,
    mut run: AutomationRun,
    why: &str,
    status_file: PathBuf,
) -> Result<RunView, StoreError> {
    let automation = definitions::get(tx, &run.automation_id).await?;
    let is_over = run.status.is_final();
    if !is_over {
        run.detail = Some(format!("its definition cannot be read: {why}"));
    }
    let cancels = run.stop_to == Some(AutomationRunStatus::Cancelled);
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Ok(RunView {
        automation: automation.map(|it| it.name).unwrap_or_default(),
        definition: None,
        nodes: nodes::of_run(tx, &run.id).await?,
        attempts: nodes::attempts(tx, &run.id, MOST_ATTEMPTS).await?,
        gates: gates::of_run(tx, &run.id, MOST_GATES_OF_RUN).await?,
        waits: Vec::new(),
        held_by: held_by(tx, &run).await?,
        allowed: if is_over || cancels { Vec::new() } else { vec![Operation::Cancel] },
        status_file,
        worked: Duration::from_micros(count(run.worked_micros)),
        tokens: count(run.tokens),
        cost_micros: count(run.cost_micros),
        run,
    })
}

/// How a run stands, in one small object (spec/automations.md 8).
pub(super) fn status(it: &Loaded) -> Json {
    use domain::automation::NodeState;
    let in_state = |states: &[NodeState]| -> Vec<&str> {
        it.nodes
            .iter()
            .filter(|node| states.contains(&node.state))
            .map(|node| node.node_id.as_str())
            .collect()
    };
    let attempts: serde_json::Map<String, Json> =
        it.nodes.iter().map(|node| (node.node_id.clone(), json!(node.attempt))).collect();
    json!({
        "runId": it.run.id,
        "automationId": it.run.automation_id,
        "automation": it.automation.name,
        "version": it.run.version,
        "number": it.run.number,
        "status": it.run.status,
        "detail": it.run.detail,
        "stopKind": it.run.stop_kind,
        "completedNodes": in_state(&[NodeState::Completed, NodeState::Skipped]),
        "pendingNodes": in_state(&[NodeState::Pending, NodeState::Running, NodeState::AwaitingApproval]),
        "runningNodes": in_state(&[NodeState::Running]),
        "awaitingNodes": in_state(&[NodeState::AwaitingApproval]),
        "blockedNodes": in_state(&[NodeState::Blocked]),
        "failedNodes": in_state(&[NodeState::Failed]),
        "nodeAttempts": attempts,
        "lastFailure": it.run.last_failure,
        "seq": it.run.history_seq,
        "updatedAt": it.run.updated_at,
        "finishedAt": it.run.finished_at,
    })
}
