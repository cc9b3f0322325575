//! What people see of runs.

use std::path::PathBuf;

use domain::automation::AutomationRunStatus;
use domain::automation::definition::Definition;
use domain::automation::operation::{Operation, allowed};
use domain::ids::{AutomationId, AutomationRunId, CompanyId};
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::automations::gates::{self, GateRow};
use store::automations::history::{self, Entry};
use store::automations::nodes::{self, Attempt, NodeRow};
use store::automations::runs::{self, AutomationRun};

use super::loaded::{Loaded, MOST_GATES_OF_RUN};
use super::operations::unloadable;
use super::status_file;
use crate::{Engine, EngineError};

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
    pub definition: Definition,
    pub nodes: Vec<NodeRow>,
    pub attempts: Vec<Attempt>,
    pub gates: Vec<GateRow>,
    pub allowed: Vec<Operation>,
    /// Where scripts find how it stands.
    pub status_file: PathBuf,
    /// Time at work, tokens and micro-dollars up to now.
    pub worked: std::time::Duration,
    pub tokens: u64,
    pub cost_micros: u64,
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
        let loaded = self.inner.read(id.clone(), |tx, id| {
            Box::pin(async move {
                let loaded = match Loaded::load(tx, &id, false).await? {
                    Ok(loaded) => loaded,
                    Err(why) => return Ok(Err(why)),
                };
                let attempts = nodes::attempts(tx, &id, MOST_ATTEMPTS).await?;
                let gates = gates::of_run(tx, &id, MOST_GATES_OF_RUN).await?;
                Ok(Ok((loaded, attempts, gates)))
            })
        });
        let (it, attempts, gates) = loaded.await?.map_err(unloadable)?;
        let cancels = it.run.stop_to == Some(AutomationRunStatus::Cancelled);
        let spent = it.spent(now);
        Ok(RunView {
            allowed: allowed(it.run.status, it.is_broken(), cancels),
            status_file: status_file::path(&self.inner.settings, &it.run.id),
            automation: it.automation.name,
            definition: it.definition,
            nodes: it.nodes,
            worked: spent.worked,
            tokens: spent.tokens,
            cost_micros: spent.cost_micros,
            run: it.run,
            attempts,
            gates,
        })
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
