//! Approvals: an agent or a person asks the board for something, and a person decides, once.
//!
//! The decision, its effects on agents, what is told of it and the wake of who asked are one transaction. Raising a
//! budget is decided on its incident (`budgets`); approving such a request only says that it was seen.

use std::collections::BTreeSet;

use domain::agent::{AgentStatus, HeartbeatPolicy, Role};
use domain::gate::Answer;
use domain::ids::{AgentId, CompanyId, IssueId};
use domain::issue::notices::{self, Standing};
use domain::issue::refusal::{Kind, Refusal};
use domain::moment::Moment;
use domain::schedule;
use serde_json::{Value as Json, json};
use store::activity;
use store::approvals::{self, Approval, ApprovalComment, Linker, Verdict};
use store::issues::{self, Issue};
use store::{StoreError, Tx, agents, audit, companies};

use crate::activity::{Author, Scribe};
use crate::agent_defaults::Seed;
use crate::agents::{check_draft, drafted};
use crate::hiring::take_in;
use crate::issues::{Again, Locks, Sheet, agent_in, agent_may_hire, guard, of_company, send, standing};
use crate::{AgentDraft, Engine, EngineError, agent_defaults, gates, permissions, signals, stops, verdicts};

/// What may be asked for.
pub const APPROVAL_KINDS: [&str; 4] =
    ["hire_agent", "approve_ceo_strategy", "budget_override_required", "request_board_approval"];
/// The longest list of approvals.
pub const MOST_APPROVALS: i64 = 1_000;
/// As many issues as an approval is linked with.
const MOST_LINKS: i64 = 200;
/// As much of what was told of an agent is looked at.
const MOST_TOLD: i64 = 10_000;
/// The longest note or comment.
const TEXT: usize = 100_000;

/// A new request.
#[derive(Debug, Clone, PartialEq)]
pub struct ApprovalDraft {
    /// One of [`APPROVAL_KINDS`].
    pub kind: String,
    /// An object.
    pub payload: Json,
    /// For a person who asks in the name of an agent; agents ask for themselves.
    pub requested_by_agent_id: Option<AgentId>,
    pub issue_ids: Vec<IssueId>,
}

/// What a person says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalVerdict {
    Approve,
    Reject,
    /// Who asked is to ask better.
    RequestRevision,
}

impl ApprovalVerdict {
    /// The same, as it is said to everything that waits for a person.
    pub(crate) const fn answer(self) -> Answer {
        match self {
            ApprovalVerdict::Approve => Answer::Approve,
            ApprovalVerdict::Reject => Answer::Reject,
            ApprovalVerdict::RequestRevision => Answer::Rework,
        }
    }
}

impl Engine {
    /// Lists the approvals of a company, newest first, before a place; with a status, only those.
    pub async fn approvals(
        &self,
        company: &CompanyId,
        status: Option<String>,
        before: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<Approval>, EngineError> {
        let limit = limit.clamp(1, MOST_APPROVALS);
        let context = (company.clone(), status, before);
        let listed = self.inner.read(context, move |tx, (company, status, before)| {
            Box::pin(async move { approvals::list(tx, &company, status.as_deref(), before, limit).await })
        });
        Ok(listed.await?)
    }

    /// Finds an approval by its id, whatever company it belongs to.
    pub async fn approval(&self, id: &str) -> Result<Approval, EngineError> {
        let found =
            self.inner.read(id.to_owned(), |tx, id| Box::pin(async move { approvals::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Approval"))
    }

    /// Lists the issues of an approval, the newest link first.
    pub async fn issues_of_approval(&self, id: &str) -> Result<Vec<Issue>, EngineError> {
        let found = self.inner.read(id.to_owned(), |tx, id| {
            Box::pin(async move {
                if approvals::get(tx, &id).await?.is_none() {
                    return Ok(None);
                }
                linked(tx, &id).await.map(Some)
            })
        });
        found.await?.ok_or(EngineError::NotFound("Approval"))
    }

    /// Lists the approvals of an issue, the newest link first.
    pub async fn approvals_of_issue(&self, issue: &IssueId) -> Result<Vec<Approval>, EngineError> {
        let found = self.inner.read(issue.clone(), |tx, issue| {
            Box::pin(async move {
                if issues::get(tx, &issue).await?.is_none() {
                    return Ok(None);
                }
                approvals::of_issue(tx, &issue, MOST_LINKS).await.map(Some)
            })
        });
        found.await?.ok_or(EngineError::NotFound("Issue"))
    }

    /// Asks the board for something.
    pub async fn create_approval(
        &self,
        company: &CompanyId,
        draft: ApprovalDraft,
        by: &Author,
    ) -> Result<Approval, EngineError> {
        let mut sheet = Sheet::default();
        sheet.word("type", &draft.kind, &APPROVAL_KINDS);
        sheet.object("payload", Some(&draft.payload));
        sheet.id("requestedByAgentId", draft.requested_by_agent_id.as_ref().map(AgentId::as_str));
        sheet.ids("issueIds", draft.issue_ids.iter().map(IssueId::as_str));
        sheet.finish()?;
        let context = (company.clone(), draft);
        let asked =
            self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (company, draft)| {
                Box::pin(async move { ask(tx, &mut scribe, &company, draft).await })
            });
        asked.await
    }

    /// Decides a request. Approving or rejecting it again changes nothing.
    pub async fn decide_approval(
        &self,
        id: &str,
        verdict: ApprovalVerdict,
        note: Option<String>,
        by: &Author,
    ) -> Result<Approval, EngineError> {
        self.decide_approval_seen(id, verdict, note, None, by).await
    }

    /// The same. `seen`: the hash of what the person was shown (`gates`); then it is decided once, about exactly that.
    pub(crate) async fn decide_approval_seen(
        &self,
        id: &str,
        verdict: ApprovalVerdict,
        note: Option<String>,
        seen: Option<String>,
        by: &Author,
    ) -> Result<Approval, EngineError> {
        if !by.is_board() {
            return Err(Refusal::BoardRequired.into());
        }
        let mut sheet = Sheet::default();
        sheet.maybe("decisionNote", note.as_deref(), TEXT);
        sheet.finish()?;
        let decided = self.inner.change_widely(
            by,
            Locks::default(),
            (id.to_owned(), note, seen, agent_defaults::seed(&*self.inner.dice)),
            move |tx, mut scribe, locks, (id, note, seen, seed)| {
                Box::pin(
                    async move { decide(tx, &mut scribe, &locks, &id, (verdict, note, seen), seed).await },
                )
            },
        );
        let approval = decided.await?;
        self.inner.timers.notify_one();
        if let Some(handle) = permissions::run_of(&approval).and_then(|run| self.inner.handle_of(&run)) {
            handle.heed_decision();
        }
        if let Some(agent) = hired(&approval) {
            if verdict == ApprovalVerdict::Reject {
                self.inner.after_end();
            }
            self.inner.doorbell.ring(&agent);
        }
        Ok(approval)
    }

    /// Asks again after a revision was wanted, with another payload if there is one.
    pub async fn resubmit_approval(
        &self,
        id: &str,
        payload: Option<Json>,
        by: &Author,
    ) -> Result<Approval, EngineError> {
        let mut sheet = Sheet::default();
        sheet.object("payload", payload.as_ref());
        sheet.finish()?;
        let context = (id.to_owned(), payload);
        let asked = self.inner.change(by, Locks::default(), context, |tx, mut scribe, _, (id, payload)| {
            Box::pin(async move {
                let before = approvals::lock(tx, &id).await?.ok_or(EngineError::NotFound("Approval"))?;
                agent_in(tx, &scribe, &before.company_id).await?;
                let agent = scribe.by.agent_id();
                if agent.is_some() && agent != before.requested_by_agent_id {
                    let words = "Only requesting agent can resubmit this approval";
                    return Err(EngineError::refused(Kind::Forbidden, words));
                }
                if let Some(payload) = &payload {
                    check_hire(&before.kind, payload)?;
                }
                let asked = approvals::resubmit(tx, &id, payload.as_ref(), scribe.now).await?;
                let asked = asked.ok_or_else(|| {
                    let words = "Only revision requested approvals can be resubmitted";
                    EngineError::refused(Kind::Unprocessable, words)
                })?;
                tell(tx, &mut scribe, &asked, "approval.resubmitted").await?;
                Ok(asked)
            })
        });
        asked.await
    }

    /// Lists the comments on an approval, oldest first, behind a place.
    pub async fn approval_comments(
        &self,
        id: &str,
        after: Option<(Moment, String)>,
        limit: i64,
    ) -> Result<Vec<ApprovalComment>, EngineError> {
        let limit = limit.clamp(1, MOST_APPROVALS);
        let listed = self.inner.read((id.to_owned(), after), move |tx, (id, after)| {
            Box::pin(async move {
                if approvals::get(tx, &id).await?.is_none() {
                    return Ok(None);
                }
                approvals::comments(tx, &id, after, limit).await.map(Some)
            })
        });
        listed.await?.ok_or(EngineError::NotFound("Approval"))
    }

    /// Says something on an approval.
    pub async fn comment_on_approval(
        &self,
        id: &str,
        body: String,
        by: &Author,
    ) -> Result<ApprovalComment, EngineError> {
        let mut sheet = Sheet::default();
        sheet.required("body", &body, TEXT);
        sheet.finish()?;
        let said = self.inner.change(
            by,
            Locks::default(),
            (id.to_owned(), body),
            |tx, mut scribe, _, (id, body)| {
                Box::pin(async move {
                    let approval = approvals::get(tx, &id).await?.ok_or(EngineError::NotFound("Approval"))?;
                    agent_in(tx, &scribe, &approval.company_id).await?;
                    let comment = ApprovalComment {
                        id: scribe.id(),
                        company_id: approval.company_id.clone(),
                        approval_id: id,
                        author_agent_id: scribe.by.agent_id(),
                        author_user_id: scribe.by.user_id(),
                        body,
                        created_at: scribe.now,
                        updated_at: scribe.now,
                    };
                    approvals::add_comment(tx, &comment).await?;
                    tell(tx, &mut scribe, &approval, "approval.comment_added").await?;
                    Ok(comment)
                })
            },
        );
        said.await
    }

    /// Links an approval with an issue, or takes the link away; returns the approvals of the issue.
    pub async fn link_approval(
        &self,
        issue: &IssueId,
        approval: &str,
        is_linked: bool,
        by: &Author,
    ) -> Result<Vec<Approval>, EngineError> {
        let context = (issue.clone(), approval.to_owned());
        let linked =
            self.inner.change(by, Locks::of(issue), context, move |tx, mut scribe, locks, (id, approval)| {
                Box::pin(async move {
                    let locked = locks.take(tx).await?;
                    let issue = locked.issues.get(&id).ok_or(Refusal::IssueNotFound)?;
                    let custodian = guard(tx, &scribe, issue).await?;
                    if let Some(agent) = agent_in(tx, &scribe, &issue.company_id).await?
                        && !agent_may_hire(tx, &agent).await?
                    {
                        let words = "Missing permission to link approvals";
                        return Err(EngineError::refused(Kind::Forbidden, words));
                    }
                    let found = approvals::get(tx, &approval).await?;
                    let found = found.ok_or(EngineError::NotFound("Approval"))?;
                    if found.company_id != issue.company_id {
                        let words = "Issue and approval must belong to the same company";
                        return Err(EngineError::refused(Kind::Unprocessable, words));
                    }
                    let action = if is_linked {
                        let linker = Linker { agent: scribe.by.agent_id(), user: scribe.by.user_id() };
                        approvals::link(tx, &issue.company_id, &approval, &id, &linker, scribe.now).await?;
                        "issue.approval_linked"
                    } else {
                        approvals::unlink(tx, &approval, &id).await?;
                        "issue.approval_unlinked"
                    };
                    custodian.keep(tx, &mut scribe, issue).await?;
                    let details = json!({ "approvalId": approval, "identifier": issue.identifier });
                    scribe.tell_issue(tx, &issue.company_id, action, &id, details).await?;
                    Ok(approvals::of_issue(tx, &id, MOST_LINKS).await?)
                })
            });
        linked.await
    }
}

async fn ask(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    company: &CompanyId,
    draft: ApprovalDraft,
) -> Result<Approval, EngineError> {
    companies::get(tx, company).await?.ok_or(EngineError::NotFound("Company"))?;
    agent_in(tx, scribe, company).await?;
    let agent = scribe.by.agent_id();
    if agent.is_some() && draft.requested_by_agent_id.is_some() && draft.requested_by_agent_id != agent {
        // Who is named as the one who asks is woken by the answer and may ask again.
        let words = "Agents can only request approvals for themselves";
        return Err(EngineError::refused(Kind::Forbidden, words));
    }
    let requester = agent.or(draft.requested_by_agent_id);
    if let Some(requester) = &requester {
        let found = agents::get(tx, requester).await?.filter(|agent| agent.company_id == *company);
        found.ok_or(EngineError::NotFound("Agent"))?;
    }
    let wanted: BTreeSet<IssueId> = draft.issue_ids.into_iter().collect();
    for issue in &wanted {
        if of_company(tx, company, issue).await?.is_none() {
            return Err(match issues::get(tx, issue).await? {
                None => EngineError::refused(Kind::NotFound, "One or more issues not found"),
                Some(_) => EngineError::refused(
                    Kind::Unprocessable,
                    "Issue and approval must belong to the same company",
                ),
            });
        }
    }
    check_hire(&draft.kind, &draft.payload)?;
    let approval = Approval {
        id: scribe.id(),
        company_id: company.clone(),
        kind: draft.kind,
        requested_by_user_id: if requester.is_none() { scribe.by.user_id() } else { None },
        requested_by_agent_id: requester,
        status: "pending".to_owned(),
        payload: draft.payload,
        decision_note: None,
        decided_by_user_id: None,
        decided_at: None,
        created_at: scribe.now,
        updated_at: scribe.now,
    };
    approvals::insert(tx, &approval).await?;
    let linker = Linker { agent: scribe.by.agent_id(), user: scribe.by.user_id() };
    for issue in &wanted {
        approvals::link(tx, company, &approval.id, issue, &linker, scribe.now).await?;
    }
    tell(tx, scribe, &approval, "approval.created").await?;
    Ok(approval)
}

/// Refuses to ask for a hire that nobody could approve. A request that names its agent describes none.
fn check_hire(kind: &str, payload: &Json) -> Result<(), EngineError> {
    if kind != "hire_agent" || payload["agentId"].is_string() {
        return Ok(());
    }
    let mut problems = check_draft(&draft_of(payload));
    for problem in &mut problems {
        problem.path = format!("payload.{}", problem.path);
    }
    if problems.is_empty() { Ok(()) } else { Err(EngineError::Invalid(problems)) }
}

/// Decides a request, with all that follows from it.
pub(crate) async fn decide(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    locks: &Locks,
    id: &str,
    (verdict, note, seen): (ApprovalVerdict, Option<String>, Option<String>),
    seed: Seed,
) -> Result<Approval, Again> {
    let found = approvals::get(tx, id).await?.ok_or(EngineError::NotFound("Approval"))?;
    let links = approvals::issues_of(tx, id, MOST_LINKS).await?;
    // The agent that is hired, and the issues that a wake may be about; behind them the approval itself.
    let wanted =
        Locks { agents: hired(&found).into_iter().collect(), issues: links.iter().cloned().collect() };
    let locks = locks.with(&wanted);
    let locked = locks.take(tx).await?;
    let before = approvals::lock(tx, id).await?.ok_or(EngineError::NotFound("Approval"))?;
    if !locks.agents.is_superset(&hired(&before).into_iter().collect()) {
        return Err(Again::Wider(locks));
    }
    if let Some(seen) = seen {
        gates::judge_approval(&before, &seen, verdict)?;
    }
    let (status, action) = match verdict {
        ApprovalVerdict::Approve => ("approved", "approval.approved"),
        ApprovalVerdict::Reject => ("rejected", "approval.rejected"),
        ApprovalVerdict::RequestRevision => ("revision_requested", "approval.revision_requested"),
    };
    // Asking for a revision twice is refused: the second note would be lost.
    if before.status == status && verdict != ApprovalVerdict::RequestRevision {
        return Ok(before);
    }
    let is_permission = permissions::run_of(&before).is_some();
    if is_permission && verdict == ApprovalVerdict::RequestRevision {
        // Its agent waits for a word in the middle of its work, and cannot ask better.
        let words = "A permission can be approved or rejected; it cannot be sent back";
        return Err(EngineError::refused(Kind::Unprocessable, words).into());
    }
    let newcomer = match verdict {
        ApprovalVerdict::Approve if before.kind == "hire_agent" && hired(&before).is_none() => {
            let (id, now) = (AgentId(scribe.id()), scribe.now);
            Some(drafted(id, &before.company_id, draft_of(&before.payload), now, seed)?)
        }
        ApprovalVerdict::Approve | ApprovalVerdict::Reject | ApprovalVerdict::RequestRevision => None,
    };
    let user = scribe.by.user_id();
    // What was decided about is the request as it was until now.
    let kept = verdicts::of_approval(&before, verdict.answer(), note.as_deref());
    let decided = match verdict {
        ApprovalVerdict::Approve | ApprovalVerdict::Reject => {
            let verdict = Verdict { status: status.to_owned(), note, by_user: user };
            approvals::decide(tx, id, &verdict, scribe.now).await?
        }
        ApprovalVerdict::RequestRevision => {
            approvals::request_revision(tx, id, note.as_deref(), user.as_deref(), scribe.now).await?
        }
    };
    let Some(approval) = decided else {
        let words = match verdict {
            ApprovalVerdict::Approve => "Only pending or revision requested approvals can be approved",
            ApprovalVerdict::Reject => "Only pending or revision requested approvals can be rejected",
            ApprovalVerdict::RequestRevision => "Only pending approvals can request revision",
        };
        return Err(EngineError::refused(Kind::Unprocessable, words).into());
    };
    let named = hired(&approval).and_then(|agent| locked.agents.get(&agent).cloned());
    if let Some(agent) = named.filter(|agent| agent.company_id == approval.company_id) {
        hire(tx, scribe, agent, verdict).await?;
    }
    if let Some(agent) = newcomer {
        take_in(tx, scribe, agent, "agent.created").await?;
    }
    tell(tx, scribe, &approval, action).await?;
    let actor = scribe.by.actor();
    let record = stops::record_with(&approval.company_id, &actor, action, id, &kept, scribe.now);
    audit::append(tx, record).await?;
    // Who waits in the middle of a run is not woken for another one.
    if verdict == ApprovalVerdict::Approve && !is_permission {
        let linked: Vec<(IssueId, Standing)> = links
            .iter()
            .rev()
            .filter_map(|id| Some((id.clone(), standing(locked.issues.get(id)?))))
            .collect();
        let notice = notices::approved(&notices::Approval {
            id: approval.id.clone(),
            status: approval.status.clone(),
            requester: approval.requested_by_agent_id.clone(),
            linked,
        });
        let notices: Vec<notices::Notice> = notice.into_iter().collect();
        send(tx, scribe, &approval.company_id, &notices).await?;
        if !notices.is_empty() {
            tell(tx, scribe, &approval, "approval.requester_wakeup_queued").await?;
        }
    }
    Ok(approval)
}

/// The agent that is to be hired, when the request names one.
fn hired(approval: &Approval) -> Option<AgentId> {
    let agent = approval.payload["agentId"].as_str().filter(|_| approval.kind == "hire_agent")?;
    Some(AgentId(agent.to_owned()))
}

/// An agent as a request describes it, which was not made before.
fn draft_of(payload: &Json) -> AgentDraft {
    let text = |field: &str| payload[field].as_str().map(str::to_owned);
    let object = |field: &str| if payload[field].is_object() { payload[field].clone() } else { json!({}) };
    AgentDraft {
        name: text("name").unwrap_or_default(),
        role: payload["role"].as_str().and_then(Role::parse).unwrap_or(Role::General),
        title: text("title"),
        icon: text("icon"),
        reports_to: text("reportsTo").map(AgentId),
        capabilities: text("capabilities"),
        adapter_type: text("adapterType").unwrap_or_else(|| AgentDraft::default().adapter_type),
        adapter_config: object("adapterConfig"),
        runtime_config: object("runtimeConfig"),
        default_environment_id: text("defaultEnvironmentId"),
        budget_monthly_cents: payload["budgetMonthlyCents"].as_i64().unwrap_or(0),
        permissions: None,
        metadata: payload["metadata"].is_object().then(|| payload["metadata"].clone()),
    }
}

/// An agent that waits for its approval starts, or never will. One that came to work without having been let in is ended
/// by the rejection, too.
pub(crate) async fn hire(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    mut agent: agents::Agent,
    verdict: ApprovalVerdict,
) -> Result<(), StoreError> {
    let action = match verdict {
        ApprovalVerdict::Approve if agent.status == AgentStatus::PendingApproval => {
            agent.status = AgentStatus::Idle;
            let policy = HeartbeatPolicy::read(&agent.runtime_config, &agent.adapter_type);
            agent.next_timer_at = schedule::next_due(agent.status, &policy, scribe.now);
            agent.updated_at = scribe.now;
            agents::update(tx, &agent).await?;
            let owner = (&agent.company_id, &agent.id);
            let (status, beat) = (agent.status.as_str(), agent.last_heartbeat_at);
            signals::agent_status(tx, owner, status, None, beat, scribe.now).await?;
            "agent.approved"
        }
        // It stays as it is, and is let in from now on.
        ApprovalVerdict::Approve if !was_let_in(tx, &agent).await? => "agent.approved",
        ApprovalVerdict::Reject if agent.status.ends_when_rejected(was_let_in(tx, &agent).await?) => {
            let actor = scribe.by.actor();
            stops::end_agent(tx, &mut agent, &actor, scribe).await?;
            "agent.terminated"
        }
        ApprovalVerdict::Approve | ApprovalVerdict::Reject | ApprovalVerdict::RequestRevision => {
            return Ok(());
        }
    };
    let details = json!({ "name": agent.name, "status": agent.status });
    scribe.tell(tx, &agent.company_id, action, ("agent", agent.id.as_str()), details).await
}

/// An agent never had to wait for its approval, or has it. What was told of it says so: its status may have changed, and
/// a request may name any agent.
async fn was_let_in(tx: &mut Tx<'_>, agent: &agents::Agent) -> Result<bool, StoreError> {
    let about = ("agent", agent.id.as_str());
    let told = activity::of_entity(tx, &agent.company_id, about, MOST_TOLD).await?;
    let waits = |details: &Option<Json>| {
        details.as_ref().is_some_and(|it| it["status"] == AgentStatus::PendingApproval.as_str())
    };
    let had_to_wait = told.iter().any(|entry| entry.action == "agent.hire_created" && waits(&entry.details));
    Ok(!had_to_wait || told.iter().any(|entry| entry.action == "agent.approved"))
}

async fn linked(tx: &mut Tx<'_>, approval: &str) -> Result<Vec<Issue>, StoreError> {
    let ids = approvals::issues_of(tx, approval, MOST_LINKS).await?;
    let found = issues::some(tx, &ids).await?;
    Ok(ids.iter().filter_map(|id| found.iter().find(|issue| issue.id == *id).cloned()).collect())
}

/// Tells of an approval; its payload may hold secrets and is left out.
async fn tell(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    approval: &Approval,
    action: &str,
) -> Result<(), StoreError> {
    let details = json!({
        "type": approval.kind, "status": approval.status,
        "requestedByAgentId": approval.requested_by_agent_id,
    });
    scribe.tell(tx, &approval.company_id, action, ("approval", &approval.id), details).await
}
