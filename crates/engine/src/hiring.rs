//! Taking agents on, and what they may do: directly, or as a request that a person decides.
//!
//! An agent that waits for its approval is in the company and does nothing. The decision itself is `approvals`; what a
//! configuration may hold is `agents`.

use domain::access::{Grant, guard};
use domain::agent::{AgentStatus, url_key};
use domain::budget::policy::Draft as BudgetDraft;
use domain::budget::{Scope, ScopeKind, WindowKind};
use domain::ids::{AgentId, CompanyId, IssueId};
use domain::issue::refusal::{Kind, Refusal};
use serde_json::{Value as Json, json};
use store::agents::{self, Agent};
use store::approvals::{self, Approval, Linker};
use store::users::{self, Membership, Principal};
use store::{StoreError, Tx, audit, companies};

use crate::activity::{Author, Scribe};
use crate::agents::{AgentDraft, ENV, acting_agent, drafted, insert_numbered};
use crate::approvals::{ApprovalVerdict, decide};
use crate::issues::{Locks, of_company};
use crate::secrets::bindings;
use crate::{Engine, EngineError, agent_defaults, budgets, stops};

/// Pending requests that are looked through for the one of an agent.
const MOST_PENDING: i64 = 1_000;
/// Grants of one agent that are shown.
const MOST_GRANTS: i64 = 100;

/// What an agent may do beside what its role says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentAccess {
    pub membership: Option<Membership>,
    pub grants: Vec<users::Grant>,
}

impl Engine {
    /// Takes an agent on at once. A company that wants to decide itself refuses.
    pub async fn take_on_agent(
        &self,
        company: &CompanyId,
        draft: AgentDraft,
        by: &Author,
    ) -> Result<Agent, EngineError> {
        self.inner.refuse_bare_secrets(ENV, bindings::env_of(&draft.adapter_config))?;
        let agent = self.candidate(company, draft, true).await?;
        let taken = self.inner.change(by, Locks::default(), agent, |tx, mut scribe, _, agent| {
            Box::pin(async move {
                let company = companies::get(tx, &agent.company_id).await?;
                if company.ok_or(EngineError::NotFound("Company"))?.require_approval {
                    return Err(decides_itself());
                }
                take_in(tx, &mut scribe, agent, "agent.created").await
            })
        });
        let agent = taken.await?;
        self.inner.timers.notify_one();
        Ok(agent)
    }

    /// The agent that a draft describes. Mistakes in it are told only where nothing else is in its way: that the company
    /// decides itself (of a direct hire), or a manager that is not there.
    async fn candidate(
        &self,
        company: &CompanyId,
        draft: AgentDraft,
        is_direct: bool,
    ) -> Result<Agent, EngineError> {
        let (manager, seed) = (draft.reports_to.clone(), agent_defaults::seed(&*self.inner.dice));
        let mistakes = match drafted(AgentId(self.new_id()), company, draft, self.now(), seed) {
            Ok(agent) => return Ok(agent),
            Err(mistakes) => mistakes,
        };
        let found = self.inner.read((company.clone(), manager), |tx, (company, manager)| {
            Box::pin(async move {
                let company = companies::get(tx, &company).await?;
                let is_missing = match &manager {
                    Some(manager) => agents::get(tx, manager).await?.is_none(),
                    None => false,
                };
                Ok((company, is_missing))
            })
        });
        let (company, is_missing) = found.await?;
        if company.ok_or(EngineError::NotFound("Company"))?.require_approval && is_direct {
            return Err(decides_itself());
        }
        Err(if is_missing { EngineError::NotFound("Manager") } else { mistakes })
    }

    /// Takes an agent on as the company wants it: at once, or with a request that a person decides.
    pub async fn hire_agent(
        &self,
        company: &CompanyId,
        draft: AgentDraft,
        issues: Vec<IssueId>,
        by: &Author,
    ) -> Result<(Agent, Option<Approval>), EngineError> {
        self.inner.refuse_bare_secrets(ENV, bindings::env_of(&draft.adapter_config))?;
        let agent = self.candidate(company, draft, false).await?;
        let hired =
            self.inner.change(by, Locks::default(), (agent, issues), |tx, mut scribe, _, (agent, issues)| {
                Box::pin(async move { hire(tx, &mut scribe, agent, &issues).await })
            });
        let hired = hired.await?;
        self.inner.timers.notify_one();
        Ok(hired)
    }

    /// Takes an agent on that a person has decided on: in a company that decides on each, the request and its approval are
    /// one transaction with the hire. A name that is taken gets no number, it is refused.
    pub(crate) async fn hire_decided(
        &self,
        company: &CompanyId,
        draft: AgentDraft,
        by: &Author,
    ) -> Result<Agent, EngineError> {
        if !by.is_board() {
            return Err(Refusal::BoardRequired.into());
        }
        self.inner.refuse_bare_secrets(ENV, bindings::env_of(&draft.adapter_config))?;
        let seed = agent_defaults::seed(&*self.inner.dice);
        let agent = drafted(AgentId(self.new_id()), company, draft, self.now(), seed)?;
        let hired =
            self.inner.change_widely(by, Locks::default(), agent, move |tx, mut scribe, locks, agent| {
                Box::pin(async move {
                    let (company, name) = (agent.company_id.clone(), agent.name.clone());
                    companies::lock(tx, &company).await?.ok_or(EngineError::NotFound("Company"))?;
                    let taken = agents::named(tx, &company, &name, &url_key(&name)).await?;
                    let (agent, asked) = hire(tx, &mut scribe, agent, &[]).await?;
                    if !taken.is_empty() || agent.name != name {
                        return Err(EngineError::taken("agent", &name).into());
                    }
                    let Some(asked) = asked else { return Ok(agent) };
                    let own = Locks { agents: [agent.id.clone()].into(), ..Locks::default() };
                    let verdict = (ApprovalVerdict::Approve, None, None);
                    decide(tx, &mut scribe, &locks.with(&own), &asked.id, verdict, seed).await?;
                    Ok(agents::get(tx, &agent.id).await?.ok_or(EngineError::NotFound("Agent"))?)
                })
            });
        let agent = hired.await?;
        self.inner.timers.notify_one();
        self.inner.doorbell.ring(&agent.id);
        Ok(agent)
    }

    /// Lets an agent in that waits for its approval; the request that it waits with is approved.
    pub async fn approve_agent(&self, agent: &AgentId, by: &Author) -> Result<Agent, EngineError> {
        let found = self.inner.read(agent.clone(), |tx, id| {
            Box::pin(async move {
                let Some(agent) = agents::get(tx, &id).await? else { return Ok(None) };
                let company = &agent.company_id;
                let pending = approvals::list(tx, company, Some("pending"), None, MOST_PENDING).await?;
                let sent_back =
                    approvals::list(tx, company, Some("revision_requested"), None, MOST_PENDING).await?;
                let request = pending.into_iter().chain(sent_back).find(|approval| {
                    approval.kind == "hire_agent" && approval.payload["agentId"] == agent.id.as_str()
                });
                Ok(Some((agent, request)))
            })
        });
        let (waiting, request) = found.await?.ok_or(EngineError::NotFound("Agent"))?;
        if waiting.status != AgentStatus::PendingApproval {
            return Err(not_pending());
        }
        if let Some(request) = request {
            self.decide_approval(&request.id, ApprovalVerdict::Approve, None, by).await?;
            return self.some_agent(agent).await;
        }
        let locks = Locks { agents: [agent.clone()].into(), ..Locks::default() };
        let let_in = self.inner.change(by, locks, agent.clone(), |tx, mut scribe, locks, id| {
            Box::pin(async move {
                let locked = locks.take(tx).await?;
                let agent = locked.agents.get(&id).cloned().ok_or(EngineError::NotFound("Agent"))?;
                if agent.status != AgentStatus::PendingApproval {
                    return Err(not_pending());
                }
                let verdict = ApprovalVerdict::Approve;
                crate::approvals::hire(tx, &mut scribe, agent.clone(), verdict).await?;
                let words = &agent.name;
                keep(tx, &scribe, &agent, "agent.approved", words).await?;
                agents::get(tx, &id).await?.ok_or(EngineError::NotFound("Agent"))
            })
        });
        let agent = let_in.await?;
        self.inner.timers.notify_one();
        self.inner.doorbell.ring(&agent.id);
        Ok(agent)
    }

    /// Says whether an agent may take others on, and whether it may give work to others.
    pub async fn set_agent_permissions(
        &self,
        agent: &AgentId,
        can_create_agents: bool,
        can_assign_tasks: bool,
        by: &Author,
    ) -> Result<Agent, EngineError> {
        let locks = Locks { agents: [agent.clone()].into(), ..Locks::default() };
        let changed = self.inner.change(by, locks, agent.clone(), move |tx, mut scribe, locks, id| {
            Box::pin(async move {
                let locked = locks.take(tx).await?;
                let mut agent = locked.agents.get(&id).cloned().ok_or(EngineError::NotFound("Agent"))?;
                if !agent.permissions.is_object() {
                    agent.permissions = json!({});
                }
                agent.permissions["canCreateAgents"] = json!(can_create_agents);
                agent.updated_at = scribe.now;
                agents::update(tx, &agent).await?;
                let who = Principal::agent(id.as_str());
                if can_assign_tasks {
                    let_assign(tx, &mut scribe, &agent).await?;
                } else {
                    let key = Grant::AssignTasks.as_str();
                    users::revoke_grant(tx, &agent.company_id, &who, key).await?;
                }
                let details =
                    json!({ "canCreateAgents": can_create_agents, "canAssignTasks": can_assign_tasks });
                keep(tx, &scribe, &agent, "agent.permissions_updated", &details.to_string()).await?;
                let about = ("agent", id.as_str());
                scribe.tell(tx, &agent.company_id, "agent.permissions_updated", about, details).await?;
                Ok(agent)
            })
        });
        changed.await
    }

    /// What an agent was given beside its role.
    pub async fn agent_access(&self, agent: &Agent) -> Result<AgentAccess, EngineError> {
        let context = (agent.company_id.clone(), agent.id.clone());
        let found = self.inner.read(context, |tx, (company, id)| {
            Box::pin(async move {
                let who = Principal::agent(id.as_str());
                Ok(AgentAccess {
                    membership: users::membership(tx, &company, &who).await?,
                    grants: users::grants_of(tx, &company, &who, MOST_GRANTS).await?,
                })
            })
        });
        Ok(found.await?)
    }

    async fn some_agent(&self, id: &AgentId) -> Result<Agent, EngineError> {
        let found = self.inner.read(id.clone(), |tx, id| Box::pin(async move { agents::get(tx, &id).await }));
        found.await?.ok_or(EngineError::NotFound("Agent"))
    }
}

fn decides_itself() -> EngineError {
    let words = "Direct agent creation requires board approval. Use POST /api/companies/:companyId/agent-hires to \
                 create a pending hire approval.";
    EngineError::Conflict { message: words.to_owned(), details: None }
}

fn not_pending() -> EngineError {
    EngineError::Conflict {
        message: "Only pending approval agents can be approved".to_owned(),
        details: None,
    }
}

async fn hire(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    mut agent: Agent,
    issues: &[IssueId],
) -> Result<(Agent, Option<Approval>), EngineError> {
    let company = companies::get(tx, &agent.company_id).await?.ok_or(EngineError::NotFound("Company"))?;
    for issue in issues {
        if of_company(tx, &company.id, issue).await?.is_none() {
            return Err(EngineError::refused(Kind::NotFound, "One or more issues not found"));
        }
    }
    if company.require_approval {
        agent.status = AgentStatus::PendingApproval;
        agent.next_timer_at = None;
    }
    let agent = take_in(tx, scribe, agent, "agent.hire_created").await?;
    if !company.require_approval {
        return Ok((agent, None));
    }
    let requester = scribe.by.agent_id();
    let approval = Approval {
        id: scribe.id(),
        company_id: company.id.clone(),
        kind: "hire_agent".to_owned(),
        requested_by_user_id: if requester.is_none() { scribe.by.user_id() } else { None },
        requested_by_agent_id: requester,
        status: "pending".to_owned(),
        payload: asked_for(&agent),
        decision_note: None,
        decided_by_user_id: None,
        decided_at: None,
        created_at: scribe.now,
        updated_at: scribe.now,
    };
    approvals::insert(tx, &approval).await?;
    let linker = Linker { agent: scribe.by.agent_id(), user: scribe.by.user_id() };
    for issue in issues {
        approvals::link(tx, &company.id, &approval.id, issue, &linker, scribe.now).await?;
    }
    let details = json!({ "type": approval.kind, "status": approval.status, "agentId": agent.id });
    scribe.tell(tx, &company.id, "approval.created", ("approval", &approval.id), details).await?;
    Ok((agent, Some(approval)))
}

/// What a person decides on.
fn asked_for(agent: &Agent) -> Json {
    json!({
        "agentId": agent.id, "name": agent.name, "role": agent.role, "title": agent.title, "icon": agent.icon,
        "reportsTo": agent.reports_to, "capabilities": agent.capabilities, "adapterType": agent.adapter_type,
        "adapterConfig": agent.adapter_config, "runtimeConfig": agent.runtime_config,
        "defaultEnvironmentId": agent.default_environment_id,
        "budgetMonthlyCents": agent.budget_monthly_cents, "metadata": agent.metadata,
    })
}

/// Adds an agent with what every new one gets: the right to give work to others, and the policy of its budget.
pub(crate) async fn take_in(
    tx: &mut Tx<'_>,
    scribe: &mut Scribe,
    agent: Agent,
    action: &str,
) -> Result<Agent, EngineError> {
    // A person who decides may still make a chief of whom an agent asks for.
    if agent.status != AgentStatus::PendingApproval
        && let Some(actor) = acting_agent(tx, scribe).await?
    {
        guard::chief(&actor, agent.role)?;
    }
    let agent = insert_numbered(tx, agent, scribe.by.agent_id().as_ref()).await?;
    let_assign(tx, scribe, &agent).await?;
    if agent.budget_monthly_cents > 0 {
        let draft = monthly(ScopeKind::Agent, agent.id.as_str(), agent.budget_monthly_cents);
        // It limits what nothing limited before, so that nobody has to prove anything.
        budgets::save_policy(tx, &agent.company_id, &draft, scribe.clone(), true).await?;
        scribe.skip();
    }
    keep(tx, scribe, &agent, action, &agent.name).await?;
    let details = json!({ "name": agent.name, "role": agent.role, "status": agent.status });
    scribe.tell(tx, &agent.company_id, action, ("agent", agent.id.as_str()), details).await?;
    Ok(agent)
}

/// The policy of a monthly amount in money.
pub(crate) fn monthly(kind: ScopeKind, id: &str, cents: i64) -> BudgetDraft {
    BudgetDraft {
        scope: Scope { kind, id: id.to_owned() },
        metric: None,
        window: Some(WindowKind::CalendarMonthUtc),
        amount: cents,
        warn_percent: None,
        hard_stop: None,
        notify: None,
        is_active: None,
    }
}

/// Makes an agent a member that may give work to others.
async fn let_assign(tx: &mut Tx<'_>, scribe: &mut Scribe, agent: &Agent) -> Result<(), StoreError> {
    let who = Principal::agent(agent.id.as_str());
    if users::membership(tx, &agent.company_id, &who).await?.is_none() {
        let membership = Membership {
            id: scribe.id(),
            company_id: agent.company_id.clone(),
            principal_type: who.kind.clone(),
            principal_id: who.id.clone(),
            status: "active".to_owned(),
            role: None,
            is_untrusted: false,
            created_at: scribe.now,
            updated_at: scribe.now,
        };
        users::save_membership(tx, &membership).await?;
    }
    let grant = users::Grant {
        id: scribe.id(),
        company_id: agent.company_id.clone(),
        principal_type: who.kind,
        principal_id: who.id,
        permission_key: Grant::AssignTasks.as_str().to_owned(),
        scope: None,
        granted_by_user_id: scribe.by.user_id(),
        created_at: scribe.now,
        updated_at: scribe.now,
    };
    users::grant(tx, &grant).await
}

async fn keep(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    agent: &Agent,
    action: &str,
    words: &str,
) -> Result<(), StoreError> {
    let (actor, id) = (scribe.by.actor(), agent.id.as_str());
    audit::append(tx, stops::record(&agent.company_id, &actor, action, id, words, scribe.now)).await
}
