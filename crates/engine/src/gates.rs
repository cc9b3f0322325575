//! What waits for a person's decision, in one list, and one door to decide it.
//!
//! Gates of automations, permissions that agents ask for in the middle of a run, what they ask on issues, and all other
//! approvals. Each is decided by the one function of its subject, which everybody else uses too; here is what is common to
//! them: they are listed together, oldest first, and an answer names the hash of what its sender has seen.

use domain::automation::definition::Decision;
use domain::automation::gate::{GateStatus, bound};
use domain::gate::{Answer, GateKind, Refused, answers, judge};
use domain::ids::{CompanyId, GateId};
use domain::issue::refusal::Kind;
use domain::moment::Moment;
use serde_json::{Value as Json, json};
use store::approvals::{self, Approval};
use store::interactions::{self, Interaction};
use store::{StoreError, Tx};

use crate::activity::Author;
use crate::automations::{GateDecision, GateView, MOST_GATES, views_of_pending};
use crate::digest;
use crate::{ApprovalVerdict, Engine, EngineError, Reply, permissions};

/// Approvals in one look, where only some of them are wanted.
const PAGE: i64 = 500;

/// Something that a person decides, or has decided.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyGate {
    Node(Box<GateView>),
    Permission(Box<Approval>),
    Question(Box<Interaction>),
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
            Some(_) => AnyGate::Permission(Box::new(approval)),
            None => AnyGate::Approval(Box::new(approval)),
        }
    }

    pub fn kind(&self) -> GateKind {
        match self {
            AnyGate::Node(_) => GateKind::Node,
            AnyGate::Permission(_) => GateKind::Permission,
            AnyGate::Question(_) => GateKind::Question,
            AnyGate::Approval(_) => GateKind::Approval,
        }
    }

    pub fn id(&self) -> &str {
        match self {
            AnyGate::Node(view) => view.gate.id.as_str(),
            AnyGate::Permission(approval) | AnyGate::Approval(approval) => &approval.id,
            AnyGate::Question(asked) => &asked.id,
        }
    }

    pub fn company(&self) -> &CompanyId {
        match self {
            AnyGate::Node(view) => &view.gate.company_id,
            AnyGate::Permission(approval) | AnyGate::Approval(approval) => &approval.company_id,
            AnyGate::Question(asked) => &asked.company_id,
        }
    }

    pub fn asked_at(&self) -> Moment {
        match self {
            AnyGate::Node(view) => view.gate.asked_at,
            AnyGate::Permission(approval) | AnyGate::Approval(approval) => approval.created_at,
            AnyGate::Question(asked) => asked.created_at,
        }
    }

    /// Of exactly what is asked; an answer names it.
    pub fn hash(&self) -> String {
        match self {
            AnyGate::Node(view) => view.gate.hash.clone(),
            AnyGate::Permission(approval) | AnyGate::Approval(approval) => hash_of_approval(approval),
            AnyGate::Question(asked) => hash_of_question(asked),
        }
    }

    pub fn status(&self) -> GateStatus {
        match self {
            AnyGate::Node(view) => view.gate.status,
            AnyGate::Permission(approval) | AnyGate::Approval(approval) => match approval.status.as_str() {
                "pending" => GateStatus::Pending,
                "cancelled" => GateStatus::Withdrawn,
                _ => GateStatus::Decided,
            },
            AnyGate::Question(asked) => match asked.status.as_str() {
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
            AnyGate::Permission(approval) | AnyGate::Approval(approval) => match approval.status.as_str() {
                "approved" => Some(Answer::Approve),
                "rejected" => Some(Answer::Reject),
                "revision_requested" => Some(Answer::Rework),
                _ => None,
            },
            AnyGate::Question(asked) => match asked.status.as_str() {
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
            AnyGate::Permission(_) | AnyGate::Approval(_) => answers(self.kind(), false).to_vec(),
            AnyGate::Question(asked) => answers(self.kind(), has_questions(asked)).to_vec(),
        }
    }
}

fn has_questions(asked: &Interaction) -> bool {
    asked.kind == "ask_user_questions"
}

fn hash(id: &str, shown: &Json) -> String {
    digest::sha256(bound(id, shown))
}

/// Covers what is asked as it is stored, also what nobody is shown of it: another secret in it is another request.
fn hash_of_approval(approval: &Approval) -> String {
    let asked = json!({
        "type": approval.kind, "payload": approval.payload, "requestedByAgentId": approval.requested_by_agent_id,
        "requestedByUserId": approval.requested_by_user_id,
    });
    hash(&approval.id, &asked)
}

fn hash_of_question(asked: &Interaction) -> String {
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
    let answer = match verdict {
        ApprovalVerdict::Approve => Answer::Approve,
        ApprovalVerdict::Reject => Answer::Reject,
        ApprovalVerdict::RequestRevision => Answer::Rework,
    };
    judged(&AnyGate::of_approval(approval.clone()), seen, answer)
}

/// The same for an answer to a question. The row of its issue is locked.
pub(crate) fn judge_question(asked: &Interaction, seen: &str, reply: &Reply) -> Result<(), EngineError> {
    let answer = match reply {
        Reply::Accept { .. } => Answer::Approve,
        Reply::Reject { .. } => Answer::Reject,
        Reply::Respond { .. } => Answer::Respond,
    };
    judged(&AnyGate::Question(Box::new(asked.clone())), seen, answer)
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
                    return Ok(Some(AnyGate::of_approval(approval)));
                }
                let asked = interactions::get(tx, &id).await?;
                Ok(asked.map(|asked| AnyGate::Question(Box::new(asked))))
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
            AnyGate::Permission(approval) | AnyGate::Approval(approval) => {
                let verdict = match answer {
                    Answer::Approve => ApprovalVerdict::Approve,
                    Answer::Reject => ApprovalVerdict::Reject,
                    Answer::Rework => ApprovalVerdict::RequestRevision,
                    Answer::Cancel | Answer::Respond => return Err(not_here(&gate)),
                };
                self.decide_approval_seen(&approval.id, verdict, reason, seen, by).await?;
            }
            AnyGate::Question(asked) => {
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
        found.extend(asked.into_iter().map(|asked| AnyGate::Question(Box::new(asked))));
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
    Ok(found)
}
