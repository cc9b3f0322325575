//! Starting a run of an automation: by hand, by a schedule, a webhook, or the end of another run.
//!
//! Its workspace is no part of the transaction: whoever starts runs may ask before whether it is there
//! (`Inner::look_at_workspace`), and a run whose folder is gone when it could begin fails and says so (`admission`).

use std::path::Path;
use std::sync::Arc;

use domain::automation::definition::{self, Definition, Priority};
use domain::automation::{AutomationRunStatus, AutomationStatus, NodeState, Problem, TriggerType};
use domain::ids::{AutomationId, AutomationRunId, CompanyId};
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use domain::wake::{Actor, ActorKind};
use serde_json::{Map, Value as Json, json};
use store::Tx;
use store::automations::definitions::{self, Automation};
use store::automations::nodes::{self, NodeRow};
use store::automations::runs::{self, AutomationRun};

use super::telling::{self, Note};
use crate::processes::beside;
use crate::{Author, Engine, EngineError, body_hash};

/// A run that is to be.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) automation: AutomationId,
    pub(crate) run_id: AutomationRunId,
    pub(crate) trigger: TriggerType,
    /// What is to be known of the trigger: an object.
    pub(crate) detail: Option<Json>,
    pub(crate) inputs: Map<String, Json>,
    pub(crate) idempotency_key: Option<String>,
    /// Of everything that was asked for; one key stands for one such hash.
    pub(crate) body_hash: String,
    pub(crate) priority: Option<Priority>,
    pub(crate) actor: Actor,
}

/// What starting came to.
#[derive(Debug, Clone)]
pub(crate) enum Launched {
    New(AutomationRun),
    /// The run that the same key started before.
    Again(AutomationRun),
}

impl Launched {
    pub(crate) fn run(self) -> AutomationRun {
        match self {
            Launched::New(run) | Launched::Again(run) => run,
        }
    }
}

/// A run that a person asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LaunchDraft {
    pub inputs: Map<String, Json>,
    pub idempotency_key: Option<String>,
    pub priority: Option<Priority>,
    /// Everything is looked at and nothing starts.
    pub dry_run: bool,
    /// A version other than the newest.
    pub reason: Option<String>,
}

impl Engine {
    /// Starts a run by hand; the same key gives the run that it started before.
    pub async fn run_automation(
        &self,
        company: &CompanyId,
        automation: &AutomationId,
        draft: LaunchDraft,
        by: &Author,
    ) -> Result<AutomationRun, EngineError> {
        self.inner.refuse_when_closing()?;
        let now = self.now();
        let asked = json!({ "inputs": draft.inputs, "priority": draft.priority, "dryRun": draft.dry_run });
        let ask = Launch {
            automation: automation.clone(),
            run_id: AutomationRunId::mint(now, self.inner.dice.bytes()),
            trigger: if draft.dry_run { TriggerType::ManualDryRun } else { TriggerType::Manual },
            detail: draft.reason.map(|reason| json!({ "reason": reason })),
            inputs: draft.inputs,
            idempotency_key: draft.idempotency_key,
            body_hash: body_hash(&asked),
            priority: draft.priority,
            actor: by.actor(),
        };
        self.inner.look_at_workspace(&ask.automation, ask.idempotency_key.as_deref()).await?;
        let context = (company.clone(), ask);
        let launched = self.inner.write_unless(context, move |tx, (company, ask)| {
            Box::pin(async move {
                let found = definitions::get(tx, &ask.automation).await?;
                found.filter(|it| it.company_id == company).ok_or(EngineError::NotFound("Automation"))?;
                launch(tx, ask, now).await
            })
        });
        let run = launched.await?.run();
        self.inner.launched();
        Ok(run)
    }
}

impl crate::Inner {
    /// Refuses a run of which the newest definition names a workspace that is no folder; one that was started before by the
    /// same key is not looked at. Everything else is the launch's to refuse.
    pub(crate) async fn look_at_workspace(
        &self,
        automation: &AutomationId,
        key: Option<&str>,
    ) -> Result<(), EngineError> {
        let context = (automation.clone(), key.map(str::to_owned));
        let workspace = self.read(context, |tx, (id, key)| {
            Box::pin(async move {
                let Some(automation) = definitions::get(tx, &id).await? else { return Ok(None) };
                if let Some(key) = key
                    && runs::by_key(tx, &id, &key).await?.is_some()
                {
                    return Ok(None);
                }
                let version = definitions::version(tx, &id, automation.version).await?;
                Ok(version.and_then(|it| it.definition["workspace"].as_str().map(str::to_owned)))
            })
        });
        let Some(workspace) = workspace.await? else { return Ok(()) };
        let looked = beside(&self.processes, move || canonical(&workspace)).await;
        match looked {
            Ok(Err(why)) => {
                let hint = "make the folder, or name another one in the definition";
                Err(invalid(vec![Problem::new("workspace", why, hint)]))
            }
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Runs were started in a transaction that is written.
    pub(crate) fn launched(self: &Arc<Self>) {
        self.automations.admission.notify_one();
        self.automations.status.notify_one();
        self.feed.ring();
    }
}

/// Starts a run in a transaction; the caller rings afterwards (`Inner::launched`).
pub(crate) async fn launch(tx: &mut Tx<'_>, ask: Launch, now: Moment) -> Result<Launched, EngineError> {
    let automation = definitions::lock(tx, &ask.automation).await?;
    let automation =
        automation.filter(|it| it.removed_at.is_none()).ok_or(EngineError::NotFound("Automation"))?;
    if let Some(key) = &ask.idempotency_key
        && let Some(before) = runs::by_key(tx, &automation.id, key).await?
    {
        return match before.body_hash.as_deref() == Some(ask.body_hash.as_str()) {
            true => Ok(Launched::Again(before)),
            false => Err(EngineError::Conflict {
                message: "idempotency key was used for another request".to_owned(),
                details: Some(json!({ "automationRunId": before.id })),
            }),
        };
    }
    may_start(&automation, ask.trigger)?;
    let version = definitions::version(tx, &automation.id, automation.version).await?;
    let version = version.ok_or(EngineError::NotFound("Automation version"))?;
    let definition = read(&version.definition)?;
    let inputs = definition.inputs(&ask.inputs).map_err(invalid)?;
    let number = definitions::draw_number(tx, &automation.id).await?;
    let is_dry = ask.trigger == TriggerType::ManualDryRun;
    if is_dry {
        // Agents may have gone since it was saved.
        super::definitions::inspect(tx, &automation.company_id, &definition).await?;
    }
    let agent_ids = super::definitions::meant(tx, (&automation.company_id, None), &definition).await?;
    let mut run = AutomationRun {
        id: ask.run_id,
        company_id: automation.company_id.clone(),
        automation_id: automation.id.clone(),
        version: version.version,
        own_definition: None,
        number,
        status: if is_dry { AutomationRunStatus::Completed } else { AutomationRunStatus::Queued },
        trigger_type: ask.trigger,
        trigger_detail: ask.detail,
        inputs: Json::Object(inputs),
        body_hash: ask.idempotency_key.as_ref().map(|_| ask.body_hash),
        idempotency_key: ask.idempotency_key,
        priority: ask.priority.unwrap_or(definition.priority).rank(),
        actor_kind: ask.actor.kind,
        actor_id: ask.actor.id.clone(),
        created_at: now,
        updated_at: now,
        queued_at: now,
        started_at: None,
        finished_at: is_dry.then_some(now),
        epoch: 0,
        server_node: None,
        // As it is written: where it leads to is looked at before the run begins, and not in this transaction.
        root: definition.workspace.clone(),
        held_reason: None,
        held_resource: None,
        held_until: None,
        not_before: None,
        stop_to: None,
        stop_asked_at: None,
        stop_drains: false,
        stop_kind: None,
        stop_reason: None,
        guardrail: None,
        stopped_at: None,
        worked_micros: 0,
        working_since: None,
        tokens: 0,
        cost_micros: 0,
        limits: None,
        last_failure: None,
        detail: is_dry.then(|| "dry_run".to_owned()),
        resumes: 0,
        history_seq: 0,
        look_at: None,
        told_seq: 0,
        files_before: None,
        admitted_at: None,
        agent_ids: Some(agent_ids),
    };
    if !runs::insert(tx, &run).await? {
        // The automation is locked: a key that is taken was found above.
        return Err(EngineError::Conflict { message: "The run exists already".to_owned(), details: None });
    }
    for (place, node) in (0_i64..).zip(&definition.nodes) {
        nodes::insert(tx, &blank(&run.id, &node.id, place)).await?;
    }
    let metadata = json!({ "trigger": run.trigger_type, "version": run.version, "inputs": run.inputs });
    telling::tell(tx, &mut run, Note::run("run_created").with(metadata), now).await?;
    runs::update(tx, &run).await?;
    if ask.actor.kind == ActorKind::User {
        let details = json!({ "automation": automation.name, "version": run.version, "number": run.number });
        telling::audit(tx, &run, &ask.actor, "automation.run_requested", details, now).await?;
    }
    Ok(Launched::New(run))
}

/// A node that nothing happened to.
pub(super) fn blank(run: &AutomationRunId, node: &str, place: i64) -> NodeRow {
    NodeRow {
        run_id: run.clone(),
        node_id: node.to_owned(),
        place,
        state: NodeState::Pending,
        attempt: 0,
        attempts: 0,
        repairs: 0,
        lost: 0,
        reworks: 0,
        since: None,
        retry_at: None,
        output: None,
        reason: None,
        feedback: None,
        started_at: None,
        finished_at: None,
    }
}

fn may_start(automation: &Automation, trigger: TriggerType) -> Result<(), EngineError> {
    let by_hand = matches!(trigger, TriggerType::Manual | TriggerType::ManualDryRun);
    let message = match automation.status {
        AutomationStatus::Active => return Ok(()),
        AutomationStatus::Draft if by_hand => return Ok(()),
        AutomationStatus::Draft => "The automation is a draft: only people start it, by hand",
        AutomationStatus::Paused => "The automation is paused",
    };
    let details = json!({ "status": automation.status, "reason": automation.paused_reason });
    Err(EngineError::refused_with(Kind::Conflict, message, details))
}

/// A stored definition; one that an older program wrote and this one cannot read is said to be so.
pub(super) fn read(definition: &Json) -> Result<Definition, EngineError> {
    definition::read(definition).map_err(|problem| invalid(vec![problem]))
}

/// The folder that a path leads to, or in words why it leads to none. Looks at files: not for transactions.
pub(super) fn canonical(workspace: &str) -> Result<String, String> {
    let found = Path::new(workspace).canonicalize();
    let found = found.map_err(|error| format!("cannot look at {workspace}: {error}"))?;
    if !found.is_dir() {
        return Err(format!("{workspace} is not a folder"));
    }
    found.into_os_string().into_string().map_err(|_| format!("{workspace} is not text"))
}

/// Why a run has failed whose workspace is gone, and what helps.
pub(super) fn no_folder(why: &str) -> String {
    format!(
        "it has no workspace: {why}; make the folder and retry a step of the run, \
         or name another folder in the definition and start a new run"
    )
}

pub(super) fn invalid(problems: Vec<Problem>) -> EngineError {
    let problem = |it: Problem| adapters::Problem { path: it.path, message: it.message, hint: Some(it.hint) };
    EngineError::Invalid(problems.into_iter().map(problem).collect())
}
