//! What waits for a person's decision, in one list, and one door to decide it.
//!
//! Gates of automations, permissions that agents ask for in the middle of a run, what they ask on issues, and all other
//! approvals. Each is decided by the one function of its subject, which everybody else uses too; here is what is common to
//! them: they are listed together, oldest first, and an answer names the hash of what its sender has seen. What an agent
//! asks while it works at a step of an automation names that step.

use domain::automation::definition::Decision;
use domain::automation::gate::{GateStatus, bound};
use domain::budget::IncidentStatus;
use domain::budget::crossing::APPROVAL_TYPE;
use domain::budget::resolution::Action;
use domain::gate::{ANSWERS_TO_STOP, Answer, GateKind, Refused, answers, judge};
use domain::ids::{CompanyId, GateId, RunId};
use domain::issue::refusal::{Kind, Refusal};
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::approvals::{self, Approval};
use store::budgets::incidents;
use store::interactions::{self, Interaction};
use store::{StoreError, Tx};

use crate::activity::Author;
use crate::automations::{GateDecision, GateView, MOST_GATES, StepOf, step_of, views_of_pending};
use crate::digest;
use crate::{ApprovalVerdict, Engine, EngineError, Reply, permissions};

/// Approvals in one look, where only some of them are wanted.
const PAGE: i64 = 500;

/// Something that a person decides, or has decided.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyGate {
    Node(Box<GateView>),
    /// With the step that its agent works at, where it works at one.
    Permission(Box<Approval>, Option<Box<StepOf>>),
    /// The same.
    Question(Box<Interaction>, Option<Box<StepOf>>),
    Approval(Box<Approval>),
}

/// What a person says to it.
#[derive(Debug, Clone, PartialEq)]
pub struct GateAnswer {
    pub answer: Answer,
    /// Of what was shown.
    pub hash: String,
    pub reason: Option<String>,
    /// For rework of an automation: where it begins.
    pub targets: Vec<String>,
    /// For questions: a list of `{questionId, optionIds}`.
    pub answers: Option<Json>,
    /// Of suggested tasks only these; `None`: all.
    pub selected: Option<Vec<String>>,
}

impl AnyGate {
    fn of_approval(approval: Approval) -> AnyGate {
        match permissions::run_of(&approval) {
            Some(_) => AnyGate::Permission(Box::new(approval), None),
            None => AnyGate::Approval(Box::new(approval)),
        }
    }

    /// Looks up the step that whoever asks works at.
    async fn placed(self, tx: &mut Tx<'_>) -> Result<AnyGate, StoreError> {
        Ok(match self {
            AnyGate::Permission(approval, None) => {
                let step = place(tx, permissions::run_of(&approval)).await?;
                AnyGate::Permission(approval, step)
            }
            AnyGate::Question(asked, None) => {
                let step = place(tx, asked.source_run_id.clone()).await?;
                AnyGate::Question(asked, step)
            }
            other @ (AnyGate::Node(_)
            | AnyGate::Permission(_, Some(_))
            | AnyGate::Question(_, Some(_))
            | AnyGate::Approval(_)) => other,
        })
    }

    /// It asks what is to become of what a budget stopped.
    fn is_of_stop(&self) -> bool {
        match self {
            AnyGate::Approval(approval) => {
                // Agents and people may ask for such a thing, too; theirs comes with no stop.
                approval.kind == APPROVAL_TYPE
                    && approval.requested_by_agent_id.is_none()
                    && approval.requested_by_user_id.is_none()
            }
            AnyGate::Node(_) | AnyGate::Permission(..) | AnyGate::Question(..) => false,
        }
    }

    pub fn kind(&self) -> GateKind {
        match self {
            AnyGate::Node(_) => GateKind::Node,
            AnyGate::Permission(..) => GateKind::Permission,
            AnyGate::Question(..) => GateKind::Question,
            AnyGate::Approval(_) => GateKind::Approval,
        }
    }

    pub fn id(&self) -> &str {
        match self {
            AnyGate::Node(view) => view.gate.id.as_str(),
            AnyGate::Permission(approval, _) | AnyGate::Approval(approval) => &approval.id,
            AnyGate::Question(asked, _) => &asked.id,
        }
    }

    pub fn company(&self) -> &CompanyId {
        match self {
            AnyGate::Node(view) => &view.gate.company_id,
            AnyGate::Permission(approval, _) | AnyGate::Approval(approval) => &approval.company_id,
            AnyGate::Question(asked, _) => &asked.company_id,
        }
    }

    pub fn asked_at(&self) -> Moment {
        match self {
            AnyGate::Node(view) => view.gate.asked_at,
            AnyGate::Permission(approval, _) | AnyGate::Approval(approval) => approval.created_at,
            AnyGate::Question(asked, _) => asked.created_at,
        }
    }

    /// Of exactly what is asked; an answer names it.
    pub fn hash(&self) -> String {
        match self {
            AnyGate::Node(view) => view.gate.hash.clone(),
            AnyGate::Permission(approval, _) | AnyGate::Approval(approval) => hash_of_approval(approval),
            AnyGate::Question(asked, _) => hash_of_question(asked),
        }
    }

    pub fn status(&self) -> GateStatus {
        match self {
            AnyGate::Node(view) => view.gate.status,
            AnyGate::Permission(approval, _) | AnyGate::Approval(approval) => {
                match approval.status.as_str() {
                    "pending" => GateStatus::Pending,
                    "cancelled" => GateStatus::Withdrawn,
                    _ => GateStatus::Decided,
                }
            }
            AnyGate::Question(asked, _) => match asked.status.as_str() {
                "pending" => GateStatus::Pending,
                "expired" => GateStatus::Expired,
                "failed" => GateStatus::Withdrawn,
                _ => GateStatus::Decided,
            },
        }
    }

    /// What was said to it.
    pub fn decision(&self) -> Option<Answer> {
        match self {
            AnyGate::Node(view) => view.gate.decision.map(|decision| match decision {
                Decision::Approve => Answer::Approve,
                Decision::Rework => Answer::Rework,
                Decision::Cancel => Answer::Cancel,
            }),
            AnyGate::Permission(approval, _) | AnyGate::Approval(approval) => {
                match approval.status.as_str() {
                    "approved" => Some(Answer::Approve),
                    "rejected" => Some(Answer::Reject),
                    "revision_requested" => Some(Answer::Rework),
                    _ => None,
                }
            }
            AnyGate::Question(asked, _) => match asked.status.as_str() {
                "accepted" => Some(Answer::Approve),
                "rejected" => Some(Answer::Reject),
                "answered" => Some(Answer::Respond),
                _ => None,
            },
        }
    }

    /// What may be said to it while it waits.
    pub fn answers(&self) -> Vec<Answer> {
        match self {
            AnyGate::Node(view) => {
                let words = view.gate.decisions.as_array().into_iter().flatten().filter_map(Json::as_str);
                words.filter_map(Answer::parse).collect()
            }
            AnyGate::Approval(_) if self.is_of_stop() => ANSWERS_TO_STOP.to_vec(),
            AnyGate::Permission(..) | AnyGate::Approval(_) => answers(self.kind(), false).to_vec(),
            AnyGate::Question(asked, _) => answers(self.kind(), has_questions(asked)).to_vec(),
        }
    }
}

async fn place(tx: &mut Tx<'_>, run: Option<RunId>) -> Result<Option<Box<StepOf>>, StoreError> {
    match run {
        Some(run) => Ok(step_of(tx, &run).await?.map(Box::new)),
        None => Ok(None),
    }
}

fn has_questions(asked: &Interaction) -> bool {
    asked.kind == "ask_user_questions"
}

fn hash(id: &str, shown: &Json) -> String {
    digest::sha256(bound(id, shown))
}

/// Covers what is asked as it is stored, also what nobody is shown of it: another secret in it is another request.
pub(crate) fn hash_of_approval(approval: &Approval) -> String {
    let asked = json!({
        "type": approval.kind, "payload": approval.payload, "requestedByAgentId": approval.requested_by_agent_id,
        "requestedByUserId": approval.requested_by_user_id,
    });
    hash(&approval.id, &asked)
}

pub(crate) fn hash_of_question(asked: &Interaction) -> String {
    let shown = json!({
        "kind": asked.kind, "issueId": asked.issue_id, "title": asked.title, "summary": asked.summary,
        "payload": asked.payload,
    });
    hash(&asked.id, &shown)
}

fn refusal(refused: Refused, gate: &AnyGate) -> EngineError {
    let (kind, words) = match refused {
        Refused::AlreadyDecided => (Kind::Conflict, "The gate is decided already, or was taken back"),
        Refused::Stale => (Kind::Conflict, "What was shown is not what is asked now; look at the gate again"),
        Refused::InvalidDecision if gate.is_of_stop() => (
            Kind::Unprocessable,
            "To approve this raises no budget: raise it on its incident, or reject this to keep it paused",
        ),
        Refused::InvalidDecision => (Kind::Unprocessable, "That cannot be decided here"),
    };
    let details = json!({
        "code": refused.code(), "gateId": gate.id(), "kind": gate.kind(), "status": gate.status(),
        "winningDecision": gate.decision(), "hash": gate.hash(), "decisions": gate.answers(),
    });
    EngineError::refused_with(kind, words, details)
}

fn judged(gate: &AnyGate, seen: &str, answer: Answer) -> Result<(), EngineError> {
    let waits = gate.status() == GateStatus::Pending;
    judge(waits, &gate.hash(), seen, answer, &gate.answers()).map_err(|refused| refusal(refused, gate))
}

/// Refuses a verdict on what its sender has not seen. The approval's row is locked.
pub(crate) fn judge_approval(
    approval: &Approval,
    seen: &str,
    verdict: ApprovalVerdict,
) -> Result<(), EngineError> {
    judged(&AnyGate::of_approval(approval.clone()), seen, verdict.answer())
}

/// The same for an answer to a question. The row of its issue is locked.
pub(crate) fn judge_question(asked: &Interaction, seen: &str, reply: &Reply) -> Result<(), EngineError> {
    judged(&AnyGate::Question(Box::new(asked.clone()), None), seen, reply.answer())
}

impl Engine {
    /// Lists what waits for a person in a company, oldest first, behind a place: all of it can be had, however much.
    /// `kinds`: only these; with none of them, everything.
    pub async fn pending_gates(
        &self,
        company: &CompanyId,
        kinds: Vec<GateKind>,
        after: (Moment, String),
        limit: i64,
    ) -> Result<Vec<AnyGate>, EngineError> {
        let limit = limit.clamp(1, MOST_GATES);
        let listed = self.inner.read((company.clone(), kinds, after), move |tx, (company, kinds, after)| {
            Box::pin(async move { pending(tx, &company, &kinds, after, limit).await })
        });
        Ok(listed.await?)
    }

    /// Finds what a person decides by its id, whatever company it belongs to.
    pub async fn any_gate(&self, id: &str) -> Result<AnyGate, EngineError> {
        match self.gate(&GateId::from(id)).await {
            Ok(view) => return Ok(AnyGate::Node(Box::new(view))),
            Err(EngineError::NotFound(_)) => {}
            Err(other) => return Err(other),
        }
        let found = self.inner.read(id.to_owned(), |tx, id| {
            Box::pin(async move {
                if let Some(approval) = approvals::get(tx, &id).await? {
                    return AnyGate::of_approval(approval).placed(tx).await.map(Some);
                }
                match interactions::get(tx, &id).await? {
                    Some(asked) => AnyGate::Question(Box::new(asked), None).placed(tx).await.map(Some),
                    None => Ok(None),
                }
            })
        });
        found.await?.ok_or(EngineError::NotFound("Gate"))
    }

    /// Decides it, once, about exactly what was shown, by the function of its own subject.
    pub async fn answer_gate(&self, id: &str, said: GateAnswer, by: &Author) -> Result<AnyGate, EngineError> {
        let gate = self.any_gate(id).await?;
        let not_here = |gate: &AnyGate| refusal(Refused::InvalidDecision, gate);
        let GateAnswer { answer, hash, reason, targets, answers, selected } = said;
        let seen = Some(hash.clone());
        match &gate {
            AnyGate::Node(view) => {
                let decision = Decision::parse(answer.as_str()).ok_or_else(|| not_here(&gate))?;
                let ask = GateDecision { decision, hash, reason, targets };
                self.decide_gate(&view.gate.id, ask, by).await?;
            }
            AnyGate::Approval(approval) if gate.is_of_stop() => {
                judged(&gate, &hash, answer)?;
                self.keep_stopped(approval, &hash, reason, by).await?;
            }
            AnyGate::Permission(approval, _) | AnyGate::Approval(approval) => {
                let verdict = match answer {
                    Answer::Approve => ApprovalVerdict::Approve,
                    Answer::Reject => ApprovalVerdict::Reject,
                    Answer::Rework => ApprovalVerdict::RequestRevision,
                    Answer::Cancel | Answer::Respond => return Err(not_here(&gate)),
                };
                self.decide_approval_seen(&approval.id, verdict, reason, seen, by).await?;
            }
            AnyGate::Question(asked, _) => {
                let reply = match answer {
                    Answer::Approve => Reply::Accept { selected },
                    Answer::Reject => Reply::Reject { reason },
                    Answer::Respond => Reply::Respond {
                        answers: answers.unwrap_or_else(|| json!([])),
                        summary_markdown: reason,
                    },
                    Answer::Cancel | Answer::Rework => return Err(not_here(&gate)),
                };
                self.resolve_interaction_seen(&asked.issue_id, &asked.id, reply, seen, by).await?;
            }
        }
        self.any_gate(id).await
    }

    /// What a budget stopped stays so: its incident is settled, and the request that came with it.
    async fn keep_stopped(
        &self,
        approval: &Approval,
        seen: &str,
        reason: Option<String>,
        by: &Author,
    ) -> Result<(), EngineError> {
        if !by.is_board() {
            return Err(Refusal::BoardRequired.into());
        }
        let found = self.inner.read(approval.id.clone(), |tx, id| {
            Box::pin(async move { incidents::of_approval(tx, &id).await })
        });
        let Some(incident) = found.await?.filter(|it| it.status == IncidentStatus::Open) else {
            // Nothing is stopped any more: the request alone is left.
            let (verdict, seen) = (ApprovalVerdict::Reject, Some(seen.to_owned()));
            return self.decide_approval_seen(&approval.id, verdict, reason, seen, by).await.map(drop);
        };
        let (company, action) = (&approval.company_id, Action::KeepPaused);
        match self.resolve_budget_incident(company, &incident.id, action, None, reason, by).await {
            Ok(_) => Ok(()),
            Err(error) => {
                // Of two who decide at once the second hears what the first one said.
                judged(&self.any_gate(&approval.id).await?, seen, Answer::Reject)?;
                Err(error)
            }
        }
    }
}

/// Everything that waits, oldest first. Each source gives as much as is asked for: together that is enough.
async fn pending(
    tx: &mut Tx<'_>,
    company: &CompanyId,
    kinds: &[GateKind],
    after: (Moment, String),
    limit: i64,
) -> Result<Vec<AnyGate>, StoreError> {
    let wants = |kind: GateKind| kinds.is_empty() || kinds.contains(&kind);
    let place = (after.0, after.1.as_str());
    let mut found = Vec::new();
    if wants(GateKind::Node) {
        let views = views_of_pending(tx, company, place, limit).await?;
        found.extend(views.into_iter().map(|view| AnyGate::Node(Box::new(view))));
    }
    if wants(GateKind::Question) {
        let asked = interactions::waiting_after(tx, company, place, limit).await?;
        found.extend(asked.into_iter().map(|asked| AnyGate::Question(Box::new(asked), None)));
    }
    if wants(GateKind::Permission) || wants(GateKind::Approval) {
        let mut wanted = Vec::new();
        let mut place = after;
        loop {
            let page = approvals::waiting(tx, company, (place.0, &place.1), PAGE).await?;
            let is_last = (page.len() as i64) < PAGE;
            if let Some(last) = page.last() {
                place = (last.created_at, last.id.clone());
            }
            wanted.extend(page.into_iter().map(AnyGate::of_approval).filter(|gate| wants(gate.kind())));
            if is_last || wanted.len() as i64 >= limit {
                break;
            }
        }
        found.extend(wanted);
    }
    found.sort_by(|one, other| (one.asked_at(), one.id()).cmp(&(other.asked_at(), other.id())));
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let mut placed = Vec::with_capacity(found.len());
    for gate in found {
        placed.push(gate.placed(tx).await?);
    }
    Ok(placed)
}
