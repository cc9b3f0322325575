//! May this author change the issue at all? What stands before every change of an issue or its parts.
//!
//! Company isolation and the rule "issue-mutation" (spec/api.md 2.3): agents change what is free, what is theirs and
//! what they manage, and only from a run that is live. What becomes of the checkout lock is decided here and written
//! with the change ([`Custodian::keep`]).

use std::collections::BTreeMap;

use domain::access::reporting::{self, MAX_LEVELS};
use domain::access::{self, AgentActor, AgentProof, Grant, guard as rules};
use domain::agent::Role;
use domain::ids::{AgentId, CompanyId};
use domain::issue::Editor;
use domain::issue::checkout::{self, ADOPTED, Ownership};
use domain::issue::refusal::Kind;
use serde_json::json;
use store::agents::Agent;
use store::issues::Issue;
use store::users::Principal;
use store::{StoreError, Tx, agents, execution_workspaces, locks, users};

use super::facts;
use crate::EngineError;
use crate::activity::{Author, Scribe};

/// An author who may change an issue.
#[derive(Debug, Clone)]
pub(crate) struct Custodian {
    pub(crate) editor: Editor,
    /// The agent has an override over other agents' issues.
    pub(crate) manages: bool,
    ownership: Option<Ownership>,
}

/// Whether the author may change the issue, whose row is locked.
pub(crate) async fn guard(tx: &mut Tx<'_>, scribe: &Scribe, issue: &Issue) -> Result<Custodian, EngineError> {
    let agent = agent_in(tx, scribe, &issue.company_id).await?;
    let editor = scribe.editor(tx).await?;
    let manages = match &agent {
        None => false,
        Some(agent) => match &issue.assignee_agent_id {
            Some(assignee) if *assignee != agent.id => manages(tx, agent, assignee).await?,
            Some(_) | None => false,
        },
    };
    let custody = facts::custody(tx, issue).await?;
    let ownership = checkout::may_change(&custody, &editor, manages)?;
    Ok(Custodian { editor, manages, ownership })
}

/// Refuses to go on with an issue that is tied to a workspace which was closed: its work would begin elsewhere without
/// anybody having said so. One that could not be closed is there, and is worked in.
pub(super) async fn check_open(tx: &mut Tx<'_>, issue: &Issue) -> Result<(), EngineError> {
    let Some(id) = issue.execution_workspace_id.as_deref() else { return Ok(()) };
    let tied = execution_workspaces::get(tx, id).await?;
    match tied.filter(|row| row.company_id == issue.company_id && row.mode == "isolated_workspace") {
        Some(row) if row.is_closed() => Err(EngineError::ClosedWorkspace(Box::new(row))),
        Some(_) | None => Ok(()),
    }
}

impl Custodian {
    /// Writes what becomes of the checkout lock: the run that changes an issue in progress of its agent has it.
    pub(crate) async fn keep(
        &self,
        tx: &mut Tx<'_>,
        scribe: &mut Scribe,
        issue: &Issue,
    ) -> Result<(), StoreError> {
        let Some(run) = self.editor.run() else { return Ok(()) };
        match &self.ownership {
            None | Some(Ownership::Holds) => {}
            Some(Ownership::Takes) => {
                locks::check_out(tx, &issue.id, None, Some(&run.id)).await?;
            }
            Some(Ownership::Adopts { previous }) => {
                locks::check_out(tx, &issue.id, Some(previous), Some(&run.id)).await?;
                let details = json!({
                    "previousCheckoutRunId": previous, "checkoutRunId": run.id, "reason": ADOPTED,
                });
                let action = "issue.checkout_lock_adopted";
                scribe.tell_issue(tx, &issue.company_id, action, &issue.id, details).await?;
            }
        }
        Ok(())
    }
}

/// The agent that writes, if one does; it must be of the company, and alive.
pub(crate) async fn agent_in(
    tx: &mut Tx<'_>,
    scribe: &Scribe,
    company: &CompanyId,
) -> Result<Option<Agent>, EngineError> {
    let Author::Agent { id, .. } = &scribe.by else { return Ok(None) };
    let agent = agents::get(tx, id).await?.ok_or(EngineError::NotFound("Agent"))?;
    if agent.company_id != *company {
        return Err(EngineError::refused(Kind::Forbidden, access::Refusal::ForeignAgent.text()));
    }
    Ok(Some(agent))
}

/// Whether the author may give work to somebody in this company.
pub(crate) async fn may_assign(
    tx: &mut Tx<'_>,
    by: &Author,
    agent: Option<&Agent>,
) -> Result<bool, StoreError> {
    match (by, agent) {
        (Author::Board { may_assign, .. }, _) => Ok(*may_assign),
        (Author::System { .. }, _) => Ok(true),
        (Author::Agent { .. }, None) => Ok(false),
        (Author::Agent { .. }, Some(agent)) => agent_may_assign(tx, agent).await,
    }
}

/// An agent as the rules of access know it, with the grants of its active membership.
pub(crate) async fn agent_actor(
    tx: &mut Tx<'_>,
    agent: &Agent,
    proof: AgentProof,
) -> Result<AgentActor, StoreError> {
    let principal = Principal::agent(agent.id.as_str());
    let member = users::membership(tx, &agent.company_id, &principal).await?;
    let mut grants = Vec::new();
    if member.is_some_and(|member| member.status == access::MembershipStatus::Active.as_str()) {
        let granted = users::grants_of(tx, &agent.company_id, &principal, MOST_GRANTS).await?;
        grants.extend(granted.iter().filter_map(|grant| Grant::parse(&grant.permission_key)));
    }
    Ok(AgentActor {
        agent: agent.id.clone(),
        company: agent.company_id.clone(),
        role: agent.role,
        can_create_agents: agent.permissions["canCreateAgents"].as_bool(),
        grants,
        proof,
    })
}

/// More grants than there are kinds of them.
const MOST_GRANTS: i64 = 100;

/// For questions that do not depend on how the agent proved itself.
pub(crate) const ANY_PROOF: AgentProof = AgentProof::Key { key_id: String::new(), run: None };

async fn agent_may_assign(tx: &mut Tx<'_>, agent: &Agent) -> Result<bool, StoreError> {
    let actor = access::Actor::Agent(agent_actor(tx, agent, ANY_PROOF).await?);
    Ok(rules::assign(&actor, &agent.company_id).is_ok())
}

/// The agent may manage what the assignee works on: by a right, or because it is above it.
pub(crate) async fn manages(tx: &mut Tx<'_>, agent: &Agent, assignee: &AgentId) -> Result<bool, StoreError> {
    let actor = agent_actor(tx, agent, ANY_PROOF).await?;
    if actor.has(Grant::ManageActiveCheckouts) || actor.role == Role::Ceo || actor.can_create_agents() {
        return Ok(true);
    }
    let mut above: BTreeMap<AgentId, Option<AgentId>> = BTreeMap::new();
    let mut at = Some(assignee.clone());
    while let Some(id) = at.filter(|id| above.len() < MAX_LEVELS && !above.contains_key(id)) {
        let next = agents::get(tx, &id).await?.and_then(|found| found.reports_to);
        above.insert(id, next.clone());
        at = next;
    }
    Ok(reporting::is_above(&agent.id, assignee, |id| above.get(id).cloned().flatten()))
}

/// The agent may make agents.
pub(crate) async fn agent_may_hire(tx: &mut Tx<'_>, agent: &Agent) -> Result<bool, StoreError> {
    let actor = agent_actor(tx, agent, ANY_PROOF).await?;
    Ok(actor.can_create_agents() || actor.role == Role::Ceo || actor.has(Grant::CreateAgents))
}
