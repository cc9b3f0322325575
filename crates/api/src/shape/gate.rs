//! What a person decides, on the wire: one shape for every kind, with fields of its own for each.

use adapters::redacted;
use domain::automation::definition::{Expiry, OnExpiry};
use domain::automation::gate::terms;
use domain::gate::GateKind;
use domain::moment::Moment;
use engine::{AnyGate, GateView, StepOf};
use serde::Serialize;
use serde_json::{Value as Json, json};
use store::approvals::Approval;
use store::automations::gates::GateRow;
use store::interactions::Interaction;
use utoipa::ToSchema;

use super::automation::StartedBy;

/// Something that a person decides.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gate {
    id: String,
    company_id: String,
    /// `node` (of an automation), `permission`, `question` or `approval`.
    kind: &'static str,
    /// `pending`, `decided`, `expired` or `withdrawn`.
    status: &'static str,
    title: String,
    instructions: Option<String>,
    /// What is decided about; values that nobody is to read are hidden.
    #[schema(value_type = Object)]
    shown: Json,
    /// Of what is asked; a decision names it.
    hash: String,
    /// Of `approve`, `reject`, `rework`, `cancel` and `respond`.
    #[schema(value_type = Vec<String>)]
    decisions: Json,
    #[schema(value_type = String, format = DateTime)]
    requested_at: Moment,
    /// When its time is over; what happens then is `onExpiry`.
    #[schema(value_type = Option<String>)]
    expires_at: Option<Moment>,
    decision: Option<&'static str>,
    reason: Option<String>,
    #[schema(value_type = Option<String>)]
    decided_at: Option<Moment>,
    decided_by: Option<StartedBy>,
    #[serde(flatten)]
    step: Option<GateStep>,
    #[serde(flatten)]
    node: Option<NodeGate>,
    #[serde(flatten)]
    request: Option<Request>,
}

/// The step of an automation that it belongs to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GateStep {
    automation_run_id: String,
    node_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    automation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_number: Option<i64>,
}

impl From<StepOf> for GateStep {
    fn from(of: StepOf) -> GateStep {
        GateStep {
            automation_run_id: of.run_id.0,
            node_id: of.node_id,
            automation: Some(of.automation),
            run_number: Some(of.run_number),
        }
    }
}

/// What only gates of automations have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeGate {
    /// The agent of the step asks: to approve needs a `reason`, which is the answer.
    wants_answer: bool,
    #[schema(value_type = Vec<String>)]
    rework_targets: Json,
    #[schema(value_type = Vec<String>)]
    approvers: Json,
    self_approval: bool,
    /// `cancel`, `escalate` or `remind`.
    on_expiry: &'static str,
    /// Whom it is escalated to when its time is over.
    escalate_to: Option<String>,
    remind_every_sec: Option<u64>,
    reminder_count: i64,
    #[schema(value_type = Option<String>)]
    reminded_at: Option<Moment>,
    escalated_to: Option<String>,
    #[schema(value_type = Option<String>)]
    escalated_at: Option<Moment>,
    /// It has been open for more than a day.
    stale: bool,
}

/// What only requests of agents and people have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    /// The type of the approval, or the kind of the interaction.
    request_type: String,
    requested_by_agent_id: Option<String>,
    requested_by_user_id: Option<String>,
    /// The run that waits, or that asked.
    run_id: Option<String>,
    /// The issue that is asked on.
    issue_id: Option<String>,
}

impl From<GateRow> for Gate {
    fn from(gate: GateRow) -> Gate {
        let decided_by =
            gate.decided_by_kind.map(|kind| StartedBy { kind: kind.as_str(), actor_id: gate.decided_by });
        let expiry: Option<Expiry> = gate.expiry.and_then(|it| serde_json::from_value(it).ok());
        let terms = terms(expiry.as_ref());
        let escalates = terms.expires_after.is_some() && terms.on_expiry == OnExpiry::Escalate;
        Gate {
            id: gate.id.0,
            company_id: gate.company_id.0,
            kind: GateKind::Node.as_str(),
            status: gate.status.as_str(),
            title: gate.title,
            instructions: gate.instructions,
            shown: gate.shown,
            hash: gate.hash,
            decisions: gate.decisions,
            requested_at: gate.asked_at,
            expires_at: gate.expires_at,
            decision: gate.decision.map(|decision| decision.as_str()),
            reason: gate.reason,
            decided_at: gate.decided_at,
            decided_by,
            step: Some(GateStep {
                automation_run_id: gate.run_id.0,
                node_id: gate.node_id,
                automation: None,
                run_number: None,
            }),
            node: Some(NodeGate {
                wants_answer: false,
                rework_targets: gate.rework_targets,
                approvers: gate.approvers,
                self_approval: gate.self_approval,
                on_expiry: terms.on_expiry.as_str(),
                escalate_to: escalates.then_some(terms.escalate_to),
                remind_every_sec: terms.remind_every.map(|every| every.as_secs()),
                reminder_count: gate.reminders,
                reminded_at: gate.reminded_at,
                escalated_to: gate.escalated_to,
                escalated_at: gate.escalated_at,
                stale: gate.stale_at.is_some(),
            }),
            request: None,
        }
    }
}

impl From<GateView> for Gate {
    fn from(view: GateView) -> Gate {
        let mut gate = Gate::from(view.gate).answerable(view.wants_answer);
        if let Some(step) = &mut gate.step {
            (step.automation, step.run_number) = (Some(view.automation), Some(view.run_number));
        }
        gate
    }
}

impl Gate {
    /// Says whether the agent of its step waits for an answer.
    pub(crate) fn answerable(mut self, wants_answer: bool) -> Gate {
        if let Some(node) = &mut self.node {
            node.wants_answer = wants_answer;
        }
        self
    }
}

/// The first of these texts that says something.
fn first_of(of: &Json, names: &[&str], otherwise: &str) -> String {
    let said = names.iter().filter_map(|name| of[*name].as_str()).map(str::trim);
    said.into_iter().find(|text| !text.is_empty()).unwrap_or(otherwise).to_owned()
}

fn user(id: Option<String>) -> Option<StartedBy> {
    id.map(|id| StartedBy { kind: "user", actor_id: Some(id) })
}

impl From<AnyGate> for Gate {
    fn from(gate: AnyGate) -> Gate {
        let (kind, status) = (gate.kind().as_str(), gate.status().as_str());
        let (hash, decisions) = (gate.hash(), json!(gate.answers()));
        let decision = gate.decision().map(|answer| answer.as_str());
        match gate {
            AnyGate::Node(view) => Gate::from(*view),
            AnyGate::Permission(approval, step) => Gate {
                kind,
                decisions,
                step: step.map(|of| GateStep::from(*of)),
                ..Gate::from(AnyGate::Approval(approval))
            },
            AnyGate::Approval(approval) => {
                let approval: Approval = *approval;
                let shown = redacted(approval.payload);
                let names = ["title", "summary", "name", "scopeName", "plan"];
                Gate {
                    title: first_of(&shown, &names, &approval.kind),
                    instructions: None,
                    id: approval.id,
                    company_id: approval.company_id.0,
                    kind,
                    status,
                    hash,
                    decisions,
                    requested_at: approval.created_at,
                    expires_at: None,
                    decision,
                    reason: approval.decision_note,
                    decided_at: approval.decided_at,
                    decided_by: user(approval.decided_by_user_id),
                    step: None,
                    node: None,
                    request: Some(Request {
                        request_type: approval.kind,
                        requested_by_agent_id: approval.requested_by_agent_id.map(|id| id.0),
                        requested_by_user_id: approval.requested_by_user_id,
                        run_id: shown["permission"]["runId"].as_str().map(str::to_owned),
                        issue_id: None,
                    }),
                    shown,
                }
            }
            AnyGate::Question(asked, step) => {
                let asked: Interaction = *asked;
                let said = json!({ "title": asked.title, "summary": asked.summary });
                Gate {
                    title: first_of(&said, &["title", "summary"], &asked.kind),
                    instructions: asked.summary,
                    id: asked.id,
                    company_id: asked.company_id.0,
                    kind,
                    status,
                    shown: asked.payload,
                    hash,
                    decisions,
                    requested_at: asked.created_at,
                    expires_at: None,
                    decision,
                    reason: asked
                        .result
                        .as_ref()
                        .map(|result| first_of(result, &["reason", "rejectionReason", "summaryMarkdown"], ""))
                        .filter(|reason| !reason.is_empty()),
                    decided_at: asked.resolved_at,
                    decided_by: user(asked.resolved_by_user_id),
                    step: step.map(|of| GateStep::from(*of)),
                    node: None,
                    request: Some(Request {
                        request_type: asked.kind,
                        requested_by_agent_id: asked.created_by_agent_id.map(|id| id.0),
                        requested_by_user_id: asked.created_by_user_id,
                        run_id: asked.source_run_id.map(|id| id.0),
                        issue_id: Some(asked.issue_id.0),
                    }),
                }
            }
        }
    }
}
